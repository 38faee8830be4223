"""Walk-forward evaluation: decide on the past, hold, let weights drift, trade at a cost, repeat.

At decision row t a model sees ``returns.iloc[: t + 1]`` of the eligible assets and nothing later. Its
weights are bought at the close before `start` (the first row they earn, t + 1 + lag), and left alone
until `stop`, where the next decision takes over; old weights therefore earn, and drift through, the
rows of the lag. Trades go from the drifted weights to the target; their cost is charged once, on the
first row held. Holdings that are no longer eligible are sold at the next rebalance; a missing return
while held is zero.

A portfolio model whose `needs_previous_weights` says so (a limit on turnover, costs inside) decides one
date after the other, and is given as `previous_weights` what its own last book has become by row t. The
trade is made `lag` rows later, from weights that have drifted on by then: a limit on turnover binds what
is known at the decision, and the trade itself may differ from it by the drift of those rows.

Why not skfolio's engines: they carry learned models (tests/evaluation/test_skfolio_engines.py sends
one through every engine and finds the weights, costs and returns of a naive loop), and `WalkForward`
still plans the dates. What they cannot do, each shown there by a test:

1. `transaction_costs` is charged on *every* row of a test window, not once per rebalance.
2. A routed two-dimensional array must be (n_observations, n_assets): its columns are sliced with the
   assets, so a table of market series would be cut up or refused.
3. Comparators that refuse NaN (HRP, inverse volatility) fail on a panel with late listings, and no
   set of eligible assets per date can be given.
4. Drift makes the path sequential, so the dates of one model cannot run in parallel.
5. `cross_val_predict` drops the fitted estimators, and with them the learned intensities.
6. A covariance is fitted once per portfolio, so two books cost two fits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import clone

from eigenfolio.constraints import Constraints
from eigenfolio.costs import hold, proportional_cost, turnover
from eigenfolio.errors import DataError, ParameterError, RangeWarning
from eigenfolio.models.minimum_variance import minimum_variance_of
from eigenfolio.parallel import run_tasks

if TYPE_CHECKING:
    from eigenfolio.data import Decision

__all__ = ["OWN_BOOK", "Failure", "Track", "WalkForward", "walk_forward"]

OWN_BOOK = "own"
"""Book under which a portfolio model is judged: its own weights, no constraint added."""

MAX_FAILURE_SHARE = 0.10
"""A track that failed on a larger share of its dates is not compared."""


@dataclass(frozen=True)
class Failure:
    """One decision that a model could not make; its track kept the drifted weights it had.

    Attributes
    ----------
    model, book : str
        Track that failed.
    date : pandas.Timestamp
        Decision date.
    error : str
        Type and message of the error.
    """

    model: str
    book: str
    date: pd.Timestamp
    error: str


@dataclass(frozen=True)
class Track:
    """What one model did in one book.

    Attributes
    ----------
    model, book : str
        Names given by the caller; a portfolio model has the book ``"own"``.
    weights : DataFrame of shape (n_decisions, n_assets)
        Weights from the first row held, by decision date; 0 where not held.
    gross_returns, returns : Series
        Simple returns per earning day, before and after costs. A track that loses all its capital returns -1
        on that day and 0 from then on, without trades; its weights then are what the model wanted.
    turnover : Series
        Half the sum of absolute trades, by decision date; the first is the entry from cash.
    gross_exposure : Series
        Sum of absolute weights, by decision date.
    cost : Series
        Cost charged on the first row held, fraction of net asset value, by decision date.
    """

    model: str
    book: str
    weights: pd.DataFrame
    gross_returns: pd.Series
    returns: pd.Series
    turnover: pd.Series
    gross_exposure: pd.Series
    cost: pd.Series


@dataclass(frozen=True)
class WalkForward:
    """Result of a walk-forward evaluation.

    Attributes
    ----------
    tracks : dict of (model, book) to Track
        In the order of the models, then of the books.
    diagnostics : dict of model to DataFrame
        Decision date x scalar reported by the fitted model (an entry of its ``diagnostics_``, else
        ``shrinkage_`` when that is a number); dates on which the fit failed are absent, and so are
        models that report nothing.
    windows : Series of int
        Number of the holding window each earning day belongs to, 0 first.
    failures : tuple of Failure
        In the order of the decisions.
    """

    tracks: dict[tuple[str, str], Track]
    diagnostics: dict[str, pd.DataFrame]
    windows: pd.Series
    failures: tuple[Failure, ...]

    @property
    def books(self) -> tuple[str, ...]:
        """Names of the books, in order of first appearance."""
        return tuple(dict.fromkeys(book for _, book in self.tracks))

    @property
    def excluded(self) -> dict[tuple[str, str], str]:
        """Tracks that must not be compared, each with the reason in words."""
        reasons = {}
        for key, track in self.tracks.items():
            failed = [failure for failure in self.failures if (failure.model, failure.book) == key]
            lost = track.returns.index[track.returns.to_numpy() <= -1.0]
            if len(lost):
                reasons[key] = f"lost all its capital on {lost[0]:%Y-%m-%d}"
            elif len(failed) > MAX_FAILURE_SHARE * len(track.weights):
                reasons[key] = (
                    f"failed on {len(failed)} of {len(track.weights)} dates, first on "
                    f"{failed[0].date:%Y-%m-%d}: {failed[0].error}"
                )
        return reasons


@dataclass(frozen=True)
class _Decided:
    """What all models decided at one row: weights of the assets seen, diagnostics, errors."""

    weights: dict[tuple[str, str], NDArray[np.float64]]
    diagnostics: dict[str, dict[str, float]]
    errors: dict[tuple[str, str], str]

    def joined(self, other: _Decided) -> _Decided:
        return _Decided(self.weights | other.weights, self.diagnostics | other.diagnostics, self.errors | other.errors)


def walk_forward(
    models: Mapping[str, BaseCovariance | BaseOptimization],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    *,
    books: Mapping[str, Constraints],
    eligible: pd.DataFrame | None = None,
    cost_bps: float = 10.0,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> WalkForward:
    """Judge models side by side, out of sample, on one panel.

    A covariance model is fitted once per date and judged by its minimum-variance portfolio in every
    book; a portfolio model is judged by its own weights, under the book ``"own"``. Models are cloned
    before each fit and see a read-only copy of the past. A decision that fails is recorded, and its
    track keeps the weights it had (cash before the first success). A portfolio model that needs its
    previous weights gets those of its own book from the second decision on, by asset name.

    Parameters
    ----------
    models : mapping of str to BaseCovariance or BaseOptimization
        Unfitted estimators by name.
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns with an increasing DatetimeIndex; NaN where missing.
    decisions : sequence of Decision
        Plan from `eigenfolio.data.plan_decisions`: decision row, first earning row, end of the window.
        Windows follow each other without a gap.
    books : mapping of str to Constraints
        Constraints of the minimum-variance portfolios, by name. May be empty without covariance models.
    eligible : DataFrame of bool, optional
        Decision dates x assets: what each decision may see and hold. By default all assets; a model
        then finds the inactive ones itself.
    cost_bps : float >= 0
        Basis points per unit traded.
    n_jobs : int
        Processes over the dates, and over the models that need their previous weights; the result has
        the same bits for any number.
    on_done : callable, optional
        Called once per finished decision date, in order; models that need their previous weights follow.

    Returns
    -------
    WalkForward
        Tracks, diagnostics, windows and failures.

    Raises
    ------
    DataError
        If `returns` or `eligible` cannot be used as they are.
    ParameterError
        If models, books, decisions or costs do not fit together.

    Examples
    --------
    >>> from skfolio.moments import LedoitWolf
    >>> from skfolio.optimization import EqualWeighted
    >>> from eigenfolio.constraints import LONG_ONLY
    >>> from eigenfolio.data import plan_decisions
    >>> index = pd.bdate_range("2020-01-01", periods=300, name="date")
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((300, 3)), index=index, columns=list("ABC"))
    >>> result = walk_forward(
    ...     {"ledoit_wolf": LedoitWolf(), "equal_weight": EqualWeighted()},
    ...     X,
    ...     plan_decisions(X.index, min_history=200),
    ...     books={"long-only": LONG_ONLY},
    ... )
    >>> list(result.tracks)
    [('ledoit_wolf', 'long-only'), ('equal_weight', 'own')]
    """
    tracks_wanted = _track_names(models, books)
    values = _check_returns(returns)
    _check_decisions(decisions, returns)
    columns = _eligible_columns(eligible, returns, decisions)
    proportional_cost([], cost_bps=cost_bps)
    following = {name: model for name, model in models.items() if _follows(model)}
    apart = {name: model for name, model in models.items() if name not in following}
    # One task per date: joblib memory-maps `values`, so a task carries the models and little else.
    tasks = [
        (apart, dict(books), values, returns.index, returns.columns, decision.row, seen)
        for decision, seen in zip(decisions, columns, strict=True)
    ]
    decided = run_tasks(_decide, tasks, n_jobs=n_jobs, on_done=on_done)
    one_by_one = [
        (name, model, values, returns.index, returns.columns, list(decisions), columns)
        for name, model in following.items()
    ]
    for outcomes in run_tasks(_decide_in_turn, one_by_one, n_jobs=n_jobs):
        decided = [outcome.joined(more) for outcome, more in zip(decided, outcomes, strict=True)]

    dates = pd.DatetimeIndex([decision.date for decision in decisions], name=returns.index.name)
    failures = tuple(
        Failure(model, book, date, outcome.errors[model, book])
        for date, outcome in zip(dates, decided, strict=True)
        for model, book in tracks_wanted
        if (model, book) in outcome.errors
    )
    tracks = {}
    for key in tracks_wanted:
        targets = [outcome.weights.get(key) for outcome in decided]
        tracks[key] = _track(key, targets, columns, values, returns, decisions, dates, cost_bps)
    first, last = decisions[0].start, decisions[-1].stop
    lengths = [decision.stop - decision.start for decision in decisions]
    windows = pd.Series(np.repeat(np.arange(len(decisions)), lengths), index=returns.index[first:last])
    return WalkForward(tracks, _diagnostics(models, decided, dates), windows.rename("window"), failures)


def _past(values: NDArray[np.float64], row: int, seen: NDArray[np.intp]) -> NDArray[np.float64]:
    """The past as all models may see it: a copy, so no view leads back to later rows, and read-only."""
    past = values[: row + 1].take(seen, axis=1)  # (row + 1, n_seen)
    past.flags.writeable = False
    return past


def _decide(
    models: dict[str, Any],
    books: dict[str, Constraints],
    values: NDArray[np.float64],
    index: pd.DatetimeIndex,
    names: pd.Index,
    row: int,
    seen: NDArray[np.intp],
) -> _Decided:
    """Fit every model on the rows up to `row` and turn it into weights, catching what fails."""
    outcome = _Decided({}, {}, {})
    past = _past(values, row, seen)
    for name, model in models.items():
        is_portfolio = isinstance(model, BaseOptimization)
        model_books = [OWN_BOOK] if is_portfolio else list(books)
        X = pd.DataFrame(past, index=index[: len(past)], columns=names[seen], copy=False)  # labels of its own
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RangeWarning)  # its number is among the diagnostics of every date
                fitted = clone(model).fit(X)
            scalars = _scalars(fitted)
        except Exception as error:  # a failed fold is a recorded result
            outcome.errors.update({(name, book): _words(error) for book in model_books})
            continue
        if scalars:
            outcome.diagnostics[name] = scalars
        for book in model_books:
            try:
                if is_portfolio:
                    weights = fitted.weights_
                else:
                    weights = minimum_variance_of(fitted, books[book])
                outcome.weights[name, book] = _check_weights(weights, len(seen), fitted)
            except Exception as error:  # a failed fold is a recorded result
                outcome.errors[name, book] = _words(error)
    return outcome


def _follows(model: Any) -> bool:
    """Whether a decision of the model depends on what it holds."""
    return isinstance(model, BaseOptimization) and bool(model.needs_previous_weights)


def _decide_in_turn(
    name: str,
    model: BaseOptimization,
    values: NDArray[np.float64],
    index: pd.DatetimeIndex,
    names: pd.Index,
    decisions: Sequence[Decision],
    columns: Sequence[NDArray[np.intp]],
) -> list[_Decided]:
    """Decide one date after the other, each told what the last book has become by its row and no later."""
    outcomes = []
    book, start = None, 0  # weights on the first row of the last window, once there are some
    for decision, seen in zip(decisions, columns, strict=True):
        asked = model
        if book is not None:
            known = hold(book, values[start : decision.row + 1])[1]
            asked = clone(model).set_params(previous_weights=_named(known, names, seen))
            book = hold(book, values[start : decision.start])[1]  # kept as it is where the decision fails
        outcome = _decide({name: asked}, {}, values, index, names, decision.row, seen)
        target = outcome.weights.get((name, OWN_BOOK))
        if target is not None:
            book = np.zeros(len(names))
            book[seen] = target
        start = decision.start
        outcomes.append(outcome)
    return outcomes


def _named(held: NDArray[np.float64], names: pd.Index, seen: NDArray[np.intp]) -> Any:
    """What is held by name, of assets no longer seen too; without names, of the columns seen."""
    if not all(isinstance(name, str) for name in names):
        return held[seen]
    return {name: float(weight) for name, weight in zip(names, held, strict=True) if weight != 0.0}


def _track(
    key: tuple[str, str],
    targets: Sequence[NDArray[np.float64] | None],
    columns: Sequence[NDArray[np.intp]],
    values: NDArray[np.float64],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    dates: pd.DatetimeIndex,
    cost_bps: float,
) -> Track:
    """Hold the targets one after the other; None keeps what is held."""
    n_decisions, n_assets = len(decisions), values.shape[1]
    weights = np.zeros((n_decisions, n_assets))
    traded, cost = np.zeros(n_decisions), np.zeros(n_decisions)
    first, last = decisions[0].start, decisions[-1].stop
    gross = np.zeros(last - first)
    held = np.zeros(n_assets)  # drifted weights; cash at first
    lost = False
    for k, (decision, target) in enumerate(zip(decisions, targets, strict=True)):
        weights[k] = held
        if target is not None:
            weights[k] = 0.0
            weights[k, columns[k]] = target
        if lost:
            continue
        traded[k] = turnover(weights[k] - held)
        cost[k] = proportional_cost(weights[k] - held, cost_bps=cost_bps)
        rows = slice(decision.start - first, decision.stop - first)
        gross[rows], held = hold(weights[k], values[decision.start : decision.stop])
        lost = bool((gross[rows] <= -1.0).any())
    net = gross.copy()
    net[[decision.start - first for decision in decisions]] -= cost
    net = np.maximum(net, -1.0)  # no more than all can be lost
    days = returns.index[first:last]
    return Track(
        model=key[0],
        book=key[1],
        weights=pd.DataFrame(weights, index=dates, columns=returns.columns),
        gross_returns=pd.Series(gross, index=days, name="gross_return"),
        returns=pd.Series(net, index=days, name="return"),
        turnover=pd.Series(traded, index=dates, name="turnover"),
        gross_exposure=pd.Series(np.abs(weights).sum(axis=1), index=dates, name="gross_exposure"),
        cost=pd.Series(cost, index=dates, name="cost"),
    )


def _scalars(fitted: Any) -> dict[str, float]:
    """What a fitted model reports about itself: `diagnostics_`, else a scalar `shrinkage_`."""
    if hasattr(fitted, "diagnostics_"):
        return {name: float(value) for name, value in fitted.diagnostics_.items()}
    shrinkage = getattr(fitted, "shrinkage_", None)
    return {"shrinkage": float(shrinkage)} if isinstance(shrinkage, Real) else {}


def _diagnostics(
    models: Mapping[str, Any], decided: Sequence[_Decided], dates: pd.DatetimeIndex
) -> dict[str, pd.DataFrame]:
    frames = {}
    for name in models:
        rows = {
            date: outcome.diagnostics[name]
            for date, outcome in zip(dates, decided, strict=True)
            if name in outcome.diagnostics
        }
        if rows:
            frames[name] = pd.DataFrame(list(rows.values()), index=pd.DatetimeIndex(list(rows), name=dates.name))
    return frames


def _words(error: Exception) -> str:
    """Type and first line of an error."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def _check_weights(weights: Any, n_seen: int, fitted: Any) -> NDArray[np.float64]:
    if weights is None:
        raise DataError(f"no weights: {getattr(fitted, 'error_', None) or 'the model gave no reason'}")
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (n_seen,):
        raise DataError(f"weights must have shape ({n_seen},), got {weights.shape}")
    if not np.isfinite(weights).all():
        raise DataError(f"{int((~np.isfinite(weights)).sum())} of {n_seen} weights are not finite")
    return weights


def _track_names(models: Mapping[str, Any], books: Mapping[str, Constraints]) -> list[tuple[str, str]]:
    if not models:
        raise ParameterError("models is empty; give at least one named estimator")
    if OWN_BOOK in books:
        raise ParameterError(f"the book name {OWN_BOOK!r} is kept for portfolio models; rename that book")
    names: list[tuple[str, str]] = []
    for name, model in models.items():
        if isinstance(model, BaseOptimization):
            names.append((name, OWN_BOOK))
        elif isinstance(model, BaseCovariance):
            if not books:
                raise ParameterError(f"model {name!r} is a covariance and needs a book; books is empty")
            names.extend((name, book) for book in books)
        else:
            raise ParameterError(
                f"model {name!r} must be a skfolio BaseCovariance or BaseOptimization, got {type(model).__name__}"
            )
    return names


def _check_returns(returns: pd.DataFrame) -> NDArray[np.float64]:
    if not isinstance(returns, pd.DataFrame) or not isinstance(returns.index, pd.DatetimeIndex):
        raise DataError("returns must be a DataFrame with a DatetimeIndex, so that dates and names travel along")
    if not returns.index.is_monotonic_increasing or not returns.index.is_unique:
        raise DataError("the dates of returns must increase without repetition; sort and deduplicate the panel")
    if not returns.columns.is_unique:
        raise DataError(f"asset names repeat: {sorted(set(returns.columns[returns.columns.duplicated()]))[:5]}")
    values = np.ascontiguousarray(returns.to_numpy(dtype=float))
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise DataError(
            f"returns hold an infinite value, first for {returns.columns[column]} on "
            f"{returns.index[row]:%Y-%m-%d}; clean the panel first"
        )
    return values


def _check_decisions(decisions: Sequence[Decision], returns: pd.DataFrame) -> None:
    if not decisions:
        raise ParameterError("decisions is empty; the panel may be shorter than min_history, or lag too long")
    previous_stop = decisions[0].start
    for decision in decisions:
        if not 0 <= decision.row < decision.start < decision.stop <= len(returns):
            raise ParameterError(
                f"decision {decision} needs 0 <= row < start < stop <= {len(returns)} rows of returns; "
                f"plan decisions on the same index"
            )
        if decision.date != returns.index[decision.row]:
            raise ParameterError(
                f"decision {decision} is dated {decision.date}, but that row is "
                f"{returns.index[decision.row]}; plan decisions on the same index"
            )
        if decision.start != previous_stop:
            raise ParameterError(
                f"decision {decision} starts at row {decision.start}, but the window before it "
                f"stops at {previous_stop}; windows must follow each other"
            )
        previous_stop = decision.stop


def _eligible_columns(
    eligible: pd.DataFrame | None, returns: pd.DataFrame, decisions: Sequence[Decision]
) -> list[NDArray[np.intp]]:
    """Positions of the assets each decision may see."""
    if eligible is None:
        return [np.arange(returns.shape[1])] * len(decisions)
    if not eligible.columns.equals(returns.columns):
        raise DataError("eligible must have the same asset names as returns, in the same order")
    missing = [decision.date for decision in decisions if decision.date not in eligible.index]
    if missing:
        raise DataError(f"eligible has no row for {len(missing)} decision dates, first {missing[0]:%Y-%m-%d}")
    allowed = eligible.loc[[decision.date for decision in decisions]].to_numpy()
    if allowed.dtype != np.bool_:
        raise DataError(f"eligible must hold booleans, got {allowed.dtype}")
    empty = np.flatnonzero(~allowed.any(axis=1))
    if empty.size:
        raise DataError(
            f"no asset is eligible on {decisions[empty[0]].date:%Y-%m-%d}; loosen the coverage rule or start later"
        )
    return [np.flatnonzero(row) for row in allowed]
