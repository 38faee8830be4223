"""Synthetic contents of a report: a short one for most tests, and the size a long run has."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from eigenfolio.report.content import ReportContent

LEARNED, CHAMPION = "NeuralShrinkage", "QIS, lag-weighted, EWMA(63)"
RIVALS = (
    "OAS",
    "sample",
    "QIS",
    "QIS correlation",
    "Ledoit-Wolf identity",
    "Ledoit-Wolf constant correlation",
    "Ledoit-Wolf single factor",
    "EWMA",
    "IEWMA",
    "average oracle",
)
BOOKS = {"long-only 5% cap": 0.10, "unconstrained": 0.075}


def synthetic_content(*, years: float = 2, n_rivals: int = 3, seed: int = 0) -> ReportContent:
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2001-01-02", periods=int(252 * years))
    months = days[::21]
    n = len(days)
    names = [LEARNED, CHAMPION, *RIVALS[:n_rivals]]
    market = 0.0003 + _garch(rng, n)
    returns: dict[str, dict[str, pd.Series]] = {}
    turnover: dict[str, dict[str, pd.Series]] = {}
    performance, comparison = [], []
    for book, level in BOOKS.items():
        scale = {name: level * (1 + 0.004 * i + 0.02 * (i > 3)) for i, name in enumerate(names)}
        if book == "unconstrained" and "sample" in scale:
            scale["sample"] *= 1.6
        returns[book] = {
            name: pd.Series(0.62 * s / 0.0126 / 252**0.5 * (market + 0.25 * _garch(rng, n)), index=days)
            for name, s in scale.items()
        }
        turnover[book] = {
            name: pd.Series(rng.gamma(9, (0.012 + 0.001 * i) * (1 + (book != "long-only 5% cap")), len(months)), months)
            for i, name in enumerate(names)
        }
        for i, rival in enumerate(names[1:]):
            mean = (
                (-0.0062 if book == "long-only 5% cap" else -0.0214)
                - 0.006 * i
                + 0.004 * (i > 0) * rng.standard_normal()
            )
            if rival == "sample" and book == "unconstrained":
                mean = -0.47
            if rival == "OAS" and book == "long-only 5% cap":
                mean = 0.0011
            error = 0.0024 + 0.0006 * i
            pooled = mean + 0.6 * error * rng.standard_normal()
            comparison.append(
                {
                    "reference": LEARNED,
                    "rival": rival,
                    "book": book,
                    "pooled": pooled,
                    "pooled_low": pooled - 2.6 * error,
                    "pooled_high": pooled + 2.6 * error,
                    "window_mean": mean,
                    "window_low": mean - 1.96 * error,
                    "window_high": mean + 1.96 * error,
                    "n_windows": len(months),
                    "minimum_detectable": 2.8 * error,
                    "p_adjusted": min(1.0, len(names) * math.erfc(abs(mean / error) / 2**0.5)),
                    "confidence": 0.95,
                    "reference_picked_afterwards": False,
                }
            )
    own = {name: pd.Series(1.02 * market + 0.2 * _garch(rng, n), index=days) for name in ("equal weight", "HRP")}
    returns["own"] = own
    turnover["own"] = {name: pd.Series(rng.gamma(9, 0.004, len(months)), index=months) for name in own}
    for book, tracks in returns.items():
        for name, series in tracks.items():
            wealth = (1 + series).cumprod()
            volatility = series.std() * 252**0.5
            performance.append(
                {
                    "model": name,
                    "book": book,
                    "annualized_return": wealth.iloc[-1] ** (252 / n) - 1,
                    "annualized_volatility": volatility,
                    "sharpe_ratio": series.mean() * 252 / volatility,
                    "sortino_ratio": series.mean() * 252**0.5 / series.clip(upper=0).pow(2).mean() ** 0.5,
                    "max_drawdown": 1 - (wealth / wealth.cummax()).min(),
                    "turnover": turnover[book][name].mean(),
                    "gross_exposure": 1.0 if book != "unconstrained" else 2.6 + 0.1 * rng.standard_normal(),
                    "annualized_cost": 12 * 2e-3 * turnover[book][name].mean(),
                }
            )
    walk = np.clip(0.45 + 0.02 * rng.standard_normal(len(months)).cumsum(), 0.1, 0.9)
    bundles = [str(year) for year in range(2002, 2002 + max(4, int(years) - 6), 2)]
    history = {
        name: pd.DataFrame(
            {
                "epoch": range(25),
                "train": (1 - 0.04 * (1 - np.exp(-np.arange(25) / 6)) + 2e-3 * rng.standard_normal(25)) * 1.9e-4,
                "validation": (1 - 0.025 * (1 - np.exp(-np.arange(25) / 5)) + 3e-4 * np.arange(25)) * 1.9e-4,
            }
        )
        for name in bundles
    }
    n_assets, n_rows = 60, 252
    window = rng.standard_normal((n_rows, n_assets)) + 0.8 * rng.standard_normal((n_rows, 1))
    sample = np.linalg.eigvalsh(np.corrcoef(window, rowvar=False))[::-1]
    shrunk = np.where(np.arange(n_assets) < 1, sample, 0.6 * sample[1:].mean() + 0.4 * sample)
    edges = ((1 - (n_assets / n_rows) ** 0.5) ** 2, (1 + (n_assets / n_rows) ** 0.5) ** 2)
    return ReportContent(
        title="Learned shrinkage on the embedded S&P 500 panel",
        subtitle=f"20 stocks, {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, preset quick, decisions monthly, lag 1, 10 bp",
        verdict=[
            "NeuralShrinkage made calmer minimum-variance portfolios than the champion, in both books.",
            "Long-only with a 5 % cap its volatility was 0.62 % lower than that of QIS, lag-weighted, EWMA(63) "
            "(95 % interval 0.15 to 1.09 % lower, 240 windows); differences under 0.67 % would usually be missed.",
            "Unconstrained it was 2.12 % lower (1.65 to 2.58 %). Against OAS in the long-only book the "
            "difference cannot be told from zero.",
        ],
        verdict_tone="good",
        learned_model=LEARNED,
        champion=CHAMPION,
        performance=pd.DataFrame(performance),
        comparison=pd.DataFrame(comparison),
        returns=returns,
        turnover=turnover,
        learned=pd.DataFrame(
            {
                "shrinkage": walk,
                "volatility_blend": 1 - 0.4 * walk,
                "weight_identity": walk / 2,
                "weight_constant_correlation": 0.3 * walk + 0.1,
                "weight_single_factor": 0.9 - 0.8 * walk,
            },
            index=months,
        ),
        closed_form_intensity=pd.Series(0.6 * walk + 0.1, index=months, name="Ledoit-Wolf identity"),
        training=pd.DataFrame(
            {
                "bundle": bundles,
                "trained_through": pd.to_datetime([f"{name}-06-28" for name in bundles]),
                "n_windows": [600 + 150 * i for i in range(len(bundles))],
                "epochs": 25,
                "best_validation_loss": [h["validation"].min() for h in history.values()],
                "start_validation_loss": 1.9e-4,
                "seconds": [8.3 + i for i in range(len(bundles))],
            }
        ),
        loss_history=history,
        convergence=pd.DataFrame(
            {
                "bundle": bundles,
                "members": 5,
                "verdict": (["converged", "unstable over seeds", "stopped early: still improving"] * 9)[: len(bundles)],
                "plateau": "4 of 5 reached a plateau",
                "oscillation": (["none", "in 2 of 5: swings of up to 24 % of the improvement"] * 9)[: len(bundles)],
                "overfitting": (["none", "none", "in 1 of 5: validation rose by up to 18 % of the improvement"] * 9)[
                    : len(bundles)
                ],
                "seed_spread": [f"5 seeds: {7 + 9 * i} % of the improvement" for i in range(len(bundles))],
                "alarms": ["none"] * (len(bundles) - 1) + ["dead gradients in block head (1 of 5)"],
            }
        ),
        spectrum=pd.DataFrame({"rank": range(1, n_assets + 1), "sample": sample, "shrunk": shrunk}),
        spectrum_label=f"{n_assets} assets, {n_rows} days to {days[-1]:%Y-%m-%d}",
        spectrum_edges=edges,
        data_findings=[
            {"check": "dates", "status": "ok", "summary": "sorted, no duplicates, no weekends"},
            {"check": "gaps", "status": "note", "summary": "14 gaps of at most 3 rows filled forward"},
            {"check": "near_duplicates", "status": "warning", "summary": "GOOG and GOOGL move as one (0.998)"},
        ],
        sealed="The last 20 % of rows, from 2016-05-31, are sealed and were not read.",
        settings={
            "data.source": "sp500",
            "walk_forward.rebalance": "MS",
            "walk_forward.lag": 1,
            "loop.epochs": 25,
            "loop.rate": 3e-3,
            "models": ["oas", "qis"],
            "data.max_assets": None,
        },
        environment={
            "eigenfolio": "0.1.0",
            "numpy": "2.4.1",
            "skfolio": "1.12.2",
            "commit": "9f3c2a1",
            "seed": 0,
            "data fingerprint": "sha256:5f1de07c2b",
        },
        commands=["git checkout 9f3c2a1", "./run eigenfolio run --preset quick --seed 0"],
        warnings=["The 20 stocks were chosen because they still exist: returns are flattered, comparisons less so."],
    )


def _garch(rng: np.random.Generator, n: int) -> np.ndarray:
    """Returns of 1 % a day whose volatility wanders."""
    shock = rng.standard_normal(n)
    level = np.exp(np.convolve(rng.standard_normal(n + 120), np.ones(120) / 45, mode="valid")[:n] * 0.3)
    return 0.01 * level * shock


@pytest.fixture(scope="session")
def content() -> ReportContent:
    return synthetic_content()


@pytest.fixture(scope="session")
def make_content() -> Callable[..., ReportContent]:
    return synthetic_content
