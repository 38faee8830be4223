"""Training the weights that ship with the package, as a recorded job: one bundle per vintage.

A vintage named by a year has seen nothing after the 31st of December of that year; "synthetic" has seen simulated
markets alone, so it is honest on every date, and its bundle is dated before all markets. Rows after the vintage are cut
from the prices before anything is computed from them. A job that was stopped at any moment goes on from its checkpoints
(`eigenfolio.pipeline.work`) when the same command is given again, to the same bits; a vintage that was finished is not
trained again.

    <run>/bundles/shrinkage/<network>/<date>/    weights.safetensors, manifest.json, model_card.md
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import (
    Bundle,
    CheckpointStore,
    RunRecord,
    check_writable,
    library_versions,
    load_bundle,
    run_identifier,
    save_bundle,
    write_run,
)
from eigenfolio.errors import DataError, EigenfolioError
from eigenfolio.parallel import run_tasks
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.model_card import model_card
from eigenfolio.pipeline.outcome import RunContext, flatten
from eigenfolio.pipeline.pretrain_data import Vintage, newest_vintage, panels_digest, read_vintages
from eigenfolio.pipeline.pretrain_options import TRAININGS, PretrainOptions, Training
from eigenfolio.pipeline.work import work_folder
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training import History, convergence_report
from eigenfolio.training.attention import train_on_tokens
from eigenfolio.training.budgets import ALL_FOLDS, BudgetRow, Budgets, check_budget, duration
from eigenfolio.training.follow import EpochEvent, Listener, epoch_seconds, followed
from eigenfolio.training.loop import EpochRecord
from eigenfolio.training.memory import default_cap
from eigenfolio.training.pretraining import SpectralTraining, TrainedVintage, initial_digest, train_spectral

__all__ = ["PretrainOutcome", "PretrainPlan", "plan_pretraining", "pretrain"]

_BUNDLE, _TOLD, _CARD = "bundle", "training.json", "model_card.md"
_BYTES_PER_ENTRY = 40  # of an eigenvector entry of a window: as drawn, as stacked, and while one becomes the other
_PROBE_SHARE = 0.01
_HEADS_COST = 3.0  # of a window for the heads, drawn, asked and fitted, in windows drawn


@dataclass(frozen=True)
class _Trained:
    """What a vintage came to."""

    vintage: Vintage
    bundle: Bundle
    histories: tuple[History, ...]
    drawing_seconds: float
    training_seconds: float


@dataclass(frozen=True)
class _Failed:
    """Why a vintage could not be trained."""

    vintage: Vintage
    error: str


@dataclass(frozen=True)
class PretrainOutcome:
    """Where the run is, and what each vintage came to."""

    folder: Path
    sentences: tuple[str, ...]
    trials: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {"folder": str(self.folder), "sentences": list(self.sentences), "trials": list(self.trials)}


@dataclass(frozen=True)
class PretrainPlan:
    """What the job would do, and an estimate of what it would take.

    Parameters
    ----------
    panels : mapping of str to mapping
        As in `Vintage`, through the newest vintage.
    vintages : mapping of str to str
        What each may see, in words.
    windows : mapping of str to int
        Windows of every source of a dated vintage (of the synthetic one where there is no other).
    model : str
        Family and network.
    n_members, max_epochs : int
    window_bytes : int
        Memory of the windows of one vintage, about.
    n_processes : int
        Vintages that are trained at a time.
    vintage_seconds, total_seconds : float
        About, from a small draw and one epoch on it.
    budgets : tuple of BudgetRow
        Estimated seconds against the budgets.
    """

    panels: Mapping[str, Mapping[str, Any]]
    vintages: Mapping[str, str]
    windows: Mapping[str, int]
    model: str
    n_members: int
    max_epochs: int
    window_bytes: int
    n_processes: int
    vintage_seconds: float
    total_seconds: float
    budgets: tuple[BudgetRow, ...]

    def lines(self) -> list[str]:
        """What to print."""
        told = [
            f"Panel       {name}: {p['file']}, {p['rows']} rows x {p['assets']} assets, {p['first']} to {p['last']}"
            for name, p in self.panels.items()
        ] or ["Panel       none: simulated markets alone"]
        told += [f"Vintage     {name}: {date}" for name, date in self.vintages.items()]
        told += [f"Windows     {name}: {count}" for name, count in self.windows.items()]
        told += [
            f"Network     {self.model}: {self.n_members} member(s) per vintage, {self.max_epochs} epochs",
            f"Memory      about {self.window_bytes / 1e9:.1f} GB of windows, in each of {self.n_processes} process(es)",
            f"Time        about {duration(self.total_seconds)} ({duration(self.vintage_seconds)} per vintage): an "
            "estimate from a small draw and one epoch on it",
            f"Budget      each vintage {self.budgets[0].summary}; one after another, {self.budgets[-1].summary}",
        ]
        return told

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {**asdict(self), "estimated": True}


def pretrain(config: PretrainOptions, context: RunContext, *, progress: Progress) -> PretrainOutcome:
    """Train every vintage and write the bundles, each with its model card.

    A vintage that fails with one of our errors is a recorded result.

    Parameters
    ----------
    config : PretrainOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If a panel is missing or cannot be read, or no vintage could be trained.
    ParameterError
        If a source draws from a panel without a file.
    ArtifactError
        If the run cannot be written, checkpoints of another training are in the way, or the same is under way.
    """
    check_writable(context.folder)
    with progress("Reading", 1) as step:
        vintages = read_vintages(config)
        step()
    fingerprint = panels_digest(vintages)
    settings = config.model_dump(mode="json")
    identifier = run_identifier(context.started, f"{settings}{fingerprint}")
    training = config.chosen
    n_processes = _n_processes(training, len(vintages), context.n_jobs)
    made_by = {"preset": config.preset, "command": context.command, "git_commit": context.git_commit}
    with work_folder(context.folder, "pretrain", settings, fingerprint, code=context.git_commit) as work:
        tasks = [
            (vintage, training, config.seed, made_by, work, context.n_jobs if n_processes == 1 else 1)
            for vintage in vintages
        ]
        n_steps = len(vintages) * (training.loop.max_epochs + 1)
        with (
            progress("Pretraining", n_steps) as step,
            followed(work, [_counted(step), *([context.on_epoch] if context.on_epoch else [])]),
        ):
            outcomes = run_tasks(_train_or_record, tasks, n_jobs=n_processes)
        trained = [outcome for outcome in outcomes if isinstance(outcome, _Trained)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, _Failed)]
        if not trained:
            raise DataError(f"no vintage could be trained; {failed[0].vintage.name}: {failed[0].error}")
        times = _times(config.model, trained, config.budgets, epoch_seconds(work))
        sentences = [_headline(trained, failed)]
        sentences += [f"Vintage {outcome.vintage.name} failed: {outcome.error}" for outcome in failed]
        sentences += [
            f"{'All vintages together' if row.fold == ALL_FOLDS else f'The vintage through {row.fold}'} took "
            f"{duration(row.seconds)} to train, over the budget of {duration(row.budget)}."
            for row in times
            if row.status == "over"
        ]
        trials = [_trial(config.model, outcome) for outcome in outcomes]
        record = RunRecord(
            identifier=identifier,
            kind="pretrain",
            started=context.started.isoformat(timespec="seconds"),
            command=context.command,
            seed=config.seed,
            git_commit=context.git_commit,
            versions=library_versions(),
            data_fingerprint=fingerprint,
            config=settings,
            status="complete with failures" if failed else "complete",
            metrics={
                "n_bundles": len(trained),
                "n_failed": len(failed),
                "panels": {vintage.name: dict(vintage.panels) for vintage in vintages},
            },
            trials=trials,
            budgets=[row.to_dict() for row in times],
        )
        content = _content(config, context, trained, sentences, fingerprint, times)

        def contents(folder: Path) -> None:
            _save(config.model, trained, folder)
            write_report(content, folder / "report.html")

        with progress("Writing the report", 1) as step:
            folder = write_run(record, context.folder / record.identifier, contents=contents)
            step()
    return PretrainOutcome(folder, tuple(sentences), tuple(trials))


def plan_pretraining(config: PretrainOptions, *, n_jobs: int = 1) -> PretrainPlan:
    """Read the panels, draw a few windows and train one epoch on them. Nothing is written.

    Parameters
    ----------
    config : PretrainOptions
    n_jobs : int
        Processes of the job.

    Raises
    ------
    DataError, ParameterError
        As in `pretrain`.
    """
    vintages = read_vintages(config)
    newest = newest_vintage(vintages)
    options = newest.options(config.chosen)
    small = options.scaled(_PROBE_SHARE)
    small = small.model_copy(update={"loop": small.loop.model_copy(update={"max_epochs": 1, "patience": 1})})
    heads_share = options.heads_share if isinstance(options, SpectralTraining) else 0.0
    if isinstance(small, SpectralTraining):
        small = small.alike().model_copy(update={"heads_share": 0.0})
    began = time.perf_counter()
    probe = _train(newest.returns, newest.through, small, seed=config.seed)
    spent = time.perf_counter() - began
    drawn = _assets_seen(small) + _assets_seen(small.scaled(options.validation_share))
    share = _assets_seen(options) * (1.0 + options.validation_share) / drawn
    drawing = probe.drawing_seconds * share
    training = (spent - probe.drawing_seconds) * share * (options.loop.max_epochs + 1) / 2  # the start is judged too
    training += _HEADS_COST * heads_share * drawing
    each = drawing + training
    n_processes = _n_processes(config.chosen, len(vintages), n_jobs)
    alone = drawing / (n_jobs if n_processes == 1 else 1) + training
    return PretrainPlan(
        panels=newest.panels,
        vintages={v.name: "simulated markets alone" if v.through is None else f"through {v.date}" for v in vintages},
        windows={source.name: source.n_windows for source in options.sources},
        model=config.model,
        n_members=options.n_members,
        max_epochs=options.loop.max_epochs,
        window_bytes=_window_bytes(options),
        n_processes=n_processes,
        vintage_seconds=each,
        total_seconds=alone * -(-len(vintages) // n_processes),
        budgets=tuple(check_budget(config.model, {v.date: each for v in vintages}, budgets=config.budgets)),
    )


# ---------------------------------------------------------------------------- training


def _train_or_record(
    vintage: Vintage, training: Training, seed: int, made_by: Mapping[str, Any], work: Path, n_jobs: int
) -> _Trained | _Failed:
    """Train one vintage, or read what was trained before the job was stopped."""
    place = work / vintage.date
    options = vintage.options(training)
    panels = {name: dict(panel) for name, panel in vintage.panels.items()}
    try:
        if not (place / _BUNDLE).exists():
            identity = {
                "task": f"shrinkage/{_name_of(training)}",
                "training": options.model_dump(mode="json"),
                "through": vintage.date,
                "data": {name: panel["fingerprint"] for name, panel in panels.items()},
                "seed": seed,
                "start": initial_digest(options, vintage.through) if isinstance(options, SpectralTraining) else None,
            }
            made = _train(
                vintage.returns,
                vintage.through,
                options,
                seed=seed,
                details={"vintage": vintage.name, "panels": panels, **made_by},
                store=CheckpointStore(place, identity=identity),
                n_jobs=n_jobs,
            )
            told = {
                "histories": [asdict(history) for history in made.histories],
                "drawing_seconds": made.drawing_seconds,
                "training_seconds": made.training_seconds,
            }
            (place / _TOLD).write_text(json.dumps(told))
            save_bundle(made.bundle, place / _BUNDLE)  # last: with it the vintage is done
        return _finished(replace(vintage, returns={}), place)
    except EigenfolioError as error:
        return _Failed(replace(vintage, returns={}), f"{type(error).__name__}: {error}")


def _finished(vintage: Vintage, place: Path) -> _Trained:
    told = json.loads((place / _TOLD).read_text())
    histories = tuple(
        History(
            **{
                **history,
                "epochs": tuple(EpochRecord(**record) for record in history["epochs"]),
                "alarms": tuple(history["alarms"]),
            }
        )
        for history in told["histories"]
    )
    return _Trained(vintage, load_bundle(place / _BUNDLE), histories, told["drawing_seconds"], told["training_seconds"])


def _counted(step: Callable[[], None]) -> Listener:
    """One step for every epoch of a vintage; the untrained start, which follows the drawing, is one of them."""

    def listen(event: EpochEvent) -> None:
        if event.member == 0:
            step()

    return listen


def _train(
    panels: Mapping[str, pd.DataFrame], through: pd.Timestamp | None, options: Training, **how: Any
) -> TrainedVintage:
    """Train one vintage of the network that the options belong to."""
    if isinstance(options, SpectralTraining):
        return train_spectral(panels, through, options=options, **how)
    return train_on_tokens(panels, through, options=options, **how)


def _name_of(training: Training) -> str:
    return next(name for name, kind in TRAININGS.items() if isinstance(training, kind))


def _n_processes(training: Training, n_vintages: int, n_jobs: int) -> int:
    """Vintages at a time: as many as there are processes for and as half of the memory holds."""
    fitting = default_cap("cpu") // max(1, _window_bytes(training))
    return max(1, min(n_jobs, n_vintages, fitting))


def _window_bytes(training: Training) -> int:
    """Memory that the windows of a vintage take at their most, about: eigenvectors above all."""
    entries = sum(
        count * n_assets * min(n_assets, source.max_lookback) * (2 if source.pairs else 1)
        for source in training.sources
        for n_assets, count in source.counts.items()
    )
    return int(_BYTES_PER_ENTRY * (1.0 + training.validation_share) * entries)


def _assets_seen(training: Training) -> int:
    """What time is about proportional to."""
    return sum(count * n_assets for source in training.sources for n_assets, count in source.counts.items())


# ---------------------------------------------------------------------------- records


def _times(model: str, trained: Sequence[_Trained], budgets: Budgets, logged: Mapping[str, float]) -> list[BudgetRow]:
    """Seconds of every vintage; those of a process that was killed count where they are more."""
    seconds = {
        outcome.vintage.date: outcome.drawing_seconds
        + max(outcome.training_seconds, logged.get(outcome.vintage.date, 0.0))
        for outcome in trained
    }
    return check_budget(model, seconds, budgets=budgets)


def _headline(trained: Sequence[_Trained], failed: Sequence[_Failed]) -> str:
    better = sum(all(history.best_epoch > 0 for history in outcome.histories) for outcome in trained)
    names = ", ".join(outcome.vintage.name for outcome in trained)
    return (
        f"{len(trained)} of {len(trained) + len(failed)} vintages were trained ({names}); in {better} of them every "
        "member got better than its closed form on other windows of the same years."
    )


def _trial(model: str, outcome: _Trained | _Failed) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": "training",
        "model": model,
        "vintage": outcome.vintage.name,
        "through": outcome.vintage.date,
    }
    if isinstance(outcome, _Failed):
        return {**entry, "status": "failed", "error": outcome.error}
    return {
        **entry,
        "status": "trained",
        "digest": outcome.bundle.digest,
        "best_epochs": [history.best_epoch for history in outcome.histories],
        "validation_losses": [history.best.validation["total"] for history in outcome.histories],
        "start_validation_loss": outcome.histories[0].start.validation["total"],
        "seconds": round(outcome.drawing_seconds + outcome.training_seconds, 2),
    }


def _save(model: str, trained: Sequence[_Trained], folder: Path) -> None:
    """Bundles with their cards, and beside them every epoch of every member, one JSON line each."""
    with (folder / "training.jsonl").open("w") as lines:
        for outcome in trained:
            place = save_bundle(outcome.bundle, folder / "bundles" / model / outcome.vintage.date)
            (place / _CARD).write_text(model_card(outcome.bundle))
            for member, history in enumerate(outcome.histories):
                for row in history.to_rows():
                    entry = {"bundle": outcome.vintage.date, "member": member, **row}
                    lines.write(json.dumps(entry, allow_nan=False) + "\n")


def _content(
    config: PretrainOptions,
    context: RunContext,
    trained: Sequence[_Trained],
    sentences: Sequence[str],
    fingerprint: str,
    times: Sequence[BudgetRow],
) -> ReportContent:
    summary = {row.fold: row.summary for row in times}
    table = [
        {
            "bundle": outcome.vintage.name,
            "trained_through": outcome.bundle.trained_through,
            "members": len(outcome.histories),
            "n_windows": sum(outcome.bundle.details["n_windows"].values()),
            "epochs": max(len(history.epochs) - 1 for history in outcome.histories),
            "best_epochs": ", ".join(str(history.best_epoch) for history in outcome.histories),
            "best_validation_loss": float(np.mean([h.best.validation["total"] for h in outcome.histories])),
            "start_validation_loss": outcome.histories[0].start.validation["total"],
            "seconds": outcome.drawing_seconds + outcome.training_seconds,
            "budget": summary[outcome.vintage.date],
        }
        for outcome in trained
    ]
    losses = {}
    for outcome in trained:
        rows = [(r.epoch, r.train["total"], r.validation["total"]) for h in outcome.histories for r in h.epochs]
        frame = pd.DataFrame(rows, columns=["epoch", "train", "validation"])
        losses[outcome.vintage.name] = frame.groupby("epoch", as_index=False).mean()
    return ReportContent(
        title=f"{config.network.capitalize()} shrinkage: the weights that ship",
        subtitle=f"{len(trained)} vintages; preset {config.preset}",
        verdict=list(sentences),
        training=pd.DataFrame(table),
        convergence=pd.DataFrame([convergence_report(o.histories).to_row(o.vintage.name) for o in trained]),
        loss_history=losses,
        settings=flatten(config.model_dump(mode="json")),
        environment={
            "git commit": context.git_commit or "not a repository",
            "seed": config.seed,
            "data fingerprint": fingerprint,
            **library_versions(),
            "training time": times[-1].summary,
        },
        commands=[f"./run {context.command}"],
    )
