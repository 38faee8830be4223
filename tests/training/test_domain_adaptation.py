"""Alignment of hidden features: formulas, batches, bits, and a planted shift on which it helps."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError
from torch import nn

from eigenfolio.errors import ParameterError
from eigenfolio.training import pretraining
from eigenfolio.training.aggregation import AggregationOptions
from eigenfolio.training.domain_adaptation import (
    AdaptationSamples,
    DomainAdaptation,
    adapted_loss,
    coral_distance,
    domain_loss,
)
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.loop import LoopOptions, Loss
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.spectral_heads import reversed_gradient

INDEX = pd.bdate_range("2001-01-01", periods=400)
MARKET = WindowSource(name="market", panels=("stocks",), counts={6: 8, 12: 24}, max_lookback=90, horizon=5)
FUNDS = MARKET.model_copy(update={"name": "funds", "counts": {8: 4}})
SIMULATED = WindowSource(name="simulated", counts={6: 12, 10: 8}, change="population", max_lookback=90)
DOMAINS = {"simulated": 0, "market": 1}


def panel(seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((400, 1)), rng.standard_t(4, (400, 14))
    return pd.DataFrame(0.01 * (common + own * rng.uniform(0.2, 3.0, 14)), index=INDEX)


def train(adaptation, *, seed=1, returns=None, n_members=1, epochs=2, rate=1e-2, heads=0.0, aggregation="mean"):
    options = SpectralTraining(
        n_members=n_members,
        validation_share=0.5,
        heads_share=heads,
        aggregation=AggregationOptions(name=aggregation),
        sources=(MARKET, SIMULATED),
        network=SpectralOptions(n_units=4, dropout=0.0),
        loop=LoopOptions(max_epochs=epochs, patience=epochs, batch_size=8, learning_rate=rate),
        adaptation=adaptation,
    )
    returns = panel() if returns is None else returns
    return train_spectral({"stocks": returns}, INDEX[-1], options=options, seed=seed)


def adaptation(**options):
    return DomainAdaptation(source=("simulated",), target=("market",), **options)


# ---- formulas ------------------------------------------------------------------------------------------------------


def test_coral_is_that_of_numpy_for_every_member_and_blind_to_means():
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(2, n, 3, generator=generator).double() for n in (5, 7))
    for member, found in enumerate(coral_distance(source, target + 3.0)):
        difference = np.cov(source[member].T) - np.cov(target[member].T)
        assert found.item() == pytest.approx((difference**2).sum() / 36)
    assert coral_distance(source, source + 1.0).abs().max() < 1e-12


def test_the_domain_loss_gives_each_domain_half():
    logit, domain = torch.tensor([[0.5, -1.0, 2.0]]).double(), torch.tensor([0, 1, 1])
    expected = 0.5 * np.log1p(np.exp(0.5)) + 0.25 * (np.log1p(np.exp(1.0)) + np.log1p(np.exp(-2.0)))
    assert_allclose(domain_loss(logit, domain), [expected])


def test_a_covariance_of_one_window_is_refused():
    with pytest.raises(ParameterError, match="two windows of each domain, got 1"):
        coral_distance(torch.ones(1, 2), torch.ones(4, 2))


# ---- batches -------------------------------------------------------------------------------------------------------


def samples():
    drawn = draw_mixture({"stocks": panel()}, [MARKET, SIMULATED, FUNDS], through=INDEX[-1], seed=2)
    return AdaptationSamples(drawn_samples(drawn, domains=DOMAINS))


def test_every_window_is_in_one_batch_and_batches_with_one_domain_have_the_other():
    mixed, counts = samples(), set()
    domain = torch.cat([group.domain for group in mixed.samples.groups])
    for seed in range(4):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(mixed)))
        batches = mixed.batches(order, 8)
        counts.add(len(batches))
        assert sorted(torch.cat(batches).tolist()) == list(range(len(mixed)))
        kinds = [sorted(set(domain[rows].tolist())) for rows in batches]
        assert kinds.count([-1]) == 1
        assert all(kind in ([-1], [0, 1]) for kind in kinds)
        assert all((domain[rows] == 0).sum() >= 2 for rows, kind in zip(batches, kinds, strict=True) if kind == [0, 1])
    assert len(counts) == 1


def test_a_domain_without_windows_is_an_error():
    lonely = AdaptationSamples(drawn_samples(draw_mixture({}, [SIMULATED], through=None, seed=1), domains=DOMAINS))
    with pytest.raises(ParameterError, match="no window belongs to the target domain"):
        lonely.batches(torch.arange(len(lonely)), 8)


def test_on_a_batch_of_one_domain_nothing_is_aligned():
    group = next(group for group in samples().samples.groups if (group.domain == 1).all())
    loss = Loss(torch.ones(1, len(group)).double(), {})
    heads = [(torch.randn(1, len(group), 3), torch.zeros(1, len(group)), torch.zeros(1, len(group)))]
    found = adapted_loss(adaptation(coral=1.0, adversarial=1.0))(loss, heads, [group])
    assert_array_equal(found.total, loss.total)
    assert not found.parts["coral"].any()
    assert not found.parts["adversarial"].any()


# ---- options -------------------------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_or_in_both_domains_is_refused():
    with pytest.raises(ValidationError, match=r"names the window source 'markets'; did you mean 'market'"):
        SpectralTraining(
            sources=(MARKET, SIMULATED), adaptation=DomainAdaptation(source=("simulated",), target=("markets",))
        )
    with pytest.raises(ValidationError, match="belongs to one domain, got market in both"):
        DomainAdaptation(source=("market",), target=("market",))


def test_without_weight_the_bits_are_those_without_adaptation_and_with_weight_they_are_reproducible():
    plain = train(None, n_members=2).bundle
    assert train(adaptation(), n_members=2).bundle.digest == plain.digest
    aligned = [train(adaptation(coral=0.5, adversarial=0.1), n_members=2).bundle for _ in range(2)]
    assert aligned[0].digest == aligned[1].digest != plain.digest
    assert set(aligned[0].tensors) == set(plain.tensors)


@pytest.mark.parametrize(
    ("penalty", "more"),
    [
        ({}, {}),
        ({"coral": 1.0}, {}),
        ({"coral": 1.0}, {"n_members": 2, "aggregation": "simplex"}),
    ],
)
def test_other_futures_of_a_target_without_labels_give_the_same_bits(monkeypatch, penalty, more):
    expected = train(adaptation(target_labels=False, **penalty), epochs=1, **more).bundle.digest
    draw = pretraining.draw_mixture

    def altered(*arguments, **options):
        drawn = draw(*arguments, **options)
        return [replace(w, future=-3.0 * w.future[::-1]) if w.source == "market" else w for w in drawn]

    monkeypatch.setattr(pretraining, "draw_mixture", altered)
    assert train(adaptation(target_labels=False, **penalty), epochs=1, **more).bundle.digest == expected
    assert train(adaptation(**penalty), epochs=1, **more).bundle.digest != expected


@pytest.mark.parametrize(("labels", "taught_by"), [(True, ["market", "simulated"]), (False, ["simulated"])])
def test_heads_are_fitted_without_the_windows_of_a_target_without_labels(monkeypatch, labels, taught_by):
    drawn_from = []

    def add_heads(bundle, *arguments, sources, **options):
        drawn_from.extend(source.name for source in sources)
        return bundle

    monkeypatch.setattr(pretraining, "add_heads", add_heads)
    train(adaptation(target_labels=labels), epochs=1, heads=0.5)
    assert drawn_from == taught_by


def test_windows_of_a_target_without_labels_have_no_loss_and_the_others_keep_their_mean():
    drawn = draw_mixture({"stocks": panel()}, [MARKET, SIMULATED], through=INDEX[-1], seed=2)
    batch = list(drawn_samples(drawn, domains=DOMAINS).groups)
    domain = torch.cat([group.domain for group in batch])
    total = torch.arange(1.0, len(domain) + 1)[None].double()
    found = adapted_loss(adaptation(target_labels=False))(Loss(total, {}), [()] * len(batch), batch).total
    assert not found[:, domain == 1].any()
    assert found.mean().item() == pytest.approx(total[:, domain == 0].mean().item())


# ---- what it does --------------------------------------------------------------------------------------------------


def test_the_distance_of_the_features_falls_where_it_has_a_weight():
    """On validation windows: to less than a third of what it is without weight to speak of."""
    for seed in range(2):
        distances = [
            train(adaptation(coral=weight), seed=seed, epochs=4).histories[0].epochs[-1].validation["coral"]
            for weight in (1e-9, 300.0)
        ]
        assert distances[1] < distances[0] / 3


class Planted(nn.Module):
    """Two hidden features of two inputs whose sum is the answer, and a domain classifier behind reversed gradients."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = nn.Linear(2, 2, bias=False)
        self.domain_in, self.domain_out = nn.Linear(2, 16), nn.Linear(16, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, x):
        features = self.hidden(x)
        domain = self.domain_out(torch.relu(self.domain_in(reversed_gradient(features))))
        return features.sum(dim=1), features, domain[:, 0]


def planted_rows(seed, n=600):
    """y shows itself weakly in the first input everywhere, and strongly in the second, but in the source alone."""
    rng = np.random.default_rng(seed)
    y, domain = rng.standard_normal(n), np.repeat([0, 1], n // 2)
    first = y + rng.standard_normal(n)
    second = np.where(domain == 0, y + 0.3 * rng.standard_normal(n), 3.0 * rng.standard_normal(n))
    return torch.tensor(np.column_stack([first, second])).float(), torch.tensor(y).float(), torch.tensor(domain)


def target_error(seed, *, coral=0.0, adversarial=0.0):
    """Mean squared error in the target, whose labels are never shown."""
    x, y, domain = planted_rows(seed)
    network = Planted(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        answer, features, logit = network(x)
        loss = (answer - y)[domain == 0].square().mean()
        loss = loss + coral * coral_distance(features[domain == 0], features[domain == 1])
        loss = loss + adversarial * domain_loss(logit, domain)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fresh, truth, domain = planted_rows(seed + 100)
    with torch.no_grad():
        return (network(fresh)[0] - truth)[domain == 1].square().mean().item()


@cache
def unaligned_error(seed):
    return target_error(seed)


@pytest.mark.parametrize("penalty", [{"coral": 10.0}, {"adversarial": 10.0}])
def test_on_a_planted_shift_the_error_without_target_labels_falls_to_a_quarter_in_every_seed(penalty):
    for seed in range(3):
        assert target_error(seed, **penalty) < unaligned_error(seed) / 4
