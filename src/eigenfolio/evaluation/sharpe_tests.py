r"""Is the Sharpe ratio of one track larger than that of another? Tests row by row.

    difference = (mean_a / std_a - mean_b / std_b) sqrt(periods_per_year)

`ledoit_wolf_sharpe_test` holds under heavy tails, clustered volatility and autocorrelation [1]_;
`jobson_korkie_test` is the classical test in Memmel's form [2]_ [3]_, right for normal rows without memory only,

    variance of the difference = (2 - 2 r + (S_a^2 + S_b^2 - 2 S_a S_b r^2) / 2) / T,

r the correlation of the tracks and S their ratios per period. It is here because papers report it; where the two
disagree, believe the first. `eigenfolio.evaluation.sharpe_difference` asks the same of whole holding windows.

Positive where a has the larger ratio. The risk-free rate is zero: pass excess returns where it is not.

References
----------
.. [1] O. Ledoit and M. Wolf (2008). Robust performance hypothesis testing with the Sharpe ratio. Journal of
   Empirical Finance 15(5), 850-859.
.. [2] J. Jobson and B. Korkie (1981). Performance hypothesis testing with the Sharpe and Treynor measures. Journal
   of Finance 36(4), 889-908.
.. [3] C. Memmel (2003). Performance hypothesis testing with the Sharpe ratio. Finance Letters 1, 21-23.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.difference import DifferenceTest, asymptotic_test, paired
from eigenfolio.evaluation.moment_tests import MIN_ROWS, Law, moment_test
from eigenfolio.evaluation.significance import Block

__all__ = ["jobson_korkie_test", "ledoit_wolf_sharpe_test"]


def ledoit_wolf_sharpe_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    law: Law = "bootstrap",
    periods_per_year: float = 252.0,
    n_bootstrap: int = 5000,
    block: Block = "auto",
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
) -> DifferenceTest:
    """Test that two Sharpe ratios are equal, robust to tails and persistence.

    Parameters
    ----------
    a, b : array-like of shape (n_observations,)
        Simple (excess) returns per period of the same rows.
    law : {"bootstrap", "hac"}
        "bootstrap" judges by resampled circular blocks; "hac" by the normal law, which rejects too often on a few
        hundred rows of clustered volatility.
    periods_per_year : float
        Rows in a year; only the unit of estimate and interval depends on it.
    n_bootstrap : int
        Resamples.
    block : int or "auto"
        Rows per block; "auto" follows Politis and White.
    confidence : float in (0, 1)
        Of the interval.
    rng : numpy.random.Generator, optional
        Draws the blocks; "hac" needs none.

    Returns
    -------
    DifferenceTest
        Annualised.

    Raises
    ------
    DataError
        If the rows differ, a value is not finite, a track never varies, or there are fewer than 30 rows.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] O. Ledoit and M. Wolf (2008). Robust performance hypothesis testing with the Sharpe ratio. Journal of
       Empirical Finance 15(5), 850-859.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> market = 0.01 * rng.standard_normal(500)
    >>> test = ledoit_wolf_sharpe_test(market + 0.002 + 0.001 * rng.standard_normal(500), market, rng=rng)
    >>> test.p_value < 0.01, test.low < test.estimate < test.high
    (True, True)
    """
    x, y = _standardised(a, b)
    annual = _annual(periods_per_year) * float(np.sqrt(1.0 - 1.0 / len(x)))  # as `measures.sharpe_ratio`: n - 1 below
    test = moment_test(
        x,
        y,
        _sharpe,
        name="Ledoit-Wolf, Sharpe ratios",
        law=law,
        n_bootstrap=n_bootstrap,
        block=block,
        confidence=confidence,
        rng=rng,
    )
    scaled = {
        field: annual * getattr(test, field)
        for field in ("estimate", "low", "high", "standard_error", "minimum_detectable")
    }
    return replace(test, **scaled)


def jobson_korkie_test(
    a: ArrayLike, b: ArrayLike, *, periods_per_year: float = 252.0, confidence: float = 0.95
) -> DifferenceTest:
    """Test that two Sharpe ratios are equal, for normal rows without memory.

    Parameters
    ----------
    a, b : array-like of shape (n_observations,)
        Simple (excess) returns per period of the same rows.
    periods_per_year : float
        Rows in a year.
    confidence : float in (0, 1)
        Of the interval.

    Returns
    -------
    DifferenceTest
        Annualised.

    Raises
    ------
    DataError
        As in `ledoit_wolf_sharpe_test`.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] J. Jobson and B. Korkie (1981). Performance hypothesis testing with the Sharpe and Treynor measures.
       Journal of Finance 36(4), 889-908.
    .. [2] C. Memmel (2003). Performance hypothesis testing with the Sharpe ratio. Finance Letters 1, 21-23.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> market = 0.01 * rng.standard_normal(500)
    >>> jobson_korkie_test(market, 2.0 * market).p_value
    1.0
    """
    x, y = _standardised(a, b)
    n = len(x)
    annual = _annual(periods_per_year)
    ratio_a, ratio_b = float(x.mean() / x.std(ddof=1)), float(y.mean() / y.std(ddof=1))
    correlation = float(np.corrcoef(x, y)[0, 1])
    variance = 2.0 - 2.0 * correlation + 0.5 * (ratio_a**2 + ratio_b**2 - 2.0 * ratio_a * ratio_b * correlation**2)
    estimate, error = annual * (ratio_a - ratio_b), annual * float(np.sqrt(max(variance, 0.0) / n))
    if variance < 1e-14:  # one track is a multiple of the other
        estimate, error = 0.0, 0.0
    return asymptotic_test(estimate, error, n_observations=n, method="Jobson-Korkie-Memmel", confidence=confidence)


def _sharpe(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sharpe ratio per period and its gradient in the means of x and x^2."""
    mean, second = means[..., 0], means[..., 1]
    deviation = np.sqrt(np.maximum(second - mean**2, 1e-12))  # a resample of cash only
    return mean / deviation, np.stack([second / deviation**3, -0.5 * mean / deviation**3], axis=-1)


def _standardised(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both tracks with a standard deviation of one, which no ratio sees."""
    x, y = paired(a, b, at_least=MIN_ROWS)
    deviations = [float(track.std()) for track in (x, y)]
    for name, track, deviation in zip("ab", (x, y), deviations, strict=True):
        if deviation <= 1e-14 * float(np.abs(track).max(initial=0.0)):
            raise DataError(f"track {name!r} never varies, so it has no Sharpe ratio")
    return x / deviations[0], y / deviations[1]


def _annual(periods_per_year: float) -> float:
    if not periods_per_year > 0.0:
        raise ParameterError(f"periods_per_year must be positive, got {periods_per_year!r}")
    return float(np.sqrt(periods_per_year))
