"""One drawn market whose truth is known, and what the whole chain makes of it.

Three kinds: a null market, from which the edges of all pairs of tracks come; a market with a signal planted along a
known graph, from which net Sharpe ratios come, those of the oracle among them; and a sample of a planted covariance,
from which the true volatilities of minimum-variance books come. Every function here is a task of its own: everything
is drawn from the seed, the kind of market and the number of the draw, so the order of the tasks does not matter.

Shrinkage is that of the weights which have seen simulated markets only: drawn panels have no dates worth the name. In a
null market networks are taught on periods of five rows before the span that is judged, and their books are held
for 21 rows there; in a planted market everything is daily. A book that is decided on row t earns row t + 2 first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.data import plan_decisions
from eigenfolio.data.synthetic import (
    Normal,
    PlantedMarket,
    Population,
    draw_market,
    factor_covariance,
    lead_lag_market,
    oracle_weights,
    spiked_covariance,
)
from eigenfolio.evaluation.chain_calibration import measure_edge
from eigenfolio.evaluation.null_markets import NULL_LAWS, NullLaw, NullMarket, draw_null
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Track, walk_forward
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.measures import sharpe_ratio
from eigenfolio.models import (
    OAS,
    AverageOracle,
    EqualWeight,
    HierarchicalRiskParity,
    InverseVolatility,
    LedoitWolf,
    QuadraticInverseShrinkage,
    minimum_variance_weights,
)
from eigenfolio.pipeline.self_test_models import SIZES, Foreseen, KnownCovariance, fit_graph_attention, fit_ridge
from eigenfolio.training.gat import GatTraining
from eigenfolio.training.graph_batches import Period, make_period
from eigenfolio.training.loop import LoopOptions

__all__ = [
    "GAT",
    "LEARNED",
    "ORACLE",
    "PEEKING",
    "POPULATIONS",
    "SelfTestOptions",
    "covariance_draw",
    "null_draw",
    "periods_to_learn_from",
    "signal_draw",
]

Row = dict[str, Any]

LEARNED, CLASSICAL, HRP = "Neural shrinkage", "QIS on correlation", "Hierarchical risk parity"
INVERSE, EQUAL, RIDGE, GAT = "Inverse volatility", "Equal weight", "Ridge regression", "Graph attention"
NEIGHBOURS, ALONE = "Ridge regression with neighbours", "Network without edges"
PEEKING, ORACLE, KNOWN = "Peeking one day", "Oracle", "Covariance known"

_LONG, _FREE = LONG_ONLY.name, UNCONSTRAINED.name
PAIRS = (
    ((LEARNED, _LONG), (KNOWN, _LONG)),
    ((LEARNED, _FREE), (KNOWN, _FREE)),
    ((LEARNED, _LONG), (CLASSICAL, _LONG)),
    ((LEARNED, _FREE), (CLASSICAL, _FREE)),
    ((HRP, OWN_BOOK), (INVERSE, OWN_BOOK)),
    ((INVERSE, OWN_BOOK), (EQUAL, OWN_BOOK)),
    ((RIDGE, OWN_BOOK), (EQUAL, OWN_BOOK)),
    ((GAT, OWN_BOOK), (EQUAL, OWN_BOOK)),
    ((PEEKING, OWN_BOOK), (EQUAL, OWN_BOOK)),
)
"""Track and comparator of every edge: the closest one that knows nothing of returns, so that few draws are enough."""

TAUGHT_SHARE = 0.75
"""Of the periods before the judged span; the network stops by the others."""


class SelfTestOptions(BaseModel):
    """How much is drawn, and what counts as nothing.

    Parameters
    ----------
    seed : int
        Everything is drawn from it.
    null_draws : int
        Null markets per law.
    band : float
        Largest edge that counts as none, annualised Sharpe ratio.
    n_assets : int
        Of the drawn markets; a real one has its own.
    lookback : int
        Rows each estimator looks back.
    taught_rows, judged_rows : int
        Rows after the lookback that networks are trained on, and rows judged after those.
    coefficients : tuple of float in (0, 1)
        Information coefficients of the planted markets.
    plant_draws : int
        Planted markets per coefficient.
    plant_rows : int
        Rows of a planted market, of which the last quarter is judged.
    covariance_draws : int
        Samples per population.
    cost_bps : float
        Per unit traded, of net edges in null markets.
    plant_cost_bps : float
        The same in planted markets, where books are traded daily.
    max_epochs : int
        Of the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    null_draws: int = Field(default=100, ge=2)
    band: float = Field(default=0.10, gt=0.0)
    n_assets: int = Field(default=24, ge=8)
    lookback: int = Field(default=252, ge=60)
    taught_rows: int = Field(default=504, ge=100)
    judged_rows: int = Field(default=1008, ge=100)
    coefficients: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(default=(0.1, 0.2, 0.3), min_length=1)
    plant_draws: int = Field(default=6, ge=2)
    plant_rows: int = Field(default=1000, ge=200)
    covariance_draws: int = Field(default=40, ge=2)
    cost_bps: float = Field(default=10.0, ge=0.0)
    plant_cost_bps: float = Field(default=5.0, ge=0.0)
    max_epochs: int = Field(default=40, ge=1)

    @property
    def training(self) -> GatTraining:
        """The small network of every market."""
        return GatTraining(
            widths=(16, 16),
            n_heads=2,
            readout=16,
            dropout=0.0,
            cost_bps=self.plant_cost_bps,
            max_weight=0.15,
            block=30,
            stride=30,
            loop=LoopOptions(max_epochs=self.max_epochs, patience=12, batch_size=4, learning_rate=5e-3),
        )


def null_draw(options: SelfTestOptions, law: NullLaw, draw: int, source: pd.DataFrame) -> list[Row]:
    """Edges of every pair of tracks on one null market.

    Parameters
    ----------
    options : SelfTestOptions
    law : str
        Of `NULL_LAWS`.
    draw : int
        Number of the market.
    source : DataFrame of shape (n_observations, n_assets)
        Real simple returns without gaps, for the law "real".

    Returns
    -------
    list of dict
        Per pair: `law`, `draw`, `model`, `comparator`, and `gross`, `net` and `p_value` of the edge.

    Raises
    ------
    DataError
        If the source has gaps or too few rows.
    RuntimeError
        If a model fails, which on a market without gaps is a bug.
    """
    rng = np.random.default_rng([options.seed, 1, NULL_LAWS.index(law), draw])
    before = options.lookback + options.taught_rows
    market = draw_null(
        law, n_assets=options.n_assets, n_observations=before + options.judged_rows, rng=rng, source=source
    )
    seed = int(rng.integers(2**31))
    models = (
        _risk_models(options)
        | {KNOWN: KnownCovariance(market.covariance)}
        | _taught_on_null(market, options, before, seed)
    )
    decisions = plan_decisions(pd.DatetimeIndex(market.returns.index), rebalance=21, lag=1, min_history=before)
    books = {book.name: book for book in (LONG_ONLY, UNCONSTRAINED)}
    result = walk_forward(models, market.returns, decisions, books=books, cost_bps=options.cost_bps)
    _refuse_failures(result.failures)
    return [
        {"law": law, "draw": draw, **_edge(result.tracks, ours, theirs, market.cash, seed)} for ours, theirs in PAIRS
    ]


def _edge(
    tracks: dict[tuple[str, str], Track], ours: tuple[str, str], theirs: tuple[str, str], cash: float, seed: int
) -> Row:
    edge = measure_edge(tracks[ours], tracks[theirs], cash=cash, rng=np.random.default_rng(seed))
    named = {"model": _named(*ours), "comparator": _named(*theirs)}
    return {**named, "gross": edge.gross, "net": edge.net, "p_value": edge.p_value}


def _risk_models(options: SelfTestOptions) -> dict[str, BaseCovariance | BaseOptimization]:
    """Models that look at risk alone, and need no training here."""
    lookback = options.lookback
    return {
        LEARNED: NeuralShrinkage("synthetic", lookback=lookback),
        CLASSICAL: QuadraticInverseShrinkage(on="correlation", lookback=lookback),
        HRP: HierarchicalRiskParity(lookback=lookback),
        INVERSE: InverseVolatility(lookback=lookback),
        EQUAL: EqualWeight(),
    }


def _taught_on_null(
    market: NullMarket, options: SelfTestOptions, before: int, seed: int
) -> dict[str, BaseCovariance | BaseOptimization]:
    """Models that look for returns: taught on the rows before the judged span, and one that knows the next day."""
    training = options.training.model_copy(update={"cost_bps": 0.0})
    periods = periods_to_learn_from(market.returns.iloc[:before], "mst", options.lookback, every=5)
    peeked = market.returns.sub(market.returns.mean(axis=1), axis=0)
    peeked = peeked / float(peeked.to_numpy().std())
    return {
        RIDGE: fit_ridge(*periods, graph="mst", neighbours=False, options=training),
        GAT: fit_graph_attention(*periods, graph="mst", options=training, seed=seed),
        PEEKING: Foreseen(peeked, ahead=2, max_weight=training.max_weight),
    }


def signal_draw(options: SelfTestOptions, coefficient: float, draw: int) -> list[Row]:
    """Net Sharpe ratios on one market whose assets are led by their neighbours on a ring.

    Parameters
    ----------
    options : SelfTestOptions
    coefficient : float in (0, 1)
        Information coefficient of the neighbours' returns.
    draw : int
        Number of the market.

    Returns
    -------
    list of one dict
        `coefficient`, and the annualised net Sharpe ratio of every model and of the oracle: the best, in hindsight, of
        several multiples of the true expected returns.

    Raises
    ------
    RuntimeError
        If a model fails.
    """
    rng = np.random.default_rng([options.seed, 2, round(1e6 * coefficient), draw])
    market, graph = _ring(options, coefficient, rng)
    returns, training, seed = market.panel.returns, options.training, int(rng.integers(2**31))
    before = options.plant_rows * 3 // 4
    taught = returns.iloc[:before]
    periods = periods_to_learn_from(taught, graph, options.lookback, every=1)
    alone = periods_to_learn_from(taught, 0.0 * graph, options.lookback, every=1)
    expected = market.expected_returns / float(np.nanstd(market.expected_returns.to_numpy()))
    best = {f"{ORACLE} {size:g}": Foreseen(expected, size=size, max_weight=training.max_weight) for size in SIZES}
    models: dict[str, BaseCovariance | BaseOptimization] = {
        GAT: fit_graph_attention(*periods, graph=graph, options=training, seed=seed),
        ALONE: fit_graph_attention(*alone, graph=0.0 * graph, options=training, seed=seed),
        RIDGE: fit_ridge(*periods, graph=graph, neighbours=False, options=training),
        NEIGHBOURS: fit_ridge(*periods, graph=graph, neighbours=True, options=training),
        EQUAL: EqualWeight(),
    }
    decisions = plan_decisions(pd.DatetimeIndex(returns.index), rebalance=1, lag=1, min_history=before)
    result = walk_forward({**models, **best}, returns, decisions, books={}, cost_bps=options.plant_cost_bps)
    _refuse_failures(result.failures)
    net = {name: float(sharpe_ratio(track.returns.to_numpy())) for (name, _), track in result.tracks.items()}
    return [
        {"coefficient": coefficient, ORACLE: max(net[name] for name in best)} | {name: net[name] for name in models}
    ]


def _ring(options: SelfTestOptions, coefficient: float, rng: np.random.Generator) -> tuple[PlantedMarket, pd.DataFrame]:
    """A market in which both neighbours on a ring lead an asset, and the ring by names."""
    order = rng.permutation(options.n_assets)
    pairs = np.stack([order, np.roll(order, 1)])
    edges = np.concatenate([pairs, pairs[::-1]], axis=1)
    market = lead_lag_market(
        options.n_assets,
        options.plant_rows,
        information_coefficient=coefficient,
        edge_index=edges,
        n_factors=1,
        seed=rng,
    )
    names = market.panel.returns.columns
    strengths = np.zeros((len(names), len(names)))
    strengths[edges[0], edges[1]] = 1.0
    return market, pd.DataFrame(strengths, index=names, columns=names)


def periods_to_learn_from(
    returns: pd.DataFrame, graph: str | pd.DataFrame, lookback: int, *, every: int
) -> tuple[list[Period], list[Period]]:
    """Cut a span into periods to learn from and, later, periods to stop by.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns without gaps; nothing is held beyond their last row.
    graph : str or DataFrame
        As in `GraphAttentionPortfolio`.
    lookback : int
        Rows before the first decision.
    every : int
        Rows from one decision to the next.

    Returns
    -------
    taught, stopping : list of Period
        Rows that the first hold end before the second decide.
    """
    plan = plan_decisions(pd.DatetimeIndex(returns.index), rebalance=every, lag=1, min_history=lookback + 1)
    cut = int(TAUGHT_SHARE * len(plan))
    everyone = np.ones(returns.shape[1], dtype=bool)
    made = [make_period(returns, decision, everyone, graph=graph) for decision in plan]
    return made[:cut], made[cut + 1 :]  # the one between is still held when the next is decided


def _spiked(n_assets: int, rng: np.random.Generator) -> Population:
    return spiked_covariance(n_assets, rng=rng)


def _factor(n_assets: int, rng: np.random.Generator) -> Population:
    return factor_covariance(n_assets, rng=rng)


POPULATIONS: dict[str, Callable[[int, np.random.Generator], Population]] = {"spiked": _spiked, "factor": _factor}


def covariance_draw(options: SelfTestOptions, name: str, draw: int) -> list[Row]:
    """How far below equal weights, in log volatility, the books of estimators and oracle lie under the truth.

    Parameters
    ----------
    options : SelfTestOptions
    name : str
        Of `POPULATIONS`.
    draw : int
        Number of the population and of its sample of rows.

    Returns
    -------
    list of dict
        Per book: `population`, `book`, and log(volatility of equal weights / volatility) per model and of the oracle.
    """
    rng = np.random.default_rng([options.seed, 3, list(POPULATIONS).index(name), draw])
    n_assets = 4 * options.n_assets
    population = POPULATIONS[name](n_assets, rng)
    returns = draw_market(population, Normal(), 4 * options.lookback, seed=rng).panel.returns
    estimated = {model: estimator.fit(returns).covariance_ for model, estimator in _covariances(options).items()}
    equal = np.full(n_assets, 1.0 / n_assets)

    def gained(weights: npt.NDArray[np.float64]) -> float:
        return 0.5 * float(np.log(equal @ population.covariance @ equal / (weights @ population.covariance @ weights)))

    def row(book: Constraints) -> Row:
        held = {model: gained(minimum_variance_weights(found, book)) for model, found in estimated.items()}
        return {
            "population": name,
            "book": book.name,
            ORACLE: gained(oracle_weights(population.covariance, book)),
        } | held

    return [row(LONG_ONLY), row(UNCONSTRAINED)]


def _covariances(options: SelfTestOptions) -> dict[str, BaseCovariance]:
    """Learned and classical estimators, all of one lookback; the average oracle learns from the rows before as well."""
    lookback = options.lookback
    return {
        LEARNED: NeuralShrinkage("synthetic", lookback=lookback),
        CLASSICAL: QuadraticInverseShrinkage(on="correlation", lookback=lookback),
        "QIS": QuadraticInverseShrinkage(on="covariance", lookback=lookback),
        "Ledoit-Wolf single factor": LedoitWolf(target="single_factor", lookback=lookback),
        "OAS": OAS(lookback=lookback),
        "Average oracle": AverageOracle(lookback=lookback, horizon=21),
    }


def _refuse_failures(failures: tuple[Any, ...]) -> None:
    """A market without gaps on which a model fails is a bug, not a result."""
    if failures:
        first = failures[0]
        raise RuntimeError(f"{first.model} failed on {first.date:%Y-%m-%d}: {first.error}")


def _named(model: str, book: str) -> str:
    return model if book == OWN_BOOK else f"{model}, {book}"
