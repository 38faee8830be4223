r"""The spectral shrinkage network: eigenvalue and asset tokens of two spectra to eigenvalues and volatilities.

For each spectrum b of a window (see `eigenfolio.learned.spectra`), with q its classical eigenvalues,

    eigenvalue net   y = drop(gelu(W [token, context])),  y += scan(y),  ln d_k = ln q_k + 3 tanh(g head(y) / 3)
    asset net        MLP([token, context]) -> out,        ln v_i = 1.5 tanh(out / 1.5)

and for the window, with shares pi and a common log-scale c that a summary net reads from the whole window, and every
last layer starting at zero,

    C = sum_b pi_b V_b diag(d_b) V_b',   ln sigma = ln s + blend (ln e - ln s) + sum_b pi_b ln v_b + c
    c = a level + 0.1 tanh(out / 0.1)

where s are sample and e EWMA(63) volatilities and `level` is the common level of volatility in the last weeks. What
the summary net adds to it is bounded, since the windows of one market and age say little about the size of another's.
An untrained network is exactly its classical start: the mean of the two cleaned correlations, with blended
volatilities.

The asset and the summary net have one hidden layer behind the first, and may have residual ones behind that,
x = x + act(W x + b); gelu is the activation of all layers unless another is asked for, the scan's gates apart.

`scan` is a gated linear recurrence over the tokens in both directions, a minimal gated recurrent unit [1]_:

    h_t = (1 - z_t) h_{t-1} + z_t tanh(c_t),    z_t, c_t linear in y_t

which is computed for all tokens in log2(n) steps.

References
----------
.. [1] L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadegh (2024). Were RNNs all we needed? arXiv 2410.01201.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eigenfolio.models.networks.dropout import SeededDropout

__all__ = [
    "ACTIVATIONS",
    "EIGENVALUE_BOUND",
    "SCALE_BOUND",
    "VOLATILITY_BOUND",
    "GatedScan",
    "InputMask",
    "SpectralOutput",
    "SpectralShrinkageNetwork",
    "scan",
]

EIGENVALUE_BOUND = 3.0
VOLATILITY_BOUND = 1.5
SCALE_BOUND = 0.1
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
"""Of the hidden layers, by name; all are 0 at 0, so a residual layer of zero weights changes nothing."""


class SpectralOutput(NamedTuple):
    """What the network says of each window.

    Attributes
    ----------
    eigenvalue_change : Tensor of shape (..., n_spectra, batch, n_tokens)
        Change of the log eigenvalues; the value of padding tokens means nothing.
    volatility_change : Tensor of shape (..., batch, n_assets)
        Change of the log volatilities, the spectra's votes averaged.
    shares : Tensor of shape (..., batch, n_spectra)
        Weights of the spectra, on the simplex.
    log_scale : Tensor of shape (..., batch)
        Common change of all log volatilities.
    """

    eigenvalue_change: Tensor
    volatility_change: Tensor
    shares: Tensor
    log_scale: Tensor


def scan(decay: Tensor, increment: Tensor) -> Tensor:
    """Solve h_t = decay_t h_{t-1} + increment_t, h before the first being 0, along the last axis but one.

    Examples
    --------
    >>> scan(torch.tensor([[0.5], [0.5], [0.5]]), torch.tensor([[1.0], [0.0], [2.0]])).ravel().tolist()
    [1.0, 0.5, 2.25]
    """
    step, n_tokens = 1, decay.shape[-2]
    while step < n_tokens:
        carried = increment[..., step:, :] + decay[..., step:, :] * increment[..., :-step, :]
        increment = torch.cat([increment[..., :step, :], carried], dim=-2)
        if 2 * step < n_tokens:
            decay = torch.cat([decay[..., :step, :], decay[..., step:, :] * decay[..., :-step, :]], dim=-2)
        step *= 2
    return increment


class GatedScan(nn.Module):
    """Minimal gated recurrent unit over tokens, half of the channels in each direction.

    Parameters
    ----------
    n_units : int
        Channels in and out, even.
    """

    members_first = True

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.gates = nn.Linear(n_units, 2 * n_units)

    def forward(self, y: Tensor, valid: Tensor) -> Tensor:
        """Map y (..., n_tokens, n_units); tokens where `valid` (..., n_tokens) is False pass nothing on."""
        gate, candidate = self.gates(y).chunk(2, dim=-1)
        taken = torch.sigmoid(gate) * valid.unsqueeze(-1)
        decay, increment = 1.0 - taken, taken * torch.tanh(candidate)
        half = y.shape[-1] // 2
        forth = scan(decay[..., :half], increment[..., :half])
        back = scan(decay[..., half:].flip(-2), increment[..., half:].flip(-2)).flip(-2)
        return torch.cat([forth, back], dim=-1)


class InputMask(nn.Module):
    """Set the inputs that a member does not see to zero, which is the mean of scaled inputs.

    Parameters
    ----------
    kept : mapping of str to array-like of bool, shape (n_features,)
        Of "token", "asset", "context" and "summary".
    """

    members_first = True
    token: Tensor
    asset: Tensor
    context: Tensor
    summary: Tensor

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__()
        for kind in ("token", "asset", "context", "summary"):
            self.register_buffer(kind, torch.as_tensor(kept[kind]).float())

    def forward(self, tokens: Tensor, assets: Tensor, context: Tensor, summary: Tensor) -> tuple[Tensor, ...]:
        """The four tables of inputs, (..., n_features) each."""
        pairs = ((tokens, self.token), (assets, self.asset), (context, self.context), (summary, self.summary))
        return tuple(_masked(x, kept) for x, kept in pairs)


class _SpectrumNet(nn.Module):
    """Eigenvalue and asset nets of one spectrum."""

    members_first = True

    def __init__(
        self,
        n_token_features: int,
        n_asset_features: int,
        n_context: int,
        n_units: int,
        dropout: float,
        activation: str,
        depth: int,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.token_in = nn.Linear(n_token_features + n_context, n_units)
        self.token_dropout = SeededDropout(dropout)
        self.scan = GatedScan(n_units)
        self.token_out = nn.Linear(n_units, 1)
        self.asset_in = nn.Linear(n_asset_features + n_context, n_units)
        self.asset_dropout = SeededDropout(dropout)
        self.asset_hidden = nn.Linear(n_units, n_units)
        self.asset_blocks = nn.ModuleList(nn.Linear(n_units, n_units) for _ in range(depth - 1))
        self.asset_out = nn.Linear(n_units, 1)

    def forward(self, tokens: Tensor, assets: Tensor, context: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        act = ACTIVATIONS[self.activation]
        y = act(self.token_in(_with_context(tokens, context)))
        y = self.token_dropout(y)
        y = y + self.scan(y, valid)
        change = EIGENVALUE_BOUND * torch.tanh(self.token_out(y)[..., 0] / EIGENVALUE_BOUND)  # (..., batch, n_tokens)
        x = self.asset_dropout(act(self.asset_in(_with_context(assets, context))))
        x = _deeper(act(self.asset_hidden(x)), self.asset_blocks, act)
        return change, VOLATILITY_BOUND * torch.tanh(self.asset_out(x)[..., 0] / VOLATILITY_BOUND)


class SpectralShrinkageNetwork(nn.Module):
    """Two small nets per spectrum and one for the scale of the whole window; about 5,000 parameters.

    Parameters
    ----------
    n_token_features, n_asset_features, n_context, n_summary : int
        Widths of the inputs; the summary holds all spectra's numbers of a window.
    n_spectra : int
        Spectra per window.
    n_units : int
        Hidden width, even.
    dropout : float in [0, 1)
        After the first layer of each net.
    activation : {"gelu", "silu", "tanh", "relu"}
        Of the hidden layers.
    depth : int
        Hidden layers behind the first in the asset and the summary nets.
    kept : mapping, optional
        Inputs that the network sees, as of `InputMask`; all of them without it.

    Examples
    --------
    >>> network = SpectralShrinkageNetwork(8, 18, 3, 90).eval()
    >>> tokens, assets = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 6, 18)
    >>> output = network(tokens, assets, torch.randn(2, 4, 3), torch.ones(2, 4, 6, dtype=bool), torch.randn(4, 90))
    >>> output.eigenvalue_change.shape, output.volatility_change.abs().max().item(), output.shares[0].tolist()
    (torch.Size([2, 4, 6]), 0.0, [0.5, 0.5])
    """

    members_first = True

    def __init__(
        self,
        n_token_features: int,
        n_asset_features: int,
        n_context: int,
        n_summary: int,
        *,
        n_spectra: int = 2,
        n_units: int = 16,
        dropout: float = 0.3,
        activation: str = "gelu",
        depth: int = 1,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.inputs = None if kept is None else InputMask(kept)
        self.spectra = nn.ModuleList(
            _SpectrumNet(n_token_features, n_asset_features, n_context, n_units, dropout, activation, depth)
            for _ in range(n_spectra)
        )
        self.mixing = nn.Parameter(torch.zeros(n_spectra))
        self.level = nn.Parameter(torch.zeros(1))
        self.summary_in = nn.Linear(n_summary, n_units)
        self.summary_dropout = SeededDropout(dropout)
        self.summary_hidden = nn.Linear(n_units, n_units)
        self.summary_blocks = nn.ModuleList(nn.Linear(n_units, n_units) for _ in range(depth - 1))
        self.summary_out = nn.Linear(n_units, 1 + n_spectra)
        self._start_at_zero()

    def initialise(self, generator: torch.Generator) -> None:
        """Draw hidden weights and dropout seeds; last layers and shares start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                for parameter in (module.weight, module.bias):
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
            elif isinstance(module, SeededDropout):
                module.seed.fill_(int(torch.randint(2**62, (1,), generator=generator)))
                module.calls.zero_()
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        last = [self.summary_out]
        for net in self.spectra:
            assert isinstance(net, _SpectrumNet)
            last += [net.token_out, net.asset_out]
        for layer in last:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.mixing)
        nn.init.zeros_(self.level)

    def masked(self, tokens: Tensor, assets: Tensor, context: Tensor, summary: Tensor) -> tuple[Tensor, ...]:
        """The inputs as this network sees them."""
        given = (tokens, assets, context, summary)
        return given if self.inputs is None else self.inputs(*given)

    def summary_features(self, summary: Tensor, *, dropout: bool = True) -> Tensor:
        """Last hidden layer of the summary net, (..., batch, n_units), of a masked summary."""
        act = ACTIVATIONS[self.activation]
        z = act(self.summary_in(summary))
        if dropout:
            z = self.summary_dropout(z)
        return _deeper(act(self.summary_hidden(z)), self.summary_blocks, act)

    def forward(
        self, tokens: Tensor, assets: Tensor, context: Tensor, valid: Tensor, summary: Tensor
    ) -> SpectralOutput:
        """Map normalised inputs.

        Parameters
        ----------
        tokens : Tensor of shape (..., n_spectra, batch, n_tokens, n_token_features)
        assets : Tensor of shape (..., n_spectra, batch, n_assets, n_asset_features)
        context : Tensor of shape (..., n_spectra, batch, n_context)
        valid : Tensor of bool, shape (..., n_spectra, batch, n_tokens)
            False for padding, which follows the tokens.
        summary : Tensor of shape (..., batch, n_summary)
            Its last number, the level of volatility, moves the scale directly as well.

        Returns
        -------
        SpectralOutput
        """
        tokens, assets, context, summary = self.masked(tokens, assets, context, summary)
        changes, votes = [], []
        for b, net in enumerate(self.spectra):
            change, vote = net(
                tokens[..., b, :, :, :], assets[..., b, :, :, :], context[..., b, :, :], valid[..., b, :, :]
            )
            changes.append(change)
            votes.append(vote)
        said = self.summary_out(self.summary_features(summary))
        shares = torch.softmax(self.mixing.unsqueeze(-2) + said[..., 1:], dim=-1)  # (..., batch, n_spectra)
        weight = shares.transpose(-1, -2).unsqueeze(-1)  # (..., n_spectra, batch, 1)
        return SpectralOutput(
            eigenvalue_change=torch.stack(changes, dim=-3),
            volatility_change=(weight * torch.stack(votes, dim=-3)).sum(dim=-3),
            shares=shares,
            log_scale=SCALE_BOUND * torch.tanh(said[..., 0] / SCALE_BOUND) + self.level * summary[..., -1],
        )


def _deeper(x: Tensor, blocks: Iterable[nn.Module], act: Callable[[Tensor], Tensor]) -> Tensor:
    """Pass x through residual layers."""
    for block in blocks:
        x = x + act(block(x))
    return x


def _masked(x: Tensor, kept: Tensor) -> Tensor:
    """x (..., n_features) times the kept of each member, whose axis, where there is one, comes first in both."""
    return x * kept.view(*kept.shape[:-1], *(1 for _ in range(x.ndim - kept.ndim)), -1)


def _with_context(x: Tensor, context: Tensor) -> Tensor:
    """Append the context of its window to every token."""
    spread = context.unsqueeze(-2).expand(*x.shape[:-1], context.shape[-1])
    return torch.cat([x, spread], dim=-1)
