"""What a graph network is told of each asset: ten numbers from the rows up to the decision.

With r a return (a missing one counts as zero), v the volatility of the last 252 rows, m the equal-weight market of the
assets given,

    return_1, return_5       sum of the last 1 and 5 returns over v sqrt(rows)
    momentum_21, momentum_63 the same of 21 and 63
    momentum_252             the same of rows 22 to 252 back
    volatility_21            log of the volatility of the last 21 rows over v
    volatility_252           log of v
    downside_63              share of the squares of the last 63 rows that falls on negative returns
    drawdown_252             sum of returns since its highest point in 252 rows, over v sqrt(252)
    beta_252                 slope on m over 252 rows

Each is then made relative to the other assets of the date: less their mean, over their standard deviation, cut to
[-3, 3]; 0 where all are the same. So no scaler has to be stored, the market's own move drops out, and a number means
the same in any universe. With fewer than 252 rows what there is is used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenfolio.errors import DataError

__all__ = ["NODE_FEATURES", "NODE_ROWS", "node_features"]

FloatArray = npt.NDArray[np.float64]

NODE_FEATURES = (
    "return_1",
    "return_5",
    "momentum_21",
    "momentum_63",
    "momentum_252",
    "volatility_21",
    "volatility_252",
    "downside_63",
    "drawdown_252",
    "beta_252",
)
"""Columns of `node_features`, in the order that a network expects."""

NODE_ROWS = 252
"""Rows that they look back."""

_LARGEST = 3.0
_LEAST_SPREAD = 1e-8  # of the largest value: less is rounding


def node_features(returns: npt.ArrayLike) -> FloatArray:
    """Features of every asset at the last row.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_assets)
        Simple returns up to the decision, NaN where missing; the last 252 rows are read.

    Returns
    -------
    ndarray of shape (n_assets, 10)
        Finite, in [-3, 3], named by `NODE_FEATURES`.

    Raises
    ------
    DataError
        With fewer than two rows.

    Examples
    --------
    The asset that rose on the last day stands above the two others:

    >>> rng = np.random.default_rng(0)
    >>> returns = 0.01 * rng.standard_normal((300, 3))
    >>> returns[-1] = [0.03, 0.0, 0.0]
    >>> node_features(returns)[:, 0].round(2)
    array([ 1.41, -0.71, -0.71])
    """
    window = np.array(returns, dtype=float)[-NODE_ROWS:]
    if window.ndim != 2 or len(window) < 2:
        raise DataError(f"node features need at least 2 rows of returns, got shape {window.shape}")
    seen = np.isfinite(window)
    window[~seen] = 0.0
    counts = np.maximum(seen.sum(axis=0), 1)
    volatility = _rooted((window**2).sum(axis=0) / counts)
    columns = [
        *(_scaled_sum(window[-rows:], volatility) for rows in (1, 5, 21, 63)),
        _scaled_sum(window[:-21], volatility),
        np.log(_rooted((window[-21:] ** 2).sum(axis=0) / np.maximum(seen[-21:].sum(axis=0), 1)) / volatility),
        np.log(volatility),
        _downside(window[-63:]),
        _drawdown(window) / (volatility * np.sqrt(NODE_ROWS)),
        _beta(window),
    ]
    return _relative(np.column_stack(columns))


def _rooted(variance: FloatArray) -> FloatArray:
    """Volatility, never below a thousandth of the median one, so that a constant asset can be divided by."""
    typical = float(np.median(variance[variance > 0.0])) if (variance > 0.0).any() else 1.0
    rooted: FloatArray = np.sqrt(np.maximum(variance, 1e-6 * typical))
    return rooted


def _scaled_sum(rows: FloatArray, volatility: FloatArray) -> FloatArray:
    scaled: FloatArray = rows.sum(axis=0) / (volatility * np.sqrt(max(len(rows), 1)))
    return scaled


def _downside(rows: FloatArray) -> FloatArray:
    total = (rows**2).sum(axis=0)
    share = (np.minimum(rows, 0.0) ** 2).sum(axis=0) / np.where(total > 0.0, total, 1.0)
    return np.where(total > 0.0, share, 0.5)


def _drawdown(rows: FloatArray) -> FloatArray:
    level = np.vstack([np.zeros(rows.shape[1]), rows.cumsum(axis=0)])
    fallen: FloatArray = level[-1] - level.max(axis=0)
    return fallen


def _beta(rows: FloatArray) -> FloatArray:
    market = rows.mean(axis=1)
    market = market - market.mean()
    size = float(market @ market)
    return (market @ rows) / size if size > 0.0 else np.zeros(rows.shape[1])


def _relative(values: FloatArray) -> FloatArray:
    """Less the mean of the assets, over their standard deviation, cut."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    flat = spread <= _LEAST_SPREAD * np.abs(values).max(axis=0)
    standard = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    return np.clip(standard, -_LARGEST, _LARGEST)
