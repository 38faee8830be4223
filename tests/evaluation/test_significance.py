"""Volatility ratios against hand-worked values, a naive bootstrap, and their own coverage."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import holm, minimum_detectable, volatility_ratio


def make_pair(n_windows, rng, *, difference=0.0, days=21):
    """Two exchangeable tracks: clustered volatility, heavy tails, correlated, drifting relative size."""

    def smooth(coefficient, scale):
        steps = scale * rng.standard_normal(n_windows)
        for i in range(1, n_windows):
            steps[i] += coefficient * steps[i - 1]
        return np.repeat(np.exp(steps), days)

    common, own, other = rng.standard_t(5, (3, n_windows * days))
    index = pd.bdate_range("1990-01-01", periods=n_windows * days)
    level = 0.01 * smooth(0.7, 0.35)
    a = level * (common + 0.2 * own) * smooth(0.2, 0.01) * np.exp(difference)
    b = level * (common + 0.2 * other) * smooth(0.2, 0.01)
    windows = pd.Series(np.repeat(np.arange(n_windows), days), index=index)
    return pd.Series(a, index=index), pd.Series(b, index=index), windows


def persistent_pair(n_windows, rng, *, rho):
    """Two exchangeable tracks of one day per window, whose log ratio is an AR(1) with coefficient rho."""
    steps = rng.standard_normal((n_windows, 2))
    steps[0] /= np.sqrt(1.0 - rho**2)
    logs = np.empty_like(steps)
    logs[0] = steps[0]
    for i in range(1, n_windows):
        logs[i] = rho * logs[i - 1] + steps[i]
    index = pd.bdate_range("1990-01-01", periods=n_windows)
    a, b = (pd.Series(0.01 * np.exp(0.05 * column), index=index) for column in logs.T)
    return a, b, pd.Series(np.arange(n_windows), index=index)


def covers_zero(n_windows, n_trials, rng, n_bootstrap, make=make_pair, **options):
    pooled = window = 0
    for _ in range(n_trials):
        pair = make(n_windows, rng, **options)
        ratio = volatility_ratio(*pair, n_bootstrap=n_bootstrap, rng=rng)
        pooled += ratio.pooled_low <= 0.0 <= ratio.pooled_high
        window += ratio.window_low <= 0.0 <= ratio.window_high
    return pooled / n_trials, window / n_trials


def test_both_figures_by_hand():
    # Window sums of squares: a 1, 4, ..., b 4, 4, ...: log ratios -log 2 and 0, pooled 1/2 log(20/32).
    index = pd.bdate_range("2020-01-01", periods=16)
    a = pd.Series([1.0, 0.0, 2.0, 0.0] * 4, index=index)
    b = pd.Series([0.0, 2.0] * 8, index=index)
    windows = pd.Series(np.arange(16) // 2, index=index)
    ratio = volatility_ratio(a, b, windows, block=1, rng=np.random.default_rng(0))
    assert_allclose(ratio.window_mean, -0.5 * np.log(2))
    assert_allclose(ratio.pooled, 0.5 * np.log(20 / 32))
    assert ratio.n_windows == 8
    # Blocks of one: the ordinary standard error, deviations all log(2)/2 with n - 1 = 7 below.
    assert_allclose(ratio.standard_error, 0.5 * np.log(2) / np.sqrt(7))


def test_the_interval_equals_a_naive_block_bootstrap():
    rng = np.random.default_rng(2)
    a, b, windows = make_pair(25, rng, difference=-0.02)
    n, block, n_bootstrap = 25, 2, 400
    ratio = volatility_ratio(a, b, windows, n_bootstrap=n_bootstrap, block=block, rng=np.random.default_rng(9))
    starts = np.random.default_rng(9).integers(n, size=(n_bootstrap, round(n / block)))
    squares_a = [(a[windows == w] ** 2).sum() for w in range(n)]
    squares_b = [(b[windows == w] ** 2).sum() for w in range(n)]
    logs = [0.5 * np.log(x / y) for x, y in zip(squares_a, squares_b, strict=True)]

    def block_values(series, firsts):
        return np.array([np.mean([series[(first + step) % n] for step in range(block)]) for first in firsts])

    def error(values, n_blocks):
        return np.sqrt(np.mean((values - values.mean()) ** 2) / (n_blocks - 1))

    t_window, t_pooled = [], []
    pooled = 0.5 * np.log(sum(squares_a) / sum(squares_b))
    for firsts in starts:
        values = block_values(logs, firsts)
        t_window.append(abs(values.mean() - np.mean(logs)) / error(values, len(firsts)))
        x, y = block_values(squares_a, firsts), block_values(squares_b, firsts)
        shift = 0.5 * np.log(x.mean() / y.mean()) - pooled
        t_pooled.append(abs(shift) / error(0.5 * (x / x.mean() - y / y.mean()), len(firsts)))
    every = range(n)
    se = error(block_values(logs, every), starts.shape[1])
    x, y = block_values(squares_a, every), block_values(squares_b, every)
    pooled_se = error(0.5 * (x / x.mean() - y / y.mean()), starts.shape[1])
    half = np.quantile(t_window, 0.95, method="higher") * se
    pooled_half = np.quantile(t_pooled, 0.95, method="higher") * pooled_se
    assert_allclose(ratio.standard_error, se)
    assert_allclose([ratio.window_low, ratio.window_high], np.mean(logs) + np.array([-half, half]))
    assert_allclose([ratio.pooled_low, ratio.pooled_high], pooled + np.array([-pooled_half, pooled_half]))
    exceeding = sum(t >= abs(np.mean(logs)) / se for t in t_window)
    assert_allclose(ratio.p_value, (1 + exceeding) / (1 + n_bootstrap))


@pytest.mark.parametrize("n_windows", [24, 120])
def test_the_interval_of_a_null_pair_covers_zero_about_as_often_as_it_says(n_windows):
    # 200 trials: two standard errors of the coverage are 3 points; on 24 months it errs to the wide side.
    pooled, window = covers_zero(n_windows, 200, np.random.default_rng(5), 400)
    assert 0.91 <= pooled <= 0.99
    assert 0.91 <= window <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("n_windows", [36, 170])
def test_coverage_on_many_null_pairs(n_windows):
    pooled, window = covers_zero(n_windows, 2000, np.random.default_rng(6), 1000)
    assert 0.935 <= pooled <= 0.985
    assert 0.935 <= window <= 0.985


@pytest.mark.parametrize(("rho", "low", "high"), [(0.0, 0.935, 0.985), (0.4, 0.92, 0.985)])
def test_coverage_survives_differences_that_persist(rho, low, high):
    # 500 trials: two standard errors are 2 points. Blocks of two cover 88 to 90 % at rho = 0.4.
    pooled, window = covers_zero(120, 500, np.random.default_rng(8), 300, make=persistent_pair, rho=rho)
    assert low <= pooled <= high
    assert low <= window <= high


@pytest.mark.slow
@pytest.mark.parametrize("n_windows", [36, 120, 240])
@pytest.mark.parametrize(("rho", "low"), [(0.0, 0.935), (0.4, 0.92), (0.6, 0.89)])
def test_coverage_of_persistent_differences_on_many_pairs(n_windows, rho, low):
    pooled, window = covers_zero(n_windows, 2000, np.random.default_rng(9), 500, make=persistent_pair, rho=rho)
    assert low <= pooled <= 0.985
    assert low <= window <= 0.985


def test_the_block_chosen_has_the_largest_standard_error_of_those_that_fit():
    for n_windows, fitting in (
        (8, [1]),
        (12, [1, 2]),
        (23, [1, 2, 3]),
        (40, [1, 2, 3, 4, 6]),
        (48, [1, 2, 3, 4, 6, 8]),
    ):
        for seed in range(4):
            pair = persistent_pair(n_windows, np.random.default_rng(seed), rho=0.4)
            options = {"n_bootstrap": 100, "rng": np.random.default_rng(0)}
            errors = {}
            for block in fitting:
                logs = np.log(pair[0] / pair[1]).to_numpy()
                means = [np.take(logs, range(i, i + block), mode="wrap").mean() for i in range(n_windows)]
                errors[block] = np.std(means) / np.sqrt(round(n_windows / block) - 1)
            ratio = volatility_ratio(*pair, **options)
            assert ratio.block == max(errors, key=errors.get)
            assert_allclose(ratio.standard_error, max(errors.values()))


def test_a_block_given_is_the_block_used():
    pair = persistent_pair(40, np.random.default_rng(0), rho=0.6)
    given = volatility_ratio(*pair, block=2, rng=np.random.default_rng(0))
    chosen = volatility_ratio(*pair, rng=np.random.default_rng(0))
    assert (given.block, chosen.block) == (2, 6)
    assert given == volatility_ratio(*pair, block=np.int64(2), rng=np.random.default_rng(0))


def test_power_is_as_the_minimum_detectable_difference_says():
    # A pair that differs by the mean of what is called detectable is found in about 80 % of the trials.
    rng = np.random.default_rng(7)
    ratios = [volatility_ratio(*make_pair(120, rng), n_bootstrap=400, rng=rng) for _ in range(40)]
    difference = float(np.mean([ratio.minimum_detectable for ratio in ratios]))
    found = 0
    for _ in range(200):
        pair = make_pair(120, rng, difference=-difference)
        found += volatility_ratio(*pair, n_bootstrap=400, rng=rng).window_high < 0.0
    assert 0.70 <= found / 200 <= 0.90


def test_minimum_detectable_is_two_point_eight_standard_errors():
    assert_allclose(minimum_detectable(1.0), norm.ppf(0.975) + norm.ppf(0.8))
    assert_allclose(minimum_detectable(0.5), 1.4, atol=0.001)
    assert_allclose(minimum_detectable(0.5, critical_value=2.2), 0.5 * (2.2 + norm.ppf(0.8)))


def test_minimum_detectable_uses_the_quantile_of_the_interval_itself():
    # On 24 windows the bootstrap quantile is well above 1.96, and so is what can be detected.
    ratio = volatility_ratio(*make_pair(24, np.random.default_rng(3)), rng=np.random.default_rng(0))
    half = ratio.window_high - ratio.window_mean
    assert_allclose(ratio.minimum_detectable, half + norm.ppf(0.8) * ratio.standard_error)
    assert ratio.minimum_detectable > 1.02 * minimum_detectable(ratio.standard_error)


def test_swapping_the_tracks_changes_only_the_sign():
    a, b, windows = make_pair(40, np.random.default_rng(1))
    forth = volatility_ratio(a, b, windows, rng=np.random.default_rng(3))
    back = volatility_ratio(b, a, windows, rng=np.random.default_rng(3))
    assert_allclose(
        [forth.window_mean, forth.window_low, forth.pooled, forth.pooled_high],
        [-back.window_mean, -back.window_high, -back.pooled, -back.pooled_low],
    )
    assert forth.p_value == back.p_value


def test_a_track_against_itself_differs_by_nothing():
    a, _, windows = make_pair(20, np.random.default_rng(1))
    ratio = volatility_ratio(a, a, windows, rng=np.random.default_rng(3))
    assert (ratio.window_low, ratio.window_high, ratio.pooled_low, ratio.pooled_high) == (0.0, 0.0, 0.0, 0.0)
    assert ratio.p_value == 1.0


def test_the_same_generator_gives_the_same_bits():
    a, b, windows = make_pair(20, np.random.default_rng(1))
    assert volatility_ratio(a, b, windows, rng=np.random.default_rng(3)) == volatility_ratio(
        a, b, windows, rng=np.random.default_rng(3)
    )


def test_windows_in_cash_and_cut_off_months_are_left_out():
    a, b, windows = make_pair(20, np.random.default_rng(1))
    whole = volatility_ratio(a.iloc[21:-21], b.iloc[21:-21], windows.iloc[21:-21], rng=np.random.default_rng(3))
    cash = a.where(windows > 0, 0.0)
    stub = slice(0, len(a) - 15)  # six days of the last month
    ratio = volatility_ratio(cash.iloc[stub], b.iloc[stub], windows.iloc[stub], rng=np.random.default_rng(3))
    assert ratio == whole
    assert ratio.n_windows == 18


def test_holm_keeps_the_order_and_never_lowers_a_p_value():
    p = np.array([0.001, 0.4, 0.011, 0.02, 0.9])
    assert_allclose(holm(p), [0.005, 0.8, 0.044, 0.06, 0.9])
    assert holm([]).size == 0
    assert_allclose(holm([0.7, 0.8]), [1.0, 1.0])


def test_what_cannot_be_compared_is_refused():
    rng = np.random.default_rng(0)
    a, b, windows = make_pair(20, rng)
    with pytest.raises(DataError, match="same days"):
        volatility_ratio(a.iloc[1:], b, windows, rng=rng)
    with pytest.raises(DataError, match="not finite"):
        volatility_ratio(a.where(windows > 0), b, windows, rng=rng)
    with pytest.raises(DataError, match=r"at least 8 windows .* got 7"):
        volatility_ratio(a.iloc[:147], b.iloc[:147], windows.iloc[:147], rng=rng)
    with pytest.raises(DataError, match="at least 40 windows"):
        volatility_ratio(a, b, windows, block=10, rng=rng)
    with pytest.raises(ParameterError, match="confidence"):
        volatility_ratio(a, b, windows, confidence=95.0, rng=rng)
    with pytest.raises(ParameterError, match="n_bootstrap"):
        volatility_ratio(a, b, windows, n_bootstrap=0, rng=rng)
    for block in (0, 2.0, True, "long"):
        with pytest.raises(ParameterError, match="block must be 'auto' or a whole number"):
            volatility_ratio(a, b, windows, block=block, rng=rng)
    with pytest.raises(ParameterError, match="power"):
        minimum_detectable(0.01, power=80)
