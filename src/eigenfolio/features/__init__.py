"""Measures of a past window that networks see.

Completed windows of returns enter; ordered, named, unit-free numbers leave, valid for any universe size.
"""

from eigenfolio.features.spectrum import SPECTRUM_FEATURES, spectrum_features

__all__ = ["SPECTRUM_FEATURES", "spectrum_features"]
