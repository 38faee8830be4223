"""Window features: worked by hand, free of units and of the number of assets, finite on every window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from eigenfolio.features import SPECTRUM_FEATURES, spectrum_features
from eigenfolio.learned.window import shrinkage_window


def describe(returns) -> dict[str, float]:
    return dict(zip(SPECTRUM_FEATURES, shrinkage_window(np.asarray(returns, dtype=float)).features, strict=True))


def market(n_rows=300, n_assets=20, *, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))


def test_two_uncorrelated_assets_by_hand():
    z = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    values = dict(zip(SPECTRUM_FEATURES, spectrum_features(z, np.ones(2), np.eye(2), np.ones(2)), strict=True))
    assert values["log_aspect_ratio"] == pytest.approx(np.log(0.5))
    assert values["largest_share"] == pytest.approx(np.log(0.5))
    assert values["entropy"] == pytest.approx(1.0)
    assert values["entropy_rank"] == pytest.approx(0.0)
    assert values["log_condition"] == pytest.approx(0.0)
    assert values["noise_edge_share"] == 0.0
    assert values["mean_correlation"] == 0.0
    assert values["volatility_dispersion"] == 0.0
    assert values["absolute_to_root_mean_square"] == 1.0
    assert values["log_kurtosis"] == pytest.approx(np.log(1 / 3 + 1e-3))


def test_a_naive_twin_says_the_same():
    X = market()
    values = describe(X)
    C = np.corrcoef(X.T)
    lam = np.sort(np.linalg.eigvalsh(C))[::-1]
    pairs = [C[i, j] for i in range(20) for j in range(i)]
    assert values["largest_share"] == pytest.approx(np.log(lam[0] / 20))
    assert values["top_ten_share"] == pytest.approx(lam[:10].sum() / 20)
    assert values["log_condition"] == pytest.approx(np.log(lam[0] / lam[-1]))
    edge = (1 + (20 / 300) ** 0.5) ** 2
    assert values["noise_edge_count"] == pytest.approx(sum(x > edge for x in lam) / 20)
    assert values["mean_correlation"] == pytest.approx(np.mean(pairs))
    assert values["correlation_std"] == pytest.approx(np.std(pairs))
    assert values["correlation_above_0.4"] == pytest.approx(np.mean([abs(p) > 0.4 for p in pairs]))
    z = (X - X.mean(0)) / X.std(0)
    recent = [np.log((np.sqrt(np.mean(z[-63:, i] ** 2)) + 1e-3) / 1.001) for i in range(20)]
    assert values["realised_volatility_63"] == pytest.approx(np.mean(recent))


def test_calm_recent_days_show_as_negative_realised_volatility():
    X = market()
    X[-21:] *= 0.2
    values = describe(X)
    assert values["realised_volatility_10"] < -1
    assert values["realised_volatility_21"] < -1
    assert -1 < values["realised_volatility_126"] < 0


def test_a_horizon_longer_than_the_window_reads_as_the_window():
    assert describe(market(n_rows=100))["realised_volatility_252"] == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1e-4, 1e4), n_assets=st.integers(1, 40), n_rows=st.integers(3, 120), seed=st.integers(0, 99))
def test_features_are_finite_and_do_not_know_the_unit(scale, n_assets, n_rows, seed):
    X = market(n_rows, n_assets, seed=seed)
    one, two = shrinkage_window(X).features, shrinkage_window(scale * X).features
    assert np.isfinite(one).all()
    assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_the_order_of_the_assets_does_not_matter():
    X = market()
    order = np.random.default_rng(1).permutation(20)
    assert_allclose(shrinkage_window(X[:, order]).features, shrinkage_window(X).features, rtol=1e-9, atol=1e-9)
