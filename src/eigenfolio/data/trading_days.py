"""Cross-validation of intraday rows by whole trading days: a walk-forward of 30/5/5 days, rolling or expanding.

    rolling      | train 30 | val 5 | test 5 |                       days, each with as many rows as it has
                            | train 30 | val 5 | test 5 |            one test span further

    expanding    | train 30 | val 5 | test 5 |
                 | train 35            | val 5 | test 5 |            the training always begins on the first day

A sample at row i looks at rows up to i and its label at later ones: up to `horizon` rows further, or up to the last row
that is no more than a time `horizon` later. A row whose label reaches into a later part is dropped from the earlier one
(purged), and the first rows of validation and of test, whose features still look back at what was trained on, can be
left out (embargo). Labels that end with their day reach no other, and need horizon=0. Rows are positions.

References
----------
.. [1] M. Lopez de Prado (2018). Advances in Financial Machine Learning, chapter 7. Wiley.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator

from eigenfolio.data.splits import Fold, purge_overlaps
from eigenfolio.errors import DataError, ParameterError

__all__ = ["TradingDaySplit"]

IntArray = NDArray[np.int64]


class TradingDaySplit(BaseCrossValidator):
    """Walk-forward over trading days, for `cross_val_score` and its like.

    Parameters
    ----------
    train_days, validation_days, test_days : int
        Trading days of each part; a day is a date that has rows, however many. `validation_days` may be 0.
    expanding : bool, default=False
        Whether the training keeps its first day and grows, instead of rolling on.
    step_days : int, optional
        Days from one fold to the next; `test_days` by default, so that test spans follow each other without a hole.
    horizon : int or timedelta-like, default=0
        How far the label of a row reaches: rows, or a time such as ``"10s"``, which needs a DatetimeIndex.
    embargo : int or timedelta-like, default=0
        What is left out at the start of validation and of test: rows, or a time since the first row of the part.
    judge : {"test", "validation"}, default="test"
        What `split` gives: "validation" trains on the training days and tests on the validation days, to choose with;
        "test" trains on both and tests on the test days, to report.

    Examples
    --------
    Two rows a day for 45 days; labels reach one row ahead:

    >>> days = pd.bdate_range("2024-01-01", periods=45)
    >>> times = days.repeat(2) + pd.to_timedelta(np.tile([10, 15], 45), unit="h")
    >>> X = pd.DataFrame({"imbalance": 0.0}, index=times)
    >>> splitter = TradingDaySplit(horizon=1)
    >>> [(len(train), len(test)) for train, test in splitter.split(X)]
    [(69, 10), (69, 10)]
    >>> [len(train) for train, _ in TradingDaySplit(horizon=1, expanding=True).split(X)]
    [69, 79]
    """

    def __init__(
        self,
        *,
        train_days: int = 30,
        validation_days: int = 5,
        test_days: int = 5,
        expanding: bool = False,
        step_days: int | None = None,
        horizon: int | str | pd.Timedelta = 0,
        embargo: int | str | pd.Timedelta = 0,
        judge: Literal["test", "validation"] = "test",
    ) -> None:
        self.train_days = train_days
        self.validation_days = validation_days
        self.test_days = test_days
        self.expanding = expanding
        self.step_days = step_days
        self.horizon = horizon
        self.embargo = embargo
        self.judge = judge

    def split(
        self, X: ArrayLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Give the rows of every fold.

        Parameters
        ----------
        X : array-like of shape (n_observations, ...)
            Rows in the order of time; a DataFrame with a DatetimeIndex unless `groups` tells the days.
        y : Ignored
        groups : array-like of shape (n_observations,), optional
            The trading day of each row, in order: where days are not calendar dates, or X has no dates.

        Yields
        ------
        train, test : ndarray of int
            Positions, increasing.

        Raises
        ------
        DataError
            If days cannot be told, rows are out of order, there are too few days, or a part is left without rows.
        ParameterError
            If an option has a value it cannot have.
        """
        if self.judge not in ("test", "validation"):
            raise ParameterError(f"judge must be 'test' or 'validation', got {self.judge!r}")
        if self.judge == "validation" and self.validation_days == 0:
            raise ParameterError("judge='validation' needs validation_days of 1 or more, got 0")
        for whole, fold in zip(self._whole_folds(X, groups), self.folds(X, groups), strict=True):
            if self.judge == "validation":
                yield fold.train, fold.validation
            else:
                before = np.concatenate([whole.train, whole.validation])
                yield purge_overlaps(before, whole.test, label_ends=self._label_ends(X)), fold.test

    def folds(self, X: ArrayLike, groups: ArrayLike | None = None) -> list[Fold]:
        """Rows to train on, to stop or choose with, and to be judged on, apart from each other.

        Parameters
        ----------
        X, groups
            As in `split`.

        Returns
        -------
        list of Fold
            `validation` is empty with ``validation_days=0``.

        Examples
        --------
        >>> X = pd.DataFrame({"imbalance": np.zeros(80)})
        >>> day = np.repeat(np.arange(40), 2)
        >>> [fold] = TradingDaySplit(horizon=1, embargo=1).folds(X, groups=day)
        >>> [len(part) for part in (fold.train, fold.validation, fold.test)]
        [59, 8, 9]
        """
        ends = self._label_ends(X)
        times = X.index if isinstance(X, pd.DataFrame) else None
        found = []
        for whole in self._whole_folds(X, groups):
            later = np.concatenate([whole.validation, whole.test])
            validation = purge_overlaps(whole.validation, whole.test, label_ends=ends)
            fold = Fold(
                purge_overlaps(whole.train, later, label_ends=ends),
                self._after_embargo(validation, whole.validation, times),
                self._after_embargo(whole.test, whole.test, times),
            )
            parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
            empty = [name for name, rows in parts.items() if not len(rows) and getattr(self, f"{name}_days")]
            if empty:
                raise DataError(
                    f"no row is left for {empty[0]} with horizon={self.horizon!r} and embargo={self.embargo!r}; make "
                    "them shorter, or give more days to the part"
                )
            found.append(fold)
        return found

    def get_n_splits(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> int:
        """How many folds there are; hangs on the days of X, which must be given.

        Examples
        --------
        >>> TradingDaySplit().get_n_splits(np.zeros((50, 1)), groups=np.arange(50))
        3
        """
        if X is None:
            raise ParameterError("the number of folds hangs on the trading days: give get_n_splits the rows, X")
        return len(self._whole_folds(X, groups))

    def _whole_folds(self, X: Any, groups: ArrayLike | None) -> list[Fold]:
        """Folds of whole days, nothing purged."""
        train, validation, test, step = self._checked_days()
        starts = _day_starts(X, groups)  # with the end of the rows
        n_days = len(starts) - 1
        need = train + validation + test
        if n_days < need:
            raise DataError(
                f"a fold of {train} + {validation} + {test} trading days needs {need} of them, got {n_days}; shorten "
                "train_days, validation_days or test_days, or give more days"
            )
        return [
            Fold(
                np.arange(starts[0 if self.expanding else first], starts[first + train]),
                np.arange(starts[first + train], starts[first + train + validation]),
                np.arange(starts[first + train + validation], starts[first + need]),
            )
            for first in range(0, n_days - need + 1, step)
        ]

    def _checked_days(self) -> tuple[int, int, int, int]:
        step = self.test_days if self.step_days is None else self.step_days
        given = {
            "train_days": (self.train_days, 1),
            "validation_days": (self.validation_days, 0),
            "test_days": (self.test_days, 1),
            "step_days": (step, 1),
        }
        for name, (value, lowest) in given.items():
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < lowest:
                raise ParameterError(f"{name} must be a whole number of trading days, {lowest} or more, got {value!r}")
        return int(self.train_days), int(self.validation_days), int(self.test_days), int(step)

    def _label_ends(self, X: Any) -> IntArray:
        """Last row that the label of each row looks at."""
        n_rows = len(X)
        reach = _reach("horizon", self.horizon, X)
        if isinstance(reach, int):
            return np.minimum(np.arange(n_rows) + reach, n_rows - 1)
        return np.asarray(X.index.searchsorted(X.index + reach, side="right") - 1, dtype=np.int64)

    def _after_embargo(self, rows: IntArray, whole: IntArray, times: pd.Index | None) -> IntArray:
        """Rows of a part that come late enough after its first."""
        reach = _reach("embargo", self.embargo, times)
        if isinstance(reach, int):
            return rows[rows >= whole[0] + reach] if len(whole) else rows
        assert times is not None
        return rows[times[rows] >= times[whole[0]] + reach] if len(whole) else rows


def _reach(name: str, value: Any, X: Any) -> int | pd.Timedelta:
    """A number of rows, or a time where X can say what time it is."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        if value < 0:
            raise ParameterError(f"{name} must be 0 or more, got {value}")
        return int(value)
    try:
        time = pd.Timedelta(value)
    except (ValueError, TypeError) as error:
        raise ParameterError(f"{name} must be a number of rows or a time such as '10s', got {value!r}") from error
    index = X.index if isinstance(X, pd.DataFrame) else X
    if not isinstance(index, pd.DatetimeIndex):
        raise ParameterError(f"{name}={value!r} is a time, and X has no dates; give rows, or X with a DatetimeIndex")
    if pd.isna(time) or time < pd.Timedelta(0):
        raise ParameterError(f"{name} must be 0 or more, got {value!r}")
    return time


def _day_starts(X: Any, groups: ArrayLike | None) -> IntArray:
    """First row of every trading day, and the number of rows."""
    n_rows = len(X)
    if groups is not None:
        days = np.asarray(groups)
        if days.shape != (n_rows,):
            raise DataError(f"groups must name the day of each of {n_rows} rows, got shape {days.shape}")
        changed = np.flatnonzero(days[1:] != days[:-1]) + 1
        starts = np.concatenate([[0], changed]) if n_rows else np.zeros(0, dtype=np.int64)
        if len(np.unique(days)) < len(starts):
            raise DataError("the rows of a day must lie together: a day in groups comes back later; sort by time")
    elif isinstance(X, pd.DataFrame) and isinstance(X.index, pd.DatetimeIndex):
        if not X.index.is_monotonic_increasing:
            raise DataError("the rows of X must be in the order of their times; sort X with X.sort_index()")
        dates = X.index.normalize()
        starts = np.flatnonzero(np.concatenate([[True], dates[1:] != dates[:-1]])) if n_rows else np.zeros(0, int)
    else:
        raise DataError(
            "trading days cannot be told: give X as a DataFrame with a DatetimeIndex, or the day of each row as groups"
        )
    return np.append(starts, n_rows).astype(np.int64)
