"""What an audit found: one finding per check, and the report that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError

__all__ = ["AuditReport", "Finding", "Status"]

Status = Literal["ok", "leak", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check : str
        Name of the check.
    status : {"ok", "leak", "not applicable"}
    evidence : str
        What was tried and what changed, or why there was nothing to try.
    dates : tuple of Timestamp
        Decisions that changed.
    size : float or None
        Largest change relative to the size of its column; inf where a value came, went or could not be computed.
    assets : tuple of str
        Columns that changed.
    reach : int or None
        Rows after the decision that matter at least, where the experiment tells.
    """

    check: str
    status: Status
    evidence: str
    dates: tuple[pd.Timestamp, ...] = ()
    size: float | None = None
    assets: tuple[str, ...] = ()
    reach: int | None = None

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ParameterError(f"status must be one of {get_args(Status)}, got {self.status!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a size that is not finite is None."""
        finite = self.size is not None and np.isfinite(self.size)
        return {
            "check": self.check,
            "status": self.status,
            "evidence": self.evidence,
            "dates": [date.isoformat() for date in self.dates],
            "size": float(self.size) if finite and self.size is not None else None,
            "assets": list(self.assets),
            "reach": self.reach,
        }


@dataclass(frozen=True)
class AuditReport:
    """Findings about one target.

    Attributes
    ----------
    target : str
        Its name.
    kind : str
        What it was taken for.
    dates : tuple of Timestamp
        Decisions that were tried.
    findings : tuple of Finding
        One per check.
    """

    target: str
    kind: str
    dates: tuple[pd.Timestamp, ...]
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Findings that are leaks."""
        return tuple(finding for finding in self.findings if finding.status == "leak")

    @property
    def clean(self) -> bool:
        """Whether no check found a leak."""
        return not self.leaks

    @property
    def verdict(self) -> str:
        """One sentence."""
        tried = sum(finding.status != "not applicable" for finding in self.findings)
        if self.clean:
            return f"{self.target}: no look-ahead found by {tried} checks on {len(self.dates)} dates."
        return f"{self.target}: LOOK-AHEAD, found by {', '.join(finding.check for finding in self.leaks)}."

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "target": self.target,
            "kind": self.kind,
            "clean": self.clean,
            "dates": [date.isoformat() for date in self.dates],
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """Plain text, the verdict first."""
        width = max((len(finding.check) for finding in self.findings), default=0)
        rows = [f"  {f.check:<{width}}  {f.status:<14}  {f.evidence}" for f in self.findings]
        return [self.verdict, *rows]
