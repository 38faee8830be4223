r"""A limit on turnover where assets come and go: what is held, what must be sold, and what is left to trade.

With p what is held before, a book w trades

.. math:: \tfrac12 \Big( \sum_{i \in A} | w_i - p_i | + \sum_{i \notin A} p_i \Big)

where A are the assets that may be held: all else is sold. A limit on it is therefore one on the first sum alone, less
what the second takes. Where bounds force more trades than the limit (what must be sold is to be bought again elsewhere;
an asset that has grown above its cap), these are made and no others: the limit gives way, as it does inside a network
(`eigenfolio.models.networks.allocation`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.optimization import BaseOptimization
from sklearn.base import clone

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models.portfolios import _Portfolio
from eigenfolio.models.window import BoolArray, active_assets, check_returns
from eigenfolio.projection import closest_book

__all__ = ["Holdings", "LimitedTurnover", "read_holdings"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Holdings:
    """What is held before a decision.

    Parameters
    ----------
    weights : ndarray of shape (n_active,)
        Of the assets that may be held, fractions of NAV.
    outside : float
        Weight of all others.
    """

    weights: FloatArray
    outside: float

    def reachable(self, limits: Constraints) -> Constraints:
        """Limits on the assets that may be held alone, loosened to the trades that must be made.

        Parameters
        ----------
        limits : Constraints
            Of the whole book.

        Returns
        -------
        Constraints
            With the `max_turnover` that `eigenfolio.projection.closest_book` keeps from `weights`.

        Examples
        --------
        A tenth lies in an asset that is gone: selling it, and buying another for it, trades a tenth.

        >>> held = Holdings(np.array([0.5, 0.4]), outside=0.1)
        >>> round(held.reachable(Constraints(max_turnover=0.25)).max_turnover, 9)
        0.2
        >>> round(held.reachable(Constraints(max_turnover=0.02)).max_turnover, 9)
        0.05
        """
        if limits.max_turnover is None:
            return limits
        invest = 0.5 * (1.0 - float(self.weights.sum()))
        above = float(np.maximum(self.weights - limits.effective_cap(len(self.weights)), 0.0).sum())
        within = limits.max_turnover - 0.5 * self.outside
        return replace(limits, max_turnover=min(max(within, abs(invest), above + invest), 1.0))

    def turnover(self, weights: FloatArray) -> float:
        """Half the sum of absolute trades to a book, what is sold outside included.

        Examples
        --------
        >>> round(Holdings(np.array([0.5, 0.4]), outside=0.1).turnover(np.array([0.5, 0.5])), 9)
        0.1
        """
        return 0.5 * (float(np.abs(weights - self.weights).sum()) + self.outside)

    def diagnostics(self, weights: FloatArray, limits: Constraints) -> dict[str, float]:
        """`turnover` to a book, and `turnover_limit`: that of the limits, or what must be traded if it is more."""
        loosened = self.reachable(limits).max_turnover
        limit = np.nan if loosened is None else loosened + 0.5 * self.outside
        return {"turnover": self.turnover(weights), "turnover_limit": limit}


def read_holdings(previous: Any, X: Any, active: BoolArray) -> Holdings | None:
    """Previous weights as they are given, by the assets that may be held and the others.

    Parameters
    ----------
    previous : float, dict, Series or array-like of shape (n_assets,), optional
        A number stands for every asset; a dict or a Series is by asset name and may name assets that X lacks.
    X : array-like of shape (n_observations, n_assets)
    active : ndarray of bool, shape (n_assets,)
        Columns that may be held.

    Returns
    -------
    Holdings or None
        None where there are no previous weights.

    Raises
    ------
    DataError
        If names are given without a DataFrame, the length differs, or a weight is not finite.

    Examples
    --------
    >>> X = pd.DataFrame(0.0, index=range(2), columns=["A", "B"])
    >>> read_holdings({"B": 0.7, "gone": 0.3}, X, np.array([True, True]))
    Holdings(weights=array([0. , 0.7]), outside=0.3)
    """
    if previous is None:
        return None
    if isinstance(previous, dict | pd.Series):
        if not isinstance(X, pd.DataFrame):
            raise DataError("previous_weights by name need X as a DataFrame with these names as columns")
        named = {name: float(weight) for name, weight in dict(previous).items()}
        kept = set(X.columns[active])
        weights = np.array([named.get(name, 0.0) for name in X.columns[active]])
        outside = np.array([weight for name, weight in named.items() if name not in kept])
    else:
        given = np.asarray(previous, dtype=float)
        if given.ndim and given.shape != active.shape:
            raise DataError(f"previous_weights must be one number or {active.size}, got shape {given.shape}")
        held = np.broadcast_to(given, active.shape)
        weights, outside = np.array(held[active]), held[~active]
    if not (np.isfinite(weights).all() and np.isfinite(outside).all()):
        raise DataError("previous_weights must be finite; give 0 for what is not held")
    return Holdings(weights, float(np.abs(outside).sum()))


class LimitedTurnover(_Portfolio):
    """Any long-only portfolio, traded toward no faster than a limit on turnover allows.

    The book is the one closest to the portfolio's, in the sum of squares, that a limited trade reaches from
    `previous_weights`; without these it is the portfolio's own.

    Parameters
    ----------
    portfolio : skfolio.optimization.BaseOptimization
        Cloned and fitted; its weights are 0 or more and sum to one.
    max_turnover : float in (0, 1]
        Largest half sum of absolute trades; gives way to trades that must be made.
    max_weight : float in (0, 1]
        Cap of each asset: that of `portfolio`, which limited trades must not pass either.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    previous_weights : float, dict or array-like of shape (n_assets,), optional
        What is held before the decision, fractions of NAV; a dict is by asset name and may name assets that X lacks.
    fallback, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, sum one, 0 for inactive assets.
    portfolio_ : skfolio.optimization.BaseOptimization
        Fitted clone.
    diagnostics_ : dict of str to float
        With previous weights, `turnover` (half the sum of absolute trades) and `turnover_limit` (`max_turnover`, or
        what had to be traded where that is more); empty without.

    Raises
    ------
    ParameterError
        If `portfolio` is no skfolio optimiser or gives no long-only book, or a limit is out of range.

    Examples
    --------
    >>> from eigenfolio.models import EqualWeight
    >>> X = np.random.default_rng(0).standard_normal((60, 4)) * 0.01
    >>> slow = LimitedTurnover(EqualWeight(), max_turnover=0.1, previous_weights=[1.0, 0.0, 0.0, 0.0])
    >>> slow.fit(X).weights_.round(4)
    array([0.9   , 0.0333, 0.0333, 0.0333])
    """

    def __init__(
        self,
        portfolio: BaseOptimization,
        *,
        max_turnover: float,
        max_weight: float = 1.0,
        portfolio_params: dict[str, Any] | None = None,
        fallback: Any = None,
        previous_weights: Any = None,
        raise_on_failure: bool = True,
    ) -> None:
        super().__init__(
            portfolio_params=portfolio_params,
            fallback=fallback,
            previous_weights=previous_weights,
            raise_on_failure=raise_on_failure,
        )
        self.portfolio = portfolio
        self.max_turnover = max_turnover
        self.max_weight = max_weight

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, NaN where missing.
        y : Ignored
            Present for scikit-learn's contract.
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed; handed on to `portfolio`.

        Returns
        -------
        self
        """
        if not isinstance(self.portfolio, BaseOptimization):
            raise ParameterError(f"portfolio must be a skfolio BaseOptimization, got {type(self.portfolio).__name__}")
        limits = Constraints(max_weight=self.max_weight, max_turnover=self.max_turnover)
        active = active_assets(*check_returns(self, X, active_mask))
        told = {} if active_mask is None else {"active_mask": active_mask}
        self.portfolio_ = clone(self.portfolio).fit(X, **told)
        wished = np.asarray(self.portfolio_.weights_, dtype=float)
        if wished.shape != active.shape or wished.min() < -1e-9 or abs(wished.sum() - 1.0) > 1e-6:
            raise ParameterError(
                f"portfolio must give {active.size} weights of 0 or more that sum to one, got shape {wished.shape}, "
                f"smallest {wished.min():g} and sum {wished.sum():g}"
            )
        self.weights_, self.diagnostics_ = wished, {}
        holdings = read_holdings(self.previous_weights, X, active)
        if holdings is not None:
            self.weights_ = np.zeros(active.size)
            reachable = holdings.reachable(limits)
            self.weights_[active] = closest_book(wished[active], reachable, previous=holdings.weights)
            self.diagnostics_ = holdings.diagnostics(self.weights_[active], limits)
        return self
