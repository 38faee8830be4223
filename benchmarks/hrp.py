"""Time of hierarchical risk parity at 822 assets x 756 rows against its peers, and of a sweep, in one run.

Run as ``python benchmarks/hrp.py [--sweep]`` (peers: ``pip install eigenfolio[bench]``; Riskfolio-Lib where it is
installed); about two minutes, and three more with the sweep of 18 configurations over 170 dates. CPU seconds on one
BLAS thread, medians, on one machine in one run; returns in, weights out, on one DataFrame. The last column is half the
sum of absolute differences between our weights and the peer's.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pandas as pd
from skfolio.cluster import HierarchicalClustering, LinkageMethod
from skfolio.optimization import HierarchicalRiskParity as SkfolioHRP
from skfolio.seriation import HierarchicalSeriation
from threadpoolctl import threadpool_limits

from eigenfolio.models import HierarchicalRiskParity, fit_together

N_ASSETS, N_ROWS, N_DATES = 822, 756, 170
FIT_LIMIT, RATIO_LIMIT, SWEEP_LIMIT = 0.05, 40.0, 150.0
LINKAGES = ("single", "complete", "average")


def returns(n_rows: int = N_ROWS) -> pd.DataFrame:
    """Twelve factors with fat tails, seeded."""
    rng = np.random.default_rng(0)
    factors = rng.standard_t(4, (n_rows, 12)) @ rng.standard_normal((12, N_ASSETS))
    values = 0.01 * (factors + 3 * rng.standard_normal((n_rows, N_ASSETS)))
    return pd.DataFrame(values, pd.bdate_range("2005-01-03", periods=n_rows), [f"A{i:03d}" for i in range(N_ASSETS)])


def pyportfolioopt(X: pd.DataFrame, linkage: str) -> np.ndarray:
    """Weights of PyPortfolioOpt."""
    from pypfopt import HRPOpt

    found = HRPOpt(X).optimize(linkage)
    return np.array([found[name] for name in X.columns])


def skfolio(X: pd.DataFrame, linkage: str) -> np.ndarray:
    """Weights of skfolio."""
    clustering = HierarchicalClustering(linkage_method=LinkageMethod(linkage))
    seriation = HierarchicalSeriation(hierarchical_clustering_estimator=clustering)
    return SkfolioHRP(seriation_estimator=seriation).fit(X).weights_


def riskfolio(X: pd.DataFrame, linkage: str) -> np.ndarray:
    """Weights of Riskfolio-Lib."""
    import riskfolio as rp

    portfolio = rp.HCPortfolio(returns=X)
    return portfolio.optimization(model="HRP", rm="MV", linkage=linkage, leaf_order=True)["weights"].to_numpy()


PEERS: dict[str, tuple[str, str, Callable[[pd.DataFrame, str], np.ndarray]]] = {
    "PyPortfolioOpt": ("pypfopt", "tree", pyportfolioopt),
    "skfolio": ("skfolio", "optimal_leaf", skfolio),
    "Riskfolio-Lib": ("riskfolio", "optimal_leaf", riskfolio),
}


def seconds(function: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    """Print our times, the ratios to the peers, and the sweep."""
    X = returns()
    print(f"{N_ROWS} rows x {N_ASSETS} assets; CPU seconds of one fit")
    for convention in ("tree", "lopez_de_prado", "optimal_leaf"):
        for linkage in LINKAGES:
            model = HierarchicalRiskParity(convention=convention, linkage=linkage)
            model.fit(X)
            fit = statistics.median(seconds(lambda m=model: m.fit(X)) for _ in range(9))
            verdict = "kept" if fit <= FIT_LIMIT else "MISSED"
            print(f"  {convention:<15}{linkage:<10}{fit:>8.3f}  {FIT_LIMIT:g} s: {verdict}")
    for peer, (package, convention, function) in PEERS.items():
        if find_spec(package) is None:
            print(f"  {peer:<15}not installed")
            continue
        for linkage in LINKAGES:
            function(X.iloc[:, :20], linkage)  # imports
            began = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = function(X, linkage)
            took = time.process_time() - began
            mine = HierarchicalRiskParity(convention=convention, linkage=linkage)
            again = statistics.median(seconds(lambda m=mine: m.fit(X)) for _ in range(3))
            apart = 0.5 * np.abs(mine.weights_ - theirs).sum()
            kept = f"  {RATIO_LIMIT:g} x: {'kept' if took / again >= RATIO_LIMIT else 'MISSED'}"
            print(
                f"  {peer:<15}{linkage:<10}{took:>8.3f}  {took / again:>6.1f} x ours{kept}  weights apart {apart:.1e}"
            )
    if "--sweep" in sys.argv[1:]:
        sweep()


def sweep() -> None:
    """Time 18 configurations at 170 dates, a month apart."""
    X = returns(N_ROWS + 21 * (N_DATES - 1))
    models = [
        HierarchicalRiskParity(lookback=lookback, linkage=linkage, correlation=correlation)
        for lookback in (252, 504, 756)
        for linkage in LINKAGES
        for correlation in ("pearson", "spearman")
    ]
    took = seconds(lambda: [fit_together(models, X.iloc[21 * i : 21 * i + N_ROWS]) for i in range(N_DATES)])
    verdict = "kept" if took <= SWEEP_LIMIT else "MISSED"
    print(f"18 configurations x {N_DATES} dates: {took:.0f} CPU seconds; {SWEEP_LIMIT:g} s: {verdict}")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
