"""Covariance shrinkage by a trained network.

Training writes bundles, each with the last date it has seen; `fit` never trains. It takes the newest bundle that
ends no later than the last row of X, so no weight knows a row that a decision may earn.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve

from eigenfolio.artifacts import Bundle, BundleSeries, short_date
from eigenfolio.constraints import LONG_ONLY, Constraints
from eigenfolio.errors import LookaheadError, LookaheadWarning, ParameterError, RangeWarning
from eigenfolio.learned.estimates import attention_estimate, dense_estimate
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.given_rows import joined_rows, mask_of, newest_date
from eigenfolio.learned.guard import Guard, guarded
from eigenfolio.learned.heads import HEAD_ATTRIBUTES, SelfReport, missing_attribute, self_report
from eigenfolio.learned.plain_rows import averaged, plain_covariance
from eigenfolio.learned.risk_interval import checked_weights, risk_interval
from eigenfolio.learned.shipped import is_shipped_name, is_undated, shipped_bundle, shipped_series
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import (
    SpectralAnswer,
    SpectralForward,
    classical_answer,
    combine,
    intensities,
    shrunk_spectrum,
)
from eigenfolio.learned.stored_series import stored_series
from eigenfolio.models import CovarianceModel, minimum_variance_weights
from eigenfolio.models.window import RECENT_ROWS, Window

__all__ = ["NeuralShrinkage"]

FloatArray = NDArray[np.float64]


_ESTIMATES = {"attention": attention_estimate, "dense": dense_estimate}
_SET_BY_NETWORK = (
    "shrinkage_",
    "block_shrinkage_",
    "target_weights_",
    "target_confidence_",
    "volatility_blend_",
    "prediction_variance_",
    "shrinkage_interval_",
    "expected_error_",
    "regime_",
    "regime_probabilities_",
    "out_of_range_",
    "guard_",
)


class NeuralShrinkage(CovarianceModel):
    """Covariance shrinkage that a trained network chooses for each window.

    Parameters
    ----------
    weights : str, path-like, Bundle, BundleSeries or None, default="as_of"
        What the network has learned. Weights that ship with the package: "as_of" takes the newest vintage that has
        seen nothing after the last row of X (without dates in X, the newest), "latest" the newest, "synthetic" the one
        trained on simulated markets alone, and "2012" the vintage of a year. Otherwise a bundle, a folder holding a
        bundle or a series of them, or the loaded object. None is the untrained network, which is exactly its closed
        form.
    network : {"spectral", "attention", "dense"}, optional
        Which network, for shipped weights and for None; "spectral" unless given. Bundles know their own.
    lookback : int or None, default=1008
        Last rows of X to use; None uses all.
    assume_centered : bool, default=False
        Take the mean returns as zero instead of estimating them.
    undated : {"raise", "newest"}, default="raise"
        What to do with your own dated weights when X carries no dates: refuse, or take the newest bundle, which is an
        honest choice only for a decision after all the training data.

    Attributes
    ----------
    covariance_ : ndarray of shape (n_assets, n_assets)
        Squared return per period; NaN rows and columns for inactive assets. Of the spectral network, made when first
        asked for.
    factor_, scale_ : ndarray of shape (n_assets, rank) and (n_assets,)
        Of the spectral network: ``covariance_ = factor_ @ factor_.T + diag(scale_**2)``; NaN for inactive assets.
    location_ : ndarray of shape (n_assets,)
        Mean return per period.
    precision_, correlation_ : ndarray of shape (n_assets, n_assets)
        Inverse of the covariance, and its correlation; computed when asked for.
    volatility_ : ndarray of shape (n_assets,)
        Per period.
    condition_number_ : float
        Largest over smallest eigenvalue of the correlation of the active assets.
    shrinkage_ : float
        Intensity in [0, 1]. Of the spectral network, that of the shrinkage toward the identity that lies closest, in
        the Frobenius norm, to what it did to the steady spectrum, its level apart.
    block_shrinkage_ : ndarray of shape (n_eigenvalues, 2)
        Of the spectral network: eigenvalues of the steady correlation, largest first, and what became of them. With
        more assets than rows the last one stands for the null space. Of the attention network: eigenvalues of the
        sample correlation before and after block shrinkage, which comes before that toward the targets.
    target_weights_ : dict of str to float
        Of the attention and the dense network: weights of the identity, constant-correlation and single-factor
        targets, sum 1.
    volatility_blend_ : float
        Of the attention and the dense network: 0 keeps sample volatilities, 1 takes EWMA(63).
    guard_ : Guard
        Of the spectral network: by how much, in [0, 1], its answer was moved to the classical start, for the sake of
        near-exact relations (`relation`, and the columns of X that are in them, `assets`) and because inputs lie beyond
        what training has seen (`range`). With relations, a share of the covariance (`plain_share`) is QIS of the plain
        rows, of which `block_shrinkage_` does not speak.
    trained_through_ : Timestamp or None
        Last date the weights in use have seen; None where they have seen no market.
    in_sample_ : bool or None
        Whether the weights in use have seen rows after the first that a decision may earn; None without dates.
    regime_, regime_probabilities_ : str and dict of str to float
        Of weights with heads, like the six below: the market's regime at the end of the next horizon ("calm",
        "trending", "stressed" or "crisis"), the likeliest and all, foreseen from X alone.
    expected_error_ : float
        Expected log of realised over predicted variance of the unconstrained minimum-variance portfolio of
        `covariance_` over the next horizon; 0 is a forecast that will prove right.
    shrinkage_interval_ : tuple of float
        Of the spectral network: calibrated 90 % interval of the intensity that the true correlation would call for in
        the Frobenius norm. The truth is known in simulated markets alone: it says what a simulated window that looks
        alike would have needed. `shrinkage_` may lie outside, since the network is trained for portfolios, which ask
        for more shrinkage than that norm, in which the largest eigenvalue outweighs the others.
    prediction_variance_ : float
        Of the logit of that intensity: what the heads expect their error to be, plus the variance over the members
        (`diagnostics_["aleatoric_variance"]` and `diagnostics_["member_variance"]`).
    target_confidence_ : dict of str to float
        1 - width of the calibrated 90 % interval of each target's weight, in [0, 1]. The targets of the spectral
        network are the steady and the recent sample correlation and the identity; the truth is as above.
    out_of_range_ : dict of str to float
        Of the spectral network: inputs beyond what training has seen, each with the number of its scales, signed.
    diagnostics_ : dict of str to float
        Numbers of the fit by name; `member_spread` is the standard deviation of the intensity over the members of the
        ensemble, `out_of_range` the share of inputs beyond what training has seen.

    Raises
    ------
    LookaheadError
        In `fit`, if every bundle of a series has seen rows after the last row of X, or X has no dates to tell.
    ArtifactError
        In `fit`, if the weights cannot be used.

    Warns
    -----
    RangeWarning
        In `fit`, if a material share of the inputs lies beyond what weights with heads have seen.
    LookaheadWarning
        In `fit`, if weights that were named ("latest", a year) have seen rows after the last of X.

    Examples
    --------
    >>> from skfolio.datasets import load_sp500_dataset
    >>> X = load_sp500_dataset().pct_change().iloc[1:]
    >>> model = NeuralShrinkage().fit(X)
    >>> model.covariance_.shape, model.trained_through_.year
    ((20, 20), 2020)
    """

    __metadata_request__partial_fit: ClassVar[dict[str, bool]] = {"active_mask": True}

    def __init__(
        self,
        weights: str | PathLike[str] | Bundle | BundleSeries | None = "as_of",
        *,
        network: Literal["spectral", "attention", "dense"] | None = None,
        lookback: int | None = 1008,
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
        self._kept = None
        self._fit(X, active_mask)
        self._keep(X, active_mask)
        return self

    def partial_fit(self, X: ArrayLike, y: None = None, *, active_mask: Any = None) -> Self:
        """Add rows, and estimate from the last `lookback` of all rows given since the last `fit`.

        The answer is that of `fit` on all those rows at once. No more than `lookback` of them are kept (at least 21,
        by which inactive assets are known).

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns after those seen so far, of the same assets and of the same kind (with dates or without).
        y : Ignored
        active_mask : array-like of bool, shape (n_observations, n_assets), optional
            As in `fit`. Once a mask has been given, rows given without one count as listed.

        Returns
        -------
        self : NeuralShrinkage

        Raises
        ------
        DataError
            If the rows are not of the same assets and kind, or not later than those seen.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((80, 4)) * 0.01
        >>> model = NeuralShrinkage(None).partial_fit(X[:60]).partial_fit(X[60:])
        >>> bool((model.covariance_ == NeuralShrinkage(None).fit(X).covariance_).all())
        True
        """
        if self._kept is None:
            return self.fit(X, active_mask=active_mask)
        rows, mask = self._kept
        joined = joined_rows(rows, X)
        if mask is not None or active_mask is not None:
            mask = np.concatenate([mask_of(rows, mask), mask_of(X, active_mask)])
        self._fit(joined, mask)
        self._keep(joined, mask)
        return self

    def _fit(self, X: Any, active_mask: Any) -> None:
        self._check_parameters()
        date = newest_date(X)
        bundle = self.choose_bundle(date)
        name = bundle.network if bundle is not None else self.network or "spectral"
        if self.network not in (None, name):
            raise ParameterError(f"network={self.network!r}, but the weights are of network {name!r}; leave one out")
        self._forget()
        seen = None if bundle is None or is_undated(bundle) else bundle.trained_through
        self.trained_through_ = seen
        self.in_sample_ = None if date is None else seen is not None and bool(seen > date)
        self._bundle = bundle
        if name in _ESTIMATES:
            self._linear = name
            super().fit(X, active_mask=active_mask)
            self._active = ~np.isnan(np.diag(self.covariance_))
            return
        window, _, active = self._prepare(X, active_mask)
        described = spectral_window(window, center=not self.assume_centered)
        answer, spread, outside = classical_answer(described), 0.0, 0.0
        members: list[SpectralAnswer] = []
        self.guard_ = Guard(0.0, 0.0, ())
        if bundle is not None:
            forward = _spectral_forward(bundle)
            members = forward.members(described)
            answer = forward.answer(described, members)
            own = intensities(described, members)
            spread = float(own.std())
            outside = forward.out_of_range(described)
            answer, guard = guarded(described, answer, out_of_range=outside)
            places = np.flatnonzero(active)
            self.guard_ = replace(guard, assets=tuple(int(places[i]) for i in guard.assets))
        self._structure, self._active = combine(described, answer), active
        if share := self.guard_.plain_share:
            plain = plain_covariance(window, center=not self.assume_centered)
            self._structure = averaged(self._structure, plain, share)
        self.shrinkage_, self.block_shrinkage_ = shrunk_spectrum(described, answer)
        self.diagnostics_ |= {
            "shrinkage": self.shrinkage_,
            "recent_share": float(answer.shares[1]),
            "log_scale": answer.log_scale,
            "volatility_change": float(answer.volatility_change.mean()),
            "member_spread": spread,
            "out_of_range": outside,
            "guard_relation": self.guard_.relation,
            "guard_range": self.guard_.range,
        }
        if bundle is not None:
            report = self_report(bundle, described, answer, members, intensity=self.shrinkage_, member_intensities=own)
            self._tell(report)

    def _tell(self, report: SelfReport) -> None:
        """Set what the weights say of their own answer."""
        self._report = report
        for name, value in report.attributes.items():
            setattr(self, name, value)
        self.diagnostics_ |= report.diagnostics
        if report.warning is not None:
            warnings.warn(report.warning, RangeWarning, stacklevel=4)

    def risk_interval(self, weights: ArrayLike, *, confidence: float = 0.9, horizon: float = 21) -> tuple[float, float]:
        """Interval for the volatility of a portfolio over the next rows, from weights with a risk head.

        Parameters
        ----------
        weights : array-like of shape (n_assets,)
            Held without change; 0 for inactive assets. A Series must carry the names of X in their order.
        confidence : float in (0, 0.99], default=0.9
            Share of windows whose realised volatility (root mean square return) lies inside.
        horizon : float in [5, 63], default=21
            Rows after the last one given.

        Returns
        -------
        low, high : float
            Volatility per period.

        Raises
        ------
        AttributeError
            Before `fit`, or if the weights in use have no risk head.
        ParameterError
            If a weight is not finite, none differs from 0, an inactive asset is held, or an option leaves its range.
        """
        return risk_interval(self, weights, confidence=confidence, horizon=horizon)

    def minimum_variance_weights(self, constraints: Constraints = LONG_ONLY) -> FloatArray:
        """Weights of the fully invested book with the smallest variance under `covariance_`.

        Where the spectral network's covariance has a lower rank than there are assets, it is never formed: twenty
        thousand assets take seconds.

        Parameters
        ----------
        constraints : Constraints
            Long only with a cap, or unconstrained.

        Returns
        -------
        ndarray of shape (n_assets,)
            Finite, sums to one; 0 for inactive assets.

        Raises
        ------
        AttributeError
            Before `fit`.
        ParameterError, DataError
            As in `eigenfolio.models.minimum_variance_weights`.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((60, 100)) * 0.01
        >>> model = NeuralShrinkage("synthetic").fit(X)
        >>> model.minimum_variance_weights(Constraints(max_weight=0.05)).max().round(6) <= 0.05
        np.True_
        """
        structure = self._structure
        if structure is None or structure.factor.shape[1] >= len(structure.factor):
            return minimum_variance_weights(self.covariance_, constraints)
        return self._spread(minimum_variance_weights(structure, constraints), fill=0.0)

    def portfolio_volatility(self, weights: ArrayLike) -> float:
        """Predicted volatility of a portfolio per period, from low rank plus diagonal where that is what was fitted.

        Parameters
        ----------
        weights : array-like of shape (n_assets,)
            Held without change; 0 for inactive assets. A Series must carry the names of X in their order.

        Returns
        -------
        float

        Raises
        ------
        AttributeError
            Before `fit`.
        ParameterError
            If a weight is not finite, none differs from 0, or an inactive asset is held.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((60, 4)) * 0.01
        >>> round(NeuralShrinkage(None).fit(X).portfolio_volatility(np.full(4, 0.25)), 3)
        0.005
        """
        if self._structure is not None:
            return float(np.sqrt(self._structure.variance(checked_weights(self, weights))))
        covariance = self.covariance_
        held = checked_weights(self, weights)
        return float(np.sqrt(held @ covariance[np.ix_(self._active, self._active)] @ held))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            fitted = "_bundle" in vars(self)
            if name in HEAD_ATTRIBUTES:
                raise AttributeError(missing_attribute(name, fitted, vars(self).get("_bundle")))
            if name in _SET_BY_NETWORK:
                raise AttributeError(
                    f"{name} is not an attribute of the network of these weights"
                    if fitted
                    else f"{name} is there after fit"
                )
            return object.__getattribute__(self, name)  # raises, with the sentence of a property where it is one

    def _keep(self, X: Any, active_mask: Any) -> None:
        """Remember what `partial_fit` goes on from."""
        n_kept = None if self.lookback is None else max(self.lookback, RECENT_ROWS)
        last = slice(None if n_kept is None else -n_kept, None)
        rows = X.iloc[last] if isinstance(X, pd.DataFrame) else np.asarray(X)[last]
        self._kept = (rows, None if active_mask is None else mask_of(X, active_mask)[last])

    @property
    def covariance_(self) -> FloatArray:
        """Shrunk covariance, shape (n_assets, n_assets)."""
        if self._covariance is None:
            if self._structure is None:
                raise AttributeError("covariance_ is there after fit")
            self._covariance = self._spread(self._structure.dense(), square=True)
        return self._covariance

    @covariance_.setter
    def covariance_(self, value: FloatArray) -> None:
        self._covariance = value

    @property
    def factor_(self) -> FloatArray:
        """Loadings, shape (n_assets, rank)."""
        structure = self._need_structure("factor_")
        return self._spread(structure.factor * structure.scale[:, None])

    @property
    def scale_(self) -> FloatArray:
        """Own volatility per period, shape (n_assets,)."""
        structure = self._need_structure("scale_")
        return self._spread(structure.scale * np.sqrt(structure.base))

    @property
    def precision_(self) -> FloatArray:
        """Inverse of the covariance of the active assets, shape (n_assets, n_assets)."""
        covariance = self.covariance_
        active = np.flatnonzero(~np.isnan(np.diag(covariance)))
        inverse = np.full_like(covariance, np.nan)
        factored = cho_factor(covariance[np.ix_(active, active)], lower=True)
        solved = cho_solve(factored, np.eye(len(active)))
        inverse[np.ix_(active, active)] = 0.5 * (solved + solved.T)
        return inverse

    @property
    def correlation_(self) -> FloatArray:
        """Shrunk correlation, shape (n_assets, n_assets)."""
        correlation: FloatArray = self.covariance_ / np.outer(self.volatility_, self.volatility_)
        return correlation

    @property
    def volatility_(self) -> FloatArray:
        """Volatility per period, shape (n_assets,)."""
        if self._structure is not None:
            return self._spread(np.sqrt(self._structure.diagonal()))
        volatility: FloatArray = np.sqrt(np.diag(self.covariance_))
        return volatility

    @property
    def condition_number_(self) -> float:
        """Largest over smallest eigenvalue of the correlation."""
        correlation = self.correlation_
        active = ~np.isnan(np.diag(correlation))
        values = np.linalg.eigvalsh(correlation[np.ix_(active, active)])
        return float(values[-1] / values[0])

    _kept: tuple[Any, NDArray[np.bool_] | None] | None = None  # rows and mask that `partial_fit` goes on from
    _linear: str = ""  # the network whose answer `_estimate` takes
    _structure: FactorCovariance | None = None
    _report: SelfReport | None = None
    _covariance: FloatArray | None = None
    _active: NDArray[np.bool_]

    def _forget(self) -> None:
        """Drop what another fit has left, since networks differ in what they set."""
        self._structure, self._covariance, self._report = None, None, None
        for name in _SET_BY_NETWORK:
            if name in vars(self):
                delattr(self, name)

    def _need_structure(self, name: str) -> FactorCovariance:
        if self._structure is None:
            raise AttributeError(f"{name} is there after fitting the spectral network")
        return self._structure

    def _spread(self, values: FloatArray, *, square: bool = False, fill: float = np.nan) -> FloatArray:
        """Give the inactive assets NaN, or what is to stand there."""
        if self._active.all():
            return values
        n_assets = self._active.size
        spread = np.full((n_assets, n_assets) if square else (n_assets, *values.shape[1:]), fill)
        spread[np.ix_(self._active, self._active) if square else self._active] = values
        return spread

    def _estimate(self, window: Window, history: FloatArray) -> FloatArray:
        shrunk = _ESTIMATES[self._linear](window, self._bundle)
        for name, value in shrunk.attributes.items():
            setattr(self, name, value)
        self.diagnostics_ = dict(shrunk.diagnostics)
        return shrunk.covariance

    def _check_parameters(self) -> None:
        if self.network not in (None, "spectral", *_ESTIMATES):
            raise ParameterError(f"network must be 'spectral', 'attention' or 'dense', got {self.network!r}")
        if self.undated not in ("raise", "newest"):
            raise ParameterError(f"undated must be 'raise' or 'newest', got {self.undated!r}")

    def choose_bundle(self, last_date: pd.Timestamp | None) -> Bundle | None:
        """Find the weights that `fit` would use for rows that end on a date.

        Parameters
        ----------
        last_date : Timestamp or None
            Date of the last row; None where the rows carry no dates.

        Returns
        -------
        Bundle or None
            The newest that has seen nothing after `last_date`; None for an untrained network.
        """
        if self.weights is None:
            return None
        if isinstance(self.weights, str) and is_shipped_name(self.weights):
            return self._shipped(self.weights, last_date)
        if isinstance(self.weights, Bundle):
            series = BundleSeries((self.weights,))
        elif isinstance(self.weights, BundleSeries):
            series = self.weights
        elif isinstance(self.weights, (str, PathLike)):
            series = stored_series(self.weights)
        else:
            raise ParameterError(
                "weights must be None, a name, a path, a Bundle or a BundleSeries, got " + type(self.weights).__name__
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

    def _shipped(self, name: str, last_date: pd.Timestamp | None) -> Bundle:
        network = self.network or "spectral"
        if name == "as_of" and last_date is not None:
            return shipped_series(network).as_of(last_date)
        bundle = shipped_bundle(network, "latest" if name == "as_of" else name)
        if last_date is not None and bundle.trained_through > last_date:
            warnings.warn(
                f"weights={name!r} have seen rows through {short_date(bundle.trained_through)}, after the last row "
                f"given ({short_date(last_date)}); for evidence take weights='as_of'",
                LookaheadWarning,
                stacklevel=4,
            )
        return bundle


def _spectral_forward(bundle: Bundle) -> SpectralForward:
    """The prepared pass of a bundle, which is kept as long as the bundle is."""
    found = vars(bundle).get("_forward")
    if found is None:
        found = SpectralForward(bundle)
        object.__setattr__(bundle, "_forward", found)
    prepared: SpectralForward = found
    return prepared
