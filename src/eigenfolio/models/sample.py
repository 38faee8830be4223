"""The sample covariance: the mean of outer products of centred returns (divisor T, as in scikit-learn).

With more assets than observations it is singular; see `eigenfolio.models.covariance_model` for the floor
under its eigenvalues.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenfolio.models.covariance_model import CovarianceModel
from eigenfolio.models.window import Window

__all__ = ["SampleCovariance"]


class SampleCovariance(CovarianceModel):
    """Maximum-likelihood sample covariance.

    Parameters
    ----------
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "lifted_eigenvalues".

    Examples
    --------
    >>> SampleCovariance().fit([[0.01, 0.02], [0.03, -0.02], [0.02, 0.03]]).covariance_
    array([[ 6.66666667e-05, -1.33333333e-04],
           [-1.33333333e-04,  4.66666667e-04]])
    """

    def _estimate(self, window: Window, history: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return window.covariance()
