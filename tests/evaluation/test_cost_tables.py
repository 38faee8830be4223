"""Costs of walked tracks: nothing is fitted again, and every number is that of a walk at the rate."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.costs import TradingCosts
from eigenfolio.data import plan_decisions
from eigenfolio.errors import DataError
from eigenfolio.evaluation import performance_table, walk_forward
from eigenfolio.evaluation.cost_tables import break_even_table, charged, cost_table, reheld, trades_of, usual_day
from eigenfolio.models import EqualWeight, InverseVolatility, SampleCovariance

MODELS = {"even": EqualWeight(), "inverse": InverseVolatility(lookback=40), "sample": SampleCovariance(lookback=40)}


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2015-01-01", periods=260)
    table = pd.DataFrame(0.02 * rng.standard_normal((260, 4)), index=index, columns=list("ABCD"))
    table.iloc[100:110, 2] = np.nan
    return table


def walked(returns, cost_bps):
    decisions = plan_decisions(returns.index, min_history=60)
    return walk_forward(MODELS, returns, decisions, books={"long-only": LONG_ONLY}, cost_bps=cost_bps)


def test_the_table_of_rates_is_that_of_walks_at_each_rate(returns):
    table = cost_table(walked(returns, 10.0)).set_index(["cost_bps", "model"])
    for rate in (0.0, 5.0, 10.0, 25.0):
        expected = performance_table(walked(returns, rate)).droplevel("book")
        columns = ["annualized_return", "annualized_volatility", "sharpe_ratio", "annualized_cost"]
        assert_frame_equal(table.loc[rate][columns], expected[columns], check_names=False, rtol=1e-12)


def test_trades_by_asset_sum_to_the_turnover_of_the_walk(returns):
    result = walked(returns, 10.0)
    for track in result.tracks.values():
        traded = trades_of(track, returns, result.windows)
        assert_allclose(0.5 * traded.abs().sum(axis=1), track.turnover, atol=1e-14)
        again = charged(track, TradingCosts(commission_bps=10.0), trades=traded, windows=result.windows)
        assert_series_equal(again.returns, track.returns, atol=1e-15)


def test_at_the_break_even_rate_both_of_a_pair_earn_the_same(returns):
    result = walked(returns, 0.0)
    table = break_even_table(result)
    assert len(table) == 3
    found = table[table["finding"] == "below"]
    assert len(found)
    for row in found.itertuples():
        again = walked(returns, row.break_even_bps)
        sums = {model: float(track.returns.sum()) for (model, _), track in again.tracks.items()}
        assert_allclose(sums[row.busier], sums[row.calmer], atol=1e-12)
    never = table[table["finding"] == "never"]
    assert (never["gross_advantage"] <= 0.0).all()
    assert never["break_even_bps"].isna().all()


def test_a_day_is_as_usual_by_what_was_known_at_the_decision(returns):
    value = 1e6 * (1.0 + returns.abs().fillna(0.0))
    dates = returns.index[[70, 150]]
    seen, volatility = usual_day(returns, value, dates)
    assert_allclose(seen.loc[dates[0], "A"], np.median(value["A"].iloc[50:71]))
    assert_allclose(volatility.loc[dates[1], "B"], returns["B"].iloc[130:151].std())
    later = value.copy()
    later.iloc[151:] *= 100.0
    assert_frame_equal(usual_day(returns, later, dates)[0], seen)
    with pytest.raises(DataError, match="dates and assets"):
        usual_day(returns, value[["A"]], dates)


def test_impact_grows_with_the_root_of_the_capital_and_names_the_date_without_volume(returns):
    result = walked(returns, 10.0)
    track = result.tracks["even", "own"]
    traded = trades_of(track, returns, result.windows)
    value, volatility = usual_day(returns, 1e8 + 0.0 * returns.fillna(0.0), track.weights.index)

    def impact(capital):
        costs = TradingCosts(commission_bps=0.0, impact=1.0, capital=capital)
        return charged(
            track, costs, trades=traded, windows=result.windows, value_traded=value, volatility=volatility
        ).cost

    assert_allclose(impact(4e6), 2.0 * impact(1e6))
    # The entry by hand: a quarter in each of four assets.
    by_hand = sum(0.25 * s * np.sqrt(1e6 * 0.25 / 1e8) for s in volatility.iloc[0])
    assert_allclose(impact(1e6).iloc[0], by_hand)
    value.loc[value.index[1], "B"] = np.nan
    with pytest.raises(DataError, match=f"{value.index[1]:%Y-%m-%d}"):
        impact(1e6)


def test_held_again_through_the_same_returns_a_track_is_itself(returns):
    result = walked(returns, 10.0)
    for track in result.tracks.values():
        again = reheld(track, returns, result.windows, cost_bps=10.0)
        assert_allclose(again.returns, track.returns, atol=1e-15)
        assert_allclose(again.turnover, track.turnover, atol=1e-15)
    with pytest.raises(DataError, match="every day and every asset"):
        reheld(track, returns.iloc[:100], result.windows, cost_bps=10.0)
