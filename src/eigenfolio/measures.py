"""What a series of returns amounts to: growth, risk, their ratios, wealth and drawdown.

    annualized_return     = prod(1 + r) ** (periods_per_year / n) - 1          (compound, not arithmetic)
    annualized_volatility = std(r) * sqrt(periods_per_year)                    (n - 1 in the denominator)
    sharpe_ratio          = mean(r) / std(r) * sqrt(periods_per_year)
    sortino_ratio         = mean(r) / sqrt(mean(min(r, 0)^2)) * sqrt(periods_per_year)
    drawdown              = wealth / running peak of wealth - 1                (the start counts as a peak)

Returns are simple returns per period, net of whatever the caller has subtracted; the risk-free rate is
zero, so pass excess returns where it is not. Drawdown paths are at most 0, `max_drawdown` is positive.
A ratio whose denominator is zero is NaN. `periods_per_year` reads the rows in a year off
their dates; nothing here calls it on its own, and the default everywhere is that of business days, 252. The moments
and paths are skfolio's (`skfolio.measures`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import skfolio.measures as skm
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError

__all__ = [
    "annualized_return",
    "annualized_volatility",
    "calmar_ratio",
    "drawdown_path",
    "max_drawdown",
    "periods_per_year",
    "rolling_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "wealth_path",
]


CONVENTIONS = (252.0, 365.0, 52.0, 12.0, 4.0)
"""Rows in a year that have a customary number: business days, all days, weeks, months, quarters."""

CONVENTION_TOLERANCE = 0.06


def periods_per_year(index: pd.DatetimeIndex) -> float:
    """Rows in a year, read off their dates.

    Rows a day or more apart are counted over the time from the first to the last, where a year has 365.25 days;
    daily rows none of which falls on a weekend over its weekdays instead, so that a week already says 252. With
    several rows on a date, it is the dates in a year times the mean rows on a date, the first and last dates (which
    may be cut off) left out where there are others.

    A count within 6 % of 252, 365, 52, 12 or 4 becomes that number: a year of business days counts 261 less its
    holidays, and each exchange has its own. Any other count is returned as it is, such as 26 for fortnights or
    220 for business days of which many are lost.

    Parameters
    ----------
    index : DatetimeIndex of shape (n_observations,)
        Dates of the rows, increasing; at least three different ones.

    Returns
    -------
    float
        252.0 for business days, 365.0 for all days, 52.0 for weeks, 12.0 for months, 4.0 for quarters, 8760.0 for
        the hours of all days, 1764.0 for seven bars on each business day.

    Raises
    ------
    DataError
        If `index` is no DatetimeIndex, does not increase, or has fewer than three different dates.

    Examples
    --------
    >>> periods_per_year(pd.bdate_range("2020-01-01", "2020-12-31"))
    252.0
    >>> periods_per_year(pd.date_range("2020-01-31", periods=24, freq="ME"))
    12.0
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise DataError(f"rows in a year are read off a DatetimeIndex, got {type(index).__name__}; pass a number")
    if index.hasnans or not index.is_monotonic_increasing or not index.is_unique:
        raise DataError("the dates must increase without repetition or gaps (NaT) to count rows in a year; sort them")
    dates, counts = np.unique(index.tz_localize(None).to_numpy().astype("datetime64[D]"), return_counts=True)
    if len(dates) < 3:
        raise DataError(f"rows in a year need at least three different dates, got {len(dates)}; pass a number")
    steps = np.diff(dates).astype(float)
    years = float(steps.sum()) / 365.25
    if np.median(steps) == 1.0 and np.is_busday(dates).all():
        years = float(np.busday_count(dates[0], dates[-1])) / (365.25 * 5.0 / 7.0)
    dates_per_year = _convention(len(steps) / years)
    per_date = float(counts[1:-1].mean())
    return dates_per_year * per_date


def _convention(counted: float) -> float:
    """The customary number of rows in a year, where one is near."""
    for customary in CONVENTIONS:
        if abs(counted / customary - 1.0) <= CONVENTION_TOLERANCE:
            return customary
    return counted


def annualized_return(returns: ArrayLike, *, periods_per_year: float = 252.0) -> float:
    """Constant yearly rate that turns the first wealth into the last.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple returns per period, at least -1.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    float
        -1.0 after a total loss.

    Raises
    ------
    DataError
        If `returns` is empty, not one-dimensional, not finite, or falls below -1.

    Examples
    --------
    >>> round(annualized_return([0.1, 0.1], periods_per_year=1), 10)
    0.1
    """
    values = _checked(returns)
    return float(np.prod(1.0 + values) ** (periods_per_year / values.size) - 1.0)


def annualized_volatility(returns: ArrayLike, *, periods_per_year: float = 252.0) -> float:
    """Sample standard deviation times the root of `periods_per_year`.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple returns per period; at least two.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    float
        Fraction per root year.

    Raises
    ------
    DataError
        If `returns` has fewer than two rows or cannot be used as in `annualized_return`.

    Examples
    --------
    >>> round(annualized_volatility([0.01, -0.01], periods_per_year=252), 6)
    0.224499
    """
    values = _checked(returns, at_least=2)
    return float(skm.standard_deviation(values) * np.sqrt(periods_per_year))


def sharpe_ratio(returns: ArrayLike, *, periods_per_year: float = 252.0) -> float:
    """Mean over standard deviation, annualised; no risk-free rate is subtracted.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple (excess) returns per period; at least two.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    float
        NaN for a constant series.

    Examples
    --------
    >>> round(sharpe_ratio([0.02, -0.01, 0.02], periods_per_year=1), 4)
    0.5774
    """
    values = _checked(returns, at_least=2)
    return _ratio(values.mean(), skm.standard_deviation(values)) * float(np.sqrt(periods_per_year))


def sortino_ratio(returns: ArrayLike, *, periods_per_year: float = 252.0) -> float:
    """Mean over downside deviation from zero, annualised.

    The downside deviation divides by the number of all rows, gains included [1]_.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple (excess) returns per period.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    float
        NaN for a series without a loss.

    References
    ----------
    .. [1] F. Sortino and L. Price (1994). Performance measurement in a downside risk framework.
       Journal of Investing 3(3), 59-64.

    Examples
    --------
    >>> round(sortino_ratio([0.02, -0.01, 0.02], periods_per_year=1), 4)
    1.7321
    """
    values = _checked(returns)
    downside = skm.semi_deviation(values, min_acceptable_return=0.0, biased=True)
    return _ratio(values.mean(), downside) * float(np.sqrt(periods_per_year))


def max_drawdown(returns: ArrayLike) -> float:
    """Deepest fall of compounded wealth below its running peak.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple returns per period.

    Returns
    -------
    float in [0, 1]
        0.25 is a fall by a quarter; the starting wealth counts as a peak.

    Examples
    --------
    >>> max_drawdown([1.0, -0.5, 0.1])
    0.5
    """
    return float(-skm.get_drawdowns(_checked(returns), compounded=True).min() + 0.0)


def calmar_ratio(returns: ArrayLike, *, periods_per_year: float = 252.0) -> float:
    """Annualised (compound) return over maximum drawdown.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple returns per period.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    float
        NaN for a series that never falls.

    Examples
    --------
    >>> calmar_ratio([1.0, -0.5, 1.0], periods_per_year=3)
    2.0
    """
    return _ratio(annualized_return(returns, periods_per_year=periods_per_year), max_drawdown(returns))


def wealth_path(returns: pd.Series) -> pd.Series:
    """Compounded value of one unit, after each period.

    Parameters
    ----------
    returns : Series
        Simple returns per period.

    Returns
    -------
    Series
        Same index; the starting wealth 1 lies before the first row.

    Examples
    --------
    >>> wealth_path(pd.Series([0.5, -0.5])).tolist()
    [1.5, 0.75]
    """
    wealth = skm.get_cumulative_returns(_checked(returns), compounded=True)
    return pd.Series(wealth, index=returns.index, name="wealth")


def drawdown_path(returns: pd.Series) -> pd.Series:
    """Fall of compounded wealth below its running peak, after each period.

    Parameters
    ----------
    returns : Series
        Simple returns per period.

    Returns
    -------
    Series
        Same index, values in [-1, 0].

    Examples
    --------
    >>> drawdown_path(pd.Series([0.5, -0.5, 0.5])).tolist()
    [0.0, -0.5, -0.25]
    """
    drawdowns = skm.get_drawdowns(_checked(returns), compounded=True)
    return pd.Series(drawdowns, index=returns.index, name="drawdown")


def rolling_volatility(returns: pd.Series, *, window: int = 63, periods_per_year: float = 252.0) -> pd.Series:
    """Annualised volatility of the last `window` rows, at each row.

    Parameters
    ----------
    returns : Series
        Simple returns per period.
    window : int >= 2
        Rows looked back on, the present one included.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    Series
        Starts at row `window`; empty where there are fewer.

    Raises
    ------
    DataError
        If `returns` cannot be used, or `window` is below 2.

    Examples
    --------
    >>> rolling_volatility(pd.Series([0.01, -0.01, 0.01]), window=2).round(6).tolist()
    [0.224499, 0.224499]
    """
    if window < 2:
        raise DataError(f"rolling volatility needs window >= 2 rows, got {window}")
    _checked(returns)
    volatility = returns.rolling(window).std() * np.sqrt(periods_per_year)
    return volatility.iloc[window - 1 :].rename("rolling_volatility")


def _ratio(numerator: float, denominator: float) -> float:
    # Rounding leaves a constant series a standard deviation of about 1e-17 times its level.
    return float(numerator / denominator) if denominator > 1e-14 * abs(numerator) else float("nan")


def _checked(returns: ArrayLike, *, at_least: int = 1) -> NDArray[np.float64]:
    values = np.asarray(returns, dtype=float)
    if values.ndim != 1 or values.size < at_least:
        raise DataError(f"returns must be one series of at least {at_least} rows, got shape {values.shape}")
    if not np.isfinite(values).all() or (values < -1.0).any():
        raise DataError("returns must be finite and at least -1 (a total loss); clean the series first")
    return values
