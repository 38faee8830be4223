"""Splits by time: the sealed end, one train-validation-test split, and rolling folds.

A sample at row i uses the past to predict rows up to `label_ends[i]` (i itself when nothing is given). Two
samples overlap when their spans [i, label_ends[i]] share a row, and a sample is purged from an earlier part when
its span reaches into a later one:

    train ----| purge |---- validation ----| purge |---- test
              ^ spans that reach here or `purge` rows short of it are dropped; the later part begins after `embargo`

`purge` rows are dropped before a later part begins, `embargo` rows are skipped after an earlier part ends (and,
in `purge_overlaps`, after a tested block before training may use rows again). Rows are positions in an index.

References
----------
.. [1] M. Lopez de Prado (2018). Advances in Financial Machine Learning, chapter 7. Wiley.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from skfolio.model_selection import WalkForward

from eigenfolio.data.findings import iso_dates
from eigenfolio.errors import DataError, ParameterError

__all__ = ["Fold", "Seal", "purge_overlaps", "regime_coverage", "rolling_folds", "seal", "time_split"]

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Seal:
    """The border of the sealed span, which is opened once, when everything is decided.

    Parameters
    ----------
    n_open : int
        Rows before the border.
    first_sealed : Timestamp
        Date of the first sealed row.
    """

    n_open: int
    first_sealed: pd.Timestamp


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to train on, to choose with and to be judged on, in time order and apart from each other.

    Parameters
    ----------
    train, validation, test : ndarray of int
        Row positions, increasing.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def dates(self, index: pd.DatetimeIndex) -> dict[str, tuple[str, str]]:
        """Return first and last date of each part, for printing."""
        return {part: _span(index, getattr(self, part)) for part in _PARTS}


def seal(index: pd.DatetimeIndex, share: float = 0.2) -> Seal:
    """Seal the last rows.

    Parameters
    ----------
    index : DatetimeIndex
        Dates, unique and increasing.
    share : float in (0, 1)
        Share of the rows to seal, rounded to whole rows, at least one.

    Returns
    -------
    Seal

    Examples
    --------
    >>> seal(pd.bdate_range("2020-01-01", periods=10))
    Seal(n_open=8, first_sealed=Timestamp('2020-01-13 00:00:00'))
    """
    if not 0 < share < 1:
        raise ParameterError(f"share must lie between 0 and 1, got {share}")
    n_open = len(index) - max(1, round(share * len(index)))
    if n_open < 1:
        raise DataError(f"sealing {100 * share:g} % of {len(index)} rows leaves none open; use more rows")
    return Seal(n_open, index[n_open])


def time_split(
    index: pd.DatetimeIndex,
    *,
    shares: Sequence[float] = (0.70, 0.15, 0.15),
    gap_months: int = 1,
    label_ends: np.ndarray | None = None,
) -> Fold:
    """Split once by time: 70 % to train, 15 % to choose, 15 % to judge, with a month left out in between.

    Parameters
    ----------
    index : DatetimeIndex
        Dates, unique and increasing.
    shares : sequence of three floats
        Shares of the rows, summing to 1, gaps included.
    gap_months : int
        Calendar months left out at the start of validation and of test.
    label_ends : ndarray of int, optional
        Last row that the label of each row uses; samples whose label reaches into a later part are dropped.

    Returns
    -------
    Fold
        See `regime_coverage` for what each part has seen.

    Examples
    --------
    >>> fold = time_split(pd.bdate_range("2020-01-01", periods=1000))
    >>> [len(part) for part in (fold.train, fold.validation, fold.test)]
    [700, 128, 128]
    """
    shares = tuple(shares)
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ParameterError(f"shares must be three positive numbers that sum to 1, got {shares}")
    if gap_months < 0:
        raise ParameterError(f"gap_months must be 0 or more, got {gap_months}")
    n_rows = len(index)
    borders = [round(shares[0] * n_rows), round((shares[0] + shares[1]) * n_rows)]
    starts = [_after_gap(index, border, gap_months) for border in borders]
    parts = (np.arange(borders[0]), np.arange(starts[0], borders[1]), np.arange(starts[1], n_rows))
    return _purged_fold(parts, index, label_ends, purge=0, embargo=0)


def regime_coverage(fold: Fold, labels: pd.Series | np.ndarray) -> pd.DataFrame:
    """Count how much of each regime each part has seen.

    Parameters
    ----------
    fold : Fold
        The split.
    labels : Series or ndarray of length n_observations
        Regime of each row; missing labels are left out.

    Returns
    -------
    DataFrame of shape (n_regimes, 3)
        Share of the part's rows by regime; 0 means that the part never saw it.

    Examples
    --------
    >>> fold = time_split(pd.bdate_range("2020-01-01", periods=100), gap_months=0)
    >>> regime_coverage(fold, np.array(["calm"] * 60 + ["crisis"] * 40)).round(2)
            train  validation  test
    calm     0.86         0.0   0.0
    crisis   0.14         1.0   1.0
    """
    values = pd.Series(np.asarray(labels, dtype=object))
    columns = {part: values.iloc[getattr(fold, part)].value_counts(normalize=True) for part in _PARTS}
    return pd.DataFrame(columns).reindex(sorted(values.dropna().unique(), key=str)).fillna(0.0)


def rolling_folds(
    index: pd.DatetimeIndex,
    *,
    train_months: int = 36,
    validation_months: int = 12,
    test_months: int = 12,
    purge: int = 0,
    embargo: int = 0,
    label_ends: np.ndarray | None = None,
) -> list[Fold]:
    """Roll a train, a validation and a test span through time, one test span further each time.

    Parameters
    ----------
    index : DatetimeIndex
        Dates, unique and increasing.
    train_months, validation_months, test_months : int
        Calendar months of each span; every month that the index touches counts, the first and last too.
    purge : int
        Rows dropped at the end of train and of validation.
    embargo : int
        Rows dropped at the start of validation and of test.
    label_ends : ndarray of int, optional
        Last row that the label of each row uses; samples whose label reaches a later span, or `purge` rows short
        of it, are dropped (before `embargo`, so that both gaps add up).

    Returns
    -------
    list of Fold
        Test spans follow each other without a hole (but for `embargo`); rows that fill no whole span are unused.

    Raises
    ------
    DataError
        If the index is too short for one fold, or purging empties a part.

    Examples
    --------
    >>> folds = rolling_folds(pd.bdate_range("2010-01-01", "2015-12-31"), purge=5)
    >>> folds[-1].dates(pd.bdate_range("2010-01-01", "2015-12-31"))["test"]
    ('2015-01-01', '2015-12-31')
    """
    months = {"train": train_months, "validation": validation_months, "test": test_months}
    for name, value in (*months.items(), ("purge", purge), ("embargo", embargo)):
        lowest = 1 if name in months else 0
        if int(value) != value or value < lowest:
            raise ParameterError(f"{name} must be a whole number, {lowest} or more, got {value}")
    splitter = WalkForward(test_months, train_months + validation_months, freq="MS")
    opening = index[:1].to_period("M").to_timestamp()  # marks that make the first and the last month whole
    opening = opening[opening < index[0]]
    closing = (index[-1:].to_period("M") + 1).to_timestamp()
    folds = []
    for before, test in splitter.split(pd.DataFrame(index=opening.append(index).append(closing))):
        before, test = np.unique(np.maximum(before - len(opening), 0)), test - len(opening)
        first_month = index[before[0]].to_period("M").to_timestamp()
        border = int(index.searchsorted(first_month + pd.DateOffset(months=train_months)))
        parts = (np.arange(before[0], border), np.arange(border, before[-1] + 1), test)
        folds.append(_purged_fold(parts, index, label_ends, purge=purge, embargo=embargo))
    if not folds:
        first, end = _span(index, np.arange(len(index)))
        raise DataError(
            f"a fold of {train_months} + {validation_months} + {test_months} months needs as many whole months, "
            f"got {first} to {end}; shorten the spans or use more rows"
        )
    return folds


def purge_overlaps(
    train: np.ndarray,
    test: np.ndarray,
    *,
    label_ends: np.ndarray | None = None,
    purge: int = 0,
    embargo: int = 0,
) -> np.ndarray:
    """Drop the training rows whose span touches a tested one; tested blocks may lie anywhere.

    A training row i is dropped when, for some tested row j, the spans [i, label_ends[i] + purge] and
    [j, label_ends[j] + embargo] share a row. Runs in n log n; the quadratic twin is in the tests.

    Parameters
    ----------
    train, test : ndarray of int
        Row positions.
    label_ends : ndarray of int, optional
        Last row that the label of each row uses, at least the row itself; None means the row itself.
    purge : int
        Rows kept free before a tested block.
    embargo : int
        Rows kept free after a tested block and its labels.

    Returns
    -------
    ndarray of int
        The training rows that are left, in their order.

    Examples
    --------
    >>> purge_overlaps(np.array([0, 1, 2, 5, 6, 7]), np.array([3, 4]), purge=1, embargo=2)
    array([0, 1, 7])
    """
    train, test = np.asarray(train, dtype=int), np.asarray(test, dtype=int)
    if not train.size or not test.size:
        return train
    ends = _checked_ends(label_ends, max(train.max(), test.max()) + 1)
    starts = np.sort(test)
    furthest = np.maximum.accumulate(ends[starts] + embargo)
    reach = np.searchsorted(starts, ends[train] + purge, side="right")  # tested rows that begin before the end
    touched = (reach > 0) & (furthest[np.maximum(reach - 1, 0)] >= train)
    return train[~touched]


def _purged_fold(
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    index: pd.DatetimeIndex,
    label_ends: np.ndarray | None,
    *,
    purge: int,
    embargo: int,
) -> Fold:
    if label_ends is not None and len(label_ends) != len(index):
        raise ParameterError(f"label_ends must have one entry per row ({len(index)}), got {len(label_ends)}")
    train, validation, test = parts
    validation = purge_overlaps(validation, test, label_ends=label_ends, purge=purge)
    later = np.concatenate([parts[1], test])
    train = purge_overlaps(train, later, label_ends=label_ends, purge=purge)
    fold = Fold(train, validation[embargo:], test[embargo:])
    for part in _PARTS:
        if not len(getattr(fold, part)):
            first, last = _span(index, np.arange(len(index)))
            raise DataError(
                f"no row is left for {part} ({len(index)} rows, {first} to {last}); "
                "use more rows, shorter labels or smaller gaps"
            )
    return fold


def _checked_ends(label_ends: np.ndarray | None, n_rows: int) -> np.ndarray:
    if label_ends is None:
        return np.arange(n_rows)
    ends = np.asarray(label_ends, dtype=int)
    if len(ends) < n_rows or (ends < np.arange(len(ends))).any():
        raise ParameterError("label_ends must give every row a last label row that is not before it")
    return ends


def _after_gap(index: pd.DatetimeIndex, border: int, gap_months: int) -> int:
    if gap_months == 0 or border >= len(index):
        return border
    return int(index.searchsorted(index[border] + pd.DateOffset(months=gap_months)))


def _span(index: pd.DatetimeIndex, rows: np.ndarray) -> tuple[str, str]:
    first, last = iso_dates([index[rows[0]], index[rows[-1]]])
    return first, last
