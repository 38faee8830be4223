"""How far intervals and probabilities can be believed, measured on rows that did not fit them.

    coverage       share of rows inside their interval, with the exact binomial interval of that share  [1]_
    reliability    predicted against observed probability of an event in bins of equal count
    correlation    Spearman's rank correlation of absolute errors and predicted uncertainties

References
----------
.. [1] C. J. Clopper and E. S. Pearson (1934). The use of confidence or fiducial limits illustrated in the case of the
   binomial. Biometrika 26(4), 404-413.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, spearmanr

from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "Coverage",
    "check_events",
    "check_shares",
    "columns",
    "error_uncertainty_correlation",
    "interval_coverage",
    "reliability_table",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """How often intervals held.

    Attributes
    ----------
    share : float
        Rows inside.
    low, high : float
        Exact binomial 95 % interval of it, for independent rows.
    mean_width : float
        In the unit of the target.
    n : int
        Rows.
    """

    share: float
    low: float
    high: float
    mean_width: float
    n: int

    def holds(self, level: float) -> bool:
        """Whether a nominal level lies within the binomial interval."""
        return self.low <= level <= self.high


def interval_coverage(target: ArrayLike, low: ArrayLike, high: ArrayLike) -> Coverage:
    """Measure the coverage of intervals.

    Parameters
    ----------
    target, low, high : array-like of shape (n,)

    Returns
    -------
    Coverage

    Raises
    ------
    DataError
        If a number is not finite or lengths differ.

    Examples
    --------
    >>> interval_coverage([0.0, 1.0, 5.0, 2.0], np.zeros(4), 2 * np.ones(4)).share
    0.75
    """
    y, lower, upper = columns(target=target, low=low, high=high)
    inside = int(((lower <= y) & (y <= upper)).sum())
    bounds = binomtest(inside, len(y)).proportion_ci(0.95)
    return Coverage(inside / len(y), float(bounds.low), float(bounds.high), float((upper - lower).mean()), len(y))


def reliability_table(probabilities: ArrayLike, outcomes: ArrayLike, *, n_bins: int = 10) -> pd.DataFrame:
    """Predicted against observed probabilities in bins of equal count.

    Parameters
    ----------
    probabilities : array-like of shape (n,)
    outcomes : array-like of bool of shape (n,)
    n_bins : int, default=10
        At most; equal predictions share a bin.

    Returns
    -------
    DataFrame
        One row per bin: `predicted` and `observed` means and the `count`. The expected calibration error is the mean
        of their absolute differences, weighted by the counts.

    Raises
    ------
    DataError
        As for `isotonic_probabilities`.
    ParameterError
        If there is no bin.

    Examples
    --------
    >>> reliability_table([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], n_bins=2).to_numpy().tolist()
    [[0.2, 0.5, 2.0], [0.8, 1.0, 2.0]]
    """
    if n_bins < 1:
        raise ParameterError(f"reliability_table: n_bins must be at least 1, got {n_bins}")
    given, happened = columns(probabilities=probabilities, outcomes=outcomes)
    check_shares(given, "probabilities")
    check_events(happened)
    edges = np.unique(np.quantile(given, np.linspace(0.0, 1.0, n_bins + 1)[1:-1], method="lower"))
    grouped = pd.DataFrame({"predicted": given, "observed": happened}).groupby(np.searchsorted(edges, given))
    table = grouped.mean()
    table["count"] = grouped.size()
    return table.reset_index(drop=True)


def error_uncertainty_correlation(error: ArrayLike, uncertainty: ArrayLike) -> float:
    """Spearman's rank correlation of absolute errors and predicted uncertainties.

    Parameters
    ----------
    error, uncertainty : array-like of shape (n,)

    Returns
    -------
    float in [-1, 1]
        Normal errors whose standard deviations are known reach well below 1: the size of a single error is noise.

    Raises
    ------
    DataError
        If a number is not finite, lengths differ, or one of them is constant.

    Examples
    --------
    >>> error_uncertainty_correlation([-1.0, 2.0, -3.0], [0.1, 0.2, 0.3])
    1.0
    """
    wrong, size = columns(error=error, uncertainty=uncertainty)
    if np.ptp(np.abs(wrong)) == 0.0 or np.ptp(size) == 0.0:
        raise DataError("error_uncertainty_correlation: errors and uncertainties must vary, got a constant")
    return float(spearmanr(np.abs(wrong), size).statistic)


def columns(**given: ArrayLike) -> tuple[FloatArray, ...]:
    """Finite float columns of one length; scalars are spread."""
    found = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    shapes = {column.shape for column in found.values() if column.ndim}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not next(iter(shapes))[0]:
        told = ", ".join(f"{name} {column.shape}" for name, column in found.items())
        raise DataError(f"calibration needs columns of one length of at least 1, got {told}")
    for name, column in found.items():
        if not np.isfinite(column).all():
            raise DataError(f"{name} holds {int((~np.isfinite(column)).sum())} numbers that are not finite; drop them")
    return tuple(np.broadcast_arrays(*found.values()))


def check_shares(values: FloatArray, name: str) -> None:
    """Raise unless all values lie in [0, 1]."""
    if values.min() < 0.0 or values.max() > 1.0:
        raise DataError(f"{name} must lie in [0, 1], got {values.min():g} to {values.max():g}")


def check_events(outcomes: FloatArray) -> None:
    """Raise unless all outcomes are 0 or 1."""
    if not np.isin(outcomes, (0.0, 1.0)).all():
        raise DataError("outcomes must be 0 or 1 (or bool); give whether the event happened")
