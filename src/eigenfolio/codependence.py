r"""How strongly assets move together: Pearson, Spearman and distance correlation of a window of returns.

Every answer is a symmetric matrix with unit diagonal. With :math:`u_i` a vector of unit length made from the
observed rows of asset i, and zero where a row is missing,

.. math:: \rho_{ij} = u_i' u_j

Pearson takes deviations from the mean, Spearman the same of ranks (ties get their average). On complete columns
these are the textbook numbers; where rows are missing they are pulled toward zero by coverage, and the matrix stays
positive semidefinite. Distance correlation [1]_ takes for :math:`u_i` the T x T table of distances between the rows
of asset i, with its row and column means taken off, and the square root of the product; it lies in [0, 1], sees
dependence of any shape and has no sign. An asset that does not move is uncorrelated with every other.

References
----------
.. [1] G. J. Szekely, M. L. Rizzo and N. K. Bakirov (2007). Measuring and testing dependence by correlation of
   distances. Annals of Statistics 35(6), 2769-2794.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from eigenfolio.errors import DataError

__all__ = ["average_ranks", "distance_correlation", "pearson_correlation", "spearman_correlation"]

FloatArray = npt.NDArray[np.float64]

_ROUNDING = 1e-14  # a constant column less its mean, relative to that mean
_TILE = 2**22  # numbers held at a time by distance_correlation: 32 MB


def pearson_correlation(returns: npt.ArrayLike) -> FloatArray:
    """Linear correlation.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_assets)
        Simple returns, NaN where missing.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        In [-1, 1].

    Raises
    ------
    DataError
        If the table has fewer than two rows, no column, or an infinite entry.

    Examples
    --------
    >>> pearson_correlation([[0.01, 0.02], [0.02, 0.01], [0.03, 0.06]]).round(3)
    array([[1.   , 0.756],
           [0.756, 1.   ]])
    """
    table = _checked(returns)
    observed = ~np.isnan(table)
    location = np.where(observed, table, 0.0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    deviations = np.where(observed, table - location, 0.0)
    return _products(deviations, still=_ROUNDING * np.abs(location))


def spearman_correlation(returns: npt.ArrayLike) -> FloatArray:
    """Correlation of ranks; parameters, answer and errors as of `pearson_correlation`.

    Examples
    --------
    >>> spearman_correlation([[0.01, 0.02], [0.02, 0.01], [0.03, 0.06]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    return pearson_correlation(average_ranks(_checked(returns)))


def distance_correlation(returns: npt.ArrayLike) -> FloatArray:
    """Distance correlation, the square root of the biased (V-statistic) estimate of the squared one.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_assets)
        Simple returns, NaN where missing.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        In [0, 1]. Independent assets stay above 0 by about the square root of one over the number of rows.

    Raises
    ------
    DataError
        As in `pearson_correlation`.

    Notes
    -----
    Work grows with (n_assets x n_observations) squared; at most 32 MB are held beside the answer.

    Examples
    --------
    A parabola has no linear correlation, and is no less dependent for that.

    >>> x = np.linspace(-1.0, 1.0, 101)
    >>> table = np.column_stack([x, x**2])
    >>> abs(pearson_correlation(table)[0, 1].round(3)), distance_correlation(table)[0, 1].round(3)
    (np.float64(0.0), np.float64(0.492))
    """
    table = _checked(returns)
    n_rows, n_assets = table.shape
    columns = np.ascontiguousarray(table.T)
    means = _mean_distances(columns)
    gram = np.zeros((n_assets, n_assets))
    step = max(1, _TILE // (n_assets * n_rows))
    for start in range(0, n_rows, step):
        centred = _centred_distances(columns, means, start, min(start + step, n_rows))
        gram += centred @ centred.T
    size = np.sqrt(np.diag(gram))
    inverse = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
    correlation = np.sqrt(np.clip(gram * np.outer(inverse, inverse), 0.0, 1.0))
    np.fill_diagonal(correlation, 1.0)
    return correlation


def average_ranks(values: npt.ArrayLike) -> FloatArray:
    """Rank of every entry within its column, from 1; equal entries get the average of their ranks.

    Parameters
    ----------
    values : array-like of shape (n_observations, n_assets)
        NaN where missing.

    Returns
    -------
    ndarray of shape (n_observations, n_assets)
        NaN where `values` is.

    Examples
    --------
    >>> average_ranks([[5.0, 2.0], [5.0, np.nan], [1.0, 1.0]])
    array([[2.5, 2. ],
           [2.5, nan],
           [1. , 1. ]])
    """
    columns = np.ascontiguousarray(np.asarray(values, dtype=float).T)
    return np.ascontiguousarray(_ranks(columns, np.argsort(columns, axis=1)).T)


def _checked(returns: npt.ArrayLike) -> FloatArray:
    table = np.asarray(returns, dtype=float)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] == 0:
        raise DataError(f"returns must be a table of at least 2 rows and 1 asset, got shape {table.shape}")
    if np.isinf(table).any():
        raise DataError(f"returns must be finite or NaN, got {int(np.isinf(table).sum())} infinite entries")
    return table


def _products(deviations: FloatArray, *, still: FloatArray) -> FloatArray:
    """Products of the columns brought to unit length; a root mean square of at most `still` is rounding noise."""
    size = np.sqrt(np.einsum("ti,ti->i", deviations, deviations))
    moves = size > np.maximum(still * np.sqrt(len(deviations)), 0.0)
    units = deviations * np.where(moves, 1.0 / np.where(moves, size, 1.0), 0.0)
    correlation = np.clip(units.T @ units, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


@njit(cache=True, error_model="numpy")
def _ranks(columns: FloatArray, order: npt.NDArray[np.int64]) -> FloatArray:
    """Average ranks from the sorting order, in which NaN stands last; both arrays of shape (n_assets, n_rows)."""
    ranks = np.full(columns.shape, np.nan)
    n_rows = columns.shape[1]
    for i in range(columns.shape[0]):
        first = 0
        while first < n_rows and not np.isnan(columns[i, order[i, first]]):
            last = first
            while last + 1 < n_rows and columns[i, order[i, last + 1]] == columns[i, order[i, first]]:
                last += 1
            for place in range(first, last + 1):
                ranks[i, order[i, place]] = 0.5 * (first + last) + 1.0
            first = last + 1
    return ranks


@njit(cache=True, error_model="numpy")
def _mean_distances(columns: FloatArray) -> FloatArray:
    """Mean distance from each observed row to all observed rows of its asset, shape (n_assets, n_rows)."""
    means = np.zeros(columns.shape)
    for i in range(columns.shape[0]):
        observed = ~np.isnan(columns[i])
        for t in range(columns.shape[1]):
            if observed[t]:
                total = 0.0
                for s in range(columns.shape[1]):
                    if observed[s]:
                        total += abs(columns[i, t] - columns[i, s])
                means[i, t] = total / observed.sum()
    return means


@njit(cache=True, error_model="numpy")
def _centred_distances(columns: FloatArray, means: FloatArray, start: int, stop: int) -> FloatArray:
    """Rows `start` to `stop` of each asset's centred distance table, flat: (n_assets, (stop - start) * n_rows)."""
    n_assets, n_rows = columns.shape
    flat = np.zeros((n_assets, (stop - start) * n_rows))
    for i in range(n_assets):
        observed = ~np.isnan(columns[i])
        grand = means[i].sum() / max(observed.sum(), 1)
        for t in range(start, stop):
            for s in range(n_rows):
                if observed[t] and observed[s]:
                    distance = abs(columns[i, t] - columns[i, s])
                    flat[i, (t - start) * n_rows + s] = distance - means[i, t] - means[i, s] + grand
    return flat
