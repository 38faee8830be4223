"""Drawing training windows from a mixture of universes.

A `WindowSource` says what its windows look like: which panels, how many, how many assets and rows, and what is done to
them so that training sees what users bring: copies of assets (share classes, funds that track each other), foreign
instruments (an inverse fund and a nearly riskless one among stocks), portfolios instead of single names, weekly rows,
late listings, or a simulated population whose covariance is known. Window number i of a source depends on the seed, the
source and i alone, so the draw has the same bits for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import lfilter

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.regimes import REGIMES, market_regimes
from eigenfolio.learned.spectra import SpectralWindow, spectral_window
from eigenfolio.models.window import Window, prepare_window
from eigenfolio.panel import Panel
from eigenfolio.parallel import run_tasks

__all__ = ["DrawnWindow", "WindowSource", "draw_mixture", "weekly_returns"]

FloatArray = NDArray[np.float64]

_DAYS = 252
_TRIES = 200
_CHUNK = 64


class WindowSource(BaseModel):
    """Windows of one kind.

    Parameters
    ----------
    name : str
        Shown in records.
    panels : tuple of str
        Keys of the panels that assets are drawn from together; empty for a simulated population.
    counts : mapping of int to int
        Windows per number of assets.
    min_lookback, max_lookback : int
        Rows seen, log-uniform.
    horizon : int
        Rows judged.
    frequency : {"daily", "weekly"}
        Weekly rows are compounded to Fridays.
    change : {"none", "copies", "foreign", "portfolios", "late", "population"}
        What is done to the window.
    min_moving : float
        Least share of rows on which an asset's price changed.
    pairs : int
        Rows between the decision and an earlier one whose window, of the same assets and length, is drawn as well,
        for losses on successive estimates; 0 draws none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    panels: tuple[str, ...] = ()
    counts: dict[int, int]
    min_lookback: int = Field(default=60, ge=22)
    max_lookback: int = Field(default=1008, ge=22)
    horizon: int = Field(default=21, ge=2)
    frequency: Literal["daily", "weekly"] = "daily"
    change: Literal["none", "copies", "foreign", "portfolios", "late", "population"] = "none"
    min_moving: float = Field(default=0.9, ge=0.0, le=1.0)
    pairs: int = Field(default=0, ge=0)

    @property
    def n_windows(self) -> int:
        """Windows of all sizes."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class DrawnWindow:
    """A window, the returns that followed, and where it came from.

    Attributes
    ----------
    window : SpectralWindow
    future : ndarray of shape (horizon, n_assets)
        Returns of the horizon; of a population, a square root of its covariance whose rows have that covariance as
        their mean outer product.
    source : str
    date : Timestamp or None
        Last row seen; None for a population.
    regime, next_regime : str or None
        Causal label of the panels' equal-weight market (`eigenfolio.features.market_regimes`, of daily rows) at the
        last row seen and at the last of the horizon; None for a population, and where the panel is too young for one.
    later : ndarray of shape (n_later, n_assets) or None
        The returns after the last row seen, as many as were asked for; of a population, rows drawn from it.
    earlier : SpectralWindow or None
        The window of the decision before, where the source draws pairs.
    """

    window: SpectralWindow
    future: FloatArray
    source: str
    date: pd.Timestamp | None
    regime: str | None = None
    next_regime: str | None = None
    later: FloatArray | None = None
    earlier: SpectralWindow | None = None


@dataclass(frozen=True)
class _Table:
    """Returns of one panel with running counts, so that complete assets of a span are found at once."""

    returns: FloatArray
    index: pd.DatetimeIndex
    present: NDArray[np.int32]
    moving: NDArray[np.int32]
    regimes: NDArray[np.int8] | None = None  # position in REGIMES, -1 where there is no label

    def regime(self, row: int) -> str | None:
        """Label at a row."""
        code = -1 if self.regimes is None else int(self.regimes[row])
        return None if code < 0 else REGIMES[code]

    @classmethod
    def of(cls, returns: pd.DataFrame, regimes: pd.Series | None = None) -> _Table:
        values = np.ascontiguousarray(returns.to_numpy(dtype=float))
        zero = np.zeros((1, values.shape[1]), dtype=np.int32)
        return cls(
            values,
            pd.DatetimeIndex(returns.index),
            np.vstack([zero, np.cumsum(np.isfinite(values), axis=0, dtype=np.int32)]),
            np.vstack([zero, np.cumsum(np.isfinite(values) & (values != 0.0), axis=0, dtype=np.int32)]),
            None if regimes is None else regimes.reindex(returns.index, method="ffill").fillna(-1).to_numpy(np.int8),
        )


def weekly_returns(returns: pd.DataFrame) -> pd.DataFrame:
    """Compound daily returns to weeks that end on Friday; a week needs three rows.

    Examples
    --------
    >>> daily = pd.DataFrame({"A": 0.01}, index=pd.bdate_range("2020-01-06", periods=5))
    >>> weekly_returns(daily).round(6).iloc[0, 0].item()
    0.05101
    """
    with np.errstate(divide="ignore"):  # a return of -1 is the end of an asset
        logs = pd.DataFrame(np.log1p(returns))
    weeks = logs.resample("W-FRI").sum(min_count=3)
    return pd.DataFrame(np.expm1(weeks)).dropna(how="all")


def draw_mixture(
    panels: Mapping[str, pd.DataFrame],
    sources: Sequence[WindowSource],
    *,
    through: pd.Timestamp | None,
    seed: int,
    first: pd.Timestamp | None = None,
    n_later: int = 0,
    describe: Callable[[Window], Any] | None = None,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> list[DrawnWindow]:
    """Draw the windows of every source.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Simple daily returns by name, with a DatetimeIndex.
    sources : sequence of WindowSource
    through : Timestamp or None
        Last date that a window or its horizon may touch; None where all sources are populations.
    seed : int
    first : Timestamp, optional
        First date a decision may have.
    n_later : int
        Rows after the decision to keep beside the horizon, as `later`; none when 0.
    describe : callable, optional
        Makes the `window` of what is drawn from a completed window; without it, as a spectral network sees it.
    n_jobs : int
        Workers; the result does not depend on it.
    on_done : callable, optional
        Called after every chunk.

    Returns
    -------
    list of DrawnWindow
        Source by source.

    Raises
    ------
    ParameterError
        If a source names a panel that is not there.
    DataError
        If a source asks for windows that the panels do not hold.
    """
    tables: dict[tuple[tuple[str, ...], str], _Table] = {}
    labels: dict[tuple[str, ...], pd.Series] = {}
    for source in sources:
        key = (source.panels, source.frequency)
        if not source.panels or key in tables:
            continue
        if through is None:
            raise ParameterError(f"source {source.name!r} draws from panels, so `through` must be a date")
        missing = [name for name in source.panels if name not in panels]
        if missing:
            raise ParameterError(f"source {source.name!r} needs panel {missing[0]!r}, got {sorted(panels)}")
        daily = _joined([panels[name] for name in source.panels], through)
        if source.panels not in labels:
            labels[source.panels] = _regime_codes(daily)
        rows = weekly_returns(daily) if source.frequency == "weekly" else daily
        tables[key] = _Table.of(rows, labels[source.panels])
    tasks = []
    for number, source in enumerate(sources):
        sizes = [n for n, count in sorted(source.counts.items()) for _ in range(count)]
        table = tables.get((source.panels, source.frequency))
        for start in range(0, len(sizes), _CHUNK):
            numbers = [seed, number, start]
            tasks.append((table, source, sizes[start : start + _CHUNK], numbers, first, n_later, describe or _seen))
    chunks = run_tasks(_draw_chunk, tasks, n_jobs=n_jobs, on_done=on_done)
    return [window for chunk in chunks for window in chunk]


def _joined(frames: list[pd.DataFrame], through: pd.Timestamp) -> pd.DataFrame:
    """Columns of all panels on the rows of the first, the first panel's where a name appears twice."""
    joined = frames[0].loc[:through]
    for frame in frames[1:]:
        fresh = frame.loc[:through, [name for name in frame.columns if name not in joined.columns]]
        joined = joined.join(fresh, how="left")
    return joined


def _regime_codes(daily: pd.DataFrame) -> pd.Series:
    """Position in `REGIMES` of the causal label of each row, -1 where there is none."""
    possible = daily.where(np.isfinite(daily) & (daily >= -1.0)).dropna(how="all")
    labels = market_regimes(Panel.from_returns(possible))["label"]
    return pd.Series(labels.cat.codes.to_numpy(), index=labels.index)


def _draw_chunk(
    table: _Table | None,
    source: WindowSource,
    sizes: list[int],
    key: list[int],
    first: pd.Timestamp | None,
    n_later: int,
    describe: Callable[[Window], Any],
) -> list[DrawnWindow]:
    drawn = []
    long = source.model_copy(update={"horizon": max(source.horizon, n_later)})
    for i, n_assets in enumerate(sizes):
        rng = np.random.default_rng([*key[:-1], key[-1] + i])
        labels: tuple[str | None, str | None] = None, None
        if table is None:
            seen, future = _population(source, n_assets, rng, n_later)
            seen, later = seen[: len(seen) - n_later], seen[len(seen) - n_later :]
            date = None
        else:
            seen, later, date = _real(table, long, n_assets, rng, first)
            # side by side, as it comes from a worker: products round as the rows lie
            future = np.ascontiguousarray(later[: source.horizon])
            row = int(table.index.get_indexer(pd.Index([date]))[0])
            labels = table.regime(row), table.regime(row + source.horizon)
        earlier, seen = seen[: len(seen) - source.pairs], seen[source.pairs :]
        window = describe(prepare_window(seen))
        before = describe(prepare_window(earlier)) if source.pairs else None
        kept = later[:n_later] if n_later else None
        drawn.append(DrawnWindow(window, future, source.name, date, *labels, kept, before))
    return drawn


def _seen(completed: Window) -> SpectralWindow:
    """Two spectra, with eigenvectors in single precision, in which they are trained on; they are most of the memory."""
    window = spectral_window(completed)
    spectra = tuple(replace(s, vectors=s.vectors.astype(np.float32)) for s in window.spectra)
    return replace(window, spectra=spectra)


def _real(
    table: _Table, source: WindowSource, n_assets: int, rng: np.random.Generator, first: pd.Timestamp | None
) -> tuple[FloatArray, FloatArray, pd.Timestamp]:
    members = min(3 * n_assets, 400) if source.change == "portfolios" else n_assets
    seen, future, date = _span(table, source, members, rng, first)
    if source.change == "copies":
        seen, future = _with_copies(seen, future, rng)
    elif source.change == "foreign":
        seen, future = _with_foreign(seen, future, rng)
    elif source.change == "portfolios":
        held = int(rng.integers(3, 12))
        mix = np.zeros((members, n_assets))
        for j in range(n_assets):
            mix[rng.choice(members, held, replace=False), j] = 1.0 / held
        seen, future = seen @ mix, future @ mix
    elif source.change == "late":
        seen = _with_late_listings(seen, rng)
    return seen, future, date


def _span(
    table: _Table, source: WindowSource, n_assets: int, rng: np.random.Generator, first: pd.Timestamp | None
) -> tuple[FloatArray, FloatArray, pd.Timestamp]:
    """A random decision row, look-back and set of complete assets."""
    earliest = 0 if first is None else int(table.index.searchsorted(first)) + 1  # rows t - 1 and before are seen
    stop = len(table.index) - source.horizon
    for _ in range(_TRIES):
        rows = _log_uniform(source.min_lookback, source.max_lookback, rng) + source.pairs
        start = max(rows, earliest)
        if start >= stop:
            continue
        t = int(rng.integers(start, stop))
        whole = table.present[t] - table.present[t - rows] == rows
        moving = table.moving[t] - table.moving[t - rows] > source.min_moving * rows
        candidates = np.flatnonzero(whole & moving)
        if len(candidates) < n_assets:
            continue
        chosen = np.sort(rng.choice(candidates, n_assets, replace=False))
        future = table.returns[t : t + source.horizon, chosen]
        future = np.where(np.isfinite(future), future, 0.0)  # an asset that ends stays at its last price
        return table.returns[t - rows : t, chosen].copy(), future, table.index[t - 1]
    raise DataError(
        f"source {source.name!r}: {n_assets} assets complete over {source.min_lookback} to {source.max_lookback} rows "
        f"were not found in {_TRIES} draws; give more assets or rows, or ask for fewer"
    )


def _log_uniform(low: int, high: int, rng: np.random.Generator) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


def _with_copies(seen: FloatArray, future: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Make pairs of a tenth of the assets: one copies the other with a tracking error of 0.2 to 5 % a year."""
    n_assets = seen.shape[1]
    pairs = max(1, n_assets // 20)
    order = rng.permutation(n_assets)
    for origin, copy in zip(order[:pairs], order[pairs : 2 * pairs], strict=True):
        error = rng.uniform(0.002, 0.05) / np.sqrt(_DAYS)
        seen[:, copy] = seen[:, origin] + error * rng.standard_normal(len(seen))
        future[:, copy] = future[:, origin] + error * rng.standard_normal(len(future))
    return seen, future


def _with_foreign(seen: FloatArray, future: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Replace two assets by an inverse fund on the market and by a nearly riskless one."""
    inverse, cash = rng.choice(seen.shape[1], 2, replace=False)
    exposure, error = -rng.uniform(0.5, 2.0), rng.uniform(0.0005, 0.006)
    riskless = 10.0 ** rng.uniform(-4.0, -2.5)
    market_seen, market_future = seen.mean(axis=1), future.mean(axis=1)
    for returns, market in ((seen, market_seen), (future, market_future)):
        returns[:, inverse] = exposure * market + error * rng.standard_normal(len(returns))
        returns[:, cash] = riskless * rng.standard_normal(len(returns))
    return seen, future


def _with_late_listings(seen: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Hide the first rows of a share of the assets, and single rows of all."""
    n_rows, n_assets = seen.shape
    share, shortest = rng.choice([0.2, 0.5, 0.7]), min(63, n_rows // 2)
    late = rng.random(n_assets) < share
    late[rng.integers(n_assets)] = False
    listed = rng.integers(shortest, max(shortest + 1, int(0.8 * n_rows)), n_assets)
    rows = np.arange(n_rows)[:, None]
    hidden = late & (rows < n_rows - listed)
    hidden |= rng.random(seen.shape) < rng.choice([0.0, 0.01])
    hidden[-1] = False
    return np.where(hidden, np.nan, seen)


def _population(
    source: WindowSource, n_assets: int, rng: np.random.Generator, n_later: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Normal or Student rows of a random population, `n_later` of them at the end, and a root of its covariance.

    In half of the windows the common level of volatility wanders; the covariance then has the level of the horizon.
    """
    rows = _log_uniform(source.min_lookback, source.max_lookback, rng) + source.pairs
    kind = int(rng.integers(4))
    if kind < 3:
        eigenvalues = np.ones(n_assets)
        if kind == 0:
            spikes = min(int(rng.integers(1, 7)), n_assets)
            eigenvalues[:spikes] = np.exp(rng.uniform(np.log(3.0), np.log(60.0), spikes))
        elif kind == 1:
            eigenvalues = np.repeat([1.0, 3.0, 10.0], np.diff([0, n_assets // 5, (3 * n_assets) // 5, n_assets]))
        else:
            eigenvalues = np.exp(rng.normal(0.0, rng.uniform(0.2, 1.0), n_assets))
        vectors, _ = np.linalg.qr(rng.standard_normal((n_assets, n_assets)))
        covariance = 1e-4 * (vectors * eigenvalues) @ vectors.T
    else:
        loadings = np.zeros((n_assets, 6))
        loadings[:, 0] = 0.01 * (1.0 + 0.3 * rng.standard_normal(n_assets))
        for factor in range(1, 6):
            loaded = rng.random(n_assets) < 0.3
            loadings[loaded, factor] = 0.006 * rng.standard_normal(int(loaded.sum()))
        own = 0.015 * np.exp(0.4 * rng.standard_normal(n_assets))
        covariance = loadings @ loadings.T + np.diag(own**2)
    root = np.linalg.cholesky(covariance)
    returns = rng.standard_normal((rows, n_assets)) @ root.T
    student = bool(rng.integers(2))
    if student:
        returns *= np.sqrt(3.0 / rng.chisquare(5.0, size=(rows, 1)))
    level = np.ones(rows + max(n_later, source.horizon))
    if rng.integers(2):
        level = _wandering_level(len(level), rng)
    later = rng.standard_normal((n_later, n_assets)) @ root.T
    if student:
        later *= np.sqrt(3.0 / rng.chisquare(5.0, size=(n_later, 1)))
    ahead = float(np.sqrt(np.square(level[rows : rows + source.horizon]).mean()))
    seen = np.vstack([returns, later]) * level[: rows + n_later, None]
    return seen, ahead * np.sqrt(n_assets) * root.T


def _wandering_level(n_rows: int, rng: np.random.Generator) -> FloatArray:
    """Exponential of a first-order autoregression with half-life 20 to 120 rows and deviation 0.2 to 0.6."""
    keep = 0.5 ** (1.0 / np.exp(rng.uniform(np.log(20.0), np.log(120.0))))
    deviation = rng.uniform(0.2, 0.6)
    shocks = np.sqrt(1.0 - keep**2) * rng.standard_normal(n_rows)
    shocks[0] /= np.sqrt(1.0 - keep**2)
    logs = lfilter([1.0], [1.0, -keep], shocks)
    level: FloatArray = np.exp(deviation * logs)
    return level
