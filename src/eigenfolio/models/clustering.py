r"""Hierarchical clustering of assets: distances, trees, leaf orders, flat cuts and what they are worth.

Two formulas turn a correlation into a distance, and the sources of hierarchical risk parity use both:

===========  ==========================================  ==========================================================
root         :math:`d = \sqrt{(1 - \rho) / 2}`           in [0, 1], a metric [1]_
plain        :math:`d = (1 - \rho) / 2`                  in [0, 1], its square
===========  ==========================================  ==========================================================

One rises with the other, so single and complete linkage give the same tree by both; average linkage and every
statistic that adds distances do not (`distance_analysis`). Weights use the root.

Three conventions turn the root distance into an order of the leaves, and are three different portfolios:

================  ===========================================================  ====================================
lopez_de_prado    linkage of the Euclidean distances between the columns of    the published code [1]_
                  the distance matrix; leaves as the tree has them
tree              linkage of the distances; leaves as the tree has them        PyPortfolioOpt
optimal_leaf      the same tree, its branches turned so that neighbours are    skfolio, Riskfolio-Lib
                  close [2]_
================  ===========================================================  ====================================

Ties. Correlations that agree to 12 decimals, and squared distances of distances that agree to 10, are equal: below that
is rounding, which differs between machines. Equal distances are merged in the order of SciPy's linkage, which depends
on nothing but positions; of two merged parts a leaf stands left of a cluster, of two leaves the lower position, and of
two clusters the one that was formed first.

References
----------
.. [1] M. Lopez de Prado (2016). Building diversified portfolios that outperform out of sample. Journal of Portfolio
   Management 42(4), 59-69.
.. [2] Z. Bar-Joseph, D. K. Gifford and T. S. Jaakkola (2001). Fast optimal leaf ordering for hierarchical clustering.
   Bioinformatics 17(S1), S22-S29.
.. [3] P. J. Rousseeuw (1987). Silhouettes: a graphical aid to the interpretation and validation of cluster analysis.
   Journal of Computational and Applied Mathematics 20, 53-65.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import squareform

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models.covariance_model import whole_number
from eigenfolio.models.leaf_order import turned_tree

__all__ = [
    "CONVENTIONS",
    "LINKAGES",
    "ClusterQuality",
    "Convention",
    "Linkage",
    "cluster_quality",
    "cluster_tree",
    "correlation_distance",
    "distance_analysis",
    "flat_clusters",
    "linkage_distance",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Convention = Literal["lopez_de_prado", "tree", "optimal_leaf"]
Linkage = Literal["single", "complete", "average", "ward"]
Formula = Literal["root", "plain"]

CONVENTIONS: tuple[str, ...] = get_args(Convention)
LINKAGES: tuple[str, ...] = get_args(Linkage)

_UNITS, _SQUARED_UNITS = 1e12, 1e10  # of rounding, see Ties


@dataclass(frozen=True)
class ClusterQuality:
    """What a flat clustering of assets is worth.

    Parameters
    ----------
    n_clusters : int
        Clusters found; ties can leave fewer than were asked for.
    silhouette : float
        Mean silhouette in [-1, 1]: how much closer an asset is to its own cluster than to the next [3]_. NaN with
        fewer than two clusters, or where every asset stands alone.
    within_correlation, between_correlation : float
        Mean correlation over the pairs in one cluster, and over those in two; NaN where there is no such pair.
    largest_share : float
        Share of the assets in the largest cluster, in (0, 1]: near 1 where a chain has swallowed the rest.
    """

    n_clusters: int
    silhouette: float
    within_correlation: float
    between_correlation: float
    largest_share: float

    @property
    def score(self) -> float:
        """Silhouette plus the gap between the correlations within and between; NaN where one of them is."""
        return self.silhouette + self.within_correlation - self.between_correlation


def correlation_distance(correlation: FloatArray, *, formula: Formula = "root") -> FloatArray:
    """Distance between assets from their correlation.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Symmetric, in [-1, 1] up to rounding.
    formula : {"root", "plain"}
        sqrt((1 - rho) / 2) or (1 - rho) / 2.

    Returns
    -------
    ndarray of shape (n_assets, n_assets)
        In [0, 1], zero diagonal.

    Raises
    ------
    DataError
        If the matrix is not square and finite.
    ParameterError
        If `formula` is neither.

    Examples
    --------
    >>> rho = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> correlation_distance(rho)[0, 1], correlation_distance(rho, formula="plain")[0, 1]
    (np.float64(0.5), np.float64(0.25))
    """
    if formula not in get_args(Formula):
        raise ParameterError(f"formula must be 'root' or 'plain', got {formula!r}")
    rho = np.asarray(correlation, dtype=float)
    if rho.ndim != 2 or rho.shape[0] != rho.shape[1] or not np.isfinite(rho).all():
        raise DataError(
            f"correlation must be a square matrix of finite numbers, got shape {rho.shape}; drop gaps first"
        )
    return _distances(np.ascontiguousarray(rho), formula == "root")


def linkage_distance(distance: FloatArray, convention: Convention) -> FloatArray:
    """Distances that a convention gives to the linkage.

    Parameters
    ----------
    distance : ndarray of shape (n_assets, n_assets)
        As `correlation_distance` gives it.
    convention : {"lopez_de_prado", "tree", "optimal_leaf"}

    Returns
    -------
    ndarray of shape (n_assets * (n_assets - 1) / 2,)
        Condensed as in SciPy.

    Examples
    --------
    The first two columns differ by 3, 3 and 1:

    >>> d = np.array([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]])
    >>> linkage_distance(d, "tree"), (linkage_distance(d, "lopez_de_prado") ** 2).round(6)
    (array([3., 4., 5.]), array([19., 36., 51.]))
    """
    _one_of("convention", convention, CONVENTIONS)
    if convention != "lopez_de_prado":
        return squareform(distance, checks=False)
    return _column_distances(distance @ distance.T)


def cluster_tree(condensed: FloatArray, *, linkage: Linkage, convention: Convention) -> tuple[FloatArray, IntArray]:
    """Tree of the assets and the order of its leaves.

    Parameters
    ----------
    condensed : ndarray of shape (n_assets * (n_assets - 1) / 2,)
        From `linkage_distance`; empty for one asset.
    linkage : {"single", "complete", "average", "ward"}
    convention : {"lopez_de_prado", "tree", "optimal_leaf"}

    Returns
    -------
    linkage_matrix : ndarray of shape (n_assets - 1, 4)
        As SciPy's.
    order : ndarray of int64, shape (n_assets,)
        Positions of the assets, leftmost leaf first.

    Examples
    --------
    >>> tree, order = cluster_tree(np.array([3.0, 1.0, 2.0]), linkage="single", convention="tree")
    >>> order
    array([1, 0, 2])
    """
    _one_of("linkage", linkage, LINKAGES)
    _one_of("convention", convention, CONVENTIONS)
    if condensed.size == 0:
        return np.empty((0, 4)), np.zeros(1, dtype=np.int64)
    tree = scipy_linkage(condensed, linkage)
    if convention == "optimal_leaf":
        tree = turned_tree(tree, condensed)
    return tree, leaves_list(tree).astype(np.int64)


def flat_clusters(tree: FloatArray, *, n_clusters: int = 10) -> IntArray:
    """Cut a tree into at most so many clusters.

    Parameters
    ----------
    tree : ndarray of shape (n_assets - 1, 4)
        From `cluster_tree`.
    n_clusters : int
        At least 1; every asset stands alone where there are no more than this.

    Returns
    -------
    ndarray of int64, shape (n_assets,)
        Cluster of each asset, from 0.

    Examples
    --------
    >>> tree, _ = cluster_tree(np.array([3.0, 1.0, 2.0]), linkage="single", convention="tree")
    >>> flat_clusters(tree, n_clusters=2)
    array([0, 1, 0])
    """
    whole_number("n_clusters", n_clusters, minimum=1)
    if len(tree) == 0:
        return np.zeros(1, dtype=np.int64)
    return fcluster(tree, n_clusters, criterion="maxclust").astype(np.int64) - 1


def cluster_quality(correlation: FloatArray, distance: FloatArray, clusters: IntArray) -> ClusterQuality:
    """Silhouette and mean correlations of a flat clustering.

    Parameters
    ----------
    correlation, distance : ndarray of shape (n_assets, n_assets)
        The distance is used as it is given, also where the tree was made from distances of distances.
    clusters : ndarray of int, shape (n_assets,)

    Returns
    -------
    ClusterQuality

    Examples
    --------
    Two pairs; a member of one is 0.25 away from its companion and 0.5 from the others: 1 - 0.25 / 0.5.

    >>> rho = np.array([[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0.5], [0, 0, 0.5, 1]])
    >>> quality = cluster_quality(rho, correlation_distance(rho, formula="plain"), np.array([0, 0, 1, 1]))
    >>> quality.silhouette, quality.within_correlation, quality.score
    (0.5, 0.5, 1.0)
    """
    n_assets = len(clusters)
    names, own, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = _cluster_sums(np.ascontiguousarray(correlation), own, len(names))
    mine = float(sums[np.arange(n_assets), own].sum())
    n_inside = float((sizes * (sizes - 1)).sum())
    n_between = float(n_assets**2 - (sizes**2).sum())
    return ClusterQuality(
        n_clusters=len(names),
        silhouette=_silhouette(np.ascontiguousarray(distance), own, sizes),
        within_correlation=(mine - float(np.trace(correlation))) / n_inside if n_inside else np.nan,
        between_correlation=(float(sums.sum()) - mine) / n_between if n_between else np.nan,
        largest_share=float(sizes.max()) / n_assets,
    )


def distance_analysis(correlation: FloatArray, *, n_clusters: int = 10) -> pd.DataFrame:
    """What the two distance formulas make of one correlation matrix.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        At least three assets.
    n_clusters : int
        Clusters of the flat cut.

    Returns
    -------
    DataFrame
        Indexed by `formula` ("root", "plain") and `linkage` ("single", "complete", "average"). Columns: `mean`, `std`,
        `min`, `median` and `max` of the distances of all pairs; `cophenetic`, the correlation of these with the heights
        at which the tree joins the pairs; `n_clusters`, `silhouette`, `within_correlation`, `between_correlation` and
        `largest_share` of the flat cut; `same_clusters`, whether both formulas cut this linkage alike.

    Raises
    ------
    DataError
        If there are fewer than three assets, or as in `correlation_distance`.

    Examples
    --------
    >>> rho = np.corrcoef(np.random.default_rng(0).standard_normal((12, 60)))
    >>> table = distance_analysis(rho, n_clusters=4)
    >>> table.loc["root", "same_clusters"].to_dict()
    {'single': True, 'complete': True, 'average': True}
    """
    rho = np.asarray(correlation, dtype=float)
    if len(rho) < 3:
        raise DataError(f"an analysis of distances needs at least 3 assets, got {len(rho)}")
    rows, cuts = {}, {}
    for formula in get_args(Formula):
        distance = correlation_distance(rho, formula=formula)
        condensed = linkage_distance(distance, "tree")
        for linkage in ("single", "complete", "average"):
            tree, _ = cluster_tree(condensed, linkage=linkage, convention="tree")
            cuts[formula, linkage] = flat_clusters(tree, n_clusters=n_clusters)
            rows[formula, linkage] = {
                **_spread(condensed),
                "cophenetic": _cophenetic(tree, condensed),
                **vars(cluster_quality(rho, distance, cuts[formula, linkage])),
            }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["formula", "linkage"])
    table["same_clusters"] = [_same_partition(cuts["root", name], cuts["plain", name]) for _, name in table.index]
    return table


def _silhouette(distance: FloatArray, own: IntArray, sizes: IntArray) -> float:
    """Mean silhouette, that of a lone asset being 0; its twin in the tests is scikit-learn's, five times slower."""
    n_assets = len(own)
    if not 1 < len(sizes) < n_assets:
        return np.nan
    sums = _cluster_sums(distance, own, len(sizes))
    rows = np.arange(n_assets)
    inside = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    others = sums / sizes
    others[rows, own] = np.inf
    outside = others.min(axis=1)
    larger = np.maximum(inside, outside)
    alike = (sizes[own] == 1) | (larger == 0.0)
    return float(np.where(alike, 0.0, (outside - inside) / np.where(alike, 1.0, larger)).mean())


@njit(cache=True, error_model="numpy")
def _distances(rho: FloatArray, root: bool) -> FloatArray:
    """Both formulas in one pass over the matrix."""
    distance = np.zeros(rho.shape)
    for i in range(rho.shape[0]):
        for j in range(rho.shape[0]):
            if i != j:
                plain = min(max(0.5 - 0.5 * (np.rint(rho[i, j] * _UNITS) / _UNITS), 0.0), 1.0)
                distance[i, j] = np.sqrt(plain) if root else plain
    return distance


@njit(cache=True, error_model="numpy")
def _cluster_sums(matrix: FloatArray, own: IntArray, n_clusters: int) -> FloatArray:
    """Sum of each row of a symmetric matrix over the members of each cluster, shape (n_assets, n_clusters)."""
    sums = np.zeros((n_clusters, matrix.shape[0]))
    for j in range(matrix.shape[0]):  # whole rows at a time: an instruction adds several of their entries
        total, row = sums[own[j]], matrix[j]
        for i in range(row.size):
            total[i] += row[i]
    return np.ascontiguousarray(sums.T)


@njit(cache=True, error_model="numpy")
def _column_distances(products: FloatArray) -> FloatArray:
    """Euclidean distances of columns from their products, condensed; squares are rounded as the tie rule says.

    One product costs half of what differences do, and loses what rounding takes: SciPy's pdist in the tests.
    """
    n_assets = products.shape[0]
    condensed = np.empty(n_assets * (n_assets - 1) // 2)
    place = 0
    for i in range(n_assets):
        for j in range(i + 1, n_assets):
            square = products[i, i] + products[j, j] - 2.0 * products[i, j]
            condensed[place] = np.sqrt(max(np.rint(square * _SQUARED_UNITS) / _SQUARED_UNITS, 0.0))
            place += 1
    return condensed


def _spread(distances: FloatArray) -> dict[str, float]:
    return {
        "mean": float(distances.mean()),
        "std": float(distances.std()),
        "min": float(distances.min()),
        "median": float(np.median(distances)),
        "max": float(distances.max()),
    }


def _cophenetic(tree: FloatArray, condensed: FloatArray) -> float:
    heights = cophenet(tree)
    if np.ptp(heights) == 0.0 or np.ptp(condensed) == 0.0:
        return np.nan
    return float(np.corrcoef(heights, condensed)[0, 1])


def _same_partition(first: IntArray, second: IntArray) -> bool:
    pairs = np.unique(np.stack([first, second]), axis=1).shape[1]
    return pairs == len(np.unique(first)) == len(np.unique(second))


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParameterError(f"{name} must be one of {', '.join(known)}, got {value!r}")
