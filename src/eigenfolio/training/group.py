"""Networks of one shape, trained side by side with their parameters in one flat tensor.

A single network is a group of one and is called as it is; several are called together on the same batch, with
stacked parameters: as batched layers (`eigenfolio.training.stacked`) where the network is made of such, through
`torch.func.vmap` otherwise. Either way the outputs carry a leading axis of members and the parameters and gradients
of all members are slices of two flat tensors, so that an optimiser step is a handful of large operations whatever
the number of layers and members.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_map

from eigenfolio.errors import ParameterError
from eigenfolio.training.stacked import is_stackable, stack_layers

__all__ = ["Group"]


class Group:
    """Members of one shape.

    Parameters
    ----------
    networks : sequence of Module
        Same classes, same parameter shapes. Their parameters become views into the group's flat tensor.
    device : torch.device
        Where the group lives.

    Attributes
    ----------
    data, grad : Tensor of shape (n_members * n_parameters,)
        All parameters and their gradients; each parameter's members lie next to each other, since autograd wants
        gradients without gaps.
    """

    def __init__(self, networks: Sequence[nn.Module], *, device: torch.device | str = "cpu") -> None:
        if not networks:
            raise ParameterError("a group needs at least one network")
        self.networks = [network.to(device) for network in networks]
        self.n_members = len(networks)
        shapes = [{name: tuple(p.shape) for name, p in network.named_parameters()} for network in self.networks]
        if any(shape != shapes[0] for shape in shapes):
            raise ParameterError("the networks of a group must have the same parameters of the same shapes")
        self.shapes = shapes[0]
        self.spans: dict[str, slice] = {}
        size = 0
        for name, shape in self.shapes.items():
            self.spans[name] = slice(size, size + self.n_members * math.prod(shape))
            size = self.spans[name].stop
        first = next(self.networks[0].parameters())
        self.data = torch.zeros(size, dtype=first.dtype, device=device)
        self.grad = torch.zeros_like(self.data)
        self._grads = [self.grad[span].view(self.n_members, -1) for span in self.spans.values()]
        self._mode: bool | None = None
        self.parameters: dict[str, Tensor] = {}
        for name in self.shapes:
            self.view(name).copy_(torch.stack([network.get_parameter(name).detach() for network in self.networks]))
        if self.n_members == 1:
            for name in self.shapes:
                parameter = self.networks[0].get_parameter(name)
                parameter.data = self.view(name)[0]
                parameter.grad = self.view(name, self.grad)[0]
            self.buffers: dict[str, Tensor] = {}
        else:
            for name in self.shapes:
                leaf = self.view(name).detach().requires_grad_()
                leaf.grad = self.view(name, self.grad)
                self.parameters[name] = leaf
            self.buffers = {
                name: torch.stack([dict(network.named_buffers())[name] for network in self.networks])
                for name, _ in self.networks[0].named_buffers()
            }
            self._template = copy.deepcopy(self.networks[0]).to("meta")
            self._slots = _free_slots(self._template, self.networks[0])
            self._batched = is_stackable(self._template)
            if self._batched:
                stack_layers(self._template)
                self._fill(self.parameters, self.buffers)

    def view(self, name: str, flat: Tensor | None = None) -> Tensor:
        """Slice of a flat tensor that belongs to a parameter, shape (n_members, *shape)."""
        flat = self.data if flat is None else flat
        return flat[self.spans[name]].view(self.n_members, *self.shapes[name])

    def call(self, *inputs: Tensor) -> Any:
        """Outputs of all members for the same inputs, each with a leading axis of members."""
        if self.n_members == 1:
            return tree_map(lambda output: output[None], self.networks[0](*inputs))
        if self._batched:
            return self._template(*(x.expand(self.n_members, *x.shape) for x in inputs))
        in_dims = (0, 0, *(None for _ in inputs))
        return vmap(self._functional, in_dims=in_dims, randomness="different")(self.parameters, self.buffers, *inputs)

    def _functional(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Any:
        self._fill(parameters, buffers)
        return self._template(*inputs)

    def _fill(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        for attributes, key, name in self._slots:
            attributes[key] = parameters[name] if name in parameters else buffers[name]

    def train(self, mode: bool) -> None:
        """Switch between training and evaluation."""
        if mode == self._mode:
            return
        self._mode = mode
        for network in self.networks if self.n_members == 1 else [self._template]:
            network.train(mode)

    def norms(self) -> Tensor:
        """Gradient norm of each member, shape (n_members,)."""
        if self.n_members == 1:
            return self.grad.norm().reshape(1)
        return torch.stack([grad.norm(dim=1) for grad in self._grads]).norm(dim=0)

    def scale_gradients(self, factors: Tensor) -> None:
        """Multiply the gradients of each member by its factor, (n_members,)."""
        if self.n_members == 1:
            self.grad.mul_(factors)
            return
        factors = factors[:, None]
        for grad in self._grads:
            grad.mul_(factors)

    def per_element(self, values: Tensor) -> Tensor:
        """Spread one value per member, (n_members,), over a flat tensor."""
        spread = torch.empty_like(self.data)
        for span in self.spans.values():
            spread[span].view(self.n_members, -1).copy_(values[:, None])
        return spread

    def block_norms(self) -> dict[str, list[float]]:
        """Gradient norm by block (the module a parameter belongs to) and member."""
        squares: dict[str, Tensor] = {}
        for name, grad in zip(self.spans, self._grads, strict=True):
            square = grad.square().sum(dim=1)
            block = _block(name)
            squares[block] = squares[block] + square if block in squares else square
        return {block: square.sqrt().tolist() for block, square in squares.items()}

    def state(self) -> dict[str, Tensor]:
        """Copies of parameters and buffers, each of shape (n_members, ...)."""
        state = {name: self.view(name).clone() for name in self.shapes}
        if self.n_members == 1:
            return state | {name: buffer[None].clone() for name, buffer in self.networks[0].named_buffers()}
        return state | {name: buffer.clone() for name, buffer in self.buffers.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take parameters and buffers from `state` (see `state`)."""
        with torch.no_grad():
            for name in self.shapes:
                self.view(name).copy_(state[name])
            if self.n_members == 1:
                for name, buffer in self.networks[0].named_buffers():
                    buffer.copy_(state[name][0])
            else:
                for name, buffer in self.buffers.items():
                    buffer.copy_(state[name])

    def write_back(self) -> None:
        """Give every network its own copy of the group's parameters and buffers."""
        state = self.state()
        for member, network in enumerate(self.networks):
            for parameter in network.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None
            network.load_state_dict({name: tensor[member] for name, tensor in state.items()})


def _free_slots(template: nn.Module, network: nn.Module) -> list[tuple[dict[str, Any], str, str]]:
    """Turn parameters and buffers into plain attributes that every call sets: attributes of a module, key, name.

    `torch.func.functional_call` does the same with a swap back after every call, which takes as long as a layer of a
    small network.
    """
    tensors = [*network.named_parameters(), *network.named_buffers()]
    names = {id(tensor): name for name, tensor in tensors}  # a shared tensor has one name and several slots
    slots = []
    for module, original in zip(template.modules(), network.modules(), strict=True):
        own = [
            *original.named_parameters(recurse=False, remove_duplicate=False),
            *original.named_buffers(recurse=False, remove_duplicate=False),
        ]
        for key, tensor in own:
            delattr(module, key)
            slots.append((vars(module), key, names[id(tensor)]))
    return slots


def _block(name: str) -> str:
    """``blocks.0.dense.weight`` belongs to ``blocks.0``, ``output.bias`` to ``output``."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 and parts[1].isdigit() else parts[0]
