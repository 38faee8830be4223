"""Late listings, delistings, holidays, quiet names and twins: what is seen, and what the truth says about it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.data.synthetic import (
    Garch,
    SyntheticMarket,
    delistings,
    draw_market,
    factor_covariance,
    factor_market,
    holidays,
    late_listings,
    null_market,
    quiet_names,
    twins,
)
from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel


@pytest.fixture(scope="module")
def market():
    return factor_market(20, 400, seed=1)


def same_where_seen(changed, market):
    seen = changed.panel.returns.notna().to_numpy()
    assert_allclose(
        changed.panel.returns.to_numpy()[seen], market.panel.returns.to_numpy()[seen], rtol=1e-9, atol=1e-12
    )
    assert_allclose(changed.covariance, market.covariance)
    assert_allclose(changed.covariance_path.at(7), market.covariance_path.at(7))


def test_late_listings_hide_the_first_rows_and_nothing_else(market):
    changed = late_listings(market, share=0.4, latest=0.5, seed=2)
    same_where_seen(changed, market)
    begins = changed.panel.active_mask.to_numpy().argmax(axis=0)
    assert (begins > 0).sum() == 8
    assert begins.max() <= 200
    assert changed.panel.returns.isna().sum().sum() == (begins[begins > 0] + 1).sum()  # the first price has no return


def test_delistings_hide_the_last_rows_and_nothing_else(market):
    changed = delistings(market, share=0.25, earliest=0.7, seed=2)
    same_where_seen(changed, market)
    active = changed.panel.active_mask.to_numpy()
    assert (~active[-1]).sum() == 5
    assert active[:280].all()


def test_a_holiday_is_a_missing_row_after_which_nothing_is_caught_up(market):
    changed = holidays(market, share=0.05, seed=2)
    same_where_seen(changed, market)
    missing = changed.panel.returns.isna()
    assert missing.all(axis=1).sum() == 20 == missing.any(axis=1).sum()
    assert changed.panel.active_mask.to_numpy().all()


def test_a_regional_holiday_closes_that_region_only(market):
    region = ["A003", "A007"]
    changed = holidays(market, share=0.05, assets=region, seed=2)
    same_where_seen(changed, market)
    missing = changed.panel.returns.isna()
    assert missing[region].all(axis=1).sum() == 20
    assert not missing.drop(columns=region).to_numpy().any()


def test_a_quiet_name_is_quiet_and_jumps_once_at_the_end_of_its_spell(market):
    changed = quiet_names(market, n_names=6, quiet=0.05, ties=0.0, jump=0.3, mean_length=40, seed=5)
    spells = changed.covariance_path.spells
    assert len({spell.asset for spell in spells}) == 6
    for spell in spells:
        returns = changed.panel.returns.iloc[:, spell.asset].to_numpy()
        before = market.panel.returns.iloc[:, spell.asset].to_numpy()
        quiet = returns[spell.first_row : spell.stop_row - spell.jumped]
        assert np.abs(quiet).max(initial=0.0) < 0.25 * np.std(before)
        if spell.jumped:
            assert abs(returns[spell.stop_row - 1]) == pytest.approx(0.3, abs=0.02)
        outside = np.r_[0 : spell.first_row, spell.stop_row : 400]
        assert_allclose(returns[outside], before[outside], rtol=1e-9, atol=1e-12)


def test_the_covariance_of_quiet_rows_is_the_one_worked_by_hand():
    base = np.array([[4.0, 1.0], [1.0, 9.0]]) * 1e-4
    prices = pd.DataFrame({"A": [1.0, 1.0, 1.0], "B": [1.0, 1.0, 1.0]}, index=pd.bdate_range("2020-01-01", periods=3))
    truth = pd.DataFrame(base, index=["A", "B"], columns=["A", "B"])
    market = SyntheticMarket(Panel.from_prices(prices), truth)
    changed = quiet_names(market, n_names=2, quiet=0.5, ties=0.2, jump=0.1, mean_length=50, first_rows_share=0.1)
    row = changed.covariance_path.at(0)
    expected = [[0.25 * 4e-4 + 0.1**2 / 50, 0.01 * 1e-4], [0.01 * 1e-4, 0.25 * 9e-4 + 0.1**2 / 50]]
    assert_allclose(row, expected)


def test_the_variance_of_quiet_rows_is_measured_as_stated():
    """Over many spells: squared returns and products with a bystander, on quiet rows and rows of jumps alike."""
    truth = 1e-4 * (0.4 * np.eye(301) + 0.6)
    market = null_market(
        pd.DataFrame(truth, index=range(301), columns=range(301)).rename(str, axis=0).rename(str, axis=1), 400
    )
    changed = quiet_names(market, n_names=300, quiet=0.3, ties=0.5, jump=0.1, mean_length=20, seed=1)
    returns, spells = changed.panel.returns.to_numpy(), changed.covariance_path.spells
    bystander = returns[:, ({*range(301)} - {spell.asset for spell in spells}).pop()]
    squared = np.concatenate([returns[s.first_row : s.stop_row, s.asset] ** 2 for s in spells])
    product = np.concatenate([(returns[:, s.asset] * bystander)[s.first_row : s.stop_row] for s in spells])
    assert squared.mean() == pytest.approx(0.09e-4 + 0.1**2 / 20, rel=0.1)
    assert product.mean() == pytest.approx(0.15 * 0.6e-4, abs=4 * product.std() / np.sqrt(len(product)))


def test_twins_have_the_stated_tracking_error_and_the_stated_covariance():
    market = factor_market(6, 40_000, seed=3, start="1800-01-01")
    changed = twins(market, n_share_classes=2, n_funds=2, tracking_error=(0.005, 0.05), n_parts=(2, 4), seed=4)
    returns = changed.panel.returns
    assert_allclose(returns.iloc[:, :6], market.panel.returns, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(returns.cov() - changed.covariance) / np.linalg.norm(changed.covariance) < 0.05
    follows = changed.covariance_path.matrix[6:]
    assert_allclose(follows.sum(axis=1), 1.0)
    stated = changed.parameters["changes"][0]["annual_tracking_errors"]
    for i, (name, error) in enumerate(stated.items()):
        gap = returns[name] - market.panel.returns.to_numpy() @ follows[i]
        assert gap.std() * np.sqrt(252) == pytest.approx(error, rel=0.02)
        assert 0.005 <= error <= 0.05
    assert ((follows > 0).sum(axis=1)[:2] == 1).all()
    assert ((follows > 0).sum(axis=1)[2:] >= 2).all()


def test_the_covariance_with_a_twin_is_the_one_worked_by_hand():
    changed = twins(factor_market(3, 50, seed=1), n_share_classes=1, n_funds=1, tracking_error=(0.02, 0.02), seed=2)
    follows = changed.covariance_path.matrix[3:]
    base = factor_market(3, 50, seed=1).covariance.to_numpy()
    assert_allclose(changed.covariance.to_numpy()[:3, 3:], base @ follows.T)
    assert changed.covariance.iloc[4, 4] == pytest.approx(follows[1] @ base @ follows[1] + 0.02**2 / 252)
    assert changed.covariance.iloc[3, 4] == pytest.approx(follows[0] @ base @ follows[1])


def test_a_twin_is_missing_where_a_part_is_missing_and_takes_its_sector():
    listed = factor_market(4, 120, seed=6, late_listings=0.9, gaps=0.05)
    sectors = pd.Series(["a", "b", "c", "d"], index=listed.panel.asset_names)
    panel = Panel.from_prices(listed.panel.prices, sectors=sectors)
    changed = twins(SyntheticMarket(panel, listed.covariance), n_share_classes=4, n_funds=0)
    for name in panel.asset_names:
        twin = changed.panel.returns[f"{name}.B"]
        assert np.array_equal(twin.isna(), panel.returns[name].isna())
        assert changed.panel.sectors[f"{name}.B"] == sectors[name]


def test_frictions_lie_over_one_another_and_over_a_path_that_moves():
    market = draw_market(factor_covariance(6), Garch(), 150, seed=1)
    step = twins(market, seed=1)
    step = quiet_names(step, n_names=2, seed=2)
    step = holidays(delistings(late_listings(step, seed=3), seed=4), seed=5)
    names = [change["change"] for change in step.parameters["changes"]]
    assert names == ["twins", "quiet_names", "late_listings", "delistings", "holidays"]
    assert step.kind == market.kind
    for row in (0, 75, 149):
        assert step.covariance_path.at(row).shape == (8, 8)
        assert np.linalg.eigvalsh(step.covariance_path.at(row))[0] > 0
    assert_allclose(step.covariance, step.covariance_path.at(149))


def test_the_same_seed_gives_the_same_bits(market):
    for change in (late_listings, delistings, holidays, quiet_names, twins):
        first, again, other = (change(market, seed=seed).panel.fingerprint for seed in (1, 1, 2))
        assert first == again != other


@pytest.mark.parametrize(
    "change",
    [
        lambda market: late_listings(market, share=1.0),
        lambda market: delistings(market, earliest=1.0),
        lambda market: holidays(market, assets=["nobody"]),
        lambda market: quiet_names(market, n_names=21),
        lambda market: quiet_names(market, jump=0.95),
        lambda market: twins(market, tracking_error=(0.0, 0.1)),
        lambda market: twins(market, n_share_classes=21),
        lambda market: twins(twins(market)),
    ],
)
def test_impossible_changes_are_refused(market, change):
    with pytest.raises(ParameterError):
        change(market)
