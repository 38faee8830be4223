"""What an order book or a bar says about the next moment, in numbers without a unit.

Every number is a ratio, a logarithm of ratios, a share, or a return: none changes when all prices or all
sizes are multiplied by a constant, or when the clock is moved. The value at a row uses rows up to it only.
A number that cannot be computed (too little history, a level the book does not have, no trades known or
none in the window, a halted row) is NaN.

Order book
----------
A horizon h reaches back h events or h seconds. Its window is the rows (s, t], where row s holds the state h
ago: s = t - h, or the last row at or before the time minus h. The memory m is the same with a longer reach;
until there is that much history it begins at the first row, and a median is given once the longest horizon
fits. With P the price and q the size of the best bid b and ask a, mid = (P_b + P_a) / 2:

    relative_spread       1e4 (P_a - P_b) / mid, basis points
    spread_ratio          ln of it over its median in the memory
    level_spread_k        ln (P_a,k - P_b,k) / (P_a - P_b), k >= 2
    ask_depth_k           ln of q_a,k over its own median in the memory; bid_depth_k likewise
    imbalance_k           (q_b,k - q_a,k) / (q_b,k + q_a,k)                                  in [-1, 1]
    cumulative_imbalance_k   the same of the sizes summed over levels 1..k, k >= 2           in [-1, 1]
    microprice_distance   (A_a Q_b + A_b Q_a) / (Q_a + Q_b) - mid, in spreads; Q the size of all levels, A
                          their size-weighted price. On one level it is half the imbalance.
    ofi_k_h               sum of e over the window / mean of (q_b,k + q_a,k) / 2 over rows s to t, with [1]_
                          e = 1{P_b >= P_b'} q_b - 1{P_b <= P_b'} q_b' - 1{P_a <= P_a'} q_a + 1{P_a >= P_a'} q_a'
                          and ' the row before; levels k >= 2 as in [2]_
    ofi_total_h           both sums taken over all levels as well, in the manner of [3]_
    vwap_distance_h       (mid - volume-weighted price of the window's trades), in spreads
    trade_imbalance_h     (bought - sold volume) / volume                                    in [-1, 1]
    intensity_h           ln (events + 1) / (expected + 1), expected at the rate of the memory
    trade_intensity_h     the same of trades
    return_h              1e4 ln(mid / mid of row s), basis points
    volatility_ratio_h    root of the squared mid returns per event (or second), over that of the memory

An empty level has size zero, an ask at plus and a bid at minus infinity; a level that the book does not
have at all is NaN throughout. Nothing is summed over a halt, nor over the step out of it.

Bars
----
With o, h, l, c, v of a bar, r = ln c / c', w the window of bars that ends with it, and mean, root mean
square (rms) and median taken over the window:

    return                1e4 r, basis points;       gap   1e4 ln o / c'
    return_ratio          r / rms r
    parkinson_ratio       root of p / mean p, p = ln(h/l)^2 / (4 ln 2) [4]_
    garman_klass_ratio    root of g / mean g, g = ln(h/l)^2 / 2 - (2 ln 2 - 1) ln(c/o)^2 [5]_
    range_to_return       ln of root(mean p) / rms r; positive when prices swing and come back
    close_location        (c - l) / (h - l)                                                  in [0, 1]
    volume_ratio          ln v / median v;           trade_count_ratio, trade_size_ratio likewise of n, v / n
    vwap_distance         (c - vwap) / (h - l)                                               in [-1, 1]
    window_vwap_distance  ln c / (volume-weighted mean of c), over rms r * root of w
    amihud_ratio          x / mean x, x = |r| / (c v) [6]_
    impact_ratio          x / mean x, x = |r| / root(c v)
    kyle_correlation      sum of r y / root(sum r^2 sum y^2), y the signed volume of the trades: Kyle's lambda
                          (the slope of r on y) times rms y / rms r [7]_                     in [-1, 1]
    trade_imbalance       y / v                                                              in [-1, 1]
    tick_imbalance        sum of v sign(last price change that was not zero) / sum of v      in [-1, 1]

References
----------
.. [1] R. Cont, A. Kukanov and S. Stoikov (2014). The Price Impact of Order Book Events. Journal of
   Financial Econometrics 12(1), 47-88.
.. [2] K. Xu, M. Gould and S. Howison (2018). Multi-Level Order-Flow Imbalance in a Limit Order Book. Market
   Microstructure and Liquidity 4(3-4).
.. [3] R. Cont, M. Cucuringu and C. Zhang (2023). Cross-Impact of Order Flow Imbalance in Equity Markets.
   Quantitative Finance 23(10).
.. [4] M. Parkinson (1980). The Extreme Value Method for Estimating the Variance of the Rate of Return.
   Journal of Business 53(1).
.. [5] M. Garman and M. Klass (1980). On the Estimation of Security Price Volatilities from Historical Data.
   Journal of Business 53(1).
.. [6] Y. Amihud (2002). Illiquidity and Stock Returns. Journal of Financial Markets 5(1).
.. [7] A. Kyle (1985). Continuous Auctions and Insider Trading. Econometrica 53(6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from eigenfolio.data.bars import check_trades, tick_rule
from eigenfolio.data.order_books import OrderBook, nanoseconds
from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "BAR_FEATURES",
    "ORDER_BOOK_FEATURES",
    "bar_features",
    "order_book_feature_names",
    "order_book_features",
    "order_flow",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Clock = Literal["events", "seconds"]

_MEMORY_HORIZONS = 20  # length of the default memory, in longest horizons

BAR_FEATURES: tuple[str, ...] = (
    "return",
    "gap",
    "return_ratio",
    "parkinson_ratio",
    "garman_klass_ratio",
    "range_to_return",
    "close_location",
    "volume_ratio",
    "trade_count_ratio",
    "trade_size_ratio",
    "vwap_distance",
    "window_vwap_distance",
    "amihud_ratio",
    "impact_ratio",
    "kyle_correlation",
    "trade_imbalance",
    "tick_imbalance",
)


def order_book_feature_names(
    *, levels: int = 10, horizons: Sequence[float] = (10, 50), clock: Clock = "events"
) -> tuple[str, ...]:
    """Return the columns of `order_book_features`, in order; they do not depend on the book.

    Parameters
    ----------
    levels, horizons, clock
        As in `order_book_features`.

    Returns
    -------
    tuple of str
        Horizons in seconds carry an "s".

    Examples
    --------
    >>> order_book_feature_names(levels=1, horizons=(10,), clock="seconds")[-3:]
    ('trade_intensity_10s', 'return_10s', 'volatility_ratio_10s')
    """
    deeper = range(2, levels + 1)
    names = ["relative_spread", "spread_ratio", *(f"level_spread_{k}" for k in deeper)]
    names += [f"{side}_depth_{k}" for side in ("ask", "bid") for k in range(1, levels + 1)]
    names += [f"imbalance_{k}" for k in range(1, levels + 1)]
    names += [f"cumulative_imbalance_{k}" for k in deeper]
    names.append("microprice_distance")
    for horizon in horizons:
        end = f"{horizon:.12g}{'s' if clock == 'seconds' else ''}"
        names += [f"ofi_{k}_{end}" for k in range(1, levels + 1)]
        names += [f"{name}_{end}" for name in _WINDOW_FEATURES]
    return tuple(names)


_WINDOW_FEATURES = (
    "ofi_total",
    "vwap_distance",
    "trade_imbalance",
    "intensity",
    "trade_intensity",
    "return",
    "volatility_ratio",
)

ORDER_BOOK_FEATURES: tuple[str, ...] = order_book_feature_names()


def order_book_features(
    book: OrderBook,
    *,
    trades: pd.DataFrame | None = None,
    levels: int = 10,
    horizons: Sequence[float] = (10, 50),
    clock: Clock = "events",
    memory: float | None = None,
    grid: float | None = None,
) -> pd.DataFrame:
    """Describe a book after every event, or on a grid of times.

    Parameters
    ----------
    book : OrderBook
        Quotes, and messages where they are known.
    trades : DataFrame, optional
        Trades in place of the executions among the book's messages, as `eigenfolio.data.bars` takes them. A trade
        counts from the first row that is not earlier; trades after the last row are not seen.
    levels : int
        Levels described; those the book lacks are NaN.
    horizons : sequence of float
        Reaches of the windows, positive and increasing: whole events, or seconds.
    clock : {"events", "seconds"}
        The unit of `horizons` and `memory`.
    memory : float, optional
        Reach of the medians and rates that now is compared with, at least the longest horizon; None takes 20
        times that.
    grid : float, optional
        Seconds between stamps, which are its multiples from midnight. A stamp sees every event at or before it.
        None stamps every event.

    Returns
    -------
    DataFrame of shape (n_stamps, n_features)
        Columns `order_book_feature_names(levels=levels, horizons=horizons, clock=clock)`, finite or NaN. Indexed by
        the time of the event, in the order of the book (events may share a time), or by the grid.

    Raises
    ------
    DataError
        If `trades` lack a column, or hold a trade without time, price or volume or out of order.
    ParameterError
        If an option has a value it cannot have, or the grid is wider than the book is long.

    Examples
    --------
    >>> quotes = pd.DataFrame(
    ...     {"time": [1.0, 2.0, 3.0], "ask_price": [11.0, 11.0, 11.0], "ask_size": [5.0, 5.0, 3.0],
    ...      "bid_price": [9.0, 9.0, 9.0], "bid_size": [5.0, 7.0, 7.0]}
    ... )
    >>> table = order_book_features(OrderBook.from_frame(quotes), levels=1, horizons=(2,))
    >>> table[["imbalance_1", "ofi_1_2"]].round(3)  # (2 + 2) / mean(5, 6, 5)
          imbalance_1  ofi_1_2
    time
    1.0         0.000      NaN
    2.0         0.167      NaN
    3.0         0.400     0.75
    """
    reaches, memory = _check_options(levels, horizons, clock, memory, grid)
    stamps = _event_stamps(book) if grid is None else _grid_stamps(book, grid)
    windows = [_window(book, stamps, reach, clock) for reach in reaches]
    trailing = _window(book, stamps, memory, clock, cut=True)
    known = windows[-1].start >= 0  # one full longest horizon of history

    columns: dict[str, FloatArray] = {}
    columns.update(_state_features(book, stamps, trailing, known, levels))
    sums = _running_sums(book, trades, levels)
    for horizon, window in zip(reaches, windows, strict=True):
        end = f"{horizon:.12g}{'s' if clock == 'seconds' else ''}"
        found = _window_features(book, sums, stamps, window, trailing)
        columns.update({f"{name}_{end}": values for name, values in found.items()})
    names = order_book_feature_names(levels=levels, horizons=reaches, clock=clock)
    halted = book.halted[stamps.row]
    table = np.full((len(stamps.row), len(names)), np.nan)
    for position, name in enumerate(names):
        if name in columns:
            table[:, position] = np.where(halted, np.nan, columns[name])
    return pd.DataFrame(table, index=stamps.index, columns=list(names), copy=False)


def order_flow(book: OrderBook, *, levels: int = 1) -> FloatArray:
    """Return what every event adds to the demand at each level, less what it adds to the supply.

    Parameters
    ----------
    book : OrderBook
        Quotes.
    levels : int
        Levels, at most those of the book.

    Returns
    -------
    ndarray of shape (n_events, levels)
        e of the module's text, in the unit of the sizes. Zero on the first row, in a halt and on the step
        out of it.

    Raises
    ------
    ParameterError
        If the book has fewer levels.

    Examples
    --------
    The bid improves, then is taken away: +7, then -7.

    >>> quotes = pd.DataFrame(
    ...     {"time": [1.0, 2.0, 3.0], "ask_price": 12.0, "ask_size": 5.0,
    ...      "bid_price": [9.0, 10.0, 9.0], "bid_size": [4.0, 7.0, 4.0]}
    ... )
    >>> order_flow(OrderBook.from_frame(quotes))[:, 0]
    array([ 0.,  7., -7.])
    """
    if not 1 <= levels <= book.n_levels:
        raise ParameterError(f"levels must be 1 to the book's {book.n_levels}, got {levels!r}")
    bid = np.where(np.isnan(book.bid_price[:, :levels]), -np.inf, book.bid_price[:, :levels])
    ask = np.where(np.isnan(book.ask_price[:, :levels]), np.inf, book.ask_price[:, :levels])
    bid_size, ask_size = _filled(book.bid_size[:, :levels]), _filled(book.ask_size[:, :levels])
    flow = np.zeros(bid.shape)
    flow[1:] = (bid[1:] >= bid[:-1]) * bid_size[1:] - (bid[1:] <= bid[:-1]) * bid_size[:-1]
    flow[1:] -= (ask[1:] <= ask[:-1]) * ask_size[1:] - (ask[1:] >= ask[:-1]) * ask_size[:-1]
    flow[~_steps(book)] = 0.0
    return flow


# ---------------------------------------------------------------------------- stamps and windows


@dataclass(frozen=True, eq=False)
class _Stamps:
    """Where features are asked for: the last row seen and the time, in nanoseconds."""

    row: IntArray
    time: IntArray
    index: pd.Index


@dataclass(frozen=True, eq=False)
class _Window:
    """Rows (start, stamp's row] with the seconds and the units of the clock they span; start < 0: not there."""

    start: IntArray
    seconds: FloatArray
    width: FloatArray


def _event_stamps(book: OrderBook) -> _Stamps:
    return _Stamps(np.arange(book.n_events), book.nanoseconds, book.times)


def _grid_stamps(book: OrderBook, grid: float) -> _Stamps:
    step = max(1, int(np.rint(grid * 1e9)))
    first, last = int(book.nanoseconds[0]), int(book.nanoseconds[-1])
    time = np.arange(-(-first // step), last // step + 1, dtype=np.int64) * step
    if not len(time):
        raise ParameterError(
            f"grid={grid:g} seconds has no stamp in the {(last - first) / 1e9:g} seconds of {book.source}; take less"
        )
    row = np.searchsorted(book.nanoseconds, time, side="right") - 1
    if isinstance(book.times, pd.DatetimeIndex):
        dates = pd.DatetimeIndex(book.times[0].normalize() + pd.to_timedelta(time, unit="ns"), name="time")
        return _Stamps(row, time, dates)
    return _Stamps(row, time, pd.Index(time / 1e9, name="time"))


def _window(book: OrderBook, stamps: _Stamps, reach: float, clock: Clock, *, cut: bool = False) -> _Window:
    """Find the window of one reach; with `cut` it begins at the first row where it would begin before it."""
    clock_times = book.nanoseconds
    if clock == "events":
        start = stamps.row - int(reach)
        if cut:
            start = np.maximum(start, 0)
        seconds = (clock_times[stamps.row] - clock_times[np.maximum(start, 0)]) / 1e9
        return _Window(start, seconds, (stamps.row - start).astype(np.float64))
    start = np.searchsorted(clock_times, stamps.time - int(np.rint(reach * 1e9)), side="right") - 1
    seconds = np.full(len(start), float(reach))
    if cut:
        seconds = np.minimum(seconds, (stamps.time - clock_times[0]) / 1e9)
        start = np.maximum(start, 0)
    return _Window(start, seconds, seconds)


@dataclass(frozen=True, eq=False)
class _TradeSums:
    """Running sums over trades, each of shape (n_events + 1,); `value` is at price less `first_price`."""

    count: FloatArray
    volume: FloatArray
    signed_volume: FloatArray
    value: FloatArray
    first_price: float


@dataclass(frozen=True, eq=False)
class _Sums:
    """Running sums over the rows of a book, of shape (n_events + 1,) or (n_events + 1, n_levels).

    A sum over rows i..j is sums[j + 1] - sums[i]. Sums run from the first row, so none knows a later one.
    """

    flow: FloatArray
    depth: FloatArray
    open_rows: FloatArray
    squares: FloatArray
    trades: _TradeSums | None


def _running_sums(book: OrderBook, trades: pd.DataFrame | None, levels: int) -> _Sums:
    levels = min(levels, book.n_levels)
    is_open = ~book.halted
    depth = 0.5 * (_filled(book.bid_size[:, :levels]) + _filled(book.ask_size[:, :levels]))
    moves = np.zeros(book.n_events)
    moves[1:] = np.diff(np.log(book.mid))
    moves[~_steps(book) | np.isnan(moves)] = 0.0
    return _Sums(
        flow=_summed(order_flow(book, levels=levels)),
        depth=_summed(depth * is_open[:, None]),
        open_rows=_summed(is_open.astype(np.float64)),
        squares=_summed(moves**2),
        trades=_trade_sums(book, trades),
    )


def _trade_sums(book: OrderBook, trades: pd.DataFrame | None) -> _TradeSums | None:
    if trades is not None:
        given = check_trades(trades)
        rows = np.searchsorted(book.nanoseconds, _same_clock(given.time, book), side="left")
        seen = rows < book.n_events
        seen[seen] &= ~book.halted[rows[seen]]
        rows = rows[seen]
        price, volume, side = given.price[seen], given.volume[seen], given.side[seen]
    elif {"type", "size", "price", "direction"} <= set(book.messages.columns):
        own = book.trades()
        rows = own.index.to_numpy()
        price, volume, side = (own[name].to_numpy() for name in ("price", "volume", "side"))
    else:
        return None
    first_price = float(price[0]) if len(rows) else 0.0  # keeps the sum of values small, and so exact

    def by_row(amounts: FloatArray) -> FloatArray:
        return _summed(np.bincount(rows, weights=amounts, minlength=book.n_events).astype(np.float64))

    return _TradeSums(
        count=by_row(np.ones(len(rows))),
        volume=by_row(volume),
        signed_volume=by_row(volume * side),
        value=by_row(volume * (price - first_price)),
        first_price=first_price,
    )


def _same_clock(times: pd.Index, book: OrderBook) -> IntArray:
    """Return times in nanoseconds since midnight of the book's first day."""
    kinds = [(isinstance(index, pd.DatetimeIndex), getattr(index, "tz", None)) for index in (times, book.times)]
    if str(kinds[0]) != str(kinds[1]):
        raise DataError(f"trades: times are {times.dtype} and the book's are {book.times.dtype}; use one clock")
    # the book's first stamp leads, so that both count from the same midnight
    return nanoseconds(book.times[:1].append(times))[1:]


def _summed(values: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])


def _steps(book: OrderBook) -> BoolArray:
    """Mark rows that follow another one with trading on both."""
    steps = ~book.halted
    steps[1:] &= ~book.halted[:-1]
    steps[0] = False
    return steps


# ---------------------------------------------------------------------------- groups of features


def _state_features(
    book: OrderBook, stamps: _Stamps, trailing: _Window, known: BoolArray, levels: int
) -> dict[str, FloatArray]:
    """Spreads, depth, imbalance: the book of one row, some of it against its own past."""
    row = stamps.row
    n_levels = min(levels, book.n_levels)
    spread = book.ask_price[:, 0] - book.bid_price[:, 0]
    relative = 1e4 * spread / book.mid
    open_rows = ~book.halted

    def against_median(series: FloatArray) -> FloatArray:
        medians = np.empty(len(row))
        usable = np.where(open_rows, series, np.nan)
        _sliding_medians(np.ascontiguousarray(usable), trailing.start + 1, row + 1, medians)
        return _log(_over(series[row], np.where(known, medians, np.nan)))

    columns = {"relative_spread": relative[row], "spread_ratio": against_median(relative)}
    bid_size, ask_size = _filled(book.bid_size[row, :n_levels]), _filled(book.ask_size[row, :n_levels])
    cumulative_bid, cumulative_ask = np.cumsum(bid_size, axis=1), np.cumsum(ask_size, axis=1)
    for k in range(n_levels):
        columns[f"ask_depth_{k + 1}"] = against_median(book.ask_size[:, k])
        columns[f"bid_depth_{k + 1}"] = against_median(book.bid_size[:, k])
        columns[f"imbalance_{k + 1}"] = _imbalance(bid_size[:, k], ask_size[:, k])
        if k:
            columns[f"level_spread_{k + 1}"] = _log(_over(book.ask_price[row, k] - book.bid_price[row, k], spread[row]))
            columns[f"cumulative_imbalance_{k + 1}"] = _imbalance(cumulative_bid[:, k], cumulative_ask[:, k])
    bids, asks = cumulative_bid[:, -1], cumulative_ask[:, -1]
    mid = book.mid[row, None]
    bid_distance = _over((_filled(book.bid_price[row, :n_levels] - mid) * bid_size).sum(axis=1), bids)
    ask_distance = _over((_filled(book.ask_price[row, :n_levels] - mid) * ask_size).sum(axis=1), asks)
    columns["microprice_distance"] = _over(_over(ask_distance * bids + bid_distance * asks, bids + asks), spread[row])
    return columns


def _window_features(
    book: OrderBook, sums: _Sums, stamps: _Stamps, window: _Window, trailing: _Window
) -> dict[str, FloatArray]:
    """Flows, trades, pace and moves of one horizon."""
    row = stamps.row
    there = window.start >= 0
    start = np.where(there, window.start, 0)
    spread = book.ask_price[row, 0] - book.bid_price[row, 0]

    def within(running: FloatArray) -> FloatArray:
        return running[row + 1] - running[start + 1]

    def remembered(running: FloatArray) -> FloatArray:
        return running[row + 1] - running[trailing.start + 1]

    def pace(counts: FloatArray) -> FloatArray:
        expected = _over(remembered(counts), trailing.seconds) * window.seconds
        return np.log((within(counts) + 1.0) / (expected + 1.0))

    flow = within(sums.flow)
    depth = sums.depth[row + 1] - sums.depth[start]  # row s included: a window without events has a depth too
    open_rows = sums.open_rows[row + 1] - sums.open_rows[start]
    before = np.where(book.halted[start], np.nan, book.mid[start])
    columns = {f"ofi_{k + 1}": _over(flow[:, k] * open_rows, depth[:, k]) for k in range(flow.shape[1])}
    columns["ofi_total"] = _over(flow.sum(axis=1) * open_rows, depth.sum(axis=1))
    columns["intensity"] = pace(sums.open_rows)
    columns["return"] = 1e4 * _log(_over(book.mid[row], before))
    columns["volatility_ratio"] = np.sqrt(
        _over(_over(within(sums.squares), window.width), _over(remembered(sums.squares), trailing.width))
    )
    if sums.trades is not None:
        volume = np.where(within(sums.trades.count) > 0, within(sums.trades.volume), np.nan)
        vwap = sums.trades.first_price + _over(within(sums.trades.value), volume)
        share = _over(within(sums.trades.signed_volume), volume)
        columns["vwap_distance"] = _over(book.mid[row] - vwap, spread)
        columns["trade_imbalance"] = np.clip(share, -1.0, 1.0)  # differences of sums may overshoot by rounding
        columns["trade_intensity"] = pace(sums.trades.count)
    return {name: np.where(there, values, np.nan) for name, values in columns.items()}


@njit(cache=True)
def _sliding_medians(  # pragma: no cover - compiled
    values: FloatArray, starts: IntArray, ends: IntArray, medians: FloatArray
) -> None:
    """Write the median of the numbers among values[starts[j]:ends[j]]; NaN where there is none.

    Starts and ends never decrease. A sorted copy of the window is kept; the twin with np.nanmedian is in the tests.
    """
    widest = 1
    for j in range(len(ends)):
        widest = max(widest, ends[j] - starts[max(j - 1, 0)])
    window = np.empty(widest)
    size, left, right = 0, starts[0] if len(starts) else 0, starts[0] if len(starts) else 0
    for j in range(len(ends)):
        while right < ends[j]:
            if not np.isnan(values[right]):
                place = np.searchsorted(window[:size], values[right])
                for i in range(size, place, -1):
                    window[i] = window[i - 1]
                window[place] = values[right]
                size += 1
            right += 1
        while left < starts[j]:
            if not np.isnan(values[left]):
                place = np.searchsorted(window[:size], values[left])
                size -= 1
                for i in range(place, size):
                    window[i] = window[i + 1]
            left += 1
        medians[j] = np.nan
        if size:
            medians[j] = 0.5 * (window[(size - 1) // 2] + window[size // 2])


# ---------------------------------------------------------------------------- bars


def bar_features(bars: pd.DataFrame, *, window: int = 20) -> pd.DataFrame:
    """Describe bars of one instrument.

    Parameters
    ----------
    bars : DataFrame of shape (n_bars, n_columns)
        `open`, `high`, `low`, `close` (positive) and `volume` (not negative); `vwap`, `n_trades` and
        `signed_volume` where known, as `eigenfolio.data.bars` makes them. NaN where a number is missing.
    window : int
        Bars in the windows, the one described included; at least 2. A window with fewer than half of its
        numbers is not used.

    Returns
    -------
    DataFrame of shape (n_bars, 17)
        Columns `BAR_FEATURES`, finite or NaN, on the index of `bars`.

    Raises
    ------
    DataError
        If there is no bar, a column is missing, or a bar has a price that is not positive, a volume below zero,
        or an open or close outside its range.
    ParameterError
        If `window` is no whole number above 1.

    Examples
    --------
    >>> bars = pd.DataFrame({"open": [10.0, 10.2, 10.3], "high": [10.4, 10.4, 10.6], "low": [9.9, 10.1, 10.2],
    ...                      "close": [10.2, 10.3, 10.5], "volume": [100.0, 50.0, 100.0]})
    >>> bar_features(bars, window=2)[["return", "close_location", "volume_ratio", "tick_imbalance"]].round(3)
        return  close_location  volume_ratio  tick_imbalance
    0      NaN           0.600           NaN             NaN
    1   97.562           0.667        -0.405             1.0
    2  192.314           0.750         0.288             1.0
    """
    if not isinstance(window, int | np.integer) or isinstance(window, bool) or window < 2:
        raise ParameterError(f"window must be a whole number of bars above 1, got {window!r}")
    values = _check_bars(bars)
    opened, high, low, close = (values[name] for name in ("open", "high", "low", "close"))
    volume, trades, signed = values["volume"], values["n_trades"], values["signed_volume"]

    previous = _shifted(close)
    returns = np.log(close / previous)
    parkinson = np.log(high / low) ** 2 / (4 * np.log(2))
    garman_klass = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2
    root_mean_square = np.sqrt(_mean(returns**2, window))
    value = close * volume

    columns = {
        "return": 1e4 * returns,
        "gap": 1e4 * np.log(opened / previous),
        "return_ratio": _over(returns, root_mean_square),
        "parkinson_ratio": np.sqrt(_over(parkinson, _mean(parkinson, window))),
        "garman_klass_ratio": np.sqrt(_over(garman_klass, _mean(garman_klass, window))),
        "range_to_return": _log(_over(np.sqrt(_mean(parkinson, window)), root_mean_square)),
        "close_location": _over(close - low, high - low),
        "volume_ratio": _log(_over(volume, _median(volume, window))),
        "trade_count_ratio": _log(_over(trades, _median(trades, window))),
        "trade_size_ratio": _log(_over(_over(volume, trades), _median(_over(volume, trades), window))),
        "vwap_distance": _over(close - values["vwap"], high - low),
        "window_vwap_distance": _over(
            _log(_over(close, _over(_mean(value, window), _mean(np.where(np.isnan(close), np.nan, volume), window)))),
            root_mean_square * np.sqrt(window),
        ),
        "amihud_ratio": _against_mean(_over(np.abs(returns), value), window),
        "impact_ratio": _against_mean(_over(np.abs(returns), np.sqrt(value)), window),
        "kyle_correlation": _uncentred_correlation(returns, signed, window),
        "trade_imbalance": _over(signed, volume),
        "tick_imbalance": _tick_imbalance(close, volume, window),
    }
    return pd.DataFrame({name: columns[name] for name in BAR_FEATURES}, index=bars.index)


def _check_bars(bars: pd.DataFrame) -> dict[str, FloatArray]:
    if not len(bars):
        raise DataError("bars: the table has no rows; make shorter bars or hand over more trades")
    needed = ("open", "high", "low", "close", "volume")
    missing = [name for name in needed if name not in bars]
    if missing:
        raise DataError(f"bars: column {missing[0]!r} is missing; {', '.join(needed)} are needed")
    values = {
        name: bars[name].to_numpy(dtype=np.float64) if name in bars else np.full(len(bars), np.nan)
        for name in (*needed, "vwap", "n_trades", "signed_volume")
    }
    opened, high, low, close = (values[name] for name in needed[:4])
    for name in (*needed[:4], "vwap"):
        _refuse(bars, (values[name] <= 0) | np.isinf(values[name]), f"{name} is not a positive number")
    for name in ("volume", "n_trades"):
        _refuse(bars, (values[name] < 0) | np.isinf(values[name]), f"{name} is below zero or infinite")
    outside = (np.fmax(opened, close) > high) | (np.fmin(opened, close) < low) | (high < low)
    _refuse(bars, outside, "open or close lies outside low to high")
    _refuse(bars, np.isinf(values["signed_volume"]), "signed_volume is infinite")
    return values


def _refuse(bars: pd.DataFrame, bad: BoolArray, what: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"bars: row {row} ({bars.index[row]}): {what}; {bad.sum():,} such bars, mend them first")


def _shifted(values: FloatArray) -> FloatArray:
    return np.concatenate([[np.nan], values[:-1]])


def _windows(values: FloatArray, window: int) -> tuple[FloatArray, BoolArray]:
    """Return the trailing windows as views, those before the first full one NaN, and which have enough numbers."""
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    windows = sliding_window_view(padded, window)
    enough = 2 * np.isfinite(windows).sum(axis=1) >= window
    enough[: window - 1] = False
    return windows, enough


def _mean(values: FloatArray, window: int) -> FloatArray:
    windows, enough = _windows(values, window)
    present = np.isfinite(windows)
    sums = np.where(present, windows, 0.0).sum(axis=1)
    return np.where(enough, _over(sums, present.sum(axis=1).astype(np.float64)), np.nan)


def _median(values: FloatArray, window: int) -> FloatArray:
    _, enough = _windows(values, window)
    medians = np.empty(len(values))
    ends = np.arange(1, len(values) + 1)
    _sliding_medians(np.ascontiguousarray(values), np.maximum(ends - window, 0), ends, medians)
    return np.where(enough, medians, np.nan)


def _against_mean(values: FloatArray, window: int) -> FloatArray:
    return _over(values, _mean(values, window))


def _uncentred_correlation(a: FloatArray, b: FloatArray, window: int) -> FloatArray:
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, np.nan), np.where(both, b, np.nan)
    products = _over(_mean(a * b, window), np.sqrt(_mean(a * a, window) * _mean(b * b, window)))
    return np.clip(products, -1.0, 1.0)


def _tick_imbalance(close: FloatArray, volume: FloatArray, window: int) -> FloatArray:
    """Share of volume in bars whose last price change was a rise, less those of a fall; missing closes are skipped."""
    there = np.isfinite(close)
    sign = np.full(len(close), np.nan)
    sign[there] = tick_rule(close[there])
    sign[there & (np.cumsum(there) == 1)] = np.nan  # the first close has no change before it
    usable = np.where(np.isfinite(sign), volume, np.nan)
    balance = _over(_mean(sign * usable, window), _mean(usable, window))
    return np.clip(balance, -1.0, 1.0)


# ---------------------------------------------------------------------------- small helpers


def _filled(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), 0.0, values)


def _over(a: FloatArray, b: FloatArray) -> FloatArray:
    """Divide; NaN where the divisor is not positive."""
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)


def _log(values: FloatArray) -> FloatArray:
    """Take logarithms; NaN where there is none."""
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0)


def _imbalance(bid: FloatArray, ask: FloatArray) -> FloatArray:
    return _over(bid - ask, bid + ask)


def _check_options(
    levels: int, horizons: Sequence[float], clock: str, memory: float | None, grid: float | None
) -> tuple[tuple[float, ...], float]:
    if not isinstance(levels, int | np.integer) or isinstance(levels, bool) or levels < 1:
        raise ParameterError(f"levels must be a positive whole number, got {levels!r}")
    if clock not in ("events", "seconds"):
        raise ParameterError(f"clock must be 'events' or 'seconds', got {clock!r}")
    reaches = tuple(horizons)
    increasing = all(a < b for a, b in pairwise(reaches))
    if not reaches or not increasing or not all(0 < reach < np.inf for reach in reaches):
        raise ParameterError(f"horizons must be positive and increasing, got {horizons!r}")
    if memory is None:
        memory = _MEMORY_HORIZONS * reaches[-1]
    if not reaches[-1] <= memory < np.inf:
        raise ParameterError(f"memory must be at least the longest horizon ({reaches[-1]:g}), got {memory!r}")
    if clock == "events" and any(reach != int(reach) for reach in (*reaches, memory)):
        raise ParameterError(f"horizons and memory in events must be whole, got {horizons!r} and {memory!r}")
    if grid is not None and not 0 < grid < np.inf:
        raise ParameterError(f"grid must be a positive number of seconds or None, got {grid!r}")
    return reaches, float(memory)
