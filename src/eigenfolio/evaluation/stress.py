"""Stress tests: every model walked through the panel as it was, and through it under a shock.

    volatility      log returns times 3 in spells of 63 rows, one a year    same days without the shock
    correlation     pairs at 0.9 in the same spells                         same days without the shock
    outliers        1 % of the entries seen at +-10 volatilities            same days, books chosen on clean rows
    missing         half of the assets nowhere to be seen                   same days with all assets
    drought         value traded a tenth, square-root impact                same days at the value traded

The models decide anew under a shock (but for the drought, which changes costs alone); the books of the outliers earn
the true rows. To these come the historic crises that the panel covers and the market's regimes, on the walk without a
shock. Degradation is stated with intervals by `eigenfolio.evaluation.degradation`. The first two shocks enlarge every
move, drift included: they speak of volatility and drawdown, not of the Sharpe ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

from eigenfolio import measures
from eigenfolio.constraints import Constraints
from eigenfolio.costs import TradingCosts
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.cost_tables import charged, reheld, trades_of, usual_day
from eigenfolio.evaluation.degradation import MIN_ROWS, degradation_table
from eigenfolio.evaluation.regimes import by_group, covered_spans, named, regime_groups, tracks_by_book
from eigenfolio.evaluation.shocks import chosen_assets, correlated, spell_rows, wilder, with_outliers
from eigenfolio.evaluation.walk_forward import WalkForward, walk_forward

if TYPE_CHECKING:
    from eigenfolio.data import Decision

__all__ = ["NORMAL_REGIME", "SHOCKS", "StressTest", "stress_test"]

SHOCKS: tuple[str, ...] = ("volatility", "correlation", "outliers", "missing", "drought")
NORMAL_REGIME = "calm"
DROUGHT = 10.0
"""What the value traded is divided by."""

_Pair = tuple[WalkForward, WalkForward, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class StressTest:
    """What stress did to every book.

    Attributes
    ----------
    normal : WalkForward
        Without a shock.
    shocked : dict of str to WalkForward
        By shock.
    table : DataFrame
        One row per scenario and track. `kind`: shock, historic or regime; `scenario`, `model`, `book`; the columns of
        `degradation_table`; `max_drawdown`; `turnover` and `annualized_cost` under the shock with `normal_turnover`
        and `normal_cost` (NaN but for shocks).
    notes : tuple of str
        What could not be tested, and why.
    """

    normal: WalkForward
    shocked: dict[str, WalkForward]
    table: pd.DataFrame
    notes: tuple[str, ...] = field(default=())


def stress_test(
    models: Mapping[str, BaseCovariance | BaseOptimization],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    *,
    books: Mapping[str, Constraints],
    eligible: pd.DataFrame | None = None,
    regimes: pd.Series | None = None,
    value_traded: pd.DataFrame | None = None,
    shocks: Sequence[str] = SHOCKS,
    reference: str | None = None,
    cost_bps: float = 10.0,
    impact: float = 1.0,
    capital: float = 1e7,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> StressTest:
    """Walk models through normal times and through stress.

    Parameters
    ----------
    models, returns, decisions, books, eligible, cost_bps, n_jobs
        As in `eigenfolio.evaluation.walk_forward`.
    regimes : Series, optional
        Categorical label by row of `returns`, known at its close; see `regime_groups`.
    value_traded : DataFrame of shape (n_observations, n_assets), optional
        Shares times price, in currency. Without it the drought is left out, with a note.
    shocks : sequence of str
        Of `SHOCKS`.
    reference : str, optional
        Model whose degradation the others' are compared with.
    impact : float >= 0
        Factor of the square-root law, in the drought.
    capital : float > 0
        Net asset value in the currency of `value_traded`, in the drought.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Resamples behind every interval.
    confidence : float in (0, 1)
        Of every interval.
    seed : int
        Draws outliers, missing assets and resamples.
    on_done : callable, optional
        Called after each walk over all dates: one without a shock, and one for each shock but the drought.

    Returns
    -------
    StressTest

    Raises
    ------
    ParameterError
        If a shock or the reference is unknown, or see `walk_forward`.
    DataError
        If the panel cannot be used.

    Examples
    --------
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.models import EqualWeight
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2010-01-01", periods=700)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((700, 8)), index=days, columns=list("ABCDEFGH"))
    >>> plan = plan_decisions(X.index, min_history=252)
    >>> done = stress_test({"even": EqualWeight()}, X, plan, books={}, shocks=["volatility", "drought"])
    >>> row = done.table.set_index("scenario").loc["volatility"]
    >>> round(float(np.exp(row["log_volatility"])), 1), done.notes[0][:26]
    (3.0, 'The drought was left out: ')
    """
    _check(shocks, reference, models)
    costs = TradingCosts(commission_bps=cost_bps, impact=impact, capital=capital)

    def walk(rows: pd.DataFrame, allowed: pd.DataFrame | None) -> WalkForward:
        done = walk_forward(models, rows, decisions, books=books, eligible=allowed, cost_bps=cost_bps, n_jobs=n_jobs)
        if on_done is not None:
            on_done()
        return done

    normal = walk(returns, eligible)
    days = pd.DatetimeIndex(normal.windows.index)
    pairs, notes = _under_shocks(shocks, normal, walk, returns, decisions, eligible, value_traded, costs, seed)
    options: dict[str, Any] = {
        "rng": np.random.default_rng([seed, 3]),
        "reference": reference,
        "periods_per_year": periods_per_year,
        "n_bootstrap": n_bootstrap,
        "confidence": confidence,
    }
    tables = [_shock_table(shock, *pair, **options) for shock, pair in pairs.items()]
    crises = {span.name: span.mask(days) for span in covered_spans(days)}
    outside = ~np.logical_or.reduce([np.zeros(len(days), dtype=bool), *crises.values()])
    tables.append(by_group(normal, crises, outside, kind="historic", drawdown=True, **options))
    groups = {} if regimes is None else regime_groups(regimes, days)
    usual = groups.pop(NORMAL_REGIME, None)
    if usual is not None:
        tables.append(by_group(normal, groups, usual, kind="regime", **options))
    elif regimes is not None:
        notes.append(f"Regimes were left out: no day held was labelled {NORMAL_REGIME!r}.")
    filled = [table for table in tables if not table.empty]
    if not filled:
        raise DataError("no scenario has 20 rows and a track to judge; give a longer panel")
    shocked = {shock: stressed for shock, (_, stressed, _) in pairs.items()}
    return StressTest(normal, shocked, pd.concat(filled, ignore_index=True), (*notes, *_excluded(normal, shocked)))


def _under_shocks(
    shocks: Sequence[str],
    normal: WalkForward,
    walk: Callable[[pd.DataFrame, pd.DataFrame | None], WalkForward],
    returns: pd.DataFrame,
    decisions: Sequence[Decision],
    eligible: pd.DataFrame | None,
    value_traded: pd.DataFrame | None,
    costs: TradingCosts,
    seed: int,
) -> tuple[dict[str, _Pair], list[str]]:
    """Normal and shocked tracks of each shock with the days they are compared on, and notes on those left out."""
    spells = spell_rows(pd.DatetimeIndex(returns.index))
    held = spells[returns.index.isin(normal.windows.index)]
    everywhere = np.ones(len(normal.windows), dtype=bool)
    pairs: dict[str, _Pair] = {}
    notes: list[str] = []
    for shock in shocks:
        if shock in ("volatility", "correlation"):
            if held.sum() < MIN_ROWS:
                notes.append(f"The {shock} shock was left out: its spells have {int(held.sum())} of the rows held.")
                continue
            changed = wilder(returns, spells) if shock == "volatility" else correlated(returns, spells)
            pairs[shock] = normal, walk(changed, eligible), held
        elif shock == "outliers":
            seen = walk(with_outliers(returns, rng=np.random.default_rng([seed, 1])), eligible)
            pairs[shock] = normal, _earning(seen, returns, costs.commission_bps), everywhere
        elif shock == "missing":
            half = _half(eligible, returns, decisions, np.random.default_rng([seed, 2]))
            pairs[shock] = normal, walk(returns, half), everywhere
        else:
            try:
                wet, dry = (_with_impact(normal, returns, value_traded, costs, part) for part in (1.0, DROUGHT))
            except DataError as error:
                notes.append(f"The drought was left out: {error}")
            else:
                pairs[shock] = wet, dry, everywhere
                notes.append(_largest_share(normal, returns, value_traded, costs))
    return pairs, notes


def _excluded(normal: WalkForward, shocked: Mapping[str, WalkForward]) -> list[str]:
    notes = [f"{model} ({book}) is left out: it {why}." for (model, book), why in normal.excluded.items()]
    for shock, stressed in shocked.items():
        new = {key: why for key, why in stressed.excluded.items() if key not in normal.excluded}
        notes += [f"{model} ({book}) is left out under {shock}: it {why}." for (model, book), why in new.items()]
    return notes


def _check(shocks: Sequence[str], reference: str | None, models: Mapping[str, object]) -> None:
    unknown = [shock for shock in shocks if shock not in SHOCKS]
    if unknown:
        raise ParameterError(f"shocks must be of {', '.join(SHOCKS)}, got {', '.join(unknown)}")
    if reference is not None and reference not in models:
        raise ParameterError(f"reference must be one of {', '.join(models)}, got {reference!r}")


def _earning(result: WalkForward, returns: pd.DataFrame, cost_bps: float) -> WalkForward:
    """The same weights on the true rows."""
    return replace(
        result,
        tracks={key: reheld(track, returns, result.windows, cost_bps=cost_bps) for key, track in result.tracks.items()},
    )


def _half(
    eligible: pd.DataFrame | None, returns: pd.DataFrame, decisions: Sequence[Decision], rng: np.random.Generator
) -> pd.DataFrame:
    """What decisions may see when half of the assets are missing, the same half throughout."""
    if eligible is None:
        dates = pd.DatetimeIndex([decision.date for decision in decisions])
        eligible = pd.DataFrame(True, index=dates, columns=returns.columns)
    return eligible & chosen_assets(returns.columns, rng=rng)


def _with_impact(
    result: WalkForward,
    returns: pd.DataFrame,
    value_traded: pd.DataFrame | None,
    costs: TradingCosts,
    divisor: float,
) -> WalkForward:
    """The walk with impact charged at a part of the value traded."""
    if value_traded is None:
        raise DataError("impact needs the value traded, and the panel has no volume (or no prices to value it at).")
    tracks = {}
    for key, track in result.tracks.items():
        value, volatility = usual_day(returns, value_traded, pd.DatetimeIndex(track.weights.index))
        tracks[key] = charged(
            track,
            costs,
            trades=trades_of(track, returns, result.windows),
            windows=result.windows,
            value_traded=value / divisor,
            volatility=volatility,
        )
    return replace(result, tracks=tracks)


def _largest_share(
    result: WalkForward, returns: pd.DataFrame, value_traded: pd.DataFrame | None, costs: TradingCosts
) -> str:
    """In words, the largest trade in days of value traded: far above one, the square-root law is not known to hold."""
    assert value_traded is not None  # the drought was charged
    largest, where = 0.0, ""
    for track in result.tracks.values():
        value, _ = usual_day(returns, value_traded, pd.DatetimeIndex(track.weights.index))
        shares = (costs.capital * trades_of(track, returns, result.windows).abs() / value).fillna(0.0)
        peak = float(shares.to_numpy().max())
        if peak > largest:
            row, column = divmod(int(shares.to_numpy().argmax()), shares.shape[1])
            date = pd.DatetimeIndex(shares.index)[row]
            largest, where = peak, f"{track.model}, {shares.columns[column]} on {date:%Y-%m-%d}"
    return (
        f"The largest trade of a book of {costs.capital:,.0f} is {100 * largest:,.1f} % of a usual day's value traded "
        f"({where}), {DROUGHT:g} times that in the drought; above 100 % the square-root law is not known to hold."
    )


def _shock_table(
    shock: str,
    usual: WalkForward,
    stressed: WalkForward,
    rows: NDArray[np.bool_],
    *,
    reference: str | None,
    rng: np.random.Generator,
    periods_per_year: float,
    n_bootstrap: int,
    confidence: float,
) -> pd.DataFrame:
    tables = []
    before, after = tracks_by_book(usual), tracks_by_book(stressed)
    for book in before:
        models = [model for model in before[book] if model in after.get(book, {})]
        if not models:
            continue
        table = degradation_table(
            {model: after[book][model][rows] for model in models},
            {model: before[book][model][rows] for model in models},
            rng=rng,
            paired=True,
            reference=reference if reference in models else None,
            periods_per_year=periods_per_year,
            n_bootstrap=n_bootstrap,
            confidence=confidence,
        )
        table = table.assign(max_drawdown=[measures.max_drawdown(after[book][model][rows]) for model in models])
        table = table.join(_trading(stressed, book, models, periods_per_year))
        normal = _trading(usual, book, models, periods_per_year)
        table = table.join(normal.rename(columns={"turnover": "normal_turnover", "annualized_cost": "normal_cost"}))
        tables.append(named(table, "shock", shock, book))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _trading(result: WalkForward, book: str, models: Sequence[str], periods_per_year: float) -> pd.DataFrame:
    """Mean turnover of a rebalance after the entry, and cost per year, over all rows."""
    years = len(result.windows) / periods_per_year
    rows = {}
    for model in models:
        track = result.tracks.get((model, book)) or result.tracks[model, "own"]
        rows[model] = {
            "turnover": float(track.turnover.iloc[1:].mean()) if len(track.turnover) > 1 else 0.0,
            "annualized_cost": float(track.cost.sum()) / years,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
