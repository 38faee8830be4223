"""The card that goes with shipped weights: what a user should know of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from eigenfolio.artifacts import Bundle, short_date
from eigenfolio.learned.shipped import is_undated
from eigenfolio.pipeline.ensemble_card import ensemble_lines
from eigenfolio.pipeline.pretrain_options import PANELS, TRAININGS
from eigenfolio.training.head_scores import heads_card
from eigenfolio.training.token_calibration import interval_lines

__all__ = ["model_card"]


def model_card(bundle: Bundle) -> str:
    """What a user should know of shipped weights, in Markdown, from their bundle alone.

    Parameters
    ----------
    bundle : Bundle
        Made by `pretrain`.

    Returns
    -------
    str
        Data, dates, universes and counts, frequency, horizon, limits, losses and provenance.
    """
    told = bundle.details
    training = TRAININGS[bundle.network].model_validate(told["training"])
    sources = training.sources
    undated = is_undated(bundle)
    sizes = sorted({n for source in sources for n in source.counts})
    rows = min(source.min_lookback for source in sources), max(source.max_lookback for source in sources)
    horizons = sorted({(source.horizon, source.frequency) for source in sources})
    spans = " or ".join(f"{horizon} {'days' if kept == 'daily' else 'weeks'}" for horizon, kept in horizons)
    name = "synthetic" if undated else f"{bundle.trained_through:%Y}"
    asked = "" if bundle.network == "spectral" else f", network={bundle.network!r}"
    seen = "no market at all" if undated else f"rows through {short_date(bundle.trained_through)}"
    lines = [
        f"# NeuralShrinkage, {bundle.network} network, vintage {name}",
        "",
        f"Weights for the covariance of asset returns, `NeuralShrinkage(weights={name!r}{asked})`; they have seen "
        f"{seen}.",
        "",
        "## Data",
        "",
    ]
    if told["panels"]:
        lines += ["| panel | file | assets | rows | dates | fingerprint |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {key} | {p['file']} | {p['assets']} | {p['rows']} | {p['first']} to {p['last']} | "
            f"{p['fingerprint'][:16]} |"
            for key, p in told["panels"].items()
        ]
        lines += ["", f"Decisions in the windows: {told['first_date'][:10]} to {told['last_date'][:10]}."]
    else:
        lines += ["Simulated markets alone: normal and Student rows of random populations."]
    lines += ["", "## Windows", "", "| source | drawn from | frequency | change | assets | windows |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {s.name} | {' and '.join(s.panels) or 'simulation'} | {s.frequency} | {s.change} | "
        f"{_range(s.counts)} | {s.n_windows} |"
        for s in sources
    ]
    lines += [
        "",
        "## Use and limits",
        "",
        f"- Frequency {' and '.join(sorted({s.frequency for s in sources}))}; horizon {spans}.",
        f"- Trained on {_range(sizes)} assets and {_range(rows)} rows. Inputs beyond what training "
        "has seen are clamped; `diagnostics_['out_of_range']` is their share.",
        "- A decision on or before the last row seen is in-sample: take `weights='as_of'` for evidence."
        if not undated
        else "- It has seen no market, so it is out of sample on every date.",
    ]
    if not undated and any(p["file"] in PANELS.values() for p in told["panels"].values()):
        lines += [
            "- US stocks and US-listed funds only. The stocks are firms that were still listed in 2024, softened by "
            "those listed in 2017 and gone by 2024: firms that ended before are not in the data.",
        ]
    lines += ["", "## Losses", "", "| member | validation, untrained | validation, kept | training, same epoch |"]
    lines += ["|---|---|---|---|"]
    for member, losses in enumerate(told["losses"]):
        best = int(np.argmin([validation for _, validation in losses]))
        lines += [f"| {member} | {losses[0][1]:.4f} | {losses[best][1]:.4f} | {losses[best][0]:.4f} |"]
    if "calibration" in told:
        lines += ["", *interval_lines(told["calibration"])]
    lines += [
        "",
        "Validation windows are other draws from the same years: they watch the training and say nothing about later "
        "years.",
        "",
        *ensemble_lines(told),
        *heads_card(told.get("heads", {})),
        "## Provenance",
        "",
        f"- Command: `{told['command']}` (preset {told['preset']}, seed {told['seed']})",
        f"- Commit: {told['git_commit'] or 'not a repository'}",
        f"- SHA-256 of the weights: {bundle.digest}",
        *([f"- Started from weights {told['initial_digest']}"] if "initial_digest" in told else []),
        "",
    ]
    return "\n".join(lines)


def _range(numbers: Collection[int]) -> str:
    first, last = min(numbers), max(numbers)
    return str(first) if first == last else f"{first} to {last}"
