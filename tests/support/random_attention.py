"""Attention bundles with random weights, and the torch network that says the same."""

import numpy as np
import pandas as pd
import torch

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.attention import attention_feature_names
from eigenfolio.learned.tokens import CONTEXT_FEATURES, EIGEN_FEATURES, FAMILIES, WINDOW_FEATURES
from eigenfolio.models.networks.attention import AttentionOptions, AttentionShrinkageNetwork

WIDTHS = {"eigen": len(EIGEN_FEATURES), "context": len(CONTEXT_FEATURES), "families": len(WINDOW_FEATURES)}
SMALL = {"extractor_sizes": (64, 64), "block_units": 32, "head_sizes": (16, 16), "attention_size": 16}


def new_network(options: AttentionOptions) -> AttentionShrinkageNetwork:
    sizes = [len(names) for names in FAMILIES.values()]
    regime = list(FAMILIES).index("market")
    return AttentionShrinkageNetwork(WIDTHS["eigen"], WIDTHS["context"], sizes, regime_family=regime, options=options)


def random_attention_bundle(
    *, through="2010-01-04", seed=0, n_members=1, names=None, trained=True, **changes
) -> Bundle:
    """Random norms, statistics and gains in every member when `trained`; else as at the start of training."""
    options = AttentionOptions(**{**SMALL, **changes})
    generator = torch.Generator().manual_seed(seed)
    states = [_random_state(options, generator, trained) for _ in range(n_members)]
    tensors = {name: np.stack([state[name] for state in states]) for name in states[0]}
    for kind, width in WIDTHS.items():
        tensors[f"{kind}_center"] = 0.3 * torch.randn(width, generator=generator).numpy()
        tensors[f"{kind}_scale"] = (0.5 + torch.rand(width, generator=generator)).numpy()
    tensors |= {"interval_scale": np.array(1.5), "confidence_scale": np.full(len(options.targets), 0.1)}
    return Bundle(
        "shrinkage",
        "attention",
        options.model_dump(mode="json"),
        attention_feature_names() if names is None else names,
        tensors,
        pd.Timestamp(through),
    )


def _random_state(options, generator, trained) -> dict[str, np.ndarray]:
    network = new_network(options)
    network.initialise(generator)
    if trained:
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if "norm" in name and tensor.dtype.is_floating_point:
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator) + 2.0 * name.endswith("square"))
            network.gains.copy_(torch.tensor([0.3, 0.6, 0.8, 0.5]))
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items() if "dropout" not in name}


def torch_member(bundle: Bundle, member: int = 0) -> AttentionShrinkageNetwork:
    """The network of one member, in double precision, in evaluation mode."""
    network = new_network(AttentionOptions.model_validate(bundle.options)).double().eval()
    parts = {
        name: torch.from_numpy(tensor[member].astype(float))
        for name, tensor in bundle.tensors.items()
        if not name.endswith(("_center", "_scale"))
    }
    network.load_state_dict(parts, strict=False)
    return network
