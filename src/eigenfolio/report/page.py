"""One self-contained HTML page from a `ReportContent`.

Plotly, style and script are written into the file and a Content-Security-Policy forbids every request, so the
page shows the same offline, in an archive and in ten years. The same content gives the same bytes: no clock, no
random identifier. Figures travel as JSON that the page draws when their book is chosen; dates shared by many
lines are stored once.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eigenfolio.errors import ArtifactError
from eigenfolio.report import figures
from eigenfolio.report.content import OWN_BOOK, ReportContent

__all__ = ["render_report", "write_report"]

# name: (heading, unit, factor, digits, which end is better, what it is)
_COLUMNS: dict[str, tuple[str, str, float, int, str, str]] = {
    "annualized_return": ("Return", "% p.a.", 100, 2, "high", "compound return after costs"),
    "annualized_volatility": ("Volatility", "% p.a.", 100, 2, "low", "standard deviation of daily returns"),
    "sharpe_ratio": ("Sharpe", "", 1, 2, "high", "annualised mean over volatility; no risk-free rate is taken off"),
    "sortino_ratio": ("Sortino", "", 1, 2, "high", "annualised mean over downside deviation"),
    "max_drawdown": ("Max. drawdown", "%", 100, 1, "shallow", "deepest loss from a previous high"),
    "turnover": (
        "Turnover",
        "% a time",
        100,
        1,
        "low",
        "half the sum of absolute trades over NAV, mean of the rebalances",
    ),
    "gross_exposure": ("Gross", "\u00d7 NAV", 1, 2, "", "mean sum of absolute weights"),
    "annualized_cost": ("Cost", "% p.a.", 100, 2, "low", "trading cost per year"),
    "n_failures": ("Failures", "dates", 1, 0, "", "decisions that could not be made; the weights were kept"),
    "cost": ("Cost", "% of NAV", 100, 2, "low", "trading cost"),
}
_TRAINING = {
    "bundle": "Bundle",
    "trained_through": "Trained through",
    "n_windows": "Windows",
    "epochs": "Epochs",
    "best_validation_loss": "Best validation loss",
    "start_validation_loss": "Classical start",
    "seconds": "Seconds",
}
_CONVERGENCE = {
    "bundle": "Bundle",
    "members": "Members",
    "verdict": "Verdict",
    "plateau": "Plateau",
    "oscillation": "Oscillation",
    "overfitting": "Overfitting",
    "seed_spread": "Seed spread",
    "alarms": "Alarms",
}
_TONES = {"good": "Supported", "bad": "Not supported", "unclear": "Not settled"}


def write_report(content: ReportContent, path: str | os.PathLike[str]) -> Path:
    """Write the page, whole or not at all.

    Parameters
    ----------
    content : ReportContent
        What to show.
    path : path
        File to write; replaced in one step if it exists. Its folder must exist.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ArtifactError
        If the file cannot be written; nothing is left behind.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> content = ReportContent(title="A panel", verdict=["Nothing was compared."])
    >>> with TemporaryDirectory() as folder:
    ...     print(write_report(content, f"{folder}/report.html").name)
    report.html
    """
    return write_page(render_report(content), path)


def write_page(text: str, path: str | os.PathLike[str]) -> Path:
    """Write the text of a page, whole or not at all.

    Raises
    ------
    ArtifactError
        If the file cannot be written; nothing is left behind.
    """
    page = text.encode()
    target = Path(path)
    temporary: str | None = None
    try:
        if target.is_dir():
            raise IsADirectoryError("it is a folder")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(
            f"report {target} cannot be written ({reason}); name a file in a folder you may write to"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return target


def render_report(content: ReportContent) -> str:
    """The page as text.

    Parameters
    ----------
    content : ReportContent
        What to show.

    Returns
    -------
    str
        A whole HTML document that loads nothing.

    Examples
    --------
    >>> page = render_report(ReportContent(title="A panel", verdict=["Nothing was compared."]))
    >>> page[:15], "Nothing was compared." in page
    ('<!doctype html>', True)
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["setting"] = _setting
    specs: dict[str, Any] = {}

    def keep(name: str, figure: go.Figure | None) -> str | None:
        if figure is None:
            return None
        specs[name] = json.loads(figure.to_json())
        return name

    books = [
        {
            "name": book,
            "forest": keep(f"forest-{i}", figures.forest_figure(content, book)),
            "forest_rows": _forest_table(content, book),
            "focus": content.focus(book),
            "reference": content.reference(book),
            "picked": _picked(content, book),
            "legend": _legend(content, book),
            "table": _performance(content, book),
            "equity": keep(f"equity-{i}", figures.equity_figure(content, book)),
            "volatility": keep(f"volatility-{i}", figures.rolling_volatility_figure(content, book)),
            "turnover": keep(f"turnover-{i}", figures.turnover_figure(content, book)),
        }
        for i, book in enumerate(content.books)
    ]
    template = environment.from_string(read_resource("page.html"))
    html = template.render(
        content=content,
        tone=_TONES[content.verdict_tone],
        books=books,
        keys=_key_figures(content),
        confidence=_confidence(content),
        learned=[
            keep(f"learned-{i}", figure)
            for i, figure in enumerate(figures.learned_figures(content) if content.learned_model else [])
        ],
        bundle_lines="trained_through" in content.training_table,
        spectrum=keep("spectrum", figures.spectrum_figure(content)),
        loss=[keep(f"loss-{i}", figure) for i, figure in enumerate(figures.training_figures(content))],
        training=_training(content.training_table),
        convergence=_convergence(content.convergence_table),
        findings=[dict(row) for row in content.data_findings],
        css=Markup(read_resource("page.css")),
        script=Markup(read_resource("page.js")),
        plotly=Markup(get_plotlyjs()) if specs else None,
        specs=Markup(script_json(_share_dates(specs))),
        palette=Markup(script_json(figures.PALETTE)),
    )
    return html


def read_resource(name: str) -> str:
    """Text of a file that ships with this room."""
    return resources.files("eigenfolio.report").joinpath(name).read_text(encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def script_json(value: Any) -> str:
    """Write JSON that cannot close the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _share_dates(specs: dict[str, Any]) -> dict[str, Any]:
    """Long lists of dates are stored once and named by their number."""
    shared: dict[tuple[str, ...], int] = {}
    for spec in specs.values():
        for trace in spec["data"]:
            x = trace.get("x")
            if isinstance(x, list) and len(x) > 20 and isinstance(x[0], str):
                trace["x"] = {"shared": shared.setdefault(tuple(x), len(shared))}
    return {"dates": [list(dates) for dates in shared], "figures": specs}


def _number(value: Any, factor: float = 1.0, digits: int | None = None) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}".replace("-", "\u2212")
    if isinstance(value, (float, np.floating)):
        if not np.isfinite(value):
            return "\u2013"
        text = f"{factor * value:.4g}" if digits is None else f"{factor * value:.{digits}f}"
        return (text.lstrip("-") if float(text) == 0 else text).replace("-", "\u2212")
    return str(value)


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return "none" if value is None else str(value)


def _heading(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _performance(content: ReportContent, book: str) -> dict[str, Any] | None:
    """Heading and rows of the table of one book; models with their own weights stand at its end."""
    table = content.performance_table
    of_book = table["book"].astype(str) == book
    own = (table["book"].astype(str) == OWN_BOOK) & (book != OWN_BOOK)
    table = pd.concat([table[of_book], table[own]])
    if not len(table):
        return None
    names = [c for c in table.columns if c not in ("model", "book") and table[c].notna().any()]
    names = [c for c in names if c != "n_failures" or table[c].any()]
    columns = []
    for name in names:
        heading, unit, factor, digits, better, meaning = _COLUMNS.get(
            str(name), (_heading(str(name)), "", 1.0, None, "", "")
        )
        values = table[name].abs() if better == "shallow" else table[name]
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        best = {"high": values.max, "low": values.min, "shallow": values.min}[better]() if better else None
        cells = [
            {
                "text": _number(float(value) if digits is not None and numeric else value, factor, digits),
                "key": float(value) if numeric and np.isfinite(value) else "" if numeric else str(value),
                "best": best is not None and value == best,
            }
            for value in values
        ]
        first = "ascending" if better in ("low", "shallow") else "descending"
        columns.append({"heading": heading, "unit": unit, "meaning": meaning, "first": first, "cells": cells})
    rows = [
        {
            "model": str(row.model),
            "role": _role(content, book, str(row.model)),
            "own": str(row.book) == OWN_BOOK and book != OWN_BOOK,
            "cells": [column["cells"][i] for column in columns],
        }
        for i, row in enumerate(table[["model", "book"]].itertuples())
    ]
    rank = {"focus": 0, "champion": 1, "other": 2}
    rows.sort(key=lambda row: rank[str(row["role"])])
    return {"columns": columns, "rows": rows}


def _role(content: ReportContent, book: str, model: str) -> str:
    if model == content.focus(book):
        return "focus"
    return "champion" if model == content.champion else "other"


def _legend(content: ReportContent, book: str) -> list[dict[str, str]]:
    shown = figures.book_tracks(content, content.returns, book)
    focus = content.focus(book)
    entries = []
    if focus in shown:
        note = "learned" if content.learned_model else "calmest" if _picked(content, book) else "reference"
        entries.append({"role": "focus", "name": str(focus), "note": note})
    if content.champion in shown and content.champion != focus:
        entries.append({"role": "champion", "name": content.champion, "note": "champion to beat"})
    n_others = len(shown) - len(entries)
    if n_others:
        entries.append({"role": "other", "name": "1 other" if n_others == 1 else f"{n_others} others", "note": ""})
    return entries


def _picked(content: ReportContent, book: str) -> bool:
    """Whether the reference of this book was picked after the fact."""
    table = content.comparison_table
    return bool(table.loc[table["book"].astype(str) == book, "reference_picked_afterwards"].any())


def _key_figures(content: ReportContent) -> list[dict[str, Any]]:
    """The learned model against the champion, one figure per book: the answer before any reading."""
    keys: list[dict[str, Any]] = []
    for book in content.books if content.learned_model else []:
        rows = figures.forest_rows(content, book)
        for row in figures.records(rows[rows["rival"] == content.champion]):
            keys.append(
                {
                    "book": book,
                    "value": figures.signed(row.mean),
                    "interval": f"{figures.signed(row.mean_low)} to {figures.signed(row.mean_high)}",
                    "n_windows": row.n_windows,
                    "detectable": _number(row.detectable, digits=2),
                    "finding": row.finding,
                }
            )
    return keys


def _forest_table(content: ReportContent, book: str) -> list[dict[str, Any]]:
    return [
        {
            "rival": row.rival,
            "mean": figures.signed(row.mean),
            "mean_interval": f"{figures.signed(row.mean_low)} to {figures.signed(row.mean_high)}",
            "pooled": figures.signed(row.pooled),
            "pooled_interval": f"{figures.signed(row.pooled_low)} to {figures.signed(row.pooled_high)}",
            "detectable": _number(row.detectable, digits=2),
            "n_windows": row.n_windows,
            "finding": row.finding,
        }
        for row in figures.records(figures.forest_rows(content, book))
    ]


def _confidence(content: ReportContent) -> str:
    levels = {f"{100 * level:.3g}" for level in content.comparison_table["confidence"]}
    return f"{levels.pop()} % interval" if len(levels) == 1 else "interval"


def _training(table: pd.DataFrame) -> dict[str, Any] | None:
    if not len(table):
        return None
    known = [name for name in _TRAINING if name in table]
    names = known + [name for name in table if name not in known]
    rows = [[_cell(value) for value in row] for row in table[names].itertuples(index=False)]
    return {"headings": [_TRAINING.get(str(name), _heading(str(name))) for name in names], "rows": rows}


def _convergence(table: pd.DataFrame) -> dict[str, Any] | None:
    """Headings, and cells of text with the status that colours them: only the verdict has one."""
    if not len(table):
        return None
    names = [name for name in _CONVERGENCE if name in table]
    rows = [
        [{"text": _cell(row[name]), "status": _status(row[name]) if name == "verdict" else ""} for name in names]
        for row in table.to_dict("records")
    ]
    return {"headings": [_CONVERGENCE[name] for name in names], "rows": rows}


def _status(verdict: str) -> str:
    return "ok" if verdict == "converged" else "warning"


def _cell(value: Any) -> str:
    return f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else _number(value)
