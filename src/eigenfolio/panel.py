"""The record everything starts from: aligned returns of many assets, with labels and provenance.

A panel is skfolio's `AssetPanel` (assets x dates) plus what is not per asset: market series, sectors and
where the numbers came from. Every row is a return; row t is the move from the last observed price before
t to the price at t:

    returns[t, i] = prices[t, i] / (last observed price of i before t) - 1     (NaN where either is missing)

so the product of (1 + returns) over an asset's life is its last price over its first, whatever the gaps.
A table of T price rows therefore gives T - 1 rows of returns; the first price row is kept as
`first_prices`.

An asset is active from its first to its last observed price. A gap in between stays active with a missing
return, a delisting return (`eigenfolio.data.clean_panel` writes it when asked) stands in the asset's last
active row, and cutting a panel (`until`) asks the question again with what was known on that date.

Prices are positive, in currency; returns are simple, per period; all numbers are float64 in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from skfolio.containers import AssetPanel

from eigenfolio.errors import DataError

__all__ = ["Panel", "Provenance"]

_MEND = "clean it with eigenfolio.data.clean_panel"


@dataclass(frozen=True)
class Provenance:
    """Where a panel came from and what was done to it.

    Parameters
    ----------
    source : str
        File, folder or name the numbers were read from.
    steps : tuple of str
        What happened since, in order, one sentence each.

    Examples
    --------
    >>> Provenance("prices.csv").then("kept 20 assets").steps
    ('kept 20 assets',)
    """

    source: str
    steps: tuple[str, ...] = ()

    def then(self, *steps: str) -> Provenance:
        """Return the provenance with `steps` added at the end."""
        return Provenance(self.source, (*self.steps, *steps))


@dataclass(frozen=True, eq=False, repr=False)
class Panel:
    """Aligned returns of many assets, with market series, sectors and provenance.

    Build it with `from_prices` or `from_returns`; both check what they are given. Arrays are read-only.

    Parameters
    ----------
    assets : skfolio.containers.AssetPanel
        Fields "returns" and, when known, "prices", "volume", "high", "low", each of shape
        (n_observations, n_assets); its `active_mask` says which asset was listed when.
    market : DataFrame of shape (n_observations, n_series)
        Series that belong to no asset (an index, VIX), on the same dates; may have no columns.
    sectors : Series or None
        One label per asset, indexed by asset name.
    provenance : Provenance
        Source and steps.
    first_prices : DataFrame of shape (1, n_assets) or None
        Prices on the row before the first return (panels made of prices only).

    Examples
    --------
    >>> dates = pd.bdate_range("2020-01-01", periods=3)
    >>> panel = Panel.from_prices(pd.DataFrame({"A": [10.0, 11.0, 11.0], "B": [4.0, None, 5.0]}, index=dates))
    >>> panel
    Panel(2 returns x 2 assets, 2020-01-02 to 2020-01-03, from prices)
    >>> panel.returns.round(3)
                  A     B
    date
    2020-01-02  0.1   NaN
    2020-01-03  0.0  0.25
    """

    assets: AssetPanel
    market: pd.DataFrame
    sectors: pd.Series | None
    provenance: Provenance
    first_prices: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if "returns" not in self.assets.fields:
            raise DataError(f"a Panel needs a field 'returns', got {', '.join(self.assets.fields)}")
        if not self.market.index.equals(self.index):
            raise DataError("market series must stand on the panel's own dates; reindex them first")

    @classmethod
    def from_prices(
        cls,
        prices: pd.DataFrame,
        *,
        volume: pd.DataFrame | None = None,
        high: pd.DataFrame | None = None,
        low: pd.DataFrame | None = None,
        market: pd.DataFrame | pd.Series | None = None,
        sectors: pd.Series | Mapping[str, str] | None = None,
        source: str = "memory",
    ) -> Panel:
        """Make a panel from a table of prices.

        Parameters
        ----------
        prices : DataFrame of shape (n_observations + 1, n_assets)
            Positive prices in currency, one column per asset, dates unique and increasing; NaN where missing.
        volume, high, low : DataFrame, optional
            Same layout; aligned to the dates and assets of `prices` by label.
        market : DataFrame or Series, optional
            Series on dates, aligned to the panel's; dates they lack are missing, never filled.
        sectors : Series or mapping, optional
            Label by asset name.
        source : str
            Kept in the provenance.

        Returns
        -------
        Panel
            With one row less than `prices`.

        Raises
        ------
        DataError
            If dates are not unique and increasing, a label is repeated, or a price is not positive.
        """
        table = _checked_table(prices, "prices")
        values = table.to_numpy()
        bad = (values <= 0) | np.isinf(values)
        if bad.any():
            raise DataError(f"prices must be positive and finite, got {_count(table, bad)}; {_MEND}")
        table, listed, steps = _trim_unlisted(table, n_before=1)
        filled = table.ffill().to_numpy()
        returns = table.to_numpy()[1:] / filled[:-1] - 1.0
        return cls._assemble(
            {"returns": returns, "prices": table.to_numpy()[1:]},
            {"volume": volume, "high": high, "low": low},
            pd.DatetimeIndex(table.index[1:]),
            table.columns,
            listed[1:],
            market,
            sectors,
            Provenance(source, steps),
            table.iloc[:1],
        )

    @classmethod
    def from_returns(
        cls,
        returns: pd.DataFrame,
        *,
        volume: pd.DataFrame | None = None,
        market: pd.DataFrame | pd.Series | None = None,
        sectors: pd.Series | Mapping[str, str] | None = None,
        source: str = "memory",
    ) -> Panel:
        """Make a panel from a table of simple returns.

        Parameters
        ----------
        returns : DataFrame of shape (n_observations, n_assets)
            Simple returns per period (0.01 is 1 %), at least -1; NaN where missing.
        volume, market, sectors, source
            As in `from_prices`.

        Returns
        -------
        Panel
            With `prices` None.

        Raises
        ------
        DataError
            If dates are not unique and increasing, a label is repeated, or a return is infinite or below -1.

        Examples
        --------
        >>> dates = pd.bdate_range("2020-01-01", periods=2)
        >>> Panel.from_returns(pd.DataFrame({"A": [0.1, 0.0], "B": [0.0, -0.2]}, index=dates)).n_observations
        2
        """
        table = _checked_table(returns, "returns")
        values = table.to_numpy()
        bad = (values < -1) | np.isinf(values)
        if bad.any():
            raise DataError(
                f"returns must be finite and at least -1 (-100 %), got {_count(table, bad)}; {_MEND}, "
                "or read the table as prices"
            )
        table, listed, steps = _trim_unlisted(table, n_before=0)
        return cls._assemble(
            {"returns": table.to_numpy()},
            {"volume": volume},
            pd.DatetimeIndex(table.index),
            table.columns,
            listed,
            market,
            sectors,
            Provenance(source, steps),
            None,
        )

    @classmethod
    def _assemble(
        cls,
        fields: dict[str, np.ndarray],
        optional: Mapping[str, pd.DataFrame | None],
        index: pd.DatetimeIndex,
        names: pd.Index,
        listed: np.ndarray,
        market: pd.DataFrame | pd.Series | None,
        sectors: pd.Series | Mapping[str, str] | None,
        provenance: Provenance,
        first_prices: pd.DataFrame | None,
    ) -> Panel:
        for name, frame in optional.items():
            if frame is None:
                continue
            table = _checked_table(frame, name)
            if not len(table.columns.intersection(names)) or not len(table.index.intersection(index)):
                raise DataError(f"{name} shares no asset or no date with the prices; use the same labels in both")
            values = table.reindex(index=index, columns=names).to_numpy(copy=True)
            values[~listed] = np.nan
            fields[name] = values
        fields = {name: _frozen(values) for name, values in fields.items()}
        panel = AssetPanel(fields, observations=index.to_numpy(), asset_names=names.to_list(), active_mask=listed)
        return cls(panel, _aligned_market(market, index), _aligned_sectors(sectors, names), provenance, first_prices)

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """Dates of the returns, unique and increasing."""
        return pd.DatetimeIndex(self.assets.observations, name="date")

    @cached_property
    def _columns(self) -> pd.Index:
        return pd.Index(self.asset_names)

    @property
    def asset_names(self) -> list[str]:
        """Names of the assets, in column order."""
        return self.assets.asset_names.tolist()

    @property
    def n_observations(self) -> int:
        """Number of rows of returns."""
        return self.assets.n_observations

    @property
    def n_assets(self) -> int:
        """Number of assets."""
        return self.assets.n_assets

    @property
    def returns(self) -> pd.DataFrame:
        """Simple returns per period, (n_observations, n_assets); a view, NaN where missing."""
        return self._frame("returns")

    @property
    def prices(self) -> pd.DataFrame | None:
        """Prices, (n_observations + 1, n_assets), first row before the first return; None without prices."""
        if self.first_prices is None:
            return None
        return pd.concat([self.first_prices, self._frame("prices")])

    @property
    def active_mask(self) -> pd.DataFrame:
        """True from an asset's first to its last observation, (n_observations, n_assets)."""
        return pd.DataFrame(self.assets.active_mask, index=self.index, columns=self._columns, copy=False)

    def field(self, name: str) -> pd.DataFrame | None:
        """Return one field ("volume", "high", "low") on the dates of the returns, or None where unknown."""
        return self._frame(name) if name in self.assets.fields else None

    def _frame(self, name: str) -> pd.DataFrame:
        return pd.DataFrame(self.assets[name], index=self.index, columns=self._columns, copy=False)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over labels, values, market and sectors, whatever their dtype, layout or provenance."""
        digest = hashlib.sha256(b"eigenfolio panel 1")
        _add_labels(digest, "assets", self.asset_names)
        _add_values(digest, "dates", self.index.as_unit("ns").asi8)
        for name in sorted(self.assets.fields):
            _add_values(digest, name, self.assets[name])
        if self.first_prices is not None:
            _add_values(digest, "first date", pd.DatetimeIndex(self.first_prices.index).as_unit("ns").asi8)
            _add_values(digest, "first prices", self.first_prices.to_numpy())
        _add_labels(digest, "market", list(self.market.columns))
        _add_values(digest, "market", self.market.to_numpy(dtype=float))
        if self.sectors is not None:
            _add_labels(digest, "sectors", ["" if pd.isna(label) else str(label) for label in self.sectors])
        return digest.hexdigest()

    def until(self, date: str | pd.Timestamp) -> Panel:
        """Return the panel as it was known at the close of `date`.

        An asset in a gap on that date counts as no longer listed, because nobody knew it would return.

        Parameters
        ----------
        date : str or Timestamp
            Last date to keep; a string without a time keeps the whole day. Of a date with a time zone the
            local wall time counts.

        Returns
        -------
        Panel
            Equal to one built from the tables cut at `date`.

        Raises
        ------
        DataError
            If no return is left.
        """
        stamp = pd.Timestamp(date)
        table = self._table().loc[: date if stamp.tz is None else stamp.tz_localize(None)]
        if len(table) < (1 if self.first_prices is None else 2):
            raise DataError(f"no return is dated {date} or before; the panel begins {_day(self.index[0])}")
        return self._rebuild(table, f"cut at {date}")

    def select(self, assets: Iterable[str]) -> Panel:
        """Return the panel of some assets, in the order asked for.

        Rows at either end on which none of them is listed are dropped, and the provenance says so.

        Parameters
        ----------
        assets : iterable of str
            Asset names.

        Raises
        ------
        DataError
            If a name is unknown or repeated, or none is given.
        """
        names = [assets] if isinstance(assets, str) else list(assets)
        unknown = [name for name in names if name not in self._columns]
        if unknown or not names:
            listed = ", ".join(map(str, unknown[:5])) or "none"
            raise DataError(f"assets must be among the panel's {self.n_assets} names, got {listed}")
        return self._rebuild(self._table()[names], f"kept {len(names)} of {self.n_assets} assets")

    def with_step(self, text: str) -> Panel:
        """Return the panel with one more sentence in its provenance."""
        return replace(self, provenance=self.provenance.then(text))

    def _table(self) -> pd.DataFrame:
        prices = self.prices
        return self.returns if prices is None else prices

    def _rebuild(self, table: pd.DataFrame, step: str) -> Panel:
        extra = {name: self.field(name) for name in ("volume", "high", "low")}
        if self.first_prices is None:
            del extra["high"], extra["low"]
        build = Panel.from_returns if self.first_prices is None else Panel.from_prices
        panel = build(table, market=self.market, sectors=self.sectors, source=self.provenance.source, **extra)
        return replace(panel, provenance=self.provenance.then(step, *panel.provenance.steps))

    def __repr__(self) -> str:
        kind = "returns" if self.first_prices is None else "prices"
        span = f"{_day(self.index[0])} to {_day(self.index[-1])}"
        return f"Panel({self.n_observations:,} returns x {self.n_assets:,} assets, {span}, from {kind})"


def _day(date: pd.Timestamp) -> str:
    return str(date.date()) if date == date.normalize() else str(date)


def _count(table: pd.DataFrame, bad: np.ndarray) -> str:
    row, column = np.argwhere(bad)[0]
    where = f"{table.columns[column]} on {_day(table.index[row])}"
    return f"{bad.sum():,} that are not (first {float(table.to_numpy()[row, column]):g}, {where})"


def _frozen(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, dtype=np.float64)
    values.flags.writeable = False
    return values


def _checked_table(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a float64 copy, or say in one line what is wrong with the labels."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{name} must be a DataFrame with dates and asset names, got {type(frame).__name__}")
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        raise DataError(f"{name} must be indexed by dates (a DatetimeIndex), got {type(index).__name__}")
    if index.tz is not None:
        raise DataError(f"{name} has dates with a time zone ({index.tz}); drop it with index.tz_localize(None)")
    if len(index) < 1 or not len(frame.columns):
        raise DataError(f"{name} must hold at least one row and one asset, got shape {frame.shape}")
    if index.hasnans:
        raise DataError(
            f"{name} has {np.count_nonzero(index.isna())} rows without a date; give each a date or drop them"
        )
    if not index.is_unique:
        date = index[index.duplicated()][0]
        raise DataError(f"{name} has {index.duplicated().sum()} repeated dates (first {_day(date)}); {_MEND}")
    if not index.is_monotonic_increasing:
        raise DataError(f"{name} must be sorted by date, oldest first; {_MEND}")
    columns = pd.Index([str(column) for column in frame.columns])
    if not columns.is_unique:
        raise DataError(f"{name} names asset {columns[columns.duplicated()][0]} twice; drop or rename one")
    try:
        values = np.array(frame.to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers, got something else ({error})") from error
    return pd.DataFrame(values, index=index.rename("date"), columns=columns, copy=False)


def _trim_unlisted(table: pd.DataFrame, *, n_before: int) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """Drop rows at either end on which no asset is listed; `n_before` rows precede the first return."""
    name = "prices" if n_before else "returns"
    observed = table.notna().to_numpy()
    if not observed.any():
        raise DataError(f"{name} hold no value at all: {table.shape[0]} rows x {table.shape[1]} assets, all missing")
    listed = np.logical_or.accumulate(observed) & np.logical_or.accumulate(observed[::-1])[::-1]
    used = np.flatnonzero(listed.any(axis=1))
    keep = slice(used[0], used[-1] + 1)
    n_dropped = len(table) - (keep.stop - keep.start)
    table, listed = table.iloc[keep], listed[keep]
    if len(table) <= n_before:
        raise DataError(f"{name} must hold at least {n_before + 1} rows with values, got {len(table)}")
    empty = np.flatnonzero(~listed[n_before:].any(axis=1)) + n_before
    if len(empty):
        raise DataError(
            f"no asset is listed on {len(empty)} rows (first {_day(table.index[empty[0]])}); "
            f"drop these rows, or use assets whose histories overlap"
        )
    steps = (f"dropped {n_dropped} rows at the ends on which no asset was listed",) if n_dropped else ()
    return table, listed, steps


def _aligned_market(market: pd.DataFrame | pd.Series | None, index: pd.DatetimeIndex) -> pd.DataFrame:
    if market is None:
        return pd.DataFrame(index=index)
    if isinstance(market, pd.Series):
        market = market.to_frame(name=market.name if market.name is not None else "market")
    if not len(market.columns):
        return pd.DataFrame(index=index)
    table = _checked_table(market, "market")
    if not len(table.index.intersection(index)):
        raise DataError(
            f"market series ({_day(table.index[0])} to {_day(table.index[-1])}) share no date with the panel "
            f"({_day(index[0])} to {_day(index[-1])}); use the same dates in both"
        )
    return table.reindex(index)


def _aligned_sectors(sectors: pd.Series | Mapping[str, str] | None, names: pd.Index) -> pd.Series | None:
    if sectors is None:
        return None
    labels = pd.Series(sectors, dtype=object)
    labels.index = pd.Index([str(name) for name in labels.index])
    if not labels.index.is_unique:
        raise DataError(f"sectors name asset {labels.index[labels.index.duplicated()][0]} twice; keep one label")
    if not len(labels.index.intersection(names)):
        raise DataError("sectors name none of the panel's assets; index them by asset name")
    return labels.reindex(names).rename("sector")


def _add_labels(digest: hashlib._Hash, name: str, labels: list[str]) -> None:
    digest.update("\0".join([name, str(len(labels)), *labels]).encode())


def _add_values(digest: hashlib._Hash, name: str, values: np.ndarray) -> None:
    digest.update(f"\0{name}{values.shape}".encode())
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, one zero
    digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
