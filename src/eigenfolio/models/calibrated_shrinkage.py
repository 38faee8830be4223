r"""Shrinkage calibrated on the panel's own past.

Both estimators here look at pairs of a past window and the rows that followed it, all inside the rows given
to `fit`, and apply what they learn there to the last window.

*Average oracle* [1]_: the "oracle" eigenvalues of a past window are the variances of its correlation
eigenvectors over the following rows, :math:`v_k' C_{next} v_k`. Averaged rank by rank over past windows they
replace the eigenvalues of the last window's correlation; the trace is kept. With more assets than rows the
null space of the sample has one mean value, since its vectors are arbitrary.

*Best constant shrinkage*: the one identity intensity for which minimum-variance portfolios of the past
windows would have been calmest in the rows that followed. It is the control that every learned intensity has
to beat.

Windows end `step` rows apart, counted back from the last one that leaves `horizon` rows; of an asset's past
window four fifths and of the rows that follow a half must be observed, or it does not take part in that pair.

References
----------
.. [1] C. Bongiorno, D. Challet and G. Loeper (2023). Filtering time-dependent covariance matrices using
   time-independent eigenvalues. Journal of Statistical Mechanics, 023402.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import correlation_to_covariance
from eigenfolio.models.covariance_model import CovarianceModel, whole_number
from eigenfolio.models.nonlinear_shrinkage import clean_correlation, read_volatility
from eigenfolio.models.window import Window, prepare_window

__all__ = ["AverageOracle", "BestConstantShrinkage", "past_splits"]

FloatArray = npt.NDArray[np.float64]

_PAST_COVERAGE = 0.8
_NEXT_COVERAGE = 0.5
_SMALLEST_EIGENVALUE = 1e-4  # of a correlation, after averaging
_NULL_EIGENVALUE = 1e-10  # of a sample correlation


class AverageOracle(CovarianceModel):
    """Correlation eigenvalues averaged over the oracle ones of past windows [1]_.

    Parameters
    ----------
    lookback : int
        Rows of the last window and of every past one.
    horizon : int
        Rows that follow a past window, at least 2.
    step : int
        Rows between the ends of two past windows.
    n_windows : int
        Most recent past windows used; fewer where the history is shorter. One eigendecomposition each. On 150 US
        stocks, 2007 to 2020, 12 and 24 windows gave minimum-variance portfolios of the same volatility (+-2 %).
    volatility : {"sample", "ewma"}
        Volatilities joined to the correlation: of the last window, or exponentially weighted.
    half_life : float, optional
        Of the "ewma" volatilities, in rows; 63 when None.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_active_assets,)
        Averaged eigenvalues, ascending rank, mean 1.
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period. As published, the correlation is not brought back to a unit diagonal.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "n_windows" that took part, and "lifted_eigenvalues".

    Raises
    ------
    DataError
        With fewer than `lookback + horizon` rows, or when no past window has half of the active assets.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((400, 5)) * 0.01
    >>> model = AverageOracle(lookback=120).fit(X)
    >>> model.diagnostics_["n_windows"], round(float(model.eigenvalues_.mean()), 6)
    (12.0, 1.0)
    """

    def __init__(
        self,
        *,
        lookback: int = 252,
        horizon: int = 42,
        step: int = 21,
        n_windows: int = 12,
        volatility: Literal["sample", "ewma"] = "sample",
        half_life: float | None = None,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.horizon = horizon
        self.step = step
        self.n_windows = n_windows
        self.volatility = volatility
        self.half_life = half_life

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        volatility = read_volatility(window, self.volatility, self.half_life)
        n_assets = window.n_assets
        position = (np.arange(n_assets) + 0.5) / n_assets
        total, n_used = np.zeros(n_assets), 0
        for past, following in _past_pairs(self, history):
            values, vectors = np.linalg.eigh(past.correlation())
            after = prepare_window(following, assume_centered=self.assume_centered)
            oracle = _even_in_null_space(np.mean((after.standardised @ vectors) ** 2, axis=0), values)
            if oracle.size != n_assets:  # the rank curve of fewer assets, read at the ranks of all
                oracle = np.interp(position, (np.arange(oracle.size) + 0.5) / oracle.size, oracle)
            total += oracle * (n_assets / oracle.sum())
            n_used += 1
        self.diagnostics_["n_windows"] = float(n_used)
        values, vectors = np.linalg.eigh(window.correlation())
        eigenvalues = np.maximum(_even_in_null_space(total / n_used, values), _SMALLEST_EIGENVALUE)
        self.eigenvalues_ = eigenvalues * (n_assets / eigenvalues.sum())
        correlation = clean_correlation(vectors, self.eigenvalues_, unit_diagonal=False)
        return correlation_to_covariance(correlation, volatility)


class BestConstantShrinkage(CovarianceModel):
    """One identity intensity on the correlation, chosen by what past windows' portfolios realised.

    For every past window and intensity the unconstrained minimum-variance portfolio is held over the rows
    that follow. The intensity with the smallest geometric mean of realised variances is taken, so that calm
    and stormy windows count alike. Volatilities are those of the window.

    Parameters
    ----------
    lookback : int
        Rows of the last window and of every past one.
    horizon : int
        Rows that follow a past window, at least 2.
    step : int
        Rows between the ends of two past windows.
    n_windows : int
        Most recent past windows used; fewer where the history is shorter. One eigendecomposition each.
    grid : sequence of float in (0, 1], optional
        Intensities tried; 0.02, 0.04, ..., 1 when None.
    assume_centered : bool
        Take mean returns as zero.

    Attributes
    ----------
    shrinkage_ : float in (0, 1]
        Share of the identity; the smallest among equals.
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    diagnostics_ : dict of str to float
        "shrinkage", "n_windows" that took part, and "lifted_eigenvalues".

    Raises
    ------
    DataError
        With fewer than `lookback + horizon` rows, or when no past window has half of the active assets.
    ParameterError
        If `grid` is empty or leaves (0, 1].

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((400, 30)) * 0.01
    >>> BestConstantShrinkage(lookback=60).fit(X).shrinkage_ > 0.5
    True
    """

    def __init__(
        self,
        *,
        lookback: int = 252,
        horizon: int = 21,
        step: int = 21,
        n_windows: int = 24,
        grid: Sequence[float] | None = None,
        assume_centered: bool = False,
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.horizon = horizon
        self.step = step
        self.n_windows = n_windows
        self.grid = grid

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        intensities = np.arange(1, 51) / 50 if self.grid is None else np.asarray(self.grid, dtype=float)
        if intensities.ndim != 1 or not intensities.size or not ((intensities > 0) & (intensities <= 1)).all():
            raise ParameterError(f"grid must hold intensities in (0, 1], got {self.grid!r}")
        intensities = np.unique(intensities)
        loss, n_used = np.zeros(intensities.size), 0
        for past, following in _past_pairs(self, history):
            values, vectors = np.linalg.eigh(past.correlation())
            inverse = 1.0 / ((1.0 - intensities) * np.maximum(values, 0.0)[:, None] + intensities)
            toward = (vectors.T @ (1.0 / past.volatility))[:, None]
            weights = vectors @ (inverse * toward) / past.volatility[:, None]  # (n_assets, n_intensities)
            weights /= weights.sum(axis=0)
            earned = np.nan_to_num(following, nan=0.0) @ weights
            if not self.assume_centered:
                earned -= earned.mean(axis=0)
            realised = np.mean(earned**2, axis=0)
            if (realised > 0.0).all():
                loss += np.log(realised)
                n_used += 1
        if n_used == 0:
            raise DataError(
                "no past window was followed by returns other than zero; give a longer history or shorten lookback"
            )
        self.shrinkage_ = float(intensities[loss.argmin()])
        self.diagnostics_ |= {"shrinkage": self.shrinkage_, "n_windows": float(n_used)}
        correlation = (1.0 - self.shrinkage_) * window.correlation()
        np.fill_diagonal(correlation, 1.0)
        return correlation_to_covariance(correlation, window.volatility)


def past_splits(n_rows: int, *, lookback: int, horizon: int, step: int, n_windows: int) -> list[int]:
    """Ends (exclusive) of past windows that leave `horizon` rows to judge them, oldest first.

    Parameters
    ----------
    n_rows : int
        Rows of the history; nothing after them is read.
    lookback, horizon, step, n_windows : int
        As in `AverageOracle`.

    Returns
    -------
    list of int
        Window `end - lookback:end` is judged on `end:end + horizon`, with `end + horizon <= n_rows`.

    Raises
    ------
    DataError
        With fewer than `lookback + horizon` rows.

    Examples
    --------
    >>> past_splits(100, lookback=60, horizon=20, step=10, n_windows=2)
    [70, 80]
    """
    if n_rows < lookback + horizon:
        raise DataError(
            f"lookback={lookback} with horizon={horizon} needs {lookback + horizon} rows (one past window and what "
            f"followed it), got {n_rows}; give a longer history or shorten lookback"
        )
    return list(range(n_rows - horizon, lookback - 1, -step))[:n_windows][::-1]


def _past_pairs(
    model: AverageOracle | BestConstantShrinkage, history: FloatArray
) -> Iterator[tuple[Window, FloatArray]]:
    """Completed past windows and the returns that followed, of the assets observed well enough in both."""
    if model.lookback is None:
        raise ParameterError("lookback must be a whole number of at least 2, got None; past windows need a length")
    splits = past_splits(
        len(history),
        lookback=whole_number("lookback", model.lookback, minimum=2),
        horizon=whole_number("horizon", model.horizon, minimum=2),
        step=whole_number("step", model.step, minimum=1),
        n_windows=whole_number("n_windows", model.n_windows, minimum=1),
    )
    observed = np.isfinite(history)
    n_pairs = 0
    for end in splits:
        past, following = slice(end - model.lookback, end), slice(end, end + model.horizon)
        usable = observed[past].mean(axis=0) >= _PAST_COVERAGE
        usable &= observed[following].mean(axis=0) >= _NEXT_COVERAGE
        usable &= _varies(history[past]) & _varies(history[following])
        if 2 * usable.sum() < usable.size:
            continue
        n_pairs += 1
        window = prepare_window(history[past, usable], assume_centered=model.assume_centered)
        yield window, history[following, usable]
    if n_pairs == 0:
        raise DataError(
            f"none of the {len(splits)} past windows has half of the {observed.shape[1]} active assets; "
            "drop late listings, shorten lookback or raise n_windows"
        )


def _even_in_null_space(variances: FloatArray, eigenvalues: FloatArray) -> FloatArray:
    """Variances with one mean value where the sample eigenvalue is zero: the vectors there are arbitrary."""
    null = eigenvalues <= _NULL_EIGENVALUE
    if null.any():
        variances = np.where(null, variances[null].mean(), variances)
    return variances


def _varies(returns: FloatArray) -> npt.NDArray[np.bool_]:
    """Assets with two different observed returns."""
    low = np.where(np.isfinite(returns), returns, np.inf).min(axis=0)
    high = np.where(np.isfinite(returns), returns, -np.inf).max(axis=0)
    return high > low
