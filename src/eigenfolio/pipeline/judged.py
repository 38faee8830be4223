"""The parts of a page and of a record that every job with a judgement has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eigenfolio.artifacts import RunRecord, library_versions, run_identifier
from eigenfolio.measures import periods_per_year
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import Judgement
from eigenfolio.pipeline.outcome import RunContext, flatten, records
from eigenfolio.pipeline.prepare import Prepared
from eigenfolio.report.content import Tone

if TYPE_CHECKING:
    from eigenfolio.training.budgets import BudgetRow
    from eigenfolio.training.shrinkage import FailedFold

__all__ = ["common_content", "crowding", "failure_sentences", "record_of", "tags_of", "tone", "write_tracks"]


def common_content(
    prepared: Prepared,
    config: CompareOptions,
    context: RunContext,
    judgement: Judgement,
    times: Sequence[BudgetRow] = (),
) -> dict[str, Any]:
    """The parts of a report that every job with a judgement has."""
    tracks = judgement.result.tracks
    books = dict.fromkeys(book for _, book in tracks)
    return {
        "performance": judgement.performance,
        "comparison": judgement.comparison,
        "returns": {book: {m: t.returns for (m, b), t in tracks.items() if b == book} for book in books},
        "turnover": {book: {m: t.turnover for (m, b), t in tracks.items() if b == book} for book in books},
        "periods_per_year": round(periods_per_year(pd.DatetimeIndex(prepared.panel.returns.index))),
        "data_findings": prepared.findings,
        "settings": flatten(config.model_dump(mode="json")),
        "environment": {
            "git commit": context.git_commit or "not a repository",
            "seed": config.seed,
            "data fingerprint": prepared.panel.fingerprint,
            **library_versions(),
            **({"training time": times[-1].summary} if times else {}),
        },
        "commands": [f"./run {context.command}"],
    }


def record_of(
    config: CompareOptions,
    context: RunContext,
    prepared: Prepared,
    judgement: Judgement,
    *,
    kind: str,
    failed: bool,
    trials: list[Mapping[str, Any]],
    budgets: Sequence[Mapping[str, Any]] = (),
) -> RunRecord:
    """The record of a job: what it was told, what it used, what came of it."""
    settings = config.model_dump(mode="json")
    judged = [{"kind": "evaluation", "model": m, "book": b} for m, b in judgement.result.tracks]
    return RunRecord(
        identifier=run_identifier(context.started, f"{settings}{prepared.panel.fingerprint}"),
        kind=kind,
        started=context.started.isoformat(timespec="seconds"),
        command=context.command,
        seed=config.seed,
        git_commit=context.git_commit,
        versions=library_versions(),
        data_fingerprint=prepared.panel.fingerprint,
        config=settings,
        status="complete with failures" if failed or judgement.result.failures else "complete",
        metrics={
            "performance": records(judgement.performance),
            "comparison": records(judgement.comparison),
        },
        trials=[*trials, *judged],
        budgets=budgets,
    )


def tags_of(seed: int, context: RunContext, prepared: Prepared, *, kind: str) -> dict[str, str]:
    """What a copy of a run says of it beside its settings."""
    return {
        "kind": kind,
        "command": context.command,
        "seed": str(seed),
        "git_commit": context.git_commit or "not a repository",
        "data_fingerprint": prepared.panel.fingerprint,
    }


def write_tracks(judgement: Judgement, folder: Path) -> None:
    """Daily net returns of every track, one column per model and book."""
    tracks = judgement.result.tracks
    table = pd.DataFrame({f"{model} | {book}": track.returns for (model, book), track in tracks.items()})
    table.to_parquet(folder / "returns.parquet")


def failure_sentences(judgement: Judgement, folds: list[FailedFold]) -> list[str]:
    """Say what failed, in sentences."""
    sentences = [f"The bundle through {f.fold.through:%Y-%m-%d} could not be trained: {f.error}" for f in folds]
    by_model: dict[str, list[Any]] = {}
    for failure in judgement.result.failures:
        by_model.setdefault(failure.model, []).append(failure)
    for model, failures in by_model.items():
        first = failures[0]
        sentences.append(
            f"{model} failed on {len({f.date for f in failures})} of {len(judgement.plan.decisions)} dates and kept "
            f"its weights there; first on {first.date:%Y-%m-%d}: {first.error}"
        )
    return sentences


def tone(comparison: pd.DataFrame, rival: str) -> Tone:
    """Whether the long-only evidence against `rival` is good, bad or unclear.

    The interval of the mean window must leave out zero, and all days together must point the same way.
    """
    rows = comparison[(comparison["rival"] == rival) & comparison["book"].str.startswith("long-only")]
    if len(rows) == 0:
        return "unclear"
    row = rows.iloc[0]
    if row["window_high"] < 0 and row["pooled"] < 0:
        return "good"
    return "bad" if row["window_low"] > 0 and row["pooled"] > 0 else "unclear"


def crowding(judgement: Judgement, config: CompareOptions) -> list[str]:
    """Warn where there are nearly as many assets as rows: unshrunk estimators are then near singular."""
    most, lookback = int(judgement.plan.eligible.sum(axis=1).max()), config.evaluation.lookback
    if most < 0.7 * lookback:
        return []
    return [
        f"Up to {most} assets are estimated from {lookback} rows: the sample covariance, EWMA and, near equality, QIS "
        "are close to singular there, and beating them unconstrained proves little."
    ]
