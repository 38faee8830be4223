"""Measures of intervals and probabilities against values worked by hand and known truths."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.training.reliability import error_uncertainty_correlation, interval_coverage, reliability_table


def test_coverage_by_hand():
    found = interval_coverage([0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 3.0, 0.0], [0.0, 2.0, 4.0, 2.0])
    assert (found.share, found.n, found.mean_width) == (0.5, 4, 1.25)
    # Clopper-Pearson for 2 of 4
    assert_allclose([found.low, found.high], [0.0675860, 0.9324140], atol=1e-6)


def test_the_binomial_interval_holds_the_true_share_as_often_as_it_should():
    rng = np.random.default_rng(0)
    held = [interval_coverage(rng.random(60), np.zeros(60), np.full(60, 0.8)).holds(0.8) for _ in range(200)]
    assert np.mean(held) >= 0.93


def test_reliability_of_calibrated_probabilities_is_the_diagonal_and_of_others_is_not():
    rng = np.random.default_rng(0)
    truth = rng.random(20000)
    happened = rng.random(20000) < truth
    table = reliability_table(truth, happened)
    assert len(table) == 10
    assert table["count"].sum() == 20000
    assert_allclose(table["observed"], table["predicted"], atol=4 * 0.5 / np.sqrt(2000))
    wrong = reliability_table(truth**3, happened)
    assert (wrong["observed"] - wrong["predicted"]).max() > 0.3


def test_equal_predictions_share_a_bin():
    table = reliability_table([0.3] * 6, [1, 0, 0, 0, 0, 0])
    assert table["count"].tolist() == [6]
    assert table["observed"].item() == pytest.approx(1 / 6)


def test_errors_follow_their_known_sizes_and_no_other_numbers():
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(0.0, 1.0, 5000))
    error = size * rng.standard_normal(5000)
    assert 0.5 < error_uncertainty_correlation(error, size) < 0.9
    assert abs(error_uncertainty_correlation(error, rng.random(5000))) < norm.ppf(0.9999) / np.sqrt(5000)


def test_what_cannot_be_measured_is_said():
    with pytest.raises(DataError, match="got a constant"):
        error_uncertainty_correlation([1.0, -1.0], [1.0, 2.0])
    with pytest.raises(ParameterError, match="n_bins must be at least 1, got 0"):
        reliability_table([0.5], [1], n_bins=0)
    with pytest.raises(DataError, match=r"got target \(1, 1\)"):
        interval_coverage([[0.5]], [[0.0]], [[1.0]])
