"""Targets with a known leak, from blatant to faint, and honest twins that look like them.

The audit is itself judged by these: every planted leak must be found, by the check that is there for it, and no twin
may be flagged. Each entry makes its target from the panel of the audit, because some leaks are planted in what the
target holds. `faint_leak` scales one leak, so that the smallest that is found is a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import butter, filtfilt, lfilter
from skfolio.optimization import BaseOptimization
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold, TimeSeriesSplit

from eigenfolio.errors import ParameterError

__all__ = ["HONEST", "PLANTED", "Honest", "Planted", "faint_leak"]

Table = Callable[[pd.DataFrame], Any]
LABEL_ROWS = 21


@dataclass(frozen=True)
class Planted:
    """One leak.

    Attributes
    ----------
    name : str
    leak : str
        What it sees that it must not, in one sentence.
    found_by : str
        The check that is there for it; others may find it too.
    make : callable
        Panel to the target.
    horizon : int
        Rows of a label, for splitters.
    """

    name: str
    leak: str
    found_by: str
    make: Callable[[pd.DataFrame], Any]
    horizon: int = 1


@dataclass(frozen=True)
class Honest:
    """A target without a leak that does much the same; `make` and `horizon` as of `Planted`."""

    name: str
    make: Callable[[pd.DataFrame], Any]
    horizon: int = 1


def faint_leak(strength: float) -> Table:
    """A signal that tomorrow's return moves by at most `strength` of its size, whatever the return.

    Missing and huge returns are bounded away, so that no poison makes the leak larger than it is.

    Parameters
    ----------
    strength : float >= 0
        0 is the honest signal.

    Returns
    -------
    callable
        Panel of returns to a signal of the same shape, of order one.

    Raises
    ------
    ParameterError
        If `strength` is negative.

    Examples
    --------
    >>> index = pd.bdate_range("2020-01-01", periods=30)
    >>> X = pd.DataFrame({"A": [0.01, -0.01] * 15}, index=index)
    >>> difference = faint_leak(0.5)(X) - faint_leak(0.0)(X)
    >>> difference["A"].iloc[[25, 26, 29]].tolist()
    [0.5, -0.5, 0.0]
    """
    if not strength >= 0:
        raise ParameterError(f"strength must be 0 or more, got {strength}")

    def signal(X: pd.DataFrame) -> pd.DataFrame:
        tomorrow = (X.shift(-1).fillna(0.0) / 0.01).clip(-1.0, 1.0)
        return trailing_signal(X) + strength * tomorrow

    return signal


def trailing_signal(X: pd.DataFrame) -> pd.DataFrame:
    """Mean over standard deviation of the last 21 rows, bounded by one."""
    window = X.fillna(0.0).rolling(21)
    return (window.mean() / (window.std() + 1e-12)).clip(-1.0, 1.0)


def _centred(X: pd.DataFrame) -> pd.DataFrame:
    return X.rolling(21, center=True).mean()


def _whole_panel_ranks(X: pd.DataFrame) -> pd.DataFrame:
    return X.rank(pct=True)


def _backward_filled(X: pd.DataFrame) -> pd.DataFrame:
    return X.bfill().rolling(5).mean()


def _never_missing(X: pd.DataFrame) -> pd.DataFrame:
    return X * X.notna().all()


def _whole_panel_scores(X: pd.DataFrame) -> pd.DataFrame:
    return (X - X.mean()) / X.std()


def _last_day_universe(X: pd.DataFrame) -> pd.DataFrame:
    alive = X.iloc[-1].notna()
    return pd.DataFrame(alive / max(alive.sum(), 1) + 0.0 * X.fillna(0.0), index=X.index)


def _window_of_a_tenth(X: pd.DataFrame) -> pd.DataFrame:
    return X.rolling(max(len(X) // 10, 2)).mean()


def _crash_avoider(X: pd.DataFrame) -> pd.DataFrame:
    return trailing_signal(X).where(~(X.shift(-1) < -0.2), 0.0)


def _month_end_peek(X: pd.DataFrame) -> pd.DataFrame:
    months = pd.DatetimeIndex(X.index).month
    last_of_month = np.append(months[1:] != months[:-1], False)
    return trailing_signal(X).mask(np.repeat(last_of_month[:, None], X.shape[1], axis=1), X.shift(-1))


def _zero_phase(X: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(filtfilt(*butter(2, 0.1), X.fillna(0.0), axis=0), index=X.index, columns=X.columns)


def _one_way(X: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(lfilter(*butter(2, 0.1), X.fillna(0.0), axis=0), index=X.index, columns=X.columns)


def _denoised(X: pd.DataFrame) -> pd.DataFrame:
    values = np.clip(X.fillna(0.0).to_numpy(), -0.1, 0.1)
    axes = np.linalg.svd(values, full_matrices=False)[2][:3]
    return pd.DataFrame(values @ axes.T @ axes, index=X.index, columns=X.columns)


def _followed(signal: pd.DataFrame, X: pd.DataFrame) -> pd.Series:
    """Returns of holding the sign of a signal, dated by the row that earns."""
    return (np.sign(signal) * X.fillna(0.0)).mean(axis=1)


def _follows_its_own_day(X: pd.DataFrame) -> pd.Series:
    return _followed(X, X)


def _scaled_by_its_own_day(X: pd.DataFrame) -> pd.Series:
    book = X.fillna(0.0).mean(axis=1)
    return book * 0.01 / (book.rolling(63).std() + 1e-6)


def _scaled_by_days_before(X: pd.DataFrame) -> pd.Series:
    book = X.fillna(0.0).mean(axis=1)
    return book * 0.01 / (book.rolling(63).std().shift(2) + 1e-6)


class LastReturns(BaseOptimization):
    """Weights in proportion to coefficients times the last return, plus a constant share.

    Parameters
    ----------
    coefficients : array-like of shape (n_assets,)
    """

    def __init__(self, coefficients: Any = 1.0) -> None:
        self.coefficients = coefficients
        super().__init__()

    def fit(self, X: Any, y: Any = None) -> Self:
        """Decide at the last row."""
        self.weights_ = _shares(1.0 + np.abs(np.asarray(self.coefficients) * np.asarray(X)[-1]))
        return self


def _shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    scores = np.nan_to_num(scores, posinf=1e6, neginf=0.0)
    return scores / scores.sum()


def _autocorrelation(X: pd.DataFrame) -> NDArray[np.float64]:
    values = X.fillna(0.0).to_numpy()
    return (values[1:] * values[:-1]).sum(axis=0) / ((values[:-1] ** 2).sum(axis=0) + 1e-12)


def _trained_on_everything(X: pd.DataFrame) -> LastReturns:
    return LastReturns(100 * _autocorrelation(X))


class TrainedInside(BaseOptimization):
    """The same, trained in `fit` on the rows it is given."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Train on all rows but the last, decide at the last."""
        self.weights_ = LastReturns(100 * _autocorrelation(X)).fit(X).weights_
        return self


def _hindsight_winners(X: pd.DataFrame) -> LastReturns:
    total = X.sum().to_numpy()
    return LastReturns(np.where(total >= np.median(total), 100.0, 0.0))


def _tuned_on_everything(X: pd.DataFrame) -> LastReturns:
    """With the lookback of a momentum rule that would have earned most over the whole panel."""
    values = X.fillna(0.0)
    earned = [float((np.sign(values.rolling(rows).mean().shift(1)) * values).sum().sum()) for rows in range(2, 64, 6)]
    return LastReturns(10.0 + 6 * int(np.argmax(earned)))


class MemoryReader(BaseOptimization):
    """Goes from the rows it is given to the array that they are a view of."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Weights by the volatility of the array behind X."""
        values = X.to_numpy()
        whole = values if values.base is None else np.asarray(values.base)
        whole = whole if whole.ndim == 2 and X.shape[1] == whole.shape[1] else whole.T
        self.weights_ = _shares(np.nan_to_num(whole).std(axis=0) + 1e-6)
        return self


class ProcessMemory(BaseOptimization):
    """Keeps the volatilities of the longest panel that any instance was ever fitted on."""

    longest: ClassVar[dict[str, Any]] = {}

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Weights by those volatilities."""
        if len(X) > self.longest.get("rows", 0):
            self.longest.update(rows=len(X), volatility=np.nan_to_num(X.to_numpy()).std(axis=0))
        self.weights_ = _shares(self.longest["volatility"] + 1e-6)
        return self


def _fresh_memory(X: pd.DataFrame) -> type[ProcessMemory]:
    """A class that has seen nothing yet: once it has seen all rows, its answers do not change any more."""
    return type("ProcessMemory", (ProcessMemory,), {"longest": {}})


class WarmStart(BaseOptimization):
    """Starts every fit from the weights of the one before."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Half the old weights, half the new."""
        fresh = _shares(np.nan_to_num(X.to_numpy()[-21:]).std(axis=0) + 1e-6)
        self.weights_ = 0.5 * (getattr(self, "weights_", fresh) + fresh)
        return self


class Lookup(BaseOptimization):
    """Looks its scores up in a table by date.

    Parameters
    ----------
    table : DataFrame
        Scores by date, or membership by snapshot date.
    direction : {"ffill", "bfill"}
        Whether the newest row up to the decision is taken, or the next one after it.
    """

    def __init__(self, table: Any = None, direction: str = "ffill") -> None:
        self.table = table
        self.direction = direction
        super().__init__()

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Weights by the scores of the date of the last row."""
        row = self.table.reindex(X.index[-1:], method=self.direction).iloc[0].to_numpy(dtype=float)
        self.weights_ = _shares(np.abs(np.nan_to_num(row)) + 1e-6)
        return self


def _scores_of_tomorrow(X: pd.DataFrame) -> pd.DataFrame:
    return X.shift(-1).rolling(2).mean()


def _snapshots(X: pd.DataFrame) -> pd.DataFrame:
    """Members by snapshot, every 50 rows: the half with the larger return that day."""
    table = X.iloc[::50].fillna(0.0)
    return table.ge(table.median(axis=1), axis=0)


class LaterWeights(LastReturns):
    """Says that its weights were trained through a date after the decision."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Decide as before, and say so."""
        super().fit(X)
        self.trained_through_ = X.index[-1] + pd.Timedelta(days=200)
        return self


class EarlierWeights(LastReturns):
    """Says that its weights were trained through the decision."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Decide as before, and say so."""
        super().fit(X)
        self.trained_through_ = X.index[-1]
        return self


class OwnStatistics(TransformerMixin, BaseEstimator):
    """Standardises what it transforms by itself, not by what it was fitted on."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Nothing to learn."""
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Scores by the mean and deviation of X itself."""
        return _whole_panel_scores(X)


class Attention(TransformerMixin, BaseEstimator):
    """Every row is an average of rows, weighted by likeness; with a mask, of rows up to itself.

    Parameters
    ----------
    causal : bool
        Whether later rows are masked.
    """

    def __init__(self, causal: bool = True) -> None:
        self.causal = causal

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn the scale of the likeness."""
        self.scale_ = float(np.nanstd(X.to_numpy()))
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Averages of rows."""
        values = np.clip(X.fillna(0.0).to_numpy(), -0.5, 0.5)
        averages = np.stack([self._weights(values, row) @ self._seen(values, row) for row in range(len(values))])
        return pd.DataFrame(averages, index=X.index, columns=X.columns)

    def input_gradients(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Derivative of the mean of each row of the answer by each return, with the weights held fixed."""
        values = np.clip(X.fillna(0.0).to_numpy(), -0.5, 0.5)
        n_rows, n_assets = values.shape
        gradients = np.zeros((n_rows, n_rows, n_assets))
        for row in range(n_rows):
            weights = self._weights(values, row)
            gradients[row, : len(weights)] = weights[:, None] / n_assets
        return gradients

    def _seen(self, values: NDArray[np.float64], row: int) -> NDArray[np.float64]:
        return values[: row + 1] if self.causal else values

    def _weights(self, values: NDArray[np.float64], row: int) -> NDArray[np.float64]:
        likeness = self._seen(values, row) @ values[row] / (values.shape[1] * self.scale_**2)
        weights = np.exp(np.minimum(likeness, 20.0))
        return weights / weights.sum()


def _always(target: Any) -> Callable[[pd.DataFrame], Any]:
    return lambda X: target


PLANTED: tuple[Planted, ...] = (
    Planted("next return as a feature", "a shift in the wrong direction", "truncation", _always(lambda X: X.shift(-1))),
    Planted("centred moving average", "half the window lies ahead", "truncation", _always(_centred)),
    Planted("scores of the whole panel", "mean and deviation of all rows", "truncation", _always(_whole_panel_scores)),
    Planted("ranks over the whole panel", "order among all rows", "future flipped", _always(_whole_panel_ranks)),
    Planted("zero-phase filter", "filters forward and backward", "truncation", _always(_zero_phase)),
    Planted("denoised by all rows", "principal axes of the whole panel", "future shuffled", _always(_denoised)),
    Planted("window of a tenth of the panel", "the number of later rows", "truncation", _always(_window_of_a_tenth)),
    Planted("backward fill", "a gap is filled from its end", "gaps", _always(_backward_filled)),
    Planted("survivors", "assets that are there on the last row", "survivorship", _always(_last_day_universe)),
    Planted("assets without a gap", "assets that are never missing later", "survivorship", _always(_never_missing)),
    Planted("crash avoider", "tomorrow's return, where it is below -20 %", "future huge", _always(_crash_avoider)),
    Planted("month ends", "tomorrow's return, on last rows of months", "future flipped", _always(_month_end_peek)),
    Planted("earns the row that decided", "a close is traded at before it", "same row", _always(_follows_its_own_day)),
    Planted("volatility of its own day", "the day that it scales", "same row", _always(_scaled_by_its_own_day)),
    Planted("trained on everything", "coefficients of all rows", "future shuffled", _always(_trained_on_everything)),
    Planted("tuned on everything", "a lookback chosen by all rows", "future huge", _always(_tuned_on_everything)),
    Planted("winners in hindsight", "what rose over the whole panel", "future huge", _always(_hindsight_winners)),
    Planted("reads the memory behind X", "the array that X is a view of", "future flipped", _always(MemoryReader)),
    Planted("remembers in the process", "the longest panel ever fitted", "refit", _fresh_memory),
    Planted("warm start", "the weights of a later fit", "refit", _always(WarmStart)),
    Planted("scores of tomorrow", "a table shifted by a row", "parameters", lambda X: Lookup(_scores_of_tomorrow(X))),
    Planted("members of the next snapshot", "named later", "parameters", lambda X: Lookup(_snapshots(X), "bfill")),
    Planted("weights of a later vintage", "weights that say so", "trained through", _always(LaterWeights)),
    Planted("own statistics in transform", "all rows to transform", "truncation", _always(OwnStatistics)),
    Planted("attention without a mask", "every row sees every row", "gradients", _always(Attention(causal=False))),
    Planted("folds without a purge", "labels of 21 rows overlap", "label overlap", _always(KFold(5)), LABEL_ROWS),
    Planted("faint leak of 1e-2", "tomorrow's return, bounded", "future flipped", _always(faint_leak(1e-2))),
    Planted("faint leak of 1e-6", "tomorrow's return, bounded", "future flipped", _always(faint_leak(1e-6))),
    Planted("faint leak of 1e-12", "tomorrow's return, bounded", "future flipped", _always(faint_leak(1e-12))),
)  # fmt: skip
"""Every leak, blatant ones first."""

HONEST: tuple[Honest, ...] = (
    Honest("trailing mean", _always(lambda X: X.rolling(21).mean())),
    Honest("trailing signal", _always(faint_leak(0.0))),
    Honest("expanding scores", _always(lambda X: (X - X.expanding().mean()) / X.expanding().std())),
    Honest("trailing ranks", _always(lambda X: X.rolling(63).rank())),
    Honest("one-way filter", _always(_one_way)),
    Honest("fixed half-life", _always(lambda X: X.ewm(halflife=20).mean())),
    Honest("forward fill", _always(lambda X: X.ffill(limit=5).rolling(5).mean())),
    Honest("assets of the day", _always(lambda X: X.notna().div(X.notna().sum(axis=1).clip(lower=1), axis=0))),
    Honest("earns the row after the next", _always(lambda X: _followed(X.shift(2), X))),
    Honest("volatility of days before", _always(_scaled_by_days_before)),
    Honest("trained inside fit", _always(TrainedInside)),
    Honest("fixed coefficients", _always(LastReturns(100.0))),
    Honest("scores of the day", lambda X: Lookup(X.rolling(2).mean())),
    Honest("members of the last snapshot", lambda X: Lookup(_snapshots(X))),
    Honest("weights of an earlier vintage", _always(EarlierWeights)),
    Honest("attention with a mask", _always(Attention(causal=True))),
    Honest("ordered folds with a gap", _always(TimeSeriesSplit(5, gap=LABEL_ROWS - 1)), LABEL_ROWS),
)
"""What looks like a leak and is none."""
