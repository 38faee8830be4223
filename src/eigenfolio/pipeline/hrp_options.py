"""What a sweep of hierarchical risk parity can be told, and the plan that follows from it.

Rows at the end are sealed. Decision dates on the others are cut in two: the earlier ones select, the later ones
compare. Lookbacks are rows, and no decision is made before the longest is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from eigenfolio.data import CoverageRule, seal
from eigenfolio.errors import DataError
from eigenfolio.models import HierarchicalRiskParity
from eigenfolio.models.clustering import Convention
from eigenfolio.models.hierarchical_risk_parity import Bisection
from eigenfolio.pipeline.hrp_selection import Criterion
from eigenfolio.pipeline.judge import JudgeOptions, Plan, plan_evaluation
from eigenfolio.pipeline.prepare import DataOptions, Prepared
from eigenfolio.training.budgets import Budgets

__all__ = ["HrpOptions", "SweepEvaluation", "SweepOptions", "SweepPlan", "plan_sweep"]

LEAST_DECISIONS = 8
"""Decisions that an interval needs: each of the two parts has at least as many."""


class SweepOptions(BaseModel):
    """The grid, and what its configurations have in common.

    Parameters
    ----------
    lookbacks : tuple of int
        Rows (trading days) that a decision sees.
    linkages : tuple of {"single", "complete", "average", "ward"}
    correlations : tuple of {"pearson", "spearman"}
    convention : {"lopez_de_prado", "tree", "optimal_leaf"}
    bisection : {"halves", "branches"}
    max_weight : float in (0, 1]
        Cap of each asset, here and in the minimum-variance book it is compared with.
    n_clusters : int
        Clusters of the flat cut that is scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lookbacks: tuple[int, ...] = Field(default=(252, 504, 756), min_length=1)
    linkages: tuple[Literal["single", "complete", "average", "ward"], ...] = Field(
        default=("single", "complete", "average"), min_length=1
    )
    correlations: tuple[Literal["pearson", "spearman"], ...] = Field(default=("pearson", "spearman"), min_length=1)
    convention: Convention = "lopez_de_prado"
    bisection: Bisection = "halves"
    max_weight: float = Field(default=1.0, gt=0.0, le=1.0)
    n_clusters: int = Field(default=10, ge=2)

    @field_validator("lookbacks")
    @classmethod
    def _long_enough(cls, lookbacks: tuple[int, ...]) -> tuple[int, ...]:
        if min(lookbacks) < 22:
            raise ValueError(f"a lookback must be at least 22 rows, got {min(lookbacks)}")
        return lookbacks

    @field_validator("lookbacks", "linkages", "correlations")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"each value may stand once, got {list(values)}")
        return values

    def models(self) -> dict[str, HierarchicalRiskParity]:
        """Name every configuration ``hrp_lb{lookback}_{linkage}_{correlation}``.

        Examples
        --------
        >>> names = list(SweepOptions().models())
        >>> len(names), names[0], names[-1]
        (18, 'hrp_lb252_single_pearson', 'hrp_lb756_average_spearman')
        """
        return {
            f"hrp_lb{lookback}_{linkage}_{correlation}": HierarchicalRiskParity(
                convention=self.convention,
                linkage=linkage,
                correlation=correlation,
                bisection=self.bisection,
                lookback=lookback,
                max_weight=self.max_weight,
                n_clusters=self.n_clusters,
            )
            for lookback, linkage, correlation in product(self.lookbacks, self.linkages, self.correlations)
        }


class SweepEvaluation(BaseModel):
    """How the decisions of a sweep are judged.

    Parameters
    ----------
    lag : int
        Rows between a decision and its trade: 1 trades at the next close, 0 at the close of the decision.
    rebalance : str
        Pandas frequency of the first day of each holding period, e.g. ``"MS"``.
    cost_bps : float
        Cost per unit traded, in basis points.
    n_bootstrap : int
        Resamples behind every interval.
    confidence : float
        Coverage of every interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lag: int = Field(default=1, ge=0)
    rebalance: str = "MS"
    cost_bps: float = Field(default=10.0, ge=0.0)
    n_bootstrap: int = Field(default=2000, ge=1000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)


class HrpOptions(BaseModel):
    """Everything that `train hrp` can be told.

    Parameters
    ----------
    seed : int
        The intervals come from it; decisions have no randomness.
    sealed_share : float
        Share of the rows, at the end, that the sweep does not look at.
    validation_share : float
        Share of the decisions, the earlier ones, that select.
    select_by : {"volatility", "sharpe_ratio", "silhouette", "score"}
        What the selected configuration is best in: the lowest volatility, or the highest Sharpe ratio, both of net
        returns on validation; the highest mean silhouette, or that plus the gap between correlations within and
        between clusters.
    min_success : float
        Least share of the validation dates on which a configuration must have decided.
    checkpoint_every : int
        Decisions between two checkpoints of a configuration, counted back from the last, which always has one.
    data, universe, sweep, evaluation : mapping
        Options of the rooms.
    budgets : mapping
        Seconds that the sweep may take; more is recorded so, and not stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=42, ge=0)
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    validation_share: float = Field(default=0.5, gt=0.0, lt=1.0)
    select_by: Criterion = "volatility"
    min_success: float = Field(default=0.9, ge=0.0, le=1.0)
    checkpoint_every: int = Field(default=12, ge=1)
    data: DataOptions = DataOptions()
    universe: CoverageRule = CoverageRule(min_assets=2)
    sweep: SweepOptions = SweepOptions()
    evaluation: SweepEvaluation = SweepEvaluation()
    budgets: Budgets = Budgets()


@dataclass(frozen=True)
class SweepPlan:
    """Decisions of a sweep, and where the choice is made.

    Parameters
    ----------
    plan : Plan
        Decision dates and eligible assets.
    n_validation : int
        Decisions that select; the others compare.
    n_open : int
        Rows that may be looked at.
    checkpoints : tuple of int
        Positions of the decisions that leave a checkpoint.
    """

    plan: Plan
    n_validation: int
    n_open: int
    checkpoints: tuple[int, ...]

    def lines(self, config: HrpOptions) -> list[str]:
        """The plan in words."""
        decisions = self.plan.decisions
        counts = self.plan.eligible.sum(axis=1)
        first, last = decisions[0], decisions[self.n_validation - 1]
        later, final = decisions[self.n_validation], decisions[-1]
        return [
            f"{len(config.sweep.models())} configurations x {len(decisions)} decisions, "
            f"{counts.min()} to {counts.max()} assets",
            f"selected by {config.select_by} on {self.n_validation} decisions, "
            f"{first.date:%Y-%m-%d} to {last.date:%Y-%m-%d}",
            f"compared on {len(decisions) - self.n_validation} decisions, "
            f"{later.date:%Y-%m-%d} to {final.date:%Y-%m-%d}",
            f"{len(self.checkpoints)} checkpoints of each configuration",
        ]


def plan_sweep(config: HrpOptions, prepared: Prepared) -> SweepPlan:
    """Seal the last rows, plan the decisions of the others, and cut them in two.

    Raises
    ------
    DataError
        If too few decisions are left for a choice and a comparison.
    """
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    n_open = seal(index, share=config.sealed_share).n_open if config.sealed_share > 0 else len(returns)
    asked = config.evaluation
    longest = max(config.sweep.lookbacks)
    plan = plan_evaluation(
        returns,
        options=JudgeOptions(lookback=longest, lag=asked.lag, rebalance=asked.rebalance, cost_bps=asked.cost_bps),
        universe=config.universe,
        membership=prepared.membership,
        first_row=longest - 1,
        n_rows=n_open,
    )
    n_decisions = len(plan.decisions)
    n_validation = round(config.validation_share * n_decisions)
    if min(n_validation, n_decisions - n_validation) < LEAST_DECISIONS:
        raise DataError(
            f"a sweep needs at least {LEAST_DECISIONS} decisions to select by and as many to compare on, got "
            f"{n_validation} and {n_decisions - n_validation} ({n_open} open rows, lookback {longest}); shorten "
            "sweep.lookbacks, lower sealed_share, or give more history"
        )
    kept = tuple(range(n_decisions - 1, -1, -config.checkpoint_every))[::-1]
    return SweepPlan(plan, n_validation, n_open, kept)
