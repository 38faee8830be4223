"""Tables on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.pipeline import Outcome

__all__ = ["SHOWN", "performance_table", "plain_table", "show_outcome"]

SHOWN = {
    "annualized_volatility": ("vol", "{:.2%}"),
    "annualized_return": ("return", "{:.2%}"),
    "sharpe_ratio": ("Sharpe", "{:.2f}"),
    "max_drawdown": ("maxDD", "{:.1%}"),
    "turnover": ("trades", "{:.1%}"),
}
"""Metrics of a track that the tables show, with heading and format; --json has the others."""


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Verdict, performance by book and notes, or all of it as JSON."""
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
        console.print(performance_table(rows, str(book)))
    for note in outcome.notes:
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {outcome.folder / 'report.html'}", highlight=False, soft_wrap=True)


def performance_table(rows: pd.DataFrame, book: str) -> Any:
    """Performance of every model in one book, calmest first."""
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


def plain_table(title: str, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Any:
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
