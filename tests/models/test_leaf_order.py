import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.cluster.hierarchy import linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist, squareform

from eigenfolio.models.clustering import LINKAGES, cluster_tree, correlation_distance
from eigenfolio.models.leaf_order import turned_tree


@pytest.mark.parametrize("name", LINKAGES)
@pytest.mark.parametrize("n_assets", [2, 3, 9, 17, 40, 150])
def test_the_order_is_scipys_on_correlated_returns(name, n_assets, make_market):
    distance = correlation_distance(np.corrcoef(make_market(300, n_assets).to_numpy().T))
    condensed = squareform(distance, checks=False)
    tree = linkage(condensed, name)
    assert_array_equal(turned_tree(tree, condensed), optimal_leaf_ordering(tree, condensed))


@pytest.mark.parametrize("name", LINKAGES)
def test_ties_are_settled_as_scipy_does(name):
    rng = np.random.default_rng(0)
    for _ in range(25):
        n_leaves = int(rng.integers(2, 40))
        few_values = rng.integers(0, 5, n_leaves * (n_leaves - 1) // 2).astype(float)
        grid = pdist(rng.integers(0, 4, (n_leaves, 2)).astype(float))
        for condensed in (few_values, grid):
            tree = linkage(condensed, name)
            assert_array_equal(turned_tree(tree, condensed), optimal_leaf_ordering(tree, condensed))


def test_every_node_joins_its_branches_by_the_path_of_a_slow_search():
    """The recursion of the paper, one number after the other, with the roundings of single precision."""
    rng = np.random.default_rng(1)
    condensed = pdist(rng.standard_normal((23, 3)))
    tree = linkage(condensed, "average")
    paths, leaves = np.zeros((23, 23), np.float32), {i: [i] for i in range(23)}
    distance, branches = squareform(condensed), {}

    def across(node, leaf):
        return leaves[node] if node < 23 else next(leaves[b] for b in branches[node] if leaf not in leaves[b])

    turns = np.zeros(22, bool)
    for step, (left, right) in enumerate(tree[:, :2].astype(int)):
        for u in leaves[left]:
            for w in leaves[right]:
                paths[u, w] = paths[w, u] = min(
                    np.float32(np.float64(paths[u, m] + paths[w, k]) + distance[m, k])
                    for m in across(left, u)
                    for k in across(right, w)
                )
        u, w = min(((u, w) for u in leaves[left] for w in leaves[right]), key=lambda ends: paths[ends])
        if left >= 23:
            turns[left - 23] = u in leaves[branches[left][1]]
        if right >= 23:
            turns[right - 23] = w in leaves[branches[right][0]]
        leaves[23 + step], branches[23 + step] = leaves[left] + leaves[right], (left, right)
    for step in reversed(range(22)):
        for branch in branches[23 + step]:
            if turns[step] and branch >= 23:
                turns[branch - 23] ^= True
    expected = tree.copy()
    expected[turns, 0], expected[turns, 1] = tree[turns, 1], tree[turns, 0]
    assert turns.sum() > 3
    assert_array_equal(turned_tree(tree, condensed), expected)


def test_the_tree_given_is_left_as_it_is():
    condensed = pdist(np.random.default_rng(2).standard_normal((12, 2)))
    tree = linkage(condensed, "average")
    before = tree.copy()
    assert not np.array_equal(turned_tree(tree, condensed), before)
    assert_array_equal(tree, before)


def test_copies_of_an_asset_stand_side_by_side():
    points = np.array([0.0, 5.0, 0.0, 9.0, 5.0, 0.0])[:, None]
    _, order = cluster_tree(pdist(points), linkage="average", convention="optimal_leaf")
    walked = points[order, 0]
    assert np.abs(np.diff(walked)).sum() == 9.0
