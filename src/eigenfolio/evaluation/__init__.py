"""Protocols that judge skfolio estimators out of sample, and the statistics of their differences.

Models, returns and planned decisions enter; tracks, tables with intervals and sentences leave.
"""

from eigenfolio.evaluation.comparison import compare, compare_with_best, finding, performance_table, verdict
from eigenfolio.evaluation.lookahead import Leak, LookaheadReport, check_no_lookahead
from eigenfolio.evaluation.sharpe import SharpeDifference, sharpe_difference
from eigenfolio.evaluation.significance import VolatilityRatio, holm, minimum_detectable, volatility_ratio
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Failure, Track, WalkForward, walk_forward

__all__ = [
    "OWN_BOOK",
    "Failure",
    "Leak",
    "LookaheadReport",
    "SharpeDifference",
    "Track",
    "VolatilityRatio",
    "WalkForward",
    "check_no_lookahead",
    "compare",
    "compare_with_best",
    "finding",
    "holm",
    "minimum_detectable",
    "performance_table",
    "sharpe_difference",
    "verdict",
    "volatility_ratio",
    "walk_forward",
]
