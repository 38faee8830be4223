r"""Covariance estimators side by side, by every measure, with intervals over windows.

Each estimator is fitted at every decision on the rows before it, as in `eigenfolio.evaluation.walk_forward`, and its
matrix is judged on the rows that the decision earns:

============================= ================================================================ ======
measure                       what it is (formulas in `eigenfolio.evaluation.covariance_measures`) best
============================= ================================================================ ======
log_likelihood                nats per row                                                     high
regret                        nats per row, against the own covariance of a span of windows    low
qlike_equal_weight            QLIKE of the equal-weight portfolio                              low
qlike_minimum_variance        QLIKE of the estimator's own minimum-variance portfolio          low
log_volatility                log root mean square return of that portfolio                    low
mahalanobis_ratio             calibration in all directions                                    one
diagonal_ratio                calibration of volatilities                                      one
bias_equal_weight             realised over predicted volatility, equal weight                 one
bias_minimum_variance         the same for the minimum-variance portfolio                      one
covariance_change, ...        steps between successive estimates                               -
turnover                      half the sum of absolute differences of successive weights       low
frobenius, stein, ...         losses to the mean true covariance of the window, where known    low
============================= ================================================================ ======

A model that failed on a date is left out of the table where that is more than a tenth of the dates; the windows in
which any other one failed are left out for all, so that means are of the same windows. Intervals are studentised
circular block bootstraps over windows; differences from the reference are paired, and their p-values adjusted over
the rivals of each measure by Holm's method. A ratio is best at one, so no difference of ratios is tested.

`skfolio.model_selection.covariance_forecast_evaluation` and its online twin are the peers: on windows of one row both
give the same ratios and QLIKE (tests/evaluation/test_covariance_report.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance
from sklearn.base import clone

from eigenfolio.constraints import UNCONSTRAINED
from eigenfolio.errors import DataError, ParameterError, RangeWarning
from eigenfolio.evaluation import covariance_measures as measures
from eigenfolio.evaluation import significance
from eigenfolio.evaluation.stability import covariance_stability
from eigenfolio.evaluation.walk_forward import (
    MAX_FAILURE_SHARE,
    Failure,
    _check_decisions,
    _check_returns,
    _eligible_columns,
    _past,
    _words,
)
from eigenfolio.models import minimum_variance_weights
from eigenfolio.models.window import active_assets
from eigenfolio.parallel import run_tasks

if TYPE_CHECKING:
    from eigenfolio.data import Decision
    from eigenfolio.data.synthetic import CovariancePath

__all__ = ["CovarianceReport", "covariance_report"]

FloatArray = NDArray[np.float64]

Best = Literal["high", "low", "one", "none"]

BEST: dict[str, Best] = {
    "log_likelihood": "high",
    "regret": "low",
    "qlike_equal_weight": "low",
    "qlike_minimum_variance": "low",
    "log_volatility": "low",
    "mahalanobis_ratio": "one",
    "diagonal_ratio": "one",
    "bias_equal_weight": "one",
    "bias_minimum_variance": "one",
    "covariance_change": "none",
    "correlation_change": "none",
    "volatility_change": "none",
    "subspace_overlap": "none",
    "turnover": "low",
    "frobenius": "low",
    "stein": "low",
    "inverse_stein": "low",
    "log_det": "low",
    "minimum_variance": "low",
    "eigenvalues": "low",
}
"""What is better, by measure, in the order of the table."""

ROOTS = ("bias_equal_weight", "bias_minimum_variance")
"""Measures whose mean over windows is one of squares: the table shows its root."""

BOOK = "covariance"
"""What a failure of this report names as its book."""


@dataclass(frozen=True, eq=False)
class CovarianceReport:
    """Measures of covariance estimators, by window and in sum.

    Attributes
    ----------
    windows : DataFrame
        Indexed by `model` and decision `date`, a column per measure; variance ratios in place of the bias ratios.
    table : DataFrame
        One row per measure and model: `best` ("high", "low", "one" or "none"), `mean` with `low`, `high` and
        `standard_error`; `difference` from the reference with `difference_low`, `difference_high`, `p_value`, Holm's
        `p_adjusted` over the rivals of the measure, and `minimum_detectable` (80 % power; NaN where no difference is
        tested); `n_windows`; `confidence`.
    reference : str or None
        Model that the differences are taken from.
    failures : tuple of Failure
        Fits and measures that failed, under the book "covariance".
    excluded : dict of str to str
        Models left out of the table, with the reason.
    """

    windows: pd.DataFrame
    table: pd.DataFrame
    reference: str | None
    failures: tuple[Failure, ...]
    excluded: dict[str, str]

    def prial(self, baseline: str, *, measure: str = "minimum_variance") -> pd.Series:
        """Improvement in average loss over a baseline, in percent.

        Parameters
        ----------
        baseline : str
            Model that counts as 0, usually the sample covariance.
        measure : str
            A loss to the truth.

        Returns
        -------
        Series
            By model.

        Raises
        ------
        ParameterError
            If the baseline or the measure is not in the report.
        """
        if measure not in self.windows or BEST[measure] != "low":
            raise ParameterError(f"measure must be a loss in this report, got {measure!r}; losses need truth=")
        losses = {str(model): rows[measure].to_numpy() for model, rows in self.windows.groupby("model", sort=False)}
        if baseline not in losses:
            raise ParameterError(f"baseline must be one of {', '.join(losses)}, got {baseline!r}")
        return pd.Series({name: measures.prial(own, losses[baseline]) for name, own in losses.items()}, name="prial")


def covariance_report(
    models: Mapping[str, BaseCovariance],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    *,
    reference: str | None = None,
    eligible: pd.DataFrame | None = None,
    truth: CovariancePath | None = None,
    regret_rows: int = 63,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    rng: np.random.Generator,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> CovarianceReport:
    """Judge covariance estimators side by side, out of sample, on one panel.

    Parameters
    ----------
    models : mapping of str to BaseCovariance
        Unfitted estimators by name; each is cloned before every fit.
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns with an increasing DatetimeIndex; NaN where missing.
    decisions : sequence of Decision
        Plan from `eigenfolio.data.plan_decisions`; at least eight windows.
    reference : str, optional
        Model that every other one is compared with.
    eligible : DataFrame of bool, optional
        Decision dates x assets: what each decision may see. By default every asset with a return in its last 21 rows.
    truth : CovariancePath, optional
        True covariance of every row of `returns`, of a simulated market; adds the losses to the truth.
    regret_rows : int
        Rows of the spans whose own covariance the regret is measured from, in whole windows; spans with as many
        assets as rows have none.
    n_bootstrap : int
        Resamples behind every interval.
    confidence : float in (0, 1)
        Of every interval.
    rng : numpy.random.Generator
        Draws the blocks of windows.
    n_jobs : int
        Processes over models; the result has the same bits for any number.
    on_done : callable, optional
        Called once per finished model.

    Returns
    -------
    CovarianceReport

    Raises
    ------
    DataError
        If the panel cannot be used, no model could be judged, or too few windows are left for intervals.
    ParameterError
        If models, reference, decisions or truth do not fit together.

    Examples
    --------
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.models import LedoitWolf, SampleCovariance
    >>> index = pd.bdate_range("2020-01-01", periods=500, name="date")
    >>> X = pd.DataFrame(0.01 * np.random.default_rng(0).standard_normal((500, 4)), index=index, columns=list("ABCD"))
    >>> report = covariance_report(
    ...     {"sample": SampleCovariance(lookback=60), "shrunk": LedoitWolf(lookback=60)},
    ...     X,
    ...     plan_decisions(X.index, min_history=100),
    ...     reference="sample",
    ...     rng=np.random.default_rng(0),
    ... )
    >>> one = report.table.set_index(["measure", "model"]).loc[("log_likelihood", "shrunk")]
    >>> bool(one["difference"] > 0.0), int(one["n_windows"])
    (True, 18)
    """
    _check_models(models, reference)
    values = _check_returns(returns)
    _check_decisions(decisions, returns)
    if truth is not None and (truth.n_observations, truth.n_assets) != values.shape:
        raise ParameterError(
            f"truth must have the {values.shape[0]} rows and {values.shape[1]} assets of returns, got "
            f"{truth.n_observations} and {truth.n_assets}"
        )
    columns = [
        seen[active_assets(values[: decision.row + 1][:, seen], None)]
        for decision, seen in zip(decisions, _eligible_columns(eligible, returns, decisions), strict=True)
    ]
    spans = _spans(values, decisions, columns, regret_rows)
    tasks = [
        (model, values, returns.index, returns.columns, decisions, columns, spans, truth) for model in models.values()
    ]
    judged = run_tasks(_walk, tasks, n_jobs=n_jobs, on_done=on_done)
    dates = pd.DatetimeIndex([decision.date for decision in decisions], name="date")
    failures = tuple(
        Failure(name, BOOK, date, row)
        for name, rows in zip(models, judged, strict=True)
        for date, row in zip(dates, rows, strict=True)
        if isinstance(row, str)
    )
    excluded = _excluded(list(models), failures, len(dates))
    windows = _common_windows(dict(zip(models, judged, strict=True)), dates, excluded)
    if reference in excluded:
        raise DataError(f"the reference {reference!r} {excluded[reference]}")
    table = _table(windows, reference, n_bootstrap=n_bootstrap, confidence=confidence, seed=int(rng.integers(2**63)))
    return CovarianceReport(windows, table, reference, failures, excluded)


def _walk(
    model: BaseCovariance,
    values: FloatArray,
    index: pd.DatetimeIndex,
    names: pd.Index,
    decisions: Sequence[Decision],
    columns: Sequence[NDArray[np.intp]],
    spans: Sequence[tuple[NDArray[np.intp], float]],
    truth: CovariancePath | None,
) -> list[dict[str, float] | str]:
    """Measures of one model in every window; the words of the error where it failed."""
    rows: list[dict[str, float] | str] = []
    before: tuple[NDArray[np.intp], FloatArray, FloatArray] | None = None
    for decision, seen, span in zip(decisions, columns, spans, strict=True):
        try:
            past = _past(values, decision.row, seen)
            X = pd.DataFrame(past, index=index[: len(past)], columns=names[seen], copy=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RangeWarning)  # its number is among the diagnostics of a walk-forward
                covariance = np.asarray(clone(model).fit(X).covariance_, dtype=float)
            weights = minimum_variance_weights(covariance, UNCONSTRAINED)
            found = _of_window(covariance, weights, values[decision.start : decision.stop][:, seen])
            found["regret"] = _regret(covariance, values[decision.start : decision.stop], seen, span)
            found |= _of_step(before, (seen, covariance, weights))
            if truth is not None:
                mean = truth.mean(decision.start, decision.stop)[np.ix_(seen, seen)]
                found |= measures.losses_to_truth(covariance, mean)
        except Exception as error:  # a failed fit is a recorded result
            rows.append(_words(error))
            before = None
            continue
        rows.append(found)
        before = (seen, covariance, weights)
    return rows


def _of_window(covariance: FloatArray, weights: FloatArray, returns: FloatArray) -> dict[str, float]:
    """What the rows that followed say about a covariance and its minimum-variance portfolio."""
    equal = np.full(len(covariance), 1.0 / len(covariance))
    held = np.nan_to_num(returns) @ weights
    return {
        "log_likelihood": measures.log_likelihood(covariance, returns),
        "qlike_equal_weight": measures.qlike(covariance, returns, equal),
        "qlike_minimum_variance": measures.qlike(covariance, returns, weights),
        "log_volatility": 0.5 * float(np.log(np.mean(held**2))),
        "mahalanobis_ratio": measures.mahalanobis_ratio(covariance, returns),
        "diagonal_ratio": measures.diagonal_ratio(covariance, returns),
        "bias_equal_weight": measures.variance_ratio(covariance, returns, equal),
        "bias_minimum_variance": measures.variance_ratio(covariance, returns, weights),
    }


def _of_step(
    before: tuple[NDArray[np.intp], FloatArray, FloatArray] | None,
    after: tuple[NDArray[np.intp], FloatArray, FloatArray],
) -> dict[str, float]:
    """How far an estimate and its portfolio moved since the last date, on the assets of both."""
    if before is None:
        return {}
    shared, old, new = np.intersect1d(before[0], after[0], return_indices=True)
    if shared.size < 2:
        return {}
    held = np.zeros(max(before[0].max(), after[0].max()) + 1)
    held[after[0]] = after[2]
    held[before[0]] -= before[2]
    step = covariance_stability(before[1][np.ix_(old, old)], after[1][np.ix_(new, new)])
    return {**step, "turnover": 0.5 * float(np.abs(held).sum())}


def _spans(
    values: FloatArray, decisions: Sequence[Decision], columns: Sequence[NDArray[np.intp]], regret_rows: int
) -> list[tuple[NDArray[np.intp], float]]:
    """For every window, the assets seen without a gap throughout its span, and their own log likelihood."""
    if isinstance(regret_rows, bool) or int(regret_rows) != regret_rows or regret_rows < 2:
        raise ParameterError(f"regret_rows must be a whole number of at least 2, got {regret_rows!r}")
    spans: list[tuple[NDArray[np.intp], float]] = []
    first = 0
    while first < len(decisions):
        last = first
        while last + 1 < len(decisions) and decisions[last].stop - decisions[first].start < regret_rows:
            last += 1
        rows = values[decisions[first].start : decisions[last].stop]
        shared = columns[first]
        for seen in columns[first + 1 : last + 1]:
            shared = np.intersect1d(shared, seen)
        shared = shared[np.isfinite(rows[:, shared]).all(axis=0)]
        fits = 0 < len(shared) < len(rows) and len(rows) >= regret_rows
        own = _own(rows[:, shared]) if fits else float("nan")
        spans += [(shared, own)] * (last + 1 - first)
        first = last + 1
    return spans


def _own(rows: FloatArray) -> float:
    """Own log likelihood of a span; NaN where an asset did not move or copies another one."""
    try:
        return measures.own_log_likelihood(rows)
    except DataError:
        return float("nan")


def _regret(
    covariance: FloatArray, returns: FloatArray, seen: NDArray[np.intp], span: tuple[NDArray[np.intp], float]
) -> float:
    shared, own = span
    if not np.isfinite(own):
        return float("nan")
    at = np.searchsorted(seen, shared)
    return own - measures.log_likelihood(covariance[np.ix_(at, at)], returns[:, shared])


def _excluded(names: Sequence[str], failures: Sequence[Failure], n_dates: int) -> dict[str, str]:
    reasons = {}
    for name in names:
        own = [failure for failure in failures if failure.model == name]
        if len(own) > MAX_FAILURE_SHARE * n_dates:
            reasons[name] = f"failed on {len(own)} of {n_dates} dates, first on {own[0].date:%Y-%m-%d}: {own[0].error}"
    if len(reasons) == len(names):
        raise DataError(f"no model could be judged: {names[0]} {reasons[names[0]]}")
    return reasons


def _common_windows(
    judged: Mapping[str, Sequence[dict[str, float] | str]], dates: pd.DatetimeIndex, excluded: Mapping[str, str]
) -> pd.DataFrame:
    """Measures of the models that are not excluded, on the dates on which none of them failed."""
    kept = {name: rows for name, rows in judged.items() if name not in excluded}
    good = [i for i in range(len(dates)) if not any(isinstance(rows[i], str) for rows in kept.values())]
    frames = {name: pd.DataFrame([rows[i] for i in good], index=dates[good]) for name, rows in kept.items()}
    windows = pd.concat(frames, names=["model", "date"])
    return windows[[measure for measure in BEST if measure in windows and windows[measure].notna().any()]]


def _table(
    windows: pd.DataFrame, reference: str | None, *, n_bootstrap: int, confidence: float, seed: int
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for measure in windows:
        by_model = windows[measure].unstack("model", sort=False).dropna()
        tested = reference is not None and BEST[str(measure)] in ("low", "high")
        of_measure: list[dict[str, Any]] = []
        for model in by_model:
            rng = np.random.default_rng(seed)  # the same blocks for all: a model more or less changes no other one
            level = _interval(by_model[model].to_numpy(), n_bootstrap, confidence, rng)
            row: dict[str, Any] = {
                "measure": measure,
                "model": model,
                "best": BEST[str(measure)],
                **_rooted(str(measure), level),
            }
            if tested and model != reference:
                rng = np.random.default_rng(seed)
                step = _interval((by_model[model] - by_model[reference]).to_numpy(), n_bootstrap, confidence, rng)
                row |= {
                    "difference": step["mean"],
                    "difference_low": step["low"],
                    "difference_high": step["high"],
                    "p_value": step["p_value"],
                    "minimum_detectable": step["minimum_detectable"],
                }
            of_measure.append({**row, "n_windows": len(by_model), "confidence": confidence})
        rivals = [row for row in of_measure if "p_value" in row]
        for row, adjusted in zip(rivals, significance.holm([row["p_value"] for row in rivals]), strict=True):
            row["p_adjusted"] = float(adjusted)
        rows += of_measure
    return pd.DataFrame(rows, columns=list(COLUMNS))


COLUMNS = (
    "measure",
    "model",
    "best",
    "mean",
    "low",
    "high",
    "standard_error",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "p_adjusted",
    "minimum_detectable",
    "n_windows",
    "confidence",
)


def _interval(values: FloatArray, n_bootstrap: int, confidence: float, rng: np.random.Generator) -> dict[str, float]:
    """Mean over windows with a studentised interval from circular blocks of windows."""
    block = significance.choose_block(values[:, None], "auto")
    draws = significance.block_starts(len(values), n_bootstrap=n_bootstrap, block=block, rng=rng)
    mean, error, spread = significance.studentised_mean(values, draws, block)
    critical = significance.quantile(spread, confidence)
    half = critical * error if error > 0.0 else 0.0
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "standard_error": error,
        "p_value": significance.p_value(mean, error, spread),
        "minimum_detectable": significance.minimum_detectable(
            error, confidence=confidence, critical_value=critical if error > 0.0 else None
        ),
    }


def _rooted(measure: str, level: dict[str, float]) -> dict[str, float]:
    """Mean, interval and error of a level; of its root where the mean is one of squares."""
    shown = {name: level[name] for name in ("mean", "low", "high", "standard_error")}
    if measure not in ROOTS:
        return shown
    rooted = {name: float(np.sqrt(max(shown[name], 0.0))) for name in ("mean", "low", "high")}
    return {**rooted, "standard_error": 0.5 * shown["standard_error"] / rooted["mean"] if rooted["mean"] > 0.0 else 0.0}


def _check_models(models: Mapping[str, Any], reference: str | None) -> None:
    if not models:
        raise ParameterError("models is empty; give at least one named covariance estimator")
    for name, model in models.items():
        if not isinstance(model, BaseCovariance):
            raise ParameterError(f"model {name!r} must be a skfolio BaseCovariance, got {type(model).__name__}")
    if reference is not None and reference not in models:
        raise ParameterError(f"reference must be one of {', '.join(models)}, got {reference!r}")
