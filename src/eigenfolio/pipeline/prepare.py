"""From a file to a panel that models may use, and what the reader should know about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from eigenfolio.data import (
    DataReport,
    Membership,
    archive_panel,
    check_panel,
    clean_panel,
    prepare_panel,
    read_tables,
)
from eigenfolio.data.readers import Kind
from eigenfolio.errors import ParameterError
from eigenfolio.measures import periods_per_year
from eigenfolio.panel import Panel

__all__ = ["DataOptions", "Prepared", "archive", "inspect", "kind_of", "prepare", "summarise"]


SURVIVORS = (
    "Data: the embedded table holds 20 large US stocks that were still listed in 2022; survivors flatter every "
    "strategy that holds them."
)


class DataOptions(BaseModel):
    """Where the data are and how they are read.

    Parameters
    ----------
    path : str
        CSV or Parquet (wide or long), a folder, an archive, or ``"sp500"`` for the embedded table.
    kind : {"auto", "prices", "returns"}
        What the numbers are; "auto" decides by evidence or asks.
    max_fill : int
        Rows a missing price is carried forward at most.
    delisting_return : float, mapping of asset to float, or None
        Return earned on the row after the last price of an asset that ends before the panel does.
    membership : str or None
        File of index members (date, ticker): only members may be held.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = "sp500"
    kind: Literal["auto", "prices", "returns"] = "auto"
    max_fill: int = Field(default=5, ge=0)
    delisting_return: float | dict[str, float] | None = None
    membership: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A cleaned panel, what was found and changed, and who may be held."""

    panel: Panel
    report: DataReport
    name: str
    embedded: bool
    membership: Membership | None

    @property
    def findings(self) -> list[dict[str, str]]:
        """Rows for the report: one per check, then one per change."""
        return self.report.to_rows()

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before trusting a result."""
        known = [SURVIVORS] if self.embedded else []
        return known + [f"Data: {f.summary}" for f in self.report.findings if f.status == "warning"]


def prepare(options: DataOptions) -> Prepared:
    """Read, check and clean.

    Raises
    ------
    DataError
        If the data cannot be read or mended.
    """
    panel, report = prepare_panel(
        options.path, kind=options.kind, max_fill=options.max_fill, delisting_return=options.delisting_return
    )
    membership = None if options.membership is None else Membership.read(options.membership)
    embedded = options.path == "sp500"
    name = "the embedded S&P 500 table" if embedded else Path(options.path).name
    return Prepared(panel, report, name, embedded, membership)


def inspect(path: str, *, kind: str | None = None) -> DataReport:
    """Look at everything; where nothing stands in the way, add what cleaning would change."""
    tables = read_tables(path, kind=kind_of(kind))
    report = check_panel(tables)
    if report.status == "error":
        return report
    return report.with_cleaning(clean_panel(tables)[1])


def summarise(panel: Panel) -> dict[str, Any]:
    """Summarise a cleaned panel: extent, coverage, volatility and correlation, as a whole and by year."""
    returns = panel.returns
    active = panel.active_mask.to_numpy()
    gaps = (active & returns.isna().to_numpy()).sum() / active.sum()
    calendar = pd.DatetimeIndex(returns.index).year
    per_year = periods_per_year(pd.DatetimeIndex(returns.index))
    years = [_one_year(int(year), returns[calendar == year], per_year) for year in calendar.unique()]
    return {
        "source": panel.provenance.source,
        "first_row": f"{panel.index[0]:%Y-%m-%d}",
        "last_row": f"{panel.index[-1]:%Y-%m-%d}",
        "rows": panel.n_observations,
        "assets": panel.n_assets,
        "fields": ", ".join(panel.assets.fields),
        "active_at_the_end": int(panel.active_mask.iloc[-1].sum()),
        "missing_while_listed": f"{gaps:.2%}",
        "median_volatility": _percent(float(returns.std().median()) * per_year**0.5),
        "fingerprint": panel.fingerprint,
        "steps": "; ".join(panel.provenance.steps) or "none",
        "by_year": years,
    }


def _one_year(year: int, returns: pd.DataFrame, per_year: float) -> dict[str, Any]:
    """One row of the summary, from the assets quoted on at least 80 % of the year's rows."""
    seen = returns.notna().sum()
    listed = returns.loc[:, seen > 0]
    kept = returns.loc[:, seen >= 0.8 * len(returns)]
    correlation = kept.corr().to_numpy()
    pairs = correlation[np.triu_indices(len(correlation), k=1)]
    return {
        "year": year,
        "rows": len(returns),
        "assets": int((seen > 0).sum()),
        "missing": _percent(float(listed.isna().to_numpy().mean())),
        "median_volatility": _percent(float(kept.std().median()) * per_year**0.5),
        "mean_correlation": f"{np.nanmean(pairs):.2f}" if len(pairs) else "-",
        "equal_weight_return": _percent(float(np.prod(1 + returns.mean(axis=1).to_numpy()) - 1)),
    }


def archive(path: str, folder: Path, *, version: str, note: str, kind: str | None = None) -> dict[str, Any]:
    """Clean a panel and keep it as an immutable snapshot; returns the manifest."""
    panel, _ = prepare_panel(path, kind=kind_of(kind))
    return archive_panel(panel, folder, version=version, note=note)


def _percent(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else "-"


def kind_of(kind: str | None) -> Kind:
    """Read the option `--kind`; None is "auto"."""
    if kind is None:
        return "auto"
    if kind not in ("prices", "returns"):
        raise ParameterError(f"--kind must be prices or returns, got {kind!r}")
    return cast(Kind, kind)
