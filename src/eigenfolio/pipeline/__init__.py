"""Whole jobs: plain functions that call the rooms in order.

A configuration and a place to write enter; a run folder with its report leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.pipeline.compare import compare_covariance
    from eigenfolio.pipeline.compare_options import CompareOptions
    from eigenfolio.pipeline.judge import JudgeOptions, Progress
    from eigenfolio.pipeline.options import RunOptions, TrainOptions
    from eigenfolio.pipeline.outcome import Outcome, RunContext
    from eigenfolio.pipeline.prepare import DataOptions, prepare
    from eigenfolio.pipeline.pretrain import PretrainOutcome, pretrain
    from eigenfolio.pipeline.pretrain_options import PretrainOptions
    from eigenfolio.pipeline.run import run
    from eigenfolio.pipeline.train import TrainOutcome, train

__all__ = [
    "CompareOptions",
    "DataOptions",
    "JudgeOptions",
    "Outcome",
    "PretrainOptions",
    "PretrainOutcome",
    "Progress",
    "RunContext",
    "RunOptions",
    "TrainOptions",
    "TrainOutcome",
    "compare_covariance",
    "prepare",
    "pretrain",
    "run",
    "train",
]

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        ".compare": ("compare_covariance",),
        ".compare_options": ("CompareOptions",),
        ".judge": ("JudgeOptions", "Progress"),
        ".options": ("RunOptions", "TrainOptions"),
        ".outcome": ("Outcome", "RunContext"),
        ".prepare": ("DataOptions", "prepare"),
        ".pretrain": ("PretrainOutcome", "pretrain"),
        ".pretrain_options": ("PretrainOptions",),
        ".run": ("run",),
        ".train": ("TrainOutcome", "train"),
    },
)
