"""How sure a difference between two Sharpe ratios is.

    difference = (mean_a / std_a - mean_b / std_b) * sqrt(periods_per_year)

of all days of two tracks together. Its interval is a studentised one of Ledoit and Wolf [1]_,

    difference +- q s,    q the `confidence` quantile of |difference* - difference| / s*,

from circular blocks of consecutive windows (what one decision holds, about a month), the same ones for both
tracks. The standard error s is that of the linear part (the delta method): a Sharpe ratio S = mean / std changes
with the days r of a window by

    z(w) = sum over w of  (r - mean) / std - S / 2 * ((r - mean)^2 / std^2 - 1)

over the number of days, and s is the block standard error of the mean of z_a - z_b, in every bootstrap sample
with the moments of that sample. Windows, not days, are resampled, so that figures of volatility and of Sharpe
ratio rest on the same units; persistence within a window is kept whole.

Positive where a has the larger ratio. The risk-free rate is zero, as in `eigenfolio.measures`.

References
----------
.. [1] O. Ledoit and M. Wolf (2008). Robust performance hypothesis testing with the Sharpe ratio. Journal of
   Empirical Finance 15(5), 850-859.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio import measures
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import significance
from eigenfolio.evaluation.significance import Block

__all__ = ["SharpeDifference", "sharpe_difference"]


@dataclass(frozen=True)
class SharpeDifference:
    """Difference of two Sharpe ratios, a less b; positive where a has the larger one.

    Attributes
    ----------
    difference, low, high : float
        Annualised, with its interval.
    sharpe_a, sharpe_b : float
        Annualised ratios, those of `eigenfolio.measures.sharpe_ratio`.
    standard_error : float
        Of `difference`.
    p_value : float in (0, 1]
        Two-sided, of `difference` being zero; from the same bootstrap as the interval.
    n_windows : int
        Windows used.
    block : int
        Consecutive windows per block.
    minimum_detectable : float
        True difference that this interval would tell from zero with a power of 80 %.
    """

    difference: float
    low: float
    high: float
    sharpe_a: float
    sharpe_b: float
    standard_error: float
    p_value: float
    n_windows: int
    block: int
    minimum_detectable: float


def sharpe_difference(
    a: pd.Series,
    b: pd.Series,
    *,
    windows: pd.Series,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 2000,
    block: Block = "auto",
    confidence: float = 0.95,
    rng: np.random.Generator,
) -> SharpeDifference:
    """Compare the Sharpe ratios of two tracks of the same days.

    Parameters
    ----------
    a, b : Series
        Simple (excess) returns per day, net of whatever the caller has subtracted; same index.
    windows : Series of int
        Number of the window each day belongs to, same index. All days count, so that the ratios are those of a
        performance table.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Bootstrap samples.
    block : int or "auto"
        Consecutive windows per block. "auto" takes, of 1, 2, 3, 4, 6 and 8, the length with the largest standard
        error of which six blocks fit into the windows; this is conservative.
    confidence : float in (0, 1)
        Of the interval.
    rng : numpy.random.Generator
        Draws the blocks.

    Returns
    -------
    SharpeDifference

    Raises
    ------
    DataError
        If the indices differ, a return is not finite, a track never varies, or there are fewer than
        max(8, 4 * block) windows.
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> days = pd.bdate_range("2020-01-01", periods=420)
    >>> market = pd.Series(0.01 * rng.standard_normal(420), index=days)
    >>> windows = pd.Series(np.arange(420) // 21, index=days)
    >>> found = sharpe_difference(market + 0.001, market, windows=windows, rng=rng)
    >>> found.difference > 0.0, found.low < found.difference < found.high
    (True, True)
    """
    significance.check_confidence(confidence)
    if not periods_per_year > 0.0:
        raise ParameterError(f"periods_per_year must be positive, got {periods_per_year!r}")
    significance.check_tracks({"a": a, "b": b}, windows)
    ratios = [measures.sharpe_ratio(track, periods_per_year=periods_per_year) for track in (a, b)]
    for name, ratio in zip("ab", ratios, strict=True):
        if np.isnan(ratio):
            raise DataError(f"track {name!r} never varies, so it has no Sharpe ratio")
    sums = _window_moments(a, b, windows)
    influence = _influence(sums, sums.mean(axis=0))
    length = significance.choose_block(influence[:, None], block)
    draws = significance.block_starts(len(sums), n_bootstrap=n_bootstrap, block=length, rng=rng)
    error = significance.block_error(significance.block_means(influence, length), draws.shape[1])
    spread = _spread(significance.block_means(sums, length)[draws], sums.mean(axis=0))
    annual, difference = float(np.sqrt(periods_per_year)), ratios[0] - ratios[1]
    critical = significance.quantile(spread, confidence)
    half = critical * error * annual
    return SharpeDifference(
        difference=difference,
        low=difference - half,
        high=difference + half,
        sharpe_a=ratios[0],
        sharpe_b=ratios[1],
        standard_error=error * annual,
        p_value=significance.p_value(difference, error * annual, spread),
        n_windows=len(sums),
        block=length,
        minimum_detectable=significance.minimum_detectable(
            error * annual, confidence=confidence, critical_value=critical
        ),
    )


def _window_moments(a: pd.Series, b: pd.Series, windows: pd.Series) -> NDArray[np.float64]:
    """Days, sum of a, of its squares, of b, of its squares in each window, shape (n_windows, 5).

    Tracks are scaled to a standard deviation of one first, which no ratio sees.
    """
    x, y = (track.to_numpy(dtype=float) / track.std() for track in (a, b))
    days = pd.DataFrame({"days": 1.0, "x": x, "xx": x * x, "y": y, "yy": y * y})
    return days.groupby(windows.to_numpy()).sum().to_numpy()


def _moments(
    means: NDArray[np.float64], track: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, variance and Sharpe ratio of a day from means of window sums, shape (..., 5); track 0 or 1."""
    mean = means[..., 1 + 2 * track] / means[..., 0]
    variance = np.maximum(means[..., 2 + 2 * track] / means[..., 0] - mean**2, 1e-12)  # a sample of cash only
    return mean, variance, mean / np.sqrt(variance)


def _influence(sums: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """z_a - z_b of window (or mean block) sums, per mean window length, with the moments in `means`."""
    parts = []
    for track in (0, 1):
        mean, variance, ratio = _moments(means, track)
        days, first, second = sums[..., 0], sums[..., 1 + 2 * track], sums[..., 2 + 2 * track]
        centred = second - 2.0 * mean * first + mean**2 * days
        parts.append((first - mean * days) / np.sqrt(variance) - 0.5 * ratio * (centred / variance - days))
    return (parts[0] - parts[1]) / means[..., 0]


def _spread(drawn: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Studentised distance of the difference in every sample of blocks, (n_bootstrap, n_blocks, 5)."""
    resampled = drawn.mean(axis=1, keepdims=True)  # (n_bootstrap, 1, 5)
    shift = [_moments(resampled, track)[2][:, 0] - _moments(means, track)[2] for track in (0, 1)]
    return significance.studentised(shift[0] - shift[1], _influence(drawn, resampled))
