r"""Members of an ensemble that differ by more than their seeds.

    spectra       a member builds on both spectra, or on the steady or the recent one alone
    n_units       members have different numbers of hidden units
    activations   members have different nonlinearities in their hidden layers
    depths        members have different numbers of hidden layers
    features      members do without one family of inputs each
    periods       members learn from different spans of the years
    losses        the parts of the loss weigh differently for each member
    specialists   a member learns from windows of one kind: calm, turbulent, correlated, ..., or of one source

What differs is a weight u of every window and member, and an addition e to the weights of the loss's parts:

    L_m = sum_i u_mi [ L_mi + sum_p e_mp part_pmi ] / n,    mean_i u_mi = 1

so members of one shape still train as one group on the same batches, whatever each of them sees. A member of one
spectrum starts with a share of 1 - 4e-18 for it, which training cannot leave. Members of several shapes are stored in
the one of their bundle (`eigenfolio.training.member_networks`).

A kind is the upper or lower share of the training windows by one number of the window's summary; all of them are free
of units, so "turbulent" means that the last weeks were more volatile than the whole window was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.errors import ParameterError
from eigenfolio.learned.spectra import N_SPECTRA, SUMMARY_FEATURES
from eigenfolio.models.networks.spectral import SpectralShrinkageNetwork
from eigenfolio.training.input_families import EVERY_INPUT, feature_choices
from eigenfolio.training.loop import History, LoopOptions, Loss, Samples, fit
from eigenfolio.training.member_networks import MemberShape, without_expected_alarms
from eigenfolio.training.mixture import DrawnWindow

__all__ = [
    "EVERY_WINDOW",
    "KINDS",
    "SHAPING",
    "Diversity",
    "MemberWeights",
    "WeightedSamples",
    "WindowWeights",
    "fit_members",
    "member_loss",
    "member_weights",
    "restrict_spectra",
    "sample_order",
    "windows_of_kind",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

EVERY_WINDOW = "all"
KINDS: dict[str, tuple[str, float]] = {
    "calm": ("steady_mean_ewma_volatility_21", -1.0),
    "turbulent": ("steady_mean_ewma_volatility_21", 1.0),
    "uncorrelated": ("steady_mean_correlation", -1.0),
    "correlated": ("steady_mean_correlation", 1.0),
    "small": ("steady_log_assets", -1.0),
    "large": ("steady_log_assets", 1.0),
}
"""Number of the summary and its end, lower or upper, by kind."""

SHAPING = ("n_units", "activations", "depths", "features")
"""What makes networks of different shapes."""

_SOURCE = "source:"
_CLOSED = 20.0  # logit distance of the share that a member of one spectrum gives to the other, halved


class Diversity(BaseModel):
    """How the members of an ensemble differ beside their seeds; a list is gone through again and again.

    Parameters
    ----------
    spectra : tuple of {"both", "steady", "recent"}
        Spectra that each member builds on.
    n_units : tuple of int
        Hidden widths, even; `network.n_units` for all where empty.
    activations : tuple of {"gelu", "silu", "tanh", "relu"}
        Nonlinearities of the hidden layers; gelu where empty.
    depths : tuple of {1, 2, 3}
        Hidden layers behind the first in the asset and the summary nets, those beyond one residual; 1 where empty.
    features : tuple of str
        Inputs that each member sees: "all", or "no_" and a family that it does without
        (`eigenfolio.training.input_families.FAMILIES`): "no_tails", "no_residuals", "no_recent_volatility",
        "no_correlations", "no_directions", "no_ranks", "no_clustering", "no_sizes", "no_trading".
    periods : tuple of (float, float)
        Spans of the dated windows as shares of their number in the order of dates, (0, 1) being all; windows without
        a date teach every member.
    losses : tuple of mapping of str to float
        Added to the weights of the parts of the loss ("variance", "leverage", "long_only", "likelihood", names of
        further losses), by member.
    specialists : tuple of str
        Kinds of windows: "all", "calm", "turbulent", "uncorrelated", "correlated", "small", "large", or "source:NAME".
    kind_share : float
        Share of the training windows that a kind takes.
    elsewhere : float
        Weight of a specialist's other windows, relative to those of its kind.

    Examples
    --------
    >>> Diversity(spectra=("both", "steady")).is_plain, Diversity().is_plain
    (False, True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spectra: tuple[Literal["both", "steady", "recent"], ...] = ()
    n_units: tuple[int, ...] = ()
    activations: tuple[Literal["gelu", "silu", "tanh", "relu"], ...] = ()
    depths: tuple[Annotated[int, Field(ge=1, le=3)], ...] = ()
    features: tuple[str, ...] = ()
    periods: tuple[tuple[float, float], ...] = ()
    losses: tuple[dict[str, float], ...] = ()
    specialists: tuple[str, ...] = ()
    kind_share: float = Field(default=0.4, gt=0.0, lt=1.0)
    elsewhere: float = Field(default=0.0, ge=0.0, lt=1.0)

    @field_validator("n_units")
    @classmethod
    def _widths(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [n for n in value if n % 2 or not 4 <= n <= 128]
        if wrong:
            raise ValueError(f"widths are even numbers from 4 to 128, got {wrong[0]}")
        return value

    @field_validator("periods")
    @classmethod
    def _spans(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for first, last in value:
            if not 0.0 <= first < last <= 1.0:
                raise ValueError(f"a period is a pair of shares, 0 <= first < last <= 1, got ({first}, {last})")
        return value

    @field_validator("features")
    @classmethod
    def _families(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for features in value:
            if features not in feature_choices():
                raise ValueError(f"features are {', '.join(feature_choices())}, got {features!r}")
        return value

    @field_validator("specialists")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in KINDS and kind != EVERY_WINDOW and not kind.startswith(_SOURCE):
                raise ValueError(f"specialists are {', '.join([EVERY_WINDOW, *KINDS])} or {_SOURCE}NAME, got {kind!r}")
        return value

    @model_validator(mode="after")
    def _tells(self) -> Diversity:
        for name, plain in (("activations", "gelu"), ("depths", 1), ("features", EVERY_INPUT)):
            if set(getattr(self, name)) == {plain}:
                raise ValueError(f"{name} has nothing but {plain!r}, as every member has without it; leave it out")
        return self

    @property
    def lists(self) -> dict[str, tuple[Any, ...]]:
        """The lists that are gone through by turns, those that are empty left out."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, tuple) and value}

    @property
    def shaping(self) -> Diversity:
        """The same with what shapes the networks alone: no choice of windows, losses or spectra."""
        return Diversity(**{name: value for name, value in self.lists.items() if name in SHAPING})

    @property
    def is_plain(self) -> bool:
        """Whether members differ by their seeds alone."""
        return not self.lists

    def shapes(self, n_members: int, n_units: int) -> list[MemberShape]:
        """Shape of every member's network, `n_units` wide where nothing else is said."""
        return [
            MemberShape(
                _of(self.n_units, member, n_units),
                _of(self.activations, member, "gelu"),
                _of(self.depths, member, 1),
                _of(self.features, member, EVERY_INPUT),
            )
            for member in range(n_members)
        ]

    def kinds(self, n_members: int) -> list[str]:
        """Kind of windows of every member."""
        return [_of(self.specialists, member, EVERY_WINDOW) for member in range(n_members)]

    def simulated(self) -> Diversity:
        """The same where all windows are simulated: there are no periods, and no other sources."""
        kinds = tuple(EVERY_WINDOW if kind.startswith(_SOURCE) else kind for kind in self.specialists)
        return self.model_copy(update={"periods": (), "specialists": kinds})

    @property
    def weighs_windows(self) -> bool:
        """Whether members of one shape differ in what they learn from."""
        return bool(self.periods or self.losses or self.specialists)


def _of(values: Sequence[Any], member: int, default: Any) -> Any:
    return values[member % len(values)] if values else default


def restrict_spectra(networks: Sequence[SpectralShrinkageNetwork], diversity: Diversity) -> None:
    """Give members of one spectrum all of their share to it, in place."""
    for member, network in enumerate(networks):
        spectrum = _of(diversity.spectra, member, "both")
        if spectrum != "both":
            kept = ("steady", "recent").index(spectrum)
            logits = torch.full((N_SPECTRA,), -_CLOSED)
            logits[kept] = _CLOSED
            with torch.no_grad():
                network.mixing.copy_(logits)


@dataclass(frozen=True)
class WindowWeights:
    """Weights of windows in the order of their samples.

    Attributes
    ----------
    values : Tensor of shape (n, n_members)
        With mean 1 over the windows.
    group : Tensor of int, shape (n,)
        Number of the group of one shape that a window is stacked in.
    """

    values: Tensor
    group: Tensor


@dataclass(frozen=True)
class MemberWeights:
    """What makes members of one shape learn differently.

    Attributes
    ----------
    windows, validation : WindowWeights
    losses : tuple of mapping of str to float
        Per member, added to the weights of the loss's parts.
    """

    windows: WindowWeights
    validation: WindowWeights
    losses: tuple[Mapping[str, float], ...]

    def of(self, members: Sequence[int]) -> MemberWeights:
        """Those of some members."""
        rows = list(members)
        windows, validation = (
            WindowWeights(weights.values[:, rows], weights.group) for weights in (self.windows, self.validation)
        )
        return MemberWeights(windows, validation, tuple(self.losses[m] for m in rows))


def member_weights(
    drawn: Sequence[DrawnWindow], watched: Sequence[DrawnWindow], *, diversity: Diversity, n_members: int
) -> MemberWeights | None:
    """Weights of training and validation windows in the order of their samples.

    Kinds and periods are measured on the training windows alone.

    Parameters
    ----------
    drawn, watched : sequence of DrawnWindow
        Training and validation windows.
    diversity : Diversity
    n_members : int

    Returns
    -------
    MemberWeights or None
        None where all members learn alike.

    Raises
    ------
    ParameterError
        If a member has no training or no validation window.
    """
    if not diversity.weighs_windows:
        return None
    tables = []
    for windows, what in ((drawn, "training"), (watched, "validation")):
        table = np.ones((len(windows), n_members))
        for member, kind in enumerate(diversity.kinds(n_members)):
            own = windows_of_kind(windows, kind, reference=drawn, share=diversity.kind_share)
            table[:, member] = np.where(own, 1.0, diversity.elsewhere)
            table[:, member] *= _in_period(windows, _of(diversity.periods, member, (0.0, 1.0)), reference=drawn)
            if not table[:, member].any():
                raise ParameterError(
                    f"member {member} ({kind}) has no {what} windows; widen its kind or period, or draw more windows"
                )
        order = sample_order(windows)
        shapes = [_shape(windows[i]) for i in order]
        group = torch.tensor([sorted(set(shapes)).index(shape) for shape in shapes])
        tables.append(WindowWeights(torch.from_numpy((table / table.mean(axis=0))[order]), group))
    extra = tuple(_of(diversity.losses, member, {}) for member in range(n_members))
    return MemberWeights(tables[0], tables[1], extra)


def windows_of_kind(
    windows: Sequence[DrawnWindow], kind: str, *, reference: Sequence[DrawnWindow], share: float
) -> BoolArray:
    """Which windows are of a kind, (n_windows,).

    Parameters
    ----------
    windows : sequence of DrawnWindow
    kind : str
        As in `Diversity`.
    reference : sequence of DrawnWindow
        Windows whose quantile is the threshold.
    share : float
        Of the reference windows that are of the kind.

    Raises
    ------
    ParameterError
        If a kind names a source that the reference windows do not come from.
    """
    if kind == EVERY_WINDOW:
        return np.ones(len(windows), dtype=bool)
    if kind.startswith(_SOURCE):
        name = kind.removeprefix(_SOURCE)
        sources = sorted({window.source for window in reference})
        if name not in sources:
            raise ParameterError(f"specialist {kind!r} names no source of windows; there are {', '.join(sources)}")
        return np.array([window.source == name for window in windows])
    feature, sign = KINDS[kind]
    place = SUMMARY_FEATURES.index(feature)
    threshold = np.quantile([sign * window.window.summary[place] for window in reference], 1.0 - share)
    return np.array([sign * window.window.summary[place] for window in windows]) >= threshold


def _in_period(
    windows: Sequence[DrawnWindow], span: tuple[float, float], *, reference: Sequence[DrawnWindow]
) -> FloatArray:
    """1 within a span of the reference windows' dates, and without a date; else 0."""
    dates = np.sort(np.array([w.date.to_datetime64() for w in reference if w.date is not None]))
    if span == (0.0, 1.0) or not len(dates):
        return np.ones(len(windows))
    first, last = (dates[min(int(part * len(dates)), len(dates) - 1)] for part in span)
    return np.array([w.date is None or first <= w.date.to_datetime64() <= last for w in windows], dtype=float)


def sample_order(drawn: Sequence[DrawnWindow]) -> list[int]:
    """Positions of drawn windows in the order in which `drawn_samples` stacks them."""
    return sorted(range(len(drawn)), key=lambda i: _shape(drawn[i]))


def _shape(window: DrawnWindow) -> tuple[int, int, bool]:
    """What the windows of a group have in common."""
    return len(window.window.log_volatility), len(window.future), window.earlier is not None


@dataclass(frozen=True)
class WeightedSamples:
    """Samples whose batches carry the weights of their windows.

    Parameters
    ----------
    samples : SpectralSamples or CurriculumSamples
    weights : WindowWeights

    Raises
    ------
    ParameterError
        If there is not one row of weights per sample.
    """

    samples: Any
    weights: WindowWeights

    def __post_init__(self) -> None:
        n_weights = len(self.weights.values)
        if n_weights != len(self.samples):
            raise ParameterError(f"weights must be one row per sample ({len(self.samples)}), got {n_weights}")

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Tensor) -> tuple[Any, Tensor]:
        """Batch of these rows, which comes group by group, and its weights (n, n_members)."""
        order = torch.argsort(self.weights.group[rows], stable=True)
        return self.samples.take(rows), self.weights.values[rows[order]]

    def batches(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """Those of the samples."""
        found: list[Tensor] = self.samples.batches(order, batch_size)
        return found


def member_loss(
    loss: Callable[[Callable[..., Any], Any], Loss], extra: Sequence[Mapping[str, float]]
) -> Callable[[Callable[..., Any], Any], Loss]:
    """Loss of members that weigh windows and parts differently.

    Parameters
    ----------
    loss : callable
        Of the batches of the samples below `WeightedSamples`.
    extra : sequence of mapping of str to float
        Per member, added to the weights of the parts.

    Returns
    -------
    callable
        ``loss(call, (batch, weights))``.

    Raises
    ------
    ParameterError
        When called, if the loss has no part of a name.
    """
    names = sorted({name for parts in extra for name in parts})
    added = {name: torch.tensor([[parts.get(name, 0.0)] for parts in extra]).double() for name in names}

    def weighed(call: Callable[..., Any], batch: tuple[Any, Tensor]) -> Loss:
        windows, weights = batch
        found = loss(call, windows)
        total = found.total
        for name, addition in added.items():
            if name not in found.parts:
                raise ParameterError(
                    f"diversity.losses names {name!r}, and the loss has the parts {', '.join(sorted(found.parts))}"
                )
            total = total + addition.to(total) * found.parts[name]
        return Loss(total * weights.T.to(total), found.parts)

    return weighed


def fit_members(
    networks: Sequence[torch.nn.Module],
    samples: Any,
    loss: Callable[[Callable[..., Any], Any], Loss],
    *,
    validation: Any,
    options: LoopOptions,
    seed: int,
    shapes: Sequence[MemberShape],
    weights: MemberWeights | None = None,
    store: CheckpointStore | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> list[History]:
    """Train members, those of one width, activation and depth as one group.

    Parameters
    ----------
    networks, samples, loss, validation, options, seed, store, on_epoch
        As for `eigenfolio.training.fit`, which this is where all members are alike. Groups beyond the first keep their
        checkpoints in folders below that of the store, and epochs are told of the first.
    shapes : sequence of MemberShape
        Of every network.
    weights : MemberWeights, optional
        What makes members of one shape differ; the samples are then those of `sample_order`.

    Returns
    -------
    list of History
        One per network, in their order.
    """
    histories: dict[int, History] = {}
    for number, group in enumerate(dict.fromkeys(shape.group for shape in shapes)):
        members = [m for m, shape in enumerate(shapes) if shape.group == group]
        own: tuple[Samples, Samples, Callable[[Callable[..., Any], Any], Loss]] = samples, validation, loss
        if weights is not None:
            mine = weights.of(members)
            own = (
                WeightedSamples(samples, mine.windows),
                WeightedSamples(validation, mine.validation),
                member_loss(loss, mine.losses),
            )
        below = None
        if store is not None:
            place = store.folder / group
            below = (
                store if not number else CheckpointStore(place, identity=store.identity, keep_every=store.keep_every)
            )
        found = fit(
            [networks[m] for m in members],
            own[0],
            own[2],
            validation=own[1],
            options=options,
            seed=seed,
            store=below,
            on_epoch=on_epoch if not number else None,
        )
        histories |= {m: without_expected_alarms(each, shapes[m]) for m, each in zip(members, found, strict=True)}
    return [histories[m] for m in range(len(networks))]
