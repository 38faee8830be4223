"""What the decisions of graph-attention portfolios came to: every seed, every method, and the rivals, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skfolio.optimization import BaseOptimization

from eigenfolio.evaluation import OWN_BOOK, WalkForward, performance_table, sharpe_difference
from eigenfolio.evaluation.selection_bias import probabilistic_sharpe_ratio
from eigenfolio.learned import GraphAttentionPortfolio, GraphEnsemble
from eigenfolio.measures import periods_per_year
from eigenfolio.models import EqualWeight, LimitedTurnover, MinimumVariance, champion_covariance
from eigenfolio.pipeline.gat_options import GatOptions
from eigenfolio.pipeline.gat_ranking import Ranking, rank_methods
from eigenfolio.pipeline.outcome import records

__all__ = [
    "ENSEMBLE",
    "RIVALS",
    "JudgedGat",
    "about_turnover",
    "judge_gat",
    "member_folder",
    "models",
    "portfolio",
    "seed_name",
]

ENSEMBLE = "gat_ensemble"
"""Name of the mean book of all graph methods."""

RIVALS = ("Equal weight", "Minimum variance")
"""What it is compared with."""


def member_folder(work: Path, graph: str, member: int) -> Path:
    """Where the bundles of one seed of a graph method are while the job works."""
    return work / "members" / f"{graph}-{member}"


@dataclass(frozen=True)
class JudgedGat:
    """The ranking, and what the methods came to.

    Parameters
    ----------
    ranking : Ranking
    performance : DataFrame
        Of every seed, method, their ensemble and the rivals: one row per model.
    differences : DataFrame
        Sharpe ratio of the ensemble (of the method, if there is one alone) less that of each rival.
    positive : float
        Probability that its Sharpe ratio is positive.
    periods_per_year : float
    sentences : tuple of str
    """

    ranking: Ranking
    performance: pd.DataFrame
    differences: pd.DataFrame
    positive: float
    periods_per_year: float
    sentences: tuple[str, ...]

    def metrics(self) -> dict[str, Any]:
        """What the record keeps: nothing that depends on the machine."""
        return {
            "ranking": self.ranking.to_dict(),
            "methods": records(self.ranking.table.reset_index(names="graph")),
            "performance": records(self.performance),
            "sharpe_differences": records(self.differences),
            "positive": self.positive,
        }


def models(config: GatOptions, work: Path) -> dict[str, BaseOptimization]:
    """Every seed of every graph, the mean book of the seeds, that of the graphs, and the rivals.

    Under a limit on turnover each of them, the rivals too, trades no more than it from the book it has itself.
    """
    found: dict[str, BaseOptimization] = {}
    means = []
    for graph in config.graphs:
        seeds = [
            (f"seed {member}", portfolio(config, member_folder(work, graph, member)))
            for member in range(config.n_seeds)
        ]
        found |= {seed_name(graph, member): model for member, (_, model) in enumerate(seeds)}
        found[f"gat_{graph}"] = GraphEnsemble(seeds)
        means.append((graph, GraphEnsemble(seeds)))
    if len(means) > 1:
        found[ENSEMBLE] = GraphEnsemble(means)
    cap, limit = config.training.max_weight, config.training.max_turnover
    rivals: list[BaseOptimization] = [
        EqualWeight(),
        MinimumVariance(champion_covariance(lookback=252), max_weight=cap),
    ]
    if limit is not None:
        rivals = [LimitedTurnover(rival, max_turnover=limit, max_weight=cap) for rival in rivals]
    return found | dict(zip(RIVALS, rivals, strict=True))


def portfolio(config: GatOptions, folder: Path) -> GraphAttentionPortfolio:
    """The estimator of the bundles in a folder, with the covariance that they were trained on."""
    return GraphAttentionPortfolio(folder, covariance_estimator=config.covariance_estimator())


def about_turnover(config: GatOptions, walked: WalkForward) -> tuple[str, ...]:
    """How the limit on turnover was kept, in words; nothing where there is none."""
    limit = config.training.max_turnover
    if limit is None:
        return ()
    methods = [f"gat_{graph}" for graph in config.graphs] + [ENSEMBLE] * (len(config.graphs) > 1)
    traded = np.concatenate(
        [walked.diagnostics[name]["turnover"].dropna() for name in methods if name in walked.diagnostics]
    )
    forced = int((traded > limit + 1e-9).sum())
    told = f"Trades were limited to a turnover of {100 * limit:g} %, counted from what was held on the date decided: "
    if not forced:
        return (f"{told}kept in all {len(traded)} decisions after the first.",)
    return (
        f"{told}kept in {len(traded) - forced} of {len(traded)} decisions after the first; in the others assets that "
        f"could not be held any more made more necessary, up to {100 * traded.max():.1f} %.",
    )


def seed_name(graph: str, member: int) -> str:
    """Name of the track of one seed of a graph method."""
    return f"gat_{graph} seed {member}"


def judge_gat(config: GatOptions, returns: pd.DataFrame, walked: WalkForward, logs: list[dict[str, Any]]) -> JudgedGat:
    """Rank the methods and compare their mean with the rivals.

    Parameters
    ----------
    config : GatOptions
    returns : DataFrame of shape (n_open, n_assets)
    walked : WalkForward
        Of `models`.
    logs : list of dict
        One per graph and span, with the best validation loss of each member.

    Raises
    ------
    DataError
        If a portfolio never decided, so that it has no track to compare.
    """
    per_year = periods_per_year(pd.DatetimeIndex(returns.index))
    performance = performance_table(walked, periods_per_year=per_year).xs(OWN_BOOK, level="book")
    sharpe = performance["sharpe_ratio"]
    sharpes: dict[str, list[float]] = {
        graph: [float(sharpe[seed_name(graph, member)]) for member in range(config.n_seeds)] for graph in config.graphs
    }
    losses: dict[str, list[float]] = {
        graph: [
            float(np.mean([log["members"][member]["best_loss"] for log in logs if log["graph"] == graph]))
            for member in range(config.n_seeds)
        ]
        for graph in config.graphs
    }
    together: dict[str, float] = {graph: float(sharpe[f"gat_{graph}"]) for graph in config.graphs}
    best = sorted(together, key=lambda graph: -together[graph])
    interval = None
    if len(best) > 1:
        found = _difference(config, walked, f"gat_{best[0]}", f"gat_{best[1]}", per_year, stream=1)
        interval = (found["low"], found["high"])
    ranking = rank_methods(
        sharpes,
        losses,
        together,
        interval=interval,
        confidence=config.evaluation.confidence,
        rng=np.random.default_rng([config.seed, 2]),
    )
    shown = ENSEMBLE if len(config.graphs) > 1 else f"gat_{config.graphs[0]}"
    rows = [
        {"model": shown, "rival": rival, **_difference(config, walked, shown, rival, per_year, stream=3)}
        for rival in RIVALS
    ]
    positive = probabilistic_sharpe_ratio(
        walked.tracks[shown, OWN_BOOK].returns.to_numpy(),
        periods_per_year=per_year,
        confidence=config.evaluation.confidence,
    ).probability
    differences = pd.DataFrame(rows)
    told = tuple(
        f"{row['model']}: Sharpe ratio {row['sharpe_a']:.2f} against {row['sharpe_b']:.2f} of {row['rival'].lower()}, "
        f"difference {row['low']:+.2f} to {row['high']:+.2f}."
        for row in rows
    )
    return JudgedGat(ranking, performance.reset_index(), differences, positive, per_year, (*ranking.sentences, *told))


def _difference(
    config: GatOptions, walked: WalkForward, a: str, b: str, per_year: float, *, stream: int
) -> dict[str, Any]:
    return asdict(
        sharpe_difference(
            walked.tracks[a, OWN_BOOK].returns,
            walked.tracks[b, OWN_BOOK].returns,
            windows=walked.windows,
            periods_per_year=per_year,
            n_bootstrap=config.evaluation.n_bootstrap,
            confidence=config.evaluation.confidence,
            rng=np.random.default_rng([config.seed, stream]),
        )
    )
