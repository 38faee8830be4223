"""Learned shrinkage on the windows that are hard for it: does it do harm there?

Run as ``python benchmarks/hard_cases.py FOLDER [--weights 2012|PATH] [--families copies foreign ...] [--jobs N]``;
FOLDER holds us_equity_adj_close.parquet; four minutes on two cores. US stocks of 2013-2016, the years on which choices
were made. Every 21 rows the first N names in a fixed random order that were quoted on all of the last T rows, and moved
on nine tenths of them, are held for 21 rows, with drifting weights and before costs, in two books: unconstrained
minimum variance, and long-only with a cap of 5 % (of the larger of 10 % and 2 / N up to 40 assets).

copies    20 of the names are other names of the universe plus noise of 0.5 to 5 % a year
foreign   one name is a fund short the mean of all stocks (noise of 1 % a year), or short that of the other names held
          (0.3 %), or one that hardly moves (0.2 or 0.8 % a year), or there is one of the first kind and one of the last
          (1 % and 0.8 %)
quiet     only names of the quarter with the lowest volatility of 21 rows relative to that of T rows
weekly    weekly rows, four of them held
small     10 to 30 names
missing   a share of the names is listed late, 63 rows to 0.8 T before the decision

Figures are the mean over windows of the log ratio of realised volatilities, in per cent (negative: the first is
calmer), with intervals by block bootstrap over dates (two windows a block, all draws of a date together); "pooled" is
the first of them for all days as one. QIS is that on the correlation with volatilities of the window, the champion the
one of ``benchmarks/shrinkage.py``, the untrained network the closed form that training starts at. Where histories are
short, the rivals are QIS on the rows since the youngest listing (with volatilities of those rows, or EWMA(63)) and QIS
on all rows: with zero returns before a listing, or as this package completes a window (the devolatilised correlation of
standardised returns that are zero before a listing, volatilities by EWMA(63) of the own span). "champion / champion,
complete" is the champion's own loss by the gaps.

With 252 rows the devolatilised correlation has 203 effective ones: at N = 200 its QIS, hence the champion, is near the
pole that ``QuadraticInverseShrinkage`` describes, and so are synchronised rows that are hardly more than N.

A target holds for both books; "met" and "MISSED" go by the mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shrinkage import CHAMPION, LEARNED, SPANS, log_volatility, members, read_returns, shown

from eigenfolio import NeuralShrinkage
from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.models import QuadraticInverseShrinkage, champion_covariance, minimum_variance_weights
from eigenfolio.parallel import run_tasks

FloatArray = NDArray[np.float64]

QIS, UNTRAINED = "QIS", "untrained"
COMPLETE = ", complete"
SYNCHRONISED, ZERO = "QIS, synchronised", "QIS, zeros"
SYNCHRONISED_EWMA, COMPLETED = "QIS + EWMA, synchronised", "QIS + EWMA, completed"
N_COPIES, COPY_NOISE = 20, (0.005, 0.05)  # a year
INVERSE_NOISE, OWN_NOISE = 0.01, 0.003  # a year
RECENT = 21  # rows of the volatility that makes a name quiet
SHORTEST = 63  # rows of the youngest listing
YEAR = 252


@dataclass(frozen=True)
class Case:
    """One cell: a family, its variant, the shape of a window and what the issue allows, in per cent."""

    family: str
    n_assets: int
    lookback: int
    variant: str = ""
    size: float = 0.0  # yearly volatility of the riskless fund, or share of late listings
    target: float | None = None

    @property
    def horizon(self) -> int:
        """Rows held."""
        return 4 if self.family == "weekly" else 21

    @property
    def label(self) -> str:
        """Variant and shape."""
        return f"{self.variant} {self.n_assets},{self.lookback}".strip()


CASES = [
    *(Case("copies", n, t, target=1.0) for n, t in [(200, 252), (200, 504)]),
    *(
        Case("foreign", n, t, variant, size, target=1.0)
        for variant, size in [
            ("inverse", 0.0),
            ("inverse own", 0.0),
            ("riskless .2 %", 0.002),
            ("riskless .8 %", 0.008),
            ("both", 0.008),
        ]
        for n, t in [(60, 252), (100, 126), (200, 252), (200, 504)]
    ),
    *(Case("quiet", n, t) for n, t in [(50, 252), (100, 126), (100, 252), (100, 504)]),
    *(Case("weekly", n, t) for n in (40, 100) for t in (156, 260)),
    *(Case("small", n, t) for n in (10, 20, 30) for t in (126, 252)),
    *(
        Case("missing", n, t, f"{share:.0%}", share, target)
        for n, t in [(60, 252), (100, 504)]
        for share, target in [(0.2, 2.5), (0.5, 4.0), (0.7, 4.0)]
    ),
]
DRAWS = {"copies": 4, "foreign": 3, "quiet": 4, "weekly": 6, "small": 10, "missing": 4}


def weekly_returns(returns: pd.DataFrame) -> pd.DataFrame:
    """Returns from one week's last day to the next one's."""
    wealth = (1.0 + returns).cumprod()
    last_days = returns.index.to_series().groupby(pd.DatetimeIndex(returns.index).to_period("W-FRI")).last()
    return wealth.loc[last_days].pct_change(fill_method=None).iloc[1:]


def with_copies(block: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make the last names copies of the first."""
    noise = rng.uniform(*COPY_NOISE, size=N_COPIES) / np.sqrt(YEAR)
    changed = block.copy()
    changed[:, -N_COPIES:] = block[:, :N_COPIES] + noise * rng.standard_normal((len(block), N_COPIES))
    return changed


def with_funds(block: FloatArray, market: FloatArray, case: Case, rng: np.random.Generator) -> FloatArray:
    """Make the last name an inverse fund, the one before it a nearly riskless one."""
    changed = block.copy()
    noise = rng.standard_normal((2, len(block))) / np.sqrt(YEAR)
    if case.variant == "inverse own":
        changed[:, -1] = -np.nanmean(block[:, :-1], axis=1) + OWN_NOISE * noise[0]
        return changed
    if case.variant in ("inverse", "both"):
        changed[:, -1] = -market + INVERSE_NOISE * noise[0]
    if case.variant != "inverse":
        changed[:, -2] = case.size * noise[1]
    return changed


def quietest(past: FloatArray, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The quarter of the usable names with the lowest recent volatility relative to that of all rows."""
    ratio = np.full(len(usable), np.inf)
    ratio[usable] = past[-RECENT:, usable].std(axis=0) / past[:, usable].std(axis=0)
    quiet: NDArray[np.bool_] = ratio <= np.quantile(ratio[usable], 0.25)
    return quiet


def listed_late(past: pd.DataFrame, share: float, rng: np.random.Generator) -> tuple[pd.DataFrame, int]:
    """Rows without the early returns of a share of the names, and the first row on which all are there."""
    n_rows, n_assets = past.shape
    late = rng.choice(n_assets, size=round(share * n_assets), replace=False)
    kept = rng.integers(SHORTEST, int(0.8 * n_rows) + 1, size=len(late))
    starts = np.zeros(n_assets, dtype=int)
    starts[late] = n_rows - kept
    return past.mask(np.arange(n_rows)[:, None] < starts), int(starts.max())


def windows(
    returns: pd.DataFrame, case: Case, draw: int
) -> Iterator[tuple[pd.DataFrame, FloatArray, np.random.Generator]]:
    """Past returns, returns while held, and what else is random, for every decision that finds enough names."""
    order = np.random.default_rng([case.n_assets, case.lookback, draw]).permutation(returns.shape[1])
    values = returns.to_numpy()
    first, last = (int(returns.index.searchsorted(pd.Timestamp(day))) for day in SPANS["choice"])
    for row in range(max(first, case.lookback), last - case.horizon - 1, case.horizon):
        rng = np.random.default_rng([case.n_assets, case.lookback, draw, row])
        rows = slice(row + 1 - case.lookback, row + 1 + case.horizon)
        usable = members(returns, row, returns.shape[1], case.lookback, order)
        if case.family == "quiet":
            usable &= quietest(values[row + 1 - case.lookback : row + 1], usable)
        names = order[usable[order]][: case.n_assets]
        if len(names) < case.n_assets:
            continue
        block = values[rows][:, names]
        if case.family == "copies":
            block = with_copies(block, rng)
        elif case.family == "foreign":
            block = with_funds(block, np.nanmean(values[rows], axis=1), case, rng)
        past = pd.DataFrame(block[: case.lookback], index=returns.index[row + 1 - case.lookback : row + 1])
        yield past, np.nan_to_num(block[case.lookback :]), rng


def covariances(past: pd.DataFrame, case: Case, weights: str, rng: np.random.Generator) -> dict[str, FloatArray]:
    """What every model makes of a window."""
    learned = NeuralShrinkage(weights, lookback=case.lookback)
    champion = champion_covariance(lookback=case.lookback)
    qis = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False)
    if case.family != "missing":
        models = {LEARNED: learned, CHAMPION: champion, QIS: qis, UNTRAINED: NeuralShrinkage(None)}
        return {name: model.fit(past).covariance_ for name, model in models.items()}
    qis_ewma = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False, volatility="ewma")
    completed = QuadraticInverseShrinkage(on="devolatilised_correlation", unit_diagonal=False, volatility="ewma")
    gapped, start = listed_late(past, case.size, rng)
    return {
        LEARNED: learned.fit(gapped).covariance_,
        LEARNED + COMPLETE: learned.fit(past).covariance_,
        CHAMPION: champion.fit(gapped).covariance_,
        CHAMPION + COMPLETE: champion.fit(past).covariance_,
        SYNCHRONISED: qis.fit(gapped.iloc[start:]).covariance_,
        SYNCHRONISED_EWMA: qis_ewma.fit(gapped.iloc[start:]).covariance_,
        ZERO: qis.fit(gapped.fillna(0.0)).covariance_,
        COMPLETED: completed.fit(gapped).covariance_,
    }


def held_returns(weights: FloatArray, returns: FloatArray) -> FloatArray:
    """Returns of a book that is bought and left alone."""
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns, axis=0) @ weights])
    return wealth[1:] / wealth[:-1] - 1.0


def case_table(returns: pd.DataFrame, case: Case, draw: int, weights: str) -> pd.DataFrame:
    """Mean squared returns per window, model and book."""
    cap = max(0.10, 2.0 / case.n_assets) if case.n_assets <= 40 else 0.05
    books = {"unconstrained": UNCONSTRAINED, "long-only": Constraints(max_weight=cap)}
    found = []
    for past, future, rng in windows(returns, case, draw):
        for model, covariance in covariances(past, case, weights, rng).items():
            for book, constraints in books.items():
                held = held_returns(minimum_variance_weights(covariance, constraints), future)
                found.append((past.index[-1], draw, model, book, np.mean(held**2)))
    return pd.DataFrame(found, columns=["date", "draw", "model", "book", "square"])


def pairs(family: str) -> list[tuple[str, str]]:
    """Which models are compared; the first pair is the one that a target speaks of."""
    if family == "missing":
        rivals = (SYNCHRONISED, SYNCHRONISED_EWMA, ZERO, COMPLETED)
        return [
            (LEARNED, LEARNED + COMPLETE),
            (CHAMPION, CHAMPION + COMPLETE),
            *((LEARNED, rival) for rival in rivals),
        ]
    return [(LEARNED, rival) for rival in (QIS, CHAMPION, UNTRAINED)]


def print_family(family: str, tables: dict[Case, pd.DataFrame]) -> None:
    """One line per case and book; how many targets are met, and how many rivals are beaten."""
    compared = pairs(family)
    heads = [f"{a} / {b}" for a, b in compared]
    widths = [max(22, len(head)) for head in heads]
    columns = " | ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    print(f"\n{family}\n{'N,T':>21} {'book':>13} windows | {columns} | pooled | target")
    met: list[bool] = []
    below: dict[str, list[bool]] = {}
    for case, table in tables.items():
        for book in ("unconstrained", "long-only"):
            logs = 100.0 * log_volatility(table, book)
            ratios = [(logs[a] - logs[b]).groupby("date").mean() for a, b in compared]
            pooled = 50.0 * np.log(np.exp(logs / 50.0).mean())
            first, judged = compared[0]
            verdict = "none"
            if case.target is not None:
                met.append(bool(ratios[0].mean() <= case.target))
                verdict = f"{'met' if met[-1] else 'MISSED'} ({case.target:+.1f} %)"
            for (_, rival), ratio in zip(compared, ratios, strict=True):
                if not rival.endswith(COMPLETE):
                    below.setdefault(rival, []).append(bool(ratio.mean() < 0.0))
            figures = " | ".join(f"{shown(ratio):>{width}}" for ratio, width in zip(ratios, widths, strict=True))
            difference = pooled[first] - pooled[judged]
            print(f"{case.label:>21} {book:>13} {len(logs):>7} | {figures} | {difference:+6.2f} | {verdict}")
    if met:
        print(f"  targets met: {sum(met)} of {len(met)}")
    print("  calmer than " + "; ".join(f"{rival}: {sum(won)} of {len(won)}" for rival, won in below.items()))


def main() -> None:
    """Print a table per family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="2012")
    parser.add_argument("--families", nargs="+", choices=list(DRAWS), default=list(DRAWS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    whole = read_returns(arguments.folder, "us")
    daily = whole.loc["2010":"2016"].copy()
    weekly = weekly_returns(whole).loc["2007":"2016"].copy() if "weekly" in arguments.families else daily
    cases = [case for case in CASES if case.family in arguments.families]
    drawn = [(case, draw) for case in cases for draw in range(DRAWS[case.family])]
    tasks = [(weekly if case.family == "weekly" else daily, case, draw, arguments.weights) for case, draw in drawn]
    tables: dict[Case, list[pd.DataFrame]] = {}
    for (case, _), table in zip(drawn, run_tasks(case_table, tasks, n_jobs=arguments.jobs), strict=True):
        tables.setdefault(case, []).append(table)
    for family in arguments.families:
        print_family(family, {case: pd.concat(parts) for case, parts in tables.items() if case.family == family})


if __name__ == "__main__":
    main()
