"""Estimators that use a bundle: skfolio estimators on the outside, trained weights within.

Returns and bundles enter, covariances and weights leave; nothing here trains. Only graph attention needs torch, when it
is asked for weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eigenfolio.lazy import names_on_demand

if TYPE_CHECKING:
    from eigenfolio.learned.graph_attention import GraphAttentionPortfolio, GraphEnsemble
    from eigenfolio.learned.neural_shrinkage import NeuralShrinkage

__all__ = ["GraphAttentionPortfolio", "GraphEnsemble", "NeuralShrinkage"]

__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        ".graph_attention": ("GraphAttentionPortfolio", "GraphEnsemble"),
        ".neural_shrinkage": ("NeuralShrinkage",),
    },
)
