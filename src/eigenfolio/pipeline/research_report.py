"""The research package of a recorded run, made from the record alone: nothing is trained, judged or drawn again.

What a run keeps beside its page is enough: performance and comparisons (`run.json`), daily net returns
(`returns.parquet`), losses of every epoch (`training.jsonl`), settings, versions and fingerprints. The findings are put
into words from the recorded comparison, without the sentences on Sharpe ratios, whose intervals are drawn anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import RunRecord, load_run
from eigenfolio.errors import ArtifactError
from eigenfolio.evaluation import OWN_BOOK, verdict
from eigenfolio.pipeline.gat_convergence import gat_convergence, mean_gat_losses, recorded_gat_logs
from eigenfolio.pipeline.judged import tone
from eigenfolio.pipeline.names import CHAMPION, LEARNED
from eigenfolio.pipeline.outcome import flatten
from eigenfolio.report.content import ReportContent
from eigenfolio.report.paper_figures import figure_names
from eigenfolio.report.research_package import paper_tables, write_package
from eigenfolio.training import convergence_report

__all__ = ["ResearchReport", "recorded_content", "research_report"]


_CHOSEN = (
    "Performance and comparisons are of the later dates alone; the recorded tracks also cover those on which the "
    "choice was made, so their growth is not drawn."
)


@dataclass(frozen=True)
class ResearchReport:
    """Where the package is and what it holds.

    Attributes
    ----------
    folder : Path
    form : {"latex", "markdown", "csv"}
    tables, figures : tuple of str
        Names, without their endings.
    """

    folder: Path
    form: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return {
            "folder": str(self.folder),
            "format": self.form,
            "tables": list(self.tables),
            "figures": list(self.figures),
        }


def research_report(run: Path, out: Path, *, form: str) -> ResearchReport:
    """Write the tables and vector figures of a paper from a recorded run.

    Parameters
    ----------
    run : Path
        Folder of the run.
    out : Path
        New folder.
    form : {"latex", "markdown", "csv"}

    Returns
    -------
    ResearchReport

    Raises
    ------
    ArtifactError
        If the run cannot be read or holds neither performance nor training, or the folder exists or cannot be written.
    ParameterError
        If the form is unknown, or matplotlib is not installed.
    """
    content = recorded_content(run)
    folder = write_package(content, out, form=form, files={"run.json": (run / "run.json").read_bytes()})
    names = tuple(table.name for table in paper_tables(content))
    return ResearchReport(folder, form, names, tuple(figure_names(content)))


def recorded_content(run: Path) -> ReportContent:
    """What a recorded run can show, as the page would.

    Parameters
    ----------
    run : Path
        Folder of the run.

    Returns
    -------
    ReportContent

    Raises
    ------
    ArtifactError
        If the run cannot be read, or holds neither performance nor training.
    """
    record = load_run(run)
    performance = _frame(record.metrics.get("performance"))
    if performance is not None and "book" not in performance:
        performance = performance.assign(book=OWN_BOOK)  # of a sweep of portfolios, which have no other
    comparison = _frame(record.metrics.get("comparison"))
    trained = [trial for trial in record.trials if trial.get("status") == "trained" and "best_epochs" in trial]
    if performance is None and not trained:
        raise ArtifactError(
            f"{run} is a {record.kind} that holds neither performance nor training; give a run, a "
            "comparison or a training"
        )
    selection = record.metrics.get("selection")
    returns = {} if selection else _returns(run, record)
    graphs = recorded_gat_logs(run) if record.kind == "train-gat" else []
    histories = {} if graphs else _histories(run, trained)
    champion = _champion(comparison, record)
    days = _days(returns)
    return ReportContent(
        title=f"{record.kind} {record.identifier}",
        subtitle=f"Panel {_data(record)}" + (f", judged {days[0]} to {days[1]}" if days else "") + ".",
        verdict=_sentences(comparison, trained, champion),
        verdict_tone="unclear" if comparison is None else tone(comparison, CHAMPION),
        learned_model=_learned(comparison, selection, record),
        champion=champion,
        performance=performance,
        comparison=comparison,
        returns=returns,
        training=_training(trained) if trained else None,
        loss_history=mean_gat_losses(graphs) or {name: _mean_losses(members) for name, members in histories.items()},
        convergence=gat_convergence(graphs) if graphs else _convergence(histories) if histories else None,
        sealed=_sealed(record),
        settings=flatten(record.config),
        warnings=[] if not selection else [f"{selection['reason']}. {_CHOSEN}"],
        environment={
            "run": record.identifier,
            "started": record.started,
            "status": record.status,
            "panel": _data(record),
            "data fingerprint": record.data_fingerprint,
            **({"first day judged": days[0], "last day judged": days[1]} if days else {}),
            "git commit": record.git_commit or "not a repository",
            "seed": record.seed,
            **record.versions,
        },
        commands=[f"./run {record.command}", f"./run eigenfolio runs reproduce {record.identifier}"],
    )


def _sealed(record: RunRecord) -> str:
    share = float(record.config.get("sealed_share", 0.0))
    return f"The last {share:.0%} of the rows were sealed and are in no table or figure." if share > 0.0 else ""


def _frame(rows: Sequence[Mapping[str, Any]] | None) -> pd.DataFrame | None:
    """Recorded rows; None, which stands for what was not finite, becomes NaN."""
    if not rows:
        return None
    table = pd.DataFrame(list(rows))
    for name in table.columns:
        if all(isinstance(value, (int, float)) or value is None for value in table[name]) and table[name].dtype != bool:
            table[name] = pd.to_numeric(table[name])
    return table


def _data(record: RunRecord) -> str:
    options = record.config.get("data")
    path = options.get("path") if isinstance(options, Mapping) else None
    return Path(path).name if path else "simulated markets"


def _learned(comparison: pd.DataFrame | None, selection: Mapping[str, Any] | None, record: RunRecord) -> str | None:
    """The model that the run is about: what was selected or ranked first, or the network that the main job trains."""
    if selection:
        return selection["winner"]
    if record.kind == "train-gat":
        return f"gat_{record.metrics['ranking']['order'][0]}"
    return LEARNED if comparison is not None and LEARNED in set(comparison["reference"]) else None


def _champion(comparison: pd.DataFrame | None, record: RunRecord) -> str | None:
    """The rival named beforehand, where it was compared."""
    if comparison is None:
        return None
    named = "Minimum variance" if record.kind == "train-hrp" else CHAMPION
    return named if named in {*comparison["rival"], *comparison["reference"]} else None


def _returns(run: Path, record: RunRecord) -> dict[str, dict[str, pd.Series]]:
    """Daily net returns by book and model, of the tracks that the ledger names."""
    path = run / "returns.parquet"
    if not path.exists():
        return {}
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} was changed or truncated after it was written: {error}") from error
    found: dict[str, dict[str, pd.Series]] = {}
    for trial in record.trials:
        if trial.get("kind") != "evaluation":
            continue
        column = f"{trial['model']} | {trial['book']}"
        if column not in table:
            raise ArtifactError(f"{path} lacks the track {column!r} that the record names; restore it")
        found.setdefault(str(trial["book"]), {})[str(trial["model"])] = table[column]
    return found


def _days(returns: Mapping[str, Mapping[str, pd.Series]]) -> tuple[str, str] | None:
    for tracks in returns.values():
        for track in tracks.values():
            return f"{track.index[0]:%Y-%m-%d}", f"{track.index[-1]:%Y-%m-%d}"
    return None


def _sentences(
    comparison: pd.DataFrame | None, trained: Sequence[Mapping[str, Any]], champion: str | None
) -> list[str]:
    if comparison is not None:
        return verdict(comparison, champion=champion)
    if not trained:
        return ["Nothing was compared."]
    better = sum(all(epoch > 0 for epoch in trial["best_epochs"]) for trial in trained)
    count = "1 bundle was" if len(trained) == 1 else f"{len(trained)} bundles were"
    return [f"{count} trained; in {better} of them every member got better than its start."]


def _training(trained: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "bundle": [trial["through"] for trial in trained],
            "members": [len(trial["best_epochs"]) for trial in trained],
            "best_validation_loss": [float(np.mean(trial["validation_losses"])) for trial in trained],
            "start_validation_loss": [trial["start_validation_loss"] for trial in trained],
            "seconds": [trial["seconds"] for trial in trained],
        }
    )


@dataclass(frozen=True)
class _Epoch:
    epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]


@dataclass(frozen=True)
class _History:
    """One member as `convergence_report` reads it; why it stopped and its alarms are in no record."""

    epochs: tuple[_Epoch, ...]
    best_epoch: int
    alarms: tuple[str, ...] = ()
    stopped: str = "what the record does not say"


def _histories(run: Path, trained: Sequence[Mapping[str, Any]]) -> dict[str, list[_History]]:
    """Losses of every member of every bundle; none where the run kept no losses."""
    path = run / "training.jsonl"
    if not path.exists():
        return {}
    epochs: dict[str, dict[int, list[_Epoch]]] = {}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            members = epochs.setdefault(row["bundle"], {})
            members.setdefault(row["member"], []).append(_Epoch(row["epoch"], row["train"], row["validation"]))
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} was changed or truncated after it was written: {error}") from error
    best = {trial["through"]: trial["best_epochs"] for trial in trained}
    return {
        name: [_History(tuple(rows), best[name][member]) for member, rows in sorted(members.items())]
        for name, members in epochs.items()
        if name in best
    }


def _mean_losses(members: Sequence[_History]) -> pd.DataFrame:
    rows = [(row.epoch, row.train["total"], row.validation["total"]) for member in members for row in member.epochs]
    return pd.DataFrame(rows, columns=["epoch", "train", "validation"]).groupby("epoch", as_index=False).mean()


def _convergence(histories: Mapping[str, list[_History]]) -> pd.DataFrame:
    rows = [convergence_report(members).to_row(name) for name, members in histories.items()]
    return pd.DataFrame(rows).assign(alarms="not recorded")
