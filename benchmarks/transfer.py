"""What a start from simulated markets, alignment of domains and a curriculum bring over a plain training.

Run as ``python benchmarks/transfer.py FOLDER [--share 1.0] [--seeds 3]``; three minutes on one core. Every variant
trains the spectral network through 2012 on the same reduced mixture of stocks, funds and simulated populations, one
member, three seeds, the same number of epochs, and is judged on the same windows of 2013-2016, which none has seen. The
weights of the penalties were set before the windows were looked at:

    synthetic start    from the shipped weights that have seen simulated markets alone, then trained as the others
    its slow form      the same at a tenth of the learning rate
    CORAL              covariances of the hidden features of populations and of markets aligned, weight 100
    adversarial        a domain classifier behind reversed gradients, weight 0.1
    curriculum         every epoch from the smallest universes to the largest

Figures are mean log volatility ratios of the minimum-variance portfolios, unconstrained and capped long-only averaged,
against the plain training of the same seed; negative is calmer. Differences are averaged over seeds and over the
windows of a month, and the 95 % intervals come from a bootstrap of blocks of three months. They know nothing of other
seeds, so a verdict other than "no difference" asks for the same sign in every seed as well. The first lines put the
gain of the plain training itself, over the closed form and over the synthetic weights as they ship, beside them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import Constraints
from eigenfolio.evaluation.significance import block_starts, quantile, studentised_mean
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.learned.spectral import SpectralForward, classical_answer, combine
from eigenfolio.models import minimum_variance_weights
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.mixture import DrawnWindow, WindowSource, draw_mixture
from eigenfolio.training.optimisers import AdamW
from eigenfolio.training.pretraining import SpectralTraining, train_spectral

FloatArray = NDArray[np.float64]

THROUGH, JUDGED = pd.Timestamp("2012-12-31"), (pd.Timestamp("2013-01-02"), pd.Timestamp("2016-12-31"))
FILES = {"stocks": "us_equity_adj_close", "funds": "us_etf_adj_close"}
MIXTURE = {
    "stocks": WindowSource(name="stocks", panels=("stocks",), counts={20: 160, 40: 160, 80: 100}, max_lookback=504),
    "funds": WindowSource(name="funds", panels=("funds",), counts={20: 100, 40: 60}, max_lookback=504),
    "populations": WindowSource(name="populations", counts={20: 100, 40: 60, 80: 60}, change="population"),
}
DOMAINS = {"source": ("populations",), "target": ("stocks", "funds")}
LOOP = LoopOptions(max_epochs=3, patience=3, batch_size=16, learning_rate=3e-3, optimiser=AdamW(weight_decay=0.01))
SLOW = LOOP.model_copy(update={"learning_rate": 3e-4})
PLAIN = "none"
VARIANTS: dict[str, dict[str, object]] = {
    PLAIN: {},
    "synthetic start": {"initial": "synthetic"},
    "synthetic start, slow": {"initial": "synthetic", "loop": SLOW},
    "CORAL": {"adaptation": {**DOMAINS, "coral": 100.0}},
    "adversarial": {"adaptation": {**DOMAINS, "adversarial": 0.1}},
    "curriculum": {"curriculum": 1.0},
}
JUDGING = (
    WindowSource(name="stocks", panels=("stocks",), counts={30: 150, 80: 100}, max_lookback=504),
    WindowSource(name="funds", panels=("funds",), counts={30: 100}, max_lookback=504),
)
BLOCK, N_BOOTSTRAP, CONFIDENCE = 3, 2000, 0.95


def returns_of(folder: Path, *, columns: int = 400) -> dict[str, pd.DataFrame]:
    """Daily returns of the panels through 2016, of `columns` names each at most, drawn once."""
    panels = {}
    for name, file in FILES.items():
        prices = pd.read_parquet(folder / f"{file}.parquet").astype(float).loc[: JUDGED[1]]
        kept = np.sort(np.random.default_rng(0).permutation(prices.shape[1])[:columns])
        panels[name] = prices.iloc[:, kept].pct_change(fill_method=None).iloc[1:]
    return panels


def train(panels: dict[str, pd.DataFrame], changes: dict[str, object], *, share: float, seed: int) -> Bundle:
    """One network of one variant."""
    plain = SpectralTraining(n_members=1, heads_share=0.0, sources=tuple(MIXTURE.values()), loop=LOOP).scaled(share)
    options = SpectralTraining.model_validate(plain.model_dump() | changes)
    return train_spectral(panels, THROUGH, options=options, seed=seed).bundle


def log_volatilities(bundle: Bundle | None, judging: list[DrawnWindow]) -> FloatArray:
    """Log volatility of every window, both portfolios averaged; None is the closed form."""
    forward = None if bundle is None else SpectralForward(bundle)
    logs = []
    for drawn in judging:
        answer = classical_answer(drawn.window) if forward is None else forward.answer(drawn.window)
        covariance = combine(drawn.window, answer).dense()
        books = Constraints(long_only=False), Constraints(max_weight=max(0.05, 2.0 / drawn.future.shape[1]))
        paths = [drawn.future @ minimum_variance_weights(covariance, book) for book in books]
        logs.append(np.mean([0.5 * np.log((path**2).mean() + 1e-12) for path in paths]))
    return np.array(logs)


def interval(differences: FloatArray, judging: list[DrawnWindow]) -> tuple[float, float, float]:
    """Mean over months with its bootstrap interval."""
    dates = pd.DatetimeIndex([drawn.date for drawn in judging])
    monthly = pd.Series(differences, index=dates).groupby(dates.to_period("M")).mean()
    months: FloatArray = np.array(monthly, dtype=np.float64)
    draws = block_starts(len(months), n_bootstrap=N_BOOTSTRAP, block=BLOCK, rng=np.random.default_rng(0))
    mean, error, spread = studentised_mean(months, draws, BLOCK)
    half = quantile(spread, CONFIDENCE) * error
    return mean, mean - half, mean + half


def verdict(low: float, high: float, seeds: FloatArray) -> str:
    """What the interval says, where all seeds agree."""
    if high < 0.0 and (seeds < 0.0).all():
        return "helps"
    return "harms" if low > 0.0 and (seeds > 0.0).all() else "no difference"


def main() -> None:
    """Print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the training windows")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    panels = returns_of(arguments.folder)
    judging = draw_mixture(panels, JUDGING, first=JUDGED[0], through=JUDGED[1], seed=99)
    past = {name: returns.loc[:THROUGH] for name, returns in panels.items()}
    others = {"closed form": None, "synthetic weights": shipped_bundle("spectral", "synthetic")}
    plain = np.zeros(0)
    for name, changes in VARIANTS.items():
        began = time.process_time()
        bundles = [train(past, changes, share=arguments.share, seed=seed) for seed in range(arguments.seeds)]
        seconds = time.process_time() - began
        logs = np.array([log_volatilities(bundle, judging) for bundle in bundles])  # (n_seeds, n_windows)
        if name == PLAIN:
            plain = logs
            for other, bundle in others.items():
                report(f"none, against {other}", plain - log_volatilities(bundle, judging), judging, seconds)
        else:
            report(f"{name}, against none", logs - plain, judging, seconds)


def report(name: str, differences: FloatArray, judging: list[DrawnWindow], seconds: float) -> None:
    """One line, of differences of shape (n_seeds, n_windows)."""
    mean, low, high = (100.0 * value for value in interval(differences.mean(axis=0), judging))
    seeds = 100.0 * np.array([interval(row, judging)[0] for row in differences])
    told = " ".join(f"{value:+.2f}" for value in seeds)
    said = verdict(low, high, seeds)
    print(f"{name:<36} {mean:+.2f} % ({low:+.2f}, {high:+.2f})  {said:<13}  seeds {told}  {seconds:3.0f} s", flush=True)


if __name__ == "__main__":
    main()
