"""What is watched is what was logged: once, whole, and in whatever way the file came about."""

import json
import math
import threading
import time

import pytest
from rich.console import Console
from tiny_training import TinyNetwork, squared_error, tiny_samples

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.training.follow import EpochEvent, Follower, epoch_seconds, followed
from eigenfolio.training.live import LiveTraining
from eigenfolio.training.loop import EpochRecord, LoopOptions, fit

OPTIONS = LoopOptions(max_epochs=4, batch_size=32, learning_rate=1e-2, patience=2)


def train(folder=None, *, members=2, on_epoch=None):
    networks = [TinyNetwork(seed) for seed in range(members)]
    store = None if folder is None else CheckpointStore(folder, identity={"task": "tiny"})
    histories = fit(
        networks, tiny_samples(seed=0), squared_error, validation=tiny_samples(160, seed=1), options=OPTIONS, seed=3,
        store=store, on_epoch=on_epoch,
    )  # fmt: skip
    return networks, histories


def record(epoch, *, train=0.5, validation=0.4, seconds=2.0):
    losses = ({"total": train}, {"total": validation})
    return EpochRecord(epoch, seconds, 500.0, 3 * 10**8, 1e-3, *losses, {"first": 0.3, "last": 0.4})


def event(epoch, member=0, bundle="2013-12-31", **values):
    return EpochEvent(bundle, member, record(epoch, **values))


def log(path, *events):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"member": e.member, **vars(e.record)}) + "\n" for e in events]
    path.write_text("".join(lines))


def test_every_epoch_of_every_member_is_told_once_with_the_bits_of_the_history(tmp_path):
    told = []
    with followed(tmp_path, [told.append], every=0.01):
        _, histories = train(tmp_path / "2013-12-31")
    assert {(e.bundle, e.member, e.record.epoch) for e in told} == {
        ("2013-12-31", member, epoch.epoch) for member in (0, 1) for epoch in histories[member].epochs
    }
    assert len(told) == sum(len(history.epochs) for history in histories)
    assert all(e.record == histories[e.member].epochs[e.record.epoch] for e in told)


def test_epochs_are_told_while_the_training_goes_on(tmp_path):
    heard = threading.Event()
    waited = []
    with followed(tmp_path, [lambda e: heard.set()], every=0.01):
        train(tmp_path / "2013-12-31", on_epoch=lambda epoch: waited.append(heard.wait(10)))
    assert all(waited)


def test_watching_changes_no_bit(tmp_path):
    alone, _ = train()
    with followed(tmp_path, [lambda e: None], every=0.001):
        watched, _ = train(tmp_path / "2013-12-31")
    for one, two in zip(alone, watched, strict=True):
        assert {k: v.tolist() for k, v in one.state_dict().items()} == {
            k: v.tolist() for k, v in two.state_dict().items()
        }


def test_nobody_listening_starts_no_thread(tmp_path):
    before = threading.active_count()
    with followed(tmp_path, []):
        assert threading.active_count() == before


def test_half_a_line_waits_and_a_file_that_was_cut_back_is_told_no_epoch_twice(tmp_path):
    path = tmp_path / "2013-12-31" / "metrics.jsonl"
    follower = Follower(tmp_path)
    log(path, event(0), event(1), event(2))
    path.write_text(path.read_text()[:-20])
    assert [e.record.epoch for e in follower.new()] == [0, 1]
    log(path, event(0), event(1))  # what a resumed run does before it goes on
    assert follower.new() == []
    log(path, event(0), event(1), event(2), event(3))
    assert [e.record.epoch for e in follower.new()] == [2, 3]
    assert follower.new() == []


def test_a_loss_that_json_could_not_hold_is_nan_again(tmp_path):
    path = tmp_path / "2013-12-31" / "metrics.jsonl"
    log(path, event(0))
    path.write_text(path.read_text().replace("0.4}, ", "null}, ", 1))
    (told,) = Follower(tmp_path).new()
    assert math.isnan(told.record.validation["total"])


def test_time_is_counted_once_for_members_that_train_together(tmp_path):
    log(tmp_path / "a" / "metrics.jsonl", event(0, seconds=0.0), event(1, seconds=2.0), event(1, 1, seconds=2.0))
    log(tmp_path / "b" / "metrics.jsonl", event(1, seconds=5.0))
    assert epoch_seconds(tmp_path) == {"a": 2.0, "b": 5.0}


def test_a_row_is_worked_by_hand():
    live = LiveTraining(2, OPTIONS)
    for told in (
        event(0, validation=0.9), event(0, 1, validation=0.9),
        event(1, validation=0.4), event(1, 1, validation=0.8),
        event(2, validation=0.5, train=0.3, seconds=4.0), event(2, 1, validation=0.7, train=0.5, seconds=4.0),
    ):  # fmt: skip
        live(told)
    (row,) = live.rows
    assert (row.bundle, row.networks, row.epoch, row.best_epoch) == ("2013-12-31", "2/2", "2/4", "1-2")
    assert (row.train, row.validation) == pytest.approx((0.4, 0.6))
    assert row.gradient_norm == pytest.approx(0.5)
    assert row.seconds_left == pytest.approx(2 * 3.0)
    live(event(3, validation=0.5))
    live(event(3, 1, validation=0.8))
    assert live.rows[0].networks == "1/2"  # the first has run out of patience
    live(event(4, 1, validation=0.8))
    assert live.rows[0].seconds_left == 0.0


def test_a_loss_that_is_not_better_by_the_least_improvement_is_not_the_best():
    live = LiveTraining(1, OPTIONS.model_copy(update={"min_delta": 0.1}))
    for epoch, loss in enumerate((0.9, 0.85, 0.75, 0.7)):
        live(event(epoch, validation=loss))
    assert live.rows[0].best_epoch == "2"


def test_the_best_epochs_shown_are_those_that_were_kept(tmp_path):
    live = LiveTraining(2, OPTIONS)
    with followed(tmp_path, [live]):
        _, histories = train(tmp_path / "2013-12-31")
    best = sorted(history.best_epoch for history in histories)
    assert live.rows[0].best_epoch == (str(best[0]) if best[0] == best[1] else f"{best[0]}-{best[1]}")
    assert live.rows[0].seconds_left == 0.0


def test_the_table_fits_a_narrow_terminal_and_shows_the_newest_eight_bundles():
    live = LiveTraining(12, LoopOptions(max_epochs=100))
    for number in range(10):
        live(event(0, bundle=f"20{number:02}-12-31"))
        live(event(17, bundle=f"20{number:02}-12-31", train=-10.1234, validation=-10.1234, seconds=100.0))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(live)
    lines = shown.get().splitlines()
    assert " ".join(lines[0].split()) == "through nets epoch train valid best rate grad pace memory left"
    assert [line.split()[0] for line in lines[1:]] == [f"20{n:02}-12-31" for n in range(2, 10)]
    assert " ".join(lines[1].split()[1:]) == "1/12 17/100 -10.1234 -10.1234 17 1.0e-03 0.5 500/s 0.3 GB 2.3 h"
    assert "…" not in shown.get()


def test_looking_costs_little(tmp_path):
    path = tmp_path / "2013-12-31" / "metrics.jsonl"
    log(path, *(event(epoch, member) for epoch in range(40) for member in range(8)))
    follower = Follower(tmp_path)
    assert len(follower.new()) == 320
    began = time.perf_counter()
    for _ in range(100):
        follower.new()
    assert (time.perf_counter() - began) / 100 < 0.01
