"""The graph-attention network: its size, what an edge does, and the head that turns scores into weights."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from eigenfolio.constraints import Constraints
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.models.networks.allocation import allocate, wished_weights
from eigenfolio.models.networks.gat import GraphAttention, message_edges, score_assets
from eigenfolio.projection import closest_book

EVERYONE = torch.ones(7, dtype=torch.bool)


def some_graph(n_assets=7, seed=0):
    rng = np.random.default_rng(seed)
    edges = np.array([[0, 1, 2, 0, 4], [1, 2, 3, 5, 6]])
    rho = rng.uniform(-1, 1, size=edges.shape[1])
    return rng.standard_normal((n_assets, 10)), edges, np.column_stack([rho, np.abs(rho), np.sign(rho)])


def awake(seed=0, **sizes):
    """A network whose last layer is no longer zero."""
    torch.manual_seed(seed)
    network = GraphAttention(**{"widths": (8, 8), "n_heads": 2, "readout": 8, **sizes}).eval()
    torch.nn.init.normal_(network.readout[-1].weight)
    return network


def scores_of(network, features, edges, attributes):
    index, both = message_edges(len(features), edges, attributes)
    inputs = (torch.tensor(features).float(), torch.tensor(index), torch.tensor(both).float())
    with torch.no_grad():
        return network(*inputs).double().numpy()


def test_the_default_network_has_exactly_the_parameters_of_the_source():
    network = GraphAttention()
    assert sum(p.numel() for p in network.parameters()) == 198_177
    assert sum(p.numel() for p in network.layers.parameters()) == 191_712
    assert sum(p.numel() for p in network.readout.parameters()) == 6_465


def test_an_untrained_network_says_the_same_of_every_asset():
    assert not scores_of(GraphAttention().eval(), *some_graph()).any()


def test_permuting_the_assets_permutes_the_scores():
    features, edges, attributes = some_graph()
    order = np.random.default_rng(1).permutation(7)
    place = np.argsort(order)
    network = awake()
    there = scores_of(network, features[order], place[edges], attributes)
    assert_allclose(there, scores_of(network, features, edges, attributes)[order], atol=1e-6)


def test_every_attribute_of_an_edge_changes_the_scores():
    features, edges, attributes = some_graph()
    network = awake()
    before = scores_of(network, features, edges, attributes)
    for column in range(3):
        altered = attributes.copy()
        altered[:, column] += 0.5
        assert np.abs(scores_of(network, features, edges, altered) - before).max() > 1e-4


def test_what_two_layers_do_not_reach_does_not_matter():
    features, edges, attributes = some_graph()
    altered = features.copy()
    altered[6] += 1.0  # joined to asset 4 alone
    changed = scores_of(awake(), altered, edges, attributes) != scores_of(awake(), features, edges, attributes)
    assert changed.nonzero()[0].tolist() == [4, 6]


@pytest.mark.parametrize("at_once", [1, 16, 40])
def test_a_few_graphs_at_a_time_give_the_same_scores_and_gradients(at_once):
    graphs = [some_graph(n_assets, seed) for seed, n_assets in enumerate((7, 9, 8))]
    parts = [message_edges(len(features), edges, attributes) for features, edges, attributes in graphs]
    starts = np.cumsum([0, 7, 9])
    features = torch.tensor(np.concatenate([graph[0] for graph in graphs])).float()
    index = torch.tensor(np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)], axis=1))
    attributes = torch.tensor(np.concatenate([part[1] for part in parts])).float()
    sizes = torch.tensor([(len(graph[0]), len(part[1])) for graph, part in zip(graphs, parts, strict=True)])
    network = awake(dropout=0.0)
    found = []
    for limit in (1_000, at_once):
        network.edges_at_once = limit
        network.zero_grad()
        scores = network(features, index, attributes, sizes)
        (scores**2).sum().backward()
        found.append((scores.detach(), torch.cat([p.grad.flatten() for p in network.parameters()])))
    assert_allclose(found[0][0], found[1][0], atol=1e-5)
    assert_allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_stored_members_score_as_the_network_did():
    networks = [awake(seed) for seed in (1, 2)]
    graph = some_graph()
    states = [network.state_dict() for network in networks]
    tensors = {name: np.stack([state[name].numpy() for state in states]) for name in states[0]}
    sizes = {"widths": [8, 8], "n_heads": 2, "readout": 8}
    assert_allclose(score_assets(tensors, sizes, *graph), [scores_of(network, *graph) for network in networks])
    with pytest.raises(ArtifactError, match="not the weights"):
        score_assets(tensors, {**sizes, "n_heads": 4}, *graph)


@pytest.mark.parametrize("options", [{"widths": ()}, {"n_heads": 0}, {"dropout": 1.0}])
def test_sizes_out_of_range_are_refused(options):
    with pytest.raises(ParameterError):
        GraphAttention(**options)


@pytest.mark.parametrize("limits", [{}, {"max_weight": 0.3}, {"max_positions": 3}, {"max_turnover": 0.2}])
@pytest.mark.parametrize("seed", range(5))
def test_the_head_equals_the_exact_projection(limits, seed):
    rng = np.random.default_rng(seed)
    scores, constraints = rng.normal(size=7) * 0.4, Constraints(**limits)
    previous = rng.dirichlet(np.ones(7))
    found = allocate(torch.tensor(scores), EVERYONE, constraints, torch.tensor(previous))
    assert_allclose(found.numpy(), closest_book(scores, constraints, previous=previous), atol=1e-14)


@pytest.mark.parametrize("limits", [{"max_weight": 0.3}, {"max_positions": 3}, {"max_turnover": 0.2}])
def test_the_gradient_of_the_head_is_that_of_differences(limits):
    rng = np.random.default_rng(3)
    scores = torch.tensor(rng.normal(size=(4, 7)) * 0.3, requires_grad=True)
    previous = torch.tensor(rng.dirichlet(np.ones(7), size=4), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, p: allocate(s, EVERYONE.expand(4, 7), Constraints(**limits), p), (scores, previous), eps=1e-7
    )


def test_books_of_different_universes_do_not_touch_each_other():
    scores = torch.tensor([[0.5, 0.1, 0.0, 9.0], [0.2, 0.3, 0.1, 0.0]], dtype=torch.float64)
    present = torch.tensor([[True, True, True, False], [True, True, True, True]])
    found = allocate(scores, present, Constraints(max_weight=0.6))
    assert_allclose(found[0].numpy(), [*closest_book([0.5, 0.1, 0.0], Constraints(max_weight=0.6)), 0.0])
    assert_allclose(found[1].numpy(), closest_book(scores[1].numpy(), Constraints(max_weight=0.6)))


def test_a_score_means_the_same_in_a_universe_of_any_size():
    small, large = torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0] * 50)
    assert_allclose(wished_weights(small, torch.ones(2, dtype=torch.bool)), [0.0, 1.0])
    assert_allclose(wished_weights(large, torch.ones(100, dtype=torch.bool))[:2], [0.0, 0.02])
