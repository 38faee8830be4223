r"""Two spectra of a window of returns, as a spectral network sees them.

Both are correlation matrices of standardised returns z under row weights w, cleaned by quadratic-inverse shrinkage
whose eigenvalues are put in order again (isotonic, trace kept):

    steady   z = x / s                                          w = 1 / T
    recent   z = clip(x / max(sqrt(v), s / 4), +-6)             w ~ 1 / (1 + lag / 63), lag < 504

with x the centred return, s its volatility over the window and v an exponentially weighted variance (half-life 21)
known before each day. Every row is then divided by the square root of its own root mean square over the assets, so
that days on which everything moves count less. A spectrum keeps the r = min(N, n) leading eigenvectors, n being the
rows that w is worth; the N - r others share one eigenvalue. With more assets than rows the eigenvectors come from the
T x T matrix of inner products, and nothing of size N x N is formed.

The steady spectrum need not be a correlation: its standardised returns are multiplied by (s_i / s)^(1 - kappa), so that
kappa = 1 cleans the correlation and kappa = 0 the covariance, which is the better matrix where the residual variances
of the assets are alike. Stocks say about 1 and get the correlation.

The numbers of an eigenvalue ("token", leading first, the null space last) and of an asset are logarithms of ratios or
shares: none depends on the unit of the returns or on the order of the assets. V are eigenvectors, q cleaned
eigenvalues, g the diagonal of the cleaned precision and u = z V diag(1/q) V' / g what is left of an asset's return once
the others have explained it: its volatility of late, on the last 126 rows, is compared with that of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsymv, dsyrk
from scipy.linalg.lapack import dsyevd

from eigenfolio.learned.spectral_kernels import (
    clustering,
    history,
    mean_and_spread,
    median,
    pooled,
    project,
    row_statistics,
    standardise,
)
from eigenfolio.models.nonlinear_shrinkage import SMALLEST_CLEAN_EIGENVALUE, lag_weights, qis_eigenvalues
from eigenfolio.models.window import RECENT_ROWS, Window

__all__ = [
    "ASSET_FEATURES",
    "CONTEXT_FEATURES",
    "N_SPECTRA",
    "SUMMARY_FEATURES",
    "TOKEN_FEATURES",
    "VOLATILITY_SHARE",
    "SpectralWindow",
    "Spectrum",
    "correlation_eigen",
    "monotone_eigenvalues",
    "spectral_window",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

N_SPECTRA = 2
HALF_LIVES = (21.0, 63.0, 126.0, 252.0)
CLASSICAL_HALF_LIFE = 63.0
_ROW_FLOOR = 0.2  # of the median row
_SMALLEST_EIGENVALUE = 1e-10
VOLATILITY_SHARE = 0.7
_LEVEL_HALF_LIFE, _LEVEL_ROWS = 10.0, 126
_EQUAL_VARIANCES = 0.03  # variance of log variances, at which half a standardisation is left
_LAGS = 5
_RESIDUAL_ROWS = 126
_RECENT_ROWS = 504
_NORMAL_ABSOLUTE = 1.2533141373155001  # 1 / E|x| of a standard normal

TOKEN_FEATURES: tuple[str, ...] = (
    "log_eigenvalue",
    "log_clean_eigenvalue",
    "rank_share",
    "log_inverse_volatility_overlap",
    "log_participation",
    "log_rank_from_below",
    "log_rank_from_above",
    "is_null_space",
)
ASSET_FEATURES: tuple[str, ...] = (
    *(f"ewma_volatility_{h:g}" for h in HALF_LIVES),
    "log_mean_absolute",
    "log_kurtosis",
    "log_largest",
    "log_recent_mean_absolute",
    "still_share",
    "residual_volatility_21",
    "residual_volatility_63",
    "log_residual_variance",
    "residual_log_kurtosis",
    "mean_correlation",
    "leading_loading",
    "correlation_size",
    "log_relative_volatility",
    "log_coverage",
)
_RESIDUAL_VARIANCE = ASSET_FEATURES.index("log_residual_variance")
CONTEXT_FEATURES: tuple[str, ...] = (
    "log_aspect_ratio",
    "log_rows",
    "log_assets",
    "row_clustering",
    "asset_clustering",
    "row_log_kurtosis",
    "standardisation",
)
_OWN_SUMMARY = ("mean_correlation", "log_first", "log_second", "log_smallest", "log_median", "volatility_dispersion")
SUMMARY_FEATURES: tuple[str, ...] = (
    *(
        f"{spectrum}_{name}"
        for spectrum in ("steady", "recent")
        for name in (
            *CONTEXT_FEATURES,
            *_OWN_SUMMARY,
            *(f"mean_{name}" for name in ASSET_FEATURES),
            *(f"spread_{name}" for name in ASSET_FEATURES),
        )
    ),
    "level",
)


@dataclass(frozen=True)
class Spectrum:
    """One cleaned spectrum with the numbers that describe it.

    Attributes
    ----------
    tokens : ndarray of shape (n_tokens, n_token_features)
        Leading eigenvalue first; where rank < n_assets the last token is the null space.
    assets : ndarray of shape (n_assets, n_asset_features)
    context : ndarray of shape (n_context,)
    vectors : ndarray of shape (n_assets, rank)
        Orthonormal columns, leading first.
    log_eigenvalues : ndarray of shape (n_tokens,)
        Of the cleaned matrix, descending; their sum, the null space counted as often as it has directions, is N.
    tilt : ndarray of shape (n_assets,)
        The matrix is that of standardised returns times `tilt`; ones for a correlation.
    """

    tokens: FloatArray
    assets: FloatArray
    context: FloatArray
    vectors: FloatArray
    log_eigenvalues: FloatArray
    tilt: FloatArray

    @property
    def rank(self) -> int:
        """Eigenvectors that are kept."""
        return self.vectors.shape[1]


@dataclass(frozen=True)
class SpectralWindow:
    """A window as a spectral network sees it.

    Attributes
    ----------
    spectra : tuple of Spectrum
        Steady and recent.
    summary : ndarray of shape (n_summary,)
        `SUMMARY_FEATURES`.
    log_volatility, log_ewma_volatility : ndarray of shape (n_assets,)
        Per period, over the window and by EWMA with half-life 63.
    log_damped_volatility : ndarray of shape (n_assets,)
        Of the damped rows that the steady spectrum is made of, up to a common constant: under these volatilities, and
        no others, a linear relation between returns that held in every row is a null vector of the covariance.
    """

    spectra: tuple[Spectrum, ...]
    summary: FloatArray
    log_volatility: FloatArray
    log_ewma_volatility: FloatArray
    log_damped_volatility: FloatArray


def spectral_window(window: Window, *, center: bool = True) -> SpectralWindow:
    """Describe a completed window.

    Parameters
    ----------
    window : Window
        At least two rows.
    center : bool
        Take the weighted mean off each asset's standardised returns.

    Returns
    -------
    SpectralWindow

    Examples
    --------
    >>> from eigenfolio.models.window import prepare_window
    >>> X = np.random.default_rng(0).standard_normal((60, 5)) * 0.01
    >>> described = spectral_window(prepare_window(X))
    >>> [spectrum.tokens.shape for spectrum in described.spectra], described.summary.shape
    ([(5, 8), (5, 8)], (99,))
    """
    observed, volatility, n_rows = window.observed, window.volatility, window.n_observations
    complete = bool(observed.all())
    n_recent = min(n_rows, _RECENT_ROWS)
    standard, devolatilised, scratch = _workspace(n_rows, n_recent, window.n_assets)
    raw, square, devolatilised_square, moments = history(
        window.deviations, volatility, observed, complete, np.array(HALF_LIVES), standard, devolatilised
    )
    logs = np.log(volatility)
    ewma = 0.5 * np.log(_led(raw, window))  # against the volatility of the window
    own = _own_features(ewma, moments, window.counts)
    lagged, _ = lag_weights(n_recent, center=center)
    overlap = 1.0 / volatility
    overlap = overlap / np.sqrt(overlap @ overlap)
    relative = logs - median(logs)
    coverage = np.log(np.maximum(window.counts, 1.0) / n_rows)
    n_observed = np.full(n_rows, float(window.n_assets)) if complete else np.maximum(observed.sum(axis=1), 1.0)
    size = np.sqrt(square / n_observed)  # root mean squares of the rows
    world = _world(standard, size)
    lead = ewma[HALF_LIVES.index(CLASSICAL_HALF_LIFE)]
    level = _level(standard, lead, n_observed)
    flat = np.full(n_rows, 1.0 / n_rows)
    shared = (own, relative, overlap, coverage, scratch)
    damping = _damping(np.sqrt(devolatilised_square / n_observed[-n_recent:]))
    last = observed[-n_recent:]
    recent, recent_summary, _ = _spectrum(devolatilised, last, complete, damping, lagged, *shared, center=center)
    kappa = _standardisation(relative, recent.assets[:, _RESIDUAL_VARIANCE], 1.0 / float(lagged @ lagged))
    tilt = np.exp((1.0 - kappa) * relative)
    tilt /= np.sqrt((tilt * tilt).mean())
    damping = _damping(size)
    steady, steady_summary, damped = _spectrum(
        standard, observed, complete, damping, flat, *shared, center=center, tilt=tilt
    )
    spectra = tuple(replace(s, context=np.concatenate([s.context, world, [kappa]])) for s in (steady, recent))
    parts = [
        part
        for spectrum, summary in zip(spectra, (steady_summary, recent_summary), strict=True)
        for part in (spectrum.context, summary)
    ]
    return SpectralWindow(spectra, np.concatenate([*parts, [level]]), logs, logs + lead, logs + damped)


def _standardisation(relative: FloatArray, log_residual_share: FloatArray, n_rows: float) -> float:
    """Share of the assets' own volatilities by which the steady spectrum divides, kappa in [0, 1].

    Dispersed residual variances mean that a correlation is the matrix to clean, equal ones that the covariance is. With
    V the variance over assets of the log residual variance, less the 2 / n that noise alone gives in the n rows that
    the recent spectrum is worth, and cut at zero, kappa = V / (V + 0.03); stocks have 0.9 and more.
    """
    excess = max(float(np.var(2.0 * relative + log_residual_share)) - 2.0 / n_rows, 0.0)
    return excess / (excess + _EQUAL_VARIANCES)


def _level(standard: FloatArray, lead: FloatArray, n_observed: FloatArray) -> float:
    """Log of the common level of volatility in the last weeks, against the blend that the covariance starts from.

    Weighted mean (half-life 10) of the root mean square over the assets of each row, in units of the volatilities of
    the window led by 0.7 toward EWMA(63). A crisis that began three weeks ago is in this number and in no other.
    """
    last = standard[-_LEVEL_ROWS:] * np.exp(-VOLATILITY_SHARE * lead)
    size = np.sqrt(np.einsum("ti,ti->t", last, last) / n_observed[-len(last) :])
    weights = 0.5 ** (np.arange(len(last) - 1, -1, -1.0) / _LEVEL_HALF_LIFE)
    return float(np.log(max(float(weights @ size) / float(weights.sum()), 1e-3)))


def _world(standard: FloatArray, size: FloatArray) -> list[float]:
    """Numbers that tell a market from independent draws.

    Mean autocorrelation at lags 1 to 5 of the log size of the rows, and of each asset's share of it (mean over assets),
    and the log kurtosis of the sizes.
    """
    if len(size) <= 2 * _LAGS:
        return [0.0, 0.0, 0.0]
    power, logs = float((size**2).mean()), np.log(size + 0.05)
    return [
        float(clustering((logs - logs.min())[:, None], np.ones(len(logs)))),
        float(clustering(standard, 1.0 / (size + 0.05))),
        float(np.log((size**4).mean() / power**2)) if power > 0.0 else 0.0,
    ]


def _workspace(n_rows: int, n_recent: int, n_assets: int) -> tuple[FloatArray, FloatArray, NDArray[np.float32]]:
    """Tables of all and of the recent rows in double, and three of the residual rows in single precision.

    They are one block of memory. A C library gives large blocks back to the system and takes them anew, page by page,
    on the next call; it learns to keep as much as its largest single block.
    """
    n_late = min(n_rows, _RESIDUAL_ROWS)
    block = np.empty((2 * (n_rows + n_recent) + 3 * n_late, n_assets), dtype=np.float32)
    doubles = block[: 2 * (n_rows + n_recent)].reshape(-1).view(np.float64).reshape(-1, n_assets)
    return doubles[:n_rows], doubles[n_rows:], block[len(block) - 3 * n_late :].reshape(3, n_late, n_assets)


def _led(raw: FloatArray, window: Window) -> FloatArray:
    """Apply the rules of `Window.led` to variances in units of the window's, (n_half_lives, n_assets)."""
    own = raw * window.variance
    long_enough = window.counts.min() >= min(RECENT_ROWS, window.n_observations)
    if long_enough and own.min() > 1e-6 * own.max():  # no floor is near: the rules change nothing
        return raw
    return np.stack([window.led(row) for row in own]) / window.variance


def _own_features(ewma: FloatArray, moments: FloatArray, counts: FloatArray) -> FloatArray:
    """Asset features that need no spectrum, (n_assets, 9)."""
    absolute, fourth, largest, recent, seen, still = moments
    n = np.maximum(counts, 1.0)
    mean = absolute / n
    late = np.where(seen > 0.0, recent / np.maximum(seen, 1.0), mean)
    return np.column_stack(
        [
            *ewma,
            np.log(_NORMAL_ABSOLUTE * mean + 1e-3),
            np.log(fourth / n / 3.0 + 1e-3),
            np.log(largest / 3.0 + 1e-3),
            np.log(_NORMAL_ABSOLUTE * late + 1e-3),
            3.0 * still / n,
        ]
    )


def _damping(size: FloatArray) -> FloatArray:
    """Square root of each row's root mean square over the assets observed, (n_rows,), kept off zero."""
    typical = float(median(size))
    floor = _ROW_FLOOR * typical if typical > 0.0 else 1.0
    damping: FloatArray = np.sqrt(np.maximum(size, floor))
    return damping


def _spectrum(
    z: FloatArray,
    observed: BoolArray,
    complete: bool,
    damping: FloatArray,
    weights: FloatArray,
    own: FloatArray,
    relative: FloatArray,
    overlap: FloatArray,
    coverage: FloatArray,
    scratch: NDArray[np.float32],
    *,
    center: bool,
    tilt: FloatArray | None = None,
) -> tuple[Spectrum, FloatArray, FloatArray]:
    """Describe one spectrum of the rows `z`, which are overwritten; `scratch` is room for three such tables.

    Returns the spectrum, its part of the summary and the log volatility of the damped rows, (n_assets,).
    """
    n_assets = z.shape[1]
    z32, _, u = scratch  # of the last rows
    tilted = np.ones(n_assets) if tilt is None else tilt
    size, still = standardise(z, observed, complete, damping, weights, center, tilted, z32)
    effective = max(round(1.0 / float(weights @ weights) - (1.0 if center else 0.0)), 2)
    values, transposed, shared = _eigen(z, still, tilted * tilted, n_lost=1 if center else 0)  # descending, not zero
    padded = np.concatenate([np.zeros(n_assets - len(values)), values[::-1]])
    clean = monotone_eigenvalues(qis_eigenvalues(padded, n_observations=effective, minimum=SMALLEST_CLEAN_EIGENVALUE))
    rank = min(n_assets, effective, len(values))
    values, transposed = values[:rank], transposed[:rank]
    q = clean[n_assets - rank :][::-1]
    null = float(clean[0]) if rank < n_assets else None

    outside = 0.0 if null is None else 1.0 / null  # precision of the null space
    core = 1.0 / q - outside
    v32, weighted = np.empty((2, rank, n_assets), dtype=np.float32)
    fourth_powers, along, precision, squared, inside, whole = project(
        transposed, values, core, outside, overlap, v32, weighted
    )
    precision += outside
    whole += outside**2 * np.maximum(tilted * tilted - inside, 0.0)  # squared residuals of all rows
    if not complete:
        gaps = np.flatnonzero(~observed.all(axis=0))
        mine = (z @ transposed.T) @ (core[:, None] * transposed[:, gaps]) + outside * z[:, gaps]
        whole[gaps] = np.einsum("ti,ti->i", mine**2, observed[:, gaps]) / np.maximum(weights @ observed[:, gaps], 1e-6)
    whole = np.maximum(whole, 1e-12)
    n_late = len(z32)
    late, mass = observed[-n_late:], weights[-n_late:]
    # u = z V diag(core) V', less the part of the null space, which `row_statistics` adds; the cheaper order
    if n_assets * (rank + n_late) < 2 * n_late * rank:
        np.matmul(z32, v32.T @ weighted, out=u)
    else:
        p = np.matmul(z32, v32.T, out=scratch[1].reshape(-1)[: n_late * rank].reshape(n_late, rank))
        np.matmul(p, weighted, out=u)
    decays = _decay_rows(n_late)
    tokens = _tokens(values, q, null, n_assets, fourth_powers, along)
    residual, fast, slow, fourth = row_statistics(
        u, z32, np.float32(1.0 if null is None else null), null is not None, late, complete, decays, mass
    )
    seen = mass.sum() if complete else np.maximum(mass @ late, 1e-6 * mass.sum())
    residual, fourth = residual / seen, fourth / seen
    if not complete:
        reach = np.maximum(decays @ late, 1e-6)
        fast, slow = fast / reach[0], slow / reach[1]
    residual = np.maximum(residual, 1e-12)
    leading = transposed[0] * (1.0 if transposed[0].sum() >= 0 else -1.0) * np.sqrt(values[0])
    assets = np.column_stack(
        [
            own,
            0.5 * np.log(fast / whole + 1e-6),
            0.5 * np.log(slow / whole + 1e-6),
            -np.log(precision),
            np.log(fourth / residual**2 / 3.0 + 1e-6),
            shared / n_assets,
            leading,
            np.sqrt(squared / n_assets),
            relative,
            coverage,
        ]
    )
    context = np.array([np.log(n_assets / effective), np.log(effective), np.log(n_assets)])
    pairs = n_assets * (n_assets - 1)
    mean_correlation = (float(shared.sum()) - n_assets) / pairs if pairs else 0.0
    own_summary = [
        mean_correlation,
        np.log(values[0] / n_assets),
        np.log(max(values[min(1, rank - 1)], _SMALLEST_EIGENVALUE) / n_assets),
        np.log(clean[0]),
        np.log(0.5 * (clean[(n_assets - 1) // 2] + clean[n_assets // 2])),  # ascending: its median
        relative.std(),
    ]
    summary = np.concatenate([own_summary, *mean_and_spread(assets)])
    logs = np.log(q) if null is None else np.append(np.log(q), np.log(null))
    seen_share = 1.0 if complete else np.maximum(weights @ observed, 1e-6)
    damped = 0.5 * np.log(np.where(still, 1.0, size / seen_share))
    return Spectrum(tokens, assets, context, transposed.T, logs, tilted), summary, damped


def correlation_eigen(z: FloatArray, *, center: bool = True) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues of the correlation z'z, descending and without those that are zero, and vectors (n_values, n_assets).

    The columns of `z`, (n_rows, n_assets), have unit length; one that does not move is an eigenvector of its own.
    """
    still = np.einsum("ti,ti->i", z, z) <= 1e-12
    values, transposed, _ = _eigen(z, still, np.ones(z.shape[1]), n_lost=1 if center else 0)
    return values, transposed


def _eigen(
    z: FloatArray, still: BoolArray, own_size: FloatArray, *, n_lost: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Eigenvalues of z'z, descending, vectors (n_values, n_assets), and sums of its rows; from the smaller of z'z, zz'.

    `own_size` is the diagonal of z'z; an asset that is still has it too, and nothing with the others. `n_lost` is the
    number of directions in which centring has left no variance.
    """
    n_rows, n_assets = z.shape
    ones = np.ones(n_assets)
    # of the negative matrix, whose ascending order is the one wanted
    if n_assets <= n_rows:
        gram = dsyrk(-1.0, z.T, lower=1)
        shared = dsymv(-1.0, gram, ones, lower=1)
        gram[np.diag_indices(n_assets)] = -own_size
        values, vectors = _symmetric_eigen(gram)
        return np.maximum(-values, _SMALLEST_EIGENVALUE), vectors.T, shared
    shared = (z @ ones) @ z
    values, left = _symmetric_eigen(dsyrk(-1.0, z.T, trans=1, lower=1))
    # what is left out is the null space
    rank = int(np.searchsorted(values[: n_rows - n_lost], -_SMALLEST_EIGENVALUE, side="right"))
    values, left = -values[:rank], left[:, :rank]
    transposed = (left / np.sqrt(values)).T @ z
    if not still.any():
        return values, transposed, shared
    alone = np.zeros((int(still.sum()), n_assets))
    alone[np.arange(len(alone)), np.flatnonzero(still)] = 1.0
    values, transposed = np.append(values, own_size[still]), np.vstack([transposed, alone])
    order = np.argsort(-values, kind="stable")
    return values[order], transposed[order], shared


def _symmetric_eigen(lower: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ascending eigenvalues and vectors of a matrix whose lower triangle is given; the matrix is overwritten."""
    values, vectors, failed = dsyevd(lower, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("eigenvalues did not converge")
    return values, vectors


def _tokens(
    values: FloatArray,
    q: FloatArray,
    null: float | None,
    n_assets: int,
    fourth_powers: FloatArray,
    overlap: FloatArray,
) -> FloatArray:
    rank = len(q)
    below = np.arange(n_assets - 1, n_assets - 1 - rank, -1.0)  # eigenvalues below each
    shares = overlap**2
    tokens = np.column_stack(
        [
            np.log(values + 1e-4),
            np.log(q),
            (below + 0.5) / n_assets,
            np.log(n_assets * shares + 1e-3),
            np.log(n_assets * fourth_powers),
            np.log(below + 1.0),
            np.log(n_assets - below),
            np.zeros(rank),
        ]
    )
    if null is None:
        return tokens
    n_null = n_assets - rank
    trace = max(n_assets - float(values.sum()), 0.0)
    last = [
        np.log(trace / n_null + 1e-4),
        np.log(null),
        0.5 * n_null / n_assets,
        np.log(n_assets * max(1.0 - float(shares.sum()), 0.0) / n_null + 1e-3),
        0.0,
        np.log(0.5 * n_null + 1.0),
        np.log(n_assets - 0.5 * n_null),
        1.0,
    ]
    return np.vstack([tokens, last])


@lru_cache(maxsize=32)
def _decay_rows(n_rows: int) -> FloatArray:
    """Weights of squares in an EWMA that starts at the mean of the first 21, half-lives 21 and 63, (2, n_rows)."""
    start = min(RECENT_ROWS, n_rows)
    rows = []
    for half_life in (21.0, 63.0):
        keep = 2.0 ** (-1.0 / half_life)
        row = (1.0 - keep) * keep ** np.arange(n_rows - 1, -1, -1.0)
        row[:start] += keep**n_rows / start
        rows.append(row)
    return np.stack(rows)


def monotone_eigenvalues(eigenvalues: FloatArray) -> FloatArray:
    """Nearest non-decreasing sequence in least squares (pooled adjacent violators); the sum is kept.

    Parameters
    ----------
    eigenvalues : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> monotone_eigenvalues(np.array([3.0, 1.0, 2.0, 4.0]))
    array([2., 2., 2., 4.])
    """
    return np.asarray(pooled(np.asarray(eigenvalues, dtype=float)))
