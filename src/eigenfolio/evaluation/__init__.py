"""Protocols that judge skfolio estimators out of sample, and the statistics of their differences.

Models, returns and planned decisions enter; tracks, tables with intervals and sentences leave.
"""

from eigenfolio.evaluation.attribution import Attribution, integrated_gradients, permutation_attribution
from eigenfolio.evaluation.audit import audit
from eigenfolio.evaluation.audit_report import AuditReport, Finding
from eigenfolio.evaluation.comparators import comparators, with_comparators
from eigenfolio.evaluation.comparison import compare, compare_with_best, finding, performance_table, verdict
from eigenfolio.evaluation.cost_tables import break_even_table, charged, cost_table
from eigenfolio.evaluation.covariance_measures import (
    diagonal_ratio,
    log_likelihood,
    losses_to_truth,
    mahalanobis_ratio,
    own_log_likelihood,
    prial,
    qlike,
    variance_ratio,
)
from eigenfolio.evaluation.covariance_report import CovarianceReport, covariance_report
from eigenfolio.evaluation.difference import DifferenceTest
from eigenfolio.evaluation.forecast_measures import (
    ForecastMeasures,
    IntensityAccuracy,
    forecast_measures,
    intensity_accuracy,
)
from eigenfolio.evaluation.forecast_tests import DirectionTest, diebold_mariano_test, pesaran_timmermann_test
from eigenfolio.evaluation.interpretation import ablation_table, eigenvector_view, sector_view, what_changed
from eigenfolio.evaluation.lookahead import Leak, LookaheadReport, check_no_lookahead
from eigenfolio.evaluation.monitoring import Monitoring, monitor_track
from eigenfolio.evaluation.multiple_testing import (
    ConfidenceSet,
    SuperiorAbility,
    adjusted_p_values,
    model_confidence_set,
    stepwise_superior_models,
    superior_predictive_ability,
)
from eigenfolio.evaluation.null_tracks import draw_tracks
from eigenfolio.evaluation.overfitting import Overfitting, backtest_overfitting
from eigenfolio.evaluation.path_summary import Paths
from eigenfolio.evaluation.protocols import combinatorial_paths, randomized_paths, seed_paths, walk_forward_paths
from eigenfolio.evaluation.seed_stability import SeedStability, seed_stability
from eigenfolio.evaluation.selection_bias import (
    SharpeEvidence,
    deflated_sharpe_ratio,
    effective_trials,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe_ratio,
)
from eigenfolio.evaluation.sharpe import SharpeDifference, sharpe_difference
from eigenfolio.evaluation.sharpe_tests import jobson_korkie_test, ledoit_wolf_sharpe_test
from eigenfolio.evaluation.significance import VolatilityRatio, holm, minimum_detectable, volatility_ratio
from eigenfolio.evaluation.stability import covariance_stability, stability_path
from eigenfolio.evaluation.stress import StressTest, stress_test
from eigenfolio.evaluation.track_tests import pair_tests, selection_table, set_tests
from eigenfolio.evaluation.variance_tests import ledoit_wolf_variance_test
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Failure, Track, WalkForward, walk_forward

__all__ = [
    "OWN_BOOK",
    "Attribution",
    "AuditReport",
    "ConfidenceSet",
    "CovarianceReport",
    "DifferenceTest",
    "DirectionTest",
    "Failure",
    "Finding",
    "ForecastMeasures",
    "IntensityAccuracy",
    "Leak",
    "LookaheadReport",
    "Monitoring",
    "Overfitting",
    "Paths",
    "SeedStability",
    "SharpeDifference",
    "SharpeEvidence",
    "StressTest",
    "SuperiorAbility",
    "Track",
    "VolatilityRatio",
    "WalkForward",
    "ablation_table",
    "adjusted_p_values",
    "audit",
    "backtest_overfitting",
    "break_even_table",
    "charged",
    "check_no_lookahead",
    "combinatorial_paths",
    "comparators",
    "compare",
    "compare_with_best",
    "cost_table",
    "covariance_report",
    "covariance_stability",
    "deflated_sharpe_ratio",
    "diagonal_ratio",
    "diebold_mariano_test",
    "draw_tracks",
    "effective_trials",
    "eigenvector_view",
    "expected_best_sharpe",
    "finding",
    "forecast_measures",
    "holm",
    "integrated_gradients",
    "intensity_accuracy",
    "jobson_korkie_test",
    "ledoit_wolf_sharpe_test",
    "ledoit_wolf_variance_test",
    "log_likelihood",
    "losses_to_truth",
    "mahalanobis_ratio",
    "minimum_detectable",
    "minimum_track_record",
    "model_confidence_set",
    "monitor_track",
    "own_log_likelihood",
    "pair_tests",
    "performance_table",
    "permutation_attribution",
    "pesaran_timmermann_test",
    "prial",
    "probabilistic_sharpe_ratio",
    "qlike",
    "randomized_paths",
    "sector_view",
    "seed_paths",
    "seed_stability",
    "selection_table",
    "set_tests",
    "sharpe_difference",
    "stability_path",
    "stepwise_superior_models",
    "stress_test",
    "superior_predictive_ability",
    "variance_ratio",
    "verdict",
    "volatility_ratio",
    "walk_forward",
    "walk_forward_paths",
    "what_changed",
    "with_comparators",
]
