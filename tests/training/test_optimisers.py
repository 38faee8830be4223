"""The flat optimisers are torch's, for every rule, member and rate."""

import pytest
import torch
from tiny_training import TinyNetwork, squared_error, tiny_samples
from torch import nn

from eigenfolio.training.group import Group
from eigenfolio.training.optimisers import SGD, Adam, AdamW, FlatOptimiser, ParameterRule

BATCH = tiny_samples(64).take(torch.arange(64))


def trained(options, *, rates=(1e-2, 3e-3), decays=(0.05, 0.0), steps=20):
    group = Group([TinyNetwork(seed, norm=False, dropout=0.0) for seed in range(len(rates))])
    optimiser = FlatOptimiser(group, options, weight_decay=decays)
    for _ in range(steps):
        group.grad.zero_()
        squared_error(group.call, BATCH).total.mean(dim=1).sum().backward()
        optimiser.step(rates)
    return group.state()


def torch_twin(make, seed, rate, decay, *, steps=20):
    network = TinyNetwork(seed, norm=False, dropout=0.0)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = make(groups, rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(BATCH["x"]), BATCH["y"]).backward()
        optimiser.step()
    return network.state_dict()


@pytest.mark.parametrize(
    ("options", "make"),
    [
        (AdamW(), lambda groups, rate: torch.optim.AdamW(groups, lr=rate)),
        (Adam(betas=(0.8, 0.95)), lambda groups, rate: torch.optim.Adam(groups, lr=rate, betas=(0.8, 0.95))),
        (SGD(momentum=0.7), lambda groups, rate: torch.optim.SGD(groups, lr=rate, momentum=0.7)),
    ],
)
def test_members_move_as_under_torch_each_at_its_own_rate_and_decay(options, make):
    state = trained(options)
    for member, (rate, decay) in enumerate([(1e-2, 0.05), (3e-3, 0.0)]):
        twin = torch_twin(make, member, rate, decay)
        for name, tensor in twin.items():
            torch.testing.assert_close(state[name][member], tensor, rtol=2e-5, atol=2e-6)


def test_a_rule_changes_rate_and_decay_of_the_parameters_it_names():
    def moved(rules):
        group = Group([TinyNetwork(0, dropout=0.0)])
        before = group.state()
        optimiser = FlatOptimiser(group, SGD(momentum=0.0), weight_decay=[0.0], rules=rules)
        squared_error(group.call, BATCH).total.mean().backward()
        optimiser.step([1e-2])
        return {name: group.state()[name] - before[name] for name in group.shapes}

    plain, faster = moved([]), moved([ParameterRule("^last", rate=10.0)])
    torch.testing.assert_close(faster["last.weight"], 10 * plain["last.weight"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(faster["first.weight"], plain["first.weight"])
