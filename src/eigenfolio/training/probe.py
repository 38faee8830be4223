"""A few steps of a training, measured: what a whole one would take in time and memory, and whether it works at all.

    fold   = members * member + n_validation * draw
    member = n_windows * (draw + evaluate) + max_epochs * (n_windows / batch * step + n_validation * evaluate)

`draw` and `evaluate` are seconds per window, `step` seconds per optimiser step of a whole batch. A few windows are
drawn and repeated until they fill the batches, so that a step costs what it will cost. Early stopping can only make
a training shorter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from eigenfolio.errors import DataError
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.models.networks.dense import DenseShrinkageNetwork
from eigenfolio.training.group import Group
from eigenfolio.training.guards import tensors_of
from eigenfolio.training.loop import fit
from eigenfolio.training.losses import shrinkage_loss
from eigenfolio.training.memory import MemoryPlan, plan_memory
from eigenfolio.training.optimisers import ParameterRule
from eigenfolio.training.shrinkage import ShrinkageTraining, TrainingFold, _project, _scaler, prior_logit
from eigenfolio.training.windows import WindowGroup, WindowSet, draw_windows, label_rows

__all__ = ["Probe", "probe_shrinkage"]

N_WINDOWS = 24
N_STEPS = 6


@dataclass(frozen=True)
class Probe:
    """What a few steps of a training told.

    Parameters
    ----------
    n_parameters : int
        Of one network.
    window_seconds : float
        To draw one window.
    step_seconds : float
        Of one optimiser step on a whole batch.
    evaluation_seconds : float
        To evaluate one window without a gradient.
    window_bytes : int
        Memory of one window, mean over the universe sizes.
    largest_universe : int
        Assets of the largest windows that could be drawn.
    memory : MemoryPlan
        Of a step, were all its windows of the largest universe.
    losses : tuple of float
        Validation loss before and after the steps.
    gradient_norms : dict of str to float
        Mean norm by block of the network.
    moved : float
        Largest absolute change of a weight over the steps.
    """

    n_parameters: int
    window_seconds: float
    step_seconds: float
    evaluation_seconds: float
    window_bytes: int
    largest_universe: int
    memory: MemoryPlan
    losses: tuple[float, ...]
    gradient_norms: dict[str, float]
    moved: float

    def fold_seconds(self, options: ShrinkageTraining) -> float:
        """Estimate what one fold takes in one process, when no member stops early."""
        drawn, loop = options.windows, options.loop
        epoch = drawn.n_windows / loop.batch_size * self.step_seconds
        epoch += drawn.n_validation_windows * self.evaluation_seconds
        member = drawn.n_windows * (self.window_seconds + self.evaluation_seconds) + loop.max_epochs * epoch
        return options.n_members * member + drawn.n_validation_windows * self.window_seconds

    def set_bytes(self, options: ShrinkageTraining) -> int:
        """Estimate the memory of the windows that one process holds at a time."""
        return self.window_bytes * (options.windows.n_windows + options.windows.n_validation_windows)


def probe_shrinkage(returns: pd.DataFrame, fold: TrainingFold, *, options: ShrinkageTraining, seed: int) -> Probe:
    """Draw a few windows of a fold, take a few steps, and measure.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns; rows after ``fold.last_row`` are not read.
    fold : TrainingFold
    options : ShrinkageTraining
    seed : int

    Returns
    -------
    Probe

    Raises
    ------
    DataError
        If the windows cannot be drawn.
    ParameterError
        If not even one sample fits into memory.
    TrainingError
        If a loss or a gradient is not finite.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), threadpool_limits(limits=1):  # as training does
            return _probe(returns, fold, options, seed)
    finally:
        torch.set_num_threads(threads)


def _probe(returns: pd.DataFrame, fold: TrainingFold, options: ShrinkageTraining, seed: int) -> Probe:
    values = np.ascontiguousarray(returns.to_numpy(dtype=float)[fold.first_row : fold.last_row + 1])
    teaching, _ = label_rows(len(values), fold.validation_start - fold.first_row, options.windows)
    rng = np.random.default_rng([seed, fold.last_row])
    seconds = []
    for n_windows in (8, 8, 8 + N_WINDOWS):  # warm up; the cost of a draw of any size; that of the windows
        began = time.perf_counter()
        windows = draw_windows(values, teaching, n_windows, options=options.windows, rng=rng)
        seconds.append(time.perf_counter() - began)
    window_seconds = max(seconds[2] - seconds[1], 0.0) / N_WINDOWS
    # a grid of sizes that begins at the largest holds the largest alone
    only_largest = options.windows.model_copy(update={"min_assets": options.windows.max_assets})
    try:
        largest = draw_windows(values, teaching, 1, options=only_largest, rng=rng)
    except DataError:  # quoted together, but never all moving: training does not meet that size either
        largest = WindowSet(windows.groups[-1:])

    center, scale = _scaler(windows)
    loss = shrinkage_loss(
        center=center, scale=scale, leverage_penalty=options.leverage_penalty, targets=options.network.targets
    )
    network = DenseShrinkageNetwork.of(len(SPECTRUM_FEATURES), options.network, prior_logit=prior_logit(windows))
    network.initialise(torch.Generator().manual_seed(seed))
    memory = plan_memory(network, largest.take, loss, n_members=1, batch_size=options.loop.batch_size)

    start = torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])
    clock: list[float] = []
    moved = 0.0

    def after_step(group: Group) -> None:
        nonlocal moved
        _project(group)
        moved = max(moved, float((group.data - start).abs().max()))
        clock.append(time.perf_counter())

    accumulate = max(options.loop.accumulate, memory.accumulate)
    (history,) = fit(
        [network],
        _Repeated(windows, N_STEPS * options.loop.batch_size),
        loss,
        validation=windows,
        options=options.loop.model_copy(update={"max_epochs": 1, "accumulate": accumulate}),
        seed=seed,
        rules=[ParameterRule("^gains$", rate=options.network.gain_rate, decay=False)],
        project=after_step,
    )
    batch = windows.take(torch.arange(len(windows)))
    began = time.perf_counter()
    with torch.no_grad():
        loss(Group([network]).call, batch)
    evaluation_seconds = (time.perf_counter() - began) / len(windows)
    return Probe(
        n_parameters=len(start),
        window_seconds=window_seconds,
        step_seconds=float(np.median(np.diff(clock))) if len(clock) > 1 else history.epochs[-1].seconds,
        evaluation_seconds=evaluation_seconds,
        window_bytes=round(np.mean([_bytes(group) / len(group) for group in windows.groups])),
        largest_universe=int(largest.groups[0].correlation.shape[-1]),
        memory=memory,
        losses=tuple(record.validation["total"] for record in history.epochs),
        gradient_norms=history.epochs[-1].gradient_norms,
        moved=moved,
    )


def _bytes(group: WindowGroup) -> int:
    return sum(tensor.nbytes for _, tensor in tensors_of(group))


@dataclass(frozen=True)
class _Repeated:
    """Windows over and over, until there are `length`."""

    windows: WindowSet
    length: int

    def __len__(self) -> int:
        return self.length

    def take(self, rows: Tensor) -> list[WindowGroup]:
        return self.windows.take(rows % len(self.windows))
