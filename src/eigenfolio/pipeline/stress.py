"""Which models stand stress, and which break: `eigenfolio stress` on a panel.

Crises that the panel covers, regimes of its market and shocks put into it, each against normal times on the same books;
see `eigenfolio.evaluation.stress`. Nothing is trained or chosen, so no rows are sealed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparators import comparators
from eigenfolio.evaluation.cost_tables import break_even_table, cost_table
from eigenfolio.evaluation.stress import SHOCKS, stress_test
from eigenfolio.evaluation.walk_forward import WalkForward
from eigenfolio.features.regimes import market_regimes
from eigenfolio.measures import periods_per_year
from eigenfolio.panel import Panel
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.cost_text import break_even_lines, cost_lines
from eigenfolio.pipeline.judge import Progress, plan_evaluation
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import CHAMPION, SHIPPED
from eigenfolio.pipeline.outcome import records
from eigenfolio.pipeline.prepare import prepare

__all__ = ["StressReport", "stress", "value_traded"]

_CONFIRM = 5
"""Rows on which a new regime must come up before it stands, as in `data describe`."""


@dataclass(frozen=True, eq=False)
class StressReport:
    """What stress did, as tables.

    Attributes
    ----------
    name : str
        Of the panel.
    reference : str
        Model that the others are compared with.
    first, last : str
        Dates of the first and last row held.
    table : DataFrame
        From `eigenfolio.evaluation.stress.StressTest`.
    costs, break_even : DataFrame
        Normal times at 0, 5, 10 and 25 bp, and the rate at which two books of a pair earn the same.
    notes : tuple of str
        What was left out, and what the data warn of.
    """

    name: str
    reference: str
    first: str
    last: str
    table: pd.DataFrame
    costs: pd.DataFrame
    break_even: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {"stress": self.table, "costs": self.costs, "break_even": self.break_even}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; None where a number is missing."""
        facts = {"panel": self.name, "reference": self.reference, "first": self.first, "last": self.last}
        return facts | {"notes": list(self.notes)} | {name: records(table) for name, table in self.tables.items()}

    def lines(self) -> list[str]:
        """Text for a terminal: per scenario how much wilder each book was, then costs."""
        shown = [f"{self.name}, {self.first} to {self.last}; reference: {self.reference}", ""]
        for (kind, scenario, book), rows in self.table.groupby(["kind", "scenario", "book"], sort=False):
            against = {"shock": "the same days without it", "historic": "days outside crises", "regime": "calm days"}
            heading = f"{scenario} ({kind}, {book}): {rows['n_rows'].iloc[0]} days against {against[str(kind)]}"
            shown += [heading, *_stress_lines(rows), ""]
        shown += [
            "net of costs, by rate in bp per unit traded (Sharpe ratio, return a year)",
            *cost_lines(self.costs),
            "",
        ]
        named = self.break_even.query("busier == @self.reference or calmer == @self.reference")
        shown += [f"break-even rates of {self.reference}", *break_even_lines(named), ""]
        return [*shown, *self.notes]

    def write(self, folder: Path) -> Path:
        """Write a CSV file per table, all as `stress.json`, and the page `stress.html`, to a new folder.

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
        from eigenfolio.report.stress_page import write_stress_page

        with whole_folder(folder) as partial:
            for name, table in self.tables.items():
                table.to_csv(partial / f"{name}.csv", index=False)
            (partial / "stress.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
            write_stress_page(
                self.table,
                partial / "stress.html",
                title=f"Stress: {self.name}",
                subtitle=f"Held {self.first} to {self.last}",
                reference=self.reference,
                champion=CHAMPION,
                notes=self.notes,
            )
        return Path(folder)


def stress(
    config: CompareOptions,
    *,
    models: Sequence[str] = (),
    shocks: Sequence[str] = SHOCKS,
    impact: float = 1.0,
    capital: float = 1e7,
    n_jobs: int = 1,
    progress: Progress,
) -> StressReport:
    """Put models through stress on a panel.

    Parameters
    ----------
    config : CompareOptions
        Data, universe, protocol and seed; the long-only book of `evaluation.max_weight` is tested.
    models : sequence of str
        Names as in `compare-covariance`; the first is the one the others are compared with. None: the shipped
        weights (the fixed rival where there are none) and the seven comparators.
    shocks : sequence of str
        Of `eigenfolio.evaluation.stress.SHOCKS`.
    impact : float >= 0
        Factor of the square-root law, in the drought.
    capital : float > 0
        Net asset value in the currency of the panel, in the drought.
    n_jobs : int
        Processes; the result has the same bits for any number.
    progress : Progress
        Opens one stage per long step.

    Returns
    -------
    StressReport

    Raises
    ------
    ParameterError
        If a model or a shock is unknown.
    DataError
        If the panel is too short or too narrow.
    """
    options = config.evaluation
    known = {
        **shipped_models(lookback=options.lookback),
        **classical_models(lookback=options.lookback, horizon=options.horizon),
    }
    standard = comparators(lookback=options.lookback, horizon=options.horizon)
    known |= standard
    unknown = [name for name in models if name not in known]
    if unknown:
        raise ParameterError(f"--models must be of {', '.join(known)}, got {', '.join(unknown)}")
    first = SHIPPED if SHIPPED in known else CHAMPION
    chosen = {name: known[name] for name in models} if models else {first: known[first]} | standard
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    panel = prepared.panel
    plan = plan_evaluation(
        panel.returns,
        options=options,
        universe=config.universe,
        membership=prepared.membership,
        first_row=options.lookback + 6 * options.horizon,  # the calibrated estimators need a past to learn from
        n_rows=panel.n_observations,
    )
    per_year = periods_per_year(panel.index)
    with progress("Walking through stress", 1 + sum(shock != "drought" for shock in shocks)) as step:
        done = stress_test(
            chosen,
            panel.returns,
            plan.decisions,
            books=dict(list(plan.books.items())[:1]),
            eligible=plan.eligible,
            regimes=market_regimes(panel, confirm=_CONFIRM)["label"],
            value_traded=value_traded(panel),
            shocks=shocks,
            reference=next(iter(chosen)),
            cost_bps=options.cost_bps,
            impact=impact,
            capital=capital,
            periods_per_year=per_year,
            n_bootstrap=options.n_bootstrap,
            confidence=options.confidence,
            seed=config.seed,
            n_jobs=n_jobs,
            on_done=step,
        )
    days = done.normal.windows.index
    return StressReport(
        name=prepared.name,
        reference=next(iter(chosen)),
        first=f"{days[0]:%Y-%m-%d}",
        last=f"{days[-1]:%Y-%m-%d}",
        table=done.table,
        costs=cost_table(done.normal, periods_per_year=per_year),
        break_even=break_even_table(done.normal, periods_per_year=per_year),
        notes=(*done.notes, *_drift(done.shocked), *prepared.warnings),
    )


def _drift(shocked: Mapping[str, WalkForward]) -> list[str]:
    enlarged = [shock for shock in ("volatility", "correlation") if shock in shocked]
    if not enlarged:
        return []
    return [
        f"Every move is enlarged under {' and '.join(enlarged)}, drift included: read volatility and drawdown there, "
        "not the Sharpe ratio."
    ]


def value_traded(panel: Panel) -> pd.DataFrame | None:
    """Shares times price of every day, in currency; None for a panel without volume or without prices.

    Parameters
    ----------
    panel : Panel

    Returns
    -------
    DataFrame of shape (n_observations, n_assets), or None

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> prices, shares = pd.DataFrame({"A": [10.0, 11.0]}, index=days), pd.DataFrame({"A": [5.0, 6.0]}, index=days)
    >>> value_traded(Panel.from_prices(prices, volume=shares))["A"].tolist()
    [66.0]
    """
    volume, prices = panel.field("volume"), panel.prices
    if volume is None or prices is None:
        return None
    return volume * prices.reindex(volume.index)


def _stress_lines(rows: pd.DataFrame) -> list[str]:
    factor = {end: np.exp(rows[f"log_volatility{end}"]) for end in ("", "_low", "_high")}
    against = {end: np.exp(rows[f"relative_log_volatility{end}"]) - 1.0 for end in ("", "_low", "_high")}
    ends = zip(factor["_low"], factor["_high"], strict=True)
    others = zip(against["_low"], against["_high"], strict=True)
    table = pd.DataFrame(
        {
            "vol %": [f"{100 * x:.1f}" for x in rows["annualized_volatility"]],
            "normal %": [f"{100 * x:.1f}" for x in rows["normal_volatility"]],
            "times": [f"{x:.2f}" for x in factor[""]],
            "interval": [f"{low:.2f} to {high:.2f}" for low, high in ends],
            "than reference %": [f"{100 * x:+.1f}" if x and np.isfinite(x) else "-" for x in against[""]],
            "its interval": [
                f"{100 * low:+.1f} to {100 * high:+.1f}" if np.isfinite(high) and (low or high) else "-"
                for low, high in others
            ],
            "Sharpe": [f"{x:.2f}" for x in rows["sharpe_ratio"]],
            "normal": [f"{x:.2f}" for x in rows["normal_sharpe"]],
            "maxDD %": [f"{100 * x:.1f}" if np.isfinite(x) else "-" for x in rows["max_drawdown"]],
        },
        index=rows["model"].to_numpy(),
    )
    if rows["kind"].iloc[0] == "shock":
        table["cost %"] = [f"{100 * x:.2f}" for x in rows["annualized_cost"]]
        table["its normal %"] = [f"{100 * x:.2f}" for x in rows["normal_cost"]]
    return table.to_string(max_colwidth=None).splitlines()
