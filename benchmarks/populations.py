"""Loss reduction on populations whose covariance is known, as a percentage of the sample covariance's loss (PRIAL).

Run as ``python benchmarks/populations.py [--draws 30] [--weights latest]``; two minutes. 200 assets, 400 rows, normal
or Student (5 degrees of freedom) draws. The minimum-variance loss is that of Engle, Ledoit and Wolf,

    tr(E^-1 S E^-1) / N / (tr(E^-1) / N)^2 - N / tr(S^-1),

the other is the squared Frobenius distance. "oracle" keeps the sample eigenvectors and knows the best eigenvalues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eigenfolio import NeuralShrinkage
from eigenfolio.data.synthetic import factor_covariance, ledoit_wolf_spectrum, spiked_covariance
from eigenfolio.models import QIS, LedoitWolf, SampleCovariance, champion_covariance

FloatArray = NDArray[np.float64]
N_ASSETS, N_ROWS = 200, 400
POPULATIONS: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "spiked": lambda rng: spiked_covariance(N_ASSETS, spikes=(50, 20, 10, 5, 3), rng=rng).covariance,
    "20/40/40": lambda rng: ledoit_wolf_spectrum(N_ASSETS, rng=rng).covariance,
    "equity-like": lambda rng: factor_covariance(N_ASSETS, rng=rng).covariance,
}


def losses(estimate: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Minimum-variance and Frobenius loss."""
    inverse = np.linalg.inv(estimate)
    n = len(truth)
    portfolio = np.trace(inverse @ truth @ inverse) / n / (np.trace(inverse) / n) ** 2 - n / np.trace(
        np.linalg.inv(truth)
    )
    return float(portfolio), float(((estimate - truth) ** 2).sum())


def main() -> None:
    """Print one line per population and estimator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--weights", default="latest")
    arguments = parser.parse_args()
    models = {
        "learned": NeuralShrinkage(arguments.weights),
        "learned, untrained": NeuralShrinkage(None),
        "QIS": QIS(),
        "QIS on correlation": QIS(on="correlation", unit_diagonal=False),
        "champion": champion_covariance(),
        "Ledoit-Wolf identity": LedoitWolf(),
        "Ledoit-Wolf single factor": LedoitWolf(target="single_factor"),
    }
    for name, draw in POPULATIONS.items():
        for tails in ("normal", "Student"):
            found: dict[str, list[tuple[float, float]]] = {}
            for seed in range(arguments.draws):
                rng = np.random.default_rng([seed, len(name)])
                truth = np.asarray(draw(rng), dtype=float)
                truth = truth * (1e-4 * N_ASSETS / np.trace(truth))
                X = rng.standard_normal((N_ROWS, N_ASSETS)) @ np.linalg.cholesky(truth).T
                if tails == "Student":
                    X *= np.sqrt(3.0 / rng.chisquare(5.0, size=(N_ROWS, 1)))
                sample = SampleCovariance().fit(X).covariance_
                vectors = np.linalg.eigh(sample)[1]
                best = np.einsum("ik,ij,jk->k", vectors, truth, vectors)
                found.setdefault("sample", []).append(losses(sample, truth))
                found.setdefault("oracle", []).append(losses((vectors * best) @ vectors.T, truth))
                for label, model in models.items():
                    found.setdefault(label, []).append(losses(model.fit(X).covariance_, truth))
            base = np.mean(found["sample"], axis=0)
            print(f"\n{name}, {tails}: PRIAL in % of the minimum-variance and the Frobenius loss (standard error)")
            for label, pairs in found.items():
                if label != "sample":
                    gain = 100.0 * (1.0 - np.mean(pairs, axis=0) / base)
                    error = 100.0 * np.std(pairs, axis=0) / base / np.sqrt(len(pairs))
                    print(f"  {label:>26} {gain[0]:6.1f} ({error[0]:.1f})   {gain[1]:7.1f} ({error[1]:.1f})")


if __name__ == "__main__":
    main()
