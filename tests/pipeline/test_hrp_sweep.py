"""The sweep of hierarchical risk parity as a job: recorded, resumed, and read back to the same decisions."""

import json
import shutil
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

from eigenfolio.artifacts import load_bundle, load_run, save_bundle
from eigenfolio.cli import app
from eigenfolio.errors import ArtifactError, DataError, ParameterError
from eigenfolio.models import HierarchicalRiskParity
from eigenfolio.pipeline import RunContext, hrp_sweep
from eigenfolio.pipeline.hrp_checkpoints import check_predictions, checkpoint, fitted_model, load_checkpoints
from eigenfolio.pipeline.hrp_options import HrpOptions, SweepOptions, plan_sweep
from eigenfolio.pipeline.hrp_sweep import train_hrp
from eigenfolio.pipeline.prepare import prepare

SETTINGS = {
    "sealed_share": 0.1,
    "checkpoint_every": 8,
    "sweep": {"lookbacks": [63, 126], "linkages": ["single", "average"], "n_clusters": 4},
    "universe": {"min_assets": 2, "min_rows": 60, "lookback": 63},
    "evaluation": {"n_bootstrap": 1000},
}


class Stopped(Exception):
    """Stands for a kill."""


def prices(n_rows=620, n_assets=9):
    """Three groups of three assets; one is listed late and one is delisted."""
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2010-01-04", periods=n_rows, name="date")
    common = 0.006 * rng.standard_normal((n_rows, 1)) + 0.008 * rng.standard_normal((n_rows, 3))[:, np.arange(9) % 3]
    moves = common + np.linspace(0.004, 0.02, n_assets) * rng.standard_normal((n_rows, n_assets))
    table = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index=index, columns=[f"A{i}" for i in range(n_assets)])
    table.iloc[:250, 2] = np.nan
    table.iloc[480:, 5] = np.nan
    return table


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, n_jobs=1):
    return RunContext(folder, datetime(2024, 5, 1, 9, 30), "eigenfolio train hrp", None, n_jobs)


def options(path, **changes):
    return HrpOptions.model_validate({**SETTINGS, "data": {"path": str(path)}, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("hrp")
    prices().to_parquet(place / "prices.parquet")
    return place


@pytest.fixture(scope="module")
def outcome(folder):
    return train_hrp(options(folder / "prices.parquet"), context(folder / "runs"), progress=silent)


def bits(run):
    digests = {
        path.parent.relative_to(run).as_posix(): load_bundle(path.parent).digest
        for path in run.glob("bundles/*/*/*/manifest.json")
    }
    return digests, pd.read_parquet(run / "returns.parquet"), load_run(run).metrics


def assert_same_bits(a, b):
    (digests, returns, metrics), (others, other_returns, other_metrics) = bits(a), bits(b)
    assert digests == others
    pd.testing.assert_frame_equal(returns, other_returns, check_exact=True)
    assert metrics == other_metrics


def test_the_default_grid_has_the_eighteen_names_of_the_source():
    names = set(SweepOptions().models())
    assert names == {
        f"hrp_lb{days}_{linkage}_{correlation}"
        for days in (252, 504, 756)
        for linkage in ("single", "complete", "average")
        for correlation in ("pearson", "spearman")
    }


def test_it_leaves_a_record_a_log_a_report_and_a_checkpoint_per_configuration_and_period(outcome):
    run, configured = outcome.folder, SweepOptions(**SETTINGS["sweep"]).models()
    record, log = load_run(run), yaml.safe_load((run / "results.yaml").read_text())
    assert (record.kind, record.status) == ("train-hrp", "complete")
    assert set(log["configurations"]) == set(configured)
    assert log["selected"] == outcome.selection.winner in configured
    assert all(-1.0 <= row["silhouette"] <= 1.0 for row in log["configurations"].values())
    assert {row["success_rate_all"] for row in log["configurations"].values()} == {1.0}
    kept = load_checkpoints(run)
    assert set(kept) == set(configured)
    for bundles in kept.values():
        assert [f"{bundle.trained_through:%Y-%m-%d}" for bundle in bundles] == log["checkpoints"]
    assert len(log["checkpoints"]) > 1
    trained = [trial for trial in record.trials if trial["kind"] == "training"]
    assert [trial["model"].removeprefix("hrp/") for trial in trained] == list(configured)
    assert record.budgets[0]["budget"] == 120.0
    assert (run / "report.html").stat().st_size > 10_000
    distances = pd.read_csv(run / "distances.csv")
    assert set(distances["formula"]) == {"root", "plain"}
    json.dumps(outcome.to_dict(), allow_nan=False)


def test_a_checkpoint_holds_what_the_estimator_decides_on_the_same_rows_and_assets(outcome, folder):
    returns = prepare(options(folder / "prices.parquet").data).panel.returns
    late = 0
    for bundles in load_checkpoints(outcome.folder).values():
        for bundle in bundles:
            late += "A2" not in bundle.feature_names
            model = fitted_model(bundle)
            seen = returns.loc[: bundle.trained_through, list(bundle.feature_names)]
            again = HierarchicalRiskParity(**bundle.options).fit(seen)
            assert_array_equal(model.weights_, again.weights_)
            assert_array_equal(model.linkage_, again.linkage_)
            assert model.quality_ == again.quality_
            assert model.predict(seen[-5:].fillna(0)).weights.tolist() == again.weights_.tolist()
    assert late  # some checkpoints are older than the listing


def test_the_selected_configuration_is_the_calmest_on_validation(outcome):
    table = outcome.configurations
    assert outcome.selection.winner == table["annualized_volatility"].idxmin()
    assert outcome.sentences[0].startswith(f"Selected: {outcome.selection.winner}")


def test_the_comparison_covers_the_three_rivals_and_counts_the_trials(outcome):
    metrics = load_run(outcome.folder).metrics
    rivals = {"Equal weight", "Inverse volatility", "Minimum variance"}
    assert rivals <= {row["rival"] for row in metrics["comparison"]}
    assert {row["rival"] for row in metrics["sharpe_differences"]} == rivals
    (against,) = [one for one in outcome.sentences if "was named beforehand" in one]
    assert against.startswith(outcome.selection.winner)
    assert "Minimum variance" in against.split(":")[0]
    deflated = metrics["deflated"]
    assert deflated["n_trials"] == 8
    assert 1.0 <= deflated["effective_trials"] <= 8.0
    assert 0.0 <= deflated["deflated_validation"] <= 1.0


def test_a_sweep_that_was_stopped_goes_on_to_the_same_bits_and_decides_no_date_twice(outcome, folder, monkeypatch):
    config, place, decided = options(folder / "prices.parquet"), folder / "stopped", []
    fit = hrp_sweep.fit_together

    def counting(models, X):
        decided.append(len(X))
        return fit(models, X)

    @contextmanager
    def stopping(name, total):
        def step():
            if name == "Deciding" and len(decided) == 5:
                raise Stopped

        yield step

    monkeypatch.setattr(hrp_sweep, "fit_together", counting)
    with pytest.raises(Stopped):
        train_hrp(config, context(place), progress=stopping)
    assert not list(place.glob("exp_*"))
    again = train_hrp(config, context(place), progress=silent)
    n_decisions = len(plan_sweep(config, prepare(config.data)).plan.decisions)
    assert len(decided) == n_decisions
    assert_same_bits(outcome.folder, again.folder)
    assert not [path for path in place.iterdir() if path.name.startswith(".training")]


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(outcome, folder):
    config = options(folder / "prices.parquet")
    assert_same_bits(outcome.folder, train_hrp(config, context(folder / "two", n_jobs=2), progress=silent).folder)


def test_sealed_rows_change_nothing_and_later_rows_do_not_change_the_choice(outcome, folder):
    table = prices()
    config = options(folder / "prices.parquet")
    prepared = prepare(config.data)
    planned, days = plan_sweep(config, prepared), prepared.panel.returns.index

    def altered(name, first):
        other = table.copy()
        rng = np.random.default_rng(1)
        rows = other.loc[days[first] :]
        other.loc[days[first] :] = rows * np.exp(0.05 * rng.standard_normal(rows.shape).cumsum(axis=0))
        other.to_parquet(folder / f"{name}.parquet")
        return train_hrp(options(folder / f"{name}.parquet"), context(folder / name), progress=silent)

    sealed = altered("sealed", planned.n_open)
    assert_same_bits(outcome.folder, sealed.folder)
    # The first earning row of the comparison is the first whose return may not matter for the choice.
    later = altered("later", planned.plan.decisions[planned.n_validation].start)
    pd.testing.assert_frame_equal(later.configurations, outcome.configurations, check_exact=True)
    assert later.selection == outcome.selection
    assert not later.performance.equals(outcome.performance)


def test_a_configuration_that_fails_is_counted_and_not_selected(outcome, folder, monkeypatch):
    config = options(folder / "prices.parquet", checkpoint_every=100)
    names, fit = list(config.sweep.models()), hrp_sweep.fit_together
    broken = outcome.selection.winner

    def failing(models, X):
        found = fit(models, X)
        found[names.index(broken)] = DataError("no luck today")
        return found

    monkeypatch.setattr(hrp_sweep, "fit_together", failing)
    other = train_hrp(config, context(folder / "failing"), progress=silent)
    assert other.configurations.loc[broken, "success_rate"] == 0.0
    assert other.selection.winner != broken
    assert "7 of 8 configurations decided on every date." in other.sentences
    record = load_run(other.folder)
    assert record.status == "complete with failures"
    (failed,) = [trial for trial in record.trials if trial.get("status") == "failed"]
    assert failed["error"] == "no luck today"
    assert set(load_checkpoints(other.folder)) == set(names) - {broken}


def test_where_every_configuration_fails_there_is_no_winner_and_it_says_why(folder, monkeypatch):
    config = options(folder / "prices.parquet", min_success=1.0, checkpoint_every=100)
    fit, calls = hrp_sweep.fit_together, []

    def failing(models, X):
        calls.append(1)
        return [DataError("a holiday")] * len(models) if len(calls) == 2 else fit(models, X)

    monkeypatch.setattr(hrp_sweep, "fit_together", failing)
    outcome = train_hrp(config, context(folder / "none"), progress=silent)
    assert outcome.selection.winner is None
    assert outcome.sentences[0].startswith("No configuration was selected: no configuration decided on at least 100 %")
    assert load_run(outcome.folder).metrics["comparison"] == []


def test_a_checkpoint_that_decides_otherwise_is_noticed(outcome, folder, tmp_path):
    returns = prepare(options(folder / "prices.parquet").data).panel.returns
    copy = tmp_path / "run"
    shutil.copytree(outcome.folder, copy)
    assert check_predictions(copy, returns) == len(list(copy.glob("bundles/hrp/*/*")))
    place = next(copy.glob("bundles/hrp/*/*"))
    model = fitted_model(load_bundle(place))
    model.weights_ = model.weights_[::-1].copy()
    through = load_bundle(place).trained_through
    shutil.rmtree(place)
    save_bundle(checkpoint(model, place.parent.name, trained_through=through), place)
    with pytest.raises(ArtifactError, match="weights differ"):
        check_predictions(copy, returns)
    with pytest.raises(ArtifactError, match="lack the assets"):
        check_predictions(outcome.folder, returns.drop(columns="A0"))


def test_what_no_plain_file_can_hold_is_refused():
    from eigenfolio.models import LedoitWolf

    X = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 3)), columns=list("ABC"))
    through = pd.Timestamp("2020-01-31")
    with pytest.raises(ParameterError, match="covariance_estimator"):
        checkpoint(HierarchicalRiskParity(LedoitWolf()).fit(X), "hrp", trained_through=through)
    with pytest.raises(ParameterError, match="names"):
        checkpoint(HierarchicalRiskParity().fit(X.to_numpy()), "hrp", trained_through=through)


def test_too_short_a_panel_is_refused_with_a_way_out(folder):
    config = options(folder / "prices.parquet", sweep={"lookbacks": [252]})
    with pytest.raises(DataError, match="at least 8 decisions"):
        train_hrp(config, context(folder / "short"), progress=silent)
    assert not (folder / "short").exists()


def test_the_command_plans_and_names_what_it_does_not_read(folder):
    (folder / "hrp.yaml").write_text(yaml.safe_dump(SETTINGS))
    command = ["train", "hrp", str(folder / "hrp.yaml"), "--data", str(folder / "prices.parquet")]
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    assert planned.exit_code == 0
    assert "8 configurations x" in planned.output
    refused = CliRunner().invoke(app, [*command, "--fold", "36m/12m/12m"])
    assert isinstance(refused.exception, ParameterError)
    assert "does not read --fold" in str(refused.exception)


def test_the_command_sweeps_and_prints_the_winner_as_json(folder, outcome):
    (folder / "hrp.yaml").write_text(yaml.safe_dump(SETTINGS))
    out = str(folder / "command")
    command = ["train", "hrp", str(folder / "hrp.yaml"), "--data", str(folder / "prices.parquet"), "--out", out]
    done = CliRunner().invoke(app, [*command, "--jobs", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["selection"]["winner"] == outcome.selection.winner
