import json

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from eigenfolio.data import archive_panel, load_archive, read_manifest, read_panel
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.panel import Panel


@pytest.fixture
def panel():
    prices = factor_market(6, 50, seed=7, late_listings=0.5, gaps=0.1).panel.prices
    panel = Panel.from_prices(
        prices, volume=1000 * prices, market=prices.mean(axis=1).rename("index"), sectors={"A001": "tech"}, source="x"
    )
    return panel.with_step("looked at it")


@pytest.mark.parametrize("kind", ["prices", "returns"])
def test_an_archive_gives_back_every_bit_and_its_history(tmp_path, panel, kind):
    if kind == "returns":
        panel = Panel.from_returns(panel.returns, source="x").with_step("looked at it")
    folder = tmp_path / "deep" / "snapshot"
    written = archive_panel(panel, folder, version="1.2.0", parent="0" * 64, note="why")
    loaded = load_archive(folder)
    assert loaded.fingerprint == panel.fingerprint
    assert_frame_equal(loaded.returns, panel.returns)
    assert loaded.provenance.steps == ("looked at it", "archived as version 1.2.0")
    manifest = read_manifest(folder)
    assert manifest == written
    assert manifest["lineage"] == {"parent": "0" * 64, "source": "x", "steps": ["looked at it"]}
    assert (manifest["version"], manifest["note"]) == ("1.2.0", "why")
    assert [path.name for path in folder.parent.iterdir()] == ["snapshot"]
    assert read_panel(folder).fingerprint == panel.fingerprint


def test_an_archive_is_never_overwritten(tmp_path, panel):
    folder = tmp_path / "snapshot"
    archive_panel(panel, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ArtifactError, match="never overwritten"):
        archive_panel(panel, folder, version="2.0.0")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failed_archive_leaves_nothing_behind(tmp_path, panel, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(ArtifactError, match="No space left"):
        archive_panel(panel, tmp_path / "snapshot")
    assert list(tmp_path.iterdir()) == []


def tamper_bytes(folder):
    path = folder / "prices.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def truncate(folder):
    path = folder / "prices.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-10])


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (tamper_bytes, "changed or truncated"),
        (truncate, "changed or truncated"),
        (lambda folder: (folder / "volume.parquet").unlink(), "misses volume.parquet"),
        (lambda folder: (folder / "extra.txt").write_text("hello"), "foreign extra.txt"),
        (lambda folder: (folder / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda folder: edit_manifest(folder, note="another"), "was changed"),
        (lambda folder: edit_manifest(folder, format="something else"), "is not the manifest"),
        (lambda folder: edit_manifest(folder, format_version=99), "format version 99"),
        (lambda folder: ((folder / "manifest.json").chmod(0o644), (folder / "manifest.json").write_text("{")), "read"),
    ],
)
def test_a_harmed_archive_is_refused(tmp_path, panel, harm, message):
    folder = tmp_path / "snapshot"
    archive_panel(panel, folder)
    harm(folder)
    with pytest.raises(ArtifactError, match=message):
        load_archive(folder)


@pytest.mark.parametrize("options", [{"version": "1.0"}, {"version": "v1.0.0"}, {"parent": "abc"}])
def test_a_version_is_semantic_and_a_parent_is_a_fingerprint(tmp_path, panel, options):
    with pytest.raises(ParameterError):
        archive_panel(panel, tmp_path / "snapshot", **options)
