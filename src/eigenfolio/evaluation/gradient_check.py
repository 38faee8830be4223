"""What the gradients of a model say about the rows that its decisions depend on.

    gradients[k, s, j] = derivative of decision k by the return of row s and asset j

A derivative by a later row that is not exactly zero is a leak: of a pass over many dates at once (attention or a
recurrence without a mask, a scaler over the whole table) nothing else is needed to see it. Of a model that is handed
the rows up to its decision alone, later derivatives are zero by construction and prove nothing; there, the experiments
of the audit are the evidence, and the gradients say how far back a decision looks.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Dependence", "dependence", "model_gradients"]


@dataclass(frozen=True)
class Dependence:
    """Which rows decisions depend on.

    Attributes
    ----------
    later : float
        Largest derivative by a later row, relative to the largest of all; 0 without any.
    decision, seen : int
        Decision row and row of that derivative; -1 without any.
    ahead, back : int
        Most rows ahead and back of a decision by which any derivative is not zero.
    """

    later: float
    decision: int
    seen: int
    ahead: int
    back: int


def model_gradients(
    model: Any, panel: pd.DataFrame, rows: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ask a model for its gradients, and for those of some decisions alone where it can tell them apart.

    Parameters
    ----------
    model : object with `input_gradients(X)`
        It may take `rows=`, and gives one decision for each of them then; else one for every row of X.
    panel : DataFrame of shape (n_observations, n_assets)
    rows : sequence of int
        Decision rows that are asked for.

    Returns
    -------
    gradients : ndarray
        As the model gave them, float64.
    decisions : ndarray of int
        Row of each decision.

    Examples
    --------
    >>> class Mean:
    ...     def input_gradients(self, X):
    ...         return np.tril(np.ones((len(X), len(X))))[:, :, None]
    >>> model_gradients(Mean(), pd.DataFrame(np.zeros((3, 1))), [2])[1]
    array([0, 1, 2])
    """
    if "rows" in inspect.signature(model.input_gradients).parameters:
        return np.asarray(model.input_gradients(panel, rows=list(rows)), dtype=float), np.array(rows, dtype=np.int64)
    return np.asarray(model.input_gradients(panel), dtype=float), np.arange(len(panel))


def dependence(gradients: NDArray[np.float64], decisions: NDArray[np.int64]) -> Dependence:
    """Which rows any decision depends on.

    Parameters
    ----------
    gradients : ndarray of shape (n_decisions, n_observations, n_assets)
        What is not a number counts as infinitely large.
    decisions : ndarray of int, shape (n_decisions,)
        Row of each decision.

    Returns
    -------
    Dependence

    Examples
    --------
    A mean over the row itself and the one before it, and one that also sees the row after it:

    >>> mean = np.tril(np.ones((4, 4))) - np.tril(np.ones((4, 4)), -2)
    >>> dependence(mean[:, :, None], np.arange(4))
    Dependence(later=0.0, decision=-1, seen=-1, ahead=0, back=1)
    >>> dependence((mean + 0.5 * np.eye(4, k=1))[:, :, None], np.arange(4))
    Dependence(later=0.5, decision=0, seen=1, ahead=1, back=1)
    """
    sizes = np.abs(np.nan_to_num(gradients, nan=np.inf)).max(axis=2, initial=0.0)  # (n_decisions, n_observations)
    ahead = np.arange(sizes.shape[1])[None, :] - decisions[:, None]
    later = np.where(ahead > 0, sizes, 0.0)
    reach = ahead[sizes > 0.0]
    far, back = max(int(reach.max(initial=0)), 0), max(int(-reach.min(initial=0)), 0)
    if not later.any():
        return Dependence(0.0, -1, -1, far, back)
    decision, seen = (int(i) for i in np.unravel_index(np.argmax(later), later.shape))
    finite = sizes[np.isfinite(sizes)].max(initial=0.0)
    size = later.max() / finite if np.isfinite(later.max()) and finite > 0.0 else np.inf
    return Dependence(float(size), int(decisions[decision]), seen, far, back)
