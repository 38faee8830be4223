"""A summary that is put in comes out in the answer, and attributions of it add up."""

import numpy as np
import pandas as pd
import pytest
from random_spectral import random_spectral_bundle

from eigenfolio import NeuralShrinkage
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.attribution import integrated_gradients, permutation_attribution
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.learned.spectra import CONTEXT_FEATURES, SUMMARY_FEATURES, spectral_window
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.learned.summary_answers import summary_answer, summary_center, with_summary
from eigenfolio.models.window import prepare_window


def returns(seed, n_assets=8):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((150, n_assets)) + 0.7 * rng.standard_normal((150, 1)))


@pytest.fixture(scope="module")
def window():
    return spectral_window(prepare_window(returns(0)))


def planted(name, size=2.0):
    """Weights whose share of the recent spectrum hangs on one input of the summary and on nothing else."""
    bundle = random_spectral_bundle(trained=False)
    tensors = {key: tensor.copy() for key, tensor in bundle.tensors.items()}
    for key in ("summary_in", "summary_hidden", "summary_out"):
        tensors[f"{key}.weight"][...] = 0.0
        tensors[f"{key}.bias"][...] = 0.0
    tensors["summary_in.weight"][0, 0, SUMMARY_FEATURES.index(name)] = 1.0
    tensors["summary_in.bias"][0, 0] = 3.0  # where a GELU is nearly the identity
    tensors["summary_hidden.weight"][0, 0, 0] = 1.0
    tensors["summary_out.weight"][0, 2, 0] = size
    tensors["summary_out.bias"][0, 2] = -3.0 * size
    return type(bundle)(
        bundle.family, bundle.network, bundle.options, bundle.feature_names, tensors, bundle.trained_through
    )


def test_its_own_summary_gives_the_answer_of_the_estimator(window):
    X = pd.DataFrame(returns(0))
    bundle = shipped_bundle("spectral", "synthetic")
    model = NeuralShrinkage(bundle, undated="newest").fit(X)
    assert model.guard_.relation == model.guard_.range == 0.0
    (own,) = summary_answer(bundle, window)(window.summary[None])
    assert own == pytest.approx(model.shrinkage_, abs=1e-12)
    (variance,) = summary_answer(bundle, window, quantity="log_variance")(window.summary[None])
    weights = np.full(8, 1 / 8)
    assert variance == pytest.approx(np.log(weights @ model.covariance_ @ weights), abs=1e-10)


def test_context_moves_with_the_summary(window):
    moved = with_summary(window, window.summary + np.arange(len(window.summary)))
    width = len(CONTEXT_FEATURES)
    half = len(SUMMARY_FEATURES) // 2
    np.testing.assert_array_equal(moved.spectra[0].context, moved.summary[:width])
    np.testing.assert_array_equal(moved.spectra[1].context, moved.summary[half : half + width])


def test_a_planted_input_is_the_only_one_that_permutation_finds():
    name = "steady_mean_correlation"
    windows = [spectral_window(prepare_window(returns(seed))) for seed in range(12)]
    bundle = planted(name)
    table = pd.DataFrame([window.summary for window in windows], columns=SUMMARY_FEATURES)
    found = permutation_attribution(
        summary_answer(bundle, windows, quantity="recent_share"), table, rng=np.random.default_rng(0), n_repeats=2
    )
    assert found.index[0] == name
    assert found["change"].iloc[0] > 0.0
    assert (found["change"].iloc[1:] < 1e-20).all()


def test_integrated_gradients_of_a_planted_input_add_up_to_the_difference(window):
    name = "steady_mean_correlation"
    bundle = planted(name)
    answer = summary_answer(bundle, window, quantity="recent_share")
    found = integrated_gradients(answer, window.summary, summary_center(bundle), names=SUMMARY_FEATURES, n_nodes=24)
    difference = float(np.diff(answer(np.stack([summary_center(bundle), window.summary])))[0])
    assert abs(difference) > 0.01
    assert found.values[name] == pytest.approx(difference, rel=1e-3)
    assert found.values.drop(name).abs().max() < 1e-9


def test_integrated_gradients_of_random_weights_add_up(window):
    bundle = random_spectral_bundle(n_members=2, seed=4)
    answer = summary_answer(bundle, window, quantity="log_variance")
    found = integrated_gradients(answer, window.summary, summary_center(bundle), names=SUMMARY_FEATURES, n_nodes=24)
    assert found.answer != found.baseline
    assert abs(found.gap) < 0.02 * found.values.abs().sum()


def test_rows_and_windows_must_match(window):
    answer = summary_answer(random_spectral_bundle(), [window, window])
    with pytest.raises(ParameterError, match="one row of summary per window, 2, got 1"):
        answer(window.summary[None])
    with pytest.raises(ParameterError, match="quantity must be one of"):
        summary_answer(random_spectral_bundle(), window, quantity="beta")
    assert SpectralForward(random_spectral_bundle()).n_members == 1
