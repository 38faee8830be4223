r"""What attention and dense shrinkage networks are trained to do.

The covariance that an answer makes is judged as that of a spectral network (`eigenfolio.training.spectral.log_parts`):
by the realised variance of the unconstrained and of the capped long-only minimum-variance portfolio, and by a
likelihood. Heads that say something beside it have their own terms, with small weights:

    uncertainty   half of ln s^2 + (logit delta - logit delta*)^2 / s^2               simulated windows, delta* is known
    confidence    the same for the weight of every target                             simulated windows
    condition     squared error of the log condition number of the true correlation   simulated windows
    error         squared error of ln(realised / predicted minimum variance)          every window
    regime        cross-entropy of the regime at the end of the horizon               real windows

What the first two and the error are measured at is not differentiated, so they teach their heads and the representation
and leave the answer alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from eigenfolio.learned.dense import ALL_TARGETS
from eigenfolio.learned.estimates import dense_feature_names
from eigenfolio.learned.tokens import WINDOW_FEATURES
from eigenfolio.models.networks.dense import DenseOptions
from eigenfolio.training.loop import Loss
from eigenfolio.training.spectral import SpectralBatch, log_parts
from eigenfolio.training.token_windows import TokenBatch, TokenScaler

__all__ = ["ShrinkageLoss", "attention_loss", "dense_columns", "dense_loss", "token_correlation"]

_RIDGE = 1e-5
_EDGE = 1e-3
_LARGEST_ERROR = 3.0


class ShrinkageLoss(BaseModel):
    """Weights of the loss of an attention or dense network.

    Parameters
    ----------
    leverage, long_only, likelihood : float
        As in `eigenfolio.training.spectral.SpectralLoss`; the unconstrained variance has weight 1.
    uncertainty, confidence, condition, error, regime : float
        Of the heads (see the head of this module). The dense network has only the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    leverage: float = Field(default=0.1, ge=0.0)
    long_only: float = Field(default=1.0, ge=0.0)
    likelihood: float = Field(default=0.3, ge=0.0)
    uncertainty: float = Field(default=0.05, ge=0.0)
    confidence: float = Field(default=0.05, ge=0.0)
    condition: float = Field(default=0.02, ge=0.0)
    error: float = Field(default=0.05, ge=0.0)
    regime: float = Field(default=0.1, ge=0.0)


def token_correlation(
    batch: TokenBatch,
    intensity: Tensor,
    target_weights: Tensor,
    *,
    targets: Sequence[str],
    blocks: Tensor | None = None,
) -> Tensor:
    """PyTorch twin of `eigenfolio.learned.attention.attention_correlation`, with leading axes of members.

    Parameters
    ----------
    batch : TokenBatch
    intensity : Tensor of shape (..., n)
    target_weights : Tensor of shape (..., n, n_targets)
    targets : sequence of str
        What the weights belong to.
    blocks : Tensor of shape (..., n, n_assets), optional
        Shrinkage of each eigenvalue; none without it.

    Returns
    -------
    Tensor of shape (..., n, n_assets, n_assets)
        Float64, with 1e-5 added to the diagonal.
    """
    values = batch.values
    if blocks is not None:
        moved = values + blocks * (1.0 - values)
        values = moved * (batch.values.sum(-1) / moved.sum(-1)).unsqueeze(-1)
    sample = (batch.vectors * values.unsqueeze(-2)) @ batch.vectors.transpose(-1, -2)  # (..., n, n_assets, n_assets)
    eye = torch.eye(batch.n_assets, dtype=sample.dtype, device=sample.device)
    members = {
        "identity": torch.zeros_like(batch.vectors),
        "constant_correlation": batch.mean_correlation[:, None, None].expand_as(batch.vectors),
        "single_factor": batch.loading[:, :, None] * batch.loading[:, None, :],
    }
    stacked = torch.stack([members[name] for name in targets], dim=1)  # (n, n_targets, n_assets, n_assets)
    target = torch.einsum("...nk,nkij->...nij", target_weights, stacked) * (1.0 - eye) + eye
    delta = intensity[..., None, None]
    return ((1.0 - delta) * sample + delta * target).double() + _RIDGE * eye.double()


def _portfolio_parts(
    batch: TokenBatch, correlation: Tensor, blend: Tensor, *, long_only: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Parts of `log_parts`, and the log of realised over predicted minimum variance, which is not differentiated."""
    lead = batch.log_ewma_volatility - batch.log_volatility
    logs = (batch.log_volatility + blend.unsqueeze(-1) * lead).double()
    common = torch.zeros(correlation.shape[:-2], dtype=torch.float64, device=correlation.device)
    like: Any = batch  # `log_parts` reads of a batch what both kinds have
    parts = log_parts(correlation, logs, common, _as_spectral(like), long_only=long_only)
    with torch.no_grad():
        size = logs.exp()
        covariance = size.unsqueeze(-1) * correlation * size.unsqueeze(-2)
        raw = torch.cholesky_solve(torch.ones_like(size).unsqueeze(-1), torch.linalg.cholesky(covariance))[..., 0]
        error = parts["variance"] + raw.sum(-1).log()
    return parts, error.clamp(-_LARGEST_ERROR, _LARGEST_ERROR)


def _as_spectral(batch: Any) -> SpectralBatch:
    found: SpectralBatch = batch
    return found


def _heteroscedastic(error: Tensor, log_variance: Tensor) -> Tensor:
    """Half of ln s^2 + e^2 / s^2."""
    return 0.5 * (log_variance + error.square() * torch.exp(-log_variance))


def _intensity_error(batch: TokenBatch, intensity: Tensor) -> Tensor:
    """Distance of logit intensities from those of the exact optimum, not differentiated."""
    wanted = torch.logit(batch.oracle_intensity, eps=_EDGE)
    return (torch.logit(intensity.detach(), eps=_EDGE) - wanted).double()


def _weighted(parts: dict[str, Tensor], options: ShrinkageLoss) -> Tensor:
    weights = {"variance": 1.0, **options.model_dump()}
    return sum((weights[name] * value for name, value in parts.items()), torch.zeros(()).double())


def attention_loss(
    scaler: TokenScaler, options: ShrinkageLoss, *, targets: Sequence[str] = ALL_TARGETS
) -> Callable[[Callable[..., Any], Any], Loss]:
    """Loss of attention networks on batches of windows, for `eigenfolio.training.fit`."""

    def group_parts(call: Callable[..., Any], batch: TokenBatch) -> dict[str, Tensor]:
        said = call(
            scaler("eigen", batch.eigen),
            scaler("context", batch.context),
            scaler("features", batch.features),
            batch.valid,
            batch.classical_logit.float(),
        )
        correlation = token_correlation(batch, said[0], said[1], targets=targets, blocks=said[3])
        parts, error = _portfolio_parts(batch, correlation, said[2], long_only=options.long_only > 0.0)
        log_variance, target_log_variance, condition, expected, logits = said[4:]
        known = batch.simulated.double()
        missed = (said[1].detach() - batch.oracle_weights).double()
        labelled = batch.next_regime >= 0
        entropy = -torch.log_softmax(logits.double(), dim=-1)
        label = batch.next_regime.clamp(min=0).expand(entropy.shape[:-1]).unsqueeze(-1)
        return parts | {
            "uncertainty": known * _heteroscedastic(_intensity_error(batch, said[0]), log_variance.double()),
            "confidence": known * _heteroscedastic(missed, target_log_variance.double()).mean(-1),
            "condition": known * (condition - batch.log_condition).double().square(),
            "error": (expected.double() - error).square(),
            "regime": labelled * entropy.gather(-1, label)[..., 0],
        }

    def loss(call: Callable[..., Any], batch: list[TokenBatch]) -> Loss:
        return _joined([group_parts(call, group) for group in batch], options)

    return loss


def dense_loss(
    scaler: TokenScaler, options: ShrinkageLoss, *, network: DenseOptions
) -> Callable[[Callable[..., Any], Any], Loss]:
    """Loss of dense networks on batches of windows, for `eigenfolio.training.fit`."""
    columns = dense_columns(network)

    def loss(call: Callable[..., Any], batch: list[TokenBatch]) -> Loss:
        said = call(
            scaler("features", torch.cat([group.features for group in batch]))[:, columns],
            torch.cat([group.classical_logit for group in batch]).float(),
            torch.cat([group.regime for group in batch]),
        )
        sizes = [len(group) for group in batch]
        answers = zip(*(part.split(sizes, dim=1) for part in said), strict=True)
        return _joined([parts(group, *answer) for group, answer in zip(batch, answers, strict=True)], options)

    def parts(
        group: TokenBatch, intensity: Tensor, weights: Tensor, blend: Tensor, log_variance: Tensor
    ) -> dict[str, Tensor]:
        correlation = token_correlation(group, intensity, weights, targets=network.targets)
        found, _ = _portfolio_parts(group, correlation, blend, long_only=options.long_only > 0.0)
        if not network.uncertainty:
            return found
        error = _intensity_error(group, intensity)
        return found | {"uncertainty": group.simulated.double() * _heteroscedastic(error, log_variance.double())}

    return loss


def _joined(found: list[dict[str, Tensor]], options: ShrinkageLoss) -> Loss:
    parts = {name: torch.cat([one[name] for one in found], dim=-1) for name in found[0]}
    return Loss(_weighted(parts, options), parts)


def dense_columns(network: DenseOptions) -> list[int]:
    """Positions of a dense network's inputs among `WINDOW_FEATURES`."""
    return [WINDOW_FEATURES.index(name) for name in dense_feature_names(network.inputs)]
