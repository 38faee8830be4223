"""A small run that was really made, and the commands about it."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from recorded_runs import COMMIT, TINY, context, silent

from eigenfolio import cli, pipeline
from eigenfolio.pipeline import RunOptions
from eigenfolio.pipeline.records import find_run


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A folder with prices.csv and one small run of them."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((900, 1)) + rng.standard_normal((900, 4)))
    index = pd.bdate_range("2010-01-04", periods=900, name="date")
    pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCD")).to_csv(
        folder / "prices.csv"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = RunOptions.model_validate(TINY | {"data": {"path": "prices.csv"}})
        pipeline.run(settings, context(folder / "runs"), progress=silent)
    return folder


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy of it, as the working directory."""
    shutil.copytree(original, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def run_folder(place):
    return find_run("latest", place / "runs")


@pytest.fixture
def command(monkeypatch, capsys):
    """Call ``eigenfolio runs ...`` from a clean tree at the recorded commit."""
    monkeypatch.setattr("eigenfolio.cli.surroundings.git_commit", lambda: COMMIT)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["eigenfolio", "runs", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        return stop.value.code, shown.out, shown.err

    return call
