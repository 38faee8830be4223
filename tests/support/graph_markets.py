"""A market whose assets lead each other around a ring, and networks trained on it."""

import numpy as np
import pandas as pd

from eigenfolio.constraints import Constraints
from eigenfolio.data import Decision
from eigenfolio.data.synthetic import lead_lag_market
from eigenfolio.models.networks.gat import score_assets
from eigenfolio.projection import closest_book
from eigenfolio.training.gat import GatTraining
from eigenfolio.training.graph_batches import make_period
from eigenfolio.training.loop import LoopOptions

SMALL = GatTraining(
    widths=(16, 16),
    n_heads=2,
    readout=16,
    dropout=0.0,
    cost_bps=5.0,
    max_weight=0.15,
    block=30,
    stride=30,
    loop=LoopOptions(max_epochs=30, patience=10, batch_size=4, learning_rate=5e-3),
)
FIRST = 255  # rows before the first decision


def ring_market(n_assets=24, n_rows=1000, *, coefficient=0.3, seed=0):
    """The market, and its graph as a table of strengths by name; both neighbours on the ring lead an asset."""
    order = np.random.default_rng(seed).permutation(n_assets)
    pairs = np.stack([order, np.roll(order, 1)])
    edges = np.concatenate([pairs, pairs[::-1]], axis=1)
    market = lead_lag_market(
        n_assets, n_rows, information_coefficient=coefficient, edge_index=edges, n_factors=1, seed=seed
    )
    names = market.panel.returns.columns
    strengths = np.zeros((n_assets, n_assets))
    strengths[edges[0], edges[1]] = 1.0
    return market, pd.DataFrame(strengths, index=names, columns=names)


def daily_periods(returns, graph, first, stop):
    """A decision on every row from `first` to `stop` (left out), each held for the one row it earns with lag 1."""
    everyone = np.ones(returns.shape[1], dtype=bool)
    index = returns.index
    return [
        make_period(returns, Decision(row, index[row], row + 2, row + 3), everyone, graph=graph)
        for row in range(first, stop)
    ]


def books(trained, options, periods):
    """What a trained network holds in each period."""
    tensors = {name: tensor.numpy()[None] for name, tensor in trained.network.state_dict().items()}
    held = []
    for period in periods:
        graph = period.graph
        scores = score_assets(tensors, options.sizes, period.features, graph.edge_index, graph.edge_attributes)[0]
        held.append(closest_book((1 + scores) / len(scores), options.constraints))
    return np.array(held)


def oracle_books(market, periods, *, max_weight):
    """What the true expected returns would hold, in their best multiple."""
    expected = market.expected_returns.to_numpy()
    rows = market.panel.returns.index.get_indexer([period.last for period in periods])
    scale = expected[rows].std()
    limits = Constraints(max_weight=max_weight)
    return {
        size: np.array([closest_book((1 + size * expected[row] / scale) / expected.shape[1], limits) for row in rows])
        for size in (2.0, 5.0, 10.0, 20.0, 40.0)
    }


def net_sharpe(weights, periods, *, cost_bps):
    """Annualised Sharpe ratio of books held one row each, by the slow way."""
    held, earned = None, []
    for book, period in zip(weights, periods, strict=True):
        grown = book * period.growth[-1]
        cost = 0.0 if held is None else cost_bps / 1e4 * np.abs(book - held).sum()
        earned.append(grown.sum() - 1.0 - cost)
        held = grown / grown.sum()
    return float(np.mean(earned) / np.std(earned) * np.sqrt(252))
