"""Tables of tests over the tracks of a walk-forward: each cell is the test it names, families as stated."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.multiple_testing import adjusted_p_values, model_confidence_set
from eigenfolio.evaluation.null_tracks import draw_tracks
from eigenfolio.evaluation.overfitting import backtest_overfitting
from eigenfolio.evaluation.selection_bias import (
    deflated_sharpe_ratio,
    effective_trials,
    probabilistic_sharpe_ratio,
)
from eigenfolio.evaluation.sharpe_tests import jobson_korkie_test, ledoit_wolf_sharpe_test
from eigenfolio.evaluation.track_tests import pair_tests, selection_table, set_tests
from eigenfolio.evaluation.variance_tests import ledoit_wolf_variance_test
from eigenfolio.evaluation.walk_forward import OWN_BOOK, Track, WalkForward

NAMES = ("reference", "same", "wild")


def result(*, lost=None):
    returns = draw_tracks(
        "student", n_observations=420, n_tracks=4, volatility=[0.01, 0.01, 0.013, 0.02], rng=np.random.default_rng(0)
    )
    days = pd.bdate_range("2015-01-01", periods=420)
    one = pd.Series([1.0], index=days[:1])
    keys = [(name, "long-only") for name in NAMES] + [("own", OWN_BOOK)]
    tracks = {}
    for key, column in zip(keys, returns.T, strict=True):
        r = pd.Series(column, index=days)
        if key[0] == lost:
            r.iloc[5] = -1.0
        tracks[key] = Track(*key, one.to_frame("X"), r, r, one, one, 0 * one)
    return WalkForward(tracks, {}, pd.Series(np.arange(420) // 21, index=days), ())


def table_of(walk, **options):
    return pair_tests(walk, "reference", n_bootstrap=200, rng=np.random.default_rng(1), **options)


def test_every_row_is_the_test_it_names():
    walk = result()
    table = table_of(walk)
    seed = int(np.random.default_rng(1).integers(2**63))
    a = walk.tracks["reference", "long-only"].returns
    assert table["rival"].unique().tolist() == ["same", "wild", "own"]  # own weights stand beside a long-only book
    for rival, of in (("same", "long-only"), ("wild", "long-only"), ("own", OWN_BOOK)):
        b = walk.tracks[rival, of].returns
        expected = [
            ledoit_wolf_sharpe_test(a, b, n_bootstrap=200, rng=np.random.default_rng(seed)),
            jobson_korkie_test(a, b),
            ledoit_wolf_variance_test(a, b, n_bootstrap=200, rng=np.random.default_rng(seed)),
        ]
        rows = table[table["rival"] == rival]
        assert rows["method"].tolist() == [test.method for test in expected]
        for field in ("estimate", "low", "high", "p_value", "minimum_detectable"):
            assert_allclose(rows[field], [getattr(test, field) for test in expected])


def test_a_family_is_one_test_over_the_rivals_of_a_book():
    table = table_of(result())
    for _, family in table.groupby("method"):
        assert len(family) == 3
        assert_allclose(family["p_holm"], adjusted_p_values(family["p_value"]))
        assert_allclose(
            family["p_benjamini_hochberg"], adjusted_p_values(family["p_value"], method="benjamini_hochberg")
        )


def test_what_lost_everything_is_not_tested_and_changes_no_other_pair():
    table, fewer = table_of(result()), table_of(result(lost="wild"))
    assert "wild" not in set(fewer["rival"])
    kept = table[table["rival"] != "wild"].reset_index(drop=True)
    adjusted = ["p_holm", "p_benjamini_hochberg"]
    assert_frame_equal(kept.drop(columns=adjusted), fewer.drop(columns=adjusted))


def test_the_worth_of_a_ratio_is_that_of_its_own_book():
    walk = result()
    table = selection_table(walk)
    returns = np.column_stack([walk.tracks[name, "long-only"].returns for name in NAMES])
    sharpes = [probabilistic_sharpe_ratio(column).sharpe for column in returns.T]
    row = table.loc[("same", "long-only")]
    plain = probabilistic_sharpe_ratio(returns[:, 1])
    deflated = deflated_sharpe_ratio(returns[:, 1], sharpes, n_trials=effective_trials(returns))
    assert_allclose(row["probability_positive"], plain.probability)
    assert_allclose(row["needed_years"], plain.needed_observations / 252)
    assert_allclose([row["expected_best"], row["deflated"]], [deflated.benchmark, deflated.probability])
    assert row["n_trials"] == 3
    assert np.isnan(table.loc[("own", OWN_BOOK), "deflated"])  # alone in its book


def test_a_deflated_ratio_is_never_surer_than_the_plain_one():
    table = selection_table(result()).dropna()
    assert (table["deflated"] <= table["probability_positive"] + 1e-12).all()


def test_a_book_as_a_whole():
    walk = result()
    found = set_tests(walk, "reference", n_bootstrap=300, rng=np.random.default_rng(2))
    assert found.index.tolist() == ["long-only"]  # the own book has no reference
    returns = pd.DataFrame({name: walk.tracks[name, "long-only"].returns for name in NAMES})
    expected = model_confidence_set(returns**2, n_bootstrap=300, rng=np.random.default_rng(2))
    row = found.loc["long-only"]
    assert row["confidence_set"] == expected.included == ("reference", "same")
    assert row["superior"] == ()
    assert row["spa_p_value"] > 0.05
    assert_allclose(row["overfitting_probability"], backtest_overfitting(returns).probability)
    worse = set_tests(walk, "wild", n_bootstrap=300, rng=np.random.default_rng(2)).loc["long-only"]
    assert set(worse["superior"]) == {"reference", "same"}


def test_an_unknown_reference_is_refused():
    with pytest.raises(ParameterError, match="'best' is no model"):
        pair_tests(result(), "best", rng=np.random.default_rng(0))
