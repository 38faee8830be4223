"""Losses by name in the training of spectral networks: what they see as truth, their values, gradients and records."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError
from random_spectral import random_spectral_bundle, torch_member

from eigenfolio.errors import ParameterError
from eigenfolio.learned.spectral import EIGENVALUE_TRUST, SpectralForward, combine, shrunk_spectrum
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.initial_weights import bundle_scaler
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.loss_terms import Stein
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.named_losses import FLOORED, NAMES, best_intensity, named_loss, predicted_intensity
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.spectral import SpectralLoss, spectral_loss
from eigenfolio.training.spectral_heads import SpectralHeads

FLOOR = 0.2
BUNDLE = random_spectral_bundle(seed=3, size=0.5)
ONLY = {"variance": 0.0, "leverage": 0.0, "long_only": 0.0, "likelihood": 0.0}


def panel(n_rows=260, n_assets=14) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)) * rng.uniform(0.5, 2, n_assets)
    return pd.DataFrame(0.01 * x, index=pd.bdate_range("2001-01-01", periods=n_rows))


MARKET = WindowSource(name="market", panels=("stocks",), counts={6: 2, 12: 2}, max_lookback=90, horizon=5, pairs=21)
POPULATIONS = WindowSource(name="simulated", counts={8: 2, 12: 2}, change="population", max_lookback=90, pairs=21)
DRAWN = draw_mixture({"stocks": panel()}, [MARKET, POPULATIONS], through=panel().index[-1], seed=4)
SAMPLES = drawn_samples(DRAWN)
ORDERED = [
    next(window for window in DRAWN if np.allclose(window.window.summary, row, rtol=1e-5))
    for group in SAMPLES.groups
    for row in group.summary.numpy()
]


def half_trusted(network):
    """Inference takes half of what the network says of eigenvalues."""

    def call(*inputs):
        output = network(*inputs)
        return output._replace(eigenvalue_change=EIGENVALUE_TRUST * output.eigenvalue_change)

    return call


def loss_of(named, network=None, **options):
    network = half_trusted(torch_member(BUNDLE).float()) if network is None else network
    return spectral_loss(bundle_scaler(BUNDLE), SpectralLoss(named=named, **options))(network, list(SAMPLES.groups))


def scaled(drawn):
    """Estimates now and before, truth and best intensity of a window by numpy, in median volatilities."""
    forward = SpectralForward(BUNDLE)
    unit = np.exp(np.median(drawn.window.log_volatility))
    now, before = (combine(w, forward.members(w)[0]).dense() / unit**2 for w in (drawn.window, drawn.earlier))
    y = drawn.future / unit
    return now, before, y.T @ y / len(y)


def floored(R, drawn):
    return R if drawn.date is None else (1 - FLOOR) * R + FLOOR * np.trace(R) / len(R) * np.eye(len(R))


def kl(E, S):
    n = len(E)
    return (np.trace(np.linalg.inv(E) @ S) - n + np.linalg.slogdet(E)[1] - np.linalg.slogdet(S)[1]) / 2 / n


def steady(drawn):
    """Sample matrix of the steady spectrum, its eigenvectors, and the standardised returns of the horizon."""
    spectrum = drawn.window.spectra[0]
    V, values = spectrum.vectors.astype(float), np.exp(spectrum.tokens[:, 0]) - 1e-4
    null = values[-1] if len(values) > spectrum.rank else 0.0
    C = V @ np.diag(values[: spectrum.rank] - null) @ V.T + null * np.eye(len(V))
    return C, drawn.future / np.exp(drawn.window.log_volatility) * spectrum.tilt


def test_values_are_those_of_numpy_on_real_and_on_simulated_windows():
    named = {
        "frobenius": 0.5,
        "frobenius_normalised": {"weight": 2.0, "by": "trace"},
        "kl": 0.7,
        "log_det": 1.5,
        "spectral": 0.1,
        "stability": 0.3,
    }
    found = loss_of(named, **ONLY)
    for row, drawn in enumerate(ORDERED):
        E, before, R = scaled(drawn)
        S = floored(R, drawn)
        expected = {
            "frobenius": ((E - R) ** 2).sum(),
            "frobenius_normalised": ((E - R) ** 2).sum() / np.trace(R) ** 2,
            "kl": kl(E, S),
            "log_det": ((np.linalg.slogdet(E)[1] - np.linalg.slogdet(S)[1]) / len(E)) ** 2,
            "spectral": np.linalg.norm(E - R, 2),
            "stability": ((E - before) ** 2).sum() / np.linalg.norm(E) / np.linalg.norm(before),
        }
        for name, value in expected.items():
            assert found.parts[name][row].item() == pytest.approx(value, rel=2e-3, abs=1e-4), name
    weights = {"frobenius": 0.5, "frobenius_normalised": 2.0, "kl": 0.7, "log_det": 1.5, "spectral": 0.1}
    total = sum(weight * found.parts[name] for name, weight in weights.items()) + 0.3 * found.parts["stability"]
    assert_allclose(found.total.detach(), total.detach(), rtol=1e-12)


def test_distances_vanish_at_the_true_covariance_of_a_simulated_window_and_at_the_floored_one_of_a_real_one():
    for group in SAMPLES.groups:
        R = group.future.double().mT @ group.future.double() / group.future.shape[1]
        for name in sorted({"frobenius", "frobenius_normalised", "spectral"} | FLOORED):
            E = R + 1e-9 * torch.eye(group.n_assets)
            if name in FLOORED and not group.simulated.all():
                mean = E.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
                E = (1 - FLOOR) * E + FLOOR * mean * torch.eye(group.n_assets)
            zero = named_value(name, group, E)
            assert_allclose(zero, 0.0, atol=1e-9)
            assert (named_value(name, group, 1.3 * E) > zero + 1e-6).all()


def named_value(name, group, estimate, **options):
    terms = SpectralLoss(named={name: {"weight": 1.0, **options}}).named
    return named_loss(
        terms,
        group,
        estimate=estimate,
        previous=None,
        eigenvalue_change=torch.zeros_like(group.log_eigenvalues),
        log_variance=None,
        floor=FLOOR,
    ).total


def test_weights_that_are_given_need_no_floor_and_are_one_over_the_sample_volatilities():
    group = next(group for group in SAMPLES.groups if not group.simulated.any())
    R = (group.future.double().mT @ group.future.double() / group.future.shape[1])[0]
    E = torch.eye(group.n_assets).double().expand(len(group), -1, -1)
    a = np.exp(-group.log_volatility[0].numpy().astype(float))
    expected = (np.outer(a, a) ** 2 * (np.eye(len(a)) - R.numpy()) ** 2).sum()
    found = named_value("frobenius_weighted", group, E, asset_weights="given")[0]
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_intensity_is_that_of_the_estimator():
    forward = SpectralForward(BUNDLE)
    scaler, network = bundle_scaler(BUNDLE), torch_member(BUNDLE).float()
    row = 0
    for group in SAMPLES.groups:
        inputs = scaler("token", group.tokens), scaler("asset", group.assets), scaler("context", group.context)
        with torch.no_grad():
            output = half_trusted(network)(*inputs, group.valid, scaler("summary", group.summary))
        for found in predicted_intensity(group, output.eigenvalue_change):
            window = ORDERED[row].window
            expected = shrunk_spectrum(window, forward.members(window)[0])[0]
            assert found.clamp(0, 1).item() == pytest.approx(expected, abs=1e-4)
            row += 1


def test_the_best_intensity_is_the_best_on_a_fine_grid_against_the_true_correlation():
    grid = np.linspace(0.0, 1.0, 1001)
    for found, drawn in zip(torch.cat([best_intensity(group) for group in SAMPLES.groups]), ORDERED, strict=True):
        C, z = steady(drawn)
        S = z.T @ z / len(z)
        S *= len(S) / np.trace(S)
        errors = [(((1 - delta) * C + delta * np.eye(len(C)) - S) ** 2).sum() for delta in grid]
        assert found.item() == pytest.approx(grid[np.argmin(errors)], abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_teaches_the_network_with_finite_gradients_that_are_not_zero(name):
    generator = torch.Generator().manual_seed(0)
    network = torch_member(BUNDLE).float()
    wrapped = SpectralHeads(network, variance=True, domain_units=0, generator=generator)
    loss_of({name: 1.0}, wrapped, **ONLY).total.mean().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert max(gradient.abs().max().item() for gradient in gradients) > 1e-6


def test_the_variance_of_the_intensity_is_learned_from_its_error():
    generator = torch.Generator().manual_seed(0)
    wrapped = SpectralHeads(torch_member(BUNDLE).float(), variance=True, domain_units=0, generator=generator)
    loss_of({"intensity_likelihood": 1.0}, wrapped, **ONLY).total.mean().backward()
    assert wrapped.variance.weight.grad.abs().max() > 0
    with pytest.raises(ParameterError, match="intensity_likelihood needs a network with a variance"):
        loss_of({"intensity_likelihood": 1.0})


def test_without_names_the_loss_is_what_it_was_and_names_are_added_to_it():
    plain, more = loss_of({}), loss_of({"stein": 0.25})
    assert set(plain.parts) == {"variance", "leverage", "long_only", "likelihood"}
    assert set(more.parts) == {*plain.parts, "stein"}
    assert_allclose((more.total - plain.total).detach(), 0.25 * more.parts["stein"].detach(), atol=1e-12)


def test_the_unconstrained_portfolio_by_name_is_that_of_the_loss():
    found = loss_of({"minimum_variance": {"leverage": 0.1}})
    assert_allclose(found.parts["minimum_variance"].detach(), found.parts["variance"].detach(), atol=1e-7)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"stien": 1.0}, "did you mean 'stein'"),
        ({"frobenius_normalized": 1.0}, "did you mean 'frobenius_normalised'"),
        ({"zzz": 1.0}, "there are minimum_variance, long_only"),
        ({"stein": -1.0}, "greater than or equal to 0"),
        ({"stein": {"wait": 1.0}}, "wait"),
        ({"stein": {"name": "kl"}}, "must be 'stein'"),
        ({"long_only": 1.0}, "weighed twice"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(named, message):
    with pytest.raises(ValidationError, match=message):
        SpectralLoss(named=named)


def test_a_loss_without_any_weight_is_refused():
    with pytest.raises(ValidationError, match="needs a positive weight"):
        SpectralLoss(**ONLY, named={"stein": 0.0})


def test_weights_mappings_and_terms_read_alike_and_survive_json():
    forms = [0.5, {"weight": 0.5}, {"name": "stein", "weight": 0.5}, Stein(weight=0.5)]
    read = [SpectralLoss(named={"stein": form}) for form in forms]
    assert all(options == read[0] for options in read)
    assert SpectralLoss.model_validate(json.loads(read[0].model_dump_json())) == read[0]


def test_losses_on_successive_estimates_need_pairs():
    lonely = MARKET.model_copy(update={"pairs": 0})
    with pytest.raises(ValidationError, match="turnover needs successive decisions; give a window source pairs"):
        SpectralTraining(sources=(lonely,), loss=SpectralLoss(named={"turnover": 0.1}))


def test_a_window_without_an_earlier_one_counts_as_unchanged():
    lonely = drawn_samples(draw_mixture({}, [POPULATIONS.model_copy(update={"pairs": 0})], through=None, seed=1))
    loss = spectral_loss(bundle_scaler(BUNDLE), SpectralLoss(named={"turnover": 0.1}))
    assert (loss(torch_member(BUNDLE).float(), list(lonely.groups)).parts["turnover"] == 0).all()


def test_training_by_name_records_every_part_and_their_weighted_sum():
    named = {"symmetric_kl": 0.5, "turnover": 0.2, "intensity_likelihood": 0.1}
    options = SpectralTraining(
        n_members=2,
        validation_share=0.5,
        sources=(MARKET, POPULATIONS),
        network=SpectralOptions(n_units=4),
        loss=SpectralLoss(named=named, **ONLY),
        loop=LoopOptions(max_epochs=2, batch_size=4),
    )
    made = train_spectral({"stocks": panel()}, panel().index[-1], options=options, seed=1)
    for history in made.histories:
        for record in history.epochs:
            for told in (record.train, record.validation):
                assert set(named) <= set(told)
                assert told["total"] == pytest.approx(sum(weight * told[name] for name, weight in named.items()))
    assert not [name for name in made.bundle.tensors if "variance" in name]
    assert np.isfinite(SpectralForward(made.bundle).members(DRAWN[0].window)[0].log_scale)


def test_turnover_in_the_loss_makes_successive_portfolios_trade_less():
    source = POPULATIONS.model_copy(update={"counts": {10: 96}, "max_lookback": 60})
    traded = []
    for weight in (0.0, 3.0):
        options = SpectralTraining(
            n_members=1,
            validation_share=0.3,
            sources=(source,),
            network=SpectralOptions(n_units=4, dropout=0.0),
            loss=SpectralLoss(named={"turnover": weight}),
            loop=LoopOptions(max_epochs=5, patience=5, batch_size=16, learning_rate=1e-2),
        )
        [history] = train_spectral({}, None, options=options, seed=2).histories
        traded.append(history.best.validation["turnover"])
    assert traded[1] < 0.9 * traded[0]
