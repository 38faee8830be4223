"""Bundles with random weights: networks whose every part matters, without training."""

import numpy as np
import pandas as pd
import torch

from eigenfolio.artifacts import Bundle
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.models.networks import DenseShrinkageNetwork


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
    network = DenseShrinkageNetwork(len(SPECTRUM_FEATURES), hidden_sizes=hidden)
    network.initialise(generator)
    state = network.state_dict()
    for name, tensor in state.items():
        if "norm" in name and tensor.dtype.is_floating_point:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    state["gains"].copy_(torch.tensor([0.7, 0.6, 0.8]))
    return {name: tensor.numpy() for name, tensor in state.items()}
