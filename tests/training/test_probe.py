"""A few steps tell what a training would take, and change nothing."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError
from eigenfolio.training import LoopOptions, ScheduleOptions, ShrinkageTraining, WindowOptions, plan_training
from eigenfolio.training.memory import MemoryPlan
from eigenfolio.training.probe import Probe, probe_shrinkage

SMALL = ShrinkageTraining(
    n_members=2,
    schedule=ScheduleOptions(first_months=24, validation_months=6),
    windows=WindowOptions(n_windows=64, n_validation_windows=16, min_assets=4, max_assets=10, max_lookback=120),
    loop=LoopOptions(max_epochs=2, batch_size=16),
)


@pytest.fixture(scope="module")
def returns():
    return factor_market(10, 700).panel.returns


@pytest.fixture(scope="module")
def probe(returns):
    return probe_shrinkage(returns, fold_of(returns), options=SMALL, seed=0)


def fold_of(returns):
    return plan_training(pd.DatetimeIndex(returns.index), SMALL.schedule, n_rows=len(returns))[0]


def test_a_probe_learns_a_little_and_measures_everything(probe):
    assert np.isfinite(probe.losses).all()
    assert probe.moved > 0.0
    assert set(probe.gradient_norms) == {"gains", "blocks.0", "blocks.1", "blocks.2", "output"}
    assert min(probe.gradient_norms.values()) > 0.0
    assert probe.largest_universe == 10
    assert min(probe.step_seconds, probe.evaluation_seconds) > 0.0


def test_parameters_are_those_of_the_network(probe):
    sizes = [31, 128, 64, 32]
    dense = sum(a * b + b for a, b in pairwise(sizes))
    norms = sum(2 * size for size in sizes[1:])
    shortcuts = 128 * 64 + 64 * 32
    assert probe.n_parameters == dense + norms + shortcuts + (32 * 5 + 5) + 3


def test_the_time_of_a_fold_is_the_sum_of_its_parts():
    plan = MemoryPlan(1, 1, 1, 100, batch_size=16, microbatch=16, accumulate=1)
    probe = Probe(1, 0.01, 0.2, 0.001, 500, 10, plan, (0.0,), {}, 1.0)
    member = 64 * (0.01 + 0.001) + 2 * (4 * 0.2 + 16 * 0.001)
    assert probe.fold_seconds(SMALL) == pytest.approx(2 * member + 16 * 0.01)
    assert probe.set_bytes(SMALL) == 500 * 80


def test_a_probe_leaves_the_random_state_and_the_returns_as_they_were(returns):
    before, state = returns.copy(), torch.get_rng_state()
    probe_shrinkage(returns, fold_of(returns), options=SMALL, seed=0)
    pd.testing.assert_frame_equal(returns, before)
    assert torch.equal(state, torch.get_rng_state())


def test_a_probe_does_not_see_rows_after_the_fold(returns, probe):
    fold = fold_of(returns)
    altered = returns.copy()
    altered.iloc[fold.last_row + 1 :] = np.nan
    again = probe_shrinkage(altered, fold, options=SMALL, seed=0)
    assert again.losses == probe.losses
    assert again.moved == probe.moved


def test_a_constant_table_cannot_be_probed(returns):
    with pytest.raises(DataError, match="windows could be drawn"):
        probe_shrinkage(returns * 0.0, fold_of(returns), options=SMALL, seed=0)


def test_a_universe_that_never_moves_together_is_left_out_of_the_memory_plan(returns):
    idle = returns.copy()
    idle.iloc[:, 0] = 0.0
    assert probe_shrinkage(idle, fold_of(returns), options=SMALL, seed=0).largest_universe < 10
