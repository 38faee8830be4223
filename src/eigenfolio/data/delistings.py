"""Which assets ended before the table did, and what their holders earned last.

An asset has ended when more than `max_fill` rows follow its last value, or when its last price is zero
(a total loss). A delisting return d stands in the row after the last value:

    prices:   price[last + 1] = price[last] * (1 + d)          returns:   return[last + 1] = d

Knowing that an asset ended takes the rows after its end, so this restates what a holder earned; a table
cut inside the gap does not know it yet. A return of -100 % has no price, hence -1 < d.

References
----------
.. [1] T. Shumway (1997). The Delisting Bias in CRSP Data. Journal of Finance 52(1), 327-340.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from eigenfolio.data.findings import some
from eigenfolio.errors import ParameterError

__all__ = ["WRITTEN", "ZERO_PRICE", "DelistingReturn", "ended_assets", "returns_by_name", "zero_tails"]

DelistingReturn = float | Mapping[str, float] | None

WRITTEN = "wrote delisting returns"
ZERO_PRICE = "ended at a price of zero; a return of -100 % is not representable as a price"


def returns_by_name(delisting_return: DelistingReturn, names: Iterable[object]) -> dict[str, float]:
    """Return the delisting return that is given for each asset; assets without one are left out.

    Parameters
    ----------
    delisting_return : float, mapping or None
        One simple return for every asset, or one by name; above -1.
    names : iterable
        Assets of the table.

    Raises
    ------
    ParameterError
        If a return is not a finite number above -1, or a name is unknown.

    Examples
    --------
    >>> returns_by_name(-0.3, ["A", "B"]), returns_by_name({"B": 0.1}, ["A", "B"])
    ({'A': -0.3, 'B': -0.3}, {'B': 0.1})
    """
    known = [str(name) for name in names]
    if delisting_return is None:
        return {}
    if isinstance(delisting_return, Mapping):
        given = {str(name): value for name, value in delisting_return.items()}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ParameterError(
                f"delisting_return names {some(unknown)}, not among the table's {len(known):,} assets; "
                "leave them out or mend the names"
            )
    else:
        given = dict.fromkeys(known, delisting_return)
    for name, value in given.items():
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not number or not -1 < value < np.inf:
            where = f" for {name}" if isinstance(delisting_return, Mapping) else ""
            raise ParameterError(
                f"delisting_return must be a finite simple return above -1 (-0.3 is -30 %), got {value!r}{where}"
            )
    return {name: float(value) for name, value in given.items()}


def zero_tails(prices: np.ndarray) -> np.ndarray:
    """Mark the zeros that follow an asset's last positive price, where no other value follows them.

    Parameters
    ----------
    prices : ndarray of shape (n_rows, n_assets)
        Raw prices in date order, NaN where missing.

    Returns
    -------
    ndarray of bool, same shape

    Examples
    --------
    >>> zero_tails(np.array([[2.0, 0.0, 2.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]])).sum(axis=0).tolist()
    [1, 0, 0]
    """
    other = ~np.isnan(prices) & (prices != 0)
    later = np.logical_or.accumulate(other[::-1])[::-1]
    before = np.logical_or.accumulate(prices > 0)
    cells: np.ndarray = (prices == 0) & before & ~later
    return cells


def ended_assets(values: np.ndarray, max_fill: int) -> np.ndarray:
    """Tell which assets have more than `max_fill` rows after their last value; rows without any value do not count.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_assets)
        Usable prices or returns in date order, NaN where missing.
    max_fill : int
        Rows that may be missing at the end.

    Returns
    -------
    ndarray of bool of shape (n_assets,)
        False for an asset without any value.

    Examples
    --------
    >>> ended_assets(np.array([[1.0, 1.0], [1.0, np.nan], [1.0, np.nan]]), max_fill=1).tolist()
    [False, True]
    """
    seen = ~np.isnan(values)
    seen = seen[seen.any(axis=1)]
    if not len(seen):
        return np.zeros(values.shape[1], dtype=bool)
    n_after = np.argmax(seen[::-1], axis=0)
    ended: np.ndarray = seen.any(axis=0) & (n_after > max_fill)
    return ended
