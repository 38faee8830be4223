r"""Four regimes of a market, labelled day by day from what was known: calm, trending, stressed, crisis.

Three measures are taken at every row, over assets with a return on the last 21 rows:

    volatility     root mean square of the market's return over 21 rows
    correlation    mean pair correlation of the assets over 63 rows, as in the correlation family
    trend          mean of the market's return over 126 rows / (standard deviation / sqrt(126)), signed

and each becomes a percentile among its own values so far, the trend by its size (v, c and t below). The percentile is
the share of earlier values below the present one, ties (itself among them) counted half; it begins when a measure has
`burn_in` values. The first rule that holds names the day:

    crisis         v >= 0.90 and c >= 0.75
    stressed       v >= 0.75, or v >= 0.50 and c >= 0.90
    trending       t >= 2/3
    calm           otherwise

Where there is no pair of assets, c is unknown and volatility alone decides. A row without v or t has no label; where
nothing is missing these are the first burn_in + 124 rows. With `confirm` above 1, a new label replaces the standing one
when it has come up on so many rows in a row; nothing is ever relabelled afterwards.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from eigenfolio.errors import ParameterError
from eigenfolio.features.correlation import MIN_RETURNS, RECENT_ROWS
from eigenfolio.features.regime import market_returns, rolling_moments
from eigenfolio.panel import Panel

__all__ = ["REGIMES", "average_correlation", "market_regimes"]

FloatArray = NDArray[np.float64]

REGIMES: tuple[str, ...] = ("calm", "trending", "stressed", "crisis")

_VOLATILITY_ROWS = 21
_CORRELATION_ROWS = 63
_TREND_ROWS = 126


def market_regimes(
    panel: Panel,
    *,
    burn_in: int = 252,
    crisis_volatility: float = 0.90,
    crisis_correlation: float = 0.75,
    stressed_volatility: float = 0.75,
    stressed_correlation: float = 0.90,
    trending: float = 2.0 / 3.0,
    confirm: int = 1,
) -> pd.DataFrame:
    """Label every row of a panel with its regime, from that row and those before it.

    Parameters
    ----------
    panel : Panel
        Any number of assets. The market is that of `eigenfolio.features.regime.market_returns`.
    burn_in : int
        Values a measure needs before its percentile counts, at least 1.
    crisis_volatility, crisis_correlation : float in [0, 1]
        Percentiles that together make a crisis.
    stressed_volatility : float in [0, 1]
        Percentile of volatility that makes stress.
    stressed_correlation : float in [0, 1]
        Percentile of correlation that makes stress where volatility is at its median or above.
    trending : float in [0, 1]
        Percentile of the size of the trend.
    confirm : int
        Rows in a row on which a new label must come up before it stands, at least 1.

    Returns
    -------
    DataFrame of shape (n_observations, 4)
        `label` (categorical, `REGIMES`; missing in the first rows), `volatility_percentile`,
        `correlation_percentile`, `trend_percentile`.

    Raises
    ------
    ParameterError
        If a percentile leaves [0, 1], or `burn_in` or `confirm` is below 1.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> regimes = market_regimes(factor_market(10, 600, seed=0).panel)
    >>> regimes["label"].iloc[300], regimes["label"].cat.categories.tolist()
    (nan, ['calm', 'trending', 'stressed', 'crisis'])
    >>> regimes["label"].iloc[400:].isna().any()
    np.False_
    """
    thresholds = {
        "crisis_volatility": crisis_volatility,
        "crisis_correlation": crisis_correlation,
        "stressed_volatility": stressed_volatility,
        "stressed_correlation": stressed_correlation,
        "trending": trending,
    }
    for name, threshold in thresholds.items():
        if not 0.0 <= threshold <= 1.0:
            raise ParameterError(f"{name} must be a percentile in [0, 1], got {threshold}")
    for name, count in (("burn_in", burn_in), ("confirm", confirm)):
        if count < 1:
            raise ParameterError(f"{name} must be at least 1 row, got {count}")

    market = market_returns(panel)
    mean, deviation = rolling_moments(market, _TREND_ROWS)
    with np.errstate(all="ignore"):
        measures = {
            "volatility": np.sqrt(rolling_moments(market**2, _VOLATILITY_ROWS)[0]),
            "correlation": average_correlation(panel.assets["returns"], _CORRELATION_ROWS),
            "trend": np.abs(mean / deviation),
        }
    percentiles = {name: _percentiles_so_far(values, burn_in) for name, values in measures.items()}
    v, c, t = percentiles.values()

    tense = np.where(np.isnan(c), 1.0, c) >= crisis_correlation  # no pair of assets: volatility alone decides
    crisis = (v >= crisis_volatility) & tense
    stressed = (v >= stressed_volatility) | ((v >= 0.5) & (c >= stressed_correlation))
    codes = np.select([np.isnan(v) | np.isnan(t), crisis, stressed, t >= trending], [-1, 3, 2, 1], default=0)
    label = pd.Categorical.from_codes(_confirmed(codes.astype(np.int64), confirm), categories=pd.Index(REGIMES))
    columns = {"label": label} | {f"{name}_percentile": values for name, values in percentiles.items()}
    return pd.DataFrame(columns, index=panel.index)


@njit(cache=True, error_model="numpy")
def average_correlation(returns: FloatArray, n_rows: int) -> FloatArray:
    """Mean pair correlation of the last `n_rows` rows, at every row, without forming a matrix.

    With u the assets' deviations from their means over unit norm (zero where missing), the mean over pairs of u_i'u_j
    is (|sum of u|^2 - n) / (n (n - 1)).

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        NaN where missing. Assets count at a row with a return on the last 21 rows and at least 21 in the window.
    n_rows : int
        Rows of a window, at least 21.

    Returns
    -------
    ndarray of shape (n_observations,)
        NaN in the first n_rows - 1 rows, and where fewer than two assets count.

    Examples
    --------
    >>> x = np.sin(np.arange(30.0))
    >>> average_correlation(np.column_stack([x, 2 * x, -x]), 30)[-1].round(6)
    np.float64(-0.333333)
    """
    n_observations, n_assets = returns.shape
    result = np.full(n_observations, np.nan)
    total = np.empty(n_rows)
    counts = np.empty(n_assets, dtype=np.int64)
    recent = np.empty(n_assets, dtype=np.int64)
    means = np.empty(n_assets)
    scale = np.empty(n_assets)
    for end in range(n_rows, n_observations + 1):
        counts[:] = 0
        recent[:] = 0
        means[:] = 0.0
        scale[:] = 0.0
        for t in range(end - n_rows, end):
            for i in range(n_assets):
                x = returns[t, i]
                if not np.isnan(x):
                    means[i] += x
                    counts[i] += 1
                    recent[i] += t >= end - RECENT_ROWS
        for i in range(n_assets):
            means[i] /= max(counts[i], 1)
        for t in range(end - n_rows, end):
            for i in range(n_assets):
                x = returns[t, i]
                if not np.isnan(x):
                    scale[i] += (x - means[i]) ** 2
        n = 0
        for i in range(n_assets):
            varies = scale[i] > (1e-12 * means[i]) ** 2 * counts[i] and scale[i] > 0.0
            if varies and np.isfinite(scale[i]) and recent[i] > 0 and counts[i] >= MIN_RETURNS:
                scale[i] = 1.0 / np.sqrt(scale[i])
                n += 1
            else:
                scale[i] = 0.0
        if n < 2:
            continue
        squares = 0.0
        for k in range(n_rows):
            total[k] = 0.0
            for i in range(n_assets):
                x = returns[end - n_rows + k, i]
                if scale[i] > 0.0 and not np.isnan(x):
                    total[k] += (x - means[i]) * scale[i]
            squares += total[k] ** 2
        result[end - 1] = (squares - n) / (n * (n - 1.0))
    return result


def _percentiles_so_far(values: FloatArray, burn_in: int) -> FloatArray:
    """Percentile of each value among those up to it, missing where it is, or where fewer than `burn_in` are there."""
    ranks = pd.Series(values).expanding(min_periods=burn_in).rank(method="average").to_numpy()
    seen = np.cumsum(np.isfinite(values))
    with np.errstate(all="ignore"):
        percentiles: FloatArray = np.where(np.isfinite(values), (ranks - 0.5) / seen, np.nan)
    return percentiles


def _confirmed(codes: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """The standing label: a new one replaces it after `rows` rows in a row; -1 is no label."""
    result = codes.copy()
    standing, candidate, run = -1, -1, 0
    for i, code in enumerate(codes):
        run = run + 1 if code == candidate else 1
        candidate = code
        if code >= 0 and (standing < 0 or run >= rows):
            standing = code
        result[i] = standing if code >= 0 else -1
    return result
