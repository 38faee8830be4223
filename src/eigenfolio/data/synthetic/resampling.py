"""Bootstrap of whole rows of a real panel: markets with a real cross-section and a known distribution.

A resampled row is a row of the source, with its cross-section, its missing values and its market series. Rows come
in blocks, which keeps what happens within a block (volatility clustering) and cuts it at the seams:

- stationary [1]_: at every row, with probability 1 / block, jump to a uniformly drawn row, else go on to the next,
  from the last row to the first; block lengths are geometric with mean `block`;
- circular [2]_: blocks of fixed length that begin at a uniformly drawn row and wrap around;
- moving [3]_: blocks of fixed length that lie wholly inside the source.

In the first two, every row is uniform over the source rows, so the covariance of the resampled distribution is the
sample covariance with divisor T. In the third, a row near either end of the source is in fewer blocks: the weight
of source row s, for a row at a random place of a block, is the number of blocks that hold it over all places,

    w_s = min(s + 1, block, T - s, T - block + 1) / (block * (T - block + 1)),    s = 0, ..., T - 1

and the covariance is the one under these weights. Covariances are marginal: they describe a row of which nothing
is known, not a row given the rows before it. The means are those of the source, not zero.

References
----------
.. [1] D. N. Politis and J. P. Romano (1994). The stationary bootstrap. Journal of the American Statistical
   Association 89(428), 1303-1313.
.. [2] D. N. Politis and J. P. Romano (1992). A circular block-resampling procedure for stationary data. In
   Exploring the Limits of Bootstrap, Wiley.
.. [3] H. R. Kuensch (1989). The jackknife and the bootstrap for general stationary observations. Annals of
   Statistics 17(3), 1217-1241.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.data.synthetic.derived import LOWEST_RETURN, prices_of_returns, seed_number
from eigenfolio.data.synthetic.markets import ConstantCovariance, SyntheticMarket
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.panel import Panel

__all__ = ["bootstrap_market", "bootstrap_rows", "row_weights"]

FloatArray = npt.NDArray[np.float64]
Method = Literal["stationary", "circular", "moving"]


def bootstrap_market(
    panel: Panel,
    n_observations: int | None = None,
    *,
    method: Method = "stationary",
    block: int = 20,
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Draw a market from the rows of a panel.

    Parameters
    ----------
    panel : Panel
        Source. Rows in which every asset is missing are left out; returns outside -95 % are set to it.
    n_observations : int, optional
        Rows to draw; None is as many as the source has.
    method : {"stationary", "circular", "moving"}
        How blocks are drawn.
    block : int
        Rows of a block, in the mean (stationary) or exactly; between 1 and the rows of the source.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        Prices begin at 100 on the source's first date, rows are the business days that follow. `covariance` is
        that of the resampled distribution. Where the source has missing values, each entry is the one over the
        rows on which both assets are observed, and the matrix may have small negative eigenvalues.

    Raises
    ------
    ParameterError
        If an option is out of range.
    DataError
        If two assets are never observed together.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> source = factor_market(3, 200, seed=1).panel
    >>> market = bootstrap_market(source, 500, block=10, seed=2)
    >>> market.panel.n_observations
    500
    >>> bool(np.allclose(market.covariance, source.returns.cov(ddof=0)))
    True
    """
    used = np.flatnonzero(np.isfinite(panel.returns.to_numpy()).any(axis=1))
    source = np.maximum(panel.returns.to_numpy()[used], LOWEST_RETURN)
    rng = np.random.default_rng(seed)
    n_rows = len(source) if n_observations is None else n_observations
    rows = bootstrap_rows(len(source), n_rows, method=method, block=block, rng=rng)
    covariance = pd.DataFrame(
        weighted_covariance(source, row_weights(len(source), method=method, block=block), panel.asset_names),
        index=panel.asset_names,
        columns=panel.asset_names,
    )
    options = {"method": method, "block": block, "n_observations": n_rows, "source": panel.fingerprint}
    return SyntheticMarket(
        resampled_panel(panel, source[rows], used[rows], f"rows drawn by the {method} bootstrap, block {block}"),
        covariance,
        ConstantCovariance(covariance.to_numpy(), n_rows),
        f"{method} bootstrap",
        seed_number(seed),
        options,
    )


def bootstrap_rows(
    n_rows: int, n_draws: int, *, method: Method = "stationary", block: int = 20, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw row numbers in blocks.

    Parameters
    ----------
    n_rows : int
        Rows of the source.
    n_draws : int
        Rows to draw.
    method : {"stationary", "circular", "moving"}
        How blocks are drawn; see the module.
    block : int
        Rows of a block, between 1 and `n_rows`.
    rng : Generator
        Randomness.

    Returns
    -------
    ndarray of int of shape (n_draws,)
        In [0, n_rows).

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> bootstrap_rows(100, 6, method="circular", block=3, rng=np.random.default_rng(0))
    array([85, 86, 87, 63, 64, 65])
    """
    _check(n_rows, method, block)
    if n_draws < 1:
        raise ParameterError(f"a bootstrap draws at least one row, got {n_draws}")
    if method == "stationary":
        jump_to = rng.integers(n_rows, size=n_draws)
        jumps = rng.random(n_draws) <= 1.0 / block
        jumps[0] = True
        place = np.arange(n_draws)
        since = np.maximum.accumulate(np.where(jumps, place, 0))  # place of the last jump
        return (jump_to[since] + place - since) % n_rows
    n_blocks = -(-n_draws // block)
    first = rng.integers(n_rows if method == "circular" else n_rows - block + 1, size=n_blocks)
    return ((first[:, None] + np.arange(block)) % n_rows).ravel()[:n_draws]


def row_weights(n_rows: int, *, method: Method = "stationary", block: int = 20) -> FloatArray:
    """Probability of each source row, for a resampled row at a random place of a block.

    Parameters
    ----------
    n_rows, method, block
        As in `bootstrap_rows`.

    Returns
    -------
    ndarray of shape (n_rows,)
        Sums to 1.

    Examples
    --------
    >>> row_weights(4, method="moving", block=2) * 6
    array([1., 2., 2., 1.])
    """
    _check(n_rows, method, block)
    if method != "moving":
        return np.full(n_rows, 1.0 / n_rows)
    row = np.arange(n_rows)
    n_blocks = n_rows - block + 1
    held = np.minimum(np.minimum(row + 1, n_rows - row), min(block, n_blocks))
    return held / (block * n_blocks)


def weighted_covariance(
    returns: FloatArray, weights: FloatArray, names: list[str], *, centred: bool = True
) -> FloatArray:
    """Covariance under weights, entry by entry over the rows on which both assets are observed.

    Raises
    ------
    DataError
        If two assets are never observed together.
    """
    observed = np.isfinite(returns)
    filled = np.where(observed, returns, 0.0)
    seen = observed.astype(float)
    weighted = weights[:, None] * seen
    total = weighted.T @ seen
    if not (total > 0).all():
        i, j = np.argwhere(~(total > 0))[0]
        pair = names[i] if i == j else f"{names[i]} and {names[j]}"
        raise DataError(f"{pair}: no row on which both are observed, so their covariance is unknown; drop one")
    product = (weights[:, None] * filled).T @ filled / total
    if centred:
        mean = (weights[:, None] * filled).T @ seen / total  # of asset i on the rows of the pair (i, j)
        product -= mean * mean.T
    return (product + product.T) / 2.0


def resampled_panel(source: Panel, returns: FloatArray, rows: npt.NDArray[np.int64], step: str) -> Panel:
    """A panel of prices that carries `returns`, with the market series and volumes of the source's `rows`."""
    names = source.asset_names
    dates = pd.bdate_range(source.index[0].normalize(), periods=len(returns) + 1, name="date")
    volume = source.field("volume")
    market = source.market if len(source.market.columns) else None
    panel = Panel.from_prices(
        pd.DataFrame(prices_of_returns(returns), index=dates, columns=names),
        volume=None if volume is None else volume.iloc[rows].set_axis(dates[1:]),
        market=None if market is None else market.iloc[rows].set_axis(dates[1:]),
        sectors=source.sectors,
        source=source.provenance.source,
    )
    return replace(panel, provenance=source.provenance.then(step))


def _check(n_rows: int, method: str, block: int) -> None:
    if method not in get_args(Method):
        raise ParameterError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if not 1 <= block <= n_rows:
        raise ParameterError(f"block must be between 1 and the {n_rows} rows of the source, got {block}")
