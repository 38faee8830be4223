"""Work spread over processes: same result for any number of workers, one BLAS thread in each.

A worker of this machine ends soon after the process that started it: were that one killed, a worker that went on would
still write files when the job is started again.

BLAS threads that spin against each other are the largest slowdown of all on a shared machine, so
every worker, and the single process when there is no pool, runs its linear algebra on one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import joblib
from threadpoolctl import ThreadpoolController

__all__ = ["run_tasks"]

Result = TypeVar("Result")


def _on_one_thread(function: Callable[..., Result], arguments: tuple[Any, ...], parent: int) -> Result:
    _do_not_outlive(parent)
    with _libraries(len(sys.modules)).limit(limits=1):
        return function(*arguments)


@lru_cache(maxsize=1)
def _libraries(n_modules: int) -> ThreadpoolController:
    """The linear algebra that is loaded; the search takes milliseconds, so it is made again after imports only."""
    return ThreadpoolController()


@lru_cache
def _do_not_outlive(parent: int) -> None:
    """End this process when `parent`, the one that started it, is gone; nothing where another one started it."""
    starter = multiprocessing.parent_process()
    if starter is None or starter.pid != parent:
        return
    if os.getppid() != parent:
        os._exit(1)  # it was killed while the task was on its way

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def run_tasks(
    function: Callable[..., Result],
    tasks: Iterable[tuple[Any, ...]],
    *,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> list[Result]:
    """Call `function(*task)` for every task and keep the order.

    Parameters
    ----------
    function : callable
        A module-level function (it is sent to worker processes when `n_jobs` is not 1).
    tasks : iterable of tuple
        One tuple of positional arguments per call.
    n_jobs : int
        Processes, as in joblib: 1 runs here, -1 uses every core.
    on_done : callable, optional
        Called with no argument after each finished task, in order (progress bars).

    Returns
    -------
    list
        Results in the order of `tasks`, whatever the number of workers.

    Examples
    --------
    >>> run_tasks(divmod, [(7, 2), (9, 4)])
    [(3, 1), (2, 1)]
    """
    calls: Sequence[tuple[Any, ...]] = list(tasks)
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator")
    results = []
    for result in parallel(joblib.delayed(_on_one_thread)(function, call, os.getpid()) for call in calls):
        results.append(result)
        if on_done is not None:
            on_done()
    return results
