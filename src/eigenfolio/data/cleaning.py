"""Mend a table with nothing but its past, and count every change.

In this order: rows are sorted by date; of a repeated date the last row is kept; impossible values (prices
that are not positive and finite, returns that are infinite or below -100 %) become missing; rows and
assets without any value are dropped; prices are filled forward over at most `max_fill` rows after the
last one, never backward.

All of it is causal: the table cleaned and cut at a date equals the table cut and cleaned. That is why the
fill also covers the first rows after a delisting: on those days nobody can tell a delisting from a gap,
so an asset stays listed, at its last price and with a zero return, until `max_fill` rows have passed.

The one exception is asked for: `delisting_return` restates what the holders of an ended asset earned, in
the row after its last price and instead of the fill. It uses the knowledge that the asset ended; a table
cut inside the gap cannot know.

Isolated spikes are shown by the checks and left alone, because telling a spike from a move takes the next
day's price.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.data.checks import MAX_BAD_SHARE, MAX_FILL, check_panel
from eigenfolio.data.delistings import WRITTEN, ZERO_PRICE, DelistingReturn, ended_assets, returns_by_name, zero_tails
from eigenfolio.data.findings import CleaningReport, DataReport, Finding, Status, iso_dates, some
from eigenfolio.data.readers import Kind, MarketSource, SectorSource, Source, Tables, read_tables
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel

__all__ = ["clean_panel", "prepare_panel"]


def prepare_panel(
    source: Source | Panel,
    *,
    market: MarketSource | None = None,
    sectors: SectorSource | None = None,
    kind: Kind = "auto",
    max_fill: int = MAX_FILL,
    delisting_return: DelistingReturn = None,
) -> tuple[Panel, DataReport]:
    """Read, check and clean: the way from a file to a panel that models may use.

    Parameters
    ----------
    source, market, sectors, kind
        As in `eigenfolio.data.read_panel`.
    max_fill, delisting_return
        As in `clean_panel`.

    Returns
    -------
    panel : Panel
        Cleaned.
    report : DataReport
        What the checks found before cleaning, and what cleaning changed.

    Raises
    ------
    DataError
        If a finding is an error: the table cannot be mended.
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> panel, report = prepare_panel("sp500")
    >>> report.cleaning.summary()
    'Cleaning changed nothing.'
    """
    tables = read_tables(source, market=market, sectors=sectors, kind=kind)
    report = check_panel(tables, max_fill=max_fill, delisting_return=delisting_return)
    errors = [finding for finding in report.findings if finding.status == "error"]
    if errors:
        raise DataError(f"{tables.source}: {errors[0].summary}")
    panel, cleaning = clean_panel(tables, max_fill=max_fill, delisting_return=delisting_return)
    return panel, report.with_cleaning(cleaning)


def clean_panel(
    data: Panel | Tables, *, max_fill: int = MAX_FILL, delisting_return: DelistingReturn = None
) -> tuple[Panel, CleaningReport]:
    """Mend what can be mended without looking ahead.

    Parameters
    ----------
    data : Panel or Tables
        Tables may be unsorted, repeat dates and hold impossible values.
    max_fill : int
        Rows a price is carried forward at most; 0 fills nothing. Returns are never filled.
    delisting_return : float, mapping of asset to float, or None
        Simple return (above -1) that holders earned after the last price of an asset that ends before the panel
        does: more than `max_fill` rows lie after its last value, or its last price is zero. The row after the last
        price becomes last price * (1 + delisting_return), the asset is not filled after its end, and in a table of
        returns the return itself is written. This uses the knowledge that the asset ended: it restates what a
        holder earned, and a table cut inside the gap cannot know. A mapping leaves the assets that it does not
        name, and those that it names but that have not ended, as they are. None writes nothing.

    Returns
    -------
    panel : Panel
        The cleaned panel; its provenance names every change.
    report : CleaningReport
        Count, assets and dates of every kind of change.

    Raises
    ------
    DataError
        If more than 5 % of the values are impossible, delisting returns were written before, or too little is left
        to make a panel.
    ParameterError
        If `max_fill` is negative, or `delisting_return` is not above -1 or names an unknown asset.

    Notes
    -----
    A last price of zero is a total loss. It cannot be kept as a price, so it becomes missing, and the report says so
    with a warning unless a delisting return stands for it. A last return of -1 is kept and nothing is added to it.

    Examples
    --------
    >>> dates = pd.bdate_range("2020-01-01", periods=12)
    >>> prices = pd.DataFrame({"A": [1.0, -1.0, *range(2, 12)], "B": range(5, 17)}, index=dates)
    >>> panel, report = clean_panel(Tables(prices, "prices", "memory"))
    >>> panel.prices["A"].head(3).tolist(), report.n_changes
    ([1.0, 1.0, 2.0], 2)

    A company that failed after its third row:

    >>> failed = pd.DataFrame({"A": [4.0, 4.0, 4.0, *[np.nan] * 9], "B": range(5, 17)}, index=dates)
    >>> panel, _ = clean_panel(Tables(failed, "prices", "memory"), delisting_return=-0.75)
    >>> panel.prices["A"].head(5).tolist()
    [4.0, 4.0, 4.0, 1.0, nan]
    """
    if max_fill < 0 or int(max_fill) != max_fill:
        raise ParameterError(f"max_fill must be a whole number of rows, 0 or more, got {max_fill}")
    tables = Tables.from_panel(data) if isinstance(data, Panel) else data
    given = returns_by_name(delisting_return, tables.values.columns)
    if given and any(WRITTEN in step for step in tables.steps):
        raise DataError(
            f"{tables.source}: delisting returns were written before; leave out delisting_return or clean the raw table"
        )
    changes = [finding for finding in tables.findings if finding.status == "warning"]
    values = _orderly(tables.values, changes)
    values, worthless = _without_zero_tails(values, tables, given, changes)
    values = _possible(values, tables, changes)
    values = _without_empty(values, changes)
    returns = _delisting_returns(values, tables.kind, given, worthless, max_fill)
    if tables.kind == "prices" and max_fill:
        values = _filled(values, max_fill, returns, changes)
    if returns:
        values = _with_delisting(values, tables.kind, returns, changes)
    extra: dict[str, Any] = {
        name: _extra(getattr(tables, name), name, changes) for name in ("volume", "high", "low", "market")
    }
    steps = tuple(f"cleaning: {change.summary}" for change in changes)
    cleaned = replace(tables, values=values, steps=tables.steps + steps, findings=(), **extra)
    return cleaned.to_panel(), CleaningReport(tuple(changes))


def _orderly(values: pd.DataFrame, changes: list[Finding], what: str = "") -> pd.DataFrame:
    index = pd.DatetimeIndex(values.index)
    if not index.is_monotonic_increasing:
        back = index[1:][np.diff(index.asi8) < 0]
        text = f"sorted {what}rows that went back in time"
        _note(changes, "sorted", text, (), iso_dates(back), len(back))
        values = values.sort_index(kind="stable")
    repeated = values.index.duplicated(keep="last")
    if repeated.any():
        dates = values.index[repeated]
        text = f"kept the last of repeated {what}dates and dropped the others"
        _note(changes, "dropped rows", text, (), iso_dates(dates.unique()), int(repeated.sum()))
        values = values[~repeated]
    return values


def _without_zero_tails(
    values: pd.DataFrame, tables: Tables, given: dict[str, float], changes: list[Finding]
) -> tuple[pd.DataFrame, set[str]]:
    """Set the zeros at the end of an asset's life missing; also return these assets."""
    zero = zero_tails(values.to_numpy(dtype=float))
    if tables.kind == "returns" or not zero.any():
        return values, set()
    columns = np.array([str(name) for name in values.columns], dtype=object)
    worthless = columns[zero.any(axis=0)]
    covered = np.isin(worthless, list(given))
    known: tuple[np.ndarray, Status, str] = (worthless[covered], "note", "their delisting return stands for it")
    open_ended: tuple[np.ndarray, Status, str] = (worthless[~covered], "warning", "give delisting_return")
    for names, status, mend in (known, open_ended):
        if len(names):
            cells: np.ndarray = zero & np.isin(columns, names)
            count = int(cells.sum())
            text = f"{some(names)} {ZERO_PRICE}, so set missing: {count:,}; {mend}"
            dates = iso_dates(values.index[np.flatnonzero(cells.any(axis=1))])
            changes.append(Finding("ended at zero", status, text, tuple(names), dates, count))
    return values.mask(zero), set(worthless)


def _possible(values: pd.DataFrame, tables: Tables, changes: list[Finding]) -> pd.DataFrame:
    numbers = values.to_numpy(dtype=float)
    bad = np.isinf(numbers) | ((numbers <= 0) if tables.kind == "prices" else (numbers < -1))
    count = int(bad.sum())
    if not count:
        return values
    n_values = int(np.count_nonzero(~np.isnan(numbers)))
    if count > MAX_BAD_SHARE * n_values:
        raise DataError(
            f"{tables.source}: {100 * count / n_values:.2g} % of the {tables.kind} are impossible (not positive, "
            f"not finite), more than {100 * MAX_BAD_SHARE:g} %; mend the source, or state kind="
        )
    names = tuple(str(name) for name in values.columns[bad.any(axis=0)])
    text = f"set impossible {tables.kind} missing ({some(names)})"
    _note(changes, "set missing", text, names, iso_dates(values.index[bad.any(axis=1)]), count)
    return values.mask(bad)


def _without_empty(values: pd.DataFrame, changes: list[Finding]) -> pd.DataFrame:
    seen = values.notna().to_numpy()
    rows: np.ndarray = np.any(seen, axis=1)
    columns: np.ndarray = np.any(seen, axis=0)
    if not rows.all():
        _note(changes, "dropped rows", "dropped rows without any value", (), iso_dates(values.index[~rows]),
              int((~rows).sum()))  # fmt: skip
    if not columns.all():
        names = tuple(str(name) for name in values.columns[~columns])
        _note(
            changes,
            "dropped assets",
            f"dropped assets without any value ({some(names)})",
            names,
            (),
            len(names),
        )
    return values.iloc[np.flatnonzero(rows), np.flatnonzero(columns)]


def _delisting_returns(
    values: pd.DataFrame, kind: str, given: dict[str, float], worthless: set[str], max_fill: int
) -> dict[int, tuple[int, float]]:
    """Return {column: (row, return)}: the row after the last value of every asset that ended and has a return given."""
    if not given:
        return {}
    numbers = values.to_numpy(dtype=float)
    last = len(numbers) - 1 - np.argmax(~np.isnan(numbers[::-1]), axis=0)
    ended = ended_assets(numbers, max_fill)
    found = {}
    for column, name in enumerate(map(str, values.columns)):
        gone = (ended[column] or name in worthless) and last[column] + 1 < len(numbers)
        if name in given and gone and not (kind == "returns" and numbers[last[column], column] == -1):
            found[column] = (int(last[column]) + 1, given[name])
    return found


def _filled(
    prices: pd.DataFrame, max_fill: int, ended: dict[int, tuple[int, float]], changes: list[Finding]
) -> pd.DataFrame:
    """Carry prices forward, but not past the end of the assets in `ended`."""
    filled = prices.ffill(limit=max_fill)
    if ended:
        columns = list(ended)
        after = np.arange(len(prices))[:, None] >= [ended[column][0] for column in columns]
        filled.iloc[:, columns] = filled.iloc[:, columns].mask(after)
    new = filled.notna().to_numpy() & prices.isna().to_numpy()
    if not new.any():
        return prices
    names = tuple(str(name) for name in prices.columns[new.any(axis=0)])
    count = int(new.sum())
    text = f"carried prices forward over at most {max_fill} rows: {count:,}{_after_the_last(prices, new)}"
    dates = iso_dates(prices.index[new.any(axis=1)])
    changes.append(Finding("filled forward", "note", text, names, dates, count))
    return filled


def _after_the_last(prices: pd.DataFrame, new: np.ndarray) -> str:
    """Tell of the carried prices that come after an asset's last one, where a gap and an end look the same."""
    seen = prices.notna().to_numpy()
    after: np.ndarray = new & ~np.logical_or.accumulate(seen[::-1])[::-1]
    if not after.any():
        return ""
    names = some(prices.columns[np.flatnonzero(after.any(axis=0))])
    count = "all" if (after == new).all() else f"{int(after.sum()):,}"
    return f", {count} of them after a last price ({names}), where an end still looks like a gap"


def _with_delisting(
    values: pd.DataFrame, kind: str, returns: dict[int, tuple[int, float]], changes: list[Finding]
) -> pd.DataFrame:
    numbers = values.to_numpy(dtype=float, copy=True)
    for column, (row, value) in returns.items():
        numbers[row, column] = value if kind == "returns" else numbers[row - 1, column] * (1 + value)
    order = sorted(returns, key=lambda column: returns[column][0])
    names = tuple(str(values.columns[column]) for column in order)
    dates = iso_dates(values.index[[returns[column][0] for column in order]])  # one per asset
    text = f"{WRITTEN} after the last {kind.removesuffix('s')} of assets that ended"
    _note(changes, "delisting returns", text, names, dates, len(names))
    return pd.DataFrame(numbers, index=values.index, columns=values.columns)


def _extra(table: pd.DataFrame | None, name: str, changes: list[Finding]) -> pd.DataFrame | None:
    """Put a further table in order; impossible values become missing, nothing is filled."""
    if table is None:
        return None
    table = _orderly(table, changes, f"{name} ")
    numbers = table.to_numpy(dtype=float)
    bad = np.isinf(numbers) | {"market": False, "volume": numbers < 0}.get(name, numbers <= 0)
    if bad.any():
        names = tuple(str(column) for column in table.columns[bad.any(axis=0)])
        _note(changes, "set missing", f"set impossible {name} missing", names, (), int(bad.sum()))
    return table.mask(bad)


def _note(
    changes: list[Finding], check: str, text: str, assets: tuple[str, ...], dates: tuple[str, ...], count: int
) -> None:
    changes.append(Finding(check, "note", f"{text}: {count:,}", assets, dates, count))
