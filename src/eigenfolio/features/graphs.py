r"""Sparse graphs of a correlation matrix: minimum spanning tree, TMFG and nearest neighbours.

Each function takes a matrix and knows no estimator: it may come from `eigenfolio.codependence` or be the correlation
of any covariance model. The strength s of an edge is one of

===========  ============  =======================================================================================
signed       :math:`\rho`       its order is the reverse of the distance :math:`\sqrt{2 (1 - \rho)}` [1]_
absolute     :math:`|\rho|`     opposites are as close as companions
squared      :math:`\rho^2`     the same order of pairs, other sums over triangles
===========  ============  =======================================================================================

**Minimum spanning tree** [1]_: the n - 1 edges that join all assets at the smallest sum of distances, which are the
same as those at the largest strengths. Prim's algorithm from the first asset, on the dense matrix.

**TMFG**, triangulated maximally filtered graph [2]_: starts with the tetrahedron of the four assets with the largest
sums of strengths above the mean of the matrix, then puts the asset and the triangle whose three new edges sum to the
most together, one asset at a time; each joins as three edges and replaces its triangle by three. The graph is planar,
chordal and has 3n - 6 edges.

**Nearest neighbours**: each asset names its k strongest; an edge is there where one of two names the other or, with
`mutual=True`, where both do, which may leave assets without an edge.

Equal strengths, and equal sums, are settled by position: the asset that stands first, the triangle that is older (for
the tetrahedron, by the sum of all strengths before that). Without such ties a permutation of the assets permutes the
graph and nothing else. Every undirected edge is there once, the lower position first, and edges are in the order of
their columns; a network that passes messages both ways adds the reverse.

References
----------
.. [1] R. N. Mantegna (1999). Hierarchical structure in financial markets. European Physical Journal B 11, 193-197.
.. [2] G. P. Massara, T. Di Matteo and T. Aste (2017). Network filtering for big data: triangulated maximally
   filtered graph. Journal of Complex Networks 5(2), 161-178.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "EDGE_ATTRIBUTES",
    "GRAPH_METHODS",
    "AssetGraph",
    "Kind",
    "Strength",
    "knn_graph",
    "minimum_spanning_tree",
    "tmfg",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Kind = Literal["correlation", "distance"]
Strength = Literal["signed", "absolute", "squared"]

EDGE_ATTRIBUTES = ("correlation", "absolute_correlation", "sign")
"""Columns of `AssetGraph.edge_attributes`."""

_TOLERANCE = {"correlation": 1e-8, "distance": 1e-6}  # the root of a rounding error is a thousand times larger


@dataclass(frozen=True)
class AssetGraph:
    """An undirected graph over assets, by their positions in the matrix it was made from.

    Parameters
    ----------
    n_assets : int
        Nodes, those without an edge included.
    edge_index : ndarray of int64, shape (2, n_edges)
        Each edge once, lower position first, sorted by column.
    edge_attributes : ndarray of shape (n_edges, 3)
        Correlation in [-1, 1], its absolute value, and its sign (-1, 0 or 1), named by `EDGE_ATTRIBUTES`.
    """

    n_assets: int
    edge_index: IntArray
    edge_attributes: FloatArray

    @property
    def n_edges(self) -> int:
        """Number of undirected edges."""
        return self.edge_index.shape[1]


def minimum_spanning_tree(
    matrix: npt.ArrayLike, *, kind: Kind = "correlation", strength: Strength = "signed"
) -> AssetGraph:
    """The tree that joins all assets by their strongest edges.

    Parameters
    ----------
    matrix : array-like of shape (n_assets, n_assets)
        Symmetric and finite.
    kind : {"correlation", "distance"}
        What it holds: correlations (or any codependence in [-1, 1] with unit diagonal), or Mantegna's distances
        sqrt(2 (1 - rho)), in [0, 2] with zero diagonal.
    strength : {"signed", "absolute", "squared"}
        What makes an edge strong; see the head of this module.

    Returns
    -------
    AssetGraph
        With n_assets - 1 edges, connected.

    Raises
    ------
    DataError
        If the matrix is not square, finite and symmetric, or does not hold what `kind` says.
    ParameterError
        If `kind` or `strength` is none of those named.

    Examples
    --------
    >>> minimum_spanning_tree([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]]).edge_index
    array([[0, 1],
           [1, 2]])
    """
    correlation = _correlation(matrix, kind)
    return _graph(correlation, _spanning_tree(_strengths(correlation, strength)))


def tmfg(matrix: npt.ArrayLike, *, kind: Kind = "correlation", strength: Strength = "absolute") -> AssetGraph:
    """The triangulated maximally filtered graph: planar, with as many edges as a planar graph can have.

    Parameters and errors are those of `minimum_spanning_tree`; it needs four assets or more.

    Returns
    -------
    AssetGraph
        With 3 n_assets - 6 edges, connected and planar.

    Examples
    --------
    The fifth asset joins the triangle it is closest to: it has no edge to the fourth.

    >>> matrix = np.full((5, 5), 0.5) + 0.5 * np.eye(5)
    >>> matrix[4, 3] = matrix[3, 4] = 0.2
    >>> matrix[4, 1] = matrix[1, 4] = 0.4
    >>> graph = tmfg(matrix)
    >>> graph.n_edges, (3, 4) in zip(*graph.edge_index.tolist())
    (9, False)
    """
    correlation = _correlation(matrix, kind)
    if len(correlation) < 4:
        raise DataError(
            f"tmfg needs at least 4 assets, got {len(correlation)}; use minimum_spanning_tree or more assets"
        )
    return _graph(correlation, _triangulated(_strengths(correlation, strength)))


def knn_graph(
    matrix: npt.ArrayLike,
    k: int,
    *,
    mutual: bool = False,
    kind: Kind = "correlation",
    strength: Strength = "absolute",
) -> AssetGraph:
    """The graph of the k strongest neighbours of each asset.

    Parameters
    ----------
    matrix, kind, strength
        As in `minimum_spanning_tree`.
    k : int
        Neighbours that each asset names, from 1 to n_assets - 1; never adapted.
    mutual : bool
        False: an edge where one of two assets names the other, so that every asset has k edges or more. True: only
        where both do, so that none has more than k.

    Returns
    -------
    AssetGraph
        Not connected in general.

    Raises
    ------
    DataError
        As in `minimum_spanning_tree`.
    ParameterError
        As there, and if `k` leaves its range.

    Examples
    --------
    >>> matrix = [[1.0, 0.9, 0.1], [0.9, 1.0, 0.3], [0.1, 0.3, 1.0]]
    >>> knn_graph(matrix, 1).edge_index
    array([[0, 1],
           [1, 2]])
    >>> knn_graph(matrix, 1, mutual=True).edge_index
    array([[0],
           [1]])
    """
    correlation = _correlation(matrix, kind)
    n_assets = len(correlation)
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or not 1 <= k < n_assets:
        raise ParameterError(f"k must be a whole number from 1 to {n_assets - 1} for {n_assets} assets, got {k!r}")
    named = _named(_strengths(correlation, strength), int(k))
    return _graph(correlation, named & named.T if mutual else named | named.T)


GRAPH_METHODS: Mapping[str, Callable[[npt.ArrayLike], AssetGraph]] = MappingProxyType(
    {
        "mst": minimum_spanning_tree,
        "tmfg": tmfg,
        "knn_k5": partial(knn_graph, k=5),
        "knn_k10": partial(knn_graph, k=10),
        "knn_k15": partial(knn_graph, k=15),
    }
)
"""The five graphs that are compared, by name: each takes a correlation matrix."""


def _correlation(matrix: npt.ArrayLike, kind: Kind) -> FloatArray:
    """Checked matrix of correlations, exactly symmetric and within [-1, 1]."""
    if kind not in get_args(Kind):
        raise ParameterError(f"kind must be 'correlation' or 'distance', got {kind!r}")
    given = np.asarray(matrix, dtype=float)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] == 0:
        raise DataError(f"a {kind} matrix must be square, got shape {given.shape}")
    tolerance = _TOLERANCE[kind]
    low, high, diagonal = (-1.0, 1.0, 1.0) if kind == "correlation" else (0.0, 2.0, 0.0)
    smallest, largest = float(given.min()), float(given.max())
    if not (np.isfinite(smallest) and np.isfinite(largest)):
        raise DataError(
            f"a {kind} matrix must be finite, got {int((~np.isfinite(given)).sum())} missing or infinite entries; "
            "drop the inactive assets first"
        )
    off = float(np.abs(np.diag(given) - diagonal).max())
    if smallest < low - tolerance or largest > high + tolerance or off > tolerance:
        raise DataError(
            f"a {kind} matrix has entries in [{low:g}, {high:g}] and {diagonal:g} on the diagonal, got entries from "
            f"{smallest:g} to {largest:g} and a diagonal that is off by up to {off:g}; say what it holds by kind=, and "
            "turn a covariance into a correlation by eigenfolio.linalg.covariance_to_correlation"
        )
    gap = float(np.abs(given - given.T).max())
    if gap > tolerance:
        raise DataError(
            f"a {kind} matrix must be symmetric, got entries that differ by {gap:g} from their mirror image"
        )
    if gap > 0.0:
        given = 0.5 * (given + given.T)
    return np.clip(given if kind == "correlation" else 1.0 - 0.5 * given**2, -1.0, 1.0)


def _strengths(correlation: FloatArray, strength: Strength) -> FloatArray:
    if strength == "signed":
        return correlation
    if strength == "absolute":
        return np.abs(correlation)
    if strength == "squared":
        return correlation**2
    raise ParameterError(f"strength must be 'signed', 'absolute' or 'squared', got {strength!r}")


def _graph(correlation: FloatArray, joined: BoolArray) -> AssetGraph:
    """Graph of a symmetric table of edges."""
    edges = np.stack(np.nonzero(np.triu(joined, 1)))
    rho = correlation[edges[0], edges[1]]
    return AssetGraph(len(correlation), edges, np.column_stack([rho, np.abs(rho), np.sign(rho)]))


@njit(cache=True)
def _spanning_tree(strength: FloatArray) -> BoolArray:
    """Prim's algorithm; its slow twin in the tests is Kruskal's."""
    n_assets = strength.shape[0]
    joined = np.zeros((n_assets, n_assets), dtype=np.bool_)
    inside = np.zeros(n_assets, dtype=np.bool_)
    reach = np.full(n_assets, -np.inf)  # strongest edge into the tree
    anchor = np.zeros(n_assets, dtype=np.int64)  # and where it ends
    current = 0
    for _ in range(n_assets - 1):
        inside[current] = True
        best, following = -np.inf, -1
        for j in range(n_assets):
            if inside[j]:
                continue
            if strength[current, j] > reach[j]:
                reach[j], anchor[j] = strength[current, j], current
            if reach[j] > best:
                best, following = reach[j], j
        joined[following, anchor[following]] = joined[anchor[following], following] = True
        current = following
    return joined


@njit(cache=True)
def _best_guest(strength: FloatArray, inside: BoolArray, corners: IntArray) -> tuple[float, int]:
    """The asset outside that gains most in a triangle, the first of equals; -inf and -1 where none is left."""
    best, guest = -np.inf, -1
    a, b, c = corners
    for j in range(strength.shape[0]):
        if not inside[j]:
            gain = strength[a, j] + strength[b, j] + strength[c, j]
            if gain > best:
                best, guest = gain, j
    return best, guest


@njit(cache=True)
def _join(joined: BoolArray, a: int, b: int) -> None:
    joined[a, b] = joined[b, a] = True


@njit(cache=True)
def _first_tetrahedron(strength: FloatArray) -> IntArray:
    """The four assets with the largest sums of strengths above the mean of the matrix, the largest first."""
    n_assets = strength.shape[0]
    mean = strength.mean()
    sums, above = np.zeros(n_assets), np.zeros(n_assets)
    for i in range(n_assets):
        for j in range(n_assets):
            sums[i] += strength[i, j]
            if strength[i, j] > mean:
                above[i] += strength[i, j]
    order = np.argsort(-sums, kind="mergesort")  # among few assets several have nothing above the mean
    return order[np.argsort(-above[order], kind="mergesort")[:4]]


@njit(cache=True)
def _triangulated(strength: FloatArray) -> BoolArray:
    """TMFG: only triangles whose best guest has just been seated are looked through again."""
    n_assets = strength.shape[0]
    joined = np.zeros((n_assets, n_assets), dtype=np.bool_)
    inside = np.zeros(n_assets, dtype=np.bool_)
    triangles = np.zeros((2 * n_assets - 4, 3), dtype=np.int64)
    gains = np.full(2 * n_assets - 4, -np.inf)
    guests = np.full(2 * n_assets - 4, -1, dtype=np.int64)
    first = _first_tetrahedron(strength)
    inside[first] = True
    for left_out in range(4):
        triangles[3 - left_out] = first[np.arange(4) != left_out]
        for other in range(left_out):
            _join(joined, first[left_out], first[other])
    for i in range(4):
        gains[i], guests[i] = _best_guest(strength, inside, triangles[i])
    n_triangles = 4
    for _ in range(n_assets - 4):
        chosen = np.argmax(gains[:n_triangles])
        guest = guests[chosen]
        inside[guest] = True
        a, b, c = triangles[chosen]
        for corner in (a, b, c):
            _join(joined, guest, corner)
        triangles[chosen] = np.array([a, b, guest])
        triangles[n_triangles] = np.array([a, c, guest])
        triangles[n_triangles + 1] = np.array([b, c, guest])
        guests[n_triangles : n_triangles + 2] = guest
        n_triangles += 2
        for i in range(n_triangles):
            if guests[i] == guest:  # the three new ones, and those that wanted the same guest
                gains[i], guests[i] = _best_guest(strength, inside, triangles[i])
    return joined


@njit(cache=True)
def _named(strength: FloatArray, k: int) -> BoolArray:
    """Row i is True at the k strongest neighbours of asset i, the first of equals."""
    n_assets = strength.shape[0]
    named = np.zeros((n_assets, n_assets), dtype=np.bool_)
    best = np.empty(k)
    who = np.empty(k, dtype=np.int64)
    for i in range(n_assets):
        best[:] = -np.inf
        for j in range(n_assets):
            if j == i or not strength[i, j] > best[k - 1]:
                continue
            place = k - 1
            while place > 0 and strength[i, j] > best[place - 1]:
                best[place], who[place] = best[place - 1], who[place - 1]
                place -= 1
            best[place], who[place] = strength[i, j], j
        for place in range(k):
            named[i, who[place]] = True
    return named
