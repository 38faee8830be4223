import inspect
import re

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
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
from skfolio.model_selection import WalkForward

from eigenfolio.data import (
    CoverageRule,
    Membership,
    eligible_assets,
    plan_decisions,
    universe_calendar,
)
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError


class NewYorkExchange(AbstractHolidayCalendar):
    rules = [  # noqa: RUF012
        Holiday("New Year", month=1, day=1, observance=sunday_to_monday),
        USMartinLutherKingJr,
        USPresidentsDay,
        GoodFriday,
        USMemorialDay,
        Holiday("Juneteenth", month=6, day=19, start_date="2022-01-01", observance=nearest_workday),
        Holiday("Independence Day", month=7, day=4, observance=nearest_workday),
        USLaborDay,
        USThanksgivingDay,
        Holiday("Christmas", month=12, day=25, observance=nearest_workday),
    ]


@pytest.fixture(scope="module")
def sessions():
    days = pd.bdate_range("2010-01-04", "2024-12-30")
    closed = NewYorkExchange().holidays("2010-01-01", "2024-12-31")
    closed = closed.append(pd.DatetimeIndex(["2012-10-29", "2012-10-30", "2018-12-05"]))  # Sandy, Bush senior
    return days.difference(closed)


@pytest.fixture(scope="module")
def patchy():
    return factor_market(12, 700, seed=5, late_listings=0.6, delistings=0.3, gaps=0.02).panel.returns


def test_the_coverage_rule_gives_170_month_starts_on_the_3773_rows_of_2010_to_2024(sessions):
    assert len(sessions) == 3773
    rng = np.random.default_rng(0)
    n_assets = 822
    first = np.where(rng.random(n_assets) < 0.4, rng.integers(1, 3000, n_assets), 0)
    listed = np.arange(len(sessions))[:, None] >= first
    prices = pd.DataFrame(np.where(listed, 100.0, np.nan), index=sessions)
    calendar = universe_calendar(prices, CoverageRule())
    assert len(calendar) == 170
    assert (calendar[0], calendar[-1]) == (pd.Timestamp("2010-11-01"), pd.Timestamp("2024-12-02"))


@pytest.mark.parametrize("min_rows", [100, 120])
def test_eligibility_equals_the_rule_read_aloud(patchy, min_rows):
    rows = list(range(0, 700, 2))
    slow = []
    for row in rows:
        window = patchy.iloc[max(0, row + 1 - 126) : row + 1]
        recent = patchy.iloc[max(0, row - 20) : row + 1]
        slow.append((window.notna().sum() >= min_rows) & recent.notna().any())
    expected = pd.DataFrame(slow, index=patchy.index[rows])
    assert_frame_equal(eligible_assets(patchy, rows, CoverageRule(min_rows=min_rows, lookback=126)), expected)


def test_eligibility_does_not_change_when_the_future_does(patchy):
    rule = CoverageRule(min_rows=100, lookback=126, max_assets=5)
    altered = patchy.copy()
    altered.iloc[401:] = np.nan
    rows = list(range(0, 401, 40))
    assert_frame_equal(eligible_assets(patchy, rows, rule), eligible_assets(altered, rows, rule))


def test_the_assets_kept_by_max_assets_depend_on_names_and_not_on_columns(patchy):
    rule = CoverageRule(min_rows=100, lookback=126, max_assets=5)
    kept = eligible_assets(patchy, [400, 600], rule)
    assert (kept.sum(axis=1) == 5).all()
    shuffled = eligible_assets(patchy[patchy.columns[::-1]], [400, 600], rule)
    assert_frame_equal(shuffled[patchy.columns], kept)
    other = eligible_assets(patchy, [400, 600], rule.model_copy(update={"seed": 1}))
    assert not other.equals(kept)


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("rebalance", ["MS", "W-FRI", "D", 21])
def test_decisions_tile_the_rows_and_leave_the_lag_free(rebalance, lag):
    index = pd.bdate_range("2015-01-01", periods=500)
    decisions = plan_decisions(index, rebalance=rebalance, lag=lag, min_history=100)
    for decision, following in zip(decisions, [*decisions[1:], None], strict=True):
        assert decision.row + 1 >= 100
        assert decision.start == decision.row + 1 + lag
        assert decision.date == index[decision.row]
        assert decision.stop == (len(index) if following is None else following.start)
    assert decisions[0].row <= 100 + 25  # the first possible date is used


def test_monthly_decisions_are_those_of_skfolio():
    index = pd.bdate_range("2015-01-01", periods=500)
    theirs = WalkForward(1, 6, freq="MS", purged_size=1, expand_train=True, reduce_test=True)
    splits = list(theirs.split(pd.DataFrame(index=index)))
    ours = plan_decisions(index, min_history=len(splits[0][0]))
    assert [(d.row, d.start, d.stop) for d in ours] == [(a[-1], b[0], b[-1] + 1) for a, b in splits]


@pytest.mark.parametrize("weekday_start", ["2021-10-29", "2021-10-28"])
def test_a_month_that_begins_on_a_weekend_still_begins(weekday_start):
    index = pd.bdate_range(weekday_start, periods=60)  # 1 January 2022 is a Saturday
    assert index[plan_decisions(index, min_history=40)[0].start] == pd.Timestamp("2022-01-03")


def test_a_plan_that_cannot_be_says_what_it_needs():
    index = pd.bdate_range("2015-01-01", periods=179)
    with pytest.raises(ParameterError, match=r"min_history=252 .* got 179 rows \(2015-01-01 to 2015-09-08\)"):
        plan_decisions(index)
    with pytest.raises(ParameterError, match="lag must be"):
        plan_decisions(index, lag=-1)
    with pytest.raises(ParameterError, match="rebalance='monthly'"):
        plan_decisions(index, rebalance="monthly", min_history=20)
    with pytest.raises(ValueError, match="can never be reached"):
        CoverageRule(min_rows=300)


@pytest.fixture
def membership():
    table = pd.DataFrame(
        {"date": ["2020-02-28", "2020-01-31", "2020-01-31", "2020-02-28"], "ticker": ["BRKB", "A", "BRKB", "C"]}
    )
    return Membership.from_table(table)


def test_membership_knows_the_newest_snapshot_and_none_of_the_later_ones(membership):
    assert membership.at("2020-02-27") == {"A", "BRKB"}
    assert membership.at("2020-02-28") == {"BRKB", "C"}
    mask = membership.mask(["2020-02-03", "2020-03-02"], ["A", "BRK-B", "C"])
    assert mask.to_numpy().tolist() == [[True, True, False], [False, True, True]]
    changes = membership.changes()
    assert changes[["ticker", "change"]].to_numpy().tolist() == [["C", "added"], ["A", "deleted"]]


@pytest.mark.parametrize("date", ["2020-01-30", "2020-09-01"])
def test_membership_answers_only_where_it_is_known(membership, date):
    with pytest.raises(DataError, match="snapshots run from 2020-01-31 to 2020-02-28"):
        membership.at(date)


def test_membership_refuses_names_it_cannot_tell_apart(membership):
    with pytest.raises(DataError, match="differ in punctuation"):
        membership.mask(["2020-02-03"], ["BRK-B", "BRK.B"])


def test_the_real_membership_list_has_about_500_members_on_every_date(shared_data):
    membership = Membership.read(shared_data / "sp500_constituents_2006_2019.parquet")
    assert len(membership.dates) == 152
    assert all(500 <= len(members) <= 511 for members in membership.members)


def test_the_coverage_rule_has_its_defaults_by_keyword_so_that_type_checkers_see_them():
    source = inspect.getsource(CoverageRule)
    assert "Field(default=" in source
    assert not re.search(r"Field\((?!default=)", source)
    assert CoverageRule().model_dump() == {
        "min_assets": 20, "min_rows": 200, "lookback": 252, "max_assets": None, "seed": 0,
    }  # fmt: skip


def test_a_dead_quote_is_not_eligible_until_it_moves_and_again_when_it_has_stood_still_for_the_lookback():
    index = pd.bdate_range("2020-01-01", periods=12)
    returns = pd.DataFrame({"alive": 0.01, "dead": 0.0, "woken": [0.0] * 5 + [0.02] + [0.0] * 6}, index=index)
    found = eligible_assets(returns, [4, 5, 8, 9], CoverageRule(min_rows=3, lookback=4))
    assert found["alive"].all()
    assert not found["dead"].any()
    assert found["woken"].tolist() == [False, True, True, False]
