"""A result enters as plain tables in a `ReportContent`; one self-contained HTML page leaves.

The page needs no network, no server and nothing beside itself.
"""

from eigenfolio.report.content import ReportContent, Tone
from eigenfolio.report.page import write_report

__all__ = ["ReportContent", "Tone", "write_report"]
