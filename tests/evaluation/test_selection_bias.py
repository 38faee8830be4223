"""Sharpe ratios after selection: the published examples, slow twins, and calibration on worthless trials."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kurtosis, norm, skew

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.overfitting import backtest_overfitting
from eigenfolio.evaluation.selection_bias import (
    deflated_sharpe_ratio,
    effective_trials,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe_ratio,
    probability_above,
)


@pytest.mark.parametrize(
    ("n_trials", "skewness", "kurt", "expected"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_the_deflated_examples_of_bailey_and_lopez_de_prado(n_trials, skewness, kurt, expected):
    # 2014, "A numerical example": 2.5 a year over five years of 250 days, variance 1/2 across the trials.
    best = expected_best_sharpe(n_trials, np.sqrt(0.5 / 250))
    found = probability_above(2.5 / np.sqrt(250), best, n_observations=1250, skewness=skewness, kurtosis=kurt)
    assert_allclose(found, expected, atol=5e-4)


def test_the_expected_best_of_the_paper_is_a_tenth_per_day():
    assert_allclose(expected_best_sharpe(100, np.sqrt(0.5 / 250)), 0.1132, atol=5e-5)


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_published_track_records_for_two_against_one(per_year, years):
    # 2012: a yearly ratio of 2 against 1 at 95 %, normal rows, by days, weeks and months.
    rows = minimum_track_record(2 / np.sqrt(per_year), 1 / np.sqrt(per_year))
    assert_allclose(rows / per_year, years, atol=0.005)


def test_the_needed_rows_give_the_wanted_probability():
    options = {"skewness": -0.7, "kurtosis": 5.8}
    rows = minimum_track_record(0.1, 0.02, confidence=0.9, **options)
    assert_allclose(probability_above(0.1, 0.02, n_observations=rows, **options), 0.9)
    assert minimum_track_record(0.02, 0.02) == np.inf


def test_the_expected_best_is_that_of_simulated_trials():
    best = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1)
    assert_allclose(expected_best_sharpe(50, 1.0), best.mean(), rtol=0.02)  # the formula is an approximation
    assert expected_best_sharpe(1, 1.0) == 0.0


def test_the_evidence_of_a_track_is_its_formula():
    r = 0.01 * np.random.default_rng(1).standard_t(5, 500) + 0.001
    found = probabilistic_sharpe_ratio(r, benchmark=0.5)
    s, level = r.mean() / r.std(ddof=1), 0.5 / np.sqrt(252)
    error = np.sqrt((1 - skew(r) * s + (kurtosis(r, fisher=False) - 1) / 4 * s**2) / 499)
    assert_allclose(found.probability, norm.cdf((s - level) / error))
    assert_allclose(found.p_value, 1 - found.probability)
    assert_allclose(found.high - found.low, 2 * norm.ppf(0.975) * error * np.sqrt(252))
    assert_allclose(found.minimum_detectable, 0.5 + (norm.ppf(0.95) + norm.ppf(0.8)) * error * np.sqrt(252))


def test_deflation_uses_the_variance_across_trials_and_not_that_of_the_track():
    r = 0.01 * np.random.default_rng(2).standard_normal(750)
    near, far = deflated_sharpe_ratio(r, [0.1, 0.2, 0.3]), deflated_sharpe_ratio(r, [-1.0, 0.2, 1.4])
    assert_allclose(far.benchmark / near.benchmark, 12.0)
    assert far.probability < near.probability
    assert_allclose(near.benchmark, expected_best_sharpe(3, 0.1))


def test_worthless_trials_are_seldom_called_skill_once_deflated():
    found = plain = 0
    for seed in range(80):
        tracks = np.random.default_rng(seed).standard_normal((500, 20))
        ratios = tracks.mean(axis=0) / tracks.std(axis=0, ddof=1) * np.sqrt(252)
        best = tracks[:, ratios.argmax()]
        found += deflated_sharpe_ratio(best, ratios).p_value <= 0.05
        plain += probabilistic_sharpe_ratio(best).p_value <= 0.05
    assert found / 80 <= 0.05
    assert plain / 80 > 0.5  # without deflation most of the best look like skill


def test_copies_of_one_trial_are_worth_one():
    one, other = np.random.default_rng(3).standard_normal((2, 4000))
    assert_allclose(effective_trials(np.column_stack([one] * 5)), 1.0)
    assert_allclose(effective_trials(np.column_stack([one, other])), 2.0, atol=0.05)
    half = np.column_stack([one + e for e in np.random.default_rng(4).standard_normal((9, 4000))])
    assert_allclose(effective_trials(half), 0.5 + 0.5 * 9, atol=0.2)


def naive_overfitting(tracks, n_blocks):
    """Visit every row of every split."""
    size = len(tracks) // n_blocks
    blocks = [tracks[i * size : (i + 1) * size] for i in range(n_blocks)]
    logits = []
    for inside in combinations(range(n_blocks), n_blocks // 2):
        seen = np.concatenate([blocks[i] for i in inside])
        unseen = np.concatenate([blocks[i] for i in range(n_blocks) if i not in inside])
        picked = (seen.mean(axis=0) / seen.std(axis=0)).argmax()
        outside = unseen.mean(axis=0) / unseen.std(axis=0)
        rank = (outside < outside[picked]).sum() + 1
        share = rank / (tracks.shape[1] + 1)
        logits.append(np.log(share / (1 - share)))
    return np.array(logits)


def test_overfitting_equals_a_naive_visit_of_every_split():
    tracks = np.random.default_rng(5).standard_normal((123, 7))
    found = backtest_overfitting(tracks, n_blocks=6)
    logits = naive_overfitting(tracks, 6)
    assert_allclose(found.logits, logits)
    assert_allclose(found.probability, np.mean(logits <= 1e-12))
    assert (found.n_splits, found.n_observations) == (20, 120)


def test_sixteen_blocks_are_the_published_number_of_splits():
    assert backtest_overfitting(np.random.default_rng(0).standard_normal((320, 3))).n_splits == 12_870


def test_equal_trials_are_overfitted_half_of_the_time():
    rng = np.random.default_rng(6)
    found = [backtest_overfitting(rng.standard_normal((400, 9)), n_blocks=8).probability for _ in range(60)]
    assert_allclose(np.mean(found), 0.5, atol=3 * np.std(found) / np.sqrt(60) + 0.05)


def test_a_lasting_order_is_not_overfitted_and_a_reversed_one_is():
    rng = np.random.default_rng(7)
    lasting = rng.standard_normal((400, 5)) + np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    assert backtest_overfitting(lasting, n_blocks=8).probability == 0.0
    assert backtest_overfitting(lasting, n_blocks=8).loss_probability == 0.0
    drift = np.where(np.arange(400) < 200, 1.0, -1.0)[:, None] * np.array([1.0, -1.0])
    reversed_ = backtest_overfitting(rng.standard_normal((400, 2)) + drift, n_blocks=2)
    assert (reversed_.probability, reversed_.loss_probability) == (1.0, 1.0)


def test_what_cannot_be_judged_is_refused():
    r = np.random.default_rng(0).standard_normal(100)
    with pytest.raises(DataError, match="at least 30 rows"):
        probabilistic_sharpe_ratio(r[:20])
    with pytest.raises(DataError, match="never varies"):
        probabilistic_sharpe_ratio(np.ones(50))
    with pytest.raises(DataError, match="not finite"):
        probabilistic_sharpe_ratio(np.append(r, np.nan))
    with pytest.raises(DataError, match="at least two finite ratios"):
        deflated_sharpe_ratio(r, [1.0])
    with pytest.raises(ParameterError, match="n_trials"):
        expected_best_sharpe(0.5, 1.0)
    with pytest.raises(ParameterError, match="deviation"):
        expected_best_sharpe(2, -1.0)
    with pytest.raises(ParameterError, match="n_blocks"):
        backtest_overfitting(np.ones((100, 2)), n_blocks=5)
    with pytest.raises(DataError, match=r"at least 2 trials and 32 rows"):
        backtest_overfitting(r[:, None])
    with pytest.raises(DataError, match="trial 1 never varies"):
        effective_trials(np.column_stack([r, 0 * r]))


def test_hardly_more_than_one_trial_asks_for_nothing():
    assert expected_best_sharpe(1.05, 1.0) == 0.0
    r = np.random.default_rng(8).standard_normal(100)
    plain, deflated = probabilistic_sharpe_ratio(r), deflated_sharpe_ratio(r, [0.1, 0.4], n_trials=1.1)
    assert deflated.probability == plain.probability
