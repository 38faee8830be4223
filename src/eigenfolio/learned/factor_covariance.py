"""A covariance of low rank plus a diagonal, which portfolios can be made of without forming it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

__all__ = ["FactorCovariance"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FactorCovariance:
    """A covariance of low rank plus a diagonal: diag(scale) (factor factor' + diag(base)) diag(scale).

    Attributes
    ----------
    factor : ndarray of shape (n_assets, rank)
    scale : ndarray of shape (n_assets,)
        Volatility per period of a unit diagonal.
    base : ndarray of shape (n_assets,)
        Positive.

    Examples
    --------
    >>> covariance = FactorCovariance(np.array([[1.0], [2.0]]), np.array([0.01, 0.02]), np.array([1.0, 0.5]))
    >>> covariance.dense().round(6).tolist()
    [[0.0002, 0.0004], [0.0004, 0.0018]]
    >>> covariance.solve(np.array([0.0006, 0.0022])).round(12)
    array([1., 1.])
    """

    factor: FloatArray
    scale: FloatArray
    base: FloatArray

    def dense(self) -> FloatArray:
        """The whole matrix, (n_assets, n_assets), exactly symmetric."""
        lower = dsyrk(1.0, self.factor * self.scale[:, None], lower=1)  # zero above the diagonal
        full: FloatArray = lower + lower.T
        full[np.diag_indices_from(full)] = np.diag(lower) + self.base * self.scale**2
        return full

    def variance(self, weights: FloatArray) -> float:
        """Variance of a portfolio, squared return per period."""
        exposure = weights * self.scale
        loading = exposure @ self.factor
        return float(loading @ loading + exposure @ (self.base * exposure))

    def diagonal(self) -> FloatArray:
        """Variances, (n_assets,)."""
        return self._variances

    def times(self, weights: FloatArray) -> FloatArray:
        """Sigma weights, of shape (n_assets,) or (n_assets, n_portfolios)."""
        exposure = (weights.T * self.scale).T
        product: FloatArray = self.factor @ (self.factor.T @ exposure) + (exposure.T * self.base).T
        return (product.T * self.scale).T

    def solve(self, right: FloatArray, among: NDArray[np.intp] | None = None) -> FloatArray:
        """Sigma^-1 right, by Woodbury's identity and one refinement.

        Parameters
        ----------
        right : ndarray of shape (n,) or (n, n_columns)
        among : ndarray of int, shape (n,), optional
            Solve the equations of these assets alone; all n_assets of them unless given.

        Returns
        -------
        ndarray of the shape of `right`
        """
        part = self
        if among is not None:
            part = FactorCovariance(self.factor[among], self.scale[among], self.base[among])
        solved = part._solved(right)
        return solved + part._solved(right - part.times(solved))

    def _solved(self, right: FloatArray) -> FloatArray:
        n_assets, rank = self.factor.shape
        scaled = (right.T / self.scale).T
        if rank >= n_assets:
            inner: FloatArray = cho_solve(self._core, scaled)
        else:
            own = (scaled.T / self.base).T
            inner = own - ((self.factor @ cho_solve(self._core, self.factor.T @ own)).T / self.base).T
        return (inner.T / self.scale).T

    @cached_property
    def _core(self) -> tuple[FloatArray, bool]:
        """Cholesky factor of the smaller of factor factor' + diag(base) and 1 + factor' diag(1 / base) factor."""
        n_assets, rank = self.factor.shape
        if rank >= n_assets:
            gram = self.factor @ self.factor.T
            gram[np.diag_indices_from(gram)] += self.base
        else:
            gram = self.factor.T @ (self.factor / self.base[:, None])
            gram[np.diag_indices_from(gram)] += 1.0
        factored: tuple[FloatArray, bool] = cho_factor(gram, lower=True, overwrite_a=True)
        return factored

    @cached_property
    def _variances(self) -> FloatArray:
        own: FloatArray = (np.einsum("ik,ik->i", self.factor, self.factor) + self.base) * self.scale**2
        return own
