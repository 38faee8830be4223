"""The panels of every vintage: rows after it are cut from the prices before anything is computed from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eigenfolio.artifacts import short_date
from eigenfolio.data.places import check_folder
from eigenfolio.data.readers import Tables, read_tables
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel
from eigenfolio.pipeline.pretrain_options import LAST_DAY, SYNTHETIC, PretrainData, PretrainOptions, Training
from eigenfolio.training.pretraining import UNDATED
from eigenfolio.training.sectors import sector_panel

__all__ = ["Vintage", "data_fingerprint", "newest_vintage", "panels_digest", "read_vintages"]

_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", "")


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


def data_fingerprint(config: PretrainOptions) -> str:
    """SHA-256 over the panels as the newest vintage sees them.

    Raises
    ------
    DataError, ParameterError
        As in `pretrain`.
    """
    return panels_digest(read_vintages(config))


def read_vintages(config: PretrainOptions) -> list[Vintage]:
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
    check_folder(folder)
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


def newest_vintage(vintages: Sequence[Vintage]) -> Vintage:
    return max(vintages, key=lambda vintage: UNDATED if vintage.through is None else vintage.through)


def panels_digest(vintages: Sequence[Vintage]) -> str:
    """Of what the newest vintage sees; every other sees a part of it."""
    told = {name: panel["fingerprint"] for name, panel in newest_vintage(vintages).panels.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
