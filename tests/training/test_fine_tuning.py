"""Fine-tuning returns what helps on the judging months, and the general weights otherwise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from random_spectral import random_spectral_bundle

from eigenfolio import NeuralShrinkage
from eigenfolio.errors import DataError, LookaheadError, ParameterError
from eigenfolio.training import fine_tuning
from eigenfolio.training.fine_tuning import FineTuningOptions, fine_tune
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.spectral import SpectralLoss

SMALL = FineTuningOptions(
    n_windows=48,
    n_validation_windows=24,
    sizes=(6, 8),
    max_lookback=120,
    validation_months=12,
    loop=LoopOptions(max_epochs=2, batch_size=16, learning_rate=3e-3),
)


def market(n_rows=700, n_assets=10, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = 0.01 * rng.standard_normal((n_rows, 1))
    own = 0.01 * rng.standard_normal((n_rows, n_assets)) * rng.uniform(0.5, 2.0, n_assets)
    index = pd.bdate_range("2012-01-02", periods=n_rows)
    return pd.DataFrame(common + own, index=index, columns=[f"a{i}" for i in range(n_assets)])


def general(**options) -> NeuralShrinkage:
    return NeuralShrinkage(random_spectral_bundle(n_members=2, **options))


def test_the_same_seed_gives_the_same_bits_and_weights_that_differ_from_the_general_ones():
    X = market()
    options = SMALL.model_copy(update={"margin": 0.0})
    one, two = (fine_tune(general(size=2.0), X, options=options, seed=3) for _ in range(2))
    assert one.difference == two.difference
    assert one.bundle.digest == two.bundle.digest
    assert one.difference != 0.0
    assert np.isfinite(one.standard_error)


def test_spoilt_weights_get_better_and_the_tuned_ones_come_back():
    loop = SMALL.loop.model_copy(update={"max_epochs": 8})
    options = SMALL.model_copy(update={"n_windows": 160, "n_validation_windows": 64, "loop": loop})
    X = market(seed=2)
    found = fine_tune(general(size=6.0, seed=5), X, options=options)
    assert found.helped
    assert found.difference < 0.0
    assert found.bundle.trained_through == X.index[-1]
    assert found.bundle.details["fine_tuned"]["from"]
    assert "tuned weights" in str(found)
    assert NeuralShrinkage(found.bundle).fit(X).trained_through_ == X.index[-1]


def test_what_does_not_help_leaves_the_general_weights_and_says_so():
    X = market(seed=2)
    model = general(trained=False)  # the closed form, on independent draws of one factor: little to gain
    found = fine_tune(model, X, options=SMALL.model_copy(update={"margin": 50.0}))
    assert not found.helped
    assert found.bundle is model.weights
    assert "did not help" in str(found)


def test_teaching_windows_end_before_the_judging_months_and_choose_weights_that_have_seen_none_of_them(monkeypatch):
    X, seen = market(), []
    draw = fine_tuning.draw_mixture
    monkeypatch.setattr(
        fine_tuning, "draw_mixture", lambda *a, **k: seen.append((k["first"], k["through"])) or draw(*a, **k)
    )
    fine_tune(general(), X, options=SMALL)
    (_, teaching_ends), (choosing_begins, choosing_ends), (judging_begins, judging_ends) = seen
    assert teaching_ends < choosing_begins == X.index[-1] - pd.DateOffset(months=12)
    assert choosing_begins < choosing_ends == judging_begins < judging_ends == X.index[-1]
    with pytest.raises(LookaheadError):
        fine_tune(general(through="2014-03-03"), X, options=SMALL)


def test_rows_of_the_judging_months_teach_nothing():
    X = market()
    poisoned = X.copy()
    poisoned.loc[X.index[-1] - pd.DateOffset(months=12) :] *= -3.0
    tuned = []
    for panel in (X, poisoned):
        teaching = fine_tuning.draw_panel_windows(
            panel, SMALL, 24, through=pd.Timestamp("2013-08-30"), first=None, seed=0, n_jobs=1
        )
        tuned.append(np.concatenate([drawn.window.summary for drawn in teaching]))
    assert_array_equal(*tuned)


def test_weights_of_another_network_are_refused_with_what_to_do_instead():
    dense = NeuralShrinkage(replace(random_spectral_bundle(), network="dense"))
    with pytest.raises(ParameterError, match=r"got weights of network 'dense'.*eigenfolio train shrinkage"):
        fine_tune(dense, market(), options=SMALL)


def test_losses_on_successive_estimates_draw_their_windows_in_pairs():
    options = SMALL.model_copy(update={"loss": SpectralLoss(named={"turnover": 1.0})})
    found = fine_tune(general(), market(), options=options)
    assert all(record.train["turnover"] > 0 for history in found.histories for record in history.epochs)


def test_what_cannot_be_tuned_is_one_clear_error():
    X = market()
    for model, panel, error in (
        (NeuralShrinkage(None), X, ParameterError),
        (general(), X.to_numpy(), DataError),
        (general(), X.iloc[:280], DataError),
        (general(), X.iloc[:, :3], DataError),
    ):
        with pytest.raises(error):
            fine_tune(model, panel, options=SMALL)
