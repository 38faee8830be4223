"""Compiled passes over the rows of a window and over the eigenvectors of a spectrum.

Tables are (n_rows, n_assets) in C order. Sums over the assets of a row may be taken in any order ("reassoc"), which
lets them run several at a time; on one machine equal inputs give equal bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "clustering",
    "history",
    "median",
    "moments",
    "pooled",
    "project",
    "row_statistics",
    "scaled",
    "standardise",
]


@njit(cache=True)
def median(x):  # type: ignore[no-untyped-def]
    """Median of a vector."""
    return np.median(x)


@njit(cache=True)
def beyond(table, center, scale, low, high, bound):  # type: ignore[no-untyped-def]
    """How far the farthest value of each column lies outside `low` to `high`, center +- bound x scale.

    In scales, positive above and negative below, 0 within; and the shares of values outside, summed over the columns.
    """
    n_rows, n = table.shape
    least, most, far, share = table[0].copy(), table[0].copy(), np.zeros(n), 0.0
    for t in range(1, n_rows):
        for i in range(n):
            least[i] = min(least[i], table[t, i])
            most[i] = max(most[i], table[t, i])
    for i in range(n):
        if most[i] > high[i] or least[i] < low[i]:
            under, over = (least[i] - center[i]) / scale[i], (most[i] - center[i]) / scale[i]
            far[i] = under + bound if -under > over else over - bound
            outside = 0
            for t in range(n_rows):
                if abs((table[t, i] - center[i]) / scale[i]) > bound:
                    outside += 1
            share += outside / n_rows
    return far, share


@njit(cache=True)
def scaled(table, center, scale, bound):  # type: ignore[no-untyped-def]
    """Columns centred, divided by their scale, and cut at +-bound."""
    n_rows, n = table.shape
    out = np.empty((n_rows, n))
    for t in range(n_rows):
        for i in range(n):
            value = (table[t, i] - center[i]) / scale[i]
            out[t, i] = bound if value > bound else (-bound if value < -bound else value)
    return out


@njit(cache=True, fastmath={"reassoc"})
def _sum_of_squares(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(row)):
        total += row[i] * row[i]
    return total


@njit(cache=True, fastmath={"reassoc"})
def project(transposed, values, core, overlap, single, weighted):  # type: ignore[no-untyped-def]
    """What eigenvectors (rank, n_assets) say of eigenvalues and of assets.

    Fills `single` with the vectors and `weighted` with the vectors times `core`, both in single precision. Returns, by
    vector, the sum of fourth powers and the product with `overlap`; by asset, the sum of squares weighted with `core`
    and with the squares of `values`.
    """
    rank, n = transposed.shape
    fourth, product, precision, size = np.zeros(rank), np.zeros(rank), np.zeros(n), np.zeros(n)
    row = np.empty(n)  # a copy, side by side however the vectors lie
    for k in range(rank):
        row[:] = transposed[k]
        share, square = core[k], values[k] * values[k]
        low, one, two = np.float32(share), single[k], weighted[k]
        total, along = 0.0, 0.0
        for i in range(n):
            own = row[i] * row[i]
            precision[i] += share * own
            size[i] += square * own
            total += own * own
            along += row[i] * overlap[i]
            one[i] = row[i]
            two[i] = low * one[i]
        fourth[k], product[k] = total, along
    return fourth, product, precision, size


@njit(cache=True)
def clustering(z, factor):  # type: ignore[no-untyped-def]
    """Mean autocorrelation, over columns and lags 1 to 5, of |z| factor."""
    n_rows, n = z.shape
    mean, power, product = np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            mean[i] += abs(z[t, i]) * factor[t, 0]
    for i in range(n):
        mean[i] /= n_rows
    last = np.zeros((6, n))  # this row and the five before it
    for t in range(n_rows):
        here = last[t % 6]
        for i in range(n):
            here[i] = abs(z[t, i]) * factor[t, 0] - mean[i]
            power[i] += here[i] * here[i]
        for lag in range(1, min(t, 5) + 1):
            there, share = last[(t - lag) % 6], n_rows / (n_rows - lag)
            for i in range(n):
                product[i] += share * here[i] * there[i]
    total = 0.0
    for i in range(n):
        if power[i] > 1e-12 * n_rows:
            total += product[i] / power[i]
    return total / (5.0 * n)


@njit(cache=True)
def standardise(z, observed, complete, damping, weights, center, single):  # type: ignore[no-untyped-def]
    """Damp and centre the rows of z, give them the roots of their weights and its columns unit length, in place.

    The result goes into `single` as well; returns the squared lengths that the columns had and which do not move.
    """
    n_rows, n = z.shape
    mean, seen, size = np.zeros(n), np.zeros(n), np.zeros(n)
    if center:
        for t in range(n_rows):
            share, row = weights[t] / damping[t], z[t]
            for i in range(n):
                mean[i] += share * row[i]  # 0 where missing
        if not complete:
            for t in range(n_rows):
                for i in range(n):
                    seen[i] += weights[t] * observed[t, i]
            for i in range(n):
                mean[i] /= max(seen[i], 1e-300)
    for t in range(n_rows):
        scale, root, row = 1.0 / damping[t], np.sqrt(weights[t]), z[t]
        for i in range(n):
            row[i] = (row[i] * scale - mean[i]) * root
        if not complete:
            for i in range(n):
                row[i] *= observed[t, i]
        for i in range(n):
            size[i] += row[i] * row[i]
    still, factor = np.zeros(n, dtype=np.bool_), np.zeros(n)
    for i in range(n):
        still[i] = np.sqrt(size[i]) <= 1e-6  # ordinary assets are near 1; below this there is rounding noise only
        factor[i] = 0.0 if still[i] else 1.0 / np.sqrt(size[i])
    for t in range(n_rows):
        row, out = z[t], single[t]
        for i in range(n):
            row[i] *= factor[i]
            out[i] = row[i]
    return size, still


@njit(cache=True)
def row_statistics(u, z, null, has_null, observed, complete, decays, weights):  # type: ignore[no-untyped-def]
    """Over the rows: sum u^2, sum u^2 / weight under two decays and sum u^4 / weight, with z / null added to u."""
    n_rows, n = u.shape
    mass, fast, slow, fourth = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(n_rows):
        a, b, c = decays[0, t] / weights[t], decays[1, t] / weights[t], 1.0 / weights[t]
        for i in range(n):
            left = u[t, i]
            if has_null:
                left += z[t, i] / null
            square = float(left) * float(left)
            if not complete:
                square *= observed[t, i]
            mass[i] += square
            fast[i] += a * square
            slow[i] += b * square
            fourth[i] += c * square * square
    return mass, fast, slow, fourth


@njit(cache=True)
def history(x, volatility, observed, half_lives, standard, scaled):  # type: ignore[no-untyped-def]
    """Write each asset in units of its volatility, and devolatilised: over that known before each row, cut at +-6.

    The latter is at least a quarter and has the first of the half-lives. Returns the last exponentially weighted
    variances of all of them, (n_half_lives, n_assets), which start at the mean square of the first 21 rows and stay as
    they are in a missing row; and the sums of squares over the assets of each row of both tables, (2, n_rows).
    """
    n_rows, n = x.shape
    variances, sizes = np.empty((len(half_lives), n)), np.empty((2, n_rows))
    for i in range(n):
        start, seen = 0.0, 0
        for t in range(n_rows):
            if seen == 21:
                break
            if observed[t, i]:
                start += (x[t, i] / volatility[i]) ** 2
                seen += 1
        for h in range(len(half_lives)):
            variances[h, i] = start / max(seen, 1)
    for t in range(n_rows):
        for i in range(n):
            standard[t, i] = x[t, i] / volatility[i]
        for i in range(n):
            known = standard[t, i] / max(np.sqrt(variances[0, i]), 0.25)
            scaled[t, i] = min(6.0, max(-6.0, known))
        for h in range(len(half_lives)):
            move = 1.0 - 2.0 ** (-1.0 / half_lives[h])
            for i in range(n):
                moved = variances[h, i] + move * (standard[t, i] * standard[t, i] - variances[h, i])
                variances[h, i] = moved if observed[t, i] else variances[h, i]
        sizes[0, t], sizes[1, t] = _sum_of_squares(standard[t]), _sum_of_squares(scaled[t])
    return variances, sizes


@njit(cache=True)
def moments(z, observed):  # type: ignore[no-untyped-def]
    """Sums over rows: |z|, z^4, largest |z|, |z| of the last 63 rows, how many those are, rows with |z| < 0.1."""
    n_rows, n = z.shape
    absolute, fourth, largest, still = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    recent, late = np.zeros(n), np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            size = abs(z[t, i])
            absolute[i] += size
            fourth[i] += size * size * size * size
            largest[i] = max(largest[i], size)
        for i in range(n):
            still[i] += 1.0 if observed[t, i] and abs(z[t, i]) < 0.1 else 0.0
        if t >= n_rows - 63:
            for i in range(n):
                recent[i] += abs(z[t, i])
                late[i] += observed[t, i]
    return absolute, fourth, largest, recent, late, still


@njit(cache=True)
def mean_and_spread(table):  # type: ignore[no-untyped-def]
    """Mean and standard deviation of every column of a table, (2, n_columns)."""
    n_rows, n = table.shape
    mean, square = np.zeros(n), np.zeros(n)
    for i in range(n_rows):
        for j in range(n):
            mean[j] += table[i, j]
    mean /= n_rows
    for i in range(n_rows):
        for j in range(n):
            away = table[i, j] - mean[j]
            square[j] += away * away
    return np.stack((mean, np.sqrt(square / n_rows)))


@njit(cache=True)
def pooled(y):  # type: ignore[no-untyped-def]
    """Nearest non-decreasing sequence in least squares, by pooled adjacent violators."""
    n = len(y)
    level, size = np.empty(n), np.empty(n)
    blocks = 0
    for i in range(n):
        level[blocks], size[blocks] = y[i], 1.0
        blocks += 1
        while blocks > 1 and level[blocks - 2] > level[blocks - 1]:
            both = size[blocks - 2] + size[blocks - 1]
            level[blocks - 2] = (level[blocks - 2] * size[blocks - 2] + level[blocks - 1] * size[blocks - 1]) / both
            size[blocks - 2] = both
            blocks -= 1
    out = np.empty(n)
    at = 0
    for b in range(blocks):
        for _ in range(int(size[b])):
            out[at] = level[b]
            at += 1
    return out
