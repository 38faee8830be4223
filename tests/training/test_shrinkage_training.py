"""Training: it learns what is there, sees nothing later, and repeats itself bit for bit."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from eigenfolio.constraints import UNCONSTRAINED
from eigenfolio.errors import DataError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.dense import ShrinkageParameters
from eigenfolio.learned.window import blend
from eigenfolio.models import minimum_variance_weights
from eigenfolio.models.networks.dense import ShrinkageOutput
from eigenfolio.training import (
    LoopOptions,
    ScheduleOptions,
    ShrinkageTraining,
    WindowOptions,
    plan_training,
    train_series,
    train_shrinkage,
)
from eigenfolio.training.losses import log_realised_variance, shrunk_covariance
from eigenfolio.training.shrinkage import FailedFold, TrainingFold
from eigenfolio.training.windows import draw_windows, label_rows

SMALL = ShrinkageTraining(
    n_members=2,
    schedule=ScheduleOptions(first_months=36, every_months=12),
    windows=WindowOptions(n_windows=120, n_validation_windows=60, min_assets=6, max_assets=12, max_lookback=200),
    loop=LoopOptions(max_epochs=4, batch_size=32),
)


def market(n_rows=1300, n_assets=16, *, seed=0, log_volatility_step=0.0, independent=False) -> pd.DataFrame:
    """One factor; `log_volatility_step` lets every asset's log volatility wander, so that recent rows matter."""
    rng = np.random.default_rng(seed)
    common = 0.0 if independent else rng.standard_normal((n_rows, 1))
    steps = log_volatility_step * rng.standard_normal((n_rows, n_assets))
    volatility = np.exp(np.cumsum(steps, axis=0))
    own = rng.standard_normal((n_rows, n_assets))
    index = pd.bdate_range("2000-01-03", periods=n_rows)
    return pd.DataFrame(0.01 * volatility * (common + own), index=index, columns=[f"a{i}" for i in range(n_assets)])


def fold_of(X: pd.DataFrame) -> TrainingFold:
    return plan_training(pd.DatetimeIndex(X.index), SMALL.schedule, n_rows=len(X))[0]


def test_the_loss_is_the_realised_variance_of_the_minimum_variance_portfolio():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 5))
    covariance, future = root @ root.T + np.eye(5), rng.standard_normal((21, 5))
    weights = minimum_variance_weights(covariance, UNCONSTRAINED)
    expected = np.log(np.mean((future @ weights) ** 2)) + 0.1 * np.log(np.abs(weights).sum())
    variance, leverage = log_realised_variance(torch.tensor(covariance)[None], torch.tensor(future)[None])
    assert variance.item() + 0.1 * leverage.item() == pytest.approx(expected, rel=1e-6)


def test_training_and_inference_build_the_same_covariance():
    X = market().to_numpy()
    windows = draw_windows(X, range(300, 1000), 12, options=SMALL.windows, rng=np.random.default_rng(0))
    group = windows.groups[0]
    parameters = ShrinkageParameters(0.3, np.array([0.5, 0.2, 0.3]), 0.4)
    n = len(group)
    output = ShrinkageOutput(torch.full((n,), 0.3), torch.tensor([0.5, 0.2, 0.3]).expand(n, 3), torch.full((n,), 0.4))
    theirs = shrunk_covariance(group, output).numpy()
    # the same windows again, described by the inference side
    rebuilt = draw_windows_by_hand(X, windows, SMALL.windows)
    for covariance, window in zip(theirs, rebuilt, strict=True):
        correlation, volatility = blend(window, parameters)
        volatility = volatility / np.median(window.volatility)
        assert_allclose(covariance, np.outer(volatility, volatility) * correlation, rtol=1e-6)


def draw_windows_by_hand(X, windows, options):
    """Repeat the draw with the same generator and keep the windows of the first group's size."""
    size = windows.groups[0].correlation.shape[-1]
    kept = []
    from eigenfolio.training import windows as module

    original = module.shrinkage_window
    try:
        module.shrinkage_window = lambda rows: kept.append(original(rows)) or kept[-1]
        draw_windows(X, range(300, 1000), 12, options=options, rng=np.random.default_rng(0))
    finally:
        module.shrinkage_window = original
    return [window for window in kept if len(window.volatility) == size]


def test_training_labels_never_reach_into_validation():
    options = WindowOptions(horizon=21, min_lookback=60)
    teaching, stopping = label_rows(1000, 748, options)
    assert teaching[-1] + options.horizon < stopping[0] + 1
    assert stopping[-1] + options.horizon < 1000


def test_folds_end_in_order_and_before_what_is_sealed():
    index = pd.bdate_range("2000-01-03", "2012-12-31")
    n_rows = int(0.8 * len(index))
    folds = plan_training(index, ScheduleOptions(first_months=60, every_months=12), n_rows=n_rows)
    assert [f"{fold.through:%Y-%m}" for fold in folds] == [f"{year}-12" for year in range(2004, 2010)]
    assert all(index[fold.last_row] == fold.through and fold.last_row < n_rows for fold in folds)
    assert all(index[fold.validation_start].month == 1 for fold in folds)


def test_a_plan_without_room_says_what_is_missing():
    index = pd.bdate_range("2000-01-03", "2003-12-31")
    with pytest.raises(DataError, match="first_months=60 needs more than 61 months"):
        plan_training(index, ScheduleOptions(first_months=60), n_rows=len(index))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    X = market()
    first, again, other = (train_shrinkage(X, fold_of(X), options=SMALL, seed=s).bundle.digest for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_workers_do_not_change_the_bits():
    X = market()
    folds = plan_training(pd.DatetimeIndex(X.index), SMALL.schedule, n_rows=len(X))
    assert len(folds) == 2
    alone = train_series(X, folds, options=SMALL, seed=1, n_jobs=1)
    together = train_series(X, folds, options=SMALL, seed=1, n_jobs=2)
    assert [fold.bundle.digest for fold in alone] == [fold.bundle.digest for fold in together]


@pytest.mark.parametrize("poison", [np.nan, 1e6, "shuffled"])
def test_rows_after_the_fold_leave_the_bundle_alone(poison):
    X = market()
    fold = fold_of(X)
    altered = X.copy()
    future = altered.iloc[fold.last_row + 1 :]
    if poison == "shuffled":
        altered.iloc[fold.last_row + 1 :] = future.sample(frac=1, random_state=0).to_numpy()
    else:
        altered.iloc[fold.last_row + 1 :] = poison
    clean = train_shrinkage(X, fold, options=SMALL, seed=1).bundle
    assert train_shrinkage(altered, fold, options=SMALL, seed=1).bundle.digest == clean.digest


def test_training_leaves_the_global_random_state_alone():
    X = market()
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    train_shrinkage(X, fold_of(X), options=SMALL, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_kept_epoch_is_the_best_one_even_when_patience_never_ran_out():
    X = market()
    for history in train_shrinkage(X, fold_of(X), options=SMALL, seed=1).histories:
        losses = [record.validation["total"] for record in history.epochs]
        assert len(losses) == 5
        assert history.best.validation["total"] == min(losses)


LEARNING = ShrinkageTraining(
    n_members=1,
    schedule=ScheduleOptions(first_months=48),
    windows=WindowOptions(
        n_windows=600,
        n_validation_windows=200,
        min_assets=8,
        max_assets=12,
        min_lookback=120,
        max_lookback=252,
    ),
    loop=LoopOptions(max_epochs=12),
)


def blends(step: float) -> list[float]:
    found = []
    for seed in range(3):
        X = market(1400, seed=seed, log_volatility_step=step)
        fold = plan_training(pd.DatetimeIndex(X.index), LEARNING.schedule, n_rows=len(X))[0]
        bundle = train_shrinkage(X, fold, options=LEARNING, seed=seed).bundle
        found.append(NeuralShrinkage(bundle).fit(X).volatility_blend_)
    return found


def test_it_learns_to_trust_recent_volatility_where_volatility_wanders_and_not_where_it_stays():
    assert min(blends(0.05)) > 0.5
    assert max(blends(0.0)) < 0.3


def test_a_table_with_too_few_complete_windows_says_so():
    X = market()
    X.iloc[::10] = np.nan
    with pytest.raises(DataError, match="quoted without gaps"):
        train_shrinkage(X, fold_of(X), options=SMALL, seed=1)
    outcome = train_series(X, [fold_of(X)], options=SMALL, seed=1)[0]
    assert isinstance(outcome, FailedFold)
    assert "DataError" in outcome.error


def test_checkpoints_hold_the_last_the_best_and_every_kth_epoch(tmp_path):
    X = market()
    options = SMALL.model_copy(update={"n_members": 1, "keep_every": 2})
    fold = fold_of(X)
    plain = train_shrinkage(X, fold, options=options, seed=1)
    kept = train_shrinkage(X, fold, options=options, seed=1, checkpoints=tmp_path)
    (place,) = tmp_path.glob("*")
    names = {path.name for path in place.iterdir()}
    assert {"last.safetensors", "best.safetensors", "epoch_0002.safetensors", "epoch_0004.safetensors"} <= names
    assert "metrics.jsonl" in names
    assert kept.bundle.digest == plain.bundle.digest
    resumed = train_shrinkage(X, fold, options=options, seed=1, checkpoints=tmp_path)
    assert resumed.bundle.digest == plain.bundle.digest
