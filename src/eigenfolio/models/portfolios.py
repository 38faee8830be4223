"""Portfolio models: equal weight, inverse volatility, minimum variance, and any skfolio optimiser made safe.

All are skfolio optimisers (`fit(X)` sets `weights_` as decided at the last row of X) that accept missing
returns: an asset is inactive when the last row of `active_mask` says so or, without a mask, when its last 21
rows are all missing; inactive assets get weight 0 and the others sum to one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.moments.covariance import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import clone
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from eigenfolio.constraints import Constraints
from eigenfolio.errors import ParameterError
from eigenfolio.models.covariance_model import positive_number, whole_number
from eigenfolio.models.linear_shrinkage import LedoitWolf
from eigenfolio.models.minimum_variance import minimum_variance_of
from eigenfolio.models.window import BoolArray, active_assets, check_returns, prepare_window

__all__ = ["EqualWeight", "InverseVolatility", "MinimumVariance", "MissingSafe"]

FloatArray = npt.NDArray[np.float64]


class _Portfolio(BaseOptimization):
    """What the portfolio models share: NaN is welcome, and `active_mask` is read when it is routed."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"active_mask": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class EqualWeight(_Portfolio):
    """The same weight in every active asset.

    Parameters
    ----------
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, 0 for inactive assets.

    Examples
    --------
    >>> EqualWeight().fit([[0.01, np.nan, 0.0], [0.02, np.nan, 0.01]]).weights_
    array([0.5, 0. , 0.5])
    """

    def __init__(
        self,
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

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, NaN where missing.
        y : Ignored
            Present for scikit-learn's contract.
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed.

        Returns
        -------
        self
        """
        active = active_assets(*check_returns(self, X, active_mask))
        self.weights_ = active / active.sum()
        return self


class InverseVolatility(_Portfolio):
    """Weights proportional to one over volatility.

    Parameters
    ----------
    half_life : float, optional
        Of exponentially weighted volatilities, in rows; the plain volatility of the window when None.
    lookback : int, optional
        Last rows used; all when None.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, 0 for inactive assets.

    Notes
    -----
    A near-riskless asset takes nearly all; `eigenfolio data check` names such assets.

    Examples
    --------
    >>> InverseVolatility().fit([[0.01, 0.02], [-0.01, -0.02]]).weights_.round(4)
    array([0.6667, 0.3333])
    """

    def __init__(
        self,
        *,
        half_life: float | None = None,
        lookback: int | None = None,
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
        self.half_life = half_life
        self.lookback = lookback

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X; see `EqualWeight.fit`."""
        returns, mask = check_returns(self, X, active_mask)
        if self.lookback is not None:
            whole_number("lookback", self.lookback, minimum=2)
        active = active_assets(returns, mask)
        window = prepare_window(returns[:, active], lookback=self.lookback)
        if self.half_life is None:
            volatility = window.volatility
        else:
            volatility = window.ewma_volatility(positive_number("half_life", self.half_life))
        weights = np.zeros(active.size)
        weights[active] = 1.0 / volatility
        self.weights_ = weights / weights.sum()
        return self


class MinimumVariance(_Portfolio):
    """The book of smallest variance under a covariance estimator, exact.

    Parameters
    ----------
    covariance_estimator : skfolio.moments.BaseCovariance, optional
        Cloned and fitted on the active assets; `LedoitWolf()` when None. One that refuses missing returns, as
        most of skfolio's do, needs complete columns of the active assets.
    long_only : bool
        True: weights in [0, `max_weight`]. False: weights are free but for their sum.
    max_weight : float in (0, 1]
        Cap of a long-only book; must be 1 when `long_only` is False.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, 0 for inactive assets.
    covariance_estimator_ : skfolio.moments.BaseCovariance
        Fitted clone; knows the active assets only.

    Notes
    -----
    This is a metadata router: what the covariance estimator requests, such as the `implied_vol` of
    `skfolio.moments.ImpliedCovariance`, is handed on by `fit`.

    Other constraints are skfolio's: ``MeanRisk(max_turnover=..., prior_estimator=EmpiricalPrior(
    covariance_estimator=...))`` takes the same estimators.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((100, 4)) * [0.01, 0.02, 0.02, 0.02]
    >>> MinimumVariance(max_weight=0.4).fit(X).weights_.max().round(6)
    np.float64(0.4)
    """

    def __init__(
        self,
        covariance_estimator: BaseCovariance | None = None,
        *,
        long_only: bool = True,
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
        self.covariance_estimator = covariance_estimator
        self.long_only = long_only
        self.max_weight = max_weight

    def get_metadata_routing(self) -> MetadataRouter:
        """Route what `fit` is given to the covariance estimator, where it requests it.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(covariance_estimator=self._estimator(), method_mapping=mapping)

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None, **fit_params: Any) -> Self:
        """Decide weights at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, NaN where missing.
        y : Ignored
            Present for scikit-learn's contract.
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed; returns elsewhere are not read. Handed on as well where the
            covariance estimator requests it.
        **fit_params : dict
            Metadata that the covariance estimator requests (scikit-learn's `enable_metadata_routing`). A table
            with the shape of X, or with a column for every asset of X by name, is cut to the active assets.

        Returns
        -------
        self

        Raises
        ------
        sklearn.exceptions.UnsetMetadataPassedError
            If the covariance estimator has not requested an item of `fit_params`.
        """
        constraints = Constraints(long_only=self.long_only, max_weight=self.max_weight)
        estimator = clone(self._estimator())
        if not isinstance(estimator, BaseCovariance):
            raise ParameterError(
                f"covariance_estimator must be a skfolio BaseCovariance, got {type(estimator).__name__}"
            )
        returns, mask = check_returns(self, X, active_mask)
        active = active_assets(returns, mask)
        if mask is not None:
            fit_params["active_mask"] = mask
        routed = process_routing(self, "fit", **fit_params)["covariance_estimator"]["fit"]
        names = X.columns if isinstance(X, pd.DataFrame) else None
        cut = {key: _of_assets(value, active, shape=returns.shape, names=names) for key, value in routed.items()}
        self.covariance_estimator_ = estimator.fit(_labelled(returns[:, active], X, active), **cut)
        self.weights_ = np.zeros(active.size)
        self.weights_[active] = minimum_variance_of(estimator, constraints)
        return self

    def _estimator(self) -> BaseCovariance:
        return LedoitWolf() if self.covariance_estimator is None else self.covariance_estimator


class MissingSafe(_Portfolio):
    """Any optimiser that refuses missing returns, made to accept them.

    Inactive assets are taken out and get weight 0. So do assets that do not vary within the lookback (constant,
    or with one return or none): their risk is not known, and an optimiser that divides by it has no answer.
    The other assets with gaps are completed as in `eigenfolio.models.window`: each keeps the mean and the
    variance of its own span, and its covariances are shrunk by coverage. Complete columns are handed on as
    they are, so that complete data give exactly what the bare optimiser gives.

    Parameters
    ----------
    optimizer : skfolio.optimization.BaseOptimization
        For example `HierarchicalRiskParity()`; cloned and fitted on the assets that remain.
    lookback : int, optional
        Last rows used; all when None.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.
    previous_weights : float, dict or array-like of shape (n_assets,), optional
        Handed to the optimiser for the assets that remain, and used by `fallback="previous_weights"`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, 0 for inactive and constant assets.
    optimizer_ : skfolio.optimization.BaseOptimization
        Fitted clone.

    Raises
    ------
    DataError
        If no asset is active or none varies.
    ParameterError
        If `optimizer` is no skfolio optimiser, or gives more than one portfolio.

    Notes
    -----
    The rows of a completed column are scaled: they carry its risk, and are no track record to compound.

    Examples
    --------
    >>> from skfolio.optimization import HierarchicalRiskParity
    >>> X = np.random.default_rng(0).standard_normal((60, 4)) * 0.01
    >>> X[:, 1] = np.nan
    >>> weights = MissingSafe(HierarchicalRiskParity()).fit(X).weights_
    >>> float(weights[1]), round(float(weights.sum()), 9)
    (0.0, 1.0)
    """

    def __init__(
        self,
        optimizer: BaseOptimization,
        *,
        lookback: int | None = None,
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
        self.optimizer = optimizer
        self.lookback = lookback

    @property
    def needs_previous_weights(self) -> bool:
        """True when this estimator or the wrapped optimiser has a use for the weights held before."""
        return super().needs_previous_weights or self.optimizer.needs_previous_weights

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X; see `EqualWeight.fit`."""
        if not isinstance(self.optimizer, BaseOptimization):
            raise ParameterError(f"optimizer must be a skfolio BaseOptimization, got {type(self.optimizer).__name__}")
        returns, mask = check_returns(self, X, active_mask)
        if self.lookback is not None:
            whole_number("lookback", self.lookback, minimum=2)
        active = active_assets(returns, mask)
        window = prepare_window(returns[:, active], lookback=self.lookback)
        varies = window.unbacked == 0.0
        held = active.copy()
        held[active] = varies
        n_held = int(held.sum())
        seen = returns[-window.n_observations :, held]
        completed = (window.columns + window.location)[:, varies]
        complete = window.observed[:, varies].all(axis=0)
        optimizer = clone(self.optimizer)
        if self.previous_weights is not None:
            previous = self._clean_previous_weights(active.size, apply_investable_mask=False)
            optimizer.set_params(previous_weights=previous[held])
        self.optimizer_ = optimizer.fit(_labelled(np.where(complete, seen, completed), X, held))
        weights = np.asarray(self.optimizer_.weights_, dtype=float)
        if weights.shape != (n_held,):
            raise ParameterError(f"optimizer must give one portfolio of {n_held} weights, got shape {weights.shape}")
        self.weights_ = np.zeros(active.size)
        self.weights_[held] = weights
        return self


def _labelled(values: FloatArray, X: npt.ArrayLike, kept: BoolArray) -> pd.DataFrame | FloatArray:
    """Values of the last rows of X and of the assets kept, with the labels of X where it has them."""
    if isinstance(X, pd.DataFrame):
        return pd.DataFrame(values, index=X.index[-len(values) :], columns=X.columns[kept])
    return values


def _of_assets(value: Any, active: BoolArray, *, shape: tuple[int, ...], names: pd.Index | None) -> Any:
    """Metadata of the active assets: columns by name, else by place in a table shaped as X, else all of it."""
    if isinstance(value, pd.DataFrame):
        if names is not None and names.isin(value.columns).all():
            return value[names[active]]
        return value.loc[:, active] if value.shape == shape else value
    return np.asarray(value)[:, active] if np.shape(value) == shape else value
