r"""A graph-attention network that scores the assets of a graph: GATv2 layers with edge attributes, then a read-out.

Each layer attends from every node to the sources of its edges, with a score that depends on both ends and on the edge
[1]_; :math:`\Theta_s, \Theta_t, \Theta_e` and :math:`a` are learned, per head,

.. math::
    e_{ij} = a' \operatorname{LeakyReLU}(\Theta_s h_j + \Theta_t h_i + \Theta_e x_{ij}), \qquad
    h_i' = \sum_j \operatorname{softmax}_j(e_{ij}) \, \Theta_s h_j

The heads are concatenated, projected to the width of the layer, added to the layer's input, normalised by LayerNorm and
bent by ELU. The shortcut has no parameters: a narrower input is filled up with zeros, of a wider one neighbouring
columns are averaged; without it nodes of a dense graph, which see nearly the same neighbours, could not be told apart.
The read-out is dense - BatchNorm - ELU - dense - ELU - dense, one score per node. Its last layer starts at zero, so
that an untrained network says the same of every asset.

With 10 features, 3 edge attributes, 8 heads and widths 64, 64 and 32 there are exactly 198,177 parameters: 191,712 in
the layers and 6,465 in the read-out.

Edges are directed, source then target; a graph of assets is made so by `message_edges`, which adds the reverse of
each edge and an edge from each asset to itself (correlation 1).

References
----------
.. [1] S. Brody, U. Alon and E. Yahav (2022). How attentive are graph attention networks? ICLR.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from eigenfolio.errors import ArtifactError, ParameterError

with warnings.catch_warnings():  # it compiles parts of itself on import by what torch calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.nn import GATv2Conv

__all__ = ["GraphAttention", "message_edges", "score_assets"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class GraphAttention(nn.Module):
    """Scores of the nodes of a graph, or of many graphs side by side.

    Parameters
    ----------
    n_features : int
        Features of a node.
    n_edge_attributes : int
        Attributes of an edge.
    widths : sequence of int
        Output width of each attention layer.
    n_heads : int
        Heads of each layer, each as wide as the layer.
    readout : int
        Width of the two hidden layers of the read-out.
    dropout : float in [0, 1)
        Of attention coefficients and of the read-out, in training.

    Raises
    ------
    ParameterError
        If a size is below 1 or `dropout` leaves [0, 1).

    Examples
    --------
    >>> network = GraphAttention()
    >>> sum(parameter.numel() for parameter in network.parameters())
    198177
    """

    edges_at_once = 10_000
    """Directed edges whose attention is held in memory together."""

    def __init__(
        self,
        n_features: int = 10,
        *,
        n_edge_attributes: int = 3,
        widths: Sequence[int] = (64, 64, 32),
        n_heads: int = 8,
        readout: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not widths or min(n_features, n_edge_attributes, n_heads, readout, *widths) < 1:
            raise ParameterError(
                "a graph-attention network needs at least one layer, and sizes of at least 1; got "
                f"n_features={n_features}, n_edge_attributes={n_edge_attributes}, widths={tuple(widths)}, "
                f"n_heads={n_heads}, readout={readout}"
            )
        if not 0.0 <= dropout < 1.0:
            raise ParameterError(f"dropout must be in [0, 1), got {dropout!r}")
        sizes = [n_features, *widths]
        self.layers = nn.ModuleList(
            _AttentionLayer(before, after, n_edge_attributes, n_heads, dropout) for before, after in pairwise(sizes)
        )
        self.readout = nn.ModuleList(
            [nn.Linear(sizes[-1], readout), nn.BatchNorm1d(readout), nn.Linear(readout, readout), nn.Linear(readout, 1)]
        )
        self.dropout = dropout
        last = cast(nn.Linear, self.readout[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, features: Tensor, edge_index: Tensor, edge_attributes: Tensor, sizes: Tensor | None = None
    ) -> Tensor:
        """Score every node.

        Parameters
        ----------
        features : Tensor of shape (n_nodes, n_features)
        edge_index : Tensor of int64, shape (2, n_edges)
            Source, then target.
        edge_attributes : Tensor of shape (n_edges, n_edge_attributes)
        sizes : Tensor of int64, shape (n_graphs, 2), optional
            Nodes and edges of each of several graphs that lie side by side. Layers then take a few graphs at a time,
            of no more than `edges_at_once` edges together, and forget what lies between until the gradient asks for it:
            the memory is that of a few graphs, however many there are. Scores are the same up to rounding.

        Returns
        -------
        Tensor of shape (n_nodes,)
        """
        if sizes is None or len(edge_attributes) <= self.edges_at_once:
            x = self._attend(features, edge_index, edge_attributes)
        else:
            x = torch.cat(
                [self._remembered(*part) for part in self._parts(features, edge_index, edge_attributes, sizes)]
            )
        first, norm, second, last = self.readout
        x = F.dropout(F.elu(norm(first(x))), self.dropout, self.training)
        scores: Tensor = last(F.elu(second(x))).squeeze(-1)
        return scores

    def _attend(self, x: Tensor, edge_index: Tensor, edge_attributes: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, edge_index, edge_attributes)
        return x

    def _remembered(self, *inputs: Tensor) -> Tensor:
        """The same, computed again for the gradient instead of kept."""
        if not torch.is_grad_enabled():
            return self._attend(*inputs)
        answer: Tensor = checkpoint(self._attend, *inputs, use_reentrant=False)
        return answer

    def _parts(
        self, features: Tensor, edge_index: Tensor, edge_attributes: Tensor, sizes: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Runs of whole graphs with at most `edges_at_once` edges (or one graph), with their own node numbers."""
        node, edge, at_node, at_edge = 0, 0, 0, 0
        for n_nodes, n_edges in [*sizes.tolist(), (0, self.edges_at_once + 1)]:
            if at_edge + n_edges - edge > self.edges_at_once and at_edge > edge:
                span = slice(edge, at_edge)
                yield features[node:at_node], edge_index[:, span] - node, edge_attributes[span]
                node, edge = at_node, at_edge
            at_node, at_edge = at_node + n_nodes, at_edge + n_edges


class _AttentionLayer(nn.Module):
    """Attention, projection, shortcut, norm."""

    def __init__(self, before: int, after: int, n_edge_attributes: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = GATv2Conv(
            before, after, heads=n_heads, edge_dim=n_edge_attributes, dropout=dropout, add_self_loops=False
        )
        self.projection = nn.Linear(n_heads * after, after)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attributes: Tensor) -> Tensor:
        heads = self.attention(x, edge_index, edge_attributes)  # (n_nodes, n_heads * after)
        mixed = self.projection(F.elu(heads))
        missing = mixed.shape[1] - x.shape[1]
        own = F.pad(x, (0, missing)) if missing >= 0 else F.adaptive_avg_pool1d(x[None], mixed.shape[1])[0]
        return F.elu(self.norm(mixed + own))


def message_edges(n_assets: int, edge_index: IntArray, edge_attributes: FloatArray) -> tuple[IntArray, FloatArray]:
    """Directed edges of an undirected graph: each one both ways, and each asset to itself.

    Parameters
    ----------
    n_assets : int
    edge_index : ndarray of int64, shape (2, n_edges)
        Each undirected edge once.
    edge_attributes : ndarray of shape (n_edges, 3)
        Correlation, its absolute value and its sign.

    Returns
    -------
    edge_index : ndarray of int64, shape (2, 2 * n_edges + n_assets)
    edge_attributes : ndarray of shape (2 * n_edges + n_assets, 3)

    Examples
    --------
    >>> message_edges(2, np.array([[0], [1]]), np.array([[-0.5, 0.5, -1.0]]))[0]
    array([[0, 1, 0, 1],
           [1, 0, 0, 1]])
    """
    own = np.tile(np.arange(n_assets), (2, 1))
    index = np.concatenate([edge_index, edge_index[::-1], own], axis=1)
    return index, np.concatenate([edge_attributes, edge_attributes, np.ones((n_assets, 3))])


def score_assets(
    tensors: Mapping[str, npt.NDArray[Any]],
    sizes: Mapping[str, Any],
    features: FloatArray,
    edge_index: IntArray,
    edge_attributes: FloatArray,
) -> FloatArray:
    """Scores of one graph from stored weights, in evaluation mode.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Parameters and buffers, each with a leading axis of members.
    sizes : mapping
        Constructor options of `GraphAttention`.
    features : ndarray of shape (n_assets, n_features)
    edge_index, edge_attributes
        Undirected, see `message_edges`.

    Returns
    -------
    ndarray of shape (n_members, n_assets)

    Raises
    ------
    ArtifactError
        If the weights are not those of a network of these sizes.
    """
    index, attributes = message_edges(len(features), edge_index, edge_attributes)
    inputs = (
        torch.from_numpy(np.asarray(features, dtype=np.float32)),
        torch.from_numpy(np.array(index, dtype=np.int64)),
        torch.from_numpy(np.asarray(attributes, dtype=np.float32)),
    )
    network = GraphAttention(**sizes).eval()
    n_members = len(next(iter(tensors.values())))
    scores = []
    for member in range(n_members):
        state = {name: torch.from_numpy(np.array(tensor[member])) for name, tensor in tensors.items()}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ArtifactError(f"these are not the weights of a graph-attention network of sizes {sizes}") from error
        scores.append(_scored(network, inputs))
    return np.stack(scores)


def _scored(network: GraphAttention, inputs: tuple[Tensor, Tensor, Tensor]) -> FloatArray:
    """Scores on one thread, so that they are the same bits wherever they are asked for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            scores: FloatArray = network(*inputs).double().numpy()
        return scores
    finally:
        torch.set_num_threads(threads)
