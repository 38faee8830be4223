"""Training as a job: planned, recorded, used by the estimator, and resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from eigenfolio import NeuralShrinkage
from eigenfolio.artifacts import load_run, load_series
from eigenfolio.errors import LookaheadError, ParameterError
from eigenfolio.training import plan_rolling

CONFIG = {
    "training": {
        "n_members": 2,
        "windows": {"n_windows": 64, "n_validation_windows": 32, "max_lookback": 120},
        "network": {"hidden_sizes": [16, 8]},
        "loop": {"max_epochs": 3},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2010-01-04", periods=1900, name="date")
    moves = 0.01 * (rng.standard_normal((1900, 1)) + rng.standard_normal((1900, 8)))
    prices = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=[f"A{i}" for i in range(8)])
    prices.to_parquet(place / "prices.parquet")
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return place


def command(folder, out, *more):
    return [
        sys.executable, "-m", "eigenfolio", "train", "shrinkage", "config.yaml", "--data", "prices.parquet",
        "--fold", "36m/12m/12m", "--out", out, "--jobs", "1", "--json", *more,
    ]  # fmt: skip


def trained(folder, out, *more):
    done = subprocess.run(command(folder, out, *more), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_leaves_a_dated_series_that_the_estimator_takes(folder):
    said = trained(folder, "whole")
    record = load_run(folder / said["folder"])
    assert record.kind == "train"
    assert record.metrics == {"served_months": 12, "n_bundles": 1, "n_failed": 0}
    series = load_series(folder / said["folder"] / "bundles" / "shrinkage" / "dense")
    (bundle,) = series
    assert f"{bundle.trained_through:%Y-%m}" == "2013-12"
    X = pd.read_parquet(folder / "prices.parquet").pct_change().iloc[1:]
    assert NeuralShrinkage(series).fit(X.loc[:"2014-02-03"]).trained_through_ == bundle.trained_through
    with pytest.raises(LookaheadError):
        NeuralShrinkage(series).fit(X.loc[:"2013-12-30"])
    lines = (folder / said["folder"] / "training.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 4
    assert {"bundle", "member", "epoch", "validation", "gradient_norms"} <= set(json.loads(lines[-1]))
    assert [path.name for path in (folder / "whole").iterdir() if path.name.startswith(".")] == []


def test_killed_and_started_again_it_comes_to_the_same_bits(folder):
    whole = trained(folder, "again")
    digests = [trial["digest"] for trial in whole["trials"]]
    killed = 0
    for wait in (2.0, 3.0, 3.5):
        process = subprocess.Popen(
            command(folder, "killed"), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed
    resumed = trained(folder, "killed")
    assert [trial["digest"] for trial in resumed["trials"]] == digests


@pytest.mark.slow
def test_two_processes_train_a_fold_to_nearly_the_losses_of_one(folder):
    alone, together = trained(folder, "alone"), trained(folder, "together", "--devices", "2")
    for one, two in zip(alone["trials"], together["trials"], strict=True):
        # every process normalises over its own half of each batch
        assert two["validation_losses"] == pytest.approx(one["validation_losses"], abs=0.02)


def test_a_training_is_repeated_bit_for_bit(folder):
    said = trained(folder, "whole")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "eigenfolio",
            "runs",
            "reproduce",
            "latest",
            "--out",
            "whole",
            "--anyway",
            "--jobs",
            "1",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bundles/shrinkage/dense/2013-12-31" in done.stdout
    assert said["trials"][0]["digest"][:12] in done.stdout


def test_a_monthly_source_calendar_serves_96_or_108_months():
    index = pd.bdate_range("2013-01-01", "2024-12-30")
    folds, months = plan_rolling(index, "36m/12m/12m", n_rows=len(index))
    assert (len(folds), months) == (8, 96)
    index = pd.bdate_range("2012-01-02", "2024-12-30")
    assert plan_rolling(index, "36m/12m/12m", n_rows=len(index))[1] == 108
    for fold in folds:
        assert fold.first_row < fold.validation_start < fold.last_row


@pytest.mark.parametrize("spec", ["36/12/12", "36m/12m", "0m/12m/12m", "long"])
def test_a_fold_that_does_not_read_is_refused(spec):
    with pytest.raises(ParameterError, match="36m/12m/12m"):
        plan_rolling(pd.bdate_range("2013-01-01", "2024-12-30"), spec, n_rows=2000)
