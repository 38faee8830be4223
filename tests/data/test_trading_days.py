"""Splits by whole trading days: against the definition one row at a time, and in scikit-learn's hands."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

from eigenfolio.data import OrderBook, TradingDaySplit
from eigenfolio.data.synthetic import order_book
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.label_overlap import label_overlap
from eigenfolio.features import order_book_features


def intraday(counts, *, seed=0):
    """Rows at random times of consecutive business days, so many on each."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-02", periods=len(counts))
    stamps = [
        day + pd.to_timedelta(np.sort(rng.uniform(34200, 57600, n)), unit="s")
        for day, n in zip(days, counts, strict=True)
    ]
    index = stamps[0].append(stamps[1:]).round("ms")
    return pd.DataFrame({"x": rng.standard_normal(len(index))}, index=index)


def naive_folds(X, train, validation, test, step, expanding, horizon, embargo):
    """The definition, one row and one pair of rows at a time."""
    dates = list(X.index.normalize())
    days = sorted(set(dates))
    n = len(X)
    folds = []
    for first in range(0, len(days) - train - validation - test + 1, step):
        borders = [
            0 if expanding else first,
            first + train,
            first + train + validation,
            first + train + validation + test,
        ]
        parts = [[i for i in range(n) if dates[i] in days[a:b]] for a, b in pairwise(borders)]

        def end(i):
            if isinstance(horizon, int):
                return min(i + horizon, n - 1)
            return max(j for j in range(n) if X.index[j] <= X.index[i] + horizon)

        def late(i, part):
            if isinstance(embargo, int):
                return i - part[0] >= embargo
            return X.index[i] - X.index[part[0]] >= embargo

        kept = [
            [i for i in parts[0] if end(i) < min(parts[1] + parts[2])],
            [i for i in parts[1] if end(i) < parts[2][0] and late(i, parts[1])],
            [i for i in parts[2] if late(i, parts[2])],
        ]
        folds.append((kept, [i for i in parts[0] + parts[1] if end(i) < parts[2][0]]))
    return folds


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 5), min_size=7, max_size=12),
    train=st.integers(1, 3),
    validation=st.integers(0, 2),
    test=st.integers(1, 2),
    step=st.integers(1, 3),
    expanding=st.booleans(),
    horizon=st.sampled_from([0, 1, 2, pd.Timedelta("20min"), pd.Timedelta("15h")]),
    embargo=st.sampled_from([0, 1, pd.Timedelta("5min")]),
)
def test_folds_are_those_of_the_definition(counts, train, validation, test, step, expanding, horizon, embargo):
    X = intraday(counts)
    splitter = TradingDaySplit(
        train_days=train, validation_days=validation, test_days=test, step_days=step, expanding=expanding,
        horizon=horizon, embargo=embargo,
    )  # fmt: skip
    expected = naive_folds(X, train, validation, test, step, expanding, horizon, embargo)
    if any(not part for kept, _ in expected for part, days in zip(kept, (1, validation, 1), strict=True) if days):
        with pytest.raises(DataError, match="no row is left for"):
            splitter.folds(X)
        return
    found = splitter.folds(X)
    assert [[list(f.train), list(f.validation), list(f.test)] for f in found] == [kept for kept, _ in expected]
    assert splitter.get_n_splits(X) == len(expected)
    for (rows, judged), (kept, before) in zip(splitter.split(X), expected, strict=True):
        assert (list(rows), list(judged)) == (before, kept[2])


def test_the_default_is_thirty_five_five_without_a_hole():
    X = intraday([4] * 52)
    folds = TradingDaySplit().folds(X)
    assert [(len(f.train), len(f.validation), len(f.test)) for f in folds] == [(120, 20, 20)] * 3
    assert_array_equal(np.concatenate([f.test for f in folds]), np.arange(140, 200))
    assert [f.train[0] for f in folds] == [0, 20, 40]
    assert [f.train[0] for f in TradingDaySplit(expanding=True).folds(X)] == [0, 0, 0]


def test_no_label_of_training_reaches_into_a_tested_row():
    X = intraday([7, 5, 9, 6] * 12)
    for judge in ("test", "validation"):
        splitter = TradingDaySplit(horizon=3, expanding=True, judge=judge)
        assert label_overlap(splitter, X, horizon=3).n_overlapping == 0
        assert label_overlap(splitter.__class__(judge=judge), X, horizon=3).n_overlapping > 0


def test_days_may_be_named_where_rows_carry_no_dates():
    X = intraday([3] * 12)
    day = np.repeat(np.arange(12), 3)
    splitter = TradingDaySplit(train_days=4, validation_days=1, test_days=2, horizon=1)
    named = list(splitter.split(X.to_numpy(), groups=day))
    for (a, b), (c, d) in zip(named, splitter.split(X), strict=True):
        assert_array_equal(a, c)
        assert_array_equal(b, d)


def test_scikit_learn_chooses_on_validation_days_and_scores_on_test_days():
    rng = np.random.default_rng(0)
    X = intraday([30] * 14)
    y = 0.5 * X["x"] + 0.1 * rng.standard_normal(len(X))
    options = {"train_days": 5, "validation_days": 2, "test_days": 2, "horizon": 2}
    scores = cross_val_score(LinearRegression(), X, y, cv=TradingDaySplit(**options))
    assert len(scores) == 3
    assert scores.min() > 0.8
    search = GridSearchCV(
        LinearRegression(), {"fit_intercept": [True, False]}, cv=TradingDaySplit(**options, judge="validation")
    )
    assert search.fit(X, y).n_splits_ == 3


def test_features_of_an_order_book_of_many_days_are_split_by_day():
    days = pd.bdate_range("2024-01-02", periods=9)
    tables = []
    for seed, day in enumerate(days):
        made = order_book(60, seed=seed).snapshots
        made.index = day + pd.to_timedelta(np.arange(34200, 34260), unit="s")
        table = order_book_features(OrderBook.from_frame(made), levels=2, horizons=(5,))
        tables.append(table)
    X = pd.concat(tables)[["imbalance_1"]]
    splitter = TradingDaySplit(train_days=4, validation_days=1, test_days=2, horizon="5s", embargo="10s")
    (first, second) = splitter.folds(X)
    assert (len(first.train), len(first.validation), len(first.test)) == (240, 50, 110)  # a day is long gone overnight
    assert second.test[0] == 7 * 60 + 10


def test_what_cannot_be_split_is_refused_with_the_way_out():
    X = intraday([3] * 12)
    with pytest.raises(DataError, match=r"30 \+ 5 \+ 5 trading days needs 40 of them, got 12"):
        TradingDaySplit().folds(X)
    short = {"train_days": 4, "validation_days": 1, "test_days": 2}
    with pytest.raises(DataError, match="order of their times"):
        TradingDaySplit(**short).folds(X.iloc[::-1])
    with pytest.raises(DataError, match="trading days cannot be told"):
        TradingDaySplit(**short).folds(X.to_numpy())
    with pytest.raises(DataError, match="comes back later"):
        TradingDaySplit(**short).folds(X, groups=np.arange(36) % 12)
    with pytest.raises(DataError, match="the day of each of 36 rows"):
        TradingDaySplit(**short).folds(X, groups=[1, 2])
    with pytest.raises(ParameterError, match="is a time, and X has no dates"):
        TradingDaySplit(**short, horizon="5s").folds(X.to_numpy(), groups=np.repeat(np.arange(12), 3))
    with pytest.raises(ParameterError, match="validation_days of 1 or more"):
        list(TradingDaySplit(validation_days=0, judge="validation").split(X))
    with pytest.raises(ParameterError, match="'test' or 'validation'"):
        list(TradingDaySplit(judge="train").split(X))
    with pytest.raises(ParameterError, match="test_days must be a whole number"):
        TradingDaySplit(test_days=0).folds(X)
    for bad in (-1, "soon", "-5s", True):
        with pytest.raises(ParameterError, match="horizon"):
            TradingDaySplit(**short, horizon=bad).folds(X)
    with pytest.raises(ParameterError, match="give get_n_splits the rows"):
        TradingDaySplit().get_n_splits()


def test_an_empty_table_has_no_days():
    with pytest.raises(DataError, match="got 0"):
        TradingDaySplit().folds(intraday([2]).iloc[:0])
