"""Recorded runs done again, and held bit for bit against their records.

Every kind of job that is not in `JOBS` can be listed, shown and compared (`records`), but not repeated.

A repetition checks out nothing. It first verifies the commit of the code, the library versions and the fingerprint of
the data; then it does the job again in a temporary folder, from the recorded configuration and seed, and compares
bits: digests of bundles, values of ``returns.parquet`` and metrics. Dates, durations and the page are not compared.
Floating-point results may also depend on the processor and on BLAS, which no record holds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from eigenfolio.artifacts import RunRecord, library_versions, load_bundle, load_run
from eigenfolio.errors import ArtifactError, EigenfolioError
from eigenfolio.pipeline.compare import compare_covariance
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.hrp_options import HrpOptions
from eigenfolio.pipeline.hrp_sweep import HrpOutcome, train_hrp
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.options import RunOptions, TrainOptions
from eigenfolio.pipeline.outcome import Outcome, RunContext
from eigenfolio.pipeline.prepare import prepare
from eigenfolio.pipeline.pretrain import PretrainOutcome, pretrain
from eigenfolio.pipeline.pretrain_data import data_fingerprint
from eigenfolio.pipeline.pretrain_options import PretrainOptions
from eigenfolio.pipeline.records import LOG, bundle_folders, differing, some
from eigenfolio.pipeline.run import run
from eigenfolio.pipeline.train import TrainOutcome, train
from eigenfolio.training.tracking import TrackingOptions

__all__ = ["JOBS", "Check", "Reproduction", "reproduce"]

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
    others = differing(recorded, now)
    if not others:
        return Check(_VERSIONS, True, f"{len(now)} equal")
    told = [f"{name} {a or 'not there'} recorded, {b or 'not there'} in use" for name, (a, b) in others.items()]
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
    bundles = {path.relative_to(folder).as_posix(): load_bundle(path).digest for path in bundle_folders(folder)}
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
        return Check(name, False, f"columns differ: {some(odd) if odd else 'another order'}")
    if not recorded.index.equals(repeated.index):
        return Check(name, False, f"dates differ: {len(recorded)} rows recorded, {len(repeated)} repeated")
    other = [str(column) for column in recorded if recorded[column].dtype != repeated[column].dtype]
    if other:
        return Check(name, False, f"types differ: {some(other)}")
    a, b = (np.ascontiguousarray(frame.to_numpy(dtype=np.float64)) for frame in (recorded, repeated))
    unequal = a.view(np.uint64) != b.view(np.uint64)
    if not unequal.any():
        return Check(name, True, f"{a.shape[0]} rows x {a.shape[1]} tracks")
    row, column = (int(i) for i in np.argwhere(unequal)[0])
    told = (
        f"{recorded.columns[column]} on {_day(recorded.index[row])}: {float(a[row, column])!r} recorded, "
        f"{float(b[row, column])!r} repeated ({int(unequal.sum())} of {unequal.size} values differ)"
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
            return (f"only one has {some(sorted(set(a) ^ set(b)))}",)
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
    path = done.folder / LOG
    try:
        with path.open("a") as log:
            log.write(json.dumps(line) + "\n")
    except OSError as error:
        return f"not written down: {path}: {error.strerror or error}"
    return f"written down in {path}"


def _day(label: Any) -> str:
    return f"{label:%Y-%m-%d}" if isinstance(label, pd.Timestamp) else str(label)
