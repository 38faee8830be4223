"""Time of `NeuralShrinkage.fit` as a ratio to one symmetric eigendecomposition of the same size, in one run.

Run as ``python benchmarks/shrinkage_speed.py [BUNDLE]``; about a minute. CPU seconds on one BLAS thread, median of
alternating calls, so that both sides meet the same machine. Weights are the folder given, else those that ship, else
random ones of the shipped shape (three members of 16 units), which cost the same. "fit" is what a factor-based user
waits for, "with covariance" makes the dense matrix as well. The wide panels add the long-only minimum-variance book
with a cap of 1 %, for which no matrix is formed, and end with the peak memory of the process.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from eigenfolio.artifacts import Bundle, load_bundle
from eigenfolio.constraints import Constraints
from eigenfolio.errors import ArtifactError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.learned.spectra import ASSET_FEATURES, CONTEXT_FEATURES, N_SPECTRA, SUMMARY_FEATURES, TOKEN_FEATURES
from eigenfolio.learned.spectral import feature_names

SHAPES = [(n, t) for n in (50, 200, 400, 800) for t in (252, 504, 1008)]
WIDE = [(3_000, 504), (20_000, 504)]
LIMIT, SMALL_LIMIT = 4.0, 8e-3  # times one eigh from 200 assets on; seconds at 50 x 252
WIDE_LIMITS = {3_000: 2.0, 20_000: 10.0}


def random_weights(n_members: int = 3, n_units: int = 16) -> Bundle:
    """A bundle of the shipped shape with random weights."""
    rng = np.random.default_rng(0)
    widths = {
        "token": len(TOKEN_FEATURES),
        "asset": len(ASSET_FEATURES),
        "context": len(CONTEXT_FEATURES),
        "summary": len(SUMMARY_FEATURES),
    }
    layers = {"summary_in": (widths["summary"], n_units), "summary_hidden": (n_units, n_units)}
    layers["summary_out"] = (n_units, 1 + N_SPECTRA)
    for b in range(N_SPECTRA):
        for kind in ("token", "asset"):
            layers[f"spectra.{b}.{kind}_in"] = (widths[kind] + widths["context"], n_units)
            layers[f"spectra.{b}.{kind}_out"] = (n_units, 1)
        layers[f"spectra.{b}.scan.gates"] = (n_units, 2 * n_units)
        layers[f"spectra.{b}.asset_hidden"] = (n_units, n_units)
    tensors = {"mixing": np.zeros((n_members, N_SPECTRA)), "level": np.zeros((n_members, 1))}
    for name, (n_in, n_out) in layers.items():
        tensors[f"{name}.weight"] = 0.1 * rng.standard_normal((n_members, n_out, n_in))
        tensors[f"{name}.bias"] = 0.1 * rng.standard_normal((n_members, n_out))
    for kind, width in widths.items():
        shape = (width,) if kind == "summary" else (N_SPECTRA, width)
        tensors |= {f"{kind}_center": np.zeros(shape), f"{kind}_scale": np.ones(shape)}
    return Bundle("shrinkage", "spectral", {}, feature_names(), tensors, pd.Timestamp("1900-01-01"))


def chosen_weights(arguments: list[str]) -> tuple[str, Bundle]:
    """The bundle given, shipped or random, with its name."""
    if arguments:
        return arguments[0], load_bundle(arguments[0])
    try:
        return "shipped, latest", shipped_bundle("spectral", "latest")
    except ArtifactError:
        return "random (none ship)", random_weights()


def returns(n_assets: int, n_rows: int) -> np.ndarray:
    """One factor and fat tails, seeded."""
    rng = np.random.default_rng(0)
    beta = 1 + 0.4 * rng.standard_normal(n_assets)
    own = rng.standard_t(5, (n_rows, n_assets)) * np.exp(rng.normal(0, 0.5, n_assets))
    return 0.01 * (np.outer(rng.standard_t(5, n_rows), beta) + own)


def alternating_medians(functions: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Median CPU seconds of each function, called in turn; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            began = time.process_time()
            function()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Print one row per shape."""
    name, bundle = chosen_weights(sys.argv[1:])
    print(f"weights: {name}")
    print(f"{'assets x rows':>14}{'eigh':>11}{'fit':>11}{'ratio':>7}{'with covariance':>17}{'ratio':>7}  limit")
    for n_assets, n_rows in SHAPES:
        X = returns(n_assets, n_rows)
        correlation = np.corrcoef(X.T)
        model = NeuralShrinkage(bundle, undated="newest")
        found = alternating_medians(
            {
                "eigh": lambda c=correlation: np.linalg.eigh(c),
                "fit": lambda m=model, x=X: m.fit(x),
                "dense": lambda m=model, x=X: m.fit(x).covariance_,
            },
            repeats=25 if n_assets <= 200 else 7,
        )
        ratio = found["fit"] / found["eigh"]
        if n_assets >= 200:
            verdict = f"{LIMIT:g} x: {'kept' if ratio <= LIMIT else 'MISSED'}"
        elif n_rows == 252:
            verdict = f"{1e3 * SMALL_LIMIT:g} ms: {'kept' if found['fit'] <= SMALL_LIMIT else 'MISSED'}"
        else:
            verdict = ""
        print(
            f"{n_assets:>6} x {n_rows:<5}{1e3 * found['eigh']:>8.2f} ms{1e3 * found['fit']:>8.2f} ms{ratio:>7.2f}"
            f"{1e3 * found['dense']:>14.2f} ms{found['dense'] / found['eigh']:>7.2f}  {verdict}"
        )
    for n_assets, n_rows in WIDE:
        X = returns(n_assets, n_rows)
        began = time.process_time()
        model = NeuralShrinkage(bundle, undated="newest").fit(X)
        seconds, limit = time.process_time() - began, WIDE_LIMITS[n_assets]
        began = time.process_time()
        model.minimum_variance_weights(Constraints(max_weight=0.01))
        book = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{n_assets:>6} x {n_rows:<5}{seconds:>20.2f} s, book {book:.2f} s, peak {peak:.2f} GB"
            f"   {limit:g} s and 2 GB: {'kept' if seconds <= limit and peak <= 2.0 else 'MISSED'}"
        )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
