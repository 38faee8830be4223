r"""Hierarchical risk parity: capital split down a clustering of the assets, without inverting a matrix.

The assets stand in the order of the leaves of a hierarchical clustering (`eigenfolio.models.clustering`: distances,
linkages, the three conventions, ties). Then capital is split, from the whole list down to single assets [1]_:

.. math:: w_{left} : w_{right} = \frac{1}{V_{left}} : \frac{1}{V_{right}}, \qquad
   V_C = \frac{v_C' \, \Sigma_{CC} \, v_C}{(1' v_C)^2}, \qquad v_C = 1 / \operatorname{diag} \Sigma_{CC}

V is the variance of the cluster held at inverse variances, so two sides get the same risk where they are uncorrelated
with each other; it is no exact risk parity. A list is split into halves, the first the shorter (`bisection="halves"`,
as published and in every peer), or a cluster into its two branches (`bisection="branches"`). Of two sides without risk
each gets half. With a cap, the share of a side is what it would be but for what its assets can hold, and the rest goes
to the other side.

In halves, the answer depends on the order of the columns: which leaf of a pair stands left is settled by position, and
a half may part the pair. In branches it does not, but for ties.

References
----------
.. [1] M. Lopez de Prado (2016). Building diversified portfolios that outperform out of sample. Journal of Portfolio
   Management 42(4), 59-69.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from skfolio.moments.covariance import BaseCovariance
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from eigenfolio.codependence import average_ranks, pearson_correlation
from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, EigenfolioError, ParameterError
from eigenfolio.linalg import covariance_to_correlation
from eigenfolio.models.clustering import (
    CONVENTIONS,
    LINKAGES,
    ClusterQuality,
    Convention,
    Linkage,
    cluster_quality,
    cluster_tree,
    correlation_distance,
    flat_clusters,
    linkage_distance,
)
from eigenfolio.models.covariance_model import whole_number
from eigenfolio.models.portfolios import _labelled, _of_assets, _Portfolio
from eigenfolio.models.window import BoolArray, active_assets, check_returns, prepare_window

__all__ = ["HierarchicalRiskParity", "fit_together", "hierarchical_weights"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Bisection = Literal["halves", "branches"]
Correlation = Literal["pearson", "spearman", "estimator"]

_OPTIONS: dict[str, tuple[str, ...]] = {
    "convention": CONVENTIONS,
    "linkage": LINKAGES,
    "correlation": get_args(Correlation),
    "bisection": get_args(Bisection),
}


def hierarchical_weights(
    covariance: npt.ArrayLike,
    tree: FloatArray,
    order: IntArray,
    *,
    bisection: Bisection = "halves",
    max_weight: float = 1.0,
) -> FloatArray:
    """Weights of a given tree and leaf order.

    Parameters
    ----------
    covariance : array-like of shape (n_assets, n_assets)
        Squared return per period, positive diagonal.
    tree : ndarray of shape (n_assets - 1, 4)
        SciPy's linkage matrix; read with ``bisection="branches"`` alone.
    order : ndarray of int, shape (n_assets,)
        Leaves of the tree from left to right.
    bisection : {"halves", "branches"}
    max_weight : float in (0, 1]
        Cap of each asset.

    Returns
    -------
    ndarray of shape (n_assets,)
        Positive, sum 1.

    Raises
    ------
    DataError
        If the covariance is not square and finite, or a variance is not positive.
    ParameterError
        If the cap is too tight for the number of assets, or an option is unknown.

    Examples
    --------
    Uncorrelated assets in one order: {0} against {1, 2}, whose inverse variance book has variance 2 / 3.

    >>> covariance = np.diag([2.0, 1.0, 2.0])
    >>> hierarchical_weights(covariance, np.empty((0, 4)), np.array([0, 1, 2]))
    array([0.25, 0.5 , 0.25])
    """
    matrix = np.ascontiguousarray(covariance, dtype=float)
    _check_options({"bisection": bisection})
    if matrix.shape != (len(order), len(order)) or not np.isfinite(matrix).all():
        raise DataError(
            f"covariance must be a finite matrix of {len(order)} assets, got shape {matrix.shape} with "
            f"{int((~np.isfinite(matrix)).sum())} missing or infinite entries"
        )
    smallest = float(np.diag(matrix).min())
    if not smallest > 0.0:
        raise DataError(f"covariance needs positive variances, got {smallest:g}; drop assets that do not vary")
    cap = Constraints(max_weight=max_weight).effective_cap(len(order))
    return _split(matrix, tree, order, bisection == "branches", cap)


class HierarchicalRiskParity(_Portfolio):
    """Hierarchical risk parity in three conventions, with missing returns, any covariance and a cap.

    Parameters
    ----------
    covariance_estimator : skfolio.moments.BaseCovariance, optional
        Risk of the assets. Cloned and fitted on all rows of the assets held; it has its own lookback, and one that
        refuses missing returns needs complete columns. The sample covariance of the lookback when None.
    convention : {"lopez_de_prado", "tree", "optimal_leaf"}
        How distances become an order of the assets; three different portfolios. `tree` is that of PyPortfolioOpt,
        `optimal_leaf` that of skfolio and of Riskfolio-Lib's default.
    linkage : {"single", "complete", "average", "ward"}
    correlation : {"pearson", "spearman", "estimator"}
        What the distances come from: sample or rank correlation of the lookback, or that of `covariance_estimator`.
    bisection : {"halves", "branches"}
        Whether the ordered list is halved, or the tree followed.
    lookback : int, optional
        Last rows (trading days) that distances and sample covariance see; all when None.
    max_weight : float in (0, 1]
        Cap of each asset.
    n_clusters : int
        Clusters of the flat cut that `quality_` describes; weights do not depend on it.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV; 0 for inactive assets and for those that do not vary within the lookback.
    linkage_ : ndarray of shape (n_held - 1, 4)
        SciPy's linkage matrix of the assets held; leaf i is the i-th of them.
    order_ : ndarray of int64, shape (n_held,)
        Columns of X in the order of the leaves.
    clusters_ : ndarray of int64, shape (n_assets,)
        Flat cluster of each asset from 0; -1 where it is not held.
    quality_ : ClusterQuality
        Silhouette, correlations within and between the flat clusters.
    silhouette_ : float
        That of `quality_`.
    covariance_estimator_ : skfolio.moments.BaseCovariance or None
        Fitted clone; knows the assets held only.

    Raises
    ------
    DataError
        If no asset is active or none varies, or a variance of the estimator is missing or not positive.
    ParameterError
        If an option is unknown, the cap too tight, or ``correlation="estimator"`` comes without an estimator.

    Notes
    -----
    Missing returns are completed as in `eigenfolio.models.window`: a correlation is pulled toward zero by coverage.
    This is a metadata router, as `MinimumVariance` is.

    References
    ----------
    .. [1] M. Lopez de Prado (2016). Building diversified portfolios that outperform out of sample. Journal of
       Portfolio Management 42(4), 59-69.

    Examples
    --------
    Two copies of one asset share what a third, uncorrelated one does not get:

    >>> x = np.tile([0.01, 0.01, -0.01, -0.01], 30)
    >>> y = np.tile([0.01, -0.01], 60)
    >>> HierarchicalRiskParity(bisection="branches").fit(np.column_stack([x, y, x])).weights_
    array([0.25, 0.5 , 0.25])
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"active_mask": True}

    def __init__(
        self,
        covariance_estimator: BaseCovariance | None = None,
        *,
        convention: Convention = "lopez_de_prado",
        linkage: Linkage = "single",
        correlation: Correlation = "pearson",
        bisection: Bisection = "halves",
        lookback: int | None = None,
        max_weight: float = 1.0,
        n_clusters: int = 10,
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
        self.convention = convention
        self.linkage = linkage
        self.correlation = correlation
        self.bisection = bisection
        self.lookback = lookback
        self.max_weight = max_weight
        self.n_clusters = n_clusters

    @property
    def silhouette_(self) -> float:
        """Mean silhouette of the flat clusters in [-1, 1]; NaN where it is not defined."""
        return self.quality_.silhouette

    def get_metadata_routing(self) -> MetadataRouter:
        """Route what `fit` is given to the covariance estimator, where it requests it.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        if self.covariance_estimator is not None:
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(covariance_estimator=self.covariance_estimator, method_mapping=mapping)
        return router

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None, **fit_params: Any) -> Self:
        """Decide weights at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, NaN where missing.
        y : Ignored
            Present for scikit-learn's contract.
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed; returns elsewhere are not read. Handed on as well where the covariance
            estimator requests it.
        **fit_params : dict
            Metadata that the covariance estimator requests, cut to the assets held.

        Returns
        -------
        self
        """
        returns, mask = check_returns(self, X, active_mask)
        return self._decide(_Windows(returns, active_assets(returns, mask)), X, mask, fit_params)

    def _decide(self, windows: _Windows, X: npt.ArrayLike, mask: BoolArray | None, fit_params: dict[str, Any]) -> Self:
        self._check()
        held, covariance = windows.risk(self.lookback)
        if self.covariance_estimator is None:
            self.covariance_estimator_ = None
        else:
            self.covariance_estimator_ = self._fit_estimator(windows.returns, held, X, mask, fit_params)
            covariance = np.asarray(self.covariance_estimator_.covariance_, dtype=float)
        if self.correlation == "estimator":
            rho = covariance_to_correlation(covariance)[0]
            distance = correlation_distance(rho)
            condensed = linkage_distance(distance, self.convention)
        else:
            rho, distance = windows.distances(self.lookback, self.correlation)
            condensed = windows.condensed(self.lookback, self.correlation, self.convention)
        self.linkage_, order = cluster_tree(condensed, linkage=self.linkage, convention=self.convention)
        self.weights_ = np.zeros(held.size)
        self.weights_[held] = hierarchical_weights(
            covariance, self.linkage_, order, bisection=self.bisection, max_weight=self.max_weight
        )
        self.order_ = np.flatnonzero(held)[order]
        clusters = flat_clusters(self.linkage_, n_clusters=self.n_clusters)
        self.clusters_ = np.full(held.size, -1)
        self.clusters_[held] = clusters
        self.quality_: ClusterQuality = cluster_quality(rho, distance, clusters)
        return self

    def _check(self) -> None:
        _check_options({name: getattr(self, name) for name in _OPTIONS})
        whole_number("n_clusters", self.n_clusters, minimum=1)
        if self.lookback is not None:
            whole_number("lookback", self.lookback, minimum=2)
        estimator = self.covariance_estimator
        if estimator is None and self.correlation == "estimator":
            raise ParameterError("correlation='estimator' needs a covariance_estimator; give one, or use 'pearson'")
        if estimator is not None and not isinstance(estimator, BaseCovariance):
            raise ParameterError(
                f"covariance_estimator must be a skfolio BaseCovariance, got {type(estimator).__name__}"
            )

    def _fit_estimator(
        self,
        returns: FloatArray,
        held: BoolArray,
        X: npt.ArrayLike,
        mask: BoolArray | None,
        fit_params: dict[str, Any],
    ) -> BaseCovariance:
        given = fit_params if mask is None else {**fit_params, "active_mask": mask}
        routed = process_routing(self, "fit", **given)["covariance_estimator"]["fit"]
        names = X.columns if isinstance(X, pd.DataFrame) else None
        cut = {key: _of_assets(value, held, shape=returns.shape, names=names) for key, value in routed.items()}
        return clone(self.covariance_estimator).fit(_labelled(returns[:, held], X, held), **cut)


def fit_together(
    models: Sequence[HierarchicalRiskParity], X: npt.ArrayLike, *, active_mask: Any = None
) -> list[HierarchicalRiskParity | EigenfolioError]:
    """Fit many models on the same returns and do what they share once, to the same bits as `fit`.

    Parameters
    ----------
    models : sequence of HierarchicalRiskParity
        Left as they are; clones are fitted. `fallback` is not consulted.
    X : array-like of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    active_mask : array-like of bool, shape (n_observations, n_assets), optional
        True where an asset is listed.

    Returns
    -------
    list of HierarchicalRiskParity or EigenfolioError
        In the order of `models`: the fitted clone, or why there is none.

    Raises
    ------
    DataError, ParameterError
        If X or the mask can serve no model.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((60, 5)) * 0.01
    >>> models = [HierarchicalRiskParity(linkage=name) for name in ("single", "average")]
    >>> [fitted.linkage for fitted in fit_together(models, X)]
    ['single', 'average']
    """
    if not models:
        return []
    fitted: list[HierarchicalRiskParity] = [clone(model) for model in models]
    returns, mask = check_returns(fitted[0], X, active_mask)
    windows = _Windows(returns, active_assets(returns, mask))
    columns = [name for name in ("n_features_in_", "feature_names_in_") if hasattr(fitted[0], name)]
    outcomes: list[HierarchicalRiskParity | EigenfolioError] = []
    for model in fitted:
        for name in columns:
            setattr(model, name, getattr(fitted[0], name))
        try:
            outcomes.append(model._decide(windows, X, mask, {}))
        except EigenfolioError as error:
            outcomes.append(error)
    return outcomes


@dataclass
class _Windows:
    """What models on the same returns share: filled as it is asked for."""

    returns: FloatArray
    active: BoolArray
    _kept: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def risk(self, lookback: int | None) -> tuple[BoolArray, FloatArray]:
        """Assets held, of the shape of the columns, and their sample covariance."""
        key = ("risk", lookback)
        if key not in self._kept:
            window = prepare_window(self.returns[:, self.active], lookback=lookback)
            varies = window.unbacked == 0.0
            held = self.active.copy()
            held[self.active] = varies
            covariance = window.covariance()
            self._kept[key] = held, covariance if varies.all() else covariance[np.ix_(varies, varies)]
        return self._kept[key]

    def distances(self, lookback: int | None, correlation: str) -> tuple[FloatArray, FloatArray]:
        """Correlation of the assets held, and their distances."""
        key = ("distances", lookback, correlation)
        if key not in self._kept:
            held, covariance = self.risk(lookback)
            if correlation == "pearson":
                rho = covariance_to_correlation(covariance)[0]
            else:
                rows = self.returns if lookback is None else self.returns[-lookback:]
                rho = pearson_correlation(average_ranks(rows[:, held]))
            self._kept[key] = rho, correlation_distance(rho)
        return self._kept[key]

    def condensed(self, lookback: int | None, correlation: str, convention: Convention) -> FloatArray:
        """What the linkage is given."""
        key = ("condensed", lookback, correlation, convention)
        if key not in self._kept:
            self._kept[key] = linkage_distance(self.distances(lookback, correlation)[1], convention)
        return self._kept[key]


def _check_options(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value not in _OPTIONS[name]:
            raise ParameterError(f"{name} must be one of {', '.join(_OPTIONS[name])}, got {value!r}")


@njit(cache=True, error_model="numpy")
def _cluster_variance(covariance: FloatArray, members: IntArray) -> float:
    """Variance of the members held at inverse variances."""
    total, risk = 0.0, 0.0
    inverse = np.empty(members.size)
    for i in range(members.size):
        inverse[i] = 1.0 / covariance[members[i], members[i]]
        total += inverse[i]
    for i in range(members.size):
        row = 0.0
        for j in range(i):
            row += inverse[j] * covariance[members[i], members[j]]
        risk += inverse[i] * (2.0 * row + 1.0)
    return max(risk, 0.0) / total**2  # a negative one is rounding


@njit(cache=True, error_model="numpy")
def _split(covariance: FloatArray, tree: FloatArray, order: IntArray, branches: bool, cap: float) -> FloatArray:
    """Split capital from the whole order down; a cluster of the tree is a run of the order."""
    n_assets = order.size
    weights = np.ones(n_assets)
    runs = np.empty((n_assets, 3), dtype=np.int64)  # first, one past the last, node of the tree
    runs[0] = np.array([0, n_assets, 2 * n_assets - 2])
    n_runs = 1
    while n_runs > 0:
        n_runs -= 1
        first, stop, node = runs[n_runs]
        if stop - first == 1:
            continue
        left, right = -1, -1
        middle = first + (stop - first) // 2
        if branches:
            left, right = int(tree[node - n_assets, 0]), int(tree[node - n_assets, 1])
            middle = first + (1 if left < n_assets else int(tree[left - n_assets, 3]))
        risk_left = _cluster_variance(covariance, order[first:middle])
        risk_right = _cluster_variance(covariance, order[middle:stop])
        both = risk_left + risk_right
        share = 1.0 - risk_left / both if both > 0.0 else 0.5
        whole = weights[order[first]]
        share = min(share, cap * (middle - first) / whole)
        share = 1.0 - min(1.0 - share, cap * (stop - middle) / whole)
        weights[order[first:middle]] *= share
        weights[order[middle:stop]] *= 1.0 - share
        runs[n_runs] = np.array([first, middle, left])
        runs[n_runs + 1] = np.array([middle, stop, right])
        n_runs += 2
    return weights
