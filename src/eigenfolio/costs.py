"""What holding and trading do to a portfolio: drift of weights, turnover, proportional cost.

A position left alone grows with its own return. With weights w (fractions of net asset value, cash
1 - sum(w) earning zero) and simple returns r_1..r_t,

    position_i(t) = w_i * prod_s (1 + r_is)
    wealth(t)     = 1 - sum(w) + sum_i position_i(t)
    drifted w(t)  = position(t) / wealth(t)
    cost          = cost_bps / 1e4 * sum |target - drifted|  =  2 * cost_bps / 1e4 * turnover

Conventions: a missing return is zero (the position keeps its last value); trades are fractions of
net asset value at the moment of trading and leave cash out; `turnover` is half the sum of absolute
trades. A cost is charged once per rebalance, on the first row the new weights are held, and is
subtracted from that row's return.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError, ParameterError

__all__ = ["drift", "hold", "proportional_cost", "turnover"]


def hold(weights: ArrayLike, returns: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns of a portfolio that is bought once and then left alone.

    Parameters
    ----------
    weights : array-like of shape (n_assets,)
        Signed fractions of net asset value before the first row; the rest is cash earning zero.
    returns : array-like of shape (n_observations, n_assets)
        Simple returns per period; NaN counts as zero.

    Returns
    -------
    portfolio_returns : ndarray of shape (n_observations,)
        Simple returns of the whole portfolio, before costs. A portfolio whose wealth falls to zero or
        below is lost: its return is -1 on that row and 0 afterwards.
    ending_weights : ndarray of shape (n_assets,)
        Weights after the last row; all zero for a lost portfolio.

    Raises
    ------
    DataError
        If the shapes differ, or a weight or a return is infinite, or a weight is NaN.

    Examples
    --------
    Half in an asset that doubles, half in cash: the asset is then two thirds of the whole.

    >>> portfolio_returns, ending = hold([0.5], [[1.0]])
    >>> print(portfolio_returns, ending.round(4))
    [0.5] [0.6667]
    """
    weights = np.asarray(weights, dtype=float)
    returns = np.asarray(returns, dtype=float)
    if weights.ndim != 1 or returns.ndim != 2 or returns.shape[1] != weights.size:
        raise DataError(
            f"hold needs weights (n_assets,) and returns (n_observations, n_assets), "
            f"got {weights.shape} and {returns.shape}"
        )
    if not np.isfinite(weights).all() or np.isinf(returns).any():
        raise DataError("hold needs finite weights and returns that are finite or NaN; clean the panel first")
    if returns.shape[0] == 0:
        return np.empty(0), weights.copy()
    position = np.cumprod(1.0 + np.where(np.isnan(returns), 0.0, returns), axis=0) * weights
    wealth = position.sum(axis=1) + (1.0 - weights.sum())  # (n_observations,)
    lost = np.flatnonzero(wealth <= 0.0)
    if lost.size:
        wealth[lost[0] :] = 0.0
    before = np.concatenate(([1.0], wealth[:-1]))
    portfolio_returns = np.divide(wealth, before, out=np.ones_like(wealth), where=before > 0.0) - 1.0
    if lost.size:
        return portfolio_returns, np.zeros_like(weights)
    return portfolio_returns, position[-1] / wealth[-1]


def drift(weights: ArrayLike, returns: ArrayLike) -> NDArray[np.float64]:
    """Weights after the market has moved and nothing was traded.

    Parameters
    ----------
    weights : array-like of shape (n_assets,)
        Signed fractions of net asset value before the move; the rest is cash earning zero.
    returns : array-like of shape (n_assets,) or (n_observations, n_assets)
        One row of simple returns, or several; NaN counts as zero.

    Returns
    -------
    ndarray of shape (n_assets,)
        Weights after the last row.

    Raises
    ------
    DataError
        If the shapes differ, or a weight or a return is infinite, or a weight is NaN.

    Examples
    --------
    >>> drift([0.5, 0.5], [0.2, 0.0]).round(4)
    array([0.5455, 0.4545])
    """
    return hold(weights, np.atleast_2d(np.asarray(returns, dtype=float)))[1]


def turnover(trades: ArrayLike) -> float:
    """Half the sum of absolute trades.

    Parameters
    ----------
    trades : array-like of shape (n_assets,)
        Target minus drifted weights, fractions of net asset value, cash left out.

    Returns
    -------
    float
        1.0 sells one long book and buys another; entering a long book from cash is 0.5.

    Examples
    --------
    >>> turnover([-1.0, 1.0])
    1.0
    """
    return 0.5 * float(np.abs(np.asarray(trades, dtype=float)).sum())


def proportional_cost(trades: ArrayLike, *, cost_bps: float) -> float:
    """Cost of trades, as a fraction of net asset value.

    Parameters
    ----------
    trades : array-like of shape (n_assets,)
        Target minus drifted weights, fractions of net asset value, cash left out.
    cost_bps : float >= 0
        Basis points per unit traded, charged on buys and on sells.

    Returns
    -------
    float
        ``cost_bps / 1e4 * sum(abs(trades))``, which is twice the turnover times the rate.

    Raises
    ------
    ParameterError
        If `cost_bps` is negative or not finite.

    Examples
    --------
    >>> proportional_cost([-1.0, 1.0], cost_bps=10.0)
    0.002
    """
    if not (np.isfinite(cost_bps) and cost_bps >= 0.0):
        raise ParameterError(f"cost_bps must be finite and at least 0, got {cost_bps!r}")
    return float(cost_bps) / 1e4 * float(np.abs(np.asarray(trades, dtype=float)).sum())
