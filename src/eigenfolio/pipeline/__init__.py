"""Whole jobs: plain functions that call the rooms in order.

A configuration and a place to write enter; a run folder with its report leaves.
"""

from eigenfolio.pipeline.compare import compare_covariance
from eigenfolio.pipeline.judge import JudgeOptions, Progress
from eigenfolio.pipeline.options import CompareOptions, RunOptions, TrainOptions
from eigenfolio.pipeline.prepare import DataOptions, prepare
from eigenfolio.pipeline.pretrain import PretrainOutcome, pretrain
from eigenfolio.pipeline.pretrain_options import PretrainOptions
from eigenfolio.pipeline.run import Outcome, RunContext, run
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
