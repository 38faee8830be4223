"""`eigenfolio evaluate --protocol seeds`: the same networks trained from other seeds, judged on the same days.

Every member of an ensemble was trained from a seed of its own and can decide alone; nothing is trained here. Without a
run the shipped networks are taken apart, with one the bundles it wrote: each network or graph method is a
configuration. The reference hangs on no seed. A decision takes the newest bundle that has seen nothing after it, so
no rows are sealed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

from eigenfolio.artifacts import BundleSeries, load_run, load_series
from eigenfolio.constraints import Constraints
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.evaluation.comparators import comparators
from eigenfolio.evaluation.protocols import seed_paths
from eigenfolio.evaluation.seed_stability import SeedStability, seed_stability
from eigenfolio.learned import GraphAttentionPortfolio, NeuralShrinkage
from eigenfolio.learned.graph_attention import FAMILY as GAT
from eigenfolio.learned.shipped import shipped_series
from eigenfolio.learned.single_members import member_series, n_members
from eigenfolio.measures import periods_per_year
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import Progress, plan_evaluation
from eigenfolio.pipeline.names import CHAMPION
from eigenfolio.pipeline.outcome import records
from eigenfolio.pipeline.prepare import prepare
from eigenfolio.pipeline.protocols import PathReport, few_paths

__all__ = ["SeedReport", "evaluate_seeds", "graph_covariance", "recorded_series", "seeded_models"]

Seeded = Callable[[int], BaseCovariance | BaseOptimization]


@dataclass(frozen=True, eq=False)
class SeedReport:
    """What the seeds say.

    Attributes
    ----------
    paths : PathReport
        One path per seed.
    stability : SeedStability
    """

    paths: PathReport
    stability: SeedStability

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; None where a number is missing."""
        found = self.stability
        told = {"sentences": list(found.sentences), "unseeded": list(found.unseeded)}
        return {
            **self.paths.to_dict(),
            "stability": {**told, "seeds": records(found.seeds), "configurations": records(found.configurations)},
        }

    def lines(self) -> list[str]:
        """Text for a terminal: the paths, then what the seeds decide."""
        return [*self.paths.lines(), "", *self.stability.sentences]

    def write(self, folder: Path) -> Path:
        """Write what `PathReport.write` writes, and `seeds.csv`, `configurations.csv` and `stability.json`.

        Parameters
        ----------
        folder : Path
            Must not exist.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ArtifactError
            If the folder exists or cannot be written.
        """
        place = self.paths.write(folder)
        self.stability.seeds.to_csv(place / "seeds.csv", index=False)
        self.stability.configurations.to_csv(place / "configurations.csv", index=False)
        (place / "stability.json").write_text(json.dumps(self.to_dict()["stability"], indent=2, allow_nan=False) + "\n")
        return place


def evaluate_seeds(
    config: CompareOptions,
    *,
    run: Path | None = None,
    n_seeds: int | None = None,
    reference: str | None = None,
    n_jobs: int = 1,
    progress: Progress,
) -> SeedReport:
    """Walk every configuration forward under several seeds.

    Parameters
    ----------
    config : CompareOptions
        Data, universe, protocol and seed of the intervals. Covariances are held as a long-only minimum-variance book of
        `evaluation.max_weight`; a graph-attention book is its own.
    run : Path, optional
        Folder of a run with bundles of more than one member. The shipped networks without it.
    n_seeds : int, optional
        How many, at least two; all that every configuration has by default.
    reference : str, optional
        Comparator; the fixed rival by default.
    n_jobs : int
        Processes; the result has the same bits for any number.
    progress : Progress

    Returns
    -------
    SeedReport

    Raises
    ------
    ParameterError
        If there are fewer seeds than asked for, or the reference is no comparator.
    ArtifactError
        If the run has no bundle of two members or more.
    DataError
        If the panel is too short or narrow.
    """
    options = config.evaluation
    known = comparators(lookback=options.lookback, horizon=options.horizon)
    named = reference or CHAMPION
    if named not in known:
        raise ParameterError(f"--reference must be one of {', '.join(known)} with --protocol seeds, got {named!r}")
    models, first_date, notes, most = seeded_models(run, lookback=options.lookback)
    count = most if n_seeds is None else n_seeds
    if not 2 <= count <= most:
        raise ParameterError(
            f"--seeds must be from 2 to {most}, the seeds that every network here was trained from, got {count}; train "
            "more members for more"
        )
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    plan = plan_evaluation(
        returns,
        options=options,
        universe=config.universe,
        membership=prepared.membership,
        first_row=max(options.lookback, int(returns.index.searchsorted(first_date))),
        n_rows=len(returns),
    )
    fewest = int(plan.eligible.sum(axis=1).min())
    book = Constraints(max_weight=options.max_weight or min(1.0, max(0.05, 2.0 / fewest)))
    with progress("Walking forward under every seed", 1) as step:
        result = seed_paths(
            {**models, named: known[named]},
            returns,
            plan.decisions,
            seeds=range(count),
            rng=np.random.default_rng([config.seed, 7]),
            book=book,
            eligible=plan.eligible,
            cost_bps=options.cost_bps,
            n_jobs=n_jobs,
            reference=named,
            periods_per_year=periods_per_year(prepared.panel.index),
            n_bootstrap=options.n_bootstrap,
            confidence=options.confidence,
        )
        step()
    failed = tuple(f"{model} is left out: {why}" for model, why in result.failures.items())
    paths = PathReport(
        prepared.name, named, book.name, result, (*few_paths(result, noun="seeds"), *notes, *failed, *prepared.warnings)
    )
    return SeedReport(paths, seed_stability(result.measures))


def seeded_models(run: Path | None, *, lookback: int) -> tuple[dict[str, Seeded], pd.Timestamp, tuple[str, ...], int]:
    """Models that hang on a seed, as functions of it.

    Parameters
    ----------
    run : Path or None
        As in `evaluate_seeds`.
    lookback : int
        Rows that shrinkage looks back.

    Returns
    -------
    models : dict of str to function
        Seed (from 0) to estimator, by configuration.
    first_date : Timestamp
        From which every model has weights.
    notes : tuple of str
        What was left out, and members that differ by more than their seed.
    n_seeds : int
        That every configuration has.

    Raises
    ------
    ArtifactError
        If there is none.
    """
    found = _shipped() if run is None else recorded_series(run)
    covariance = None if run is None else graph_covariance(run)
    models: dict[str, Seeded] = {}
    notes, counts, dates = [], [], []
    for name, series in found.items():
        members = min(n_members(bundle) for bundle in series)
        if members < 2:
            notes.append(f"{name} is left out: it was trained from one seed.")
            continue
        models[name] = partial(_member, series, lookback, covariance)
        counts.append(members)
        dates.append(series.bundles[0].trained_through)
        notes += _differences(name, series)
    if not models:
        raise ArtifactError(
            f"{run or 'the installation'} holds no bundle of two members or more; train with several seeds"
        )
    return models, max(dates), tuple(notes), min(counts)


def _member(
    series: BundleSeries, lookback: int, covariance: BaseCovariance | None, seed: int
) -> BaseCovariance | BaseOptimization:
    own = member_series(series, seed)
    if series.bundles[0].family == GAT:
        return GraphAttentionPortfolio(own, covariance_estimator=covariance)
    return NeuralShrinkage(own, lookback=lookback)


def _shipped() -> dict[str, BundleSeries]:
    places = (files("eigenfolio.pretrained") / "shrinkage").iterdir()
    return {f"shrinkage/{place.name}": shipped_series(place.name) for place in sorted(places, key=lambda p: p.name)}


def recorded_series(run: Path) -> dict[str, BundleSeries]:
    """Series of bundles of a run, of the families that are trained from seeds.

    Parameters
    ----------
    run : Path
        Folder of the run.

    Returns
    -------
    dict of str to BundleSeries
        By family and network or graph, such as "gat/mst"; empty where there is none.
    """
    places = [*sorted(run.glob("bundles/shrinkage/*")), *sorted(run.glob(f"bundles/{GAT}/*"))]
    return {f"{place.parent.name}/{place.name}": load_series(place) for place in places}


def graph_covariance(run: Path) -> BaseCovariance | None:
    """Covariance that the graphs of a run were made of; None where it trained no graph-attention portfolios."""
    record = load_run(run)
    if record.kind != "train-gat":
        return None
    from eigenfolio.pipeline.gat_options import GatOptions  # it brings torch, which nothing else here needs

    return GatOptions.model_validate(record.config).covariance_estimator()


def _differences(name: str, series: BundleSeries) -> list[str]:
    """A sentence where members differ by more than their seeds."""
    diversity: Mapping[str, Any] = series.bundles[-1].details.get("training", {}).get("diversity", {})
    also = [key for key, value in diversity.items() if isinstance(value, (list, tuple)) and value]
    return [f"Members of {name} differ by turns in {', '.join(also)} as well as by their seeds."] if also else []
