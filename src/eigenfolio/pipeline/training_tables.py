"""Tables and records of a dated training, for the page and the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import save_bundle, short_date
from eigenfolio.training import TrainedFold, convergence_report
from eigenfolio.training.budgets import check_budget
from eigenfolio.training.shrinkage import FailedFold

__all__ = ["save_bundles", "training_content", "trial_of"]


def training_content(folds: Sequence[TrainedFold]) -> dict[str, Any]:
    """The parts of a report that tell how the training went."""
    rows = [convergence_report(fold.histories).to_row(short_date(fold.fold.through)) for fold in folds]
    return {
        "training": _training_table(list(folds)),
        "convergence": pd.DataFrame(rows),
        "loss_history": {short_date(fold.fold.through): _losses(fold) for fold in folds},
    }


def save_bundles(folds: Sequence[TrainedFold], folder: Path) -> None:
    """Bundles by family, network and date, and beside them every epoch of every member, one JSON line each."""
    for fold in folds:
        place = folder / "bundles" / fold.bundle.family / fold.bundle.network
        save_bundle(fold.bundle, place / short_date(fold.fold.through))
    metrics = folder / "training.jsonl"
    with metrics.open("w") as lines:
        for fold in folds:
            for member, history in enumerate(fold.histories):
                for row in history.to_rows():
                    entry = {"bundle": short_date(fold.fold.through), "member": member, **row}
                    lines.write(json.dumps(entry, allow_nan=False) + "\n")


def _budget_rows(folds: Sequence[TrainedFold]) -> dict[str, str]:
    """Time of every fold against its budget, in words."""
    seconds = {short_date(fold.fold.through): fold.seconds for fold in folds}
    return {row.fold: row.summary for row in check_budget("shrinkage/dense", seconds)}


def _training_table(folds: list[TrainedFold]) -> pd.DataFrame:
    budget = _budget_rows(folds)
    return pd.DataFrame(
        [
            {
                "bundle": short_date(fold.fold.through),
                "trained_through": fold.fold.through,
                "members": len(fold.histories),
                "n_windows": fold.bundle.details["training"]["windows"]["n_windows"],
                "epochs": max(len(history.epochs) - 1 for history in fold.histories),
                "best_epochs": ", ".join(str(history.best_epoch) for history in fold.histories),
                "best_validation_loss": float(np.mean([h.best.validation["total"] for h in fold.histories])),
                "start_validation_loss": fold.histories[0].start.validation["total"],
                "seconds": fold.seconds,
                "budget": budget[short_date(fold.fold.through)],
                "memory_planned": fold.memory,
            }
            for fold in folds
        ]
    )


def _losses(fold: TrainedFold) -> pd.DataFrame:
    """Mean losses of the members that were still training, by epoch."""
    rows = [(r.epoch, r.train["total"], r.validation["total"]) for history in fold.histories for r in history.epochs]
    table = pd.DataFrame(rows, columns=["epoch", "train", "validation"])
    return table.groupby("epoch", as_index=False).mean()


def trial_of(outcome: TrainedFold | FailedFold) -> dict[str, Any]:
    """Entry of the ledger for one fold."""
    entry: dict[str, Any] = {
        "kind": "training",
        "model": "shrinkage/dense",
        "through": short_date(outcome.fold.through),
    }
    if isinstance(outcome, FailedFold):
        return {**entry, "status": "failed", "error": outcome.error}
    return {
        **entry,
        "status": "trained",
        "digest": outcome.bundle.digest,
        "best_epochs": [history.best_epoch for history in outcome.histories],
        "validation_losses": [history.best.validation["total"] for history in outcome.histories],
        "start_validation_loss": outcome.histories[0].start.validation["total"],
        "seconds": round(outcome.seconds, 2),
    }
