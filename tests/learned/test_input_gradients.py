"""Gradients of graph-attention books: those of the decision itself, and of nothing later."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_gat import random_gat_bundle

from eigenfolio.artifacts import BundleSeries
from eigenfolio.errors import DataError, LookaheadError, ParameterError
from eigenfolio.learned import GraphAttentionPortfolio, NeuralShrinkage
from eigenfolio.models import LedoitWolf
from eigenfolio.models.networks.gat_derivative import book_gradient

N_ASSETS = 8


def panel(n_rows=300, seed=0):
    rng = np.random.default_rng(seed)
    values = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, N_ASSETS)))
    index = pd.bdate_range("2014-06-02", periods=n_rows)
    return pd.DataFrame(values, index=index, columns=[f"A{i}" for i in range(N_ASSETS)])


X = panel()


def twin(model, X, coefficients=None):
    """The differentiable decision at the last row."""
    fitted = model.fit(X)
    bundle, estimator = fitted.choose_bundle(X.index[-1]), fitted.covariance_estimator_
    limits = fitted._constraints(bundle)
    held = fitted._holdings(limits, np.ones(N_ASSETS, dtype=bool), X)
    return book_gradient(
        bundle.tensors,
        bundle.options["sizes"],
        X.to_numpy(),
        edge_index=fitted.graph_.edge_index,
        strengths=fitted.graph_.edge_attributes if estimator is None else None,
        **({} if estimator is None else {"lookback": estimator.lookback, "assume_centered": estimator.assume_centered}),
        constraints=limits,
        previous=None if held is None else held.weights,
        coefficients=coefficients,
    )


def nudged(model, X, row, asset, coefficients, *, step=1e-7):
    """Central difference of the decision in float64, which the next test holds equal to that of `fit`."""
    values = []
    for sign in (1.0, -1.0):
        moved = X.copy()
        moved.iloc[row, asset] += sign * step
        values.append(twin(model, moved).weights @ coefficients)
    return (values[0] - values[1]) / (2.0 * step)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_weight": 0.2},
        {"max_positions": 3},
        {"max_turnover": 0.1, "previous_weights": np.full(N_ASSETS, 1 / N_ASSETS)},
        {"covariance_estimator": LedoitWolf(lookback=100, assume_centered=True)},
    ],
    ids=str,
)
def test_the_gradient_is_that_of_the_decision(options):
    model = GraphAttentionPortfolio(random_gat_bundle(graph="knn_k5", n_members=2), **options)
    bought = np.eye(N_ASSETS)[int(np.argmax(np.where((w := model.fit(X).weights_) < 0.19, w, 0.0)))]
    gradient = model.input_gradients(X, coefficients=bought)[0]
    for row, asset in [(299, 1), (298, 0), (280, 2), (220, 3), (90, 4)]:
        difference = nudged(model, X, row, asset, bought)
        assert gradient[row, asset] == pytest.approx(difference, rel=1e-4, abs=1e-6)
    assert np.abs(gradient).max() > 0.02


@pytest.mark.parametrize("graph", ["mst", "tmfg", "knn_k5"])
def test_the_differentiable_decision_is_the_one_of_fit(graph):
    model = GraphAttentionPortfolio(random_gat_bundle(graph=graph, n_members=2), max_weight=0.2)
    for seen in (X, X.iloc[:100], X.mask(np.random.default_rng(1).random(X.shape) < 0.1)):
        assert_allclose(twin(model, seen.set_axis(X.index[-len(seen) :])).weights, model.weights_, atol=2e-6)


def test_only_rows_of_the_window_move_a_decision():
    model = GraphAttentionPortfolio(random_gat_bundle())
    gradients = model.input_gradients(X, rows=[270, 299])
    assert gradients.shape == (2, 300, N_ASSETS)
    for decision, row in zip(gradients, (270, 299), strict=True):
        moved = np.flatnonzero(np.abs(decision).max(axis=1))
        assert (moved[0], moved[-1]) == (row - 251, row)
    assert_array_equal(gradients[0, :271], model.input_gradients(X.iloc[:271])[0])


def test_the_default_number_is_the_distance_to_equal_weights():
    model = GraphAttentionPortfolio(random_gat_bundle())
    weights = model.fit(X).weights_
    signs = 0.5 * np.sign(weights - 1 / N_ASSETS)
    assert signs @ (weights - 1 / N_ASSETS) == pytest.approx(model.diagnostics_["distance_to_equal"])
    assert_array_equal(model.input_gradients(X), model.input_gradients(X, coefficients=signs))


def test_missing_returns_and_inactive_assets_move_nothing():
    holey = X.copy()
    holey.iloc[-30:, 4] = np.nan
    holey.iloc[250:260, 2] = np.nan
    gradient = GraphAttentionPortfolio(random_gat_bundle()).input_gradients(holey)[0]
    assert not gradient[:, 4].any()
    assert not gradient[250:260, 2].any()
    assert gradient[260:, 2].all()


def test_an_untrained_network_depends_on_nothing():
    assert not GraphAttentionPortfolio().input_gradients(X).any()


def test_a_given_graph_keeps_its_strengths():
    table = pd.DataFrame(0.3, index=X.columns, columns=X.columns)
    model = GraphAttentionPortfolio(random_gat_bundle(graph="given"), graph=table)
    bought = np.eye(N_ASSETS)[0]
    gradient = model.input_gradients(X, coefficients=bought)[0]
    assert gradient[290, 0] == pytest.approx(nudged(model, X, 290, 0, bought), rel=1e-4, abs=1e-6)


def test_every_decision_takes_the_weights_of_its_date():
    days = ["2014-12-31", "2015-06-30"]
    series = BundleSeries(tuple(random_gat_bundle(through=day, seed=i) for i, day in enumerate(days)))
    row = int(X.index.searchsorted(pd.Timestamp("2015-06-01")))
    both = GraphAttentionPortfolio(series).input_gradients(X, rows=[row, 299])
    assert_array_equal(both[0], GraphAttentionPortfolio(series.bundles[0]).input_gradients(X, rows=[row])[0])
    assert_array_equal(both[1], GraphAttentionPortfolio(series.bundles[1]).input_gradients(X)[0])
    with pytest.raises(LookaheadError, match="earliest bundle"):
        GraphAttentionPortfolio(series).input_gradients(X, rows=[100])


def test_what_cannot_be_differentiated_is_refused():
    bundle = random_gat_bundle()
    other = GraphAttentionPortfolio(bundle, covariance_estimator=NeuralShrinkage(None, lookback=100))
    with pytest.raises(ParameterError, match="the gradient is known for graphs of LedoitWolf"):
        other.input_gradients(X)
    young = X.copy()
    young.iloc[:290, 3] = np.nan
    with pytest.raises(DataError, match="fewer than 21 returns"):
        GraphAttentionPortfolio(bundle).input_gradients(young)
    for rows in ([300], [0], []):
        with pytest.raises(ParameterError, match="rows must name decision rows"):
            GraphAttentionPortfolio(bundle).input_gradients(X, rows=rows)
    with pytest.raises(ParameterError, match="coefficients must be 8 finite numbers"):
        GraphAttentionPortfolio(bundle).input_gradients(X, coefficients=[1.0])
