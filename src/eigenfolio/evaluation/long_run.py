r"""How far persistence widens the error of a mean: long-run variances and block lengths.

The variance of a mean of T dependent rows is the long-run variance over T,

    long-run variance = gamma_0 + 2 sum_j k(j / S) gamma_j,    gamma_j the autocovariance at lag j,

with the quadratic spectral kernel k, its bandwidth S = 1.3221 (alpha T)^(1/5) and alpha = 4 rho^2 / (1 - rho)^4
from a first-order autoregression [1]_. The series is prewhitened by such an autoregression first, and the result
recoloured by (1 - rho)^-2 [2]_; coefficients are held within +-0.97.

Blocks of the circular bootstrap have the length that Politis and White find from the autocovariances [3]_ [4]_.

References
----------
.. [1] D. Andrews (1991). Heteroskedasticity and autocorrelation consistent covariance matrix estimation.
   Econometrica 59(3), 817-858.
.. [2] D. Andrews and J. Monahan (1992). An improved heteroskedasticity and autocorrelation consistent covariance
   matrix estimator. Econometrica 60(4), 953-966.
.. [3] D. Politis and H. White (2004). Automatic block-length selection for the dependent bootstrap. Econometric
   Reviews 23(1), 53-70.
.. [4] A. Patton, D. Politis and H. White (2009). Correction to "Automatic block-length selection for the dependent
   bootstrap". Econometric Reviews 28(4), 372-375.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

__all__ = ["autocovariances", "long_run_variance", "politis_white_block", "quadratic_spectral"]

MAX_COEFFICIENT = 0.97
"""Largest autoregression that is taken out before the kernel; beyond it the recoloured variance explodes."""


def autocovariances(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocovariances at lags 0, 1, ..., T - 1, each over T.

    Parameters
    ----------
    values : ndarray of shape (n_observations,)
        The series.

    Returns
    -------
    ndarray of shape (n_observations,)

    Examples
    --------
    >>> autocovariances(np.array([1.0, -1.0, 1.0, -1.0])).round(12)
    array([ 1.  , -0.75,  0.5 , -0.25])
    """
    centred = values - values.mean()
    size = next_fast_len(2 * len(centred), real=True)
    spectrum = rfft(centred, size)
    return irfft(spectrum * spectrum.conj(), size)[: len(centred)] / len(centred)


def quadratic_spectral(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quadratic spectral kernel; 1 at zero.

    Examples
    --------
    >>> quadratic_spectral(np.array([0.0, 0.5, 1.0])).round(4)
    array([1.    , 0.6869, 0.1379])
    """
    angle = 1.2 * np.pi * np.asarray(x, dtype=float)
    near = np.abs(angle) < 1e-3  # where the difference below would lose its digits
    safe = np.where(near, 1.0, angle)
    return np.where(near, 1.0 - angle**2 / 10.0, 3.0 / safe**2 * (np.sin(safe) / safe - np.cos(safe)))


def long_run_variance(values: NDArray[np.float64]) -> float:
    """Prewhitened quadratic spectral estimate, bandwidth chosen from the data.

    Parameters
    ----------
    values : ndarray of shape (n_observations,)
        The series; its mean is taken out.

    Returns
    -------
    float
        Squared unit of the series; 0 for a constant one.

    Examples
    --------
    Independent rows have the ordinary variance, up to the noise of the estimate:

    >>> x = np.random.default_rng(0).standard_normal(5000)
    >>> bool(abs(long_run_variance(x) / x.var() - 1.0) < 0.1)
    True
    """
    centred = values - values.mean()
    coefficient = _autoregression(centred)
    residuals = centred[1:] - coefficient * centred[:-1]
    gammas = autocovariances(residuals)
    if gammas[0] <= 0.0:
        return 0.0
    rho = _autoregression(residuals - residuals.mean())
    bandwidth = 1.3221 * (4.0 * rho**2 / (1.0 - rho) ** 4 * len(residuals)) ** 0.2
    total = gammas[0]
    if bandwidth > 0.0:
        weights = quadratic_spectral(np.arange(1, len(gammas)) / bandwidth)
        total += 2.0 * float(weights @ gammas[1:])
    return float(max(total, 0.0) / (1.0 - coefficient) ** 2)


def politis_white_block(values: NDArray[np.float64]) -> float:
    """Length of the blocks with which a circular bootstrap of the mean errs least.

    Parameters
    ----------
    values : ndarray of shape (n_observations,)
        The series.

    Returns
    -------
    float
        At most the smaller of 3 sqrt(T) and T / 3, rounded up; 0 for a constant series.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal(500)
    >>> bool(politis_white_block(np.convolve(x, np.ones(20))) > politis_white_block(x))
    True
    """
    n = len(values)
    gammas = autocovariances(values)
    if gammas[0] <= 0.0:
        return 0.0
    n_lags = _significant_lags(gammas / gammas[0])
    lags = np.arange(-n_lags, n_lags + 1)
    taper = np.minimum(1.0, 2.0 * (1.0 - np.abs(lags / n_lags)))
    covariances = gammas[np.abs(lags)]
    slope = float((taper * np.abs(lags) * covariances).sum())
    spectrum = float((taper * covariances).sum())
    longest = float(np.ceil(min(3.0 * np.sqrt(n), n / 3.0)))
    if spectrum <= 0.0:
        return longest
    return min(longest, float((1.5 * slope**2 / spectrum**2 * n) ** (1.0 / 3.0)))


def _significant_lags(correlations: NDArray[np.float64]) -> int:
    """Twice the lag after which autocorrelations stay small for a while, within the usual limits."""
    n = len(correlations)
    run = max(5, int(np.log10(n)))
    n_max = min(int(np.ceil(np.sqrt(n))) + run, n - 1)
    small = np.abs(correlations[1 : n_max + 1]) < 2.0 * np.sqrt(np.log10(n) / n)
    for first in range(len(small) - run + 1):
        if small[first : first + run].all():
            return min(2 * max(first, 1), n_max)
    large = np.flatnonzero(~small)
    return min(2 * int(large[-1] + 1 if large.size else 1), n_max)


def _autoregression(centred: NDArray[np.float64]) -> float:
    """First-order coefficient, held within +-0.97."""
    energy = float(centred[:-1] @ centred[:-1])
    if energy <= 0.0:
        return 0.0
    return float(np.clip(centred[1:] @ centred[:-1] / energy, -MAX_COEFFICIENT, MAX_COEFFICIENT))
