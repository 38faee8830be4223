"""Every test on the tracks of one walk-forward, as tables.

`pair_tests` puts a reference, named beforehand, against every rival of `compare`, row by row: Sharpe ratios and
volatilities, robust and classical, with p-values adjusted over the rivals of a book (Holm for the claim that none is
false, Benjamini-Hochberg for a share of false ones). `selection_table` says what the Sharpe ratio of every track is
worth after its length, its tails and the number of tracks in its book. `set_tests` asks of a whole book, by squared net
returns, which tracks cannot be told from the calmest, whether any beats the reference, and which ones do; and whether
picking the track with the best Sharpe ratio would have picked well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparison import _compared, _rivals
from eigenfolio.evaluation.difference import DifferenceTest
from eigenfolio.evaluation.multiple_testing import (
    adjusted_p_values,
    model_confidence_set,
    stepwise_superior_models,
    superior_predictive_ability,
)
from eigenfolio.evaluation.overfitting import backtest_overfitting
from eigenfolio.evaluation.selection_bias import (
    deflated_sharpe_ratio,
    effective_trials,
    probabilistic_sharpe_ratio,
)
from eigenfolio.evaluation.sharpe_tests import jobson_korkie_test, ledoit_wolf_sharpe_test
from eigenfolio.evaluation.variance_tests import ledoit_wolf_variance_test
from eigenfolio.evaluation.walk_forward import WalkForward
from eigenfolio.parallel import run_tasks

__all__ = ["pair_tests", "selection_table", "set_tests"]


def pair_tests(
    result: WalkForward,
    reference: str,
    *,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    rng: np.random.Generator,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Test the reference against every rival of its books, row by row of net returns.

    Parameters
    ----------
    result : WalkForward
        Tracks; excluded ones are not compared.
    reference : str
        Model that was named beforehand.
    periods_per_year : float
        Rows in a year, for Sharpe ratios.
    n_bootstrap : int
        Resamples of the Ledoit-Wolf tests.
    confidence : float in (0, 1)
        Of every interval.
    rng : numpy.random.Generator
        Draws one seed, from which every pair starts.
    n_jobs : int
        Processes over pairs.

    Returns
    -------
    DataFrame
        One row per book, rival and `quantity` ("sharpe_ratio" annualised, "log_volatility") and test: the fields of
        `DifferenceTest` (reference less rival), with `p_holm` and `p_benjamini_hochberg` over the rivals of the
        same book and test.

    Raises
    ------
    ParameterError
        If the reference is no model of the result.

    Examples
    --------
    >>> from eigenfolio.evaluation.walk_forward import Track
    >>> days = pd.bdate_range("2020-01-01", periods=500)
    >>> market = pd.Series(0.01 * np.random.default_rng(0).standard_normal(500), index=days)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> tracks = {
    ...     (name, "all"): Track(name, "all", one.to_frame("X"), r, r, one, one, 0 * one)
    ...     for name, r in {"calm": 0.9 * market, "wild": market}.items()
    ... }
    >>> result = WalkForward(tracks, {}, pd.Series(np.arange(500) // 21, index=days), ())
    >>> table = pair_tests(result, "calm", rng=np.random.default_rng(0))
    >>> table["quantity"].tolist()
    ['sharpe_ratio', 'sharpe_ratio', 'log_volatility']
    """
    if reference not in {model for model, _ in result.tracks}:
        raise ParameterError(f"reference {reference!r} is no model of this result")
    seed = int(rng.integers(2**63))
    pairs = [
        (book, rival, of)
        for book in result.books
        if reference in _compared(result, book)
        for rival, of in _rivals(result, reference, book)
    ]
    tasks = [
        (
            result.tracks[reference, book].returns.to_numpy(),
            result.tracks[rival, of].returns.to_numpy(),
            periods_per_year,
            n_bootstrap,
            confidence,
            seed,
        )
        for book, rival, of in pairs
    ]
    rows: list[dict[str, Any]] = []
    for (book, rival, _), tests in zip(pairs, run_tasks(_of_pair, tasks, n_jobs=n_jobs), strict=True):
        rows += [
            {"reference": reference, "rival": rival, "book": book, "quantity": quantity, **test.to_dict()}
            for quantity, test in tests
        ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    families = table.groupby(["book", "method"], sort=False)["p_value"]
    table["p_holm"] = families.transform(lambda p: adjusted_p_values(p, method="holm"))
    table["p_benjamini_hochberg"] = families.transform(lambda p: adjusted_p_values(p, method="benjamini_hochberg"))
    return table


def _of_pair(
    a: np.ndarray, b: np.ndarray, periods_per_year: float, n_bootstrap: int, confidence: float, seed: int
) -> list[tuple[str, DifferenceTest]]:
    bootstrap: dict[str, Any] = {"n_bootstrap": n_bootstrap, "confidence": confidence}
    return [
        (
            "sharpe_ratio",
            ledoit_wolf_sharpe_test(
                a, b, periods_per_year=periods_per_year, rng=np.random.default_rng(seed), **bootstrap
            ),
        ),
        ("sharpe_ratio", jobson_korkie_test(a, b, periods_per_year=periods_per_year, confidence=confidence)),
        ("log_volatility", ledoit_wolf_variance_test(a, b, rng=np.random.default_rng(seed), **bootstrap)),
    ]


def selection_table(result: WalkForward, *, periods_per_year: float = 252.0, confidence: float = 0.95) -> pd.DataFrame:
    """What the Sharpe ratio of every track is worth.

    Parameters
    ----------
    result : WalkForward
        Tracks; excluded ones are left out.
    periods_per_year : float
        Rows in a year.
    confidence : float in (0, 1)
        Of intervals, and of `needed_years`.

    Returns
    -------
    DataFrame
        Per model and book: `sharpe_ratio` with `low` and `high`, `probability_positive` (PSR against zero),
        `needed_years` of record for it to be sure, `minimum_detectable`; `n_trials` tracks in its book,
        `effective_trials` that they are worth, the `expected_best` of so many worthless ones, `deflated` (DSR), and
        `n_observations`. A book of one track has no trials to deflate for: those columns are NaN.

    Examples
    --------
    >>> from eigenfolio.evaluation.walk_forward import Track
    >>> days = pd.bdate_range("2020-01-01", periods=500)
    >>> r = pd.Series(0.001 + 0.01 * np.random.default_rng(0).standard_normal(500), index=days)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> track = Track("A", "all", one.to_frame("X"), r, r, one, one, 0 * one)
    >>> result = WalkForward({("A", "all"): track}, {}, pd.Series(0, index=days), ())
    >>> selection_table(result).loc[("A", "all"), "n_observations"]
    np.int64(500)
    """
    rows = {}
    for book in result.books:
        returns = {model: result.tracks[model, book].returns.to_numpy() for model in _compared(result, book)}
        alone = {
            model: probabilistic_sharpe_ratio(track, periods_per_year=periods_per_year, confidence=confidence)
            for model, track in returns.items()
        }
        worth = effective_trials(np.column_stack(list(returns.values()))) if len(returns) > 1 else float("nan")
        for model, track in returns.items():
            one = alone[model]
            rows[model, book] = {
                "sharpe_ratio": one.sharpe,
                "low": one.low,
                "high": one.high,
                "probability_positive": one.probability,
                "needed_years": one.needed_observations / periods_per_year,
                "minimum_detectable": one.minimum_detectable,
                "n_trials": len(returns),
                "effective_trials": worth,
                "expected_best": float("nan"),
                "deflated": float("nan"),
                "n_observations": one.n_observations,
            }
            if len(returns) > 1:
                deflated = deflated_sharpe_ratio(
                    track,
                    [other.sharpe for other in alone.values()],
                    n_trials=worth,
                    periods_per_year=periods_per_year,
                    confidence=confidence,
                )
                rows[model, book] |= {"expected_best": deflated.benchmark, "deflated": deflated.probability}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "book"])
    return table


def set_tests(
    result: WalkForward,
    reference: str,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Test whole books by squared net returns.

    Parameters
    ----------
    result : WalkForward
        Tracks; excluded ones are left out, and so are books without the reference or with fewer than three tracks.
    reference : str
        Benchmark of the tests of superior ability.
    n_bootstrap, confidence, rng
        As in `model_confidence_set`.

    Returns
    -------
    DataFrame
        Indexed by book: `confidence_set` (names), `spa_p_value`, `spa_best`, `superior` (names), `minimum_detectable`
        (log volatility, of the best rival against the reference), `overfitting_probability` of picking by Sharpe
        ratio (NaN below 32 rows), `n_observations`, `block`.

    Raises
    ------
    ParameterError
        If `arch` is not installed.

    Examples
    --------
    >>> from eigenfolio.evaluation.walk_forward import Track
    >>> days = pd.bdate_range("2020-01-01", periods=400)
    >>> rng = np.random.default_rng(0)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> tracks = {}
    >>> for name, size in {"calm": 0.007, "mid": 0.01, "wild": 0.013}.items():
    ...     r = pd.Series(size * rng.standard_normal(400), index=days)
    ...     tracks[name, "all"] = Track(name, "all", one.to_frame("X"), r, r, one, one, 0 * one)
    >>> result = WalkForward(tracks, {}, pd.Series(np.arange(400) // 21, index=days), ())
    >>> found = set_tests(result, "mid", rng=rng).loc["all"]
    >>> found["confidence_set"], found["superior"]
    (('calm',), ('calm',))
    """
    rows = {}
    for book in result.books:
        names = _compared(result, book)
        if reference not in names or len(names) < 3:
            continue
        returns = pd.DataFrame({name: result.tracks[name, book].returns for name in names})
        losses = returns**2
        rivals = losses.drop(columns=reference)
        kept = model_confidence_set(losses, n_bootstrap=n_bootstrap, confidence=confidence, rng=rng)
        beaten = superior_predictive_ability(
            losses[reference], rivals, n_bootstrap=n_bootstrap, confidence=confidence, rng=rng
        )
        better = stepwise_superior_models(
            losses[reference], rivals, n_bootstrap=n_bootstrap, confidence=confidence, rng=rng
        )
        picked = backtest_overfitting(returns).probability if len(returns) >= 32 else float("nan")
        rows[book] = {
            "confidence_set": kept.included,
            "spa_p_value": beaten.p_value,
            "spa_best": beaten.best,
            "superior": better,
            "minimum_detectable": 0.5 * beaten.minimum_detectable / float(losses[reference].mean()),
            "overfitting_probability": picked,
            "n_observations": len(losses),
            "block": beaten.block,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "book"
    return table
