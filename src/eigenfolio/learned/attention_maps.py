"""Where the attention network looks: the weights of its self-attention on one window, by member and head.

Row i of a map says from which tokens token i takes its values; every row sums to 1. Tokens are the eigenvalues of the
window, largest first, then one per family of window features. A map shows what was mixed, not what mattered: values
pass a residual connection beside it, and heads may undo each other. `eigenfolio.evaluation.attribution` asks about the
answer itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.attention import AttentionForward, _regime_span
from eigenfolio.learned.tokens import FAMILIES, TokenWindow

__all__ = ["AttentionMaps", "attention_maps"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention weights of one window.

    Attributes
    ----------
    weights : ndarray of shape (n_members, n_heads, n_tokens, n_tokens)
        In [0, 1]; rows sum to 1.
    tokens : tuple of str
        "eigenvalue 1", "eigenvalue 2", ..., then the families.
    """

    weights: FloatArray
    tokens: tuple[str, ...]

    @property
    def mean(self) -> FloatArray:
        """Mean over members and heads, shape (n_tokens, n_tokens)."""
        return np.asarray(self.weights.mean(axis=(0, 1)))

    @property
    def received(self) -> dict[str, float]:
        """Mean attention that each token receives from all, by name; sums to 1."""
        return dict(zip(self.tokens, self.mean.mean(axis=0).tolist(), strict=True))


def attention_maps(bundle: Bundle, window: TokenWindow) -> AttentionMaps:
    """Attention weights of every member and head on one window.

    Parameters
    ----------
    bundle : Bundle
        Of family "shrinkage" and network "attention".
    window : TokenWindow
        From `eigenfolio.learned.tokens.describe_tokens`.

    Returns
    -------
    AttentionMaps

    Raises
    ------
    ArtifactError
        If it is another kind of bundle.
    """
    forward = AttentionForward(bundle)
    h, numbers = forward._extracted(window)
    known = h
    if forward.options["regime_embedding"]:
        mixed = softmax(forward._dense("attention.regime_in", numbers[..., _regime_span()]), axis=-1)
        known = h + mixed @ forward._tensors["attention.regimes"]
    q, k = (forward._split(forward._dense(f"attention.{name}", x)) for name, x in (("query", h), ("key", known)))
    weights = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), axis=-1)
    n_eigenvalues = weights.shape[-1] - len(FAMILIES)
    return AttentionMaps(weights, (*(f"eigenvalue {i + 1}" for i in range(n_eigenvalues)), *FAMILIES))
