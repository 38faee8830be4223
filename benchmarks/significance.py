"""Do the tests of `eigenfolio.evaluation` keep what they promise? Size on null tracks and power on stated differences.

Run as ``python benchmarks/significance.py [--nulls 2000] [--powers 500] [--jobs 1] [--only NAME]``; about a quarter of
an hour on one core. Tracks are those of `eigenfolio.evaluation.null_tracks`: 1,000 days (500 for the tests on sets of
models), correlation 0.9, volatility 1 % a day, under three laws. Size is the share of nulls in which a test of level
5 % speaks up, to be read with a standard error of 0.5 points at 2,000 nulls. A test of asymptotic size 5 % should lie
between 3.5 and 6.5, one that is conservative by design below 6.5; a star marks what does not, a bracket a law that the
test does not claim to hold under. Power is the share found under the alternative named, and "detectable" is the mean
of what the results themselves call detectable with a power of 80 % (first law).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenfolio.evaluation.forecast_tests import diebold_mariano_test, pesaran_timmermann_test
from eigenfolio.evaluation.multiple_testing import (
    adjusted_p_values,
    model_confidence_set,
    stepwise_superior_models,
    superior_predictive_ability,
)
from eigenfolio.evaluation.null_tracks import TrackLaw, draw_tracks
from eigenfolio.evaluation.overfitting import backtest_overfitting
from eigenfolio.evaluation.selection_bias import deflated_sharpe_ratio, probabilistic_sharpe_ratio
from eigenfolio.evaluation.sharpe import sharpe_difference
from eigenfolio.evaluation.sharpe_tests import jobson_korkie_test, ledoit_wolf_sharpe_test
from eigenfolio.evaluation.significance import volatility_ratio
from eigenfolio.evaluation.variance_tests import ledoit_wolf_variance_test
from eigenfolio.parallel import run_tasks

LAWS: tuple[TrackLaw, ...] = ("iid", "student", "ar_garch")
LEVEL = 0.05
DAYS, FEW_DAYS = 1000, 500
YEAR = 252
SHARPE = 0.65
"""Difference of annualised Sharpe ratios under the alternative."""
RATIO = 1.25
"""Annualised Sharpe ratio above the benchmark under the alternative."""
CALMER = 0.04
"""Log volatility difference under the alternative."""
N_BOOTSTRAP = 500

Found = tuple[bool, float]
"""Whether the test speaks up, and what it calls detectable."""


@dataclass(frozen=True)
class Judged:
    """A test with its alternative, in words, and the laws that it claims."""

    name: str
    run: Callable[[TrackLaw, bool, np.random.Generator], Found]
    alternative: str
    conservative: bool = False
    claims: tuple[TrackLaw, ...] = LAWS


def pair(law: TrackLaw, rng: np.random.Generator, *, sharpe: float = 0.0, calmer: float = 0.0) -> np.ndarray:
    """Two tracks; the first has the larger Sharpe ratio, or is the calmer one."""
    mean = 0.01 * np.array([0.03 + sharpe / YEAR**0.5, 0.03])
    return draw_tracks(law, n_observations=DAYS, mean=mean, volatility=0.01 * np.exp([-calmer, 0.0]), rng=rng)


def sharpe_with(test: Callable[..., object]) -> Callable[[TrackLaw, bool, np.random.Generator], Found]:
    """Run a test of Sharpe ratios."""

    def run(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
        found = test(*pair(law, rng, sharpe=SHARPE * different).T, rng)
        return found.p_value <= LEVEL, getattr(found, "minimum_detectable", float("nan"))

    return run


def variance_with(test: Callable[..., object]) -> Callable[[TrackLaw, bool, np.random.Generator], Found]:
    """Run a test of volatilities."""

    def run(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
        found = test(*pair(law, rng, calmer=CALMER * different).T, rng)
        return found.p_value <= LEVEL, found.minimum_detectable

    return run


def windowed(test: Callable[..., object]) -> Callable[..., object]:
    """Tracks as series with a window of 21 days each."""

    def run(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> object:
        days = pd.bdate_range("2000-01-03", periods=len(a))
        windows = pd.Series(np.arange(len(a)) // 21, index=days)
        return test(
            pd.Series(a, index=days), pd.Series(b, index=days), windows=windows, n_bootstrap=N_BOOTSTRAP, rng=rng
        )

    return run


def losses_of_errors(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """Squared errors of two forecasts; their size differs under the alternative."""
    errors = pair(law, rng, calmer=CALMER * different) - 0.0003
    found = diebold_mariano_test(*(errors**2).T)
    return found.p_value <= LEVEL, 0.5 * found.minimum_detectable / 1e-4


def directions(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """A forecast that is unrelated to what comes, or correlated by 0.15."""
    tracks = draw_tracks(law, n_observations=DAYS, correlation=0.15 * different, mean=0.0005, rng=rng)
    found = pesaran_timmermann_test(*tracks.T)
    return found.p_value <= LEVEL, found.minimum_detectable


def one_ratio(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """One track against its true ratio, or against one that is lower by `RATIO`."""
    track = draw_tracks(law, n_observations=DAYS, n_tracks=1, mean=0.01 / YEAR**0.5, rng=rng)[:, 0]
    found = probabilistic_sharpe_ratio(track, benchmark=1.0 - RATIO * different)
    return found.p_value <= LEVEL, found.minimum_detectable - found.benchmark


def best_of_twenty(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """The best of twenty unrelated trials, one of which has a ratio of 2.5 under the alternative."""
    mean = np.zeros(20)
    mean[7] = 0.01 * 2.5 * different / YEAR**0.5
    tracks = draw_tracks(law, n_observations=DAYS, n_tracks=20, correlation=0.0, mean=mean, rng=rng)
    ratios = tracks.mean(axis=0) / tracks.std(axis=0, ddof=1) * YEAR**0.5
    found = deflated_sharpe_ratio(tracks[:, ratios.argmax()], ratios)
    return found.p_value <= LEVEL and (not different or int(ratios.argmax()) == 7), found.minimum_detectable


def model_losses(law: TrackLaw, different: bool, rng: np.random.Generator, *, n_models: int = 5) -> pd.DataFrame:
    """Minus the returns of five strategies; the last one earns more under the alternative."""
    mean = np.full(n_models, 0.0003)
    mean[-1] += 0.01 * 1.0 * different / YEAR**0.5
    tracks = draw_tracks(law, n_observations=FEW_DAYS, n_tracks=n_models, mean=mean, rng=rng)
    return pd.DataFrame(-tracks, columns=list("ABCDE"))


def confidence_set(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """Under the null the first model is as good as any: leaving it out is an error. Else, a worse one should go."""
    losses = model_losses(law, different, rng)
    found = model_confidence_set(losses, n_bootstrap=N_BOOTSTRAP, rng=rng)
    return "A" not in found.included, found.minimum_detectable * YEAR


def superior(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """Does any of four models beat the first one?"""
    losses = model_losses(law, different, rng)
    found = superior_predictive_ability(losses.pop("A"), losses, n_bootstrap=N_BOOTSTRAP, rng=rng)
    return found.p_value <= LEVEL, found.minimum_detectable * YEAR


def stepwise(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
    """Which of four models beat the first one? Any name is an error under the null."""
    losses = model_losses(law, different, rng)
    named = stepwise_superior_models(losses.pop("A"), losses, n_bootstrap=N_BOOTSTRAP, rng=rng)
    return ("E" in named) if different else bool(named), float("nan")


def family(method: str) -> Callable[[TrackLaw, bool, np.random.Generator], Found]:
    """Four rivals against one reference by HAC tests, adjusted; any discovery is an error under the null."""

    def run(law: TrackLaw, different: bool, rng: np.random.Generator) -> Found:
        tracks = -model_losses(law, different, rng).to_numpy()
        tests = [ledoit_wolf_sharpe_test(tracks[:, i], tracks[:, 0], law="hac") for i in range(1, 5)]
        adjusted = adjusted_p_values([test.p_value for test in tests], method=method)
        return bool(adjusted[-1] <= LEVEL if different else (adjusted <= LEVEL).any()), tests[-1].minimum_detectable

    return run


LARGER, CALM = f"Sharpe ratio larger by {SHARPE:g}", f"volatility {100 * CALMER:g} % lower"
TESTS = (
    Judged(
        "Ledoit-Wolf Sharpe, bootstrap",
        sharpe_with(lambda a, b, rng: ledoit_wolf_sharpe_test(a, b, n_bootstrap=N_BOOTSTRAP, rng=rng)),
        LARGER,
    ),
    Judged("Ledoit-Wolf Sharpe, HAC", sharpe_with(lambda a, b, rng: ledoit_wolf_sharpe_test(a, b, law="hac")), LARGER),
    Judged("Jobson-Korkie-Memmel", sharpe_with(lambda a, b, rng: jobson_korkie_test(a, b)), LARGER, claims=("iid",)),
    Judged("sharpe_difference (windows)", sharpe_with(windowed(sharpe_difference)), LARGER, conservative=True),
    Judged(
        "Ledoit-Wolf variance, bootstrap",
        variance_with(lambda a, b, rng: ledoit_wolf_variance_test(a, b, n_bootstrap=N_BOOTSTRAP, rng=rng)),
        CALM,
    ),
    Judged(
        "Ledoit-Wolf variance, HAC", variance_with(lambda a, b, rng: ledoit_wolf_variance_test(a, b, law="hac")), CALM
    ),
    Judged("volatility_ratio (windows)", variance_with(windowed(volatility_ratio)), CALM, conservative=True),
    Judged("Diebold-Mariano-HLN", losses_of_errors, CALM),
    Judged("Pesaran-Timmermann", directions, "correlation 0.15"),
    Judged("probabilistic Sharpe ratio", one_ratio, f"ratio larger by {RATIO:g}", claims=("iid", "student")),
    Judged(
        "deflated Sharpe, best of 20", best_of_twenty, "one ratio of 2.5", conservative=True, claims=("iid", "student")
    ),
    Judged("model confidence set of 5", confidence_set, "one ratio larger by 1", conservative=True),
    Judged("SPA of 4", superior, "one ratio larger by 1", conservative=True),
    Judged("StepM of 4", stepwise, "one ratio larger by 1", conservative=True),
    Judged("Holm over 4 HAC tests", family("holm"), "one ratio larger by 1", conservative=True),
    Judged("Benjamini-Hochberg over 4", family("benjamini_hochberg"), "one ratio larger by 1", conservative=True),
)


def share(position: int, law: TrackLaw, different: bool, first: int, stop: int) -> tuple[int, float]:
    """Times that a test speaks up in some of the draws, and the sum of what it calls detectable."""
    found, detectable = 0, 0.0
    for draw in range(first, stop):
        rng = np.random.default_rng([2024, LAWS.index(law) if law in LAWS else 9, different, draw])
        speaks, size = TESTS[position].run(law, different, rng)
        found += speaks
        detectable += size
    return found, detectable


def rate(position: int, law: TrackLaw, different: bool, n_draws: int, n_jobs: int) -> tuple[float, float]:
    """Share of draws in which a test speaks up, in percent, and the mean detectable difference."""
    chunks = [(position, law, different, i, min(i + 50, n_draws)) for i in range(0, n_draws, 50)]
    counts = np.sum(run_tasks(share, chunks, n_jobs=n_jobs), axis=0)
    return float(100.0 * counts[0] / n_draws), float(counts[1] / n_draws)


def marked(test: Judged, law: TrackLaw, size: float) -> str:
    """A size with its mark."""
    if law not in test.claims:
        return f"({size:.1f})"
    fits = size <= 6.5 and (test.conservative or size >= 3.5)
    return f"{size:.1f}" + ("" if fits else " *")


def main() -> None:
    """Print a row per test, then what the tests do under volatilities of their own, and overfitting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nulls", type=int, default=2000)
    parser.add_argument("--powers", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    head = [*(f"size, {law}" for law in LAWS), "alternative", *(f"power, {law}" for law in LAWS), "detectable"]
    print("| test | " + " | ".join(head) + " |\n" + "|---" * (len(head) + 1) + "|")
    start = time.perf_counter()
    for position, test in enumerate(TESTS):
        if options.only not in test.name:
            continue
        sizes = [rate(position, law, False, options.nulls, options.jobs)[0] for law in LAWS]
        powers = [rate(position, law, True, options.powers, options.jobs) for law in LAWS]
        cells = [marked(test, law, size) for law, size in zip(LAWS, sizes, strict=True)]
        cells += [test.alternative, *(f"{power:.0f}" for power, _ in powers), f"{powers[0][1]:.3g}".replace("nan", "-")]
        print(f"| {test.name} | " + " | ".join(cells) + " |", flush=True)
    hard = [i for i, test in enumerate(TESTS) if "variance" in test.name or "volatility" in test.name]
    for position in hard:
        if options.only in TESTS[position].name:
            size = rate(position, "own_garch", False, options.nulls, options.jobs)[0]
            print(f"own_garch, size: {TESTS[position].name}: {size:.1f}", flush=True)
    rng = np.random.default_rng(0)
    found = [
        backtest_overfitting(draw_tracks(law, n_observations=960, n_tracks=20, rng=rng), n_blocks=10).probability
        for law in LAWS
        for _ in range(50)
    ]
    error = np.std(found) / np.sqrt(len(found))
    print(f"PBO of 20 equal trials, mean over {len(found)} draws: {np.mean(found):.2f} (standard error {error:.2f})")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
