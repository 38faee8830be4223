"""What a fitted shrinkage estimator did: its spectrum before and after, or its intensity and target weights.

For a window of N assets with eigenvalues lambda_k of the correlation, largest first, and what became of them, d_k,
divided by c = mean d / mean lambda, a common level that is a matter of the volatilities and is told in words:

    spectrum    lambda_k and d_k / c over the rank k, both axes logarithmic
    ratio       d_k / (c lambda_k), beside that of a linear shrinkage, (1 - delta) + delta / lambda_k

delta is the intensity. Directions that the rows do not reach, the null space, share one eigenvalue; it is drawn over
all the ranks it stands for. A zero, which a logarithmic axis does not have, is a triangle at the lower edge. The
estimator is known by its fitted attributes alone.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import ArrayLike
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from eigenfolio.errors import ParameterError
from eigenfolio.report.figures import (
    BAND,
    CHAMPION,
    FAINT_INK,
    FOCUS,
    INK,
    PALETTE,
    PICKED,
    ROUGHER,
    ZERO,
    _style,
    _words,
)
from eigenfolio.report.page import read_resource, script_json, write_page
from eigenfolio.report.shrinkage_heads import draw_heads, head_panels, head_words

__all__ = ["plot_shrinkage"]

_ZERO_EIGENVALUE = 1e-9
_PANEL_HEIGHTS = {"spectrum": 300, "ratio": 210, "volatility": 340}
_MOST_TICKS = 11
_BAR_HEIGHT, _BETWEEN, _BOTTOM = 38, 92, 56  # pixels
_PAPER = "#ffffff"
_SMALL = {"size": 12, "color": FAINT_INK}
_LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "yanchor": "bottom", "font": _SMALL}


def plot_shrinkage(model: Any, *, X: ArrayLike | None = None, path: str | os.PathLike[str] | None = None) -> go.Figure:
    """Draw what a fitted `NeuralShrinkage` did to its window.

    Parameters
    ----------
    model : NeuralShrinkage
        Fitted. Any estimator will do that has `block_shrinkage_` (eigenvalues before and after) or `target_weights_`
        with `shrinkage_`; `volatility_`, `volatility_blend_`, `diagnostics_`, `trained_through_`, `in_sample_`, and
        what weights with heads say of themselves (`shrinkage_interval_`, `regime_probabilities_`, `target_confidence_`,
        `expected_error_`, `out_of_range_`) are shown where they are there.
    X : array-like of shape (n_observations, n_assets), optional
        The returns it was fitted on. With them its volatilities are drawn against those of the sample, over the last
        `lookback` rows; an estimator does not keep them.
    path : path, optional
        File for one HTML page that holds everything it needs; replaced in one step if it exists. Its folder must exist.

    Returns
    -------
    plotly.graph_objects.Figure
        Spectrum and ratio (spectral network), intensity and target weights as bars (dense network), intervals and
        probabilities of the heads, inputs out of range, and volatilities if X is given; its title says intensity, the
        date the weights have seen, and how many inputs were out of range.

    Raises
    ------
    ParameterError
        If the model is not fitted or is of another kind, or X does not fit it.
    ArtifactError
        If the file cannot be written; nothing is left behind.

    Examples
    --------
    >>> from skfolio.datasets import load_sp500_dataset
    >>> from eigenfolio import NeuralShrinkage
    >>> X = load_sp500_dataset().pct_change().iloc[1:]
    >>> figure = plot_shrinkage(NeuralShrinkage().fit(X), X=X)
    >>> [trace.name for trace in figure.data if trace.name in ("before", "after", "after / before", "volatility")]
    ['before', 'after', 'after / before', 'volatility']
    """
    name = type(model).__name__
    spectrum, bars = _spectrum_of(model), _bars_of(model)
    if spectrum is None and not bars:
        raise ParameterError(
            "plot_shrinkage needs a fitted NeuralShrinkage, or an estimator with block_shrinkage_ or target_weights_ "
            f"as it has them; got {name} without either; fit it first"
        )
    volatilities = None if X is None else _volatilities(model, X)
    panels: dict[str, tuple[str, int]] = {}  # title and height, from top to bottom
    if spectrum is not None:
        panels["spectrum"] = "Eigenvalues of the correlation", _PANEL_HEIGHTS["spectrum"]
        panels["ratio"] = "After / before", _PANEL_HEIGHTS["ratio"]
    for title, shares in bars.items():
        panels[title] = title, _BAR_HEIGHT * len(shares) + 14
    panels |= head_panels(model)
    if volatilities is not None:
        panels["volatility"] = "Volatility per period, sample and shrunk", _PANEL_HEIGHTS["volatility"]
    places = {panel: row for row, panel in enumerate(panels, 1)}

    heights = [height for _, height in panels.values()]
    drawn = sum(heights) + _BETWEEN * (len(heights) - 1)
    figure = make_subplots(
        rows=len(panels), cols=1, row_heights=heights, vertical_spacing=_BETWEEN / drawn if len(heights) > 1 else 0.0,
        subplot_titles=[title for title, _ in panels.values()],
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", yshift=6, font={"size": 13, "color": FAINT_INK, "weight": 600})
    lines = _lines(model, spectrum)
    top = 76 + 18 * len(lines)
    _style(figure, height=drawn + top + _BOTTOM, top=top)
    figure.update_layout(margin={"l": 8, "r": 16, "b": _BOTTOM})
    if spectrum is not None:
        _draw_spectrum(figure, spectrum, row=places["spectrum"])
        _draw_ratio(figure, spectrum, _number(model, "shrinkage_"), row=places["ratio"])
    for title, shares in bars.items():
        _draw_bars(figure, shares, row=places[title])
    draw_heads(figure, model, places)
    if volatilities is not None:
        _draw_volatilities(figure, model, *volatilities, row=places["volatility"])
    if path is not None:
        write_page(_page(figure, name, lines, top), path)
    figure.update_layout(
        paper_bgcolor=_PAPER,
        title={
            "text": f"<b>{escape(name)}</b><br>"
            + "<br>".join(f'<span style="font-size:12px;color:{colour}">{text}</span>' for text, colour in lines),
            "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top",
            "pad": {"t": 16}, "font": {"size": 16, "color": INK},
        },
    )  # fmt: skip
    return figure


@dataclass(frozen=True)
class _SpectrumSeen:
    """Eigenvalues of a window: `before` and `after` by kept rank, and those of the null space with its size.

    Those after are divided by `level`, so that both have the same mean.
    """

    before: np.ndarray
    after: np.ndarray
    n_assets: int
    null: tuple[float, float] | None
    level: float = 1.0

    @property
    def ranks(self) -> np.ndarray:
        return np.arange(1.0, len(self.before) + 1.0)

    @property
    def null_ranks(self) -> np.ndarray:
        first = len(self.before) + 1
        return np.unique([float(first), float(self.n_assets)])

    @property
    def positive(self) -> np.ndarray:
        values = np.concatenate([self.before, self.after, self.null or ()])
        return np.asarray(values[values > _ZERO_EIGENVALUE])

    @property
    def floor(self) -> float:
        """Where a zero is drawn."""
        return float(self.positive.min() / 2.0)

    @property
    def means(self) -> tuple[float, float]:
        """Mean eigenvalue before and after, over all directions."""
        n_null, null = self.n_assets - len(self.before), self.null or (0.0, 0.0)
        old, new = (
            float(kept.sum() + n_null * rest) for kept, rest in zip((self.before, self.after), null, strict=True)
        )
        return old / self.n_assets, new / self.n_assets

    @property
    def has_zero(self) -> bool:
        return bool((self.before <= _ZERO_EIGENVALUE).any()) or (
            self.null is not None and self.null[0] <= _ZERO_EIGENVALUE
        )


def _spectrum_of(model: Any) -> _SpectrumSeen | None:
    table = np.asarray(getattr(model, "block_shrinkage_", ()), dtype=float)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table) or not np.isfinite(table).all():
        return None
    before, after = table.T
    if not (after > _ZERO_EIGENVALUE).any():
        return None
    n_assets = int(np.isfinite(np.asarray(getattr(model, "volatility_", ()), dtype=float)).sum())
    # With as many eigenvalues as assets the last may still be a null space of one direction; if so it is zero.
    if len(table) < n_assets or (len(table) > 1 and before[-1] <= _ZERO_EIGENVALUE):
        null = (float(before[-1]), float(after[-1]))
        return _levelled(_SpectrumSeen(before[:-1], after[:-1], max(n_assets, len(table)), null))
    return _levelled(_SpectrumSeen(before, after, len(table), None))


def _levelled(seen: _SpectrumSeen) -> _SpectrumSeen:
    """The same with one mean before and after."""
    old, new = seen.means
    level = new / old
    null = None if seen.null is None else (seen.null[0], seen.null[1] / level)
    return replace(seen, after=seen.after / level, null=null, level=level)


def _bars_of(model: Any) -> dict[str, dict[str, tuple[float, str]]]:
    """Shares in [0, 1] with their colours, by panel."""
    weights = getattr(model, "target_weights_", None)
    intensity = _number(model, "shrinkage_")
    if not isinstance(weights, Mapping) or not weights or intensity is None:
        return {}
    own = {"Intensity": (intensity, FOCUS)}
    closed = _diagnostics(model).get("closed_form_shrinkage")
    if closed is not None:
        own["Closed-form intensity"] = (float(closed), FAINT_INK)
    recent = _number(model, "volatility_blend_")
    if recent is not None:
        own["Volatility blend"] = (recent, CHAMPION)
    return {
        "Intensity and volatility blend" if recent is not None else "Intensity": own,
        "Weights of the targets": {_words(target): (float(weight), PICKED) for target, weight in weights.items()},
    }


def _volatilities(model: Any, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Volatilities of the sample and of the model, (n_assets,) each."""
    shrunk = np.asarray(getattr(model, "volatility_", ()), dtype=float)
    rows = np.asarray(X, dtype=float)
    if rows.ndim != 2 or len(rows) < 2 or rows.shape[1:] != shrunk.shape:
        raise ParameterError(
            f"X must be the returns the model was fitted on, (n_observations, {len(shrunk)}), got shape {rows.shape}"
        )
    lookback = getattr(model, "lookback", None)
    rows = rows[slice(None if lookback is None else -lookback, None)]
    n_seen = np.isfinite(rows).sum(axis=0)
    means = np.nansum(rows, axis=0) / np.maximum(n_seen, 1)
    if getattr(model, "assume_centered", False):
        means = np.zeros_like(means)
    sample = np.sqrt(np.nansum((rows - means) ** 2, axis=0) / np.maximum(n_seen, 1))
    return np.where(np.isfinite(shrunk), sample, np.nan), shrunk


def _lines(model: Any, spectrum: _SpectrumSeen | None) -> list[tuple[str, str]]:
    """What the picture says in words, each line with its colour."""
    diagnostics = _diagnostics(model)
    intensity, spread = _number(model, "shrinkage_"), float(diagnostics.get("member_spread", 0.0))
    first = [] if intensity is None else [f"intensity {intensity:.3f}" + (f" \u00b1 {spread:.3f}" if spread else "")]
    if spread:
        first[-1] += " over the members"
    lines = [(" \u00b7 ".join(first), INK)]
    if spectrum is not None:
        below = []
        if "recent_share" in diagnostics:
            recent = 100 * float(diagnostics["recent_share"])
            below.append(f"spectrum shown: {100 - recent:.0f} % of the correlation, recent rows {recent:.0f} %")
        below.append(f"a common level of {spectrum.level:.2f} is left to the volatilities")
        lines.append((" \u00b7 ".join(below), FAINT_INK))
    seen = getattr(model, "trained_through_", None)
    if getattr(model, "weights", "") is None:
        dated = "untrained: the closed form itself"
    elif seen is not None:
        dated = f"weights trained through {seen:%Y-%m-%d}"
    else:
        dated = "weights that have seen no market" if hasattr(model, "trained_through_") else "weights without a date"
    outside = diagnostics.get("out_of_range")
    second = [dated] + ([] if outside is None else [f"{_share(float(outside))} out of range"])
    lines.append((" \u00b7 ".join(second), FAINT_INK))
    lines.append((head_words(model), FAINT_INK))
    if getattr(model, "in_sample_", None):
        lines.append(("the weights have seen rows after the last of these: no evidence of anything", ROUGHER))
    return [(escape(text), colour) for text, colour in lines if text]


def _draw_spectrum(figure: go.Figure, seen: _SpectrumSeen, *, row: int) -> None:
    null = seen.null_ranks if seen.null is not None else np.array([])
    for k, (label, kept, colour, symbol) in enumerate(
        (("before", seen.before, FAINT_INK, "circle-open"), ("after", seen.after, FOCUS, "circle"))
    ):
        at_null = np.full(len(null), seen.null[k] if seen.null is not None else np.nan)
        values = np.concatenate([kept, at_null])
        ranks = np.concatenate([seen.ranks, null])
        zero = values <= _ZERO_EIGENVALUE
        place = [f"rank {rank:.0f}" for rank in seen.ranks]
        place += [f"null space, ranks {null[0]:.0f} to {null[-1]:.0f}" if len(null) > 1 else "null space"] * len(null)
        figure.add_trace(
            go.Scatter(
                x=ranks,
                y=np.where(zero, seen.floor, values).astype(np.float32),
                mode="markers",
                name=label,
                marker={
                    "size": 6,
                    "color": colour,
                    "symbol": np.where(zero, "triangle-down-open", symbol).tolist(),
                },
                hovertext=[
                    f"{where}, {label}: {'0' if none else f'{value:.3g}'}"
                    for where, value, none in zip(place, values, zero, strict=True)
                ],
                hoverinfo="text",
                showlegend=True,
            ),
            row=row,
            col=1,
        )
        if len(null) > 1:
            figure.add_shape(
                type="line", x0=null[0], x1=null[-1], y0=max(at_null[0], seen.floor), y1=max(at_null[0], seen.floor),
                line={"color": colour, "width": 2, "dash": "dot" if zero[-1] else "solid"}, row=row, col=1,
            )  # fmt: skip
    if seen.null is not None:
        _mark_null(figure, seen, row=row)
        size = seen.n_assets - len(seen.before)
        start = "0" if seen.null[0] <= _ZERO_EIGENVALUE else f"{seen.null[0]:.2g}"
        figure.add_annotation(
            text=f"null space: {size:,} direction{'s' * (size > 1)}, {start} \u2192 {seen.null[1]:.2g}",
            xref="x domain", x=1, xanchor="right", xshift=-6, yref="y domain", y=1, yanchor="top", showarrow=False,
            font=_SMALL, row=row, col=1,
        )  # fmt: skip
    if seen.has_zero:
        figure.add_annotation(
            text="\u25bd zero", xref="x domain", x=0, xanchor="left", xshift=6, y=np.log10(seen.floor),
            showarrow=False, font=_SMALL, row=row, col=1,
        )  # fmt: skip
    low, high = (seen.floor if seen.has_zero else float(seen.positive.min())), float(seen.positive.max())
    _log_axis(figure.update_yaxes, low, high, row)
    _rank_axis(figure, seen, row)
    figure.update_layout(showlegend=True, legend={**_LEGEND, "y": 1.0})


def _draw_ratio(figure: go.Figure, seen: _SpectrumSeen, intensity: float | None, *, row: int) -> None:
    before, after = seen.before, seen.after
    ranks = seen.ranks
    if seen.null is not None and seen.null[0] > _ZERO_EIGENVALUE:
        n_null = len(seen.null_ranks)
        ranks = np.concatenate([ranks, seen.null_ranks])
        before, after = (np.append(x, [y] * n_null) for x, y in zip((before, after), seen.null, strict=True))
    some = before > _ZERO_EIGENVALUE
    ranks, before, after = ranks[some], before[some], after[some]
    ratio = after / before
    figure.add_trace(
        go.Scatter(
            x=ranks,
            y=ratio.astype(np.float32),
            mode="lines+markers",
            name="after / before",
            line={"color": FOCUS, "width": 2},
            marker={"size": 5, "color": FOCUS},
            hovertemplate="rank %{x}: times %{y:.3f}<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    if intensity is not None:
        figure.add_trace(
            go.Scatter(
                x=ranks,
                y=((1.0 - intensity) + intensity / before).astype(np.float32),
                mode="lines",
                name=f"linear shrinkage of intensity {intensity:.2f}",
                legend="legend2",
                line={"color": FAINT_INK, "width": 1.4, "dash": "dash"},
                hovertemplate=f"rank %{{x}}: times %{{y:.3f}}<extra>linear, intensity {intensity:.2f}</extra>",
                showlegend=True,
            ),
            row=row,
            col=1,
        )
        height = next(figure.select_yaxes(row=row, col=1)).domain[1]
        figure.update_layout(legend2={**_LEGEND, "y": height})
    figure.add_hline(y=1.0, line={"color": ZERO, "width": 1.5}, row=row, col=1)
    if seen.null is not None:
        _mark_null(figure, seen, row=row)
    reach = np.append(ratio, 1.0)
    low, high = min(float(reach.min()), 0.8), max(float(reach.max()), 1.25)
    _log_axis(figure.update_yaxes, low, high, row)
    _rank_axis(figure, seen, row)
    figure.update_xaxes(title={"text": "rank, largest first", "font": {"size": 12}}, matches="x", row=row, col=1)


def _mark_null(figure: go.Figure, seen: _SpectrumSeen, *, row: int) -> None:
    figure.add_vrect(
        x0=len(seen.before) + 0.5, x1=seen.n_assets + 0.5, fillcolor=BAND, line_width=0, layer="below", row=row, col=1
    )


def _rank_axis(figure: go.Figure, seen: _SpectrumSeen, row: int) -> None:
    _log_axis(figure.update_xaxes, 1 / 1.1, 1.1 * seen.n_assets, row, pad=0.0, multiples=((1, 2, 5), (1,)))


def _log_axis(
    update: Any,
    low: float,
    high: float,
    row: int,
    *,
    pad: float = 0.06,
    multiples: tuple[tuple[float, ...], ...] = (
        (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8),
        (1, 1.5, 2, 3, 5, 7),
        (1, 2, 5),
        (1,),
    ),
) -> None:
    """Make an axis logarithmic, from `low` to `high` and a little more, with the finest round ticks that leave room."""
    ends = np.log10([low, high])
    ends += pad * max(float(ends[1] - ends[0]), 0.3) * np.array([-1.0, 1.0])
    powers = 10.0 ** np.arange(np.floor(ends[0]), np.ceil(ends[1]) + 1)
    for steps in multiples:
        ticks = np.multiply.outer(powers, steps).ravel()
        ticks = ticks[(np.log10(ticks) >= ends[0]) & (np.log10(ticks) <= ends[1])]
        if len(ticks) <= _MOST_TICKS:
            break
    update(type="log", range=ends.tolist(), tickvals=ticks.tolist(), ticktext=[f"{t:g}" for t in ticks], row=row, col=1)


def _draw_bars(figure: go.Figure, shares: Mapping[str, tuple[float, str]], *, row: int) -> None:
    values = [value for value, _ in shares.values()]
    figure.add_trace(
        go.Bar(
            x=values,
            y=list(map(escape, shares)),
            orientation="h",
            width=0.56,
            marker={"color": [colour for _, colour in shares.values()]},
            text=[f"{value:.3f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    figure.update_xaxes(range=[0.0, 1.08], tickvals=[0.0, 0.25, 0.5, 0.75, 1.0], row=row, col=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=row, col=1)


def _draw_volatilities(figure: go.Figure, model: Any, sample: np.ndarray, shrunk: np.ndarray, *, row: int) -> None:
    names = getattr(model, "feature_names_in_", None)
    names = [f"asset {k}" for k in range(len(shrunk))] if names is None else list(map(str, names))
    drawn = (sample > 0) & (shrunk > 0)
    x, y = 100.0 * sample[drawn], 100.0 * shrunk[drawn]
    figure.add_trace(
        go.Scatter(
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            mode="markers",
            name="volatility",
            marker={"size": 6, "color": FOCUS, "opacity": 0.75},
            text=[escape(name) for name, shown in zip(names, drawn, strict=True) if shown],
            hovertemplate="<b>%{text}</b><br>sample %{x:.2f} %<br>shrunk %{y:.2f} %<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    if not len(x):
        return
    both = np.concatenate([x, y])
    low, high = float(both.min()), float(both.max())
    figure.add_shape(
        type="line", x0=low, y0=low, x1=high, y1=high, line={"color": ZERO, "width": 1.5},
        row=row, col=1,
    )  # fmt: skip
    for update in (figure.update_xaxes, figure.update_yaxes):
        _log_axis(update, low, high, row)
    figure.update_xaxes(title={"text": "of the sample, %", "font": {"size": 12}}, row=row, col=1)
    figure.update_yaxes(title={"text": "shrunk, %", "font": {"size": 12}}, row=row, col=1)


def _number(model: Any, name: str) -> float | None:
    value = getattr(model, name, None)
    return float(value) if isinstance(value, (int, float, np.integer, np.floating)) and np.isfinite(value) else None


def _diagnostics(model: Any) -> Mapping[str, Any]:
    found = getattr(model, "diagnostics_", None)
    return found if isinstance(found, Mapping) else {}


def _share(outside: float) -> str:
    return "no input" if outside == 0 else f"{'under 1' if outside < 0.01 else f'{100 * outside:.0f}'} % of inputs"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<link rel="icon" href="data:,">
<title>{{ name }}</title>
<style>{{ css }}</style>
</head>
<body>
<header class="wrap">
  <p class="brand">eigenfolio shrinkage</p>
  <h1>{{ name }}</h1>
  {% for line, colour in lines %}
  <p class="subtitle"{{ warning if colour == alarm }}>{{ line }}</p>
  {% endfor %}
</header>
<main class="wrap"><div id="figure" role="img" aria-label="What {{ name }} did"></div></main>
<noscript><p class="wrap absent">The figure needs JavaScript.</p></noscript>
<script type="application/json" id="spec">{{ spec }}</script>
<script type="application/json" id="palette">{{ palette }}</script>
<script>{{ plotly }}</script>
<script>
"use strict";
(() => {
  const spec = document.getElementById("spec").textContent;
  const palette = JSON.parse(document.getElementById("palette").textContent);
  const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
  const node = document.getElementById("figure");
  const draw = () => {
    const themed = dark.matches ? spec.replace(/#[0-9a-f]{6}/g, (c) => palette[c] ?? c) : spec;
    const { data, layout } = JSON.parse(themed);
    layout.width = node.clientWidth;
    layout.hoverlabel.bgcolor = getComputedStyle(document.body).getPropertyValue("--card").trim();
    Plotly.react(node, data, layout, { displayModeBar: false });
  };
  draw();
  dark.addEventListener("change", draw);
  window.addEventListener("resize", draw);
})();
</script>
</body>
</html>
"""


def _page(figure: go.Figure, name: str, lines: list[tuple[str, str]], top: int) -> str:
    """The page as text; what the title of a bare figure says stands above the drawing, where it can wrap."""
    spec = json.loads(figure.to_json())
    spec["layout"]["margin"]["t"] = 44
    spec["layout"]["height"] += 44 - top
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE).render(
        name=name,
        lines=[(Markup(text), colour) for text, colour in lines],
        alarm=ROUGHER,
        warning=Markup(' style="color: var(--bad)"'),
        css=Markup(read_resource("page.css")),
        spec=Markup(script_json(spec)),
        palette=Markup(script_json(PALETTE)),
        plotly=Markup(get_plotlyjs()),
    )
