r"""Losses on the daily path of a portfolio, net of costs.

Weights :math:`w_p` are decided for each period p of a block and held without rebalancing. With :math:`G_{d,i}` the
value of one unit of asset i after d rows,

.. math::
    V_{p,d} = \sum_i w_{p,i} G_{d,i}, \qquad r_{p,d} = V_{p,d} / V_{p,d-1} - 1, \qquad
    r_{p,1} \leftarrow r_{p,1} - k \sum_i | w_{p,i} - \tilde w_{p-1,i} |

with :math:`\tilde w` the drifted weights of the period before and k the cost per unit traded, which is what
`eigenfolio.costs` charges. What was held before the first period of a block is not known; its purchase is not charged.
With m and s the mean and the standard deviation (divisor n) of the path's rows,

================  ==============================================================================================
sharpe            :math:`-m / \sqrt{s^2 + \epsilon^2}`, per row, :math:`\epsilon = 10^{-5}`
minimum_variance  :math:`\tfrac12 \log(s^2 + \epsilon^2)`
mean_variance     :math:`-100 (m - \tfrac{\gamma}{2} s^2)`, with risk aversion :math:`\gamma = 10`
drawdown          mean over rows of the fall of the log value from its highest point so far, less 100 m
================  ==============================================================================================

All are finite with finite gradients for any weights that keep a value above zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

__all__ = ["PORTFOLIO_LOSSES", "PortfolioLoss", "drifted_weights", "net_path"]

PortfolioLoss = Literal["sharpe", "minimum_variance", "mean_variance", "drawdown"]

_FLOOR = 1e-5  # per row: a thousandth of an ordinary stock's volatility
_RISK_AVERSION = 10.0
_PERCENT = 100.0
_LEAST_VALUE = 1e-6


def drifted_weights(weights: Tensor, growth: Tensor) -> Tensor:
    """What weights have become by the end of their period.

    Parameters
    ----------
    weights : Tensor of shape (..., n_assets)
        Fully invested.
    growth : Tensor of shape (..., n_rows, n_assets)

    Returns
    -------
    Tensor of shape (..., n_assets)

    Examples
    --------
    >>> drifted_weights(torch.tensor([0.5, 0.5]), torch.tensor([[3.0, 1.0]]))
    tensor([0.7500, 0.2500])
    """
    grown = weights * growth[..., -1, :]
    return grown / grown.sum(dim=-1, keepdim=True).clamp(min=_LEAST_VALUE)


def net_path(weights: Tensor, growth: Tensor, held: Tensor, *, cost_bps: float) -> tuple[Tensor, Tensor]:
    """Daily returns of blocks of consecutive periods, net of costs, and the turnover of each trade.

    Parameters
    ----------
    weights : Tensor of shape (..., n_periods, n_assets)
        Decided for each period, sum one.
    growth : Tensor of shape (..., n_periods, n_rows, n_assets)
        Value of one unit after each row held; the last value goes on where rows have ended.
    held : Tensor of bool, shape (..., n_periods, n_rows)
        Rows that are there.
    cost_bps : float
        Per unit traded, in basis points.

    Returns
    -------
    returns : Tensor of shape (..., n_periods, n_rows)
        0 where no row is.
    turnover : Tensor of shape (..., n_periods - 1)
        Half the sum of absolute trades, from the second period on.
    """
    value = (weights[..., None, :] * growth).sum(dim=-1).clamp(min=_LEAST_VALUE)
    before = torch.cat([weights.sum(dim=-1, keepdim=True), value[..., :-1]], dim=-1)
    returns = torch.where(held, value / before - 1.0, 0.0)
    trades = (weights[..., 1:, :] - drifted_weights(weights[..., :-1, :], growth[..., :-1, :, :])).abs().sum(dim=-1)
    charged = torch.cat([torch.zeros_like(trades[..., :1] if trades.shape[-1] else returns[..., 0]), trades], dim=-1)
    first = torch.zeros_like(returns)
    first[..., 0] = 1.0
    return returns - (cost_bps / 1e4) * charged[..., None] * first, 0.5 * trades


def _moments(returns: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the rows that are there, each (...,)."""
    flat, there = returns.flatten(-2), held.flatten(-2)
    count = there.sum(dim=-1)
    mean = flat.sum(dim=-1) / count
    variance = (torch.where(there, flat - mean[..., None], 0.0) ** 2).sum(dim=-1) / count
    return mean, variance


def _sharpe(returns: Tensor, held: Tensor) -> Tensor:
    mean, variance = _moments(returns, held)
    return -mean / (variance + _FLOOR**2).sqrt()


def _minimum_variance(returns: Tensor, held: Tensor) -> Tensor:
    _, variance = _moments(returns, held)
    return 0.5 * (variance + _FLOOR**2).log()


def _mean_variance(returns: Tensor, held: Tensor) -> Tensor:
    mean, variance = _moments(returns, held)
    return -_PERCENT * (mean - 0.5 * _RISK_AVERSION * variance)


def _drawdown(returns: Tensor, held: Tensor) -> Tensor:
    mean, _ = _moments(returns, held)
    level = returns.flatten(-2).clamp(min=_LEAST_VALUE - 1.0).log1p().cumsum(dim=-1)
    start = torch.zeros_like(level[..., :1])
    highest = torch.cat([start, level], dim=-1).cummax(dim=-1).values[..., 1:]
    there = held.flatten(-2)
    fallen = torch.where(there, highest - level, 0.0).sum(dim=-1) / there.sum(dim=-1)
    return fallen - _PERCENT * mean


PORTFOLIO_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "sharpe": _sharpe,
        "minimum_variance": _minimum_variance,
        "mean_variance": _mean_variance,
        "drawdown": _drawdown,
    }
)
"""By name: each takes daily returns (..., n_periods, n_rows) and which rows are there, and gives (...,)."""
