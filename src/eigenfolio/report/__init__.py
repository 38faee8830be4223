"""A result enters as plain tables in a `ReportContent`, or as a fitted estimator; a self-contained HTML page leaves.

The page needs no network, no server and nothing beside itself.
"""

from eigenfolio.report.content import ReportContent, Tone
from eigenfolio.report.page import write_report
from eigenfolio.report.shrinkage_plot import plot_shrinkage

__all__ = ["ReportContent", "Tone", "plot_shrinkage", "write_report"]
