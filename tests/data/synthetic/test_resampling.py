"""Markets drawn from the rows of a real panel, and the covariance they are drawn from."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.data.synthetic import bootstrap_market, bootstrap_rows, factor_market, row_weights
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel

METHODS = ("stationary", "circular", "moving")


@pytest.fixture(scope="module")
def source():
    return factor_market(4, 60, seed=1).panel


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_those_of_arch_bit_for_bit(method):
    bootstrap = pytest.importorskip("arch.bootstrap")
    peer = {
        "stationary": bootstrap.StationaryBootstrap,
        "circular": bootstrap.CircularBlockBootstrap,
        "moving": bootstrap.MovingBlockBootstrap,
    }[method]
    drawn = peer(7, np.arange(100.0), seed=np.random.default_rng(5))
    theirs = np.concatenate([data[0][0].astype(int) for data in drawn.bootstrap(3)])
    rng = np.random.default_rng(5)
    assert np.array_equal(
        np.concatenate([bootstrap_rows(100, 100, method=method, block=7, rng=rng) for _ in "abc"]), theirs
    )


def test_the_stationary_bootstrap_equals_a_plain_loop():
    rows = bootstrap_rows(50, 400, block=6, rng=np.random.default_rng(3))
    rng = np.random.default_rng(3)
    starts, chances = rng.integers(50, size=400), rng.random(400)
    slow = [starts[0]]
    for start, chance in zip(starts[1:], chances[1:], strict=True):
        slow.append(start if chance <= 1 / 6 else (slow[-1] + 1) % 50)
    assert rows.tolist() == slow


@pytest.mark.parametrize("method", METHODS)
def test_blocks_have_the_stated_length(method):
    rows = bootstrap_rows(1_000, 50_000, method=method, block=10, rng=np.random.default_rng(0))
    follows = (np.diff(rows) % 1_000 == 1).mean()
    assert follows == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_every_source_row_is_drawn_as_often_as_its_weight_says(method):
    rows = bootstrap_rows(12, 240_000, method=method, block=4, rng=np.random.default_rng(0))
    weights = row_weights(12, method=method, block=4)
    assert weights.sum() == pytest.approx(1)
    assert_allclose(np.bincount(rows, minlength=12) / len(rows), weights, atol=0.004)


@pytest.mark.parametrize("method", METHODS)
def test_the_covariance_of_a_long_market_is_the_stated_one(source, method):
    market = bootstrap_market(source, 40_000, method=method, block=5, seed=4)
    error = np.linalg.norm(market.panel.returns.cov() - market.covariance) / np.linalg.norm(market.covariance)
    assert error < 0.05
    assert market.covariance_path.at(17) is market.covariance_path.at(39_999)


def test_the_covariance_is_that_of_the_source_with_divisor_t(source):
    assert_allclose(bootstrap_market(source, block=3).covariance, source.returns.cov(ddof=0), rtol=1e-12)


def test_rows_keep_their_cross_section_and_their_missing_values():
    panel = factor_market(5, 80, seed=2, late_listings=0.5, gaps=0.1).panel
    panel = Panel.from_prices(panel.prices, market=panel.prices.iloc[:, 0].rename("index"), sectors={"A001": "tech"})
    market = bootstrap_market(panel, 120, block=8, seed=3)
    rows = bootstrap_rows(80, 120, block=8, rng=np.random.default_rng(3))
    assert_allclose(market.panel.returns, panel.returns.to_numpy()[rows], rtol=1e-9, atol=1e-12)
    assert_allclose(market.panel.market["index"], panel.market["index"].to_numpy()[rows])
    assert market.panel.sectors["A001"] == "tech"
    assert list(market.panel.prices.index) == list(pd.bdate_range(panel.index[0], periods=121))


def test_with_missing_values_each_entry_is_over_the_rows_both_assets_have():
    panel = factor_market(4, 80, seed=2, gaps=0.2).panel
    covariance = bootstrap_market(panel).covariance
    pair = panel.returns[["A001", "A002"]].dropna()
    assert covariance.loc["A001", "A002"] == pytest.approx(pair.cov(ddof=0).iloc[0, 1])


def test_the_same_seed_gives_the_same_bits(source):
    first, again, other = (bootstrap_market(source, seed=seed).panel.fingerprint for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("options", [{"block": 0}, {"block": 61}, {"method": "wild"}, {"n_observations": 0}])
def test_impossible_options_are_refused(source, options):
    with pytest.raises(ParameterError):
        bootstrap_market(source, **options)


def test_assets_that_never_meet_are_refused():
    values = np.full((6, 2), np.nan)
    values[:3, 0] = values[2:, 1] = 0.01
    values[2, 0] = np.nan
    panel = Panel.from_returns(pd.DataFrame(values, index=pd.bdate_range("2020-01-01", periods=6), columns=["A", "B"]))
    with pytest.raises(DataError, match="A and B"):
        bootstrap_market(panel, block=2)
