r"""Many paths of the same models: what each did, how far they spread, and what time alone could have changed.

A protocol gives each model several paths of net returns (other asset subsets, other combinations of folds, other
seeds). Two questions must be kept apart:

    spread      quantiles of a measure over the paths: how much subset, fold or seed matters
    interval    of the mean over paths, from circular blocks of days drawn jointly for all paths and models: how much
                another history would have mattered

Paths share days and assets, so their number is no sample size: the spread over many paths is no standard error, and the
interval does not shrink with it. Intervals are symmetric, ``mean +- quantile of |mean* - mean|``. Differences are taken
path by path and resampled with the same blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio import measures
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.long_run import politis_white_block
from eigenfolio.evaluation.significance import check_confidence, quantile

__all__ = ["MEASURES", "Paths", "summarise_paths"]

MEASURES: tuple[str, ...] = ("annualized_return", "annualized_volatility", "sharpe_ratio")
"""Measures with an interval; `max_drawdown` hangs on the order of days and has the spread alone."""
SHORTEST_BLOCK, MIN_BLOCKS = 21, 10
"""Volatility clusters: blocks are no shorter than a month, as long as ten of them fit into the days."""
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class Paths:
    """Result of a protocol.

    Attributes
    ----------
    protocol : str
        In words.
    paths : dict of str to DataFrame of shape (n_days, n_paths)
        Net returns by model, NaN on days that a path does not cover. Same days and paths for every model.
    measures : DataFrame
        One row per model and path: `n_rows`, `annualized_return`, `annualized_volatility`, `sharpe_ratio`,
        `max_drawdown`, `annualized_cost`.
    summary : DataFrame
        One row per model and measure: `mean` over paths, `path_low` and `path_high` (the spread), `low` and `high`
        (the interval), `n_paths`.
    against : DataFrame
        One row per model other than the reference and measure ("log_volatility", "sharpe_ratio"): mean difference,
        model less reference, with interval, and the `share` of paths in which it is above zero.
    failures : dict of str to str
        Models that failed, with the reason; they have no paths.
    """

    protocol: str
    paths: dict[str, pd.DataFrame]
    measures: pd.DataFrame
    summary: pd.DataFrame
    against: pd.DataFrame
    failures: dict[str, str] = field(default_factory=dict)


def summarise_paths(
    protocol: str,
    paths: Mapping[str, pd.DataFrame],
    costs: Mapping[str, pd.Series],
    *,
    rng: np.random.Generator,
    reference: str | None = None,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    failures: Mapping[str, str] | None = None,
) -> Paths:
    """Measure every path and state spread and interval.

    Parameters
    ----------
    protocol : str
        In words.
    paths : mapping of str to DataFrame of shape (n_days, n_paths)
        Net returns by model, NaN on days a path does not cover; at least 20 days a path. Equal labels for all models.
    costs : mapping of str to Series of length n_paths
        Sum of the costs charged on a path, fraction of net asset value.
    rng : numpy.random.Generator
        Draws the blocks.
    reference : str, optional
        Model that the others are compared with; the first by default.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Resamples, at least 100.
    confidence : float in (0, 1)
        Of spread and interval.
    failures : mapping of str to str, optional
        Models that gave no paths.

    Returns
    -------
    Paths

    Raises
    ------
    DataError
        If no model has paths, labels differ, or a path is too short.
    ParameterError
        If an option is out of range or the reference unknown.

    Examples
    --------
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=300)
    >>> calm = pd.DataFrame(0.01 * rng.standard_normal((300, 3)), index=days)
    >>> none = pd.Series(0.0, index=range(3))
    >>> done = summarise_paths("by hand", {"calm": calm, "wild": 2 * calm}, {"calm": none, "wild": none}, rng=rng)
    >>> row = done.against.set_index("measure").loc["log_volatility"]
    >>> row["model"], round(float(row["mean"]), 4), float(row["share"])
    ('wild', 0.6931, 1.0)
    """
    check_confidence(confidence)
    if n_bootstrap < 100:
        raise ParameterError(f"n_bootstrap must be at least 100, got {n_bootstrap}")
    _check(paths, dict(failures or {}))
    named = next(iter(paths)) if reference is None else reference
    if named not in paths:
        raise ParameterError(f"reference must be one of {', '.join(paths)}, got {named!r}")
    table = _measures(paths, costs, periods_per_year)
    draws = _draws(paths, n_bootstrap, rng)
    again = {model: _resampled(frame, *draws, periods_per_year) for model, frame in paths.items()}
    summary = [
        row for model in paths for row in _summary_rows(model, table[table["model"] == model], again[model], confidence)
    ]
    against = [
        row for model in paths if model != named for row in _against_rows(model, named, table, again, confidence)
    ]
    return Paths(protocol, dict(paths), table, pd.DataFrame(summary), pd.DataFrame(against), dict(failures or {}))


def _check(paths: Mapping[str, pd.DataFrame], failures: Mapping[str, str]) -> None:
    if not paths:
        told = "; ".join(f"{model}: {why}" for model, why in failures.items())
        raise DataError(f"no model gave a path{f' ({told})' if told else ''}; check models and panel")
    first = next(iter(paths.values()))
    for model, frame in paths.items():
        if not (frame.index.equals(first.index) and frame.columns.equals(first.columns)):
            raise DataError(f"the paths of {model!r} have other days or names than those of the first model")
        shortest = int(frame.notna().sum().min())
        if shortest < _FEWEST:
            raise DataError(
                f"a path of {model!r} has {shortest} days, at least {_FEWEST} are needed; test longer spans"
            )


def _measures(
    paths: Mapping[str, pd.DataFrame], costs: Mapping[str, pd.Series], periods_per_year: float
) -> pd.DataFrame:
    rows = []
    for model, frame in paths.items():
        for path in frame.columns:
            net = frame[path].dropna()
            rows.append(
                {
                    "model": model,
                    "path": path,
                    "n_rows": len(net),
                    "annualized_return": measures.annualized_return(net, periods_per_year=periods_per_year),
                    "annualized_volatility": measures.annualized_volatility(net, periods_per_year=periods_per_year),
                    "sharpe_ratio": measures.sharpe_ratio(net, periods_per_year=periods_per_year),
                    "max_drawdown": measures.max_drawdown(net),
                    "annualized_cost": float(costs[model][path]) * periods_per_year / len(net),
                }
            )
    return pd.DataFrame(rows)


def _draws(
    paths: Mapping[str, pd.DataFrame], n_bootstrap: int, rng: np.random.Generator
) -> tuple[int, NDArray[np.intp]]:
    """Block length and first days of the blocks, (n_bootstrap, n_blocks), the same for all paths and models."""
    n_days = len(next(iter(paths.values())))
    squares = [(frame**2).mean(axis=1).fillna(0.0).to_numpy() for frame in paths.values()]
    block = int(
        np.clip(round(max(SHORTEST_BLOCK, *(politis_white_block(s) for s in squares))), 1, max(1, n_days // MIN_BLOCKS))
    )
    return block, rng.integers(n_days, size=(n_bootstrap, round(n_days / block)))


def _resampled(
    frame: pd.DataFrame, block: int, starts: NDArray[np.intp], periods_per_year: float
) -> dict[str, NDArray[np.float64]]:
    """Measures of every path in every resample, (n_bootstrap, n_paths); NaN where a resample misses a path."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for path in frame.columns:
        x = frame[path].to_numpy(dtype=float)
        there = np.isfinite(x)
        x = np.where(there, x, 0.0)
        rows = np.column_stack([there, x, x * x, np.log1p(np.maximum(x, -1.0 + 1e-12))])
        wrapped = np.cumsum(np.concatenate([np.zeros((1, 4)), rows, rows[: block - 1]]), axis=0)
        sums = (wrapped[block:] - wrapped[:-block])[starts].sum(axis=1)  # (n_bootstrap, 4)
        n = np.where(sums[:, 0] >= 2, sums[:, 0], np.nan)
        mean = sums[:, 1] / n
        deviation = np.sqrt(np.maximum(sums[:, 2] / n - mean**2, 0.0) * n / (n - 1.0))
        found["annualized_return"].append(np.expm1(sums[:, 3] / n * periods_per_year))
        found["annualized_volatility"].append(deviation * np.sqrt(periods_per_year))
        with np.errstate(divide="ignore", invalid="ignore"):
            found["sharpe_ratio"].append(np.where(deviation > 0, mean / deviation, np.nan) * np.sqrt(periods_per_year))
    return {name: np.column_stack(values) for name, values in found.items()}


def _summary_rows(
    model: str, table: pd.DataFrame, again: Mapping[str, NDArray[np.float64]], confidence: float
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in (*MEASURES, "max_drawdown"):
        values = table[name].to_numpy()
        low, high = np.quantile(values, [0.5 - confidence / 2.0, 0.5 + confidence / 2.0])
        mean = float(values.mean())
        half = _half(np.nanmean(again[name], axis=1), mean, confidence) if name in again else np.nan
        rows.append(
            {
                "model": model,
                "measure": name,
                "mean": mean,
                "path_low": float(low),
                "path_high": float(high),
                "low": mean - half,
                "high": mean + half,
                "n_paths": len(values),
            }
        )
    return rows


def _against_rows(
    model: str,
    reference: str,
    table: pd.DataFrame,
    again: Mapping[str, Mapping[str, NDArray[np.float64]]],
    confidence: float,
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    own, other = (table[table["model"] == name] for name in (model, reference))
    for name, source in (("log_volatility", "annualized_volatility"), ("sharpe_ratio", "sharpe_ratio")):
        a, b = own[source].to_numpy(), other[source].to_numpy()
        x, y = again[model][source], again[reference][source]
        if name == "log_volatility":
            a, b, x, y = np.log(a), np.log(b), np.log(x), np.log(y)
        difference = a - b
        mean = float(difference.mean())
        half = _half(np.nanmean(x - y, axis=1), mean, confidence)
        rows.append(
            {
                "model": model,
                "reference": reference,
                "measure": name,
                "mean": mean,
                "low": mean - half,
                "high": mean + half,
                "share": float((difference > 0.0).mean()),
                "n_paths": len(difference),
            }
        )
    return rows


def _half(resampled: NDArray[np.float64], mean: float, confidence: float) -> float:
    return quantile(np.abs(resampled - mean), confidence)
