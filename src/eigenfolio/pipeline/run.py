"""The main job: from a panel to a learned model, its evaluation, a report and a bundle.

    data checks -> cleaning -> sealing -> dated training -> walk-forward -> comparison -> report and record

The last rows are sealed before anything else looks at them. Training and evaluation see the rest; every decision
of the learned model uses the newest bundle that has seen nothing after it. A run that was stopped at any moment goes on
from its checkpoints when the same command is given again, to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from eigenfolio.artifacts import (
    BundleSeries,
    RunRecord,
    check_writable,
    library_versions,
    run_identifier,
    write_run,
)
from eigenfolio.data import seal
from eigenfolio.errors import DataError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.window import shrinkage_window
from eigenfolio.measures import periods_per_year
from eigenfolio.pipeline.judge import Judgement, Progress, judge, plan_evaluation
from eigenfolio.pipeline.models import CHAMPION, CLOSED_FORM_START, LEARNED, classical_models, shipped_models
from eigenfolio.pipeline.options import CompareOptions, RunOptions
from eigenfolio.pipeline.prepare import Prepared, prepare
from eigenfolio.pipeline.training_tables import budget_rows, budget_warnings, save_bundles, training_content, trial_of
from eigenfolio.pipeline.work import work_folder
from eigenfolio.report import ReportContent, write_report
from eigenfolio.report.content import Tone
from eigenfolio.training import TrainedFold, plan_training, train_series
from eigenfolio.training.budgets import BudgetRow
from eigenfolio.training.follow import Listener, epoch_seconds, followed
from eigenfolio.training.shrinkage import FailedFold
from eigenfolio.training.tracking import check_tracking, copies

__all__ = ["Outcome", "RunContext", "run"]


@dataclass(frozen=True)
class RunContext:
    """What a job knows of the world outside, gathered by the command line.

    Parameters
    ----------
    folder : Path
        Where runs are kept; the job makes one folder inside.
    started : datetime
    command : str
        The command line.
    git_commit : str or None
    n_jobs : int
        Processes.
    on_epoch : callable, optional
        Told of every epoch of every network in training.
    """

    folder: Path
    started: datetime
    command: str
    git_commit: str | None
    n_jobs: int = 1
    on_epoch: Listener | None = None


@dataclass(frozen=True)
class Outcome:
    """Where the run is, what follows from it, its tables, and what else should be known."""

    folder: Path
    verdict: tuple[str, ...]
    performance: pd.DataFrame
    comparison: pd.DataFrame
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "verdict": list(self.verdict),
            "performance": records(self.performance),
            "comparison": records(self.comparison),
            "notes": list(self.notes),
        }


def run(config: RunOptions, context: RunContext, *, progress: Progress) -> Outcome:
    """Train, judge, report and record.

    Parameters
    ----------
    config : RunOptions
        The resolved configuration.
    context : RunContext
    progress : Progress
        Opens one stage per long step.

    Returns
    -------
    Outcome

    Raises
    ------
    DataError
        If the panel cannot carry the job.
    ParameterError
        If a copy of the metrics is asked for and cannot be written here.
    ArtifactError
        If the run cannot be written, checkpoints of another run are in the way, or the same run is under way.
    """
    check_writable(context.folder)
    check_tracking(config.tracking)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = seal(index, share=config.sealed_share).n_open if config.sealed_share > 0 else len(returns)
    open_returns = returns.iloc[:n_open]

    folds = plan_training(index, config.training.schedule, n_rows=n_open)
    plan = plan_evaluation(
        open_returns,
        options=config.evaluation,
        universe=config.universe,
        membership=prepared.membership,
        first_row=folds[0].last_row,
        n_rows=n_open,
    )
    settings = config.model_dump(mode="json")
    with (
        work_folder(context.folder, "run", settings, prepared.panel.fingerprint, code=context.git_commit) as work,
        copies(
            config.tracking,
            out=context.folder,
            name=run_identifier(context.started, f"{settings}{prepared.panel.fingerprint}"),
            settings=flatten(settings),
            tags=tags_of(config.seed, context, prepared, kind="run"),
        ) as kept,
    ):
        listeners = [listener for listener in (context.on_epoch, kept) if listener]
        with progress("Training", len(folds)) as step, followed(work, listeners):
            trained = train_series(
                open_returns,
                folds,
                options=config.training,
                seed=config.seed,
                source=prepared.panel.fingerprint,
                checkpoints=work,
                n_jobs=context.n_jobs,
                on_done=step,
            )
        good = [outcome for outcome in trained if isinstance(outcome, TrainedFold)]
        failed = [outcome for outcome in trained if isinstance(outcome, FailedFold)]
        if not isinstance(trained[0], TrainedFold):
            raise DataError(f"the first bundle could not be trained: {failed[0].error}")
        times = budget_rows(trained, config.budgets, epoch_seconds(work))
        over = budget_warnings(times)
        series = BundleSeries(tuple(fold.bundle for fold in good))
        learned = NeuralShrinkage(series, lookback=config.evaluation.lookback)
        models = {
            LEARNED: learned,
            **shipped_models(lookback=config.evaluation.lookback),
            **classical_models(lookback=config.evaluation.lookback, horizon=config.evaluation.horizon),
        }
        judgement = judge(
            models,
            open_returns,
            plan,
            reference=LEARNED,
            options=config.evaluation,
            seed=config.seed,
            n_jobs=context.n_jobs,
            progress=progress,
        )
        sentences = judgement.sentences(champion=CHAMPION, seed=config.seed)
        spectrum, label, edges = _spectrum(learned, open_returns, judgement)
        content = ReportContent(
            title=f"Neural shrinkage on {prepared.name}",
            subtitle=_subtitle(prepared, config, judgement),
            verdict=sentences,
            verdict_tone=tone(judgement.comparison, CHAMPION),
            learned_model=LEARNED,
            champion=CHAMPION,
            sealed=_sealed_sentence(returns, n_open, config.sealed_share),
            learned=judgement.result.diagnostics[LEARNED].drop(columns=["closed_form_shrinkage", "lifted_eigenvalues"]),
            closed_form_intensity=judgement.result.diagnostics[LEARNED]["closed_form_shrinkage"].rename(
                CLOSED_FORM_START
            ),
            **training_content(good, times),
            spectrum=spectrum,
            spectrum_label=label,
            spectrum_edges=edges,
            warnings=[
                *prepared.warnings,
                *_range_warning(judgement),
                *crowding(judgement, config),
                *failure_sentences(judgement, failed),
                *over,
                *kept.notes,
            ],
            **common_content(prepared, config, context, judgement, times),
        )
        record = record_of(
            config,
            context,
            prepared,
            judgement,
            kind="run",
            failed=bool(failed),
            trials=[trial_of(outcome) for outcome in trained],
            budgets=[row.to_dict() for row in times],
        )

        def contents(folder: Path) -> None:
            save_bundles(good, folder)
            write_tracks(judgement, folder)
            write_report(content, folder / "report.html")

        with progress("Writing the report", 1) as step:
            folder = write_run(record, context.folder / record.identifier, contents=contents)
            kept.result(numbers(record.metrics["performance"]), folder)
            kept.close(finished=True)
            step()
        return Outcome(folder, tuple(sentences), judgement.performance, judgement.comparison, (*over, *kept.notes))


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


def numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Numbers of a table of performance, by book, model and metric.

    Examples
    --------
    >>> numbers([{"model": "QIS", "book": "own", "turnover": 0.1, "windows": None}])
    {'performance/own/QIS/turnover': 0.1}
    """
    return {
        f"performance/{row['book']}/{row['model']}/{name}": float(value)
        for row in rows
        for name, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def write_tracks(judgement: Judgement, folder: Path) -> None:
    """Daily net returns of every track, one column per model and book."""
    tracks = judgement.result.tracks
    table = pd.DataFrame({f"{model} | {book}": track.returns for (model, book), track in tracks.items()})
    table.to_parquet(folder / "returns.parquet")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-able dictionaries; what is not a finite number becomes None."""

    def plain(value: Any) -> Any:
        if isinstance(value, (float, np.floating)):
            return float(value) if np.isfinite(value) else None
        if isinstance(value, (np.bool_, bool)):
            return bool(value)
        return int(value) if isinstance(value, np.integer) else value

    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name.

    Examples
    --------
    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


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


def _range_warning(judgement: Judgement) -> list[str]:
    """Say when the learned model was asked about windows unlike those it was trained on."""
    outside = judgement.result.diagnostics[LEARNED]["out_of_range"]
    if outside.mean() < 0.1:
        return []
    return [
        f"{LEARNED} met windows unlike those it was trained on: on average {outside.mean():.0%} of its "
        "inputs were out of range and clamped. Train on universes of the size that is held "
        "(training.windows.max_assets)."
    ]


def _subtitle(prepared: Prepared, config: RunOptions, judgement: Judgement) -> str:
    days = judgement.result.windows.index
    most, drawn = int(judgement.plan.eligible.sum(axis=1).max()), config.universe.max_assets
    held = ""
    if most < prepared.panel.n_assets:
        how = f", drawn by name with universe.seed {config.universe.seed}" if drawn else ""
        held = f", up to {most} of them held at a time{how}"
    return (
        f"{prepared.panel.n_assets} assets{held}; judged out of sample "
        f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d} on {len(judgement.plan.decisions)} rebalancing dates; "
        f"preset {config.preset}"
    )


def _sealed_sentence(returns: pd.DataFrame, n_open: int, share: float) -> str:
    if n_open == len(returns):
        return "No rows were sealed."
    first = returns.index[n_open]
    return (
        f"The last {share:.0%} of the rows ({first:%Y-%m-%d} to {returns.index[-1]:%Y-%m-%d}) are sealed: no "
        "training, choice or score on this page has looked at them (the data checks have)."
    )


def _spectrum(
    model: NeuralShrinkage, returns: pd.DataFrame, judgement: Judgement
) -> tuple[pd.DataFrame, str, tuple[float, float]]:
    """Eigenvalues of the correlation before and after shrinkage at the last decision."""
    decision = judgement.plan.decisions[-1]
    held = judgement.plan.eligible.iloc[-1].to_numpy()
    past = returns.iloc[: decision.row + 1, held]
    shrunk = clone(model).fit(past)
    seen = past.iloc[-(model.lookback or len(past)) :]
    before = shrinkage_window(seen.to_numpy()).eigenvalues
    after = np.linalg.eigvalsh(shrunk.correlation_)
    n_rows = len(seen)
    ratio = np.sqrt(held.sum() / n_rows)
    table = pd.DataFrame(
        {
            "rank": np.arange(1, held.sum() + 1),
            "sample": np.maximum(before[::-1], 0.0),
            "shrunk": after[::-1],
        }
    )
    label = f"{n_rows} rows to {decision.date:%Y-%m-%d}, {held.sum()} assets"
    return table, label, (float((1.0 - ratio) ** 2), float((1.0 + ratio) ** 2))
