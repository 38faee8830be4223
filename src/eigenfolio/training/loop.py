"""The training loop: one page, for every network of the project.

A group of one or more networks is trained on samples that are taken by row number. The order of the rows comes from
the seed and the epoch alone, the schedule is a pure function of progress, and a checkpoint holds everything else, so
a run that was killed at any moment goes on to the same bits. The untrained group competes as epoch 0.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from eigenfolio.errors import ParameterError
from eigenfolio.training.group import Group
from eigenfolio.training.guards import MAX_BAD_SHARE, TrainingError, alarms, bad_rows, diagnose
from eigenfolio.training.memory import is_out_of_memory
from eigenfolio.training.optimisers import AdamW, FlatOptimiser, OptimiserRule, ParameterRule
from eigenfolio.training.schedules import OneCycle, Progress, ScheduleRule

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from eigenfolio.artifacts import Checkpoint, CheckpointStore

__all__ = ["EpochRecord", "History", "LoopOptions", "Loss", "Samples", "TensorSamples", "TrainingError", "fit"]


class LoopOptions(BaseModel):
    """Options of the loop.

    Parameters
    ----------
    max_epochs : int
        Passes over the samples.
    patience : int
        Epochs without a better validation loss before a member stops; its best state is restored either way.
    min_delta : float
        What counts as better.
    batch_size : int
        Samples per optimiser step.
    accumulate : int
        Parts a batch is computed in, one after the other, to save memory; the gradient is that of the whole batch.
    learning_rate : float
        Peak rate.
    optimiser, schedule : mapping
        A `name` and the options that go with it, see `eigenfolio.training.optimisers` and `schedules`.
    clip_norm : float or None
        Largest gradient norm of a member.
    precision : {"32", "bf16", "fp16"}
        Arithmetic of the networks; fp16 scales its losses. Losses on covariances stay in float64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=6, ge=1)
    min_delta: float = Field(default=0.0, ge=0.0)
    batch_size: int = Field(default=64, ge=2)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    optimiser: OptimiserRule = AdamW()
    schedule: ScheduleRule = OneCycle()
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    precision: Literal["32", "bf16", "fp16"] = "32"


class Loss(NamedTuple):
    """Loss of every member and sample, (n_members, n_samples), and its named parts of the same shape."""

    total: Tensor
    parts: dict[str, Tensor]


class Samples(Protocol):
    """What can be trained on: a length, and batches by row number.

    Samples of several shapes may have a method ``batches(order, batch_size)`` that cuts an order of the rows into
    batches of one shape each; their number must not depend on the order.
    """

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> Any:
        """Batch of these rows."""


@dataclass(frozen=True)
class TensorSamples:
    """Samples that are rows of tensors.

    Examples
    --------
    >>> samples = TensorSamples({"x": torch.arange(6.0).reshape(3, 2)})
    >>> samples.take(torch.tensor([2]))["x"].tolist()
    [[4.0, 5.0]]
    """

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Slices of every tensor."""
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one member; epoch 0 is the untrained start.

    Attributes
    ----------
    epoch : int
    seconds, samples_per_second : float
        Time and pace of the epoch, of the whole group.
    peak_memory : int
        Bytes: of the device on a GPU, of the process on a CPU.
    learning_rate : float
        At the last step.
    train, validation : dict of str to float
        Mean losses: "total" and the parts.
    gradient_norms : dict of str to float
        By block, before clipping, mean over sampled steps.
    """

    epoch: int
    seconds: float
    samples_per_second: float
    peak_memory: int
    learning_rate: float
    train: dict[str, float]
    validation: dict[str, float]
    gradient_norms: dict[str, float]


@dataclass(frozen=True)
class History:
    """How the training of one member went.

    Attributes
    ----------
    epochs : tuple of EpochRecord
    best_epoch : int
        The epoch whose weights were kept.
    n_steps, n_bad : int
        Optimiser steps that were taken, and batches that were skipped because an input was not finite.
    alarms : tuple of str
        What makes the result doubtful.
    stopped : {"patience", "max_epochs"}
    """

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    n_steps: int
    n_bad: int
    alarms: tuple[str, ...]
    stopped: str

    @property
    def start(self) -> EpochRecord:
        """The untrained network."""
        return self.epochs[0]

    @property
    def best(self) -> EpochRecord:
        """The epoch that was kept."""
        return self.epochs[self.best_epoch]

    def to_rows(self) -> list[dict[str, Any]]:
        """One JSON-able dictionary per epoch."""
        return [asdict(record) for record in self.epochs]


def fit(
    networks: Sequence[nn.Module],
    samples: Samples,
    loss: Callable[[Callable[..., Any], Any], Loss],
    *,
    validation: Samples,
    options: LoopOptions | Sequence[LoopOptions],
    seed: int,
    rules: Sequence[ParameterRule] = (),
    project: Callable[[Group], None] | None = None,
    store: CheckpointStore | None = None,
    fabric: Fabric | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> list[History]:
    """Train networks of one shape together and leave each with the weights of its best validation epoch.

    Parameters
    ----------
    networks : sequence of Module
        Initialised networks, the members of a group; one is a group of one.
    samples, validation : Samples
        What teaches, and what stops.
    loss : callable
        ``loss(call, batch)``: calls the networks through ``call(*inputs)``, whose outputs have a leading axis of
        members, and gives the loss of every member and sample.
    options : LoopOptions or one per member
        Members may differ in learning rate and weight decay.
    seed : int
        The order of the samples comes from it (and from the epoch); members share it.
    rules : sequence of ParameterRule
        Rates and decay of single parameters.
    project : callable, optional
        Called with the group after every step, to return parameters to their bounds.
    store : CheckpointStore, optional
        Checkpoints are written to it after every epoch, and training goes on from its last one.
    fabric : lightning_fabric.Fabric, optional
        Device and processes (`eigenfolio.training.devices`); the CPU of this process without it. The samples lie on
        its device. Every process takes its share of each batch and gradients are summed; batch normalisation sees
        the share, and its running statistics are averaged after each epoch.
    on_epoch : callable, optional
        Called with the number of each finished epoch (progress bars).

    Returns
    -------
    list of History
        One per network.

    Raises
    ------
    TrainingError
        If a loss or gradient is not finite, or more than 1 % of the batches are bad.
    ArtifactError
        If the store holds a checkpoint of another run.
    """
    plans = list(options) if isinstance(options, Sequence) else [options] * len(networks)
    first = _common(plans, len(networks))
    run = _Run(networks, samples, loss, validation, plans, seed, rules, project, fabric)
    saved = None if store is None else store.load_last()
    run.wait()  # until every process has looked, before the first one writes
    if store is not None and run.writes:
        store.rewind(-1 if saved is None else saved.epoch)
    if saved is not None:
        run.resume(saved)
    else:
        run.record(0, seconds=0.0, train=run.mean_losses(samples, run.good), gradients={}, rates=[0.0] * len(plans))
        if store is not None:
            run.save(store)
    while run.epoch < first.max_epochs and not all(run.stopped):
        began, gradients = time.perf_counter(), _Means()
        losses = _Means()
        order = _order(seed, run.epoch, len(samples))
        rates = [0.0] * len(plans)
        for step, rows in enumerate(_batches(samples, order, first.batch_size)):
            if len(rows) < 2:  # batch normalisation needs two samples
                continue
            rates = run.rates(step)
            run.step(rows, rates, losses=losses, gradients=gradients if step % run.probe_every == 0 else None)
        run.epoch += 1
        run.agree(losses)
        seconds = time.perf_counter() - began
        run.record(run.epoch, seconds=seconds, train=losses.members(), gradients=gradients.members(), rates=rates)
        if store is not None:
            run.save(store)
        if on_epoch is not None:
            on_epoch(run.epoch)
    return run.finish()


class _Means:
    """Weighted means of named values per member."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.weight = 0.0

    def add(self, values: dict[str, Tensor], weight: float) -> None:
        for name, value in values.items():
            value = value.detach().double().cpu() * weight
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.weight += weight

    def members(self) -> dict[str, list[float]]:
        return {name: (total / max(self.weight, 1e-300)).tolist() for name, total in self.sums.items()}


class _Run:
    """State of a training run: what a checkpoint holds, and the steps that change it."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        samples: Samples,
        loss: Callable[[Callable[..., Any], Any], Loss],
        validation: Samples,
        plans: list[LoopOptions],
        seed: int,
        rules: Sequence[ParameterRule],
        project: Callable[[Group], None] | None,
        fabric: Fabric | None,
    ) -> None:
        self.options, self.plans, self.loss, self.project, self.fabric = plans[0], plans, loss, project, fabric
        self.samples, self.validation = samples, validation
        device = torch.device("cpu") if fabric is None else fabric.device
        self.group = Group(networks, device=device)
        decays = [plan.optimiser.weight_decay for plan in plans]
        self.optimiser = FlatOptimiser(self.group, self.options.optimiser, weight_decay=decays, rules=rules)
        self.steps_per_epoch = max(1, len(_batches(samples, torch.arange(len(samples)), self.options.batch_size)))
        self.probe_every = max(1, self.steps_per_epoch // 8)
        self.accumulate = self.options.accumulate
        self.epoch, self.n_steps, self.n_bad, self.n_skipped = 0, 0, 0, 0
        self.notes: list[str] = []
        self.loss_scale = 2.0**16 if self.options.precision == "fp16" else 1.0
        self.calm_steps = 0
        members = len(networks)
        self.records: list[list[EpochRecord]] = [[] for _ in range(members)]
        self.best = [0] * members
        self.best_state = self.group.state()
        self.stopped = [False] * members
        self.bad_rows = bad_rows(samples, 4 * self.options.batch_size)
        self.good = torch.tensor([row for row in range(len(samples)) if row not in self.bad_rows])

    # one step

    def rates(self, step: int) -> list[float]:
        """Learning rate of every member at this step of the epoch."""
        n_steps = self.options.max_epochs * self.steps_per_epoch
        done = self.epoch * self.steps_per_epoch + step
        return [
            plan.learning_rate
            * plan.schedule.factor(
                Progress(
                    done,
                    n_steps,
                    self.epoch,
                    self.steps_per_epoch,
                    [record.validation["total"] for record in records[1:]],
                )
            )
            for plan, records in zip(self.plans, self.records, strict=True)
        ]

    def step(self, rows: Tensor, rates: list[float], *, losses: _Means, gradients: _Means | None) -> None:
        """One optimiser step on the samples `rows`; a batch with an input that is not finite is skipped."""
        bad = (
            next((self.bad_rows[row] for row in rows.tolist() if row in self.bad_rows), None) if self.bad_rows else None
        )
        if bad is not None:
            self.n_bad += 1
            n_planned = self.options.max_epochs * self.steps_per_epoch
            if self.n_bad > max(1.0, MAX_BAD_SHARE * n_planned):
                raise TrainingError(
                    f"{self.n_bad} batches had inputs that are not finite ({bad}), more than "
                    f"{MAX_BAD_SHARE:.0%} of the {n_planned} steps; clean the samples"
                )
            return
        group, rank, world = self.group, 0, 1
        if self.fabric is not None:
            rank, world = self.fabric.global_rank, self.fabric.world_size
        while True:
            try:
                finite = self._gradient(rows, rank, world, losses)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.accumulate >= len(rows):
                    raise
                self.accumulate *= 2
                self.notes.append(
                    f"out of memory in epoch {self.epoch + 1}: batches are computed in {self.accumulate} parts since"
                )
        if self.loss_scale != 1.0:
            group.grad.div_(self.loss_scale)
        norms = group.norms()
        if not (finite and bool(torch.isfinite(norms).all())):
            if finite and self.options.precision == "fp16" and self.loss_scale > 1.0:
                self.loss_scale, self.calm_steps = self.loss_scale / 2.0, 0  # too large a scale: skip this step
                return
            batch = self.samples.take(rows)
            raise TrainingError(
                f"epoch {self.epoch + 1}, step {self.n_steps % self.steps_per_epoch}: "
                f"{diagnose(group, batch, self.loss)}; lower the learning rate, or look at the samples"
            )
        if gradients is not None:
            gradients.add({name: torch.tensor(values) for name, values in group.block_norms().items()}, 1.0)
        if self.options.clip_norm is not None:
            group.scale_gradients((self.options.clip_norm / (norms + 1e-6)).clamp_(max=1.0))
        self.optimiser.step(rates)
        if self.project is not None:
            with torch.no_grad():
                self.project(group)
        self.n_steps += 1
        if self.options.precision == "fp16":
            self.calm_steps += 1
            if self.calm_steps % 2000 == 0:
                self.loss_scale *= 2.0

    def _gradient(self, rows: Tensor, rank: int, world: int, losses: _Means) -> bool:
        """Gradient of the mean loss over the batch; False when the loss is not finite."""
        self.group.train(True)
        self.group.grad.zero_()
        collected = _Means()
        shared = len(rows) >= 2 * world  # fewer are computed by every process: batch normalisation needs two
        weight = 1.0 if shared else 1.0 / world
        mine = rows[rank::world] if shared else rows
        for part in mine.tensor_split(min(self.accumulate, len(mine) // 2)):
            batch = self.samples.take(part)
            with self._autocast():
                found = self.loss(self.group.call, batch)
            share = weight * len(part) / len(rows)
            mean = found.total.mean(dim=1)
            (mean.sum() * (share * self.loss_scale)).backward()
            collected.add({"total": mean} | {k: v.mean(dim=1) for k, v in found.parts.items()}, weight * len(part))
        if world > 1 and self.fabric is not None:
            self.group.grad.copy_(cast(Tensor, self.fabric.all_reduce(self.group.grad, reduce_op="sum")))
        for name, total in collected.sums.items():
            losses.sums[name] = losses.sums[name] + total if name in losses.sums else total
        losses.weight += collected.weight
        return bool(torch.isfinite(collected.sums["total"]).all())

    def _autocast(self) -> Any:
        if self.options.precision == "32":
            return nullcontext()
        kind = torch.bfloat16 if self.options.precision == "bf16" else torch.float16
        return torch.autocast(self.group.data.device.type, dtype=kind)

    # several processes

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return self.fabric is None or bool(self.fabric.is_global_zero)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.fabric is not None and self.fabric.world_size > 1:
            self.fabric.barrier()

    def agree(self, losses: _Means) -> None:
        """Give every process the losses of all and the same buffers: the means of statistics, rank 0's counters."""
        fabric = self.fabric
        if fabric is None or fabric.world_size == 1:
            return
        device = self.group.data.device
        sums = [*losses.sums.values(), torch.full((self.group.n_members,), losses.weight, dtype=torch.float64)]
        totals = cast(Tensor, fabric.all_reduce(torch.stack(sums).to(device), reduce_op="sum")).cpu()
        losses.sums = dict(zip(losses.sums, totals[:-1], strict=True))
        losses.weight = float(totals[-1, 0])
        state = self.group.state()
        for name, buffer in state.items():
            if name in self.group.shapes:
                continue
            mean = buffer.is_floating_point()
            state[name] = cast(Tensor, fabric.all_reduce(buffer)) if mean else fabric.broadcast(buffer)
        self.group.load(state)

    # one epoch

    def mean_losses(self, samples: Samples, chosen: Tensor | None = None) -> dict[str, list[float]]:
        """Mean losses over all samples, or the chosen rows, in evaluation mode."""
        self.group.train(False)
        means = _Means()
        with torch.no_grad(), self._autocast():
            every = torch.arange(len(samples)) if chosen is None else chosen
            for rows in _batches(samples, every, max(2, 4 * self.options.batch_size // self.accumulate)):
                found = self.loss(self.group.call, samples.take(rows))
                values = {"total": found.total.mean(dim=1)} | {k: v.mean(dim=1) for k, v in found.parts.items()}
                means.add(values, float(len(rows)))
        return means.members()

    def record(
        self,
        epoch: int,
        *,
        seconds: float,
        train: dict[str, list[float]],
        gradients: dict[str, list[float]],
        rates: list[float],
    ) -> None:
        """Validate, note the epoch of every member, and keep what is best."""
        validation = self.mean_losses(self.validation)
        state = self.group.state()
        pace = len(self.samples) / seconds if seconds > 0 else 0.0
        memory = _peak_memory(self.group.data.device)
        for member, records in enumerate(self.records):
            if self.stopped[member]:
                continue
            records.append(
                EpochRecord(
                    epoch,
                    seconds,
                    pace,
                    memory,
                    rates[member],
                    {name: values[member] for name, values in train.items()},
                    {name: values[member] for name, values in validation.items()},
                    {name: values[member] for name, values in gradients.items()},
                )
            )
            found, best = records[-1].validation["total"], records[self.best[member]].validation["total"]
            if not math.isfinite(found):
                raise TrainingError(f"epoch {epoch}: the validation loss is {found}; look at the validation samples")
            if epoch and found < best - self.options.min_delta:
                self.best[member] = epoch
                for name, tensor in self.best_state.items():
                    tensor[member].copy_(state[name][member])
            elif epoch - self.best[member] >= self.options.patience:
                self.stopped[member] = True

    def finish(self) -> list[History]:
        """Restore the best weights and say how it went."""
        done = list(self.stopped)
        self.group.load(self.best_state)
        spreads = self._spreads()
        self.group.write_back()
        for network in self.group.networks:
            network.eval()
        return [
            History(
                tuple(records),
                self.best[member],
                self.n_steps,
                self.n_bad,
                (
                    *self.notes,
                    *alarms(
                        self.best[member],
                        [record.gradient_norms for record in records[1:]],
                        [spread[member] for spread in spreads],
                        monitored="validation",
                    ),
                ),
                "patience" if done[member] else "max_epochs",
            )
            for member, records in enumerate(self.records)
        ]

    def _spreads(self) -> list[list[float]]:
        """Relative spread of every output over some validation samples, per output and member."""
        outputs: list[Tensor] = []

        def watched(*inputs: Tensor) -> Any:
            found = self.group.call(*inputs)
            leaves = found if isinstance(found, tuple) else (found,)
            outputs.extend(leaf.detach().double() for leaf in leaves if isinstance(leaf, Tensor))
            return found

        self.group.train(False)
        rows = torch.arange(min(len(self.validation), 4 * self.options.batch_size))
        with torch.no_grad():
            self.loss(watched, self.validation.take(rows))
        spreads = []
        for output in outputs:
            if output.ndim > 1 and output.shape[1] > 1:
                spread = output.std(dim=1).flatten(1).amax(dim=1) if output.ndim > 2 else output.std(dim=1)
                size = output.abs().flatten(1).amax(dim=1) + 1e-12
                spreads.append((spread / size).tolist())
        return spreads

    # checkpoints

    def save(self, store: CheckpointStore) -> None:
        """Write everything that the rest of the run depends on."""
        if not self.writes:
            return
        tensors = {f"now.{name}": tensor for name, tensor in self.group.state().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_state.items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in self.optimiser.moments.items()}
        tensors["random_state"] = torch.get_rng_state()
        arrays = {name: np.asarray(tensor.detach().cpu().numpy(), order="C") for name, tensor in tensors.items()}
        state = {
            "optimiser_steps": self.optimiser.count,
            "n_steps": self.n_steps,
            "n_bad": self.n_bad,
            "loss_scale": self.loss_scale,
            "calm_steps": self.calm_steps,
            "accumulate": self.accumulate,
            "notes": self.notes,
            "best": self.best,
            "stopped": self.stopped,
            "records": [[asdict(record) for record in records] for records in self.records],
        }
        latest = [records[-1] for records in self.records]
        for member, record in enumerate(latest):
            if record.epoch == self.epoch:
                store.log({"member": member, **asdict(record)})
        store.save(arrays, state, epoch=self.epoch, step=0, best=self.epoch in self.best, boundary=True)

    def resume(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint."""
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in saved.tensors.items()}
        device = self.group.data.device

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t.to(device) for n, t in tensors.items() if n.startswith(prefix)}

        self.group.load(part("now."))
        self.best_state = part("best.")
        for name, tensor in part("optimiser.").items():
            self.optimiser.moments[name].copy_(tensor)
        torch.set_rng_state(tensors["random_state"])
        state = saved.state
        self.optimiser.count = state["optimiser_steps"]
        self.n_steps, self.n_bad = state["n_steps"], state["n_bad"]
        self.loss_scale, self.calm_steps = state["loss_scale"], state["calm_steps"]
        self.accumulate, self.notes = state["accumulate"], list(state["notes"])
        self.best, self.stopped = list(state["best"]), list(state["stopped"])
        self.records = [[EpochRecord(**record) for record in records] for records in state["records"]]
        self.epoch = saved.epoch


def _common(plans: list[LoopOptions], n_members: int) -> LoopOptions:
    if len(plans) != n_members:
        raise ParameterError(f"options must be one for all or one per network ({n_members}), got {len(plans)}")
    kept = [_without_rates(plan) for plan in plans]
    if any(other != kept[0] for other in kept):
        raise ParameterError("the members of a group may differ in learning_rate and weight_decay only")
    return plans[0]


def _without_rates(plan: LoopOptions) -> dict[str, Any]:
    values = plan.model_dump()
    values.pop("learning_rate")
    values["optimiser"].pop("weight_decay")
    return values


def _order(seed: int, epoch: int, n_samples: int) -> Tensor:
    """Order of the samples in one epoch, a function of seed and epoch alone."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n_samples))


def _batches(samples: Samples, order: Tensor, batch_size: int) -> Sequence[Tensor]:
    """Cut an order of the rows into batches."""
    arrange: Callable[[Tensor, int], Sequence[Tensor]] | None = getattr(samples, "batches", None)
    return order.split(batch_size) if arrange is None else arrange(order, batch_size)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
