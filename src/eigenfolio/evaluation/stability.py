r"""How much an estimate moves from one date to the next.

Between two covariances A (before) and B (after) of the same assets, with correlations R_A, R_B, volatilities a, b, and
leading eigenvectors U_A, U_B of the correlations:

    covariance_change  = ||B - A|| / ||A||
    correlation_change = root mean square of the off-diagonal entries of R_B - R_A
    volatility_change  = root mean square of ln(b / a)
    subspace_overlap   = ||U_A' U_B||^2 / k, 1 where the k leading directions span the same space

Norms are Frobenius's. An estimate that moves much costs turnover; one that never moves has missed the change. What
the market itself moves is not known, so these are compared between estimators, not with zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import covariance_to_correlation

__all__ = ["covariance_stability", "stability_path"]


def covariance_stability(before: ArrayLike, after: ArrayLike, *, n_directions: int = 3) -> dict[str, float]:
    """Measure the step from one estimate to the next.

    Parameters
    ----------
    before, after : array-like of shape (n_assets, n_assets)
        Squared return per period, same assets, positive variances.
    n_directions : int
        Leading eigenvectors compared; at most n_assets.

    Returns
    -------
    dict of str to float
        `covariance_change`, `correlation_change`, `volatility_change`, `subspace_overlap`.

    Raises
    ------
    DataError
        If the matrices differ in order or are no covariances.
    ParameterError
        If `n_directions` is below one.

    Examples
    --------
    Volatilities double, correlations stay:

    >>> A = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> step = covariance_stability(A, 4 * A, n_directions=1)
    >>> {name: round(value, 4) for name, value in step.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'covariance_change': 3.0, 'correlation_change': 0.0, 'volatility_change': 0.6931, 'subspace_overlap': 1.0}
    """
    if isinstance(n_directions, bool) or int(n_directions) != n_directions or n_directions < 1:
        raise ParameterError(f"n_directions must be a whole number of at least 1, got {n_directions!r}")
    A, B = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if A.shape != B.shape:
        raise DataError(f"before and after must be of one order, got {A.shape} and {B.shape}; cut to common assets")
    (R_a, a), (R_b, b) = covariance_to_correlation(A), covariance_to_correlation(B)
    n, k = len(A), min(n_directions, len(A))
    off_diagonal = (R_b - R_a)[np.triu_indices(n, k=1)]
    overlap = _leading(R_a, k).T @ _leading(R_b, k)
    return {
        "covariance_change": float(np.linalg.norm(B - A) / np.linalg.norm(A)),
        "correlation_change": float(np.sqrt(np.mean(off_diagonal**2))) if off_diagonal.size else 0.0,
        "volatility_change": float(np.sqrt(np.mean(np.log(b / a) ** 2))),
        "subspace_overlap": float((overlap**2).sum() / k),
    }


def stability_path(covariances: Sequence[pd.DataFrame], *, n_directions: int = 3) -> pd.DataFrame:
    """Measure every step of a sequence of estimates, on the assets that two neighbours share.

    Parameters
    ----------
    covariances : sequence of DataFrame
        Estimates in time order, assets as rows and columns; NaN rows are inactive assets.
    n_directions : int
        As in `covariance_stability`.

    Returns
    -------
    DataFrame
        One row per step, numbered by the later estimate, with `n_assets` shared.

    Raises
    ------
    DataError
        If there are fewer than two estimates, or two neighbours share no asset.

    Examples
    --------
    >>> one = pd.DataFrame(np.eye(2), index=list("AB"), columns=list("AB"))
    >>> stability_path([one, one, 4 * one], n_directions=1)["covariance_change"].round(6).tolist()
    [0.0, 3.0]
    """
    if len(covariances) < 2:
        raise DataError(f"a path needs at least two estimates, got {len(covariances)}")
    steps = []
    for i, (before, after) in enumerate(pairwise(covariances), start=1):
        shared = [name for name in _active(before) if name in set(_active(after))]
        if not shared:
            raise DataError(f"estimates {i - 1} and {i} share no active asset; nothing can be compared")
        step = covariance_stability(before.loc[shared, shared], after.loc[shared, shared], n_directions=n_directions)
        steps.append({**step, "n_assets": len(shared)})
    return pd.DataFrame(steps, index=pd.RangeIndex(1, len(covariances), name="step"))


def _active(covariance: pd.DataFrame) -> list[str]:
    return list(covariance.columns[np.isfinite(np.diag(covariance.to_numpy(dtype=float)))])


def _leading(correlation: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    return np.linalg.eigh(correlation)[1][:, -k:]
