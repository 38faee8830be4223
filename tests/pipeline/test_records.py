"""Recorded runs are found, listed by version, shown and compared."""

import dataclasses
import json
import shutil

import numpy as np
from recorded_runs import BOOK, fake, trained

from eigenfolio.artifacts import RunRecord
from eigenfolio.artifacts.runs import COPIES
from eigenfolio.pipeline import records
from eigenfolio.pipeline.models import shipped_models
from eigenfolio.pipeline.records import compare_runs, find_run, list_runs, open_run


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


def test_the_folders_of_copies_are_no_runs(tmp_path):
    for name in COPIES:
        (tmp_path / name).mkdir()
    assert list_runs(tmp_path) == records.Registry((), ())
