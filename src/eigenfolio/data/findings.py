"""What the checks found and what the cleaning changed, as plain records that print and serialise.

A status is one of four, in rising order: "ok" (nothing to see), "note" (normal, but good to know),
"warning" (mended by cleaning, or worth a look before trusting a result) and "error" (the table must not
be used so).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

__all__ = ["CleaningReport", "DataReport", "Finding", "Status"]

Status = Literal["ok", "note", "warning", "error"]

_RANK: dict[Status, int] = {"ok": 0, "note": 1, "warning": 2, "error": 3}
_MAX_DATES = 50


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    check : str
        What was looked at, in a few words.
    status : {"ok", "note", "warning", "error"}
        How much it matters.
    summary : str
        One sentence for the reader.
    assets : tuple of str
        Assets concerned; near-duplicates are pairs, "CCL/CUK".
    dates : tuple of str
        Dates concerned in ISO form, the first 50.
    count : int
        How many cells, rows, assets or pairs.
    """

    check: str
    status: Status
    summary: str
    assets: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class CleaningReport:
    """Every kind of change that cleaning made, with its count.

    Parameters
    ----------
    changes : tuple of Finding
        One per kind of change that happened; empty when the table was clean.
    """

    changes: tuple[Finding, ...] = ()

    @property
    def n_changes(self) -> int:
        """Total of the counts (rows and cells)."""
        return sum(change.count for change in self.changes)

    def summary(self) -> str:
        """Return what cleaning did in one sentence."""
        if not self.changes:
            return "Cleaning changed nothing."
        return "Cleaning " + "; ".join(change.summary for change in self.changes) + "."

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, ready for JSON."""
        return {"n_changes": self.n_changes, "changes": [_plain(change) for change in self.changes]}

    def to_rows(self) -> list[dict[str, str]]:
        """Return one dict (check, status, summary) per change."""
        return _rows(self.changes)


@dataclass(frozen=True)
class DataReport:
    """The findings of all checks and, when the data were cleaned, what was changed.

    Parameters
    ----------
    findings : tuple of Finding
        One or more per check, the quiet ones too.
    cleaning : CleaningReport or None
        None when nothing was cleaned.

    Examples
    --------
    >>> report = DataReport((Finding("gaps", "note", "3 prices are missing", ("A",), (), 3),))
    >>> report.status, report.to_rows()
    ('note', [{'check': 'gaps', 'status': 'note', 'summary': '3 prices are missing'}])
    """

    findings: tuple[Finding, ...]
    cleaning: CleaningReport | None = None

    @property
    def status(self) -> Status:
        """The gravest status among the findings; a report without findings is an error, never good news."""
        if not self.findings:
            return "error"
        return max((finding.status for finding in self.findings), key=_RANK.__getitem__)

    def find(self, check: str) -> Finding:
        """Return the gravest finding of one check.

        Raises
        ------
        KeyError
            If there is no such check.
        """
        found = [finding for finding in self.findings if finding.check == check]
        if not found:
            raise KeyError(f"no check {check!r}; there are {', '.join(f.check for f in self.findings)}")
        return max(found, key=lambda finding: _RANK[finding.status])

    def with_cleaning(self, cleaning: CleaningReport) -> DataReport:
        """Return the report with the cleaning's changes attached."""
        return replace(self, cleaning=cleaning)

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings, then the changes that do not only repeat a finding word for word."""
        changes = () if self.cleaning is None else self.cleaning.changes
        return self.findings + tuple(change for change in changes if change not in self.findings)

    def summary(self) -> str:
        """Return the state of the data in one sentence: how many rows of each status, and which errors and warnings."""
        shown = self.shown
        counts = ", ".join(counted(sum(f.status == s for f in shown), s) for s in ("error", "warning", "note"))
        head = {
            "error": "The data cannot be used as they are",
            "warning": "The data can be used with care",
            "note": "The data look sound",
            "ok": "The data look sound",
        }[self.status]
        kinds = {s: dict.fromkeys(f.check for f in shown if f.status == s) for s in ("error", "warning")}
        named = "; ".join(
            f"{status if len(names) == 1 else status + 's'}: {', '.join(names)}"
            for status, names in kinds.items()
            if names
        )
        return f"{head} ({counts})" + (f"; {named}." if named else ".")

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, ready for JSON."""
        return {
            "status": self.status,
            "summary": self.summary(),
            "findings": [_plain(finding) for finding in self.findings],
            "cleaning": None if self.cleaning is None else self.cleaning.to_dict(),
        }

    def to_rows(self) -> list[dict[str, str]]:
        """Return one dict (check, status, summary) per finding, then per change that no finding states already."""
        return _rows(self.shown)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 note", "2 notes"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def iso_dates(dates: Iterable[pd.Timestamp]) -> tuple[str, ...]:
    """Return the first 50 dates as ISO text, without a time at midnight."""
    stamps = [pd.Timestamp(date) for date in list(dates)[:_MAX_DATES]]
    return tuple(s.date().isoformat() if s == s.normalize() else s.isoformat() for s in stamps)


def some(names: Iterable[object], n: int = 5) -> str:
    """Return the first names and how many more there are: "A, B and 3 more"."""
    listed = [str(name) for name in names]
    if len(listed) <= n:
        return ", ".join(listed)
    return f"{', '.join(listed[:n])} and {len(listed) - n:,} more"


def _plain(finding: Finding) -> dict[str, Any]:
    plain = asdict(finding)
    return plain | {"assets": list(finding.assets), "dates": list(finding.dates)}


def _rows(findings: Iterable[Finding]) -> list[dict[str, str]]:
    return [{"check": f.check, "status": f.status, "summary": f.summary} for f in findings]
