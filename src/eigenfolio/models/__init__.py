"""Closed-form covariance estimators and portfolios: returns with gaps enter `fit`, a covariance or weights leave.

All are skfolio estimators without torch; learned networks live in `eigenfolio.models.networks`.
"""

from eigenfolio.models.calibrated_shrinkage import AverageOracle, BestConstantShrinkage
from eigenfolio.models.clustering import ClusterQuality, distance_analysis
from eigenfolio.models.covariance_model import CovarianceModel
from eigenfolio.models.exponential_weights import EWMACovariance, IEWMACovariance
from eigenfolio.models.hierarchical_risk_parity import HierarchicalRiskParity, fit_together, hierarchical_weights
from eigenfolio.models.limited_turnover import LimitedTurnover
from eigenfolio.models.linear_shrinkage import OAS, LedoitWolf, ledoit_wolf_identity_intensity
from eigenfolio.models.minimum_variance import minimum_variance_weights
from eigenfolio.models.nonlinear_shrinkage import (
    QIS,
    QuadraticInverseShrinkage,
    champion_covariance,
    qis_eigenvalues,
)
from eigenfolio.models.portfolios import EqualWeight, InverseVolatility, MinimumVariance, MissingSafe
from eigenfolio.models.sample import SampleCovariance

__all__ = [
    "OAS",
    "QIS",
    "AverageOracle",
    "BestConstantShrinkage",
    "ClusterQuality",
    "CovarianceModel",
    "EWMACovariance",
    "EqualWeight",
    "HierarchicalRiskParity",
    "IEWMACovariance",
    "InverseVolatility",
    "LedoitWolf",
    "LimitedTurnover",
    "MinimumVariance",
    "MissingSafe",
    "QuadraticInverseShrinkage",
    "SampleCovariance",
    "champion_covariance",
    "distance_analysis",
    "fit_together",
    "hierarchical_weights",
    "ledoit_wolf_identity_intensity",
    "minimum_variance_weights",
    "qis_eigenvalues",
]
