"""Proof by experiment that a decision does not depend on what came later.

The panel is evaluated as it is, and again with every row after t poisoned: missing, huge, shuffled, or with the sign
flipped. All decisions up to t must have the same bits, and so must the returns earned up to t. Everything runs through
`walk_forward`, so engine and estimator are tested together. Cutting the panel at t would not do: it hides
reductions and masks over the whole length, which poison brings to light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.data import Decision
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.audit_targets import same_seed
from eigenfolio.evaluation.walk_forward import WalkForward, walk_forward

__all__ = ["Leak", "LookaheadReport", "check_no_lookahead"]

Values = NDArray[np.float64]

POISONS: dict[str, Callable[[Values, np.random.Generator], Values]] = {
    "missing": lambda future, rng: np.full_like(future, np.nan),
    "huge": lambda future, rng: 1e3 * rng.standard_normal(future.shape),
    "shuffled": lambda future, rng: rng.permutation(future, axis=0),
    "flipped": lambda future, rng: -future,
}
"""What may stand in the rows after a decision: rows x assets and a generator to rows x assets."""


@dataclass(frozen=True)
class Leak:
    """One decision or return that changed when only later rows did.

    Attributes
    ----------
    date : pandas.Timestamp
        First date affected.
    poisoned_after : pandas.Timestamp
        Last row left as it was.
    poison : {"missing", "huge", "shuffled", "flipped"}
        What stood in the later rows.
    what : {"weights", "diagnostics", "failures", "returns"}
        What changed.
    """

    date: pd.Timestamp
    poisoned_after: pd.Timestamp
    poison: str
    what: str


@dataclass(frozen=True)
class LookaheadReport:
    """Outcome of `check_no_lookahead`.

    Attributes
    ----------
    dates : tuple of pandas.Timestamp
        Decision dates tried.
    leaks : tuple of Leak
        Empty when nothing later mattered.
    """

    dates: tuple[pd.Timestamp, ...]
    leaks: tuple[Leak, ...]

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.leaks


def check_no_lookahead(
    estimator: BaseCovariance | BaseOptimization,
    X: pd.DataFrame,
    *,
    rows: int | Sequence[int] = 3,
    lag: int = 1,
    rng: np.random.Generator | None = None,
) -> LookaheadReport:
    """Poison the future and see whether the past decides otherwise.

    This asks through the walk-forward engine, so that engine and estimator are judged together. `audit` asks in more
    ways, and of more than estimators.

    Parameters
    ----------
    estimator : BaseCovariance or BaseOptimization
        Unfitted estimator; a covariance is judged by its long-only minimum-variance portfolio.
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns with a DatetimeIndex.
    rows : int or sequence of int
        Decision rows, or how many to spread evenly over the second half of the panel. Each needs
        ``lag + 2`` later rows.
    lag : int >= 0
        Rows between a decision and its trade.
    rng : numpy.random.Generator, optional
        Draws the poison; by default one seeded with 0.

    Returns
    -------
    LookaheadReport
        At most one leak per row, poison and kind: the earliest.

    Raises
    ------
    ParameterError
        If `rows` are out of range or out of order.
    DataError
        If the estimator cannot decide on the panel as it is, so that nothing would be checked.

    Examples
    --------
    >>> from skfolio.moments import LedoitWolf
    >>> rng = np.random.default_rng(0)
    >>> index = pd.bdate_range("2020-01-01", periods=100)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((100, 4)), index=index, columns=list("ABCD"))
    >>> check_no_lookahead(LedoitWolf(), X, rows=2).clean
    True
    """
    rng = np.random.default_rng(0) if rng is None else rng
    last = len(X) - lag - 2  # one earning row, and one more for a shuffle to matter
    if isinstance(rows, int):
        at = sorted({int(row) for row in np.linspace(len(X) // 2, last, max(rows, 0))})
    else:
        at = [int(row) for row in rows]
    if not at or at[0] < 0 or at[-1] > last or any(np.diff(at) <= 0):
        raise ParameterError(f"rows must increase within 0..{last} (lag={lag}, {len(X)} rows), got {rows!r}")
    starts = [row + 1 + lag for row in at]

    def evaluate(panel: pd.DataFrame, n_decisions: int) -> WalkForward:
        stops = [*starts[1:n_decisions], starts[n_decisions - 1] + 1]
        decisions = [
            Decision(row=row, date=panel.index[row], start=start, stop=stop)
            for row, start, stop in zip(at[:n_decisions], starts, stops, strict=False)
        ]
        with same_seed(0):  # an estimator that draws without a seed of its own draws the same every time
            return walk_forward({"model": estimator}, panel, decisions, books={LONG_ONLY.name: LONG_ONLY})

    clean = evaluate(X, len(at))
    if clean.failures:
        raise DataError(
            f"{type(estimator).__name__} cannot decide on {clean.failures[0].date:%Y-%m-%d} "
            f"({clean.failures[0].error}), so nothing would be checked; give more rows or cleaner ones"
        )
    leaks: list[Leak] = []
    for n_decisions, row in enumerate(at, start=1):
        for poison, spoil in POISONS.items():
            values = X.to_numpy(dtype=float, copy=True)
            values[row + 1 :] = spoil(values[row + 1 :], rng)
            poisoned = evaluate(pd.DataFrame(values, index=X.index, columns=X.columns), n_decisions)
            leaks += [
                Leak(date, X.index[row], poison, what) for what, date in _differences(clean, poisoned, X.index[row])
            ]
    return LookaheadReport(tuple(X.index[at]), tuple(leaks))


def _differences(clean: WalkForward, other: WalkForward, until: pd.Timestamp) -> list[tuple[str, pd.Timestamp]]:
    """Kinds of results dated up to `until` that differ in any bit, with the first such date."""
    found = []
    failed = [failure.date for failure in other.failures if failure.date <= until]
    if failed:
        found.append(("failures", failed[0]))
    for key, track in clean.tracks.items():
        pairs = {
            "weights": (track.weights, other.tracks[key].weights),
            "returns": (track.gross_returns.to_frame(), other.tracks[key].gross_returns.to_frame()),
        }
        if clean.diagnostics:
            empty = pd.DataFrame(columns=clean.diagnostics["model"].columns)
            pairs["diagnostics"] = (clean.diagnostics["model"], other.diagnostics.get("model", empty))
        for what, (expected, got) in pairs.items():
            expected = expected.loc[:until]
            changed = _bits(expected) != _bits(got.reindex(expected.index))
            dates = expected.index[changed.any(axis=1) & ~expected.index.isin(failed)]
            if len(dates):
                found.append((what, dates[0]))
    return found


def _bits(frame: pd.DataFrame) -> NDArray[np.int64]:
    return np.ascontiguousarray(frame.to_numpy(dtype=float)).view(np.int64)
