import numpy as np
import pandas as pd
import pytest
import scipy.cluster.hierarchy as sch
from numpy.testing import assert_allclose, assert_array_equal
from skfolio.cluster import HierarchicalClustering, LinkageMethod
from skfolio.model_selection import WalkForward, cross_val_predict
from skfolio.moments import EmpiricalCovariance
from skfolio.optimization import HierarchicalRiskParity as SkfolioHRP
from skfolio.seriation import HierarchicalSeriation
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import (
    HierarchicalRiskParity,
    LedoitWolf,
    SampleCovariance,
    fit_together,
    hierarchical_weights,
)

CONVENTIONS = ["lopez_de_prado", "tree", "optimal_leaf"]
LINKAGES = ["single", "complete", "average"]
# What skfolio's own optimisers cause by predicting a Portfolio.
SKFOLIO_CAUSES = {"check_fit_score_takes_y", "check_methods_sample_order_invariance", "check_fit2d_predict1d"}


def published(returns, linkage):
    """The algorithm as published: distances of distances, quasi-diagonal order by repeated replacement, bisection."""
    covariance = np.cov(returns.T)
    distance = np.sqrt(np.clip((1 - np.corrcoef(returns.T)) / 2, 0, 1))
    np.fill_diagonal(distance, 0)
    euclidean = [
        np.sqrt(((distance[:, i] - distance[:, j]) ** 2).sum())
        for i in range(len(distance))
        for j in range(i + 1, len(distance))
    ]
    tree = sch.linkage(np.array(euclidean), linkage)
    n_assets = len(distance)
    order = [2 * n_assets - 2]
    while max(order) >= n_assets:
        at = next(place for place, node in enumerate(order) if node >= n_assets)
        order[at : at + 1] = [int(child) for child in tree[order[at] - n_assets, :2]]
    weights, lists = np.ones(n_assets), [order]
    while lists:
        halves = [(part[: len(part) // 2], part[len(part) // 2 :]) for part in lists if len(part) > 1]
        for left, right in halves:
            share = 1 - slow_variance(covariance, left) / (
                slow_variance(covariance, left) + slow_variance(covariance, right)
            )
            weights[left] *= share
            weights[right] *= 1 - share
        lists = [part for pair in halves for part in pair]
    return weights


def slow_variance(covariance, members):
    block = covariance[np.ix_(members, members)]
    inverse = 1 / np.diag(block)
    return inverse @ block @ inverse / inverse.sum() ** 2


def skfolios(returns, linkage, **options):
    clustering = HierarchicalClustering(linkage_method=LinkageMethod(linkage))
    seriation = HierarchicalSeriation(hierarchical_clustering_estimator=clustering)
    return SkfolioHRP(seriation_estimator=seriation, **options).fit(returns).weights_


def with_gaps(returns):
    x = returns.copy()
    x.iloc[:250, 1] = np.nan
    x.iloc[-30:, 6] = np.nan
    return x.mask(np.random.default_rng(0).random(x.shape) < 0.03)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("n_assets", [2, 3, 8, 31])
def test_lopez_de_prado_equals_a_slow_twin_of_the_published_algorithm(linkage, n_assets, make_market):
    returns = make_market(200, n_assets, seed=n_assets)
    model = HierarchicalRiskParity(convention="lopez_de_prado", linkage=linkage).fit(returns)
    assert_allclose(model.weights_, published(returns.to_numpy(), linkage), atol=1e-12)


@pytest.mark.parametrize("linkage", [*LINKAGES, "ward"])
@pytest.mark.parametrize("max_weight", [1.0, 0.06])
def test_optimal_leaf_equals_skfolio_with_and_without_a_cap(linkage, max_weight, make_market):
    returns = make_market(200, 31)
    model = HierarchicalRiskParity(convention="optimal_leaf", linkage=linkage, max_weight=max_weight).fit(returns)
    assert_allclose(model.weights_, skfolios(returns, linkage, max_weights=max_weight), atol=1e-12)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("n_assets", [2, 3, 8, 31])
def test_tree_equals_pyportfolioopt(linkage, n_assets, make_market):
    pypfopt = pytest.importorskip("pypfopt")
    returns = make_market(200, n_assets, seed=n_assets)
    theirs = pypfopt.HRPOpt(returns).optimize(linkage)
    model = HierarchicalRiskParity(convention="tree", linkage=linkage).fit(returns)
    assert_allclose(model.weights_, [theirs[name] for name in returns.columns], atol=1e-12)


def test_ties_are_settled_by_position_as_in_pyportfolioopt():
    pypfopt = pytest.importorskip("pypfopt")
    # Walsh functions: every pair of the first three, and of the other assets, has a correlation of exactly 0.
    walsh = np.array([[1.0]])
    for _ in range(4):
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    returns = pd.DataFrame(0.01 * walsh[:, 1:8] * np.arange(1, 8))
    theirs = pypfopt.HRPOpt(returns).optimize("single")
    model = HierarchicalRiskParity(convention="tree").fit(returns)
    assert_allclose(np.diff(model.linkage_[:, 2]), 0.0, atol=1e-15)
    assert_allclose(model.weights_, [theirs[name] for name in returns.columns], atol=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_uncorrelated_assets_get_inverse_variances(convention):
    covariance = np.diag([1.0, 4.0, 2.0, 8.0])
    returns = np.linalg.cholesky(covariance) @ np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    model = HierarchicalRiskParity(convention=convention, linkage="average")
    expected = 1 / np.diag(covariance)
    # Eight rows with mean zero: +x and -x.
    assert_allclose(model.fit(np.vstack([returns.T, -returns.T])).weights_, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("bisection", ["halves", "branches"])
@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
def test_weights_are_positive_sum_to_one_and_inactive_assets_get_none(convention, bisection, correlation, returns):
    x = with_gaps(returns)
    x.iloc[:, 3] = 0.0
    before = x.copy()
    model = HierarchicalRiskParity(convention=convention, bisection=bisection, correlation=correlation).fit(x)
    assert model.weights_.sum() == pytest.approx(1)
    assert_array_equal(model.weights_ == 0, np.isin(np.arange(12), [3, 6]))  # constant, and delisted
    assert (model.weights_ >= 0).all()
    assert sorted(model.order_) == [i for i in range(12) if i not in (3, 6)]
    assert_array_equal(model.clusters_ == -1, model.weights_ == 0)
    pd.testing.assert_frame_equal(x, before)


def test_a_mask_takes_an_asset_out_by_name(returns):
    mask = pd.DataFrame(True, index=returns.index, columns=returns.columns[::-1])
    mask.iloc[-1, 0] = False  # the last asset of X
    model = HierarchicalRiskParity().fit(returns, active_mask=mask)
    assert model.weights_[-1] == 0
    assert_allclose(model.weights_[:-1], HierarchicalRiskParity().fit(returns.iloc[:, :-1]).weights_, atol=1e-14)


def test_branches_do_not_depend_on_the_order_of_the_columns(returns):
    order = np.random.default_rng(1).permutation(12)
    for linkage in LINKAGES:
        model = HierarchicalRiskParity(bisection="branches", linkage=linkage)
        straight, moved = model.fit(returns).weights_, clone(model).fit(returns.iloc[:, order]).weights_
        assert_allclose(moved, straight[order], atol=1e-12)


def test_branches_split_between_planted_blocks():
    rng = np.random.default_rng(0)
    common = rng.standard_normal((5000, 2))
    returns = 0.01 * (np.repeat(common, [2, 6], axis=1) + 0.05 * rng.standard_normal((5000, 8)))
    weights = HierarchicalRiskParity(bisection="branches", linkage="average").fit(returns).weights_
    assert weights[:2].sum() == pytest.approx(0.5, abs=0.02)


def test_a_cap_by_hand():
    # {0, 1} | {2, 3} with variances 1 : 9 would give 0.45 each to the first two; a cap of 0.3 leaves 0.4 to the others.
    covariance = np.diag([1.0, 1.0, 9.0, 9.0])
    order = np.arange(4)
    free = hierarchical_weights(covariance, np.empty((0, 4)), order)
    assert_allclose(free, [0.45, 0.45, 0.05, 0.05])
    assert_allclose(
        hierarchical_weights(covariance, np.empty((0, 4)), order, max_weight=0.3), [0.3, 0.3, 0.2, 0.2], atol=1e-15
    )


@pytest.mark.parametrize("bisection", ["halves", "branches"])
@pytest.mark.parametrize("max_weight", [1 / 12, 0.09, 0.2])
def test_no_weight_passes_the_cap(bisection, max_weight, returns):
    returns = returns * np.geomspace(1, 100, 12)
    weights = HierarchicalRiskParity(bisection=bisection, max_weight=max_weight).fit(returns).weights_
    assert weights.max() <= max_weight + 1e-12
    assert weights.sum() == pytest.approx(1)


def test_two_sides_without_risk_get_half_each():
    assert_allclose(hierarchical_weights(np.array([[1.0, -1], [-1, 1]]), np.empty((0, 4)), np.arange(2)), 0.5)
    hedged = np.kron(np.eye(2), [[1.0, -1], [-1, 1]])
    assert_allclose(hierarchical_weights(hedged, np.empty((0, 4)), np.arange(4)), 0.25)


def test_the_lookback_is_in_rows_and_nothing_before_it_is_read(returns):
    model = HierarchicalRiskParity(lookback=100, correlation="spearman")
    altered = returns.copy()
    altered.iloc[:-100] *= -5
    assert_array_equal(model.fit(altered).weights_, clone(model).fit(returns).weights_)
    assert_array_equal(model.weights_, HierarchicalRiskParity(correlation="spearman").fit(returns[-100:]).weights_)


def test_rank_correlation_does_not_see_a_monotone_change_of_a_return(returns):
    stretched = returns.copy()
    stretched.iloc[:, 4] = np.sinh(80 * returns.iloc[:, 4])
    model = HierarchicalRiskParity(correlation="spearman")
    tree = model.fit(returns).linkage_
    assert_allclose(clone(model).fit(stretched).linkage_, tree, atol=1e-12)
    assert not np.allclose(
        HierarchicalRiskParity().fit(stretched).linkage_, HierarchicalRiskParity().fit(returns).linkage_
    )


def test_a_sample_covariance_given_as_estimator_changes_nothing(returns):
    plain = HierarchicalRiskParity().fit(returns).weights_
    for correlation in ("pearson", "estimator"):
        model = HierarchicalRiskParity(SampleCovariance(), correlation=correlation).fit(returns)
        assert_allclose(model.weights_, plain, atol=1e-12)
    assert_allclose(HierarchicalRiskParity(EmpiricalCovariance()).fit(returns).weights_, plain, atol=1e-12)


def test_any_covariance_serves_and_sees_the_assets_held_only(returns):
    model = HierarchicalRiskParity(LedoitWolf(), correlation="estimator").fit(with_gaps(returns))
    assert model.covariance_estimator_.covariance_.shape == (11, 11)
    assert model.weights_[6] == 0
    assert not np.allclose(model.weights_, HierarchicalRiskParity().fit(with_gaps(returns)).weights_)


def test_one_asset_gets_all(returns):
    for convention in CONVENTIONS:
        model = HierarchicalRiskParity(convention=convention).fit(returns[["A00"]])
        assert_array_equal(model.weights_, [1.0])
        assert np.isnan(model.silhouette_)


def test_fitting_together_gives_the_same_bits_and_keeps_failures_apart(returns):
    x = with_gaps(returns)
    models = [
        HierarchicalRiskParity(lookback=lookback, linkage=linkage, correlation=correlation, convention=convention)
        for lookback in (63, 252)
        for linkage in LINKAGES
        for correlation in ("pearson", "spearman")
        for convention in CONVENTIONS
    ]
    models.append(HierarchicalRiskParity(max_weight=0.01))
    models.append(HierarchicalRiskParity(LedoitWolf(), correlation="estimator"))
    *fitted, failed, estimated = fit_together(models, x)
    for model, together in zip(models, fitted, strict=False):
        alone = clone(model).fit(x)
        for name in ("weights_", "linkage_", "order_", "clusters_"):
            assert_array_equal(getattr(together, name), getattr(alone, name))
        assert together.quality_ == alone.quality_
        assert_array_equal(together.feature_names_in_, x.columns)
    assert isinstance(failed, ParameterError)
    assert_array_equal(estimated.weights_, clone(models[-1]).fit(x).weights_)
    assert not hasattr(models[0], "weights_")
    assert fitted[0].predict(x.fillna(0)).weights == pytest.approx(fitted[0].weights_)
    assert fit_together([], x) == []


def test_scikit_learns_checks_find_only_what_skfolio_causes():
    checks = check_estimator(HierarchicalRiskParity(), on_fail=None, on_skip=None)
    assert {check["check_name"] for check in checks if check["status"] == "failed"} <= SKFOLIO_CAUSES


def test_it_runs_in_skfolios_walk_forward(returns):
    path = cross_val_predict(HierarchicalRiskParity(lookback=60), returns, cv=WalkForward(test_size=40, train_size=120))
    assert len(path) == 5


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"convention": "peers"}, "convention"),
        ({"linkage": "median"}, "linkage"),
        ({"correlation": "kendall"}, "correlation"),
        ({"bisection": "thirds"}, "bisection"),
        ({"lookback": 1}, "lookback"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"max_weight": 0.05}, "max_weight"),
        ({"correlation": "estimator"}, "covariance_estimator"),
        ({"covariance_estimator": "sample"}, "BaseCovariance"),
    ],
)
def test_options_out_of_range_are_refused(options, word, returns):
    with pytest.raises(ParameterError, match=word):
        HierarchicalRiskParity(**options).fit(returns)


def test_a_covariance_that_cannot_be_used_is_refused():
    order = np.arange(2)
    for matrix, word in (
        (np.eye(3), "2 assets"),
        (np.diag([1.0, 0.0]), "positive"),
        (np.full((2, 2), np.nan), "finite"),
    ):
        with pytest.raises(DataError, match=word):
            hierarchical_weights(matrix, np.empty((0, 4)), order)
