r"""A window of returns as tokens: its eigenvalues, and families of numbers that describe it.

z are the centred returns divided by their volatility over the window (zero where missing), C = z'z / T with
eigenvalues lambda_1 >= lambda_2 >= ... and eigenvectors v_k, p_k = z v_k the returns of component k, m the mean of z
over the assets divided by its root mean square, and everything is a ratio, a share, or a logarithm of these: no number
depends on the unit of the returns, on the order of the assets or on the signs of eigenvectors, and all are there for
any shape.

Eigenvalues below 1e-8 are one null space: its tokens are alike, so that nothing depends on a basis nobody chose.

The market family says where volatility, average correlation and the size of the trend stand among their own values
inside the window, as percentiles with ties counted half: the causal regime context. `window_regime` reads the four
regimes off these percentiles by the rules of `eigenfolio.features.regimes`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned.window import ShrinkageWindow, describe_window
from eigenfolio.models.linear_shrinkage import ledoit_wolf_intensity
from eigenfolio.models.nonlinear_shrinkage import qis_eigenvalues
from eigenfolio.models.window import Window

__all__ = [
    "CONTEXT_FEATURES",
    "EIGEN_FEATURES",
    "FAMILIES",
    "MARKET_FEATURES",
    "TEMPORAL_FEATURES",
    "WINDOW_FEATURES",
    "TokenWindow",
    "describe_tokens",
    "market_features",
    "temporal_features",
    "window_regime",
]

FloatArray = NDArray[np.float64]

_NULL = 1e-8
_SMALL = 1e-4
_VOLATILITY_ROWS, _CORRELATION_ROWS, _TREND_ROWS = 21, 63, 126

EIGEN_FEATURES: tuple[str, ...] = (
    "log_eigenvalue",
    "log_clean_eigenvalue",
    "log_over_noise_edge",
    "rank_share",
    "log_rank_from_above",
    "log_rank_from_below",
    "is_null_space",
    "log_participation",
    "log_market_overlap",
    "log_recent_variance",
    "log_half_variance",
)
CONTEXT_FEATURES: tuple[str, ...] = (
    "log_aspect_ratio",
    "log_rows",
    "log_assets",
    "mean_correlation",
    "classical_logit",
)
MARKET_FEATURES: tuple[str, ...] = (
    "volatility_percentile",
    "correlation_percentile",
    "trend_percentile",
    "log_market_volatility_21",
    "trend",
    "drawdown",
    "tail_share",
    "log_dispersion_21",
    "log_turbulence_21",
)
TEMPORAL_FEATURES: tuple[str, ...] = (
    "correlation_change",
    "log_half_volatility",
    "half_volatility_spread",
    "market_autocorrelation",
    "absolute_market_autocorrelation",
    "asset_autocorrelation",
    "volatility_of_volatility",
    "coverage",
)
FAMILIES: dict[str, tuple[str, ...]] = {
    "spectrum": SPECTRUM_FEATURES[:13],
    "correlation": SPECTRUM_FEATURES[13:23],
    "market": (*SPECTRUM_FEATURES[23:], *MARKET_FEATURES),
    "temporal": TEMPORAL_FEATURES,
}
"""One token each, beside those of the eigenvalues; "market" is the regime context."""

WINDOW_FEATURES: tuple[str, ...] = tuple(name for family in FAMILIES.values() for name in family)


@dataclass(frozen=True)
class TokenWindow:
    """One window as the attention network sees it.

    Attributes
    ----------
    base : ShrinkageWindow
        Correlation, targets, volatilities and the classical intensity.
    eigenvalues : ndarray of shape (n_assets,)
        Of the correlation, descending; zero in the null space.
    vectors : ndarray of shape (n_assets, n_assets)
        Columns in the same order.
    eigen : ndarray of shape (n_assets, n_eigen_features)
        `EIGEN_FEATURES` of every eigenvalue.
    context : ndarray of shape (n_context,)
        `CONTEXT_FEATURES`.
    features : ndarray of shape (n_features,)
        `WINDOW_FEATURES`, family after family.
    regime : str
        `window_regime` of the window.
    """

    base: ShrinkageWindow
    eigenvalues: FloatArray
    vectors: FloatArray
    eigen: FloatArray
    context: FloatArray
    features: FloatArray
    regime: str


def describe_tokens(window: Window, *, start: str = "identity") -> TokenWindow:
    """Describe a completed window.

    Parameters
    ----------
    window : Window
        At least two rows.
    start : {"identity", "constant_correlation", "single_factor"}
        Target of the classical intensity.

    Returns
    -------
    TokenWindow

    Examples
    --------
    >>> from eigenfolio.models.window import prepare_window
    >>> X = np.random.default_rng(0).standard_normal((60, 5)) * 0.01
    >>> described = describe_tokens(prepare_window(X))
    >>> described.eigen.shape, described.features.shape, described.regime
    ((5, 11), (48,), 'trending')
    """
    z = window.standardised
    values, vectors = np.linalg.eigh(window.correlation())
    base = describe_window(window, eigenvalues=values)
    if start != "identity":
        base = replace(base, intensity=ledoit_wolf_intensity(z, base.correlation, target=start))
    values, vectors = np.where(values > _NULL, values, 0.0)[::-1], np.ascontiguousarray(vectors[:, ::-1])
    market = market_features(z)
    n_rows, n_assets = z.shape
    context = [
        np.log(n_assets / n_rows),
        np.log(n_rows),
        np.log(n_assets),
        base.mean_correlation,
        float(np.clip(base.classical_logit, -6.0, 6.0)),
    ]
    return TokenWindow(
        base=base,
        eigenvalues=values,
        vectors=vectors,
        eigen=_eigen_features(z, values, vectors),
        context=np.array(context),
        features=np.concatenate([base.features, market, temporal_features(window)]),
        regime=window_regime(market),
    )


def _eigen_features(z: FloatArray, values: FloatArray, vectors: FloatArray) -> FloatArray:
    """`EIGEN_FEATURES`, (n_assets, 11); every number of the null space is its mean or zero."""
    n_rows, n_assets = z.shape
    null = values == 0.0
    clean = qis_eigenvalues(values[::-1], n_observations=max(n_rows - 1, 1), minimum=_SMALL)[::-1]
    rank = np.arange(n_assets) + 0.5
    squares = (z @ vectors) ** 2  # (n_rows, n_assets)
    half = n_rows // 2
    recent = squares[-_CORRELATION_ROWS:].mean(axis=0)
    earlier, later = squares[:half].mean(axis=0), squares[half:].mean(axis=0)
    overlap = vectors.sum(axis=0) ** 2 / n_assets
    if null.any():
        for numbers in (clean, rank, overlap):
            numbers[null] = numbers[null].mean()
    edge = (1.0 + np.sqrt(n_assets / n_rows)) ** 2
    columns = [
        np.log(values + _SMALL),
        np.log(clean + _SMALL),
        np.log((values + _SMALL) / edge),
        rank / n_assets,
        np.log(rank + 0.5),
        np.log(n_assets - rank + 0.5),
        null.astype(float),
        np.where(null, 0.0, np.log(n_assets * (vectors**4).sum(axis=0))),
        np.log(overlap + 1e-3),
        np.where(null, 0.0, np.log((recent + _SMALL) / (values + _SMALL))),
        np.where(null, 0.0, np.log((later + _SMALL) / (earlier + _SMALL))),
    ]
    return np.column_stack(columns)


def market_features(standardised: FloatArray) -> FloatArray:
    """`MARKET_FEATURES` of centred returns in units of their volatility, shape (n_observations, n_assets).

    Returns
    -------
    ndarray of shape (9,)
    """
    n_rows, n_assets = standardised.shape
    energy = np.einsum("ti,ti->t", standardised, standardised) / n_assets
    mean = standardised.mean(axis=1)
    m = _unit(mean)
    size = np.sqrt(_rolling_mean(m**2, _VOLATILITY_ROWS))
    shared, own = _rolling_mean(mean**2, _CORRELATION_ROWS), _rolling_mean(energy, _CORRELATION_ROWS)
    correlation = (n_assets * shared / np.maximum(own, _SMALL) - 1.0) / max(n_assets - 1, 1)
    width = min(_TREND_ROWS, max(n_rows // 2, 1))
    drift, spread = _rolling_mean(m, width), np.sqrt(_rolling_mean(m**2, width))
    trend = np.sqrt(width) * drift / np.maximum(spread, _SMALL)
    path = np.concatenate([[0.0], np.cumsum(m)])
    scatter = np.sqrt(np.maximum(energy - mean**2, 0.0))
    late = slice(-_VOLATILITY_ROWS, None)
    return np.array(
        [
            _percentile(size),
            _percentile(correlation),
            _percentile(np.abs(trend)),
            np.log((size[-1] + 1e-2) / (np.sqrt((m**2).mean()) + 1e-2)),
            trend[-1],
            (path.max() - path[-1]) / np.sqrt(n_rows),
            (np.abs(m[-_CORRELATION_ROWS:]) > 2.0).mean(),
            np.log((scatter[late].mean() + 1e-2) / (scatter.mean() + 1e-2)),
            np.log((energy[late].mean() + 1e-2) / (energy.mean() + 1e-2)),
        ]
    )


def temporal_features(window: Window) -> FloatArray:
    """`TEMPORAL_FEATURES` of a completed window: how steady it is.

    Returns
    -------
    ndarray of shape (8,)
    """
    z = window.standardised
    n_rows, n_assets = z.shape
    half = n_rows // 2
    first, second = (np.sqrt((part**2).mean(axis=0)) + 1e-2 for part in (z[:half], z[half:]))
    change = np.log(second / first)
    gap = (z[:half] / first).T @ (z[:half] / first) / half - (z[half:] / second).T @ (z[half:] / second) / (
        n_rows - half
    )
    np.fill_diagonal(gap, 0.0)
    pairs = max(n_assets * (n_assets - 1), 1)
    m = _unit(z.mean(axis=1))
    size = np.log(np.sqrt(_rolling_mean(m**2, _VOLATILITY_ROWS)) + 1e-2)
    own = np.einsum("ti,ti->i", z[1:], z[:-1]) / np.maximum(np.einsum("ti,ti->i", z, z), _SMALL)
    return np.array(
        [
            np.sqrt((gap**2).sum() / pairs),
            change.mean(),
            change.std(),
            _autocorrelation(m),
            _autocorrelation(np.abs(m) - np.abs(m).mean()),
            own.mean(),
            size.std(),
            np.log(np.maximum(window.counts, 1.0).mean() / n_rows),
        ]
    )


def window_regime(market: FloatArray) -> str:
    """Regime at the last row of a window, from its `MARKET_FEATURES`.

    Parameters
    ----------
    market : ndarray of shape (9,)
        Percentiles of volatility, correlation and trend come first.

    Returns
    -------
    str
        One of `eigenfolio.features.REGIMES`.

    Examples
    --------
    >>> [window_regime(np.array(p)) for p in ([0.95, 0.8, 0.1], [0.8, 0.2, 0.1], [0.2, 0.2, 0.9], [0.2, 0.2, 0.2])]
    ['crisis', 'stressed', 'trending', 'calm']
    """
    v, c, t = market[:3]
    if v >= 0.90 and c >= 0.75:
        return "crisis"
    if v >= 0.75 or (v >= 0.50 and c >= 0.90):
        return "stressed"
    return "trending" if t >= 2.0 / 3.0 else "calm"


def _unit(x: FloatArray) -> FloatArray:
    """Divide by the root mean square; zeros stay."""
    size = float(np.sqrt((x**2).mean()))
    return x / size if size > 0.0 else x


def _rolling_mean(x: FloatArray, width: int) -> FloatArray:
    """Means of all runs of `width` rows (of all rows, where there are fewer)."""
    width = min(width, len(x))
    total = np.concatenate([[0.0], np.cumsum(x)])
    means: FloatArray = (total[width:] - total[:-width]) / width
    return np.maximum(means, 0.0) if (x >= 0.0).all() else means


def _percentile(path: FloatArray) -> float:
    """Where the last value stands among all, ties (itself among them) counted half."""
    last = path[-1]
    return float(((path < last).sum() + 0.5 * (path == last).sum()) / len(path))


def _autocorrelation(x: FloatArray) -> float:
    power = float(x @ x)
    return float(x[1:] @ x[:-1]) / power if power > 0.0 else 0.0
