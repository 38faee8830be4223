"""A run that was stopped goes on to the same bits; what it took, showed and copied changes none of them."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from eigenfolio import cli, pipeline
from eigenfolio.artifacts import CheckpointStore, load_run
from eigenfolio.config import load_config
from eigenfolio.errors import ArtifactError, DataError, ParameterError
from eigenfolio.pipeline import RunContext, RunOptions, work
from eigenfolio.pipeline.records import list_runs
from eigenfolio.pipeline.work import work_folder
from eigenfolio.training import tracking
from eigenfolio.training.budgets import Budgets
from eigenfolio.training.tracking import TensorBoardCopy, TrackingOptions

CONFIG = {
    "universe": {"min_assets": 2},
    "sealed_share": 0.0,
    "training": {
        "n_members": 2,
        "schedule": {"first_months": 24, "every_months": 9, "validation_months": 6},
        "windows": {"min_assets": 2, "n_windows": 48, "n_validation_windows": 16, "max_lookback": 120},
        "network": {"hidden_sizes": [8]},
        "loop": {"max_epochs": 3, "patience": 9},
    },
    "evaluation": {"lookback": 63, "n_bootstrap": 1000},
}
N_FOLDS, N_CHECKPOINTS = 2, 4  # of each fold: the start and three epochs


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, **more):
    return RunContext(folder, datetime(2024, 5, 1, 9, 30), "eigenfolio run", "c" * 40, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((900, 1)) + rng.standard_normal((900, 4)))
    index = pd.bdate_range("2010-01-04", periods=900, name="date")
    prices = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCD"))
    prices.to_parquet(folder / "prices.parquet")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "train.yaml").write_text(yaml.safe_dump({name: CONFIG[name] for name in ("sealed_share", "training")}))
    return folder


@pytest.fixture(scope="module")
def settings(folder):
    return RunOptions.model_validate(CONFIG | {"data": {"path": str(folder / "prices.parquet")}})


@pytest.fixture(scope="module")
def whole(folder, settings):
    """What an uninterrupted run comes to."""
    return bits(pipeline.run(settings, context(folder / "whole"), progress=silent).folder)


def bits(run):
    record = load_run(run)
    digests = [trial["digest"] for trial in record.trials if trial["kind"] == "training"]
    assert len(digests) == N_FOLDS
    return digests, record.metrics, pd.read_parquet(run / "returns.parquet").to_numpy().tobytes()


def work_folders(out):
    return [path for path in out.iterdir() if path.name.startswith(".training-")]


@contextmanager
def cut_off_after(n_checkpoints):
    """Ctrl-C after so many checkpoints were written."""
    save, written = CheckpointStore.save, []

    def counted(self, *args, **kwargs):
        save(self, *args, **kwargs)
        written.append(self.folder)
        if len(written) == n_checkpoints:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", counted)
        yield written


@pytest.mark.parametrize("moment", [2, N_CHECKPOINTS, N_CHECKPOINTS + 1])
def test_a_run_that_was_cut_off_goes_on_where_it_was_to_the_same_bits(moment, settings, whole, tmp_path):
    with cut_off_after(moment), pytest.raises(KeyboardInterrupt):
        pipeline.run(settings, context(tmp_path), progress=silent)
    (work,) = work_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [work.name]
    with cut_off_after(-1) as written:
        done = pipeline.run(settings, context(tmp_path), progress=silent)
    assert bits(done.folder) == whole
    assert len(written) == N_FOLDS * N_CHECKPOINTS - moment  # nothing is trained twice
    assert work_folders(tmp_path) == []


@pytest.mark.slow
def test_a_run_killed_at_random_moments_comes_to_the_same_bits(folder, whole, tmp_path):
    command = [
        sys.executable, "-m", "eigenfolio", "run", "config.yaml", "--data", "prices.parquet", "--out", str(tmp_path),
        "--json", "--jobs", "2",
    ]  # fmt: skip
    chance, killed, left = random.Random(1), 0, 0
    for _ in range(6):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if chance.random() < 0.7:  # in the training, wherever it is
            limit = time.monotonic() + 30
            while not list(tmp_path.glob(".training-*/*/metrics.jsonl")) and time.monotonic() < limit:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.6))
        else:
            time.sleep(chance.uniform(0.5, 6.0))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
            left += bool(list(tmp_path.glob(".training-*/*/last.safetensors")))
        process.wait()
    assert killed >= 3
    assert left >= 2
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digests, metrics, returns = bits(tmp_path / "latest")
    assert digests == whole[0]
    assert json.loads(json.dumps(metrics)) == json.loads(json.dumps(whole[1]))
    assert returns == whole[2]
    assert work_folders(tmp_path) == []


def test_other_budgets_and_copies_go_on_from_the_same_checkpoints_and_other_options_do_not(settings, tmp_path):
    told = {"out": tmp_path, "kind": "run", "fingerprint": "f" * 64, "code": "c"}
    plain = settings.model_dump(mode="json")
    names = []
    for given, more in (
        (plain, {}),
        (plain | {"budgets": {"total": 1.0}, "tracking": {"mlflow": True}}, {}),
        (plain | {"seed": 7}, {}),
        (plain, {"kind": "train"}),
        (plain, {"fingerprint": "e" * 64}),
        (plain, {"code": "d"}),
    ):
        with work_folder(settings=given, **told | more) as work:
            names.append(work.name)
    assert names[0] == names[1]
    assert len(set(names)) == 5


def test_the_same_run_twice_at_once_is_refused(settings, tmp_path):
    told = {"out": tmp_path, "kind": "run", "settings": {}, "fingerprint": "f", "code": None}
    with (
        work_folder(**told),
        pytest.raises(ArtifactError, match="another process is at the same job"),
        work_folder(**told),
    ):
        pass
    with work_folder(**told):  # whoever is done gives it back
        pass
    with pytest.raises(ZeroDivisionError), work_folder(**told):
        1 / 0  # noqa: B018


def test_checkpoints_have_an_absolute_place_for_workers_of_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with work_folder(Path("runs"), "run", {}, "f", code=None) as folder:
        assert folder.is_absolute()
        assert folder.parent == tmp_path / "runs"


def test_a_folder_that_its_holder_removes_while_we_take_the_lock_is_made_again(tmp_path, monkeypatch):
    told = {"kind": "run", "settings": {}, "fingerprint": "f", "code": None}
    take, taken = work.fcntl.flock, []

    def late(descriptor, how):
        if not taken:
            shutil.rmtree(*work_folders(tmp_path))
        taken.append(descriptor)
        take(descriptor, how)

    monkeypatch.setattr(work.fcntl, "flock", late)
    with work_folder(tmp_path, **told) as folder:
        assert len(taken) == 2
        assert folder.is_dir()
        with pytest.raises(ArtifactError, match="another process"), work_folder(tmp_path, **told):
            pass


def test_a_job_that_failed_before_its_first_checkpoint_leaves_nothing(tmp_path):
    told = {"kind": "run", "settings": {}, "fingerprint": "f", "code": None}
    with pytest.raises(DataError), work_folder(tmp_path / "new", **told):
        raise DataError("nothing to learn from")
    assert list(tmp_path.iterdir()) == []


def test_a_time_over_its_budget_is_recorded_and_said_and_stops_nothing(settings, whole, tmp_path):
    strict = settings.model_copy(update={"budgets": Budgets(shrinkage=1e-3)})
    done = pipeline.run(strict, context(tmp_path), progress=silent)
    record = load_run(done.folder)
    assert bits(done.folder) == whole
    assert record.status == "complete"
    assert [row["status"] for row in record.budgets] == ["over", "over", "within"]
    assert [row["fold"] for row in record.budgets][-1] == "all folds"
    through = record.budgets[0]["fold"]
    assert any(note.startswith(f"The bundle through {through} took") for note in done.notes)
    page = (done.folder / "report.html").read_text()
    assert f"The bundle through {through} took" in page
    assert "over the budget of 0.0 s" in page


def test_the_time_of_a_killed_process_counts_against_the_budget(settings, tmp_path):
    with cut_off_after(N_CHECKPOINTS), pytest.raises(KeyboardInterrupt):
        pipeline.run(settings, context(tmp_path), progress=silent)
    (path,) = work_folders(tmp_path)[0].glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line | {"seconds": 1000.0}) + "\n" for line in lines))
    done = pipeline.run(settings, context(tmp_path), progress=silent)
    assert load_run(done.folder).budgets[0]["seconds"] >= 3 * 1000.0


def test_budgets_are_a_key_of_the_configuration(tmp_path):
    (tmp_path / "c.yaml").write_text("budgets: {gat: 60, total: 600}")
    found = load_config(tmp_path / "c.yaml").budgets
    assert (found.gat, found.total, found.hrp) == (60.0, 600.0, 120.0)
    (tmp_path / "c.yaml").write_text("budgets: {total: 0}")
    with pytest.raises(ParameterError, match=r"budgets\.total"):
        load_config(tmp_path / "c.yaml")


class Terminal(io.StringIO):
    """Takes what is shown to a person."""

    def isatty(self):
        return True


def train(folder, out, monkeypatch, *more, stderr=None):
    words = ["train", "shrinkage", "train.yaml", "--data", "prices.parquet", "--out", out, "--jobs", "1", *more]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, words)])
    if stderr is not None:
        monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code in (0, None)
    record = load_run(out / "latest")
    return [trial["digest"] for trial in record.trials]


def test_a_terminal_shows_every_fold_live_and_the_bits_are_those_without(folder, tmp_path, monkeypatch):
    quiet, terminal, machine = Terminal(), Terminal(), Terminal()
    quiet.isatty = lambda: False
    digests = train(folder, tmp_path / "quiet", monkeypatch, stderr=quiet)
    assert train(folder, tmp_path / "shown", monkeypatch, stderr=terminal) == digests
    assert train(folder, tmp_path / "json", monkeypatch, "--json", stderr=machine) == digests
    shown = terminal.getvalue()
    for word in ("through", "nets", "epoch", "train", "valid", "best", "rate", "grad", "pace", "memory", "left"):
        assert word in shown
    assert shown.count("3/3") >= N_FOLDS
    assert "done" in shown
    assert quiet.getvalue() == machine.getvalue() == ""


def test_metrics_are_copied_while_bits_and_version_stay(folder, settings, whole, tmp_path, monkeypatch):
    made = {}

    class Writer:
        def __init__(self, place):
            self.place, self.scalars = place, {}
            made[place] = self

        def add_scalar(self, name, value, step):
            self.scalars[name, step] = value

        def add_text(self, *args): ...
        def flush(self): ...
        def close(self): ...

    monkeypatch.setattr(tracking, "_installed", lambda name: True)
    opened = TensorBoardCopy.__init__

    def with_writer(self, place, **more):
        opened(self, place, **more | {"writer": Writer})

    monkeypatch.setattr(TensorBoardCopy, "__init__", with_writer)
    plain = pipeline.run(settings, context(tmp_path), progress=silent)
    copied = settings.model_copy(update={"tracking": TrackingOptions(tensorboard=True)})
    later = replace(context(tmp_path), started=datetime(2024, 5, 1, 9, 31))
    done = pipeline.run(copied, later, progress=silent)
    assert bits(done.folder) == bits(plain.folder) == whole
    place = str(tmp_path / "tensorboard" / done.folder.name)
    assert len([name for name in made if "/member-" in name]) == N_FOLDS * 2
    lines = [json.loads(line) for line in (done.folder / "training.jsonl").read_text().splitlines()]
    for line in lines:
        sent = made[f"{place}/{line['bundle']}/member-{line['member']}"].scalars
        assert sent["loss/validation/total", line["epoch"]] == line["validation"]["total"]
    assert any(name.startswith("performance/") for name, _ in made[f"{place}/run"].scalars)
    (tmp_path / "tensorboard").mkdir(exist_ok=True)
    registry = list_runs(tmp_path)
    assert [entry.version for entry in registry.entries] == [1, 1]
    assert registry.unreadable == ()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_copy_that_cannot_be_written_is_one_line_before_any_work(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "_installed", lambda name: False)
    for words in (["run"], ["train", "shrinkage"]):
        monkeypatch.setattr(sys, "argv", ["eigenfolio", *words, f"--{name}", "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        assert stop.value.code == 2
        assert f"eigenfolio[{name}]" in shown.err
        assert len(shown.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
