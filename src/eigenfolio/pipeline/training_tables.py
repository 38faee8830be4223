"""Tables and records of a dated training, for the page and the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import save_bundle, short_date
from eigenfolio.training import TrainedFold, convergence_report
from eigenfolio.training.budgets import ALL_FOLDS, BudgetRow, Budgets, check_budget, duration
from eigenfolio.training.shrinkage import FailedFold

__all__ = ["MODEL", "budget_rows", "budget_warnings", "save_bundles", "training_content", "trial_of"]

MODEL = "shrinkage/dense"


def training_content(folds: Sequence[TrainedFold], times: Sequence[BudgetRow] | None = None) -> dict[str, Any]:
    """The parts of a report that tell how the training went; `times` are those of `budget_rows`."""
    rows = [convergence_report(fold.histories).to_row(short_date(fold.fold.through)) for fold in folds]
    told = {row.fold: row.summary for row in (budget_rows(folds) if times is None else times)}
    return {
        "training": _training_table(list(folds), told),
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


def budget_rows(
    outcomes: Sequence[TrainedFold | FailedFold],
    budgets: Budgets | None = None,
    logged: Mapping[str, float] | None = None,
) -> list[BudgetRow]:
    """Time of every fold, and of all, against what they may take.

    Parameters
    ----------
    outcomes : sequence of TrainedFold or FailedFold
    budgets : Budgets, optional
        The defaults without it.
    logged : mapping of str to float, optional
        Seconds of the epochs of each fold (`eigenfolio.training.follow.epoch_seconds`). They count where they are
        more than what this process spent: a killed one may have done a part, and a failed fold has no other time.
    """
    seconds = {}
    for outcome in outcomes:
        name = short_date(outcome.fold.through)
        spent = outcome.seconds if isinstance(outcome, TrainedFold) else 0.0
        seconds[name] = max(spent, (logged or {}).get(name, 0.0))
    return check_budget(MODEL, seconds, budgets=budgets)


def budget_warnings(rows: Sequence[BudgetRow]) -> list[str]:
    """A sentence for every time that was over its budget."""
    return [
        f"{'All folds together' if row.fold == ALL_FOLDS else f'The bundle through {row.fold}'} took "
        f"{duration(row.seconds)} to train, over the budget of {duration(row.budget)}."
        for row in rows
        if row.status == "over"
    ]


def _training_table(folds: list[TrainedFold], budget: Mapping[str, str]) -> pd.DataFrame:
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
        "model": MODEL,
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
