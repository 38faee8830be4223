"""Worlds that are not quite the one that was estimated: noisy correlations, other eigenvalues, a crisis.

Correlation noise has the form of estimation error and never leaves the correlation matrices. With C^1/2 the
symmetric root, G a random symmetric matrix with independent normal entries (variance 2 on the diagonal, 1 beside it)
and t a scale,

    W(t) = C^1/2 exp(t G) C^1/2,    C(t) = diag(W)^-1/2 W diag(W)^-1/2

and t is solved so that the root mean square of C(t) - C over the off-diagonal entries is the stated size, exactly.
For small t this is t C^1/2 G C^1/2, the noise of a sample covariance of 1 / t^2 normal rows.

Eigenvalue noise multiplies each eigenvalue by exp(size * z), z standard normal, keeps the eigenvectors, and
rescales all so that the trace stays.

A crisis replaces D C D, where D are volatilities, by

    m^2 D [(1 - pull) C + pull ((1 - level) I + level 11')] D

with m the volatility multiplier. Its rows are drawn as

    m (sqrt(1 - pull) x + sqrt(pull) D [sqrt(level) g 1 + sqrt(1 - level) e])

with x the row without the crisis, g and e independent standard normal, so the stated covariance is exact for any
law of x with mean zero, whatever its rank, and for paths as for constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from eigenfolio.data.synthetic.derived import LinearPath, changed_market, seed_number
from eigenfolio.data.synthetic.markets import CovariancePath, SyntheticMarket
from eigenfolio.errors import ParameterError
from eigenfolio.linalg import covariance_to_correlation

__all__ = [
    "CrisisPath",
    "crisis_covariance",
    "inject_crisis",
    "noisy_correlation",
    "perturb_market",
    "perturbed_eigenvalues",
]

FloatArray = npt.NDArray[np.float64]

_LARGEST_SCALE = 8.0  # t * (largest eigenvalue of G): far beyond it, correlations are all near -1 and 1
_RANK_TOLERANCE = 1e-12


def noisy_correlation(correlation: FloatArray, *, size: float, rng: np.random.Generator) -> FloatArray:
    """Add noise of a stated size to a correlation matrix, and keep it one.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Unit diagonal, positive semidefinite.
    size : float
        Root mean square change of the off-diagonal entries, at least 0.
    rng : Generator
        Randomness.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        Unit diagonal, positive semidefinite, of the same rank.

    Raises
    ------
    ParameterError
        If the size is negative or larger than this noise can be.

    Examples
    --------
    >>> noisy = noisy_correlation(np.eye(4), size=0.1, rng=np.random.default_rng(0))
    >>> off = noisy[np.triu_indices(4, k=1)]
    >>> round(float(np.sqrt(np.mean(off**2))), 12), bool(np.linalg.eigvalsh(noisy)[0] > 0)
    (0.1, True)
    """
    root, _ = _noise_root(correlation, size, rng)
    noisy = root @ root.T
    np.fill_diagonal(noisy, 1.0)
    return noisy


def perturbed_eigenvalues(
    covariance: FloatArray, *, size: float, rng: np.random.Generator, keep_trace: bool = True
) -> FloatArray:
    """Multiply every eigenvalue by a random factor and keep the eigenvectors.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Positive semidefinite.
    size : float
        Standard deviation of the change of the logarithm of an eigenvalue, at least 0.
    rng : Generator
        Randomness.
    keep_trace : bool
        Rescale all eigenvalues so that their sum stays.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)

    Raises
    ------
    ParameterError
        If the size is negative.

    Examples
    --------
    >>> changed = perturbed_eigenvalues(np.diag([1.0, 3.0]), size=0.5, rng=np.random.default_rng(0))
    >>> round(float(np.trace(changed)), 12), float(changed[0, 1])
    (4.0, 0.0)
    """
    root = _eigenvalue_root(covariance, size, rng, keep_trace)
    values, vectors = np.linalg.eigh(covariance)
    mapped = (vectors * (np.maximum(values, 0.0) * root**2)) @ vectors.T
    return (mapped + mapped.T) / 2.0


def perturb_market(
    market: SyntheticMarket,
    *,
    correlation_noise: float = 0.0,
    eigenvalue_noise: float = 0.0,
    first_row: int = 0,
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Let the truth change at a row: the rows from it on obey a perturbed covariance.

    The rows are mapped linearly, x becomes A x, with A such that the market's `covariance` becomes the perturbed
    one: first its correlations (`noisy_correlation`), then its eigenvalues (`perturbed_eigenvalues`). Where the truth
    varies, each of its matrices S becomes A S A'.

    Parameters
    ----------
    market : SyntheticMarket
        Without missing returns; hide rows afterwards.
    correlation_noise : float
        Root mean square change of the correlations.
    eigenvalue_noise : float
        Standard deviation of the change of the log eigenvalues.
    first_row : int
        First row of the perturbed law, in [0, n_observations).
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket

    Raises
    ------
    ParameterError
        If a size or the row is out of range, or a return is missing.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = factor_market(5, 100, seed=1)
    >>> changed = perturb_market(market, correlation_noise=0.1, first_row=60, seed=2)
    >>> bool(np.array_equal(changed.covariance_path.at(59), market.covariance))
    True
    >>> bool(np.allclose(np.diag(changed.covariance_path.at(60)), np.diag(market.covariance)))
    True
    """
    returns = market.panel.returns.to_numpy().copy()
    if not np.isfinite(returns).all():
        raise ParameterError("perturb_market mixes assets, so no return may be missing; perturb first, then hide rows")
    if not 0 <= first_row < len(returns):
        raise ParameterError(f"first_row must be in [0, {len(returns)}), got {first_row}")
    rng = np.random.default_rng(seed)
    covariance = market.covariance.to_numpy()
    volatility = np.sqrt(np.diag(covariance))
    correlation, _ = covariance_to_correlation(covariance)
    root, inverse = _noise_root(correlation, correlation_noise, rng)
    matrix = (volatility[:, None] * root @ inverse) / volatility
    noisy = matrix @ covariance @ matrix.T
    noisy = (noisy + noisy.T) / 2.0
    factors = _eigenvalue_root(noisy, eigenvalue_noise, rng, True)
    vectors = np.linalg.eigh(noisy)[1]
    matrix = (vectors * factors) @ vectors.T @ matrix
    returns[first_row:] = returns[first_row:] @ matrix.T
    change = {
        "change": "perturb_market",
        "correlation_noise": correlation_noise,
        "eigenvalue_noise": eigenvalue_noise,
        "first_row": first_row,
        "seed": seed_number(seed),
    }
    path = LinearPath(market.covariance_path, matrix, np.zeros(len(matrix)), first_row)
    step = (
        f"from row {first_row} on: correlations moved by {correlation_noise:g}, log eigenvalues by {eigenvalue_noise:g}"
    )
    return changed_market(market, returns, path, change, step)


def crisis_covariance(
    covariance: FloatArray, *, volatility_multiplier: float = 3.0, level: float = 0.8, pull: float = 0.7
) -> FloatArray:
    """The covariance of a crisis: higher volatilities, correlations pulled toward one level.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Of calm days.
    volatility_multiplier : float
        Factor on all volatilities, above 0.
    level : float in [0, 1]
        Correlation all pairs are pulled toward.
    pull : float in [0, 1]
        How far.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> crisis_covariance(np.diag([1.0, 4.0]), volatility_multiplier=2.0, level=0.5, pull=1.0)
    array([[ 4.,  4.],
           [ 4., 16.]])
    """
    _check_crisis(volatility_multiplier, level, pull)
    volatility = np.sqrt(np.diag(covariance))
    panic = level * np.outer(volatility, volatility)
    np.fill_diagonal(panic, volatility**2)
    return volatility_multiplier**2 * ((1.0 - pull) * covariance + pull * panic)


@dataclass(frozen=True, eq=False)
class CrisisPath(CovariancePath):
    """Truth of a market with a crisis in the rows `first_row`, ..., `stop_row - 1`.

    Parameters
    ----------
    base : CovariancePath
        Truth without it.
    first_row, stop_row : int
        Rows of the crisis.
    volatility_multiplier, level, pull : float
        As in `crisis_covariance`.
    """

    base: CovariancePath
    first_row: int
    stop_row: int
    volatility_multiplier: float
    level: float
    pull: float

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return self.base.n_observations

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of the matrices."""
        return self.base.n_assets

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield the matrices, those of the crisis in its rows."""
        last: FloatArray | None = None
        crisis = np.empty(0)
        for row, covariance in enumerate(self.base.between(start, stop), start):
            if not self.first_row <= row < self.stop_row:
                yield covariance
                continue
            if covariance is not last:
                crisis = crisis_covariance(
                    covariance, volatility_multiplier=self.volatility_multiplier, level=self.level, pull=self.pull
                )
                last = covariance
            yield crisis


def inject_crisis(
    market: SyntheticMarket,
    *,
    first_row: int,
    n_rows: int,
    volatility_multiplier: float = 3.0,
    level: float = 0.8,
    pull: float = 0.7,
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Put a crisis into some rows of a market.

    Parameters
    ----------
    market : SyntheticMarket
        With mean-zero returns; missing returns stay missing.
    first_row, n_rows : int
        Where it begins and how long it lasts; it must lie inside the market.
    volatility_multiplier, level, pull : float
        As in `crisis_covariance`.
    seed : int or Generator
        Randomness of the common and own shocks it adds.

    Returns
    -------
    SyntheticMarket
        Its path tells the crisis row by row.

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = inject_crisis(factor_market(5, 100, seed=1), first_row=40, n_rows=20)
    >>> before, within = (np.sqrt(np.diag(market.covariance_path.at(row))) for row in (39, 40))
    >>> (within / before).round(6)
    array([3., 3., 3., 3., 3.])
    """
    _check_crisis(volatility_multiplier, level, pull)
    stop_row = first_row + n_rows
    returns = market.panel.returns.to_numpy().copy()
    if not (0 <= first_row < stop_row <= len(returns)):
        raise ParameterError(
            f"a crisis must lie within rows 0 to {len(returns) - 1}, got first_row={first_row}, n_rows={n_rows}"
        )
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_rows, 1))
    own = rng.standard_normal((n_rows, returns.shape[1]))
    calm = market.covariance_path.between(first_row, stop_row)
    volatility = np.sqrt([np.diag(covariance) for covariance in calm])
    panic = volatility * (np.sqrt(level) * common + np.sqrt(1.0 - level) * own)
    spell = slice(first_row, stop_row)
    returns[spell] = volatility_multiplier * (np.sqrt(1.0 - pull) * returns[spell] + np.sqrt(pull) * panic)
    change = {
        "change": "inject_crisis",
        "first_row": first_row,
        "n_rows": n_rows,
        "volatility_multiplier": volatility_multiplier,
        "level": level,
        "pull": pull,
        "seed": seed_number(seed),
    }
    path = CrisisPath(market.covariance_path, first_row, stop_row, volatility_multiplier, level, pull)
    step = f"a crisis in rows {first_row} to {stop_row - 1}: volatilities times {volatility_multiplier:g}"
    return changed_market(market, returns, path, change, step)


def _noise_root(correlation: FloatArray, size: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """R with R R' = C(t) of the stated size, and the inverse root of C on its range, so that R C^-1/2 maps rows."""
    n = len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    kept = values > _RANK_TOLERANCE * values[-1]
    safe = np.where(kept, values, 1.0)
    half = (vectors * np.where(kept, np.sqrt(safe), 0.0)) @ vectors.T
    inverse = (vectors * np.where(kept, 1.0 / np.sqrt(safe), 0.0)) @ vectors.T
    normal = rng.standard_normal((n, n))
    if not size >= 0:
        raise ParameterError(f"the size of a correlation noise must be at least 0, got {size}")
    if size == 0:
        return half, inverse
    within = vectors[:, kept] @ vectors[:, kept].T
    noise = within @ ((normal + normal.T) / np.sqrt(2.0)) @ within
    powers, axes = np.linalg.eigh((noise + noise.T) / 2.0)
    side = half @ axes

    def root(scale: float) -> FloatArray:
        grown = side * np.exp(0.5 * scale * powers)
        return grown / np.sqrt(np.sum(grown**2, axis=1, keepdims=True))

    def excess(scale: float) -> float:
        grown = root(scale)
        return float(np.sqrt(np.sum((grown @ grown.T - correlation) ** 2) / (n * (n - 1)))) - size

    largest = _LARGEST_SCALE / max(float(np.abs(powers).max()), 1e-300)
    if n < 2 or excess(largest) <= 0:
        reached = 0.0 if n < 2 else excess(largest) + size
        raise ParameterError(
            f"a correlation noise of size {size:g} is too large here, it reaches {reached:.3f} at most"
        )
    scale = brentq(excess, 0.0, largest, xtol=1e-15, rtol=1e-14)
    return root(scale) @ axes.T, inverse


def _eigenvalue_root(covariance: FloatArray, size: float, rng: np.random.Generator, keep_trace: bool) -> FloatArray:
    """Square roots of the factors on the eigenvalues, in ascending order of those."""
    if not size >= 0:
        raise ParameterError(f"the size of an eigenvalue noise must be at least 0, got {size}")
    values = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    factors = np.exp(size * rng.standard_normal(len(values)))
    if keep_trace:
        factors *= values.sum() / np.sum(values * factors)
    return np.sqrt(factors)


def _check_crisis(volatility_multiplier: float, level: float, pull: float) -> None:
    if not (volatility_multiplier > 0 and 0 <= level <= 1 and 0 <= pull <= 1):
        raise ParameterError(
            "a crisis needs volatility_multiplier above 0 and level and pull in [0, 1], got "
            f"volatility_multiplier={volatility_multiplier}, level={level}, pull={pull}"
        )
