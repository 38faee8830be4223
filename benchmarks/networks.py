"""The three shrinkage networks side by side, and the closed forms that they start from, out of sample.

Run as ``python benchmarks/networks.py FOLDER [--span choice|report] [--weights 2012] [--draws 1] [--jobs N]``; FOLDER
holds the panels of benchmarks/shrinkage.py, whose cells, books and dates these are (of the cells up to 200 assets). The
figure is the mean over windows of the log ratio of realised volatilities against Ledoit-Wolf toward the identity on the
correlation, in per cent, with a 95 % block-bootstrap interval over dates; negative is calmer. ``--attention`` and
``--dense`` take the folder of a bundle instead of what ships. A run of `report` counts as a look
(benchmarks/looks.txt).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from shrinkage import CELLS, COST, HORIZON, LOOKS, SPANS, log_volatility, members, read_returns, shown

from eigenfolio import LedoitWolf, NeuralShrinkage
from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.data import Decision
from eigenfolio.evaluation import walk_forward
from eigenfolio.models import QuadraticInverseShrinkage
from eigenfolio.parallel import run_tasks

REFERENCE = "Ledoit-Wolf"
LARGEST = 200


def models_of(weights: dict[str, str], lookback: int) -> dict[str, object]:
    """The networks and the two closed forms."""
    networks = {
        name: NeuralShrinkage(given, network=name if Path(given).name == given else None, lookback=lookback)
        for name, given in weights.items()
    }
    return {
        REFERENCE: LedoitWolf(on="correlation", lookback=lookback),
        "QIS + EWMA": QuadraticInverseShrinkage(
            on="correlation", unit_diagonal=False, volatility="ewma", lookback=lookback
        ),
        **networks,
    }


def cell(
    returns: pd.DataFrame, n_assets: int, lookback: int, span: tuple[str, str], draw: int, weights: dict[str, str]
) -> pd.DataFrame | None:
    """Squared returns and turnover per window, model and book; None where there are too few names."""
    order = np.random.default_rng([n_assets, lookback, draw]).permutation(returns.shape[1])
    first, last = returns.index.searchsorted(list(map(pd.Timestamp, span)))
    rows = list(range(max(first, lookback), last - HORIZON - 1, HORIZON))
    chosen = {row: members(returns, row, n_assets, lookback, order) for row in rows}
    rows = [row for row in rows if chosen[row].sum() == n_assets]
    if len(rows) < 12:
        return None
    decisions = [Decision(row, returns.index[row], row + 1, row + 1 + HORIZON) for row in rows]
    eligible = pd.DataFrame([chosen[row] for row in rows], index=returns.index[rows], columns=returns.columns)
    held = returns.columns[eligible.any().to_numpy()]
    books = {"unconstrained": UNCONSTRAINED, "long-only": Constraints(max_weight=0.10 if n_assets <= 40 else 0.05)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = walk_forward(
            models_of(weights, lookback),
            returns[held],
            decisions,
            books=books,
            eligible=eligible[held],
            cost_bps=COST,
            n_jobs=1,
        )
    frames = []
    for (model, book), track in result.tracks.items():
        squares = (track.returns**2).groupby(result.windows.to_numpy()).mean().to_numpy()
        told = {"date": returns.index[rows], "square": squares, "turnover": track.turnover.to_numpy()}
        frames.append(pd.DataFrame(told).assign(model=model, book=book, draw=draw))
    return pd.concat(frames)


def main() -> None:
    """Print a line per cell, book and model, and all cells of a panel together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--span", choices=list(SPANS), default="choice")
    parser.add_argument("--weights", default="2012")
    parser.add_argument("--attention", default=None)
    parser.add_argument("--dense", default=None)
    parser.add_argument("--panels", nargs="+", default=["us", "etf"])
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.span == "report":
        with LOOKS.open("a") as file:
            file.write(f"{pd.Timestamp.now():%Y-%m-%d %H:%M} networks weights={arguments.weights}\n")
    given = {"attention": arguments.attention, "dense": arguments.dense}
    weights = {"spectral": arguments.weights, **{name: path or arguments.weights for name, path in given.items()}}
    tasks, names = [], []
    for panel in arguments.panels:
        returns = read_returns(arguments.folder, panel)
        for n_assets, lookback in [shape for shape in CELLS[panel] if shape[0] <= LARGEST]:
            for draw in range(arguments.draws):
                tasks.append((returns, n_assets, lookback, SPANS[arguments.span], draw, weights))
                names.append((panel, n_assets, lookback))
    tables: dict[tuple[str, int, int], list[pd.DataFrame]] = {}
    for name, found in zip(names, run_tasks(cell, tasks, n_jobs=arguments.jobs), strict=True):
        if found is not None:
            tables.setdefault(name, []).append(found)
    together: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (panel, n_assets, lookback), parts in tables.items():
        table = pd.concat(parts)
        for book in ("unconstrained", "long-only"):
            logs = log_volatility(table, book)
            against = 100 * logs.sub(logs[REFERENCE], axis=0).drop(columns=REFERENCE).groupby("date").mean()
            together.setdefault((panel, book), []).append(against)
            for model in against.columns:
                print(f"{panel:>5} {n_assets:>4},{lookback:>5} {book:>13} {model:>10}: {shown(against[model])}")
    for (panel, book), frames in together.items():
        mean = pd.concat(frames).groupby(level=0).mean()
        print(f"\n{panel}, {book}, {len(frames)} cells together, {len(mean)} dates")
        for model in mean.columns:
            worst = max(frame[model].mean() for frame in frames)
            print(f"  {model:>10}: {shown(mean[model])}, worst cell {worst:+.2f}")


if __name__ == "__main__":
    main()
