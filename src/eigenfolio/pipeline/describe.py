"""A panel described: its extent and quality, and the features of its market over time, as tables and as a page."""

from __future__ import annotations

import json
import re
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

__all__ = ["CALENDAR", "UNITS", "Description", "describe_panel", "unit_of"]

LOOKBACK = 252
CALENDAR = ("seasonality", "events")
"""Families that the calendar decides; where they stand in their past says nothing about the market."""
UNITS: tuple[tuple[str, str], ...] = (
    (r"regime\.market_volatility_(?!252)\d+", "log ratio: these rows to the past 252"),
    (r"regime\.asset_volatility_(?!252)\d+", "log ratio: these rows to the past 252, mean of assets"),
    (r"regime\.(market|asset)_volatility_252", "percentile of its level so far, 0 to 1"),
    (r"regime\.vix_(level|to_month)", "log ratio to its own past"),
    (r"regime\.vix_percentile", "percentile of its level, 0 to 1"),
    (r"regime\.(amihud|dollar_volume|corwin_schultz_change|abdi_ranaldo_change)", "log ratio: 21 rows to the window"),
    (r"regime\.volume_ratio_\d+", "log ratio: these rows to the window"),
    (r"regime\.dispersion_level", "log ratio: 21 rows to the window"),
    (r"regime\.dispersion_to_market", "log ratio: between assets to the market"),
    (r"regime\.turbulence_\d+", "log"),
    (r"temporal\.volatility_ratio_\w+", "log ratio: these rows to as many before"),
    (r"temporal\.(market|asset)_log_kurtosis", "log ratio to a normal distribution's"),
    (r"correlation\.log_aspect_ratio", "log ratio: assets to rows"),
    (r"correlation\.(eigenvalue_gap|log_condition|covariance_log_condition)", "log ratio of two eigenvalues"),
    (r"correlation\.eigenvalue_(min|median)", "log"),
    (r"correlation\.eigenvalue_log_mean", "mean of logs"),
    (r"correlation\.covariance_trace", "log ratio: 63 rows to the window"),
    (r"correlation\.covariance_mean", "log ratio: mean to median variance"),
)
"""Patterns of the features that are logarithms or percentiles of what their names say, and which. The first counts."""
_MONTH, _WEEK = 21, 5
_LONG = 1260  # rows from which a feature is taken once a month, not once a week
_CONFIRM = 5
_LEVELS = {"volatility": "volatility", "correlation": "correlation", "trend": "size of the trend"}


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
        places = {name: now[f"{name}_percentile"] for name in _LEVELS}
        known = [f"{_LEVELS[name]} {100 * place:.0f}" for name, place in places.items() if np.isfinite(place)]
        if pd.isna(now["label"]):
            first = f"On {day} the market has no regime yet: too few rows to tell."
        else:
            first = f"On {day} the market is {now['label']}; levels as percentiles of its own past: {', '.join(known)}."
        lines = self.table.summary()
        percentiles = lines.loc[~lines["family"].isin(CALENDAR), "percentile"].dropna()
        unusual = int(((percentiles <= 0.05) | (percentiles >= 0.95)).sum())
        return (
            first,
            "Most features named volatility are not levels but log ratios to the past year: a market whose level is "
            "usual can stand far below its own last year.",
            f"{unusual} of {len(percentiles)} features of the market stand in the lowest or highest 5 % of their "
            f"values since {self.table.values.index[0]:%Y-%m-%d}; a usual day has about {0.1 * len(percentiles):.0f}.",
            *self._not_judged(len(lines), len(percentiles), int(lines["family"].isin(CALENDAR).sum())),
        )

    def _not_judged(self, n_features: int, n_judged: int, n_calendar: int) -> tuple[str, ...]:
        """Account for the features that the count of the unusual ones leaves out."""
        n_unknown = n_features - n_judged - n_calendar
        have = {*self.panel.assets.fields, *map(str, self.panel.market.columns)}
        have |= set() if self.panel.sectors is None else {"sectors"}
        lacking = [name for name in ("volume", "high", "low", "vix", "sectors") if name not in have]
        why = f" (the panel has no {', '.join(lacking)})" if lacking and n_unknown else ""
        return (
            f"The other {n_features - n_judged} of {n_features} features: {n_calendar} follow the calendar and say "
            f"nothing about the market, {n_unknown} are not known on that day{why}.",
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
                units={name: unit for name in map(str, self.table.values) if (unit := unit_of(name))},
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


def unit_of(name: str) -> str:
    """Say of a feature, ``family.feature``, whether it is a logarithm or a percentile, and of what; else nothing.

    Examples
    --------
    >>> unit_of("regime.market_volatility_10"), unit_of("regime.drawdown")
    ('log ratio: these rows to the past 252', '')
    """
    return next((unit for pattern, unit in UNITS if re.fullmatch(pattern, name)), "")


def _rows(n_observations: int) -> list[int]:
    """Every 21st or 5th row with a whole window, counted back from the last."""
    step = _MONTH if n_observations >= _LONG else _WEEK
    return list(range(n_observations - 1, LOOKBACK - 2, -step))[::-1]
