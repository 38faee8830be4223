"""What a fully invested book may hold.

A book is either long only, with one cap for every asset, or unconstrained (short sales free, no cap).
Weights are signed fractions of NAV and sum to one. A long-only book may also limit what is traded at once or how many
assets are held; `eigenfolio.projection` meets these exactly, minimum variance does not offer them. Other rules (groups,
and those two under minimum variance) are served by skfolio's `MeanRisk`, which accepts every covariance estimator of
this package.
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
    max_turnover : float in (0, 1], optional
        Largest half sum of absolute trades at one rebalance, fraction of NAV; from nothing held there is no limit.
    max_positions : int, optional
        Largest number of assets held; not together with `max_turnover`, since what is held may then have to stay.

    Raises
    ------
    ParameterError
        If `max_weight` leaves (0, 1], or caps a book with short sales; if a limit on trades or positions is out of
        range, is given for a book with short sales, or if both are given.

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
    max_turnover: float | None = None
    max_positions: int | None = None

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
        self._check_limits()

    def _check_limits(self) -> None:
        traded, held = self.max_turnover, self.max_positions
        if traded is not None and (
            isinstance(traded, bool) or not isinstance(traded, numbers.Real) or not 0 < traded <= 1
        ):
            raise ParameterError(f"max_turnover must be a fraction of NAV in (0, 1], got {traded!r}")
        if held is not None and (isinstance(held, bool) or not isinstance(held, numbers.Integral) or held < 1):
            raise ParameterError(f"max_positions must be a whole number of at least 1, got {held!r}")
        if traded is not None and held is not None:
            raise ParameterError("give max_turnover or max_positions, not both: a limit on trades may force positions")
        if not self.long_only and (traded is not None or held is not None):
            raise ParameterError(
                f"max_turnover and max_positions limit a long-only book, got long_only=False; {_ELSEWHERE}"
            )

    @property
    def name(self) -> str:
        """Short label for tables: "long-only", "long-only 5% cap" or "unconstrained"."""
        if not self.long_only:
            return "unconstrained"
        name = "long-only"
        if self.slack:
            name = f"long-only, cap {100 * self.max_weight:g}% or {self.slack:g}/n"
        elif self.max_weight < 1:
            name = f"long-only {100 * self.max_weight:g}% cap"
        if self.max_turnover is not None:
            name += f", turnover {100 * self.max_turnover:g}%"
        return name if self.max_positions is None else f"{name}, {self.max_positions} positions"

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
