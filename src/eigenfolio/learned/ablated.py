"""The spectral network with one part left out, to learn what the part is worth.

=================  ==================================================================================================
part               what stands in its place
=================  ==================================================================================================
none               nothing is left out: the answer of `NeuralShrinkage`
eigenvalue head    eigenvalues of the closed form
volatility head    volatilities of the closed form; the common change stays
scale head         no common change of the volatilities
shares             both spectra alike
recent spectrum    the steady spectrum alone
steady spectrum    the recent spectrum alone
guard              the network's answer as it is
ensemble           the first member alone
all heads          the closed form itself
=================  ==================================================================================================

Heads that were trained together lean on each other: a figure says what these weights lose without the part, not what a
network trained without it would have reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ParameterError
from eigenfolio.learned.guard import guarded
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.learned.spectra import N_SPECTRA, SpectralWindow, spectral_window
from eigenfolio.learned.spectral import SpectralAnswer, SpectralForward, classical_answer, combine, shrunk_spectrum
from eigenfolio.models import CovarianceModel
from eigenfolio.models.window import Window

__all__ = ["PARTS", "AblatedShrinkage", "ablated_answer"]

FloatArray = NDArray[np.float64]

WHOLE = "none"


def _without_eigenvalues(window: SpectralWindow, answer: SpectralAnswer) -> SpectralAnswer:
    return replace(answer, eigenvalue_change=classical_answer(window).eigenvalue_change)


def _without_volatilities(window: SpectralWindow, answer: SpectralAnswer) -> SpectralAnswer:
    return replace(answer, volatility_change=np.zeros_like(answer.volatility_change))


def _without_scale(window: SpectralWindow, answer: SpectralAnswer) -> SpectralAnswer:
    return replace(answer, log_scale=0.0)


def _shared(*shares: float) -> Callable[[SpectralWindow, SpectralAnswer], SpectralAnswer]:
    def changed(window: SpectralWindow, answer: SpectralAnswer) -> SpectralAnswer:
        return replace(answer, shares=np.array(shares))

    return changed


_CHANGES: dict[str, Callable[[SpectralWindow, SpectralAnswer], SpectralAnswer]] = {
    "eigenvalue head": _without_eigenvalues,
    "volatility head": _without_volatilities,
    "scale head": _without_scale,
    "shares": _shared(*[1.0 / N_SPECTRA] * N_SPECTRA),
    "recent spectrum": _shared(1.0, 0.0),
    "steady spectrum": _shared(0.0, 1.0),
    "all heads": lambda window, answer: classical_answer(window),
}
PARTS: tuple[str, ...] = (*_CHANGES, "guard", "ensemble")
"""What can be left out."""


def ablated_answer(forward: SpectralForward, window: SpectralWindow, without: str) -> SpectralAnswer:
    """What a bundle says of a window with one part left out; the guard, unless it is the part, comes last.

    Parameters
    ----------
    forward : SpectralForward
    window : SpectralWindow
    without : str
        One of `PARTS`, or "none".
    """
    if without == "all heads":
        return classical_answer(window)
    members = forward.members(window)
    answer = members[0] if without == "ensemble" else forward.answer(window, members)
    if without in _CHANGES:
        answer = _CHANGES[without](window, answer)
    if without == "guard":
        return answer
    return guarded(window, answer, out_of_range=forward.out_of_range(window))[0]


class AblatedShrinkage(CovarianceModel):
    """`NeuralShrinkage` with the spectral network and one part of it left out.

    Parameters
    ----------
    weights : str or Bundle, default="2012"
        A bundle of the spectral network, or the name of a vintage that ships. No date is checked here: judge it only
        on rows after the vintage.
    without : str, default="none"
        The part: one of `PARTS`, or "none".
    lookback : int or None, default=1008
        Last rows of X to use; None uses all.
    assume_centered : bool, default=False
        Take the mean returns as zero.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period; NaN rows and columns for inactive assets.
    shrinkage_ : float
        As of `NeuralShrinkage`.

    Raises
    ------
    ParameterError
        In `fit`, if the part is unknown or no such vintage ships.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((300, 5)) * 0.01
    >>> AblatedShrinkage("synthetic", without="guard").fit(X).covariance_.shape
    (5, 5)
    """

    def __init__(
        self,
        weights: str | Bundle = "2012",
        *,
        without: str = WHOLE,
        lookback: int | None = 1008,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.weights = weights
        self.without = without

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        if self.without not in (WHOLE, *PARTS):
            raise ParameterError(f"without must be {WHOLE!r} or one of {', '.join(PARTS)}, got {self.without!r}")
        bundle = shipped_bundle("spectral", self.weights) if isinstance(self.weights, str) else self.weights
        described = spectral_window(window, center=not self.assume_centered)
        answer = ablated_answer(SpectralForward(bundle), described, self.without)
        self.shrinkage_, _ = shrunk_spectrum(described, answer)
        self.diagnostics_["shrinkage"] = self.shrinkage_
        return combine(described, answer).dense()
