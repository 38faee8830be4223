"""Measures against values worked by hand and against skfolio's Portfolio."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from skfolio import Portfolio

from eigenfolio import measures
from eigenfolio.errors import DataError


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


@pytest.mark.parametrize("bad", [[], [0.1, np.nan], [-1.5], [[0.1], [0.2]]])
def test_series_that_are_no_returns_are_refused(bad):
    with pytest.raises(DataError, match="returns must be"):
        measures.annualized_return(bad)
    with pytest.raises(DataError, match="at least 2"):
        measures.sharpe_ratio([0.1])
