"""The calendar of a row: month, weekday, turn of the month, market holidays and earnings season.

Every number follows from the row's own date and from rules that are known years ahead, so nothing here can look
ahead: not into later rows, and not into which later dates the panel happens to hold. A session is a weekday that
is no full-day holiday of the New York Stock Exchange by its standing rules [1]_; closures decided at short notice
(September 2001, storms, days of mourning) are left out, because no rule foretells them. A row between two
sessions (weekend, holiday) belongs to the session before it.

    month, weekday        sine and cosine of 2 pi (month - 1) / 12 and of 2 pi weekday / 7 (Monday is 0)
    turn_of_month         1 on the last session of a month and on the first three of the next [2]_, else 0
    holiday_ahead         exp(-d / 5), d sessions from the row to the next holiday; the session just before it has d = 1
    holiday_behind        exp(-d / 5), d sessions since the last holiday; the session just after it has d = 1
    earnings_season       1 on days 8 to 42 after a calendar quarter's end (its second to sixth week), else 0
    earnings_progress     share of those 35 days that is over: 0 before the season, 1 from its last day to quarter end

Pairs of sine and cosine are offered instead of the raw integers, in which December and January lie far apart.
Where a panel has a row on a holiday itself, d = 0 both ways.

References
----------
.. [1] New York Stock Exchange, Rule 7.2, Holidays.
.. [2] J. Lakonishok and S. Smidt (1988). Are seasonal anomalies real? A ninety-year perspective.
   Review of Financial Studies 1(4), 403-425.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.holiday import (
    AbstractHolidayCalendar,
    GoodFriday,
    Holiday,
    USLaborDay,
    USMartinLutherKingJr,
    USMemorialDay,
    USPresidentsDay,
    USThanksgivingDay,
    nearest_workday,
    sunday_to_monday,
)

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.correlation import checked_rows, features_frame
from eigenfolio.panel import Panel

__all__ = ["SEASONALITY_FEATURES", "market_holidays", "seasonality_features"]

Days = NDArray[np.datetime64]

SEASONALITY_FEATURES: tuple[str, ...] = (
    "month_sine",
    "month_cosine",
    "weekday_sine",
    "weekday_cosine",
    "turn_of_month",
    "holiday_ahead",
    "holiday_behind",
    "earnings_season",
    "earnings_progress",
)

SESSIONS_PER_FOLD = 5.0  # a proximity falls by a factor e in a week of sessions
_SEASON_FIRST, _SEASON_LAST = 8, 42  # days after the quarter's end
_FIRST_YEAR, _LAST_YEAR = 1700, 2240  # what a nanosecond timestamp can hold
_YEARS_AROUND = 5  # room for the neighbours of a date


class _Exchange(AbstractHolidayCalendar):
    rules = [  # noqa: RUF012 - the way pandas declares a calendar
        Holiday("New Year's Day", month=1, day=1, observance=sunday_to_monday),
        Holiday("Martin Luther King Day", start_date="1998-01-01", month=1, day=1, offset=USMartinLutherKingJr.offset),
        USPresidentsDay,
        GoodFriday,
        USMemorialDay,
        Holiday("Juneteenth", start_date="2022-06-01", month=6, day=19, observance=nearest_workday),
        Holiday("Independence Day", month=7, day=4, observance=nearest_workday),
        USLaborDay,
        USThanksgivingDay,
        Holiday("Christmas Day", month=12, day=25, observance=nearest_workday),
    ]


def market_holidays(first_year: int, last_year: int) -> Days:
    """Return the weekdays on which the New York Stock Exchange is closed by its standing rules.

    Parameters
    ----------
    first_year, last_year : int
        Calendar years, both included, from 1700 to 2240. The rules are those of today with the years in which
        Martin Luther King Day (1998) and Juneteenth (2022) began; years before 1971 are approximate.

    Returns
    -------
    ndarray of datetime64[D]
        Increasing; a holiday that falls on a weekend and is not moved is left out.

    Raises
    ------
    ParameterError
        If the years are not in order or leave the range.

    Examples
    --------
    >>> market_holidays(2011, 2011).astype(str).tolist()
    ['2011-01-17', '2011-02-21', '2011-04-22', '2011-05-30', '2011-07-04', '2011-09-05', '2011-11-24', '2011-12-26']
    """
    if not _FIRST_YEAR <= first_year <= last_year <= _LAST_YEAR:
        raise ParameterError(
            f"years must be in order and from {_FIRST_YEAR} to {_LAST_YEAR}, got {first_year} to {last_year}"
        )
    found = [_holidays_of_year(year) for year in range(first_year, last_year + 1)]
    return np.unique(np.concatenate(found))


@lru_cache(maxsize=1024)
def _holidays_of_year(year: int) -> Days:
    dates = _Exchange().holidays(f"{year}-01-01", f"{year}-12-31")
    days = pd.DatetimeIndex(dates).to_numpy().astype("datetime64[D]")
    days = days[np.is_busday(days)]
    days.flags.writeable = False
    return days


def seasonality_features(panel: Panel, rows: Sequence[int]) -> pd.DataFrame:
    """Describe where in the year, the month, the week and the earnings calendar each row stands.

    Parameters
    ----------
    panel : Panel
        Only its dates are read.
    rows : sequence of int
        Row numbers into `panel.index`.

    Returns
    -------
    DataFrame of shape (len(rows), n_features)
        Columns `SEASONALITY_FEATURES`, rows `panel.index[rows]`; never missing. Sines and cosines are in [-1, 1],
        the rest in [0, 1].

    Raises
    ------
    ParameterError
        If a row is not in the panel.
    DataError
        If a date lies before 1705 or after 2235.

    Examples
    --------
    >>> dates = pd.to_datetime(["2019-12-31", "2020-01-02", "2020-01-16"])
    >>> panel = Panel.from_returns(pd.DataFrame({"A": [0.01, 0.0, 0.02]}, index=dates))
    >>> values = seasonality_features(panel, [0, 1, 2])
    >>> values[["turn_of_month", "holiday_ahead", "earnings_season"]].round(2).rename_axis(None)
                turn_of_month  holiday_ahead  earnings_season
    2019-12-31            1.0           0.82              0.0
    2020-01-02            1.0           0.09              0.0
    2020-01-16            0.0           0.67              1.0
    """
    numbers = checked_rows(panel, rows)
    dates = panel.index[numbers]
    days = calendar_days(dates)
    holidays, sessions = session_calendar(days)
    month_angle = 2 * np.pi * (dates.month.to_numpy() - 1) / 12
    weekday_angle = 2 * np.pi * dates.day_of_week.to_numpy() / 7

    session = np.busday_offset(days, 0, roll="backward", busdaycal=sessions)
    month = session.astype("datetime64[M]")
    first = np.busday_offset(month.astype("datetime64[D]"), 0, roll="forward", busdaycal=sessions)
    ordinal = np.busday_count(first, session, busdaycal=sessions) + 1
    turn = (ordinal <= 3) | (session == last_session(month, sessions))

    following = holidays[np.searchsorted(holidays, days, side="left")]
    preceding = holidays[np.searchsorted(holidays, days, side="right") - 1]
    one = np.timedelta64(1, "D")
    ahead = np.busday_count(session, following, busdaycal=sessions)
    ahead = np.where(following == days, 0, ahead)
    behind = np.busday_count(preceding + one, days + one, busdaycal=sessions)

    quarter_start = (days.astype("datetime64[M]").astype(int) // 3 * 3).astype("datetime64[M]").astype("datetime64[D]")
    day_of_quarter = (days - quarter_start).astype(int) + 1
    n_season = _SEASON_LAST - _SEASON_FIRST + 1
    progress = np.clip((day_of_quarter - _SEASON_FIRST + 1) / n_season, 0.0, 1.0)

    columns = (
        np.sin(month_angle),
        np.cos(month_angle),
        np.sin(weekday_angle),
        np.cos(weekday_angle),
        turn,
        proximity(ahead),
        proximity(behind),
        (day_of_quarter >= _SEASON_FIRST) & (day_of_quarter <= _SEASON_LAST),
        progress,
    )
    values = np.column_stack([np.asarray(column, dtype=float) for column in columns])
    return features_frame(panel, numbers, values, SEASONALITY_FEATURES)


def calendar_days(dates: pd.DatetimeIndex) -> Days:
    """Return the day of each date; its time of day does not matter here."""
    first, last = _FIRST_YEAR + _YEARS_AROUND, _LAST_YEAR - _YEARS_AROUND
    if len(dates) and not (first <= dates.year.min() and dates.year.max() <= last):
        raise DataError(
            f"calendar features need dates from {first} to {last}, got {dates.min().date()} to {dates.max().date()}"
        )
    return dates.to_numpy().astype("datetime64[D]")


def session_calendar(days: Days) -> tuple[Days, np.busdaycalendar]:
    """Return the holidays around `days` and the sessions between them (one year on either side)."""
    years = days.astype("datetime64[Y]").astype(int) + 1970 if len(days) else np.array([2000])
    holidays = market_holidays(int(years.min()) - 1, int(years.max()) + 1)
    return holidays, np.busdaycalendar(weekmask="1111100", holidays=holidays)


def last_session(month: NDArray[np.datetime64], sessions: np.busdaycalendar) -> Days:
    """Return the last session of each month (datetime64[M])."""
    following = (month + np.timedelta64(1, "M")).astype("datetime64[D]")
    return np.busday_offset(following, -1, roll="forward", busdaycal=sessions)


def proximity(n_sessions: NDArray[np.int64]) -> NDArray[np.float64]:
    """exp(-d / 5) of a number of sessions: 1 on the day, 0.37 a week away."""
    return np.exp(-np.asarray(n_sessions, dtype=float) / SESSIONS_PER_FOLD)
