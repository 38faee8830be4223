"""Alarms on a track: cumulative sums by hand, false alarms at their stated rate, and delays after a change."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import monitoring
from eigenfolio.evaluation.input_drift import stability_index
from eigenfolio.evaluation.monitoring import monitor_track

N_REFERENCE, N_NEW = 500, 252
DAYS = pd.bdate_range("2012-01-02", periods=N_REFERENCE + N_NEW)
SINCE = DAYS[N_REFERENCE]


def track(rng, *, heavy=False, scale_after=1.0):
    """Returns with a volatility of 1 % a row until the change."""
    z = rng.standard_t(5, len(DAYS)) / np.sqrt(5 / 3) if heavy else rng.standard_normal(len(DAYS))
    z[N_REFERENCE:] *= scale_after
    return pd.Series(0.01 * z, index=DAYS)


FORECAST = pd.Series(0.01, index=DAYS)


def watched(returns, rng, **options):
    return monitor_track(returns, FORECAST, since=SINCE, rng=rng, n_bootstrap=199, **options)


def naive_sum(scores, allowance):
    """Page's rule, one number at a time."""
    total, path = 0.0, []
    for x in scores:
        total = max(total + x - allowance, 0.0)
        path.append(total)
    return path


def test_the_path_of_the_risk_is_pages_sum_of_ranks():
    returns = track(np.random.default_rng(0))
    [chart] = watched(returns, np.random.default_rng(1)).charts
    squares = (returns / FORECAST).to_numpy() ** 2
    ranks = [np.mean(squares[:N_REFERENCE] < v) for v in squares[N_REFERENCE:]]
    shares = (np.array(ranks) * N_REFERENCE + 0.5) / (N_REFERENCE + 1)
    expected = naive_sum(-np.log(1 - shares), 2 * np.log(2))
    assert_allclose(chart.path * chart.threshold, expected, atol=1e-12)
    assert chart.level == pytest.approx(squares[N_REFERENCE:].mean() / squares[:N_REFERENCE].mean())


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "student"])
def test_false_alarms_are_no_more_frequent_than_stated(heavy):
    rng = np.random.default_rng(2)
    alarms = [watched(track(rng, heavy=heavy), rng, false_alarm=0.2).alarmed for _ in range(60)]
    assert np.mean(alarms) <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 60)
    assert np.mean(alarms) > 0.02  # the bound is not held by silence


@pytest.mark.slow
def test_false_alarms_of_everything_together_are_no_more_frequent_than_stated():
    rng = np.random.default_rng(3)
    alarms = []
    for _ in range(200):
        returns = track(rng, heavy=True)
        inputs = pd.DataFrame(lfilter([1.0], [1.0, -0.5], rng.standard_normal((len(DAYS), 4)), axis=0), index=DAYS)
        traded = pd.Series(0.1 * np.exp(0.3 * rng.standard_normal(len(DAYS[::21]))), index=DAYS[::21])
        benchmark = returns + 0.004 * rng.standard_normal(len(DAYS))
        found = watched(
            returns, rng, benchmark=benchmark, turnover=traded, inputs=inputs, false_alarm=0.1, block=21
        )  # fmt: skip
        alarms.append(found.alarmed)
    assert 0.02 < np.mean(alarms) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 200)


@pytest.mark.slow
def test_forecasts_that_lag_behind_volatility_alarm_more_often_but_not_always():
    """A GARCH market of persistence 0.98, and forecasts of EWMA(63) that are renewed every 21 rows."""
    rng, keep, alarms = np.random.default_rng(16), 2 ** (-1 / 63), []
    for _ in range(60):
        variance, z = 1.0, np.empty(len(DAYS) + 300)
        for t in range(len(z)):
            z[t] = np.sqrt(variance) * rng.standard_normal()
            variance = 0.02 + 0.05 * z[t] ** 2 + 0.93 * variance
        ewma = lfilter([1 - keep], [1.0, -keep], z**2, zi=[keep])[0][299:-1:21]
        forecast = pd.Series(0.01 * np.sqrt(np.repeat(ewma, 21)[: len(DAYS)]), index=DAYS)
        returns = pd.Series(0.01 * z[300:], index=DAYS)
        alarms.append(monitor_track(returns, forecast, since=SINCE, rng=rng, n_bootstrap=199).alarmed)
    assert 0.05 < np.mean(alarms) < 0.35


def test_volatility_that_clusters_raises_the_threshold():
    rng = np.random.default_rng(4)
    slow = lfilter([np.sqrt(1 - 0.98**2)], [1.0, -0.98], rng.standard_normal(len(DAYS) + 500))[500:]
    clustered = pd.Series(0.01 * np.exp(0.4 * slow) * rng.standard_normal(len(DAYS)), index=DAYS)
    calm, restless = (watched(x, np.random.default_rng(5)).charts[0] for x in (track(rng), clustered))
    assert restless.threshold > 1.3 * calm.threshold


def test_a_doubled_variance_is_found_after_about_the_stated_delay():
    rng = np.random.default_rng(6)
    waits, told = [], []
    for _ in range(40):
        [chart] = watched(track(rng, scale_after=np.sqrt(2)), rng).charts
        waits.append(np.inf if chart.alarm is None else DAYS.get_loc(chart.alarm) - N_REFERENCE + 1)
        told.append(chart.delay)
    assert np.median(waits) == pytest.approx(np.median(told), rel=0.35)
    assert np.median(waits) < 80


def test_the_rows_between_false_alarms_follow_from_the_rate():
    found = watched(track(np.random.default_rng(7)), np.random.default_rng(8), false_alarm=0.5)
    assert found.run_length == pytest.approx(252 / np.log(2))


def test_a_loss_against_the_benchmark_and_a_rise_in_turnover_are_found():
    rng = np.random.default_rng(9)
    returns = track(rng)
    benchmark = returns + 0.004 * rng.standard_normal(len(DAYS))
    benchmark.iloc[N_REFERENCE:] += 0.5 * 0.004
    dates = DAYS[::10]
    traded = pd.Series(0.1 * np.exp(0.3 * rng.standard_normal(len(dates))), index=dates)
    traded[dates >= SINCE] *= 2.0
    found = {c.name: c for c in watched(returns, rng, benchmark=benchmark, turnover=traded).charts}
    assert found["risk"].alarm is None
    assert found["shortfall"].alarm is not None
    assert found["shortfall"].level == pytest.approx(0.5, abs=0.15)
    assert found["turnover"].alarm is not None
    assert found["turnover"].level > 1.5
    assert found["shortfall"].since >= SINCE


def test_inputs_that_moved_are_named_and_the_others_are_not():
    rng = np.random.default_rng(10)
    inputs = pd.DataFrame(rng.standard_normal((len(DAYS), 3)), index=DAYS, columns=["calm", "moved", "gone"])
    inputs.loc[SINCE:, "moved"] += 1.0
    inputs.loc[DAYS[N_REFERENCE + 60] :, "gone"] = np.nan
    found = watched(track(rng), rng, inputs=inputs, block=5)
    assert found.drifted == ("moved", "gone")
    before, after = inputs.loc[: DAYS[N_REFERENCE - 1], "moved"], inputs.loc[SINCE:, "moved"]
    assert found.drift.loc["moved", "distance"] == pytest.approx(ks_2samp(before, after).statistic)
    assert found.drift.loc["moved", "stability_index"] > 0.5 > found.drift.loc["calm", "stability_index"]


def test_the_stability_index_by_hand():
    a, b = np.arange(20.0), np.array([0.5] * 10 + [19.0] * 10)
    p, q = np.full(10, 2.5), np.array([10.5] + [0.5] * 8 + [10.5])
    p, q = p / p.sum(), q / q.sum()
    assert stability_index(a, b) == pytest.approx(np.sum((p - q) * np.log(p / q)))


def test_the_share_of_a_persistent_component_is_recovered():
    rng = np.random.default_rng(11)
    shares = {0.0: [], 0.3: []}
    for share, found in shares.items():
        for _ in range(60):
            slow = lfilter([np.sqrt(1 - 0.98**2)], [1.0, -0.98], rng.standard_normal(1500))[500:]
            z = np.sqrt(share) * slow + np.sqrt(1 - share) * rng.standard_normal(1000)
            found.append(monitoring._persistent_share(z, 0.98))
    assert np.mean(shares[0.0]) < 0.01
    assert np.mean(shares[0.3]) == pytest.approx(0.3, abs=0.06)


def test_it_is_told_in_words_and_in_values():
    rng = np.random.default_rng(12)
    found = watched(track(rng, scale_after=3.0), rng)
    assert found.sentences[0].startswith("Alarm: ")
    assert "Risk: ALARM on 201" in found.sentences[1]
    assert found.to_dict()["charts"][0]["alarm"] == f"{found.charts[0].alarm:%Y-%m-%d}"
    assert found.to_dict()["alarmed"] is True


def test_the_same_seed_gives_the_same_bits():
    returns = track(np.random.default_rng(13))
    one, two = (watched(returns, np.random.default_rng(14)).to_dict() for _ in range(2))
    assert one == two


def test_what_cannot_be_watched_is_refused():
    rng = np.random.default_rng(15)
    returns = track(rng)
    with pytest.raises(DataError, match="too few to know what is usual"):
        monitor_track(returns, FORECAST, since=DAYS[10], rng=rng)
    with pytest.raises(DataError, match="no row since"):
        monitor_track(returns, FORECAST, since=DAYS[-1] + pd.Timedelta(days=1), rng=rng)
    with pytest.raises(DataError, match="dates of returns"):
        watched(returns, rng, benchmark=returns.iloc[1:])
    with pytest.raises(DataError, match="above 0"):
        monitor_track(returns, 0 * FORECAST, since=SINCE, rng=rng)
    with pytest.raises(DataError, match="finite"):
        watched(returns.where(returns.index != DAYS[3]), rng)
    with pytest.raises(ParameterError, match="horizon must cover the 252 rows"):
        watched(returns, rng, horizon=100)
    with pytest.raises(ParameterError, match="cannot resolve a probability"):
        watched(returns, rng, false_alarm=0.001)
    with pytest.raises(ParameterError, match=r"false_alarm must lie in \(0, 0.5\]"):
        watched(returns, rng, false_alarm=0.0)
