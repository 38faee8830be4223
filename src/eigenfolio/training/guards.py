"""What stops a training run that cannot be trusted, and what raises an alarm about one that can be.

A loss or gradient that is not finite although the inputs are stops training with a diagnosis. A batch whose inputs
are not finite is skipped and counted; more than 1 % of them fail the run. After training, dead gradients, constant
outputs and a model that never got better than its start raise an alarm, which travels with the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from eigenfolio.errors import EigenfolioError
from eigenfolio.training.group import Group

__all__ = ["MAX_BAD_SHARE", "TrainingError", "alarms", "bad_rows", "dead_gradient", "diagnose", "finite_inputs"]

MAX_BAD_SHARE = 0.01


class TrainingError(EigenfolioError):
    """Training cannot go on, or its result cannot be trusted."""


def tensors_of(batch: Any) -> list[tuple[str, Tensor]]:
    """Every floating-point tensor of a batch, by name: of a tensor, a mapping, a sequence, or objects with fields."""
    found: list[tuple[str, Tensor]] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            if value.is_floating_point():
                found.append((name or "batch", value))
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}" if name else str(key), item)
        elif hasattr(value, "__dataclass_fields__"):
            for field in value.__dataclass_fields__:
                walk(f"{name}.{field}" if name else field, getattr(value, field))
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                walk(f"{name}[{i}]", item)

    walk("", batch)
    return found


def finite_inputs(batch: Any) -> str | None:
    """None when every input is finite, else the name of the first that is not."""
    for name, tensor in tensors_of(batch):
        if not bool(torch.isfinite(tensor).all()):
            return name
    return None


def bad_rows(samples: Any, chunk: int) -> dict[int, str]:
    """Rows with an input that is not finite, each with the name of the first such input."""
    found: dict[int, str] = {}
    for rows in torch.arange(len(samples)).split(chunk):
        if finite_inputs(samples.take(rows)) is not None:
            for row in rows.tolist():
                name = finite_inputs(samples.take(torch.tensor([row])))
                if name is not None:
                    found[row] = name
    return found


def diagnose(group: Group, batch: Any, loss: Callable[[Any, Any], Any]) -> str:
    """Say where a number that is not finite first appears: a parameter, the output of a block, or the loss."""
    for name in group.shapes:
        if not bool(torch.isfinite(group.view(name)).all()):
            return f"parameter {name} is not finite"
    first: list[str] = []
    hooks = []
    network = group.networks[0]
    if group.n_members == 1:
        for name, module in network.named_modules():

            def check(_: Any, __: Any, output: Any, name: str = name) -> None:
                values = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]
                if not first and any(not bool(torch.isfinite(value).all()) for value in values):
                    first.append(name or "network")

            hooks.append(module.register_forward_hook(check))
    try:
        with torch.no_grad():
            found = loss(group.call, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if first:
        return f"the output of block {first[0]!r} is the first that is not finite"
    bad = [name for name, part in found.parts.items() if not bool(torch.isfinite(part).all())]
    if bad:
        return f"every block is finite, the loss part {bad[0]!r} is not"
    return "the loss is finite, its gradient is not"


def dead_gradient(block: str) -> str:
    """The alarm about a block without a gradient."""
    return f"dead gradient: block {block!r} never received any"


def alarms(
    best_epoch: int, gradient_norms: Sequence[dict[str, float]], spreads: Sequence[float], *, monitored: str
) -> tuple[str, ...]:
    """Alarms about a finished member.

    Parameters
    ----------
    best_epoch : int
        Epoch that was kept; 0 is the untrained start.
    gradient_norms : sequence of dict
        Mean gradient norm by block, one entry per epoch after the start.
    spreads : sequence of float
        Standard deviation of each output over the validation samples, relative to its size.
    monitored : str
        What the early stopping watched.
    """
    raised = []
    if best_epoch == 0:
        raised.append(f"never better than its start on {monitored}: the result is the untrained model")
    for block in gradient_norms[0] if gradient_norms else ():
        if all(norms[block] == 0.0 for norms in gradient_norms):
            raised.append(dead_gradient(block))
    if spreads and max(spreads) < 1e-6:
        raised.append("constant output: the model says the same of every validation sample")
    return tuple(raised)
