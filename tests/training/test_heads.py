"""Fitting and judging heads: planted answers are found, noise becomes a constant, intervals cover what they say."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_spectral import random_spectral_bundle
from scipy.special import expit, logit, softmax
from sklearn.linear_model import Ridge

from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.heads import HEAD_INPUTS, RISK_HORIZONS
from eigenfolio.training import heads as fitting
from eigenfolio.training.head_scores import SCORES, heads_card, interval_score
from eigenfolio.training.head_windows import PORTFOLIOS, HeadWindows
from eigenfolio.training.heads import add_heads, fit_heads, head_sources, tempered
from eigenfolio.training.mixture import WindowSource

N = len(HEAD_INPUTS)
N_BOOKS, N_HORIZONS = len(PORTFOLIOS), len(RISK_HORIZONS)


def windows(n=900, *, seed=0, signal=1.0, simulated=True) -> HeadWindows:
    """Windows of ten years whose labels follow the first inputs as strongly as `signal` says; a third are simulated."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, N))
    days = np.datetime64("2001-01-01") + np.sort(rng.integers(3650, size=n)).astype("timedelta64[D]")
    scale = np.exp(signal * 0.5 * x[:, 1])
    own = rng.uniform(0.2, 0.6, n)
    oracle = expit(logit(own) + signal * x[:, 0] + 0.5 * scale * rng.standard_normal(n))
    chances = softmax(signal * x[:, :4], axis=1)
    targets = np.clip(0.3 + 0.1 * signal * x[:, :3] + 0.05 * rng.standard_normal((n, 3)), 0, 1)
    portfolios = rng.standard_normal((n, N_BOOKS, 3))
    noise = rng.standard_normal((n, N_BOOKS, N_HORIZONS))
    ratios = signal * (0.2 * x[:, 2, None, None] + 0.1 * portfolios[:, :, :1]) + 0.3 * scale[:, None, None] * noise
    date = days.astype("datetime64[ns]")
    last = date + np.timedelta64(95, "D")
    dated = np.ones(n, dtype=bool)
    if simulated:
        dated[2 * n // 3 :] = False
        date[~dated] = last[~dated] = np.datetime64("NaT")
    return HeadWindows(
        inputs=x,
        date=date,
        last=last,
        regime=np.where(dated, [rng.choice(4, p=p) for p in chances], -1),
        own=own,
        oracle=np.where(dated, np.nan, oracle),
        targets=np.where(dated[:, None], np.nan, targets),
        error=0.5 + signal * x[:, 0] + rng.standard_normal(n),
        portfolios=portfolios,
        ratios=ratios,
        out_of_range=np.zeros(n),
    )


@pytest.fixture(scope="module")
def planted():
    return fit_heads(windows(1800))


@pytest.fixture(scope="module")
def noise():
    return fit_heads(windows(signal=0.0))


@pytest.fixture(scope="module")
def fresh():
    return windows(3000, seed=9)


def test_planted_answers_are_found_and_reported_as_skill(planted):
    heads, told = planted
    assert all(told[name]["status"] == "fitted" for name in SCORES)
    assert all(told[name]["judged"]["skill"] for name in ("regime", "error", "intensity", "risk"))
    assert abs(heads.error[1] - heads.scale[0]) < 0.25 * heads.scale[0]  # inputs are divided by their scale
    assert np.abs(heads.error[2:]).max() < 0.25
    assert_allclose(heads.risk[2, 0, 3], 0.2 * heads.scale[2], atol=0.05)


def test_noise_becomes_the_constant_and_shows_no_skill(noise):
    heads, told = noise
    data = windows(signal=0.0)
    dated = ~np.isnat(data.date)
    assert told["regime"]["status"] == told["error"]["status"] == "constant"
    assert_array_equal(heads.error[1:], 0.0)
    assert heads.error[0] == pytest.approx(data.error[dated].mean(), abs=1e-12)
    rates = np.bincount(data.regime[dated], minlength=4) + 0.5
    assert_allclose(heads.regime_probabilities(np.full(N, 3.0)), rates / rates.sum())
    assert not any(told[name]["judged"]["skill"] for name in ("regime", "error", "risk"))


@pytest.mark.parametrize("name", ["intensity", "targets", "risk"])
@pytest.mark.parametrize("signal", [0.0, 1.0])
def test_intervals_cover_fresh_windows_as_they_say(name, signal, planted, noise):
    heads, _ = planted if signal else noise
    later = windows(3000, seed=9, signal=signal)
    usable = later.take(fitting._FITS[name][1](later))
    told = SCORES[name](heads, usable, usable)
    assert 0.9 - 0.035 < told["coverage"] < 0.9 + 0.035  # the quantile of a few hundred windows has an error of its own
    if name == "risk":
        assert all(0.86 < each["coverage"] < 0.94 for each in told["by_horizon"].values())
        assert set(told["by_portfolio"]) == set(PORTFOLIOS)


def test_wide_intervals_are_those_of_windows_that_err_more(planted, fresh):
    heads, _ = planted
    usable = fresh.take(fitting._FITS["intensity"][1](fresh))
    told = SCORES["intensity"](heads, usable, usable)
    assert told["error_uncertainty_correlation"] > 0.06  # two standard errors of nothing at 1,000 windows
    x = heads.scaled(usable.inputs)
    predicted = fitting.logit_inside(usable.own) + heads.intensity[0, 0] + x @ heads.intensity[0, 1:]
    squared = (fitting.logit_inside(usable.oracle) - predicted) ** 2
    assert told["mean_variance"] == pytest.approx(squared.mean(), rel=0.25)
    assert told["mean_width"] < told["constant_width"]


def test_too_few_windows_leave_a_head_out_and_say_so():
    heads, told = fit_heads(windows(100))
    assert heads is None
    assert told["error"]["status"] == "absent"
    assert "34 windows with a label" in told["error"]["reason"]
    heads, told = fit_heads(windows(300, simulated=False))
    assert heads.intensity is None
    assert "0 windows" in told["intensity"]["reason"]
    assert heads.error is not None


def test_populations_serve_where_there_is_no_market():
    data = windows(600)
    heads, told = fit_heads(data.take(np.isnat(data.date)))
    assert told["regime"]["status"] == "absent"
    assert heads.error is not None
    assert heads.risk is not None


def test_no_label_that_fits_reaches_into_the_block_it_predicts():
    data = windows(simulated=False)
    folds = fitting._folds(data)
    assert_array_equal(sum(held.astype(int) for _, held in folds), 1)
    for fits, held in folds:
        first, end = data.date[held].min(), data.last[held].max()
        assert not (fits & held).any()
        assert ((data.last[fits] < first) | (data.date[fits] > end)).all()
        assert end - first > np.timedelta64(365, "D")
    early, late = fitting._cut(data, 0.7)
    assert early.last.max() < late.date.min()
    assert len(late) == 270


def test_ridges_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)) + 3.0, rng.standard_normal(60)
    for weights, penalty in zip(fitting.ridges(x, y, [1.0, 30.0]), (1.0, 30.0), strict=True):
        twin = Ridge(alpha=penalty).fit(x, y)
        assert_allclose(weights, np.append(twin.intercept_, twin.coef_), atol=1e-10)


def test_a_temperature_about_the_base_rates_keeps_them():
    rng = np.random.default_rng(0)
    rates = np.log([0.6, 0.2, 0.15, 0.05])
    labels = rng.choice(4, size=4000, p=np.exp(rates))
    known = np.tile(rates, (4000, 1))
    share, score = tempered(known + rng.standard_normal((4000, 4)), known, labels)
    assert share < 0.05  # what is said beyond the rates is noise
    assert score == pytest.approx(-(np.exp(rates) * rates).sum(), abs=0.03)
    beyond = rng.standard_normal((4000, 4))
    drawn = [rng.choice(4, p=p) for p in softmax(rates + 0.5 * beyond, axis=1)]
    assert tempered(known + beyond, known, np.array(drawn))[0] == pytest.approx(0.5, abs=0.06)


def test_conformal_levels_are_ranks_worked_by_hand():
    scores = np.arange(1.0, 200.0)[::-1]  # 199 of them: rank of p is 200 p
    assert_allclose(fitting.conformal_levels(scores), np.arange(1.0, 200.0))


def test_interval_scores_are_worked_by_hand():
    scores = interval_score(np.array([0.5, 2.0, -0.1]), np.zeros(3), np.ones(3), level=0.8)
    assert_allclose(scores, [1.0, 1 + 10 * 1.0, 1 + 10 * 0.1])


def test_the_card_says_what_has_no_skill_and_what_is_absent(noise):
    text = "\n".join(heads_card(noise[1]))
    assert "| error | constant |" in text
    assert text.count("| none shown |") >= 3
    assert heads_card({}) == []
    assert "34 windows with a label" in "\n".join(heads_card(fit_heads(windows(100))[1]))


# ---- on drawn windows -----------------------------------------------------------------------------------------------

POPULATIONS = WindowSource(name="populations", counts={6: 150}, change="population", max_lookback=70)
MARKET = WindowSource(name="stocks", panels=("p",), counts={4: 260}, max_lookback=70)


def panel(n_rows=1500):
    rng = np.random.default_rng(0)
    level = np.exp(0.5 * np.cumsum(rng.standard_normal(n_rows)) / np.sqrt(n_rows))[:, None]
    x = 0.01 * level * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, 8)))
    return pd.DataFrame(x, index=pd.bdate_range("2001-01-01", periods=n_rows))


def test_a_bundle_gets_heads_with_the_same_bits_for_the_same_seed():
    bundle = random_spectral_bundle(n_members=2, size=0.1)
    full = add_heads(bundle, {}, None, sources=[POPULATIONS], seed=1)
    again = add_heads(bundle, {}, None, sources=[POPULATIONS], seed=1)
    assert full.digest == again.digest != bundle.digest
    assert not [name for name in full.tensors if name.startswith("heads_") and name.endswith(".weight")]
    told = full.details["heads"]
    assert told["regime"]["status"] == "absent"  # populations have no regime
    assert told["intensity"]["n"] == 150
    model = NeuralShrinkage(full).fit(panel(2600).iloc[2500:])
    low, high = model.shrinkage_interval_
    assert 0 <= low < high <= 1
    assert model.risk_interval(np.full(8, 1 / 8))[0] > 0
    assert not hasattr(model, "regime_")


def test_heads_learn_from_a_market_and_from_nothing_after_its_last_date():
    X = panel()
    through = X.index[1300]
    bundle = random_spectral_bundle(size=0.1)
    one = add_heads(bundle, {"p": X}, through, sources=[MARKET], seed=1)
    poisoned = X.copy()
    poisoned.loc[poisoned.index > through] *= 50
    other = add_heads(bundle, {"p": poisoned}, through, sources=[MARKET], seed=1)
    assert one.digest == other.digest
    told = one.details["heads"]
    assert told["regime"]["status"] != "absent"
    assert told["error"]["n"] == 260
    assert told["intensity"]["status"] == "absent"  # no truth in a market
    assert set(NeuralShrinkage(one, undated="newest").fit(X.iloc[:1400].to_numpy()).regime_probabilities_) == {
        "calm",
        "trending",
        "stressed",
        "crisis",
    }


def test_populations_are_multiplied_beside_markets_only():
    assert [s.n_windows for s in head_sources([MARKET, POPULATIONS])] == [260, 600]
    assert [s.n_windows for s in head_sources([POPULATIONS])] == [150]
