"""What each part of the spectral network is worth: its weights of 2012, with one part left out, on 2013-2016.

Run as ``python benchmarks/ablation.py [PANEL] [--assets 100] [--lookback 504] [--rebalance MS] [--seed 0]``; PANEL is
anything that `eigenfolio run --data` takes, the embedded table without it; half a minute on one core. A row says by how
much the volatility of the minimum-variance portfolio rises, mean over windows, when the part is left out, with a 95 %
block-bootstrap interval and a p-value that is adjusted over all parts of a book (Holm). The scale head moves all
volatilities alike, so it changes no minimum-variance portfolio: its row is a check and must be zero. Weights are those
of the vintage 2012, so no row that is judged has been seen; 2013-2016 are the years in which choices are made, and
these figures are for choosing, not for claiming.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from eigenfolio.data import CoverageRule
from eigenfolio.evaluation.interpretation import ablation_table
from eigenfolio.learned.ablated import PARTS, WHOLE, AblatedShrinkage
from eigenfolio.pipeline import DataOptions, JudgeOptions
from eigenfolio.pipeline.judge import Judgement, judge, plan_evaluation
from eigenfolio.pipeline.prepare import prepare

FIRST, LAST = pd.Timestamp("2013-01-01"), pd.Timestamp("2016-12-31")
WEIGHTS = "2012"
NAME = "whole"


@contextmanager
def silent(name: str, total: int) -> Iterator[object]:
    """A stage that shows nothing."""
    yield lambda: None


def ablate(returns: pd.DataFrame, *, assets: int, lookback: int, rebalance: str, seed: int) -> Judgement:
    """The whole network and all reduced ones on the same decisions and books."""
    past = returns.loc[:LAST]
    span = min(252, lookback)
    universe = CoverageRule(min_assets=2, min_rows=int(0.8 * span), lookback=span, max_assets=assets, seed=seed)
    options = JudgeOptions(lookback=lookback, rebalance=rebalance)
    plan = plan_evaluation(
        past,
        options=options,
        universe=universe,
        first_row=int(past.index.searchsorted(FIRST)),
        n_rows=len(past),
    )
    models = {
        NAME if part == WHOLE else part: AblatedShrinkage(WEIGHTS, without=part, lookback=lookback)
        for part in (WHOLE, *PARTS)
    }
    return judge(models, past, plan, reference=NAME, options=options, seed=seed, n_jobs=1, progress=silent)


def main() -> None:
    """Print one line per part and book."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panel", nargs="?", default="sp500")
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--lookback", type=int, default=504)
    parser.add_argument("--rebalance", default="MS")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    returns = prepare(DataOptions(path=arguments.panel)).panel.returns
    began = time.process_time()
    judgement = ablate(
        returns,
        assets=arguments.assets,
        lookback=arguments.lookback,
        rebalance=arguments.rebalance,
        seed=arguments.seed,
    )
    table = ablation_table(judgement.comparison, whole=NAME)
    days = judgement.result.windows.index
    print(f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, {int(judgement.plan.eligible.sum(axis=1).max())} assets")
    for book, rows in table.groupby("book", sort=False):
        print(f"\n{book}: volatility without the part, against the whole, %")
        for row in rows.itertuples():
            interval = f"[{100 * row.low:+.2f}, {100 * row.high:+.2f}]"
            print(f"  {row.without:<18}{100 * row.rise:+7.2f} {interval:<18} p {row.p_adjusted:.3f}  {row.verdict}")
    print(f"\n{table['n_windows'].max()} windows, {time.process_time() - began:.0f} CPU-s")


if __name__ == "__main__":
    main()
