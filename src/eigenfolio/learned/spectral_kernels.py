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
def project(transposed, values, core, outside, overlap, single, weighted):  # type: ignore[no-untyped-def]
    """What eigenvectors (rank, n_assets) say of eigenvalues and of assets.

    Fills `single` with the vectors and `weighted` with the vectors times `core`, both in single precision. Returns, by
    vector, the sum of fourth powers and the product with `overlap`; by asset, the sum of squares weighted with `core`,
    with the squares of `values`, with `values`, and with `values` times the squares of `core + outside`.
    """
    rank, n = transposed.shape
    fourth, product, precision, size = np.zeros(rank), np.zeros(rank), np.zeros(n), np.zeros(n)
    inside, left = np.zeros(n), np.zeros(n)
    row = np.empty(n)  # a copy, side by side however the vectors lie
    for k in range(rank):
        row[:] = transposed[k]
        share, square = core[k], values[k] * values[k]
        value, low, one, two = values[k], np.float32(share), single[k], weighted[k]
        after = value * (share + outside) * (share + outside)
        total, along = 0.0, 0.0
        for i in range(n):
            own = row[i] * row[i]
            precision[i] += share * own
            size[i] += square * own
            inside[i] += value * own
            left[i] += after * own
            total += own * own
            along += row[i] * overlap[i]
            one[i] = row[i]
            two[i] = low * one[i]
        fourth[k], product[k] = total, along
    return fourth, product, precision, size, inside, left


@njit(cache=True)
def clustering(z, factor):  # type: ignore[no-untyped-def]
    """Mean autocorrelation, over columns and lags 1 to 5, of |z| factor; every lag's sum is divided by all rows."""
    n_rows, n = z.shape
    mean, power, product = np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(n_rows):
        for i in range(n):
            mean[i] += abs(z[t, i]) * factor[t]
    mean /= n_rows
    before, last = np.zeros(n), np.zeros((6, n))  # sum of the five rows before this one, and this row with those
    for t in range(n_rows):
        here, gone = last[t % 6], last[(t + 1) % 6]  # `gone` is the fifth before this row
        for i in range(n):
            away = abs(z[t, i]) * factor[t] - mean[i]
            power[i] += away * away
            product[i] += away * before[i]
            before[i] += away - gone[i]
            here[i] = away
    total = 0.0
    for i in range(n):
        if power[i] > 1e-12 * n_rows:
            total += product[i] / power[i]
    return total / (5.0 * n)


@njit(cache=True)
def standardise(z, observed, complete, damping, weights, center, tilt, single):  # type: ignore[no-untyped-def]
    """Damp and centre the rows of z, give them the roots of their weights and its columns the length `tilt`, in place.

    The weights have sum 1. The last rows of the result go into `single` as well; returns the squared lengths that the
    columns had and which do not move.
    """
    n_rows, n = z.shape
    mean, size, seen, factor = np.zeros(n), np.zeros(n), np.ones(n), np.zeros(n)
    still = np.zeros(n, dtype=np.bool_)
    for t in range(n_rows):
        share, row = weights[t] / damping[t], z[t]
        square = share / damping[t]
        for i in range(n):  # 0 where missing
            mean[i] += share * row[i]
            size[i] += square * row[i] * row[i]
    if not complete:
        seen[:] = 0.0
        for t in range(n_rows):
            for i in range(n):
                seen[i] += weights[t] * observed[t, i]
    for i in range(n):
        mean[i] = mean[i] / max(seen[i], 1e-300) if center else 0.0
        left = size[i] - mean[i] * mean[i] * seen[i]
        if left < 1e-6 * size[i]:  # the difference has lost its digits
            left = 0.0
            for t in range(n_rows):
                away = z[t, i] / damping[t] - mean[i]
                left += weights[t] * away * away * observed[t, i]
        size[i] = left
        still[i] = np.sqrt(left) <= 1e-6  # ordinary assets are near 1; below this there is rounding noise only
        factor[i] = 0.0 if still[i] else tilt[i] / np.sqrt(left)
    first = n_rows - len(single)
    for t in range(n_rows):
        scale, root, row = 1.0 / damping[t], np.sqrt(weights[t]), z[t]
        for i in range(n):
            row[i] = (row[i] * scale - mean[i]) * (root * factor[i])
        if not complete:
            for i in range(n):
                row[i] *= observed[t, i]
        if t >= first:
            out = single[t - first]
            for i in range(n):
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
def history(x, volatility, observed, complete, half_lives, standard, scaled):  # type: ignore[no-untyped-def]
    """Write each asset in units of its volatility, and devolatilised: over that known before each row, cut at +-6.

    The latter is at least a quarter and has the first of the half-lives; `scaled` takes as many of the last rows as it
    has. Returns

    variances   last exponentially weighted ones, (n_half_lives, n_assets), which start at the mean square of the first
                21 rows and stay as they are in a missing row
    sizes       sums of squares over the assets of each row of `standard`, and of each row of `scaled`
    moments     of `standard`, (6, n_assets), sums over rows: |z|, z^4, largest |z|, |z| of the last 63 rows, how many
                those are, rows with |z| < 0.1
    """
    n_rows, n = x.shape
    n_lives, first = len(half_lives), n_rows - len(scaled)
    variances, sizes, scaled_sizes = np.empty((n_lives, n)), np.empty(n_rows), np.empty(len(scaled))
    moments = np.zeros((6, n))
    absolute, fourth, largest, recent, late, still = moments
    moves = 1.0 - 2.0 ** (-1.0 / half_lives)
    inverse = 1.0 / volatility
    for i in range(n):
        start, seen = 0.0, 0
        for t in range(n_rows):
            if seen == 21:
                break
            if observed[t, i]:
                start += (x[t, i] * inverse[i]) ** 2
                seen += 1
        for h in range(n_lives):
            variances[h, i] = start / max(seen, 1)
    row, out = np.empty(n), np.empty(n)  # at one place, where the tables would get in each other's way in the cache
    for t in range(n_rows):
        for i in range(n):
            row[i] = x[t, i] * inverse[i]
            standard[t, i] = row[i]
        if t >= first:
            for i in range(n):
                out[i] = min(6.0, max(-6.0, row[i] / max(np.sqrt(variances[0, i]), 0.25)))
                scaled[t - first, i] = out[i]
            scaled_sizes[t - first] = _sum_of_squares(out)
        sizes[t] = _sum_of_squares(row)
        for i in range(n):
            size = abs(row[i])
            absolute[i] += size
            fourth[i] += size * size * size * size
            largest[i] = max(largest[i], size)
        if complete:
            for h in range(n_lives):
                move, variance = moves[h], variances[h]
                for i in range(n):
                    variance[i] += move * (row[i] * row[i] - variance[i])
            for i in range(n):
                still[i] += 1.0 if abs(row[i]) < 0.1 else 0.0
        else:
            for h in range(n_lives):
                move, variance = moves[h], variances[h]
                for i in range(n):
                    moved = variance[i] + move * (row[i] * row[i] - variance[i])
                    variance[i] = moved if observed[t, i] else variance[i]
            for i in range(n):
                still[i] += 1.0 if observed[t, i] and abs(row[i]) < 0.1 else 0.0
        if t >= n_rows - 63:
            for i in range(n):
                recent[i] += abs(row[i])
                late[i] += observed[t, i]
    return variances, sizes, scaled_sizes, moments


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
