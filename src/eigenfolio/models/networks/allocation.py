"""From scores to weights inside a network: the exact projection of `eigenfolio.projection`, for gradients.

The sets of assets at a bound are found on the values, in float64; given the sets, the weights are linear in the scores
(and in the previous weights), and the gradient is that of the linear map: assets at a bound do not move, and the free
ones share what their mean gradient would take from the sum. At a tie it is the derivative on one side. The capped
simplex without a cap is sparsemax [1]_.

References
----------
.. [1] A. F. T. Martins and R. F. Astudillo (2016). From softmax to sparsemax: a sparse model of attention and
   multi-label classification. ICML.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenfolio.constraints import Constraints
from eigenfolio.errors import ParameterError

__all__ = ["allocate", "wished_weights"]


def wished_weights(scores: Tensor, present: Tensor) -> Tensor:
    """Scores of a network as weights it wishes for: 1 / n + score / n, so that a score means the same for any n.

    Parameters
    ----------
    scores : Tensor of shape (..., n_assets)
    present : Tensor of bool, shape (..., n_assets)

    Returns
    -------
    Tensor of shape (..., n_assets)
        float64, 0 where absent.

    Examples
    --------
    >>> wished_weights(torch.tensor([1.0, -1.0, 5.0]), torch.tensor([True, True, False]))
    tensor([1., 0., 0.], dtype=torch.float64)
    """
    n_assets = present.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(present, (1.0 + scores.double()) / n_assets, 0.0)


def allocate(wished: Tensor, present: Tensor, constraints: Constraints, previous: Tensor | None = None) -> Tensor:
    """Weights that meet the constraints and lie closest to the wished ones, differentiable.

    Parameters
    ----------
    wished : Tensor of shape (..., n_assets)
        float64.
    present : Tensor of bool, shape (..., n_assets)
        Assets that may be held.
    constraints : Constraints
        Of a long-only book.
    previous : Tensor of shape (..., n_assets), optional
        Held before; those of assets that are absent now are sold, beyond the limit on turnover where they must be.

    Returns
    -------
    Tensor of shape (..., n_assets)
        float64; 0 where absent, sum one. Where previous weights cannot be brought within the bounds by
        `max_turnover`, the trades that bounds make necessary are made and the limit gives way.

    Raises
    ------
    ParameterError
        If the book may be short or some book cannot be fully invested.

    Examples
    --------
    >>> wished = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    >>> allocate(wished, torch.ones(3, dtype=torch.bool), Constraints(max_weight=0.6))
    tensor([0.6000, 0.4000, 0.0000], dtype=torch.float64)
    """
    if not constraints.long_only:
        raise ParameterError("scores are turned into a long-only book, got constraints with long_only=False")
    caps = _caps(present, constraints)
    high = torch.where(present, caps, 0.0)
    if constraints.max_positions is not None:
        high = torch.where(_highest(wished, present, constraints.max_positions), high, 0.0)
        if bool((high.sum(dim=-1) < 1 - 1e-12).any()):
            raise ParameterError(
                f"max_positions={constraints.max_positions} with at most {float(caps.min()):g} each cannot be fully "
                "invested; raise one of them"
            )
    low, one = torch.zeros_like(high), torch.ones_like(high[..., 0])
    weights = _bounded(wished, low, high, one)
    if constraints.max_turnover is None or previous is None:
        return weights
    limited = _limited(wished, previous, high, constraints.max_turnover)
    over = 0.5 * (weights - previous).abs().sum(dim=-1, keepdim=True) > constraints.max_turnover
    return torch.where(over, limited, weights)


def _caps(present: Tensor, constraints: Constraints) -> Tensor:
    """Cap of each book, (..., 1)."""
    counts = present.sum(dim=-1, keepdim=True)
    caps = {int(n): constraints.effective_cap(int(n)) for n in counts.unique()}
    return torch.tensor([caps[int(n)] for n in counts.flatten()], dtype=torch.float64).reshape(counts.shape)


def _highest(wished: Tensor, present: Tensor, n_kept: int) -> Tensor:
    ranked = torch.where(present, wished.detach(), -torch.inf).argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(present)
    return kept.scatter(-1, ranked[..., :n_kept], True) & present


def _limited(wished: Tensor, held: Tensor, high: Tensor, limit: float) -> Tensor:
    """Weights that trade exactly `limit`, or what the bounds need where that is more."""
    forced = (held - high).clamp(min=0.0)
    room = (high - held).clamp(min=0.0)
    invest = 0.5 * (1.0 - held.sum(dim=-1))
    traded = torch.maximum(torch.maximum(invest.abs(), forced.sum(dim=-1) + invest), torch.full_like(invest, limit))
    buys = _bounded(wished - held, torch.zeros_like(held), room, traded + invest)
    sales = _bounded(held - wished, forced, held, traded - invest)
    return held + buys - sales


def _bounded(wished: Tensor, low: Tensor, high: Tensor, total: Tensor) -> Tensor:
    """The vector closest to `wished` between two bounds with a given sum; `projection.bounded_projection`, batched."""
    with torch.no_grad():
        free, at_low = _sets(wished.detach(), low.detach(), high.detach(), total.detach())
    fixed = torch.where(free, 0.0, torch.where(at_low, low, high))
    n_free = free.sum(dim=-1, keepdim=True).clamp(min=1)
    rest = total[..., None] - fixed.sum(dim=-1, keepdim=True)
    level = (torch.where(free, wished, 0.0).sum(dim=-1, keepdim=True) - rest) / n_free
    return torch.where(free, wished - level, fixed)


def _sets(wished: Tensor, low: Tensor, high: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Which assets lie between their bounds, and which at the lower one."""
    knots = torch.cat([wished - low, wished - high], dim=-1)
    steps = torch.cat([torch.ones_like(wished), -torch.ones_like(wished)], dim=-1)
    knots, order = knots.sort(dim=-1, descending=True, stable=True)
    slopes = steps.gather(-1, order).cumsum(dim=-1)[..., :-1]
    rises = (slopes * -knots.diff(dim=-1)).cumsum(dim=-1)
    sums = torch.cat([torch.zeros_like(rises[..., :1]), rises], dim=-1) + low.sum(dim=-1, keepdim=True)
    last = knots.shape[-1] - 1
    after = (sums < total[..., None] - 1e-13).sum(dim=-1, keepdim=True).clamp(1, last)
    middle = 0.5 * (knots.gather(-1, after - 1) + knots.gather(-1, after))
    shifted = wished - middle
    return (shifted > low) & (shifted < high), shifted <= low
