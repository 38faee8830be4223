"""Where training runs: one process on a CPU or GPU, or one process per device of this machine.

A process group meets in a temporary folder instead of a network port, so launches beside each other cannot collide.
Each process runs its linear algebra on one thread. Processes talk through gloo on CPUs and NCCL on GPUs. The
arithmetic (32, bf16, fp16) is an option of the loop, not of the device.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.multiprocessing
from threadpoolctl import threadpool_limits
from torch import distributed
from torch.multiprocessing.spawn import ProcessException

from eigenfolio.errors import EigenfolioError, ParameterError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["launch", "make_fabric"]

Accelerator = Literal["auto", "cpu", "cuda"]
Result = TypeVar("Result")

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
_PATIENCE = timedelta(minutes=30)  # for a process that others wait for, such as one that writes a checkpoint


def make_fabric(accelerator: Accelerator = "auto", devices: int = 1) -> Fabric:
    """Fabric of this process, for `eigenfolio.training.loop.fit`.

    Parameters
    ----------
    accelerator : {"auto", "cpu", "cuda"}
        "auto" takes a GPU where there is one.
    devices : int
        How many processes train together; more than one only inside a function that `launch` runs.

    Returns
    -------
    Fabric
        Launched: its device, rank and collectives are ready.

    Raises
    ------
    ParameterError
        If the accelerator is unknown or missing, more GPUs are asked for than there are, or several devices are
        asked for outside `launch`.

    Examples
    --------
    >>> fabric = make_fabric("cpu")
    >>> fabric.device, fabric.world_size, fabric.is_global_zero
    (device(type='cpu'), 1, True)
    """
    kind = _resolve(accelerator, devices)
    joined = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if devices not in (1, joined):
        raise ParameterError(
            f"devices={devices} needs a group of {devices} processes, got {joined}; run the training function through "
            f"launch(function, devices={devices})"
        )
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    class Joined(LightningEnvironment):
        """Ranks of a process group of this machine that exists already."""

        creates_processes_externally = True

        def local_rank(self) -> int:
            return distributed.get_rank() if devices > 1 else 0

        def node_rank(self) -> int:
            return 0

    strategy = DDPStrategy(cluster_environment=Joined(), process_group_backend=_BACKENDS[kind])
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        strategy=strategy if devices > 1 else "auto",
        plugins=None if devices > 1 else Joined(),
    )
    fabric.launch()
    return fabric


def launch(function: Callable[..., Result], *args: Any, devices: int, accelerator: Accelerator = "auto") -> Result:
    """Run ``function(fabric, *args)`` in one process per device and return what the first one returned.

    Parameters
    ----------
    function : callable
        A module-level function; it and `args` are pickled. Its `fabric` is that of its process.
    *args
        Passed to every process.
    devices : int
        Processes. One runs here, more are started afresh, so a script that calls this needs the usual
        ``if __name__ == "__main__"``.
    accelerator : {"auto", "cpu", "cuda"}
        As in `make_fabric`.

    Returns
    -------
    object
        Picklable result of rank 0.

    Raises
    ------
    ParameterError
        As in `make_fabric`, or if this torch cannot join processes on that accelerator.
    EigenfolioError
        What a process raised of ours; the others are ended. Any other failure comes as torch's
        ``ProcessRaisedException`` with the traceback of the process.

    Examples
    --------
    >>> launch(lambda fabric, power: fabric.world_size**power, 2, devices=1, accelerator="cpu")
    1
    """
    kind = _resolve(accelerator, devices)
    if devices == 1:
        with _one_thread():
            return function(make_fabric(kind), *args)
    backend = _BACKENDS[kind]
    if not (distributed.is_available() and distributed.is_backend_available(backend)):
        raise ParameterError(
            f"devices={devices} on {kind} needs {backend}, which this torch ({torch.__version__}) lacks; use devices=1"
        )
    with tempfile.TemporaryDirectory(prefix="eigenfolio-") as folder:
        answers = torch.multiprocessing.get_context("spawn").SimpleQueue()  # results stay in memory
        group = torch.multiprocessing.start_processes(
            _work,
            (answers, Path(folder), kind, devices, function, args),
            nprocs=devices,
            start_method="spawn",
            join=False,
        )
        found: list[tuple[str, Any]] = []
        try:
            while not group.join(timeout=0.05):
                found += _waiting(answers)
        except ProcessException as failure:
            for kind_of_answer, value in found + _waiting(answers):
                if kind_of_answer == "error":
                    raise value from failure
            raise
        found += _waiting(answers)
        return next(value for kind_of_answer, value in found if kind_of_answer == "result")


def _waiting(answers: Any) -> list[tuple[str, Any]]:
    """Answers that lie in the queue."""
    found = []
    while not answers.empty():
        kind, value = answers.get()
        found.append((kind, pickle.loads(value)))  # bytes of our own process group, never a file
    return found


def _work(
    rank: int,
    answers: Any,
    folder: Path,
    kind: Literal["cpu", "cuda"],
    devices: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """One process of a group; the parent empties the queue of answers while it waits."""
    with _one_thread():
        if kind == "cuda":
            torch.cuda.set_device(rank)
        distributed.init_process_group(
            _BACKENDS[kind],
            init_method=(folder / "meeting").as_uri(),
            rank=rank,
            world_size=devices,
            timeout=_PATIENCE,
            device_id=torch.device("cuda", rank) if kind == "cuda" else None,
        )
        try:
            result = function(make_fabric(kind, devices), *args)
        except EigenfolioError as error:
            answers.put(("error", pickle.dumps(error)))
            raise
        if rank == 0:
            answers.put(("result", pickle.dumps(result)))
        distributed.barrier()  # nobody leaves while another still waits for an answer
        distributed.destroy_process_group()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra of this process on one thread."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _resolve(accelerator: str, devices: int) -> Literal["cpu", "cuda"]:
    """The accelerator that is meant, if this machine has as many."""
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ParameterError(f"accelerator must be 'auto', 'cpu' or 'cuda', got {accelerator!r}")
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ParameterError(f"devices must be a whole number of at least 1, got {devices!r}")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "cpu" or (accelerator == "auto" and n_gpus == 0):
        return "cpu"
    if devices > n_gpus:
        raise ParameterError(
            f"devices={devices} on cuda, but this machine has {n_gpus} GPU{'' if n_gpus == 1 else 's'}; "
            f"lower devices or take accelerator='cpu'"
        )
    return "cuda"
