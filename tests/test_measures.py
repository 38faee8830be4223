"""Measures against values worked by hand and against skfolio's Portfolio."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from skfolio import Portfolio

from eigenfolio import measures
from eigenfolio.errors import DataError

BARS = pd.timedelta_range("9h", periods=7, freq="h")


@pytest.fixture
def returns():
    return pd.Series(np.random.default_rng(1).normal(0.0005, 0.01, 500), index=pd.bdate_range("2015", periods=500))


def test_annualised_return_compounds():
    # Two half-years: 1.5 * 0.8 = 1.2 over one year; the arithmetic mean would say 30 %.
    assert_allclose(measures.annualized_return([0.5, -0.2], periods_per_year=2), 0.2)


def test_a_total_loss_is_minus_one():
    assert measures.annualized_return([0.5, -1.0, 0.3]) == -1.0
    assert measures.max_drawdown([0.5, -1.0, 0.3]) == 1.0


def test_ratios_by_hand():
    values = [0.03, -0.01]  # mean 0.01, deviations 0.02, downside sqrt(0.0001 / 2)
    assert_allclose(measures.annualized_volatility(values, periods_per_year=4), 2 * np.sqrt(2 * 0.0004))
    assert_allclose(measures.sharpe_ratio(values, periods_per_year=4), 2 * 0.01 / np.sqrt(0.0008))
    assert_allclose(measures.sortino_ratio(values, periods_per_year=4), 2 * 0.01 / np.sqrt(0.00005))


def test_volatility_sharpe_and_drawdown_agree_with_skfolio(returns):
    portfolio = Portfolio(X=returns.to_frame("A"), weights=[1.0], compounded=True, annualization_factor=252)
    assert_allclose(measures.annualized_volatility(returns), portfolio.annualized_standard_deviation, rtol=1e-12)
    assert_allclose(measures.sharpe_ratio(returns), portfolio.annualized_sharpe_ratio, rtol=1e-12)
    assert_allclose(measures.max_drawdown(returns), portfolio.max_drawdown, rtol=1e-12)


def test_a_loss_on_the_first_day_is_a_drawdown():
    assert_allclose(measures.drawdown_path(pd.Series([-0.1, 0.1])), [-0.1, -0.01])


def test_paths_keep_the_dates(returns):
    wealth = measures.wealth_path(returns)
    assert wealth.index.equals(returns.index)
    assert_allclose(wealth.iloc[-1], np.prod(1 + returns.to_numpy()))
    assert_allclose(measures.drawdown_path(returns).min(), -measures.max_drawdown(returns))


def test_rolling_volatility_is_the_volatility_of_each_window(returns):
    rolling = measures.rolling_volatility(returns, window=63)
    assert len(rolling) == len(returns) - 62
    assert_allclose(rolling.iloc[10], measures.annualized_volatility(returns.iloc[10:73]))


@pytest.mark.parametrize("ratio", [measures.sharpe_ratio, measures.sortino_ratio, measures.calmar_ratio])
def test_a_ratio_without_risk_is_not_a_number(ratio):
    assert np.isnan(ratio([0.1, 0.1, 0.1]))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pd.bdate_range("2015-01-01", "2020-12-31"), 252.0),
        (pd.bdate_range("2024-01-01", periods=5), 252.0),  # a week from Monday to Friday
        (pd.bdate_range("2015-01-01", periods=520, tz="America/New_York"), 252.0),
        (pd.date_range("2015-01-01", periods=900, freq="D"), 365.0),
        (pd.date_range("2024-01-06", periods=7, freq="D"), 365.0),
        (pd.date_range("2015-01-01", periods=100, freq="W-FRI"), 52.0),
        (pd.date_range("2015-01-31", periods=3, freq="ME"), 12.0),
        (pd.date_range("2015-01-31", periods=60, freq="BME"), 12.0),
        (pd.date_range("2015-01-31", periods=60, freq="MS"), 12.0),
        (pd.date_range("2015-01-31", periods=12, freq="QE"), 4.0),
        (pd.date_range("2024-01-01 12:00", periods=24 * 60, freq="h"), 24 * 365.0),
        (pd.DatetimeIndex(np.add.outer(pd.bdate_range("2020", periods=30), BARS).ravel()), 7 * 252.0),
    ],
)
def test_rows_in_a_year_are_read_off_the_dates(index, expected):
    assert measures.periods_per_year(index) == expected


def test_holidays_do_not_change_the_convention_but_many_lost_rows_do():
    days = pd.bdate_range("2015-01-01", "2020-12-31")
    keep = np.random.default_rng(0).random(len(days))
    assert measures.periods_per_year(days[keep > 0.04]) == 252.0
    assert_allclose(measures.periods_per_year(days[keep > 0.15]), 0.85 * 260.9, rtol=0.02)


def test_a_rhythm_without_a_convention_is_counted():
    assert_allclose(measures.periods_per_year(pd.date_range("2015-01-01", periods=80, freq="14D")), 365.25 / 14)
    assert_allclose(measures.periods_per_year(pd.date_range("2000-12-31", periods=15, freq="YE")), 1.0, rtol=1e-3)


def test_weeks_from_sunday_to_thursday_are_business_days():
    days = pd.date_range("2015-01-01", "2020-12-31", freq="D")
    assert measures.periods_per_year(days[~days.day_of_week.isin([4, 5])]) == 252.0


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (pd.RangeIndex(10), "DatetimeIndex, got RangeIndex"),
        (pd.bdate_range("2020", periods=2), "three different dates, got 2"),
        (pd.date_range("2020-01-01", periods=20, freq="h"), "three different dates, got 1"),
        (pd.bdate_range("2020", periods=9)[::-1], "increase"),
        (pd.DatetimeIndex(["2020-01-01", "2020-01-01", "2020-01-02", "2020-01-03"]), "increase"),
        (pd.DatetimeIndex(["2020-01-01", None, "2020-01-02", "2020-01-03"]), "increase"),
    ],
)
def test_dates_that_cannot_be_counted_are_refused(index, words):
    with pytest.raises(DataError, match=words):
        measures.periods_per_year(index)


@pytest.mark.parametrize("bad", [[], [0.1, np.nan], [-1.5], [[0.1], [0.2]]])
def test_series_that_are_no_returns_are_refused(bad):
    with pytest.raises(DataError, match="returns must be"):
        measures.annualized_return(bad)
    with pytest.raises(DataError, match="at least 2"):
        measures.sharpe_ratio([0.1])
