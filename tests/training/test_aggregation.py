"""Rules fitted on validation windows: against slow twins, and what they do with a spoilt member."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from random_spectral import random_spectral_bundle, torch_member
from scipy.special import softmax

from eigenfolio.errors import DataError
from eigenfolio.learned.aggregation import Aggregation
from eigenfolio.learned.spectra import SUMMARY_FEATURES
from eigenfolio.learned.spectral import SpectralForward, classical_answer, combine
from eigenfolio.training.aggregation import (
    AggregationOptions,
    _blend,
    _Judge,
    _mean_and_error,
    fit_aggregation,
    fit_gate,
)
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import Diversity, sample_order
from eigenfolio.training.initial_weights import bundle_scaler
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral
from eigenfolio.training.spectral import SpectralLoss, spectral_loss

SOURCE = WindowSource(name="populations", counts={8: 24, 12: 24}, change="population", max_lookback=90)
BUNDLE = random_spectral_bundle(n_members=3, size=0.2)


@pytest.fixture(scope="module")
def drawn():
    return draw_mixture({}, [SOURCE], through=None, seed=5)


def members(spoilt=None):
    """Networks of the random bundle in single precision.

    A spoilt one says rubbish of volatilities and takes their level the wrong way; the others are then close to the
    closed form.
    """
    networks = [torch_member(BUNDLE, member).float() for member in range(3)]
    if spoilt is not None:
        with torch.no_grad():
            for member, network in enumerate(networks):
                for net in network.spectra:
                    net.asset_out.weight.mul_(60.0 if member == spoilt else 0.1)
                    net.token_out.weight.mul_(1.0 if member == spoilt else 0.1)
                network.level.fill_(-2.0 if member == spoilt else 0.0)
    return networks


def fitted(drawn, *, networks=None, diversity=None, **options):
    return fit_aggregation(
        members() if networks is None else networks,
        bundle_scaler(BUNDLE),
        samples=drawn_samples(drawn),
        drawn=drawn,
        watched=drawn,
        options=AggregationOptions(**options),
        diversity=Diversity() if diversity is None else diversity,
    )


def judge(drawn, networks=None, *, gate=None, by_share=False):
    scaler = bundle_scaler(BUNDLE)
    loss = spectral_loss(scaler, SpectralLoss())
    return _Judge(members() if networks is None else networks, scaler, loss, drawn_samples(drawn), gate, by_share)


@pytest.mark.parametrize("by_share", [False, True])
def test_answers_blended_in_torch_are_those_of_the_forward_pass(drawn, by_share):
    gate, states = fit_gate(drawn, AggregationOptions(name="simplex", states="volatility"), Diversity(), 3)
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    rule, forward = Aggregation("simplex", weights, states, gate, by_share=by_share), SpectralForward(BUNDLE)
    judged = judge(drawn, gate=gate, by_share=by_share)
    [group] = judged.samples.take(torch.arange(24))
    scaler = judged.scaler
    inputs = [scaler("token", group.tokens), scaler("asset", group.assets), scaler("context", group.context)]
    said = judged.said(*inputs, group.valid, scaler("summary", group.summary))
    blended = _blend(said, judged.states[:24] @ torch.from_numpy(weights), by_share)
    order = sample_order(drawn)
    for i in (0, 7, 23):
        window = drawn[order[i]].window
        expected = rule(window, forward.members(window))
        assert_allclose(blended.volatility_change[0, i], expected.volatility_change, atol=1e-5)
        assert_allclose(blended.shares[0, i], expected.shares, atol=1e-5)
        for b, change in enumerate(expected.eigenvalue_change):
            assert_allclose(blended.eigenvalue_change[0, b, i, : len(change)], change, atol=1e-5)


def test_the_loss_of_a_member_is_that_of_a_rule_that_takes_it_alone(drawn):
    judged, rows = judge(drawn), torch.arange(len(drawn))
    alone = judged.of(Aggregation("simplex", np.array([[0.0, 1.0, 0.0]])), rows)
    assert_allclose(judged.members(rows)[1], alone, atol=1e-5)


def test_simplex_weights_are_the_best_of_a_grid(drawn):
    found, judged, rows = fitted(drawn, name="simplex").rule, judge(drawn), torch.arange(len(drawn))

    def loss(weights):
        return judged.of(Aggregation("simplex", np.array([weights])), rows).mean()

    steps = np.linspace(0, 1, 4)
    grid = [loss([a, b, max(0.0, 1 - a - b)]) for a in steps for b in steps if a + b <= 1 + 1e-9]
    assert loss(found.weights[0]) <= min(grid) + 1e-4
    assert loss(found.weights[0]) < loss([1 / 3, 1 / 3, 1 / 3])


def test_validation_weights_are_a_softmax_of_the_mean_losses(drawn):
    losses = judge(drawn).members(torch.arange(len(drawn))).mean(axis=1)
    assert_allclose(fitted(drawn, name="validation", temperature=0.05).rule.weights[0], softmax(-losses / 0.05))
    assert fitted(drawn, name="validation", temperature=1e-6).rule.weights[0].argmax() == losses.argmin()
    assert_allclose(fitted(drawn, name="validation", temperature=1e6).rule.weights[0], 1 / 3, atol=1e-4)


def test_inverse_variances_are_those_of_the_log_ratio_of_realised_to_predicted_variance(drawn):
    forward, errors = SpectralForward(BUNDLE), []
    for window in drawn:
        row = []
        for answer in forward.members(window.window):
            raw = combine(window.window, answer).solve(np.ones(window.future.shape[1]))
            held = raw / raw.sum()
            predicted = combine(window.window, answer).variance(held)
            row.append(np.log(((window.future @ held) ** 2).mean() / predicted))
        errors.append(row)
    variance = np.var(errors, axis=0)
    found = fitted(drawn, name="inverse_variance").rule
    assert_allclose(found.weights[0], (1 / variance) / (1 / variance).sum(), rtol=1e-3)
    assert_allclose(found.residual_variance, variance, rtol=1e-3)


@pytest.mark.parametrize("name", ["validation", "inverse_variance", "simplex"])
def test_a_spoilt_member_gets_the_least_weight(drawn, name):
    weights = fitted(drawn, networks=members(spoilt=1), name=name).rule.weights[0]
    assert weights.sum() == pytest.approx(1.0)
    assert weights[1] < 0.25
    assert weights[1] == weights.min()


def test_a_trimmed_mean_and_the_rest_do_not_hear_a_spoilt_member(drawn):
    rows, judged = torch.arange(len(drawn)), judge(drawn, members(spoilt=1))
    trimmed = fitted(drawn, networks=members(spoilt=1), name="trimmed").rule
    assert trimmed.n_trimmed == 1
    plain = judged.of(Aggregation("mean", np.full((1, 3), 1 / 3)), rows).mean()
    assert judged.of(trimmed, rows).mean() < plain


def test_the_best_rule_is_taken_where_it_is_clearly_better_and_the_mean_elsewhere(drawn):
    helped = fitted(drawn, networks=members(spoilt=1), name="best")
    assert helped.rule is not None
    assert helped.details["name"] == helped.rule.name != "mean"
    chosen = helped.details["candidates"][helped.rule.name]
    assert chosen["difference"] < -2 * chosen["standard_error"]
    assert chosen["difference"] == min(row["difference"] for row in helped.details["candidates"].values())
    same = members()[:1] * 3  # the same network three times: nothing can be better
    alike = fitted(drawn, networks=same, name="best")
    assert alike.rule is None
    assert alike.details["name"] == "mean"
    assert all(abs(row["difference"]) < 1e-5 for row in alike.details["candidates"].values())


def test_the_volatility_gate_is_ordered_and_knows_its_thirds(drawn):
    gate, states = fit_gate(drawn, AggregationOptions(name="simplex", states="volatility"), Diversity(), 3)
    assert states == ("calm", "usual", "turbulent")
    values = np.array([w.window.summary[SUMMARY_FEATURES.index("steady_mean_ewma_volatility_21")] for w in drawn])
    p = gate.probabilities(np.array([w.window.summary for w in drawn]))
    assert_allclose(p.sum(axis=1), 1.0)
    order = np.argsort(values)
    assert np.all(np.diff(p[order, 2]) >= -1e-12)
    assert np.all(np.diff(p[order, 0]) <= 1e-12)
    label = np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)
    assert (p.argmax(axis=1) == label).mean() > 0.8


def test_weights_by_state_are_fitted_on_the_windows_of_the_state(drawn):
    rule = fitted(drawn, name="validation", states="volatility").rule
    judged, rows = judge(drawn, gate=rule.gate), torch.arange(len(drawn))
    p, losses = judged.states.numpy(), judged.members(rows)
    for state in range(3):
        own = (losses * p[:, state]).sum(axis=1) / p[:, state].sum()
        assert_allclose(rule.weights[state], softmax(-own / 0.01), atol=1e-4)


def test_a_gate_of_specialists_tells_windows_of_two_sources_apart():
    long = SOURCE.model_copy(update={"name": "wide", "counts": {20: 48}, "min_lookback": 30, "max_lookback": 40})
    both = draw_mixture({}, [SOURCE, long], through=None, seed=1)
    diversity = Diversity(specialists=("source:populations", "source:wide"))
    gate, states = fit_gate(both, AggregationOptions(states="specialists"), diversity, 2)
    assert states == ("source:populations", "source:wide")
    p = gate.probabilities(np.array([w.window.summary for w in both]))[:, 1]
    wide = np.array([w.source == "wide" for w in both])
    assert p[wide].min() > p[~wide].max()
    rule = fitted(both, diversity=diversity, states="specialists").rule
    assert_allclose(rule.weights, [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])  # of three members, two are of the first kind


def test_a_gate_needs_windows_of_every_state(drawn):
    diversity = Diversity(specialists=("all", "source:populations"))
    with pytest.raises(DataError, match="needs training windows of each"):
        fit_gate(drawn[:1], AggregationOptions(states="specialists"), diversity, 2)


def test_standard_errors_take_the_windows_of_a_month_together():
    values = np.array([1.0, 1.0, -1.0, -1.0])
    mean, error = _mean_and_error(values, [(2013, 1), (2013, 1), (2013, 2), (2013, 2)])
    assert (mean, error) == (0.0, pytest.approx(np.sqrt(8) / 4))
    assert _mean_and_error(values, [(0, i) for i in range(4)])[1] == pytest.approx(0.5)


def test_a_plain_mean_leaves_no_trace_in_the_bundle(drawn):
    assert fitted(drawn).rule is None
    assert fitted(drawn).options() == fitted(drawn).tensors() == {}


def test_a_trained_rule_has_the_same_bits_again_and_serves():
    loop = LoopOptions(max_epochs=1, patience=1, batch_size=16, learning_rate=1e-2)
    options = SpectralTraining(
        n_members=2,
        sources=(SOURCE.model_copy(update={"counts": {8: 30}}),),
        validation_share=0.5,
        network=SpectralOptions(n_units=4),
        loop=loop,
        aggregation=AggregationOptions(name="simplex", states="volatility"),
    )
    bundle = train_spectral({}, None, options=options, seed=1).bundle
    assert train_spectral({}, None, options=options, seed=1).bundle.digest == bundle.digest
    assert bundle.details["aggregation"]["name"] == "simplex"
    assert bundle.trained_through < pd.Timestamp("2000")
    window = draw_mixture({}, [SOURCE], through=None, seed=9)[0].window
    answer = SpectralForward(bundle).answer(window)
    assert np.isfinite(answer.volatility_change).all()
    assert not np.allclose(answer.volatility_change, classical_answer(window).volatility_change)
