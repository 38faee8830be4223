"""A panel described: its extent and quality, and the features of its market over time, as tables and as a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.data import prepare_panel
from eigenfolio.errors import ParameterError
from eigenfolio.features.regime import market_returns
from eigenfolio.features.regimes import market_regimes
from eigenfolio.features.table import FeatureTable, feature_table, n_pieces
from eigenfolio.panel import Panel
from eigenfolio.pipeline.prepare import kind_of, summarise

__all__ = ["CALENDAR", "Description", "describe_panel"]

LOOKBACK = 252
CALENDAR = ("seasonality", "events")
"""Families that the calendar decides; where they stand in their past says nothing about the market."""
_MONTH, _WEEK = 21, 5
_LONG = 1260  # rows from which a feature is taken once a month, not once a week
_CONFIRM = 5


@dataclass(frozen=True)
class Description:
    """What is known about a panel.

    Parameters
    ----------
    panel : Panel
        Cleaned.
    summary : mapping
        Extent, coverage, volatility and correlation, with one entry per year under ``by_year``.
    table : FeatureTable or None
        Features at every 21st row (every 5th of fewer than 1,260), the last row among them; None where not wanted or
        where the panel is too short.
    regimes : DataFrame or None
        Labels and percentiles by day, see `market_regimes`; None without a table.
    note : str
        Why there is no table; empty otherwise.
    """

    panel: Panel
    summary: dict[str, Any]
    table: FeatureTable | None
    regimes: pd.DataFrame | None
    note: str

    def sentences(self) -> tuple[str, ...]:
        """What the features say about the last row."""
        if self.table is None or self.regimes is None:
            return (self.note,) if self.note else ()
        now = self.regimes.iloc[-1]
        day = f"{self.panel.index[-1]:%Y-%m-%d}"
        places = {name: now[f"{name}_percentile"] for name in ("volatility", "correlation", "trend")}
        known = [f"{name} {100 * place:.0f}" for name, place in places.items() if np.isfinite(place)]
        if pd.isna(now["label"]):
            first = f"On {day} the market has no regime yet: too few rows to tell."
        else:
            first = f"On {day} the market is {now['label']}; percentiles of its own past: {', '.join(known)}."
        lines = self.table.summary()
        percentiles = lines.loc[~lines["family"].isin(CALENDAR), "percentile"].dropna()
        unusual = int(((percentiles <= 0.05) | (percentiles >= 0.95)).sum())
        return (
            first,
            f"{unusual} of {len(percentiles)} features of the market stand in the lowest or highest 5 % of their "
            f"values since {self.table.values.index[0]:%Y-%m-%d}; a usual day has about {0.1 * len(percentiles):.0f}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything that is printed, JSON-able; None where a number is missing."""
        result = dict(self.summary)
        if self.note:
            result["features_note"] = self.note
        if self.table is None or self.regimes is None:
            return result
        lines = self.table.summary().to_dict("records")
        result["features"] = [
            {str(name): None if isinstance(x, float) and not np.isfinite(x) else x for name, x in line.items()}
            for line in lines
        ]
        label = self.regimes["label"].iloc[-1]
        shares = self.regimes["label"].value_counts(normalize=True, sort=False)
        result["regime"] = {
            "latest": None if pd.isna(label) else str(label),
            "shares": {str(name): round(float(share), 4) for name, share in shares.items()},
        }
        return result

    def write(self, folder: Path) -> Path:
        """Write the page `describe.html` and, where there are features, `features.parquet` to a new folder.

        Returns
        -------
        Path
            The page, or the folder's summary where there are no features.

        Raises
        ------
        ArtifactError
            If the folder exists or cannot be written.
        """
        with whole_folder(folder) as partial:
            (partial / "describe.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
            if self.table is None or self.regimes is None:
                return Path(folder) / "describe.json"
            from eigenfolio.report.feature_page import FeaturePage, write_feature_page

            self.table.to_parquet(partial / "features.parquet")
            regimes = self.regimes["label"]
            market = pd.Series(market_returns(self.panel), index=self.panel.index).fillna(0.0)
            facts = {name.replace("_", " "): value for name, value in self.summary.items() if name != "by_year"}
            page = FeaturePage(
                title=f"Features of {Path(str(self.summary['source'])).name}",
                subtitle=f"{self.summary['assets']:,} assets, {self.summary['rows']:,} returns from "
                f"{self.summary['first_row']} to {self.summary['last_row']}; windows of {self.table.lookback} rows",
                values=self.table.values,
                summary=self.table.summary(),
                regimes=regimes,
                market=(1.0 + market).cumprod(),
                sentences=self.sentences(),
                calendar=CALENDAR,
                facts=facts,
                years=tuple(self.summary["by_year"]),
            )
            write_feature_page(page, partial / "describe.html")
        return Path(folder) / "describe.html"


def describe_panel(
    path: str,
    *,
    kind: str | None = None,
    features: bool = True,
    events: Path | None = None,
    n_jobs: int = 1,
    progress: Callable[[str, int], AbstractContextManager[Callable[[], None]]] | None = None,
) -> Description:
    """Read and clean a panel, and describe it.

    Parameters
    ----------
    path : str
        CSV or Parquet (wide or long), a folder, an archive, or ``"sp500"``.
    kind : str, optional
        "prices" or "returns"; None decides by evidence.
    features : bool
        Compute the features, which takes up to a minute for a thousand assets.
    events : Path, optional
        A user's events, see `eigenfolio.features.read_events`.
    n_jobs : int
        Processes.
    progress : callable, optional
        Opens a progress stage of a name and a length, and gives what moves it on.

    Raises
    ------
    DataError
        If panel or events cannot be used.
    ParameterError
        If events are given without features.

    Examples
    --------
    >>> describe_panel("sp500", features=False).summary["assets"]
    20
    """
    if events is not None and not features:
        raise ParameterError("--events are read by the features; leave out --no-features")
    panel, _ = prepare_panel(path, kind=kind_of(kind))
    summary = summarise(panel)
    if not features:
        return Description(panel, summary, None, None, "")
    rows = _rows(panel.n_observations)
    if len(rows) < 2:
        note = f"Features need {LOOKBACK + _WEEK} rows of returns, got {panel.n_observations}."
        return Description(panel, summary, None, None, note)
    stage = nullcontext(None) if progress is None else progress("features", n_pieces(len(rows)))
    with stage as on_done:
        table = feature_table(panel, rows, lookback=LOOKBACK, events=events, n_jobs=n_jobs, on_done=on_done)
    return Description(panel, summary, table, market_regimes(panel, confirm=_CONFIRM), "")


def _rows(n_observations: int) -> list[int]:
    """Every 21st or 5th row with a whole window, counted back from the last."""
    step = _MONTH if n_observations >= _LONG else _WEEK
    return list(range(n_observations - 1, LOOKBACK - 2, -step))[::-1]
