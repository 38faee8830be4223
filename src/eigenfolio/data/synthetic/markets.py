"""Markets with a known covariance: a linear factor model with dispersed betas and volatilities.

    returns = B f + e,    covariance = B diag(s_f^2) B' + diag(s_e^2)

The first factor is the market (betas around 1), the others are long-short (loadings around 0). With
`student_df` every row is divided by the square root of a chi-square draw, which gives the whole market fat
tails at an unchanged covariance. Means are zero, dates are business days, the same seed gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = ["SyntheticMarket", "factor_market"]

_LOWEST_RETURN = -0.95
_MARKET_VOLATILITY = 0.010
_STYLE_VOLATILITY = 0.004


@dataclass(frozen=True)
class SyntheticMarket:
    """A panel and the covariance it was drawn from.

    Parameters
    ----------
    panel : Panel
        Made of prices that begin at 100.
    covariance : DataFrame of shape (n_assets, n_assets)
        True covariance of the returns, squared return per period.
    """

    panel: Panel
    covariance: pd.DataFrame


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

    growth = np.cumprod(1.0 + np.maximum(returns, _LOWEST_RETURN), axis=0)
    prices = 100.0 * np.vstack([np.ones(n_assets), growth])
    _hide(prices, rng, late_listings=late_listings, delistings=delistings, gaps=gaps)
    names = [f"A{i:03d}" for i in range(n_assets)]
    index = pd.bdate_range(start, periods=n_observations + 1, name="date")
    panel = Panel.from_prices(pd.DataFrame(prices, index=index, columns=names), source="synthetic factor market")
    return SyntheticMarket(panel, pd.DataFrame(covariance, index=names, columns=names))


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
