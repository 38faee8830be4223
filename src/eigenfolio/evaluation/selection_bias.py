r"""What a Sharpe ratio is worth after its length, its tails, and the number of others that were tried.

With S the ratio per period of T rows, skewness g3 and kurtosis g4 (3 for the normal law), the ratio has about the
standard error

    s(S) = sqrt((1 - g3 S + (g4 - 1) / 4 S^2) / (T - 1)),

which gives the probability that the true ratio exceeds a benchmark (PSR) and the rows needed for it [1]_:

    PSR(S*) = Phi((S - S*) / s(S)),    MinTRL = 1 + (1 - g3 S + (g4 - 1) / 4 S^2) (z / (S - S*))^2.

The best of N worthless trials has a ratio of about

    S0 = sqrt(V) ((1 - c) Phi^-1(1 - 1 / N) + c Phi^-1(1 - 1 / (N e))),    c = 0.5772...,

V being the variance of the ratios *across the trials* (not the sampling variance of one track); the deflated ratio
is PSR(S0) [2]_. Ratios enter the formulas per period; what is annualised says so. Memory between rows is not
accounted for: `eigenfolio.evaluation.sharpe_difference` is.

References
----------
.. [1] D. Bailey and M. Lopez de Prado (2012). The Sharpe ratio efficient frontier. Journal of Risk 15(2), 3-44.
.. [2] D. Bailey and M. Lopez de Prado (2014). The deflated Sharpe ratio: correcting for selection bias, backtest
   overfitting, and non-normality. Journal of Portfolio Management 40(5), 94-107.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kurtosis, norm, skew

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.significance import check_confidence

__all__ = [
    "SharpeEvidence",
    "deflated_sharpe_ratio",
    "effective_trials",
    "expected_best_sharpe",
    "minimum_track_record",
    "probabilistic_sharpe_ratio",
    "probability_above",
]

POWER = 0.80


@dataclass(frozen=True)
class SharpeEvidence:
    """How sure one Sharpe ratio is to exceed a benchmark.

    Attributes
    ----------
    sharpe, low, high : float
        Annualised, with its two-sided interval.
    benchmark : float
        Annualised ratio it is held against.
    probability : float in [0, 1]
        That the true ratio exceeds the benchmark; the PSR, or the DSR where the benchmark is the expected best of
        several trials.
    statistic, p_value : float
        `p_value` is ``1 - probability``: one-sided, small where the ratio is larger.
    standard_error : float
        Of the annualised ratio.
    minimum_detectable : float
        True annualised ratio that would be found larger than the benchmark with a power of 80 %.
    n_observations : int
        Rows of the track.
    needed_observations : float
        Rows from which this ratio would be sure at this confidence; infinite where it is below the benchmark.
    skewness, kurtosis : float
        Of the rows; 0 and 3 for the normal law.
    n_trials : float
        Trials that the benchmark allows for.
    confidence : float
    method : str
    """

    sharpe: float
    low: float
    high: float
    benchmark: float
    probability: float
    statistic: float
    p_value: float
    standard_error: float
    minimum_detectable: float
    n_observations: int
    needed_observations: float
    skewness: float
    kurtosis: float
    n_trials: float
    confidence: float
    method: str


def probabilistic_sharpe_ratio(
    returns: ArrayLike, *, benchmark: float = 0.0, periods_per_year: float = 252.0, confidence: float = 0.95
) -> SharpeEvidence:
    """Probability that the true Sharpe ratio of a track exceeds a benchmark.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple (excess) returns per period.
    benchmark : float
        Annualised ratio to exceed.
    periods_per_year : float
        Rows in a year.
    confidence : float in (0, 1)
        Of the interval and of `needed_observations`.

    Returns
    -------
    SharpeEvidence

    Raises
    ------
    DataError
        If the track cannot be used: not one series, not finite, shorter than 30 rows or without variation.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] D. Bailey and M. Lopez de Prado (2012). The Sharpe ratio efficient frontier. Journal of Risk 15(2), 3-44.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> evidence = probabilistic_sharpe_ratio(0.001 + 0.01 * rng.standard_normal(2520))
    >>> evidence.probability > 0.99, evidence.n_observations
    (True, 2520)
    """
    return _evidence(
        returns, benchmark, periods_per_year, confidence, n_trials=1.0, method="probabilistic Sharpe ratio"
    )


def deflated_sharpe_ratio(
    returns: ArrayLike,
    trial_sharpes: ArrayLike,
    *,
    n_trials: float | None = None,
    periods_per_year: float = 252.0,
    confidence: float = 0.95,
) -> SharpeEvidence:
    """Probability that a track picked from several trials is better than the best of worthless ones.

    Parameters
    ----------
    returns : array-like of shape (n_observations,)
        Simple (excess) returns per period of the picked track.
    trial_sharpes : array-like of shape (n_trials,)
        Annualised ratios of all trials, the picked one included; their variance enters.
    n_trials : float, optional
        Independent trials; by default the number of `trial_sharpes`. Trials on the same data are correlated:
        `effective_trials` counts how many independent ones they are worth.
    periods_per_year : float
        Rows in a year, of the track and of the trials.
    confidence : float in (0, 1)
        Of the interval.

    Returns
    -------
    SharpeEvidence
        `benchmark` is the expected best of the trials.

    Raises
    ------
    DataError
        If the track cannot be used, or there are fewer than two finite trials.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] D. Bailey and M. Lopez de Prado (2014). The deflated Sharpe ratio: correcting for selection bias, backtest
       overfitting, and non-normality. Journal of Portfolio Management 40(5), 94-107.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tracks = 0.01 * rng.standard_normal((1260, 50))
    >>> sharpes = tracks.mean(axis=0) / tracks.std(axis=0, ddof=1) * 252**0.5
    >>> best = tracks[:, sharpes.argmax()]
    >>> evidence = deflated_sharpe_ratio(best, sharpes)
    >>> probabilistic_sharpe_ratio(best).probability > 0.95 > evidence.probability
    True
    """
    trials = np.asarray(trial_sharpes, dtype=float)
    if trials.ndim != 1 or trials.size < 2 or not np.isfinite(trials).all():
        raise DataError(f"trial_sharpes must be at least two finite ratios, got shape {trials.shape}")
    count = float(trials.size if n_trials is None else n_trials)
    benchmark = expected_best_sharpe(count, float(trials.std(ddof=1)))
    return _evidence(
        returns, benchmark, periods_per_year, confidence, n_trials=count, method=f"deflated for {count:g} trials"
    )


def expected_best_sharpe(n_trials: float, deviation: float) -> float:
    """Sharpe ratio that the best of several worthless independent trials is expected to show.

    Parameters
    ----------
    n_trials : float >= 1
        Independent trials; one gives 0.
    deviation : float >= 0
        Standard deviation of the ratios across the trials, in any unit of time.

    Returns
    -------
    float
        In the unit of `deviation`.

    Raises
    ------
    ParameterError
        If `n_trials` is below one or `deviation` is negative.

    Examples
    --------
    A thousand trials of ratios that scatter by one:

    >>> round(expected_best_sharpe(1000, 1.0), 2)
    3.26
    """
    if not n_trials >= 1.0:
        raise ParameterError(f"n_trials must be at least 1, got {n_trials!r}")
    if not deviation >= 0.0:
        raise ParameterError(f"deviation must be at least 0, got {deviation!r}")
    if n_trials == 1.0:
        return 0.0
    usual, rare = norm.ppf(1.0 - 1.0 / n_trials), norm.ppf(1.0 - 1.0 / (n_trials * np.e))
    # Made for many trials: below about 1.6 it turns negative, where the best of several is worth nothing less than one.
    return max(0.0, float(deviation * ((1.0 - np.euler_gamma) * usual + np.euler_gamma * rare)))


def effective_trials(returns: ArrayLike) -> float:
    """Number of independent trials that correlated ones are worth.

    The average correlation r of the tracks joins one trial (r = 1) and all of them (r = 0): ``r + (1 - r) N`` [1]_.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_trials)
        Tracks of all trials over the same rows.

    Returns
    -------
    float
        Between 1 and n_trials; negative average correlations count as none.

    Raises
    ------
    DataError
        If the tracks are not a finite table of two columns or more, or one never varies.

    References
    ----------
    .. [1] D. Bailey and M. Lopez de Prado (2014). The deflated Sharpe ratio: correcting for selection bias, backtest
       overfitting, and non-normality. Journal of Portfolio Management 40(5), 94-107.

    Examples
    --------
    >>> one = np.random.default_rng(0).standard_normal(100)
    >>> round(effective_trials(np.column_stack([one, 2.0 * one])), 6)
    1.0
    """
    tracks = np.asarray(returns, dtype=float)
    if tracks.ndim != 2 or tracks.shape[1] < 2 or len(tracks) < 3 or not np.isfinite(tracks).all():
        raise DataError(f"returns must be a finite table of at least 3 rows and 2 trials, got shape {tracks.shape}")
    if not (tracks.std(axis=0) > 0.0).all():
        raise DataError(f"trial {int((tracks.std(axis=0) == 0.0).argmax())} never varies, so it has no correlation")
    n = tracks.shape[1]
    mean = float((np.corrcoef(tracks.T).sum() - n) / (n * (n - 1)))
    return mean + (1.0 - mean) * n if mean > 0.0 else float(n)


def probability_above(
    sharpe: float, benchmark: float, *, n_observations: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """The PSR from its ingredients, ratios per period.

    Parameters
    ----------
    sharpe, benchmark : float
        Observed ratio and the one to exceed, both per period.
    n_observations : float > 1
        Rows.
    skewness, kurtosis : float
        Of the rows; the normal law has 0 and 3.

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    The example of Bailey and Lopez de Prado: a ratio of 2.5 a year over 1,250 days, skewness -3, kurtosis 10, after 100
    trials with a variance of 1/2.

    >>> best = expected_best_sharpe(100, (0.5 / 250) ** 0.5)
    >>> round(probability_above(2.5 / 250**0.5, best, n_observations=1250, skewness=-3.0, kurtosis=10.0), 2)
    0.9
    """
    error = np.sqrt(_spread(sharpe, skewness, kurtosis) / (n_observations - 1.0))
    return float(norm.cdf((sharpe - benchmark) / error))


def minimum_track_record(
    sharpe: float, benchmark: float = 0.0, *, skewness: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Rows from which an observed ratio would be sure to exceed a benchmark.

    Parameters
    ----------
    sharpe, benchmark : float
        Both per period.
    skewness, kurtosis : float
        Of the rows.
    confidence : float in (0, 1)
        Wanted probability.

    Returns
    -------
    float
        Rows; infinite where the ratio does not exceed the benchmark.

    Raises
    ------
    ParameterError
        If the confidence leaves (0, 1).

    References
    ----------
    .. [1] D. Bailey and M. Lopez de Prado (2012). The Sharpe ratio efficient frontier. Journal of Risk 15(2), 3-44.

    Examples
    --------
    A yearly ratio of 2 is told from 1 after 2.73 years of normal days, as in the paper:

    >>> round(minimum_track_record(2 / 252**0.5, 1 / 252**0.5) / 252, 2)
    2.73
    """
    check_confidence(confidence)
    if sharpe <= benchmark:
        return float("inf")
    return float(1.0 + _spread(sharpe, skewness, kurtosis) * (norm.ppf(confidence) / (sharpe - benchmark)) ** 2)


def _spread(sharpe: float, skewness: float, kurtosis: float) -> float:
    """Variance of a ratio, times the rows less one; positive, because kurtosis >= 1 + skewness^2."""
    return float(1.0 - skewness * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2)


def _evidence(
    returns: ArrayLike,
    benchmark: float,
    periods_per_year: float,
    confidence: float,
    *,
    n_trials: float,
    method: str,
) -> SharpeEvidence:
    check_confidence(confidence)
    if not periods_per_year > 0.0:
        raise ParameterError(f"periods_per_year must be positive, got {periods_per_year!r}")
    values = _track(returns)
    annual, n = float(np.sqrt(periods_per_year)), len(values)
    ratio, held_against = float(values.mean() / values.std(ddof=1)), benchmark / annual
    shape = {"skewness": float(skew(values)), "kurtosis": float(kurtosis(values, fisher=False))}
    error = float(np.sqrt(_spread(ratio, **shape) / (n - 1)))
    half = float(norm.ppf(0.5 + confidence / 2.0)) * error
    probability = probability_above(ratio, held_against, n_observations=n, **shape)
    detectable = held_against + float(norm.ppf(confidence) + norm.ppf(POWER)) * error
    return SharpeEvidence(
        sharpe=annual * ratio,
        low=annual * (ratio - half),
        high=annual * (ratio + half),
        benchmark=float(benchmark),
        probability=probability,
        statistic=(ratio - held_against) / error,
        p_value=1.0 - probability,
        standard_error=annual * error,
        minimum_detectable=annual * detectable,
        n_observations=n,
        needed_observations=minimum_track_record(ratio, held_against, confidence=confidence, **shape),
        n_trials=n_trials,
        confidence=confidence,
        method=method,
        **shape,
    )


def _track(returns: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(returns, dtype=float)
    if values.ndim != 1 or values.size < 30:
        raise DataError(f"returns must be one series of at least 30 rows, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"returns hold {int((~np.isfinite(values)).sum())} values that are not finite; drop them")
    if values.std() <= 1e-14 * float(np.abs(values).max()):
        raise DataError("the track never varies, so it has no Sharpe ratio")
    return values
