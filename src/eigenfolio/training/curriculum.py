"""Small universes first: the order in which an epoch shows its windows.

An epoch's batches come in random order; here batch b moves to the place of

    s * size(b) + (1 - s) * place(b)

where `place` is its place in the random order and `size` its place among the universe sizes, both from 0 to 1. With
s = 0 nothing moves, with s = 1 the epoch goes from the smallest universes to the largest, each size in random order
[1]_. Every window is still seen once per epoch, and the order remains a function of seed and epoch alone.

References
----------
.. [1] Y. Bengio, J. Louradour, R. Collobert and J. Weston (2009). Curriculum learning. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from eigenfolio.errors import ParameterError

__all__ = ["CurriculumSamples"]


@dataclass(frozen=True)
class CurriculumSamples:
    """Samples whose epochs begin with what is small.

    Parameters
    ----------
    samples : SpectralSamples, AdaptationSamples
        With a method `batches`.
    sizes : Tensor of shape (n_samples,)
        Assets of every window.
    strength : float in [0, 1]
        s of the module's formula.

    Raises
    ------
    ParameterError
        If the strength leaves [0, 1], or the sizes are not one per sample.

    Examples
    --------
    >>> import torch
    >>> class Rows:
    ...     def __len__(self):
    ...         return 4
    ...     def batches(self, order, batch_size):
    ...         return list(order.split(1))
    >>> samples = CurriculumSamples(Rows(), torch.tensor([20, 400, 60, 100]), 1.0)
    >>> torch.cat(samples.batches(torch.tensor([1, 3, 0, 2]), 1)).tolist()
    [0, 2, 3, 1]
    """

    samples: Any
    sizes: Tensor
    strength: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise ParameterError(f"strength must lie in [0, 1], got {self.strength!r}")
        if len(self.sizes) != len(self.samples):
            raise ParameterError(f"sizes must be one per sample ({len(self.samples)}), got {len(self.sizes)}")

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Tensor) -> Any:
        """Batch of these rows."""
        return self.samples.take(rows)

    def batches(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """Batches of the samples below, the smaller universes earlier."""
        batches = list(self.samples.batches(order, batch_size))
        means = np.array([float(self.sizes[rows].double().mean()) for rows in batches])
        levels, level = np.unique(means, return_inverse=True)
        size = level / max(1, len(levels) - 1)
        place = np.arange(len(batches)) / max(1, len(batches) - 1)
        key = self.strength * size + (1.0 - self.strength) * place
        return [batches[at] for at in np.argsort(key, kind="stable")]
