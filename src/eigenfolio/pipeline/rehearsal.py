"""A small job pushed through every stage before the large one: `run --sample 0.1` and `train --sample 0.1`.

`rehearse` takes the most recent share of the rows before the sealed span, scales the options down until they fit, and
does everything that the job does:

    read, check, clean -> seal and sample -> features -> steps -> training -> bundles -> fresh process
                       -> walk-forward -> comparison -> page -> record

Each stage checks what came out of it. The first that fails ends the rehearsal; what is written is the validation
report alone, the rest happens in a temporary folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from eigenfolio.artifacts import (
    BundleSeries,
    check_writable,
    library_versions,
    load_run,
    load_series,
    short_date,
    write_run,
)
from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.data import CoverageRule, plan_decisions
from eigenfolio.errors import DataError, EigenfolioError, ParameterError
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.pipeline.dry_run import MODEL, DryRun, dry_run, models_of, n_open_rows, plan_of
from eigenfolio.pipeline.judge import Judgement, Progress, judge
from eigenfolio.pipeline.judged import common_content, record_of, write_tracks
from eigenfolio.pipeline.names import CHAMPION, CLOSED_FORM_START, LEARNED
from eigenfolio.pipeline.options import RANGES, RunOptions, TrainOptions
from eigenfolio.pipeline.outcome import RunContext, flatten
from eigenfolio.pipeline.prepare import Prepared, prepare
from eigenfolio.pipeline.training_tables import save_bundles, training_content, trial_of
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training import TrainedFold, TrainingFold, plan_training, train_series
from eigenfolio.training.probe import probe_shrinkage
from eigenfolio.training.windows import draw_windows, label_rows

__all__ = ["DryRun", "Rehearsal", "Stage", "check_table", "dry_run", "predict", "predict_to", "rehearse"]

FORMAT = "eigenfolio-pipeline-validation-1"
N_DECISIONS = 9  # an interval needs eight windows; one may be spare
N_WINDOWS, N_VALIDATION_WINDOWS, BATCH_SIZE = 128, 48, 32
LEAST_BATCH = int(RANGES["batch_size"][0])
N_MEMBERS, N_EPOCHS, N_BUNDLES = 2, 2, 2
LEAST_LOOKBACK = 22
LEAST_ROWS = 20  # decision rows that teach, at least
LEAST_STOPPING_ROWS = 8

Result = TypeVar("Result")
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stage:
    """One stage of a rehearsal.

    Parameters
    ----------
    name : str
    status : {"ok", "failed"}
    seconds : float
    detail : str
        What was seen, or what was wrong.
    traceback : str
        Where an error came from that is none of ours; else empty.
    """

    name: str
    status: Literal["ok", "failed"]
    seconds: float
    detail: str
    traceback: str = ""


@dataclass(frozen=True)
class Rehearsal:
    """What came of a rehearsal.

    Parameters
    ----------
    folder : Path
        Where the report is.
    share : float
        Share of the rows before the sealed span.
    n_rows : int
        Rows that were taken; 0 where the data could not be read.
    span : str
        Their dates in words.
    scaled : dict of str to (object, object)
        Options that were changed, by dotted name: as configured, and as rehearsed.
    stages : tuple of Stage
    """

    folder: Path
    share: float
    n_rows: int
    span: str
    scaled: Mapping[str, tuple[Any, Any]]
    stages: tuple[Stage, ...]

    @property
    def ok(self) -> bool:
        """Whether every stage held."""
        return all(stage.status == "ok" for stage in self.stages)

    @property
    def trouble(self) -> str | None:
        """The stage that failed, in one sentence; None where all held."""
        failed = next((stage for stage in self.stages if stage.status == "failed"), None)
        return None if failed is None else f"the rehearsal failed at {failed.name!r}: {failed.detail}"

    def lines(self) -> list[str]:
        """What to print: the stages as a table, and the options that were scaled."""
        width = max(len(stage.name) for stage in self.stages)
        told = [f"Rehearsal with {self.share:.0%} of the rows before the sealed span: {self.n_rows} rows{self.span}"]
        told += [
            f"  {stage.name:<{width}}  {stage.status:<6}  {stage.seconds:7.1f} s  {stage.detail}"
            for stage in self.stages
        ]
        if self.scaled:
            changes = [f"{name} {before} -> {after}" for name, (before, after) in self.scaled.items()]
            told.append(f"Scaled: {'; '.join(changes)}")
        told.append("Every stage held." if self.ok else "FAILED; stages after it were not reached.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "status": "ok" if self.ok else "failed",
            "share": self.share,
            "n_rows": self.n_rows,
            "span": self.span.strip(", "),
            "scaled": {name: {"configured": a, "rehearsed": b} for name, (a, b) in self.scaled.items()},
            "stages": [asdict(stage) for stage in self.stages],
        }


def rehearse(config: RunOptions | TrainOptions, context: RunContext, share: float, *, progress: Progress) -> Rehearsal:
    """Push a share of the rows, in time order, through every stage, and write a validation report.

    Parameters
    ----------
    config : RunOptions or TrainOptions
        The job; a training is judged with the default evaluation.
    context : RunContext
        The report goes to a new folder ``validation_<date>_<time>_<hash>`` inside its `folder`, holding
        ``pipeline-validation.json`` and ``pipeline-validation.txt``; whole or not at all.
    share : float in (0, 1]
        Of the rows before the sealed span; the most recent ones are taken.
    progress : Progress

    Returns
    -------
    Rehearsal
        With the stage that failed, if one did.

    Raises
    ------
    ParameterError
        If the share leaves (0, 1].
    DataError
        If it holds too few rows.
    ArtifactError
        If the report cannot be written.
    """
    if not 0.0 < share <= 1.0:
        raise ParameterError(f"--sample must be a share in (0, 1], got {share}; 0.1 takes a tenth of the rows")
    check_writable(context.folder)
    stages = _Stages(progress)
    sample: _Sample | None = None
    fingerprint = None
    with tempfile.TemporaryDirectory(prefix="eigenfolio-") as place:
        try:
            prepared = stages.run("read, check, clean", lambda: _read(config))
            fingerprint = prepared.panel.fingerprint
            sample = _take_sample(config, prepared, share)
            _all_stages(stages, prepared, sample, replace(context, folder=Path(place)))
        except _Stopped:
            pass
    settings = config.model_dump(mode="json")
    text = json.dumps([settings, fingerprint, share], sort_keys=True)
    name = f"validation_{context.started:%Y%m%d_%H%M%S}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    done = Rehearsal(
        folder=context.folder / name,
        share=share,
        n_rows=0 if sample is None else len(sample.returns),
        span="" if sample is None else f", {sample.first} to {sample.last}",
        scaled={} if sample is None else _changes(_as_run(config), sample.config),
        stages=tuple(stages.done),
    )
    entry = {
        "format": FORMAT,
        **done.to_dict(),
        "started": context.started.isoformat(timespec="seconds"),
        "command": context.command,
        "git_commit": context.git_commit,
        "versions": library_versions(),
        "data_fingerprint": fingerprint,
        "config": settings,
    }
    with whole_folder(done.folder) as partial:
        (partial / "pipeline-validation.json").write_text(json.dumps(entry, indent=2, allow_nan=False) + "\n")
        (partial / "pipeline-validation.txt").write_text("\n".join(done.lines()) + "\n")
    return done


class _Stopped(Exception):
    """A stage failed; it is noted, and nothing after it is done."""


class _Wrong(EigenfolioError):
    """What a stage found wrong with its result."""


class _Stages:
    """Runs stages one after the other and keeps a line about each."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[Stage] = []

    def run(self, name: str, work: Callable[[], tuple[Result, str]]) -> Result:
        """Do the work, which gives a result and what to say of it; whatever it raises is a failed stage."""
        began = time.perf_counter()
        try:
            with self.progress(name, 1) as step:
                result, detail = work()
                step()
        except Exception as error:  # a bug fails the stage as well, and is told with its origin
            ours = isinstance(error, EigenfolioError)
            said = str(error) if ours else f"{type(error).__name__}: {error}"
            origin = "" if ours else traceback.format_exc()
            seconds = round(time.perf_counter() - began, 3)
            self.done.append(Stage(name, "failed", seconds, " ".join(said.split()), origin))
            raise _Stopped from error
        self.done.append(Stage(name, "ok", round(time.perf_counter() - began, 3), detail))
        return result


def _all_stages(stages: _Stages, prepared: Prepared, sample: _Sample, context: RunContext) -> None:
    """Everything after reading, in the order of the job."""
    config, place = sample.config, context.folder
    stages.run("seal and sample", lambda: _check_sample(sample))
    stages.run("features", lambda: _check_features(sample))
    stages.run("training steps", lambda: _check_steps(sample))
    trained = stages.run("training", lambda: _train(sample, prepared, context.n_jobs))
    series = stages.run("bundles", lambda: _keep_bundles(trained, place))
    stages.run("fresh process", lambda: _ask_again(sample, series, place))
    judgement = stages.run("walk-forward", lambda: _judge(sample, prepared, series, context.n_jobs, stages.progress))
    stages.run("comparison", lambda: _check_tables(judgement))
    stages.run("page", lambda: _write_page(sample, prepared, judgement, trained, context))
    stages.run("record", lambda: _write_record(config, prepared, judgement, trained, context))


def _read(config: RunOptions | TrainOptions) -> tuple[Prepared, str]:
    prepared = prepare(config.data)
    panel = prepared.panel
    if panel.n_assets < 2:
        raise _Wrong(f"the panel has {panel.n_assets} asset, covariances need at least 2")
    return prepared, f"{panel.n_observations} rows x {panel.n_assets} assets, data report: {prepared.report.status}"


# sampling


@dataclass(frozen=True)
class _Sample:
    """Rows that are pushed through, the options that fit them, and the plan."""

    returns: pd.DataFrame
    n_open: int
    n_sealed: int
    config: RunOptions
    folds: list[TrainingFold]

    @property
    def first(self) -> str:
        return short_date(self.returns.index[0])

    @property
    def last(self) -> str:
        return short_date(self.returns.index[-1])


def _take_sample(config: RunOptions | TrainOptions, prepared: Prepared, share: float) -> _Sample:
    """Cut the rows and scale the options; too few rows are an error that names how many are needed."""
    job = _as_run(config)
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = n_open_rows(index, job.sealed_share)
    n_rows = max(1, round(share * n_open))
    scaled = _scaled(job, index[n_open - n_rows : n_open])
    if scaled is None:
        needed = _rows_needed(job, index[:n_open])
        if needed is not None and needed <= n_open:
            way_out = f"give a share of at least {math.ceil(1000 * needed / n_open) / 1000:g}"
        else:
            way_out = "give more history or smaller horizons"
        raise DataError(
            f"--sample {share:g} takes {n_rows} of the {n_open} rows before the sealed span, a rehearsal of this "
            f"configuration needs {'more' if needed is None else f'about {needed}'} (rows that teach, rows that stop, "
            f"and {N_DECISIONS} decisions); {way_out}"
        )
    taken = returns.iloc[n_open - n_rows : n_open]
    folds = plan_training(pd.DatetimeIndex(taken.index), scaled.training.schedule, n_rows=n_rows)
    return _Sample(taken, n_open, len(index) - n_open, scaled, folds)


def _as_run(config: RunOptions | TrainOptions) -> RunOptions:
    """A training with the default evaluation behind it."""
    if isinstance(config, RunOptions):
        return config
    kept = {name: getattr(config, name) for name in ("preset", "seed", "sealed_share", "data", "training", "budgets")}
    return RunOptions(universe=CoverageRule(min_assets=2), **kept)


def _scaled(config: RunOptions, index: pd.DatetimeIndex) -> RunOptions | None:
    """Options that fit these rows, none larger than configured where they can be smaller; None where nothing fits."""
    training, judged, universe = config.training, config.evaluation, config.universe
    windows, loop, horizon = training.windows, training.loop, training.windows.horizon
    start = index[0].normalize().replace(day=1)
    months = 12 * (index[-1].year - start.year) + index[-1].month - start.month
    per_month = len(index) / (months + 1)
    least_stop = max(2, math.ceil((horizon + LEAST_STOPPING_ROWS) / per_month))
    least_teach = math.ceil((LEAST_LOOKBACK + horizon + LEAST_ROWS) / per_month) + 1
    wanted = min(training.schedule.first_months, months * 6 // 10, months - N_DECISIONS - 2)
    first = max(6, least_stop + least_teach, wanted)
    if first >= months:
        return None
    stop = max(least_stop, min(training.schedule.validation_months, first // 4, first - least_teach))
    n_first = int(index.searchsorted(start + pd.DateOffset(months=first)))
    n_teach = int(index.searchsorted(start + pd.DateOffset(months=first - stop)))
    if n_teach < LEAST_LOOKBACK + horizon + LEAST_ROWS or n_first - n_teach < horizon + LEAST_STOPPING_ROWS:
        return None
    longest = max(LEAST_LOOKBACK, min(windows.max_lookback, (n_teach - horizon) // 2))
    lookback = max(LEAST_LOOKBACK, min(judged.lookback, (n_first - judged.horizon) // 2))
    coverage = min(universe.lookback, n_first)
    most_held = max(universe.min_assets, lookback // 2)  # unshrunk estimators are singular beyond the lookback
    changes = {
        "universe": {
            "lookback": coverage,
            "min_rows": max(1, universe.min_rows * coverage // universe.lookback),
            "max_assets": min(universe.max_assets or most_held, most_held),
        },
        "training": {
            "n_members": min(training.n_members, N_MEMBERS),
            "schedule": {
                "first_months": first,
                "every_months": max(1, math.ceil((months - first) / N_BUNDLES)),
                "validation_months": stop,
            },
            "windows": {
                "n_windows": min(windows.n_windows, N_WINDOWS),
                "n_validation_windows": min(windows.n_validation_windows, N_VALIDATION_WINDOWS),
                "max_lookback": longest,
                "min_lookback": max(LEAST_LOOKBACK, min(windows.min_lookback, longest // 2)),
            },
            "loop": {
                "max_epochs": min(loop.max_epochs, N_EPOCHS),
                "batch_size": min(
                    loop.batch_size, BATCH_SIZE, max(LEAST_BATCH, min(windows.n_windows, N_WINDOWS) // 4)
                ),
            },
        },
        "evaluation": {"lookback": lookback, "n_bootstrap": 1000},
    }
    scaled = RunOptions.model_validate(_laid_over(config.model_dump(), changes))
    try:
        folds = plan_training(index, scaled.training.schedule, n_rows=len(index))
        decisions = plan_decisions(
            index, rebalance=judged.rebalance, lag=judged.lag, min_history=max(folds[0].last_row + 1, lookback)
        )
    except (DataError, ParameterError):
        return None
    enough = len(decisions) >= N_DECISIONS and n_first >= lookback + judged.horizon
    return scaled if enough else None


def _rows_needed(config: RunOptions, index: pd.DatetimeIndex) -> int | None:
    """Fewest rows, to a few, that a rehearsal fits into; the calendar is repeated backwards where it is too short."""
    if len(index) < 2:
        return None
    for _ in range(8):
        if _scaled(config, index) is not None:
            break
        period = index[-1] - index[0] + pd.Series(index).diff().median()
        index = pd.DatetimeIndex((index - period).append(index))
    else:
        return None
    low, high = 1, len(index)  # `high` fits
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _scaled(config, index[-middle:]) is not None else (middle, high)
    return high


def _laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        merged[key] = _laid_over(merged[key], value) if isinstance(value, Mapping) else value
    return merged


def _changes(before: RunOptions, after: RunOptions) -> dict[str, tuple[Any, Any]]:
    a, b = flatten(before.model_dump(mode="json")), flatten(after.model_dump(mode="json"))
    return {name: (a.get(name), value) for name, value in b.items() if a.get(name) != value}


# what each stage does and checks


def _check_sample(sample: _Sample) -> tuple[None, str]:
    values = sample.returns.to_numpy(dtype=float)
    quoted = np.isfinite(values)
    if not quoted.any():
        raise _Wrong(f"the sample is empty: no return between {sample.first} and {sample.last}")
    if np.isinf(values).any():
        raise _Wrong(f"{int(np.isinf(values).sum())} returns of the sample are infinite")
    varied = (np.where(quoted, values, -np.inf).max(axis=0) > np.where(quoted, values, np.inf).min(axis=0)).sum()
    if varied < 2:
        raise _Wrong(f"the sample is constant: the returns of {int(varied)} assets vary, at least 2 must")
    return None, (
        f"{len(values)} of {sample.n_open} open rows, {sample.first} to {sample.last}; {sample.n_sealed} stay sealed; "
        f"{int(varied)} assets vary; {quoted.mean():.0%} of the returns are there"
    )


def _check_features(sample: _Sample) -> tuple[None, str]:
    fold, options = sample.folds[-1], sample.config.training.windows
    values = np.ascontiguousarray(sample.returns.to_numpy(dtype=float)[: fold.last_row + 1])
    teaching, _ = label_rows(len(values), fold.validation_start, options)
    rng = np.random.default_rng([sample.config.seed, fold.last_row])
    features = draw_windows(values, teaching, N_VALIDATION_WINDOWS, options=options, rng=rng).features().numpy()
    infinite = [
        name for name, whole in zip(SPECTRUM_FEATURES, np.isfinite(features).all(axis=0), strict=True) if not whole
    ]
    if infinite:
        raise _Wrong(f"features are not finite: {', '.join(infinite)}")
    constant = [name for name, width in zip(SPECTRUM_FEATURES, np.ptp(features, axis=0), strict=True) if width == 0.0]
    if 2 * len(constant) > len(SPECTRUM_FEATURES):
        raise _Wrong(f"{len(constant)} of {len(SPECTRUM_FEATURES)} features are constant: {', '.join(constant)}")
    same = f"; constant here: {', '.join(constant)}" if constant else ""
    return None, f"{len(SPECTRUM_FEATURES)} features of {len(features)} windows are finite{same}"


def _check_steps(sample: _Sample) -> tuple[None, str]:
    probe = probe_shrinkage(sample.returns, sample.folds[-1], options=sample.config.training, seed=sample.config.seed)
    if not np.isfinite(probe.losses).all():
        raise _Wrong(f"the loss is not finite: {probe.losses}")
    dead = [block for block, norm in probe.gradient_norms.items() if not norm > 0.0]
    if dead:
        raise _Wrong(f"gradients of {', '.join(dead)} are zero")
    if not probe.moved > 0.0:
        raise _Wrong("the optimiser moved no weight")
    return None, (
        f"loss {probe.losses[0]:.4f} -> {probe.losses[-1]:.4f}; gradients in all {len(probe.gradient_norms)} blocks; "
        f"weights moved by up to {probe.moved:.1e}; {probe.n_parameters} parameters; {probe.memory.describe()}"
    )


def _train(sample: _Sample, prepared: Prepared, n_jobs: int) -> tuple[list[TrainedFold], str]:
    outcomes = train_series(
        sample.returns,
        sample.folds,
        options=sample.config.training,
        seed=sample.config.seed,
        source=prepared.panel.fingerprint,
        n_jobs=n_jobs,
    )
    trained = []
    for outcome in outcomes:
        name = short_date(outcome.fold.through)
        if not isinstance(outcome, TrainedFold):
            raise _Wrong(f"the fold through {name} could not be trained: {outcome.error}")
        for member, history in enumerate(outcome.histories):
            losses = [
                loss for record in history.epochs for loss in (*record.train.values(), *record.validation.values())
            ]
            if not np.isfinite(losses).all():
                raise _Wrong(f"fold {name}, member {member}: a loss is not finite")
            if history.n_steps == 0 or history.n_bad:
                raise _Wrong(f"fold {name}, member {member}: {history.n_steps} steps, {history.n_bad} bad batches")
            if all(record.validation == history.start.validation for record in history.epochs):
                raise _Wrong(f"fold {name}, member {member}: the weights did not move, its loss is that of the start")
        trained.append(outcome)
    alarms = sorted({alarm for fold in trained for history in fold.histories for alarm in history.alarms})
    told = f"; alarms: {'; '.join(alarms)}" if alarms else ""
    members = sum(len(fold.histories) for fold in trained)
    return trained, f"{len(trained)} folds, {members} networks, every loss finite{told}"


def _keep_bundles(trained: list[TrainedFold], place: Path) -> tuple[BundleSeries, str]:
    save_bundles(trained, place)
    series = load_series(_bundle_folder(place))
    wanted = [fold.bundle.digest for fold in trained]
    if [bundle.digest for bundle in series] != wanted:
        raise _Wrong("the bundles that were read are not those that were written")
    return series, f"{len(series)} written and read back, the same bits"


def _bundle_folder(place: Path) -> Path:
    return place / "bundles" / MODEL


def _ask_again(sample: _Sample, series: BundleSeries, place: Path) -> tuple[None, str]:
    """Predictions of this process and of a fresh one, from the same files."""
    questions = place / "questions.parquet"
    sample.returns.to_parquet(questions)
    lookback = sample.config.evaluation.lookback
    here = predict(series, questions, lookback)
    code = "import sys; from eigenfolio.pipeline.rehearsal import predict_to; predict_to(*sys.argv[1:])"
    answers = place / "answers.npy"
    words = [sys.executable, "-c", code, str(_bundle_folder(place)), str(questions), str(lookback), str(answers)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise _Wrong(f"a fresh process could not use the bundles: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    there = np.load(answers)
    if here.shape != there.shape or here.tobytes() != there.tobytes():
        raise _Wrong("a fresh process gives other predictions than this one")
    if not np.isfinite(here).any():
        raise _Wrong("no prediction is finite")
    return (
        None,
        f"{len(here)} predictions of {here.shape[1]} x {here.shape[2]} from reloaded bundles have the same bits",
    )


def predict(series: BundleSeries, questions: Path, lookback: int) -> FloatArray:
    """Covariances at the date of each bundle and at the end, shape (n_bundles + 1, n_assets, n_assets)."""
    returns = pd.read_parquet(questions)
    dates = [*(bundle.trained_through for bundle in series), returns.index[-1]]
    with threadpool_limits(limits=1):
        fitted = [NeuralShrinkage(series, lookback=lookback).fit(returns.loc[:date]) for date in dates]
    return np.stack([model.covariance_ for model in fitted])


def predict_to(bundles: str, questions: str, lookback: str, answers: str) -> None:
    """Do `predict` from files to a file; what a fresh process is asked to do."""
    np.save(answers, predict(load_series(bundles), Path(questions), int(lookback)))


def _judge(
    sample: _Sample, prepared: Prepared, series: BundleSeries, n_jobs: int, progress: Progress
) -> tuple[Judgement, str]:
    config = sample.config
    plan = plan_of(config, prepared, sample.returns, sample.folds)
    plan = replace(plan, decisions=plan.decisions[-N_DECISIONS:], eligible=plan.eligible.iloc[-N_DECISIONS:])
    judgement = judge(
        models_of(config, series),
        sample.returns,
        plan,
        reference=LEARNED,
        options=config.evaluation,
        seed=config.seed,
        n_jobs=n_jobs,
        progress=progress,
    )
    result = judgement.result
    if result.failures:
        first = result.failures[0]
        raise _Wrong(
            f"{len(result.failures)} decisions failed; first {first.model} on {first.date:%Y-%m-%d}: {first.error}"
        )
    for (model, book), track in result.tracks.items():
        if not np.isfinite(track.returns.to_numpy()).all() or not np.isfinite(track.weights.to_numpy()).all():
            raise _Wrong(f"{model} ({book}): a weight or a return is not finite")
        if not np.ptp(track.returns.to_numpy()) > 0.0:
            raise _Wrong(f"{model} ({book}): the returns are constant")
    held = int(plan.eligible.sum(axis=1).max())
    return (
        judgement,
        f"{len(result.tracks)} tracks on {len(plan.decisions)} decisions, up to {held} assets, none failed",
    )


_FINITE = {
    "performance": ("annualized_return", "annualized_volatility", "sharpe_ratio", "max_drawdown", "turnover"),
    "comparison": ("pooled", "pooled_low", "pooled_high", "window_mean", "window_low", "window_high"),
}
_VARIED = {"performance": "annualized_volatility", "comparison": "window_mean"}


def _check_tables(judgement: Judgement) -> tuple[None, str]:
    performance, comparison = judgement.performance, judgement.comparison
    check_table("performance", performance)
    check_table("comparison", comparison)
    return None, f"performance {len(performance)} rows, comparison {len(comparison)} rows, finite and varied"


def check_table(name: Literal["performance", "comparison"], table: pd.DataFrame) -> None:
    """Refuse a table that is empty, not finite, or says the same of every model.

    Raises
    ------
    EigenfolioError
        With what is wrong.
    """
    if table.empty:
        raise _Wrong(f"the {name} table is empty")
    bad = [column for column in _FINITE[name] if not np.isfinite(table[column].to_numpy(dtype=float)).all()]
    if bad:
        raise _Wrong(f"the {name} table is not finite in {', '.join(bad)}")
    if len(table) > 1 and table[_VARIED[name]].nunique() < 2:
        raise _Wrong(f"the {name} table is constant: {_VARIED[name]} is the same in all {len(table)} rows")


def _write_page(
    sample: _Sample, prepared: Prepared, judgement: Judgement, trained: list[TrainedFold], context: RunContext
) -> tuple[None, str]:
    learned = judgement.result.diagnostics[LEARNED]
    if not np.isfinite(learned.to_numpy(dtype=float)).all():
        raise _Wrong(f"what {LEARNED} decided is not finite")
    content = ReportContent(
        title=f"Rehearsal on {prepared.name}",
        verdict=judgement.sentences(champion=CHAMPION, seed=sample.config.seed),
        learned_model=LEARNED,
        champion=CHAMPION,
        learned=learned.drop(columns="closed_form_shrinkage"),
        closed_form_intensity=learned["closed_form_shrinkage"].rename(CLOSED_FORM_START),
        warnings=prepared.warnings,
        **training_content(trained),
        **common_content(prepared, sample.config, context, judgement),
    )
    path = write_report(content, context.folder / "report.html")
    page = path.read_text()
    missing = [model for model in (LEARNED, CHAMPION) if model not in page]
    if "</html>" not in page or missing:
        raise _Wrong(f"the page is not whole{': it lacks ' + ', '.join(missing) if missing else ''}")
    return None, f"{path.stat().st_size / 1e6:.1f} MB, {len(content.verdict)} sentences"


def _write_record(
    config: RunOptions, prepared: Prepared, judgement: Judgement, trained: list[TrainedFold], context: RunContext
) -> tuple[None, str]:
    trials: list[Mapping[str, Any]] = [trial_of(fold) for fold in trained]
    record = record_of(config, context, prepared, judgement, kind="run", failed=False, trials=trials)

    def contents(folder: Path) -> None:
        save_bundles(trained, folder)
        write_tracks(judgement, folder)

    folder = write_run(record, context.folder / "runs" / record.identifier, contents=contents)
    again = load_run(folder)
    if json.dumps(asdict(again), sort_keys=True) != json.dumps(asdict(record), sort_keys=True):
        raise _Wrong("the record that was read is not the one that was written")
    if RunOptions.model_validate(again.config) != config:
        raise _Wrong("the configuration of the record is not the one of the run")
    tracks = pd.read_parquet(folder / "returns.parquet")
    for (model, book), track in judgement.result.tracks.items():
        if tracks[f"{model} | {book}"].to_numpy().tobytes() != track.returns.to_numpy().tobytes():
            raise _Wrong(f"the returns of {model} ({book}) that were read are not those that were written")
    if [bundle.digest for bundle in load_series(_bundle_folder(folder))] != [fold.bundle.digest for fold in trained]:
        raise _Wrong("the bundles of the record are not those that were trained")
    return None, f"{len(record.trials)} trials, {tracks.shape[0]} rows x {tracks.shape[1]} tracks, read back the same"
