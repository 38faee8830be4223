"""Members of several shapes: what each says in training is what its bundle says, and plain ones are as ever."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_spectral import random_spectral_bundle

from eigenfolio.artifacts import load_bundle, save_bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.learned.single_members import member_bundle
from eigenfolio.learned.spectra import SUMMARY_FEATURES, TOKEN_FEATURES
from eigenfolio.learned.spectral import EIGENVALUE_TRUST, SpectralForward
from eigenfolio.models.networks.spectral import ACTIVATIONS
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import Diversity
from eigenfolio.training.fine_tuning import FineTuningOptions, _train
from eigenfolio.training.group import Group
from eigenfolio.training.initial_weights import bundle_scaler, take_weights
from eigenfolio.training.input_families import FAMILIES, feature_choices, kept_inputs
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.member_networks import (
    MemberShape,
    deepened,
    member_networks,
    stored_members,
    stored_shapes,
    widened,
)
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.spectral import spectral_network
from eigenfolio.training.spectral_heads import SpectralHeads

POPULATIONS = WindowSource(name="populations", counts={8: 24, 12: 16}, change="population", max_lookback=90)
TINY = SpectralTraining(
    n_members=3,
    validation_share=0.4,
    sources=(POPULATIONS,),
    network=SpectralOptions(n_units=4),
    loop=LoopOptions(max_epochs=2, patience=2, batch_size=16, learning_rate=1e-2),
    heads_share=0.0,
)
SHAPES = [
    MemberShape(4),
    MemberShape(8, "silu", 3, "no_tails"),
    MemberShape(4, "tanh", 2, "no_recent_volatility"),
    MemberShape(6, "relu", 1, "no_correlations"),
]
ALL_THREE = Diversity(activations=("gelu", "silu", "tanh"), depths=(1, 2, 3), features=("all", "no_tails", "no_sizes"))


@pytest.fixture(scope="module")
def drawn():
    return draw_mixture({}, [POPULATIONS], through=None, seed=0)


def trained(seed=1, **changes):
    return train_spectral({}, None, options=SpectralTraining.model_validate({**dict(TINY), **changes}), seed=seed)


def filled(shapes, *, dropout=0.3):
    """Networks whose every weight matters."""
    networks, generator = member_networks(shapes, dropout=dropout), torch.Generator().manual_seed(0)
    for network in networks:
        network.initialise(generator)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return networks


def bundle_of(networks, shapes):
    tensors, options = stored_members(networks, shapes)
    given = random_spectral_bundle(n_members=len(shapes))
    scalers = {name: tensor for name, tensor in given.tensors.items() if name.endswith(("_center", "_scale"))}
    return replace(given, tensors=tensors | scalers, options={"dropout": 0.3, **options})


def inputs_of(bundle, windows):
    """Scaled inputs of the network for windows of one size, in double precision."""
    scaler, group = bundle_scaler(bundle), drawn_samples(windows).groups[0]
    tables = {name: scaler(name, getattr(group, f"{name}s")).double() for name in ("token", "asset")}
    context, summary = (scaler(name, getattr(group, name)).double() for name in ("context", "summary"))
    return tables["token"], tables["asset"], context, group.valid, summary


@pytest.mark.parametrize(
    ("n_units", "digest"),
    [
        (16, "c8c36239607de61fbfccdce85bed624bfec00fbcb3beb55a1b97f79c7e29789b"),
        (4, "c1a36e98453e12b4839894448ab32d261d2f06c3bd8fbbafda2b1e463b3a29f9"),
    ],
)
def test_a_plain_network_has_the_names_and_the_first_weights_that_it_had_before_there_were_shapes(n_units, digest):
    network = spectral_network(n_units=n_units, dropout=0.3)
    network.initialise(torch.Generator().manual_seed(7))
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    assert found.hexdigest() == digest
    assert "members" not in stored_members([network], [MemberShape(n_units)])[1]


@pytest.mark.parametrize("own", [4, 6, 8])
def test_a_widened_network_says_the_same(own, drawn):
    (narrow,) = filled([MemberShape(own, depth=2)])
    wide = spectral_network(n_units=12, dropout=0.3, depth=2)
    state = widened({name: tensor.numpy() for name, tensor in narrow.state_dict().items()}, 12)
    wide.load_state_dict({name: torch.tensor(values) for name, values in state.items()})
    inputs = inputs_of(random_spectral_bundle(), drawn)
    with torch.no_grad():
        for theirs, ours in zip(narrow.double().eval()(*inputs), wide.double().eval()(*inputs), strict=True):
            assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_a_deepened_network_says_the_same_to_the_bit(activation, drawn):
    (shallow,) = filled([MemberShape(6, activation)])
    deep = spectral_network(n_units=6, dropout=0.3, activation=activation, depth=3)
    state = deepened({name: tensor.numpy() for name, tensor in shallow.state_dict().items()}, 3)
    deep.load_state_dict({name: torch.tensor(values) for name, values in state.items()})
    inputs = inputs_of(random_spectral_bundle(), drawn)
    with torch.no_grad():
        for theirs, ours in zip(shallow.double().eval()(*inputs), deep.double().eval()(*inputs), strict=True):
            assert_array_equal(ours, theirs)


def test_a_residual_layer_adds_its_activation_to_what_it_reads(drawn):
    (network,) = filled([MemberShape(6, "tanh", 2)])
    network = network.double().eval()
    summary = inputs_of(random_spectral_bundle(), drawn)[-1]
    first, hidden, block = (
        lambda x, layer=layer: torch.tanh(x @ layer.weight.T + layer.bias)
        for layer in (network.summary_in, network.summary_hidden, network.summary_blocks[0])
    )
    x = hidden(first(summary))
    torch.testing.assert_close(network.summary_features(summary), x + block(x))


@pytest.mark.parametrize("shape", [MemberShape(8, name, depth) for name in ACTIVATIONS for depth in (1, 3)])
def test_an_untrained_network_of_any_shape_is_its_classical_start(shape, drawn):
    (network,) = member_networks([shape], dropout=0.3)
    network.initialise(torch.Generator().manual_seed(0))
    output = network.double().eval()(*inputs_of(random_spectral_bundle(), drawn))
    assert not output.eigenvalue_change.any()
    assert not output.volatility_change.any()
    assert not output.log_scale.any()
    assert bool((output.shares == 0.5).all())
    drawn_blocks = [p for name, p in network.named_parameters() if "blocks" in name and name.endswith("weight")]
    assert all(bool(block.any()) for block in drawn_blocks)  # they learn from the first step on


def test_members_of_all_shapes_say_in_their_bundle_what_they_say_in_pytorch(drawn, tmp_path):
    networks = filled(SHAPES)
    bundle = bundle_of(networks, SHAPES)
    save_bundle(bundle, tmp_path / "bundle")
    forward = SpectralForward(load_bundle(tmp_path / "bundle"))
    group = drawn_samples(drawn).groups[0]
    windows = [w.window for w in drawn if len(w.window.log_volatility) == group.n_assets]
    said = [network.double().eval()(*inputs_of(bundle, drawn)) for network in networks]
    for i, window in enumerate(windows[:3]):
        for member, output in zip(forward.members(window), said, strict=True):
            for b, change in enumerate(member.eigenvalue_change):
                theirs = EIGENVALUE_TRUST * output.eigenvalue_change[b, i, : len(change)].detach()
                assert_allclose(change, theirs, atol=2e-6)  # windows are float32 in training
            assert_allclose(member.volatility_change, output.volatility_change[i].detach(), atol=2e-6)
            assert_allclose(member.shares, output.shares[i].detach(), atol=2e-6)
            assert member.log_scale == pytest.approx(output.log_scale[i].item(), abs=2e-6)


@pytest.mark.parametrize("features", feature_choices()[1:])
def test_an_input_that_is_left_out_moves_no_bit_of_the_member_and_the_others_do(features, drawn):
    shapes = [MemberShape(6, features=features), MemberShape(6)]
    networks, window, kept = filled(shapes), drawn[0].window, kept_inputs(features)
    bundle = bundle_of(networks, shapes)
    moved = replace(
        window,
        summary=window.summary + ~kept["summary"],
        spectra=tuple(
            replace(
                s,
                tokens=s.tokens + ~kept["token"],
                assets=s.assets + ~kept["asset"],
                context=s.context + ~kept["context"],
            )
            for s in window.spectra
        ),
    )
    before, after = (SpectralForward(bundle).members(w) for w in (window, moved))
    assert _same(before[0], after[0])
    assert not _same(before[1], after[1])
    first, second = (
        [tuple(network.double().eval()(*inputs_of(bundle, [replace(drawn[0], window=w)]))) for network in networks]
        for w in (window, moved)
    )
    assert all(torch.equal(x, y) for x, y in zip(first[0], second[0], strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(first[1], second[1], strict=True))


def _same(one, other):
    pairs = [*zip(one.eigenvalue_change, other.eigenvalue_change, strict=True)]
    pairs += [(one.volatility_change, other.volatility_change), (one.shares, other.shares)]
    return one.log_scale == other.log_scale and all(np.array_equal(x, y) for x, y in pairs)


def test_every_family_is_of_inputs_that_there_are_and_a_summary_follows_its_numbers():
    for family in FAMILIES:
        kept = kept_inputs(f"no_{family}")
        assert sum(int((~own).sum()) for own in kept.values()) > 0
    gone = {SUMMARY_FEATURES[i] for i in np.flatnonzero(~kept_inputs("no_correlations")["summary"])}
    assert {"steady_mean_correlation", "recent_mean_mean_correlation", "steady_spread_leading_loading"} <= gone
    assert "steady_log_first" not in gone
    assert {TOKEN_FEATURES[i] for i in np.flatnonzero(~kept_inputs("no_ranks")["token"])} == set(FAMILIES["ranks"])
    assert not kept_inputs("no_recent_volatility")["summary"][-1]
    assert all(own.all() for own in kept_inputs("all").values())


def test_masked_members_of_a_group_say_what_they_say_alone(drawn):
    shapes = [MemberShape(4, "silu", 2, features) for features in ("all", "no_tails", "no_sizes")]
    inputs = [x.float() if x.is_floating_point() else x for x in inputs_of(random_spectral_bundle(), drawn)]
    alone = [network.eval()(*inputs) for network in filled(shapes)]
    group = Group(filled(shapes))
    group.train(False)
    for m, output in enumerate(alone):
        for ours, theirs in zip(group.call(*inputs), output, strict=True):
            torch.testing.assert_close(ours[m], theirs, atol=1e-5, rtol=1e-5)


def test_heads_read_the_hidden_layers_of_the_network_that_they_are_on(drawn):
    (network,) = filled([MemberShape(6, "silu", 2, "no_tails")])
    heads = SpectralHeads(network, variance=True, domain_units=0, generator=torch.Generator()).double().eval()
    tokens, assets, context, valid, summary = inputs_of(random_spectral_bundle(), drawn)
    found = heads(tokens, assets, context, valid, summary).features
    seen = summary * torch.from_numpy(kept_inputs("no_tails")["summary"])
    torch.testing.assert_close(found[:, :6], network.summary_features(seen))
    spoilt = summary + torch.from_numpy(~kept_inputs("no_tails")["summary"])
    assert torch.equal(heads(tokens, assets, context, valid, spoilt).features, found)


@pytest.mark.parametrize(
    ("name", "values"),
    [("activations", ("gelu", "relu")), ("depths", (1, 2)), ("features", ("all", "no_recent_volatility"))],
)
def test_each_option_changes_its_member_and_leaves_the_others_to_the_bit(name, values):
    plain, other = trained().bundle, trained(diversity=Diversity(**{name: values})).bundle
    for layer in ("summary_in.weight", "spectra.0.asset_in.weight", "level"):
        assert_array_equal(other.tensors[layer][0], plain.tensors[layer][0])
        assert not np.array_equal(other.tensors[layer][1], plain.tensors[layer][1])
    key = {"activations": "activation", "depths": "depth", "features": "features"}[name]
    assert [member[key] for member in other.options["members"]] == [values[0], values[1], values[0]]


def test_a_member_that_does_not_see_the_level_of_volatility_raises_no_alarm_about_its_slope():
    vintage = trained(diversity=Diversity(features=("all", "no_recent_volatility")))
    assert [history.alarms for history in vintage.histories] == [(), (), ()]
    assert vintage.bundle.tensors["level"][:, 0].tolist()[1] == 0.0
    assert vintage.bundle.tensors["level"][[0, 2]].all()


def test_an_ensemble_of_all_three_has_the_same_bits_again_and_its_members_stand_alone(drawn, tmp_path):
    bundle, again = trained(diversity=ALL_THREE).bundle, trained(diversity=ALL_THREE).bundle
    assert bundle.digest == again.digest
    assert not bundle.tensors["summary_blocks.0.weight"][0].any()
    assert bundle.tensors["summary_blocks.1.weight"][2].all()
    assert not bundle.tensors["summary_in.weight"][1][:, ~kept_inputs("no_tails")["summary"]].any()
    answers = SpectralForward(bundle).members(drawn[0].window)
    for m, answer in enumerate(answers):
        (alone,) = SpectralForward(member_bundle(bundle, m)).members(drawn[0].window)
        assert_allclose(alone.volatility_change, answer.volatility_change, atol=1e-12)
        assert stored_shapes(member_bundle(bundle, m)) == [stored_shapes(bundle)[m]]


def test_a_training_that_starts_from_members_of_several_shapes_goes_on_with_their_shapes(drawn, tmp_path):
    start = trained(diversity=ALL_THREE).bundle
    save_bundle(start, tmp_path / "start")
    loop = TINY.loop.model_copy(update={"max_epochs": 1, "learning_rate": 1e-12})
    bundle = trained(initial=str(tmp_path / "start"), loop=loop, n_members=4).bundle
    assert [member["activation"] for member in bundle.options["members"]] == ["gelu", "silu", "tanh", "gelu"]
    window = drawn[0].window
    for m, answer in enumerate(SpectralForward(bundle).members(window)):
        assert_allclose(
            answer.volatility_change, SpectralForward(start).members(window)[m % 3].volatility_change, atol=1e-7
        )


def test_stored_weights_come_back_into_networks_of_their_own_shape():
    shapes = [MemberShape(6, "silu", 2, "no_tails"), MemberShape(6, "gelu", 1, "all")]
    bundle = bundle_of(filled(shapes), shapes)
    assert stored_shapes(bundle) == shapes
    networks = member_networks(stored_shapes(bundle), dropout=0.3)
    for m, network in enumerate(networks):
        take_weights(network, bundle, m)
    tensors, _ = stored_members(networks, shapes)
    for name, values in tensors.items():
        assert_array_equal(values, bundle.tensors[name])


def test_fine_tuning_moves_members_inside_their_own_shapes(drawn):
    shapes = [MemberShape(6, "silu", 2, "no_tails"), MemberShape(6)]
    general = bundle_of(filled(shapes), shapes)
    tuned, histories = _train(general, drawn[::2], drawn[1::2], FineTuningOptions(), 0)
    assert len(histories) == 2
    assert stored_shapes(tuned) == shapes
    for name, values in general.tensors.items():
        assert not tuned.tensors[name][values == 0.0].any()  # what is left out, and what a member lacks
    before, after = (bundle.tensors["summary_blocks.0.weight"][0] for bundle in (general, tuned))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("names", [["gelu", "swish"], ["silu"]])
def test_a_bundle_whose_activations_are_not_known_is_refused(names):
    bundle = random_spectral_bundle(n_members=2)
    options = {**bundle.options, "members": [{"activation": name, "depth": 1, "features": "all"} for name in names]}
    with pytest.raises(ArtifactError, match=r"2 members with the activations .* and this version knows gelu, silu"):
        SpectralForward(replace(bundle, options=options))
