"""Members that differ: who learns from what, groups of several widths, and members of one spectrum."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.errors import ParameterError
from eigenfolio.learned.spectra import SUMMARY_FEATURES
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.training.aggregation import AggregationOptions
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import (
    Diversity,
    WeightedSamples,
    fit_members,
    member_loss,
    member_weights,
    restrict_spectra,
    sample_order,
    windows_of_kind,
)
from eigenfolio.training.loop import LoopOptions, Loss
from eigenfolio.training.member_networks import MemberShape
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.sectors import sector_panels, sector_sources
from eigenfolio.training.spectral import SpectralLoss, fit_scaler, spectral_loss, spectral_network

LOOP = LoopOptions(max_epochs=2, patience=2, batch_size=16, learning_rate=1e-2)
POPULATIONS = WindowSource(name="populations", counts={8: 24, 12: 16}, change="population", max_lookback=90)
STOCKS = WindowSource(name="stocks", panels=("stocks",), counts={6: 20, 9: 20}, min_lookback=60, max_lookback=90)
TINY = SpectralTraining(
    n_members=3, validation_share=0.4, sources=(POPULATIONS,), network=SpectralOptions(n_units=4), loop=LOOP
)


def panel(n_rows=400, n_assets=12):
    rng = np.random.default_rng(0)
    x = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(x, index=pd.bdate_range("2001-01-01", periods=n_rows))


def trained(seed=1, **changes):
    options = SpectralTraining.model_validate({**dict(TINY), **changes})
    panels = {} if options.sources == (POPULATIONS,) else {"stocks": panel()}
    through = None if not panels else panels["stocks"].index[-1]
    return train_spectral(panels, through, options=options, seed=seed)


@pytest.fixture(scope="module")
def drawn():
    X = panel()
    return draw_mixture({"stocks": X}, [STOCKS, POPULATIONS], through=X.index[-1], seed=0)


def test_windows_are_weighed_in_the_order_in_which_they_are_stacked(drawn):
    samples = drawn_samples(drawn)
    stacked = torch.cat([group.summary for group in samples.groups]).numpy()
    assert_allclose(stacked, np.array([drawn[i].window.summary for i in sample_order(drawn)]), rtol=1e-6)
    weights = member_weights(drawn, drawn, diversity=Diversity(specialists=("all", "small")), n_members=2)
    batch, taken = WeightedSamples(samples, weights.windows).take(torch.tensor([70, 3, 41, 0, 25]))
    sizes = torch.cat([torch.full((len(group),), group.n_assets) for group in batch])
    assert_array_equal(taken[:, 1] > 0, sizes <= 8)  # the smallest two fifths
    assert 0 < (sizes <= 8).sum() < 5
    assert_array_equal(taken[:, 0], 1.0)


def test_a_kind_is_a_share_of_the_training_windows_at_one_end_of_one_number(drawn):
    values = np.array([w.window.summary[SUMMARY_FEATURES.index("steady_mean_ewma_volatility_21")] for w in drawn])
    turbulent = windows_of_kind(drawn, "turbulent", reference=drawn, share=0.25)
    calm = windows_of_kind(drawn, "calm", reference=drawn, share=0.25)
    assert turbulent.mean() == pytest.approx(0.25, abs=0.02)
    assert values[turbulent].min() > values[~turbulent].max()
    assert values[calm].max() < values[~calm].min()
    # thresholds are those of the reference, whatever is asked about
    assert_array_equal(windows_of_kind(drawn[:5], "turbulent", reference=drawn, share=0.25), turbulent[:5])


def test_a_period_holds_its_share_of_the_dated_windows_and_all_others(drawn):
    weights = member_weights(drawn, drawn, diversity=Diversity(periods=((0.0, 0.5), (0.5, 1.0))), n_members=2)
    order = [drawn[i] for i in sample_order(drawn)]
    dates = [w.date for w in order if w.date is not None]
    early = weights.windows.values[:, 0].numpy() > 0
    assert all(early[i] for i, w in enumerate(order) if w.date is None)
    inside = [w.date for i, w in enumerate(order) if early[i] and w.date is not None]
    assert max(inside) <= sorted(dates)[len(dates) // 2]
    assert len(inside) == pytest.approx(len(dates) / 2, abs=2)
    assert_allclose(weights.windows.values.mean(dim=0), 1.0)


def test_the_loss_of_a_member_is_its_weighted_windows_and_parts_by_hand():
    parts = {"long_only": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()}

    def loss(call, batch):
        return Loss(torch.tensor([[10.0, 20.0], [30.0, 40.0]]).double(), parts)

    weights = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).double()  # (n, n_members)
    found = member_loss(loss, ({}, {"long_only": 0.5}))(None, (None, weights))
    assert found.total.tolist() == [[10.0, 20.0], [0.0, 2 * 42.0]]
    with pytest.raises(ParameterError, match="names 'long', and the loss has the parts long_only"):
        member_loss(loss, ({"long": 1.0},))(None, (None, weights[:, :1]))


def test_members_of_several_widths_train_as_their_own_groups_and_are_stored_as_one(tmp_path):
    vintage = trained(diversity=Diversity(n_units=(4, 8)))
    tensors = vintage.bundle.tensors
    assert vintage.bundle.options["n_units"] == 8
    assert tensors["summary_hidden.weight"].shape == (3, 8, 8)
    unheard = [2, 3, 6, 7]  # a narrow member has the first two units of either half
    assert not tensors["summary_hidden.weight"][[0, 2]][:, unheard].any()
    assert tensors["summary_hidden.weight"][1].all()
    assert len(vintage.histories) == SpectralForward(vintage.bundle).n_members == 3

    class Killed(Exception):
        pass

    def kill(epoch):
        raise Killed

    options = TINY.model_copy(update={"diversity": Diversity(n_units=(4, 8))})
    with pytest.raises(Killed):
        train_spectral({}, None, options=options, seed=1, store=CheckpointStore(tmp_path, identity={}), on_epoch=kill)
    resumed = train_spectral({}, None, options=options, seed=1, store=CheckpointStore(tmp_path, identity={}))
    assert resumed.bundle.digest == vintage.bundle.digest
    assert (tmp_path / "units_8" / "last.safetensors").is_file()


def test_members_of_one_spectrum_give_the_other_no_share_and_the_bundle_knows(drawn):
    bundle = trained(diversity=Diversity(spectra=("both", "steady", "recent"))).bundle
    forward = SpectralForward(bundle)
    both, steady, recent = (member.shares for member in forward.members(drawn[0].window))
    assert both.min() > 0.1
    assert_allclose(steady, [1.0, 0.0], atol=1e-12)
    assert_allclose(recent, [0.0, 1.0], atol=1e-12)
    assert forward.aggregation.by_share


def test_a_member_of_one_spectrum_learns_nothing_of_the_other(drawn):
    network, samples = spectral_network(n_units=4, dropout=0.0), drawn_samples(drawn)
    network.initialise(torch.Generator().manual_seed(0))
    restrict_spectra([network], Diversity(spectra=("steady",)))
    loss = spectral_loss(fit_scaler(samples), SpectralLoss())
    batch = samples.take(torch.arange(12))
    loss(lambda *x: [part[None] for part in network(*x)], batch).total.mean().backward()
    steady, recent = (net.token_out.weight.grad.abs().max().item() for net in network.spectra)
    assert steady > 1e-5
    assert recent < 1e-12
    assert network.mixing.grad.abs().max() < 1e-12


def test_specialists_are_other_networks_and_their_gate_goes_into_the_bundle(drawn):
    diversity = Diversity(specialists=("all", "small", "large"))
    changes = {"sources": (POPULATIONS, STOCKS), "n_members": 3}
    bundle = trained(**changes, diversity=diversity, aggregation=AggregationOptions(states="specialists")).bundle
    plain = trained(**changes).bundle
    # the generalist shares batches and seeds with the plain first member, the specialists do not learn what it learns
    assert_allclose(bundle.tensors["mixing"][0], plain.tensors["mixing"][0], atol=1e-6)
    assert np.abs(bundle.tensors["mixing"][1] - plain.tensors["mixing"][1]).max() > 1e-4
    rule = SpectralForward(bundle).aggregation
    assert rule.states == ("all", "small", "large")
    assert_array_equal(rule.weights, np.eye(3))
    by_size = sorted(drawn, key=lambda w: len(w.window.log_volatility))
    first, last = rule.member_weights(by_size[0].window), rule.member_weights(by_size[-1].window)
    assert first[1] > last[1]
    assert first[2] < last[2]


def test_what_a_specialist_learns_does_not_depend_on_windows_of_other_kinds(drawn):
    def weights_after(windows):
        weighed = member_weights(
            windows, windows, diversity=Diversity(specialists=("source:populations", "source:stocks")), n_members=2
        )
        samples, networks = drawn_samples(windows), [spectral_network(n_units=4, dropout=0.0) for _ in range(2)]
        for network in networks:
            network.initialise(torch.Generator().manual_seed(0))
        loss = spectral_loss(fit_scaler(samples), SpectralLoss())
        options = {"options": LOOP, "seed": 0, "shapes": [MemberShape(4)] * 2, "weights": weighed}
        fit_members(networks, samples, loss, validation=samples, **options)
        return [torch.cat([p.detach().ravel() for p in network.parameters()]) for network in networks]

    spoilt = [replace(w, future=3.0 * w.future[:, ::-1]) if w.source == "stocks" else w for w in drawn]
    (ours, theirs), (again, other) = weights_after(drawn), weights_after(spoilt)
    assert torch.equal(ours, again)
    assert not torch.allclose(theirs, other)


def test_a_specialist_of_a_sector_sees_that_sector_alone():
    X = panel()
    sectors = {name: "Energy" if name < 6 else "Finance" for name in X.columns}
    panels = sector_panels(X, sectors, min_assets=6)
    assert {name: list(part.columns) for name, part in panels.items()} == {
        "Energy": [0, 1, 2, 3, 4, 5],
        "Finance": [6, 7, 8, 9, 10, 11],
    }
    sources = sector_sources(panels, {5: 20}, max_lookback=80)
    drawn = draw_mixture(panels, sources, through=X.index[-1], seed=0)
    own = windows_of_kind(drawn, "source:Energy", reference=drawn, share=0.4)
    assert own.sum() == 20
    assert all(window.source == "Energy" for window, mine in zip(drawn, own, strict=True) if mine)
    with pytest.raises(ParameterError, match="'source:Cars' names no source of windows; there are Energy, Finance"):
        windows_of_kind(drawn, "source:Cars", reference=drawn, share=0.4)


def test_a_simulated_vintage_keeps_what_has_a_meaning_there():
    shaping = {"n_units": (4, 8), "depths": (1, 2), "features": ("all", "no_tails"), "activations": ("silu", "gelu")}
    diversity = Diversity(specialists=("all", "source:stocks"), periods=((0.0, 0.5),), **shaping)
    options = SpectralTraining(diversity=diversity, aggregation=AggregationOptions(states="specialists"))
    simulated = options.simulated()
    assert simulated.diversity == Diversity(specialists=("all", "all"), **shaping)
    assert simulated.aggregation.states == "none"
    assert options.alike().diversity == Diversity(**shaping)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diversity": {"n_units": [5]}}, "widths are even numbers from 4 to 128, got 5"),
        ({"diversity": {"periods": [[0.5, 0.2]]}}, "0 <= first < last <= 1"),
        ({"diversity": {"specialists": ["loud"]}}, "specialists are all, calm, .* or source:NAME, got 'loud'"),
        ({"aggregation": {"name": "trimmed"}, "n_members": 2}, "at least 3 members, got n_members=2"),
        ({"aggregation": {"name": "trimmed", "states": "volatility"}}, "no weights by state"),
        ({"aggregation": {"name": "mean", "states": "volatility"}}, "same weights in every volatility state"),
        ({"aggregation": {"states": "specialists"}}, "needs members of two kinds"),
        ({"diversity": {"n_units": [4, 8]}, "initial": "synthetic"}, "features; leave out diversity.n_units"),
        (
            {"diversity": {"depths": [1, 2], "features": ["no_tails"]}, "initial": "synthetic"},
            "leave out diversity.depths, diversity.features",
        ),
        ({"diversity": {"activations": ["gelu", "swish"]}}, "activations.1\n.*'gelu', 'silu', 'tanh' or 'relu'"),
        ({"diversity": {"depths": [1, 4]}}, "depths.1\n.*less than or equal to 3"),
        ({"diversity": {"features": ["no_fun"]}}, "features are all, no_tails, .*, got 'no_fun'"),
        ({"diversity": {"activations": ["gelu"]}}, "activations has nothing but 'gelu', .* leave it out"),
        ({"diversity": {"depths": [1, 1]}}, "depths has nothing but 1"),
        ({"diversity": {"features": ["all"]}}, "features has nothing but 'all'"),
        ({"diversity": {"depths": [1, 2, 3]}, "n_members": 2}, "depths has 3 entries for 2 members"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        SpectralTraining.model_validate({**changes})


def test_a_member_without_windows_is_refused(drawn):
    few = [window for window in drawn if window.source == "populations"]
    with pytest.raises(ParameterError, match=r"member 1 \(source:stocks\) has no validation windows"):
        member_weights(drawn, few, diversity=Diversity(specialists=("all", "source:stocks")), n_members=2)
