r"""Oracles: the best that could have been done with a sample covariance S, knowing the truth Sigma.

They are not estimators, for nobody knows Sigma; they say how much an estimator leaves on the table, and what a
network may be taught. The truth may be the covariance of a row or the mean of a path over the next horizon
(`CovariancePath.mean`), which is what the realised covariance of that horizon estimates.

    intensity      argmin over delta in [0, 1] of || (1 - delta) S + delta F - Sigma ||_F           [1]_
    weights        argmin over the simplex of     || w_0 S + w_1 F_1 + ... - Sigma ||_F
    eigenvalues    argmin over d of               loss(V diag(d) V', Sigma), V the eigenvectors of S   [2]_
    volatility     of the fully invested book of least true variance

References
----------
.. [1] O. Ledoit and M. Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal
   of Multivariate Analysis 88(2), 365-411.
.. [2] O. Ledoit and M. Wolf (2021). Shrinkage estimation of large covariance matrices: keep it simple, statistician?
   Journal of Multivariate Analysis 186, 104796.
.. [3] C. L. Lawson and R. J. Hanson (1995). Solving Least Squares Problems, chapter 23. SIAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from eigenfolio.constraints import LONG_ONLY, Constraints
from eigenfolio.errors import ParameterError

__all__ = [
    "SpectralLoss",
    "oracle_covariance",
    "oracle_eigenvalues",
    "oracle_intensity",
    "oracle_minimum_variance",
    "oracle_target_weights",
    "oracle_weights",
]

FloatArray = npt.NDArray[np.float64]
SpectralLoss = Literal["frobenius", "inverse_stein", "stein", "inverse_frobenius", "symmetrised_stein"]

_TIE = 1e-10  # of the largest eigenvalue: closer ones have no directions of their own


def oracle_intensity(sample: npt.ArrayLike, target: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    r"""Linear shrinkage intensity closest to the truth in the Frobenius norm.

    .. math:: \delta^* = \frac{\langle S - \Sigma, S - F \rangle}{\| S - F \|^2}, \text{ clipped to } [0, 1]

    Parameters
    ----------
    sample, target, truth : array-like of shape (n_assets, n_assets)
        Sample covariance, shrinkage target (see `eigenfolio.linalg`) and true covariance, in one unit.

    Returns
    -------
    float in [0, 1]
        Share of the target; 0 where sample and target are equal.

    Raises
    ------
    ParameterError
        If the matrices are not square, finite and of one size.

    Examples
    --------
    >>> oracle_intensity(np.diag([1.0, 5.0]), 3 * np.eye(2), np.diag([2.0, 4.0]))
    0.5
    """
    sample, target, truth = _matrices(sample=sample, target=target, truth=truth)
    apart = sample - target
    square = float(np.vdot(apart, apart))
    if square == 0.0:
        return 0.0
    return float(np.clip(np.vdot(sample - truth, apart) / square, 0.0, 1.0))


def oracle_target_weights(sample: npt.ArrayLike, targets: Sequence[npt.ArrayLike], truth: npt.ArrayLike) -> FloatArray:
    """Weights of the sample and of several targets whose mixture is closest to the truth in the Frobenius norm.

    The weights lie on the simplex. With G the Gram matrix of the errors of the members, their mixture has the squared
    error w' G w; on the simplex its minimiser is, up to scale, that of v' G v + (sum v - 1)^2 over v >= 0, which
    non-negative least squares solves exactly [3]_.

    Parameters
    ----------
    sample : array-like of shape (n_assets, n_assets)
        Sample covariance.
    targets : sequence of array-like of shape (n_assets, n_assets)
        Targets, at least one.
    truth : array-like of shape (n_assets, n_assets)
        True covariance.

    Returns
    -------
    ndarray of shape (1 + n_targets,)
        Of the sample, then of each target; non-negative, sum 1. One of the best where several are.

    Raises
    ------
    ParameterError
        If there is no target, or the matrices are not square, finite and of one size.

    Examples
    --------
    >>> sample, truth = np.diag([1.0, 5.0]), np.diag([2.0, 4.0])
    >>> oracle_target_weights(sample, [3 * np.eye(2), 99 * np.eye(2)], truth).round(6)
    array([0.5, 0.5, 0. ])
    """
    if len(targets) == 0:
        raise ParameterError("oracle_target_weights needs at least one target")
    named = {f"targets[{position}]": target for position, target in enumerate(targets)}
    *members, truth = _matrices(sample=sample, **named, truth=truth)
    errors = np.array([(member - truth).ravel() for member in members])
    gram = errors @ errors.T
    scale = float(np.trace(gram))
    if scale == 0.0:
        return np.eye(len(members))[0]
    values, vectors = np.linalg.eigh(gram / scale)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    free, _ = nnls(np.vstack([root, np.ones(len(members))]), np.append(np.zeros(len(members)), 1.0))
    weights: FloatArray = free / free.sum()
    return weights


def oracle_eigenvalues(sample: npt.ArrayLike, truth: npt.ArrayLike, *, loss: SpectralLoss = "frobenius") -> FloatArray:
    r"""Eigenvalues that make the sample's eigenvectors as good as they can be.

    Among the rotation-equivariant estimators :math:`V \mathrm{diag}(d) V'`, with :math:`a_i = v_i' \Sigma v_i` and
    :math:`b_i = v_i' \Sigma^{-1} v_i`, the best are [2]_

    =====================  ==========================================================  ===================
    loss                   of A, the estimator                                          d
    =====================  ==========================================================  ===================
    "frobenius"            tr (A - Sigma)^2                                             a
    "inverse_stein"        tr Sigma A^-1 - log det Sigma A^-1 - n                       a
    "stein"                tr A Sigma^-1 - log det A Sigma^-1 - n                       1 / b
    "inverse_frobenius"    tr (A^-1 - Sigma^-1)^2                                       1 / b
    "symmetrised_stein"    tr A Sigma^-1 + tr A^-1 Sigma - 2n                           sqrt(a / b)
    =====================  ==========================================================  ===================

    "inverse_stein" is the Kullback-Leibler divergence of N(0, A) from N(0, Sigma), that is the Gaussian likelihood of
    new data. With many assets `a` is also best for the variance of minimum-variance portfolios.

    Equal eigenvalues of the sample (its null space, with fewer rows than assets) have no directions of their own: a and
    b are averaged over them, which is best among estimators that do not choose between their directions.

    Parameters
    ----------
    sample : array-like of shape (n_assets, n_assets)
        Sample covariance, symmetric.
    truth : array-like of shape (n_assets, n_assets)
        True covariance, symmetric; positive definite where the loss has its inverse.
    loss : str
        One of the table.

    Returns
    -------
    ndarray of shape (n_assets,)
        In the order of the sample's eigenvalues, smallest first (not itself sorted).

    Raises
    ------
    ParameterError
        If the loss is unknown, the matrices are not square, finite and of one size, or the truth is not positive
        definite where its inverse is needed.

    Examples
    --------
    >>> oracle_eigenvalues(np.diag([1.0, 5.0]), np.array([[2.0, 1.0], [1.0, 4.0]]))
    array([2., 4.])
    >>> oracle_eigenvalues(np.diag([1.0, 5.0]), np.array([[2.0, 1.0], [1.0, 4.0]]), loss="stein")
    array([1.75, 3.5 ])
    """
    return _oracle_spectrum(sample, truth, loss)[0]


def oracle_covariance(sample: npt.ArrayLike, truth: npt.ArrayLike, *, loss: SpectralLoss = "frobenius") -> FloatArray:
    """Best covariance with the sample's eigenvectors: V diag(d) V' with d from `oracle_eigenvalues`.

    Parameters
    ----------
    sample, truth, loss
        As in `oracle_eigenvalues`.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Symmetric.

    Raises
    ------
    ParameterError
        As in `oracle_eigenvalues`.

    Examples
    --------
    >>> oracle_covariance(np.diag([1.0, 5.0]), np.array([[2.0, 1.0], [1.0, 4.0]]))
    array([[2., 0.],
           [0., 4.]])
    """
    values, vectors = _oracle_spectrum(sample, truth, loss)
    covariance = (vectors * values) @ vectors.T
    return 0.5 * (covariance + covariance.T)


def oracle_weights(truth: npt.ArrayLike, constraints: Constraints = LONG_ONLY) -> FloatArray:
    """Fully invested weights of the least true variance.

    Unconstrained, by one factorisation. With bounds it is the least-norm point of a polyhedron in the coordinates
    L'w, Sigma = L L', which Lawson and Hanson turn into non-negative least squares [3]_; exact up to rounding, and a
    way of its own beside `eigenfolio.models.minimum_variance_weights`. Seconds for some hundred assets.

    Parameters
    ----------
    truth : array-like of shape (n_assets, n_assets)
        True covariance, positive definite.
    constraints : Constraints
        The book.

    Returns
    -------
    ndarray of shape (n_assets,)
        Signed fractions of NAV with sum 1.

    Raises
    ------
    ParameterError
        If the truth is not positive definite or the cap cannot be met.

    Examples
    --------
    >>> oracle_weights(np.diag([1.0, 4.0])).round(6)
    array([0.8, 0.2])
    >>> oracle_weights(np.diag([1.0, 4.0]), Constraints(max_weight=0.6)).round(6)
    array([0.6, 0.4])
    """
    (truth,) = _matrices(truth=truth)
    n_assets = len(truth)
    cap = constraints.effective_cap(n_assets)
    root = _root(truth / (np.trace(truth) / n_assets))
    if not constraints.long_only:
        free = cho_solve((root, True), np.ones(n_assets))
        return np.asarray(free / free.sum())
    if n_assets * cap <= 1.0 + 1e-12:
        return np.full(n_assets, 1.0 / n_assets)
    # Least ||y|| with y = L'w subject to w >= 0, -w >= -cap and sum w >= 1, which binds at the least norm.
    inverse = solve_triangular(root, np.eye(n_assets), lower=True).T  # w = inverse @ y
    rows, bounds = [inverse, inverse.sum(axis=0)[None]], [np.zeros(n_assets), np.ones(1)]
    if cap < 1.0:
        rows.append(-inverse)
        bounds.append(np.full(n_assets, -cap))
    stacked = np.column_stack([np.vstack(rows), np.concatenate(bounds)]).T  # (n_assets + 1, n_conditions)
    goal = np.append(np.zeros(n_assets), 1.0)
    dual, _ = nnls(stacked, goal, maxiter=50 * stacked.shape[1])
    residual = stacked @ dual - goal
    weights = np.clip(inverse @ (residual[:-1] / -residual[-1]), 0.0, cap)
    return np.asarray(weights / weights.sum())


def oracle_minimum_variance(truth: npt.ArrayLike, constraints: Constraints = LONG_ONLY) -> float:
    """Least volatility that a fully invested book can have under the truth.

    Parameters
    ----------
    truth : array-like of shape (n_assets, n_assets)
        True covariance, positive definite.
    constraints : Constraints
        The book.

    Returns
    -------
    float
        Volatility per period; no estimator's portfolio has less under this truth.

    Raises
    ------
    ParameterError
        As in `oracle_weights`.

    Examples
    --------
    >>> round(oracle_minimum_variance(np.diag([1.0, 4.0])), 6) == round(0.8 ** 0.5, 6)
    True
    """
    weights = oracle_weights(truth, constraints)
    return float(np.sqrt(weights @ np.asarray(truth, dtype=float) @ weights))


def _oracle_spectrum(sample: npt.ArrayLike, truth: npt.ArrayLike, loss: SpectralLoss) -> tuple[FloatArray, FloatArray]:
    if loss not in get_args(SpectralLoss):
        raise ParameterError(f"loss must be one of {', '.join(get_args(SpectralLoss))}, got {loss!r}")
    sample, truth = _matrices(sample=sample, truth=truth)
    values, vectors = np.linalg.eigh(sample)
    group = np.append(0, np.cumsum(np.diff(values) > _TIE * np.abs(values).max()))
    count = np.bincount(group)

    def averaged(quadratic: FloatArray) -> FloatArray:
        return np.asarray((np.bincount(group, quadratic) / count)[group])

    if loss in ("frobenius", "inverse_stein"):
        return averaged(np.einsum("ij,ij->j", vectors, truth @ vectors)), vectors
    whitened = solve_triangular(_root(truth), vectors, lower=True)
    inverse = averaged(np.einsum("ij,ij->j", whitened, whitened))
    if loss in ("stein", "inverse_frobenius"):
        return 1.0 / inverse, vectors
    return np.sqrt(averaged(np.einsum("ij,ij->j", vectors, truth @ vectors)) / inverse), vectors


def _root(truth: FloatArray) -> FloatArray:
    try:
        return np.asarray(cholesky(truth, lower=True, check_finite=False))
    except LinAlgError:
        raise ParameterError(
            "truth must be positive definite here; repair it with eigenfolio.linalg.repair_covariance"
        ) from None


def _matrices(**given: npt.ArrayLike) -> list[FloatArray]:
    """Square, finite matrices of one size."""
    arrays = {name: np.asarray(matrix, dtype=float) for name, matrix in given.items()}
    size = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        if array.shape != (size, size) or not np.isfinite(array).all():
            raise ParameterError(f"{name} must be finite and of shape ({size}, {size}), got shape {array.shape}")
    return list(arrays.values())
