r"""A window of returns with gaps becomes a complete one, in one way for every model.

An asset is *active* when the last row of `active_mask` says so or, without a mask, when it has a return
among the last 21 rows given, however short the lookback; inactive assets take no part. Then rows beyond
`lookback` are cut. An active asset i with :math:`n_i` of T rows observed is centred on its own span, its
missing rows become zero, and its column is scaled by :math:`\sqrt{T / n_i}`:

.. math:: x_{ti} = \sqrt{T / n_i} \; (r_{ti} - \bar r_i) \text{ where observed, else } 0

so that :math:`x'x / T` has the own-span variance on its diagonal and, off it, covariances shrunk by
coverage (:math:`\sqrt{n_i / T}` against a complete asset). It is positive semidefinite by construction
and, on complete data, bit for bit the textbook matrix.

Two rules keep an answer finite where data say too little:

- a history shorter than m = min(21, T) rows gets a variance led by the cross-section,
  :math:`(n_i / m) s_i^2 + (1 - n_i / m) \operatorname{median}_j s_j^2`;
- a variance below 1e-8 of the median (a constant column) is raised to that floor. What no row backs
  is added to the diagonal alone, so a constant column is uncorrelated with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from scipy.signal import lfilter
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "RECENT_ROWS",
    "Window",
    "active_assets",
    "check_returns",
    "decay_weights",
    "ewma_variance_path",
    "prepare_window",
    "weighted_correlation",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

RECENT_ROWS = 21
"""Rows without any return that make an asset inactive, and rows that make a history long enough."""

_ROUNDING = 1e-14
_VARIANCE_FLOOR = 1e-8  # of the median variance: a ten-thousandth of the median volatility


@dataclass(frozen=True)
class Window:
    """A complete window made from one with gaps.

    Attributes
    ----------
    deviations : ndarray of shape (n_observations, n_assets)
        Return minus `location`, 0 where missing.
    observed : ndarray of bool, shape (n_observations, n_assets)
        True where there was a return.
    counts : ndarray of shape (n_assets,)
        Observed rows per asset.
    location : ndarray of shape (n_assets,)
        Mean return on the own span (0 when centred returns are assumed or nothing was observed).
    variance : ndarray of shape (n_assets,)
        Mean square of the own span, led by the cross-section where short, never below the floor.
    columns : ndarray of shape (n_observations, n_assets)
        `deviations`, scaled so that their mean square is `variance - unbacked`.
    unbacked : ndarray of shape (n_assets,)
        Part of `variance` that no row backs; 0 but for constant or nearly unobserved assets.
    """

    deviations: FloatArray
    observed: BoolArray
    counts: FloatArray
    location: FloatArray
    variance: FloatArray
    columns: FloatArray
    unbacked: FloatArray

    @property
    def n_observations(self) -> int:
        """Rows of the window."""
        return self.columns.shape[0]

    @property
    def n_assets(self) -> int:
        """Columns of the window."""
        return self.columns.shape[1]

    @cached_property
    def volatility(self) -> FloatArray:
        """Square root of `variance`, shape (n_assets,)."""
        return np.sqrt(self.variance)

    @cached_property
    def standardised(self) -> FloatArray:
        """`columns / volatility`: mean square one, shape (n_observations, n_assets)."""
        return self.columns / self.volatility

    def covariance(self, *, divisor: float | None = None) -> FloatArray:
        """`columns' columns / divisor` plus the unbacked variances; the divisor is T unless given."""
        gram = self.columns.T @ self.columns
        gram /= self.n_observations if divisor is None else divisor
        if self.unbacked.any():
            gram[np.diag_indices_from(gram)] += self.unbacked
        return gram

    def correlation(self) -> FloatArray:
        """`standardised' standardised / T` with an exact unit diagonal."""
        correlation = self.standardised.T @ self.standardised
        correlation /= self.n_observations
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def ewma_volatility(self, half_life: float) -> FloatArray:
        """Exponentially weighted volatility for the row after the window, shape (n_assets,).

        Short histories and constant columns follow the same two rules as `variance`.
        """
        return np.sqrt(self.led(ewma_variance_path(self.deviations, self.observed, half_life=half_life)[-1]))

    def led(self, own: FloatArray) -> FloatArray:
        """Apply the rules for short histories and constant columns to other own-span variances.

        Shape (n_assets,) in and out; complete assets that vary keep their value.
        """
        typical = _typical_variance(own, self.counts, self.n_observations)
        return _prior_led(own, self.counts, self.n_observations, typical=typical)


def check_returns(estimator: BaseEstimator, X: Any, active_mask: Any = None) -> tuple[FloatArray, BoolArray | None]:
    """Validate returns for `estimator.fit`: two rows or more, no infinity, NaN where inactive.

    Parameters
    ----------
    estimator : BaseEstimator
        Receives `n_features_in_` and `feature_names_in_`.
    X : array-like of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    active_mask : array-like of bool, shape (n_observations, n_assets), optional
        True where an asset is listed. A DataFrame is aligned with X by its labels.

    Returns
    -------
    returns : ndarray of shape (n_observations, n_assets)
        Returns as float64, NaN where `active_mask` is False.
    active_mask : ndarray of bool, shape (n_observations, n_assets), or None
        In the order of X.

    Raises
    ------
    DataError
        With fewer than two rows, or if X holds prices.
    ParameterError
        If `active_mask` does not fit X.
    """
    labels = (X.index, X.columns) if isinstance(X, pd.DataFrame) else None
    returns = _validated(estimator, X)
    returns = np.ascontiguousarray(returns)  # one memory layout, so that equal returns give equal bits
    n_rows = returns.shape[0]
    if n_rows < 2:
        raise DataError(
            f"{type(estimator).__name__} needs at least 2 observations, got n_samples = {n_rows}; give more rows"
        )
    if _look_like_prices(returns):
        raise DataError(
            f"{type(estimator).__name__} takes simple returns, and X looks like prices: all of it is positive and "
            "moves little from row to row; give prices.pct_change().iloc[1:]"
        )
    if active_mask is None:
        return returns, None
    mask = _aligned_mask(active_mask, returns.shape, labels)
    return np.where(mask, returns, np.nan), mask


def _validated(estimator: BaseEstimator, X: Any) -> FloatArray:
    """`validate_data`, which need not look at a table of floats whose sum shows that all of it is finite."""
    values = X.to_numpy() if isinstance(X, pd.DataFrame) else X
    if type(values) is np.ndarray and values.dtype == np.float64 and values.ndim == 2 and values.size > 0:
        with np.errstate(over="ignore", invalid="ignore"):
            all_finite = bool(np.isfinite(values.sum()))
        if all_finite:
            validate_data(estimator, X, skip_check_array=True)  # names and number of the assets
            return values
    checked: FloatArray = validate_data(estimator, X, dtype=np.float64, ensure_all_finite="allow-nan")
    return checked


def _look_like_prices(values: FloatArray) -> bool:
    """Whether all numbers are positive, large, and wander: steps are small beside the level and beside its spread."""
    if len(values) < 20 or not ((values[0] > 0.0) & (values[-1] > 0.0)).all():  # what nearly all returns fail at once
        return False
    if not (values > 0.0).all() or float(np.median(values)) < 0.5:
        return False
    steps = np.abs(np.diff(values, axis=0))
    spread = np.maximum(values.std(axis=0), 1e-300)
    return 0.0 < float(np.median(steps / values[:-1])) < 0.1 and float(np.median(steps / spread)) < 0.3


def _aligned_mask(active_mask: Any, shape: tuple[int, ...], labels: tuple[Any, Any] | None) -> BoolArray:
    if isinstance(active_mask, pd.DataFrame) and labels is not None:
        index, columns = labels
        absent = [str(name) for name in columns if name not in active_mask.columns]
        if absent or not index.isin(active_mask.index).all():
            raise ParameterError(
                f"active_mask must cover every row and asset of X; missing assets: {absent[:5]}, "
                f"missing rows: {int((~index.isin(active_mask.index)).sum())}"
            )
        active_mask = active_mask.loc[index, columns]
    mask = np.asarray(active_mask)
    if mask.shape != shape or mask.dtype != np.bool_:
        raise ParameterError(
            f"active_mask must be boolean with the shape of X {shape}, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def active_assets(returns: FloatArray, active_mask: BoolArray | None = None) -> BoolArray:
    """Which assets take part in a decision at the last row.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        NaN where missing; all rows, not only those of a lookback.
    active_mask : ndarray of bool, shape (n_observations, n_assets), optional
        Its last row decides. Without it, an asset whose last 21 rows are all missing is inactive.

    Returns
    -------
    ndarray of bool, shape (n_assets,)

    Raises
    ------
    DataError
        If no asset is active.

    Examples
    --------
    >>> active_assets(np.array([[0.01, np.nan], [0.02, np.nan]]))
    array([ True, False])
    """
    if active_mask is None:
        active: BoolArray = np.asarray(np.isfinite(returns[-RECENT_ROWS:]).any(axis=0))
    else:
        active = active_mask[-1].copy()
    if not active.any():
        raise DataError(
            f"no asset is active at the last row: all {returns.shape[1]} have only missing returns in the last "
            f"{min(RECENT_ROWS, len(returns))} rows or are masked out; end the window where assets are listed"
        )
    return active


def prepare_window(returns: FloatArray, *, lookback: int | None = None, assume_centered: bool = False) -> Window:
    """Complete a window with gaps (rules at the head of this module).

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        Simple returns of active assets, NaN where missing.
    lookback : int, optional
        Last rows to use; all when None.
    assume_centered : bool
        Take the location as zero.

    Returns
    -------
    Window

    Raises
    ------
    DataError
        If fewer than two rows are left, or no asset varies.

    Examples
    --------
    A complete asset, and one listed for the last half of the window: its variance is that of its own
    span and its covariance is shrunk by the square root of its coverage.

    >>> x = np.tile([0.01, -0.01], 42)
    >>> late = np.where(np.arange(84) < 42, np.nan, x)
    >>> prepare_window(np.column_stack([x, late])).covariance().round(7)
    array([[1.00e-04, 7.07e-05],
           [7.07e-05, 1.00e-04]])
    """
    if lookback is not None:
        returns = returns[-lookback:]
    n_rows = returns.shape[0]
    if n_rows < 2:
        raise DataError(f"a window needs at least 2 observations, got n_samples = {n_rows}; give more rows")
    sums = returns.sum(axis=0)
    complete = bool(np.isfinite(sums).all()) or bool(np.isfinite(returns).all())
    if complete:
        observed, counts = np.ones(returns.shape, dtype=bool), np.full(returns.shape[1], float(n_rows))
        location = np.zeros(returns.shape[1]) if assume_centered else sums / n_rows
        deviations, own = _centred(returns, location)
    else:
        observed = np.isfinite(returns)
        counts = observed.sum(axis=0).astype(float)
        filled = np.where(observed, returns, 0.0)
        location = np.zeros(returns.shape[1]) if assume_centered else filled.sum(axis=0) / np.maximum(counts, 1.0)
        deviations = np.where(observed, filled - location, 0.0)
        own = np.einsum("ti,ti->i", deviations, deviations)
    seen = np.maximum(counts, 1.0)
    own /= seen
    own[own <= (_ROUNDING * location) ** 2] = 0.0  # a constant column less its mean
    typical = _typical_variance(own, counts, n_rows)
    variance = _prior_led(own, counts, n_rows, typical=typical)
    # Scaling cannot make a variance out of rounding noise: that part stays off the rows.
    backed = own >= _VARIANCE_FLOOR * typical
    scale = np.sqrt(n_rows / seen)
    lifted = backed & (variance != own)
    scale[lifted] *= np.sqrt(variance[lifted] / own[lifted])
    columns = deviations if np.all(scale == 1.0) else deviations * scale
    unbacked = np.where(backed, 0.0, variance - own)
    return Window(deviations, observed, counts, location, variance, columns, unbacked)


@njit(cache=True)
def _centred(x, location):  # type: ignore[no-untyped-def]
    """Columns less a location, and their sums of squares."""
    n_rows, n = x.shape
    away, square = np.empty((n_rows, n)), np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            value = x[t, i] - location[i]
            away[t, i] = value
            square[i] += value * value
    return away, square


def _typical_variance(own: FloatArray, counts: FloatArray, n_rows: int) -> float:
    """Median variance of the assets that vary: of the long enough histories where there is one."""
    alive = own > 0.0
    long_enough = alive & (counts >= min(RECENT_ROWS, n_rows))
    if not alive.any():
        raise DataError(
            f"no asset varies: each of the {own.size} active columns is constant or has one observation; "
            "give returns, not a constant table, with at least two rows"
        )
    return float(np.median(own[long_enough if long_enough.any() else alive]))


def _prior_led(own: FloatArray, counts: FloatArray, n_rows: int, *, typical: float) -> FloatArray:
    """Own-span variances, led by the typical one where the history is short, floored where nearly zero."""
    trust = np.minimum(counts / min(RECENT_ROWS, n_rows), 1.0)
    led = np.where(trust < 1.0, trust * own + (1.0 - trust) * typical, own)
    return np.maximum(led, _VARIANCE_FLOOR * typical)


def ewma_variance_path(deviations: FloatArray, observed: BoolArray, *, half_life: float) -> FloatArray:
    r"""Exponentially weighted variance of each asset, known before each row.

    :math:`v_{t+1} = (1 - a) v_t + a x_t^2` with :math:`a = 1 - 2^{-1/h}`, started at the mean of the
    first 21 observed squares and unchanged by a missing row.

    Parameters
    ----------
    deviations : ndarray of shape (n_observations, n_assets)
        Centred returns, 0 where missing.
    observed : ndarray of bool, shape (n_observations, n_assets)
        True where there was a return.
    half_life : float
        Observed rows after which a weight has halved, greater than 0.

    Returns
    -------
    ndarray of shape (n_observations + 1, n_assets)
        Row t uses rows before t only (but for the start value); the last row is the forecast for the
        row after the window.

    Examples
    --------
    >>> x = np.array([[1.0], [1.0], [3.0]])
    >>> ewma_variance_path(x, np.isfinite(x), half_life=1.0).ravel().round(3)
    array([3.667, 2.333, 1.667, 5.333])
    """
    keep = 2.0 ** (-1.0 / half_life)
    squares = deviations**2
    complete = bool(observed.all())
    if complete:
        start = squares[:RECENT_ROWS].mean(axis=0)
        compact = squares
    else:
        rank = np.cumsum(observed, axis=0)
        first = observed & (rank <= RECENT_ROWS)
        start = np.where(first, squares, 0.0).sum(axis=0) / np.maximum(first.sum(axis=0), 1)
        # Observed rows move to the end in order; the rows before them repeat the start value, which
        # leaves the recursion where it is.
        order = np.argsort(observed, axis=0, kind="stable")
        compact = np.take_along_axis(np.where(observed, squares, start), order, axis=0)
    filtered, _ = lfilter([1.0 - keep], [1.0, -keep], compact, axis=0, zi=(keep * start)[None, :])
    path = np.vstack([start, filtered])
    if complete:
        return path
    n_rows = observed.shape[0]
    before = np.vstack([np.zeros(observed.shape[1], dtype=int), rank])  # observed rows before each row
    return np.take_along_axis(path, n_rows - rank[-1] + before, axis=0)


def decay_weights(n_rows: int, half_life: float) -> FloatArray:
    """Row weights that halve every `half_life` rows back from the last, sum 1, shape (n_rows,).

    Examples
    --------
    >>> decay_weights(3, 1.0) * 7
    array([1., 2., 4.])
    """
    weights = 2.0 ** (-np.arange(n_rows - 1, -1, -1.0) / half_life)
    return weights / weights.sum()


def weighted_correlation(
    standardised: FloatArray, observed: BoolArray, weights: FloatArray, *, center: bool
) -> FloatArray:
    """Correlation under row weights, shrunk by coverage where rows are missing.

    Parameters
    ----------
    standardised : ndarray of shape (n_observations, n_assets)
        Returns in units of their volatility, 0 where missing.
    observed : ndarray of bool, shape (n_observations, n_assets)
        True where there was a return.
    weights : ndarray of shape (n_observations,)
        Row weights, sum 1.
    center : bool
        Take off each asset's weighted mean over its observed rows.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Positive semidefinite with unit diagonal; an asset that does not move is uncorrelated.

    Examples
    --------
    >>> z = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    >>> weighted_correlation(z, np.isfinite(z), np.array([0.4, 0.4, 0.2]), center=False)
    array([[1. , 0.6],
           [0.6, 1. ]])
    """
    if center:
        mean = weights @ standardised / np.maximum(weights @ observed, np.finfo(float).tiny)
        standardised = np.where(observed, standardised - mean, 0.0)
    rows = standardised * np.sqrt(weights)[:, None]
    gram = rows.T @ rows
    size = np.sqrt(np.diag(gram))
    still = size <= 1e-6  # ordinary assets are near 1; below this there is rounding noise only
    inverse = np.where(still, 0.0, 1.0 / np.where(still, 1.0, size))
    correlation = gram * np.outer(inverse, inverse)
    np.fill_diagonal(correlation, 1.0)
    return correlation
