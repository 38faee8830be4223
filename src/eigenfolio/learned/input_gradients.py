"""Which returns a graph-attention book hangs on, and by how much: one gradient per decision.

    gradient[k, s, j] = d (coefficients' weights decided at row rows[k]) / d X[s, j]

Each decision is made by `fit` on the rows up to its own, with the weights that `fit` takes there, and differentiated by
the twin of inference in torch (`eigenfolio.models.networks.gat_derivative`). Rows after a decision are not handed to
it, so their derivatives are 0 by construction and not by measurement: what they show is how far back a decision looks,
and which day and asset moved it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import LedoitWolf
from eigenfolio.models.window import active_assets

if TYPE_CHECKING:
    from eigenfolio.learned.graph_attention import GraphAttentionPortfolio

__all__ = ["book_gradients"]

FloatArray = npt.NDArray[np.float64]


def book_gradients(
    model: GraphAttentionPortfolio,
    X: npt.ArrayLike,
    *,
    rows: Sequence[int] | None = None,
    coefficients: npt.ArrayLike | None = None,
) -> FloatArray:
    """The work of `GraphAttentionPortfolio.input_gradients`, which says what it takes and gives."""
    table = X if isinstance(X, pd.DataFrame) else np.asarray(X, dtype=float)
    if table.ndim != 2:
        raise DataError(f"X must be of shape (n_observations, n_assets), got {table.shape}")
    n_rows, n_assets = table.shape
    asked = [n_rows - 1] if rows is None else [int(row) for row in rows]
    if not asked or min(asked) < 1 or max(asked) >= n_rows:
        raise ParameterError(f"rows must name decision rows from 1 to {n_rows - 1}, got {list(asked)[:5]}")
    along = None if coefficients is None else np.asarray(coefficients, dtype=float)
    if along is not None and (along.shape != (n_assets,) or not np.isfinite(along).all()):
        raise ParameterError(f"coefficients must be {n_assets} finite numbers, got shape {along.shape}")
    gradients = np.zeros((len(asked), n_rows, n_assets))
    for k, row in enumerate(asked):
        past = table.iloc[: row + 1] if isinstance(table, pd.DataFrame) else table[: row + 1]
        gradients[k, : row + 1] = _one(model, past, along)
    return gradients


def _one(model: GraphAttentionPortfolio, past: Any, along: FloatArray | None) -> FloatArray:
    """Gradient of the decision at the last row, (n_observations, n_assets)."""
    from eigenfolio.models.networks.gat_derivative import book_gradient  # torch is loaded where it is needed

    fitted = clone(model).fit(past)
    values = past.to_numpy(dtype=float) if isinstance(past, pd.DataFrame) else past
    gradient = np.zeros(values.shape)
    bundle = fitted.choose_bundle(past.index[-1] if _dated(past) else None)
    if bundle is None:  # equal weights, whatever the returns
        return gradient
    active = active_assets(values)
    limits = fitted._constraints(bundle)
    held = fitted._holdings(limits, active, past)
    told = {} if fitted.covariance_estimator_ is None else _shrinkage(fitted.covariance_estimator_)
    strengths = fitted.graph_.edge_attributes if fitted.covariance_estimator_ is None else None
    found = book_gradient(
        bundle.tensors,
        bundle.options["sizes"],
        values[:, active],
        edge_index=fitted.graph_.edge_index,
        strengths=strengths,
        **told,
        constraints=limits if held is None else held.reachable(limits),
        previous=None if held is None else held.weights,
        coefficients=None if along is None else along[active],
    )
    gradient[:, active] = found.gradient
    return gradient


def _shrinkage(estimator: Any) -> dict[str, Any]:
    """Options of the only covariance that is differentiated here."""
    plain = isinstance(estimator, LedoitWolf) and (estimator.target, estimator.on) == ("identity", "covariance")
    if not plain:
        raise ParameterError(
            "the gradient is known for graphs of LedoitWolf() toward the identity on the covariance and for given "
            f"graphs, got {estimator!r}"
        )
    return {"lookback": estimator.lookback, "assume_centered": estimator.assume_centered}


def _dated(past: Any) -> bool:
    return isinstance(past, pd.DataFrame) and isinstance(past.index, pd.DatetimeIndex)
