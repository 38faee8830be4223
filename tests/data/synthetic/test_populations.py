"""Populations: spectra, blocks and factors that are what they say."""

import numpy as np
import pytest

from eigenfolio.data.synthetic import (
    Population,
    block_covariance,
    factor_covariance,
    ledoit_wolf_spectrum,
    spiked_covariance,
    stressed_population,
)
from eigenfolio.errors import ParameterError

MAKERS = [spiked_covariance, block_covariance, factor_covariance, ledoit_wolf_spectrum]


@pytest.mark.parametrize("make", MAKERS)
def test_eigenvalues_vectors_root_and_volatility_are_those_of_the_covariance(make):
    population = make(12, rng=3)
    covariance = population.covariance
    vectors = population.eigenvectors
    np.testing.assert_array_equal(covariance, covariance.T)
    np.testing.assert_allclose((vectors * population.eigenvalues) @ vectors.T, covariance, atol=1e-15)
    np.testing.assert_allclose(population.root @ population.root.T, covariance, atol=1e-15)
    np.testing.assert_array_equal(population.volatility, np.sqrt(np.diag(covariance)))
    assert population.eigenvalues[0] > 0
    assert 0.003 < population.volatility.min() <= population.volatility.max() < 0.1


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_gives_the_same_bits_and_nobody_can_write_into_them(make):
    np.testing.assert_array_equal(make(9, rng=1).covariance, make(9, rng=np.random.default_rng(1)).covariance)
    assert (make(9, rng=1).covariance != make(9, rng=2).covariance).any()
    with pytest.raises(ValueError, match="read-only"):
        make(9).covariance[0, 0] = 1.0


def test_the_spikes_are_multiples_of_the_flat_remainder():
    eigenvalues = spiked_covariance(50, spikes=[20.0, 5.0], volatility=0.02).eigenvalues
    np.testing.assert_allclose(eigenvalues / eigenvalues[0], [1.0] * 48 + [5.0, 20.0], rtol=1e-10)
    assert eigenvalues.mean() == pytest.approx(0.02**2)


def test_a_fifth_of_the_spectrum_is_at_one_and_two_fifths_each_at_three_and_ten():
    eigenvalues = ledoit_wolf_spectrum(100).eigenvalues
    np.testing.assert_allclose(eigenvalues / eigenvalues[0], [1.0] * 20 + [3.0] * 40 + [10.0] * 40, rtol=1e-10)


def test_directions_are_uniform_on_the_sphere():
    first = np.array([spiked_covariance(3, spikes=[9.0], rng=seed).eigenvectors[:, -1] for seed in range(2000)])
    np.testing.assert_allclose(first.T @ first / 2000, np.eye(3) / 3, atol=0.03)


def test_blocks_are_contiguous_of_nearly_equal_size_with_the_two_correlations():
    correlation = block_covariance(7, 3, 0.7, 0.2, dispersion=0.0).correlation
    together = np.isclose(correlation, 0.7)
    np.testing.assert_array_equal(together.sum(axis=1), [2, 2, 2, 1, 1, 1, 1])
    assert np.isclose(correlation[0, 3:], 0.2).all()


def test_correlations_that_cannot_hold_together_are_refused():
    with pytest.raises(ParameterError, match="not positive definite"):
        block_covariance(6, 2, 0.1, 0.9)


def test_without_dispersion_and_sectors_every_covariance_is_the_market_variance():
    options = {"coverage": 0.0, "beta_dispersion": 0.0, "dispersion": 0.0}
    covariance = factor_covariance(4, 3, market_volatility=0.01, volatility=0.02, **options).covariance
    np.testing.assert_allclose(covariance, 0.01**2 + 0.02**2 * np.eye(4), rtol=1e-12)


def test_sparse_factors_join_the_assets_they_cover_and_no_others():
    options = {"market_volatility": 0.0, "beta_dispersion": 0.0, "coverage": 0.3, "rng": 5}
    covariance = factor_covariance(400, 2, factor_volatility=0.01, **options).covariance
    joined = covariance - np.diag(np.diag(covariance)) > 0
    covered = joined.any(axis=1)
    assert 0.22 < covered.mean() < 0.38
    assert joined.sum() == covered.sum() * (covered.sum() - 1)


def test_idiosyncratic_volatilities_are_log_normal():
    log = np.log(factor_covariance(4000, 0, volatility=0.012, dispersion=0.4, rng=1).volatility)
    assert log.mean() == pytest.approx(np.log(0.012), abs=0.02)
    assert log.std() == pytest.approx(0.4, abs=0.015)


def test_stress_multiplies_volatilities_and_pulls_correlations():
    calm = factor_covariance(5, rng=2)
    crisis = stressed_population(calm, volatility=3.0, correlation=0.5, pull=0.25)
    np.testing.assert_allclose(crisis.volatility, 3 * calm.volatility, rtol=1e-12)
    away = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(crisis.correlation[away], 0.75 * calm.correlation[away] + 0.125, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Population(np.ones((2, 3))),
        lambda: Population(np.array([[1.0, 0.2], [0.3, 1.0]])),
        lambda: Population(np.ones((2, 2))),
        lambda: Population(np.array([[np.nan]])),
        lambda: spiked_covariance(2, spikes=[3.0, 2.0, 1.0]),
        lambda: spiked_covariance(2, spikes=[-1.0]),
        lambda: spiked_covariance(2, spikes=[2.0], volatility=0.0),
        lambda: ledoit_wolf_spectrum(0),
        lambda: block_covariance(3, 4),
        lambda: block_covariance(3, 2, dispersion=-1.0),
        lambda: factor_covariance(0),
        lambda: factor_covariance(3, coverage=1.5),
        lambda: factor_covariance(3, factor_volatility=-0.1),
        lambda: stressed_population(Population(np.eye(2)), volatility=0.0),
        lambda: stressed_population(Population(np.eye(2)), correlation=1.0),
    ],
)
def test_impossible_options_are_refused(make):
    with pytest.raises(ParameterError):
        make()
