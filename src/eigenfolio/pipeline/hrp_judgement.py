"""What the decisions of a sweep came to: held, selected among on the earlier dates, compared on the later ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.optimization import BaseOptimization

from eigenfolio.evaluation import (
    OWN_BOOK,
    WalkForward,
    compare,
    performance_table,
    sharpe_difference,
    verdict,
    walk_forward,
)
from eigenfolio.evaluation.selection_bias import deflated_sharpe_ratio, effective_trials, probabilistic_sharpe_ratio
from eigenfolio.measures import periods_per_year
from eigenfolio.models import EqualWeight, InverseVolatility, MinimumVariance, champion_covariance
from eigenfolio.pipeline.hrp_options import HrpOptions, SweepPlan
from eigenfolio.pipeline.hrp_selection import Selection, part_of, select_configuration
from eigenfolio.pipeline.outcome import records
from eigenfolio.pipeline.recorded_weights import RecordedWeights

__all__ = ["Decided", "Judged", "judge_sweep", "rivals"]

NAMED = "Minimum variance"
"""The rival named beforehand: it is judged by its own interval, all others by adjusted p-values."""

QUALITIES = ("silhouette", "within_correlation", "between_correlation", "score", "largest_share", "n_clusters")
"""Clustering metrics of a decision."""


@dataclass(frozen=True)
class Decided:
    """What all configurations decided on one date.

    Parameters
    ----------
    date : Timestamp
    columns : ndarray of int
        Columns of the panel that were seen.
    tensors : mapping of str to ndarray
        ``"<configuration>/weights"``, and on checkpoint dates what else a checkpoint holds.
    quality : mapping of str to mapping
        Clustering metrics by configuration; NaN where undefined.
    errors : mapping of str to str
        Why a configuration did not decide.
    seconds : float
        That the decisions took.
    """

    date: pd.Timestamp
    columns: NDArray[np.intp]
    tensors: Mapping[str, NDArray[Any]]
    quality: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Judged:
    """The walk-forward of a sweep, its choice, and what follows.

    Parameters
    ----------
    whole, later : WalkForward
        All decisions, and those that compare.
    configurations : DataFrame
        One row per configuration: options, success rates, clustering metrics and performance on validation.
    selection : Selection
    performance : DataFrame
        Of all configurations and rivals on the later dates.
    comparison, sharpe : DataFrame or None
        The selected configuration against all others by volatility, and against its rivals by Sharpe ratio.
    deflated : mapping or None
        What its Sharpe ratio is worth after the number of trials.
    sentences : tuple of str
    periods_per_year : float
    """

    whole: WalkForward
    later: WalkForward
    configurations: pd.DataFrame
    selection: Selection
    performance: pd.DataFrame
    comparison: pd.DataFrame | None
    sharpe: pd.DataFrame | None
    deflated: Mapping[str, float] | None
    sentences: tuple[str, ...]
    periods_per_year: float

    @property
    def rivals(self) -> tuple[str, ...]:
        """Names of the portfolios that took part beside the configurations."""
        return tuple(model for model, _ in self.later.tracks if model not in self.configurations.index)

    def metrics(self) -> dict[str, Any]:
        """What the record keeps: nothing that depends on the machine."""
        return {
            "selection": asdict(self.selection),
            "configurations": records(self.configurations.reset_index(names="name")),
            "performance": records(self.performance.reset_index()),
            "comparison": [] if self.comparison is None else records(self.comparison),
            "sharpe_differences": [] if self.sharpe is None else records(self.sharpe.reset_index(names="rival")),
            "deflated": {} if self.deflated is None else dict(self.deflated),
        }


def rivals(*, lookback: int, max_weight: float) -> dict[str, BaseOptimization]:
    """The portfolios that the selected configuration is compared with.

    Examples
    --------
    >>> list(rivals(lookback=252, max_weight=1.0))
    ['Equal weight', 'Inverse volatility', 'Minimum variance']
    """
    return {
        "Equal weight": EqualWeight(),
        "Inverse volatility": InverseVolatility(lookback=lookback),
        NAMED: MinimumVariance(champion_covariance(lookback=lookback), max_weight=max_weight),
    }


def judge_sweep(
    config: HrpOptions,
    planned: SweepPlan,
    returns: pd.DataFrame,
    decided: list[Decided],
    *,
    n_jobs: int,
    on_done: Any,
) -> Judged:
    """Hold what was decided, select on the earlier part, compare on the later one.

    Parameters
    ----------
    config : HrpOptions
    planned : SweepPlan
    returns : DataFrame of shape (n_open, n_assets)
        Simple returns of the open rows.
    decided : list of Decided
        One per decision of the plan, in order.
    n_jobs : int
        Processes over the dates, for the rivals.
    on_done : callable
        Called after each date of the rivals.

    Returns
    -------
    Judged
        The same bits for any number of processes.
    """
    names = list(config.sweep.models())
    whole = _walk(config, planned, returns, decided, n_jobs=n_jobs, on_done=on_done)
    per_year = periods_per_year(pd.DatetimeIndex(returns.index))
    n_decisions, n_first = len(decided), planned.n_validation
    earlier, later = part_of(whole, 0, n_first), part_of(whole, n_first, n_decisions)
    table = _validation_table(config, earlier, decided[:n_first], decided, per_year)
    selection = select_configuration(table, by=config.select_by, min_success=config.min_success)
    performance = performance_table(later, periods_per_year=per_year)
    decided_all = int((table["success_rate_all"] == 1.0).sum())
    successes = f"{decided_all} of {len(names)} configurations decided on every date."
    winner = selection.winner
    told: tuple[str, ...]
    if winner is None:
        told = (f"No configuration was selected: {selection.reason}.", successes)
        return Judged(whole, later, table, selection, performance, None, None, None, told, per_year)
    if (winner, OWN_BOOK) in later.excluded:
        lost = f"It is compared with nothing on the later dates: it {later.excluded[winner, OWN_BOOK]}."
        told = (f"Selected: {selection.reason}.", lost, successes)
        return Judged(whole, later, table, selection, performance, None, None, None, told, per_year)
    comparison = compare(
        later,
        winner,
        n_bootstrap=config.evaluation.n_bootstrap,
        confidence=config.evaluation.confidence,
        rng=np.random.default_rng([config.seed, 1]),
    )
    sharpe = _sharpe_differences(config, later, winner, per_year)
    deflated = _deflated(earlier, later, winner, names, per_year, config.evaluation.confidence)
    told = (
        f"Selected: {selection.reason}.",
        *_out_of_sample(winner, names, performance, comparison, sharpe),
        *_against_named(comparison),
        _about_trials(deflated),
        successes,
    )
    return Judged(whole, later, table, selection, performance, comparison, sharpe, deflated, told, per_year)


def _walk(
    config: HrpOptions,
    planned: SweepPlan,
    returns: pd.DataFrame,
    decided: list[Decided],
    *,
    n_jobs: int,
    on_done: Any,
) -> WalkForward:
    """Tracks of all configurations and of their rivals over all decisions."""
    plan = planned.plan
    options: dict[str, Any] = {
        "books": plan.books,
        "eligible": plan.eligible,
        "cost_bps": config.evaluation.cost_bps,
    }
    recorded = {name: _recorded(name, decided, returns) for name in config.sweep.models()}
    ours = walk_forward(recorded, returns, plan.decisions, **options)
    others = walk_forward(
        rivals(lookback=min(config.sweep.lookbacks), max_weight=config.sweep.max_weight),
        returns,
        plan.decisions,
        n_jobs=n_jobs,
        on_done=on_done,
        **options,
    )
    return WalkForward(
        {**ours.tracks, **others.tracks},
        {**ours.diagnostics, **others.diagnostics},
        ours.windows,
        (*ours.failures, *others.failures),
    )


def _recorded(name: str, decided: list[Decided], returns: pd.DataFrame) -> RecordedWeights:
    dates = pd.DatetimeIndex([one.date for one in decided])
    weights = np.full((len(decided), returns.shape[1]), np.nan)
    errors = {one.date: one.errors[name] for one in decided if name in one.errors}
    for i, one in enumerate(decided):
        if name not in one.errors:
            weights[i, one.columns] = one.tensors[f"{name}/weights"]
    return RecordedWeights(pd.DataFrame(weights, index=dates, columns=returns.columns), errors)


def _validation_table(
    config: HrpOptions, earlier: WalkForward, validation: list[Decided], decided: list[Decided], per_year: float
) -> pd.DataFrame:
    """One row per configuration: its options, how often it decided, its clusters, its track on validation."""
    performance = performance_table(earlier, periods_per_year=per_year).xs(OWN_BOOK, level="book")
    rows = {}
    for name, model in config.sweep.models().items():
        good = [one.quality[name] for one in validation if name in one.quality]
        rows[name] = {
            "lookback": model.lookback,
            "linkage": model.linkage,
            "correlation": model.correlation,
            "success_rate": len(good) / len(validation),
            "success_rate_all": sum(name in one.quality for one in decided) / len(decided),
            **{metric: _mean([quality[metric] for quality in good]) for metric in QUALITIES},
            **performance.loc[name].drop("n_failures").to_dict(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _mean(values: list[float]) -> float:
    """Mean of the dates on which the number is defined; NaN where there is none."""
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else np.nan


def _sharpe_differences(config: HrpOptions, later: WalkForward, winner: str, per_year: float) -> pd.DataFrame:
    """Sharpe ratio of the winner less that of each rival, on the later dates."""
    known = rivals(lookback=min(config.sweep.lookbacks), max_weight=config.sweep.max_weight)
    rows = {}
    for rival in known:
        if (rival, OWN_BOOK) in later.excluded or (winner, OWN_BOOK) in later.excluded:
            continue
        found = sharpe_difference(
            later.tracks[winner, OWN_BOOK].returns,
            later.tracks[rival, OWN_BOOK].returns,
            windows=later.windows,
            periods_per_year=per_year,
            n_bootstrap=config.evaluation.n_bootstrap,
            confidence=config.evaluation.confidence,
            rng=np.random.default_rng([config.seed, 2]),
        )
        rows[rival] = asdict(found)
    return pd.DataFrame.from_dict(rows, orient="index")


def _deflated(
    earlier: WalkForward, later: WalkForward, winner: str, names: list[str], per_year: float, confidence: float
) -> dict[str, float]:
    """What the Sharpe ratio of the winner is worth, given how many were tried, and on dates that chose nothing."""
    tracks = np.column_stack([earlier.tracks[name, OWN_BOOK].returns.to_numpy() for name in names])
    told: dict[str, Any] = {"periods_per_year": per_year, "confidence": confidence}
    picked = earlier.tracks[winner, OWN_BOOK].returns.to_numpy()
    moving = tracks[:, tracks.std(axis=0) > 0.0]
    alone = [probabilistic_sharpe_ratio(track, **told).sharpe for track in moving.T]
    held = probabilistic_sharpe_ratio(later.tracks[winner, OWN_BOOK].returns.to_numpy(), **told)
    if len(alone) > 1:
        worth = effective_trials(moving)
        evidence = deflated_sharpe_ratio(picked, alone, n_trials=worth, **told)
    else:
        worth, evidence = 1.0, probabilistic_sharpe_ratio(picked, **told)
    return {
        "n_trials": float(len(names)),
        "effective_trials": worth,
        "expected_best_validation": evidence.benchmark,
        "sharpe_validation": evidence.sharpe,
        "deflated_validation": evidence.probability,
        "sharpe_test": held.sharpe,
        "positive_test": held.probability,
    }


def _out_of_sample(
    winner: str, names: list[str], performance: pd.DataFrame, comparison: pd.DataFrame, sharpe: pd.DataFrame
) -> list[str]:
    """What the later dates say of the choice."""
    volatility = dict(
        zip(performance.index.get_level_values("model"), performance["annualized_volatility"], strict=True)
    )
    rank = 1 + sum(volatility[name] < volatility[winner] for name in names)
    others = comparison[comparison["rival"].isin(names)]
    apart = int((others["p_adjusted"] < 1.0 - others["confidence"]).sum())
    sentences = [
        f"On the later dates its volatility is {volatility[winner]:.2%}, number {rank} of {len(names)}; {apart} of the "
        f"other {len(names) - 1} can be told from it (Holm)."
    ]
    for rival, row in zip(map(str, sharpe.index), sharpe.to_dict("records"), strict=True):
        sentences.append(
            f"Against {rival}: volatility {volatility[rival]:.2%}; Sharpe ratio {row['sharpe_a']:.2f} against "
            f"{row['sharpe_b']:.2f}, difference {row['low']:+.2f} to {row['high']:+.2f}."
        )
    return sentences


def _against_named(comparison: pd.DataFrame) -> list[str]:
    """How the winner did against the rival named beforehand, by the interval of that pair."""
    if NAMED not in set(comparison["rival"]):
        return []
    told = verdict(comparison, champion=NAMED)[0]
    return [f"{told} {NAMED} was named beforehand, so its own interval decides, unadjusted."]


def _about_trials(deflated: Mapping[str, float]) -> str:
    return (
        f"The {deflated['n_trials']:.0f} configurations are worth {deflated['effective_trials']:.1f} independent "
        "trials: that the selected one's Sharpe ratio on validation exceeds what the best of so many worthless ones "
        f"would show has probability {deflated['deflated_validation']:.2f}; that it is positive on the later dates, "
        f"{deflated['positive_test']:.2f}."
    )
