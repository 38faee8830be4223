"""The kinds of synthetic data that can be asked for by name, each drawn from two sizes and a seed.

A kind is a recipe with its options fixed; the functions of this room take them all. The same name, sizes and seed
give the same bits. Kinds made of real rows use the embedded S&P 500 table through 2020.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eigenfolio.data.readers import MIN_ASSETS, MIN_ROWS, read_panel
from eigenfolio.data.synthetic.dynamics import (
    AsymmetricJumps,
    DynamicCorrelation,
    Dynamics,
    Garch,
    Normal,
    RegimeSwitching,
    Student,
    StudentCopula,
    draw_market,
)
from eigenfolio.data.synthetic.frictions import delistings, holidays, late_listings, quiet_names, twins
from eigenfolio.data.synthetic.markets import SyntheticMarket, factor_market
from eigenfolio.data.synthetic.order_books import SyntheticBook, order_book
from eigenfolio.data.synthetic.perturbation import inject_crisis, perturb_market
from eigenfolio.data.synthetic.populations import (
    Population,
    block_covariance,
    factor_covariance,
    ledoit_wolf_spectrum,
    spiked_covariance,
    stressed_population,
)
from eigenfolio.data.synthetic.resampling import bootstrap_market
from eigenfolio.data.synthetic.signals import lead_lag_market, momentum_market, null_market, regime_momentum_market
from eigenfolio.errors import ParameterError
from eigenfolio.panel import Panel

__all__ = ["KINDS", "Kind", "draw_kind", "find_kind"]

_LAST_REAL_DATE = "2020-12-31"


@dataclass(frozen=True)
class Kind:
    """One kind of synthetic data.

    Parameters
    ----------
    name : str
        What it is asked for by.
    summary : str
        One line.
    draw : callable
        From number of assets, number of rows and seed. Order books do not look at the first.
    n_assets : int or None
        Default number of assets; None for order books, which have none.
    n_rows : int
        Default number of rows of returns, or of snapshots.
    """

    name: str
    summary: str
    draw: Callable[[int, int, int], SyntheticMarket | SyntheticBook]
    n_assets: int | None = 50
    n_rows: int = 1260


def find_kind(name: str) -> Kind:
    """Return a kind by its name.

    Raises
    ------
    ParameterError
        If there is none; the message names the nearest.

    Examples
    --------
    >>> find_kind("momentum").n_assets
    50
    """
    if name in KINDS:
        return KINDS[name]
    near = difflib.get_close_matches(name.lower(), KINDS, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(KINDS)}"
    raise ParameterError(f"there is no kind {name!r} of synthetic data; {mend}")


def draw_kind(
    name: str, *, n_assets: int | None = None, n_rows: int | None = None, seed: int = 0
) -> SyntheticMarket | SyntheticBook:
    """Draw synthetic data of a named kind.

    Parameters
    ----------
    name : str
        A key of `KINDS`.
    n_assets : int, optional
        At least 2; None is the kind's default. Order books have none.
    n_rows : int, optional
        Rows of returns or snapshots, at least 30; None is the kind's default.
    seed : int
        At least 0.

    Returns
    -------
    SyntheticMarket or SyntheticBook

    Raises
    ------
    ParameterError
        If the kind is unknown, a size is out of range, or assets are asked of an order book.

    Examples
    --------
    >>> draw_kind("twins", n_assets=20, n_rows=100, seed=1).panel.n_assets
    20
    """
    kind = find_kind(name)
    if kind.n_assets is None and n_assets is not None:
        raise ParameterError(f"{name} is one order book and has no assets to count; leave the number out")
    assets = n_assets if n_assets is not None else kind.n_assets or 1
    rows = kind.n_rows if n_rows is None else n_rows
    if seed < 0:
        raise ParameterError(f"a seed must be at least 0, got {seed}")
    if rows < MIN_ROWS or (kind.n_assets is not None and assets < MIN_ASSETS):
        raise ParameterError(
            f"synthetic data need at least {MIN_ASSETS} assets and {MIN_ROWS} rows, got {assets} and {rows}"
        )
    return kind.draw(assets, rows, seed)


def _seeds(seed: int, count: int) -> list[int]:
    """Independent seeds that are recorded with what they draw."""
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(count)]


def _of_law(
    population: Callable[[int, np.random.Generator], Population],
    dynamics: Callable[[Population], Dynamics] = lambda population: Normal(),
) -> Callable[[int, int, int], SyntheticMarket]:
    """A recipe from a population and a dynamics."""

    def draw(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
        first, second = _seeds(seed, 2)
        drawn = population(n_assets, np.random.default_rng(first))
        return draw_market(drawn, dynamics(drawn), n_rows, seed=second)

    return draw


def _factor_population(n_assets: int, rng: np.random.Generator) -> Population:
    return factor_covariance(n_assets, rng=rng)


def _spiked_population(n_assets: int, rng: np.random.Generator) -> Population:
    return spiked_covariance(n_assets, spikes=(30.0, 8.0, 4.0)[: n_assets - 1], rng=rng)


def _block_population(n_assets: int, rng: np.random.Generator) -> Population:
    return block_covariance(n_assets, min(5, n_assets), rng=rng)


def _spectrum_population(n_assets: int, rng: np.random.Generator) -> Population:
    return ledoit_wolf_spectrum(n_assets, rng=rng)


def _real_rows(n_assets: int) -> Panel:
    panel = read_panel("sp500").until(_LAST_REAL_DATE)
    if n_assets > panel.n_assets:
        raise ParameterError(f"the embedded table has {panel.n_assets} assets, got n_assets={n_assets}; ask for fewer")
    return panel.select(panel.asset_names[:n_assets])


def _bootstrap(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    return bootstrap_market(_real_rows(n_assets), n_rows, seed=seed)


def _null(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second = _seeds(seed, 2)
    return null_market(factor_market(n_assets, 1, seed=first).covariance, n_rows, seed=second)


def _null_real(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    return null_market(_real_rows(n_assets), n_rows, seed=seed)


def _drift(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second = _seeds(seed, 2)
    market = factor_market(n_assets, n_rows, seed=first)
    return perturb_market(market, correlation_noise=0.1, eigenvalue_noise=0.3, first_row=n_rows // 2, seed=second)


def _crisis(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second = _seeds(seed, 2)
    market = factor_market(n_assets, n_rows, seed=first)
    return inject_crisis(market, first_row=n_rows // 2, n_rows=max(1, n_rows // 10), seed=second)


def _listings(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second, third, fourth = _seeds(seed, 4)
    market = late_listings(factor_market(n_assets, n_rows, seed=first), share=0.3, latest=0.5, seed=second)
    return holidays(delistings(market, share=0.2, seed=third), share=0.03, seed=fourth)


def _quiet(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second = _seeds(seed, 2)
    return quiet_names(factor_market(n_assets, n_rows, seed=first), n_names=max(1, n_assets // 10), seed=second)


def _twins(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    first, second = _seeds(seed, 2)
    n_share_classes = max(1, n_assets // 10)
    n_funds = n_assets // 10
    market = factor_market(n_assets - n_share_classes - n_funds, n_rows, seed=first)
    return twins(market, n_share_classes=n_share_classes, n_funds=n_funds, seed=second)


def _lead_lag(n_assets: int, n_rows: int, seed: int) -> SyntheticMarket:
    return lead_lag_market(n_assets, n_rows, leaders_per_follower=min(2, n_assets - n_assets // 2), seed=seed)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "factor",
            "three factors, dispersed betas and volatilities, normal rows",
            lambda n_assets, n_rows, seed: factor_market(n_assets, n_rows, seed=seed),
        ),
        Kind("spiked", "a few large eigenvalues over a flat remainder", _of_law(_spiked_population)),
        Kind("block", "groups with one correlation within and another between", _of_law(_block_population)),
        Kind("ledoit-wolf", "eigenvalues 1, 3 and 10 for 20, 40 and 40 % of them", _of_law(_spectrum_population)),
        Kind(
            "student", "factor covariance, multivariate Student rows", _of_law(_factor_population, lambda _: Student())
        ),
        Kind("jumps", "asymmetric jumps, common and own", _of_law(_factor_population, lambda _: AsymmetricJumps())),
        Kind("garch", "GARCH(1,1) volatilities, constant correlations", _of_law(_factor_population, lambda _: Garch())),
        Kind(
            "dcc",
            "GARCH volatilities, dynamic correlations",
            _of_law(_factor_population, lambda _: DynamicCorrelation()),
        ),
        Kind(
            "regimes",
            "Markov switching between a calm and a stressed covariance",
            _of_law(_factor_population, lambda calm: RegimeSwitching((stressed_population(calm),))),
        ),
        Kind("copula", "Student copula, joint tail events", _of_law(_factor_population, lambda _: StudentCopula())),
        Kind("bootstrap", "blocks of real rows (embedded S&P 500 stocks)", _bootstrap, n_assets=20),
        Kind("drift", "correlations and eigenvalues that change halfway", _drift),
        Kind("crisis", "a tenth of the rows with higher volatilities and correlations", _crisis),
        Kind("listings", "late listings, delistings and holidays", _listings),
        Kind("quiet", "names that go quiet and then jump, like merger targets", _quiet),
        Kind("twins", "share classes and funds that nearly copy other assets", _twins),
        Kind("null", "nothing can be predicted, factor covariance", _null),
        Kind("null-real", "nothing can be predicted, real rows with random signs", _null_real, n_assets=20),
        Kind(
            "momentum",
            "past 21 own returns predict the next, IC 0.05",
            lambda n_assets, n_rows, seed: momentum_market(n_assets, n_rows, seed=seed),
        ),
        Kind(
            "lead-lag",
            "returns lead others along a known graph, IC 0.05",
            _lead_lag,
        ),
        Kind(
            "regime-momentum",
            "momentum whose sign a slow regime flips, IC 0.05",
            lambda n_assets, n_rows, seed: regime_momentum_market(n_assets, n_rows, seed=seed),
        ),
        Kind(
            "book-null",
            "ten-level order book that says nothing",
            lambda _, n_rows, seed: order_book(n_rows, seed=seed),
            n_assets=None,
            n_rows=10_000,
        ),
        Kind(
            "book-imbalance",
            "ten-level order book whose imbalance leads the mid, IC 0.1",
            lambda _, n_rows, seed: order_book(n_rows, information_coefficient=0.1, seed=seed),
            n_assets=None,
            n_rows=10_000,
        ),
    )
}
"""Every kind by its name."""
