"""How much memory a training step takes, measured before it is taken, and the batch that fits under a cap.

    need(n) = fixed + n * bytes_per_sample

`fixed` is what is there whatever the batch: parameters, buffers, gradients, the optimiser's moments and its rate and
decay of each parameter, the best state, and what the step keeps that does not grow with the batch. `bytes_per_sample`
is the slope of what one step holds at its peak:

- what autograd saves for the backward pass, each storage once, parameters left out, and the batch itself [1]_, and
- the largest gradients that one node of the graph takes and gives during the backward pass.

Both are counted on a few copies of one sample, where they are exactly linear. Gradients that wait in several branches
at once, and what a loss builds outside the graph, are more than that; so the peak of whole steps is measured as well,
at two batches large enough to outweigh the parameters, and the larger slope counts. The peak is what the allocator
reports on a GPU, and elsewhere the storages that live at once, as seen by the dispatcher (not the scratch space inside
one kernel).

References
----------
.. [1] https://docs.pytorch.org/docs/stable/autograd.html#saved-tensors-hooks
"""

from __future__ import annotations

import copy
import math
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eigenfolio.errors import ParameterError
from eigenfolio.training.group import Group
from eigenfolio.training.guards import tensors_of

__all__ = ["MemoryPlan", "default_cap", "is_out_of_memory", "plan_memory"]

GPU_CAP = 11 * 10**9  # bytes
CPU_SHARE = 0.5
_PROBES = (2, 4)  # copies of a sample; batch normalisation needs two
_MESSAGES = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


@dataclass(frozen=True)
class MemoryPlan:
    """What a step needs, and how its batch is split to stay under the cap. All sizes are bytes.

    Parameters
    ----------
    parameters_bytes : int
        Parameters of all members.
    fixed_bytes : int
        Needed whatever the batch, parameters included.
    bytes_per_sample : int
        Added by every sample, for all members together.
    cap_bytes : int
        What the step may take.
    batch_size : int
        Samples per optimiser step, as asked.
    microbatch : int
        Samples per forward and backward pass, at most.
    accumulate : int
        Passes per optimiser step.

    Examples
    --------
    >>> plan = MemoryPlan(4_000, 28_000, 2_000, 100_000, batch_size=64, microbatch=32, accumulate=2)
    >>> plan.peak_bytes
    92000
    >>> plan.describe()
    'batch 64 in 2 passes of 32: 92.0 kB (28.0 kB fixed, 2.0 kB per sample) of 100.0 kB'
    """

    parameters_bytes: int
    fixed_bytes: int
    bytes_per_sample: int
    cap_bytes: int
    batch_size: int
    microbatch: int
    accumulate: int

    @property
    def peak_bytes(self) -> int:
        """Need of one pass."""
        return self.fixed_bytes + self.microbatch * self.bytes_per_sample

    def describe(self) -> str:
        """One line for people."""
        passes = f" in {self.accumulate} passes of {self.microbatch}" if self.accumulate > 1 else ""
        return (
            f"batch {self.batch_size}{passes}: {_size(self.peak_bytes)} ({_size(self.fixed_bytes)} fixed, "
            f"{_size(self.bytes_per_sample)} per sample) of {_size(self.cap_bytes)}"
        )


def plan_memory(
    networks: nn.Module | Sequence[nn.Module] | Group,
    take: Callable[[Tensor], Any],
    loss: Callable[[Callable[..., Any], Any], Any],
    *,
    n_members: int,
    batch_size: int,
    cap_bytes: int | None = None,
    n_moments: int = 2,
    row: int = 0,
    device: torch.device | str = "cpu",
) -> MemoryPlan:
    """Measure a training step on copies of the networks, and split its batch so that it fits.

    Nothing that is given changes: neither the networks nor the state of the random generators.

    Parameters
    ----------
    networks : Module, sequence of Module, or Group
        One network that stands for all members, or all of them.
    take : callable
        Maps positions, LongTensor of shape (n,), to a batch on `device`. It is asked for copies of `row` only.
    loss : callable
        ``loss(call, batch)`` gives an object whose `total` has shape (n_members, n); ``call(*inputs)`` gives the
        outputs of the network with a leading axis of members.
    n_members : int
        Networks trained side by side.
    batch_size : int
        Samples per optimiser step.
    cap_bytes : int, optional
        What a step may take; by default `default_cap(device)`.
    n_moments : int, default=2
        Tensors that the optimiser keeps for each parameter: 2 for Adam and AdamW, 1 for SGD.
    row : int, default=0
        The sample that stands for all; where they differ, the plan is safe with the widest.
    device : torch.device or str, default="cpu"
        Where training takes place.

    Returns
    -------
    MemoryPlan
        `microbatch` is that of the fewest passes that fit, made as equal as they can be.

    Raises
    ------
    ParameterError
        If not even one sample fits, or an argument is out of range.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> x = torch.zeros(100, 50)
    >>> def loss(call, batch):
    ...     return SimpleNamespace(total=call(batch)[..., 0].square())  # (n_members, n)
    >>> network = nn.Sequential(nn.Linear(50, 200), nn.ReLU(), nn.Linear(200, 1))
    >>> plan_memory(network, lambda rows: x[rows], loss, n_members=1, batch_size=64, cap_bytes=450_000).microbatch
    32
    """
    device = torch.device(device)
    cap_bytes = default_cap(device) if cap_bytes is None else cap_bytes
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("cap_bytes", cap_bytes, 1),
        ("n_members", n_members, 1),
        ("n_moments", n_moments, 0),
        ("row", row, 0),
    ):
        if value < least:
            raise ParameterError(f"{name} must be at least {least}, got {value}")
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        group = _copied(networks, n_members, device)

        def batch_of(n: int) -> Any:
            return take(torch.full((n,), row, dtype=torch.long))

        steps = [_measure(group, batch_of, loss, n) for n in _PROBES]
        per_sample, constant = _line(steps)
        parameters = group.data.nbytes
        state = sum(tensor.nbytes for tensor in group.state().values())
        buffers = state - parameters
        # parameters, gradients, moments, rate and decay of each parameter; buffers; the best state
        fixed = (4 + n_moments) * parameters + buffers + state + constant
        room = (cap_bytes // 2 - fixed) // per_sample
        n = min(batch_size, room, max(16, math.ceil(4 * (parameters + constant) / per_sample)))
        if n >= 4:
            low, high = _peak(group, batch_of, loss, n // 2), _peak(group, batch_of, loss, n)
            per_sample = max(per_sample, math.ceil((high - low) / (n - n // 2)))
            fixed += max(0, high - per_sample * n - constant)
    if fixed + per_sample > cap_bytes:
        raise ParameterError(
            f"one sample needs {_size(fixed + per_sample)} ({_size(fixed)} fixed and {_size(per_sample)} for the "
            f"sample, {n_members} member(s)), the cap is {_size(cap_bytes)}; raise the cap, or train fewer members or "
            "a smaller network"
        )
    accumulate = math.ceil(batch_size / min(batch_size, (cap_bytes - fixed) // per_sample))
    microbatch = math.ceil(batch_size / accumulate)
    return MemoryPlan(
        parameters_bytes=parameters,
        fixed_bytes=fixed,
        bytes_per_sample=per_sample,
        cap_bytes=cap_bytes,
        batch_size=batch_size,
        microbatch=microbatch,
        accumulate=math.ceil(batch_size / microbatch),
    )


def default_cap(device: torch.device | str) -> int:
    """Bytes a training step may take unless told otherwise: 11 GB of a GPU (all of a smaller one), half of RAM.

    Examples
    --------
    >>> default_cap("cpu") == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    True
    """
    device = torch.device(device)
    if device.type == "cpu":
        return int(CPU_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if device.type == "cuda":
        return min(GPU_CAP, torch.cuda.get_device_properties(device).total_memory)
    return GPU_CAP


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or in RAM.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def _copied(networks: nn.Module | Sequence[nn.Module] | Group, n_members: int, device: torch.device) -> Group:
    """A group of copies in training mode, laid out as the loop lays it out."""
    if isinstance(networks, Group):
        given = list(networks.networks)
    else:
        given = [networks] if isinstance(networks, nn.Module) else list(networks)
    if len(given) not in (1, n_members):
        raise ParameterError(f"n_members={n_members} needs 1 network or {n_members}, got {len(given)}")
    group = Group([copy.deepcopy(given[i % len(given)]) for i in range(n_members)], device=device)
    group.train(True)
    return group


def _total(group: Group, batch: Any, loss: Callable[[Callable[..., Any], Any], Any], n: int) -> Tensor:
    total = loss(group.call, batch).total
    if tuple(total.shape) != (group.n_members, n):
        raise ParameterError(
            f"the total of a loss must have shape (n_members, n_samples) = {(group.n_members, n)}, "
            f"got {tuple(total.shape)}"
        )
    if not total.requires_grad:
        raise ParameterError("the loss does not depend on the parameters of the network; use the outputs of call(...)")
    return total.sum()


def _measure(
    group: Group, batch_of: Callable[[int], Any], loss: Callable[[Callable[..., Any], Any], Any], n: int
) -> tuple[int, list[int]]:
    """Bytes held for the backward pass of `n` samples, and bytes of the gradients around each node of the graph."""
    batch = batch_of(n)
    own = {_address(tensor) for tensor in _state(group)}
    held = {_address(tensor): tensor.untyped_storage().nbytes() for _, tensor in tensors_of(batch)}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided and _address(tensor) not in own:
            held[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # the tensor itself would hold its own graph

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = _total(group, batch, loss, n)
    nodes = _nodes(total)
    around = [0] * len(nodes)

    def watch(position: int) -> Callable[[Any, Any], None]:
        def note(given: Iterable[Tensor | None], taken: Iterable[Tensor | None]) -> None:
            found = [t for t in (*given, *taken) if t is not None and t.layout is torch.strided]
            around[position] = sum({_address(t): t.untyped_storage().nbytes() for t in found}.values())

        return note

    for position, node in enumerate(nodes):
        node.register_hook(watch(position))
    total.backward()
    return sum(held.values()), around


def _line(steps: Sequence[tuple[int, list[int]]]) -> tuple[int, int]:
    """Slope and constant of the held bytes and of the node whose gradients grow fastest."""
    (held_low, around_low), (held_high, around_high) = steps
    if len(around_low) != len(around_high):
        raise ParameterError(
            f"the loss builds another graph for {_PROBES[1]} copies of a sample than for {_PROBES[0]} "
            f"({len(around_high)} and {len(around_low)} nodes), so its memory cannot be planned"
        )
    span = _PROBES[1] - _PROBES[0]
    held = math.ceil((held_high - held_low) / span)
    slopes = [math.ceil((high - low) / span) for low, high in zip(around_low, around_high, strict=True)]
    constants = [low - slope * _PROBES[0] for low, slope in zip(around_low, slopes, strict=True)]
    constant = max(0, held_low - held * _PROBES[0]) + max(0, *constants)
    return max(1, held + max(slopes)), constant


def _nodes(total: Tensor) -> list[Any]:
    """Every node of the graph of `total`, in an order that depends on the graph alone."""
    found: dict[Any, None] = {}
    waiting: list[Any] = [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting.extend(parent for parent, _ in node.next_functions)
    return list(found)


def _peak(group: Group, batch_of: Callable[[int], Any], loss: Callable[[Callable[..., Any], Any], Any], n: int) -> int:
    """Bytes that one step of `n` samples adds at its peak."""
    device = group.data.device
    if device.type != "cuda":
        with _LiveStorages() as live:
            _total(group, batch_of(n), loss, n).backward()
        return live.peak
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _total(group, batch_of(n), loss, n).backward()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


class _LiveStorages(TorchDispatchMode):
    """Sum and peak of the storages that operations of this thread made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note((args, kwargs), made=False)  # what was there before does not count
        result = func(*args, **(kwargs or {}))
        self._note(result, made=True)
        return result

    def _note(self, values: Any, *, made: bool) -> None:
        for tensor in tree_leaves(values):
            if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
                continue
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes() if made else 0
            if address in self._known or (made and size == 0):
                continue

            def gone(_: Any, address: int = address, size: int = size) -> None:
                self.now -= size
                del self._known[address]

            self._known[address] = weakref.ref(storage, gone)
            self.now += size
            self.peak = max(self.peak, self.now)


def _state(group: Group) -> list[Tensor]:
    buffers = [buffer for network in group.networks for buffer in network.buffers()]
    return [group.data, group.grad, *group.buffers.values(), *buffers]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _size(n_bytes: int) -> str:
    """Decimal units, as disks and caps are sold."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes} bytes"
