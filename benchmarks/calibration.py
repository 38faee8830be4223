"""Whether the shipped covariance has the right size, year by year: Mahalanobis ratio and QLIKE beside skfolio's.

Run as ``python benchmarks/calibration.py FOLDER [--weights as_of|2012|PATH] [--draws N] [--jobs N]``; FOLDER holds the
panels. Every 21 rows from 2000 to 2016 the covariance S of the last T rows of N names is held against the 21 rows r
that follow:

    ratio     mean of r' S^-1 r / N, 1 where the size is right, above 1 where risk was forecast too low
    QLIKE     ln(h w'Sw) + sum (w'r)^2 / (h w'Sw), h = 21, of equal weights and of skfolio's default, inverse volatility
    -ln L     (ln det S + mean of r' S^-1 r) / N, the Gaussian likelihood per asset without its constant

Names are the first of a random order that were quoted on all T rows and moved on nine tenths of them; the ratio and the
likelihood take those that are still quoted on all 21 rows after. No weights have seen a row they are judged on: by
default each decision takes the newest vintage that ends before it, which until 2008 is the one of simulated markets.
A year is turbulent where the VIX averaged 20 or more. Intervals are block bootstraps over dates (two windows a block);
"best" is the skfolio estimator with the lowest mean QLIKE of the cell, chosen in hindsight.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from shrinkage import CHAMPION, HORIZON, LEARNED, interval, members, read_returns
from skfolio.metrics import portfolio_variance_qlike_loss
from skfolio.moments import (
    OAS,
    BaseCovariance,
    DenoiseCovariance,
    EmpiricalCovariance,
    EWCovariance,
    LedoitWolf,
    RegimeAdjustedEWCovariance,
)

from eigenfolio import NeuralShrinkage
from eigenfolio.models import champion_covariance
from eigenfolio.parallel import run_tasks

CELLS = [
    ("us", 30, 126), ("us", 100, 252), ("us", 100, 504), ("us", 100, 1008), ("us", 200, 252), ("us", 400, 504),
    ("gone", 100, 252), ("etf", 30, 252), ("etf", 100, 252), ("core", 25, 252),
]  # fmt: skip
LAST = "2016-12-31"
TURBULENT = 20.0
BOUNDS = (0.9, 1.1)
SKFOLIO = {
    "skfolio Empirical": EmpiricalCovariance(),
    "skfolio LedoitWolf": LedoitWolf(),
    "skfolio OAS": OAS(),
    "skfolio Denoise": DenoiseCovariance(),
    "skfolio EW": EWCovariance(),
    "skfolio RegimeAdjustedEW": RegimeAdjustedEWCovariance(),
}


def scores(model: BaseCovariance, future: pd.DataFrame) -> dict[str, float]:
    """Ratio, likelihood and QLIKE of a fitted model on the rows that follow."""
    rows = future.to_numpy()
    whole = np.isfinite(rows).all(axis=0)
    lower = np.linalg.cholesky(model.covariance_[np.ix_(whole, whole)])
    ratio = float((solve_triangular(lower, rows[:, whole].T, lower=True) ** 2).mean())
    return {
        "ratio": ratio,
        "likelihood": 2.0 * float(np.log(np.diag(lower)).mean()) + ratio,
        "equal": portfolio_variance_qlike_loss(model, rows, portfolio_weights=np.ones(len(whole))),
        "inverse": portfolio_variance_qlike_loss(model, rows),
    }


def cell(folder: Path, panel: str, n_assets: int, lookback: int, draw: int, weights: str) -> pd.DataFrame:
    """Scores per date and model of one cell and one order of the names."""
    returns = read_returns(folder, panel)
    order = np.random.default_rng([n_assets, lookback, draw]).permutation(returns.shape[1])
    last = int(returns.index.searchsorted(pd.Timestamp(LAST)))
    models = {
        LEARNED: NeuralShrinkage(weights, lookback=lookback),
        CHAMPION: champion_covariance(lookback=lookback),
        **SKFOLIO,
    }
    found = []
    for row in range(lookback, last - HORIZON, HORIZON):
        chosen = members(returns, row, n_assets, lookback, order)
        if chosen.sum() < n_assets:
            continue
        seen, future = returns.iloc[row + 1 - lookback : row + 1, chosen], returns.iloc[row + 1 :, chosen]
        for name, model in models.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # skfolio's of repaired matrices, ours of weights named by year
                model.fit(seen)
            found.append({"date": returns.index[row], "model": name, "draw": draw, **scores(model, future[:HORIZON])})
            if name == LEARNED:
                seen_through = model.trained_through_
                found[-1]["vintage"] = "synthetic" if seen_through is None else str(seen_through.year)
    return pd.DataFrame(found).assign(cell=f"{panel} {n_assets},{lookback}", panel=panel)


def difference(table: pd.DataFrame, score: str, rival: str) -> str:
    """Learned less rival of a score, mean and interval over dates."""
    wide = table.pivot_table(index="date", columns="model", values=score)
    centre, low, high = interval(wide[LEARNED] - wide[rival])
    return f"{centre:+.3f} ({low:+.3f}, {high:+.3f})"


def marked(ratio: float) -> str:
    """A ratio, with an asterisk where it lies outside the bounds."""
    return "" if np.isnan(ratio) else f"{ratio:.2f}{'' if BOUNDS[0] <= ratio <= BOUNDS[1] else '*'}"


def print_years(table: pd.DataFrame, vix: pd.Series) -> None:
    """One line per year: what was used, and the mean ratio of every cell."""
    learned = table[table["model"] == LEARNED]
    ratios = learned.pivot_table(index="year", columns="cell", values="ratio", sort=False).sort_index()
    print("\nMahalanobis ratio of the learned covariance by year; * outside 0.9 to 1.1")
    lines = ratios.map(marked)
    lines.insert(0, "us", learned[learned["panel"] == "us"].groupby("year")["ratio"].mean().map(marked))
    lines.insert(0, "VIX", vix.map("{:.1f}".format))
    lines.insert(0, "weights", learned.groupby("year")["vintage"].agg(lambda v: "/".join(sorted(set(v)))))
    print(lines.fillna("").to_string())


def print_cells(table: pd.DataFrame) -> None:
    """Ratios in calm and turbulent years of every model, and QLIKE against skfolio's best, per cell."""
    for name, part in table.groupby("cell", sort=False):
        means = part.pivot_table(index="model", columns="turbulent", values="ratio").sort_index(axis=1)
        losses = part.groupby("model", sort=False)[["equal", "inverse", "likelihood"]].mean()
        rows = means.rename(columns={False: "calm", True: "turbulent"}).map(marked).join(losses.round(3))
        print(f"\n{name}: {part['date'].nunique()} dates\n{rows.to_string()}")
        for score in ("equal", "inverse", "likelihood"):
            best = losses.loc[list(SKFOLIO), score].idxmin()
            print(f"  {score:>10}: learned less {best} {difference(part, score, best)}")


def print_together(table: pd.DataFrame) -> None:
    """The same over all cells of a panel: every cell weighs the same on every date."""
    for panel, part in table.groupby("panel", sort=False):
        print(f"\n{panel}, {part['cell'].nunique()} cells together")
        for turbulent, era in part.groupby("turbulent"):
            losses = era.groupby("model")[["equal", "inverse", "likelihood"]].mean()
            ratio = era.groupby("model", sort=False)["ratio"].mean()
            line = f"  {'turbulent' if turbulent else 'calm':>9}: ratio {marked(ratio[LEARNED])}"
            for score in losses:
                best = losses.loc[list(SKFOLIO), score].idxmin()
                line += f" | {score} less {best.removeprefix('skfolio ')} {difference(era, score, best)}"
            print(line)


def main() -> None:
    """Print ratios by year and cell, and QLIKE against skfolio's estimators."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="as_of")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    tasks = [(arguments.folder, *shape, draw, arguments.weights) for shape in CELLS for draw in range(arguments.draws)]
    table = pd.concat(run_tasks(cell, tasks, n_jobs=arguments.jobs), ignore_index=True)
    table["year"] = table["date"].dt.year
    close = pd.read_parquet(arguments.folder / "vix_daily.parquet")["close"]
    vix = close.groupby(close.index.year).mean().loc[table["year"].min() : table["year"].max()]
    table["turbulent"] = table["year"].map(vix >= TURBULENT)
    print(f"turbulent years (VIX of {TURBULENT:g} and more): {', '.join(map(str, vix.index[vix >= TURBULENT]))}")
    print_years(table, vix)
    print_cells(table)
    print_together(table)


if __name__ == "__main__":
    main()
