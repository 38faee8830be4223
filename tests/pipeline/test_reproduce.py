"""A recorded run is repeated bit for bit or not at all."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from recorded_runs import BOOK, COMMIT, context, fake, rewrite, silent

from eigenfolio.artifacts import load_bundle, load_run, save_bundle
from eigenfolio.errors import ArtifactError
from eigenfolio.pipeline import RunOptions
from eigenfolio.pipeline import reproduce as reproduction
from eigenfolio.pipeline.records import reproductions
from eigenfolio.pipeline.reproduce import reproduce


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
    monkeypatch.setitem(reproduction.JOBS, "run", (RunOptions, None))  # would fail if called
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
    monkeypatch.setattr(reproduction, "library_versions", lambda: versions | {"numpy": "99"})
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
