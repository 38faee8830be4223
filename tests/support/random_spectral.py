"""Spectral bundles with random weights, and the torch network that says the same."""

import numpy as np
import pandas as pd
import torch

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.spectra import ASSET_FEATURES, CONTEXT_FEATURES, SUMMARY_FEATURES, TOKEN_FEATURES
from eigenfolio.learned.spectral import feature_names
from eigenfolio.models.networks import SpectralShrinkageNetwork

WIDTHS = (len(TOKEN_FEATURES), len(ASSET_FEATURES), len(CONTEXT_FEATURES), len(SUMMARY_FEATURES))


def random_spectral_bundle(
    *, through="2010-06-30", seed=0, n_members=1, n_units=8, size=1.0, names=None, trained=True
) -> Bundle:
    """Every weight matters when `trained`; else last layers and shares are zero, as at the start of training."""
    generator = torch.Generator().manual_seed(seed)
    states = []
    for _ in range(n_members):
        network = SpectralShrinkageNetwork(*WIDTHS, n_units=n_units)
        network.initialise(generator)
        if trained:
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    if "_out" in name or name in ("mixing", "level"):
                        parameter.copy_(size * 0.5 * torch.randn(parameter.shape, generator=generator))
        states.append({k: v.numpy().copy() for k, v in network.state_dict().items() if "dropout" not in k})
    tensors = {name: np.stack([state[name] for state in states]) for name in states[0]}
    for kind, width in zip(("token", "asset", "context", "summary"), WIDTHS, strict=True):
        shape = (width,) if kind == "summary" else (2, width)
        tensors[f"{kind}_center"] = 0.3 * torch.randn(shape, generator=generator).numpy()
        tensors[f"{kind}_scale"] = (0.5 + torch.rand(shape, generator=generator)).numpy()
    return Bundle(
        "shrinkage",
        "spectral",
        {"n_units": n_units, "dropout": 0.3},
        feature_names() if names is None else names,
        tensors,
        pd.Timestamp(through),
    )


def torch_member(bundle: Bundle, member: int = 0) -> SpectralShrinkageNetwork:
    """The network of one member, in double precision, without dropout."""
    network = SpectralShrinkageNetwork(*WIDTHS, n_units=bundle.options["n_units"]).double().eval()
    parts = {
        name: torch.from_numpy(tensor[member].astype(float))
        for name, tensor in bundle.tensors.items()
        if not name.endswith(("_center", "_scale"))
    }
    network.load_state_dict(parts, strict=False)
    return network
