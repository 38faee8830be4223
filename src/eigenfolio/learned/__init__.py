"""Estimators that use a bundle: skfolio estimators on the outside, trained weights within.

Returns and bundles enter, covariances and weights leave; nothing here trains. Only graph attention needs torch, when it
is asked for weights.
"""

from eigenfolio.learned.graph_attention import GraphAttentionPortfolio, GraphEnsemble
from eigenfolio.learned.neural_shrinkage import NeuralShrinkage

__all__ = ["GraphAttentionPortfolio", "GraphEnsemble", "NeuralShrinkage"]
