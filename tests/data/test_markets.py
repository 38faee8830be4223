import numpy as np
import pytest

from eigenfolio.data.synthetic import ConstantCovariance, SyntheticMarket, factor_market, market_from_returns
from eigenfolio.errors import ParameterError


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    options = {"late_listings": 0.4, "delistings": 0.3, "gaps": 0.05, "student_df": 5.0}
    first = factor_market(6, 80, seed=4, **options)
    assert first.panel.fingerprint == factor_market(6, 80, seed=4, **options).panel.fingerprint
    assert first.panel.fingerprint != factor_market(6, 80, seed=5, **options).panel.fingerprint


@pytest.mark.parametrize("student_df", [None, 6.0])
def test_the_sample_covariance_of_a_long_market_approaches_the_true_one(student_df):
    market = factor_market(5, 60_000, seed=1, student_df=student_df, start="1800-01-01")
    error = np.linalg.norm(market.panel.returns.cov() - market.covariance) / np.linalg.norm(market.covariance)
    assert error < 0.05


def test_listings_delistings_and_gaps_happen_about_as_often_as_asked():
    panel = factor_market(200, 300, seed=2, late_listings=0.5, delistings=0.3, gaps=0.1).panel
    active = panel.active_mask.to_numpy()
    assert 0.35 < 1 - active[0].mean() < 0.65
    assert 0.2 < 1 - active[-1].mean() < 0.4
    prices = panel.prices.to_numpy()[1:]
    assert 0.08 < np.isnan(prices[active]).mean() < 0.12
    assert active[:, 0].all()


def test_a_market_says_how_it_was_drawn_and_its_truth_in_every_row():
    market = factor_market(4, 30, seed=7, gaps=0.1)
    assert (market.kind, market.seed, market.parameters["gaps"]) == ("factor", 7, 0.1)
    for row in (0, 29):
        np.testing.assert_array_equal(market.covariance_path.at(row), market.covariance)
    again = factor_market(4, 30, seed=market.seed, **market.parameters)
    assert again.panel.fingerprint == market.panel.fingerprint
    assert factor_market(4, 30, seed=np.random.default_rng(7)).seed is None


def test_a_truth_of_other_assets_or_rows_than_the_panel_is_refused():
    market = factor_market(3, 20)
    with pytest.raises(ParameterError, match="the panel's assets"):
        SyntheticMarket(market.panel, market.covariance.iloc[::-1])
    with pytest.raises(ParameterError, match="20 rows and 3 assets"):
        SyntheticMarket(market.panel, market.covariance, ConstantCovariance(np.eye(3), 21))


def test_a_constant_path_keeps_one_matrix():
    path = ConstantCovariance(np.eye(2), 1_000_000)
    assert path.at(999_999) is path.at(0)
    np.testing.assert_array_equal(path.mean(3, 8), np.eye(2))
    for row in (-1, 1_000_000):
        with pytest.raises(ParameterError, match="rows run from 0 to 999999"):
            path.at(row)


def test_drawn_returns_become_prices_from_100_on_business_days():
    market = market_from_returns(np.array([[0.1, -2.0], [0.0, 1.0]]), ConstantCovariance(np.eye(2), 2), kind="by hand")
    np.testing.assert_allclose(market.panel.prices, [[100, 100], [110, 5], [110, 10]][-len(market.panel.prices) :])
    assert market.panel.index[-1].day_name() == "Wednesday"
    assert list(market.covariance.columns) == market.panel.asset_names == ["A000", "A001"]


@pytest.mark.parametrize("options", [{"gaps": 1.0}, {"late_listings": -0.1}, {"student_df": 2.0}, {"n_factors": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ParameterError):
        factor_market(5, 10, **options)
