"""A small regression that trains in a blink, for tests of the engine."""

import torch
from torch import nn

from eigenfolio.models.networks import SeededDropout
from eigenfolio.training.loop import Loss, TensorSamples


class TinyNetwork(nn.Module):
    """Two dense layers with batch normalisation and dropout; the outputs depend on every part."""

    def __init__(self, seed: int, *, norm: bool = True, dropout: float = 0.2, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(6, width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.dropout = SeededDropout(dropout)
        self.last = nn.Linear(width, 1)
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.first, self.last):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.dropout.seed.fill_(seed)

    def forward(self, x):
        return self.last(self.dropout(torch.relu(self.norm(self.first(x)))))[:, 0]


def tiny_samples(n_samples: int = 320, *, seed: int = 0, signal: float = 1.0) -> TensorSamples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples, 6, generator=generator)
    truth = torch.linspace(-1.0, 1.0, 6)
    y = signal * (x @ truth) + 0.1 * torch.randn(n_samples, generator=generator)
    return TensorSamples({"x": x, "y": y})


def squared_error(call, batch) -> Loss:
    error = (call(batch["x"]) - batch["y"]) ** 2
    return Loss(error, {"squared_error": error})
