"""Copies: what is sent, when, and that nothing depends on them."""

import types
from collections import namedtuple

import pytest
from pydantic import ValidationError

from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.training import tracking
from eigenfolio.training.follow import EpochEvent
from eigenfolio.training.loop import EpochRecord
from eigenfolio.training.tracking import (
    Copies,
    MLflowCopy,
    TensorBoardCopy,
    TrackingOptions,
    check_tracking,
    copies,
    scalars,
)

RECORD = EpochRecord(
    2, 1.5, 400.0, 10**8, 1e-3, {"total": 0.5, "leverage": 0.1}, {"total": 0.6, "leverage": 0.2}, {"head": 0.25}
)
EVENT = EpochEvent("2013-12-31", 1, RECORD)
SENT = {
    "loss/train/total": 0.5,
    "loss/train/leverage": 0.1,
    "loss/validation/total": 0.6,
    "loss/validation/leverage": 0.2,
    "gradient_norm/head": 0.25,
    "learning_rate": 1e-3,
    "seconds": 1.5,
    "samples_per_second": 400.0,
    "peak_memory": 1e8,
}


class RecordingWriter:
    """Stands in for torch's SummaryWriter."""

    made: dict

    def __init__(self, folder):
        self.scalars, self.texts, self.closed = {}, {}, False
        self.made[folder] = self

    def add_scalar(self, name, value, step):
        assert not self.closed
        self.scalars[name, step] = value

    def add_text(self, name, text, step):
        self.texts[name] = text

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def writers():
    RecordingWriter.made = {}
    return RecordingWriter.made


class RecordingLibrary:
    """Stands in for the module ``mlflow``."""

    entities = types.SimpleNamespace(
        Metric=namedtuple("Metric", "key value timestamp step"), Param=namedtuple("Param", "key value")
    )

    def __init__(self, experiments=()):
        self.experiments = {name: str(i) for i, name in enumerate(experiments)}
        self.params, self.metrics, self.files, self.batches = {}, {}, [], []
        self.run, self.status, self.uri = None, "RUNNING", None

    def MlflowClient(self, tracking_uri):
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        number = self.experiments.get(name)
        return None if number is None else types.SimpleNamespace(experiment_id=number)

    def create_experiment(self, name, artifact_location):
        self.experiments[name] = artifact_location
        return "made"

    def create_run(self, experiment, run_name, tags):
        self.run = (experiment, run_name, tags)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def log_batch(self, run_id, metrics=(), params=()):
        assert run_id == "r1"
        self.batches.append(len(metrics) + len(params))
        self.metrics |= {(m.key, m.step): m.value for m in metrics}
        self.params |= {p.key: p.value for p in params}

    def log_artifact(self, run_id, path):
        self.files.append(path)

    def set_terminated(self, run_id, status):
        self.status = status


def mlflow_copy(library, settings=None):
    return MLflowCopy(
        "http://tracking", experiment="models", artifacts=None, name="exp_1", settings=settings or {"seed": 42},
        tags={"git_commit": "c"}, library=library,
    )  # fmt: skip


def test_an_epoch_is_sent_whole():
    assert scalars(RECORD) == SENT


def test_tensorboard_gets_a_curve_per_network_the_settings_and_the_result(tmp_path, writers):
    copy = TensorBoardCopy(tmp_path / "exp_1", settings={"seed": 42}, writer=RecordingWriter)
    copy.epoch(EVENT)
    copy.result({"performance/own/QIS/turnover": 0.1}, [])
    copy.close(finished=True)
    network, run = writers[str(tmp_path / "exp_1/2013-12-31/member-1")], writers[str(tmp_path / "exp_1/run")]
    assert network.scalars == {(name, 2): value for name, value in SENT.items()}
    assert run.scalars == {("performance/own/QIS/turnover", 0): 0.1}
    assert "| seed | 42 |" in run.texts["settings"]
    assert network.closed
    assert run.closed


def test_mlflow_gets_settings_epochs_result_files_and_the_end(tmp_path):
    library = RecordingLibrary(["models"])
    copy = mlflow_copy(library, {f"option.{i}": i for i in range(250)})
    copy.epoch(EVENT)
    copy.result({"performance/long-only, 5%/QIS (own)/turnover": 0.1}, [tmp_path / "run.json"])
    copy.close(finished=True)
    assert library.uri == "http://tracking"
    assert library.run == ("0", "exp_1", {"git_commit": "c"})
    assert len(library.params) == 250
    assert max(library.batches) <= 100  # what a server takes at once
    assert library.metrics == {
        **{(f"2013-12-31/member-1/{name}", 2): value for name, value in SENT.items()},
        ("performance/long-only- 5-/QIS -own-/turnover", 0): 0.1,
    }
    assert library.files == [str(tmp_path / "run.json")]
    assert library.status == "FINISHED"


def test_mlflow_makes_the_experiment_that_is_not_there():
    library = RecordingLibrary()
    mlflow_copy(library)
    assert library.run[0] == "made"


def test_a_copy_that_fails_is_given_up_with_a_note_and_the_others_go_on(tmp_path, writers):
    broken = mlflow_copy(RecordingLibrary())
    broken._client = None
    board = TensorBoardCopy(tmp_path, settings={}, writer=RecordingWriter)
    kept = Copies([broken, board])
    kept(EVENT)
    kept(EVENT)
    assert len(kept.notes) == 1
    assert kept.notes[0].startswith("The copy to MLflow is not complete: AttributeError")
    assert writers[str(tmp_path / "2013-12-31/member-1")].scalars


def test_a_block_that_fails_ends_the_copy_as_failed(tmp_path, monkeypatch):
    library = RecordingLibrary()
    monkeypatch.setattr(tracking, "_mlflow", lambda: library)
    monkeypatch.setattr(tracking, "_installed", lambda name: True)
    given = {"out": tmp_path, "name": "exp_1", "settings": {}, "tags": {}}
    with pytest.raises(ZeroDivisionError), copies(TrackingOptions(mlflow=True), **given):
        1 / 0  # noqa: B018
    assert library.status == "FAILED"
    assert library.uri == f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    assert library.experiments == {"eigenfolio": (tmp_path / "mlflow" / "artifacts").as_uri()}
    with copies(TrackingOptions(mlflow=True, mlflow_uri="http://there", experiment="e"), **given) as kept:
        kept.result({"a": 1.0, "b": float("nan")}, tmp_path)
    assert (library.status, library.uri) == ("FINISHED", "http://there")
    assert library.metrics == {("a", 0): 1.0}
    assert [path.rsplit("/", 1)[1] for path in library.files] == ["run.json", "config.yaml", "report.html"]


def test_nothing_is_copied_unless_asked_for(tmp_path):
    with copies(TrackingOptions(), out=tmp_path, name="exp_1", settings={}, tags={}) as kept:
        assert not kept
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_library_that_is_not_there_is_one_line_that_names_the_extra(name, monkeypatch):
    monkeypatch.setattr(tracking, "_installed", lambda name: False)
    with pytest.raises(ParameterError, match=rf"tracking\.{name} needs .* pip install 'eigenfolio\[{name}\]'"):
        check_tracking(TrackingOptions(**{name: True}))


def test_a_place_without_a_copy_is_an_option_that_nothing_reads():
    with pytest.raises(ValidationError, match="mlflow_uri is not read while mlflow is false"):
        TrackingOptions(mlflow_uri="http://there")


def test_a_copy_that_cannot_be_opened_says_so_before_the_work(tmp_path, monkeypatch):
    def refuse():
        raise OSError("no such host")

    monkeypatch.setattr(tracking, "_mlflow", refuse)
    monkeypatch.setattr(tracking, "_installed", lambda name: True)
    options = TrackingOptions(mlflow=True)
    with (
        pytest.raises(ArtifactError, match=r"tracking\.mlflow cannot be opened: OSError: no such host"),
        copies(options, out=tmp_path, name="exp_1", settings={}, tags={}),
    ):
        pass


def test_tensorboard_itself_reads_what_was_written(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    copy = TensorBoardCopy(tmp_path, settings={"seed": 42})
    copy.epoch(EVENT)
    copy.result({"turnover": 0.1}, [])
    copy.close(finished=True)
    read = events.EventAccumulator(str(tmp_path / "2013-12-31" / "member-1")).Reload()
    assert {name: (s.step, s.value) for name in SENT for s in read.Scalars(name)} == {
        name: (2, pytest.approx(value, rel=1e-6)) for name, value in SENT.items()
    }


@pytest.mark.slow
def test_mlflow_itself_reads_what_was_written(tmp_path):
    pytest.importorskip("mlflow")
    import warnings

    (tmp_path / "run.json").write_text("{}")
    options = TrackingOptions(mlflow=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        with copies(options, out=tmp_path, name="exp_1", settings={"seed": 42}, tags={"kind": "run"}) as kept:
            kept(EVENT)
            kept._each(lambda copy: copy.result({"turnover": 0.1}, [tmp_path / "run.json"]))
        assert kept.notes == []
        client = tracking._mlflow().MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
        (run,) = client.search_runs([client.get_experiment_by_name("eigenfolio").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params) == ("exp_1", "FINISHED", {"seed": "42"})
    assert run.data.metrics == {
        **{f"2013-12-31/member-1/{name}": pytest.approx(value) for name, value in SENT.items()},
        "turnover": 0.1,
    }
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["run.json"]
