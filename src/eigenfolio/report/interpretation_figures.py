"""Pictures of what a model decided and why, as plotly figures in the colours of the report.

    decision path     intensities over time above bands of the market's regime
    block curves      eigenvalue after over before, by share of the rank, one line per regime
    attributions      bars, signed or not
    attention map     who takes values from whom
    dendrogram        a tree of assets from a linkage matrix
    graph             assets and edges, placed by classical scaling of the path lengths

Each function takes tables and arrays and returns a figure, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from scipy.cluster.hierarchy import dendrogram
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path

from eigenfolio.errors import ParameterError
from eigenfolio.report.figures import (
    CATEGORIES,
    CHAMPION,
    FAINT_INK,
    FOCUS,
    GREYS,
    PICKED,
    ROUGHER,
    SEQUENCE,
    ZERO,
    _panels,
    _style,
    _words,
)

__all__ = [
    "attention_figure",
    "attribution_figure",
    "block_curve_figure",
    "decision_path_figure",
    "dendrogram_figure",
    "graph_figure",
    "graph_layout",
]

FloatArray = npt.NDArray[np.float64]

REGIME_COLOURS = {"calm": PICKED, "trending": FOCUS, "stressed": CHAMPION, "crisis": ROUGHER}
_SHARES = ("shrinkage", "recent_share", "guard_relation", "guard_range")
_NAMES = {"shrinkage": "Intensity"}  # the word of the page
_LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}
_TOP = 44


def decision_path_figure(table: pd.DataFrame) -> go.Figure | None:
    """Intensity, share of the recent spectrum, guard and condition number by decision date, over the regimes.

    Parameters
    ----------
    table : DataFrame
        By date: any of `shrinkage`, `recent_share`, `guard_relation`, `guard_range` (in [0, 1]), `condition_number`
        and `regime`.
    """
    shares = [name for name in _SHARES if name in table and table[name].notna().any() and table[name].any()]
    if not shares:
        return None
    with_condition = "condition_number" in table and table["condition_number"].notna().any()
    titles = ["What was decided", *(["Condition number of the correlation, log scale"] if with_condition else [])]
    figure = _panels(titles, [0.66, 0.34] if with_condition else [1.0])
    dates = pd.DatetimeIndex(table.index)
    for colour, name in zip(CATEGORIES, shares, strict=False):
        figure.add_trace(_time_line(dates, table[name], _NAMES.get(name, _words(name)), colour), row=1, col=1)
    if with_condition:
        line = _time_line(dates, table["condition_number"], "Condition number", FAINT_INK)
        line.showlegend = False
        figure.add_trace(line, row=2, col=1)
        figure.update_yaxes(type="log", row=2, col=1)
    _style(figure, height=460 if with_condition else 320, top=_TOP)
    figure.update_yaxes(range=[-0.02, 1.02], row=1, col=1)
    for start, stop, label in _spans(table):
        if label in REGIME_COLOURS and label != "calm":
            figure.add_vrect(
                x0=start, x1=stop, fillcolor=REGIME_COLOURS[label], opacity=0.12, line_width=0, layer="below"
            )
    figure.update_layout(showlegend=True, legend=_LEGEND)
    return figure


def block_curve_figure(curves: pd.DataFrame) -> go.Figure | None:
    """Median block curve of each regime: eigenvalue after over before, by share of the rank.

    Parameters
    ----------
    curves : DataFrame
        Log ratios, by regime (first level of the index, `n_dates` the second) and share of the rank.
    """
    if curves.empty:
        return None
    figure = _panels(["Eigenvalue after / before; regime (dates)"], [1.0])
    shares = [float(share) for share in curves.columns]
    for key, curve in curves.iterrows():
        regime, n_dates = cast(tuple[str, int], key)
        figure.add_trace(
            go.Scatter(
                x=shares,
                y=np.exp(curve.to_numpy(dtype=float)),
                mode="lines",
                name=f"{escape(str(regime))} ({n_dates})",
                line={"color": REGIME_COLOURS.get(str(regime), FAINT_INK), "width": 2},
                hovertemplate="share of the rank %{x:.2f}  %{y:.2f}<extra></extra>",
            )
        )
    _style(figure, height=320, top=_TOP)
    figure.add_hline(y=1.0, line={"color": ZERO, "width": 1})
    figure.update_yaxes(type="log")
    figure.update_xaxes(title={"text": "share of the rank: 0 the largest eigenvalue, 1 the smallest"})
    figure.update_layout(showlegend=True, legend=_LEGEND)
    return figure


def attribution_figure(values: pd.Series, title: str, *, most: int = 15) -> go.Figure | None:
    """The largest attributions as bars, positive and negative in different colours; the rest as one bar.

    Parameters
    ----------
    values : Series
        By name.
    title : str
        With the unit.
    most : int, default=15
        Bars that have a name, at least 1.
    """
    known = values[values.notna() & (values != 0.0)]
    if known.empty:
        return None
    order = known.abs().sort_values(ascending=False, kind="stable").index
    shown = known.reindex(order[:most])
    if len(order) > most:
        shown[f"{len(order) - most} others"] = float(known.reindex(order[most:]).sum())
    shown = shown[::-1]  # plotly stacks from below
    figure = _panels([escape(title)], [1.0])
    figure.add_trace(
        go.Bar(
            x=shown.to_numpy(dtype=float),
            y=[escape(_words(name)) for name in shown.index],
            orientation="h",
            marker={"color": [FOCUS if value >= 0 else CHAMPION for value in shown]},
            hovertemplate="%{y}  %{x:+.4f}<extra></extra>",
        )
    )
    _style(figure, height=70 + 24 * len(shown))
    figure.update_xaxes(zeroline=True, zerolinecolor=ZERO)
    return figure


def attention_figure(weights: FloatArray, tokens: Sequence[str], *, most: int = 40) -> go.Figure | None:
    """A heat map of attention: row i says from which tokens token i takes its values.

    Parameters
    ----------
    weights : ndarray of shape (n_tokens, n_tokens)
        Rows sum to 1.
    tokens : sequence of str
    most : int, default=40
        Tokens that are drawn: those that receive most.

    Raises
    ------
    ParameterError
        If the names do not fit.
    """
    if weights.shape != (len(tokens), len(tokens)):
        raise ParameterError(f"weights must be square with a name per row, got {weights.shape} and {len(tokens)} names")
    if not len(tokens):
        return None
    kept = np.sort(np.argsort(-weights.mean(axis=0), kind="stable")[:most])
    names = [escape(tokens[i]) for i in kept]
    steps = len(SEQUENCE) - 1
    figure = _panels(["Attention: a row takes its values from the columns"], [1.0])
    figure.add_trace(
        go.Heatmap(
            z=weights[np.ix_(kept, kept)],
            x=names,
            y=names,
            colorscale=[[i / steps, colour] for i, colour in enumerate(SEQUENCE)],
            zmin=0.0,
            hovertemplate="%{y} from %{x}  %{z:.3f}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0},
        )
    )
    _style(figure, height=160 + 16 * len(kept))
    figure.update_yaxes(autorange="reversed")
    return figure


def dendrogram_figure(tree: FloatArray, names: Sequence[str]) -> go.Figure | None:
    """The tree of a clustering, leaves from left to right in its own order.

    Parameters
    ----------
    tree : ndarray of shape (n_assets - 1, 4)
        Linkage matrix as SciPy's.
    names : sequence of str

    Raises
    ------
    ParameterError
        If the names do not fit.
    """
    if len(tree) + 1 != len(names):
        raise ParameterError(f"a tree of {len(tree) + 1} leaves needs as many names, got {len(names)}")
    if not len(tree):
        return None
    drawn = dendrogram(tree, no_plot=True)
    x = [value for line in drawn["icoord"] for value in (*line, None)]
    y = [value for line in drawn["dcoord"] for value in (*line, None)]
    places = [5.0 + 10.0 * i for i in range(len(names))]
    figure = _panels(["Distance at which assets join"], [1.0])
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line={"color": FOCUS, "width": 1.4}, hoverinfo="skip"))
    _style(figure, height=340)
    figure.update_xaxes(
        tickvals=places, ticktext=[escape(names[leaf]) for leaf in drawn["leaves"]], tickangle=-90, showgrid=False
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def graph_layout(n_assets: int, edge_index: npt.NDArray[np.int64], lengths: FloatArray) -> FloatArray:
    """Places of the nodes of a graph by classical scaling of the lengths of the shortest paths.

    The same graph always gets the same places: the first axis is the one along which it is widest, and the largest
    coordinate of each axis is positive. Parts that no path joins stand one and a half times the longest path apart.

    Parameters
    ----------
    n_assets : int
    edge_index : ndarray of shape (2, n_edges)
        Each undirected edge once.
    lengths : ndarray of shape (n_edges,)
        Positive.

    Returns
    -------
    ndarray of shape (n_assets, 2)

    Examples
    --------
    >>> graph_layout(3, np.array([[0, 1], [1, 2]]), np.array([1.0, 1.0])).round(6).tolist()
    [[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]
    """
    source, target = edge_index
    joined = coo_matrix((lengths, (source, target)), shape=(n_assets, n_assets))
    paths = shortest_path(joined.tocsr(), directed=False)
    finite = paths[np.isfinite(paths)]
    paths = np.where(np.isfinite(paths), paths, 1.5 * max(float(finite.max(initial=0.0)), 1.0))
    centred = paths**2
    centred = -0.5 * (centred - centred.mean(axis=0) - centred.mean(axis=1)[:, None] + centred.mean())
    values, vectors = np.linalg.eigh(centred)
    places = np.zeros((n_assets, 2))
    for axis in range(min(2, n_assets)):
        if values[-1 - axis] <= 1e-9 * max(values[-1], 1e-300):
            continue  # a path has no second dimension
        place = vectors[:, -1 - axis] * np.sqrt(values[-1 - axis])
        places[:, axis] = place * (1.0 if place[np.argmax(np.abs(np.round(place, 9)))] > 0.0 else -1.0)
    return places


def graph_figure(
    edge_index: npt.NDArray[np.int64],
    correlations: FloatArray,
    names: Sequence[str],
    *,
    sectors: Mapping[str, str] | None = None,
) -> go.Figure | None:
    """Assets as points, edges as lines that are thicker the stronger the correlation.

    Parameters
    ----------
    edge_index : ndarray of shape (2, n_edges)
        Each undirected edge once, by position.
    correlations : ndarray of shape (n_edges,)
        In [-1, 1]; the length of an edge is sqrt(2 (1 - rho)).
    names : sequence of str
    sectors : mapping of str to str, optional
        One colour each, for as many as there are colours.

    Raises
    ------
    ParameterError
        If an edge names a position without a name.
    """
    if not edge_index.size:
        return None
    if int(edge_index.max()) >= len(names):
        raise ParameterError(f"an edge joins position {int(edge_index.max())}, but there are {len(names)} names")
    lengths = np.sqrt(np.maximum(2.0 * (1.0 - correlations), 1e-6))
    places = graph_layout(len(names), edge_index, lengths)
    figure = _panels(["Strongest ties"], [1.0])
    for low, high, width in ((-1.0, 0.3, 0.8), (0.3, 0.6, 1.6), (0.6, 1.01, 3.0)):
        chosen = edge_index[:, (np.abs(correlations) >= low) & (np.abs(correlations) < high)]
        ends = places[chosen]  # (2, n_chosen, 2)
        x, y = (np.column_stack([*ends[..., axis], np.full(chosen.shape[1], np.nan)]).ravel() for axis in (0, 1))
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines", line={"color": GREYS[1], "width": width}, hoverinfo="skip", showlegend=False
            )
        )
    groups = [str((sectors or {}).get(name, "")) for name in names]
    for i, group in enumerate(dict.fromkeys(groups)):
        own = [k for k, label in enumerate(groups) if label == group]
        figure.add_trace(
            go.Scatter(
                x=places[own, 0],
                y=places[own, 1],
                mode="markers+text",
                text=[escape(names[k]) for k in own],
                textposition="top center",
                textfont={"size": 10, "color": FAINT_INK},
                marker={"size": 8, "color": CATEGORIES[i] if group and i < len(CATEGORIES) else FAINT_INK},
                name=escape(group) if group else "no sector",
                hoverinfo="text",
            )
        )
    _style(figure, height=520, top=_TOP)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(showlegend=any(groups), legend=_LEGEND)
    return figure


def _time_line(dates: pd.DatetimeIndex, values: pd.Series, name: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=dates.strftime("%Y-%m-%d").tolist(),
        y=values.to_numpy(dtype=float),
        mode="lines",
        name=name,
        line={"color": colour, "width": 1.6},
        hovertemplate=f"%{{x|%d %b %Y}}  %{{y:.3f}}<extra>{name}</extra>",
    )


def _spans(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """First date, first date after, and label of every stretch of one regime."""
    if "regime" not in table or not len(table):
        return []
    labels = table["regime"].astype(str)
    starts = np.flatnonzero(labels.ne(labels.shift())).tolist()
    stops = [*starts[1:], len(labels) - 1]
    return [
        (f"{table.index[a]:%Y-%m-%d}", f"{table.index[b]:%Y-%m-%d}", labels.iloc[a])
        for a, b in zip(starts, stops, strict=True)
    ]
