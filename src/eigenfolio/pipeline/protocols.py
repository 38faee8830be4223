"""`eigenfolio evaluate --protocol`: the comparators and the shipped weights on many paths instead of one.

    combinatorial   every choice of two of eight folds in time; the shipped weights stay out, as they may have seen the
                    rows that are tested
    randomized      walk-forwards on random halves of the assets over random spans of about four and a half years

Nothing is trained or chosen, so no rows are sealed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.constraints import Constraints
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparators import comparators
from eigenfolio.evaluation.path_summary import Paths
from eigenfolio.evaluation.protocols import combinatorial_paths, randomized_paths
from eigenfolio.measures import periods_per_year
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import JudgeOptions, Progress
from eigenfolio.pipeline.models import shipped_models
from eigenfolio.pipeline.names import CHAMPION, SHIPPED
from eigenfolio.pipeline.outcome import records
from eigenfolio.pipeline.prepare import prepare

__all__ = ["PathProtocol", "PathReport", "evaluate_paths", "few_paths"]

PathProtocol = Literal["combinatorial", "randomized"]

_FEWEST_PATHS = 5  # a spread of fewer values says little


@dataclass(frozen=True, eq=False)
class PathReport:
    """What many paths say.

    Attributes
    ----------
    name : str
        Of the panel.
    reference : str
        Model that the others are compared with.
    book : str
        Constraints of the minimum-variance books.
    result : Paths
    notes : tuple of str
        What was left out, and what the data warn of.
    """

    name: str
    reference: str
    book: str
    result: Paths
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {"summary": self.result.summary, "against": self.result.against, "measures": self.result.measures}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; None where a number is missing."""
        facts = {"panel": self.name, "protocol": self.result.protocol, "reference": self.reference, "book": self.book}
        return facts | {"notes": list(self.notes)} | {name: records(table) for name, table in self.tables.items()}

    def lines(self) -> list[str]:
        """Text for a terminal: mean over paths with spread and interval, then differences from the reference."""
        n_paths = int(self.result.summary["n_paths"].iloc[0])
        shown = [
            f"{self.name}: {self.result.protocol}; {n_paths} paths, {self.book} book; reference: {self.reference}",
            "mean over paths {spread of the paths} [interval of the mean]",
            "",
            *_summary_lines(self.result.summary),
            "",
        ]
        if not self.result.against.empty:
            shown += [f"model less {self.reference}, path by path", *_against_lines(self.result.against), ""]
        return [*shown, *self.notes]

    def write(self, folder: Path) -> Path:
        """Write a CSV file per table, the paths as `paths.parquet`, and all tables as `evaluation.json`.

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
                table.to_csv(partial / f"{name}.csv", index=False)
            named = [frame.add_prefix(f"{model}, path ") for model, frame in self.result.paths.items()]
            pd.concat(named, axis=1).to_parquet(partial / "paths.parquet")
            (partial / "evaluation.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
        return Path(folder)


def evaluate_paths(
    config: CompareOptions,
    *,
    protocol: str,
    n_paths: int = 20,
    reference: str | None = None,
    n_jobs: int = 1,
    progress: Progress,
) -> PathReport:
    """Judge the comparators and the shipped weights on many paths.

    Parameters
    ----------
    config : CompareOptions
        Data, protocol and seed. A long-only book of `evaluation.max_weight` is held (5 %, or 2 / n of few assets, by
        default). Randomized paths rebalance every `evaluation.horizon` rows, combinatorial ones once a fold; both hold
        every asset of the panel that is there, so `evaluation.rebalance`, `universe` (but for `min_assets`, which lets
        dates out) and `data.membership` must not be set.
    protocol : {"combinatorial", "randomized"}
    n_paths : int
        Of randomized paths; combinatorial ones are seven.
    reference : str, optional
        Model that the others are compared with. By default the shipped weights, or the fixed rival without them.
    n_jobs : int
        Processes; the result has the same bits for any number.
    progress : Progress
        Opens one stage per long step.

    Returns
    -------
    PathReport

    Raises
    ------
    ParameterError
        If protocol or reference is unknown, a key is set that these paths do not read, or they cannot be drawn.
    DataError
        If the panel cannot be used.
    """
    if protocol not in get_args(PathProtocol):
        raise ParameterError(
            f"--protocol must be walk-forward, {', '.join(get_args(PathProtocol))}, seeds, got {protocol!r}"
        )
    options = config.evaluation
    shipped = shipped_models(lookback=options.lookback) if protocol == "randomized" else {}
    models = shipped | comparators(lookback=options.lookback, horizon=options.horizon)
    named = reference or (SHIPPED if SHIPPED in models else CHAMPION)
    if named not in models:
        raise ParameterError(f"--reference must be one of {', '.join(models)}, got {named!r}")
    _refuse_unread(config, protocol)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(config.data)
        step()
    returns = prepared.panel.returns
    n_held = returns.shape[1] if protocol == "combinatorial" else max(1, returns.shape[1] // 2)
    book = _book(options, n_held)
    shared: dict[str, Any] = {
        "rng": np.random.default_rng([config.seed, 6]),
        "book": book,
        "cost_bps": options.cost_bps,
        "n_jobs": n_jobs,
        "reference": named,
        "periods_per_year": periods_per_year(prepared.panel.index),
        "n_bootstrap": options.n_bootstrap,
        "confidence": options.confidence,
    }
    with progress("Following the paths", 1) as step:
        if protocol == "combinatorial":
            embargo = options.horizon
            result = combinatorial_paths(models, returns, purge=max(options.lag, 1), embargo=embargo, **shared)
        else:
            result = randomized_paths(
                models,
                returns,
                seed=config.seed,
                n_paths=n_paths,
                n_assets=n_held,
                train_size=options.lookback + 6 * options.horizon,  # the calibrated estimators learn from the past
                test_size=options.horizon,
                lag=options.lag,
                **shared,
            )
        step()
    failed = [f"{model} is left out: {why}" for model, why in result.failures.items()]
    kept_out = [] if protocol == "randomized" else ["Shipped weights are left out: they may have seen the rows tested."]
    return PathReport(
        prepared.name, named, book.name, result, (*few_paths(result), *failed, *kept_out, *prepared.warnings)
    )


def few_paths(result: Paths, *, noun: str = "paths") -> list[str]:
    """A sentence where there are too few paths, or seeds, to say how much they differ.

    Parameters
    ----------
    result : Paths
    noun : str, default="paths"
        What a path is called.

    Returns
    -------
    list of str
        Empty from five paths on.
    """
    n_paths = int(result.summary["n_paths"].iloc[0])
    if n_paths >= _FEWEST_PATHS:
        return []
    return [
        f"{n_paths} {noun} cannot carry an interval over {noun}: the spread is the range of {n_paths} values, and the "
        f"intervals come of resampled days and say nothing of other {noun}. Use {_FEWEST_PATHS} or more."
    ]


def _refuse_unread(config: CompareOptions, protocol: str) -> None:
    """Refuse keys that were set and that these paths do not read."""
    default = CompareOptions()
    universe = config.universe.model_copy(update={"min_assets": default.universe.min_assets})
    unread = {
        "evaluation.rebalance": config.evaluation.rebalance != default.evaluation.rebalance,
        "universe": universe != default.universe,
        "data.membership": config.data.membership is not None,
    }
    names = [name for name, is_set in unread.items() if is_set]
    if names:
        raise ParameterError(
            f"--protocol {protocol} does not read {', '.join(names)}: its dates and assets are those of the paths; "
            "leave them out, or use --protocol walk-forward"
        )


def _book(options: JudgeOptions, n_assets: int) -> Constraints:
    """The long-only book of `plan_evaluation`, for a number of assets that is known."""
    return Constraints(max_weight=options.max_weight or min(1.0, max(0.05, 2.0 / n_assets)))


def _summary_lines(summary: pd.DataFrame) -> list[str]:
    columns = {}
    for measure, heading, unit, digits in (
        ("annualized_volatility", "vol %", 100.0, 1),
        ("sharpe_ratio", "Sharpe", 1.0, 2),
        ("annualized_return", "return %", 100.0, 1),
        ("max_drawdown", "maxDD %", 100.0, 0),
    ):
        rows = summary[summary["measure"] == measure].set_index("model")
        columns[heading] = {
            model: f"{unit * row['mean']:.{digits}f} "
            f"{{{unit * row['path_low']:.{digits}f} to {unit * row['path_high']:.{digits}f}}}"
            + (f" [{unit * row['low']:.{digits}f} to {unit * row['high']:.{digits}f}]" if pd.notna(row["low"]) else "")
            for model, row in rows.iterrows()
        }
    return pd.DataFrame(columns).to_string(max_colwidth=None).splitlines()


def _against_lines(against: pd.DataFrame) -> list[str]:
    columns: dict[str, dict[str, str]] = {}
    for measure, heading, unit, digits in (
        ("log_volatility", "volatility, log %", 100.0, 1),
        ("sharpe_ratio", "Sharpe", 1.0, 2),
    ):
        rows = against[against["measure"] == measure].set_index("model")
        columns[heading] = {
            str(model): f"{unit * row['mean']:+.{digits}f} "
            f"[{unit * row['low']:+.{digits}f} to {unit * row['high']:+.{digits}f}]"
            for model, row in rows.iterrows()
        }
        columns[f"paths above, {heading.split(',')[0]}"] = {
            str(model): f"{100 * row['share']:.0f} %" for model, row in rows.iterrows()
        }
    return pd.DataFrame(columns).to_string(max_colwidth=None).splitlines()
