"""Models for markets whose truth is known: told the future or the covariance, ridge regression, and a trained network.

The portfolios turn a score per asset into a book the same way, the one closest to 1/n + size * score / n under the cap
(`eigenfolio.projection`). `Foreseen` reads its scores from a table of later rows: with the true expected returns it is
the oracle, with the returns themselves it is a cheat, which a calibration must find. `LinearPortfolio` scores the same
node features as the graph network; with `neighbours` also their mean over the neighbours in the graph, which is what
one layer of the network could sum up without learning whom to listen to.

Time: a table is read `ahead` rows after the last row of X; with lag=1 a decision earns row 2 after it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.linear_model import RidgeCV

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError
from eigenfolio.features import AssetGraph
from eigenfolio.learned import GraphAttentionPortfolio
from eigenfolio.learned.asset_graphs import graph_view
from eigenfolio.learned.node_features import node_features
from eigenfolio.projection import closest_book
from eigenfolio.training.gat import GatTraining, gat_bundle, train_gat
from eigenfolio.training.graph_batches import Period

__all__ = [
    "SIZES",
    "Foreseen",
    "KnownCovariance",
    "LinearPortfolio",
    "fit_graph_attention",
    "fit_ridge",
    "linear_inputs",
    "path_sharpe",
]

FloatArray = npt.NDArray[np.float64]

SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Multiples of a score that are tried."""

PENALTIES = np.logspace(-2, 4, 13)
"""Of ridge regression; the best by leave-one-out error is taken."""


class Foreseen(BaseOptimization):
    """A book from scores that stand on later rows of a table.

    Parameters
    ----------
    table : DataFrame of shape (n_observations, n_assets)
        A score per row and asset, with the dates and assets of the panel.
    ahead : int
        Rows after the last row of X that is read.
    size : float
        Multiple of the score.
    max_weight : float in (0, 1]
        Cap of each asset.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=3)
    >>> later = pd.DataFrame([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]], index=days, columns=["A", "B"])
    >>> Foreseen(later, ahead=2, size=0.5).fit(later.iloc[:1]).weights_
    array([0.75, 0.25])
    """

    def __init__(
        self, table: pd.DataFrame | None = None, *, ahead: int = 2, size: float = 1.0, max_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.table = table
        self.ahead = ahead
        self.size = size
        self.max_weight = max_weight

    def fit(self, X: pd.DataFrame, y: None = None, **fit_params: Any) -> Self:
        """Read the scores that stand `ahead` rows after the last row of X."""
        if self.table is None:
            raise DataError("Foreseen needs table=, scores with the dates and assets of the panel")
        (last,) = self.table.index.get_indexer(X.index[-1:])
        row = int(last) + self.ahead
        if last < 0 or row >= len(self.table):
            raise DataError(
                f"the table has no row {self.ahead} after {X.index[-1]}; give it the dates of the panel, and end the "
                "decisions before it ends"
            )
        self.weights_ = _book(self.table.iloc[row][X.columns].to_numpy(dtype=float), self.size, self.max_weight)
        return self


class KnownCovariance(BaseCovariance):
    """A covariance that is known beforehand and not estimated.

    Parameters
    ----------
    truth : DataFrame of shape (n_assets, n_assets)
        By asset name, squared return per period.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Of the assets of X.

    Examples
    --------
    >>> truth = pd.DataFrame(np.diag([1.0, 4.0]), index=["A", "B"], columns=["A", "B"])
    >>> KnownCovariance(truth).fit(pd.DataFrame({"B": [0.0, 0.1]})).covariance_
    array([[4.]])
    """

    def __init__(self, truth: pd.DataFrame | None = None) -> None:
        super().__init__()
        self.truth = truth

    def fit(self, X: pd.DataFrame, y: None = None, **fit_params: Any) -> Self:
        """Look up the assets of X."""
        if self.truth is None:
            raise DataError("KnownCovariance needs truth=, a covariance by asset name")
        self.covariance_ = self.truth.loc[X.columns, X.columns].to_numpy(dtype=float)
        return self


class LinearPortfolio(BaseOptimization):
    """A book from a linear function of node features.

    Parameters
    ----------
    coefficients : ndarray of shape (n_inputs,)
        Of `linear_inputs`, for a score of about unit standard deviation.
    graph : str or DataFrame
        Graph whose neighbours are averaged, as in `GraphAttentionPortfolio`; read with `neighbours` only.
    neighbours : bool
        Whether the inputs hold the neighbours' means as well.
    size : float
        Multiple of the score.
    max_weight : float in (0, 1]
        Cap of each asset.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)

    Examples
    --------
    >>> X = pd.DataFrame(0.01 * np.random.default_rng(0).standard_normal((300, 4)))
    >>> LinearPortfolio(np.zeros(10)).fit(X).weights_
    array([0.25, 0.25, 0.25, 0.25])
    """

    def __init__(
        self,
        coefficients: FloatArray | None = None,
        *,
        graph: str | pd.DataFrame = "mst",
        neighbours: bool = False,
        size: float = 1.0,
        max_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.coefficients = coefficients
        self.graph = graph
        self.neighbours = neighbours
        self.size = size
        self.max_weight = max_weight

    def fit(self, X: pd.DataFrame, y: None = None, **fit_params: Any) -> Self:
        """Score the assets at the last row of X."""
        if self.coefficients is None:
            raise DataError("LinearPortfolio needs coefficients=, one per input; fit_ridge finds them")
        if self.neighbours:
            view = graph_view(X, np.ones(X.shape[1], dtype=bool), graph=self.graph)
            inputs = linear_inputs(view.features, view.graph, neighbours=True)
        else:
            inputs = node_features(X)
        self.weights_ = _book(inputs @ self.coefficients, self.size, self.max_weight)
        return self


def linear_inputs(features: FloatArray, graph: AssetGraph, *, neighbours: bool) -> FloatArray:
    """Node features, and beside them their mean over the neighbours if asked for.

    Parameters
    ----------
    features : ndarray of shape (n_assets, n_features)
    graph : AssetGraph
        Over the same assets.
    neighbours : bool

    Returns
    -------
    ndarray of shape (n_assets, n_features) or (n_assets, 2 * n_features)
        The mean of an asset without neighbours is 0.

    Examples
    --------
    >>> graph = AssetGraph(3, np.array([[0], [1]]), np.ones((1, 3)))
    >>> linear_inputs(np.array([[1.0], [2.0], [4.0]]), graph, neighbours=True)
    array([[1., 2.],
           [2., 1.],
           [4., 0.]])
    """
    if not neighbours:
        return features
    joined = np.zeros((len(features), len(features)))
    joined[graph.edge_index[0], graph.edge_index[1]] = joined[graph.edge_index[1], graph.edge_index[0]] = 1.0
    counts = np.maximum(joined.sum(axis=1, keepdims=True), 1.0)
    return np.hstack([features, joined @ features / counts])


def fit_ridge(
    taught: Sequence[Period],
    stopping: Sequence[Period],
    *,
    graph: str | pd.DataFrame,
    neighbours: bool,
    options: GatTraining,
) -> LinearPortfolio:
    """Ridge regression of what assets earn beyond the others, on what a graph network is shown.

    Parameters
    ----------
    taught : sequence of Period
        What coefficients and penalty (by leave-one-out error) come from.
    stopping : sequence of Period
        Later ones, which the multiple of the score is chosen on, by net Sharpe ratio.
    graph : str or DataFrame
        That of the periods.
    neighbours : bool
        Whether the neighbours' means are inputs.
    options : GatTraining
        Costs and cap, those of the network beside.

    Returns
    -------
    LinearPortfolio
    """
    inputs = np.vstack([linear_inputs(one.features, one.graph, neighbours=neighbours) for one in taught])
    earned = np.concatenate([one.growth[-1] - one.growth[-1].mean() for one in taught])
    found = RidgeCV(alphas=PENALTIES, fit_intercept=False).fit(inputs, earned / earned.std())
    scale = float((inputs @ found.coef_).std())
    coefficients = found.coef_ / scale if scale > 0.0 else found.coef_
    scores = [linear_inputs(one.features, one.graph, neighbours=neighbours) @ coefficients for one in stopping]
    worth = {
        size: path_sharpe(
            [_book(score, size, options.max_weight) for score in scores], stopping, cost_bps=options.cost_bps
        )
        for size in SIZES
    }
    best = max(worth, key=lambda size: worth[size])
    return LinearPortfolio(coefficients, graph=graph, neighbours=neighbours, size=best, max_weight=options.max_weight)


def fit_graph_attention(
    taught: Sequence[Period],
    stopping: Sequence[Period],
    *,
    graph: str | pd.DataFrame,
    options: GatTraining,
    seed: int,
) -> GraphAttentionPortfolio:
    """Train a graph-attention network and hand it over as the portfolio that decides with it.

    Parameters
    ----------
    taught, stopping : sequence of Period
        Training and, after it, the periods of early stopping.
    graph : str or DataFrame
        That of the periods.
    options : GatTraining
    seed : int

    Returns
    -------
    GraphAttentionPortfolio
        It refuses rows that end before the last of `stopping`.
    """
    trained = train_gat(taught, stopping, options=options, seed=seed)
    name = "given" if isinstance(graph, pd.DataFrame) else graph
    bundle = gat_bundle([trained], graph=name, options=options, trained_through=stopping[-1].last)
    return GraphAttentionPortfolio(bundle, graph=graph)


def path_sharpe(books: Sequence[FloatArray], periods: Sequence[Period], *, cost_bps: float) -> float:
    """Sharpe ratio per row of books held one after the other, net of what trading from the drifted ones costs.

    Parameters
    ----------
    books : sequence of ndarray of shape (n_assets,)
        One per period, all of the same assets.
    periods : sequence of Period
        What the assets do while each is held.
    cost_bps : float
        Per unit traded, in basis points.

    Returns
    -------
    float
        0 where nothing varies.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> rows = [SimpleNamespace(growth=np.array([[1.0 + r, 1.0]])) for r in (0.02, 0.04)]
    >>> round(path_sharpe([np.array([0.5, 0.5])] * 2, rows, cost_bps=0.0), 3)
    3.0
    """
    earned: list[FloatArray] = []
    held = np.zeros_like(books[0])
    for book, period in zip(books, periods, strict=True):
        values = np.concatenate([[1.0], period.growth @ book])
        rows = values[1:] / values[:-1] - 1.0
        rows[0] -= cost_bps / 1e4 * float(np.abs(book - held).sum())
        earned.append(rows)
        held = period.growth[-1] * book / values[-1]
    path = np.concatenate(earned)
    spread = float(path.std())
    return float(path.mean()) / spread if spread > 0.0 else 0.0


def _book(scores: FloatArray, size: float, max_weight: float) -> FloatArray:
    return closest_book((1.0 + size * scores) / len(scores), Constraints(max_weight=max_weight))
