"""Dated training as a job of its own: a series of bundles, recorded, resumable.

A training that was stopped at any moment goes on from its checkpoints (`eigenfolio.pipeline.work`) when the same
command is given again, to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eigenfolio.artifacts import RunRecord, check_writable, library_versions, run_identifier, short_date, write_run
from eigenfolio.data import seal
from eigenfolio.errors import DataError
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.judged import tags_of
from eigenfolio.pipeline.options import TrainOptions
from eigenfolio.pipeline.outcome import RunContext, flatten
from eigenfolio.pipeline.prepare import prepare
from eigenfolio.pipeline.training_tables import budget_rows, budget_warnings, save_bundles, training_content, trial_of
from eigenfolio.pipeline.work import work_folder
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training import TrainedFold, plan_rolling, plan_training, train_series
from eigenfolio.training.follow import epoch_seconds, followed
from eigenfolio.training.shrinkage import FailedFold
from eigenfolio.training.tracking import check_tracking, copies

__all__ = ["TrainOutcome", "train"]


@dataclass(frozen=True)
class TrainOutcome:
    """Where the run is, and what each fold came to."""

    folder: Path
    sentences: tuple[str, ...]
    trials: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {"folder": str(self.folder), "sentences": list(self.sentences), "trials": list(self.trials)}


def train(config: TrainOptions, context: RunContext, *, progress: Progress) -> TrainOutcome:
    """Plan the folds, train each, and write the dated series of bundles.

    Parameters
    ----------
    config : TrainOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If the panel cannot carry the job, or no fold could be trained.
    ParameterError
        If a copy of the metrics is asked for and cannot be written here.
    ArtifactError
        If the run cannot be written, checkpoints of another training are in the way, or the same is under way.
    """
    check_writable(context.folder)
    check_tracking(config.tracking)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = seal(index, share=config.sealed_share).n_open if config.sealed_share > 0 else len(returns)
    if config.fold is None:
        folds, served = plan_training(index, config.training.schedule, n_rows=n_open), None
    else:
        folds, served = plan_rolling(index, config.fold, n_rows=n_open)
    settings = config.model_dump(mode="json")
    identifier = run_identifier(context.started, f"{settings}{prepared.panel.fingerprint}")
    with (
        work_folder(context.folder, "train", settings, prepared.panel.fingerprint, code=context.git_commit) as work,
        copies(
            config.tracking,
            out=context.folder,
            name=identifier,
            settings=flatten(settings),
            tags=tags_of(config.seed, context, prepared, kind="train"),
        ) as kept,
    ):
        listeners = [listener for listener in (context.on_epoch, kept) if listener]
        with progress("Training", len(folds)) as step, followed(work, listeners):
            trained = train_series(
                returns.iloc[:n_open],
                folds,
                options=config.training,
                seed=config.seed,
                source=prepared.panel.fingerprint,
                checkpoints=work,
                devices=config.devices,
                n_jobs=context.n_jobs,
                on_done=step,
            )
        good = [outcome for outcome in trained if isinstance(outcome, TrainedFold)]
        failed = [outcome for outcome in trained if isinstance(outcome, FailedFold)]
        if not good:
            raise DataError(f"no fold could be trained; the first: {failed[0].error}")
        times = budget_rows(trained, config.budgets, epoch_seconds(work))
        sentences = [_headline(good, failed, served)]
        sentences += [f"The fold through {f.fold.through:%Y-%m-%d} failed: {f.error}" for f in failed]
        sentences += budget_warnings(times)
        trials = [trial_of(outcome) for outcome in trained]
        record = RunRecord(
            identifier=identifier,
            kind="train",
            started=context.started.isoformat(timespec="seconds"),
            command=context.command,
            seed=config.seed,
            git_commit=context.git_commit,
            versions=library_versions(),
            data_fingerprint=prepared.panel.fingerprint,
            config=settings,
            status="complete with failures" if failed else "complete",
            metrics={"served_months": served, "n_bundles": len(good), "n_failed": len(failed)},
            trials=trials,
            budgets=[row.to_dict() for row in times],
        )
        content = ReportContent(
            title=f"Dense shrinkage trained on {prepared.name}",
            subtitle=f"{prepared.panel.n_assets} assets; {len(folds)} folds; preset {config.preset}",
            verdict=sentences,
            data_findings=prepared.findings,
            warnings=[*prepared.warnings, *kept.notes],
            settings=flatten(settings),
            environment={
                "git commit": context.git_commit or "not a repository",
                "seed": config.seed,
                "data fingerprint": prepared.panel.fingerprint,
                **library_versions(),
                "training time": times[-1].summary,
            },
            commands=[f"./run {context.command}"],
            **training_content(good, times),
        )

        def contents(folder: Path) -> None:
            save_bundles(good, folder)
            write_report(content, folder / "report.html")

        with progress("Writing the report", 1) as step:
            folder = write_run(record, context.folder / record.identifier, contents=contents)
            kept.result(_final_losses(good), folder)
            kept.close(finished=True)
            step()
        return TrainOutcome(folder, (*sentences, *kept.notes), tuple(trials))


def _headline(good: list[TrainedFold], failed: list[FailedFold], served: int | None) -> str:
    first, last = good[0].fold.through, good[-1].fold.through
    better = sum(all(history.best_epoch > 0 for history in fold.histories) for fold in good)
    spans = f", serving {served} months" if served is not None else ""
    return (
        f"{len(good)} of {len(good) + len(failed)} bundles were trained, through {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        f"{spans}; in {better} of them every member got better than its closed form on the validation span."
    )


def _final_losses(folds: list[TrainedFold]) -> dict[str, float]:
    """Best validation loss of every network."""
    return {
        f"validation_loss/{short_date(fold.fold.through)}/member-{member}": history.best.validation["total"]
        for fold in folds
        for member, history in enumerate(fold.histories)
    }
