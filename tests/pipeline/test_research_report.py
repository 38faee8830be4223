"""`eigenfolio report` makes a paper's tables and figures from the record of a run alone."""

import json
import sys
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from eigenfolio import cli, pipeline
from eigenfolio.artifacts import RunRecord, load_run, write_run
from eigenfolio.errors import ArtifactError
from eigenfolio.pipeline import RunContext, RunOptions
from eigenfolio.pipeline.research_report import recorded_content

TINY = {
    "universe": {"min_assets": 2},
    "sealed_share": 0.0,
    "training": {
        "n_members": 2,
        "schedule": {"first_months": 30, "every_months": 24, "validation_months": 6},
        "windows": {"min_assets": 2, "n_windows": 32, "n_validation_windows": 16, "max_lookback": 120},
        "network": {"hidden_sizes": [8]},
        "loop": {"max_epochs": 2},
    },
    "evaluation": {"lookback": 63, "n_bootstrap": 1000},
}


@contextmanager
def silent(name, total):
    yield lambda: None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of one small run."""
    folder = tmp_path_factory.mktemp("research")
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((900, 1)) + rng.standard_normal((900, 4)))
    index = pd.bdate_range("2010-01-04", periods=900, name="date")
    pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCD")).to_csv(
        folder / "prices.csv"
    )
    settings = RunOptions.model_validate(TINY | {"data": {"path": str(folder / "prices.csv")}})
    context = RunContext(
        folder=folder / "runs", started=datetime(2024, 5, 1), command="eigenfolio run", git_commit="c" * 40
    )
    return pipeline.run(settings, context, progress=silent)


def test_the_record_alone_gives_the_numbers_of_the_run(finished):
    content = recorded_content(finished.folder)
    columns = ["model", "book", "annualized_volatility", "turnover"]
    pd.testing.assert_frame_equal(content.performance[columns], finished.performance[columns])
    assert content.comparison["window_mean"].tolist() == finished.comparison["window_mean"].tolist()
    assert set(content.returns) == {*finished.performance["book"]}
    assert content.verdict[0] == finished.verdict[0]


def test_losses_and_convergence_come_from_the_log_of_the_training(finished):
    content = recorded_content(finished.folder)
    (name, history), *_ = content.loss_history.items()
    rows = [json.loads(line) for line in (finished.folder / "training.jsonl").read_text().splitlines()]
    first = [row["validation"]["total"] for row in rows if row["bundle"] == name and row["epoch"] == 0]
    assert history["validation"].iloc[0] == pytest.approx(np.mean(first), rel=1e-12)
    assert len(first) == 2
    assert content.convergence["members"].tolist() == ["2"] * len(content.loss_history)


def test_the_command_writes_the_package(finished, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "paper"
    words = ["eigenfolio", "report", "latest", "--format", "latex", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words, "--runs", str(finished.folder.parent), "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0
    assert (out / "run.json").read_bytes() == (finished.folder / "run.json").read_bytes()
    assert sorted(told["tables"]) == sorted(path.stem for path in (out / "tables").glob("*.tex"))
    assert sorted(told["figures"]) == sorted(path.stem for path in (out / "figures").glob("*.pdf"))


def fake(folder, **changes):
    given = {
        "identifier": "exp", "kind": "run", "started": "2024-01-01T00:00:00", "command": "eigenfolio run", "seed": 1,
        "git_commit": None, "versions": {}, "data_fingerprint": "f" * 64, "config": {}, "status": "complete",
    }  # fmt: skip
    return write_run(RunRecord(**given | changes), folder / "exp", contents=lambda partial: None)


def test_a_record_without_performance_and_training_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="neither performance nor training"):
        recorded_content(fake(tmp_path))


def test_a_track_that_the_ledger_names_must_be_there(finished):
    path = finished.folder / "returns.parquet"
    whole = path.read_bytes()
    table = pd.read_parquet(path)
    try:
        table.iloc[:, 1:].to_parquet(path)
        with pytest.raises(ArtifactError, match="lacks the track"):
            recorded_content(finished.folder)
    finally:
        path.write_bytes(whole)
    assert load_run(finished.folder).status == "complete"


def test_a_training_without_evaluation_is_told_by_its_bundles(tmp_path):
    trial = {
        "kind": "training", "model": "shrinkage/dense", "through": "2019-12-31", "status": "trained",
        "best_epochs": [3, 0], "validation_losses": [0.5, 0.7], "start_validation_loss": 0.8, "seconds": 1.5,
    }  # fmt: skip
    content = recorded_content(fake(tmp_path, kind="train", trials=[trial]))
    assert content.verdict == ["1 bundle was trained; in 0 of them every member got better than its start."]
    assert content.training["best_validation_loss"].tolist() == pytest.approx([0.6])
    assert content.performance is None


def test_tracks_that_cover_the_dates_of_a_choice_are_not_drawn(tmp_path):
    row = {"model": "hrp_a", "book": "own", "annualized_volatility": 0.1}
    chosen = {"winner": "hrp_a", "reason": "hrp_a was the calmest on validation", "n_candidates": 3}
    trials = [{"kind": "evaluation", "model": "hrp_a", "book": "own"}]
    folder = fake(tmp_path, kind="train-hrp", metrics={"performance": [row], "selection": chosen}, trials=trials)
    content = recorded_content(folder)
    assert content.returns == {}
    assert content.learned_model == "hrp_a"
    assert content.warnings[0].startswith("hrp_a was the calmest on validation. Performance and comparisons are of the")
