r"""Markets in which no book has an edge, by construction, to see whether a chain of decisions finds one all the same.

    r[t, i] = m + e[t, i],    E[e[t] | rows before t] = 0

Cash earns m too (0 but for the law "drift"). A book w that is chosen from rows before t therefore earns

    E[w' r[t] + (1 - sum w) m | rows before t] = m,

whatever it holds, at whatever leverage, and however its weights drift while it is held: returns in excess of m are a
martingale difference, and the expected Sharpe ratio of the excess of every book is zero up to terms of the order of
skewness / rows. So is its difference to any comparator. By law:

========= =========================================================================================================
law       what is drawn
========= =========================================================================================================
normal    independent normal rows of a factor covariance, m = 0
drift     the same with m = 8 % a year: books that look at returns see that everything rises
garch     GARCH(1, 1) volatilities around that covariance, m = 0
real      consecutive rows of a real panel, each with a random sign: its covariance, tails and clusters, m = 0
========= =========================================================================================================

Under "real" the signs are independent of the sizes: even a book that knows the sizes of all rows, past and to come,
earns nothing, so a comparator may hold the minimum variance of the very rows that are judged.

Why cash drifts along: were cash to earn nothing, the calmer of two fully invested books of equal mean would have the
larger Sharpe ratio, rightly. A null in which every admissible book has the same ratio does not exist without cash.

Time: row t is earned by what was held at the end of row t - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from eigenfolio.data.synthetic import Garch, Normal, draw_market, factor_covariance, null_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel

__all__ = ["DRIFT", "NULL_LAWS", "NullLaw", "NullMarket", "draw_null"]

NullLaw = Literal["normal", "drift", "garch", "real"]

NULL_LAWS: tuple[NullLaw, ...] = get_args(NullLaw)

DRIFT = 0.08 / 252
"""What assets and cash earn per row under the law "drift"."""


@dataclass(frozen=True, eq=False)
class NullMarket:
    """A market without an edge.

    Attributes
    ----------
    law : str
        Of `NULL_LAWS`.
    returns : DataFrame of shape (n_observations, n_assets)
        Simple returns, without gaps.
    cash : float
        What every asset and cash are expected to earn per row.
    covariance : DataFrame of shape (n_assets, n_assets)
        Average covariance of the rows, squared return per period.
    """

    law: NullLaw
    returns: pd.DataFrame
    cash: float
    covariance: pd.DataFrame


def draw_null(
    law: NullLaw,
    *,
    n_assets: int = 24,
    n_observations: int,
    rng: np.random.Generator,
    source: pd.DataFrame | None = None,
) -> NullMarket:
    """Draw a market in which every predictable book has the same expected return.

    Parameters
    ----------
    law : {"normal", "drift", "garch", "real"}
        See the top of this module.
    n_assets : int
        Assets of a drawn covariance; "real" has those of its source.
    n_observations : int
        Rows.
    rng : numpy.random.Generator
        Draws everything, the covariance too.
    source : DataFrame of shape (n_rows, n_source_assets), optional
        Real simple returns without gaps, for "real"; consecutive rows of it are taken, from a random one on.

    Returns
    -------
    NullMarket

    Raises
    ------
    ParameterError
        If the law is unknown.
    DataError
        If "real" has no source, one with gaps, or one that is too short.

    Examples
    --------
    >>> market = draw_null("drift", n_assets=3, n_observations=100, rng=np.random.default_rng(0))
    >>> market.returns.shape, round(252 * market.cash, 2)
    ((100, 3), 0.08)
    """
    if law not in NULL_LAWS:
        raise ParameterError(f"law must be one of {', '.join(NULL_LAWS)}, got {law!r}")
    if law == "real":
        drawn = null_market(Panel.from_returns(_span(source, n_observations, rng)), method="signs", seed=rng)
        return NullMarket(law, drawn.panel.returns, 0.0, drawn.covariance)
    population = factor_covariance(n_assets, rng=rng)
    market = draw_market(population, Garch() if law == "garch" else Normal(), n_observations, seed=rng)
    cash = DRIFT if law == "drift" else 0.0
    names = market.covariance.index
    average = pd.DataFrame(population.covariance, index=names, columns=names)
    return NullMarket(law, market.panel.returns + cash, cash, average)


def _span(source: pd.DataFrame | None, n_observations: int, rng: np.random.Generator) -> pd.DataFrame:
    """Consecutive rows of the source, from a random one on."""
    if source is None:
        raise DataError("a null market of real rows needs source=, a table of real simple returns")
    if len(source) < n_observations or not np.isfinite(source.to_numpy()).all():
        raise DataError(
            f"source must have at least {n_observations} rows without gaps, got {len(source)} rows with "
            f"{int((~np.isfinite(source.to_numpy())).sum())} missing values; give a longer panel or drop columns"
        )
    first = int(rng.integers(len(source) - n_observations + 1))
    return source.iloc[first : first + n_observations]
