"""What pretraining can be told, and where its panels are."""

from __future__ import annotations

import re
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eigenfolio.pipeline.options import Preset
from eigenfolio.training.attention import AttentionTraining, DenseTraining
from eigenfolio.training.budgets import Budgets
from eigenfolio.training.pretraining import SpectralTraining

__all__ = ["LAST_DAY", "PANELS", "SYNTHETIC", "TRAININGS", "PretrainData", "PretrainOptions", "Training", "n_windows"]

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

Vintages = tuple[str, ...]
Training = SpectralTraining | AttentionTraining | DenseTraining

TRAININGS: dict[str, type[Training]] = {
    "spectral": SpectralTraining,
    "attention": AttentionTraining,
    "dense": DenseTraining,
}


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
            share = 1.0 if self.windows is None else self.windows / n_windows(self.training)
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


def n_windows(training: Training) -> int:
    return sum(source.n_windows for source in training.sources)
