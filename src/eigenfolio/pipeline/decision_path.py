"""What a fitted shrinkage model decided along a panel: intensity, block curve, condition; and the regime.

The model is fitted anew at every date on the rows up to it, so the path is what would have been known then; the regime
of a date is that of `eigenfolio.features.regimes`, from the same rows. The block curve of a date is the logarithm of an
eigenvalue after shrinkage over before, at fixed shares of the rank (0 the largest eigenvalue, 1 the smallest kept one),
so that dates with different numbers of assets lie on one axis. Eigenvalues after shrinkage are first divided by their
mean, a common level that goes to the volatilities; the null space is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from skfolio.moments import BaseCovariance
from sklearn.base import clone

from eigenfolio.errors import LookaheadWarning, ParameterError, RangeWarning
from eigenfolio.features.regimes import market_regimes
from eigenfolio.linalg import covariance_to_correlation
from eigenfolio.panel import Panel

__all__ = ["DecisionPath", "decision_path"]

FloatArray = npt.NDArray[np.float64]

_KEPT = ("recent_share", "log_scale", "volatility_change", "member_spread", "out_of_range", "closed_form_shrinkage")
_SMALLEST = 1e-9  # an eigenvalue below it is of the null space


@dataclass(frozen=True, eq=False)
class DecisionPath:
    """What was decided, date by date.

    Attributes
    ----------
    table : DataFrame
        By decision date: `shrinkage`; of the spectral network `recent_share`, `log_scale`, `volatility_change`,
        `member_spread`, `out_of_range`, `guard_relation` and `guard_range`; of any model `condition_number` (of the
        correlation), `volatility` (median of the assets, per period), `n_assets` and `regime` (a word, "unknown" in the
        first rows); `regime_foreseen` of weights with heads, `trained_through` where weights are dated,
        and `in_sample` (whether they have seen later rows) of any. A column that no date has is absent.
    curves : DataFrame
        By decision date, one column per share of the rank: log ratio of the eigenvalue after over before. Empty for a
        model without `block_shrinkage_`.
    """

    table: pd.DataFrame
    curves: pd.DataFrame

    def curves_by_regime(self) -> pd.DataFrame:
        """Median block curve of each known regime, by regime, with the number of dates as the level `n_dates`."""
        labels = self.table["regime"].reindex(self.curves.index)
        known = labels != "unknown"
        if not known.any():
            return pd.DataFrame(columns=self.curves.columns)
        grouped = self.curves[known].groupby(labels[known].to_numpy())
        medians = grouped.median()
        medians.index = pd.MultiIndex.from_arrays(
            [medians.index, grouped.size().to_numpy()], names=["regime", "n_dates"]
        )
        return medians


def decision_path(
    model: BaseCovariance,
    panel: Panel,
    rows: Sequence[int],
    *,
    n_shares: int = 25,
    on_done: Callable[[], None] | None = None,
) -> DecisionPath:
    """Fit a model at every decision row and keep what it decided.

    Parameters
    ----------
    model : BaseCovariance
        A covariance estimator, such as `NeuralShrinkage`; left unfitted.
    panel : Panel
    rows : sequence of int
        Decision rows, in order; each sees the rows up to itself.
    n_shares : int, default=25
        Places of a block curve, at least 2.
    on_done : callable, optional
        Called after each row.

    Returns
    -------
    DecisionPath

    Raises
    ------
    ParameterError
        If there is no row, rows are out of order or out of range, or `n_shares` is below 2.

    Examples
    --------
    >>> from eigenfolio import NeuralShrinkage
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(6, 420, seed=0).panel
    >>> path = decision_path(NeuralShrinkage("synthetic", lookback=252), panel, [300, 419], n_shares=3)
    >>> path.table[["n_assets", "regime"]].to_dict("list"), path.curves.shape
    ({'n_assets': [6, 6], 'regime': ['unknown', 'stressed']}, (2, 3))
    """
    if not len(rows) or list(rows) != sorted(set(rows)) or rows[0] < 0 or rows[-1] >= len(panel.index):
        raise ParameterError(
            f"rows must be decision rows in order, between 0 and {len(panel.index) - 1}, got {list(rows)[:5]}"
        )
    if n_shares < 2:
        raise ParameterError(f"n_shares must be at least 2, got {n_shares}")
    labels = market_regimes(panel)["label"].astype(object)
    decided, curves = {}, {}
    for row in rows:
        date = panel.index[row]
        with warnings.catch_warnings():  # what they say stands in `out_of_range` and `in_sample`
            warnings.simplefilter("ignore", RangeWarning)
            warnings.simplefilter("ignore", LookaheadWarning)
            fitted = clone(model).fit(panel.returns.iloc[: row + 1])
        regime = labels.iloc[row]
        decided[date] = {**_decided(fitted), "regime": "unknown" if pd.isna(regime) else str(regime)}
        curve = _curve(fitted, decided[date]["n_assets"], n_shares)
        if curve is not None:
            curves[date] = curve
        if on_done is not None:
            on_done()
    table = pd.DataFrame.from_dict(decided, orient="index").rename_axis("date")
    shares = pd.Index(np.round(np.linspace(0.0, 1.0, n_shares), 6), name="share_of_rank")
    return DecisionPath(table, pd.DataFrame.from_dict(curves, orient="index", columns=shares).rename_axis("date"))


def _decided(fitted: Any) -> dict[str, Any]:
    """What one fit decided; what it does not have is left out."""
    told: dict[str, Any] = {}
    intensity = getattr(fitted, "shrinkage_", None)
    if isinstance(intensity, (int, float)):
        told["shrinkage"] = float(intensity)
    diagnostics = getattr(fitted, "diagnostics_", {})
    told |= {name: float(diagnostics[name]) for name in _KEPT if name in diagnostics}
    guard = getattr(fitted, "guard_", None)
    if guard is not None:
        told |= {"guard_relation": guard.relation, "guard_range": guard.range}
    covariance = np.asarray(fitted.covariance_)
    active = np.isfinite(np.diag(covariance))
    correlation, volatility = covariance_to_correlation(covariance[np.ix_(active, active)])
    values = np.linalg.eigvalsh(correlation)
    told["condition_number"] = float(values[-1] / values[0])
    told["volatility"] = float(np.median(volatility))
    told["n_assets"] = int(active.sum())
    foreseen = getattr(fitted, "regime_", None)
    if foreseen is not None:
        told["regime_foreseen"] = str(foreseen)
    seen = getattr(fitted, "trained_through_", None)
    if seen is not None:
        told["trained_through"] = f"{seen:%Y-%m-%d}"
    if hasattr(fitted, "in_sample_"):
        told["in_sample"] = bool(fitted.in_sample_)
    return told


def _curve(fitted: Any, n_assets: int, n_shares: int) -> FloatArray | None:
    """Log ratio of the eigenvalues at equally spaced shares of the rank; None where there are none."""
    blocks = getattr(fitted, "block_shrinkage_", None)
    if blocks is None:
        return None
    before, after = np.asarray(blocks, dtype=float).T
    times = np.ones(len(before))
    if len(before) < n_assets:  # more assets than rows: the last one stands for the null space
        times[-1] = n_assets - len(before) + 1
    after = after * n_assets / float(times @ after)
    kept = (before > _SMALLEST) & (after > _SMALLEST) & (times == 1.0)
    if kept.sum() < 2:
        return None
    ratio = np.log(after[kept] / before[kept])
    curve: FloatArray = np.interp(np.linspace(0.0, 1.0, n_shares), np.linspace(0.0, 1.0, len(ratio)), ratio)
    return curve
