"""What a fully invested book may hold.

A book is either long only, with one cap for every asset, or unconstrained (short sales free, no cap).
Weights are signed fractions of NAV and sum to one. Other rules (groups, turnover, a number of
positions) are served by skfolio's `MeanRisk`, which accepts every covariance estimator of this package.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from eigenfolio.errors import ParameterError

__all__ = ["LONG_ONLY", "UNCONSTRAINED", "Constraints"]

_ELSEWHERE = (
    "for other rules use skfolio's MeanRisk(min_weights=..., max_weights=..., "
    "prior_estimator=EmpiricalPrior(covariance_estimator=...))"
)


@dataclass(frozen=True)
class Constraints:
    """Limits on the weights of a fully invested book.

    Parameters
    ----------
    long_only : bool
        True: weights lie in [0, `max_weight`]. False: weights are free but for their sum.
    max_weight : float in (0, 1]
        Largest weight of one asset, a fraction of NAV; 1 is no cap. Must be 1 when `long_only` is False.
    slack : float, 0 or at least 1
        The cap is never below `slack` / n_assets, so that a small universe keeps a choice; 0 leaves the cap alone.

    Raises
    ------
    ParameterError
        If `max_weight` leaves (0, 1], or caps a book with short sales.

    Examples
    --------
    >>> Constraints(max_weight=0.05).name
    'long-only 5% cap'
    >>> Constraints(max_weight=0.05, slack=2.0).name
    'long-only, cap 5% or 2/n'
    >>> UNCONSTRAINED.name
    'unconstrained'
    """

    long_only: bool = True
    max_weight: float = 1.0
    slack: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.long_only, bool):
            raise ParameterError(f"long_only must be True or False, got {self.long_only!r}")
        cap = self.max_weight
        if isinstance(cap, bool) or not isinstance(cap, numbers.Real) or not 0 < cap <= 1:
            raise ParameterError(f"max_weight must be a fraction of NAV in (0, 1], got {cap!r}")
        slack = self.slack
        if isinstance(slack, bool) or not isinstance(slack, numbers.Real) or not (slack == 0 or 1 <= slack < math.inf):
            raise ParameterError(f"slack must be 0 or a number of at least 1, got {slack!r}")
        if slack and (cap == 1 or not self.long_only):
            raise ParameterError(f"slack={slack:g} loosens a cap; give max_weight below 1, got {cap:g}")
        if not self.long_only and cap != 1:
            raise ParameterError(
                f"max_weight={cap:g} caps a long-only book; with long_only=False it must stay 1; {_ELSEWHERE}"
            )

    @property
    def name(self) -> str:
        """Short label for tables: "long-only", "long-only 5% cap" or "unconstrained"."""
        if not self.long_only:
            return "unconstrained"
        if self.max_weight == 1:
            return "long-only"
        if self.slack:
            return f"long-only, cap {100 * self.max_weight:g}% or {self.slack:g}/n"
        return f"long-only {100 * self.max_weight:g}% cap"

    def effective_cap(self, n_assets: int) -> float:
        """Largest weight that one of `n_assets` assets may have.

        Parameters
        ----------
        n_assets : int
            Assets that can be held.

        Returns
        -------
        float
            `max_weight`, or `slack` / `n_assets` where that is more; infinity when the book is unconstrained.

        Raises
        ------
        ParameterError
            If the book cannot be fully invested: `n_assets * max_weight < 1`.

        Examples
        --------
        >>> Constraints(max_weight=0.05).effective_cap(20)
        0.05
        >>> Constraints(max_weight=0.05, slack=2.0).effective_cap(20)
        0.1
        """
        if n_assets < 1:
            raise ParameterError(f"a book needs at least 1 asset that can be held, got {n_assets}")
        if not self.long_only:
            return math.inf
        if self.slack:
            return min(1.0, max(float(self.max_weight), self.slack / n_assets))
        if n_assets * self.max_weight < 1 - 1e-12:
            raise ParameterError(
                f"max_weight={self.max_weight:g} lets {n_assets} assets hold only "
                f"{100 * n_assets * self.max_weight:g}% of NAV; it must be at least {1 / n_assets:.4g}"
            )
        return float(self.max_weight)


LONG_ONLY = Constraints()
UNCONSTRAINED = Constraints(long_only=False)
