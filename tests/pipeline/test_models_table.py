"""The table of time, size and accuracy, and that of parts left out, on a small market."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.ablated import PARTS
from eigenfolio.pipeline.names import CHAMPION


def benchmark(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """Prices of six assets from 2012 to 2013, as a file."""
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2011-09-01", "2013-12-31", name="date")
    moves = 0.01 * (rng.standard_normal((len(index), 1)) + rng.standard_normal((len(index), 6)))
    path = tmp_path_factory.mktemp("table") / "prices.csv"
    pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index=index, columns=list("ABCDEF")).to_csv(path)
    return path


def test_every_model_has_its_time_size_and_accuracy(prices, monkeypatch, capsys):
    table = benchmark("models_table")
    closed = table.classical_models
    monkeypatch.setattr(table, "REPEATS", 1)
    monkeypatch.setattr(
        table, "classical_models", lambda **given: {name: closed(**given)[name] for name in ("Sample", CHAMPION)}
    )
    monkeypatch.setattr(sys, "argv", ["models_table.py", str(prices), "--lookback", "126"])
    table.main()
    printed = capsys.readouterr().out
    for name in ("spectral (2012)", "Sample", CHAMPION):
        assert any(line.startswith(name) for line in printed.splitlines())
    assert "long-only" in printed
    assert "QLIKE" in printed


def test_the_size_counts_the_weights_and_not_the_scalers():
    tensors = {"layer.weight": np.zeros((3, 4, 5)), "layer.bias": np.zeros((3, 4)), "token_center": np.zeros(7)}
    bundle = Bundle("shrinkage", "spectral", {}, (), tensors, pd.Timestamp("2012-12-31"))
    size_of = benchmark("models_table").size_of
    assert size_of(bundle) == (72, 8 * 79 / 1e3)
    assert size_of(None) == (0, 0.0)


def test_a_common_scale_of_the_volatilities_moves_no_minimum_variance_portfolio(prices, monkeypatch):
    ablation = benchmark("ablation")
    returns = pd.read_csv(prices, index_col=0, parse_dates=True).pct_change().iloc[1:]
    judged = ablation.ablate(returns, assets=6, lookback=126, rebalance="MS", seed=0)
    rows = judged.comparison.set_index("rival")
    assert set(rows.index) == set(PARTS)
    assert np.abs(rows.loc["scale head", "window_mean"]).max() < 1e-6
    assert np.abs(rows.loc["all heads", "window_mean"]).min() > 1e-6
