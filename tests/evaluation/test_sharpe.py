"""Differences of Sharpe ratios against the formula for normal returns, a naive bootstrap, and their coverage."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from eigenfolio import measures
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import sharpe_difference

DAYS = 21


def make_pair(n_windows, rng, *, means=(0.0005, 0.0005), correlation=0.9, heavy=True):
    n = n_windows * DAYS
    draw = rng.standard_t(6, (2, n)) / np.sqrt(1.5) if heavy else rng.standard_normal((2, n))
    draw[1] = correlation * draw[0] + np.sqrt(1 - correlation**2) * draw[1]
    index = pd.bdate_range("1990-01-01", periods=n)
    a, b = (pd.Series(0.01 * row + mean, index=index) for row, mean in zip(draw, means, strict=True))
    return a, b, pd.Series(np.arange(n) // DAYS, index=index)


def coverage(n_windows, n_trials, rng, n_bootstrap):
    covered = 0
    for _ in range(n_trials):
        a, b, windows = make_pair(n_windows, rng)
        found = sharpe_difference(a, b, windows=windows, n_bootstrap=n_bootstrap, rng=rng)
        covered += found.low <= 0.0 <= found.high
    return covered / n_trials


def test_the_ratios_are_those_of_the_performance_table():
    a, b, windows = make_pair(20, np.random.default_rng(0))
    found = sharpe_difference(a, 0.5 * b, windows=windows, periods_per_year=12, rng=np.random.default_rng(0))
    assert_allclose(found.sharpe_a, measures.sharpe_ratio(a, periods_per_year=12))
    assert_allclose(found.sharpe_b, measures.sharpe_ratio(b, periods_per_year=12))
    assert_allclose(found.difference, found.sharpe_a - found.sharpe_b)
    assert found.n_windows == 20


def test_the_standard_error_is_that_of_jobson_and_korkie_for_normal_returns():
    # Memmel (2003): [2 - 2 rho + (S1^2 + S2^2 - 2 S1 S2 rho^2) / 2] / T, with ratios large enough to matter.
    rng = np.random.default_rng(1)
    a, b, windows = make_pair(4000, rng, means=(0.01, 0.004), correlation=0.6, heavy=False)
    found = sharpe_difference(a, b, windows=windows, periods_per_year=1, block=1, n_bootstrap=100, rng=rng)
    expected = np.sqrt((2 - 2 * 0.6 + 0.5 * (1.0 + 0.16 - 2 * 0.4 * 0.36)) / len(a))
    assert_allclose(found.standard_error, expected, rtol=0.04)


def test_the_interval_equals_a_naive_block_bootstrap():
    a, b, windows = make_pair(20, np.random.default_rng(2), means=(0.001, 0.0))
    a, b, windows = a.iloc[:-8], b.iloc[:-8], windows.iloc[:-8]  # windows need not be equally long
    n, block, n_bootstrap = 20, 2, 200
    options = {"n_bootstrap": n_bootstrap, "block": block, "periods_per_year": 252}
    found = sharpe_difference(a, b, windows=windows, rng=np.random.default_rng(9), **options)
    starts = np.random.default_rng(9).integers(n, size=(n_bootstrap, n // block))
    days = [np.flatnonzero(windows == w) for w in range(n)]

    def of_blocks(firsts):
        """Difference and its error from the days of these blocks."""
        blocks = [np.concatenate([days[(first + step) % n] for step in range(block)]) for first in firsts]
        rows = np.concatenate(blocks)
        difference, sums = 0.0, np.zeros(len(blocks))
        for sign, track in ((1, a.to_numpy()), (-1, b.to_numpy())):
            mean, std = track[rows].mean(), track[rows].std()
            difference += sign * mean / std
            for i, chosen in enumerate(blocks):
                z = (track[chosen] - mean) / std
                sums[i] += sign * (z - 0.5 * mean / std * (z**2 - 1)).sum()
        return difference, sums / (len(rows) / len(blocks))

    centre, every = of_blocks(range(n))
    n_blocks = n // block
    error = every.std() / np.sqrt(n_blocks - 1)
    t = []
    for firsts in starts:
        difference, linear = of_blocks(firsts)
        t.append(abs(difference - centre) / (linear.std() / np.sqrt(n_blocks - 1)))
    half = np.quantile(t, 0.95, method="higher") * error * np.sqrt(252)
    assert_allclose(found.standard_error, error * np.sqrt(252))
    assert_allclose([found.low, found.high], found.difference + np.array([-half, half]))


def test_the_interval_of_equal_ratios_covers_zero_about_as_often_as_it_says():
    assert 0.92 <= coverage(48, 250, np.random.default_rng(3), 300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("n_windows", [36, 120])
def test_coverage_of_equal_ratios_on_many_pairs(n_windows):
    assert 0.935 <= coverage(n_windows, 2000, np.random.default_rng(4), 500) <= 0.985


def test_a_large_difference_is_found_with_its_sign():
    a, b, windows = make_pair(60, np.random.default_rng(5), means=(0.0, 0.003))
    found = sharpe_difference(a, b, windows=windows, rng=np.random.default_rng(0))
    assert found.high < 0.0
    assert found.p_value < 0.01
    back = sharpe_difference(b, a, windows=windows, rng=np.random.default_rng(0))
    assert_allclose([back.low, back.high, back.p_value], [-found.high, -found.low, found.p_value])


def test_leverage_changes_no_sharpe_ratio():
    a, b, windows = make_pair(30, np.random.default_rng(6))
    same = sharpe_difference(a, 2.0 * a, windows=windows, rng=np.random.default_rng(0))
    assert_allclose([same.difference, same.low, same.high], 0.0, atol=1e-12)
    assert same.p_value == 1.0
    one = sharpe_difference(a, b, windows=windows, rng=np.random.default_rng(0))
    levered = sharpe_difference(0.5 * a, 3.0 * b, windows=windows, rng=np.random.default_rng(0))
    assert one.block == levered.block
    assert_allclose([one.low, one.high], [levered.low, levered.high])


def test_what_has_no_sharpe_ratio_is_refused():
    a, b, windows = make_pair(20, np.random.default_rng(7))
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="'b' never varies"):
        sharpe_difference(a, 0.0 * b, windows=windows, rng=rng)
    with pytest.raises(DataError, match="same days"):
        sharpe_difference(a, b.iloc[1:], windows=windows, rng=rng)
    with pytest.raises(DataError, match="not finite"):
        sharpe_difference(a.where(windows > 0), b, windows=windows, rng=rng)
    with pytest.raises(DataError, match="at least 8 windows"):
        sharpe_difference(a.iloc[:100], b.iloc[:100], windows=windows.iloc[:100], rng=rng)
    with pytest.raises(ParameterError, match="periods_per_year"):
        sharpe_difference(a, b, windows=windows, periods_per_year=0, rng=rng)


def test_minimum_detectable_uses_the_quantile_of_the_interval_itself():
    a, b, windows = make_pair(24, np.random.default_rng(8))
    found = sharpe_difference(a, b, windows=windows, rng=np.random.default_rng(0))
    half = found.high - found.difference
    assert_allclose(found.minimum_detectable, half + norm.ppf(0.8) * found.standard_error)
