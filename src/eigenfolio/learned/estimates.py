"""What the dense and the attention network make of one window: a covariance, and what a user can read of it.

The intervals are calibrated: a bundle keeps `interval_scale`, the 90 % quantile over windows of simulated markets that
the network was not trained on, of the distance between its logit intensity and that of the exact optimum in units of
the predicted deviation; `confidence_scale` is the same for the weight of each target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.features import REGIMES, SPECTRUM_FEATURES
from eigenfolio.learned.attention import (
    AttentionForward,
    attention_correlation,
    block_eigenvalues,
    mean_attention,
    untrained_attention,
)
from eigenfolio.learned.dense import ALL_TARGETS, DenseForward, ShrinkageParameters, mean_parameters
from eigenfolio.learned.tokens import (
    MARKET_FEATURES,
    TEMPORAL_FEATURES,
    describe_tokens,
    market_features,
    temporal_features,
    window_regime,
)
from eigenfolio.learned.window import N_TARGETS, TARGETS, ShrinkageWindow, blend, describe_window
from eigenfolio.models.linear_shrinkage import ledoit_wolf_intensity
from eigenfolio.models.window import Window

__all__ = [
    "DENSE_INPUTS",
    "Shrunk",
    "attention_estimate",
    "dense_estimate",
    "dense_feature_names",
    "dense_inputs",
    "prepared",
    "shrinkage_interval",
]

FloatArray = NDArray[np.float64]
Forward = TypeVar("Forward")

DENSE_INPUTS: dict[str, tuple[str, ...]] = {
    "matrix": SPECTRUM_FEATURES,
    "market": MARKET_FEATURES,
    "temporal": TEMPORAL_FEATURES,
}
"""Groups of features that the dense network may see."""


@dataclass(frozen=True)
class Shrunk:
    """A covariance and the attributes and diagnostics that go with it.

    Attributes
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    attributes : dict of str to object
        By the name of the attribute of `NeuralShrinkage`.
    diagnostics : dict of str to float
    """

    covariance: FloatArray
    attributes: dict[str, Any]
    diagnostics: dict[str, float]


def dense_feature_names(inputs: tuple[str, ...] = ("matrix",)) -> tuple[str, ...]:
    """Names of the features of some groups, in the order of `DENSE_INPUTS`.

    Raises
    ------
    ArtifactError
        If there is no such group.
    """
    unknown = [name for name in inputs if name not in DENSE_INPUTS]
    if unknown:
        raise ArtifactError(f"inputs must be among {', '.join(DENSE_INPUTS)}, got {unknown[0]!r}; train it again")
    return tuple(name for group, names in DENSE_INPUTS.items() if group in inputs for name in names)


def dense_inputs(
    window: Window, inputs: tuple[str, ...] = ("matrix",), *, start: str = "identity"
) -> tuple[ShrinkageWindow, FloatArray, str | None]:
    """What the dense network sees of a completed window.

    Parameters
    ----------
    window : Window
    inputs : tuple of str
        Groups of features.
    start : {"identity", "constant_correlation", "single_factor"}
        Target of the classical intensity.

    Returns
    -------
    described : ShrinkageWindow
    features : ndarray of shape (n_features,)
        In the order of `dense_feature_names`.
    regime : str or None
        Regime of the window; None where the market group is not seen.
    """
    described = describe_window(window)
    if start != "identity":
        intensity = ledoit_wolf_intensity(window.standardised, described.correlation, target=start)
        described = replace(described, intensity=intensity)
    parts = [described.features] if "matrix" in inputs else []
    market = market_features(window.standardised) if "market" in inputs else None
    if market is not None:
        parts.append(market)
    if "temporal" in inputs:
        parts.append(temporal_features(window))
    return described, np.concatenate(parts), None if market is None else window_regime(market)


def dense_estimate(window: Window, bundle: Bundle | None) -> Shrunk:
    """Shrink a completed window as a dense network says; without a bundle, its closed form."""
    spread, outside = 0.0, 0.0
    attributes: dict[str, Any] = {}
    if bundle is None:
        described = describe_window(window)
        parameters = ShrinkageParameters(described.intensity, np.eye(N_TARGETS)[0], 0.0)
    else:
        inputs = tuple(bundle.options.get("inputs", ("matrix",)))
        forward = prepared(bundle, lambda: DenseForward(bundle, dense_feature_names(inputs)))
        first = bundle.options.get("targets", ALL_TARGETS)[0]
        described, features, regime = dense_inputs(window, inputs, start=first)
        members = forward.members(features, described.classical_logit, regime)
        parameters = mean_parameters(members)
        spread = float(np.std([member.intensity for member in members]))
        outside = forward.out_of_range(features)
        attributes["out_of_range_"] = forward.far(features)
        if parameters.log_variance is not None:
            variance = float(np.exp(parameters.log_variance))
            attributes["prediction_variance_"] = variance
            attributes["shrinkage_interval_"] = shrinkage_interval(parameters.intensity, variance, bundle)
    correlation, volatility = blend(described, parameters)
    weights = dict(zip(TARGETS, map(float, parameters.target_weights), strict=True))
    attributes |= {
        "shrinkage_": float(parameters.intensity),
        "target_weights_": weights,
        "volatility_blend_": float(parameters.volatility_blend),
    }
    diagnostics = {
        "shrinkage": attributes["shrinkage_"],
        "closed_form_shrinkage": described.intensity,
        "volatility_blend": attributes["volatility_blend_"],
        "member_spread": spread,
        "out_of_range": outside,
        **{f"weight_{name}": value for name, value in weights.items()},
    }
    return Shrunk(np.outer(volatility, volatility) * correlation, attributes, diagnostics)


def attention_estimate(window: Window, bundle: Bundle | None) -> Shrunk:
    """Shrink a completed window as an attention network says; without a bundle, its closed form."""
    attributes: dict[str, Any] = {}
    spread, outside, condition = 0.0, 0.0, np.nan
    if bundle is None:
        described = describe_tokens(window)
        answer = untrained_attention(described)
    else:
        forward = prepared(bundle, lambda: AttentionForward(bundle))
        described = describe_tokens(window, start=forward.targets[0])
        members = forward.members(described)
        answer = mean_attention(members)
        spread = float(np.std([member.intensity for member in members]))
        far = forward.out_of_range(described)
        outside = len(far) / (len(described.context) + len(described.features))
        condition = answer.log_condition
        probabilities = dict(zip(REGIMES, map(float, answer.regime_probabilities), strict=True))
        attributes |= {
            "prediction_variance_": answer.variance,
            "shrinkage_interval_": shrinkage_interval(answer.intensity, answer.variance, bundle),
            "target_confidence_": _confidence(answer.target_variance, forward.targets, bundle),
            "expected_error_": answer.expected_error,
            "regime_probabilities_": probabilities,
            "regime_": max(probabilities, key=probabilities.__getitem__),
            "out_of_range_": far,
        }
    base = described.base
    weights = dict(zip(TARGETS, map(float, answer.target_weights), strict=True))
    attributes |= {
        "shrinkage_": answer.intensity,
        "target_weights_": weights,
        "volatility_blend_": answer.volatility_blend,
        "block_shrinkage_": np.column_stack([described.eigenvalues, block_eigenvalues(described, answer.blocks)]),
    }
    diagnostics = {
        "shrinkage": answer.intensity,
        "closed_form_shrinkage": base.intensity,
        "volatility_blend": answer.volatility_blend,
        "block_intensity": float(answer.blocks.mean()),
        "member_spread": spread,
        "out_of_range": outside,
        "predicted_log_condition": condition,
        **{f"weight_{name}": value for name, value in weights.items()},
    }
    volatility = base.volatility
    if answer.volatility_blend > 0.0:
        lead = base.ewma_volatility / base.volatility
        volatility = base.volatility * lead**answer.volatility_blend
    covariance = np.outer(volatility, volatility) * attention_correlation(described, answer)
    return Shrunk(covariance, attributes, diagnostics)


def prepared(bundle: Bundle, make: Callable[[], Forward]) -> Forward:
    """The prepared pass of a bundle, which is kept as long as the bundle is."""
    if "_forward" not in vars(bundle):
        object.__setattr__(bundle, "_forward", make())
    forward: Forward = vars(bundle)["_forward"]
    return forward


def shrinkage_interval(intensity: float, variance: float, bundle: Bundle) -> tuple[float, float]:
    """Calibrated 90 % interval of the intensity, from the variance of its logit.

    Raises
    ------
    ArtifactError
        If the bundle was not calibrated.
    """
    if "interval_scale" not in bundle.tensors:
        raise ArtifactError("the bundle predicts a variance and holds no calibration of it; train it again")
    centre = logit(np.clip(intensity, 1e-15, 1.0 - 1e-15))
    reach = float(bundle.tensors["interval_scale"]) * np.sqrt(variance)
    return float(expit(centre - reach)), float(expit(centre + reach))


def _confidence(variance: FloatArray, targets: tuple[str, ...], bundle: Bundle) -> dict[str, float]:
    """One minus the width of the calibrated 90 % interval of each target's weight, which lies in [0, 1]."""
    widths = np.minimum(2.0 * np.asarray(bundle.tensors["confidence_scale"], dtype=float) * np.sqrt(variance), 1.0)
    known = dict(zip(targets, (1.0 - widths).tolist(), strict=True))
    return {name: known[name] for name in ALL_TARGETS if name in known}
