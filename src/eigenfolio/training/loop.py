"""A plain training loop: batches, AdamW with a one-cycle schedule, early stopping on validation windows.

The untrained network competes as epoch 0, so a run that learns nothing returns its closed form.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from eigenfolio.errors import EigenfolioError
from eigenfolio.models.networks.dense import DenseShrinkageNetwork
from eigenfolio.training.losses import log_realised_variance, shrunk_covariance
from eigenfolio.training.windows import WindowGroup, WindowSet

__all__ = ["EpochRecord", "History", "LoopOptions", "TrainingError", "fit_network"]


class TrainingError(EigenfolioError):
    """Training cannot go on."""


class LoopOptions(BaseModel):
    """Options of the loop.

    Parameters
    ----------
    max_epochs : int
        Passes over the training windows.
    patience : int
        Epochs without a better validation loss before the loop stops; the best state is restored either way.
    batch_size : int
        Windows per step.
    learning_rate : float
        Peak of the one-cycle schedule.
    gain_learning_rate : float
        Peak rate of the output gains, which start at zero and open the network.
    weight_decay : float
        AdamW decay of the weight matrices.
    clip_norm : float
        Largest gradient norm.
    leverage_penalty : float
        Weight of the log gross exposure in the loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=6, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    gain_learning_rate: float = Field(default=2e-2, gt=0.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    clip_norm: float = Field(default=1.0, gt=0.0)
    leverage_penalty: float = Field(default=0.1, ge=0.0)


@dataclass(frozen=True)
class EpochRecord:
    """Mean losses after one epoch; epoch 0 is the closed form the network starts at."""

    epoch: int
    train_loss: float
    validation_loss: float


@dataclass(frozen=True)
class History:
    """All epochs, and the one whose weights were kept."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int

    @property
    def start(self) -> EpochRecord:
        """The closed form."""
        return self.epochs[0]

    @property
    def best(self) -> EpochRecord:
        """The epoch that was kept."""
        return self.epochs[self.best_epoch]


def fit_network(
    network: DenseShrinkageNetwork,
    train: WindowSet,
    validation: WindowSet,
    *,
    center: Tensor,
    scale: Tensor,
    options: LoopOptions,
    generator: torch.Generator,
) -> History:
    """Train `network` in place and leave it with the weights of the best validation epoch.

    Parameters
    ----------
    network : DenseShrinkageNetwork
        Initialised network.
    train, validation : WindowSet
        Windows whose labels do not overlap.
    center, scale : Tensor of shape (n_features,)
        Feature scaler, fitted on the training windows.
    options : LoopOptions
    generator : torch.Generator
        Order of the windows and dropout come from it.

    Raises
    ------
    TrainingError
        If a loss or a gradient is not finite.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1 and p is not network.gains]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
            {"params": [network.gains], "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
    )
    n_steps = options.max_epochs * -(-len(train) // options.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[options.learning_rate, options.learning_rate, options.gain_learning_rate],
        total_steps=n_steps,
        pct_start=0.2,
    )
    penalty = options.leverage_penalty

    def batch_loss(batch: list[WindowGroup]) -> Tensor:
        features = torch.cat([group.features for group in batch])
        logits = torch.cat([group.classical_logit for group in batch]).float()
        output = network(scale_features(features, center, scale), logits)
        sizes = [len(group) for group in batch]
        parts = zip(*(part.split(sizes) for part in output), strict=True)
        losses = [
            log_realised_variance(shrunk_covariance(group, type(output)(*part)), group.future, leverage_penalty=penalty)
            for group, part in zip(batch, parts, strict=True)
        ]
        return torch.cat(losses).mean()

    def evaluate(windows: WindowSet) -> float:
        network.eval()
        with torch.no_grad():
            total = sum(batch_loss([group]).item() * len(group) for group in windows.groups)
        return total / len(windows)

    records = [EpochRecord(0, evaluate(train), evaluate(validation))]
    best_epoch, best_state = 0, copy.deepcopy(network.state_dict())
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))  # dropout draws from the global state
    for epoch in range(1, options.max_epochs + 1):
        network.train()
        total = 0.0
        for step, batch in enumerate(train.batches(options.batch_size, generator)):
            n_windows = sum(len(group) for group in batch)
            if n_windows < 2:  # batch normalisation needs two windows
                schedule.step()
                continue
            optimiser.zero_grad()
            loss = batch_loss(batch)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise TrainingError(
                    f"epoch {epoch}, step {step}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}; "
                    "lower loop.learning_rate or look for extreme returns in the data report"
                )
            optimiser.step()
            network.project_gains()
            schedule.step()
            total += loss.item() * n_windows
        records.append(EpochRecord(epoch, total / len(train), evaluate(validation)))
        if records[-1].validation_loss < records[best_epoch].validation_loss:
            best_epoch, best_state = epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= options.patience:
            break
    network.load_state_dict(best_state)
    network.eval()
    return History(tuple(records), best_epoch)


def scale_features(features: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Centre, scale and clamp to +-4, as the NumPy pass does."""
    return ((features - center) / scale).clamp(-4.0, 4.0)
