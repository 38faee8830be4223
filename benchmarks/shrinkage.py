"""Learned shrinkage against the best fixed estimators, cell by cell, out of sample.

Run as ``python benchmarks/shrinkage.py FOLDER [--span choice|report] [--weights 2012|PATH] [--panels us etf ...]
[--jobs N]``; FOLDER holds the panels (us_equity_adj_close.parquet and its neighbours). A cell is a panel, a number of
assets N and a look-back T. Every 21 rows, the first N names in a fixed random order that were quoted on all of the last
T rows, and moved on nine tenths of them, are held for 21 rows in two books: unconstrained minimum variance, and
long-only with a cap of 5 % (10 % up to 40 assets). A name that ends keeps its loss, weights drift, and trades from the
drifted weights cost 10 bp. Each cell is drawn with several orders.

The figure is the mean over windows of the log ratio of realised volatilities, in per cent; negative is calmer. The
champion was named beforehand: QIS on the lag-weighted devolatilised correlation, restored to unit diagonal, with
EWMA(63) volatilities. "best" is the best of the other fixed estimators in that cell, chosen in hindsight by the same
figure, "best of QIS and AO" leaves out Ledoit-Wolf, "best of all" counts the champion as well: QIS on the correlation,
Ledoit-Wolf on the correlation toward the identity and toward the mean correlation, and average oracle, the first and
last with EWMA(63) volatilities as well. "pooled" is the log ratio of the volatilities of all days as one, against the
estimator that is best by it. Intervals are block bootstraps over dates (two windows a block, all draws and cells of a
date together).

Choices were made on `choice` (2013-2016). `report` (2017-2020; delisted names and funds 2013 to 2017-11) is for
reporting: every run of it adds a line to benchmarks/looks.txt, and their number is printed.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio import NeuralShrinkage
from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.data import Decision
from eigenfolio.evaluation import walk_forward
from eigenfolio.models import AverageOracle, LedoitWolf, QuadraticInverseShrinkage, champion_covariance
from eigenfolio.parallel import run_tasks

LEARNED, CHAMPION = "learned", "champion"
CLEANERS = ["QIS", "QIS + EWMA", "AO", "AO + EWMA"]
LOOKS = Path(__file__).with_name("looks.txt")
PANELS = {
    "us": "us_equity_adj_close",
    "gone": "us_gone_by_2024_adj_close",
    "etf": "us_etf_adj_close",
    "core": "us_etf_core_adj_close",
}
CELLS = {
    "us": [
        (30, 126), (50, 252), (100, 126), (100, 252), (100, 504),
        (100, 1008), (200, 252), (200, 1008), (400, 252), (400, 504),
    ],
    "gone": [(60, 126), (100, 252)],
    "etf": [(30, 252), (100, 252)],
    "core": [(25, 252)],
}  # fmt: skip
SPANS = {"choice": ("2013-01-01", "2016-12-31"), "report": ("2017-01-01", "2020-12-31")}
EARLY = ("gone", "etf")  # end in November 2017: their report begins in 2013
HORIZON, COST = 21, 10.0


def read_returns(folder: Path, panel: str) -> pd.DataFrame:
    """Simple daily returns of a panel."""
    prices = pd.read_parquet(folder / f"{PANELS[panel]}.parquet").astype(float)
    return prices.pct_change(fill_method=None).iloc[1:]


def members(
    returns: pd.DataFrame, row: int, n_assets: int, lookback: int, order: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """The first names of an order that were quoted and moved over the look-back."""
    window = returns.to_numpy()[row + 1 - lookback : row + 1]
    usable = np.isfinite(window).all(axis=0) & ((window != 0.0).mean(axis=0) > 0.9)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[usable[order]][:n_assets]] = True
    return chosen


def cell(
    returns: pd.DataFrame, n_assets: int, lookback: int, span: tuple[str, str], draw: int, weights: str
) -> pd.DataFrame | None:
    """Squared returns per window, model and book; turnover per rebalance; None where there are too few names."""
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
    models = {
        LEARNED: NeuralShrinkage(weights, lookback=lookback),
        CHAMPION: champion_covariance(lookback=lookback),
        "QIS": QuadraticInverseShrinkage(on="correlation", unit_diagonal=False, lookback=lookback),
        "QIS + EWMA": QuadraticInverseShrinkage(
            on="correlation", unit_diagonal=False, volatility="ewma", lookback=lookback
        ),
        "LW": LedoitWolf(on="correlation", lookback=lookback),
        "LW constant correlation": LedoitWolf(target="constant_correlation", on="correlation", lookback=lookback),
        "AO": AverageOracle(lookback=lookback, n_windows=6),
        "AO + EWMA": AverageOracle(lookback=lookback, n_windows=6, volatility="ewma"),
    }
    cap = 0.10 if n_assets <= 40 else 0.05
    books = {"unconstrained": UNCONSTRAINED, "long-only": Constraints(max_weight=cap)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = walk_forward(
            models, returns[held], decisions, books=books, eligible=eligible[held], cost_bps=COST, n_jobs=1
        )
    frames = []
    for (model, book), track in result.tracks.items():
        squares = (track.returns**2).groupby(result.windows.to_numpy()).mean()
        frames.append(
            pd.DataFrame(
                {
                    "date": returns.index[rows],
                    "model": model,
                    "book": book,
                    "square": squares.to_numpy(),
                    "turnover": track.turnover.to_numpy(),
                    "gross": track.weights.abs().sum(axis=1).to_numpy(),
                    "draw": draw,
                }
            )
        )
    return pd.concat(frames)


def interval(values: pd.Series, *, n_bootstrap: int = 5000) -> tuple[float, float, float]:
    """Mean and 95 % interval of a series by date, blocks of two."""
    x = values.to_numpy()
    low, high = np.quantile(x[_resampled(len(x), n_bootstrap)].mean(axis=1), [0.025, 0.975])
    return float(x.mean()), float(low), float(high)


def pooled_interval(first: pd.Series, second: pd.Series, *, n_bootstrap: int = 5000) -> tuple[float, float, float]:
    """Log ratio of the volatilities of all days, in per cent, and its 95 % interval, from mean squares by date."""
    a, b = first.to_numpy(), second.to_numpy()
    drawn = _resampled(len(a), n_bootstrap)
    low, high = np.quantile(50.0 * np.log(a[drawn].mean(axis=1) / b[drawn].mean(axis=1)), [0.025, 0.975])
    return float(50.0 * np.log(a.mean() / b.mean())), float(low), float(high)


def _resampled(n_dates: int, n_bootstrap: int) -> NDArray[np.intp]:
    """Dates of every resample, (n_bootstrap, n_dates), blocks of two on a circle."""
    starts = np.random.default_rng(0).integers(n_dates, size=(n_bootstrap, -(-n_dates // 2)))
    dates: NDArray[np.intp] = (starts[..., None] + np.arange(2)) % n_dates
    return dates.reshape(n_bootstrap, -1)[:, :n_dates]


def shown(values: pd.Series) -> str:
    """Mean and interval of a series by date, as text."""
    return text(*interval(values))


def text(centre: float, low: float, high: float) -> str:
    """A figure with its interval."""
    return f"{centre:+.2f} % ({low:+.1f}, {high:+.1f})"


def log_volatility(table: pd.DataFrame, book: str) -> pd.DataFrame:
    """Log volatility per window: rows date and draw, columns models."""
    part = table[table["book"] == book]
    return 0.5 * np.log(part.pivot_table(index=["date", "draw"], columns="model", values="square"))


def main() -> None:
    """Print one line per cell and the figures of all cells of a panel together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--span", choices=list(SPANS), default="choice")
    parser.add_argument("--weights", default="2012")
    parser.add_argument("--panels", nargs="*", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.span == "report":
        with LOOKS.open("a") as file:
            file.write(f"{pd.Timestamp.now():%Y-%m-%d %H:%M} weights={arguments.weights}\n")
        print(f"look number {len(LOOKS.read_text().splitlines())} at the report years")
    tasks, names = [], []
    for panel in arguments.panels:
        returns = read_returns(arguments.folder, panel)
        first, last = SPANS[arguments.span]
        if arguments.span == "report" and panel in EARLY:
            first = SPANS["choice"][0]
        for n_assets, lookback in CELLS[panel]:
            for draw in range(arguments.draws if n_assets < 400 else 1):
                tasks.append((returns, n_assets, lookback, (first, last), draw, arguments.weights))
                names.append((panel, n_assets, lookback))
    tables: dict[tuple[str, int, int], list[pd.DataFrame]] = {}
    for name, found in zip(names, run_tasks(cell, tasks, n_jobs=arguments.jobs), strict=True):
        if found is not None:
            tables.setdefault(name, []).append(found)
    print("panel N,T windows | unconstrained: learned / best in hindsight, learned / champion, pooled days")
    print("                  | long-only net of costs: learned / champion | turnover / that of AO + EWMA")
    together: dict[str, list[pd.DataFrame]] = {}
    for (panel, n_assets, lookback), parts in tables.items():
        table = pd.concat(parts)
        logs = log_volatility(table, "unconstrained")
        fixed = [name for name in logs.columns if name not in (LEARNED, CHAMPION)]
        best = logs[fixed].mean().idxmin()
        capped = log_volatility(table, "long-only")
        everyone = [*fixed, CHAMPION]
        dates = pd.DataFrame(
            {
                "best of all": 100 * (logs[LEARNED] - logs[logs[everyone].mean().idxmin()]).groupby("date").mean(),
                "best": 100 * (logs[LEARNED] - logs[best]).groupby("date").mean(),
                "best of QIS and AO": 100
                * (logs[LEARNED] - logs[logs[CLEANERS].mean().idxmin()]).groupby("date").mean(),
                "champion": 100 * (logs[LEARNED] - logs[CHAMPION]).groupby("date").mean(),
                "long-only": 100 * (capped[LEARNED] - capped[CHAMPION]).groupby("date").mean(),
            }
        )
        together.setdefault(panel, []).append(dates)
        squares = np.exp(2 * logs).groupby("date").mean()
        calmest = squares[everyone].mean().idxmin()
        pooled = pooled_interval(squares[LEARNED], squares[calmest])
        per_model = table[table["book"] == "unconstrained"].groupby("model")["turnover"].mean()
        print(
            f"{panel:>5} {n_assets:>4},{lookback:>5} {len(logs):>5} | {shown(dates['best'])} [{best}], "
            f"{shown(dates['champion'])}, pooled {text(*pooled)} [{calmest}] | {shown(dates['long-only'])} | "
            f"{per_model[LEARNED] / per_model['AO + EWMA']:.2f}"
        )
    for panel, frames in together.items():
        mean = pd.concat(frames).groupby(level=0).mean()
        worst = max(frame["best"].mean() for frame in frames)
        print(f"\n{panel}, {len(frames)} cells together, {len(mean)} dates (worst cell against best {worst:+.2f})")
        for column in mean.columns:
            print(f"  {column:>18}: {shown(mean[column])}")


if __name__ == "__main__":
    main()
