r"""Calibration of probabilities and intervals: fitted on validation, applied out of sample.

    split conformal    center +- q scale               q: the ceil((n + 1) level)-th smallest |y - center| / scale
    quantiles          [low - q, high + q]             q: the same rank of max(low - y, y - high)
    variance scale     s^2 = mean (y - center)^2 / variance, the likeliest common factor of normal variances
    temperature        softmax(logits / T), T of the smallest log loss
    isotonic           increasing map from a probability (or a quantile level) to what was observed

Nothing here knows which model spoke; `eigenfolio.training.reliability` measures what came of it. Conformal intervals
cover with at least their level on average over validation and new rows when the rows are exchangeable, which rows in
time order are only nearly: measure coverage out of sample.
Every fitted object is a frozen dataclass of a few numbers, so that it can be stored beside the weights it belongs to.

References
----------
.. [1] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman (2018). Distribution-free predictive inference
   for regression. Journal of the American Statistical Association 113(523), 1094-1111.
.. [2] Y. Romano, E. Patterson and E. Candes (2019). Conformalized quantile regression. NeurIPS 32.
.. [3] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger (2017). On calibration of modern neural networks. ICML.
.. [4] V. Kuleshov, N. Fenner and S. Ermon (2018). Accurate uncertainties for deep learning using calibrated
   regression. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.training.reliability import check_events, check_shares, columns

__all__ = [
    "ConformalInterval",
    "ConformalQuantiles",
    "IsotonicMap",
    "Temperature",
    "conformal_quantiles",
    "isotonic_levels",
    "isotonic_probabilities",
    "split_conformal",
    "temperature_scaling",
    "variance_scale",
]

FloatArray = NDArray[np.float64]

_TEMPERATURES = (0.02, 50.0)


@dataclass(frozen=True)
class ConformalInterval:
    """Symmetric intervals of a stated coverage.

    Attributes
    ----------
    level : float
        Nominal coverage, in (0, 1).
    factor : float
        Half width in units of the scale.
    n_validation : int
        Rows it was fitted on.
    """

    level: float
    factor: float
    n_validation: int

    def interval(self, center: ArrayLike, scale: ArrayLike = 1.0) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends, each of the shape of `center`."""
        middle = np.asarray(center, dtype=float)
        half = self.factor * np.asarray(scale, dtype=float)
        return middle - half, middle + half


@dataclass(frozen=True)
class ConformalQuantiles:
    """Predicted quantiles moved apart, or together, to a stated coverage.

    Attributes
    ----------
    level : float
        Nominal coverage, in (0, 1).
    offset : float
        Added to the upper quantile and taken off the lower one, in the unit of the target; may be negative.
    n_validation : int
        Rows it was fitted on.
    """

    level: float
    offset: float
    n_validation: int

    def interval(self, low: ArrayLike, high: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends; where a negative offset would cross them, both are the middle."""
        lower = np.asarray(low, dtype=float) - self.offset
        upper = np.asarray(high, dtype=float) + self.offset
        middle = 0.5 * (lower + upper)
        return np.minimum(lower, middle), np.maximum(upper, middle)


def split_conformal(
    target: ArrayLike, center: ArrayLike, scale: ArrayLike = 1.0, *, level: float = 0.9
) -> ConformalInterval:
    """Fit intervals ``center +- factor * scale`` on validation.

    Parameters
    ----------
    target, center : array-like of shape (n,)
        What happened, and what was predicted.
    scale : array-like of shape (n,) or float, default=1
        Predicted size of the error, positive; with 1 all intervals have the same width.
    level : float in (0, 1), default=0.9
        Coverage to reach.

    Returns
    -------
    ConformalInterval

    Raises
    ------
    DataError
        If a number is not finite, a scale is not positive, lengths differ, or the rows are too few for the level.
    ParameterError
        If `level` leaves (0, 1).

    References
    ----------
    Section 2 of Lei et al. (2018) [1]_ of the module.

    Examples
    --------
    >>> fitted = split_conformal(np.arange(1.0, 10.0), np.zeros(9), level=0.8)
    >>> fitted.factor, [float(end) for end in fitted.interval(2.0)]
    (8.0, [-6.0, 10.0])
    """
    y, middle, size = columns(target=target, center=center, scale=scale)
    if (size <= 0.0).any():
        raise DataError(f"split_conformal: every scale must be positive, got {size.min():g}; floor the predicted scale")
    return ConformalInterval(level, _conformal_rank(np.abs(y - middle) / size, level), len(y))


def conformal_quantiles(
    target: ArrayLike, low: ArrayLike, high: ArrayLike, *, level: float = 0.9
) -> ConformalQuantiles:
    """Fit the distance by which predicted quantiles must be moved to cover with a level.

    Parameters
    ----------
    target, low, high : array-like of shape (n,)
        What happened, and the predicted ends.
    level : float in (0, 1), default=0.9
        Coverage to reach, whatever the quantiles were trained for.

    Returns
    -------
    ConformalQuantiles

    Raises
    ------
    DataError, ParameterError
        As for `split_conformal`.

    References
    ----------
    Romano et al. (2019) [2]_ of the module.

    Examples
    --------
    >>> fitted = conformal_quantiles([0.0, 1.0, 3.0], [0.5, 0.5, 0.5], [2.0, 2.0, 2.0], level=0.75)
    >>> fitted.offset, [float(end) for end in fitted.interval(0.5, 2.0)]
    (1.0, [-0.5, 3.0])
    """
    y, lower, upper = columns(target=target, low=low, high=high)
    return ConformalQuantiles(level, _conformal_rank(np.maximum(lower - y, y - upper), level), len(y))


def variance_scale(target: ArrayLike, center: ArrayLike, variance: ArrayLike) -> float:
    """Common factor by which predicted variances should be multiplied.

    It maximises the normal likelihood of the validation rows: the mean squared standardised error.

    Parameters
    ----------
    target, center : array-like of shape (n,)
    variance : array-like of shape (n,)
        Predicted, positive.

    Returns
    -------
    float
        1 where the predictions are right, 4 where the standard deviations are half of what they should be.

    Raises
    ------
    DataError
        If a number is not finite, a variance is not positive, or lengths differ.

    Examples
    --------
    >>> variance_scale([2.0, -2.0], [0.0, 0.0], [1.0, 1.0])
    4.0
    """
    y, middle, size = columns(target=target, center=center, variance=variance)
    if (size <= 0.0).any():
        raise DataError(f"variance_scale: every variance must be positive, got {size.min():g}; floor the prediction")
    return float(((y - middle) ** 2 / size).mean())


@dataclass(frozen=True)
class Temperature:
    """A divisor of logits.

    Attributes
    ----------
    value : float
        Above 1 it softens what is too sure.
    """

    value: float

    def probabilities(self, logits: ArrayLike) -> FloatArray:
        """Of the classes, the shape of `logits`; of the positive class where they have one axis."""
        scaled = np.asarray(logits, dtype=float) / self.value
        return np.asarray(expit(scaled) if scaled.ndim == 1 else softmax(scaled, axis=-1), dtype=float)


def temperature_scaling(logits: ArrayLike, labels: ArrayLike) -> Temperature:
    """Fit a temperature on validation by the log loss.

    Parameters
    ----------
    logits : array-like of shape (n, n_classes) or (n,)
        Unnormalised log probabilities (logarithms of probabilities will do); with one axis, those of the positive
        class against the other.
    labels : array-like of int of shape (n,)
        Classes from 0.

    Returns
    -------
    Temperature
        Its value lies in [0.02, 50].

    Raises
    ------
    DataError
        If a logit is not finite, the lengths differ, or a label names no class.

    References
    ----------
    Guo et al. (2017) [3]_ of the module.

    Examples
    --------
    >>> sure = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
    >>> fitted = temperature_scaling(sure, [0, 0, 0, 1])  # three of four are right
    >>> fitted.probabilities(sure)[0].round(3)
    array([0.75, 0.25])
    """
    values, classes = np.asarray(logits, dtype=float), np.asarray(labels)
    if values.ndim == 1:
        values = np.column_stack([np.zeros_like(values), values])
    _check_labels(values, classes)
    rows = np.arange(len(classes))
    chosen = classes.astype(int)

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(values / np.exp(log_temperature), axis=1)
        return -float(scaled[rows, chosen].mean())

    found = minimize_scalar(log_loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded", options={"xatol": 1e-6})
    return Temperature(float(np.exp(found.x)))


@dataclass(frozen=True)
class IsotonicMap:
    """An increasing map of [0, 1] to [0, 1], linear between its knots and flat outside.

    Attributes
    ----------
    given, observed : ndarray of shape (n_knots,)
        Knots, both increasing.
    """

    given: FloatArray
    observed: FloatArray

    def __call__(self, values: ArrayLike) -> FloatArray:
        """Calibrated values, the shape of `values`."""
        return np.asarray(np.interp(np.asarray(values, dtype=float), self.given, self.observed))

    def inverse(self, level: ArrayLike) -> FloatArray:
        """What must be given to observe a level: the nominal quantile to ask a model for."""
        kept = np.flatnonzero(np.diff(self.observed, prepend=-np.inf) > 0.0)
        return np.asarray(np.interp(np.asarray(level, dtype=float), self.observed[kept], self.given[kept]))


def isotonic_probabilities(probabilities: ArrayLike, outcomes: ArrayLike) -> IsotonicMap:
    """Fit an increasing map from predicted to observed probabilities of an event.

    Parameters
    ----------
    probabilities : array-like of shape (n,)
        In [0, 1].
    outcomes : array-like of bool of shape (n,)
        Whether it happened.

    Returns
    -------
    IsotonicMap

    Raises
    ------
    DataError
        If a probability leaves [0, 1], an outcome is neither 0 nor 1, or lengths differ.

    Examples
    --------
    >>> fitted = isotonic_probabilities([0.1, 0.1, 0.9, 0.9], [0, 0, 0, 1])
    >>> fitted([0.05, 0.9]).tolist()
    [0.0, 0.5]
    """
    given, happened = columns(probabilities=probabilities, outcomes=outcomes)
    check_shares(given, "probabilities")
    check_events(happened)
    return _isotonic(given, happened)


def isotonic_levels(levels: ArrayLike) -> IsotonicMap:
    """Fit a map from nominal to observed quantile levels of a predictive distribution.

    Parameters
    ----------
    levels : array-like of shape (n,)
        Predicted distribution function at what happened, on validation; uniform where the predictions are calibrated.

    Returns
    -------
    IsotonicMap
        ``fitted(p)`` is the share of rows below the predicted p-quantile, ``fitted.inverse(p)`` the nominal level
        whose quantile has a share p below it.

    Raises
    ------
    DataError
        If a level leaves [0, 1].

    References
    ----------
    Kuleshov et al. (2018) [4]_ of the module.

    Examples
    --------
    >>> narrow = np.repeat([0.0, 1.0], 500)  # what happens is always outside
    >>> float(isotonic_levels(narrow)(0.5))
    0.5
    """
    (given,) = columns(levels=levels)
    check_shares(given, "levels")
    ordered = np.sort(given)
    below = np.arange(1, len(ordered) + 1) / (len(ordered) + 1.0)
    return _isotonic(np.concatenate([[0.0], ordered, [1.0]]), np.concatenate([[0.0], below, [1.0]]))


def _conformal_rank(scores: FloatArray, level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level must lie in (0, 1), got {level}")
    rank = ceil((len(scores) + 1) * level - 1e-9)  # 10 * 0.9 is a little above 9 in floating point
    if rank > len(scores):
        raise DataError(
            f"level={level} needs at least {ceil(level / (1.0 - level) - 1e-9)} validation rows, got {len(scores)}; "
            "give more rows or a lower level"
        )
    return float(np.partition(scores, rank - 1)[rank - 1])


def _isotonic(given: FloatArray, observed: FloatArray) -> IsotonicMap:
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(given, observed)
    return IsotonicMap(np.asarray(fitted.X_thresholds_, dtype=float), np.asarray(fitted.y_thresholds_, dtype=float))


def _check_labels(logits: FloatArray, labels: NDArray[np.generic]) -> None:
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(labels):
        raise DataError(
            f"temperature_scaling needs logits (n, n_classes) and labels (n,), got {logits.shape} and {labels.shape}"
        )
    if not np.isfinite(logits).all():
        raise DataError("temperature_scaling: a logit is not finite; floor probabilities before taking logarithms")
    if not np.isin(labels, np.arange(logits.shape[1])).all():
        raise DataError(f"temperature_scaling: labels must be classes 0 to {logits.shape[1] - 1}")
