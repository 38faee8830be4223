"""`eigenfolio evaluate --protocol seeds`: shipped networks and those of a run, taken apart and judged."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from random_gat import random_gat_bundle

from eigenfolio.artifacts import RunRecord, save_bundle, write_run
from eigenfolio.cli import main
from eigenfolio.pipeline.gat_options import GatOptions


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((520, 1)) + rng.standard_normal((520, 8)))
    index = pd.bdate_range("2014-01-06", periods=520, name="date")
    pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=list("ABCDEFGH")).to_csv(
        folder / "prices.csv"
    )
    (folder / "c.yaml").write_text("evaluation: {lookback: 120, n_bootstrap: 1000}\nuniverse: {min_assets: 4}\n")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Two graph methods with three seeds each, and one of a single seed."""
    record = RunRecord(
        identifier="gat", kind="train-gat", started="2024-05-01T09:30:00", command="eigenfolio train gat", seed=1,
        git_commit=None, versions={}, data_fingerprint="none", config=GatOptions().model_dump(mode="json"),
        status="complete", metrics={}, trials=[], budgets=[],
    )  # fmt: skip

    def contents(place):
        for graph, members in (("mst", 3), ("tmfg", 3), ("knn_k5", 1)):
            bundle = random_gat_bundle(through="2014-12-31", graph=graph, n_members=members)
            save_bundle(bundle, place / "bundles" / "gat" / graph / "2014-12-31")

    return write_run(record, folder / "gat", contents=contents)


def test_the_seeds_of_the_shipped_networks_are_judged(folder, monkeypatch, capsys):
    status, shown, errors = call(
        monkeypatch, capsys, "evaluate", folder / "prices.csv", "--config", folder / "c.yaml", "--protocol", "seeds",
        "--seeds", 2, "--jobs", 1, "--json",
    )  # fmt: skip
    assert (status, errors) == (0, "")
    told = json.loads(shown)
    assert told["protocol"] == "walk-forward under 2 seeds"
    assert {row["model"] for row in told["stability"]["seeds"]} == {"shrinkage/dense", "shrinkage/spectral"}
    assert told["stability"]["unseeded"] == ["QIS devolatilised + EWMA(63)"]
    spreads = [row["spread"] for row in told["stability"]["seeds"]]
    assert min(spreads) > 0.0
    assert told["notes"][0].startswith("2 seeds cannot carry an interval over seeds")
    assert any("attention is left out: it was trained from one seed" in note for note in told["notes"])


def test_configurations_of_a_run_are_set_against_its_seeds(folder, run, monkeypatch, capsys):
    common = ("evaluate", folder / "prices.csv", "--config", folder / "c.yaml", "--protocol", "seeds", "--run", run)
    out = folder / "out"
    status, shown, errors = call(
        monkeypatch, capsys, *common, "--jobs", 1, "--out", out, "--reference", "Equal weight"
    )  # fmt: skip
    assert (status, errors) == (0, "")
    assert "walk-forward under 3 seeds; 3 paths" in shown
    assert "Between configurations it differs by" in shown
    table = pd.read_csv(out / "configurations.csv").set_index("measure")
    seeds = pd.read_csv(out / "seeds.csv")
    assert set(seeds["model"]) == {"gat/mst", "gat/tmfg"}
    sharpe = seeds[seeds["measure"] == "sharpe_ratio"]
    assert table.loc["sharpe_ratio", "seed_spread"] == pytest.approx(np.sqrt((sharpe["spread"] ** 2).mean()))
    first = pd.read_parquet(out / "paths.parquet").index[0]
    assert first > pd.Timestamp("2014-12-31")


def test_more_seeds_than_were_trained_are_refused(folder, run, monkeypatch, capsys):
    common = ("evaluate", folder / "prices.csv", "--config", folder / "c.yaml")
    status, _, errors = call(monkeypatch, capsys, *common, "--protocol", "seeds", "--run", run, "--seeds", 4)
    assert status == 2
    assert "--seeds must be from 2 to 3" in errors
    status, _, errors = call(monkeypatch, capsys, *common, "--seeds", 4)
    assert status == 2
    assert "belong to --protocol seeds, not to walk-forward" in errors
    empty = folder / "empty"
    empty.mkdir()
    status, _, errors = call(monkeypatch, capsys, *common, "--protocol", "seeds", "--run", empty)
    assert status == 2
