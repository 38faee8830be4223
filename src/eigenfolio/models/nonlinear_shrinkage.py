r"""Quadratic-inverse shrinkage (QIS) of the eigenvalues of a covariance or correlation matrix.

The sample matrix keeps its eigenvectors; its eigenvalues are replaced by a closed form that smooths their
inverses with a kernel of width proportional to each eigenvalue (Hilbert transform of the spectral
density) [1]_. With n observations after centring, N assets, c = N / n and h = min(c, 1/c)^0.7 / N^0.35:

.. math::

    \theta_i = \operatorname{mean}_j \frac{\lambda_j^{-1} (\lambda_j^{-1} - \lambda_i^{-1})}
    {(\lambda_j^{-1} - \lambda_i^{-1})^2 + h^2 \lambda_j^{-2}}, \qquad
    A_i^2 = \theta_i^2 + \Bigl(\operatorname{mean}_j \frac{h \lambda_j^{-2}}
    {(\lambda_j^{-1} - \lambda_i^{-1})^2 + h^2 \lambda_j^{-2}}\Bigr)^2

    d_i^{-1} = (1 - c)^2 \lambda_i^{-1} + 2 c (1 - c) \lambda_i^{-1} \theta_i + c^2 \lambda_i^{-1} A_i^2
    \quad (N \le n)

    d_i^{-1} = \lambda_i^{-1} A_i^2, \qquad d_0^{-1} = (c - 1) \operatorname{mean}_j \lambda_j^{-1}
    \quad (N > n, \text{ the N - n smallest get } d_0)

and the trace is kept. A symmetric eigensolver is essential for N > n: the general one returns vectors that
are not orthogonal in the null space.

On stock returns the correlation of *devolatilised* returns under slowly decaying row weights is the better
spectrum: with x centred on its own span and s its volatility,

.. math:: z_t = \operatorname{clip}(x_t / \max(\sqrt{v_t}, s / 4), \pm 6), \qquad
    w_t \propto (1 + \text{lag}_t / 63)^{-1}

where v_t is an exponentially weighted variance (half-life 21) known before day t, and
n = round(1 / sum w^2 - 1). `champion_covariance` joins it with EWMA(63) volatilities.

References
----------
.. [1] O. Ledoit and M. Wolf (2022). Quadratic shrinkage for large covariance matrices. Bernoulli 28(3),
   1519-1547.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import correlation_to_covariance
from eigenfolio.models.covariance_model import CovarianceModel, positive_number
from eigenfolio.models.window import Window, ewma_variance_path, weighted_correlation

__all__ = [
    "QIS",
    "SMALLEST_CLEAN_EIGENVALUE",
    "QuadraticInverseShrinkage",
    "champion_covariance",
    "clean_correlation",
    "devolatilised_correlation",
    "lag_weights",
    "qis_eigenvalues",
    "read_volatility",
]

FloatArray = npt.NDArray[np.float64]

_SMALLEST_EIGENVALUE = 1e-10  # of the mean: inverse eigenvalues of duplicate columns stay finite
SMALLEST_CLEAN_EIGENVALUE = 1e-4
"""Of a cleaned correlation."""
_DEFAULT_HALF_LIFE = 63.0
_DEVOLATILISING_HALF_LIFE = 21.0
_LAG_SCALE = 63.0
_CLIP = 6.0


class QuadraticInverseShrinkage(CovarianceModel):
    """Quadratic-inverse shrinkage [1]_ of a covariance or a correlation.

    Parameters
    ----------
    on : {"covariance", "correlation", "devolatilised_correlation"}
        What is cleaned: the sample covariance (divisor n, as published); the sample correlation; the
        lag-weighted correlation of devolatilised returns (formula at the head of the module).
    volatility : {"sample", "ewma"}
        Volatilities joined to a cleaned correlation: of the window, or exponentially weighted.
    half_life : float, optional
        Of the "ewma" volatilities, in rows; 63 when None.
    unit_diagonal : bool
        Restore the unit diagonal of a cleaned correlation, so that the variances are those of `volatility`.
    lookback : int, optional
        Last rows used; all when None.
    assume_centered : bool
        Take mean returns as zero; n is then not reduced by one.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "lifted_eigenvalues", and "condition", the ratio of the largest to the smallest cleaned eigenvalue.

    Raises
    ------
    ParameterError
        If an option has a value it cannot have, or `on="covariance"` is given an option that only a
        correlation reads.

    Notes
    -----
    Where n, the effective rows (251 of 252, or 203 with the devolatilised correlation), is within one of the
    number of assets, the published formula gives tiny eigenvalues and the unconstrained minimum-variance
    portfolio is 1.3 to 11 times as volatile out of sample as with 20 rows more or fewer (one factor, 50 to 200
    assets); at two or three rows off it is up to 1.6 times, and from about ten on nothing is left of it.

    Examples
    --------
    >>> X = np.random.RandomState(0).randn(60, 8) * np.arange(1, 9)
    >>> round(float(np.trace(QuadraticInverseShrinkage().fit(X).covariance_)), 6)
    206.149596
    """

    def __init__(
        self,
        *,
        on: Literal["covariance", "correlation", "devolatilised_correlation"] = "covariance",
        volatility: Literal["sample", "ewma"] = "sample",
        half_life: float | None = None,
        unit_diagonal: bool = True,
        lookback: int | None = None,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.on = on
        self.volatility = volatility
        self.half_life = half_life
        self.unit_diagonal = unit_diagonal

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        if self.on == "covariance":
            self._refuse_unread_options()
            n = max(window.n_observations - (0 if self.assume_centered else 1), 1)
            values, vectors = np.linalg.eigh(window.covariance(divisor=n))
            cleaned = qis_eigenvalues(values, n_observations=n)
            self.diagnostics_["condition"] = float(cleaned.max() / cleaned.min())
            covariance = (vectors * cleaned) @ vectors.T
            return 0.5 * (covariance + covariance.T)
        volatility = read_volatility(window, self.volatility, self.half_life)
        if self.on == "correlation":
            correlation = window.correlation()
            n = max(window.n_observations - (0 if self.assume_centered else 1), 1)
        elif self.on == "devolatilised_correlation":
            correlation, n = devolatilised_correlation(window, center=not self.assume_centered)
        else:
            raise ParameterError(
                "on must be 'covariance', 'correlation' or 'devolatilised_correlation', got " + repr(self.on)
            )
        values, vectors = np.linalg.eigh(correlation)
        cleaned = qis_eigenvalues(values, n_observations=n, minimum=SMALLEST_CLEAN_EIGENVALUE)
        self.diagnostics_["condition"] = float(cleaned.max() / cleaned.min())
        correlation = clean_correlation(vectors, cleaned, unit_diagonal=self.unit_diagonal)
        return correlation_to_covariance(correlation, volatility)

    def _refuse_unread_options(self) -> None:
        defaults: dict[str, object] = {"volatility": "sample", "half_life": None, "unit_diagonal": True}
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                raise ParameterError(
                    f"{name}={value!r} is not read with on='covariance'; leave it out or use on='correlation'"
                )


QIS = QuadraticInverseShrinkage


def champion_covariance(*, lookback: int | None = None) -> QuadraticInverseShrinkage:
    """The strongest fixed rule known on stock panels, the one that a learned model has to beat.

    Quadratic-inverse shrinkage on the lag-weighted devolatilised correlation, restored to unit diagonal,
    with EWMA volatilities of half-life 63.

    Parameters
    ----------
    lookback : int, optional
        Last rows used; all when None.

    Returns
    -------
    QuadraticInverseShrinkage
        Not fitted.

    Examples
    --------
    >>> champion_covariance(lookback=252)
    QuadraticInverseShrinkage(half_life=63.0, lookback=252,
                              on='devolatilised_correlation', volatility='ewma')
    """
    return QuadraticInverseShrinkage(
        on="devolatilised_correlation", volatility="ewma", half_life=63.0, lookback=lookback
    )


def read_volatility(window: Window, volatility: str, half_life: float | None) -> FloatArray:
    """Volatilities by name, shape (n_assets,); refuses a half-life that nothing reads.

    Parameters
    ----------
    window : Window
        Completed window.
    volatility : {"sample", "ewma"}
        Of the window, or exponentially weighted.
    half_life : float, optional
        Of "ewma", in rows; 63 when None.

    Returns
    -------
    ndarray of shape (n_assets,)

    Raises
    ------
    ParameterError
        For another name, a half-life that is not positive, or one given with "sample".
    """
    if volatility == "sample":
        if half_life is not None:
            raise ParameterError(
                f"half_life={half_life!r} is not read with volatility='sample'; leave it out or use 'ewma'"
            )
        return window.volatility
    if volatility == "ewma":
        chosen = _DEFAULT_HALF_LIFE if half_life is None else positive_number("half_life", half_life)
        return window.ewma_volatility(chosen)
    raise ParameterError(f"volatility must be 'sample' or 'ewma', got {volatility!r}")


def devolatilised_correlation(window: Window, *, center: bool = True) -> tuple[FloatArray, int]:
    """Lag-weighted correlation of returns divided by a volatility known before each day.

    Parameters
    ----------
    window : Window
        Completed window.
    center : bool
        Take off the weighted mean of each asset.

    Returns
    -------
    correlation : ndarray of shape (n_assets, n_assets)
        Positive semidefinite, unit diagonal.
    n_observations : int
        Rows that the weights are worth, less one for centring; at least 2.

    Examples
    --------
    >>> from eigenfolio.models.window import prepare_window
    >>> X = np.random.default_rng(0).standard_normal((252, 3))
    >>> correlation, n = devolatilised_correlation(prepare_window(X))
    >>> correlation.shape, n
    ((3, 3), 203)
    """
    weights, n_observations = lag_weights(window.n_observations, center=center)
    path = ewma_variance_path(window.deviations, window.observed, half_life=_DEVOLATILISING_HALF_LIFE)[:-1]
    scale = np.maximum(np.sqrt(path), 0.25 * window.volatility)
    standardised = np.clip(window.deviations / scale, -_CLIP, _CLIP)
    return weighted_correlation(standardised, window.observed, weights, center=center), n_observations


def lag_weights(n_rows: int, *, center: bool = True) -> tuple[FloatArray, int]:
    """Row weights proportional to 1 / (1 + lag / 63), sum 1, and the number of rows they are worth.

    Examples
    --------
    >>> weights, n = lag_weights(64)
    >>> float(weights[-1] / weights[0]), n
    (2.0, 60)
    """
    weights = 1.0 / (1.0 + np.arange(n_rows - 1, -1, -1.0) / _LAG_SCALE)
    weights /= weights.sum()
    n_observations = round(1.0 / float(weights @ weights) - (1 if center else 0))
    return weights, max(n_observations, 2)


def qis_eigenvalues(eigenvalues: FloatArray, *, n_observations: int, minimum: float | None = None) -> FloatArray:
    """Eigenvalues cleaned by quadratic-inverse shrinkage [1]_.

    Parameters
    ----------
    eigenvalues : ndarray of shape (n_assets,)
        Of the sample matrix, ascending. Those below 1e-10 of their mean are raised to it.
    n_observations : int
        Effective observations: rows, less one when the mean was estimated.
    minimum : float, optional
        Floor as a share of the mean cleaned eigenvalue, applied before the trace is restored.

    Returns
    -------
    ndarray of shape (n_assets,)
        Positive, same sum as `eigenvalues`.

    Raises
    ------
    DataError
        If the eigenvalues are not finite, ascending, and positive in sum.

    Examples
    --------
    >>> qis_eigenvalues(np.array([1.0, 2.0, 6.0]), n_observations=30).round(2)
    array([1.23, 2.06, 5.71])
    """
    values = np.asarray(eigenvalues, dtype=float)
    total = float(values.sum())
    if values.ndim != 1 or not np.isfinite(total) or total <= 0.0 or (np.diff(values) < 0.0).any():
        raise DataError("eigenvalues must be a finite ascending vector with a positive sum")
    n_assets = values.size
    n = int(n_observations)
    if n < 1:
        raise ParameterError(f"n_observations must be at least 1, got {n_observations!r}")
    values = np.maximum(values, _SMALLEST_EIGENVALUE * total / n_assets)
    c = n_assets / n
    h = min(c, 1.0 / c) ** 0.7 / n_assets**0.35
    seen = values[max(0, n_assets - n) :]
    inverse = 1.0 / seen
    theta, kernel = _kernel_means(seen, inverse, h)
    amplitude = theta**2 + (h * kernel) ** 2
    if n_assets <= n:
        cleaned = seen / ((1.0 - c) ** 2 + 2.0 * c * (1.0 - c) * theta + c**2 * amplitude)
    else:
        null = 1.0 / ((c - 1.0) * float(inverse.mean()))
        cleaned = np.concatenate([np.full(n_assets - n, null), seen / amplitude])
    cleaned *= total / cleaned.sum()
    if minimum is not None and cleaned.min() < minimum * total / n_assets:
        cleaned = np.maximum(cleaned, minimum * total / n_assets)
        cleaned *= total / cleaned.sum()
    return cleaned


@njit(cache=True, fastmath={"reassoc"})
def _kernel_means(seen, inverse, h):  # type: ignore[no-untyped-def]
    """Means over j of both kernels, each divided through by lambda_j^-2, for every i."""
    n = len(seen)
    theta, level = np.empty(n), np.empty(n)
    for i in range(n):
        first, second, own = 0.0, 0.0, inverse[i]
        for j in range(n):
            distance = 1.0 - own * seen[j]
            kernel = 1.0 / (distance * distance + h * h)
            first += distance * kernel
            second += kernel
        theta[i], level[i] = first / n, second / n
    return theta, level


def clean_correlation(vectors: FloatArray, eigenvalues: FloatArray, *, unit_diagonal: bool) -> FloatArray:
    """Join eigenvectors and cleaned eigenvalues, with the unit diagonal restored on request.

    Parameters
    ----------
    vectors : ndarray of shape (n_assets, n_assets)
        Orthonormal columns.
    eigenvalues : ndarray of shape (n_assets,)
        Positive.
    unit_diagonal : bool
        Divide by the square roots of the diagonal.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Exactly symmetric.
    """
    correlation = (vectors * eigenvalues) @ vectors.T
    if unit_diagonal:
        size = np.sqrt(np.diag(correlation))
        correlation /= np.outer(size, size)
        np.fill_diagonal(correlation, 1.0)
    return 0.5 * (correlation + correlation.T)
