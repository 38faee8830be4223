"""Drawn windows as samples of a training, with what its losses and its domain adaptation need to know of each.

A window knows whether its future is a root of a true covariance, which domain it belongs to and, where it was drawn
with an earlier decision of the same assets, that decision's window in units of its own median volatility, so that the
two estimates can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from eigenfolio.training.mixture import DrawnWindow
from eigenfolio.training.spectral import SpectralBatch, SpectralSamples

__all__ = ["drawn_samples", "without_spectra"]


def drawn_samples(drawn: Sequence[DrawnWindow], *, domains: Mapping[str, int] | None = None) -> SpectralSamples:
    """Sort drawn windows into groups of one size, one horizon, and with or without an earlier decision.

    Parameters
    ----------
    drawn : sequence of DrawnWindow
    domains : mapping of str to int, optional
        0 for the names of sources that adaptation starts from, 1 for those it adapts to; others belong to neither.

    Returns
    -------
    SpectralSamples
    """
    shapes: dict[tuple[int, int, bool], list[DrawnWindow]] = {}
    for window in drawn:
        key = (len(window.window.log_volatility), len(window.future), window.earlier is not None)
        shapes.setdefault(key, []).append(window)
    return SpectralSamples(tuple(_group(shapes[shape], domains or {}) for shape in sorted(shapes)))


def without_spectra(drawn: Sequence[DrawnWindow]) -> list[DrawnWindow]:
    """The same windows without their spectra, which are nearly all of their memory, once they are stacked."""
    return [
        replace(
            window,
            window=replace(window.window, spectra=()),
            earlier=None if window.earlier is None else replace(window.earlier, spectra=()),
        )
        for window in drawn
    ]


def _group(drawn: list[DrawnWindow], domains: Mapping[str, int]) -> SpectralBatch:
    medians = np.array([np.median(window.window.log_volatility) for window in drawn])
    earlier = [(window.earlier, window.future) for window in drawn if window.earlier is not None]
    return replace(
        SpectralBatch.stack([(window.window, window.future) for window in drawn]),
        simulated=torch.tensor([window.date is None for window in drawn]),
        domain=torch.tensor([domains.get(window.source, -1) for window in drawn]),
        previous=SpectralBatch.stack(earlier, medians=medians) if earlier else None,
    )
