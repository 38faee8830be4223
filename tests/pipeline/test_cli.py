"""The command line as a user meets it: a run on real files, and one clear line for every kind of bad input."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from eigenfolio.artifacts import load_run, load_series
from eigenfolio.cli import main
from eigenfolio.config import load_compare_config, load_config
from eigenfolio.errors import ParameterError

QUICK = {
    "sealed_share": 0.2,
    "training": {
        "n_members": 2,
        "schedule": {"first_months": 30, "every_months": 24, "validation_months": 6},
        "windows": {"n_windows": 64, "n_validation_windows": 32, "max_lookback": 120},
        "network": {"hidden_sizes": [16, 8]},
        "loop": {"max_epochs": 2},
    },
    "evaluation": {"lookback": 126, "n_bootstrap": 1000},
}


def prices(n_rows=1500, n_assets=8, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    returns = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2010-01-04", periods=n_rows, name="date")
    return pd.DataFrame(
        100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=[f"A{i}" for i in range(n_assets)]
    )


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run from a CSV file."""
    folder = tmp_path_factory.mktemp("run")
    prices().to_csv(folder / "prices.csv")
    (folder / "config.yaml").write_text(yaml.safe_dump(QUICK))
    done = subprocess.run(
        [sys.executable, "-m", "eigenfolio", "run", "config.yaml", "--data", "prices.csv", "--json", "--jobs", "1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_a_run_leaves_a_report_a_record_and_bundles_that_load(finished):
    folder, said = finished
    run = folder / said["folder"]
    record = load_run(run)
    assert record.status == "complete"
    assert record.seed == 42
    assert record.command == "eigenfolio run config.yaml --data prices.csv --json --jobs 1"
    assert record.config["evaluation"]["lookback"] == 126
    assert record.versions["skfolio"]
    assert len(record.data_fingerprint) == 64
    assert {trial["kind"] for trial in record.trials} == {"training", "evaluation"}
    series = load_series(run / "bundles" / "shrinkage" / "dense")
    sealed_from = prices().index[int(0.8 * 1500)]
    assert all(bundle.trained_through < sealed_from for bundle in series)
    page = (run / "report.html").read_text()
    assert said["verdict"][0].split(":")[0][:40] in page
    assert pd.read_parquet(run / "returns.parquet").index.max() < sealed_from


def test_the_record_names_the_commit_of_the_code(finished):
    folder, said = finished
    root = Path(__file__).parents[2]
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    commit = load_run(folder / said["folder"]).git_commit
    if asked.returncode:
        assert commit is None  # not a repository
    else:
        assert commit.removesuffix("+changes") == asked.stdout.strip()


def test_the_python_of_the_readme_runs_on_what_a_run_leaves(finished):
    folder, _ = finished
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [part.split("```")[0] for part in readme.split("```python\n")[1:]]
    own = re.search(r"`(NeuralShrinkage\(\"runs/[^`]*\))`", readme)
    assert len(blocks) == 2
    assert own is not None
    code = "\n".join([*blocks, f"print({own[1]}.fit(X).covariance_.shape)"])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(20, 20)" in done.stdout


def test_a_run_leaves_no_partial_folder(finished):
    folder, said = finished
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [said["folder"].split("/")[-1], "latest"]
    assert (folder / "runs" / "latest").resolve() == (folder / said["folder"]).resolve()


def test_the_learned_model_and_every_classical_one_are_in_both_books(finished):
    _, said = finished
    books = {row["book"] for row in said["performance"]}
    assert "unconstrained" in books
    assert any(book.startswith("long-only") for book in books)
    covariance_models = {row["model"] for row in said["performance"] if row["book"] == "unconstrained"}
    assert "Neural shrinkage (dense)" in covariance_models
    assert len(covariance_models - {"Neural shrinkage (spectral)"}) == 14  # which is there where its weights are
    own = {row["model"] for row in said["performance"] if row["book"] == "own"}
    assert own == {"Equal weight", "Inverse volatility", "Hierarchical risk parity"}


def test_the_same_command_gives_the_same_numbers_for_any_number_of_workers(finished, monkeypatch, capsys):
    folder, said = finished
    monkeypatch.chdir(folder)
    status, out, err = call(
        monkeypatch, capsys, "run", "config.yaml", "--data", "prices.csv", "--json", "--jobs", "2", "--out", "again"
    )
    assert status == 0, err
    again = json.loads(out)
    assert again["performance"] == said["performance"]
    assert again["comparison"] == said["comparison"]
    first, second = (load_series(folder / s["folder"] / "bundles" / "shrinkage" / "dense") for s in (said, again))
    assert [bundle.digest for bundle in first] == [bundle.digest for bundle in second]


def test_a_dry_run_prints_the_plan_and_writes_nothing(finished, monkeypatch, capsys):
    folder, _ = finished
    monkeypatch.chdir(folder)
    arguments = ("run", "config.yaml", "--data", "prices.csv", "--out", "planned", "--jobs", "1")
    status, out, err = call(monkeypatch, capsys, *arguments, "--dry-run")
    assert status == 0, err
    assert "Folds       2" in out
    assert "parameters" in out
    assert "Time        about" in out
    assert not (folder / "planned").exists()
    status, _, err = call(monkeypatch, capsys, *arguments, "--dry-run", "--sample", "0.5")
    assert status == 2
    assert "give one of them" in err


def test_a_sample_goes_through_every_stage_and_a_constant_table_fails_it(finished, monkeypatch, capsys):
    folder, _ = finished
    monkeypatch.chdir(folder)
    arguments = ("run", "config.yaml", "--out", "sampled", "--jobs", "1", "--sample", "0.5")
    status, out, err = call(monkeypatch, capsys, *arguments, "--data", "prices.csv")
    assert status == 0, err
    assert "Every stage held." in out
    assert len(list((folder / "sampled").glob("validation_*/pipeline-validation.json"))) == 1
    constant = prices()
    constant[:] = 100.0
    constant.to_csv(folder / "constant.csv")
    status, _, err = call(monkeypatch, capsys, *arguments, "--data", "constant.csv")
    assert status == 2
    assert len(err.strip().splitlines()) == 1


def test_a_market_without_correlation_gets_its_report_too(tmp_path, monkeypatch, capsys):
    table = prices()
    rng = np.random.default_rng(1)
    table[:] = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(table.shape), axis=0))
    table.to_csv(tmp_path / "null.csv")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(QUICK | {"sealed_share": 0.0}))
    status, _, err = call(
        monkeypatch,
        capsys,
        "run",
        tmp_path / "c.yaml",
        "--data",
        tmp_path / "null.csv",
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert status == 0, err
    page = (tmp_path / "out" / "latest" / "report.html").read_text()
    assert "No rows were sealed" in page


def test_compare_covariance_needs_no_training(tmp_path, monkeypatch, capsys):
    prices(700).to_parquet(tmp_path / "p.parquet")
    out_folder = tmp_path / "out"
    status, out, err = call(
        monkeypatch, capsys, "compare-covariance", "--data", tmp_path / "p.parquet", "--out", out_folder, "--jobs", "1"
    )
    assert status == 0, err
    assert "Report:" in out
    assert len(list(out_folder.glob("exp_*/report.html"))) == 1


def bad_inputs(folder):
    good = prices(400)
    (folder / "empty_folder").mkdir()
    (folder / "text.txt").write_text("this is not a table\nat all\n")
    (folder / "empty.csv").write_text("")
    (folder / "noise.parquet").write_bytes(b"\x00\x01nothing")
    (good * np.nan).to_csv(folder / "all_nan.csv")
    good.iloc[:, :1].to_csv(folder / "one_asset.csv")
    good.iloc[:10].to_csv(folder / "ten_rows.csv")
    (-good).to_csv(folder / "negative.csv")
    infinite = good.copy()
    infinite.iloc[200:] = np.inf
    infinite.to_csv(folder / "infinite.csv")
    good.reset_index(drop=True).to_csv(folder / "no_dates.csv", index=False)
    return {
        "a folder without tables": "empty_folder",
        "a text file": "text.txt",
        "an empty CSV": "empty.csv",
        "a broken parquet": "noise.parquet",
        "all NaN": "all_nan.csv",
        "one asset": "one_asset.csv",
        "ten rows": "ten_rows.csv",
        "negative prices": "negative.csv",
        "infinite prices": "infinite.csv",
        "no dates": "no_dates.csv",
        "a missing file": "nowhere.csv",
    }


@pytest.mark.parametrize("command", ["run", "compare-covariance"])
def test_every_bad_input_is_one_line_and_status_2_and_leaves_nothing(command, tmp_path, monkeypatch, capsys):
    for trouble, name in bad_inputs(tmp_path).items():
        out_folder = tmp_path / "out"
        status, out, err = call(
            monkeypatch, capsys, command, "--data", tmp_path / name, "--out", out_folder, "--json", "--jobs", "1"
        )
        assert status == 2, (trouble, err)
        assert out == "", trouble
        assert len(err.strip().splitlines()) == 1, (trouble, err)
        assert name in err, (trouble, err)
        assert not out_folder.exists(), trouble


def test_an_unknown_key_names_its_nearest_neighbour(tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text("evaluation:\n  lokback: 100\n")
    status, _, err = call(monkeypatch, capsys, "run", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert status == 2
    assert "'evaluation.lokback' is unknown; did you mean 'evaluation.lookback'?" in err
    (tmp_path / "c.yaml").write_text("lookback: 100\n")
    _, _, err = call(monkeypatch, capsys, "run", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert "did you mean" in err
    assert "lookback" in err


def test_a_key_of_another_schedule_names_those_of_the_chosen_one(tmp_path):
    for key, told in (("perod", "did you mean 'training.loop.schedule.period'"), ("xyz", "known keys there: name,")):
        (tmp_path / "c.yaml").write_text(f"training: {{loop: {{schedule: {{name: cosine_restarts, {key}: 3}}}}}}")
        with pytest.raises(ParameterError, match=rf"'training\.loop\.schedule\.{key}' is unknown; {told}"):
            load_config(tmp_path / "c.yaml")


def test_one_key_of_a_group_leaves_the_others_as_they_were(tmp_path):
    (tmp_path / "c.yaml").write_text("universe: {seed: 1}")
    for load in (load_config, load_compare_config):
        assert load(tmp_path / "c.yaml").universe.min_assets == load(None).universe.min_assets == 2


def test_a_key_that_the_command_does_not_read_is_an_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text("training:\n  loop:\n    max_epochs: 3\n")
    status, _, err = call(monkeypatch, capsys, "compare-covariance", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert status == 2
    assert "'training' is read by run and train, not by this command" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("evaluation: {lookback: 1}", "evaluation.lookback"),
        ("preset: huge", "preset must be one of quick, full"),
        ("[1, 2]", "must map keys to values"),
        ("seed: 1\na: [", ", line 2 is not YAML"),
        ("training: {windows: {min_assets: 9, max_assets: 3}}", "must not exceed"),
    ],
)
def test_a_bad_configuration_says_what_and_where(content, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text(content)
    status, _, err = call(monkeypatch, capsys, "run", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert status == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    prices().to_csv(tmp_path / "p.csv")
    begun = time.perf_counter()
    status, _, err = call(
        monkeypatch, capsys, "run", "--data", tmp_path / "p.csv", "--out", tmp_path / "file" / "runs", "--jobs", "1"
    )
    assert status == 2
    assert "cannot be written" in err
    assert time.perf_counter() - begun < 5


def test_data_check_lists_findings_and_fails_on_what_cannot_be_used(tmp_path, monkeypatch, capsys):
    table = prices(400)
    table.iloc[50, 0] = -1.0
    table.to_csv(tmp_path / "p.csv")
    status, out, _ = call(monkeypatch, capsys, "data", "check", tmp_path / "p.csv", "--json")
    report = json.loads(out)
    assert status == 0
    assert report["status"] == "warning"
    assert report["cleaning"]["n_changes"] >= 1
    status, out, _ = call(monkeypatch, capsys, "data", "check", tmp_path / "p.csv")
    assert "Data report" in out


def test_data_describe_and_archive(tmp_path, monkeypatch, capsys):
    prices(600).to_csv(tmp_path / "p.csv")
    status, out, _ = call(monkeypatch, capsys, "data", "describe", tmp_path / "p.csv", "--json")
    assert status == 0
    summary = json.loads(out)
    assert summary["assets"] == 8
    status, out, err = call(monkeypatch, capsys, "data", "archive", tmp_path / "p.csv", "--out", tmp_path / "a")
    assert status == 0, err
    status, out, _ = call(monkeypatch, capsys, "data", "describe", tmp_path / "a", "--json")
    assert json.loads(out)["fingerprint"] == summary["fingerprint"]
    status, _, err = call(monkeypatch, capsys, "data", "archive", tmp_path / "p.csv", "--out", tmp_path / "a")
    assert status == 2
    assert "exists" in err


def test_help_answers_quickly_and_without_heavy_imports():
    script = (
        "import sys, runpy; sys.argv = ['eigenfolio', '--help']\n"
        "try: runpy.run_module('eigenfolio', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'skfolio', 'plotly', 'sklearn'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "compare-covariance" in done.stdout
    assert "HEAVY []" in done.stdout
