"""What holding and trading do to a portfolio: drift of weights, turnover, commission, slippage, impact.

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

`TradingCosts` adds what a large book pays. A trade that is the share p of a day's value traded moves the price against
itself by Y s sqrt(p), s the daily volatility and Y a number near one: the square-root law [1]_ [2]_. So

    cost = (commission_bps + slippage_bps) / 1e4 * sum |trade_i| + Y sum |trade_i| s_i sqrt(capital |trade_i| / value_i)

References
----------
.. [1] R. Almgren, C. Thum, E. Hauptmann and H. Li (2005). Direct estimation of equity market impact. Risk 18(7), 58-62.
.. [2] B. Toth, Y. Lemperiere, C. Deremble, J. de Lataillade, J. Kockelkoren and J.-P. Bouchaud (2011). Anomalous price
   impact and the critical nature of liquidity in financial markets. Physical Review X 1, 021006.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError, ParameterError

__all__ = ["Charge", "TradingCosts", "drift", "hold", "impact_cost", "proportional_cost", "turnover"]


@dataclass(frozen=True)
class Charge:
    """What one rebalance costs, by what it is paid for.

    Attributes
    ----------
    commission, slippage, impact : float >= 0
        Fractions of net asset value.

    Examples
    --------
    >>> Charge(commission=0.001, slippage=0.0005, impact=0.002).total
    0.0035
    """

    commission: float
    slippage: float
    impact: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.commission + self.slippage + self.impact


@dataclass(frozen=True)
class TradingCosts:
    """What trading costs a book of a given size.

    Parameters
    ----------
    commission_bps : float >= 0
        Paid to the broker, basis points per unit traded.
    slippage_bps : float >= 0
        Lost between the price decided on and the price got (half a spread, say), basis points per unit traded.
    impact : float >= 0
        Y of the square-root law; 0 leaves impact out.
    capital : float > 0
        Net asset value, in the currency of the value traded. Only impact depends on it.

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    A tenth of a book of 10 million, traded in an asset of 100 million a day and 2 % daily volatility, is 1 % of the day
    and moves the price by 0.2 %:

    >>> costs = TradingCosts(commission_bps=10.0, slippage_bps=5.0, impact=1.0, capital=10e6)
    >>> charge = costs.charge([0.1], value_traded=[100e6], volatility=[0.02])
    >>> [round(part, 6) for part in (charge.commission, charge.slippage, charge.impact)]
    [0.0001, 5e-05, 0.0002]
    """

    commission_bps: float = 10.0
    slippage_bps: float = 0.0
    impact: float = 0.0
    capital: float = 1e7

    def __post_init__(self) -> None:
        for name in ("commission_bps", "slippage_bps", "impact"):
            _check_rate(name, getattr(self, name))
        if not (np.isfinite(self.capital) and self.capital > 0.0):
            raise ParameterError(f"capital must be finite and above 0, got {self.capital!r}")

    def charge(
        self, trades: ArrayLike, *, value_traded: ArrayLike | None = None, volatility: ArrayLike | None = None
    ) -> Charge:
        """Cost of one rebalance.

        Parameters
        ----------
        trades : array-like of shape (n_assets,)
            Target minus drifted weights, fractions of net asset value.
        value_traded : array-like of shape (n_assets,), optional
            Of a usual day, in the currency of `capital`; needed where `impact` is above 0.
        volatility : array-like of shape (n_assets,), optional
            Standard deviation of a day's return; needed where `impact` is above 0.

        Returns
        -------
        Charge

        Raises
        ------
        DataError
            If impact is asked for without value traded or volatility, or see `impact_cost`.
        """
        impact = 0.0
        if self.impact > 0.0:
            if value_traded is None or volatility is None:
                raise DataError(
                    f"impact={self.impact:g} needs the value traded and the volatility of every asset, got "
                    f"{'no value traded' if value_traded is None else 'no volatility'}; give a panel with volume, or "
                    "impact=0"
                )
            impact = impact_cost(
                trades, value_traded=value_traded, volatility=volatility, capital=self.capital, coefficient=self.impact
            )
        return Charge(
            commission=proportional_cost(trades, cost_bps=self.commission_bps),
            slippage=proportional_cost(trades, cost_bps=self.slippage_bps),
            impact=impact,
        )


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
    _check_rate("cost_bps", cost_bps)
    return float(cost_bps) / 1e4 * float(np.abs(np.asarray(trades, dtype=float)).sum())


def impact_cost(
    trades: ArrayLike,
    *,
    value_traded: ArrayLike,
    volatility: ArrayLike,
    capital: float,
    coefficient: float = 1.0,
) -> float:
    """What trades lose by moving prices, by the square-root law.

    Parameters
    ----------
    trades : array-like of shape (n_assets,)
        Target minus drifted weights, fractions of net asset value.
    value_traded : array-like of shape (n_assets,)
        Of a usual day, in the currency of `capital`. Assets that are not traded need none.
    volatility : array-like of shape (n_assets,)
        Standard deviation of a day's return.
    capital : float > 0
        Net asset value.
    coefficient : float >= 0
        Y of the law; estimates lie near one.

    Returns
    -------
    float
        Fraction of net asset value. Four times the capital double it.

    Raises
    ------
    DataError
        If the shapes differ, or an asset that is traded has no positive value traded or no volatility.

    Examples
    --------
    >>> round(impact_cost([0.1], value_traded=[100e6], volatility=[0.02], capital=10e6), 6)
    0.0002
    """
    sizes = np.abs(np.asarray(trades, dtype=float))
    value, sigma = np.asarray(value_traded, dtype=float), np.asarray(volatility, dtype=float)
    if sizes.ndim != 1 or value.shape != sizes.shape or sigma.shape != sizes.shape:
        raise DataError(
            f"impact needs trades, value traded and volatility of the same assets, got shapes {sizes.shape}, "
            f"{value.shape} and {sigma.shape}"
        )
    traded = sizes > 0.0
    unknown = traded & ~((value > 0.0) & np.isfinite(value) & (sigma >= 0.0) & np.isfinite(sigma))
    if unknown.any():
        first = int(np.flatnonzero(unknown)[0])
        raise DataError(
            f"impact needs a positive value traded and a volatility of every asset that is traded; {unknown.sum()} "
            f"have none, first number {first} (value {value[first]}, volatility {sigma[first]}); leave them out of the "
            "book or give their volume"
        )
    share = capital * sizes[traded] / value[traded]
    return float(coefficient * np.sum(sizes[traded] * sigma[traded] * np.sqrt(share)))


def _check_rate(name: str, rate: float) -> None:
    if not (np.isfinite(rate) and rate >= 0.0):
        raise ParameterError(f"{name} must be finite and at least 0, got {rate!r}")
