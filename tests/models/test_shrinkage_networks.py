"""Shape and start of the attention and the dense network: ranges of their options, initial weights, size by sqrt(n)."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from random_attention import WIDTHS, new_network
from torch.utils.flop_counter import FlopCounterMode

from eigenfolio.errors import ParameterError
from eigenfolio.models.networks.attention import AttentionOptions, MaskedBatchNorm
from eigenfolio.models.networks.dense import DenseOptions, DenseShrinkageNetwork
from eigenfolio.models.networks.sizing import sized_options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extractor_sizes": (128,)}, "extractor_sizes must be 2 to 4 layers of 64 to 256 units"),
        ({"extractor_sizes": (512, 64)}, "extractor_sizes must be 2 to 4 layers of 64 to 256 units"),
        ({"n_blocks": 1}, "greater than or equal to 2"),
        ({"n_blocks": 5}, "less than or equal to 4"),
        ({"block_units": 16}, "greater than or equal to 32"),
        ({"block_units": 256}, "less than or equal to 128"),
        ({"head_sizes": (32,)}, "head_sizes must be 2 to 3 layers of 16 to 64 units"),
        ({"head_sizes": (32, 8)}, "head_sizes must be 2 to 3 layers of 16 to 64 units"),
        ({"n_heads": 5}, "less than or equal to 4"),
        ({"n_heads": 3}, "must divide attention_size=32"),
        ({"attention_size": 128}, "less than or equal to 64"),
        ({"dropout": 0.6}, "less than or equal to 0.5"),
        ({"dropout": 0.05}, "greater than or equal to 0.1"),
        ({"l2": 1e-2}, "less than or equal to 0.001"),
        ({"targets": ("identity", "identity")}, "each target counts once"),
        ({"targets": ("diagonal",)}, "identity"),
    ],
)
def test_an_attention_network_outside_its_ranges_is_refused_with_the_range(options, words):
    with pytest.raises(ValidationError, match=words):
        AttentionOptions(**options)


def test_the_defaults_are_those_of_the_source():
    options = AttentionOptions()
    assert (options.extractor_sizes, options.n_blocks, options.block_units) == ((128, 64), 2, 64)
    assert (options.head_sizes, options.n_heads, options.attention_size) == ((32, 16), 2, 32)
    assert (options.dropout, options.l2) == (0.3, 1e-4)
    assert DenseOptions().hidden_sizes == (128, 64, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden_sizes": (300, 64, 32)}, "hidden_sizes must decrease"),
        ({"hidden_sizes": (128, 32, 32)}, "hidden_sizes must decrease"),
        ({"hidden_sizes": (64, 128)}, "hidden_sizes must decrease"),
        ({"hidden_sizes": (128, 64, 64, 32)}, "hidden_sizes must decrease"),
        ({"input_dropout": 0.3}, r"input_dropout must lie in \[0.1, 0.2\]"),
        ({"inputs": ()}, "name at least one"),
        ({"hidden_sizes": (64,), "feature_attention": True}, "needs a block before the last"),
    ],
)
def test_a_dense_network_outside_its_ranges_is_refused_with_the_range(options, words):
    with pytest.raises(ValidationError, match=words):
        DenseOptions(**options)


def test_hidden_layers_start_by_he_with_the_leaky_gain_and_the_output_by_glorot():
    network = DenseShrinkageNetwork(200, hidden_sizes=(256, 128, 64))
    network.initialise(torch.Generator().manual_seed(0))
    first = network.blocks[0].dense.weight
    assert first.std().item() == pytest.approx(np.sqrt(2.0 / (1 + 0.2**2) / 200), rel=0.02)
    assert network.output.weight.abs().max().item() <= np.sqrt(6.0 / (64 + 5))
    assert network.output.weight.std().item() == pytest.approx(np.sqrt(2.0 / (64 + 5)), rel=0.15)


def test_the_output_leans_to_empirical_priors_and_the_start_is_exact_all_the_same():
    options = DenseOptions(empirical_prior=True)
    network = DenseShrinkageNetwork.of(8, options, prior_logit=-1.2).eval()
    network.initialise(torch.Generator().manual_seed(0))
    bias = network.output.bias.detach()
    assert bias[0].item() == pytest.approx(-1.2)
    assert torch.softmax(bias[1:4], 0).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    features, logits = torch.randn(5, 8), torch.randn(5)
    assert torch.equal(network(features, logits).intensity, torch.sigmoid(logits))
    with torch.no_grad():
        network.gains[0] = 1.0
        network.output.weight.zero_()
    assert network(features, logits).intensity.tolist() == pytest.approx([1 / (1 + np.exp(1.2))] * 5, abs=1e-6)


def test_the_target_heads_of_the_attention_network_lean_to_the_priors():
    for activation in ("softmax", "sigmoid"):
        network = new_network(AttentionOptions(target_activation=activation))
        network.initialise(torch.Generator().manual_seed(0))
        says = torch.stack([head[-1].bias.detach()[0] for head in network.target_heads])
        assert network._simplex(says).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("targets", [("identity",), ("identity", "single_factor")])
def test_single_and_multi_target_forms_give_weights_on_the_simplex(activation, targets):
    network = DenseShrinkageNetwork.of(8, DenseOptions(targets=targets, target_activation=activation)).eval()
    network.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.gains.fill_(0.7)
    weights = network(torch.randn(6, 8), torch.zeros(6)).target_weights
    assert weights.shape == (6, len(targets))
    torch.testing.assert_close(weights.sum(-1), torch.ones(6))
    assert bool((weights >= 0.0).all())


def test_regime_embedding_and_feature_attention_take_part():
    options = DenseOptions(hidden_sizes=(32, 16), regime_embedding=True, feature_attention=True)
    network = DenseShrinkageNetwork.of(8, options).eval()
    network.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.gains.fill_(0.5)
    features, logits, regimes = torch.randn(3, 8), torch.zeros(3), torch.eye(4)
    calm, crisis = (network(features, logits, regimes[i].expand(3, 4)).intensity for i in (0, 3))
    assert float((calm - crisis).abs().max().detach()) > 1e-4
    before = network(features, logits, regimes[0].expand(3, 4)).intensity
    with torch.no_grad():
        network.attention.value.weight.zero_()
        network.attention.value.bias.zero_()
    assert float((before - network(features, logits, regimes[0].expand(3, 4)).intensity).abs().max().detach()) > 1e-4


def test_a_norm_whose_running_statistics_are_those_of_the_batch_is_the_one_of_torch():
    ours, theirs = MaskedBatchNorm(5), torch.nn.BatchNorm1d(5)
    x = 2.0 + 3.0 * torch.randn(7, 11, 5, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(7, 11, dtype=torch.bool)
    ours.running_mean.copy_(x.mean((0, 1)))
    ours.running_square.copy_(x.square().mean((0, 1)))
    torch.testing.assert_close(ours(x, valid).flatten(0, 1), theirs(x.flatten(0, 1)))


def test_training_and_production_normalise_alike_though_batches_differ_from_each_other():
    norm, generator = MaskedBatchNorm(3), torch.Generator().manual_seed(0)
    valid = torch.ones(16, 4, dtype=torch.bool)
    for step in range(400):  # batches of two kinds, each with hardly any variance of its own
        norm(2.0 * (step % 2) + 0.01 * torch.randn(16, 4, 3, generator=generator), valid)
    torch.testing.assert_close(norm.running_mean, torch.full((3,), 1.0), atol=0.1, rtol=0.0)
    torch.testing.assert_close(norm.running_square - norm.running_mean.square(), torch.ones(3), atol=0.1, rtol=0.0)
    x = 2.0 + 0.01 * torch.randn(16, 4, 3, generator=generator)
    production = norm.eval()(x, valid)
    torch.testing.assert_close(norm.train()(x, valid), production)


def test_widths_grow_with_the_root_of_the_universe_inside_the_ranges():
    first = [sized_options("dense", n).hidden_sizes[0] for n in (10, 64, 100, 225, 256, 5000)]
    assert first == [128, 128, 160, 240, 256, 256]
    assert [sized_options("attention", n).extractor_sizes for n in (4, 100, 400)] == [(64, 64), (128, 64), (256, 128)]


@pytest.mark.parametrize("n_assets", [50, 100, 200, 400, 800])
def test_a_sized_network_answers_in_a_bounded_number_of_operations_per_cubed_asset(n_assets):
    ceiling = 30 * n_assets**3  # of eigh's order; about three of them in time, see benchmarks/sizing.py
    assert attention_operations(sized_options("attention", n_assets), n_assets) <= ceiling
    assert dense_operations(sized_options("dense", n_assets)) <= ceiling


def test_without_sizing_small_universes_would_pay_for_the_widest_network():
    widest = sized_options("attention", 10_000)
    for n_assets in (50, 100):
        assert attention_operations(widest, n_assets) > 30 * n_assets**3


def attention_operations(options, n_assets):
    x = [
        torch.zeros(1, n_assets, WIDTHS["eigen"]),
        torch.zeros(1, WIDTHS["context"]),
        torch.zeros(1, WIDTHS["families"]),
    ]
    return operations(new_network(options), *x, torch.ones(1, n_assets, dtype=torch.bool), torch.zeros(1))


def dense_operations(options):
    return operations(DenseShrinkageNetwork.of(40, options), torch.zeros(1, 40), torch.zeros(1))


def operations(network, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return counter.get_total_flops()


def test_few_windows_make_a_smaller_network_with_more_regularisation():
    for network, width in (("attention", "extractor_sizes"), ("dense", "hidden_sizes")):
        ample, few = sized_options(network, 100), sized_options(network, 100, 500)
        assert sum(getattr(few, width)) < sum(getattr(ample, width))
        assert few.dropout > ample.dropout
        assert few.l2 > ample.l2
    sizes = [sum(sized_options("dense", 100, n).hidden_sizes) for n in (500, 1000, 2000, 4000)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_a_size_that_means_nothing_is_refused():
    with pytest.raises(ParameterError, match="at least one asset"):
        sized_options("dense", 0)
    with pytest.raises(ParameterError, match="'attention' or 'dense'"):
        sized_options("spectral", 10)
