"""Training the weights that ship with the package, as a recorded job: one bundle per vintage.

A vintage named by a year has seen nothing after the 31st of December of that year; "synthetic" has seen simulated
markets alone, so it is honest on every date, and its bundle is dated before all markets. Rows after the vintage are cut
from the prices before anything is computed from them. A job that was stopped at any moment goes on from its checkpoints
(`eigenfolio.pipeline.work`) when the same command is given again, to the same bits; a vintage that was finished is not
trained again.

    <run>/bundles/shrinkage/<network>/<date>/    weights.safetensors, manifest.json, model_card.md
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eigenfolio.artifacts import (
    Bundle,
    CheckpointStore,
    RunRecord,
    check_writable,
    library_versions,
    load_bundle,
    run_identifier,
    save_bundle,
    short_date,
    write_run,
)
from eigenfolio.data.readers import Tables, read_tables
from eigenfolio.errors import DataError, EigenfolioError, ParameterError
from eigenfolio.learned.shipped import is_undated
from eigenfolio.panel import Panel
from eigenfolio.parallel import run_tasks
from eigenfolio.pipeline.ensemble_card import ensemble_lines
from eigenfolio.pipeline.judge import Progress
from eigenfolio.pipeline.options import Preset
from eigenfolio.pipeline.run import RunContext, flatten
from eigenfolio.pipeline.work import work_folder
from eigenfolio.report import ReportContent, write_report
from eigenfolio.training import History, convergence_report
from eigenfolio.training.attention import AttentionTraining, DenseTraining, train_on_tokens
from eigenfolio.training.budgets import ALL_FOLDS, BudgetRow, Budgets, check_budget, duration
from eigenfolio.training.follow import EpochEvent, Listener, epoch_seconds, followed
from eigenfolio.training.head_scores import heads_card
from eigenfolio.training.loop import EpochRecord
from eigenfolio.training.memory import default_cap
from eigenfolio.training.pretraining import UNDATED, SpectralTraining, TrainedVintage, initial_digest, train_spectral
from eigenfolio.training.sectors import sector_panel
from eigenfolio.training.token_calibration import interval_lines

__all__ = [
    "LAST_DAY",
    "PANELS",
    "SYNTHETIC",
    "PretrainData",
    "PretrainOptions",
    "PretrainOutcome",
    "PretrainPlan",
    "Vintage",
    "data_fingerprint",
    "model_card",
    "plan_pretraining",
    "pretrain",
]

SYNTHETIC = "synthetic"

LAST_DAY = pd.Timestamp("2020-12-31")
"""No row after it is ever used: what follows is left for judging."""

PANELS = {
    "stocks": "us_equity_adj_close",
    "delisted": "us_gone_by_2024_adj_close",
    "funds": "us_etf_adj_close",
    "core": "us_etf_core_adj_close",
}
"""File of each panel inside the data folder, without its suffix."""

_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", "")
_BUNDLE, _TOLD, _CARD = "bundle", "training.json", "model_card.md"
_BYTES_PER_ENTRY = 40  # of an eigenvector entry of a window: as drawn, as stacked, and while one becomes the other
_PROBE_SHARE = 0.01
_HEADS_COST = 3.0  # of a window for the heads, drawn, asked and fitted, in windows drawn

Vintages = tuple[str, ...]
Training = SpectralTraining | AttentionTraining | DenseTraining


class PretrainData(BaseModel):
    """Where the panels are.

    Parameters
    ----------
    path : str or None
        Folder of price panels, CSV or Parquet; None where only simulated markets are learned from.
    panels : mapping of str to str
        File of every panel that `training.sources` draw from, without its suffix; what is not given here keeps its
        default name.
    sectors : str or None
        File in the same folder, with its suffix, of the columns asset (or ticker) and sector. A source may then draw
        from one sector of a panel, such as "stocks:Energy".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    panels: dict[str, str] = Field(default_factory=lambda: dict(PANELS))
    sectors: str | None = None

    @field_validator("panels")
    @classmethod
    def _with_defaults(cls, value: dict[str, str]) -> dict[str, str]:
        return {**PANELS, **value}


class PretrainOptions(BaseModel):
    """Everything that `pretrain` can be told.

    Parameters
    ----------
    preset : {"quick", "full"}
        A twentieth of the windows and one network, for a look in minutes; or what ships.
    seed : int
        Every random number comes from it.
    network : {"spectral", "attention", "dense"}
        Which network is trained.
    windows : int or None
        Training windows of a vintage, about; None takes what the training says. Below 2,000 the attention and the dense
        network are made smaller and regularised more.
    vintages : tuple of str
        Years, each up to 2020, and "synthetic".
    data : mapping
        Folder and file names.
    training : mapping
        Windows, network, loss and loop of the spectral network.
    attention, dense : mapping or None
        The same of the other two, each read for its network only; None for the defaults.
    budgets : mapping
        Seconds that training may take; what takes longer is recorded so, and not stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "quick"
    seed: int = Field(default=42, ge=0)
    network: Literal["spectral", "attention", "dense"] = "spectral"
    windows: int | None = Field(default=None, ge=50)
    vintages: Vintages = ("2008", "2012", "2016", "2020", SYNTHETIC)
    data: PretrainData = PretrainData()
    training: SpectralTraining = SpectralTraining()
    attention: AttentionTraining | None = None
    dense: DenseTraining | None = None
    budgets: Budgets = Budgets()

    @property
    def model(self) -> str:
        """Family and network."""
        return f"shrinkage/{self.network}"

    @property
    def chosen(self) -> Training:
        """The training of the network, with as many windows as were asked for."""
        if self.network == "spectral":
            share = 1.0 if self.windows is None else self.windows / _n_windows(self.training)
            return self.training if share == 1.0 else self.training.scaled(share)
        other = self.attention or AttentionTraining() if self.network == "attention" else self.dense or DenseTraining()
        return other if self.windows is None else other.limited(self.windows)

    @model_validator(mode="after")
    def _reads_all(self) -> PretrainOptions:
        given = {name for name in ("attention", "dense") if getattr(self, name) is not None}
        given |= {"spectral"} if self.training != SpectralTraining() else set()
        if unread := sorted(given - {self.network}):
            key = "training" if unread[0] == "spectral" else unread[0]
            raise ValueError(f"{key} is read for network {unread[0]}, and network is {self.network}; leave one out")
        return self

    @field_validator("vintages", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(name) for name in value] if isinstance(value, (list, tuple)) else value

    @field_validator("vintages")
    @classmethod
    def _known(cls, value: Vintages) -> Vintages:
        if not value:
            raise ValueError(f"name at least one vintage, a year or {SYNTHETIC!r}")
        for name in value:
            if name != SYNTHETIC and (not re.fullmatch(r"(19|20)\d\d", name) or int(name) > LAST_DAY.year):
                raise ValueError(f"a vintage is a year up to {LAST_DAY.year}, or {SYNTHETIC!r}, got {name!r}")
        return tuple(dict.fromkeys(value))


@dataclass(frozen=True)
class Vintage:
    """One bundle to be made.

    Parameters
    ----------
    name : str
        A year or "synthetic".
    through : Timestamp or None
        Last date that may be seen; None where no market is.
    returns : mapping of str to DataFrame
        Simple returns of every panel through that date.
    panels : mapping of str to mapping
        File, fingerprint, assets, rows and dates of each.
    """

    name: str
    through: pd.Timestamp | None
    returns: Mapping[str, pd.DataFrame]
    panels: Mapping[str, Mapping[str, Any]]

    @property
    def date(self) -> str:
        """Name of its folder."""
        return short_date(UNDATED if self.through is None else self.through)

    def options(self, training: Training) -> Training:
        """The training of this vintage: simulated markets alone where it may see no other."""
        return training.simulated() if self.through is None else training


@dataclass(frozen=True)
class _Trained:
    """What a vintage came to."""

    vintage: Vintage
    bundle: Bundle
    histories: tuple[History, ...]
    drawing_seconds: float
    training_seconds: float


@dataclass(frozen=True)
class _Failed:
    """Why a vintage could not be trained."""

    vintage: Vintage
    error: str


@dataclass(frozen=True)
class PretrainOutcome:
    """Where the run is, and what each vintage came to."""

    folder: Path
    sentences: tuple[str, ...]
    trials: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {"folder": str(self.folder), "sentences": list(self.sentences), "trials": list(self.trials)}


@dataclass(frozen=True)
class PretrainPlan:
    """What the job would do, and an estimate of what it would take.

    Parameters
    ----------
    panels : mapping of str to mapping
        As in `Vintage`, through the newest vintage.
    vintages : mapping of str to str
        What each may see, in words.
    windows : mapping of str to int
        Windows of every source of a dated vintage (of the synthetic one where there is no other).
    model : str
        Family and network.
    n_members, max_epochs : int
    window_bytes : int
        Memory of the windows of one vintage, about.
    n_processes : int
        Vintages that are trained at a time.
    vintage_seconds, total_seconds : float
        About, from a small draw and one epoch on it.
    budgets : tuple of BudgetRow
        Estimated seconds against the budgets.
    """

    panels: Mapping[str, Mapping[str, Any]]
    vintages: Mapping[str, str]
    windows: Mapping[str, int]
    model: str
    n_members: int
    max_epochs: int
    window_bytes: int
    n_processes: int
    vintage_seconds: float
    total_seconds: float
    budgets: tuple[BudgetRow, ...]

    def lines(self) -> list[str]:
        """What to print."""
        told = [
            f"Panel       {name}: {p['file']}, {p['rows']} rows x {p['assets']} assets, {p['first']} to {p['last']}"
            for name, p in self.panels.items()
        ] or ["Panel       none: simulated markets alone"]
        told += [f"Vintage     {name}: {date}" for name, date in self.vintages.items()]
        told += [f"Windows     {name}: {count}" for name, count in self.windows.items()]
        told += [
            f"Network     {self.model}: {self.n_members} member(s) per vintage, {self.max_epochs} epochs",
            f"Memory      about {self.window_bytes / 1e9:.1f} GB of windows, in each of {self.n_processes} process(es)",
            f"Time        about {duration(self.total_seconds)} ({duration(self.vintage_seconds)} per vintage): an "
            "estimate from a small draw and one epoch on it",
            f"Budget      each vintage {self.budgets[0].summary}; one after another, {self.budgets[-1].summary}",
        ]
        return told

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {**asdict(self), "estimated": True}


def pretrain(config: PretrainOptions, context: RunContext, *, progress: Progress) -> PretrainOutcome:
    """Train every vintage and write the bundles, each with its model card.

    A vintage that fails with one of our errors is a recorded result.

    Parameters
    ----------
    config : PretrainOptions
    context : RunContext
    progress : Progress

    Raises
    ------
    DataError
        If a panel is missing or cannot be read, or no vintage could be trained.
    ParameterError
        If a source draws from a panel without a file.
    ArtifactError
        If the run cannot be written, checkpoints of another training are in the way, or the same is under way.
    """
    check_writable(context.folder)
    with progress("Reading", 1) as step:
        vintages = _vintages(config)
        step()
    fingerprint = _fingerprint(vintages)
    settings = config.model_dump(mode="json")
    identifier = run_identifier(context.started, f"{settings}{fingerprint}")
    training = config.chosen
    n_processes = _n_processes(training, len(vintages), context.n_jobs)
    made_by = {"preset": config.preset, "command": context.command, "git_commit": context.git_commit}
    with work_folder(context.folder, "pretrain", settings, fingerprint, code=context.git_commit) as work:
        tasks = [
            (vintage, training, config.seed, made_by, work, context.n_jobs if n_processes == 1 else 1)
            for vintage in vintages
        ]
        n_steps = len(vintages) * (training.loop.max_epochs + 1)
        with (
            progress("Pretraining", n_steps) as step,
            followed(work, [_counted(step), *([context.on_epoch] if context.on_epoch else [])]),
        ):
            outcomes = run_tasks(_train_or_record, tasks, n_jobs=n_processes)
        trained = [outcome for outcome in outcomes if isinstance(outcome, _Trained)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, _Failed)]
        if not trained:
            raise DataError(f"no vintage could be trained; {failed[0].vintage.name}: {failed[0].error}")
        times = _times(config.model, trained, config.budgets, epoch_seconds(work))
        sentences = [_headline(trained, failed)]
        sentences += [f"Vintage {outcome.vintage.name} failed: {outcome.error}" for outcome in failed]
        sentences += [
            f"{'All vintages together' if row.fold == ALL_FOLDS else f'The vintage through {row.fold}'} took "
            f"{duration(row.seconds)} to train, over the budget of {duration(row.budget)}."
            for row in times
            if row.status == "over"
        ]
        trials = [_trial(config.model, outcome) for outcome in outcomes]
        record = RunRecord(
            identifier=identifier,
            kind="pretrain",
            started=context.started.isoformat(timespec="seconds"),
            command=context.command,
            seed=config.seed,
            git_commit=context.git_commit,
            versions=library_versions(),
            data_fingerprint=fingerprint,
            config=settings,
            status="complete with failures" if failed else "complete",
            metrics={
                "n_bundles": len(trained),
                "n_failed": len(failed),
                "panels": {vintage.name: dict(vintage.panels) for vintage in vintages},
            },
            trials=trials,
            budgets=[row.to_dict() for row in times],
        )
        content = _content(config, context, trained, sentences, fingerprint, times)

        def contents(folder: Path) -> None:
            _save(config.model, trained, folder)
            write_report(content, folder / "report.html")

        with progress("Writing the report", 1) as step:
            folder = write_run(record, context.folder / record.identifier, contents=contents)
            step()
    return PretrainOutcome(folder, tuple(sentences), tuple(trials))


def plan_pretraining(config: PretrainOptions, *, n_jobs: int = 1) -> PretrainPlan:
    """Read the panels, draw a few windows and train one epoch on them. Nothing is written.

    Parameters
    ----------
    config : PretrainOptions
    n_jobs : int
        Processes of the job.

    Raises
    ------
    DataError, ParameterError
        As in `pretrain`.
    """
    vintages = _vintages(config)
    newest = _newest(vintages)
    options = newest.options(config.chosen)
    small = options.scaled(_PROBE_SHARE)
    small = small.model_copy(update={"loop": small.loop.model_copy(update={"max_epochs": 1, "patience": 1})})
    heads_share = options.heads_share if isinstance(options, SpectralTraining) else 0.0
    if isinstance(small, SpectralTraining):
        small = small.alike().model_copy(update={"heads_share": 0.0})
    began = time.perf_counter()
    probe = _train(newest.returns, newest.through, small, seed=config.seed)
    spent = time.perf_counter() - began
    drawn = _assets_seen(small) + _assets_seen(small.scaled(options.validation_share))
    share = _assets_seen(options) * (1.0 + options.validation_share) / drawn
    drawing = probe.drawing_seconds * share
    training = (spent - probe.drawing_seconds) * share * (options.loop.max_epochs + 1) / 2  # the start is judged too
    training += _HEADS_COST * heads_share * drawing
    each = drawing + training
    n_processes = _n_processes(config.chosen, len(vintages), n_jobs)
    alone = drawing / (n_jobs if n_processes == 1 else 1) + training
    return PretrainPlan(
        panels=newest.panels,
        vintages={v.name: "simulated markets alone" if v.through is None else f"through {v.date}" for v in vintages},
        windows={source.name: source.n_windows for source in options.sources},
        model=config.model,
        n_members=options.n_members,
        max_epochs=options.loop.max_epochs,
        window_bytes=_window_bytes(options),
        n_processes=n_processes,
        vintage_seconds=each,
        total_seconds=alone * -(-len(vintages) // n_processes),
        budgets=tuple(check_budget(config.model, {v.date: each for v in vintages}, budgets=config.budgets)),
    )


def data_fingerprint(config: PretrainOptions) -> str:
    """SHA-256 over the panels as the newest vintage sees them.

    Raises
    ------
    DataError, ParameterError
        As in `pretrain`.
    """
    return _fingerprint(_vintages(config))


def model_card(bundle: Bundle) -> str:
    """What a user should know of shipped weights, in Markdown, from their bundle alone.

    Parameters
    ----------
    bundle : Bundle
        Made by `pretrain`.

    Returns
    -------
    str
        Data, dates, universes and counts, frequency, horizon, limits, losses and provenance.
    """
    told = bundle.details
    training = _TRAININGS[bundle.network].model_validate(told["training"])
    sources = training.sources
    undated = is_undated(bundle)
    sizes = sorted({n for source in sources for n in source.counts})
    rows = min(source.min_lookback for source in sources), max(source.max_lookback for source in sources)
    horizons = sorted({(source.horizon, source.frequency) for source in sources})
    spans = " or ".join(f"{horizon} {'days' if kept == 'daily' else 'weeks'}" for horizon, kept in horizons)
    name = "synthetic" if undated else f"{bundle.trained_through:%Y}"
    asked = "" if bundle.network == "spectral" else f", network={bundle.network!r}"
    seen = "no market at all" if undated else f"rows through {short_date(bundle.trained_through)}"
    lines = [
        f"# NeuralShrinkage, {bundle.network} network, vintage {name}",
        "",
        f"Weights for the covariance of asset returns, `NeuralShrinkage(weights={name!r}{asked})`; they have seen "
        f"{seen}.",
        "",
        "## Data",
        "",
    ]
    if told["panels"]:
        lines += ["| panel | file | assets | rows | dates | fingerprint |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {key} | {p['file']} | {p['assets']} | {p['rows']} | {p['first']} to {p['last']} | "
            f"{p['fingerprint'][:16]} |"
            for key, p in told["panels"].items()
        ]
        lines += ["", f"Decisions in the windows: {told['first_date'][:10]} to {told['last_date'][:10]}."]
    else:
        lines += ["Simulated markets alone: normal and Student rows of random populations."]
    lines += ["", "## Windows", "", "| source | drawn from | frequency | change | assets | windows |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {s.name} | {' and '.join(s.panels) or 'simulation'} | {s.frequency} | {s.change} | "
        f"{_range(s.counts)} | {s.n_windows} |"
        for s in sources
    ]
    lines += [
        "",
        "## Use and limits",
        "",
        f"- Frequency {' and '.join(sorted({s.frequency for s in sources}))}; horizon {spans}.",
        f"- Trained on {_range(sizes)} assets and {_range(rows)} rows. Inputs beyond what training "
        "has seen are clamped; `diagnostics_['out_of_range']` is their share.",
        "- A decision on or before the last row seen is in-sample: take `weights='as_of'` for evidence."
        if not undated
        else "- It has seen no market, so it is out of sample on every date.",
    ]
    if not undated and any(p["file"] in PANELS.values() for p in told["panels"].values()):
        lines += [
            "- US stocks and US-listed funds only. The stocks are firms that were still listed in 2024, softened by "
            "those listed in 2017 and gone by 2024: firms that ended before are not in the data.",
        ]
    lines += ["", "## Losses", "", "| member | validation, untrained | validation, kept | training, same epoch |"]
    lines += ["|---|---|---|---|"]
    for member, losses in enumerate(told["losses"]):
        best = int(np.argmin([validation for _, validation in losses]))
        lines += [f"| {member} | {losses[0][1]:.4f} | {losses[best][1]:.4f} | {losses[best][0]:.4f} |"]
    if "calibration" in told:
        lines += ["", *interval_lines(told["calibration"])]
    lines += [
        "",
        "Validation windows are other draws from the same years: they watch the training and say nothing about later "
        "years.",
        "",
        *ensemble_lines(told),
        *heads_card(told.get("heads", {})),
        "## Provenance",
        "",
        f"- Command: `{told['command']}` (preset {told['preset']}, seed {told['seed']})",
        f"- Commit: {told['git_commit'] or 'not a repository'}",
        f"- SHA-256 of the weights: {bundle.digest}",
        *([f"- Started from weights {told['initial_digest']}"] if "initial_digest" in told else []),
        "",
    ]
    return "\n".join(lines)


def _range(numbers: Collection[int]) -> str:
    first, last = min(numbers), max(numbers)
    return str(first) if first == last else f"{first} to {last}"


# ---------------------------------------------------------------------------- data


def _vintages(config: PretrainOptions) -> list[Vintage]:
    """Every vintage with its data; rows after it are gone before prices become returns."""
    dated = [name for name in config.vintages if name != SYNTHETIC]
    needed = sorted({name for source in config.chosen.sources for name in source.panels}) if dated else []
    tables = {name: _read(config.data, name) for name in needed}
    vintages = []
    for name in config.vintages:
        if name == SYNTHETIC:
            vintages.append(Vintage(name, None, {}, {}))
            continue
        through = min(pd.Timestamp(f"{name}-12-31"), LAST_DAY)
        panels = {key: _cut(table, through) for key, table in tables.items()}
        told = {key: _description(config.data.panels[key.partition(":")[0]], panel) for key, panel in panels.items()}
        vintages.append(Vintage(name, through, {key: panel.returns for key, panel in panels.items()}, told))
    return vintages


def _read(data: PretrainData, name: str) -> Tables:
    """A panel, or one sector of it."""
    name, _, sector = name.partition(":")
    if name not in data.panels:
        raise ParameterError(
            f"training.sources draw from panel {name!r}, and data.panels names no file for it; it names "
            f"{', '.join(sorted(data.panels))}"
        )
    if data.path is None:
        raise ParameterError(
            "pretraining on markets needs a folder of panels; give --data, or only --vintage synthetic"
        )
    folder, stem = Path(data.path), data.panels[name]
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; --data names the folder of the panels")
    found = next((path for suffix in _SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)
    if found is None:
        raise DataError(
            f"panel {name!r} is missing: {folder} holds no {stem}.parquet or {stem}.csv; add it, or name another file "
            f"under data.panels.{name}"
        )
    if not sector:
        return read_tables(found, kind="prices")
    if data.sectors is None:
        raise ParameterError(f"a source draws from {name}:{sector}, and data.sectors names no file of sectors")
    tables = read_tables(found, kind="prices", sectors=folder / data.sectors)
    assert tables.sectors is not None  # they were given
    return replace(tables, values=sector_panel(tables.values, tables.sectors, sector), sectors=None)


def _cut(tables: Tables, through: pd.Timestamp) -> Panel:
    values = tables.values[tables.values.index <= through].dropna(axis=1, how="all")
    if values.empty:
        raise DataError(f"{tables.source} holds no price through {short_date(through)}; leave out that vintage")
    return replace(tables, values=values).to_panel()


def _description(file: str, panel: Panel) -> dict[str, Any]:
    index = panel.index
    return {
        "file": file,
        "fingerprint": panel.fingerprint,
        "assets": panel.n_assets,
        "rows": panel.n_observations,
        "first": short_date(index[0]),
        "last": short_date(index[-1]),
    }


def _newest(vintages: Sequence[Vintage]) -> Vintage:
    return max(vintages, key=lambda vintage: UNDATED if vintage.through is None else vintage.through)


def _fingerprint(vintages: Sequence[Vintage]) -> str:
    """Of what the newest vintage sees; every other sees a part of it."""
    told = {name: panel["fingerprint"] for name, panel in _newest(vintages).panels.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------------------- training


def _train_or_record(
    vintage: Vintage, training: Training, seed: int, made_by: Mapping[str, Any], work: Path, n_jobs: int
) -> _Trained | _Failed:
    """Train one vintage, or read what was trained before the job was stopped."""
    place = work / vintage.date
    options = vintage.options(training)
    panels = {name: dict(panel) for name, panel in vintage.panels.items()}
    try:
        if not (place / _BUNDLE).exists():
            identity = {
                "task": f"shrinkage/{_name_of(training)}",
                "training": options.model_dump(mode="json"),
                "through": vintage.date,
                "data": {name: panel["fingerprint"] for name, panel in panels.items()},
                "seed": seed,
                "start": initial_digest(options, vintage.through) if isinstance(options, SpectralTraining) else None,
            }
            made = _train(
                vintage.returns,
                vintage.through,
                options,
                seed=seed,
                details={"vintage": vintage.name, "panels": panels, **made_by},
                store=CheckpointStore(place, identity=identity),
                n_jobs=n_jobs,
            )
            told = {
                "histories": [asdict(history) for history in made.histories],
                "drawing_seconds": made.drawing_seconds,
                "training_seconds": made.training_seconds,
            }
            (place / _TOLD).write_text(json.dumps(told))
            save_bundle(made.bundle, place / _BUNDLE)  # last: with it the vintage is done
        return _finished(replace(vintage, returns={}), place)
    except EigenfolioError as error:
        return _Failed(replace(vintage, returns={}), f"{type(error).__name__}: {error}")


def _finished(vintage: Vintage, place: Path) -> _Trained:
    told = json.loads((place / _TOLD).read_text())
    histories = tuple(
        History(
            **{
                **history,
                "epochs": tuple(EpochRecord(**record) for record in history["epochs"]),
                "alarms": tuple(history["alarms"]),
            }
        )
        for history in told["histories"]
    )
    return _Trained(vintage, load_bundle(place / _BUNDLE), histories, told["drawing_seconds"], told["training_seconds"])


def _counted(step: Callable[[], None]) -> Listener:
    """One step for every epoch of a vintage; the untrained start, which follows the drawing, is one of them."""

    def listen(event: EpochEvent) -> None:
        if event.member == 0:
            step()

    return listen


def _train(
    panels: Mapping[str, pd.DataFrame], through: pd.Timestamp | None, options: Training, **how: Any
) -> TrainedVintage:
    """Train one vintage of the network that the options belong to."""
    if isinstance(options, SpectralTraining):
        return train_spectral(panels, through, options=options, **how)
    return train_on_tokens(panels, through, options=options, **how)


_TRAININGS: dict[str, type[Training]] = {
    "spectral": SpectralTraining,
    "attention": AttentionTraining,
    "dense": DenseTraining,
}


def _name_of(training: Training) -> str:
    return next(name for name, kind in _TRAININGS.items() if isinstance(training, kind))


def _n_windows(training: Training) -> int:
    return sum(source.n_windows for source in training.sources)


def _n_processes(training: Training, n_vintages: int, n_jobs: int) -> int:
    """Vintages at a time: as many as there are processes for and as half of the memory holds."""
    fitting = default_cap("cpu") // max(1, _window_bytes(training))
    return max(1, min(n_jobs, n_vintages, fitting))


def _window_bytes(training: Training) -> int:
    """Memory that the windows of a vintage take at their most, about: eigenvectors above all."""
    entries = sum(
        count * n_assets * min(n_assets, source.max_lookback) * (2 if source.pairs else 1)
        for source in training.sources
        for n_assets, count in source.counts.items()
    )
    return int(_BYTES_PER_ENTRY * (1.0 + training.validation_share) * entries)


def _assets_seen(training: Training) -> int:
    """What time is about proportional to."""
    return sum(count * n_assets for source in training.sources for n_assets, count in source.counts.items())


# ---------------------------------------------------------------------------- records


def _times(model: str, trained: Sequence[_Trained], budgets: Budgets, logged: Mapping[str, float]) -> list[BudgetRow]:
    """Seconds of every vintage; those of a process that was killed count where they are more."""
    seconds = {
        outcome.vintage.date: outcome.drawing_seconds
        + max(outcome.training_seconds, logged.get(outcome.vintage.date, 0.0))
        for outcome in trained
    }
    return check_budget(model, seconds, budgets=budgets)


def _headline(trained: Sequence[_Trained], failed: Sequence[_Failed]) -> str:
    better = sum(all(history.best_epoch > 0 for history in outcome.histories) for outcome in trained)
    names = ", ".join(outcome.vintage.name for outcome in trained)
    return (
        f"{len(trained)} of {len(trained) + len(failed)} vintages were trained ({names}); in {better} of them every "
        "member got better than its closed form on other windows of the same years."
    )


def _trial(model: str, outcome: _Trained | _Failed) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": "training",
        "model": model,
        "vintage": outcome.vintage.name,
        "through": outcome.vintage.date,
    }
    if isinstance(outcome, _Failed):
        return {**entry, "status": "failed", "error": outcome.error}
    return {
        **entry,
        "status": "trained",
        "digest": outcome.bundle.digest,
        "best_epochs": [history.best_epoch for history in outcome.histories],
        "validation_losses": [history.best.validation["total"] for history in outcome.histories],
        "start_validation_loss": outcome.histories[0].start.validation["total"],
        "seconds": round(outcome.drawing_seconds + outcome.training_seconds, 2),
    }


def _save(model: str, trained: Sequence[_Trained], folder: Path) -> None:
    """Bundles with their cards, and beside them every epoch of every member, one JSON line each."""
    with (folder / "training.jsonl").open("w") as lines:
        for outcome in trained:
            place = save_bundle(outcome.bundle, folder / "bundles" / model / outcome.vintage.date)
            (place / _CARD).write_text(model_card(outcome.bundle))
            for member, history in enumerate(outcome.histories):
                for row in history.to_rows():
                    entry = {"bundle": outcome.vintage.date, "member": member, **row}
                    lines.write(json.dumps(entry, allow_nan=False) + "\n")


def _content(
    config: PretrainOptions,
    context: RunContext,
    trained: Sequence[_Trained],
    sentences: Sequence[str],
    fingerprint: str,
    times: Sequence[BudgetRow],
) -> ReportContent:
    summary = {row.fold: row.summary for row in times}
    table = [
        {
            "bundle": outcome.vintage.name,
            "trained_through": outcome.bundle.trained_through,
            "members": len(outcome.histories),
            "n_windows": sum(outcome.bundle.details["n_windows"].values()),
            "epochs": max(len(history.epochs) - 1 for history in outcome.histories),
            "best_epochs": ", ".join(str(history.best_epoch) for history in outcome.histories),
            "best_validation_loss": float(np.mean([h.best.validation["total"] for h in outcome.histories])),
            "start_validation_loss": outcome.histories[0].start.validation["total"],
            "seconds": outcome.drawing_seconds + outcome.training_seconds,
            "budget": summary[outcome.vintage.date],
        }
        for outcome in trained
    ]
    losses = {}
    for outcome in trained:
        rows = [(r.epoch, r.train["total"], r.validation["total"]) for h in outcome.histories for r in h.epochs]
        frame = pd.DataFrame(rows, columns=["epoch", "train", "validation"])
        losses[outcome.vintage.name] = frame.groupby("epoch", as_index=False).mean()
    return ReportContent(
        title=f"{config.network.capitalize()} shrinkage: the weights that ship",
        subtitle=f"{len(trained)} vintages; preset {config.preset}",
        verdict=list(sentences),
        training=pd.DataFrame(table),
        convergence=pd.DataFrame([convergence_report(o.histories).to_row(o.vintage.name) for o in trained]),
        loss_history=losses,
        settings=flatten(config.model_dump(mode="json")),
        environment={
            "git commit": context.git_commit or "not a repository",
            "seed": config.seed,
            "data fingerprint": fingerprint,
            **library_versions(),
            "training time": times[-1].summary,
        },
        commands=[f"./run {context.command}"],
    )
