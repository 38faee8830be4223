"""Optimisers over the flat parameters of a group.

    Adam    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= rate * mhat / (sqrt(vhat) + eps)
    AdamW   the same after p *= 1 - rate * decay            (decoupled decay [1]_)
    SGD     u = momentum u + g,  p -= rate * u

In Adam and SGD the decay is L2: decay * p is added to the gradient. The formulas are those of `torch.optim`, and
tests hold the two equal; here they run on one tensor (Adam's in torch's fused kernel), so a step costs the same few
operations for any number of layers and members, and rates and decays may differ from member to member.

References
----------
.. [1] I. Loshchilov and F. Hutter (2019). Decoupled weight decay regularization. ICLR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.optim.adam import adam

from eigenfolio.training.group import Group

__all__ = ["SGD", "Adam", "AdamW", "FlatOptimiser", "OptimiserRule", "ParameterRule"]

_EPS = 1e-8


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AdamW(_Rule):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    weight_decay : float
        Share of the rate by which weights shrink each step.
    betas : tuple of two floats in [0, 1)
        Memory of the gradient and of its square.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=1e-2, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.999)


class Adam(_Rule):
    """Adam with L2 regularisation; parameters as in `AdamW`."""

    name: Literal["adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.999)


class SGD(_Rule):
    """Stochastic gradient descent with momentum and L2 regularisation."""

    name: Literal["sgd"] = "sgd"
    weight_decay: float = Field(default=0.0, ge=0.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)


OptimiserRule = Annotated[AdamW | Adam | SGD, Field(discriminator="name")]


@dataclass(frozen=True)
class ParameterRule:
    """Treat the parameters whose name matches `pattern` otherwise.

    Parameters
    ----------
    pattern : str
        Regular expression, searched in the name.
    rate : float
        Factor of the learning rate.
    decay : bool
        Whether weight decay applies. Without any rule it applies to parameters with two or more dimensions.
    """

    pattern: str
    rate: float = 1.0
    decay: bool = True


class FlatOptimiser:
    """One optimiser for a whole group.

    Parameters
    ----------
    group : Group
    options : OptimiserRule
    weight_decay : sequence of float
        Of each member.
    rules : sequence of ParameterRule
        The first that matches a parameter counts.
    """

    def __init__(
        self,
        group: Group,
        options: AdamW | Adam | SGD,
        *,
        weight_decay: Sequence[float],
        rules: Sequence[ParameterRule] = (),
    ) -> None:
        self.group, self.options, self.count = group, options, 0
        names = ["momentum"] if isinstance(options, SGD) else ["first", "second"]
        self.moments = {name: torch.zeros_like(group.data) for name in names}
        factor, decay = torch.ones_like(group.data), torch.zeros_like(group.data)
        for name, shape in group.shapes.items():
            rule = next((rule for rule in rules if re.search(rule.pattern, name)), None)
            group.view(name, factor).fill_(1.0 if rule is None else rule.rate)
            group.view(name, decay).fill_(float(len(shape) > 1 if rule is None else rule.decay))
        self._factor = factor if bool((factor != 1.0).any()) else None
        decays = torch.tensor(list(weight_decay), dtype=group.data.dtype, device=group.data.device)
        self._decay = decay * group.per_element(decays) if bool(decays.any()) else None
        if not isinstance(options, SGD):
            self._update = torch.zeros_like(group.data)
            self._steps = torch.zeros((), device=group.data.device)

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """Move the parameters, each member at its rate."""
        options, data, grad = self.options, self.group.data, self.group.grad
        self.count += 1
        rate: float | Tensor = rates[0]
        if len(set(rates)) > 1:
            rate = self.group.per_element(torch.tensor(list(rates), dtype=data.dtype, device=data.device))
        if self._factor is not None:
            rate = self._factor * rate
        if self._decay is not None:
            if isinstance(options, AdamW):
                if isinstance(rate, float):
                    data.addcmul_(data, self._decay, value=-rate)
                else:
                    data.addcmul_(data, self._decay * rate, value=-1.0)
            else:
                grad = grad.addcmul(self._decay, data)
        if isinstance(options, SGD):
            momentum = self.moments["momentum"]
            update = momentum.mul_(options.momentum).add_(grad).neg()
        else:
            self._steps.fill_(self.count - 1)
            adam(
                [self._update.zero_()],
                [grad],
                [self.moments["first"]],
                [self.moments["second"]],
                [],
                [self._steps],
                foreach=False,
                fused=True,
                amsgrad=False,
                beta1=options.betas[0],
                beta2=options.betas[1],
                lr=1.0,
                weight_decay=0.0,
                eps=_EPS,
                maximize=False,
            )
            update = self._update
        if isinstance(rate, float):
            data.add_(update, alpha=rate)
        else:
            data.addcmul_(update, rate)
