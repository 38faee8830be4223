r"""The attention shrinkage network in NumPy, for inference without torch, and the correlation its answer makes.

The twin of `eigenfolio.models.networks.attention.AttentionShrinkageNetwork` in evaluation mode, in float64; dropout is
absent, batch normalisation uses its running statistics. Tests hold the two equal to 1e-6. With the target T of weights
w and C_block the sample correlation with eigenvalues (1 - b_k) lambda_k + b_k, multiplied until its trace is n again,

    correlation = (1 - delta) C_block + delta T
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.learned.dense import ALL_TARGETS, LOG_VARIANCE_BOUND, simplex, spread_over_targets
from eigenfolio.learned.tokens import CONTEXT_FEATURES, EIGEN_FEATURES, FAMILIES, WINDOW_FEATURES, TokenWindow

__all__ = [
    "AttentionAnswer",
    "AttentionForward",
    "attention_correlation",
    "attention_feature_names",
    "block_eigenvalues",
    "mean_attention",
    "untrained_attention",
]

FloatArray = NDArray[np.float64]

_CLAMP = 4.0
_NORM_EPS = 1e-5
_TINY = 1e-15
_REGIME_FAMILY = list(FAMILIES).index("market")


@dataclass(frozen=True)
class AttentionAnswer:
    """What a network, or the mean of several, says of one window.

    Attributes
    ----------
    intensity, volatility_blend : float
        In [0, 1].
    target_weights : ndarray of shape (3,)
        On the simplex, in the order of `ALL_TARGETS`.
    blocks : ndarray of shape (n_eigenvalues,)
        Shrinkage of each eigenvalue toward one, in [0, 1].
    variance : float
        Of logit delta.
    target_variance : ndarray of shape (n_targets,)
        Of the weight of each target that the network has.
    log_condition, expected_error : float
        Log condition number of the true correlation; log of realised over predicted minimum variance.
    regime_probabilities : ndarray of shape (4,)
    """

    intensity: float
    target_weights: FloatArray
    volatility_blend: float
    blocks: FloatArray
    variance: float
    target_variance: FloatArray
    log_condition: float
    expected_error: float
    regime_probabilities: FloatArray


def attention_feature_names() -> tuple[str, ...]:
    """Ordered names of all inputs, for the bundle."""
    return (
        *(f"eigen.{name}" for name in EIGEN_FEATURES),
        *(f"context.{name}" for name in CONTEXT_FEATURES),
        *(f"window.{name}" for name in WINDOW_FEATURES),
    )


class AttentionForward:
    """Trained attention networks of a bundle.

    Parameters
    ----------
    bundle : Bundle
        Of family "shrinkage" and network "attention"; every weight has a leading axis of members.

    Raises
    ------
    ArtifactError
        If it is another kind of bundle, its inputs are not those of this version, or it lacks a tensor.
    """

    def __init__(self, bundle: Bundle) -> None:
        if (bundle.family, bundle.network) != ("shrinkage", "attention"):
            raise ArtifactError(
                f"expected a bundle of shrinkage/attention, got {bundle.family}/{bundle.network}; give the folder of "
                "an attention shrinkage model"
            )
        if bundle.feature_names != attention_feature_names():
            raise ArtifactError("the bundle was trained on other inputs than this version computes; train it again")
        self.options = bundle.options
        self.targets = tuple(bundle.options["targets"])
        self._tensors = {name: np.asarray(tensor, dtype=float) for name, tensor in bundle.tensors.items()}
        try:
            self._gains = self._tensors["gains"]
            self._scalers = {
                kind: (self._tensors[f"{kind}_center"], self._tensors[f"{kind}_scale"])
                for kind in ("eigen", "context", "families")
            }
            self._layers = {name[:-7]: self._layer(name[:-7]) for name in self._tensors if name.endswith(".weight")}
        except KeyError as error:
            raise ArtifactError(f"the bundle lacks the tensor {error}; train it again") from error
        self.n_members = len(self._gains)

    def _layer(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Weight (n_members, n_in, n_out) and bias (n_members, 1, n_out); of a norm, factor and shift."""
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"][:, None]
        if weight.ndim == 3:
            return np.ascontiguousarray(weight.swapaxes(1, 2)), bias
        mean, square = self._tensors[f"{name}.running_mean"], self._tensors[f"{name}.running_square"]
        factor = (weight / np.sqrt(np.maximum(square - mean**2, 0.0) + _NORM_EPS))[:, None]
        return factor, bias - mean[:, None] * factor

    def members(self, window: TokenWindow) -> list[AttentionAnswer]:
        """Answer of every member."""
        h, numbers = self._extracted(window)
        x = self._attended(h, numbers[..., _regime_span()])
        if "narrow" in self._layers:
            x = self._dense("narrow", x)
        for i in range(self.options["n_blocks"]):
            y = _elu(self._norm(f"blocks.{i}.first_norm", self._dense(f"blocks.{i}.first", x)))
            x = _elu(x + self._norm(f"blocks.{i}.second_norm", self._dense(f"blocks.{i}.second", y)))
        own, other = x[:, : -len(FAMILIES)], x[:, -len(FAMILIES) :]
        shared = 0.5 * own.mean(axis=1, keepdims=True) + 0.5 * other.mean(axis=1, keepdims=True)
        intensity, blend = (self._head(f"{name}_head", shared)[:, 0, 0] for name in ("intensity", "blend"))
        targets = np.hstack([self._head(f"target_heads.{i}", shared)[:, 0] for i in range(len(self.targets))])
        tokens = self._head("token_head", own)[..., 0]
        uncertain, auxiliary = (self._head(f"{name}_head", shared)[:, 0] for name in ("uncertainty", "auxiliary"))
        variance = np.exp(LOG_VARIANCE_BOUND * np.tanh(uncertain / LOG_VARIANCE_BOUND))
        answers = []
        for member, gains in enumerate(self._gains):
            chosen = simplex(targets[member], self.options["target_activation"])
            answers.append(
                AttentionAnswer(
                    intensity=float(expit(window.base.classical_logit + gains[0] * intensity[member])),
                    target_weights=spread_over_targets(chosen, self.targets, gain=gains[1]),
                    volatility_blend=float(gains[2] * expit(blend[member])),
                    blocks=gains[3] * expit(tokens[member]),
                    variance=float(variance[member, 0]),
                    target_variance=variance[member, 1:],
                    log_condition=float(auxiliary[member, 0]),
                    expected_error=float(auxiliary[member, 1]),
                    regime_probabilities=softmax(auxiliary[member, 2:]),
                )
            )
        return answers

    def out_of_range(self, window: TokenWindow) -> dict[str, float]:
        """Window-level inputs beyond four scales of what training has seen, and by how many scales, signed."""
        far: dict[str, float] = {}
        for kind, values, names in (
            ("context", window.context, CONTEXT_FEATURES),
            ("families", window.features, WINDOW_FEATURES),
        ):
            center, scale = self._scalers[kind]
            distance = (values - center) / scale
            far |= {
                name: float(d - np.copysign(_CLAMP, d))
                for name, d in zip(names, distance, strict=True)
                if abs(d) > _CLAMP
            }
        return far

    def _scale(self, kind: str, values: FloatArray) -> FloatArray:
        center, scale = self._scalers[kind]
        return np.asarray(np.clip((values - center) / scale, -_CLAMP, _CLAMP))

    def _extracted(self, window: TokenWindow) -> tuple[FloatArray, FloatArray]:
        """Tokens (n_members, n_tokens, units) and normalised family features (n_members, 1, n_features)."""
        eigen = self._norm("extractor.eigen_norm", self._scale("eigen", window.eigen)[None])
        numbers = np.concatenate([self._scale("context", window.context), self._scale("families", window.features)])
        numbers = self._norm("extractor.window_norm", numbers[None, None])
        context, features = numbers[..., : len(CONTEXT_FEATURES)], numbers[..., len(CONTEXT_FEATURES) :]
        spread = np.broadcast_to(context, (*eigen.shape[:2], len(CONTEXT_FEATURES)))
        tokens = [self._dense("extractor.eigen_in", np.concatenate([eigen, spread], axis=-1))]
        for i, span in enumerate(_spans()):
            tokens.append(
                self._dense(f"extractor.family_in.{i}", np.concatenate([features[..., span], context], axis=-1))
            )
        h = _elu(np.concatenate(tokens, axis=1))
        for i in range(len(self.options["extractor_sizes"]) - 1):
            h = _elu(self._dense(f"extractor.layers.{i}", h))
        return h, features

    def _attended(self, h: FloatArray, regime: FloatArray) -> FloatArray:
        known = h
        if self.options["regime_embedding"]:
            known = (
                h + softmax(self._dense("attention.regime_in", regime), axis=-1) @ self._tensors["attention.regimes"]
            )
        q, k, v = (
            self._split(self._dense(f"attention.{name}", x))
            for name, x in (("query", h), ("key", known), ("value", known))
        )
        seen = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), axis=-1) @ v
        joined = seen.swapaxes(1, 2).reshape(*h.shape[:2], -1)
        return h + self._dense("attention.out", joined)

    def _split(self, x: FloatArray) -> FloatArray:
        """(n_members, n_tokens, size) to (n_members, n_heads, n_tokens, size of a head)."""
        return x.reshape(*x.shape[:2], self.options["n_heads"], -1).swapaxes(1, 2)

    def _head(self, name: str, x: FloatArray) -> FloatArray:
        n_layers = len(self.options["head_sizes"])
        for i in range(n_layers):
            x = _elu(self._dense(f"{name}.{2 * i}", x))
        return self._dense(f"{name}.{2 * n_layers}", x)

    def _dense(self, name: str, x: FloatArray) -> FloatArray:
        weight, bias = self._layers[name]
        return np.asarray(np.matmul(x, weight) + bias)

    def _norm(self, name: str, x: FloatArray) -> FloatArray:
        factor, shift = self._layers[name]
        return x * factor + shift


def untrained_attention(window: TokenWindow, targets: Sequence[str] = ALL_TARGETS) -> AttentionAnswer:
    """The closed form: the classical intensity toward the first target, nothing else; what a head would say is NaN."""
    return AttentionAnswer(
        intensity=window.base.intensity,
        target_weights=spread_over_targets(np.zeros(len(targets)), targets, gain=0.0),
        volatility_blend=0.0,
        blocks=np.zeros(len(window.eigenvalues)),
        variance=np.nan,
        target_variance=np.full(len(targets), np.nan),
        log_condition=np.nan,
        expected_error=np.nan,
        regime_probabilities=np.full(4, np.nan),
    )


def mean_attention(members: Sequence[AttentionAnswer]) -> AttentionAnswer:
    """Average the members: intensities as logits, the rest as it is; the spread of the logits joins the variance."""
    if len(members) == 1:
        return members[0]
    logits = logit(np.clip([member.intensity for member in members], _TINY, 1.0 - _TINY))

    def mean(name: str) -> FloatArray:
        return np.asarray(np.mean([getattr(member, name) for member in members], axis=0))

    return AttentionAnswer(
        intensity=float(expit(logits.mean())),
        target_weights=mean("target_weights"),
        volatility_blend=float(mean("volatility_blend")),
        blocks=mean("blocks"),
        variance=float(mean("variance") + logits.var()),
        target_variance=mean("target_variance"),
        log_condition=float(mean("log_condition")),
        expected_error=float(mean("expected_error")),
        regime_probabilities=mean("regime_probabilities"),
    )


def block_eigenvalues(window: TokenWindow, blocks: FloatArray) -> FloatArray:
    """Eigenvalues after block shrinkage, with the trace of before, (n_eigenvalues,)."""
    moved = window.eigenvalues + blocks * (1.0 - window.eigenvalues)
    return np.asarray(moved * (window.eigenvalues.sum() / moved.sum()))


def attention_correlation(window: TokenWindow, answer: AttentionAnswer) -> FloatArray:
    """The matrix between the volatilities, shape (n_assets, n_assets); see the head of this module."""
    base = window.base
    correlation = base.correlation
    if answer.blocks.any():
        change = block_eigenvalues(window, answer.blocks) - window.eigenvalues
        correlation = correlation + (window.vectors * change) @ window.vectors.T
    _, constant, factor = answer.target_weights
    target = constant * base.mean_correlation + factor * np.outer(base.loading, base.loading)
    np.fill_diagonal(target, 1.0)
    shrunk = (1.0 - answer.intensity) * correlation + answer.intensity * target
    return np.asarray(0.5 * (shrunk + shrunk.T))


def _elu(x: FloatArray) -> FloatArray:
    return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))


def _spans() -> list[slice]:
    ends = np.cumsum([len(names) for names in FAMILIES.values()])
    return [slice(int(end) - len(names), int(end)) for end, names in zip(ends, FAMILIES.values(), strict=True)]


def _regime_span() -> slice:
    return _spans()[_REGIME_FAMILY]
