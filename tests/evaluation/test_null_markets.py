"""Markets without an edge: whatever a book holds, its return in excess of cash is zero on average."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.null_markets import DRIFT, NULL_LAWS, draw_null


@pytest.fixture(scope="module")
def source():
    """Real rows stand in: everything rises by 1 % a row, which a null market must not keep."""
    return factor_market(6, 4200, seed=1).panel.returns + 0.01


def draw(law, source, *, seed=0, n_rows=4000):
    return draw_null(law, n_assets=6, n_observations=n_rows, rng=np.random.default_rng(seed), source=source)


def excess(market, weights):
    """What a book, with the rest in cash, earns beyond cash."""
    held = market.returns.to_numpy() @ weights + (1.0 - weights.sum()) * market.cash
    return held - market.cash


@pytest.mark.parametrize("law", NULL_LAWS)
def test_no_book_earns_more_than_cash_whatever_its_leverage(law, source):
    rng = np.random.default_rng(2)
    for seed in range(3):
        market = draw(law, source, seed=seed)
        for weights in (np.full(6, 1 / 6), rng.standard_normal(6), 3.0 * rng.random(6)):
            earned = excess(market, weights)
            assert abs(earned.mean()) < 4.0 * earned.std() / np.sqrt(len(earned))


@pytest.mark.parametrize("law", NULL_LAWS)
def test_a_book_that_follows_the_past_earns_nothing_either(law, source):
    market = draw(law, source)
    followed = np.sign(market.returns.to_numpy()[:-1] - market.cash) / 6
    earned = (followed * (market.returns.to_numpy()[1:] - market.cash)).sum(axis=1)
    assert abs(earned.mean()) < 4.0 * earned.std() / np.sqrt(len(earned))


def test_drift_is_the_normal_market_with_the_same_mean_for_everything(source):
    drift, normal = draw("drift", source), draw("normal", source)
    np.testing.assert_allclose(drift.returns - normal.returns, DRIFT, atol=1e-15)
    assert (drift.cash, normal.cash) == (DRIFT, 0.0)


def test_real_rows_keep_their_order_and_their_sizes(source):
    market = draw("real", source, n_rows=500)
    sizes = market.returns.abs().to_numpy()
    starts = np.flatnonzero(np.isclose(source.iloc[:, 0].abs(), sizes[0, 0], rtol=1e-9))
    assert len(starts) == 1
    np.testing.assert_allclose(sizes, source.abs().iloc[starts[0] : starts[0] + 500], rtol=1e-6, atol=1e-12)
    assert 0.4 < (market.returns.iloc[:, 0] * source.iloc[starts[0] : starts[0] + 500, 0].to_numpy() > 0).mean() < 0.6


def test_only_garch_has_volatility_that_lasts(source):
    def memory(law):
        sizes = draw(law, source).returns.pow(2).mean(axis=1)
        return sizes.autocorr(1)

    assert abs(memory("normal")) < 4 / np.sqrt(4000) < 0.1 < memory("garch")


@pytest.mark.parametrize("law", ["normal", "drift", "real"])
def test_the_covariance_is_that_of_the_rows(law, source):
    market = draw(law, source)
    errors = market.returns.cov() / market.covariance - 1.0
    assert np.abs(np.diag(errors)).max() < 0.15


@pytest.mark.parametrize("law", NULL_LAWS)
def test_the_same_generator_draws_the_same_bits(law, source):
    pd.testing.assert_frame_equal(draw(law, source, n_rows=50).returns, draw(law, source, n_rows=50).returns)


def test_what_cannot_be_drawn_is_refused(source):
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="law must be one of"):
        draw_null("bull", n_observations=10, rng=rng)
    with pytest.raises(DataError, match="needs source="):
        draw_null("real", n_observations=10, rng=rng)
    with pytest.raises(DataError, match="at least 5000 rows"):
        draw_null("real", n_observations=5000, rng=rng, source=source)
    source = source.copy()
    source.iloc[7, 0] = np.nan
    with pytest.raises(DataError, match="1 missing values"):
        draw_null("real", n_observations=10, rng=rng, source=source)
