"""What commands have in common: the world outside, progress on a terminal, and tables."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigenfolio.data.places import check_panel_path
from eigenfolio.errors import ArtifactError, ParameterError

if TYPE_CHECKING:
    from eigenfolio.pipeline import PretrainOptions, RunContext, RunOptions, TrainOptions
    from eigenfolio.training.live import LiveTraining

__all__ = [
    "check_new_folder",
    "data_keys",
    "git_commit",
    "live_training",
    "n_processes",
    "progress_bars",
    "run_context",
    "tracking_keys",
]


def data_keys(path: str | None, kind: str | None) -> dict[str, str] | None:
    """Keys of `data` that were given as options; None where none was.

    Raises
    ------
    DataError
        If there is nothing at the path: told before anything heavy is imported.
    """
    if path is not None:
        check_panel_path(path)
    given = {"path": path, "kind": kind}
    return {name: value for name, value in given.items() if value is not None} or None


def tracking_keys(tensorboard: bool, mlflow: bool) -> dict[str, bool] | None:
    """Keys of `tracking` that were given as options; None where none was."""
    given = {"tensorboard": tensorboard, "mlflow": mlflow}
    return {name: True for name, value in given.items() if value} or None


def run_context(out: Path, jobs: int, *, on_epoch: LiveTraining | None = None) -> RunContext:
    """What a job may know of the world outside: when, where, by which command, of which commit."""
    from eigenfolio.pipeline.outcome import RunContext

    return RunContext(
        folder=out,
        started=datetime.now(),
        command=shlex.join(["eigenfolio", *sys.argv[1:]]),
        git_commit=git_commit(),
        n_jobs=n_processes(jobs),
        on_epoch=on_epoch,
    )


def n_processes(jobs: int) -> int:
    """Processes that `--jobs` asks for.

    Raises
    ------
    ParameterError
    """
    if jobs != -1 and jobs < 1:
        raise ParameterError(f"--jobs must be -1 (every core) or at least 1, got {jobs}")
    return os.cpu_count() or 1 if jobs == -1 else jobs


def live_training(settings: RunOptions | TrainOptions | PretrainOptions, *, quiet: bool) -> LiveTraining | None:
    """Newest epoch of every bundle in training, for a terminal; None elsewhere."""
    if quiet or not sys.stderr.isatty():
        return None
    from eigenfolio.pipeline import PretrainOptions
    from eigenfolio.training.live import LiveTraining

    training = settings.chosen if isinstance(settings, PretrainOptions) else settings.training
    return LiveTraining(training.n_members, training.loop)


def git_commit() -> str | None:
    """Commit of the code in use, marked when the tree is not clean; None outside a repository."""
    here = Path(__file__).parent

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if not ask("ls-files", "--error-unmatch", str(Path(__file__))):
        return None  # installed elsewhere: the repository around it, if any, is not ours
    commit = ask("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and ask("status", "--porcelain") else commit


@contextmanager
def progress_bars(*, quiet: bool, below: LiveTraining | None = None) -> Iterator[Callable[[str, int], Any]]:
    """Progress bars with an estimate on the terminal, one per stage, and what goes below; silent for machine output."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining(),
    )

    class Bars(Progress):
        def get_renderables(self) -> Iterator[Any]:
            yield from super().get_renderables()
            if below is not None and below.rows:
                yield below

    with Bars(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as bars:

        @contextmanager
        def stage(name: str, total: int) -> Iterator[Callable[[], None]]:
            task = bars.add_task(name, total=total)
            yield lambda: bars.advance(task)
            bars.update(task, completed=total)

        yield stage


def check_new_folder(out: Path | None) -> None:
    """Refuse a place that is taken or cannot be written, before any work is done; None is no place at all.

    Raises
    ------
    ArtifactError
    """
    if out is None:
        return
    from eigenfolio.artifacts.runs import check_writable

    if out.exists():
        raise ArtifactError(f"{out} exists already; choose another place or remove it")
    check_writable(out)
