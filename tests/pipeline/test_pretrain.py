"""The weights that ship: trained to their date and no further, recorded, resumed, judged where they are blind."""

import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from eigenfolio import NeuralShrinkage, cli, pipeline
from eigenfolio.artifacts import CheckpointStore, load_bundle, load_run, load_series
from eigenfolio.config import load_compare_config, load_config, load_pretrain_config
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.learned import shipped
from eigenfolio.pipeline import RunContext, models
from eigenfolio.pipeline.model_card import model_card
from eigenfolio.pipeline.names import SHIPPED
from eigenfolio.pipeline.outcome import flatten
from eigenfolio.pipeline.pretrain import plan_pretraining, pretrain
from eigenfolio.pipeline.pretrain_data import data_fingerprint
from eigenfolio.pipeline.pretrain_options import LAST_DAY, PretrainOptions
from eigenfolio.pipeline.records import find_run, open_run
from eigenfolio.pipeline.reproduce import reproduce
from eigenfolio.training.pretraining import UNDATED, SpectralTraining

ROOT = Path(__file__).parents[2]
TRAINING = {
    "n_members": 2,
    "validation_share": 0.5,
    "sources": [
        {"name": "stocks", "panels": ["stocks", "delisted"], "counts": {12: 12}, "max_lookback": 120},
        {"name": "populations", "counts": {12: 4}, "change": "population", "max_lookback": 120},
    ],
    "loop": {"max_epochs": 2, "batch_size": 4},
}
VINTAGES = ("2009", "2010", "synthetic")
DATES = ["1900-01-01", "2009-12-31", "2010-12-31"]
N_CHECKPOINTS = 3  # of each vintage: the start and two epochs


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, **more):
    return RunContext(folder, datetime(2024, 5, 1, 9, 30), "eigenfolio pretrain", "c" * 40, **more)


def walk(n_rows, n_assets, *, start, seed):
    rng = np.random.default_rng(seed)
    moves = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range(start, periods=n_rows, name="date")
    return pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index, [f"{seed}{i}" for i in range(n_assets)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Panels that go on after the last vintage."""
    place = tmp_path_factory.mktemp("data")
    walk(1100, 14, start="2008-01-02", seed=1).to_parquet(place / "us_equity_adj_close.parquet")
    walk(700, 3, start="2008-01-02", seed=2).to_csv(place / "gone.csv")
    return place


def options(folder, /, **more):
    told = {"vintages": VINTAGES, "training": TRAINING, "data": {"path": str(folder), "panels": {"delisted": "gone"}}}
    return load_pretrain_config(None, **told | more)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return pretrain(options(data), context(tmp_path_factory.mktemp("whole")), progress=silent).folder


def digests(run):
    return {f"{b.trained_through:%Y-%m-%d}": b.digest for b in load_series(run / "bundles" / "shrinkage" / "spectral")}


def test_it_leaves_a_bundle_of_every_vintage_that_the_estimator_takes(whole, data):
    series = load_series(whole / "bundles" / "shrinkage" / "spectral")
    assert list(digests(whole)) == DATES
    X = pd.read_parquet(data / "us_equity_adj_close.parquet").pct_change().iloc[1:]
    for last, seen in (("2009-12-30", None), ("2009-12-31", "2009-12-31"), ("2011-03-01", "2010-12-31")):
        model = NeuralShrinkage(series).fit(X.loc[:last])
        assert model.trained_through_ == (None if seen is None else pd.Timestamp(seen))
        assert np.linalg.eigvalsh(model.covariance_)[0] > 0
    for bundle in list(series)[1:]:
        assert pd.Timestamp(bundle.details["last_date"]) < bundle.trained_through


def test_the_record_says_what_every_vintage_saw(whole, data):
    record = load_run(whole)
    assert (record.kind, record.status, record.seed, record.git_commit) == ("pretrain", "complete", 42, "c" * 40)
    assert record.data_fingerprint == data_fingerprint(options(data))
    assert PretrainOptions.model_validate(record.config) == options(data)
    panels = record.metrics["panels"]
    assert panels["synthetic"] == {}
    assert panels["2009"]["stocks"]["last"] == "2009-12-31"
    assert panels["2010"]["delisted"]["file"] == "gone"
    assert panels["2009"]["stocks"]["fingerprint"] != panels["2010"]["stocks"]["fingerprint"]
    assert [trial["digest"] for trial in record.trials] == [digests(whole)[trial["through"]] for trial in record.trials]
    assert [row["fold"] for row in record.budgets] == ["2009-12-31", "2010-12-31", "1900-01-01", "all folds"]
    assert open_run(whole).model == "shrinkage/spectral"
    lines = [json.loads(line) for line in (whole / "training.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * 2 * N_CHECKPOINTS
    assert "3 of 3 vintages were trained" in (whole / "report.html").read_text()


def test_a_card_lies_in_every_bundle_and_tells_data_use_losses_and_origin(whole):
    for date in DATES:
        place = whole / "bundles" / "shrinkage" / "spectral" / date
        card, bundle = (place / "model_card.md").read_text(), load_bundle(place)
        assert card == model_card(bundle)
        assert bundle.digest in card
        assert "c" * 40 in card
        assert "`eigenfolio pretrain`" in card
        assert f"{bundle.details['losses'][1][0][1]:.4f}" in card
        assert f"12 assets and 60 to {1008 if date == DATES[0] else 120} rows" in card
        assert "horizon 21 days" in card
        assert ("gone" in card) == (date != "1900-01-01")
    assert "seen no market at all" in (place.parent / "1900-01-01" / "model_card.md").read_text()


def test_rows_after_a_vintage_and_after_2020_change_no_bit(data, whole, tmp_path):
    prices = pd.read_parquet(data / "us_equity_adj_close.parquet")
    rng = np.random.default_rng(3)
    later = pd.date_range("2020-12-28", "2021-12-31", freq="B", name="date")
    prices = pd.concat([prices, pd.DataFrame(1.0, index=later, columns=prices.columns)])
    shutil.copy(data / "gone.csv", tmp_path)
    for last in ("2010-12-31", str(LAST_DAY.date())):
        poisoned = prices.copy()
        after = poisoned.index > last
        poisoned.loc[after] = rng.choice([np.nan, 1e12, 1e-9, -5.0, 0.0], size=(after.sum(), prices.shape[1]))
        poisoned.to_parquet(tmp_path / "us_equity_adj_close.parquet")
        newest = options(tmp_path, vintages=("2020",))
        if last == "2010-12-31":
            assert data_fingerprint(options(tmp_path)) == load_run(whole).data_fingerprint
            told = options(tmp_path, vintages=("2010",))
            assert digests(pretrain(told, context(tmp_path), progress=silent).folder).items() <= digests(whole).items()
        else:
            seen = data_fingerprint(newest)
            prices[prices.index <= last].to_parquet(tmp_path / "us_equity_adj_close.parquet")
            assert data_fingerprint(newest) == seen


@contextmanager
def cut_off_after(n_checkpoints):
    """Ctrl-C after so many checkpoints were written."""
    save, written = CheckpointStore.save, []

    def counted(self, *args, **kwargs):
        save(self, *args, **kwargs)
        written.append(self.folder.name)
        if len(written) == n_checkpoints:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", counted)
        yield written


@pytest.mark.parametrize("moment", [2, N_CHECKPOINTS + 1])
def test_stopped_and_started_again_it_comes_to_the_same_bits(moment, data, whole, tmp_path):
    with cut_off_after(moment), pytest.raises(KeyboardInterrupt):
        pretrain(options(data), context(tmp_path), progress=silent)
    assert [path.name[:10] for path in tmp_path.iterdir()] == [".training-"]
    with cut_off_after(-1) as written:
        again = pretrain(options(data), context(tmp_path), progress=silent).folder
    assert digests(again) == digests(whole)
    assert load_run(again).metrics == load_run(whole).metrics
    assert len(written) == 3 * N_CHECKPOINTS - moment  # nothing is trained twice
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([again.name, "latest"])


def test_a_finished_vintage_is_not_even_drawn_again(data, tmp_path, monkeypatch):
    with cut_off_after(N_CHECKPOINTS + 1), pytest.raises(KeyboardInterrupt):
        pretrain(options(data), context(tmp_path), progress=silent)
    module = sys.modules["eigenfolio.pipeline.pretrain"]
    train, seen = module.train_spectral, []
    monkeypatch.setattr(module, "train_spectral", lambda *a, **k: seen.append(a[1]) or train(*a, **k))
    pretrain(options(data), context(tmp_path), progress=silent)
    assert seen == [pd.Timestamp("2010-12-31"), None]


@pytest.mark.slow
def test_killed_with_two_processes_at_work_it_comes_to_the_same_bits(data, whole, tmp_path):
    told = {"vintages": [2009, 2010, "synthetic"], "training": TRAINING, "data": {"panels": {"delisted": "gone"}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(told))
    command = [
        sys.executable, "-m", "eigenfolio", "pretrain", "c.yaml", "--data", str(data), "--out", "runs", "--jobs", "2",
        "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 240  # a busy machine
    while not list((tmp_path / "runs").glob(".training-*/*/last.safetensors")) and time.monotonic() < limit:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "runs").glob(".training-*"))
    time.sleep(1.0)  # its workers end by themselves
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / json.loads(done.stdout)["folder"]) == digests(whole)


def test_a_run_is_repeated_bit_for_bit_and_other_data_are_refused(data, tmp_path):
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    settings = options(copied, vintages=("2009", "synthetic"))
    made = pretrain(settings, context(tmp_path / "runs"), progress=silent).folder
    done = reproduce(find_run("latest", tmp_path / "runs"), context(tmp_path), progress=silent)
    assert done.trouble is None
    assert {check.what for check in done.bits} >= {
        f"bundles/shrinkage/spectral/{date}" for date in ("1900-01-01", "2009-12-31")
    }
    walk(900, 14, start="2008-01-02", seed=9).to_parquet(copied / "us_equity_adj_close.parquet")
    other = reproduce(made, context(tmp_path), anyway=True, progress=silent)
    assert "has changed" in other.trouble


def test_a_vintage_that_cannot_be_trained_is_recorded_and_the_others_are_kept(data, tmp_path):
    early = walk(40, 14, start="2007-11-01", seed=1)
    late = pd.read_parquet(data / "us_equity_adj_close.parquet")
    pd.concat([early[early.index < "2008"], late]).to_parquet(tmp_path / "us_equity_adj_close.parquet")
    gone = pd.read_csv(data / "gone.csv", index_col=0, parse_dates=True)
    pd.concat([gone.iloc[:5].set_axis(early.index[:5]), gone]).to_csv(tmp_path / "gone.csv")
    done = pretrain(options(tmp_path, vintages=("2007", "synthetic")), context(tmp_path / "runs"), progress=silent)
    record = load_run(done.folder)
    assert record.status == "complete with failures"
    assert [trial["status"] for trial in record.trials] == ["failed", "trained"]
    assert "source 'stocks'" in record.trials[0]["error"]
    assert list(digests(done.folder)) == ["1900-01-01"]
    with pytest.raises(DataError, match="no vintage could be trained; 2007"):
        pretrain(options(tmp_path, vintages=("2007",)), context(tmp_path / "more"), progress=silent)
    assert not (tmp_path / "more").exists()


def test_a_missing_panel_folder_or_file_name_is_named(data, tmp_path):
    with pytest.raises(DataError, match=r"panel 'delisted' is missing: .* holds no absent\.parquet"):
        data_fingerprint(options(data, data={"path": str(data), "panels": {"delisted": "absent"}}))
    with pytest.raises(DataError, match="there is no folder"):
        data_fingerprint(options(tmp_path / "nowhere"))
    with pytest.raises(ParameterError, match="--data"):
        data_fingerprint(options(data, data={}))
    sources = [{"name": "bonds", "panels": ["bonds"], "counts": {12: 2}}]
    with pytest.raises(ParameterError, match=r"'bonds', and data\.panels names no file"):
        data_fingerprint(options(data, training={"sources": sources}))
    with pytest.raises(DataError, match=r"holds no price through 1999-12-31"):
        data_fingerprint(options(data, vintages=("1999",)))


@pytest.mark.parametrize("vintage", ["2021", "20", "latest"])
def test_a_vintage_is_a_year_up_to_2020_or_synthetic(vintage):
    with pytest.raises(ParameterError, match="a year up to 2020, or 'synthetic'"):
        load_pretrain_config(None, vintages=[vintage])


def test_quick_is_a_twentieth_and_full_is_what_ships():
    quick, full = (load_pretrain_config(None, preset=preset) for preset in ("quick", "full"))
    assert full.training == SpectralTraining().scaled(2.5)
    assert quick.training == SpectralTraining(n_members=1).scaled(0.05)
    assert quick.vintages == full.vintages == ("2008", "2012", "2016", "2020", "synthetic")
    assert quick.budgets.total == full.budgets.total == 2 * 3 * 3600


def test_simulated_markets_alone_need_no_data_and_have_a_plan(tmp_path):
    told = load_pretrain_config(None, vintages=["synthetic"], training=TRAINING)
    plan = plan_pretraining(told, n_jobs=2)
    assert plan.panels == {}
    assert plan.windows == {"populations": 16}
    assert plan.vintage_seconds > 0
    assert any(line.startswith("Memory") for line in plan.lines())


def test_as_many_vintages_train_at_a_time_as_memory_holds(data, monkeypatch):
    module = sys.modules["eigenfolio.pipeline.pretrain"]
    needed = plan_pretraining(options(data)).window_bytes
    for cap, expected in ((100 * needed, 3), (2 * needed, 2), (1, 1)):
        monkeypatch.setattr(module, "default_cap", lambda device, cap=cap: cap)
        assert plan_pretraining(options(data), n_jobs=8).n_processes == expected


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


def test_the_command_trains_shows_its_plan_and_complains_in_one_line(data, whole, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"training": TRAINING, "data": {"panels": {"delisted": "gone"}}}))
    told = ("pretrain", tmp_path / "c.yaml", "--vintage", "2009", "--out", tmp_path / "runs", "--jobs", "1")
    status, out, _ = call(monkeypatch, capsys, *told, "--data", data, "--dry-run")
    assert status == 0
    assert "us_equity_adj_close, 521 rows x 14 assets, 2008-01-03 to 2009-12-31" in out
    assert not (tmp_path / "runs").exists()
    status, out, _ = call(monkeypatch, capsys, *told, "--data", data, "--json")
    assert status == 0
    assert json.loads(out)["trials"][0]["digest"] == digests(whole)["2009-12-31"]
    status, out, _ = call(monkeypatch, capsys, "runs", "show", "latest", "--out", tmp_path / "runs")
    assert status == 0
    assert "shrinkage/spectral v1" in out
    status, _, err = call(monkeypatch, capsys, *told, "--data", tmp_path)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "'delisted' is missing" in err


def test_every_key_is_documented():
    text = (ROOT / "docs" / "configuration.md").read_text().split("## `eigenfolio pretrain`")[1]
    for key in flatten(load_pretrain_config(None).model_dump(mode="json")):
        parts = key.split(".")
        assert any(f"| `{'.'.join(parts[:n])}` |" in text for n in (1, 2)), key


# what ships


def test_everything_that_ships_is_packaged():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["eigenfolio"]
    package = ROOT / "src" / "eigenfolio"
    packaged = {path for pattern in told for path in package.glob(pattern)}
    held = {path for path in (package / "pretrained").rglob("*") if path.is_file()}
    assert {path for path in held if path.suffix not in (".py", ".pyc")} <= packaged


def test_what_ships_is_found_as_resources_and_whole(data):
    place = files("eigenfolio.pretrained") / "shrinkage" / "spectral"
    if not place.is_dir():
        pytest.skip("no weights are installed")
    series = shipped.shipped_series("spectral")
    assert series.bundles[0].trained_through == UNDATED
    for bundle in series:
        card = place / f"{bundle.trained_through:%Y-%m-%d}" / "model_card.md"
        assert card.read_text() == model_card(bundle)
        assert bundle.trained_through <= LAST_DAY


@pytest.fixture
def installed(whole, tmp_path, monkeypatch):
    """The bundles of the small run in the place of those that ship."""
    place = tmp_path / "installed"
    shutil.copytree(whole / "bundles", place)
    for module in (shipped, models):
        monkeypatch.setattr(module, "files", lambda name: place)
    shipped.shipped_series.cache_clear()
    yield load_series(place / "shrinkage" / "spectral")
    shipped.shipped_series.cache_clear()


@pytest.mark.parametrize("job", ["run", "compare-covariance"])
def test_every_decision_is_made_with_weights_that_have_seen_nothing_after_it(
    job, installed, data, tmp_path, monkeypatch
):
    fit, seen = NeuralShrinkage.fit, []

    def noted(self, X, y=None, **more):
        fit(self, X, y, **more)
        if self.network == "spectral":
            seen.append((X.index[-1], self.trained_through_, self.in_sample_))
        return self

    monkeypatch.setattr(NeuralShrinkage, "fit", noted)
    told = {
        "data": {"path": str(data / "us_equity_adj_close.parquet")},
        "evaluation": {"lookback": 63, "n_bootstrap": 1000},
    }
    if job == "run":
        training = {
            "n_members": 1,
            "schedule": {"first_months": 18, "every_months": 24, "validation_months": 6},
            "windows": {"n_windows": 24, "n_validation_windows": 12, "max_lookback": 120, "max_assets": 12},
            "network": {"hidden_sizes": [8]},
            "loop": {"max_epochs": 1},
        }
        settings = load_config(None, **told, training=training, sealed_share=0.0)
        done = pipeline.run(settings, context(tmp_path), progress=silent)
    else:
        done = pipeline.compare_covariance(load_compare_config(None, **told), context(tmp_path), progress=silent)
    assert SHIPPED in set(done.performance["model"])
    assert SHIPPED in {*done.comparison["rival"], *done.comparison["reference"]}
    assert len(seen) >= 12
    for date, trained_through, in_sample in seen:
        vintages = [bundle.trained_through for bundle in installed if bundle.trained_through <= date]
        assert (UNDATED if trained_through is None else trained_through) == max(vintages) <= date
        assert in_sample is False
    used = {trained_through for _, trained_through, _ in seen}
    assert {pd.Timestamp("2009-12-31"), pd.Timestamp("2010-12-31")} <= used


def test_without_shipped_weights_the_table_goes_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "files", lambda name: tmp_path)
    assert models.shipped_models(lookback=63) == {}
