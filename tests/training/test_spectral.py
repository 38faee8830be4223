"""Batches of spectral windows, their loss against NumPy, and the network itself."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_spectral import WIDTHS, random_spectral_bundle, torch_member

from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import EIGENVALUE_TRUST, SpectralForward, combine
from eigenfolio.models import minimum_variance_weights
from eigenfolio.models.networks import SpectralOutput, SpectralShrinkageNetwork
from eigenfolio.models.networks.spectral import GatedScan, scan
from eigenfolio.models.window import prepare_window
from eigenfolio.training.spectral import (
    Scaler,
    SpectralBatch,
    SpectralLoss,
    SpectralSamples,
    correlation_and_volatility,
    fit_scaler,
    log_parts,
    spectral_loss,
)


def drawn(n_assets, n_rows, *, seed=0, horizon=10):
    rng = np.random.default_rng([seed, n_assets, n_rows])
    x = 0.01 * (
        rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)) * rng.uniform(1, 2, n_assets)
    )
    y = 0.01 * (rng.standard_normal((horizon, 1)) + rng.standard_normal((horizon, n_assets)))
    return spectral_window(prepare_window(x)), y


MIXED = [drawn(8, 60), drawn(30, 20), drawn(8, 90), drawn(8, 40, horizon=5), drawn(30, 80), drawn(30, 31)]


def scaler_of(bundle):
    kinds = ("token", "asset", "context", "summary")
    parts = [
        {kind: torch.from_numpy(np.array(bundle.tensors[f"{kind}_{part}"])).float() for kind in kinds}
        for part in ("center", "scale")
    ]
    return Scaler(*parts)


def answers(bundle, group):
    """What the torch network says of a group, through the scaler of the bundle."""
    scaler, network = scaler_of(bundle), torch_member(bundle).float()
    with torch.no_grad():
        return network(
            scaler("token", group.tokens),
            scaler("asset", group.assets),
            scaler("context", group.context),
            group.valid,
            scaler("summary", group.summary),
        )


# ---- samples -------------------------------------------------------------------------------------------------------


def test_windows_are_grouped_by_assets_and_horizon_and_come_back_as_they_were():
    samples = SpectralSamples.of(MIXED)
    assert [(group.n_assets, group.future.shape[1], len(group)) for group in samples.groups] == [
        (8, 5, 1),
        (8, 10, 2),
        (30, 10, 3),
    ]
    order = [3, 0, 2, 1, 4, 5]
    for row, number in enumerate(order):
        [batch] = samples.take(torch.tensor([row]))
        window, future = MIXED[number]
        median = np.exp(np.median(window.log_volatility))
        assert_allclose(batch.future[0], future / median, rtol=1e-6)
        assert_allclose(batch.log_volatility[0] + np.log(median), window.log_volatility, rtol=1e-5)
        assert_allclose(batch.summary[0], window.summary, rtol=1e-6)
        for b, spectrum in enumerate(window.spectra):
            length = len(spectrum.tokens)
            assert_allclose(batch.tokens[b, 0, :length], spectrum.tokens, rtol=1e-6)
            assert not batch.tokens[b, 0, length:].any()
            assert batch.valid[b, 0].sum() == length
            assert batch.kept[b, 0].sum() == spectrum.rank
            assert batch.null[b, 0] == (spectrum.rank if length > spectrum.rank else -1)
            assert_allclose(batch.tilt[b, 0], spectrum.tilt, rtol=1e-6)
            tilted = spectrum.vectors / spectrum.tilt[:, None]
            assert_allclose(batch.vectors[b, 0, :, : spectrum.rank], tilted, rtol=1e-6)
            assert not batch.vectors[b, 0, :, spectrum.rank :].any()


def test_taking_rows_of_several_groups_gives_one_part_of_each():
    samples = SpectralSamples.of(MIXED)
    parts = samples.take(torch.tensor([5, 1, 2]))
    assert [len(part) for part in parts] == [2, 1]
    assert_array_equal(parts[1].summary[0], samples.groups[2].summary[2])
    assert len(samples) == 6


def test_batches_have_one_shape_and_their_number_does_not_depend_on_the_order():
    windows = [drawn(n, 30, seed=i, horizon=2) for n, count in ((5, 23), (50, 21)) for i in range(count)]
    samples = SpectralSamples.of(windows)
    counts = set()
    for seed in range(5):
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
        batches = samples.batches(order, 8)
        counts.add(len(batches))
        assert sorted(torch.cat(batches).tolist()) == list(range(len(samples)))
        for batch in batches:
            assert len(samples.take(batch)) == 1
            assert 2 <= len(batch) <= 9
        places = {int(row): i for i, row in enumerate(order)}
        firsts = [places[int(batch[0])] for batch in batches]
        assert firsts == sorted(firsts)
    assert len(counts) == 1


def test_large_universes_come_in_small_batches():
    group = SpectralBatch.stack([drawn(5, 30, seed=i) for i in range(12)])
    wide = SpectralBatch.stack([drawn(150, 30, seed=i) for i in range(12)])
    sizes = {
        piece.n_assets: len(piece)
        for batch in SpectralSamples((group, wide)).batches(torch.arange(24), 12)
        for piece in SpectralSamples((group, wide)).take(batch)
    }
    assert sizes == {5: 12, 150: 6}


def test_the_scaler_holds_means_and_deviations_of_what_is_not_padding():
    samples = SpectralSamples.of([drawn(8, 60, seed=i) for i in range(4)] + [drawn(12, 8, seed=i) for i in range(4)])
    scaler = fit_scaler(samples)
    assert scaler.center["token"][0, 7] > 0.01  # some windows have a null space, and padding is not counted as one
    every = [g.tokens[0][g.valid[0]].numpy() for g in samples.groups]
    alone = fit_scaler(SpectralSamples(samples.groups[:1]))
    assert_allclose(alone.center["token"][0], every[0].mean(axis=0), rtol=1e-5, atol=1e-6)
    contexts = np.concatenate([g.context[0].numpy() for g in samples.groups])
    assert_allclose(scaler.center["context"][0], contexts.mean(axis=0), rtol=1e-5)
    assert_allclose(scaler.scale["context"][0], contexts.std(axis=0, ddof=1) + 1e-3, rtol=1e-5)
    summary = np.concatenate([g.summary.numpy() for g in samples.groups])
    assert_allclose(scaler.center["summary"], summary.mean(axis=0), rtol=1e-5, atol=1e-6)
    scaled = scaler("asset", samples.groups[0].assets)
    assert scaled.abs().max() <= 4.0
    assert set(scaler.tensors()) == {
        f"{k}_{p}" for k in ("token", "asset", "context", "summary") for p in ("center", "scale")
    }


# ---- covariance and loss -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_training_and_inference_build_the_same_covariance(seed):
    bundle = random_spectral_bundle(seed=seed)
    forward = SpectralForward(bundle)
    for group, windows in zip(SpectralSamples.of(MIXED).groups, ([3], [0, 2], [1, 4, 5]), strict=True):
        output = answers(bundle, group)
        output = output._replace(eigenvalue_change=EIGENVALUE_TRUST * output.eigenvalue_change)
        correlation, logs = correlation_and_volatility(group, output)
        for row, number in enumerate(windows):
            window = MIXED[number][0]
            structure = combine(window, forward.members(window)[0])
            volatility = np.exp(logs[row].numpy() + output.log_scale[row].item() + np.median(window.log_volatility))
            ours = np.outer(volatility, volatility) * correlation[row].numpy()
            expected = structure.dense()
            sigma = np.sqrt(np.diag(expected))
            assert np.abs((ours - expected) / np.outer(sigma, sigma)).max() < 2e-4


def numpy_parts(window, future, structure, cap):
    """Every part of the loss from the finished covariance, by the portfolio solvers of the package."""
    covariance, n_assets = structure.dense(), len(window.log_volatility)
    median = np.exp(np.median(window.log_volatility))
    weights = minimum_variance_weights(covariance, UNCONSTRAINED)
    capped = minimum_variance_weights(covariance, Constraints(max_weight=cap))
    y = future / median
    inverse = np.linalg.inv(covariance / median**2)
    distance = np.mean([row @ inverse @ row for row in y]) / n_assets
    log_det = np.linalg.slogdet(covariance / median**2)[1] / n_assets
    return {
        "variance": np.log(np.mean((y @ weights) ** 2) + 1e-9),
        "leverage": np.log(np.abs(weights).sum()),
        "long_only": np.log(np.mean((y @ capped) ** 2) + 1e-9),
        "likelihood": log_det - 2 * (window.log_volatility - np.log(median)).mean() + min(12.0, distance),
    }


def test_the_loss_is_that_of_numpy_and_of_the_portfolio_solvers():
    bundle = random_spectral_bundle(seed=5, size=0.5)
    forward = SpectralForward(bundle)
    options = SpectralLoss(leverage=0.2, long_only=0.7, likelihood=0.4)
    samples = SpectralSamples.of(MIXED)
    network = torch_member(bundle).float()

    def half_trusted(*inputs):
        output = network(*inputs)
        return output._replace(eigenvalue_change=EIGENVALUE_TRUST * output.eigenvalue_change)

    loss = spectral_loss(scaler_of(bundle), options)(half_trusted, list(samples.groups))
    for row, number in enumerate([3, 0, 2, 1, 4, 5]):
        window, future = MIXED[number]
        cap = max(0.10, 1.5 / len(window.log_volatility))
        expected = numpy_parts(window, future, combine(window, forward.members(window)[0]), cap)
        for name, value in expected.items():
            assert loss.parts[name][row].item() == pytest.approx(value, abs=2e-3), name
        total = expected["variance"] + 0.2 * expected["leverage"] + 0.7 * expected["long_only"]
        assert loss.total[row].item() == pytest.approx(total + 0.4 * expected["likelihood"], abs=4e-3)


def test_portfolios_do_not_see_the_scale_and_the_likelihood_is_best_at_the_true_one():
    group = SpectralBatch.stack([drawn(8, 200)])
    network = SpectralShrinkageNetwork(*WIDTHS)
    output = network(group.tokens, group.assets, group.context, group.valid, group.summary)
    correlation, logs = correlation_and_volatility(group, output)
    truth = torch.linalg.cholesky(correlation).transpose(-1, -2) * logs.exp().unsqueeze(-2) * 8**0.5
    group = SpectralBatch(**{**vars(group), "future": truth.detach()})
    found = [
        {
            name: part.item()
            for name, part in log_parts(
                correlation, logs, torch.tensor([scale]).double(), group, long_only=True
            ).items()
        }
        for scale in (-0.1, 0.0, 0.1)
    ]
    for name in ("variance", "leverage", "long_only"):
        assert found[0][name] == found[1][name] == found[2][name]
    assert found[1]["likelihood"] < min(found[0]["likelihood"], found[2]["likelihood"])


def test_the_gradient_reaches_every_parameter_of_every_member():
    samples = SpectralSamples.of(MIXED[:1] + MIXED[2:3])
    bundle = random_spectral_bundle(seed=2)
    network = torch_member(bundle).float().train()
    spectral_loss(scaler_of(bundle), SpectralLoss())(network, list(samples.groups)).total.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


# ---- the network ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 7, 8, 33])
def test_the_scan_is_the_loop(n_tokens):
    generator = torch.Generator().manual_seed(n_tokens)
    decay, increment = torch.rand(2, 3, n_tokens, 4, generator=generator), torch.randn(2, 3, n_tokens, 4)
    state, expected = torch.zeros(2, 3, 4), []
    for t in range(n_tokens):
        state = decay[..., t, :] * state + increment[..., t, :]
        expected.append(state)
    assert_allclose(scan(decay, increment), torch.stack(expected, dim=-2), atol=1e-5)


def test_padding_and_the_order_of_assets_change_nothing_of_the_rest():
    bundle = random_spectral_bundle(seed=1)
    network = torch_member(bundle)
    tokens, assets, context = (
        torch.randn(2, 3, n, w).double() for n, w in ((6, WIDTHS[0]), (5, WIDTHS[1]), (1, WIDTHS[2]))
    )
    context, summary = context[:, :, 0], torch.randn(3, WIDTHS[3]).double()
    with torch.no_grad():
        one = network(tokens, assets, context, torch.ones(2, 3, 6, dtype=torch.bool), summary)
        longer = torch.cat([tokens, 7.0 * torch.ones(2, 3, 4, WIDTHS[0]).double()], dim=2)
        valid = torch.arange(10).expand(2, 3, 10) < 6
        order = torch.tensor([4, 2, 0, 1, 3])
        other = network(longer, assets[:, :, order], context, valid, summary)
    assert_allclose(other.eigenvalue_change[..., :6], one.eigenvalue_change, atol=1e-12)
    assert_allclose(other.volatility_change, one.volatility_change[:, order], atol=1e-12)
    assert_array_equal(other.log_scale, one.log_scale)


def test_it_starts_at_the_classical_answer_and_in_small():
    network = SpectralShrinkageNetwork(*WIDTHS)
    network.initialise(torch.Generator().manual_seed(0))
    output = network(
        torch.randn(2, 4, 6, WIDTHS[0]),
        torch.randn(2, 4, 5, WIDTHS[1]),
        torch.randn(2, 4, WIDTHS[2]),
        torch.ones(2, 4, 6, dtype=torch.bool),
        torch.randn(4, WIDTHS[3]),
    )
    assert isinstance(output, SpectralOutput)
    assert not output.eigenvalue_change.any()
    assert not output.volatility_change.any()
    assert not output.log_scale.any()
    assert output.shares.tolist() == [[0.5, 0.5]] * 4
    assert 4_000 < sum(p.numel() for p in network.parameters()) < 8_000
    with pytest.raises(AssertionError):
        assert_allclose(GatedScan(4).gates.weight.detach(), 0.0)
