"""Training on graphs: batches equal to one by one, paths worked by hand, and signals that are known."""

import numpy as np
import pandas as pd
import pytest
import torch
from graph_markets import FIRST, SMALL, books, daily_periods, net_sharpe, oracle_books, ring_market
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.costs import hold
from eigenfolio.data import Decision
from eigenfolio.data.synthetic import null_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models.networks.gat import GraphAttention
from eigenfolio.training.gat import GatTraining, gat_bundle, path_loss, train_gat
from eigenfolio.training.graph_batches import GraphBlocks, make_period
from eigenfolio.training.portfolio_losses import PORTFOLIO_LOSSES, net_path


def monthly_periods(n_periods=10, n_assets=9, seed=0):
    """Periods of 5 rows, the universe changing: the first asset comes late, the last one leaves."""
    rng = np.random.default_rng(seed)
    n_rows = 60 + 5 * n_periods + 2
    index = pd.bdate_range("2012-01-02", periods=n_rows)
    returns = pd.DataFrame(0.02 * rng.standard_normal((n_rows, n_assets)), index=index)
    found = []
    for k in range(n_periods):
        row = 59 + 5 * k
        eligible = np.ones(n_assets, dtype=bool)
        eligible[0], eligible[-1] = k >= 3, k < 6
        decision = Decision(row, index[row], row + 2, row + 7)
        found.append(make_period(returns, decision, eligible, graph="mst"))
    return found


def awake(options=SMALL, seed=0):
    torch.manual_seed(seed)
    network = GraphAttention(**options.sizes).eval()
    torch.nn.init.normal_(network.readout[-1].weight)
    return network


def called(network):
    return lambda *inputs: network(*inputs)[None]


def test_a_batch_of_graphs_of_different_sizes_equals_one_by_one():
    samples = GraphBlocks(monthly_periods(), n_periods=4, stride=2)
    network, loss = awake(), path_loss(SMALL)
    together = loss(called(network), samples.take(torch.arange(len(samples)))).total
    alone = [loss(called(network), samples.take(torch.tensor([row]))).total[0, 0] for row in range(len(samples))]
    assert_allclose(together[0].detach().numpy(), torch.stack(alone).detach().numpy(), rtol=1e-5)


def test_a_period_in_several_blocks_goes_through_the_network_once():
    samples = GraphBlocks(monthly_periods(), n_periods=4, stride=1)
    batch = samples.take(torch.tensor([0, 1, 2]))
    assert batch.present.shape == (6, 9)
    assert batch.blocks.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert len(batch.features) == int(batch.present.sum()) == 3 * 8 + 3 * 9


def test_no_edge_joins_two_graphs():
    batch = GraphBlocks(monthly_periods(), n_periods=4).take(torch.tensor([0, 1]))
    graph = batch.place // batch.present.shape[1]
    assert_array_equal(graph[batch.edge_index[0]], graph[batch.edge_index[1]])


@pytest.mark.parametrize(("stride", "starts"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (4, [2, 6])])
def test_the_last_block_ends_with_the_last_period(stride, starts):
    samples = GraphBlocks(monthly_periods(), n_periods=4, stride=stride)
    assert [samples.take(torch.tensor([row])).blocks.numel() for row in range(len(samples))] == [4] * len(starts)
    assert [int(block[0]) for block in samples._blocks] == starts


def test_the_path_is_that_of_the_cost_room():
    periods = monthly_periods(3)
    batch = GraphBlocks(periods, n_periods=3).take(torch.tensor([0]))
    rng = np.random.default_rng(4)
    weights = torch.tensor(rng.random((3, 8))) * batch.present  # one of the nine is never there
    weights /= weights.sum(dim=-1, keepdim=True)
    found, turnover = net_path(weights, batch.growth, batch.held, cost_bps=20.0)
    previous = None
    for k in range(3):
        growth = batch.growth[k].numpy()
        rows = np.diff(growth, axis=0, prepend=1.0) / np.vstack([np.ones(8), growth[:-1]])
        expected, drifted = hold(weights[k].numpy(), rows)
        if previous is not None:
            traded = np.abs(weights[k].numpy() - previous).sum()
            expected[0] -= 20e-4 * traded
            assert float(turnover[k - 1]) == pytest.approx(0.5 * traded)
        assert_allclose(found[k].numpy(), expected, atol=1e-12)
        previous = drifted


def test_losses_worked_by_hand():
    returns = torch.tensor([[[0.02, -0.01], [0.03, 0.0]]], dtype=torch.float64)
    there = torch.tensor([[[True, True], [True, False]]])
    mean, variance = 0.04 / 3, ((0.02 - 0.04 / 3) ** 2 + (-0.01 - 0.04 / 3) ** 2 + (0.03 - 0.04 / 3) ** 2) / 3
    found = {name: float(loss(returns, there)) for name, loss in PORTFOLIO_LOSSES.items()}
    assert found["sharpe"] == pytest.approx(-mean / np.sqrt(variance), rel=1e-6)
    assert found["minimum_variance"] == pytest.approx(np.log(np.sqrt(variance)), rel=1e-6)
    assert found["mean_variance"] == pytest.approx(-100 * (mean - 5 * variance))
    assert found["drawdown"] == pytest.approx(-np.log(0.99) / 3 - 100 * mean)


@pytest.mark.parametrize("name", list(PORTFOLIO_LOSSES))
@pytest.mark.parametrize("limits", [{}, {"max_turnover": 0.1}, {"max_positions": 3, "max_weight": 0.5}])
def test_every_loss_has_a_finite_gradient_that_is_not_zero(name, limits):
    options = SMALL.model_copy(update={"loss": name, "max_weight": 0.2, **limits})
    network = awake(options)
    samples = GraphBlocks(monthly_periods(), n_periods=5)
    path_loss(options)(called(network), samples.take(torch.arange(len(samples)))).total.mean().backward()
    gradients = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert torch.isfinite(gradients).all()
    assert gradients.abs().max() > 0


def test_a_path_that_does_not_move_has_a_finite_sharpe_ratio():
    still = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    loss = PORTFOLIO_LOSSES["sharpe"](still, torch.ones(1, 2, 3, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert torch.isfinite(still.grad).all()


def test_a_turnover_limit_holds_along_the_whole_path():
    options = SMALL.model_copy(update={"max_turnover": 0.05, "max_weight": 1.0})
    samples = GraphBlocks(monthly_periods(3), n_periods=3)  # the same assets throughout
    parts = path_loss(options)(called(awake(options)), samples.take(torch.arange(1))).parts
    assert float(parts["turnover"]) == pytest.approx(0.05, abs=1e-6)


def small_run(**changes):
    loop = SMALL.loop.model_copy(update={"max_epochs": 3, **changes})
    return SMALL.model_copy(update={"loop": loop, "block": 3, "stride": 1, "max_weight": 0.5})


def test_the_same_seed_gives_the_same_bits_and_leaves_torch_as_it_was():
    periods = monthly_periods(14)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (
        gat_bundle(
            [train_gat(periods[:8], periods[10:], options=small_run(), seed=seed)],
            graph="mst", options=small_run(), trained_through=periods[-1].last,
        ).digest
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    class Stopped(Exception):
        pass

    def stop(epoch):
        if epoch == 2:
            raise Stopped

    periods = monthly_periods(14)
    whole = train_gat(periods[:8], periods[10:], options=small_run(), seed=1)
    store = CheckpointStore(tmp_path, identity={"seed": 1})
    with pytest.raises(Stopped):
        train_gat(periods[:8], periods[10:], options=small_run(), seed=1, store=store, on_epoch=stop)
    resumed = train_gat(periods[:8], periods[10:], options=small_run(), seed=1, store=store)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name])


def test_books_that_are_equal_weights_raise_the_alarm():
    periods = monthly_periods(14)
    trained = train_gat(periods[:8], periods[10:], options=small_run(learning_rate=1e-30), seed=1)
    assert trained.distance_to_equal < 1e-6
    assert any(alarm.startswith("equal weights") for alarm in trained.history.alarms)
    assert any(alarm.startswith("constant output") for alarm in trained.history.alarms)


def test_validation_that_training_has_seen_is_refused():
    periods = monthly_periods(14)
    with pytest.raises(ParameterError, match="after the first decision of validation"):
        train_gat(periods[:9], periods[9:], options=small_run(), seed=1)


def test_holding_ends_with_the_last_row_that_may_be_looked_at():
    returns = pd.DataFrame(
        0.01 * np.random.default_rng(0).standard_normal((80, 4)), index=pd.bdate_range("2020-01-01", periods=80)
    )
    everyone, decision = np.ones(4, dtype=bool), Decision(60, returns.index[60], 62, 70)
    period = make_period(returns, decision, everyone, graph="mst", last_row=65)
    assert period.last == returns.index[65]
    assert len(period.growth) == 4
    with pytest.raises(DataError, match="held for no row"):
        make_period(returns, decision, everyone, graph="mst", last_row=61)


def test_a_period_knows_nothing_of_later_rows():
    returns = pd.DataFrame(
        0.01 * np.random.default_rng(1).standard_normal((90, 6)), index=pd.bdate_range("2020-01-01", periods=90)
    )
    everyone, decision = np.ones(6, dtype=bool), Decision(60, returns.index[60], 62, 70)
    after_decision, after_holding = returns.copy(), returns.copy()
    after_decision.iloc[61:] *= -3.0
    after_holding.iloc[70:] *= -3.0
    plain, seen, held = (
        make_period(table, decision, everyone, graph="knn_k5") for table in (returns, after_decision, after_holding)
    )
    assert_array_equal(plain.features, seen.features)
    assert_array_equal(plain.graph.edge_attributes, seen.graph.edge_attributes)
    assert_array_equal(plain.growth, held.growth)
    assert not np.array_equal(plain.growth, seen.growth)


def test_an_overfitted_block_earns_more_than_equal_weights():
    periods = monthly_periods(14)
    options = small_run(max_epochs=40, patience=40)
    history = train_gat(periods[:8], periods[10:], options=options, seed=1).history
    assert history.epochs[-1].train["sharpe"] > history.start.train["sharpe"] + 0.3


def test_on_a_planted_graph_it_earns_most_of_what_the_oracle_does_and_a_network_without_edges_nothing():
    market, graph = ring_market()
    returns, blank = market.panel.returns, 0.0 * graph
    spans = (FIRST, 596), (600, 747), (752, 997)
    earned = {}
    for name, table in (("edges", graph), ("none", blank)):
        taught, stopping, unseen = (daily_periods(returns, table, *span) for span in spans)
        trained = train_gat(taught, stopping, options=SMALL, seed=1)
        earned[name] = net_sharpe(books(trained, SMALL, unseen), unseen, cost_bps=SMALL.cost_bps)
    oracle = max(
        net_sharpe(held, unseen, cost_bps=SMALL.cost_bps)
        for held in oracle_books(market, unseen, max_weight=SMALL.max_weight).values()
    )
    assert earned["edges"] > 0.6 * oracle
    assert earned["none"] < 0.25 * oracle


@pytest.mark.slow
def test_on_null_markets_it_shows_no_edge():
    excess = []
    for seed in range(8):
        source, graph = ring_market(seed=seed)
        returns = null_market(source.covariance, 1000, seed=1000 + seed).panel.returns
        taught, stopping, unseen = (
            daily_periods(returns, graph, *span) for span in ((FIRST, 596), (600, 747), (752, 997))
        )
        options = SMALL.model_copy(update={"cost_bps": 0.0})
        trained = train_gat(taught, stopping, options=options, seed=seed)
        held = books(trained, options, unseen)
        ours = net_sharpe(held, unseen, cost_bps=0.0)
        excess.append(ours - net_sharpe(np.full_like(held, 1 / held.shape[1]), unseen, cost_bps=0.0))
    half = 3.499 * np.std(excess, ddof=1) / np.sqrt(len(excess))  # 99 % of Student's t with 7 degrees of freedom
    assert abs(np.mean(excess)) < half


def test_options_that_contradict_are_refused():
    with pytest.raises(ParameterError, match="not both"):
        path_loss(GatTraining(max_turnover=0.1, max_positions=3))
