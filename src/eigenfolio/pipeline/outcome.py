"""What a job is given by the world outside, what it gives back, and tables as plain values.

Nothing here needs a model, so that what only reads records is quick to start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from eigenfolio.training.follow import Listener

__all__ = ["Outcome", "RunContext", "flatten", "numbers", "records"]


@dataclass(frozen=True)
class RunContext:
    """What a job knows of the world outside, gathered by the command line.

    Parameters
    ----------
    folder : Path
        Where runs are kept; the job makes one folder inside.
    started : datetime
    command : str
        The command line.
    git_commit : str or None
    n_jobs : int
        Processes.
    on_epoch : callable, optional
        Told of every epoch of every network in training.
    """

    folder: Path
    started: datetime
    command: str
    git_commit: str | None
    n_jobs: int = 1
    on_epoch: Listener | None = None


@dataclass(frozen=True)
class Outcome:
    """Where the run is, what follows from it, its tables, and what else should be known."""

    folder: Path
    verdict: tuple[str, ...]
    performance: pd.DataFrame
    comparison: pd.DataFrame
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "verdict": list(self.verdict),
            "performance": records(self.performance),
            "comparison": records(self.comparison),
            "notes": list(self.notes),
        }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-able dictionaries; what is not a finite number becomes None."""

    def plain(value: Any) -> Any:
        if isinstance(value, (float, np.floating)):
            return float(value) if np.isfinite(value) else None
        if isinstance(value, (np.bool_, bool)):
            return bool(value)
        return int(value) if isinstance(value, np.integer) else value

    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Numbers of a table of performance, by book, model and metric.

    Examples
    --------
    >>> numbers([{"model": "QIS", "book": "own", "turnover": 0.1, "windows": None}])
    {'performance/own/QIS/turnover': 0.1}
    """
    return {
        f"performance/{row['book']}/{row['model']}/{name}": float(value)
        for row in rows
        for name, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name.

    Examples
    --------
    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
