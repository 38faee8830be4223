"""How steady the recent past was: stability, persistence, memory and shape of returns up to a row.

All windows end at the row t they describe; L is `lookback`. An asset counts when it has a return on one of the last 21
rows and at least 21 returns in the last L rows; assets whose returns do not vary in a window are left out of it. The
market is that of `eigenfolio.features.regime.market_returns`: the panel's own series, or else the mean of all returns
of a day. `market_x` is a statistic of the market, `asset_x` its mean over the assets that count. Every number is a
ratio, a correlation or a logarithm of ratios.

Stability
    volatility_ratio_h    mean over assets of ln(std of the last h rows / std of the h rows before); h = 10, 21, 63, 126
                          and L ("lookback"), each side with at least min(21, 2 h / 3) returns
    correlation_change_*  mean over pairs |C_ij - D_ij| of two correlation matrices: the halves of the last L rows, the
                          last L rows and the L before, the last 63 rows and the 63 before
    eigenvector_overlap   (|V' W|_F^2 / k - k / n) / (1 - k / n) for the k = max(1, min(5, n / 4)) leading eigenvectors
                          V and W of the two halves: 1 is the same subspace, 0 what chance gives

Decay of correlation. The last L rows are cut into B blocks of 21. r(j) is the correlation, over pairs of assets,
between the correlations of two blocks that lie j blocks apart, averaged over such blocks:

    correlation_persistence_21, _63    r(1), r(3)
    correlation_decay                  minus the slope of ln max(r(j), 0.01) on j = 1 .. B / 2 with weights r(j)^2, per
                                       21 rows; noise in the blocks is independent and scales all r(j) alike, so the
                                       slope is free of it. Missing where r(1) < 0.01: nothing is there to decay
    volatility_persistence_21, _63     correlation over assets of ln std in the last h rows with ln std in the h before

GARCH(1,1) by quasi maximum likelihood with variance targeting [1]_ on the last 4 L returns (at least 2 L), see
`fit_garch`: `market_garch_persistence` (alpha + beta), `market_garch_alpha`, `market_garch_gain` (log-likelihood per
return over a constant variance), and `asset_garch_persistence`, the median over 11 assets at evenly spaced ranks of
volatility. Gaps are closed up.

Memory and shape over the last L rows
    *_autocorrelation_j, *_absolute_autocorrelation_j    of returns and of their absolute values at lag j = 1, 5, 21
    *_volatility_of_volatility    std of ln(root mean square of 21 rows); about 0.15 for iid normal returns
    *_skewness, *_log_kurtosis    third standardised moment; ln(fourth / 3), 0 for a normal distribution
    asset_hurst, market_hurst, market_absolute_hurst    see `hurst_exponent`; those of the market over the last 4 L rows

The correlation of two assets in a window is that of their returns standardised over their own observed rows, zero where
missing; only assets seen on two thirds of each window's rows take part.

References
----------
.. [1] C. Francq, L. Horvath and J.-M. Zakoian (2011). Merits and drawbacks of variance targeting in GARCH models.
   Journal of Financial Econometrics 9(4), 619-656.
.. [2] J. Kantelhardt, E. Koscielny-Bunde, H. Rego, S. Havlin and A. Bunde (2001). Detecting long-range correlations
   with detrended fluctuation analysis. Physica A 295, 441-454.
.. [3] A. Anis and E. Lloyd (1976). The expected value of the adjusted rescaled Hurst range of independent normal
   summands. Biometrika 63(1), 111-116.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.correlation import checked_rows, counted_assets, features_frame
from eigenfolio.features.regime import market_returns
from eigenfolio.panel import Panel

__all__ = ["TEMPORAL_FEATURES", "GarchFit", "fit_garch", "hurst_exponent", "temporal_features"]

FloatArray = NDArray[np.float64]

_BLOCK = 21
_RATIO_HORIZONS = (10, 21, 63, 126)
_PERSISTENCE_HORIZONS = (21, 63)
_LAGS = (1, 5, 21)
_SMALLEST_CORRELATION = 0.01
_N_GARCH_ASSETS = 11
_LONG = 4  # lookbacks that long memory is read from, of which half must be there
_MIN_LOOKBACK = 2 * _BLOCK
_MIN_GARCH = 100
_MIN_HURST = 126

_SERIES_STATISTICS = (
    *(f"autocorrelation_{lag}" for lag in _LAGS),
    *(f"absolute_autocorrelation_{lag}" for lag in _LAGS),
    "volatility_of_volatility",
    "skewness",
    "log_kurtosis",
)

TEMPORAL_FEATURES: tuple[str, ...] = (
    *(f"volatility_ratio_{horizon}" for horizon in _RATIO_HORIZONS),
    "volatility_ratio_lookback",
    "correlation_change_halves",
    "correlation_change_lookback",
    "correlation_change_63",
    "eigenvector_overlap",
    "correlation_persistence_21",
    "correlation_persistence_63",
    "correlation_decay",
    *(f"volatility_persistence_{horizon}" for horizon in _PERSISTENCE_HORIZONS),
    "market_garch_persistence",
    "market_garch_alpha",
    "market_garch_gain",
    "asset_garch_persistence",
    *(f"market_{name}" for name in _SERIES_STATISTICS),
    *(f"asset_{name}" for name in _SERIES_STATISTICS),
    "market_hurst",
    "market_absolute_hurst",
    "asset_hurst",
)


def temporal_features(panel: Panel, rows: Sequence[int], *, lookback: int = 252) -> pd.DataFrame:
    """Describe stability, decay of correlation, GARCH persistence, memory and shape up to each row.

    Parameters
    ----------
    panel : Panel
        Its returns are read, up to and including each row.
    rows : sequence of int
        Row numbers into `panel.index`.
    lookback : int, default 252
        Rows L of the window, at least 42. GARCH and the Hurst exponents of the market use up to 4 L.

    Returns
    -------
    DataFrame of shape (len(rows), n_features)
        Columns `TEMPORAL_FEATURES`, rows `panel.index[rows]`. Missing where history is too short (L rows for a window,
        2 L for a comparison with the window before, for GARCH and for the market's Hurst exponents) or there are too
        few assets (two for pairs, three for the decay of correlation).

    Raises
    ------
    ParameterError
        If `lookback` is below 42 or a row is not in the panel.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(12, 600, seed=1).panel
    >>> values = temporal_features(panel, [251, 599])
    >>> values[["volatility_ratio_21", "correlation_change_lookback"]].round(2).rename_axis(None)
                volatility_ratio_21  correlation_change_lookback
    2010-12-22                -0.13                          NaN
    2012-04-23                 0.17                         0.05
    """
    if isinstance(lookback, bool) or not isinstance(lookback, int | np.integer) or lookback < _MIN_LOOKBACK:
        raise ParameterError(f"lookback must be a whole number of at least {_MIN_LOOKBACK} rows, got {lookback!r}")
    numbers = checked_rows(panel, rows)
    values = np.full((len(numbers), len(TEMPORAL_FEATURES)), np.nan)
    if len(numbers):
        first = max(0, int(numbers.min()) + 1 - max(_LONG * lookback, 2 * max(_RATIO_HORIZONS)))
        stop = int(numbers.max()) + 1
        returns = panel.returns.to_numpy()[first:stop]
        market = market_returns(panel, stop)[first:]
        with np.errstate(all="ignore"):
            for place, row in enumerate(numbers):
                known = int(row) + 1 - first
                values[place] = _describe(returns[:known], market[:known], int(lookback))
    return features_frame(panel, numbers, values, TEMPORAL_FEATURES)


@dataclass(frozen=True)
class GarchFit:
    """A GARCH(1,1) with variance targeting.

    Parameters
    ----------
    alpha, beta : float
        Weights of the last squared return and of the last variance, at least 0, with sum below 1.
    variance : float
        Long-run variance, the sample variance, squared return per period.
    gain : float
        Gaussian log-likelihood per return above that of a constant variance, at least 0.
    """

    alpha: float
    beta: float
    variance: float
    gain: float

    @property
    def persistence(self) -> float:
        """alpha + beta, the share of a shock to the variance that is left after one row."""
        return self.alpha + self.beta


def fit_garch(returns: FloatArray) -> GarchFit:
    """Fit a GARCH(1,1) by quasi maximum likelihood with variance targeting.

        v_t = s^2 (1 - alpha - beta) + alpha e_{t-1}^2 + beta v_{t-1},    v_1 = s^2

    e are returns less their mean, s^2 is their mean square. (alpha + beta, alpha / (alpha + beta)) is searched in
    (0, 0.9999] x (0, 1) from the best of 20 starting points by the Nelder-Mead method on their logits.

    Parameters
    ----------
    returns : ndarray of shape (n_observations,)
        At least 100 numbers, oldest first; missing ones are left out.

    Returns
    -------
    GarchFit
        With alpha and beta zero where no response to shocks makes the returns more likely.

    Raises
    ------
    DataError
        If there are fewer than 100 returns, or they do not vary.

    Notes
    -----
    On simulated series with alpha 0.10 and persistence 0.95 the estimate of the persistence has mean 0.942 and standard
    deviation 0.027 from 1,008 returns, 0.950 and 0.010 from 4,000. Where returns have no GARCH the persistence is not
    identified, and a `gain` near 1 / n_observations says so.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> variance, returns = 1.0, []
    >>> for shock in rng.standard_normal(4000):
    ...     returns.append(shock * variance**0.5)
    ...     variance = 0.03 + 0.09 * returns[-1] ** 2 + 0.88 * variance
    >>> fit = fit_garch(np.array(returns))
    >>> print(f"{fit.alpha:.2f} {fit.persistence:.2f}")
    0.09 0.98
    """
    series = _observed(returns)
    if len(series) < _MIN_GARCH:
        raise DataError(f"a GARCH model needs at least {_MIN_GARCH} returns, got {len(series)}")
    scaled = _scaled(series)
    if scaled is None:
        raise DataError("a GARCH model needs returns that vary; these are constant")
    alpha, beta, gain = _garch(scaled)
    return GarchFit(float(alpha), float(beta), float(np.mean((series - series.mean()) ** 2)), float(gain))


def hurst_exponent(series: FloatArray) -> float:
    """Estimate the Hurst exponent by detrended fluctuation analysis with an exact small-sample correction.

    The sums of the centred series are cut into blocks of s rows, and F(s)^2 is the mean squared residual from a
    straight line fitted to each block [2]_. For independent numbers its expectation is (s^2 - 4) / (15 s) times their
    variance, so

        H = 1/2 + slope of ln(F(s) / sqrt((s^2 - 4) / (15 s))) on ln s

    is centred at 1/2 on independent numbers however short the blocks, which is what [3]_ did for the rescaled range.
    Eight scales s from 8 rows to a quarter of the series, weighted by their number of blocks; blocks end at the last
    row.

    Parameters
    ----------
    series : ndarray of shape (n_observations,)
        At least 126 numbers (returns, not prices), oldest first; missing ones are left out.

    Returns
    -------
    float
        0.5 for independent numbers, above for persistent and below for anti-persistent ones. On fractional Gaussian
        noise with H = 0.3, 0.5, 0.7 and 1,008 rows the mean is 0.306, 0.495, 0.689, the standard deviation 0.02 to
        0.04; with 252 rows 0.306, 0.491, 0.682 and 0.05 to 0.08.

    Raises
    ------
    DataError
        If there are fewer than 126 numbers, or they do not vary.

    Examples
    --------
    >>> print(f"{hurst_exponent(np.random.default_rng(0).standard_normal(2000)):.2f}")
    0.51
    """
    numbers = _observed(series)
    if len(numbers) < _MIN_HURST:
        raise DataError(f"a Hurst exponent needs at least {_MIN_HURST} numbers, got {len(numbers)}")
    scaled = _scaled(numbers)
    if scaled is None:
        raise DataError("a Hurst exponent needs numbers that vary; these are constant")
    return float(_hurst(scaled))


def _describe(returns: FloatArray, market: FloatArray, lookback: int) -> FloatArray:
    """The features of the last row of `returns` (n_rows, n_assets) and `market` (n_rows,)."""
    found = dict.fromkeys(TEMPORAL_FEATURES, np.nan)
    n_rows = len(returns)
    counted = counted_assets(returns[-lookback:])
    span = max(_LONG * lookback, 2 * max(_RATIO_HORIZONS))
    recent = returns[-span:][:, counted]  # the one copy

    for horizon, name in (*((h, str(h)) for h in _RATIO_HORIZONS), (lookback, "lookback")):
        if n_rows >= 2 * horizon:
            pair = _log_volatilities(recent, horizon)
            found[f"volatility_ratio_{name}"] = _mean(pair[0] - pair[1])
            if horizon in _PERSISTENCE_HORIZONS and name != "lookback":
                found[f"volatility_persistence_{name}"] = _pearson(*pair)

    if n_rows >= 2 * 63:
        found["correlation_change_63"] = _correlation_change(recent[-126:-63], recent[-63:])
    if n_rows >= 2 * lookback:
        found["correlation_change_lookback"] = _correlation_change(
            recent[len(recent) - 2 * lookback : len(recent) - lookback], recent[-lookback:]
        )
        _describe_long_memory(found, recent, market, lookback)
    if n_rows >= lookback:
        half = lookback // 2
        early, late = recent[-lookback:][:half], recent[-half:]
        halves = _standardised(early, late)
        found["correlation_change_halves"] = _mean_absolute_difference(*halves)
        found["eigenvector_overlap"] = _overlap(*halves)
        _describe_decay(found, recent[-lookback:])
        _describe_series(found, recent[-lookback:], market[-lookback:])
    return np.array([found[name] for name in TEMPORAL_FEATURES])


def _describe_long_memory(found: dict[str, float], recent: FloatArray, market: FloatArray, lookback: int) -> None:
    series = _observed(market[-_LONG * lookback :])
    scaled = _scaled(series) if len(series) >= 2 * lookback else None
    if scaled is not None:
        if len(scaled) >= _MIN_GARCH:
            alpha, beta, gain = _garch(scaled)
            found["market_garch_persistence"] = alpha + beta
            found["market_garch_alpha"] = alpha
            found["market_garch_gain"] = gain
        if len(scaled) >= _MIN_HURST:
            found["market_hurst"] = _hurst(scaled)
            absolute = _scaled(np.abs(scaled))
            found["market_absolute_hurst"] = np.nan if absolute is None else _hurst(absolute)

    window = recent[-_LONG * lookback :]
    enough = (~np.isnan(window)).sum(axis=0) >= max(2 * lookback, _MIN_GARCH)
    volatility = _volatility(window, 2)
    candidates = np.flatnonzero(enough & np.isfinite(volatility))
    if len(candidates):
        order = candidates[np.argsort(volatility[candidates], kind="stable")]
        ranks = np.unique(np.linspace(0, len(order) - 1, min(_N_GARCH_ASSETS, len(order))).round().astype(int))
        fits = []
        for asset in order[ranks]:
            column = _scaled(_observed(window[:, asset]))
            if column is not None:
                alpha, beta, _ = _garch(column)
                fits.append(alpha + beta)
        found["asset_garch_persistence"] = float(np.median(fits)) if fits else np.nan


def _describe_decay(found: dict[str, float], window: FloatArray) -> None:
    n_blocks = len(window) // _BLOCK
    blocks = _standardised(*np.split(window[-n_blocks * _BLOCK :], n_blocks))
    n_assets = blocks[0].shape[1]
    if n_assets < 3 or n_blocks < 4:
        return
    # <C_a, C_b> = |Z_a Z_b'|^2 needs no matrix of the size of the universe; the diagonals are 1.
    stacked = np.concatenate(blocks)
    gram = stacked @ stacked.T  # (rows, rows)
    products = (gram**2).reshape(n_blocks, _BLOCK, n_blocks, _BLOCK).sum(axis=(1, 3)) - n_assets
    sums = (stacked.sum(axis=1) ** 2).reshape(n_blocks, _BLOCK).sum(axis=1) - n_assets
    n_pairs = n_assets * (n_assets - 1)
    covariance = products / n_pairs - np.outer(sums, sums) / n_pairs**2
    spread = np.diag(covariance)
    if (spread < 1e-12).any():
        return
    similarity = covariance / np.sqrt(np.outer(spread, spread))
    by_lag = np.array([np.diagonal(similarity, lag).mean() for lag in range(1, max(3, n_blocks // 2) + 1)])
    found["correlation_persistence_21"] = by_lag[0]
    found["correlation_persistence_63"] = by_lag[2]
    fitted = by_lag[: n_blocks // 2]
    if len(fitted) >= 2 and by_lag[0] >= _SMALLEST_CORRELATION:
        fitted = np.maximum(fitted, _SMALLEST_CORRELATION)
        weights = fitted**2 / (fitted**2).sum()  # the error of ln r is in proportion to 1 / r
        lags = np.arange(len(fitted)) - weights @ np.arange(len(fitted))
        found["correlation_decay"] = -float((weights * lags) @ np.log(fitted) / (weights @ lags**2))


def _describe_series(found: dict[str, float], window: FloatArray, market: FloatArray) -> None:
    of_market = _series_statistics(market[None])[0]
    of_assets = _series_statistics(np.ascontiguousarray(window.T))  # (n_assets, n_statistics + 1)
    for number, name in enumerate(_SERIES_STATISTICS):
        found[f"market_{name}"] = of_market[number]
        found[f"asset_{name}"] = _mean(of_assets[:, number])
    found["asset_hurst"] = _mean(of_assets[:, -1])


def _mean(values: FloatArray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def _pearson(first: FloatArray, second: FloatArray) -> float:
    """Correlation over the places where both are finite; missing below three places or without variation."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return np.nan
    x, y = first[both] - first[both].mean(), second[both] - second[both].mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / norm, -1.0, 1.0)) if norm > 1e-20 else np.nan


def _observed(series: FloatArray) -> FloatArray:
    values = np.asarray(series, dtype=np.float64)
    return values[~np.isnan(values)]


def _scaled(series: FloatArray) -> FloatArray | None:
    """Centred, with mean square 1; None where nothing varies."""
    centred = series - series.mean()
    square = np.mean(centred**2)
    if not square > 1e-24 * np.mean(series**2) or not np.isfinite(square):
        return None
    return centred / np.sqrt(square)


def _volatility(window: FloatArray, needed: int) -> FloatArray:
    """Sample standard deviation of each column; missing below `needed` returns or without variation."""
    seen = ~np.isnan(window)
    count = seen.sum(axis=0)
    filled = np.where(seen, window, 0.0)
    mean = filled.sum(axis=0) / count
    squares = (np.where(seen, window - mean, 0.0) ** 2).sum(axis=0)
    varies = squares > 1e-24 * (filled**2).sum(axis=0)
    return np.where((count >= max(2, needed)) & varies, np.sqrt(squares / (count - 1)), np.nan)


def _log_volatilities(recent: FloatArray, horizon: int) -> tuple[FloatArray, FloatArray]:
    """Of the last `horizon` rows and of those before, (n_assets,) each."""
    needed = min(_BLOCK, -(-2 * horizon // 3))
    before = recent[len(recent) - 2 * horizon : len(recent) - horizon]
    return np.log(_volatility(recent[-horizon:], needed)), np.log(_volatility(before, needed))


def _standardised(*windows: FloatArray) -> list[FloatArray]:
    """Z of each window with sum of squares 1 per column, zero where missing, for the assets usable in all of them."""
    usable = np.ones(windows[0].shape[1], dtype=bool)
    centred = []
    for window in windows:
        seen = ~np.isnan(window)
        count = seen.sum(axis=0)
        filled = np.where(seen, window, 0.0)
        deviations = np.where(seen, window - filled.sum(axis=0) / count, 0.0)
        squares = (deviations**2).sum(axis=0)
        usable &= (3 * count >= 2 * len(window)) & (squares > 1e-24 * (filled**2).sum(axis=0))
        centred.append(deviations / np.sqrt(squares))
    return [values[:, usable] for values in centred]


def _correlation_change(before: FloatArray, after: FloatArray) -> float:
    return _mean_absolute_difference(*_standardised(before, after))


def _mean_absolute_difference(before: FloatArray, after: FloatArray) -> float:
    if before.shape[1] < 2:
        return np.nan
    return _mean_off_diagonal(before.T @ before, after.T @ after)


@njit(cache=True, error_model="numpy")
def _mean_off_diagonal(first: FloatArray, second: FloatArray) -> float:
    n = first.shape[0]
    total = 0.0
    for i in range(1, n):
        part = 0.0
        for j in range(i):
            part += abs(first[i, j] - second[i, j])
        total += part
    return total / (n * (n - 1) / 2)


def _overlap(before: FloatArray, after: FloatArray) -> float:
    n_assets = before.shape[1]
    if n_assets < 2:
        return np.nan
    k = max(1, min(5, n_assets // 4))
    first, second = _leading_vectors(before, k), _leading_vectors(after, k)
    if first is None or second is None:
        return np.nan
    share = ((first.T @ second) ** 2).sum() / k
    return float((share - k / n_assets) / (1.0 - k / n_assets))


def _leading_vectors(standardised: FloatArray, k: int) -> FloatArray | None:
    """The k leading eigenvectors of Z'Z, (n_assets, k), from the smaller of the two Gram matrices."""
    n_rows, n_assets = standardised.shape
    if n_assets <= n_rows:
        return np.linalg.eigh(standardised.T @ standardised)[1][:, -k:]
    eigenvalues, vectors = np.linalg.eigh(standardised @ standardised.T)
    if eigenvalues[-k] <= 1e-10 * eigenvalues[-1]:
        return None
    return standardised.T @ vectors[:, -k:] / np.sqrt(eigenvalues[-k:])


@njit(cache=True, error_model="numpy")
def _series_statistics(columns: FloatArray) -> FloatArray:
    """Statistics of each row of `columns` (n_series, n_rows): `_SERIES_STATISTICS`, then the Hurst exponent."""
    n_series, n_rows = columns.shape
    result = np.full((n_series, 10), np.nan)
    absolute = np.empty(n_rows)
    for number in range(n_series):
        series = columns[number]
        n_seen, total, squares = 0, 0.0, 0.0
        for value in series:
            if not np.isnan(value):
                n_seen += 1
                total += value
                squares += value * value
        if n_seen < 21:
            continue
        mean = total / n_seen
        second, third, fourth = 0.0, 0.0, 0.0
        for value in series:
            if not np.isnan(value):
                square = (value - mean) ** 2
                second += square
                third += square * (value - mean)
                fourth += square * square
        if not second > 1e-24 * squares:
            continue
        for row in range(n_rows):
            absolute[row] = abs(series[row])
        for place, lag in enumerate((1, 5, 21)):
            result[number, place] = _autocorrelation(series, lag)
            result[number, 3 + place] = _autocorrelation(absolute, lag)
        result[number, 6] = _volatility_of_volatility(series)
        variance = second / n_seen
        result[number, 7] = third / n_seen / variance**1.5
        result[number, 8] = np.log(fourth / n_seen / variance**2 / 3.0)
        if n_seen >= 126:
            scaled = np.empty(n_seen)
            place = 0
            for value in series:
                if not np.isnan(value):
                    scaled[place] = (value - mean) / np.sqrt(variance)
                    place += 1
            result[number, 9] = _hurst(scaled)
    return result


@njit(cache=True, error_model="numpy")
def _autocorrelation(series: FloatArray, lag: int) -> float:
    """Mean product of deviations `lag` rows apart, where both are seen (10 pairs at least), over their mean square."""
    n_seen, total = 0, 0.0
    for value in series:
        if not np.isnan(value):
            n_seen += 1
            total += value
    mean = total / n_seen
    squares, products, n_pairs = 0.0, 0.0, 0
    for row in range(len(series)):
        if np.isnan(series[row]):
            continue
        deviation = series[row] - mean
        squares += deviation * deviation
        if row >= lag and not np.isnan(series[row - lag]):
            products += deviation * (series[row - lag] - mean)
            n_pairs += 1
    if n_pairs < 10 or not squares > 1e-24 * n_seen * mean * mean:
        return np.nan
    return max(-1.0, min(1.0, (products / n_pairs) / (squares / n_seen)))


@njit(cache=True, error_model="numpy")
def _volatility_of_volatility(series: FloatArray) -> float:
    """Standard deviation of ln rms over all 21-row windows with 14 returns or more, of which 21 must be there."""
    n_rows = len(series)
    logs = np.empty(n_rows)
    n_logs = 0
    for last in range(20, n_rows):
        squares, n_seen = 0.0, 0
        for row in range(last - 20, last + 1):
            if not np.isnan(series[row]):
                squares += series[row] * series[row]
                n_seen += 1
        if n_seen >= 14 and squares > 0.0:
            logs[n_logs] = 0.5 * np.log(squares / n_seen)
            n_logs += 1
    if n_logs < 21:
        return np.nan
    mean = 0.0
    for place in range(n_logs):
        mean += logs[place]
    mean /= n_logs
    total = 0.0
    for place in range(n_logs):
        total += (logs[place] - mean) ** 2
    return np.sqrt(total / (n_logs - 1))


@njit(cache=True, error_model="numpy")
def _hurst(scaled: FloatArray) -> float:
    """Detrended fluctuation analysis of a centred series; see `hurst_exponent`."""
    n_rows = len(scaled)
    profile = np.cumsum(scaled)
    weights, total_x, total_y, total_xx, total_xy = 0.0, 0.0, 0.0, 0.0, 0.0
    previous = 0
    for number in range(8):
        scale = round(8.0 * (n_rows / 32.0) ** (number / 7.0))
        if scale == previous:
            continue
        previous = scale
        n_blocks = n_rows // scale
        spread = scale * (scale * scale - 1.0) / 12.0  # sum of squares of the centred time
        residual = 0.0
        for block in range(n_blocks):
            start = n_rows - (block + 1) * scale
            mean = 0.0
            for row in range(scale):
                mean += profile[start + row]
            mean /= scale
            squares, slope = 0.0, 0.0
            for row in range(scale):
                deviation = profile[start + row] - mean
                squares += deviation * deviation
                slope += deviation * (row - (scale - 1) / 2.0)
            residual += max(0.0, squares - slope * slope / spread)
        fluctuation = residual / (n_blocks * scale)
        if not fluctuation > 1e-20:
            return np.nan
        x = np.log(scale)
        y = 0.5 * np.log(fluctuation * 15.0 * scale / (scale * scale - 4.0))
        weights += n_blocks
        total_x += n_blocks * x
        total_y += n_blocks * y
        total_xx += n_blocks * x * x
        total_xy += n_blocks * x * y
    return 0.5 + (total_xy - total_x * total_y / weights) / (total_xx - total_x * total_x / weights)


@njit(cache=True, error_model="numpy")
def _garch_loss(scaled: FloatArray, persistence: float, alpha: float) -> float:
    """Negative Gaussian log-likelihood per return, less its constant; 0.5 at a constant variance of 1."""
    variance = 1.0
    total = 0.0
    beta = persistence - alpha
    for value in scaled:
        square = value * value
        total += np.log(variance) + square / variance
        variance = (1.0 - persistence) + alpha * square + beta * variance
    return 0.5 * total / len(scaled)


@njit(cache=True, error_model="numpy")
def _garch_point(first: float, second: float) -> tuple[float, float]:
    """(persistence, alpha) of two logits, which are held within [-12, 12]."""
    persistence = 0.9999 / (1.0 + np.exp(-max(-12.0, min(12.0, first))))
    return persistence, persistence / (1.0 + np.exp(-max(-12.0, min(12.0, second))))


@njit(cache=True, error_model="numpy")
def _garch_loss_at(scaled: FloatArray, first: float, second: float) -> float:
    persistence, alpha = _garch_point(first, second)
    return _garch_loss(scaled, persistence, alpha)


@njit(cache=True, error_model="numpy")
def _garch(scaled: FloatArray) -> tuple[float, float, float]:
    """(alpha, beta, gain per return) of a series with mean 0 and mean square 1, by Nelder and Mead."""
    start_x, start_y, lowest = 0.0, 0.0, np.inf
    for persistence in (0.3, 0.7, 0.9, 0.97, 0.995):
        for share in (0.03, 0.1, 0.25, 0.6):
            loss = _garch_loss(scaled, persistence, persistence * share)
            if loss < lowest:
                lowest = loss
                start_x = np.log(persistence / (0.9999 - persistence))
                start_y = np.log(share / (1.0 - share))

    x = np.array([start_x, start_x + 0.5, start_x])  # the corners; scalars keep compiling short
    y = np.array([start_y, start_y, start_y + 0.5])
    losses = np.empty(3)
    for corner in range(3):
        losses[corner] = _garch_loss_at(scaled, x[corner], y[corner])
    for _ in range(200):
        for first, second in ((0, 1), (1, 2), (0, 1)):  # best corner first
            if losses[second] < losses[first]:
                x[first], x[second] = x[second], x[first]
                y[first], y[second] = y[second], y[first]
                losses[first], losses[second] = losses[second], losses[first]
        width = max(abs(x[1] - x[0]), abs(y[1] - y[0]), abs(x[2] - x[0]), abs(y[2] - y[0]))
        if losses[2] - losses[0] < 1e-11 and width < 1e-3:
            break
        centre_x, centre_y = 0.5 * (x[0] + x[1]), 0.5 * (y[0] + y[1])
        step_x, step_y = centre_x - x[2], centre_y - y[2]
        loss = _garch_loss_at(scaled, centre_x + step_x, centre_y + step_y)
        size, chosen = 1.0, loss  # reflect
        if loss < losses[0]:
            expanded = _garch_loss_at(scaled, centre_x + 2.0 * step_x, centre_y + 2.0 * step_y)
            if expanded < loss:
                size, chosen = 2.0, expanded
        elif loss >= losses[1]:
            size = 0.5 if loss < losses[2] else -0.5
            chosen = _garch_loss_at(scaled, centre_x + size * step_x, centre_y + size * step_y)
        if chosen < min(loss, losses[2]) or size == 1.0 or size == 2.0:
            x[2], y[2], losses[2] = centre_x + size * step_x, centre_y + size * step_y, chosen
        else:
            for corner in range(1, 3):  # shrink toward the best
                x[corner], y[corner] = 0.5 * (x[0] + x[corner]), 0.5 * (y[0] + y[corner])
                losses[corner] = _garch_loss_at(scaled, x[corner], y[corner])
    best = np.argmin(losses)
    gain = 0.5 - losses[best]
    if not gain > 1e-7:
        return 0.0, 0.0, 0.0
    persistence, alpha = _garch_point(x[best], y[best])
    return alpha, persistence - alpha, gain
