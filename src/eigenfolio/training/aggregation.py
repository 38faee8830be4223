r"""Fitting the rule by which the answers of an ensemble become one, on validation windows.

With L_mi the loss of member m on window i, p_ki the probability of state k (1 where there is one state) and W the
weights of `eigenfolio.learned.aggregation`,

    mean               W_km = 1 / M, or equal over the specialists of kind k
    validation         W_km ~ exp(-L_km / temperature),    L_km = sum_i p_ki L_mi / sum_i p_ki
    inverse_variance   W_km ~ 1 / Var_k [ln realised - ln predicted variance of m's minimum-variance portfolio]  [1]_
    simplex            W = argmin sum_i L_i(answer blended by p_i' W),  W_k = softmax(theta_k) from equal weights
    trimmed            the mean of what is left of every number without its extremes
    best               on one half of the validation windows each rule is fitted, on the other judged against the
                       mean; the best one is taken if it is better by more than `margin` standard errors over months

States are none, the thirds of the training windows by recent over whole-window volatility, or the specialists' kinds.
Their probabilities are the posterior of a linear discriminant analysis of the training windows [2]_.

The validation windows of a vintage are other draws from the years that taught its members, so that a rule fitted on
them is fitted in sample as to years; `benchmarks/ensembles.py` says what rules bring in later ones.

References
----------
.. [1] J. M. Bates and C. W. J. Granger (1969). The combination of forecasts. Operational Research Quarterly 20(4),
   451-468.
.. [2] R. A. Fisher (1936). The use of multiple measurements in taxonomic problems. Annals of Eugenics 7(2), 179-188.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.learned.aggregation import GATE_INPUTS, ONE_STATE, Aggregation, Gate
from eigenfolio.learned.spectra import SUMMARY_FEATURES
from eigenfolio.learned.spectral import EIGENVALUE_TRUST
from eigenfolio.models.networks.spectral import SpectralOutput
from eigenfolio.training.ensemble import SHAPING, Diversity, sample_order, windows_of_kind
from eigenfolio.training.loop import Loss
from eigenfolio.training.mixture import DrawnWindow
from eigenfolio.training.spectral import (
    Scaler,
    SpectralBatch,
    SpectralLoss,
    SpectralSamples,
    correlation_and_volatility,
    network_inputs,
    spectral_loss,
)

__all__ = [
    "AggregationOptions",
    "FittedAggregation",
    "check_ensemble",
    "fit_aggregation",
    "fit_gate",
    "joined",
    "members_said",
]

FloatArray = NDArray[np.float64]
SampleLoss = Callable[[Callable[..., Any], Any], Loss]

_VOLATILITY_STATES = ("calm", "usual", "turbulent")
_VOLATILITY_INPUT = "steady_mean_ewma_volatility_21"
_BATCH = 32  # windows of 75 assets
_STEPS = 12  # of the quasi-Newton method


class AggregationOptions(BaseModel):
    """How the members' answers become one.

    Parameters
    ----------
    name : {"mean", "validation", "inverse_variance", "simplex", "trimmed", "best"}
        The rule; all but the mean and the trimmed mean are fitted on validation windows.
    states : {"none", "volatility", "specialists"}
        What the weights may depend on.
    temperature : float
        Of "validation", in units of the loss.
    trim : float
        Share of the members dropped at either end by "trimmed", rounded down, at least one.
    margin : float
        Standard errors by which "best" must beat the mean.
    loss : mapping
        What judges answers here, weights as for the loss of the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["mean", "validation", "inverse_variance", "simplex", "trimmed", "best"] = "mean"
    states: Literal["none", "volatility", "specialists"] = "none"
    temperature: float = Field(default=0.01, gt=0.0)
    trim: float = Field(default=0.2, gt=0.0, lt=0.5)
    margin: float = Field(default=2.0, ge=0.0)
    loss: SpectralLoss = SpectralLoss()

    @model_validator(mode="after")
    def _stateless(self) -> AggregationOptions:
        if self.name == "trimmed" and self.states != "none":
            raise ValueError("a trimmed mean has no weights by state; leave out states")
        if self.name == "mean" and self.states == "volatility":
            raise ValueError("a plain mean has the same weights in every volatility state; leave out states")
        return self

    def simulated(self, diversity: Diversity, *, n_members: int) -> AggregationOptions:
        """The same where all windows are simulated: without states where only one kind of member is left."""
        if self.states != "specialists" or len(set(diversity.kinds(n_members))) > 1:
            return self
        return self.model_copy(update={"states": "none"})


def check_ensemble(
    diversity: Diversity, aggregation: AggregationOptions, *, n_members: int, started: bool, adapted: bool
) -> None:
    """Raise unless the options of an ensemble go together.

    Parameters
    ----------
    diversity : Diversity
    aggregation : AggregationOptions
    n_members : int
    started : bool
        Whether members start from a bundle, whose shapes they have.
    adapted : bool
        Whether the training aligns domains, whose batches cannot be weighed by member.

    Raises
    ------
    ValueError
    """
    if aggregation.name == "trimmed" and n_members < 3:
        raise ValueError(f"a trimmed mean needs at least 3 members, got n_members={n_members}")
    if aggregation.states == "specialists" and len(set(diversity.kinds(n_members))) < 2:
        raise ValueError("states='specialists' needs members of two kinds; name them under diversity.specialists")
    for name, values in diversity.lists.items():
        if len(values) > n_members:
            raise ValueError(
                f"diversity.{name} has {len(values)} entries for {n_members} members, so the last would not be read; "
                f"leave it out or raise n_members"
            )
    shaped = [f"diversity.{name}" for name in diversity.lists if name in SHAPING]
    if started and shaped:
        raise ValueError(
            "members that start from a bundle have its widths, activations, depths and features; leave out "
            f"{', '.join(shaped)}"
        )
    if adapted and diversity.weighs_windows:
        raise ValueError(
            "adaptation goes with members that learn from the same; leave out periods, losses, specialists"
        )


@dataclass(frozen=True)
class FittedAggregation:
    """A rule, and what it is told about in the bundle.

    Attributes
    ----------
    rule : Aggregation or None
        None is the plain mean.
    details : dict
        JSON-able: the name, the mean weight of every member, and for "best" every candidate's difference from the
        mean with its standard error.
    """

    rule: Aggregation | None
    details: dict[str, Any]

    def options(self) -> dict[str, Any]:
        """What a bundle keeps among its options; nothing of the plain mean."""
        return {} if self.rule is None else {"aggregation": self.rule.options()}

    def tensors(self) -> dict[str, FloatArray]:
        """What a bundle keeps among its tensors; nothing of the plain mean."""
        return {} if self.rule is None else self.rule.tensors()


def fit_aggregation(
    networks: Sequence[nn.Module],
    scaler: Scaler,
    *,
    samples: SpectralSamples,
    drawn: Sequence[DrawnWindow],
    watched: Sequence[DrawnWindow],
    options: AggregationOptions,
    diversity: Diversity,
) -> FittedAggregation:
    """Fit the rule of trained members.

    Parameters
    ----------
    networks : sequence of Module
        Trained spectral networks, of any widths.
    scaler : Scaler
    samples : SpectralSamples
        The validation windows.
    drawn, watched : sequence of DrawnWindow
        Training windows, and the validation windows that `samples` stack.
    options : AggregationOptions
    diversity : Diversity
        Says what the members are specialists of, and whether some build on one spectrum.

    Returns
    -------
    FittedAggregation

    Raises
    ------
    ParameterError
        If the states are those of specialists and there are none, or there are too few members to trim.
    """
    by_share = any(spectrum != "both" for spectrum in diversity.spectra)
    if options.name == "mean" and options.states == "none" and not by_share:
        return FittedAggregation(None, {"name": "mean"})
    gate, states = fit_gate(drawn, options, diversity, len(networks))
    judge = _Judge(networks, scaler, spectral_loss(scaler, options.loss), samples, gate, by_share)
    kinds = diversity.kinds(len(networks)) if options.states == "specialists" else None
    if options.name != "best":
        rule = _rule(options.name, judge, options, states, kinds, torch.arange(len(samples)))
        return FittedAggregation(rule, _told(options.name, rule, judge))
    return _best(judge, options, states, kinds, [watched[i] for i in sample_order(watched)])


def fit_gate(
    drawn: Sequence[DrawnWindow], options: AggregationOptions, diversity: Diversity, n_members: int
) -> tuple[Gate | None, tuple[str, ...]]:
    """Fit the gate on the training windows.

    Parameters
    ----------
    drawn : sequence of DrawnWindow
    options : AggregationOptions
    diversity : Diversity
    n_members : int

    Returns
    -------
    gate : Gate or None
        None where there is one state.
    states : tuple of str
    """
    if options.states == "none":
        return None, ONE_STATE
    summaries = np.array([window.window.summary for window in drawn])
    if options.states == "volatility":
        values = summaries[:, SUMMARY_FEATURES.index(_VOLATILITY_INPUT)]
        label = np.searchsorted(np.quantile(values, [1.0 / 3.0, 2.0 / 3.0]), values)
        return _discriminant(summaries, label, (_VOLATILITY_INPUT,)), _VOLATILITY_STATES
    states = tuple(dict.fromkeys(diversity.kinds(n_members)))
    if len(states) < 2:
        raise ParameterError(
            f"states='specialists' needs members of at least two kinds, got {', '.join(states)}; name some under "
            "diversity.specialists"
        )
    rows, labels = [], []
    for number, kind in enumerate(states):
        own = np.flatnonzero(windows_of_kind(drawn, kind, reference=drawn, share=diversity.kind_share))
        rows.append(own)
        labels.append(np.full(len(own), number))
    return _discriminant(summaries[np.concatenate(rows)], np.concatenate(labels), GATE_INPUTS), states


def _discriminant(summaries: FloatArray, label: NDArray[Any], inputs: tuple[str, ...]) -> Gate:
    """Posterior of the labels, linear in the scaled inputs; a window of several kinds is a row of each."""
    given = summaries[:, [SUMMARY_FEATURES.index(name) for name in inputs]]
    center, scale = given.mean(axis=0), given.std(axis=0) + 1e-3
    scaled = np.clip((given - center) / scale, -4.0, 4.0)
    n_states = int(label.max()) + 1
    if len(np.unique(label)) < n_states or len(scaled) <= n_states:
        raise DataError(f"a gate of {n_states} states needs training windows of each, got {np.bincount(label)}")
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01).fit(scaled, label)
    slope, level = found.coef_, found.intercept_
    if n_states == 2:  # one row, of the second against the first
        slope, level = np.vstack([np.zeros_like(slope), slope]), np.concatenate([[0.0], level])
    return Gate(inputs, center, scale, np.asarray(slope, dtype=float), np.asarray(level, dtype=float))


class _Judge:
    """Trained members on validation windows: losses of each, and of any blend of them."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        scaler: Scaler,
        loss: SampleLoss,
        samples: SpectralSamples,
        gate: Gate | None,
        by_share: bool,
    ) -> None:
        self.networks = [network.eval() for network in networks]
        self.scaler, self.loss, self.samples, self.gate, self.by_share = scaler, loss, samples, gate, by_share
        summaries = torch.cat([group.summary for group in samples.groups]).double().numpy()
        states = np.ones((len(samples), 1)) if gate is None else gate.probabilities(summaries)
        self.states = torch.from_numpy(np.ascontiguousarray(states))  # (n, n_states)

    @property
    def n_members(self) -> int:
        return len(self.networks)

    def said(self, *inputs: Tensor) -> SpectralOutput:
        """What every member says."""
        with torch.no_grad():
            return members_said(self.networks, *inputs)

    def batches(self, rows: Tensor) -> Iterator[tuple[list[SpectralBatch], Tensor]]:
        """Batches of some windows, and their positions."""
        for part in self.samples.batches(rows, _BATCH):
            yield self.samples.take(part), part

    def members(self, rows: Tensor) -> FloatArray:
        """Loss of every member, (n_members, n)."""
        found = torch.zeros(self.n_members, len(self.samples), dtype=torch.float64)
        for batch, part in self.batches(rows):
            with torch.no_grad():
                found[:, part] = self.loss(self.said, batch).total
        return np.asarray(found[:, rows].numpy())

    def blended(self, weights: Tensor, batch: list[SpectralBatch], part: Tensor) -> Tensor:
        """Loss of the answers blended by weights (n_states, n_members), (n,); it has a gradient."""
        held = self.states[part] @ weights  # (n, n_members)
        return self.loss(lambda *inputs: _blend(self.said(*inputs), held, self.by_share), batch).total[0]

    def trimmed(self, n_trimmed: int, batch: list[SpectralBatch]) -> Tensor:
        """Loss of the trimmed mean, (n,)."""
        return self.loss(lambda *inputs: _trimmed(self.said(*inputs), n_trimmed), batch).total[0]

    def of(self, rule: Aggregation, rows: Tensor) -> FloatArray:
        """Loss of a rule on some windows, (n,)."""
        found = torch.zeros(len(self.samples), dtype=torch.float64)
        weights = torch.from_numpy(rule.weights)
        for batch, part in self.batches(rows):
            with torch.no_grad():
                trimmed = rule.n_trimmed > 0
                found[part] = self.trimmed(rule.n_trimmed, batch) if trimmed else self.blended(weights, batch, part)
        return np.asarray(found[rows].numpy())

    def residuals(self, rows: Tensor) -> FloatArray:
        """Log realised less log predicted variance of each member's minimum-variance portfolio, (n_members, n)."""
        found = torch.zeros(self.n_members, len(self.samples), dtype=torch.float64)
        for batch, part in self.batches(rows):
            with torch.no_grad():
                found[:, part] = torch.cat([self._residual(group) for group in batch], dim=1)
        return np.asarray(found[:, rows].numpy())

    def _residual(self, group: SpectralBatch) -> Tensor:
        output = self.said(*network_inputs(self.scaler, group))
        correlation, logs = correlation_and_volatility(group, output)
        volatility = (logs + output.log_scale.double().unsqueeze(-1)).exp()
        factor = torch.linalg.cholesky(volatility.unsqueeze(-1) * correlation * volatility.unsqueeze(-2))
        raw = torch.cholesky_solve(torch.ones_like(logs).unsqueeze(-1), factor)[..., 0]
        total = raw.sum(dim=-1, keepdim=True)  # 1 over the predicted variance
        path = torch.einsum("nta,mna->mnt", group.future.double(), raw / total)
        return torch.log(path.square().mean(dim=-1) + 1e-9) + torch.log(total[..., 0])


def members_said(networks: Sequence[nn.Module], *inputs: Tensor) -> SpectralOutput:
    """What every member says without dropout, with the part of it that is taken of eigenvalues; members first."""
    outputs = [network.eval()(*inputs) for network in networks]
    stacked = [torch.stack([output[i] for output in outputs]) for i in range(4)]
    return SpectralOutput(EIGENVALUE_TRUST * stacked[0], *stacked[1:])


def joined(output: SpectralOutput, rule: Aggregation | None, summary: Tensor) -> SpectralOutput:
    """The members' answers as one, with an axis of one member.

    Parameters
    ----------
    output : SpectralOutput
        Members first.
    rule : Aggregation or None
        None is the plain mean.
    summary : Tensor of shape (n, n_summary)
        Raw.
    """
    if rule is None:
        return SpectralOutput(*(part.mean(dim=0, keepdim=True) for part in output))
    if rule.n_trimmed:
        return _trimmed(output, rule.n_trimmed)
    states = np.ones((len(summary), 1)) if rule.gate is None else rule.gate.probabilities(summary.double().numpy())
    return _blend(output, torch.from_numpy(states @ rule.weights), rule.by_share)


def _trimmed(output: SpectralOutput, n_trimmed: int) -> SpectralOutput:
    """The mean of what is left of every number without its extremes, with an axis of one member."""
    return SpectralOutput(*(x.sort(dim=0).values[n_trimmed : len(x) - n_trimmed].mean(0, keepdim=True) for x in output))


def _blend(output: SpectralOutput, held: Tensor, by_share: bool) -> SpectralOutput:
    """PyTorch twin of `Aggregation.__call__`, with an axis of one member."""
    held = held.to(output.shares)
    shares = torch.einsum("nm,mnb->nb", held, output.shares)
    if by_share:
        taken = held.T.unsqueeze(-1) * output.shares  # (n_members, n, n_spectra)
        taken = taken / taken.sum(dim=0)
        change = torch.einsum("mnb,mbnk->bnk", taken, output.eigenvalue_change)
    else:
        change = torch.einsum("nm,mbnk->bnk", held, output.eigenvalue_change)
    volatility = torch.einsum("nm,mna->na", held, output.volatility_change)
    scale = torch.einsum("nm,mn->n", held, output.log_scale)
    return SpectralOutput(change[None], volatility[None], shares[None], scale[None])


def _rule(
    name: str,
    judge: _Judge,
    options: AggregationOptions,
    states: tuple[str, ...],
    kinds: Sequence[str] | None,
    rows: Tensor,
) -> Aggregation:
    """The rule of a name, fitted on some windows."""
    n_members, n_states = judge.n_members, len(states)
    p = judge.states[rows].numpy()
    p = p / p.sum(axis=0)  # (n, n_states)
    weights, n_trimmed, residual = np.full((n_states, n_members), 1.0 / n_members), 0, None
    if name == "mean" and kinds is not None:
        weights = np.array([[float(kind == state) for kind in kinds] for state in states])
        weights /= weights.sum(axis=1, keepdims=True)
    elif name == "trimmed":
        n_trimmed = max(1, int(options.trim * n_members))
    elif name == "validation":
        weights = softmax(-(judge.members(rows) @ p).T / options.temperature, axis=1)
    elif name == "inverse_variance":
        residuals = judge.residuals(rows)
        spread = ((residuals**2) @ p - (residuals @ p) ** 2).T  # (n_states, n_members)
        weights = 1.0 / np.maximum(spread, 1e-9)
        weights /= weights.sum(axis=1, keepdims=True)
        residual = residuals.var(axis=1)
    elif name == "simplex":
        weights = _simplex(judge, n_states, rows)
    if residual is None:
        residual = judge.residuals(rows).var(axis=1)
    return Aggregation(name, weights, states, judge.gate, n_trimmed, judge.by_share and not n_trimmed, residual)


def _simplex(judge: _Judge, n_states: int, rows: Tensor) -> FloatArray:
    """Weights of the smallest loss of the blended answers."""
    theta = torch.zeros(n_states, judge.n_members, dtype=torch.float64, requires_grad=True)
    method = torch.optim.LBFGS([theta], lr=1.0, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        method.zero_grad()
        total = 0.0
        for batch, part in judge.batches(rows):
            loss = judge.blended(torch.softmax(theta, dim=1), batch, part).sum() / len(rows)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        return total

    method.step(closure)
    return np.asarray(torch.softmax(theta.detach(), dim=1).numpy())


def _best(
    judge: _Judge,
    options: AggregationOptions,
    states: tuple[str, ...],
    kinds: Sequence[str] | None,
    windows: Sequence[DrawnWindow],
) -> FittedAggregation:
    """Fit on every other window, judge on the rest, and take what beats the mean clearly."""
    fitting, judging = torch.arange(0, len(windows), 2), torch.arange(1, len(windows), 2)
    names = ["validation", "inverse_variance", "simplex"]
    names += ["trimmed"] if judge.n_members > 2 and len(states) == 1 else []
    names += ["mean"] if kinds is not None else []
    equal = np.full((len(states), judge.n_members), 1.0 / judge.n_members)
    plain = judge.of(Aggregation("mean", equal, states, judge.gate, by_share=judge.by_share), judging)
    months = [_month(windows[i], i) for i in judging.tolist()]
    found = {}
    for name in names:
        rule = _rule(name, judge, options, states, kinds, fitting)
        found[name] = _mean_and_error(judge.of(rule, judging) - plain, months)
    told = {name: {"difference": mean, "standard_error": error} for name, (mean, error) in found.items()}
    best = min(found, key=lambda name: found[name][0])
    mean, error = found[best]
    if mean < -options.margin * error:
        rule = _rule(best, judge, options, states, kinds, torch.arange(len(windows)))
        return FittedAggregation(rule, {**_told(best, rule, judge), "candidates": told})
    if judge.by_share:
        rule = Aggregation("mean", equal[:1], by_share=True)
        return FittedAggregation(rule, {**_told("mean", rule, judge), "candidates": told})
    return FittedAggregation(None, {"name": "mean", "candidates": told})


def _told(name: str, rule: Aggregation, judge: _Judge) -> dict[str, Any]:
    """Name, states and mean weights of a rule."""
    weights = judge.states.mean(dim=0).numpy() @ rule.weights if len(rule.states) > 1 else rule.weights[0]
    return {"name": name, "states": list(rule.states), "weights": [round(float(w), 4) for w in weights]}


def _month(window: DrawnWindow, number: int) -> tuple[int, int]:
    """What windows share that are not independent; a window without a date shares with none."""
    return (0, number) if window.date is None else (window.date.year, window.date.month)


def _mean_and_error(values: FloatArray, months: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Mean over windows, and its standard error with windows of a month taken together."""
    centred = values - values.mean()
    sums: dict[tuple[int, int], float] = {}
    for value, month in zip(centred, months, strict=True):
        sums[month] = sums.get(month, 0.0) + float(value)
    return float(values.mean()), float(np.sqrt(sum(total**2 for total in sums.values())) / len(values))
