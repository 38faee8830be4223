"""Losses on covariances: what a portfolio built from the estimate would have realised.

    w = Sigma^-1 1 / (1' Sigma^-1 1)
    L = ln mean_t (w' Y_t)^2 + c ln sum_i |w_i|

Y are the returns of the horizon, c the weight of the leverage term. Minimising L needs no label: the intensity
that would have been best in hindsight sits at an end of its range and is a poor target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from eigenfolio.models.networks.dense import ALL_TARGETS, ShrinkageOutput
from eigenfolio.training.loop import Loss
from eigenfolio.training.windows import WindowGroup

__all__ = ["log_realised_variance", "scale_features", "shrinkage_loss", "shrunk_covariance"]


def shrunk_covariance(group: WindowGroup, output: ShrinkageOutput) -> Tensor:
    """Blend correlation and targets, and restore the blended volatilities.

    The PyTorch twin of `eigenfolio.learned.window.blend`. The outputs may have leading axes (members) before that
    of the windows; the result has shape (..., n, n_assets, n_assets).
    """
    n_assets = group.correlation.shape[-1]
    eye = torch.eye(n_assets, dtype=torch.float64, device=group.correlation.device)
    mean = group.mean_correlation[:, None, None]
    constant = mean + (1.0 - mean) * eye
    outer = group.loading[:, :, None] * group.loading[:, None, :]
    factor = outer * (1.0 - eye) + eye
    weights = output.target_weights.double()[..., None, None]  # (..., n, n_targets, 1, 1)
    target = weights[..., 0, :, :] * eye + weights[..., 1, :, :] * constant + weights[..., 2, :, :] * factor
    intensity = output.intensity.double()[..., None, None]
    correlation = (1.0 - intensity) * group.correlation + intensity * target
    blend = output.volatility_blend.double()[..., None]
    logs = group.log_volatility + blend * (group.log_ewma_volatility - group.log_volatility)
    volatility = logs.exp()
    return volatility[..., :, None] * correlation * volatility[..., None, :]


def log_realised_variance(covariance: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
    """Parts of the loss: the unconstrained minimum-variance portfolio over the horizon.

    Parameters
    ----------
    covariance : Tensor of shape (..., n, n_assets, n_assets)
        Positive definite.
    future : Tensor of shape (n, horizon, n_assets)
        Returns in the same unit.

    Returns
    -------
    variance, leverage : Tensor of shape (..., n)
        Log of the realised variance, and log of the gross exposure.

    Examples
    --------
    >>> variance, leverage = log_realised_variance(torch.eye(2)[None], torch.tensor([[[1.0, 1.0]]]))
    >>> round(variance.item(), 6), round(leverage.item(), 6)
    (0.0, 0.0)
    """
    ones = torch.ones(*covariance.shape[:-1], 1, dtype=covariance.dtype, device=covariance.device)
    raw = torch.cholesky_solve(ones, torch.linalg.cholesky(covariance))[..., 0]  # (..., n, n_assets)
    weights = raw / raw.sum(dim=-1, keepdim=True)
    path = torch.einsum("nta,...na->...nt", future, weights)
    return torch.log(path.square().mean(dim=-1) + 1e-9), torch.log(weights.abs().sum(dim=-1))


def shrinkage_loss(
    *, center: Tensor, scale: Tensor, leverage_penalty: float, targets: Sequence[str] = ALL_TARGETS
) -> Callable[[Any, Any], Loss]:
    """Loss of a dense shrinkage network on batches of windows.

    Parameters
    ----------
    center, scale : Tensor of shape (n_features,)
        Feature scaler.
    leverage_penalty : float
        Weight c of the log gross exposure.
    targets : sequence of str
        What the target weights belong to, among `ALL_TARGETS`.
    """
    places = torch.tensor([[float(name == own) for name in ALL_TARGETS] for own in targets])  # (n_targets, 3)

    def loss(call: Callable[..., Any], batch: list[WindowGroup]) -> Loss:
        features = torch.cat([group.features for group in batch])
        logits = torch.cat([group.classical_logit for group in batch]).float()
        output = call(scale_features(features, center, scale), logits)
        sizes = [len(group) for group in batch]
        intensities, weights, blends = (part.split(sizes, dim=1) for part in output[:3])
        variances, leverages = [], []
        for i, group in enumerate(batch):
            covariance = shrunk_covariance(
                group, ShrinkageOutput(intensities[i], weights[i] @ places.to(weights[i]), blends[i])
            )
            variance, leverage = log_realised_variance(covariance, group.future)
            variances.append(variance)
            leverages.append(leverage)
        variance, leverage = torch.cat(variances, dim=1), torch.cat(leverages, dim=1)
        return Loss(variance + leverage_penalty * leverage, {"variance": variance, "leverage": leverage})

    return loss


def scale_features(features: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Centre, scale and clamp to +-4, as the NumPy pass does."""
    return ((features - center) / scale).clamp(-4.0, 4.0)
