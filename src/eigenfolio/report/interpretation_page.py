"""One self-contained HTML page of sections with sentences, figures and tables: what a model decided, and why.

The page knows no model: whoever asked the questions fills `InterpretationPage`. A section that has nothing is left out,
and the same content gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eigenfolio.report.figures import PALETTE
from eigenfolio.report.page import read_resource, script_json, write_page

__all__ = ["InterpretationPage", "Section", "render_interpretation", "write_interpretation"]


@dataclass(frozen=True, eq=False)
class Section:
    """One section of the page.

    Parameters
    ----------
    heading : str
    sentences : sequence of str
        What the section says in words; first what may not be read into it.
    figures : sequence of plotly.graph_objects.Figure or None
        What is None is left out.
    tables : sequence of DataFrame
        Shown with their index as first column; numbers with four significant digits.
    """

    heading: str
    sentences: Sequence[str] = ()
    figures: Sequence[go.Figure | None] = ()
    tables: Sequence[pd.DataFrame] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        figures = [figure for figure in self.figures if figure is not None]
        return not (self.sentences or figures or any(len(table) for table in self.tables))


@dataclass(frozen=True, eq=False)
class InterpretationPage:
    """What the page shows.

    Parameters
    ----------
    title, subtitle : str
    sections : sequence of Section
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""


def write_interpretation(content: InterpretationPage, path: str | os.PathLike[str]) -> Path:
    """Write the page, whole or not at all.

    Raises
    ------
    ArtifactError
        If the file cannot be written; nothing is left behind.
    """
    return write_page(render_interpretation(content), path)


def render_interpretation(content: InterpretationPage) -> str:
    """The page as text.

    Examples
    --------
    >>> sections = [Section("Intensity", ["It rose."]), Section("Idle")]
    >>> page = render_interpretation(InterpretationPage("A model", sections))
    >>> page[:15], "It rose." in page, "Idle" in page
    ('<!doctype html>', True, False)
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    specs: dict[str, Any] = {}
    sections = [_shown(section, specs) for section in content.sections if not section.empty]
    return environment.from_string(read_resource("interpretation_page.html")).render(
        content=content,
        sections=sections,
        css=Markup(read_resource("page.css")),
        specs=Markup(script_json(specs)),
        palette=Markup(script_json(PALETTE)),
        plotly=Markup(get_plotlyjs()) if specs else None,
    )


def _shown(section: Section, specs: dict[str, Any]) -> dict[str, Any]:
    """A section as the template takes it; its figures are added to `specs`."""
    names = []
    for figure in section.figures:
        if figure is not None:
            names.append(f"figure-{len(specs)}")
            specs[names[-1]] = json.loads(figure.to_json())
    tables = [_table(table) for table in section.tables if len(table)]
    return {"heading": section.heading, "sentences": list(section.sentences), "figures": names, "tables": tables}


def _table(table: pd.DataFrame) -> dict[str, Any]:
    flat = table.reset_index()
    return {
        "headings": [str(name).replace("_", " ") for name in flat.columns],
        "rows": [[_cell(value) for value in row] for row in flat.itertuples(index=False)],
    }


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "\u2013" if value != value else f"{value:.4g}".replace("-", "\u2212")
    return f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else str(value)
