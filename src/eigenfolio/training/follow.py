"""What a training has logged so far, read from its checkpoint folder while other processes still write to it.

    <folder>/<bundle>/metrics.jsonl      one line per member and epoch

Whoever trains knows nothing of whoever watches: the lines are there for resuming anyway, so watching changes no bit of
what is trained, for any number of workers.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eigenfolio.training.loop import EpochRecord

__all__ = ["EpochEvent", "Follower", "Listener", "epoch_seconds", "followed"]

_METRICS = "metrics.jsonl"
_EVERY = 0.5  # seconds between two looks


@dataclass(frozen=True)
class EpochEvent:
    """One epoch of one member, as it was logged.

    Parameters
    ----------
    bundle : str
        Last date the bundle sees.
    member : int
        Number of the network within the bundle.
    record : EpochRecord
    """

    bundle: str
    member: int
    record: EpochRecord


Listener = Callable[[EpochEvent], None]
"""Is told of every epoch once."""


class Follower:
    """Reads the metrics below a folder; every epoch of every member is told once.

    Parameters
    ----------
    folder : Path
        Where the checkpoints of a training are, or will be.

    Examples
    --------
    >>> Follower(Path("nowhere")).new()
    []
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._looks: dict[Path, tuple[int, int, int]] = {}
        self._told: set[tuple[str, int, int]] = set()

    def new(self) -> list[EpochEvent]:
        """Epochs that were logged since the last call, in the order of bundles and members."""
        events = []
        for path in sorted(self.folder.glob(f"*/{_METRICS}")):
            with suppress(FileNotFoundError):  # taken away in between
                found = path.stat()
                look = (found.st_ino, found.st_size, found.st_mtime_ns)
                if self._looks.get(path) != look:
                    events += self._read(path)
                    self._looks[path] = look
        return events

    def _read(self, path: Path) -> list[EpochEvent]:
        """The whole file again: a run that resumes drops its last lines and writes them anew."""
        bundle, events = path.parent.name, []
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # still being written
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut short by a kill; whoever resumes drops it
            member, record = int(entry["member"]), _record(entry)
            key = (bundle, member, record.epoch)
            if key not in self._told:
                self._told.add(key)
                events.append(EpochEvent(bundle, member, record))
        return events


@contextmanager
def followed(folder: Path, listeners: Sequence[Listener], *, every: float = _EVERY) -> Iterator[None]:
    """Tell listeners of every epoch that is logged below `folder` while the block runs, and of the last ones after it.

    Parameters
    ----------
    folder : Path
        As for `Follower`.
    listeners : sequence of callable
        Called from one thread of this process; without any, nothing is started.
    every : float
        Seconds between two looks.
    """
    if not listeners:
        yield
        return
    follower, done = Follower(folder), threading.Event()

    def tell() -> None:
        for event in follower.new():
            for listener in listeners:
                listener(event)

    def watch() -> None:
        while not done.wait(every):
            tell()

    thread = threading.Thread(target=watch, name="epochs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        tell()


def epoch_seconds(folder: Path) -> dict[str, float]:
    """Seconds that the logged epochs of every bundle took, those of killed processes included.

    The members of a bundle train together and share the time of their epochs.
    """
    times: dict[str, dict[int, float]] = {}
    for event in Follower(folder).new():
        times.setdefault(event.bundle, {})[event.record.epoch] = event.record.seconds
    return {bundle: math.fsum(of.values()) for bundle, of in times.items()}


def _record(entry: dict[str, Any]) -> EpochRecord:
    """The record of a line; JSON has null where a loss was not finite."""
    known = {field.name: _number(entry[field.name]) for field in fields(EpochRecord)}
    return EpochRecord(**known)


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(item) for name, item in value.items()}
    return math.nan if value is None else value
