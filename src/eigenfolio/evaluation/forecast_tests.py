r"""Is one forecast better than another, and does it know the direction?

Diebold and Mariano compare losses d_t = L(a)_t - L(b)_t by their mean over its error [1]_. For forecasts of h rows
ahead d has memory of h - 1 rows, so the error comes from that many autocovariances, and Harvey, Leybourne and Newbold
correct the small sample [2]_:

    statistic = mean(d) sqrt((T + 1 - 2h + h (h - 1) / T) / T) / sqrt(V / T),    Student's law with T - 1 degrees,
    V = gamma_0 + 2 sum_{j < h} gamma_j.

Negative where a loses less. Pesaran and Timmermann compare the share of right directions with what two unrelated
series of the same shares of rises would reach [3]_,

    expected = p_y p_x + (1 - p_y)(1 - p_x),

which is the honest yardstick next to the share of the more frequent direction: always saying "up" is right as often as
the market rises, and knows nothing. "Up" is a value above zero.

References
----------
.. [1] F. Diebold and R. Mariano (1995). Comparing predictive accuracy. Journal of Business and Economic Statistics
   13(3), 253-263.
.. [2] D. Harvey, S. Leybourne and P. Newbold (1997). Testing the equality of prediction mean squared errors.
   International Journal of Forecasting 13(2), 281-291.
.. [3] M. H. Pesaran and A. Timmermann (1992). A simple nonparametric test of predictive performance. Journal of
   Business and Economic Statistics 10(4), 461-465.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.difference import DifferenceTest, asymptotic_test, paired
from eigenfolio.evaluation.long_run import autocovariances
from eigenfolio.evaluation.significance import check_confidence, minimum_detectable

__all__ = ["DirectionTest", "diebold_mariano_test", "pesaran_timmermann_test"]


def diebold_mariano_test(
    losses_a: ArrayLike,
    losses_b: ArrayLike,
    *,
    horizon: int = 1,
    kernel: Literal["rectangular", "bartlett"] = "rectangular",
    confidence: float = 0.95,
) -> DifferenceTest:
    """Test that two forecasts have the same expected loss.

    Parameters
    ----------
    losses_a, losses_b : array-like of shape (n_observations,)
        Loss of each forecast, in time order, same rows.
    horizon : int
        Rows ahead that were forecast; losses overlap for ``horizon - 1`` rows.
    kernel : {"rectangular", "bartlett"}
        Weights of the autocovariances. The rectangular one is that of the papers and can give a negative variance;
        Bartlett's cannot.
    confidence : float in (0, 1)
        Of the interval.

    Returns
    -------
    DifferenceTest
        Of the mean losses; the correction is in `standard_error`.

    Raises
    ------
    DataError
        If the rows differ, a loss is not finite, there are fewer than ten rows or three horizons, or the rectangular
        variance is not positive.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] F. Diebold and R. Mariano (1995). Comparing predictive accuracy. Journal of Business and Economic
       Statistics 13(3), 253-263.
    .. [2] D. Harvey, S. Leybourne and P. Newbold (1997). Testing the equality of prediction mean squared errors.
       International Journal of Forecasting 13(2), 281-291.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, good = rng.standard_normal((2, 200))
    >>> good = 0.5 * y + 0.5 * good
    >>> diebold_mariano_test((y - good) ** 2, y**2).p_value < 0.01
    True
    """
    if isinstance(horizon, bool) or int(horizon) != horizon or horizon < 1:
        raise ParameterError(f"horizon must be a whole number of rows of at least 1, got {horizon!r}")
    if kernel not in ("rectangular", "bartlett"):
        raise ParameterError(f"kernel must be 'rectangular' or 'bartlett', got {kernel!r}")
    a, b = paired(losses_a, losses_b, names=("losses_a", "losses_b"), at_least=max(10, 3 * horizon))
    differences = a - b
    n = len(differences)
    lags = np.arange(1, horizon)
    weights = np.ones(horizon - 1) if kernel == "rectangular" else 1.0 - lags / horizon
    gammas = autocovariances(differences)[:horizon]
    variance = float(gammas[0] + 2.0 * weights @ gammas[1:])
    if variance <= 0.0 < gammas[0]:
        raise DataError(
            f"the {horizon - 1} autocovariances of the loss differences add up to a negative variance; "
            f"use kernel='bartlett'"
        )
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    return asymptotic_test(
        float(differences.mean()),
        float(np.sqrt(max(variance, 0.0) / n / correction)),
        n_observations=n,
        method=f"Diebold-Mariano with the Harvey-Leybourne-Newbold correction, horizon {horizon}",
        confidence=confidence,
        degrees_of_freedom=n - 1,
    )


@dataclass(frozen=True)
class DirectionTest:
    """Whether a forecast knows the direction.

    Attributes
    ----------
    accuracy : float
        Share of rows whose direction was forecast.
    majority_rate : float
        Share of the more frequent direction: what a constant forecast would have reached.
    expected : float
        Accuracy of an unrelated forecast with the same share of rises.
    excess, low, high : float
        `accuracy` less `expected`, with its interval.
    standard_error : float
        Of `excess`.
    statistic, p_value : float
        Of Pesaran and Timmermann; one-sided, small where the forecast is right more often than chance.
    minimum_detectable : float
        True excess that the test would find with a power of 80 %.
    n_observations : int
    confidence : float
    method : str
    """

    accuracy: float
    majority_rate: float
    expected: float
    excess: float
    low: float
    high: float
    standard_error: float
    statistic: float
    p_value: float
    minimum_detectable: float
    n_observations: int
    confidence: float
    method: str = "Pesaran-Timmermann, one-sided"


def pesaran_timmermann_test(forecast: ArrayLike, realised: ArrayLike, *, confidence: float = 0.95) -> DirectionTest:
    """Test that the directions of a forecast and of what came are independent.

    Rows should not overlap: with overlapping horizons both series have memory and the test finds too much.

    Parameters
    ----------
    forecast, realised : array-like of shape (n_observations,)
        Same rows; only the sign is read, and zero counts as not up.
    confidence : float in (0, 1)
        Of the interval of the excess. The test is one-sided at level ``1 - confidence``.

    Returns
    -------
    DirectionTest

    Raises
    ------
    DataError
        If the rows differ, a value is not finite, there are fewer than 20 rows, or either series has one
        direction only, which leaves nothing to be independent of.

    References
    ----------
    .. [1] M. H. Pesaran and A. Timmermann (1992). A simple nonparametric test of predictive performance. Journal of
       Business and Economic Statistics 10(4), 461-465.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> realised = rng.standard_normal(400)
    >>> test = pesaran_timmermann_test(realised + rng.standard_normal(400), realised)
    >>> test.accuracy > 0.7, test.p_value < 0.01
    (True, True)
    """
    check_confidence(confidence)
    x, y = (values > 0.0 for values in paired(forecast, realised, names=("forecast", "realised"), at_least=20))
    n = len(x)
    rises_x, rises_y = float(x.mean()), float(y.mean())
    for name, share in (("forecast", rises_x), ("realised", rises_y)):
        if share in (0.0, 1.0):
            raise DataError(f"{name} has one direction only, so there is nothing to test; report the accuracy alone")
    accuracy = float((x == y).mean())
    expected = rises_y * rises_x + (1.0 - rises_y) * (1.0 - rises_x)
    error = float(np.sqrt(_excess_variance(rises_x, rises_y, n)))
    excess, statistic = accuracy - expected, (accuracy - expected) / error
    half = float(norm.ppf(0.5 + confidence / 2.0)) * error
    return DirectionTest(
        accuracy=accuracy,
        majority_rate=max(rises_y, 1.0 - rises_y),
        expected=expected,
        excess=excess,
        low=excess - half,
        high=excess + half,
        standard_error=error,
        statistic=statistic,
        p_value=float(norm.sf(statistic)),
        minimum_detectable=minimum_detectable(error, critical_value=float(norm.ppf(confidence))),
        n_observations=n,
        confidence=confidence,
    )


def _excess_variance(x: float, y: float, n: int) -> float:
    """Variance of accuracy less that of its expectation, for independent directions."""
    expected = y * x + (1.0 - y) * (1.0 - x)
    of_accuracy = expected * (1.0 - expected) / n
    of_expected = (
        (2.0 * y - 1.0) ** 2 * x * (1.0 - x) / n
        + (2.0 * x - 1.0) ** 2 * y * (1.0 - y) / n
        + 4.0 * x * y * (1.0 - x) * (1.0 - y) / n**2
    )
    return of_accuracy - of_expected
