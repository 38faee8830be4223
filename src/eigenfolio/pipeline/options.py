"""What the jobs that train can be told: the option models of the rooms, put together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.prepare import DataOptions
from eigenfolio.training import ShrinkageTraining
from eigenfolio.training.budgets import Budgets
from eigenfolio.training.tracking import TrackingOptions

__all__ = ["Preset", "RunOptions", "TrainOptions"]

Preset = Literal["quick", "full"]

RANGES = {"learning_rate": (1e-4, 1e-2), "batch_size": (16, 128)}
"""What the loop of a shrinkage network may be told; the ranges that its architecture was specified for."""


def _within_ranges(training: ShrinkageTraining) -> ShrinkageTraining:
    for name, (low, high) in RANGES.items():
        value = getattr(training.loop, name)
        if not low <= value <= high:
            raise ValueError(f"loop.{name} must lie in [{low:g}, {high:g}], got {value:g}")
    return training


Training = Annotated[ShrinkageTraining, AfterValidator(_within_ranges)]


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
    budgets : mapping
        Seconds that training may take; what takes longer is recorded so, and not stopped.
    tracking : mapping
        Copies of the metrics for TensorBoard and MLflow.
    """

    preset: Preset = "quick"
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    training: Training = ShrinkageTraining()
    budgets: Budgets = Budgets()
    tracking: TrackingOptions = TrackingOptions()


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
    budgets : mapping
        Seconds that training may take; what takes longer is recorded so, and not stopped.
    tracking : mapping
        Copies of the metrics for TensorBoard and MLflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "quick"
    seed: int = Field(default=42, ge=0)
    sealed_share: float = Field(default=0.2, ge=0.0, lt=0.9)
    fold: str | None = None
    devices: int = Field(default=1, ge=1)
    data: DataOptions = DataOptions()
    training: Training = ShrinkageTraining()
    budgets: Budgets = Budgets()
    tracking: TrackingOptions = TrackingOptions()
