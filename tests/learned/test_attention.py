"""The attention network in NumPy: equal to torch, a closed form when untrained, indifferent to units and order."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_attention import new_network, random_attention_bundle, torch_member
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio import LedoitWolf, NeuralShrinkage
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.features import REGIMES
from eigenfolio.learned.attention import (
    AttentionForward,
    attention_correlation,
    attention_feature_names,
    block_eigenvalues,
    mean_attention,
    untrained_attention,
)
from eigenfolio.learned.tokens import describe_tokens
from eigenfolio.models.networks.attention import AttentionOptions
from eigenfolio.models.window import prepare_window

ALL = ("identity", "constant_correlation", "single_factor")


def market(n_rows=300, n_assets=6, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2010-01-04", periods=n_rows)
    return pd.DataFrame(values, index=index, columns=[f"a{i}" for i in range(n_assets)])


def described(X):
    return describe_tokens(prepare_window(X.to_numpy()))


def torch_inputs(bundle, windows):
    """Scaled inputs of several windows, padded to the largest."""
    n_tokens = max(len(window.eigenvalues) for window in windows)

    def scaled(kind, values):
        return np.clip((values - bundle.tensors[f"{kind}_center"]) / bundle.tensors[f"{kind}_scale"], -4.0, 4.0)

    eigen = np.full((len(windows), n_tokens, windows[0].eigen.shape[1]), 99.0)
    valid = np.zeros((len(windows), n_tokens), dtype=bool)
    for i, window in enumerate(windows):
        eigen[i, : len(window.eigen)], valid[i, : len(window.eigen)] = scaled("eigen", window.eigen), True
    rest = [
        scaled("context", np.array([w.context for w in windows])),
        scaled("families", np.array([w.features for w in windows])),
    ]
    logits = np.array([window.base.classical_logit for window in windows])
    return [torch.from_numpy(x) for x in (eigen, *rest, valid, logits)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target_activation": "sigmoid", "targets": ("identity", "single_factor")},
        {"regime_embedding": False, "n_heads": 4, "n_blocks": 3, "head_sizes": (32, 16, 16)},
        {"extractor_sizes": (128, 64, 64, 64), "block_units": 48},
    ],
)
def test_numpy_says_what_torch_says(changes):
    bundle = random_attention_bundle(n_members=2, **changes)
    window = described(market(n_rows=90, n_assets=40))
    for member, answer in enumerate(AttentionForward(bundle).members(window)):
        with torch.no_grad():
            said = torch_member(bundle, member)(*torch_inputs(bundle, [window]))
        assert_allclose(answer.intensity, said.intensity[0], atol=1e-6)
        own = answer.target_weights[[ALL.index(name) for name in bundle.options["targets"]]]
        assert_allclose(own, said.target_weights[0], atol=1e-6)
        assert_allclose(answer.volatility_blend, said.volatility_blend[0], atol=1e-6)
        assert_allclose(answer.blocks, said.blocks[0], atol=1e-6)
        assert_allclose(answer.variance, said.log_variance[0].exp(), rtol=1e-6)
        assert_allclose(answer.target_variance, said.target_log_variance[0].exp(), rtol=1e-6)
        assert_allclose([answer.log_condition, answer.expected_error], [said.log_condition[0], said.expected_error[0]])
        assert_allclose(answer.regime_probabilities, torch.softmax(said.regime_logits[0], -1), atol=1e-6)


def test_padding_changes_nothing_so_windows_of_any_size_share_a_batch():
    bundle = random_attention_bundle()
    windows = [described(market(n_assets=n, seed=n)) for n in (2, 5, 60)]
    with torch.no_grad():
        together = torch_member(bundle)(*torch_inputs(bundle, windows))
    for i, window in enumerate(windows):
        answer = AttentionForward(bundle).members(window)[0]
        assert_allclose(together.intensity[i], answer.intensity, rtol=1e-9)
        assert_allclose(together.blocks[i, : len(answer.blocks)], answer.blocks, rtol=1e-9)


def test_padding_does_not_enter_the_statistics_of_a_batch_in_training():
    bundle = random_attention_bundle()
    windows = [described(market(n_assets=n, seed=n)) for n in (5, 30)]
    inputs = torch_inputs(bundle, windows)
    wild = inputs[0].clone()
    wild[0, 5:] = -1e3
    answers = []
    for eigen in (inputs[0], wild):
        network = torch_member(bundle)
        network.train()
        for dropout in network.extractor.dropout:
            dropout.eval()
        answers.append((network(eigen, *inputs[1:]).intensity, network.extractor.eigen_norm.running_mean.clone()))
    assert_allclose(answers[0][0].detach(), answers[1][0].detach(), rtol=1e-9)
    assert_allclose(answers[0][1], answers[1][1], rtol=1e-9)


def test_running_statistics_serve_in_production_and_those_of_the_batch_in_training():
    network = new_network(AttentionOptions()).double()
    network.initialise(torch.Generator().manual_seed(0))
    bundle = random_attention_bundle()
    inputs = torch_inputs(bundle, [described(market(seed=s)) for s in range(4)])
    network.eval()
    alone = network(*[x[:1] for x in inputs]).log_condition.detach()
    assert_allclose(alone, network(*inputs).log_condition[:1].detach(), rtol=1e-9)
    before = network.blocks[0].first_norm.running_mean.clone()
    network.train()
    first = network(*inputs).log_condition[:1].detach()
    assert not torch.equal(network.blocks[0].first_norm.running_mean, before)
    assert abs(first - alone).max().item() > 1e-3


def test_untrained_it_is_ledoit_wolf_on_standardised_returns_with_sample_volatilities():
    for X in (market(), market(n_rows=40, n_assets=60), market().iloc[:, :1], market().iloc[:2]):
        expected = LedoitWolf(on="correlation").fit(X).covariance_
        for weights in (None, random_attention_bundle(through="2009-01-01", trained=False)):
            model = NeuralShrinkage(weights, network="attention").fit(X)
            assert_allclose(model.covariance_, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
            assert model.target_weights_ == {"identity": 1.0, "constant_correlation": 0.0, "single_factor": 0.0}


@pytest.mark.parametrize("target", ALL)
def test_a_single_target_starts_at_its_own_closed_form(target):
    X = market()
    bundle = random_attention_bundle(trained=False, targets=(target,))
    expected = LedoitWolf(target=target, on="correlation").fit(X).covariance_
    assert_allclose(NeuralShrinkage(bundle).fit(X).covariance_, expected, rtol=1e-10)
    trained = NeuralShrinkage(random_attention_bundle(targets=(target,))).fit(X)
    assert trained.target_weights_[target] == 1.0


def test_block_shrinkage_moves_each_eigenvalue_toward_one_and_keeps_the_trace():
    window = described(market(n_assets=5))
    blocks = np.array([0.0, 0.5, 1.0, 0.0, 0.25])
    moved = window.eigenvalues + blocks * (1.0 - window.eigenvalues)
    assert_allclose(block_eigenvalues(window, blocks), moved * 5.0 / moved.sum())
    answer = untrained_attention(window)
    object.__setattr__(answer, "blocks", blocks)
    object.__setattr__(answer, "intensity", 0.0)
    made = np.linalg.eigvalsh(attention_correlation(window, answer))
    assert_allclose(np.sort(made), np.sort(block_eigenvalues(window, blocks)), rtol=1e-9)
    assert_allclose(np.trace(attention_correlation(window, answer)), 5.0, rtol=1e-12)


def test_the_correlation_is_the_blend_written_out():
    window = described(market(n_assets=4))
    answer = AttentionForward(random_attention_bundle()).members(window)[0]
    values = (1 - answer.blocks) * window.eigenvalues + answer.blocks
    values *= 4 / values.sum()
    sample = sum(v * np.outer(q, q) for v, q in zip(values, window.vectors.T, strict=True))
    base = window.base
    constant = np.where(np.eye(4) == 1, 1.0, base.mean_correlation)
    factor = np.where(np.eye(4) == 1, 1.0, np.outer(base.loading, base.loading))
    w = answer.target_weights
    target = w[0] * np.eye(4) + w[1] * constant + w[2] * factor
    expected = (1 - answer.intensity) * sample + answer.intensity * target
    assert_allclose(attention_correlation(window, answer), expected, rtol=1e-9, atol=1e-12)


def test_everything_a_user_can_read_is_set_and_in_range():
    model = NeuralShrinkage(random_attention_bundle(n_members=2)).fit(market(n_assets=8))
    low, high = model.shrinkage_interval_
    assert 0.0 <= low <= model.shrinkage_ <= high <= 1.0
    assert abs(sum(model.target_weights_.values()) - 1.0) < 1e-9
    assert set(model.target_confidence_) == set(ALL)
    assert all(0.0 <= c <= 1.0 for c in model.target_confidence_.values())
    assert 0.0 <= model.volatility_blend_ <= 1.0
    assert model.block_shrinkage_.shape == (8, 2)
    assert model.prediction_variance_ > 0.0
    assert np.isfinite(model.expected_error_)
    assert tuple(model.regime_probabilities_) == REGIMES
    assert abs(sum(model.regime_probabilities_.values()) - 1.0) < 1e-9
    assert model.regime_ == max(model.regime_probabilities_, key=model.regime_probabilities_.get)
    assert np.isfinite(model.diagnostics_["predicted_log_condition"])


def test_inputs_beyond_training_are_named_with_their_distance():
    tensors = dict(random_attention_bundle().tensors)
    bundle = random_attention_bundle()
    tensors["context_center"] = np.array([0.0, 0.0, -10.0, 0.0, 0.0])
    tensors["context_scale"] = np.ones(5)
    object.__setattr__(bundle, "tensors", tensors)
    far = NeuralShrinkage(bundle).fit(market(n_assets=6)).out_of_range_
    assert far["log_assets"] == pytest.approx(np.log(6) + 10.0 - 4.0)


def test_the_spread_of_members_joins_the_variance():
    members = AttentionForward(random_attention_bundle(n_members=3)).members(described(market()))
    logits = np.log([m.intensity / (1 - m.intensity) for m in members])
    expected = np.mean([m.variance for m in members]) + np.var(logits)
    assert_allclose(mean_attention(members).variance, expected, rtol=1e-9)


def test_order_and_unit_of_the_assets_do_not_matter():
    bundle = random_attention_bundle()
    for X in (market(n_assets=7), market(n_rows=30, n_assets=45)):
        base = NeuralShrinkage(bundle).fit(X).covariance_
        assert_allclose(NeuralShrinkage(bundle).fit(100 * X).covariance_, 1e4 * base, rtol=1e-7)
        order = np.random.default_rng(1).permutation(X.shape[1])
        permuted = NeuralShrinkage(bundle).fit(X.iloc[:, order]).covariance_
        assert_allclose(permuted, base[np.ix_(order, order)], rtol=1e-6, atol=1e-9 * base.max())


@pytest.mark.parametrize("n_assets", [2, 17, 500])
def test_one_set_of_weights_serves_any_number_of_assets(n_assets):
    covariance = NeuralShrinkage(random_attention_bundle()).fit(market(n_rows=120, n_assets=n_assets)).covariance_
    assert np.linalg.eigvalsh(covariance)[0] > 0.0
    assert_array_equal(covariance, covariance.T)


def test_two_rows_one_asset_duplicates_and_constants_get_a_defined_answer():
    X = market()
    duplicated = pd.concat([X, X.iloc[:, :1].rename(columns={"a0": "twin"})], axis=1)
    for frame in (X.iloc[:2], X.iloc[:3], X.iloc[:, :1], X.iloc[:2, :1], duplicated, X.assign(flat=0.0)):
        for weights in (None, random_attention_bundle(through="2009-01-01")):
            covariance = NeuralShrinkage(weights, network="attention").fit(frame).covariance_
            assert np.isfinite(covariance).all()
            assert np.linalg.eigvalsh(covariance)[0] > 0.0


def test_scikit_learn_finds_nothing_to_object_to():
    results = check_estimator(clone(NeuralShrinkage(None, network="attention")), on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []


def test_a_foreign_bundle_and_other_inputs_are_refused():
    names = attention_feature_names()
    with pytest.raises(ArtifactError, match="other inputs"):
        NeuralShrinkage(random_attention_bundle(names=names[::-1])).fit(market())
    with pytest.raises(ParameterError, match="but the weights are of network 'attention'"):
        NeuralShrinkage(random_attention_bundle(), network="dense").fit(market())


def test_another_fit_leaves_no_attribute_of_the_network_before():
    model = NeuralShrinkage(random_attention_bundle()).fit(market())
    model.set_params(weights=None, network="dense").fit(market())
    assert "block_shrinkage_" not in vars(model)
    assert "regime_" not in vars(model)
