"""Calendar features: dates worked by hand, a day-by-day twin, and nothing taken from other rows of the panel."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.seasonality import SEASONALITY_FEATURES, market_holidays, seasonality_features
from eigenfolio.panel import Panel

HOLIDAYS_2021_2022 = (
    "2021-01-01 2021-01-18 2021-02-15 2021-04-02 2021-05-31 2021-07-05 2021-09-06 2021-11-25 2021-12-24 "
    "2022-01-17 2022-02-21 2022-04-15 2022-05-30 2022-06-20 2022-07-04 2022-09-05 2022-11-24 2022-12-26"
)


def dated(*dates: str) -> Panel:
    index = pd.to_datetime(list(dates))
    return Panel.from_returns(pd.DataFrame({"A": np.linspace(-0.01, 0.01, len(index))}, index=index))


def features(*dates: str) -> pd.DataFrame:
    return seasonality_features(dated(*dates), range(len(dates)))


def sessions_from(day: dt.date, step: int):
    """The sessions after (step 1) or before (step -1) a day, one by one."""
    closed = set(market_holidays(day.year - 1, day.year + 1).tolist())
    while True:
        day += dt.timedelta(days=step)
        if day.weekday() < 5 and day not in closed:
            yield day


def naive(day: dt.date) -> dict[str, float]:
    """The features of one day, by walking through the calendar."""
    closed = set(market_holidays(day.year - 1, day.year + 1).tolist())
    session = day
    while session.weekday() >= 5 or session in closed:
        session -= dt.timedelta(days=1)
    before = 0
    for earlier in sessions_from(session, -1):
        if earlier.month != session.month:
            break
        before += 1
    is_last = next(sessions_from(session, 1)).month != session.month

    walk, ahead = session, 0
    while day not in closed:
        ahead += walk.weekday() < 5 and walk not in closed
        walk += dt.timedelta(days=1)
        if walk in closed and walk >= day:
            break
    walk, behind = day, 0
    while walk not in closed:
        behind += walk.weekday() < 5
        walk -= dt.timedelta(days=1)

    quarter_start = dt.date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
    since = (day - quarter_start).days + 1
    month, weekday = 2 * math.pi * (day.month - 1) / 12, 2 * math.pi * day.weekday() / 7
    numbers = [math.sin(month), math.cos(month), math.sin(weekday), math.cos(weekday)]
    numbers += [float(before < 3 or is_last), math.exp(-ahead / 5), math.exp(-behind / 5)]
    numbers += [float(8 <= since <= 42), min(1.0, max(0.0, (since - 7) / 35))]
    return dict(zip(SEASONALITY_FEATURES, numbers, strict=True))


def test_holidays_are_those_the_exchange_published():
    assert " ".join(market_holidays(2021, 2022).astype(str)) == HOLIDAYS_2021_2022


def test_the_rules_give_every_session_of_two_decades_but_unforeseen_closures(shared_data):
    panel_days = pd.read_parquet(shared_data / "us_equity_adj_close.parquet", columns=["AAPL"]).index
    days = panel_days.to_numpy().astype("datetime64[D]")
    weekdays = np.arange(days[0], days[-1] + 1)
    sessions = weekdays[np.is_busday(weekdays, holidays=market_holidays(2000, 2020))]
    assert " ".join(np.setdiff1d(sessions, days).astype(str)) == (
        "2001-09-11 2001-09-12 2001-09-13 2001-09-14 2004-06-11 2007-01-02 2012-10-29 2012-10-30 2018-12-05"
    )
    assert not len(np.setdiff1d(days, sessions))


def test_months_and_weekdays_lie_on_a_circle():
    values = features("2020-01-06", "2020-04-09", "2020-10-09")
    assert values["month_sine"].tolist() == pytest.approx([0, 1, -1])
    assert values["month_cosine"].tolist() == pytest.approx([1, 0, 0], abs=1e-12)
    assert values["weekday_sine"].iloc[0] == 0.0
    assert values["weekday_cosine"].iloc[0] == 1.0
    assert values["weekday_sine"].iloc[1] == pytest.approx(math.sin(6 * math.pi / 7))


def test_the_turn_of_the_month_is_its_last_session_and_three_of_the_next():
    dates = ["2020-05-28", "2020-05-29", "2020-06-01", "2020-06-02", "2020-06-03", "2020-06-04"]
    assert features(*dates)["turn_of_month"].tolist() == [0, 1, 1, 1, 1, 0]


def test_the_last_session_is_known_before_the_panel_shows_the_next_month():
    assert features("2020-05-28", "2020-05-29")["turn_of_month"].tolist() == [0, 1]
    assert features("2018-03-28", "2018-03-29")["turn_of_month"].tolist() == [0, 1]  # Good Friday was the 30th


def test_sessions_to_and_since_a_holiday_are_counted():
    values = features("2020-11-24", "2020-11-25", "2020-11-27", "2020-11-30")
    assert (-5 * np.log(values["holiday_ahead"])).round(6).tolist() == [2, 1, 20, 19]  # Thanksgiving, then Christmas
    assert (-5 * np.log(values["holiday_behind"])).round(6).tolist()[2:] == [1, 2]


def test_on_a_holiday_both_distances_are_zero():
    assert features("2020-12-24", "2020-12-25").loc["2020-12-25", ["holiday_ahead", "holiday_behind"]].tolist() == [
        1,
        1,
    ]


def test_earnings_season_is_the_second_to_sixth_week_after_a_quarter():
    values = features("2020-04-07", "2020-04-08", "2020-05-12", "2020-05-13", "2020-06-30", "2020-07-01")
    assert values["earnings_season"].tolist() == [0, 1, 1, 0, 0, 0]
    assert values["earnings_progress"].tolist() == pytest.approx([0, 1 / 35, 1, 1, 1, 0])


def test_a_walk_through_the_calendar_says_the_same():
    index = pd.date_range("2019-11-20", "2021-02-10")  # with weekends and holidays
    panel = Panel.from_returns(pd.DataFrame({"A": np.zeros(len(index))}, index=index))
    expected = pd.DataFrame([naive(day.date()) for day in index], index=panel.index)
    assert_frame_equal(seasonality_features(panel, range(len(index))), expected, rtol=1e-12, atol=1e-12)


def test_neither_later_rows_nor_other_rows_change_a_row():
    panel = factor_market(3, 400, seed=1, late_listings=0.5).panel
    full = seasonality_features(panel, range(400))
    for row in (0, 20, 21, 199):
        assert_frame_equal(seasonality_features(panel, [row]), full.iloc[[row]], check_exact=True)
        cut = Panel.from_returns(panel.returns.iloc[: row + 1])
        assert_frame_equal(seasonality_features(cut, [row]), full.iloc[[row]], check_exact=True)
        sparse = Panel.from_returns(panel.returns.drop(panel.index[row + 1 : row + 40]))
        assert_frame_equal(seasonality_features(sparse, [row]), full.iloc[[row]], check_exact=True)


def test_the_assets_do_not_matter():
    panel = factor_market(5, 60, seed=2).panel
    reordered = Panel.from_returns(panel.returns.iloc[:, ::-1] * 0.1)
    one = Panel.from_returns(panel.returns.iloc[:, :1])
    values = seasonality_features(panel, range(60))
    assert_frame_equal(seasonality_features(reordered, range(60)), values, check_exact=True)
    assert_frame_equal(seasonality_features(one, range(60)), values, check_exact=True)


def test_the_time_of_day_does_not_matter():
    hours = pd.date_range("2020-05-28", periods=48, freq="h")
    panel = Panel.from_returns(pd.DataFrame({"A": np.zeros(48)}, index=hours))
    values = seasonality_features(panel, range(48))
    assert values.nunique().max() <= 2
    assert values["turn_of_month"].tolist() == [0.0] * 24 + [1.0] * 24


def test_nothing_is_missing_or_out_of_range():
    panel = factor_market(2, 3000, seed=0, start="1960-01-04").panel
    values = seasonality_features(panel, range(0, 3000, 7))
    assert tuple(values.columns) == SEASONALITY_FEATURES
    assert np.isfinite(values.to_numpy()).all()
    assert values.abs().to_numpy().max() <= 1.0
    assert len(seasonality_features(panel, [])) == 0


@pytest.mark.parametrize("rows", [[-1], [3], [0.5], [[0]]])
def test_rows_outside_the_panel_are_refused(rows):
    with pytest.raises(ParameterError, match="rows must be"):
        seasonality_features(dated("2020-01-02", "2020-01-03", "2020-01-06"), rows)


def test_years_out_of_range_are_refused():
    with pytest.raises(ParameterError, match="years must be in order"):
        market_holidays(2021, 2020)
    with pytest.raises(DataError, match="calendar features need dates"):
        features("1699-01-05")
