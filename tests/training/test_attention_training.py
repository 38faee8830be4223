"""Training the attention and the dense network on drawn windows: what is learned, what is known, what repeats."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from random_attention import random_attention_bundle

from eigenfolio import NeuralShrinkage
from eigenfolio.data.synthetic import oracle_target_weights
from eigenfolio.learned.attention import AttentionForward, attention_correlation
from eigenfolio.learned.dense import ALL_TARGETS
from eigenfolio.learned.tokens import describe_tokens
from eigenfolio.models.networks.dense import DenseOptions
from eigenfolio.models.networks.sizing import FEW_WINDOWS
from eigenfolio.models.window import prepare_window
from eigenfolio.training import LoopOptions
from eigenfolio.training.attention import (
    AttentionTraining,
    DenseTraining,
    token_sources,
    train_on_tokens,
)
from eigenfolio.training.mixture import WindowSource, draw_mixture
from eigenfolio.training.optimisers import Adam
from eigenfolio.training.token_calibration import calibrated
from eigenfolio.training.token_losses import ShrinkageLoss, attention_loss, token_correlation
from eigenfolio.training.token_windows import TokenSamples, describe_for_training, fit_token_scaler, oracle_answer

POPULATIONS = WindowSource(name="populations", counts={6: 8, 12: 8}, change="population", max_lookback=120)
STOCKS = WindowSource(name="stocks", panels=("stocks",), counts={6: 8, 12: 8}, max_lookback=120)
THROUGH = pd.Timestamp("2010-12-31")
LOOP = LoopOptions(max_epochs=2, batch_size=16, learning_rate=3e-3, optimiser=Adam())
SMALL = {"sources": (STOCKS, POPULATIONS), "validation_share": 0.3, "loop": LOOP, "n_calibration": 40}


@pytest.fixture(scope="module")
def panels():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2007-01-01", "2012-12-31")
    size = np.exp(0.02 * np.cumsum(rng.standard_normal((len(index), 1)), axis=0))
    values = 0.01 * size * (rng.standard_normal((len(index), 1)) + rng.standard_normal((len(index), 16)))
    return {"stocks": pd.DataFrame(values, index=index, columns=[f"a{i}" for i in range(16)])}


@pytest.fixture(scope="module")
def drawn(panels):
    describe = describe_for_training("identity")
    return draw_mixture(panels, [STOCKS, POPULATIONS], through=THROUGH, seed=0, describe=describe)


def test_training_and_inference_build_the_same_correlation():
    rng = np.random.default_rng(0)
    X = 0.01 * (rng.standard_normal((60, 1)) + rng.standard_normal((60, 9)))
    window = describe_tokens(prepare_window(X))
    answer = AttentionForward(random_attention_bundle()).members(window)[0]
    describe = describe_for_training("identity")
    (one,) = draw_mixture(
        {}, [POPULATIONS.model_copy(update={"counts": {9: 1}})], through=None, seed=0, describe=describe
    )
    object.__setattr__(one, "window", describe(prepare_window(X)))
    (batch,) = TokenSamples.of([one]).groups
    weights = torch.tensor(answer.target_weights)[None].float()
    made = token_correlation(
        batch,
        torch.tensor([answer.intensity]).float(),
        weights,
        targets=ALL_TARGETS,
        blocks=torch.tensor(answer.blocks)[None].float(),
    )
    assert_allclose(made[0].numpy() - 1e-5 * np.eye(9), attention_correlation(window, answer), atol=2e-6)


def test_simulated_windows_know_the_best_answer_and_real_ones_the_next_regime(drawn):
    for one in drawn:
        best = oracle_answer(one, ALL_TARGETS)
        assert (best is None) == (one.source == "stocks") == (one.date is not None)
        if best is None:
            continue
        intensity, weights, condition = best
        assert 0.0 <= intensity <= 1.0
        assert weights.sum() == pytest.approx(1.0)
        assert condition > 0.0
    samples = TokenSamples.of(drawn)
    known = torch.cat([group.simulated for group in samples.groups])
    regimes = torch.cat([group.next_regime for group in samples.groups])
    assert int(known.sum()) == POPULATIONS.n_windows
    assert bool((regimes[known] == -1).all())
    assert bool((regimes >= 0).any())


def test_the_best_answer_is_the_mixture_closest_to_the_truth(drawn):
    one = next(window for window in drawn if window.date is None)
    truth = one.future.T @ one.future / len(one.future)
    truth /= np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
    window = one.window
    sample = (window.vectors.astype(float) * window.eigenvalues) @ window.vectors.T.astype(float)
    n = len(truth)
    constant = np.full((n, n), window.base.mean_correlation)
    factor = np.outer(window.base.loading, window.base.loading)
    for target in (constant, factor):
        np.fill_diagonal(target, 1.0)
    mixed = oracle_target_weights(sample, [np.eye(n), constant, factor], truth)
    intensity, weights, _ = oracle_answer(one, ALL_TARGETS)
    assert intensity == pytest.approx(1.0 - mixed[0])
    assert_allclose(intensity * weights, mixed[1:], atol=1e-9)


def test_batches_hold_several_sizes_and_every_window_once(drawn):
    samples = TokenSamples.of(drawn)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    batches = samples.batches(order, 16)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(samples)))
    assert max(len({group.n_assets for group in samples.take(rows)}) for rows in batches) > 1
    other = samples.batches(torch.arange(len(samples)), 16)
    assert len(other) == len(batches)


def test_the_total_is_the_weighted_sum_of_its_parts_and_every_head_gets_a_gradient(drawn):
    from random_attention import new_network

    from eigenfolio.models.networks.attention import AttentionOptions

    samples = TokenSamples.of(drawn)
    network = new_network(AttentionOptions())
    network.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.gains.fill_(0.3)

    def call(*inputs):
        return [part[None] for part in network(*inputs)]

    options = ShrinkageLoss(uncertainty=0.7)
    loss = attention_loss(fit_token_scaler(samples), options)(call, samples.take(torch.arange(len(samples))))
    weights = {"variance": 1.0, **options.model_dump()}
    assert set(loss.parts) == set(weights)
    torch.testing.assert_close(loss.total, sum(weights[name] * part for name, part in loss.parts.items()))
    loss.total.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0.0 or "key.bias" in name, name


@pytest.mark.parametrize("training", [AttentionTraining(**SMALL), DenseTraining(**{**SMALL, "n_members": 2})])
def test_a_vintage_has_the_same_bits_again_whatever_comes_after_its_date(panels, training):
    first = train_on_tokens(panels, THROUGH, options=training, seed=1).bundle
    altered = {"stocks": panels["stocks"].copy()}
    altered["stocks"].loc["2011-01-01":] = 0.5
    again = train_on_tokens(altered, THROUGH, options=training, seed=1).bundle
    assert again.digest == first.digest
    assert train_on_tokens(panels, THROUGH, options=training, seed=2).bundle.digest != first.digest
    X = panels["stocks"].loc["2011-01-01":"2011-12-31"]
    model = NeuralShrinkage(first).fit(X)
    assert model.shrinkage_interval_[0] <= model.shrinkage_ <= model.shrinkage_interval_[1]
    assert first.details["calibration"]["n"] == 20


@pytest.mark.slow
@pytest.mark.parametrize("training", [AttentionTraining(), DenseTraining(n_members=1)])
def test_it_learns_on_simulated_markets_and_its_intervals_cover(training):
    few = (
        training.simulated().scaled(0.4).model_copy(update={"loop": training.loop.model_copy(update={"max_epochs": 4})})
    )
    trained = train_on_tokens({}, None, options=few, seed=0)
    (history,) = trained.histories
    assert history.best_epoch > 0
    assert history.best.validation["variance"] < history.start.validation["variance"] - 0.02
    assert 0.8 <= trained.bundle.details["calibration"]["intensity"] <= 0.98


def test_a_bundle_without_a_variance_is_not_calibrated():
    bundle = random_attention_bundle()
    plain = type(bundle)("shrinkage", "dense", {"uncertainty": False}, ("x",), {}, THROUGH)
    assert calibrated(plain, {"seed": 1}, seed=0).details == {"seed": 1}


@pytest.mark.parametrize("kind", [AttentionTraining, DenseTraining])
def test_few_windows_train_a_smaller_network_with_more_regularisation(kind):
    ample = kind()
    for n_windows in (500, 1000):
        few = ample.limited(n_windows)
        assert few.n_windows == pytest.approx(n_windows, rel=0.15)
        assert few.shaped().dropout == 0.5
        assert few.shaped().l2 > ample.shaped().l2
    assert ample.limited(FEW_WINDOWS).shaped() == ample.shaped()


def test_sizes_follow_the_root_of_the_universe_when_asked():
    training = DenseTraining(sized_for=225, sources=(WindowSource(name="p", counts={20: 5000}, change="population"),))
    assert training.shaped().hidden_sizes == (240, 120, 64)
    assert DenseTraining().shaped() == DenseTraining().network


def test_the_mixture_has_small_universes_and_none_above_300():
    sizes = {n for source in token_sources() for n in source.counts}
    assert min(sizes) == 4
    assert max(sizes) == 300


def test_training_on_one_panel_refuses_what_only_pretrain_reads():
    from eigenfolio.training import ShrinkageTraining

    for options in (DenseOptions(inputs=("matrix", "market")), DenseOptions(uncertainty=True), DenseOptions(l2=0.01)):
        with pytest.raises(ValueError, match="is read by `pretrain`"):
            ShrinkageTraining(network=options)
    with pytest.raises(ValueError, match="must begin with 'identity'"):
        ShrinkageTraining(network=DenseOptions(targets=("single_factor",)))
