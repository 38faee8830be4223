r"""Covariances that weight recent rows more.

EWMA: outer products of centred returns under weights that halve every `half_life` rows.

Iterated EWMA (IEWMA) [1]_ [2]_ lets volatilities move faster than correlations: returns are divided by an
exponentially weighted volatility known before each day, clipped, and their exponentially weighted second
moments, scaled to a correlation, are joined with the volatilities forecast for the next day:

.. math:: \Sigma = D \, R \, D, \qquad
    R \propto \sum_t 2^{-\text{lag}_t / h_{cor}} \, \tilde r_t \tilde r_t', \qquad \tilde r_t = D_t^{-1} r_t

Conventions: weights sum to one over the window; the volatility recursion starts at the mean of the first
21 squares; returns are centred on their own span unless `assume_centered` (the papers take the mean as
zero).

References
----------
.. [1] S. Barratt and S. Boyd (2022). Covariance prediction via convex optimization. Optimization and
   Engineering 24, 2045-2078.
.. [2] K. Johansson, M. G. Ogut, M. Pelger, T. Schmelzer and S. Boyd (2023). A simple method for predicting
   covariance matrices of financial returns. Foundations and Trends in Econometrics 12(4), 324-407.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenfolio.linalg import correlation_to_covariance
from eigenfolio.models.covariance_model import CovarianceModel, positive_number
from eigenfolio.models.window import Window, decay_weights, ewma_variance_path, weighted_correlation

__all__ = ["EWMACovariance", "IEWMACovariance"]

FloatArray = npt.NDArray[np.float64]


class EWMACovariance(CovarianceModel):
    """Exponentially weighted covariance with one half-life.

    Parameters
    ----------
    half_life : float
        Rows after which a weight has halved, greater than 0.
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero; otherwise the plain mean of the window is taken off.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "effective_observations", 1 / sum of squared weights, and "lifted_eigenvalues".

    Examples
    --------
    With half-life 1 the rows weigh 1/7, 2/7 and 4/7.

    >>> X = [[0.01, 0.0], [0.0, 0.02], [0.03, 0.01]]
    >>> EWMACovariance(half_life=1.0, assume_centered=True).fit(X).covariance_ * 7e4
    array([[37., 12.],
           [12., 12.]])
    """

    def __init__(self, *, half_life: float = 63.0, lookback: int | None = None, assume_centered: bool = False) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.half_life = half_life

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        weights = decay_weights(window.n_observations, positive_number("half_life", self.half_life))
        self.diagnostics_["effective_observations"] = 1.0 / float(weights @ weights)
        coverage = weights @ window.observed
        own = weights @ window.deviations**2 / np.maximum(coverage, np.finfo(float).tiny)
        variance = window.led(own)
        # Same rule as the flat window: own-span variances, correlations shrunk by coverage.
        standardised = window.deviations / np.sqrt(np.maximum(own, variance * 1e-6))
        correlation = weighted_correlation(standardised, window.observed, weights, center=False)
        return correlation_to_covariance(correlation, np.sqrt(variance))


class IEWMACovariance(CovarianceModel):
    """Iterated EWMA [2]_: one half-life for volatilities, a longer one for correlations.

    Parameters
    ----------
    volatility_half_life : float
        Rows after which a weight in the volatilities has halved.
    correlation_half_life : float
        Rows after which a weight in the correlations has halved.
    clip : float, optional
        Standardised returns are cut to +-clip; None cuts nothing.
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero; otherwise the plain mean of the window is taken off.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "effective_observations" of the correlation, and "lifted_eigenvalues".

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((250, 3)) * 0.01
    >>> IEWMACovariance().fit(X).covariance_.shape
    (3, 3)
    """

    def __init__(
        self,
        *,
        volatility_half_life: float = 63.0,
        correlation_half_life: float = 125.0,
        clip: float | None = 4.2,
        lookback: int | None = None,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.volatility_half_life = volatility_half_life
        self.correlation_half_life = correlation_half_life
        self.clip = clip

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        fast = positive_number("volatility_half_life", self.volatility_half_life)
        slow = positive_number("correlation_half_life", self.correlation_half_life)
        bound = np.inf if self.clip is None else positive_number("clip", self.clip)
        weights = decay_weights(window.n_observations, slow)
        self.diagnostics_["effective_observations"] = 1.0 / float(weights @ weights)
        path = ewma_variance_path(window.deviations, window.observed, half_life=fast)
        floor = 1e-8 * window.variance  # an asset that has not moved yet
        standardised = np.clip(window.deviations / np.sqrt(np.maximum(path[:-1], floor)), -bound, bound)
        correlation = weighted_correlation(standardised, window.observed, weights, center=False)
        return correlation_to_covariance(correlation, np.sqrt(window.led(path[-1])))
