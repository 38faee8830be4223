"""Commands that judge, attack, watch and explain models, and write no run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eigenfolio.cli.app import app
from eigenfolio.cli.options import (
    DataOption,
    JobsOption,
    JsonOption,
    KindOption,
    PanelArgument,
    RunArgument,
    SeedOption,
)
from eigenfolio.cli.surroundings import check_new_folder, data_keys, git_commit, n_processes, progress_bars
from eigenfolio.data.places import check_panel_path
from eigenfolio.errors import ParameterError


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
    paths: Annotated[
        int | None, typer.Option("--paths", min=2, help="Paths of the randomized protocol. Default: 20.")
    ] = None,
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
        told = (config, kind, reference, paths, seeds, trained, out)
        if any(one is not None for one in told) or protocol != "walk-forward":
            raise ParameterError("--self-test draws its own markets; it takes --preset, --seed, --jobs and --json only")
        _evaluate_self_test(preset or "quick", seed, jobs, as_json=as_json)
        return
    if protocol != "seeds" and (seeds is not None or trained is not None):
        raise ParameterError(f"--seeds and --run belong to --protocol seeds, not to {protocol}; leave them out")
    if protocol != "randomized" and paths is not None:
        raise ParameterError(f"--paths belongs to --protocol randomized, not to {protocol}; leave it out")
    from eigenfolio.config import load_compare_config

    common: dict[str, Any] = {"reference": reference, "n_jobs": n_processes(jobs)}
    keys = data_keys(panel, kind)
    check_new_folder(out)
    settings = load_compare_config(config, seed=seed, data=keys)
    from eigenfolio.pipeline.evaluate import evaluate as job
    from eigenfolio.pipeline.evaluation_text import evaluation_lines
    from eigenfolio.pipeline.protocols import PathReport, evaluate_paths
    from eigenfolio.pipeline.seed_protocol import SeedReport, evaluate_seeds

    with progress_bars(quiet=as_json) as progress:
        common["progress"] = progress
        done: Any
        if protocol == "walk-forward":
            done = job(settings, **common)
        elif protocol == "seeds":
            done = evaluate_seeds(settings, run=trained, n_seeds=seeds, **common)
        else:
            done = evaluate_paths(settings, protocol=protocol, n_paths=20 if paths is None else paths, **common)
    if out is not None:
        done.write(out)
    lines = done.lines() if isinstance(done, PathReport | SeedReport) else evaluation_lines(done)
    print(json.dumps(done.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(lines))


def _evaluate_self_test(preset: str, seed: int | None, jobs: int, *, as_json: bool) -> None:
    """Print what the whole chain finds where the truth is known; exit status 1 where that is not the truth."""
    from eigenfolio.pipeline.evaluate_self_test import embedded_source, evaluate_self_test, self_test_options

    options = self_test_options(preset, seed=seed)
    n_jobs = n_processes(jobs)
    with progress_bars(quiet=as_json) as progress:
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
    from eigenfolio.config import load_compare_config

    keys, n_jobs = data_keys(panel, kind), n_processes(jobs)
    check_new_folder(out)
    settings = load_compare_config(config, seed=seed, data=keys)
    from eigenfolio.evaluation.stress import SHOCKS
    from eigenfolio.pipeline.stress import stress as job

    with progress_bars(quiet=as_json) as progress:
        done = job(
            settings,
            models=models or (),
            shocks=shocks or SHOCKS,
            impact=impact,
            capital=capital,
            n_jobs=n_jobs,
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
    if (target is None) != self_test:
        raise ParameterError("audit takes a target or --self-test: one of the two")
    if data is not None:
        check_panel_path(data)
    from eigenfolio.pipeline.audit import AuditOptions, audit_panel, audit_target
    from eigenfolio.pipeline.prepare import DataOptions, kind_of

    panel = DataOptions(path=data or "sp500", kind=kind_of(kind))
    options = AuditOptions(data=panel, rows=rows, dates=dates, lag=lag, horizon=horizon, seed=seed)
    sys.path.insert(0, str(Path.cwd()))  # module:Estimator is looked for where the command is given
    if target is not None:
        report: Any = audit_target(target, options, git_commit=git_commit())
    else:
        from eigenfolio.pipeline.audit_self_test import self_test as test

        with progress_bars(quiet=as_json) as progress:
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
    check_panel_path(data)
    n_jobs = n_processes(jobs)
    check_new_folder(out)
    from eigenfolio.pipeline.records import find_run

    run = find_run(name, runs)
    from eigenfolio.pipeline.monitor import monitor as job
    from eigenfolio.pipeline.prepare import DataOptions, kind_of

    with progress_bars(quiet=as_json) as progress:
        done = job(
            run,
            DataOptions(path=data, kind=kind_of(kind)),
            model=model,
            since=since,
            reference_rows=reference_rows,
            false_alarm=false_alarm,
            horizon=horizon,
            n_jobs=n_jobs,
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
    if data is not None:
        check_panel_path(data)
    check_new_folder(out)
    from eigenfolio.learned import NeuralShrinkage
    from eigenfolio.pipeline.interpretation import interpret as job
    from eigenfolio.pipeline.prepare import DataOptions, kind_of, prepare

    prepared = prepare(DataOptions(path=data or "sp500", kind=kind_of(kind)))
    model = NeuralShrinkage(weights, lookback=lookback)
    with progress_bars(quiet=as_json) as progress:
        done = job(model, prepared.panel, name=prepared.name, seed=seed, progress=progress)
    done.write(out)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join([*done.notes, *done.sentences, f"Page: {out / 'interpretation.html'}"]))


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

    run = find_run(name, runs)
    from eigenfolio.pipeline.research_report import research_report

    done = research_report(run, out, form=form)
    if as_json:
        print(json.dumps(done.to_dict(), indent=2, allow_nan=False))
    else:
        print(f"{done.folder}: {len(done.tables)} tables, {len(done.figures)} figures")
