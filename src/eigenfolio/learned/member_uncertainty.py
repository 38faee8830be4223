"""What the disagreement of an ensemble says: epistemic and aleatoric parts of a variance.

Members with weights w_m, means mu_m and variances s_m have, by the law of total variance and with mu = sum_m w_m mu_m,

    total = sum_m w_m s_m + sum_m w_m (mu_m - mu)^2 = aleatoric + epistemic

The scales are those without bounds: the logit of the shrinkage intensity, and the log variance of a portfolio.

References
----------
.. [1] B. Lakshminarayanan, A. Pritzel and C. Blundell (2017). Simple and scalable predictive uncertainty estimation
   using deep ensembles. NeurIPS 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, polygamma

from eigenfolio.errors import ParameterError
from eigenfolio.learned.spectra import SpectralWindow
from eigenfolio.learned.spectral import SpectralAnswer, combine, intensities

__all__ = [
    "UncertaintyParts",
    "horizon_log_variance",
    "logit_intensities",
    "portfolio_log_variances",
    "uncertainty_parts",
]

FloatArray = NDArray[np.float64]

_SMALLEST_INTENSITY = 1e-6


@dataclass(frozen=True)
class UncertaintyParts:
    """The variance of an ensemble's prediction, by where it comes from.

    Attributes
    ----------
    mean : float
    aleatoric : float
        Mean of the members' own variances: what no further training would take away.
    epistemic : float
        Variance of the members' means: how much they disagree.
    """

    mean: float
    aleatoric: float
    epistemic: float

    @property
    def total(self) -> float:
        """Aleatoric plus epistemic."""
        return self.aleatoric + self.epistemic


def uncertainty_parts(
    means: ArrayLike, variances: ArrayLike = 0.0, *, weights: ArrayLike | None = None
) -> UncertaintyParts:
    """Split the variance of a mixture of members by the law of total variance.

    Parameters
    ----------
    means : array-like of shape (n_members,)
        What each member predicts, on a scale without bounds: `logit_intensities` or `portfolio_log_variances`.
    variances : array-like of shape (n_members,) or float, default=0
        What each member says of its own error, in the squared unit: of a variance head, the residual variance of the
        aggregation, or `horizon_log_variance`.
    weights : array-like of shape (n_members,), optional
        On the simplex; equal without.

    Returns
    -------
    UncertaintyParts

    Raises
    ------
    ParameterError
        If the lengths differ, a variance is negative, or the weights are not on the simplex.

    References
    ----------
    Lakshminarayanan et al. (2017) [1]_ of the module.

    Examples
    --------
    >>> parts = uncertainty_parts([1.0, 3.0], [0.5, 1.5])
    >>> parts.mean, parts.aleatoric, parts.epistemic, parts.total
    (2.0, 1.0, 1.0, 2.0)
    """
    mu = np.asarray(means, dtype=float)
    share = np.full(mu.shape, 1.0 / mu.size) if weights is None else np.asarray(weights, dtype=float)
    own = (
        np.broadcast_to(np.asarray(variances, dtype=float), mu.shape)
        if np.ndim(variances) == 0
        else np.asarray(variances)
    )
    if mu.ndim != 1 or not share.shape == own.shape == mu.shape:
        raise ParameterError(
            f"uncertainty_parts needs one mean, variance and weight per member, got shapes {mu.shape}, {own.shape} and "
            f"{share.shape}"
        )
    if (own < 0.0).any() or (share < 0.0).any() or not np.isclose(share.sum(), 1.0):
        raise ParameterError("uncertainty_parts needs variances of at least 0, and weights of at least 0 that sum to 1")
    center = float(share @ mu)
    return UncertaintyParts(center, float(share @ own), float(share @ (mu - center) ** 2))


def horizon_log_variance(horizon: int) -> float:
    """Variance of the log of a variance realised over independent normal rows with mean zero: trigamma(horizon / 2).

    It is the least aleatoric variance of a predicted log variance; fat tails and clusters add to it.

    Parameters
    ----------
    horizon : int
        Rows, at least 1.

    Returns
    -------
    float

    Raises
    ------
    ParameterError
        If there is no row.

    Examples
    --------
    >>> round(horizon_log_variance(21), 4)
    0.0999
    """
    if horizon < 1:
        raise ParameterError(f"horizon must be at least 1 row, got {horizon}")
    return float(polygamma(1, horizon / 2.0))


def logit_intensities(window: SpectralWindow, answers: Sequence[SpectralAnswer]) -> FloatArray:
    """Logit of every member's intensity, (n_members,); intensities are kept 1e-6 from 0 and 1."""
    return np.asarray(logit(np.clip(intensities(window, answers), _SMALLEST_INTENSITY, 1.0 - _SMALLEST_INTENSITY)))


def portfolio_log_variances(
    window: SpectralWindow, answers: Sequence[SpectralAnswer], weights: ArrayLike
) -> FloatArray:
    """Log variance per period that every member predicts of a portfolio, (n_members,)."""
    held = np.asarray(weights, dtype=float)
    if held.shape != window.log_volatility.shape:
        raise ParameterError(f"a portfolio of {len(window.log_volatility)} assets is needed, got shape {held.shape}")
    return np.log([combine(window, answer).variance(held) for answer in answers])
