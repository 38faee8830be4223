r"""How far the realised volatility of a portfolio may be from the predicted one.

    interval   exp(r_low) s to exp(r_high) s,    s = sqrt(w' Sigma w)

r are quantiles of log(realised / predicted volatility) over the next rows as the risk head of the weights sees them
(`eigenfolio.learned.heads`), calibrated on windows of five kinds of portfolio: equal weight, inverse volatility, random
long-only, minimum variance with a cap and without. The covariance is used as low rank plus diagonal.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import ParameterError
from eigenfolio.learned.heads import RISK_HORIZONS, missing_attribute, portfolio_inputs

if TYPE_CHECKING:
    from eigenfolio.learned.neural_shrinkage import NeuralShrinkage

__all__ = ["checked_weights", "risk_interval"]

FloatArray = NDArray[np.float64]

_LARGEST_CONFIDENCE = 0.99


def risk_interval(
    model: NeuralShrinkage, weights: ArrayLike, *, confidence: float = 0.9, horizon: float = 21
) -> tuple[float, float]:
    """Interval for the volatility per period of a portfolio over the next `horizon` rows.

    Parameters and errors are those of `NeuralShrinkage.risk_interval`.
    """
    report, structure = model._report, model._structure
    if report is None or structure is None or report.heads is None or report.heads.risk is None:
        fitted = "_bundle" in vars(model)
        raise AttributeError(missing_attribute("risk_interval", fitted, vars(model).get("_bundle")))
    _check_options(confidence, horizon)
    held = checked_weights(model, weights)
    levels = np.array([0.5 - confidence / 2.0, 0.5 + confidence / 2.0])
    quantiles = report.heads.risk_quantiles(report.inputs, portfolio_inputs(structure, held), levels, horizon)
    low, high = np.sqrt(structure.variance(held)) * np.exp(quantiles)
    return float(low), float(high)


def _check_options(confidence: float, horizon: float) -> None:
    if not isinstance(confidence, numbers.Real) or not 0.0 < confidence <= _LARGEST_CONFIDENCE:
        raise ParameterError(f"confidence must lie in (0, {_LARGEST_CONFIDENCE}], got {confidence!r}")
    low, high = RISK_HORIZONS[0], RISK_HORIZONS[-1]
    if not isinstance(horizon, numbers.Real) or not low <= horizon <= high:
        raise ParameterError(
            f"horizon must lie between {low} and {high} rows, for which it was fitted, got {horizon!r}"
        )


def checked_weights(model: NeuralShrinkage, weights: ArrayLike) -> FloatArray:
    """Weights of the active assets, (n_active,), from those of the assets of X."""
    names = getattr(model, "feature_names_in_", None)
    if isinstance(weights, pd.Series) and names is not None and list(weights.index) != list(names):
        raise ParameterError("weights are a Series with other names than X, or in another order; reindex them")
    values = np.asarray(weights, dtype=float)
    active = model._active
    if values.shape != active.shape:
        raise ParameterError(f"weights must have shape ({active.size},), one per asset of X, got {values.shape}")
    if not np.isfinite(values).all():
        raise ParameterError("weights must be finite; give 0 for an asset that is not held")
    if values[~active].any():
        raise ParameterError(
            f"{int((values[~active] != 0).sum())} weight(s) of inactive assets differ from 0; sell them"
        )
    if not values.any():
        raise ParameterError("all weights are 0, and nothing has no volatility; give a portfolio")
    return values[active]
