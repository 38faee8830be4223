import math

import pytest

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.errors import ParameterError


@pytest.mark.parametrize(
    ("constraints", "name"),
    [
        (LONG_ONLY, "long-only"),
        (UNCONSTRAINED, "unconstrained"),
        (Constraints(max_weight=0.05), "long-only 5% cap"),
        (Constraints(max_weight=0.025), "long-only 2.5% cap"),
    ],
)
def test_a_book_is_named_in_words(constraints, name):
    assert constraints.name == name


@pytest.mark.parametrize("cap", [0.0, -0.1, 1.1, math.nan, True, "5%"])
def test_a_cap_outside_zero_and_one_is_refused(cap):
    with pytest.raises(ParameterError, match="max_weight must be"):
        Constraints(max_weight=cap)


def test_a_cap_on_a_book_with_short_sales_points_to_skfolio():
    with pytest.raises(ParameterError, match=r"MeanRisk\(.*prior_estimator"):
        Constraints(long_only=False, max_weight=0.1)


def test_long_only_is_a_yes_or_no():
    with pytest.raises(ParameterError, match="long_only"):
        Constraints(long_only=0.5)


def test_a_cap_that_cannot_be_fully_invested_says_what_would_do():
    with pytest.raises(ParameterError, match=r"at least 0\.1$"):
        Constraints(max_weight=0.05).effective_cap(10)
    with pytest.raises(ParameterError, match="at least 1 asset"):
        LONG_ONLY.effective_cap(0)


def test_rounding_does_not_refuse_a_cap_that_just_fits():
    assert Constraints(max_weight=1 / 49).effective_cap(49) == 1 / 49
    assert UNCONSTRAINED.effective_cap(3) == math.inf


def test_slack_keeps_a_choice_in_a_small_universe_and_leaves_a_large_one_alone():
    book = Constraints(max_weight=0.05, slack=2.0)
    assert book.effective_cap(8) == 0.25
    assert book.effective_cap(100) == 0.05
    assert book.effective_cap(1) == 1.0


@pytest.mark.parametrize(
    "options", [{"slack": 0.5, "max_weight": 0.1}, {"slack": 2.0}, {"slack": True, "max_weight": 0.1}]
)
def test_slack_that_means_nothing_is_refused(options):
    with pytest.raises(ParameterError, match="slack"):
        Constraints(**options)
