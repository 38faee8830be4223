"""A bundle comes back as it was, or not at all."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from eigenfolio.artifacts import Bundle, BundleSeries, load_bundle, load_series, save_bundle
from eigenfolio.artifacts.bundle import whole_folder
from eigenfolio.errors import ArtifactError, LookaheadError


def bundle(through: str = "2012-12-31", *, network: str = "dense") -> Bundle:
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.eye(2), "n": np.array(7)}
    return Bundle("shrinkage", network, {"hidden_sizes": [3]}, ("x", "y"), tensors, pd.Timestamp(through), {"seed": 1})


def test_a_saved_bundle_loads_with_the_same_bits(tmp_path):
    saved = bundle()
    loaded = load_bundle(save_bundle(saved, tmp_path / "b"))
    assert loaded.digest == saved.digest
    assert loaded.trained_through == saved.trained_through
    assert (loaded.options, loaded.feature_names, loaded.details) == (
        {"hidden_sizes": [3]},
        ("x", "y"),
        {"seed": 1},
    )
    for name, value in saved.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], value)
        assert loaded.tensors[name].dtype == value.dtype


def test_the_time_of_day_survives_saving(tmp_path):
    loaded = load_bundle(save_bundle(bundle("2020-03-05 20:00"), tmp_path / "b"))
    assert loaded.trained_through == pd.Timestamp("2020-03-05 20:00")


def test_the_arrays_given_stay_writeable_and_those_kept_do_not_even_after_pickling():
    mine = np.zeros(2)
    kept = Bundle("shrinkage", "dense", {}, (), {"a": mine}, pd.Timestamp("2012-12-31"))
    mine[0] = 1.0
    assert kept.tensors["a"][0] == 0.0
    for one in (kept, pickle.loads(pickle.dumps(kept))):
        with pytest.raises(ValueError, match="read-only"):
            one.tensors["a"][0] = 2.0


def test_a_bundle_on_disk_is_numbers_and_json_and_no_pickle(tmp_path):
    save_bundle(bundle(), tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "manifest.json",
        "weights.safetensors",
    ]


def test_a_changed_weight_is_refused(tmp_path):
    weights = save_bundle(bundle(), tmp_path / "b") / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="changed or truncated"):
        load_bundle(tmp_path / "b")


def test_a_truncated_weight_file_is_refused(tmp_path):
    weights = save_bundle(bundle(), tmp_path / "b") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="changed or truncated"):
        load_bundle(tmp_path / "b")


def test_a_changed_date_is_refused(tmp_path):
    manifest = save_bundle(bundle(), tmp_path / "b") / "manifest.json"
    manifest.write_text(manifest.read_text().replace("2012-12-31", "2002-12-31"))
    with pytest.raises(ArtifactError, match="changed after it was written"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"format": "other-1"})])
def test_a_foreign_manifest_is_refused(tmp_path, content):
    manifest = save_bundle(bundle(), tmp_path / "b") / "manifest.json"
    manifest.write_text(content)
    with pytest.raises(ArtifactError):
        load_bundle(tmp_path / "b")


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a bundle: manifest\.json is missing"):
        load_bundle(tmp_path)
    with pytest.raises(ArtifactError, match="holds no bundle"):
        load_series(tmp_path)


def test_a_bundle_is_never_written_over_another(tmp_path):
    save_bundle(bundle(), tmp_path / "b")
    with pytest.raises(ArtifactError, match="exists already"):
        save_bundle(bundle(), tmp_path / "b")


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path):
    def half(folder):
        with whole_folder(folder) as partial:
            (partial / "first").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_series_is_ordered_and_picks_the_newest_that_is_old_enough(tmp_path):
    for through in ("2016-12-30", "2008-12-31", "2012-12-31"):
        save_bundle(bundle(through), tmp_path / through[:4])
    series = load_series(tmp_path)
    assert [b.trained_through.year for b in series] == [2008, 2012, 2016]
    assert series.as_of(pd.Timestamp("2012-12-31")).trained_through.year == 2012
    assert series.as_of(pd.Timestamp("2012-12-30")).trained_through.year == 2008
    with pytest.raises(LookaheadError, match="2008-12-31"):
        series.as_of(pd.Timestamp("2008-12-30"))


def test_a_series_holds_one_kind_and_one_bundle_a_date():
    with pytest.raises(ArtifactError, match="one kind"):
        BundleSeries((bundle("2008-12-31"), bundle("2012-12-31", network="spectral")))
    with pytest.raises(ArtifactError, match="same date"):
        BundleSeries((bundle(), bundle()))
