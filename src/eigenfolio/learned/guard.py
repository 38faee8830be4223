r"""The guard of a learned answer: where it would do harm, its classical start is taken instead.

Two things are looked for, each with a share in [0, 1] by which the answer is moved:

relation   An asset that others explain almost exactly, and that minimum variance would be built on: an inverse fund
           among stocks. The hedge lives in the ratios of the volatilities and in one small eigenvalue, and any learned
           change of either breaks it. The answer is moved to the steady spectrum alone, with its classical eigenvalues,
           under the volatilities of the rows that spectrum is made of, which keep linear relations as they are; only
           the common level of the volatilities stays learned. Of the covariance that results, half is exchanged for
           QIS of the plain rows at the same level (`eigenfolio.learned.plain_rows`).
range      Inputs beyond what training has seen. The answer is moved to no change at all.

With P the precision of the steady spectrum, G an asset together with those that copy it (squared correlation above
0.85) and b = 1 / volatility but at most 5 times its median, all in units of the spectrum,

    residual of asset i without its copies   r_i = 1 / (P_ii - P_iJ P_JJ^-1 P_Ji),   J = G without i
    what G brings to minimum variance        f_i = u_G' (P_GG)^-1 u_G / b'u,          u = P b

f is the share of 1 / variance that is lost without G. Unbounded, a fund that hardly moves would make up nearly all of
1 / variance and hide what the book is built on beside it. Relations that nobody would build on (a long index fund among
stocks: f near 0) and assets that merely copy each other (r_i as of any other asset) are left to the network, which is
the better answer there. The thresholds were chosen on US stocks of 2010-2016 with weights trained to 2012.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eigenfolio.learned.spectra import ASSET_FEATURES, VOLATILITY_SHARE, SpectralWindow, Spectrum
from eigenfolio.learned.spectral import SpectralAnswer
from eigenfolio.learned.spectral_kernels import median

__all__ = ["Guard", "guarded"]

FloatArray = NDArray[np.float64]

_RESIDUAL = ASSET_FEATURES.index("log_residual_variance")
_COPY = 0.85  # squared correlation
_MOST_COPIES, _MOST_CANDIDATES = 20, 50
_SMALLEST_SPREAD = 0.02  # of log residual variances
_OUTLYING = (6.0, 10.0)  # spreads below the median log residual variance
_EXACT = (0.5, 1.0)  # below the median, in logs
_WANTED = (0.1, 0.4)  # share of 1 / variance
_OUTSIDE = (0.1, 0.4)  # share of inputs
_LARGEST = 5.0  # of 1 / volatility, in medians
_PLAIN_SHARE, _PLAIN = 0.5, (0.1, 1.0)  # of the covariance, and over which share of the guard it is reached


@dataclass(frozen=True)
class Guard:
    """What the guard did.

    Attributes
    ----------
    relation : float in [0, 1]
        How far the answer was moved for the sake of near-exact relations.
    range : float in [0, 1]
        How far it was moved because inputs lie outside what training has seen.
    assets : tuple of int
        Positions, among the active assets, of those whose relations are kept.
    """

    relation: float
    range: float
    assets: tuple[int, ...]

    @property
    def plain_share(self) -> float:
        """Share of the covariance that is QIS of the plain rows; none where the guard hardly moves anything."""
        return _PLAIN_SHARE * _rise(self.relation, _PLAIN)


def guarded(window: SpectralWindow, answer: SpectralAnswer, *, out_of_range: float) -> tuple[SpectralAnswer, Guard]:
    """Move an answer to its classical start where it would do harm.

    Parameters
    ----------
    window : SpectralWindow
    answer : SpectralAnswer
        Of a network.
    out_of_range : float in [0, 1]
        Share of the inputs that training has not seen the like of.

    Returns
    -------
    SpectralAnswer
        The same object where there is nothing to guard.
    Guard

    Examples
    --------
    >>> from eigenfolio.learned.spectra import spectral_window
    >>> from eigenfolio.learned.spectral import classical_answer
    >>> from eigenfolio.models.window import prepare_window
    >>> rng = np.random.default_rng(0)
    >>> stocks = 0.01 * (rng.standard_normal((250, 31)) + rng.standard_normal((250, 1)))
    >>> stocks[:, -1] = -stocks[:, :-1].mean(axis=1)
    >>> window = spectral_window(prepare_window(stocks))
    >>> guarded(window, classical_answer(window), out_of_range=0.0)[1]
    Guard(relation=1.0, range=0.0, assets=(30,))
    """
    outside = _rise(out_of_range, _OUTSIDE)
    if outside > 0.0:
        answer = _toward(answer, outside, np.full_like(answer.shares, 1.0 / len(answer.shares)), np.zeros(1))
        answer = replace(answer, log_scale=(1.0 - outside) * answer.log_scale)
    strengths = _relations(window.spectra[0], window.log_damped_volatility)
    relation = max(strengths.values(), default=0.0)
    if relation > 0.0:
        lead = VOLATILITY_SHARE * (window.log_ewma_volatility - window.log_volatility)
        shift = window.log_damped_volatility - window.log_volatility
        level = float((lead + answer.volatility_change).mean() - np.median(shift))
        only_steady = np.eye(len(answer.shares))[0]
        answer = _toward(answer, relation, only_steady, shift + level - lead)
    return answer, Guard(relation, outside, tuple(sorted(i for i, strength in strengths.items() if strength > 0.0)))


def _toward(answer: SpectralAnswer, share: float, shares: FloatArray, volatility_change: FloatArray) -> SpectralAnswer:
    """Go a share of the way to the classical eigenvalues, with these shares of spectra and changes of volatility."""
    return replace(
        answer,
        eigenvalue_change=tuple((1.0 - share) * change for change in answer.eigenvalue_change),
        shares=(1.0 - share) * answer.shares + share * shares,
        volatility_change=(1.0 - share) * answer.volatility_change + share * volatility_change,
    )


def _relations(spectrum: Spectrum, log_volatility: FloatArray) -> dict[int, float]:
    """Assets in near-exact relations that minimum variance would use, with the strength of the guard."""
    size = np.log(spectrum.tilt)
    logs = spectrum.assets[:, _RESIDUAL] - 2.0 * size
    middle = float(median(logs))
    spread = 1.4826 * float(median(np.abs(logs - middle))) + _SMALLEST_SPREAD
    lowest = np.argsort(logs, kind="stable")[:_MOST_CANDIDATES]
    candidates = lowest[logs[lowest] < middle - max(_OUTLYING[0] * spread, _EXACT[0])]  # others have strength 0
    if len(candidates) == 0:
        return {}
    matrix = _SteadyMatrix(spectrum)
    b = spectrum.tilt / np.exp(log_volatility - log_volatility.mean())
    b = np.minimum(b, _LARGEST * float(median(b)))
    u = matrix.precision_times(b)
    found = {}
    for i, correlations in zip(candidates.tolist(), matrix.squared_correlations(candidates), strict=True):
        correlations[i] = 0.0
        group = np.append(i, _largest(correlations, np.flatnonzero(correlations > _COPY)))
        precision = matrix.precision_block(group)
        own = precision[0, 0]
        if len(group) > 1:
            own = own - precision[0, 1:] @ np.linalg.solve(precision[1:, 1:], precision[1:, 0])
        below = middle + float(np.log(max(own, 1e-300))) + 2.0 * float(size[i])
        exact = _rise(below / spread, _OUTLYING) * _rise(below, _EXACT)
        if exact > 0.0:
            wanted = float(u[group] @ np.linalg.solve(precision, u[group])) / float(b @ u)
            found[i] = exact * _rise(wanted, _WANTED)
    return found


def _largest(values: FloatArray, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Some places, those of the largest values first, and no more than the most copies."""
    if len(places) < 2:
        return places
    return places[np.argsort(-values[places], kind="stable")[:_MOST_COPIES]]


class _SteadyMatrix:
    """The steady correlation by its eigenvectors, raw and cleaned, never as a whole."""

    def __init__(self, spectrum: Spectrum) -> None:
        self._vectors = spectrum.vectors  # (n_assets, rank)
        rank = spectrum.rank
        self._values = np.exp(spectrum.tokens[:rank, 0])
        self._variance = np.square(spectrum.tilt)
        clean = np.exp(spectrum.log_eigenvalues)
        self._outside = float(1.0 / clean[-1]) if len(clean) > rank else 0.0  # precision of the null space
        self._core = 1.0 / clean[:rank] - self._outside

    def squared_correlations(self, rows: NDArray[np.intp]) -> FloatArray:
        """Of some assets with all, (n_rows, n_assets)."""
        covariance = (self._vectors[rows] * self._values) @ self._vectors.T
        squared: FloatArray = covariance**2 / (self._variance[rows, None] * self._variance)
        return squared

    def precision_times(self, b: FloatArray) -> FloatArray:
        """Precision times a vector."""
        product: FloatArray = self._vectors @ (self._core * (self._vectors.T @ b)) + self._outside * b
        return product

    def precision_block(self, group: NDArray[np.intp]) -> FloatArray:
        """Rows and columns of the precision."""
        block: FloatArray = (self._vectors[group] * self._core) @ self._vectors[group].T
        block[np.diag_indices(len(group))] += self._outside
        return block


def _rise(value: float, span: tuple[float, float]) -> float:
    """0 below the span, 1 above it, linear between."""
    return min(max((value - span[0]) / (span[1] - span[0]), 0.0), 1.0)
