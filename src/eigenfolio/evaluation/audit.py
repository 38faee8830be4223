"""The look-ahead audit: does anything that came after a decision change it?

Everything rests on one experiment. A target (see `audit_targets`) is asked for its decision of row t, and asked again
when only rows after t are different:

    truncation          the panel ends at t
    poison              later rows are missing, huge, shuffled, or have the sign flipped
    refit               the same object, and the same process, has been fitted on later rows before
    parameters          dated tables that the estimator holds are poisoned after t
    gaps                truncation and poison where values are missing just before t, so that a backward fill shows
    survivorship        some assets end soon after t, so that a universe chosen with later knowledge shows

Answers are compared bit for bit. Where a target sees a panel of another length or with other gaps, sums may round
otherwise, and answers are compared to 1e-9 of the size of their column. What is not such an experiment:

    same row            a strategy return must be linear in the returns of its own row: weights set before cannot bend
    trained through     the last date that weights say they have seen is no later than the decision
    gradients           of a network that offers them: d decision_s / d x_r = 0 for r > s
    label overlap       labels of training rows do not reach into tested rows
    walk-forward        `check_no_lookahead`: the same through the engine, to the returns earned

References
----------
.. [1] S. Kapoor and A. Narayanan (2023). Leakage and the reproducibility crisis in machine-learning-based science.
   Patterns 4(9), 100804.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.errors import DataError, LookaheadError, ParameterError
from eigenfolio.evaluation.audit_checks import CHECKS, LATER_ROWS, Case, difference, splitter_finding
from eigenfolio.evaluation.audit_report import AuditReport
from eigenfolio.evaluation.audit_targets import Answer, Target, as_target, ask

__all__ = ["audit"]


def audit(
    target: Any,
    X: pd.DataFrame,
    *,
    dates: int | Sequence[Any] = 4,
    lag: int = 1,
    horizon: int = 1,
    seed: int = 0,
    name: str | None = None,
) -> AuditReport:
    """Look for look-ahead in an estimator, a transformer, a splitter, or a function of a panel.

    Parameters
    ----------
    target : estimator, class of one, splitter, or function
        A skfolio or scikit-learn estimator (or pipeline) is given the rows up to a decision; a transformer is fitted
        on early rows and transforms the others; a function with one argument is given the panel, and gives an estimator
        built from it, a table with one row per date, or a series of the returns that a strategy earned.
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns with an increasing DatetimeIndex; NaN where missing.
    dates : int or sequence of dates
        Decision dates in the second half of `X`, or how many to draw there; every other one is the last row of a
        month. Each needs 30 later rows.
    lag : int >= 0
        Rows between a decision and its trade, for the check through the walk-forward.
    horizon : int >= 1
        Rows after its own that a label uses, for splitters.
    seed : int
        Draws dates and poison, and seeds what is fitted.
    name : str, optional
        Name of the target in the report.

    Returns
    -------
    AuditReport

    Raises
    ------
    DataError
        If the panel is too short or without dates, or the target cannot decide on any date as the panel is.
    ParameterError
        If the target is nothing that can be audited, an option is out of range, or two fits on the same rows with the
        same seed differ, so that no change could be told from noise.

    Examples
    --------
    >>> index = pd.bdate_range("2020-01-01", periods=200)
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(0, 0.01, (200, 3)), index=index, columns=list("ABC"))
    >>> audit(lambda X: X.rolling(21).mean(), X, name="trailing").clean
    True
    >>> report = audit(lambda X: X.rolling(21, center=True).mean(), X, name="centred")
    >>> report.leaks[0].check, report.leaks[1].reach
    ('truncation', 10)
    """
    _check_panel(X)
    rows = _decision_rows(X, dates, seed)
    recognised = as_target(target, X, name=name, seed=seed)
    if recognised.kind == "splitter":
        finding = splitter_finding(recognised.make(X), X, horizon)
        return AuditReport(recognised.name, recognised.kind, (), (finding,))
    case = _opened(recognised, X, rows, lag=lag, horizon=horizon, seed=seed)
    findings = tuple(check(case) for check in CHECKS)
    return AuditReport(recognised.name, recognised.kind, tuple(X.index[list(case.clean)]), findings)


def _check_panel(X: Any) -> None:
    if not isinstance(X, pd.DataFrame) or not isinstance(X.index, pd.DatetimeIndex):
        raise DataError(f"X must be a DataFrame of returns with a DatetimeIndex, got {type(X).__name__}")
    if not (X.index.is_monotonic_increasing and X.index.is_unique):
        raise DataError("the dates of X must increase and be unique; sort X and drop repeated rows")
    if len(X) < 3 * LATER_ROWS:
        raise DataError(f"an audit needs {3 * LATER_ROWS} rows, got {len(X)}; give a longer panel")


def _decision_rows(X: pd.DataFrame, dates: int | Sequence[Any], seed: int) -> list[int]:
    """Rows of the decisions: drawn, every other one the last row of a month; or those of the dates given."""
    first, last = len(X) // 2, len(X) - 1 - LATER_ROWS
    if not isinstance(dates, int):
        found = sorted({int(X.index.searchsorted(pd.Timestamp(date), side="right")) - 1 for date in dates})
        if not found or found[0] < first or found[-1] > last:
            raise ParameterError(
                f"dates must lie within {X.index[first]:%Y-%m-%d} to {X.index[last]:%Y-%m-%d} (the second half of the "
                f"panel, {LATER_ROWS} rows before its end), got {[str(date) for date in dates]}"
            )
        return found
    if not 1 <= dates <= last + 1 - first:
        raise ParameterError(f"dates must lie in 1..{last + 1 - first} for {len(X)} rows, got {dates}")
    rng = np.random.default_rng(seed)
    candidates = np.arange(first, last + 1)
    index = pd.DatetimeIndex(X.index)
    months = np.asarray(12 * index.year + index.month)
    ends = candidates[months[candidates] != months[candidates + 1]]
    drawn = set(rng.choice(ends, min(len(ends), dates // 2), replace=False).tolist())
    rest = np.setdiff1d(candidates, list(drawn))
    drawn |= set(rng.choice(rest, dates - len(drawn), replace=False).tolist())
    return sorted(drawn)


def _opened(target: Target, X: pd.DataFrame, rows: list[int], *, lag: int, horizon: int, seed: int) -> Case:
    """Ask for every decision on the panel as it is; dates that are honestly refused drop out."""
    split = len(X) // 3
    clean: dict[int, Answer] = {}
    refused: Exception | None = None
    for row in rows:
        try:
            clean[row] = ask(target, X, row, split=split, seed=seed)
        except LookaheadError as error:  # an honest refusal: its weights have seen later rows
            refused = error
        except Exception as error:  # a target may fail in any way; one date that works is enough
            refused = refused or error
    if not clean:
        first = f"{type(refused).__name__}: {refused}"
        raise DataError(
            f"{target.name} cannot decide on {X.index[rows[0]]:%Y-%m-%d} ({first}), so nothing would be checked; give "
            "more rows, cleaner ones or later dates"
        ) from refused
    case = Case(target, X, split, lag, horizon, seed, clean)
    row = next(iter(clean))
    first_answer = case.ask(X, row)
    if isinstance(first_answer, str) or difference(first_answer, case.ask(X, row)) is not None:
        raise ParameterError(
            f"{target.name} gives two answers for the same rows and seed, so nothing can be told from noise; give it a "
            "random_state, or a generator that starts anew in every fit"
        )
    return case
