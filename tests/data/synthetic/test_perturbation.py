"""Noise on a truth that stays a truth, and crises whose covariance is known row by row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from eigenfolio.data.synthetic import (
    Garch,
    crisis_covariance,
    draw_market,
    factor_covariance,
    factor_market,
    inject_crisis,
    noisy_correlation,
    perturb_market,
    perturbed_eigenvalues,
)
from eigenfolio.errors import ParameterError
from eigenfolio.linalg import covariance_to_correlation


def correlation(n, seed=0):
    return covariance_to_correlation(factor_market(n, 1, seed=seed).covariance.to_numpy())[0]


@pytest.mark.parametrize("n", [2, 15, 60])
@pytest.mark.parametrize("size", [0.001, 0.05, 0.2])
def test_correlation_noise_has_the_stated_size_and_stays_a_correlation_matrix(n, size):
    before = correlation(n)
    noisy = noisy_correlation(before, size=size, rng=np.random.default_rng(1))
    change = (noisy - before)[np.triu_indices(n, k=1)]
    assert np.sqrt(np.mean(change**2)) == pytest.approx(size, rel=1e-9)
    assert_allclose(np.diag(noisy), 1.0)
    assert_allclose(noisy, noisy.T)
    assert np.linalg.eigvalsh(noisy)[0] > 0


def test_correlation_noise_keeps_a_rank_that_is_not_full():
    rows = np.random.default_rng(0).standard_normal((6, 10))
    before = covariance_to_correlation(rows.T @ rows)[0]
    noisy = noisy_correlation(before, size=0.1, rng=np.random.default_rng(1))
    assert np.linalg.matrix_rank(noisy, tol=1e-9) == 6


def test_correlation_noise_is_about_as_often_up_as_down():
    rng = np.random.default_rng(2)
    before = correlation(10)
    mean = np.mean([noisy_correlation(before, size=0.03, rng=rng) - before for _ in range(400)], axis=0)
    assert np.abs(mean).max() < 0.008


def test_no_noise_changes_nothing_and_too_much_is_refused():
    before = correlation(5)
    assert_allclose(noisy_correlation(before, size=0.0, rng=np.random.default_rng(0)), before, atol=1e-12)
    for size in (-0.1, 3.0, float("nan")):
        with pytest.raises(ParameterError, match="size"):
            noisy_correlation(before, size=size, rng=np.random.default_rng(0))


def test_eigenvalue_noise_has_the_stated_size_and_keeps_directions_and_trace():
    covariance = np.diag(np.arange(1.0, 501.0))
    changed = np.diag(perturbed_eigenvalues(covariance, size=0.3, rng=np.random.default_rng(0)))
    assert changed.sum() == pytest.approx(np.trace(covariance))
    assert np.std(np.log(changed / np.diag(covariance))) == pytest.approx(0.3, rel=0.1)
    dense = factor_market(6, 1, seed=1).covariance.to_numpy()
    moved = perturbed_eigenvalues(dense, size=0.3, rng=np.random.default_rng(0))
    assert_allclose(moved @ dense, dense @ moved, atol=1e-18)  # the same eigenvectors


def test_a_perturbed_market_obeys_its_stated_covariance_from_the_row_on():
    market = factor_market(4, 40_000, seed=3, start="1800-01-01")
    changed = perturb_market(market, correlation_noise=0.2, eigenvalue_noise=0.3, first_row=20_000, seed=4)
    returns = changed.panel.returns
    assert_allclose(returns.iloc[:20_000], market.panel.returns.iloc[:20_000], atol=1e-10)
    for rows, row in ((slice(0, 20_000), 0), (slice(20_000, 40_000), 39_999)):
        truth = changed.covariance_path.at(row)
        assert np.linalg.norm(returns.iloc[rows].cov() - truth) / np.linalg.norm(truth) < 0.05
    assert_allclose(changed.covariance, changed.covariance_path.at(39_999))
    assert np.trace(changed.covariance) == pytest.approx(np.trace(market.covariance))
    assert changed.parameters["changes"][0]["correlation_noise"] == 0.2


def test_a_correlation_noise_of_a_market_has_the_stated_size():
    market = factor_market(12, 50, seed=3)
    changed = perturb_market(market, correlation_noise=0.1, seed=4)
    before, after = (covariance_to_correlation(m.covariance.to_numpy())[0] for m in (market, changed))
    off = (after - before)[np.triu_indices(12, k=1)]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(0.1, rel=1e-6)


def test_the_crisis_covariance_is_the_one_worked_by_hand():
    calm = np.array([[1.0, 0.4], [0.4, 4.0]])  # correlation 0.2, volatilities 1 and 2
    crisis = crisis_covariance(calm, volatility_multiplier=2.0, level=0.8, pull=0.5)
    assert_allclose(crisis, 4 * np.array([[1.0, 1.0], [1.0, 4.0]]))  # correlation 0.5


def test_a_crisis_happens_in_its_rows_only_and_obeys_its_covariance():
    market = factor_market(4, 30_000, seed=3, start="1850-01-01")
    changed = inject_crisis(market, first_row=5_000, n_rows=20_000, volatility_multiplier=2.0, level=0.9, pull=0.6)
    returns = changed.panel.returns
    assert_allclose(returns.iloc[:5_000], market.panel.returns.iloc[:5_000], atol=1e-10)
    assert_allclose(returns.iloc[25_000:], market.panel.returns.iloc[25_000:], atol=1e-10)
    truth = changed.covariance_path.at(5_000)
    assert np.linalg.norm(returns.iloc[5_000:25_000].cov() - truth) / np.linalg.norm(truth) < 0.05
    assert_allclose(changed.covariance_path.at(4_999), market.covariance)
    assert_allclose(changed.covariance_path.at(25_000), market.covariance)
    assert_allclose(changed.covariance_path.mean(24_999, 25_001), (truth + market.covariance.to_numpy()) / 2)


def test_a_crisis_lies_over_a_path_that_moves():
    market = draw_market(factor_covariance(3), Garch(), 120, seed=1)
    changed = inject_crisis(market, first_row=50, n_rows=20, volatility_multiplier=3.0, level=0.5, pull=0.4)
    for row in (49, 50, 69, 70):
        calm = market.covariance_path.at(row)
        inside = 50 <= row < 70
        expected = crisis_covariance(calm, volatility_multiplier=3.0, level=0.5, pull=0.4) if inside else calm
        assert_allclose(changed.covariance_path.at(row), expected)


def test_a_crisis_of_a_market_with_gaps_keeps_the_gaps():
    market = factor_market(6, 200, seed=3, late_listings=0.5, delistings=0.3, gaps=0.05)
    changed = inject_crisis(market, first_row=20, n_rows=100)
    assert np.array_equal(changed.panel.returns.isna(), market.panel.returns.isna())
    assert np.array_equal(changed.panel.active_mask, market.panel.active_mask)


def test_the_same_seed_gives_the_same_bits():
    market = factor_market(4, 50, seed=0)
    for change in (
        lambda seed: perturb_market(market, correlation_noise=0.1, eigenvalue_noise=0.1, seed=seed),
        lambda seed: inject_crisis(market, first_row=5, n_rows=5, seed=seed),
    ):
        assert change(1).panel.fingerprint == change(1).panel.fingerprint != change(2).panel.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda market: inject_crisis(market, first_row=40, n_rows=11),
        lambda market: inject_crisis(market, first_row=4, n_rows=0),
        lambda market: inject_crisis(market, first_row=4, n_rows=5, level=1.1),
        lambda market: inject_crisis(market, first_row=4, n_rows=5, volatility_multiplier=0.0),
        lambda market: perturb_market(market, first_row=50),
        lambda market: perturb_market(market, eigenvalue_noise=-1.0),
        lambda market: perturb_market(factor_market(4, 50, gaps=0.3), correlation_noise=0.1),
    ],
)
def test_impossible_changes_are_refused(change):
    with pytest.raises(ParameterError):
        change(factor_market(4, 50, seed=0))
