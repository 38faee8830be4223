"""Where a job keeps its checkpoints while it works.

A hidden folder beside the runs, named for what is being trained: kind of job, options, data, code and libraries. A job
that was stopped at any moment finds it again when the same command is given, and goes on from there to the same bits.
The folder goes when the run is written; one job at a time works in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eigenfolio.artifacts import library_versions
from eigenfolio.errors import ArtifactError

__all__ = ["INERT", "work_folder"]

INERT = ("budgets", "tracking")
"""Options that change no result; a job goes on from its checkpoints although they are others now."""

_LOCK = "lock"


@contextmanager
def work_folder(
    out: Path, kind: str, settings: Mapping[str, Any], fingerprint: str, *, code: str | None
) -> Iterator[Path]:
    """Folder of the checkpoints of one job; it is removed with the block, and stays when the block is left by an error.

    Parameters
    ----------
    out : Path
        Folder of the runs.
    kind : str
        Kind of the job.
    settings : mapping
        Resolved options, JSON-able.
    fingerprint : str
        Of the data.
    code : str or None
        Commit of the code in use.

    Raises
    ------
    ArtifactError
        If it cannot be made, or another process is at the same job.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     with work_folder(Path(out), "train", {"seed": 1}, "f" * 64, code=None) as work:
    ...         seen = work.is_dir()
    ...     seen, work.exists()
    (True, False)
    """
    folder = out / f".training-{_digest(kind, settings, fingerprint, code)}"
    made_out = not out.exists()
    descriptor = _lock(folder)
    try:
        try:
            yield folder.absolute()  # for workers that were started in another working directory
        except BaseException:
            if [path.name for path in folder.iterdir()] == [_LOCK]:  # nothing to go on from
                shutil.rmtree(folder, ignore_errors=True)
                if made_out:
                    with suppress(OSError):
                        out.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Make the folder and hold its lock; the system takes it back when we are killed."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ArtifactError(
                f"{folder} cannot be written: {error.strerror or error}; choose another folder"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ArtifactError(
                f"another process is at the same job in {folder.parent}; wait for it, or give another --out"
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / _LOCK)):
                return descriptor
        os.close(descriptor)  # whoever held it was done, and removed the folder, between our two steps


def _digest(kind: str, settings: Mapping[str, Any], fingerprint: str, code: str | None) -> str:
    kept = {name: value for name, value in settings.items() if name not in INERT}
    told = json.dumps([kind, kept, fingerprint, code, library_versions()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
