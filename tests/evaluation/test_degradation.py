"""Changes under stress against planted ones, and the intervals against many draws."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.degradation import degradation_table
from eigenfolio.measures import sharpe_ratio


def series(values):
    return pd.Series(np.asarray(values, dtype=float))


def test_the_change_is_the_log_ratio_of_volatilities_and_the_difference_of_sharpe_ratios():
    rng = np.random.default_rng(1)
    stress, usual = series(0.03 * rng.standard_normal(60)), series(0.001 + 0.01 * rng.standard_normal(300))
    row = degradation_table({"A": stress}, {"A": usual}, rng=rng, paired=False).loc["A"]
    assert_allclose(row["log_volatility"], np.log(stress.std(ddof=0) / usual.std(ddof=0)))
    # the ratio of the moments has n below, that of the measures n - 1
    expected = sharpe_ratio(stress) * np.sqrt(60 / 59) - sharpe_ratio(usual) * np.sqrt(300 / 299)
    assert_allclose(row["sharpe_change"], expected)
    assert (row["n_rows"], row["n_normal"]) == (60, 300)


def test_the_same_days_three_times_as_wild_are_three_times_as_wild_without_doubt():
    usual = series(0.01 * np.random.default_rng(2).standard_normal(200))
    row = degradation_table({"A": 3 * usual}, {"A": usual}, rng=np.random.default_rng(0), paired=True).loc["A"]
    assert_allclose(row[["log_volatility", "log_volatility_low", "log_volatility_high"]], np.log(3.0))
    assert_allclose(row[["sharpe_change", "sharpe_change_low", "sharpe_change_high"]], 0.0, atol=1e-9)
    unpaired = degradation_table({"A": 3 * usual}, {"A": usual}, rng=np.random.default_rng(0), paired=False).loc["A"]
    assert unpaired["log_volatility_high"] - unpaired["log_volatility_low"] > 0.1


def test_the_relative_change_says_which_book_suffers_more():
    rng = np.random.default_rng(3)
    market, own = rng.standard_normal(600), rng.standard_normal((600, 2))
    books = {name: series(0.01 * market + 0.003 * own[:, i]) for i, name in enumerate(("a", "b"))}
    stress = {"a": 3.0 * books["a"][:150], "b": 2.0 * books["b"][:150]}
    usual = {name: track[150:] for name, track in books.items()}
    table = degradation_table(stress, usual, rng=rng, paired=False, reference="b")
    a = table.loc["a"]
    assert_allclose(a["relative_log_volatility"], a["log_volatility"] - table.loc["b", "log_volatility"])
    assert a["relative_log_volatility_low"] > 0.0
    # days are shared, so the difference is known far better than either change
    assert a["relative_log_volatility_high"] - a["relative_log_volatility_low"] < 0.75 * (
        a["log_volatility_high"] - a["log_volatility_low"]
    )
    assert table.loc["b", "relative_log_volatility"] == 0.0


def test_a_change_on_few_rows_of_the_same_days_has_a_finite_interval():
    usual = series(0.01 * np.random.default_rng(5).standard_normal(300))
    stress = usual.copy()
    stress.iloc[[40, 41, 200]] -= 0.2
    row = degradation_table({"A": stress}, {"A": usual}, rng=np.random.default_rng(0), paired=True).loc["A"]
    assert 0.0 < row["log_volatility_high"] - row["log_volatility"] < 2.0


@pytest.mark.slow
def test_the_interval_of_paired_rows_covers_the_planted_change_as_often_as_it_says_or_more():
    # y = x + e with e independent and of the same size: the volatility grows by the root of two.
    truth, hits, n_trials = 0.5 * np.log(2.0), 0, 300
    for seed in range(n_trials):
        rng = np.random.default_rng(seed)
        usual, extra = series(0.01 * rng.standard_normal(200)), series(0.01 * rng.standard_normal(200))
        row = degradation_table({"A": usual + extra}, {"A": usual}, rng=rng, paired=True, n_bootstrap=500).loc["A"]
        hits += row["log_volatility_low"] <= truth <= row["log_volatility_high"]
    assert 0.93 <= hits / n_trials < 1.0


@pytest.mark.slow
def test_where_volatility_clusters_the_interval_of_a_year_and_a_half_still_holds_the_long_run_four_times_in_five():
    hits, n_trials, n_stress = 0, 200, 355
    for seed in range(n_trials):
        rng = np.random.default_rng(seed)
        rows, variance = np.empty(3000 + n_stress), 1.0
        for t, shock in enumerate(rng.standard_normal(rows.size)):
            rows[t] = 0.01 * np.sqrt(variance) * shock
            variance = 0.02 + 0.08 * variance * shock**2 + 0.90 * variance
        stress, usual = series(2.0 * rows[3000:]), series(rows[:3000])
        row = degradation_table({"A": stress}, {"A": usual}, rng=rng, paired=False, n_bootstrap=300).loc["A"]
        hits += row["log_volatility_low"] <= np.log(2.0) <= row["log_volatility_high"]
    assert 0.78 <= hits / n_trials <= 0.97


def test_the_unit_of_returns_does_not_matter_and_the_seed_decides_every_bit():
    rng = np.random.default_rng(4)
    stress, usual = series(rng.standard_t(4, 80)), series(rng.standard_t(4, 300))

    def table(unit):
        return degradation_table(
            {"A": unit * stress}, {"A": unit * usual}, rng=np.random.default_rng(9), paired=False
        ).filter(like="log_")

    assert_allclose(table(0.01), table(1e-4), rtol=1e-9)
    pd.testing.assert_frame_equal(table(0.01), table(0.01))


@pytest.mark.slow
def test_the_interval_covers_the_planted_change_about_as_often_as_it_says():
    truth, hits, n_trials = np.log(2.0), 0, 300
    for seed in range(n_trials):
        rng = np.random.default_rng(seed)
        stress, usual = series(0.02 * rng.standard_normal(60)), series(0.01 * rng.standard_normal(500))
        row = degradation_table({"A": stress}, {"A": usual}, rng=rng, paired=False, n_bootstrap=500).loc["A"]
        hits += row["log_volatility_low"] <= truth <= row["log_volatility_high"]
    assert 0.90 <= hits / n_trials <= 0.99


def test_what_says_nothing_is_refused():
    good, rng = series(np.random.default_rng(0).standard_normal(50)), np.random.default_rng(0)
    with pytest.raises(DataError, match="at least 20 rows are needed, got 10"):
        degradation_table({"A": good[:10]}, {"A": good}, rng=rng, paired=False)
    with pytest.raises(DataError, match="the same days twice"):
        degradation_table({"A": good[:30]}, {"A": good}, rng=rng, paired=True)
    with pytest.raises(DataError, match="never varies"):
        degradation_table({"A": 0 * good}, {"A": good}, rng=rng, paired=True)
    with pytest.raises(DataError, match="same books"):
        degradation_table({"A": good}, {"B": good}, rng=rng, paired=True)
    with pytest.raises(ParameterError, match="reference must be one of A"):
        degradation_table({"A": good}, {"A": good}, rng=rng, paired=True, reference="B")
