"""Covariance shrinkage by a trained network.

Training writes bundles, each with the last date it has seen; `fit` never trains. It takes the newest bundle that
ends no later than the last row of X, so no weight knows a row that a decision may earn.
"""

from __future__ import annotations

from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eigenfolio.artifacts import Bundle, BundleSeries, load_series
from eigenfolio.errors import DataError, LookaheadError, ParameterError
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned.dense import DenseForward, ShrinkageParameters, mean_parameters
from eigenfolio.learned.window import N_TARGETS, TARGETS, blend, describe_window
from eigenfolio.models import CovarianceModel
from eigenfolio.models.window import Window

__all__ = ["NeuralShrinkage"]

FloatArray = NDArray[np.float64]


class NeuralShrinkage(CovarianceModel):
    """Shrinkage whose intensity, targets and volatilities a network chooses for each window.

    Parameters
    ----------
    weights : None, path-like, Bundle or BundleSeries, default=None
        What the network has learned: a bundle, a folder holding a bundle or a series of them, or the loaded
        object. None is the untrained network, which is exactly its closed form: Ledoit-Wolf shrinkage toward the
        identity on the correlation.
    network : {"dense"}, default="dense"
        Which network.
    lookback : int or None, default=252
        Last rows of X to use; None uses all.
    assume_centered : bool, default=False
        Take the mean returns as zero instead of estimating them.
    undated : {"raise", "newest"}, default="raise"
        What to do with dated weights when X carries no dates: refuse, or take the newest bundle, which is an honest
        choice only for a decision after all the training data.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period; NaN rows and columns for inactive assets.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    shrinkage_ : float
        Intensity in [0, 1].
    target_weights_ : dict of str to float
        Weights of the identity, constant-correlation and single-factor targets, sum 1.
    volatility_blend_ : float
        0 keeps sample volatilities, 1 takes EWMA(63).
    trained_through_ : Timestamp or None
        Last date the weights in use have seen.
    diagnostics_ : dict of str to float
        The numbers above by name; the closed-form intensity; `member_spread`, the standard deviation of the intensity
        over the members of the ensemble; `out_of_range`, the share of features beyond what training has seen.

    Raises
    ------
    LookaheadError
        In `fit`, if every bundle has seen rows after the last row of X, or X has no dates to tell.
    ArtifactError
        In `fit`, if the weights cannot be used.

    Examples
    --------
    >>> from skfolio.datasets import load_sp500_dataset
    >>> X = load_sp500_dataset().pct_change().iloc[1:]
    >>> model = NeuralShrinkage().fit(X)
    >>> model.covariance_.shape, round(model.shrinkage_, 3)
    ((20, 20), 0.039)
    """

    def __init__(
        self,
        weights: str | PathLike[str] | Bundle | BundleSeries | None = None,
        *,
        network: Literal["dense"] = "dense",
        lookback: int | None = 252,
        assume_centered: bool = False,
        undated: Literal["raise", "newest"] = "raise",
    ) -> None:
        super().__init__(lookback=lookback, assume_centered=assume_centered)
        self.weights = weights
        self.network = network
        self.undated = undated

    def fit(self, X: ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Choose the weights by the date of the last row, and shrink the covariance of the last `lookback` rows.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns, oldest first, NaN where missing. With dated weights, a DataFrame with a DatetimeIndex.
        y : Ignored
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            Which assets were listed when; its last row says which are active. Without it an asset is inactive if
            its last 21 rows are all missing.

        Returns
        -------
        self : NeuralShrinkage
        """
        self._check_parameters()
        self._bundle = self._choose_bundle(_last_date(X))
        return super().fit(X, y, active_mask=active_mask)

    @property
    def correlation_(self) -> FloatArray:
        """Shrunk correlation, shape (n_assets, n_assets)."""
        return self.covariance_ / np.outer(self.volatility_, self.volatility_)

    @property
    def volatility_(self) -> FloatArray:
        """Volatility per period, shape (n_assets,)."""
        return np.sqrt(np.diag(self.covariance_))

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        described = describe_window(window)
        spread, outside = 0.0, 0.0
        if self._bundle is None:
            parameters = ShrinkageParameters(described.intensity, np.eye(N_TARGETS)[0], 0.0)
        else:
            forward = DenseForward(self._bundle, SPECTRUM_FEATURES)
            members = forward.members(described.features, described.classical_logit)
            parameters = mean_parameters(members)
            spread = float(np.std([member.intensity for member in members]))
            outside = forward.out_of_range(described.features)
        self.trained_through_ = None if self._bundle is None else self._bundle.trained_through
        self.shrinkage_ = float(parameters.intensity)
        self.target_weights_ = dict(zip(TARGETS, map(float, parameters.target_weights), strict=True))
        self.volatility_blend_ = float(parameters.volatility_blend)
        self.diagnostics_ = {
            "shrinkage": self.shrinkage_,
            "closed_form_shrinkage": described.intensity,
            "volatility_blend": self.volatility_blend_,
            "member_spread": spread,
            "out_of_range": outside,
            **{f"weight_{name}": value for name, value in self.target_weights_.items()},
        }
        correlation, volatility = blend(described, parameters)
        return np.outer(volatility, volatility) * correlation

    def _check_parameters(self) -> None:
        if self.network != "dense":
            raise ParameterError(f"network must be 'dense', got {self.network!r}")
        if self.undated not in ("raise", "newest"):
            raise ParameterError(f"undated must be 'raise' or 'newest', got {self.undated!r}")

    def _choose_bundle(self, last_date: pd.Timestamp | None) -> Bundle | None:
        """The newest bundle that has seen nothing after `last_date`."""
        if self.weights is None:
            return None
        if isinstance(self.weights, Bundle):
            series = BundleSeries((self.weights,))
        elif isinstance(self.weights, BundleSeries):
            series = self.weights
        elif isinstance(self.weights, (str, PathLike)):
            series = _stored_series(Path(self.weights))
        else:
            raise ParameterError(
                "weights must be None, a path, a Bundle or a BundleSeries, got " + type(self.weights).__name__
            )
        if last_date is not None:
            return series.as_of(last_date)
        if self.undated == "newest":
            return series.bundles[-1]
        raise LookaheadError(
            "these weights carry the date they have seen, and X has no dates to compare it with; give X as a "
            "DataFrame with a DatetimeIndex, or say undated='newest' if it ends after "
            f"{series.bundles[-1].trained_through:%Y-%m-%d}"
        )


def _last_date(X: Any) -> pd.Timestamp | None:
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


def _stored_series(folder: Path) -> BundleSeries:
    """A series on disk, read again only when a manifest has changed."""
    manifests = [folder / "manifest.json", *sorted(folder.glob("*/manifest.json"))]
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in manifests if path.is_file())
    return _read_series(folder, stamp)


@lru_cache(maxsize=8)
def _read_series(folder: Path, stamp: tuple[tuple[str, int], ...]) -> BundleSeries:
    return load_series(folder)
