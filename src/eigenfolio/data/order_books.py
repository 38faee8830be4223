"""Read limit order books: what was quoted after every event, and the events themselves.

A book has T rows, one after each event, and L levels a side, the best first. Prices are positive and in
currency, sizes are positive and in shares or contracts, and a level without orders is NaN on both. Times
are seconds after midnight (LOBSTER's own clock) or dates; several events may share one stamp, and the order
of the rows is the order of the events.

LOBSTER writes two files without a header and with equally many rows [1]_:

    message     time, type, order id, size, price, direction (a seventh column names a participant; not kept)
    order book  ask price 1, ask size 1, bid price 1, bid size 1, ask price 2, ...

Prices are dollars times 10,000; an empty level is 9999999999 (asks) or -9999999999 (bids) with size 0.

    type        1 new order, 2 partial cancellation, 3 deletion, 4 execution of a visible order,
                5 execution of a hidden order, 6 cross (auction), 7 trading halt
    direction   side of the resting order: 1 buy, -1 sell. An execution of a sell order is a buyer's trade,
                so the sign of a trade is minus the direction.

A halt begins at a message of type 7 with price -1; quoting may resume at one with price 0; trading resumes
at one with price 1. The book of such a row repeats the row before, and orders pile up in between without
being matched. Rows from the first to the last of them are `halted`: they may be crossed, and nothing is
measured on them.

References
----------
.. [1] R. Huang and T. Polak (2011). LOBSTER: Limit Order Book Reconstruction System. SSRN 1977207;
   output structure at https://lobsterdata.com/info/DataStructure.php.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.data.findings import some
from eigenfolio.data.readers import load_file
from eigenfolio.errors import DataError, ParameterError

__all__ = ["MESSAGE_COLUMNS", "OrderBook", "nanoseconds", "read_lobster", "read_order_book"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

MESSAGE_COLUMNS: tuple[str, ...] = ("type", "order_id", "size", "price", "direction")

_HALT = 7
_TRADES = (4, 5)
_EMPTY = 9_999_999_999
_TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "time_utc", "event_time")
_LEVEL = re.compile(r"(ask|bid)_(price|size)(?:_(\d+))?")


@dataclass(frozen=True, eq=False, repr=False)
class OrderBook:
    """Quotes of one instrument after every event.

    Building one checks every row; arrays are float64 and read-only.

    Parameters
    ----------
    times : Index of shape (n_events,)
        Seconds after midnight (float), or a DatetimeIndex; never decreasing.
    messages : DataFrame of shape (n_events, n_columns)
        The events, any of the columns in `MESSAGE_COLUMNS`; no column when only quotes are known. In a halt
        message (type 7) `price` is -1, 0 or 1.
    ask_price, ask_size, bid_price, bid_size : ndarray of shape (n_events, n_levels)
        Best level first; NaN where a level is empty.
    source : str
        Where the numbers came from.

    Raises
    ------
    DataError
        Naming the first row where times run backward, a level has a price without a positive size (or a size
        without a price), levels are out of order or skip one, or a bid is not below the ask outside a halt.

    Examples
    --------
    >>> quotes = pd.DataFrame(
    ...     {"time": [34200.0, 34200.5], "ask_price": [10.02, 10.02], "ask_size": [100, 80],
    ...      "bid_price": [10.0, 10.01], "bid_size": [50, 20]}
    ... )
    >>> book = OrderBook.from_frame(quotes)
    >>> book
    OrderBook(2 events x 1 level, 34200 to 34200.5, memory)
    >>> book.mid
    array([10.01 , 10.015])
    """

    times: pd.Index
    messages: pd.DataFrame
    ask_price: FloatArray
    ask_size: FloatArray
    bid_price: FloatArray
    bid_size: FloatArray
    source: str = "memory"

    def __post_init__(self) -> None:
        times = pd.Index(self.times, name="time")
        if not isinstance(times, pd.DatetimeIndex):
            if not pd.api.types.is_numeric_dtype(times.dtype):
                raise DataError(f"{self.source}: times must be seconds after midnight or dates, got {times.dtype}")
            times = times.astype(np.float64)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "messages", self.messages.reset_index(drop=True))
        for name in ("ask_price", "ask_size", "bid_price", "bid_size"):
            values = np.array(getattr(self, name), dtype=np.float64, order="C")  # a copy: it becomes read-only
            if values.ndim == 1:
                values = values[:, None]
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        self._check()

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, source: str = "memory") -> OrderBook:
        """Make a book from one table with named columns.

        Parameters
        ----------
        frame : DataFrame
            `ask_price_k`, `ask_size_k`, `bid_price_k`, `bid_size_k` for k = 1, 2, ... (level 1 may go without
            its number), `time` (or a DatetimeIndex), and any of `MESSAGE_COLUMNS`. Case and blanks in names do
            not matter. Columns of other names are left out.
        source : str
            Named in errors and kept.

        Returns
        -------
        OrderBook

        Raises
        ------
        DataError
            If columns are missing or doubled, or a row cannot stand in a book.

        Examples
        --------
        >>> dates = pd.date_range("2024-01-02 09:30", periods=2, freq="s")
        >>> columns = ["ask_price_1", "ask_size_1", "bid_price_1", "bid_size_1"]
        >>> OrderBook.from_frame(pd.DataFrame([[11, 5, 9, 5], [11, 5, 10, 7]], index=dates, columns=columns)).mid
        array([10. , 10.5])
        """
        if not len(frame):
            raise DataError(f"{source}: the table has no rows; it must hold one row per event")
        named: dict[str, Any] = {}
        for column in frame.columns:
            plain = re.sub(r"[\s_\-]+", "_", str(column).strip().lower())
            match = _LEVEL.fullmatch(plain)
            if match:
                plain = f"{match[1]}_{match[2]}_{int(match[3] or 1)}"
            if plain in named:
                raise DataError(f"{source}: columns {named[plain]!r} and {column!r} are both {plain}; drop one")
            named[plain] = column
        numbers = sorted({int(match[3]) for match in map(_LEVEL.fullmatch, named) if match})
        if not numbers:
            raise DataError(
                f"{source}: no column ask_price_1 (or ask_price) among {some(frame.columns)}; "
                "name quotes ask_price_k, ask_size_k, bid_price_k, bid_size_k"
            )
        wanted = [f"{side}_{field}_{k}" for k in range(1, numbers[-1] + 1) for side, field in _FIELDS]
        missing = [name for name in wanted if name not in named]
        if missing:
            raise DataError(f"{source}: column {missing[0]} is missing ({len(missing)} of {len(wanted)} are); add it")
        quotes = {
            f"{side}_{field}": np.column_stack(
                [
                    _to_numbers(frame[named[f"{side}_{field}_{k}"]], f"{side}_{field}_{k}", source)
                    for k in range(1, numbers[-1] + 1)
                ]
            )
            for side, field in _FIELDS
        }
        messages = pd.DataFrame(
            {name: _to_numbers(frame[named[name]], name, source) for name in MESSAGE_COLUMNS if name in named},
            index=pd.RangeIndex(len(frame)),
        )
        return cls(times=_find_times(frame, named, source), messages=messages, source=source, **quotes)

    # ------------------------------------------------------------------ views

    def __repr__(self) -> str:
        levels = f"{self.n_levels} level{'s' if self.n_levels > 1 else ''}"
        return f"OrderBook({self.n_events:,} events x {levels}, {self._at(0)} to {self._at(-1)}, {self.source})"

    @property
    def n_events(self) -> int:
        """Rows."""
        return len(self.times)

    @property
    def n_levels(self) -> int:
        """Levels a side."""
        return self.ask_price.shape[1]

    @cached_property
    def nanoseconds(self) -> IntArray:
        """Times in whole nanoseconds since midnight of the first day, shape (n_events,)."""
        return nanoseconds(self.times)

    @cached_property
    def mid(self) -> FloatArray:
        """Mean of best bid and best ask, shape (n_events,); NaN where one side is empty."""
        return 0.5 * (self.ask_price[:, 0] + self.bid_price[:, 0])

    @cached_property
    def halted(self) -> BoolArray:
        """True on the rows of a trading halt, its messages included, shape (n_events,)."""
        if not {"type", "price"} <= set(self.messages.columns):
            return np.zeros(self.n_events, dtype=bool)
        is_halt = self.messages["type"].to_numpy() == _HALT
        last = np.maximum.accumulate(np.where(is_halt, np.arange(self.n_events), -1))
        resumed = self.messages["price"].to_numpy()[last] > 0
        return is_halt | ((last >= 0) & ~resumed)

    def trades(self) -> pd.DataFrame:
        """Return the executions (types 4 and 5), outside halts.

        Returns
        -------
        DataFrame of shape (n_trades, 4)
            `time`, `price`, `volume`, `side` (1 a buyer's trade, -1 a seller's); labelled by row of the book.
            Crosses are left out: they have no side.

        Raises
        ------
        DataError
            If the messages lack type, size, price or direction.

        Examples
        --------
        >>> quotes = pd.DataFrame(
        ...     {"time": [1.0, 2.0], "type": [1, 4], "size": [20, 20], "price": [10.02, 10.02],
        ...      "direction": [-1, -1], "ask_price": [10.02, 10.03], "ask_size": [20, 80],
        ...      "bid_price": [10.0, 10.0], "bid_size": [50, 50]}
        ... )
        >>> OrderBook.from_frame(quotes).trades()
           time  price  volume  side
        1   2.0  10.02    20.0   1.0
        """
        missing = [name for name in ("type", "size", "price", "direction") if name not in self.messages]
        if missing:
            raise DataError(f"{self.source}: trades need the message column {missing[0]!r}; the book has quotes only")
        rows = np.flatnonzero(self.messages["type"].isin(_TRADES).to_numpy() & ~self.halted)
        events = self.messages.iloc[rows]
        return pd.DataFrame(
            {
                "time": self.times[rows],
                "price": events["price"].to_numpy(),
                "volume": events["size"].to_numpy(),
                "side": -events["direction"].to_numpy(),
            },
            index=rows,
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one table that `from_frame` and `read_order_book` read back.

        Examples
        --------
        >>> quotes = pd.DataFrame({"time": [1.0], "ask_price": [11], "ask_size": [5], "bid_price": [9],
        ...                        "bid_size": [4]})
        >>> OrderBook.from_frame(quotes).to_frame()
           time  ask_price_1  ask_size_1  bid_price_1  bid_size_1
        0   1.0         11.0         5.0          9.0         4.0
        """
        quotes = {
            f"{side}_{field}_{k + 1}": getattr(self, f"{side}_{field}")[:, k]
            for k in range(self.n_levels)
            for side, field in _FIELDS
        }
        messages = {name: self.messages[name].to_numpy() for name in self.messages.columns}
        return pd.DataFrame({"time": self.times, **messages, **quotes}, index=pd.RangeIndex(self.n_events))

    # ------------------------------------------------------------------ checks

    def _at(self, row: int) -> str:
        time = self.times[row]
        return f"{time:.12g}" if isinstance(time, float) else str(time)

    def _refuse(self, row: int, what: str) -> DataError:
        return DataError(f"{self.source}: row {row} (time {self._at(row)}): {what}")

    def _check(self) -> None:
        if not self.n_events:
            raise DataError(f"{self.source}: the book has no rows; it must hold one row per event")
        for name in ("ask_price", "ask_size", "bid_price", "bid_size"):
            shape = getattr(self, name).shape
            if shape != (self.n_events, self.n_levels) or not self.n_levels:
                raise DataError(
                    f"{self.source}: {name} has shape {shape}, expected {self.n_events} events x "
                    f"{self.n_levels} levels; hand over equally many rows and levels"
                )
        if len(self.messages) != self.n_events:
            raise DataError(
                f"{self.source}: {len(self.messages):,} messages do not match {self.n_events:,} rows of quotes; "
                "each event has one row in both"
            )
        unknown = [str(name) for name in self.messages.columns if name not in MESSAGE_COLUMNS]
        if unknown:
            raise DataError(
                f"{self.source}: nothing reads the message column {unknown[0]!r}; known are {MESSAGE_COLUMNS}"
            )
        self._check_times()
        for side, sign in (("ask", 1.0), ("bid", -1.0)):
            self._check_side(side, sign)
        bid, ask = self.bid_price[:, 0], self.ask_price[:, 0]
        row = _first((bid >= ask) & ~self.halted)
        if row is not None:
            raise self._refuse(row, f"crossed book, bid {bid[row]:g} is not below ask {ask[row]:g}; leave the row out")
        self._check_messages()

    def _check_times(self) -> None:
        missing = self.times.isna() if isinstance(self.times, pd.DatetimeIndex) else ~np.isfinite(self.times.to_numpy())
        row = _first(np.asarray(missing))
        if row is not None:
            raise DataError(f"{self.source}: row {row}: the time is missing; every event needs one")
        row = _first(np.diff(self.nanoseconds) < 0)
        if row is not None:
            raise self._refuse(row + 1, f"is earlier than the row before ({self._at(row)}); sort by time first")

    def _check_side(self, side: str, sign: float) -> None:
        price, size = getattr(self, f"{side}_price"), getattr(self, f"{side}_size")
        there = ~np.isnan(price)
        for bad, what in (
            (there & ~(np.isfinite(price) & (price > 0)), "price {price:g} is not positive"),
            (there & ~(np.isfinite(size) & (size > 0)), "size {size:g} at price {price:g} is not positive"),
            (~there & ~np.isnan(size), "size {size:g} has no price"),
        ):
            if bad.any():
                row, k = map(int, np.argwhere(bad)[0])
                text = what.format(price=price[row, k], size=size[row, k])
                raise self._refuse(row, f"{side} level {k + 1}: {text}; an empty level is NaN on both")
        skipped = there[:, 1:] & ~there[:, :-1]
        disorder = sign * np.diff(price, axis=1) <= 0  # False where a level is empty
        for bad, what in (
            (skipped, "has orders and the level before has none; move levels up"),
            (disorder, f"price is not {'above' if sign > 0 else 'below'} the level before; sort levels, best first"),
        ):
            if bad.any():
                row, k = map(int, np.argwhere(bad)[0])
                raise self._refuse(row, f"{side} level {k + 2} {what}")

    def _check_messages(self) -> None:
        messages = self.messages
        halt = messages["type"].to_numpy() == _HALT if "type" in messages else np.zeros(self.n_events, dtype=bool)
        for name, allowed in (("type", range(1, 8)), ("direction", (-1, 1))):
            if name in messages:
                row = _first(~messages[name].isin(allowed).to_numpy() & ~(halt & (name == "direction")))
                if row is not None:
                    got = messages[name].to_numpy()[row]
                    raise self._refuse(row, f"{name} {got:g} is unknown, expected one of {some(allowed, 7)}")
        for name in ("size", "price"):
            if name in messages:
                values = messages[name].to_numpy(dtype=np.float64)
                row = _first(~(np.isfinite(values) & (values > 0)) & ~halt)
                if row is not None:
                    raise self._refuse(row, f"message {name} {values[row]:g} is not positive")


_FIELDS = (("ask", "price"), ("ask", "size"), ("bid", "price"), ("bid", "size"))


def read_lobster(
    message_path: str | Path, book_path: str | Path, *, levels: int | None = None, price_scale: float = 1e-4
) -> OrderBook:
    """Read LOBSTER's message and order-book file of one day.

    Parameters
    ----------
    message_path, book_path : str or Path
        CSV without a header (may be gzipped), as LOBSTER writes them.
    levels : int, optional
        Levels to keep; None keeps all that the file has.
    price_scale : float
        Currency per unit of price; 1e-4 turns 911400 into 91.14.

    Returns
    -------
    OrderBook
        Times in seconds after midnight; empty levels NaN; halt messages keep their -1, 0 or 1 as price.

    Raises
    ------
    DataError
        If a file is missing, is not such a table, the two differ in rows, or a row cannot stand in a book.
    ParameterError
        If `levels` or `price_scale` is not positive, or the file has fewer levels.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "message.csv").write_text("34200.1,1,7,50,100000,1\\n34200.2,4,7,20,100000,1\\n")
    >>> _ = (folder / "book.csv").write_text("100200,80,100000,50\\n100200,80,100000,30\\n")
    >>> book = read_lobster(folder / "message.csv", folder / "book.csv")
    >>> book.bid_size[:, 0], book.trades()["side"].tolist()
    (array([50., 30.]), [-1.0])
    """
    if levels is not None and (not isinstance(levels, int | np.integer) or isinstance(levels, bool) or levels < 1):
        raise ParameterError(f"levels must be a positive whole number or None, got {levels!r}")
    if not 0 < price_scale < np.inf:
        raise ParameterError(f"price_scale must be positive (1e-4 for LOBSTER's prices), got {price_scale!r}")
    messages = _load_plain(Path(message_path), "time,type,order_id,size,price,direction", drop_from=6)
    quotes = _load_plain(Path(book_path), "ask price 1,ask size 1,bid price 1,bid size 1,...")
    if messages.shape[1] != 6:
        raise DataError(
            f"{message_path}: a message file has 6 columns (or 7 with the participant), got {messages.shape[1]}; "
            "is it the order-book file?"
        )
    if quotes.shape[1] % 4:
        raise DataError(f"{book_path}: an order-book file has 4 columns per level, got {quotes.shape[1]}")
    n_levels = quotes.shape[1] // 4
    if levels is not None and levels > n_levels:
        raise ParameterError(f"levels={levels} is more than the {n_levels} levels of {book_path}; ask for fewer")
    if len(messages) != len(quotes):
        raise DataError(
            f"{message_path} has {len(messages):,} rows and {book_path} has {len(quotes):,}; "
            "they must come from one download, row by row"
        )
    body = quotes[:, : 4 * (levels or n_levels)]
    columns = {
        name: np.array(body[:, k::4]) for k, name in enumerate(("ask_price", "ask_size", "bid_price", "bid_size"))
    }
    for side in ("ask", "bid"):
        empty = np.abs(columns[f"{side}_price"]) == _EMPTY
        columns[f"{side}_price"] = np.where(empty, np.nan, columns[f"{side}_price"] * price_scale)
        columns[f"{side}_size"] = np.where(empty, np.nan, columns[f"{side}_size"])
    events = pd.DataFrame(messages[:, 1:], columns=list(MESSAGE_COLUMNS))
    events["price"] = events["price"].where(events["type"] == _HALT, events["price"] * price_scale)
    return OrderBook(times=pd.Index(messages[:, 0]), messages=events, source=str(book_path), **columns)


def read_order_book(path: str | Path) -> OrderBook:
    """Read a book from one CSV or Parquet table with named columns.

    Parameters
    ----------
    path : str or Path
        Columns as in `OrderBook.from_frame`; prices in currency.

    Returns
    -------
    OrderBook

    Raises
    ------
    DataError
        If the file cannot be read, columns are missing, or a row cannot stand in a book.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "book.csv"
    >>> _ = path.write_text("time,ask_price,ask_size,bid_price,bid_size\\n1.0,11,5,9,4\\n2.0,11,5,10,4\\n")
    >>> read_order_book(path).mid
    array([10. , 10.5])
    """
    return OrderBook.from_frame(load_file(Path(path)), source=str(path))


def nanoseconds(times: pd.Index) -> IntArray:
    """Return times as whole nanoseconds since midnight of the first day.

    Whole numbers compare exactly: an event that is ten seconds old is ten seconds old at any hour.

    Parameters
    ----------
    times : Index of shape (n,)
        Seconds after midnight (finite), or dates without missing ones.

    Returns
    -------
    ndarray of shape (n,), int64

    Examples
    --------
    >>> nanoseconds(pd.Index([34200.5])), nanoseconds(pd.DatetimeIndex(["2024-01-02 09:30:00.5"]))
    (array([34200500000000]), array([34200500000000]))
    """
    if isinstance(times, pd.DatetimeIndex):
        stamps = times.as_unit("ns")
        return np.asarray(stamps.asi8 - stamps[:1].normalize().asi8, dtype=np.int64)
    return np.rint(times.to_numpy(dtype=np.float64) * 1e9).astype(np.int64)


def _first(mask: BoolArray) -> int | None:
    rows = np.flatnonzero(mask)
    return int(rows[0]) if len(rows) else None


def _load_plain(path: Path, layout: str, *, drop_from: int | None = None) -> FloatArray:
    """Read numbers without a header; `drop_from` leaves out one further column of anything."""
    try:
        frame = pd.read_csv(path, header=None, low_memory=False, skipinitialspace=True)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the path") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty; it must hold {layout}") from None
    except (OSError, EOFError, ValueError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().split("\n")[0][:120]
        raise DataError(f"{path}: cannot be read as CSV without a header ({reason}); check the file") from error
    if drop_from is not None and frame.shape[1] == drop_from + 1:
        frame = frame.iloc[:, :drop_from]
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        bad = pd.to_numeric(column, errors="coerce").isna()
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            what = "a header?" if row == 0 and not pd.api.types.is_numeric_dtype(column) else "a damaged line?"
            raise DataError(
                f"{path}: line {row + 1}, column {position + 1}: {str(column.iloc[row])!r} is no number ({what}); "
                f"expected {layout} without a header (read_order_book reads named columns)"
            )
    return frame.to_numpy(dtype=np.float64)


def _to_numbers(column: pd.Series, name: str, source: str) -> FloatArray:
    numbers = pd.to_numeric(column, errors="coerce")
    row = _first((numbers.isna() & column.notna()).to_numpy())
    if row is not None:
        raise DataError(f"{source}: row {row}: {name} {column.iloc[row]!r} is no number; mend the file")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _find_times(frame: pd.DataFrame, named: dict[str, Any], source: str) -> pd.Index:
    name = next((name for name in _TIME_COLUMNS if name in named), None)
    if name is None and isinstance(frame.index, pd.DatetimeIndex):
        return frame.index
    if name is None:
        raise DataError(f"{source}: no column 'time' among {some(frame.columns)}; name the column of times 'time'")
    column = frame[named[name]]
    if pd.api.types.is_numeric_dtype(column) or isinstance(column.dtype, pd.DatetimeTZDtype):
        return pd.Index(column)
    if not pd.api.types.is_datetime64_any_dtype(column):
        dates = pd.to_datetime(column, format="ISO8601", errors="coerce")
        row = _first((dates.isna() & column.notna()).to_numpy())
        if row is not None:
            raise DataError(
                f"{source}: row {row}: time {column.iloc[row]!r} is neither seconds nor a date like "
                "2024-01-02 09:30:00.5; write it so"
            )
        column = dates
    return pd.DatetimeIndex(column)
