r"""What a trained spectral network can tell of its own answer: regime, error, intervals, and inputs out of range.

Heads are linear models of the numbers that the network reads of a whole window (its summary, which holds the context of
both spectra) and of a few numbers of its answer. They are fitted and calibrated on windows that did not train the
network (`eigenfolio.training.heads`) and stored in its bundle as tensors named ``heads_*``. With x those numbers,
centred, divided by their scale, clipped to +-4 and led by a one,

    regime      p = softmax(W x)                      the label at the end of the horizon, from the window alone
    error       e = b'x                               log(realised / predicted variance) of the minimum-variance book
    intensity   logit d +- q s,  logit d = logit(delta) + a'x,  s = exp(c'x)
    targets     w_k +- q_k s_k,  w_k = a_k'x,  s_k = exp(c_k'x)
    risk        quantiles of a_h'(x, f) + exp(c_h'(x, f)) z      log(realised / predicted volatility) over h rows

q are conformal quantiles and z the calibration scores themselves; f are three numbers of a portfolio.

The truth for an intensity is known where the covariance is: d is the intensity that shrinks the steady sample
correlation toward the identity best in the Frobenius norm, and w the weights of the steady and the recent sample
correlation and of the identity, on the simplex, whose sum lies closest to the true correlation. Both are learned from
simulated populations only; of a real window they say what a simulated one that looks alike would have needed. Regime,
error and risk are learned from market windows (from populations where the network has seen no market).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.features.regimes import REGIMES
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.shipped import is_undated
from eigenfolio.learned.spectra import (
    ASSET_FEATURES,
    CONTEXT_FEATURES,
    SUMMARY_FEATURES,
    TOKEN_FEATURES,
    SpectralWindow,
)
from eigenfolio.learned.spectral import FEATURE_BOUND, SpectralAnswer, intensities, shrunk_spectrum
from eigenfolio.learned.spectral_kernels import beyond

__all__ = [
    "HEAD_ATTRIBUTES",
    "HEAD_INPUTS",
    "INTENSITY_EDGE",
    "MATERIAL_SHARE",
    "PORTFOLIO_INPUTS",
    "RISK_HORIZONS",
    "RISK_LEVELS",
    "TARGETS",
    "Heads",
    "InputRange",
    "SelfReport",
    "head_inputs",
    "input_range",
    "linear",
    "missing_attribute",
    "portfolio_inputs",
    "self_report",
]

FloatArray = NDArray[np.float64]

ANSWER_INPUTS: tuple[str, ...] = (
    "logit_intensity",
    "member_spread",
    "recent_share",
    "log_scale",
    "mean_volatility_change",
    "spread_volatility_change",
)
HEAD_INPUTS: tuple[str, ...] = (*SUMMARY_FEATURES, *ANSWER_INPUTS)
"""Numbers of a window and of the answer that every head reads, in order."""

PORTFOLIO_INPUTS: tuple[str, ...] = ("log_hedging", "log_concentration", "log_leverage")
"""Numbers of a portfolio that the risk head reads besides."""

TARGETS: tuple[str, ...] = ("steady", "recent", "identity")
RISK_HORIZONS: tuple[int, ...] = (5, 10, 21, 42, 63)
RISK_LEVELS: FloatArray = np.linspace(0.005, 0.995, 199)
INTENSITY_EDGE = 1e-3
MATERIAL_SHARE = 0.1
HEAD_ATTRIBUTES = frozenset(
    {
        "expected_error_",
        "out_of_range_",
        "prediction_variance_",
        "regime_",
        "regime_probabilities_",
        "shrinkage_interval_",
        "target_confidence_",
    }
)
"""Attributes that only weights with heads set."""

_OF_HEAD = {
    "regime_": "regime",
    "regime_probabilities_": "regime",
    "expected_error_": "error",
    "shrinkage_interval_": "intensity",
    "prediction_variance_": "intensity",
    "target_confidence_": "targets",
    "risk_interval": "risk",
}
_LOG_SCALE_BOUND = 6.0


def linear(weights: FloatArray, x: FloatArray) -> FloatArray:
    """Values of linear heads: ``weights`` (..., 1 + n) on inputs (n,), the first weight being the intercept."""
    value: FloatArray = weights[..., 0] + weights[..., 1:] @ x
    return value


def head_inputs(
    window: SpectralWindow,
    answer: SpectralAnswer,
    members: Sequence[SpectralAnswer],
    *,
    intensity: float | None = None,
    member_intensities: FloatArray | None = None,
) -> FloatArray:
    """`HEAD_INPUTS` of a window and of what was said of it, raw, (n_inputs,).

    Parameters
    ----------
    window : SpectralWindow
    answer : SpectralAnswer
        Of the ensemble.
    members : sequence of SpectralAnswer
        Of its members.
    intensity : float, optional
        Of the answer, if it is known already.
    member_intensities : ndarray of shape (n_members,), optional
        Of the members, if they are known already.
    """
    own = shrunk_spectrum(window, answer)[0] if intensity is None else intensity
    said = answer.volatility_change
    numbers = [
        float(_logit(own)),
        np.sqrt(_member_variance(window, members, member_intensities)),
        answer.shares[1],
        answer.log_scale,
        said.mean(),
        said.std(),
    ]
    return np.concatenate([window.summary, numbers])


def portfolio_inputs(covariance: FactorCovariance, weights: FloatArray) -> FloatArray:
    """`PORTFOLIO_INPUTS` of a portfolio, (3,); none changes with its size.

    The log ratio of the variance it would have were its assets uncorrelated to its variance, the log of the effective
    number of its positions, and the log of gross over net exposure (at most log 100).
    """
    gross = float(np.abs(weights).sum())
    uncorrelated = float(weights**2 @ covariance.diagonal())
    net = max(abs(float(weights.sum())), 0.01 * gross)
    return np.array(
        [
            np.log(uncorrelated / covariance.variance(weights)),
            np.log(gross**2 / float(weights @ weights)),
            np.log(gross / net),
        ]
    )


@dataclass(frozen=True)
class InputRange:
    """Which inputs of a network lie beyond what its training has seen.

    Attributes
    ----------
    outside : dict of str to float
        By input, how many scales it lies beyond the nearest end of the range that the network can tell apart (four
        scales about the mean of training): positive above, negative below, only those beyond. Of an input with many
        values (one per eigenvalue or asset, in both spectra) the one that is farthest out.
    share : float
        Inputs out of range over all inputs, each counted by the share of its values that are.
    """

    outside: dict[str, float]
    share: float


def input_range(bundle: Bundle, window: SpectralWindow) -> InputRange:
    """Compare the inputs of a window with those of training.

    Parameters
    ----------
    bundle : Bundle
        Of the spectral network.
    window : SpectralWindow

    Returns
    -------
    InputRange
    """
    outside: dict[str, float] = {}
    share, n_inputs = 0.0, 0
    for kind, names in _INPUTS.items():
        tables = [window.summary[None]] if kind == "summary" else [getattr(s, _FIELDS[kind]) for s in window.spectra]
        found = np.zeros(len(names))
        for table, bounds in zip(map(np.atleast_2d, tables), _bounds(bundle)[kind], strict=True):
            n_inputs += len(names)
            far, outside_share = beyond(table, *bounds, FEATURE_BOUND)
            share += outside_share
            found = np.where(np.abs(far) > np.abs(found), far, found)
        outside |= {f"{kind}.{names[k]}": float(found[k]) for k in np.flatnonzero(found)}
    return InputRange(outside, share / n_inputs)


class _Bounds(NamedTuple):
    """Between which values the network can tell the inputs of one table apart, each (n_inputs,)."""

    center: FloatArray
    scale: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, kind: str, center: FloatArray, scale: FloatArray) -> _Bounds:
        reach = FEATURE_BOUND * scale
        if kind == "token":
            reach = reach.copy()
            reach[_FLAGS] = np.inf
        return cls(center, scale, center - reach, center + reach)


def _bounds(bundle: Bundle) -> dict[str, list[_Bounds]]:
    """Of every table, by kind of input; kept as long as the bundle is."""
    found: dict[str, list[_Bounds]] | None = vars(bundle).get("_input_bounds")
    if found is None:
        found = {}
        for kind in _INPUTS:
            stored = (np.asarray(bundle.tensors[f"{kind}_{end}"], dtype=float) for end in ("center", "scale"))
            pairs = zip(*(np.atleast_2d(values) for values in stored), strict=True)
            found[kind] = [_Bounds.of(kind, center, scale) for center, scale in pairs]
        object.__setattr__(bundle, "_input_bounds", found)
    return found


@dataclass(frozen=True)
class Heads:
    """Heads of a bundle, each None where the windows were too few to fit it.

    Attributes
    ----------
    center, scale : ndarray of shape (n_inputs,)
        Of `HEAD_INPUTS`.
    regime : ndarray of shape (n_regimes, 1 + n_inputs) or None
        Of the calibrated log probabilities.
    error : ndarray of shape (1 + n_inputs,) or None
    intensity : ndarray of shape (2, 1 + n_inputs) or None
        Change of the logit, and log scale.
    intensity_calibration : ndarray of shape (2,) or None
        Half width of the 90 % interval in scales, and variance in squared scales.
    targets : ndarray of shape (n_targets, 2, 1 + n_inputs) or None
        Weight, and log scale.
    targets_calibration : ndarray of shape (n_targets,) or None
        Half widths of the 90 % intervals in scales.
    risk : ndarray of shape (n_horizons, 2, 1 + n_inputs + n_portfolio_inputs) or None
        Log ratio, and log scale.
    risk_scores : ndarray of shape (n_horizons, n_levels) or None
        Quantiles of the standardised log ratio at `RISK_LEVELS`.
    risk_center, risk_scale : ndarray of shape (n_portfolio_inputs,) or None
        Of `PORTFOLIO_INPUTS`.
    material_share : ndarray of shape () or None
        Share of inputs out of range that is worth a warning: `MATERIAL_SHARE`, or 1.5 times what one in a hundred of
        the windows of the training mixture has.
    """

    center: FloatArray
    scale: FloatArray
    regime: FloatArray | None = None
    error: FloatArray | None = None
    intensity: FloatArray | None = None
    intensity_calibration: FloatArray | None = None
    targets: FloatArray | None = None
    targets_calibration: FloatArray | None = None
    risk: FloatArray | None = None
    risk_scores: FloatArray | None = None
    risk_center: FloatArray | None = None
    risk_scale: FloatArray | None = None
    material_share: FloatArray | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> Heads | None:
        """Heads of a bundle, kept as long as it is; None where it has none."""
        if "heads_center" not in bundle.tensors:
            return None
        found: Heads | None = vars(bundle).get("_heads")
        if found is None:
            stored = {n: bundle.tensors.get(f"heads_{n}") for n in cls.__dataclass_fields__}
            found = cls(**{n: None if t is None else np.asarray(t, dtype=float) for n, t in stored.items()})  # type: ignore[arg-type]
            object.__setattr__(bundle, "_heads", found)
        return found

    def tensors(self) -> dict[str, FloatArray]:
        """What goes into the bundle."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {f"heads_{name}": value for name, value in named.items() if value is not None}

    def scaled(self, inputs: FloatArray) -> FloatArray:
        """Raw `HEAD_INPUTS`, (..., n_inputs), centred, scaled and clipped."""
        x: FloatArray = np.clip((inputs - self.center) / self.scale, -FEATURE_BOUND, FEATURE_BOUND)
        return x

    def scaled_portfolio(self, inputs: FloatArray) -> FloatArray:
        """Raw `PORTFOLIO_INPUTS`, (..., 3), centred, scaled and clipped."""
        assert self.risk_center is not None
        assert self.risk_scale is not None
        f: FloatArray = np.clip((inputs - self.risk_center) / self.risk_scale, -FEATURE_BOUND, FEATURE_BOUND)
        return f

    def regime_probabilities(self, x: FloatArray) -> FloatArray:
        """Of `REGIMES`, (n_regimes,)."""
        assert self.regime is not None
        return np.asarray(softmax(linear(self.regime, x)))

    def intensity_interval(self, x: FloatArray, own: float) -> tuple[float, float, float]:
        """Ends of the 90 % interval, and the variance of the logit; `own` is the intensity of the answer."""
        assert self.intensity is not None
        assert self.intensity_calibration is not None
        change, log_scale = linear(self.intensity, x)
        scale = _positive(log_scale)
        half, variance = self.intensity_calibration
        low, high = _intensity(_logit(own) + change + half * scale * np.array([-1.0, 1.0]))
        return float(low), float(high), float(variance * scale**2)

    def target_intervals(self, x: FloatArray) -> FloatArray:
        """Ends of the 90 % intervals of the targets' weights, (n_targets, 2), in [0, 1]."""
        assert self.targets is not None
        assert self.targets_calibration is not None
        weight, log_scale = linear(self.targets, x).T
        half = self.targets_calibration * _positive(log_scale)
        return np.clip(np.column_stack([weight - half, weight + half]), 0.0, 1.0)

    def risk_quantiles(self, x: FloatArray, portfolio: FloatArray, levels: FloatArray, horizon: float) -> FloatArray:
        """Quantiles of log(realised / predicted volatility) over the next `horizon` rows, (n_levels,).

        Between the horizons that were fitted they are interpolated in the log of the horizon.
        """
        assert self.risk is not None
        assert self.risk_scores is not None
        z = np.concatenate([x, self.scaled_portfolio(portfolio)])
        at = np.interp(np.log(horizon), np.log(RISK_HORIZONS), np.arange(len(RISK_HORIZONS)))
        ends = []
        for h in (int(np.floor(at)), int(np.ceil(at))):
            center, log_scale = linear(self.risk[h], z)
            ends.append(center + _positive(log_scale) * np.interp(levels, RISK_LEVELS, self.risk_scores[h]))
        share = at - np.floor(at)
        quantiles: FloatArray = (1.0 - share) * ends[0] + share * ends[1]
        return quantiles


@dataclass(frozen=True)
class SelfReport:
    """What a fitted network says of its own answer.

    Attributes
    ----------
    attributes : dict
        Fitted attributes by name, of the heads that are there.
    diagnostics : dict of str to float
        `member_variance` and `aleatoric_variance` of the logit of the intensity (the second of the heads), and
        `out_of_range_all`, the share of all inputs that are out of range.
    heads : Heads or None
    inputs : ndarray of shape (n_inputs,)
        As the heads read them; empty without heads.
    warning : str or None
        What to warn of: a material share of inputs out of range.
    """

    attributes: dict[str, Any]
    diagnostics: dict[str, float]
    heads: Heads | None
    inputs: FloatArray
    warning: str | None = None


def self_report(
    bundle: Bundle,
    window: SpectralWindow,
    answer: SpectralAnswer,
    members: Sequence[SpectralAnswer],
    *,
    intensity: float | None = None,
    member_intensities: FloatArray | None = None,
) -> SelfReport:
    """Ask the heads of a bundle about an answer.

    Parameters
    ----------
    bundle : Bundle
        Of the spectral network, with heads or without.
    window, answer, members, intensity, member_intensities
        As for `head_inputs`.

    Returns
    -------
    SelfReport
    """
    seen = input_range(bundle, window)
    spread = _member_variance(window, members, member_intensities)
    attributes: dict[str, Any] = {"out_of_range_": seen.outside}
    diagnostics = {"out_of_range_all": seen.share, "member_variance": spread}
    heads = Heads.of(bundle)
    if heads is None:
        return SelfReport(attributes, diagnostics, None, np.empty(0))
    own = shrunk_spectrum(window, answer)[0] if intensity is None else intensity
    x = heads.scaled(head_inputs(window, answer, members, intensity=own, member_intensities=member_intensities))
    if heads.regime is not None:
        chances = heads.regime_probabilities(x)
        attributes["regime_"] = REGIMES[int(chances.argmax())]
        attributes["regime_probabilities_"] = dict(zip(REGIMES, chances.tolist(), strict=True))
    if heads.error is not None:
        attributes["expected_error_"] = float(linear(heads.error, x))
    if heads.intensity is not None:
        low, high, aleatoric = heads.intensity_interval(x, own)
        attributes["shrinkage_interval_"] = low, high
        attributes["prediction_variance_"] = aleatoric + spread
        diagnostics["aleatoric_variance"] = aleatoric
    if heads.targets is not None:
        widths = np.diff(heads.target_intervals(x), axis=1)[:, 0]
        attributes["target_confidence_"] = dict(zip(TARGETS, (1.0 - widths).tolist(), strict=True))
    return SelfReport(attributes, diagnostics, heads, x, _warning(seen, heads))


def _warning(seen: InputRange, heads: Heads) -> str | None:
    if heads.material_share is None or seen.share <= float(heads.material_share):
        return None
    name, distance = max(seen.outside.items(), key=lambda item: abs(item[1]))
    return (
        f"{100 * seen.share:.0f} % of the inputs lie beyond what these weights have seen ({name} farthest, by "
        f"{distance:+.1f} scales; more than {100 * float(heads.material_share):.0f} % is unusual); they are clamped, "
        "so the answer is that to a milder window: read out_of_range_, and look for bad prints or copies in X"
    )


def missing_attribute(name: str, fitted: bool, bundle: Bundle | None) -> str:
    """Why an attribute of the heads is not there, in a sentence."""
    if not fitted:
        return f"{name} is there after fit"
    if bundle is None:
        return f"{name} is what trained weights say of themselves, and weights=None is untrained; give weights"
    if bundle.network != "spectral":
        return f"the weights of network {bundle.network!r} have no head for {name}"
    head = _OF_HEAD.get(name, name)
    told = bundle.details.get("heads", {}).get(head, {})
    reason = f" ({told['reason']})" if "reason" in told else ""
    if is_undated(bundle):
        advice = "weights that have seen a market (weights='2008' and later) do"
    else:
        advice = "take weights that were trained with heads (training.heads_share of eigenfolio pretrain)"
    return f"{name} needs the head {head!r}, which these weights do not have{reason}; {advice}"


_INPUTS: dict[str, tuple[str, ...]] = {
    "token": TOKEN_FEATURES,
    "asset": ASSET_FEATURES,
    "context": CONTEXT_FEATURES,
    "summary": SUMMARY_FEATURES,
}
_FIELDS = {"token": "tokens", "asset": "assets", "context": "context"}
_FLAGS = [TOKEN_FEATURES.index("is_null_space")]  # of zeros and ones, which have no range


def _logit(intensity: float) -> float:
    """Of an intensity pulled inside its edges, where the truth often sits."""
    return float(_pulled_logit(np.asarray(intensity)))


def _pulled_logit(intensity: FloatArray) -> FloatArray:
    values: FloatArray = logit(np.clip(intensity, INTENSITY_EDGE, 1.0 - INTENSITY_EDGE))
    return values


def _intensity(logits: FloatArray) -> FloatArray:
    """The inverse; what reaches an edge is the end itself."""
    values = expit(logits)
    ended: FloatArray = np.where(values <= INTENSITY_EDGE, 0.0, np.where(values >= 1.0 - INTENSITY_EDGE, 1.0, values))
    return ended


def _positive(log_scale: FloatArray) -> FloatArray:
    scale: FloatArray = np.exp(np.clip(log_scale, -_LOG_SCALE_BOUND, _LOG_SCALE_BOUND))
    return scale


def _member_variance(
    window: SpectralWindow, members: Sequence[SpectralAnswer], known: FloatArray | None = None
) -> float:
    """Variance over the members of the logit of the intensity."""
    if len(members) < 2:
        return 0.0
    return float(np.var(_pulled_logit(intensities(window, members) if known is None else known)))
