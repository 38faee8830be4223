import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.optimization import MeanRisk

import eigenfolio.models.minimum_variance as module
from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import repair_covariance
from eigenfolio.models.minimum_variance import minimum_variance_weights


def equity_like(n_assets, seed, n_factors=3):
    rng = np.random.default_rng(seed)
    loadings = rng.standard_normal((n_assets, n_factors)) * 0.4
    loadings[:, 0] = 1 + 0.4 * rng.standard_normal(n_assets)
    own = np.exp(rng.normal(0.0, 0.6, n_assets))
    return 1e-4 * (loadings @ loadings.T + np.diag(own**2))


def assert_optimal(covariance, weights, cap):
    """The conditions of Karush, Kuhn and Tucker, written out."""
    assert abs(weights.sum() - 1) < 1e-12
    assert weights.min() >= 0
    assert weights.max() <= cap
    marginal = covariance @ weights
    free = (weights > 1e-10) & (weights < cap - 1e-10)
    scale = np.abs(marginal).max()
    low = marginal[weights < cap - 1e-10].min(initial=np.inf)
    high = marginal[weights > 1e-10].max()
    assert high - low <= 1e-9 * scale
    if free.any():
        assert np.ptp(marginal[free]) <= 1e-9 * scale


def test_unconstrained_by_hand():
    # inv([[2, 1], [1, 4]]) 1 = (3, 1) / 7
    covariance = np.array([[2.0, 1.0], [1.0, 4.0]])
    np.testing.assert_allclose(minimum_variance_weights(covariance, UNCONSTRAINED), [0.75, 0.25])


def test_long_only_by_hand():
    # Unconstrained (1.5, -0.5): the second asset is held short, so all goes to the first.
    covariance = np.array([[1.0, 2.0], [2.0, 5.0]])
    np.testing.assert_allclose(minimum_variance_weights(covariance, UNCONSTRAINED), [1.5, -0.5])
    np.testing.assert_allclose(minimum_variance_weights(covariance, LONG_ONLY), [1.0, 0.0])


def test_a_cap_hands_the_rest_on_in_proportion():
    # Uncapped (12, 6, 4, 3) / 25; what the first may not hold goes to the others as 6 : 4 : 3.
    weights = minimum_variance_weights(np.diag([1.0, 2.0, 3.0, 4.0]), Constraints(max_weight=0.35))
    np.testing.assert_allclose(weights, [0.35, 0.3, 0.2, 0.15])


@given(
    n_assets=st.integers(1, 25),
    slack=st.floats(1.0, 6.0),
    seed=st.integers(0, 100_000),
    n_factors=st.integers(1, 6),
)
@settings(max_examples=150, deadline=None)
def test_the_optimality_conditions_hold(n_assets, slack, seed, n_factors):
    covariance = equity_like(n_assets, seed, n_factors)
    cap = min(1.0, slack / n_assets)
    assert_optimal(covariance, minimum_variance_weights(covariance, Constraints(max_weight=cap)), cap)


@given(n_assets=st.integers(2, 25), slack=st.floats(1.05, 6.0), seed=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_the_primal_method_alone_finds_the_same_weights(n_assets, slack, seed):
    covariance = equity_like(n_assets, seed)
    cap = min(1.0, slack / n_assets)
    start = module._feasible(np.full(n_assets, 1.0 / n_assets), cap)
    corner = module._feasible(-np.arange(n_assets) * 10.0, cap)
    expected = minimum_variance_weights(covariance, Constraints(max_weight=cap))
    for weights in (start, corner):
        found = module._exchange_one_by_one(module._Dense(covariance), weights, cap)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_tied_assets_at_a_cap_are_treated_alike():
    covariance = np.full((8, 8), 0.5) + 0.5 * np.eye(8)
    covariance[4:, 4:] += 3.0 * np.eye(4)
    weights = minimum_variance_weights(covariance, Constraints(max_weight=0.2))
    np.testing.assert_allclose(weights, [0.2] * 4 + [0.05] * 4)


@pytest.mark.parametrize("cap", [1.0, 0.25, 0.1])
def test_weights_equal_those_of_a_general_solver(cap):
    X = np.random.default_rng(5).multivariate_normal(np.zeros(15), equity_like(15, 1), size=80)
    solver = MeanRisk(max_weights=cap, solver="CLARABEL").fit(X)
    covariance = solver.prior_estimator_.return_distribution_.covariance
    weights = minimum_variance_weights(covariance, Constraints(max_weight=cap))
    np.testing.assert_allclose(weights, solver.weights_, atol=1e-4)
    assert weights @ covariance @ weights <= solver.weights_ @ covariance @ solver.weights_ * (1 + 1e-9)


def test_a_cap_that_just_fits_gives_equal_weights():
    weights = minimum_variance_weights(equity_like(20, 0), Constraints(max_weight=0.05))
    np.testing.assert_allclose(weights, 0.05)


def test_inactive_assets_get_nothing():
    covariance = np.full((4, 4), np.nan)
    covariance[np.ix_([0, 2], [0, 2])] = np.diag([1.0, 3.0])
    np.testing.assert_allclose(minimum_variance_weights(covariance), [0.75, 0, 0.25, 0])
    with pytest.raises(ParameterError, match=r"max_weight=0\.4 lets 2 assets"):
        minimum_variance_weights(covariance, Constraints(max_weight=0.4))


def test_weights_do_not_depend_on_the_unit_of_returns_or_the_order_of_assets():
    covariance, order = equity_like(30, 4), np.random.default_rng(0).permutation(30)
    book = Constraints(max_weight=0.08)
    weights = minimum_variance_weights(covariance, book)
    np.testing.assert_allclose(minimum_variance_weights(covariance * 1e8, book), weights, atol=1e-12)
    shuffled = minimum_variance_weights(covariance[np.ix_(order, order)], book)
    np.testing.assert_allclose(shuffled, weights[order], atol=1e-12)


@pytest.mark.parametrize("constraints", [LONG_ONLY, UNCONSTRAINED])
def test_a_singular_covariance_names_the_repair_and_the_repair_works(constraints):
    x = np.random.default_rng(0).standard_normal((5, 9))
    singular = x.T @ x
    with pytest.raises(DataError, match="repair_covariance"):
        minimum_variance_weights(singular, constraints)
    weights = minimum_variance_weights(repair_covariance(singular), constraints)
    assert abs(weights.sum() - 1) < 1e-9


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.full((2, 2), np.nan), "no active asset"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "between active"),
        (np.diag([1.0, 0.0]), "positive variances"),
        (np.diag([1.0, np.inf]), "infinite"),
        (np.array([[1.0, 0.5], [0.1, 1.0]]), "symmetric"),
    ],
)
def test_an_unusable_covariance_is_named(covariance, message):
    with pytest.raises(DataError, match=message):
        minimum_variance_weights(covariance)
