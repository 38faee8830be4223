"""Calibration: what is fitted on validation holds on fresh rows, and values worked by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax
from scipy.stats import norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.training.calibration import (
    conformal_quantiles,
    isotonic_levels,
    isotonic_probabilities,
    split_conformal,
    temperature_scaling,
    variance_scale,
)
from eigenfolio.training.reliability import interval_coverage


def heteroscedastic(n, seed):
    """Centres, scales and targets; the errors are those of a Student distribution, so no normal formula is right."""
    rng = np.random.default_rng(seed)
    center, scale = rng.standard_normal(n), np.exp(rng.normal(0.0, 0.7, n))
    return center, scale, center + scale * rng.standard_t(4, n)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_split_conformal_intervals_cover_fresh_rows_with_their_level(level):
    center, scale, y = heteroscedastic(4000, 0)
    fitted = split_conformal(y, center, scale, level=level)
    center, scale, y = heteroscedastic(4000, 1)
    assert interval_coverage(y, *fitted.interval(center, scale)).holds(level)


def test_the_conformal_rank_is_that_of_a_sorted_list():
    rng = np.random.default_rng(0)
    for n, level in [(19, 0.9), (20, 0.9), (99, 0.95), (10, 0.5)]:
        y = rng.standard_normal(n)
        rank = min(r for r in range(1, n + 1) if r / (n + 1) >= level - 1e-12)
        assert split_conformal(y, 0.0, level=level).factor == sorted(np.abs(y))[rank - 1]


def test_coverage_averages_to_the_level_over_validation_sets_of_any_size():
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        fitted = split_conformal(rng.standard_normal(19), 0.0, level=0.9)
        shares.append(2 * norm.cdf(fitted.factor) - 1)
    assert abs(np.mean(shares) - 0.9) < 4 * np.std(shares) / 20


def test_scales_that_are_wrong_by_a_common_factor_change_no_interval():
    center, scale, y = heteroscedastic(500, 0)
    right, halved = split_conformal(y, center, scale), split_conformal(y, center, scale / 2)
    assert halved.factor == pytest.approx(2 * right.factor)
    assert_allclose(halved.interval(center, scale / 2), right.interval(center, scale))


def test_variances_that_are_half_of_the_truth_are_found_out_and_the_nominal_interval_comes_back():
    rng = np.random.default_rng(0)
    variance = np.exp(rng.normal(0.0, 1.0, 8000))
    y = np.sqrt(2 * variance) * rng.standard_normal(8000)
    factor = variance_scale(y[:4000], 0.0, variance[:4000])
    assert factor == pytest.approx(2.0, abs=4 * 2 * np.sqrt(2 / 4000))
    half = norm.ppf(0.95) * np.sqrt(variance[4000:])
    before = interval_coverage(y[4000:], -half, half)
    after = interval_coverage(y[4000:], -half * np.sqrt(factor), half * np.sqrt(factor))
    assert not before.holds(0.9)
    assert before.share == pytest.approx(2 * norm.cdf(norm.ppf(0.95) / np.sqrt(2)) - 1, abs=0.02)
    assert after.holds(0.9)


@pytest.mark.parametrize("stretch", [0.5, 2.0])
def test_quantiles_that_are_too_narrow_or_too_wide_are_moved_to_their_level(stretch):
    rng = np.random.default_rng(1)
    y = rng.standard_normal(8000)
    low, high = np.full(8000, -stretch * 1.645), np.full(8000, stretch * 1.645)
    fitted = conformal_quantiles(y[:4000], low[:4000], high[:4000], level=0.9)
    assert np.sign(fitted.offset) == np.sign(1.0 - stretch)
    assert interval_coverage(y[4000:], *fitted.interval(low[4000:], high[4000:])).holds(0.9)


def test_quantiles_that_would_cross_meet_in_the_middle():
    fitted = conformal_quantiles(np.zeros(99), np.full(99, -3.0), np.full(99, 3.0), level=0.9)
    assert fitted.offset == -3.0
    low, high = fitted.interval([-1.0], [1.5])
    assert low == high == 0.25


def test_a_temperature_is_recovered_from_logits_that_are_three_times_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 1.5, (6000, 4))
    labels = np.array([rng.choice(4, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    fitted = temperature_scaling(3.0 * logits, labels)
    assert fitted.value == pytest.approx(3.0, rel=0.06)
    assert_allclose(fitted.probabilities(3.0 * logits).sum(axis=1), 1.0)


def test_a_temperature_is_the_best_on_a_fine_grid():
    rng = np.random.default_rng(2)
    logits, labels = rng.standard_normal((200, 3)), rng.integers(0, 3, 200)
    labels[:120] = logits[:120].argmax(axis=1)
    fitted = temperature_scaling(logits, labels)

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(200), labels].mean()

    assert loss(fitted.value) <= min(loss(t) for t in np.geomspace(0.02, 50, 2000)) + 1e-9


def test_two_classes_and_one_logit_are_the_same():
    rng = np.random.default_rng(4)
    logit = rng.standard_normal(500)
    labels = (rng.random(500) < expit(logit / 2)).astype(int)
    one = temperature_scaling(logit, labels)
    two = temperature_scaling(np.column_stack([np.zeros(500), logit]), labels)
    assert one.value == pytest.approx(two.value)
    assert_allclose(one.probabilities(logit), two.probabilities(np.column_stack([np.zeros(500), logit]))[:, 1])


def test_isotonic_probabilities_recover_a_known_distortion():
    rng = np.random.default_rng(0)
    truth = rng.random(80000)
    fitted = isotonic_probabilities(truth**2, rng.random(80000) < truth)
    at = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    assert_allclose(fitted(at**2), at, atol=0.04)
    assert np.all(np.diff(fitted(np.linspace(0, 1, 99))) >= 0)


def test_isotonic_levels_of_a_distribution_that_is_half_as_wide_as_it_should_be():
    rng = np.random.default_rng(0)
    fitted = isotonic_levels(norm.cdf(2 * rng.standard_normal(20000)))  # the model says sd 1, the truth is 2
    for level in (0.05, 0.5, 0.95):
        asked = float(fitted.inverse(level))
        assert asked == pytest.approx(norm.cdf(2 * norm.ppf(level)), abs=0.006)
        assert float(fitted(asked)) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: split_conformal([1.0, 2.0], [0.0], level=0.5),
            r"one length of at least 1, got target \(2,\), center \(1,\)",
        ),
        (lambda: split_conformal([1.0, np.nan], 0.0, level=0.5), "target holds 1 numbers that are not finite"),
        (lambda: split_conformal([1.0, 2.0], 0.0, 0.0, level=0.5), "every scale must be positive, got 0"),
        (lambda: split_conformal(np.ones(8), 0.0, level=0.9), "level=0.9 needs at least 9 validation rows, got 8"),
        (lambda: variance_scale([1.0], 0.0, -1.0), "every variance must be positive"),
        (lambda: isotonic_probabilities([0.5, 1.5], [0, 1]), r"probabilities must lie in \[0, 1\], got 0.5 to 1.5"),
        (lambda: isotonic_probabilities([0.5, 0.5], [0, 2]), "outcomes must be 0 or 1"),
        (lambda: temperature_scaling(np.zeros((2, 3)), [0, 3]), "labels must be classes 0 to 2"),
        (lambda: temperature_scaling([[np.inf, 0.0]], [0]), "a logit is not finite"),
        (lambda: temperature_scaling(np.zeros((2, 3)), [0]), r"got \(2, 3\) and \(1,\)"),
    ],
)
def test_what_cannot_be_calibrated_is_said(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_a_level_is_a_share():
    for level in (0.0, 1.0, 90.0):
        with pytest.raises(ParameterError, match="level must lie in"):
            split_conformal([1.0, 2.0], 0.0, level=level)
