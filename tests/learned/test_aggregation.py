"""Rules that join members: by hand, against a slow twin, through a bundle and in the estimator."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_spectral import random_spectral_bundle

from eigenfolio.artifacts import load_bundle, save_bundle
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.aggregation import GATE_INPUTS, Aggregation, Gate, stored_aggregation
from eigenfolio.learned.spectra import SUMMARY_FEATURES, spectral_window
from eigenfolio.learned.spectral import SpectralForward, mean_answer
from eigenfolio.models.window import prepare_window


def returns(n_assets=9, n_rows=80, *, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))


def described(n_assets=9, n_rows=80, *, seed=0, scale=1.0):
    return spectral_window(prepare_window(scale * returns(n_assets, n_rows, seed=seed)))


def random_gate(n_states, seed=0):
    rng = np.random.default_rng(seed)
    n = len(GATE_INPUTS)
    return Gate(
        GATE_INPUTS,
        rng.standard_normal(n),
        rng.uniform(1, 3, n),
        rng.standard_normal((n_states, n)),
        np.zeros(n_states),
    )


def random_weights(n_states, n_members, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(n_members), size=n_states)


def with_rule(bundle, rule):
    return replace(
        bundle,
        options={**bundle.options, "aggregation": rule.options()},
        tensors={**bundle.tensors, **rule.tensors()},
    )


def members_of(window, n_members=3):
    return SpectralForward(random_spectral_bundle(n_members=n_members)).members(window)


def test_equal_weights_are_the_plain_mean():
    window = described()
    members = members_of(window)
    found, expected = Aggregation("mean", np.full((1, 3), 1 / 3))(window, members), mean_answer(members)
    assert_allclose(found.volatility_change, expected.volatility_change, atol=1e-14)
    assert_allclose(found.shares, expected.shares, atol=1e-14)
    assert found.log_scale == pytest.approx(expected.log_scale)
    for ours, theirs in zip(found.eigenvalue_change, expected.eigenvalue_change, strict=True):
        assert_allclose(ours, theirs, atol=1e-14)


def test_weights_are_mixed_by_the_probabilities_of_the_states():
    window, weights, gate = described(), random_weights(2, 3), random_gate(2)
    members = members_of(window)
    p = gate.probabilities(window.summary)
    assert p.sum() == pytest.approx(1.0)
    expected = sum(
        p[k] * weights[k, m] * members[m].volatility_change for k in range(2) for m in range(3)
    )  # every state and member by itself
    found = Aggregation("simplex", weights, ("one", "two"), gate)(window, members)
    assert_allclose(found.volatility_change, expected, atol=1e-14)
    assert found.shares.sum() == pytest.approx(1.0)


def test_a_gate_by_hand_is_clamped_and_reads_its_inputs_by_name():
    gate = Gate(
        ("steady_log_assets",), np.array([3.0]), np.array([2.0]), np.array([[0.0], [1.0]]), np.array([0.0, -1.0])
    )
    summary = np.full(len(SUMMARY_FEATURES), 100.0)
    summary[SUMMARY_FEATURES.index("steady_log_assets")] = 5.0  # scaled 1, logit 0
    assert_allclose(gate.probabilities(summary), [0.5, 0.5])
    summary[SUMMARY_FEATURES.index("steady_log_assets")] = 1e6  # clamped to 4, logit 3
    assert_allclose(gate.probabilities(summary)[1], 1 / (1 + np.exp(-3.0)))
    assert gate.probabilities(np.stack([summary, summary])).shape == (2, 2)


def test_a_trimmed_mean_of_three_is_the_median():
    window = described()
    members = members_of(window)
    found = Aggregation("trimmed", np.full((1, 3), 1 / 3), n_trimmed=1)(window, members)
    assert_allclose(found.volatility_change, np.median([m.volatility_change for m in members], axis=0))
    assert_allclose(found.eigenvalue_change[0], np.median([m.eigenvalue_change[0] for m in members], axis=0))
    assert found.log_scale == np.median([m.log_scale for m in members])
    assert found.shares.sum() == pytest.approx(1.0)


def test_a_trimmed_mean_drops_the_same_number_at_both_ends():
    window = described()
    members = members_of(window, 7)
    found = Aggregation("trimmed", np.full((1, 7), 1 / 7), n_trimmed=2)(window, members)
    expected = np.sort([m.volatility_change for m in members], axis=0)[2:5].mean(axis=0)
    assert_allclose(found.volatility_change, expected)


def test_a_member_that_gives_a_spectrum_no_share_says_nothing_of_it():
    window = described()
    one, other, third = members_of(window)
    members = [
        replace(one, shares=np.array([1.0, 0.0])),
        replace(other, shares=np.array([0.0, 1.0])),
        replace(third, shares=np.array([0.5, 0.5])),
    ]
    weights = np.array([[0.5, 0.3, 0.2]])
    found = Aggregation("simplex", weights, by_share=True)(window, members)
    steady = (0.5 * one.eigenvalue_change[0] + 0.1 * third.eigenvalue_change[0]) / 0.6
    recent = (0.3 * other.eigenvalue_change[1] + 0.1 * third.eigenvalue_change[1]) / 0.4
    assert_allclose(found.eigenvalue_change[0], steady)
    assert_allclose(found.eigenvalue_change[1], recent)
    assert_allclose(found.shares, [0.6, 0.4])


def test_an_aggregation_survives_a_bundle_on_disk_and_joins_the_answers_there(tmp_path):
    rule = Aggregation(
        "validation", random_weights(3, 4), ("a", "b", "c"), random_gate(3), by_share=True, residual_variance=np.ones(4)
    )
    bundle = with_rule(random_spectral_bundle(n_members=4), rule)
    loaded = load_bundle(save_bundle(bundle, tmp_path / "bundle"))
    window, forward = described(), SpectralForward(loaded)
    answer, expected = forward.answer(window), rule(window, forward.members(window))
    assert_array_equal(answer.volatility_change, expected.volatility_change)
    assert_array_equal(answer.eigenvalue_change[1], expected.eigenvalue_change[1])
    assert_array_equal(forward.aggregation.residual_variance, np.ones(4))
    assert not np.allclose(answer.volatility_change, mean_answer(forward.members(window)).volatility_change)


def test_a_bundle_without_a_rule_is_plainly_averaged():
    bundle, window = random_spectral_bundle(n_members=3), described()
    forward = SpectralForward(bundle)
    assert stored_aggregation(bundle) is None
    assert_array_equal(forward.answer(window).volatility_change, mean_answer(forward.members(window)).volatility_change)


def test_the_estimator_follows_the_rule_and_a_rule_of_one_member_is_that_member():
    X = pd.DataFrame(returns(12, 120), index=pd.bdate_range("2011-01-03", periods=120))
    bundle = random_spectral_bundle(n_members=3)
    alone = {n: t if n.endswith(("_center", "_scale")) else t[1:2] for n, t in bundle.tensors.items()}
    chosen = with_rule(bundle, Aggregation("simplex", np.array([[0.0, 1.0, 0.0]])))
    found = NeuralShrinkage(chosen).fit(X).covariance_
    assert_allclose(found, NeuralShrinkage(replace(bundle, tensors=alone)).fit(X).covariance_, rtol=1e-10)
    assert not np.allclose(found, NeuralShrinkage(bundle).fit(X).covariance_, rtol=1e-3)


def test_a_gated_rule_keeps_the_unit_and_the_order_of_the_assets():
    rule = Aggregation("simplex", random_weights(2, 3), ("a", "b"), random_gate(2))
    bundle, X = with_rule(random_spectral_bundle(n_members=3), rule), returns(12, 120)
    covariance = NeuralShrinkage(bundle, undated="newest").fit(X).covariance_
    scaled = NeuralShrinkage(bundle, undated="newest").fit(100 * X).covariance_
    assert_allclose(scaled, 1e4 * covariance, rtol=1e-8)
    order = np.random.default_rng(0).permutation(12)
    turned = NeuralShrinkage(bundle, undated="newest").fit(X[:, order]).covariance_
    assert_allclose(turned, covariance[np.ix_(order, order)], rtol=1e-7)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_what_cannot_be_joined_is_said():
    with pytest.raises(ParameterError, match="sum to 1"):
        Aggregation("simplex", np.array([[0.5, 0.6]]))
    with pytest.raises(ParameterError, match="2 states needs a row of weights for each and a gate of as many, got 2 r"):
        Aggregation("simplex", random_weights(2, 3), ("a", "b"))
    with pytest.raises(ParameterError, match="leaves none of 4"):
        Aggregation("trimmed", np.full((1, 4), 0.25), n_trimmed=2)
    window = described()
    with pytest.raises(ParameterError, match="for 2 members, got 3 answers"):
        Aggregation("mean", np.full((1, 2), 0.5))(window, members_of(window))


def test_a_bundle_whose_rule_is_incomplete_is_refused():
    bundle = with_rule(random_spectral_bundle(n_members=3), Aggregation("simplex", random_weights(1, 3)))
    without = {n: t for n, t in bundle.tensors.items() if n != "aggregation_weights"}
    with pytest.raises(ArtifactError, match="aggregation cannot be used"):
        SpectralForward(replace(bundle, tensors=without))
    foreign = {**bundle.options["aggregation"], "gate_inputs": ["the weather"]}
    with pytest.raises(ArtifactError, match="gate reads 'the weather'"):
        SpectralForward(replace(bundle, options={**bundle.options, "aggregation": foreign}))
