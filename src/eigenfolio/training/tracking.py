"""Copies of metrics for TensorBoard and MLflow.

The files of a run stay the truth: a copy is written beside them when it is asked for, from what the training has
logged (`eigenfolio.training.follow`), and nothing ever reads it back. What is missing is told before any work is done;
a copy that fails later is given up with a note, and the run goes on.

    TensorBoard   <out>/tensorboard/<run>/<bundle>/member-<k>    one curve per network
    MLflow        one run in the experiment, `<out>/mlflow/mlflow.db` unless another place is named
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.training.follow import EpochEvent
from eigenfolio.training.loop import EpochRecord

__all__ = [
    "Copies",
    "MLflowCopy",
    "TensorBoardCopy",
    "TrackingOptions",
    "check_tracking",
    "copies",
    "scalars",
]

_BATCH = 100  # entries that MLflow takes at once


class TrackingOptions(BaseModel):
    """Where copies of the metrics go; they change no result.

    Parameters
    ----------
    tensorboard : bool
        Write event files to the folder `tensorboard` beside the runs.
    mlflow : bool
        Write an MLflow run.
    mlflow_uri : str or None
        Tracking server or database of MLflow; None keeps a SQLite database in the folder `mlflow` beside the runs.
    experiment : str
        Experiment of MLflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensorboard: bool = False
    mlflow: bool = False
    mlflow_uri: str | None = None
    experiment: str = "eigenfolio"

    @model_validator(mode="after")
    def _read_by_something(self) -> TrackingOptions:
        if self.mlflow_uri is not None and not self.mlflow:
            raise ValueError("mlflow_uri is not read while mlflow is false; set mlflow to true as well")
        return self


def check_tracking(options: TrackingOptions) -> None:
    """Refuse copies that cannot be written here, before any work is done.

    Raises
    ------
    ParameterError
        If the library is not installed; names the extra that brings it.
    """
    for name, wanted in (("tensorboard", options.tensorboard), ("mlflow", options.mlflow)):
        if wanted and not _installed(name):
            raise ParameterError(
                f"tracking.{name} needs the package {name}, which is not installed; "
                f"pip install 'eigenfolio[{name}]', or leave it out"
            )


def scalars(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch under the names they are copied by.

    Examples
    --------
    >>> record = EpochRecord(1, 2.0, 50.0, 10**9, 1e-3, {"total": 0.5}, {"total": 0.6}, {"head": 0.1})
    >>> list(scalars(record))
    ['loss/train/total', 'loss/validation/total', 'gradient_norm/head', 'learning_rate', 'seconds', \
'samples_per_second', 'peak_memory']
    """
    return {
        **{f"loss/train/{name}": value for name, value in record.train.items()},
        **{f"loss/validation/{name}": value for name, value in record.validation.items()},
        **{f"gradient_norm/{block}": value for block, value in record.gradient_norms.items()},
        "learning_rate": record.learning_rate,
        "seconds": record.seconds,
        "samples_per_second": record.samples_per_second,
        "peak_memory": float(record.peak_memory),
    }


class Copy(Protocol):
    """One place that receives copies."""

    name: str

    def epoch(self, event: EpochEvent) -> None:
        """Receive one epoch of one network."""

    def result(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Receive what came of the run."""

    def close(self, *, finished: bool) -> None:
        """Nothing comes any more."""


class TensorBoardCopy:
    """Event files: one folder per network, so that the curves lie over each other, and one for the run.

    Parameters
    ----------
    folder : Path
        Of this run.
    settings : mapping
        Shown as text.
    writer : callable, optional
        Makes the writer of a folder; that of torch by default.
    """

    name = "TensorBoard"

    def __init__(
        self, folder: Path, *, settings: Mapping[str, Any], writer: Callable[[str], Any] | None = None
    ) -> None:
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter
        self.folder, self._make = folder, writer
        self._writers: dict[str, Any] = {}
        rows = [f"| {key} | {value} |" for key, value in settings.items()]
        self._writer("run").add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), 0)

    def epoch(self, event: EpochEvent) -> None:
        """Add the scalars at the step of the epoch."""
        writer = self._writer(f"{event.bundle}/member-{event.member}")
        for name, value in scalars(event.record).items():
            writer.add_scalar(name, value, event.record.epoch)
        writer.flush()

    def result(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Add the final metrics; files are not copied."""
        for name, value in metrics.items():
            self._writer("run").add_scalar(name, value, 0)

    def close(self, *, finished: bool) -> None:
        """Flush and close every file."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = self._make(str(self.folder / name))
        return self._writers[name]


class MLflowCopy:
    """One MLflow run: settings as parameters, epochs and final metrics as metrics, the record and the page as files.

    Parameters
    ----------
    uri : str
        Tracking server or database.
    experiment : str
        Made where it is not there.
    artifacts : str or None
        Where a new experiment keeps its files; None leaves it to MLflow.
    name : str
        Of the run.
    settings, tags : mapping
    library : module, optional
        What stands in for ``mlflow``.
    """

    name = "MLflow"

    def __init__(
        self,
        uri: str,
        *,
        experiment: str,
        artifacts: str | None,
        name: str,
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
        library: Any = None,
    ) -> None:
        library = library or _mlflow()
        self._entities = library.entities
        self._client = library.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment, artifacts) if found is None else found.experiment_id
        self.run_id: str = self._client.create_run(number, run_name=name, tags=dict(tags)).info.run_id
        params = [self._entities.Param(_allowed(key), str(value)[:6000]) for key, value in settings.items()]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(self.run_id, params=params[start : start + _BATCH])

    def epoch(self, event: EpochEvent) -> None:
        """Log the scalars at the step of the epoch."""
        found = scalars(event.record)
        self._log({f"{event.bundle}/member-{event.member}/{k}": v for k, v in found.items()}, event.record.epoch)

    def result(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log the final metrics, and copies of the files."""
        self._log(metrics, 0)
        for path in files:
            self._client.log_artifact(self.run_id, str(path))

    def close(self, *, finished: bool) -> None:
        """End the run."""
        self._client.set_terminated(self.run_id, "FINISHED" if finished else "FAILED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(_allowed(name), value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _BATCH])


class Copies:
    """Every copy of one run; a listener of `eigenfolio.training.follow.followed`.

    A copy that fails is given up; `notes` says so.
    """

    def __init__(self, kept: Sequence[Copy]) -> None:
        self._kept = list(kept)
        self.notes: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __call__(self, event: EpochEvent) -> None:
        """Pass an epoch on."""
        self._each(lambda copy: copy.epoch(event))

    def result(self, metrics: Mapping[str, float], folder: Path) -> None:
        """Pass on what came of the run; of its folder the record, the configuration and the page."""
        files = [folder / name for name in ("run.json", "config.yaml", "report.html")]
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._each(lambda copy: copy.result(finite, files))

    def close(self, *, finished: bool) -> None:
        """Nothing comes any more; closing twice is closing once."""
        self._each(lambda copy: copy.close(finished=finished))
        self._kept.clear()

    def _each(self, send: Callable[[Copy], None]) -> None:
        for copy in list(self._kept):
            try:
                send(copy)
            except Exception as error:  # whatever a foreign library or a server does, the run goes on
                self._kept.remove(copy)
                self.notes.append(f"The copy to {copy.name} is not complete: {type(error).__name__}: {_line(error)}")


@contextmanager
def copies(
    options: TrackingOptions, *, out: Path, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[Copies]:
    """Open the copies that are asked for, and close them with the block.

    Parameters
    ----------
    options : TrackingOptions
    out : Path
        Folder of the runs.
    name : str
        Identifier of the run.
    settings : mapping
        Resolved options by dotted name.
    tags : mapping of str to str
        What else is known of the run.

    Raises
    ------
    ParameterError
        If a library is not installed.
    ArtifactError
        If a copy cannot be opened.
    """
    check_tracking(options)
    kept: list[Copy] = []
    if options.tensorboard:
        kept.append(_opened("tensorboard", lambda: TensorBoardCopy(out / "tensorboard" / name, settings=settings)))
    if options.mlflow:
        kept.append(_opened("mlflow", lambda: _mlflow_copy(options, out, name, settings, tags)))
    found = Copies(kept)
    finished = False
    try:
        yield found
        finished = True
    finally:
        found.close(finished=finished)


def _mlflow_copy(
    options: TrackingOptions, out: Path, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]
) -> MLflowCopy:
    uri, artifacts = options.mlflow_uri, None
    if uri is None:
        place = (out / "mlflow").absolute()
        place.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{place / 'mlflow.db'}", (place / "artifacts").as_uri()
    return MLflowCopy(uri, experiment=options.experiment, artifacts=artifacts, name=name, settings=settings, tags=tags)


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent anywhere unasked
    import mlflow

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return mlflow


def _opened(name: str, make: Callable[[], Copy]) -> Copy:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries about each other
            return make()
    except Exception as error:
        raise ArtifactError(f"tracking.{name} cannot be opened: {type(error).__name__}: {_line(error)}") from error


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _allowed(name: str) -> str:
    """A name that MLflow takes.

    Examples
    --------
    >>> _allowed("Neural shrinkage (dense), cap 5%/volatility")
    'Neural shrinkage -dense-- cap 5-/volatility'
    """
    return re.sub(r"[^\w\-. /:]", "-", name)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
