"""A dry run plans and measures without training; a rehearsal pushes rows through every stage or says where not."""

import json
import re
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from eigenfolio.config import load_config, load_train_config
from eigenfolio.errors import DataError, EigenfolioError, ParameterError
from eigenfolio.pipeline import RunContext, rehearsal
from eigenfolio.pipeline.models import shipped_models
from eigenfolio.pipeline.rehearsal import check_table, dry_run, rehearse
from eigenfolio.training.shrinkage import FailedFold

TRAINING = {
    "n_members": 3,
    "schedule": {"first_months": 30, "every_months": 12, "validation_months": 6},
    "windows": {"n_windows": 64, "n_validation_windows": 32, "max_lookback": 120},
    "network": {"hidden_sizes": [16, 8]},
    "loop": {"max_epochs": 3},
}
STAGES = [
    "read, check, clean", "seal and sample", "features", "training steps", "training", "bundles", "fresh process",
    "walk-forward", "comparison", "page", "record",
]  # fmt: skip


@contextmanager
def silent(name, total):
    yield lambda: None


def market(n_rows=1250, n_assets=6):
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2010-01-04", periods=n_rows, name="date")
    return pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCDEF")[:n_assets])


def context(folder):
    return RunContext(folder / "runs", datetime(2024, 5, 1, 9, 30), "eigenfolio run --sample 0.5", "c" * 40)


def settings(path, **more):
    return load_config(None, data={"path": str(path)}, training=TRAINING, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    market().to_parquet(folder / "prices.parquet")
    return folder


@pytest.fixture(scope="module")
def done(folder):
    return rehearse(settings(folder / "prices.parquet"), context(folder), 0.5, progress=silent)


def test_every_stage_is_reached_and_holds(done):
    assert [(stage.name, stage.status, stage.traceback) for stage in done.stages] == [(s, "ok", "") for s in STAGES]
    assert done.ok
    assert done.trouble is None
    assert done.lines()[-1] == "Every stage held."


def test_the_rows_are_the_most_recent_before_the_sealed_span(done):
    index = market().index[1:]  # the first price has no return
    n_open = len(index) - round(0.2 * len(index))
    assert done.n_rows == round(0.5 * n_open)
    first, last = index[n_open - done.n_rows], index[n_open - 1]
    assert done.span == f", {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def test_only_the_report_is_left_and_it_says_what_was_scaled(done, folder):
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "pipeline-validation.json",
        "pipeline-validation.txt",
    ]
    assert [path.name for path in (folder / "runs").iterdir()] == [done.folder.name]
    told = json.loads((done.folder / "pipeline-validation.json").read_text())
    assert told["status"] == "ok"
    assert told["scaled"]["training.n_members"] == {"configured": 3, "rehearsed": 2}
    assert told["scaled"]["training.loop.max_epochs"] == {"configured": 3, "rehearsed": 2}
    assert told["config"]["training"]["n_members"] == 3
    assert [stage["name"] for stage in told["stages"]] == STAGES
    text = (done.folder / "pipeline-validation.txt").read_text()
    assert all(stage in text for stage in STAGES)
    assert "training.n_members 3 -> 2" in text


def test_no_option_is_scaled_up_here(done):
    for name, (before, after) in done.scaled.items():
        assert before is None or after <= before, name


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_a_share_outside_its_range_is_refused(folder, share):
    with pytest.raises(ParameterError, match=r"share in \(0, 1\]"):
        rehearse(settings(folder / "prices.parquet"), context(folder), share, progress=silent)


def test_too_few_rows_name_how_many_are_needed_and_those_are_enough(folder, tmp_path):
    config = settings(folder / "prices.parquet")
    with pytest.raises(
        DataError, match=r"takes 50 of the 999 .* needs about (\d+) .* share of at least 0\.\d+"
    ) as said:
        rehearse(config, context(tmp_path), 0.05, progress=silent)
    needed = int(re.search(r"needs about (\d+)", str(said.value))[1])
    index = market().index[1:1000]
    assert rehearsal._scaled(config, index[-needed:]) is not None
    assert rehearsal._scaled(config, index[-needed + 30 :]) is None
    assert not (tmp_path / "runs").exists()


def test_a_panel_that_is_too_short_says_so(tmp_path):
    market(n_rows=150).to_parquet(tmp_path / "prices.parquet")
    with pytest.raises(DataError, match=r"needs about \d+ .*; give more history"):
        rehearse(settings(tmp_path / "prices.parquet"), context(tmp_path), 1.0, progress=silent)


def broken(tmp_path, prices):
    """Rehearse on a table that must not pass, and give the stage that failed."""
    prices.to_parquet(tmp_path / "prices.parquet")
    config = settings(tmp_path / "prices.parquet")
    done = rehearse(config, context(tmp_path), 0.9, progress=silent)
    assert not done.ok
    assert json.loads((done.folder / "pipeline-validation.json").read_text())["status"] == "failed"
    assert [stage.status for stage in done.stages[:-1]] == ["ok"] * (len(done.stages) - 1)
    assert done.lines()[-1].startswith("FAILED")
    return done.stages[-1]


@pytest.mark.parametrize("prices", [market().iloc[:0], market() * np.nan])
def test_an_empty_table_fails_it(tmp_path, prices):
    assert broken(tmp_path, prices).name == "read, check, clean"


def test_a_constant_table_fails_it(tmp_path):
    stage = broken(tmp_path, market() * 0.0 + 100.0)
    assert stage.name == "seal and sample"
    assert "constant" in stage.detail
    assert stage.traceback == ""


def test_a_table_that_is_constant_in_the_sample_alone_fails_it(tmp_path):
    prices = market()
    prices.iloc[100:] = prices.iloc[99].to_numpy()
    assert broken(tmp_path, prices).name == "seal and sample"


def test_a_fold_that_cannot_be_trained_fails_the_stage_and_ends_the_rehearsal(folder, tmp_path, monkeypatch):
    def failing(returns, folds, **options):
        return [FailedFold(fold, "TrainingError: the loss is not finite") for fold in folds]

    monkeypatch.setattr(rehearsal, "train_series", failing)
    done = rehearse(settings(folder / "prices.parquet"), context(tmp_path), 0.5, progress=silent)
    assert done.stages[-1].name == "training"
    assert re.search("could not be trained: TrainingError: the loss is not finite", done.trouble)


def test_a_bug_fails_its_stage_and_is_told_with_its_origin(folder, tmp_path, monkeypatch):
    def buggy(*arguments, **options):
        raise KeyError("volatility")

    monkeypatch.setattr(rehearsal, "draw_windows", buggy)
    done = rehearse(settings(folder / "prices.parquet"), context(tmp_path), 0.5, progress=silent)
    assert done.stages[-1].name == "features"
    assert done.stages[-1].detail == "KeyError: 'volatility'"
    assert "in buggy" in done.stages[-1].traceback


def test_predictions_that_differ_in_one_bit_are_noticed(folder, tmp_path, monkeypatch):
    honest = rehearsal.predict

    def slightly_off(series, questions, lookback):
        return np.nextafter(honest(series, questions, lookback), np.inf)

    monkeypatch.setattr(rehearsal, "predict", slightly_off)
    done = rehearse(settings(folder / "prices.parquet"), context(tmp_path), 0.5, progress=silent)
    assert (
        done.trouble == "the rehearsal failed at 'fresh process': a fresh process gives other predictions than this one"
    )


def performance(volatilities):
    columns = ("annualized_return", "sharpe_ratio", "max_drawdown", "turnover")
    return pd.DataFrame({"annualized_volatility": volatilities, **dict.fromkeys(columns, 0.1)})


def test_an_empty_constant_or_unfinished_result_table_is_refused():
    check_table("performance", performance([0.1, 0.2]))
    for table, trouble in (
        (performance([]), "is empty"),
        (performance([0.1, 0.1]), "is constant: annualized_volatility is the same in all 2 rows"),
        (performance([0.1, np.nan]), "is not finite in annualized_volatility"),
    ):
        with pytest.raises(EigenfolioError, match=f"the performance table {trouble}"):
            check_table("performance", table)


def test_a_dry_run_plans_everything_and_writes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = dry_run(settings(folder / "prices.parquet"), n_jobs=2)
    assert list(tmp_path.iterdir()) == []
    assert (told.n_rows, told.n_assets, told.n_members) == (1249, 6, 3)
    assert told.sealed.startswith("250 rows, ")
    index = market().index[1:]
    fold = told.folds[0]
    assert (fold.teaching_first, fold.stopping_last) == ("2010-01-05", fold.name)
    assert fold.teaching_rows == (index < "2012-01-01").sum()
    assert fold.stopping_rows == ((index >= "2012-01-01") & (index < "2012-07-01")).sum()
    assert told.n_models == 17 + len(shipped_models(lookback=63))
    assert told.n_decisions > 10
    assert told.training_seconds == told.fold_seconds * -(-len(told.folds) // 2)
    assert {row.status for row in told.budgets} == {"within"}
    text = "\n".join(told.lines())
    for part in ("an estimate", "parameters", "Memory", "Budget", fold.name, "decisions"):
        assert part in text
    json.dumps(told.to_dict(), allow_nan=False)


def test_a_dry_run_of_a_training_has_no_walk_forward_and_takes_rolling_folds(folder):
    config = load_train_config(
        None, fold="12m/6m/6m", data={"path": str(folder / "prices.parquet")}, training={**TRAINING, "n_members": 1}
    )
    told = dry_run(config, n_jobs=1)
    assert told.n_decisions == 0
    assert told.evaluation_seconds == 0.0
    assert told.folds[1].teaching_first > told.folds[0].teaching_first
    assert "decisions" not in "\n".join(told.lines())


def test_a_training_is_rehearsed_with_the_default_evaluation(folder):
    config = load_train_config(None, data={"path": str(folder / "prices.parquet")}, training=TRAINING)
    job = rehearsal._as_run(config)
    assert job.training == config.training
    assert job.data == config.data
    assert rehearsal._scaled(job, market().index[400:1000]) is not None
