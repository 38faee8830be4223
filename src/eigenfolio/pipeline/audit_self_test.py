"""The audit audited: planted leaks must all be found, and honest estimators must not be flagged.

Both rates and the smallest leak that is found are numbers about this installation, on the panel that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import skfolio.moments as moments
import skfolio.optimization as optimization
from skfolio.pre_selection import DropCorrelated, SelectKExtremes
from skfolio.preprocessing import CSPercentileRankScaler, CSStandardScaler
from skfolio.prior import EmpiricalPrior
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from eigenfolio.evaluation.audit import audit
from eigenfolio.evaluation.audit_report import AuditReport
from eigenfolio.evaluation.planted_leaks import HONEST, PLANTED, faint_leak
from eigenfolio.features import ExpandingRank, ExpandingScaler, ForwardFill, feature_pipeline, market_regimes
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.panel import Panel
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.models import classical_models, shipped_models

__all__ = ["SelfTest", "our_models", "self_test", "skfolio_models", "slow_skfolio_models"]

FAINTEST = 20
"""Strengths 1e-1, 1e-2, ... 1e-20 are tried, until one is not found."""


@dataclass(frozen=True)
class SelfTest:
    """What the audit found where the truth is known.

    Attributes
    ----------
    planted : dict of str to AuditReport
        By name of the leak.
    missed : tuple of str
        Planted leaks that their check did not find.
    honest : dict of str to AuditReport
        Of honest twins, of our models and of skfolio's and scikit-learn's estimators.
    flagged : tuple of str
        Honest targets in which a leak was reported.
    smallest : float or None
        Smallest strength of `faint_leak` that was found; None if none was.
    change : float or None
        What that leak changed in a decision, relative to the decision's size.
    """

    planted: dict[str, AuditReport]
    missed: tuple[str, ...]
    honest: dict[str, AuditReport]
    flagged: tuple[str, ...]
    smallest: float | None
    change: float | None

    @property
    def passed(self) -> bool:
        """Whether nothing was missed and nothing flagged."""
        return not self.missed and not self.flagged and self.smallest is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "passed": self.passed,
            "planted": len(self.planted),
            "found": len(self.planted) - len(self.missed),
            "missed": list(self.missed),
            "honest": len(self.honest),
            "flagged": list(self.flagged),
            "smallest_leak_found": self.smallest,
            "change_by_smallest": self.change,
            "leaks": {name: [finding.check for finding in report.leaks] for name, report in self.planted.items()},
        }

    def lines(self) -> list[str]:
        """Plain text: what found each leak, then both rates and the smallest leak."""
        width = max(len(name) for name in self.planted)
        rows = [
            f"  {name:<{width}}  {', '.join(finding.check for finding in report.leaks) or 'NOT FOUND'}"
            for name, report in self.planted.items()
        ]
        found = len(self.planted) - len(self.missed)
        smallest = "none" if self.smallest is None else f"{self.smallest:g} of the decision's size"
        if self.change is not None:
            smallest += f" (it changed a decision by {self.change:.1e} of its size)"
        return [
            "Planted leaks, and what found them:",
            *rows,
            f"Found: {found} of {len(self.planted)} planted leaks"
            + (f"; missed by their check: {', '.join(self.missed)}" if self.missed else ""),
            f"Flagged: {len(self.flagged)} of {len(self.honest)} honest targets"
            + (f": {', '.join(self.flagged)}" if self.flagged else ""),
            f"Smallest leak found: {smallest}",
        ]


def self_test(X: pd.DataFrame, *, dates: int, seed: int, progress: Progress) -> SelfTest:
    """Audit every planted leak, every honest twin, our models and those of skfolio.

    Parameters
    ----------
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns without gaps.
    dates : int
        Decision dates per target.
    seed : int
    progress : callable
        Opens one stage per group.

    Returns
    -------
    SelfTest
    """
    with progress("Planted leaks", len(PLANTED)) as step:
        planted = {}
        for leak in PLANTED:
            planted[leak.name] = audit(leak.make(X), X, dates=dates, seed=seed, horizon=leak.horizon, name=leak.name)
            step()
    missed = tuple(
        leak.name for leak in PLANTED if leak.found_by not in {finding.check for finding in planted[leak.name].leaks}
    )
    targets: dict[str, tuple[Any, int]] = {
        **{f"twin: {twin.name}": (twin.make(X), twin.horizon) for twin in HONEST},
        **{f"eigenfolio: {name}": (model, 1) for name, model in our_models().items()},
        **{f"peer: {name}": (model, 1) for name, model in skfolio_models().items()},
    }
    honest = {}
    with progress("Honest targets", len(targets)) as step:
        for name, (target, horizon) in targets.items():
            honest[name] = audit(target, X, dates=dates, seed=seed, horizon=horizon, name=name)
            step()
    with progress("Fainter and fainter", FAINTEST) as step:
        smallest, change = _smallest(X, dates=dates, seed=seed, step=step)
    flagged = tuple(name for name, report in honest.items() if not report.clean)
    return SelfTest(planted, missed, honest, flagged, smallest, change)


def _smallest(X: pd.DataFrame, *, dates: int, seed: int, step: Callable[[], None]) -> tuple[float | None, float | None]:
    """The last strength before the first that is not found, and what it changed."""
    found: tuple[float | None, float | None] = None, None
    for exponent in range(1, FAINTEST + 1):
        strength = 10.0**-exponent
        report = audit(faint_leak(strength), X, dates=dates, seed=seed)
        step()
        if report.clean:
            break
        found = strength, max(finding.size or 0.0 for finding in report.leaks)
    return found


def our_models(*, lookback: int = 126) -> dict[str, Any]:
    """Name every estimator that ships, and the transformers and tables of features."""
    return {
        **classical_models(lookback=lookback, horizon=21),
        **shipped_models(lookback=lookback),
        "Neural shrinkage (spectral, untrained)": NeuralShrinkage(None, lookback=lookback),
        "Neural shrinkage (dense, untrained)": NeuralShrinkage(None, network="dense", lookback=lookback),
        "Neural shrinkage (synthetic)": NeuralShrinkage("synthetic", lookback=lookback),
        "Feature pipeline": feature_pipeline(),
        "Expanding scaler": ExpandingScaler(),
        "Expanding rank": ExpandingRank(),
        "Forward fill": ForwardFill(),
        "Market regimes": lambda X: market_regimes(Panel.from_returns(X), burn_in=126),
    }


def skfolio_models() -> dict[str, Any]:
    """Name skfolio's estimators that fit on returns alone in milliseconds, and scikit-learn's usual transformers."""
    models = [
        *(getattr(moments, name)() for name in _MOMENTS),
        *(getattr(optimization, name)() for name in _OPTIMIZATIONS),
        EmpiricalPrior(),
        CSStandardScaler(),
        CSPercentileRankScaler(),
        SelectKExtremes(k=5),
        DropCorrelated(),
        StandardScaler(),
        RobustScaler(),
        QuantileTransformer(n_quantiles=100),
        PCA(n_components=3),
    ]
    named = {type(model).__name__: model for model in models}
    return {
        **named,
        "Pipeline of PCA": make_pipeline(StandardScaler(), PCA(n_components=3)),
        "Pipeline of a portfolio": make_pipeline(SelectKExtremes(k=5), optimization.InverseVolatility()),
    }


def slow_skfolio_models() -> dict[str, Any]:
    """Name those of skfolio's estimators that need a second and more for a fit."""
    simple = {"inner_estimator": optimization.InverseVolatility(), "outer_estimator": optimization.EqualWeighted()}
    stacked = [("equal", optimization.EqualWeighted()), ("inverse", optimization.InverseVolatility())]
    return {
        "DistributionallyRobustCVaR": optimization.DistributionallyRobustCVaR(),
        "GraphicalLassoCV": moments.GraphicalLassoCV(),
        "NestedClustersOptimization": optimization.NestedClustersOptimization(**simple),
        "StackingOptimization": optimization.StackingOptimization(stacked, optimization.EqualWeighted()),
    }


_MOMENTS = (
    "DenoiseCovariance", "DetoneCovariance", "EWCovariance", "EWMu", "EWVariance", "EmpiricalCovariance", "EmpiricalMu",
    "EmpiricalVariance", "EquilibriumMu", "GerberCovariance", "LedoitWolf", "OAS", "RegimeAdjustedEWCovariance",
    "RegimeAdjustedEWVariance", "ShrunkCovariance", "ShrunkMu",
)  # fmt: skip
_OPTIMIZATIONS = (
    "EqualWeighted", "HierarchicalEqualRiskContribution", "HierarchicalRiskParity", "InverseVolatility",
    "MaximumDiversification", "MeanRisk", "Random", "RiskBudgeting", "SchurComplementary",
)  # fmt: skip
