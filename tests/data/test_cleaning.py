import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from eigenfolio.data import Tables, clean_panel, prepare_panel
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel


def raw(frame, kind="prices", **extra):
    return Tables(frame, kind, "memory", **extra)


def dirty_prices(seed, n_rows=80):
    """A table with everything that cleaning mends, in the order of its rows."""
    rng = np.random.default_rng(seed)
    market = factor_market(5, n_rows - 1, seed=seed, late_listings=0.4, delistings=0.4, gaps=0.1)
    prices = market.panel.prices
    for start in rng.integers(1, n_rows - 12, size=2):
        prices.iloc[start : start + 9, rng.integers(1, 5)] = np.nan
    prices.iloc[rng.integers(n_rows), :] = np.nan
    prices.iloc[rng.integers(25, 50), rng.integers(5)] = rng.choice([-1.0, 0.0])
    prices.iloc[rng.integers(50, 80), rng.integers(5)] = np.inf
    rows = np.sort(np.append(np.arange(n_rows), rng.integers(0, n_rows, 3)))
    return prices.iloc[rows]


def test_prices_are_carried_forward_five_rows_and_never_backward():
    dates = pd.bdate_range("2020-01-01", periods=20)
    prices = pd.DataFrame({"whole": 1.0, "gap": 2.0, "late": 3.0, "gone": 4.0}, index=dates)
    prices.iloc[4:12, 1] = np.nan
    prices.iloc[:6, 2] = np.nan
    prices.iloc[9:, 3] = np.nan
    panel, report = clean_panel(raw(prices))
    filled = panel.prices.notna()
    assert np.flatnonzero(~filled["gap"]).tolist() == [9, 10, 11]
    assert np.flatnonzero(~filled["late"]).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(~filled["gone"]).tolist() == [14, 15, 16, 17, 18, 19]  # a delisting is known after 5 rows
    assert report.n_changes == 10
    assert report.changes[0].assets == ("gap", "gone")
    ended = "5 of them after a last price (gone), where an end still looks like a gap"
    assert panel.provenance.steps == (f"cleaning: carried prices forward over at most 5 rows: 10, {ended}",)
    alone = clean_panel(raw(prices.drop(columns="gap")))[1].changes[0]
    assert alone.summary.endswith("rows: 5, all of them after a last price (gone), where an end still looks like a gap")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 79), st.integers(0, 6))
def test_cleaning_and_cutting_commute(seed, cut, max_fill):
    prices = dirty_prices(seed)
    date = prices.index[cut]
    whole = clean_panel(raw(prices), max_fill=max_fill)[0].prices
    prefix = clean_panel(raw(prices.loc[:date]), max_fill=max_fill)[0].prices
    expected = whole.loc[:date].dropna(how="all").dropna(axis=1, how="all")
    assert_frame_equal(prefix, expected, check_freq=False)


def ended_prices():
    """`gone` ends after 9 rows at 8.0, with a gap before; `late` may only be late: 5 rows are missing."""
    prices = pd.DataFrame({"whole": 1.0, "gone": 8.0, "late": 2.0}, index=pd.bdate_range("2020-01-01", periods=20))
    prices.iloc[4, 1] = np.nan
    prices.iloc[9:, 1] = np.nan
    prices.iloc[15:, 2] = np.nan
    return prices


@pytest.mark.parametrize("given", [-0.25, {"gone": -0.25}, {"gone": np.float64(-0.25), "late": -0.5}])
def test_a_delisting_return_stands_in_the_row_after_the_last_price_instead_of_the_fill(given):
    prices = ended_prices()
    panel, report = clean_panel(raw(prices), delisting_return=given)
    assert panel.prices["gone"].tolist()[:10] == [8.0] * 9 + [6.0]
    assert panel.prices["gone"].iloc[10:].isna().all()
    assert panel.prices["late"].tolist() == [2.0] * 20  # nobody can tell yet
    assert panel.returns["gone"].iloc[8] == -0.25
    assert panel.active_mask["gone"].sum() == 9
    change = report.changes[-1]
    assert (change.check, change.assets, change.count) == ("delisting returns", ("gone",), 1)
    assert change.dates == (str(prices.index[9].date()),)
    assert [(c.check, c.count) for c in report.changes] == [("filled forward", 6), ("delisting returns", 1)]
    assert "cleaning: wrote delisting returns after the last price of assets that ended: 1" in panel.provenance.steps


def test_a_delisting_return_is_written_into_a_table_of_returns_but_not_after_a_total_loss():
    returns = factor_market(4, 50).panel.returns.copy()
    returns.iloc[20:, 0] = np.nan
    returns.iloc[30:, 1] = np.nan
    returns.iloc[29, 1] = -1.0
    panel, report = clean_panel(raw(returns, "returns"), delisting_return=-0.4)
    expected = returns.copy()
    expected.iloc[20, 0] = -0.4
    assert_frame_equal(panel.returns, expected, check_freq=False)
    assert report.changes[0].assets == ("A000",)


def test_a_mapping_leaves_the_assets_it_does_not_name_to_the_fill():
    prices = ended_prices().assign(other=3.0)
    prices.iloc[9:, 3] = np.nan
    panel, _ = clean_panel(raw(prices), delisting_return={"gone": 0.5})
    assert panel.prices["other"].count() == 14
    assert panel.prices["gone"].dropna().iloc[-1] == 12.0


def test_a_table_cut_inside_the_gap_cannot_know_the_delisting_and_later_ones_agree():
    prices = ended_prices()
    whole = clean_panel(raw(prices), delisting_return=-0.25)[0].prices["gone"]
    for n_rows in range(9, 21):
        cut = clean_panel(raw(prices.iloc[:n_rows]), delisting_return=-0.25)[0].prices["gone"]
        if n_rows <= 14:  # at most max_fill rows are missing
            assert cut.tolist() == [8.0] * n_rows
        else:
            assert cut.equals(whole.iloc[:n_rows])


@pytest.mark.parametrize("tail", [[0.0], [0.0, 0.0, 0.0], [np.nan, 0.0], [0.0, *[np.nan] * 9]])
def test_a_last_price_of_zero_is_a_total_loss_that_is_never_dropped_in_silence(tail):
    prices = factor_market(5, 50).panel.prices
    prices.iloc[-len(tail) :, 1] = tail
    report = clean_panel(raw(prices))[1]
    lost = report.changes[0]
    assert (lost.check, lost.status, lost.assets, lost.count) == (
        "ended at zero",
        "warning",
        ("A001",),
        tail.count(0.0),
    )
    assert "a return of -100 % is not representable as a price" in lost.summary
    assert lost.summary.endswith("give delisting_return")
    panel, report = clean_panel(raw(prices), delisting_return={"A001": -0.9})
    assert report.changes[0].status == "note"
    assert report.changes[-1].assets == ("A001",)
    assert (1 + panel.returns["A001"]).prod() == pytest.approx(
        0.1 * prices["A001"].iloc[-len(tail) - 1] / prices.iloc[0, 1]
    )


def test_many_stocks_that_stay_at_zero_to_the_end_do_not_make_a_table_impossible():
    prices = factor_market(10, 200, seed=3).panel.prices
    prices.iloc[80:, :2] = 0.0
    panel, report = prepare_panel(prices, delisting_return=-0.99)
    assert panel.active_mask.iloc[:, :2].sum().tolist() == [80, 80]
    assert report.find("non-positive prices").status == "ok"
    assert (report.find("ended at zero").status, report.find("ended at zero").count) == ("note", 2)
    assert prepare_panel(prices)[1].find("ended at zero").status == "warning"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (-1.0, r"above -1 \(-0.3 is -30 %\), got -1.0"),
        (np.nan, "got nan"),
        (np.inf, "got inf"),
        (True, "got True"),
        ("-0.3", "got '-0.3'"),
        ({"gone": -2.0}, "got -2.0 for gone"),
        ({"gnoe": -0.5}, "names gnoe, not among the table's 3 assets"),
    ],
)
def test_a_delisting_return_that_cannot_be_is_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        clean_panel(raw(ended_prices()), delisting_return=given)
    with pytest.raises(ParameterError, match=message):
        prepare_panel(pd.concat([ended_prices()] * 2).set_axis(pd.bdate_range("2020", periods=40)),
                      delisting_return=given)  # fmt: skip


def test_a_delisting_return_is_written_once():
    panel, _ = clean_panel(raw(ended_prices()), delisting_return=-0.25)
    assert clean_panel(panel, max_fill=0)[0].fingerprint == panel.fingerprint
    with pytest.raises(DataError, match="written before"):
        clean_panel(panel, delisting_return=-0.25)


def test_every_change_is_counted_and_the_result_is_worked_by_hand():
    dates = pd.bdate_range("2020-01-01", periods=40)
    prices = pd.DataFrame({"a": np.arange(1.0, 41.0), "b": 5.0, "ghost": np.nan}, index=dates)
    prices.iloc[10, 0] = -3.0
    prices.iloc[11, 0] = np.inf
    prices.iloc[20] = np.nan
    prices = pd.concat([prices.iloc[30:], prices.iloc[:30], prices.iloc[[5]] + 0.5])
    panel, report = clean_panel(raw(prices))
    assert [(change.check, change.count) for change in report.changes] == [
        ("sorted", 2),
        ("dropped rows", 1),
        ("set missing", 2),
        ("dropped rows", 1),
        ("dropped assets", 1),
        ("filled forward", 2),
    ]
    expected = pd.DataFrame({"a": np.arange(1.0, 41.0), "b": 5.0}, index=dates)
    expected.iloc[5] = [6.5, 5.5]
    expected.iloc[10:12, 0] = 10.0
    assert_frame_equal(panel.prices, expected.drop(dates[20]), check_freq=False, check_names=False)
    assert len(report.to_rows()) == 6
    assert report.to_dict()["n_changes"] == report.n_changes == 9


def test_a_clean_panel_is_left_as_it_is():
    panel = factor_market(5, 50).panel
    cleaned, report = clean_panel(panel)
    assert cleaned.fingerprint == panel.fingerprint
    assert report.n_changes == 0
    assert report.summary() == "Cleaning changed nothing."


def test_a_spike_is_left_alone_because_only_tomorrow_can_tell():
    prices = factor_market(5, 50).panel.prices
    prices.iloc[20, 2] *= 4
    assert_frame_equal(clean_panel(raw(prices))[0].prices, prices)


def test_missing_returns_stay_missing_and_impossible_ones_become_so():
    returns = factor_market(5, 50, gaps=0.1).panel.returns.copy()
    returns.iloc[7, 0] = -1.5
    panel, report = clean_panel(raw(returns, "returns"))
    assert np.isnan(panel.returns.iloc[7, 0])
    assert [(change.check, change.count) for change in report.changes] == [("set missing", 1)]


def test_volume_is_mended_but_never_filled():
    prices = factor_market(3, 50).panel.prices
    volume = prices * 10
    volume.iloc[4, 0] = -5.0
    volume.iloc[5, 0] = np.nan
    panel, report = clean_panel(raw(prices, volume=volume.iloc[::-1]))
    assert panel.field("volume").isna().to_numpy().sum() == 2
    assert [change.check for change in report.changes] == ["sorted", "set missing"]


def test_a_table_that_is_mostly_impossible_is_refused():
    prices = factor_market(5, 50).panel.prices
    with pytest.raises(DataError, match=r"20 % of the prices are impossible .* more than 5 %"):
        clean_panel(raw(prices.assign(A001=-1.0)))
    with pytest.raises(DataError, match="taken as prices but look like neither"):
        prepare_panel(prices.assign(A001=-1.0), kind="prices")
    with pytest.raises(ParameterError, match="max_fill"):
        clean_panel(raw(prices), max_fill=-1)


def test_the_report_shows_the_state_before_and_the_changes():
    prices = factor_market(5, 300, gaps=0.02, seed=2).panel.prices
    panel, report = prepare_panel(prices)
    assert report.find("gaps").count == report.cleaning.n_changes == prices.isna().to_numpy().sum()
    assert report.to_rows()[-1]["check"] == "filled forward"
    assert isinstance(panel, Panel)
    assert panel.prices.notna().to_numpy().all()
