"""The dense shrinkage network in NumPy, for inference without torch.

The twin of `eigenfolio.models.networks.dense.DenseShrinkageNetwork` in evaluation mode, in float64: dropout is
absent and every batch normalisation, with its running statistics, is folded into the dense layer before it. Tests hold
the two equal to 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.features import REGIMES

__all__ = ["ALL_TARGETS", "DenseForward", "ShrinkageParameters", "mean_parameters", "simplex", "spread_over_targets"]

FloatArray = NDArray[np.float64]

ALL_TARGETS = ("identity", "constant_correlation", "single_factor")
LOG_VARIANCE_BOUND = 6.0
_NEGATIVE_SLOPE = 0.2
_NORM_EPS = 1e-5
_CLAMP = 4.0
_TINY = 1e-15


class ShrinkageParameters(NamedTuple):
    """What a network says of one window."""

    intensity: float
    target_weights: FloatArray  # (3,), on the simplex, in the order of ALL_TARGETS
    volatility_blend: float
    log_variance: float | None = None  # of logit intensity, where the network predicts it


class _Layer(NamedTuple):
    weight: FloatArray  # (n_members, n_out, n_in)
    bias: FloatArray  # (n_members, n_out)
    shortcut: FloatArray | None


class DenseForward:
    """Forward pass of one bundle: the mean of its members' answers.

    Intensities are averaged on the logit scale, target weights and volatility blends as they are.

    Parameters
    ----------
    bundle : Bundle
        A bundle of family ``"shrinkage"`` and network ``"dense"``; every weight has a leading axis of members.
    feature_names : tuple of str
        Names of the features that the methods will be given, in order.

    Raises
    ------
    ArtifactError
        If the bundle is of another kind, expects other features or another order, or lacks a tensor.
    """

    def __init__(self, bundle: Bundle, feature_names: tuple[str, ...]) -> None:
        if (bundle.family, bundle.network) != ("shrinkage", "dense"):
            raise ArtifactError(f"this bundle is a {bundle.family}/{bundle.network} model, expected shrinkage/dense")
        if bundle.feature_names != feature_names:
            raise ArtifactError(_feature_trouble(bundle.feature_names, feature_names))
        self.options, self.names = bundle.options, feature_names
        self._targets = tuple(bundle.options.get("targets", ALL_TARGETS))
        n_blocks = len(bundle.options["hidden_sizes"])
        tensors = {name: np.asarray(value, dtype=float) for name, value in bundle.tensors.items()}
        try:
            self._layers = [_folded(tensors, f"blocks.{i}.") for i in range(n_blocks)]
            self._output = (tensors["output.weight"], tensors["output.bias"])
            self._gains = tensors["gains"]
            self._center, self._scale = tensors["feature_center"], tensors["feature_scale"]
        except KeyError as error:
            raise ArtifactError(f"the bundle lacks the tensor {error}; train it again") from error
        self._regimes = tensors.get("regimes")
        self._attention = {name: value for name, value in tensors.items() if name.startswith("attention.")}

    def out_of_range(self, features: FloatArray) -> float:
        """Share of features that lie more than four scale units from the training median, where they are clamped."""
        return float((np.abs(features - self._center) > _CLAMP * self._scale).mean())

    def far(self, features: FloatArray) -> dict[str, float]:
        """Features that are clamped, by name, and by how many scales they lie beyond, signed."""
        distance = (features - self._center) / self._scale
        named = zip(self.names, distance, strict=True)
        return {name: float(d - np.copysign(_CLAMP, d)) for name, d in named if abs(d) > _CLAMP}

    def members(
        self, features: FloatArray, classical_logit: float, regime: str | None = None
    ) -> list[ShrinkageParameters]:
        """What each member says of a window with these features, shape (n_features,), and classical logit.

        `regime` is read where the network embeds it.
        """
        x, _ = self._last_input(features, regime)
        x = self._block(self._layers[-1], x)
        heads = np.einsum("moi,mi->mo", self._output[0], x) + self._output[1]
        n_targets = len(self._targets)
        anchored = self.options.get("prior_logit") is not None
        said = []
        for head, gains in zip(heads, self._gains, strict=True):
            leaving = head[0] - classical_logit if anchored else head[0]
            uncertain = len(head) > 2 + n_targets
            chosen = simplex(head[1 : 1 + n_targets], self.options.get("target_activation", "softmax"))
            said.append(
                ShrinkageParameters(
                    intensity=float(expit(classical_logit + gains[0] * leaving)),
                    target_weights=spread_over_targets(chosen, self._targets, gain=gains[1]),
                    volatility_blend=float(gains[2] * expit(head[1 + n_targets])),
                    log_variance=_bounded(head[-1]) if uncertain else None,
                )
            )
        return said

    def importance(self, features: FloatArray, regime: str | None = None) -> FloatArray:
        """How much the units that enter the last block are looked at by the others, (n_members, n_units), sum 1.

        Raises
        ------
        ArtifactError
            If the network has no attention.
        """
        if not self._attention:
            raise ArtifactError("this bundle was trained without feature_attention; train one with it")
        _, attention = self._last_input(features, regime)
        return np.asarray(attention.mean(axis=1))

    def __call__(self, features: FloatArray, classical_logit: float, regime: str | None = None) -> ShrinkageParameters:
        """Map one window's features, shape (n_features,), and classical logit to shrinkage parameters."""
        return mean_parameters(self.members(features, classical_logit, regime))

    def _last_input(self, features: FloatArray, regime: str | None) -> tuple[FloatArray, FloatArray]:
        """Units that enter the last block, and what they looked at (empty without attention)."""
        x = np.clip((features - self._center) / self._scale, -_CLAMP, _CLAMP)
        x = np.broadcast_to(x, (len(self._gains), len(x)))  # (n_members, n_features)
        if self._regimes is not None and regime is not None:
            x = np.hstack([x, self._regimes[:, REGIMES.index(regime)]])
        for layer in self._layers[:-1]:
            x = self._block(layer, x)
        if not self._attention:
            return x, np.empty((len(x), 0, 0))
        t = self._attention
        tokens = x[:, :, None] * t["attention.direction"] + t["attention.position"]  # (n_members, n_units, size)
        q, k, v = (
            tokens @ t[f"attention.{name}.weight"].swapaxes(1, 2) + t[f"attention.{name}.bias"][:, None]
            for name in ("query", "key", "value")
        )
        looks = softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]), axis=-1)
        return x + (looks @ v)[..., 0], looks

    def _block(self, layer: _Layer, x: FloatArray) -> FloatArray:
        y = np.einsum("moi,mi->mo", layer.weight, x) + layer.bias
        y = np.where(y > 0.0, y, _NEGATIVE_SLOPE * y)
        return y if layer.shortcut is None else y + np.einsum("moi,mi->mo", layer.shortcut, x)


def simplex(says: FloatArray, activation: str) -> FloatArray:
    """Target weights from the outputs of target heads: a softmax, or sigmoids over their sum.

    Examples
    --------
    >>> simplex(np.zeros(2), "softmax"), simplex(np.array([0.0, np.log(3.0)]), "sigmoid").round(3)
    (array([0.5, 0.5]), array([0.4, 0.6]))
    """
    if activation == "softmax":
        return np.asarray(softmax(says))
    open_ = expit(says)
    return np.asarray(open_ / open_.sum())


def spread_over_targets(chosen: FloatArray, targets: Sequence[str], *, gain: float) -> FloatArray:
    """Weights e_1 + gain (chosen - e_1) of a network's own targets, as weights of all three.

    Examples
    --------
    >>> spread_over_targets(np.array([0.25, 0.75]), ("identity", "single_factor"), gain=1.0)
    array([0.25, 0.  , 0.75])
    """
    first = np.zeros(len(targets))
    first[0] = 1.0
    weights = np.zeros(len(ALL_TARGETS))
    weights[[ALL_TARGETS.index(name) for name in targets]] = first + gain * (chosen - first)
    return weights


def mean_parameters(members: Sequence[ShrinkageParameters]) -> ShrinkageParameters:
    """Average answers: intensities on the logit scale, the rest as it is.

    The variance of the mean answer's logit is the mean of the members' plus the variance of their logits.

    Examples
    --------
    >>> low, high = (ShrinkageParameters(d, np.array([1.0, 0.0, 0.0]), 0.5) for d in (0.2, 0.8))
    >>> round(mean_parameters([low, high]).intensity, 12)
    0.5
    """
    if len(members) == 1:
        return members[0]
    logits = logit(np.clip([member.intensity for member in members], _TINY, 1.0 - _TINY))
    variances = [np.exp(member.log_variance) for member in members if member.log_variance is not None]
    return ShrinkageParameters(
        intensity=float(expit(np.mean(logits))),
        target_weights=np.mean([member.target_weights for member in members], axis=0),
        volatility_blend=float(np.mean([member.volatility_blend for member in members])),
        log_variance=float(np.log(np.mean(variances) + np.var(logits))) if variances else None,
    )


def _bounded(value: float) -> float:
    return float(LOG_VARIANCE_BOUND * np.tanh(value / LOG_VARIANCE_BOUND))


def _folded(tensors: Mapping[str, FloatArray], prefix: str) -> _Layer:
    factor = tensors[f"{prefix}norm.weight"] / np.sqrt(tensors[f"{prefix}norm.running_var"] + _NORM_EPS)
    weight = tensors[f"{prefix}dense.weight"] * factor[..., None]
    bias = (tensors[f"{prefix}dense.bias"] - tensors[f"{prefix}norm.running_mean"]) * factor
    return _Layer(weight, bias + tensors[f"{prefix}norm.bias"], tensors.get(f"{prefix}shortcut.weight"))


def _feature_trouble(expected: tuple[str, ...], given: tuple[str, ...]) -> str:
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    if missing or extra:
        return (
            f"the bundle was trained on other features (missing now: {missing[:3]}, unknown to it: {extra[:3]}); "
            "train it again with this version"
        )
    return "the bundle expects the same features in another order; a permuted input would give a wrong answer"
