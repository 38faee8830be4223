r"""Minimum-variance weights of a fully invested book, exact and without a general solver.

.. math:: \min_w \; w' \Sigma w \quad \text{subject to} \quad 1'w = 1 \; [, \; 0 \le w \le c]

Unconstrained, :math:`w = \Sigma^{-1} 1 / 1' \Sigma^{-1} 1` by one Cholesky factorisation. Long only, the
conditions of Karush, Kuhn and Tucker single out the answer: with g = Sigma w there is a level lambda with
g = lambda where 0 < w < c, g >= lambda where w = 0, g <= lambda where w = c. An active-set method finds
the three sets: first by exchanging every violator at once (a handful of solves), and where that does not
settle, by a primal method that changes one bound at a time and lowers the variance at each step, which
ends for a positive definite matrix. The conditions are verified before an answer is given.

A covariance that can be multiplied and solved without being formed, such as one of low rank plus a diagonal, need not
be: the method asks for no more than that.

References
----------
.. [1] J. J. Judice and F. M. Pires (1994). A block principal pivoting algorithm for large-scale strictly
   monotone linear complementarity problems. Computers and Operations Research 21(5), 587-596.
.. [2] J. Nocedal and S. Wright (2006). Numerical Optimization, section 16.5. Springer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky

from eigenfolio.constraints import LONG_ONLY, Constraints
from eigenfolio.errors import DataError, ParameterError

__all__ = ["CovarianceOperator", "minimum_variance_of", "minimum_variance_weights"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int8]
Places = npt.NDArray[np.intp]

_LOWER, _FREE, _UPPER = -1, 0, 1
_SMALLEST_PIVOT = 1e-14  # of a correlation: rounding noise of a singular one lies below
_TOLERANCE = 1e-8  # of the largest marginal variance held, when the conditions are verified
_PATIENCE = 5  # block exchanges without fewer violators before the primal method takes over


@runtime_checkable
class CovarianceOperator(Protocol):
    """A positive definite covariance that is known by what it does, not entry by entry."""

    def diagonal(self) -> FloatArray:
        """Variances, (n_assets,)."""

    def times(self, weights: FloatArray) -> FloatArray:
        """Covariance with a portfolio of every asset, (n_assets,)."""

    def solve(self, right: FloatArray, among: Places | None = None) -> FloatArray:
        """Solve the equations of some assets (all unless given); `right` has their order, with one column or more."""


def minimum_variance_weights(
    covariance: npt.ArrayLike | CovarianceOperator, constraints: Constraints = LONG_ONLY
) -> FloatArray:
    """Weights of the fully invested book with the smallest variance.

    Parameters
    ----------
    covariance : array-like of shape (n_assets, n_assets) or CovarianceOperator
        Symmetric, squared return per period. Assets with a NaN on the diagonal of a matrix are inactive; those of an
        operator are all active.
    constraints : Constraints
        Long only with a cap, or unconstrained.

    Returns
    -------
    ndarray of shape (n_assets,)
        Finite, sums to one; 0 for inactive assets.

    Raises
    ------
    DataError
        If the covariance is not square, has gaps between active assets, is not positive definite, or is
        so badly conditioned that the optimality conditions cannot be met.
    ParameterError
        If the cap is too tight for the number of active assets, or the constraints limit turnover or positions.

    Examples
    --------
    >>> minimum_variance_weights(np.diag([1.0, 4.0])).round(3)
    array([0.8, 0.2])
    >>> minimum_variance_weights(np.diag([1.0, 4.0]), Constraints(max_weight=0.6)).round(3)
    array([0.6, 0.4])
    """
    if constraints.max_turnover is not None or constraints.max_positions is not None:
        raise ParameterError(
            f"minimum variance does not limit turnover or positions, got {constraints.name}; use skfolio's "
            "MeanRisk(max_turnover=..., cardinality=...)"
        )
    if isinstance(covariance, CovarianceOperator):
        return _weights(covariance, constraints)
    matrix = np.asarray(covariance, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"covariance must be square, got shape {matrix.shape}")
    active = np.flatnonzero(~np.isnan(np.diag(matrix)))
    n_active = active.size
    if n_active == 0:
        raise DataError(f"covariance has no active asset: all {len(matrix)} variances are missing")
    constraints.effective_cap(n_active)  # a cap too tight is told before the matrix is looked at
    block = matrix if n_active == len(matrix) else matrix[np.ix_(active, active)]
    _check_block(block)
    weights = np.zeros(len(matrix))
    weights[active] = _weights(_Dense(block), constraints)
    return weights


def minimum_variance_of(model: Any, constraints: Constraints) -> FloatArray:
    """Weights under the covariance of a fitted model, by its own `minimum_variance_weights` where it has that.

    Such a model need not form its matrix.
    """
    own = getattr(model, "minimum_variance_weights", None)
    weights: FloatArray = minimum_variance_weights(model.covariance_, constraints) if own is None else own(constraints)
    return weights


def _weights(covariance: CovarianceOperator, constraints: Constraints) -> FloatArray:
    n_assets = len(covariance.diagonal())
    cap = constraints.effective_cap(n_assets)
    first = covariance.solve(np.ones(n_assets))
    first /= first.sum()
    return first if not constraints.long_only else _capped(covariance, first, cap)


@dataclass(frozen=True)
class _Dense:
    """A matrix as an operator."""

    block: FloatArray

    @cached_property
    def _variances(self) -> FloatArray:
        return np.diag(self.block)

    def diagonal(self) -> FloatArray:
        return self._variances

    def times(self, weights: FloatArray) -> FloatArray:
        held = np.flatnonzero(weights)
        product: FloatArray = self.block[:, held] @ weights[held]
        return product

    def solve(self, right: FloatArray, among: Places | None = None) -> FloatArray:
        inner = self.block if among is None else self.block[np.ix_(among, among)]
        return _solve(inner, right, checked=among is None)


def _check_block(block: FloatArray) -> None:
    if not np.isfinite(block).all():
        raise DataError(
            f"covariance has {int((~np.isfinite(block)).sum())} missing or infinite entries between active "
            "assets; an inactive asset needs a whole row and column of NaN"
        )
    variance = np.diag(block)
    if not (variance > 0).all():
        at = int(np.flatnonzero(~(variance > 0))[0])
        raise DataError(
            f"covariance needs positive variances, got {variance[at]:g} (active asset {at}); drop that asset"
        )
    if np.abs(block - block.T).max() > 1e-8 * variance.max():
        raise DataError("covariance must be symmetric; average it with its transpose if that is meant")


def _not_definite() -> DataError:
    return DataError(
        "covariance is not positive definite (more assets than observations, duplicates, or an edited matrix?); "
        "pass it through eigenfolio.linalg.repair_covariance first"
    )


def _solve(block: FloatArray, right: FloatArray, *, checked: bool) -> FloatArray:
    """Solve block @ x = right through the Cholesky factor of the correlation."""
    scale = 1.0 / np.sqrt(np.diag(block))
    try:
        factor = cholesky(block * scale[:, None] * scale, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        raise _not_definite() from None
    if checked and float(np.diag(factor).min()) ** 2 < _SMALLEST_PIVOT:
        raise _not_definite()
    solution: FloatArray = (cho_solve((factor, True), (right.T * scale).T, check_finite=False).T * scale).T
    return solution


def _capped(covariance: CovarianceOperator, unconstrained: FloatArray, cap: float) -> FloatArray:
    """Long-only weights in [0, cap] from the unconstrained ones."""
    n_assets = len(unconstrained)
    if n_assets * cap <= 1.0 + 1e-12:
        return np.full(n_assets, 1.0 / n_assets)
    weights, settled = _exchange_blocks(covariance, unconstrained, cap)
    if not settled:
        weights = _exchange_one_by_one(covariance, _feasible(weights, cap), cap)
    _verify(covariance, weights, cap)
    return weights


def _equality_solution(covariance: CovarianceOperator, status: IntArray, cap: float) -> tuple[FloatArray, float]:
    """Best weights when the assets at a bound stay there, and the marginal variance of the free ones."""
    weights = np.where(status == _UPPER, cap, 0.0)
    free = np.flatnonzero(status == _FREE)
    n_upper = int((status == _UPPER).sum())
    rest = 1.0 - cap * n_upper
    if n_upper == 0:
        solution = covariance.solve(np.ones(free.size), free)
        level = rest / float(solution.sum())
        weights[free] = level * solution
        return weights, level
    pull = covariance.times(weights)[free]
    ones, drawn = covariance.solve(np.column_stack([np.ones(free.size), pull]), free).T
    level = (rest + float(drawn.sum())) / float(ones.sum())
    weights[free] = level * ones - drawn
    return weights, level


def _marginal(covariance: CovarianceOperator, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Marginal variances Sigma w, and for each the difference that rounding alone can make."""
    volatility = np.sqrt(covariance.diagonal())
    rounding = 4.0 * len(weights) * np.finfo(float).eps * float(volatility @ np.abs(weights)) * volatility
    return covariance.times(weights), rounding


def _exchange_blocks(covariance: CovarianceOperator, start: FloatArray, cap: float) -> tuple[FloatArray, bool]:
    """Exchange every violator of a bound or of a multiplier's sign, until there is none [1]_."""
    status = np.zeros(len(start), dtype=np.int8)
    weights, level = start, float(start @ covariance.times(start))
    best, fewest, patience = start, len(start) + 1, _PATIENCE
    while True:
        marginal, rounding = _marginal(covariance, weights)
        to_lower = (status == _FREE) & (weights < 0.0)
        to_upper = (status == _FREE) & (weights > cap)
        to_free = (status == _LOWER) & (marginal < level - rounding)
        to_free |= (status == _UPPER) & (marginal > level + rounding)
        n_violators = int(to_lower.sum() + to_upper.sum() + to_free.sum())
        if n_violators == 0:
            return weights, True
        if n_violators < fewest:
            best, fewest, patience = weights, n_violators, _PATIENCE
        else:
            patience -= 1
        if patience == 0:
            return best, False
        status[to_lower], status[to_upper], status[to_free] = _LOWER, _UPPER, _FREE
        if (status == _UPPER).sum() * cap >= 1.0 or not (status == _FREE).any():
            return best, False
        weights, level = _equality_solution(covariance, status, cap)


def _feasible(weights: FloatArray, cap: float) -> FloatArray:
    """Nearest point of the capped simplex: clip(weights - shift) with the shift that makes the sum one."""
    breaks = np.sort(np.concatenate([weights, weights - cap]))  # the sum falls, linear between breaks
    sums = np.array([np.clip(weights - shift, 0.0, cap).sum() for shift in (breaks[0], breaks[-1])])
    low, high = 0, breaks.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        total = np.clip(weights - breaks[middle], 0.0, cap).sum()
        if total >= 1.0:
            low, sums[0] = middle, total
        else:
            high, sums[1] = middle, total
    share = (sums[0] - 1.0) / (sums[0] - sums[1])
    return np.clip(weights - breaks[low] - share * (breaks[high] - breaks[low]), 0.0, cap)


def _exchange_one_by_one(covariance: CovarianceOperator, weights: FloatArray, cap: float) -> FloatArray:
    """Primal active-set method from a feasible point [2]_."""
    n_assets = len(weights)
    status = np.where(weights <= 0.0, _LOWER, np.where(weights >= cap, _UPPER, _FREE)).astype(np.int8)
    for _ in range(20 * n_assets + 100):
        if not (status == _FREE).any():
            # A corner: open the pair that gains most by trading, so that the sum can be kept.
            marginal = covariance.times(weights)
            gain = np.where(status == _LOWER, marginal, np.inf).argmin()
            give = np.where(status == _UPPER, marginal, -np.inf).argmax()
            if marginal[give] <= marginal[gain]:
                return weights
            status[[gain, give]] = _FREE
        goal, level = _equality_solution(covariance, status, cap)
        direction = goal - weights
        free = status == _FREE
        step = np.full(n_assets, np.inf)
        falling, rising = free & (goal < 0.0), free & (goal > cap)
        step[falling] = weights[falling] / -direction[falling]
        step[rising] = (cap - weights[rising]) / direction[rising]
        length = float(step.min())
        if length < 1.0:
            blocking = int(step.argmin())
            weights = np.clip(weights + length * direction, 0.0, cap)
            status[blocking] = _LOWER if falling[blocking] else _UPPER
            weights[blocking] = 0.0 if falling[blocking] else cap
            continue
        weights = goal
        marginal, rounding = _marginal(covariance, weights)
        wrong = np.where(status == _LOWER, level - marginal, np.where(status == _UPPER, marginal - level, 0.0))
        wrong -= rounding
        worst = int(wrong.argmax())
        if wrong[worst] <= 0.0:
            return weights
        status[worst] = _FREE
    raise _badly_conditioned("the active set does not settle")


def _verify(covariance: CovarianceOperator, weights: FloatArray, cap: float) -> None:
    """Raise unless the optimality conditions hold to 1e-8 of the largest marginal variance held.

    Where assets cancel almost exactly, marginal variances are small differences of large terms: what
    rounding of those terms can make is allowed for.
    """
    marginal, rounding = _marginal(covariance, weights)
    edge = 1e-9 * cap
    can_fall, can_rise = weights > edge, weights < cap - edge
    # No trade from an asset that can fall to one that can rise may lower the variance.
    low = float((marginal + 4.0 * rounding)[can_rise].min())
    gap = float((marginal - 4.0 * rounding)[can_fall].max()) - low
    off = max(gap / float(np.abs(marginal[can_fall]).max()), abs(float(weights.sum()) - 1.0))
    if not off <= _TOLERANCE:
        raise _badly_conditioned(f"residual {off:.1e}, allowed {_TOLERANCE:.0e}")


def _badly_conditioned(reason: str) -> DataError:
    return DataError(
        f"covariance is too badly conditioned for an exact long-only answer ({reason}); "
        "pass it through eigenfolio.linalg.repair_covariance first"
    )
