"""What a model decided along a panel, and why, as tables and a page."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from random_attention import random_attention_bundle

from eigenfolio import NeuralShrinkage, cli
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import ParameterError
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.models import LedoitWolf, SampleCovariance
from eigenfolio.panel import Panel
from eigenfolio.pipeline.decision_path import decision_path
from eigenfolio.pipeline.interpretation import interpret

ROWS = [300, 400, 450, 519]


@contextmanager
def silent(name, total):
    yield lambda: None


@pytest.fixture(scope="module")
def panel():
    return factor_market(6, 520, seed=1).panel


@pytest.fixture(scope="module")
def model():
    return NeuralShrinkage("synthetic", lookback=200)


@pytest.fixture(scope="module")
def explained(model, panel):
    return interpret(model, panel, name="a market", n_explained=5, n_repeats=2, progress=silent)


def test_every_row_of_a_path_is_a_fit_on_the_rows_up_to_it(model, panel):
    path = decision_path(model, panel, ROWS, n_shares=4)
    for row in ROWS:
        fitted = NeuralShrinkage("synthetic", lookback=200).fit(panel.returns.iloc[: row + 1])
        told = path.table.loc[panel.index[row]]
        assert told["shrinkage"] == fitted.shrinkage_
        assert told["condition_number"] == pytest.approx(fitted.condition_number_, rel=1e-9)
        before, after = fitted.block_shrinkage_.T
        curve = path.curves.loc[panel.index[row]]
        assert curve.iloc[[0, -1]].tolist() == pytest.approx(np.log(after / after.mean() / before)[[0, -1]].tolist())


def test_the_null_space_has_no_place_on_a_curve():
    """With more assets than rows the last eigenvalue stands for many, and counts as many in the mean."""
    panel = factor_market(40, 300, seed=2).panel
    model = NeuralShrinkage("synthetic", lookback=25)
    before, after = NeuralShrinkage("synthetic", lookback=25).fit(panel.returns).block_shrinkage_.T
    level = (after[:-1].sum() + (40 - len(after) + 1) * after[-1]) / 40
    (curve,) = decision_path(model, panel, [299], n_shares=2).curves.to_numpy()
    assert curve.tolist() == pytest.approx(np.log(after / level / before)[[0, -2]].tolist())


def test_nothing_on_a_path_changes_when_later_rows_do(model, panel):
    returns = panel.returns.copy()
    returns.iloc[451:] = -3.0 * returns.iloc[451:]
    panels = [Panel.from_returns(given) for given in (panel.returns, returns)]
    kept = [decision_path(model, p, ROWS[:3]) for p in panels]
    pd.testing.assert_frame_equal(kept[0].table, kept[1].table)
    pd.testing.assert_frame_equal(kept[0].curves, kept[1].curves)


def test_curves_by_regime_are_medians_with_their_number_of_dates(model, panel):
    path = decision_path(model, panel, range(260, 520, 20), n_shares=3)
    medians = path.curves_by_regime()
    for regime, n_dates in medians.index:
        own = path.curves[path.table["regime"] == regime]
        assert n_dates == len(own)
        np.testing.assert_allclose(medians.loc[(regime, n_dates)], own.median())


def test_any_covariance_estimator_has_a_path_and_one_without_a_spectrum_has_no_curves(panel):
    path = decision_path(LedoitWolf(lookback=200), panel, ROWS[:2])
    assert path.curves.empty
    assert path.curves_by_regime().empty
    assert path.table["shrinkage"].between(0.0, 1.0).all()
    assert "shrinkage" not in decision_path(SampleCovariance(lookback=200), panel, ROWS[:2]).table


def test_a_path_of_weights_that_have_seen_later_rows_says_so(panel):
    path = decision_path(NeuralShrinkage("2020", lookback=200), panel, ROWS[:2])
    assert path.table["in_sample"].all()
    assert path.table["trained_through"].tolist() == ["2020-12-31"] * 2
    assert not decision_path(NeuralShrinkage("synthetic", lookback=200), panel, ROWS[:2]).table["in_sample"].any()


def test_rows_out_of_order_are_refused(model, panel):
    with pytest.raises(ParameterError, match="in order"):
        decision_path(model, panel, [400, 300])


def test_attributions_of_the_last_decision_add_up(explained):
    for found in explained.gradients.values():
        assert found.answer - found.baseline == pytest.approx(found.values.sum() + found.gap, abs=1e-12)
        assert abs(found.gap) < 0.05 * found.values.abs().sum()
    assert explained.gradients["shrinkage"].answer == pytest.approx(explained.path.table["shrinkage"].iloc[-1])


def test_the_weights_explained_are_those_of_the_last_decision(panel):
    """Rows after the last decision may reach the date of newer weights; these decided nothing."""
    returns = panel.returns.copy()
    stop = pd.Timestamp("2016-12-31")  # a vintage is trained through it
    returns.index = pd.bdate_range(end=stop + pd.Timedelta(days=10), periods=len(returns))
    done = interpret(
        NeuralShrinkage("as_of", lookback=200), Panel.from_returns(returns), name="a market", rebalance="QS",
        n_explained=2, n_repeats=1, progress=silent,
    )  # fmt: skip
    last = done.path.table.iloc[-1]
    assert last["trained_through"] < "2016-12-31"
    assert done.gradients["shrinkage"].answer == pytest.approx(last["shrinkage"])


def test_a_lookback_longer_than_the_panel_is_said(panel, explained):
    done = interpret(
        NeuralShrinkage("synthetic", lookback=5000), panel, name="a market", n_explained=2, n_repeats=1, progress=silent
    )
    assert done.notes[0].startswith("No decision has the 5000 rows of the lookback")
    assert done.notes[0] in done.page().sections[1].sentences
    assert explained.notes == ()


def test_the_structure_is_that_of_the_shrunk_correlation(explained, panel):
    assert explained.graph.n_edges == len(explained.names) - 1 == len(explained.tree)
    assert explained.eigenvectors["share"].is_monotonic_decreasing
    assert explained.names == tuple(panel.returns.columns)


def test_the_same_seed_gives_the_same_page_and_tables(model, panel, explained, tmp_path):
    again = interpret(model, panel, name="a market", n_explained=5, n_repeats=2, progress=silent)
    folders = [done.write(tmp_path / str(i)) for i, done in enumerate((explained, again))]
    names = sorted(path.name for path in folders[0].iterdir())
    assert {"interpretation.html", "interpretation.json", "decisions.csv", "gradients_shrinkage.csv"} <= set(names)
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)


def test_an_attention_network_shows_where_it_looks(panel):
    bundle = random_attention_bundle(through="2000-01-03")
    done = interpret(NeuralShrinkage(bundle, lookback=120), panel, name="a market", progress=silent)
    assert done.gradients == {}
    assert done.attention.weights.shape[-1] == len(done.attention.tokens)
    assert any(section.heading.startswith("Attention") and not section.empty for section in done.page().sections)


def test_the_closed_form_has_nothing_to_explain(panel):
    with pytest.raises(ParameterError, match="nothing to explain"):
        interpret(NeuralShrinkage(None), panel, name="a market", progress=silent)
    assert shipped_bundle("spectral", "synthetic").network == "spectral"


def test_the_command_writes_a_page_and_says_what_changed(panel, tmp_path, monkeypatch, capsys):
    prices = tmp_path / "prices.csv"
    (100 * (1 + panel.returns).cumprod()).to_csv(prices)
    out = tmp_path / "explained"
    words = ["eigenfolio", "interpret", "--data", str(prices), "--kind", "prices", "--weights", "synthetic"]
    monkeypatch.setattr(sys, "argv", [*words, "--lookback", "200", "--out", str(out), "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0
    assert told["what_changed"][0].startswith("Between ")
    assert told == json.loads((out / "interpretation.json").read_text())
