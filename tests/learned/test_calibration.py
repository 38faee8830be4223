"""Does the forecast have the right size in market conditions that the weights have not seen?"""

import numpy as np
import pandas as pd
import pytest

from eigenfolio import NeuralShrinkage

N_ASSETS, N_ROWS, LOOKBACK, STEP = 40, 400, 252, 21
LEVELS = {"calm": 1.0, "crisis": 3.0, "calm again": 1.0}


def drawn_market(seed):
    """A one-factor market whose volatility triples for 400 rows and returns; rows, and the covariance when calm."""
    rng = np.random.default_rng(seed)
    loading, own = rng.normal(0.010, 0.003, N_ASSETS), rng.uniform(0.008, 0.025, N_ASSETS)
    covariance = np.outer(loading, loading) + np.diag(own**2)
    root = np.linalg.cholesky(covariance)
    rows = [level * rng.standard_normal((N_ROWS, N_ASSETS)) @ root.T for level in LEVELS.values()]
    return pd.DataFrame(np.vstack(rows), index=pd.bdate_range("2010-01-01", periods=len(LEVELS) * N_ROWS)), covariance


@pytest.fixture(scope="module")
def market():
    return drawn_market(11)


def fitted(returns, row):
    return NeuralShrinkage("synthetic", lookback=LOOKBACK).fit(returns.iloc[:row])


@pytest.mark.parametrize("regime", list(LEVELS))
def test_once_a_regime_fills_the_window_the_forecast_has_its_size(regime):
    """The mean of r' S^-1 r / N over all r of the true covariance, which is 1 where the size is right."""
    start = N_ROWS * list(LEVELS).index(regime)
    ratios = []
    for seed in range(11, 21):
        returns, calm = drawn_market(seed)
        for row in range(start + LOOKBACK, start + N_ROWS, STEP):
            truth = LEVELS[regime] ** 2 * calm
            ratios.append(np.trace(np.linalg.solve(fitted(returns, row).covariance_, truth)) / N_ASSETS)
    ratios = np.array(ratios)
    assert ratios.shape == (80,)
    assert 0.97 < ratios.mean() < 1.03
    assert (np.abs(ratios - 1.0) < 0.15).mean() >= 0.95  # the level is measured on some 28 rows, and is noisy
    assert np.abs(ratios - 1.0).max() < 0.25


@pytest.mark.parametrize(("rows", "lowest"), [(10, np.sqrt(3.0)), (21, 2.4), (63, 2.7)])
def test_weeks_after_volatility_tripled_the_forecast_is_nearer_the_new_level_than_the_old(market, rows, lowest):
    returns, calm = market
    level = np.median(fitted(returns, N_ROWS + rows).volatility_ / np.sqrt(np.diag(calm)))
    assert lowest < level < 3.3
