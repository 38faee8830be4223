"""Checkpoints of a training run: what a killed run needs to go on as if nothing had happened.

A store is a folder:

    last.safetensors         the newest checkpoint, from which a run resumes
    best.safetensors         the checkpoint that was best when it was saved
    epoch_0005.safetensors   every `keep_every` epochs
    metrics.jsonl            one JSON line per logged record

A checkpoint is one safetensors file: arrays, and in the metadata of its header the format, the identity of the run,
a JSON state, epoch, step, and a SHA-256 over all of these and the arrays. It is written under a temporary name in the
same folder, synced, and renamed, so that a kill at any moment leaves the one before it whole. `last` is renamed
after its siblings, so nothing a resumed run will not write again can be missing. One process writes to a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from eigenfolio.errors import ArtifactError, ParameterError

__all__ = ["Checkpoint", "CheckpointStore", "load_checkpoint"]

FORMAT = "eigenfolio-checkpoint-1"
_FAMILY = "eigenfolio-checkpoint-"
_LAST = "last.safetensors"
_BEST = "best.safetensors"
_METRICS = "metrics.jsonl"
_TEMPORARY = ".checkpoint.partial"
_METADATA = "checkpoint"  # one entry: safetensors writes several in no fixed order
_LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format
_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What was saved, with the same bits.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Arrays by name; their own copies, writeable.
    state : mapping
        JSON state; a tuple that was saved is a list here.
    epoch : int
        Epochs completed.
    step : int
        Optimiser steps taken.
    """

    tensors: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]
    epoch: int
    step: int


class CheckpointStore:
    """The checkpoints and the metrics of one run, in one folder.

    Parameters
    ----------
    folder : path-like
        Where they live; made when the first one is written. What a killed writer left half done is removed.
    identity : mapping
        What a checkpoint must have in common with the run that resumes from it (options, seed, data fingerprint,
        shapes), JSON-able and finite.
    keep_every : int, default=0
        Keep the checkpoint at the end of every epoch that this divides; 0 keeps none beside the last and the best.

    Raises
    ------
    ParameterError
        If `keep_every` is negative.
    ArtifactError
        If `identity` is not JSON.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = CheckpointStore(folder, identity={"seed": 1})
    ...     store.load_last() is None
    ...     store.save({"w": np.ones(2)}, {"best_loss": 0.5}, epoch=1, step=10, best=True, boundary=True)
    ...     store.load_last().state
    True
    {'best_loss': 0.5}
    """

    def __init__(self, folder: str | Path, *, identity: Mapping[str, Any], keep_every: int = 0) -> None:
        if keep_every < 0:
            raise ParameterError(f"keep_every must be 0 (keep none) or a number of epochs, got {keep_every}")
        self.folder = Path(folder)
        self.identity = json.loads(_json(dict(identity), "identity", finite=True))
        self.keep_every = keep_every
        try:
            (self.folder / _TEMPORARY).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def save(
        self,
        tensors: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        *,
        epoch: int,
        step: int,
        best: bool,
        boundary: bool,
    ) -> None:
        """Write a checkpoint, whole or not at all.

        Parameters
        ----------
        tensors : mapping of str to ndarray
            Arrays of any shape, 0-d included; boolean, integer, float16 to float64, or complex64.
        state : mapping
            JSON-able, with text keys. Floats keep their bits, NaN and infinity too.
        epoch : int
            Epochs completed (in the middle of epoch 5 it is 4), the one that `rewind` takes.
        step : int
            Optimiser steps taken.
        best : bool
            Write it as the best one, too.
        boundary : bool
            Whether an epoch just ended; only then is it kept by `keep_every`.

        Raises
        ------
        ArtifactError
            If an array or the state cannot be stored, or the folder cannot be written; the checkpoints of before
            are untouched.
        """
        content = _serialise(tensors, state, identity=self.identity, epoch=epoch, step=step)
        names = [_BEST] if best else []
        if boundary and self.keep_every and epoch % self.keep_every == 0:
            names.append(f"epoch_{epoch:04d}.safetensors")
        for name in [*names, _LAST]:  # last is last: a kill in between resumes before the others and writes them again
            self._replace(name, content)

    def load_last(self) -> Checkpoint | None:
        """Read the newest checkpoint; None where there is none.

        Raises
        ------
        ArtifactError
            If it is truncated, changed, of another format, or of another run.
        """
        return self._load(_LAST)

    def load_best(self) -> Checkpoint | None:
        """Read the best checkpoint; None where there is none. Errors as in `load_last`."""
        return self._load(_BEST)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Log the records of an epoch before saving its checkpoint: a run that is killed in between repeats the
        epoch and `rewind` drops what it will log again, whereas a line not yet written would stay missing.

        Parameters
        ----------
        record : mapping
            JSON-able, with an integer ``"epoch"``. A number that is not finite is written as null, for JSON has none.

        Raises
        ------
        ArtifactError
            If it is not JSON, has no epoch, or cannot be written.
        """
        if type(record.get("epoch")) is not int:
            raise ArtifactError(f"a logged record needs an integer 'epoch', got {record.get('epoch')!r}")
        line = _json(_finite(dict(record)), "record", finite=True) + "\n"
        try:
            self._make_folder()
            with (self.folder / _METRICS).open("a", encoding="utf-8", buffering=1) as file:
                file.write(line)
        except OSError as error:
            raise _unwritable(self.folder / _METRICS, error) from error

    def rewind(self, epoch: int) -> None:
        """Drop the logged records after `epoch`, and a last line that a kill cut short.

        Parameters
        ----------
        epoch : int
            That of the checkpoint resumed from; -1 where there is none.

        Raises
        ------
        ArtifactError
            If a line is not a record, or the file cannot be rewritten.
        """
        path = self.folder / _METRICS
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
        lines = content.split(b"\n")[:-1]  # what follows the last line end is empty or cut short
        kept = b"".join(line + b"\n" for number, line in enumerate(lines, 1) if _epoch(line, path, number) <= epoch)
        if kept != content:
            self._replace(_METRICS, kept)

    def clear(self) -> None:
        """Remove the checkpoints and the metrics; the folder and what else is in it stay.

        Raises
        ------
        ArtifactError
            If one of them cannot be removed.
        """
        if not self.folder.is_dir():
            return
        try:
            for name in (_LAST, _BEST, _METRICS, _TEMPORARY):
                (self.folder / name).unlink(missing_ok=True)
            for path in self.folder.glob("epoch_*.safetensors"):
                path.unlink()
            _sync_folder(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _load(self, name: str) -> Checkpoint | None:
        path = self.folder / name
        return load_checkpoint(path, identity=self.identity) if path.exists() else None

    def _replace(self, name: str, content: bytes) -> None:
        temporary = self.folder / _TEMPORARY
        try:
            self._make_folder()
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
            _sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):  # the error that led here says more
                temporary.unlink(missing_ok=True)
            raise _unwritable(self.folder / name, error) from error

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)


def load_checkpoint(path: str | Path, *, identity: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read one checkpoint file and verify that it is whole, unchanged and of the run it is wanted for.

    Parameters
    ----------
    path : path-like
        A file that `CheckpointStore.save` wrote.
    identity : mapping, optional
        Identity it must have; None takes the checkpoint of any run.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ArtifactError
        If it is missing, not a checkpoint, truncated, changed, of another format, or of another run.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    record = _read_record(content, path)
    try:
        tensors = load_tensors(content)
        epoch, step, saved_identity, state = (record[key] for key in ("epoch", "step", "identity", "state"))
    except (SafetensorError, KeyError) as error:
        raise _changed(path) from error
    if record.get("sha256") != _digest(tensors, record):
        raise _changed(path)
    if identity is not None:
        _check_identity(saved_identity, json.loads(_json(dict(identity), "identity", finite=True)), path)
    return Checkpoint(tensors, state, epoch, step)


def _serialise(
    tensors: Mapping[str, NDArray[Any]], state: Mapping[str, Any], *, identity: Mapping[str, Any], epoch: int, step: int
) -> bytes:
    arrays = {}
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")  # np.ascontiguousarray would give a 0-d array an axis
        if array.dtype.name not in _DTYPES or not array.dtype.isnative or name == "__metadata__":
            raise ArtifactError(
                f"tensor {name!r} of dtype {array.dtype.str} cannot be stored; a checkpoint holds native arrays of "
                f"{', '.join(_DTYPES)}, under any name but '__metadata__'"
            )
        arrays[name] = array
    _check_json(dict(state), "state", finite=False)
    record = {"format": FORMAT, "epoch": int(epoch), "step": int(step), "identity": identity, "state": dict(state)}
    record["sha256"] = _digest(arrays, record)
    return save_tensors(arrays, metadata={_METADATA: json.dumps(record)})


def _digest(tensors: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> str:
    """SHA-256 over the record and the names, types, shapes and bytes of the arrays, in the order of the names."""
    described = {key: value for key, value in record.items() if key != "sha256"}
    shapes = [[name, tensors[name].dtype.name, list(tensors[name].shape)] for name in sorted(tensors)]
    digest = hashlib.sha256(json.dumps([described, shapes], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read_record(content: bytes, path: Path) -> dict[str, Any]:
    """What the header of the file says, after the checks that tell a truncated file from a foreign one.

    A safetensors file opens with the length of the header (8 bytes, little endian) and the header, which is JSON.
    """
    length = int.from_bytes(content[:8], "little")
    start = 8 + length
    if len(content) < start and length <= _LONGEST_HEADER and content[8:9] in (b"", b"{"):
        raise ArtifactError(f"{path} is truncated: {len(content)} bytes do not hold its header; {_WAY_OUT}")
    try:
        header = json.loads(content[8:start])
        record = json.loads(header.pop("__metadata__")[_METADATA])
        found = str(record["format"])
        size = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a checkpoint (a safetensors file of format {FORMAT!r})") from error
    if found != FORMAT:
        if not found.startswith(_FAMILY):
            raise ArtifactError(f"{path} is not a checkpoint: its format is {found!r}, not {FORMAT!r}")
        raise ArtifactError(
            f"{path} has format {found!r}, this version reads {FORMAT!r}; finish the run with the version that "
            "began it, or clear the store and train again"
        )
    if len(content) < size:
        raise ArtifactError(f"{path} is truncated: it has {len(content)} of {size} bytes; {_WAY_OUT}")
    return record


def _check_identity(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    theirs, ours = dict(_leaves(saved)), dict(_leaves(wanted))
    different = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if different:
        shown = "; ".join(
            f"{key} is {theirs.get(key, 'absent')} in the checkpoint and {ours.get(key, 'absent')} here"
            for key in different[:4]
        )
        more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
        raise ArtifactError(f"{path} belongs to another run: {shown}{more}; choose another folder or clear the store")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Entries of nested mappings by dotted key, as JSON text (so that 1, 1.0 and true differ)."""
    if isinstance(value, dict) and (value or not key):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    else:
        yield key, json.dumps(value, sort_keys=True)


def _json(value: Any, name: str, *, finite: bool) -> str:
    """JSON text that reads back as `value`; other types and keys are refused, not turned into text."""
    _check_json(value, name, finite=finite)
    return json.dumps(value)


def _check_json(value: Any, where: str, *, finite: bool) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArtifactError(f"{where} has the key {key!r}; JSON needs text keys, make it {str(key)!r}")
            _check_json(item, f"{where}.{key}", finite=finite)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]", finite=finite)
    elif isinstance(value, float):
        if finite and not math.isfinite(value):
            raise ArtifactError(f"{where} is {value}; it must be finite")
    elif value is not None and not isinstance(value, (str, int)):
        raise ArtifactError(f"{where} is a {type(value).__name__}, which is not JSON; arrays belong to the tensors")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _epoch(line: bytes, path: Path, number: int) -> int:
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}, line {number}, is not a logged record; clear the store or mend the line"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, where folders can be synced."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_WAY_OUT = "restore it, or clear the store and train again"


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(f"{path} was changed after it was written; {_WAY_OUT}")


def _unwritable(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(f"{path} cannot be written ({error.strerror or error}); free space, or choose another folder")
