"""`eigenfolio evaluate` on a small file: every table, the same bits again, and clear refusals."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main

TABLES = ("performance", "comparison", "tests", "selection", "sets", "covariance", "costs", "break_even")
REFERENCE = "Average oracle"


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((460, 1)) + rng.standard_normal((460, 5)))
    index = pd.bdate_range("2010-01-04", periods=460, name="date")
    pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=list("ABCDE")).to_csv(
        folder / "prices.csv"
    )
    (folder / "c.yaml").write_text(
        "evaluation: {lookback: 60, n_bootstrap: 1000}\nuniverse: {min_rows: 60, lookback: 80}\n"
    )
    return folder


def test_every_table_reaches_the_terminal_the_folder_and_json(folder, monkeypatch, capsys):
    common = (folder / "prices.csv", "--config", folder / "c.yaml", "--jobs", 1, "--reference", REFERENCE)
    status, shown, errors = call(monkeypatch, capsys, "evaluate", *common, "--out", folder / "out")
    assert (status, errors) == (0, "")
    assert f"reference: {REFERENCE}" in shown
    for words in (
        "Holm",
        "detectable",
        "deflated",
        "cannot be told from the calmest",
        "mahalanobis_ratio",
        "net of costs",
        "The sentences above read the first; QIS devolatilised + EWMA(63) is the rival named beforehand",
    ):
        assert words in shown
    told = json.loads((folder / "out" / "evaluation.json").read_text())
    assert {path.stem for path in (folder / "out").glob("*.csv")} == set(TABLES)
    for table in TABLES:
        assert len(told[table]) == len(pd.read_csv(folder / "out" / f"{table}.csv")) > 0
    assert all(row["reference"] == REFERENCE for row in told["comparison"] + told["tests"])
    assert all(row["minimum_detectable"] is not None for row in told["tests"] + told["comparison"])
    windows = shown.split("(the test of the sentences above)")[1].split("\n\n")[0].splitlines()
    book = told["comparison"][0]["book"]
    assert {f"{100 * row['window_mean']:+.2f}" for row in told["comparison"] if row["book"] == book} == {
        line.split(" to ")[0].split()[-2] for line in windows[2:]
    }
    status, printed, _ = call(monkeypatch, capsys, "evaluate", *common, "--json")
    assert status == 0
    assert json.loads(printed) == told  # the same command, the same bits

    status, _, errors = call(monkeypatch, capsys, "evaluate", *common, "--out", folder / "out")
    assert status == 2
    assert "exists already" in errors


def test_an_option_that_the_protocol_does_not_read_is_refused(folder, monkeypatch, capsys):
    for protocol in ("walk-forward", "combinatorial", "seeds"):
        status, _, errors = call(
            monkeypatch, capsys, "evaluate", folder / "nowhere.csv", "--paths", 5, "--protocol", protocol
        )
        assert status == 2
        assert f"--paths belongs to --protocol randomized, not to {protocol}" in errors


def test_an_unknown_reference_is_refused_before_the_work(folder, monkeypatch, capsys):
    (folder / "empty.csv").touch()  # reading it would be another error
    status, _, errors = call(monkeypatch, capsys, "evaluate", folder / "empty.csv", "--reference", "best")
    assert status == 2
    assert "--reference must be one of" in errors
    assert "QIS" in errors
