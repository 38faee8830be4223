"""Labels that training and test share are found wherever they are."""

import numpy as np
import pandas as pd
import pytest
from skfolio.model_selection import CombinatorialPurgedCV, WalkForward
from sklearn.model_selection import KFold, TimeSeriesSplit

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.label_overlap import label_overlap, overlapping_rows

X = pd.DataFrame(np.zeros((120, 3)), index=pd.bdate_range("2020-01-01", periods=120))


@pytest.mark.parametrize("horizon", [1, 2, 5, 21])
def test_overlapping_rows_are_those_of_comparing_every_pair_of_labels(horizon):
    rng = np.random.default_rng(horizon)
    for _ in range(50):
        order = rng.permutation(60)
        train, test = np.sort(order[: rng.integers(1, 40)]), order[40 : rng.integers(41, 60)]
        labels = {row: set(range(row + 1, row + 1 + horizon)) for row in range(60)}
        naive = [row for row in train if any(labels[row] & labels[tested] for tested in test)]
        assert overlapping_rows(train, test, horizon=horizon).tolist() == naive


def test_a_purge_of_one_row_less_than_the_horizon_is_just_enough():
    assert label_overlap(TimeSeriesSplit(4, gap=19), X, horizon=21).n_overlapping == 4
    assert label_overlap(TimeSeriesSplit(4, gap=20), X, horizon=21).n_overlapping == 0
    assert label_overlap(WalkForward(test_size=20, train_size=40), X, horizon=5).n_overlapping > 0
    assert label_overlap(WalkForward(test_size=20, train_size=40, purged_size=4), X, horizon=5).n_overlapping == 0


def test_folds_overlap_on_both_sides_of_a_tested_block():
    found = label_overlap(KFold(3), X, horizon=6)
    assert (found.n_splits, found.n_overlapping) == (3, 3)
    assert found.rows.tolist() == [*range(35, 45), *range(75, 85)]


def test_several_tests_of_one_split_are_each_looked_at():
    purged = CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=5, embargo_size=5)
    assert label_overlap(purged, X, horizon=5).n_overlapping == 0
    assert label_overlap(purged, X, horizon=7).n_overlapping > 0


def test_labels_of_one_row_never_overlap_between_disjoint_rows():
    assert label_overlap(KFold(5, shuffle=True, random_state=0), X, horizon=1).n_overlapping == 0


def test_a_horizon_below_one_row_is_refused():
    with pytest.raises(ParameterError, match="at least 1 row"):
        overlapping_rows([0], [1], horizon=0)
