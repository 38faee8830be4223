"""Networks in PyTorch: tensors enter, tensors leave.

Dates, files and feature names stop before this room; importing it imports torch.
"""

from eigenfolio.models.networks.dense import DenseShrinkageNetwork, ShrinkageOutput

__all__ = ["DenseShrinkageNetwork", "ShrinkageOutput"]
