"""A portfolio that a trained graph-attention network decides on.

    returns -> correlation -> graph -> node features and edges -> scores -> weights within the constraints

Training (`eigenfolio.training.gat`) writes bundles, one per graph method and period, each with the last date it has
seen; `fit` never trains. It takes the newest bundle that ends no later than the last row of X. The network says one
score per asset; the book is the one closest to 1/n + score/n under the constraints (`eigenfolio.projection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import clone
from sklearn.utils import Tags

from eigenfolio.artifacts import Bundle, BundleSeries
from eigenfolio.constraints import Constraints
from eigenfolio.errors import ArtifactError, EigenfolioError, LookaheadError, ParameterError
from eigenfolio.learned.asset_graphs import default_covariance, graph_name, graph_view
from eigenfolio.learned.given_rows import newest_date
from eigenfolio.learned.node_features import NODE_FEATURES
from eigenfolio.learned.stored_series import stored_series
from eigenfolio.models.limited_turnover import Holdings, read_holdings
from eigenfolio.models.window import active_assets, check_returns
from eigenfolio.projection import closest_book

__all__ = ["FAMILY", "GraphAttentionPortfolio", "GraphEnsemble"]

FloatArray = npt.NDArray[np.float64]

FAMILY = "gat"
"""Family of the bundles."""


class _Portfolio(BaseOptimization):
    """NaN is welcome, and `active_mask` is read when it is routed."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"active_mask": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class GraphAttentionPortfolio(_Portfolio):
    """Long-only weights from a graph-attention network over a graph of the assets.

    Parameters
    ----------
    weights : path-like, Bundle, BundleSeries or None
        What the network has learned: a bundle, a series of them, or a folder holding either. None is the untrained
        network, which says the same of every asset: equal weights, as far as the constraints allow.
    graph : {"mst", "tmfg", "knn_k5", "knn_k10", "knn_k15"} or DataFrame, optional
        The graph; that of the bundle unless given ("mst" without one), and it must be of the same method. A DataFrame
        holds known strengths in [-1, 1] by asset name, symmetric, and goes with a bundle trained on a given graph.
    covariance_estimator : skfolio.moments.BaseCovariance, optional
        Whose correlation the graph is made of; cloned and fitted on the active assets. Ledoit-Wolf shrinkage of the
        last 252 rows unless given, which is an error for weights that were trained on another one.
    max_weight : float in (0, 1], optional
        Cap of each asset; that of the training unless given (1 without a bundle).
    max_turnover : float in (0, 1], optional
        Largest half sum of trades from `previous_weights`; that of the training unless given, and without previous
        weights there is no limit. It gives way to trades that must be made: what is held of assets that are not
        active any more, or above the cap.
    max_positions : int, optional
        Largest number of assets held; not together with `max_turnover`; that of the training unless given.
    undated : {"raise", "newest"}, default="raise"
        What to do with dated weights when X carries no dates: refuse, or take the newest bundle.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    previous_weights : float, dict or array-like of shape (n_assets,), optional
        What is held before the decision, fractions of NAV; a dict is by asset name and may name assets that X lacks.
    fallback, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
        Fraction of NAV, 0 for inactive assets, sum one.
    scores_ : ndarray of shape (n_members, n_assets)
        What each member of the ensemble said; NaN for inactive assets. The weights are made from the mean of the
        members' own books, so a limit on positions is met by each member and then again by the mean.
    graph_ : AssetGraph
        Over the active assets, in their order.
    covariance_estimator_ : BaseCovariance or None
        Fitted on the active assets; None where the graph was given.
    trained_through_ : Timestamp or None
        Last date that the weights in use have seen.
    diagnostics_ : dict of str to float
        `n_edges`, `distance_to_equal` (half the sum of absolute differences to equal weights; 0 is a network that
        says nothing) and `member_spread` (the mean of that distance between a member's book and the mean of all).
        Under a limit on turnover also `turnover` (half the sum of absolute trades from `previous_weights`) and
        `turnover_limit` (`max_turnover`, or what had to be traded where that is more).

    Raises
    ------
    LookaheadError
        In `fit`, if every bundle has seen rows after the last of X, or X has no dates to tell.
    ArtifactError
        In `fit`, if the weights are of another family, graph or set of features.

    References
    ----------
    .. [1] S. Brody, U. Alon and E. Yahav (2022). How attentive are graph attention networks? ICLR.
    .. [2] K. Korangi, C. Mues and C. Bravo (2024). Large-scale time-varying portfolio optimisation using graph
       attention networks. arXiv:2407.15532.

    Examples
    --------
    Untrained it holds equal weights, here as far as a tenth of NAV traded reaches:

    >>> X = 0.01 * np.random.default_rng(0).standard_normal((300, 4))
    >>> GraphAttentionPortfolio().fit(X).weights_
    array([0.25, 0.25, 0.25, 0.25])
    >>> slow = GraphAttentionPortfolio(max_turnover=0.1, previous_weights=[0.85, 0.05, 0.05, 0.05])
    >>> slow.fit(X).weights_.round(4)
    array([0.75  , 0.0833, 0.0833, 0.0833])

    In skfolio's engines each decision is told what the last one has become; their turnover counts both sides:

    >>> from skfolio.model_selection import WalkForward, cross_val_predict
    >>> splits = WalkForward(train_size=260, test_size=20, purged_size=0)
    >>> path = cross_val_predict(slow, X, cv=splits, portfolio_params={"weight_drift": True})
    >>> [round(0.5 * float(portfolio.turnover), 6) for portfolio in path]
    [0.1, 0.1]
    """

    def __init__(
        self,
        weights: str | PathLike[str] | Bundle | BundleSeries | None = None,
        *,
        graph: str | pd.DataFrame | None = None,
        covariance_estimator: BaseCovariance | None = None,
        max_weight: float | None = None,
        max_turnover: float | None = None,
        max_positions: int | None = None,
        undated: Literal["raise", "newest"] = "raise",
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
        self.graph = graph
        self.covariance_estimator = covariance_estimator
        self.max_weight = max_weight
        self.max_turnover = max_turnover
        self.max_positions = max_positions
        self.undated = undated

    @property
    def needs_previous_weights(self) -> bool:
        """True under a limit on turnover, be it given or that of the training: skfolio then hands the weights on."""
        return super().needs_previous_weights or _trained_to_trade_little(self.weights)

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, oldest first, NaN where missing; a DataFrame with a DatetimeIndex for dated weights.
        y : Ignored
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed.

        Returns
        -------
        self : GraphAttentionPortfolio
        """
        if self.undated not in ("raise", "newest"):
            raise ParameterError(f"undated must be 'raise' or 'newest', got {self.undated!r}")
        returns, mask = check_returns(self, X, active_mask)
        active = active_assets(returns, mask)
        bundle = self.choose_bundle(newest_date(X))
        method = self._method(bundle)
        past = pd.DataFrame(returns, X.index, X.columns) if isinstance(X, pd.DataFrame) else returns
        view = graph_view(past, active, graph=method, covariance_estimator=self.covariance_estimator)
        scores = np.zeros((1, int(active.sum()))) if bundle is None else _scores(bundle, view)
        constraints = self._constraints(bundle)
        held = self._holdings(constraints, active, X)
        limits = constraints if held is None else held.reachable(constraints)
        previous = None if held is None else held.weights
        books = np.stack([closest_book((1.0 + row) / len(row), limits, previous=previous) for row in scores])
        self.weights_ = np.zeros(active.size)
        self.weights_[active] = _joined(books, constraints)
        self.scores_ = np.full((len(scores), active.size), np.nan)
        self.scores_[:, active] = scores
        self.graph_, self.covariance_estimator_ = view.graph, view.covariance_estimator
        self.trained_through_ = None if bundle is None else bundle.trained_through
        equal = active / active.sum()
        mean = self.weights_[active]
        self.diagnostics_ = {
            "n_edges": float(view.graph.n_edges),
            "distance_to_equal": 0.5 * float(np.abs(self.weights_ - equal).sum()),
            "member_spread": 0.5 * float(np.abs(books - mean).sum(axis=1).mean()),
        }
        if held is not None:
            self.diagnostics_ |= held.diagnostics(mean, constraints)
        return self

    def choose_bundle(self, last_date: pd.Timestamp | None) -> Bundle | None:
        """Find the weights that `fit` would use for rows that end on a date.

        Parameters
        ----------
        last_date : Timestamp or None
            Date of the last row; None where the rows carry no dates.

        Returns
        -------
        Bundle or None
            The newest that has seen nothing after `last_date`; None for the untrained network.

        Raises
        ------
        LookaheadError
            If there is none, or no date to compare with.
        ArtifactError
            If the weights are not those of this model.
        """
        if self.weights is None:
            return None
        series = _series(self.weights)
        if last_date is not None:
            bundle = series.as_of(last_date)
        elif self.undated == "newest":
            bundle = series.bundles[-1]
        else:
            raise LookaheadError(
                "these weights carry the date they have seen, and X has no dates to compare it with; give X as a "
                "DataFrame with a DatetimeIndex, or say undated='newest' if it ends after "
                f"{series.bundles[-1].trained_through:%Y-%m-%d}"
            )
        if bundle.family != FAMILY:
            raise ArtifactError(f"these weights are of family {bundle.family!r}, this model reads {FAMILY!r}")
        if bundle.feature_names != NODE_FEATURES:
            raise ArtifactError(
                f"these weights were trained on the node features {', '.join(bundle.feature_names)}; this version "
                f"makes {', '.join(NODE_FEATURES)}; train them again"
            )
        return bundle

    def input_gradients(
        self, X: npt.ArrayLike, *, rows: Sequence[int] | None = None, coefficients: npt.ArrayLike | None = None
    ) -> FloatArray:
        """Say how decisions move with every return that they were made from.

        The edges of the graph are held, their strengths move; the derivative is that of the whole decision, features,
        correlation, networks and constraints together. It needs no `fit` before, and torch.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, as in `fit`.
        rows : sequence of int, optional
            Decision rows, from 1; by default the last. Each sees the rows up to itself.
        coefficients : array-like of shape (n_assets,), optional
            Of the weights whose combination is differentiated: ones for some assets and zeros for the others ask about
            these. By default half the sign of weight less 1 / n, so that the number is the distance to equal weights.

        Returns
        -------
        ndarray of shape (n_decisions, n_observations, n_assets)
            NAV per unit of return; 0 for rows after a decision, for missing returns, and for all of an untrained
            network.

        Raises
        ------
        ParameterError
            If a row or a coefficient is not there, or the graph is of a covariance without a derivative here (known:
            `LedoitWolf` toward the identity, and given graphs).
        DataError
            If an asset has too short a history, or hardly varies.
        LookaheadError
            If there are no weights for a decision.

        Examples
        --------
        >>> X = 0.01 * np.random.default_rng(0).standard_normal((300, 4))
        >>> GraphAttentionPortfolio().input_gradients(X, rows=[280, 299]).shape
        (2, 300, 4)
        """
        from eigenfolio.learned.input_gradients import book_gradients

        return book_gradients(self, X, rows=rows, coefficients=coefficients)

    def _method(self, bundle: Bundle | None) -> str | pd.DataFrame:
        """The graph to make, which must be of the kind the weights were trained on."""
        if bundle is None:
            return "mst" if self.graph is None else self.graph
        trained = str(bundle.options["graph"])
        if self.graph is None and trained == "given":
            raise ParameterError("these weights were trained on a given graph; give it as graph= (a DataFrame)")
        asked = trained if self.graph is None else self.graph
        if graph_name(asked) != trained:
            raise ArtifactError(f"graph={graph_name(asked)!r}, but these weights were trained on graph {trained!r}")
        self._check_covariance(str(bundle.options["covariance"]), trained)
        return asked

    def _check_covariance(self, trained: str, method: str) -> None:
        """A covariance that is not given must be the one that the weights were trained on."""
        usual = type(default_covariance()).__name__
        if self.covariance_estimator is None and method != "given" and trained != usual:
            raise ParameterError(
                f"these weights were trained on graphs of {trained}; give covariance_estimator={trained}(...), or say "
                f"covariance_estimator={usual}(...) if another graph is meant"
            )

    def _constraints(self, bundle: Bundle | None) -> Constraints:
        """Those of the training, where they are not given."""
        trained: dict[str, Any] = {} if bundle is None else dict(bundle.options["constraints"])
        asked = {name: getattr(self, name) for name in ("max_weight", "max_turnover", "max_positions")}
        return Constraints(**{**trained, **{name: value for name, value in asked.items() if value is not None}})

    def _holdings(self, limits: Constraints, active: npt.NDArray[np.bool_], X: Any) -> Holdings | None:
        """What trades are counted from, where a limit on turnover reads it."""
        return None if limits.max_turnover is None else read_holdings(self.previous_weights, X, active)


class GraphEnsemble(_Portfolio):
    """The mean of the books of several portfolios, for example one per graph method.

    A mean of books within a cap, or within a turnover from the same previous weights, is within it too; a limit on
    positions is not kept by a mean.

    Parameters
    ----------
    portfolios : sequence of (str, BaseOptimization)
        Names and portfolios; cloned and fitted.
    portfolio_params : dict, optional
        Passed to the `Portfolio` that `predict` returns.
    fallback, previous_weights, raise_on_failure
        As in `skfolio.optimization.BaseOptimization`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
    portfolios_ : list of BaseOptimization
        Fitted, in their order.
    diagnostics_ : dict of str to float
        `spread`: mean of half the sum of absolute differences between a book and the mean of all; `turnover` and
        `turnover_limit`, the largest of the portfolios', where each of them has one and there are previous weights.

    Examples
    --------
    >>> X = 0.01 * np.random.default_rng(0).standard_normal((300, 6))
    >>> members = [(name, GraphAttentionPortfolio(graph=name)) for name in ("mst", "tmfg")]
    >>> GraphEnsemble(members).fit(X).weights_.round(4)
    array([0.1667, 0.1667, 0.1667, 0.1667, 0.1667, 0.1667])
    """

    def __init__(
        self,
        portfolios: Sequence[tuple[str, BaseOptimization]] = (),
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
        self.portfolios = portfolios

    @property
    def needs_previous_weights(self) -> bool:
        """True when one of the portfolios has a use for the weights held before; they are those of the mean."""
        return super().needs_previous_weights or any(one.needs_previous_weights for _, one in self.portfolios)

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Decide weights at the last row of X; see `GraphAttentionPortfolio.fit`.

        Raises
        ------
        ParameterError
            If there is no portfolio.
        """
        if not len(self.portfolios):
            raise ParameterError("an ensemble needs at least one portfolio; give portfolios=[(name, portfolio), ...]")
        check_returns(self, X, active_mask)
        told = {} if active_mask is None else {"active_mask": active_mask}
        self.portfolios_ = []
        for _, portfolio in self.portfolios:
            member = clone(portfolio)
            if self.previous_weights is not None:
                member.set_params(previous_weights=self.previous_weights)
            self.portfolios_.append(member.fit(X, **told))
        books = np.stack([member.weights_ for member in self.portfolios_])
        self.weights_ = books.mean(axis=0)
        self.diagnostics_ = {"spread": 0.5 * float(np.abs(books - self.weights_).sum(axis=1).mean())}
        limits = [told["turnover_limit"] for told in map(_told, self.portfolios_) if "turnover_limit" in told]
        held = read_holdings(self.previous_weights, X, np.ones(books.shape[1], dtype=bool))
        if held is not None and len(limits) == len(books):
            self.diagnostics_ |= {"turnover": held.turnover(self.weights_), "turnover_limit": max(limits)}
        return self


def _told(portfolio: BaseOptimization) -> dict[str, float]:
    return getattr(portfolio, "diagnostics_", {})


def _scores(bundle: Bundle, view: Any) -> FloatArray:
    from eigenfolio.models.networks.gat import score_assets  # torch is loaded where a network is asked

    graph = view.graph
    return score_assets(bundle.tensors, bundle.options["sizes"], view.features, graph.edge_index, graph.edge_attributes)


def _joined(books: FloatArray, limits: Constraints) -> FloatArray:
    """Mean of the members' books; where a number of positions is limited, the closest book to it."""
    mean: FloatArray = books.mean(axis=0)
    return mean if limits.max_positions is None else closest_book(mean, limits)


def _series(weights: Any) -> BundleSeries:
    if isinstance(weights, Bundle):
        return BundleSeries((weights,))
    if isinstance(weights, BundleSeries):
        return weights
    if isinstance(weights, str | PathLike):
        return stored_series(weights)
    raise ParameterError(f"weights must be None, a path, a Bundle or a BundleSeries, got {type(weights).__name__}")


def _trained_to_trade_little(weights: Any) -> bool:
    """Whether some bundle carries a limit on turnover; of weights that cannot be read `fit` says what is wrong."""
    if weights is None:
        return False
    try:
        bundles = _series(weights).bundles
    except EigenfolioError:
        return False
    return any(bundle.options.get("constraints", {}).get("max_turnover") is not None for bundle in bundles)
