r"""Linear shrinkage with closed-form intensities.

    shrunk = (1 - delta) * S + delta * F

S is the sample covariance, F a structured target, delta the intensity in [0, 1] that minimises the expected
Frobenius loss: (pi - rho) / (gamma T), with pi the sum of the asymptotic variances of the entries of S, rho
that of their covariances with the entries of F, gamma the squared distance of S and F. Every intensity is
of one window: it never sees a row after the decision. Values equal scikit-learn's for the identity.

References
----------
.. [1] O. Ledoit and M. Wolf (2004). A well-conditioned estimator for large-dimensional covariance
   matrices. Journal of Multivariate Analysis 88(2), 365-411.
.. [2] O. Ledoit and M. Wolf (2004). Honey, I shrunk the sample covariance matrix. Journal of Portfolio
   Management 30(4), 110-119.
.. [3] O. Ledoit and M. Wolf (2003). Improved estimation of the covariance matrix of stock returns with an
   application to portfolio selection. Journal of Empirical Finance 10(5), 603-621.
.. [4] Y. Chen, A. Wiesel, Y. C. Eldar and A. O. Hero (2010). Shrinkage algorithms for MMSE covariance
   estimation. IEEE Transactions on Signal Processing 58(10), 5016-5029.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import (
    constant_correlation_target,
    correlation_to_covariance,
    identity_target,
    shrink,
    single_factor_target,
)
from eigenfolio.models.covariance_model import CovarianceModel
from eigenfolio.models.window import Window

__all__ = ["OAS", "LedoitWolf", "ledoit_wolf_identity_intensity", "ledoit_wolf_intensity"]

FloatArray = npt.NDArray[np.float64]


class LedoitWolf(CovarianceModel):
    """Ledoit and Wolf's linear shrinkage with a closed-form intensity.

    Parameters
    ----------
    target : {"identity", "constant_correlation", "single_factor"}
        Mean variance times the identity [1]_; own variances with the mean correlation [2]_; own variances
        with a one-factor model of the equal-weight mean of the returns [3]_.
    on : {"covariance", "correlation"}
        "covariance" shrinks the sample covariance. "correlation" computes intensity and target on returns
        standardised by their volatility in the window and restores the volatilities, so that variances are
        kept and no asset is drawn to the scale of another.
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    shrinkage_ : float in [0, 1]
        Share of the target.
    target_ : ndarray of shape (n_active_assets, n_active_assets)
        What is shrunk toward, on the scale of `covariance_` (volatilities restored).
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "shrinkage" and "lifted_eigenvalues".

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((60, 20)) * 0.01
    >>> model = LedoitWolf(target="constant_correlation").fit(X)
    >>> round(model.shrinkage_, 2), model.covariance_.shape
    (0.85, (20, 20))
    """

    def __init__(
        self,
        *,
        target: Literal["identity", "constant_correlation", "single_factor"] = "identity",
        on: Literal["covariance", "correlation"] = "covariance",
        lookback: int | None = None,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.target = target
        self.on = on

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        if self.target not in _TARGETS:
            raise ParameterError(f"target must be one of {sorted(_TARGETS)}, got {self.target!r}")
        if self.on not in ("covariance", "correlation"):
            raise ParameterError(f"on must be 'covariance' or 'correlation', got {self.on!r}")
        make_target, intensity = _TARGETS[self.target]
        on_covariance = self.on == "covariance"
        columns = window.columns if on_covariance else window.standardised
        sample = window.covariance() if on_covariance else window.correlation()
        target = make_target(sample)
        self.shrinkage_ = intensity(columns, sample, target)
        self.diagnostics_["shrinkage"] = self.shrinkage_
        shrunk = shrink(sample, target, shrinkage=self.shrinkage_)
        if on_covariance:
            self.target_ = target
            return shrunk
        self.target_ = correlation_to_covariance(target, window.volatility)
        return correlation_to_covariance(shrunk, window.volatility)


class OAS(CovarianceModel):
    """Oracle approximating shrinkage toward the identity [4]_, in the form of scikit-learn.

    The intensity assumes Gaussian returns; for heavy tails it is too small.

    Parameters
    ----------
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    shrinkage_ : float in [0, 1]
        Share of the target.
    target_ : ndarray of shape (n_active_assets, n_active_assets)
        Mean variance times the identity.
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "shrinkage" and "lifted_eigenvalues".

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((60, 20)) * 0.01
    >>> round(OAS().fit(X).shrinkage_, 2)
    0.89
    """

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        sample = window.covariance()
        n_assets = window.n_assets
        alpha = float(np.mean(sample**2))
        squared_mean = (float(np.trace(sample)) / n_assets) ** 2
        denominator = (window.n_observations + 1.0) * (alpha - squared_mean / n_assets)
        if n_assets == 1:  # the sample is the target
            self.shrinkage_ = 0.0
        else:
            self.shrinkage_ = 1.0 if denominator <= 0.0 else min((alpha + squared_mean) / denominator, 1.0)
        self.diagnostics_["shrinkage"] = self.shrinkage_
        self.target_ = identity_target(sample)
        return shrink(sample, self.target_, shrinkage=self.shrinkage_)


def ledoit_wolf_identity_intensity(standardised: npt.ArrayLike) -> float:
    """Closed-form intensity toward the scaled identity [1]_.

    Parameters
    ----------
    standardised : array-like of shape (n_observations, n_assets)
        Centred returns, as a rule in units of their volatility; 0 where missing.

    Returns
    -------
    float in [0, 1]
        0 when the sample is the target already.

    Raises
    ------
    DataError
        If the array is not finite and two-dimensional.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((100, 30))
    >>> z = (z - z.mean(axis=0)) / z.std(axis=0)
    >>> round(ledoit_wolf_identity_intensity(z), 2)
    0.99
    """
    columns = np.asarray(standardised, dtype=float)
    if columns.ndim != 2 or columns.size == 0 or not np.isfinite(columns).all():
        raise DataError(
            f"standardised returns must be a finite (n_observations, n_assets) array, got shape {columns.shape}"
        )
    sample = columns.T @ columns / len(columns)
    return _identity_intensity(columns, sample, sample)


def ledoit_wolf_intensity(columns: FloatArray, sample: FloatArray, *, target: str) -> float:
    """Closed-form intensity toward one of the three targets.

    Parameters
    ----------
    columns : ndarray of shape (n_observations, n_assets)
        Centred returns, as they are or in units of their volatility; 0 where missing.
    sample : ndarray of shape (n_assets, n_assets)
        Their second moments.
    target : {"identity", "constant_correlation", "single_factor"}

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ParameterError
        If there is no such target.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((100, 30))
    >>> round(ledoit_wolf_intensity(z, z.T @ z / 100, target="single_factor"), 2)
    0.81
    """
    if target not in _TARGETS:
        raise ParameterError(f"target must be one of {sorted(_TARGETS)}, got {target!r}")
    make_target, intensity = _TARGETS[target]
    return intensity(columns, sample, make_target(sample))


def _identity_intensity(columns: FloatArray, sample: FloatArray, target: FloatArray) -> float:
    """Intensity [1]_; the sum of variances needs row norms only: sum_ij x_i^2 x_j^2 = (sum_i x_i^2)^2."""
    n_rows, n_assets = columns.shape
    row_norms = np.einsum("ti,ti->t", columns, columns)
    squared_size = float(np.einsum("ij,ij->", sample, sample))
    pi = float(row_norms @ row_norms) / n_rows - squared_size
    gamma = squared_size - float(np.trace(sample)) ** 2 / n_assets
    return _ratio(pi, gamma, n_rows)


def _constant_correlation_intensity(columns: FloatArray, sample: FloatArray, target: FloatArray) -> float:
    n_rows, n_assets = columns.shape
    volatility = np.sqrt(np.diag(sample))
    moments = columns.T @ columns / n_rows  # without unbacked variances
    squares = columns**2
    variances = squares.T @ squares / n_rows - moments**2
    # theta_ij = mean_t (x_i^2 - s_ii)(x_i x_j - s_ij)
    theta = (squares * columns).T @ columns / n_rows - np.diag(moments)[:, None] * moments
    np.fill_diagonal(theta, 0.0)
    mean = (float(np.sum(sample / np.outer(volatility, volatility))) - n_assets) / max(n_assets * (n_assets - 1), 1)
    rho = float(np.trace(variances)) + mean * float(np.sum(theta * np.outer(1.0 / volatility, volatility)))
    return _ratio(float(variances.sum()) - rho, _squared_distance(sample, target), n_rows)


def _single_factor_intensity(columns: FloatArray, sample: FloatArray, target: FloatArray) -> float:
    n_rows = len(columns)
    market = columns.mean(axis=1)
    market_variance = float(market @ market) / n_rows
    moments = columns.T @ columns / n_rows
    squares = columns**2
    variances = squares.T @ squares / n_rows - moments**2
    gamma = _squared_distance(sample, target)
    rho = float(np.trace(variances))
    if market_variance > 1e-12 * float(np.trace(sample)) / len(sample):
        beta = columns.T @ market / n_rows / market_variance
        with_market = columns * market[:, None]
        # Covariances of s_ij with beta_i * s_j0 (twice, by symmetry) and with the market's variance.
        first = squares.T @ with_market / n_rows - beta[:, None] * market_variance * moments
        third = with_market.T @ with_market / n_rows - market_variance * moments
        np.fill_diagonal(first, 0.0)
        np.fill_diagonal(third, 0.0)
        rho += 2.0 * float(np.sum(first @ beta)) - float(beta @ third @ beta)
    return _ratio(float(variances.sum()) - rho, gamma, n_rows)


def _squared_distance(sample: FloatArray, target: FloatArray) -> float:
    gap = sample - target
    return float(np.einsum("ij,ij->", gap, gap))


def _ratio(kappa: float, gamma: float, n_rows: int) -> float:
    if gamma <= 0.0 or kappa <= 0.0:
        return 0.0
    return min(kappa / gamma / n_rows, 1.0)


_Target = Callable[[FloatArray], FloatArray]
_Intensity = Callable[[FloatArray, FloatArray, FloatArray], float]
_TARGETS: dict[str, tuple[_Target, _Intensity]] = {
    "identity": (identity_target, _identity_intensity),
    "constant_correlation": (constant_correlation_target, _constant_correlation_intensity),
    "single_factor": (single_factor_target, _single_factor_intensity),
}
