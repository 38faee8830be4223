r"""Order of the leaves of a tree in which neighbours are close, as SciPy has it, in a fiftieth of its time.

With D the distances, M(u, w) is the length of the shortest path through all leaves of a node that the tree allows, from
its leaf u on one side to its leaf w on the other [1]_:

.. math:: M(u, w) = \min_{m, k} \; M(u, m) + D(m, k) + M(k, w)

where m lies in the branch of its own side that u is not in, and k likewise. The branches of both sides are then turned
so that the ends of the shortest path of their node stand outside. A node is settled when it is joined with its sibling,
and turning it later turns all that is in it: the rule of SciPy's `optimal_leaf_ordering`. On the whole tree a shorter
path may exist.

The minimum over m and k is taken as two products of matrices in the (min, +) algebra: n^3 / 3 additions and comparisons
in all, whatever the tree, eight columns to an instruction. SciPy adds the three terms in another order, in single
precision; so that the last bit is the same too, the pairs (m, k) within rounding of the minimum are added again as it
does. Ties are settled as there: of two equal paths the one whose u, then w, stands further left. Where two distances
differ by less than single precision (1e-7 of their size) SciPy may stop at the second best, and the orders may differ.

References
----------
.. [1] Z. Bar-Joseph, D. K. Gifford and T. S. Jaakkola (2001). Fast optimal leaf ordering for hierarchical clustering.
   Bioinformatics 17(S1), S22-S29.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["turned_tree"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLOCK = 8  # rows that one pass of the minimum takes; the loop below is written out for it
_SLACK = np.float32(1.0 + 1e-6)  # two sums of the same terms differ by at most ten roundings, 6e-7
_FAR = np.float32(np.inf)


def turned_tree(tree: FloatArray, condensed: FloatArray) -> FloatArray:
    """Turn the branches of a tree so that neighbouring leaves are close.

    Parameters
    ----------
    tree : ndarray of shape (n_leaves - 1, 4)
        SciPy's linkage matrix.
    condensed : ndarray of shape (n_leaves * (n_leaves - 1) / 2,)
        Distances that the tree was made from, condensed as in SciPy.

    Returns
    -------
    ndarray of shape (n_leaves - 1, 4)
        The same tree, left and right branch exchanged where it was turned.

    Examples
    --------
    Leaf 2 is closer to 0 than to 1, so that 1 goes outside:

    >>> tree = np.array([[0.0, 1.0, 1.0, 2.0], [2.0, 3.0, 2.0, 3.0]])
    >>> turned_tree(tree, np.array([1.0, 2.0, 3.0]))[:, :2]
    array([[0., 1.],
           [2., 3.]])
    >>> turned_tree(tree, np.array([1.0, 3.0, 2.0]))[:, :2]
    array([[1., 0.],
           [2., 3.]])
    """
    leaves, runs, branches = _runs(tree)
    turned = _turned(runs, branches, _in_order(condensed, leaves))
    found = tree.copy()
    found[turned, :2] = tree[turned, 1::-1]
    return found


@njit(cache=True, error_model="numpy")
def _runs(tree: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Leaves from left to right; of each node first place, place of its right branch and one past its last; branches.

    Leaves are numbered by their place from here on.
    """
    n_leaves = tree.shape[0] + 1
    sizes = np.ones(2 * n_leaves - 1, dtype=np.int64)
    for i in range(n_leaves - 1):
        sizes[n_leaves + i] = np.int64(tree[i, 3])
    first = np.zeros(2 * n_leaves - 1, dtype=np.int64)
    branches = np.empty((n_leaves - 1, 2), dtype=np.int64)
    for i in range(n_leaves - 2, -1, -1):
        left, right = np.int64(tree[i, 0]), np.int64(tree[i, 1])
        first[left] = first[n_leaves + i]
        first[right] = first[n_leaves + i] + sizes[left]
        branches[i, 0] = first[left] if left < n_leaves else left
        branches[i, 1] = first[right] if right < n_leaves else right
    leaves = np.empty(n_leaves, dtype=np.int64)
    for leaf in range(n_leaves):
        leaves[first[leaf]] = leaf
    runs = np.empty((2 * n_leaves - 1, 3), dtype=np.int64)
    for place in range(n_leaves):
        runs[place] = place, place + 1, place + 1
    for node in range(n_leaves, 2 * n_leaves - 1):
        middle = runs[branches[node - n_leaves, 0], 2]
        runs[node] = first[node], middle, first[node] + sizes[node]
    return leaves, runs, branches


@njit(cache=True, error_model="numpy")
def _in_order(condensed: FloatArray, leaves: IntArray) -> FloatArray:
    """Square matrix of the distances, in the order of the leaves."""
    n_leaves = leaves.size
    places = np.empty(n_leaves, dtype=np.int64)
    for place in range(n_leaves):
        places[leaves[place]] = place
    distances = np.zeros((n_leaves, n_leaves))
    read = 0
    for i in range(n_leaves):
        for j in range(i + 1, n_leaves):
            distances[places[i], places[j]] = condensed[read]
            distances[places[j], places[i]] = condensed[read]
            read += 1
    return distances


@njit(cache=True, error_model="numpy")
def _turned(runs: IntArray, branches: IntArray, distances: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each node has its branches exchanged, its own turns and those of all nodes above it counted."""
    n_leaves = distances.shape[0]
    single = distances.astype(np.float32)
    paths = np.zeros((n_leaves, n_leaves), dtype=np.float32)  # M
    turned = np.zeros(2 * n_leaves - 1, dtype=np.bool_)
    for left, right in branches:
        if runs[left, 2] - runs[left, 0] <= runs[right, 2] - runs[right, 0]:
            _join(runs[left], runs[right], distances, single, paths)  # long rows are what an instruction likes
        else:
            _join(runs[right], runs[left], distances, single, paths)
        u, w = _ends(runs[left], runs[right], paths)
        turned[left] = left >= n_leaves and u >= runs[left, 1]
        turned[right] = right >= n_leaves and w < runs[right, 1]
    for node in range(2 * n_leaves - 2, n_leaves - 1, -1):
        if turned[node]:
            for branch in branches[node - n_leaves]:
                turned[branch] = not turned[branch]
    return turned[n_leaves:]


@njit(cache=True, error_model="numpy")
def _ends(left: IntArray, right: IntArray, paths: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Ends of the shortest path of a node; of equal ones the first."""
    shortest, ends = _FAR, (left[0], right[0])
    for u in range(left[0], left[2]):
        for w in range(right[0], right[2]):
            if paths[u, w] < shortest:
                shortest, ends = paths[u, w], (u, w)
    return ends


@njit(cache=True, error_model="numpy")
def _across(run: IntArray, place: int) -> tuple[int, int]:
    """Places of the branch that a leaf of the node is not in; the leaf itself where it is all there is."""
    if run[2] - run[0] == 1:
        return run[0], run[2]
    return (run[1], run[2]) if place < run[1] else (run[0], run[1])


@njit(cache=True, error_model="numpy")
def _join(few: IntArray, many: IntArray, distances: FloatArray, single: Any, paths: Any) -> None:
    """Write the paths from every leaf of one side to every leaf of the other."""
    n_many = many[2] - many[0]
    bridge = _scratch(n_many)  # to each k, the shortest of M(u, m) + D(m, k)
    whole = _scratch(n_many)
    for u in range(few[0], few[2]):
        ms = _across(few, u)
        _nearest(paths[u, ms[0] : ms[1]], single, ms[0], many[0], many[2], bridge)
        start = many[0]
        while start < many[2]:  # w in the left branch, then in the right one
            stop = many[1] if start < many[1] else many[2]
            ks = _across(many, start)
            _nearest(bridge[0][ks[0] - many[0] : ks[1] - many[0]], paths, ks[0], start, stop, whole)
            for w in range(start, stop):
                limit = whole[0][w - start] * _SLACK
                found = _FAR
                first, last = _worth(whole, w - start, np.float32(0.0), limit, ks)
                for k in range(first, last):
                    if bridge[0][k - many[0]] + paths[w, k] <= limit:
                        inner = _worth(bridge, k - many[0], paths[w, k], limit, ms)
                        for m in range(inner[0], inner[1]):
                            ways = paths[u, m] + paths[w, k]
                            found = min(found, np.float32(np.float64(ways) + distances[k, m]))  # as SciPy adds
                paths[u, w] = found
                paths[w, u] = found
            start = stop


@njit(cache=True, error_model="numpy")
def _scratch(size: int) -> tuple[Any, Any, Any]:
    """Room for a minimum of each column, that of all other blocks, and the first row of its block."""
    return np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.int32)


@njit(cache=True, error_model="numpy")
def _worth(minimum: tuple[Any, Any, Any], place: int, more: Any, limit: Any, rows: tuple[int, int]) -> tuple[int, int]:
    """Rows among which all sums within the limit are: those of one block, or all."""
    if minimum[1][place] + more > limit:
        first = rows[0] + minimum[2][place]
        return first, min(first + _BLOCK, rows[1])
    return rows


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})  # a minimum without NaN is one instruction
def _nearest(ways: Any, table: Any, row: int, start: int, stop: int, minimum: tuple[Any, Any, Any]) -> None:
    """Minimum over i of ``ways[i] + table[row + i, start:stop]``, into the first places of `minimum`."""
    best, second, block = minimum
    n_columns = stop - start
    best[:n_columns], second[:n_columns], block[:n_columns] = _FAR, _FAR, 0
    i = 0
    while i + _BLOCK <= ways.size:
        a, b, c, d, e, f, g, h = ways[i : i + _BLOCK]
        ra, rb = table[row + i, start:stop], table[row + i + 1, start:stop]  # rows of their own lie side by side
        rc, rd = table[row + i + 2, start:stop], table[row + i + 3, start:stop]
        re, rf = table[row + i + 4, start:stop], table[row + i + 5, start:stop]
        rg, rh = table[row + i + 6, start:stop], table[row + i + 7, start:stop]
        for j in range(n_columns):
            near = min(min(a + ra[j], b + rb[j]), min(c + rc[j], d + rd[j]))
            far = min(min(e + re[j], f + rf[j]), min(g + rg[j], h + rh[j]))
            best[j], second[j], block[j] = _kept(min(near, far), np.int32(i), best[j], second[j], block[j])
        i += _BLOCK
    if i < ways.size:
        for j in range(n_columns):
            shortest = _FAR
            for r in range(i, ways.size):
                shortest = min(shortest, ways[r] + table[row + r, start + j])
            best[j], second[j], block[j] = _kept(shortest, np.int32(i), best[j], second[j], block[j])


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _kept(value: Any, row: Any, best: Any, second: Any, block: Any) -> tuple[Any, Any, Any]:
    """Let the minimum of a block compete for a column."""
    return min(best, value), min(second, max(value, best)), row if value < best else block
