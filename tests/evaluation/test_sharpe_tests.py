"""Row-wise tests of Sharpe ratios and volatilities: formulas by hand, slow twins, and what they do on null tracks."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.long_run import long_run_variance, politis_white_block
from eigenfolio.evaluation.null_tracks import draw_tracks
from eigenfolio.evaluation.sharpe_tests import jobson_korkie_test, ledoit_wolf_sharpe_test
from eigenfolio.evaluation.variance_tests import ledoit_wolf_variance_test
from eigenfolio.measures import sharpe_ratio

TESTS = [ledoit_wolf_sharpe_test, ledoit_wolf_variance_test]


def tracks(seed=0, n=300, law="ar_garch", **options):
    return draw_tracks(law, n_observations=n, rng=np.random.default_rng(seed), **options).T


def sharpe(x):
    return x.mean() / x.std()


def log_volatility(x):
    return np.log(x.std())


def influence(x, function):
    """How the statistic moves with each row, by its derivative in the weight of that row."""
    mean, deviation = x.mean(), x.std()
    z = (x - mean) / deviation
    return z - 0.5 * mean / deviation * (z**2 - 1) if function is sharpe else 0.5 * (z**2 - 1)


def test_jobson_korkie_memmel_by_hand():
    a, b = tracks(1, law="iid")
    n = len(a)
    s_a, s_b, r = a.mean() / a.std(ddof=1), b.mean() / b.std(ddof=1), np.corrcoef(a, b)[0, 1]
    variance = (2 - 2 * r + 0.5 * s_a**2 + 0.5 * s_b**2 - s_a * s_b * r**2) / n
    found = jobson_korkie_test(a, b, periods_per_year=1)
    assert_allclose([found.estimate, found.standard_error], [s_a - s_b, np.sqrt(variance)])
    assert_allclose(found.p_value, 2 * norm.sf(abs(s_a - s_b) / np.sqrt(variance)))
    assert_allclose(found.minimum_detectable, (norm.ppf(0.975) + norm.ppf(0.8)) * np.sqrt(variance))


@pytest.mark.parametrize(("test", "function"), list(zip(TESTS, (sharpe, log_volatility), strict=True)))
def test_the_robust_statistic_by_its_influence_function(test, function):
    a, b = tracks(2)
    z = influence(a, function) - influence(b, function)
    expected = (function(a) - function(b)) / np.sqrt(long_run_variance(z) / (len(a) - 4))
    found = test(a, b, law="hac")
    assert_allclose(found.statistic, expected)
    assert_allclose(found.p_value, 2 * norm.sf(abs(expected)))


def test_the_estimates_are_those_of_the_performance_table():
    a, b = tracks(3)
    found = ledoit_wolf_sharpe_test(a, b, law="hac")
    assert_allclose(found.estimate, sharpe_ratio(a) - sharpe_ratio(b))
    assert_allclose(ledoit_wolf_variance_test(a, b, law="hac").estimate, np.log(a.std() / b.std()))


@pytest.mark.parametrize(("test", "function"), list(zip(TESTS, (sharpe, log_volatility), strict=True)))
@pytest.mark.parametrize("block", [1, 4])
def test_the_bootstrap_equals_a_naive_one(test, function, block):
    a, b = tracks(4, n=120)
    n, n_blocks = len(a), len(a) // block
    found = test(a, b, block=block, n_bootstrap=200, rng=np.random.default_rng(9))
    hac = test(a, b, law="hac")
    distances = []
    for firsts in np.random.default_rng(9).integers(n, size=(200, n_blocks)):
        rows = np.array([(first + step) % n for first in firsts for step in range(block)])
        x, y = a[rows], b[rows]
        z = influence(x, function) - influence(y, function)
        means = z.reshape(n_blocks, block).mean(axis=1)  # (n_blocks,)
        error = np.sqrt(np.mean(means**2) / n_blocks)
        distances.append(abs(function(x) - function(y) - function(a) + function(b)) / error)
    assert_allclose(found.p_value, (1 + sum(d >= abs(hac.statistic) for d in distances)) / 201)
    critical = np.quantile(distances, 0.95, method="higher")
    assert_allclose(found.high - found.estimate, critical * hac.standard_error)
    assert_allclose(found.minimum_detectable, (critical + norm.ppf(0.8)) * hac.standard_error)


def test_the_block_is_that_of_the_influence_series_and_leaves_ten():
    a, b = tracks(5, n=400)
    z = influence(a, log_volatility) - influence(b, log_volatility)
    found = ledoit_wolf_variance_test(a, b, n_bootstrap=100, rng=np.random.default_rng(0))
    assert found.block == np.clip(round(politis_white_block(z)), 1, 40)
    assert ledoit_wolf_variance_test(a, b, law="hac").block is None


def test_a_long_series_is_resampled_in_parts_with_the_same_bits(monkeypatch):
    a, b = tracks(6)
    whole = ledoit_wolf_sharpe_test(a, b, n_bootstrap=300, rng=np.random.default_rng(0))
    monkeypatch.setattr("eigenfolio.evaluation.moment_tests.CHUNK", 1000)
    assert ledoit_wolf_sharpe_test(a, b, n_bootstrap=300, rng=np.random.default_rng(0)) == whole


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("law", ["hac", "bootstrap"])
def test_units_and_order_change_what_they_should(test, law):
    a, b = tracks(7)
    one = test(a, b, law=law, n_bootstrap=200, rng=np.random.default_rng(0))
    back = test(b, a, law=law, n_bootstrap=200, rng=np.random.default_rng(0))
    percent = test(100 * a, 100 * b, law=law, n_bootstrap=200, rng=np.random.default_rng(0))
    assert_allclose([back.estimate, back.low, back.p_value], [-one.estimate, -one.high, one.p_value])
    assert_allclose([percent.estimate, percent.low, percent.p_value], [one.estimate, one.low, one.p_value])


@pytest.mark.parametrize("test", TESTS)
def test_a_track_against_itself_differs_by_nothing(test):
    a, _ = tracks(8)
    for law in ("hac", "bootstrap"):
        found = test(a, a, law=law, n_bootstrap=100, rng=np.random.default_rng(0))
        assert (found.estimate, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert jobson_korkie_test(a, 3 * a).p_value == 1.0


def test_lists_and_series_are_taken_alike():
    a, b = tracks(9)
    expected = ledoit_wolf_sharpe_test(a, b, law="hac")
    assert ledoit_wolf_sharpe_test(a.tolist(), b.tolist(), law="hac") == expected
    assert ledoit_wolf_sharpe_test(pd.Series(a), pd.Series(b), law="hac") == expected


def test_leverage_is_no_skill_but_is_volatility():
    a, _ = tracks(9)
    assert ledoit_wolf_sharpe_test(a, 2 * a, law="hac").p_value == 1.0
    double = ledoit_wolf_variance_test(2 * a, a, law="hac")
    assert_allclose(double.estimate, np.log(2))
    assert double.p_value == 0.0


def test_interval_and_p_value_agree():
    for seed in range(30):
        found = ledoit_wolf_sharpe_test(*tracks(seed, n=100), n_bootstrap=199, rng=np.random.default_rng(seed))
        assert (found.low > 0 or found.high < 0) == (found.p_value <= 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["iid", "student", "ar_garch"])
@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("judged_by", ["hac", "bootstrap"])
def test_null_tracks_are_told_apart_about_as_often_as_stated(law, test, judged_by):
    found = 0
    for seed in range(500):
        rng = np.random.default_rng([seed, 1])
        a, b = draw_tracks(law, n_observations=1000, rng=rng).T
        found += test(a, b, law=judged_by, n_bootstrap=300, rng=rng).p_value <= 0.05
    low, high = binom.ppf([0.001, 0.999], 500, 0.05)
    assert low <= found <= high


@pytest.mark.slow
def test_power_at_the_detectable_difference_is_as_stated():
    detectable = ledoit_wolf_variance_test(*tracks(0, n=2000, law="iid"), law="hac").minimum_detectable
    found = 0
    for seed in range(400):
        a, b = tracks(seed, n=2000, law="iid", volatility=0.01 * np.exp([-detectable, 0.0]))
        found += ledoit_wolf_variance_test(a, b, law="hac").p_value <= 0.05
    assert 0.72 <= found / 400 <= 0.88


def test_what_cannot_be_compared_is_refused():
    a, b = tracks(0)
    rng = np.random.default_rng(0)
    for test in (*TESTS, jobson_korkie_test):
        with pytest.raises(DataError, match="'b' never varies"):
            test(a, np.full_like(b, 0.01))
        with pytest.raises(DataError, match="at least 30 rows, got 20"):
            test(a[:20], b[:20])
        with pytest.raises(DataError, match="same rows"):
            test(pd.Series(a), pd.Series(b, index=range(1, len(b) + 1)))
        with pytest.raises(DataError, match="1 values that are not finite"):
            test(np.append(a[1:], np.nan), b)
    for test in TESTS:
        with pytest.raises(ParameterError, match="give rng="):
            test(a, b)
        with pytest.raises(ParameterError, match="law must be"):
            test(a, b, law="t", rng=rng)
        with pytest.raises(ParameterError, match="n_bootstrap"):
            test(a, b, n_bootstrap=10, rng=rng)
        with pytest.raises(ParameterError, match="block must be"):
            test(a, b, block=0, rng=rng)
        with pytest.raises(DataError, match="block=100 needs at least 400 rows"):
            test(a, b, block=100, rng=rng)
        with pytest.raises(ParameterError, match="confidence"):
            test(a, b, law="hac", confidence=95)
    with pytest.raises(ParameterError, match="periods_per_year"):
        jobson_korkie_test(a, b, periods_per_year=0)


@pytest.mark.parametrize("law", ["iid", "student", "ar_garch", "own_garch"])
def test_drawn_tracks_have_the_moments_they_were_asked_for(law):
    x = draw_tracks(
        law, n_observations=60_000, n_tracks=2, correlation=0.5, mean=0.001, volatility=[0.01, 0.02],
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert_allclose(x.std(axis=0), [0.01, 0.02], rtol=0.05)
    assert_allclose(x.mean(axis=0), 0.001, atol=4 * 0.02 * 1.15 / np.sqrt(60_000))
    # Volatilities of their own pull the correlation of returns a little below that of the shocks.
    assert_allclose(np.corrcoef(x.T)[0, 1], 0.5, atol=0.06 if law == "own_garch" else 0.02)
    assert_allclose(np.corrcoef(x[1:, 0], x[:-1, 0])[0, 1], 0.1 if "garch" in law else 0.0, atol=0.02)


def test_unknown_laws_are_refused():
    with pytest.raises(ParameterError, match="law must be one of iid"):
        draw_tracks("cauchy", n_observations=10, rng=np.random.default_rng(0))
    with pytest.raises(ParameterError, match="correlation"):
        draw_tracks("iid", n_observations=10, correlation=1.5, rng=np.random.default_rng(0))
