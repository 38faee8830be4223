"""What a sweep of graph-attention portfolios can be told, and the plan that follows from it.

Rows at the end are sealed. The others are cut by a rolling plan of months that teach, stop and are served. Decisions
belong to the span in which their book is first held, and books are held no longer than the first row at which the next
span decides: no label of training is later than a decision of validation, none of validation later than one served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from skfolio.moments import BaseCovariance

from eigenfolio.data import CoverageRule, Decision, rolling_folds, seal
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features import GRAPH_METHODS
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.asset_graphs import default_covariance
from eigenfolio.learned.node_features import NODE_ROWS
from eigenfolio.pipeline.hrp_options import LEAST_DECISIONS, SweepEvaluation
from eigenfolio.pipeline.judge import JudgeOptions, Plan, plan_evaluation
from eigenfolio.pipeline.prepare import DataOptions, Prepared
from eigenfolio.training.budgets import Budgets
from eigenfolio.training.gat import GatTraining

__all__ = ["GatFold", "GatOptions", "GatPlan", "plan_gat"]


_LEAST_ASSETS = 16  # what 15 neighbours need


class GatOptions(BaseModel):
    """Everything that `train gat` can be told.

    Parameters
    ----------
    seed : int
        Every random number comes from it.
    n_seeds : int
        Networks per graph method and span; their spread is what a ranking is measured against.
    sealed_share : float
        Share of the rows, at the end, that the sweep does not look at.
    fold : str
        Months that teach, stop and are served, rolling: ``"36m/12m/12m"``.
    graphs : tuple of {"mst", "tmfg", "knn_k5", "knn_k10", "knn_k15"}
        Graph methods to train and rank.
    covariance : {"ledoit_wolf", "neural_shrinkage"}
        Whose correlation the graphs are made of: Ledoit-Wolf shrinkage of 252 rows, or the shipped weights that have
        seen nothing after the decision.
    data, universe, training, evaluation : mapping
        Options of the rooms.
    budgets : mapping
        Seconds that the training of one span may take; more is recorded so, and not stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=42, ge=0)
    n_seeds: int = Field(default=3, ge=1)
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    fold: str = Field(default="36m/12m/12m", pattern=r"^[1-9]\d*m/[1-9]\d*m/[1-9]\d*m$")
    graphs: tuple[Literal["mst", "tmfg", "knn_k5", "knn_k10", "knn_k15"], ...] = Field(
        default=("mst", "tmfg", "knn_k5", "knn_k10", "knn_k15"), min_length=1
    )
    covariance: Literal["ledoit_wolf", "neural_shrinkage"] = "ledoit_wolf"
    data: DataOptions = DataOptions()
    universe: CoverageRule = CoverageRule(min_assets=_LEAST_ASSETS)
    training: GatTraining = GatTraining()
    evaluation: SweepEvaluation = SweepEvaluation()
    budgets: Budgets = Budgets()

    @field_validator("universe", mode="before")
    @classmethod
    def _over_its_defaults(cls, universe: Any) -> Any:
        return {"min_assets": _LEAST_ASSETS, **universe} if isinstance(universe, dict) else universe

    @field_validator("graphs")
    @classmethod
    def _each_once(cls, graphs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(graphs)) < len(graphs):
            raise ValueError(f"each graph may stand once, got {list(graphs)}")
        return graphs

    @model_validator(mode="after")
    def _can_be_judged(self) -> GatOptions:
        _ = self.training.constraints  # limits that do not go together are refused here, not after an hour
        if self.training.cost_bps != self.evaluation.cost_bps:
            raise ValueError(
                f"training.cost_bps={self.training.cost_bps:g} and evaluation.cost_bps={self.evaluation.cost_bps:g} "
                "must be the same: what is learned is what is judged"
            )
        return self

    def covariance_estimator(self) -> BaseCovariance:
        """Whose correlation the graphs are made of."""
        return default_covariance() if self.covariance == "ledoit_wolf" else NeuralShrinkage()


@dataclass(frozen=True)
class GatFold:
    """Decisions that teach, stop and are served by one set of networks.

    Parameters
    ----------
    training, validation, test : tuple of int
        Positions of decisions in the plan.
    training_last, validation_last : int
        Last row that a book of training, and of validation, is held.
    through : Timestamp
        Date of `validation_last`.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    training_last: int
    validation_last: int
    through: pd.Timestamp


@dataclass(frozen=True)
class GatPlan:
    """Decisions of a sweep and the spans that train for them.

    Parameters
    ----------
    plan : Plan
        Decision dates and eligible assets.
    folds : tuple of GatFold
    n_open : int
        Rows that may be looked at.
    """

    plan: Plan
    folds: tuple[GatFold, ...]
    n_open: int

    @property
    def served(self) -> list[int]:
        """Positions of the decisions that are judged."""
        return [i for fold in self.folds for i in fold.test]

    def lines(self, config: GatOptions) -> list[str]:
        """The plan in words."""
        decisions, served = self.plan.decisions, self.served
        counts = self.plan.eligible.iloc[served].sum(axis=1)
        n_networks = len(config.graphs) * config.n_seeds
        return [
            f"{len(self.folds)} spans x {len(config.graphs)} graphs x {config.n_seeds} seeds: "
            f"{len(self.folds) * n_networks} networks",
            f"{len(served)} decisions judged, {decisions[served[0]].date:%Y-%m-%d} to "
            f"{decisions[served[-1]].date:%Y-%m-%d}, {counts.min()} to {counts.max()} assets",
            *(
                f"through {fold.through:%Y-%m-%d}: {len(fold.training)} decisions teach, {len(fold.validation)} stop, "
                f"{len(fold.test)} are served"
                for fold in self.folds
            ),
        ]


def plan_gat(config: GatOptions, prepared: Prepared) -> GatPlan:
    """Seal the last rows, plan the decisions of the others, and roll the spans over them.

    Raises
    ------
    DataError
        If the rows do not hold one span, or too few decisions are served.
    ParameterError
        If the universe may be smaller than a graph allows.
    """
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = seal(index, share=config.sealed_share).n_open if config.sealed_share > 0 else len(returns)
    _check_universe(config)
    asked = config.evaluation
    plan = plan_evaluation(
        returns,
        options=JudgeOptions(lookback=NODE_ROWS, lag=asked.lag, rebalance=asked.rebalance, cost_bps=asked.cost_bps),
        universe=config.universe,
        membership=prepared.membership,
        first_row=NODE_ROWS - 1,
        n_rows=n_open,
    )
    folds = _folds(config, plan, index[:n_open])
    n_served = sum(len(fold.test) for fold in folds)
    if n_served < LEAST_DECISIONS:
        raise DataError(
            f"a ranking needs at least {LEAST_DECISIONS} decisions served, got {n_served} ({n_open} open rows, fold "
            f"{config.fold}); shorten the spans, lower sealed_share, or give more history"
        )
    return GatPlan(plan, folds, n_open)


def _check_universe(config: GatOptions) -> None:
    needed = {"mst": 2, "tmfg": 4} | {name: int(name[5:]) + 1 for name in GRAPH_METHODS if name.startswith("knn_k")}
    most = max(needed[graph] for graph in config.graphs)
    if config.universe.min_assets < most:
        raise ParameterError(
            f"universe.min_assets={config.universe.min_assets}, but {', '.join(config.graphs)} need {most} assets on "
            "every date; raise it, or leave out the graphs with more neighbours"
        )


def _folds(config: GatOptions, plan: Plan, index: pd.DatetimeIndex) -> tuple[GatFold, ...]:
    """Spans of months from the first decision on, with decisions by the row their book is first held."""
    train, validation, test = map(int, re.findall(r"\d+", config.fold))
    first = plan.decisions[0].start
    rolled = rolling_folds(index[first:], train_months=train, validation_months=validation, test_months=test)
    folds = []
    for fold in rolled:
        taught, stopping, served = (
            _within(plan.decisions, first + int(rows[0]), first + int(rows[-1]))
            for rows in (fold.train, fold.validation, fold.test)
        )
        if len(taught) < 2 or not stopping or not served:
            continue  # dates with too few eligible assets are no decisions
        last_taught, last_stopping = plan.decisions[stopping[0]].row, plan.decisions[served[0]].row
        taught = tuple(i for i in taught if plan.decisions[i].start <= last_taught)
        stopping = tuple(i for i in stopping if plan.decisions[i].start <= last_stopping)
        folds.append(GatFold(taught, stopping, served, last_taught, last_stopping, index[last_stopping]))
    if not folds:
        raise DataError(f"no span of {config.fold} holds decisions that teach, stop and are served")
    return tuple(folds)


def _within(decisions: tuple[Decision, ...], first: int, last: int) -> tuple[int, ...]:
    return tuple(i for i, decision in enumerate(decisions) if first <= decision.start <= last)
