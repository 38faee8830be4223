"""Do the labels of training rows reach into tested rows?

The label of row i is what rows i + 1 to i + h bring (h is the horizon), so the labels of rows i and j share a row, and
a model trained on one has seen part of the other, exactly when

    |i - j| < h

Training on row i < j is known at decision j when i + h <= j, which is the same rule. It holds on both sides of a tested
block, as combinatorial schemes train on later rows too.

References
----------
.. [1] M. Lopez de Prado (2018). Advances in Financial Machine Learning, section 7.4. Wiley.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import ParameterError

__all__ = ["Overlap", "label_overlap", "overlapping_rows"]


@dataclass(frozen=True)
class Overlap:
    """What the labels of a splitter share.

    Attributes
    ----------
    n_splits : int
        Pairs of training rows and tested rows.
    n_overlapping : int
        Pairs of them in which labels overlap.
    rows : ndarray of int
        Training rows with a label that reaches into a tested row of the same pair, in any pair, increasing.
    """

    n_splits: int
    n_overlapping: int
    rows: NDArray[np.int64]


def overlapping_rows(train: ArrayLike, test: ArrayLike, *, horizon: int) -> NDArray[np.int64]:
    """Training rows that share a row of their label with that of a tested row.

    Parameters
    ----------
    train, test : array-like of int
        Row positions.
    horizon : int >= 1
        Rows after its own that a label uses.

    Returns
    -------
    ndarray of int
        A part of `train`, in its order.

    Raises
    ------
    ParameterError
        If `horizon` is below 1.

    Examples
    --------
    >>> overlapping_rows([0, 1, 2, 3], [5, 6], horizon=3)
    array([3])
    """
    if horizon < 1:
        raise ParameterError(f"horizon must be at least 1 row, got {horizon}")
    rows, tested = np.asarray(train, dtype=np.int64), np.unique(np.asarray(test, dtype=np.int64))
    if not len(tested):
        return rows[:0]
    place = np.searchsorted(tested, rows)
    below = np.abs(rows - tested[np.maximum(place - 1, 0)])
    above = np.abs(rows - tested[np.minimum(place, len(tested) - 1)])
    return rows[np.minimum(below, above) < horizon]


def label_overlap(splitter: Any, X: pd.DataFrame, *, horizon: int) -> Overlap:
    """Look through every split of a cross-validation for labels that training and test share.

    Parameters
    ----------
    splitter : object with ``split(X)``
        Of scikit-learn or skfolio; a test may be one array of rows or several.
    X : DataFrame of shape (n_observations, n_assets)
    horizon : int >= 1
        Rows after its own that a label uses.

    Examples
    --------
    >>> from sklearn.model_selection import TimeSeriesSplit
    >>> X = pd.DataFrame(np.zeros((100, 2)))
    >>> label_overlap(TimeSeriesSplit(3), X, horizon=5).n_overlapping
    3
    >>> label_overlap(TimeSeriesSplit(3, gap=4), X, horizon=5).n_overlapping
    0
    """
    pairs = [(train, test) for train, tests in _splits(splitter, X) for test in _several(tests)]
    found = [overlapping_rows(train, test, horizon=horizon) for train, test in pairs]
    rows = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return Overlap(len(pairs), sum(len(rows) > 0 for rows in found), rows)


def _splits(splitter: Any, X: pd.DataFrame) -> Iterable[tuple[ArrayLike, Any]]:
    """Pairs of train and test; a splitter that also names columns gives them third."""
    return ((split[0], split[1]) for split in splitter.split(X))


def _several(tests: Any) -> list[ArrayLike]:
    """A test as a list of arrays; neighbours of every one are looked at."""
    return list(tests) if isinstance(tests, (list, tuple)) and len(tests) and np.ndim(tests[0]) == 1 else [tests]
