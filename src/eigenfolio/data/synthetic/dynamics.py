r"""Dynamics: how returns follow each other, given a population, with the covariance of every row known.

A dynamics draws an array of returns together with its `CovariancePath`, the covariance of each row given the rows
(and, with regimes, the states) up to it. Means are zero. With Sigma the population's covariance, C its correlation
and s its volatilities:

    Normal                independent N(0, Sigma)
    Student               independent multivariate t, scaled to covariance Sigma
    AsymmetricJumps       N(0, Sigma) plus compensated jumps, common and own; covariance in closed form
    Garch                 variances h[t+1] = (1 - a - b) s^2 + a r[t]^2 + b h[t], correlation C in every row [1]_
    DynamicCorrelation    the same variances; Q[t+1] = (1 - c - d) C + c e[t] e[t]' + d Q[t] with e = r / sqrt(h), put
                          on unit diagonal, is the correlation [2]_
    RegimeSwitching       N(0, Sigma[state]), the state a Markov chain
    StudentCopula         independent rows, t copula with correlation C, margins normal or t [3]_

References
----------
.. [1] T. Bollerslev (1990). Modelling the coherence in short-run nominal exchange rates: a multivariate generalized
   ARCH model. Review of Economics and Statistics 72(3), 498-505.
.. [2] R. Engle (2002). Dynamic conditional correlation. Journal of Business and Economic Statistics 20(3), 339-350.
.. [3] S. Demarta and A. J. McNeil (2005). The t copula and related copulas. International Statistical Review 73(1),
   111-129.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtri, stdtr, stdtrit

from eigenfolio.data.synthetic.markets import (
    ConstantCovariance,
    CovariancePath,
    SyntheticMarket,
    market_from_returns,
)
from eigenfolio.data.synthetic.populations import Population
from eigenfolio.errors import ParameterError

__all__ = [
    "AsymmetricJumps",
    "CorrelationPath",
    "DynamicCorrelation",
    "Dynamics",
    "Garch",
    "Normal",
    "RegimePath",
    "RegimeSwitching",
    "Student",
    "StudentCopula",
    "VolatilityPath",
    "copula_correlation",
    "draw_market",
]

FloatArray = npt.NDArray[np.float64]

_BURN_IN = 250  # rows drawn and dropped, so that the first row kept is not special
_NEGLIGIBLE = 1e-17  # weight of a past row in a correlation, relative to the newest
_HIGHEST_POWER = 99  # of the series of a copula's correlation


class Dynamics(ABC):
    """A law of returns over time, given a population. Final classes are frozen dataclasses of its options."""

    name: ClassVar[str]

    @abstractmethod
    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and say their covariance row by row.

        Parameters
        ----------
        population : Population
            Covariance the law is built on.
        n_observations : int
            Rows, at least 1.
        rng : Generator
            Randomness.

        Returns
        -------
        returns : ndarray of shape (n_observations, n_assets)
            Simple returns with mean zero.
        covariance_path : CovariancePath
            Of the same rows.
        """

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""


def draw_market(
    population: Population,
    dynamics: Dynamics,
    n_observations: int,
    *,
    seed: int | np.random.Generator = 0,
    start: str = "2010-01-04",
) -> SyntheticMarket:
    """Draw a market from a population and a dynamics.

    Parameters
    ----------
    population : Population
        Covariance the law is built on.
    dynamics : Dynamics
        Law of the returns.
    n_observations : int
        Rows of returns (the prices have one row more).
    seed : int or Generator
        Randomness of the draw (the population has had its own).
    start : str
        Date of the first price.

    Returns
    -------
    SyntheticMarket
        Of kind "POPULATION-DYNAMICS". Returns below -95 % are set to -95 %, which only extreme tails reach.

    Raises
    ------
    ParameterError
        If a size is out of range.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import Garch, draw_market, factor_covariance
    >>> market = draw_market(factor_covariance(5), Garch(), 300, seed=1)
    >>> market.kind, market.panel.returns.shape, market.covariance_path.at(12).shape
    ('factor-garch', (300, 5), (5, 5))
    """
    if n_observations < 1:
        raise ParameterError(f"n_observations must be at least 1, got {n_observations}")
    returns, path = dynamics.draw(population, n_observations, np.random.default_rng(seed))
    return market_from_returns(
        returns,
        path,
        kind=f"{population.name}-{dynamics.name}",
        seed=None if isinstance(seed, np.random.Generator) else seed,
        parameters={
            "population": {"name": population.name, **population.parameters},
            "dynamics": {"name": dynamics.name, **dynamics.parameters()},
        },
        start=start,
    )


@dataclass(frozen=True)
class Normal(Dynamics):
    """Independent normal rows with the population's covariance.

    Examples
    --------
    >>> returns, path = Normal().draw(Population(np.eye(2)), 3, np.random.default_rng(0))
    >>> returns.shape, path.at(2).tolist()
    ((3, 2), [[1.0, 0.0], [0.0, 1.0]])
    """

    name: ClassVar[str] = "normal"

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and their constant covariance."""
        returns = rng.standard_normal((n_observations, population.n_assets)) @ population.root.T
        return returns, ConstantCovariance(population.covariance, n_observations)

    def parameters(self) -> dict[str, Any]:
        """No options."""
        return {}


@dataclass(frozen=True)
class Student(Dynamics):
    """Independent rows of a multivariate Student distribution with the population's covariance.

    Parameters
    ----------
    degrees_of_freedom : float
        Above 2; small is fat tails. All assets share the day's scale, so they are extreme together.

    Examples
    --------
    >>> Student(5).parameters()
    {'degrees_of_freedom': 5}
    """

    degrees_of_freedom: float = 5.0
    name: ClassVar[str] = "student"

    def __post_init__(self) -> None:
        _check_degrees("degrees_of_freedom", self.degrees_of_freedom)

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and their constant covariance."""
        df = self.degrees_of_freedom
        returns = rng.standard_normal((n_observations, population.n_assets)) @ population.root.T
        returns *= np.sqrt((df - 2) / rng.chisquare(df, (n_observations, 1)))
        return returns, ConstantCovariance(population.covariance, n_observations)

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class AsymmetricJumps(Dynamics):
    r"""Normal rows plus jumps that are more often down than up, compensated so that means stay zero.

    With sizes in units of each asset's volatility s_i, B a day's chance event and N a normal size,

    .. math:: r_i = \epsilon_i + s_i (B N - p m) + s_i (B_i N_i - p_o m_o)

    so that the covariance of every row is

    .. math:: \Sigma + v \, s s' + v_o \, \mathrm{diag}(s^2), \qquad v = p (m^2 + d^2) - p^2 m^2

    and likewise for the own jumps. The population is the covariance of the part without jumps.

    Parameters
    ----------
    probability : float in [0, 1]
        Chance per row of a jump of all assets together (p).
    mean, deviation : float
        Mean (m) and standard deviation (d) of its size, in volatilities.
    own_probability : float in [0, 1]
        Chance per row and asset of a jump of its own.
    own_mean, own_deviation : float
        Mean and standard deviation of its size.

    Examples
    --------
    One asset, a jump of exactly -2 volatilities on half of the days: 1 + 0.5 * 4 - 0.25 * 4 = 2.

    >>> law = AsymmetricJumps(0.5, -2.0, 0.0, 0.0, 0.0, 0.0)
    >>> law.draw(Population(np.eye(1)), 3, np.random.default_rng(0))[1].at(0)
    array([[2.]])
    """

    probability: float = 0.02
    mean: float = -2.0
    deviation: float = 1.5
    own_probability: float = 0.01
    own_mean: float = -1.5
    own_deviation: float = 4.0
    name: ClassVar[str] = "jumps"

    def __post_init__(self) -> None:
        for name in ("probability", "own_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("deviation", "own_deviation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParameterError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        if not (math.isfinite(self.mean) and math.isfinite(self.own_mean)):
            raise ParameterError(f"mean and own_mean must be finite, got {self.mean} and {self.own_mean}")

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and their constant covariance."""
        size = (n_observations, population.n_assets)
        volatility = population.volatility
        returns = rng.standard_normal(size) @ population.root.T
        together = _jumps(rng, (n_observations, 1), self.probability, self.mean, self.deviation)
        alone = _jumps(rng, size, self.own_probability, self.own_mean, self.own_deviation)
        returns += volatility * (together + alone)
        covariance = population.covariance + np.outer(volatility, volatility) * _jump_variance(
            self.probability, self.mean, self.deviation
        )
        covariance[np.diag_indices_from(covariance)] += volatility**2 * _jump_variance(
            self.own_probability, self.own_mean, self.own_deviation
        )
        return returns, ConstantCovariance(covariance, n_observations)

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""
        return asdict(self)


def _jumps(
    rng: np.random.Generator, size: tuple[int, int], probability: float, mean: float, deviation: float
) -> FloatArray:
    happens = rng.random(size) < probability
    sizes = rng.normal(mean, deviation, size)
    return np.where(happens, sizes, 0.0) - probability * mean


def _jump_variance(probability: float, mean: float, deviation: float) -> float:
    return probability * (mean**2 + deviation**2) - (probability * mean) ** 2


@dataclass(frozen=True, eq=False)
class VolatilityPath(CovariancePath):
    """Volatilities that change from row to row, with one correlation.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Unit diagonal.
    volatility : ndarray of shape (n_observations, n_assets)
        Per period.
    """

    correlation: FloatArray
    volatility: FloatArray

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return len(self.volatility)

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of its matrices."""
        return len(self.correlation)

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield correlation times the row's volatilities."""
        for row in range(start, stop):
            yield self.correlation * np.outer(self.volatility[row], self.volatility[row])


@dataclass(frozen=True)
class Garch(Dynamics):
    """GARCH(1,1) variances around the population's, with its correlation in every row.

    Parameters
    ----------
    arch, garch : float
        Weight of the last squared return and of the last variance, at least 0, with a sum below 1. The
        unconditional variances are the population's; the first row kept comes after 250 that are dropped.

    Raises
    ------
    ParameterError
        If the weights leave their range.

    Examples
    --------
    >>> Garch(arch=0.1, garch=0.95)
    Traceback (most recent call last):
        ...
    eigenfolio.errors.ParameterError: arch and garch must be at least 0 with a sum below 1, got 0.1 and 0.95
    """

    arch: float = 0.08
    garch: float = 0.90
    name: ClassVar[str] = "garch"

    def __post_init__(self) -> None:
        _check_weights("arch", self.arch, "garch", self.garch)

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and the path of their volatilities."""
        noise = rng.standard_normal((_BURN_IN + n_observations, population.n_assets)) @ population.root.T
        noise /= population.volatility
        volatility = _garch_volatility(noise, population.volatility, self.arch, self.garch)[_BURN_IN:]
        return volatility * noise[_BURN_IN:], VolatilityPath(population.correlation, volatility)

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""
        return asdict(self)


def _garch_volatility(noise: FloatArray, volatility: FloatArray, arch: float, garch: float) -> FloatArray:
    """Volatility of every row from standardised shocks; the first row has the unconditional ones."""
    level = (1.0 - arch - garch) * volatility**2
    variance = np.empty_like(noise)
    variance[0] = volatility**2
    shock = arch * noise**2 + garch  # what the next variance takes of this one
    for row in range(1, len(noise)):
        variance[row] = level + shock[row - 1] * variance[row - 1]
    return np.sqrt(variance)


@dataclass(frozen=True, eq=False)
class CorrelationPath(CovariancePath):
    r"""Volatilities and correlations that change from row to row, rebuilt from standardised shocks.

    The correlation of a row is that of

    .. math:: Q_t = q_t C + \sum_k c \, d^k e_{t-1-k} e_{t-1-k}'

    a weighted sum over the shocks since the first one kept, so that no matrix has to be stored.

    Parameters
    ----------
    correlation : ndarray of shape (n_assets, n_assets)
        Level of the correlations (C).
    shocks : ndarray of shape (n_before + n_observations, n_assets)
        Standardised returns (e), those of earlier rows first. Q was C in the first of them.
    volatility : ndarray of shape (n_observations, n_assets)
        Per period.
    news, memory : float
        Weights c and d.
    """

    correlation: FloatArray
    shocks: FloatArray
    volatility: FloatArray
    news: float
    memory: float

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return len(self.volatility)

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of its matrices."""
        return len(self.correlation)

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield the covariances, the first from the shocks, the next by one step of the recursion each."""
        n_before = len(self.shocks) - len(self.volatility)
        at = n_before + start
        weights, level = _past_weights(at, self.news, self.memory)
        past = self.shocks[at - len(weights) : at]
        state = level * self.correlation + (past.T * weights) @ past
        for row in range(start, stop):
            scale = self.volatility[row] / np.sqrt(np.diag(state))
            yield state * np.outer(scale, scale)
            shock = self.shocks[n_before + row]
            state = (
                (1.0 - self.news - self.memory) * self.correlation
                + self.news * np.outer(shock, shock)
                + self.memory * state
            )


def _past_weights(row: int, news: float, memory: float) -> tuple[FloatArray, float]:
    """Weights of the shocks before `row` (oldest first) in its Q, and what is left for the level."""
    count = 1 if memory == 0.0 else math.ceil(math.log(_NEGLIGIBLE) / math.log(memory))
    count = min(row, count)
    weights = news * memory ** np.arange(count - 1, -1, -1, dtype=float)
    return weights, 1.0 - news * (1.0 - memory**count) / (1.0 - memory)


@dataclass(frozen=True)
class DynamicCorrelation(Dynamics):
    """Dynamic conditional correlation (DCC) with GARCH(1,1) variances.

    A row is drawn without a factorisation of its matrix: Q is a sum of the level and of outer products of past
    shocks, so a normal vector with covariance Q is a sum of one with the level's and of the past shocks times
    independent normals.

    Parameters
    ----------
    news, memory : float
        Weight of the last outer product of shocks and of the last Q, at least 0, with a sum below 1.
    arch, garch : float
        As in `Garch`.

    Raises
    ------
    ParameterError
        If the weights leave their range.

    Examples
    --------
    >>> returns, path = DynamicCorrelation().draw(Population(np.eye(3)), 50, np.random.default_rng(0))
    >>> returns.shape, bool(abs(path.at(49)[0, 1]) > 0)
    ((50, 3), True)
    """

    news: float = 0.03
    memory: float = 0.94
    arch: float = 0.08
    garch: float = 0.90
    name: ClassVar[str] = "dcc"

    def __post_init__(self) -> None:
        _check_weights("news", self.news, "memory", self.memory)
        _check_weights("arch", self.arch, "garch", self.garch)

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and the path of their volatilities and correlations."""
        n_rows = _BURN_IN + n_observations
        around_level = rng.standard_normal((n_rows, population.n_assets)) @ population.root.T
        around_level /= population.volatility
        shocks = np.empty_like(around_level)
        variance = np.ones(population.n_assets)  # diagonal of Q
        for row in range(n_rows):
            weights, level = _past_weights(row, self.news, self.memory)
            drawn = np.sqrt(weights) * rng.standard_normal(len(weights))
            shock = math.sqrt(level) * around_level[row] + drawn @ shocks[row - len(weights) : row]
            shocks[row] = shock / np.sqrt(variance)
            variance = (1.0 - self.news - self.memory) + self.news * shocks[row] ** 2 + self.memory * variance
        volatility = _garch_volatility(shocks, population.volatility, self.arch, self.garch)[_BURN_IN:]
        path = CorrelationPath(population.correlation, shocks, volatility, self.news, self.memory)
        return volatility * shocks[_BURN_IN:], path

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class RegimePath(CovariancePath):
    """One of several covariances in each row.

    Parameters
    ----------
    covariances : tuple of ndarray of shape (n_assets, n_assets)
        One per state.
    states : ndarray of shape (n_observations,)
        State of each row, a position in `covariances`.
    """

    covariances: tuple[FloatArray, ...]
    states: npt.NDArray[np.int64]

    @property
    def n_observations(self) -> int:  # type: ignore[override]
        """Rows of the path."""
        return len(self.states)

    @property
    def n_assets(self) -> int:  # type: ignore[override]
        """Order of its matrices."""
        return len(self.covariances[0])

    def between(self, start: int, stop: int) -> Iterator[FloatArray]:
        """Yield the covariance of the row's state."""
        for state in self.states[start:stop]:
            yield self.covariances[state]


@dataclass(frozen=True)
class RegimeSwitching(Dynamics):
    """Markov switching between the given population (state 0) and others. The path knows the states.

    Parameters
    ----------
    others : tuple of Population
        States 1, 2, ..., with the same number of assets; at least one.
    stay : float or tuple of float, in [0, 1)
        Chance of staying in a state for another row, one for all or one per state; a state is left for each of the
        others with equal chance. The first row's state has the stationary distribution, proportional to
        1 / (1 - stay).

    Raises
    ------
    ParameterError
        If a chance or a count is out of range.

    Examples
    --------
    >>> law = RegimeSwitching((Population(4 * np.eye(2)),), stay=0.9)
    >>> _, path = law.draw(Population(np.eye(2)), 60, np.random.default_rng(0))
    >>> sorted({float(path.at(row)[0, 0]) for row in range(60)})
    [1.0, 4.0]
    """

    others: tuple[Population, ...]
    stay: float | tuple[float, ...] = 0.98
    name: ClassVar[str] = "regimes"

    def __post_init__(self) -> None:
        if not self.others:
            raise ParameterError("RegimeSwitching needs at least one other population")
        chances = self._chances()
        if len(chances) != len(self.others) + 1 or not all(0 <= chance < 1 for chance in chances):
            raise ParameterError(
                f"stay must be one chance in [0, 1), or one for each of {len(self.others) + 1} states, got {self.stay}"
            )

    def _chances(self) -> tuple[float, ...]:
        if isinstance(self.stay, tuple):
            return self.stay
        return (float(self.stay),) * (len(self.others) + 1)

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw states and returns."""
        populations = (population, *self.others)
        if len({member.n_assets for member in populations}) > 1:
            raise ParameterError(
                f"all states need the same number of assets, got {[member.n_assets for member in populations]}"
            )
        states = self._states(n_observations, rng)
        noise = rng.standard_normal((n_observations, population.n_assets))
        returns = np.empty_like(noise)
        for state, member in enumerate(populations):
            rows = states == state
            returns[rows] = noise[rows] @ member.root.T
        return returns, RegimePath(tuple(member.covariance for member in populations), states)

    def _states(self, n_observations: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        chances = np.array(self._chances())
        duration = 1.0 / (1.0 - chances)
        states = np.empty(n_observations, dtype=np.int64)
        state = int(rng.choice(len(chances), p=duration / duration.sum()))
        moves, steps = rng.random(n_observations), rng.integers(1, len(chances), n_observations)
        for row in range(n_observations):
            states[row] = state
            if moves[row] >= chances[state]:
                state = int((state + steps[row]) % len(chances))
        return states

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able; populations by name and options."""
        others = [{"name": member.name, **member.parameters} for member in self.others]
        return {"others": others, "stay": list(self._chances())}


@dataclass(frozen=True)
class StudentCopula(Dynamics):
    """Independent rows with a t copula: joint extremes of the copula, tails of the margins.

    The copula's correlation parameter is the population's correlation. The correlation of the returns is a function
    of it that `copula_correlation` gives; volatilities are the population's.

    Parameters
    ----------
    degrees_of_freedom : float
        Of the copula, at least 1; small is much dependence in the tails.
    margin_degrees_of_freedom : float, optional
        Of Student margins, above 2; None is normal margins. Equal to the copula's, it is `Student`.

    Raises
    ------
    ParameterError
        If the degrees of freedom leave their range.

    Examples
    --------
    >>> law = StudentCopula(degrees_of_freedom=4)
    >>> population = Population(np.array([[1.0, 0.5], [0.5, 1.0]]))
    >>> law.draw(population, 10, np.random.default_rng(0))[1].at(0).round(3)
    array([[1.   , 0.492],
           [0.492, 1.   ]])
    """

    degrees_of_freedom: float = 4.0
    margin_degrees_of_freedom: float | None = None
    name: ClassVar[str] = "copula"

    def __post_init__(self) -> None:
        _check_copula(self.degrees_of_freedom, self.margin_degrees_of_freedom)

    def draw(
        self, population: Population, n_observations: int, rng: np.random.Generator
    ) -> tuple[FloatArray, CovariancePath]:
        """Draw returns and their constant covariance."""
        df, volatility = self.degrees_of_freedom, population.volatility
        latent = rng.standard_normal((n_observations, population.n_assets)) @ population.root.T / volatility
        latent /= np.sqrt(rng.chisquare(df, (n_observations, 1)) / df)
        returns = volatility * _to_margin(latent, df, self.margin_degrees_of_freedom)
        correlation = copula_correlation(
            population.correlation,
            degrees_of_freedom=df,
            margin_degrees_of_freedom=self.margin_degrees_of_freedom,
        )
        return returns, ConstantCovariance(correlation * np.outer(volatility, volatility), n_observations)

    def parameters(self) -> dict[str, Any]:
        """Options, JSON-able."""
        return asdict(self)


def copula_correlation(
    correlation: FloatArray, *, degrees_of_freedom: float, margin_degrees_of_freedom: float | None = None
) -> FloatArray:
    r"""Correlation of variables with a t copula, from the correlation parameter of the copula.

    A variable is h(Z sqrt(nu / W)) with Z normal, W chi-square and h the odd map from t quantiles to those of the
    margin. Given W, expand h in Hermite polynomials: with coefficients c_k(W) two variables with parameter rho have
    covariance sum c_k(W)^2 rho^k, hence

    .. math:: g(\rho) = \sum_{k \; \mathrm{odd}} a_k \rho^k, \qquad a_k = E[c_k(W)^2] \ge 0, \qquad \sum a_k = 1.

    The coefficients come from quadrature. Powers above 99 are put together in one, so that g(1) = 1; the error is at
    most their sum times rho^101, below 1e-8 for |rho| up to 0.9 and 3 or more degrees of freedom. All coefficients
    being positive, g of a correlation matrix is one too.

    Parameters
    ----------
    correlation : ndarray
        Parameters in [-1, 1], any shape.
    degrees_of_freedom : float
        Of the copula (nu), at least 1.
    margin_degrees_of_freedom : float, optional
        Of Student margins, above 2; None is normal margins.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ParameterError
        If a number leaves its range.

    Examples
    --------
    Margins of the copula's own degrees of freedom make a multivariate t, whose correlation is its parameter.

    >>> parameters = np.array([0.0, 0.5, 1.0])
    >>> copula_correlation(parameters, degrees_of_freedom=5, margin_degrees_of_freedom=5).round(12)
    array([0. , 0.5, 1. ])
    >>> copula_correlation(parameters, degrees_of_freedom=5).round(6)
    array([0.      , 0.494614, 1.      ])
    """
    _check_copula(degrees_of_freedom, margin_degrees_of_freedom)
    if not (np.abs(correlation) <= 1.0 + 1e-12).all():
        raise ParameterError("correlation must lie in [-1, 1]")
    coefficients = _copula_coefficients(float(degrees_of_freedom), margin_degrees_of_freedom)
    square = np.asarray(correlation, dtype=float) ** 2
    total = np.full(square.shape, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= square
        total += coefficient
    return np.asarray(correlation * total)


@lru_cache(maxsize=32)
def _copula_coefficients(df: float, margin_df: float | None) -> tuple[float, ...]:
    """Coefficients of rho, rho^3, rho^5, ..."""
    if margin_df is not None and margin_df == df:
        return (1.0,)
    # Trapezoid rules in variables in which the integrands are smooth and fall exponentially: Z = log(1 + exp(s)), fine
    # near zero where h is steep when W is small (half a line does, the integrand being even), and log W.
    step = np.arange(-40.0, 14.0, 0.05)
    nodes = np.logaddexp(0.0, step)
    weights = np.exp(-0.5 * nodes**2) * -np.expm1(-nodes)
    weights /= weights.sum()
    log_mixing = np.arange(-80.0 / df, math.log(df + 40.0 * math.sqrt(df) + 100.0), 0.1)
    mixing = np.exp(log_mixing)
    density = np.exp(0.5 * df * log_mixing - 0.5 * mixing - 0.5 * df * math.log(2.0) - gammaln(0.5 * df))
    density /= density.sum()
    values = _to_margin(nodes * np.sqrt(df / mixing)[:, None], df, margin_df)  # (n_mixing, n_nodes)
    before, polynomial = np.zeros_like(nodes), np.ones_like(nodes)
    coefficients = []
    for degree in range(1, _HIGHEST_POWER + 1):
        before, polynomial = (
            polynomial,
            (nodes * polynomial - math.sqrt(degree - 1) * before) / math.sqrt(degree),
        )
        if degree % 2:
            coefficients.append(float(density @ (values @ (weights * polynomial)) ** 2))
    rest = 1.0 - sum(coefficients)
    if rest < 0.0:  # rounding of the quadrature
        return tuple(coefficient / (1.0 - rest) for coefficient in coefficients)
    return (*coefficients, rest)


def _to_margin(latent: FloatArray, df: float, margin_df: float | None) -> FloatArray:
    """Map t variables to a margin of unit variance by their quantiles, from the lower tail for precision."""
    if margin_df is not None and margin_df == df:
        return latent * math.sqrt((df - 2) / df)
    tail = np.maximum(stdtr(df, -np.abs(latent)), np.finfo(float).tiny)
    size = -ndtri(tail) if margin_df is None else -stdtrit(margin_df, tail) * math.sqrt((margin_df - 2) / margin_df)
    return np.copysign(size, latent)


def _check_degrees(name: str, value: float) -> None:
    if not 2 < value < math.inf:
        raise ParameterError(f"{name} must be above 2 (the variance is infinite below) and finite, got {value}")


def _check_copula(df: float, margin_df: float | None) -> None:
    if not 1 <= df < math.inf:
        raise ParameterError(f"degrees_of_freedom of a copula must be finite and at least 1, got {df}")
    if margin_df is not None:
        _check_degrees("margin_degrees_of_freedom", margin_df)


def _check_weights(first: str, one: float, second: str, other: float) -> None:
    if not (one >= 0 and other >= 0 and one + other < 1):
        raise ParameterError(f"{first} and {second} must be at least 0 with a sum below 1, got {one} and {other}")
