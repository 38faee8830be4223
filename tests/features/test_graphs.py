from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.codependence import distance_correlation, pearson_correlation, spearman_correlation
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.graphs import GRAPH_METHODS, knn_graph, minimum_spanning_tree, tmfg

STRENGTHS = {"signed": lambda rho: rho, "absolute": np.abs, "squared": np.square}


def correlations(n_assets, seed=0):
    """Three factors and noise: correlations of both signs without ties."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((300, 3)) @ rng.standard_normal((3, n_assets)) + rng.standard_normal((300, n_assets))
    return np.corrcoef(table.T)


def edges(graph):
    return set(zip(*graph.edge_index.tolist(), strict=True))


def as_networkx(graph):
    built = nx.Graph(list(edges(graph)))
    built.add_nodes_from(range(graph.n_assets))
    return built


def kruskal(strength):
    """Strongest edges first, each kept where it closes no circle."""
    kept = nx.Graph()
    kept.add_nodes_from(range(len(strength)))
    for i, j in sorted(combinations(range(len(strength)), 2), key=lambda pair: -strength[pair]):
        if not nx.has_path(kept, i, j):
            kept.add_edge(i, j)
    return {tuple(sorted(edge)) for edge in kept.edges}


def slow_tmfg(strength):
    """The published algorithm: every asset outside against every triangle, at every step."""
    above = np.where(strength > strength.mean(), strength, 0.0).sum(axis=1)
    first = [int(i) for i in np.argsort(-above)[:4]]
    kept = {tuple(sorted(pair)) for pair in combinations(first, 2)}
    triangles = list(combinations(first, 3))
    outside = [i for i in range(len(strength)) if i not in first]
    while outside:
        guest, host = max(
            ((i, triangle) for triangle in triangles for i in outside),
            key=lambda pair: sum(strength[pair[0], corner] for corner in pair[1]),
        )
        triangles.remove(host)
        triangles += [(*pair, guest) for pair in combinations(host, 2)]
        kept |= {tuple(sorted((guest, corner))) for corner in host}
        outside.remove(guest)
    return kept


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n_assets", [2, 3, 17, 40])
def test_the_spanning_tree_is_kruskals(strength, n_assets):
    matrix = correlations(n_assets, seed=n_assets)
    graph = minimum_spanning_tree(matrix, strength=strength)
    assert edges(graph) == kruskal(STRENGTHS[strength](matrix))
    assert graph.n_edges == n_assets - 1
    assert nx.is_connected(as_networkx(graph))


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("n_assets", [4, 12, 45])
def test_tmfg_equals_its_slow_twin_and_is_planar_with_3n_minus_6_edges(strength, n_assets):
    matrix = correlations(n_assets, seed=n_assets)
    graph = tmfg(matrix, strength=strength)
    assert edges(graph) == slow_tmfg(STRENGTHS[strength](matrix))
    assert graph.n_edges == 3 * n_assets - 6
    planar, _ = nx.check_planarity(as_networkx(graph))
    assert planar
    assert nx.is_connected(as_networkx(graph))
    assert nx.is_chordal(as_networkx(graph))


@pytest.mark.parametrize("strength", ["absolute", "squared"])
@pytest.mark.parametrize("n_assets", [4, 30, 120])
def test_tmfg_has_the_edges_of_fast_tmfg(strength, n_assets):
    fast_tmfg = pytest.importorskip("fast_tmfg")
    matrix = correlations(n_assets, seed=n_assets)
    table = pd.DataFrame(STRENGTHS[strength](matrix))
    _, _, joined = fast_tmfg.TMFG().fit_transform(table, "unweighted_sparse_W_matrix")
    theirs = set(zip(*np.nonzero(np.triu(joined)), strict=True))
    assert edges(tmfg(matrix, strength=strength)) == theirs


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("k", [1, 5, 19])
def test_nearest_neighbours_are_those_of_a_full_sort(mutual, k):
    matrix = correlations(20)
    strength = np.abs(matrix) - 2 * np.eye(20)
    named = {i: set(np.argsort(-strength[i])[:k]) for i in range(20)}
    both = all if mutual else any
    expected = {(i, j) for i, j in combinations(range(20), 2) if both((j in named[i], i in named[j]))}
    assert edges(knn_graph(matrix, k, mutual=mutual)) == expected


def test_k_is_what_was_asked_for():
    matrix = correlations(100)
    degrees = [np.bincount(knn_graph(matrix, k).edge_index.ravel(), minlength=100) for k in (5, 10, 15)]
    assert [int(degree.min()) for degree in degrees] == [5, 10, 15]
    mutual = np.bincount(knn_graph(matrix, 15, mutual=True).edge_index.ravel(), minlength=100)
    assert mutual.max() <= 15


@pytest.mark.parametrize("method", GRAPH_METHODS)
def test_edges_stand_once_in_order_with_correlation_size_and_sign(method):
    matrix = correlations(40)
    graph = GRAPH_METHODS[method](matrix)
    source, target = graph.edge_index
    assert (source < target).all()
    assert sorted(edges(graph)) == list(zip(source, target, strict=True))
    rho = matrix[source, target]
    assert_allclose(graph.edge_attributes, np.column_stack([rho, abs(rho), np.sign(rho)]), atol=1e-15)
    assert (graph.edge_index.dtype, graph.edge_attributes.dtype) == (np.int64, np.float64)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n_assets=st.integers(16, 40))
def test_a_permutation_of_the_assets_permutes_every_graph(seed, n_assets):
    matrix = correlations(n_assets, seed=seed)
    order = np.random.default_rng(seed).permutation(n_assets)
    for method in GRAPH_METHODS.values():
        moved = edges(method(matrix[np.ix_(order, order)]))
        assert {tuple(sorted((order[i], order[j]))) for i, j in moved} == edges(method(matrix))


@pytest.mark.parametrize("method", GRAPH_METHODS)
def test_what_is_equally_strong_is_settled_by_position(method):
    matrix = np.full((20, 20), 0.5) + 0.5 * np.eye(20)
    first, second = GRAPH_METHODS[method](matrix), GRAPH_METHODS[method](matrix.copy())
    assert_array_equal(first.edge_index, second.edge_index)
    if method == "mst":
        assert_array_equal(first.edge_index[0], 0)
    if method == "knn_k5":
        assert edges(first) == {(i, j) for j in range(1, 20) for i in range(min(j, 5))} | {(i, 5) for i in range(5)}


@pytest.mark.parametrize("method", [minimum_spanning_tree, tmfg, lambda m, **kw: knn_graph(m, 4, **kw)])
def test_mantegnas_distances_and_their_correlations_give_one_graph(method):
    matrix = correlations(25)
    by_distance = method(np.sqrt(2 * (1 - matrix)), kind="distance")
    assert edges(by_distance) == edges(method(matrix))
    assert_allclose(by_distance.edge_attributes, method(matrix).edge_attributes, atol=1e-12)


@pytest.mark.parametrize("measure", [pearson_correlation, spearman_correlation, distance_correlation])
@pytest.mark.parametrize("method", GRAPH_METHODS)
def test_every_measure_serves_every_graph_and_gaps_do_no_harm(measure, method):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((60, 1)) + rng.standard_normal((60, 18))
    table[rng.random(table.shape) < 0.1] = np.nan
    graph = GRAPH_METHODS[method](measure(table))
    assert np.isfinite(graph.edge_attributes).all()
    assert graph.n_assets == 18


def test_a_planted_tree_is_found():
    # A chain: each asset is half of the one before it, so correlation falls with the number of steps between two.
    distance = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    order = np.random.default_rng(0).permutation(12)
    graph = minimum_spanning_tree((0.8**distance)[np.ix_(order, order)])
    assert {abs(int(order[i]) - int(order[j])) for i, j in edges(graph)} == {1}


def test_opposites_are_close_in_absolute_strength_only():
    matrix = np.array([[1.0, -0.9, 0.2], [-0.9, 1.0, 0.1], [0.2, 0.1, 1.0]])
    assert edges(minimum_spanning_tree(matrix)) == {(0, 2), (1, 2)}
    assert edges(minimum_spanning_tree(matrix, strength="absolute")) == {(0, 1), (0, 2)}


def test_one_asset_is_a_tree_without_edges():
    graph = minimum_spanning_tree([[1.0]])
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_attributes.shape == (0, 3)


BAD = {
    "not square": (np.ones((2, 3)), "square"),
    "a gap": (np.where(np.eye(5) == 0, np.nan, 1.0), "finite"),
    "a covariance": (1e-4 * np.eye(5), "diagonal"),
    "too large": (np.eye(5) + 2.0 * np.eye(5, k=1) + 2.0 * np.eye(5, k=-1), "entries"),
    "not symmetric": (np.eye(5) + 0.3 * np.eye(5, k=1), "symmetric"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_matrix_of_another_kind_is_refused(name):
    matrix, word = BAD[name]
    for method in (minimum_spanning_tree, tmfg, lambda m: knn_graph(m, 1)):
        with pytest.raises(DataError, match=word):
            method(matrix)


def test_a_correlation_given_as_a_distance_is_refused():
    with pytest.raises(DataError, match="distance matrix"):
        tmfg(correlations(6), kind="distance")


def test_options_out_of_range_are_refused():
    matrix = correlations(6)
    for k in (0, 6, 2.5, True):
        with pytest.raises(ParameterError, match="k must be a whole number from 1 to 5"):
            knn_graph(matrix, k)
    with pytest.raises(ParameterError, match="strength"):
        minimum_spanning_tree(matrix, strength="weak")
    with pytest.raises(ParameterError, match="kind"):
        tmfg(matrix, kind="covariance")
    with pytest.raises(DataError, match="at least 4"):
        tmfg(correlations(3))
