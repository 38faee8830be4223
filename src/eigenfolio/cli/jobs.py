"""Commands that train, and those that judge without training and write a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenfolio.cli.app import app
from eigenfolio.cli.options import (
    ConfigArgument,
    DataOption,
    DryRunOption,
    JobsOption,
    JsonOption,
    KindOption,
    MLflowOption,
    OutOption,
    PresetOption,
    SampleOption,
    SeedOption,
    TensorBoardOption,
)
from eigenfolio.cli.surroundings import (
    data_keys,
    live_training,
    n_processes,
    progress_bars,
    run_context,
    tracking_keys,
)
from eigenfolio.cli.tables import show_outcome
from eigenfolio.data.places import check_folder
from eigenfolio.errors import ArtifactError, ParameterError

if TYPE_CHECKING:
    from eigenfolio.pipeline import RunContext, RunOptions, TrainOptions


@app.command()
def run(
    config: ConfigArgument = None,
    data: DataOption = None,
    preset: PresetOption = None,
    out: OutOption = Path("runs"),
    kind: KindOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    dry_run: DryRunOption = False,
    sample: SampleOption = None,
    tensorboard: TensorBoardOption = False,
    mlflow: MLflowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a learned model on a panel, judge it out of sample, and write one HTML report."""
    from eigenfolio import pipeline
    from eigenfolio.config import load_config

    keys, tracking = data_keys(data, kind), tracking_keys(tensorboard, mlflow)
    settings = load_config(config, preset=preset, seed=seed, data=keys, tracking=tracking)
    if dry_run or sample is not None:
        _rehearse(settings, run_context(out, jobs), dry_run=dry_run, share=sample, as_json=as_json)
        return
    live = live_training(settings, quiet=as_json)
    with progress_bars(quiet=as_json, below=live) as progress:
        outcome = pipeline.run(settings, run_context(out, jobs, on_epoch=live), progress=progress)
    show_outcome(outcome, as_json=as_json)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Model family: shrinkage, hrp or gat.")],
    config: ConfigArgument = None,
    data: DataOption = None,
    fold: Annotated[
        str | None, typer.Option("--fold", help="Rolling months that teach, stop and are served: 36m/12m/12m.")
    ] = None,
    preset: PresetOption = None,
    out: OutOption = Path("runs"),
    kind: KindOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Processes that train each fold together.")
    ] = None,
    dry_run: DryRunOption = False,
    sample: SampleOption = None,
    tensorboard: TensorBoardOption = False,
    mlflow: MLflowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model family into dated bundles; stopped at any moment, the same command goes on."""
    from eigenfolio import pipeline
    from eigenfolio.config import load_train_config

    if model in ("hrp", "gat"):
        others = {
            "--fold": fold, "--preset": preset, "--devices": devices, "--sample": sample,
            "--tensorboard": tensorboard or None, "--mlflow": mlflow or None,
        }  # fmt: skip
        keys, context = data_keys(data, kind), run_context(out, jobs)
        _sweep(model, config, keys, seed, context, others=others, dry_run=dry_run, as_json=as_json)
        return
    if model != "shrinkage":
        raise ParameterError(f"model must be shrinkage, hrp or gat, got {model!r}")
    tracking = tracking_keys(tensorboard, mlflow)
    settings = load_train_config(
        config, preset=preset, seed=seed, fold=fold, devices=devices, data=data_keys(data, kind), tracking=tracking
    )
    if dry_run or sample is not None:
        _rehearse(settings, run_context(out, jobs), dry_run=dry_run, share=sample, as_json=as_json)
        return
    live = live_training(settings, quiet=as_json)
    with progress_bars(quiet=as_json, below=live) as progress:
        outcome = pipeline.train(settings, run_context(out, jobs, on_epoch=live), progress=progress)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    for sentence in outcome.sentences:
        print(sentence)
    print(f"Report: {outcome.folder / 'report.html'}")


def _sweep(
    model: str,
    config: Path | None,
    data: dict[str, str] | None,
    seed: int | None,
    context: RunContext,
    *,
    others: dict[str, Any],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sweep hierarchical risk parity or graph-attention portfolios, or say what that would do."""
    unread = [name for name, value in others.items() if value is not None]
    if unread:
        raise ParameterError(f"train {model} does not read {', '.join(unread)}; leave it out")
    from eigenfolio import config as reader

    settings: Any
    job: Any
    plan: Any
    if model == "hrp":
        settings = reader.load_hrp_config(config, seed=seed, data=data)
        from eigenfolio.pipeline.hrp_options import plan_sweep as plan
        from eigenfolio.pipeline.hrp_sweep import train_hrp as job
    else:
        settings = reader.load_gat_config(config, seed=seed, data=data)
        from eigenfolio.pipeline.gat_options import plan_gat as plan
        from eigenfolio.pipeline.gat_sweep import train_gat_sweep as job
    if dry_run:
        from eigenfolio.pipeline.prepare import prepare

        lines = plan(settings, prepare(settings.data)).lines(settings)
        print(json.dumps({"plan": lines}, indent=2) if as_json else "\n".join(lines))
        return
    with progress_bars(quiet=as_json) as progress:
        outcome = job(settings, context, progress=progress)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    for sentence in outcome.sentences:
        print(sentence)
    print(f"Results: {outcome.folder / 'results.yaml'}")
    print(f"Report: {outcome.folder / 'report.html'}")


@app.command()
def pretrain(
    config: ConfigArgument = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of price panels, named as data.panels says.")
    ] = None,
    vintage: Annotated[
        list[str] | None,
        typer.Option("--vintage", help="Year up to 2020, or synthetic; may be repeated. Default: all that ship."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="spectral, attention or dense. Default: spectral.")
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option("--windows", help="Training windows of a vintage, e.g. 500, 1000 or 2000. Default: the preset's."),
    ] = None,
    preset: PresetOption = None,
    out: OutOption = Path("runs"),
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the weights that ship, one bundle per vintage; stopped at any moment, the same command goes on."""
    from eigenfolio import pipeline
    from eigenfolio.config import load_pretrain_config

    if data is not None:
        check_folder(data)
    keys = None if data is None else {"path": str(data)}
    told = {"network": network, "windows": windows, "vintages": vintage or None, "data": keys}
    settings = load_pretrain_config(config, preset=preset, seed=seed, **told)
    if dry_run:
        from eigenfolio.pipeline.pretrain import plan_pretraining

        planned = plan_pretraining(settings, n_jobs=n_processes(jobs))
        print(json.dumps(planned.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(planned.lines()))
        return
    live = live_training(settings, quiet=as_json)
    with progress_bars(quiet=as_json, below=live) as progress:
        outcome = pipeline.pretrain(settings, run_context(out, jobs, on_epoch=live), progress=progress)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    for sentence in outcome.sentences:
        print(sentence)
    print(f"Bundles: {outcome.folder / 'bundles'}")
    print(f"Report: {outcome.folder / 'report.html'}")


def _rehearse(
    settings: RunOptions | TrainOptions, context: RunContext, *, dry_run: bool, share: float | None, as_json: bool
) -> None:
    """Say what a job would do, or push a share of the rows through all of it; exit status 2 if a stage fails."""
    from eigenfolio.pipeline import rehearsal

    if dry_run and share is not None:
        raise ParameterError("--dry-run does nothing and --sample does a little; give one of them")
    if share is None:
        planned = rehearsal.dry_run(settings, n_jobs=context.n_jobs)
        print(json.dumps(planned.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(planned.lines()))
        return
    with progress_bars(quiet=as_json) as progress:
        done = rehearsal.rehearse(settings, context, share, progress=progress)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(done.lines()))
    if done.trouble is not None:
        raise ArtifactError(done.trouble)


@app.command("compare-covariance")
def compare_covariance(
    config: ConfigArgument = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    kind: KindOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    as_json: JsonOption = False,
) -> None:
    """Say which covariance estimator would have served a panel, with intervals and without training."""
    from eigenfolio import pipeline
    from eigenfolio.config import load_compare_config

    keys = data_keys(data, kind)
    settings = load_compare_config(config, seed=seed, data=keys)
    with progress_bars(quiet=as_json) as progress:
        outcome = pipeline.compare_covariance(settings, run_context(out, jobs), progress=progress)
    show_outcome(outcome, as_json=as_json)
