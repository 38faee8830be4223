"""`eigenfolio monitor`: a finished run on newer rows, watched for alarms; its bundles decide and nothing is trained.

    reference   the rows before `since`, at most `reference_rows`, decided out of sample by the bundles of their time
    new         the rows from `since` on, the day after the last that the run judged unless another is given

Shrinkage is held as a long-only minimum-variance book and forecasts its own volatility; graph-attention books are their
own, and the fixed rival of every comparison forecasts theirs. The benchmark is equal weight. Inputs are numbers of
every row: how far the market moved, how far assets moved apart, and how many were missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization
from sklearn.base import clone

from eigenfolio.artifacts import BundleSeries, RunRecord, load_run
from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.data import CoverageRule
from eigenfolio.errors import ArtifactError, DataError, ParameterError
from eigenfolio.evaluation.monitoring import FEWEST, Monitoring, monitor_track
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Track, walk_forward
from eigenfolio.learned import GraphAttentionPortfolio, GraphEnsemble, NeuralShrinkage
from eigenfolio.learned.graph_attention import FAMILY as GAT
from eigenfolio.models import EqualWeight, MinimumVariance, champion_covariance
from eigenfolio.pipeline.judge import JudgeOptions, Plan, Progress, plan_evaluation
from eigenfolio.pipeline.prepare import DataOptions, prepare
from eigenfolio.pipeline.seed_protocol import graph_covariance, recorded_series

__all__ = ["ForecastBook", "Watched", "monitor", "row_inputs"]

BENCHMARK = "Equal weight"
_FEWEST_ROWS = 252  # with fewer, how volatility clusters is hardly known, and thresholds are far off


@dataclass(frozen=True, eq=False)
class Watched:
    """What became of a run.

    Attributes
    ----------
    run, panel, model : str
    found : Monitoring
    track : DataFrame
        By date: `return` (net), `forecast_volatility` and `benchmark`.
    notes : tuple of str
        What the data warn of, and decisions that failed.
    """

    run: str
    panel: str
    model: str
    found: Monitoring
    track: pd.DataFrame
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for a terminal."""
        return [f"{self.run}: {self.model} on {self.panel}", *self.found.sentences, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "run": self.run,
            "panel": self.panel,
            "model": self.model,
            **self.found.to_dict(),
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> Path:
        """Write `monitoring.json`, the track as `track.parquet` and the charts as `charts.csv` to a new folder.

        Parameters
        ----------
        folder : Path
            Must not exist.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ArtifactError
            If the folder exists or cannot be written.
        """
        with whole_folder(folder) as partial:
            self.track.to_parquet(partial / "track.parquet")
            pd.concat([chart.path for chart in self.found.charts], axis=1).to_csv(partial / "charts.csv")
            (partial / "monitoring.json").write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
        return Path(folder)


class ForecastBook(BaseOptimization):
    """A portfolio that also says what volatility it expects of itself.

    Parameters
    ----------
    portfolio : BaseOptimization
    covariance_estimator : BaseCovariance, optional
        Makes the forecast; the one that the portfolio was made with, unless given.

    Attributes
    ----------
    weights_ : ndarray of shape (n_assets,)
    diagnostics_ : dict of str to float
        `forecast_volatility`, per period.

    Examples
    --------
    >>> X = 0.01 * np.random.default_rng(0).standard_normal((300, 4))
    >>> round(ForecastBook(EqualWeight(), champion_covariance()).fit(X).diagnostics_["forecast_volatility"], 3)
    0.005
    """

    def __init__(
        self,
        portfolio: BaseOptimization | None = None,
        covariance_estimator: BaseCovariance | None = None,
        *,
        portfolio_params: dict[str, Any] | None = None,
        fallback: Any = None,
        previous_weights: Any = None,
        raise_on_failure: bool = True,
    ) -> None:
        super().__init__(
            portfolio_params=portfolio_params,
            fallback=fallback,
            previous_weights=previous_weights,
            raise_on_failure=raise_on_failure,
        )
        self.portfolio = portfolio
        self.covariance_estimator = covariance_estimator

    def fit(self, X: pd.DataFrame, y: None = None) -> Self:
        """Decide, and forecast the volatility of what was decided."""
        held = clone(self.portfolio).fit(X)
        self.weights_ = np.asarray(held.weights_, dtype=float)
        active = self.weights_ != 0.0
        if self.covariance_estimator is None:
            covariance = held.covariance_estimator_.covariance_  # of the assets that are active
            active = np.isfinite(np.asarray(X, dtype=float)[-21:]).any(axis=0)
        else:
            covariance = clone(self.covariance_estimator).fit(X).covariance_[np.ix_(active, active)]
        weights = self.weights_[active]
        self.diagnostics_ = {"forecast_volatility": float(np.sqrt(weights @ covariance @ weights))}
        return self


def monitor(
    run: Path,
    data: DataOptions,
    *,
    model: str | None = None,
    since: str | None = None,
    reference_rows: int = 756,
    false_alarm: float = 0.05,
    horizon: int | None = None,
    n_jobs: int = 1,
    progress: Progress,
) -> Watched:
    """Watch a finished run on newer rows.

    Parameters
    ----------
    run : Path
        Folder of a run that trained shrinkage networks or graph-attention portfolios.
    data : DataOptions
        Panel with the newer rows, and with enough before them to look back and to compare with.
    model : str, optional
        Which bundles, such as "shrinkage/dense" or "gat/mst"; "gat" is the mean book of all graph methods. Needed where
        a run has more than one.
    since : str, optional
        First date that is watched.
    reference_rows : int
        Rows of the track before it, at most; 252 or more.
    false_alarm, horizon
        As in `eigenfolio.evaluation.monitoring.monitor_track`.
    n_jobs : int
        Processes; the result has the same bits for any number.
    progress : Progress

    Returns
    -------
    Watched

    Raises
    ------
    ArtifactError
        If the run cannot be read or has no such bundles.
    ParameterError
        If an option leaves its range, or a model must be named.
    DataError
        If there are no newer rows, or too few before them.
    """
    if reference_rows < _FEWEST_ROWS:
        raise ParameterError(f"--reference-rows must be at least {_FEWEST_ROWS}, got {reference_rows}")
    record = load_run(run)
    name, series = _chosen(recorded_series(run), model, run)
    options, universe = _options(record)
    with progress("Reading and checking", 1) as step:
        prepared = prepare(data)
        step()
    returns = prepared.panel.returns
    index = pd.DatetimeIndex(returns.index)
    first = _since(since, run, series)
    start = int(index.searchsorted(first))
    if start >= len(index):
        raise DataError(f"{prepared.name} ends on {index[-1]:%Y-%m-%d}, before {first:%Y-%m-%d}; give newer rows")
    known = max(int(index.searchsorted(one.bundles[0].trained_through)) for one in series.values())
    plan = plan_evaluation(
        returns,
        options=options,
        universe=universe,
        membership=prepared.membership,
        first_row=max(options.lookback, known, start - reference_rows - 1 - options.lag),
        n_rows=len(returns),
    )
    books = {name: _book(series, options, plan, run), BENCHMARK: EqualWeight()}
    with progress("Deciding", len(plan.decisions)) as step:
        walked = walk_forward(
            books,
            returns,
            plan.decisions,
            books={},
            eligible=plan.eligible,
            cost_bps=options.cost_bps,
            n_jobs=n_jobs,
            on_done=step,
        )
    table, traded = _table(name, walked.tracks, walked.diagnostics, walked.windows)
    n_before = int((traded.index < first).sum())
    enough = n_before >= FEWEST
    found = monitor_track(
        table["return"],
        table["forecast_volatility"],
        since=first,
        benchmark=table["benchmark"],
        turnover=traded if enough else None,
        inputs=row_inputs(returns).loc[table.index],
        false_alarm=false_alarm,
        horizon=horizon,
        rng=np.random.default_rng([record.seed, 8]),
    )
    failed = tuple(f"No decision on {failure.date:%Y-%m-%d}: {failure.error}" for failure in walked.failures[:5])
    few = () if enough else (f"Turnover is not watched: {n_before} decisions before {first:%Y-%m-%d} are too few.",)
    return Watched(record.identifier, prepared.name, name, found, table, (*few, *failed, *prepared.warnings))


def row_inputs(returns: pd.DataFrame) -> pd.DataFrame:
    """Numbers of every row that say whether a market is still of the kind it was.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)

    Returns
    -------
    DataFrame of shape (n_observations, 3)
        `market_move` (log absolute mean return), `dispersion` (log standard deviation over the assets) and `missing`
        (share of assets without a return); NaN where there is nothing to measure.

    Examples
    --------
    >>> row_inputs(pd.DataFrame([[0.01, 0.03], [np.nan, 0.01]])).round(2)
       market_move  dispersion  missing
    0        -3.91       -4.61      0.0
    1        -4.61         NaN      0.5
    """
    size, spread = returns.mean(axis=1).abs(), returns.std(axis=1, ddof=0)
    return pd.DataFrame(
        {
            "market_move": np.log(size.where(size > 0.0)),
            "dispersion": np.log(spread.where(spread > 0.0)),
            "missing": returns.isna().mean(axis=1),
        }
    )


def _chosen(series: Mapping[str, BundleSeries], model: str | None, run: Path) -> tuple[str, dict[str, BundleSeries]]:
    """The name of what is watched, and its bundles."""
    if not series:
        kind = load_run(run).kind
        raise ArtifactError(
            f"{run} is a run of kind {kind!r} and holds no bundles; monitor watches runs that trained shrinkage "
            "networks or graph-attention portfolios (bundles/shrinkage, bundles/gat): name one of `eigenfolio runs "
            "list`, or make one with `eigenfolio run`, `eigenfolio train shrinkage` or `eigenfolio train gat`"
        )
    graphs = {name: one for name, one in series.items() if name.startswith(f"{GAT}/")}
    all_graphs = len(graphs) == len(series) > 1
    if graphs and (model == GAT or (model is None and all_graphs)):
        return GAT, graphs
    name = next(iter(series)) if model is None and len(series) == 1 else model
    if name is None or name not in series:
        choice = ", ".join([*series, *([GAT] if len(graphs) > 1 else [])])
        raise ParameterError(f"--model must be one of {choice}, got {model!r}")
    return name, {name: series[name]}


def _options(record: RunRecord) -> tuple[JudgeOptions, CoverageRule]:
    """How the run judged, where it did; the defaults elsewhere."""
    told, universe = record.config.get("evaluation", {}), record.config.get("universe", {})
    return (
        JudgeOptions.model_validate({key: told[key] for key in JudgeOptions.model_fields if key in told}),
        CoverageRule.model_validate({key: universe[key] for key in CoverageRule.model_fields if key in universe}),
    )


def _since(given: str | None, run: Path, series: Mapping[str, BundleSeries]) -> pd.Timestamp:
    """First date watched: the one given, else the day after the last judged, else after the last that trained."""
    if given is not None:
        try:
            return pd.Timestamp(given)
        except ValueError as error:
            raise ParameterError(f"--since must be a date such as 2024-01-31, got {given!r}") from error
    track = run / "returns.parquet"
    last = (
        pd.read_parquet(track).index[-1]
        if track.exists()
        else max(one.bundles[-1].trained_through for one in series.values())
    )
    return pd.Timestamp(last) + pd.Timedelta(days=1)


def _book(series: Mapping[str, BundleSeries], options: JudgeOptions, plan: Plan, run: Path) -> ForecastBook:
    """What decides on the newer rows, with its forecast."""
    first = next(iter(series.values()))
    if first.bundles[0].family == GAT:
        covariance = graph_covariance(run)
        members = [
            (name, GraphAttentionPortfolio(one, covariance_estimator=covariance)) for name, one in series.items()
        ]
        portfolio = members[0][1] if len(members) == 1 else GraphEnsemble(members)
        return ForecastBook(portfolio, champion_covariance(lookback=options.lookback))
    fewest = int(plan.eligible.sum(axis=1).min())
    cap = options.max_weight or min(1.0, max(0.05, 2.0 / fewest))
    return ForecastBook(MinimumVariance(NeuralShrinkage(first, lookback=options.lookback), max_weight=cap))


def _table(
    name: str,
    tracks: Mapping[tuple[str, str], Track],
    diagnostics: Mapping[str, pd.DataFrame],
    windows: pd.Series,
) -> tuple[pd.DataFrame, pd.Series]:
    """Returns, forecasts and the benchmark by date, and turnover by the first date held; the entry is left out."""
    track, benchmark = tracks[name, OWN_BOOK], tracks[BENCHMARK, OWN_BOOK]
    if name not in diagnostics:
        raise DataError(f"{name} made no decision on these rows; give a panel of the kind it was trained on")
    forecast = diagnostics[name]["forecast_volatility"].reindex(track.weights.index).ffill()  # old weights are held on
    table = pd.DataFrame(
        {
            "return": track.returns,
            "forecast_volatility": forecast.to_numpy()[windows.to_numpy()],
            "benchmark": benchmark.returns,
        }
    ).dropna()
    starts = pd.DatetimeIndex(windows.index[~windows.duplicated()])
    traded = pd.Series(track.turnover.to_numpy(), index=starts, name="turnover").iloc[1:]
    return table, traded
