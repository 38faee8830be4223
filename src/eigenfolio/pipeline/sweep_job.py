"""What the sweeps of portfolio models have in common as jobs: the panel they read, their record, and the page about it.

panel and options -> job -> work folder; later: record, page, tracks -> run folder
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eigenfolio.artifacts import RunRecord, check_writable, library_versions, run_identifier, write_run
from eigenfolio.evaluation import Track
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.outcome import RunContext, flatten
from eigenfolio.pipeline.prepare import DataOptions, Prepared, prepare
from eigenfolio.pipeline.work import work_folder
from eigenfolio.training.budgets import BudgetRow

__all__ = ["SweepJob", "open_sweep", "write_tracks"]


@dataclass(frozen=True)
class SweepJob:
    """A sweep under way: what it read and how it is known.

    Parameters
    ----------
    family : str
        Of the models, e.g. "hrp"; the job is of kind ``train-<family>``.
    prepared : Prepared
    settings : mapping
        Resolved options, JSON-able.
    seed : int
    context : RunContext
    """

    family: str
    prepared: Prepared
    settings: Mapping[str, Any]
    seed: int
    context: RunContext

    @property
    def kind(self) -> str:
        """Kind of the run."""
        return f"train-{self.family}"

    @property
    def fingerprint(self) -> str:
        """Of the data."""
        return self.prepared.panel.fingerprint

    @property
    def identifier(self) -> str:
        """Of the run, from its start, options and data."""
        return run_identifier(self.context.started, f"{self.family}{dict(self.settings)}{self.fingerprint}")

    def work(self) -> AbstractContextManager[Path]:
        """Folder of what is kept in case the job is stopped."""
        where, code = self.context.folder, self.context.git_commit
        return work_folder(where, self.kind, self.settings, self.fingerprint, code=code)

    def record(
        self,
        *,
        failed: bool,
        metrics: dict[str, Any],
        trials: list[dict[str, Any]],
        budgets: Sequence[BudgetRow],
    ) -> RunRecord:
        """The record of the finished job.

        Parameters
        ----------
        failed : bool
            Whether some decision failed.
        metrics : dict
        trials : list of dict
            Entries of the ledger.
        budgets : sequence of BudgetRow
        """
        return RunRecord(
            identifier=self.identifier,
            kind=self.kind,
            started=self.context.started.isoformat(timespec="seconds"),
            command=self.context.command,
            seed=self.seed,
            git_commit=self.context.git_commit,
            versions=library_versions(),
            data_fingerprint=self.fingerprint,
            config=dict(self.settings),
            status="complete with failures" if failed else "complete",
            metrics=metrics,
            trials=trials,
            budgets=[row.to_dict() for row in budgets],
        )

    def page(self, n_open: int) -> dict[str, Any]:
        """Fields of the report that say how it was made.

        Parameters
        ----------
        n_open : int
            Rows that the job may look at; the others are sealed.
        """
        returns = self.prepared.panel.returns
        sealed = "No rows were sealed."
        if n_open < len(returns):
            sealed = f"The last {len(returns) - n_open} rows, from {returns.index[n_open]:%Y-%m-%d}, are sealed."
        return {
            "data_findings": self.prepared.findings,
            "sealed": sealed,
            "settings": flatten(dict(self.settings)),
            "environment": {
                "git commit": self.context.git_commit or "not a repository",
                "seed": self.seed,
                "data fingerprint": self.fingerprint,
                **library_versions(),
            },
            "commands": [f"./run {self.context.command}"],
            "warnings": self.prepared.warnings,
        }

    def write(self, record: RunRecord, contents: Callable[[Path], None], *, progress: Progress) -> Path:
        """Write the run, whole or not at all, and say where.

        Parameters
        ----------
        record : RunRecord
        contents : callable
            Writes all files but the record into the folder it is given.
        progress : Progress
        """
        with progress("Writing and checking", 1) as step:
            folder = write_run(record, self.context.folder / record.identifier, contents=contents)
            step()
        return folder


def open_sweep(
    family: str,
    data: DataOptions,
    *,
    settings: Mapping[str, Any],
    seed: int,
    context: RunContext,
    progress: Progress,
) -> SweepJob:
    """Read and check the panel of a sweep, once it is known that the run can be written.

    Parameters
    ----------
    family : str
        Of the models.
    data : DataOptions
    settings : mapping
        Resolved options of the whole job, JSON-able.
    seed : int
    context : RunContext
    progress : Progress

    Raises
    ------
    ArtifactError
        If the folder of the runs cannot be written.
    DataError
        If the panel cannot be read.
    """
    check_writable(context.folder)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(data)
        step()
    return SweepJob(family, prepared, settings, seed, context)


def write_tracks(tracks: Mapping[tuple[str, str], Track], file: Path) -> None:
    """Net returns of every model and book by day.

    Parameters
    ----------
    tracks : mapping of (model, book) to Track
    file : Path
        Parquet file to write; its columns are named ``model | book``.
    """
    pd.DataFrame({f"{model} | {book}": track.returns for (model, book), track in tracks.items()}).to_parquet(file)
