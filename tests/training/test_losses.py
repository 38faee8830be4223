"""The objectives of the shrinkage network are added with their weights, and a weight moves what is learned."""

import numpy as np
import pandas as pd
import pytest
import torch

from eigenfolio.learned.window import N_TARGETS
from eigenfolio.models.networks.dense import ShrinkageOutput
from eigenfolio.training import LoopOptions, ScheduleOptions, ShrinkageTraining, WindowOptions, train_shrinkage
from eigenfolio.training.losses import shrinkage_loss
from eigenfolio.training.shrinkage import plan_training
from eigenfolio.training.windows import draw_windows


def market(n_rows=1100, n_assets=10):
    rng = np.random.default_rng(0)
    loadings = np.linspace(0.2, 2.0, n_assets)  # what moves more than the market is sold
    values = 0.01 * (loadings * rng.standard_normal((n_rows, 1)) + 0.5 * rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(values, index=pd.bdate_range("2000-01-03", periods=n_rows))


WINDOWS = WindowOptions(n_windows=200, n_validation_windows=60, min_assets=8, max_assets=10, max_lookback=100)


def test_the_objectives_are_added_with_their_weights():
    options = WINDOWS.model_copy(update={"horizon": 10})
    windows = draw_windows(market().to_numpy(), range(200, 900), 12, options=options, rng=np.random.default_rng(0))
    zero, one = torch.zeros(1), torch.ones(1)

    def call(features, logits):
        shape = (1, len(features))
        weights = torch.full((*shape, N_TARGETS), 1.0 / N_TARGETS)
        return ShrinkageOutput(torch.full(shape, 0.3), weights, torch.full(shape, 0.5))

    found = {
        weight: shrinkage_loss(center=zero, scale=one, leverage_penalty=weight)(call, windows.groups)
        for weight in (0.0, 0.7)
    }
    assert set(found[0.7].parts) == {"variance", "leverage"}
    torch.testing.assert_close(found[0.0].total, found[0.0].parts["variance"])
    parts = found[0.7].parts
    torch.testing.assert_close(found[0.7].total, parts["variance"] + 0.7 * parts["leverage"])
    assert bool((parts["leverage"] >= 0.0).all())  # weights that sum to 1 cannot have less than that in gross


def test_a_heavier_weight_on_an_objective_trades_the_other_for_it():
    X = market()
    reached = {}
    for weight in (0.0, 5.0):
        options = ShrinkageTraining(
            n_members=1,
            leverage_penalty=weight,
            schedule=ScheduleOptions(first_months=36),
            windows=WINDOWS,
            loop=LoopOptions(max_epochs=8, batch_size=32),
        )
        fold = plan_training(pd.DatetimeIndex(X.index), options.schedule, n_rows=len(X))[0]
        (history,) = train_shrinkage(X, fold, options=options, seed=1).histories
        reached[weight] = history.best.validation["leverage"]
        assert history.best.validation["total"] == pytest.approx(
            history.best.validation["variance"] + weight * reached[weight]
        )
    assert reached[5.0] < reached[0.0] - 0.02
