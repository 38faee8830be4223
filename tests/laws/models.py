"""Every estimator of the package, by name: the list over which the laws run.

A model that is not listed here fails `test_every_public_estimator_is_listed`. Lookbacks are short, so that
a small panel serves all.
"""

from contextlib import suppress

from random_attention import random_attention_bundle
from random_bundles import random_bundle
from random_gat import random_gat_bundle
from random_spectral import random_spectral_bundle
from skfolio.optimization import HierarchicalRiskParity

from eigenfolio.artifacts import BundleSeries
from eigenfolio.errors import ArtifactError
from eigenfolio.learned import GraphAttentionPortfolio, GraphEnsemble, NeuralShrinkage
from eigenfolio.learned.shipped import shipped_series
from eigenfolio.models import (
    OAS,
    AverageOracle,
    BestConstantShrinkage,
    EqualWeight,
    EWMACovariance,
    IEWMACovariance,
    InverseVolatility,
    LedoitWolf,
    LimitedTurnover,
    MinimumVariance,
    MissingSafe,
    QuadraticInverseShrinkage,
    SampleCovariance,
    champion_covariance,
)
from eigenfolio.models import HierarchicalRiskParity as OwnHierarchicalRiskParity

CLOSED_FORMS = {
    "sample": SampleCovariance(),
    "ledoit_wolf_identity": LedoitWolf(),
    "ledoit_wolf_correlation": LedoitWolf(on="correlation"),
    "ledoit_wolf_constant_correlation": LedoitWolf(target="constant_correlation"),
    "ledoit_wolf_single_factor": LedoitWolf(target="single_factor", lookback=100),
    "oas": OAS(),
    "qis": QuadraticInverseShrinkage(),
    "qis_correlation": QuadraticInverseShrinkage(on="correlation", lookback=100),
    "champion": champion_covariance(lookback=100),
    "ewma": EWMACovariance(),
    "iewma": IEWMACovariance(),
    "average_oracle": AverageOracle(lookback=60, horizon=21, n_windows=3),
    "average_oracle_ewma": AverageOracle(lookback=60, horizon=21, n_windows=3, volatility="ewma", half_life=21.0),
    "best_constant_shrinkage": BestConstantShrinkage(lookback=60, horizon=21, n_windows=3),
    "equal_weight": EqualWeight(),
    "inverse_volatility": InverseVolatility(),
    "inverse_volatility_ewma": InverseVolatility(half_life=21.0),
    "limited_turnover": LimitedTurnover(InverseVolatility(), max_turnover=0.05, previous_weights=0.1),
    "minimum_variance": MinimumVariance(LedoitWolf(), max_weight=0.5),
    "minimum_variance_unconstrained": MinimumVariance(long_only=False),
    "hierarchical_risk_parity": MissingSafe(HierarchicalRiskParity()),
    "hierarchical_risk_parity_lopez_de_prado": OwnHierarchicalRiskParity(lookback=100, correlation="spearman"),
    "hierarchical_risk_parity_branches": OwnHierarchicalRiskParity(
        LedoitWolf(), convention="tree", correlation="estimator", bisection="branches", max_weight=0.4
    ),
}

LEARNED = {
    "neural_shrinkage_untrained": NeuralShrinkage(None, lookback=100),
    "neural_shrinkage_spectral_series": NeuralShrinkage(
        BundleSeries(
            tuple(
                random_spectral_bundle(through=through, seed=seed, n_members=2)
                for seed, through in enumerate(("2014-12-31", "2015-10-30"))
            )
        ),
        lookback=100,
    ),
    "neural_shrinkage_attention_untrained": NeuralShrinkage(None, network="attention", lookback=100),
    "neural_shrinkage_attention_series": NeuralShrinkage(
        BundleSeries(
            tuple(
                random_attention_bundle(through=through, seed=seed, n_members=2)
                for seed, through in enumerate(("2014-12-31", "2015-10-30"))
            )
        ),
        lookback=100,
    ),
    "neural_shrinkage_dense_untrained": NeuralShrinkage(None, network="dense", lookback=100),
    "neural_shrinkage_dense_series": NeuralShrinkage(
        BundleSeries((random_bundle(through="2014-12-31", seed=1), random_bundle(through="2015-10-30", seed=2))),
        lookback=100,
    ),
    "graph_attention_untrained": GraphAttentionPortfolio(graph="knn_k5", max_weight=0.5),
    "graph_attention_series": GraphAttentionPortfolio(
        BundleSeries(
            tuple(
                random_gat_bundle(through=through, seed=seed, n_members=2)
                for seed, through in enumerate(("2014-12-31", "2015-10-30"))
            )
        )
    ),
    "graph_ensemble": GraphEnsemble(
        [
            (graph, GraphAttentionPortfolio(random_gat_bundle(through="2014-12-31", graph=graph)))
            for graph in ("mst", "tmfg")
        ]
    ),
}

with suppress(ArtifactError):  # where no weights are installed
    shipped_series("spectral")
    LEARNED["neural_shrinkage_shipped"] = NeuralShrinkage(lookback=100)

ALL_MODELS = {**CLOSED_FORMS, **LEARNED}
