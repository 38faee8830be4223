"""Tokens of a window: by hand, by slow twins, free of units, order and signs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned.tokens import (
    EIGEN_FEATURES,
    FAMILIES,
    MARKET_FEATURES,
    TEMPORAL_FEATURES,
    WINDOW_FEATURES,
    describe_tokens,
    market_features,
    temporal_features,
)
from eigenfolio.models.window import prepare_window


def returns(n_rows=200, n_assets=7, *, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))


def named(names, values):
    return dict(zip(names, values, strict=True))


def test_families_hold_every_feature_once_and_the_matrix_ones_come_first():
    assert WINDOW_FEATURES[: len(SPECTRUM_FEATURES)] == SPECTRUM_FEATURES
    assert len(set(WINDOW_FEATURES)) == len(WINDOW_FEATURES) == sum(map(len, FAMILIES.values()))


def test_numbers_of_an_eigenvalue_by_a_slow_twin():
    X = returns()
    window = prepare_window(X)
    found = describe_tokens(window)
    z, n_assets, n_rows = window.standardised, 7, 200
    values, vectors = np.linalg.eigh(z.T @ z / n_rows)
    for k in range(n_assets):
        value, vector = values[::-1][k], vectors[:, ::-1][:, k]
        path = [float(vector @ row) ** 2 for row in z]
        numbers = named(EIGEN_FEATURES, found.eigen[k])
        assert_allclose(numbers["log_eigenvalue"], np.log(value + 1e-4), rtol=1e-6)
        assert_allclose(numbers["rank_share"], (k + 0.5) / n_assets)
        assert_allclose(numbers["log_participation"], np.log(n_assets * sum(vector**4)), rtol=1e-6)
        assert_allclose(numbers["log_market_overlap"], np.log(sum(vector) ** 2 / n_assets + 1e-3), rtol=1e-6)
        recent, half = np.mean(path[-63:]), (np.mean(path[100:]), np.mean(path[:100]))
        assert_allclose(numbers["log_recent_variance"], np.log((recent + 1e-4) / (value + 1e-4)), atol=1e-9)
        assert_allclose(numbers["log_half_variance"], np.log((half[0] + 1e-4) / (half[1] + 1e-4)), atol=1e-9)


def test_the_null_space_has_one_set_of_numbers_whatever_its_basis():
    found = describe_tokens(prepare_window(returns(n_rows=20, n_assets=50)))
    null = found.eigenvalues == 0.0
    assert null.sum() == 31
    assert_allclose(found.eigen[null], np.broadcast_to(found.eigen[null][0], (31, len(EIGEN_FEATURES))))


def test_the_last_values_stand_where_counting_says():
    z = prepare_window(returns(seed=3)).standardised
    m = z.mean(axis=1) / np.sqrt((z.mean(axis=1) ** 2).mean())
    sizes = [np.sqrt(np.mean(m[t - 20 : t + 1] ** 2)) for t in range(20, 200)]
    below = sum(size < sizes[-1] - 1e-12 for size in sizes)
    trends = [np.mean(m[t - 99 : t + 1]) / np.sqrt(np.mean(m[t - 99 : t + 1] ** 2)) for t in range(99, 200)]
    correlations = []
    for t in range(62, 200):
        part = z[t - 62 : t + 1]
        cross = part.T @ part
        correlations.append((cross.sum() - np.trace(cross)) / 6 / np.trace(cross))
    numbers = named(MARKET_FEATURES, market_features(z))
    assert_allclose(numbers["volatility_percentile"], (below + 0.5) / len(sizes))
    assert_allclose(numbers["trend"], 10.0 * trends[-1], rtol=1e-9)
    lower = sum(abs(trend) < abs(trends[-1]) - 1e-12 for trend in trends)
    assert_allclose(numbers["trend_percentile"], (lower + 0.5) / len(trends))
    lower = sum(c < correlations[-1] - 1e-12 for c in correlations)
    assert_allclose(numbers["correlation_percentile"], (lower + 0.5) / len(correlations))
    path = np.concatenate([[0.0], np.cumsum(m)])
    assert_allclose(numbers["drawdown"], (max(path) - path[-1]) / np.sqrt(200))


def test_a_change_of_correlation_halfway_is_seen_and_none_is_small():
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((400, 1)), rng.standard_normal((400, 10))
    steady = named(TEMPORAL_FEATURES, temporal_features(prepare_window(common + own)))
    loads = np.where(np.arange(400)[:, None] < 200, 0.0, 2.0)
    broken = named(TEMPORAL_FEATURES, temporal_features(prepare_window(loads * common + own)))
    assert steady["correlation_change"] < 0.15
    assert broken["correlation_change"] > 0.5


def test_volatility_of_the_halves_by_hand():
    x = np.tile([[1.0, -1.0], [-1.0, 1.0]], (20, 1))
    x[20:] *= 2.0
    numbers = named(TEMPORAL_FEATURES, temporal_features(prepare_window(x)))
    assert numbers["log_half_volatility"] == pytest.approx(np.log(2.0), abs=0.02)
    assert numbers["asset_autocorrelation"] == pytest.approx(-1.0, abs=0.1)
    assert numbers["coverage"] == 0.0


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (3, 2), (22, 40), (300, 1)])
def test_every_shape_has_finite_numbers(shape):
    found = describe_tokens(prepare_window(returns(*shape)))
    for values in (found.eigen, found.context, found.features):
        assert np.isfinite(values).all()


def test_units_order_and_gaps_do_not_change_what_is_seen():
    X = returns(n_rows=150, n_assets=9)
    X[:40, 2] = np.nan
    found = describe_tokens(prepare_window(X))
    order = np.random.default_rng(1).permutation(9)
    other = describe_tokens(prepare_window(1000.0 * X[:, order]))
    assert_allclose(other.eigen, found.eigen, atol=1e-6)
    assert_allclose(other.features, found.features, atol=1e-7)
    assert other.regime == found.regime
