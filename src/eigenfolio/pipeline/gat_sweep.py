"""The sweep of graph-attention portfolios: every graph method trained by rolling spans, judged on what follows, ranked.

    periods of a span -> networks of all seeds -> bundle of the span -> walk-forward over the spans -> ranking

A network is kept as soon as it is trained, and one in training goes on from its last epoch. Every bundle is read back
before the run is written, and has to decide as the walk-forward did.

    results.yaml     ranking, losses, epochs and alarms by graph and span, performance, what the figures are worth
    training.jsonl   every epoch of every network
    bundles/gat/<graph>/<date>, returns.parquet, report.html, run.json, config.yaml
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from eigenfolio.artifacts import (
    Bundle,
    CheckpointStore,
    load_bundle,
    save_bundle,
    short_date,
)
from eigenfolio.costs import hold
from eigenfolio.data import Decision
from eigenfolio.errors import ArtifactError
from eigenfolio.evaluation import OWN_BOOK, WalkForward, walk_forward
from eigenfolio.learned.graph_attention import FAMILY
from eigenfolio.parallel import run_tasks
from eigenfolio.pipeline.gat_judgement import (
    JudgedGat,
    about_turnover,
    judge_gat,
    member_folder,
    models,
    portfolio,
)
from eigenfolio.pipeline.gat_options import GatFold, GatOptions, GatPlan, plan_gat
from eigenfolio.pipeline.gat_page import gat_page
from eigenfolio.pipeline.gat_ranking import Ranking
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.outcome import RunContext, records
from eigenfolio.pipeline.sweep_job import open_sweep, write_tracks
from eigenfolio.report import write_report
from eigenfolio.training.budgets import check_budget
from eigenfolio.training.gat import TrainedGat, gat_bundle, train_gat
from eigenfolio.training.graph_batches import make_period

__all__ = ["GatOutcome", "train_gat_sweep"]


@dataclass(frozen=True)
class GatOutcome:
    """Where the run is, how the graphs rank, and what they came to.

    Parameters
    ----------
    folder : Path
        Of the run.
    ranking : Ranking
    sentences : tuple of str
        The findings in words.
    performance : DataFrame
        Of all graphs, their ensemble, every seed and the rivals on the dates served.
    """

    folder: Path
    ranking: Ranking
    sentences: tuple[str, ...]
    performance: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "ranking": self.ranking.to_dict(),
            "sentences": list(self.sentences),
            "performance": records(self.performance),
        }


def train_gat_sweep(config: GatOptions, context: RunContext, *, progress: Progress) -> GatOutcome:
    """Train every graph method for every span, judge, rank, and write the bundles.

    Parameters
    ----------
    config : GatOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If the panel cannot carry the job.
    TrainingError
        If a network's losses are not finite.
    ArtifactError
        If the run cannot be written, a bundle read back does not decide as before, or the same job is under way.
    """
    settings = config.model_dump(mode="json")
    job = open_sweep(FAMILY, config.data, settings=settings, seed=config.seed, context=context, progress=progress)
    planned = plan_gat(config, job.prepared)
    returns = job.prepared.panel.returns.iloc[: planned.n_open]
    with job.work() as work:
        tasks = [
            (config, planned, fold, graph, returns, work, job.fingerprint)
            for fold in planned.folds
            for graph in config.graphs
        ]
        with progress("Training", len(tasks)) as step:
            logs = run_tasks(_train, tasks, n_jobs=context.n_jobs, on_done=step)
        decisions = served_decisions(planned)
        with progress("Walking forward", len(decisions)) as step:
            walked = walk_forward(
                models(config, work),
                returns,
                decisions,
                books=planned.plan.books,
                eligible=planned.plan.eligible.iloc[planned.served],
                cost_bps=config.evaluation.cost_bps,
                n_jobs=context.n_jobs,
                on_done=step,
            )
        judged = judge_gat(config, returns, walked, logs)
        seconds = {
            short_date(fold.through): sum(log["seconds"] for log in logs if log["through"] == short_date(fold.through))
            for fold in planned.folds
        }
        budgets = check_budget(FAMILY, seconds, budgets=config.budgets)
        sentences = (
            *judged.sentences,
            *about_turnover(config, walked),
            *_about_training(logs),
            f"Training took {budgets[-1].summary}.",
        )
        record = job.record(
            failed=bool(walked.failures), metrics=judged.metrics(), trials=_trials(config, logs), budgets=budgets
        )
        content = gat_page(config, job, judged, walked, n_open=planned.n_open, sentences=sentences, logs=logs)

        def contents(folder: Path) -> None:
            for bundle in _bundles(config, planned, work):
                save_bundle(bundle, folder / "bundles" / FAMILY / bundle.network / short_date(bundle.trained_through))
            _check_decisions(config, planned, folder, returns, walked)
            with (folder / "training.jsonl").open("w") as lines:
                for log in logs:
                    lines.writelines(json.dumps(entry, allow_nan=False) + "\n" for entry in log["epochs"])
            (folder / "results.yaml").write_text(yaml.safe_dump(_log(config, planned, judged, logs), sort_keys=False))
            write_tracks(walked.tracks, folder / "returns.parquet")
            write_report(content, folder / "report.html")

        folder = job.write(record, contents, progress=progress)
    return GatOutcome(folder, judged.ranking, sentences, judged.performance)


# ---------------------------------------------------------------------------- training


def _train(
    config: GatOptions,
    planned: GatPlan,
    fold: GatFold,
    graph: str,
    returns: pd.DataFrame,
    work: Path,
    fingerprint: str,
) -> dict[str, Any]:
    """Networks of all seeds of one graph method for one span; what was done before is taken as it is."""
    name = short_date(fold.through)
    finished = work / "logs" / f"{graph}-{name}.json"
    if finished.exists():
        log: dict[str, Any] = json.loads(finished.read_text())
        return log
    place = {member: member_folder(work, graph, member) / name for member in range(config.n_seeds)}
    training, validation = (
        [
            make_period(
                returns,
                planned.plan.decisions[i],
                planned.plan.eligible.iloc[i].to_numpy(),
                graph=graph,
                covariance_estimator=config.covariance_estimator(),
                last_row=last,
            )
            for i in chosen
        ]
        for chosen, last in ((fold.training, fold.training_last), (fold.validation, fold.validation_last))
    )
    log = {"graph": graph, "through": name, "seconds": 0.0, "members": [], "epochs": []}
    for member, folder in place.items():
        seed = int(np.random.SeedSequence([config.seed, member]).generate_state(1)[0])
        store = CheckpointStore(
            work / "checkpoints" / f"{graph}-{name}-{member}", identity={"graph": graph, "through": name, "seed": seed}
        )
        trained = train_gat(training, validation, options=config.training, seed=seed, store=store)
        if not folder.exists():
            save_bundle(_member_bundle(config, trained, graph, fold, seed, fingerprint), folder)
        log["seconds"] += trained.seconds
        log["members"].append(_member_log(trained, seed))
        log["epochs"] += [{"graph": graph, "through": name, "member": member, **r} for r in trained.history.to_rows()]
    finished.parent.mkdir(parents=True, exist_ok=True)
    partial = finished.with_suffix(".partial")
    partial.write_text(json.dumps(log, allow_nan=False))
    partial.replace(finished)
    return log


def _member_bundle(
    config: GatOptions, trained: TrainedGat, graph: str, fold: GatFold, seed: int, fingerprint: str
) -> Bundle:
    details = {"data_fingerprint": fingerprint, "seeds": [seed]}
    return gat_bundle(
        [trained],
        graph=graph,
        options=config.training,
        trained_through=fold.through,
        covariance=type(config.covariance_estimator()).__name__,
        details=details,
    )


def _member_log(trained: TrainedGat, seed: int) -> dict[str, Any]:
    history = trained.history
    return {
        "seed": seed,
        "epochs": len(history.epochs) - 1,
        "best_epoch": history.best_epoch,
        "best_loss": history.best.validation["total"],
        "start_loss": history.start.validation["total"],
        "validation_sharpe": history.best.validation["sharpe"],
        "distance_to_equal": trained.distance_to_equal,
        "stopped": history.stopped,
        "alarms": list(history.alarms),
    }


def _bundles(config: GatOptions, planned: GatPlan, work: Path) -> list[Bundle]:
    """One bundle per graph and span, with the networks of all seeds."""
    bundles = []
    for graph in config.graphs:
        for fold in planned.folds:
            name = short_date(fold.through)
            members = [load_bundle(member_folder(work, graph, m) / name) for m in range(config.n_seeds)]
            tensors = {key: np.concatenate([one.tensors[key] for one in members]) for key in members[0].tensors}
            seeds = [seed for one in members for seed in one.details["seeds"]]
            bundles.append(replace(members[0], tensors=tensors, details={**members[0].details, "seeds": seeds}))
    return bundles


# ---------------------------------------------------------------------------- walking forward


def served_decisions(planned: GatPlan) -> list[Decision]:
    """The decisions that are judged, each held until the next is."""
    decisions = [planned.plan.decisions[i] for i in planned.served]
    stops = [following.start for following in decisions[1:]] + [decisions[-1].stop]
    return [replace(decision, stop=stop) for decision, stop in zip(decisions, stops, strict=True)]


def _about_training(logs: list[dict[str, Any]]) -> list[str]:
    members = [member for log in logs for member in log["members"]]
    alarmed = [member for member in members if member["alarms"]]
    collapsed = [m for m in members if any(alarm.startswith("equal weights") for alarm in m["alarms"])]
    return [
        f"{len(members)} networks were trained, {len(alarmed)} with an alarm; {len(collapsed)} of them hold equal "
        "weights."
    ]


def _check_decisions(
    config: GatOptions, planned: GatPlan, folder: Path, returns: pd.DataFrame, walked: WalkForward
) -> None:
    """Load every bundle from where it was written and decide anew on the first date that it serves."""
    served = served_decisions(planned)
    for graph in config.graphs:
        track = walked.tracks[f"gat_{graph}", OWN_BOOK].weights
        model = portfolio(config, folder / "bundles" / FAMILY / graph)
        for fold in planned.folds:
            decision = planned.plan.decisions[fold.test[0]]
            eligible = planned.plan.eligible.iloc[fold.test[0]].to_numpy()
            if any(f.model == f"gat_{graph}" and f.date == decision.date for f in walked.failures):
                continue
            if config.training.max_turnover is not None:
                model.set_params(previous_weights=_held(track, served, returns, decision))
            again = model.fit(returns.iloc[: decision.row + 1].loc[:, eligible]).weights_
            before = track.loc[decision.date].to_numpy()[eligible]
            apart = float(np.abs(again - before).max())
            if apart > 1e-12:
                raise ArtifactError(
                    f"bundle {graph} of {fold.through:%Y-%m-%d}, read back, decides otherwise on "
                    f"{decision.date:%Y-%m-%d} than before it was written (weights differ by up to {apart:.3g})"
                )


def _held(
    track: pd.DataFrame, served: list[Decision], returns: pd.DataFrame, decision: Decision
) -> dict[str, float] | None:
    """What the book decided before a date has become by then; None before there is one."""
    before = [one for one in served if one.row < decision.row]
    if not before or not track.loc[before[-1].date].any():
        return None
    rows = returns.iloc[before[-1].start : decision.row + 1].to_numpy(dtype=float)
    return dict(zip(track.columns, hold(track.loc[before[-1].date], rows)[1].tolist(), strict=True))


# ---------------------------------------------------------------------------- what is written


def _trials(config: GatOptions, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ledger: every network."""
    return [
        {
            "kind": "training",
            "model": f"{FAMILY}/{log['graph']}",
            "through": log["through"],
            "status": "trained",
            "seed": member["seed"],
            "best_epoch": member["best_epoch"],
            "validation_loss": member["best_loss"],
        }
        for log in logs
        for member in log["members"]
    ] + [{"kind": "evaluation", "model": f"gat_{graph}", "book": OWN_BOOK} for graph in config.graphs]


def _log(config: GatOptions, planned: GatPlan, judged: JudgedGat, logs: list[dict[str, Any]]) -> dict[str, Any]:
    """The results log: plain values."""
    served = served_decisions(planned)
    return {
        "ranking": judged.ranking.to_dict(),
        "graphs": {row.pop("graph"): row for row in records(judged.ranking.table.reset_index(names="graph"))},
        "loss": config.training.loss,
        "parameters": _n_parameters(config),
        "served": {
            "first": short_date(served[0].date),
            "last": short_date(served[-1].date),
            "decisions": len(served),
        },
        "spans": [short_date(fold.through) for fold in planned.folds],
        "training": [
            {"graph": log["graph"], "through": log["through"], **member} for log in logs for member in log["members"]
        ],
        "performance": {row.pop("model"): row for row in records(judged.performance)},
        "sharpe_differences": records(judged.differences),
    }


def _n_parameters(config: GatOptions) -> int:
    from eigenfolio.models.networks.gat import GraphAttention

    return sum(parameter.numel() for parameter in GraphAttention(**config.training.sizes).parameters())
