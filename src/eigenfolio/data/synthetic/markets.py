"""What a synthetic market is, and the plainest one: a linear factor model with dispersed betas and volatilities.

A `SyntheticMarket` is a panel together with the truth it was drawn from. The truth is a `CovariancePath`: the
covariance of the return of every row given the rows before it. Rows are those of `panel.returns`, the first return
being row 0. A path keeps what it needs to rebuild a matrix (volatilities, states, residuals), not the matrices.

`factor_market` draws independent rows from

    returns = B f + e,    covariance = B diag(s_f^2) B' + diag(s_e^2)

The first factor is the market (betas around 1), the others are long-short (loadings around 0). With
`student_df` every row is divided by the square root of a chi-square draw, which gives the whole market fat
tails at an unchanged covariance. Means are zero, dates are business days, the same seed gives the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = ["ConstantCovariance", "CovariancePath", "SyntheticMarket", "factor_market", "market_from_returns"]

_LOWEST_RETURN = -0.95
_MARKET_VOLATILITY = 0.010
_STYLE_VOLATILITY = 0.004


class CovariancePath(ABC):
    """The covariance of every row's return, given the rows before it.

    A path knows its size and says `between`, which yields the matrices of consecutive rows; `at` and `mean` follow
    from it. Rows are counted from 0, as in `panel.returns`.

    Attributes
    ----------
    n_observations : int
        Rows of the path.
    n_assets : int
        Order of its matrices.
    """

    n_observations: int
    n_assets: int

    @abstractmethod
    def between(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the covariance matrices of rows `start`, ..., `stop - 1`, which are known to be in range.

        Parameters
        ----------
        start, stop : int
            First row and one past the last, 0 <= start < stop <= n_observations.

        Yields
        ------
        ndarray of shape (n_assets, n_assets)
            Squared return per period. Callers do not write into it.
        """

    def at(self, row: int) -> np.ndarray:
        """Covariance of the return of one row, given the rows before it.

        Parameters
        ----------
        row : int in [0, n_observations)
            Row of `panel.returns`.

        Returns
        -------
        ndarray of shape (n_assets, n_assets)
            Squared return per period.

        Raises
        ------
        ParameterError
            If the row is outside the path.
        """
        self._check(row, row + 1)
        return next(iter(self.between(row, row + 1)))

    def mean(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Average covariance of consecutive rows: what a realised covariance of those rows estimates.

        Parameters
        ----------
        start : int
            First row.
        stop : int, optional
            One past the last row; None is the end of the path.

        Returns
        -------
        ndarray of shape (n_assets, n_assets)
            Squared return per period.

        Raises
        ------
        ParameterError
            If the span is empty or leaves the path.
        """
        stop = self.n_observations if stop is None else stop
        self._check(start, stop)
        total = np.zeros((self.n_assets, self.n_assets))
        for covariance in self.between(start, stop):
            total += covariance
        return total / (stop - start)

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start < stop <= self.n_observations:
            raise ParameterError(
                f"a covariance path of {self.n_observations} rows has no rows {start} to {stop - 1}; "
                f"rows run from 0 to {self.n_observations - 1}"
            )


@dataclass(frozen=True, eq=False)
class ConstantCovariance(CovariancePath):
    """The same covariance in every row.

    Parameters
    ----------
    covariance : ndarray of shape (n_assets, n_assets)
        Squared return per period.
    n_observations : int
        Rows of the path.

    Examples
    --------
    >>> ConstantCovariance(np.diag([1.0, 4.0]), 100).at(99)
    array([[1., 0.],
           [0., 4.]])
    """

    covariance: np.ndarray
    n_observations: int

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of the matrix."""
        return len(self.covariance)

    def between(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the one matrix `stop - start` times."""
        for _ in range(start, stop):
            yield self.covariance


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """A panel and the truth it was drawn from.

    Parameters
    ----------
    panel : Panel
        Made of prices that begin at 100 where a market is drawn here.
    covariance : DataFrame of shape (n_assets, n_assets)
        True covariance of the last row's return, squared return per period. Where the truth does not change from
        row to row it is that of every row.
    covariance_path : CovariancePath, optional
        True covariance of every row of `panel.returns`; None says that it is `covariance` in all of them.
    kind : str
        Name of the law the market was drawn from.
    seed : int, optional
        Seed that draws the same market again; None where a generator was passed.
    parameters : mapping
        Options of the law, JSON-able.

    Raises
    ------
    ParameterError
        If names or sizes of the truth are not those of the panel.
    """

    panel: Panel
    covariance: pd.DataFrame
    covariance_path: CovariancePath = None  # type: ignore[assignment]
    kind: str = "given"
    seed: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.panel.asset_names
        if list(self.covariance.index) != names or list(self.covariance.columns) != names:
            raise ParameterError("covariance must have the panel's assets as rows and columns, in the panel's order")
        n_returns = self.panel.n_observations
        if self.covariance_path is None:
            object.__setattr__(
                self, "covariance_path", ConstantCovariance(self.covariance.to_numpy(dtype=float), n_returns)
            )
        path = self.covariance_path
        if (path.n_observations, path.n_assets) != (n_returns, len(names)):
            raise ParameterError(
                f"covariance_path must have {n_returns} rows and {len(names)} assets as panel.returns has, got "
                f"{path.n_observations} rows and {path.n_assets} assets"
            )
        object.__setattr__(self, "parameters", dict(self.parameters))


def market_from_returns(
    returns: np.ndarray,
    covariance_path: CovariancePath,
    *,
    kind: str,
    seed: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    start: str = "2010-01-04",
) -> SyntheticMarket:
    """Turn drawn returns and their truth into a market of prices.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        Simple returns. Those below -95 % are set to -95 %, which only extreme tails reach, so that prices stay
        positive.
    covariance_path : CovariancePath
        Truth of the same rows and assets.
    kind : str
        Name of the law.
    seed : int, optional
        Seed of the draw.
    parameters : mapping, optional
        Options of the law, JSON-able.
    start : str
        Date of the first price; later rows are the business days that follow.

    Returns
    -------
    SyntheticMarket
        Assets named "A000", "A001", ...; prices begin at 100; `covariance` is that of the last row.

    Examples
    --------
    >>> market = market_from_returns(np.array([[0.1], [-0.5]]), ConstantCovariance(np.eye(1), 2), kind="by hand")
    >>> market.panel.prices["A000"].round(6).tolist()
    [100.0, 110.0, 55.0]
    """
    names = _asset_names(returns.shape[1])
    panel = Panel.from_prices(_prices(returns, names, start), source=f"synthetic {kind} market")
    last = covariance_path.at(covariance_path.n_observations - 1)
    covariance = pd.DataFrame(last, index=names, columns=names)
    return SyntheticMarket(panel, covariance, covariance_path, kind, seed, parameters or {})


def factor_market(
    n_assets: int,
    n_observations: int,
    *,
    seed: int | np.random.Generator = 0,
    n_factors: int = 3,
    late_listings: float = 0.0,
    delistings: float = 0.0,
    gaps: float = 0.0,
    student_df: float | None = None,
    start: str = "2010-01-04",
) -> SyntheticMarket:
    """Draw a market from a factor model.

    Parameters
    ----------
    n_assets : int
        Number of assets, named "A000", "A001", ...
    n_observations : int
        Rows of returns (the prices have one row more).
    seed : int or Generator
        Randomness.
    n_factors : int
        Factors, the market among them; 0 gives independent assets.
    late_listings, delistings : float in [0, 1)
        Share of assets that begin late (uniformly in the first 60 % of the rows), or end early (in the last
        40 %). The first asset always has a full history.
    gaps : float in [0, 1)
        Share of prices missing inside the listed spans.
    student_df : float, optional
        Degrees of freedom above 2 of a multivariate Student distribution; None is normal.
    start : str
        Date of the first price; later rows are the business days that follow.

    Returns
    -------
    SyntheticMarket
        Returns below -95 % are set to -95 %, which only extreme tails reach.

    Raises
    ------
    ParameterError
        If a count or share is out of range.

    Examples
    --------
    >>> market = factor_market(5, 250, seed=1)
    >>> market.panel.returns.shape, market.covariance.shape
    ((250, 5), (5, 5))
    """
    if n_assets < 1 or n_observations < 1 or n_factors < 0:
        raise ParameterError(
            f"factor_market needs at least one asset and one row and no negative number of factors, got "
            f"n_assets={n_assets}, n_observations={n_observations}, n_factors={n_factors}"
        )
    for name, share in (("late_listings", late_listings), ("delistings", delistings), ("gaps", gaps)):
        if not 0 <= share < 1:
            raise ParameterError(f"{name} must be a share in [0, 1), got {share}")
    if student_df is not None and student_df <= 2:
        raise ParameterError(f"student_df must be above 2 (the variance is infinite below), got {student_df}")
    rng = np.random.default_rng(seed)

    loadings = rng.normal(size=(n_assets, n_factors))
    loadings[:, :1] = 1.0 + 0.3 * loadings[:, :1]
    factor_volatility = np.full(n_factors, _STYLE_VOLATILITY)
    factor_volatility[:1] = _MARKET_VOLATILITY
    own_volatility = 0.012 * np.exp(0.4 * rng.normal(size=n_assets))
    factors = rng.normal(size=(n_observations, n_factors)) * factor_volatility
    returns = factors @ loadings.T + rng.normal(size=(n_observations, n_assets)) * own_volatility
    if student_df is not None:
        returns *= np.sqrt((student_df - 2) / rng.chisquare(student_df, size=(n_observations, 1)))
    covariance = (loadings * factor_volatility**2) @ loadings.T + np.diag(own_volatility**2)

    names = _asset_names(n_assets)
    prices = _prices(returns, names, start)
    values = prices.to_numpy(copy=True)
    _hide(values, rng, late_listings=late_listings, delistings=delistings, gaps=gaps)
    panel = Panel.from_prices(pd.DataFrame(values, index=prices.index, columns=names), source="synthetic factor market")
    parameters = {
        "n_factors": n_factors,
        "late_listings": late_listings,
        "delistings": delistings,
        "gaps": gaps,
        "student_df": student_df,
    }
    return SyntheticMarket(
        panel,
        pd.DataFrame(covariance, index=names, columns=names),
        kind="factor",
        seed=None if isinstance(seed, np.random.Generator) else seed,
        parameters=parameters,
    )


def _asset_names(n_assets: int) -> list[str]:
    return [f"A{i:03d}" for i in range(n_assets)]


def _prices(returns: np.ndarray, names: list[str], start: str) -> pd.DataFrame:
    """Prices that begin at 100, on business days; returns below -95 % are set to -95 %."""
    growth = np.cumprod(1.0 + np.maximum(returns, _LOWEST_RETURN), axis=0)
    prices = 100.0 * np.vstack([np.ones(returns.shape[1]), growth])
    index = pd.bdate_range(start, periods=len(prices), name="date")
    return pd.DataFrame(prices, index=index, columns=names)


def _hide(
    prices: np.ndarray, rng: np.random.Generator, *, late_listings: float, delistings: float, gaps: float
) -> None:
    """Set prices missing before listings, after delistings and in gaps; the first asset stays whole."""
    n_rows, n_assets = prices.shape
    rows = np.arange(n_rows)[:, None]
    first = np.where(rng.random(n_assets) < late_listings, rng.integers(1, max(2, int(0.6 * n_rows)), n_assets), 0)
    last = np.where(rng.random(n_assets) < delistings, rng.integers(int(0.6 * n_rows), n_rows, n_assets), n_rows - 1)
    missing = rng.random(prices.shape) < gaps
    missing &= (rows != first) & (rows != last)
    missing |= (rows < first) | (rows > last)
    missing[:, 0] = False
    prices[missing] = np.nan
