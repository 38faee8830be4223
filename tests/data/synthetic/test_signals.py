"""Planted signals have exactly the stated strength, oracles the stated scores, and null markets nothing."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.data.synthetic import (
    factor_market,
    lead_lag_market,
    momentum_market,
    null_market,
    regime_momentum_market,
)
from eigenfolio.errors import ParameterError

GRAPH = [[0, 0, 1, 2, 5, 3, 4], [1, 2, 2, 3, 3, 4, 0]]  # with a cycle and shared leaders; 5 leads only
LAWS = {
    "momentum": lambda seed, rows=1_500: momentum_market(12, rows, information_coefficient=0.08, seed=seed),
    "reversal": lambda seed, rows=1_500: momentum_market(
        12, rows, information_coefficient=-0.08, lookback=3, delay=1, n_factors=0, seed=seed
    ),
    "regimes": lambda seed, rows=1_500: regime_momentum_market(
        12, rows, information_coefficient=0.08, lookback=5, persistence=0.97, seed=seed
    ),
    "lead-lag": lambda seed, rows=1_500: lead_lag_market(12, rows, information_coefficient=0.15, seed=seed),
    "cycle": lambda seed, rows=1_500: lead_lag_market(
        6, rows, information_coefficient=0.3, edge_index=GRAPH, delay=1, seed=seed
    ),
}


@cache
def scores(law: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """Scores of the oracle's forecast on 20 markets, and the stated ones."""
    markets = [LAWS[law](seed) for seed in range(20)]
    measured = pd.DataFrame([vars(market.measured_score(market.expected_returns)) for market in markets])
    stated = pd.DataFrame([vars(market.oracle_score) for market in markets])
    return measured, stated


@pytest.mark.parametrize("law", LAWS)
def test_measured_scores_of_the_oracle_equal_the_stated_ones_within_three_standard_errors(law):
    measured, stated = scores(law)
    gap = measured - stated
    errors = gap.mean() / (gap.std() / np.sqrt(len(gap)))
    assert (errors.abs() < 3).all(), errors
    assert (gap.std() > 0).all()


@pytest.mark.parametrize("law", LAWS)
def test_the_stated_information_coefficient_is_the_one_asked_for(law):
    market = LAWS[law](0, 200)
    assert market.oracle_score.information_coefficient == abs(market.information_coefficient)
    assert market.information_coefficient == market.parameters["information_coefficient"]


@pytest.mark.parametrize("law", LAWS)
def test_a_long_market_has_the_stated_covariances(law):
    market = LAWS[law](1, 30_000)
    total = market.panel.returns.cov().to_numpy()
    truth = market.unconditional_covariance.to_numpy()
    assert np.linalg.norm(total - truth) / np.linalg.norm(truth) < 0.05
    surprise = (market.panel.returns - market.expected_returns).dropna().cov().to_numpy()
    truth = market.covariance_path.at(29_999)
    assert np.linalg.norm(surprise - truth) / np.linalg.norm(truth) < 0.05
    assert_allclose(market.covariance, truth)
    assert_allclose(market.covariance_path.at(0), market.unconditional_covariance)
    assert market.own_returns.var().to_numpy() == pytest.approx(np.ones(market.panel.n_assets), abs=0.08)


@pytest.mark.parametrize(("delay", "lookback"), [(1, 1), (2, 5), (4, 3)])
def test_momentum_is_the_sum_of_past_own_returns_known_delay_rows_before(delay, lookback):
    market = momentum_market(5, 60, information_coefficient=0.4, lookback=lookback, delay=delay, seed=1)
    own, expected = market.own_returns.to_numpy(), market.expected_returns / market.own_volatility
    n_unknown = lookback + delay - 1
    assert expected.iloc[:n_unknown].isna().to_numpy().all()
    for row in range(n_unknown, 60):
        past = own[row - delay - lookback + 1 : row - delay + 1].sum(axis=0)
        ratio = expected.iloc[row].to_numpy() / past
        assert_allclose(ratio, ratio[0], rtol=1e-9)  # one divisor for all assets
        assert ratio[0] > 0


def test_the_divisor_of_momentum_is_the_standard_deviation_of_the_sum():
    """lookback 1: no sum, so z is the past return itself; lookback 2, delay 1: worked by hand."""
    single = momentum_market(3, 40, information_coefficient=0.4, lookback=1, delay=2, seed=1)
    own = single.own_returns.to_numpy()
    assert_allclose((single.expected_returns / single.own_volatility).to_numpy()[2:], 0.4 * own[:-2], rtol=1e-9)
    double = momentum_market(3, 40, information_coefficient=0.4, lookback=2, delay=1, seed=1)
    own = double.own_returns.to_numpy()
    expected = (double.expected_returns / double.own_volatility).to_numpy()
    assert_allclose(expected[2], 0.4 * (own[0] + own[1]) / np.sqrt(2), rtol=1e-9)
    # cov(v2, v1) = 0.4 / sqrt(2) * (1 + 0), so var(v1 + v2) = 2 + 2 * 0.4 / sqrt(2)
    assert_allclose(expected[3], 0.4 * (own[1] + own[2]) / np.sqrt(2 + 0.8 / np.sqrt(2)), rtol=1e-9)


def test_the_regime_flips_momentum_on_the_row_of_the_decision():
    market = regime_momentum_market(4, 400, information_coefficient=0.4, lookback=3, delay=2, persistence=0.9, seed=2)
    own, signs = market.own_returns.to_numpy(), market.regimes.to_numpy()
    for row in range(4, 400):
        past = own[row - 4 : row - 1].sum(axis=0)
        assert (np.sign(market.expected_returns.iloc[row]) == signs[row - 2] * np.sign(past)).all()
    assert 0.05 < np.mean(signs[1:] != signs[:-1]) < 0.15


def test_a_forecaster_that_does_not_know_the_regime_has_no_skill():
    measured = []
    for seed in range(20):
        market = regime_momentum_market(10, 1_500, information_coefficient=0.2, lookback=3, persistence=0.9, seed=seed)
        blind = market.own_returns.rolling(3).sum().shift(2) * market.own_volatility
        measured.append(market.measured_score(blind).information_coefficient)
    assert abs(np.mean(measured)) < 3 * np.std(measured, ddof=1) / np.sqrt(20)


def test_lead_lag_follows_the_edges_and_nothing_else():
    market = lead_lag_market(6, 300, information_coefficient=0.3, edge_index=GRAPH, delay=2, seed=3)
    assert market.edge_index.tolist() == GRAPH
    assert market.predicted.tolist() == [True, True, True, True, True, False]
    own, expected = market.own_returns.to_numpy(), (market.expected_returns / market.own_volatility).to_numpy()
    for follower in range(5):
        leaders = [j for j, i in zip(*GRAPH, strict=True) if i == follower]
        ratio = expected[2:, follower] / own[:-2, leaders].sum(axis=1)
        assert_allclose(ratio, ratio[0], rtol=1e-7)
    assert (expected[2:, 5] == 0).all()
    assert_allclose(expected[2:, 1], 0.3 * own[:-2, 0], rtol=1e-7)  # one leader: the divisor is one


def test_a_drawn_graph_leads_from_one_half_to_the_other():
    market = lead_lag_market(9, 20, leaders_per_follower=3, seed=1)
    leaders, followers = market.edge_index
    assert set(leaders).isdisjoint(followers)
    assert np.bincount(followers).max() == 3
    assert len(set(followers.tolist())) == 4


def test_a_decision_with_lag_1_can_earn_the_whole_signal():
    """What is known at row t, held over row t + 2, makes the oracle's Sharpe ratio; held over t + 1 it makes less."""
    gain = {1: [], 2: []}
    for seed in range(12):
        market = momentum_market(10, 1_200, information_coefficient=0.3, lookback=1, seed=seed)
        known = market.expected_returns.shift(-market.delay)  # by the row of the decision
        for ahead, found in gain.items():
            found.append(market.measured_score(known.shift(ahead)).sharpe_ratio)
    assert np.mean(gain[2]) == pytest.approx(market.oracle_score.sharpe_ratio, rel=0.15)
    assert np.mean(gain[1]) < 0.1 * np.mean(gain[2])


@pytest.mark.parametrize("delay", [1, 2, 4])
def test_the_panel_cut_delay_rows_before_a_return_gives_its_expected_return(delay):
    market = momentum_market(4, 90, information_coefficient=0.2, delay=delay, seed=3)
    for row in (40, 89):
        known = market.panel.until(market.panel.index[row - delay])
        own = known.returns - known.market.to_numpy() @ market.loadings.to_numpy().T
        ratio = market.expected_returns.iloc[row] / own.iloc[-21:].sum()  # own volatility is in both
        assert_allclose(ratio, ratio.iloc[0], rtol=1e-7)


@pytest.mark.parametrize("method", ["rows", "signs"])
def test_a_null_market_of_a_panel_has_its_covariance_and_no_skill_for_anyone(method):
    source = factor_market(8, 1_000, seed=1, student_df=5.0)
    measured, errors = [], []
    for seed in range(20):
        market = null_market(source.panel, method=method, seed=seed)
        returns = market.panel.returns
        momentum = returns.rolling(5).mean().shift(1)
        measured.append(market.measured_score(momentum).information_coefficient)
        errors.append(returns.mean())
    assert abs(np.mean(measured)) < 3 * np.std(measured, ddof=1) / np.sqrt(20)
    rows = source.panel.returns.to_numpy()
    assert_allclose(market.covariance, rows.T @ rows / len(rows), rtol=1e-9)
    assert market.information_coefficient == 0
    assert (market.expected_returns == 0).to_numpy().all()
    assert np.abs(np.mean(errors, axis=0)).max() < 5e-4


def test_a_null_market_by_signs_keeps_the_order_of_the_sizes():
    source = factor_market(3, 200, seed=1, gaps=0.1).panel
    market = null_market(source, method="signs", seed=4)
    flips = market.panel.returns / source.returns.to_numpy()
    assert_allclose(flips.abs().to_numpy()[flips.notna()], 1.0)
    assert ((flips.max(axis=1) - flips.min(axis=1)).dropna() < 1e-6).all()  # one sign for the whole row
    assert 0.35 < (flips.max(axis=1) > 0).mean() < 0.65
    assert np.array_equal(market.panel.returns.isna(), source.returns.isna())


def test_a_null_market_of_a_covariance_is_normal_with_that_covariance():
    truth = factor_market(4, 1, seed=1).covariance
    market = null_market(truth, 40_000, seed=2, start="1800-01-01")
    assert np.linalg.norm(market.panel.returns.cov() - truth) / np.linalg.norm(truth) < 0.05
    assert market.panel.asset_names == list(truth.columns)


def test_the_oracle_of_a_null_market_is_a_coin():
    score = null_market(factor_market(4, 1).covariance, 50).oracle_score
    assert vars(score) == {
        "information_coefficient": 0.0,
        "return_information_coefficient": 0.0,
        "directional_accuracy": 0.5,
        "own_directional_accuracy": 0.5,
        "sharpe_ratio": 0.0,
    }


def test_the_sharpe_ratio_of_one_asset_is_the_one_worked_by_hand():
    """mu = IC z s, Omega = (1 - IC^2) s^2: q = IC^2 / (1 - IC^2) z^2, so E q = a and Var q = 2 a^2."""
    score = momentum_market(1, 60, information_coefficient=0.5, n_factors=0).oracle_score
    a = 0.25 / 0.75
    assert score.sharpe_ratio == pytest.approx(a / np.sqrt(a + 2 * a**2) * np.sqrt(252))
    assert score.directional_accuracy == score.own_directional_accuracy == pytest.approx(0.5 + 1 / 6)


@pytest.mark.parametrize("law", LAWS)
def test_the_same_seed_gives_the_same_bits(law):
    first, again, other = (LAWS[law](seed, 120) for seed in (1, 1, 2))
    assert first.panel.fingerprint == again.panel.fingerprint != other.panel.fingerprint
    pd.testing.assert_frame_equal(first.expected_returns, again.expected_returns)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: momentum_market(0, 100),
        lambda: momentum_market(5, 22, lookback=21, delay=2),
        lambda: momentum_market(5, 100, delay=0),
        lambda: momentum_market(5, 100, information_coefficient=1.0),
        lambda: regime_momentum_market(5, 100, persistence=1.0),
        lambda: lead_lag_market(1, 100),
        lambda: lead_lag_market(5, 100, leaders_per_follower=4),
        lambda: lead_lag_market(5, 100, edge_index=[[0], [5]]),
        lambda: lead_lag_market(5, 100, edge_index=[[0, 0], [1, 1]]),
        lambda: lead_lag_market(5, 100, edge_index=[[0.5], [1.0]]),
        lambda: null_market(factor_market(3, 50).covariance),
        lambda: null_market(factor_market(3, 50).covariance, 10, method="signs"),
        lambda: null_market(factor_market(3, 50).panel, 10, method="signs"),
        lambda: null_market(factor_market(3, 50).panel, method="wild"),
    ],
)
def test_impossible_options_are_refused(draw):
    with pytest.raises(ParameterError):
        draw()


def test_a_forecast_with_other_labels_is_refused():
    market = momentum_market(3, 60)
    with pytest.raises(ParameterError, match="dates and assets"):
        market.measured_score(market.expected_returns.iloc[1:])
    with pytest.raises(ParameterError, match="one row"):
        market.measured_score(market.expected_returns * np.nan)
