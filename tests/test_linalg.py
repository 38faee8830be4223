import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import (
    constant_correlation_target,
    correlation_to_covariance,
    covariance_to_correlation,
    identity_target,
    lift_eigenvalues,
    repair_covariance,
    shrink,
    single_factor_target,
)

METHODS = ["clip", "higham", "shrink"]


def broken_covariance(n_assets, seed):
    """Correlations drawn one by one, as pairwise estimation leaves them, with unequal volatilities."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-0.9, 0.9, (n_assets, n_assets)), 1)
    volatility = np.exp(rng.normal(-4.0, 1.0, n_assets))
    return (upper + upper.T + np.eye(n_assets)) * np.outer(volatility, volatility)


@pytest.mark.parametrize("method", METHODS)
@given(n_assets=st.integers(2, 12), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_repaired_matrix_is_definite_symmetric_and_keeps_its_variances(method, n_assets, seed):
    broken = broken_covariance(n_assets, seed)
    before = broken.copy()
    repaired = repair_covariance(broken, method=method, minimum_eigenvalue=1e-6)
    np.linalg.cholesky(repaired)
    assert np.array_equal(repaired, repaired.T)
    assert np.array_equal(np.diag(repaired), np.diag(broken))
    assert np.linalg.eigvalsh(covariance_to_correlation(repaired)[0])[0] > 0.999e-6
    assert np.array_equal(broken, before)


@pytest.mark.parametrize("method", METHODS)
def test_a_good_matrix_is_left_alone(method):
    good = np.array([[4.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(repair_covariance(good, method=method), good, rtol=1e-14)


def test_higham_is_nearest_and_shrinking_keeps_the_order_of_correlations():
    broken, _ = covariance_to_correlation(broken_covariance(8, 3))
    distance = {m: np.linalg.norm(repair_covariance(broken, method=m) - broken) for m in METHODS}
    assert distance["higham"] < distance["clip"]
    assert distance["higham"] < distance["shrink"]
    upper = np.triu_indices(8, 1)
    order = np.argsort(broken[upper])
    assert np.array_equal(np.argsort(repair_covariance(broken, method="shrink")[upper]), order)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), "square"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, np.nan], [np.nan, 1.0]], "finite"),
        ([[1.0, 0.0], [0.0, 0.0]], "positive variances"),
    ],
)
def test_what_cannot_be_repaired_is_named(matrix, message):
    with pytest.raises(DataError, match=message):
        repair_covariance(matrix)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "magic"},
        {"minimum_eigenvalue": 0.0},
        {"method": "clip", "max_iteration": 5},
        {"method": "higham", "max_iteration": 0},
    ],
)
def test_options_of_the_repair_are_checked(options):
    with pytest.raises(ParameterError):
        repair_covariance(np.eye(2), **options)


def test_higham_says_when_it_has_not_converged():
    with pytest.raises(DataError, match="raise max_iteration"):
        repair_covariance(broken_covariance(12, 0), method="higham", max_iteration=1)


def test_a_definite_matrix_is_returned_bit_for_bit_and_a_singular_one_is_lifted():
    good = np.array([[2.0, 0.3], [0.3, 1.0]])
    same, count = lift_eigenvalues(good)
    assert same is good
    assert count == 0
    lifted, count = lift_eigenvalues(np.ones((4, 4)) * 1e-4)
    assert count == 3
    assert np.linalg.eigvalsh(lifted)[0] > 0.99e-14
    np.linalg.cholesky(lifted)


def test_targets_by_hand():
    covariance = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.5], [0.0, 0.5, 1.0]])
    mean = (0.5 + 0.0 + 0.5) / 3
    expected = np.array([[4.0, 2 * mean, 2 * mean], [2 * mean, 1.0, mean], [2 * mean, mean, 1.0]])
    np.testing.assert_allclose(constant_correlation_target(covariance), expected)
    np.testing.assert_allclose(identity_target(covariance), 2.0 * np.eye(3))


def test_the_single_factor_target_is_the_regression_on_the_equal_weight_market():
    x = np.random.default_rng(0).standard_normal((50, 4))
    x -= x.mean(axis=0)
    market = x.mean(axis=1)
    beta = x.T @ market / (market @ market)
    expected = np.outer(beta, beta) * (market @ market) / 50
    np.fill_diagonal(expected, (x**2).mean(axis=0))
    np.testing.assert_allclose(single_factor_target(x.T @ x / 50), expected, rtol=1e-12)


def test_a_market_that_does_not_vary_leaves_a_diagonal_target():
    np.testing.assert_array_equal(single_factor_target(np.array([[1.0, -1.0], [-1.0, 1.0]])), np.eye(2))


def test_conversion_there_and_back():
    covariance = np.array([[4.0, 1.0], [1.0, 9.0]])
    np.testing.assert_allclose(correlation_to_covariance(*covariance_to_correlation(covariance)), covariance)
    with pytest.raises(DataError, match="non-negative"):
        correlation_to_covariance(np.eye(2), np.array([1.0, -1.0]))
    with pytest.raises(DataError, match="positive variances"):
        covariance_to_correlation(np.diag([1.0, 0.0]))


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, np.nan])
def test_an_intensity_outside_zero_and_one_is_refused(shrinkage):
    with pytest.raises(ParameterError, match="shrinkage"):
        shrink(np.eye(2), np.eye(2), shrinkage=shrinkage)


def test_shrinking_needs_one_shape():
    with pytest.raises(ParameterError, match="one shape"):
        shrink(np.eye(2), np.eye(3), shrinkage=0.5)
