"""The seven books and estimates that every protocol is judged against.

A learned model is worth its training if it beats what costs nothing: the even book, inverse volatility, hierarchical
risk parity, the long-only minimum-variance book under the best classical covariance, and three ways to use one
intensity or one spectrum for ever: the intensity that was best over many past windows, the one that was best in the
last window whose outcome is known (persistence), and the average oracle eigenvalues [1]_.

"Best classical covariance" is named beforehand, not picked from the result: nonlinear shrinkage of the correlation of
devolatilised rows with exponentially weighted volatilities (`eigenfolio.models.champion_covariance`).

References
----------
.. [1] C. Bongiorno, D. Challet and G. Loeper (2023). Filtering time-dependent covariance matrices using
   time-independent eigenvalues. Journal of Statistical Mechanics, 023402.
"""

from __future__ import annotations

from collections.abc import Mapping

from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization, HierarchicalRiskParity

from eigenfolio.constraints import Constraints
from eigenfolio.errors import ParameterError
from eigenfolio.models import (
    AverageOracle,
    BestConstantShrinkage,
    EqualWeight,
    InverseVolatility,
    MinimumVariance,
    MissingSafe,
    champion_covariance,
)

__all__ = ["COMPARATORS", "as_portfolios", "comparators", "with_comparators"]

COMPARATORS: tuple[str, ...] = (
    "Equal weight",
    "Inverse volatility",
    "Hierarchical risk parity",
    "QIS devolatilised + EWMA(63)",
    "Best constant intensity",
    "Last optimal intensity",
    "Average oracle",
)


def comparators(*, lookback: int = 252, horizon: int = 21) -> dict[str, BaseCovariance | BaseOptimization]:
    """The seven comparators, unfitted, by name.

    Parameters
    ----------
    lookback : int
        Rows each looks back; the calibrated ones slide this window over all earlier rows.
    horizon : int
        Rows a calibrated one looks ahead inside the past it was given.

    Returns
    -------
    dict of str to estimator
        In the order of `COMPARATORS`; covariances are held by their minimum-variance book.

    Examples
    --------
    >>> tuple(comparators()) == COMPARATORS
    True
    """
    return {
        "Equal weight": EqualWeight(),
        "Inverse volatility": InverseVolatility(lookback=lookback),
        "Hierarchical risk parity": MissingSafe(HierarchicalRiskParity(), lookback=lookback),
        "QIS devolatilised + EWMA(63)": champion_covariance(lookback=lookback),
        "Best constant intensity": BestConstantShrinkage(lookback=lookback, horizon=horizon),
        "Last optimal intensity": BestConstantShrinkage(lookback=lookback, horizon=horizon, n_windows=1),
        "Average oracle": AverageOracle(lookback=lookback, horizon=horizon),
    }


def with_comparators(
    models: Mapping[str, BaseCovariance | BaseOptimization], *, lookback: int = 252, horizon: int = 21
) -> dict[str, BaseCovariance | BaseOptimization]:
    """Models with the comparators after them.

    Parameters
    ----------
    models : mapping of str to estimator
        A name of a comparator is the caller's own version of it and replaces it.
    lookback, horizon : int
        As in `comparators`.

    Returns
    -------
    dict of str to estimator

    Examples
    --------
    >>> len(with_comparators({"mine": EqualWeight(), "Equal weight": EqualWeight()}))
    8
    """
    standard = comparators(lookback=lookback, horizon=horizon)
    return {**models, **{name: model for name, model in standard.items() if name not in models}}


def as_portfolios(
    models: Mapping[str, BaseCovariance | BaseOptimization], book: Constraints
) -> dict[str, BaseOptimization]:
    """Every model as a portfolio: a covariance by its minimum-variance book.

    Parameters
    ----------
    models : mapping of str to BaseCovariance or BaseOptimization
    book : Constraints
        Of the minimum-variance books; without `slack`, which depends on the number of assets.

    Returns
    -------
    dict of str to BaseOptimization

    Raises
    ------
    ParameterError
        If a model is neither, or the book has slack.

    Examples
    --------
    >>> from eigenfolio.constraints import LONG_ONLY
    >>> type(as_portfolios(comparators(), LONG_ONLY)["Average oracle"]).__name__
    'MinimumVariance'
    """
    if book.slack:
        raise ParameterError(
            f"slack={book.slack:g} depends on the number of assets of a date; give a book with max_weight alone"
        )
    portfolios = {}
    for name, model in models.items():
        if isinstance(model, BaseCovariance):
            portfolios[name] = MinimumVariance(model, long_only=book.long_only, max_weight=book.max_weight)
        elif isinstance(model, BaseOptimization):
            portfolios[name] = model
        else:
            raise ParameterError(
                f"model {name!r} must be a skfolio BaseCovariance or BaseOptimization, got {type(model).__name__}"
            )
    return portfolios
