"""The sweep of hierarchical risk parity: every configuration decided, one selected on validation, judged afterwards.

    decisions of all configurations -> validation metrics -> selection -> out-of-sample comparison -> checkpoints

What a date decides is kept as soon as it is known: a sweep that was stopped goes on from there to the same bits. Every
checkpoint is read back before the run is written, and has to decide as before (`eigenfolio.pipeline.hrp_checkpoints`).

    results.yaml     options, validation metrics, success rate and checkpoints of each configuration; the selection
    distances.csv    both distance formulas on the last decision's assets, for every lookback and correlation
    bundles/hrp/<configuration>/<date>, returns.parquet, report.html, run.json, config.yaml
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from eigenfolio.artifacts import (
    Bundle,
    CheckpointStore,
    save_bundle,
    short_date,
)
from eigenfolio.codependence import pearson_correlation, spearman_correlation
from eigenfolio.errors import EigenfolioError
from eigenfolio.evaluation import OWN_BOOK
from eigenfolio.models import HierarchicalRiskParity, distance_analysis, fit_together
from eigenfolio.parallel import run_tasks
from eigenfolio.pipeline.hrp_checkpoints import FAMILY, TENSORS, check_predictions, checkpoint, restored
from eigenfolio.pipeline.hrp_judgement import NAMED, Decided, Judged, judge_sweep
from eigenfolio.pipeline.hrp_options import HrpOptions, SweepPlan, plan_sweep
from eigenfolio.pipeline.hrp_selection import Selection
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.outcome import RunContext, records
from eigenfolio.pipeline.sweep_job import SweepJob, open_sweep, write_tracks
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training.budgets import check_budget

__all__ = ["HrpOutcome", "train_hrp"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class HrpOutcome:
    """Where the run is, what was selected, and what that was worth.

    Parameters
    ----------
    folder : Path
        Of the run.
    selection : Selection
    sentences : tuple of str
        The findings in words.
    configurations : DataFrame
        One row per configuration: options, success rates, clustering metrics and performance on validation.
    performance : DataFrame
        Of all configurations and rivals on the later dates, by model and book.
    """

    folder: Path
    selection: Selection
    sentences: tuple[str, ...]
    configurations: pd.DataFrame
    performance: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "selection": asdict(self.selection),
            "sentences": list(self.sentences),
            "configurations": records(self.configurations.reset_index(names="name")),
            "performance": records(self.performance.reset_index()),
        }


def train_hrp(config: HrpOptions, context: RunContext, *, progress: Progress) -> HrpOutcome:
    """Decide, select, compare, and write one checkpoint per configuration and period.

    Parameters
    ----------
    config : HrpOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If the panel cannot carry the job.
    ArtifactError
        If the run cannot be written, a checkpoint read back does not decide as before, or the same job is under way.
    """
    settings = config.model_dump(mode="json")
    job = open_sweep(FAMILY, config.data, settings=settings, seed=config.seed, context=context, progress=progress)
    planned = plan_sweep(config, job.prepared)
    returns = job.prepared.panel.returns.iloc[: planned.n_open]
    with job.work() as work:
        with progress("Deciding", len(planned.plan.decisions)) as step:
            decided = _decide_all(config, planned, returns, work, n_jobs=context.n_jobs, on_done=step)
        with progress("Judging", len(planned.plan.decisions)) as step:
            judged = judge_sweep(config, planned, returns, decided, n_jobs=context.n_jobs, on_done=step)
        budgets = check_budget(FAMILY, {"sweep": sum(one.seconds for one in decided)}, budgets=config.budgets)
        bundles = _bundles(config, planned, decided, job.fingerprint)
        sentences = (*judged.sentences, f"All decisions took {budgets[0].summary}.")
        record = job.record(
            failed=any(one.errors for one in decided),
            metrics=judged.metrics(),
            trials=_trials(planned, decided, bundles, judged),
            budgets=budgets,
        )
        distances = _distance_tables(config, planned, returns, n_jobs=context.n_jobs)
        content = _content(job, planned, judged, sentences)

        def contents(folder: Path) -> None:
            for bundle in bundles:
                place = folder / "bundles" / FAMILY / bundle.network / short_date(bundle.trained_through)
                save_bundle(bundle, place)
            check_predictions(folder, returns, n_jobs=context.n_jobs)
            (folder / "results.yaml").write_text(yaml.safe_dump(_log(config, planned, judged), sort_keys=False))
            distances.to_csv(folder / "distances.csv")
            write_tracks(judged.whole.tracks, folder / "returns.parquet")
            write_report(content, folder / "report.html")

        folder = job.write(record, contents, progress=progress)
    return HrpOutcome(folder, judged.selection, sentences, judged.configurations, judged.performance)


def _decide_all(
    config: HrpOptions, planned: SweepPlan, returns: pd.DataFrame, work: Path, *, n_jobs: int, on_done: Any
) -> list[Decided]:
    """Every date by itself, kept in `work` as soon as it is done."""
    values, eligible = returns.to_numpy(dtype=float), planned.plan.eligible.to_numpy()
    models = config.sweep.models()
    tasks = []
    for i, decision in enumerate(planned.plan.decisions):
        seen = np.flatnonzero(eligible[i])
        wanted = TENSORS if i in planned.checkpoints else TENSORS[:1]
        tasks.append((work, decision.row, decision.date, values, returns.columns, seen, models, wanted))
    return run_tasks(_decide, tasks, n_jobs=n_jobs, on_done=on_done)


def _decide(
    work: Path,
    row: int,
    date: pd.Timestamp,
    values: FloatArray,
    names: pd.Index,
    seen: NDArray[np.intp],
    models: Mapping[str, HierarchicalRiskParity],
    wanted: tuple[str, ...],
) -> Decided:
    """Take what was decided before the job was stopped, or decide."""
    identity = {"date": date.isoformat(), "configurations": list(models), "assets": len(seen)}
    store = CheckpointStore(work / short_date(date), identity=identity)
    kept = store.load_last()
    if kept is None:
        longest = max(model.lookback or 0 for model in models.values())
        X = pd.DataFrame(values[row + 1 - longest : row + 1, seen], columns=names[seen])
        began = time.perf_counter()
        outcomes = dict(zip(models, fit_together(list(models.values()), X), strict=True))
        seconds = time.perf_counter() - began
        fitted = {name: model for name, model in outcomes.items() if isinstance(model, HierarchicalRiskParity)}
        store.save(
            {f"{name}/{part}": getattr(model, f"{part}_") for name, model in fitted.items() for part in wanted},
            {
                "quality": {name: {**asdict(m.quality_), "score": m.quality_.score} for name, m in fitted.items()},
                "errors": {name: str(e) for name, e in outcomes.items() if isinstance(e, EigenfolioError)},
                "seconds": seconds,
            },
            epoch=1,
            step=1,
            best=False,
            boundary=True,
        )
        kept = store.load_last()
        assert kept is not None
    state = kept.state
    return Decided(date, seen, kept.tensors, state["quality"], state["errors"], state["seconds"])


def _bundles(config: HrpOptions, planned: SweepPlan, decided: list[Decided], fingerprint: str) -> list[Bundle]:
    """Every configuration at every checkpoint date on which it decided."""
    names = planned.plan.eligible.columns
    bundles = []
    for name, model in config.sweep.models().items():
        for one in (decided[i] for i in planned.checkpoints):
            if name in one.errors:
                continue
            tensors = {part: one.tensors[f"{name}/{part}"] for part in TENSORS}
            fitted = restored(model, tensors, one.quality[name], [str(names[column]) for column in one.columns])
            details = {"data_fingerprint": fingerprint}
            bundles.append(checkpoint(fitted, name, trained_through=one.date, details=details))
    return bundles


def _trials(planned: SweepPlan, decided: list[Decided], bundles: list[Bundle], judged: Judged) -> list[dict[str, Any]]:
    """Ledger: every configuration by its last checkpoint, and every track that was judged."""
    final = decided[planned.checkpoints[-1]]
    digests = {bundle.network: bundle.digest for bundle in bundles if bundle.trained_through == final.date}
    trials = []
    for name in judged.configurations.index:
        entry = {"kind": "training", "model": f"{FAMILY}/{name}", "through": short_date(final.date)}
        if name in final.errors:
            trials.append({**entry, "status": "failed", "error": final.errors[name]})
        else:
            trials.append({**entry, "status": "trained", "digest": digests[name]})
    return trials + [{"kind": "evaluation", "model": model, "book": book} for model, book in judged.whole.tracks]


def _distance_tables(config: HrpOptions, planned: SweepPlan, returns: pd.DataFrame, *, n_jobs: int) -> pd.DataFrame:
    """Analysis of the distances of the last decision's assets; empty where there are fewer than three."""
    decision, eligible = planned.plan.decisions[-1], planned.plan.eligible.iloc[-1].to_numpy()
    if eligible.sum() < 3:
        return pd.DataFrame()
    past = returns.iloc[: decision.row + 1, eligible].to_numpy(dtype=float)
    keys = list(product(config.sweep.lookbacks, config.sweep.correlations))
    tasks = [(past[-lookback:], correlation, config.sweep.n_clusters) for lookback, correlation in keys]
    tables = run_tasks(_distances, tasks, n_jobs=n_jobs)
    return pd.concat(dict(zip(keys, tables, strict=True)), names=["lookback", "correlation"])


def _distances(window: FloatArray, correlation: str, n_clusters: int) -> pd.DataFrame:
    measure = pearson_correlation if correlation == "pearson" else spearman_correlation
    return distance_analysis(measure(window), n_clusters=n_clusters)


def _log(config: HrpOptions, planned: SweepPlan, judged: Judged) -> dict[str, Any]:
    """The results log: plain values, one entry per configuration."""
    decisions = planned.plan.decisions
    rows = {row.pop("name"): row for row in records(judged.configurations.reset_index(names="name"))}
    own = judged.performance.reset_index(level="book", drop=True).reset_index(names="model")
    return {
        "selected": judged.selection.winner,
        "reason": judged.selection.reason,
        "selected_by": config.select_by,
        "n_candidates": judged.selection.n_candidates,
        "validation": _span(decisions[: planned.n_validation]),
        "out_of_sample": _span(decisions[planned.n_validation :]),
        "checkpoints": [short_date(decisions[i].date) for i in planned.checkpoints],
        "configurations": rows,
        "out_of_sample_performance": {row.pop("model"): row for row in records(own)},
        "deflated": {} if judged.deflated is None else dict(judged.deflated),
    }


def _span(decisions: Sequence[Any]) -> dict[str, Any]:
    return {"first": short_date(decisions[0].date), "last": short_date(decisions[-1].date), "decisions": len(decisions)}


def _content(
    job: SweepJob,
    planned: SweepPlan,
    judged: Judged,
    sentences: tuple[str, ...],
) -> ReportContent:
    winner, days = judged.selection.winner, judged.later.windows.index
    shown = [winner, *judged.rivals] if winner is not None else list(judged.rivals)
    tracks = {name: judged.later.tracks[name, OWN_BOOK] for name in shown}
    return ReportContent(
        title=f"Hierarchical risk parity on {job.prepared.name}",
        subtitle=f"{job.prepared.panel.n_assets} assets; compared {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}",
        verdict=sentences,
        learned_model=winner,
        champion=NAMED,
        performance=judged.performance.reset_index(),
        comparison=judged.comparison,
        returns={OWN_BOOK: {name: track.returns for name, track in tracks.items()}},
        turnover={OWN_BOOK: {name: track.turnover for name, track in tracks.items()}},
        periods_per_year=round(judged.periods_per_year),
        **job.page(planned.n_open),
    )
