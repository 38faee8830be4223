"""What members that differ, and rules that join them, bring over the plain mean of three seeds.

Run as ``python benchmarks/ensembles.py FOLDER [--seeds 3] [--share 0.04]``; FOLDER holds the panels
(us_equity_adj_close.parquet and its neighbours). Every variant is trained through 2012 on a share of the shipped
mixture and judged on windows of 2013-2016: stocks (survivors and those gone by 2024) and funds. The figure is the mean
over windows of the log ratio of realised volatilities against the mean of three seeds that were trained with the same
options, unconstrained and capped long-only minimum variance averaged, in per cent; negative is calmer. The interval is
a bootstrap over the months of the decisions, three months a block, and over the seeds of the training; a verdict needs
it to lie on one side of zero. Rules are fitted on the validation windows of their training, so they see nothing after
2012.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import Constraints
from eigenfolio.learned.spectral import SpectralForward, combine
from eigenfolio.models import minimum_variance_weights
from eigenfolio.parallel import run_tasks
from eigenfolio.training.aggregation import AggregationOptions, fit_aggregation
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import Diversity
from eigenfolio.training.initial_weights import bundle_scaler, take_weights
from eigenfolio.training.mixture import DrawnWindow, WindowSource, draw_mixture
from eigenfolio.training.pretraining import SpectralTraining, train_spectral
from eigenfolio.training.sectors import sector_panels, sector_sources
from eigenfolio.training.spectral import spectral_network

PANELS = {
    "stocks": "us_equity_adj_close",
    "delisted": "us_gone_by_2024_adj_close",
    "funds": "us_etf_adj_close",
    "core": "us_etf_core_adj_close",
}
THROUGH, FIRST, LAST = map(pd.Timestamp, ("2012-12-31", "2013-01-01", "2016-12-31"))
JUDGING = (
    WindowSource(name="stocks", panels=("stocks", "delisted"), counts={40: 150, 100: 150}, max_lookback=504),
    WindowSource(name="funds", panels=("funds",), counts={30: 100}, max_lookback=504),
)
BOOTSTRAPS, BLOCK = 5000, 3
RULES = {
    "validation-weighted": AggregationOptions(name="validation"),
    "inverse variance": AggregationOptions(name="inverse_variance"),
    "learned simplex": AggregationOptions(name="simplex"),
    "trimmed mean (median of three)": AggregationOptions(name="trimmed"),
    "validation-weighted by volatility state": AggregationOptions(name="validation", states="volatility"),
    "learned simplex by volatility state": AggregationOptions(name="simplex", states="volatility"),
    "best by validation": AggregationOptions(name="best", states="volatility"),
}
GATED = AggregationOptions(states="specialists")
TRAININGS: dict[str, dict[str, object]] = {
    "six seeds": {"n_members": 6},
    "spectra: both, steady alone, recent alone": {"diversity": Diversity(spectra=("both", "steady", "recent"))},
    "widths: 8, 16, 32": {"diversity": Diversity(n_units=(8, 16, 32))},
    "activations: gelu, silu, tanh": {"diversity": Diversity(activations=("gelu", "silu", "tanh"))},
    "depths: 1, 2, 3": {"diversity": Diversity(depths=(1, 2, 3))},
    "inputs: all, no tails, no clustering": {"diversity": Diversity(features=("all", "no_tails", "no_clustering"))},
    "periods: all, first 60 %, last 60 %": {"diversity": Diversity(periods=((0.0, 1.0), (0.0, 0.6), (0.4, 1.0)))},
    "losses: as is, long-only +1, likelihood +0.5": {
        "diversity": Diversity(losses=({}, {"long_only": 1.0}, {"likelihood": 0.5}))
    },
    "specialists: calm, turbulent": {
        "diversity": Diversity(specialists=("all", "calm", "turbulent")), "aggregation": GATED,
    },
    "specialists: uncorrelated, correlated": {
        "diversity": Diversity(specialists=("all", "uncorrelated", "correlated")), "aggregation": GATED,
    },
    "specialists: small, large": {
        "diversity": Diversity(specialists=("all", "small", "large")), "aggregation": GATED,
    },
}  # fmt: skip


def read_returns(folder: Path) -> dict[str, pd.DataFrame]:
    """Simple daily returns of every panel through the last judged row."""
    tables = {name: pd.read_parquet(folder / f"{file}.parquet").astype(float) for name, file in PANELS.items()}
    return {name: prices.pct_change(fill_method=None).iloc[1:].loc[:LAST] for name, prices in tables.items()}


def log_volatilities(bundle: Bundle, windows: Sequence[DrawnWindow]) -> NDArray[np.float64]:
    """Log realised volatility of every window, both books averaged."""
    forward, found = SpectralForward(bundle), []
    for drawn in windows:
        books = [Constraints(long_only=False), Constraints(max_weight=max(0.05, 2.0 / drawn.future.shape[1]))]
        covariance = combine(drawn.window, forward.answer(drawn.window)).dense()
        paths = [drawn.future @ minimum_variance_weights(covariance, book) for book in books]
        found.append(np.mean([0.5 * np.log((path**2).mean() + 1e-12) for path in paths]))
    return np.array(found)


def single(bundle: Bundle, member: int) -> Bundle:
    """A bundle of one member."""
    shared = ("_center", "_scale")
    tensors = {n: t if n.endswith(shared) else t[member : member + 1] for n, t in bundle.tensors.items()}
    return replace(bundle, tensors=tensors)


def with_rule(
    bundle: Bundle, options: AggregationOptions, drawn: Sequence[DrawnWindow], watched: Sequence[DrawnWindow]
) -> Bundle:
    """The same members under another rule."""
    networks = []
    for member in range(len(bundle.tensors["mixing"])):
        network = spectral_network(n_units=bundle.options["n_units"], dropout=bundle.options["dropout"])
        network.initialise(torch.Generator().manual_seed(0))
        take_weights(network, bundle, member)
        networks.append(network)
    fitted = fit_aggregation(
        networks,
        bundle_scaler(bundle),
        samples=drawn_samples(watched),
        drawn=drawn,
        watched=watched,
        options=options,
        diversity=Diversity(),
    )
    print(f"# {fitted.details}", flush=True)
    return replace(
        bundle, options={**bundle.options, **fitted.options()}, tensors={**bundle.tensors, **fitted.tensors()}
    )


def interval(differences: NDArray[np.float64], dates: Sequence[pd.Timestamp]) -> tuple[float, float, float]:
    """Mean and 95 % interval of differences (n_seeds, n_windows), months in circular blocks, in per cent."""
    month = pd.factorize(pd.Index([(date.year, date.month) for date in dates]), sort=True)[0]
    n, n_seeds, rng = int(month.max()) + 1, len(differences), np.random.default_rng(0)
    sums = np.stack([np.bincount(month, weights=row, minlength=n) for row in differences])  # (n_seeds, n_months)
    counts = np.bincount(month, minlength=n)
    starts = rng.integers(n, size=(BOOTSTRAPS, -(-n // BLOCK)))
    drawn = ((starts[..., None] + np.arange(BLOCK)) % n).reshape(BOOTSTRAPS, -1)[:, :n]
    seeds = rng.integers(n_seeds, size=(BOOTSTRAPS, n_seeds))
    totals = sums[seeds[:, :, None], drawn[:, None, :]].mean(axis=1).sum(axis=1)
    low, high = np.quantile(totals / counts[drawn].sum(axis=1), [0.025, 0.975])
    return 100 * float(differences.mean()), 100 * float(low), 100 * float(high)


def verdict(low: float, high: float) -> str:
    """What an interval supports."""
    return "helps" if high < 0.0 else "harms" if low > 0.0 else "no difference"


def variants(
    panels: dict[str, pd.DataFrame], folder: Path, share: float, seed: int, windows: Sequence[DrawnWindow]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Differences from the mean of three seeds by variant, and the CPU seconds of each."""
    base = SpectralTraining(heads_share=0.0).scaled(share)  # they say nothing of the covariance
    sectors = pd.read_parquet(folder / "us_equity_sectors.parquet").set_index("ticker")["sector"]
    own = sector_panels(panels["stocks"], sectors, min_assets=100)
    chosen = sorted(own, key=lambda name: -own[name].shape[1])[:2]
    own = {name: own[name] for name in chosen}
    by_sector = Diversity(specialists=("all", *(f"source:{name}" for name in chosen)))
    sources = (*base.sources, *sector_sources(own, {20: 30, 40: 30}))
    trainings = {
        "mean of three seeds": {},
        **TRAININGS,
        f"specialists: {', '.join(chosen)}": {"sources": sources, "diversity": by_sector, "aggregation": GATED},
    }
    found, seconds = {}, {}
    reference: Bundle | None = None
    for name, update in trainings.items():
        began = time.process_time()
        options = SpectralTraining.model_validate({**dict(base), **update})
        bundle = train_spectral(panels | own, THROUGH, options=options, seed=seed).bundle
        seconds[name] = time.process_time() - began
        found[name] = log_volatilities(bundle, windows)
        print(f"# seed {seed}, {name}: {seconds[name]:.0f} s", flush=True)
        reference = bundle if reference is None else reference
    assert reference is not None
    drawn = draw_mixture(panels, base.sources, through=THROUGH, seed=seed)
    watched = draw_mixture(panels, base.scaled(base.validation_share).sources, through=THROUGH, seed=seed + 1)
    for name, rule in RULES.items():
        began = time.process_time()
        bundle = with_rule(reference, rule, drawn, watched)
        seconds[name] = time.process_time() - began
        found[name] = log_volatilities(bundle, windows)
    singles = [log_volatilities(single(reference, member), windows) for member in range(3)]
    found["a single member"] = np.mean(singles, axis=0)
    seconds["a single member"] = 0.0
    plain = found.pop("mean of three seeds")
    return {name: values - plain for name, values in found.items()}, seconds


def main() -> None:
    """Print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.04)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    panels = read_returns(given.folder)
    windows = draw_mixture(panels, JUDGING, first=FIRST, through=LAST, seed=2013)
    dates = [window.date for window in windows if window.date is not None]
    tasks = [(panels, given.folder, given.share, seed, windows) for seed in range(given.seeds)]
    runs = run_tasks(variants, tasks, n_jobs=given.jobs)
    for seed, (found, _) in enumerate(runs):
        told = {name: round(100 * float(values.mean()), 2) for name, values in found.items()}
        print(f"# seed {seed}: {told}", flush=True)
    print("| variant | difference, % | 95 % interval | verdict | CPU seconds |\n|---|---|---|---|---|")
    for name in runs[0][0]:
        mean, low, high = interval(np.stack([found[name] for found, _ in runs]), dates)
        cost = np.mean([seconds[name] for _, seconds in runs])
        print(f"| {name} | {mean:+.2f} | {low:+.2f} to {high:+.2f} | {verdict(low, high)} | {cost:.0f} |")


if __name__ == "__main__":
    main()
