"""What weights say of their own answer, as panels under the spectrum of `eigenfolio.report.plot_shrinkage`.

    interval    the intensity with the calibrated 90 % interval of what the truth called for in simulated markets
    regimes     probabilities of the market's regimes at the end of the next horizon
    confidence  of the targets' weights, 1 - the width of their 90 % intervals
    range       inputs beyond what training has seen, the farthest first, in scales beyond the end of the range

Each is there where the model has the attribute, which is all that is known of it.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from eigenfolio.report.figures import CHAMPION, FAINT_INK, FOCUS, PICKED, ROUGHER, ZERO

__all__ = ["draw_heads", "head_panels", "head_words"]

_BAR_HEIGHT = 38  # pixels
_MOST_INPUTS = 8
_SHARES = {"tickvals": [0.0, 0.25, 0.5, 0.75, 1.0], "range": [0.0, 1.08]}


def head_panels(model: Any) -> dict[str, tuple[str, int]]:
    """Title and height in pixels of every panel that the model has something for, by name.

    Parameters
    ----------
    model : NeuralShrinkage
        Fitted, with heads or without.

    Returns
    -------
    dict of str to (str, int)
    """
    panels: dict[str, tuple[str, int]] = {}
    if _interval(model) is not None:
        panels["interval"] = (
            "Intensity, and the 90 % interval of what simulated markets that look alike call for",
            _BAR_HEIGHT + 14,
        )
    for name, attribute, title in (
        ("regimes", "regime_probabilities_", "Regime at the end of the next horizon, probability"),
        ("confidence", "target_confidence_", "Confidence in the weights of the targets"),
    ):
        if shares := _numbers(model, attribute):
            panels[name] = title, _BAR_HEIGHT * len(shares) + 14
    if outside := _outside(model):
        more = len(_numbers(model, "out_of_range_")) - len(outside)
        title = "Inputs out of range, scales beyond what training has seen"
        panels["range"] = title + (f" ({more} more)" if more else ""), _BAR_HEIGHT * len(outside) + 14
    return panels


def draw_heads(figure: go.Figure, model: Any, places: Mapping[str, int]) -> None:
    """Draw the panels of `head_panels`, each into its row of the figure."""
    if "interval" in places:
        _draw_interval(figure, model, row=places["interval"])
    for name, attribute, colour in (
        ("regimes", "regime_probabilities_", CHAMPION),
        ("confidence", "target_confidence_", PICKED),
    ):
        if name in places:
            shares = _numbers(model, attribute)
            _draw_bars(figure, shares, [colour] * len(shares), row=places[name])
            figure.update_xaxes(**_SHARES, row=places[name], col=1)
    if "range" in places:
        outside = _outside(model)
        _draw_bars(figure, outside, [ROUGHER] * len(outside), row=places["range"], signed=True)
        reach = 1.25 * max(abs(distance) for distance in outside.values())
        low = -reach if min(outside.values()) < 0 else 0.0
        figure.update_xaxes(range=[low, reach if max(outside.values()) > 0 else 0.0], row=places["range"], col=1)
        figure.add_vline(x=0.0, line={"color": ZERO, "width": 1.5}, row=places["range"], col=1)


def head_words(model: Any) -> str:
    """The expected error in words; empty where the model has none."""
    error = getattr(model, "expected_error_", None)
    if not isinstance(error, float) or not np.isfinite(error):
        return ""
    times = float(np.exp(error))
    return f"minimum-variance book: realised variance expected at {times:.2f} times the predicted"


def _interval(model: Any) -> tuple[float, float, float] | None:
    """Intensity and the ends of its interval."""
    ends, intensity = getattr(model, "shrinkage_interval_", None), getattr(model, "shrinkage_", None)
    if ends is None or intensity is None or not np.isfinite([*ends, intensity]).all():
        return None
    return float(intensity), float(ends[0]), float(ends[1])


def _numbers(model: Any, attribute: str) -> dict[str, float]:
    found = getattr(model, attribute, None)
    return {str(name): float(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _outside(model: Any) -> dict[str, float]:
    """The farthest inputs, farthest first."""
    ranked = sorted(_numbers(model, "out_of_range_").items(), key=lambda item: -abs(item[1]))
    return dict(ranked[:_MOST_INPUTS])


def _draw_interval(figure: go.Figure, model: Any, *, row: int) -> None:
    told = _interval(model)
    assert told is not None
    intensity, low, high = told
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=["intensity", "intensity"],
            mode="lines+markers+text",
            name="interval",
            line={"color": FAINT_INK, "width": 5},
            marker={"size": 11, "symbol": "line-ns-open", "color": FAINT_INK, "line": {"width": 2}},
            text=["", f"{low:.2g} to {high:.2g}"],
            textposition="top right" if high < 0.85 else "top left",
            hovertemplate="90 % interval: %{x:.3f}<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    figure.add_trace(
        go.Scatter(
            x=[intensity],
            y=["intensity"],
            mode="markers",
            name="intensity taken",
            marker={"size": 12, "color": FOCUS},
            hovertemplate="taken: %{x:.4f}<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    figure.update_xaxes(range=[-0.02, 1.08], tickvals=_SHARES["tickvals"], row=row, col=1)
    figure.update_yaxes(showgrid=False, range=[-0.8, 0.9], row=row, col=1)


def _draw_bars(
    figure: go.Figure, values: Mapping[str, float], colours: list[str], *, row: int, signed: bool = False
) -> None:
    figure.add_trace(
        go.Bar(
            x=list(values.values()),
            y=[escape(name.replace("_", " ").replace(".", ": ", 1)) for name in values],
            orientation="h",
            width=0.56,
            marker={"color": colours},
            text=[f"{value:+.1f}" if signed else f"{value:.2f}" for value in values.values()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
            showlegend=False,
        ),
        row=row,
        col=1,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, row=row, col=1)
