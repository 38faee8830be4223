"""Protocols that judge models on many paths: one function each, one result for all.

    walk_forward_paths    decide on the past, hold, go on: one path, the only one that could have been lived
    combinatorial_paths   every choice of test folds, trained on the folds around them: several histories [1]_
    randomized_paths      walk-forwards on random subsets of assets over random spans [2]_
    seed_paths            walk-forwards of the same model under several seeds

The engines and splitters are skfolio's (`cross_val_predict`, `CombinatorialPurgedCV`, `MultipleRandomizedCV`) and the
walk-forward of this room; weights drift between rebalances, and costs are charged once, from drifted to target weights,
on the first row held. In combinatorial paths each test fold is bought from cash.

Combinatorial paths train on rows after the test rows. That is their idea, and no look-ahead for a model that learns
from the rows it is given; but weights that were trained elsewhere, up to a date, may have seen the test rows, and do
not belong there. A model with a lookback reads the last of its training rows alone, so many choices of folds show it
the same window and its paths lie close together; that is no sign of certainty.

References
----------
.. [1] M. Lopez de Prado (2018). Advances in Financial Machine Learning, chapter 12. Wiley.
.. [2] D. Palomar (2025). Portfolio Optimization: Theory and Application, chapter 8. Cambridge University Press.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from skfolio.model_selection import CombinatorialPurgedCV, MultipleRandomizedCV, WalkForward, cross_val_predict
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import clone

from eigenfolio.constraints import LONG_ONLY, Constraints
from eigenfolio.costs import proportional_cost
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparators import as_portfolios
from eigenfolio.evaluation.path_summary import Paths, summarise_paths
from eigenfolio.evaluation.walk_forward import walk_forward

if TYPE_CHECKING:
    from eigenfolio.data import Decision

__all__ = ["combinatorial_paths", "randomized_paths", "seed_paths", "walk_forward_paths"]

Model: TypeAlias = BaseCovariance | BaseOptimization


def walk_forward_paths(
    models: Mapping[str, Model],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    *,
    rng: np.random.Generator,
    book: Constraints = LONG_ONLY,
    eligible: pd.DataFrame | None = None,
    cost_bps: float = 10.0,
    n_jobs: int = 1,
    **options: Any,
) -> Paths:
    """The one path of a walk-forward, with intervals.

    Parameters
    ----------
    models, returns, decisions, eligible, cost_bps, n_jobs
        As in `eigenfolio.evaluation.walk_forward`.
    rng : numpy.random.Generator
        Draws the blocks of the intervals.
    book : Constraints
        Of the minimum-variance portfolios of covariance models.
    **options
        `reference`, `periods_per_year`, `n_bootstrap`, `confidence`; see `summarise_paths`.

    Returns
    -------
    Paths
        Models that lost all or failed on more than a tenth of the dates are among the failures.

    Examples
    --------
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.models import EqualWeight, InverseVolatility
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2019-01-01", periods=400)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((400, 4)), index=days, columns=list("ABCD"))
    >>> models = {"even": EqualWeight(), "inverse": InverseVolatility(lookback=60)}
    >>> done = walk_forward_paths(models, X, plan_decisions(days, min_history=252), rng=rng)
    >>> done.against["model"].unique().tolist(), done.paths["even"].shape[1]
    (['inverse'], 1)
    """
    frames, costs, failures = _walked({"only": models}, returns, decisions, book, eligible, cost_bps, n_jobs)
    return summarise_paths("walk-forward", frames, costs, rng=rng, failures=failures, **options)


def seed_paths(
    models: Mapping[str, Model | Callable[[int], Model]],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    *,
    seeds: Sequence[int],
    rng: np.random.Generator,
    book: Constraints = LONG_ONLY,
    eligible: pd.DataFrame | None = None,
    cost_bps: float = 10.0,
    n_jobs: int = 1,
    **options: Any,
) -> Paths:
    """Walk-forwards of the same models under several seeds.

    Parameters
    ----------
    models : mapping of str to estimator or function
        A function of the seed gives the estimator of that seed (bundles trained with it, say). An estimator with a
        parameter `random_state` is cloned with the seed in it; any other has no seed, and its path is the same for all.
    returns, decisions, eligible, cost_bps, n_jobs
        As in `eigenfolio.evaluation.walk_forward`.
    seeds : sequence of int
        Different ones, at least two.
    rng, book, **options
        As in `walk_forward_paths`.

    Returns
    -------
    Paths
        The paths are named by seed; their spread is what the seed alone decides.

    Raises
    ------
    ParameterError
        If there are fewer than two seeds or one repeats.

    Examples
    --------
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.models import EqualWeight
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2019-01-01", periods=400)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((400, 4)), index=days, columns=list("ABCD"))
    >>> plan = plan_decisions(days, min_history=252)
    >>> done = seed_paths({"even": EqualWeight()}, X, plan, seeds=(1, 2), rng=rng)
    >>> done.paths["even"].columns.tolist(), bool((done.paths["even"][1] == done.paths["even"][2]).all())
    ([1, 2], True)
    """
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ParameterError(f"seeds must be at least two different ones, got {list(seeds)}")
    by_seed = {seed: {name: _seeded(model, seed) for name, model in models.items()} for seed in seeds}
    frames, costs, failures = _walked(by_seed, returns, decisions, book, eligible, cost_bps, n_jobs)
    words = f"walk-forward under {len(seeds)} seeds"
    return summarise_paths(words, frames, costs, rng=rng, failures=failures, **options)


def combinatorial_paths(
    models: Mapping[str, Model],
    returns: pd.DataFrame,
    *,
    rng: np.random.Generator,
    book: Constraints = LONG_ONLY,
    n_folds: int = 8,
    n_test_folds: int = 2,
    purge: int = 1,
    embargo: int = 21,
    cost_bps: float = 10.0,
    n_jobs: int = 1,
    **options: Any,
) -> Paths:
    """Every choice of test folds, put together to paths over the whole panel.

    Parameters
    ----------
    models : mapping of str to estimator
        They may use the rows they are given only, see above.
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns.
    rng : numpy.random.Generator
        Draws the blocks of the intervals.
    book : Constraints
        Of the minimum-variance portfolios of covariance models.
    n_folds, n_test_folds : int
        Folds in time, and how many of them are tested at once; 8 and 2 make 28 fits and 7 paths.
    purge : int
        Rows dropped from training on both sides of a test fold.
    embargo : int
        Rows dropped from training after a test fold, in addition.
    cost_bps : float >= 0
        Basis points per unit traded.
    n_jobs : int
        Processes over the fits of a model.
    **options
        `reference`, `periods_per_year`, `n_bootstrap`, `confidence`; see `summarise_paths`.

    Returns
    -------
    Paths

    Raises
    ------
    ParameterError
        If the folds cannot be made.

    Examples
    --------
    >>> from eigenfolio.models import EqualWeight
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2019-01-01", periods=400)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((400, 4)), index=days, columns=list("ABCD"))
    >>> combinatorial_paths({"even": EqualWeight()}, X, rng=rng, n_folds=5).paths["even"].shape
    (400, 4)
    """
    try:
        splitter = CombinatorialPurgedCV(n_folds, n_test_folds, purged_size=purge, embargo_size=embargo)
        next(splitter.split(returns))
    except ValueError as error:
        raise ParameterError(f"combinatorial folds: {error}") from error
    frames, costs, failures = _engine(models, returns, splitter, book, cost_bps, n_jobs)
    words = f"combinatorial purged, {n_folds} folds, {n_test_folds} tested at once"
    return summarise_paths(words, frames, costs, rng=rng, failures=failures, **options)


def randomized_paths(
    models: Mapping[str, Model],
    returns: pd.DataFrame,
    *,
    rng: np.random.Generator,
    seed: int = 0,
    book: Constraints = LONG_ONLY,
    n_paths: int = 20,
    n_assets: int | None = None,
    n_rows: int | None = None,
    train_size: int = 378,
    test_size: int = 21,
    lag: int = 1,
    cost_bps: float = 10.0,
    n_jobs: int = 1,
    **options: Any,
) -> Paths:
    """Walk-forwards on random subsets of assets over random spans.

    Parameters
    ----------
    models : mapping of str to estimator
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns.
    rng : numpy.random.Generator
        Draws the blocks of the intervals.
    seed : int
        Draws subsets and spans.
    book : Constraints
        Of the minimum-variance portfolios of covariance models.
    n_paths : int
        Subsets, each with a span of its own; at least two.
    n_assets : int, optional
        Assets of a subset; half of them by default.
    n_rows : int, optional
        Rows of a span, training included; three years of tests by default, or all rows where there are fewer.
    train_size, test_size : int
        Rows a decision sees at most, and rows it is held.
    lag : int
        Rows between a decision and the first row it may earn, less one.
    cost_bps : float >= 0
        Basis points per unit traded.
    n_jobs : int
        Processes over the fits of a model.
    **options
        `reference`, `periods_per_year`, `n_bootstrap`, `confidence`; see `summarise_paths`.

    Returns
    -------
    Paths

    Raises
    ------
    ParameterError
        If subsets or spans cannot be drawn.

    Examples
    --------
    >>> from eigenfolio.models import EqualWeight
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2019-01-01", periods=400)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((400, 6)), index=days, columns=list("ABCDEF"))
    >>> done = randomized_paths({"even": EqualWeight()}, X, rng=rng, n_paths=3, n_rows=200, train_size=100)
    >>> done.paths["even"].notna().sum().tolist()
    [84, 84, 84]
    """
    span = min(n_rows or train_size + lag + 756, len(returns))
    subset = n_assets or max(1, returns.shape[1] // 2)
    steps = WalkForward(test_size=test_size, train_size=train_size, purged_size=lag)
    splitter = MultipleRandomizedCV(steps, n_paths, subset, window_size=span, random_state=seed)
    try:
        next(splitter.split(returns))
    except (ValueError, StopIteration) as error:
        why = str(error) or f"{span} rows hold no training of {train_size} and test of {test_size} rows"
        raise ParameterError(f"randomized paths: {why}") from error
    frames, costs, failures = _engine(models, returns, splitter, book, cost_bps, n_jobs)
    words = f"{n_paths} walk-forwards on {subset} of {returns.shape[1]} assets over {span} rows"
    return summarise_paths(words, frames, costs, rng=rng, failures=failures, **options)


_Walked = tuple[dict[str, pd.DataFrame], dict[str, pd.Series], dict[str, str]]
"""Net returns by model, days x paths; sum of costs by model and path; reasons of failed models."""


def _walked(
    by_path: Mapping[Any, Mapping[str, Model]],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    book: Constraints,
    eligible: pd.DataFrame | None,
    cost_bps: float,
    n_jobs: int,
) -> _Walked:
    """One walk-forward per path. A model that cannot be compared on one of them has no paths."""
    nets: dict[str, dict[Any, pd.Series]] = {}
    paid: dict[str, dict[Any, float]] = {}
    failures: dict[str, str] = {}
    for path, models in by_path.items():
        done = walk_forward(
            models, returns, decisions, books={book.name: book}, eligible=eligible, cost_bps=cost_bps, n_jobs=n_jobs
        )
        failures |= {model: why for (model, _), why in done.excluded.items()}
        for (model, _), track in done.tracks.items():
            nets.setdefault(model, {})[path] = track.returns
            paid.setdefault(model, {})[path] = float(track.cost.sum())
    kept = [model for model in nets if model not in failures]
    return {m: pd.DataFrame(nets[m]) for m in kept}, {m: pd.Series(paid[m]) for m in kept}, failures


def _seeded(model: Model | Callable[[int], Model], seed: int) -> Model:
    if isinstance(model, (BaseCovariance, BaseOptimization)):
        return clone(model).set_params(random_state=seed) if "random_state" in model.get_params() else model
    return model(seed)


def _engine(
    models: Mapping[str, Model],
    returns: pd.DataFrame,
    splitter: CombinatorialPurgedCV | MultipleRandomizedCV,
    book: Constraints,
    cost_bps: float,
    n_jobs: int,
) -> _Walked:
    """Send every model through skfolio's engine; one that fails is recorded and has no paths."""
    frames: dict[str, pd.DataFrame] = {}
    costs: dict[str, pd.Series] = {}
    failures: dict[str, str] = {}
    for name, model in as_portfolios(models, book).items():
        try:
            population = cross_val_predict(
                model, returns, cv=splitter, n_jobs=n_jobs, portfolio_params={"weight_drift": True}
            )
        except Exception as error:  # a failed fold is a recorded result
            failures[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        paths = [_charged(path, cost_bps) for path in population]
        frames[name] = pd.DataFrame({k: net for k, (net, _) in enumerate(paths)}).sort_index()
        costs[name] = pd.Series([cost for _, cost in paths])
    return frames, costs, failures


def _charged(path: Any, cost_bps: float) -> tuple[pd.Series, float]:
    """Net returns of a path by day, and its costs: skfolio hands over the trades, we charge them once."""
    parts, total = [], 0.0
    for held in path:
        cost = proportional_cost(held.weights - held.previous_weights, cost_bps=cost_bps)
        net = np.array(held.returns, dtype=float)
        net[0] -= cost
        parts.append(pd.Series(np.maximum(net, -1.0), index=pd.DatetimeIndex(held.observations)))
        total += cost
    return pd.concat(parts), total
