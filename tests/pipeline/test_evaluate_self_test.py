"""The chain on markets whose truth is known: small ones here, and the models that only such markets have."""

import importlib
import json
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main
from eigenfolio.data import plan_decisions
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.chain_calibration import calibration_table
from eigenfolio.evaluation.walk_forward import walk_forward
from eigenfolio.features import AssetGraph
from eigenfolio.measures import sharpe_ratio
from eigenfolio.pipeline.evaluate_self_test import CELL, PRESETS, evaluate_self_test, self_test_options
from eigenfolio.pipeline.self_test_draws import PEEKING, SelfTestOptions, null_draw, periods_to_learn_from, signal_draw
from eigenfolio.pipeline.self_test_models import (
    Foreseen,
    KnownCovariance,
    LinearPortfolio,
    fit_ridge,
    linear_inputs,
    path_sharpe,
)

JOB = importlib.import_module("eigenfolio.pipeline.evaluate_self_test")

TINY = SelfTestOptions(
    null_draws=2,
    band=5.0,
    n_assets=8,
    lookback=60,
    taught_rows=160,
    judged_rows=105,
    coefficients=(0.5,),
    plant_draws=2,
    plant_rows=240,
    covariance_draws=2,
    max_epochs=2,
)


@contextmanager
def silent(name, total):
    yield lambda: None


@pytest.fixture(scope="module")
def source():
    return factor_market(8, 460, seed=3).panel.returns


@pytest.fixture(scope="module")
def tested(source):
    return evaluate_self_test(TINY, source=source, progress=silent)


def daily(returns, *, every=1, rows=200):
    return periods_to_learn_from(returns.iloc[:rows], "mst", 60, every=every)


def test_every_law_pair_coefficient_and_population_is_there(tested):
    assert tested.nulls.groupby("law").size().to_dict() == {"normal": 8, "drift": 8, "garch": 8, "real": 8}
    assert tested.cheats["model"].tolist() == [PEEKING] * 4
    assert tested.nulls["draws"].eq(2).all()
    assert len(tested.signals) == 5
    assert tested.covariances.groupby(["population", "book"]).size().tolist() == [6] * 4


def test_no_covariance_is_calmer_than_the_oracle(tested):
    assert (tested.covariances["score"] <= tested.covariances["oracle"] + 1e-9).all()
    assert (tested.covariances["share"] < 1.0).all()


@pytest.mark.slow
def test_the_result_does_not_hang_on_the_number_of_workers(tested, source):
    two = evaluate_self_test(TINY, source=source, n_jobs=2, progress=silent)
    for name in ("nulls", "cheats", "signals", "covariances"):
        pd.testing.assert_frame_equal(getattr(tested, name), getattr(two, name), check_exact=True)


def test_another_seed_draws_other_markets_and_a_draw_does_not_hang_on_how_many_there_are(source):
    first = null_draw(TINY, "real", 1, source)
    assert null_draw(TINY.model_copy(update={"null_draws": 9}), "real", 1, source) == first
    assert null_draw(TINY.model_copy(update={"seed": 1}), "real", 1, source) != first


def test_a_model_that_peeks_one_day_is_found_and_would_fail_as_an_honest_one(source):
    options = TINY.model_copy(update={"n_assets": 24, "judged_rows": 504, "max_epochs": 1})
    rows = [row for draw in range(4) for row in null_draw(options, "normal", draw, source)]
    found = calibration_table(pd.DataFrame(rows), by=CELL, band=0.3).set_index("model")
    assert found.loc[PEEKING, "low"] > 0.3
    assert found.loc[PEEKING, "uniform_p_holm"] < 0.01
    assert not found.loc[PEEKING, "passed"]
    assert found.loc["Inverse volatility", "passed"]


def test_what_does_not_hold_is_said_and_fails(tested):
    nulls = tested.nulls.assign(in_band=[False] + [True] * 31, passed=[False] + [True] * 31)
    told = JOB.EvaluateSelfTest(TINY, nulls, tested.cheats, tested.signals, tested.covariances)
    assert not told.passed
    assert "leaves the band" in told.failures[0]
    assert "NOT OK" in "\n".join(told.lines())


def test_a_cheat_that_is_missed_an_oracle_that_is_beaten_and_a_signal_that_is_not_found_fail(tested):
    cheats = tested.cheats.assign(found=False)
    signals = tested.signals.assign(low=[-0.1, 0.5, 0.5, 1.1, 0.0])
    covariances = tested.covariances.assign(low=0.5, share=[1.1] + [0.9] * 23)
    told = JOB.EvaluateSelfTest(TINY, tested.nulls.iloc[:0], cheats, signals, covariances).failures
    assert sum("not found" in words for words in told) == 4
    assert "Graph attention at a coefficient of 0.5 does not find the signal" in told
    assert "Ridge regression with neighbours at a coefficient of 0.5 earns more than the oracle" in told
    assert sum("calmer than the oracle" in words for words in told) == 1
    assert len(told) == 7


def test_a_strong_signal_is_worth_the_same_to_ridge_as_to_the_oracle_only_with_neighbours():
    options = TINY.model_copy(update={"n_assets": 24, "plant_rows": 400, "max_epochs": 1})
    (row,) = signal_draw(options, 0.7, 0)
    assert 0.6 * row["Oracle"] < row["Ridge regression with neighbours"] < 1.1 * row["Oracle"]
    assert row["Ridge regression"] < 0.3 * row["Oracle"]


def test_foresight_reads_the_row_that_is_earned_first(source):
    winners = source.where(source.eq(source.max(axis=1), axis=0), 0.0).astype(bool).astype(float)
    decisions = plan_decisions(pd.DatetimeIndex(source.index), rebalance=7, lag=1, min_history=100)
    result = walk_forward({"told": Foreseen(winners, ahead=2, size=100.0)}, source, decisions, books={}, cost_bps=0.0)
    track = result.tracks["told", "own"].gross_returns
    first = [source.index[decision.start] for decision in decisions]
    np.testing.assert_allclose(track[first], source.max(axis=1)[first], atol=1e-12)


def test_foresight_beyond_the_table_is_refused(source):
    with pytest.raises(DataError, match="no row 2 after"):
        Foreseen(source, ahead=2).fit(source)
    with pytest.raises(DataError, match="needs table="):
        Foreseen().fit(source)


def test_a_known_covariance_is_looked_up_by_name(source):
    truth = source.cov()
    known = KnownCovariance(truth).fit(source[["A003", "A001"]])
    assert known.covariance_.tolist() == truth.loc[["A003", "A001"], ["A003", "A001"]].to_numpy().tolist()
    with pytest.raises(DataError, match="needs truth="):
        KnownCovariance().fit(source)


def test_neighbours_are_averaged_as_one_by_one():
    features = np.random.default_rng(0).standard_normal((5, 3))
    edges = np.array([[0, 0, 2], [1, 3, 3]])
    near = {0: [1, 3], 1: [0], 2: [3], 3: [0, 2], 4: []}
    inputs = linear_inputs(features, AssetGraph(5, edges, np.ones((3, 3))), neighbours=True)
    for asset, others in near.items():
        mean = features[others].mean(axis=0) if others else np.zeros(3)
        np.testing.assert_allclose(inputs[asset], [*features[asset], *mean])


def test_ridge_is_the_textbook_formula_and_does_not_look_at_the_later_periods(source):
    taught, stopping = daily(source)
    options = TINY.training
    found = fit_ridge(taught, stopping, graph="mst", neighbours=False, options=options)
    Z = np.vstack([period.features for period in taught])
    y = np.concatenate([period.growth[-1] - period.growth[-1].mean() for period in taught])
    slow = [np.linalg.solve(Z.T @ Z + a * np.eye(10), Z.T @ y) for a in np.logspace(-2, 4, 13)]
    shapes = [one / (Z @ one).std() for one in slow]
    assert min(np.abs(found.coefficients - one).max() for one in shapes) < 1e-9
    other = fit_ridge(taught, stopping[::-1], graph="mst", neighbours=False, options=options)
    np.testing.assert_array_equal(found.coefficients, other.coefficients)


def test_the_path_of_books_is_that_of_the_walk_forward(source):
    first, later = (part for part in daily(source, every=5))
    ridge = fit_ridge(first, later, graph="mst", neighbours=True, options=TINY.training)
    plan = plan_decisions(pd.DatetimeIndex(source.index[:200]), rebalance=5, lag=1, min_history=61)[-len(later) :]
    result = walk_forward({"ridge": ridge}, source.iloc[:200], plan, books={}, cost_bps=7.0)
    track = result.tracks["ridge", "own"]
    slow = sharpe_ratio(track.returns.to_numpy()) / np.sqrt(252)
    n_rows = len(track.returns)
    fast = path_sharpe(list(track.weights.to_numpy()), later, cost_bps=7.0)
    assert fast * np.sqrt((n_rows - 1) / n_rows) == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("every", [1, 5])
def test_what_is_taught_ends_before_what_stops_begins_and_all_before_the_judged_rows(source, every):
    taught, stopping = daily(source, every=every)
    assert taught[-1].last <= stopping[0].date
    assert stopping[-1].last <= source.index[199]


def test_a_linear_portfolio_knows_nothing_of_later_rows(source):
    model = LinearPortfolio(np.arange(20.0) / 20, neighbours=True, max_weight=0.4)
    past = source.iloc[:300]
    decided = model.fit(past).weights_
    assert decided.sum() == pytest.approx(1.0)
    assert decided.max() <= 0.4 + 1e-12
    np.testing.assert_array_equal(decided, LinearPortfolio(**model.get_params()).fit(past.copy()).weights_)


def test_a_model_that_fails_is_a_bug_and_not_a_result(source, monkeypatch):
    draws = importlib.import_module("eigenfolio.pipeline.self_test_draws")
    monkeypatch.setattr(draws, "_risk_models", lambda options: {"broken": LinearPortfolio(np.zeros(3))})
    monkeypatch.setattr(draws, "_taught_on_null", lambda *arguments: {})
    with pytest.raises(RuntimeError, match="broken failed on"):
        null_draw(TINY, "normal", 0, source)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a panel or --self-test"),
        (("sp500", "--self-test"), "a panel or --self-test"),
        (("sp500", "--preset", "quick"), "--preset belongs to --self-test"),
        (("--self-test", "--preset", "slow"), "--preset must be one of quick, full"),
        (("--self-test", "--reference", "Sample"), "draws its own markets"),
        (("--self-test", "--protocol", "randomized"), "draws its own markets"),
    ],
)
def test_the_command_takes_a_panel_or_the_self_test(monkeypatch, capsys, arguments, words):
    code, _, err = call(monkeypatch, capsys, "evaluate", *arguments)
    assert code == 2
    assert words in err


def test_the_command_prints_json_and_fails_where_the_calibration_does(monkeypatch, capsys, tested):
    monkeypatch.setattr(JOB, "evaluate_self_test", lambda *args, **options: tested)
    monkeypatch.setattr(JOB, "embedded_source", lambda: None)
    code, out, _ = call(monkeypatch, capsys, "evaluate", "--self-test", "--json")
    told = json.loads(out)
    assert told["options"] == TINY.model_dump(mode="json")
    assert (code, told["passed"]) == (0 if tested.passed else 1, tested.passed)
    broken = JOB.EvaluateSelfTest(
        TINY, tested.nulls, tested.cheats.assign(found=False), tested.signals, tested.covariances
    )
    monkeypatch.setattr(JOB, "evaluate_self_test", lambda *args, **options: broken)
    code, out, _ = call(monkeypatch, capsys, "evaluate", "--self-test")
    assert code == 1
    assert "Peeking one day against Equal weight: not found" in out


def test_presets_have_their_seed_replaced():
    assert self_test_options("quick").seed == PRESETS["quick"].seed == 0
    assert self_test_options("full", seed=5) == SelfTestOptions(seed=5)
    with pytest.raises(ParameterError, match="seed must be 0 or more"):
        self_test_options("quick", seed=-1)


@pytest.mark.slow
def test_the_quick_preset_holds(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "evaluate", "--self-test", "--jobs", 2, "--json")
    assert code == 0
    assert json.loads(out)["failures"] == []
