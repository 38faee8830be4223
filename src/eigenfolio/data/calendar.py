"""When a portfolio is decided, and among which assets.

A decision dated t sees rows up to and including t, trades `lag` rows later, and earns from row t + 1 +
lag:

    row t | lag rows | first earning row t + 1 + lag ... last earning row

Dates come from the rows themselves (the panel is its own calendar): with `rebalance="MS"` the first
earning row is the first row of each month, as in skfolio's `WalkForward`. Eligibility at t asks only rows
up to t. Membership lists are point in time: on a date the newest snapshot dated that day or before
counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from skfolio.model_selection import WalkForward

from eigenfolio.data.findings import iso_dates, some
from eigenfolio.data.readers import load_file, read_table_columns
from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "CoverageRule",
    "Decision",
    "Membership",
    "eligible_assets",
    "plan_decisions",
    "universe_calendar",
]

RECENT_ROWS = 21
_PERIODS = {"week_start": "W", "month_start": "M", "quarter_start": "Q"}


@dataclass(frozen=True)
class Decision:
    """One decision and the rows it earns.

    Parameters
    ----------
    row : int
        Decision row t, the last one seen.
    date : Timestamp
        Date of that row.
    start, stop : int
        First earning row, and one past the last.
    """

    row: int
    date: pd.Timestamp
    start: int
    stop: int


def plan_decisions(
    index: pd.DatetimeIndex, *, rebalance: str | int = "MS", lag: int = 1, min_history: int = 252
) -> list[Decision]:
    """Plan every decision of a walk-forward evaluation.

    Parameters
    ----------
    index : DatetimeIndex of length n_observations
        Dates of the returns, unique and increasing.
    rebalance : str or int
        A pandas frequency whose dates begin a holding period ("MS": first row of each month), or a number of rows.
    lag : int
        Whole rows between the decision row and the first earning row; 0 earns the next row.
    min_history : int
        Rows a decision must see at least.

    Returns
    -------
    list of Decision
        In time order; one decision's `stop` is the next one's `start`, the last runs to the end.

    Raises
    ------
    ParameterError
        If an option is out of range, or no decision has `min_history` rows before it.

    Examples
    --------
    >>> index = pd.bdate_range("2020-01-01", "2020-04-10")
    >>> first, *others = plan_decisions(index, min_history=20)
    >>> first.row, index[first.start].date().isoformat(), index[first.stop].date().isoformat()
    (21, '2020-02-03', '2020-03-02')
    """
    _check_index(index)
    for name, value, lowest in (("lag", lag, 0), ("min_history", min_history, 1)):
        if int(value) != value or value < lowest:
            raise ParameterError(f"{name} must be a whole number of rows, {lowest} or more, got {value}")
    decisions = []
    first_start = min_history + lag
    if first_start < len(index):
        if isinstance(rebalance, str):  # the first period must begin after row `first_start - 1`
            seen: Any = index[first_start - 1] - index[0] + pd.Timedelta(1, "us")
            splitter = WalkForward(1, seen, rebalance, purged_size=lag, expand_train=True, reduce_test=True)
        else:
            splitter = WalkForward(rebalance, min_history, purged_size=lag, expand_train=True, reduce_test=True)
        try:
            for train, test in splitter.split(pd.DataFrame(index=index)):
                row = int(train[-1])
                decisions.append(Decision(row, index[row], int(test[0]), int(test[-1]) + 1))
        except ValueError as error:
            raise ParameterError(f"rebalance={rebalance!r} gives no plan: {error}") from error
    if not decisions:
        first, last = iso_dates([index[0], index[-1]])
        raise ParameterError(
            f"min_history={min_history} needs a {rebalance!r} date after {min_history + lag} rows ({min_history} seen, "
            f"lag {lag}), got {len(index)} rows ({first} to {last}); shorten min_history or start earlier"
        )
    return decisions


class CoverageRule(BaseModel):
    """Which assets may be held, by how much of their past is known.

    Parameters
    ----------
    min_assets : int
        A date enters the universe calendar when at least this many assets are eligible.
    min_rows : int
        Non-missing returns an asset needs ...
    lookback : int
        ... among this many rows up to and including the decision row.
    max_assets : int or None
        Keep at most this many, the first eligible ones in a fixed order of names drawn by `seed`; None keeps all.
    seed : int
        Order of names for `max_assets`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_assets: int = Field(default=20, ge=1)
    min_rows: int = Field(default=200, ge=1)
    lookback: int = Field(default=252, ge=1)
    max_assets: int | None = Field(default=None, ge=1)
    seed: int = 0

    def model_post_init(self, context: Any, /) -> None:
        """Check the options against each other."""
        if self.min_rows > self.lookback:
            raise ParameterError(
                f"min_rows={self.min_rows} of the last lookback={self.lookback} rows can never be reached; "
                "lower min_rows or lengthen lookback"
            )


def eligible_assets(active_returns: pd.DataFrame, rows: Sequence[int] | np.ndarray, rule: CoverageRule) -> pd.DataFrame:
    """Tell which assets may be held at each decision row.

    An asset is eligible when at least `rule.min_rows` of its last `rule.lookback` returns are there and not all of them
    are zero (a dead quote would look like the calmest asset of all), and it is not missing in the whole of the last 21
    rows. With `rule.max_assets`, assets keep their place in an order that
    depends on their names and the seed alone, so that the choice is stable and later columns change nothing.

    Parameters
    ----------
    active_returns : DataFrame of shape (n_observations, n_assets)
        Returns, NaN where missing.
    rows : sequence of int
        Decision rows.
    rule : CoverageRule
        The rule.

    Returns
    -------
    DataFrame of bool, shape (len(rows), n_assets)
        Indexed by the dates of `rows`. Row t depends on returns up to t only.

    Examples
    --------
    >>> index = pd.bdate_range("2020-01-01", periods=6)
    >>> returns = pd.DataFrame({"old": 0.01, "new": [np.nan] * 4 + [0.01, 0.0], "dead": 0.0}, index=index)
    >>> eligible_assets(returns, [3, 5], CoverageRule(min_rows=2, lookback=4)).to_numpy().tolist()
    [[True, False, False], [True, True, False]]
    """
    at = np.asarray(rows, dtype=int)
    n_rows = len(active_returns)
    if at.size and (at.min() < 0 or at.max() >= n_rows):
        raise ParameterError(f"rows must lie in 0..{n_rows - 1}, got {at.min()} to {at.max()}")
    values = active_returns.to_numpy()
    known = np.isfinite(values.astype(float))
    eligible = _counted(known, at, rule.lookback) >= rule.min_rows
    eligible &= _counted(known, at, RECENT_ROWS) > 0
    eligible &= _counted(known & (values != 0.0), at, rule.lookback) > 0
    if rule.max_assets is not None:
        order = np.argsort([_draw(name, rule.seed) for name in active_returns.columns], kind="stable")
        place = np.cumsum(eligible[:, order], axis=1)
        eligible[:, order] &= place <= rule.max_assets
    return pd.DataFrame(eligible, index=active_returns.index[at], columns=active_returns.columns)


def _counted(table: npt.NDArray[np.bool_], at: npt.NDArray[np.int_], lookback: int) -> npt.NDArray[np.int32]:
    """How often a table is true in the last `lookback` rows up to each of some rows, (n_at, n_assets)."""
    counts = np.zeros((len(table) + 1, table.shape[1]), dtype=np.int32)
    np.cumsum(table, axis=0, out=counts[1:])
    found: npt.NDArray[np.int32] = counts[at + 1] - counts[np.maximum(at + 1 - lookback, 0)]
    return found


def universe_calendar(
    returns: pd.DataFrame,
    rule: CoverageRule,
    dates: Literal["week_start", "month_start", "quarter_start"] = "month_start",
) -> list[pd.Timestamp]:
    """List the period starts on which enough assets are eligible.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Returns (or prices), NaN where missing.
    rule : CoverageRule
        At least `min_assets` must be eligible, the date's own row included.
    dates : {"month_start", "week_start", "quarter_start"}
        The first row of each period is asked.

    Returns
    -------
    list of Timestamp

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> returns = factor_market(25, 300).panel.returns
    >>> [str(date.date()) for date in universe_calendar(returns, CoverageRule())]
    ['2010-11-01', '2010-12-01', '2011-01-03', '2011-02-01']
    """
    if dates not in _PERIODS:
        raise ParameterError(f"dates must be one of {', '.join(_PERIODS)}, got {dates!r}")
    index = pd.DatetimeIndex(returns.index)
    _check_index(index)
    starts = np.flatnonzero(~index.to_period(_PERIODS[dates]).duplicated())
    enough = eligible_assets(returns, starts, rule).sum(axis=1).to_numpy() >= rule.min_assets
    return list(index[starts[enough]])


@dataclass(frozen=True, eq=False)
class Membership:
    """Point-in-time members of an index, from dated snapshots.

    Tickers are compared without case and punctuation, so "BRK.B" in a panel is "BRKB" in a list.

    Parameters
    ----------
    dates : DatetimeIndex
        Dates of the snapshots, unique and increasing.
    members : tuple of frozenset of str
        Tickers of each snapshot, as written in the list.
    max_age_days : int
        A snapshot older than this answers no question any more.

    Examples
    --------
    >>> table = pd.DataFrame({"date": ["2020-01-31", "2020-01-31", "2020-02-28"], "ticker": ["A", "BRKB", "A"]})
    >>> membership = Membership.from_table(table)
    >>> sorted(membership.at("2020-02-10")), sorted(membership.at("2020-03-02"))
    (['A', 'BRKB'], ['A'])
    """

    dates: pd.DatetimeIndex
    members: tuple[frozenset[str], ...] = field(repr=False)
    max_age_days: int = 100

    @classmethod
    def from_table(cls, table: pd.DataFrame, *, max_age_days: int = 100) -> Membership:
        """Read a long table with the columns date and ticker (or asset, symbol).

        Raises
        ------
        DataError
            If a column is missing or the table is empty.
        """
        dates, tickers = read_table_columns(table, "membership list")
        snapshots = tickers.groupby(pd.DatetimeIndex(dates)).agg(frozenset).sort_index()
        return cls(pd.DatetimeIndex(snapshots.index), tuple(snapshots), max_age_days)

    @classmethod
    def read(cls, path: str | Path, *, max_age_days: int = 100) -> Membership:
        """Read a long CSV or Parquet file; see `from_table`."""
        return cls.from_table(load_file(Path(path)), max_age_days=max_age_days)

    def at(self, date: str | pd.Timestamp) -> frozenset[str]:
        """Return the members known on a date.

        Raises
        ------
        DataError
            If the date lies before the first snapshot, or more than `max_age_days` after the newest one known.
        """
        stamp = pd.Timestamp(date)
        row = int(self.dates.searchsorted(stamp, side="right")) - 1
        if row < 0 or (stamp - self.dates[row]).days > self.max_age_days:
            first, last = iso_dates([self.dates[0], self.dates[-1]])
            raise DataError(
                f"no membership is known for {stamp.date()}: snapshots run from {first} to {last} and hold for "
                f"{self.max_age_days} days; use dates inside, or raise max_age_days"
            )
        return self.members[row]

    def mask(self, dates: Iterable[pd.Timestamp], asset_names: Sequence[str]) -> pd.DataFrame:
        """Tell which of the named assets are members on each date.

        Returns
        -------
        DataFrame of bool, shape (len(dates), len(asset_names))

        Raises
        ------
        DataError
            If two asset names differ in punctuation only, or a date has no known membership.
        """
        days = pd.DatetimeIndex(list(dates))
        plain = [_ticker(name) for name in asset_names]
        if len(set(plain)) < len(plain):
            twice = [name for name, key in zip(asset_names, plain, strict=True) if plain.count(key) > 1]
            raise DataError(f"assets {some(twice)} differ in punctuation only, so membership cannot tell them apart")
        known = [{_ticker(name) for name in self.at(date)} for date in days]
        rows = [[key in members for key in plain] for members in known]
        return pd.DataFrame(rows, index=days, columns=list(asset_names), dtype=bool)

    def changes(self) -> pd.DataFrame:
        """List additions and deletions.

        Returns
        -------
        DataFrame
            Columns date (of the snapshot that shows it), ticker and change ("added" or "deleted").
        """
        rows = []
        for date, before, after in zip(self.dates[1:], self.members, self.members[1:], strict=False):
            rows += [(date, ticker, "added") for ticker in sorted(after - before)]
            rows += [(date, ticker, "deleted") for ticker in sorted(before - after)]
        return pd.DataFrame(rows, columns=["date", "ticker", "change"])


def _check_index(index: pd.DatetimeIndex) -> None:
    if not isinstance(index, pd.DatetimeIndex) or not len(index):
        raise DataError(f"a calendar needs a DatetimeIndex with dates, got {type(index).__name__} of {len(index)}")
    if not (index.is_unique and index.is_monotonic_increasing):
        raise DataError("dates must be unique and increasing; clean the panel first")


def _draw(name: object, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _ticker(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", str(name).upper())
