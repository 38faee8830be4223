"""Transformers of feature tables that scikit-learn and skfolio lack.

Three of them read their rows in the order of time, and the value at a row depends on that row and earlier ones:

    ForwardFill       last value seen, at most `limit` rows old
    ExpandingScaler   (x_t - m_t) / s_t with the mean m_t and population deviation s_t of the values up to t [1]_
    ExpandingRank     (number below x_t + half the number equal to it) / number, of the values up to t

For these, ``fit_transform(X)`` gives the causal values of the fitted rows, and ``transform(X)`` those of rows that
follow: it goes on from the state at the end of ``fit``, row by row, and leaves that state as it was, so that
``fit(X[:k]).transform(X[k:])`` has the bits of ``fit_transform(X)[k:]`` whatever comes later. ``partial_fit`` moves the
state on. Rows that do not follow the fitted ones are refused by the two expanding transformers and filled from
themselves alone by `ForwardFill`. Without dates, rows given to ``transform`` count as following.

The others fit once and apply the same map to every row. Missing values are NaN and stay so unless a transformer is
there to fill them.

References
----------
.. [1] B. P. Welford (1962). Note on a method for calculating corrected sums of squares and products.
   Technometrics 4(3), 419-420.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from skfolio.preprocessing import BaseCSTransformer
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_selection import SelectorMixin
from sklearn.inspection import permutation_importance
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import QuantileTransformer
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.utils.validation import check_is_fitted, validate_data

from eigenfolio.errors import DataError, LookaheadError, ParameterError

__all__ = [
    "CSMedianImputer",
    "Clamp",
    "Compressor",
    "CovarianceProjection",
    "ExpandingRank",
    "ExpandingScaler",
    "FittedRank",
    "ForwardFill",
    "ImportanceSelector",
    "KnownFeatures",
    "MissingColumns",
    "Winsoriser",
    "upper_triangles",
]

FloatArray = NDArray[np.float64]

_NO_DATE = np.datetime64("NaT", "ns")


def _values(transformer: BaseEstimator, X: ArrayLike, *, reset: bool) -> FloatArray:
    """(n_rows, n_features) as float64, NaN allowed; names and widths are checked by scikit-learn."""
    return validate_data(
        transformer, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=1
    )


def _dates(X: Any) -> NDArray[np.datetime64] | None:
    """Dates of the rows, increasing; None where rows have none."""
    index = getattr(X, "index", None)
    if not isinstance(index, pd.DatetimeIndex):
        return None
    if not index.is_monotonic_increasing or not index.is_unique:
        raise DataError("rows must be in the order of their dates, oldest first, each date once; sort and deduplicate")
    return index.tz_localize(None).as_unit("ns").to_numpy()


class _RunningTransformer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator, ABC):
    """What the transformers that read rows in time have in common: a state, moved on row by row."""

    last_date_: np.datetime64

    @abstractmethod
    def _check(self) -> None: ...

    @abstractmethod
    def _start(self, n_features: int) -> tuple[Any, ...]: ...

    @abstractmethod
    def _state(self) -> tuple[Any, ...]: ...

    @abstractmethod
    def _keep(self, state: tuple[Any, ...]) -> None: ...

    @abstractmethod
    def _run(self, values: FloatArray, state: tuple[Any, ...]) -> tuple[FloatArray, tuple[Any, ...]]: ...

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Read the rows from an empty state.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Oldest row first; NaN where missing.
        y : Ignored

        Returns
        -------
        self
        """
        self.fit_transform(X)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Read rows that follow those read so far.

        Raises
        ------
        LookaheadError
            If a row is not later than the last one read.
        """
        if not hasattr(self, "last_date_"):
            return self.fit(X)
        self._check()
        dates, values = _dates(X), _values(self, X, reset=False)
        self._refuse_earlier(dates)
        _, state = self._run(values, self._state())
        self._finish(state, dates)
        return self

    def fit_transform(self, X: ArrayLike, y: object = None) -> Any:
        """Read the rows from an empty state and return the causal value of each.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Oldest row first; NaN where missing.
        y : Ignored

        Returns
        -------
        ndarray or DataFrame of shape (n_rows, n_features)
        """
        self._check()
        dates, values = _dates(X), _values(self, X, reset=True)
        result, state = self._run(values, self._start(values.shape[1]))
        self.last_date_ = _NO_DATE
        self._finish(state, dates)
        return result

    def transform(self, X: ArrayLike) -> Any:
        """Return the causal value of rows that follow the fitted ones; the state stays as it is.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Oldest row first; NaN where missing.

        Returns
        -------
        ndarray or DataFrame of shape (n_rows, n_features)
        """
        check_is_fitted(self, "last_date_")
        dates, values = _dates(X), _values(self, X, reset=False)
        return self._run(values, self._beginning(dates, values.shape[1]))[0]

    def _beginning(self, dates: NDArray[np.datetime64] | None, n_features: int) -> tuple[Any, ...]:
        self._refuse_earlier(dates)
        return self._state()

    def _refuse_earlier(self, dates: NDArray[np.datetime64] | None) -> None:
        if not self._follow(dates):
            assert dates is not None
            raise LookaheadError(
                f"rows must be later than the last one {type(self).__name__} was fitted on "
                f"({pd.Timestamp(self.last_date_):%Y-%m-%d}), got {pd.Timestamp(dates[0]):%Y-%m-%d}; "
                "use fit_transform for the fitted rows, or fit on earlier ones"
            )

    def _follow(self, dates: NDArray[np.datetime64] | None) -> bool:
        return dates is None or bool(np.isnat(self.last_date_)) or bool(dates[0] > self.last_date_)

    def _finish(self, state: tuple[Any, ...], dates: NDArray[np.datetime64] | None) -> None:
        self._keep(state)
        if dates is not None:
            self.last_date_ = dates[-1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class ForwardFill(_RunningTransformer):
    """Carry the last value seen forward, a limited number of rows, never backward.

    Rows that follow the fitted ones are filled from those too; rows that do not (the fitted rows again) are filled
    from themselves alone.

    Parameters
    ----------
    limit : int >= 0, default=5
        Rows a value is carried at most; 0 fills nothing.

    Attributes
    ----------
    value_ : ndarray of shape (n_features,)
        Last value seen; NaN where there was none.
    age_ : ndarray of shape (n_features,)
        Rows since it was seen.
    last_date_ : datetime64
        Date of the last row read; NaT without dates.

    Examples
    --------
    >>> fill = ForwardFill(limit=2).fit([[1.0], [np.nan]])
    >>> fill.transform([[np.nan], [np.nan], [3.0]]).ravel()
    array([ 1., nan,  3.])
    """

    def __init__(self, *, limit: int = 5) -> None:
        self.limit = limit

    def _check(self) -> None:
        if self.limit < 0:
            raise ParameterError(f"limit must be at least 0 rows, got {self.limit}")

    def _start(self, n_features: int) -> tuple[Any, ...]:
        return np.full(n_features, np.nan), np.zeros(n_features, dtype=np.int64)

    def _state(self) -> tuple[Any, ...]:
        return self.value_, self.age_

    def _keep(self, state: tuple[Any, ...]) -> None:
        self.value_, self.age_ = state

    def _beginning(self, dates: NDArray[np.datetime64] | None, n_features: int) -> tuple[Any, ...]:
        return self._state() if self._follow(dates) else self._start(n_features)

    def _run(self, values: FloatArray, state: tuple[Any, ...]) -> tuple[FloatArray, tuple[Any, ...]]:
        value, age = state
        filled = np.empty_like(values)
        for i, row in enumerate(values):
            seen = ~np.isnan(row)
            value, age = np.where(seen, row, value), np.where(seen, 0, age + 1)
            filled[i] = np.where(age <= self.limit, value, np.nan)
        return filled, (value, age)


class ExpandingScaler(_RunningTransformer):
    """Scale every value by the mean and deviation of the values up to its own row.

    A column that has been constant so far gives 0, and fewer than `min_rows` values seen give NaN.

    Parameters
    ----------
    min_rows : int >= 1, default=12
        Values of a column that must have been seen, the row's own among them.

    Attributes
    ----------
    count_ : ndarray of shape (n_features,)
        Values seen.
    mean_, sum_squares_ : ndarray of shape (n_features,)
        Their mean and the sum of squared deviations from it.
    last_date_ : datetime64
        Date of the last row read; NaT without dates.

    Examples
    --------
    >>> scaler = ExpandingScaler(min_rows=2).fit([[1.0], [3.0]])
    >>> scaler.transform([[5.0]]).round(4)
    array([[1.2247]])
    """

    def __init__(self, *, min_rows: int = 12) -> None:
        self.min_rows = min_rows

    def _check(self) -> None:
        _check_min_rows(self.min_rows)

    def _start(self, n_features: int) -> tuple[Any, ...]:
        return np.zeros(n_features, dtype=np.int64), np.zeros(n_features), np.zeros(n_features)

    def _state(self) -> tuple[Any, ...]:
        return self.count_, self.mean_, self.sum_squares_

    def _keep(self, state: tuple[Any, ...]) -> None:
        self.count_, self.mean_, self.sum_squares_ = state

    def _run(self, values: FloatArray, state: tuple[Any, ...]) -> tuple[FloatArray, tuple[Any, ...]]:
        count, mean, squares = state
        scaled = np.empty_like(values)
        for i, row in enumerate(values):
            seen = ~np.isnan(row)
            count = count + seen
            n = np.maximum(count, 1)
            from_old = np.where(seen, row - mean, 0.0)
            mean = mean + from_old / n
            squares = squares + from_old * np.where(seen, row - mean, 0.0)
            deviation = np.sqrt(squares / n)
            moves = deviation > 0.0
            score = np.where(moves, (row - mean) / np.where(moves, deviation, 1.0), 0.0)
            scaled[i] = np.where(seen & (count >= self.min_rows), score, np.nan)
        return scaled, (count, mean, squares)


class ExpandingRank(_RunningTransformer):
    """Replace every value by its place among the values up to its own row.

    The place of x among n values, itself one of them, is (values below x + half the values equal to x) / n, which
    lies strictly between 0 and 1.

    Parameters
    ----------
    min_rows : int >= 1, default=12
        Values of a column that must have been seen, the row's own among them; fewer give NaN.
    normal : bool, default=False
        Return the normal quantile of the place instead of the place.

    Attributes
    ----------
    history_ : ndarray of shape (n_rows, n_features)
        All rows read.
    last_date_ : datetime64
        Date of the last row read; NaT without dates.

    Examples
    --------
    >>> ranks = ExpandingRank(min_rows=1).fit([[1.0], [3.0]])
    >>> ranks.transform([[2.0], [2.0]]).ravel()
    array([0.5, 0.5])
    """

    def __init__(self, *, min_rows: int = 12, normal: bool = False) -> None:
        self.min_rows = min_rows
        self.normal = normal

    def _check(self) -> None:
        _check_min_rows(self.min_rows)

    def _start(self, n_features: int) -> tuple[Any, ...]:
        return (np.empty((0, n_features)),)

    def _state(self) -> tuple[Any, ...]:
        return (self.history_,)

    def _keep(self, state: tuple[Any, ...]) -> None:
        (self.history_,) = state

    def _run(self, values: FloatArray, state: tuple[Any, ...]) -> tuple[FloatArray, tuple[Any, ...]]:
        (history,) = state
        places = np.full_like(values, np.nan)
        for j in range(values.shape[1]):
            past = sorted(history[~np.isnan(history[:, j]), j].tolist())
            for i, x in enumerate(values[:, j].tolist()):
                if x != x:  # NaN
                    continue
                insort(past, x)
                if len(past) >= self.min_rows:
                    places[i, j] = 0.5 * (bisect_left(past, x) + bisect_right(past, x)) / len(past)
        return ndtri(places) if self.normal else places, (np.vstack([history, values]),)


def _check_min_rows(min_rows: int) -> None:
    if min_rows < 1:
        raise ParameterError(f"min_rows must be at least 1, got {min_rows}")


class KnownFeatures(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Let through exactly the features that were fitted, by name and in order.

    A feature without any value in the fitted rows can teach nothing: it is 0 from then on.

    Attributes
    ----------
    feature_names_in_ : ndarray of str
        The names, in order.
    seen_ : ndarray of bool, shape (n_features,)
        Whether a feature had a value in the fitted rows.

    Examples
    --------
    >>> table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    >>> KnownFeatures().fit(table).transform(table[["b", "a"]])
    Traceback (most recent call last):
        ...
    eigenfolio.errors.DataError: feature 1 must be a, got b: the same features in another order; reorder the columns
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Remember the names.

        Raises
        ------
        DataError
            If X is not a table of numbers with one name per column, or holds an infinite value.
        """
        values = self._checked(X)
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        self.n_features_in_ = len(X.columns)
        self.seen_ = ~np.isnan(values).all(axis=0)
        return self

    def transform(self, X: pd.DataFrame) -> Any:
        """Return the table unless a name differs.

        Raises
        ------
        DataError
            Naming the first feature that is missing, extra, renamed or out of place.
        """
        check_is_fitted(self, "seen_")
        values = self._checked(X)
        expected, got = self.feature_names_in_.tolist(), list(X.columns)
        if got != expected:
            raise DataError(_difference(expected, got))
        return np.where(self.seen_, values, 0.0)

    @staticmethod
    def _checked(X: pd.DataFrame) -> FloatArray:
        if not isinstance(X, pd.DataFrame):
            raise DataError(f"features must be a DataFrame with one name per column, got {type(X).__name__}")
        strange = [name for name in X.columns if not isinstance(name, str)]
        if strange:
            raise DataError(f"feature names must be text, got {strange[0]!r}; rename the columns")
        if not X.columns.is_unique:
            raise DataError(f"feature {X.columns[X.columns.duplicated()][0]} is named twice; drop or rename one")
        if not len(X) or not len(X.columns):
            raise DataError(f"features must hold at least one row and one column, got shape {X.shape}")
        try:
            values = X.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise DataError(f"features must be numbers, got something else ({error})") from error
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise DataError(f"feature {X.columns[column]} is infinite at {X.index[row]}; set it missing (NaN)")
        return values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _difference(expected: list[str], got: list[str]) -> str:
    """One sentence on the first place where two lists of names part."""
    i = next((k for k, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    missing = [name for name in expected if name not in set(got)]
    extra = [name for name in got if name not in set(expected)]
    if missing and extra and len(expected) == len(got) and i < len(got) and expected[i] in missing and got[i] in extra:
        return f"feature {i + 1} must be {expected[i]}, got {got[i]}: renamed or replaced; give it its fitted name"
    if missing:
        return f"feature {missing[0]} is missing ({len(expected)} were fitted, got {len(got)}); compute it"
    if extra:
        return f"feature {extra[0]} was not fitted ({len(expected)} were, got {len(got)}); leave it out"
    return (
        f"feature {i + 1} must be {expected[i]}, got {got[i]}: the same features in another order; reorder the columns"
    )


class Winsoriser(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Clip every feature to two quantiles of its fitted values.

    Parameters
    ----------
    share : float in (0, 0.5), default=0.01
        Share of fitted values beyond each end.

    Attributes
    ----------
    low_, high_ : ndarray of shape (n_features,)
        The ends; NaN for a feature without fitted values, which is then left as it is.

    Examples
    --------
    >>> Winsoriser(share=0.25).fit(np.arange(5.0)[:, None]).transform([[9.0], [np.nan]])
    array([[ 3.],
           [nan]])
    """

    def __init__(self, *, share: float = 0.01) -> None:
        self.share = share

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the two quantiles of every feature."""
        if not 0.0 < self.share < 0.5:
            raise ParameterError(f"share must lie between 0 and 0.5, got {self.share}")
        values = _values(self, X, reset=True)
        self.low_, self.high_ = np.full((2, values.shape[1]), np.nan)
        known = ~np.isnan(values).all(axis=0)
        ends = np.nanquantile(values[:, known], [self.share, 1.0 - self.share], axis=0)
        self.low_[known], self.high_[known] = ends
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Clip; missing values stay missing."""
        check_is_fitted(self, "low_")
        low, high = np.nan_to_num(self.low_, nan=-np.inf), np.nan_to_num(self.high_, nan=np.inf)
        return np.clip(_values(self, X, reset=False), low, high)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class Clamp(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Clip every value to [-limit, limit]; missing values stay missing.

    Parameters
    ----------
    limit : float > 0, default=5.0
        In the unit of the features, which are usually scaled by then.

    Examples
    --------
    >>> Clamp(limit=2.0).fit_transform([[-7.0, 1.0]])
    array([[-2.,  1.]])
    """

    def __init__(self, *, limit: float = 5.0) -> None:
        self.limit = limit

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the limit; nothing is learned."""
        if not self.limit > 0.0:
            raise ParameterError(f"limit must be above 0, got {self.limit}")
        _values(self, X, reset=True)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Clip."""
        check_is_fitted(self, "n_features_in_")
        return np.clip(_values(self, X, reset=False), -self.limit, self.limit)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class FittedRank(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Replace every value by its place among the fitted values, by scikit-learn's `QuantileTransformer`.

    That class warns where there are fewer rows than quantiles; here there are at most as many quantiles as rows, and
    every row is used.

    Parameters
    ----------
    normal : bool, default=False
        Return the normal quantile of the place instead of the place.

    Attributes
    ----------
    quantiles_ : ndarray of shape (n_quantiles, n_features)
        Quantiles of the fitted values.
    references_ : ndarray of shape (n_quantiles,)
        Their places, from 0 to 1.

    Examples
    --------
    >>> FittedRank().fit([[0.0], [1.0], [10.0]]).transform([[0.5], [99.0]])
    array([[0.25],
           [1.  ]])
    """

    def __init__(self, *, normal: bool = False) -> None:
        self.normal = normal

    def _inner(self, n_quantiles: int) -> QuantileTransformer:
        kind = "normal" if self.normal else "uniform"
        return QuantileTransformer(n_quantiles=n_quantiles, output_distribution=kind, subsample=None)

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the quantiles of every feature."""
        values = _values(self, X, reset=True)
        fitted = self._inner(min(1000, len(values))).fit(values)
        self.quantiles_, self.references_ = fitted.quantiles_, fitted.references_
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return places; values beyond the fitted ones get those of the ends."""
        check_is_fitted(self, "quantiles_")
        inner = self._inner(len(self.references_))
        inner.quantiles_, inner.references_ = self.quantiles_, self.references_
        inner.n_quantiles_, inner.n_features_in_ = len(self.references_), self.n_features_in_
        return inner.transform(_values(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class MissingColumns(TransformerMixin, BaseEstimator):
    """Say where values are missing, one column per feature: 1 where missing, else 0.

    As scikit-learn's `MissingIndicator`, which gives truth values that a table beside numbers keeps as objects.

    Parameters
    ----------
    always : bool, default=False
        Give a column for every feature; otherwise for those missing somewhere in the fitted rows, but not everywhere.

    Attributes
    ----------
    features_ : ndarray of int
        Positions of the features that get a column.

    Examples
    --------
    >>> missing = MissingColumns().fit([[1.0, np.nan], [2.0, 3.0]])
    >>> missing.transform([[np.nan, np.nan]]), missing.get_feature_names_out()
    (array([[1.]]), array(['missing_x1'], dtype=object))
    """

    def __init__(self, *, always: bool = False) -> None:
        self.always = always

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the features that are missing now and then."""
        gaps = np.isnan(_values(self, X, reset=True)).mean(axis=0)
        self.features_ = np.flatnonzero(((gaps > 0.0) & (gaps < 1.0)) | self.always)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the columns of zeros and ones."""
        check_is_fitted(self, "features_")
        return np.isnan(_values(self, X, reset=False)[:, self.features_]).astype(np.float64)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns: ``missing_`` and the name of the feature."""
        check_is_fitted(self, "features_")
        fitted = getattr(self, "feature_names_in_", [f"x{k}" for k in range(self.n_features_in_)])
        names = fitted if input_features is None else np.asarray(input_features, dtype=object)
        if list(names) != list(fitted):
            raise DataError(
                f"input_features is not equal to feature_names_in_: {_difference(list(fitted), list(names))}"
            )
        return np.array([f"missing_{names[k]}" for k in self.features_], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class Compressor(TransformerMixin, BaseEstimator):
    """Compress many features to a few linear combinations, fitted by scikit-learn.

    Every row is multiplied by itself, so that its numbers have the same bits whichever rows are given with it; a
    product of whole matrices does not promise that.

    Parameters
    ----------
    method : {"pca", "random"}, default="pca"
        `PCA` (centred, orthogonal directions of largest variance) or `GaussianRandomProjection`.
    n_components : int >= 1, default=8
        Columns afterwards. Principal components: at most the number of rows or of columns.
    random_state : int, default=0
        Seed of the random projection.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
    mean_ : ndarray of shape (n_features,)
        Taken off first; zero for a random projection.

    Examples
    --------
    >>> Compressor(n_components=1).fit_transform([[0.0, 0.0], [3.0, 4.0]]).round(6)
    array([[-2.5],
           [ 2.5]])
    """

    def __init__(self, *, method: str = "pca", n_components: int = 8, random_state: int = 0) -> None:
        self.method = method
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find or draw the directions.

        Raises
        ------
        ParameterError
            If there are fewer rows or features than principal components.
        """
        if self.method not in ("pca", "random"):
            raise ParameterError(f"method must be pca or random, got {self.method!r}")
        values = validate_data(self, X, dtype=np.float64)
        most = min(values.shape) if self.method == "pca" else values.shape[1]
        if not 1 <= self.n_components <= most:
            raise ParameterError(
                f"n_components must lie in 1..{most} for {len(values)} rows (n_samples={len(values)}) of "
                f"{values.shape[1]} features, got {self.n_components}"
            )
        if self.method == "pca":
            fitted = PCA(self.n_components, svd_solver="full").fit(values)
            self.mean_ = np.array(fitted.mean_)
        else:
            fitted = GaussianRandomProjection(self.n_components, random_state=self.random_state).fit(values)
            self.mean_ = np.zeros(values.shape[1])
        self.components_ = np.array(fitted.components_, order="C")
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the combinations of every row."""
        check_is_fitted(self, "components_")
        values = validate_data(self, X, reset=False, dtype=np.float64)
        return np.stack([self.components_ @ row for row in np.ascontiguousarray(values - self.mean_)])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns: ``pca0``, ``pca1``, ... or ``random0``, ..."""
        check_is_fitted(self, "components_")
        return np.array([f"{self.method}{k}" for k in range(len(self.components_))], dtype=object)


class CSMedianImputer(BaseCSTransformer):
    """Fill what is missing with the median of the other assets on the same date.

    A skfolio cross-sectional transformer: no row knows of another, so it is causal. A date without any value stays
    missing.

    Examples
    --------
    >>> X = np.array([[1.0, np.nan, 3.0, 8.0], [np.nan, np.nan, np.nan, np.nan]])
    >>> CSMedianImputer().fit_transform(X)[0]
    array([1., 3., 3., 8.])
    >>> CSMedianImputer().fit_transform(X, cs_groups=np.array([[0, 0, 1, 1], [0, 0, 1, 1]]))[0]
    array([1., 1., 3., 8.])
    """

    def __init__(self) -> None:
        pass

    def transform(
        self, X: ArrayLike, cs_weights: ArrayLike | None = None, cs_groups: ArrayLike | None = None
    ) -> FloatArray:
        """Fill row by row.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            NaN where missing.
        cs_weights : array-like of shape (n_observations, n_assets), optional
            Only assets with a weight above 0 (those listed on the date) enter the medians and are filled.
        cs_groups : array-like of shape (n_observations, n_assets), optional
            Group of each asset (its sector) as a number, -1 for none. The median is that of the group, and of the
            whole row for assets without a group or in one without a value.

        Returns
        -------
        ndarray of shape (n_observations, n_assets)
        """
        values = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        usable = np.ones(values.shape, dtype=bool) if cs_weights is None else np.asarray(cs_weights) > 0
        groups = None if cs_groups is None else np.asarray(cs_groups)
        for name, given in (("cs_weights", usable), ("cs_groups", groups)):
            if given is not None and given.shape != values.shape:
                raise DataError(f"{name} must have the shape {values.shape} of X, got {given.shape}")
        filled = values.copy()
        gaps = np.isnan(values) & usable
        for t in np.flatnonzero(gaps.any(axis=1)):
            known = usable[t] & ~np.isnan(values[t])
            if not known.any():
                continue
            filled[t, gaps[t]] = np.median(values[t, known])
            if groups is None:
                continue
            for group in np.unique(groups[t, gaps[t]]):
                peers = known & (groups[t] == group)
                if group >= 0 and peers.any():
                    filled[t, gaps[t] & (groups[t] == group)] = np.median(values[t, peers])
        return filled


def upper_triangles(matrices: ArrayLike) -> FloatArray:
    """Write symmetric matrices as vectors of the same length.

    The diagonal, then sqrt(2) times the entries above it, so that the Euclidean distance of two vectors is the
    Frobenius distance of their matrices.

    Parameters
    ----------
    matrices : array-like of shape (n_matrices, n_assets, n_assets)
        Symmetric.

    Returns
    -------
    ndarray of shape (n_matrices, n_assets * (n_assets + 1) / 2)

    Raises
    ------
    DataError
        If the shape is another one or a matrix is not symmetric and finite.

    Examples
    --------
    >>> upper_triangles([[[1.0, 0.5], [0.5, 2.0]]]).round(3)
    array([[1.   , 2.   , 0.707]])
    """
    stack = np.asarray(matrices, dtype=np.float64)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or not len(stack):
        raise DataError(f"matrices must have shape (n_matrices, n_assets, n_assets), got {stack.shape}")
    if not np.isfinite(stack).all():
        raise DataError("matrices must be finite; drop the assets that have no covariance")
    if not np.allclose(stack, stack.transpose(0, 2, 1)):
        raise DataError("matrices must be symmetric; use (C + C.T) / 2")
    rows, columns = np.triu_indices(stack.shape[1], k=1)
    diagonal = np.diagonal(stack, axis1=1, axis2=2)
    return np.concatenate([diagonal, np.sqrt(2.0) * stack[:, rows, columns]], axis=1)


class CovarianceProjection(TransformerMixin, BaseEstimator):
    """Compress covariance matrices to a few numbers by a random projection.

    Distances between matrices (Frobenius) are kept up to a relative error of about sqrt(8 ln(m) / n_components) among
    m matrices [1]_. The projection depends on the seed and the number of assets only, never on the data.

    Parameters
    ----------
    n_components : int >= 1, default=32
        Length of the compressed vectors.
    sparse : bool, default=False
        Use a sparse projection (one entry in sqrt(length) is not zero), for many hundreds of assets.
    random_state : int, default=0
        Seed.

    Attributes
    ----------
    projection_ : GaussianRandomProjection or SparseRandomProjection
        scikit-learn's transformer of the vectors of `upper_triangles`.
    n_assets_ : int
        Rows of a matrix.

    References
    ----------
    .. [1] W. B. Johnson and J. Lindenstrauss (1984). Extensions of Lipschitz mappings into a Hilbert space.
       Contemporary Mathematics 26, 189-206.

    Examples
    --------
    >>> stack = np.stack([np.eye(10), 2 * np.eye(10)])
    >>> CovarianceProjection(n_components=4).fit_transform(stack).shape
    (2, 4)
    """

    def __init__(self, *, n_components: int = 32, sparse: bool = False, random_state: int = 0) -> None:
        self.n_components = n_components
        self.sparse = sparse
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Draw the projection for matrices of this size.

        Parameters
        ----------
        X : array-like of shape (n_matrices, n_assets, n_assets)
        y : Ignored
        """
        n_assets = np.shape(X)[-1]
        length = n_assets * (n_assets + 1) // 2
        if not 1 <= self.n_components <= length:
            raise ParameterError(f"n_components must lie in 1..{length} for {n_assets} assets, got {self.n_components}")
        kind = SparseRandomProjection if self.sparse else GaussianRandomProjection
        vectors = upper_triangles(X)
        self.projection_ = kind(n_components=self.n_components, random_state=self.random_state).fit(vectors)
        self.n_assets_ = n_assets
        return self

    def transform(self, X: ArrayLike) -> FloatArray:
        """Compress.

        Parameters
        ----------
        X : array-like of shape (n_matrices, n_assets, n_assets)

        Returns
        -------
        ndarray of shape (n_matrices, n_components)
        """
        check_is_fitted(self, "projection_")
        vectors = upper_triangles(X)
        if np.shape(X)[-1] != self.n_assets_:
            raise DataError(f"matrices must be of {self.n_assets_} assets as fitted, got {np.shape(X)[-1]}")
        return self.projection_.transform(vectors)


class ImportanceSelector(SelectorMixin, BaseEstimator):
    """Keep the features that matter most for a target, judged again at every fit.

    Parameters
    ----------
    n_features : int >= 1, default=20
        Features to keep (all, where there are fewer).
    method : {"permutation", "forest"}, default="permutation"
        "permutation": a ridge regression on the earlier rows, and the loss of fit on the later rows when a feature is
        shuffled there. "forest": impurity importance of extremely randomised trees on all rows.
    holdout : float in (0, 1), default=0.3
        Share of the rows, the latest, on which permutation is judged.
    random_state : int, default=0
        Seed; the same seed gives the same choice.

    Attributes
    ----------
    importances_ : ndarray of shape (n_features_in,)
        Larger matters more.
    support_ : ndarray of bool, shape (n_features_in,)
        Features kept; of equal importances the earlier column stays.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((200, 4))
    >>> ImportanceSelector(n_features=1).fit(X, X[:, 2]).get_support(indices=True)
    array([2])
    """

    def __init__(
        self, *, n_features: int = 20, method: str = "permutation", holdout: float = 0.3, random_state: int = 0
    ) -> None:
        self.n_features = n_features
        self.method = method
        self.holdout = holdout
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Judge every feature.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Without missing values, oldest row first.
        y : array-like of shape (n_rows,) or (n_rows, n_targets)
            What the features are to tell.
        """
        if self.method not in ("permutation", "forest"):
            raise ParameterError(f"method must be permutation or forest, got {self.method!r}")
        if self.n_features < 1 or not 0.0 < self.holdout < 1.0:
            raise ParameterError(
                "n_features must be at least 1 and holdout lie between 0 and 1, "
                f"got {self.n_features} and {self.holdout}"
            )
        if y is None:
            raise ParameterError("ImportanceSelector requires y to be passed, but the target y is None; call fit(X, y)")
        values, target = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self.importances_ = self._forest(values, target) if self.method == "forest" else self._ridge(values, target)
        kept = np.argsort(-self.importances_, kind="stable")[: self.n_features]
        self.support_ = np.isin(np.arange(values.shape[1]), kept)
        return self

    def _forest(self, values: FloatArray, target: FloatArray) -> FloatArray:
        forest = ExtraTreesRegressor(n_estimators=200, min_samples_leaf=5, random_state=self.random_state)
        return forest.fit(values, target).feature_importances_

    def _ridge(self, values: FloatArray, target: FloatArray) -> FloatArray:
        start = round((1.0 - self.holdout) * len(values))
        if not 2 <= start < len(values) - 1:
            raise DataError(
                f"permutation needs 2 rows on either side of the split, got n_samples={len(values)}; give more"
            )
        model = RidgeCV(alphas=np.logspace(-3, 3, 7)).fit(values[:start], target[:start])
        judged = permutation_importance(
            model, values[start:], target[start:], n_repeats=10, random_state=self.random_state,
            scoring="neg_mean_squared_error",
        )  # fmt: skip
        return judged.importances_mean

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self, "support_")
        return self.support_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
