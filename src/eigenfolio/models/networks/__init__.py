"""Networks in PyTorch: tensors enter, tensors leave.

Dates, files and feature names stop before this room; importing it imports torch.
"""

from eigenfolio.models.networks.attention import AttentionOptions, AttentionOutput, AttentionShrinkageNetwork
from eigenfolio.models.networks.dense import DenseOptions, DenseShrinkageNetwork, ShrinkageOutput
from eigenfolio.models.networks.dropout import SeededDropout
from eigenfolio.models.networks.sizing import sized_options
from eigenfolio.models.networks.spectral import SpectralOutput, SpectralShrinkageNetwork

__all__ = [
    "AttentionOptions",
    "AttentionOutput",
    "AttentionShrinkageNetwork",
    "DenseOptions",
    "DenseShrinkageNetwork",
    "SeededDropout",
    "ShrinkageOutput",
    "SpectralOutput",
    "SpectralShrinkageNetwork",
    "sized_options",
]
