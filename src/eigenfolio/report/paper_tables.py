r"""Tables of a paper: the same rows as LaTeX (booktabs), as Markdown, and as plain numbers in CSV.

A table is a frame of raw values with a `Column` for each column that is shown: a heading, its unit, a factor (100 for
percent) and a number of digits. CSV keeps every column, raw and at full precision; the other two show what is
named. A value that is missing is an en dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError

__all__ = ["Column", "PaperTable", "escape_latex", "latex_table", "markdown_table"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "\u2212": "$-$", "\u2013": "--",
}  # fmt: skip
_LONGEST = 38  # rows that fit on a page
_WIDE_TEXT = 40  # characters from which on a column wraps


@dataclass(frozen=True)
class Column:
    """How one column is shown.

    Parameters
    ----------
    heading : str
    unit : str, default=""
        Stands below the heading in LaTeX, behind it in Markdown.
    digits : int or None, default=None
        Decimals of a number; None shows the value as text.
    factor : float, default=1.0
        What a number is multiplied by first.
    interval : tuple of str or None, default=None
        Columns that hold the lower and upper end of an interval, shown in brackets behind the number.
    """

    heading: str
    digits: int | None = None
    factor: float = 1.0
    unit: str = ""
    interval: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class PaperTable:
    """A table with its caption.

    Parameters
    ----------
    name : str
        Of the file and of the label: letters, digits and hyphens.
    caption : str
        Says what is shown, in which unit, and what decides a difference.
    frame : DataFrame
        Raw values; its index is left out.
    columns : mapping of str to Column
        What is shown, in this order, by column of `frame`.

    Raises
    ------
    ParameterError
        If a column is missing.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = [name for column, how in self.columns.items() for name in (column, *(how.interval or ()))]
        missing = [name for name in wanted if name not in self.frame]
        if missing:
            raise ParameterError(
                f"table {self.name!r} shows {', '.join(missing)}, which its frame lacks; it has "
                f"{', '.join(map(str, self.frame.columns))}"
            )

    @property
    def headings(self) -> list[str]:
        """Headings of the columns that are shown, with their units."""
        return [how.heading + (f", {how.unit}" if how.unit else "") for how in self.columns.values()]

    @property
    def cells(self) -> list[list[str]]:
        """What is shown, row by row."""
        return [[_cell(row, name, how) for name, how in self.columns.items()] for row in self.frame.to_dict("records")]

    @property
    def numeric(self) -> list[bool]:
        """Which of the shown columns are numbers."""
        return [how.digits is not None for how in self.columns.values()]


def latex_table(table: PaperTable) -> str:
    r"""The table as LaTeX, for ``\input``; it needs the packages booktabs and, beyond a page, longtable.

    Examples
    --------
    >>> frame = pd.DataFrame({"model": ["A & B"], "volatility": [-0.123]})
    >>> shown = {"model": Column("Model"), "volatility": Column("Volatility", digits=1, factor=100, unit="%")}
    >>> print(latex_table(PaperTable("risk", "What was risked.", frame, shown)))
    \begin{table}[htbp]
    \centering\small
    \caption{What was risked.}
    \label{tab:risk}
    \begin{tabular}{lr}
    \toprule
    Model & Volatility \\
     & \% \\
    \midrule
    A \& B & $-$12.3 \\
    \bottomrule
    \end{tabular}
    \end{table}
    """
    cells = table.cells
    heads = [_latex_row(how.heading for how in table.columns.values())]
    if any(how.unit for how in table.columns.values()):
        heads.append(_latex_row(how.unit for how in table.columns.values()))
    body = [_latex_row(row) for row in cells]
    spec = "".join(_alignment(table, cells))
    about = [rf"\caption{{{escape_latex(table.caption)}}}", rf"\label{{tab:{table.name}}}"]
    rules = [r"\toprule", *heads, r"\midrule"]
    if len(body) > _LONGEST:
        opened = [r"{\small", rf"\begin{{longtable}}{{{spec}}}", about[0], about[1] + r"\\"]
        repeated = [*rules, r"\endfirsthead", *rules, r"\endhead"]
        return "\n".join([*opened, *repeated, *body, r"\bottomrule", r"\end{longtable}", "}"])
    size = r"\footnotesize\setlength{\tabcolsep}{3pt}" if len(table.columns) > 7 else r"\small"
    opened = [r"\begin{table}[htbp]", rf"\centering{size}", *about, rf"\begin{{tabular}}{{{spec}}}"]
    return "\n".join([*opened, *rules, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def markdown_table(table: PaperTable) -> str:
    r"""The table as Markdown with pipes, its caption above.

    Examples
    --------
    >>> frame = pd.DataFrame({"model": ["A|B"], "volatility": [0.123]})
    >>> shown = {"model": Column("Model"), "volatility": Column("Volatility", digits=1, factor=100, unit="%")}
    >>> print(markdown_table(PaperTable("risk", "What was risked.", frame, shown)))
    **What was risked.**
    <BLANKLINE>
    | Model | Volatility, % |
    | :--- | ---: |
    | A\|B | 12.3 |
    """
    rule = ["---:" if number else ":---" for number in table.numeric]
    rows = [[_pipe_safe(cell) for cell in row] for row in (table.headings, *table.cells)]
    lines = [rows[0], rule, *rows[1:]]
    return "\n".join([f"**{table.caption}**", "", *("| " + " | ".join(line) + " |" for line in lines)])


def escape_latex(text: str) -> str:
    r"""Text in which no character means anything to LaTeX.

    Examples
    --------
    >>> print(escape_latex("5 % of a_b {x}"))
    5 \% of a\_b \{x\}
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def _alignment(table: PaperTable, cells: list[list[str]]) -> list[str]:
    """Numbers to the right, short text to the left, long text in a paragraph."""
    found = []
    for k, number in enumerate(table.numeric):
        longest = max((len(row[k]) for row in cells), default=0)
        wide = rf">{{\raggedright\arraybackslash}}p{{{0.9 / max(len(table.columns) - 0.5, 1.0):.2f}\textwidth}}"
        found.append("r" if number else wide if longest > _WIDE_TEXT else "l")
    return found


def _pipe_safe(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _cell(row: Mapping[Any, Any], name: str, how: Column) -> str:
    value = row[name]
    if how.digits is None:
        return _text(value)
    shown = _number(value, how)
    if how.interval is None:
        return shown
    ends = [row[end] for end in how.interval]
    if not all(_is_number(end) for end in ends):
        return shown
    return f"{shown} [{', '.join(_number(end, how) for end in ends)}]"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))


def _number(value: Any, how: Column) -> str:
    if not _is_number(value):
        return "\u2013"
    text = f"{how.factor * float(value):,.{how.digits}f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "\u2212")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "\u2013"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else str(value)
