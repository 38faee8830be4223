"""What the jobs can be told: the option models of the rooms, put together."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from eigenfolio.data import CoverageRule
from eigenfolio.pipeline.judge import JudgeOptions
from eigenfolio.pipeline.prepare import DataOptions
from eigenfolio.training import ShrinkageTraining

__all__ = ["CompareOptions", "Preset", "RunOptions", "TrainOptions"]

Preset = Literal["quick", "full"]


class CompareOptions(BaseModel):
    """Everything that `compare-covariance` can be told.

    Parameters
    ----------
    seed : int
        The intervals come from it.
    data, universe, evaluation : mapping
        Options of the rooms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=42, ge=0)
    data: DataOptions = DataOptions()
    universe: CoverageRule = CoverageRule()
    evaluation: JudgeOptions = JudgeOptions()


class RunOptions(CompareOptions):
    """Everything that `run` can be told.

    Parameters
    ----------
    preset : {"quick", "full"}
        Defaults for a look in minutes or for a result to keep.
    seed : int
        Every random number of the run comes from it.
    sealed_share : float
        Share of the rows, at the end, that the run does not look at.
    data, universe, training, evaluation : mapping
        Options of the rooms.
    """

    preset: Preset = "quick"
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    training: ShrinkageTraining = ShrinkageTraining()


class TrainOptions(BaseModel):
    """Everything that `train` can be told.

    Parameters
    ----------
    preset : {"quick", "full"}
        Defaults for a look in minutes or for a result to keep.
    seed : int
        Every random number comes from it.
    sealed_share : float
        Share of the rows, at the end, that training does not look at.
    fold : str or None
        Rolling spans such as "36m/12m/12m"; None trains on all rows so far, by `training.schedule`.
    devices : int
        Processes that train each fold together, one per device of this machine.
    data, training : mapping
        Options of the rooms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "quick"
    seed: int = Field(default=42, ge=0)
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    fold: str | None = None
    devices: int = Field(default=1, ge=1)
    data: DataOptions = DataOptions()
    training: ShrinkageTraining = ShrinkageTraining()
