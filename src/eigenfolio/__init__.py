"""Learned portfolio models that are trained, judged and shipped so that their claims survive checking.

    from eigenfolio import NeuralShrinkage
    covariance = NeuralShrinkage().fit(X).covariance_

Names are imported when they are first used, so `import eigenfolio` costs nothing and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.data import read_panel
    from eigenfolio.learned import GraphAttentionPortfolio, GraphEnsemble, NeuralShrinkage
    from eigenfolio.learned.uncertainty_set import NeuralCovarianceUncertaintySet
    from eigenfolio.models import (
        OAS,
        AverageOracle,
        BestConstantShrinkage,
        EqualWeight,
        EWMACovariance,
        HierarchicalRiskParity,
        IEWMACovariance,
        InverseVolatility,
        LedoitWolf,
        MinimumVariance,
        MissingSafe,
        QuadraticInverseShrinkage,
        SampleCovariance,
        champion_covariance,
    )
    from eigenfolio.panel import Panel

__version__ = "0.1.0"

__all__ = [
    "OAS",
    "AverageOracle",
    "BestConstantShrinkage",
    "EWMACovariance",
    "EqualWeight",
    "GraphAttentionPortfolio",
    "GraphEnsemble",
    "HierarchicalRiskParity",
    "IEWMACovariance",
    "InverseVolatility",
    "LedoitWolf",
    "MinimumVariance",
    "MissingSafe",
    "NeuralCovarianceUncertaintySet",
    "NeuralShrinkage",
    "Panel",
    "QuadraticInverseShrinkage",
    "SampleCovariance",
    "__version__",
    "champion_covariance",
    "read_panel",
]

_PLACES = {
    "eigenfolio.data": ("read_panel",),
    "eigenfolio.learned": ("GraphAttentionPortfolio", "GraphEnsemble", "NeuralShrinkage"),
    "eigenfolio.learned.uncertainty_set": ("NeuralCovarianceUncertaintySet",),
    "eigenfolio.models": (
        "OAS",
        "AverageOracle",
        "BestConstantShrinkage",
        "EWMACovariance",
        "EqualWeight",
        "HierarchicalRiskParity",
        "IEWMACovariance",
        "InverseVolatility",
        "LedoitWolf",
        "MinimumVariance",
        "MissingSafe",
        "QuadraticInverseShrinkage",
        "SampleCovariance",
        "champion_covariance",
    ),
    "eigenfolio.panel": ("Panel",),
}

__getattr__, __dir__ = names_on_demand(__name__, _PLACES)
