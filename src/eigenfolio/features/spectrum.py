"""Numbers that describe the correlation spectrum and the volatilities of one window.

Every number is a ratio, a share or a logarithm of ratios, so none depends on the unit of the returns, and all
are defined for any number of assets. Eigenvalues are those of the correlation matrix C of the window, whose
trace is N; p_k = lambda_k / N are their shares.

    entropy             -sum p_k ln p_k / ln N                          in [0, 1]
    entropy rank        ln(exp(-sum p_k ln p_k) / N)                    effective rank, entropy form
    condition number    ln(lambda_1 / max(lambda_N, 1e-10))
    noise edge          (1 + sqrt(N / T))^2, the upper Marchenko-Pastur edge [1]_
    realised volatility mean over assets of ln(rms of the last h rows / rms of the window)

A realised-volatility horizon longer than the window is read as the window itself, which gives zero.

References
----------
.. [1] V. Marchenko and L. Pastur (1967). Distribution of eigenvalues for some sets of random matrices.
   Mathematics of the USSR-Sbornik 1(4), 457-483.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPECTRUM_FEATURES", "spectrum_features"]

FloatArray = NDArray[np.float64]

_HORIZONS = (10, 21, 63, 126, 252)
_THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
_SMALLEST = 1e-10

SPECTRUM_FEATURES: tuple[str, ...] = (
    "log_aspect_ratio",
    "log_observations",
    "largest_share",
    "second_share",
    "top_ten_share",
    "entropy",
    "entropy_rank",
    "log_condition",
    "log_median_eigenvalue",
    "log_mean_smallest_tenth",
    "log_eigenvalue_std",
    "noise_edge_share",
    "noise_edge_count",
    "mean_correlation",
    "correlation_std",
    "max_correlation",
    "min_correlation",
    "mean_abs_correlation",
    "positive_correlation_share",
    *(f"correlation_above_{threshold:g}" for threshold in _THRESHOLDS),
    *(f"realised_volatility_{horizon}" for horizon in _HORIZONS),
    "volatility_dispersion",
    "log_kurtosis",
    "absolute_to_root_mean_square",
)


def spectrum_features(
    standardised: FloatArray, volatility: FloatArray, correlation: FloatArray, eigenvalues: FloatArray
) -> FloatArray:
    """Describe one completed window.

    Parameters
    ----------
    standardised : ndarray of shape (n_observations, n_assets)
        Centred returns divided by their volatility over the window, oldest row first; zero where missing.
    volatility : ndarray of shape (n_assets,)
        Positive sample volatilities, in any unit.
    correlation : ndarray of shape (n_assets, n_assets)
        Correlation matrix of the window, unit diagonal.
    eigenvalues : ndarray of shape (n_assets,)
        Its eigenvalues, ascending.

    Returns
    -------
    ndarray of shape (n_features,)
        One finite number per name in `SPECTRUM_FEATURES`, in that order.

    Examples
    --------
    >>> z = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    >>> values = spectrum_features(z, np.ones(2), np.eye(2), np.ones(2))
    >>> dict(zip(SPECTRUM_FEATURES, values.round(3).tolist()))["entropy"]
    1.0
    """
    n_observations, n_assets = standardised.shape
    spectrum = np.maximum(eigenvalues[::-1], _SMALLEST)  # descending
    shares = spectrum / spectrum.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    edge = (1.0 + np.sqrt(n_assets / n_observations)) ** 2
    above = spectrum > edge
    tenth = max(1, n_assets // 10)

    pairs = correlation[np.triu_indices(n_assets, k=1)] if n_assets > 1 else np.zeros(1)
    squares = standardised**2
    whole = np.sqrt(squares.mean(axis=0)) + _SMALLEST

    def realised(horizon: int) -> float:
        recent = np.sqrt(squares[-horizon:].mean(axis=0))
        return float(np.log((recent + 1e-3) / (whole + 1e-3)).mean())

    logs = np.log(volatility)
    return np.array(
        [
            np.log(n_assets / n_observations),
            np.log(n_observations),
            np.log(shares[0]),
            np.log(shares[1] if n_assets > 1 else shares[0]),
            shares[:10].sum(),
            entropy / np.log(n_assets) if n_assets > 1 else 1.0,
            entropy - np.log(n_assets),
            np.log(spectrum[0] / spectrum[-1]),
            np.log(np.median(spectrum) + 1e-4),
            np.log(spectrum[-tenth:].mean() + 1e-4),
            np.log(spectrum.std() + 1e-4),
            shares[above].sum(),
            above.mean(),
            pairs.mean(),
            pairs.std(),
            pairs.max(),
            pairs.min(),
            np.abs(pairs).mean(),
            (pairs > 0).mean(),
            *((np.abs(pairs) > threshold).mean() for threshold in _THRESHOLDS),
            *(realised(horizon) for horizon in _HORIZONS),
            logs.std(),
            np.log((squares**2).mean(axis=0) / 3.0 + 1e-3).mean(),
            np.abs(standardised).mean(),
        ]
    )
