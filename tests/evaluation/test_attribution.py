"""Attributions find what was planted, and integrated gradients add up."""

import itertools

import numpy as np
import pandas as pd
import pytest

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.attribution import integrated_gradients, permutation_attribution


def smooth(x):
    """A planted relation: the third input matters only together with the first, the fourth not at all."""
    return np.tanh(x[:, 0]) + 0.5 * x[:, 1] ** 2 + x[:, 0] * x[:, 2]


def smooth_gradient(x):
    return np.column_stack(
        [1.0 / np.cosh(x[:, 0]) ** 2 + x[:, 2], x[:, 1], x[:, 0], np.zeros(len(x))],
    )


X, BASE = np.array([1.5, -2.0, 0.7, 9.0]), np.array([0.2, 0.1, -0.4, -9.0])


@pytest.mark.parametrize("gradient", [None, smooth_gradient])
def test_integrated_gradients_add_up_to_the_difference_of_the_answers(gradient):
    found = integrated_gradients(smooth, X, BASE, gradient=gradient, n_nodes=200)
    difference = (smooth(X[None]) - smooth(BASE[None]))[0]
    assert found.values.sum() == pytest.approx(difference, abs=2e-5)
    assert found.gap == pytest.approx(difference - found.values.sum(), abs=1e-12)
    assert found.values[3] == 0.0


def test_integrated_gradients_of_a_planted_relation_by_hand():
    found = integrated_gradients(smooth, X, BASE, n_nodes=400)
    way, rise = X - BASE, X[0] + BASE[0]
    by_hand = [
        np.tanh(X[0]) - np.tanh(BASE[0]) + way[0] * (X[2] + BASE[2]) / 2,
        0.5 * (X[1] ** 2 - BASE[1] ** 2),
        way[2] * rise / 2,
        0.0,
    ]
    np.testing.assert_allclose(found.values, by_hand, atol=1e-5)


def test_the_gap_shrinks_with_the_nodes_where_an_input_is_clipped():
    def clipped(x):
        return np.clip(x[:, 0] + x[:, 1], -0.3, 0.3)

    gaps = [abs(integrated_gradients(clipped, [1.0, 0.4], [0.0, 0.0], n_nodes=n).gap) for n in (10, 1000)]
    assert gaps[1] < 1e-3 < gaps[0]


def test_groups_add_their_members_up():
    found = integrated_gradients(smooth, X, BASE, names=list("abcd"))
    sums = found.grouped({"pair": ["a", "c"]})
    assert sums["pair"] == pytest.approx(found.values["a"] + found.values["c"])
    assert sums.sum() == pytest.approx(found.values.sum())
    with pytest.raises(ParameterError, match="stands in the groups"):
        found.grouped({"one": ["a"], "two": ["a"]})


def test_permutation_of_a_planted_linear_relation_is_twice_the_variance_it_brings():
    rng = np.random.default_rng(1)
    features = pd.DataFrame(rng.standard_normal((4000, 3)), columns=["large", "small", "idle"])
    found = permutation_attribution(lambda x: 3.0 * x[:, 0] - x[:, 1], features, rng=rng, n_repeats=20)
    expected = 2.0 * np.array([9.0, 1.0, 0.0]) * features.var(ddof=0)[["large", "small", "idle"]]
    np.testing.assert_allclose(found.loc[["large", "small", "idle"], "change"], expected, rtol=0.03)
    assert list(found.index) == ["large", "small", "idle"]
    assert found.loc["idle", "change"] == 0.0


def test_permutation_equals_the_mean_over_all_permutations():
    """The slow twin deals a small column out in every way there is."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 2))

    def f(z):
        return z[:, 0] ** 2 + z[:, 0] * z[:, 1]

    every = []
    for order in itertools.permutations(range(5)):
        dealt = x.copy()
        dealt[:, 0] = x[list(order), 0]
        every.append(((f(dealt) - f(x)) ** 2).mean())
    found = permutation_attribution(f, pd.DataFrame(x, columns=["a", "b"]), rng=rng, n_repeats=4000)
    assert found.loc["a", "change"] == pytest.approx(np.mean(every), abs=5 * found.loc["a", "standard_error"])
    assert found.loc["a", "standard_error"] == pytest.approx(np.std(every) / np.sqrt(4000), rel=0.1)


def test_with_a_target_an_input_that_misleads_has_a_negative_change():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3000, 2))
    features = pd.DataFrame(x, columns=["right", "wrong"])
    found = permutation_attribution(lambda z: z[:, 0] + z[:, 1], features, rng=rng, target=x[:, 0] - x[:, 1])
    assert found.loc["right", "change"] > 1.0
    assert found.loc["wrong", "change"] < -1.0


def test_inputs_that_move_together_are_seen_when_dealt_out_together():
    rng = np.random.default_rng(4)
    one = rng.standard_normal(2000)
    features = pd.DataFrame({"a": one, "b": one})

    def difference_and_level(z):
        return z[:, 0] + z[:, 1]

    apart = permutation_attribution(difference_and_level, features, rng=rng)
    together = permutation_attribution(difference_and_level, features, rng=rng, groups={"both": ["a", "b"]})
    assert together.loc["both", "share"] == pytest.approx(1.0, abs=0.05)
    assert apart.loc["a", "share"] == pytest.approx(0.25, abs=0.05)


def test_the_same_seed_gives_the_same_table_and_the_inputs_are_left_alone():
    features = pd.DataFrame(np.random.default_rng(5).standard_normal((50, 3)), columns=list("abc"))
    before = features.copy()
    tables = [
        permutation_attribution(lambda x: x.sum(axis=1), features, rng=np.random.default_rng(0)) for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*tables)
    pd.testing.assert_frame_equal(features, before)


def test_answers_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="not finite in 1 of 2"):
        integrated_gradients(lambda x: np.where(x[:, 0] > 0, 1.0, np.inf), [1.0], [0.0], gradient=np.ones_like)
