"""Measures of a past window that networks see.

Completed windows of returns enter; ordered, named, unit-free numbers leave, valid for any universe size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.codependence import distance_correlation, pearson_correlation, spearman_correlation
    from eigenfolio.features.correlation import CORRELATION_FEATURES, correlation_features
    from eigenfolio.features.events import EVENT_FEATURES, EVENT_KINDS, check_events, event_features, read_events
    from eigenfolio.features.graphs import (
        EDGE_ATTRIBUTES,
        GRAPH_METHODS,
        AssetGraph,
        knn_graph,
        minimum_spanning_tree,
        tmfg,
    )
    from eigenfolio.features.microstructure import (
        BAR_FEATURES,
        ORDER_BOOK_FEATURES,
        bar_features,
        order_book_feature_names,
        order_book_features,
    )
    from eigenfolio.features.preprocessing import (
        PreprocessingOptions,
        PreprocessingState,
        feature_pipeline,
        pipeline_from_state,
        preprocessing_state,
    )
    from eigenfolio.features.regime import REGIME_FEATURES, regime_features
    from eigenfolio.features.regimes import REGIMES, market_regimes
    from eigenfolio.features.seasonality import SEASONALITY_FEATURES, market_holidays, seasonality_features
    from eigenfolio.features.spectrum import SPECTRUM_FEATURES, spectrum_features
    from eigenfolio.features.table import FAMILIES, FeatureTable, feature_table
    from eigenfolio.features.temporal import TEMPORAL_FEATURES, GarchFit, fit_garch, hurst_exponent, temporal_features
    from eigenfolio.features.transformers import (
        Clamp,
        Compressor,
        CovarianceProjection,
        CSMedianImputer,
        ExpandingRank,
        ExpandingScaler,
        FittedRank,
        ForwardFill,
        ImportanceSelector,
        KnownFeatures,
        MissingColumns,
        Winsoriser,
    )

__all__ = [
    "BAR_FEATURES",
    "CORRELATION_FEATURES",
    "EDGE_ATTRIBUTES",
    "EVENT_FEATURES",
    "EVENT_KINDS",
    "FAMILIES",
    "GRAPH_METHODS",
    "ORDER_BOOK_FEATURES",
    "REGIMES",
    "REGIME_FEATURES",
    "SEASONALITY_FEATURES",
    "SPECTRUM_FEATURES",
    "TEMPORAL_FEATURES",
    "AssetGraph",
    "CSMedianImputer",
    "Clamp",
    "Compressor",
    "CovarianceProjection",
    "ExpandingRank",
    "ExpandingScaler",
    "FeatureTable",
    "FittedRank",
    "ForwardFill",
    "GarchFit",
    "ImportanceSelector",
    "KnownFeatures",
    "MissingColumns",
    "PreprocessingOptions",
    "PreprocessingState",
    "Winsoriser",
    "bar_features",
    "check_events",
    "correlation_features",
    "distance_correlation",
    "event_features",
    "feature_pipeline",
    "feature_table",
    "fit_garch",
    "hurst_exponent",
    "knn_graph",
    "market_holidays",
    "market_regimes",
    "minimum_spanning_tree",
    "order_book_feature_names",
    "order_book_features",
    "pearson_correlation",
    "pipeline_from_state",
    "preprocessing_state",
    "read_events",
    "regime_features",
    "seasonality_features",
    "spearman_correlation",
    "spectrum_features",
    "temporal_features",
    "tmfg",
]

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        "eigenfolio.codependence": ("distance_correlation", "pearson_correlation", "spearman_correlation"),
        ".correlation": ("CORRELATION_FEATURES", "correlation_features"),
        ".events": ("EVENT_FEATURES", "EVENT_KINDS", "check_events", "event_features", "read_events"),
        ".graphs": ("EDGE_ATTRIBUTES", "GRAPH_METHODS", "AssetGraph", "knn_graph", "minimum_spanning_tree", "tmfg"),
        ".microstructure": (
            "BAR_FEATURES",
            "ORDER_BOOK_FEATURES",
            "bar_features",
            "order_book_feature_names",
            "order_book_features",
        ),
        ".preprocessing": (
            "PreprocessingOptions",
            "PreprocessingState",
            "feature_pipeline",
            "pipeline_from_state",
            "preprocessing_state",
        ),
        ".regime": ("REGIME_FEATURES", "regime_features"),
        ".regimes": ("REGIMES", "market_regimes"),
        ".seasonality": ("SEASONALITY_FEATURES", "market_holidays", "seasonality_features"),
        ".spectrum": ("SPECTRUM_FEATURES", "spectrum_features"),
        ".table": ("FAMILIES", "FeatureTable", "feature_table"),
        ".temporal": ("TEMPORAL_FEATURES", "GarchFit", "fit_garch", "hurst_exponent", "temporal_features"),
        ".transformers": (
            "Clamp",
            "Compressor",
            "CovarianceProjection",
            "CSMedianImputer",
            "ExpandingRank",
            "ExpandingScaler",
            "FittedRank",
            "ForwardFill",
            "ImportanceSelector",
            "KnownFeatures",
            "MissingColumns",
            "Winsoriser",
        ),
    },
)
