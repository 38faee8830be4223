"""Recorded runs: found by name, listed as a registry, shown and compared; `reproduce` does them again.

The registry has a line per run. Its model type is what the run trained (``shrinkage/dense``), or its kind where it
trained nothing. Its version counts, within a model type and in order of start, the distinct triples of kind, data
fingerprint and settings: v1 is the first thing that was tried, and doing the same thing again keeps the version. The
settings leave out ``data.path``, since the fingerprint says what the data are, and what changes no result (budgets,
tracking).

Reading records needs no model: neither torch nor skfolio is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import RunRecord, load_bundle, load_run
from eigenfolio.artifacts.runs import COPIES
from eigenfolio.errors import ArtifactError
from eigenfolio.pipeline.names import CHAMPION
from eigenfolio.pipeline.outcome import flatten
from eigenfolio.pipeline.work import INERT

__all__ = [
    "Registry",
    "RunComparison",
    "RunEntry",
    "bundle_folders",
    "compare_runs",
    "differing",
    "find_run",
    "list_runs",
    "open_run",
    "recorded_bundles",
    "reproductions",
    "some",
]

TRAINED = "trained"
"""Stands for a book where bundles are compared."""

LOG = "reproductions.jsonl"
"""File of a run with a line for each of its repetitions."""


@dataclass(frozen=True)
class RunEntry:
    """One line of the registry.

    Parameters
    ----------
    folder : Path
        Where the run is; its name is the identifier it is asked for by.
    record : RunRecord
    model : str
        What was trained, e.g. ``"shrinkage/dense"``; the kind of run where nothing was.
    version : int
        1 for the first kind, data and settings tried for this model type, 2 for the second, ...
    """

    folder: Path
    record: RunRecord
    model: str
    version: int

    @property
    def headline(self) -> str:
        """The one figure to remember the run by."""
        return _headline(self.record)

    @property
    def data(self) -> str:
        """The data as the configuration names them."""
        return str(_data_options(self.record).get("path") or "-")

    def to_dict(self) -> dict[str, Any]:
        """The line as plain JSON-able values."""
        record = self.record
        return {
            "id": self.folder.name,
            "folder": str(self.folder),
            "kind": record.kind,
            "model": self.model,
            "version": self.version,
            "started": record.started,
            "command": record.command,
            "status": record.status,
            "seed": record.seed,
            "git_commit": record.git_commit,
            "data": self.data,
            "data_fingerprint": record.data_fingerprint,
            "headline": self.headline,
        }


@dataclass(frozen=True)
class Registry:
    """The runs of a folder, newest first, and what could not be read as one.

    Parameters
    ----------
    entries : tuple of RunEntry
    unreadable : tuple of str
        One sentence for every folder that holds no whole record of this format.
    """

    entries: tuple[RunEntry, ...]
    unreadable: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {"runs": [entry.to_dict() for entry in self.entries], "unreadable": list(self.unreadable)}


@dataclass(frozen=True)
class RunComparison:
    """What differs between two runs.

    Parameters
    ----------
    first, second : RunEntry
    facts, settings, versions : mapping of str to (object, object)
        What differs: kind, status, commit and data; configuration by dotted key; library versions. None where one
        side does not have it.
    metrics : DataFrame
        One row per model, book and metric that both runs have, with columns `first`, `second` and `difference`
        (second minus first). A bundle stands there by its model and date, with its mean `validation_loss`, under the
        book "trained".
    only_first, only_second : tuple of str
        ``"model | book"`` that only one run judged or trained.
    """

    first: RunEntry
    second: RunEntry
    facts: Mapping[str, tuple[Any, Any]]
    settings: Mapping[str, tuple[Any, Any]]
    versions: Mapping[str, tuple[Any, Any]]
    metrics: pd.DataFrame
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""

        def pairs(unequal: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
            return {name: {"first": a, "second": b} for name, (a, b) in unequal.items()}

        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "facts": pairs(self.facts),
            "settings": pairs(self.settings),
            "versions": pairs(self.versions),
            "metrics": self.metrics.to_dict("records"),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }


def list_runs(out: str | Path) -> Registry:
    """Read the record of every run inside a folder.

    Raises
    ------
    ArtifactError
        If the folder is not there.
    """
    found, unreadable = _read_records(_folders(Path(out), partial=True))
    return Registry(tuple(reversed(_numbered(found))), tuple(unreadable))


def find_run(name: str, out: str | Path) -> Path:
    """Turn what a user calls a run into its folder.

    Parameters
    ----------
    name : str
        An identifier, the start of only one, ``"latest"``, or the path of a folder.
    out : path-like
        Folder of the runs.

    Returns
    -------
    Path
        Absolute, with links followed.

    Raises
    ------
    ArtifactError
        If no run, or more than one, is called so.
    """
    out = Path(out)
    if name == "latest":
        return _latest(out)
    if len(Path(name).parts) > 1:
        if not Path(name).is_dir():
            raise ArtifactError(f"there is no folder {name}; give the identifier or the folder of a run")
        return Path(name).resolve()
    names = [folder.name for folder in _folders(out)] if out.is_dir() else []
    matches = [name] if name in names else [known for known in names if name and known.startswith(name)]
    if len(matches) > 1:
        raise ArtifactError(f"{name!r} is the start of {len(matches)} runs: {some(matches)}; give more of it")
    if matches:
        return (out / matches[0]).resolve()
    if name and Path(name).is_dir():
        return Path(name).resolve()
    known = f"it holds {some(names)}" if names else "it holds none"
    raise ArtifactError(f"there is no run {name!r} in {out}; {known}")


def open_run(folder: str | Path) -> RunEntry:
    """Read one run and its place in the registry of the folder it is in.

    Raises
    ------
    ArtifactError
        If it holds no whole record of this format.
    """
    folder = Path(folder).resolve()
    record = load_run(folder)
    beside, _ = _read_records(_folders(folder.parent))
    return next(entry for entry in _numbered({**beside, folder: record}) if entry.folder == folder)


def recorded_bundles(folder: str | Path) -> list[dict[str, str]]:
    """Describe every bundle of a run by family, network and date, and say whether it is whole.

    Returns
    -------
    list of dict
        Keys `family`, `network`, `trained_through`, `digest` (empty where unreadable) and `status` (``"whole"``, or
        what is wrong).
    """
    rows = []
    for path in bundle_folders(Path(folder)):
        family, network, date = path.parts[-3:]
        row = {"family": family, "network": network, "trained_through": date}
        try:
            rows.append({**row, "digest": load_bundle(path).digest, "status": "whole"})
        except ArtifactError as error:
            rows.append({**row, "digest": "", "status": str(error)})
    return rows


def reproductions(folder: str | Path) -> list[dict[str, Any]]:
    """Read the log of the repetitions of a run, oldest first.

    Raises
    ------
    ArtifactError
        If a line of the log is not JSON.
    """
    path = Path(folder) / LOG
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ArtifactError(f"{path} cannot be read at line {number}: {error}; remove the line") from error
    return entries


def compare_runs(first: RunEntry, second: RunEntry) -> RunComparison:
    """Say in what two runs differ: what they were told, what they used, what came of it."""
    a, b = (_performance(entry.record) | _losses(entry.record) for entry in (first, second))
    rows = [
        {"model": model, "book": book, "metric": metric, "first": x, "second": b[model, book][metric]}
        for (model, book), metrics in a.items()
        if (model, book) in b
        for metric, x in metrics.items()
        if metric in b[model, book]
    ]
    metrics = pd.DataFrame(rows, columns=["model", "book", "metric", "first", "second"])
    metrics["difference"] = metrics["second"] - metrics["first"]
    return RunComparison(
        first,
        second,
        facts=differing(_facts(first), _facts(second)),
        settings=differing(flatten(first.record.config), flatten(second.record.config)),
        versions=differing(first.record.versions, second.record.versions),
        metrics=metrics,
        only_first=tuple(" | ".join(key) for key in a if key not in b),
        only_second=tuple(" | ".join(key) for key in b if key not in a),
    )


def _folders(out: Path, *, partial: bool = False) -> list[Path]:
    """Folders that may be runs, by name; with those that a stopped job left behind if `partial`."""
    try:
        inside = sorted(out.iterdir())
    except OSError as error:
        raise ArtifactError(f"{out} cannot be read: {error.strerror or error}; name the folder of the runs") from error
    return [
        path
        for path in inside
        if path.is_dir()
        and path.name != "latest"
        and not path.name.startswith("validation_")  # rehearsals are no runs
        and path.name not in COPIES
        and (path.name[0] != "." or (partial and path.suffix == ".partial"))
    ]


def _read_records(folders: list[Path]) -> tuple[dict[Path, RunRecord], list[str]]:
    found, unreadable = {}, []
    for folder in folders:
        try:
            found[folder] = load_run(folder)
        except ArtifactError as error:
            unreadable.append(str(error))
    return found, unreadable


def _numbered(found: Mapping[Path, RunRecord]) -> list[RunEntry]:
    """Runs in order of start, each with its model type and version."""
    versions: dict[str, dict[str, int]] = {}  # by model type: kind, data and settings -> number
    entries = []
    for folder, record in sorted(found.items(), key=lambda item: (item[1].started, item[0].name)):
        model = _model_type(record)
        numbers = versions.setdefault(model, {})
        version = numbers.setdefault(_what_was_done(record), len(numbers) + 1)
        entries.append(RunEntry(folder, record, model, version))
    return entries


def _latest(out: Path) -> Path:
    pointer = out / "latest"
    if pointer.is_dir():
        return pointer.resolve()
    if pointer.is_symlink():
        raise ArtifactError(f"{pointer} points to {pointer.readlink()}, which is gone; give an identifier")
    raise ArtifactError(f"there is no run 'latest' in {out}; give an identifier or the folder of the runs")


def bundle_folders(folder: Path) -> list[Path]:
    """Folders of the bundles of a run, in order of name."""
    return sorted(path.parent for path in folder.glob("bundles/*/*/*/manifest.json"))


def _model_type(record: RunRecord) -> str:
    trained = dict.fromkeys(str(trial["model"]) for trial in record.trials if trial.get("kind") == "training")
    if len(trained) > 3:  # a sweep: its family says enough
        trained = dict.fromkeys(name.split("/")[0] for name in trained)
    return ", ".join(trained) or record.kind


def _what_was_done(record: RunRecord) -> str:
    data = {name: value for name, value in _data_options(record).items() if name != "path"}
    told = {name: value for name, value in record.config.items() if name not in INERT}
    return json.dumps([record.kind, record.data_fingerprint, {**told, "data": data}], sort_keys=True)


def _data_options(record: RunRecord) -> Mapping[str, Any]:
    options = record.config.get("data")
    return options if isinstance(options, Mapping) else {}


def _headline(record: RunRecord) -> str:
    """What was selected, the long-only volatility against the champion's, the calmest model, or the training loss."""
    if selection := record.metrics.get("selection"):
        return f"selected {selection['winner']}" if selection["winner"] else "nothing was selected"
    compared = [row for row in record.metrics.get("comparison", []) if row["book"].startswith("long-only")]
    against = next(
        (row for row in compared if row["rival"] == CHAMPION and not row["reference_picked_afterwards"]), None
    )
    if against is not None and against["window_mean"] is not None:
        return f"volatility {np.expm1(against['window_mean']):+.1%} against {CHAMPION}"
    judged = [
        row
        for row in record.metrics.get("performance", [])
        if row["book"].startswith("long-only") and row["annualized_volatility"] is not None
    ]
    if judged:
        calmest = min(judged, key=lambda row: row["annualized_volatility"])
        return f"calmest: {calmest['model']}, volatility {calmest['annualized_volatility']:.1%}"
    losses = [loss for trial in record.trials for loss in trial.get("validation_losses", [])]
    return f"validation loss {np.mean(losses):.4g}" if losses else "-"


def _performance(record: RunRecord) -> dict[tuple[str, str], dict[str, float]]:
    """Numbers by model and book; what is not a number is left out."""
    return {
        (row["model"], row["book"]): {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        for row in record.metrics.get("performance", [])
    }


def _losses(record: RunRecord) -> dict[tuple[str, str], dict[str, float]]:
    """Validation loss of every bundle that was trained, in the place of the book `TRAINED`."""
    return {
        (f"{trial['model']} {trial['through']}", TRAINED): {
            "validation_loss": float(np.mean(trial["validation_losses"]))
        }
        for trial in record.trials
        if trial.get("validation_losses")
    }


def _facts(entry: RunEntry) -> dict[str, Any]:
    record = entry.record
    return {
        "kind": record.kind,
        "model": entry.model,
        "status": record.status,
        "git commit": record.git_commit,
        "data fingerprint": record.data_fingerprint,
    }


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between two mappings, by key; None where one does not have it.

    Examples
    --------
    >>> differing({"seed": 1, "lag": 1}, {"seed": 2, "lag": 1, "kind": "prices"})
    {'seed': (1, 2), 'kind': (None, 'prices')}
    """
    absent = object()
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name, absent) != b.get(name, absent)}


def some(names: Sequence[str]) -> str:
    """The first three of many names.

    Examples
    --------
    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
