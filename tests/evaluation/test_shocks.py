"""What each shock does to a panel, against numbers known beforehand."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.shocks import chosen_assets, correlated, spell_rows, wilder, with_outliers


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2010-01-01", periods=1600)
    betas, market = rng.uniform(0.5, 1.5, 20), 0.006 * rng.standard_normal((1600, 1))
    table = pd.DataFrame(market * betas + 0.01 * rng.standard_normal((1600, 20)), index=index)
    table.iloc[700:720, 3] = np.nan
    return table


def mean_correlation(table):
    return table.corr().to_numpy()[np.triu_indices(table.shape[1], k=1)].mean()


def test_volatility_is_multiplied_within_the_spell_and_nowhere_else(returns):
    rows = spell_rows(returns.index)
    shocked = wilder(returns, rows, factor=3.0)
    assert_frame_equal(shocked[~rows], returns[~rows])
    assert_allclose(np.log1p(shocked[rows]), 3.0 * np.log1p(returns[rows]), rtol=1e-9)
    assert_allclose(shocked[rows].std() / returns[rows].std(), 3.0, rtol=0.01)


def test_a_return_never_falls_below_what_can_be_lost():
    crash = pd.DataFrame({"A": [-0.9, -0.2]}, index=pd.bdate_range("2020-01-01", periods=2))
    assert_allclose(wilder(crash, np.array([True, True]))["A"], [-0.95, 0.8**3 - 1.0])


def test_correlations_rise_to_the_level_and_volatilities_stay(returns):
    rows = np.arange(len(returns)) >= 600
    assert mean_correlation(returns[rows]) < 0.35
    shocked = correlated(returns, rows, level=0.9)
    assert mean_correlation(shocked[rows]) == pytest.approx(0.9, abs=0.01)
    assert_allclose(shocked[rows].std() / returns[rows].std(), 1.0, atol=0.15)
    assert_frame_equal(shocked[~rows], returns[~rows])
    assert_frame_equal(shocked.isna(), returns.isna())


def test_outliers_are_as_many_and_as_large_as_asked(returns):
    wild = with_outliers(returns, share=0.02, size=10.0, rng=np.random.default_rng(1))
    hit = (wild != returns) & returns.notna()
    assert hit.to_numpy().mean() == pytest.approx(0.02, rel=0.1)
    square = (returns**2).rolling(252, min_periods=21).mean().shift(1)
    assert_allclose((wild.abs() / np.sqrt(square)).to_numpy()[hit.to_numpy()], 10.0)
    assert (wild.to_numpy()[hit.to_numpy()] > 0).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "shock",
    [
        lambda table: wilder(table, spell_rows(table.index)),
        lambda table: correlated(table, spell_rows(table.index)),
        lambda table: with_outliers(table, share=0.05, rng=np.random.default_rng(1)),
    ],
)
def test_a_shocked_row_does_not_depend_on_later_rows(returns, shock):
    altered = returns.copy()
    altered.iloc[900:] = -2.0 * altered.iloc[900:]
    assert_frame_equal(shock(altered).iloc[:900], shock(returns).iloc[:900])
    assert_frame_equal(shock(returns.iloc[:900]), shock(returns).iloc[:900])


def test_half_of_the_assets_go_and_one_always_stays():
    names = pd.Index(range(9))
    assert chosen_assets(names, rng=np.random.default_rng(0)).sum() == 5
    assert chosen_assets(names[:1], share=0.99, rng=np.random.default_rng(0)).sum() == 1
    drawn = {tuple(chosen_assets(names, rng=np.random.default_rng(seed))) for seed in range(20)}
    assert len(drawn) > 10


def test_impossible_shocks_are_refused(returns):
    rows = spell_rows(returns.index)
    with pytest.raises(ParameterError, match="factor"):
        wilder(returns, rows, factor=0.0)
    with pytest.raises(ParameterError, match=r"level must be a correlation in \[0, 1\), got 1.0"):
        correlated(returns, rows, level=1.0)
    with pytest.raises(ParameterError, match="one mark per row, 1600"):
        wilder(returns, rows[:10])
    with pytest.raises(ParameterError, match="share"):
        with_outliers(returns, share=2.0, rng=np.random.default_rng(0))
    with pytest.raises(ParameterError, match="length=5, every=3"):
        spell_rows(returns.index, length=5, every=3)
