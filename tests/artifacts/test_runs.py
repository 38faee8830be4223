"""A run record is written whole, hashed, and read back."""

import dataclasses
import json
from datetime import datetime

import pytest

from eigenfolio.artifacts import RunRecord, library_versions, load_run, run_identifier, runs, write_run
from eigenfolio.errors import ArtifactError

RECORD = RunRecord(
    identifier="exp_20240501_093000_9fe014",
    kind="run",
    started="2024-05-01T09:30:00",
    command="eigenfolio run",
    seed=42,
    git_commit="abc",
    versions={"numpy": "2"},
    data_fingerprint="f" * 64,
    config={"seed": 42},
    status="complete",
    metrics={"loss": 0.5},
    trials=[{"kind": "training"}],
    budgets=[{"fold": "2013-12-31", "seconds": 1.5}],
)


def test_a_run_comes_back_with_every_field(tmp_path):
    write_run(RECORD, tmp_path / "run", contents=lambda folder: (folder / "extra.txt").write_text("x") and None)
    assert dataclasses.asdict(load_run(tmp_path / "run")) == dataclasses.asdict(RECORD)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.yaml", "extra.txt", "run.json"]


def test_a_run_whose_contents_fail_leaves_nothing(tmp_path):
    def fail(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left"):
        write_run(RECORD, tmp_path / "run", contents=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_record_with_a_number_that_is_not_finite_is_not_written(tmp_path):
    record = dataclasses.replace(RECORD, metrics={"loss": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_run(record, tmp_path / "run", contents=lambda folder: None)
    assert list(tmp_path.iterdir()) == []


def test_an_edited_record_is_refused(tmp_path):
    path = write_run(RECORD, tmp_path / "run", contents=lambda folder: None) / "run.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    with pytest.raises(ArtifactError, match="changed after"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"format": "eigenfolio-run-1", "seed": 1}',
            "written by an older eigenfolio; this one reads 'eigenfolio-run-2'",
        ),
        ('{"format": "eigenfolio-run-12"}', "written by a newer eigenfolio"),
        ('{"format": "mlflow"}', "is not a run record of eigenfolio: its format is 'mlflow'"),
        ("[1, 2]", "is not a run record of eigenfolio"),
        ('{"format": "eigenfolio-run-2", "seed": 1}', "changed after"),
        ('{"format": "eigenfolio-run-2", "seed": NaN}', "changed after"),
        ("not json", "cannot be read"),
    ],
)
def test_a_record_that_is_not_ours_to_read_says_why(text, words, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ArtifactError, match=words):
        load_run(tmp_path)


def test_a_record_with_a_field_too_many_is_refused_even_with_the_right_hash(tmp_path):
    entry = {"format": runs.FORMAT, **dataclasses.asdict(RECORD), "colour": "red"}
    (tmp_path / "run.json").write_text(json.dumps(entry | {"sha256": runs._digest(entry)}))
    with pytest.raises(ArtifactError, match=r"fields of a run record.*colour"):
        load_run(tmp_path)


def test_a_partial_folder_is_refused(tmp_path):
    partial = write_run(RECORD, tmp_path / ".exp.x.partial", contents=lambda folder: None)
    with pytest.raises(ArtifactError, match="is partial"):
        load_run(partial)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"run\.json is missing"):
        load_run(tmp_path)


def test_identifiers_say_when_and_about_what():
    when = datetime(2024, 5, 1, 9, 30)
    assert run_identifier(when, "a") != run_identifier(when, "b")
    assert run_identifier(when, "a").startswith("exp_20240501_093000_")


def test_versions_name_the_libraries_that_change_results():
    assert {"python", "numpy", "scipy", "skfolio", "eigenfolio"} <= set(library_versions())
