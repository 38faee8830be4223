r"""What a spectral network would have said, had the summary of its window been another.

An `Answer` (`eigenfolio.evaluation.attribution`) takes rows of the summary, one number for each of `SUMMARY_FEATURES`,
and gives one number a row. The context of a spectrum is a part of the summary and moves with it, so each fact stands
once; the numbers of single eigenvalues and assets stay those of the window. Answers are those of the ensemble before
the guard, which steps in on grounds of its own.

    shrinkage       intensity in [0, 1], as `NeuralShrinkage.shrinkage_`
    recent_share    share of the recent spectrum, in [0, 1]
    log_variance    log of the predicted variance of the equal-weight portfolio, squared return per period
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ParameterError
from eigenfolio.learned.neural_shrinkage import NeuralShrinkage
from eigenfolio.learned.spectra import CONTEXT_FEATURES, SUMMARY_FEATURES, SpectralWindow, spectral_window
from eigenfolio.learned.spectral import SpectralAnswer, SpectralForward, combine, shrunk_spectrum

__all__ = ["QUANTITIES", "spectral_window_of", "summary_answer", "summary_center", "with_summary"]

FloatArray = NDArray[np.float64]

_STARTS = tuple(SUMMARY_FEATURES.index(f"{name}_{CONTEXT_FEATURES[0]}") for name in ("steady", "recent"))


def spectral_window_of(model: NeuralShrinkage, X: pd.DataFrame) -> SpectralWindow:
    """The window that `model` would see in the last rows of X.

    Parameters
    ----------
    model : NeuralShrinkage
        Left as it is.
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    """
    window, _, _ = clone(model)._prepare(X, None)
    return spectral_window(window, center=not model.assume_centered)


def with_summary(window: SpectralWindow, summary: FloatArray) -> SpectralWindow:
    """The window with another summary, and with the contexts that are parts of it.

    Parameters
    ----------
    window : SpectralWindow
    summary : ndarray of shape (n_summary,)

    Examples
    --------
    >>> from eigenfolio.learned.spectra import spectral_window
    >>> from eigenfolio.models.window import prepare_window
    >>> window = spectral_window(prepare_window(np.random.default_rng(0).standard_normal((60, 5))))
    >>> same = with_summary(window, window.summary)
    >>> all((a.context == b.context).all() for a, b in zip(window.spectra, same.spectra))
    True
    """
    width = len(CONTEXT_FEATURES)
    spectra = tuple(
        replace(spectrum, context=summary[start : start + width])
        for spectrum, start in zip(window.spectra, _STARTS, strict=True)
    )
    return replace(window, spectra=spectra, summary=summary)


def summary_center(bundle: Bundle) -> FloatArray:
    """The middle of what the weights were trained on, (n_summary,): a baseline for attributions."""
    return np.asarray(bundle.tensors["summary_center"], dtype=float)


def summary_answer(
    bundle: Bundle, windows: SpectralWindow | Sequence[SpectralWindow], *, quantity: str = "shrinkage"
) -> Callable[[FloatArray], FloatArray]:
    """What the weights say, as a function of the summary.

    Parameters
    ----------
    bundle : Bundle
        Of the spectral network.
    windows : SpectralWindow or sequence of SpectralWindow
        One for all rows, or the window of each row.
    quantity : {"shrinkage", "recent_share", "log_variance"}
        See the head of this module.

    Returns
    -------
    callable
        From (n_rows, n_summary) to (n_rows,).

    Raises
    ------
    ParameterError
        If the quantity is unknown; in a call, if there are not as many rows as windows.
    ArtifactError
        If it is another kind of bundle.
    """
    if quantity not in QUANTITIES:
        raise ParameterError(f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    forward, read = SpectralForward(bundle), QUANTITIES[quantity]

    def answer(rows: FloatArray) -> FloatArray:
        own = [windows] * len(rows) if isinstance(windows, SpectralWindow) else list(windows)
        if len(own) != len(rows):
            raise ParameterError(f"there must be one row of summary per window, {len(own)}, got {len(rows)}")
        asked = [with_summary(window, np.asarray(row, dtype=float)) for window, row in zip(own, rows, strict=True)]
        return np.array([read(window, forward.answer(window)) for window in asked])

    return answer


def _log_variance(window: SpectralWindow, answer: SpectralAnswer) -> float:
    n_assets = len(window.log_volatility)
    return float(np.log(combine(window, answer).variance(np.full(n_assets, 1.0 / n_assets))))


QUANTITIES: dict[str, Callable[[SpectralWindow, SpectralAnswer], float]] = {
    "shrinkage": lambda window, answer: shrunk_spectrum(window, answer)[0],
    "recent_share": lambda window, answer: float(answer.shares[1]),
    "log_variance": _log_variance,
}
"""What can be asked about."""
