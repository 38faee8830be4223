"""What a graph network sees on a date: the assets that take part, their features, and the graph between them.

Training and inference make it by this one function, from rows up to the decision. The graph is one of the five
methods of `eigenfolio.features.GRAPH_METHODS` on the correlation of a covariance estimator, or a table of known
strengths between assets by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.moments import BaseCovariance
from sklearn.base import clone

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features import GRAPH_METHODS, AssetGraph
from eigenfolio.learned.node_features import node_features
from eigenfolio.linalg import covariance_to_correlation
from eigenfolio.models import CovarianceModel, LedoitWolf

__all__ = ["GraphView", "default_covariance", "graph_name", "graph_view"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GraphView:
    """The assets of one date as a graph.

    Parameters
    ----------
    features : ndarray of shape (n_active, 10)
    graph : AssetGraph
        Over the active assets.
    covariance_estimator : BaseCovariance or None
        The fitted one; None where the graph was given.
    """

    features: FloatArray
    graph: AssetGraph
    covariance_estimator: BaseCovariance | None


def default_covariance() -> BaseCovariance:
    """Ledoit-Wolf shrinkage of the last 252 rows."""
    return LedoitWolf(lookback=252)


def graph_name(graph: str | pd.DataFrame) -> str:
    """Name of a graph method, "given" for a table.

    Raises
    ------
    ParameterError
        If there is no such method.

    Examples
    --------
    >>> graph_name("mst")
    'mst'
    """
    if isinstance(graph, pd.DataFrame):
        return "given"
    if not isinstance(graph, str) or graph not in GRAPH_METHODS:
        raise ParameterError(
            f"graph must be one of {', '.join(GRAPH_METHODS)}, or a DataFrame of strengths by asset, got {graph!r}"
        )
    return graph


def graph_view(
    past: Any, active: BoolArray, *, graph: str | pd.DataFrame, covariance_estimator: BaseCovariance | None = None
) -> GraphView:
    """What the network sees at the last row.

    Parameters
    ----------
    past : DataFrame or ndarray of shape (n_observations, n_assets)
        Simple returns up to the decision, NaN where missing.
    active : ndarray of bool, shape (n_assets,)
        Assets that take part.
    graph : str or DataFrame
        A method, or strengths in [-1, 1] by asset name, symmetric; an edge where not zero.
    covariance_estimator : BaseCovariance, optional
        Cloned and fitted on the active assets; `default_covariance` without it.

    Returns
    -------
    GraphView

    Raises
    ------
    DataError
        If a given graph lacks an active asset, or assets have no names to look up, or there are fewer than four assets
        for a TMFG.
    ParameterError
        If the graph or the estimator is not what it must be, or there are k assets or fewer for k neighbours.
    """
    graph_name(graph)
    shown = past.loc[:, active] if isinstance(past, pd.DataFrame) else past[:, active]
    features = node_features(shown)
    if isinstance(graph, pd.DataFrame):
        return GraphView(features, _given_graph(graph, shown), None)
    if len(features) == 1:
        alone = AssetGraph(1, np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3)))
        return GraphView(features, alone, None)
    estimator = default_covariance() if covariance_estimator is None else clone(covariance_estimator)
    if not isinstance(estimator, BaseCovariance):
        raise ParameterError(f"covariance_estimator must be a skfolio BaseCovariance, got {type(estimator).__name__}")
    if isinstance(estimator, CovarianceModel):  # it would look again for who is active, and has no mask here
        estimator.fit(shown, active_mask=np.ones(shown.shape, dtype=bool))
    else:
        estimator.fit(shown)
    correlation, _ = covariance_to_correlation(np.asarray(estimator.covariance_, dtype=float))
    return GraphView(features, GRAPH_METHODS[graph](np.clip(correlation, -1.0, 1.0)), estimator)


def _given_graph(table: pd.DataFrame, shown: Any) -> AssetGraph:
    if not isinstance(shown, pd.DataFrame):
        raise DataError("a graph given by asset names needs X as a DataFrame with these names as columns")
    absent = [str(name) for name in shown.columns if name not in table.index or name not in table.columns]
    if absent:
        raise DataError(f"the given graph lacks {len(absent)} assets of X: {', '.join(absent[:5])}; add their rows")
    strengths = table.loc[shown.columns, shown.columns].to_numpy(dtype=float)
    if not np.isfinite(strengths).all() or np.abs(strengths).max() > 1.0 or not np.array_equal(strengths, strengths.T):
        raise ParameterError("a given graph must be symmetric, with strengths in [-1, 1] and 0 where there is no edge")
    edges = np.stack(np.nonzero(np.triu(strengths, 1))).astype(np.int64)
    return _with_strengths(len(strengths), edges, strengths)


def _with_strengths(n_assets: int, edges: npt.NDArray[np.int64], strengths: FloatArray) -> AssetGraph:
    rho = strengths[edges[0], edges[1]]
    return AssetGraph(n_assets, edges, np.column_stack([rho, np.abs(rho), np.sign(rho)]))
