import numpy as np
import pandas as pd
import pytest

from eigenfolio import NeuralShrinkage
from eigenfolio.constraints import UNCONSTRAINED
from eigenfolio.learned.guard import guarded
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import SpectralAnswer, classical_answer
from eigenfolio.models import QuadraticInverseShrinkage, minimum_variance_weights
from eigenfolio.models.window import prepare_window


def stocks(n_rows: int = 300, n_assets: int = 60, seed: int = 0) -> np.ndarray:
    """A market factor, dispersed betas and own volatilities that wander."""
    rng = np.random.default_rng(seed)
    market = 0.009 * rng.standard_normal((n_rows, 1))
    wander = np.exp(0.03 * np.cumsum(rng.standard_normal((n_rows, n_assets)), axis=0))
    own = 0.015 * np.exp(0.3 * rng.standard_normal(n_assets)) * wander
    return market * (1.0 + 0.3 * rng.standard_normal(n_assets)) + own * rng.standard_normal((n_rows, n_assets))


def with_inverse_fund(X: np.ndarray, *, exposure: float = -1.0, noise: float = 0.0002, place: int = -1) -> np.ndarray:
    """Make one column a fund on the mean of the others."""
    changed, rng = X.copy(), np.random.default_rng(9)
    rest = np.delete(X, place, axis=1)
    changed[:, place] = exposure * rest.mean(axis=1) + noise * rng.standard_normal(len(X))
    return changed


def guard_of(X: np.ndarray, *, out_of_range: float = 0.0):
    window = spectral_window(prepare_window(X))
    return guarded(window, classical_answer(window), out_of_range=out_of_range)


def test_an_ordinary_market_is_left_as_it_is():
    window = spectral_window(prepare_window(stocks()))
    answer = classical_answer(window)
    left, guard = guarded(window, answer, out_of_range=0.05)
    assert left is answer
    assert (guard.relation, guard.range, guard.assets) == (0.0, 0.0, ())


def test_an_inverse_fund_is_found_wherever_it_stands_and_whatever_its_exposure():
    for place, exposure in [(0, -1.0), (17, -2.0), (59, -0.5)]:
        guard = guard_of(with_inverse_fund(stocks(), exposure=exposure, place=place))[1]
        assert guard.relation > 0.8
        assert place in guard.assets


def test_two_inverse_funds_do_not_hide_each_other():
    X = with_inverse_fund(stocks())
    X[:, 0] = X[:, -1] + 0.0001 * np.random.default_rng(1).standard_normal(len(X))
    guard = guard_of(X)[1]
    assert guard.relation == 1.0
    assert set(guard.assets) >= {0, 59}


def test_a_fund_that_hardly_moves_does_not_hide_an_inverse_one():
    X = with_inverse_fund(stocks(), noise=0.0006)
    X[:, 0] = 0.0001 * np.random.default_rng(1).standard_normal(len(X))
    guard = guard_of(X)[1]
    assert guard.relation > 0.8
    assert guard.assets == (59,)


def test_a_long_index_fund_and_copies_are_left_to_the_network():
    assert guard_of(with_inverse_fund(stocks(), exposure=1.0))[1].relation == 0.0
    X = stocks()
    X[:, 30:33] = X[:, :3] + 0.0003 * np.random.default_rng(2).standard_normal((300, 3))
    assert guard_of(X)[1].relation == 0.0


def test_under_the_damped_volatilities_a_relation_that_held_in_every_row_is_a_null_vector():
    X = with_inverse_fund(stocks(), noise=0.0)
    window = spectral_window(prepare_window(X))
    spectrum = window.spectra[0]
    relation = np.append(np.full(59, 1.0 / 59.0), 1.0)
    raw = np.exp(spectrum.tokens[:, 0]) - 1e-4

    def share(log_volatility: np.ndarray) -> float:
        exposure = spectrum.vectors.T @ (relation * np.exp(log_volatility) / spectrum.tilt)
        return float(raw @ exposure**2) / float(
            (relation * np.exp(log_volatility)) @ (relation * np.exp(log_volatility))
        )

    assert share(window.log_damped_volatility) < 1e-8
    assert share(window.log_ewma_volatility) > 1e-4


def test_a_guarded_answer_keeps_the_hedge_and_an_unguarded_one_loses_it():
    X = with_inverse_fund(stocks())
    window = spectral_window(prepare_window(X))
    rng = np.random.default_rng(3)
    changes = tuple(0.3 * rng.standard_normal(len(s.log_eigenvalues)) for s in window.spectra)
    spoilt = SpectralAnswer(changes, 0.3 * rng.standard_normal(60), np.array([0.3, 0.7]), 0.1)
    kept, guard = guarded(window, spoilt, out_of_range=0.0)
    assert guard.relation == 1.0
    assert kept.shares.tolist() == [1.0, 0.0]
    assert kept.log_scale == 0.1
    assert all((change == 0.0).all() for change in kept.eigenvalue_change)
    shift = window.log_volatility + 0.7 * (window.log_ewma_volatility - window.log_volatility) + kept.volatility_change
    np.testing.assert_allclose(np.ptp(shift - window.log_damped_volatility), 0.0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [150, 300])
def test_with_shipped_weights_an_inverse_fund_does_no_harm(n_rows):
    X = with_inverse_fund(stocks(2 * n_rows))
    past, future = X[:n_rows], X[n_rows:]
    qis = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False).fit(past).covariance_
    model = NeuralShrinkage("synthetic").fit(past)
    assert model.guard_.relation == 1.0
    assert 59 in model.guard_.assets
    calm = {
        name: np.std(future @ minimum_variance_weights(covariance, UNCONSTRAINED))
        for name, covariance in [("qis", qis), ("ours", model.covariance_)]
    }
    assert calm["ours"] < 1.02 * calm["qis"]


def test_inputs_nobody_has_seen_bring_the_classical_answer_back():
    window = spectral_window(prepare_window(stocks()))
    rng = np.random.default_rng(4)
    changes = tuple(0.3 * rng.standard_normal(len(s.log_eigenvalues)) for s in window.spectra)
    answer = SpectralAnswer(changes, 0.3 * rng.standard_normal(60), np.array([0.3, 0.7]), 0.1)
    half, guard = guarded(window, answer, out_of_range=0.25)
    assert guard.range == pytest.approx(0.5)
    np.testing.assert_allclose(half.volatility_change, 0.5 * answer.volatility_change)
    np.testing.assert_allclose(half.shares, [0.4, 0.6])
    whole, _ = guarded(window, answer, out_of_range=0.9)
    expected = classical_answer(window)
    assert whole.log_scale == 0.0
    assert whole.shares.tolist() == expected.shares.tolist()
    assert all((change == 0.0).all() for change in (*whole.eigenvalue_change, whole.volatility_change))


def test_positions_are_those_of_the_columns_when_assets_are_missing():
    X = pd.DataFrame(with_inverse_fund(stocks()))
    X.insert(0, "gone", np.nan)
    X.columns = [str(name) for name in X.columns]
    model = NeuralShrinkage("synthetic").fit(X)
    assert "59" in [X.columns[i] for i in model.guard_.assets]


def test_an_untrained_network_needs_no_guard():
    assert NeuralShrinkage(None).fit(with_inverse_fund(stocks())).guard_.relation == 0.0
