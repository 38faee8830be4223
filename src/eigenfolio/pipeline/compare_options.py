"""What the jobs that judge without training can be told; nothing here needs torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from eigenfolio.data import CoverageRule
from eigenfolio.pipeline.judge import JudgeOptions
from eigenfolio.pipeline.prepare import DataOptions

__all__ = ["CompareOptions"]


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
