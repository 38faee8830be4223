r"""The attention shrinkage network: eigenvalues and feature families of a window to shrinkage, target by target.

The tokens of a window are its eigenvalues and its families of features (`eigenfolio.learned.tokens`):

    extractor   every token   batch norm - dense 128 ELU (one per kind of token) - dropout - dense 64 ELU
    attention   h + W_o softmax(q k' / sqrt(d)) v,   q of h,  k and v of h + e,
                e = softmax(W_r r) E, the embedding of the regime that the regime family r speaks of
    core        two residual blocks,   elu(x + norm(dense(elu(norm(dense x)))))
    shared      half the mean over eigenvalues plus half the mean over families

From the shared representation s heads of dense 32 ELU - dense 16 ELU - one number say how far to leave the closed form,
each through a gain g that starts at zero, so that an untrained network is the closed form exactly:

    intensity         delta = sigmoid(logit(delta_classical) + g_1 head(s))
    target weights    w     = e_1 + g_2 (simplex(heads(s)) - e_1), simplex a softmax or normalised sigmoids
    volatility blend  beta  = g_3 sigmoid(head(s))
    blocks            b_k   = g_4 sigmoid(head(z_k)),   z_k the core's answer for eigenvalue k:
                      lambda_k -> (1 - b_k) lambda_k + b_k, one block per eigenvalue

A second head gives uncertainty (log variances of logit delta and of every target weight), a third the log condition
number of the true correlation, the log of realised over predicted minimum variance, and the next regime. Normalisation
and means see valid tokens only, so one set of weights serves any number of assets.

References
----------
.. [1] S. Ioffe (2017). Batch renormalization: towards reducing minibatch dependence in batch-normalized models.
   Advances in Neural Information Processing Systems 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from eigenfolio.models.networks.dropout import SeededDropout

__all__ = ["N_REGIMES", "AttentionOptions", "AttentionOutput", "AttentionShrinkageNetwork", "MaskedBatchNorm"]

N_REGIMES = 4
LOG_VARIANCE_BOUND = 6.0
_MOST_FACTOR, _MOST_SHIFT = 3.0, 5.0
TARGET_PRIOR = {"identity": 0.5, "constant_correlation": 0.3, "single_factor": 0.2}
"""Weights that the target heads lean to before they have learned."""

TargetName = Literal["identity", "constant_correlation", "single_factor"]
Targets = Annotated[tuple[TargetName, ...], Field(min_length=1, max_length=3)]


class AttentionOptions(BaseModel):
    """Shape and regularisation of the attention network.

    Parameters
    ----------
    extractor_sizes : tuple of 2 to 4 ints in [64, 256]
        Units of the extractor's layers.
    n_blocks : int in [2, 4]
        Residual blocks.
    block_units : int in [32, 128]
        Their width.
    head_sizes : tuple of 2 to 3 ints in [16, 64]
        Units of the layers of every head.
    n_heads : int in [1, 4]
        Attention heads; divides `attention_size`.
    attention_size : int in [16, 64]
        Width of queries, keys and values, all heads together.
    dropout : float in [0.1, 0.5]
        Between the layers of the extractor.
    l2 : float in [1e-5, 1e-3]
        L2 regularisation of the weights, l2 / 2 times their squared norm.
    targets : tuple of str
        One or several of "identity", "constant_correlation" and "single_factor"; the first is where it starts.
    target_activation : {"softmax", "sigmoid"}
        How target heads become weights: a softmax, or independent sigmoids over their sum.
    regime_embedding : bool
        Whether the regime is added to keys and values.
    gain_rate : float
        Learning rate of the gains relative to the other parameters.

    Examples
    --------
    >>> AttentionOptions(n_blocks=9)
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for AttentionOptions
    n_blocks
      Input should be less than or equal to 4 ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extractor_sizes: tuple[int, ...] = (128, 64)
    n_blocks: int = Field(default=2, ge=2, le=4)
    block_units: int = Field(default=64, ge=32, le=128)
    head_sizes: tuple[int, ...] = (32, 16)
    n_heads: int = Field(default=2, ge=1, le=4)
    attention_size: int = Field(default=32, ge=16, le=64)
    dropout: float = Field(default=0.3, ge=0.1, le=0.5)
    l2: float = Field(default=1e-4, ge=1e-5, le=1e-3)
    targets: Targets = ("identity", "constant_correlation", "single_factor")
    target_activation: Literal["softmax", "sigmoid"] = "softmax"
    regime_embedding: bool = True
    gain_rate: float = Field(default=10.0, gt=0.0)

    @field_validator("extractor_sizes")
    @classmethod
    def _extractor(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return _within(sizes, "extractor_sizes", layers=(2, 4), units=(64, 256))

    @field_validator("head_sizes")
    @classmethod
    def _heads(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return _within(sizes, "head_sizes", layers=(2, 3), units=(16, 64))

    @field_validator("targets")
    @classmethod
    def _once(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(targets)) < len(targets):
            raise ValueError(f"each target counts once, got {list(targets)}")
        return targets

    @model_validator(mode="after")
    def _divides(self) -> AttentionOptions:
        if self.attention_size % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide attention_size={self.attention_size}; take 1, 2 or 4 heads"
            )
        return self


def _within(sizes: tuple[int, ...], name: str, *, layers: tuple[int, int], units: tuple[int, int]) -> tuple[int, ...]:
    if not layers[0] <= len(sizes) <= layers[1] or any(not units[0] <= size <= units[1] for size in sizes):
        raise ValueError(
            f"{name} must be {layers[0]} to {layers[1]} layers of {units[0]} to {units[1]} units, got {list(sizes)}"
        )
    return sizes


class AttentionOutput(NamedTuple):
    """What the network says of each window; leading axes are those of the input.

    Attributes
    ----------
    intensity : Tensor of shape (..., batch)
    target_weights : Tensor of shape (..., batch, n_targets)
    volatility_blend : Tensor of shape (..., batch)
    blocks : Tensor of shape (..., batch, n_tokens)
        Shrinkage of each eigenvalue toward one.
    log_variance : Tensor of shape (..., batch)
        Of logit delta.
    target_log_variance : Tensor of shape (..., batch, n_targets)
    log_condition, expected_error : Tensor of shape (..., batch)
    regime_logits : Tensor of shape (..., batch, 4)
    """

    intensity: Tensor
    target_weights: Tensor
    volatility_blend: Tensor
    blocks: Tensor
    log_variance: Tensor
    target_log_variance: Tensor
    log_condition: Tensor
    expected_error: Tensor
    regime_logits: Tensor


class MaskedBatchNorm(nn.Module):
    """Batch renormalisation of tokens [1]_, over the valid ones of all windows; running statistics outside training.

    The windows of a batch have one universe size, so their own statistics are not those of production. In training
    tokens are normalised by their own and moved by what sets these apart from the running ones, as far as a factor of
    three and five deviations; that correction is not differentiated. The running variance comes from the running mean
    of squares, so it holds what differs between batches as well.

    Parameters
    ----------
    n_channels : int
        Width of a token.
    momentum : float in (0, 1]
        Share of a batch in the running statistics.

    Examples
    --------
    >>> norm = MaskedBatchNorm(1)
    >>> x, valid = torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]])
    >>> _ = norm(x, valid)
    >>> round(norm.running_mean.item(), 3)
    0.1
    """

    members_first = True

    running_mean: Tensor
    running_square: Tensor

    def __init__(self, n_channels: int, *, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, 1e-5
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("running_mean", torch.zeros(n_channels))
        self.register_buffer("running_square", torch.ones(n_channels))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Normalise tokens.

        Parameters
        ----------
        x : Tensor of shape (..., batch, n_tokens, n_channels)
        valid : Tensor of bool, shape (..., batch, n_tokens)
            Tokens that count.

        Returns
        -------
        Tensor
            Of the shape of `x`; tokens that do not count come back normalised as well, and mean nothing.
        """
        mean = self.running_mean[..., None, None, :].clone()
        variance = (self.running_square[..., None, None, :] - mean.square()).clamp(min=0.0)
        size = (variance + self.eps).sqrt()
        normal = self._renormalised(x, valid, mean, size) if self.training else (x - mean) / size
        return normal * self.weight[..., None, None, :] + self.bias[..., None, None, :]

    def _renormalised(self, x: Tensor, valid: Tensor, running_mean: Tensor, running_size: Tensor) -> Tensor:
        counts = valid.unsqueeze(-1).to(x.dtype)
        n = counts.sum((-3, -2), keepdim=True)
        mean = (x * counts).sum((-3, -2), keepdim=True) / n
        variance = ((x - mean).square() * counts).sum((-3, -2), keepdim=True) / n
        size = (variance + self.eps).sqrt()
        with torch.no_grad():
            factor = (size / running_size).clamp(max=_MOST_FACTOR)
            shift = ((mean - running_mean) / running_size).clamp(-_MOST_SHIFT, _MOST_SHIFT)
            self.running_mean.lerp_(mean[..., 0, 0, :], self.momentum)
            self.running_square.lerp_((variance + mean.square())[..., 0, 0, :], self.momentum)
        return (x - mean) / size * factor + shift


class _Extractor(nn.Module):
    """Tokens of one width from eigenvalues and feature families."""

    members_first = True

    def __init__(self, n_eigen: int, n_context: int, families: Sequence[int], options: AttentionOptions) -> None:
        super().__init__()
        first, *rest = options.extractor_sizes
        self.spans = [slice(end - size, end) for size, end in zip(families, _ends(families), strict=True)]
        self.eigen_norm = MaskedBatchNorm(n_eigen)
        self.window_norm = MaskedBatchNorm(n_context + sum(families))
        self.n_context = n_context
        self.eigen_in = nn.Linear(n_eigen + n_context, first)
        self.family_in = nn.ModuleList(nn.Linear(size + n_context, first) for size in families)
        self.dropout = nn.ModuleList(SeededDropout(options.dropout) for _ in rest)
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(options.extractor_sizes))

    def forward(self, eigen: Tensor, context: Tensor, families: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (..., batch, n_tokens + n_families, units), and the normalised family features."""
        window = torch.cat([context, families], dim=-1).unsqueeze(-2)  # one token per window
        window = self.window_norm(window, torch.ones_like(window[..., 0], dtype=torch.bool))
        context, numbers = window[..., : self.n_context], window[..., self.n_context :]
        spread = context.expand(*eigen.shape[:-1], self.n_context)
        tokens = [self.eigen_in(torch.cat([self.eigen_norm(eigen, valid), spread], dim=-1))]
        for layer, span in zip(self.family_in, self.spans, strict=True):
            tokens.append(layer(torch.cat([numbers[..., span], context], dim=-1)))
        h = nn.functional.elu(torch.cat(tokens, dim=-2))
        for dropout, layer in zip(self.dropout, self.layers, strict=True):
            h = nn.functional.elu(layer(dropout(h)))
        return h, numbers[..., 0, :]


class _RegimeAwareAttention(nn.Module):
    """Multi-head attention whose keys and values know the regime."""

    members_first = True

    def __init__(self, n_units: int, n_regime: int, options: AttentionOptions) -> None:
        super().__init__()
        size, self.n_heads = options.attention_size, options.n_heads
        self.query, self.key, self.value = (nn.Linear(n_units, size) for _ in range(3))
        self.out = nn.Linear(size, n_units)
        self.regime_in = nn.Linear(n_regime, N_REGIMES) if options.regime_embedding else None
        self.regimes = nn.Parameter(torch.zeros(N_REGIMES, n_units)) if options.regime_embedding else None

    def forward(self, h: Tensor, regime: Tensor, valid: Tensor) -> Tensor:
        known = h
        if self.regime_in is not None and self.regimes is not None:
            known = h + (torch.softmax(self.regime_in(regime), dim=-1) @ self.regimes).unsqueeze(-2)
        q, k, v = (self._split(part) for part in (self.query(h), self.key(known), self.value(known)))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (..., batch, n_heads, n_tokens, n_tokens)
        scores = scores.masked_fill(~valid[..., None, None, :], -torch.inf)
        seen = torch.softmax(scores, dim=-1) @ v
        return h + self.out(seen.transpose(-2, -3).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        """(..., n_tokens, size) to (..., n_heads, n_tokens, size of a head)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-2, -3)


class _ResidualBlock(nn.Module):
    """Dense - norm - ELU - dense - norm, the input added, ELU."""

    members_first = True

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_units, n_units), nn.Linear(n_units, n_units)
        self.first_norm, self.second_norm = MaskedBatchNorm(n_units), MaskedBatchNorm(n_units)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        y = nn.functional.elu(self.first_norm(self.first(x), valid))
        return nn.functional.elu(x + self.second_norm(self.second(y), valid))


class AttentionShrinkageNetwork(nn.Module):
    """About 65,000 parameters at the default widths, for any number of assets.

    Parameters
    ----------
    n_eigen, n_context : int
        Numbers that describe an eigenvalue, and a window.
    families : sequence of int
        Numbers of each feature family.
    regime_family : int
        Position of the family that speaks of the regime.
    options : AttentionOptions

    Examples
    --------
    >>> network = AttentionShrinkageNetwork(11, 5, (13, 10, 18, 8), regime_family=2).eval()
    >>> output = network(
    ...     torch.randn(2, 6, 11), torch.randn(2, 5), torch.randn(2, 49),
    ...     torch.ones(2, 6, dtype=torch.bool), torch.tensor([0.0, -1.0]),
    ... )
    >>> output.intensity.tolist() == torch.sigmoid(torch.tensor([0.0, -1.0])).tolist()
    True
    >>> output.blocks.abs().max().item(), output.target_weights[0].tolist()
    (0.0, [1.0, 0.0, 0.0])
    """

    members_first = True

    def __init__(
        self,
        n_eigen: int,
        n_context: int,
        families: Sequence[int],
        *,
        regime_family: int,
        options: AttentionOptions | None = None,
    ) -> None:
        super().__init__()
        options = AttentionOptions() if options is None else options
        self.options = options
        self.extractor = _Extractor(n_eigen, n_context, families, options)
        self.regime_span = self.extractor.spans[regime_family]
        width, n_targets = options.extractor_sizes[-1], len(options.targets)
        self.attention = _RegimeAwareAttention(width, families[regime_family], options)
        self.narrow = nn.Linear(width, options.block_units) if width != options.block_units else None
        self.blocks = nn.ModuleList(_ResidualBlock(options.block_units) for _ in range(options.n_blocks))
        self.intensity_head = self._head(1)
        self.target_heads = nn.ModuleList(self._head(1) for _ in options.targets)
        self.blend_head = self._head(1)
        self.token_head = self._head(1)
        self.uncertainty_head = self._head(1 + n_targets)
        self.auxiliary_head = self._head(2 + N_REGIMES)
        self.gains = nn.Parameter(torch.zeros(4))
        self._lean()

    def _head(self, n_outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        widths = [self.options.block_units, *self.options.head_sizes]
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.ELU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw He weights, the regime table and dropout seeds; biases and gains become zero, the target heads lean."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, SeededDropout):
                module.seed.fill_(int(torch.randint(2**62, (1,), generator=generator)))
                module.calls.zero_()
        if self.attention.regimes is not None:
            nn.init.normal_(self.attention.regimes, std=0.1, generator=generator)
        nn.init.zeros_(self.gains)
        self._lean()

    def _lean(self) -> None:
        """Bias of each target head: the logarithm of its prior weight."""
        with torch.no_grad():
            for head, name in zip(self.target_heads, self.options.targets, strict=True):
                assert isinstance(head, nn.Sequential)
                bias = head[-1].bias
                assert isinstance(bias, Tensor)
                prior = torch.tensor(TARGET_PRIOR[name])
                bias.fill_(float(prior.log() if self.options.target_activation == "softmax" else prior.logit()))

    def forward(
        self, eigen: Tensor, context: Tensor, families: Tensor, valid: Tensor, classical_logit: Tensor
    ) -> AttentionOutput:
        """Map scaled inputs.

        Parameters
        ----------
        eigen : Tensor of shape (..., batch, n_tokens, n_eigen)
        context : Tensor of shape (..., batch, n_context)
        families : Tensor of shape (..., batch, n_family_features)
        valid : Tensor of bool, shape (..., batch, n_tokens)
            False for padding.
        classical_logit : Tensor of shape (..., batch)

        Returns
        -------
        AttentionOutput
        """
        h, numbers = self.extractor(eigen, context, families, valid)
        n_families = h.shape[-2] - eigen.shape[-2]
        every = torch.cat([valid, torch.ones_like(valid[..., :1]).expand(*valid.shape[:-1], n_families)], dim=-1)
        x = self.attention(h, numbers[..., self.regime_span], every)
        x = x if self.narrow is None else self.narrow(x)
        for block in self.blocks:
            x = block(x, every)
        own, other = x[..., :-n_families, :], x[..., -n_families:, :]
        seen = valid.unsqueeze(-1).to(x.dtype)
        shared = 0.5 * (own * seen).sum(-2) / seen.sum(-2).clamp(min=1.0) + 0.5 * other.mean(-2)
        gains = self.gains.unsqueeze(-2)  # (..., 1, 4)
        says = torch.cat([head(shared) for head in self.target_heads], dim=-1)  # (..., batch, n_targets)
        first = torch.zeros(says.shape[-1], dtype=says.dtype, device=says.device)
        first[0] = 1.0
        uncertain, auxiliary = self.uncertainty_head(shared), self.auxiliary_head(shared)
        bounded = LOG_VARIANCE_BOUND * torch.tanh(uncertain / LOG_VARIANCE_BOUND)
        return AttentionOutput(
            intensity=torch.sigmoid(classical_logit + gains[..., 0] * self.intensity_head(shared)[..., 0]),
            target_weights=first + gains[..., 1, None] * (self._simplex(says) - first),
            volatility_blend=gains[..., 2] * torch.sigmoid(self.blend_head(shared)[..., 0]),
            blocks=gains[..., 3, None] * torch.sigmoid(self.token_head(own)[..., 0]),
            log_variance=bounded[..., 0],
            target_log_variance=bounded[..., 1:],
            log_condition=auxiliary[..., 0],
            expected_error=auxiliary[..., 1],
            regime_logits=auxiliary[..., 2:],
        )

    def _simplex(self, says: Tensor) -> Tensor:
        if self.options.target_activation == "softmax":
            return torch.softmax(says, dim=-1)
        open_ = torch.sigmoid(says)
        return open_ / open_.sum(dim=-1, keepdim=True)


def _ends(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[: i + 1]) for i in range(len(sizes))]
