r"""Covariance and correlation matrices: conversion, structured targets, linear shrinkage, repair.

    covariance = diag(volatility) @ correlation @ diag(volatility)
    shrunk = (1 - delta) * covariance + delta * target

The targets are functions of the covariance alone. With an equal-weight market the single-factor target
needs no returns: the covariance with the market is a row mean, the market's variance the grand mean.

References
----------
.. [1] O. Ledoit and M. Wolf (2004). A well-conditioned estimator for large-dimensional covariance
   matrices. Journal of Multivariate Analysis 88(2), 365-411.
.. [2] O. Ledoit and M. Wolf (2004). Honey, I shrunk the sample covariance matrix. Journal of Portfolio
   Management 30(4), 110-119.
.. [3] O. Ledoit and M. Wolf (2003). Improved estimation of the covariance matrix of stock returns with an
   application to portfolio selection. Journal of Empirical Finance 10(5), 603-621.
.. [4] N. J. Higham (2002). Computing the nearest correlation matrix. IMA Journal of Numerical Analysis
   22(3), 329-343.
.. [5] N. J. Higham, N. Strabic and V. Sego (2016). Restoring definiteness via shrinking, with an
   application to correlation matrices with a fixed block. SIAM Review 58(2), 245-263.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cholesky
from skfolio.utils.stats import cov_nearest

from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "constant_correlation_target",
    "correlation_to_covariance",
    "covariance_to_correlation",
    "identity_target",
    "lift_eigenvalues",
    "repair_covariance",
    "shrink",
    "single_factor_target",
]

FloatArray = npt.NDArray[np.float64]

_ASYMMETRY = 1e-8  # of the largest product of two volatilities


def covariance_to_correlation(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split a covariance into correlation and volatilities.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period, positive diagonal.

    Returns
    -------
    correlation : ndarray of shape (n_assets, n_assets)
        Unit diagonal.
    volatility : ndarray of shape (n_assets,)
        Per period.

    Raises
    ------
    DataError
        If the matrix is not square or finite, or a variance is not positive.

    Examples
    --------
    >>> covariance_to_correlation(np.array([[4.0, 1.0], [1.0, 1.0]]))
    (array([[1. , 0.5],
           [0.5, 1. ]]), array([2., 1.]))
    """
    covariance = _square(covariance, "covariance")
    variance = np.diag(covariance)
    if not (variance > 0).all():
        at = int(np.flatnonzero(~(variance > 0))[0])
        raise DataError(f"covariance needs positive variances, got {variance[at]:g} at position {at}; drop that asset")
    volatility = np.sqrt(variance)
    correlation = covariance / np.outer(volatility, volatility)
    np.fill_diagonal(correlation, 1.0)
    return correlation, volatility


def correlation_to_covariance(correlation: FloatArray, volatility: FloatArray) -> FloatArray:
    """Join correlation and volatilities.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Correlations; a diagonal other than one scales the variances.
    volatility : ndarray of shape (n_assets,)
        Per period, non-negative.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Exactly symmetric when `correlation` is.

    Raises
    ------
    DataError
        If the shapes differ or a volatility is negative.

    Examples
    --------
    >>> correlation_to_covariance(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([2.0, 1.0]))
    array([[4., 1.],
           [1., 1.]])
    """
    correlation = _square(correlation, "correlation")
    volatility = np.asarray(volatility, dtype=float)
    if volatility.shape != (len(correlation),) or not (volatility >= 0).all():
        raise DataError(
            f"volatility must be {len(correlation)} non-negative numbers, got shape {volatility.shape}"
            f" with minimum {np.min(volatility, initial=np.inf):g}"
        )
    return correlation * np.outer(volatility, volatility)


def identity_target(covariance: FloatArray) -> FloatArray:
    """Mean variance times the identity [1]_.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)

    Examples
    --------
    >>> identity_target(np.array([[1.0, 0.5], [0.5, 3.0]]))
    array([[2., 0.],
           [0., 2.]])
    """
    covariance = _square(covariance, "covariance")
    return float(np.trace(covariance)) / len(covariance) * np.eye(len(covariance))


def constant_correlation_target(covariance: FloatArray) -> FloatArray:
    """The same variances with the mean correlation between every two assets [2]_.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period, positive diagonal.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)

    Examples
    --------
    >>> constant_correlation_target(np.array([[1.0, 0.9, 0.3], [0.9, 1.0, 0.6], [0.3, 0.6, 1.0]]))
    array([[1. , 0.6, 0.6],
           [0.6, 1. , 0.6],
           [0.6, 0.6, 1. ]])
    """
    correlation, volatility = covariance_to_correlation(covariance)
    n_assets = len(correlation)
    mean = (correlation.sum() - n_assets) / max(n_assets * (n_assets - 1), 1)
    target = mean * np.outer(volatility, volatility)
    np.fill_diagonal(target, np.diag(covariance))
    return target


def single_factor_target(covariance: FloatArray) -> FloatArray:
    """The same variances with the covariances of a one-factor model of the equal-weight market [3]_.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Diagonal when the equal-weight market does not vary.

    Examples
    --------
    Covariances with the market are 1.5 and 2.5, its variance is 2, so that 1.5 * 2.5 / 2 = 1.875.

    >>> single_factor_target(np.array([[2.0, 1.0], [1.0, 4.0]]))
    array([[2.   , 1.875],
           [1.875, 4.   ]])
    """
    covariance = _square(covariance, "covariance")
    with_market = covariance.mean(axis=1)
    market = float(with_market.mean())
    if market <= 1e-12 * float(np.trace(covariance)) / len(covariance):
        return np.diag(np.diag(covariance))
    target = np.outer(with_market, with_market) / market
    np.fill_diagonal(target, np.diag(covariance))
    return target


def shrink(covariance: FloatArray, target: FloatArray, *, shrinkage: float) -> FloatArray:
    """Pull a covariance toward a target.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Sample covariance, squared return per period.
    target : ndarray of shape (n_assets, n_assets)
        Structured estimate in the same unit.
    shrinkage : float in [0, 1]
        Share of the target; 0 keeps the sample.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Positive semidefinite when both inputs are.

    Raises
    ------
    ParameterError
        If `shrinkage` leaves [0, 1] or the shapes differ.

    Examples
    --------
    >>> shrink(np.diag([1.0, 3.0]), 2 * np.eye(2), shrinkage=0.5)
    array([[1.5, 0. ],
           [0. , 2.5]])
    """
    if not 0.0 <= shrinkage <= 1.0:
        raise ParameterError(f"shrinkage must lie in [0, 1], got {shrinkage!r}")
    if np.shape(covariance) != np.shape(target):
        raise ParameterError(f"covariance and target need one shape, got {np.shape(covariance)} and {np.shape(target)}")
    return (1.0 - shrinkage) * np.asarray(covariance) + shrinkage * np.asarray(target)


def lift_eigenvalues(covariance: FloatArray, *, minimum: float = 1e-10) -> tuple[FloatArray, int]:
    """Make a covariance positive definite by lifting small eigenvalues of its correlation.

    One Cholesky factorisation decides whether anything is to be done; a matrix that is definite enough
    comes back as it is, bit for bit.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Symmetric with a positive diagonal, which is kept.
    minimum : float in (0, 1)
        Smallest eigenvalue that the correlation may have (its mean eigenvalue is 1).

    Returns
    -------
    covariance : ndarray of shape (n_assets, n_assets)
        Positive definite.
    n_lifted : int
        Eigenvalues lifted; 0 when the input is returned.

    Examples
    --------
    >>> lifted, count = lift_eigenvalues(np.ones((2, 2)), minimum=0.1)
    >>> count, np.linalg.eigvalsh(lifted).round(3)
    (1, array([0.1, 1.9]))
    """
    correlation, volatility = covariance_to_correlation(covariance)
    shifted = correlation.copy()
    shifted[np.diag_indices_from(shifted)] -= minimum
    try:
        cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        pass
    else:
        return covariance, 0
    values, vectors = np.linalg.eigh(correlation)
    clipped = (vectors * np.maximum(values, minimum)) @ vectors.T
    variance = np.diag(clipped)
    # Back on a unit diagonal the smallest eigenvalue is at least minimum / max(variance): a trace of
    # identity brings it to the minimum again.
    lowest = minimum / float(variance.max())
    share = (minimum - lowest) / (1.0 - lowest)
    clipped *= (1.0 - share) * np.outer(volatility / np.sqrt(variance), volatility / np.sqrt(variance))
    repaired = 0.5 * (clipped + clipped.T)
    np.fill_diagonal(repaired, np.diag(covariance))
    return repaired, int((values < minimum).sum())


def repair_covariance(
    matrix: npt.ArrayLike,
    *,
    method: Literal["clip", "higham", "shrink"] = "clip",
    minimum_eigenvalue: float = 1e-8,
    max_iteration: int | None = None,
) -> FloatArray:
    """Nearest usable covariance to a user's own matrix: symmetric, positive definite, same variances.

    All methods work on the correlation and keep the diagonal. A matrix whose correlation already has
    no eigenvalue below `minimum_eigenvalue` is only made exactly symmetric.

    Parameters
    ----------
    matrix : array-like of shape (n_assets, n_assets)
        Symmetric up to rounding, finite, with positive variances.
    method : {"clip", "higham", "shrink"}
        "clip" lifts small eigenvalues and rescales to unit diagonal; "higham" finds the nearest
        correlation in the Frobenius norm by alternating projections [4]_, then clips; "shrink" mixes in
        as little identity as is needed [5]_, which keeps the order of all correlations.
    minimum_eigenvalue : float in (0, 1)
        Smallest eigenvalue of the answer's correlation (its mean eigenvalue is 1).
    max_iteration : int, optional
        Projections allowed to "higham" (1000 when None); an error with the other methods.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Has a Cholesky factor.

    Raises
    ------
    DataError
        If the matrix is not square, not symmetric, not finite, or has a variance that is not positive;
        if "higham" has not converged.
    ParameterError
        If an option has a value it cannot have.

    Examples
    --------
    Three correlations that cannot hold together:

    >>> impossible = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    >>> repair_covariance(impossible, method="shrink").round(3)
    array([[ 1. ,  0.5, -0.5],
           [ 0.5,  1. ,  0.5],
           [-0.5,  0.5,  1. ]])
    """
    if method not in ("clip", "higham", "shrink"):
        raise ParameterError(f"method must be 'clip', 'higham' or 'shrink', got {method!r}")
    if not 0.0 < minimum_eigenvalue < 1.0:
        raise ParameterError(f"minimum_eigenvalue must lie in (0, 1), got {minimum_eigenvalue!r}")
    if max_iteration is not None and method != "higham":
        raise ParameterError(f"max_iteration is read by method='higham' only, got it with method={method!r}")
    projections = 1000 if max_iteration is None else max_iteration
    if isinstance(projections, bool) or not isinstance(projections, int) or projections < 1:
        raise ParameterError(f"max_iteration must be a whole number of at least 1, got {max_iteration!r}")
    given = _square(matrix, "matrix")
    size = np.sqrt(np.abs(np.diag(given)))
    gap = np.abs(given - given.T)
    if (gap > _ASYMMETRY * np.max(np.outer(size, size))).any():
        row, column = np.unravel_index(np.argmax(gap), gap.shape)
        raise DataError(
            f"matrix must be symmetric, got {given[row, column]:g} at ({row}, {column}) and "
            f"{given[column, row]:g} at ({column}, {row}); average it with its transpose if that is meant"
        )
    covariance = 0.5 * (given + given.T)
    correlation, volatility = covariance_to_correlation(covariance)
    if method == "shrink":
        lowest = float(np.linalg.eigvalsh(correlation)[0])
        if lowest >= minimum_eigenvalue:
            return covariance
        # A hair more than needed, so that rounding does not undo it.
        share = min(1.0, (minimum_eigenvalue - lowest) / (1.0 - lowest) * (1.0 + 1e-9))
        repaired = (1.0 - share) * covariance
        np.fill_diagonal(repaired, np.diag(covariance))
        return repaired
    if method == "higham":
        try:
            correlation = cov_nearest(correlation, higham=True, higham_max_iteration=projections)
        except ValueError as error:
            raise DataError(
                f"method='higham' has not converged in max_iteration={projections} projections for a matrix of "
                f"shape {given.shape}; raise max_iteration or use method='clip'"
            ) from error
        nearest = 0.5 * (correlation + correlation.T) * np.outer(volatility, volatility)
        np.fill_diagonal(nearest, np.diag(covariance))
        covariance = nearest
    return lift_eigenvalues(covariance, minimum=minimum_eigenvalue)[0]


def _square(matrix: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(matrix, dtype=float)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise DataError(f"{name} must be square, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(
            f"{name} must be finite, got {int((~np.isfinite(array)).sum())} missing or infinite entries; "
            "drop the inactive assets first"
        )
    return array
