r"""A result as the tables and vector figures of a paper: a folder in LaTeX, Markdown or CSV.

    paper.tex | paper.md       findings, data, performance, pairs with intervals, training, settings, reproduction
    tables/                    one file per table: .csv with every raw column, and in LaTeX .tex to \input
    figures/                   SVG and PDF
    captions.csv               what every table and figure shows

The content is that of the page (`ReportContent`), so a paper cannot say what the page does not. CSV tables come with
every form; what a cell of a printed table rounds, they hold in full. A part that is absent leaves its table out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.errors import ParameterError
from eigenfolio.report.content import OWN_BOOK, ReportContent
from eigenfolio.report.figures import forest_rows
from eigenfolio.report.paper_figures import figure_names, require_matplotlib, write_figures
from eigenfolio.report.paper_tables import Column, PaperTable, escape_latex, latex_table, markdown_table

__all__ = ["FORMS", "paper_tables", "write_package"]

FORMS = ("latex", "markdown", "csv")

_PERFORMANCE = {
    "model": Column("Model"),
    "annualized_return": Column("Return", 2, 100, unit="% p.a."),
    "annualized_volatility": Column("Volatility", 2, 100, unit="% p.a."),
    "sharpe_ratio": Column("Sharpe", 2),
    "sortino_ratio": Column("Sortino", 2),
    "max_drawdown": Column("Max. drawdown", 1, 100, unit="%"),
    "turnover": Column("Turnover", 1, 100, unit="% a time"),
    "gross_exposure": Column("Gross", 2, unit="× NAV"),
    "annualized_cost": Column("Cost", 2, 100, unit="% p.a."),
}
_PAIRS = {
    "rival": Column("Against"),
    "mean": Column("Mean of windows", 2, interval=("mean_low", "mean_high"), unit="%"),
    "pooled": Column("All days", 2, interval=("pooled_low", "pooled_high"), unit="%"),
    "n_windows": Column("Windows", 0),
    "detectable": Column("Detectable", 2, unit="%"),
    "p_adjusted": Column("p, adjusted", 3),
    "finding": Column("Finding"),
}
_CONVERGENCE = {
    "bundle": "Bundle", "members": "Members", "verdict": "Verdict", "plateau": "Plateau",
    "oscillation": "Oscillation", "overfitting": "Overfitting", "seed_spread": "Seed spread",
}  # fmt: skip
_TRAINING = {
    "bundle": Column("Bundle"),
    "epochs": Column("Epochs", 0),
    "start_validation_loss": Column("Loss of the start", 4),
    "best_validation_loss": Column("Best loss", 4),
    "seconds": Column("Seconds", 1),
}
_SHOWN_DIGITS = 16  # of a hash


def write_package(content: ReportContent, folder: Path, *, form: str, files: Mapping[str, bytes] | None = None) -> Path:
    """Write the package to a new folder, whole or not at all.

    Parameters
    ----------
    content : ReportContent
        What to show.
    folder : Path
        Must not exist.
    form : {"latex", "markdown", "csv"}
    files : mapping of str to bytes, optional
        Further files to put beside the document, by name.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ParameterError
        If the form is unknown, or matplotlib is not installed.
    ArtifactError
        If the folder exists or cannot be written; nothing is left behind.
    """
    if form not in FORMS:
        raise ParameterError(f"format must be one of {', '.join(FORMS)}, got {form!r}")
    require_matplotlib()
    tables, figures = paper_tables(content), figure_names(content)
    with whole_folder(folder) as partial:
        for place in ("tables", "figures"):
            (partial / place).mkdir()
        write_figures(content, partial / "figures")
        for table in tables:
            table.frame.to_csv(partial / "tables" / f"{table.name}.csv", index=False)
            if form == "latex":
                (partial / "tables" / f"{table.name}.tex").write_text(latex_table(table) + "\n", encoding="utf-8")
        captions = {f"tables/{table.name}": table.caption for table in tables}
        captions |= {f"figures/{name}": caption for name, caption in figures.items()}
        pd.Series(captions, name="caption").rename_axis("file").to_csv(partial / "captions.csv")
        if form != "csv":
            name, write = {"latex": ("paper.tex", _latex), "markdown": ("paper.md", _markdown)}[form]
            (partial / name).write_text(write(content, tables, figures), encoding="utf-8")
        for name, data in (files or {}).items():
            (partial / name).write_bytes(data)
    return Path(folder)


def paper_tables(content: ReportContent) -> list[PaperTable]:
    """The tables of a result, in the order in which they are read.

    Examples
    --------
    >>> content = ReportContent(title="A panel", verdict=["Nothing was compared."], settings={"seed": 42})
    >>> [table.name for table in paper_tables(content)]
    ['settings']
    """
    tables: list[PaperTable] = []
    for i, book in enumerate(content.books, 1):
        tables += [*_performance(content, book, i), *_pairs(content, book, i)]
    tables += _trained(content)
    for name, values, caption in (
        ("provenance", content.environment, "Data, code and versions behind every figure."),
        ("settings", content.settings, "Every setting of the run."),
    ):
        if values:
            frame = pd.DataFrame({"name": list(values), "value": [_short(value) for value in values.values()]})
            tables.append(PaperTable(name, caption, frame, {"name": Column("Name"), "value": Column("Value")}))
    return tables


def _performance(content: ReportContent, book: str, number: int) -> list[PaperTable]:
    table = content.performance_table
    rows = table[(table["book"].astype(str) == book) | (table["book"].astype(str) == OWN_BOOK)]
    if not len(rows):
        return []
    shown = {name: how for name, how in _PERFORMANCE.items() if name in rows}
    caption = f"Out-of-sample performance after costs, {book} book"
    if book != OWN_BOOK and (rows["book"].astype(str) == OWN_BOOK).any():
        caption += "; models that bring their own weights stand at the end"
    order = rows["book"].astype(str).eq(OWN_BOOK).sort_values(kind="stable").index
    return [PaperTable(f"performance-{number}", f"{caption}.", rows.loc[order].reset_index(drop=True), shown)]


def _pairs(content: ReportContent, book: str, number: int) -> list[PaperTable]:
    """The comparisons in the order of the figure, with the adjusted p-value of each."""
    rows = forest_rows(content, book)
    if not len(rows):
        return []
    table, reference = content.comparison_table, content.reference(book)
    own = table[(table["book"].astype(str) == book) & (table["reference"].astype(str) == reference)]
    p_values = own.assign(rival=own["rival"].astype(str)).set_index("rival")["p_adjusted"]
    level = f"{100 * float(own['confidence'].iloc[0]):.3g}"
    caption = (
        f"Volatility of {reference} relative to each rival, {book} book, with {level} % intervals; below zero "
        f"{reference} is calmer. p-values are adjusted for the number of rivals; smaller true differences "
        "than the detectable one would often be missed."
    )
    if content.champion in p_values.index and not own["reference_picked_afterwards"].any():
        caption += (
            f" The finding on {content.champion}, the rival named beforehand, is that of its unadjusted interval; the "
            "findings on the others follow their adjusted p-values."
        )
    if own["reference_picked_afterwards"].any():
        caption += f" {reference} was picked after the fact."
    return [PaperTable(f"comparison-{number}", caption, rows.assign(p_adjusted=rows["rival"].map(p_values)), _PAIRS)]


def _trained(content: ReportContent) -> list[PaperTable]:
    tables = []
    if len(content.training_table):
        frame = content.training_table
        shown = {name: how for name, how in _TRAINING.items() if name in frame}
        caption = "Dated bundles: validation loss of the untrained start and of the epoch that was kept."
        tables.append(PaperTable("training", caption, frame, shown))
    if len(content.convergence_table):
        frame = content.convergence_table
        shown = {name: Column(heading) for name, heading in _CONVERGENCE.items() if name in frame}
        tables.append(PaperTable("convergence", "How the training of each bundle went.", frame, shown))
    return tables


def _short(value: Any) -> str:
    """A value in words; a list by its members, a long hash by its first digits."""
    if value is None:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_short(item) for item in value) or "none"
    text = f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
    is_hash = len(text) >= 40 and all(c in "0123456789abcdef" for c in text.removesuffix("+changes"))
    return text[:_SHOWN_DIGITS] + ("+changes" if text.endswith("+changes") else "") if is_hash else text


_SECTIONS = (
    ("Performance", ("performance-",), ("growth-",)),
    ("Comparisons", ("comparison-",), ("comparison-",)),
    ("Training", ("training", "convergence"), ("losses",)),
    ("Data, code and settings", ("provenance", "settings"), ()),
)
"""Heading, and how the names of its tables and figures begin."""


def _sections(
    tables: Sequence[PaperTable], figures: Mapping[str, str], show_table: Callable[[PaperTable], str],
    show_figure: Callable[[str, str], str],
) -> list[tuple[str, list[str]]]:  # fmt: skip
    found = []
    for heading, table_names, figure_names_ in _SECTIONS:
        parts = [show_table(table) for table in tables if table.name.startswith(table_names)]
        parts += [show_figure(name, text) for name, text in figures.items() if name.startswith(figure_names_)]
        if parts:
            found.append((heading, parts))
    return found


def _latex(content: ReportContent, tables: Sequence[PaperTable], figures: Mapping[str, str]) -> str:
    def figure(name: str, caption: str) -> str:
        return (
            "\\begin{figure}[htbp]\n\\centering\n"
            f"\\includegraphics[width=\\textwidth]{{figures/{name}.pdf}}\n"
            f"\\caption{{{escape_latex(caption)}}}\n\\label{{fig:{name}}}\n\\end{{figure}}"
        )

    parts = [
        "\\documentclass[11pt]{article}",
        "\\usepackage[a4paper,margin=25mm]{geometry}",
        "\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}",
        "\\usepackage{array}\n\\usepackage{booktabs}\n\\usepackage{longtable}\n\\usepackage{graphicx}",
        f"\\title{{{escape_latex(content.title)}}}\n\\date{{}}",
        "\\begin{document}\n\\maketitle",
        escape_latex(content.subtitle),
        "\\section{Findings}",
        "\n\n".join(escape_latex(sentence) for sentence in _findings(content)),
    ]
    for heading, shown in _sections(tables, figures, lambda table: f"\\input{{tables/{table.name}.tex}}", figure):
        parts += [f"\\section{{{heading}}}", *shown]
    if content.commands:
        listed = "\n".join(f"\\item \\texttt{{{escape_latex(command)}}}" for command in content.commands)
        parts += ["\\section{Reproduction}", f"\\begin{{itemize}}\n{listed}\n\\end{{itemize}}"]
    return "\n\n".join(part for part in [*parts, "\\end{document}"] if part) + "\n"


def _markdown(content: ReportContent, tables: Sequence[PaperTable], figures: Mapping[str, str]) -> str:
    def figure(name: str, caption: str) -> str:
        return f"![{caption}](figures/{name}.svg)"

    parts = [f"# {content.title}", content.subtitle, "## Findings", *_findings(content)]
    for heading, shown in _sections(tables, figures, markdown_table, figure):
        parts += [f"## {heading}", *shown]
    if content.commands:
        parts += ["## Reproduction", "\n".join(f"- `{command}`" for command in content.commands)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _findings(content: ReportContent) -> list[str]:
    return [sentence for sentence in (*content.verdict, *content.warnings, content.sealed) if sentence]
