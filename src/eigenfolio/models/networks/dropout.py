"""Dropout whose masks depend on a seed and a counter alone.

The mask of the k-th call is a hash of (seed, k, element), so a network drops the same units whether it is trained
alone or in a group, in one process or after a restart, and nothing is drawn from a global random state.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eigenfolio.errors import ParameterError

__all__ = ["SeededDropout"]

_MIX_1 = -7046029254386353131  # odd 64-bit constants of the splitmix64 finaliser, as signed integers
_MIX_2 = -4658895280553007687
_MIX_3 = -7723592293110705685
_BITS = 1 << 24


class SeededDropout(nn.Module):
    """Set a share of the inputs to zero in training, and scale the rest.

    Parameters
    ----------
    rate : float in [0, 1)
        Share that is dropped.

    Attributes
    ----------
    seed, calls : Tensor
        Buffers: the seed, set by the network's `initialise`, and how many masks were drawn.

    Examples
    --------
    >>> layer = SeededDropout(0.5)
    >>> x = torch.ones(2000)
    >>> y = layer(x)
    >>> 0.45 < (y == 0).float().mean().item() < 0.55, y.max().item()
    (True, 2.0)
    >>> bool((layer(x) == y).all()), bool((layer.eval()(x) == x).all())
    (False, True)
    """

    seed: Tensor
    calls: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ParameterError(f"dropout must lie in [0, 1), got {rate!r}")
        self.rate = rate
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Drop from `x`, any shape."""
        if not self.training or self.rate == 0.0:
            return x
        self.calls.add_(1)
        own = x.shape[self.seed.ndim :]  # a group's layer has a seed for each member, and members come first
        index = torch.arange(math.prod(own), dtype=torch.int64, device=x.device).view(own)
        key = self.seed * _MIX_2 + self.calls * _MIX_3
        state = index * _MIX_1 + key.view(*key.shape, *(1 for _ in own))
        state = (state ^ (state >> 30)) * _MIX_2
        state = (state ^ (state >> 27)) * _MIX_3
        kept = ((state >> 33) & (_BITS - 1)) >= int(self.rate * _BITS)
        return x * kept * (1.0 / (1.0 - self.rate))
