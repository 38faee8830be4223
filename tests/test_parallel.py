"""Work over processes: ordered, and nobody outlives the process that asked for it."""

import os
import signal
import subprocess
import sys
import time

from threadpoolctl import threadpool_info, threadpool_limits

from eigenfolio.parallel import run_tasks

CODE = """
import sys, time
from pathlib import Path
from eigenfolio.parallel import run_tasks

def beat(folder, number):
    while True:
        (Path(folder) / str(number)).write_text(str(time.time()))
        time.sleep(0.05)

run_tasks(beat, [(sys.argv[1], 0), (sys.argv[1], 1)], n_jobs=2)
"""

SLOW_TO_ARRIVE = """
import sys
from pathlib import Path
from eigenfolio.parallel import run_tasks

class Slow:
    def __reduce__(self):
        return exec, (f"import pathlib, time; pathlib.Path({sys.argv[1]!r}, 'arriving').touch(); time.sleep(2)",)

def work(folder, slow):
    (Path(folder) / "worked").touch()

run_tasks(work, [(sys.argv[1], Slow())] * 2, n_jobs=2)
"""


def test_results_keep_the_order_of_the_tasks_for_any_number_of_workers():
    tasks = [(number, 3) for number in range(7)]
    assert run_tasks(pow, tasks, n_jobs=2) == run_tasks(pow, tasks) == [number**3 for number in range(7)]


def test_workers_end_when_their_parent_is_killed(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    time.sleep(1.0)
    last = [path.read_text() for path in tmp_path.iterdir()]
    assert len(last) == 2
    time.sleep(0.5)
    assert [path.read_text() for path in tmp_path.iterdir()] == last


def test_a_task_on_its_way_when_the_parent_is_killed_is_not_begun(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", SLOW_TO_ARRIVE, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "arriving").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    time.sleep(3.0)
    assert [path.name for path in tmp_path.iterdir()] == ["arriving"]


def blas_threads(_):
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_every_task_runs_its_linear_algebra_on_one_thread_and_the_limit_ends_with_it():
    with threadpool_limits(limits=2):
        before = blas_threads(0)
        found = run_tasks(blas_threads, [(0,), (1,)])
        assert blas_threads(0) == before
    assert found == [[1] * len(before)] * 2
