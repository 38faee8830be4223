"""Several processes train what one trains, and a GPU trains too."""

import json
import math
import os

import pytest
import torch
from distributed_training import every_rank, one_fails, stop_early, threads, train_tiny

from eigenfolio.errors import ParameterError
from eigenfolio.training.devices import launch, make_fabric
from eigenfolio.training.guards import TrainingError

needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="this torch has no gloo"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def same_bits(first, second):
    return all(
        all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(first["weights"], second["weights"], strict=True)
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What two processes got, by rank: alone, grouped, with batch normalisation, and resumed after a cut."""
    folder = tmp_path_factory.mktemp("resumed")
    with pytest.raises(TrainingError, match="stopped after epoch 2"):
        launch(stop_early, folder, 2, devices=2, accelerator="cpu")
    series = [{}, {"members": 2}, {"norm": True, "members": 2}, {"folder": folder}]
    ranks = launch(every_rank, *series, devices=2, accelerator="cpu")
    return dict(zip(("alone", "group", "norm", "resumed"), zip(*ranks, strict=True), strict=True)) | {"folder": folder}


@needs_gloo
@pytest.mark.slow
@pytest.mark.parametrize("run", ["alone", "group", "norm", "resumed"])
def test_the_processes_end_with_the_same_bits_and_the_same_record(runs, run):
    first, second = runs[run]
    assert same_bits(first, second)
    assert first["losses"] == second["losses"]


@needs_gloo
@pytest.mark.slow
@pytest.mark.parametrize(("run", "members"), [("alone", 1), ("group", 2)])
def test_two_processes_get_what_one_gets_to_rounding_with_an_odd_last_batch(runs, run, members):
    found, expected = runs[run][0], train_tiny(None, members=members)
    assert found["steps"] == expected["steps"] == [44] * members
    for member in range(members):
        for name, tensor in expected["weights"][member].items():
            torch.testing.assert_close(found["weights"][member][name], tensor, rtol=1e-5, atol=1e-5)
        for (train, validation), (other, held_out) in zip(
            found["losses"][member], expected["losses"][member], strict=True
        ):
            assert train == pytest.approx(other, rel=1e-5)
            assert validation == pytest.approx(held_out, rel=1e-5)


@needs_gloo
@pytest.mark.slow
def test_batch_normalisation_over_halves_learns_and_shares_its_statistics(runs):
    found = runs["norm"][0]
    for losses in found["losses"]:
        assert losses[-1][1]["total"] < 0.5 * losses[0][1]["total"]
    for weights in found["weights"]:
        assert weights["norm.num_batches_tracked"] > 0
        assert torch.isfinite(weights["norm.running_var"]).all()


@needs_gloo
@pytest.mark.slow
def test_the_first_process_alone_writes_checkpoints_and_all_resume_from_them(runs):
    first, second = runs["resumed"]
    assert first["written"] == [3, 4]
    assert second["written"] == []
    assert same_bits(first, runs["alone"][0])
    assert first["losses"] == runs["alone"][0]["losses"]
    lines = [json.loads(line) for line in (runs["folder"] / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]


@needs_gloo
@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_and_its_error_arrives():
    with pytest.raises(ParameterError, match="rank 1 of 2 fails"):
        launch(one_fails, devices=2, accelerator="cpu")


@needs_gloo
@pytest.mark.slow
def test_each_process_keeps_to_one_thread_and_a_large_result_arrives():
    found, process, blob = launch(threads, 1 << 22, devices=2, accelerator="cpu")
    assert found == 1
    assert process != os.getpid()
    assert len(blob) == 1 << 22


def test_one_device_runs_here_on_one_thread_and_gives_the_bits_of_a_run_without_fabric():
    before = torch.get_num_threads()
    assert launch(threads, 3, devices=1, accelerator="cpu") == (1, os.getpid(), b"xxx")
    assert torch.get_num_threads() == before
    assert same_bits(launch(train_tiny, devices=1, accelerator="cpu"), train_tiny(None))


def test_devices_that_are_not_there_are_refused():
    for call in (lambda **more: launch(threads, 3, **more), make_fabric):
        with pytest.raises(ParameterError, match=r"devices=99 on cuda, but this machine has \d+ GPU"):
            call(devices=99, accelerator="cuda")
        with pytest.raises(ParameterError, match="accelerator must be"):
            call(devices=1, accelerator="tpu")
        with pytest.raises(ParameterError, match="devices must be a whole number"):
            call(devices=0, accelerator="cpu")
    with pytest.raises(ParameterError, match=r"got 1; run the training function through launch"):
        make_fabric("cpu", devices=2)


@needs_gpu
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("members", [1, 2])
def test_on_a_gpu_the_loop_learns_and_resumes(tmp_path, precision, members):
    found = launch(train_tiny, devices=1, accelerator="cuda")
    for losses in found["losses"]:
        assert losses[-1][1]["total"] < 0.5 * losses[0][1]["total"]
    with pytest.raises(TrainingError, match="stopped"):
        train_tiny(make_fabric("cuda"), tmp_path, norm=True, members=members, precision=precision, stop=2)
    resumed = train_tiny(make_fabric("cuda"), tmp_path, norm=True, members=members, precision=precision)
    assert resumed["written"] == [3, 4]
    for losses in resumed["losses"]:
        assert math.isfinite(losses[-1][1]["total"])
        assert losses[-1][1]["total"] < 0.5 * losses[0][1]["total"]
