"""An evaluation as text: the sentences, then one short table per question, for a terminal.

Every number of the tables is in `Evaluation.to_dict`; here are those that are read first. Percent and annual figures
say so in their heading. The sentences rest on windows, which hold where tracks have clusters of volatility of their
own; the tests of rows then speak up too often (`eigenfolio.evaluation.variance_tests`). Both tests of volatility are
printed, and which of them the sentences read.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from eigenfolio.pipeline.cost_text import cost_lines
from eigenfolio.pipeline.evaluate import Evaluation
from eigenfolio.pipeline.names import CHAMPION

__all__ = ["evaluation_lines"]

SHOWN_MEASURES = (
    "log_likelihood",
    "regret",
    "qlike_equal_weight",
    "qlike_minimum_variance",
    "mahalanobis_ratio",
    "bias_minimum_variance",
    "correlation_change",
)
"""Covariance measures with a column; ``--json`` and ``--out`` have the others and every interval."""


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """Lines of text that tell an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        From `eigenfolio.pipeline.evaluate.evaluate`.

    Returns
    -------
    list of str
        Sentences, tables and notes, in reading order.
    """
    lines = [f"{evaluation.name}, {evaluation.first} to {evaluation.last}; reference: {evaluation.reference}", ""]
    lines += [*evaluation.sentences, ""]
    for book in dict.fromkeys(evaluation.performance["book"]):
        lines += _block(f"{book} book, net, annualised", _performance(evaluation, str(book)))
    lines += [_two_tests(evaluation), ""]
    for book, rows in evaluation.comparison.groupby("book", sort=False):
        heading = "volatility, mean over windows, reference less rival, in log percent"
        lines += _block(f"{heading}: {book!s} (the test of the sentences above)", _windows(rows))
    for quantity, unit, heading in (
        ("log_volatility", 100.0, "volatility of all rows, reference less rival, in log percent"),
        ("sharpe_ratio", 1.0, "Sharpe ratio, reference less rival, annualised"),
    ):
        robust = _robust(evaluation.tests, quantity)
        for book in dict.fromkeys(map(str, robust["book"])):
            rows = robust[robust["book"] == book]
            lines += _block(f"{heading}: {book} (row by row; p adjusted for the rivals)", _pairs(rows, unit))
    lines += [line for _, row in evaluation.sets.iterrows() for line in _set_lines(row, evaluation.reference)]
    lines += _block("covariance matrices, mean over windows", _covariance(evaluation.covariance))
    for book, rows in evaluation.costs.groupby("book", sort=False):
        heading = f"{book!s} book net of costs, by rate in bp per unit traded (Sharpe ratio, return a year)"
        lines += [heading, *cost_lines(rows), ""]
    return [*lines, *evaluation.notes]


def _performance(evaluation: Evaluation, book: str) -> pd.DataFrame:
    rows = evaluation.performance.query("book == @book").set_index("model")
    worth = evaluation.selection.query("book == @book").set_index("model")
    return pd.DataFrame(
        {
            "vol %": _fixed(100.0 * rows["annualized_volatility"], 2),
            "return %": _fixed(100.0 * rows["annualized_return"], 2),
            "Sharpe": _fixed(rows["sharpe_ratio"], 2),
            "P(>0)": _fixed(worth["probability_positive"].reindex(rows.index), 3),
            "deflated": _fixed(worth["deflated"].reindex(rows.index), 3),
            "maxDD %": _fixed(100.0 * rows["max_drawdown"], 1),
            "trades %": _fixed(100.0 * rows["turnover"], 1),
        }
    ).iloc[np.argsort(rows["annualized_volatility"].to_numpy(), kind="stable")]


def _two_tests(evaluation: Evaluation) -> str:
    """How the two tests of volatility differ, and which one the sentences read."""
    named = CHAMPION if CHAMPION in set(evaluation.comparison["rival"]) else None
    judged = (
        f"{named} is the rival named beforehand, judged by its own interval; the others by the p-value adjusted by Holm"
        if named
        else "no rival was named beforehand, so all are judged by the p-value adjusted by Holm"
    )
    return (
        "Two tests of volatility follow and need not agree: the first takes the mean over holding windows, each of "
        "which counts the same, the second pools all rows, among which the roughest days weigh most. The sentences "
        f"above read the first; {judged}."
    )


def _windows(rows: pd.DataFrame) -> pd.DataFrame:
    """The test of window means of every pair, in log percent."""
    ends = zip(100.0 * rows["window_low"], 100.0 * rows["window_high"], strict=True)
    return pd.DataFrame(
        {
            "difference": [f"{100.0 * x:+.2f}" for x in rows["window_mean"]],
            "interval": [f"{low:+.2f} to {high:+.2f}" for low, high in ends],
            "p": _fixed(rows["p_value"], 3).to_numpy(),
            "Holm": _fixed(rows["p_adjusted"], 3).to_numpy(),
            "detectable": _fixed(100.0 * rows["minimum_detectable"], 2).to_numpy(),
        },
        index=rows["rival"].to_numpy(),
    )


def _robust(tests: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The robust test of every pair; ``--json`` and ``--out`` have the classical one as well."""
    if tests.empty:
        return pd.DataFrame({"book": []})
    return tests[(tests["quantity"] == quantity) & tests["method"].str.startswith("Ledoit-Wolf")]


def _pairs(rows: pd.DataFrame, unit: float) -> pd.DataFrame:
    digits = 2 if unit > 1.0 else 3
    ends = zip(unit * rows["low"], unit * rows["high"], strict=True)
    return pd.DataFrame(
        {
            "difference": [f"{unit * x:+.{digits}f}" for x in rows["estimate"]],
            "interval": [f"{low:+.{digits}f} to {high:+.{digits}f}" for low, high in ends],
            "p": _fixed(rows["p_value"], 3).to_numpy(),
            "Holm": _fixed(rows["p_holm"], 3).to_numpy(),
            "BH": _fixed(rows["p_benjamini_hochberg"], 3).to_numpy(),
            "detectable": _fixed(unit * rows["minimum_detectable"], digits).to_numpy(),
        },
        index=rows["rival"].to_numpy(),
    )


def _set_lines(row: pd.Series, reference: str) -> list[str]:
    better = ", ".join(row["superior"]) or "none"
    return [
        f"{row['book']} book as a whole, by squared net returns of {row['n_observations']} rows:",
        f"  cannot be told from the calmest: {', '.join(row['confidence_set'])}",
        f"  surely calmer than {reference}: {better} (p of any {row['spa_p_value']:.3f}; a difference of "
        f"{100.0 * row['minimum_detectable']:.2f} % is detectable)",
        f"  picking by Sharpe ratio would have overfitted with probability {row['overfitting_probability']:.2f}",
        "",
    ]


def _covariance(table: pd.DataFrame) -> pd.DataFrame:
    wide = table.pivot(index="model", columns="measure", values="mean")
    shown = [measure for measure in SHOWN_MEASURES if measure in wide]
    order = list(dict.fromkeys(table["model"]))
    return pd.DataFrame({measure: _fixed(wide.loc[order, measure], 3) for measure in shown})


def _fixed(values: pd.Series, digits: int) -> pd.Series:
    return values.map(lambda value: "-" if pd.isna(value) else f"{value:.{digits}f}")


def _block(heading: str, table: pd.DataFrame) -> list[str]:
    shown = table.rename_axis(index=None, columns=None).to_string(max_colwidth=None)
    return [heading, *shown.splitlines(), ""]
