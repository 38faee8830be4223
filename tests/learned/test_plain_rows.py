"""QIS of the plain rows in the low-rank form, and its average with another covariance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.isotonic import isotonic_regression

from eigenfolio import NeuralShrinkage
from eigenfolio.learned.plain_rows import averaged, plain_covariance
from eigenfolio.models import QuadraticInverseShrinkage
from eigenfolio.models.nonlinear_shrinkage import qis_eigenvalues
from eigenfolio.models.window import prepare_window


def returns(n_rows, n_assets, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((n_rows, n_assets)) + rng.standard_normal((n_rows, 1)))


@pytest.mark.parametrize("centred", [False, True])
def test_it_is_qis_on_the_correlation(centred):
    X = returns(80, 20)
    expected = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False, assume_centered=centred).fit(X)
    found = plain_covariance(prepare_window(X, assume_centered=centred), center=not centred)
    assert_allclose(found.dense(), expected.covariance_, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 60), (30, 30), (2, 3)])
def test_with_more_assets_than_rows_it_is_qis_with_its_eigenvalues_in_order(shape):
    window = prepare_window(returns(*shape))
    values, vectors = np.linalg.eigh(window.correlation())
    clean = qis_eigenvalues(values, n_observations=shape[0] - 1, minimum=1e-4)
    clean = isotonic_regression(clean)
    expected = (vectors * clean) @ vectors.T * np.outer(window.volatility, window.volatility)
    assert_allclose(plain_covariance(window).dense(), expected, rtol=1e-8, atol=1e-12)


def test_gaps_and_a_column_that_never_moves_are_those_of_the_closed_form():
    X = returns(90, 12)
    X[:40, 0], X[:, 5] = np.nan, 0.001
    expected = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False).fit(X)
    assert_allclose(plain_covariance(prepare_window(X)).dense(), expected.covariance_, rtol=1e-8, atol=1e-14)


def test_an_average_is_that_of_the_matrices_at_one_level():
    first, second = (plain_covariance(prepare_window(returns(60, 8, seed))) for seed in (0, 1))
    level = np.exp(np.mean(np.log(np.diag(first.dense()) / np.diag(second.dense()))))
    found = averaged(first, second, 0.3)
    assert_allclose(found.dense(), 0.7 * first.dense() + 0.3 * level * second.dense(), rtol=1e-12)
    ones = np.ones(8)
    assert_allclose(found.solve(ones), np.linalg.solve(found.dense(), ones), rtol=1e-9)
    assert_allclose(averaged(first, second, 0.0).dense(), first.dense(), rtol=1e-12)


def test_only_a_guarded_answer_is_averaged_with_the_plain_rows():
    X = returns(250, 31)
    assert NeuralShrinkage(undated="newest").fit(X).factor_.shape[1] == 62  # two spectra
    X[:, -1] = -X[:, :-1].mean(axis=1)
    guarded = NeuralShrinkage(undated="newest").fit(X)
    assert guarded.guard_.plain_share == 0.5
    assert guarded.factor_.shape[1] == 93
