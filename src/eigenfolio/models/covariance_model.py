"""The contract of a covariance estimator: skfolio's, plus a lookback, missing data and a definite answer.

`fit(X)` finds the active assets, cuts the rows beyond `lookback`, completes the window
(`eigenfolio.models.window`), lets the estimator compute, and stores `covariance_`, `location_` and
`diagnostics_`. Every stored matrix is symmetric with a positive definite correlation: where the estimate
has correlation eigenvalues below 1e-10 (more assets than observations, duplicates), those are lifted to
1e-10 with the variances kept, and `diagnostics_["lifted_eigenvalues"]` counts them.
"""

from __future__ import annotations

import numbers
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from skfolio.moments.covariance import BaseCovariance
from sklearn.utils import Tags

from eigenfolio.errors import ParameterError
from eigenfolio.linalg import lift_eigenvalues
from eigenfolio.models.window import Window, active_assets, check_returns, prepare_window

__all__ = ["CovarianceModel", "positive_number", "whole_number"]

FloatArray = npt.NDArray[np.float64]


class CovarianceModel(BaseCovariance):
    """Abstract covariance estimator that accepts missing returns.

    A subclass implements `_estimate(window, history)` and nothing else of `fit`.

    Parameters
    ----------
    lookback : int, optional
        Last rows used; all when None, all there are when there are fewer.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period; positive definite among active assets, NaN rows and columns for
        inactive ones.
    location_ : ndarray of shape (n_assets,)
        Mean return of the own span, NaN for inactive assets.
    diagnostics_ : dict of str to float
        Scalars of the fit, such as the intensity of a shrinkage.
    n_features_in_ : int
        Assets seen in `fit`.
    feature_names_in_ : ndarray of shape (n_assets,)
        Their names, when X has string column names.
    """

    # As in skfolio's own estimators that read it: with metadata routing on, the mask is taken when given.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"active_mask": True}

    diagnostics_: dict[str, float]

    def __init__(self, *, lookback: int | None = None, assume_centered: bool = False) -> None:
        self.lookback = lookback
        self.assume_centered = assume_centered

    def fit(self, X: npt.ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Estimate the covariance as known at the last row of X.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, NaN where missing.
        y : Ignored
            Present for scikit-learn's contract.
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            True where an asset is listed; returns elsewhere are not read and the last row says which
            assets are active. Without it, an asset whose last 21 rows are all missing is inactive.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If there are fewer than two rows, no active asset, or none that varies.
        ParameterError
            If an option has a value it cannot have.
        """
        window, history, active = self._prepare(X, active_mask)
        covariance, n_lifted = lift_eigenvalues(self._estimate(window, history))
        self.diagnostics_["lifted_eigenvalues"] = float(n_lifted)
        if active.all():
            self.covariance_ = covariance
        else:
            self.covariance_ = np.full((active.size, active.size), np.nan)
            self.covariance_[np.ix_(active, active)] = covariance
        return self

    def _prepare(self, X: npt.ArrayLike, active_mask: Any) -> tuple[Window, FloatArray, npt.NDArray[np.bool_]]:
        """Check the input, complete the window, start the diagnostics and set `location_`."""
        returns, mask = check_returns(self, X, active_mask)
        if self.lookback is not None:
            whole_number("lookback", self.lookback, minimum=2)
        active = active_assets(returns, mask)
        history = returns if active.all() else returns[:, active]
        window = prepare_window(history, lookback=self.lookback, assume_centered=self.assume_centered)
        self.diagnostics_ = {}
        self.location_ = np.full(returns.shape[1], np.nan)
        self.location_[active] = window.location
        return window, history, active

    @abstractmethod
    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        """Symmetric covariance of the active assets, shape (window.n_assets, window.n_assets).

        `window` is the completed lookback, `history` every row of the same assets, NaN where missing.
        May set fitted attributes and `diagnostics_`.
        """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def whole_number(name: str, value: object, *, minimum: int) -> int:
    """Return `value` when it is an integer of at least `minimum`, else raise a ParameterError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ParameterError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return int(value)


def positive_number(name: str, value: object) -> float:
    """Return `value` when it is a finite number above 0, else raise a ParameterError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < np.inf:
        raise ParameterError(f"{name} must be a finite number above 0, got {value!r}")
    return float(value)
