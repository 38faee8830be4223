"""Training of a vintage: it learns what is there, repeats itself, and says what it has seen."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.optimisers import AdamW
from eigenfolio.training.pretraining import (
    UNDATED,
    SpectralOptions,
    SpectralTraining,
    default_sources,
    train_spectral,
)
from eigenfolio.training.schedules import OneCycle

LOOP = LoopOptions(
    max_epochs=2, patience=2, batch_size=16, learning_rate=1e-2, optimiser=AdamW(), schedule=OneCycle(), clip_norm=1.0
)
POPULATIONS = WindowSource(name="populations", counts={8: 24, 12: 16}, change="population", max_lookback=90)
TINY = SpectralTraining(
    n_members=2, validation_share=0.2, sources=(POPULATIONS,), network=SpectralOptions(n_units=4), loop=LOOP
)


def panel(n_rows=300, n_assets=12):
    rng = np.random.default_rng(0)
    x = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(x, index=pd.bdate_range("2001-01-01", periods=n_rows))


def test_it_learns_on_populations_whose_covariance_is_known():
    counts = {10: 320}
    source = WindowSource(name="p", counts=counts, change="population", min_lookback=40, max_lookback=60)
    loop = LOOP.model_copy(update={"max_epochs": 6, "patience": 6})
    options = TINY.model_copy(update={"sources": (source,), "loop": loop, "n_members": 1})
    vintage = train_spectral({}, None, options=options, seed=1)
    fresh = draw_mixture({}, [source.model_copy(update={"counts": {10: 100}})], through=None, seed=99)
    gains = []
    for window in fresh:
        # the horizon is a root of the true covariance, so this is the true variance of each book
        trained, classical = (book_variance(window, bundle) for bundle in (vintage.bundle, None))
        gains.append(np.log(trained / classical))
    assert np.mean(gains) < -0.01
    assert np.mean(gains) + 2 * np.std(gains) / 10 < 0
    [history] = vintage.histories
    assert history.epochs[-1].train["total"] < history.epochs[0].train["total"]


def book_variance(window, bundle):
    from eigenfolio.learned.spectral import SpectralForward, classical_answer, combine

    described = window.window
    answer = classical_answer(described) if bundle is None else SpectralForward(bundle).members(described)[0]
    raw = combine(described, answer).solve(np.ones(len(described.log_volatility)))
    return np.mean((window.future @ (raw / raw.sum())) ** 2)


def test_a_vintage_has_the_same_bits_again_and_for_any_number_of_workers_and_other_ones_for_another_seed():
    once = train_spectral({}, None, options=TINY, seed=1).bundle
    again = train_spectral({}, None, options=TINY, seed=1, n_jobs=2).bundle
    assert again.digest == once.digest
    assert train_spectral({}, None, options=TINY, seed=2).bundle.digest != once.digest
    members = once.tensors["spectra.0.token_in.weight"]
    assert not np.array_equal(members[0], members[1])


def test_nothing_after_the_last_date_is_learned_from():
    X = panel()
    through = X.index[250]
    source = WindowSource(name="s", panels=("stocks",), counts={6: 20}, min_lookback=60, max_lookback=90)
    options = TINY.model_copy(update={"sources": (source, POPULATIONS)})
    one = train_spectral({"stocks": X}, through, options=options, seed=1).bundle
    poisoned = X.copy()
    poisoned.loc[poisoned.index > through] *= -1e4
    other = train_spectral({"stocks": poisoned}, through, options=options, seed=1).bundle
    assert other.digest == one.digest
    assert other.details["last_date"] == one.details["last_date"] <= through.isoformat()
    assert one.trained_through == through


def test_a_training_that_was_cut_off_goes_on_to_the_same_bits(tmp_path):
    expected = train_spectral({}, None, options=TINY, seed=1).bundle.digest

    class Killed(Exception):
        pass

    def kill(epoch):
        raise Killed

    with pytest.raises(Killed):
        train_spectral(
            {}, None, options=TINY, seed=1, store=CheckpointStore(tmp_path, identity={"seed": 1}), on_epoch=kill
        )
    resumed = train_spectral({}, None, options=TINY, seed=1, store=CheckpointStore(tmp_path, identity={"seed": 1}))
    assert resumed.bundle.digest == expected


def test_the_bundle_serves_the_estimator_and_says_what_it_has_seen():
    told = []
    vintage = train_spectral(
        {}, None, options=TINY, seed=1, details={"purpose": "test"}, on_draw=lambda: told.append("draw")
    )
    bundle = vintage.bundle
    assert bundle.trained_through == UNDATED
    assert bundle.details["n_windows"] == {"populations": 40}
    assert bundle.details["first_date"] is None
    assert bundle.details["purpose"] == "test"
    assert SpectralTraining.model_validate(bundle.details["training"]) == TINY
    assert len(bundle.details["losses"]) == 2
    assert not [name for name in bundle.tensors if "dropout" in name]
    assert len(told) == 2
    assert vintage.drawing_seconds > 0
    assert vintage.training_seconds > 0
    model = NeuralShrinkage(bundle).fit(panel())
    assert np.linalg.eigvalsh(model.covariance_)[0] > 0
    assert model.trained_through_ is None


def test_random_numbers_and_threads_of_the_caller_are_left_alone():
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train_spectral({}, None, options=TINY, seed=1)
    assert_array_equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_scaling_keeps_every_size_and_simulation_the_number_of_windows():
    full = SpectralTraining()
    small = full.scaled(0.01)
    assert [s.name for s in small.sources] == [s.name for s in full.sources] == [s.name for s in default_sources()]
    for source, whole in zip(small.sources, full.sources, strict=True):
        assert set(source.counts) == set(whole.counts)
        assert all(source.counts[n] == max(2, round(0.01 * whole.counts[n])) for n in whole.counts)
    [simulated] = full.simulated().sources
    assert simulated.change == "population"
    assert simulated.n_windows == sum(c for s in full.sources for n, c in s.counts.items() if n <= 200)
