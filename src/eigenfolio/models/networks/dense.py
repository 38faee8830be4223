r"""The dense shrinkage network: window features to shrinkage intensity, target weights and volatility blend.

Blocks of Dense - BatchNorm - LeakyReLU(0.2) - dropout with projection shortcuts, He initialisation with the leaky gain,
and a Glorot-uniform output layer. The outputs bend a closed form instead of replacing it:

    intensity         delta = sigmoid(logit(delta_classical) + g_1 h_1)
    target weights    w     = e_1 + g_2 (simplex(h_2..h_4) - e_1)       on the simplex while 0 <= g_2 <= 1
    volatility blend  beta  = g_3 sigmoid(h_5)                          in [0, 1] while 0 <= g_3 <= 1

h are the outputs of the last layer and g three learned gains that start at zero, so that an untrained network
is exactly its closed form although every layer is initialised as usual. Training returns g_2 and g_3 to [0, 1]
after every step.

With an empirical prior (`prior_logit`, the logit of the mean Ledoit-Wolf intensity of the training windows) the output
layer speaks of the intensity itself and its bias starts there: h_1 = o_1 - logit(delta_classical), so that the gain
moves from the closed form of the window to what the network thinks, and not by the prior.

Options: the regime of the window as a categorical embedding beside the features; self-attention over the units that
enter the last block (feature importance: each unit is a token, its value times a learned vector plus another); a
further output, the log variance of logit delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from eigenfolio.models.networks.attention import LOG_VARIANCE_BOUND, N_REGIMES, TARGET_PRIOR, TargetName, Targets
from eigenfolio.models.networks.dropout import SeededDropout

__all__ = ["DenseOptions", "DenseShrinkageNetwork", "FeatureAttention", "ShrinkageOutput"]

NEGATIVE_SLOPE = 0.2
_RANGES = ((128, 256), (64, 128), (32, 64))
ALL_TARGETS: tuple[TargetName, ...] = ("identity", "constant_correlation", "single_factor")
InputGroup = Literal["matrix", "market", "temporal"]


class DenseOptions(BaseModel):
    """Shape of the dense network.

    Parameters
    ----------
    hidden_sizes : tuple of 1 to 3 ints
        Units of each block, decreasing. Three lie in 128..256, 64..128 and 32..64; one or two, of at most 128 units,
        make a smaller network for few data.
    dropout : float in [0, 1)
        Share dropped after every block but the last.
    input_dropout : float
        Share of the features dropped, 0.1 to 0.2, or 0 for none.
    gain_rate : float
        Learning rate of the output gains, which start at zero and open the network, relative to the other weights.
    l2 : float
        L2 regularisation of the first layer, l2 / 2 times the squared norm; `pretrain` reads it.
    targets : tuple of str
        One or several of "identity", "constant_correlation" and "single_factor"; the first is where it starts.
    target_activation : {"softmax", "sigmoid"}
        How target outputs become weights: a softmax, or independent sigmoids over their sum.
    inputs : tuple of str
        Groups of features: "matrix" (the spectrum and correlations), "market" and "temporal".
    regime_embedding : bool
        Whether the window's regime enters as an embedding of four numbers.
    feature_attention : bool
        Whether the units that enter the last block attend to each other.
    empirical_prior : bool
        Whether the intensity's bias starts at the logit of the mean classical intensity.
    uncertainty : bool
        Whether the network predicts the log variance of logit delta.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_sizes: tuple[int, ...] = (128, 64, 32)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    input_dropout: float = 0.1
    gain_rate: float = Field(default=10.0, gt=0.0)
    l2: float = Field(default=1e-3, ge=0.0, le=0.1)
    targets: Targets = ALL_TARGETS
    target_activation: Literal["softmax", "sigmoid"] = "softmax"
    inputs: tuple[InputGroup, ...] = ("matrix",)
    regime_embedding: bool = False
    feature_attention: bool = False
    empirical_prior: bool = False
    uncertainty: bool = False

    @field_validator("hidden_sizes")
    @classmethod
    def _decreasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        small = 1 <= len(value) <= 2 and all(1 <= size <= 128 for size in value)
        full = len(value) == 3 and all(low <= size <= high for size, (low, high) in zip(value, _RANGES, strict=True))
        if not (small or full) or list(value) != sorted(value, reverse=True):
            raise ValueError(
                "hidden_sizes must decrease: three layers of 128..256, 64..128 and 32..64 units, or one or two of at "
                f"most 128, got {list(value)}"
            )
        return value

    @field_validator("input_dropout")
    @classmethod
    def _input_dropout(cls, value: float) -> float:
        if value != 0.0 and not 0.1 <= value <= 0.2:
            raise ValueError(f"input_dropout must lie in [0.1, 0.2], or be 0 for none, got {value}")
        return value

    @field_validator("targets", "inputs")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"name at least one, and each once, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _attends(self) -> DenseOptions:
        if self.feature_attention and len(self.hidden_sizes) < 2:
            raise ValueError("feature_attention needs a block before the last; give two hidden_sizes or more")
        return self


class ShrinkageOutput(NamedTuple):
    """What the network says of each window.

    Attributes
    ----------
    intensity : Tensor of shape (..., batch)
    target_weights : Tensor of shape (..., batch, n_targets)
    volatility_blend : Tensor of shape (..., batch)
    log_variance : Tensor of shape (..., batch), optional
        Of logit delta; zero where the network does not predict it.
    """

    intensity: Tensor
    target_weights: Tensor
    volatility_blend: Tensor
    log_variance: Tensor | None = None


class FeatureAttention(nn.Module):
    """Self-attention among units: each is a token whose value looks at the others.

    Parameters
    ----------
    n_units : int
    size : int
        Width of a token.
    """

    members_first = True

    def __init__(self, n_units: int, *, size: int = 8) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(n_units, size))
        self.position = nn.Parameter(torch.zeros(n_units, size))
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.value = nn.Linear(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each unit of x (..., batch, n_units) what it sees in the others."""
        tokens = self._tokens(x)
        return x + (self.attention(tokens) @ self.value(tokens))[..., 0]

    def _tokens(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1) * self.direction.unsqueeze(-3) + self.position.unsqueeze(-3)

    def attention(self, tokens: Tensor) -> Tensor:
        """How much each unit looks at each, (..., batch, n_units, n_units), rows sum to 1."""
        q, k = self.query(tokens), self.key(tokens)
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw directions and positions; the layers are drawn by the network."""
        for table in (self.direction, self.position):
            nn.init.normal_(table, std=table.shape[-1] ** -0.5, generator=generator)


class _Block(nn.Module):
    """Dense - BatchNorm - LeakyReLU, plus a linear shortcut from the block's input where there is one to keep."""

    members_first = True

    def __init__(self, n_inputs: int, n_units: int, *, dropout: float, shortcut: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, n_units)
        self.norm = nn.BatchNorm1d(n_units)
        self.shortcut = nn.Linear(n_inputs, n_units, bias=False) if shortcut else None
        self.dropout = SeededDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.leaky_relu(self.norm(self.dense(x)), NEGATIVE_SLOPE)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.dropout(y)


class DenseShrinkageNetwork(nn.Module):
    """Three dense blocks over the features of a window.

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden_sizes : sequence of int
        Units of each block, in order.
    n_targets : int
        Shrinkage targets; the first is the one the classical intensity belongs to.
    dropout : float in [0, 1)
        After every block but the last.
    input_dropout : float in [0, 1)
        On the features.
    target_activation : {"softmax", "sigmoid"}
        How target outputs become weights.
    target_prior : sequence of float, optional
        Weights that the target outputs lean to before they have learned; even without it.
    n_embedding : int
        Numbers that embed the regime; 0 for no embedding.
    feature_attention, uncertainty : bool
        As in `DenseOptions`.
    prior_logit : float, optional
        Where the bias of the intensity starts (see the head of this module).

    Examples
    --------
    >>> network = DenseShrinkageNetwork(8).eval()
    >>> output = network(torch.zeros(2, 8), torch.tensor([0.0, -1.0]))
    >>> output.intensity.tolist() == torch.sigmoid(torch.tensor([0.0, -1.0])).tolist()
    True
    """

    members_first = True  # `forward` takes leading axes as they come

    def __init__(
        self,
        n_features: int,
        *,
        hidden_sizes: Sequence[int] = (128, 64, 32),
        n_targets: int = 3,
        dropout: float = 0.3,
        input_dropout: float = 0.1,
        target_activation: Literal["softmax", "sigmoid"] = "softmax",
        target_prior: Sequence[float] | None = None,
        n_embedding: int = 0,
        feature_attention: bool = False,
        uncertainty: bool = False,
        prior_logit: float | None = None,
    ) -> None:
        super().__init__()
        self.n_targets, self.target_activation = n_targets, target_activation
        self.target_prior, self.prior_logit = target_prior, prior_logit
        self.input_dropout = SeededDropout(input_dropout)
        self.regimes = nn.Parameter(torch.zeros(N_REGIMES, n_embedding)) if n_embedding else None
        widths = [n_features + n_embedding, *hidden_sizes]
        last = len(hidden_sizes) - 1
        self.blocks = nn.ModuleList(
            _Block(n_in, n_out, dropout=dropout if i < last else 0.0, shortcut=i > 0)
            for i, (n_in, n_out) in enumerate(pairwise(widths))
        )
        self.attention = FeatureAttention(widths[-2]) if feature_attention else None
        self.output = nn.Linear(widths[-1], 2 + n_targets + uncertainty)
        self.gains = nn.Parameter(torch.zeros(3))

    @classmethod
    def of(cls, n_features: int, options: DenseOptions, *, prior_logit: float | None = None) -> DenseShrinkageNetwork:
        """A network of these options, not initialised."""
        return cls(
            n_features,
            hidden_sizes=options.hidden_sizes,
            n_targets=len(options.targets),
            dropout=options.dropout,
            input_dropout=options.input_dropout,
            target_activation=options.target_activation,
            target_prior=[TARGET_PRIOR[name] for name in options.targets] if options.empirical_prior else None,
            n_embedding=N_REGIMES if options.regime_embedding else 0,
            feature_attention=options.feature_attention,
            uncertainty=options.uncertainty,
            prior_logit=prior_logit if options.empirical_prior else None,
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draw He (hidden) and Glorot-uniform (output) weights and dropout seeds; gains become zero, biases zero or
        their priors."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if module is self.output:
                    nn.init.xavier_uniform_(module.weight, generator=generator)
                else:
                    nn.init.kaiming_normal_(
                        module.weight, a=NEGATIVE_SLOPE, nonlinearity="leaky_relu", generator=generator
                    )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, SeededDropout):
                module.seed.fill_(int(torch.randint(2**62, (1,), generator=generator)))
                module.calls.zero_()
            elif isinstance(module, FeatureAttention):
                module.initialise(generator)
        if self.regimes is not None:
            nn.init.normal_(self.regimes, std=0.1, generator=generator)
        nn.init.zeros_(self.gains)
        with torch.no_grad():
            if self.prior_logit is not None:
                self.output.bias[0] = self.prior_logit
            if self.target_prior is not None:
                prior = torch.tensor(list(self.target_prior))
                logs = prior.log() if self.target_activation == "softmax" else prior.logit()
                self.output.bias[1 : 1 + self.n_targets] = logs

    def forward(self, features: Tensor, classical_logit: Tensor, regime: Tensor | None = None) -> ShrinkageOutput:
        """Map features (batch, n_features) and logit intensities (batch,) to the outputs.

        `regime` (batch, 4) has a one at the window's regime, where the network embeds it.
        """
        x = self.input_dropout(features)
        if self.regimes is not None and regime is not None:
            x = torch.cat([x, regime @ self.regimes], dim=-1)
        for i, block in enumerate(self.blocks):
            if self.attention is not None and i == len(self.blocks) - 1:
                x = self.attention(x)
            x = block(x)
        heads = self.output(x)  # (..., batch, 2 + n_targets or one more)
        opening, choosing, mixing = self.gains.unsqueeze(-2).split(1, dim=-1)  # each (..., 1, 1)
        leaving = heads[..., 0] if self.prior_logit is None else heads[..., 0] - classical_logit
        first = torch.zeros(self.n_targets, dtype=heads.dtype, device=heads.device)
        first[0] = 1.0
        says = heads[..., 1 : 1 + self.n_targets]
        if self.target_activation == "softmax":
            simplex = torch.softmax(says, dim=-1)
        else:
            simplex = torch.sigmoid(says) / torch.sigmoid(says).sum(dim=-1, keepdim=True)
        uncertain = heads.shape[-1] > 2 + self.n_targets
        return ShrinkageOutput(
            intensity=torch.sigmoid(classical_logit + opening[..., 0] * leaving),
            target_weights=first + choosing * (simplex - first),
            volatility_blend=mixing[..., 0] * torch.sigmoid(heads[..., 1 + self.n_targets]),
            log_variance=LOG_VARIANCE_BOUND * torch.tanh(heads[..., -1] / LOG_VARIANCE_BOUND) * uncertain,
        )
