"""What real panels do to an estimator: late listings, delistings, holidays, quiet names that jump, and twins.

Each function takes a `SyntheticMarket` and returns another whose truth says what was done; they can be applied one
after another (twins before anything that hides rows, because a twin is missing where one of its parts is).

- A late listing or a delisting hides prices; the truth of what is seen does not change.
- On a holiday the closed assets do not move: their return is missing, and the next is that of one row.
- A quiet name, like the target of an announced merger, keeps a share of its volatility and little of its ties to
  the others, until one jump of known size and random sign ends the spell. The jump comes with the same probability h
  on every quiet row, so given the rows before, with S the covariance without the friction,

      variance      = quiet^2 * S_ii + h * jump^2,    covariance with j = quiet * ties * S_ij

- A twin is a new asset made of others: a share class follows one, a fund a mixture w (w >= 0, sum 1), with a
  tracking error that is independent of everything:

      x_new = w'x + s e,    variance = w'S w + s^2,    covariance with j = (S w)_j

The first asset stays whole in listings and delistings, so that no row is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.data.synthetic.derived import LinearPath, changed_market, first_rows, seed_number
from eigenfolio.data.synthetic.markets import CovariancePath, SyntheticMarket
from eigenfolio.errors import ParameterError

__all__ = ["QuietPath", "QuietSpell", "delistings", "holidays", "late_listings", "quiet_names", "twins"]

FloatArray = npt.NDArray[np.float64]

_PERIODS_PER_YEAR = 252


def late_listings(
    market: SyntheticMarket, *, share: float = 0.3, latest: float = 0.6, seed: int | np.random.Generator = 0
) -> SyntheticMarket:
    """Let some assets begin late.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    share : float in [0, 1)
        Share of the assets, rounded to a whole number.
    latest : float in (0, 1)
        Listings are uniform in this first share of the rows.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        With the same truth.

    Raises
    ------
    ParameterError
        If an option is out of range or an asset would keep fewer than two prices.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = late_listings(factor_market(10, 100, seed=1), share=0.3)
    >>> int((~market.panel.active_mask.iloc[0]).sum())
    3
    """
    _check_share("share", share)
    _check_share("latest", latest)
    returns = market.panel.returns.to_numpy().copy()
    rng = np.random.default_rng(seed)
    chosen = _chosen(returns.shape[1], share, rng)
    begin = first_rows(market.panel)
    begin[chosen] = np.maximum(begin[chosen], rng.integers(1, max(2, int(latest * len(returns))), size=len(chosen)) + 1)
    for asset in chosen:  # the first price stands on an observed row, or on the row before the first return left
        returns[: begin[asset], asset] = np.nan
    change = {"change": "late_listings", "share": share, "latest": latest, "seed": seed_number(seed)}
    step = f"{len(chosen)} assets list late"
    return changed_market(market, returns, market.covariance_path, change, step, first_row=begin)


def delistings(
    market: SyntheticMarket, *, share: float = 0.2, earliest: float = 0.6, seed: int | np.random.Generator = 0
) -> SyntheticMarket:
    """Let some assets end early.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    share : float in [0, 1)
        Share of the assets, rounded to a whole number.
    earliest : float in [0, 1)
        Last rows are uniform after this share of the rows.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        With the same truth.

    Raises
    ------
    ParameterError
        If an option is out of range or an asset would keep fewer than two prices.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = delistings(factor_market(10, 100, seed=1), share=0.2)
    >>> int((~market.panel.active_mask.iloc[-1]).sum())
    2
    """
    _check_share("share", share)
    _check_share("earliest", earliest)
    returns = market.panel.returns.to_numpy().copy()
    rng = np.random.default_rng(seed)
    chosen = _chosen(returns.shape[1], share, rng)
    n_rows = len(returns)
    for asset, row in zip(chosen, rng.integers(int(earliest * n_rows), n_rows, size=len(chosen)), strict=True):
        returns[row:, asset] = np.nan
    change = {"change": "delistings", "share": share, "earliest": earliest, "seed": seed_number(seed)}
    return changed_market(market, returns, market.covariance_path, change, f"{len(chosen)} assets end early")


def holidays(
    market: SyntheticMarket,
    *,
    share: float = 0.03,
    assets: Sequence[str] | None = None,
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Close the market, or the market of some assets, on random rows.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    share : float in [0, 1)
        Share of the rows, rounded to a whole number; the first and the last row stay open.
    assets : sequence of str, optional
        The assets that are closed, one region's; None closes all, which leaves whole rows missing.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        With the same truth: a closed asset does not move, and nothing is caught up on.

    Raises
    ------
    ParameterError
        If the share is out of range or an asset is unknown.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = holidays(factor_market(4, 100, seed=1), share=0.05, assets=["A001", "A002"])
    >>> market.panel.returns.isna().sum().tolist()
    [0, 5, 5, 0]
    """
    _check_share("share", share)
    names = market.panel.asset_names
    closed = names if assets is None else list(assets)
    unknown = [name for name in closed if name not in names]
    if unknown or not closed:
        raise ParameterError(f"holidays needs assets of the panel, got {', '.join(map(str, unknown[:3])) or 'none'}")
    returns = market.panel.returns.to_numpy().copy()
    rng = np.random.default_rng(seed)
    inner = np.arange(1, max(1, len(returns) - 1))
    n_closed = min(len(inner), round(share * len(returns)))
    rows = np.sort(rng.choice(inner, size=n_closed, replace=False))
    columns = np.array([names.index(name) for name in closed])
    returns[np.ix_(rows, columns)] = np.nan
    change = {
        "change": "holidays",
        "share": share,
        "assets": None if assets is None else closed,
        "seed": seed_number(seed),
    }
    step = f"{n_closed} holidays of {'all' if assets is None else len(closed)} assets"
    return changed_market(market, returns, market.covariance_path, change, step)


@dataclass(frozen=True)
class QuietSpell:
    """One quiet spell of one asset.

    Parameters
    ----------
    asset : int
        Column.
    first_row, stop_row : int
        First quiet row, and one past the last: the row of the jump, or the end of the market.
    jumped : bool
        Whether the last row of the spell holds the jump.
    """

    asset: int
    first_row: int
    stop_row: int
    jumped: bool


@dataclass(frozen=True, eq=False)
class QuietPath(CovariancePath):
    """Truth of a market with quiet names; the formula is the module's.

    Parameters
    ----------
    base : CovariancePath
        Truth without them.
    spells : tuple of QuietSpell
        At most one at a time per asset.
    quiet, ties : float
        Share of the volatility that is left, and of the correlation with the others.
    jump_variance : float
        Variance that the chance of a jump adds to every quiet row: probability times squared size.
    """

    base: CovariancePath
    spells: tuple[QuietSpell, ...]
    quiet: float
    ties: float
    jump_variance: float

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return self.base.n_observations

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of the matrices."""
        return self.base.n_assets

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield the matrices, changed where a name is quiet."""
        for row, covariance in enumerate(self.base.between(start, stop), start):
            assets = [spell.asset for spell in self.spells if spell.first_row <= row < spell.stop_row]
            if not assets:
                yield covariance
                continue
            scale = np.ones(self.n_assets)
            scale[assets] = self.quiet * self.ties
            changed = scale[:, None] * covariance * scale
            changed[assets, assets] = self.quiet**2 * covariance[assets, assets] + self.jump_variance
            yield changed


def quiet_names(
    market: SyntheticMarket,
    *,
    n_names: int = 1,
    quiet: float = 0.15,
    ties: float = 0.2,
    jump: float = 0.25,
    mean_length: int = 60,
    first_rows_share: float = 0.7,
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Let some names go quiet and then jump once.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    n_names : int
        How many different assets have one spell each.
    quiet : float in (0, 1]
        Share of the volatility that is left.
    ties : float in [0, 1]
        Share of the correlations with the others that is left.
    jump : float in [0, 0.9]
        Size of the jump, up or down with equal probability (0.25 is 25 %).
    mean_length : int
        Mean rows of a spell; each quiet row holds the jump with probability 1 / mean_length.
    first_rows_share : float in (0, 1)
        Spells begin uniformly in this first share of the rows. One that has not jumped by the last row does not.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        The spells are `market.covariance_path.spells`.

    Raises
    ------
    ParameterError
        If an option is out of range.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = quiet_names(factor_market(5, 300, seed=1), quiet=0.1, jump=0.2, mean_length=50, seed=3)
    >>> spell = market.covariance_path.spells[0]
    >>> calm = market.panel.returns.iloc[spell.first_row : spell.stop_row - 1, spell.asset]
    >>> jump = market.panel.returns.iloc[spell.stop_row - 1, spell.asset]
    >>> spell.jumped, bool(calm.std() < 0.004), bool(abs(jump) > 0.19)
    (True, True, True)
    """
    n_rows, n_assets = market.panel.returns.shape
    if not 0 <= n_names <= n_assets:
        raise ParameterError(f"n_names must be between 0 and the market's {n_assets} assets, got {n_names}")
    if not (0 < quiet <= 1 and 0 <= ties <= 1 and 0 <= jump <= 0.9 and mean_length >= 1):
        raise ParameterError(
            "quiet_names needs quiet in (0, 1], ties in [0, 1], jump in [0, 0.9] and mean_length of at least 1, got "
            f"quiet={quiet}, ties={ties}, jump={jump}, mean_length={mean_length}"
        )
    _check_share("first_rows_share", first_rows_share)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(n_assets, size=n_names, replace=False))
    begin = rng.integers(0, max(1, int(first_rows_share * n_rows)), size=n_names)
    length = rng.geometric(1.0 / mean_length, size=n_names)
    sign = np.where(rng.random(n_names) < 0.5, -1.0, 1.0)
    spells = tuple(
        QuietSpell(int(asset), int(first), int(min(first + rows, n_rows)), bool(first + rows <= n_rows))
        for asset, first, rows in zip(chosen, begin, length, strict=True)
    )
    returns = market.panel.returns.to_numpy().copy()
    noise = rng.standard_normal((n_rows, n_names))
    if spells:
        first, stop = min(spell.first_row for spell in spells), max(spell.stop_row for spell in spells)
        volatility = np.sqrt([np.diag(matrix) for matrix in market.covariance_path.between(first, stop)])
        for i, spell in enumerate(spells):
            rows, at = slice(spell.first_row, spell.stop_row), slice(spell.first_row - first, spell.stop_row - first)
            own = np.sqrt(1.0 - ties**2) * volatility[at, spell.asset] * noise[rows, i]
            returns[rows, spell.asset] = quiet * (ties * returns[rows, spell.asset] + own)
            if spell.jumped:
                returns[spell.stop_row - 1, spell.asset] += sign[i] * jump
    change = {
        "change": "quiet_names",
        "n_names": n_names,
        "quiet": quiet,
        "ties": ties,
        "jump": jump,
        "mean_length": mean_length,
        "first_rows_share": first_rows_share,
        "seed": seed_number(seed),
    }
    path = QuietPath(market.covariance_path, spells, quiet, ties, jump**2 / mean_length)
    return changed_market(market, returns, path, change, f"{n_names} names go quiet and jump")


def twins(
    market: SyntheticMarket,
    *,
    n_share_classes: int = 1,
    n_funds: int = 1,
    tracking_error: tuple[float, float] = (0.005, 0.05),
    n_parts: tuple[int, int] = (5, 30),
    seed: int | np.random.Generator = 0,
) -> SyntheticMarket:
    """Append near-copies: share classes of single assets, and funds that mix many.

    Parameters
    ----------
    market : SyntheticMarket
        What is changed.
    n_share_classes : int
        New assets that each follow one asset, named "A003.B"; at most one per asset.
    n_funds : int
        New assets that each follow a mixture, named "ETF00", "ETF01", ...
    tracking_error : (float, float)
        Least and largest annual volatility of the difference to what is followed (252 rows a year), drawn uniformly
        in logarithms.
    n_parts : (int, int)
        Least and most assets in a mixture, cut to the number there are; weights are uniform on the simplex.
    seed : int or Generator
        Randomness.

    Returns
    -------
    SyntheticMarket
        New assets stand behind the old ones, miss a return where one of their parts does, and begin where all of
        their parts have begun. `market.covariance_path.matrix` holds what each asset follows.

    Raises
    ------
    ParameterError
        If an option is out of range or a name exists already.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> market = twins(factor_market(5, 500, seed=1), tracking_error=(0.01, 0.01), seed=2)
    >>> market.panel.asset_names[5:]
    ['A004.B', 'ETF00']
    >>> gap = market.panel.returns["A004.B"] - market.panel.returns["A004"]
    >>> round(float(gap.std() * 252**0.5), 3)
    0.01
    """
    panel = market.panel
    n_rows, n_assets = panel.returns.shape
    low, high = tracking_error
    fewest, most = n_parts
    if not 0 <= n_share_classes <= n_assets or n_funds < 0:
        raise ParameterError(
            f"twins needs 0 to {n_assets} share classes and no negative number of funds, got {n_share_classes} and "
            f"{n_funds}"
        )
    if not 0 < low <= high or not 1 <= fewest <= most:
        raise ParameterError(
            "tracking_error and n_parts must each be a least and a largest positive number, got "
            f"{tracking_error} and {n_parts}"
        )
    rng = np.random.default_rng(seed)
    parents = np.sort(rng.choice(n_assets, size=n_share_classes, replace=False))
    follows = np.zeros((n_share_classes + n_funds, n_assets))
    follows[np.arange(n_share_classes), parents] = 1.0
    for row in range(n_share_classes, len(follows)):
        size = int(rng.integers(min(fewest, n_assets), min(most, n_assets) + 1))
        parts = rng.choice(n_assets, size=size, replace=False)
        follows[row, parts] = rng.dirichlet(np.ones(size))
    annual = np.exp(rng.uniform(np.log(low), np.log(high), size=len(follows)))
    own = annual / np.sqrt(_PERIODS_PER_YEAR)

    returns = panel.returns.to_numpy()
    seen = np.isfinite(returns)
    followed = np.where(seen, returns, 0.0) @ follows.T + own * rng.standard_normal((n_rows, len(follows)))
    followed[(~seen).astype(float) @ (follows > 0).T > 0] = np.nan
    old = panel.asset_names
    names = [*old, *(f"{old[i]}.B" for i in parents), *(f"ETF{i:02d}" for i in range(n_funds))]
    if len(set(names)) < len(names):
        raise ParameterError("twins were added before, so their names exist; add all of them at once")
    matrix = np.vstack([np.eye(n_assets), follows])
    begin = first_rows(panel)
    new_begin = [int(begin[follows[i] > 0].max()) for i in range(len(follows))]
    sectors = None
    if panel.sectors is not None:
        labels = [panel.sectors.iloc[i] for i in parents] + [None] * n_funds
        sectors = pd.concat([panel.sectors, pd.Series(labels, index=names[n_assets:], dtype=object)])
    change = {
        "change": "twins",
        "n_share_classes": n_share_classes,
        "n_funds": n_funds,
        "tracking_error": list(tracking_error),
        "n_parts": list(n_parts),
        "seed": seed_number(seed),
        "annual_tracking_errors": dict(zip(names[n_assets:], annual.tolist(), strict=True)),
    }
    path = LinearPath(market.covariance_path, matrix, np.concatenate([np.zeros(n_assets), own**2]))
    return changed_market(
        market,
        np.column_stack([returns, followed]),
        path,
        change,
        f"{len(follows)} twins were added",
        names=names,
        first_row=np.concatenate([begin, new_begin]).astype(np.int64),
        sectors=sectors,
    )


def _chosen(n_assets: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A share of the assets, never the first one, in column order."""
    return np.sort(rng.choice(np.arange(1, n_assets), size=min(n_assets - 1, round(share * n_assets)), replace=False))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise ParameterError(f"{name} must be a share in [0, 1), got {share}")
