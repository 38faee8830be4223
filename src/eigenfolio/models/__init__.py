"""Closed-form covariance estimators and portfolios: returns with gaps enter `fit`, a covariance or weights leave.

All are skfolio estimators without torch; learned networks live in `eigenfolio.models.networks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
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

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        ".calibrated_shrinkage": ("AverageOracle", "BestConstantShrinkage"),
        ".clustering": ("ClusterQuality", "distance_analysis"),
        ".covariance_model": ("CovarianceModel",),
        ".exponential_weights": ("EWMACovariance", "IEWMACovariance"),
        ".hierarchical_risk_parity": ("HierarchicalRiskParity", "fit_together", "hierarchical_weights"),
        ".limited_turnover": ("LimitedTurnover",),
        ".linear_shrinkage": ("OAS", "LedoitWolf", "ledoit_wolf_identity_intensity"),
        ".minimum_variance": ("minimum_variance_weights",),
        ".nonlinear_shrinkage": ("QIS", "QuadraticInverseShrinkage", "champion_covariance", "qis_eigenvalues"),
        ".portfolios": ("EqualWeight", "InverseVolatility", "MinimumVariance", "MissingSafe"),
        ".sample": ("SampleCovariance",),
    },
)
