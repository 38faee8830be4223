"""The command line: the one place that looks at arguments, environment, clock and working directory.

Exit status: 0 done, 1 a bug (with its traceback) or a leak found by `audit`, 2 something the user can mend (one line,
nothing written).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenfolio.errors import ArtifactError, EigenfolioError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.pipeline import Outcome, PretrainOptions, RunContext, RunOptions, TrainOptions
    from eigenfolio.pipeline.describe import Description
    from eigenfolio.pipeline.records import Registry, Reproduction, RunComparison, RunEntry
    from eigenfolio.training.live import LiveTraining

__all__ = ["app", "main"]

UsageTrouble: Any = typer.BadParameter.__mro__[2]
"""What the parser raises for arguments it cannot read."""

app = typer.Typer(
    name="eigenfolio",
    help="Learned portfolio models, trained, judged and shipped so that their claims survive checking.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Check, describe, archive and draw panels.", no_args_is_help=True)
app.add_typer(data_app, name="data")
runs_app = typer.Typer(help="List, show, compare and reproduce recorded runs.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

DataOption = Annotated[
    str | None,
    typer.Option("--data", help="Panel: CSV or Parquet (wide or long), a folder, or sp500 (embedded)."),
]
PanelArgument = Annotated[
    str, typer.Argument(help="Panel: CSV or Parquet (wide or long), a folder, or sp500 (embedded).")
]
ConfigArgument = Annotated[Path | None, typer.Argument(help="YAML file laid over the preset.")]
PresetOption = Annotated[str | None, typer.Option("--preset", help="quick (minutes) or full.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for runs; each run makes its own inside.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of every random number. Default: the configuration's.")
]
KindOption = Annotated[
    str | None, typer.Option("--kind", help="What the numbers are, prices or returns. Default: by evidence.")
]
JobsOption = Annotated[int, typer.Option("--jobs", help="Processes; -1 uses every core. Results do not change.")]
RunArgument = Annotated[str, typer.Argument(help="Run: identifier, the start of one, latest, or a folder.")]
RunsOption = Annotated[Path, typer.Option("--out", help="Folder of the runs.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print folds, parameters, memory and estimated time; train nothing.")
]
SampleOption = Annotated[
    float | None,
    typer.Option("--sample", help="Rehearse every stage on this share of the rows, and write a validation report."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
TensorBoardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Copy the metrics to OUT/tensorboard (extra: tensorboard).")
]
MLflowOption = Annotated[bool, typer.Option("--mlflow", help="Copy the run to MLflow (extra: mlflow).")]


SHOWN = {
    "annualized_volatility": ("vol", "{:.2%}"),
    "annualized_return": ("return", "{:.2%}"),
    "sharpe_ratio": ("Sharpe", "{:.2f}"),
    "max_drawdown": ("maxDD", "{:.1%}"),
    "turnover": ("trades", "{:.1%}"),
}
"""Metrics of a track that the tables show, with heading and format; --json has the others."""


def main() -> None:
    """Run the command line; errors a user can mend become one line and exit status 2."""
    try:
        raise SystemExit(app(standalone_mode=False) or 0)
    except EigenfolioError as error:
        message = " ".join(str(error).split())
        raise SystemExit(_complain(message, 2)) from None
    except UsageTrouble as error:
        raise SystemExit(_complain(f"{' '.join(error.format_message().split())} (see eigenfolio --help)", 2)) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(_complain("stopped; no run was written", 130)) from None


def _complain(message: str, status: int) -> int:
    print(f"eigenfolio: {message}", file=sys.stderr)
    return status


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Options that stand before a command."""
    if version:
        from eigenfolio import __version__

        print(__version__)
        raise typer.Exit


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

    tracking = _tracking_keys(tensorboard, mlflow)
    settings = load_config(config, preset=preset, seed=seed, data=_data_keys(data, kind), tracking=tracking)
    if dry_run or sample is not None:
        _rehearse(settings, _context(out, jobs), dry_run=dry_run, share=sample, as_json=as_json)
        return
    live = _live(settings, quiet=as_json)
    with _progress(quiet=as_json, below=live) as progress:
        outcome = pipeline.run(settings, _context(out, jobs, on_epoch=live), progress=progress)
    _show(outcome, as_json=as_json)


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
        sweep = _train_hrp if model == "hrp" else _train_gat
        sweep(
            config, _data_keys(data, kind), seed, _context(out, jobs), others=others, dry_run=dry_run, as_json=as_json
        )
        return
    if model != "shrinkage":
        raise ParameterError(f"model must be shrinkage, hrp or gat, got {model!r}")
    tracking = _tracking_keys(tensorboard, mlflow)
    settings = load_train_config(
        config, preset=preset, seed=seed, fold=fold, devices=devices, data=_data_keys(data, kind), tracking=tracking
    )
    if dry_run or sample is not None:
        _rehearse(settings, _context(out, jobs), dry_run=dry_run, share=sample, as_json=as_json)
        return
    live = _live(settings, quiet=as_json)
    with _progress(quiet=as_json, below=live) as progress:
        outcome = pipeline.train(settings, _context(out, jobs, on_epoch=live), progress=progress)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    for sentence in outcome.sentences:
        print(sentence)
    print(f"Report: {outcome.folder / 'report.html'}")


def _train_hrp(
    config: Path | None,
    data: dict[str, str] | None,
    seed: int | None,
    context: RunContext,
    *,
    others: dict[str, Any],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Sweep hierarchical risk parity, or say what that would do."""
    from eigenfolio.config import load_hrp_config
    from eigenfolio.pipeline.hrp_options import plan_sweep
    from eigenfolio.pipeline.hrp_sweep import train_hrp
    from eigenfolio.pipeline.prepare import prepare

    unread = [name for name, value in others.items() if value is not None]
    if unread:
        raise ParameterError(f"train hrp does not read {', '.join(unread)}; leave it out")
    settings = load_hrp_config(config, seed=seed, data=data)
    if dry_run:
        lines = plan_sweep(settings, prepare(settings.data)).lines(settings)
        print(json.dumps({"plan": lines}, indent=2) if as_json else "\n".join(lines))
        return
    with _progress(quiet=as_json) as progress:
        outcome = train_hrp(settings, context, progress=progress)
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    for sentence in outcome.sentences:
        print(sentence)
    print(f"Results: {outcome.folder / 'results.yaml'}")
    print(f"Report: {outcome.folder / 'report.html'}")


def _train_gat(
    config: Path | None,
    data: dict[str, str] | None,
    seed: int | None,
    context: RunContext,
    *,
    others: dict[str, Any],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train and rank graph-attention portfolios, or say what that would do."""
    unread = [name for name, value in others.items() if value is not None]
    if unread:
        raise ParameterError(f"train gat does not read {', '.join(unread)}; leave it out")
    from eigenfolio.config import load_gat_config
    from eigenfolio.pipeline.gat_options import plan_gat
    from eigenfolio.pipeline.gat_sweep import train_gat_sweep
    from eigenfolio.pipeline.prepare import prepare

    settings = load_gat_config(config, seed=seed, data=data)
    if dry_run:
        lines = plan_gat(settings, prepare(settings.data)).lines(settings)
        print(json.dumps({"plan": lines}, indent=2) if as_json else "\n".join(lines))
        return
    with _progress(quiet=as_json) as progress:
        outcome = train_gat_sweep(settings, context, progress=progress)
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
    from eigenfolio.pipeline.pretrain import plan_pretraining

    keys = None if data is None else {"path": str(data)}
    told = {"network": network, "windows": windows, "vintages": vintage or None, "data": keys}
    settings = load_pretrain_config(config, preset=preset, seed=seed, **told)
    if dry_run:
        planned = plan_pretraining(settings, n_jobs=_context(out, jobs).n_jobs)
        print(json.dumps(planned.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(planned.lines()))
        return
    live = _live(settings, quiet=as_json)
    with _progress(quiet=as_json, below=live) as progress:
        outcome = pipeline.pretrain(settings, _context(out, jobs, on_epoch=live), progress=progress)
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
    with _progress(quiet=as_json) as progress:
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

    settings = load_compare_config(config, seed=seed, data=_data_keys(data, kind))
    with _progress(quiet=as_json) as progress:
        outcome = pipeline.compare_covariance(settings, _context(out, jobs), progress=progress)
    _show(outcome, as_json=as_json)


@app.command()
def evaluate(
    panel: Annotated[
        str | None, typer.Argument(help="Panel: CSV or Parquet (wide or long), a folder, or sp500 (embedded).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with the keys of compare-covariance.")
    ] = None,
    kind: KindOption = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="Model that all others are compared with. Default: shipped weights."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option("--protocol", help="walk-forward (all tables), combinatorial, randomized or seeds (many paths)."),
    ] = "walk-forward",
    paths: Annotated[int, typer.Option("--paths", min=2, help="Paths of the randomized protocol.")] = 20,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=2, help="Seeds of the seeds protocol. Default: all there are.")
    ] = None,
    trained: Annotated[
        Path | None, typer.Option("--run", help="Run whose networks the seeds protocol judges. Default: those shipped.")
    ] = None,
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for a CSV file per table.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Walk the whole chain on markets whose truth is known instead.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of --self-test: quick (a minute or two) or full (half an hour).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge every model that needs no training on a panel, out of sample; --self-test exits with 1 if it fails."""
    if (panel is None) != self_test:
        raise ParameterError("evaluate takes a panel or --self-test: one of the two")
    if preset is not None and not self_test:
        raise ParameterError("--preset belongs to --self-test; a panel is judged by the keys of --config")
    if self_test:
        told = (config, kind, reference, seeds, trained, out)
        if any(one is not None for one in told) or protocol != "walk-forward" or paths != 20:
            raise ParameterError("--self-test draws its own markets; it takes --preset, --seed, --jobs and --json only")
        _evaluate_self_test(preset or "quick", seed, jobs, as_json=as_json)
        return
    from eigenfolio.artifacts.runs import check_writable
    from eigenfolio.config import load_compare_config
    from eigenfolio.pipeline.evaluate import evaluate as job
    from eigenfolio.pipeline.evaluation_text import evaluation_lines
    from eigenfolio.pipeline.protocols import PathReport, evaluate_paths
    from eigenfolio.pipeline.seed_protocol import SeedReport, evaluate_seeds

    if protocol != "seeds" and (seeds is not None or trained is not None):
        raise ParameterError(f"--seeds and --run belong to --protocol seeds, not to {protocol}; leave them out")
    settings = load_compare_config(config, seed=seed, data=_data_keys(panel, kind))
    if out is not None:
        if out.exists():
            raise ArtifactError(f"{out} exists already; choose another place or remove it")
        check_writable(out)
    with _progress(quiet=as_json) as progress:
        common: dict[str, Any] = {
            "reference": reference,
            "n_jobs": _context(Path(), jobs).n_jobs,
            "progress": progress,
        }
        done: Any
        if protocol == "walk-forward":
            done = job(settings, **common)
        elif protocol == "seeds":
            done = evaluate_seeds(settings, run=trained, n_seeds=seeds, **common)
        else:
            done = evaluate_paths(settings, protocol=protocol, n_paths=paths, **common)
    if out is not None:
        done.write(out)
    lines = done.lines() if isinstance(done, PathReport | SeedReport) else evaluation_lines(done)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(lines))


def _evaluate_self_test(preset: str, seed: int | None, jobs: int, *, as_json: bool) -> None:
    """Print what the whole chain finds where the truth is known; exit status 1 where that is not the truth."""
    from eigenfolio.pipeline.evaluate_self_test import embedded_source, evaluate_self_test, self_test_options

    options = self_test_options(preset, seed=seed)
    n_jobs = _context(Path(), jobs).n_jobs
    with _progress(quiet=as_json) as progress:
        done = evaluate_self_test(options, source=embedded_source(), n_jobs=n_jobs, progress=progress)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(done.lines()))
    if not done.passed:
        raise typer.Exit(1)


@app.command()
def stress(
    panel: PanelArgument,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with the keys of compare-covariance.")
    ] = None,
    kind: KindOption = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", help="Model, by its name in evaluate; repeat it. The first is the reference."),
    ] = None,
    shocks: Annotated[
        list[str] | None,
        typer.Option("--shock", help="volatility, correlation, outliers, missing or drought; repeat it. Default: all."),
    ] = None,
    impact: Annotated[float, typer.Option("--impact", min=0.0, help="Factor of the square-root law (drought).")] = 1.0,
    capital: Annotated[float, typer.Option("--capital", help="Size of the book, panel's currency (drought).")] = 1e7,
    seed: SeedOption = None,
    jobs: JobsOption = -1,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for the tables and a page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put models through crises, regimes and shocks: how much worse than in normal times, with intervals."""
    from eigenfolio.artifacts.runs import check_writable
    from eigenfolio.config import load_compare_config
    from eigenfolio.evaluation.stress import SHOCKS
    from eigenfolio.pipeline.stress import stress as job

    settings = load_compare_config(config, seed=seed, data=_data_keys(panel, kind))
    if out is not None:
        if out.exists():
            raise ArtifactError(f"{out} exists already; choose another place or remove it")
        check_writable(out)
    with _progress(quiet=as_json) as progress:
        done = job(
            settings,
            models=models or (),
            shocks=shocks or SHOCKS,
            impact=impact,
            capital=capital,
            n_jobs=_context(Path(), jobs).n_jobs,
            progress=progress,
        )
    if out is not None:
        done.write(out)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(done.lines()))


@app.command()
def audit(
    target: Annotated[
        str | None, typer.Argument(help="Folder of a run or of bundles, module:Estimator, or file.py:name.")
    ] = None,
    data: DataOption = None,
    kind: KindOption = None,
    rows: Annotated[int, typer.Option("--rows", min=200, help="Last rows of the panel that are used.")] = 1500,
    dates: Annotated[int, typer.Option("--dates", min=1, help="Decision dates, drawn from the seed.")] = 4,
    lag: Annotated[int, typer.Option("--lag", min=0, help="Rows between a decision and its trade.")] = 1,
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Rows of a label, for splitters.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws dates and poison.")] = 0,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Audit planted leaks and honest models instead, and print both rates.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for look-ahead in a run, in bundles, or in any estimator or function of yours; exit status 1 if found."""
    from eigenfolio.pipeline import DataOptions
    from eigenfolio.pipeline.audit import AuditOptions, audit_panel, audit_target
    from eigenfolio.pipeline.prepare import kind_of

    if (target is None) != self_test:
        raise ParameterError("audit takes a target or --self-test: one of the two")
    panel = DataOptions(path=data or "sp500", kind=kind_of(kind))
    options = AuditOptions(data=panel, rows=rows, dates=dates, lag=lag, horizon=horizon, seed=seed)
    sys.path.insert(0, str(Path.cwd()))  # module:Estimator is looked for where the command is given
    if target is not None:
        report: Any = audit_target(target, options, git_commit=_git_commit())
    else:
        from eigenfolio.pipeline.audit_self_test import self_test as test

        with _progress(quiet=as_json) as progress:
            report = test(audit_panel(options), dates=dates, seed=seed, progress=progress)
    print(json.dumps(report.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(report.lines()))
    if not (report.passed if self_test else report.clean):
        raise typer.Exit(1)


@app.command()
def monitor(
    name: RunArgument,
    data: Annotated[str, typer.Option("--data", help="Panel with newer rows, and enough before them to look back.")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the runs.")] = Path("runs"),
    kind: KindOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Bundles, such as shrinkage/dense; gat for all graphs.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="First date watched. Default: after the last that was judged.")
    ] = None,
    reference_rows: Annotated[int, typer.Option("--reference-rows", help="Rows before it to compare with.")] = 756,
    false_alarm: Annotated[
        float, typer.Option("--false-alarm", help="Probability of any false alarm within the horizon.")
    ] = 0.05,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="Rows that this holds for. Default: 252, or those watched.")
    ] = None,
    jobs: JobsOption = -1,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for charts and track.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the bundles of a finished run decide on newer rows, and say whether anything has changed."""
    from eigenfolio.artifacts.runs import check_writable
    from eigenfolio.pipeline import DataOptions
    from eigenfolio.pipeline.monitor import monitor as job
    from eigenfolio.pipeline.prepare import kind_of
    from eigenfolio.pipeline.records import find_run

    if out is not None:
        if out.exists():
            raise ArtifactError(f"{out} exists already; choose another place or remove it")
        check_writable(out)
    with _progress(quiet=as_json) as progress:
        done = job(
            find_run(name, runs),
            DataOptions(path=data, kind=kind_of(kind)),
            model=model,
            since=since,
            reference_rows=reference_rows,
            false_alarm=false_alarm,
            horizon=horizon,
            n_jobs=_context(Path(), jobs).n_jobs,
            progress=progress,
        )
    if out is not None:
        done.write(out)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(done.lines()))


@app.command()
def interpret(
    out: Annotated[Path, typer.Option("--out", help="New folder for the page and its tables.")],
    data: DataOption = None,
    kind: KindOption = None,
    weights: Annotated[
        str, typer.Option("--weights", help="as_of, latest, synthetic, a year, or a folder of bundles.")
    ] = "as_of",
    lookback: Annotated[int, typer.Option("--lookback", min=22, help="Rows that each decision looks back.")] = 1008,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the permutations.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what weights decided along a panel, what their answer hangs on, and what changed last."""
    from eigenfolio.artifacts.runs import check_writable
    from eigenfolio.learned import NeuralShrinkage
    from eigenfolio.pipeline import DataOptions
    from eigenfolio.pipeline.interpretation import interpret as job
    from eigenfolio.pipeline.prepare import kind_of, prepare

    if out.exists():
        raise ArtifactError(f"{out} exists already; choose another place or remove it")
    check_writable(out)
    prepared = prepare(DataOptions(path=data or "sp500", kind=kind_of(kind)))
    model = NeuralShrinkage(weights, lookback=lookback)
    with _progress(quiet=as_json) as progress:
        done = job(model, prepared.panel, name=prepared.name, seed=seed, progress=progress)
    done.write(out)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join([*done.sentences, f"Page: {out / 'interpretation.html'}"]))


@app.command()
def report(
    name: RunArgument,
    form: Annotated[str, typer.Option("--format", help="latex, markdown or csv.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the package.")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the runs.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Write the tables and vector figures of a paper from a recorded run."""
    from eigenfolio.pipeline.records import find_run
    from eigenfolio.pipeline.research_report import research_report

    done = research_report(find_run(name, runs), out, form=form)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2, allow_nan=False))
    else:
        print(f"{done.folder}: {len(done.tables)} tables, {len(done.figures)} figures")


def _data_keys(path: str | None, kind: str | None) -> dict[str, str] | None:
    given = {"path": path, "kind": kind}
    return {name: value for name, value in given.items() if value is not None} or None


def _tracking_keys(tensorboard: bool, mlflow: bool) -> dict[str, bool] | None:
    given = {"tensorboard": tensorboard, "mlflow": mlflow}
    return {name: True for name, value in given.items() if value} or None


def _context(out: Path, jobs: int, *, on_epoch: LiveTraining | None = None) -> RunContext:
    """What a job may know of the world outside: when, where, by which command, of which commit."""
    from eigenfolio.pipeline import RunContext

    if jobs != -1 and jobs < 1:
        raise ParameterError(f"--jobs must be -1 (every core) or at least 1, got {jobs}")
    return RunContext(
        folder=out,
        started=datetime.now(),
        command=shlex.join(["eigenfolio", *sys.argv[1:]]),
        git_commit=_git_commit(),
        n_jobs=os.cpu_count() or 1 if jobs == -1 else jobs,
        on_epoch=on_epoch,
    )


def _live(settings: RunOptions | TrainOptions | PretrainOptions, *, quiet: bool) -> LiveTraining | None:
    """Newest epoch of every bundle in training, for a terminal; None elsewhere."""
    if quiet or not sys.stderr.isatty():
        return None
    from eigenfolio.pipeline import PretrainOptions
    from eigenfolio.training.live import LiveTraining

    training = settings.chosen if isinstance(settings, PretrainOptions) else settings.training
    return LiveTraining(training.n_members, training.loop)


def _git_commit() -> str | None:
    """Commit of the code in use, marked when the tree is not clean; None outside a repository."""
    here = Path(__file__).parent

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if not ask("ls-files", "--error-unmatch", str(Path(__file__))):
        return None  # installed elsewhere: the repository around it, if any, is not ours
    commit = ask("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and ask("status", "--porcelain") else commit


@contextmanager
def _progress(*, quiet: bool, below: LiveTraining | None = None) -> Iterator[Callable[[str, int], Any]]:
    """Progress bars with an estimate on the terminal, one per stage, and what goes below; silent for machine output."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining(),
    )

    class Bars(Progress):
        def get_renderables(self) -> Iterator[Any]:
            yield from super().get_renderables()
            if below is not None and below.rows:
                yield below

    with Bars(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bars:

        @contextmanager
        def stage(name: str, total: int) -> Iterator[Callable[[], None]]:
            task = bars.add_task(name, total=total)
            yield lambda: bars.advance(task)
            bars.update(task, completed=total)

        yield stage


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    console.print()
    for i, sentence in enumerate(outcome.verdict):
        console.print(sentence, style="bold" if i == 0 else "", highlight=False, soft_wrap=True)
    console.print()
    for book in dict.fromkeys(outcome.performance["book"]):
        rows = outcome.performance[outcome.performance["book"] == book]
        console.print(_performance_table(rows, str(book)))
    for note in outcome.notes:
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {outcome.folder / 'report.html'}", highlight=False, soft_wrap=True)


def _performance_table(rows: pd.DataFrame, book: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{book} book: net of costs, annualised; turnover per rebalance"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("model", no_wrap=True)
    for label, _ in SHOWN.values():
        table.add_column(label, justify="right", no_wrap=True, min_width=6)
    for _, row in rows.sort_values("annualized_volatility").iterrows():
        table.add_row(str(row["model"]), *(form.format(row[name]) for name, (_, form) in SHOWN.items()))
    return table


@data_app.command("check")
def data_check(panel: PanelArgument, kind: KindOption = None, as_json: JsonOption = False) -> None:
    """Look for everything that would spoil a result; exit status 2 if something must be mended first."""
    from eigenfolio.pipeline.prepare import inspect

    report = inspect(panel, kind=kind)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _show_findings(report.summary(), report.to_rows())
    if report.status == "error":
        raise typer.Exit(2)


@data_app.command("describe")
def data_describe(
    panel: PanelArgument,
    kind: KindOption = None,
    features: Annotated[
        bool, typer.Option("--features/--no-features", help="Compute the features of the market over time.")
    ] = True,
    events: Annotated[
        Path | None, typer.Option("--events", help="Your events: CSV or Parquet with date, name, announced, kind.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for describe.html (the picture) and features.parquet.")
    ] = None,
    jobs: JobsOption = -1,
    as_json: JsonOption = False,
) -> None:
    """Summarise a panel: dates, assets, coverage, universe by year, and where every feature stands in its own past."""
    from eigenfolio.artifacts.runs import check_writable
    from eigenfolio.pipeline.describe import describe_panel

    if jobs != -1 and jobs < 1:
        raise ParameterError(f"--jobs must be -1 (every core) or at least 1, got {jobs}")
    if out is not None:
        if out.exists():
            raise ArtifactError(f"{out} exists already; choose another place or remove it")
        check_writable(out)
    with _progress(quiet=as_json) as progress:
        told = describe_panel(panel, kind=kind, features=features, events=events, n_jobs=jobs, progress=progress)
    written = None if out is None else told.write(out)
    if as_json:
        print(json.dumps(told.to_dict(), indent=2, allow_nan=False))
    else:
        _show_description(told, written)


def _show_description(told: Description, written: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from eigenfolio.pipeline.describe import CALENDAR

    console = Console()
    table = Table(show_header=False)
    for name, value in told.summary.items():
        if name != "by_year":
            table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    years = Table(title="by year", title_justify="left")
    for name in told.summary["by_year"][0]:
        years.add_column(name.replace("_", " "), justify="right")
    for row in told.summary["by_year"]:
        years.add_row(*(str(value) for value in row.values()))
    console.print(years)
    if told.table is not None:
        summary = told.table.summary()
        for family in told.table.families:
            judged = family not in CALENDAR
            console.print(_feature_lines(family, summary[summary["family"] == family], judged=judged))
        console.print("percentile: of the latest value among all of its own; missing: share of the rows", style="dim")
    for sentence in told.sentences():
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if written is not None:
        console.print(f"Page: {written}", highlight=False, markup=False, soft_wrap=True)


def _feature_lines(family: str, lines: pd.DataFrame, *, judged: bool) -> Any:
    """Where the features of one family stand; if judged, bold in the lowest and highest 5 % of their own past."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=family, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("feature", no_wrap=True, min_width=36)
    for heading in ("latest", "percentile", "missing"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, latest, place, missing in zip(*(lines[c].tolist() for c in lines.columns[1:]), strict=True):
        known = latest == latest
        style = "bold" if known and judged and min(place, 1 - place) <= 0.05 else ""
        cells = (f"{latest:.3f}", Text(f"{100 * place:.0f}", style=style)) if known else ("-", "-")
        table.add_row(name, *cells, f"{missing:.0%}")
    return table


@data_app.command("archive")
def data_archive(
    panel: PanelArgument,
    out: Annotated[Path, typer.Option("--out", help="New folder for the snapshot.")],
    version: Annotated[str, typer.Option("--version", help="Semantic version of the data set.")] = "1.0.0",
    note: Annotated[str, typer.Option("--note", help="Why it was kept.")] = "",
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep an immutable, hashed snapshot of a cleaned panel."""
    from eigenfolio.pipeline.prepare import archive

    manifest = archive(panel, out, version=version, note=note, kind=kind)
    if as_json:
        print(json.dumps(manifest, indent=2, allow_nan=False))
    else:
        print(f"{out}: version {manifest['version']}, fingerprint {manifest['fingerprint']}")


@data_app.command("synth")
def data_synth(
    kind: Annotated[str, typer.Argument(help="One of the kinds above.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="New or empty folder for the data and their truth.")],
    assets: Annotated[int | None, typer.Option("--assets", help="Assets. Default: the kind's.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Returns or snapshots. Default: the kind's.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same kind, sizes and seed: same bits.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw data with a known truth; what was planted and what an oracle scores is in their manifest.

    \b
    factor           three factors, dispersed betas and volatilities, normal rows
    spiked           a few large eigenvalues over a flat remainder
    block            groups with one correlation within and another between
    ledoit-wolf      eigenvalues 1, 3 and 10 for 20, 40 and 40 % of them
    student          factor covariance, multivariate Student rows
    jumps            asymmetric jumps, common and own
    garch            GARCH(1,1) volatilities, constant correlations
    dcc              GARCH volatilities, dynamic correlations
    regimes          Markov switching between a calm and a stressed covariance
    copula           Student copula, joint tail events
    bootstrap        blocks of real rows (embedded S&P 500 stocks)
    drift            correlations and eigenvalues that change halfway
    crisis           a tenth of the rows with higher volatilities and correlations
    listings         late listings, delistings and holidays
    quiet            names that go quiet and then jump, like merger targets
    twins            share classes and funds that nearly copy other assets
    null             nothing can be predicted, factor covariance
    null-real        nothing can be predicted, real rows with random signs
    momentum         past 21 own returns predict the next, IC 0.05
    lead-lag         returns lead others along a known graph, IC 0.05
    regime-momentum  momentum whose sign a slow regime flips, IC 0.05
    book-null        ten-level order book that says nothing
    book-imbalance   ten-level order book whose imbalance leads the mid, IC 0.1
    """
    from eigenfolio.pipeline.synthesise import synthesise

    manifest = synthesise(kind, out, n_assets=assets, n_rows=rows, seed=seed)
    if as_json:
        print(json.dumps(manifest, indent=2, allow_nan=False))
        return
    size = f"{manifest['n_rows']:,} rows" + (f" x {manifest['n_assets']} assets" if "n_assets" in manifest else "")
    print(f"{out}: {kind}, {size}, seed {seed}, fingerprint {manifest['fingerprint']}")
    for name, value in manifest["oracle_score"].items():
        print(f"    {name.replace('_', ' ')}: {'unknown' if value is None else f'{value:.4g}'}")


def _show_findings(summary: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    styles = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}
    console = Console()
    table = Table(title="Data report", title_justify="left")
    for name in ("check", "status", "finding"):
        table.add_column(name)
    for row in rows:
        table.add_row(row["check"], f"[{styles[row['status']]}]{row['status']}[/]", row["summary"])
    console.print(table)
    console.print(summary, highlight=False, soft_wrap=True)


@runs_app.command("list")
def runs_list(out: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List the runs of a folder, newest first, by model type and version."""
    from eigenfolio.pipeline.records import list_runs

    registry = list_runs(out)
    if as_json:
        print(json.dumps(registry.to_dict(), indent=2, allow_nan=False))
    else:
        _show_registry(registry, out)


@runs_app.command("show")
def runs_show(name: RunArgument, out: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Show the record of a run: settings, trials, bundles, metrics and repetitions."""
    from dataclasses import asdict

    from eigenfolio.pipeline.records import find_run, open_run, recorded_bundles, reproductions

    entry = open_run(find_run(name, out))
    bundles, repeated = recorded_bundles(entry.folder), reproductions(entry.folder)
    if as_json:
        known = {**asdict(entry.record), **entry.to_dict(), "bundles": bundles, "reproductions": repeated}
        print(json.dumps(known, indent=2, allow_nan=False))
    else:
        _show_run(entry, bundles, repeated)


@runs_app.command("compare")
def runs_compare(
    first: RunArgument, second: RunArgument, out: RunsOption = Path("runs"), as_json: JsonOption = False
) -> None:
    """Compare two runs: settings, versions and data that differ, and the change of every metric."""
    from eigenfolio.pipeline.records import compare_runs, find_run, open_run

    comparison = compare_runs(open_run(find_run(first, out)), open_run(find_run(second, out)))
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=2, allow_nan=False))
    else:
        _show_run_comparison(comparison)


@runs_app.command("reproduce")
def runs_reproduce(
    name: RunArgument,
    out: RunsOption = Path("runs"),
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Repeat in spite of another commit or other versions, and record that.")
    ] = False,
    jobs: JobsOption = -1,
    as_json: JsonOption = False,
) -> None:
    """Repeat a run from its record and compare bits; exit status 2 unless all are equal. Checks out nothing."""
    from eigenfolio.pipeline.records import find_run, reproduce

    folder = find_run(name, out)
    with _progress(quiet=as_json) as progress:
        done = reproduce(folder, _context(out, jobs), anyway=anyway, progress=progress)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2, allow_nan=False))
    else:
        _show_reproduction(done)
    if done.trouble is not None:
        raise ArtifactError(done.trouble)


def _show_registry(registry: Registry, out: Path) -> None:
    from rich.console import Console

    console = Console()
    width = max((len(entry.model) for entry in registry.entries), default=0) + 4
    for entry in registry.entries:
        record, model = entry.record, f"{entry.model} v{entry.version}"
        name = f"[bold]{entry.folder.name}[/]  {model:<{width}}  {record.started.replace('T', ' ')}"
        console.print(name, highlight=False, soft_wrap=True)
        told = f"    {record.kind}, {record.status}, seed {record.seed}, {Path(entry.data).name}: {entry.headline}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    if not registry.entries:
        console.print(f"{out} holds no run that can be read.", highlight=False, markup=False, soft_wrap=True)
    for trouble in registry.unreadable:
        console.print(f"not listed: {trouble}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _show_run(entry: RunEntry, bundles: list[dict[str, str]], repeated: list[dict[str, Any]]) -> None:
    import pandas as pd
    from rich.console import Console

    from eigenfolio.pipeline.run import flatten
    from eigenfolio.training.budgets import duration

    console, record = Console(), entry.record
    facts = {
        "folder": entry.folder,
        "kind": record.kind,
        "model": f"{entry.model} v{entry.version}",
        "started": record.started,
        "status": record.status,
        "command": record.command,
        "seed": record.seed,
        "git commit": record.git_commit or "not a repository",
        "data": entry.data,
        "data fingerprint": record.data_fingerprint,
        "headline": entry.headline,
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    console.print(_plain_table(entry.folder.name, ("record", ""), facts.items()))
    console.print(_plain_table("Settings", ("setting", "value"), flatten(record.config).items()))
    trained = [trial for trial in record.trials if trial["kind"] == "training"]
    title = f"Trials: {len(trained)} trained, {len(record.trials) - len(trained)} judged (model and book)"
    told = [(t["model"], t["through"], t["status"], t.get("error", t.get("best_epochs"))) for t in trained]
    console.print(_plain_table(title, ("model", "through", "status", "best epochs, or error"), told) if told else title)
    if record.budgets:
        times = [
            (row["fold"], duration(row["seconds"]), duration(row["budget"]), row["status"]) for row in record.budgets
        ]
        console.print(_plain_table("Time of training", ("through", "took", "budget", "status"), times))
    kept = [(b["family"], b["network"], b["trained_through"], b["digest"][:12], b["status"]) for b in bundles]
    if kept:
        console.print(_plain_table("Bundles", ("family", "network", "trained through", "digest", "status"), kept))
    performance = pd.DataFrame(record.metrics.get("performance", []))
    for book in dict.fromkeys(performance.get("book", [])):
        rows = performance[performance["book"] == book].fillna(float("nan"))
        console.print(_performance_table(rows, str(book)))
    for line in repeated:
        said = "all bits equal" if line["equal"] else line["first_difference"]
        console.print(f"Repeated {line['started']}: {said}", highlight=False, markup=False, soft_wrap=True)


def _show_run_comparison(comparison: RunComparison) -> None:
    from rich.console import Console

    from eigenfolio.pipeline.records import TRAINED

    console = Console()
    for side, entry in (("first", comparison.first), ("second", comparison.second)):
        told = f"{side + ':':<8}{entry.folder.name}  {entry.model} v{entry.version}, {entry.data}: {entry.headline}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    groups = {"Record": comparison.facts, "Settings": comparison.settings, "Versions": comparison.versions}
    for title, differing in groups.items():
        if differing:
            rows = [(name, *("-" if side is None else side for side in pair)) for name, pair in differing.items()]
            console.print(_plain_table(title, ("what differs", "first", "second"), rows))
        else:
            console.print(f"{title}: nothing differs", highlight=False)
    changed = comparison.metrics[comparison.metrics["difference"] != 0.0]
    for book in dict.fromkeys(changed["book"]):
        rows = changed[changed["book"] == book]
        differences = rows.pivot(index="model", columns="metric", values="difference")
        if book == TRAINED:
            losses = ((model, f"{loss:+.4g}") for model, loss in differences["validation_loss"].items())
            console.print(_plain_table("Bundles: second minus first", ("bundle", "validation loss"), losses))
        else:
            console.print(_difference_table(differences, str(book)))
    n_all = len(comparison.metrics)
    told = f"{n_all - len(changed)} of {n_all} metrics (of tracks and bundles) are equal; --json gives every one."
    console.print(told, highlight=False, soft_wrap=True)
    for side, tracks in (("first", comparison.only_first), ("second", comparison.only_second)):
        if tracks:
            console.print(f"Only in the {side}: {'; '.join(tracks)}", highlight=False, markup=False, soft_wrap=True)


def _difference_table(differences: pd.DataFrame, book: str) -> Any:
    """Of the models with a difference: the second run minus the first; blank where equal."""
    shown = {name: (label, form.replace(":", ":+")) for name, (label, form) in SHOWN.items() if name in differences}
    rows = [
        (model, *("" if row[name] != row[name] else form.format(row[name]) for name, (_, form) in shown.items()))
        for model, row in differences.iterrows()
    ]
    return _plain_table(f"{book} book: second minus first", ("model", *(label for label, _ in shown.values())), rows)


def _show_reproduction(done: Reproduction) -> None:
    from rich.console import Console

    console = Console()
    rows = [(check.what, "yes" if check.equal else "NO", check.detail) for check in (*done.verified, *done.bits)]
    console.print(_plain_table(f"Repeating {done.folder.name}", ("what", "equal", "detail"), rows))
    if done.equal:
        console.print("All bits are equal.", style="bold")
    if done.logged:
        console.print(done.logged, highlight=False, markup=False, soft_wrap=True)


def _plain_table(title: str, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Any:
    """Rows as text; the first column is never broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    return table
