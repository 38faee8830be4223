"""`eigenfolio evaluate --protocol` on a small file: paths, the same bits again, and clear refusals."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main
from eigenfolio.evaluation.comparators import COMPARATORS


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((700, 1)) + rng.standard_normal((700, 6)))
    index = pd.bdate_range("2010-01-04", periods=700, name="date")
    pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=list("ABCDEF")).to_csv(
        folder / "prices.csv"
    )
    (folder / "c.yaml").write_text("evaluation: {lookback: 60, n_bootstrap: 1000}\n")
    return folder


def test_combinatorial_paths_hold_every_comparator_and_no_weights_that_may_have_seen_the_rows(
    folder, monkeypatch, capsys
):
    common = ("evaluate", folder / "prices.csv", "--config", folder / "c.yaml", "--protocol", "combinatorial")
    status, shown, errors = call(monkeypatch, capsys, *common, "--jobs", 1, "--out", folder / "out")
    assert (status, errors) == (0, "")
    assert "7 paths" in shown
    assert "cannot carry an interval" not in shown
    assert "may have seen the rows tested" in shown
    told = json.loads((folder / "out" / "evaluation.json").read_text())
    assert {row["model"] for row in told["summary"]} == set(COMPARATORS)
    paths = pd.read_parquet(folder / "out" / "paths.parquet")
    assert paths.shape == (699, 7 * len(COMPARATORS))
    assert {row["n_paths"] for row in told["summary"]} == {7}


RANDOMIZED = ("--protocol", "randomized", "--paths", 3, "--json", "--reference", "Equal weight")


def test_randomized_paths_are_those_of_the_seed(folder, monkeypatch, capsys):
    common = ("evaluate", folder / "prices.csv", "--config", folder / "c.yaml", *RANDOMIZED)
    status, shown, _ = call(monkeypatch, capsys, *common, "--jobs", 1)
    told = json.loads(shown)
    assert status == 0
    assert {row["reference"] for row in told["against"]} == {"Equal weight"}
    assert {row["path"] for row in told["measures"]} == {0, 1, 2}
    assert told["notes"][0].startswith("3 paths cannot carry an interval over paths")
    other = json.loads(call(monkeypatch, capsys, *common, "--jobs", 1, "--seed", 7)[1])
    assert other["measures"] != told["measures"]


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(folder, monkeypatch, capsys):
    common = ("evaluate", folder / "prices.csv", "--config", folder / "c.yaml", *RANDOMIZED)
    one, two = (call(monkeypatch, capsys, *common, "--jobs", jobs)[1] for jobs in (1, 2))
    assert one == two


def test_keys_that_the_paths_do_not_read_are_refused(folder, monkeypatch, capsys):
    (folder / "unread.yaml").write_text("evaluation: {rebalance: QS}\nuniverse: {max_assets: 3}\n")
    status, _, errors = call(
        monkeypatch, capsys, "evaluate", folder / "prices.csv", "--config", folder / "unread.yaml", "--protocol",
        "combinatorial",
    )  # fmt: skip
    assert status == 2
    assert "does not read evaluation.rebalance, universe" in errors


def test_unknown_protocols_and_references_are_refused_before_the_work(folder, monkeypatch, capsys):
    (folder / "empty.csv").touch()  # reading it would be another error
    status, _, errors = call(monkeypatch, capsys, "evaluate", folder / "empty.csv", "--protocol", "k-fold")
    assert status == 2
    assert "--protocol must be walk-forward, combinatorial, randomized, seeds, got 'k-fold'" in errors
    status, _, errors = call(
        monkeypatch, capsys, "evaluate", folder / "empty.csv", "--protocol", "randomized", "--reference", "best"
    )
    assert status == 2
    assert "--reference must be one of" in errors
