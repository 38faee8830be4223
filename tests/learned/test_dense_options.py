"""The dense network with every option: NumPy says what torch says, and a user can read what it predicts."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from random_bundles import random_dense_bundle

from eigenfolio import LedoitWolf, NeuralShrinkage
from eigenfolio.errors import ArtifactError
from eigenfolio.features import REGIMES
from eigenfolio.learned.dense import DenseForward
from eigenfolio.learned.estimates import dense_feature_names, dense_inputs
from eigenfolio.models.networks import DenseOptions, DenseShrinkageNetwork
from eigenfolio.models.window import prepare_window

EVERYTHING = {
    "inputs": ("matrix", "market", "temporal"),
    "regime_embedding": True,
    "feature_attention": True,
    "empirical_prior": True,
    "uncertainty": True,
}


def market(n_rows=300, n_assets=6, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2010-01-04", periods=n_rows)
    return pd.DataFrame(values, index=index, columns=[f"a{i}" for i in range(n_assets)])


def torch_member(bundle, member):
    options = DenseOptions.model_validate({k: v for k, v in bundle.options.items() if k != "prior_logit"})
    prior = bundle.options.get("prior_logit")
    network = DenseShrinkageNetwork.of(len(bundle.feature_names), options, prior_logit=prior).double().eval()
    parts = {
        name: torch.tensor(tensor[member])
        for name, tensor in bundle.tensors.items()
        if not name.startswith("feature_") and name != "interval_scale"
    }
    network.load_state_dict(parts, strict=True)
    return network


@pytest.mark.parametrize(
    "changes",
    [
        EVERYTHING,
        {"uncertainty": True, "hidden_sizes": (128, 64, 32)},
        {"targets": ("identity", "single_factor"), "target_activation": "sigmoid"},
        {"targets": ("constant_correlation",), "empirical_prior": True},
        {"inputs": ("market",), "regime_embedding": True, "hidden_sizes": (8,)},
    ],
)
def test_numpy_says_what_torch_says(changes):
    bundle = random_dense_bundle(n_members=2, **changes)
    window = prepare_window(market().to_numpy())
    targets = bundle.options["targets"]
    inputs = tuple(bundle.options["inputs"])
    described, features, regime = dense_inputs(window, inputs, start=targets[0])
    forward = DenseForward(bundle, dense_feature_names(inputs))
    scaled = np.clip((features - bundle.tensors["feature_center"]) / bundle.tensors["feature_scale"], -4, 4)
    known = torch.tensor([[name == regime for name in REGIMES]]).double()
    for member, answer in enumerate(forward.members(features, described.classical_logit, regime)):
        with torch.no_grad():
            logit = torch.tensor([described.classical_logit]).double()
            said = torch_member(bundle, member)(torch.from_numpy(scaled)[None], logit, known)
        assert_allclose(answer.intensity, said.intensity[0], atol=1e-6)
        assert_allclose(answer.target_weights.sum(), 1.0)
        own = [("identity", "constant_correlation", "single_factor").index(name) for name in targets]
        assert_allclose(answer.target_weights[own], said.target_weights[0], atol=1e-6)
        assert_allclose(answer.volatility_blend, said.volatility_blend[0], atol=1e-6)
        if bundle.options["uncertainty"]:
            assert_allclose(answer.log_variance, said.log_variance[0], atol=1e-6)
        else:
            assert answer.log_variance is None


def test_a_user_reads_variance_interval_and_range():
    model = NeuralShrinkage(random_dense_bundle(n_members=3, **EVERYTHING)).fit(market())
    low, high = model.shrinkage_interval_
    assert 0.0 <= low <= model.shrinkage_ <= high <= 1.0
    assert model.prediction_variance_ > 0.0
    assert set(model.out_of_range_) <= set(dense_feature_names(EVERYTHING["inputs"]))
    assert not hasattr(NeuralShrinkage(random_dense_bundle()).fit(market()), "prediction_variance_")


@pytest.mark.parametrize("target", ["constant_correlation", "single_factor"])
def test_with_closed_gains_it_is_ledoit_wolf_toward_its_first_target(target):
    bundle = random_dense_bundle(targets=(target, "identity"), empirical_prior=True)
    tensors = dict(bundle.tensors)
    tensors["gains"] = np.zeros((1, 3))
    object.__setattr__(bundle, "tensors", tensors)
    X = market()
    expected = LedoitWolf(target=target, on="correlation").fit(X).covariance_
    assert_allclose(NeuralShrinkage(bundle).fit(X).covariance_, expected, rtol=1e-10)


def test_feature_importance_is_a_distribution_over_units_and_needs_attention():
    window = prepare_window(market().to_numpy())
    bundle = random_dense_bundle(n_members=2, **EVERYTHING)
    _, features, regime = dense_inputs(window, EVERYTHING["inputs"])
    importance = DenseForward(bundle, bundle.feature_names).importance(features, regime)
    assert importance.shape == (2, 16)
    assert_allclose(importance.sum(axis=1), 1.0)
    assert importance.std() > 0.0
    plain = random_dense_bundle()
    with pytest.raises(ArtifactError, match="without feature_attention"):
        DenseForward(plain, plain.feature_names).importance(features[:31])
