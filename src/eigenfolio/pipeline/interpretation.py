"""Ask a model with weights what it decided on a panel and why, and write the answers as a page and tables.

    decisions          intensity, block curves and condition along the decision dates, against the market's regime
    what changed       between the last two decisions, in words
    attributions       of the summary of the window, on the intensity and on the predicted variance: by permutation
                       among the last decision dates, and by integrated gradients at the last one from the middle of
                       what training has seen (spectral network)
    attention          who takes values from whom at the last date (attention network)
    structure          leading eigenvectors, sectors, the tree of a clustering and the spanning tree at the last date

Decisions are those of the weights of their date; attributions ask the weights of the last decision about every window,
and come before the guard. Nothing is trained and nothing is chosen.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from eigenfolio.artifacts import Bundle
from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.data import plan_decisions
from eigenfolio.errors import ParameterError, RangeWarning
from eigenfolio.evaluation.attribution import Attribution, integrated_gradients, permutation_attribution
from eigenfolio.evaluation.interpretation import eigenvector_view, sector_view, what_changed
from eigenfolio.features.graphs import AssetGraph, minimum_spanning_tree
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.attention_maps import AttentionMaps, attention_maps
from eigenfolio.learned.spectra import SUMMARY_FEATURES
from eigenfolio.learned.summary_answers import spectral_window_of, summary_answer, summary_center
from eigenfolio.learned.tokens import describe_tokens
from eigenfolio.models.clustering import cluster_tree, correlation_distance, linkage_distance
from eigenfolio.models.window import prepare_window
from eigenfolio.panel import Panel
from eigenfolio.pipeline.decision_path import DecisionPath, decision_path
from eigenfolio.pipeline.judge import Progress
from eigenfolio.report.interpretation_figures import (
    attention_figure,
    attribution_figure,
    block_curve_figure,
    decision_path_figure,
    dendrogram_figure,
    graph_figure,
)
from eigenfolio.report.interpretation_page import InterpretationPage, Section, write_interpretation

__all__ = ["Interpretation", "interpret"]

_EXPLAINED = {"shrinkage": "Intensity", "log_variance": "Log predicted variance of the equal-weight portfolio"}
_TITLES = {
    "shrinkage": "the intensity",
    "closed_form_shrinkage": "the intensity of the closed form",
    "out_of_range": "the share of inputs out of range",
    "recent_share": "the share of the recent spectrum",
    "volatility_change": "the mean change of single assets' log volatilities",
    "member_spread": "the spread of the members' intensities",
    "guard_relation": "the strength of the guard against assets that copy others",
    "guard_range": "the strength of the guard against inputs out of range",
    "log_scale": "the common change of the log volatilities",
    "volatility": "the median volatility per period",
    "n_assets": "the number of assets",
    "regime": "the market's regime",
    "regime_foreseen": "the regime foreseen",
}


@dataclass(frozen=True, eq=False)
class Interpretation:
    """What a model decided, and why.

    Attributes
    ----------
    name : str
        Of the panel.
    network : str
        "spectral", "attention" or "dense".
    path : DecisionPath
    sentences : tuple of str
        What changed between the last two decisions.
    permutation : dict of str to DataFrame
        By explained quantity ("shrinkage", "log_variance"): what `permutation_attribution` found. Of the spectral
        network only, like the next.
    gradients : dict of str to Attribution
        By explained quantity, at the last date.
    attention : AttentionMaps or None
        Of the attention network, at the last date.
    eigenvectors, sectors : DataFrame
        At the last date; `sectors` is empty for a panel without sectors.
    tree : ndarray of shape (n_assets - 1, 4)
        Average-linkage tree of the shrunk correlation.
    graph : AssetGraph
        Minimum spanning tree of the shrunk correlation.
    names : tuple of str
        The active assets at the last date, in the order of tree and graph.
    owners : dict of str to str
        Sector of each, empty for a panel without sectors.
    notes : tuple of str
        What must be known of the rows that were looked at.
    """

    name: str
    network: str
    path: DecisionPath
    sentences: tuple[str, ...]
    permutation: dict[str, pd.DataFrame]
    gradients: dict[str, Attribution]
    attention: AttentionMaps | None
    eigenvectors: pd.DataFrame
    sectors: pd.DataFrame
    tree: np.ndarray
    graph: AssetGraph
    names: tuple[str, ...]
    owners: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        tables = {
            "decisions": self.path.table,
            "block_curves": self.path.curves,
            "eigenvectors": self.eigenvectors,
            "sectors": self.sectors,
        }
        tables |= {f"permutation_{name}": table for name, table in self.permutation.items()}
        tables |= {f"gradients_{name}": found.values.to_frame() for name, found in self.gradients.items()}
        if self.attention is not None:
            names = list(self.attention.tokens)
            tables["attention"] = pd.DataFrame(self.attention.mean, index=names, columns=names)
        return {name: table for name, table in tables.items() if len(table)}

    def to_dict(self) -> dict[str, Any]:
        """What the command prints, as plain JSON-able values."""
        return {
            "panel": self.name,
            "network": self.network,
            "first": f"{self.path.table.index[0]:%Y-%m-%d}",
            "last": f"{self.path.table.index[-1]:%Y-%m-%d}",
            "n_decisions": len(self.path.table),
            "notes": list(self.notes),
            "what_changed": list(self.sentences),
            "gradients": {
                name: {
                    "answer": found.answer,
                    "baseline": found.baseline,
                    "gap": found.gap,
                    "largest": found.values.reindex(found.values.abs().nlargest(5).index).to_dict(),
                }
                for name, found in self.gradients.items()
            },
            "permutation": {name: table["share"].head(5).to_dict() for name, table in self.permutation.items()},
        }

    def page(self) -> InterpretationPage:
        """The page of it all."""
        last = self.path.table.index[-1]
        return InterpretationPage(
            title=f"What the {self.network} network decided on {self.name}",
            subtitle=f"{len(self.path.table)} decisions from {self.path.table.index[0]:%Y-%m-%d} to {last:%Y-%m-%d}.",
            sections=[
                Section("What changed", self.sentences),
                Section(
                    "Decisions along the dates",
                    [
                        *self.notes,
                        "Bands: stressed and crisis markets, and trending ones; the calm are left white.",
                        *self._cautions(),
                    ],
                    [decision_path_figure(self.path.table), block_curve_figure(self.path.curves_by_regime())],
                ),
                *self._attributions(),
                Section(
                    "Attention at the last date",
                    ["A map shows what was mixed, not what mattered for the answer."] if self.attention else (),
                    [attention_figure(self.attention.mean, self.attention.tokens)] if self.attention else (),
                ),
                Section(
                    f"Structure on {last:%Y-%m-%d}",
                    figures=[dendrogram_figure(self.tree, self.names), self._graph_figure()],
                    tables=[self.eigenvectors, self.sectors],
                ),
            ],
        )

    def write(self, folder: Path) -> Path:
        """Write `interpretation.html`, a CSV file per table and `interpretation.json` to a new folder.

        Raises
        ------
        ArtifactError
            If the folder exists or cannot be written.
        """
        with whole_folder(folder) as partial:
            write_interpretation(self.page(), partial / "interpretation.html")
            for name, table in self.tables.items():
                table.to_csv(partial / f"{name}.csv")
            (partial / "interpretation.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
        return Path(folder)

    def _cautions(self) -> list[str]:
        """What must be known before the path is trusted."""
        table, n = self.path.table, len(self.path.table)
        told = []
        if "trained_through" in table and table["trained_through"].nunique() > 1:
            told.append("Newer weights take over along the dates: a step there is no change of the market.")
        if "in_sample" in table and table["in_sample"].any():
            count = int(table["in_sample"].sum())
            told.append(f"At {count} of {n} dates the weights have seen later rows: no evidence, only what they say.")
        if "out_of_range" in table and (table["out_of_range"] > 0.1).any():
            count = int((table["out_of_range"] > 0.1).sum())
            told.append(f"At {count} of {n} dates more than 10 % of the inputs lay beyond what the weights have seen.")
        return told

    def _guarded_answer(self, answer: float) -> str:
        """Why the intensity decided is another than the one explained, where it is."""
        decided = float(self.path.table["shrinkage"].iloc[-1])
        if np.isclose(decided, answer, rtol=1e-6, atol=1e-9):
            return ""
        return f" This is the answer before the guard; the intensity decided, after it, is {decided:.4g}."

    def _attributions(self) -> list[Section]:
        sections = []
        for name, found in self.gradients.items():
            told = (
                f"At the last date {_EXPLAINED[name].lower()} is {found.answer:.4g}; with the summary in the middle of "
                f"what training has seen it would be {found.baseline:.4g}. The integral misses {found.gap:+.2g} of the "
                "difference. A share by permutation counts interactions, and a large one may come of combinations that "
                "no date has shown."
            )
            if name == "shrinkage":
                told += self._guarded_answer(found.answer)
            figures = [
                attribution_figure(found.values, f"{_EXPLAINED[name]}: integrated gradients"),
                attribution_figure(self.permutation[name]["share"], f"{_EXPLAINED[name]}: share by permutation"),
            ]
            sections.append(Section(f"What {_EXPLAINED[name].lower()} hangs on", [told], figures))
        return sections

    def _graph_figure(self) -> Any:
        correlations = self.graph.edge_attributes[:, 0]
        return graph_figure(self.graph.edge_index, correlations, self.names, sectors=self.owners or None)


def interpret(
    model: NeuralShrinkage,
    panel: Panel,
    *,
    name: str,
    rebalance: str = "MS",
    n_explained: int = 40,
    n_repeats: int = 3,
    seed: int = 0,
    progress: Progress,
) -> Interpretation:
    """Follow a model along a panel and explain its last decision.

    Parameters
    ----------
    model : NeuralShrinkage
        With weights; left unfitted. Its `lookback` is the history that the first decision needs; without one 252 rows.
    panel : Panel
    name : str
        What the panel is called.
    rebalance : str, default="MS"
        Pandas frequency of the first day of each holding period.
    n_explained : int, default=40
        Last decisions among which inputs are permuted, at least 2.
    n_repeats : int, default=3
        Permutations of each input.
    seed : int, default=0
        Draws the permutations.
    progress : Progress
        Opens one stage per long step.

    Returns
    -------
    Interpretation

    Raises
    ------
    ParameterError
        If the model has no weights, or `n_explained` is below 2.
    """
    if n_explained < 2:
        raise ParameterError(f"n_explained must be at least 2, got {n_explained}")
    index = pd.DatetimeIndex(panel.index)
    history = 252 if model.lookback is None else min(model.lookback, 252)
    rows = [decision.row for decision in plan_decisions(index, rebalance=rebalance, lag=0, min_history=history)]
    bundle = model.choose_bundle(index[rows[-1]])  # of the last decision: later rows may have newer weights
    if bundle is None:
        raise ParameterError("weights=None is the closed form, which has nothing to explain; name weights or a bundle")
    with progress("Following decisions", len(rows)) as step:
        path = decision_path(model, panel, rows, on_done=step)
    permutation, gradients = {}, {}
    if bundle.network == "spectral":
        with progress("Explaining", 2 * len(_EXPLAINED)) as step:
            windows = [spectral_window_of(model, panel.returns.iloc[: row + 1]) for row in rows[-n_explained:]]
            summaries = pd.DataFrame([window.summary for window in windows], columns=list(SUMMARY_FEATURES))
            for quantity in _EXPLAINED:
                permutation[quantity] = permutation_attribution(
                    summary_answer(bundle, windows, quantity=quantity),
                    summaries,
                    rng=np.random.default_rng(seed),
                    groups=_pairs(),
                    n_repeats=n_repeats,
                )
                step()
                gradients[quantity] = integrated_gradients(
                    summary_answer(bundle, windows[-1], quantity=quantity),
                    windows[-1].summary,
                    summary_center(bundle),
                    names=SUMMARY_FEATURES,
                    n_nodes=16,
                )
                step()
    dates = path.table.index
    changed = what_changed(path.table, dates[-2], dates[-1], titles=_TITLES) if len(dates) > 1 else []
    return Interpretation(
        name=name,
        network=bundle.network,
        path=path,
        sentences=tuple(changed),
        permutation=permutation,
        gradients=gradients,
        notes=_short_history(model.lookback, rows),
        **_structure(model, panel, rows[-1], bundle),
    )


def _short_history(lookback: int | None, rows: Sequence[int]) -> tuple[str, ...]:
    """A sentence where decisions look back over fewer rows than they were told to."""
    short = 0 if lookback is None else sum(row + 1 < lookback for row in rows)
    if not short:
        return ()
    which = "No decision has" if short == len(rows) else f"The first {short} of {len(rows)} decisions do not have"
    where = f"{rows[0] + 1} at the first decision, {min(rows[-1] + 1, lookback or 0)} at the last"
    return (f"{which} the {lookback} rows of the lookback; decisions then see all rows there are, {where}.",)


def _pairs() -> dict[str, Sequence[str]]:
    """The same fact about the steady and the recent spectrum: two inputs that move together are dealt out together."""
    facts = [name.removeprefix("steady_") for name in SUMMARY_FEATURES if name.startswith("steady_")]
    return {fact: [f"steady_{fact}", f"recent_{fact}"] for fact in facts}


def _structure(model: NeuralShrinkage, panel: Panel, row: int, bundle: Bundle) -> dict[str, Any]:
    """What the last matrix looks like, and where an attention network looks."""
    past = panel.returns.iloc[: row + 1]
    with warnings.catch_warnings():  # told on the path
        warnings.simplefilter("ignore", RangeWarning)
        fitted = clone(model).fit(past)
    names = [str(name) for name in past.columns]
    owners = {} if panel.sectors is None else {str(asset): str(label) for asset, label in panel.sectors.items()}
    active = np.isfinite(np.diag(fitted.covariance_))
    correlation = fitted.correlation_[np.ix_(active, active)]
    tree, _ = cluster_tree(
        linkage_distance(correlation_distance(correlation), "tree"), linkage="average", convention="tree"
    )
    maps = None
    if bundle.network == "attention":
        seen = past.to_numpy(dtype=float)[:, active]
        window = prepare_window(seen, lookback=model.lookback, assume_centered=model.assume_centered)
        maps = attention_maps(bundle, describe_tokens(window, start=bundle.options["targets"][0]))
    return {
        "attention": maps,
        "eigenvectors": eigenvector_view(fitted.covariance_, names, sectors=owners or None),
        "sectors": sector_view(fitted.covariance_, names, owners) if owners else pd.DataFrame(),
        "tree": tree,
        "graph": minimum_spanning_tree(np.clip(correlation, -1.0, 1.0)),
        "names": tuple(name for name, known in zip(names, active, strict=True) if known),
        "owners": owners,
    }
