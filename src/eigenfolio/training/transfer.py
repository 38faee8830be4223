"""What a training of spectral networks adds to its plain form: a start, an order of windows, heads, and adaptation.

Each is an option of `eigenfolio.training.pretraining.SpectralTraining`; where none is set, nothing here changes a bit
of the training.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from eigenfolio.models.networks.spectral import SpectralShrinkageNetwork
from eigenfolio.training.curriculum import CurriculumSamples
from eigenfolio.training.domain_adaptation import TARGET, AdaptationSamples, DomainAdaptation
from eigenfolio.training.mixture import WindowSource
from eigenfolio.training.named_losses import needs_pairs
from eigenfolio.training.spectral import SpectralLoss, SpectralSamples
from eigenfolio.training.spectral_heads import SpectralHeads

__all__ = ["arranged", "check_transfer", "labelled", "with_heads"]


def check_transfer(sources: Sequence[WindowSource], loss: SpectralLoss, adaptation: DomainAdaptation | None) -> None:
    """Raise unless the windows hold what the losses and the adaptation need.

    Raises
    ------
    ValueError
        If a domain names no window source, or a loss on successive estimates finds no pairs.
    """
    names = [source.name for source in sources]
    for name in () if adaptation is None else adaptation.domains():
        if name not in names:
            raise ValueError(f"adaptation names the window source {name!r}; {_nearest(name, names)}")
    if needs_pairs(loss.named) and not any(source.pairs for source in sources):
        wanting = " and ".join(name for name, term in loss.named.items() if ("previous",) in term.needs)
        raise ValueError(f"{wanting} needs successive decisions; give a window source pairs, e.g. pairs=21")


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def arranged(samples: SpectralSamples, *, adaptation: DomainAdaptation | None, curriculum: float) -> Any:
    """The samples in the batches and the order that the options ask for; themselves where they ask for neither."""
    found: SpectralSamples | AdaptationSamples | CurriculumSamples = samples
    if adaptation is not None and adaptation.active:
        found = AdaptationSamples(samples)
    if curriculum > 0.0:
        sizes = torch.cat([torch.full((len(group),), group.n_assets) for group in samples.groups])
        found = CurriculumSamples(found, sizes, curriculum)
    return found


def labelled(samples: SpectralSamples, adaptation: DomainAdaptation | None) -> SpectralSamples:
    """The windows whose futures may be learned from: all but those of a target without labels."""
    if adaptation is None or adaptation.target_labels:
        return samples
    kept = [
        (group, torch.nonzero(group.domain != TARGET)[:, 0]) for group in samples.groups if group.domain is not None
    ]
    return SpectralSamples(tuple(group.take(rows) for group, rows in kept if len(rows)))


def with_heads(
    networks: Sequence[SpectralShrinkageNetwork],
    loss: SpectralLoss,
    adaptation: DomainAdaptation | None,
    *,
    rng: np.random.Generator,
) -> list[nn.Module]:
    """The networks with the heads that the options ask for; themselves where they ask for none."""
    variance = "intensity_likelihood" in loss.named
    aligns = adaptation is not None and adaptation.aligns
    if not variance and not aligns:
        return list(networks)
    return [
        SpectralHeads(
            network,
            variance=variance,
            domain_units=adaptation.n_units if adaptation is not None and adaptation.adversarial > 0.0 else 0,
            generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
        )
        for network in networks
    ]
