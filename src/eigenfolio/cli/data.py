"""Commands about panels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenfolio.cli.app import data_app
from eigenfolio.cli.options import JobsOption, JsonOption, KindOption, PanelArgument
from eigenfolio.cli.surroundings import check_new_folder, n_processes, progress_bars
from eigenfolio.data.places import check_panel_path

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.pipeline.describe import Description


@data_app.command("check")
def data_check(panel: PanelArgument, kind: KindOption = None, as_json: JsonOption = False) -> None:
    """Look for everything that would spoil a result; exit status 2 if something must be mended first."""
    check_panel_path(panel)
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
    check_panel_path(panel)
    n_processes(jobs)
    check_new_folder(out)
    from eigenfolio.pipeline.describe import describe_panel

    with progress_bars(quiet=as_json) as progress:
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
        console.print(
            "market_volatility and asset_volatility, 10 to 126: natural log of the last rows' over the past year's, so "
            "0 is as in that year and -1.1 a third of it",
            style="dim",
        )
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
    check_panel_path(panel)
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
