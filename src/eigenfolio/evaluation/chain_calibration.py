r"""Does a chain of decisions earn nothing where there is nothing, and how much of what there is?

On markets without an edge (`eigenfolio.evaluation.null_markets`) every model is put against a comparator:

    edge = (mean_a / std_a - mean_b / std_b) sqrt(periods per year),    returns in excess of cash

which is the mean return that the model earns beyond the comparator at the same risk: that of the comparator scaled,
after the fact, to the model's volatility, per unit of it. Over n drawn markets,

    interval   mean edge +- t(n - 1) sd / sqrt(n), of 90 %, which must lie inside a band named beforehand
    p-values   of the test that `eigenfolio evaluate` prints (Ledoit and Wolf, bootstrap), which must be uniform:
               Kolmogorov-Smirnov over the draws, adjusted by Holm over all cells, at 1 %. Draws in which model and
               comparator hold the same book have an edge of exactly 0 and a p-value of 1, and are counted apart: a
               network that found nothing and holds equal weights is right
    net        the edge after costs; costs are a true loss, so only the upper end of its interval must stay in the band

On markets with a planted edge the oracle, which knows it, sets the scale. Over n drawn markets,

    share   = mean score of the model / mean score of the oracle
    error   = sd(score_i - share * oracle_i) / (sqrt(n) mean oracle)     the ratio estimator to first order [1]_

References
----------
.. [1] W. G. Cochran (1977). Sampling Techniques, third edition, chapter 6. Wiley.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from scipy.stats import kstest

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.multiple_testing import adjusted_p_values
from eigenfolio.evaluation.sharpe_tests import ledoit_wolf_sharpe_test
from eigenfolio.evaluation.walk_forward import Track
from eigenfolio.measures import sharpe_ratio

__all__ = ["Edge", "calibration_table", "mean_interval", "measure_edge", "share_of_oracle", "share_table"]

UNIFORM_LEVEL = 0.01
"""Of the test that p-values are uniform, after Holm's correction over all cells."""


@dataclass(frozen=True)
class Edge:
    """What one model earned beyond a comparator, at the same risk, on one drawn market.

    Attributes
    ----------
    gross, net : float
        Difference of the annualised Sharpe ratios of excess returns, before and after costs.
    p_value : float in (0, 1]
        Two-sided, of the gross difference being zero.
    """

    gross: float
    net: float
    p_value: float


def measure_edge(
    track: Track,
    comparator: Track,
    *,
    cash: float = 0.0,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 1000,
    rng: np.random.Generator,
) -> Edge:
    """Measure the edge of one track over another of the same rows.

    Parameters
    ----------
    track, comparator : Track
        From one walk-forward.
    cash : float
        Earned per row without risk; taken off both.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Resamples of the test.
    rng : numpy.random.Generator
        Draws the blocks.

    Returns
    -------
    Edge

    Raises
    ------
    DataError
        If the tracks cannot be compared (see `ledoit_wolf_sharpe_test`).

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=400)
    >>> market = pd.Series(0.01 * np.random.default_rng(0).standard_normal(400), index=days)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> calm, wild = (Track(name, "own", one.to_frame("X"), k * market, k * market - 1e-4, one, one, one)
    ...               for name, k in {"calm": 0.5, "wild": 1.0}.items())
    >>> edge = measure_edge(calm, wild, rng=np.random.default_rng(0))
    >>> abs(edge.gross) < 1e-9, edge.net < 0.0, edge.p_value
    (True, True, 1.0)
    """
    test = ledoit_wolf_sharpe_test(
        track.gross_returns - cash,
        comparator.gross_returns - cash,
        periods_per_year=periods_per_year,
        n_bootstrap=n_bootstrap,
        rng=rng,
    )
    ours, theirs = (
        sharpe_ratio((one.returns - cash).to_numpy(), periods_per_year=periods_per_year) for one in (track, comparator)
    )
    return Edge(test.estimate, float(ours) - float(theirs), test.p_value)


def mean_interval(values: ArrayLike, *, confidence: float = 0.90) -> tuple[float, float, float]:
    """Mean of independent draws with Student's interval.

    Parameters
    ----------
    values : array-like of shape (n_draws,)
        At least two.
    confidence : float in (0, 1)
        Of the interval.

    Returns
    -------
    mean, low, high : float

    Raises
    ------
    DataError
        With fewer than two draws, or one that is not finite.

    Examples
    --------
    >>> [round(number, 3) for number in mean_interval([1.0, 2.0, 3.0])]
    [2.0, 0.314, 3.686]
    """
    drawn = np.asarray(values, dtype=float)
    if drawn.ndim != 1 or len(drawn) < 2 or not np.isfinite(drawn).all():
        raise DataError(f"an interval needs at least 2 finite draws, got shape {drawn.shape}: {drawn.ravel()[:5]}")
    if not 0.0 < confidence < 1.0:
        raise ParameterError(f"confidence must lie between 0 and 1, got {confidence!r}")
    half = float(stdtrit(len(drawn) - 1, 0.5 + confidence / 2.0) * drawn.std(ddof=1) / np.sqrt(len(drawn)))
    mean = float(drawn.mean())
    return mean, mean - half, mean + half


def calibration_table(edges: pd.DataFrame, *, by: Sequence[str], band: float, confidence: float = 0.90) -> pd.DataFrame:
    """Judge the edges of many null markets, cell by cell.

    Parameters
    ----------
    edges : DataFrame
        One row per drawn market and model, with the columns of `Edge` and those of `by`.
    by : sequence of str
        Columns that name a cell.
    band : float > 0
        Largest edge, annualised Sharpe ratio, that counts as none.
    confidence : float in (0, 1)
        Of the intervals.

    Returns
    -------
    DataFrame
        Per cell: `by`, `draws`, `same` (those in which both held the same book), `mean`, `low`, `high` of the gross
        edge; `needed` draws for an interval half as wide as the band; `below_5` and `below_10`, shares of p-values;
        `uniform_p` and `uniform_p_holm`; `net`, `net_high`; `in_band`, `uniform`, `net_in_band`, and `passed`, all
        three.

    Raises
    ------
    DataError
        If a cell has fewer than two draws.
    ParameterError
        If the band is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> edges = pd.DataFrame({"gross": 0.1 * rng.standard_normal(50), "net": -0.1, "p_value": rng.random(50)})
    >>> table = calibration_table(edges.assign(law="normal"), by=["law"], band=0.1)
    >>> bool(table.loc[0, "passed"]), int(table.loc[0, "draws"])
    (True, 50)
    """
    if not band > 0.0:
        raise ParameterError(f"band must be positive, got {band!r}")
    rows = []
    for cell, found in edges.groupby(list(by), sort=False):
        p_values = found["p_value"].to_numpy()
        others = p_values[found["gross"].to_numpy() != 0.0]
        mean, low, high = mean_interval(found["gross"], confidence=confidence)
        net, _, net_high = mean_interval(found["net"], confidence=confidence)
        rows.append(
            {
                **dict(zip(by, cell, strict=True)),
                "draws": len(found),
                "same": len(found) - len(others),
                "mean": mean,
                "low": low,
                "high": high,
                "needed": _needed(found["gross"].to_numpy(), band / 2.0, confidence),
                "below_5": float((p_values < 0.05).mean()),
                "below_10": float((p_values < 0.10).mean()),
                "uniform_p": float(kstest(others, "uniform").pvalue) if len(others) else 1.0,
                "net": net,
                "net_high": net_high,
            }
        )
    table = pd.DataFrame(rows)
    table["uniform_p_holm"] = adjusted_p_values(table["uniform_p"], method="holm")
    table["in_band"] = (table["low"] > -band) & (table["high"] < band)
    table["uniform"] = table["uniform_p_holm"] > UNIFORM_LEVEL
    table["net_in_band"] = table["net_high"] < band
    table["passed"] = table[["in_band", "uniform", "net_in_band"]].all(axis=1)
    return table


def _needed(values: np.ndarray, half_width: float, confidence: float) -> int:
    """Draws after which the interval is this wide, by the normal law."""
    deviation = float(values.std(ddof=1))
    return max(2, int(np.ceil((stdtrit(np.inf, 0.5 + confidence / 2.0) * deviation / half_width) ** 2)))


def share_of_oracle(scores: ArrayLike, oracle: ArrayLike, *, confidence: float = 0.90) -> tuple[float, float, float]:
    """Share of the oracle's score that a model recovers, with its interval over drawn markets.

    Parameters
    ----------
    scores, oracle : array-like of shape (n_draws,)
        Of the model and of the oracle on the same markets.
    confidence : float in (0, 1)
        Of the interval.

    Returns
    -------
    share, low, high : float
        One is all of it. Of the means, so that markets on which the oracle itself had little luck do not weigh most.

    Raises
    ------
    DataError
        With fewer than two draws, or where the oracle earns nothing.

    Examples
    --------
    >>> [round(number, 3) for number in share_of_oracle([1.0, 3.0], [2.0, 4.0])]
    [0.667, -0.035, 1.368]
    """
    ours, best = np.asarray(scores, dtype=float), np.asarray(oracle, dtype=float)
    if ours.shape != best.shape or ours.ndim != 1 or len(ours) < 2:
        raise DataError(f"a share needs at least 2 draws of model and oracle, got shapes {ours.shape} and {best.shape}")
    scale = float(best.mean())
    if not scale > 0.0:
        raise DataError(f"the oracle scores {scale:.3g} on average, so there is nothing to have a share of")
    share = float(ours.mean()) / scale
    _, low, high = mean_interval((ours - share * best) / scale, confidence=confidence)
    return share, share + low, share + high


def share_table(scores: pd.DataFrame, *, by: Sequence[str], oracle: str, confidence: float = 0.90) -> pd.DataFrame:
    """Shares of the oracle, cell by cell and model by model.

    Parameters
    ----------
    scores : DataFrame
        One row per drawn market: a column of scores per model, one of the oracle, and those of `by`.
    by : sequence of str
        Columns that name a cell.
    oracle : str
        Column of the oracle.
    confidence : float in (0, 1)
        Of the intervals.

    Returns
    -------
    DataFrame
        Per cell and model: `by`, `model`, `draws`, `oracle` and `score` (means), `share`, `low`, `high`.

    Raises
    ------
    DataError
        As in `share_of_oracle`.

    Examples
    --------
    >>> scores = pd.DataFrame({"ic": [0.1, 0.1], "Oracle": [2.0, 4.0], "Half": [1.0, 2.0]})
    >>> share_table(scores, by=["ic"], oracle="Oracle")[["model", "share", "low"]].to_numpy().tolist()
    [['Half', 0.5, 0.5]]
    """
    models = [name for name in scores.columns if name not in {*by, oracle}]
    rows = []
    for cell, found in scores.groupby(list(by), sort=False):
        for model in models:
            share, low, high = share_of_oracle(found[model], found[oracle], confidence=confidence)
            rows.append(
                {
                    **dict(zip(by, cell, strict=True)),
                    "model": model,
                    "draws": len(found),
                    "oracle": float(found[oracle].mean()),
                    "score": float(found[model].mean()),
                    "share": share,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)
