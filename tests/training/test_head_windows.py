"""What windows teach heads: truths against brute force, portfolios and ratios worked by hand."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_spectral import random_spectral_bundle

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.heads import RISK_HORIZONS
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.models.minimum_variance import minimum_variance_weights
from eigenfolio.models.window import prepare_window
from eigenfolio.training import head_windows as rows
from eigenfolio.training.head_windows import head_windows, oracle_of, validation_portfolios
from eigenfolio.training.mixture import WindowSource, draw_mixture


def population(n_rows=90, n_assets=8, *, seed=0):
    rng = np.random.default_rng(seed)
    loadings = 0.01 * rng.standard_normal((n_assets, 2))
    truth = loadings @ loadings.T + np.diag(rng.uniform(0.5, 2, n_assets) * 1e-4)
    root = np.sqrt(n_assets) * np.linalg.cholesky(truth).T
    returns = rng.standard_normal((n_rows, n_assets)) @ np.linalg.cholesky(truth).T
    return spectral_window(prepare_window(returns)), root, truth


@pytest.mark.parametrize("n_rows", [90, 7])
def test_the_best_intensity_and_weights_are_those_of_a_search(n_rows):
    window, root, truth = population(n_rows)
    sigma = np.sqrt(np.diag(truth))
    correlation, identity = truth / np.outer(sigma, sigma), np.eye(8)
    steady, recent = ((s.vectors * (np.exp(s.tokens[: s.rank, 0]) - 1e-4)) @ s.vectors.T for s in window.spectra)
    tilt = np.outer(window.spectra[0].tilt, window.spectra[0].tilt)
    intensity, weights = oracle_of(window, root)
    grid = np.linspace(0, 1, 2001)
    losses = [np.sum(((1 - d) * steady + d * identity - correlation * tilt) ** 2) for d in grid]
    assert intensity == pytest.approx(grid[np.argmin(losses)], abs=1e-3)
    steps = np.linspace(0, 1, 101)
    best = min(
        (np.sum((a * steady / tilt + b * recent + (1 - a - b) * identity - correlation) ** 2), a, b)
        for a in steps
        for b in steps
        if a + b <= 1 + 1e-9
    )
    loss = np.sum((weights[0] * steady / tilt + weights[1] * recent + weights[2] * identity - correlation) ** 2)
    assert loss <= best[0] + 1e-9
    assert_allclose(weights[:2], best[1:], atol=0.02)
    assert weights.sum() == pytest.approx(1)


def test_the_truth_itself_needs_no_shrinkage():
    matrices = (np.array([[1.0, 0.5], [0.5, 1.0]]), np.ones((2, 2)), np.eye(2))
    assert_allclose(rows._simplex(matrices, matrices[0]), [1, 0, 0], atol=1e-9)
    assert_allclose(rows._simplex(matrices, 0.25 * matrices[1] + 0.75 * np.eye(2)) @ [0.5, 1, 0], 0.25, atol=1e-9)


def test_portfolios_are_fully_invested_and_the_last_is_the_calmest():
    rng = np.random.default_rng(0)
    covariance = FactorCovariance(rng.standard_normal((30, 3)), rng.uniform(0.01, 0.03, 30), np.full(30, 0.5))
    books = validation_portfolios(covariance, np.random.default_rng(1))
    assert_allclose(books.sum(axis=1), 1.0)
    assert (books[:4] >= 0).all()
    assert books[3].max() <= 0.05 + 1e-9
    assert_allclose(books[1] * np.sqrt(covariance.diagonal()), books[1, 0] * np.sqrt(covariance.diagonal()[0]))
    variances = [covariance.variance(book) for book in books]
    assert variances[4] == min(variances)
    assert variances[3] >= covariance.variance(minimum_variance_weights(covariance.dense(), LONG_ONLY)) - 1e-15


def test_a_log_ratio_is_worked_by_hand():
    covariance = FactorCovariance(np.zeros((2, 1)), np.array([0.01, 0.02]), np.ones(2))
    returns = np.array([[0.02, 0.0], [0.02, 0.0]])
    assert rows._log_ratio(np.array([1.0, 0.0]), covariance, returns) == pytest.approx(np.log(2))


def test_rows_say_what_came_and_market_windows_come_first_by_date():
    source = WindowSource(name="p", counts={6: 40}, change="population", max_lookback=70)
    drawn = draw_mixture({}, [source], through=None, seed=0, n_later=63)
    bundle = random_spectral_bundle(size=0.1)
    table = head_windows(drawn, bundle, reach={}, seed=0)
    assert table.ratios.shape == (40, 5, len(RISK_HORIZONS))
    assert np.isfinite(table.ratios).all()
    assert np.isnat(table.date).all()
    assert (table.regime == -1).all()
    assert ((table.oracle >= 0) & (table.oracle <= 1)).all()
    spread = table.ratios.std(axis=(0, 1))
    assert spread[0] > 1.5 * spread[-1]  # five rows say less of a volatility than 63


@pytest.mark.slow
def test_rows_have_the_same_bits_for_any_number_of_workers():
    source = WindowSource(name="p", counts={6: 150}, change="population", max_lookback=70)
    drawn = draw_mixture({}, [source], through=None, seed=0, n_later=63)
    one, two = (head_windows(drawn, random_spectral_bundle(), reach={}, seed=0, n_jobs=n) for n in (1, 2))
    for name in one.__dataclass_fields__:
        assert_array_equal(getattr(one, name), getattr(two, name))


def test_windows_of_a_market_teach_the_same_bits_wherever_they_were_drawn():
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((500, 1)) + rng.standard_normal((500, 40)))
    X = pd.DataFrame(returns, index=pd.bdate_range("2001-01-01", periods=500))
    source = WindowSource(name="market", panels=("stocks",), counts={12: 12, 30: 12}, max_lookback=120)
    reach = {"market": pd.Timedelta(days=100)}
    found = []
    for n_jobs in (1, 2):
        drawn = draw_mixture({"stocks": X}, [source], through=X.index[-1], seed=3, n_later=63, n_jobs=n_jobs)
        found.append(head_windows(drawn, random_spectral_bundle(), reach=reach, seed=0))
    for name in found[0].__dataclass_fields__:
        assert_array_equal(getattr(found[0], name), getattr(found[1], name), err_msg=name)
