"""Edges, intervals, uniformity and shares, each beside its slow twin."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.chain_calibration import (
    calibration_table,
    mean_interval,
    measure_edge,
    share_of_oracle,
    share_table,
)
from eigenfolio.evaluation.walk_forward import Track

DAYS = pd.bdate_range("2020-01-01", periods=500)


def track(gross, cost=0.0):
    """A track that pays `cost` on its first row."""
    net = gross.copy()
    net[0] -= cost
    one = pd.Series([1.0], index=DAYS[:1])
    series = (pd.Series(gross, index=DAYS), pd.Series(net, index=DAYS))
    return Track("any", "own", one.to_frame("A"), *series, one, one, cost * one)


def edges(gross, p_value, net=None):
    return pd.DataFrame({"law": "normal", "gross": gross, "net": gross if net is None else net, "p_value": p_value})


def judged(gross, p_value, *, net=None, band=0.1):
    return calibration_table(edges(gross, p_value, net), by=["law"], band=band).iloc[0]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    market = 0.01 * rng.standard_normal(500)
    return 0.7 * market + 0.003 * rng.standard_normal(500), market


def test_an_edge_is_what_is_earned_beyond_the_comparator_scaled_to_the_same_risk(pair):
    ours, theirs = (one - 3e-4 for one in pair)
    edge = measure_edge(track(pair[0]), track(pair[1]), cash=3e-4, rng=np.random.default_rng(0))
    scaled = theirs * ours.std(ddof=1) / theirs.std(ddof=1)
    slow = (ours - scaled).mean() / ours.std(ddof=1) * np.sqrt(252)
    assert edge.gross == pytest.approx(slow, rel=1e-9)


def test_costs_are_in_the_net_edge_alone(pair):
    free = measure_edge(track(pair[0]), track(pair[1]), rng=np.random.default_rng(0))
    paid = measure_edge(track(pair[0], cost=0.01), track(pair[1]), rng=np.random.default_rng(0))
    assert paid.gross == free.gross == pytest.approx(free.net)
    assert paid.p_value == free.p_value
    lost = 252**0.5 * 0.01 / 500 / pair[0].std(ddof=1)
    assert paid.net == pytest.approx(free.net - lost, abs=0.01)


def test_a_comparator_at_twice_the_leverage_is_the_same_comparator(pair):
    one = measure_edge(track(pair[0]), track(pair[1]), rng=np.random.default_rng(0))
    two = measure_edge(track(pair[0]), track(2.0 * pair[1]), rng=np.random.default_rng(0))
    assert (one.gross, one.p_value) == (pytest.approx(two.gross), two.p_value)


def test_the_interval_is_students():
    values = np.random.default_rng(1).standard_normal(9)
    slow = stats.t.interval(0.9, 8, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((values.mean(), *slow))


def test_uniformity_is_judged_by_the_largest_gap_to_the_diagonal():
    rng = np.random.default_rng(2)

    def gap(values):
        ordered = sorted(values)
        n = len(ordered)
        return max(max((i + 1) / n - value, value - i / n) for i, value in enumerate(ordered))

    p_values = rng.random(20) ** 1.3
    drawn = [gap(rng.random(20)) for _ in range(3000)]
    slow = np.mean([one >= gap(p_values) for one in drawn])
    assert judged(rng.standard_normal(20), p_values)["uniform_p"] == pytest.approx(slow, abs=0.03)


def test_a_calibrated_chain_passes_and_an_edge_does_not():
    rng = np.random.default_rng(3)
    gross, p_values = 0.2 * rng.standard_normal(200), rng.random(200)
    assert judged(gross, p_values)["passed"]
    lifted = judged(gross + 0.15, p_values)
    assert (lifted["in_band"], lifted["uniform"], lifted["passed"]) == (False, True, False)
    assert not judged(gross - 0.15, p_values)["passed"]


def test_p_values_that_are_too_small_are_seen_though_the_edge_is_none():
    rng = np.random.default_rng(4)
    found = judged(0.2 * rng.standard_normal(200), rng.random(200) ** 2)
    assert (found["in_band"], found["uniform"], found["passed"]) == (True, False, False)
    assert found["below_5"] == pytest.approx(0.05**0.5, abs=0.08)


def test_few_draws_do_not_pass_for_want_of_evidence():
    noise = 0.3 * np.random.default_rng(5).standard_normal(5)
    found = judged(noise - noise.mean(), [0.1, 0.3, 0.5, 0.7, 0.9])
    assert not found["in_band"]
    spread = found["high"] - found["low"]
    assert found["needed"] == pytest.approx((1.645 * (spread / 2 * 5**0.5 / stats.t.ppf(0.95, 4)) / 0.05) ** 2, abs=1.5)


def test_costs_may_lose_as_much_as_they_like_but_a_net_edge_is_none_too():
    rng = np.random.default_rng(6)
    gross, p_values = 0.2 * rng.standard_normal(200), rng.random(200)
    assert judged(gross, p_values, net=gross - 1.0)["passed"]
    assert not judged(gross, p_values, net=gross + 0.5)["passed"]


def test_the_level_holds_for_all_cells_together():
    rng = np.random.default_rng(7)
    table = pd.concat([edges(0.1 * rng.standard_normal(40), rng.random(40)).assign(law=str(i)) for i in range(20)])
    found = calibration_table(table, by=["law"], band=0.1)
    assert found["uniform"].all()
    assert (found["uniform_p_holm"] >= found["uniform_p"]).all()
    assert found["law"].tolist() == [str(i) for i in range(20)]


def test_the_interval_of_a_share_covers_the_truth():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(400):
        oracle = 3.0 + 0.5 * rng.standard_normal(12)
        share, low, high = share_of_oracle(0.6 * oracle + 0.4 * rng.standard_normal(12), oracle)
        assert low < share < high
        covered += low < 0.6 < high
    assert 0.86 <= covered / 400 <= 0.94


def test_a_share_of_nothing_is_refused():
    with pytest.raises(DataError, match="nothing to have a share of"):
        share_of_oracle([1.0, 2.0], [-1.0, 0.5])
    with pytest.raises(DataError, match="at least 2 draws"):
        share_of_oracle([1.0], [1.0])


def test_a_table_of_shares_holds_every_model_of_every_cell():
    scores = pd.DataFrame(
        {"ic": [0.1, 0.1, 0.3, 0.3], "Best": [1.0, 2.0, 4.0, 4.0], "A": [1.0, 2.0, 2.0, 2.0], "B": 0.0}
    )
    table = share_table(scores, by=["ic"], oracle="Best").set_index(["ic", "model"])
    assert table["share"].to_dict() == {(0.1, "A"): 1.0, (0.1, "B"): 0.0, (0.3, "A"): 0.5, (0.3, "B"): 0.0}
    assert table.loc[(0.3, "A"), ["draws", "oracle", "score", "low", "high"]].tolist() == [2, 4.0, 2.0, 0.5, 0.5]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ParameterError, match="band must be positive"):
        judged([0.0, 0.1], [0.5, 0.5], band=0.0)
    with pytest.raises(DataError, match="at least 2 finite draws"):
        judged([0.1], [0.5])
    with pytest.raises(ParameterError, match="confidence must lie"):
        mean_interval([0.0, 1.0], confidence=1.0)


def test_draws_in_which_both_held_the_same_book_are_counted_apart_and_do_not_spoil_uniformity():
    rng = np.random.default_rng(0)
    p_values = np.r_[np.ones(25), np.linspace(0.01, 0.99, 35)]
    gross = np.r_[np.zeros(25), 0.1 * rng.standard_normal(35)]
    edges = pd.DataFrame({"gross": gross, "net": -0.1, "p_value": p_values, "law": "one"})
    table = calibration_table(edges, by=["law"], band=0.1)
    assert table.loc[0, ["draws", "same"]].tolist() == [60, 25]
    assert table.loc[0, "uniform_p"] > 0.05
    alone = calibration_table(edges.iloc[:25].assign(net=0.0), by=["law"], band=0.1)
    assert alone.loc[0, ["same", "uniform_p"]].tolist() == [25, 1.0]
