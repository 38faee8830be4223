"""The size of joined answers: what the estimator then says is neither too large nor too small."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from random_spectral import random_spectral_bundle, torch_member

from eigenfolio.learned.aggregation import Aggregation
from eigenfolio.learned.spectral import SpectralForward, combine
from eigenfolio.training.aggregation import AggregationOptions, fit_gate
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import Diversity
from eigenfolio.training.initial_weights import bundle_scaler
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.size import fit_size

SOURCE = WindowSource(name="populations", counts={8: 40, 12: 40}, change="population", max_lookback=90)
BUNDLE = random_spectral_bundle(n_members=3, size=0.2)
FREE_SCALE = 0  # output of the summary net
RULES = ("mean", "weights", "states", "by_share", "trimmed")


@pytest.fixture(scope="module")
def drawn():
    return draw_mixture({}, [SOURCE], through=None, seed=5)


def rule_named(name, drawn):
    weights = np.array([[0.1, 0.3, 0.6]])
    if name == "states":
        gate, states = fit_gate(drawn, AggregationOptions(name="simplex", states="volatility"), Diversity(), 3)
        return Aggregation("simplex", np.random.default_rng(0).dirichlet(np.ones(3), size=3), states, gate)
    return {
        "mean": None,
        "weights": Aggregation("simplex", weights),
        "by_share": Aggregation("simplex", weights, by_share=True),
        "trimmed": Aggregation("trimmed", np.full((1, 3), 1 / 3), n_trimmed=1),
    }[name]


def with_biases(networks):
    """The bundle with the scale's biases of these networks."""
    bias = BUNDLE.tensors["summary_out.bias"].copy()
    bias[:, FREE_SCALE] = [network.summary_out.bias[FREE_SCALE].item() for network in networks]
    return replace(BUNDLE, tensors={**BUNDLE.tensors, "summary_out.bias": bias})


def mean_distance(drawn, bundle, rule):
    """Mean over windows of r' S^-1 r / N, cut at 12, of what the estimator's own forward pass answers."""
    forward, found = SpectralForward(bundle), []
    for window in drawn:
        members = forward.members(window.window)
        answer = forward.answer(window.window, members) if rule is None else rule(window.window, members)
        solved = combine(window.window, answer).solve(window.future.T)
        found.append(min((window.future.T * solved).sum(axis=0).mean() / window.future.shape[1], 12.0))
    return np.mean(found)


@pytest.mark.parametrize("name", RULES)
def test_afterwards_the_answers_of_the_estimator_have_the_size_of_what_followed(drawn, name):
    rule = rule_named(name, drawn)
    networks = [torch_member(BUNDLE, member).float() for member in range(3)]
    # so that the bound of the scale leaves room, the returns are brought to about the size of the answers
    near = mean_distance(drawn, BUNDLE, rule) / 1.05
    nearer = [replace(window, future=window.future / np.sqrt(near)) for window in drawn]
    size = fit_size(networks, bundle_scaler(BUNDLE), samples=drawn_samples(nearer), rule=rule)
    assert size.shift > 0.005
    assert_allclose(size.before, mean_distance(nearer, BUNDLE, rule), rtol=1e-4)
    assert size.after == pytest.approx(1.0, abs=1e-4)
    assert mean_distance(nearer, with_biases(networks), rule) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("times", "sign"), [(10.0, 1), (0.1, -1)])
def test_beyond_the_bound_of_the_scale_it_goes_as_far_as_it_can_and_says_what_is_left(drawn, times, sign):
    networks = [torch_member(BUNDLE, member).float() for member in range(3)]
    other = [replace(window, future=times * window.future) for window in drawn]
    size = fit_size(networks, bundle_scaler(BUNDLE), samples=drawn_samples(other), rule=None)
    assert size.shift == sign * 0.2
    assert sign * (size.before - size.after) > 0
    assert sign * (size.after - 1.0) > 0
    assert size.after == pytest.approx(mean_distance(other, with_biases(networks), None), rel=1e-4)
