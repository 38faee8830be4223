"""Judge models on a panel: plan the dates, walk forward, compare, and say what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.data import CoverageRule, Decision, Membership, eligible_assets, plan_decisions
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import WalkForward, compare, compare_with_best, performance_table, verdict, walk_forward
from eigenfolio.measures import periods_per_year

__all__ = ["JudgeOptions", "Judgement", "Plan", "Progress", "judge", "plan_evaluation"]

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Opens a stage of known length and gives the function to call after each step of it."""


class JudgeOptions(BaseModel):
    """How models are judged.

    Parameters
    ----------
    lookback : int
        Rows each closed form looks back.
    horizon : int
        Rows ahead that the calibrated closed forms look at inside the past they are given.
    lag : int
        Rows between a decision and its trade: 1 trades at the next close, 0 at the close of the decision.
    rebalance : str
        Pandas frequency of the first day of each holding period, e.g. ``"MS"``.
    cost_bps : float
        Cost per unit traded, in basis points.
    max_weight : float or None
        Cap of the long-only book; None takes 5 %, or 2 / n on dates with so few assets that 5 % would leave
        nothing to choose.
    n_bootstrap : int
        Resamples behind every interval.
    confidence : float
        Coverage of every interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lookback: int = Field(default=252, ge=22)
    horizon: int = Field(default=21, ge=2)
    lag: int = Field(default=1, ge=0)
    rebalance: str = "MS"
    cost_bps: float = Field(default=10.0, ge=0.0)
    max_weight: float | None = Field(default=None, gt=0.0, le=1.0)
    n_bootstrap: int = Field(default=2000, ge=1000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)


@dataclass(frozen=True)
class Plan:
    """Dates to decide on, the assets each date may hold, and the books."""

    decisions: tuple[Decision, ...]
    eligible: pd.DataFrame
    books: dict[str, Constraints]


@dataclass(frozen=True)
class Judgement:
    """The walk-forward, its tables, and the rows it covered."""

    plan: Plan
    result: WalkForward
    performance: pd.DataFrame
    comparison: pd.DataFrame
    periods_per_year: float

    def sentences(self, *, champion: str | None, seed: int) -> list[str]:
        """What the comparison supports, in words; `champion` is spoken of first."""
        return verdict(
            self.comparison,
            champion=champion,
            excluded=self.result.excluded,
            result=self.result,
            rng=np.random.default_rng([seed, 2]),
            periods_per_year=self.periods_per_year,
        )


def plan_evaluation(
    returns: pd.DataFrame,
    *,
    options: JudgeOptions,
    universe: CoverageRule,
    membership: Membership | None = None,
    first_row: int,
    n_rows: int,
) -> Plan:
    """Plan the decisions among the first `n_rows` rows, none before `first_row`.

    A date with fewer than `universe.min_assets` eligible assets is no decision: what was held is held on.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns.
    options : JudgeOptions
    universe : CoverageRule
        Which assets a date may hold.
    membership : Membership, optional
        Only assets that are members on the date may be held.
    first_row : int
        First row a decision may be made on.
    n_rows : int
        Rows that may be looked at at all.

    Raises
    ------
    DataError
        If no decision is left.
    ParameterError
        If the cap cannot be met on some date.
    """
    rows = returns.iloc[:n_rows]
    history = max(first_row + 1, options.lookback)
    if n_rows <= history + options.lag + 1:
        raise DataError(
            f"{n_rows} rows ({_span(rows)}) leave nothing to judge: the first decision needs {history} rows behind it "
            f"(evaluation.lookback={options.lookback}, and what the models learn from), and the first earning row "
            f"comes {options.lag + 1} later; shorten evaluation.lookback or give more history"
        )
    planned = plan_decisions(
        pd.DatetimeIndex(rows.index), rebalance=options.rebalance, lag=options.lag, min_history=history
    )
    eligible = eligible_assets(rows, [decision.row for decision in planned], universe)
    if membership is not None:
        eligible &= membership.mask(pd.DatetimeIndex(eligible.index), list(rows.columns))
    counts = eligible.sum(axis=1).to_numpy()
    kept = [i for i, count in enumerate(counts) if count >= universe.min_assets]
    if not kept:
        raise DataError(
            f"universe.min_assets={universe.min_assets} assets with {universe.min_rows} of the last "
            f"{universe.lookback} rows are never there: at most {int(counts.max(initial=0))} on {len(counts)} dates "
            f"({_span(rows)}); lower universe.min_assets or universe.min_rows, or give more assets"
        )
    stops = [planned[following].start for following in kept[1:]] + [planned[-1].stop]
    decisions = tuple(replace(planned[i], stop=stop) for i, stop in zip(kept, stops, strict=True))
    if options.max_weight is None:
        capped = Constraints(max_weight=0.05, slack=2.0)
    else:
        capped = Constraints(max_weight=options.max_weight)
        scarcest = kept[int(np.argmin(counts[kept]))]
        try:
            capped.effective_cap(int(counts[scarcest]))
        except ParameterError as error:
            raise ParameterError(f"evaluation: {error} (on {planned[scarcest].date:%Y-%m-%d})") from error
    return Plan(decisions, eligible.iloc[kept], {capped.name: capped, UNCONSTRAINED.name: UNCONSTRAINED})


def judge(
    models: Mapping[str, BaseCovariance | BaseOptimization],
    returns: pd.DataFrame,
    plan: Plan,
    *,
    reference: str | None,
    options: JudgeOptions,
    seed: int,
    n_jobs: int,
    progress: Progress,
) -> Judgement:
    """Walk every model forward over the plan and compare `reference` with the others.

    Parameters
    ----------
    models : mapping of str to estimator
    returns : DataFrame of shape (n_observations, n_assets)
    plan : Plan
    reference : str or None
        Name of the model that the comparison is about; None compares with the calmest of each book, found
        afterwards and judged accordingly.
    options : JudgeOptions
    seed : int
        The bootstrap comes from it.
    n_jobs : int
        Processes over dates.
    progress : Progress
    """
    with progress("Walking forward", len(plan.decisions)) as step:
        result = walk_forward(
            models,
            returns,
            plan.decisions,
            books=plan.books,
            eligible=plan.eligible,
            cost_bps=options.cost_bps,
            n_jobs=n_jobs,
            on_done=step,
        )
    per_year = periods_per_year(pd.DatetimeIndex(returns.index))
    rng = np.random.default_rng([seed, 1])
    if reference is None:
        comparison = compare_with_best(result, n_bootstrap=options.n_bootstrap, confidence=options.confidence, rng=rng)
    else:
        comparison = compare(result, reference, n_bootstrap=options.n_bootstrap, confidence=options.confidence, rng=rng)
    if comparison.empty and result.failures:
        first = result.failures[0]
        raise DataError(f"no model could be judged: {first.model} failed on {first.date:%Y-%m-%d} ({first.error})")
    return Judgement(
        plan, result, performance_table(result, periods_per_year=per_year).reset_index(), comparison, per_year
    )


def _span(rows: pd.DataFrame | Sequence[pd.Timestamp]) -> str:
    index = rows.index if isinstance(rows, pd.DataFrame) else rows
    return f"{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}"
