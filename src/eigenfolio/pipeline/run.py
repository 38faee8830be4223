"""The main job: from a panel to a learned model, its evaluation, a report and a bundle.

    data checks -> cleaning -> sealing -> dated training -> walk-forward -> comparison -> report and record

The last rows are sealed before anything else looks at them. Training and evaluation see the rest; every decision
of the learned model uses the newest bundle that has seen nothing after it. A run that was stopped at any moment goes on
from its checkpoints when the same command is given again, to the same bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone

from eigenfolio.artifacts import BundleSeries, check_writable, run_identifier, write_run
from eigenfolio.data import seal
from eigenfolio.errors import DataError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.window import shrinkage_window
from eigenfolio.pipeline.judge import Judgement, Progress, judge, plan_evaluation
from eigenfolio.pipeline.judged import (
    common_content,
    crowding,
    failure_sentences,
    record_of,
    tags_of,
    tone,
    write_tracks,
)
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import CHAMPION, CLOSED_FORM_START, LEARNED
from eigenfolio.pipeline.options import RunOptions
from eigenfolio.pipeline.outcome import Outcome, RunContext, flatten, numbers
from eigenfolio.pipeline.prepare import Prepared, prepare
from eigenfolio.pipeline.training_tables import budget_rows, budget_warnings, save_bundles, training_content, trial_of
from eigenfolio.pipeline.work import work_folder
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training import TrainedFold, plan_training, train_series
from eigenfolio.training.follow import epoch_seconds, followed
from eigenfolio.training.shrinkage import FailedFold
from eigenfolio.training.tracking import check_tracking, copies

__all__ = ["run"]


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
