"""Recorded runs: found by name, listed as a registry, compared, and repeated bit for bit.

Every kind of job that is not in `JOBS` can be listed, shown and compared, but not repeated.

The registry has a line per run. Its model type is what the run trained (``shrinkage/dense``), or its kind where it
trained nothing. Its version counts, within a model type and in order of start, the distinct triples of kind, data
fingerprint and settings: v1 is the first thing that was tried, and doing the same thing again keeps the version. The
settings leave out ``data.path``, since the fingerprint says what the data are, and what changes no result (budgets,
tracking).

A repetition checks out nothing. It first verifies the commit of the code, the library versions and the fingerprint of
the data; then it does the job again in a temporary folder, from the recorded configuration and seed, and compares
bits: digests of bundles, values of ``returns.parquet`` and metrics. Dates, durations and the page are not compared.
Floating-point results may also depend on the processor and on BLAS, which no record holds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from eigenfolio.artifacts import RunRecord, library_versions, load_bundle, load_run
from eigenfolio.errors import ArtifactError, EigenfolioError
from eigenfolio.pipeline.compare import compare_covariance
from eigenfolio.pipeline.hrp_options import HrpOptions
from eigenfolio.pipeline.hrp_sweep import HrpOutcome, train_hrp
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.models import CHAMPION
from eigenfolio.pipeline.options import CompareOptions, RunOptions, TrainOptions
from eigenfolio.pipeline.prepare import prepare
from eigenfolio.pipeline.pretrain import PretrainOutcome, pretrain
from eigenfolio.pipeline.pretrain_data import data_fingerprint
from eigenfolio.pipeline.pretrain_options import PretrainOptions
from eigenfolio.pipeline.run import Outcome, RunContext, flatten, run
from eigenfolio.pipeline.train import TrainOutcome, train
from eigenfolio.pipeline.work import INERT
from eigenfolio.training.tracking import COPIES, TrackingOptions

__all__ = [
    "JOBS",
    "Check",
    "Registry",
    "Reproduction",
    "RunComparison",
    "RunEntry",
    "compare_runs",
    "find_run",
    "list_runs",
    "open_run",
    "recorded_bundles",
    "reproduce",
    "reproductions",
]

Settings = CompareOptions | TrainOptions | PretrainOptions | HrpOptions
Done = Outcome | TrainOutcome | PretrainOutcome | HrpOutcome

JOBS: dict[str, tuple[type[Settings], Callable[..., Done]]] = {
    "run": (RunOptions, run),
    "compare-covariance": (CompareOptions, compare_covariance),
    "train": (TrainOptions, train),
    "pretrain": (PretrainOptions, pretrain),
    "train-hrp": (HrpOptions, train_hrp),
}
"""Options and function of every kind of run that can be repeated."""

TRAINED = "trained"
"""Stands for a book where bundles are compared."""

_LOG = "reproductions.jsonl"


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

        def pairs(differing: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
            return {name: {"first": a, "second": b} for name, (a, b) in differing.items()}

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


@dataclass(frozen=True)
class Check:
    """One thing that was held against its record.

    Parameters
    ----------
    what : str
        What was compared.
    equal : bool
    detail : str
        Its extent where equal, the first difference where not.
    """

    what: str
    equal: bool
    detail: str


@dataclass(frozen=True)
class Reproduction:
    """What came of repeating a run.

    Parameters
    ----------
    folder : Path
        The recorded run.
    verified : tuple of Check
        Commit, versions and data, before the repetition.
    bits : tuple of Check
        Bundles, returns and metrics, after it; empty where the run was not repeated.
    anyway : bool
        Whether the run was to be repeated in spite of another commit or other versions.
    logged : str
        Where the result was written down, or why it was not.
    """

    folder: Path
    verified: tuple[Check, ...]
    bits: tuple[Check, ...]
    anyway: bool
    logged: str = ""

    @property
    def equal(self) -> bool:
        """Whether the run was repeated and every bit was the same."""
        return bool(self.bits) and all(check.equal for check in self.bits)

    @property
    def trouble(self) -> str | None:
        """The first difference in one sentence; None where all bits are equal."""
        if self.equal:
            return None
        different = next((check for check in self.bits if not check.equal), None)
        if different is not None:
            return f"{self.folder.name} did not repeat: {different.what}: {different.detail}"
        failed = [check for check in self.verified if not check.equal]
        blocking = [check for check in failed if check.what == _DATA]
        told = (blocking or failed)[0]
        way_out = "" if blocking else "; --anyway repeats it all the same"
        return f"{self.folder.name} was not repeated: {told.what}: {told.detail}{way_out}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "id": self.folder.name,
            "equal": self.equal,
            "anyway": self.anyway,
            "trouble": self.trouble,
            "verified": [asdict(check) for check in self.verified],
            "bits": [asdict(check) for check in self.bits],
            "logged": self.logged,
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
        raise ArtifactError(f"{name!r} is the start of {len(matches)} runs: {_some(matches)}; give more of it")
    if matches:
        return (out / matches[0]).resolve()
    if name and Path(name).is_dir():
        return Path(name).resolve()
    known = f"it holds {_some(names)}" if names else "it holds none"
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
    for path in _bundle_folders(Path(folder)):
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
    path = Path(folder) / _LOG
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
        facts=_differing(_facts(first), _facts(second)),
        settings=_differing(flatten(first.record.config), flatten(second.record.config)),
        versions=_differing(first.record.versions, second.record.versions),
        metrics=metrics,
        only_first=tuple(" | ".join(key) for key in a if key not in b),
        only_second=tuple(" | ".join(key) for key in b if key not in a),
    )


def reproduce(folder: str | Path, context: RunContext, *, anyway: bool = False, progress: Progress) -> Reproduction:
    """Do a recorded run again and compare bits.

    Parameters
    ----------
    folder : path-like
        The recorded run. A line about the repetition is added to its ``reproductions.jsonl``.
    context : RunContext
        When, of which commit, with how many processes; its `folder` is not used.
    anyway : bool
        Repeat the run although the commit or a library version is another, or cannot be told. Other data are never
        enough.
    progress : Progress

    Returns
    -------
    Reproduction
        Without `bits` where something stood in the way of repeating the run.

    Raises
    ------
    ArtifactError
        If the record cannot be read, a file of the run was changed or lost, or the repetition failed.
    """
    folder = Path(folder).resolve()
    record = load_run(folder)
    settings, job = _job(record)
    recorded = _read_bits(folder, record)
    with progress("Verifying", 1) as step:
        verified = (
            _check_commit(record.git_commit, context.git_commit),
            _check_versions(record.versions, library_versions()),
            _check_data(record, settings),
        )
        step()
    failed = {check.what for check in verified if not check.equal}
    if _DATA in failed or (failed and not anyway):
        return Reproduction(folder, verified, (), anyway)
    with tempfile.TemporaryDirectory(prefix="eigenfolio-") as place:
        try:
            outcome = job(settings, replace(context, folder=Path(place)), progress=progress)
        except EigenfolioError as error:
            raise ArtifactError(f"{folder.name} could not be repeated: {error}") from error
        repeated = _read_bits(outcome.folder, load_run(outcome.folder))
    done = Reproduction(folder, verified, _compare_bits(recorded, repeated), anyway)
    return replace(done, logged=_log(done, context))


_COMMIT, _VERSIONS, _DATA = "git commit", "library versions", "data"


def _check_commit(recorded: str | None, now: str | None) -> Check:
    if recorded is None:
        return Check(_COMMIT, False, "the record names none, its code was in no repository")
    if recorded.endswith("+changes"):
        return Check(_COMMIT, False, f"the run was made from {recorded[:12]} with changes that were not committed")
    if now is None:
        return Check(_COMMIT, False, f"{recorded[:12]} recorded, but the code in use is in no repository")
    if now.endswith("+changes"):
        return Check(_COMMIT, False, f"the code in use is {now[:12]} with changes that are not committed")
    if now != recorded:
        return Check(_COMMIT, False, f"{recorded[:12]} recorded, {now[:12]} in use")
    return Check(_COMMIT, True, f"{now[:12]}, clean")


def _check_versions(recorded: Mapping[str, str], now: Mapping[str, str]) -> Check:
    differing = _differing(recorded, now)
    if not differing:
        return Check(_VERSIONS, True, f"{len(now)} equal")
    told = [f"{name} {a or 'not there'} recorded, {b or 'not there'} in use" for name, (a, b) in differing.items()]
    return Check(_VERSIONS, False, "; ".join(told))


def _check_data(record: RunRecord, settings: Settings) -> Check:
    path = settings.data.path or "simulated markets"
    try:
        if isinstance(settings, PretrainOptions):
            found = data_fingerprint(settings)
        else:
            found = prepare(settings.data).panel.fingerprint
    except EigenfolioError as error:
        relative = path != "sp500" and not Path(path).is_absolute()
        way_out = "; go to the folder that the run was started from" if relative else ""
        return Check(_DATA, False, f"cannot be read: {error}{way_out}")
    if found != record.data_fingerprint:
        told = f"{path} has changed: fingerprint {record.data_fingerprint[:12]} recorded, {found[:12]} now"
        return Check(_DATA, False, told)
    return Check(_DATA, True, f"{path}, fingerprint {found[:12]}")


def _job(record: RunRecord) -> tuple[Settings, Callable[..., Done]]:
    if record.kind not in JOBS:
        raise ArtifactError(
            f"{record.identifier} is of kind {record.kind!r}; what can be repeated is {', '.join(JOBS)}"
        )
    options, job = JOBS[record.kind]
    try:
        settings = options.model_validate(record.config)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"{record.identifier} was told what this version does not understand: {key!r}: {first['msg']}; use the "
            f"commit that made it ({record.git_commit})"
        ) from error
    if isinstance(settings, (RunOptions, TrainOptions)):  # a repetition is held against its record, not copied
        settings = settings.model_copy(update={"tracking": TrackingOptions()})
    return settings, job


@dataclass(frozen=True)
class _Bits:
    """What must be equal in a run and its repetition."""

    bundles: dict[str, str]
    returns: pd.DataFrame | None
    metrics: Mapping[str, Any]


def _read_bits(folder: Path, record: RunRecord) -> _Bits:
    """Read them, and refuse what was changed after it was written."""
    bundles = {path.relative_to(folder).as_posix(): load_bundle(path).digest for path in _bundle_folders(folder)}
    for trial in record.trials:
        if "digest" not in trial:
            continue
        name = f"bundles/{trial['model']}/{trial['through']}"
        if name not in bundles:
            raise ArtifactError(f"{folder / name} is missing; restore it or do the run again")
        if bundles[name] != trial["digest"]:
            raise ArtifactError(f"{folder / name} is not the bundle that the run recorded; restore it")
    path = folder / "returns.parquet"
    try:
        returns = pd.read_parquet(path) if path.exists() else None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} was changed or truncated after it was written: {error}") from error
    return _Bits(bundles, returns, record.metrics)


def _compare_bits(recorded: _Bits, repeated: _Bits) -> tuple[Check, ...]:
    checks = []
    for name in dict.fromkeys([*recorded.bundles, *repeated.bundles]):
        a, b = recorded.bundles.get(name, "none"), repeated.bundles.get(name, "none")
        checks.append(Check(name, a == b, a[:12] if a == b else f"{a[:12]} recorded, {b[:12]} repeated"))
    if recorded.returns is not None or repeated.returns is not None:
        checks.append(_compare_returns(recorded.returns, repeated.returns))
    for name in dict.fromkeys([*recorded.metrics, *repeated.metrics]):
        a, b = recorded.metrics.get(name, []), repeated.metrics.get(name, [])
        difference = _first_difference(a, b)
        extent = f"{len(a)} rows" if isinstance(a, list) else "equal"
        checks.append(Check(f"metrics.{name}", difference is None, ": ".join(difference) if difference else extent))
    return tuple(checks)


def _compare_returns(recorded: pd.DataFrame | None, repeated: pd.DataFrame | None) -> Check:
    name = "returns.parquet"
    if recorded is None or repeated is None:
        return Check(name, False, f"missing in the {'recorded' if recorded is None else 'repeated'} run")
    if list(recorded.columns) != list(repeated.columns):
        odd = [str(column) for column in recorded.columns.symmetric_difference(repeated.columns)]
        return Check(name, False, f"columns differ: {_some(odd) if odd else 'another order'}")
    if not recorded.index.equals(repeated.index):
        return Check(name, False, f"dates differ: {len(recorded)} rows recorded, {len(repeated)} repeated")
    other = [str(column) for column in recorded if recorded[column].dtype != repeated[column].dtype]
    if other:
        return Check(name, False, f"types differ: {_some(other)}")
    a, b = (np.ascontiguousarray(frame.to_numpy(dtype=np.float64)) for frame in (recorded, repeated))
    differing = a.view(np.uint64) != b.view(np.uint64)
    if not differing.any():
        return Check(name, True, f"{a.shape[0]} rows x {a.shape[1]} tracks")
    row, column = (int(i) for i in np.argwhere(differing)[0])
    told = (
        f"{recorded.columns[column]} on {_day(recorded.index[row])}: {float(a[row, column])!r} recorded, "
        f"{float(b[row, column])!r} repeated ({int(differing.sum())} of {differing.size} values differ)"
    )
    return Check(name, False, told)


def _first_difference(a: Any, b: Any) -> tuple[str, ...] | None:
    """The way to the first leaf in which two JSON values differ, and both leaves; None where there is none.

    Examples
    --------
    >>> _first_difference([{"model": "QIS", "risk": 0.1}], [{"model": "QIS", "risk": 0.2}])
    ('QIS', 'risk', '0.1 recorded, 0.2 repeated')
    """
    below: list[tuple[str, Any, Any]]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if set(a) != set(b):
            return (f"only one has {_some(sorted(set(a) ^ set(b)))}",)
        below = [(name, a[name], b[name]) for name in a]
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return (f"{len(a)} rows recorded, {len(b)} repeated",)
        below = [(_row_name(i, x), x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        same = json.dumps(a) == json.dumps(b)
        return None if same else (f"{a!r} recorded, {b!r} repeated",)
    for name, x, y in below:
        difference = _first_difference(x, y)
        if difference is not None:
            return (name, *difference)
    return None


def _row_name(number: int, row: Any) -> str:
    named = row if isinstance(row, Mapping) else {}
    keys = [str(named[key]) for key in ("model", "reference", "rival", "book") if key in named]
    return " | ".join(keys) or f"row {number + 1}"


def _log(done: Reproduction, context: RunContext) -> str:
    """Add a line to the log of the run, and say where; a run on a read-only disk can be repeated all the same."""
    line = {
        "started": context.started.isoformat(timespec="seconds"),
        "command": context.command,
        "git_commit": context.git_commit,
        "versions": library_versions(),
        "anyway": done.anyway,
        "verified": [asdict(check) for check in done.verified],
        "equal": done.equal,
        "first_difference": done.trouble,
    }
    path = done.folder / _LOG
    try:
        with path.open("a") as log:
            log.write(json.dumps(line) + "\n")
    except OSError as error:
        return f"not written down: {path}: {error.strerror or error}"
    return f"written down in {path}"


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


def _bundle_folders(folder: Path) -> list[Path]:
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


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    absent = object()
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name, absent) != b.get(name, absent)}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _day(label: Any) -> str:
    return f"{label:%Y-%m-%d}" if isinstance(label, pd.Timestamp) else str(label)
