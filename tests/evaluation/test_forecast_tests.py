"""Forecast tests and measures: values by hand, slow twins, and rates on null forecasts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, norm, t

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.forecast_measures import forecast_measures, intensity_accuracy
from eigenfolio.evaluation.forecast_tests import diebold_mariano_test, pesaran_timmermann_test


def losses(n, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n)) ** 2


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("kernel", ["rectangular", "bartlett"])
def test_diebold_mariano_equals_its_formula_by_loops(horizon, kernel):
    a, b = losses(80)
    d = a - b
    n = len(d)
    variance = np.mean((d - d.mean()) ** 2)
    for lag in range(1, horizon):
        weight = 1.0 if kernel == "rectangular" else 1.0 - lag / horizon
        variance += 2 * weight * sum((d[i] - d.mean()) * (d[i - lag] - d.mean()) for i in range(lag, n)) / n
    plain = d.mean() / np.sqrt(variance / n)
    corrected = plain * np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano_test(a, b, horizon=horizon, kernel=kernel)
    assert_allclose(found.statistic, corrected)
    assert_allclose(found.p_value, 2 * t(n - 1).sf(abs(corrected)))
    assert_allclose(found.estimate, d.mean())


def test_one_step_ahead_the_correction_is_the_ordinary_t_test():
    # V / (n correction) is then the sum of squares over n (n - 1).
    a, b = losses(25)
    d = a - b
    assert_allclose(diebold_mariano_test(a, b).statistic, d.mean() / (d.std(ddof=1) / np.sqrt(25)))


def test_a_variance_that_comes_out_negative_is_said_and_bartlett_mends_it():
    swing = np.tile([1.0, -1.0], 20) + 0.01 * np.random.default_rng(0).standard_normal(40)
    with pytest.raises(DataError, match="use kernel='bartlett'"):
        diebold_mariano_test(swing, np.zeros(40), horizon=2)
    assert np.isfinite(diebold_mariano_test(swing, np.zeros(40), horizon=2, kernel="bartlett").statistic)


def test_equal_losses_do_not_differ():
    a, _ = losses(30)
    assert diebold_mariano_test(a, a).p_value == 1.0


def test_overlapping_losses_need_their_horizon():
    # Losses that overlap for four rows: taken for independent ones they differ far too often.
    noise = np.random.default_rng(3).standard_normal((200, 505))
    overlapping = np.cumsum(noise, axis=1)
    overlapping = overlapping[:, 5:] - overlapping[:, :-5]
    nothing = np.zeros(500)
    rates = {
        horizon: np.mean([diebold_mariano_test(d, nothing, horizon=horizon).p_value <= 0.05 for d in overlapping])
        for horizon in (1, 5)
    }
    assert rates[1] > 0.25
    assert 0.01 <= rates[5] <= 0.1


def test_pesaran_timmermann_by_hand():
    # 30 rows: 12 up-up, 3 up-down, 6 down-up, 9 down-down (forecast first).
    forecast = np.array([1.0] * 15 + [-1.0] * 15)
    realised = np.array([1.0] * 12 + [-1.0] * 3 + [1.0] * 6 + [-1.0] * 9)
    found = pesaran_timmermann_test(forecast, realised)
    p_y, p_x, n = 18 / 30, 0.5, 30
    expected = p_y * p_x + (1 - p_y) * (1 - p_x)
    of_accuracy = expected * (1 - expected) / n
    of_expected = (
        (2 * p_y - 1) ** 2 * p_x * (1 - p_x) / n
        + (2 * p_x - 1) ** 2 * p_y * (1 - p_y) / n
        + 4 * p_y * p_x * (1 - p_y) * (1 - p_x) / n**2
    )
    statistic = (0.7 - expected) / np.sqrt(of_accuracy - of_expected)
    assert_allclose([found.accuracy, found.majority_rate, found.expected], [0.7, 0.6, 0.5])
    assert_allclose([found.statistic, found.p_value], [statistic, norm.sf(statistic)])


def test_always_up_is_no_knowledge_and_is_refused():
    realised = np.random.default_rng(0).standard_normal(50) + 0.5
    with pytest.raises(DataError, match="forecast has one direction only"):
        pesaran_timmermann_test(np.ones(50), realised)
    nearly = np.ones(50)
    nearly[0] = -1.0
    found = pesaran_timmermann_test(nearly, realised)
    assert found.accuracy > 0.6  # as often right as the market rises
    assert found.p_value > 0.05


def test_unrelated_directions_are_found_as_often_as_stated_and_related_ones_mostly():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 300, 300)) + 0.1
    null = sum(pesaran_timmermann_test(a, b).p_value <= 0.05 for a, b in zip(x, y, strict=True))
    low, high = binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= null <= high
    knowing = 0.3 * y + np.sqrt(1 - 0.09) * x
    assert sum(pesaran_timmermann_test(a, b).p_value <= 0.05 for a, b in zip(knowing, y, strict=True)) > 240


def test_forecast_measures_by_hand():
    found = forecast_measures([0.5, -0.5, 0.0, 1.0], [1.0, 0.0, -1.0, 2.0])
    # Errors -0.5, -0.5, 1, -1; squares of what came 1 + 0 + 1 + 4.
    assert_allclose([found.mse, found.mae, found.r2], [2.5 / 4, 3 / 4, 1 - 2.5 / 6])
    assert_allclose(found.correlation, np.corrcoef([0.5, -0.5, 0, 1], [1, 0, -1, 2])[0, 1])
    assert (found.directional_accuracy, found.majority_rate) == (1.0, 0.5)


def test_a_wrong_forecast_has_a_negative_correlation_and_r2():
    y = np.random.default_rng(0).standard_normal(50)
    found = forecast_measures(-y, y)
    assert_allclose([found.correlation, found.r2], [-1.0, -3.0])
    assert forecast_measures(0 * y, y).r2 == 0.0  # the yardstick itself
    assert np.isnan(forecast_measures(0 * y, y).correlation)


def test_missing_pairs_are_left_out_of_a_table():
    f = np.array([[1.0, np.nan], [2.0, 3.0]])
    y = np.array([[1.0, 5.0], [np.nan, 2.0]])
    assert forecast_measures(f, y).n_observations == 2
    assert_allclose(forecast_measures(f, y).mse, 0.5)


def test_intensity_steps_count_only_where_the_best_one_moved():
    found = intensity_accuracy([0.1, 0.3, 0.2, 0.2], [0.2, 0.2, 0.1, 0.5])
    assert (found.n_steps, found.direction) == (2, 0.5)
    assert_allclose(found.bias, -0.05)
    assert np.isnan(intensity_accuracy([0.1, 0.2], [0.3, 0.3]).direction)


def test_what_cannot_be_judged_is_refused():
    a, b = losses(30)
    with pytest.raises(ParameterError, match="horizon"):
        diebold_mariano_test(a, b, horizon=0)
    with pytest.raises(ParameterError, match="kernel"):
        diebold_mariano_test(a, b, kernel="parzen")
    with pytest.raises(DataError, match="at least 33 rows, got 30"):
        diebold_mariano_test(a, b, horizon=11)
    with pytest.raises(DataError, match="at least 20 rows"):
        pesaran_timmermann_test(a[:10], b[:10])
    with pytest.raises(DataError, match="one shape"):
        forecast_measures(a, b[:-1])
    with pytest.raises(DataError, match="0 pairs"):
        forecast_measures([np.nan, 1.0], [1.0, np.nan])
    with pytest.raises(DataError, match="finite"):
        forecast_measures([np.inf, 1.0], [1.0, 1.0])
    with pytest.raises(DataError, match=r"predicted intensities must lie in \[0, 1\]"):
        intensity_accuracy([1.2, 0.1], [0.1, 0.2])
    with pytest.raises(DataError, match="two dates"):
        intensity_accuracy([0.2], [0.1])
