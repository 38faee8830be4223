r"""How a graph-attention book moves with the returns that it was decided on: the whole decision once more, in torch.

    returns -> node features, shrunk correlation -> scores -> books within the constraints -> one number -> gradient

Every step is the twin in float64 of what inference computes (`eigenfolio.learned.node_features`,
`eigenfolio.models.LedoitWolf` toward the identity, the network, `eigenfolio.projection`); tests hold the book equal to
the one that `fit` decides and the gradient equal to differences of it. Which edges there are is a step function of the
returns, so the edges are held; their strengths move. A missing return has derivative 0, and so has whatever lies
beyond a bound: a cut feature, an asset at its cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError
from eigenfolio.models.networks.allocation import allocate, wished_weights
from eigenfolio.models.networks.gat import GraphAttention, message_edges

__all__ = ["BookGradient", "book_gradient"]

FloatArray = npt.NDArray[np.float64]

_NODE_ROWS = 252
_LARGEST = 3.0
_LEAST_SPREAD = 1e-8
_RECENT_ROWS = 21
_LEAST_VARIANCE = 1e-8  # of the median one: what lies below has a variance that no row backs


@dataclass(frozen=True)
class BookGradient:
    """A book and how it moves.

    Attributes
    ----------
    weights : ndarray of shape (n_assets,)
        The book, as computed here.
    gradient : ndarray of shape (n_observations, n_assets)
        Derivative of `coefficients @ weights` by each return.
    """

    weights: FloatArray
    gradient: FloatArray


def book_gradient(
    tensors: Mapping[str, npt.NDArray[Any]],
    sizes: Mapping[str, Any],
    returns: FloatArray,
    *,
    edge_index: npt.NDArray[np.int64],
    strengths: FloatArray | None,
    lookback: int | None = 252,
    assume_centered: bool = False,
    constraints: Constraints,
    previous: FloatArray | None = None,
    coefficients: FloatArray | None = None,
) -> BookGradient:
    """Differentiate a combination of the weights by the returns of the assets.

    Parameters
    ----------
    tensors, sizes
        Weights of the members and options of the network, as in `eigenfolio.models.networks.gat.score_assets`.
    returns : ndarray of shape (n_observations, n_assets)
        Simple returns of the active assets up to the decision, NaN where missing.
    edge_index : ndarray of int64, shape (2, n_edges)
        Each undirected edge once.
    strengths : ndarray of shape (n_edges, 3), optional
        Attributes of the edges where they do not come from the returns. Without them they are those of the correlation
        that Ledoit-Wolf shrinkage gives, and move with the returns.
    lookback : int, optional
        Rows of that shrinkage; all when None.
    assume_centered : bool
        Whether it takes mean returns as zero.
    constraints : Constraints
    previous : ndarray of shape (n_assets,), optional
        Held before.
    coefficients : ndarray of shape (n_assets,), optional
        Of the combination. By default half the sign of what each asset is held above 1 / n: the combination is then the
        distance to equal weights.

    Returns
    -------
    BookGradient

    Raises
    ------
    DataError
        If an asset has fewer than 21 returns in the rows of the shrinkage, or hardly varies: rules for such assets
        lead their variance, and what they say cannot be followed here.
    """
    seen = torch.from_numpy(np.isfinite(returns))
    leaf = torch.from_numpy(np.nan_to_num(returns)).requires_grad_(True)
    attributes = (
        _attributes(leaf, seen, edge_index, lookback=lookback, assume_centered=assume_centered)
        if strengths is None
        else torch.from_numpy(np.array(strengths, dtype=float))
    )
    weights = _book(tensors, sizes, _node_features(leaf, seen), edge_index, attributes, constraints, previous)
    found: FloatArray = weights.detach().numpy()
    asked = 0.5 * np.sign(np.where(np.abs(found - 1 / len(found)) > 1e-12, found - 1 / len(found), 0.0))
    along = torch.from_numpy(np.array(asked if coefficients is None else coefficients, dtype=float))
    (gradient,) = torch.autograd.grad(along @ weights, leaf, allow_unused=True)
    moved = np.zeros_like(returns) if gradient is None else gradient.numpy()
    return BookGradient(found.copy(), np.where(seen.numpy(), moved, 0.0))


def _book(
    tensors: Mapping[str, npt.NDArray[Any]],
    sizes: Mapping[str, Any],
    features: Tensor,
    edge_index: npt.NDArray[np.int64],
    attributes: Tensor,
    constraints: Constraints,
    previous: FloatArray | None,
) -> Tensor:
    """Mean of the members' books; where a number of positions is limited, the closest book to it."""
    n_assets = len(features)
    both, _ = message_edges(n_assets, edge_index, attributes.detach().numpy())
    index = torch.from_numpy(np.array(both, dtype=np.int64))
    edges = torch.cat([attributes, attributes, torch.ones(n_assets, 3, dtype=torch.float64)])
    present = torch.ones(n_assets, dtype=torch.bool)
    held = None if previous is None else torch.from_numpy(np.array(previous, dtype=float))
    books = []
    for member in range(len(next(iter(tensors.values())))):
        network = GraphAttention(**sizes).eval().requires_grad_(False)
        network.load_state_dict({name: torch.from_numpy(np.array(values[member])) for name, values in tensors.items()})
        scores = network.double()(features, index, edges)
        books.append(allocate(wished_weights(scores, present), present, constraints, held))
    mean = torch.stack(books).mean(dim=0)
    return mean if constraints.max_positions is None else allocate(mean, present, constraints)


# ---------------------------------------------------------------------------- edges


def _attributes(
    returns: Tensor, seen: Tensor, edge_index: npt.NDArray[np.int64], *, lookback: int | None, assume_centered: bool
) -> Tensor:
    """Correlation, its absolute value and its sign along the edges, (n_edges, 3)."""
    source, target = torch.from_numpy(np.array(edge_index, dtype=np.int64))
    rows = slice(None if lookback is None else -lookback, None)
    rho = _shrunk_correlation(returns[rows], seen[rows], assume_centered=assume_centered)[source, target]
    return torch.stack([rho, rho.abs(), rho.detach().sign()], dim=1)


def _shrunk_correlation(returns: Tensor, seen: Tensor, *, assume_centered: bool) -> Tensor:
    """Ledoit-Wolf shrinkage toward the mean variance times the identity, as a correlation."""
    n_rows, n_assets = returns.shape
    counts = seen.sum(dim=0)
    location = torch.zeros(n_assets, dtype=returns.dtype) if assume_centered else returns.sum(dim=0) / counts
    deviations = torch.where(seen, returns - location, 0.0)
    variance = (deviations**2).sum(dim=0) / counts
    short = bool((counts < min(_RECENT_ROWS, n_rows)).any())
    if short or bool((variance <= 2 * _LEAST_VARIANCE * variance.median()).any()):
        raise DataError(
            "no derivative: an asset has fewer than 21 returns in the rows of the graph, or hardly varies; leave it "
            "out, or end the rows where it has a history"
        )
    columns = deviations * (n_rows / counts).sqrt()
    sample = columns.T @ columns / n_rows
    size, trace = (sample**2).sum(), sample.trace()
    kappa = ((columns**2).sum(dim=1) ** 2).sum() / n_rows - size
    gamma = size - trace**2 / n_assets
    delta = (
        (kappa / gamma / n_rows).clamp(0.0, 1.0) if float(gamma.detach()) > 0.0 and n_assets > 1 else torch.zeros(())
    )
    shrunk = (1.0 - delta) * sample + delta * trace / n_assets * torch.eye(n_assets, dtype=sample.dtype)
    root = shrunk.diagonal().sqrt()
    return (shrunk / root[:, None] / root).clamp(-1.0, 1.0)


# ---------------------------------------------------------------------------- nodes


def _node_features(returns: Tensor, seen: Tensor) -> Tensor:
    """The ten numbers of every asset, (n_assets, 10)."""
    window, there = returns[-_NODE_ROWS:], seen[-_NODE_ROWS:]
    squares = window**2
    volatility = _rooted(squares.sum(dim=0) / there.sum(dim=0).clamp(min=1))
    late = _rooted(squares[-21:].sum(dim=0) / there[-21:].sum(dim=0).clamp(min=1))
    columns = [
        *(_scaled_sum(window[-rows:], volatility) for rows in (1, 5, 21, 63)),
        _scaled_sum(window[:-21], volatility),
        (late / volatility).log(),
        volatility.log(),
        _downside(window[-63:]),
        _drawdown(window) / (volatility * _NODE_ROWS**0.5),
        _beta(window),
    ]
    return _relative(torch.stack(columns, dim=1))


def _rooted(variance: Tensor) -> Tensor:
    """Volatility, never below a thousandth of the median one."""
    alive = variance[variance > 0.0]
    typical = alive.quantile(0.5) if len(alive) else torch.ones((), dtype=variance.dtype)
    return torch.maximum(variance, 1e-6 * typical).sqrt()


def _scaled_sum(rows: Tensor, volatility: Tensor) -> Tensor:
    return rows.sum(dim=0) / (volatility * max(len(rows), 1) ** 0.5)


def _downside(rows: Tensor) -> Tensor:
    total = (rows**2).sum(dim=0)
    share = (rows.clamp(max=0.0) ** 2).sum(dim=0) / torch.where(total > 0.0, total, 1.0)
    return torch.where(total > 0.0, share, 0.5)


def _drawdown(rows: Tensor) -> Tensor:
    level = torch.cat([torch.zeros_like(rows[:1]), rows.cumsum(dim=0)])
    return level[-1] - level.max(dim=0).values


def _beta(rows: Tensor) -> Tensor:
    market = rows.mean(dim=1)
    market = market - market.mean()
    size = market @ market
    return (market @ rows) / size if float(size.detach()) > 0.0 else torch.zeros_like(rows[0])


def _relative(values: Tensor) -> Tensor:
    """Less the mean of the assets, over their standard deviation, cut; 0 where all are the same."""
    centred = values - values.mean(dim=0)
    power = (centred**2).mean(dim=0)
    flat = power.detach().sqrt() <= _LEAST_SPREAD * values.detach().abs().max(dim=0).values
    spread = torch.where(flat, 1.0, power).sqrt()
    return torch.where(flat, 0.0, centred / spread).clamp(-_LARGEST, _LARGEST)
