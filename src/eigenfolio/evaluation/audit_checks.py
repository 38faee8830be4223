"""The experiments of the audit: each takes one opened case and gives one finding.

`audit` says what they are. An answer is compared with the one on the panel as it is: bit for bit where the panel keeps
its shape and its gaps, to `TOLERANCE` where it does not, since sums may then round otherwise.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import BaseEstimator

from eigenfolio.errors import EigenfolioError
from eigenfolio.evaluation.audit_report import Finding
from eigenfolio.evaluation.audit_targets import Answer, Target, answer_of, ask, fitted, laid_out, past, same_seed
from eigenfolio.evaluation.gradient_check import dependence, model_gradients
from eigenfolio.evaluation.label_overlap import label_overlap
from eigenfolio.evaluation.lookahead import POISONS, check_no_lookahead

__all__ = ["CHECKS", "LATER_ROWS", "Case", "difference", "splitter_finding"]

TOLERANCE = 1e-9
"""Largest change, relative to the size of its column, that other rows or gaps of a panel may cause by rounding."""

LATER_ROWS = 30
"""Rows that every decision has after it, so that there is something to see."""

CLAIRVOYANT = 0.5
"""Correlation with later returns that no honest table reaches, where chance does not either."""

MIN_COMPARED = 250
"""Values below which no correlation is spoken of."""

_NEAR_ROWS = 5  # assets end so many rows after a decision


@dataclass(frozen=True)
class Case:
    """One audit: the target, the panel, and the answers as they are."""

    target: Target
    X: pd.DataFrame
    split: int
    lag: int
    horizon: int
    seed: int
    clean: Mapping[int, Answer]

    def ask(self, panel: pd.DataFrame, row: int, target: Target | None = None) -> Answer | str:
        """The answer, or type and words of the error in its place."""
        try:
            return ask(target or self.target, panel, row, split=self.split, seed=self.seed)
        except Exception as error:  # a target may fail in any way, and failing because of later rows is a leak
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def poisoned(self, row: int, poison: str, *, panel: pd.DataFrame | None = None, after: int = 1) -> pd.DataFrame:
        """The panel with rows from ``row + after`` on poisoned, the same for the same row and poison."""
        panel = self.X if panel is None else panel
        values = panel.to_numpy(dtype=float, copy=True)
        values[row + after :] = POISONS[poison](values[row + after :], np.random.default_rng([self.seed, row]))
        return pd.DataFrame(values, index=panel.index, columns=panel.columns)


@dataclass(frozen=True)
class _Change:
    """A decision that changed: when, in what, by how much, in which columns."""

    row: int
    what: str
    size: float
    assets: tuple[str, ...]
    reach: int | None = None

    @property
    def failed(self) -> bool:
        """Whether there was no answer at all."""
        return self.what.startswith("failed")


def difference(
    expected: Answer, got: Answer | str, *, tolerance: float = 0.0
) -> tuple[str, float, tuple[str, ...]] | None:
    """The part that changed most, by how much of its column's size, and in which columns; None where nothing did."""
    if isinstance(got, str):
        return f"failed with {got}", np.inf, ()
    worst: tuple[str, float, tuple[str, ...]] | None = None
    for name, part in expected.items():
        other = got.get(name)
        if other is None or other.values.shape != part.values.shape or other.columns != part.columns:
            return f"{name} has another shape", np.inf, ()
        if part.dates is not None and not part.dates.equals(other.dates):
            return f"{name} has other dates", np.inf, ()
        changed, size = _changed(part.values, other.values, tolerance)
        if changed.any() and (worst is None or size > worst[1]):
            columns = changed.reshape(-1, changed.shape[-1]).any(axis=0) if changed.ndim else np.array([True])
            names = tuple(np.array(part.columns)[columns]) if part.columns else ()
            worst = name, size, tuple(str(column) for column in names)
    return worst


def _changed(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> tuple[NDArray[np.bool_], float]:
    """Which values differ, and the largest difference relative to the size of its column."""
    finite = np.where(np.isfinite(a), np.abs(a), 0.0)
    scale = finite.max(axis=0, initial=0.0) if a.ndim > 1 else finite.max(initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.where(differs, np.abs(a - b) / scale, 0.0)
    size = np.where(np.isnan(size), np.inf, size)
    differs &= size > tolerance
    return differs, float(size.max(initial=0.0))


def _finding(case: Case, check: str, changes: Sequence[_Change], tried: str) -> Finding:
    """A leak with its evidence, or the words for what was tried in vain."""
    if not changes:
        return Finding(check, "ok", tried)
    worst = max(changes, key=lambda change: change.size)
    by = f"changed by {worst.size:.1e} of its size" if np.isfinite(worst.size) else "changed beyond measure"
    named = ", ".join(worst.assets[:3]) + (f" and {len(worst.assets) - 3} more" if len(worst.assets) > 3 else "")
    reach = max((change.reach for change in changes if change.reach is not None), default=None)
    evidence = f"{len(changes)} of {len(case.clean)} decisions changed ({tried}); on "
    evidence += f"{case.X.index[worst.row]:%Y-%m-%d} {worst.what} {by}" + (f" in {named}" if named else "")
    evidence += f"; it looks {reach} or more rows ahead" if reach else ""
    dates = tuple(case.X.index[change.row] for change in changes)
    return Finding(check, "leak", evidence, dates, worst.size, worst.assets, reach)


def _none(check: str, why: str) -> Finding:
    return Finding(check, "not applicable", why)


def _changes(case: Case, altered: Callable[[int], Answer | str], *, tolerance: float = 0.0) -> list[_Change]:
    """Decisions whose answer is another one when asked otherwise."""
    found = []
    for row, expected in case.clean.items():
        changed = difference(expected, altered(row), tolerance=tolerance)
        if changed is not None:
            found.append(_Change(row, *changed))
    return found


def _truncation(case: Case) -> Finding:
    changes = _changes(case, lambda row: case.ask(case.X.iloc[: row + 1], row), tolerance=TOLERANCE)
    return _finding(case, "truncation", changes, "when the panel ends at the decision")


def _poison(poison: str) -> Callable[[Case], Finding]:
    check = f"future {poison}"

    def run(case: Case) -> Finding:
        tolerance = _tolerance_to_gaps(case) if poison == "missing" else 0.0
        changes = _changes(case, lambda row: case.ask(case.poisoned(row, poison), row), tolerance=tolerance)
        if any(change.failed for change in changes) and _refuses(case, poison):
            changes = [change for change in changes if not change.failed]
            if not changes:
                return _none(check, f"it refuses a panel with {poison} values anywhere, not only later ones")
        if changes:
            first = changes[0]
            changes[0] = _Change(
                first.row, first.what, first.size, first.assets, _reach(case, first.row, poison, tolerance)
            )
        return _finding(case, check, changes, f"when the rows after it are {poison}")

    return run


def _tolerance_to_gaps(case: Case) -> float:
    """What sees the panel may sum in another order where any value is missing, as pandas does."""
    return TOLERANCE if case.target.sees_panel else 0.0


def _refuses(case: Case, poison: str) -> bool:
    """Whether a panel is refused that has such values in the distant past."""
    row = next(iter(case.clean))
    values = case.X.to_numpy(dtype=float, copy=True)
    values[row // 2 : row // 2 + 5] = POISONS[poison](values[row // 2 : row // 2 + 5], np.random.default_rng(case.seed))
    return isinstance(case.ask(pd.DataFrame(values, index=case.X.index, columns=case.X.columns), row), str)


def _reach(case: Case, row: int, poison: str, tolerance: float) -> int:
    """The last row after the decision that still matters, by bisection."""
    low, high = 1, len(case.X) - row  # poison from `low` on changes the decision, from `high` on there is none
    while high - low > 1:
        middle = (low + high) // 2
        got = case.ask(case.poisoned(row, poison, after=middle), row)
        low, high = (low, middle) if difference(case.clean[row], got, tolerance=tolerance) is None else (middle, high)
    return low


def _refit(case: Case) -> Finding:
    """Fit on all rows first; neither the object nor the process may remember that."""
    if case.target.kind in ("table", "returns"):
        again = _changes(case, lambda row: case.ask(case.X, row))
        return _finding(case, "refit", again, "when it has been asked about later dates before")

    def used(row: int) -> Answer | str:
        try:
            with same_seed(case.seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = case.target.make(laid_out(case.X)).fit(past(case.X, len(case.X) - 1))
        except Exception:  # what cannot be fitted on all rows has nothing to remember
            return case.clean[row]
        try:
            with same_seed(case.seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return answer_of(case.target, model, case.X, row, case.split)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    changes = _changes(case, used) or _changes(case, lambda row: case.ask(case.X, row))
    return _finding(case, "refit", changes, "when it has been fitted on later rows before, with the same seed")


def _parameters(case: Case) -> Finding:
    held = case.target.parameters
    if not held:
        return _none("parameters", "it holds no dated tables")

    def poisoned(row: int, poison: str) -> Answer | str:
        rng = np.random.default_rng([case.seed, row])
        tables = {name: _poisoned_table(table, case.X.index[row], poison, rng) for name, table in held.items()}
        return case.ask(case.X, row, case.target.given(tables))

    changes = [change for poison in POISONS for change in _changes(case, lambda row, p=poison: poisoned(row, p))]  # type: ignore[misc]
    if not changes:
        return _clairvoyance(case)
    unique = {change.row: change for change in sorted(changes, key=lambda change: change.size)}
    return _finding(case, "parameters", list(unique.values()), f"when later rows of {', '.join(held)} are poisoned")


def _clairvoyance(case: Case) -> Finding:
    """Rows of a table up to t may themselves have been made from later returns: they then go with them too well."""
    largest = 0.0
    for name, table in case.target.parameters.items():
        for ahead in (1, 5, 21):
            correlation = _correlation_with_later(table, case.X, ahead)
            largest = max(largest, abs(correlation))
            chance = 6.0 * np.sqrt(ahead / len(case.X))  # six standard errors, since sums of later returns overlap
            if abs(correlation) >= max(CLAIRVOYANT, chance):
                evidence = (
                    f"{name} correlates {correlation:.2f} with the returns of the next {ahead} row"
                    f"{'s' if ahead > 1 else ''}, which no table made before them does"
                )
                return Finding("parameters", "leak", evidence, size=abs(correlation), reach=ahead)
    tried = (
        f"when later rows of {', '.join(case.target.parameters)} are poisoned; correlation with later returns at most"
    )
    return Finding("parameters", "ok", f"{tried} {largest:.2f}")


def _correlation_with_later(table: pd.DataFrame | pd.Series, X: pd.DataFrame, ahead: int) -> float:
    """Pooled over assets of the same name, or of a series with the mean of all; 0 where there is nothing to compare."""
    if isinstance(table, pd.Series):
        table, X = table.to_frame("all"), X.mean(axis=1).to_frame("all")
    later = X.fillna(0.0).rolling(ahead).sum().shift(-ahead)
    rows, columns = table.index.intersection(later.index), table.columns.intersection(later.columns)
    numeric = table.loc[rows, columns].select_dtypes(["number", "bool"]).astype(float)
    if len(rows) < MIN_COMPARED or numeric.empty:
        return 0.0
    pairs = np.stack([numeric.to_numpy().ravel(), later.loc[rows, numeric.columns].to_numpy().ravel()])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < MIN_COMPARED or (pairs.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(pairs)[0, 1])


def _poisoned_table(table: Any, date: pd.Timestamp, poison: str, rng: np.random.Generator) -> Any:
    """A dated table with the numbers and flags of later rows poisoned."""
    frame = table.to_frame("only") if isinstance(table, pd.Series) else table.copy()
    later = frame.index > date
    for column in range(frame.shape[1]):
        values = frame.iloc[:, column]
        if pd.api.types.is_bool_dtype(values):
            changed = values.to_numpy(copy=True)
            changed[later] = ~changed[later]
        elif pd.api.types.is_numeric_dtype(values):
            changed = values.to_numpy(dtype=float, copy=True)
            changed[later] = POISONS[poison](changed[later][:, None], rng)[:, 0]
        else:
            continue
        frame.isetitem(column, changed)
    return pd.Series(frame["only"], name=table.name) if isinstance(table, pd.Series) else frame


def _gaps(case: Case) -> Finding:
    if not case.target.sees_panel:
        return _none("gaps", "it is given no later rows to fill from")
    panel = _with_gaps(case.X, list(case.clean), np.random.default_rng(case.seed))
    answers = {row: case.ask(panel, row) for row in case.clean}
    errors = [answer for answer in answers.values() if isinstance(answer, str)]
    if errors:
        return _none("gaps", f"it refuses missing values ({errors[0]})")
    holey = Case(case.target, panel, case.split, case.lag, case.horizon, case.seed, answers)  # type: ignore[arg-type]
    changes = _changes(holey, lambda row: holey.ask(panel.iloc[: row + 1], row), tolerance=TOLERANCE)
    changes = changes or _changes(holey, lambda row: holey.ask(holey.poisoned(row, "flipped"), row))
    return _finding(holey, "gaps", changes, "when values just before it are missing and those after it change")


def _with_gaps(X: pd.DataFrame, rows: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """Three in a hundred values missing, a late listing, and a third of the assets missing on the decision rows."""
    values = X.to_numpy(dtype=float, copy=True)
    n_rows, n_assets = values.shape
    values[rng.random(values.shape) < 0.03] = np.nan
    values[: n_rows // 8, 0] = np.nan
    for row in rows:
        values[row - 1 : row + 1, rng.choice(n_assets, max(1, n_assets // 3), replace=False)] = np.nan
    return pd.DataFrame(values, index=X.index, columns=X.columns)


def _survivorship(case: Case) -> Finding:
    if not case.target.sees_panel:
        return _none("survivorship", "it is given no later rows to choose a universe from")

    def ended(row: int) -> Answer | str:
        values = case.X.to_numpy(dtype=float, copy=True)
        values[row + 1 + _NEAR_ROWS :, ::3] = np.nan
        return case.ask(pd.DataFrame(values, index=case.X.index, columns=case.X.columns), row)

    changes = _changes(case, ended, tolerance=_tolerance_to_gaps(case))
    if any(change.failed for change in changes) and _refuses(case, "missing"):
        changes = [change for change in changes if not change.failed]
        if not changes:
            return _none("survivorship", "it refuses missing values anywhere, not only later ones")
    return _finding(case, "survivorship", changes, f"when every third asset ends {_NEAR_ROWS} rows later")


def _same_row(case: Case) -> Finding:
    """Second difference of a strategy return in the returns of its own row: zero for weights set before."""
    if case.target.kind != "returns":
        return _none("same row", "it gives decisions, not strategy returns")
    rng = np.random.default_rng(case.seed)
    changes: list[_Change] = []
    n_tried = 0
    for row in sorted({*case.clean, *(decided + 1 for decided in case.clean)}):
        spread = float(np.nanstd(case.X.to_numpy(dtype=float)))
        move = 3 * spread * rng.standard_normal(case.X.shape[1])
        answers = [case.ask(_moved(case.X, row, step * move), row) for step in (-1.0, 0.0, 1.0)]
        if any(isinstance(answer, str) for answer in answers):
            continue
        n_tried += 1
        down, still, up = (answer["returns"].values[-1] for answer in answers if not isinstance(answer, str))
        bend = np.abs(up + down - 2 * still) / max(spread, np.abs(still).max())
        if float(bend.max()) > TOLERANCE:
            changes.append(_Change(row, "the return of its own row", float(bend.max()), ()))
    if changes:
        tried = "it trades at the close that decided; or it is a signal, which is to be given as a table"
        return _finding(case, "same row", changes, tried)
    if not n_tried:
        return _none("same row", "it fails when the returns of one row change")
    return Finding("same row", "ok", "the return of a row is linear in the returns of that row")


def _moved(X: pd.DataFrame, row: int, move: NDArray[np.float64]) -> pd.DataFrame:
    values = X.to_numpy(dtype=float, copy=True)
    values[row] += move
    return pd.DataFrame(values, index=X.index, columns=X.columns)


def _trained_through(case: Case) -> Finding:
    check = "trained through"
    if case.target.kind in ("table", "returns"):
        return _none(check, "a function of a panel carries no weights")
    said: dict[int, pd.Timestamp] = {}
    known = False
    for row in case.clean:
        model = fitted(case.target, case.X, row, split=case.split, seed=case.seed)
        for date in _dates_seen(model):
            known = True
            if date is not None and date > case.X.index[row]:
                said[row] = max(date, said.get(row, date))
    if not known:
        return _none(check, "it carries no weights with a date (trained_through_)")
    if not said:
        return Finding(check, "ok", "the weights in use have seen nothing after any decision")
    row, date = next(iter(said.items()))
    first = case.X.index[min(row + 1 + case.lag, len(case.X) - 1)]
    evidence = (
        f"{len(said)} of {len(case.clean)} decisions use weights that have seen later rows: trained through "
        f"{date:%Y-%m-%d}, decided on {case.X.index[row]:%Y-%m-%d}, earning from {first:%Y-%m-%d}"
    )
    return Finding(check, "leak", evidence, tuple(case.X.index[list(said)]))


def _dates_seen(model: Any, depth: int = 4) -> Iterator[pd.Timestamp | None]:
    """`trained_through_` of a fitted model and of the fitted models within it."""
    if hasattr(model, "trained_through_"):
        seen = model.trained_through_
        yield None if seen is None else pd.Timestamp(seen)
    if depth:
        for value in vars(model).values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = inner[1] if isinstance(inner, tuple) and len(inner) == 2 else inner
                if isinstance(inner, BaseEstimator):
                    yield from _dates_seen(inner, depth - 1)


def _gradients(case: Case) -> Finding:
    check = "gradients"
    if case.target.kind in ("table", "returns"):
        return _none(check, "a function of a panel offers none")
    row = next(iter(case.clean))
    model = fitted(case.target, case.X, row, split=case.split, seed=case.seed)
    if not hasattr(model, "input_gradients"):
        return _none(check, "it offers no input_gradients(X)")
    rows = list(case.clean) if "rows" in inspect.signature(model.input_gradients).parameters else [row]
    panel = case.X.iloc[: max(rows) + 1 + LATER_ROWS]
    try:
        gradients, decisions = model_gradients(model, panel, rows)
    except EigenfolioError as error:
        return _none(check, str(error))
    expected = (len(decisions), len(panel), panel.shape[1])
    if gradients.ndim != 3 or gradients.shape[:2] != expected[:2]:
        return _none(check, f"input_gradients(X) has shape {gradients.shape}, not decision x row x asset {expected}")
    found = dependence(gradients, decisions)
    if not found.later:
        tried = f"of {len(decisions)} decisions by later rows are exactly zero"
        return Finding(check, "ok", f"{tried}; the oldest row that moves one lies {found.back} rows back")
    evidence = (
        f"the decision of {panel.index[found.decision]:%Y-%m-%d} moves with the returns of "
        f"{panel.index[found.seen]:%Y-%m-%d} ({found.later:.1e} of the largest gradient)"
    )
    return Finding(check, "leak", evidence, (panel.index[found.decision],), found.later, (), found.ahead)


def _labels(case: Case) -> Finding:
    check = "label overlap"
    if case.target.kind in ("table", "returns"):
        return _none(check, "a function of a panel holds no splitter")
    model = case.target.make(laid_out(case.X))
    given = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    splitters = {
        name: value for name, value in given.items() if hasattr(value, "split") and hasattr(value, "get_n_splits")
    }
    for name, splitter in splitters.items():
        finding = splitter_finding(splitter, case.X, case.horizon)
        if finding.status == "leak":
            return Finding(check, "leak", f"{name}: {finding.evidence}", finding.dates)
    if splitters:
        return Finding(
            check, "ok", f"{', '.join(splitters)}: no label of {case.horizon} rows reaches into a tested row"
        )
    return _none(check, "it holds no splitter")


def splitter_finding(splitter: Any, X: pd.DataFrame, horizon: int) -> Finding:
    found = label_overlap(splitter, X, horizon=horizon)
    words = f"labels of {horizon} row{'s' if horizon > 1 else ''}"
    if not found.n_overlapping:
        return Finding("label overlap", "ok", f"{words}, {found.n_splits} pairs of train and test: none overlaps")
    evidence = (
        f"{words}: in {found.n_overlapping} of {found.n_splits} pairs of train and test {len(found.rows)} training "
        "rows carry labels that reach into tested rows; purge so many rows"
    )
    return Finding("label overlap", "leak", evidence, tuple(X.index[found.rows[:10]]))


def _walk_forward(case: Case) -> Finding:
    check = "walk-forward"
    if case.target.sees_panel or case.target.kind in ("table", "returns"):
        return _none(check, "the engine takes estimators that see no panel of their own")
    model = case.target.make(case.X)
    if not isinstance(model, (BaseCovariance, BaseOptimization)):
        return _none(check, "the engine takes covariances and portfolios")
    rows = list(case.clean)[-2:]
    try:
        with same_seed(case.seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check_no_lookahead(
                model, case.X, rows=rows, lag=case.lag, rng=np.random.default_rng([case.seed, 1])
            )
    except EigenfolioError as error:
        return _none(check, str(error))
    tried = f"decisions and returns of {len(rows)} dates through the engine, with lag={case.lag}"
    if report.clean:
        return Finding(check, "ok", tried)
    first = report.leaks[0]
    when = f"rows after {first.poisoned_after:%Y-%m-%d} were {first.poison}"
    evidence = f"{first.what} of {first.date:%Y-%m-%d} changed when {when}"
    return Finding(check, "leak", evidence, tuple(sorted({leak.date for leak in report.leaks})))


CHECKS: tuple[Callable[[Case], Finding], ...] = (
    _truncation,
    *(_poison(poison) for poison in POISONS),
    _refit,
    _parameters,
    _gaps,
    _survivorship,
    _same_row,
    _trained_through,
    _gradients,
    _labels,
    _walk_forward,
)
