r"""Populations: covariance matrices of stated structure, from which dynamics draw returns.

    spiked           k eigenvalues of stated size above a flat remainder, in random directions [1]_
    block            one correlation within groups, a lower one between them
    factor           covariance = B diag(s_f^2) B' + diag(s_e^2), a market and sparse, sector-like factors
    Ledoit-Wolf      20 % of the eigenvalues at 1, 40 % at 3, 40 % at 10, in random directions [2]_

Volatilities are per day where the defaults are kept (1 to 2 %). Random directions are uniform (Haar) orthonormal
bases.

References
----------
.. [1] I. M. Johnstone (2001). On the distribution of the largest eigenvalue in principal components analysis.
   Annals of Statistics 29(2), 295-327.
.. [2] O. Ledoit and M. Wolf (2012). Nonlinear shrinkage estimation of large-dimensional covariance matrices.
   Annals of Statistics 40(2), 1024-1060.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cholesky

from eigenfolio.errors import ParameterError
from eigenfolio.linalg import correlation_to_covariance, covariance_to_correlation

__all__ = [
    "Population",
    "block_covariance",
    "factor_covariance",
    "ledoit_wolf_spectrum",
    "spiked_covariance",
    "stressed_population",
]

FloatArray = npt.NDArray[np.float64]

_VOLATILITY = 0.015


@dataclass(frozen=True, eq=False)
class Population:
    """A positive definite covariance matrix and what follows from it.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period; made exactly symmetric and read-only.
    name : str
        Its structure.
    parameters : mapping
        Options it was made with, JSON-able.

    Raises
    ------
    ParameterError
        If the matrix is not square, symmetric up to rounding and positive definite.

    Examples
    --------
    >>> population = Population(np.array([[4.0, 1.0], [1.0, 1.0]]), name="two assets")
    >>> population.volatility, population.correlation[0, 1].item()
    (array([2., 1.]), 0.5)
    """

    covariance: FloatArray
    name: str = "given"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = np.asarray(self.covariance, dtype=float)
        if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size or not np.isfinite(given).all():
            raise ParameterError(f"a population needs a square, finite covariance, got shape {given.shape}")
        if np.abs(given - given.T).max() > 1e-10 * np.abs(given).max():
            raise ParameterError("a population needs a symmetric covariance; average it with its transpose")
        object.__setattr__(self, "covariance", _read_only(0.5 * (given + given.T)))
        object.__setattr__(self, "parameters", dict(self.parameters))
        try:
            root = cholesky(self.covariance, lower=True, check_finite=False)
        except LinAlgError:
            raise ParameterError(
                f"the {self.name} covariance of {len(given)} assets is not positive definite; "
                "weaken its correlations or repair it with eigenfolio.linalg.repair_covariance"
            ) from None
        object.__setattr__(self, "_root", _read_only(root))

    @property
    def n_assets(self) -> int:
        """Number of assets."""
        return len(self.covariance)

    @property
    def root(self) -> FloatArray:
        """Lower Cholesky factor: covariance = root @ root.T."""
        root: FloatArray = self.__dict__["_root"]
        return root

    @cached_property
    def volatility(self) -> FloatArray:
        """Volatility of each asset, (n_assets,)."""
        return _read_only(np.sqrt(np.diag(self.covariance)))

    @cached_property
    def correlation(self) -> FloatArray:
        """Correlation matrix, (n_assets, n_assets)."""
        return _read_only(covariance_to_correlation(self.covariance)[0])

    @property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues of the covariance, smallest first, (n_assets,)."""
        return self._spectrum[0]

    @property
    def eigenvectors(self) -> FloatArray:
        """Orthonormal eigenvectors as columns, in the order of `eigenvalues`."""
        return self._spectrum[1]

    @cached_property
    def _spectrum(self) -> tuple[FloatArray, FloatArray]:
        values, vectors = np.linalg.eigh(self.covariance)
        return _read_only(values), _read_only(vectors)


def spiked_covariance(
    n_assets: int,
    *,
    spikes: Sequence[float] = (30.0, 8.0, 4.0),
    volatility: float = _VOLATILITY,
    rng: int | np.random.Generator = 0,
) -> Population:
    """A few large eigenvalues over a flat remainder, in random directions.

    Parameters
    ----------
    n_assets : int
        At least as many as spikes.
    spikes : sequence of float
        Sizes of the large eigenvalues as multiples of the others, positive.
    volatility : float
        Root mean variance of the assets, per period, positive.
    rng : int or Generator
        Randomness of the directions.

    Returns
    -------
    Population

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> population = spiked_covariance(4, spikes=[5.0], volatility=2.0)
    >>> population.eigenvalues.round(6)
    array([ 2.,  2.,  2., 10.])
    """
    sizes = np.asarray(spikes, dtype=float)
    if sizes.ndim != 1 or len(sizes) > n_assets or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ParameterError(
            f"spikes must be at most n_assets={n_assets} positive multiples of the other eigenvalues, got {spikes!r}"
        )
    spectrum = np.concatenate([np.ones(n_assets - len(sizes)), sizes])
    options = {"spikes": sizes.tolist(), "volatility": volatility}
    return _random_directions(spectrum, volatility, np.random.default_rng(rng), "spiked", options)


def ledoit_wolf_spectrum(
    n_assets: int, *, volatility: float = _VOLATILITY, rng: int | np.random.Generator = 0
) -> Population:
    """The spectrum on which nonlinear shrinkage is tried: 20 % at 1, 40 % at 3, 40 % at 10, times a common unit.

    Parameters
    ----------
    n_assets : int
        Counts are rounded to whole eigenvalues (half to even); the largest group takes the rest.
    volatility : float
        Root mean variance of the assets, per period, positive.
    rng : int or Generator
        Randomness of the directions.

    Returns
    -------
    Population

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> population = ledoit_wolf_spectrum(5, volatility=5.4 ** 0.5)
    >>> population.eigenvalues.round(6)
    array([ 1.,  3.,  3., 10., 10.])
    """
    if n_assets < 1:
        raise ParameterError(f"n_assets must be at least 1, got {n_assets}")
    low, middle = round(0.2 * n_assets), round(0.4 * n_assets)
    spectrum = np.repeat([1.0, 3.0, 10.0], [low, middle, n_assets - low - middle])
    return _random_directions(
        spectrum, volatility, np.random.default_rng(rng), "ledoit_wolf", {"volatility": volatility}
    )


def block_covariance(
    n_assets: int,
    n_blocks: int = 5,
    within: float = 0.6,
    between: float = 0.2,
    *,
    volatility: float = _VOLATILITY,
    dispersion: float = 0.4,
    rng: int | np.random.Generator = 0,
) -> Population:
    """Groups of assets: one correlation within a group, another between groups, log-normal volatilities.

    Parameters
    ----------
    n_assets : int
        At least `n_blocks`; the groups are contiguous, their sizes differ by one at most.
    n_blocks : int
        Number of groups.
    within, between : float
        Correlations.
    volatility : float
        Median volatility, per period, positive.
    dispersion : float
        Standard deviation of the logarithm of the volatilities, at least 0.
    rng : int or Generator
        Randomness of the volatilities.

    Returns
    -------
    Population

    Raises
    ------
    ParameterError
        If an option is out of range or no covariance has such correlations.

    Examples
    --------
    >>> block_covariance(3, 2, 0.5, 0.1).correlation.round(6)
    array([[1. , 0.5, 0.1],
           [0.5, 1. , 0.1],
           [0.1, 0.1, 1. ]])
    """
    if not 1 <= n_blocks <= n_assets:
        raise ParameterError(f"n_blocks must be from 1 to n_assets={n_assets}, got {n_blocks}")
    block = np.arange(n_assets) * n_blocks // n_assets
    correlation = np.where(block[:, None] == block, within, between).astype(float)
    np.fill_diagonal(correlation, 1.0)
    volatilities = _log_normal(n_assets, volatility, dispersion, np.random.default_rng(rng))
    options = {
        "n_blocks": n_blocks,
        "within": within,
        "between": between,
        "volatility": volatility,
        "dispersion": dispersion,
    }
    return Population(correlation_to_covariance(correlation, volatilities), "block", options)


def factor_covariance(
    n_assets: int,
    n_factors: int = 6,
    *,
    coverage: float = 0.25,
    market_volatility: float = 0.010,
    factor_volatility: float = 0.008,
    beta_dispersion: float = 0.3,
    volatility: float = 0.012,
    dispersion: float = 0.4,
    rng: int | np.random.Generator = 0,
) -> Population:
    """A market with dispersed betas, sparse factors like sectors, log-normal idiosyncratic volatilities.

    Parameters
    ----------
    n_assets : int
        Number of assets.
    n_factors : int
        Factors, the market among them; 0 gives independent assets.
    coverage : float in [0, 1]
        Chance that an asset loads on a factor other than the market; where it does not its loading is 0.
    market_volatility, factor_volatility : float
        Volatility of the market and of each other factor, per period, at least 0.
    beta_dispersion : float
        Standard deviation of the loadings, which are normal around 1 (the zeros apart), at least 0.
    volatility : float
        Median idiosyncratic volatility, per period, positive.
    dispersion : float
        Standard deviation of the logarithm of the idiosyncratic volatilities, at least 0.
    rng : int or Generator
        Randomness of loadings and volatilities.

    Returns
    -------
    Population

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> population = factor_covariance(100, rng=1)
    >>> bool(population.eigenvalues[-1] > 20 * np.median(population.eigenvalues))
    True
    """
    if n_assets < 1 or n_factors < 0:
        raise ParameterError(f"need n_assets >= 1 and n_factors >= 0, got {n_assets} and {n_factors}")
    if not 0 <= coverage <= 1:
        raise ParameterError(f"coverage must be a share in [0, 1], got {coverage}")
    sizes = {
        "market_volatility": market_volatility,
        "factor_volatility": factor_volatility,
        "beta_dispersion": beta_dispersion,
    }
    for name, value in sizes.items():
        if not 0 <= value < np.inf:
            raise ParameterError(f"{name} must be finite and at least 0, got {value}")
    rng = np.random.default_rng(rng)
    loadings = 1.0 + beta_dispersion * rng.standard_normal((n_assets, n_factors))
    loads = rng.random((n_assets, n_factors)) < coverage
    loads[:, :1] = True
    loadings = np.where(loads, loadings, 0.0)
    loadings[:, :1] *= market_volatility
    loadings[:, 1:] *= factor_volatility
    own = _log_normal(n_assets, volatility, dispersion, rng)
    options = {"n_factors": n_factors, "coverage": coverage, **sizes, "volatility": volatility}
    options["dispersion"] = dispersion
    return Population(loadings @ loadings.T + np.diag(own**2), "factor", options)


def stressed_population(
    population: Population, *, volatility: float = 2.0, correlation: float = 0.6, pull: float = 0.5
) -> Population:
    """The same assets in a crisis: volatilities multiplied, correlations pulled toward one level.

    Parameters
    ----------
    population : Population
        Calm state.
    volatility : float
        Multiplier of every volatility, positive.
    correlation : float in [0, 1)
        Level toward which correlations are pulled.
    pull : float in [0, 1]
        Share of the level: correlation = (1 - pull) * calm + pull * level.

    Returns
    -------
    Population

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> calm = Population(np.eye(2))
    >>> stressed_population(calm, volatility=3.0, correlation=0.8, pull=0.5).covariance.round(6)
    array([[9. , 3.6],
           [3.6, 9. ]])
    """
    if not 0 < volatility < np.inf:
        raise ParameterError(f"volatility must be a positive multiplier, got {volatility}")
    if not 0 <= correlation < 1 or not 0 <= pull <= 1:
        raise ParameterError(f"need correlation in [0, 1) and pull in [0, 1], got {correlation} and {pull}")
    mixed = (1.0 - pull) * population.correlation + pull * correlation
    np.fill_diagonal(mixed, 1.0)
    options = {"volatility": volatility, "correlation": correlation, "pull": pull}
    return Population(
        correlation_to_covariance(mixed, volatility * population.volatility),
        f"stressed_{population.name}",
        {**population.parameters, "stress": options},
    )


def _random_directions(
    spectrum: FloatArray, volatility: float, rng: np.random.Generator, name: str, options: dict[str, Any]
) -> Population:
    """Covariance with this spectrum, scaled to the mean variance, in a uniform orthonormal basis."""
    if not 0 < volatility < np.inf:
        raise ParameterError(f"volatility must be positive and finite, got {volatility}")
    # Uniform up to the signs of the columns, on which a covariance does not depend.
    vectors = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))[0]
    return Population((vectors * (spectrum * (volatility**2 / spectrum.mean()))) @ vectors.T, name, options)


def _log_normal(n_assets: int, median: float, dispersion: float, rng: np.random.Generator) -> FloatArray:
    if not 0 < median < np.inf or not 0 <= dispersion < np.inf:
        raise ParameterError(f"need volatility > 0 and dispersion >= 0, got {median} and {dispersion}")
    return median * np.exp(dispersion * rng.standard_normal(n_assets))


def _read_only(array: FloatArray) -> FloatArray:
    array.setflags(write=False)
    return array
