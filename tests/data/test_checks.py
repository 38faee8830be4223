import json
import time

import numpy as np
import pandas as pd
import pytest

from eigenfolio.data import DataReport, Finding, check_panel, clean_panel, read_tables
from eigenfolio.data.checks import _pair_correlation
from eigenfolio.data.synthetic import factor_market
from eigenfolio.panel import Panel


@pytest.fixture
def prices():
    return factor_market(12, 400, seed=8).panel.prices


def status(table, check):
    found = check_panel(table).find(check)
    return found.status, found.count


def test_a_clean_panel_has_nothing_to_report(prices):
    report = check_panel(prices)
    assert {finding.status for finding in report.findings} == {"ok"}
    assert report.status == "ok"
    assert report.summary() == "The data look sound (0 errors, 0 warnings, 0 notes)."


def test_the_summary_counts_the_rows_shown_and_names_every_warning(prices):
    written = prices.astype(object)
    written.iloc[7, 2] = "n/a!"
    written.iloc[9, 1] = -5.0
    tables = read_tables(written)
    report = check_panel(tables).with_cleaning(clean_panel(tables)[1])
    rows = report.to_rows()
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    statuses = [row["status"] for row in rows]
    assert (statuses.count("warning"), statuses.count("note")) == (2, 3)
    assert report.summary() == (
        "The data can be used with care (0 errors, 2 warnings, 3 notes); warnings: text cells, non-positive prices."
    )
    bad = report.find("non-positive prices").summary
    assert bad == f"non-positive prices: 1 (A001; first -5, A001, {prices.index[9]:%Y-%m-%d})"


def test_one_finding_is_counted_in_the_singular_and_errors_are_named_before_warnings():
    report = DataReport(
        (Finding("size", "error", "small"), Finding("gaps", "warning", "many"), Finding("x", "note", ""))
    )
    assert report.summary() == (
        "The data cannot be used as they are (1 error, 1 warning, 1 note); error: size; warning: gaps."
    )


def test_checking_changes_nothing(prices):
    dirty = prices.iloc[::-1].copy()
    dirty.iloc[5, 5] = -np.inf
    before = dirty.copy()
    check_panel(dirty)
    pd.testing.assert_frame_equal(dirty, before)


@pytest.mark.parametrize("empty", [pd.DataFrame(index=pd.DatetimeIndex([])), None])
def test_an_empty_table_is_an_error_and_never_good_news(prices, empty):
    report = check_panel(prices * np.nan if empty is None else empty)
    assert report.status == "error"
    assert report.summary().startswith("The data cannot be used")
    assert DataReport(()).status == "error"


def test_a_report_is_plain_enough_for_json(prices):
    prices.iloc[10:13, 3] = np.nan
    report = check_panel(prices)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["status"] == "note"
    assert len(plain["findings"]) == len(report.to_rows()) == len(report.findings)
    assert set(report.to_rows()[0]) == {"check", "status", "summary"}
    assert all(isinstance(finding, Finding) for finding in report.findings)


def spoil_order(p):
    return pd.concat([p.iloc[200:], p.iloc[:200]])


def spoil_duplicates(p):
    return p.iloc[sorted([*range(len(p)), 7, 7, 9])]


def spoil_weekend(p):
    saturday = p.iloc[[4]].set_axis(p.index[[4]] + pd.Timedelta(days=1))  # row 4 is a Friday
    return pd.concat([p, saturday]).sort_index()


def spoil_empty_row(p):
    p.iloc[50, 1:] = np.nan
    return p


def spoil_copied_row(p):
    p.iloc[50] = p.iloc[49]
    return p


def spoil_hole(p):
    return p.drop(p.index[100:110])


def spoil_stale(p):
    p.iloc[100:120, 2] = p.iloc[100, 2]
    return p


def spoil_spike(p):
    p.iloc[100, 2] *= 3
    return p


def spoil_split(p):
    p.iloc[100:, 2] /= 3
    return p


def spoil_sign(p):
    p.iloc[[3, 5], 1] = [-1.0, 0.0]
    return p


def spoil_infinite(p):
    p.iloc[3, 1] = np.inf
    return p


def spoil_gap(p):
    p.iloc[30:40, 4] = np.nan
    return p


def spoil_late(p):
    p.iloc[:40, [4, 5]] = np.nan
    return p


def spoil_gone(p):
    p.iloc[-40:, 6] = np.nan
    return p


def spoil_late_quote(p):
    p.iloc[-5:, 6] = np.nan
    return p


def spoil_worthless(p):
    p.iloc[-3:, 6] = 0.0
    return p


def spoil_never(p):
    return p.assign(ghost=np.nan)


def spoil_inverse(p):
    short = (1 - p.pct_change().mean(axis=1).fillna(0)).cumprod()
    return p.assign(short=50 * short)


def spoil_unrelated(p):
    return p.assign(gold=100 * np.exp(np.random.default_rng(0).normal(0, 0.01, len(p)).cumsum()))


def spoil_riskless(p):
    bill = 1 + 0.0005 * np.random.default_rng(0).normal(size=len(p))
    return p.assign(bill=100 * bill.cumprod())


def spoil_duplicate_asset(p):
    noise = np.exp(np.random.default_rng(0).normal(0, 0.001, len(p)).cumsum())
    return p.assign(twin=p["A003"] * noise)


def spoil_kind(p):
    return p * np.random.default_rng(0).uniform(0.2, 5, p.shape)


@pytest.mark.parametrize(
    ("spoil", "check", "expected"),
    [
        (spoil_order, "unsorted dates", ("warning", 1)),
        (spoil_duplicates, "duplicate dates", ("warning", 3)),
        (spoil_weekend, "non-trading dates", ("warning", 1)),
        (spoil_empty_row, "non-trading dates", ("warning", 1)),
        (spoil_copied_row, "non-trading dates", ("warning", 1)),
        (spoil_hole, "calendar holes", ("note", 1)),
        (spoil_stale, "stale prices", ("warning", 1)),
        (spoil_spike, "spikes", ("warning", 1)),
        (spoil_spike, "jumps", ("ok", 0)),
        (spoil_split, "jumps", ("note", 1)),
        (spoil_split, "spikes", ("ok", 0)),
        (spoil_sign, "non-positive prices", ("warning", 2)),
        (spoil_infinite, "infinite values", ("warning", 1)),
        (spoil_gap, "gaps", ("warning", 10)),
        (spoil_late, "late listings", ("note", 2)),
        (spoil_gone, "delistings", ("warning", 1)),
        (spoil_late_quote, "delistings", ("ok", 0)),
        (spoil_late_quote, "late quotes", ("note", 1)),
        (spoil_worthless, "ended at zero", ("warning", 1)),
        (spoil_worthless, "delistings", ("warning", 1)),
        (spoil_worthless, "non-positive prices", ("ok", 0)),
        (spoil_never, "empty assets", ("warning", 1)),
        (spoil_inverse, "inverse or unrelated", ("warning", 1)),
        (spoil_unrelated, "inverse or unrelated", ("warning", 1)),
        (spoil_riskless, "near-riskless", ("warning", 1)),
        (spoil_duplicate_asset, "near-duplicates", ("warning", 1)),
        (lambda p: -p, "non-positive prices", ("error", 12 * 401)),
        (spoil_kind, "kind", ("error", None)),
        (lambda p: p.iloc[:10], "size", ("error", 0)),
    ],
)
def test_every_planted_fault_is_found(prices, spoil, check, expected):
    found = status(spoil(prices), check)
    assert found[0] == expected[0]
    assert expected[1] is None or found[1] == expected[1]


def test_an_ending_with_a_delisting_return_is_a_note_and_without_one_says_what_to_give(prices):
    gone = spoil_worthless(spoil_gone(prices.iloc[:, ::-1]).iloc[:, ::-1])  # A005 ends early, A006 at zero
    found = check_panel(gone).find("delistings")
    assert found.summary == (
        "2 assets end before the panel does (A005, A006) and their last return is the last price's; "
        "give delisting_return if they failed"
    )
    partly = check_panel(gone, delisting_return={"A006": -0.9})
    assert (partly.find("delistings").status, partly.find("delistings").assets) == ("warning", ("A005",))
    assert partly.find("ended at zero").status == "note"
    assert check_panel(gone, delisting_return=-0.3).find("delistings").status == "note"
    assert check_panel(clean_panel(read_tables(gone), delisting_return=-0.3)[0]).find("delistings").status == "note"


def test_a_last_return_of_minus_one_needs_no_delisting_return(prices):
    returns = prices.pct_change().iloc[1:]
    returns.iloc[300, 2] = -1.0
    returns.iloc[301:, 2] = np.nan
    assert status(returns, "delistings") == ("note", 1)


@pytest.mark.parametrize(
    ("n_assets", "n_rows", "n_gone", "expected"),
    [
        (30, 1400, 0, "warning"),
        (120, 1400, 1, "warning"),
        (30, 1400, 1, "ok"),
        (29, 1400, 0, "ok"),
        (30, 1200, 0, "ok"),
    ],
)
def test_a_broad_and_long_panel_in_which_nothing_ends_is_a_list_of_survivors(n_assets, n_rows, n_gone, expected):
    prices = factor_market(n_assets, n_rows, seed=1).panel.prices
    prices.iloc[-100:, :n_gone] = np.nan
    found = check_panel(prices).find("survivorship")
    assert found.status == expected
    if not n_gone and expected == "warning":
        assert found.summary == (
            "none of 30 assets ends in 5 years: probably a list of survivors, whose past flatters every strategy"
        )


@pytest.mark.parametrize(
    ("freq", "unit", "rows"),
    [
        ("B", None, None),
        ("D", "days", "daily, weekends included"),
        ("W", "weeks", "weekly"),
        ("2W", "steps of 2 weeks", "2 weeks apart"),
        ("BME", "months", "monthly"),
        ("QE", "quarters", "quarterly"),
        ("YE", "years", "yearly"),
        ("h", "hours", "hourly"),
        ("4h", "steps of 4 hours", "4 hours apart"),
        ("5min", "steps of 5 minutes", "5 minutes apart"),
        ("s", "seconds or less", "a second or less apart"),
        ("10ms", "seconds or less", "a second or less apart"),
    ],
)
def test_the_frequency_says_what_options_in_rows_count(prices, freq, unit, rows):
    dates = pd.date_range("1980-01-01", periods=60, freq=freq)
    found = check_panel(prices.iloc[:60].set_axis(dates)).find("frequency")
    if unit is None:
        assert (found.status, found.summary) == ("ok", "rows are business days")
    else:
        count = f"options that count rows (lookback, horizon, half-lives) count {unit}"
        assert (found.status, found.summary) == ("note", f"rows are {rows}: {count}")


def test_a_frame_with_a_time_zone_is_checked_like_one_without(prices):
    prices.iloc[3, 2] *= 3
    assert check_panel(prices.tz_localize("America/New_York")) == check_panel(prices)


def test_findings_name_the_asset_and_the_date(prices):
    spike = check_panel(spoil_spike(prices)).find("spikes")
    assert spike.assets == ("A002",)
    assert spike.dates == (str(prices.index[100].date()),)
    assert check_panel(spoil_duplicate_asset(prices)).find("near-duplicates").assets == ("A003/twin",)


def test_a_jump_by_a_split_ratio_is_called_so(prices):
    factors = np.ones(len(prices))
    factors[100:] = 1 / 3
    split = prices.assign(A002=prices["A001"].iloc[0] * factors)
    assert "1 of them by a split ratio" in check_panel(split).find("jumps").summary


@pytest.mark.parametrize("kind", ["prices", "returns"])
def test_prices_mistaken_for_returns_and_the_reverse_are_errors(prices, kind):
    returns = prices.pct_change().iloc[1:]
    tables = read_tables(returns if kind == "prices" else prices, kind=kind)
    found = check_panel(tables).find("kind")
    assert found.status == "error"
    assert f"taken as {kind} but look like" in found.summary


def test_a_market_that_trades_every_day_has_no_weekends(prices):
    daily = prices.set_axis(pd.date_range("2020-01-01", periods=len(prices)))
    assert status(daily, "non-trading dates") == ("ok", 0)


def test_independent_assets_are_not_called_foreign():
    panel = factor_market(12, 400, seed=8, n_factors=0).panel
    assert status(panel, "inverse or unrelated")[0] == "ok"


def test_an_asset_is_not_related_to_the_market_by_being_a_part_of_it(prices):
    loud = 100 * np.exp(np.random.default_rng(0).normal(0, 0.03, len(prices)).cumsum())
    found = check_panel(prices.iloc[:, :8].assign(gold=loud)).find("inverse or unrelated")
    assert found.assets == ("gold",)


def test_a_market_series_with_holes_is_reported(prices):
    vix = prices.mean(axis=1).rename("vix").iloc[::2]
    assert check_panel(Panel.from_prices(prices, market=vix)).find("market series").status == "warning"


def test_pairwise_correlations_equal_those_of_pandas_on_common_rows():
    returns = factor_market(9, 120, seed=3, late_listings=0.5, gaps=0.2).panel.returns
    seen = returns.notna().to_numpy()
    fast, common = _pair_correlation(returns.fillna(0).to_numpy(), seen.astype(float))
    np.testing.assert_allclose(fast, returns.corr(), atol=1e-12)
    assert common[0, 1] == (seen[:, 0] & seen[:, 1]).sum()


def test_the_funds_among_the_delisted_stocks_are_found(shared_data):
    report = check_panel(read_tables(shared_data / "us_gone_by_2024_adj_close.parquet"))
    foreign = {*report.find("near-riskless").assets, *report.find("inverse or unrelated").assets}
    assert foreign == {"PHYS", "SPIB", "SPTL", "HSEB", "PCI"}


def test_the_share_classes_among_993_stocks_are_found_in_time(shared_data):
    tables = read_tables(shared_data / "us_equity_adj_close.parquet")
    start = time.process_time()
    report = check_panel(tables)
    assert time.process_time() - start < 20
    pairs = set(report.find("near-duplicates").assets)
    assert pairs == {"CCL/CUK", "FWONA/FWONK", "LBRDA/LBRDK", "LBTYA/LBTYK", "NWS/NWSA"}
    assert report.find("near-riskless").status == report.find("inverse or unrelated").status == "ok"
    assert report.find("survivorship").summary.startswith("none of 993 assets ends in 21 years: probably a list")
