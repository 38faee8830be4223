"""Training the attention and the dense shrinkage network on windows of many universes.

A vintage is a bundle that has seen nothing after its date, as for the spectral network
(`eigenfolio.training.pretraining`): windows are drawn from a mixture of universes, the loss is that of
`eigenfolio.training.token_losses`, the epoch with the best validation loss on other windows of the same years is kept,
and simulated windows that nobody has seen calibrate the intervals (`eigenfolio.training.token_calibration`).
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from eigenfolio.artifacts import Bundle, CheckpointStore
from eigenfolio.learned.attention import attention_feature_names
from eigenfolio.learned.estimates import dense_feature_names
from eigenfolio.learned.tokens import CONTEXT_FEATURES, EIGEN_FEATURES, FAMILIES
from eigenfolio.models.networks.attention import AttentionOptions, AttentionShrinkageNetwork
from eigenfolio.models.networks.dense import DenseOptions, DenseShrinkageNetwork
from eigenfolio.models.networks.sizing import FEW_WINDOWS, sized_options
from eigenfolio.training.group import Group
from eigenfolio.training.loop import LoopOptions, Loss, fit
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.optimisers import Adam, ParameterRule
from eigenfolio.training.pretraining import UNDATED, SpectralTraining, TrainedVintage, default_sources
from eigenfolio.training.schedules import Cosine
from eigenfolio.training.token_calibration import calibrated
from eigenfolio.training.token_losses import ShrinkageLoss, attention_loss, dense_columns, dense_loss
from eigenfolio.training.token_windows import (
    TokenSamples,
    TokenScaler,
    describe_for_training,
    fit_token_scaler,
)

__all__ = [
    "AttentionTraining",
    "DenseTraining",
    "token_sources",
    "train_on_tokens",
]

FloatArray = NDArray[np.float64]

_EDGE = 1e-3


def token_sources() -> tuple[WindowSource, ...]:
    """An eighth of the spectral network's mixture without its largest universes, and universes of 4 to 12 stocks."""
    eighth = SpectralTraining(sources=default_sources()).scaled(0.125).sources
    kept = tuple(
        source.model_copy(update={"counts": {n: count for n, count in source.counts.items() if n <= 300}})
        for source in eighth
    )
    small = WindowSource(name="small", panels=("stocks", "delisted"), counts={4: 30, 8: 40, 12: 40})
    return (*kept, small)


class _TokenTraining(BaseModel):
    """What the training of both networks has in common.

    Parameters
    ----------
    n_members : int
        Networks trained side by side; the estimator averages their answers.
    validation_share : float
        Windows of each source drawn anew for validation, as a share of those that teach.
    sources, loss, loop : mapping
        Options of the parts.
    sized_for : int or None
        Universe size by whose square root the network is sized (`eigenfolio.models.networks.sizing`); None takes
        `network` as it is.
    n_calibration : int
        Simulated windows that calibrate and judge the intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network_name: ClassVar[Literal["attention", "dense"]]

    n_members: int = Field(default=1, ge=1)
    validation_share: float = Field(default=0.1, gt=0.0, le=1.0)
    sources: tuple[WindowSource, ...] = Field(default_factory=token_sources)
    loss: ShrinkageLoss = ShrinkageLoss()
    loop: LoopOptions = LoopOptions(
        max_epochs=5, patience=5, batch_size=32, learning_rate=2e-3, optimiser=Adam(), schedule=Cosine(), clip_norm=1.0
    )
    sized_for: int | None = Field(default=None, ge=1)
    n_calibration: int = Field(default=300, ge=40)

    @property
    def n_windows(self) -> int:
        """Windows that teach."""
        return sum(source.n_windows for source in self.sources)

    def scaled(self, share: float) -> Self:
        """The same mixture with a share of the windows, at least two of every size."""
        sources = SpectralTraining(sources=self.sources).scaled(share).sources
        return self.model_copy(update={"sources": sources})

    def simulated(self) -> Self:
        """The same number of windows from populations alone."""
        return self.model_copy(update={"sources": SpectralTraining(sources=self.sources).simulated().sources})

    def limited(self, n_windows: int) -> Self:
        """About so many windows; below 2,000 of them the network shrinks and is regularised more."""
        few = self.scaled(n_windows / self.n_windows)
        if n_windows >= FEW_WINDOWS or few.sized_for is not None:
            return few
        sizes = [n for source in self.sources for n, count in source.counts.items() for _ in range(count)]
        return few.model_copy(update={"sized_for": int(np.median(sizes))})

    @abstractmethod
    def shaped(self) -> AttentionOptions | DenseOptions:
        """Options of the network that is trained, sized where that was asked for."""


class AttentionTraining(_TokenTraining):
    """Everything that shapes the training of one vintage of the attention network.

    Parameters
    ----------
    network : mapping
        Shape and regularisation.
    n_members, validation_share, sources, loss, loop, sized_for, n_calibration
        Members, windows, loss, loop, size by sqrt(n), calibration; L2 comes from the network's options.

    Examples
    --------
    >>> AttentionTraining().limited(500).shaped().dropout
    0.5
    """

    network_name = "attention"
    network: AttentionOptions = AttentionOptions()

    def shaped(self) -> AttentionOptions:
        """Options of the network that is trained."""
        if self.sized_for is None:
            return self.network
        return sized_options("attention", self.sized_for, self.n_windows, base=self.network)


class DenseTraining(_TokenTraining):
    """Everything that shapes the training of one vintage of the dense network.

    Parameters
    ----------
    network : mapping
        Shape and regularisation.
    n_members, validation_share, sources, loss, loop, sized_for, n_calibration
        Members, windows, loss, loop, size by sqrt(n), calibration; L2 of the first layer comes from the network.

    Examples
    --------
    >>> DenseTraining().limited(500).shaped().hidden_sizes
    (40, 24)
    """

    network_name = "dense"
    n_members: int = Field(default=3, ge=1)
    network: DenseOptions = DenseOptions(
        inputs=("matrix", "market", "temporal"), regime_embedding=True, empirical_prior=True, uncertainty=True
    )

    def shaped(self) -> DenseOptions:
        """Options of the network that is trained."""
        if self.sized_for is None:
            return self.network
        return sized_options("dense", self.sized_for, self.n_windows, base=self.network)


def train_on_tokens(
    panels: Mapping[str, pd.DataFrame],
    through: pd.Timestamp | None,
    *,
    options: AttentionTraining | DenseTraining,
    seed: int,
    details: Mapping[str, Any] | None = None,
    store: CheckpointStore | None = None,
    n_jobs: int = 1,
    on_draw: Callable[[], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> TrainedVintage:
    """Train one vintage of the attention or the dense network.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Simple daily returns by the names that the sources use.
    through : Timestamp or None
        Last date that any window or horizon touches; None for populations alone.
    options : AttentionTraining or DenseTraining
    seed : int
        Windows, initial weights, batch order and dropout come from it.
    details : mapping, optional
        Kept in the bundle beside what is known here.
    store : CheckpointStore, optional
        Checkpoints after every epoch; a training that was cut off goes on from there to the same bits.
    n_jobs : int
        Workers that draw windows; the result does not depend on it.
    on_draw, on_epoch : callable, optional
        Called after every chunk of windows, and with the number of each finished epoch.

    Returns
    -------
    TrainedVintage
    """
    began = time.perf_counter()
    network = options.shaped()
    describe = describe_for_training(network.targets[0])
    draw = partial(draw_mixture, panels, through=through, describe=describe, n_jobs=n_jobs, on_done=on_draw)
    drawn = draw(options.sources, seed=seed)
    watched = draw(options.scaled(options.validation_share).sources, seed=seed + 1)
    samples, validation = (TokenSamples.of(windows, network.targets) for windows in (drawn, watched))
    drawing = time.perf_counter() - began
    scaler = fit_token_scaler(samples)
    rng = np.random.default_rng([seed, 0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            prior = _prior_logit(samples)
            networks = [_network(network, prior, rng) for _ in range(options.n_members)]
            _lean_on_truth(networks, samples)
            histories = fit(
                networks,
                samples,
                _loss(scaler, options.loss, network),
                validation=validation,
                options=options.loop.model_copy(update={"optimiser": Adam(weight_decay=network.l2)}),
                seed=int(rng.integers(2**62)),
                rules=_rules(network),
                project=_project,
                store=store,
                on_epoch=on_epoch,
            )
    finally:
        torch.set_num_threads(threads)
    dates = [window.date for window in drawn if window.date is not None]
    bundle = _bundle(networks, network, scaler, prior, UNDATED if through is None else through)
    told = {
        "seed": seed,
        "n_windows": {source.name: source.n_windows for source in options.sources},
        "first_date": min(dates).isoformat() if dates else None,
        "last_date": max(dates).isoformat() if dates else None,
        "losses": [[(r.train["total"], r.validation["total"]) for r in history.epochs] for history in histories],
        "training": options.model_dump(mode="json"),
        **(details or {}),
    }
    bundle = calibrated(bundle, told, seed=seed + 2, n_windows=options.n_calibration)
    return TrainedVintage(bundle, tuple(histories), drawing, time.perf_counter() - began - drawing)


def _network(
    options: AttentionOptions | DenseOptions, prior: float, rng: np.random.Generator
) -> AttentionShrinkageNetwork | DenseShrinkageNetwork:
    made: AttentionShrinkageNetwork | DenseShrinkageNetwork
    if isinstance(options, AttentionOptions):
        families = [len(names) for names in FAMILIES.values()]
        regime = list(FAMILIES).index("market")
        made = AttentionShrinkageNetwork(
            len(EIGEN_FEATURES), len(CONTEXT_FEATURES), families, regime_family=regime, options=options
        )
    else:
        made = DenseShrinkageNetwork.of(len(dense_columns(options)), options, prior_logit=prior)
    made.initialise(torch.Generator().manual_seed(int(rng.integers(2**62))))
    return made


def _lean_on_truth(networks: Sequence[nn.Module], samples: TokenSamples) -> None:
    """Let the head that predicts log condition numbers begin at their mean over the simulated windows."""
    known = torch.cat([group.log_condition[group.simulated] for group in samples.groups])
    for network in networks:
        if isinstance(network, AttentionShrinkageNetwork) and len(known):
            last = network.auxiliary_head[-1]
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.bias[0] = known.mean()


def _loss(
    scaler: TokenScaler, options: ShrinkageLoss, network: AttentionOptions | DenseOptions
) -> Callable[[Callable[..., Any], Any], Loss]:
    if isinstance(network, AttentionOptions):
        return attention_loss(scaler, options, targets=network.targets)
    return dense_loss(scaler, options, network=network)


def _rules(network: AttentionOptions | DenseOptions) -> list[ParameterRule]:
    """Gains move faster and do not decay; of the dense network only the first layer decays."""
    rules = [ParameterRule("^gains$", rate=network.gain_rate, decay=False)]
    if isinstance(network, DenseOptions):
        rules += [ParameterRule(r"^blocks\.0\.dense\.weight$"), ParameterRule("", decay=False)]
    return rules


def _project(group: Group) -> None:
    """Return the gains of target weights, volatility blend and blocks to [0, 1]."""
    group.view("gains")[:, 1:].clamp_(0.0, 1.0)


def _prior_logit(samples: TokenSamples) -> float:
    """Logit of the mean classical intensity."""
    mean = torch.cat([torch.sigmoid(group.classical_logit) for group in samples.groups]).mean()
    return float(torch.logit(mean, eps=_EDGE))


def _bundle(
    networks: Sequence[nn.Module],
    network: AttentionOptions | DenseOptions,
    scaler: TokenScaler,
    prior: float,
    through: pd.Timestamp,
) -> Bundle:
    states = [{name: tensor.cpu().numpy() for name, tensor in one.state_dict().items()} for one in networks]
    unread = ("dropout", "num_batches_tracked")
    tensors = {
        name: np.stack([state[name] for state in states])
        for name in states[0]
        if not any(part in name for part in unread)
    }
    if isinstance(network, AttentionOptions):
        for kind, key in (("eigen", "eigen"), ("context", "context"), ("features", "families")):
            tensors[f"{key}_center"], tensors[f"{key}_scale"] = (
                part[kind].numpy() for part in (scaler.center, scaler.scale)
            )
        options = network.model_dump(mode="json")
        return Bundle("shrinkage", "attention", options, attention_feature_names(), tensors, through)
    columns = dense_columns(network)
    tensors["feature_center"], tensors["feature_scale"] = (
        part["features"][columns].numpy() for part in (scaler.center, scaler.scale)
    )
    options = network.model_dump(mode="json") | ({"prior_logit": prior} if network.empirical_prior else {})
    return Bundle("shrinkage", "dense", options, dense_feature_names(network.inputs), tensors, through)
