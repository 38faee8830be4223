"""Aleatoric and epistemic parts: the law of total variance, and where members agree."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from random_spectral import random_spectral_bundle
from scipy.special import logit

from eigenfolio.errors import ParameterError
from eigenfolio.learned.member_uncertainty import (
    horizon_log_variance,
    logit_intensities,
    portfolio_log_variances,
    uncertainty_parts,
)
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import SpectralForward, classical_answer, combine, shrunk_spectrum
from eigenfolio.models.window import prepare_window


def described(n_assets=10, n_rows=90):
    rng = np.random.default_rng(0)
    x = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return spectral_window(prepare_window(x))


def test_the_parts_add_up_to_the_variance_of_draws_from_the_mixture():
    rng = np.random.default_rng(0)
    weights, means, variances = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 0.5, 2.0]), np.array([0.1, 1.0, 0.4])
    member = rng.choice(3, 400_000, p=weights)
    draws = rng.normal(means[member], np.sqrt(variances[member]))
    parts = uncertainty_parts(means, variances, weights=weights)
    assert parts.mean == pytest.approx(draws.mean(), abs=0.01)
    assert parts.total == pytest.approx(draws.var(), rel=0.01)
    assert parts.aleatoric == pytest.approx(weights @ variances)


def test_members_that_agree_leave_the_aleatoric_part_alone_and_one_member_has_no_epistemic_part():
    assert uncertainty_parts([2.0, 2.0, 2.0], 0.3).epistemic == 0.0
    assert uncertainty_parts([2.0], 0.3).total == 0.3
    assert uncertainty_parts([1.0, 2.0]).aleatoric == 0.0


@pytest.mark.parametrize("horizon", [1, 5, 21])
def test_a_realised_log_variance_scatters_by_trigamma_of_half_the_horizon(horizon):
    draws = np.log((np.random.default_rng(0).standard_normal((200_000, horizon)) ** 2).mean(axis=1))
    assert horizon_log_variance(horizon) == pytest.approx(draws.var(), rel=0.02)


def test_members_speak_on_scales_without_bounds():
    window = described()
    members = SpectralForward(random_spectral_bundle(n_members=3)).members(window)
    intensities = [shrunk_spectrum(window, member)[0] for member in members]
    assert_allclose(logit_intensities(window, members), logit(np.clip(intensities, 1e-6, 1 - 1e-6)))
    held = np.full(10, 0.1)
    expected = [np.log(held @ combine(window, member).dense() @ held) for member in members]
    assert_allclose(portfolio_log_variances(window, members, held), expected)
    assert uncertainty_parts(portfolio_log_variances(window, members, held)).epistemic > 0.0


def test_the_ends_of_the_intensities_stay_finite():
    window = described()
    assert np.isfinite(logit_intensities(window, [classical_answer(window)])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty_parts([1.0, 2.0], [0.1]), r"got shapes \(2,\), \(1,\) and \(2,\)"),
        (lambda: uncertainty_parts([1.0, 2.0], -0.1), "variances of at least 0"),
        (lambda: uncertainty_parts([1.0, 2.0], 0.1, weights=[0.5, 0.6]), "sum to 1"),
        (lambda: horizon_log_variance(0), "at least 1 row, got 0"),
        (
            lambda: portfolio_log_variances(described(), [], [1.0]),
            r"a portfolio of 10 assets is needed, got shape \(1,\)",
        ),
    ],
)
def test_what_has_no_parts_is_said(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
