"""A run that is killed at any moment finds its last checkpoint whole, and nobody else's."""

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eigenfolio.artifacts.checkpoints import FORMAT, CheckpointStore, load_checkpoint
from eigenfolio.errors import ArtifactError, ParameterError

IDENTITY = {"options": {"learning_rate": 0.01, "sizes": (8, 4)}, "seed": 7}


def tensors_of(step: int) -> dict[str, np.ndarray]:
    return {"weights": np.full((40, 50), step, dtype=np.float32), "step": np.array(step)}


def store_in(folder: Path, **changes) -> CheckpointStore:
    return CheckpointStore(folder, **{"identity": IDENTITY, **changes})


def save(store: CheckpointStore, step: int, *, epoch: int | None = None, best=False, boundary=True) -> None:
    epoch = step if epoch is None else epoch
    store.save(tensors_of(step), {"step": step}, epoch=epoch, step=step, best=best, boundary=boundary)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def epochs_logged(folder: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def saved(tmp_path) -> Path:
    """The file of a store with one checkpoint."""
    save(store_in(tmp_path), 3)
    return tmp_path / "last.safetensors"


def refused(path: Path, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        store_in(path.parent).load_last()


def test_a_checkpoint_comes_back_with_the_same_bits_types_and_shapes(tmp_path):
    tensors = {
        "double": np.array([0.1, -0.0, np.nan, np.inf, 5e-324]),
        "single": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "int": np.array([-(2**63), 2**63 - 1]),
        "bytes": np.arange(256, dtype=np.uint8),
        "flags": np.array([True, False]),
        "scalar": np.array(1.5, dtype=np.float32),
        "count": np.array(9),
        "flag": np.array(True),
        "empty": np.zeros((0, 3)),
    }
    state = {"a": [1, 0.1 + 0.2, None, True], "bits": 2**127 + 1, "loss": float("inf"), "text": 'é "\\'}
    store_in(tmp_path).save(tensors, state, epoch=2, step=31, best=False, boundary=False)
    loaded = store_in(tmp_path).load_last()
    assert loaded is not None
    assert (loaded.state, loaded.epoch, loaded.step) == (state, 2, 31)
    assert set(loaded.tensors) == set(tensors)
    for name, array in tensors.items():
        found = loaded.tensors[name]
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert found.flags.writeable


def test_the_same_content_is_the_same_file(tmp_path):
    for name, order in (("a", 1), ("b", -1)):
        tensors = dict(list(tensors_of(1).items())[::order])
        store_in(tmp_path / name).save(tensors, {"x": 1}, epoch=1, step=1, best=False, boundary=True)
    assert (tmp_path / "a/last.safetensors").read_bytes() == (tmp_path / "b/last.safetensors").read_bytes()


def test_an_empty_store_has_no_checkpoint_and_makes_no_folder(tmp_path):
    store = store_in(tmp_path / "run")
    assert store.load_last() is None
    assert store.load_best() is None
    store.rewind(-1)
    store.clear()
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child only saves
def test_a_kill_at_any_moment_leaves_the_last_checkpoint_whole(tmp_path):
    delays = random.Random(0)
    step = 0
    for _ in range(20):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store = store_in(tmp_path)
                for number in itertools.count(step + 1):
                    save(store, number, best=True)
                    os.write(writer, number.to_bytes(4, "little"))
            finally:
                os._exit(1)
        os.close(writer)
        acknowledged = os.read(reader, 4)  # at least one was saved
        time.sleep(delays.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        while more := os.read(reader, 1 << 16):
            acknowledged += more
        os.close(reader)
        done = int.from_bytes(acknowledged[-4:], "little")
        assert set(names(tmp_path)) <= {"last.safetensors", "best.safetensors", ".checkpoint.partial"}
        store = store_in(tmp_path)
        assert names(tmp_path) == ["best.safetensors", "last.safetensors"]
        last, best = store.load_last(), store.load_best()
        assert last is not None
        assert best is not None
        assert last.step in (done, done + 1)  # saved and said so, or killed before saying so
        assert best.step in (last.step, last.step + 1)  # never behind
        for found in (last, best):
            assert found.state == {"step": found.step}
            for name, array in tensors_of(found.step).items():
                np.testing.assert_array_equal(found.tensors[name], array, strict=True)
        step = last.step


def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    save(store, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        save(store, 2)
    assert names(tmp_path) == ["last.safetensors"]
    last = store.load_last()
    assert last is not None
    assert last.step == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot be written .*choose another folder"):
        save(store_in(tmp_path / "file" / "run"), 1)


@pytest.mark.parametrize("length", [0, 5, 8, 60, -4000, -1])
def test_a_truncated_checkpoint_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    refused(saved, "is truncated")


def test_a_checkpoint_with_any_byte_changed_is_refused(saved):
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for position in [*range(8, header, 7), header, header + 4001, len(content) - 1]:
        if content[position : position + 1] == b" ":  # padding of the header says nothing
            continue
        changed = bytearray(content)
        changed[position] ^= 1
        saved.write_bytes(bytes(changed))
        with pytest.raises(ArtifactError):
            store_in(saved.parent).load_last()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"\"seed\": 7", rb"\"seed\": 8"),
        (rb"\"step\": 3", rb"\"step\": 4"),
        (rb"\"epoch\": 3", rb"\"epoch\": 4"),
        (b'"weights"', b'"weightz"'),
        (b"[40,50]", b"[50,40]"),
        (b'"F32"', b'"I32"'),
    ],
)
def test_a_header_that_was_edited_is_refused(saved, old, new):
    content = saved.read_bytes()
    assert old in content
    saved.write_bytes(content.replace(old, new))
    refused(saved, "was changed after it was written")


def test_bytes_after_the_end_are_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved, "was changed after it was written")


def test_an_old_format_is_refused_with_both_names(saved):
    saved.write_bytes(saved.read_bytes().replace(FORMAT.encode(), b"eigenfolio-checkpoint-0"))
    refused(saved, f"has format 'eigenfolio-checkpoint-0', this version reads '{FORMAT}'")


@pytest.mark.parametrize("content", [b"epoch,loss\n1,0.5\n" * 9, b"\x80\x04\x95" + bytes(90), b'{"a": 1}'])
def test_another_file_is_not_a_checkpoint(saved, content):
    saved.write_bytes(content)
    refused(saved, "is not a checkpoint")


def test_plain_weights_are_not_a_checkpoint(saved):
    save_file(tensors_of(1), saved)
    refused(saved, "is not a checkpoint")
    save_file(tensors_of(1), saved, metadata={"format": "pt"})
    refused(saved, "is not a checkpoint")


def test_a_foreign_identity_is_refused_with_the_key_and_both_values(saved):
    other = {"options": {"learning_rate": 0.02, "sizes": (8, 4)}, "seed": 7}
    with pytest.raises(
        ArtifactError, match=r"another run: options.learning_rate is 0.01 in the checkpoint and 0.02 here"
    ):
        store_in(saved.parent, identity=other).load_last()
    with pytest.raises(ArtifactError, match="seed is 7 in the checkpoint and absent here"):
        store_in(saved.parent, identity={"options": IDENTITY["options"]}).load_last()


def test_a_checkpoint_can_be_read_without_knowing_its_run(saved):
    assert load_checkpoint(saved).step == 3
    with pytest.raises(ArtifactError, match="cannot be read: No such file"):
        load_checkpoint(saved.parent / "none.safetensors")


def test_the_best_and_every_second_epoch_are_kept(tmp_path):
    store = store_in(tmp_path, keep_every=2)
    for epoch in range(1, 6):
        save(store, 10 * epoch - 5, epoch=epoch - 1, boundary=False)
        save(store, 10 * epoch, epoch=epoch, best=epoch == 3)
    assert names(tmp_path) == [
        "best.safetensors", "epoch_0002.safetensors", "epoch_0004.safetensors", "last.safetensors",
    ]  # fmt: skip
    steps = [load_checkpoint(tmp_path / name).step for name in names(tmp_path)]
    assert steps == [30, 20, 40, 50]
    best = store.load_best()
    assert best is not None
    assert best.epoch == 3


def test_a_negative_keep_every_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="keep_every"):
        store_in(tmp_path, keep_every=-1)


def test_metrics_are_cut_back_to_the_epoch_resumed_from(tmp_path):
    store = store_in(tmp_path)
    for epoch in range(4):
        for member in range(2):
            store.log({"epoch": epoch, "member": member, "loss": 1 / (epoch + 3)})
    store.rewind(2)
    assert epochs_logged(tmp_path) == [0, 0, 1, 1, 2, 2]
    store.log({"epoch": 3, "member": 0, "loss": 0.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[5]) == {"epoch": 2, "member": 1, "loss": 0.2}
    assert epochs_logged(tmp_path) == [0, 0, 1, 1, 2, 2, 3]
    store.rewind(-1)
    assert epochs_logged(tmp_path) == []


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    store = store_in(tmp_path)
    store.log({"epoch": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "lo')
    store.rewind(1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n'


def test_a_line_that_is_no_record_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\nhello\n')
    with pytest.raises(ArtifactError, match=r"metrics.jsonl, line 2"):
        store_in(tmp_path).rewind(1)


def test_a_loss_that_is_not_finite_is_null_in_the_metrics(tmp_path):
    store_in(tmp_path).log({"epoch": 1, "loss": {"total": float("nan"), "parts": (float("inf"), 1.0)}})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == {"total": None, "parts": [None, 1.0]}


def test_a_record_without_an_epoch_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="integer 'epoch'"):
        store_in(tmp_path).log({"loss": 1.0})


def test_clearing_leaves_what_is_not_ours(tmp_path):
    store = store_in(tmp_path, keep_every=1)
    save(store, 1, best=True)
    store.log({"epoch": 1})
    (tmp_path / "notes.txt").write_text("mine")
    store.clear()
    assert names(tmp_path) == ["notes.txt"]
    assert store.load_last() is None


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"groups": {0: 1.0}}, r"state.groups has the key 0; JSON needs text keys"),
        ({"rng": [np.int64(3)]}, r"state.rng\[0\] is a int64, which is not JSON"),
        ({"weights": np.zeros(2)}, "arrays belong to the tensors"),
    ],
)
def test_a_state_that_json_would_change_is_refused(tmp_path, state, message):
    with pytest.raises(ArtifactError, match=message):
        store_in(tmp_path).save({}, state, epoch=0, step=0, best=False, boundary=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(2, dtype=">f8"), np.zeros(1, "c16")])
def test_an_array_that_cannot_be_stored_is_refused_by_name(tmp_path, array):
    with pytest.raises(ArtifactError, match="tensor 'x' of dtype"):
        store_in(tmp_path).save({"x": array}, {}, epoch=0, step=0, best=False, boundary=True)
    assert names(tmp_path) == []


def test_an_identity_that_never_equals_itself_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"identity\.rate is nan; it must be finite"):
        store_in(tmp_path, identity={"rate": float("nan")})
