"""Regimes: known truth in a market with a planted crisis, rules by hand, causality."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import ParameterError
from eigenfolio.features.correlation import correlation_features
from eigenfolio.features.regimes import REGIMES, average_correlation, market_regimes
from eigenfolio.panel import Panel

CRISIS = slice(700, 760)


def market_with_a_crisis(n_assets=15, n_rows=900, *, seed=0):
    """A third of the variance is common; in the crisis the common part is five times as large."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((n_rows, 1)), rng.standard_normal((n_rows, n_assets))
    size = np.ones((n_rows, 1))
    size[CRISIS] = 5.0
    returns = 0.007 * size * common + 0.01 * own
    dates = pd.bdate_range("2015-01-01", periods=n_rows)
    return pd.DataFrame(returns, index=dates, columns=[f"A{i}" for i in range(n_assets)])


def test_a_planted_crisis_is_called_one_and_quiet_years_before_it_are_not():
    labels = market_regimes(Panel.from_returns(market_with_a_crisis()))["label"]
    inside = labels.iloc[CRISIS.start + 10 : CRISIS.stop]
    assert (inside == "crisis").all()
    assert (labels.iloc[400 : CRISIS.start] == "crisis").mean() < 0.10
    assert (labels.iloc[CRISIS.stop + 63 :] != "crisis").all()


def test_a_market_that_drifts_is_trending_and_one_that_does_not_is_calm():
    returns = market_with_a_crisis(n_rows=1100, seed=1)
    size = np.linspace(1.0, 0.5, 1100)[:, None]  # ever calmer, so that volatility stays out of it
    returns = returns * size
    returns.iloc[CRISIS] *= 0.2
    returns.iloc[900:] += 0.003
    labels = market_regimes(Panel.from_returns(returns))["label"]
    assert (labels.iloc[1000:] == "trending").mean() > 0.9
    assert (labels.iloc[400:900] == "calm").mean() > 0.5


def test_the_labels_follow_the_rules_from_their_percentiles():
    regimes = market_regimes(Panel.from_returns(market_with_a_crisis()))
    for _, (label, v, c, t) in regimes.dropna().iterrows():
        if v >= 0.9 and c >= 0.75:
            expected = "crisis"
        elif v >= 0.75 or (v >= 0.5 and c >= 0.9):
            expected = "stressed"
        elif t >= 2 / 3:
            expected = "trending"
        else:
            expected = "calm"
        assert label == expected


def test_percentiles_are_those_of_a_slow_twin():
    returns = market_with_a_crisis(n_rows=320)
    regimes = market_regimes(Panel.from_returns(returns), burn_in=100)
    m = returns.mean(axis=1).to_numpy()
    volatility = [np.sqrt(np.mean(m[t - 20 : t + 1] ** 2)) for t in range(20, 320)]
    trend = [abs(m[t - 125 : t + 1].mean() / m[t - 125 : t + 1].std(ddof=1)) for t in range(125, 320)]
    correlation = []
    for t in range(62, 320):
        C = np.corrcoef(returns.to_numpy()[t - 62 : t + 1].T)
        correlation.append((C.sum() - len(C)) / (len(C) * (len(C) - 1)))
    for name, values in (("volatility", volatility), ("correlation", correlation), ("trend", trend)):
        ranks = [np.sum(np.array(values[:k]) < values[k - 1]) + 0.5 for k in range(100, len(values) + 1)]
        expected = np.array(ranks) / np.arange(100, len(values) + 1)
        found = regimes[f"{name}_percentile"].to_numpy()
        assert_allclose(found[-len(expected) :], expected)
        assert np.isnan(found[: -len(expected)]).all()
    assert regimes["label"].isna().sum() == 124 + 100
    assert regimes["label"].iloc[224:].notna().all()


def test_average_correlation_is_the_mean_correlation_of_the_family():
    panel = factor_market(12, 200, seed=4, gaps=0.05, late_listings=0.4, delistings=0.4).panel
    expected = correlation_features(panel, range(200), lookback=63)["mean_correlation"]
    assert_allclose(average_correlation(panel.returns.to_numpy(), 63), expected, atol=1e-12)


def test_where_there_is_one_asset_volatility_alone_decides():
    regimes = market_regimes(Panel.from_returns(market_with_a_crisis(n_assets=1)))
    assert regimes["correlation_percentile"].isna().all()
    assert regimes["label"].iloc[376:].notna().all()
    assert (regimes["label"].iloc[CRISIS.start + 15 : CRISIS.stop] == "crisis").all()


def test_column_order_and_leverage_do_not_matter():
    returns = market_with_a_crisis(n_rows=500)
    before = market_regimes(Panel.from_returns(returns))["label"]
    assert_series_equal(before, market_regimes(Panel.from_returns(3 * returns[returns.columns[::-1]]))["label"])


@pytest.mark.parametrize("how", ["cut", "missing", "huge", "shuffled"])
def test_the_future_changes_no_label(how):
    returns = market_with_a_crisis(n_rows=760)
    past, future = returns.iloc[:600], returns.iloc[600:]
    order = np.random.default_rng(0).permutation(len(future))
    later = {
        "cut": future.iloc[:0],
        "missing": future * np.nan,
        "huge": future * 0 + 1e6,
        "shuffled": pd.DataFrame(future.to_numpy()[order], index=future.index, columns=future.columns),
    }[how]
    before = market_regimes(Panel.from_returns(returns), confirm=3).iloc[:600]
    after = market_regimes(Panel.from_returns(pd.concat([past, later])), confirm=3).iloc[:600]
    assert_frame_equal(before, after, check_exact=True, check_freq=False)


def test_a_new_label_stands_once_it_is_confirmed():
    panel = Panel.from_returns(market_with_a_crisis())
    plain, slow = (market_regimes(panel, confirm=rows)["label"] for rows in (1, 4))
    first = plain.first_valid_index()
    standing, expected = plain[first], []
    values = plain[first:].tolist()
    for i, value in enumerate(values):
        if i >= 3 and len(set(values[i - 3 : i + 1])) == 1:
            standing = value
        expected.append(standing)
    assert slow[first:].tolist() == expected
    assert slow.cat.categories.tolist() == list(REGIMES)


def test_options_out_of_range_are_refused():
    panel = Panel.from_returns(market_with_a_crisis(n_rows=50))
    assert market_regimes(panel)["label"].isna().all()
    with pytest.raises(ParameterError, match=r"crisis_volatility must be a percentile in \[0, 1\], got 90"):
        market_regimes(panel, crisis_volatility=90)
    with pytest.raises(ParameterError, match="burn_in must be at least 1 row, got 0"):
        market_regimes(panel, burn_in=0)


def test_october_2008_and_march_2020_are_crises_in_real_prices(shared_data):
    prices = pd.read_parquet(shared_data / "us_equity_adj_close.parquet").iloc[:, ::4]
    labels = market_regimes(Panel.from_prices(prices))["label"]
    for month in ("2008-10", "2020-03"):
        assert (labels.loc[month] == "crisis").mean() > 0.9
    for year in ("2005", "2013", "2017"):
        assert (labels.loc[year] == "crisis").sum() == 0
