"""The graph-attention portfolio: which weights it takes, what it makes of them, and what it refuses."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_gat import random_gat_bundle
from skfolio.model_selection import WalkForward, cross_val_predict
from skfolio.moments import GerberCovariance
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.artifacts import BundleSeries, load_bundle, save_bundle
from eigenfolio.errors import ArtifactError, DataError, LookaheadError, ParameterError
from eigenfolio.features import GRAPH_METHODS
from eigenfolio.learned import GraphAttentionPortfolio, GraphEnsemble, NeuralShrinkage


def panel(n_rows=300, n_assets=18, seed=0):
    rng = np.random.default_rng(seed)
    values = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2014-06-02", periods=n_rows)
    return pd.DataFrame(values, index=index, columns=[f"A{i:02d}" for i in range(n_assets)])


X = panel()


def test_untrained_it_holds_equal_weights():
    assert_allclose(GraphAttentionPortfolio().fit(X).weights_, 1 / 18)


@pytest.mark.parametrize("graph", list(GRAPH_METHODS))
def test_every_graph_method_gives_a_book_of_its_own(graph):
    model = GraphAttentionPortfolio(random_gat_bundle(graph=graph)).fit(X)
    assert model.weights_.sum() == pytest.approx(1.0)
    assert model.weights_.min() >= 0
    assert model.diagnostics_["distance_to_equal"] > 0.05
    assert model.diagnostics_["n_edges"] >= 17


def test_permuting_the_assets_permutes_the_weights():
    order = np.random.default_rng(2).permutation(18)
    model = GraphAttentionPortfolio(random_gat_bundle(graph="tmfg"))
    permuted = clone(model).fit(X.iloc[:, order]).weights_
    assert_allclose(permuted, model.fit(X).weights_[order], atol=1e-6)


def test_the_unit_of_returns_does_not_matter():
    model = GraphAttentionPortfolio(random_gat_bundle())
    assert_allclose(clone(model).fit(10 * X).weights_, model.fit(X).weights_, atol=1e-6)


def test_the_covariance_estimator_makes_the_graph():
    bundle = random_gat_bundle(graph="knn_k5")
    plain = GraphAttentionPortfolio(bundle).fit(X)
    for estimator in (GerberCovariance(), NeuralShrinkage(None, lookback=100)):
        other = GraphAttentionPortfolio(bundle, covariance_estimator=estimator).fit(X)
        assert isinstance(other.covariance_estimator_, type(estimator))
        assert not np.array_equal(other.graph_.edge_attributes, plain.graph_.edge_attributes)
    with pytest.raises(ParameterError, match="covariance_estimator"):
        GraphAttentionPortfolio(bundle, covariance_estimator=GraphEnsemble()).fit(X)


def test_weights_of_another_covariance_must_be_told_which():
    bundle = random_gat_bundle(covariance="NeuralShrinkage")
    with pytest.raises(ParameterError, match="trained on graphs of NeuralShrinkage"):
        GraphAttentionPortfolio(bundle).fit(X)
    estimator = NeuralShrinkage(None, lookback=100)
    assert GraphAttentionPortfolio(bundle, covariance_estimator=estimator).fit(X).weights_.sum() == pytest.approx(1.0)


def test_limits_hold_whatever_the_network_says():
    bundle = random_gat_bundle()
    capped = GraphAttentionPortfolio(bundle, max_weight=0.08).fit(X).weights_
    assert capped.max() <= 0.08 + 1e-12
    few = GraphAttentionPortfolio(random_gat_bundle(n_members=3), max_positions=4).fit(X).weights_
    assert (few > 0).sum() <= 4
    assert few.sum() == pytest.approx(1.0)
    previous = np.full(18, 1 / 18)
    slow = GraphAttentionPortfolio(bundle, max_turnover=0.05, previous_weights=previous).fit(X).weights_
    assert 0.5 * np.abs(slow - previous).sum() == pytest.approx(0.05)
    named = dict.fromkeys(X.columns, 1 / 18)
    again = GraphAttentionPortfolio(bundle, max_turnover=0.05, previous_weights=named).fit(X).weights_
    assert_allclose(again, slow)


def test_limits_of_the_training_hold_unless_others_are_given():
    bundle = random_gat_bundle(max_weight=0.07)
    assert GraphAttentionPortfolio(bundle).fit(X).weights_.max() <= 0.07 + 1e-12
    assert GraphAttentionPortfolio(bundle, max_weight=0.5).fit(X).weights_.max() > 0.07


def test_it_takes_the_newest_bundle_that_has_seen_nothing_later():
    days = ["2014-12-31", "2015-06-30"]
    series = BundleSeries(tuple(random_gat_bundle(through=day, seed=i) for i, day in enumerate(days)))
    model = GraphAttentionPortfolio(series)
    assert model.fit(X).trained_through_ == pd.Timestamp("2015-06-30")
    assert model.fit(X.loc[:"2015-06-29"]).trained_through_ == pd.Timestamp("2014-12-31")
    with pytest.raises(LookaheadError, match="earliest bundle"):
        model.fit(X.iloc[:100])
    with pytest.raises(LookaheadError, match="no dates"):
        model.fit(X.to_numpy())
    undated = GraphAttentionPortfolio(series, undated="newest").fit(X.to_numpy())
    assert undated.trained_through_ == pd.Timestamp("2015-06-30")


def test_saved_and_loaded_it_decides_the_same(tmp_path):
    bundle = random_gat_bundle(n_members=2)
    save_bundle(bundle, tmp_path / "2014-12-31")
    expected = GraphAttentionPortfolio(bundle).fit(X).weights_
    assert_array_equal(GraphAttentionPortfolio(load_bundle(tmp_path / "2014-12-31")).fit(X).weights_, expected)
    assert_array_equal(GraphAttentionPortfolio(tmp_path).fit(X).weights_, expected)


def test_the_mean_of_the_members_is_held_and_their_spread_told():
    model = GraphAttentionPortfolio(random_gat_bundle(n_members=3)).fit(X)
    alone = [GraphAttentionPortfolio(random_gat_bundle(n_members=i + 1)).fit(X).weights_ * (i + 1) for i in range(3)]
    assert_allclose(model.weights_, alone[2] / 3, atol=1e-12)
    assert model.scores_.shape == (3, 18)
    assert model.diagnostics_["member_spread"] > 0.01


def test_weights_of_another_graph_family_or_features_are_refused():
    bundle = random_gat_bundle(graph="mst")
    with pytest.raises(ArtifactError, match="trained on graph 'mst'"):
        GraphAttentionPortfolio(bundle, graph="tmfg").fit(X)
    with pytest.raises(ParameterError, match="graph must be one of"):
        GraphAttentionPortfolio(graph="ring").fit(X)
    with pytest.raises(ArtifactError, match="family 'hrp'"):
        GraphAttentionPortfolio(replace(bundle, family="hrp")).fit(X)
    with pytest.raises(ArtifactError, match="node features"):
        GraphAttentionPortfolio(replace(bundle, feature_names=bundle.feature_names[::-1])).fit(X)
    with pytest.raises(ParameterError, match="weights must be"):
        GraphAttentionPortfolio(3).fit(X)


def test_a_known_graph_is_read_by_name():
    table = pd.DataFrame(0.0, index=X.columns, columns=X.columns)
    table.loc["A00", "A17"] = table.loc["A17", "A00"] = -0.5
    bundle = random_gat_bundle(graph="given")
    model = GraphAttentionPortfolio(bundle, graph=table.iloc[::-1, ::-1]).fit(X)
    assert model.graph_.edge_index.tolist() == [[0], [17]]
    assert model.graph_.edge_attributes.tolist() == [[-0.5, 0.5, -1.0]]
    with pytest.raises(DataError, match="lacks 1 assets of X: A03"):
        GraphAttentionPortfolio(bundle, graph=table.drop(index="A03")).fit(X)
    with pytest.raises(ParameterError, match="symmetric"):
        GraphAttentionPortfolio(bundle, graph=table + np.triu(np.full((18, 18), 0.1))).fit(X)
    with pytest.raises(ParameterError, match="give it as graph="):
        GraphAttentionPortfolio(bundle).fit(X)


def test_inactive_assets_get_nothing():
    gone = X.copy()
    gone.iloc[-30:, 4] = np.nan
    model = GraphAttentionPortfolio(random_gat_bundle()).fit(gone)
    assert model.weights_[4] == 0.0
    assert np.isnan(model.scores_[0, 4])
    assert model.graph_.n_assets == 17
    without = GraphAttentionPortfolio(random_gat_bundle()).fit(X.drop(columns="A04")).weights_
    assert_allclose(np.delete(model.weights_, 4), without, atol=1e-6)


def test_skfolio_evaluates_it_like_any_other():
    model = GraphAttentionPortfolio(random_gat_bundle(), portfolio_params={"name": "gat"})
    predicted = cross_val_predict(model, X, cv=WalkForward(train_size=200, test_size=40, purged_size=1))
    assert len(predicted) == 2
    assert np.isfinite(predicted.returns).all()


def test_an_ensemble_holds_the_mean_of_its_books():
    members = [(g, GraphAttentionPortfolio(random_gat_bundle(graph=g, seed=i))) for i, g in enumerate(["mst", "tmfg"])]
    model = GraphEnsemble(members).fit(X)
    assert_allclose(model.weights_, np.mean([clone(m).fit(X).weights_ for _, m in members], axis=0))
    assert model.diagnostics_["spread"] > 0.01
    previous = np.full(18, 1 / 18)
    limited = [(name, clone(m).set_params(max_turnover=0.05)) for name, m in members]
    slow = GraphEnsemble(limited, previous_weights=previous).fit(X).weights_
    assert 0.5 * np.abs(slow - previous).sum() <= 0.05 + 1e-12
    with pytest.raises(ParameterError, match="at least one portfolio"):
        GraphEnsemble().fit(X)


def test_a_limit_on_turnover_of_the_training_asks_for_previous_weights():
    limited = random_gat_bundle(max_turnover=0.05)
    assert GraphAttentionPortfolio(limited).needs_previous_weights
    assert GraphAttentionPortfolio(random_gat_bundle(), max_turnover=0.05).needs_previous_weights
    assert not GraphAttentionPortfolio(random_gat_bundle()).needs_previous_weights
    assert not GraphAttentionPortfolio("no such folder").needs_previous_weights
    ensemble = GraphEnsemble([("mst", GraphAttentionPortfolio(limited)), ("free", GraphAttentionPortfolio())])
    assert ensemble.needs_previous_weights
    assert not GraphEnsemble([("free", GraphAttentionPortfolio())]).needs_previous_weights


@pytest.mark.parametrize("wrapped", [False, True])
def test_skfolio_hands_the_drifted_weights_on_under_a_limit(wrapped):
    model = GraphAttentionPortfolio(random_gat_bundle(n_members=2, max_turnover=0.04))
    if wrapped:
        model = GraphEnsemble(
            [("a", model), ("b", clone(model).set_params(weights=random_gat_bundle(max_turnover=0.04)))]
        )
    predicted = cross_val_predict(
        model, X, cv=WalkForward(train_size=160, test_size=35), portfolio_params={"weight_drift": True}
    )
    books = list(predicted)
    assert len(books) == 4
    for before, after in pairwise(books):
        assert 0.5 * np.abs(after.weights - before.ending_weights).sum() <= 0.04 + 1e-9


def test_what_must_be_sold_counts_toward_the_limit():
    gone = X.copy()
    gone.iloc[-30:, 4] = np.nan
    previous = dict.fromkeys(X.columns, 0.9 / 18) | {"elsewhere": 0.1}
    model = GraphAttentionPortfolio(random_gat_bundle(), max_turnover=0.2, previous_weights=previous).fit(gone)
    traded = 0.5 * (np.abs(model.weights_ - 0.9 / 18).sum() + 0.1)
    assert traded == pytest.approx(0.2)
    assert model.diagnostics_["turnover"] == pytest.approx(traded)
    forced = clone(model).set_params(max_turnover=0.01).fit(gone)
    assert forced.diagnostics_["turnover"] == pytest.approx(0.15)  # 0.1 elsewhere and 0.05 of A04, bought again
    assert forced.diagnostics_["turnover_limit"] == pytest.approx(0.15)
    ensemble = GraphEnsemble([("one", clone(model)), ("two", clone(model))], previous_weights=previous).fit(gone)
    assert ensemble.diagnostics_["turnover"] == pytest.approx(0.2)
    assert ensemble.diagnostics_["turnover_limit"] == pytest.approx(0.2)


def test_a_clone_shares_the_bundle():
    model = GraphAttentionPortfolio(random_gat_bundle())
    assert clone(model).weights is model.weights


def test_importing_it_loads_no_torch():
    told = "import sys, eigenfolio.learned; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told]).returncode == 0


@pytest.mark.parametrize("model", [GraphAttentionPortfolio(), GraphEnsemble([("mst", GraphAttentionPortfolio())])])
def test_scikit_learns_checks_find_only_what_skfolio_causes(model):
    caused = {"check_fit_score_takes_y", "check_methods_sample_order_invariance", "check_fit2d_predict1d"}
    checks = check_estimator(model, on_fail=None, on_skip=None)
    assert {check["check_name"] for check in checks if check["status"] == "failed"} <= caused
