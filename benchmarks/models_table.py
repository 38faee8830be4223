"""Time, size and accuracy of every covariance model and network in one table.

Run as ``python benchmarks/models_table.py [PANEL] [--assets 100] [--lookback 252] [--network NAME=FOLDER ...]``; PANEL
is anything that `eigenfolio run --data` takes, the embedded table without it; half a minute on one core. Every model is
judged on the same monthly decisions of 2013-2016, the shipped network with its weights of 2012. ``--network`` adds a
folder of bundles, such as the `bundles/shrinkage/dense` of a run, of which each date takes the newest before it.

    parameters      weights of all members and heads, without scalers and calibration; a closed form has none
    kB              of all numbers that the bundle stores
    fit, ms         median CPU time of `fit` on the last window, covariance read, one BLAS thread, after a warm-up
    start, ms       CPU time of the first fit, with what it loads
    long-only, ...  volatility of the minimum-variance book against the fixed rival, mean over windows, %, with a 95 %
                    block-bootstrap interval; negative is calmer
    QLIKE           of the equal-weight portfolio; lower is better
    Mahalanobis     squared distance of the returns under the forecast over its expectation; 1 is calibrated
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from skfolio.moments import BaseCovariance
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from eigenfolio import NeuralShrinkage
from eigenfolio.artifacts import Bundle
from eigenfolio.data import CoverageRule
from eigenfolio.evaluation import covariance_report
from eigenfolio.pipeline import DataOptions, JudgeOptions
from eigenfolio.pipeline.judge import Judgement, Plan, judge, plan_evaluation
from eigenfolio.pipeline.models import classical_models
from eigenfolio.pipeline.names import CHAMPION
from eigenfolio.pipeline.prepare import prepare

FIRST, LAST = pd.Timestamp("2013-01-01"), pd.Timestamp("2016-12-31")
WEIGHTS = "2012"
REPEATS = 9
NO_PARAMETERS = ("_center", "_scale", "running_mean", "running_square", "_calibration", "_scores", "_share")


@contextmanager
def silent(name: str, total: int) -> Iterator[object]:
    """A stage that shows nothing."""
    yield lambda: None


def models_of(lookback: int, networks: list[str]) -> dict[str, BaseCovariance]:
    """The shipped network, those that were named, and every closed form."""
    models: dict[str, BaseCovariance] = {f"spectral ({WEIGHTS})": NeuralShrinkage(WEIGHTS, lookback=lookback)}
    for given in networks:
        name, _, folder = given.partition("=")
        models[name] = NeuralShrinkage(folder, lookback=lookback)
    closed = classical_models(lookback=lookback, horizon=21)
    return models | {name: model for name, model in closed.items() if isinstance(model, BaseCovariance)}


def size_of(bundle: Bundle | None) -> tuple[int, float]:
    """Parameters, and kB of the weights."""
    if bundle is None:
        return 0, 0.0
    trained = [tensor.size for name, tensor in bundle.tensors.items() if not name.endswith(NO_PARAMETERS)]
    return int(sum(trained)), sum(tensor.nbytes for tensor in bundle.tensors.values()) / 1e3


def seconds_of(model: BaseCovariance, window: pd.DataFrame) -> tuple[float, float]:
    """CPU milliseconds of the first fit, and the median of later ones."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.process_time()
        _ = clone(model).fit(window).covariance_
        times.append(1e3 * (time.process_time() - began))
    return times[0], statistics.median(times[1:])


def plan_of(returns: pd.DataFrame, assets: int, options: JudgeOptions) -> Plan:
    """Monthly decisions of 2013-2016."""
    span = min(252, options.lookback)
    universe = CoverageRule(min_assets=2, min_rows=int(0.8 * span), lookback=span, max_assets=assets)
    return plan_evaluation(
        returns,
        options=options,
        universe=universe,
        first_row=int(returns.index.searchsorted(FIRST)),
        n_rows=len(returns),
    )


def accuracy(judgement: Judgement, covariance: pd.DataFrame) -> pd.DataFrame:
    """By model: the window mean of every book against the champion, QLIKE and Mahalanobis ratio."""
    columns = {}
    for book, rows in judgement.comparison.groupby("book", sort=False):
        own = rows.set_index("rival")
        columns[book] = {
            name: f"{100 * np.expm1(-row.window_mean):+.2f} "
            f"[{100 * np.expm1(-row.window_high):+.2f}, {100 * np.expm1(-row.window_low):+.2f}]"
            for name, row in own.iterrows()
        }
    for measure, heading in (("qlike_equal_weight", "QLIKE"), ("mahalanobis_ratio", "Mahalanobis")):
        means = covariance[covariance["measure"] == measure].set_index("model")["mean"]
        columns[heading] = {name: f"{mean:.3f}" for name, mean in means.items()}
    return pd.DataFrame(columns)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panel", nargs="?", default="sp500")
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--lookback", type=int, default=252)
    parser.add_argument("--network", action="append", default=[], metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    returns = prepare(DataOptions(path=arguments.panel)).panel.returns.loc[:LAST]
    options = JudgeOptions(lookback=arguments.lookback)
    plan = plan_of(returns, arguments.assets, options)
    models = models_of(arguments.lookback, arguments.network)
    last = plan.decisions[-1]
    window = returns.loc[:, plan.eligible.iloc[-1].to_numpy()].iloc[: last.row + 1]
    costs = {}
    with threadpool_limits(1):
        for name, model in models.items():
            bundle = model.choose_bundle(window.index[-1]) if isinstance(model, NeuralShrinkage) else None
            parameters, size = size_of(bundle)
            start, fit = seconds_of(model, window)
            costs[name] = {
                "parameters": f"{parameters:,}", "kB": f"{size:.1f}", "start, ms": f"{start:.1f}",
                "fit, ms": f"{fit:.2f}",
            }  # fmt: skip
    judgement = judge(models, returns, plan, reference=CHAMPION, options=options, seed=0, n_jobs=1, progress=silent)
    report = covariance_report(models, returns, plan.decisions, eligible=plan.eligible, rng=np.random.default_rng(0))
    table = pd.DataFrame.from_dict(costs, orient="index").join(accuracy(judgement, report.table))
    days = judgement.result.windows.index
    print(f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, {window.shape[1]} assets, lookback {arguments.lookback}")
    print(f"volatility against {CHAMPION}")
    print(table.fillna("-").to_string())
    for name, reason in report.excluded.items():
        print(f"{name} is left out of the covariance measures: it {reason}")


if __name__ == "__main__":
    main()
