"""Networks in PyTorch: tensors enter, tensors leave.

Dates, files and feature names stop before this room; importing it imports torch.
"""

from eigenfolio.models.networks.dense import DenseShrinkageNetwork, ShrinkageOutput
from eigenfolio.models.networks.dropout import SeededDropout
from eigenfolio.models.networks.spectral import SpectralOutput, SpectralShrinkageNetwork

__all__ = ["DenseShrinkageNetwork", "SeededDropout", "ShrinkageOutput", "SpectralOutput", "SpectralShrinkageNetwork"]
