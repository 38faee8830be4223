"""Vector figures of a paper, as SVG and PDF: growth and drawdown, comparisons with intervals, and losses by epoch.

They hold what the page shows (`eigenfolio.report.figures`), on one column of 16 cm, in colours that stay apart in
print and for the common colour-vision deficiencies. The same content gives the same bytes: no date is written, and the
identifiers inside an SVG come from a fixed seed. Text stays text in both forms, so it can be searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.measures import drawdown_path, wealth_path
from eigenfolio.report.content import ReportContent
from eigenfolio.report.figures import (
    BAND,
    CHAMPION,
    FOCUS,
    GREYS,
    INK,
    ROUGHER,
    SEQUENCE,
    UNDECIDED,
    ZERO,
    book_tracks,
    forest_rows,
    records,
    weekly,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_names", "require_matplotlib", "write_figures"]

_WIDTH = 16.0 / 2.54  # inches
_STYLE: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": ZERO,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#e6e9ee",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "eigenfolio",
    "pdf.fonttype": 42,
}


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises
    ------
    ParameterError
        If it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ParameterError("vector figures need matplotlib: pip install 'eigenfolio[report]'") from error


def figure_names(content: ReportContent) -> dict[str, str]:
    """Names of the figures that the content gives, in order, with their captions."""
    names = {}
    for i, book in enumerate(content.books):
        if book_tracks(content, content.returns, book):
            names[f"growth-{i + 1}"] = f"Growth of 1 after costs, and drawdown, {book} book."
        if len(forest_rows(content, book)):
            names[f"comparison-{i + 1}"] = (
                f"Volatility of {content.reference(book)} against every rival, {book} book: mean over windows (thick) "
                "and all days pooled (thin), each with its interval; below zero it is the calmer one. The grey "
                "band is what could not be told from zero."
            )
    if _histories(content):
        names["losses"] = "Training and validation loss, change from the untrained start, mean over members, by bundle."
    return names


def write_figures(content: ReportContent, folder: Path, *, forms: tuple[str, ...] = ("svg", "pdf")) -> list[Path]:
    """Write every figure of `figure_names` in every form.

    Parameters
    ----------
    content : ReportContent
    folder : Path
        Must exist.
    forms : tuple of {"svg", "pdf"}

    Returns
    -------
    list of Path

    Raises
    ------
    ParameterError
        If matplotlib is not installed.
    """
    require_matplotlib()
    written = []
    with _style():
        for name in figure_names(content):
            figure = _draw(content, name)
            for form in forms:
                path = folder / f"{name}.{form}"
                dated = {"Date": None} if form == "svg" else {"CreationDate": None, "ModDate": None}
                figure.savefig(path, format=form, metadata=dated, bbox_inches="tight")
                written.append(path)
    return written


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def _draw(content: ReportContent, name: str) -> Figure:
    if name == "losses":
        return _losses(content)
    kind, number = name.rsplit("-", 1)
    book = content.books[int(number) - 1]
    return {"growth": _growth, "comparison": _comparison}[kind](content, book)


def _new(n_panels: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure as New

    figure = New(figsize=(_WIDTH, height))
    return figure, np.atleast_1d(figure.subplots(n_panels, 1, **options))


def _growth(content: ReportContent, book: str) -> Figure:
    figure, (above, below) = _new(2, 4.2, sharex=True, height_ratios=[2, 1])
    important = {content.focus(book): (FOCUS, 1.5), content.champion: (CHAMPION, 1.2)}
    for i, (model, returns) in enumerate(book_tracks(content, content.returns, book).items()):
        colour, width = important.get(model, (GREYS[i % len(GREYS)], 0.7))
        label = model if model in important else None
        for axis, path in ((above, weekly(wealth_path(returns))), (below, weekly(drawdown_path(returns), lowest=True))):
            factor = 100.0 if axis is below else 1.0
            axis.plot(path.index, factor * path.to_numpy(), color=colour, linewidth=width, label=label)
    above.set_yscale("log")
    low, high = np.log2(np.maximum(above.get_ylim(), 1e-6))
    ticks = 2.0 ** np.arange(np.ceil(low), np.floor(high) + 1)
    above.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    above.minorticks_off()
    above.set_title("Growth of 1, after costs")
    below.set_title("Drawdown, %")
    above.legend(loc="upper left")
    return figure


def _comparison(content: ReportContent, book: str) -> Figure:
    rows = forest_rows(content, book)
    low, high = _ends(rows)
    figure, (axis,) = _new(1, 0.9 + 0.28 * len(rows))
    heights = np.arange(len(rows))[::-1]
    colours = {"calmer": FOCUS, "rougher": ROUGHER, "undecided": UNDECIDED}
    for row, y in zip(records(rows), heights, strict=True):
        if np.isfinite(row.detectable):
            axis.barh(y, 2 * row.detectable, left=-row.detectable, height=0.72, color=BAND, zorder=0)
        axis.plot([row.pooled_low, row.pooled_high], [y - 0.17] * 2, color=INK, linewidth=0.6)
        axis.plot([row.mean_low, row.mean_high], [y + 0.1] * 2, color=INK, linewidth=1.6)
        for value, at, size, face in ((row.pooled, y - 0.17, 3, "white"), (row.mean, y + 0.1, 5, None)):
            inside = low <= value <= high  # a rival far off is an arrow at the edge, not the scale
            marker = "o" if inside else "<" if value < low else ">"
            colour = colours[row.finding]
            axis.plot(min(max(value, low), high), at, marker, color=colour, ms=size, mfc=face or colour, clip_on=False)
    axis.axvline(0.0, color=ZERO, linewidth=0.8)
    axis.set_yticks(heights, rows["rival"])
    axis.grid(False, axis="y")
    axis.set_xlim(low, high)
    axis.set_title(f"Volatility of {content.reference(book)} against each rival, %")
    return figure


def _ends(rows: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: those of the rivals whose intervals reach at most four times as far as the middle one's."""
    columns = ["mean_low", "mean_high", "pooled_low", "pooled_high"]
    reach = rows[columns].abs().max(axis=1)
    near = reach <= 4.0 * reach.median()
    detectable = float(rows.loc[near, "detectable"].fillna(0.0).max())
    drawn = rows.loc[near, columns].to_numpy(dtype=float)
    low = min(float(drawn.min()), -detectable)
    high = max(float(drawn.max()), detectable)
    room = 0.05 * max(high - low, 0.1)
    return low - room, high + room


def _histories(content: ReportContent) -> dict[str, pd.DataFrame]:
    return {name: history for name, history in content.loss_history.items() if len(history)}


def _losses(content: ReportContent) -> Figure:
    """Each loss as its change from epoch 0, the untrained start: bundles differ in level, which says nothing."""
    figure, axes = _new(2, 4.0, sharex=True)
    histories = _histories(content)
    for i, (name, history) in enumerate(histories.items()):
        shade = SEQUENCE[-1] if len(histories) == 1 else SEQUENCE[round(i * 7 / (len(histories) - 1))]
        for axis, column in zip(axes, ("train", "validation"), strict=True):
            change = history[column] - history[column].iloc[0]
            axis.plot(history["epoch"], change, color=shade, linewidth=1.1, label=name)
    axes[0].set_title("Training loss, change from the start")
    axes[1].set_title("Validation loss, change from the start")
    axes[1].set_xlabel("epoch")
    if len(histories) <= 8:
        axes[0].legend(ncols=2)
    return figure
