"""The dense shrinkage network in NumPy, for inference without torch.

The twin of `eigenfolio.models.networks.dense.DenseShrinkageNetwork` in evaluation mode, in float64: dropout is
absent and every batch normalisation is folded into the dense layer before it. Tests hold the two equal to 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError

__all__ = ["DenseForward", "ShrinkageParameters", "mean_parameters"]

FloatArray = NDArray[np.float64]

_NEGATIVE_SLOPE = 0.2
_NORM_EPS = 1e-5
_CLAMP = 4.0
_TINY = 1e-15


class ShrinkageParameters(NamedTuple):
    """What a network says of one window."""

    intensity: float
    target_weights: FloatArray  # (n_targets,), on the simplex
    volatility_blend: float


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
        n_blocks = len(bundle.options["hidden_sizes"])
        tensors = {name: np.asarray(value, dtype=float) for name, value in bundle.tensors.items()}
        try:
            self._layers = [_folded(tensors, f"blocks.{i}.") for i in range(n_blocks)]
            self._output = (tensors["output.weight"], tensors["output.bias"])
            self._gains = tensors["gains"]
            self._center, self._scale = tensors["feature_center"], tensors["feature_scale"]
        except KeyError as error:
            raise ArtifactError(f"the bundle lacks the tensor {error}; train it again") from error

    def out_of_range(self, features: FloatArray) -> float:
        """Share of features that lie more than four scale units from the training median, where they are clamped."""
        return float((np.abs(features - self._center) > _CLAMP * self._scale).mean())

    def members(self, features: FloatArray, classical_logit: float) -> list[ShrinkageParameters]:
        """What each member says of a window with these features, shape (n_features,), and classical logit."""
        x = np.clip((features - self._center) / self._scale, -_CLAMP, _CLAMP)
        x = np.broadcast_to(x, (len(self._gains), len(x)))  # (n_members, n_features)
        for layer in self._layers:
            y = np.einsum("moi,mi->mo", layer.weight, x) + layer.bias
            y = np.where(y > 0.0, y, _NEGATIVE_SLOPE * y)
            x = y if layer.shortcut is None else y + np.einsum("moi,mi->mo", layer.shortcut, x)
        heads = np.einsum("moi,mi->mo", self._output[0], x) + self._output[1]
        n_targets = heads.shape[1] - 2
        first = np.zeros(n_targets)
        first[0] = 1.0
        return [
            ShrinkageParameters(
                intensity=float(expit(classical_logit + gains[0] * head[0])),
                target_weights=first + gains[1] * (softmax(head[1 : 1 + n_targets]) - first),
                volatility_blend=float(gains[2] * expit(head[-1])),
            )
            for head, gains in zip(heads, self._gains, strict=True)
        ]

    def __call__(self, features: FloatArray, classical_logit: float) -> ShrinkageParameters:
        """Map one window's features, shape (n_features,), and classical logit to shrinkage parameters."""
        return mean_parameters(self.members(features, classical_logit))


def mean_parameters(members: Sequence[ShrinkageParameters]) -> ShrinkageParameters:
    """Average answers: intensities on the logit scale, the rest as it is.

    Examples
    --------
    >>> low, high = (ShrinkageParameters(d, np.array([1.0, 0.0, 0.0]), 0.5) for d in (0.2, 0.8))
    >>> round(mean_parameters([low, high]).intensity, 12)
    0.5
    """
    intensities = np.clip([member.intensity for member in members], _TINY, 1.0 - _TINY)
    return ShrinkageParameters(
        intensity=float(expit(np.mean(logit(intensities)))) if len(members) > 1 else members[0].intensity,
        target_weights=np.mean([member.target_weights for member in members], axis=0),
        volatility_blend=float(np.mean([member.volatility_blend for member in members])),
    )


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
