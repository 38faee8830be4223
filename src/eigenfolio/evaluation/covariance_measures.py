r"""How good a covariance estimate is: against the truth where it is known, against what came where it is not.

Write E for the estimate, S for the truth, n for the number of assets, r_1..r_h for the returns that followed and p for
the variance that E predicts for a portfolio.

========================= ====================================================== =========== =======
name                      formula                                                needs       best
========================= ====================================================== =========== =======
frobenius                 ||E - S||^2 / n                                        S           0
stein                     (tr S^-1 E - ln det S^-1 E - n) / n                    S           0
inverse_stein             (tr E^-1 S - ln det E^-1 S - n) / n                    S           0
log_det                   ((ln det E - ln det S) / n)^2                          S           0
minimum_variance          tr(E^-1 S E^-1) / n / (tr(E^-1) / n)^2 - n / tr(S^-1)  S           0
eigenvalues               mean_i (ln e_i - ln s_i)^2, both sorted                S           0
log_likelihood            mean_t -(n ln 2 pi + ln det E + r_t' E^-1 r_t) / 2     r           high
mahalanobis_ratio         mean_t r_t' E^-1 r_t / n_t                             r           1
diagonal_ratio            mean_t mean_i r_ti^2 / E_ii                            r           1
qlike                     ln(h p) + sum_t (w' r_t)^2 / (h p)                     r, weights  low
variance_ratio            sum_t (w' r_t)^2 / (h p)                               r, weights  1
========================= ====================================================== =========== =======

The losses are those of Ledoit and Wolf [1]_ [2]_; inverse_stein is twice the information that E loses about S, per
asset. The root of the mean variance ratio over many windows is the bias ratio: above 1 where risk was underrated.
Likelihoods are those of a normal law with mean zero, in nats. A missing return is left out of its row's likelihood
and ratio, and counts as zero in a portfolio. `regret` is the likelihood that a span's own covariance would have
reached, less that of the forecasts [3]_. QLIKE is skfolio's, and ranks forecasts by any unbiased proxy [4]_.

References
----------
.. [1] R. Engle, O. Ledoit and M. Wolf (2019). Large dynamic covariance matrices. Journal of Business and Economic
   Statistics 37(2), 363-375.
.. [2] O. Ledoit and M. Wolf (2022). Quadratic shrinkage for large covariance matrices. Bernoulli 28(3), 1519-1547.
.. [3] K. Johansson, M. Ogut, M. Pelger, T. Schmelzer and S. Boyd (2023). A simple method for predicting covariance
   matrices of financial returns. Foundations and Trends in Econometrics 12(4), 324-407.
.. [4] A. Patton (2011). Volatility forecast comparison using imperfect volatility proxies. Journal of Econometrics
   160(1), 246-256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular

from eigenfolio.errors import DataError

__all__ = [
    "diagonal_ratio",
    "log_likelihood",
    "losses_to_truth",
    "mahalanobis_ratio",
    "own_log_likelihood",
    "prial",
    "qlike",
    "variance_ratio",
]

FloatArray = NDArray[np.float64]


def losses_to_truth(estimate: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """Every loss of an estimate whose truth is known.

    Parameters
    ----------
    estimate, truth : array-like of shape (n_assets, n_assets)
        Squared return per period; positive definite.

    Returns
    -------
    dict of str to float
        ``frobenius`` and ``minimum_variance`` have the unit of the matrices (squared and single), the others none.

    Raises
    ------
    DataError
        If a matrix is not square, finite and positive definite, or the orders differ.

    Examples
    --------
    Twice the truth: its shape is right, so the minimum-variance portfolio loses nothing.

    >>> found = losses_to_truth(2 * np.eye(2), np.eye(2))
    >>> {name: round(value, 4) for name, value in found.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'frobenius': 1.0, 'stein': 0.3069, 'inverse_stein': 0.1931, 'log_det': 0.4805, 'minimum_variance': 0.0,
     'eigenvalues': 0.4805}
    """
    E, S = _matrix(estimate, "estimate"), _matrix(truth, "truth")
    if E.shape != S.shape:
        raise DataError(f"estimate and truth must be of one order, got {E.shape} and {S.shape}")
    n = len(E)
    factor_e, factor_s = _factor(E, "estimate"), _factor(S, "truth")
    inverse_e, inverse_s = cho_solve(factor_e, np.eye(n)), cho_solve(factor_s, np.eye(n))
    log_ratio = _log_determinant(factor_e) - _log_determinant(factor_s)
    spread = float(np.einsum("ij,jk,ki->", inverse_e, S, inverse_e, optimize=True))
    spectra = [np.linalg.eigvalsh(matrix) for matrix in (E, S)]
    return {
        "frobenius": float(((E - S) ** 2).sum() / n),
        "stein": float(((inverse_s * E).sum() - log_ratio - n) / n),
        "inverse_stein": float(((inverse_e * S).sum() + log_ratio - n) / n),
        "log_det": float((log_ratio / n) ** 2),
        "minimum_variance": float(spread / n / (np.trace(inverse_e) / n) ** 2 - n / np.trace(inverse_s)),
        "eigenvalues": float(np.mean(np.log(spectra[0] / spectra[1]) ** 2)),
    }


def prial(losses: ArrayLike, baseline: ArrayLike) -> float:
    """Percentage relative improvement in average loss over a baseline, usually the sample covariance.

    Parameters
    ----------
    losses, baseline : array-like of shape (n_draws,)
        One loss per draw, of the estimator and of the baseline.

    Returns
    -------
    float
        At most 100; 0 is no better than the baseline, negative is worse.

    Raises
    ------
    DataError
        If the lists differ in length or the baseline loses nothing.

    References
    ----------
    .. [1] O. Ledoit and M. Wolf (2022). Quadratic shrinkage for large covariance matrices. Bernoulli 28(3), 1519-1547.

    Examples
    --------
    >>> prial([1.0, 2.0], [5.0, 7.0])
    75.0
    """
    ours, theirs = np.asarray(losses, dtype=float), np.asarray(baseline, dtype=float)
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise DataError(f"losses and baseline must be lists of equal length, got {ours.shape} and {theirs.shape}")
    if not theirs.mean() > 0.0:
        raise DataError(f"the baseline loses {theirs.mean():g} on average, so nothing can be relative to it")
    return float(100.0 * (1.0 - ours.mean() / theirs.mean()))


def log_likelihood(covariance: ArrayLike, returns: ArrayLike) -> float:
    """Mean log density of rows of returns under a normal law with mean zero.

    Parameters
    ----------
    covariance : array-like of shape (n_assets, n_assets)
        Squared return per period.
    returns : array-like of shape (n_observations, n_assets)
        Simple returns; NaN is left out of its row.

    Returns
    -------
    float
        Nats per row.

    Raises
    ------
    DataError
        If the matrix is not positive definite, shapes differ, or no return is there.

    Examples
    --------
    >>> round(log_likelihood([[1.0]], [[0.0]]), 4)
    -0.9189
    """
    total, n_rows = 0.0, 0
    for factor, rows in _by_pattern(covariance, returns):
        n_rows += len(rows)
        constant = rows.shape[1] * np.log(2.0 * np.pi) + _log_determinant(factor)
        total += -0.5 * (len(rows) * constant + float((_whitened(factor, rows) ** 2).sum()))
    return float(total / n_rows)


def mahalanobis_ratio(covariance: ArrayLike, returns: ArrayLike) -> float:
    """Mean squared Mahalanobis distance of a row, per asset.

    Parameters
    ----------
    covariance, returns
        As in `log_likelihood`.

    Returns
    -------
    float
        1 where all directions are calibrated, above it where risk was underrated.

    Raises
    ------
    DataError
        As in `log_likelihood`.

    Examples
    --------
    >>> mahalanobis_ratio([[4.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [2.0, float("nan")]])
    1.0
    """
    ratios = [
        (_whitened(factor, rows) ** 2).sum(axis=0) / rows.shape[1] for factor, rows in _by_pattern(covariance, returns)
    ]
    return float(np.concatenate(ratios).mean())


def diagonal_ratio(covariance: ArrayLike, returns: ArrayLike) -> float:
    """Mean squared return over its predicted variance: the calibration of volatilities alone.

    Parameters
    ----------
    covariance, returns
        As in `log_likelihood`.

    Returns
    -------
    float
        1 where volatilities are calibrated.

    Raises
    ------
    DataError
        If shapes differ, a variance is not positive, or no return is there.

    Examples
    --------
    >>> diagonal_ratio([[4.0, 0.0], [0.0, 1.0]], [[2.0, 2.0]])
    2.5
    """
    E, rows = _matrix(covariance, "covariance"), _rows(covariance, returns)
    variances = np.diag(E)
    if not (variances > 0.0).all():
        raise DataError(f"covariance needs positive variances, got {float(variances.min()):g}")
    return float(np.nanmean(np.nanmean(rows**2 / variances, axis=1)))


def qlike(covariance: ArrayLike, returns: ArrayLike, weights: ArrayLike) -> float:
    """Quasi-likelihood loss of a portfolio's predicted variance over a window.

    Parameters
    ----------
    covariance, returns
        As in `log_likelihood`; a missing return counts as zero, and so does its share of the predicted variance.
    weights : array-like of shape (n_assets,)
        The portfolio, held at these weights in every row.

    Returns
    -------
    float
        Lower is better; comparable among windows of equal length only.

    Raises
    ------
    DataError
        If shapes differ or the predicted variance is not positive.

    References
    ----------
    .. [1] A. Patton (2011). Volatility forecast comparison using imperfect volatility proxies. Journal of Econometrics
       160(1), 246-256.

    Examples
    --------
    >>> round(qlike([[1.0]], [[1.0], [-1.0]], [1.0]), 4)
    1.6931
    """
    realised, predicted = _portfolio_variances(covariance, returns, weights)
    return float(np.log(predicted) + realised / predicted)


def variance_ratio(covariance: ArrayLike, returns: ArrayLike, weights: ArrayLike) -> float:
    """Realised over predicted variance of a portfolio in a window.

    Parameters
    ----------
    covariance, returns, weights
        As in `qlike`.

    Returns
    -------
    float
        1 where risk is calibrated, above it where it was underrated. The root of its mean over windows is the bias
        ratio.

    Raises
    ------
    DataError
        As in `qlike`.

    Examples
    --------
    >>> variance_ratio([[1.0]], [[2.0], [0.0]], [1.0])
    2.0
    """
    realised, predicted = _portfolio_variances(covariance, returns, weights)
    return realised / predicted


def own_log_likelihood(returns: ArrayLike) -> float:
    """Mean log density of rows under their own covariance: the most that any one matrix could have reached.

    A forecast's regret is this, less its own mean log likelihood over the same rows.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_assets)
        Simple returns without gaps, more rows than assets.

    Returns
    -------
    float
        Nats per row.

    Raises
    ------
    DataError
        If there are gaps, or too few rows for a nonsingular covariance.

    References
    ----------
    .. [1] K. Johansson, M. Ogut, M. Pelger, T. Schmelzer and S. Boyd (2023). A simple method for predicting covariance
       matrices of financial returns. Foundations and Trends in Econometrics 12(4), 324-407.

    Examples
    --------
    >>> round(own_log_likelihood([[1.0], [-1.0]]), 4)
    -1.4189
    """
    rows = np.asarray(returns, dtype=float)
    if rows.ndim != 2 or not np.isfinite(rows).all() or len(rows) <= rows.shape[1]:
        raise DataError(
            f"a span's own covariance needs more rows than assets and no gaps, got shape {rows.shape}; "
            f"lengthen the span"
        )
    return log_likelihood(rows.T @ rows / len(rows), rows)


def _portfolio_variances(covariance: ArrayLike, returns: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    """Sum of squared returns of a portfolio, and what the covariance predicted for it."""
    E, rows = _matrix(covariance, "covariance"), _rows(covariance, returns)
    w = np.asarray(weights, dtype=float)
    if w.shape != (len(E),) or not np.isfinite(w).all():
        raise DataError(f"weights must be {len(E)} finite numbers, got shape {w.shape}")
    seen = np.isfinite(rows).astype(float)
    realised = float(((np.nan_to_num(rows) @ w) ** 2).sum())
    predicted = float(w @ ((seen.T @ seen) * E) @ w)  # the variance of what was there to be seen
    if not predicted > 0.0:
        raise DataError(f"the predicted variance of the portfolio must be positive, got {predicted:g}")
    return realised, predicted


def _by_pattern(covariance: ArrayLike, returns: ArrayLike) -> list[tuple[tuple[FloatArray, bool], FloatArray]]:
    """Rows with the same gaps, their gaps cut out, with the factor of the covariance of the rest."""
    E, rows = _matrix(covariance, "covariance"), _rows(covariance, returns)
    patterns, group = np.unique(np.isfinite(rows), axis=0, return_inverse=True)
    return [
        (_factor(E[np.ix_(seen, seen)], "covariance"), rows[group.ravel() == i][:, seen])
        for i, seen in enumerate(patterns)
        if seen.any()
    ]


def _rows(covariance: ArrayLike, returns: ArrayLike) -> FloatArray:
    """Rows of returns with something in them."""
    rows, n = np.asarray(returns, dtype=float), len(np.asarray(covariance))
    if rows.ndim != 2 or rows.shape[1] != n or np.isinf(rows).any():
        raise DataError(f"returns must be rows of {n} finite numbers (NaN where missing), got shape {rows.shape}")
    rows = rows[np.isfinite(rows).any(axis=1)]
    if not len(rows):
        raise DataError("returns hold nothing but gaps, so nothing can be judged by them")
    return rows


def _matrix(given: ArrayLike, name: str) -> FloatArray:
    matrix = np.asarray(given, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise DataError(f"{name} must be a square matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise DataError(f"{name} holds values that are not finite; cut inactive assets out first")
    return matrix


def _factor(matrix: FloatArray, name: str) -> tuple[FloatArray, bool]:
    try:
        return cho_factor(matrix, lower=True)
    except LinAlgError as error:
        raise DataError(f"{name} must be positive definite; see eigenfolio.linalg.repair_covariance") from error


def _log_determinant(factor: tuple[FloatArray, bool]) -> float:
    return 2.0 * float(np.log(np.diag(factor[0])).sum())


def _whitened(factor: tuple[FloatArray, bool], rows: FloatArray) -> FloatArray:
    """Rows in units of the covariance, shape (n_assets, n_rows)."""
    return solve_triangular(factor[0], rows.T, lower=True)
