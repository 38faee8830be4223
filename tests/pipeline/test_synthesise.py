"""Synthetic data on disk: whole or not at all, the same bits for the same seed, read back like any other data."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main
from eigenfolio.data import read_order_book, read_panel
from eigenfolio.data.synthetic.catalogue import KINDS, draw_kind
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.pipeline.synthesise import synthesise

MARKETS = [name for name, kind in KINDS.items() if kind.n_assets is not None]


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.mark.parametrize("kind", MARKETS)
def test_a_folder_is_read_back_as_the_panel_that_was_drawn(tmp_path, kind):
    manifest = synthesise(kind, tmp_path / "data", n_assets=6, n_rows=50, seed=2)
    market = draw_kind(kind, n_assets=6, n_rows=50, seed=2)
    assert read_panel(tmp_path / "data").fingerprint == market.panel.fingerprint == manifest["fingerprint"]
    truth = pd.read_parquet(tmp_path / "data" / "truth" / "covariance.parquet")
    np.testing.assert_array_equal(truth, market.covariance)
    assert read_panel(tmp_path / "data" / "prices.parquet").n_observations == 50
    assert json.loads((tmp_path / "data" / "manifest.json").read_text()) == manifest
    assert manifest["seed"] == 2


def test_a_path_that_changes_is_stored_where_it_is_small(tmp_path, monkeypatch):
    synthesise("garch", tmp_path / "small", n_assets=3, n_rows=40, seed=1)
    stored = pd.read_parquet(tmp_path / "small" / "truth" / "covariance_path.parquet")
    market = draw_kind("garch", n_assets=3, n_rows=40, seed=1)
    np.testing.assert_array_equal(stored.loc[market.panel.index[17]], market.covariance_path.at(17))
    assert len(stored) == 120
    monkeypatch.setattr("eigenfolio.pipeline.synthesise._LARGEST_PATH", 100)
    manifest = synthesise("garch", tmp_path / "large", n_assets=3, n_rows=40, seed=1)
    assert manifest["covariance_path"] == "too large to store; draw it again"
    assert not (tmp_path / "large" / "truth" / "covariance_path.parquet").exists()
    assert synthesise("factor", tmp_path / "constant", n_assets=3, n_rows=40)["covariance_path"] == "constant"


@pytest.mark.parametrize("kind", ["lead-lag", "regime-momentum", "momentum", "null"])
def test_what_was_planted_and_what_an_oracle_scores_is_in_the_folder(tmp_path, kind):
    manifest = synthesise(kind, tmp_path / "data", n_assets=6, n_rows=60, seed=2)
    market = draw_kind(kind, n_assets=6, n_rows=60, seed=2)
    expected = pd.read_parquet(tmp_path / "data" / "truth" / "expected_returns.parquet")
    np.testing.assert_array_equal(expected, market.expected_returns)
    assert manifest["oracle_score"]["information_coefficient"] == market.information_coefficient
    assert (tmp_path / "data" / "truth" / "edges.parquet").exists() == (kind == "lead-lag")
    assert (tmp_path / "data" / "truth" / "regimes.parquet").exists() == (kind == "regime-momentum")


def test_the_least_volatility_is_that_of_the_truth(tmp_path):
    score = synthesise("factor", tmp_path / "data", n_assets=6, n_rows=40)["oracle_score"]
    truth = draw_kind("factor", n_assets=6, n_rows=40).covariance.to_numpy()
    least = np.sqrt(252 / np.linalg.inv(truth).sum())
    assert score["minimum_variance_volatility_unconstrained"] == pytest.approx(least)
    assert score["minimum_variance_volatility_long_only"] >= least * (1 - 1e-9)


def test_an_order_book_is_read_back_with_its_signal(tmp_path):
    manifest = synthesise("book-imbalance", tmp_path / "data", n_rows=80, seed=4)
    book = draw_kind("book-imbalance", n_rows=80, seed=4)
    read = read_order_book(tmp_path / "data" / "snapshots.parquet")
    np.testing.assert_array_equal(read.to_frame().drop(columns="time"), book.book.to_frame().drop(columns="time"))
    np.testing.assert_array_equal(
        pd.read_parquet(tmp_path / "data" / "truth" / "signal.parquet")["signal"], book.signal
    )
    assert manifest["oracle_score"]["information_coefficient"] == 0.1
    assert manifest["fingerprint"] == book.fingerprint


@pytest.mark.parametrize("kind", ["listings", "book-null"])
def test_the_same_seed_writes_the_same_bytes(tmp_path, kind):
    for name in ("first", "second"):
        synthesise(kind, tmp_path / name, n_rows=60, seed=5)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) >= 3
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    synthesise("factor", tmp_path / "empty", n_assets=3, n_rows=40)
    before = {path.name for path in (tmp_path / "empty").iterdir()}
    with pytest.raises(ArtifactError, match="not an empty folder"):
        synthesise("spiked", tmp_path / "empty", n_assets=3, n_rows=40)
    assert {path.name for path in (tmp_path / "empty").iterdir()} == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="not an empty folder"):
        synthesise("factor", tmp_path / "file", n_assets=3, n_rows=40)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with pytest.raises(ParameterError):
        synthesise("nothing like it", tmp_path / "data")
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(ArtifactError, match="No space left"):
        synthesise("factor", tmp_path / "data", n_assets=3, n_rows=40)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_and_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--assets", 4, "--rows", 60, "--seed", 7, "--out", "data")
    status, out, _ = call(monkeypatch, capsys, "data", "synth", "momentum", *options, "--json")
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / "data" / "manifest.json").read_text())
    status, _, err = call(monkeypatch, capsys, "data", "synth", "momentum", *options)
    assert status == 2
    assert "not an empty folder" in err
    status, out, _ = call(monkeypatch, capsys, "data", "synth", "book-null", "--rows", 60, "--out", "book")
    assert status == 0
    assert out.startswith("book: book-null, 60 rows, seed 0")
    assert call(monkeypatch, capsys, "data", "check", "data")[0] == 0


def test_an_unknown_kind_is_one_line_that_names_the_nearest_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(monkeypatch, capsys, "data", "synth", "momentun", "--out", "data")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "did you mean momentum?" in err
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_kind_with_its_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = call(monkeypatch, capsys, "data", "synth", "--help")
    lines = [line.split() for line in out.splitlines()]
    for kind in KINDS.values():
        assert [kind.name, *kind.summary.split()] in lines
