"""The figures of the report, as plotly figures that hold numbers and the light colours only.

Each function returns None where there is nothing to draw. Paths longer than about six years of days are drawn
weekly: the last value of a week for wealth and volatility, the deepest one for drawdown, so no trough is lost.
A log ratio of volatilities x is drawn as the percentage exp(x) - 1; below zero the reference is the calmer one.
Colours stay apart under the common colour-vision deficiencies [1]_; the page swaps them for dark screens by
`PALETTE`.

References
----------
.. [1] M. Okabe and K. Ito (2008). Color Universal Design. https://jfly.uni-koeln.de/color/
"""

from collections.abc import Hashable, Mapping
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from eigenfolio.evaluation import finding
from eigenfolio.measures import drawdown_path, rolling_volatility, wealth_path
from eigenfolio.report.content import OWN_BOOK, ReportContent

__all__ = [
    "PALETTE",
    "book_tracks",
    "equity_figure",
    "forest_figure",
    "forest_rows",
    "learned_figures",
    "rolling_volatility_figure",
    "spectrum_figure",
    "training_figures",
    "turnover_figure",
    "weekly",
]

FOCUS, CHAMPION, PICKED = "#0a5ea8", "#d4690c", "#00865f"
GREYS = ("#a9b0ba", "#bcc2ca", "#959daa")
INK, FAINT_INK, GRID, ZERO, BAND = "#1c2430", "#5a6573", "#e6e9ee", "#8b94a1", "#eceff3"
UNDECIDED, ROUGHER = "#6d7785", "#a8321f"
CATEGORIES = (FOCUS, PICKED, "#b0568f", "#7a6a00", "#4c9ed0")
SEQUENCE = ("#c0cedd", "#a3bad3", "#84a5c8", "#648fbc", "#4579ae", "#29639d", "#144e86", "#083a69")

PALETTE = {
    FOCUS: "#62b0f5",
    CHAMPION: "#f59b52",
    PICKED: "#3cc79a",
    GREYS[0]: "#5e6876",
    GREYS[1]: "#515a67",
    GREYS[2]: "#6c7684",
    INK: "#e6e9ee",
    FAINT_INK: "#a3adba",
    GRID: "#2b323c",
    ZERO: "#77818e",
    BAND: "#262d37",
    UNDECIDED: "#97a1ae",
    ROUGHER: "#f0806c",
    CATEGORIES[2]: "#e39ac7",
    CATEGORIES[3]: "#d8c75a",
    CATEGORIES[4]: "#9ad4f7",
} | dict(
    zip(
        SEQUENCE,
        ("#3d4a59", "#475d76", "#527193", "#5d86b0", "#6f9cc9", "#8ab3dc", "#a9caea", "#cce2f8"),
        strict=True,
    )
)
"""Light colour to dark colour."""

_LONG = 1500  # points; a longer path is drawn weekly
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_MINUS = "\u2212"
_LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}
_LEGEND_TOP = 44  # pixels a legend above the panel needs


def weekly(path: pd.Series, *, lowest: bool = False) -> pd.Series:
    """Thin a long path to one point a week, dated by the last row of that week.

    Parameters
    ----------
    path : Series with a DatetimeIndex, sorted
    lowest : bool, default=False
        Keep the lowest value of a week instead of its last.

    Returns
    -------
    Series
        The path itself where it has at most 1,500 rows.

    Examples
    --------
    >>> days = pd.bdate_range("2010-01-04", periods=2000)
    >>> weekly(pd.Series(range(2000), index=days)).head(2).tolist()
    [4, 9]
    """
    if len(path) <= _LONG:
        return path
    dates = pd.DatetimeIndex(path.index)
    week = dates.to_period("W")
    last = dates[~week.duplicated(keep="last")]
    groups = path.groupby(week)
    thin = groups.min() if lowest else groups.last()
    return pd.Series(thin.to_numpy(), index=last, name=path.name)


def book_tracks(
    content: ReportContent, tracks: Mapping[str, Mapping[str, pd.Series]], book: str
) -> dict[str, pd.Series]:
    """The series of one book, then those of models that bring their own weights."""
    own = {} if book == OWN_BOOK else tracks.get(OWN_BOOK, {})
    merged = {**own, **tracks.get(book, {})}
    rank = {content.champion: 1, content.focus(book): 2}
    ordered = sorted(merged, key=lambda model: rank.get(model, 0))  # the important ones are drawn last, on top
    return {model: merged[model].dropna() for model in ordered if len(merged[model].dropna())}


def forest_rows(content: ReportContent, book: str) -> pd.DataFrame:
    """Comparisons of one book in percent: the champion first, then the toughest rival first.

    Returns
    -------
    DataFrame
        Columns `rival`, `mean`, `mean_low`, `mean_high`, `pooled`, `pooled_low`, `pooled_high`, `detectable`
        (percent of the rival's volatility), `n_windows`, `finding` ("calmer", "rougher", "undecided").
    """
    table = content.comparison_table
    table = table[table["book"].astype(str) == book]
    table = table[table["reference"].astype(str) == content.reference(book)]
    rows = pd.DataFrame({"rival": table["rival"].astype(str), "n_windows": table["n_windows"]})
    for ours, theirs in {
        "mean": "window_mean",
        "mean_low": "window_low",
        "mean_high": "window_high",
        "pooled": "pooled",
        "pooled_low": "pooled_low",
        "pooled_high": "pooled_high",
        "detectable": "minimum_detectable",
    }.items():
        rows[ours] = 100.0 * np.expm1(table[theirs].astype(float))
    # As in the verdict: the champion was named beforehand, any other rival is one of many.
    judged = [row for _, row in table.iterrows()]
    rows["finding"] = [finding(row, adjusted=row["rival"] != content.champion) for row in judged]
    rows = rows[np.isfinite(rows["mean"])]
    rows["first"] = rows["rival"] == content.champion
    return rows.sort_values(["first", "mean"], ascending=False, ignore_index=True).drop(columns="first")


def records(table: pd.DataFrame) -> list[Any]:
    """The rows of a table, each with its columns as attributes."""
    return list(table.itertuples(index=False))


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus, and no negative zero."""
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", _MINUS)


def forest_figure(content: ReportContent, book: str) -> go.Figure | None:
    """Ratios of volatility to every rival with their intervals; below zero is calmer."""
    rows = forest_rows(content, book)
    if not len(rows):
        return None
    ends = _forest_range(rows)
    inside = (ends[0] + 0.02 * (ends[1] - ends[0]), ends[1] - 0.02 * (ends[1] - ends[0]))
    y = np.arange(len(rows))[::-1].astype(float)
    colours = rows["finding"].map({"calmer": FOCUS, "rougher": ROUGHER, "undecided": UNDECIDED}).tolist()
    hover = [
        f"<b>{escape(row.rival)}</b><br>mean over windows {signed(row.mean)} % "
        f"[{signed(row.mean_low)}, {signed(row.mean_high)}]<br>pooled days {signed(row.pooled)} % "
        f"[{signed(row.pooled_low)}, {signed(row.pooled_high)}]<br>{row.n_windows} windows, "
        f"detectable from {row.detectable:.2f} %"
        for row in records(rows)
    ]
    figure = go.Figure()
    for row, at in zip(records(rows), y, strict=True):
        if np.isfinite(row.detectable):
            figure.add_shape(
                type="rect",
                x0=max(-row.detectable, ends[0]),
                x1=min(row.detectable, ends[1]),
                y0=at - 0.36,
                y1=at + 0.36,
                fillcolor=BAND,
                line_width=0,
                layer="below",
            )
    for name, shift, width, size in (("pooled", -0.17, 1.2, 6), ("mean", 0.12, 2.6, 10)):
        figure.add_trace(_intervals(rows, name, y + shift, ends, width))
        value = rows[name].to_numpy()
        outside = (value < ends[0]) | (value > ends[1])
        symbols = np.where(value < 0, "triangle-left", "triangle-right")
        figure.add_trace(
            go.Scatter(
                x=np.clip(value, *inside),
                y=y + shift,
                mode="markers",
                marker={
                    "size": size,
                    "color": colours,
                    "symbol": np.where(outside, symbols, "circle" if name == "mean" else "circle-open").tolist(),
                },
                hovertext=hover,
                hoverinfo="text",
            )
        )
    figure.add_trace(go.Scatter(x=[None], y=[0.0], yaxis="y2", hoverinfo="skip"))
    numbers = [f"{signed(r.mean)} % [{signed(r.mean_low)}, {signed(r.mean_high)}]" for r in records(rows)]
    names = [
        f'<span style="color:{CHAMPION}"><b>{_wrapped(rival)}</b></span>'
        if rival == content.champion
        else _wrapped(rival)
        for rival in rows["rival"]
    ]
    span = [-0.75, len(rows) - 0.25]
    axis = {"range": span, "tickvals": y, "showgrid": False, "zeroline": False, "fixedrange": True}
    _style(figure, height=96 + 40 * len(rows), top=34)
    figure.update_layout(
        xaxis={
            "range": list(ends),
            "ticksuffix": " %",
            "zeroline": True,
            "zerolinecolor": ZERO,
            "zerolinewidth": 1.5,
        },
        yaxis={**axis, "ticktext": names},
        yaxis2={
            **axis,
            "ticktext": numbers,
            "overlaying": "y",
            "side": "right",
            "automargin": True,
            "tickfont": {"size": 12, "color": FAINT_INK},
        },
    )
    for text, xref, x, anchor, shift in (
        ("\u2190 calmer than rival", "x", 0, "right", -8),
        ("rougher \u2192", "x", 0, "left", 8),
        ("mean [interval]", "paper", 1, "left", 8),
    ):
        figure.add_annotation(
            text=text, xref=xref, x=x, xanchor=anchor, xshift=shift, yref="paper", y=1.0, yanchor="bottom",
            yshift=6, showarrow=False, font={"size": 12, "color": FAINT_INK},
        )  # fmt: skip
    return figure


def _forest_range(rows: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: a rival far beyond the closest half becomes an arrow, not the scale."""
    columns = ["mean", "mean_low", "mean_high", "pooled_low", "pooled_high"]
    reach = rows[columns].abs().max(axis=1).to_numpy()
    detectable = rows["detectable"].fillna(0.0)
    typical = max(float(np.sort(reach)[(len(reach) - 1) // 2]), float(detectable.min()))
    near = reach <= 4.0 * typical
    low = min(rows.loc[near, columns].min().min(), -detectable[near].max())
    high = max(rows.loc[near, columns].max().max(), detectable[near].max())
    span = max(high - low, 0.1)
    return min(low, -0.12 * span) - 0.05 * span, max(high, 0.12 * span) + 0.05 * span


def _intervals(rows: pd.DataFrame, name: str, y: np.ndarray, ends: tuple[float, float], width: float) -> go.Scatter:
    low, high = (rows[f"{name}_{end}"].clip(*ends).to_numpy() for end in ("low", "high"))
    x = np.column_stack([low, high, np.full(len(rows), np.nan)]).ravel()  # NaN lifts the pen
    return go.Scatter(x=x, y=np.repeat(y, 3), mode="lines", line={"color": INK, "width": width}, hoverinfo="skip")


def equity_figure(content: ReportContent, book: str) -> go.Figure | None:
    """Wealth on top, drawdown below."""
    tracks = book_tracks(content, content.returns, book)
    if not tracks:
        return None
    figure = _panels(["Growth of 1, after costs", "Drawdown from the highest value so far"], [0.62, 0.38])
    low, high = 1.0, 1.0
    for i, (model, returns) in enumerate(tracks.items()):
        path = weekly(wealth_path(returns))
        low, high = min(low, path.min()), max(high, path.max())
        figure.add_trace(_line(content, book, model, i, path, ".2f", own=_is_own(content, model, book)), row=1, col=1)
        depth = 100.0 * weekly(drawdown_path(returns), lowest=True)
        figure.add_trace(
            _line(content, book, model, i, depth, ".1f", " %", own=_is_own(content, model, book)), row=2, col=1
        )
    _style(figure, height=540)
    if high > 3.0 * low > 0:
        ticks = 2.0 ** np.arange(np.floor(np.log2(low)), np.ceil(np.log2(high)) + 1)
        figure.update_yaxes(
            type="log", tickvals=ticks, ticktext=[f"{t:g}" if t >= 0.1 else f"{t:.0e}" for t in ticks], row=1, col=1
        )
    figure.update_yaxes(ticksuffix=" %", row=2, col=1)
    return figure


def rolling_rows(content: ReportContent, book: str) -> int:
    """Rows in the window of the rolling volatility: 252 where there are three times as many, else 63."""
    tracks = book_tracks(content, content.returns, book)
    longest = max((len(series) for series in tracks.values()), default=0)
    return 252 if longest >= 756 else 63


def rolling_volatility_figure(content: ReportContent, book: str) -> go.Figure | None:
    """Rolling annualised volatility, and the first model's against the champion's."""
    n_rows = rolling_rows(content, book)
    paths = {
        model: rolling_volatility(returns, window=n_rows, periods_per_year=content.periods_per_year)
        for model, returns in book_tracks(content, content.returns, book).items()
        if not _is_own(content, model, book)  # an equal weight is thrice as rough and would flatten the others
    }
    paths = {model: path for model, path in paths.items() if len(path) > 1}
    if not paths:
        return None
    focus, champion = content.focus(book), content.champion
    both = focus != champion and focus in paths and champion in paths
    titles = [f"Volatility over {n_rows} rows, annualised"]
    if both:
        titles.append(f"{escape(_short(str(focus)))} relative to the champion")
    figure = _panels(titles, [0.62, 0.38] if both else [1.0])
    for i, (model, path) in enumerate(paths.items()):
        figure.add_trace(_line(content, book, model, i, 100.0 * weekly(path), ".2f", " %"), row=1, col=1)
    if both:
        ratio = (100.0 * (paths[str(focus)] / paths[str(champion)] - 1.0)).dropna()
        line = _line(content, book, str(focus), 0, weekly(ratio), "+.2f", " %")
        line.update(fill="tozeroy", fillcolor="rgba(80, 140, 200, 0.14)", line_width=1.6)
        figure.add_trace(line, row=2, col=1)
    _style(figure, height=520 if both else 340)
    figure.update_yaxes(ticksuffix=" %")
    _keep_in_view(figure, {model: 100.0 * path for model, path in paths.items()}, (focus, champion))
    if both:
        figure.update_yaxes(zeroline=True, zerolinecolor=ZERO, zerolinewidth=1.5, row=2, col=1)
    return figure


def turnover_span(content: ReportContent, book: str) -> int:
    """Decisions averaged in the turnover figure: 12 where there are at least 36, else 1."""
    tracks = book_tracks(content, content.turnover, book)
    return 12 if max((len(series) for series in tracks.values()), default=0) >= 36 else 1


def turnover_figure(content: ReportContent, book: str) -> go.Figure | None:
    """Turnover by decision, smoothed over a year of months where there are enough."""
    span = turnover_span(content, book)
    title = f"Turnover, mean of {span} rebalances" if span > 1 else "Turnover per rebalance"
    figure = _panels([title], [1.0])
    drawn = {}
    for i, (model, series) in enumerate(book_tracks(content, content.turnover, book).items()):
        entry = int((series > 0).to_numpy().argmax())
        path = (100.0 * series.iloc[entry + 1 :].rolling(span).mean()).dropna()
        if len(path) > 1:
            drawn[model] = path
            figure.add_trace(_line(content, book, model, i, path, ".1f", " %", own=_is_own(content, model, book)))
    if not figure.data:
        return None
    _style(figure, height=320)
    figure.update_yaxes(ticksuffix=" %", rangemode="tozero")
    _keep_in_view(figure, drawn, (content.focus(book), content.champion))
    return figure


def _keep_in_view(figure: go.Figure, paths: Mapping[str, pd.Series], important: tuple[str | None, ...]) -> None:
    """Let a model that is far off leave the first panel rather than flatten the important ones."""
    highest = max(float(path.max()) for path in paths.values())
    tops = [float(paths[model].max()) for model in important if model is not None and model in paths]
    if tops and highest > 4.0 * max(tops):
        figure.update_yaxes(range=[0.0, 2.0 * max(tops)], row=1, col=1)


def learned_figures(content: ReportContent) -> list[go.Figure]:
    """What the learned model chose at each date: intensities, weights of targets, and the rest."""
    table = content.learned
    if table is None or not len(table):
        return []
    table = table.dropna(axis=1, how="all")
    intensities = [c for c in table if str(c).startswith("shrinkage")]
    weights = [c for c in table if str(c).startswith("weight_")]
    rest = [c for c in table if c not in intensities and c not in weights]
    shares = [c for c in rest if table[c].min() >= 0 and table[c].max() <= 1]
    groups: list[tuple[str, list[Hashable]]] = [
        ("Shrinkage intensity", intensities),
        ("Weights of the targets", weights),
        ("Other shares the model chose", shares),
    ]
    groups += [(_words(c), [c]) for c in rest if c not in shares]
    figures = []
    for title, columns in groups:
        if not columns:
            continue
        lines = {_words(c): table[c].dropna() for c in columns}
        intensity = content.closed_form_intensity if columns is intensities else None
        classical = None
        if intensity is not None and len(intensity.dropna()):
            if intensities == ["shrinkage"]:
                lines = {str(content.learned_model): table["shrinkage"].dropna()}
            classical = f"{intensity.name if intensity.name is not None else 'closed form'} (closed form)"
            lines[classical] = intensity.dropna()
        figure = _panels([title if len(lines) > 1 or columns is intensities else next(iter(lines))], [1.0])
        for i, (label, series) in enumerate(lines.items()):
            line = {"color": CATEGORIES[i % len(CATEGORIES)], "width": 1.8, "dash": ("solid", "dot")[i // 5 % 2]}
            if label == classical:
                line = {"color": FAINT_INK, "width": 1.6, "dash": "dash"}
            figure.add_trace(
                go.Scatter(
                    x=_dates(series.index),
                    y=_values(series),
                    mode="lines",
                    name=escape(label),
                    line=line,
                    hovertemplate=f"%{{x|%d %b %Y}}  %{{y:.3f}}<extra>{escape(label)}</extra>",
                    showlegend=True,
                )
            )
        _style(figure, height=270, top=_LEGEND_TOP if len(lines) > 1 else 34)
        if columns is intensities or columns is weights or columns is shares:
            figure.update_yaxes(range=[-0.02, 1.02])
        for date in _bundle_ends(content, table.index):
            figure.add_vline(x=date, line={"color": ZERO, "width": 1, "dash": "dot"})
        if len(lines) > 1:
            figure.update_layout(showlegend=True, legend=_LEGEND)
        figures.append(figure)
    return figures


def spectrum_figure(content: ReportContent) -> go.Figure | None:
    """Eigenvalues of one window before and after shrinkage."""
    table = content.spectrum
    if table is None or not len(table):
        return None
    figure = _panels(["Eigenvalue of the correlation, log scale"], [1.0])
    for column, label, colour, symbol in (
        ("sample", "sample", FAINT_INK, "circle-open"),
        ("shrunk", "shrunk", FOCUS, "circle"),
    ):
        seen = table[table[column] > 1e-10]  # a log axis has no zero
        figure.add_trace(
            go.Scatter(
                x=seen["rank"].to_numpy(),
                y=_values(seen[column]),
                mode="markers",
                name=label,
                marker={"size": 6, "color": colour, "symbol": symbol},
                hovertemplate=f"rank %{{x}}  %{{y:.3f}}<extra>{label}</extra>",
                showlegend=True,
            )
        )
    _style(figure, height=360, top=_LEGEND_TOP)
    if content.spectrum_edges is not None:
        low, high = content.spectrum_edges
        floor = min(table.loc[table[c] > 1e-10, c].min() for c in ("sample", "shrunk"))
        figure.add_hrect(y0=max(low, floor / 2), y1=high, fillcolor=BAND, line_width=0, layer="below")
        figure.add_annotation(
            text="pure noise would lie here", xref="x domain", x=1, xanchor="right", xshift=-6,
            y=np.log10(high), yanchor="top", showarrow=False, font={"size": 12, "color": FAINT_INK},
        )  # fmt: skip
    figure.update_yaxes(type="log", **_log_ticks(table[["sample", "shrunk"]].to_numpy()))
    figure.update_xaxes(title={"text": "rank, largest first", "font": {"size": 12}}, range=[0, len(table) + 1])
    figure.update_layout(showlegend=True, legend=_LEGEND)
    return figure


def training_figures(content: ReportContent) -> list[go.Figure]:
    """Training and validation loss by epoch, one line per dated bundle, against the classical start."""
    histories = {name: h for name, h in content.loss_history.items() if len(h)}
    if not histories:
        return []
    starts = _starts(content, histories)
    first = {name: float(h["train"].dropna().iloc[0]) for name, h in histories.items() if h["train"].notna().any()}
    zeros: dict[str, dict[str, float]] = {"train": first, "validation": starts or {}}
    relative = all(zero > 0 for zero in (*first.values(), *(starts or {}).values()))
    change, digits = ("%", "+.2f") if relative else ("change", "+.4g")
    titles = {"train": f"Training loss, {change} from its first value"}
    titles["validation"] = f"Validation loss, {change} from the classical start"
    if starts is None:  # levels of training and validation are compared as they are
        titles, digits = {"train": "Training loss", "validation": "Validation loss"}, ".4g"
    unordered = content.loss_lines != "dated bundle" and len(histories) > 1
    figures = []
    for column, title in titles.items():
        figure = _panels([f"{title}, by epoch" if unordered else title], [1.0])
        for i, (name, history) in enumerate(histories.items()):
            values = history[column].to_numpy(dtype=float)
            if starts is not None:
                zero = zeros[column].get(name, np.nan)
                values = 100.0 * (values / zero - 1.0) if relative else values - zero
            shade = SEQUENCE[-1] if len(histories) == 1 else SEQUENCE[round(i * 7 / (len(histories) - 1))]
            if unordered:
                shade = CATEGORIES[i % len(CATEGORIES)]
            figure.add_trace(
                go.Scatter(
                    x=history["epoch"].to_numpy(),
                    y=values.astype(np.float32),
                    mode="lines+markers" if len(history) < 3 else "lines",
                    name=escape(str(name)),
                    line={"color": shade, "width": 2},
                    hovertemplate=f"{escape(str(name))}, epoch %{{x}}  %{{y:{digits}}}<extra></extra>",
                )
            )
        _style(figure, height=300, top=_LEGEND_TOP if unordered else 34)
        if unordered:
            figure.update_layout(showlegend=True, legend=_LEGEND)
        if starts is not None:
            figure.update_yaxes(zeroline=True, zerolinecolor=ZERO, zerolinewidth=1.5)
        if not unordered:  # a narrow page puts the legend where this would stand
            figure.update_xaxes(title={"text": "epoch", "font": {"size": 12}})
        figures.append(figure)
    return figures


def _log_ticks(values: np.ndarray) -> dict[str, Any]:
    """1, 2, 5 within three decades, else powers of ten."""
    seen = np.log10(values[values > 1e-10])
    decades = np.arange(np.floor(seen.min()), np.ceil(seen.max()) + 1)
    steps = [1.0, 2.0, 5.0] if np.ptp(seen) <= 3 else [1.0]
    ticks = np.multiply.outer(10.0**decades, steps).ravel()
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _starts(content: ReportContent, histories: Mapping[str, pd.DataFrame]) -> dict[str, float] | None:
    table = content.training_table
    if "start_validation_loss" not in table:
        return None
    known = dict(zip(table["bundle"].astype(str), table["start_validation_loss"].astype(float), strict=True))
    found = {name: known.get(str(name), np.nan) for name in histories}
    return found if all(np.isfinite(value) for value in found.values()) else None


def _bundle_ends(content: ReportContent, dates: pd.Index) -> list[str]:
    table = content.training_table
    if "trained_through" not in table or not len(dates):
        return []
    ends = pd.to_datetime(table["trained_through"])
    return [f"{end:%Y-%m-%d}" for end in ends if dates.min() <= end <= dates.max()]


def _is_own(content: ReportContent, model: str, book: str) -> bool:
    return book != OWN_BOOK and model not in content.returns.get(book, {})


def _line(
    content: ReportContent,
    book: str,
    model: str,
    i: int,
    path: pd.Series,
    digits: str,
    unit: str = "",
    *,
    own: bool = False,
) -> go.Scatter:
    if model == content.focus(book):
        colour, width, role = FOCUS, 2.2, "focus"
    elif model == content.champion:
        colour, width, role = CHAMPION, 1.8, "champion"
    else:
        colour, width, role = GREYS[i % len(GREYS)], 1.1, "other"
    return go.Scatter(
        x=_dates(path.index),
        y=_values(path),
        mode="lines",
        name=escape(model),
        line={"color": colour, "width": width, "dash": "dot" if own else "solid"},
        hovertemplate=f"%{{x|%d %b %Y}}  %{{y:{digits}}}{unit}<extra>{escape(model)}</extra>",
        meta={"model": model, "role": role},
    )


def _panels(titles: list[str], heights: list[float]) -> go.Figure:
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.13,
        subplot_titles=titles,
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", yshift=4, font={"size": 13, "color": FAINT_INK, "weight": 600})
    return figure


def _style(figure: go.Figure, *, height: int, top: int = 34) -> None:
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 8, "r": 8, "t": top, "b": 30, "pad": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": _FONT, "size": 13, "color": INK},
        showlegend=False,
        hovermode="closest",
        hoverlabel={"font": {"family": _FONT, "size": 13}, "namelength": -1},
    )
    axis: dict[str, Any] = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    figure.update_xaxes(**axis, tickfont={"color": FAINT_INK}, linecolor=ZERO)
    figure.update_yaxes(**axis, tickfont={"color": FAINT_INK})


def _dates(index: pd.Index) -> list[str]:
    dates = pd.DatetimeIndex(index)
    whole = bool((dates == dates.normalize()).all())
    return dates.strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M").tolist()


def _values(series: pd.Series) -> np.ndarray:
    return series.to_numpy(dtype=np.float32)


def _words(name: Hashable) -> str:
    text = str(name).removeprefix("weight_").removesuffix("_").replace("_", " ")
    return text[:1].upper() + text[1:]


def _wrapped(name: str) -> str:
    if len(name) > 22 and " " not in name:  # a name in one piece is cut where its parts meet
        first = name.rfind("_", 0, 22) + 1 or 22
        lines = [name[:first], *wrap(name[first:], 22, max_lines=1, placeholder="\u2026")]
    else:
        lines = wrap(name, 22, max_lines=2, placeholder="\u2026") or [name]
    return "<br>".join(map(escape, lines))


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}\u2026"
