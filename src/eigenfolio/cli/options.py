"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ConfigArgument",
    "DataOption",
    "DryRunOption",
    "JobsOption",
    "JsonOption",
    "KindOption",
    "MLflowOption",
    "OutOption",
    "PanelArgument",
    "PresetOption",
    "RunArgument",
    "RunsOption",
    "SampleOption",
    "SeedOption",
    "TensorBoardOption",
]

DataOption = Annotated[
    str | None, typer.Option("--data", help="Panel: CSV or Parquet (wide or long), a folder, or sp500 (embedded).")
]
PanelArgument = Annotated[
    str, typer.Argument(help="Panel: CSV or Parquet (wide or long), a folder, or sp500 (embedded).")
]
ConfigArgument = Annotated[Path | None, typer.Argument(help="YAML file laid over the preset.")]
PresetOption = Annotated[str | None, typer.Option("--preset", help="quick (minutes) or full.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for runs; each run makes its own inside.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of every random number. Default: the configuration's.")
]
KindOption = Annotated[
    str | None, typer.Option("--kind", help="What the numbers are, prices or returns. Default: by evidence.")
]
JobsOption = Annotated[int, typer.Option("--jobs", help="Processes; -1 uses every core. Results do not change.")]
RunArgument = Annotated[str, typer.Argument(help="Run: identifier, the start of one, latest, or a folder.")]
RunsOption = Annotated[Path, typer.Option("--out", help="Folder of the runs.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print folds, parameters, memory and estimated time; train nothing.")
]
SampleOption = Annotated[
    float | None,
    typer.Option("--sample", help="Rehearse every stage on this share of the rows, and write a validation report."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
TensorBoardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Copy the metrics to OUT/tensorboard (extra: tensorboard).")
]
MLflowOption = Annotated[bool, typer.Option("--mlflow", help="Copy the run to MLflow (extra: mlflow).")]
