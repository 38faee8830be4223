"""Learned portfolio models that are trained, judged and shipped so that their claims survive checking.

    from eigenfolio import NeuralShrinkage
    covariance = NeuralShrinkage().fit(X).covariance_

Names are imported when they are first used, so `import eigenfolio` costs nothing and no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODELS = (
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
)
_PUBLIC: dict[str, str] = {
    "GraphAttentionPortfolio": "eigenfolio.learned",
    "GraphEnsemble": "eigenfolio.learned",
    "NeuralCovarianceUncertaintySet": "eigenfolio.learned.uncertainty_set",
    "NeuralShrinkage": "eigenfolio.learned",
    "Panel": "eigenfolio.panel",
    "read_panel": "eigenfolio.data",
    **dict.fromkeys(_MODELS, "eigenfolio.models"),
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'eigenfolio' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
