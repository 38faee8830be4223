"""What every test of a difference answers: how large, how sure, and what it could have found.

    statistic = estimate / standard_error,    interval = estimate +- critical * standard_error

`critical` is the quantile that the test itself uses (normal, Student or bootstrap), so interval and p-value never
disagree: the interval leaves zero out exactly where the p-value is below one minus the confidence. The smallest
difference that the test finds in 80 % of the cases lies ``critical + 0.84`` standard errors from zero.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from eigenfolio.errors import DataError
from eigenfolio.evaluation.significance import check_confidence, minimum_detectable

__all__ = ["DifferenceTest", "asymptotic_test", "paired"]


@dataclass(frozen=True)
class DifferenceTest:
    """A two-sided test that a difference is zero.

    Attributes
    ----------
    estimate, low, high : float
        The difference, a less b, with its interval.
    standard_error : float
        Of `estimate`.
    statistic : float
        `estimate` over `standard_error`; 0 where both are zero.
    p_value : float in [0, 1]
        Two-sided.
    minimum_detectable : float
        True difference that this test would tell from zero with a power of 80 %.
    n_observations : int
        Rows used.
    confidence : float in (0, 1)
        Of the interval.
    method : str
        The test, in words.
    block : int or None
        Rows per block of the bootstrap; None without one.

    Examples
    --------
    >>> test = asymptotic_test(0.3, 0.1, n_observations=500, method="by hand")
    >>> round(test.statistic, 6), round(test.p_value, 4), round(test.minimum_detectable, 3)
    (3.0, 0.0027, 0.28)
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    statistic: float
    p_value: float
    minimum_detectable: float
    n_observations: int
    confidence: float
    method: str
    block: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        return asdict(self)


def asymptotic_test(
    estimate: float,
    standard_error: float,
    *,
    n_observations: int,
    method: str,
    confidence: float = 0.95,
    degrees_of_freedom: float | None = None,
) -> DifferenceTest:
    """Test an estimate against the normal law, or Student's.

    Parameters
    ----------
    estimate : float
        The difference.
    standard_error : float >= 0
        Of it, in the same unit.
    n_observations : int
        Rows it rests on.
    method : str
        The test, in words.
    confidence : float in (0, 1)
        Of the interval.
    degrees_of_freedom : float, optional
        Of Student's law; None takes the normal one.

    Returns
    -------
    DifferenceTest

    Raises
    ------
    ParameterError
        If the confidence leaves (0, 1).

    Examples
    --------
    >>> asymptotic_test(0.0, 0.1, n_observations=10, method="by hand", degrees_of_freedom=9).p_value
    1.0
    """
    check_confidence(confidence)
    degrees = np.inf if degrees_of_freedom is None else degrees_of_freedom  # Student's law without end is the normal
    critical = float(stdtrit(degrees, 0.5 + confidence / 2.0))
    statistic = standardised(estimate, standard_error)
    return DifferenceTest(
        estimate=float(estimate),
        low=float(estimate - critical * standard_error),
        high=float(estimate + critical * standard_error),
        standard_error=float(standard_error),
        statistic=statistic,
        p_value=float(2.0 * stdtr(degrees, -abs(statistic))),
        minimum_detectable=minimum_detectable(standard_error, confidence=confidence, critical_value=critical),
        n_observations=int(n_observations),
        confidence=confidence,
        method=method,
    )


def standardised(estimate: float, standard_error: float) -> float:
    """Estimate over its error: 0 where nothing differs, infinite where only the error is zero."""
    if standard_error > 0.0:
        return float(estimate / standard_error)
    return 0.0 if estimate == 0.0 else float(np.copysign(np.inf, estimate))


def paired(
    a: ArrayLike, b: ArrayLike, *, names: tuple[str, str] = ("a", "b"), at_least: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two series of the same rows as arrays, or an error that says what is wrong.

    Parameters
    ----------
    a, b : array-like of shape (n_observations,)
        Series must have equal indices.
    names : pair of str
        What messages call them.
    at_least : int
        Rows needed.

    Raises
    ------
    DataError
        If shapes or indices differ, a value is not finite, or rows are missing.

    Examples
    --------
    >>> paired([1.0, 2.0], [3.0, 4.0], at_least=2)[1]
    array([3., 4.])
    """
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise DataError(f"{names[0]} and {names[1]} must have the same rows; align them first")
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(
            f"{names[0]} and {names[1]} must be two series of equal length, got shapes {x.shape} and {y.shape}"
        )
    if len(x) < at_least:
        raise DataError(f"this test needs at least {at_least} rows, got {len(x)}; use a longer span")
    for name, values in zip(names, (x, y), strict=True):
        if not np.isfinite(values).all():
            raise DataError(f"{name} holds {int((~np.isfinite(values)).sum())} values that are not finite; drop them")
    return x, y
