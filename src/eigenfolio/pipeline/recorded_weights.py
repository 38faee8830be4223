"""Decisions that were made before, as a portfolio model: `evaluation.walk_forward` judges them like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pandas as pd
from skfolio.optimization import BaseOptimization

from eigenfolio.errors import DataError

__all__ = ["RecordedWeights"]


class RecordedWeights(BaseOptimization):
    """Looks up the weights of the last row it is given.

    Parameters
    ----------
    weights : DataFrame of shape (n_decisions, n_assets)
        By decision date; NaN in a whole row where there was no decision.
    errors : mapping of Timestamp to str, optional
        Why there was none.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        In the order of the columns of X.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> decided = pd.DataFrame([[0.3, 0.7]], index=days[-1:], columns=["A", "B"])
    >>> X = pd.DataFrame(0.0, index=days, columns=["B", "A"])
    >>> RecordedWeights(decided).fit(X).weights_
    array([0.7, 0.3])
    """

    def __init__(
        self,
        weights: pd.DataFrame,
        errors: Mapping[pd.Timestamp, str] | None = None,
        *,
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
        self.weights = weights
        self.errors = errors

    def fit(self, X: pd.DataFrame, y: None = None) -> Self:
        """Take the weights decided at the last row of X.

        Raises
        ------
        DataError
            If there was no decision at that row, with the reason where it is known.
        """
        date = X.index[-1]
        if date not in self.weights.index or self.weights.loc[date].isna().all():
            raise DataError((self.errors or {}).get(date, f"nothing was decided on {date:%Y-%m-%d}"))
        self.weights_ = self.weights.loc[date, X.columns].fillna(0.0).to_numpy(dtype=float)
        return self
