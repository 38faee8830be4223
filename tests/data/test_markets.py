import numpy as np
import pytest

from eigenfolio.data.synthetic import factor_market
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


@pytest.mark.parametrize("options", [{"gaps": 1.0}, {"late_listings": -0.1}, {"student_df": 2.0}, {"n_factors": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ParameterError):
        factor_market(5, 10, **options)
