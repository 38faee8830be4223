"""Stress tests against planted truths: one per shock, crisis and regime."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.data import plan_decisions
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.regimes import HISTORIC_SPANS, by_group, covered_spans, regime_groups
from eigenfolio.evaluation.stress import stress_test
from eigenfolio.models import EqualWeight, InverseVolatility, SampleCovariance


def panel(n_rows=1000, n_assets=20, *, start="2010-01-01", market=0.0):
    rng = np.random.default_rng(3)
    index = pd.bdate_range(start, periods=n_rows)
    common = market * rng.standard_normal((n_rows, 1))
    names = [f"S{i:02d}" for i in range(n_assets)]
    return pd.DataFrame(common + 0.001 * rng.standard_normal((n_rows, n_assets)), index=index, columns=names)


def stressed(returns, *shocks, models=None, **options):
    plan = plan_decisions(returns.index, rebalance=5 if options.pop("weekly", False) else "MS", min_history=300)
    books = {} if models is None else {"long-only": LONG_ONLY}
    models = models or {"even": EqualWeight()}
    return stress_test(models, returns, plan, books=books, shocks=shocks, cost_bps=0.0, n_bootstrap=300, **options)


def row_of(done, scenario, model="even"):
    return done.table.set_index(["scenario", "model"]).loc[(scenario, model)]


def test_three_times_the_volatility_is_three_times_the_volatility():
    row = row_of(stressed(panel(), "volatility", weekly=True), "volatility")
    assert np.exp(row["log_volatility"]) == pytest.approx(3.0, rel=0.01)
    assert row["log_volatility_high"] - row["log_volatility_low"] < 0.02  # the same days: nothing else varies


def test_at_correlations_of_nine_tenths_an_even_book_is_as_wild_as_its_assets():
    # Independent assets: volatility s / sqrt(20); correlations c: s sqrt(c + (1 - c) / 20) = 0.95 s at 0.9.
    row = row_of(stressed(panel(1500), "correlation", weekly=True), "correlation")
    assert np.exp(row["log_volatility"]) == pytest.approx(0.95 * np.sqrt(20), rel=0.1)
    assert row["log_volatility_low"] > np.log(3.0)


def test_half_of_the_assets_make_an_even_book_of_independent_ones_wilder_by_the_root_of_two():
    row = row_of(stressed(panel(2500), "missing", weekly=True), "missing")
    assert row["log_volatility_low"] < 0.5 * np.log(2.0) < row["log_volatility_high"]
    assert row["log_volatility_low"] > 0.2


def test_outliers_are_seen_but_never_earned():
    returns = panel(700)
    models = {"even": EqualWeight(), "sample": SampleCovariance(lookback=120)}
    done = stressed(returns, "outliers", models=models)
    even, sample = row_of(done, "outliers"), row_of(done, "outliers", "sample")
    assert even[["log_volatility", "sharpe_change"]].abs().max() < 1e-12
    assert_series_equal(
        done.shocked["outliers"].tracks["even", "own"].returns, done.normal.tracks["even", "own"].returns, atol=1e-15
    )
    assert sample["log_volatility_low"] > 0.0
    assert sample["turnover"] > 1.2 * sample["normal_turnover"]


def test_a_drought_multiplies_the_impact_by_the_root_of_ten_and_leaves_the_book_alone():
    returns = panel(500)
    done = stressed(returns, "drought", value_traded=1e7 + 0.0 * returns, impact=1.0, capital=1e7)
    row = row_of(done, "drought")
    assert_allclose(row["annualized_cost"] / row["normal_cost"], np.sqrt(10.0))  # commission is zero here
    assert row["sharpe_change"] < 0.0
    assert any("is 5.0 % of a usual day's value traded" in note for note in done.notes)  # a twentieth of the book
    assert row["turnover"] == row["normal_turnover"]


def test_without_volume_the_drought_is_left_out_and_the_note_says_so():
    done = stressed(panel(700), "drought", "missing")
    assert set(done.table["scenario"]) == {"missing", "euro and downgrade 2011"}
    assert any("panel has no volume" in note for note in done.notes)


def test_the_book_that_suffers_more_is_told_from_the_other():
    # Ten wild assets and ten calm ones, all independent. The inverse-volatility book is spread over all twenty, the
    # even one in effect over the wild ten: tripling leaves their ratio alone, correlations of 0.9 hurt the first more.
    returns = panel(1500)
    returns.iloc[:, :10] *= 5.0
    models = {"even": EqualWeight(), "inverse": InverseVolatility(lookback=120)}
    done = stressed(returns, "volatility", "correlation", models=models, reference="inverse")
    tripled, together = row_of(done, "volatility"), row_of(done, "correlation")
    assert abs(tripled["relative_log_volatility"]) < 0.1
    assert together["relative_log_volatility_high"] < 0.0
    assert row_of(done, "correlation", "inverse")["relative_log_volatility"] == 0.0


def test_a_planted_crisis_is_found_by_its_date():
    returns = panel(2600, start="2005-01-03")
    span = HISTORIC_SPANS[1]
    returns[span.mask(returns.index)] *= 4.0
    done = stressed(returns, "missing")
    found = done.table[done.table["kind"] == "historic"].set_index("scenario")
    assert list(found.index) == ["financial crisis 2007-09", "euro and downgrade 2011"]
    crisis, calm = found.iloc[0], found.iloc[1]
    assert crisis["log_volatility_low"] < np.log(4.0) < crisis["log_volatility_high"]
    assert calm["log_volatility_low"] < 0.0 < calm["log_volatility_high"]
    assert crisis["max_drawdown"] > 0.0


def test_a_span_with_fewer_than_twenty_days_is_no_evidence():
    assert covered_spans(pd.bdate_range("2020-03-10", "2021-01-01")) == ()
    assert [span.name for span in covered_spans(pd.bdate_range("2020-02-01", "2021-01-01"))] == ["pandemic 2020"]


def test_a_planted_regime_shows_its_volatility_and_calm_is_what_it_is_compared_with():
    returns = panel(1300)
    wild = np.arange(len(returns)) // 100 % 4 == 3
    returns[wild] *= 2.5
    labels = pd.Series(pd.Categorical(np.where(wild, "crisis", "calm"), categories=["calm", "crisis"]), returns.index)
    done = stressed(returns, regimes=labels.shift(-1))  # known the evening before, in this market
    table = done.table[done.table["kind"] == "regime"].set_index("scenario")
    assert list(table.index) == ["crisis"]
    assert table.loc["crisis", "log_volatility"] == pytest.approx(np.log(2.5), abs=0.15)
    n_held = len(done.normal.windows)
    assert table.loc["crisis", ["n_rows", "n_normal"]].sum() in (n_held, n_held - 1)


def test_a_day_is_filed_under_the_label_before_it():
    days = pd.bdate_range("2020-01-01", periods=4)
    labels = pd.Series(pd.Categorical(["a", "b", "b", "a"]), index=days)
    assert regime_groups(labels, days)["b"].tolist() == [False, False, True, True]
    assert regime_groups(labels, days, lag=0)["b"].tolist() == [False, True, True, False]
    with pytest.raises(ParameterError, match="may not come from after"):
        regime_groups(labels, days, lag=-1)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table_on_any_number_of_workers():
    returns = panel(600)
    tables = [stressed(returns, "missing", "outliers", n_jobs=jobs, seed=7).table for jobs in (1, 2)]
    assert_frame_equal(*tables)


def test_unknown_names_are_refused():
    with pytest.raises(
        ParameterError, match="shocks must be of volatility, correlation, outliers, missing, drought, got flood"
    ):
        stressed(panel(400), "flood")
    with pytest.raises(ParameterError, match="reference must be one of even"):
        stressed(panel(400), "missing", reference="odd")
    done = stressed(panel(700), "missing")
    with pytest.raises(ParameterError, match="one mark per day"):
        by_group(done.normal, {"x": np.ones(3, dtype=bool)}, np.ones(3, dtype=bool), kind="regime", rng=None)
