r"""Covariances that a portfolio may meet over the next rows, as an uncertainty set of skfolio.

The uncertainty set holds the covariances Sigma + a Sigma + b D with 0 <= a <= alpha and 0 <= b <= beta, D the diagonal
of variances. Its worst variance of a portfolio is

    (1 + alpha) w' Sigma w + beta w' D w

with alpha and beta as small as they can be and still reach the upper ends of the intervals (`risk_interval`) of three
books of the window: equal weight, inverse volatility and the long-only minimum variance. The first term is what all
portfolios share, the second makes up for hedges that the future does not honour.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import skfolio.typing as skt
from numpy.typing import NDArray
from scipy.optimize import linprog
from skfolio.prior import BasePrior, EmpiricalPrior
from skfolio.uncertainty_set import BaseCovarianceUncertaintySet, UncertaintySet
from sklearn.base import clone
from sklearn.utils import metadata_routing

from eigenfolio.errors import ParameterError
from eigenfolio.learned.neural_shrinkage import NeuralShrinkage
from eigenfolio.models.minimum_variance import minimum_variance_weights

__all__ = ["NeuralCovarianceUncertaintySet"]

FloatArray = NDArray[np.float64]


class NeuralCovarianceUncertaintySet(BaseCovarianceUncertaintySet):
    r"""Covariances that a portfolio may meet, as the risk head of trained weights sees them.

    Parameters
    ----------
    prior_estimator : BasePrior, optional
        Its `covariance_estimator` must be a `NeuralShrinkage`; ``EmpiricalPrior(NeuralShrinkage())`` unless given. Give
        the optimiser the same prior, so that the set is about the covariance that it uses.
    confidence : float in (0, 0.99], default=0.9
        Of the intervals (`NeuralShrinkage.risk_interval`) whose upper ends the set reaches.
    horizon : float in [5, 63], default=21
        Rows.

    Attributes
    ----------
    uncertainty_set_ : UncertaintySet
        A box in the two directions Sigma and D.
    prior_estimator_ : BasePrior
        Fitted.
    scale_ : float
        alpha, the growth of the whole covariance.
    diagonal_ : float
        beta, the growth of the diagonal.
    worst_covariance_ : ndarray of shape (n_assets, n_assets)
        (1 + alpha) Sigma + beta D, which is the worst of the set for every portfolio. Where skfolio's semidefinite form
        is slow (more than about fifty assets), optimise with this matrix instead: the answer is the same.

    Raises
    ------
    AttributeError
        In `fit`, if the weights have no risk head.
    ParameterError
        In `fit`, if the prior has no `NeuralShrinkage`, or an option leaves its range.

    Examples
    --------
    >>> from skfolio.optimization import MeanRisk
    >>> model = MeanRisk(covariance_uncertainty_set_estimator=NeuralCovarianceUncertaintySet(confidence=0.8))
    """

    def __init__(
        self, prior_estimator: BasePrior | None = None, *, confidence: float = 0.9, horizon: float = 21
    ) -> None:
        super().__init__(prior_estimator=prior_estimator)
        self.confidence = confidence
        self.horizon = horizon

    def fit(self, X: skt.ArrayLike, y: skt.ArrayLike | None = None, **fit_params: Any) -> Self:
        """Fit the prior and find the smallest set that reaches the intervals.

        Parameters
        ----------
        X : array-like of shape (n_observations, n_assets)
            Simple returns.
        y : array-like, optional
            Handed to the prior.
        **fit_params
            Routed to the prior, where metadata routing is on.

        Returns
        -------
        self : NeuralCovarianceUncertaintySet
        """
        routed = metadata_routing.process_routing(self, "fit", **fit_params)
        prior = self.prior_estimator
        prior = EmpiricalPrior(covariance_estimator=NeuralShrinkage()) if prior is None else clone(prior)
        prior.fit(X, y, **routed.prior_estimator.fit)
        model = getattr(prior, "covariance_estimator_", None)
        if not isinstance(model, NeuralShrinkage):
            raise ParameterError(
                "prior_estimator must hold a NeuralShrinkage as covariance_estimator, got "
                f"{type(prior).__name__} with {type(model).__name__}"
            )
        self.prior_estimator_ = prior
        covariance = np.asarray(prior.return_distribution_.covariance, dtype=float)
        self.scale_, self.diagonal_ = _smallest_set(model, covariance, self.confidence, self.horizon)
        diagonal = np.diag(np.diag(covariance))
        self.worst_covariance_ = (1.0 + self.scale_) * covariance + self.diagonal_ * diagonal
        geometry = np.column_stack([self.scale_ * covariance.ravel(), self.diagonal_ * diagonal.ravel()])
        self.uncertainty_set_ = UncertaintySet(radius=1.0, geometry=geometry, norm=np.inf)
        return self


def _smallest_set(
    model: NeuralShrinkage, covariance: FloatArray, confidence: float, horizon: float
) -> tuple[float, float]:
    """alpha and beta, not negative, with the least sum of what they add to three books beyond their upper ends."""
    n_assets = len(covariance)
    inverse = 1.0 / np.sqrt(np.diag(covariance))
    books = [np.full(n_assets, 1.0 / n_assets), inverse / inverse.sum(), minimum_variance_weights(covariance)]
    needed, uncorrelated = [], []
    for book in books:
        predicted = float(book @ covariance @ book)
        _, high = model.risk_interval(book, confidence=confidence, horizon=horizon)
        needed.append(high**2 / predicted - 1.0)
        uncorrelated.append(float(book**2 @ np.diag(covariance)) / predicted)
    shape = np.column_stack([np.ones(len(books)), uncorrelated])
    found = linprog(shape.sum(axis=0), A_ub=-shape, b_ub=-np.array(needed), bounds=[(0.0, None), (0.0, None)])
    alpha, beta = found.x
    return float(alpha), float(beta)
