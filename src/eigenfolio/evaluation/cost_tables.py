r"""What trading costs do to tracks that are already walked: no model is fitted again.

A track knows its target weights and its returns before costs. `trades_of` holds the weights through the rows once more
and gives what was traded; `charged` charges other costs for it, and `cost_table` sets several rates side by side.

With T_k the sum of absolute trades of track k over its rows and G_k the sum of its returns before costs, the sum of its
net returns at a rate c (per unit traded) is G_k - c T_k. Two tracks earn the same at the break-even rate

    c* = (G_a - G_b) / (T_a - T_b)

which is of use where it is positive: the one that trades more is then the better one below it and the worse one above.

Rates are basis points per unit traded; costs are fractions of net asset value, charged on the first row held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio import measures
from eigenfolio.costs import TradingCosts, hold
from eigenfolio.errors import DataError
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Track, WalkForward

__all__ = ["RATES", "break_even_table", "charged", "cost_table", "reheld", "trades_of", "usual_day"]

RATES = (0.0, 5.0, 10.0, 25.0)
"""Rates that stand side by side, in basis points."""


def trades_of(track: Track, returns: pd.DataFrame, windows: pd.Series) -> pd.DataFrame:
    """What a track traded, asset by asset.

    Parameters
    ----------
    track : Track
        Of a walk-forward evaluation.
    returns : DataFrame of shape (n_observations, n_assets)
        The returns its weights earned.
    windows : Series of int
        `WalkForward.windows`: the holding window of each earning day.

    Returns
    -------
    DataFrame of shape (n_decisions, n_assets)
        Target minus drifted weights, by decision date; the first row buys from cash. A lost track trades no more.

    Raises
    ------
    DataError
        If the rows of `returns` are not those of the track.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> earned = pd.DataFrame([[0.2, 0.0], [0.0, 0.0]], index=days, columns=["A", "B"])
    >>> half = pd.DataFrame(0.5, index=days, columns=["A", "B"])
    >>> flat = pd.Series(0.0, index=days)
    >>> track = Track("even", "own", half, flat, flat, flat, flat, flat)
    >>> trades_of(track, earned, pd.Series([0, 1], index=days)).iloc[1].round(4).tolist()
    [-0.0455, 0.0455]
    """
    traded, _ = _through(track, returns, windows)
    return pd.DataFrame(traded, index=track.weights.index, columns=track.weights.columns)


def reheld(track: Track, returns: pd.DataFrame, windows: pd.Series, *, cost_bps: float) -> Track:
    """The same target weights, held through other returns.

    Parameters
    ----------
    track : Track
        Of a walk-forward evaluation.
    returns : DataFrame of shape (n_observations, n_assets)
        What the weights earn instead; the days and assets of the track among them.
    windows : Series of int
        `WalkForward.windows`: the holding window of each earning day.
    cost_bps : float >= 0
        Basis points per unit traded.

    Returns
    -------
    Track
        With the returns, trades and costs of that holding.

    Raises
    ------
    DataError
        If the rows of `returns` are not those of the track.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> flat, one = pd.Series(0.0, index=days), pd.DataFrame(1.0, index=days[:1], columns=["A"])
    >>> track = Track("A", "own", one, flat, flat, flat[:1], one["A"], flat[:1])
    >>> earned = pd.DataFrame({"A": [0.1, 0.2]}, index=days)
    >>> reheld(track, earned, pd.Series(0, index=days), cost_bps=10.0).returns.round(6).tolist()
    [0.099, 0.2]
    """
    traded, gross = _through(track, returns, windows)
    turnover = pd.Series(0.5 * np.abs(traded).sum(axis=1), index=track.weights.index, name="turnover")
    held = replace(track, gross_returns=pd.Series(gross, index=windows.index, name="gross_return"), turnover=turnover)
    return _with_cost(held, _proportional(held, cost_bps), windows)


def _through(
    track: Track, returns: pd.DataFrame, windows: pd.Series
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Trades by decision and asset, and gross returns by day, of the track's targets held through these returns."""
    if not windows.index.isin(returns.index).all() or not track.weights.columns.isin(returns.columns).all():
        raise DataError("returns must hold every day and every asset of the track; give those it was walked on")
    values = returns.reindex(index=windows.index, columns=track.weights.columns).to_numpy(dtype=float)
    number, targets = windows.to_numpy(), track.weights.to_numpy()
    traded, gross = np.zeros_like(targets), np.zeros(len(windows))
    held: NDArray[np.float64] = np.zeros(targets.shape[1])
    for k, target in enumerate(targets):
        traded[k] = target - held
        earned, held = hold(target, values[number == k])
        gross[number == k] = earned
        if (earned <= -1.0).any():
            break
    return traded, gross


def usual_day(
    returns: pd.DataFrame, value_traded: pd.DataFrame, dates: pd.DatetimeIndex, *, n_rows: int = 21
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Value traded on a usual day and volatility of a day, as known at each decision.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns.
    value_traded : DataFrame of shape (n_observations, n_assets)
        Shares times price, in currency; NaN where missing.
    dates : DatetimeIndex of length n_decisions
        Decision dates, among the rows.
    n_rows : int
        Rows up to and including the decision over which both are taken.

    Returns
    -------
    value, volatility : DataFrame of shape (n_decisions, n_assets)
        Median of the value traded, and standard deviation of the returns; NaN where fewer than half of the rows are
        there.

    Raises
    ------
    DataError
        If dates or assets of `value_traded` are not those of `returns`.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=4)
    >>> moves = pd.DataFrame({"A": [0.01, -0.01, 0.01, -0.01]}, index=days)
    >>> value, volatility = usual_day(moves, 1e6 * (1 + 0 * moves), days[3:], n_rows=4)
    >>> value["A"].tolist(), volatility["A"].round(5).tolist()
    ([1000000.0], [0.01155])
    """
    if not (value_traded.index.equals(returns.index) and value_traded.columns.equals(returns.columns)):
        raise DataError("value_traded must have the dates and assets of returns, in the same order")
    least = max(2, n_rows // 2)
    value = value_traded.rolling(n_rows, min_periods=least).median().loc[dates]
    return value, returns.rolling(n_rows, min_periods=least).std().loc[dates]


def charged(
    track: Track,
    costs: TradingCosts,
    *,
    trades: pd.DataFrame,
    windows: pd.Series,
    value_traded: pd.DataFrame | None = None,
    volatility: pd.DataFrame | None = None,
) -> Track:
    """The same track under other costs.

    Parameters
    ----------
    track : Track
    costs : TradingCosts
    trades : DataFrame of shape (n_decisions, n_assets)
        From `trades_of`.
    windows : Series of int
        `WalkForward.windows`: the holding window of each earning day.
    value_traded, volatility : DataFrame of shape (n_decisions, n_assets), optional
        From `usual_day`; needed for impact.

    Returns
    -------
    Track
        Its `cost` and `returns` are new; what it held and earned before costs stays.

    Raises
    ------
    DataError
        If impact is asked for and an asset that is traded has no value traded; the date is named.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> one, earned = pd.Series([1.0], index=days[:1]), pd.Series([0.01, 0.0], index=days)
    >>> track = Track("A", "own", one.to_frame("X"), earned, earned, 0.5 * one, one, 0.0 * one)
    >>> windows = pd.Series(0, index=days)
    >>> charged(track, TradingCosts(commission_bps=20.0), trades=one.to_frame("X"), windows=windows).returns.tolist()
    [0.008, 0.0]
    """
    dates = pd.DatetimeIndex(trades.index)
    values = None if value_traded is None else value_traded.loc[dates].to_numpy(dtype=float)
    sigmas = None if volatility is None else volatility.loc[dates].to_numpy(dtype=float)
    paid = np.zeros(len(trades))
    for k, row in enumerate(trades.to_numpy(dtype=float)):
        value, sigma = (None if table is None else table[k] for table in (values, sigmas))
        try:
            paid[k] = costs.charge(row, value_traded=value, volatility=sigma).total
        except DataError as error:
            raise DataError(f"{track.model}, decision of {dates[k]:%Y-%m-%d}: {error}") from error
    return _with_cost(track, paid, windows)


def cost_table(result: WalkForward, *, rates: Sequence[float] = RATES, periods_per_year: float = 252.0) -> pd.DataFrame:
    """Every track at several rates, side by side.

    Parameters
    ----------
    result : WalkForward
        Walked at any rate.
    rates : sequence of float >= 0
        Basis points per unit traded.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    DataFrame
        Columns model, book, cost_bps, annualized_return, annualized_volatility, sharpe_ratio (net), annualized_cost.

    Raises
    ------
    ParameterError
        If a rate is negative or not finite.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=3)
    >>> one, earned = pd.Series([1.0], index=days[:1]), pd.Series([0.01, 0.0, 0.01], index=days)
    >>> track = Track("A", "own", one.to_frame("X"), earned, earned, 0.5 * one, one, 0.0 * one)
    >>> walked = WalkForward({("A", "own"): track}, {}, pd.Series(0, index=days), ())
    >>> cost_table(walked, rates=(0, 100), periods_per_year=3)["annualized_return"].round(4).tolist()
    [0.0201, 0.01]
    """
    rows = []
    for (model, book), track in result.tracks.items():
        for rate in rates:
            net = _with_cost(track, _proportional(track, rate), result.windows)
            rows.append(
                {
                    "model": model,
                    "book": book,
                    "cost_bps": float(rate),
                    "annualized_return": measures.annualized_return(net.returns, periods_per_year=periods_per_year),
                    "annualized_volatility": measures.annualized_volatility(
                        net.returns, periods_per_year=periods_per_year
                    ),
                    "sharpe_ratio": measures.sharpe_ratio(net.returns, periods_per_year=periods_per_year),
                    "annualized_cost": float(net.cost.sum() * periods_per_year / len(net.returns)),
                }
            )
    return pd.DataFrame(rows)


def break_even_table(result: WalkForward, *, periods_per_year: float = 252.0) -> pd.DataFrame:
    """Rate at which two tracks of a book earn the same, for every pair.

    Parameters
    ----------
    result : WalkForward
        Walked at any rate; what is compared are arithmetic mean returns. Tracks with weights of their own are paired
        with those of every book.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    DataFrame
        Columns book, busier, calmer (the track that trades more and the other), gross_advantage (of the busier, per
        year), extra_trades (sum of absolute trades per year), break_even_bps, and finding: "below" where the busier
        earns more below that rate, "never" where it earns no more even at no cost, "always" where both trade alike
        and it earns more.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> def track(name, earned, traded):
    ...     one, path = pd.Series([traded], index=days[:1]), pd.Series([earned, 0.0], index=days)
    ...     return Track(name, "own", one.to_frame("X"), path, path, 0.5 * one, one, 0.0 * one)
    >>> tracks = {("busy", "own"): track("busy", 0.003, 3.0), ("idle", "own"): track("idle", 0.001, 1.0)}
    >>> walked = WalkForward(tracks, {}, pd.Series(0, index=days), ())
    >>> break_even_table(walked)[["busier", "break_even_bps", "finding"]].round(6).values.tolist()
    [['busy', 10.0, 'below']]
    """
    rows = []
    years = len(result.windows) / periods_per_year
    own = [key for key in result.tracks if key[1] == OWN_BOOK]
    for book in [name for name in result.books if name != OWN_BOOK] or [OWN_BOOK]:
        keys = [key for key in result.tracks if key[1] == book]
        keys += [key for key in own if key not in keys]
        for pair in combinations(keys, 2):
            traded = [2.0 * float(result.tracks[key].turnover.sum()) for key in pair]
            busier, calmer = pair if traded[0] >= traded[1] else pair[::-1]
            gross = {key: float(result.tracks[key].gross_returns.sum()) for key in pair}
            advantage, extra = gross[busier] - gross[calmer], abs(traded[0] - traded[1])
            rate, said = _break_even(advantage, extra)
            rows.append(
                {
                    "book": book,
                    "busier": busier[0],
                    "calmer": calmer[0],
                    "gross_advantage": advantage / years,
                    "extra_trades": extra / years,
                    "break_even_bps": rate,
                    "finding": said,
                }
            )
    return pd.DataFrame(rows)


def _break_even(advantage: float, extra: float) -> tuple[float, Literal["below", "never", "always"]]:
    if advantage <= 0.0:
        return float("nan"), "never"
    if extra <= 1e-12:
        return float("nan"), "always"
    return 1e4 * advantage / extra, "below"


def _proportional(track: Track, rate: float) -> NDArray[np.float64]:
    return TradingCosts(commission_bps=rate).commission_bps / 1e4 * 2.0 * track.turnover.to_numpy()


def _with_cost(track: Track, paid: NDArray[np.float64], windows: pd.Series) -> Track:
    """The track with other costs, each on the first row its weights are held."""
    net = track.gross_returns.to_numpy().copy()
    net[np.flatnonzero(windows.diff().ne(0.0).to_numpy())] -= paid
    return replace(
        track,
        returns=pd.Series(np.maximum(net, -1.0), index=track.gross_returns.index, name="return"),
        cost=pd.Series(paid, index=track.weights.index, name="cost"),
    )
