"""Layers that compute all members of a group at once.

`torch.func.vmap` calls any network with stacked parameters, at two to three times the price per operation. Networks
made of the layers below need no translation: their parameters carry a leading axis of members, (n_members, ...), so
do their inputs, and every operation is one plain torch operation for the whole group,

    dense          y = x W' + b                as one batched matrix product
    batch norm     members and channels are the channels of one `batch_norm`
    layer norm     shared normalisation, then each member's scale and shift
    elementwise    as they are

A module of another class takes part when its `forward` treats every axis before its own as a batch (indexes from the
end, reduces over named last axes) and says so with the class attribute ``members_first = True``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eigenfolio.models.networks.dropout import SeededDropout

__all__ = ["is_stackable", "stack_layers"]


class _StackedLinear(nn.Linear):
    """Dense layer with weight (n_members, n_out, n_in) on x (n_members, ..., n_in)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x if x.ndim == 3 else x.flatten(1, -2)  # (n_members, batch, n_in)
        if self.bias is None:
            y = torch.bmm(flat, self.weight.transpose(1, 2))
        else:
            y = torch.baddbmm(self.bias.unsqueeze(1), flat, self.weight.transpose(1, 2))
        return y if x.ndim == 3 else y.view(*x.shape[:-1], -1)


class _StackedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of x (n_members, batch, n_channels), each member and channel by itself."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise ValueError(f"expected (n_members, batch, n_channels), got shape {tuple(x.shape)}")
        n_members, batch, n_channels = x.shape
        mean, variance = self.running_mean, self.running_var
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        y = nn.functional.batch_norm(
            x.transpose(0, 1).reshape(batch, n_members * n_channels),
            None if mean is None else mean.view(-1),
            None if variance is None else variance.view(-1),
            None if self.weight is None else self.weight.flatten(),
            None if self.bias is None else self.bias.flatten(),
            self.training or mean is None,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.view(batch, n_members, n_channels).transpose(0, 1)


class _StackedLayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis of x (n_members, ..., n_channels)."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.layer_norm(x, self.normalized_shape, None, None, self.eps)
        between = (1,) * (x.ndim - 2)
        if self.weight is not None:
            y = y * self.weight.view(len(x), *between, -1)
        return y if self.bias is None else y + self.bias.view(len(x), *between, -1)


_STACKED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _StackedLinear,
    nn.BatchNorm1d: _StackedBatchNorm1d,
    nn.LayerNorm: _StackedLayerNorm,
}
_AS_THEY_ARE: tuple[type[nn.Module], ...] = (
    nn.Sequential, nn.ModuleList, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Dropout, SeededDropout,
)  # fmt: skip


def is_stackable(network: nn.Module) -> bool:
    """Whether every module of a network computes members side by side.

    Examples
    --------
    >>> is_stackable(nn.Sequential(nn.Linear(3, 2), nn.ReLU())), is_stackable(nn.Sequential(nn.GRU(3, 2)))
    (True, False)
    """
    return all(_fits(module) for module in network.modules())


def _fits(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or nn.utils.parametrize.is_parametrized(module):
        return False
    if isinstance(module, nn.BatchNorm1d) and module.momentum is None:  # a cumulative average
        return False
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) != 1:
        return False
    kind = type(module)
    return kind in _STACKED or kind in _AS_THEY_ARE or bool(vars(kind).get("members_first", False))


def stack_layers(network: nn.Module) -> None:
    """Turn the layers of a stackable network, in place, into their stacked forms.

    Their parameters and buffers are to be set to stacked ones by the caller.
    """
    for module in network.modules():
        module.__class__ = _STACKED.get(type(module), type(module))
