"""Members computed side by side are the members computed alone."""

import pytest
import torch
from torch import Tensor, nn

from eigenfolio.models.networks import DenseShrinkageNetwork, SeededDropout
from eigenfolio.training.group import Group
from eigenfolio.training.stacked import is_stackable


class _BatchAlone(nn.Sequential):
    """Batch normalisation by the batch at hand, in training and after it."""

    members_first = True

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2))


class _Tokens(nn.Module):
    """Dense layers on (batch, n_tokens, n_features), a layer norm, and a mean over the tokens."""

    members_first = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.outer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.norm(nn.functional.gelu(self.inner(x))).mean(dim=-2))


class _Foreign(nn.Module):
    """A custom forward that says nothing about members."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)[:, 0]


def _perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 5), nn.BatchNorm1d(5), nn.LeakyReLU(0.2), SeededDropout(0.3),
        nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False), nn.ELU(), nn.Linear(4, 2, bias=False), nn.LayerNorm(2),
    )  # fmt: skip


def _members(make, n_members=3):
    members = []
    for seed in range(n_members):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            member = make().double()
            for module in member.modules():
                if isinstance(module, SeededDropout):
                    module.seed.fill_(seed)
            for parameter in member.parameters():  # no bias is zero, no norm is the identity
                nn.init.normal_(parameter)
            members.append(member)
    return members


def _inputs(make):
    generator = torch.Generator().manual_seed(7)
    shape = (6, 5, 3) if make is _Tokens else (6, 3)
    x = torch.randn(*shape, dtype=torch.float64, generator=generator)
    return (x, torch.linspace(-1, 1, 6, dtype=torch.float64)) if make is _dense else (x,)


def _dense() -> DenseShrinkageNetwork:
    return DenseShrinkageNetwork(3, hidden_sizes=(5, 4))


def _total(output) -> Tensor:
    return (
        sum((part.square().sum() for part in output), torch.zeros(()))
        if isinstance(output, tuple)
        else output.square().sum()
    )


NETWORKS = [_perceptron, _BatchAlone, _Tokens, _dense]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_buffers_are_those_of_each_member_alone(make, training):
    alone, together = _members(make), _members(make)
    assert all(is_stackable(network) for network in alone)
    inputs = _inputs(make)
    group = Group(together)
    group.train(training)
    for _ in range(2):  # buffers of the first call enter the second
        group.grad.zero_()
        found = group.call(*inputs)
        _total(found).backward()
        for member, network in enumerate(alone):
            network.train(training).zero_grad()
            expected = network(*inputs)
            _total(expected).backward()
            for ours, theirs in zip(
                found if isinstance(found, tuple) else (found,),
                expected if isinstance(expected, tuple) else (expected,),
                strict=True,
            ):
                torch.testing.assert_close(ours[member], theirs, rtol=1e-12, atol=1e-12)
            for name, parameter in network.named_parameters():
                torch.testing.assert_close(group.view(name, group.grad)[member], parameter.grad, rtol=1e-10, atol=1e-10)
            for name, buffer in network.named_buffers():
                torch.testing.assert_close(group.buffers[name][member], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", NETWORKS)
def test_batched_layers_and_vmap_say_the_same(make, monkeypatch):
    batched = Group(_members(make))
    monkeypatch.setattr("eigenfolio.training.group.is_stackable", lambda network: False)
    mapped = Group(_members(make))
    for group in (batched, mapped):
        group.train(False)
    torch.testing.assert_close(batched.call(*_inputs(make)), mapped.call(*_inputs(make)), rtol=1e-12, atol=1e-12)


def test_a_network_of_other_parts_is_left_to_vmap():
    cumulative = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=None))
    hooked = nn.Sequential(nn.Linear(3, 2))
    hooked[0].register_forward_hook(lambda *_: None)
    assert not any(map(is_stackable, [_Foreign(), nn.GRU(3, 2), cumulative, hooked]))
    group = Group(_members(_Foreign))
    alone = _members(_Foreign)
    x = _inputs(_Foreign)[0]
    torch.testing.assert_close(group.call(x), torch.stack([network(x) for network in alone]))


def test_a_subclass_does_not_inherit_the_promise():
    class Altered(_Tokens):
        def forward(self, x):
            return x[0]

    assert not is_stackable(Altered())
