"""Rows as they are given to an estimator: joined with those seen before, their mask, and their last date."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.artifacts import short_date
from eigenfolio.errors import DataError, ParameterError

__all__ = ["joined_rows", "mask_of", "newest_date"]


def joined_rows(seen: Any, X: Any) -> Any:
    """Rows seen and new ones under each other; they must be of the same assets and kind."""
    framed = isinstance(seen, pd.DataFrame)
    if framed != isinstance(X, pd.DataFrame):
        raise DataError(
            "rows added by partial_fit must be of the kind seen before: either all DataFrames or all arrays"
        )
    added: Any = X if framed else np.asarray(X)
    if added.ndim != 2 or added.shape[1] != seen.shape[1]:
        raise DataError(
            f"X has {added.shape[1] if added.ndim == 2 else 1} features, but NeuralShrinkage is expecting "
            f"{seen.shape[1]} features as input; partial_fit adds rows of the assets seen before, fit begins anew"
        )
    if not framed:
        return np.concatenate([seen, added])
    if list(seen.columns) != list(added.columns):
        raise DataError(
            "rows added by partial_fit must have the columns seen before, in their order: expected "
            f"{list(seen.columns)[:5]}, got {list(added.columns)[:5]} as the first; to change the assets, call fit"
        )
    if isinstance(seen.index, pd.DatetimeIndex) != isinstance(added.index, pd.DatetimeIndex):
        raise DataError("rows added by partial_fit must have dates where those seen before have them, and only there")
    if isinstance(seen.index, pd.DatetimeIndex) and len(added) and added.index[0] <= seen.index[-1]:
        raise DataError(
            f"rows added by partial_fit must be later than those seen ({short_date(seen.index[-1])}), got "
            f"{short_date(added.index[0])}; to begin anew, call fit"
        )
    return pd.concat([seen, added])


def mask_of(X: Any, active_mask: Any) -> NDArray[np.bool_]:
    """The mask of X as an array in its order, True without one."""
    shape = np.shape(X)
    if active_mask is None:
        return np.ones(shape, dtype=bool)
    if isinstance(active_mask, pd.DataFrame) and isinstance(X, pd.DataFrame):
        active_mask = active_mask.reindex(index=X.index, columns=X.columns)
    mask = np.asarray(active_mask)
    if mask.shape != shape or mask.dtype != np.bool_:
        raise ParameterError(
            f"active_mask must be boolean and cover X, of shape {shape}; got {mask.dtype} of shape {mask.shape} or "
            "labels that X does not have"
        )
    return mask


def newest_date(X: Any) -> pd.Timestamp | None:
    """Date of the last row, which must be the newest; None where X has no dates."""
    if not isinstance(X, pd.DataFrame) or not isinstance(X.index, pd.DatetimeIndex) or len(X) == 0:
        return None
    if not X.index.is_monotonic_increasing:
        raise DataError("the rows of X must be in the order of their dates, oldest first; sort X with X.sort_index()")
    if X.index.tz is not None:
        raise DataError(
            f"the dates of X carry a time zone ({X.index.tz}), those of weights none; use X.tz_localize(None)"
        )
    return X.index[-1]
