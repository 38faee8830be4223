r"""Hidden features that look alike in two domains: simulated and real windows, or two markets.

    CORAL         || C_source - C_target ||_F^2 / (4 d^2)     covariances of the d features over the batch [1]_
    adversarial   cross-entropy of a classifier that tells the domains apart from features whose gradient is reversed,
                  each domain counting half [2]_

is added to the loss, times its weight. The features are those of `eigenfolio.training.spectral_heads`; the covariances
are taken about the batch's means and divide by n - 1, so a shift of the mean alone is left to the classifier. Every
batch holds windows of both domains: the larger domain is cut into batches as it always is, and the smaller one is
spread over them, so every window is still seen once per epoch. Windows of other sources have batches of their own, on
which nothing is aligned. `target_labels=False` takes the futures of the target's windows out of the loss: they are
aligned with, and teach nothing else.

References
----------
.. [1] B. Sun and K. Saenko (2016). Deep CORAL: correlation alignment for deep domain adaptation. ECCV Workshops.
.. [2] Y. Ganin et al. (2016). Domain-adversarial training of neural networks. Journal of Machine Learning Research
   17(59), 1-35.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from eigenfolio.errors import ParameterError
from eigenfolio.training.loop import Loss
from eigenfolio.training.spectral import SpectralBatch, SpectralSamples

__all__ = ["TARGET", "AdaptationSamples", "DomainAdaptation", "adapted_loss", "coral_distance", "domain_loss"]

SOURCE, TARGET = 0, 1


class DomainAdaptation(BaseModel):
    """Which windows shall look alike, and how much that counts.

    Parameters
    ----------
    source, target : tuple of str
        Names of the window sources of the two domains; none may be in both.
    coral, adversarial : float
        Weights of the two penalties; with both 0 and `target_labels` nothing changes, to the bit.
    n_units : int
        Hidden width of the domain classifier.
    target_labels : bool
        Whether the futures of the target are learned from, by the loss or by what is fitted afterwards.

    Examples
    --------
    >>> DomainAdaptation(source=("populations",), target=("stocks", "funds"), coral=1.0).domains()
    {'populations': 0, 'stocks': 1, 'funds': 1}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: tuple[str, ...] = Field(min_length=1)
    target: tuple[str, ...] = Field(min_length=1)
    coral: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    adversarial: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    n_units: int = Field(default=16, ge=1, le=128)
    target_labels: bool = True

    @model_validator(mode="after")
    def _apart(self) -> DomainAdaptation:
        both = sorted(set(self.source) & set(self.target))
        if both:
            raise ValueError(f"a window source belongs to one domain, got {', '.join(both)} in both")
        return self

    @property
    def aligns(self) -> bool:
        """Whether a penalty has a weight."""
        return self.coral > 0.0 or self.adversarial > 0.0

    @property
    def active(self) -> bool:
        """Whether anything differs from a training without it."""
        return self.aligns or not self.target_labels

    def domains(self) -> dict[str, int]:
        """Domain by name of the window source: 0 the source, 1 the target."""
        return dict.fromkeys(self.source, SOURCE) | dict.fromkeys(self.target, TARGET)

    def has_labels(self, source: str) -> bool:
        """Whether the futures of a window source may be learned from."""
        return self.target_labels or source not in self.target


def coral_distance(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the covariances of two sets of features, over 4 d^2.

    Parameters
    ----------
    source : Tensor of shape (..., n_source, d)
    target : Tensor of shape (..., n_target, d)
        Two rows or more each.

    Returns
    -------
    Tensor of shape (...,)

    Raises
    ------
    ParameterError
        If a domain has fewer than two rows.

    Examples
    --------
    >>> source, target = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]])  # variances 2 and 8
    >>> coral_distance(source, target).item()
    9.0
    """
    fewest = min(source.shape[-2], target.shape[-2])
    if fewest < 2:
        raise ParameterError(f"a covariance of features needs two windows of each domain, got {fewest}")
    difference = _covariance(source) - _covariance(target)
    return difference.square().sum(dim=(-2, -1)) / (4 * source.shape[-1] ** 2)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=-2, keepdim=True)
    return centred.mT @ centred / (features.shape[-2] - 1)


def domain_loss(logit: Tensor, domain: Tensor) -> Tensor:
    """Cross-entropy of a domain classifier, each domain counting half.

    Parameters
    ----------
    logit : Tensor of shape (..., n)
        Of the target.
    domain : Tensor of shape (n,)
        0 source, 1 target; both must occur.

    Returns
    -------
    Tensor of shape (...,)
        ln 2 where the classifier knows nothing.

    Examples
    --------
    >>> round(domain_loss(torch.zeros(3), torch.tensor([0, 1, 1])).item(), 4)
    0.6931
    """
    source = torch.nn.functional.softplus(logit[..., domain == SOURCE]).mean(dim=-1)
    target = torch.nn.functional.softplus(-logit[..., domain == TARGET]).mean(dim=-1)
    return 0.5 * (source + target)


@dataclass(frozen=True)
class AdaptationSamples:
    """Samples whose batches hold both domains.

    Parameters
    ----------
    samples : SpectralSamples
        With the domain of every window.
    """

    samples: SpectralSamples

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Tensor) -> list[SpectralBatch]:
        """Windows of these row numbers, group by group."""
        return self.samples.take(rows)

    def batches(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """Cut the larger domain as `SpectralSamples` does, and spread the smaller over its batches, in order."""
        domain = self._domain()[order]
        sides = [order[domain == SOURCE], order[domain == TARGET]]
        small, large = sorted(sides, key=len)
        batches = self.samples.batches(large, batch_size)
        batches = [torch.cat(pair) for pair in zip(batches, small.tensor_split(len(batches)), strict=True)]
        batches += self.samples.batches(order[(domain != SOURCE) & (domain != TARGET)], batch_size)
        place = np.empty(len(self), dtype=int)
        place[order.numpy()] = np.arange(len(order))
        return sorted(batches, key=lambda rows: int(place[int(rows[0])]))

    def _domain(self) -> Tensor:
        parts = [group.domain for group in self.samples.groups if group.domain is not None]
        found = torch.cat(parts) if len(parts) == len(self.samples.groups) else torch.zeros(0)
        for name, number in (("source", SOURCE), ("target", TARGET)):
            if not bool((found == number).any()):
                raise ParameterError(f"no window belongs to the {name} domain; name a window source that draws some")
        return found


def adapted_loss(options: DomainAdaptation) -> Callable[[Loss, list[tuple[Tensor, ...]], list[SpectralBatch]], Loss]:
    """What `eigenfolio.training.spectral.spectral_loss` shall add to its loss.

    Parameters
    ----------
    options : DomainAdaptation

    Returns
    -------
    callable
        ``adapt(loss, heads, batch)`` with the features, log variances and domain logits of every part of the batch
        (empty where nothing is aligned). The penalties are reported as the parts "coral" and "adversarial", 0 on a
        batch with fewer than two windows of either domain.
    """

    def adapt(loss: Loss, heads: list[tuple[Tensor, ...]], batch: list[SpectralBatch]) -> Loss:
        domain = torch.cat([_known(group) for group in batch])
        total, parts = loss.total, dict(loss.parts)
        if not options.target_labels:
            taught = (domain != TARGET).to(total.dtype)
            total = total * (taught * (len(taught) / taught.sum().clamp(min=1.0)))
        if options.aligns:
            features = torch.cat([head[0] for head in heads], dim=-2).double()
            logit = torch.cat([head[2] for head in heads], dim=-1).double()
            source, target = features[..., domain == SOURCE, :], features[..., domain == TARGET, :]
            both = min(source.shape[-2], target.shape[-2]) >= 2
            nothing = torch.zeros_like(total)
            for name, weight in (("coral", options.coral), ("adversarial", options.adversarial)):
                if weight > 0.0 and both:
                    found = coral_distance(source, target) if name == "coral" else domain_loss(logit, domain)
                    parts[name] = found[..., None].expand_as(total)
                    total = total + weight * parts[name]
                elif weight > 0.0:
                    parts[name] = nothing
        return Loss(total, parts)

    return adapt


def _known(group: SpectralBatch) -> Tensor:
    if group.domain is None:
        raise ParameterError("domain adaptation needs windows that know their domain; draw them by drawn_samples")
    return group.domain
