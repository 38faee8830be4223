"""Figures that the sources name: a loss that can be reached, a time, and the memory of a GPU."""

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from tiny_training import TinyNetwork, squared_error, tiny_samples

from eigenfolio.training import LoopOptions, ScheduleOptions, ShrinkageTraining, WindowOptions, train_shrinkage
from eigenfolio.training.loop import TensorSamples, _peak_memory, fit
from eigenfolio.training.memory import default_cap
from eigenfolio.training.shrinkage import plan_training


def noiseless(n_samples, seed):
    x = tiny_samples(n_samples, seed=seed).tensors["x"]
    return TensorSamples({"x": x, "y": 0.01 * (x @ torch.linspace(-1.0, 1.0, 6))})


def test_noiseless_moves_of_the_size_of_returns_are_learned_to_a_validation_loss_of_two_millionths():
    options = LoopOptions(max_epochs=40, patience=40, batch_size=32, learning_rate=5e-3)
    network = TinyNetwork(0, norm=False, dropout=0.0)
    with torch.no_grad():
        network.last.weight.mul_(0.01)  # answers of the size of the target
    (history,) = fit([network], noiseless(640, 0), squared_error, validation=noiseless(160, 1), options=options, seed=3)
    assert float(noiseless(160, 1).tensors["y"].square().mean()) > 2e-4
    assert history.best.validation["total"] < 2e-6


def test_a_model_on_a_small_data_set_trains_in_less_than_eleven_seconds():
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((1300, 1)) + rng.standard_normal((1300, 16)))
    X = pd.DataFrame(moves, index=pd.bdate_range("2000-01-03", periods=1300))
    options = ShrinkageTraining(
        n_members=1,
        schedule=ScheduleOptions(first_months=36),
        windows=WindowOptions(n_windows=754, n_validation_windows=251, max_lookback=252),  # as in the sources
    )
    fold = plan_training(pd.DatetimeIndex(X.index), options.schedule, n_rows=len(X))[0]
    began = time.process_time()  # of this process: others may be busy
    trained = train_shrinkage(X, fold, options=options, seed=1)
    assert len(trained.histories[0].epochs) > 1
    assert time.process_time() - began < 11.0


def test_a_gpu_is_used_up_to_eleven_gigabytes_and_a_smaller_one_to_its_size(monkeypatch):
    for memory, cap in ((12 * 10**9, 11 * 10**9), (141 * 10**9, 11 * 10**9), (8 * 10**9, 8 * 10**9)):
        properties = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, found=properties: found)
        assert default_cap("cuda") == cap


def test_the_memory_of_every_epoch_is_that_of_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123 if device.type == "cuda" else 0)
    assert _peak_memory(torch.device("cuda")) == 123
    assert _peak_memory(torch.device("cpu")) > 10**7
