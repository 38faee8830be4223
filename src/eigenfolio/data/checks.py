"""Look at a table before anything is learned from it.

Every check always answers, with "ok" when it found nothing. Thresholds are named constants below: they
decide what is shown, never what is changed (`cleaning` changes). Numbers that the checks compute see the
whole table; nothing here feeds a model.

An asset that ends without a delisting return is a warning: the loss of those who held it is missing. So is
a long and broad table in which next to nothing ends (below 0.2 % of the assets a year).

A jump is a one-step move beyond 50 %. It is a spike when the next price is back within 15 % of the one
before, otherwise it stays. Volatility and correlation are of returns clipped at +-50 %, correlation with
the market is with the equal-weight mean of all other assets, and pairs are compared on the rows both
have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from eigenfolio.data.delistings import WRITTEN, ZERO_PRICE, DelistingReturn, ended_assets, returns_by_name, zero_tails
from eigenfolio.data.findings import DataReport, Finding, Status, iso_dates, some
from eigenfolio.data.readers import MIN_ASSETS, MIN_ROWS, Tables, guess_kind
from eigenfolio.errors import DataError
from eigenfolio.panel import Panel

__all__ = ["check_panel"]

JUMP = 0.5
BROKEN = 30.0  # a price that moves by this factor in one step is an error of the data
REVERTED = 0.15
STALE_ROWS = 10
GAP_SHARE = 0.01
EMPTY_ROW_SHARE = 0.2
UNCHANGED_ROW_SHARE = 0.95
WEEKEND_SHARE = 0.2
RISKLESS_RATIO = 0.3
UNRELATED = 0.1
MARKET_CORRELATION = 0.3
DUPLICATE_CORRELATION = 0.97
MIN_COMMON_ROWS = 120
YEAR = 252
WILD_SHARE = 0.05
MAX_BAD_SHARE = 0.05
MAX_FILL = 5
SURVIVOR_ASSETS = 30
SURVIVOR_YEARS = 5.0
SURVIVOR_RATE = 0.002

_SPLITS = np.array([2, 3, 4, 5, 7, 8, 10, 15, 20, 25, 30, 50, 100.0])


def check_panel(
    data: Panel | Tables | pd.DataFrame, *, max_fill: int = MAX_FILL, delisting_return: DelistingReturn = None
) -> DataReport:
    """Run every check on a panel or on tables that are still raw.

    Parameters
    ----------
    data : Panel, Tables or DataFrame
        Raw tables may be unsorted, repeat dates or hold impossible prices; they are not changed. A DataFrame
        is taken as a wide table of prices or returns, whichever it looks like.
    max_fill, delisting_return
        What cleaning will be told (`clean_panel`): more missing rows than `max_fill` at the end mean that an asset
        ended, which is a warning for the assets without a delisting return.

    Returns
    -------
    DataReport
        Findings in a fixed order. An empty table is one error.

    Raises
    ------
    ParameterError
        If `delisting_return` is not above -1 or names an unknown asset.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> report = check_panel(factor_market(20, 300, late_listings=0.3).panel)
    >>> report.status, report.find("late listings").count
    ('note', 6)
    """
    if isinstance(data, Panel):
        data = Tables.from_panel(data)
    elif isinstance(data, pd.DataFrame):
        if not isinstance(data.index, pd.DatetimeIndex):
            raise DataError("a DataFrame to check needs a DatetimeIndex; read other tables with read_tables")
        data = Tables(data.astype(float), guess_kind(data)[0] or "prices", "table")
    given = returns_by_name(delisting_return, data.values.columns)
    if not len(data.values) or not len(data.values.columns) or not data.values.notna().to_numpy().any():
        summary = f"there is no number in {data.values.shape[0]} rows x {data.values.shape[1]} assets"
        return DataReport((Finding("size", "error", summary),))
    table = _Ordered(data, max_fill, given)
    findings = list(data.findings)
    for check in _CHECKS:
        findings += check(table)
    return DataReport(tuple(findings))


@dataclass
class _Ordered:
    """Tables plus what several checks need, in date order and without repeated dates."""

    tables: Tables
    max_fill: int
    delisting_returns: dict[str, float]

    @cached_property
    def frame(self) -> pd.DataFrame:
        frame = self.tables.values
        frame = frame if frame.index.is_monotonic_increasing else frame.sort_index(kind="stable")
        return frame if frame.index.is_unique else frame[~frame.index.duplicated(keep="last")]

    @cached_property
    def names(self) -> np.ndarray:
        return np.array([str(name) for name in self.frame.columns], dtype=object)

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(self.frame.index)

    @property
    def is_prices(self) -> bool:
        return self.tables.kind == "prices"

    @cached_property
    def values(self) -> np.ndarray:
        """Usable numbers; impossible ones are missing."""
        values = self.frame.to_numpy(dtype=float)
        return np.where(np.isfinite(values) & ((values > 0) if self.is_prices else (values >= -1)), values, np.nan)

    @cached_property
    def observed(self) -> np.ndarray:
        return ~np.isnan(self.values)

    @cached_property
    def listed(self) -> np.ndarray:
        seen = self.observed
        return np.logical_or.accumulate(seen) & np.logical_or.accumulate(seen[::-1])[::-1]

    @cached_property
    def zero_tails(self) -> np.ndarray:
        """Prices of zero at the end of an asset's life, which mean a total loss."""
        raw = self.frame.to_numpy(dtype=float)
        return zero_tails(raw) if self.is_prices else np.zeros(raw.shape, dtype=bool)

    @cached_property
    def ended(self) -> np.ndarray:
        """True for assets that end before the table does, (n_assets,)."""
        ended: np.ndarray = ended_assets(self.values, self.max_fill) | self.zero_tails.any(axis=0)
        return ended

    @cached_property
    def before(self) -> np.ndarray:
        """Last price before each row."""
        return pd.DataFrame(self.values).ffill().shift().to_numpy()

    @cached_property
    def returns(self) -> np.ndarray:
        return self.values / self.before - 1 if self.is_prices else self.values

    @cached_property
    def spacing_days(self) -> float:
        if len(self.index) < 2:
            return float("nan")
        return float(np.median(np.diff(self.index.as_unit("s").asi8))) / 86400

    @property
    def is_daily(self) -> bool:
        return 0.9 < self.spacing_days < 1.5


def _size(table: _Ordered) -> list[Finding]:
    n_rows, n_assets = table.frame.shape
    span = " to ".join(iso_dates([table.index[0], table.index[-1]]))
    never = table.names[~table.observed.any(axis=0)]
    small = n_rows < MIN_ROWS or n_assets - len(never) < MIN_ASSETS
    summary = f"{n_rows:,} rows of {table.tables.kind} x {n_assets:,} assets, {span}"
    if small:
        summary += f"; at least {MIN_ROWS} rows and {MIN_ASSETS} assets are needed"
    found = [Finding("size", "error" if small else "ok", summary)]
    found.append(_asset_finding("empty assets", "warning", never, "assets without any value", "every asset has values"))
    return found


def _dates(table: _Ordered) -> list[Finding]:
    index = pd.DatetimeIndex(table.tables.values.index)
    back = np.flatnonzero(np.diff(index.asi8) < 0) + 1
    repeated = index[index.duplicated()]
    found = [
        _date_finding("unsorted dates", "warning", index[back], "rows that go back in time", "dates are in order"),
        _date_finding("duplicate dates", "warning", repeated, "rows that repeat a date", "dates are unique"),
    ]
    if table.is_daily:
        days = np.diff(table.index.normalize().as_unit("s").asi8) // 86400
        far = np.flatnonzero(days > 7)
        longest = f"stretches of more than a week without a row (longest {days.max()} days), after"
        found.append(_date_finding("calendar holes", "note", table.index[far], longest, "no hole of more than a week"))
    return found


_FREQUENCIES = (  # least spacing in days, days in one unit, name of the rows, what they count
    (350.0, 365.25, "yearly", "years"),
    (80.0, 365.25 / 4, "quarterly", "quarters"),
    (25.0, 365.25 / 12, "monthly", "months"),
    (4.5, 7.0, "weekly", "weeks"),
    (0.9, 1.0, "daily, weekends included", "days"),
    (0.9 / 24, 1 / 24, "hourly", "hours"),
    (0.9 / 1440, 1 / 1440, "one minute apart", "minutes"),
    (0.0, 1 / 86400, "a second or less apart", "seconds or less"),
)


def _frequency(table: _Ordered) -> list[Finding]:
    days = table.spacing_days
    if not np.isfinite(days):
        return [Finding("frequency", "ok", "too few rows to tell how often they come")]
    if table.is_daily and np.mean(table.index.day_of_week >= 5) <= WEEKEND_SHARE:
        return [Finding("frequency", "ok", "rows are business days")]
    _, unit_days, name, unit = next(entry for entry in _FREQUENCIES if days >= entry[0])
    n_units = round(days / unit_days)
    if n_units > 1:
        name, unit = f"{n_units} {unit} apart", f"steps of {n_units} {unit}"
    summary = f"rows are {name}: options that count rows (lookback, horizon, half-lives) count {unit}"
    return [Finding("frequency", "note", summary)]


def _non_trading(table: _Ordered) -> list[Finding]:
    n_listed = table.listed.sum(axis=1)
    n_observed = table.observed.sum(axis=1)
    weekend = np.zeros(len(table.index), dtype=bool)
    if table.is_daily:
        weekend = np.asarray(table.index.day_of_week >= 5)
        if weekend.mean() > WEEKEND_SHARE:  # a market that trades every day
            weekend[:] = False
    empty = (n_observed < EMPTY_ROW_SHARE * np.maximum(n_listed, 1)) & (n_listed >= 1)
    same = np.sum(table.returns == 0, axis=1)
    still = (n_observed >= 5) & (same >= UNCHANGED_ROW_SHARE * n_observed) & ~empty & ~weekend
    parts = {
        "on a weekend": weekend,
        "almost without prices": empty,
        "with almost every price unchanged": still,
    }
    rows = np.flatnonzero(weekend | empty | still)
    text = ", ".join(f"{mask.sum():,} {what}" for what, mask in parts.items() if mask.any())
    return [
        _date_finding(
            "non-trading dates", "warning", table.index[rows], f"rows that look like no trading day ({text})",
            "every row looks like a trading day",
        )
    ]  # fmt: skip


def _kind(table: _Ordered) -> list[Finding]:
    guess, evidence = guess_kind(table.frame)
    kind = table.tables.kind
    moves = np.abs(table.returns[np.isfinite(table.returns)])
    wild = float(np.mean(moves > JUMP)) if moves.size else 0.0
    if guess == kind and wild > WILD_SHARE:
        summary = f"the values do not move like {kind}: {100 * wild:.0f} % of all steps are beyond 50 %"
        return [Finding("kind", "error", f"{summary}; hand over {kind}", count=int((moves > JUMP).sum()))]
    if guess == kind:
        return [Finding("kind", "ok", f"the values look like {kind}: {evidence}")]
    looks = f"look like {guess}" if guess else "look like neither prices nor simple returns"
    return [Finding("kind", "error", f"the values are taken as {kind} but {looks}: {evidence}; state kind=")]


def _impossible(table: _Ordered) -> list[Finding]:
    raw = table.frame.to_numpy(dtype=float)
    infinite = np.isinf(raw)
    wrong = (raw <= 0) if table.is_prices else (raw < -1)
    wrong &= ~infinite & ~table.zero_tails
    what = "non-positive prices" if table.is_prices else "returns below -100 %"
    n_values = max(1, int(np.count_nonzero(~np.isnan(raw))))
    found = []
    for check, cells in ((what, wrong), ("infinite values", infinite)):
        many = cells.sum() > MAX_BAD_SHARE * n_values
        tail = f"; more than {100 * MAX_BAD_SHARE:g} % of the table, so mend the source" if many else ""
        status: Status = "error" if many else "warning"
        found.append(_cell_finding(table, check, status, cells, check, f"no {check}", tail, values=raw))
    return found


def _stale(table: _Ordered) -> list[Finding]:
    same = table.returns == 0
    rows = np.arange(len(same), dtype=np.int32)[:, None]
    run = rows - np.maximum.accumulate(np.where(same, np.int32(-1), rows), axis=0)
    longest = np.where(same, run, 0).max(axis=0)
    stale = np.flatnonzero(longest >= STALE_ROWS)
    stale = stale[np.argsort(-longest[stale], kind="stable")]
    text = f"assets that keep one price for {STALE_ROWS} rows or more (longest {longest.max()})"
    return [
        _asset_finding(
            "stale prices",
            "warning",
            table.names[stale],
            text,
            f"no price stands still for {STALE_ROWS} rows",
        )
    ]


def _jumps(table: _Ordered) -> list[Finding]:
    with np.errstate(invalid="ignore"):
        jump = np.abs(table.returns) > JUMP
    if table.is_prices:
        after = pd.DataFrame(table.values).bfill().shift(-1).to_numpy()
        spike = jump & (np.abs(after / table.before - 1) < REVERTED)
    else:
        after = np.vstack([table.values[1:], np.full((1, table.values.shape[1]), np.nan)])
        spike = jump & (np.abs((1 + table.values) * (1 + after) - 1) < REVERTED)
    back = np.zeros_like(spike)
    back[1:] = jump[1:] & spike[:-1]
    stays = jump & ~spike & ~back
    factor = 1 + table.returns[stays]
    factor = np.where(factor < 1, 1 / np.maximum(factor, 1e-300), factor)
    n_splits = int((np.abs(factor[:, None] / _SPLITS - 1) < 0.01).any(axis=1).sum())
    hint = f"; {n_splits} of them by a split ratio, so prices may not be adjusted" if n_splits else ""
    status: Status = "warning" if n_splits > max(5, 0.3 * stays.sum()) else "note"
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = 1 + table.returns
        broken = (ratio > BROKEN) | ((ratio < 1 / BROKEN) & (ratio > 0))
    return [
        _cell_finding(
            table,
            "broken prices",
            "error",
            broken,
            f"one-step moves by a factor of {BROKEN:g} or more, which no market makes: mend or remove these assets",
            f"no move by a factor of {BROKEN:g}",
        ),
        _cell_finding(
            table,
            "spikes",
            "warning",
            spike & ~broken,
            "one-step moves beyond 50 % that revert",
            "no spike beyond 50 %",
        ),
        _cell_finding(
            table, "jumps", status, stays, "one-step moves beyond 50 % that stay", "no move beyond 50 %", hint
        ),
    ]


def _listings(table: _Ordered) -> list[Finding]:
    gaps = table.listed & ~table.observed
    n_listed = np.maximum(table.listed.sum(axis=0), 1)
    worst = float((gaps.sum(axis=0) / n_listed).max())
    seen = table.observed.any(axis=0)
    late = table.names[seen & ~table.listed[0]]
    late_quotes = table.names[seen & ~table.listed[-1] & ~table.ended]
    share = f", up to {100 * worst:.2g} % of an asset's rows"
    return [
        _cell_finding(
            table, "gaps", "warning" if worst > GAP_SHARE else "note", gaps,
            f"{table.tables.kind} missing inside the listed spans", "nothing is missing inside a listed span", share,
        ),
        _asset_finding("late listings", "note", late, "assets that begin after the first row", "none begins late"),
        _asset_finding(
            "late quotes", "note", late_quotes, f"assets without a value on the last rows (at most {table.max_fill})",
            "no value is missing on the last rows",
        ),
    ]  # fmt: skip


def _endings(table: _Ordered) -> list[Finding]:
    """Find what ended, whether its end is accounted for, and whether suspiciously little did."""
    gone = table.names[table.ended]
    covered = np.isin(table.names, list(table.delisting_returns)) | any(WRITTEN in s for s in table.tables.steps)
    if not table.is_prices:  # a last return of -100 % is the whole loss
        covered = covered | (_last_values(table.values) == -1)
    open_ended = table.names[table.ended & ~covered]
    if not len(gone):
        found = [Finding("delistings", "ok", "no asset ends before the panel does")]
    elif len(open_ended):
        verb = "asset ends" if len(open_ended) == 1 else "assets end"
        summary = (
            f"{len(open_ended):,} {verb} before the panel does ({some(open_ended)}) and their last return is the last "
            f"{table.tables.kind.removesuffix('s')}'s; give delisting_return if they failed"
        )
        found = [Finding("delistings", "warning", summary, tuple(open_ended), (), len(open_ended))]
    else:
        found = [
            _asset_finding(
                "delistings", "note", gone, "assets that end before the panel does, delisting return known", ""
            )
        ]
    return [*found, _total_losses(table, covered), _survivorship(table)]


def _total_losses(table: _Ordered, covered: np.ndarray) -> Finding:
    worthless = table.zero_tails.any(axis=0)
    if not worthless.any():
        return Finding("ended at zero", "ok", "no asset ended at a price of zero")
    bare = (worthless & ~covered).any()
    names = table.names[worthless & ~covered if bare else worthless]
    first = np.argmax(table.zero_tails[:, np.isin(table.names, names)], axis=0)
    mend = "give delisting_return" if bare else "their delisting return stands for it"
    summary = f"{len(names):,} {'asset' if len(names) == 1 else 'assets'} ({some(names)}) {ZERO_PRICE}; {mend}"
    dates = iso_dates(table.index[first])
    return Finding("ended at zero", "warning" if bare else "note", summary, tuple(names), dates, len(names))


def _survivorship(table: _Ordered) -> Finding:
    n_assets = int(table.observed.any(axis=0).sum())
    n_gone = int(table.ended.sum())
    years = (table.index[-1] - table.index[0]).days / 365.25
    if n_assets < SURVIVOR_ASSETS or years < SURVIVOR_YEARS:
        few = f"fewer than {SURVIVOR_ASSETS} assets or {SURVIVOR_YEARS:g} years: too little to tell who survived"
        return Finding("survivorship", "ok", few)
    rate = n_gone / n_assets / years
    extent = f"{n_assets:,} assets {'end' if n_gone > 1 else 'ends'} in {years:.0f} years"
    if rate >= SURVIVOR_RATE:
        return Finding("survivorship", "ok", f"{n_gone:,} of {extent} ({100 * rate:.2g} % a year)", count=n_gone)
    summary = f"{n_gone or 'none':} of {extent}: probably a list of survivors, whose past flatters every strategy"
    return Finding("survivorship", "warning", summary, count=n_gone)


def _last_values(values: np.ndarray) -> np.ndarray:
    rows = len(values) - 1 - np.argmax(~np.isnan(values[::-1]), axis=0)
    last: np.ndarray = values[rows, np.arange(values.shape[1])]
    return last


def _foreign(table: _Ordered) -> list[Finding]:
    """Find what does not belong among stocks: near-riskless, inverse or unrelated, near-duplicates."""
    n_needed = min(MIN_COMMON_ROWS, len(table.returns) // 2)
    enough = np.flatnonzero(np.isfinite(table.returns).sum(axis=0) >= n_needed)
    if len(enough) < 3:
        return [Finding("foreign instruments", "ok", "fewer than three assets have enough rows to compare")]
    returns = np.clip(table.returns[:, enough], -JUMP, JUMP)
    names = table.names[enough]
    seen = np.isfinite(returns)
    filled = np.where(seen, returns, 0.0)
    mask = seen.astype(float)
    volatility = np.sqrt(np.maximum(_ratio(np.square(filled).sum(axis=0), mask.sum(axis=0)), 0))
    quiet = volatility < RISKLESS_RATIO * np.median(volatility)

    others = filled.sum(axis=1)[:, None] - filled
    n_others = mask.sum(axis=1)[:, None] - mask
    market = np.where(seen & (n_others > 0), others / np.maximum(n_others, 1), np.nan)
    related = _column_correlation(np.where(np.isfinite(market), returns, np.nan), market)
    typical = float(np.median(related[np.isfinite(related)])) if np.isfinite(related).any() else 0.0
    has_market = typical > MARKET_CORRELATION
    foreign = (related < UNRELATED) & has_market

    closest = np.zeros((len(names), len(names)))
    for stop in range(len(filled), 0, -YEAR):
        rows = slice(max(0, stop - YEAR), stop)
        correlation, common = _pair_correlation(filled[rows], mask[rows])
        np.maximum(closest, np.where(common >= n_needed, np.abs(correlation), 0.0), out=closest)
    twins = np.argwhere(np.triu(closest > DUPLICATE_CORRELATION, 1))
    twins = twins[np.argsort(-closest[tuple(twins.T)], kind="stable")]
    pairs = np.array([f"{names[i]}/{names[j]}" for i, j in twins], dtype=object)
    quiet_names = names[quiet][np.argsort(volatility[quiet], kind="stable")]
    foreign_names = names[foreign][np.argsort(related[foreign], kind="stable")]
    return [
        _asset_finding(
            "near-riskless", "warning", quiet_names,
            f"assets with a volatility below {RISKLESS_RATIO:g} of the median",
            "no asset is nearly riskless",
        ),
        _asset_finding(
            "inverse or unrelated", "warning", foreign_names, "assets against the market or apart from it "
            f"(correlation below {UNRELATED:g} where the median is {typical:.2f})",
            "no asset moves against the market" if has_market else "assets share no market to be against",
        ),
        _asset_finding(
            "near-duplicates", "warning", pairs, f"pairs with a correlation beyond {DUPLICATE_CORRELATION:g} "
            "in some year", "no two assets are nearly the same",
        ),
    ]  # fmt: skip


def _market(table: _Ordered) -> list[Finding]:
    market = table.tables.market
    if market is None:
        return []
    missing = market.reindex(table.index).isna().sum()
    poor = missing[missing > 0]
    if not len(poor):
        return [Finding("market series", "ok", f"{some(market.columns)} cover every row")]
    summary = f"{some(poor.index)} miss up to {poor.max():,} of {len(table.index):,} rows"
    status: Status = "warning" if poor.max() > GAP_SHARE * len(table.index) else "note"
    return [Finding("market series", status, summary, tuple(map(str, poor.index)), (), int(poor.sum()))]


_CHECKS: tuple[Callable[[_Ordered], list[Finding]], ...] = (
    _size, _kind, _dates, _frequency, _non_trading, _impossible, _stale, _jumps, _listings, _endings, _foreign,
    _market,
)  # fmt: skip


# ---------------------------------------------------------------------------- shared wording and sums


def _asset_finding(check: str, status: Status, names: np.ndarray, text: str, fine: str) -> Finding:
    if not len(names):
        return Finding(check, "ok", fine)
    return Finding(check, status, f"{text}: {len(names):,} ({some(names)})", tuple(names), (), len(names))


def _date_finding(check: str, status: Status, dates: pd.DatetimeIndex, text: str, fine: str) -> Finding:
    if not len(dates):
        return Finding(check, "ok", fine)
    days = iso_dates(dates)
    return Finding(check, status, f"{text}: {len(dates):,} ({some(days, 3)})", (), days, len(dates))


def _cell_finding(
    table: _Ordered,
    check: str,
    status: Status,
    cells: np.ndarray,
    text: str,
    fine: str,
    tail: str = "",
    *,
    values: np.ndarray | None = None,
) -> Finding:
    """Tell how many cells, of which assets, and where the first one is; with `values` also what it holds."""
    count = int(cells.sum())
    if not count:
        return Finding(check, "ok", fine)
    per_asset = cells.sum(axis=0)
    order = np.argsort(-per_asset, kind="stable")
    names = table.names[order[: np.count_nonzero(per_asset)]]
    rows = np.flatnonzero(cells.any(axis=1))
    dates = iso_dates(table.index[rows])
    column = int(np.argmax(cells[rows[0]]))
    held = "" if values is None else f"{values[rows[0], column]:g}, "
    summary = f"{text}: {count:,} ({some(names)}; first {held}{table.names[column]}, {dates[0]}){tail}"
    return Finding(check, status, summary, tuple(names), dates, count)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)


def _column_correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Correlate two tables column by column; both are missing in the same cells."""
    n = np.maximum(np.isfinite(left).sum(axis=0), 1)
    left = left - np.nansum(left, axis=0) / n
    right = right - np.nansum(right, axis=0) / n
    scale = np.sqrt(np.nansum(left**2, axis=0) * np.nansum(right**2, axis=0))
    return _ratio(np.nansum(left * right, axis=0), scale)


def _pair_correlation(filled: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate every pair on its common rows by four matrix products; the slow twin is in the tests."""
    common = mask.T @ mask
    n = np.maximum(common, 1)
    sums = filled.T @ mask  # [i, j]: sum of i where j is there
    squares = np.square(filled).T @ mask - sums**2 / n
    cross = filled.T @ filled - sums * sums.T / n
    scale = np.sqrt(np.maximum(squares * squares.T, 0))
    tiny = squares <= 1e-12 * np.maximum(np.diag(squares), 1e-300)[:, None]
    correlation = _ratio(cross, np.where(tiny | tiny.T, 0.0, scale))
    return np.nan_to_num(correlation), common
