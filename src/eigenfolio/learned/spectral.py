r"""Forward pass of trained spectral networks, without torch, and the covariance that their answer makes.

    C = sum_b pi_b T_b^-1 (d0_b I + V_b diag(d_b - d0_b) V_b') T_b^-1 + 1e-4 I,    Sigma = diag(sigma) C diag(sigma)

T_b are the tilts of the spectra (identity for a correlation). Of what the networks say about eigenvalues half is taken:
on 2013-2016, with networks trained to 2012, that was better than all of it and than nothing in every kind of universe.

The members of an ensemble are averaged where they speak: log eigenvalues, log volatilities, shares. `d0`, the
eigenvalue of a null space, is never above the others, so C is a matrix of low rank with positive weights plus a
multiple of the identity, kept in that form until someone asks for it dense. The twin in PyTorch is
`eigenfolio.models.networks.SpectralShrinkageNetwork`; tests hold the two equal. Depth and widths are those of the
stored weights; where members have other activations than gelu, the option `members` of the bundle names that of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit, ndtr, softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.learned.aggregation import stored_aggregation
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.spectra import (
    ASSET_FEATURES,
    CONTEXT_FEATURES,
    N_SPECTRA,
    SUMMARY_FEATURES,
    TOKEN_FEATURES,
    VOLATILITY_SHARE,
    SpectralWindow,
    Spectrum,
)
from eigenfolio.learned.spectral_kernels import scaled

__all__ = [
    "EIGENVALUE_TRUST",
    "FEATURE_BOUND",
    "RIDGE",
    "SpectralAnswer",
    "SpectralForward",
    "classical_answer",
    "combine",
    "feature_names",
    "intensities",
    "mean_answer",
    "shrunk_spectrum",
]

FloatArray = NDArray[np.float64]

EIGENVALUE_BOUND, VOLATILITY_BOUND, SCALE_BOUND = 3.0, 1.5, 0.1
FEATURE_BOUND = 4.0
EIGENVALUE_TRUST = 0.5
RIDGE = 1e-4
_TABLE_END, _TABLE_STEPS = 9.0, 256  # of the normal distribution, per unit


@dataclass(frozen=True)
class SpectralAnswer:
    """What a network, or the mean of several, says of one window.

    Attributes
    ----------
    eigenvalue_change : tuple of ndarray of shape (n_tokens,)
        Per spectrum, of the log eigenvalues.
    volatility_change : ndarray of shape (n_assets,)
        Of the log volatilities.
    shares : ndarray of shape (n_spectra,)
        Weights of the spectra, sum 1.
    log_scale : float
        Common change of all log volatilities.
    """

    eigenvalue_change: tuple[FloatArray, ...]
    volatility_change: FloatArray
    shares: FloatArray
    log_scale: float


def classical_answer(window: SpectralWindow) -> SpectralAnswer:
    """What an untrained network says: no change, both spectra alike."""
    return SpectralAnswer(
        tuple(np.zeros_like(spectrum.log_eigenvalues) for spectrum in window.spectra),
        np.zeros_like(window.log_volatility),
        np.full(N_SPECTRA, 1.0 / N_SPECTRA),
        0.0,
    )


def mean_answer(answers: Sequence[SpectralAnswer]) -> SpectralAnswer:
    """Average the members of an ensemble."""
    if len(answers) == 1:
        return answers[0]
    return SpectralAnswer(
        tuple(np.mean(parts, axis=0) for parts in zip(*(a.eigenvalue_change for a in answers), strict=True)),
        np.mean([a.volatility_change for a in answers], axis=0),
        np.mean([a.shares for a in answers], axis=0),
        float(np.mean([a.log_scale for a in answers])),
    )


def feature_names() -> tuple[str, ...]:
    """Ordered names of all inputs, for the bundle."""
    names = [f"token.{name}" for name in TOKEN_FEATURES] + [f"asset.{name}" for name in ASSET_FEATURES]
    return (
        *names,
        *(f"context.{name}" for name in CONTEXT_FEATURES),
        *(f"summary.{name}" for name in SUMMARY_FEATURES),
    )


class SpectralForward:
    """Trained spectral networks of a bundle.

    Parameters
    ----------
    bundle : Bundle
        Of family "shrinkage" and network "spectral".

    Raises
    ------
    ArtifactError
        If it is another kind of bundle, or its inputs are not those of this version.
    """

    def __init__(self, bundle: Bundle) -> None:
        if (bundle.family, bundle.network) != ("shrinkage", "spectral"):
            raise ArtifactError(
                f"expected a bundle of shrinkage/spectral, got {bundle.family}/{bundle.network}; give the folder of a "
                "spectral shrinkage model"
            )
        if bundle.feature_names != feature_names():
            raise ArtifactError("the bundle was trained on other inputs than this version computes; train it again")
        self._scalers = {
            kind: (bundle.tensors[f"{kind}_center"].astype(float), bundle.tensors[f"{kind}_scale"].astype(float))
            for kind in ("token", "asset", "context", "summary")
        }
        self._layers = {
            name.removesuffix(".weight"): (
                np.ascontiguousarray(tensor.astype(float).swapaxes(1, 2)),  # (n_members, n_in, n_out)
                bundle.tensors[f"{name.removesuffix('.weight')}.bias"].astype(float)[:, None, :],
            )
            for name, tensor in bundle.tensors.items()
            if name.endswith(".weight")
        }
        self._deeper = {
            net: [self._layers[name] for name in sorted(self._layers) if name.startswith(f"{net}_blocks.")]
            for net in (*(f"spectra.{b}.asset" for b in range(N_SPECTRA)), "summary")
        }
        self._mixing = bundle.tensors["mixing"].astype(float)
        self._level = bundle.tensors["level"].astype(float)[:, 0]
        self.n_members = len(self._mixing)
        self._act = _activation(bundle, self.n_members)
        self.aggregation = stored_aggregation(bundle)

    def answer(self, window: SpectralWindow, members: Sequence[SpectralAnswer] | None = None) -> SpectralAnswer:
        """Answer of the ensemble: the members (computed unless given) joined as the bundle says."""
        members = self.members(window) if members is None else members
        return mean_answer(members) if self.aggregation is None else self.aggregation(window, members)

    def members(self, window: SpectralWindow) -> list[SpectralAnswer]:
        """Answer of every member."""
        changes, votes = [], []
        for b, spectrum in enumerate(window.spectra):
            context = self._scale("context", spectrum.context, b)
            y = self._first(f"spectra.{b}.token_in", "token", spectrum.tokens, b, context)
            gates = _layer(y, *self._layers[f"spectra.{b}.scan.gates"])  # (n_members, n_tokens, 2 n_units)
            y += _scanned(gates)
            said = _bounded(self._last(f"spectra.{b}.token_out", y), EIGENVALUE_BOUND)
            changes.append(EIGENVALUE_TRUST * said)
            x = self._first(f"spectra.{b}.asset_in", "asset", spectrum.assets, b, context)
            x = self._act(_layer(x, *self._layers[f"spectra.{b}.asset_hidden"]))
            for layer in self._deeper[f"spectra.{b}.asset"]:
                x += self._act(_layer(x, *layer))
            votes.append(_bounded(self._last(f"spectra.{b}.asset_out", x), VOLATILITY_BOUND))
        summary = self._scale("summary", window.summary)
        z = summary[None, :]
        for name in ("summary_in", "summary_hidden"):
            weight, bias = self._layers[name]
            z = self._act(np.matmul(z, weight) + bias)
        for layer in self._deeper["summary"]:
            z += self._act(_layer(z, *layer))
        weight, bias = self._layers["summary_out"]
        said = (np.matmul(z, weight) + bias)[:, 0]  # (n_members, 1 + n_spectra)
        scales = _bounded(said[:, 0], SCALE_BOUND) + self._level * summary[-1]
        return [
            SpectralAnswer(
                tuple(change[member] for change in changes),
                sum((share * vote[member] for share, vote in zip(shares, votes, strict=True)), np.zeros(1)),
                shares,
                float(scales[member]),
            )
            for member, shares in enumerate(softmax(self._mixing + said[:, 1:], axis=1))
        ]

    def out_of_range(self, window: SpectralWindow) -> float:
        """Share of the summary's numbers that lie beyond four scales of what training has seen."""
        center, scale = self._scalers["summary"]
        return float((np.abs((window.summary - center) / scale) > FEATURE_BOUND).mean())

    def _scale(self, kind: str, values: FloatArray, spectrum: int | None = None) -> FloatArray:
        center, scale = self._scalers[kind]
        if spectrum is not None:
            center, scale = center[spectrum], scale[spectrum]
        if values.ndim == 2:
            return np.asarray(scaled(values, center, scale, FEATURE_BOUND))
        return np.asarray(np.clip((values - center) / scale, -FEATURE_BOUND, FEATURE_BOUND))

    def _first(self, name: str, kind: str, table: FloatArray, spectrum: int, context: FloatArray) -> FloatArray:
        """First layer on the rows of a table, all of one context; (n_members, n_rows, n_units)."""
        weight, bias = self._layers[name]
        own = table.shape[1]
        common = np.matmul(context, weight[:, own:]) + bias[:, 0]  # (n_members, n_units)
        return self._act(_layer(self._scale(kind, table, spectrum), weight[:, :own], common[:, None]))

    def _last(self, name: str, x: FloatArray) -> FloatArray:
        """Last layer, of one unit; (n_members, n_rows)."""
        weight, bias = self._layers[name]
        said: FloatArray = np.matmul(x, weight)[..., 0]
        said += bias[:, 0]
        return said


def combine(window: SpectralWindow, answer: SpectralAnswer) -> FactorCovariance:
    """Join spectra, shares and volatilities to a covariance."""
    n_assets = len(window.log_volatility)
    base = np.full(n_assets, RIDGE)
    factor, first = np.empty((sum(spectrum.rank for spectrum in window.spectra), n_assets)).T, 0
    for spectrum, change, share in zip(window.spectra, answer.eigenvalue_change, answer.shares, strict=True):
        eigenvalues, null = cleaned(spectrum, change)
        base += share * null / spectrum.tilt**2
        part = factor[:, first : first + spectrum.rank]
        np.multiply(spectrum.vectors, np.sqrt(share * (eigenvalues - null)), out=part)
        part /= spectrum.tilt[:, None]
        first += spectrum.rank
    lead = window.log_ewma_volatility - window.log_volatility
    logs = window.log_volatility + VOLATILITY_SHARE * lead + answer.volatility_change + answer.log_scale
    return FactorCovariance(factor, np.exp(logs), base)


def cleaned(spectrum: Spectrum, change: FloatArray) -> tuple[FloatArray, float]:
    """Eigenvalues of a spectrum after a change, (rank,), and that of the null space (0 where there is none)."""
    eigenvalues = np.exp(spectrum.log_eigenvalues + change)
    kept = eigenvalues[: spectrum.rank]
    null = min(float(eigenvalues[-1]), float(kept.min())) if len(eigenvalues) > spectrum.rank else 0.0
    return kept, null


def shrunk_spectrum(window: SpectralWindow, answer: SpectralAnswer) -> tuple[float, FloatArray]:
    """What became of the steady spectrum: the closest intensity toward the identity, and eigenvalues before and after.

    The intensity minimises sum (d - (1 - delta) lambda - delta)^2 over all N eigenvalues, d divided by their mean,
    which is a matter of the volatilities; it is cut to [0, 1].
    """
    before, times = _raw_spectrum(window)
    after = _after(window, answer)
    return _closest_intensity(before, times, after), np.column_stack([before, after])


def intensities(window: SpectralWindow, answers: Sequence[SpectralAnswer]) -> FloatArray:
    """Intensity of `shrunk_spectrum` for several answers to one window, (n_answers,)."""
    before, times = _raw_spectrum(window)
    return np.array([_closest_intensity(before, times, _after(window, answer)) for answer in answers])


def _raw_spectrum(window: SpectralWindow) -> tuple[FloatArray, FloatArray]:
    """Sample eigenvalues of the steady spectrum, and how often each is there; the null space is one entry."""
    spectrum = window.spectra[0]
    before = np.exp(spectrum.tokens[:, 0]) - 1e-4
    times = np.ones(len(before))
    if len(before) > spectrum.rank:
        times[-1] = len(window.log_volatility) - spectrum.rank
    return before, times


def _after(window: SpectralWindow, answer: SpectralAnswer) -> FloatArray:
    spectrum = window.spectra[0]
    kept, null = cleaned(spectrum, answer.eigenvalue_change[0])
    return np.append(kept, null) if len(spectrum.tokens) > spectrum.rank else kept


def _closest_intensity(before: FloatArray, times: FloatArray, after: FloatArray) -> float:
    away, level = before - 1.0, float(times @ after) / float(times.sum())
    whole = float(times @ away**2)
    intensity = float(times @ (away * (before - after / level))) / whole if whole > 1e-12 else 1.0
    return min(max(intensity, 0.0), 1.0)


def _layer(x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """x @ weight + bias of every member, (n_members, n_rows, n_out); x is (n_rows, n_in), or has one table each."""
    y: FloatArray = np.matmul(x, weight)
    y += bias
    return y


def _bounded(x: FloatArray, bound: float) -> FloatArray:
    y: FloatArray = bound * np.tanh(x / bound)
    return y


def _activation(bundle: Bundle, n_members: int) -> Callable[[FloatArray], FloatArray]:
    """Of all members' hidden layers, (n_members, ...), in place."""
    names = [member["activation"] for member in bundle.options.get("members", [])]
    if all(name == "gelu" for name in names):
        return _gelu
    if len(names) != n_members or not set(names) <= set(_ACTIVATIONS):
        raise ArtifactError(
            f"the bundle has {n_members} members with the activations {', '.join(map(str, names))}, and this version "
            f"knows {', '.join(_ACTIVATIONS)}, one for each; train it again"
        )

    def by_member(x: FloatArray) -> FloatArray:
        for name, part in zip(names, x, strict=True):
            _ACTIVATIONS[name](part)
        return x

    return by_member


def _silu(x: FloatArray) -> FloatArray:
    x *= expit(x)
    return x


def _normal_cubics() -> FloatArray:
    """Coefficients of the normal distribution by Hermite's cubics between the points of a grid, (n_intervals, 4)."""
    points = np.arange(-_TABLE_END, _TABLE_END + 1.0 / _TABLE_STEPS, 1.0 / _TABLE_STEPS)
    level, slope = ndtr(points), np.exp(-0.5 * points**2) / np.sqrt(2.0 * np.pi) / _TABLE_STEPS
    rise, first, second = np.diff(level), slope[:-1], slope[1:]
    return np.column_stack([level[:-1], first, 3.0 * rise - 2.0 * first - second, first + second - 2.0 * rise])


_NORMAL_CUBICS = _normal_cubics()


def _gelu(x: FloatArray) -> FloatArray:
    """x Phi(x), in place; Phi from a table by Hermite's cubic, to 1e-12."""
    _gelu_by_table(x.reshape(-1), _NORMAL_CUBICS)
    return x


@njit(cache=True)
def _gelu_by_table(x, cubics):  # type: ignore[no-untyped-def]
    last = len(cubics) - 1
    for i in range(x.size):
        place = (x[i] + _TABLE_END) * _TABLE_STEPS
        place = place if place > 0.0 else 0.0  # of what is no number too, which stays none below
        place = place if place < last else last + 0.999999999
        k = int(place)
        t, (a, b, c, d) = place - k, cubics[k]
        value = x[i] * (a + t * (b + t * (c + t * d)))
        x[i] = 0.0 if x[i] <= -_TABLE_END else value


_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {  # in place
    "gelu": _gelu,
    "silu": _silu,
    "tanh": lambda x: np.tanh(x, out=x),
    "relu": lambda x: np.maximum(x, 0.0, out=x),
}


def _scanned(gates: FloatArray) -> FloatArray:
    """Both directions of the recurrence for gates and candidates, (n_members, n_tokens, 2 n_units)."""
    n_units = gates.shape[2] // 2
    taken = 1.0 / (1.0 + np.exp(-gates[..., :n_units]))
    out: FloatArray = _recurrence(taken, np.tanh(gates[..., n_units:]))
    return out


@njit(cache=True)
def _recurrence(taken, candidate):  # type: ignore[no-untyped-def]
    """h_t = (1 - taken_t) h_{t-1} + taken_t candidate_t; the second half of the units runs backwards."""
    n_members, n_tokens, n = taken.shape
    out = np.empty((n_members, n_tokens, n))
    for m in range(n_members):
        state = np.zeros(n)
        for i in range(n_tokens):
            for j in range(n):
                t = i if j < n // 2 else n_tokens - 1 - i
                state[j] += taken[m, t, j] * (candidate[m, t, j] - state[j])
                out[m, t, j] = state[j]
    return out
