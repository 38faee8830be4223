"""Quadratic-inverse shrinkage of the plain rows, in the low-rank form, and its average with another covariance.

A near-exact relation between returns holds in every row, so the plain correlation has it as the damped one does, with
other noise in everything else: half of each keeps the hedge, and is nowhere far from the better of the two
(`benchmarks/hard_cases.py --families foreign`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.spectra import correlation_eigen, monotone_eigenvalues
from eigenfolio.models.nonlinear_shrinkage import SMALLEST_CLEAN_EIGENVALUE, qis_eigenvalues
from eigenfolio.models.window import Window

__all__ = ["averaged", "plain_covariance"]

FloatArray = NDArray[np.float64]


def plain_covariance(window: Window, *, center: bool = True) -> FactorCovariance:
    """QIS of the correlation of a window with the volatilities of the window.

    With more assets than rows the cleaned eigenvalues are put in order (isotonic, trace kept).

    Parameters
    ----------
    window : Window
    center : bool
        One row went into the means.

    Returns
    -------
    FactorCovariance

    Examples
    --------
    >>> from eigenfolio.models import QuadraticInverseShrinkage
    >>> from eigenfolio.models.window import prepare_window
    >>> X = np.random.default_rng(0).standard_normal((60, 5)) * 0.01
    >>> same = QuadraticInverseShrinkage(on="correlation", unit_diagonal=False).fit(X)
    >>> np.allclose(plain_covariance(prepare_window(X)).dense(), same.covariance_, rtol=1e-10)
    True
    """
    n_assets, n_rows = window.n_assets, max(window.n_observations - (1 if center else 0), 1)
    values, transposed = correlation_eigen(window.standardised / np.sqrt(window.n_observations), center=center)
    padded = np.concatenate([np.zeros(n_assets - len(values)), values[::-1]])
    clean = qis_eigenvalues(padded, n_observations=n_rows, minimum=SMALLEST_CLEAN_EIGENVALUE)
    rank = min(n_assets, n_rows, len(values))
    if rank < n_assets:
        clean = monotone_eigenvalues(clean)  # a null space that lies above an eigenvalue has no factor
    base = float(clean.min())
    factor = transposed[:rank].T * np.sqrt(clean[n_assets - rank :][::-1] - base)
    return FactorCovariance(factor, window.volatility, np.full(n_assets, base))


def averaged(first: FactorCovariance, second: FactorCovariance, share: float) -> FactorCovariance:
    """(1 - share) first + share second, the second at the level of the first.

    Parameters
    ----------
    first, second : FactorCovariance
        Of the same assets.
    share : float in [0, 1]

    Returns
    -------
    FactorCovariance
        On the scale of the first; variances have the geometric mean that the first has.
    """
    level = float(np.mean(np.log(first.diagonal() / second.diagonal())))
    change = second.scale * np.exp(0.5 * level) / first.scale
    factor = np.hstack([np.sqrt(1.0 - share) * first.factor, np.sqrt(share) * second.factor * change[:, None]])
    return FactorCovariance(factor, first.scale, (1.0 - share) * first.base + share * second.base * change**2)
