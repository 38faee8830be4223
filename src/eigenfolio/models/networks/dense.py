r"""The dense shrinkage network: window features to shrinkage intensity, target weights and volatility blend.

Blocks of Dense - BatchNorm - LeakyReLU(0.2) - dropout with projection shortcuts, He initialisation, and a
Glorot-initialised output layer. The outputs bend a closed form instead of replacing it:

    intensity         delta = sigmoid(logit(delta_classical) + g_1 h_1)
    target weights    w     = e_1 + g_2 (softmax(h_2..h_4) - e_1)        on the simplex while 0 <= g_2 <= 1
    volatility blend  beta  = g_3 sigmoid(h_5)                           in [0, 1] while 0 <= g_3 <= 1

h are the outputs of the last layer and g three learned gains that start at zero, so that an untrained network
is exactly its closed form although every layer is initialised as usual. Training returns g_2 and g_3 to [0, 1]
after every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eigenfolio.models.networks.dropout import SeededDropout

__all__ = ["DenseShrinkageNetwork", "ShrinkageOutput"]

NEGATIVE_SLOPE = 0.2


class ShrinkageOutput(NamedTuple):
    """What the network says of each window: intensity (batch,), target_weights (batch, 3), volatility_blend."""

    intensity: Tensor
    target_weights: Tensor
    volatility_blend: Tensor


class _Block(nn.Module):
    """Dense - BatchNorm - LeakyReLU, plus a linear shortcut from the block's input where there is one to keep."""

    members_first = True

    def __init__(self, n_inputs: int, n_units: int, *, dropout: float, shortcut: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, n_units)
        self.norm = nn.BatchNorm1d(n_units)
        self.shortcut = nn.Linear(n_inputs, n_units, bias=False) if shortcut else None
        self.dropout = SeededDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.leaky_relu(self.norm(self.dense(x)), NEGATIVE_SLOPE)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.dropout(y)


class DenseShrinkageNetwork(nn.Module):
    """Three dense blocks over the features of a window.

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden_sizes : sequence of int
        Units of each block, in order.
    n_targets : int
        Shrinkage targets; the first is the one the classical intensity belongs to.
    dropout : float in [0, 1)
        After every block but the last.
    input_dropout : float in [0, 1)
        On the features.

    Examples
    --------
    >>> network = DenseShrinkageNetwork(8).eval()
    >>> output = network(torch.zeros(2, 8), torch.tensor([0.0, -1.0]))
    >>> output.intensity.tolist() == torch.sigmoid(torch.tensor([0.0, -1.0])).tolist()
    True
    """

    members_first = True  # `forward` takes leading axes as they come

    def __init__(
        self,
        n_features: int,
        *,
        hidden_sizes: Sequence[int] = (128, 64, 32),
        n_targets: int = 3,
        dropout: float = 0.3,
        input_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_targets = n_targets
        self.input_dropout = SeededDropout(input_dropout)
        widths = [n_features, *hidden_sizes]
        last = len(hidden_sizes) - 1
        self.blocks = nn.ModuleList(
            _Block(n_in, n_out, dropout=dropout if i < last else 0.0, shortcut=i > 0)
            for i, (n_in, n_out) in enumerate(pairwise(widths))
        )
        self.output = nn.Linear(widths[-1], 2 + n_targets)
        self.gains = nn.Parameter(torch.zeros(3))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw He (hidden) and Glorot-uniform (output) weights and dropout seeds; biases and gains become zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if module is self.output:
                    nn.init.xavier_uniform_(module.weight, generator=generator)
                else:
                    nn.init.kaiming_normal_(
                        module.weight, a=NEGATIVE_SLOPE, nonlinearity="leaky_relu", generator=generator
                    )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, SeededDropout):
                module.seed.fill_(int(torch.randint(2**62, (1,), generator=generator)))
                module.calls.zero_()
        nn.init.zeros_(self.gains)

    def forward(self, features: Tensor, classical_logit: Tensor) -> ShrinkageOutput:
        """Map features (batch, n_features) and logit intensities (batch,) to the three outputs."""
        x = self.input_dropout(features)
        for block in self.blocks:
            x = block(x)
        heads = self.output(x)  # (..., batch, 2 + n_targets)
        opening, choosing, mixing = self.gains.unsqueeze(-2).split(1, dim=-1)  # each (..., 1, 1)
        intensity = torch.sigmoid(classical_logit + opening[..., 0] * heads[..., 0])
        first = torch.zeros(self.n_targets, dtype=heads.dtype, device=heads.device)
        first[0] = 1.0
        simplex = torch.softmax(heads[..., 1 : 1 + self.n_targets], dim=-1)
        target_weights = first + choosing * (simplex - first)
        volatility_blend = mixing[..., 0] * torch.sigmoid(heads[..., -1])
        return ShrinkageOutput(intensity, target_weights, volatility_blend)
