"""Decisions as graphs, cut into blocks of consecutive periods and joined into one graph per batch.

A period is a decision: what the network sees of it, and how the assets grow while the book is held. A sample is a block
of consecutive periods, over whose daily path a loss is taken. The graphs of all periods of a batch, each counted once
however many blocks it is in, are laid side by side as one graph without edges between them, so that graphs of any
sizes go through the network in one call, which takes a few of them at a time, and nothing is padded inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from skfolio.moments import BaseCovariance
from torch import Tensor

from eigenfolio.data import Decision
from eigenfolio.errors import DataError
from eigenfolio.features import AssetGraph
from eigenfolio.learned.asset_graphs import graph_view
from eigenfolio.models.networks.gat import message_edges
from eigenfolio.models.window import active_assets

__all__ = ["GraphBatch", "GraphBlocks", "Period", "make_period", "path_growth"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Period:
    """One decision and the rows that its book is held.

    Parameters
    ----------
    date : Timestamp
        Of the decision, the last row that `features` and `graph` know.
    last : Timestamp
        Of the last row held, the last that `growth` knows.
    columns : ndarray of int, shape (n_active,)
        Columns of the panel that take part.
    features : ndarray of shape (n_active, n_features)
    graph : AssetGraph
    growth : ndarray of shape (n_rows, n_active)
        Value of one unit held since the trade, after each row held.
    """

    date: pd.Timestamp
    last: pd.Timestamp
    columns: npt.NDArray[np.intp]
    features: FloatArray
    graph: AssetGraph
    growth: FloatArray


def path_growth(returns: FloatArray) -> FloatArray:
    """Value of one unit after each row; a missing return is zero.

    Examples
    --------
    >>> path_growth(np.array([[0.1], [np.nan], [0.1]])).ravel().round(2).tolist()
    [1.1, 1.1, 1.21]
    """
    return np.cumprod(1.0 + np.nan_to_num(returns, nan=0.0), axis=0, dtype=np.float64)


def make_period(
    returns: pd.DataFrame,
    decision: Decision,
    eligible: npt.NDArray[np.bool_],
    *,
    graph: str | pd.DataFrame,
    covariance_estimator: BaseCovariance | None = None,
    last_row: int | None = None,
) -> Period:
    """The period of one decision.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns.
    decision : Decision
        Its row is the last one seen; rows `start` to `stop` (left out) are held.
    eligible : ndarray of bool, shape (n_assets,)
        Assets that may be held; those without a return in the last 21 rows take no part.
    graph, covariance_estimator
        As in `eigenfolio.learned.asset_graphs.graph_view`.
    last_row : int, optional
        Last row that may be looked at; holding ends there.

    Returns
    -------
    Period

    Raises
    ------
    DataError
        If no row is held.
    """
    stop = decision.stop if last_row is None else min(decision.stop, last_row + 1)
    if stop <= decision.start:
        raise DataError(f"the decision of {decision.date:%Y-%m-%d} is held for no row before its span ends")
    past = returns.iloc[: decision.row + 1]
    columns = np.flatnonzero(eligible)
    columns = columns[active_assets(past.to_numpy(dtype=float)[:, columns])]
    taken = np.isin(np.arange(returns.shape[1]), columns)
    view = graph_view(past, taken, graph=graph, covariance_estimator=covariance_estimator)
    held = returns.iloc[decision.start : stop]
    growth = path_growth(held.to_numpy(dtype=float)[:, columns])
    return Period(decision.date, held.index[-1], columns, view.features, view.graph, growth)


@dataclass(frozen=True)
class GraphBatch:
    """Blocks of periods, with the graphs of their periods side by side.

    Parameters
    ----------
    features : Tensor of shape (n_nodes, n_features)
    edge_index : Tensor of int64, shape (2, n_edges)
    edge_attributes : Tensor of shape (n_edges, 3)
    sizes : Tensor of int64, shape (n_graphs, 2)
        Nodes and edges of every graph.
    place : Tensor of int64, shape (n_nodes,)
        Position of every node in a table of (n_graphs, n_columns), row by row.
    present : Tensor of bool, shape (n_graphs, n_columns)
    growth : Tensor of shape (n_graphs, n_rows, n_columns)
        Of every graph; one where absent, the last value where its rows have ended.
    held : Tensor of bool, shape (n_graphs, n_rows)
        Rows that are there.
    blocks : Tensor of int64, shape (n_samples, n_periods)
        Graph of every period of every block.
    """

    features: Tensor
    edge_index: Tensor
    edge_attributes: Tensor
    sizes: Tensor
    place: Tensor
    present: Tensor
    growth: Tensor
    held: Tensor
    blocks: Tensor

    def spread(self, scores: Tensor) -> Tensor:
        """Scores of nodes, (..., n_nodes), as a table (..., n_graphs, n_columns), 0 where absent."""
        table = scores.new_zeros(*scores.shape[:-1], self.present.numel())
        table = table.index_copy(-1, self.place, scores)
        return table.reshape(*scores.shape[:-1], *self.present.shape)


class GraphBlocks:
    """Samples for `eigenfolio.training.fit`: blocks of consecutive periods.

    Parameters
    ----------
    periods : sequence of Period
        In the order of time.
    n_periods : int
        Periods of a block; all where there are fewer.
    stride : int
        Periods from the start of a block to the start of the next; the last block ends with the last period.

    Raises
    ------
    DataError
        If there is no period.
    """

    def __init__(self, periods: Sequence[Period], *, n_periods: int = 12, stride: int = 3) -> None:
        if not periods:
            raise DataError("training needs at least one period, got none; give a longer span or shorter lookbacks")
        self.periods = tuple(periods)
        size = min(n_periods, len(periods))
        last = len(periods) - size
        starts = list(range(last % stride, last + 1, stride))
        self._blocks = np.array([np.arange(start, start + size) for start in starts])
        used = np.unique(np.concatenate([period.columns for period in periods]))
        self._at = {int(column): i for i, column in enumerate(used)}
        self._rows = max(len(period.growth) for period in periods)
        self._graphs = [_tensors(period) for period in periods]

    def __len__(self) -> int:
        return len(self._blocks)

    def take(self, rows: Tensor) -> GraphBatch:
        """Batch of these blocks."""
        blocks = self._blocks[rows.numpy()]
        wanted, places = np.unique(blocks, return_inverse=True)
        n_columns = len(self._at)
        sizes = [len(self.periods[i].columns) for i in wanted]
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        graphs = [self._graphs[i] for i in wanted]
        place, present = [], torch.zeros(len(wanted), n_columns, dtype=torch.bool)
        growth = torch.ones(len(wanted), self._rows, n_columns, dtype=torch.float64)
        held = torch.zeros(len(wanted), self._rows, dtype=torch.bool)
        for g, i in enumerate(wanted):
            period = self.periods[i]
            at = torch.tensor([self._at[int(column)] for column in period.columns])
            n_rows = len(period.growth)
            values = torch.from_numpy(period.growth)
            growth[g, :n_rows, at] = values
            growth[g, n_rows:, at] = values[-1]
            held[g, :n_rows] = True
            present[g, at] = True
            place.append(g * n_columns + at)
        return GraphBatch(
            torch.cat([features for features, _, _ in graphs]),
            torch.cat([index + int(offset) for (_, index, _), offset in zip(graphs, offsets, strict=True)], dim=1),
            torch.cat([attributes for _, _, attributes in graphs]),
            torch.tensor([(len(features), len(attributes)) for features, _, attributes in graphs]),
            torch.cat(place),
            present,
            growth,
            held,
            torch.from_numpy(places.reshape(blocks.shape)),
        )


def _tensors(period: Period) -> tuple[Tensor, Tensor, Tensor]:
    graph = period.graph
    index, attributes = message_edges(graph.n_assets, graph.edge_index, graph.edge_attributes)
    return (
        torch.from_numpy(period.features.astype(np.float32)),
        torch.from_numpy(np.array(index, dtype=np.int64)),
        torch.from_numpy(attributes.astype(np.float32)),
    )
