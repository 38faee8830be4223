"""Commands about recorded runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenfolio.cli.app import runs_app
from eigenfolio.cli.options import JobsOption, JsonOption, RunArgument, RunsOption
from eigenfolio.cli.surroundings import progress_bars, run_context
from eigenfolio.cli.tables import SHOWN, performance_table, plain_table
from eigenfolio.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.pipeline.records import Registry, RunComparison, RunEntry
    from eigenfolio.pipeline.reproduce import Reproduction


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
    from eigenfolio.pipeline.records import find_run

    folder = find_run(name, out)
    from eigenfolio.pipeline.reproduce import reproduce

    with progress_bars(quiet=as_json) as progress:
        done = reproduce(folder, run_context(out, jobs), anyway=anyway, progress=progress)
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

    from eigenfolio.pipeline.outcome import flatten

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
    console.print(plain_table(entry.folder.name, ("record", ""), facts.items()))
    console.print(plain_table("Settings", ("setting", "value"), flatten(record.config).items()))
    trained = [trial for trial in record.trials if trial["kind"] == "training"]
    title = f"Trials: {len(trained)} trained, {len(record.trials) - len(trained)} judged (model and book)"
    told = [(t["model"], t["through"], t["status"], t.get("error", t.get("best_epochs"))) for t in trained]
    console.print(plain_table(title, ("model", "through", "status", "best epochs, or error"), told) if told else title)
    if record.budgets:
        from eigenfolio.training.budgets import duration

        times = [
            (row["fold"], duration(row["seconds"]), duration(row["budget"]), row["status"]) for row in record.budgets
        ]
        console.print(plain_table("Time of training", ("through", "took", "budget", "status"), times))
    kept = [(b["family"], b["network"], b["trained_through"], b["digest"][:12], b["status"]) for b in bundles]
    if kept:
        console.print(plain_table("Bundles", ("family", "network", "trained through", "digest", "status"), kept))
    performance = pd.DataFrame(record.metrics.get("performance", []))
    for book in dict.fromkeys(performance.get("book", [])):
        rows = performance[performance["book"] == book].fillna(float("nan"))
        console.print(performance_table(rows, str(book)))
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
            console.print(plain_table(title, ("what differs", "first", "second"), rows))
        else:
            console.print(f"{title}: nothing differs", highlight=False)
    changed = comparison.metrics[comparison.metrics["difference"] != 0.0]
    for book in dict.fromkeys(changed["book"]):
        rows = changed[changed["book"] == book]
        differences = rows.pivot(index="model", columns="metric", values="difference")
        if book == TRAINED:
            losses = ((model, f"{loss:+.4g}") for model, loss in differences["validation_loss"].items())
            console.print(plain_table("Bundles: second minus first", ("bundle", "validation loss"), losses))
        else:
            console.print(difference_table(differences, str(book)))
    n_all = len(comparison.metrics)
    told = f"{n_all - len(changed)} of {n_all} metrics (of tracks and bundles) are equal; --json gives every one."
    console.print(told, highlight=False, soft_wrap=True)
    for side, tracks in (("first", comparison.only_first), ("second", comparison.only_second)):
        if tracks:
            console.print(f"Only in the {side}: {'; '.join(tracks)}", highlight=False, markup=False, soft_wrap=True)


def difference_table(differences: pd.DataFrame, book: str) -> Any:
    """Of the models with a difference: the second run minus the first; blank where equal."""
    shown = {name: (label, form.replace(":", ":+")) for name, (label, form) in SHOWN.items() if name in differences}
    rows = [
        (model, *("" if row[name] != row[name] else form.format(row[name]) for name, (_, form) in shown.items()))
        for model, row in differences.iterrows()
    ]
    return plain_table(f"{book} book: second minus first", ("model", *(label for label, _ in shown.values())), rows)


def _show_reproduction(done: Reproduction) -> None:
    from rich.console import Console

    console = Console()
    rows = [(check.what, "yes" if check.equal else "NO", check.detail) for check in (*done.verified, *done.bits)]
    console.print(plain_table(f"Repeating {done.folder.name}", ("what", "equal", "detail"), rows))
    if done.equal:
        console.print("All bits are equal.", style="bold")
    if done.logged:
        console.print(done.logged, highlight=False, markup=False, soft_wrap=True)
