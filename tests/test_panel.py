import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError
from eigenfolio.panel import Panel

DATES = pd.date_range("2020-01-01", periods=5, name="date")


def table(**columns):
    return pd.DataFrame(columns, index=DATES, dtype=float)


@pytest.fixture
def patchy():
    return factor_market(8, 60, seed=3, late_listings=0.5, delistings=0.5, gaps=0.1).panel


def test_returns_of_a_late_listing_a_gap_and_a_delisting_with_a_loss_are_those_worked_by_hand():
    prices = table(
        late=[None, 10, 11, None, 22],
        gone=[8, 4, 1, None, None],
        whole=[1, 1, 2, 2, 2],
    )
    panel = Panel.from_prices(prices)
    expected = [
        [np.nan, -0.5, 0.0],
        [0.1, -0.75, 1.0],  # the delisting return stands in the last row
        [np.nan, np.nan, 0.0],
        [1.0, np.nan, 0.0],  # the move over the gap is not lost
    ]
    np.testing.assert_allclose(panel.returns, expected, rtol=1e-15)
    active = [[True, True, True], [True, True, True], [True, False, True], [True, False, True]]
    assert panel.active_mask.to_numpy().tolist() == active
    assert panel.index.equals(panel.returns.index)
    assert len(panel.prices) == len(panel.returns) + 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_an_asset_grows_by_its_last_price_over_its_first_whatever_the_gaps(seed):
    panel = factor_market(4, 30, seed=seed, late_listings=0.5, delistings=0.5, gaps=0.3).panel
    growth = (1 + panel.returns).prod()
    prices = panel.prices
    np.testing.assert_allclose(growth, prices.ffill().iloc[-1] / prices.bfill().iloc[0], rtol=1e-12)


def test_prices_come_back_as_they_were_given(patchy):
    assert_frame_equal(Panel.from_prices(patchy.prices).prices, patchy.prices)


def test_labels_travel_with_every_number(patchy):
    for frame in (patchy.returns, patchy.active_mask, patchy.prices):
        assert list(frame.columns) == patchy.asset_names
        assert isinstance(frame.index, pd.DatetimeIndex)
    volume = patchy.prices[patchy.asset_names[::-1]] * 2
    panel = Panel.from_prices(patchy.prices, volume=volume)
    both = panel.active_mask & panel.prices.iloc[1:].notna()
    assert_frame_equal(panel.field("volume").where(both), 2 * panel.prices.iloc[1:].where(both))


def test_the_fingerprint_sees_values_and_labels_and_nothing_else(patchy):
    prices = patchy.prices.astype("float32")
    first = Panel.from_prices(prices, source="here").fingerprint
    fortran = pd.DataFrame(np.asfortranarray(prices.to_numpy(float)), prices.index.as_unit("ns"), prices.columns)
    assert Panel.from_prices(fortran, source="there").with_step("looked").fingerprint == first
    changed = prices.copy()
    changed.iloc[-1, 0] *= 1.0001
    renamed = prices.rename(columns={"A000": "Z"})
    moved = prices.set_axis(prices.index + pd.Timedelta(days=1))
    with_market = Panel.from_prices(prices, market=prices.iloc[:, 0].rename("index"))
    others = [Panel.from_prices(p).fingerprint for p in (changed, renamed, moved)] + [with_market.fingerprint]
    assert len({first, *others}) == 5


@pytest.mark.parametrize("kind", ["prices", "returns"])
def test_a_panel_cut_at_a_date_is_the_panel_made_of_the_cut_table(patchy, kind):
    build = Panel.from_prices if kind == "prices" else Panel.from_returns
    whole = getattr(patchy, kind)
    panel = build(whole, market=whole.iloc[:, 0].rename("index"))
    for date in panel.index[[5, 20, 40]]:
        cut, made = panel.until(date), build(whole.loc[:date], market=whole.iloc[:, 0].rename("index"))
        assert cut.fingerprint == made.fingerprint
        assert_frame_equal(cut.active_mask, made.active_mask)


@pytest.mark.parametrize("date", ["2020-01-03T00:00-05:00", pd.Timestamp("2020-01-03 16:00", tz="America/New_York")])
def test_a_panel_is_cut_at_the_wall_time_of_a_date_with_a_zone(date):
    panel = Panel.from_prices(table(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1]))
    assert panel.until(date).index[-1] == DATES[2]


def test_selected_assets_keep_their_order_and_lose_the_rows_before_any_is_listed():
    prices = table(whole=[1, 2, 3, 4, 5], late=[None, None, 3, 4, 5], later=[None, None, None, 1, 2])
    panel = Panel.from_prices(prices, sectors={"late": "tech"}).select(["later", "late"])
    assert panel.asset_names == ["later", "late"]
    assert panel.index[0] == DATES[3]
    assert panel.sectors["late"] == "tech"
    assert "dropped 2 rows" in panel.provenance.steps[-1]
    with pytest.raises(DataError, match="3 names, got nobody"):
        Panel.from_prices(prices).select(["late", "nobody"])


def test_inputs_are_untouched_and_the_panel_cannot_be_written():
    prices = table(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1])
    before = prices.copy()
    panel = Panel.from_prices(prices)
    assert_frame_equal(prices, before)
    with pytest.raises(ValueError, match="read-only"):
        panel.assets["returns"][0, 0] = 1.0
    prices.iloc[:] = 7.0
    assert panel.returns.iloc[0, 0] == 1.0


def test_a_panel_survives_pickling(patchy):
    copy = pickle.loads(pickle.dumps(patchy))
    assert copy.fingerprint == patchy.fingerprint
    assert copy.provenance == patchy.provenance


def test_market_series_are_aligned_and_never_filled():
    vix = pd.Series([20.0, 30.0], index=DATES[[1, 3]], name="vix")
    panel = Panel.from_prices(table(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1]), market=vix)
    np.testing.assert_array_equal(panel.market["vix"], [20.0, np.nan, 30.0, np.nan])
    with pytest.raises(DataError, match="share no date"):
        Panel.from_prices(table(a=[1, 2, 3, 4, 5]), market=vix.set_axis(vix.index + pd.DateOffset(years=1)))


GOOD = table(a=[1, 2, 3, 4, 5], b=[5, 4, 3, 2, 1])


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (GOOD.to_numpy(), "DataFrame"),
        (GOOD.reset_index(drop=True), "indexed by dates"),
        (GOOD.tz_localize("UTC"), "time zone"),
        (GOOD.iloc[::-1], "sorted by date"),
        (GOOD.iloc[[0, 1, 1, 2]], "1 repeated dates.*2020-01-02"),
        (GOOD.set_axis(["a", "a"], axis=1), "asset a twice"),
        (GOOD.replace(4.0, -4.0), r"got 2 that are not \(first -4, b on 2020-01-02\); clean"),
        (GOOD.replace(4.0, np.inf), "got 2 that are not"),
        (GOOD * np.nan, "no value at all"),
        (GOOD.iloc[:1], "at least 2 rows"),
        (GOOD.iloc[:, :0], "one asset"),
        (GOOD.astype(object).replace(4.0, "four"), "must be numbers"),
        (table(a=[1, 1, None, None, None], b=[None, None, None, 1, 1]), "no asset is listed on 1 rows"),
    ],
)
def test_an_impossible_table_is_refused_in_one_line(prices, message):
    with pytest.raises(DataError, match=message) as caught:
        Panel.from_prices(prices)
    assert "\n" not in str(caught.value)


def test_returns_below_minus_one_are_refused():
    with pytest.raises(DataError, match="read the table as prices"):
        Panel.from_returns(table(a=[0, 0, -1.5, 0, 0], b=0.0))
