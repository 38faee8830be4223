"""One page about stress: how much wilder each book became in each scenario, drawn and as a table.

A point is the volatility of a scenario over that of normal times, on a logarithmic axis; its bar is the interval. The
reference and the fixed rival carry intervals, all others are grey points that show by name when pointed at. Right of
the line at 1 a book is wilder than in normal times.
"""

import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eigenfolio.errors import ParameterError
from eigenfolio.report.figures import CHAMPION, FAINT_INK, FOCUS, GREYS, PALETTE, ZERO, _style
from eigenfolio.report.page import read_resource, script_json, write_page
from eigenfolio.report.shrinkage_plot import _PAGE

__all__ = ["stress_figure", "write_stress_page"]

_KINDS = {"shock": "shock", "historic": "historic crisis", "regime": "regime"}
_ROW = 46  # pixels of a scenario
_TICKS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)


def stress_figure(table: pd.DataFrame, *, reference: str, champion: str | None = None) -> go.Figure:
    """Draw the degradation of every book by scenario.

    Parameters
    ----------
    table : DataFrame
        Columns kind, scenario, model, book, n_rows, annualized_volatility, normal_volatility, log_volatility with
        `_low` and `_high`; one book.
    reference, champion : str
        Models drawn in colour with their intervals, where they are in the table.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ParameterError
        If the table is empty.

    Examples
    --------
    >>> row = {"kind": "shock", "scenario": "volatility", "model": "A", "book": "own", "n_rows": 63,
    ...        "annualized_volatility": 0.3, "normal_volatility": 0.1}
    >>> ends = {"log_volatility": 1.0986, "log_volatility_low": 1.0, "log_volatility_high": 1.2}
    >>> [trace.name for trace in stress_figure(pd.DataFrame([row | ends]), reference="A").data]
    ['A']
    """
    if table.empty:
        raise ParameterError("there is no scenario to draw; the table of a stress test has at least one row")
    scenarios = list(dict.fromkeys(zip(table["kind"], table["scenario"], strict=True)))
    places = {scenario: float(len(scenarios) - 1 - k) for k, scenario in enumerate(scenarios)}
    figure = go.Figure()
    others = [model for model in dict.fromkeys(table["model"]) if model not in (reference, champion)]
    for model in others:
        figure.add_trace(_points(table, model, places, colour=GREYS[2], shift=0.0, bars=False))
    for model, colour, shift in ((champion, CHAMPION, -0.16), (reference, FOCUS, 0.16)):
        drawn_later = colour == CHAMPION and model == reference
        if model in set(table["model"]) and not drawn_later:
            figure.add_trace(_points(table, str(model), places, colour=colour, shift=shift, bars=True))
    kinds = dict.fromkeys(kind for kind, _ in scenarios)
    counts = table.groupby(["kind", "scenario"], sort=False)["n_rows"].first()
    names = [
        f"{escape(scenario)}<br><span style='color:{FAINT_INK};font-size:11px'>{_KINDS[kind]}, "
        f"{counts[kind, scenario]:,} days</span>"
        for kind, scenario in scenarios
    ]
    _style(figure, height=96 + _ROW * len(scenarios), top=44)
    for kind in list(kinds)[1:]:
        first = max(places[key] for key in places if key[0] == kind)
        figure.add_hline(y=first + 0.5, line={"color": ZERO, "width": 0.6, "dash": "dot"})
    figure.add_vline(x=1.0, line={"color": ZERO, "width": 1.5})
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
        xaxis={"type": "log", "tickvals": _TICKS, "ticktext": [f"\u00d7{tick:g}" for tick in _TICKS], **_range(table)},
        yaxis={
            "tickvals": list(places.values()),
            "ticktext": names,
            "range": [-0.6, len(scenarios) - 0.4],
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure


def write_stress_page(
    table: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str,
    reference: str,
    champion: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the figure as one self-contained page.

    Parameters
    ----------
    table, reference, champion
        As in `stress_figure`.
    path : path
        File; replaced in one step if it exists.
    title, subtitle : str
        Heading and the line below it.
    notes : sequence of str
        What the reader should know, below the heading.

    Returns
    -------
    Path

    Raises
    ------
    ParameterError
        If the table is empty.
    ArtifactError
        If the file cannot be written; nothing is left behind.
    """
    spec = json.loads(stress_figure(table, reference=reference, champion=champion).to_json())
    book = ", ".join(dict.fromkeys(table["book"]))
    lines = [
        subtitle,
        f"Volatility net of costs under stress over that of normal times; {book} book.",
        "Bars are intervals, grey points the other models.",
        *notes,
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_PAGE.replace("eigenfolio shrinkage", "eigenfolio stress")).render(
        name=title,
        lines=[(line, FAINT_INK) for line in lines],
        alarm="",
        warning="",
        css=Markup(read_resource("page.css")),
        spec=Markup(script_json(spec)),
        palette=Markup(script_json(PALETTE)),
        plotly=Markup(get_plotlyjs()),
    )
    return write_page(page, path)


def _points(
    table: pd.DataFrame, model: str, places: dict[tuple[str, str], float], *, colour: str, shift: float, bars: bool
) -> go.Scatter:
    rows = table[table["model"] == model]
    factor = np.exp(rows["log_volatility"].to_numpy(dtype=float))
    low, high = (np.exp(rows[f"log_volatility_{end}"].to_numpy(dtype=float)) for end in ("low", "high"))
    levels = rows[["annualized_volatility", "normal_volatility"]].to_numpy(dtype=float)
    hover = [
        f"<b>{escape(model)}</b><br>{escape(scenario)}: \u00d7{x:.2f} [{a:.2f}, {b:.2f}]<br>"
        f"{100 * level[0]:.1f} % against {100 * level[1]:.1f} % a year"
        for scenario, x, a, b, level in zip(rows["scenario"], factor, low, high, levels, strict=True)
    ]
    errors = {"type": "data", "symmetric": False, "array": high - factor, "arrayminus": factor - low}
    return go.Scatter(
        x=factor,
        y=[places[key] + shift for key in zip(rows["kind"], rows["scenario"], strict=True)],
        mode="markers",
        name=model,
        showlegend=bars,
        marker={"color": colour, "size": 10 if bars else 7, "opacity": 1.0 if bars else 0.75},
        error_x={**errors, "color": colour, "thickness": 2.0, "width": 0} if bars else None,
        hovertext=hover,
        hoverinfo="text",
    )


def _range(table: pd.DataFrame) -> dict[str, list[float]]:
    """Ends of the axis, in powers of ten: all points, and the line at 1, with a margin."""
    ends = table[["log_volatility", "log_volatility_low", "log_volatility_high"]].to_numpy(dtype=float)
    low, high = min(0.0, float(np.nanmin(ends))), max(0.0, float(np.nanmax(ends)))
    margin = 0.06 * max(high - low, 0.1)
    return {"range": [(low - margin) / np.log(10.0), (high + margin) / np.log(10.0)]}
