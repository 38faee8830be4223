"""Read tables of prices or returns from files, folders, frames and the embedded data set.

Reading keeps what it finds: `read_tables` returns labelled tables that may still be unsorted, repeat
dates or hold impossible prices, so that the checks can show them. `read_panel` is the strict door: it
makes a `Panel` or says in one line what is wrong. `prepare_panel` reads, checks and cleans, and counts
every change.

Layouts, recognised by content and column names (case, blanks and underscores do not matter):

- wide: a date column (or a DatetimeIndex) and one column per asset;
- long: a date, an asset (`asset`, `ticker`, `symbol`), a value (`adj_close`, `close`, `price`, `return`), and
  perhaps `volume`, `high`, `low`;
- a folder or a dict of wide tables named `prices`, `adj_close`, `close` or `returns`, with `volume`, `high`,
  `low`, `market`; the first of the four that is there is used;
- "sp500": skfolio's bundled closing prices of 20 stocks, 1990-2022, offline.

Dates with a time zone lose it, and the provenance says so: rows a day or more apart keep the local wall
time of their zone (the day it was there), rows closer together become UTC, where no hour comes twice.

Whether numbers are prices or returns is asked of the evidence (`guess_kind`) unless `kind` says it.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from eigenfolio.data.findings import Finding, counted, iso_dates, some
from eigenfolio.data.places import EMBEDDED, absent
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel

__all__ = ["Kind", "Tables", "guess_kind", "read_panel", "read_tables"]

Kind = Literal["auto", "prices", "returns"]
Source = str | Path | pd.DataFrame | Mapping[str, pd.DataFrame]
MarketSource = pd.Series | pd.DataFrame | str | Path
SectorSource = pd.Series | Mapping[str, str] | str | Path

MIN_ASSETS = 2
MIN_ROWS = 30
SYNTHETIC_FORMAT = "eigenfolio synthetic data"

_VALUE_NAMES = ("prices", "adj_close", "close", "returns")
_DATE_COLUMNS = ("date", "datetime", "timestamp", "time", "time_utc", "day")
_ASSET_COLUMNS = ("asset", "ticker", "symbol", "tickers", "assets", "ric", "isin", "instrument")
_VALUE_COLUMNS: dict[str, Kind] = {
    "adj_close": "auto", "adjclose": "auto", "adjusted_close": "auto", "price": "auto", "prices": "auto",
    "close": "auto", "px_last": "auto", "value": "auto",
    "return": "returns", "returns": "returns", "ret": "returns",
}  # fmt: skip
_EXTRA_NAMES = ("volume", "high", "low")
_FIELD_COLUMNS = {
    *_VALUE_COLUMNS,
    *_EXTRA_NAMES,
    "open",
    "adj_open",
    "adj_high",
    "adj_low",
    "adj_volume",
    "dividends",
}
_DATE_FORMATS = (
    "%Y%m%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%d-%b-%Y",
    "%b %d, %Y",
)
_OFFSET = r"(?:Z|[+-]\d\d:?\d\d)"
_ZONE = "dates with a time zone"
_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".txt")


@dataclass(frozen=True, eq=False)
class Tables:
    """Labelled tables as they were found: not yet sorted, unique or clean.

    Parameters
    ----------
    values : DataFrame of shape (n_rows, n_assets)
        Prices or returns, float64, on a DatetimeIndex; a time zone is taken off as when reading.
    kind : {"prices", "returns"}
        What `values` are.
    source : str
        Where they came from.
    steps : tuple of str
        What reading recognised and decided.
    findings : tuple of Finding
        What reading had to leave out (text in number columns, repeated date and asset pairs).
    volume, high, low, market : DataFrame or None
        Same layout; `market` has one column per series.
    sectors : Series or None
        Label by asset name.
    """

    values: pd.DataFrame
    kind: Literal["prices", "returns"]
    source: str
    steps: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    volume: pd.DataFrame | None = None
    high: pd.DataFrame | None = None
    low: pd.DataFrame | None = None
    market: pd.DataFrame | None = None
    sectors: pd.Series | None = None

    def __post_init__(self) -> None:
        for name in ("values", "volume", "high", "low", "market"):
            table = getattr(self, name)
            if isinstance(table, pd.DataFrame) and isinstance(table.index, pd.DatetimeIndex) and table.index.tz:
                dates, step = _without_zone(pd.Series(table.index))
                object.__setattr__(self, name, table.set_axis(pd.DatetimeIndex(dates, name=table.index.name)))
                object.__setattr__(self, "steps", (*self.steps, step if name == "values" else f"{name}: {step}"))

    @classmethod
    def from_panel(cls, panel: Panel) -> Tables:
        """Return the tables that a panel was made of."""
        return cls(
            panel.returns if panel.prices is None else panel.prices,
            "returns" if panel.prices is None else "prices",
            panel.provenance.source,
            panel.provenance.steps,
            volume=panel.field("volume"),
            high=panel.field("high"),
            low=panel.field("low"),
            market=panel.market if len(panel.market.columns) else None,
            sectors=panel.sectors,
        )

    def to_panel(self) -> Panel:
        """Make a panel.

        Raises
        ------
        DataError
            If anything would have to be mended first.
        """
        lost = [finding for finding in self.findings if finding.status in ("warning", "error")]
        if lost:
            raise DataError(f"{self.source}: {lost[0].summary}; mend the file or clean it with prepare_panel")
        try:
            if self.kind == "prices":
                panel = Panel.from_prices(
                    self.values, volume=self.volume, high=self.high, low=self.low, market=self.market,
                    sectors=self.sectors, source=self.source,
                )  # fmt: skip
            else:
                panel = Panel.from_returns(
                    self.values,
                    volume=self.volume,
                    market=self.market,
                    sectors=self.sectors,
                    source=self.source,
                )
        except DataError as error:
            raise DataError(f"{self.source}: {error}") from error
        return replace(panel, provenance=replace(panel.provenance, steps=self.steps + panel.provenance.steps))


def read_panel(
    source: Source | Panel,
    *,
    market: MarketSource | None = None,
    sectors: SectorSource | None = None,
    kind: Kind = "auto",
) -> Panel:
    """Read a panel that needs no mending.

    Parameters
    ----------
    source : str, Path, DataFrame, mapping of DataFrame, or Panel
        A wide or long CSV or Parquet file, a folder of them, an archive, frames, or "sp500".
    market : DataFrame, Series or path, optional
        Series that belong to no asset (VIX), by date, in any order.
    sectors : Series, mapping or path, optional
        Label by asset name; a file has the columns asset (or ticker, symbol) and sector.
    kind : {"auto", "prices", "returns"}
        What the numbers are; "auto" decides by evidence and writes it into the provenance.

    Returns
    -------
    Panel
        At least 2 assets and 30 rows.

    Raises
    ------
    DataError
        One line naming what is wrong, where, and how to mend it.

    Examples
    --------
    >>> read_panel("sp500")
    Panel(8,312 returns x 20 assets, 1990-01-03 to 2022-12-28, from prices)
    """
    archive = _archive(source)
    if archive is not None:
        source = archive
    if isinstance(source, Panel) and market is None and sectors is None:
        return source
    return read_tables(source, market=market, sectors=sectors, kind=kind).to_panel()


def read_tables(
    source: Source | Panel,
    *,
    market: MarketSource | None = None,
    sectors: SectorSource | None = None,
    kind: Kind = "auto",
) -> Tables:
    """Read tables as they are, ready to be checked and cleaned.

    Parameters
    ----------
    source, market, sectors, kind
        As in `read_panel`.

    Returns
    -------
    Tables
        At least 2 assets and 30 rows, not all missing.

    Raises
    ------
    DataError
        If nothing usable is there, or the evidence does not say whether the numbers are prices or returns.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> shuffled = factor_market(3, 50).panel.prices.iloc[::-1]
    >>> tables = read_tables({"close": shuffled, "volume": 10 * shuffled})
    >>> tables.kind, tables.values.index.is_monotonic_increasing, tables.steps[0]
    ('prices', False, 'read close, volume')
    """
    if kind not in ("auto", "prices", "returns"):
        raise ParameterError(f"kind must be 'auto', 'prices' or 'returns', got {kind!r}")
    archive = _archive(source)
    if archive is not None:
        source = archive
    if isinstance(source, Panel):
        tables = Tables.from_panel(source)
    elif isinstance(source, pd.DataFrame):
        tables = _from_frame(source, "table", kind)
    elif isinstance(source, Mapping):
        tables = _from_frames(dict(source), "frames", kind)
    elif str(source) == EMBEDDED:
        from skfolio.datasets import load_sp500_dataset

        tables = Tables(load_sp500_dataset(), "prices", "skfolio's bundled S&P 500 data set")
    else:
        path = Path(source)
        if path.is_dir():
            tables = _from_frames(_folder(path), str(path), kind)
        else:
            tables = _from_frame(load_file(path), str(path), kind)
    if market is not None:
        series, zone = _read_market(market)
        tables = replace(tables, market=series, steps=tables.steps + zone)
    if sectors is not None:
        tables = replace(tables, sectors=_read_sectors(sectors))
    n_rows, n_assets = tables.values.shape
    if n_assets < MIN_ASSETS:
        raise DataError(f"{tables.source}: a panel needs at least {MIN_ASSETS} assets, got {n_assets}; add columns")
    if n_rows < MIN_ROWS:
        raise DataError(f"{tables.source}: a panel needs at least {MIN_ROWS} rows, got {n_rows}; add earlier dates")
    return tables


def guess_kind(values: pd.DataFrame) -> tuple[Literal["prices", "returns"] | None, str]:
    """Tell prices from returns by signs and sizes.

    Returns have both signs (at least a fifth of the values below zero) and are small (median size below 0.2);
    prices are positive (at most 2 % are not). Anything else is left open.

    Parameters
    ----------
    values : DataFrame
        Numbers of one kind.

    Returns
    -------
    kind : {"prices", "returns"} or None
        None when the evidence is mixed.
    evidence : str
        The figures it rests on.

    Examples
    --------
    >>> guess_kind(pd.DataFrame({"A": [0.01, -0.02, 0.005], "B": [-0.01, 0.0, 0.02]}))
    ('returns', '40 % of the values are negative, their typical size is 0.01')
    """
    numbers = values.to_numpy(dtype=float)
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    if not numbers.size:
        return None, "all values are zero or missing"
    negative = float(np.mean(numbers < 0))
    size = float(np.median(np.abs(numbers)))
    evidence = f"{100 * negative:.3g} % of the values are negative, their typical size is {size:.3g}"
    if negative >= 0.2 and size < 0.2:
        return "returns", evidence
    if negative <= 0.02:
        return "prices", evidence
    return None, evidence


def _archive(source: object) -> Panel | None:
    if not isinstance(source, str | Path):
        return None
    if (Path(source) / "manifest.json").is_file() and not _is_synthetic(Path(source)):
        from eigenfolio.data.archive import load_archive

        return load_archive(source)
    return None


def _is_synthetic(folder: Path) -> bool:
    """Whether a manifest is that of `eigenfolio data synth`, whose folder is read like any other."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == SYNTHETIC_FORMAT


# ---------------------------------------------------------------------------- files


def load_file(path: Path) -> pd.DataFrame:
    """Read one file as it is; the content, not the suffix, says whether it is Parquet."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise absent(path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the permissions") from error
    if not head.strip():
        raise DataError(f"{path}: the file is empty; it must hold dates and one column per asset")
    if head[:4] == b"PAR1":
        try:
            return pd.read_parquet(path)
        except Exception as error:  # pyarrow raises many types for a damaged file
            raise DataError(f"{path}: is a damaged Parquet file ({_first_line(error)}); write it again") from error
    packed = head[:2] == b"\x1f\x8b"
    if not packed and (b"\0" in head or not _is_text(head)):
        raise DataError(f"{path}: is neither Parquet nor text; hand over a CSV or Parquet file")
    try:
        return _load_csv(path, "gzip" if packed else None)
    except (ValueError, csv.Error, EOFError, OSError, zlib.error, pd.errors.ParserWarning) as error:
        raise DataError(f"{path}: cannot be read as CSV ({_csv_trouble(error)}); check the file") from error


def _load_csv(path: Path, compression: Literal["gzip"] | None) -> pd.DataFrame:
    options: dict[str, Any] = {"compression": compression, "encoding": "utf-8-sig"}
    with gzip.open(path, "rb") if compression else path.open("rb") as file:
        header, second = (file.readline().decode("utf-8-sig") for _ in range(2))
    separator = max(",;\t|", key=header.count)
    if separator != "," and re.search(r"\d,\d", second):
        options["decimal"] = ","
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: column {some(repeated)} appears more than once; drop or rename one")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        return pd.read_csv(path, sep=separator, index_col=False, low_memory=False, skipinitialspace=True, **options)


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8-sig") if len(head) == 4096 else head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return True


def _csv_trouble(error: Exception) -> str:
    """Say what is wrong with a CSV in a reader's words; what is not known stays as it was said."""
    text = _first_line(error)
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        expected, line, seen = found.groups()
        return f"line {line} has {seen} fields instead of {expected}"
    if found := re.search(r"EOF inside string starting at row (\d+)", text):
        return f"a quotation mark that opens after row {found[1]} is never closed"
    if text.startswith("Length of header"):
        return "rows have more fields than the header"
    return text


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120]


def _folder(path: Path) -> dict[str, pd.DataFrame]:
    """Load the files whose names are known; the first of prices, adj_close, close, returns is the panel."""
    found: dict[str, Path] = {}
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}); check the permissions") from error
    for entry in entries:
        suffix = next((s for s in _SUFFIXES if entry.name.lower().endswith(s)), None)
        if suffix is not None and entry.is_file():
            found.setdefault(_plain(entry.name[: -len(suffix)]), entry)
    used = next((name for name in _VALUE_NAMES if name in found), None)
    if used is None:
        raise DataError(
            f"{path}: the folder holds none of {', '.join(_VALUE_NAMES)} as .parquet or .csv "
            f"(it holds {some(entry.name for entry in entries) or 'nothing'}); rename a file or name one file"
        )
    return {name: load_file(found[name]) for name in (used, *_EXTRA_NAMES, "market", "sectors") if name in found}


# ---------------------------------------------------------------------------- layouts


def _from_frames(frames: dict[str, pd.DataFrame], source: str, kind: Kind) -> Tables:
    named = {_plain(name): frame for name, frame in frames.items()}
    used = next((name for name in _VALUE_NAMES if name in named), None)
    if used is None:
        raise DataError(f"{source}: one table must be named {', '.join(_VALUE_NAMES)}; got {some(frames) or 'none'}")
    known = {used, *_EXTRA_NAMES, "market", "sectors", *_VALUE_NAMES}
    unknown = sorted(set(named) - known)
    if unknown:
        raise DataError(f"{source}: nothing reads {some(unknown)}; known are {', '.join(sorted(known))}")
    tables = _from_frame(named[used], f"{source} ({used})", "returns" if used == "returns" else kind)
    extra: dict[str, Any] = {}
    findings = list(tables.findings)
    zones: list[str] = []
    for name in _EXTRA_NAMES:
        if name in named:
            table = _from_frame(named[name], f"{source} ({name})", "prices")
            extra[name] = table.values
            zones += [f"{name}: {step}" for step in table.steps if step.startswith(_ZONE)]
            findings += [replace(finding, summary=f"{name}: {finding.summary}") for finding in table.findings]
    if "market" in named:
        extra["market"], zone = _read_market(named["market"])
        zones += zone
    if "sectors" in named:
        extra["sectors"] = _read_sectors(named["sectors"])
    steps = (f"read {', '.join([used, *extra])}", *tables.steps, *zones)
    return replace(tables, source=source, steps=steps, findings=tuple(findings), **extra)


def _from_frame(frame: pd.DataFrame, source: str, kind: Kind) -> Tables:
    """Recognise the layout of one table and return it wide, as numbers on dates."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{source}: must be a DataFrame, got {type(frame).__name__}")
    if frame.columns.nlevels > 1:
        raise DataError(f"{source}: columns have {frame.columns.nlevels} levels; hand over a dict of frames by field")
    if not len(frame):
        raise DataError(f"{source}: the table has no rows; it must hold dates and one column per asset")
    frame = _index_to_columns(frame)
    frame = frame.set_axis([str(column).strip() for column in frame.columns], axis=1)
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()]
        raise DataError(f"{source}: column {some(repeated)} appears more than once; drop or rename one")
    date_column, dates, zone = _find_dates(frame, source)
    plain = {_plain(column): column for column in frame.columns if column != date_column}
    asset_column = next((plain[name] for name in _ASSET_COLUMNS if name in plain), None)
    if asset_column is not None and pd.api.types.is_numeric_dtype(frame[asset_column]) and dates.is_unique:
        asset_column = None  # a wide table with an asset of that name
    findings: list[Finding] = []
    if dates.isna().any():
        n_lost = int(dates.isna().sum())
        findings.append(
            Finding(
                "dates",
                "warning",
                f"{counted(n_lost, 'row')} without a readable date {_was(n_lost)} left out",
                count=n_lost,
            )
        )
    frame, dates = frame[dates.notna().to_numpy()], dates[dates.notna()]
    if asset_column is not None:
        return _from_long(frame, dates, zone, asset_column, plain, source, kind, findings)
    body = frame.drop(columns=date_column)
    if len(body.columns) and set(plain) <= _FIELD_COLUMNS:
        raise DataError(
            f"{source}: the columns ({some(body.columns)}) are fields of one asset; a panel needs at least "
            f"{MIN_ASSETS} assets: one column per asset, or a column 'ticker'"
        )
    values, lost = _numbers(body, source, dates)
    findings += lost
    values.index = pd.DatetimeIndex(dates, name="date")
    steps = [f"recognised a wide table, dates in column '{date_column}'", *zone]
    return _decided(values, source, kind, steps, findings)


def _from_long(
    frame: pd.DataFrame,
    dates: pd.Series,
    zone: tuple[str, ...],
    asset_column: str,
    plain: dict[str, str],
    source: str,
    kind: Kind,
    findings: list[Finding],
) -> Tables:
    value = next((name for name in _VALUE_COLUMNS if name in plain), None)
    if value is None:
        raise DataError(
            f"{source}: a long table needs a column adj_close, close, price or return beside "
            f"'{asset_column}', got {some(plain.values())}; a membership list is read by Membership.read"
        )
    fields = {value: plain[value]} | {name: plain[name] for name in _EXTRA_NAMES if name in plain}
    names = frame[asset_column].astype("string").str.strip()
    numbers, lost = _numbers(frame[list(fields.values())], source, dates, names)
    findings += lost
    fields = {name: column for name, column in fields.items() if column in numbers.columns}
    if value not in fields:
        raise DataError(f"{source}: column '{plain[value]}' holds no numbers; it must hold prices or returns")
    numbers.index = pd.MultiIndex.from_arrays([pd.DatetimeIndex(dates), names.to_numpy(dtype=object)])
    named = names.notna().to_numpy()
    if not named.all():
        n_lost = int((~named).sum())
        findings.append(
            Finding(
                "assets",
                "warning",
                f"{counted(n_lost, 'row')} without an asset name {_was(n_lost)} left out",
                count=n_lost,
            )
        )
        numbers = numbers[named]
    repeated = numbers.index.duplicated(keep="last")
    if repeated.any():
        pairs = numbers.index[repeated]
        findings.append(
            Finding(
                "duplicate dates",
                "warning",
                f"rows that repeat a date and asset: {repeated.sum():,}; the last of each is kept",
                tuple(sorted(set(pairs.get_level_values(1)))),
                iso_dates(pairs.get_level_values(0).unique()),
                int(repeated.sum()),
            )
        )
        numbers = numbers[~repeated]
    wide = {name: numbers[column].unstack() for name, column in fields.items()}
    for table in wide.values():
        table.index = pd.DatetimeIndex(table.index, name="date")
        table.columns = pd.Index([str(name) for name in table.columns])
    steps = [f"recognised a long table: asset in '{asset_column}', value in '{fields[value]}'", *zone]
    stated = kind if kind != "auto" else _VALUE_COLUMNS[value]
    tables = _decided(wide.pop(value), source, stated, steps, findings)
    return replace(tables, **cast(dict[str, Any], wide))


def _decided(values: pd.DataFrame, source: str, kind: Kind, steps: list[str], findings: list[Finding]) -> Tables:
    """Settle whether the numbers are prices or returns, and refuse a table without numbers."""
    if not len(values) or not np.isfinite(values.to_numpy()).any():
        n_rows, n_assets = values.shape
        raise DataError(
            f"{source}: no number in {n_rows:,} rows x {n_assets:,} assets, all are missing; check how it was written"
        )
    if kind == "auto":
        guess, evidence = guess_kind(values)
        if guess is None:
            raise DataError(
                f"{source}: cannot tell prices from simple returns ({evidence}); "
                "mend impossible values, or state kind='prices' or kind='returns' (as fractions: 0.01 is 1 %)"
            )
        steps.append(f"read as {guess}: {evidence}")
        if guess == "returns":
            findings.append(Finding("kind", "note", f"read as returns, because {evidence}"))
        kind = guess
    else:
        steps.append(f"read as {kind}, as stated")
    return Tables(values, kind, source, tuple(steps), tuple(findings))


def _find_dates(frame: pd.DataFrame, source: str) -> tuple[str, pd.Series, tuple[str, ...]]:
    """Return the column of dates, the dates, and a step when they had a time zone."""
    by_type = [column for column in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[column])]
    by_name = [column for column in frame.columns if _plain(column) in _DATE_COLUMNS]
    first = frame.columns[0]
    leading = [] if pd.api.types.is_float_dtype(frame[first]) else [first]
    for column in dict.fromkeys([*by_type, *by_name, *leading]):
        dates, step = _parse_dates(frame[column], source)
        if dates.notna().mean() > 0.5:
            return column, dates, (step,) if step else ()
    raise DataError(
        f"{source}: no column of dates among {some(frame.columns, 3)}; name one 'date' and write it as YYYY-MM-DD"
    )


def _parse_dates(column: pd.Series, source: str) -> tuple[pd.Series, str]:
    """Return dates without a time zone, NaT where unreadable, and what was done to a zone."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _without_zone(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return column, ""
    text = column.astype("string").str.strip()
    if pd.api.types.is_numeric_dtype(column):  # 20200131 is a date, other numbers are not
        text = text.str.replace(r"\.0$", "", regex=True)
        return pd.to_datetime(text.where(text.str.fullmatch(r"(19|20)\d{6}")), format="%Y%m%d", errors="coerce"), ""
    return _parse_text_dates(text, source)


def _parse_text_dates(text: pd.Series, source: str) -> tuple[pd.Series, str]:
    sample = text.dropna().iloc[:1000]
    if not sample.str.contains(r"\d", regex=True).mean() > 0.5:
        return pd.Series(pd.NaT, index=text.index), ""
    wall = text.str.replace(rf"(:\d\d(?:\.\d+)?)\s?{_OFFSET}$", r"\1", regex=True)
    zoned = wall.ne(text).fillna(False)
    iso = pd.to_datetime(wall, format="ISO8601", errors="coerce")
    if iso.notna().mean() > 0.5:
        if not zoned.any():
            return iso, ""
        if _is_intraday(iso) and zoned[iso.notna()].all():
            utc = pd.to_datetime(text.str.replace(r"\s(?=[+-]\d\d:?\d\d$|Z$)", "", regex=True), format="ISO8601",
                                 errors="coerce", utc=True)  # fmt: skip
            return _without_zone(utc, "offsets from UTC")
        return iso, f"{_ZONE} (offsets from UTC) keep their local wall time"
    tries = {style: pd.to_datetime(wall, format=style, errors="coerce") for style in _DATE_FORMATS}
    american, european = tries["%m/%d/%Y"], tries["%d/%m/%Y"]
    if american.notna().all() and european.notna().all() and not american.equals(european):
        raise DataError(f"{source}: dates like {sample.iloc[0]} can be read in two ways; write them as YYYY-MM-DD")
    return max(tries.values(), key=lambda dates: dates.notna().sum()), ""


def _without_zone(dates: pd.Series, zone: str = "") -> tuple[pd.Series, str]:
    """Take the time zone off: the local wall time of days and longer, UTC of anything shorter."""
    zone = zone or str(dates.dt.tz)
    if _is_intraday(dates):
        return dates.dt.tz_convert("UTC").dt.tz_localize(None), f"{_ZONE} ({zone}) were converted to UTC"
    return dates.dt.tz_localize(None), f"{_ZONE} ({zone}) keep their local wall time"


def _is_intraday(dates: pd.Series) -> bool:
    stamps = np.unique(pd.DatetimeIndex(dates.dropna()).as_unit("s").asi8)
    return len(stamps) > 1 and float(np.median(np.diff(stamps))) < 0.9 * 86400


def _numbers(
    body: pd.DataFrame, source: str, dates: pd.Series, names: pd.Series | None = None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Return float64 columns; text becomes missing, columns of text are left out, both with a finding.

    `names` are the assets by row; without them every column is an asset.
    """
    findings = []
    text = [column for column in body.columns if not pd.api.types.is_numeric_dtype(body[column])]
    if text:
        written, body = body, body.copy()
        lost, left_out = {}, []
        for column in text:
            numbers = pd.to_numeric(body[column].astype("string").str.replace(",", ""), errors="coerce")
            lost[column] = (numbers.isna() & body[column].notna()).to_numpy(dtype=bool)
            if lost[column].mean() > 0.5:
                left_out.append(column)
            body[column] = numbers.astype("float64")
        body = body.drop(columns=left_out)
        if left_out:
            n = len(left_out)
            summary = f"{counted(n, 'column')} without numbers {_was(n)} left out ({some(left_out)})"
            findings.append(Finding("text columns", "warning", summary, tuple(left_out), (), len(left_out)))
        lost = {column: mask for column, mask in lost.items() if column not in left_out and mask.any()}
        if lost:
            findings.append(_text_cells(lost, written, dates, names))
    unnamed = [column for column in body.columns if re.fullmatch(r"Unnamed: \d+|", column)]
    counter = np.arange(len(body))
    body = body.drop(columns=[c for c in unnamed if body[c].isna().all() or np.array_equal(body[c], counter)])
    if not len(body.columns):
        raise DataError(f"{source}: no column of numbers; it must hold dates and one column per asset")
    values = np.array(body.to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    return pd.DataFrame(values, columns=body.columns, copy=False), findings


def _text_cells(
    lost: dict[str, np.ndarray], written: pd.DataFrame, dates: pd.Series, names: pd.Series | None
) -> Finding:
    """Tell which assets have text for numbers, and the first such cell: what it holds, whose it is and of which day."""
    cells = np.column_stack(list(lost.values()))
    rows, columns = np.nonzero(cells)
    order = np.argsort(dates.to_numpy()[rows], kind="stable")  # dates that cannot be read come last
    rows, columns = rows[order], columns[order]
    owners = np.array(list(lost), dtype=object)[columns] if names is None else names.to_numpy(dtype=object)[rows]
    assets = tuple(str(owner) for owner in pd.unique(owners))
    days = iso_dates(dates.iloc[rows].dropna().unique())
    text = str(written[list(lost)[columns[0]]].iloc[rows[0]])[:20]
    where = f"{some(assets)}; first '{text}', {assets[0]}, {days[0] if days else 'no date'}"
    summary = f"{counted(len(rows), 'cell')} of text {_was(len(rows))} read as missing ({where})"
    return Finding("text cells", "warning", summary, assets, days, len(rows))


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def read_table_columns(table: pd.DataFrame, source: str) -> tuple[pd.Series, pd.Series]:
    """Return the dates and the asset names of a long table that holds nothing else of interest."""
    table = _index_to_columns(table)
    plain = {_plain(column): str(column) for column in table.columns}
    asset = next((plain[name] for name in _ASSET_COLUMNS if name in plain), None)
    if asset is None or not len(table):
        raise DataError(f"{source}: needs rows with the columns date and ticker, got {some(table.columns)}")
    _, dates, _ = _find_dates(table.drop(columns=asset), source)
    known = dates.notna().to_numpy() & table[asset].notna().to_numpy()
    return dates[known], table.loc[known, asset].astype(str).str.strip()


def _read_market(market: MarketSource) -> tuple[pd.DataFrame, tuple[str, ...]]:
    source = str(market) if isinstance(market, str | Path) else "market"
    frame = load_file(Path(market)) if isinstance(market, str | Path) else market
    if isinstance(frame, pd.Series):
        frame = frame.to_frame(name=frame.name if frame.name is not None else "market")
    frame = _index_to_columns(frame)
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    date_column, dates, zone = _find_dates(frame, source)
    values, _ = _numbers(frame.drop(columns=date_column), source, dates)
    values.index = pd.DatetimeIndex(dates, name="date")
    values = values[values.index.notna()]
    if not values.index.is_unique:
        raise DataError(f"{source}: market series repeat {values.index.duplicated().sum()} dates; keep one row of each")
    return values.sort_index(), tuple(f"market: {step}" for step in zone)


def _read_sectors(sectors: SectorSource | pd.DataFrame) -> pd.Series:
    source = str(sectors) if isinstance(sectors, str | Path) else "sectors"
    table = load_file(Path(sectors)) if isinstance(sectors, str | Path) else sectors
    if not isinstance(table, pd.DataFrame):
        return pd.Series(table, dtype=object)
    table = _index_to_columns(table, "asset")
    plain = {_plain(column): column for column in table.columns}
    asset = next((plain[name] for name in _ASSET_COLUMNS if name in plain), None)
    if asset is None or "sector" not in plain:
        raise DataError(f"{source}: needs columns asset (or ticker, symbol) and sector, got {some(table.columns)}")
    return pd.Series(table[plain["sector"]].to_numpy(dtype=object), index=table[asset].astype(str), dtype=object)


def _index_to_columns(frame: pd.DataFrame, first: str = "date") -> pd.DataFrame:
    """Turn the index into columns, unless it only counts rows."""
    index = frame.index
    counts_rows = index.nlevels == 1 and index.name is None and pd.api.types.is_numeric_dtype(index.dtype)
    if counts_rows and not ((index >= 1900_01_01) & (index < 2100_01_01)).all():
        return frame.reset_index(drop=True)
    defaults = [first if first not in frame.columns else "index", "asset", *map(str, range(2, index.nlevels))]
    names = [str(name) if name is not None else default for name, default in zip(index.names, defaults, strict=False)]
    return frame.reset_index(names=names)


def _plain(name: object) -> str:
    return re.sub(r"[\s_\-]+", "_", str(name).strip().lower())
