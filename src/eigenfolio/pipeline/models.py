"""The models that stand in every comparison, by the names a reader sees."""

from __future__ import annotations

from importlib.resources import files

from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization, HierarchicalRiskParity

from eigenfolio.learned import NeuralShrinkage
from eigenfolio.models import (
    OAS,
    AverageOracle,
    BestConstantShrinkage,
    EqualWeight,
    EWMACovariance,
    IEWMACovariance,
    InverseVolatility,
    LedoitWolf,
    MissingSafe,
    QuadraticInverseShrinkage,
    SampleCovariance,
    champion_covariance,
)
from eigenfolio.pipeline.names import CHAMPION, CLOSED_FORM_START, SHIPPED

__all__ = ["classical_models", "shipped_models"]


def shipped_models(*, lookback: int) -> dict[str, BaseCovariance | BaseOptimization]:
    """Name the estimator with shipped weights; nothing in an installation without them.

    Parameters
    ----------
    lookback : int
        Rows it looks back, as those it is compared with.
    """
    if not (files("eigenfolio.pretrained") / "shrinkage" / "spectral").is_dir():
        return {}
    return {SHIPPED: NeuralShrinkage("as_of", network="spectral", lookback=lookback)}


def classical_models(*, lookback: int, horizon: int) -> dict[str, BaseCovariance | BaseOptimization]:
    """Name every closed form and every simple portfolio.

    Parameters
    ----------
    lookback : int
        Rows each model looks back; the calibrated ones slide this window over all earlier rows.
    horizon : int
        Rows a calibrated model looks ahead inside the past it was given.

    Examples
    --------
    >>> CHAMPION in classical_models(lookback=252, horizon=21)
    True
    """
    return {
        "Sample": SampleCovariance(lookback=lookback),
        CLOSED_FORM_START: LedoitWolf(target="identity", on="correlation", lookback=lookback),
        "Ledoit-Wolf constant correlation": LedoitWolf(target="constant_correlation", lookback=lookback),
        "Ledoit-Wolf single factor": LedoitWolf(target="single_factor", lookback=lookback),
        "OAS": OAS(lookback=lookback),
        "QIS": QuadraticInverseShrinkage(on="covariance", lookback=lookback),
        "QIS on correlation": QuadraticInverseShrinkage(on="correlation", lookback=lookback),
        CHAMPION: champion_covariance(lookback=lookback),
        "EWMA(63)": EWMACovariance(half_life=63, lookback=lookback),
        "IEWMA(63, 125)": IEWMACovariance(lookback=lookback),
        "Average oracle": AverageOracle(lookback=lookback, horizon=horizon),
        "Average oracle + EWMA(63)": AverageOracle(lookback=lookback, horizon=horizon, volatility="ewma"),
        "Best constant intensity": BestConstantShrinkage(lookback=lookback, horizon=horizon),
        "Equal weight": EqualWeight(),
        "Inverse volatility": InverseVolatility(lookback=lookback),
        "Hierarchical risk parity": MissingSafe(HierarchicalRiskParity(), lookback=lookback),
    }
