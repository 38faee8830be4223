"""What makes a bundle: windows, losses, the loop and dated training.

A table of returns and a plan of dates enter; bundles that know the last row they have seen leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.training.convergence import convergence_report
    from eigenfolio.training.loop import History, LoopOptions, fit
    from eigenfolio.training.shrinkage import (
        ScheduleOptions,
        ShrinkageTraining,
        TrainedFold,
        TrainingFold,
        plan_rolling,
        plan_training,
        train_series,
        train_shrinkage,
    )
    from eigenfolio.training.windows import WindowOptions

__all__ = [
    "History",
    "LoopOptions",
    "ScheduleOptions",
    "ShrinkageTraining",
    "TrainedFold",
    "TrainingFold",
    "WindowOptions",
    "convergence_report",
    "fit",
    "plan_rolling",
    "plan_training",
    "train_series",
    "train_shrinkage",
]

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        ".convergence": ("convergence_report",),
        ".loop": ("History", "LoopOptions", "fit"),
        ".shrinkage": (
            "ScheduleOptions",
            "ShrinkageTraining",
            "TrainedFold",
            "TrainingFold",
            "plan_rolling",
            "plan_training",
            "train_series",
            "train_shrinkage",
        ),
        ".windows": ("WindowOptions",),
    },
)
