"""One self-contained HTML page that shows features over time: small multiples by family over the regimes of the market.

Everything is drawn as SVG while the page is written, so it prints, and shows without a script; the script adds one
reading line through all charts. Nothing is loaded, nothing is sent, and the same content gives the same bytes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from eigenfolio.report.page import read_resource, script_json, write_page

__all__ = ["FeaturePage", "render_feature_page", "write_feature_page"]

_WIDTH, _HEIGHT = 1000, 100  # of every drawing; the page stretches it
_UNUSUAL = 0.05


@dataclass(frozen=True)
class FeaturePage:
    """What the page shows.

    Parameters
    ----------
    title, subtitle : str
        Heading and the line below it.
    values : DataFrame of shape (n_rows, n_features)
        Columns ``family.feature``, NaN where missing, dates as index.
    summary : DataFrame of shape (n_features, 5)
        Columns family, feature, latest, percentile, missing; one line per column of `values`, in order.
    regimes : Series
        Categorical labels by day, missing where there is none; the categories are in order from quiet to loud.
    market : Series
        Value of a holding in the market, by day; positive.
    sentences : sequence of str
        What the reader should know first.
    calendar : sequence of str
        Families that the calendar decides: in the table, but not drawn, and none of their features is called unusual.
    units : mapping of str to str
        What a feature is measured in, by column of `values`; one that is not named has no unit worth a word.
    facts : mapping of str to str
        Extent and quality of the panel.
    years : sequence of mapping
        The panel year by year, the same keys in each.
    """

    title: str
    values: pd.DataFrame
    summary: pd.DataFrame
    regimes: pd.Series
    market: pd.Series
    subtitle: str = ""
    sentences: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    years: tuple[Mapping[str, Any], ...] = ()


def write_feature_page(content: FeaturePage, path: str | os.PathLike[str]) -> Path:
    """Write the page, whole or not at all.

    Raises
    ------
    ArtifactError
        If the file cannot be written; nothing is left behind.
    """
    return write_page(render_feature_page(content), path)


def render_feature_page(content: FeaturePage) -> str:
    """The page as text.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=3)
    >>> values = pd.DataFrame({"regime.drawdown": [0.0, -0.1, -0.2]}, index=days)
    >>> summary = pd.DataFrame(
    ...     {"family": ["regime"], "feature": ["drawdown"], "latest": [-0.2], "percentile": [1 / 6], "missing": [0.0]})
    >>> labels = pd.Series(pd.Categorical(["calm", "calm", "crisis"], categories=["calm", "crisis"]), index=days)
    >>> page = render_feature_page(FeaturePage("A panel", values, summary, labels, pd.Series(1.0, index=days)))
    >>> page[:15], "Drawdown" in page
    ('<!doctype html>', True)
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    first, last = content.values.index[0], content.values.index[-1]
    lines = [_line(content, k) for k in range(len(content.summary))]
    families = []
    for family in dict.fromkeys(content.summary["family"]):
        if family in content.calendar:  # drawn at dates weeks apart, what turns with the calendar would be noise
            continue
        of_family = [line for line in lines if line["family"] == family]
        families.append(
            {
                "name": family,
                "title": _words(family),
                "lines": [line for line in of_family if line["path"]],
                "absent": [line["name"] for line in of_family if not line["path"]],
            }
        )
    market = _rebased(content.market[first:last]).map(np.log)
    daily = content.regimes[first:last]
    shares = _shares(daily)
    html = environment.from_string(read_resource("feature_page.html")).render(
        content=content,
        families=families,
        lines=lines,
        unusual=sorted(
            (line for line in lines if line["unusual"]), key=lambda line: (-abs(line["place"] - 0.5), line["key"])
        )[:12],
        first=f"{first:%Y}",
        last=f"{last:%Y-%m-%d}",
        n_rows=len(content.values),
        market=Markup(_path(market, first, last, *_range(market.to_numpy()))) if len(market.dropna()) > 1 else None,
        market_range=[f"{np.exp(end):.2f}" for end in _range(market.to_numpy())],
        bands=[
            {"name": str(name), "path": Markup(_bands(daily == name, first, last)), "share": shares[name]}
            for name in content.regimes.cat.categories
        ],
        years_at=_years(first, last),
        width=_WIDTH,
        height=_HEIGHT,
        css=Markup(read_resource("page.css") + read_resource("feature_page.css")),
        script=Markup(read_resource("feature_page.js")),
        data=Markup(script_json(_readings(content, first, last))),
    )
    return html


def _line(content: FeaturePage, k: int) -> dict[str, Any]:
    """Everything about one feature: its words, its numbers and its path."""
    about = content.summary.iloc[k]
    series = content.values.iloc[:, k]
    place = float(about["percentile"])
    first, last = content.values.index[0], content.values.index[-1]
    known = series.dropna()
    low, high = _range(series.to_numpy(dtype=float))
    return {
        "key": str(content.values.columns[k]),
        "family": about["family"],
        "name": _words(about["feature"]),
        "unit": content.units.get(str(content.values.columns[k]), ""),
        "latest": _figure(about["latest"]),
        "latest_key": "" if np.isnan(about["latest"]) else float(about["latest"]),
        "place": place,
        "place_text": "\u2013" if np.isnan(place) else f"{100 * place:.0f}",
        "place_key": "" if np.isnan(place) else place,
        "unusual": about["family"] not in content.calendar and min(place, 1 - place) <= _UNUSUAL,
        "missing": f"{about['missing']:.0%}",
        "missing_key": float(about["missing"]),
        "low": _figure(low),
        "high": _figure(high),
        "path": Markup(_path(series, first, last, low, high))
        if len(known) > 1 and about["family"] not in content.calendar
        else None,
    }


def _readings(content: FeaturePage, first: pd.Timestamp, last: pd.Timestamp) -> dict[str, Any]:
    """What the reading line tells: dates, their place across, the regime and the numbers, four digits each."""
    index = pd.DatetimeIndex(content.values.index)
    labels = content.regimes.reindex(index).astype(object)
    return {
        "dates": index.strftime("%Y-%m-%d").tolist(),
        "x": [round(x / _WIDTH, 4) for x in _across(index, first, last)],
        "regimes": [None if pd.isna(label) else str(label) for label in labels],
        "market": [_short(x) for x in _rebased(content.market[first:last]).reindex(index)],
        "values": {str(name): [_short(x) for x in content.values[name]] for name in content.values},
    }


def _rebased(market: pd.Series) -> pd.Series:
    """The value of 1 put in on the first day."""
    values = market.astype(float)
    return values / values.iloc[0] if len(values) else values


def _across(index: pd.DatetimeIndex, first: pd.Timestamp, last: pd.Timestamp) -> list[float]:
    span = max((last - first) / pd.Timedelta(1, "s"), 1.0)
    return [_WIDTH * ((date - first) / pd.Timedelta(1, "s")) / span for date in index]


def _range(values: np.ndarray) -> tuple[float, float]:
    seen = values[np.isfinite(values)]
    return (float(seen.min()), float(seen.max())) if len(seen) else (np.nan, np.nan)


def _path(series: pd.Series, first: pd.Timestamp, last: pd.Timestamp, low: float, high: float) -> str:
    """SVG path of a line that is lifted where a value is missing; the range of the values fills 4 to 96 of 100."""
    spread = high - low
    words, down = [], False
    for x, y in zip(_across(pd.DatetimeIndex(series.index), first, last), series.to_numpy(dtype=float), strict=True):
        if not np.isfinite(y):
            down = False
            continue
        height = 50.0 if spread <= 0 else 96.0 - 92.0 * (y - low) / spread
        words.append(f"{'L' if down else 'M'}{x:.1f} {height:.1f}")
        if not down:
            words.append("l0 0")  # a value between two gaps is a dot
        down = True
    return "".join(words)


def _bands(chosen: pd.Series, first: pd.Timestamp, last: pd.Timestamp) -> str:
    """SVG path of upright bands over the days on which something holds; a band reaches to the next day given."""
    across = _across(pd.DatetimeIndex(chosen.index), first, last)
    flags = np.concatenate([[False], chosen.to_numpy(dtype=bool), [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(flags) == 1), np.flatnonzero(np.diff(flags) == -1)
    ends = [*across, float(_WIDTH)]
    return "".join(
        f"M{across[a]:.1f} 0H{ends[b]:.1f}V{_HEIGHT}H{across[a]:.1f}Z" for a, b in zip(starts, stops, strict=True)
    )


def _shares(labels: pd.Series) -> dict[object, str]:
    """Share of every category in tenths of a percent, so rounded that they sum to 100: by the largest remainders."""
    counts = labels.value_counts(sort=False)
    if not counts.sum():
        return dict.fromkeys(counts.index, "\u2013")
    exact = 1000 * counts.to_numpy() / counts.sum()
    tenths = np.floor(exact).astype(int)
    up = np.argsort(tenths - exact, kind="stable")[: 1000 - tenths.sum()]
    tenths[up] += 1
    return {name: f"{tenth / 10:.1f}%" for name, tenth in zip(counts.index, tenths, strict=True)}


def _years(first: pd.Timestamp, last: pd.Timestamp) -> list[tuple[float, str]]:
    """Places of the years to mark, at most eight."""
    years = list(range(first.year + 1, last.year + 1))
    step = next(step for step in (1, 2, 5, 10, 20, 50, 1000) if len(years) <= 8 * step)
    dates = [pd.Timestamp(year, 1, 1) for year in years if year % step == 0]
    return [
        (round(x, 1), str(date.year))
        for x, date in zip(_across(pd.DatetimeIndex(dates), first, last), dates, strict=True)
    ]


def _short(value: float) -> float | None:
    return None if not np.isfinite(value) else float(f"{value:.4g}")


def _figure(value: float) -> str:
    if not np.isfinite(value):
        return "\u2013"
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "\u2212")


def _words(name: str) -> str:
    text = str(name).replace("_", " ")
    return text[:1].upper() + text[1:]
