"""The sweep of graph-attention portfolios as a job: planned, recorded, resumed, ranked, and read back."""

import json
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_array_equal
from pydantic import ValidationError
from typer.testing import CliRunner

from eigenfolio.artifacts import load_run, load_series
from eigenfolio.cli import app
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.learned import GraphAttentionPortfolio
from eigenfolio.pipeline import RunContext, gat_sweep
from eigenfolio.pipeline.gat_options import GatOptions, plan_gat
from eigenfolio.pipeline.gat_sweep import train_gat_sweep
from eigenfolio.pipeline.prepare import prepare

SETTINGS = {
    "sealed_share": 0.1,
    "n_seeds": 2,
    "fold": "6m/4m/4m",
    "graphs": ["mst", "knn_k5"],
    "universe": {"min_assets": 6, "min_rows": 60, "lookback": 63},
    "evaluation": {"n_bootstrap": 1000},
    "training": {
        "widths": [8], "n_heads": 2, "readout": 8, "block": 3, "stride": 1,
        "loop": {"max_epochs": 3, "patience": 3, "batch_size": 2},
    },
}  # fmt: skip


class Stopped(Exception):
    """Stands for a kill."""


def prices(n_rows=730, n_assets=9):
    """One factor; an asset is listed late and one is delisted."""
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2010-01-04", periods=n_rows, name="date")
    moves = 0.008 * rng.standard_normal((n_rows, 1)) + 0.01 * rng.standard_normal((n_rows, n_assets))
    table = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index=index, columns=[f"A{i}" for i in range(n_assets)])
    table.iloc[:400, 2] = np.nan
    table.iloc[520:, 5] = np.nan
    return table


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, n_jobs=1):
    return RunContext(folder, datetime(2024, 5, 1, 9, 30), "eigenfolio train gat", None, n_jobs)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("gat") / "prices.parquet"
    prices().to_parquet(place)
    return place


def options(path, **changes):
    return GatOptions.model_validate({**SETTINGS, "data": {"path": str(path)}, **changes})


@pytest.fixture(scope="module")
def done(path, tmp_path_factory):
    return train_gat_sweep(options(path), context(tmp_path_factory.mktemp("runs")), progress=silent)


def test_no_span_sees_what_a_later_one_decides_on(path):
    config = options(path)
    planned = plan_gat(config, prepare(config.data))
    decisions = planned.plan.decisions
    assert len(planned.folds) >= 2
    for fold in planned.folds:
        assert fold.training_last == decisions[fold.validation[0]].row
        assert fold.validation_last == decisions[fold.test[0]].row
        assert max(decisions[i].start for i in fold.training) <= fold.training_last
        assert max(decisions[i].start for i in fold.validation) <= fold.validation_last
        assert [len(fold.validation), len(fold.test)] == [4, 4]
    assert planned.served == list(range(planned.served[0], planned.served[-1] + 1))


def test_it_leaves_a_record_a_log_a_report_and_a_bundle_per_graph_and_span(done):
    log = yaml.safe_load((done.folder / "results.yaml").read_text())
    assert set(log["graphs"]) == {"mst", "knn_k5"}
    assert log["ranking"]["order"] == list(done.ranking.table.index)
    assert len(log["training"]) == 2 * 2 * len(log["spans"])
    assert {"best_loss", "epochs", "best_epoch", "alarms"} <= set(log["training"][0])
    record = load_run(done.folder)
    assert record.kind == "train-gat"
    assert record.status == "complete"
    for graph in ("mst", "knn_k5"):
        series = load_series(done.folder / "bundles" / "gat" / graph)
        assert [f"{bundle.trained_through:%Y-%m-%d}" for bundle in series] == log["spans"]
        assert all(len(next(iter(bundle.tensors.values()))) == 2 for bundle in series)
    assert (done.folder / "report.html").stat().st_size > 10_000
    epochs = [json.loads(line) for line in (done.folder / "training.jsonl").read_text().splitlines()]
    assert {entry["member"] for entry in epochs} == {0, 1}


def test_what_was_written_decides_as_the_walk_forward_did(done, path):
    returns = prepare(options(path).data).panel.returns
    model = GraphAttentionPortfolio(done.folder / "bundles" / "gat" / "mst").fit(returns.iloc[:700].drop(columns="A5"))
    assert model.scores_.shape[0] == 2
    assert model.weights_.sum() == pytest.approx(1.0)


def test_the_ranking_says_whether_it_is_more_than_noise(done):
    assert done.ranking.more_than_noise in (True, False)
    assert "noise" in done.ranking.sentences[1]
    assert "seeds" in done.sentences[0]
    assert {"gat_mst", "gat_ensemble", "gat_mst seed 1", "Equal weight", "Minimum variance"} <= set(
        done.performance["model"]
    )


def test_a_sweep_that_was_stopped_goes_on_to_the_same_bits(done, path, tmp_path, monkeypatch):
    trained, real = [], gat_sweep.train_gat

    def once(*args, **told):
        if len(trained) == 3:
            raise Stopped
        trained.append(told["seed"])
        return real(*args, **told)

    monkeypatch.setattr(gat_sweep, "train_gat", once)
    with pytest.raises(Stopped):
        train_gat_sweep(options(path), context(tmp_path), progress=silent)
    monkeypatch.setattr(gat_sweep, "train_gat", real)
    again = train_gat_sweep(options(path), context(tmp_path), progress=silent)
    for graph in ("mst", "knn_k5"):
        for ours, theirs in zip(
            load_series(again.folder / "bundles" / "gat" / graph),
            load_series(done.folder / "bundles" / "gat" / graph),
            strict=True,
        ):
            assert ours.digest == theirs.digest
    first, second = (pd.read_parquet(run.folder / "returns.parquet") for run in (done, again))
    assert_array_equal(first.to_numpy(), second.to_numpy())
    assert {place.name for place in tmp_path.iterdir()} == {again.folder.name, "latest"}


@pytest.mark.slow
def test_two_workers_give_the_same_bits_as_one(done, path, tmp_path):
    again = train_gat_sweep(options(path), context(tmp_path, n_jobs=2), progress=silent)
    first, second = (pd.read_parquet(run.folder / "returns.parquet") for run in (done, again))
    assert_array_equal(first.to_numpy(), second.to_numpy())


LIMIT = 0.06


@pytest.fixture(scope="module")
def limited(path, tmp_path_factory):
    """The result of a sweep with a limit on turnover, and the walk-forward behind it."""
    kept, real = {}, gat_sweep.judge_gat

    def noted(config, returns, walked, logs):
        kept.update(config=config, returns=returns, walked=walked)
        return real(config, returns, walked, logs)

    config = options(path, n_seeds=1, training={**SETTINGS["training"], "max_turnover": LIMIT})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gat_sweep, "judge_gat", noted)
        outcome = train_gat_sweep(config, context(tmp_path_factory.mktemp("limited")), progress=silent)
    return outcome, kept


def test_every_served_book_trades_within_the_limit_or_what_it_must(limited):
    """From what is held on the date decided, day by day; A5 is delisted on the way and has to be sold."""
    _, kept = limited
    planned = plan_gat(kept["config"], prepare(kept["config"].data))
    decisions, eligible = gat_sweep.served_decisions(planned), planned.plan.eligible.iloc[planned.served]
    for (name, _), track in kept["walked"].tracks.items():
        n_forced = 0
        for before, decision in pairwise(decisions):
            grown = track.weights.loc[before.date].copy()
            for _, day in kept["returns"].iloc[before.start : decision.row + 1].fillna(0.0).iterrows():
                grown *= 1.0 + day
            grown /= grown.sum()
            traded = 0.5 * (track.weights.loc[decision.date] - grown).abs().sum()
            forced = grown[~eligible.loc[decision.date].to_numpy()].sum()
            n_forced += forced > LIMIT
            assert traded <= max(LIMIT, forced) + 1e-9, (name, decision.date)
        assert n_forced <= 1


def test_the_limit_is_told_and_is_not_idle(limited, done):
    outcome, kept = limited
    assert any(f"turnover of {100 * LIMIT:g} %" in sentence for sentence in outcome.sentences)
    assert not any("turnover of" in sentence for sentence in done.sentences)
    [bundle, *_] = load_series(outcome.folder / "bundles" / "gat" / "mst")
    assert bundle.options["constraints"]["max_turnover"] == LIMIT
    told = kept["walked"].diagnostics["gat_mst"]
    assert (told["turnover"].dropna() > LIMIT - 1e-9).any()


def test_without_a_lag_the_trades_made_are_within_the_limit(path, tmp_path):
    """With a lag of one row they are what the book drifts in it away from what was known."""
    few = {**SETTINGS["training"], "loop": {"max_epochs": 1, "batch_size": 2}, "max_turnover": LIMIT}
    config = options(path, graphs=["mst"], n_seeds=1, training=few, evaluation={"n_bootstrap": 1000, "lag": 0})
    walks, real = [], gat_sweep.judge_gat
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gat_sweep, "judge_gat", lambda c, r, walked, g: walks.append(walked) or real(c, r, walked, g))
        train_gat_sweep(config, context(tmp_path), progress=silent)
    for name in ("gat_mst", "Equal weight", "Minimum variance"):
        beyond = walks[0].tracks[name, "own"].turnover.iloc[1:] > LIMIT + 1e-9
        assert beyond.sum() <= 1  # where A5 had to be sold


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"graphs": ["mst", "mst"]}, "each graph may stand once"),
        ({"training": {"max_turnover": 0.2, "max_positions": 3}}, "not both"),
        ({"training": {"cost_bps": 5.0}}, "must be the same"),
        ({"fold": "36m"}, "fold"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(path, changes, told):
    with pytest.raises(ValidationError, match=told):
        options(path, **changes)


def test_graphs_of_a_learned_covariance_are_told_by_their_bundles(path, tmp_path):
    loop = {**SETTINGS["training"], "loop": {"max_epochs": 1, "batch_size": 2}}
    config = options(path, graphs=["mst"], n_seeds=1, covariance="neural_shrinkage", training=loop)
    outcome = train_gat_sweep(config, context(tmp_path), progress=silent)
    [bundle, *_] = load_series(outcome.folder / "bundles" / "gat" / "mst")
    assert bundle.options["covariance"] == "NeuralShrinkage"
    assert outcome.ranking.more_than_noise is None


def test_keys_that_are_given_stand_over_the_defaults_of_this_job():
    config = GatOptions.model_validate({"training": {"loop": {"max_epochs": 7}}, "universe": {"max_assets": 50}})
    assert (config.training.loop.max_epochs, config.training.loop.patience, config.training.loop.batch_size) == (
        7,
        15,
        4,
    )
    assert config.training.loop.schedule.name == "cosine"
    assert config.universe.min_assets == 16
    assert GatOptions.model_validate(config.model_dump(mode="json")) == config


def test_too_few_assets_or_decisions_are_an_error(path):
    config = options(path, graphs=["knn_k15"])
    with pytest.raises(ParameterError, match="knn_k15 need 16 assets"):
        plan_gat(config, prepare(config.data))
    config = options(path, fold="6m/4m/12m", sealed_share=0.5)
    with pytest.raises(DataError):
        plan_gat(config, prepare(config.data))


def test_the_command_tells_its_plan_and_refuses_what_it_does_not_read(path, tmp_path):
    file = tmp_path / "gat.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    told = CliRunner().invoke(app, ["train", "gat", str(file), "--data", str(path), "--dry-run"])
    assert told.exit_code == 0
    assert "2 graphs x 2 seeds" in told.output
    refused = CliRunner().invoke(app, ["train", "gat", "--preset", "quick"])
    assert refused.exit_code != 0
