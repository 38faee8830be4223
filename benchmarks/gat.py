"""Graph-attention portfolios: time of a sweep, worth of a planted graph, and that a null market is worth nothing.

    python benchmarks/gat.py --speed                 # 5 graphs x 12 dates x 100 assets, default network
    python benchmarks/gat.py --planted 5             # seeds: share of the oracle's net Sharpe ratio
    python benchmarks/gat.py --null 20               # seeds: excess Sharpe ratio over equal weights, 99 % interval
    python benchmarks/gat.py --join ../shared/data us.parquet   # the panel that a sweep on real data reads

Real data: stocks that are listed still and stocks that are gone, as one panel of prices; then, with the universe drawn
by name among all that are covered on a date,

    eigenfolio train gat gat.yaml --data us.parquet

    # gat.yaml: 100 names, three seeds; 400 names with one seed likewise
    universe: {max_assets: 100, min_assets: 50}
    training: {max_weight: 0.05}

Speed: the twelve graphs of a sweep train the default network of 198,177 parameters (up to 30 epochs, one path of twelve
months as a sample, early stopping on the last four), once for each graph method; one BLAS thread, one process per
method, `--jobs` of them at a time. The time holds covariances, graphs, features and training.

Planted: 24 assets on a ring lead each other (`eigenfolio.data.synthetic.lead_lag_market`, information coefficient 0.3,
one common factor, delay 2); daily decisions, cap 15 %, 5 bp per unit traded. The oracle holds the closest book to the
best multiple of the true expected returns. Null: normal rows of the same covariance, without cost.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import t as student

from eigenfolio.constraints import Constraints
from eigenfolio.data import Decision
from eigenfolio.data.synthetic import PlantedMarket, factor_market, lead_lag_market, null_market
from eigenfolio.features import GRAPH_METHODS
from eigenfolio.models.networks.gat import score_assets
from eigenfolio.parallel import run_tasks
from eigenfolio.projection import closest_book
from eigenfolio.training.gat import GatTraining, TrainedGat, train_gat
from eigenfolio.training.graph_batches import Period, make_period
from eigenfolio.training.loop import LoopOptions

FloatArray = npt.NDArray[np.float64]

SMALL = GatTraining(
    widths=(16, 16),
    n_heads=2,
    readout=16,
    dropout=0.0,
    cost_bps=5.0,
    max_weight=0.15,
    block=30,
    stride=30,
    loop=LoopOptions(max_epochs=40, patience=12, batch_size=4, learning_rate=5e-3),
)
FIRST, TAUGHT, STOPPING, UNSEEN = 255, 596, (600, 747), (752, 997)


def one_method(returns: pd.DataFrame, graph: str, decisions: list[Decision], epochs: int) -> dict[str, Any]:
    """Everything that one graph method of a sweep takes."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    everyone = np.ones(returns.shape[1], dtype=bool)
    last = decisions[8].row
    taught = [make_period(returns, decision, everyone, graph=graph, last_row=last) for decision in decisions[:8]]
    stopping = [make_period(returns, decision, everyone, graph=graph) for decision in decisions[8:]]
    ready = time.perf_counter()
    loop = LoopOptions(max_epochs=epochs, patience=15, batch_size=2)
    trained = train_gat(taught, stopping, options=GatTraining(block=4, stride=1, max_weight=0.05, loop=loop), seed=1)
    return {
        "graph": graph,
        "edges": taught[-1].graph.n_edges,
        "prepare_s": ready - began,
        "train_s": trained.seconds,
        "epochs": len(trained.history.epochs) - 1,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def speed(n_jobs: int, n_assets: int, epochs: int) -> None:
    """Print the time of a sweep."""
    returns = factor_market(n_assets, 252 + 13 * 21 + 2, seed=1).panel.returns
    index = returns.index
    rows = range(252, 252 + 12 * 21, 21)
    decisions = [Decision(row, index[row], row + 2, row + 23) for row in rows]
    began = time.perf_counter()
    found = run_tasks(one_method, [(returns, graph, decisions, epochs) for graph in GRAPH_METHODS], n_jobs=n_jobs)
    total = time.perf_counter() - began
    print(pd.DataFrame(found).round(1).to_string(index=False))
    print(
        f"sweep of {len(found)} graphs x 12 dates x {n_assets} assets, {n_jobs} processes: {total:.0f} s (budget 300 s)"
    )


def ring(seed: int) -> tuple[PlantedMarket, pd.DataFrame]:
    """A market whose assets are led by their two neighbours on a ring, and the ring."""
    order = np.random.default_rng(seed).permutation(24)
    pairs = np.stack([order, np.roll(order, 1)])
    edges = np.concatenate([pairs, pairs[::-1]], axis=1)
    market = lead_lag_market(24, 1000, information_coefficient=0.3, edge_index=edges, n_factors=1, seed=seed)
    strengths = np.zeros((24, 24))
    strengths[edges[0], edges[1]] = 1.0
    names = market.panel.returns.columns
    return market, pd.DataFrame(strengths, index=names, columns=names)


def daily(returns: pd.DataFrame, graph: pd.DataFrame, first: int, stop: int) -> list[Period]:
    """One decision per row, each held for one."""
    everyone = np.ones(returns.shape[1], dtype=bool)
    return [
        make_period(returns, Decision(row, returns.index[row], row + 2, row + 3), everyone, graph=graph)
        for row in range(first, stop)
    ]


def books(trained: TrainedGat, options: GatTraining, periods: list[Period]) -> FloatArray:
    """What the network holds."""
    tensors = {name: tensor.numpy()[None] for name, tensor in trained.network.state_dict().items()}
    held = []
    for one in periods:
        edges = one.graph
        scores = score_assets(tensors, options.sizes, one.features, edges.edge_index, edges.edge_attributes)[0]
        held.append(closest_book((1 + scores) / len(scores), options.constraints))
    return np.array(held)


def net_sharpe(weights: FloatArray, periods: list[Period], cost_bps: float) -> float:
    """Annualised, of books held one row each."""
    held, earned = None, []
    for book, period in zip(weights, periods, strict=True):
        grown = book * period.growth[-1]
        cost = 0.0 if held is None else cost_bps / 1e4 * float(np.abs(book - held).sum())
        earned.append(grown.sum() - 1.0 - cost)
        held = grown / grown.sum()
    return float(np.mean(earned) / np.std(earned) * np.sqrt(252))


def learned_sharpe(
    returns: pd.DataFrame, graph: pd.DataFrame, options: GatTraining, seed: int
) -> tuple[float, list[Period]]:
    """Train on the earlier rows, judge on the last."""
    taught, stopping, unseen = (daily(returns, graph, *span) for span in ((FIRST, TAUGHT), STOPPING, UNSEEN))
    trained = train_gat(taught, stopping, options=options, seed=seed)
    return net_sharpe(books(trained, options, unseen), unseen, options.cost_bps), unseen


def planted_seed(seed: int) -> dict[str, float]:
    """One market: net Sharpe ratios of the network with edges, without, and of the oracle."""
    torch.set_num_threads(1)
    market, graph = ring(seed)
    returns = market.panel.returns
    edges, unseen = learned_sharpe(returns, graph, SMALL, seed)
    none, _ = learned_sharpe(returns, 0.0 * graph, SMALL, seed)
    expected = market.expected_returns.to_numpy()
    rows = returns.index.get_indexer([period.last for period in unseen])
    limits, scale = Constraints(max_weight=SMALL.max_weight), expected[rows].std()
    oracle = max(
        net_sharpe(
            np.array([closest_book((1 + size * expected[row] / scale) / 24, limits) for row in rows]),
            unseen,
            SMALL.cost_bps,
        )
        for size in (2.0, 5.0, 10.0, 20.0, 40.0)
    )
    return {"seed": seed, "oracle": oracle, "edges": edges, "none": none, "share": edges / oracle}


def planted(n_seeds: int, n_jobs: int) -> None:
    """Print the share of the oracle's net Sharpe ratio."""
    found = pd.DataFrame(run_tasks(planted_seed, [(seed,) for seed in range(n_seeds)], n_jobs=n_jobs))
    print(found.round(2).to_string(index=False))
    print(f"share of the oracle: mean {found['share'].mean():.2f}, least {found['share'].min():.2f} (to hold: 0.60)")


def null_seed(seed: int) -> float:
    """One null market: Sharpe ratio less that of equal weights, without cost."""
    torch.set_num_threads(1)
    market, graph = ring(seed)
    returns = null_market(market.covariance, 1000, seed=1000 + seed).panel.returns
    options = SMALL.model_copy(update={"cost_bps": 0.0})
    ours, unseen = learned_sharpe(returns, graph, options, seed)
    return ours - net_sharpe(np.full((len(unseen), 24), 1 / 24), unseen, 0.0)


def null(n_seeds: int, n_jobs: int) -> None:
    """Print the excess Sharpe ratio and its interval."""
    found = np.array(run_tasks(null_seed, [(seed,) for seed in range(n_seeds)], n_jobs=n_jobs))
    half = student.ppf(0.995, n_seeds - 1) * found.std(ddof=1) / np.sqrt(n_seeds)
    verdict = "no edge" if abs(found.mean()) < half else "AN EDGE WHERE THERE IS NONE"
    print(
        f"{n_seeds} null markets: excess Sharpe ratio {found.mean():+.2f}, 99 % interval {found.mean() - half:+.2f} to "
        f"{found.mean() + half:+.2f}: {verdict}"
    )


def join(folder: Path, out: Path) -> None:
    """Write both panels of stocks as one; a ticker that both have is told apart by a suffix."""
    listed, gone = (pd.read_parquet(folder / f"us_{name}_adj_close.parquet") for name in ("equity", "gone_by_2024"))
    gone = gone.rename(columns={name: f"{name}.gone" for name in gone.columns.intersection(listed.columns)})
    listed.join(gone).to_parquet(out)
    print(f"{listed.shape[1]} + {gone.shape[1]} stocks in {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--planted", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--null", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--join", nargs=2, type=Path, metavar=("FOLDER", "OUT"))
    told = parser.parse_args()
    if told.join:
        join(*told.join)
    if told.speed:
        speed(told.jobs, told.assets, told.epochs)
    if told.planted:
        planted(told.planted, told.jobs)
    if told.null:
        null(told.null, told.jobs)


if __name__ == "__main__":
    main()
