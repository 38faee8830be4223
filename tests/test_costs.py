"""Drift, turnover and cost against values worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from eigenfolio.costs import TradingCosts, drift, hold, impact_cost, proportional_cost, turnover
from eigenfolio.errors import DataError, ParameterError


def naive_hold(weights, returns):
    """Currency amounts, one day and one asset at a time."""
    amounts, cash = list(weights), 1.0 - sum(weights)
    path = []
    for row in returns:
        before = sum(amounts) + cash
        amounts = [a * (1.0 + (0.0 if np.isnan(r) else r)) for a, r in zip(amounts, row, strict=True)]
        path.append((sum(amounts) + cash) / before - 1.0)
    wealth = sum(amounts) + cash
    return path, [a / wealth for a in amounts]


def test_two_days_by_hand():
    # 60/40: day 1 A +10 %, B -10 %: 0.66 + 0.36 = 1.02. Day 2 A 0 %, B +50 %: 0.66 + 0.54 = 1.20.
    path, ending = hold([0.6, 0.4], [[0.1, -0.1], [0.0, 0.5]])
    assert_allclose(path, [0.02, 1.20 / 1.02 - 1.0])
    assert_allclose(ending, [0.55, 0.45])


def test_cash_earns_nothing_and_a_missing_return_is_zero():
    path, ending = hold([0.5, 0.25], [[np.nan, 1.0]])
    assert_allclose(path, [0.25])
    assert_allclose(ending, [0.4, 0.4])  # cash is the last fifth


def test_a_short_position_grows_when_its_asset_rises():
    path, ending = hold([1.5, -0.5], [[0.0, 0.2]])
    assert_allclose(path, [-0.1])
    assert_allclose(ending, [1.5 / 0.9, -0.6 / 0.9])


@given(st.integers(0, 2**32 - 1))
def test_holding_equals_a_naive_ledger(seed):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(4)) * rng.uniform(0.2, 1.0)
    returns = rng.normal(0.0, 0.05, (7, 4))
    returns[rng.random((7, 4)) < 0.2] = np.nan
    path, ending = hold(weights, returns)
    naive_path, naive_ending = naive_hold(weights, returns)
    assert_allclose(path, naive_path, atol=1e-14)
    assert_allclose(ending, naive_ending, atol=1e-14)


def test_drift_day_by_day_equals_drift_in_one_step():
    rng = np.random.default_rng(3)
    returns = rng.normal(0.0, 0.03, (5, 3))
    weights = np.array([0.7, 0.5, -0.2])
    stepwise = weights
    for row in returns:
        stepwise = drift(stepwise, row)
    assert_allclose(drift(weights, returns), stepwise, atol=1e-14)


def test_a_lost_portfolio_returns_minus_one_once_and_holds_nothing():
    path, ending = hold([3.0, -2.0], [[0.0, 0.1], [-0.5, 0.0], [1.0, 0.0]])
    assert_allclose(path, [-0.2, -1.0, 0.0])  # 0.8, then 1.5 - 2.2 < 0
    assert_allclose(ending, [0.0, 0.0])


def test_no_rows_leave_the_weights_alone():
    path, ending = hold([0.3, 0.7], np.empty((0, 2)))
    assert path.size == 0
    assert_allclose(ending, [0.3, 0.7])


def test_replacing_a_whole_book_turns_over_one_and_costs_twice_the_rate():
    trades = np.array([-0.5, -0.5, 1.0])
    assert turnover(trades) == 1.0
    assert_allclose(proportional_cost(trades, cost_bps=10.0), 2 * 10.0 / 1e4 * turnover(trades))
    assert turnover([]) == proportional_cost([], cost_bps=10.0) == 0.0


def test_impossible_input_is_refused():
    with pytest.raises(DataError, match=r"\(2,\) and \(1, 3\)"):
        hold([0.5, 0.5], [[0.1, 0.1, 0.1]])
    with pytest.raises(DataError, match="finite"):
        hold([0.5, np.nan], [[0.1, 0.1]])
    with pytest.raises(DataError, match="finite"):
        hold([0.5, 0.5], [[0.1, np.inf]])
    with pytest.raises(ParameterError, match="cost_bps"):
        proportional_cost([1.0], cost_bps=-1.0)


def test_commission_slippage_and_impact_by_hand():
    # Book of 1 million. A: 20 % sold = 200,000 of 5 million a day, 4 %, 1 % volatility: 0.2 * 0.01 * 0.2 = 4e-4.
    # B: 10 % bought = 100,000 of 10 million a day, 1 %, 3 % volatility: 0.1 * 0.03 * 0.1 = 3e-4.
    costs = TradingCosts(commission_bps=10.0, slippage_bps=4.0, impact=0.5, capital=1e6)
    charge = costs.charge([-0.2, 0.1, 0.0], value_traded=[5e6, 10e6, np.nan], volatility=[0.01, 0.03, np.nan])
    assert_allclose([charge.commission, charge.slippage, charge.impact], [3e-4, 1.2e-4, 0.5 * 7e-4])
    assert_allclose(charge.total, 7.7e-4)


def test_a_drought_by_ten_raises_impact_by_the_root_of_ten_and_nothing_else():
    def charge(value):
        return TradingCosts(impact=1.0).charge([0.3, -0.3], value_traded=value, volatility=np.array([0.01, 0.02]))

    wet, dry = charge(np.array([1e8, 2e8])), charge(np.array([1e7, 2e7]))
    assert_allclose(dry.impact / wet.impact, np.sqrt(10.0))
    assert dry.commission == wet.commission


def test_without_impact_the_charge_is_the_proportional_cost():
    charge = TradingCosts(commission_bps=7.0, slippage_bps=3.0).charge([0.4, -0.1])
    assert_allclose(charge.total, proportional_cost([0.4, -0.1], cost_bps=10.0))
    assert charge.impact == 0.0


def test_impact_without_volume_is_refused_and_says_for_which_asset():
    with pytest.raises(DataError, match="no value traded; give a panel with volume"):
        TradingCosts(impact=1.0).charge([0.1])
    with pytest.raises(DataError, match="first number 1"):
        TradingCosts(impact=1.0).charge([0.1, 0.1], value_traded=[1e6, 0.0], volatility=[0.01, 0.01])
    with pytest.raises(DataError, match="shapes"):
        impact_cost([0.1, 0.1], value_traded=[1e6], volatility=[0.01], capital=1.0)
    with pytest.raises(ParameterError, match="capital"):
        TradingCosts(capital=0.0)
    with pytest.raises(ParameterError, match="slippage_bps"):
        TradingCosts(slippage_bps=-1.0)
