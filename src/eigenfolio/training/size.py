r"""Giving the answers of trained spectral networks their size.

Networks are trained with dropout, one by one, and with all of what they say about eigenvalues; the estimator joins
several without dropout and takes half of it. Each of these moves the size of the covariance a little, so the last
biases of the scale are moved together by the shift b at which

    mean over windows of min(r' S(b)^-1 r / N, 12) = 1

where r are the returns that followed. That is the first-order condition of the likelihood in the loss of the training
(`eigenfolio.training.spectral`) in the common scale, for the answers that users get. The windows are those that taught:
they are many, and one number is fitted. `tests/learned/test_calibration.py` holds shipped weights to it on other
markets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from eigenfolio.learned.aggregation import Aggregation
from eigenfolio.models.networks.spectral import SCALE_BOUND, SpectralOutput, SpectralShrinkageNetwork
from eigenfolio.training.aggregation import joined, members_said
from eigenfolio.training.spectral import (
    LARGEST_DISTANCE,
    Scaler,
    SpectralBatch,
    SpectralSamples,
    correlation_and_volatility,
    network_inputs,
)

__all__ = ["FittedSize", "fit_size"]

_BATCH = 32  # windows of 75 assets
_FARTHEST = 2.0 * SCALE_BOUND  # a shift beyond moves hardly anything, the scale being bounded


@dataclass(frozen=True)
class FittedSize:
    """A shift of the scale's biases, and the mean of r' S^-1 r / N over the windows without and with it."""

    shift: float
    before: float
    after: float


def fit_size(
    networks: Sequence[SpectralShrinkageNetwork],
    scaler: Scaler,
    *,
    samples: SpectralSamples,
    rule: Aggregation | None,
) -> FittedSize:
    """Shift the biases of the scale, in place, so that forecast and realised covariance have the same size.

    Where the bound of the scale is too narrow for that, the shift goes to its end; `after` then is not 1.

    Parameters
    ----------
    networks : sequence of SpectralShrinkageNetwork
        Trained, of any widths.
    scaler : Scaler
    samples : SpectralSamples
        Windows and what followed.
    rule : Aggregation or None
        What joins the answers; None for the plain mean.

    Returns
    -------
    FittedSize
    """
    parts = []
    with torch.no_grad():
        for rows in samples.batches(torch.arange(len(samples)), _BATCH):
            parts += [_parts(networks, scaler, group, rule) for group in samples.take(rows)]
    distance, said, rest, summary = (torch.cat(values, dim=-1) for values in zip(*parts, strict=True))

    def mean(shift: float) -> float:
        scale = _joined_scale(_bounded(said + shift) + rest, rule, summary.T)
        return float((distance * torch.exp(-2.0 * scale)).clamp(max=LARGEST_DISTANCE).mean())

    shift = _FARTHEST
    if mean(-_FARTHEST) <= 1.0:
        shift = -_FARTHEST
    elif mean(_FARTHEST) < 1.0:
        shift = float(brentq(lambda b: mean(b) - 1.0, -_FARTHEST, _FARTHEST, xtol=1e-6))
    with torch.no_grad():
        for network in networks:
            network.summary_out.bias[0] += shift
    return FittedSize(shift, mean(0.0), mean(shift))


def _parts(
    networks: Sequence[SpectralShrinkageNetwork], scaler: Scaler, group: SpectralBatch, rule: Aggregation | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distance at scale one (n,), each member's free scale and the rest of it (n_members, n), summaries (n_in, n)."""
    inputs = network_inputs(scaler, group)
    output = members_said(networks, *inputs)
    correlation, logs = correlation_and_volatility(group, joined(output, rule, group.summary))
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(correlation[0]),
        (group.future.double() * torch.exp(-logs[0]).unsqueeze(-2)).transpose(-1, -2),
        upper=False,
    )
    distance = white.square().sum(dim=-2).mean(dim=-1) / group.n_assets
    free = []
    for network in networks:
        _, _, _, summary = network.masked(inputs[0], inputs[1], inputs[2], inputs[4])
        free.append(network.summary_out(network.summary_features(summary, dropout=False))[..., 0])
    said = torch.stack(free).double()
    return distance, said, output.log_scale.double() - _bounded(said), group.summary.T


def _bounded(said: Tensor) -> Tensor:
    return SCALE_BOUND * torch.tanh(said / SCALE_BOUND)


def _joined_scale(scale: Tensor, rule: Aggregation | None, summary: Tensor) -> Tensor:
    """Joined log-scale (n,) of the members' (n_members, n)."""
    n_members, n = scale.shape
    nothing = scale.new_zeros(n_members, 1, n, 0)
    output = SpectralOutput(nothing, nothing[:, 0], scale.new_ones(n_members, n, 1), scale)
    return joined(output, rule, summary).log_scale[0]
