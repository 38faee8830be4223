"""What makes a bundle: windows, losses, the loop and dated training.

A table of returns and a plan of dates enter; bundles that know the last row they have seen leave.
"""

from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.shrinkage import (
    ScheduleOptions,
    ShrinkageTraining,
    TrainedFold,
    TrainingFold,
    plan_training,
    train_series,
    train_shrinkage,
)
from eigenfolio.training.windows import WindowOptions

__all__ = [
    "LoopOptions",
    "ScheduleOptions",
    "ShrinkageTraining",
    "TrainedFold",
    "TrainingFold",
    "WindowOptions",
    "plan_training",
    "train_series",
    "train_shrinkage",
]
