"""Training the spectral networks that ship with the package.

A vintage is a bundle that has seen nothing after its date. Its windows come from a mixture of universes
(`eigenfolio.training.mixture`); the epochs are few and fixed, and the validation windows, other draws from the same
years, only watch. The defaults are the choice made on 2013-2016 with networks trained to 2012.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eigenfolio.artifacts import Bundle, CheckpointStore
from eigenfolio.learned.spectral import feature_names
from eigenfolio.training.aggregation import AggregationOptions, check_ensemble, fit_aggregation
from eigenfolio.training.domain_adaptation import DomainAdaptation, adapted_loss
from eigenfolio.training.drawn_samples import drawn_samples, without_spectra
from eigenfolio.training.ensemble import Diversity, fit_members, member_weights, restrict_spectra
from eigenfolio.training.heads import add_heads
from eigenfolio.training.initial_weights import SYNTHETIC, bundle_scaler, initial_bundle, take_weights
from eigenfolio.training.loop import History, LoopOptions
from eigenfolio.training.member_networks import member_networks, stored_members, stored_shapes
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.optimisers import AdamW
from eigenfolio.training.schedules import OneCycle
from eigenfolio.training.size import fit_size
from eigenfolio.training.spectral import SpectralLoss, fit_scaler, spectral_loss
from eigenfolio.training.transfer import arranged, check_transfer, labelled, with_heads

__all__ = [
    "SpectralOptions",
    "SpectralTraining",
    "TrainedVintage",
    "default_sources",
    "initial_digest",
    "train_spectral",
]

UNDATED = pd.Timestamp("1900-01-01")
"""What `trained_through` says of weights that have seen simulated markets alone."""


class SpectralOptions(BaseModel):
    """Shape of the spectral network.

    Parameters
    ----------
    n_units : int
        Hidden width, even.
    dropout : float
        After the first layer of each net.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_units: int = Field(default=16, ge=4, le=128, multiple_of=2)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)


def default_sources() -> tuple[WindowSource, ...]:
    """The mixture of the shipped weights: stocks above all, then funds, portfolios, weeks and populations."""
    stocks = ("stocks", "delisted")
    return (
        WindowSource(name="stocks", panels=stocks, counts={20: 800, 40: 960, 60: 960, 100: 1280, 150: 640, 200: 540}),
        WindowSource(name="large", panels=stocks, counts={300: 240, 400: 120}, min_lookback=120),
        WindowSource(name="late", panels=stocks, counts={20: 120, 60: 160, 100: 160, 200: 40}, change="late"),
        WindowSource(name="copies", panels=stocks, counts={20: 60, 60: 80, 100: 80, 200: 40}, change="copies"),
        WindowSource(name="foreign", panels=stocks, counts={20: 40, 60: 40, 100: 40}, change="foreign"),
        WindowSource(name="funds", panels=("funds",), counts={20: 450, 40: 450, 60: 350, 100: 200}, max_lookback=504),
        WindowSource(name="core", panels=("core",), counts={15: 250, 25: 250}, max_lookback=504),
        WindowSource(
            name="portfolios", panels=stocks, counts={20: 80, 40: 80, 100: 60}, max_lookback=504, change="portfolios"
        ),
        WindowSource(
            name="weeks",
            panels=stocks,
            counts={20: 60, 60: 60, 100: 40},
            max_lookback=260,
            horizon=8,
            frequency="weekly",
        ),
        WindowSource(name="populations", counts={20: 150, 60: 250, 100: 300, 200: 200}, change="population"),
    )


class SpectralTraining(BaseModel):
    """Everything that shapes the training of one vintage.

    Parameters
    ----------
    n_members : int
        Networks trained side by side; the estimator averages their answers.
    validation_share : float
        Windows of each source drawn anew for validation, as a share of those that teach.
    sources, network, loss, loop : mapping
        Options of the parts.
    initial : str or None
        What the networks start from instead of their closed form: "synthetic", the shipped weights that have seen
        simulated markets alone, or the folder of a bundle that has seen nothing after this training's last date.
    curriculum : float in [0, 1]
        How strongly every epoch begins with small universes (`eigenfolio.training.curriculum`); 0 leaves the order.
    adaptation : mapping or None
        Alignment of two domains of windows (`eigenfolio.training.domain_adaptation`).
    diversity : mapping
        How the networks differ beside their seeds (`eigenfolio.training.ensemble`).
    aggregation : mapping
        How their answers become one (`eigenfolio.training.aggregation`).
    heads_share : float
        Windows of each source drawn anew for the heads (`eigenfolio.training.heads`), as a share of those that teach; 0
        leaves the heads out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_members: int = Field(default=3, ge=1)
    validation_share: float = Field(default=0.05, gt=0.0, le=1.0)
    sources: tuple[WindowSource, ...] = Field(default_factory=default_sources)
    network: SpectralOptions = SpectralOptions()
    loss: SpectralLoss = SpectralLoss()
    loop: LoopOptions = LoopOptions(
        max_epochs=3,
        patience=3,
        batch_size=32,
        learning_rate=3e-3,
        optimiser=AdamW(weight_decay=0.01),
        schedule=OneCycle(),
        clip_norm=1.0,
    )
    initial: str | None = None
    curriculum: float = Field(default=0.0, ge=0.0, le=1.0)
    adaptation: DomainAdaptation | None = None
    diversity: Diversity = Diversity()
    aggregation: AggregationOptions = AggregationOptions()
    heads_share: float = Field(default=0.15, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _fits(self) -> SpectralTraining:
        check_transfer(self.sources, self.loss, self.adaptation)
        started, adapted = self.initial is not None, self.adaptation is not None
        check_ensemble(self.diversity, self.aggregation, n_members=self.n_members, started=started, adapted=adapted)
        return self

    def scaled(self, share: float) -> SpectralTraining:
        """The same mixture with a share of the windows, at least two of every size."""
        sources = tuple(
            source.model_copy(update={"counts": {n: max(2, round(share * c)) for n, c in source.counts.items()}})
            for source in self.sources
        )
        return self.model_copy(update={"sources": sources})

    def alike(self) -> SpectralTraining:
        """The same with members that learn from all windows and are plainly averaged, for draws of a few windows."""
        return self.model_copy(update={"diversity": self.diversity.shaping, "aggregation": AggregationOptions()})

    def simulated(self) -> SpectralTraining:
        """The same number of windows from populations alone, not adapted, and not begun from what this would make."""
        counts: dict[int, int] = {}
        for source in self.sources:
            for n_assets, count in source.counts.items():
                if n_assets <= 200:
                    counts[n_assets] = counts.get(n_assets, 0) + count
        pairs = max(source.pairs for source in self.sources)
        populations = WindowSource(name="populations", counts=counts, change="population", pairs=pairs)
        initial = None if self.initial == SYNTHETIC else self.initial
        diversity = self.diversity.simulated()
        aggregation = self.aggregation.simulated(diversity, n_members=self.n_members)
        changed = {"sources": (populations,), "initial": initial, "adaptation": None}
        return self.model_copy(update={**changed, "diversity": diversity, "aggregation": aggregation})


@dataclass(frozen=True)
class TrainedVintage:
    """A bundle, how the training of each member went, and the seconds of drawing and training."""

    bundle: Bundle
    histories: tuple[History, ...]
    drawing_seconds: float
    training_seconds: float


def train_spectral(
    panels: Mapping[str, pd.DataFrame],
    through: pd.Timestamp | None,
    *,
    options: SpectralTraining,
    seed: int,
    details: Mapping[str, Any] | None = None,
    store: CheckpointStore | None = None,
    n_jobs: int = 1,
    on_draw: Callable[[], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> TrainedVintage:
    """Train one vintage.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Simple daily returns by the names that the sources use.
    through : Timestamp or None
        Last date that any window or horizon touches; None for populations alone.
    options : SpectralTraining
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

    Raises
    ------
    ArtifactError, LookaheadError, ParameterError
        If `options.initial` is no bundle that this training may start from.
    """
    began = time.perf_counter()
    start, adaptation = _start(options, through), options.adaptation
    drawn = draw_mixture(panels, options.sources, through=through, seed=seed, n_jobs=n_jobs, on_done=on_draw)
    watching = options.scaled(options.validation_share).sources
    watched = draw_mixture(panels, watching, through=through, seed=seed + 1, n_jobs=n_jobs, on_done=on_draw)
    domains = None if adaptation is None else adaptation.domains()
    samples, validation = (drawn_samples(windows, domains=domains) for windows in (drawn, watched))
    drawn, watched = without_spectra(drawn), without_spectra(watched)
    drawing = time.perf_counter() - began
    shapes = options.diversity.shapes(options.n_members, options.network.n_units)
    if start is not None:
        stored = stored_shapes(start)
        shapes = [stored[member % len(stored)] for member in range(options.n_members)]
    scaler = fit_scaler(samples) if start is None else bundle_scaler(start)
    rng = np.random.default_rng([seed, 0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            networks = member_networks(shapes, dropout=options.network.dropout)
            for member, network in enumerate(networks):
                network.initialise(torch.Generator().manual_seed(int(rng.integers(2**62))))
                if start is not None:
                    take_weights(network, start, member)
            restrict_spectra(networks, options.diversity)
            adapt = adapted_loss(adaptation) if adaptation is not None and adaptation.active else None
            histories = fit_members(
                with_heads(networks, options.loss, adaptation, rng=np.random.default_rng([seed, 1])),
                arranged(samples, adaptation=adaptation, curriculum=options.curriculum),
                spectral_loss(scaler, options.loss, adapt=adapt),
                validation=arranged(validation, adaptation=adaptation, curriculum=0.0),
                options=options.loop,
                seed=int(rng.integers(2**62)),
                shapes=shapes,
                weights=member_weights(drawn, watched, diversity=options.diversity, n_members=options.n_members),
                store=store,
                on_epoch=on_epoch,
            )
            joined = fit_aggregation(
                networks,
                scaler,
                samples=labelled(validation, adaptation),
                drawn=drawn,
                watched=[window for window in watched if adaptation is None or adaptation.has_labels(window.source)],
                options=options.aggregation,
                diversity=options.diversity,
            )
            size = fit_size(networks, scaler, samples=labelled(samples, adaptation), rule=joined.rule)
    finally:
        torch.set_num_threads(threads)
    tensors, shape_options = stored_members(networks, shapes)
    dates = [window.date for window in drawn if window.date is not None]
    bundle = Bundle(
        family="shrinkage",
        network="spectral",
        options=options.network.model_dump(mode="json") | shape_options | joined.options(),
        feature_names=feature_names(),
        tensors=tensors | scaler.tensors() | joined.tensors(),
        trained_through=UNDATED if through is None else through,
        details={
            "seed": seed,
            "n_windows": {source.name: source.n_windows for source in options.sources},
            "first_date": min(dates).isoformat() if dates else None,
            "last_date": max(dates).isoformat() if dates else None,
            "losses": [[(r.train["total"], r.validation["total"]) for r in history.epochs] for history in histories],
            "training": options.model_dump(mode="json"),
            "aggregation": joined.details,
            "size": asdict(size),
            **({} if start is None else {"initial_digest": start.digest}),
            **(details or {}),
        },
    )
    if options.heads_share > 0.0:
        sources = options.scaled(options.heads_share).sources
        sources = tuple(source for source in sources if adaptation is None or adaptation.has_labels(source.name))
        bundle = add_heads(bundle, panels, through, sources=sources, seed=seed + 2, n_jobs=n_jobs)
    return TrainedVintage(bundle, tuple(histories), drawing, time.perf_counter() - began - drawing)


def _start(options: SpectralTraining, through: pd.Timestamp | None) -> Bundle | None:
    if options.initial is None:
        return None
    return initial_bundle(options.initial, through=through, n_units=options.network.n_units)


def initial_digest(options: SpectralTraining, through: pd.Timestamp | None) -> str | None:
    """Digest of the weights that a training starts from, None where it starts from the closed form.

    Raises
    ------
    ArtifactError, LookaheadError, ParameterError
        As `train_spectral`.
    """
    start = _start(options, through)
    return None if start is None else start.digest
