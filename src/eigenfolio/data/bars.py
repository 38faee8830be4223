"""Turn trades into bars: by time, by number of trades, by volume, by value traded.

A bar is a run of consecutive trades. Trade i closes a bar when, since the bar began,

    time bars      the next trade lies in a later interval [k d, (k + 1) d), k = 0, 1, ... from midnight of
                   the first day
    tick bars      n trades have happened
    volume bars    at least `volume` has been traded
    dollar bars    at least `value` (the sum of price times volume) has been traded

What exceeds the threshold stays in the bar, and the next one starts from zero. An interval without trades
makes no bar. Every bar is stamped with its last trade and made of trades up to it. Whether it was complete
could be known at `known_at`: the same moment, except for time bars, where it is the end of the interval;
act on a bar at `known_at`, not before.

The trades after the last full bar are the remainder. They are dropped unless `remainder="keep"` asks for
them, because later trades would change that bar; kept, it has no `known_at`. The last interval of time
bars is always a remainder: that it is over shows only when a later trade comes.

    vwap            sum of price * volume / sum of volume
    signed_volume   sum of volume * side, side from the column `side` (1 buyer, -1 seller) or else from the
                    tick rule: the sign of the last price change that was not zero, 0 before the first [1]_

References
----------
.. [1] C. Lee and M. Ready (1991). Inferring Trade Direction from Intraday Data. Journal of Finance 46(2).
.. [2] M. Lopez de Prado (2018). Advances in Financial Machine Learning, chapter 2. Wiley.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.data.findings import some
from eigenfolio.data.order_books import nanoseconds
from eigenfolio.errors import DataError, ParameterError

__all__ = ["BAR_COLUMNS", "dollar_bars", "tick_bars", "tick_rule", "time_bars", "volume_bars"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Remainder = Literal["drop", "keep"]

BAR_COLUMNS: tuple[str, ...] = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "n_trades",
    "signed_volume",
    "known_at",
)

_ROUNDING = 1e-9  # sums of price * volume that miss a threshold by rounding reach it


def time_bars(trades: pd.DataFrame, *, seconds: float, remainder: Remainder = "drop") -> pd.DataFrame:
    """Make one bar of the trades in each interval of `seconds`.

    Parameters
    ----------
    trades : DataFrame of shape (n_trades, n_columns)
        `time` (dates, or seconds after midnight; never decreasing), `price` and `volume` (positive), and
        `side` (1, -1, 0) where known.
    seconds : float
        Length of an interval, at least a nanosecond; intervals count from midnight of the first day.
    remainder : {"drop", "keep"}
        What to do with the last interval, of which nothing says that it is over.

    Returns
    -------
    DataFrame of shape (n_bars, 9)
        Columns `BAR_COLUMNS`, indexed by the time of the last trade.

    Raises
    ------
    DataError
        If columns are missing or a trade has no time, price or volume, or comes before the one above it.
    ParameterError
        If an option has a value it cannot have.

    Examples
    --------
    >>> trades = pd.DataFrame({"time": [1.0, 4.0, 9.0, 12.0], "price": [10.0, 12.0, 11.0, 9.0], "volume": [1, 1, 2, 5]})
    >>> time_bars(trades, seconds=5)[["open", "high", "low", "close", "volume", "vwap", "known_at"]]
          open  high   low  close  volume  vwap  known_at
    time
    4.0   10.0  12.0  10.0   12.0     2.0  11.0       5.0
    9.0   11.0  11.0  11.0   11.0     2.0  11.0      10.0
    """
    if not (np.isfinite(seconds) and seconds >= 1e-9):
        raise ParameterError(f"seconds must be a positive length of time, got {seconds!r}")
    columns = check_trades(trades)
    width = int(np.rint(seconds * 1e9))
    interval = columns.nanoseconds // width
    starts = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1))
    ends = interval[starts] * width + width
    known_at = _from_nanoseconds(ends, columns.time)
    return _bars(columns, starts, n_full=len(starts) - 1, known_at=known_at, remainder=remainder)


def tick_bars(trades: pd.DataFrame, *, n_trades: int, remainder: Remainder = "drop") -> pd.DataFrame:
    """Make one bar of every `n_trades` trades.

    Parameters
    ----------
    trades, remainder
        As in `time_bars`.
    n_trades : int
        Trades in a bar, at least 1.

    Returns
    -------
    DataFrame of shape (n_bars, 9)
        As in `time_bars`.

    Raises
    ------
    DataError, ParameterError
        As in `time_bars`.

    Examples
    --------
    >>> trades = pd.DataFrame({"time": [1.0, 2.0, 3.0], "price": [10.0, 12.0, 11.0], "volume": [1, 3, 2]})
    >>> tick_bars(trades, n_trades=2)[["open", "close", "vwap", "n_trades"]]
          open  close  vwap  n_trades
    time
    2.0   10.0   12.0  11.5         2
    """
    if not isinstance(n_trades, int | np.integer) or isinstance(n_trades, bool) or n_trades < 1:
        raise ParameterError(f"n_trades must be a positive whole number, got {n_trades!r}")
    columns = check_trades(trades)
    starts = np.arange(0, len(columns.price), n_trades)
    return _bars(columns, starts, n_full=len(columns.price) // n_trades, known_at=None, remainder=remainder)


def volume_bars(trades: pd.DataFrame, *, volume: float, remainder: Remainder = "drop") -> pd.DataFrame:
    """Make a bar whenever at least `volume` has been traded since the last.

    Parameters
    ----------
    trades, remainder
        As in `time_bars`.
    volume : float
        Positive, in the unit of the trades' volume.

    Returns
    -------
    DataFrame of shape (n_bars, 9)
        As in `time_bars`.

    Raises
    ------
    DataError, ParameterError
        As in `time_bars`.

    Examples
    --------
    >>> trades = pd.DataFrame({"time": [1.0, 2.0, 3.0, 4.0], "price": [10.0, 12.0, 11.0, 9.0], "volume": [4, 9, 3, 6]})
    >>> volume_bars(trades, volume=8)[["close", "volume"]]
          close  volume
    time
    2.0    12.0    13.0
    4.0     9.0     9.0
    """
    columns = check_trades(trades)
    return _threshold_bars(columns, columns.volume, volume, "volume", remainder)


def dollar_bars(trades: pd.DataFrame, *, value: float, remainder: Remainder = "drop") -> pd.DataFrame:
    """Make a bar whenever trades worth at least `value` have happened since the last.

    Parameters
    ----------
    trades, remainder
        As in `time_bars`.
    value : float
        Positive, in the unit of price times volume.

    Returns
    -------
    DataFrame of shape (n_bars, 9)
        As in `time_bars`.

    Raises
    ------
    DataError, ParameterError
        As in `time_bars`.

    Examples
    --------
    >>> trades = pd.DataFrame({"time": [1.0, 2.0, 3.0], "price": [10.0, 20.0, 50.0], "volume": [4, 3, 2]})
    >>> dollar_bars(trades, value=100)[["open", "close", "volume"]]
          open  close  volume
    time
    2.0   10.0   20.0     7.0
    3.0   50.0   50.0     2.0
    """
    columns = check_trades(trades)
    return _threshold_bars(columns, columns.price * columns.volume, value, "value", remainder)


def tick_rule(price: FloatArray) -> FloatArray:
    """Sign every trade by the last price change that was not zero.

    Parameters
    ----------
    price : ndarray of shape (n_trades,)
        Prices in the order of the trades.

    Returns
    -------
    ndarray of shape (n_trades,)
        1 after a rise, -1 after a fall, 0 before the first change.

    Examples
    --------
    >>> tick_rule(np.array([10.0, 10.0, 10.5, 10.5, 10.0]))
    array([ 0.,  0.,  1.,  1., -1.])
    """
    price = np.asarray(price, dtype=np.float64)
    change = np.sign(np.diff(price, prepend=price[:1]))
    last = np.maximum.accumulate(np.where(change != 0, np.arange(len(change)), 0))
    return change[last]


@dataclass(frozen=True, eq=False)
class Trades:
    """Checked columns of a table of trades, each of shape (n_trades,)."""

    time: pd.Index
    nanoseconds: IntArray
    price: FloatArray
    volume: FloatArray
    side: FloatArray


def check_trades(trades: pd.DataFrame) -> Trades:
    """Return the columns of a table of trades; the tick rule signs them where `side` is not given."""
    missing = [name for name in ("time", "price", "volume") if name not in trades]
    if missing:
        raise DataError(f"trades: column {missing[0]!r} is missing among {some(trades.columns)}; add it")
    if not len(trades):
        raise DataError("trades: the table has no rows; it must hold one row per trade")
    time = pd.Index(trades["time"], name="time")
    if isinstance(time, pd.DatetimeIndex):
        unknown = np.asarray(time.isna())
    elif pd.api.types.is_numeric_dtype(time.dtype):
        time = time.astype(np.float64)
        unknown = ~np.isfinite(time.to_numpy())
    else:
        raise DataError(f"trades: time must be dates or seconds after midnight, got {time.dtype}; convert it")
    _refuse(unknown, time, "the time is missing")
    stamps = nanoseconds(time)
    _refuse(np.diff(stamps, prepend=stamps[0]) < 0, time, "comes before the trade above it")
    numbers: dict[str, FloatArray] = {}
    for name in ("price", "volume"):
        try:
            values = trades[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"trades: {name} must be numbers, got {trades[name].dtype}; convert it") from error
        _refuse(~(np.isfinite(values) & (values > 0)), time, f"{name} is not positive")
        numbers[name] = values
    if "side" in trades:
        side = trades["side"].to_numpy(dtype=np.float64)
        _refuse(~np.isin(side, (-1, 0, 1)), time, "side is none of 1, -1, 0")
    else:
        side = tick_rule(numbers["price"])
    return Trades(time, stamps, side=side, **numbers)


def _refuse(bad: NDArray[np.bool_], time: pd.Index, what: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"trades: row {row} (time {time[row]}): {what}; {bad.sum():,} such rows, mend or drop them")


def _threshold_bars(
    columns: Trades, amounts: FloatArray, threshold: float, name: str, remainder: Remainder
) -> pd.DataFrame:
    if not (np.isfinite(threshold) and threshold > 0):
        raise ParameterError(f"{name} must be positive, got {threshold!r}")
    total = np.cumsum(amounts)
    before = np.concatenate([[0.0], total[:-1]])
    # following[i]: first trade after the bar that starts at trade i; the twin with a running sum is in the tests
    following = np.searchsorted(total, before + threshold * (1 - _ROUNDING), side="left") + 1
    following = np.maximum(following, np.arange(1, len(amounts) + 1))  # a threshold lost beside a huge sum
    steps = following.tolist()
    starts, start, n = [], 0, len(amounts)
    while start < n:
        starts.append(start)
        start = steps[start]
    n_full = len(starts) if start == n else len(starts) - 1
    return _bars(columns, np.array(starts), n_full=n_full, known_at=None, remainder=remainder)


def _bars(
    columns: Trades, starts: IntArray, *, n_full: int, known_at: pd.Index | None, remainder: Remainder
) -> pd.DataFrame:
    """Summarise runs of trades; bars from `n_full` on are the remainder."""
    if remainder not in ("drop", "keep"):
        raise ParameterError(f"remainder must be 'drop' or 'keep', got {remainder!r}")
    price, volume = columns.price, columns.volume
    last = np.append(starts[1:], len(price)) - 1
    traded = np.add.reduceat(volume, starts)
    stamps = columns.time[last]
    known = (stamps if known_at is None else known_at).where(np.arange(len(starts)) < n_full)
    bars = pd.DataFrame(
        {
            "open": price[starts],
            "high": np.maximum.reduceat(price, starts),
            "low": np.minimum.reduceat(price, starts),
            "close": price[last],
            "volume": traded,
            "vwap": np.add.reduceat(price * volume, starts) / traded,
            "n_trades": last - starts + 1,
            "signed_volume": np.add.reduceat(columns.side * volume, starts),
            "known_at": known,
        },
        index=stamps,
    )
    return bars if remainder == "keep" else bars.iloc[:n_full]


def _from_nanoseconds(values: IntArray, like: pd.Index) -> pd.Index:
    """Return nanoseconds since midnight of the first day as times of the kind of `like`."""
    if isinstance(like, pd.DatetimeIndex):
        return pd.DatetimeIndex(like[:1].normalize()[0] + pd.to_timedelta(values, unit="ns"))
    return pd.Index(values / 1e9)
