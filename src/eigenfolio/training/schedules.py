"""Learning-rate schedules as pure functions: what the rate is times, given how far training has come.

Nothing is remembered between steps, so a resumed run needs no schedule state; the plateau rule reads the
validation losses so far. Every factor is 1 at the peak rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "OneCycle",
    "Plateau",
    "Progress",
    "ScheduleRule",
    "Step",
]


@dataclass(frozen=True)
class Progress:
    """How far training has come.

    Attributes
    ----------
    step, n_steps : int
        This step, from 0, and how many there will be at most.
    epoch : int
        This epoch, from 0.
    steps_per_epoch : int
    validation : sequence of float
        Validation losses of the finished epochs, oldest first.
    """

    step: int
    n_steps: int
    epoch: int
    steps_per_epoch: int
    validation: Sequence[float] = ()


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Constant(_Rule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, progress: Progress) -> float:
        """Factor at this step."""
        return 1.0


class OneCycle(_Rule):
    """Up to the peak and down again along cosines.

    Parameters
    ----------
    warmup : float in (0, 1)
        Share of the steps that lead up.
    start, end : float
        Factors at the first and the last step.
    """

    name: Literal["one_cycle"] = "one_cycle"
    warmup: float = Field(default=0.2, gt=0.0, lt=1.0)
    start: float = Field(default=0.04, gt=0.0, le=1.0)
    end: float = Field(default=4e-6, ge=0.0, le=1.0)

    def factor(self, progress: Progress) -> float:
        """Factor at this step."""
        last = max(progress.n_steps - 1, 1)
        turn = self.warmup * last
        if progress.step < turn:
            return _cosine(self.start, 1.0, progress.step / turn)
        return _cosine(1.0, self.end, (progress.step - turn) / max(last - turn, 1e-12))


class Cosine(_Rule):
    """From the peak to `end` along half a cosine."""

    name: Literal["cosine"] = "cosine"
    end: float = Field(default=0.0, ge=0.0, le=1.0)

    def factor(self, progress: Progress) -> float:
        """Factor at this step."""
        return _cosine(1.0, self.end, progress.step / max(progress.n_steps, 1))


class CosineRestarts(_Rule):
    """Half cosines that start again at the peak.

    Parameters
    ----------
    period : int
        Epochs of the first half cosine.
    growth : int
        Factor by which each following one is longer.
    end : float
        Factor just before a restart.
    """

    name: Literal["cosine_restarts"] = "cosine_restarts"
    period: int = Field(default=10, ge=1)
    growth: int = Field(default=1, ge=1)
    end: float = Field(default=0.0, ge=0.0, le=1.0)

    def factor(self, progress: Progress) -> float:
        """Factor at this step."""
        position, period = progress.step / progress.steps_per_epoch, float(self.period)
        while position >= period:
            position -= period
            period *= self.growth
        return _cosine(1.0, self.end, position / period)


class Step(_Rule):
    """Multiply by `gamma` every `every` epochs."""

    name: Literal["step"] = "step"
    every: int = Field(default=10, ge=1)
    gamma: float = Field(default=0.5, gt=0.0, le=1.0)

    def factor(self, progress: Progress) -> float:
        """Factor in this epoch."""
        return float(self.gamma ** (progress.epoch // self.every))


class Exponential(_Rule):
    """Multiply by `gamma` every epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: float = Field(default=0.95, gt=0.0, le=1.0)

    def factor(self, progress: Progress) -> float:
        """Factor in this epoch."""
        return float(self.gamma**progress.epoch)


class Plateau(_Rule):
    """Multiply by `gamma` after `patience` epochs without a better validation loss.

    Parameters
    ----------
    gamma : float
        What the rate is multiplied by.
    patience : int
        Epochs to wait, again after each reduction.
    min_delta : float
        What counts as better.
    """

    name: Literal["plateau"] = "plateau"
    gamma: float = Field(default=0.5, gt=0.0, lt=1.0)
    patience: int = Field(default=5, ge=1)
    min_delta: float = Field(default=0.0, ge=0.0)

    def factor(self, progress: Progress) -> float:
        """Factor in this epoch."""
        best, waited, reductions = math.inf, 0, 0
        for loss in progress.validation:
            if loss < best - self.min_delta:
                best, waited = loss, 0
            else:
                waited += 1
                if waited > self.patience:
                    reductions, waited = reductions + 1, 0
        return float(self.gamma**reductions)


ScheduleRule = Annotated[
    OneCycle | Cosine | CosineRestarts | Step | Exponential | Plateau | Constant, Field(discriminator="name")
]


def _cosine(start: float, end: float, share: float) -> float:
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
