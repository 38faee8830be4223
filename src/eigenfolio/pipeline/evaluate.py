"""Everything that can be said of models on a panel, out of sample and without training: all tables and all tests.

`compare_covariance` writes a page about the one question, who is calmer; this job writes every table: performance,
window comparison, row-wise tests with adjusted p-values, what each Sharpe ratio is worth, sets of models that cannot be
told apart, and the measures of the covariance matrices themselves. The reference is named beforehand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skfolio.moments import BaseCovariance

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparators import comparators
from eigenfolio.evaluation.cost_tables import break_even_table, cost_table
from eigenfolio.evaluation.covariance_report import covariance_report
from eigenfolio.evaluation.multiple_testing import require_arch
from eigenfolio.evaluation.track_tests import pair_tests, selection_table, set_tests
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import Judgement, Progress, judge, plan_evaluation
from eigenfolio.pipeline.judged import failure_sentences
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import CHAMPION, SHIPPED
from eigenfolio.pipeline.outcome import records
from eigenfolio.pipeline.prepare import prepare

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All tables of one evaluation.

    Attributes
    ----------
    name : str
        Of the panel.
    reference : str
        Model that the comparisons are about.
    first, last : str
        Dates of the first and last row judged.
    sentences : tuple of str
        What the comparison of windows supports.
    performance, comparison, tests, selection, sets, covariance : DataFrame
        From `performance_table`, `compare`, `pair_tests`, `selection_table`, `set_tests` and `covariance_report`.
    costs, break_even : DataFrame
        From `cost_table` and `break_even_table`.
    notes : tuple of str
        What failed, and warnings about the data.
    """

    name: str
    reference: str
    first: str
    last: str
    sentences: tuple[str, ...]
    performance: pd.DataFrame
    comparison: pd.DataFrame
    tests: pd.DataFrame
    selection: pd.DataFrame
    sets: pd.DataFrame
    covariance: pd.DataFrame
    costs: pd.DataFrame
    break_even: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, in the order in which they are read."""
        names = ("performance", "comparison", "tests", "selection", "sets", "covariance", "costs", "break_even")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; None where a number is missing."""
        facts = {"panel": self.name, "reference": self.reference, "first": self.first, "last": self.last}
        told = {"verdict": list(self.sentences), "notes": list(self.notes)}
        return facts | told | {name: records(table) for name, table in self.tables.items()}

    def write(self, folder: Path) -> Path:
        """Write a CSV file per table, and all of them as `evaluation.json`, to a new folder.

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
        with whole_folder(folder) as partial:
            for name, table in self.tables.items():
                table.map(_plain_cell).to_csv(partial / f"{name}.csv", index=False)
            (partial / "evaluation.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
        return Path(folder)


def evaluate(
    config: CompareOptions, *, reference: str | None = None, n_jobs: int = 1, progress: Progress
) -> Evaluation:
    """Walk the shipped weights, every closed form and every simple portfolio forward, and test all differences.

    Nothing is trained or chosen, so no rows are sealed; shipped weights are of a vintage that has seen nothing after
    the decision.

    Parameters
    ----------
    config : CompareOptions
        Data, universe, protocol and seed.
    reference : str, optional
        Model that the comparisons are about. By default the one with shipped weights, or the fixed rival in an
        installation without them.
    n_jobs : int
        Processes; the result has the same bits for any number.
    progress : Progress
        Opens one stage per long step.

    Returns
    -------
    Evaluation

    Raises
    ------
    ParameterError
        If the reference is unknown, or `arch` is not installed.
    DataError
        If the panel is too short or too narrow.
    """
    require_arch()
    options = config.evaluation
    models = {
        **shipped_models(lookback=options.lookback),
        **classical_models(lookback=options.lookback, horizon=options.horizon),
        **comparators(lookback=options.lookback, horizon=options.horizon),
    }
    named = reference or (SHIPPED if SHIPPED in models else CHAMPION)
    if named not in models:
        raise ParameterError(f"--reference must be one of {', '.join(models)}, got {named!r}")
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    plan = plan_evaluation(
        returns,
        options=options,
        universe=config.universe,
        membership=prepared.membership,
        first_row=options.lookback + 6 * options.horizon,  # the calibrated estimators need a past to learn from
        n_rows=len(returns),
    )
    judgement = judge(
        models, returns, plan, reference=named, options=options, seed=config.seed, n_jobs=n_jobs, progress=progress
    )
    covariances = {name: model for name, model in models.items() if isinstance(model, BaseCovariance)}
    with progress("Covariance measures", len(covariances)) as step:
        report = covariance_report(
            covariances,
            returns,
            plan.decisions,
            reference=named if named in covariances else None,
            eligible=plan.eligible,
            n_bootstrap=options.n_bootstrap,
            confidence=options.confidence,
            rng=np.random.default_rng([config.seed, 3]),
            n_jobs=n_jobs,
            on_done=step,
        )
    with progress("Testing", 2) as step:
        tests = _pair_tests(judgement, named, config, n_jobs)
        step()
        sets = set_tests(
            judgement.result, named, confidence=options.confidence, rng=np.random.default_rng([config.seed, 5])
        )
        step()
    days = judgement.result.windows.index
    left_out = [f"{name} is left out of the covariance measures: it {why}" for name, why in report.excluded.items()]
    return Evaluation(
        name=prepared.name,
        reference=named,
        first=f"{days[0]:%Y-%m-%d}",
        last=f"{days[-1]:%Y-%m-%d}",
        sentences=tuple(judgement.sentences(champion=None if named == CHAMPION else CHAMPION, seed=config.seed)),
        performance=judgement.performance,
        comparison=judgement.comparison,
        tests=tests,
        selection=selection_table(
            judgement.result, periods_per_year=judgement.periods_per_year, confidence=options.confidence
        ).reset_index(),
        sets=sets.reset_index(),
        covariance=report.table,
        costs=cost_table(judgement.result, periods_per_year=judgement.periods_per_year),
        break_even=break_even_table(judgement.result, periods_per_year=judgement.periods_per_year),
        notes=(*prepared.warnings, *failure_sentences(judgement, []), *left_out),
    )


def _plain_cell(value: Any) -> Any:
    """Names of a set in one cell."""
    return "; ".join(value) if isinstance(value, tuple) else value


def _pair_tests(judgement: Judgement, reference: str, config: CompareOptions, n_jobs: int) -> pd.DataFrame:
    return pair_tests(
        judgement.result,
        reference,
        periods_per_year=judgement.periods_per_year,
        n_bootstrap=config.evaluation.n_bootstrap,
        confidence=config.evaluation.confidence,
        rng=np.random.default_rng([config.seed, 4]),
        n_jobs=n_jobs,
    )
