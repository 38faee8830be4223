r"""The correlation family: what the correlation of a trailing window looks like, for any number of assets.

The window ends at the row itself and holds `lookback` rows. Its assets are those with a return on the last 21 rows,
at least 21 returns in the window, and returns that vary. With d the deviations of an asset from its mean over its
observed rows, zero where missing,

    u = d / |d|,    C = U'U

which is Pearson's correlation where nothing is missing, and is pulled toward zero by the square root of the coverage
where something is. C is positive semidefinite with unit diagonal and rank at most r = min(n, T - 1). With more assets
than rows its eigenvalues are those of the T x T matrix U U', and the others are zero. Every number is free of units,
and of n as far as its meaning allows. With lambda descending and p = lambda / n:

=========================  =======================================================================================
log_aspect_ratio           ln(n / T)
eigenvalue_max             (lambda_1 - 1) / (n - 1): the correlation, were it the same for all pairs
eigenvalue_min             ln lambda_r, floored at machine epsilon
eigenvalue_log_mean        mean of ln lambda over the r largest (their plain mean is n / r)
eigenvalue_median          ln of the median of the r largest
eigenvalue_std             std(lambda) / sqrt(n - 1), which is the root mean square of the pair correlations
eigenvalue_gap             ln(lambda_1 / lambda_2)
top_k_share                sum of p over the k largest
entropy                    -sum p ln p / ln r
effective_rank             trace / largest / r
entropy_rank               exp(-sum p ln p) / r
log_condition              ln(lambda_1 / max(lambda_n, epsilon)) with machine epsilon
decay_rate                 slope of ln lambda on ln rank over the positive ones among the r largest
noise_distance             Kolmogorov distance of the n eigenvalues to the law of Marchenko and Pastur [1]_ with
                           q = n / (T - 1) and variance 1
noise_edge_share           sum of p above its upper edge (1 + sqrt(q))^2
noise_edge_count           number above the edge / r
covariance_trace           ln(sum of the assets' variances over the last 63 rows / the same over the window)
covariance_mean            ln(mean / median of the assets' variances)
covariance_max             largest eigenvalue of the covariance / its trace
covariance_entropy         entropy of the covariance's eigenvalues / ln r
covariance_log_condition   as log_condition, for the covariance in units of the mean variance
mean_correlation, ...      over the n(n - 1) / 2 pairs: mean, standard deviation, maximum, minimum, mean of |rho|,
                           shares of positive and negative ones, shares with |rho| above 0.2, 0.4, 0.6, 0.8
block_share                share of the variance of the pair correlations that is explained by whether two assets lie in
                           the same block; blocks are the sign patterns of eigenvectors 2, 3 and 4 (those that carry
                           variance), so at most eight
sector_share               the same with the panel's sectors as blocks; NaN where the panel has none
tree_length                mean edge of the minimum spanning tree under sqrt(2 (1 - rho)) [2]_ [3]_
=========================  =======================================================================================

References
----------
.. [1] V. Marchenko and L. Pastur (1967). Distribution of eigenvalues for some sets of random matrices.
   Mathematics of the USSR-Sbornik 1(4), 457-483.
.. [2] R. N. Mantegna (1999). Hierarchical structure in financial markets. European Physical Journal B 11, 193-197.
.. [3] J.-P. Onnela, A. Chakraborti, K. Kaski, J. Kertesz and A. Kanto (2003). Dynamics of market correlations:
   taxonomy and portfolio analysis. Physical Review E 68, 056110.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = [
    "CORRELATION_FEATURES",
    "correlation_features",
    "counted_assets",
    "marchenko_pastur_cdf",
    "spanning_tree_length",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

RECENT_ROWS = 21
MIN_RETURNS = 21
_TRACE_ROWS = 63
_THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
_TOP = (1, 5, 10)
_BLOCK_VECTORS = 3
_EPSILON = float(np.finfo(np.float64).eps)
_ROUNDING = 1e-12  # below this share of the mean, a standard deviation is rounding noise

_SPECTRUM = (
    "log_aspect_ratio",
    "eigenvalue_max",
    "eigenvalue_min",
    "eigenvalue_log_mean",
    "eigenvalue_median",
    "eigenvalue_std",
    "eigenvalue_gap",
    *(f"top_{k}_share" for k in _TOP),
    "entropy",
    "effective_rank",
    "entropy_rank",
    "log_condition",
    "decay_rate",
    "noise_distance",
    "noise_edge_share",
    "noise_edge_count",
)
_COVARIANCE = (
    "covariance_trace",
    "covariance_mean",
    "covariance_max",
    "covariance_entropy",
    "covariance_log_condition",
)
_PAIRS = (
    "mean_correlation",
    "correlation_std",
    "correlation_max",
    "correlation_min",
    "mean_abs_correlation",
    "positive_share",
    "negative_share",
    *(f"correlation_above_{threshold:g}" for threshold in _THRESHOLDS),
)
CORRELATION_FEATURES: tuple[str, ...] = (
    *_SPECTRUM,
    *_COVARIANCE,
    *_PAIRS,
    "block_share",
    "sector_share",
    "tree_length",
)


def correlation_features(panel: Panel, rows: Sequence[int], *, lookback: int = 252) -> pd.DataFrame:
    """Describe the correlation of the window that ends at each row.

    Parameters
    ----------
    panel : Panel
        Any number of assets; sectors are used where it has them.
    rows : sequence of int
        Row numbers into `panel.index`, in any order. The value at a row sees this row and rows before it.
    lookback : int
        Rows of a window, at least 21.

    Returns
    -------
    DataFrame of shape (len(rows), n_features)
        Columns `CORRELATION_FEATURES`. All NaN where fewer than `lookback` rows are there or no asset counts; NaN
        where a number is undefined, such as the pair correlations of one asset. Never infinite.

    Raises
    ------
    ParameterError
        If a row is not in the panel, or `lookback` is below 21.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(30, 300, seed=0).panel
    >>> correlation_features(panel, [200, 299])[["top_1_share", "mean_correlation", "tree_length"]].round(2)
                top_1_share  mean_correlation  tree_length
    date
    2010-10-12          NaN               NaN          NaN
    2011-02-28         0.36              0.31         0.98
    """
    chosen = checked_rows(panel, rows)
    if lookback < MIN_RETURNS:
        raise ParameterError(f"lookback must be at least {MIN_RETURNS} rows, got {lookback}")
    returns = panel.assets["returns"]
    sectors = sector_codes(panel)
    values = np.full((len(chosen), len(CORRELATION_FEATURES)), np.nan)
    with np.errstate(all="ignore"):
        for i, row in enumerate(chosen):
            if row + 1 >= lookback:
                values[i] = _describe(returns[row + 1 - lookback : row + 1], sectors)
    return features_frame(panel, chosen, values, CORRELATION_FEATURES)


def checked_rows(panel: Panel, rows: Sequence[int]) -> IntArray:
    """Row numbers as an array, or say which is not one of the panel's.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> checked_rows(factor_market(1, 10).panel, [9, 0])
    array([9, 0])
    """
    chosen = np.asarray(rows)
    if chosen.size == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise ParameterError(f"rows must be a sequence of row numbers, got {chosen.dtype} of shape {chosen.shape}")
    bad = chosen[(chosen < 0) | (chosen >= panel.n_observations)]
    if bad.size:
        raise ParameterError(f"rows must be between 0 and {panel.n_observations - 1}, got {bad[0]}")
    return chosen.astype(np.int64)


def features_frame(panel: Panel, rows: IntArray, values: FloatArray, names: tuple[str, ...]) -> pd.DataFrame:
    """Named values on the dates of their rows; what is not finite is missing."""
    values[~np.isfinite(values)] = np.nan
    return pd.DataFrame(values, index=panel.index[rows], columns=list(names))


def counted_assets(window: FloatArray) -> BoolArray:
    """Assets that count at the last row: a return on the last 21 rows, and at least 21 in the window.

    Examples
    --------
    >>> window = np.zeros((30, 2))
    >>> window[-21:, 1] = np.nan
    >>> counted_assets(window)
    array([ True, False])
    """
    observed = np.isfinite(window)
    counted: BoolArray = observed[-RECENT_ROWS:].any(axis=0) & (observed.sum(axis=0) >= MIN_RETURNS)
    return counted


def sector_codes(panel: Panel) -> IntArray:
    """Sector of each asset as a number, -1 where unknown."""
    if panel.sectors is None:
        return np.full(panel.n_assets, -1, dtype=np.int64)
    return pd.factorize(panel.sectors)[0].astype(np.int64)


def deviations_and_norms(
    window: FloatArray, counted: BoolArray | None = None
) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray]:
    """Deviations from the observed mean, their norms, what was observed, and which assets vary and count.

    Parameters
    ----------
    window : ndarray of shape (n_rows, n_assets)
        Returns, NaN where missing.
    counted : ndarray of bool, shape (n_assets,), optional
        Assets to take; `counted_assets(window)` when None.

    Returns
    -------
    deviations : ndarray of shape (n_rows, n_kept)
        Zero where missing; every column sums to zero.
    norms : ndarray of shape (n_kept,)
        Positive Euclidean norms of the columns.
    observed : ndarray of bool, shape (n_rows, n_kept)
    kept : ndarray of bool, shape (n_assets,)
    """
    kept = counted_assets(window) if counted is None else counted
    values = window[:, kept]
    observed = np.isfinite(values)
    if observed.all():
        location = values.mean(axis=0)
        deviations = values - location
        counts = np.full(values.shape[1], float(len(values)))
    else:
        counts = observed.sum(axis=0).astype(float)
        location = np.where(observed, values, 0.0).sum(axis=0) / np.maximum(counts, 1.0)
        deviations = np.where(observed, values - location, 0.0)
    norms = np.sqrt(np.einsum("ti,ti->i", deviations, deviations))
    varies = np.isfinite(norms) & (norms > _ROUNDING * np.sqrt(counts) * np.abs(location)) & (norms > 0.0)
    if varies.all():
        return deviations, norms, observed, kept
    where = np.flatnonzero(kept)[varies]
    kept = np.zeros_like(kept)
    kept[where] = True
    return deviations[:, varies], norms[varies], observed[:, varies], kept


def unit_spectrum(unit: FloatArray) -> FloatArray:
    """Eigenvalues of U'U that can differ from zero, descending, shape (min(n_assets, n_rows - 1),).

    Examples
    --------
    >>> unit_spectrum(np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]) / np.sqrt(2)).round(6)
    array([3.])
    """
    n_rows, n_assets = unit.shape
    gram = unit @ unit.T if n_assets > n_rows else unit.T @ unit
    if not np.isfinite(gram).all():
        return np.full(max(1, min(n_assets, n_rows - 1)), np.nan)
    return _clipped(np.asarray(np.linalg.eigvalsh(gram), dtype=np.float64), n_rows, n_assets)


def _clipped(ascending: FloatArray, n_rows: int, n_assets: int) -> FloatArray:
    """The largest min(n, T - 1), descending; what is rounding noise is zero."""
    spectrum = ascending[::-1][: max(1, min(n_assets, n_rows - 1))].copy()
    spectrum[spectrum <= max(n_rows, n_assets) * _EPSILON * spectrum[0]] = 0.0
    return spectrum


def _describe(window: FloatArray, sectors: IntArray) -> FloatArray:
    """All numbers of one window; the naive twin is in tests/features/test_correlation.py."""
    deviations, norms, observed, kept = deviations_and_norms(window)
    n_rows, n_assets = deviations.shape
    if n_assets == 0:
        return np.full(len(CORRELATION_FEATURES), np.nan)
    unit = deviations / norms
    correlation = unit.T @ unit
    primal = n_assets <= n_rows
    gram = correlation if primal else unit @ unit.T
    if not np.isfinite(gram).all():
        return np.full(len(CORRELATION_FEATURES), np.nan)
    ascending, vectors = np.linalg.eigh(gram)
    spectrum = _clipped(ascending, n_rows, n_assets)

    n_vectors = min(_BLOCK_VECTORS, int(np.count_nonzero(spectrum)) - 1)
    leading = vectors[:, ::-1][:, 1 : 1 + n_vectors]
    loadings = leading if primal else unit.T @ leading  # (n_assets, n_vectors)
    blocks = (loadings > 0.0) @ (1 << np.arange(n_vectors))
    pairs = _pair_statistics(correlation, np.asarray(_THRESHOLDS))
    return np.array(
        [
            *_spectrum_statistics(spectrum, n_rows, n_assets),
            *_covariance_statistics(deviations, norms, observed),
            *pairs,
            _explained_share(correlation, blocks.astype(np.int64)),
            _explained_share(correlation, sectors[kept]),
            spanning_tree_length(correlation),
        ]
    )


def _spectrum_statistics(spectrum: FloatArray, n_rows: int, n_assets: int) -> list[float]:
    rank = len(spectrum)
    floored = np.maximum(spectrum, _EPSILON)
    logs = np.log(floored)
    shares = spectrum / n_assets
    entropy = _entropy(shares)
    positive = np.flatnonzero(spectrum > 0.0)
    aspect = n_assets / (n_rows - 1)
    above = spectrum > (1.0 + np.sqrt(aspect)) ** 2
    several = n_assets > 1
    variance = max(float(spectrum @ spectrum) / n_assets - 1.0, 0.0)
    return [
        np.log(n_assets / n_rows),
        (spectrum[0] - 1.0) / (n_assets - 1) if several else np.nan,
        logs[-1],
        logs.mean(),
        np.log(np.median(floored)),
        np.sqrt(variance / (n_assets - 1)) if several else np.nan,
        logs[0] - logs[1] if rank > 1 else np.nan,
        *(min(shares[:k].sum(), 1.0) for k in _TOP),
        entropy / np.log(rank) if rank > 1 else np.nan,
        1.0 / shares[0] / rank,
        np.exp(entropy) / rank,
        logs[0] - (logs[-1] if rank == n_assets else np.log(_EPSILON)),
        _slope(np.log(positive + 1.0), logs[positive]),
        _noise_distance(spectrum, n_assets, aspect),
        shares[above].sum(),
        above.mean(),
    ]


def _entropy(shares: FloatArray) -> float:
    positive = shares[shares > 0.0]
    return float(-(positive * np.log(positive)).sum())


def _slope(x: FloatArray, y: FloatArray) -> float:
    if len(x) < 2:
        return np.nan
    x = x - x.mean()
    return float(x @ y / (x @ x))


def marchenko_pastur_cdf(x: FloatArray, aspect: float) -> FloatArray:
    r"""Share of eigenvalues at most x under the law of Marchenko and Pastur with unit variance.

    With a, b = (1 -+ sqrt(q))^2 and s = sqrt((b - x) / (x - a)), for q <= 1 and x in (a, b):

    .. math:: F(x) = \frac{1}{2 \pi q} \left[\pi q + \sqrt{(b - x)(x - a)} - (1 + q) \arctan\frac{s^2 - 1}{2 s}
              + (1 - q) \arctan\frac{a s^2 - b}{2 (1 - q) s}\right]

    and F_q(x) = 1 - 1/q + F_{1/q}(x / q) / q for q > 1, which has the mass 1 - 1/q at zero.

    Parameters
    ----------
    x : ndarray
        Eigenvalues, at least 0.
    aspect : float
        q = n_assets / n_rows, above 0.

    Returns
    -------
    ndarray
        Values in [0, 1], same shape as `x`.

    Examples
    --------
    >>> marchenko_pastur_cdf(np.array([0.25, 1.0, 2.25]), 0.25).round(3)
    array([0.   , 0.553, 1.   ])
    """
    if aspect > 1.0:
        return 1.0 - 1.0 / aspect + marchenko_pastur_cdf(np.asarray(x) / aspect, 1.0 / aspect) / aspect
    low, high = (1.0 - np.sqrt(aspect)) ** 2, (1.0 + np.sqrt(aspect)) ** 2
    values = np.asarray(x, dtype=np.float64)
    inside = (values > low) & (values < high)
    result = (values >= high).astype(np.float64)
    y = values[inside]
    ratio = np.sqrt((high - y) / (y - low))
    total = np.pi * aspect + np.sqrt((high - y) * (y - low)) - (1.0 + aspect) * np.arctan((ratio**2 - 1) / (2 * ratio))
    if aspect < 1.0:
        total += (1.0 - aspect) * np.arctan((low * ratio**2 - high) / (2.0 * (1.0 - aspect) * ratio))
    result[inside] = np.clip(total / (2.0 * np.pi * aspect), 0.0, 1.0)
    return result


def _noise_distance(spectrum: FloatArray, n_assets: int, aspect: float) -> float:
    """Largest difference between the share of eigenvalues below a point and that of the noise law."""
    rank = len(spectrum)
    expected = marchenko_pastur_cdf(spectrum[::-1], aspect)
    steps = np.arange(n_assets - rank, n_assets + 1) / n_assets
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def _covariance_statistics(deviations: FloatArray, norms: FloatArray, observed: BoolArray) -> list[float]:
    counts = observed.sum(axis=0)
    variance = norms**2 / counts
    recent = observed[-_TRACE_ROWS:].sum(axis=0)
    measured = recent >= min(MIN_RETURNS, len(deviations))
    last = deviations[-_TRACE_ROWS:, measured]
    recent_trace = (np.einsum("ti,ti->i", last, last) / recent[measured]).sum()
    spectrum = unit_spectrum(deviations / np.sqrt(counts * variance.mean()))
    shares = spectrum / spectrum.sum()
    rank, n_assets = len(spectrum), len(norms)
    smallest = spectrum[-1] if rank == n_assets else 0.0
    return [
        np.log(recent_trace / variance[measured].sum()),
        np.log(variance.mean() / np.median(variance)),
        shares[0],
        _entropy(shares) / np.log(rank) if rank > 1 else np.nan,
        np.log(spectrum[0] / max(smallest, _EPSILON)),
    ]


@njit(cache=True, error_model="numpy")
def _pair_statistics(correlation: FloatArray, thresholds: FloatArray) -> FloatArray:
    n = correlation.shape[0]
    result = np.full(7 + thresholds.size, np.nan)
    if n < 2:
        return result
    total, absolute, highest, lowest = 0.0, 0.0, -2.0, 2.0
    positive, negative = 0, 0
    above = np.zeros(thresholds.size)
    for i in range(1, n):
        for j in range(i):
            rho = min(max(correlation[i, j], -1.0), 1.0)
            size = abs(rho)
            total += rho
            absolute += size
            highest = max(highest, rho)
            lowest = min(lowest, rho)
            positive += rho > 0.0
            negative += rho < 0.0
            for k in range(thresholds.size):
                above[k] += size > thresholds[k]
    n_pairs = n * (n - 1) / 2
    mean = total / n_pairs
    squares = 0.0
    for i in range(1, n):
        for j in range(i):
            squares += (correlation[i, j] - mean) ** 2
    result[0] = mean
    result[1] = np.sqrt(squares / n_pairs)
    result[2] = highest
    result[3] = lowest
    result[4] = absolute / n_pairs
    result[5] = positive / n_pairs
    result[6] = negative / n_pairs
    result[7:] = above / n_pairs
    return result


@njit(cache=True, error_model="numpy")
def _explained_share(correlation: FloatArray, blocks: IntArray) -> float:
    """Share of the variance of the pairs that the same-block indicator explains; blocks below 0 are left out."""
    n = correlation.shape[0]
    n_in, n_out, sum_in, sum_out, squares = 0, 0, 0.0, 0.0, 0.0
    for i in range(1, n):
        if blocks[i] < 0:
            continue
        for j in range(i):
            if blocks[j] < 0:
                continue
            rho = correlation[i, j]
            squares += rho * rho
            if blocks[i] == blocks[j]:
                n_in += 1
                sum_in += rho
            else:
                n_out += 1
                sum_out += rho
    if n_in == 0 or n_out == 0:
        return np.nan
    n_pairs = n_in + n_out
    variance = squares / n_pairs - ((sum_in + sum_out) / n_pairs) ** 2
    if variance <= 1e-12:
        return np.nan
    gap = sum_in / n_in - sum_out / n_out
    return min(gap * gap * (n_in / n_pairs) * (n_out / n_pairs) / variance, 1.0)


@njit(cache=True, error_model="numpy")
def spanning_tree_length(correlation: FloatArray) -> float:
    """Mean edge of the minimum spanning tree under sqrt(2 (1 - rho)), by Prim's algorithm.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Symmetric, unit diagonal.

    Returns
    -------
    float
        In [0, 2]; sqrt(2) where nothing is correlated; NaN for one asset.

    Examples
    --------
    >>> spanning_tree_length(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]))
    1.0
    """
    n = correlation.shape[0]
    if n < 2:
        return np.nan
    nearest = np.full(n, -np.inf)  # highest correlation with the tree: the order of distances, reversed
    joined = np.zeros(n, dtype=np.bool_)
    current, length = 0, 0.0
    for _ in range(n - 1):
        joined[current] = True
        best, following = -np.inf, 0
        for j in range(n):
            if joined[j]:
                continue
            nearest[j] = max(nearest[j], correlation[current, j])
            if nearest[j] > best:
                best, following = nearest[j], j
        length += np.sqrt(2.0 * max(1.0 - best, 0.0))
        current = following
    return length / (n - 1)
