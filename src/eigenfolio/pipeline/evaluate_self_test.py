"""The whole chain where the truth is known: nothing must be found in a null market, and a planted edge must be.

Panel, decisions, training, estimators, walk-forward, costs and the test that `eigenfolio evaluate` prints are those of
every other job; only the market is drawn. Three questions:

1. Null markets (`eigenfolio.evaluation.null_markets`): is the edge of every model over its comparator inside a small
   band, are the p-values uniform, and is a model that peeks one day caught?
2. A planted signal along a known graph: what share of the oracle's net Sharpe ratio do a graph-attention network and
   ridge regression on the same inputs recover, and is a network without edges, which cannot, told apart?
3. A planted covariance: what share of the way from equal weights to the least possible volatility do learned and
   classical shrinkage go?

The band and the levels were named before the figures were seen. What is drawn, and how it is judged, stands in
`eigenfolio.pipeline.self_test_draws`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.chain_calibration import UNIFORM_LEVEL, calibration_table, share_table
from eigenfolio.evaluation.null_markets import NULL_LAWS
from eigenfolio.parallel import run_tasks
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.options import Preset
from eigenfolio.pipeline.prepare import DataOptions, prepare
from eigenfolio.pipeline.self_test_draws import (
    GAT,
    LEARNED,
    ORACLE,
    PEEKING,
    POPULATIONS,
    SelfTestOptions,
    covariance_draw,
    null_draw,
    signal_draw,
)

__all__ = ["PRESETS", "EvaluateSelfTest", "embedded_source", "evaluate_self_test", "self_test_options"]

Row = dict[str, Any]

CELL = ["law", "model", "comparator"]
"""Columns that name a null market and a pair of tracks."""

PRESETS: dict[Preset, SelfTestOptions] = {
    "quick": SelfTestOptions(
        null_draws=10, band=0.5, coefficients=(0.3,), plant_draws=3, covariance_draws=6, max_epochs=25
    ),
    "full": SelfTestOptions(),
}


def self_test_options(preset: str, *, seed: int | None = None) -> SelfTestOptions:
    """Options by name, with another seed if given.

    Parameters
    ----------
    preset : {"quick", "full"}
        A look in a minute or two, or the figures to keep.
    seed : int, optional
        Replaces that of the preset.

    Raises
    ------
    ParameterError
        If the preset is unknown or the seed is negative.

    Examples
    --------
    >>> self_test_options("full", seed=7).seed
    7
    """
    for name, options in PRESETS.items():
        if name == preset:
            if seed is not None and seed < 0:
                raise ParameterError(f"seed must be 0 or more, got {seed}")
            return options if seed is None else options.model_copy(update={"seed": seed})
    raise ParameterError(f"--preset must be one of {', '.join(PRESETS)}, got {preset!r}")


@dataclass(frozen=True, eq=False)
class EvaluateSelfTest:
    """What the chain found where the truth is known.

    Attributes
    ----------
    options : SelfTestOptions
    nulls : DataFrame
        From `calibration_table`, by law, model and comparator; honest models.
    cheats : DataFrame
        The same of the model that peeks, with `found`: the whole interval above the band, and p-values not uniform.
    signals : DataFrame
        From `share_table`, by information coefficient and model: net Sharpe ratios.
    covariances : DataFrame
        The same by population and book: logarithms of true volatility below that of equal weights.
    """

    options: SelfTestOptions
    nulls: pd.DataFrame
    cheats: pd.DataFrame
    signals: pd.DataFrame
    covariances: pd.DataFrame

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, in words."""
        return (*self._null_failures(), *self._plant_failures())

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def _null_failures(self) -> list[str]:
        told = []
        for row in _rows(self.nulls):
            reasons = {
                "in_band": f"its edge of {row['low']:+.2f} to {row['high']:+.2f} leaves the band",
                "uniform": f"its p-values are not uniform (p {row['uniform_p']:.1g})",
                "net_in_band": f"it earns {row['net_high']:+.2f} after costs",
            }
            told += [f"{_cell(row)}: {words}" for name, words in reasons.items() if not row[name]]
        return told + [f"{_cell(row)}: not found" for row in _rows(self.cheats) if not row["found"]]

    def _plant_failures(self) -> list[str]:
        told = []
        strongest = self.signals["coefficient"].max()
        for row in _rows(self.signals):
            where = f"{row['model']} at a coefficient of {row['coefficient']:g}"
            if row["low"] > 1.0:
                told.append(f"{where} earns more than the oracle")
            if row["model"] == GAT and row["coefficient"] == strongest and row["low"] <= 0.0:
                told.append(f"{where} does not find the signal")
        for row in _rows(self.covariances):
            where = f"{row['model']} on {row['population']} covariances, {row['book']}"
            if row["share"] > 1.0 + 1e-6:
                told.append(f"{where} is calmer than the oracle")
            if row["model"] == LEARNED and row["low"] <= 0.0:
                told.append(f"{where} is no calmer than equal weights")
        return told

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        tables = ("nulls", "cheats", "signals", "covariances")
        return {
            "passed": self.passed,
            "failures": list(self.failures),
            "options": self.options.model_dump(mode="json"),
            **{name: _rows(getattr(self, name)) for name in tables},
        }

    def lines(self) -> list[str]:
        """Plain text: a table per question, then the verdict."""
        band = self.options.band
        return [
            f"Null markets: edge over the comparator at the same risk (annualised Sharpe ratio, 90 % interval; band "
            f"{-band:+.2f} to {band:+.2f})",
            *_null_lines(self.nulls.assign(verdict=self.nulls["passed"].map({True: "ok", False: "NOT OK"}))),
            *_null_lines(self.cheats.assign(verdict=self.cheats["found"].map({True: "found", False: "NOT FOUND"})))[1:],
            "  (same: draws in which both held the same book, left out of the Kolmogorov-Smirnov test; need: draws",
            "  after which the interval is half as wide as the band; net: edge after "
            f"{self.options.cost_bps:g} bp per unit traded)",
            "",
            f"Planted signal: share of the oracle's net Sharpe ratio, {self.options.plant_cost_bps:g} bp per unit",
            *_share_lines(self.signals, "coefficient"),
            "",
            "Planted covariance: share of the way from equal weights to the least volatility possible (logarithms)",
            *_share_lines(self.covariances, "population", "book"),
            "",
            "Everything holds." if self.passed else "Does not hold:",
            *(f"  {failure}" for failure in self.failures),
        ]


def embedded_source() -> pd.DataFrame:
    """Returns of the embedded panel up to 2020, whose rows get random signs under the law "real"."""
    return prepare(DataOptions()).panel.returns.loc[:"2020"]


def evaluate_self_test(
    options: SelfTestOptions, *, source: pd.DataFrame, n_jobs: int = 1, progress: Progress
) -> EvaluateSelfTest:
    """Walk the whole chain on markets whose truth is known.

    Parameters
    ----------
    options : SelfTestOptions
    source : DataFrame of shape (n_observations, n_assets)
        Real simple returns without gaps, whose rows get random signs under the law "real"; seven assets or more, so
        that a book under the cap of the network can be full.
    n_jobs : int
        Processes over drawn markets; the result has the same bits for any number.
    progress : Progress
        Opens one stage per question.

    Returns
    -------
    EvaluateSelfTest

    Raises
    ------
    DataError
        If the source has gaps or too few rows.
    ParameterError
        If it has too few assets.
    """
    null_tasks = [(options, law, draw, source) for law in NULL_LAWS for draw in range(options.null_draws)]
    edges = _table(null_draw, null_tasks, "Null markets", n_jobs, progress)
    signal_tasks = [(options, ic, draw) for ic in options.coefficients for draw in range(options.plant_draws)]
    signals = _table(signal_draw, signal_tasks, "Planted signals", n_jobs, progress)
    covariance_tasks = [(options, name, draw) for name in POPULATIONS for draw in range(options.covariance_draws)]
    covariances = _table(covariance_draw, covariance_tasks, "Planted covariances", n_jobs, progress)
    peeks = edges["model"] == PEEKING
    nulls = calibration_table(edges[~peeks], by=CELL, band=options.band)
    cheats = calibration_table(edges[peeks], by=CELL, band=options.band)
    cheats["found"] = (cheats["low"] > options.band) & (cheats["uniform_p_holm"] < UNIFORM_LEVEL)
    return EvaluateSelfTest(
        options,
        nulls,
        cheats,
        share_table(signals, by=["coefficient"], oracle=ORACLE),
        share_table(covariances, by=["population", "book"], oracle=ORACLE),
    )


def _table(
    function: Callable[..., list[Row]], tasks: list[tuple[Any, ...]], stage: str, n_jobs: int, progress: Progress
) -> pd.DataFrame:
    """Rows of all drawn markets, in the order of the tasks."""
    with progress(stage, len(tasks)) as step:
        found = run_tasks(function, tasks, n_jobs=n_jobs, on_done=step)
    return pd.DataFrame([row for rows in found for row in rows])


def _rows(table: pd.DataFrame) -> list[Row]:
    """Rows of plain values."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _cell(row: Row) -> str:
    return f"{row['law']}, {row['model']} against {row['comparator']}"


def _null_lines(table: pd.DataFrame) -> list[str]:
    rows = [
        f"  {'law':<7} {'model':<31} {'against':<32} {'n':>4} {'same':>4} {'need':>4} {'edge':>6}  "
        f"{'interval':<14} {'p<5%':>5} {'p<10%':>5} {'KS p':>7} {'net':>6}  verdict"
    ]
    for row in _rows(table):
        rows.append(
            f"  {row['law']:<7} {row['model']:<31} {row['comparator']:<32} {row['draws']:>4} {row['same']:>4} "
            f"{row['needed']:>4} {row['mean']:>+6.2f}  {row['low']:+.2f} to {row['high']:+.2f} {row['below_5']:>5.0%} "
            f"{row['below_10']:>5.0%} {row['uniform_p']:>7.1g} {row['net']:>+6.2f}  {row['verdict']}"
        )
    return rows


def _share_lines(table: pd.DataFrame, *by: Literal["coefficient", "population", "book"]) -> list[str]:
    rows = []
    for row in _rows(table):
        cell = "  ".join(f"{row[name]!s:<13}" for name in by)
        rows.append(
            f"  {cell} {row['model']:<33} {row['score']:>6.2f} of {row['oracle']:>5.2f}  "
            f"{row['share']:>6.1%} ({row['low']:.1%} to {row['high']:.1%}, n = {row['draws']})"
        )
    return rows
