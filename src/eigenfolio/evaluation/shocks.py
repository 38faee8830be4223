r"""Shocks to a panel: what models look back on, what their books earn, or both.

    volatility     (1 + r)^factor - 1 in the rows of a spell: log returns times `factor`, seen and earned
    correlation    s_it [ sqrt(level) m_t / s_m + sqrt(1 - level) e_it / q_i ] in the rows of a spell, seen and earned
    outliers       a share of entries replaced by +-size volatilities; seen only, as errors of a data vendor are
    missing        assets that are nowhere to be seen; nothing else changes

For `correlation`, z_it = r_it / s_it, m_t is the mean of z over assets and e_it = z_it - m_t; s_it, s_m and q_i are
root mean squares of r, m and e over the 252 rows before t. The day keeps its market and what was better or worse than
it, every asset keeps its volatility, and pairs come to correlate near `level` (less (1 - level) / (n_assets - 1), as
the residuals sum to zero).

Spells last 63 rows and end every 252nd row by default, so that decisions fall before, into and after them. A shocked
row depends on its own row and those before it, so no model sees a later row. No return falls below -95 %.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.errors import ParameterError

__all__ = ["chosen_assets", "correlated", "spell_rows", "wilder", "with_outliers"]

_FLOOR = -0.95
_TRAILING, _LEAST = 252, 21


def spell_rows(index: pd.DatetimeIndex, *, length: int = 63, every: int = 252) -> NDArray[np.bool_]:
    """Rows of the spells: the last `length` of every `every` rows.

    Parameters
    ----------
    index : DatetimeIndex of length n_observations
    length, every : int
        Rows of a spell, and from the end of one to the end of the next; 1 <= length <= every.

    Returns
    -------
    ndarray of bool, shape (n_observations,)

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> spell_rows(pd.bdate_range("2020-01-01", periods=7), length=1, every=3).astype(int)
    array([0, 0, 1, 0, 0, 1, 0])
    """
    if not 1 <= length <= every:
        raise ParameterError(f"a spell needs 1 <= length <= every, got length={length}, every={every}")
    inside: NDArray[np.bool_] = np.arange(len(index)) % every >= every - length
    return inside


def wilder(returns: pd.DataFrame, rows: NDArray[np.bool_], *, factor: float = 3.0) -> pd.DataFrame:
    """Multiply the log returns of some rows.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    rows : ndarray of bool, shape (n_observations,)
        Rows of the shock.
    factor : float > 0
        On log returns, and so, but for the size of a day, on volatility.

    Returns
    -------
    DataFrame
        Same labels.

    Raises
    ------
    ParameterError
        If `factor` is not positive or `rows` does not fit.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=2)
    >>> wilder(pd.DataFrame({"A": [0.1, 0.1]}, index=days), np.array([False, True]), factor=2.0)["A"].round(4).tolist()
    [0.1, 0.21]
    """
    if not (np.isfinite(factor) and factor > 0.0):
        raise ParameterError(f"factor must be finite and above 0, got {factor!r}")
    shocked = _copied(returns, rows)
    grown = np.expm1(factor * np.log1p(np.maximum(shocked[rows], _FLOOR)))
    shocked[rows] = np.maximum(grown, _FLOOR)
    return pd.DataFrame(shocked, index=returns.index, columns=returns.columns)


def correlated(returns: pd.DataFrame, rows: NDArray[np.bool_], *, level: float = 0.9) -> pd.DataFrame:
    """Make all assets of some rows move together.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    rows : ndarray of bool, shape (n_observations,)
        Rows of the shock. Assets with fewer than 21 returns among the 252 rows before keep theirs.
    level : float in [0, 1)
        Correlation that pairs come to.

    Returns
    -------
    DataFrame
        Same labels, missing where missing before.

    Raises
    ------
    ParameterError
        If `level` is out of range or `rows` does not fit.

    Examples
    --------
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=600)
    >>> calm = pd.DataFrame(0.01 * rng.standard_normal((600, 50)), index=days)
    >>> together = correlated(calm, np.arange(600) >= 300)
    >>> pairs = together.iloc[300:].corr().to_numpy()[np.triu_indices(50, k=1)]
    >>> bool(abs(pairs.mean() - 0.9) < 0.02)
    True
    """
    if not 0.0 <= level < 1.0:
        raise ParameterError(f"level must be a correlation in [0, 1), got {level!r}")
    shocked = _copied(returns, rows)
    scale = _root_mean_square(returns)
    standard = returns / scale
    market = standard.mean(axis=1).to_frame()
    own = standard - market.to_numpy()
    common = np.sqrt(level) * (market / _root_mean_square(market)).to_numpy()  # (n_observations, 1)
    together = scale * (np.sqrt(1.0 - level) * (own / _root_mean_square(own)) + common)
    known = rows[:, None] & np.isfinite(together.to_numpy())
    shocked[known] = np.maximum(together.to_numpy()[known], _FLOOR)
    return pd.DataFrame(shocked, index=returns.index, columns=returns.columns)


def with_outliers(
    returns: pd.DataFrame, *, share: float = 0.01, size: float = 10.0, rng: np.random.Generator
) -> pd.DataFrame:
    """Replace some entries by moves of either sign that are many volatilities large.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns; missing ones stay missing.
    share : float in [0, 1]
        Of the entries, each drawn by itself.
    size : float > 0
        In root mean squares of the asset over the 252 rows before; entries without 21 returns before them stay.
    rng : numpy.random.Generator
        Draws places and signs, row by row, so that later rows change nothing before them.

    Returns
    -------
    DataFrame
        Same labels.

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=100)
    >>> calm = pd.DataFrame(0.01 * rng.choice([-1.0, 1.0], (100, 3)), index=days)
    >>> wild = with_outliers(calm, share=0.05, rng=rng)
    >>> float(wild.abs().iloc[:40].max().max().round(6)), int((wild != calm).to_numpy().sum()) > 5
    (0.1, True)
    """
    if not 0.0 <= share <= 1.0:
        raise ParameterError(f"share must lie in [0, 1], got {share!r}")
    if not (np.isfinite(size) and size > 0.0):
        raise ParameterError(f"size must be finite and above 0, got {size!r}")
    drawn = rng.random((*returns.shape, 2))
    moves = np.where(drawn[..., 1] < 0.5, -size, size) * _root_mean_square(returns).to_numpy()
    values = returns.to_numpy(dtype=float).copy()
    hit = (drawn[..., 0] < share) & np.isfinite(values) & np.isfinite(moves)
    values[hit] = np.maximum(moves[hit], _FLOOR)
    return pd.DataFrame(values, index=returns.index, columns=returns.columns)


def chosen_assets(names: pd.Index, *, share: float = 0.5, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the assets that stay.

    Parameters
    ----------
    names : Index of length n_assets
    share : float in [0, 1)
        Of the assets that go missing; at least one stays.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (n_assets,)
        True where an asset stays.

    Raises
    ------
    ParameterError
        If `share` leaves [0, 1).

    Examples
    --------
    >>> int(chosen_assets(pd.Index(list("ABCDE")), rng=np.random.default_rng(0)).sum())
    3
    """
    if not 0.0 <= share < 1.0:
        raise ParameterError(f"share must lie in [0, 1), got {share!r}")
    stays = np.ones(len(names), dtype=bool)
    gone = min(int(share * len(names)), len(names) - 1)
    stays[rng.permutation(len(names))[:gone]] = False
    return stays


def _root_mean_square(returns: pd.DataFrame) -> pd.DataFrame:
    """Of the 252 rows before each row, NaN with fewer than 21 of them."""
    square = (returns**2).rolling(_TRAILING, min_periods=_LEAST).mean().shift(1)
    root: pd.DataFrame = square.where(square > 0.0) ** 0.5
    return root


def _copied(returns: pd.DataFrame, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    if np.shape(rows) != (len(returns),):
        raise ParameterError(f"a shock needs one mark per row, {len(returns)}, got {np.shape(rows)}")
    return returns.to_numpy(dtype=float).copy()
