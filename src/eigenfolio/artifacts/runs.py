"""The record of a run: a folder that says what was done, with what, and what came of it.

    run.json       identifier, kind, status, seed, git commit, library versions, data fingerprint, metrics, trials
    config.yaml    the resolved configuration
    ...            whatever the run adds (bundles, tracks, the report)

The folder is written whole or not at all, `latest` beside it points to the newest, and `load_run` refuses one that
does not carry its own hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.errors import ArtifactError

__all__ = ["RunRecord", "check_writable", "library_versions", "load_run", "run_identifier", "write_run"]

FORMAT = "eigenfolio-run-2"

COPIES = ("tensorboard", "mlflow")
"""Folders beside the runs that hold copies of their metrics, and are no runs."""

_LIBRARIES = (
    "eigenfolio", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "skfolio", "numba", "safetensors", "torch",
    "lightning-fabric", "plotly",
)  # fmt: skip


@dataclass(frozen=True)
class RunRecord:
    """What one run did.

    Parameters
    ----------
    identifier : str
        Unique name, see `run_identifier`.
    kind : str
        The job that was done: ``"run"``, ``"compare-covariance"`` or ``"train"``.
    started : str
        ISO date and time.
    command : str
        The command line that made it.
    seed : int
        The seed every random number came from.
    git_commit : str or None
        Commit of the code, with ``+changes`` when the tree was not clean; None outside a repository.
    versions : mapping of str to str
        Versions of Python and the libraries.
    data_fingerprint : str
        SHA-256 of the panel as used.
    config : mapping
        The resolved configuration.
    status : str
        ``"complete"``, or ``"complete with failures"`` when a recorded fold or decision failed.
    metrics : mapping
        Numbers that the report shows, JSON-able.
    trials : sequence of mapping
        One entry for every model that was trained or judged.
    budgets : sequence of mapping
        What every fold took, and all together, against what they may take.
    """

    identifier: str
    kind: str
    started: str
    command: str
    seed: int
    git_commit: str | None
    versions: Mapping[str, str]
    data_fingerprint: str
    config: Mapping[str, Any]
    status: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    trials: Sequence[Mapping[str, Any]] = ()
    budgets: Sequence[Mapping[str, Any]] = ()


def run_identifier(started: datetime, content: str) -> str:
    """Name a run ``exp_<date>_<time>_<six hex digits of what it is about>``.

    Examples
    --------
    >>> run_identifier(datetime(2024, 5, 1, 9, 30), "panel and options")
    'exp_20240501_093000_9fe014'
    """
    return f"exp_{started:%Y%m%d_%H%M%S}_{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a result, for those installed."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def check_writable(folder: str | Path) -> None:
    """Refuse a folder that could not be made or written to, before any work is spent on it.

    Raises
    ------
    ArtifactError
        If the nearest part of the path that exists is no folder, or none we may write to.
    """
    nearest = Path(folder).absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ArtifactError(f"{folder} cannot be written: {nearest} is a file; choose another folder")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".eigenfolio-", dir=nearest))
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be written: {error.strerror or error} in {nearest}; choose another folder"
        ) from error


def write_run(record: RunRecord, folder: str | Path, *, contents: Callable[[Path], None]) -> Path:
    """Write the record and whatever `contents` adds to a new folder, whole or not at all.

    Parameters
    ----------
    record : RunRecord
        What goes to ``run.json`` and ``config.yaml``.
    folder : path-like
        A folder that does not exist yet.
    contents : callable
        Called with the (temporary) folder; writes bundles, tables and the report into it.

    Raises
    ------
    ArtifactError
        If the folder exists or cannot be written.
    """
    entry = {"format": FORMAT, **asdict(record)}
    entry["sha256"] = _digest(entry)
    with whole_folder(folder) as partial:
        (partial / "config.yaml").write_text(yaml.safe_dump(dict(record.config), sort_keys=False))
        contents(partial)
        (partial / "run.json").write_text(json.dumps(entry, indent=2, allow_nan=False) + "\n")
    _point_to(Path(folder))
    return Path(folder)


def _point_to(folder: Path) -> None:
    """Let `latest`, beside the runs, name this one; replaced in one step."""
    pointer = folder.parent / f".latest.{folder.name}"
    pointer.symlink_to(folder.name)
    os.replace(pointer, folder.parent / "latest")


def load_run(folder: str | Path) -> RunRecord:
    """Read the record of a run.

    Raises
    ------
    ArtifactError
        If it is missing or partial, no record of ours, of an older or newer format, or was changed after it was
        written.
    """
    path = Path(folder) / "run.json"
    if Path(folder).name.endswith(".partial"):
        raise ArtifactError(
            f"{folder} is partial: its job was stopped, or is still writing; remove it if it was stopped"
        )
    try:
        entry = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder} is not a run: run.json is missing") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    _check_format(path, entry.pop("format", None) if isinstance(entry, dict) else None)
    try:
        whole = entry.pop("sha256", None) == _digest({"format": FORMAT, **entry})
    except ValueError:  # a number that is not finite, which no record of ours holds
        whole = False
    if not whole:
        raise ArtifactError(f"{path} was changed after it was written; restore it or repeat the run")
    try:
        return RunRecord(**entry)
    except TypeError as error:
        raise ArtifactError(f"{path} does not have the fields of a run record: {error}") from error


def _check_format(path: Path, found: object) -> None:
    if found == FORMAT:
        return
    ours = re.fullmatch(r"eigenfolio-run-(\d{1,9})", str(found))
    if ours is None:
        raise ArtifactError(f"{path} is not a run record of eigenfolio: its format is {found!r}, not {FORMAT!r}")
    age = "an older" if int(ours[1]) < int(FORMAT.rsplit("-", 1)[1]) else "a newer"
    raise ArtifactError(
        f"{path} has format {found!r}, written by {age} eigenfolio; this one reads {FORMAT!r}: use the one that "
        "wrote it, or do the run again from the config.yaml beside it"
    )


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True, allow_nan=False).encode()).hexdigest()
