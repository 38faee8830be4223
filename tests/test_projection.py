"""The book closest to given scores: worked by hand, against a general solver, and within its limits."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import minimum_variance_weights
from eigenfolio.projection import bounded_projection, closest_book


def solved(scores, cap, *, previous=None, limit=None):
    """The slow twin: the same problem by a conic solver."""
    weights = cp.Variable(len(scores))
    rules = [cp.sum(weights) == 1, weights >= 0, weights <= cap]
    if previous is not None:
        rules.append(cp.norm1(weights - previous) <= 2 * limit)
    cp.Problem(cp.Minimize(cp.sum_squares(weights - scores)), rules).solve(solver=cp.CLARABEL)
    return weights.value


def test_without_a_cap_it_is_sparsemax_worked_by_hand():
    # level 0.2: 0.7 - 0.2 + 0.7 - 0.2 = 1, and 0.1 stays below it
    assert_allclose(closest_book([0.7, 0.7, 0.1], Constraints()), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    scores, cap = rng.normal(size=9) * rng.choice([0.05, 0.3, 2.0]), rng.choice([0.2, 0.5, 1.0])
    assert_allclose(closest_book(scores, Constraints(max_weight=cap)), solved(scores, cap), atol=2e-4)


@pytest.mark.parametrize("seed", range(12))
def test_within_a_turnover_it_agrees_with_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    scores, limit = rng.normal(size=8), rng.choice([0.05, 0.2, 0.5])
    previous = closest_book(rng.dirichlet(np.ones(8)), Constraints(max_weight=0.4))
    limits = Constraints(max_weight=0.4, max_turnover=limit)
    found = closest_book(scores, limits, previous=previous)
    assert_allclose(found, solved(scores, 0.4, previous=previous, limit=limit), atol=2e-4)
    assert 0.5 * np.abs(found - previous).sum() <= limit + 1e-12


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=12),
    st.floats(0.34, 1.0),
    st.one_of(st.none(), st.integers(3, 12)),
)
@settings(max_examples=150, deadline=None)
def test_every_book_is_within_its_limits(scores, cap, positions):
    weights = closest_book(scores, Constraints(max_weight=cap, max_positions=positions))
    assert weights.min() >= 0.0
    assert weights.max() <= cap + 1e-12
    assert weights.sum() == pytest.approx(1.0, abs=1e-10)
    assert (weights > 0).sum() <= (positions or len(scores))


def test_positions_keep_the_highest_scores():
    weights = closest_book([0.3, 0.9, 0.8, 0.2], Constraints(max_positions=2))
    assert_allclose(weights, [0.0, 0.55, 0.45, 0.0])


def test_a_drifted_weight_above_the_cap_is_sold_down_to_it():
    previous = np.array([0.55, 0.25, 0.2])
    weights = closest_book([0.9, 0.0, 0.0], Constraints(max_weight=0.5, max_turnover=0.1), previous=previous)
    assert weights[0] == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1.0)


def test_a_turnover_that_the_cap_makes_impossible_is_an_error():
    with pytest.raises(ParameterError, match=r"max_turnover=0.02 cannot be met.*needs 0.1"):
        closest_book([0.1, 0.2, 0.3], Constraints(max_weight=0.5, max_turnover=0.02), previous=[0.6, 0.2, 0.2])


def test_a_sum_at_an_end_of_its_range_gives_the_bounds():
    low, high = np.array([0.1, 0.0]), np.array([0.2, 0.5])
    assert_allclose(bounded_projection(np.array([1.0, 2.0]), low, high, 0.1), low)
    assert_allclose(bounded_projection(np.array([1.0, 2.0]), low, high, 0.7), high)


@pytest.mark.parametrize(
    "options",
    [
        {"max_turnover": 0.0},
        {"max_turnover": 1.5},
        {"max_positions": 0},
        {"max_positions": 2.5},
        {"max_positions": 3, "max_turnover": 0.1},
        {"long_only": False, "max_turnover": 0.1},
    ],
)
def test_limits_out_of_range_are_refused(options):
    with pytest.raises(ParameterError, match=r"max_turnover|max_positions"):
        Constraints(**options)


def test_scores_must_be_finite_and_the_book_long_only():
    with pytest.raises(DataError, match="finite"):
        closest_book([0.1, np.nan], Constraints())
    with pytest.raises(ParameterError, match="long_only=False"):
        closest_book([0.1, 0.2], Constraints(long_only=False))
    with pytest.raises(ParameterError, match="max_positions=2"):
        closest_book([0.1, 0.2, 0.3, 0.4], Constraints(max_weight=0.4, max_positions=2))


def test_minimum_variance_refuses_limits_that_it_does_not_offer():
    with pytest.raises(ParameterError, match="does not limit turnover"):
        minimum_variance_weights(np.eye(3), Constraints(max_turnover=0.1))


def test_a_name_tells_every_limit():
    assert Constraints(max_weight=0.1, max_positions=20).name == "long-only 10% cap, 20 positions"
