"""Oracles: closed forms that no search beats."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.data.synthetic import (
    factor_covariance,
    ledoit_wolf_spectrum,
    oracle_covariance,
    oracle_eigenvalues,
    oracle_intensity,
    oracle_minimum_variance,
    oracle_target_weights,
    oracle_weights,
)
from eigenfolio.errors import ParameterError
from eigenfolio.linalg import constant_correlation_target, identity_target, shrink, single_factor_target
from eigenfolio.models import minimum_variance_weights

TARGETS = [identity_target, constant_correlation_target, single_factor_target]


def problem(seed, n_assets=6, n_rows=20, make=factor_covariance):
    population = make(n_assets, rng=seed)
    returns = np.random.default_rng(seed).standard_normal((n_rows, n_assets)) @ population.root.T
    return returns.T @ returns / n_rows * 1e4, population.covariance * 1e4


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(4))
def test_no_intensity_on_a_grid_is_closer_to_the_truth(seed, target):
    sample, truth = problem(seed)
    aim = target(sample)
    grid = np.linspace(0, 1, 2001)
    errors = [np.linalg.norm(shrink(sample, aim, shrinkage=intensity) - truth) for intensity in grid]
    best = oracle_intensity(sample, aim, truth)
    assert best == pytest.approx(grid[np.argmin(errors)], abs=3e-4)
    assert np.linalg.norm(shrink(sample, aim, shrinkage=best) - truth) <= min(errors) + 1e-12


def test_an_intensity_stays_between_sample_and_target():
    sample, target = np.diag([1.0, 3.0]), 2 * np.eye(2)
    assert oracle_intensity(sample, target, np.diag([0.0, 4.0])) == 0.0
    assert oracle_intensity(sample, target, np.diag([3.0, 1.0])) == 1.0
    assert oracle_intensity(sample, sample, target) == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_no_weights_that_a_general_solver_finds_are_closer_to_the_truth(seed):
    sample, truth = problem(seed, make=factor_covariance if seed % 2 else ledoit_wolf_spectrum)
    members = np.array([sample, *(target(sample) for target in TARGETS)])

    def error(weights):
        return float(((np.tensordot(weights, members, 1) - truth) ** 2).sum())

    found = minimize(
        error,
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-14},
    )
    weights = oracle_target_weights(sample, members[1:], truth)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert error(weights) <= found.fun * (1 + 1e-9)
    assert error(weights) == pytest.approx(found.fun, rel=1e-4)


def test_with_one_target_the_weights_are_the_intensity():
    sample, truth = problem(3)
    target = identity_target(sample)
    weights = oracle_target_weights(sample, [target], truth)
    assert weights[1] == pytest.approx(oracle_intensity(sample, target, truth), abs=1e-10)


def test_a_sample_that_is_the_truth_is_kept():
    truth = problem(0)[1]
    np.testing.assert_array_equal(oracle_target_weights(truth, [truth], truth), [1.0, 0.0])


def test_weights_that_are_not_unique_are_still_best():
    sample, truth = np.diag([1.0, 5.0]), np.diag([2.0, 4.0])
    weights = oracle_target_weights(sample, [3 * np.eye(2), 3 * np.eye(2)], truth)
    assert weights[0] == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1.0)


LOSSES = {
    "frobenius": lambda a, truth: np.sum((a - truth) ** 2),
    "inverse_stein": lambda a, truth: np.trace(truth @ np.linalg.inv(a)) + np.linalg.slogdet(a)[1],
    "stein": lambda a, truth: np.trace(a @ np.linalg.inv(truth)) - np.linalg.slogdet(a)[1],
    "inverse_frobenius": lambda a, truth: np.sum((np.linalg.inv(a) - np.linalg.inv(truth)) ** 2),
    "symmetrised_stein": lambda a, truth: np.trace(a @ np.linalg.inv(truth)) + np.trace(np.linalg.inv(a) @ truth),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_no_eigenvalues_that_a_general_solver_finds_have_less_loss(loss, seed):
    sample, truth = problem(seed, n_assets=4)
    vectors = np.linalg.eigh(sample)[1]

    def value(log):
        return LOSSES[loss]((vectors * np.exp(log)) @ vectors.T, truth)

    best = oracle_eigenvalues(sample, truth, loss=loss)
    found = minimize(
        value,
        np.log(np.diag(truth)),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000, "maxfev": 8000},
    )
    assert value(np.log(best)) <= found.fun * (1 + np.sign(found.fun) * 1e-9)
    np.testing.assert_allclose(np.log(best), found.x, atol=1e-3)
    matrix = oracle_covariance(sample, truth, loss=loss)
    np.testing.assert_allclose(matrix, (vectors * best) @ vectors.T, atol=1e-10)


def test_the_true_eigenvalues_come_back_when_the_directions_are_true():
    truth = problem(1)[1]
    for loss in LOSSES:
        np.testing.assert_allclose(oracle_eigenvalues(truth, truth, loss=loss), np.linalg.eigvalsh(truth), rtol=1e-9)


def test_the_null_space_of_a_short_sample_has_one_eigenvalue_whatever_its_basis():
    sample, truth = problem(2, n_assets=8, n_rows=5)
    values = oracle_eigenvalues(sample, truth)
    vectors = np.linalg.eigh(sample)[1][:, :3]
    np.testing.assert_allclose(values[:3], np.trace(vectors.T @ truth @ vectors) / 3, rtol=1e-9)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    turned = oracle_covariance(rotation @ sample @ rotation.T, rotation @ truth @ rotation.T)
    np.testing.assert_allclose(rotation.T @ turned @ rotation, oracle_covariance(sample, truth), atol=1e-8)


def test_no_rotation_equivariant_shrinkage_beats_the_oracle_eigenvalues():
    sample, truth = problem(5)
    best = np.linalg.norm(oracle_covariance(sample, truth) - truth)
    linear = shrink(sample, identity_target(sample), shrinkage=oracle_intensity(sample, identity_target(sample), truth))
    root = np.real(sqrtm(sample))
    assert best < np.linalg.norm(linear - truth)
    assert best < np.linalg.norm(root * np.trace(truth) / np.trace(root) - truth)


@pytest.mark.parametrize(
    "book", [LONG_ONLY, UNCONSTRAINED, Constraints(max_weight=0.1), Constraints(max_weight=0.05)], ids=lambda b: b.name
)
@pytest.mark.parametrize(("make", "n_assets"), [(factor_covariance, 40), (ledoit_wolf_spectrum, 20)])
def test_least_variance_weights_equal_those_of_the_active_set_method(book, make, n_assets):
    truth = make(n_assets, rng=3).covariance
    weights = oracle_weights(truth, book)
    np.testing.assert_allclose(weights, minimum_variance_weights(truth, book), atol=1e-9)
    assert oracle_minimum_variance(truth, book) == pytest.approx(np.sqrt(weights @ truth @ weights))


def test_no_random_book_is_calmer_than_the_oracle():
    truth = factor_covariance(8, rng=1).covariance
    books = np.random.default_rng(0).dirichlet(np.ones(8), 5000)
    assert np.sqrt(np.einsum("bi,ij,bj->b", books, truth, books)).min() >= oracle_minimum_variance(truth)
    assert oracle_minimum_variance(truth, UNCONSTRAINED) == pytest.approx(1 / np.sqrt(np.linalg.inv(truth).sum()))


@pytest.mark.parametrize(
    "call",
    [
        lambda: oracle_intensity(np.eye(2), np.eye(3), np.eye(2)),
        lambda: oracle_intensity(np.eye(2), np.eye(2), np.full((2, 2), np.nan)),
        lambda: oracle_target_weights(np.eye(2), [], np.eye(2)),
        lambda: oracle_target_weights(np.eye(2), [np.ones(2)], np.eye(2)),
        lambda: oracle_eigenvalues(np.eye(2), np.eye(2), loss="quadratic"),
        lambda: oracle_eigenvalues(np.eye(2), np.ones((2, 2)), loss="stein"),
        lambda: oracle_weights(np.ones((2, 2))),
        lambda: oracle_weights(np.eye(3), Constraints(max_weight=0.2)),
    ],
)
def test_impossible_arguments_are_refused(call):
    with pytest.raises(ParameterError):
        call()
