r"""The regime family: volatility, VIX, liquidity, volume, dispersion, stress, trend and rotation as of a row.

The market is the panel's series `market_return` (simple returns) or `market` (index levels) where it has one, else the
equal-weight mean of the returns observed on each row. Assets counted at a row have a return on the last 21 rows and at
least 21 in the window of `lookback` rows. "Percentile" is the share of values so far below the present one, ties
(itself among them) counted half; "so far" begins at the panel's first row and needs 126 values. rms is the root of the
mean square. A mean over the last h rows needs at least half of them.

==============================  ==================================================================================
market_volatility_h             ln(rms of the market over the last h rows / over 252), h = 10, 21, 63, 126
market_volatility_252           percentile so far of the rms over 252 rows
asset_volatility_h              mean over assets of the same log ratio
asset_volatility_252            percentile so far of the rms over all assets and 252 rows
vix_level                       ln(VIX / its median so far); series `vix` of the panel
vix_percentile                  percentile within 252 rows
vix_to_month                    ln(VIX / its mean over 22 rows)
amihud, dollar_volume           median over assets of ln(mean over 21 rows / median over the window) of
                                |return| / (price x volume) [1]_ and of price x volume
corwin_schultz, abdi_ranaldo    median over assets of the mean spread over 21 rows, as a share of the price, from high,
                                low and close of two days in a row [2]_ [3]_; a negative daily estimate counts as 0
..._change                      median over assets of ln(that mean / the mean over the window)
volume_ratio_h                  median over assets of ln(mean volume over h rows / over the window), h = 5, 21, 63
volume_dispersion               standard deviation over assets of that number for h = 21
volume_concentration            (H - 1/n) / (1 - 1/n), H the Herfindahl index of mean dollar volumes over 21 rows
volume_volatility_correlation   mean over assets of the correlation of ln(volume) and |return| within the window
dispersion_level                ln(mean of the cross-sectional standard deviation over 21 rows / over the window)
dispersion_trend                correlation of its logarithm with time over 63 rows
dispersion_to_market            ln(its mean over 21 rows / rms of the market over 21 rows)
turbulence_1, turbulence_21     ln of d [4]_ at the row, and of its mean over the last 21 rows
absorption_ratio                share of the trace of the correlation that its top fifth of eigenvalues carries [5]_,
                                of those that can differ from zero
absorption_shift                (that share - mean) / standard deviation of the 12 values before, 21 rows apart
drawdown, max_drawdown          market's loss from its peak in the window (at most 0), and the largest one (positive)
market_tails_z                  share of the last 63 rows with |market| above z times its rms over the 63 rows before
asset_tails_z                   share of asset-rows, of the last 21, more than z standard deviations from the mean, both
                                of the window without them; z = 2, 3
trend_h                         mean of the market over h rows / (standard deviation / sqrt(h)), h = 21, 63, 252
rising_share                    share of assets with a positive compound return over 63 rows
autocorrelation                 of the market at lag 1 within the window
rotation                        (1 - rank correlation of assets' compound returns over the last 63 rows and the 63
                                before) / 2: 0 where the order stayed, 1 where it turned round
sector_rotation                 the same for equal-weight means by sector, at least three of them
==============================  ==================================================================================

Turbulence is d = z' M^{-1} z / (observed assets), z the row in standard deviations from the mean, with mean, deviation
and correlation C fitted on the window without its last 21 rows, and M = (1 - delta) C + delta I. The intensity delta is
Ledoit and Wolf's [6]_ (at least 0.01); nothing of size n x n is formed, because by Woodbury's identity

    M^{-1} = (I - (1 - delta) X' (delta T I + (1 - delta) X X')^{-1} X) / delta,    C = X'X / T.

Spreads use a day only where its close lies within its low and high, so all three need the same adjustment. Volumes
count only on rows with a return.

References
----------
.. [1] Y. Amihud (2002). Illiquidity and stock returns. Journal of Financial Markets 5(1), 31-56.
.. [2] S. A. Corwin and P. Schultz (2012). A simple way to estimate bid-ask spreads from daily high and low prices.
   Journal of Finance 67(2), 719-760.
.. [3] F. Abdi and A. Ranaldo (2017). A simple estimation of bid-ask spreads from daily close, high, and low prices.
   Review of Financial Studies 30(12), 4437-4480.
.. [4] M. Kritzman and Y. Li (2010). Skulls, financial turbulence, and risk management. Financial Analysts Journal
   66(5), 30-41.
.. [5] M. Kritzman, Y. Li, S. Page and R. Rigobon (2011). Principal components as a measure of systemic risk. Journal
   of Portfolio Management 37(4), 112-126.
.. [6] O. Ledoit and M. Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal of
   Multivariate Analysis 88(2), 365-411.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata
from skfolio.measures import effective_number_assets, get_drawdowns

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.correlation import (
    MIN_RETURNS,
    checked_rows,
    counted_assets,
    deviations_and_norms,
    features_frame,
    sector_codes,
    unit_spectrum,
)
from eigenfolio.panel import Panel

__all__ = ["REGIME_FEATURES", "market_returns", "percentile_so_far", "regime_features", "rolling_moments"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_YEAR = 252
_QUARTER = 63
_MONTH = 21
_HORIZONS = (10, 21, 63, 126)
_VOLUME_HORIZONS = (5, 21, 63)
_TREND_HORIZONS = (21, 63, 252)
_TAILS = (2, 3)
_VIX_MONTH = 22
_MIN_HISTORY = 126
_MIN_LOOKBACK = 63
_N_ABSORPTION = 12
_SMALLEST_INTENSITY = 0.01
_CLOSE_TOLERANCE = 1e-6
_ROUNDING = 1e-12

REGIME_FEATURES: tuple[str, ...] = (
    *(f"market_volatility_{h}" for h in (*_HORIZONS, _YEAR)),
    *(f"asset_volatility_{h}" for h in (*_HORIZONS, _YEAR)),
    "vix_level",
    "vix_percentile",
    "vix_to_month",
    "amihud",
    "dollar_volume",
    "corwin_schultz",
    "corwin_schultz_change",
    "abdi_ranaldo",
    "abdi_ranaldo_change",
    *(f"volume_ratio_{h}" for h in _VOLUME_HORIZONS),
    "volume_dispersion",
    "volume_concentration",
    "volume_volatility_correlation",
    "dispersion_level",
    "dispersion_trend",
    "dispersion_to_market",
    "turbulence_1",
    "turbulence_21",
    "absorption_ratio",
    "absorption_shift",
    "drawdown",
    "max_drawdown",
    *(f"market_tails_{z}" for z in _TAILS),
    *(f"asset_tails_{z}" for z in _TAILS),
    *(f"trend_{h}" for h in _TREND_HORIZONS),
    "rising_share",
    "autocorrelation",
    "rotation",
    "sector_rotation",
)


def regime_features(panel: Panel, rows: Sequence[int], *, lookback: int = 252) -> pd.DataFrame:
    """Describe the state of the market as of each row.

    Parameters
    ----------
    panel : Panel
        Any number of assets. Prices, volume, high, low, sectors and the market series `vix`, `market` (index levels)
        and `market_return` (simple returns) are used where it has them.
    rows : sequence of int
        Row numbers into `panel.index`, in any order. The value at a row sees this row and rows before it.
    lookback : int
        Rows of a window, at least 63. Horizons that a name tells are rows whatever the window.

    Returns
    -------
    DataFrame of shape (len(rows), n_features)
        Columns `REGIME_FEATURES`. NaN where the rows do not reach back far enough, or an input is missing. Never
        infinite.

    Raises
    ------
    ParameterError
        If a row is not in the panel, or `lookback` is below 63.
    DataError
        If the series `market` is not positive.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(30, 300, seed=0).panel
    >>> regime_features(panel, [299])[["market_volatility_21", "trend_63", "vix_level"]].round(2)
                market_volatility_21  trend_63  vix_level
    date
    2011-02-28                 -0.13     -2.28        NaN
    """
    chosen = checked_rows(panel, rows)
    if lookback < _MIN_LOOKBACK:
        raise ParameterError(f"lookback must be at least {_MIN_LOOKBACK} rows, got {lookback}")
    values = np.full((len(chosen), len(REGIME_FEATURES)), np.nan)
    if len(chosen):
        with np.errstate(all="ignore"):
            past = _Past.of(panel, int(chosen.max()) + 1, lookback)
            for i, row in enumerate(chosen):
                found = past.describe(int(row))
                values[i] = [found.get(name, np.nan) for name in REGIME_FEATURES]
    return features_frame(panel, chosen, values, REGIME_FEATURES)


def market_returns(panel: Panel, n_rows: int | None = None) -> FloatArray:
    """Simple returns of the market: the panel's own series, else the equal-weight mean of its assets.

    Parameters
    ----------
    panel : Panel
        With a market series `market_return` (simple returns), or `market` (index levels, positive), or neither.
    n_rows : int, optional
        First rows wanted; all when None. Later rows are not looked at.

    Returns
    -------
    ndarray of shape (n_rows,)
        NaN where missing. A level after a gap is compared with the last one before it.

    Raises
    ------
    DataError
        If a level is not positive.

    Examples
    --------
    >>> dates = pd.bdate_range("2020-01-01", periods=3)
    >>> returns = pd.DataFrame({"A": [0.01, 0.02, 0.0], "B": [0.03, None, 0.02]}, index=dates)
    >>> market_returns(Panel.from_returns(returns)).round(3)
    array([0.02, 0.02, 0.01])
    >>> index = pd.Series([100.0, 110.0, 99.0], index=dates, name="market")
    >>> market_returns(Panel.from_returns(returns, market=index)).round(3)
    array([ nan,  0.1, -0.1])
    """
    n_rows = panel.n_observations if n_rows is None else n_rows
    if "market_return" in panel.market:
        return panel.market["market_return"].to_numpy(dtype=np.float64)[:n_rows]
    if "market" not in panel.market:
        returns = panel.assets["returns"][:n_rows]
        observed = np.isfinite(returns)
        with np.errstate(invalid="ignore"):
            mean: FloatArray = np.where(observed, returns, 0.0).sum(axis=1) / observed.sum(axis=1)
        return mean
    levels = panel.market["market"].iloc[:n_rows]
    if (levels <= 0).any():
        where = levels.index[(levels <= 0).to_numpy()][0].date()
        raise DataError(
            f"market series 'market' must be index levels, positive, got {levels[levels <= 0].iloc[0]:g} on {where}; "
            "name a series of returns 'market_return'"
        )
    return (levels / levels.ffill().shift() - 1.0).to_numpy(dtype=np.float64)


def percentile_so_far(values: FloatArray, *, min_values: int = 1) -> float:
    """Share of the values below the last one, ties (itself among them) counted half.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Oldest first; missing ones are left out.
    min_values : int
        Fewer values than this give NaN.

    Returns
    -------
    float
        In (0, 1); NaN where the last value is missing.

    Examples
    --------
    >>> percentile_so_far(np.array([1.0, 4.0, 2.0, np.nan, 3.0]))
    0.625
    """
    seen = values[np.isfinite(values)]
    if not len(values) or not np.isfinite(values[-1]) or len(seen) < min_values:
        return np.nan
    last = seen[-1]
    return float((np.count_nonzero(seen < last) + 0.5 * np.count_nonzero(seen == last)) / len(seen))


@njit(cache=True, error_model="numpy")
def rolling_moments(values: FloatArray, n_rows: int) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (n - 1) of the last `n_rows` values at each row, leaving missing ones out.

    Parameters
    ----------
    values : ndarray of shape (n_observations,)
        NaN where missing.
    n_rows : int
        Rows of a window.

    Returns
    -------
    mean, deviation : ndarray of shape (n_observations,)
        NaN where fewer than `n_rows` rows are there, or fewer than half of them hold a value.

    Examples
    --------
    >>> rolling_moments(np.array([1.0, 3.0, 5.0]), 2)
    (array([nan,  2.,  4.]), array([       nan, 1.41421356, 1.41421356]))
    """
    means = np.full(values.size, np.nan)
    deviations = np.full(values.size, np.nan)
    for end in range(n_rows, values.size + 1):
        count, total = 0, 0.0
        for t in range(end - n_rows, end):
            if not np.isnan(values[t]):
                count += 1
                total += values[t]
        if count == 0 or 2 * count < n_rows:
            continue
        mean = total / count
        squares = 0.0
        for t in range(end - n_rows, end):
            if not np.isnan(values[t]):
                squares += (values[t] - mean) ** 2
        means[end - 1] = mean
        if count > 1:
            deviations[end - 1] = np.sqrt(squares / (count - 1))
    return means, deviations


@dataclass(frozen=True)
class _Past:
    """Series and fields up to the last row asked for; the naive twin is in tests/features/test_regime.py."""

    lookback: int
    returns: FloatArray
    prices: FloatArray | None
    volume: FloatArray | None
    high: FloatArray | None
    low: FloatArray | None
    vix: FloatArray | None
    sectors: IntArray
    market: FloatArray
    market_rms: dict[int, FloatArray]
    market_moments: dict[int, tuple[FloatArray, FloatArray]]
    asset_rms: FloatArray
    dispersion: FloatArray
    absorption: dict[int, float]  # by row, filled as asked for: rows share those of the grid

    @classmethod
    def of(cls, panel: Panel, n_rows: int, lookback: int) -> _Past:
        def field(name: str) -> FloatArray | None:
            return panel.assets[name][:n_rows] if name in panel.assets.fields else None

        returns = panel.assets["returns"][:n_rows]
        market = market_returns(panel, n_rows)
        dispersion, mean_square = _cross_section(returns)
        return cls(
            lookback=lookback,
            returns=returns,
            prices=field("prices"),
            volume=field("volume"),
            high=field("high"),
            low=field("low"),
            vix=panel.market["vix"].to_numpy(dtype=np.float64)[:n_rows] if "vix" in panel.market else None,
            sectors=sector_codes(panel),
            market=market,
            market_rms={h: np.sqrt(rolling_moments(market**2, h)[0]) for h in (*_HORIZONS, _YEAR)},
            market_moments={h: rolling_moments(market, h) for h in _TREND_HORIZONS},
            asset_rms=np.sqrt(rolling_moments(mean_square, _YEAR)[0]),
            dispersion=dispersion,
            absorption={},
        )

    def describe(self, row: int) -> dict[str, float]:
        """Return the numbers of one row that can be computed."""
        found = self._volatility(row) | self._vix(row) | self._trend(row) | self._tails(row)
        if row + 1 < self.lookback:
            return found
        window = slice(row + 1 - self.lookback, row + 1)
        found |= self._dispersion(row, window) | self._absorption(row) | self._market_window(window)
        returns = self.returns[window]
        counted = counted_assets(returns)
        if not counted.any():
            return found
        found |= self._liquidity(window, counted) | _turbulence(returns[:, counted]) | self._rotation(row, counted)
        return found

    def _volatility(self, row: int) -> dict[str, float]:
        year = self.market_rms[_YEAR]
        found = {f"market_volatility_{h}": np.log(self.market_rms[h][row] / year[row]) for h in _HORIZONS}
        found["market_volatility_252"] = percentile_so_far(year[: row + 1], min_values=_MIN_HISTORY)
        found["asset_volatility_252"] = percentile_so_far(self.asset_rms[: row + 1], min_values=_MIN_HISTORY)
        if row + 1 >= _YEAR:
            returns = self.returns[row + 1 - _YEAR : row + 1]
            counted = counted_assets(returns)
            squares = returns[:, counted] ** 2
            observed = np.isfinite(squares)
            squares = np.where(observed, squares, 0.0)
            whole = squares.sum(axis=0) / observed.sum(axis=0)
            for h in _HORIZONS:
                count = observed[-h:].sum(axis=0)
                recent = squares[-h:].sum(axis=0) / count
                found[f"asset_volatility_{h}"] = _mean(0.5 * np.log(recent / whole)[2 * count >= h])
        return found

    def _vix(self, row: int) -> dict[str, float]:
        if self.vix is None or not self.vix[row] > 0:
            return {}
        seen, now = self.vix[: row + 1], self.vix[row]
        found: dict[str, float] = {}
        if np.count_nonzero(seen > 0) >= _MIN_HISTORY:
            found["vix_level"] = float(np.log(now / np.median(seen[seen > 0])))
        if row + 1 >= _YEAR:
            found["vix_percentile"] = percentile_so_far(seen[-_YEAR:], min_values=_MIN_HISTORY)
        if row + 1 >= _VIX_MONTH:
            month = seen[-_VIX_MONTH:]
            found["vix_to_month"] = float(np.log(now / month[month > 0].mean()))
        return found

    def _trend(self, row: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for h, (mean, deviation) in self.market_moments.items():
            if deviation[row] > _ROUNDING * abs(mean[row]):
                found[f"trend_{h}"] = mean[row] / deviation[row] * np.sqrt(h)
        return found

    def _tails(self, row: int) -> dict[str, float]:
        if row + 1 < 2 * _QUARTER:
            return {}
        recent = slice(row + 1 - _QUARTER, row + 1)
        before = self.market_rms[_QUARTER][row - _QUARTER : row]  # known on the eve of each row
        size = np.abs(self.market[recent]) / before
        size = size[np.isfinite(size)]
        if 2 * len(size) < _QUARTER:
            return {}
        return {f"market_tails_{z}": float((size > z).mean()) for z in _TAILS}

    def _dispersion(self, row: int, window: slice) -> dict[str, float]:
        values = self.dispersion[window]
        month, quarter = values[-_MONTH:], np.log(values[-_QUARTER:])
        level = _mean(month)
        return {
            "dispersion_level": np.log(level / _mean(values)),
            "dispersion_trend": _correlation(np.arange(float(_QUARTER)), quarter),
            "dispersion_to_market": np.log(level / self.market_rms[_MONTH][row]),
        }

    def _absorption(self, row: int) -> dict[str, float]:
        first = self.lookback - 1
        n_before = (row - first + _MONTH - 1) // _MONTH  # rows first, first + 21, ... before this one
        grid = [first + _MONTH * k for k in range(max(0, n_before - _N_ABSORPTION), n_before)]
        now, before = self._absorbed(row), np.array([self._absorbed(g) for g in grid])
        found: dict[str, float] = {"absorption_ratio": now}
        if len(grid) == _N_ABSORPTION and before.std() > _ROUNDING:
            found["absorption_shift"] = (now - before.mean()) / before.std(ddof=1)
        return found

    def _absorbed(self, row: int) -> float:
        if row not in self.absorption:
            deviations, norms, _, _ = deviations_and_norms(self.returns[row + 1 - self.lookback : row + 1])
            share = np.nan
            if len(norms) > 1:
                spectrum = unit_spectrum(deviations / norms)
                share = float(spectrum[: max(1, round(len(spectrum) / 5))].sum() / len(norms))
            self.absorption[row] = share
        return self.absorption[row]

    def _market_window(self, window: slice) -> dict[str, float]:
        market = self.market[window]
        found: dict[str, float] = {"autocorrelation": _correlation(market[1:], market[:-1])}
        if 2 * np.count_nonzero(np.isfinite(market)) >= len(market):
            path = get_drawdowns(np.where(np.isfinite(market), market, 0.0), compounded=True)
            found |= {"drawdown": float(path[-1]), "max_drawdown": float(-path.min())}
        return found

    def _liquidity(self, window: slice, counted: BoolArray) -> dict[str, float]:
        def field(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else np.where(observed, values[window][:, counted], np.nan)

        returns = self.returns[window][:, counted]
        observed = np.isfinite(returns)
        prices, volume, high, low = (field(values) for values in (self.prices, self.volume, self.high, self.low))
        found: dict[str, float] = {}
        if volume is not None:
            for h in _VOLUME_HORIZONS:
                ratio = _recent_to_window(volume, h, False)
                found[f"volume_ratio_{h}"] = _median(ratio)
                if h == _MONTH:
                    found["volume_dispersion"] = _deviation(ratio)
            found["volume_volatility_correlation"] = _volume_volatility_correlation(volume, np.abs(returns))
        if volume is not None and prices is not None:
            dollars = np.where(volume > 0, prices * volume, np.nan)
            found["amihud"] = _median(_recent_to_window(np.abs(returns) / dollars, _MONTH, True))
            found["dollar_volume"] = _median(_recent_to_window(dollars, _MONTH, True))
            found["volume_concentration"] = _concentration(dollars[-_MONTH:])
        if prices is not None and high is not None and low is not None:
            spreads = _daily_spreads(np.log(high), np.log(low), np.log(prices))
            for name, daily in zip(("corwin_schultz", "abdi_ranaldo"), spreads, strict=True):
                found[name] = _median(_recent_means(daily, _MONTH))
                found[f"{name}_change"] = _median(_recent_to_window(daily, _MONTH, False))
        return found

    def _rotation(self, row: int, counted: BoolArray) -> dict[str, float]:
        if row + 1 < 2 * _QUARTER:
            return {}
        recent = self.returns[row + 1 - _QUARTER : row + 1][:, counted]
        before = self.returns[row + 1 - 2 * _QUARTER : row + 1 - _QUARTER][:, counted]
        seen = (np.isfinite(recent).sum(axis=0) >= _MONTH) & (np.isfinite(before).sum(axis=0) >= _MONTH)
        if not seen.any():
            return {}
        last, previous = (_compound(half[:, seen]) for half in (recent, before))
        sectors = self.sectors[counted][seen]
        members = [sectors == code for code in np.unique(sectors[sectors >= 0])]
        by_sector = [np.array([half[member].mean() for member in members]) for half in (last, previous)]
        return {
            "rising_share": float((last > 0).mean()),
            "rotation": _rank_rotation(last, previous),
            "sector_rotation": _rank_rotation(*by_sector),
        }


def _cross_section(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standard deviation (n - 1) and mean square over the assets observed on each row."""
    observed = np.isfinite(returns)
    counts = observed.sum(axis=1)
    filled = np.where(observed, returns, 0.0)
    squares = np.einsum("ti,ti->t", filled, filled) / counts
    mean = filled.sum(axis=1) / counts
    filled -= mean[:, None]
    filled[~observed] = 0.0
    deviation = np.sqrt(np.einsum("ti,ti->t", filled, filled) / np.where(counts > 1, counts - 1.0, np.nan))
    return deviation, squares


def _turbulence(returns: FloatArray) -> dict[str, float]:
    """How unusual the last 21 rows are under the mean and the shrunk covariance of those before."""
    fit, recent = returns[:-_MONTH], returns[-_MONTH:]
    deviations, norms, observed, kept = deviations_and_norms(fit, np.isfinite(fit).sum(axis=0) >= MIN_RETURNS)
    if not kept.any():
        return {}
    n_rows, n_assets = deviations.shape
    counts = observed.sum(axis=0)
    z = (recent[:, kept] - _column_means(fit[:, kept])) / (norms / np.sqrt(counts))
    there = np.isfinite(z)
    found: dict[str, float] = {f"asset_tails_{size}": float((np.abs(z[there]) > size).mean()) for size in _TAILS}
    z = np.where(there, z, 0.0)
    columns = deviations * (np.sqrt(n_rows) / norms)  # C = columns' columns / n_rows
    gram = columns @ columns.T
    if not (np.isfinite(gram).all() and np.isfinite(z).all()):
        return {}
    delta = _identity_intensity(gram, n_assets)
    middle = delta * n_rows * np.eye(n_rows) + (1.0 - delta) * gram
    projected = columns @ z.T  # (n_rows, 21)
    explained = (1.0 - delta) * np.einsum("tk,tk->k", projected, cho_solve(cho_factor(middle), projected))
    distance = (np.einsum("ki,ki->k", z, z) - explained) / delta
    daily = np.where(there.any(axis=1), distance / there.sum(axis=1), np.nan)
    return found | {"turbulence_1": np.log(daily[-1]), "turbulence_21": np.log(_mean(daily))}


def _identity_intensity(gram: FloatArray, n_assets: int) -> float:
    """Ledoit and Wolf's intensity toward the identity from X X', X of unit mean square by column."""
    n_rows = len(gram)
    size = (gram**2).sum() / n_rows**2 / n_assets  # |C|^2 / n
    noise = ((np.diag(gram) ** 2).sum() / n_rows**2 / n_assets) - size / n_rows
    signal = size - 1.0
    share = min(max(noise / signal, 0.0), 1.0) if signal > 0 else 1.0
    return max(float(share), _SMALLEST_INTENSITY)


def _column_means(values: FloatArray) -> FloatArray:
    observed = np.isfinite(values)
    means: FloatArray = np.where(observed, values, 0.0).sum(axis=0) / observed.sum(axis=0)
    return means


def _compound(returns: FloatArray) -> FloatArray:
    growth: FloatArray = np.prod(1.0 + np.where(np.isfinite(returns), returns, 0.0), axis=0) - 1.0
    return growth


def _rank_rotation(last: FloatArray, previous: FloatArray) -> float:
    if len(last) < 3:
        return np.nan
    return (1.0 - _correlation(rankdata(last), rankdata(previous))) / 2.0


def _concentration(dollars: FloatArray) -> float:
    observed = np.isfinite(dollars)
    size = (np.where(observed, dollars, 0.0).sum(axis=0) / observed.sum(axis=0))[observed.any(axis=0)]
    n_assets = len(size)
    if n_assets < 2:
        return np.nan
    herfindahl = 1.0 / effective_number_assets(size / size.sum())
    return float((herfindahl - 1.0 / n_assets) / (1.0 - 1.0 / n_assets))


def _volume_volatility_correlation(volume: FloatArray, size: FloatArray) -> float:
    there = volume > 0
    counts = there.sum(axis=0)
    deviations = []
    for values in (np.log(np.where(there, volume, 1.0)), np.where(there, size, 0.0)):
        deviations.append(np.where(there, values - values.sum(axis=0) / counts, 0.0))
    x, y = deviations
    xx, yy, xy = (np.einsum("ti,ti->i", a, b) for a, b in ((x, x), (y, y), (x, y)))
    enough = (2 * counts >= len(volume)) & (xx > _ROUNDING * counts) & (yy > 0)
    return _mean((xy / np.sqrt(xx * yy))[enough])


def _correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's correlation over rows where both are there, at least half of them."""
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2 or 2 * there.sum() < len(x):
        return np.nan
    x, y = x[there] - x[there].mean(), y[there] - y[there].mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / size, -1.0, 1.0)) if size > 0 else np.nan


# Means are numpy's scalars: a quotient with zero is missing, not an error.
def _mean(values: FloatArray) -> np.float64:
    finite = values[np.isfinite(values)]
    return np.float64(finite.mean() if len(finite) else np.nan)


def _median(values: FloatArray) -> np.float64:
    finite = values[np.isfinite(values)]
    return np.float64(np.median(finite) if len(finite) else np.nan)


def _deviation(values: FloatArray) -> np.float64:
    finite = values[np.isfinite(values)]
    return np.float64(finite.std(ddof=1) if len(finite) > 1 else np.nan)


@njit(cache=True, error_model="numpy")
def _recent_means(values: FloatArray, recent: int) -> FloatArray:
    """Mean of each column over its last `recent` rows, NaN where fewer than half are there."""
    n_rows, n_assets = values.shape
    result = np.full(n_assets, np.nan)
    for i in range(n_assets):
        count, total = 0, 0.0
        for t in range(n_rows - recent, n_rows):
            if not np.isnan(values[t, i]):
                count += 1
                total += values[t, i]
        if 2 * count >= recent:
            result[i] = total / count
    return result


@njit(cache=True, error_model="numpy")
def _recent_to_window(values: FloatArray, recent: int, median: bool) -> FloatArray:
    """ln(mean over the last `recent` rows / median or mean over all), NaN where half of either is missing."""
    n_rows, n_assets = values.shape
    result = _recent_means(values, recent)
    kept = np.empty(n_rows)
    for i in range(n_assets):
        count = 0
        for t in range(n_rows):
            if not np.isnan(values[t, i]):
                kept[count] = values[t, i]
                count += 1
        if 2 * count < n_rows:
            result[i] = np.nan
            continue
        typical = np.median(kept[:count]) if median else np.mean(kept[:count])
        if typical > 0.0 and result[i] > 0.0:
            result[i] = np.log(result[i] / typical)
        else:
            result[i] = np.nan
    return result


@njit(cache=True, error_model="numpy")
def _daily_spreads(high: FloatArray, low: FloatArray, close: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corwin-Schultz and Abdi-Ranaldo spreads of each pair of days from log prices, dated the second day."""
    n_rows, n_assets = high.shape
    corwin = np.full((n_rows, n_assets), np.nan)
    abdi = np.full((n_rows, n_assets), np.nan)
    factor = 3.0 - 2.0 * np.sqrt(2.0)
    usable = (low <= close + _CLOSE_TOLERANCE) & (close <= high + _CLOSE_TOLERANCE)
    for t in range(1, n_rows):
        for i in range(n_assets):
            if not (usable[t - 1, i] and usable[t, i]):
                continue
            eve, last = close[t - 1, i], 0.5 * (high[t - 1, i] + low[t - 1, i])
            product = 4.0 * (eve - last) * (eve - 0.5 * (high[t, i] + low[t, i]))
            abdi[t, i] = np.sqrt(max(product, 0.0))
            shift = max(low[t, i] - eve, 0.0) + min(high[t, i] - eve, 0.0)  # the overnight gap
            top = max(high[t - 1, i], high[t, i] - shift)
            bottom = min(low[t - 1, i], low[t, i] - shift)
            beta = (high[t - 1, i] - low[t - 1, i]) ** 2 + (high[t, i] - low[t, i]) ** 2
            alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / factor - (top - bottom) / np.sqrt(factor)
            corwin[t, i] = max(2.0 * np.tanh(0.5 * alpha), 0.0)
    return corwin, abdi
