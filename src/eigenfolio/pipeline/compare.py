"""Which covariance estimator would have served this panel? A table with intervals, and no training."""

from __future__ import annotations

from pathlib import Path

from eigenfolio.artifacts import check_writable, write_run
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import Progress, judge, plan_evaluation
from eigenfolio.pipeline.judged import common_content, crowding, failure_sentences, record_of, write_tracks
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import CHAMPION
from eigenfolio.pipeline.outcome import Outcome, RunContext
from eigenfolio.pipeline.prepare import prepare
from eigenfolio.report import ReportContent, write_report

__all__ = ["compare_covariance"]


def compare_covariance(config: CompareOptions, context: RunContext, *, progress: Progress) -> Outcome:
    """Walk every closed form and the shipped weights forward over the whole panel and compare each with the champion.

    Nothing is trained or chosen, so no rows are sealed; the calibrated estimators learn from the rows before each
    decision only, and shipped weights are of a vintage that has seen nothing after it.

    Parameters
    ----------
    config : CompareOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If the panel is too short or too narrow.
    ArtifactError
        If the run cannot be written.
    """
    check_writable(context.folder)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    options = config.evaluation
    plan = plan_evaluation(
        returns,
        options=options,
        universe=config.universe,
        membership=prepared.membership,
        first_row=options.lookback + 6 * options.horizon,  # the calibrated estimators need a past to learn from
        n_rows=len(returns),
    )
    judgement = judge(
        {
            **shipped_models(lookback=options.lookback),
            **classical_models(lookback=options.lookback, horizon=options.horizon),
        },
        returns,
        plan,
        reference=None,
        options=options,
        seed=config.seed,
        n_jobs=context.n_jobs,
        progress=progress,
    )
    sentences = judgement.sentences(champion=None, seed=config.seed)
    days = judgement.result.windows.index
    content = ReportContent(
        title=f"Covariance estimators on {prepared.name}",
        subtitle=(
            f"{prepared.panel.n_assets} assets; judged out of sample {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d} on "
            f"{len(plan.decisions)} rebalancing dates"
        ),
        verdict=sentences,
        champion=CHAMPION,
        warnings=[*prepared.warnings, *crowding(judgement, config), *failure_sentences(judgement, [])],
        **common_content(prepared, config, context, judgement),
    )
    record = record_of(config, context, prepared, judgement, kind="compare-covariance", failed=False, trials=[])

    def contents(folder: Path) -> None:
        write_tracks(judgement, folder)
        write_report(content, folder / "report.html")

    with progress("Writing the report", 1) as step:
        folder = write_run(record, context.folder / record.identifier, contents=contents)
        step()
    return Outcome(folder, tuple(sentences), judgement.performance, judgement.comparison)
