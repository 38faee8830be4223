"""Recorded runs are found, listed by version, compared, and repeated bit for bit or not at all."""

import dataclasses
import json
import shutil
import sys
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from eigenfolio import cli, pipeline
from eigenfolio.artifacts import RunRecord, load_bundle, load_run, save_bundle, write_run
from eigenfolio.errors import ArtifactError
from eigenfolio.pipeline import RunContext, RunOptions, records
from eigenfolio.pipeline.models import shipped_models
from eigenfolio.pipeline.records import compare_runs, find_run, list_runs, open_run, reproduce, reproductions

COMMIT = "c" * 40
TINY = {
    "universe": {"min_assets": 2},
    "sealed_share": 0.0,
    "training": {
        "n_members": 1,
        "schedule": {"first_months": 30, "every_months": 24, "validation_months": 6},
        "windows": {"min_assets": 2, "n_windows": 32, "n_validation_windows": 16, "max_lookback": 120},
        "network": {"hidden_sizes": [8]},
        "loop": {"max_epochs": 1},
    },
    "evaluation": {"lookback": 63, "n_bootstrap": 1000},
}
BOOK = "long-only, cap 5% or 2/n"


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, commit=COMMIT, started=datetime(2024, 5, 1, 9, 30)):
    return RunContext(folder=folder, started=started, command="eigenfolio run", git_commit=commit)


@pytest.fixture(scope="module")
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


def trained(*losses, through="2019-12-31"):
    return {"kind": "training", "model": "shrinkage/dense", "through": through, "validation_losses": list(losses)}


def fake(folder, identifier, **changes):
    """A record without the work; `changes` are its fields."""
    given = {
        "identifier": identifier,
        "kind": "run",
        "started": "2024-01-01T00:00:00",
        "command": "eigenfolio run",
        "seed": 1,
        "git_commit": COMMIT,
        "versions": {"numpy": "2"},
        "data_fingerprint": "f" * 64,
        "config": {"seed": 1, "data": {"path": "p.csv"}},
        "status": "complete",
        "trials": [trained(0.5, 0.7)],
    }
    return write_run(RunRecord(**given | changes), folder / identifier, contents=lambda partial: None)


def rewrite(folder, **changes):
    """Let the record of a run say something else, with a valid hash."""
    record = dataclasses.replace(load_run(folder), **changes)
    kept = folder.rename(folder.parent / "old")
    write_run(record, folder, contents=lambda new: shutil.copytree(kept, new, dirs_exist_ok=True) and None)
    shutil.rmtree(kept)


def test_a_run_repeats_to_the_same_bits_and_leaves_only_a_line_about_it(place, run_folder, command):
    status, out, err = command("reproduce", "latest", "--jobs", "1", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told["equal"]
    assert told["trouble"] is None
    assert [check["what"] for check in told["verified"]] == ["git commit", "library versions", "data"]
    assert [check["what"] for check in told["bits"]] == [
        "bundles/shrinkage/dense/2012-06-29",
        "returns.parquet",
        "metrics.performance",
        "metrics.comparison",
    ]
    assert sorted(path.name for path in (place / "runs").iterdir()) == [run_folder.name, "latest"]
    (line,) = reproductions(run_folder)
    assert (line["equal"], line["anyway"], line["first_difference"]) == (True, False, None)


def test_a_return_that_is_one_bit_off_is_named(run_folder, command):
    path = run_folder / "returns.parquet"
    table = pd.read_parquet(path)
    column, day = f"Sample | {BOOK}", table.index[7]
    table.loc[day, column] = np.nextafter(table.loc[day, column], 1.0)
    table.to_parquet(path)
    status, out, err = command("reproduce", run_folder.name, "--jobs", "1")
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert f"returns.parquet: {column} on {day:%Y-%m-%d}: " in err
    assert "(1 of " in err
    assert "All bits are equal" not in out
    assert not reproductions(run_folder)[0]["equal"]


def test_a_metric_that_was_never_reached_is_named(run_folder):
    metrics = json.loads(json.dumps(load_run(run_folder).metrics))
    metrics["performance"][1]["turnover"] = 0.125
    rewrite(run_folder, metrics=metrics)
    done = reproduce(run_folder, context(run_folder), progress=silent)
    model = metrics["performance"][1]["model"]
    assert f"metrics.performance: {model} | " in done.trouble
    assert "turnover: 0.125 recorded" in done.trouble


def test_an_edited_file_is_named_before_the_work_is_done_again(run_folder, monkeypatch):
    monkeypatch.setitem(records.JOBS, "run", (RunOptions, None))  # would fail if called
    again = {"context": context(run_folder), "progress": silent}
    bundle = next(run_folder.glob("bundles/*/*/*"))
    weights = (bundle / "weights.safetensors").read_bytes()
    (bundle / "weights.safetensors").write_bytes(weights[:-1] + b"x")
    with pytest.raises(ArtifactError, match=rf"{bundle.name}/weights\.safetensors was changed"):
        reproduce(run_folder, **again)
    (bundle / "weights.safetensors").write_bytes(weights)
    whole = load_bundle(bundle)
    shutil.rmtree(bundle)
    with pytest.raises(ArtifactError, match=f"{bundle.name} is missing"):
        reproduce(run_folder, **again)
    save_bundle(dataclasses.replace(whole, tensors={n: 2 * t for n, t in whole.tensors.items()}), bundle)
    with pytest.raises(ArtifactError, match=f"{bundle.name} is not the bundle that the run recorded"):
        reproduce(run_folder, **again)
    shutil.rmtree(bundle)
    save_bundle(whole, bundle)
    (run_folder / "returns.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ArtifactError, match=r"returns\.parquet was changed or truncated"):
        reproduce(run_folder, **again)


def test_other_data_are_never_good_enough(place, run_folder, command):
    lines = (place / "prices.csv").read_text().splitlines()
    (place / "prices.csv").write_text("\n".join(lines[:-1]) + "\n")
    for options in ((), ("--anyway",)):
        status, out, err = command("reproduce", "latest", "--json", *options)
        assert status == 2
        assert "not repeated: data: prices.csv has changed: fingerprint" in err
        assert "--anyway" not in err
        assert json.loads(out)["bits"] == []
    (place / "prices.csv").unlink()
    status, _, err = command("reproduce", "latest")
    assert status == 2
    assert "data: cannot be read" in err
    assert "prices.csv" in err
    assert "go to the folder that the run was started from" in err


@pytest.mark.parametrize(
    ("recorded", "now", "words"),
    [
        (COMMIT, "d" * 40, "cccccccccccc recorded, dddddddddddd in use"),
        (COMMIT, f"{COMMIT}+changes", "the code in use is cccccccccccc with changes"),
        (f"{COMMIT}+changes", f"{COMMIT}+changes", "the run was made from cccccccccccc with changes"),
        (None, None, "the record names none"),
        (COMMIT, None, "cccccccccccc recorded, but the code in use is in no repository"),
    ],
)
def test_a_commit_that_is_not_clean_and_equal_stands_in_the_way(recorded, now, words, run_folder):
    rewrite(run_folder, git_commit=recorded)
    done = reproduce(run_folder, context(run_folder, now), progress=silent)
    assert not done.equal
    assert done.bits == ()
    assert f"not repeated: git commit: {words}" in done.trouble
    assert done.trouble.endswith("--anyway repeats it all the same")
    assert reproductions(run_folder) == []


def test_another_library_version_stands_in_the_way_and_anyway_is_recorded(run_folder, monkeypatch):
    versions = dict(load_run(run_folder).versions)
    monkeypatch.setattr(records, "library_versions", lambda: versions | {"numpy": "99"})
    done = reproduce(run_folder, context(run_folder), progress=silent)
    assert f"library versions: numpy {versions['numpy']} recorded, 99 in use" in done.trouble
    done = reproduce(run_folder, context(run_folder, "d" * 40), anyway=True, progress=silent)
    assert done.equal
    (line,) = reproductions(run_folder)
    assert line["anyway"]
    assert [check["equal"] for check in line["verified"]] == [False, False, True]
    assert line["git_commit"] == "d" * 40


def test_a_run_of_another_kind_or_with_unknown_settings_cannot_be_repeated(tmp_path):
    with pytest.raises(ArtifactError, match="of kind 'dream'; what can be repeated is run, compare-covariance"):
        reproduce(fake(tmp_path, "a", kind="dream"), context(tmp_path), progress=silent)
    with pytest.raises(ArtifactError, match="does not understand: 'colour'"):
        reproduce(fake(tmp_path, "b", config={"colour": "red"}), context(tmp_path), progress=silent)


def test_runs_are_listed_newest_first_with_a_version_for_every_new_thing_tried(tmp_path):
    fake(tmp_path, "first", started="2024-01-01T00:00:00")
    fake(tmp_path, "other_seed", started="2024-01-02T00:00:00", config={"seed": 2, "data": {"path": "p.csv"}})
    fake(tmp_path, "again_elsewhere", started="2024-01-03T00:00:00", config={"seed": 1, "data": {"path": "q.csv"}})
    fake(tmp_path, "other_data", started="2024-01-04T00:00:00", data_fingerprint="e" * 64)
    fake(tmp_path, "trained_only", started="2024-01-05T00:00:00", kind="train")
    fake(tmp_path, "untrained", started="2024-01-06T00:00:00", kind="compare-covariance", trials=[])
    listed = [(entry.folder.name, entry.model, entry.version) for entry in list_runs(tmp_path).entries]
    assert listed == [
        ("untrained", "compare-covariance", 1),
        ("trained_only", "shrinkage/dense", 4),
        ("other_data", "shrinkage/dense", 3),
        ("again_elsewhere", "shrinkage/dense", 1),
        ("other_seed", "shrinkage/dense", 2),
        ("first", "shrinkage/dense", 1),
    ]
    assert open_run(tmp_path / "other_data").version == 3


def test_a_headline_is_the_figure_of_the_long_only_book():
    beaten = {
        "book": BOOK,
        "rival": records.CHAMPION,
        "window_mean": np.log(0.98),
        "reference_picked_afterwards": False,
    }
    risks = [
        {"book": BOOK, "model": model, "annualized_volatility": risk}
        for model, risk in {"A": 0.2, "B": 0.1, "C": None}.items()
    ]
    record = RunRecord("x", "run", "", "", 1, None, {}, "", {}, "complete")
    cases = [
        ({"comparison": [beaten], "performance": risks}, (), f"volatility -2.0% against {records.CHAMPION}"),
        ({"comparison": [beaten | {"reference_picked_afterwards": True}], "performance": risks}, (), "calmest: B"),
        ({}, [{"kind": "training", "validation_losses": [0.5, 0.7]}], "validation loss 0.6"),
        ({}, (), "-"),
    ]
    for metrics, trials, words in cases:
        assert records._headline(dataclasses.replace(record, metrics=metrics, trials=trials)).startswith(words)


def test_the_list_shows_every_run_and_what_could_not_be_read(place, run_folder, command):
    (place / "runs" / ".exp_2.partial").mkdir()
    (place / "runs" / "old").mkdir()
    (place / "runs" / "old" / "run.json").write_text('{"format": "eigenfolio-run-1"}')
    edited = shutil.copytree(run_folder, place / "runs" / "edited") / "run.json"
    edited.write_text(edited.read_text().replace('"seed": 42', '"seed": 43'))
    status, out, _ = command("list")
    assert status == 0
    assert f"{run_folder.name}  shrinkage/dense v1" in out
    assert "run, complete, seed 42, prices.csv: volatility " in out
    assert ".exp_2.partial is partial" in out
    assert "an older eigenfolio" in out
    assert "was changed after it was written" in out
    told = json.loads(command("list", "--json")[1])
    assert [line["id"] for line in told["runs"]] == [run_folder.name]
    assert len(told["unreadable"]) == 3
    status, _, err = command("list", "--out", "nowhere")
    assert (status, len(err.splitlines())) == (2, 1)


def test_a_run_is_shown_with_settings_trials_bundles_and_metrics(run_folder, command):
    status, out, err = command("show", run_folder.name)
    assert status == 0, err
    judged = f"1 trained, {31 + 2 * len(shipped_models(lookback=63))} judged"
    for words in ("training.loop.max_epochs", judged, "2012-06-29", "whole", f"{BOOK} book", "OAS"):
        assert words in out
    told = json.loads(command("show", "latest", "--json")[1])
    (bundle,) = told["bundles"]
    (trained,) = (trial for trial in told["trials"] if trial["kind"] == "training")
    assert (bundle["family"], bundle["network"], bundle["trained_through"]) == ("shrinkage", "dense", "2012-06-29")
    assert bundle["digest"] == trained["digest"]
    assert told["config"]["evaluation"]["lookback"] == 63
    assert told["version"] == 1
    (run_folder / "bundles/shrinkage/dense/2012-06-29/weights.safetensors").write_bytes(b"")
    (bundle,) = json.loads(command("show", "latest", "--json")[1])["bundles"]
    assert "changed or truncated" in bundle["status"]


def test_two_runs_differ_in_what_was_changed_and_in_nothing_else(tmp_path, command):
    def risks(**by_model):
        return {"performance": [{"model": m, "book": "own", "annualized_volatility": v} for m, v in by_model.items()]}

    first = fake(tmp_path, "one", metrics=risks(A=0.25, B=0.5, C=0.1))
    config = {"seed": 1, "data": {"path": "p.csv", "max_fill": 3}}
    second = fake(tmp_path, "two", metrics=risks(A=0.125, B=0.5), versions={"numpy": "3"}, config=config)
    found = compare_runs(open_run(first), open_run(second))
    assert found.facts == {}
    assert found.settings == {"data.max_fill": (None, 3)}
    assert found.versions == {"numpy": ("2", "3")}
    told = found.metrics[["model", "difference"]].values.tolist()
    assert told == [["A", -0.125], ["B", 0.0], ["shrinkage/dense 2019-12-31", 0.0]]
    assert (found.only_first, found.only_second) == (("C | own",), ())
    status, out, err = command("compare", "one", "two", "--out", tmp_path)
    assert status == 0, err
    assert "-12.50%" in out
    assert "2 of 3 metrics" in out
    assert "Only in the first: C | own" in out
    assert json.loads(command("compare", "one", "two", "--out", tmp_path, "--json")[1])["settings"] == {
        "data.max_fill": {"first": None, "second": 3}
    }


def test_two_trainings_differ_in_the_losses_of_their_bundles(tmp_path, command):
    fake(tmp_path, "one", kind="train", trials=[trained(0.5, 0.7), trained(0.1, through="2020-12-31")])
    failed = {"kind": "training", "model": "shrinkage/dense", "through": "2020-12-31", "status": "failed"}
    fake(tmp_path, "two", kind="train", trials=[trained(0.5, 0.2), failed])
    status, out, err = command("compare", "one", "two", "--out", tmp_path)
    assert status == 0, err
    assert "shrinkage/dense 2019-12-31" in out
    assert "-0.25" in out
    assert "0 of 1 metrics" in out
    assert "Only in the first: shrinkage/dense 2020-12-31 | trained" in out


def test_a_run_is_called_by_identifier_start_latest_or_folder(tmp_path):
    first, second = (fake(tmp_path, name).resolve() for name in ("exp_1", "exp_12"))
    assert find_run("exp_1", tmp_path) == first  # a whole name wins over a start
    assert find_run("exp_12", tmp_path) == find_run("latest", tmp_path) == second
    assert find_run(str(first), "nowhere") == first
    third = fake(tmp_path, "run_3").resolve()
    assert find_run("r", tmp_path) == third


def test_a_name_that_means_no_run_or_several_is_one_clear_line(tmp_path, command):
    for name in ("exp_1", "exp_2"):
        fake(tmp_path, name)
    shutil.rmtree(tmp_path / "exp_2")  # latest points to it
    fake(tmp_path, "exp_3").rename(tmp_path / "exp_4")
    cases = {
        "exp_": "is the start of 2 runs: exp_1, exp_4",
        "nothing": "there is no run 'nothing'",
        "latest": "points to exp_3, which is gone",
        str(tmp_path / "a" / "b"): "there is no folder",
        str(tmp_path): "is not a run: run.json is missing",
    }
    for name, words in cases.items():
        status, out, err = command("show", name, "--out", tmp_path)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert words in err
