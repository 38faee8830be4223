"""Times are held against budgets, fold by fold and all together."""

import pytest

from eigenfolio.errors import ParameterError
from eigenfolio.training.budgets import ALL_FOLDS, Budgets, check_budget, duration


def test_the_defaults_are_those_of_the_project():
    hours = 3600.0
    assert Budgets().model_dump() == {
        "hrp": 120.0,
        "lstm": 4 * hours,
        "gat": 6 * hours,
        "shrinkage": 2 * hours,
        "total": 8 * hours,
    }


def test_a_time_equal_to_its_budget_is_within_and_one_above_is_over():
    rows = check_budget("hrp", {"a": 120.0, "b": 120.5})
    assert [(row.fold, row.status) for row in rows] == [("a", "within"), ("b", "over"), (ALL_FOLDS, "within")]
    assert rows[-1].seconds == 240.5


def test_folds_that_are_within_can_be_over_together():
    rows = check_budget("shrinkage/dense", dict.fromkeys("abcde", 7000.0))
    assert [row.status for row in rows] == ["within"] * 5 + ["over"]
    assert rows[-1].budget == 28_800.0


def test_a_budget_of_the_network_goes_before_that_of_the_family():
    assert Budgets().per_fold("shrinkage/gat") == Budgets().gat
    assert Budgets(gat=5.0).per_fold("hrp/gat") == 5.0
    assert Budgets().per_fold("allocation/lstm") == Budgets().lstm


def test_no_folds_give_no_rows():
    assert check_budget("lstm", {}) == []


def test_rows_are_plain_values():
    assert check_budget("lstm", {"a": 1})[0].to_dict() == {
        "model": "lstm",
        "fold": "a",
        "seconds": 1.0,
        "budget": 14_400.0,
        "status": "within",
    }


def test_what_has_no_budget_or_no_time_is_refused_in_one_line():
    with pytest.raises(ParameterError, match="no budget for 'cnn'; there are budgets for hrp, lstm, gat, shrinkage"):
        check_budget("cnn", {"a": 1.0})
    with pytest.raises(ParameterError, match="no budget for 'total'"):
        check_budget("total", {"a": 1.0})
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="seconds of fold a"):
            check_budget("hrp", {"a": seconds})


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0.0 s"), (9.96, "10 s"), (59.0, "59 s"), (3599.0, "60.0 min"), (7200.0, "2.0 h")]
)
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words
