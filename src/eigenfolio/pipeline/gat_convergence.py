"""How the training of every graph-attention network went: the rules of `training.convergence`, per graph and span.

One bundle is one graph method trained through one date, its members are the seeds. Losses are those of every epoch in
`training.jsonl`; the best epoch, why the training stopped and its alarms are in `results.yaml`, so a recorded run tells
as much as the sweep that wrote it. The rules are read on the loss on validation paths, which for the Sharpe loss is
minus a ratio near 0 and much noisier than a covariance loss: oscillation and spread over seeds are to be expected where
the validation span is short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from eigenfolio.errors import ArtifactError
from eigenfolio.training import convergence_report

__all__ = ["gat_convergence", "mean_gat_losses", "recorded_gat_logs"]


@dataclass(frozen=True)
class _Epoch:
    train: Mapping[str, float]
    validation: Mapping[str, float]


@dataclass(frozen=True)
class _History:
    """One network as `convergence_report` reads it."""

    epochs: tuple[_Epoch, ...]
    best_epoch: int
    alarms: tuple[str, ...]
    stopped: str


def gat_convergence(logs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Judge the training of every bundle.

    Parameters
    ----------
    logs : sequence of mapping
        One per graph and span: `graph`, `through`, `members` (each with `best_epoch`, `stopped` and `alarms`) and
        `epochs` (each with `member`, `train` and `validation`; the first of a member is the untrained start).

    Returns
    -------
    DataFrame
        One row per log in words, as `eigenfolio.training.convergence.Convergence.to_row` makes them.

    Examples
    --------
    >>> epochs = [{"member": 0, "train": {"total": x}, "validation": {"total": x}} for x in (1.0, 0.6, 0.5, 0.5)]
    >>> member = {"best_epoch": 2, "stopped": "patience", "alarms": []}
    >>> log = {"graph": "mst", "through": "2012-12-31", "members": [member], "epochs": epochs}
    >>> gat_convergence([log])[["bundle", "verdict"]].values.tolist()
    [['mst 2012-12-31', 'converged']]
    """
    rows = []
    for log in logs:
        histories = [_history(log["epochs"], number, member) for number, member in enumerate(log["members"])]
        rows.append(convergence_report(histories).to_row(f"{log['graph']} {log['through']}"))
    return pd.DataFrame(rows)


def mean_gat_losses(logs: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Mean losses of a graph's networks that were still training, by epoch.

    Parameters
    ----------
    logs : sequence of mapping
        As in `gat_convergence`, each epoch with its number.

    Returns
    -------
    dict of str to DataFrame
        By graph: `epoch`, `train` and `validation`.
    """
    rows: dict[str, list[tuple[int, float, float]]] = {}
    for log in logs:
        told = [(row["epoch"], row["train"]["total"], row["validation"]["total"]) for row in log["epochs"]]
        rows.setdefault(str(log["graph"]), []).extend(told)
    columns = ["epoch", "train", "validation"]
    return {
        graph: pd.DataFrame(found, columns=columns).groupby("epoch", as_index=False).mean()
        for graph, found in rows.items()
    }


def recorded_gat_logs(run: Path) -> list[dict[str, Any]]:
    """The logs of a recorded sweep.

    Parameters
    ----------
    run : Path
        Folder of a run of ``eigenfolio train gat``.

    Returns
    -------
    list of dict
        What `gat_convergence` reads, in the order of the training.

    Raises
    ------
    ArtifactError
        If its losses or results cannot be read, or do not belong together.
    """
    logs: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        told = yaml.safe_load((run / "results.yaml").read_text())["training"]
        epochs = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
        for row in told:
            empty = {"graph": row["graph"], "through": row["through"], "members": [], "epochs": []}
            logs.setdefault((row["graph"], row["through"]), empty)["members"].append(row)
        for row in epochs:
            logs[row["graph"], row["through"]]["epochs"].append(row)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ArtifactError(
            f"the losses of {run} (training.jsonl, results.yaml) were changed or truncated after they were written: "
            f"{type(error).__name__} {error}"
        ) from error
    return list(logs.values())


def _history(epochs: Sequence[Mapping[str, Any]], number: int, member: Mapping[str, Any]) -> _History:
    own = tuple(_Epoch(row["train"], row["validation"]) for row in epochs if row["member"] == number)
    return _History(own, int(member["best_epoch"]), tuple(member["alarms"]), str(member["stopped"]))
