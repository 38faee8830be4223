"""The forward pass against torch, and the covariance that its answer makes in all its forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_bundles import random_bundle
from random_spectral import WIDTHS, random_spectral_bundle, torch_member
from scipy.special import ndtr

from eigenfolio.errors import ArtifactError
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import (
    EIGENVALUE_TRUST,
    FEATURE_BOUND,
    SpectralAnswer,
    SpectralForward,
    _gelu,
    _recurrence,
    classical_answer,
    combine,
    mean_answer,
    shrunk_spectrum,
)
from eigenfolio.models.window import prepare_window

SHAPES = [(1, 60), (2, 30), (7, 90), (40, 300), (60, 30), (33, 34)]


def described(n_assets, n_rows, *, seed=0):
    rng = np.random.default_rng(seed)
    x = 0.01 * (rng.standard_t(5, (n_rows, 1)) + rng.standard_t(5, (n_rows, n_assets)) * rng.uniform(0.5, 2, n_assets))
    return spectral_window(prepare_window(x))


def tensors(bundle, window, n_padding=0):
    """Scaled inputs of the torch network, with rubbish in the padding."""

    def scaled(kind, values, b):
        center, scale = (bundle.tensors[f"{kind}_{part}"][b].astype(float) for part in ("center", "scale"))
        return np.clip((values - center) / scale, -FEATURE_BOUND, FEATURE_BOUND)

    longest = max(len(spectrum.tokens) for spectrum in window.spectra) + n_padding
    tokens, valid = np.full((2, 1, longest, WIDTHS[0]), 3.3), np.zeros((2, 1, longest), dtype=bool)
    for b, spectrum in enumerate(window.spectra):
        tokens[b, 0, : len(spectrum.tokens)] = scaled("token", spectrum.tokens, b)
        valid[b, 0, : len(spectrum.tokens)] = True
    assets = np.stack([scaled("asset", s.assets, b)[None] for b, s in enumerate(window.spectra)])
    context = np.stack([scaled("context", s.context, b)[None] for b, s in enumerate(window.spectra)])
    summary = scaled("summary", window.summary, slice(None))[None]
    return [torch.from_numpy(part) for part in (tokens, assets, context, valid, summary)]


def test_the_level_moves_the_scale_freely_and_the_summary_net_by_a_tenth_at_most():
    bundle, window = random_spectral_bundle(), described(7, 90)
    out = np.zeros_like(bundle.tensors["summary_out.weight"])
    for sign in (-1.0, 1.0):
        tensors = bundle.tensors | {"summary_out.weight": out, "summary_out.bias": np.array([[50.0 * sign, 0.0, 0.0]])}
        for level in (0.0, 3.0):
            said = SpectralForward(replace(bundle, tensors=tensors | {"level": np.array([[level]])})).members(window)
            center, scale = bundle.tensors["summary_center"][-1], bundle.tensors["summary_scale"][-1]
            assert said[0].log_scale == pytest.approx(level * (window.summary[-1] - center) / scale + 0.1 * sign)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_padding", [0, 5])
def test_the_numpy_pass_equals_torch(shape, n_padding):
    bundle, window = random_spectral_bundle(n_members=3, seed=shape[0]), described(*shape)
    for member, ours in enumerate(SpectralForward(bundle).members(window)):
        with torch.no_grad():
            theirs = torch_member(bundle, member)(*tensors(bundle, window, n_padding))
        assert_allclose(ours.volatility_change, theirs.volatility_change[0], atol=1e-9)
        for b, change in enumerate(ours.eigenvalue_change):
            assert_allclose(change, EIGENVALUE_TRUST * theirs.eigenvalue_change[b, 0, : len(change)], atol=1e-9)
        assert_allclose(ours.shares, theirs.shares[0], atol=1e-9)
        assert ours.log_scale == pytest.approx(theirs.log_scale.item(), abs=1e-9)
        assert np.abs(ours.volatility_change).max() > 1e-3
        assert np.abs(ours.eigenvalue_change[1]).max() > 1e-3


def test_the_tabled_gelu_is_the_exact_one_to_1e_11_and_takes_any_number():
    x = np.concatenate([np.linspace(-12, 12, 20001), [-np.inf, np.inf, np.nan, 9.0, -9.0]])
    expected = np.where(np.isinf(x), np.where(x > 0, np.inf, 0.0), x * ndtr(np.where(np.isfinite(x), x, 0.0)))
    expected[np.isnan(x)] = np.nan
    assert_allclose(_gelu(x.copy()), expected, atol=1e-11)


def test_the_recurrence_by_hand():
    taken = np.array([[[0.5, 1.0], [0.5, 0.5], [1.0, 0.25]]])
    candidate = np.array([[[1.0, 1.0], [2.0, 3.0], [4.0, 8.0]]])
    # forwards 0.5, 1.25, 4; backwards 0.25 * 8 = 2, then 2.5, then 1
    assert_allclose(_recurrence(taken, candidate)[0], [[0.5, 1.0], [1.25, 2.5], [4.0, 2.0]])


def test_a_zero_network_gives_the_classical_answer():
    bundle, window = random_spectral_bundle(trained=False), described(12, 80)
    [answer] = SpectralForward(bundle).members(window)
    expected = classical_answer(window)
    assert all(not change.any() for change in answer.eigenvalue_change)
    assert not answer.volatility_change.any()
    assert_array_equal(answer.shares, expected.shares)
    assert_array_equal(combine(window, answer).dense(), combine(window, expected).dense())


def test_members_are_averaged_where_they_speak():
    window = described(9, 80)
    members = SpectralForward(random_spectral_bundle(n_members=3)).members(window)
    answer = mean_answer(members)
    assert_allclose(answer.volatility_change, np.mean([m.volatility_change for m in members], axis=0))
    assert_allclose(answer.shares, np.mean([m.shares for m in members], axis=0))
    assert answer.log_scale == pytest.approx(np.mean([m.log_scale for m in members]))
    assert_allclose(answer.eigenvalue_change[1], np.mean([m.eigenvalue_change[1] for m in members], axis=0))
    assert mean_answer(members[:1]) is members[0]


def slow_covariance(window, answer):
    """The formula with all N eigenvectors: those of the null space are any that complete the kept ones."""
    n_assets = len(window.log_volatility)
    correlation = 1e-4 * np.eye(n_assets)
    for spectrum, change, share in zip(window.spectra, answer.eigenvalue_change, answer.shares, strict=True):
        values = np.exp(spectrum.log_eigenvalues + change)
        kept = values[: spectrum.rank]
        basis = np.linalg.svd(spectrum.vectors, full_matrices=True)[0][:, spectrum.rank :]
        part = spectrum.vectors * kept @ spectrum.vectors.T
        if spectrum.rank < n_assets:
            part += min(values[-1], kept.min()) * basis @ basis.T
        correlation += share * part / np.outer(spectrum.tilt, spectrum.tilt)
    sigma = np.exp(0.3 * window.log_volatility + 0.7 * window.log_ewma_volatility)
    sigma *= np.exp(answer.volatility_change + answer.log_scale)
    return sigma[:, None] * correlation * sigma


@pytest.mark.parametrize("shape", SHAPES)
def test_the_low_rank_form_is_the_formula_written_out(shape):
    window = described(*shape)
    [answer] = SpectralForward(random_spectral_bundle(seed=4)).members(window)
    structure, expected = combine(window, answer), slow_covariance(window, answer)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert_allclose(structure.dense() / scale, expected / scale, atol=1e-12)
    assert_array_equal(structure.dense(), structure.dense().T)


def test_diagonal_variance_and_solve_agree_with_the_dense_matrix():
    for shape in SHAPES:
        window = described(*shape)
        [answer] = SpectralForward(random_spectral_bundle(seed=1)).members(window)
        structure = combine(window, answer)
        dense, rng = structure.dense(), np.random.default_rng(0)
        weights, many = rng.standard_normal(shape[0]), rng.standard_normal((shape[0], 3))
        assert_allclose(structure.diagonal(), np.diag(dense), rtol=1e-12)
        assert structure.variance(weights) == pytest.approx(weights @ dense @ weights, rel=1e-10)
        assert_allclose(dense @ structure.solve(weights), weights, atol=1e-8)
        assert_allclose(structure.solve(many), np.linalg.solve(dense, many), rtol=1e-6)


def test_a_factor_covariance_by_hand():
    structure = FactorCovariance(np.array([[1.0], [2.0]]), np.array([1.0, 0.5]), np.array([1.0, 2.0]))
    assert_allclose(structure.dense(), [[2.0, 1.0], [1.0, 1.5]])
    assert structure.variance(np.array([1.0, -1.0])) == pytest.approx(1.5)
    assert_allclose(structure.diagonal(), [2.0, 1.5])
    assert_allclose(structure.solve(np.array([1.0, 1.0])), [0.25, 0.5])


def test_the_closest_intensity_is_recovered_from_a_linear_shrinkage():
    window = described(8, 200)
    eigenvalues = np.exp(window.spectra[0].tokens[:, 0]) - 1e-4
    for intensity in (0.0, 0.3, 1.0):
        change = np.log((1 - intensity) * eigenvalues + intensity) - window.spectra[0].log_eigenvalues
        answer = replace(classical_answer(window), eigenvalue_change=(change, np.zeros(8)))
        found, block = shrunk_spectrum(window, answer)
        assert found == pytest.approx(intensity, abs=1e-9)
        assert_allclose(block[:, 0], eigenvalues)
        assert_allclose(block[:, 1], (1 - intensity) * eigenvalues + intensity)


def test_the_null_space_never_lies_above_what_is_kept():
    window = described(40, 20)
    changes = []
    for spectrum in window.spectra:
        change = np.zeros_like(spectrum.log_eigenvalues)
        change[-1] = 3.0
        changes.append(change)
    answer = SpectralAnswer(tuple(changes), np.zeros(40), np.array([0.5, 0.5]), 0.0)
    structure = combine(window, answer)
    assert np.isfinite(structure.factor).all()
    assert np.linalg.eigvalsh(structure.dense())[0] > 0


def test_inputs_are_scaled_clipped_and_counted_when_out_of_range():
    bundle, window = random_spectral_bundle(), described(6, 60)
    narrow = dict(bundle.tensors) | {"summary_scale": np.full(WIDTHS[3], 1e-6)}
    assert SpectralForward(replace(bundle, tensors=narrow)).out_of_range(window) > 0.9
    wide = dict(bundle.tensors) | {"summary_scale": np.full(WIDTHS[3], 1e6)}
    assert SpectralForward(replace(bundle, tensors=wide)).out_of_range(window) == 0.0


def test_bundles_of_another_kind_or_with_other_inputs_are_refused():
    with pytest.raises(ArtifactError, match="expected a bundle of shrinkage/spectral, got shrinkage/dense"):
        SpectralForward(random_bundle())
    names = random_spectral_bundle().feature_names
    for other in (names[1:], (names[1], names[0], *names[2:])):
        with pytest.raises(ArtifactError, match="other inputs"):
            SpectralForward(random_spectral_bundle(names=other))
