"""How near each row stands to month, quarter and year ends, to option expiries, and to events a user lists.

For every kind of event, with d counted in sessions of the New York Stock Exchange (`eigenfolio.features.seasonality`):

    <kind>_ahead     exp(-d / 5), d sessions to the next event of the kind; 1 on its own day
    <kind>_behind    exp(-d / 5), d sessions since the last one; 1 on its own day
    <kind>_elapsed   sessions since the last event over sessions between it and the next: 0 on an event's day, then
                     rising below 1; linear where the other two have faded

Kinds that follow from the calendar alone: `month_end`, `quarter_end` and `year_end` (the last session of every month,
of March, June, September and December, and of December, the fiscal year end of most companies), `option_expiry` (the
third Friday of the month, or the session before it where that is a holiday) and `quarterly_expiry` (those of March,
June, September and December).

Kinds that only a user's table knows: `central_bank` (meetings and decisions), `economic_release` and `other`. No date
of theirs is built in: without a table, or before and after the events it lists, they are missing.

An event of the table counts from the row at which it was announced: the first that is stamped at or after
`announced`. Daily rows are stamped with their day and stand for its close, so for them give the day; for rows within a
day give the time. A table without that column states that all its events were scheduled in advance, before the panel's
first row. An event that was announced after it happened counts as past from then on. An event on a day without a
session belongs to the next session; a row without one to the session before.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.errors import DataError
from eigenfolio.features.correlation import checked_rows, features_frame
from eigenfolio.features.seasonality import (
    Days,
    calendar_days,
    last_session,
    market_holidays,
    proximity,
    session_calendar,
)
from eigenfolio.panel import Panel

__all__ = ["EVENT_FEATURES", "EVENT_KINDS", "check_events", "event_features", "read_events"]

_CALENDAR_KINDS = ("month_end", "quarter_end", "year_end", "option_expiry", "quarterly_expiry")
EVENT_KINDS: tuple[str, ...] = ("central_bank", "economic_release", "other")
EVENT_FEATURES: tuple[str, ...] = tuple(
    f"{kind}_{side}" for kind in (*_CALENDAR_KINDS, *EVENT_KINDS) for side in ("ahead", "behind", "elapsed")
)

_COLUMNS = ("date", "name", "announced", "kind")
_YEARS_AROUND = 2


def event_features(
    panel: Panel, rows: Sequence[int], *, events: pd.DataFrame | str | Path | None = None
) -> pd.DataFrame:
    """Measure how far each row is from the events before and after it, as known on that row.

    Parameters
    ----------
    panel : Panel
        Only its dates are read.
    rows : sequence of int
        Row numbers into `panel.index`.
    events : DataFrame or path, optional
        A user's table, as `check_events` asks for it, or a file for `read_events`.

    Returns
    -------
    DataFrame of shape (len(rows), n_features)
        Columns `EVENT_FEATURES`, rows `panel.index[rows]`, values in [0, 1]. Columns of a kind of which no event is
        known on that row are missing, and so is `elapsed` where either neighbour is unknown.

    Raises
    ------
    ParameterError
        If a row is not in the panel.
    DataError
        If the table cannot be used.

    Examples
    --------
    >>> dates = pd.to_datetime(["2020-03-02", "2020-03-03", "2020-03-04"])
    >>> panel = Panel.from_returns(pd.DataFrame({"A": [0.01, 0.0, 0.02]}, index=dates))
    >>> meetings = pd.DataFrame(
    ...     {"date": ["2020-03-03", "2020-03-18"], "name": ["extraordinary", "scheduled"],
    ...      "announced": ["2020-03-03", "2019-06-01"], "kind": "central_bank"})
    >>> event_features(panel, [0, 1, 2], events=meetings).filter(like="central_bank").round(3)
                central_bank_ahead  central_bank_behind  central_bank_elapsed
    date
    2020-03-02               0.091                  NaN                   NaN
    2020-03-03               1.000                1.000                 0.000
    2020-03-04               0.135                0.819                 0.091
    """
    numbers = checked_rows(panel, rows)
    table = _table(events)
    dates = panel.index[numbers]
    days = calendar_days(dates)
    _, sessions = session_calendar(_with_events(days, table))
    row_sessions = np.busday_offset(days, 0, roll="backward", busdaycal=sessions)
    stamps = dates.to_numpy().astype("datetime64[ns]")

    values = np.full((len(numbers), len(EVENT_FEATURES)), np.nan)
    calendar = _calendar_events(days)
    for number, kind in enumerate(_CALENDAR_KINDS):
        values[:, 3 * number : 3 * number + 3] = _distances(row_sessions, calendar[kind], sessions)
    for number, kind in enumerate(EVENT_KINDS, start=len(_CALENDAR_KINDS)):
        chosen = table[table["kind"] == kind]
        if not len(chosen):
            continue
        event_days = chosen["date"].to_numpy().astype("datetime64[D]")
        event_sessions = np.busday_offset(event_days, 0, roll="forward", busdaycal=sessions)
        place = slice(3 * number, 3 * number + 3)
        if "announced" not in table:
            values[:, place] = _distances(row_sessions, event_sessions, sessions)
            continue
        announced = chosen["announced"].to_numpy().astype("datetime64[ns]")
        for row, stamp in enumerate(stamps):
            known = event_sessions[announced <= stamp]
            values[row, place] = _distances(row_sessions[row : row + 1], known, sessions)[0]
    return features_frame(panel, numbers, values, EVENT_FEATURES)


def read_events(path: str | Path) -> pd.DataFrame:
    """Read a table of events from CSV or Parquet.

    Parameters
    ----------
    path : str or Path
        A file that ends in .csv, .csv.gz, .parquet or .pq.

    Returns
    -------
    DataFrame
        As `check_events` returns it.

    Raises
    ------
    DataError
        If the file is not there, has another ending, cannot be read, or its table cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.csv"
    >>> _ = path.write_text("date,name,kind\\n2020-06-05,payrolls,economic_release\\n2020-05-08,vote,other\\n")
    >>> read_events(path)[["date", "name"]]
            date      name
    0 2020-05-08      vote
    1 2020-06-05  payrolls
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no event file at {path}")
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], skipinitialspace=True)
        elif path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            raise DataError(f"{path.name}: an event file must end in .csv, .csv.gz, .parquet or .pq")
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} cannot be read as a table of events: {error}") from error
    try:
        return check_events(frame)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error


def check_events(events: pd.DataFrame) -> pd.DataFrame:
    """Return a table of events in order of date, or say in one line why it cannot be used.

    Parameters
    ----------
    events : DataFrame
        Columns `date` (the day of the event, ISO text or dates, no time) and `name` (text); optionally `announced`
        (when it became known; may have a time; given for every event or not at all) and `kind` (one of
        `EVENT_KINDS`; without the column every event is "other").

    Returns
    -------
    DataFrame
        Columns date, name, announced (if it was given) and kind, sorted by date, name and kind.

    Raises
    ------
    DataError
        If a column is missing or unknown, the table is empty, a date cannot be read, has a time or a time zone, a name
        is empty, a kind is unknown, an announcement is missing, or an event is listed twice.

    Examples
    --------
    >>> check_events(pd.DataFrame({"date": ["2021-02-30"], "name": ["meeting"]}))
    Traceback (most recent call last):
    eigenfolio.errors.DataError: events: 'date' must be ISO dates such as 2020-03-18, got '2021-02-30' in row 1
    """
    if not isinstance(events, pd.DataFrame):
        raise DataError(f"events must be a DataFrame with columns date and name, got {type(events).__name__}")
    columns = [str(column) for column in events.columns]
    for column in columns:
        if column not in _COLUMNS:
            near = difflib.get_close_matches(column, _COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "drop it"
            raise DataError(f"events: column {column!r} is none of {', '.join(_COLUMNS)}; {hint}")
    if len(set(columns)) < len(columns):
        raise DataError("events: a column name is repeated; keep one")
    for column in ("date", "name"):
        if column not in columns:
            raise DataError(f"events: column {column!r} is missing, got {', '.join(columns) or 'none'}")
    if not len(events):
        raise DataError("events: the table holds no event; leave it out instead")

    table = pd.DataFrame({"date": _parsed(events["date"], "date")})
    timed = np.flatnonzero(table["date"] != table["date"].dt.normalize())
    if len(timed):
        raise DataError(
            f"events: 'date' must be days without a time, got {table['date'].iloc[timed[0]]} in row {timed[0] + 1}; "
            "write the time at which it became known into 'announced'"
        )
    names = events["name"].reset_index(drop=True)
    empty = np.flatnonzero(names.isna() | (names.astype(str).str.strip() == ""))
    if len(empty):
        raise DataError(f"events: 'name' is empty in row {empty[0] + 1}; give every event a name")
    table["name"] = names.astype(str).str.strip()
    if "announced" in columns:
        blank = np.flatnonzero(events["announced"].isna())
        if len(blank):
            raise DataError(
                f"events: 'announced' is empty in row {blank[0] + 1}; give it for every event (the day the schedule "
                "was published will do), or drop the column where all were scheduled in advance"
            )
        table["announced"] = _parsed(events["announced"], "announced")
    kinds = events["kind"].reset_index(drop=True) if "kind" in columns else pd.Series("other", index=table.index)
    wrong = np.flatnonzero(~kinds.isin(EVENT_KINDS))
    if len(wrong):
        raise DataError(
            f"events: 'kind' must be one of {', '.join(EVENT_KINDS)}, "
            f"got {kinds.iloc[wrong[0]]!r} in row {wrong[0] + 1}"
        )
    table["kind"] = kinds.astype(str)
    twice = np.flatnonzero(table.duplicated(["date", "name", "kind"]))
    if len(twice):
        event = table.iloc[twice[0]]
        raise DataError(f"events: {event['name']!r} on {event['date'].date()} is listed twice; keep one")
    return table.sort_values(["date", "name", "kind"], ignore_index=True)


def _table(events: pd.DataFrame | str | Path | None) -> pd.DataFrame:
    if events is None:
        return pd.DataFrame({"date": pd.Series(dtype="datetime64[ns]"), "kind": pd.Series(dtype=str)})
    return read_events(events) if isinstance(events, str | Path) else check_events(events)


def _parsed(column: pd.Series, name: str) -> pd.Series:
    column = column.reset_index(drop=True)
    if not pd.api.types.is_datetime64_any_dtype(column):
        numeric = np.flatnonzero([isinstance(value, int | float) and not pd.isna(value) for value in column])
        if len(numeric):
            raise DataError(
                f"events: {name!r} must be ISO dates such as 2020-03-18, got the number {column.iloc[numeric[0]]}"
                f" in row {numeric[0] + 1}"
            )
        try:
            dates = pd.to_datetime(column, format="ISO8601", errors="coerce")
        except ValueError as error:  # a mixture of dates with and without a time zone
            raise DataError(f"events: {name!r} must be dates without a time zone; {error}") from error
        unread = np.flatnonzero(dates.isna())
        if len(unread):
            raise DataError(
                f"events: {name!r} must be ISO dates such as 2020-03-18, got {column.iloc[unread[0]]!r}"
                f" in row {unread[0] + 1}"
            )
        column = dates
    if getattr(column.dt, "tz", None) is not None:
        raise DataError(f"events: {name!r} has a time zone ({column.dt.tz}); drop it with dt.tz_localize(None)")
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise DataError(f"events: {name!r} is empty in row {missing[0] + 1}; give every event a date")
    calendar_days(pd.DatetimeIndex(column))
    return column.astype("datetime64[ns]")


def _with_events(days: Days, table: pd.DataFrame) -> Days:
    """The days of the rows and the events, over which the calendar of sessions must reach."""
    return np.concatenate([days, table["date"].to_numpy().astype("datetime64[D]")])


def _calendar_events(days: Days) -> dict[str, Days]:
    """Sessions of every calendar event from two years before the first of `days` to two years after the last."""
    years = days.astype("datetime64[Y]") if len(days) else np.array(["2000"], dtype="datetime64[Y]")
    first, last = years.min() - _YEARS_AROUND, years.max() + _YEARS_AROUND + 1
    months = np.arange(first.astype("datetime64[M]"), last.astype("datetime64[M]"))
    number = months.astype(int) % 12 + 1
    quarterly = number % 3 == 0
    holidays = market_holidays(int(str(first)), int(str(last)))
    sessions = np.busdaycalendar(weekmask="1111100", holidays=holidays)
    ends = last_session(months, sessions)
    third_fridays = np.busday_offset(months.astype("datetime64[D]"), 2, roll="forward", weekmask="Fri")
    expiries = np.busday_offset(third_fridays, 0, roll="backward", busdaycal=sessions)
    return {
        "month_end": ends,
        "quarter_end": ends[quarterly],
        "year_end": ends[number == 12],
        "option_expiry": expiries,
        "quarterly_expiry": expiries[quarterly],
    }


def _distances(rows: Days, events: Days, sessions: np.busdaycalendar) -> NDArray[np.float64]:
    """(ahead, behind, elapsed) of each row among `events`; both are sessions, events increasing."""
    result = np.full((len(rows), 3), np.nan)
    if not len(events):
        return result
    at_or_after = np.searchsorted(events, rows, side="left")
    after = np.searchsorted(events, rows, side="right")
    n_events = len(events)

    def event(position: NDArray[np.intp]) -> Days:
        return events[np.clip(position, 0, n_events - 1)]

    has_next, has_last, has_later = at_or_after < n_events, after > 0, after < n_events
    to_next = np.busday_count(rows, event(at_or_after), busdaycal=sessions)
    since_last = np.busday_count(event(after - 1), rows, busdaycal=sessions)
    to_later = np.busday_count(rows, event(after), busdaycal=sessions)
    result[has_next, 0] = proximity(to_next[has_next])
    result[has_last, 1] = proximity(since_last[has_last])
    both = has_last & has_later
    result[both, 2] = since_last[both] / (since_last[both] + to_later[both])
    return result
