r"""What a shrinkage network needs of one window, and the covariance its answer makes.

.. math:: \Sigma = D \left[ (1 - \delta) C + \delta \sum_k w_k F_k \right] D

C is the correlation of the window, F_1 the identity, F_2 the constant correlation (the mean of C off its
diagonal) and F_3 a single factor (the equal-weight mean of the standardised returns). All have unit diagonal
and are positive semidefinite, so Sigma is, for every intensity delta in [0, 1] and weights w on the simplex.
D is geometric between sample and EWMA(63) volatilities: ln d = (1 - beta) ln s + beta ln e.

At delta = the Ledoit-Wolf intensity of the standardised returns, w = (1, 0, 0) and beta = 0 this is Ledoit-Wolf
shrinkage toward the identity on the correlation, the closed form that the dense network starts at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from eigenfolio.features import spectrum_features
from eigenfolio.learned.dense import ShrinkageParameters
from eigenfolio.models import ledoit_wolf_identity_intensity
from eigenfolio.models.window import Window, prepare_window

__all__ = ["N_TARGETS", "TARGETS", "ShrinkageWindow", "blend", "describe_window", "shrinkage_window"]

FloatArray = NDArray[np.float64]

TARGETS = ("identity", "constant_correlation", "single_factor")
N_TARGETS = len(TARGETS)
VOLATILITY_HALF_LIFE = 63.0
_LOGIT_BOUND = 1e-13


@dataclass(frozen=True)
class ShrinkageWindow:
    """One window as a shrinkage network sees it.

    Attributes
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Unit diagonal.
    eigenvalues : ndarray of shape (n_assets,)
        Of the correlation, ascending.
    loading : ndarray of shape (n_assets,)
        Correlation of each asset with the equal-weight mean of the standardised returns.
    mean_correlation : float
        Mean of the correlation off its diagonal.
    volatility, ewma_volatility : ndarray of shape (n_assets,)
        Per period, over the window and by EWMA with half-life 63.
    intensity : float
        Ledoit-Wolf intensity toward the identity on standardised returns.
    features : ndarray of shape (n_features,)
        `eigenfolio.features.SPECTRUM_FEATURES` of the window.
    """

    correlation: FloatArray
    eigenvalues: FloatArray
    loading: FloatArray
    mean_correlation: float
    volatility: FloatArray
    ewma_volatility: FloatArray
    intensity: float
    features: FloatArray

    @property
    def classical_logit(self) -> float:
        """Logit of the classical intensity, bounded where it is 0 or 1."""
        return float(logit(np.clip(self.intensity, _LOGIT_BOUND, 1.0 - _LOGIT_BOUND)))


def shrinkage_window(returns: FloatArray) -> ShrinkageWindow:
    """Describe returns of active assets, shape (n_observations, n_assets), NaN where missing."""
    return describe_window(prepare_window(returns))


def describe_window(window: Window, *, eigenvalues: FloatArray | None = None) -> ShrinkageWindow:
    """Describe a completed window, with the eigenvalues of its correlation, ascending, where they are known."""
    standardised = window.standardised
    correlation = window.correlation()
    n_assets = window.n_assets
    if eigenvalues is None:
        eigenvalues = np.asarray(np.linalg.eigvalsh(correlation), dtype=np.float64)
    market = standardised.mean(axis=1)
    spread = np.sqrt((market**2).mean())
    if spread > 0.0:
        loading = np.clip(standardised.T @ market / (len(market) * spread), -1.0, 1.0)
    else:
        loading = np.zeros(n_assets)
    pairs = n_assets * (n_assets - 1)
    mean_correlation = (correlation.sum() - n_assets) / pairs if pairs else 0.0
    return ShrinkageWindow(
        correlation=correlation,
        eigenvalues=eigenvalues,
        loading=loading,
        mean_correlation=float(mean_correlation),
        volatility=window.volatility,
        ewma_volatility=window.ewma_volatility(VOLATILITY_HALF_LIFE),
        intensity=ledoit_wolf_identity_intensity(standardised),
        features=spectrum_features(standardised, window.volatility, correlation, eigenvalues),
    )


def blend(window: ShrinkageWindow, parameters: ShrinkageParameters) -> tuple[FloatArray, FloatArray]:
    """Shrunk correlation (n_assets, n_assets), unit diagonal, and blended volatilities (n_assets,)."""
    intensity, (_, constant, factor), beta = parameters[:3]
    target = constant * window.mean_correlation + factor * np.outer(window.loading, window.loading)
    correlation = (1.0 - intensity) * window.correlation + intensity * target
    np.fill_diagonal(correlation, 1.0)  # every target has a unit diagonal, and the identity nothing else
    if beta == 0.0:
        return correlation, window.volatility
    volatility = window.volatility ** (1.0 - beta) * window.ewma_volatility**beta
    return correlation, volatility
