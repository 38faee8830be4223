"""Time of every covariance estimator as a ratio to one symmetric eigendecomposition of the same size.

Run as ``python benchmarks/covariance.py``; about half a minute. One BLAS thread, CPU seconds, median of
several fits. Minimum-variance weights are timed on the champion.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.models import (
    OAS,
    QIS,
    AverageOracle,
    BestConstantShrinkage,
    CovarianceModel,
    EWMACovariance,
    IEWMACovariance,
    LedoitWolf,
    SampleCovariance,
    champion_covariance,
    minimum_variance_weights,
)

SHAPES = [(50, 252), (200, 504), (500, 756), (822, 1008)]
MODELS: dict[str, CovarianceModel] = {
    "sample": SampleCovariance(),
    "Ledoit-Wolf identity": LedoitWolf(),
    "Ledoit-Wolf identity, correlation": LedoitWolf(on="correlation"),
    "Ledoit-Wolf constant correlation": LedoitWolf(target="constant_correlation"),
    "Ledoit-Wolf single factor": LedoitWolf(target="single_factor"),
    "OAS": OAS(),
    "QIS": QIS(),
    "QIS correlation": QIS(on="correlation"),
    "champion": champion_covariance(),
    "EWMA 63": EWMACovariance(),
    "IEWMA 63/125": IEWMACovariance(),
    "average oracle, 8 windows": AverageOracle(lookback=126, n_windows=8, step=10),
    "best constant, 8 windows": BestConstantShrinkage(lookback=126, n_windows=8, step=10),
}


def median_seconds(function: Callable[[], object], *, repeats: int) -> float:
    """Median CPU time of `repeats` calls after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times)


def returns(n_assets: int, n_rows: int) -> np.ndarray:
    """One factor and fat tails, seeded."""
    rng = np.random.default_rng(0)
    beta = 1 + 0.4 * rng.standard_normal(n_assets)
    own = rng.standard_t(5, (n_rows, n_assets)) * np.exp(rng.normal(0, 0.5, n_assets))
    return 0.01 * (np.outer(rng.standard_t(5, n_rows), beta) + own)


def main() -> None:
    """Print one row per estimator: milliseconds and ratio to one eigh, for every shape."""
    print(f"{'':36}" + "".join(f"{n:>11}x{t:<6}" for n, t in SHAPES))
    panels = {shape: returns(*shape) for shape in SHAPES}
    base = {}
    for shape, x in panels.items():
        covariance = np.cov(x.T)
        repeats = 5 if shape[0] > 300 else 21
        base[shape] = median_seconds(partial(np.linalg.eigh, covariance), repeats=repeats)
    print(f"{'one eigh':36}" + "".join(f"{1e3 * base[s]:8.2f} ms {'':7}" for s in SHAPES))
    for name, model in MODELS.items():
        cells = []
        for shape, x in panels.items():
            seconds = median_seconds(partial(model.fit, x), repeats=3 if shape[0] > 300 else 11)
            cells.append(f"{1e3 * seconds:8.2f} ms {seconds / base[shape]:5.2f}x ")
        print(f"{name:36}" + "".join(cells))
    for book in (Constraints(max_weight=0.05), UNCONSTRAINED):
        cells = []
        for shape, x in panels.items():
            covariance = champion_covariance().fit(x).covariance_
            seconds = median_seconds(
                partial(minimum_variance_weights, covariance, book), repeats=3 if shape[0] > 300 else 11
            )
            cells.append(f"{1e3 * seconds:8.2f} ms {seconds / base[shape]:5.2f}x ")
        print(f"{'weights, ' + book.name:36}" + "".join(cells))


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
