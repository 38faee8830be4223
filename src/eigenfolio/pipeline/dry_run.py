"""What a job would do and take, before it is done: `run --dry-run` and `train --dry-run`.

The data are read and checked, folds and decisions planned, a few training steps and one decision measured. Nothing is
trained or written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from eigenfolio.artifacts import BundleSeries, short_date
from eigenfolio.data import seal
from eigenfolio.evaluation import walk_forward
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.pipeline.judge import Plan, plan_evaluation
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import LEARNED
from eigenfolio.pipeline.options import RunOptions, TrainOptions
from eigenfolio.pipeline.prepare import Prepared, prepare
from eigenfolio.pipeline.training_tables import MODEL
from eigenfolio.training import TrainingFold, plan_rolling, plan_training
from eigenfolio.training.budgets import BudgetRow, check_budget, duration
from eigenfolio.training.probe import probe_shrinkage
from eigenfolio.training.tracking import check_tracking

__all__ = ["MODEL", "DryRun", "FoldPlan", "dry_run", "models_of", "n_open_rows", "plan_of"]


@dataclass(frozen=True)
class FoldPlan:
    """Rows of one fold: those that teach, and those that stop the training. First and last dates are inclusive."""

    name: str
    teaching_rows: int
    teaching_first: str
    teaching_last: str
    stopping_rows: int
    stopping_first: str
    stopping_last: str


@dataclass(frozen=True)
class DryRun:
    """What a job would do, and an estimate of what it would take.

    Parameters
    ----------
    data, fingerprint : str
    n_rows, n_assets : int
    first, last : str
        Dates of the first and the last row.
    sealed : str
        Which rows stay sealed, in a sentence.
    folds : tuple of FoldPlan
    n_members, n_parameters : int
        Networks per fold, and parameters of each.
    memory : str
        Plan of a training step on windows of the largest universe.
    window_bytes : int
        Windows that one process holds at a time, about.
    n_jobs : int
    fold_seconds : float
        Of one fold in one process, about.
    training_seconds, evaluation_seconds : float
        Of all folds, and of the walk-forward, with `n_jobs` processes, about.
    n_decisions, n_models : int
        Of the walk-forward; 0 for a job without one.
    decisions : str
        Their dates in words.
    budgets : tuple of BudgetRow
        Estimated seconds against the budgets.
    notes : tuple of str
        What will not work, or is worth a look.
    """

    data: str
    fingerprint: str
    n_rows: int
    n_assets: int
    first: str
    last: str
    sealed: str
    folds: tuple[FoldPlan, ...]
    n_members: int
    n_parameters: int
    memory: str
    window_bytes: int
    n_jobs: int
    fold_seconds: float
    training_seconds: float
    evaluation_seconds: float
    n_decisions: int
    n_models: int
    decisions: str
    budgets: tuple[BudgetRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def total_seconds(self) -> float:
        """Training and walk-forward together, about."""
        return self.training_seconds + self.evaluation_seconds

    def lines(self) -> list[str]:
        """What to print."""
        told = [
            f"Data        {self.data}: {self.n_rows} rows x {self.n_assets} assets, {self.first} to {self.last}",
            f"Sealed      {self.sealed}",
            f"Folds       {len(self.folds)}",
        ]
        told += [
            f"  {fold.name}  {fold.teaching_rows} rows teach ({fold.teaching_first} to {fold.teaching_last}), "
            f"{fold.stopping_rows} stop ({fold.stopping_first} to {fold.stopping_last})"
            for fold in self.folds
        ]
        told += [
            f"Network     {MODEL}: {self.n_parameters} parameters, {self.n_members} member(s) per fold",
            f"Memory      {self.memory}",
            f"            and about {self.window_bytes / 1e6:.0f} MB of windows, in each of {self.n_jobs} process(es)",
        ]
        if self.n_decisions:
            told.append(f"Evaluation  {self.n_decisions} decisions ({self.decisions}) x {self.n_models} models")
        parts = f"{duration(self.fold_seconds)} per fold, {duration(self.training_seconds)} for all"
        if self.n_decisions:
            parts += f", {duration(self.evaluation_seconds)} for the walk-forward"
        told.append(
            f"Time        about {duration(self.total_seconds)} ({parts}): an estimate from a few steps of the last "
            "fold, were no training stopped early"
        )
        each, every = self.budgets[0], self.budgets[-1]  # the folds are estimated alike
        told.append(f"Budget      each fold {each.summary}; {every.fold}, one after another, {every.summary}")
        return told + [f"Note        {note}" for note in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {**asdict(self), "total_seconds": self.total_seconds, "estimated": True}


def dry_run(config: RunOptions | TrainOptions, *, n_jobs: int = 1) -> DryRun:
    """Read and check the data, plan folds and decisions, and measure a few steps. Nothing is trained or written.

    Parameters
    ----------
    config : RunOptions or TrainOptions
    n_jobs : int
        Processes of the job.

    Returns
    -------
    DryRun

    Raises
    ------
    DataError
        If the panel cannot carry the job.
    ParameterError
        If an option cannot be met.
    """
    check_tracking(config.tracking)
    prepared = prepare(config.data)
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = n_open_rows(index, config.sealed_share)
    seen = returns.iloc[:n_open]
    if isinstance(config, TrainOptions) and config.fold is not None:
        folds, _ = plan_rolling(index, config.fold, n_rows=n_open)
    else:
        folds = plan_training(index, config.training.schedule, n_rows=n_open)
    plan = plan_of(config, prepared, seen, folds) if isinstance(config, RunOptions) else None
    probe = probe_shrinkage(seen, folds[-1], options=config.training, seed=config.seed)
    fold_seconds = probe.fold_seconds(config.training)
    evaluation_seconds, notes = 0.0, list(prepared.warnings)
    models: Mapping[str, Any] = {}
    if plan is not None and isinstance(config, RunOptions):
        models = models_of(config, None)
        decision_seconds, failed = _measure_decision(models, seen, plan)
        evaluation_seconds = decision_seconds * math.ceil(len(plan.decisions) / n_jobs)
        notes += failed
    window_bytes = probe.set_bytes(config.training)
    together = min(n_jobs, len(folds)) * (window_bytes + probe.memory.peak_bytes)
    if together > probe.memory.cap_bytes:
        notes.append(
            f"{min(n_jobs, len(folds))} process(es) take about {together / 1e9:.1f} GB together, more than half of the "
            "memory here; use fewer processes (--jobs) or windows (training.windows.n_windows)"
        )
    dates = [] if plan is None else [decision.date for decision in plan.decisions]
    names = [short_date(fold.through) for fold in folds]
    return DryRun(
        data=prepared.name,
        fingerprint=prepared.panel.fingerprint,
        n_rows=len(returns),
        n_assets=prepared.panel.n_assets,
        first=short_date(index[0]),
        last=short_date(index[-1]),
        sealed=_sealed(index, n_open),
        folds=tuple(_fold_plan(index, fold) for fold in folds),
        n_members=config.training.n_members,
        n_parameters=probe.n_parameters,
        memory=f"{probe.memory.describe()}, with {probe.largest_universe} assets",
        window_bytes=window_bytes,
        n_jobs=n_jobs,
        fold_seconds=fold_seconds,
        training_seconds=fold_seconds * math.ceil(len(folds) / n_jobs),
        evaluation_seconds=evaluation_seconds,
        n_decisions=len(dates),
        n_models=len(models),
        decisions=f"{short_date(dates[0])} to {short_date(dates[-1])}" if dates else "none",
        budgets=tuple(check_budget(MODEL, dict.fromkeys(names, fold_seconds), budgets=config.budgets)),
        notes=tuple(notes),
    )


def plan_of(config: RunOptions, prepared: Prepared, seen: pd.DataFrame, folds: list[TrainingFold]) -> Plan:
    """Decisions after the first bundle, among the rows that may be seen."""
    return plan_evaluation(
        seen,
        options=config.evaluation,
        universe=config.universe,
        membership=prepared.membership,
        first_row=folds[0].last_row,
        n_rows=len(seen),
    )


def models_of(config: RunOptions, weights: BundleSeries | None) -> dict[str, Any]:
    """Every model that is judged; without weights the learned one is its closed form."""
    judged = config.evaluation
    return {
        LEARNED: NeuralShrinkage(weights, network="dense", lookback=judged.lookback),
        **shipped_models(lookback=judged.lookback),
        **classical_models(lookback=judged.lookback, horizon=judged.horizon),
    }


def _measure_decision(models: Mapping[str, Any], seen: pd.DataFrame, plan: Plan) -> tuple[float, list[str]]:
    """Seconds that all models take for the last decision (the longest past), and which of them cannot make it."""

    def decide() -> Any:
        return walk_forward(models, seen, plan.decisions[-1:], books=plan.books, eligible=plan.eligible.iloc[-1:])

    decide()  # compiled code and caches are made once
    began = time.perf_counter()
    result = decide()
    seconds = time.perf_counter() - began
    first = {failure.model: failure for failure in reversed(result.failures)}
    return seconds, [f"{f.model} cannot decide on {f.date:%Y-%m-%d}: {f.error}" for f in reversed(first.values())]


def _fold_plan(index: pd.DatetimeIndex, fold: TrainingFold) -> FoldPlan:
    return FoldPlan(
        name=short_date(fold.through),
        teaching_rows=fold.validation_start - fold.first_row,
        teaching_first=short_date(index[fold.first_row]),
        teaching_last=short_date(index[fold.validation_start - 1]),
        stopping_rows=fold.last_row + 1 - fold.validation_start,
        stopping_first=short_date(index[fold.validation_start]),
        stopping_last=short_date(index[fold.last_row]),
    )


def n_open_rows(index: pd.DatetimeIndex, sealed_share: float) -> int:
    """Rows before the sealed span."""
    return seal(index, share=sealed_share).n_open if sealed_share > 0 else len(index)


def _sealed(index: pd.DatetimeIndex, n_open: int) -> str:
    if n_open == len(index):
        return "nothing"
    return f"{len(index) - n_open} rows, {short_date(index[n_open])} to {short_date(index[-1])}"
