"""How much likelihood a covariance forecast gives away day by day: 25 stocks, the protocol of Johansson et al.

Run as ``python benchmarks/regret.py FOLDER [--span choice|report] [--weights as_of|PATH] [--jobs N]``; FOLDER holds
the panels, and ``pip install "eigenfolio[bench]"`` brings the package of that paper's authors (cvxcovariance 0.1.9).

Every day t a covariance S of the next day's returns r is forecast from the rows up to t. With the Gaussian log
likelihood l(S) = -(n ln 2 pi + ln det S + r' S^-1 r) / 2, the regret of a quarter is the mean over its days of
l(quarter's own covariance, means taken as zero) - l(S), in nats a day: what the forecast loses to hindsight. Printed
are mean, deviation and maximum over quarters, and the paired differences to IEWMA and CM-IEWMA with block-bootstrap
intervals (two quarters a block). Portfolios are held for one day: minimum variance without constraints and long-only,
and equal weights next to cash, scaled to a forecast volatility of 10 % a year (no leverage limit, no costs).

The 25 stocks had the largest dollar volume of the two years before the first day among those quoted on every row of the
span; they are survivors, for every model alike. Rivals are those of the paper: a rolling window (250 days), EWMA
(half-life 125), IEWMA (63 and 125) and CM-IEWMA (five pairs of half-lives, combined over the last ten days). The choice
years are 2009-2016; `report` (2017-2020) adds a line to benchmarks/looks.txt on every run.

References
----------
.. [1] K. Johansson, M. G. Ogut, M. Pelger, T. Schmelzer and S. Boyd (2023). A simple method for predicting covariance
   matrices of financial returns. Foundations and Trends in Econometrics 12(4), 324-407.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shrinkage import LOOKS, interval, read_returns

from eigenfolio import NeuralShrinkage
from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED
from eigenfolio.models import (
    EWMACovariance,
    LedoitWolf,
    SampleCovariance,
    champion_covariance,
    minimum_variance_weights,
)
from eigenfolio.models.covariance_model import CovarianceModel
from eigenfolio.parallel import run_tasks

try:
    from cvx.covariance.combination import from_ewmas
    from cvx.covariance.ewma import iterated_ewma
except ImportError as error:
    raise SystemExit('benchmarks/regret.py needs cvxcovariance: pip install "eigenfolio[bench]"') from error

FloatArray = NDArray[np.float64]

SPANS = {"choice": ("2009-01-01", "2016-12-31"), "report": ("2017-01-01", "2020-12-31")}
N_ASSETS, BURN_IN, LISTING = 25, 1008, 504
IEWMA, COMBINED = "IEWMA 63/125", "CM-IEWMA"
HALF_LIVES = [(10, 21), (21, 63), (63, 125), (125, 250), (250, 500)]
CLIP, BLEND_ROWS, FIRST_ROWS = 4.2, 10, 63  # the package's 20 first rows leave 25 assets without an inverse
TARGET, DAYS = 0.10, 252


def stocks(folder: Path, span: tuple[str, str]) -> pd.DataFrame:
    """Returns of the 25 stocks, `BURN_IN` rows before the span included."""
    returns = read_returns(folder, "us")
    first, last = (int(row) for row in returns.index.searchsorted(list(map(pd.Timestamp, span))))
    quoted = returns.columns[returns.iloc[first - BURN_IN : last].notna().all()]
    close = pd.read_parquet(folder / "us_equity_close.parquet", columns=list(quoted))
    volume = pd.read_parquet(folder / "us_equity_volume.parquet", columns=list(quoted))
    before = slice(returns.index[first - LISTING], returns.index[first - 1])
    traded = (close.loc[before].astype(float) * volume.loc[before].astype(float)).median()
    return returns.iloc[first - BURN_IN : last][traded.nlargest(N_ASSETS).index]


def fitted(model: CovarianceModel, returns: pd.DataFrame, rows: range) -> FloatArray:
    """Forecasts of a model fitted anew on the rows up to each of `rows`, (n_rows, n_assets, n_assets)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights named by a year may have seen the last row
        return np.array([model.fit(returns.iloc[max(0, t + 1 - BURN_IN) : t + 1]).covariance_ for t in rows])


def published(returns: pd.DataFrame, rows: range) -> dict[str, FloatArray]:
    """Forecasts of IEWMA and CM-IEWMA by the package of their authors."""
    wanted = returns.index[list(rows)]
    options = {"clip_at": CLIP, "min_periods_vola": FIRST_ROWS, "min_periods_cov": FIRST_ROWS}
    single = {
        found.time: found.covariance for found in iterated_ewma(returns, vola_halflife=63, cov_halflife=125, **options)
    }
    combined = {
        found.time: found.covariance
        for found in from_ewmas(returns, HALF_LIVES, **options).solve(window=BLEND_ROWS)
        if found is not None
    }
    return {name: np.array([made[t] for t in wanted]) for name, made in ((IEWMA, single), (COMBINED, combined))}


def log_likelihood(covariances: FloatArray, earned: FloatArray) -> FloatArray:
    """Gaussian log likelihood of one row of returns under each covariance, (n_rows,)."""
    lower = np.linalg.cholesky(covariances)
    white = np.linalg.solve(lower, earned[..., None])[..., 0]
    log_det = 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    result: FloatArray = -0.5 * (earned.shape[1] * np.log(2.0 * np.pi) + log_det + (white**2).sum(axis=1))
    return result


def regret(covariances: FloatArray, earned: pd.DataFrame) -> pd.Series:
    """Regret by quarter, nats a day."""
    rows = earned.to_numpy()
    lost = pd.Series(-log_likelihood(covariances, rows), index=earned.index)
    quarters = earned.index.to_period("Q")
    for quarter in quarters.unique():
        own = rows[quarters == quarter]
        hindsight = np.broadcast_to(own.T @ own / len(own), (len(own), *covariances.shape[1:]))
        lost[quarters == quarter] += log_likelihood(hindsight, own)
    return lost.groupby(quarters).mean()


def volatilities(covariances: FloatArray, earned: pd.DataFrame) -> dict[str, float]:
    """Realised volatility a year of portfolios held for one day, in per cent."""
    rows = earned.to_numpy()
    paths: dict[str, list[float]] = {"minimum variance": [], "long-only": [], "equal weights, target 10 %": []}
    for covariance, row in zip(covariances, rows, strict=True):
        for name, constraints in (("minimum variance", UNCONSTRAINED), ("long-only", LONG_ONLY)):
            paths[name].append(float(minimum_variance_weights(covariance, constraints=constraints) @ row))
        forecast = np.sqrt(DAYS * covariance.mean())  # of equal weights
        paths["equal weights, target 10 %"].append(TARGET / forecast * float(row.mean()))
    return {name: 100.0 * float(np.std(path)) * DAYS**0.5 for name, path in paths.items()}


def forecasts(returns: pd.DataFrame, rows: range, weights: str, n_jobs: int) -> Mapping[str, FloatArray]:
    """Covariances forecast at each row, by model."""
    own: dict[str, CovarianceModel] = {
        "learned": NeuralShrinkage(weights, assume_centered=True),
        "learned, 252 rows": NeuralShrinkage(weights, lookback=252, assume_centered=True),
        "champion": champion_covariance(lookback=504),
        "rolling window 250": SampleCovariance(lookback=250, assume_centered=True),
        "Ledoit-Wolf 250": LedoitWolf(lookback=250, assume_centered=True),
        "EWMA 125": EWMACovariance(half_life=125.0, assume_centered=True),
    }
    made = run_tasks(fitted, [(model, returns, rows) for model in own.values()], n_jobs=n_jobs)
    return dict(zip(own, made, strict=True)) | published(returns, rows)


def main() -> None:
    """Print regret, portfolios and paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--span", choices=list(SPANS), default="choice")
    parser.add_argument("--weights", default="as_of")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.span == "report":
        with LOOKS.open("a") as file:
            file.write(f"{pd.Timestamp.now():%Y-%m-%d %H:%M} regret weights={arguments.weights}\n")
        print(f"look number {len(LOOKS.read_text().splitlines())} at the report years")
    returns = stocks(arguments.folder, SPANS[arguments.span])
    rows = range(BURN_IN - 1, len(returns) - 1)
    earned = returns.iloc[rows.start + 1 :]
    made = forecasts(returns, rows, arguments.weights, arguments.jobs)
    losses = pd.DataFrame({name: regret(covariances, earned) for name, covariances in made.items()})
    table = losses.agg(["mean", "std", "max"]).T.join(
        pd.DataFrame({name: volatilities(covariances, earned) for name, covariances in made.items()}).T
    )
    print(f"{', '.join(returns.columns)}\n{len(losses)} quarters, {len(earned)} days; regret in nats a day, then")
    print("realised volatility a year in % of portfolios held for one day\n")
    print(table.sort_values("mean").round(2).to_string())
    for rival in (IEWMA, COMBINED):
        centre, low, high = interval(losses["learned"] - losses[rival])
        wins = float((losses["learned"] < losses[rival]).mean())
        print(f"learned less {rival}: {centre:+.2f} ({low:+.2f}, {high:+.2f}), lower in {wins:.0%} of the quarters")
    print("\nregret by year")
    print(losses.groupby(losses.index.year).mean().round(2).to_string())


if __name__ == "__main__":
    main()
