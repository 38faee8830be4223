"""Dated training of the shrinkage network: one bundle per date, each blind to every later row.

A fold trains on the rows up to `through`: the last `validation_months` stop the training, everything before
teaches, and a purge of one horizon keeps the labels of the two apart. Nothing after `through` is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from eigenfolio.artifacts import Bundle, CheckpointStore, short_date
from eigenfolio.data import rolling_folds
from eigenfolio.errors import DataError, EigenfolioError, ParameterError
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned.dense import ALL_TARGETS
from eigenfolio.models.networks.dense import DenseOptions, DenseShrinkageNetwork
from eigenfolio.parallel import run_tasks
from eigenfolio.training.devices import launch
from eigenfolio.training.group import Group
from eigenfolio.training.loop import History, LoopOptions, fit
from eigenfolio.training.losses import shrinkage_loss
from eigenfolio.training.memory import plan_memory
from eigenfolio.training.optimisers import ParameterRule
from eigenfolio.training.windows import WindowOptions, WindowSet, draw_windows, label_rows

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "DenseOptions",
    "FailedFold",
    "ScheduleOptions",
    "ShrinkageTraining",
    "TrainedFold",
    "TrainingFold",
    "plan_rolling",
    "plan_training",
    "train_series",
    "train_shrinkage",
]


class ScheduleOptions(BaseModel):
    """When a new bundle is trained.

    Parameters
    ----------
    first_months : int
        Months of history before the first bundle, validation included.
    every_months : int
        Months between bundles.
    validation_months : int
        Months at the end of each training span that stop the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_months: int = Field(default=96, ge=6)
    every_months: int = Field(default=12, ge=1)
    validation_months: int = Field(default=12, ge=2)


class ShrinkageTraining(BaseModel):
    """Everything that shapes the training of the dense shrinkage network.

    Parameters
    ----------
    n_members : int
        Networks trained side by side per bundle, each from its own start; the estimator averages their answers.
    leverage_penalty : float
        Weight of the log gross exposure in the loss.
    keep_every : int
        Epochs between the checkpoints that are kept beside the last and the best while `train` works; 0 keeps none.
    schedule, windows, network, loop : mapping
        Options of the parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_members: int = Field(default=5, ge=1)
    leverage_penalty: float = Field(default=0.1, ge=0.0)
    keep_every: int = Field(default=5, ge=0)
    schedule: ScheduleOptions = ScheduleOptions()
    windows: WindowOptions = WindowOptions()
    network: DenseOptions = DenseOptions()
    loop: LoopOptions = LoopOptions()

    @field_validator("network")
    @classmethod
    def _of_one_panel(cls, network: DenseOptions) -> DenseOptions:
        for name in ("inputs", "regime_embedding", "uncertainty", "l2"):
            if getattr(network, name) != DenseOptions.model_fields[name].default:
                raise ValueError(
                    f"network.{name} is read by `pretrain`, not by the training on one panel; leave it out"
                )
        if network.targets[0] != ALL_TARGETS[0]:
            raise ValueError(f"network.targets must begin with {ALL_TARGETS[0]!r} here, got {network.targets[0]!r}")
        return network


@dataclass(frozen=True)
class TrainingFold:
    """One bundle to train.

    Attributes
    ----------
    through : Timestamp
        Date of `last_row`, the last row that is looked at.
    last_row, validation_start, first_row : int
        Rows from `first_row` teach, rows from `validation_start` stop the training.
    """

    through: pd.Timestamp
    last_row: int
    validation_start: int
    first_row: int = 0


@dataclass(frozen=True)
class TrainedFold:
    """A bundle, how the training of each member went, and what it cost in time and (planned) memory."""

    fold: TrainingFold
    bundle: Bundle
    histories: tuple[History, ...]
    seconds: float
    memory: str


@dataclass(frozen=True)
class FailedFold:
    """A fold that could not be trained, and why."""

    fold: TrainingFold
    error: str


def plan_training(index: pd.DatetimeIndex, schedule: ScheduleOptions, *, n_rows: int) -> list[TrainingFold]:
    """Plan the bundles for the first `n_rows` rows (those that are not sealed).

    The first ends after `first_months`, the next every `every_months`; the last ends early enough to be used, i.e.
    at least one month before row `n_rows`.

    Raises
    ------
    DataError
        If the rows do not hold even one fold.

    Examples
    --------
    >>> index = pd.bdate_range("2000-01-03", "2009-12-31")
    >>> folds = plan_training(index, ScheduleOptions(first_months=60, every_months=24), n_rows=len(index))
    >>> [f"{fold.through:%Y-%m}" for fold in folds]
    ['2004-12', '2006-12', '2008-12']
    """
    open_index = index[:n_rows]
    start = open_index[0].normalize().replace(day=1)
    folds = []
    months = schedule.first_months
    while True:
        end = start + pd.DateOffset(months=months)
        if end + pd.DateOffset(months=1) > open_index[-1]:
            break
        stop = int(open_index.searchsorted(end))  # rows before `end`
        validation = int(open_index.searchsorted(end - pd.DateOffset(months=schedule.validation_months)))
        folds.append(TrainingFold(open_index[stop - 1], stop - 1, validation))
        months += schedule.every_months
    if not folds:
        raise DataError(
            f"schedule.first_months={schedule.first_months} needs more than {schedule.first_months + 1} months of "
            f"rows before the sealed span, got {open_index[0]:%Y-%m-%d} to {open_index[-1]:%Y-%m-%d}; lower "
            "schedule.first_months or give more history"
        )
    return folds


def plan_rolling(index: pd.DatetimeIndex, spec: str, *, n_rows: int) -> tuple[list[TrainingFold], int]:
    """Plan bundles that see a rolling span, as ``"36m/12m/12m"``: months that teach, stop, and are served.

    Parameters
    ----------
    index : DatetimeIndex
    spec : str
        Three numbers of calendar months.
    n_rows : int
        Rows that are not sealed.

    Returns
    -------
    folds : list of TrainingFold
        One per served span; spans follow each other.
    months : int
        Calendar months that the bundles serve together.

    Raises
    ------
    ParameterError
        If `spec` does not read so.
    DataError
        If the rows do not hold one fold.

    Examples
    --------
    >>> folds, months = plan_rolling(pd.bdate_range("2010-01-01", "2021-12-31"), "36m/12m/12m", n_rows=3131)
    >>> len(folds), months, f"{folds[0].through:%Y-%m}", folds[1].first_row
    (8, 96, '2013-12', 261)
    """
    found = re.fullmatch(r"(\d+)m/(\d+)m/(\d+)m", spec)
    if found is None or min(map(int, found.groups())) < 1:
        raise ParameterError(
            f"--fold must read like 36m/12m/12m (months that teach, stop and are served), got {spec!r}"
        )
    train, validation, test = map(int, found.groups())
    rolled = rolling_folds(index[:n_rows], train_months=train, validation_months=validation, test_months=test)
    folds = [
        TrainingFold(
            through=index[fold.validation[-1]],
            last_row=int(fold.validation[-1]),
            validation_start=int(fold.validation[0]),
            first_row=int(fold.train[0]),
        )
        for fold in rolled
    ]
    return folds, test * len(folds)


def train_shrinkage(
    returns: pd.DataFrame,
    fold: TrainingFold,
    *,
    options: ShrinkageTraining,
    seed: int,
    source: str = "",
    checkpoints: Path | None = None,
    fabric: Fabric | None = None,
) -> TrainedFold:
    """Train one bundle.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns with a DatetimeIndex; rows after ``fold.last_row`` are not read.
    fold : TrainingFold
    options : ShrinkageTraining
    seed : int
        Windows, initial weights, batch order and dropout come from it.
    source : str
        Fingerprint of the data, kept in the bundle.
    checkpoints : Path, optional
        Folder for checkpoints; a training that was cut off goes on from there to the same bits.
    fabric : lightning_fabric.Fabric, optional
        Device and processes, see `eigenfolio.training.devices`; the CPU of this process without it.

    Returns
    -------
    TrainedFold
        The same bits for the same arguments.

    Raises
    ------
    DataError
        If too few complete windows can be drawn.
    """
    begun = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global state
            bundle, histories, memory = _train(returns, fold, options, seed, source, checkpoints, fabric)
    finally:
        torch.set_num_threads(threads)
    return TrainedFold(fold, bundle, histories, time.perf_counter() - begun, memory)


def _train(
    returns: pd.DataFrame,
    fold: TrainingFold,
    options: ShrinkageTraining,
    seed: int,
    source: str,
    checkpoints: Path | None,
    fabric: Fabric | None,
) -> tuple[Bundle, tuple[History, ...], str]:
    device = torch.device("cpu") if fabric is None else fabric.device
    values = np.ascontiguousarray(returns.to_numpy(dtype=float)[fold.first_row : fold.last_row + 1])
    teaching, stopping = label_rows(len(values), fold.validation_start - fold.first_row, options.windows)
    validation = draw_windows(
        values,
        stopping,
        options.windows.n_validation_windows,
        options=options.windows,
        rng=np.random.default_rng([seed, fold.last_row]),
    ).to(device)
    rng = np.random.default_rng([seed, fold.last_row, 0])
    train = draw_windows(values, teaching, options.windows.n_windows, options=options.windows, rng=rng).to(device)
    center, scale = (part.to(device) for part in _scaler(train))
    prior = prior_logit(train)
    networks = []
    for _ in range(options.n_members):
        network = DenseShrinkageNetwork.of(len(SPECTRUM_FEATURES), options.network, prior_logit=prior)
        network.initialise(torch.Generator().manual_seed(int(rng.integers(2**62))))
        networks.append(network)
    loss = shrinkage_loss(
        center=center, scale=scale, leverage_penalty=options.leverage_penalty, targets=options.network.targets
    )
    plan = plan_memory(  # the last window is one of the largest
        networks[0],
        train.take,
        loss,
        n_members=options.n_members,
        batch_size=options.loop.batch_size,
        row=len(train) - 1,
        device=device,
    )
    store = None
    if checkpoints is not None:
        identity = {
            "task": "shrinkage/dense",
            "training": options.model_dump(mode="json"),
            "rows": [fold.first_row, fold.validation_start, fold.last_row],
            "data": source,
            "seed": seed,
        }
        place = checkpoints / short_date(fold.through)
        store = CheckpointStore(place, identity=identity, keep_every=options.keep_every)
    histories = fit(
        networks,
        train,
        loss,
        validation=validation,
        options=options.loop.model_copy(update={"accumulate": max(options.loop.accumulate, plan.accumulate)}),
        store=store,
        fabric=fabric,
        seed=int(rng.integers(2**62)),
        rules=[ParameterRule("^gains$", rate=options.network.gain_rate, decay=False)],
        project=_project,
    )
    states = [{name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()} for network in networks]
    tensors = {name: np.stack([state[name] for state in states]) for name in states[0]}
    tensors |= {"feature_center": center.cpu().numpy(), "feature_scale": scale.cpu().numpy()}
    bundle = Bundle(
        family="shrinkage",
        network="dense",
        options=options.network.model_dump(mode="json")
        | ({"prior_logit": prior} if options.network.empirical_prior else {}),
        feature_names=SPECTRUM_FEATURES,
        tensors=tensors,
        trained_through=fold.through,
        details={
            "seed": seed,
            "data_fingerprint": source,
            "first_row": returns.index[fold.first_row].isoformat(),
            "n_assets": int(returns.shape[1]),
            "horizon": options.windows.horizon,
            "lookback_range": [options.windows.min_lookback, options.windows.max_lookback],
            "best_epochs": [history.best_epoch for history in histories],
            "losses": [[(r.train["total"], r.validation["total"]) for r in history.epochs] for history in histories],
            "training": options.model_dump(mode="json"),
        },
    )
    return bundle, tuple(histories), plan.describe()


def _project(group: Group) -> None:
    """Return the gains of target weights and volatility blend to [0, 1]."""
    group.view("gains")[:, 1:].clamp_(0.0, 1.0)


def _scaler(windows: WindowSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Median and inter-quartile range (in units of a Gaussian's standard deviation) of each feature."""
    features = windows.features().numpy().astype(float)
    quartiles = torch.from_numpy(np.quantile(features, [0.25, 0.5, 0.75], axis=0)).float()
    return quartiles[1], (quartiles[2] - quartiles[0]) / 1.349 + 1e-3


def train_series(
    returns: pd.DataFrame,
    folds: list[TrainingFold],
    *,
    options: ShrinkageTraining,
    seed: int,
    source: str = "",
    checkpoints: Path | None = None,
    devices: int = 1,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> list[TrainedFold | FailedFold]:
    """Train every fold, in parallel over folds; the result does not depend on the number of workers.

    With several `devices` the folds follow each other, and each is trained by that many processes together. A fold
    that fails with one of our errors is a recorded result.
    """
    if devices > 1:
        outcomes = []
        for fold in folds:
            seen = returns.iloc[: fold.last_row + 1]
            outcomes.append(launch(_train_or_record, seen, fold, options, seed, source, checkpoints, devices=devices))
            if on_done is not None:
                on_done()
        return outcomes
    tasks = [(None, returns.iloc[: fold.last_row + 1], fold, options, seed, source, checkpoints) for fold in folds]
    return run_tasks(_train_or_record, tasks, n_jobs=n_jobs, on_done=on_done)


def prior_logit(windows: WindowSet) -> float:
    """Logit of the mean Ledoit-Wolf intensity of the windows: what an output biased toward experience starts at."""
    mean = torch.cat([torch.sigmoid(group.classical_logit) for group in windows.groups]).mean()
    return float(torch.logit(mean, eps=1e-3))


def _train_or_record(
    fabric: Fabric | None,
    returns: pd.DataFrame,
    fold: TrainingFold,
    options: ShrinkageTraining,
    seed: int,
    source: str,
    checkpoints: Path | None,
) -> TrainedFold | FailedFold:
    try:
        return train_shrinkage(
            returns, fold, options=options, seed=seed, source=source, checkpoints=checkpoints, fabric=fabric
        )
    except EigenfolioError as error:
        return FailedFold(fold, f"{type(error).__name__}: {error}")
