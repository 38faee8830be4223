"""The commands' places: the root, `data` and `runs`."""

from __future__ import annotations

import typer

__all__ = ["app", "data_app", "runs_app"]

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
