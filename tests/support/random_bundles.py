"""Bundles with random weights: networks whose every part matters, without training."""

import numpy as np
import pandas as pd
import torch

from eigenfolio.artifacts import Bundle
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned.estimates import dense_feature_names
from eigenfolio.models.networks import DenseOptions, DenseShrinkageNetwork


def random_dense_bundle(*, through="2010-01-04", seed=0, n_members=1, prior_logit=-0.7, **changes) -> Bundle:
    """A bundle with any of the network's options, every part of which matters."""
    options = DenseOptions(**{"hidden_sizes": (16, 8), **changes})
    names = dense_feature_names(options.inputs)
    generator = torch.Generator().manual_seed(seed)
    states = []
    for _ in range(n_members):
        network = DenseShrinkageNetwork.of(len(names), options, prior_logit=prior_logit)
        states.append(_drawn(network, generator))
    tensors = {name: np.stack([state[name] for state in states]) for name in states[0]}
    tensors["feature_center"] = torch.rand(len(names), generator=generator).numpy()
    tensors["feature_scale"] = (0.5 + torch.rand(len(names), generator=generator)).numpy()
    tensors["interval_scale"] = np.array(1.5)
    told = options.model_dump(mode="json") | ({"prior_logit": prior_logit} if options.empirical_prior else {})
    return Bundle("shrinkage", "dense", told, names, tensors, pd.Timestamp(through))


def random_bundle(*, through="2010-06-30", seed=0, hidden=(16, 8), names=SPECTRUM_FEATURES, n_members=1) -> Bundle:
    """Random norms, statistics and gains in every member."""
    generator = torch.Generator().manual_seed(seed)
    states = [_random_state(hidden, generator) for _ in range(n_members)]
    tensors = {name: np.stack([state[name] for state in states]) for name in states[0]}
    n = len(SPECTRUM_FEATURES)
    tensors["feature_center"] = torch.rand(n, generator=generator).numpy()
    tensors["feature_scale"] = (0.5 + torch.rand(n, generator=generator)).numpy()
    return Bundle("shrinkage", "dense", {"hidden_sizes": list(hidden)}, names, tensors, pd.Timestamp(through))


def _random_state(hidden, generator) -> dict[str, np.ndarray]:
    return _drawn(DenseShrinkageNetwork(len(SPECTRUM_FEATURES), hidden_sizes=hidden), generator)


def _drawn(network, generator) -> dict[str, np.ndarray]:
    network.initialise(generator)
    state = network.state_dict()
    for name, tensor in state.items():
        if "norm" in name and tensor.dtype.is_floating_point:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    state["gains"].copy_(torch.tensor([0.7, 0.6, 0.8]))
    return {name: tensor.numpy() for name, tensor in state.items()}
