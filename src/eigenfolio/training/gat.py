"""Training of a graph-attention portfolio on the path it would have earned.

    blocks of periods -> one graph -> scores -> weights within the constraints -> daily path net of costs -> loss

The loop is that of every network (`eigenfolio.training.loop`), one network at a time: graphs are ragged, so members
cannot share a stacked call; several seeds are several calls. Validation blocks stop it, and the untrained network,
which is equal weights, competes as epoch 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import Constraints
from eigenfolio.errors import ParameterError
from eigenfolio.learned.graph_attention import FAMILY
from eigenfolio.learned.node_features import NODE_FEATURES
from eigenfolio.models.networks.allocation import allocate, wished_weights
from eigenfolio.models.networks.gat import GraphAttention
from eigenfolio.training.graph_batches import GraphBatch, GraphBlocks, Period
from eigenfolio.training.loop import History, LoopOptions, Loss, fit
from eigenfolio.training.portfolio_losses import PORTFOLIO_LOSSES, PortfolioLoss, drifted_weights, net_path
from eigenfolio.training.schedules import Cosine

if TYPE_CHECKING:
    import pandas as pd

    from eigenfolio.artifacts import CheckpointStore

__all__ = ["COLLAPSE", "GatTraining", "TrainedGat", "gat_bundle", "path_loss", "train_gat"]

COLLAPSE = 0.01
"""Mean distance to equal weights (half the sum of absolute differences) below which a network has said nothing."""


_LOOP = LoopOptions(max_epochs=100, patience=15, batch_size=4, learning_rate=2e-3, schedule=Cosine())


class GatTraining(BaseModel):
    """Options of the network and of its training.

    Parameters
    ----------
    widths : tuple of int
        Output width of each attention layer.
    n_heads : int
        Heads of each layer.
    readout : int
        Width of the read-out.
    dropout : float in [0, 1)
    loss : {"sharpe", "minimum_variance", "mean_variance", "drawdown"}
        On the daily path, see `eigenfolio.training.portfolio_losses`.
    cost_bps : float
        Per unit traded, in basis points, inside the loss.
    max_weight : float in (0, 1]
        Cap of each asset.
    max_turnover : float in (0, 1], optional
        Largest half sum of trades at one rebalance, met inside the network.
    max_positions : int, optional
        Largest number of assets held, met inside the network; not together with `max_turnover`.
    block : int
        Consecutive periods whose path is one sample.
    stride : int
        Periods between the starts of two samples.
    loop : LoopOptions
        The rate falls from its peak along half a cosine: one that first rose over more epochs than `patience` would
        stop before it got there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(64, 64, 32), min_length=1)
    n_heads: int = Field(default=8, ge=1)
    readout: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    loss: PortfolioLoss = "sharpe"
    cost_bps: float = Field(default=10.0, ge=0.0)
    max_weight: float = Field(default=1.0, gt=0.0, le=1.0)
    max_turnover: float | None = Field(default=None, gt=0.0, le=1.0)
    max_positions: int | None = Field(default=None, ge=1)
    block: int = Field(default=12, ge=1)
    stride: int = Field(default=3, ge=1)
    loop: LoopOptions = _LOOP

    @field_validator("loop", mode="before")
    @classmethod
    def _over_its_defaults(cls, loop: Any) -> Any:
        """Keys that are given stand over the defaults of this training, not over those of the loop."""
        return {**dict(_LOOP), **loop} if isinstance(loop, dict) else loop

    @property
    def constraints(self) -> Constraints:
        """What every book must meet."""
        return Constraints(max_weight=self.max_weight, max_turnover=self.max_turnover, max_positions=self.max_positions)

    @property
    def sizes(self) -> dict[str, Any]:
        """Constructor options of the network, JSON-able."""
        return {
            "n_features": len(NODE_FEATURES),
            "widths": list(self.widths),
            "n_heads": self.n_heads,
            "readout": self.readout,
            "dropout": self.dropout,
        }


@dataclass(frozen=True)
class TrainedGat:
    """A trained network and how it went.

    Parameters
    ----------
    network : GraphAttention
        With the weights of its best validation epoch.
    history : History
        With an alarm where its books are equal weights.
    distance_to_equal : float
        Mean over validation books of half the sum of absolute differences to equal weights.
    seconds : float
    """

    network: GraphAttention
    history: History
    distance_to_equal: float
    seconds: float


def path_loss(options: GatTraining) -> Callable[[Callable[..., Any], GraphBatch], Loss]:
    """The loss that `eigenfolio.training.fit` takes, with the Sharpe ratio per row and the turnover as parts.

    Parameters
    ----------
    options : GatTraining
    """
    chosen, constraints = PORTFOLIO_LOSSES[options.loss], options.constraints

    def loss(call: Callable[..., Any], batch: GraphBatch) -> Loss:
        scores = call(batch.features, batch.edge_index, batch.edge_attributes, batch.sizes)  # (n_members, n_nodes)
        weights = _block_weights(batch, scores, constraints)  # (n_members, n_samples, n_periods, n_columns)
        growth, held = batch.growth[batch.blocks], batch.held[batch.blocks]
        returns, turnover = net_path(weights, growth, held, cost_bps=options.cost_bps)
        total = chosen(returns, held.expand(returns.shape))
        parts = {"sharpe": -PORTFOLIO_LOSSES["sharpe"](returns, held.expand(returns.shape))}
        if turnover.shape[-1]:
            parts["turnover"] = turnover.mean(dim=-1)
        return Loss(total, {name: part.detach() for name, part in parts.items()})

    return loss


def _block_weights(batch: GraphBatch, scores: Tensor, constraints: Constraints) -> Tensor:
    """Weights of every period of every block."""
    wished = wished_weights(batch.spread(scores), batch.present)  # (n_members, n_graphs, n_columns)
    if constraints.max_turnover is None:
        return allocate(wished, batch.present.expand(wished.shape), constraints)[:, batch.blocks]
    books: list[Tensor] = []
    previous: Tensor | None = None
    for graphs in batch.blocks.T:  # one period of all blocks after the other: each trades from what it holds
        present = batch.present[graphs].expand(wished[:, graphs].shape)
        books.append(allocate(wished[:, graphs], present, constraints, previous))
        previous = drifted_weights(books[-1], batch.growth[graphs])
    return torch.stack(books, dim=2)


def train_gat(
    training: Sequence[Period],
    validation: Sequence[Period],
    *,
    options: GatTraining,
    seed: int,
    store: CheckpointStore | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> TrainedGat:
    """Train one network on consecutive periods.

    Parameters
    ----------
    training, validation : sequence of Period
        In the order of time; validation begins after the last row of training.
    options : GatTraining
    seed : int
        Initial weights, order of the samples and dropout come from it.
    store : CheckpointStore, optional
        Where a run that was stopped goes on from.
    on_epoch : callable, optional
        Called with the number of each finished epoch.

    Returns
    -------
    TrainedGat

    Raises
    ------
    ParameterError
        If a row of training lies after the first decision of validation.
    TrainingError
        If a loss or gradient is not finite.
    """
    if training and validation and training[-1].last > validation[0].date:
        raise ParameterError(
            f"training holds until {training[-1].last:%Y-%m-%d}, after the first decision of validation "
            f"({validation[0].date:%Y-%m-%d}); cut its last period"
        )
    taught = GraphBlocks(training, n_periods=options.block, stride=options.stride)
    stopping = GraphBlocks(validation, n_periods=options.block, stride=options.stride)
    began = time.perf_counter()
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same bits for any number of workers
    try:
        torch.manual_seed(seed)
        network = GraphAttention(**options.sizes)
        [history] = fit(
            [network],
            taught,
            path_loss(options),
            validation=stopping,
            options=options.loop,
            seed=seed,
            store=store,
            on_epoch=on_epoch,
        )
        distance = _distance_to_equal(network, stopping, options.constraints)
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
    if distance < COLLAPSE:
        told = f"equal weights: the books are {distance:.2g} from 1/n on average, so the network says nothing"
        history = replace(history, alarms=(*history.alarms, told))
    return TrainedGat(network, history, distance, time.perf_counter() - began)


def _distance_to_equal(network: GraphAttention, samples: GraphBlocks, constraints: Constraints) -> float:
    batch = samples.take(torch.arange(len(samples)))
    with torch.no_grad():
        scores = network.eval()(batch.features, batch.edge_index, batch.edge_attributes, batch.sizes)
        unlimited = Constraints(max_weight=constraints.max_weight, max_positions=constraints.max_positions)
        weights = allocate(wished_weights(batch.spread(scores), batch.present), batch.present, unlimited)
    equal = batch.present / batch.present.sum(dim=-1, keepdim=True)
    return 0.5 * float((weights - equal).abs().sum(dim=-1).mean())


def gat_bundle(
    members: Sequence[TrainedGat],
    *,
    graph: str,
    options: GatTraining,
    trained_through: pd.Timestamp,
    covariance: str = "LedoitWolf",
    details: dict[str, Any] | None = None,
) -> Bundle:
    """Networks of one graph method, one per seed, as a bundle.

    Parameters
    ----------
    members : sequence of TrainedGat
    graph : str
        A graph method, or "given".
    options : GatTraining
    trained_through : Timestamp
        Last row that training or validation has seen.
    covariance : str
        Class of the covariance estimator that the graphs were made of; by default that of `GraphAttentionPortfolio`.
    details : dict, optional
        Anything else worth keeping, JSON-able.

    Returns
    -------
    Bundle
        Of family "gat", named for the graph.
    """
    states = [member.network.state_dict() for member in members]
    tensors = {name: np.stack([state[name].numpy() for state in states]) for name in states[0]}
    limits = {
        name: getattr(options, name)
        for name in ("max_weight", "max_turnover", "max_positions")
        if getattr(options, name) is not None
    }
    return Bundle(
        family=FAMILY,
        network=graph,
        options={"graph": graph, "covariance": covariance, "sizes": options.sizes, "constraints": limits},
        feature_names=NODE_FEATURES,
        tensors=tensors,
        trained_through=trained_through,
        details={"training": options.model_dump(mode="json"), **(details or {})},
    )
