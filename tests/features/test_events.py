"""Event features: dates worked by hand, a naive twin, nothing before it was announced, strict tables."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.events import EVENT_FEATURES, EVENT_KINDS, check_events, event_features, read_events
from eigenfolio.features.seasonality import market_holidays
from eigenfolio.panel import Panel


def dated(dates) -> Panel:
    index = pd.to_datetime(list(dates))
    return Panel.from_returns(pd.DataFrame({"A": np.linspace(-0.01, 0.01, len(index))}, index=index))


def days(proximities) -> list[float]:
    """Sessions behind a column of proximities."""
    return [round(-5 * math.log(value), 6) for value in proximities]


def meetings(dates, announced=None, kind="central_bank") -> pd.DataFrame:
    table = pd.DataFrame({"date": list(dates), "name": "meeting", "kind": kind})
    return table if announced is None else table.assign(announced=list(announced))


def naive(stamp: pd.Timestamp, event_days, sessions: list[pd.Timestamp]) -> list[float]:
    """Distances of one row to events already known, by counting sessions in a list."""
    here = sum(session <= stamp for session in sessions) - 1
    places = [sum(session < day for session in sessions) for day in event_days]
    ahead = [place - here for place in places if place >= here]
    behind = [here - place for place in places if place <= here]
    later = [place for place in places if place > here]
    result = [math.exp(-min(ahead) / 5) if ahead else np.nan, math.exp(-min(behind) / 5) if behind else np.nan]
    if behind and later:
        result.append(min(behind) / (min(behind) + min(later) - here))
    else:
        result.append(np.nan)
    return result


def test_distances_to_the_ends_of_month_quarter_and_year_by_hand():
    values = event_features(dated(["2020-12-29", "2020-12-30", "2020-12-31", "2021-01-04"]), range(4))
    for kind in ("month_end", "quarter_end", "year_end"):
        assert days(values[f"{kind}_ahead"][:3]) == [2, 1, 0]
        assert days(values[f"{kind}_behind"][2:]) == [0, 1]
    assert days(values["month_end_ahead"][3:]) == [18]  # January 2021 has 19 sessions
    assert values["month_end_elapsed"].tolist()[2:] == pytest.approx([0, 1 / 19])


def test_a_quarter_is_linear_in_elapsed():
    index = pd.bdate_range("2021-01-04", "2021-03-31")
    values = event_features(dated(index.drop(["2021-01-18", "2021-02-15"])), range(61))
    assert values["quarter_end_elapsed"].diff().dropna().iloc[:-1].tolist() == pytest.approx([1 / 61] * 59)
    assert values["quarter_end_elapsed"].iloc[-1] == 0.0


def test_options_expire_on_the_third_friday_or_the_session_before_it():
    index = pd.bdate_range("2019-04-15", "2019-06-28")
    values = event_features(dated(index), range(len(index)))
    expiries = values.index[values["option_expiry_ahead"] == 1].strftime("%Y-%m-%d").tolist()
    assert expiries == [
        "2019-04-18",
        "2019-04-19",
        "2019-05-17",
        "2019-06-21",
    ]  # a row on Good Friday belongs to the 18th
    assert values.index[values["quarterly_expiry_ahead"] == 1].strftime("%Y-%m-%d").tolist() == ["2019-06-21"]


def test_without_a_table_there_is_no_central_bank():
    values = event_features(dated(["2020-03-02", "2020-03-03"]), [0, 1])
    assert tuple(values.columns) == EVENT_FEATURES
    for kind in EVENT_KINDS:
        assert values.filter(like=kind).isna().to_numpy().all()
    assert values.filter(regex="month|quarter|year|option").notna().to_numpy().all()


def test_before_and_after_the_table_distances_are_missing():
    values = event_features(
        dated(["2020-03-02", "2020-03-10", "2020-03-20"]), range(3), events=meetings(["2020-03-10"])
    )
    assert values["central_bank_ahead"].isna().tolist() == [False, False, True]
    assert values["central_bank_behind"].isna().tolist() == [True, False, False]
    assert values["central_bank_elapsed"].isna().all()


def test_an_event_counts_from_the_row_at_which_it_was_announced():
    table = meetings(["2020-03-05", "2020-03-18"], ["2020-03-04", "2019-06-01"])
    values = event_features(dated(["2020-03-03", "2020-03-04", "2020-03-05"]), range(3), events=table)
    assert days(values["central_bank_ahead"]) == [11, 1, 0]


def test_an_event_announced_after_it_happened_is_past_from_then_on():
    table = meetings(["2020-03-03"], ["2020-03-05"])
    values = event_features(dated(["2020-03-03", "2020-03-04", "2020-03-05"]), range(3), events=table)
    assert values["central_bank_behind"].isna().tolist() == [True, True, False]
    assert days(values["central_bank_behind"][2:]) == [2]
    assert values["central_bank_ahead"].isna().all()


def test_an_announcement_with_a_time_reaches_only_rows_stamped_after_it():
    hours = dated(["2020-03-03 09:00", "2020-03-03 10:00", "2020-03-03 11:00"])
    values = event_features(hours, range(3), events=meetings(["2020-03-03"], ["2020-03-03 10:00"]))
    assert values["central_bank_ahead"].isna().tolist() == [True, False, False]


def test_an_event_on_a_day_without_a_session_belongs_to_the_next():
    values = event_features(dated(["2020-03-13", "2020-03-16"]), [0, 1], events=meetings(["2020-03-15"]))
    assert days(values["central_bank_ahead"]) == [1, 0]


def test_kinds_are_kept_apart_and_without_a_kind_are_other():
    table = pd.DataFrame({"date": ["2020-06-05", "2020-06-10"], "name": ["payrolls", "FOMC"]})
    panel = dated(["2020-06-04", "2020-06-05"])
    plain = event_features(panel, [0], events=table)
    assert days(plain["other_ahead"]) == [1]
    assert plain[["central_bank_ahead", "economic_release_ahead"]].isna().to_numpy().all()
    named = event_features(panel, [0], events=table.assign(kind=["economic_release", "central_bank"]))
    assert days(named["economic_release_ahead"]) == [1]
    assert days(named["central_bank_ahead"]) == [4]
    assert named["other_ahead"].isna().all()


def test_a_naive_twin_says_the_same():
    rng = np.random.default_rng(3)
    weekdays = pd.bdate_range("2018-12-01", "2021-01-31")
    sessions = list(weekdays[~weekdays.isin(pd.DatetimeIndex(market_holidays(2018, 2021)))])
    index = pd.date_range("2019-12-01", "2020-06-30")[rng.random(213) < 0.6]  # with weekends
    panel = dated(index)
    event_days = pd.DatetimeIndex(rng.choice(pd.date_range("2019-06-01", "2020-12-31"), 25, replace=False))
    announced = event_days - pd.to_timedelta(rng.integers(-5, 60, 25), unit="D")
    ends = [day for day, after in itertools.pairwise(sessions) if day.month != after.month]
    fridays = pd.date_range("2018-12-08", "2021-01-31", freq="WOM-3FRI")
    expiries = [max(session for session in sessions if session <= friday) for friday in fridays]
    quarterly = [day for day in expiries if day.month % 3 == 0]
    expected = {
        "month_end": ends,
        "quarter_end": [day for day in ends if day.month % 3 == 0],
        "year_end": [day for day in ends if day.month == 12],
        "option_expiry": expiries,
        "quarterly_expiry": quarterly,
    }
    rows = range(0, len(index), 6)
    values = event_features(panel, rows, events=meetings(event_days, announced))
    for row in rows:
        stamp = panel.index[row]
        for kind, dates in {**expected, "central_bank": event_days[announced <= stamp]}.items():
            found = values.loc[stamp].filter(regex=f"^{kind}_")
            np.testing.assert_allclose(found, naive(stamp, dates, sessions), rtol=1e-12, err_msg=f"{kind} {stamp}")


def test_neither_later_rows_nor_other_rows_nor_unannounced_events_change_a_row():
    panel = factor_market(3, 300, seed=1).panel
    event_days = panel.index[5::20].append(pd.bdate_range("2012-01-02", periods=5))
    table = meetings(event_days, event_days - pd.Timedelta(days=30))
    full = event_features(panel, range(300), events=table)
    for row in (0, 40, 41, 200):
        stamp = panel.index[row]
        known = table[table["announced"] <= stamp]
        cut = Panel.from_returns(panel.returns.iloc[: row + 1])
        expected = full.iloc[[row]]
        assert_frame_equal(event_features(panel, [row], events=table), expected, check_exact=True)
        assert_frame_equal(event_features(cut, [row], events=table), expected, check_exact=True)
        if len(known):
            assert_frame_equal(event_features(cut, [row], events=known), expected, check_exact=True)


def test_the_assets_do_not_matter():
    panel = factor_market(4, 80, seed=2).panel
    one = Panel.from_returns(panel.returns.iloc[:, [2]] * 0.1)
    assert_frame_equal(event_features(panel, range(80)), event_features(one, range(80)), check_exact=True)


def test_values_are_shares():
    panel = factor_market(2, 900, seed=0).panel
    values = event_features(panel, range(900), events=meetings(panel.index[::30]))
    finite = values.to_numpy()[~np.isnan(values.to_numpy())]
    assert finite.min() >= 0.0
    assert finite.max() <= 1.0


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_file_reads_as_the_table_it_was_written_from(tmp_path, ending):
    table = meetings(["2020-03-18", "2020-03-03"], ["2019-06-01", "2020-03-03 10:00"])
    path = tmp_path / f"events.{ending}"
    table.to_parquet(path) if ending == "parquet" else table.to_csv(path, index=False)
    assert_frame_equal(read_events(path), check_events(table))
    panel = dated(["2020-03-02", "2020-03-04"])
    assert_frame_equal(event_features(panel, [0, 1], events=path), event_features(panel, [0, 1], events=table))


@pytest.mark.parametrize("announced", [None, ["2019-06-01"]])
def test_a_checked_table_passes_again(announced):
    table = check_events(meetings(["2020-03-18"], announced))
    assert_frame_equal(check_events(table), table)
    assert event_features(dated(["2020-03-02"]), [0], events=table)["central_bank_ahead"].notna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"date": ["2020-03-18", "18.03.2020"]},
            "'date' must be ISO dates such as 2020-03-18, got '18.03.2020' in row 2",
        ),
        ({"date": ["2020-03-18", None]}, "'date' must be ISO dates .* in row 2"),
        ({"date": [20200318, 20200319]}, "got the number 20200318 in row 1"),
        ({"date": pd.to_datetime(["2020-03-18", None])}, "'date' is empty in row 2"),
        ({"date": ["2020-03-18", "2020-03-19T14:00"]}, "'date' must be days without a time"),
        ({"date": pd.to_datetime(["2020-03-18", "2020-03-19"], utc=True)}, "has a time zone"),
        ({"date": ["2020-03-18", "2020-03-19T00:00Z"]}, "time zone"),
        ({"date": ["2020-03-18", "2020-03-18"]}, "'meeting' on 2020-03-18 is listed twice"),
        ({"name": ["meeting", " "]}, "'name' is empty in row 2"),
        ({"kind": ["central_bank", "fomc"]}, "'kind' must be one of central_bank, economic_release, other, got 'fomc'"),
        ({"announced": ["2020-01-01", None]}, "'announced' is empty in row 2"),
        ({"anounced": "2020-01-01"}, "column 'anounced' is none of .*; did you mean 'announced'"),
        ({"importance": 3}, "column 'importance' is none of .*; drop it"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_in_one_line(changes, message):
    table = meetings(["2020-03-18", "2020-03-19"]).assign(**changes)
    with pytest.raises(DataError, match=message) as caught:
        event_features(dated(["2020-03-02"]), [0], events=table)
    assert "\n" not in str(caught.value)


def test_empty_and_incomplete_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no event"):
        check_events(meetings([]))
    with pytest.raises(DataError, match="column 'name' is missing, got date"):
        check_events(pd.DataFrame({"date": ["2020-03-18"]}))
    with pytest.raises(DataError, match="no event file"):
        read_events(tmp_path / "none.csv")
    (tmp_path / "events.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="must end in"):
        read_events(tmp_path / "events.xlsx")
    (tmp_path / "events.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read"):
        read_events(tmp_path / "events.parquet")
    (tmp_path / "bad.csv").write_text("date,name\n2020-13-01,meeting\n")
    with pytest.raises(DataError, match=r"bad\.csv: events: 'date' must be ISO dates"):
        read_events(tmp_path / "bad.csv")


def test_rows_outside_the_panel_are_refused():
    with pytest.raises(ParameterError, match="rows must be"):
        event_features(dated(["2020-03-02"]), [1])
