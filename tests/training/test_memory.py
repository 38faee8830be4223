"""The memory of a step is what was measured, and the batch is split so that it stays under the cap."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eigenfolio.errors import ParameterError
from eigenfolio.training.group import Group
from eigenfolio.training.memory import MemoryPlan, default_cap, is_out_of_memory, plan_memory

N_INPUTS, WIDTH, DEPTH = 20, 64, 6
FLOAT = 4  # bytes


def network(*, norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU between them; the last gives one number."""
    layers: list[nn.Module] = []
    for i in range(DEPTH):
        layers += [nn.Linear(WIDTH if i else N_INPUTS, WIDTH), nn.ReLU()]
        layers += [nn.BatchNorm1d(WIDTH)] * norm + [nn.Dropout(dropout)] * bool(dropout)
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def squared(call, batch: Tensor) -> SimpleNamespace:
    return SimpleNamespace(total=call(batch)[..., 0].square())  # (n_members, n)


X = torch.randn(8, N_INPUTS, generator=torch.Generator().manual_seed(0))


def plan(networks=None, *, take=None, loss=squared, **options) -> MemoryPlan:
    defaults = {"n_members": 1, "batch_size": 64, "cap_bytes": 10**9}
    networks = network() if networks is None else networks
    return plan_memory(networks, take or (lambda rows: X[rows]), loss, **{**defaults, **options})


def likelihood(call, batch: Tensor) -> SimpleNamespace:
    """Gaussian log-likelihood under a predicted covariance: several branches, and work outside the graph."""
    scale = 1.0 + call(batch).square()[..., None]  # (n_members, n, 1, 1)
    outer = batch[:, :, None] * batch[:, None, :]
    root = torch.linalg.cholesky(outer + scale * torch.eye(N_INPUTS))
    solved = torch.cholesky_solve(batch[:, :, None].expand(*root.shape[:-1], 1), root)[..., 0]
    return SimpleNamespace(total=(solved * batch).sum(-1) + 2.0 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1))


def measured_peak(net: nn.Module, loss, n: int) -> int:
    """Largest sum of live allocations during one step, from the trace of the allocator: the slow twin."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as trace:
        batch = X[torch.zeros(n, dtype=torch.long)]
        loss(lambda x: net(x)[None], batch).total.sum().backward()
    events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(sizes).max())


def test_the_bytes_of_a_sample_are_those_counted_by_hand():
    inputs, hidden, output = N_INPUTS, DEPTH * WIDTH, 1
    gradients = 2 * WIDTH  # a layer takes one and gives one
    by_hand = FLOAT * (inputs + hidden + output + gradients)
    assert plan().bytes_per_sample == pytest.approx(by_hand, rel=0.02)


def test_fixed_bytes_are_parameters_gradients_moments_rates_decays_and_the_best_state():
    net = network()
    parameters = FLOAT * sum(parameter.numel() for parameter in net.parameters())
    adam, sgd = plan(net), plan(net, n_moments=1)
    assert adam.parameters_bytes == parameters
    weight_gradient = FLOAT * WIDTH * (WIDTH + 1)  # of one layer, on its way to the gradients
    assert adam.fixed_bytes == pytest.approx(7 * parameters + weight_gradient, rel=0.02)
    assert adam.fixed_bytes - sgd.fixed_bytes == parameters


@pytest.mark.parametrize("loss", [squared, likelihood])
def test_the_peak_on_the_cpu_grows_as_planned(loss):
    net = network()
    small, large = measured_peak(net, loss, 1000), measured_peak(net, loss, 3000)
    planned = plan(net, loss=loss)
    assert planned.bytes_per_sample == pytest.approx((large - small) / 2000, rel=0.05)


def test_members_side_by_side_need_as_much_as_each_alone():
    alone, group = plan(), plan(n_members=3)
    assert group.parameters_bytes == 3 * alone.parameters_bytes
    assert group.bytes_per_sample == pytest.approx(3 * alone.bytes_per_sample, rel=0.1)
    assert plan([network() for _ in range(3)], n_members=3) == group
    assert plan(Group([network() for _ in range(3)]), n_members=3) == group


def test_a_cap_gives_the_fewest_passes_that_fit_and_equal_ones():
    free = plan(batch_size=64)
    assert (free.microbatch, free.accumulate) == (64, 1)

    def capped(n_fit: int, batch_size: int = 64) -> tuple[int, int]:
        cap = free.fixed_bytes + n_fit * free.bytes_per_sample
        found = plan(batch_size=batch_size, cap_bytes=cap)
        assert found.peak_bytes <= cap
        assert plan(batch_size=batch_size, cap_bytes=found.peak_bytes) == MemoryPlan(
            **{**vars(found), "cap_bytes": found.peak_bytes}
        )
        return found.microbatch, found.accumulate

    assert capped(64) == (64, 1)
    assert capped(63) == (32, 2)
    assert capped(30) == (22, 3)
    assert capped(1) == (1, 64)
    assert capped(3, batch_size=7) == (3, 3)
    assert capped(4, batch_size=5) == (3, 2)


def test_one_sample_that_does_not_fit_is_an_error_that_names_the_sizes():
    with pytest.raises(ParameterError, match=r"one sample needs .* the cap is .*; raise the cap"):
        plan(cap_bytes=7 * plan().parameters_bytes)


@pytest.mark.parametrize("n_members", [1, 2])
def test_planning_changes_neither_networks_nor_random_numbers(n_members):
    networks = [network(norm=True, dropout=0.5).eval() for _ in range(n_members)]
    before = [{name: tensor.clone() for name, tensor in net.state_dict().items()} for net in networks]
    random_state = torch.get_rng_state()
    plan(networks, n_members=n_members)
    assert torch.equal(torch.get_rng_state(), random_state)
    for net, state in zip(networks, before, strict=True):
        assert not net.training
        assert all(parameter.grad is None for parameter in net.parameters())
        assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_what_only_training_keeps_is_counted():
    assert plan(network(dropout=0.5)).bytes_per_sample > plan(network()).bytes_per_sample + FLOAT * WIDTH * DEPTH


def test_a_plain_network_is_called_with_a_leading_axis_of_members():
    seen = []

    def loss(call, batch):
        outputs = call(batch)
        seen.append(tuple(outputs.shape))
        return SimpleNamespace(total=outputs[..., 0])

    plan(loss=loss, batch_size=2)
    plan(loss=loss, batch_size=2, n_members=3)
    assert seen == [(1, 2, 1), (1, 4, 1), (3, 2, 1), (3, 4, 1)]


def test_the_data_set_a_batch_is_a_view_of_does_not_count_per_sample():
    wide = torch.zeros(10_000, N_INPUTS)
    view = plan(take=lambda rows: wide[: len(rows)])
    assert view.bytes_per_sample < plan().bytes_per_sample
    assert view.fixed_bytes > plan().fixed_bytes + wide.nbytes - 1000


def test_the_sample_that_stands_for_all_is_the_one_asked_for():
    seen = set()

    def take(rows: Tensor) -> Tensor:
        seen.update(rows.tolist())
        return X[rows]

    plan(take=take, row=5)
    assert seen == {5}


def test_a_loss_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match=r"shape \(n_members, n_samples\) = \(1, 2\), got \(1,\)"):
        plan(loss=lambda call, batch: SimpleNamespace(total=call(batch).mean(dim=(1, 2))))


def test_a_loss_without_the_network_is_refused():
    with pytest.raises(ParameterError, match="does not depend on the parameters"):
        plan(loss=lambda call, batch: SimpleNamespace(total=batch.sum(dim=1)[None]))


@pytest.mark.parametrize(
    "option", [{"batch_size": 0}, {"cap_bytes": 0}, {"n_members": 0}, {"n_moments": -1}, {"row": -1}, {"n_members": 3}]
)
def test_an_argument_out_of_range_is_named(option):
    with pytest.raises(ParameterError, match=next(iter(option))):
        plan([network(), network()], **{"n_members": 2, **option})


def test_the_description_is_one_line():
    free = plan(batch_size=64)
    half = plan(batch_size=64, cap_bytes=free.fixed_bytes + 32 * free.bytes_per_sample)
    assert free.describe().startswith("batch 64: ")
    assert half.describe().startswith("batch 64 in 2 passes of 32: ")


def test_by_default_half_of_the_memory_is_used():
    assert plan(cap_bytes=None).cap_bytes == default_cap("cpu") > 10**8


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((10**9,), np.dtype(float)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_running_out_of_memory_is_recognised(error):
    assert is_out_of_memory(error)


def test_a_real_failure_to_allocate_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("CUDA out of memory"), OSError(28, "disk")]
)
def test_another_error_is_not_taken_for_it(error):
    assert not is_out_of_memory(error)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_plan_covers_the_measured_peak():
    net, x = network().cuda(), X.cuda()
    found = plan(net, take=lambda rows: x[rows], batch_size=4096, device="cuda", cap_bytes=None)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    squared(lambda batch: net(batch)[None], x[torch.zeros(4096, dtype=torch.long)]).total.sum().backward()
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= found.fixed_bytes + 4096 * found.bytes_per_sample <= 1.5 * peak + found.fixed_bytes
