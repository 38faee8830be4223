"""Networks that start from a bundle instead of from their closed form.

Weights mean something only behind the scaler of the inputs they were trained with, so that scaler comes along. A bundle
that has seen a later date than the training may see is refused.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from eigenfolio.artifacts import Bundle, load_bundle
from eigenfolio.errors import LookaheadError, ParameterError
from eigenfolio.learned.shipped import is_undated, shipped_bundle
from eigenfolio.models.networks.spectral import SpectralShrinkageNetwork
from eigenfolio.training.spectral import Scaler

__all__ = ["SYNTHETIC", "bundle_scaler", "initial_bundle", "learned_names", "take_weights"]

SYNTHETIC = "synthetic"
"""The shipped weights that have seen simulated markets alone."""

_KINDS = ("token", "asset", "context", "summary")


def initial_bundle(initial: str, *, through: pd.Timestamp | None, n_units: int) -> Bundle:
    """Bundle that a training starts from.

    Parameters
    ----------
    initial : str
        "synthetic", or the folder of a bundle.
    through : Timestamp or None
        Last date that the training may see; None where it may see simulated markets alone.
    n_units : int
        Hidden width of the network to be trained.

    Raises
    ------
    ArtifactError
        If there is no bundle.
    LookaheadError
        If it has seen a later date.
    ParameterError
        If it is not of the spectral network, or of another width.

    Examples
    --------
    >>> bundle = initial_bundle("synthetic", through=None, n_units=16)
    >>> bundle.network, bundle.trained_through.year
    ('spectral', 1900)
    """
    bundle = shipped_bundle("spectral", SYNTHETIC) if initial == SYNTHETIC else load_bundle(Path(initial))
    if (bundle.family, bundle.network) != ("shrinkage", "spectral"):
        raise ParameterError(
            f"initial={initial!r} is a bundle of {bundle.family}/{bundle.network}; give one of shrinkage/spectral"
        )
    if bundle.options["n_units"] != n_units:
        raise ParameterError(
            f"initial={initial!r} has n_units={bundle.options['n_units']}, and network.n_units is {n_units}; make them "
            "equal"
        )
    late = not is_undated(bundle) if through is None else bundle.trained_through > through
    if late:
        seen = "simulated markets alone" if through is None else f"{through:%Y-%m-%d}"
        raise LookaheadError(
            f"initial={initial!r} has seen {bundle.trained_through:%Y-%m-%d}, and this training may see {seen}; start "
            f"from an earlier bundle, or from {SYNTHETIC!r}"
        )
    return bundle


def bundle_scaler(bundle: Bundle) -> Scaler:
    """Scaler of the inputs that a bundle was trained with."""
    center, scale = (
        {kind: torch.tensor(bundle.tensors[f"{kind}_{part}"]) for kind in _KINDS} for part in ("center", "scale")
    )
    return Scaler(center, scale)


def learned_names(network: SpectralShrinkageNetwork) -> list[str]:
    """Names of the tensors that training changes and a bundle keeps; the seeds of dropout are not among them."""
    return [name for name, _ in network.named_parameters()]


def take_weights(network: SpectralShrinkageNetwork, bundle: Bundle, member: int) -> None:
    """Give a network the weights of a member; members beyond those of the bundle begin with the first again."""
    at = member % len(bundle.tensors["mixing"])
    weights = {name: torch.tensor(bundle.tensors[name][at]) for name in learned_names(network)}
    network.load_state_dict(weights, strict=False)  # the seeds of dropout stay
