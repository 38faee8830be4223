"""What markets made from other markets share: prices that carry given returns, and paths that carry given truth.

Rows are those of `panel.returns`; the price before the first return has no row number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.data.synthetic.markets import CovariancePath, SyntheticMarket
from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = ["LinearPath", "StepPath", "changed_market", "prices_of_returns", "seed_number"]

FloatArray = npt.NDArray[np.float64]

LOWEST_RETURN = -0.95
"""Returns below are set to it, so that prices stay positive."""


@dataclass(frozen=True, eq=False)
class StepPath(CovariancePath):
    """One covariance before a row and another from it on.

    Parameters
    ----------
    before, after : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    step_row : int
        First row of `after`.
    n_observations : int
        Rows of the path.

    Examples
    --------
    >>> path = StepPath(np.eye(1), 4 * np.eye(1), 2, 3)
    >>> [float(path.at(row)[0, 0]) for row in range(3)]
    [1.0, 1.0, 4.0]
    """

    before: FloatArray
    after: FloatArray
    step_row: int
    n_observations: int

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of the matrices."""
        return len(self.after)

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield `before` up to the step and `after` from it on."""
        for row in range(start, stop):
            yield self.before if row < self.step_row else self.after


@dataclass(frozen=True, eq=False)
class LinearPath(CovariancePath):
    """Truth of rows `matrix @ x + noise`, from a row on, where x are the rows of another market.

    Parameters
    ----------
    base : CovariancePath
        Truth of x.
    matrix : ndarray of shape (n_assets, base.n_assets)
        Square unless it is used from the first row.
    noise_variance : ndarray of shape (n_assets,)
        Variance of the noise, which is independent across assets and rows.
    first_row : int
        First row it applies to; rows before are those of `base`.
    """

    base: CovariancePath
    matrix: FloatArray
    noise_variance: FloatArray
    first_row: int = 0

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return self.base.n_observations

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of the matrices."""
        return len(self.matrix)

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield the mapped matrices; one that repeats is mapped once."""
        last: FloatArray | None = None
        mapped = np.empty(0)
        for row, covariance in enumerate(self.base.between(start, stop), start):
            if row < self.first_row:
                yield covariance
                continue
            if covariance is not last:
                mapped = self.matrix @ covariance @ self.matrix.T + np.diag(self.noise_variance)
                mapped, last = (mapped + mapped.T) / 2.0, covariance
            yield mapped


def prices_of_returns(
    returns: FloatArray, first_row: npt.NDArray[np.int64] | None = None, first_price: float | FloatArray = 100.0
) -> FloatArray:
    """Prices whose returns, from one observed price to the next, are those given.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        NaN where missing: the price is missing too and does not move. Below -95 % they are set to -95 %.
    first_row : ndarray of shape (n_assets,), optional
        Price row on which an asset begins, 0 being the row before the first return; None is 0 for all.
    first_price : float or ndarray of shape (n_assets,)
        Price on that row.

    Returns
    -------
    ndarray of shape (n_observations + 1, n_assets)

    Examples
    --------
    >>> prices_of_returns(np.array([[0.1], [np.nan], [0.5]])).ravel().round(6)
    array([100., 110.,  nan, 165.])
    """
    n_rows, n_assets = returns.shape
    observed = np.vstack([np.zeros((1, n_assets), dtype=bool), np.isfinite(returns)])
    growth = np.where(observed[1:], np.maximum(returns, LOWEST_RETURN), 0.0)
    path = np.cumprod(np.vstack([np.ones((1, n_assets)), 1.0 + growth]), axis=0)
    begin = np.zeros(n_assets, dtype=np.int64) if first_row is None else first_row
    assets = np.arange(n_assets)
    prices = np.asarray(path * (first_price / path[begin, assets]), dtype=np.float64)
    observed[begin, assets] = True
    observed &= np.arange(n_rows + 1)[:, None] >= begin
    prices[~observed] = np.nan
    return prices


def changed_market(
    market: SyntheticMarket,
    returns: FloatArray,
    path: CovariancePath,
    change: Mapping[str, Any],
    step: str,
    *,
    names: list[str] | None = None,
    first_row: npt.NDArray[np.int64] | None = None,
    sectors: pd.Series | None = None,
) -> SyntheticMarket:
    """Rebuild a market around other returns on the same dates.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    returns : ndarray of shape (n_observations, n_assets)
        The new returns, NaN where missing.
    path : CovariancePath
        Their truth.
    change : mapping
        Name and options of the change, added to `parameters["changes"]`.
    step : str
        Sentence for the provenance.
    names : list of str, optional
        Assets; None keeps them.
    first_row : ndarray of shape (n_assets,), optional
        Price row on which each asset begins; None keeps them.
    sectors : Series, optional
        Labels by asset; None keeps the panel's.

    Returns
    -------
    SyntheticMarket
        Volumes and market series are kept; highs and lows are left out, because prices are others.

    Raises
    ------
    ParameterError
        If no asset is left in the first or the last row, or one asset has fewer than two prices.
    """
    panel = market.panel
    old = _prices(panel)
    names = panel.asset_names if names is None else names
    own = _first_rows(old.to_numpy())
    begin = own if first_row is None else first_row
    price = np.full(len(names), 100.0)
    price[: panel.n_assets] = old.to_numpy()[own, np.arange(panel.n_assets)]
    values = prices_of_returns(returns, begin, price)
    few = np.flatnonzero(np.isfinite(values).sum(axis=0) < 2)
    if len(few):
        raise ParameterError(f"{change['change']} leaves {names[few[0]]} with fewer than two prices; hide less")
    volume = panel.field("volume")
    rebuilt = Panel.from_prices(
        pd.DataFrame(values, index=old.index, columns=names),
        volume=volume,
        market=panel.market if len(panel.market.columns) else None,
        sectors=panel.sectors if sectors is None else sectors,
        source=panel.provenance.source,
    )
    if rebuilt.n_observations != panel.n_observations:
        raise ParameterError(f"{change['change']} leaves the first or the last row without any asset; hide less")
    rebuilt = replace(rebuilt, provenance=panel.provenance.then(step))
    covariance = pd.DataFrame(path.at(path.n_observations - 1), index=names, columns=names)
    changes = [*market.parameters.get("changes", ()), dict(change)]
    return SyntheticMarket(
        rebuilt, covariance, path, market.kind, market.seed, {**market.parameters, "changes": changes}
    )


def seed_number(seed: int | np.random.Generator) -> int | None:
    """The seed as it is recorded: None where a generator was passed."""
    return None if isinstance(seed, np.random.Generator) else int(seed)


def first_rows(panel: Panel) -> npt.NDArray[np.int64]:
    """Price row on which each asset begins, 0 being the row before the first return."""
    return _first_rows(_prices(panel).to_numpy())


def _first_rows(prices: FloatArray) -> npt.NDArray[np.int64]:
    return np.isfinite(prices).argmax(axis=0)


def _prices(panel: Panel) -> pd.DataFrame:
    prices = panel.prices
    if prices is None:
        raise ParameterError("a synthetic market is made of prices, got a panel of returns; build it with from_prices")
    return prices
