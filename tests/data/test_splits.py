from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenfolio.data import purge_overlaps, regime_coverage, rolling_folds, seal, time_split
from eigenfolio.errors import DataError, ParameterError

DAYS = pd.bdate_range("2010-01-04", "2016-12-30")


def overlap(i, j, ends, purge=0, embargo=0):
    """The definition, one pair at a time: do [i, end + purge] and [j, end + embargo] share a row?"""
    return i <= ends[j] + embargo and j <= ends[i] + purge


@st.composite
def samples(draw):
    n = draw(st.integers(2, 40))
    ends = np.array([i + draw(st.integers(0, 8)) for i in range(n)])
    tested = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return ends, np.flatnonzero(~tested), np.flatnonzero(tested)


@settings(max_examples=300, deadline=None)
@given(samples(), st.integers(0, 4), st.integers(0, 4))
def test_purging_equals_the_brute_force_overlap_oracle(sample, purge, embargo):
    ends, train, test = sample
    slow = [i for i in train if not any(overlap(i, j, ends, purge, embargo) for j in test)]
    fast = purge_overlaps(train, test, label_ends=ends, purge=purge, embargo=embargo)
    assert fast.tolist() == slow


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12))
def test_no_sample_of_a_fold_overlaps_a_later_part(seed, purge, embargo):
    ends = np.arange(len(DAYS)) + np.random.default_rng(seed).integers(0, 30, len(DAYS))
    for fold in rolling_folds(DAYS, purge=purge, embargo=embargo, label_ends=ends):
        for earlier, later in ((fold.train, fold.validation), (fold.validation, fold.test), (fold.train, fold.test)):
            near, far = earlier[-60:], later[:60]
            assert not any(overlap(i, j, ends) for i in near for j in far)
            assert ends[earlier].max() + purge + embargo < later[0]
            assert later[0] - earlier[-1] > purge + embargo


def test_folds_are_36_12_and_12_calendar_months_and_roll_by_the_test_span():
    folds = rolling_folds(DAYS)
    assert [fold.dates(DAYS) for fold in folds] == [
        {
            "train": (f"{year}-01-0{first}", f"{year + 2}-12-31"),
            "validation": (str(DAYS[DAYS.year == year + 3][0].date()), str(DAYS[DAYS.year == year + 3][-1].date())),
            "test": (str(DAYS[DAYS.year == year + 4][0].date()), str(DAYS[DAYS.year == year + 4][-1].date())),
        }
        for year, first in ((2010, 4), (2011, 3), (2012, 2))
    ]
    tested = np.concatenate([fold.test for fold in folds])
    assert tested.tolist() == list(range(tested[0], len(DAYS)))


def test_without_labels_a_fold_loses_exactly_purge_and_embargo():
    plain, apart = rolling_folds(DAYS)[0], rolling_folds(DAYS, purge=3, embargo=2)[0]
    assert apart.train.tolist() == plain.train[:-3].tolist()
    assert apart.validation.tolist() == plain.validation[2:-3].tolist()
    assert apart.test.tolist() == plain.test[2:].tolist()


def test_the_70_15_15_split_leaves_a_month_between_its_parts():
    fold = time_split(DAYS)
    dates = [pd.DatetimeIndex(DAYS[part]) for part in (fold.train, fold.validation, fold.test)]
    for earlier, later in pairwise(dates):
        assert later[0] - earlier[-1] >= pd.Timedelta(days=29)
        assert later[0] - earlier[-1] <= pd.Timedelta(days=35)
    shares = [len(part) / len(DAYS) for part in dates]
    np.testing.assert_allclose(shares, [0.70, 0.14, 0.14], atol=0.006)


def test_labels_that_reach_over_the_gap_are_dropped():
    ends = np.minimum(np.arange(len(DAYS)) + 63, len(DAYS) - 1)
    fold = time_split(DAYS, label_ends=ends)
    assert ends[fold.train].max() == fold.validation[0] - 1
    assert ends[fold.validation].max() == fold.test[0] - 1


def test_regime_coverage_shows_a_regime_that_training_never_saw():
    labels = pd.Series("calm", index=DAYS)
    labels.iloc[-100:] = "crisis"
    labels.iloc[0] = None
    coverage = regime_coverage(time_split(DAYS), labels)
    assert coverage.loc["crisis", "train"] == 0
    assert coverage.loc["crisis", "test"] > 0.3
    np.testing.assert_allclose(coverage.sum(), 1)


def test_the_seal_keeps_the_last_fifth():
    border = seal(DAYS)
    assert border.n_open == len(DAYS) - round(0.2 * len(DAYS))
    assert border.first_sealed == DAYS[border.n_open]
    with pytest.raises(ParameterError, match="share"):
        seal(DAYS, share=1.0)


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        (lambda: rolling_folds(DAYS[:1000]), DataError, r"36 \+ 12 \+ 12 months"),
        (lambda: rolling_folds(DAYS, train_months=0), ParameterError, "train must"),
        (lambda: rolling_folds(DAYS, purge=300), DataError, "no row is left for validation"),
        (lambda: rolling_folds(DAYS, label_ends=np.zeros(len(DAYS))), ParameterError, "not before it"),
        (lambda: time_split(DAYS, shares=(0.5, 0.5, 0.5)), ParameterError, "sum to 1"),
        (lambda: time_split(DAYS[:100]), DataError, "no row is left"),
        (lambda: time_split(DAYS, label_ends=np.arange(3)), ParameterError, "one entry per row"),
    ],
)
def test_a_split_that_cannot_be_is_refused(split, error, message):
    with pytest.raises(error, match=message):
        split()
