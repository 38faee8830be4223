import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models.clustering import (
    cluster_quality,
    cluster_tree,
    correlation_distance,
    distance_analysis,
    flat_clusters,
    linkage_distance,
)


@pytest.fixture
def correlation(make_market):
    return np.corrcoef(make_market(300, 40).to_numpy().T)


def blocks(n_blocks, size, *, within, between):
    member = np.repeat(np.arange(n_blocks), size)
    matrix = np.where(member[:, None] == member, within, between)
    np.fill_diagonal(matrix, 1.0)
    return matrix, member


def test_distances_of_distances_are_those_of_the_published_code(correlation):
    distance = correlation_distance(correlation)
    assert_allclose(linkage_distance(distance, "lopez_de_prado"), pdist(distance), atol=1e-9)


def test_copies_have_distance_zero_in_every_convention(make_market):
    returns = make_market(300, 9).to_numpy(copy=True)
    returns[:, 7] = 3.0 * returns[:, 2]
    distance = correlation_distance(np.corrcoef(returns.T))
    for convention in ("lopez_de_prado", "tree"):
        assert squareform(linkage_distance(distance, convention))[2, 7] == 0.0


@pytest.mark.parametrize("name", ["single", "complete", "average"])
def test_a_tree_is_scipys(name, correlation):
    condensed = linkage_distance(correlation_distance(correlation), "tree")
    tree, order = cluster_tree(condensed, linkage=name, convention="tree")
    assert_array_equal(tree, linkage(condensed, name))
    assert_array_equal(order, leaves_list(tree))


def test_optimal_order_lays_neighbours_closer_than_the_tree_does(correlation):
    distance = correlation_distance(correlation)
    condensed = linkage_distance(distance, "tree")

    def path(convention):
        _, order = cluster_tree(condensed, linkage="average", convention=convention)
        return distance[order[1:], order[:-1]].sum()

    assert path("optimal_leaf") < path("tree")


def test_rounding_does_not_part_equal_correlations():
    matrix, _ = blocks(3, 4, within=0.6, between=0.1)
    noise = 1e-15 * np.random.default_rng(0).standard_normal(matrix.shape)
    noisy = matrix + noise + noise.T
    for convention in ("lopez_de_prado", "tree"):
        exact, rounded = (
            cluster_tree(
                linkage_distance(correlation_distance(rho), convention), linkage="single", convention=convention
            )
            for rho in (matrix, noisy)
        )
        assert_array_equal(exact[1], rounded[1])


def test_planted_blocks_are_found_and_scored_by_hand():
    matrix, member = blocks(3, 4, within=0.6, between=0.1)
    distance = correlation_distance(matrix)
    tree, _ = cluster_tree(linkage_distance(distance, "tree"), linkage="average", convention="tree")
    found = flat_clusters(tree, n_clusters=3)
    assert_array_equal(np.unique(found[member == 1]).size, 1)
    quality = cluster_quality(matrix, distance, found)
    assert (quality.n_clusters, quality.largest_share) == (3, pytest.approx(1 / 3))
    assert quality.within_correlation == pytest.approx(0.6)
    assert quality.between_correlation == pytest.approx(0.1)
    assert quality.silhouette == pytest.approx(1 - np.sqrt(0.2 / 0.45))
    assert quality.score == pytest.approx(quality.silhouette + 0.5)


@pytest.mark.parametrize("n_clusters", [2, 5, 10, 39])
def test_the_silhouette_is_scikit_learns_lone_assets_included(n_clusters, correlation):
    distance = correlation_distance(correlation)
    tree, _ = cluster_tree(linkage_distance(distance, "tree"), linkage="single", convention="tree")
    clusters = flat_clusters(tree, n_clusters=n_clusters)
    expected = silhouette_score(distance, clusters, metric="precomputed")
    assert cluster_quality(correlation, distance, clusters).silhouette == pytest.approx(expected, abs=1e-14)


def test_correlations_within_and_between_are_means_over_pairs(correlation):
    clusters = np.arange(40) % 7
    quality = cluster_quality(correlation, correlation_distance(correlation), clusters)
    rows, columns = np.triu_indices(40, 1)
    same = clusters[rows] == clusters[columns]
    assert quality.within_correlation == pytest.approx(correlation[rows, columns][same].mean())
    assert quality.between_correlation == pytest.approx(correlation[rows, columns][~same].mean())


def test_what_no_clustering_can_say_is_nan(correlation):
    distance = correlation_distance(correlation)
    together = cluster_quality(correlation, distance, np.zeros(40, dtype=int))
    assert np.isnan([together.silhouette, together.between_correlation, together.score]).all()
    alone = cluster_quality(correlation, distance, np.arange(40))
    assert np.isnan([alone.silhouette, alone.within_correlation, alone.score]).all()


def test_the_two_formulas_cut_single_and_complete_trees_alike_and_differ_in_what_adds_distances(correlation):
    table = distance_analysis(correlation)
    assert table.loc[("plain", "single"), "same_clusters"]
    assert table.loc[("plain", "complete"), "same_clusters"]
    condensed = squareform(np.sqrt((1 - correlation) / 2), checks=False)
    root, plain = table.loc[("root", "average")], table.loc[("plain", "average")]
    assert root["mean"] == pytest.approx(condensed.mean())
    assert plain["mean"] == pytest.approx((condensed**2).mean())
    assert plain["median"] == pytest.approx(root["median"] ** 2, rel=1e-2)
    assert root["silhouette"] != pytest.approx(plain["silhouette"], rel=1e-3)
    assert 0 < root["cophenetic"] <= 1


def test_equal_distances_have_no_cophenetic_correlation():
    matrix, _ = blocks(1, 5, within=0.3, between=0.0)
    assert distance_analysis(matrix)["cophenetic"].isna().all()


def test_bad_arguments_are_refused(correlation):
    with pytest.raises(DataError, match="square"):
        correlation_distance(correlation[:3])
    with pytest.raises(DataError, match="at least 3"):
        distance_analysis(np.eye(2))
    with pytest.raises(ParameterError, match="formula"):
        correlation_distance(correlation, formula="square")
    condensed = linkage_distance(correlation_distance(correlation), "tree")
    with pytest.raises(ParameterError, match="linkage"):
        cluster_tree(condensed, linkage="median", convention="tree")
    with pytest.raises(ParameterError, match="convention"):
        linkage_distance(correlation, "peers")
    with pytest.raises(ParameterError, match="n_clusters"):
        flat_clusters(np.empty((0, 4)), n_clusters=0)
