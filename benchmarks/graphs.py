"""Time of the graphs of 822 assets against scipy and fast-tmfg, in one run.

Run as ``python benchmarks/graphs.py`` (fast-tmfg: ``pip install eigenfolio[bench]``); about ten seconds. CPU seconds
on one BLAS thread, median of alternating calls, so that both sides meet the same machine. Both start from a correlation
matrix and end with a set of edges, which are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import minimum_spanning_tree as scipy_tree
from sklearn.neighbors import kneighbors_graph
from threadpoolctl import threadpool_limits

from eigenfolio.features import (
    AssetGraph,
    distance_correlation,
    knn_graph,
    minimum_spanning_tree,
    pearson_correlation,
    spearman_correlation,
    tmfg,
)

N_ASSETS, N_ROWS = 822, 756
LIMITS = {"MST": 0.01, "TMFG": 0.2}
Edges = set[tuple[int, int]]


def returns() -> np.ndarray:
    """Twelve factors with fat tails, seeded."""
    rng = np.random.default_rng(0)
    factors = rng.standard_t(4, (N_ROWS, 12)) @ rng.standard_normal((12, N_ASSETS))
    return 0.01 * (factors + 3 * rng.standard_normal((N_ROWS, N_ASSETS)))


def scipy_mst(correlation: np.ndarray) -> Edges:
    """Minimum spanning tree of Mantegna's distances."""
    rows, columns = scipy_tree(np.sqrt(2 * (1 - correlation))).nonzero()
    return {(min(i, j), max(i, j)) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)}


def fast_tmfg(correlation: np.ndarray) -> Edges:
    """TMFG of absolute correlations."""
    from fast_tmfg import TMFG

    _, _, joined = TMFG().fit_transform(pd.DataFrame(np.abs(correlation)), "unweighted_sparse_W_matrix")
    return set(zip(*(places.tolist() for places in np.nonzero(np.triu(joined))), strict=True))


def sklearn_knn(correlation: np.ndarray) -> Edges:
    """Union of the ten nearest neighbours."""
    distance = 1 - np.abs(correlation)
    np.fill_diagonal(distance, 0.0)
    rows, columns = kneighbors_graph(distance, 10, metric="precomputed").nonzero()
    return {(min(i, j), max(i, j)) for i, j in zip(rows.tolist(), columns.tolist(), strict=True)}


def alternating(functions: list[Callable[[], object]], *, repeats: int) -> list[tuple[float, object]]:
    """Median CPU seconds and answer of each function, called in turn; the first round does not count."""
    times: list[list[float]] = [[] for _ in functions]
    answers: list[object] = [None] * len(functions)
    for _ in range(repeats + 1):
        for i, function in enumerate(functions):
            began = time.process_time()
            answers[i] = function()
            times[i].append(time.process_time() - began)
    return [(statistics.median(values[1:]), answer) for values, answer in zip(times, answers, strict=True)]


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None


def main() -> None:
    """Print one row per graph, then the three measures of codependence."""
    table = returns()
    correlation = pearson_correlation(table)
    rows: dict[str, tuple[Callable[[], AssetGraph], str, Callable[[], Edges] | None]] = {
        "MST": (lambda: minimum_spanning_tree(correlation), "scipy", lambda: scipy_mst(correlation)),
        "TMFG": (
            lambda: tmfg(correlation),
            "fast-tmfg",
            (lambda: fast_tmfg(correlation)) if installed("fast_tmfg") else None,
        ),
        "k-NN 10": (lambda: knn_graph(correlation, 10), "scikit-learn", lambda: sklearn_knn(correlation)),
    }
    print(f"{N_ASSETS} assets; CPU seconds")
    print(f"{'graph':<10}{'edges':>7}{'ours':>10}  {'peer':<14}{'seconds':>9}{'ratio':>7}  same edges   limit")
    for name, (ours, peer, theirs) in rows.items():
        found = alternating([ours] if theirs is None else [ours, theirs], repeats=5)
        seconds, graph = found[0]
        assert isinstance(graph, AssetGraph)
        line = f"{name:<10}{graph.n_edges:>7}{seconds:>10.4f}  {peer:<14}"
        if theirs is None:
            line += f"{'not installed':>16}{'':>14}"
        else:
            same = set(map(tuple, graph.edge_index.T.tolist())) == found[1][1]
            line += f"{found[1][0]:>9.4f}{found[1][0] / seconds:>7.1f}  {'yes' if same else 'NO':<12}"
        if name in LIMITS:
            line += f" {LIMITS[name]:g} s: {'kept' if seconds <= LIMITS[name] else 'MISSED'}"
        print(line)
    for name, measure, window in (
        ("Pearson", pearson_correlation, table),
        ("Spearman", spearman_correlation, table),
        ("distance", distance_correlation, table[-252:]),
    ):
        ((seconds, _),) = alternating([lambda m=measure, w=window: m(w)], repeats=2)
        print(f"{name} correlation of {len(window)} rows: {seconds:.3f} s")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
