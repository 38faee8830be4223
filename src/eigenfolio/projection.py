r"""The book that lies closest to given scores under the constraints, exact.

.. math:: w = \operatorname{argmin}_w \; \tfrac12 \| w - s \|^2 \quad \text{subject to} \quad 1'w = 1, \; 0 \le w \le c

Without more limits :math:`w_i = \min(\max(s_i - \theta, 0), c)` with the one level :math:`\theta` at which the weights
sum to one [1]_. The sum is linear in the level between the points at which an asset meets a bound, so the level
follows from sorting these.

**Positions.** At most K assets: the K highest scores are kept, the others get nothing, and the rest is as above. That
is the closest such book, since exchanging a kept asset for one with a higher score never takes it further away [2]_.

**Turnover.** With previous weights p and at most L as half the sum of absolute trades: where the closest book trades
more, the limit binds. Purchases b and sales d then have known totals,

.. math:: \textstyle\sum b = L + (1 - 1'p) / 2, \qquad \sum d = L - (1 - 1'p) / 2,

and each side is a problem of the first kind: b closest to s - p between 0 and c - p, d closest to p - s between what
the cap makes necessary and p.

`eigenfolio.models.networks.allocation` is its differentiable twin.

References
----------
.. [1] W. Wang and C. Lu (2015). Projection onto the capped simplex. arXiv:1503.01002.
.. [2] A. Kyrillidis, S. Becker, V. Cevher and C. Koch (2013). Sparse projections onto the simplex. ICML.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError

__all__ = ["bounded_projection", "closest_book"]

FloatArray = npt.NDArray[np.float64]

_SLACK = 1e-9


def closest_book(
    scores: npt.ArrayLike, constraints: Constraints, *, previous: npt.ArrayLike | None = None
) -> FloatArray:
    """Weights that meet the constraints and lie closest to the scores.

    Parameters
    ----------
    scores : array-like of shape (n_assets,)
        Wished weights; any finite numbers, since only their differences matter.
    constraints : Constraints
        Of a long-only book.
    previous : array-like of shape (n_assets,), optional
        What is held before, fractions of NAV, 0 or more; needed for a limit on turnover, which does not hold without.

    Returns
    -------
    ndarray of shape (n_assets,)
        Weights in [0, cap] that sum to one.

    Raises
    ------
    DataError
        If a score or a previous weight is not finite, or shapes differ.
    ParameterError
        If the book may be short, cannot be fully invested, or cannot be reached within the turnover.

    Examples
    --------
    >>> closest_book([0.9, 0.5, 0.1], Constraints(max_weight=0.6))
    array([0.6, 0.4, 0. ])
    >>> closest_book([0.9, 0.5, 0.1], Constraints(max_turnover=0.1), previous=[0.2, 0.3, 0.5])
    array([0.3, 0.3, 0.4])
    """
    wished = np.array(scores, dtype=float)
    if wished.ndim != 1 or not np.isfinite(wished).all():
        raise DataError(f"scores must be finite and of shape (n_assets,), got shape {wished.shape}")
    if not constraints.long_only:
        raise ParameterError("scores are turned into a long-only book, got constraints with long_only=False")
    cap = constraints.effective_cap(len(wished))
    high = np.full(len(wished), cap)
    if constraints.max_positions is not None:
        high[np.argsort(-wished, kind="stable")[constraints.max_positions :]] = 0.0
        if high.sum() < 1 - 1e-12:
            raise ParameterError(
                f"max_positions={constraints.max_positions} with at most {cap:g} each hold only {high.sum():g} of NAV; "
                "raise one of them"
            )
    weights = bounded_projection(wished, np.zeros(len(wished)), high, 1.0)
    if constraints.max_turnover is None or previous is None:
        return weights
    held = np.array(previous, dtype=float)
    if held.shape != wished.shape or not np.isfinite(held).all() or held.min(initial=0.0) < -_SLACK:
        raise DataError(
            f"previous weights must be finite, 0 or more and of shape {wished.shape}, got shape {held.shape} and a "
            f"smallest of {held.min(initial=0.0):g}"
        )
    if 0.5 * np.abs(weights - held).sum() <= constraints.max_turnover:
        return weights
    return _limited(wished, np.maximum(held, 0.0), cap, constraints.max_turnover)


def _limited(wished: FloatArray, held: FloatArray, cap: float, limit: float) -> FloatArray:
    """The closest book that trades exactly `limit`."""
    invest = 0.5 * (1.0 - held.sum())
    forced = np.maximum(held - cap, 0.0)
    bought, sold = limit + invest, limit - invest
    if bought < -_SLACK or sold < forced.sum() - _SLACK or bought > np.maximum(cap - held, 0.0).sum() + _SLACK:
        least = max(abs(invest), forced.sum() + invest)
        raise ParameterError(
            f"max_turnover={limit:g} cannot be met: from these previous weights (sum {held.sum():.4g}, largest "
            f"{held.max():.4g}) a fully invested book with at most {cap:g} each needs {least:.4g}"
        )
    buys = bounded_projection(wished - held, np.zeros(len(held)), np.maximum(cap - held, 0.0), bought)
    sales = bounded_projection(held - wished, forced, held, sold)
    return held + buys - sales


def bounded_projection(wished: FloatArray, low: FloatArray, high: FloatArray, total: float) -> FloatArray:
    """The vector closest to `wished` between two bounds and with a given sum.

    Parameters
    ----------
    wished, low, high : ndarray of shape (n,)
    total : float
        From the sum of `low` to that of `high`; what rounding puts outside is taken back.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> bounded_projection(np.array([3.0, 1.0]), np.zeros(2), np.ones(2), 1.5)
    array([1. , 0.5])
    """
    total = min(max(total, float(low.sum())), float(high.sum()))
    knots = np.sort(np.concatenate([wished - low, wished - high]))[::-1]
    sums = np.array([np.clip(wished - knot, low, high).sum() for knot in knots])  # rises along the knots
    after = int(np.searchsorted(sums, total))  # the first knot at which enough is there
    if after == 0:
        return low.copy()
    middle = 0.5 * (knots[after - 1] + knots[min(after, len(knots) - 1)])
    free = (wished - low > middle) & (wished - high < middle)  # neither bound is met between the two knots
    found = np.clip(wished - middle, low, high)
    if free.any():
        level = (wished[free].sum() - (total - found[~free].sum())) / free.sum()
        found[free] = np.clip(wished[free] - level, low[free], high[free])
    return found
