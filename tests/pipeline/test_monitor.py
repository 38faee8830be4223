"""`eigenfolio monitor`: bundles of a finished run decide on newer rows, and a change of the market is told."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from random_gat import random_gat_bundle

from eigenfolio.artifacts import RunRecord, save_bundle, write_run
from eigenfolio.cli import main
from eigenfolio.data import CoverageRule
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.shipped import shipped_series
from eigenfolio.models import MinimumVariance
from eigenfolio.pipeline.gat_options import GatOptions
from eigenfolio.pipeline.monitor import ForecastBook

N_ROWS, JUDGED = 680, 560


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    """A calm panel, and the same with three times the volatility after the last row that was judged."""
    folder = tmp_path_factory.mktemp("monitor")
    rng = np.random.default_rng(0)
    returns = 0.006 * (rng.standard_normal((N_ROWS, 1)) + rng.standard_normal((N_ROWS, 8)))
    index = pd.bdate_range("2014-01-06", periods=N_ROWS, name="date")
    wild = returns.copy()
    wild[JUDGED:] *= 3.0
    for name, moves in (("calm", returns), ("wild", wild)):
        prices = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCDEFGH"))
        prices.to_csv(folder / f"{name}.csv")
    return folder, index


def record(kind, config):
    told = {"identifier": kind, "kind": kind, "command": f"eigenfolio {kind}", "config": config}
    return RunRecord(
        **told, started="2024-05-01T09:30:00", seed=1, git_commit=None, versions={}, data_fingerprint="none",
        status="complete", metrics={}, trials=[], budgets=[],
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(panels):
    folder, index = panels

    def contents(place):
        for bundle in shipped_series("dense").bundles[:3]:
            save_bundle(bundle, place / "bundles" / "shrinkage" / "dense" / f"{bundle.trained_through:%Y-%m-%d}")
        days = index[200:JUDGED]
        pd.DataFrame({"track": 0.0}, index=days).to_parquet(place / "returns.parquet")

    config = {"evaluation": {"lookback": 120, "rebalance": "W-MON"}, "universe": {"min_assets": 4, "min_rows": 100}}
    return write_run(record("run", config), folder / "run", contents=contents)


@pytest.fixture(scope="module")
def graphs(panels):
    folder, _ = panels

    def contents(place):
        for graph in ("mst", "tmfg"):
            bundle = random_gat_bundle(through="2014-12-31", graph=graph)
            save_bundle(bundle, place / "bundles" / "gat" / graph / "2014-12-31")

    config = GatOptions(universe=CoverageRule(min_assets=4)).model_dump(mode="json")
    return write_run(record("train-gat", config), folder / "graphs", contents=contents)


def test_a_calm_continuation_gives_no_alarm_and_a_wild_one_does(panels, run, monkeypatch, capsys):
    folder, index = panels
    common = ("--reference-rows", 400, "--false-alarm", 0.02, "--jobs", 1, "--json")
    status, shown, errors = call(monkeypatch, capsys, "monitor", run, "--data", folder / "calm.csv", *common)
    assert (status, errors) == (0, "")
    calm = json.loads(shown)
    assert calm["alarmed"] is False
    assert calm["first"] == f"{index[JUDGED]:%Y-%m-%d}"
    assert {chart["name"] for chart in calm["charts"]} == {"risk", "shortfall", "turnover"}
    status, shown, _ = call(monkeypatch, capsys, "monitor", run, "--data", folder / "wild.csv", *common)
    wild = json.loads(shown)
    risk = next(chart for chart in wild["charts"] if chart["name"] == "risk")
    assert index[JUDGED] <= pd.Timestamp(risk["alarm"]) <= index[JUDGED + 25]
    assert {row["input"] for row in wild["drift"] if row["drifted"]} >= {"dispersion"}


def test_it_prints_sentences_and_writes_the_track(panels, run, monkeypatch, capsys):
    folder, index = panels
    out = folder / "out"
    status, shown, _ = call(
        monkeypatch, capsys, "monitor", run, "--data", folder / "wild.csv", "--since", "2016-03-07", "--jobs", 1,
        "--reference-rows", 260, "--out", out,
    )  # fmt: skip
    assert status == 0
    assert shown.startswith("run: shrinkage/dense on wild.csv\nAlarm: 2016-03-07 to ")
    table = pd.read_parquet(out / "track.parquet")
    assert list(table) == ["return", "forecast_volatility", "benchmark"]
    assert table.index[-1] == index[-1]
    ratio = (table["return"] / table["forecast_volatility"])[: index[JUDGED - 1]].std()
    assert 0.7 < ratio < 1.4


def test_graph_attention_runs_are_watched_together_or_one_by_one(panels, graphs, monkeypatch, capsys):
    folder, _ = panels
    common = ("monitor", graphs, "--data", folder / "calm.csv", "--since", "2016-03-07", "--jobs", 1, "--json")
    outcomes = [call(monkeypatch, capsys, *common, *extra) for extra in ((), ("--model", "gat/tmfg"))]
    assert [errors for _, _, errors in outcomes] == ["", ""]
    told = [json.loads(shown) for _, shown, _ in outcomes]
    assert [one["model"] for one in told] == ["gat", "gat/tmfg"]
    assert told[0]["charts"] != told[1]["charts"]
    assert told[0]["notes"][0].startswith("Turnover is not watched: ")


def test_what_cannot_be_watched_is_one_line(panels, run, graphs, monkeypatch, capsys):
    folder, _ = panels
    calm = ("--data", folder / "calm.csv")
    for arguments, words in (
        (("monitor", run, *calm, "--since", "2030-01-01"), "give newer rows"),
        (("monitor", run, *calm, "--since", "soon"), "--since must be a date"),
        (("monitor", run, *calm, "--model", "gat"), "--model must be one of shrinkage/dense"),
        (("monitor", run, *calm, "--reference-rows", "20"), "--reference-rows must be at least 252"),
    ):
        status, _, errors = call(monkeypatch, capsys, *arguments)
        assert status == 2
        assert words in errors


def test_a_run_without_bundles_is_told_which_runs_can_be_watched(panels, monkeypatch, capsys):
    folder, _ = panels
    place = write_run(record("train-hrp", {}), folder / "hrp", contents=lambda place: None)
    status, _, errors = call(monkeypatch, capsys, "monitor", place, "--data", folder / "calm.csv")
    assert status == 2
    for words in ("of kind 'train-hrp'", "eigenfolio train gat", "eigenfolio runs list"):
        assert words in " ".join(errors.split())


def test_the_forecast_is_that_of_the_weights_decided():
    X = pd.DataFrame(0.01 * np.random.default_rng(0).standard_normal((200, 5)), columns=list("ABCDE"))
    X.iloc[-30:, 2] = np.nan
    book = MinimumVariance(NeuralShrinkage(None, lookback=100), max_weight=0.5)
    found = ForecastBook(book).fit(X)
    covariance = np.nan_to_num(NeuralShrinkage(None, lookback=100).fit(X).covariance_)
    expected = np.sqrt(found.weights_ @ covariance @ found.weights_)
    assert_allclose(found.diagnostics_["forecast_volatility"], expected, rtol=1e-12)
    other = ForecastBook(book, NeuralShrinkage(None, lookback=100)).fit(X)
    assert_allclose(other.diagnostics_["forecast_volatility"], expected, rtol=1e-12)
