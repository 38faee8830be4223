"""Losses on covariances: what a portfolio built from the estimate would have realised.

    w = Sigma^-1 1 / (1' Sigma^-1 1)
    L = ln mean_t (w' Y_t)^2 + c ln sum_i |w_i|

Y are the returns of the horizon, c the weight of the leverage term. Minimising L needs no label: the intensity
that would have been best in hindsight sits at an end of its range and is a poor target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenfolio.models.networks.dense import ShrinkageOutput
from eigenfolio.training.windows import WindowGroup

__all__ = ["log_realised_variance", "shrunk_covariance"]


def shrunk_covariance(group: WindowGroup, output: ShrinkageOutput) -> Tensor:
    """Blend correlation and targets, and restore the blended volatilities.

    The PyTorch twin of `eigenfolio.learned.window.blend`; shape (n, n_assets, n_assets).
    """
    n_assets = group.correlation.shape[-1]
    eye = torch.eye(n_assets, dtype=torch.float64)
    mean = group.mean_correlation[:, None, None]
    constant = mean + (1.0 - mean) * eye
    outer = group.loading[:, :, None] * group.loading[:, None, :]
    factor = outer * (1.0 - eye) + eye
    weights = output.target_weights.double()[:, :, None, None]
    target = weights[:, 0] * eye + weights[:, 1] * constant + weights[:, 2] * factor
    intensity = output.intensity.double()[:, None, None]
    correlation = (1.0 - intensity) * group.correlation + intensity * target
    blend = output.volatility_blend.double()[:, None]
    logs = group.log_volatility + blend * (group.log_ewma_volatility - group.log_volatility)
    volatility = logs.exp()
    return volatility[:, :, None] * correlation * volatility[:, None, :]


def log_realised_variance(covariance: Tensor, future: Tensor, *, leverage_penalty: float) -> Tensor:
    """Loss of the unconstrained minimum-variance portfolio over the horizon.

    Parameters
    ----------
    covariance : Tensor of shape (n, n_assets, n_assets)
        Positive definite.
    future : Tensor of shape (n, horizon, n_assets)
        Returns in the same unit.
    leverage_penalty : float
        Weight c of the log gross exposure.

    Returns
    -------
    Tensor of shape (n,)

    Examples
    --------
    >>> half = log_realised_variance(torch.eye(2)[None], torch.tensor([[[1.0, 1.0]]]), leverage_penalty=0.0)
    >>> round(half.item(), 6)
    0.0
    """
    ones = torch.ones(*covariance.shape[:2], 1, dtype=covariance.dtype)
    raw = torch.cholesky_solve(ones, torch.linalg.cholesky(covariance))[..., 0]  # (n, n_assets)
    weights = raw / raw.sum(dim=1, keepdim=True)
    path = torch.einsum("nta,na->nt", future, weights)
    variance = path.square().mean(dim=1)
    return torch.log(variance + 1e-9) + leverage_penalty * torch.log(weights.abs().sum(dim=1))
