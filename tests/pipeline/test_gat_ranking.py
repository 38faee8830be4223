"""A ranking of graph methods, and whether it is more than noise."""

from itertools import permutations

import numpy as np
import pytest

from eigenfolio.errors import DataError
from eigenfolio.pipeline.gat_ranking import between_methods, rank_methods


def ratio(values):
    """The slow twin: one-way analysis of variance."""
    groups = [np.array(group) for group in values]
    grand, size = np.mean(np.concatenate(groups)), len(groups[0])
    between = size * sum((group.mean() - grand) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (len(groups) * (size - 1))
    return between / within


def test_the_share_is_that_of_all_ways_to_hand_the_results_out():
    values = [[0.1, 0.4, 0.2], [0.9, 0.5, 0.8]]
    f_ratio, p_value = between_methods(values, rng=np.random.default_rng(0), n_shuffles=20_000)
    every = [ratio(np.reshape(order, (2, 3))) for order in permutations(np.ravel(values))]
    assert f_ratio == pytest.approx(ratio(values))
    assert p_value == pytest.approx(np.mean(np.array(every) >= f_ratio * (1 - 1e-12)), abs=0.01)


def test_equal_methods_are_told_apart_no_more_often_than_the_level_says():
    rng = np.random.default_rng(1)
    found = [between_methods(rng.normal(size=(5, 3)), rng=rng, n_shuffles=200)[1] for _ in range(300)]
    assert np.mean(np.array(found) <= 0.05) < 0.09


def ranked(spread, interval, n_seeds=3):
    rng = np.random.default_rng(2)
    sharpes = {f"m{i}": list(0.5 + spread * i + 0.1 * rng.standard_normal(n_seeds)) for i in range(4)}
    together = {name: float(np.mean(values)) for name, values in sharpes.items()}
    losses = {name: [-value for value in values] for name, values in sharpes.items()}
    return rank_methods(sharpes, losses, together, interval=interval, confidence=0.95, rng=np.random.default_rng(0))


def test_it_is_more_than_noise_only_if_both_kinds_of_noise_are_left_behind():
    assert ranked(1.0, (0.1, 0.9)).more_than_noise is True
    assert ranked(1.0, (-0.1, 0.9)).more_than_noise is False
    assert ranked(0.0, (0.1, 0.9)).more_than_noise is False
    assert "The order is more than noise" in ranked(1.0, (0.1, 0.9)).sentences[1]
    assert "not beyond the noise of the dates" in ranked(1.0, (-0.1, 0.9)).sentences[1]
    assert "not beyond the spread of the seeds" in ranked(0.0, (0.1, 0.9)).sentences[1]
    assert "The order is no more than noise" in ranked(0.0, (-0.1, 0.9)).sentences[1]


def test_the_best_comes_first_with_its_order_by_validation_beside_it():
    ranking = ranked(1.0, (0.1, 0.9))
    assert list(ranking.table.index) == ["m3", "m2", "m1", "m0"]
    assert list(ranking.table["loss_rank"]) == [1, 2, 3, 4]
    assert ranking.agreement == pytest.approx(1.0)


def test_one_seed_or_one_method_leaves_the_question_open():
    once = ranked(1.0, (0.1, 0.9), n_seeds=1)
    assert once.more_than_noise is None
    assert once.sentences[0].startswith("Sharpe ratio out of sample, one seed: m3 ")
    alone = rank_methods(
        {"mst": [0.1, 0.2]}, {"mst": [0.0, 0.0]}, {"mst": 0.2}, interval=None, confidence=0.95,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert alone.more_than_noise is None
    assert "cannot be ranked" in alone.sentences[1]


def test_a_comparison_needs_two_of_each():
    with pytest.raises(DataError, match="2 methods and 2 seeds"):
        between_methods([[1.0, 2.0]], rng=np.random.default_rng(0))
