"""Views of a covariance, the price of a missing part, and what changed in words."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.interpretation import ablation_table, eigenvector_view, sector_view, what_changed

NAMES = ["oil1", "oil2", "oil3", "bank1", "bank2"]
SECTORS = {"oil1": "oil", "oil2": "oil", "oil3": "oil", "bank1": "bank", "bank2": "bank"}
DAYS = pd.bdate_range("2020-01-01", periods=6)


def blocks(inside=0.6, across=0.1, volatility=(0.01, 0.01, 0.01, 0.03, 0.03)):
    owner = np.array([0, 0, 0, 1, 1])
    correlation = np.where(owner[:, None] == owner, inside, across)
    np.fill_diagonal(correlation, 1.0)
    return correlation * np.outer(volatility, volatility)


def test_eigenvectors_of_two_planted_blocks_name_their_sectors():
    view = eigenvector_view(blocks(across=0.0), NAMES, n_vectors=2, sectors=SECTORS)
    assert view["eigenvalue"].tolist() == pytest.approx([2.2, 1.6])  # 1 + 2 * 0.6 and 1 + 0.6
    assert view["participation"].tolist() == pytest.approx([3.0, 2.0])
    assert view["sector: oil"].tolist() == pytest.approx([1.0, 0.0], abs=1e-12)
    assert view.loc[2, "highest"].split(", ")[:2] in (["bank1", "bank2"], ["bank2", "bank1"])


def test_the_shares_of_all_eigenvectors_and_of_their_sectors_sum_to_one():
    view = eigenvector_view(blocks(), NAMES, n_vectors=5, sectors=SECTORS)
    assert view["share"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(view.filter(like="sector: ").sum(axis=1), 1.0)
    assert view.loc[1, "net_sign"] > 0.9
    assert view.loc[1, "lowest"] == ""


def test_inactive_assets_are_in_no_view():
    matrix = blocks()
    matrix[3] = matrix[:, 3] = np.nan
    assert eigenvector_view(matrix, NAMES, n_vectors=9)["share"].sum() == pytest.approx(1.0)
    assert sector_view(matrix, NAMES, SECTORS).loc["bank", "n_assets"] == 1
    with pytest.raises(ParameterError, match="inactive assets: bank1"):
        sector_view(matrix, NAMES, SECTORS, weights=[0, 0, 0, 1, 0])
    with pytest.raises(DataError, match="no asset"):
        eigenvector_view(np.full((2, 2), np.nan), ["a", "b"])


def test_sectors_by_hand():
    view = sector_view(blocks(), NAMES, SECTORS, weights=[1.0, 0.0, 0.0, 1.0, 0.0])
    assert view["inside"].tolist() == pytest.approx([0.6, 0.6])
    assert view["outside"].tolist() == pytest.approx([0.1, 0.1])
    # variance = 0.01^2 + 0.03^2 + 2 * 0.1 * 0.01 * 0.03 = 1.06e-3; oil brings 1e-4 + 3e-5
    assert view["risk_share"].tolist() == pytest.approx([1.3e-4 / 1.06e-3, 9.3e-4 / 1.06e-3])


def comparison(**changes):
    row = {
        "reference": "whole", "rival": "no head", "book": "long-only", "window_mean": -0.02, "window_low": -0.03,
        "window_high": -0.01, "n_windows": 40, "p_adjusted": 0.01, "confidence": 0.95,
        "reference_picked_afterwards": False,
    }  # fmt: skip
    return row | changes


def test_a_part_is_needed_where_the_whole_is_surely_calmer():
    rows = [
        comparison(rival="idle", window_mean=-0.001, window_low=-0.01, window_high=0.008, p_adjusted=0.8),
        comparison(),
        comparison(rival="bad", window_mean=0.03, window_low=0.02, window_high=0.04),
    ]
    table = ablation_table(pd.DataFrame(rows), whole="whole")
    assert table["without"].tolist() == ["no head", "idle", "bad"]
    assert table["verdict"].tolist() == ["needed", "undecided", "harmful"]
    assert table.loc[0, ["low", "rise", "high"]].tolist() == pytest.approx(np.expm1([0.01, 0.02, 0.03]))


def test_an_ablation_has_one_whole():
    with pytest.raises(ParameterError, match="got other too"):
        ablation_table(pd.DataFrame([comparison(), comparison(reference="other")]), whole="whole")


def test_the_most_unusual_change_is_told_first_and_what_stood_still_last():
    path = pd.DataFrame(
        {
            "small": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
            "large": [0.0, 0.1, 0.2, 0.1, 0.2, 5.2],
            "still": 7.0,
            "seen": [False] * 5 + [True],
            "regime": ["calm"] * 5 + ["stressed"],
        },
        index=DAYS,
    )
    said = what_changed(path, DAYS[4], DAYS[5], titles={"regime": "the market"})
    assert (
        said[0]
        == "Between 2020-01-07 and 2020-01-08 seen went from False to True; the market went from calm to stressed."
    )
    assert said[1].startswith("Large rose from 0.2 to 5.2 (+5), 50 times its usual step: unusual")
    assert said[2] == "Small rose from 1 to 2 (+1), 1 times its usual step."
    assert said[3] == "Unchanged: still (7)."


def test_what_comes_later_changes_no_sentence():
    path = pd.DataFrame({"shrinkage": np.random.default_rng(0).random(6)}, index=DAYS)
    altered = path.copy()
    altered.iloc[4:] = 99.0
    assert what_changed(path, DAYS[1], DAYS[3]) == what_changed(altered, DAYS[1], DAYS[3])


def test_a_change_that_no_printed_digit_shows_is_no_change():
    path = pd.DataFrame({"spread": [0.05, 0.06, 0.05, 0.06, 0.05351, 0.05352]}, index=DAYS)
    assert what_changed(path, DAYS[4], DAYS[5]) == ["Between 2020-01-07 and 2020-01-08: spread (0.0535) unchanged."]


def test_a_series_that_moved_seldom_is_not_said_never_to_have_moved():
    path = pd.DataFrame({"seldom": [0.0, 0.2] + [0.0] * 5 + [0.1], "never": [0.0] * 7 + [0.1]})
    path.index = pd.bdate_range("2020-01-01", periods=8)
    said = what_changed(path, path.index[6], path.index[7])
    assert "Seldom rose from 0 to 0.1 (+0.1); between most dates it does not move." in said
    assert "Never rose from 0 to 0.1 (+0.1); it had not moved before." in said


def test_nothing_changed_is_one_sentence():
    path = pd.DataFrame({"shrinkage": 0.5}, index=DAYS)
    assert what_changed(path, DAYS[0], DAYS[1]) == ["Between 2020-01-01 and 2020-01-02: shrinkage (0.5) unchanged."]
    with pytest.raises(ParameterError, match="no row of the path"):
        what_changed(path, "2019-01-01", DAYS[1])
