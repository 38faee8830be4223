"""The loop: it learns, stops, restores, repeats, resumes, refuses and raises the alarm."""

import copy
import json
import math
import os
import random
import signal
import time

import pytest
import torch
from tiny_training import TinyNetwork, squared_error, tiny_samples
from torch import nn

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.training.loop import LoopOptions, Loss, TensorSamples, TrainingError, fit
from eigenfolio.training.optimisers import SGD, Adam, AdamW
from eigenfolio.training.schedules import Constant, Cosine, CosineRestarts, Exponential, OneCycle, Plateau, Step

TRAIN, VALIDATION = tiny_samples(seed=0), tiny_samples(160, seed=1)
OPTIONS = LoopOptions(max_epochs=6, batch_size=32, learning_rate=1e-2)


def train(networks, *, options=OPTIONS, samples=TRAIN, validation=VALIDATION, loss=squared_error, seed=3, **more):
    return fit(networks, samples, loss, validation=validation, options=options, seed=seed, **more)


def bits(network: nn.Module) -> dict[str, list]:
    return {name: tensor.tolist() for name, tensor in network.state_dict().items()}


def score(network: nn.Module) -> float:
    with torch.no_grad():
        batch = VALIDATION.tensors
        return float(((network(batch["x"]) - batch["y"]) ** 2).mean())


def test_it_learns_a_planted_signal_and_nothing_where_there_is_none():
    network = TinyNetwork(0)
    (history,) = train([network])
    assert history.best.validation["total"] < 0.2 * history.start.validation["total"]
    assert score(network) == pytest.approx(history.best.validation["total"], rel=1e-5)
    null, null_validation = tiny_samples(signal=0.0, seed=5), tiny_samples(400, signal=0.0, seed=6)
    (history,) = train([TinyNetwork(0)], samples=null, validation=null_validation)
    noise = float(null_validation.tensors["y"].square().mean())
    assert history.best.validation["total"] > 0.95 * noise


@pytest.mark.parametrize("optimiser", [AdamW(), Adam(weight_decay=1e-4), SGD()])
@pytest.mark.parametrize(
    "schedule",
    [OneCycle(), Cosine(), CosineRestarts(period=2), Step(every=2), Exponential(), Plateau(patience=1), Constant()],
    ids=lambda rule: rule.name,
)
def test_every_optimiser_and_schedule_learns(optimiser, schedule):
    options = OPTIONS.model_copy(update={"optimiser": optimiser, "schedule": schedule})
    (history,) = train([TinyNetwork(0)], options=options)
    assert history.best.validation["total"] < 0.5 * history.start.validation["total"]


def test_the_same_seed_gives_the_same_bits_twice_in_one_process_and_another_seed_does_not():
    results = []
    for seed in (3, 3, 4):
        network = TinyNetwork(0)
        train([network], seed=seed)
        results.append(bits(network))
    assert results[0] == results[1] != results[2]


def test_training_leaves_the_global_random_state_alone():
    network = TinyNetwork(0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train([network])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("norm", "tolerance"), [(False, 1e-4), (True, 2e-2)], ids=["plain", "batch norm"])
def test_a_group_gives_every_member_what_it_gets_alone(norm, tolerance):
    # Under batch normalisation the biases before it have no gradient but rounding, which Adam scales up.
    rates = (3e-3, 1e-2, 2e-2)
    plans = [
        OPTIONS.model_copy(update={"learning_rate": rate, "optimiser": AdamW(weight_decay=10 * rate)}) for rate in rates
    ]
    together = [TinyNetwork(seed, norm=norm) for seed in range(3)]
    histories = train(together, options=plans)
    for seed, (plan, network, history) in enumerate(zip(plans, together, histories, strict=True)):
        alone = TinyNetwork(seed, norm=norm)
        (expected,) = train([alone], options=plan)
        assert history.best.validation["total"] == pytest.approx(expected.best.validation["total"], rel=tolerance)
        with torch.no_grad():
            x = VALIDATION.tensors["x"]
            torch.testing.assert_close(network(x), alone(x), rtol=5 * tolerance, atol=tolerance)


def test_members_may_differ_in_rate_and_decay_only():
    with pytest.raises(ParameterError, match="learning_rate and weight_decay only"):
        train([TinyNetwork(0), TinyNetwork(1)], options=[OPTIONS, OPTIONS.model_copy(update={"batch_size": 16})])
    with pytest.raises(ParameterError, match="one per network"):
        train([TinyNetwork(0)], options=[OPTIONS, OPTIONS])
    with pytest.raises(ParameterError, match="same shapes"):
        train([TinyNetwork(0), TinyNetwork(1, width=8)])


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    whole, parts = TinyNetwork(0, norm=False, dropout=0.0), TinyNetwork(0, norm=False, dropout=0.0)
    train([whole])
    train([parts], options=OPTIONS.model_copy(update={"accumulate": 4}))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_by_norm():
    free = OPTIONS.model_copy(update={"optimiser": SGD(momentum=0.0), "schedule": Constant(), "max_epochs": 1})
    samples = TensorSamples({"x": TRAIN.tensors["x"][:32], "y": 1e3 * TRAIN.tensors["y"][:32]})
    steps = {}
    for clip in (None, 1.0):
        network = TinyNetwork(0, norm=False, dropout=0.0)
        before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
        train([network], samples=samples, validation=samples, options=free.model_copy(update={"clip_norm": clip}))
        steps[clip] = (torch.cat([p.detach().flatten() for p in network.parameters()]) - before).norm().item()
    assert steps[1.0] == pytest.approx(1e-2, rel=1e-3)
    assert steps[None] > 1.0


def test_early_stopping_restores_the_best_state():
    options = LoopOptions(max_epochs=60, batch_size=32, learning_rate=5e-2, patience=3, schedule=Constant())
    network = TinyNetwork(0)
    (history,) = train([network], options=options)
    losses = [record.validation["total"] for record in history.epochs]
    assert history.stopped == "patience"
    assert len(losses) == history.best_epoch + 4
    assert score(network) == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_too(precision):
    (history,) = train([TinyNetwork(0)], options=OPTIONS.model_copy(update={"precision": precision}))
    assert history.best.validation["total"] < 0.3 * history.start.validation["total"]


def test_every_epoch_leaves_losses_rate_gradients_pace_memory_and_time():
    (history,) = train([TinyNetwork(0)])
    for record in history.epochs[1:]:
        assert set(record.train) == set(record.validation) == {"total", "squared_error"}
        assert set(record.gradient_norms) == {"first", "norm", "last"}
        assert min(record.gradient_norms.values()) > 0
        assert min(record.seconds, record.samples_per_second, record.peak_memory, record.learning_rate) > 0
    assert history.n_steps == 60
    json.dumps(history.to_rows(), allow_nan=False)


class Exploding(TinyNetwork):
    def forward(self, x):
        out = super().forward(x)
        return out + torch.log(self.last.bias - 1.0) if self.training else out


def test_a_loss_that_is_not_finite_stops_with_a_diagnosis():
    with pytest.raises(TrainingError, match=r"epoch 1, step 0: the output of block 'network' is the first"):
        train([Exploding(0)])

    def broken(call, batch):
        error = (call(batch["x"]) - batch["y"]) ** 2
        part = torch.log(-error)
        return Loss(error + part, {"squared_error": error, "shape": part})

    def broken_in_training(call, batch):
        return broken(call, batch) if len(batch["x"]) == 32 else squared_error(call, batch)

    with pytest.raises(TrainingError, match="the loss part 'shape' is not"):
        train([TinyNetwork(0)], loss=broken_in_training, validation=tiny_samples(100))


def test_a_bad_batch_is_skipped_and_counted_and_many_fail_the_run():
    def with_nan(n_bad):
        x = TRAIN.tensors["x"].clone()
        x[:n_bad] = math.nan
        return TensorSamples({"x": x, "y": TRAIN.tensors["y"]})

    long = OPTIONS.model_copy(update={"max_epochs": 40, "batch_size": 2, "patience": 99})
    with pytest.raises(TrainingError, match=r"batches had inputs that are not finite \(x\), more than 1%"):
        train([TinyNetwork(0)], samples=with_nan(200), options=long)
    network = TinyNetwork(0)
    (history,) = train([network], samples=with_nan(1), options=long)
    assert history.n_bad == 40
    assert history.n_steps == 40 * 159
    assert math.isfinite(score(network))


def test_alarms_name_what_makes_a_result_doubtful():
    class Dead(TinyNetwork):
        def forward(self, x):
            return self.last(torch.zeros_like(self.first(x)))[:, 0] + 0.0 * self.first(x).sum(dim=1)

    (history,) = train([Dead(0)])
    assert any("dead gradient: block 'first'" in alarm for alarm in history.alarms)
    assert any("constant output" in alarm for alarm in history.alarms)
    opposite = TensorSamples({"x": VALIDATION.tensors["x"], "y": -VALIDATION.tensors["y"]})
    (history,) = train([TinyNetwork(0)], validation=opposite)  # what is learned is wrong where it is judged
    assert history.best_epoch == 0
    assert any("untrained model" in alarm for alarm in history.alarms)
    (history,) = train([TinyNetwork(0)])
    assert history.alarms == ()


def test_out_of_memory_halves_the_parts_and_says_so():
    def heavy(call, batch):
        if torch.is_grad_enabled() and len(batch["x"]) > 8:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
        return squared_error(call, batch)

    network = TinyNetwork(0, norm=False, dropout=0.0)
    (history,) = train([network], loss=heavy, validation=tiny_samples(33, seed=1))
    assert any("computed in 4 parts" in alarm for alarm in history.alarms)
    twin = TinyNetwork(0, norm=False, dropout=0.0)
    train([twin], validation=tiny_samples(33, seed=1))
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_that_is_cut_off_after_any_epoch_goes_on_to_the_same_bits(tmp_path):
    whole = TinyNetwork(0)
    (expected,) = train([whole])
    for stop in range(1, OPTIONS.max_epochs):
        store = CheckpointStore(tmp_path / str(stop), identity={"task": "tiny"})

        def cut(epoch, stop=stop):
            if epoch == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train([TinyNetwork(0)], store=store, on_epoch=cut)
        network = TinyNetwork(99)  # whatever it starts from, the checkpoint decides
        (history,) = train([network], store=CheckpointStore(tmp_path / str(stop), identity={"task": "tiny"}))
        assert bits(network) == bits(whole)
        assert [r.validation for r in history.epochs] == [r.validation for r in expected.epochs]


def test_killed_at_twenty_random_moments_it_resumes_to_the_same_bits(tmp_path):
    options = LoopOptions(max_epochs=30, batch_size=16, learning_rate=1e-2, patience=30)
    whole = TinyNetwork(0)
    began = time.perf_counter()
    train([whole], options=options, store=CheckpointStore(tmp_path / "whole", identity={"task": "tiny"}))
    took = time.perf_counter() - began
    chance = random.Random(0)
    kills = 0
    attempt = 0
    while kills < 20:
        attempt += 1
        folder = tmp_path / f"killed{attempt}"
        for _ in range(chance.randint(1, 3)):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # never outlive the test
                train([TinyNetwork(0)], options=options, store=CheckpointStore(folder, identity={"task": "tiny"}))
                os._exit(0)
            time.sleep(chance.uniform(0.0, took))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            kills += os.WIFSIGNALED(status)
        network = TinyNetwork(0)
        train([network], options=options, store=CheckpointStore(folder, identity={"task": "tiny"}))
        assert bits(network) == bits(whole)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train([TinyNetwork(0)], store=CheckpointStore(tmp_path, identity={"task": "tiny", "seed": 1}))
    with pytest.raises(ArtifactError, match="seed"):
        train([TinyNetwork(0)], store=CheckpointStore(tmp_path, identity={"task": "tiny", "seed": 2}))


def test_networks_own_their_weights_afterwards():
    network = TinyNetwork(0)
    train([network])
    copied = copy.deepcopy(network)
    with torch.no_grad():
        network.first.weight.zero_()
    assert copied.first.weight.abs().sum() > 0
    assert network.last.weight.is_contiguous()
