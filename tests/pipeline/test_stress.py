"""`eigenfolio stress` on a small panel with volume: every scenario, the same bits again, and clear refusals."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main
from eigenfolio.evaluation.comparators import COMPARATORS
from eigenfolio.panel import Panel
from eigenfolio.pipeline.stress import value_traded


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stress")
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((800, 1)) + rng.standard_normal((800, 6)))
    index = pd.bdate_range("2009-01-05", periods=800, name="date")
    prices = pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=list("ABCDEF"))
    (folder / "panel").mkdir()
    prices.to_parquet(folder / "panel" / "prices.parquet")
    (1e5 + 0.0 * prices).to_parquet(folder / "panel" / "volume.parquet")
    prices.to_csv(folder / "prices.csv")
    (folder / "c.yaml").write_text(
        "evaluation: {lookback: 60, n_bootstrap: 1000}\nuniverse: {min_assets: 3, min_rows: 60, lookback: 80}\n"
    )
    return folder


def test_every_scenario_reaches_the_terminal_the_folder_and_json(folder, monkeypatch, capsys):
    common = (folder / "panel", "--config", folder / "c.yaml", "--jobs", 1)
    status, shown, errors = call(monkeypatch, capsys, "stress", *common, "--out", folder / "out")
    assert (status, errors) == (0, "")
    for words in ("volatility (shock", "drought (shock", "euro and downgrade 2011 (historic", "(regime", "break-even"):
        assert words in shown
    told = json.loads((folder / "out" / "stress.json").read_text())
    scenarios = {row["scenario"] for row in told["stress"]}
    assert {"volatility", "correlation", "outliers", "missing", "drought", "euro and downgrade 2011"} <= scenarios
    assert set(COMPARATORS) <= {row["model"] for row in told["stress"]}
    assert {row["cost_bps"] for row in told["costs"]} == {0.0, 5.0, 10.0, 25.0}
    drought = [row for row in told["stress"] if row["scenario"] == "drought"]
    assert all(row["annualized_cost"] > row["normal_cost"] for row in drought)
    assert (folder / "out" / "stress.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in (folder / "out").glob("*.csv")} == {"stress.csv", "costs.csv", "break_even.csv"}

    status, _, errors = call(monkeypatch, capsys, "stress", *common, "--out", folder / "out")
    assert status == 2
    assert "exists already" in errors


def test_chosen_models_and_shocks_alone_and_the_same_command_gives_the_same_bits(folder, monkeypatch, capsys):
    common = (folder / "prices.csv", "--config", folder / "c.yaml", "--jobs", 1, "--json")
    chosen = ("--models", "OAS", "--models", "Equal weight", "--shock", "outliers", "--shock", "drought")
    status, shown, _ = call(monkeypatch, capsys, "stress", *common, *chosen)
    told = json.loads(shown)
    assert (status, told["reference"]) == (0, "OAS")
    assert {row["model"] for row in told["stress"]} == {"OAS", "Equal weight"}
    assert {row["scenario"] for row in told["stress"] if row["kind"] == "shock"} == {"outliers"}
    assert any(note.startswith("The drought was left out") for note in told["notes"])
    assert call(monkeypatch, capsys, "stress", *common, *chosen)[1] == shown


def test_unknown_names_are_refused_before_the_work(folder, monkeypatch, capsys):
    (folder / "empty.csv").touch()  # reading it would be another error
    status, _, errors = call(monkeypatch, capsys, "stress", folder / "empty.csv", "--models", "best")
    assert status == 2
    assert "--models must be of" in errors
    status, _, errors = call(
        monkeypatch, capsys, "stress", folder / "prices.csv", "--config", folder / "c.yaml", "--shock", "flood"
    )
    assert status == 2
    assert "got flood" in errors


def test_value_traded_needs_volume_and_prices():
    days = pd.bdate_range("2020-01-01", periods=3)
    returns = pd.DataFrame({"A": [0.1, 0.0, 0.1]}, index=days)
    assert value_traded(Panel.from_returns(returns)) is None
    prices = pd.DataFrame({"A": [10.0, 11.0, 12.0]}, index=days)
    assert value_traded(Panel.from_prices(prices)) is None
    assert value_traded(Panel.from_prices(prices, volume=2.0 + 0.0 * prices))["A"].tolist() == [22.0, 24.0]
