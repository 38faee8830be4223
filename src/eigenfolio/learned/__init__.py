"""Estimators that use a bundle: skfolio estimators on the outside, trained weights within.

Returns and bundles enter, covariances leave; nothing here trains, and nothing here needs torch.
"""

from eigenfolio.learned.graph_attention import GraphAttentionPortfolio, GraphEnsemble
from eigenfolio.learned.neural_shrinkage import NeuralShrinkage

__all__ = ["GraphAttentionPortfolio", "GraphEnsemble", "NeuralShrinkage"]
