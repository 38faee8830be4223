"""Covariance problems: many windows of returns with the returns that follow and the truth, for training and judging.

A problem draws a kind (a population and a dynamics), a universe size and a number of rows (both log-uniform), the
options of population and dynamics, and then returns. Problem i depends on the seed and on i only: its generator is
spawned from `SeedSequence(seed, spawn_key=(i,))`, so the bits are the same for any number of workers and whatever
other problems are asked for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eigenfolio.data.synthetic.dynamics import (
    AsymmetricJumps,
    DynamicCorrelation,
    Dynamics,
    Garch,
    Normal,
    RegimeSwitching,
    Student,
    StudentCopula,
)
from eigenfolio.data.synthetic.oracles import oracle_eigenvalues, oracle_intensity, oracle_target_weights
from eigenfolio.data.synthetic.populations import (
    Population,
    block_covariance,
    factor_covariance,
    ledoit_wolf_spectrum,
    spiked_covariance,
    stressed_population,
)
from eigenfolio.errors import ParameterError
from eigenfolio.linalg import constant_correlation_target, identity_target, single_factor_target
from eigenfolio.parallel import run_tasks

__all__ = ["PROBLEM_KINDS", "CovarianceProblem", "covariance_problem", "covariance_problems"]

FloatArray = npt.NDArray[np.float64]

_CHUNK = 32  # problems in memory at once, beside those the caller keeps


@dataclass(frozen=True, eq=False)
class CovarianceProblem:
    """Returns that are seen, returns that follow, and the truth about the latter.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        Simple returns an estimator may see, as the law drew them: unlike a market's they are not cut at -95 %, so that
        the truth holds exactly.
    future : ndarray of shape (horizon, n_assets)
        The rows that follow.
    truth : ndarray of shape (n_assets, n_assets)
        Mean of the true covariances of the future rows, each given the rows (and states) before it.
    kind : str
        "POPULATION-DYNAMICS", one of `PROBLEM_KINDS`.
    seed, number : int
        What `covariance_problem` needs to draw it again.
    oracle_intensity : float in [0, 1]
        Best intensity toward the identity target of the sample covariance.
    oracle_weights : ndarray of shape (4,)
        Best weights of sample, identity, constant-correlation and single-factor target, on the simplex.
    """

    returns: FloatArray
    future: FloatArray
    truth: FloatArray
    kind: str
    seed: int
    number: int
    oracle_intensity: float
    oracle_weights: FloatArray

    @cached_property
    def sample(self) -> FloatArray:
        """Sample covariance of `returns`, centred, divisor n_observations."""
        return _sample_covariance(self.returns)

    @cached_property
    def oracle_eigenvalues(self) -> FloatArray:
        """Best eigenvalues for the sample's eigenvectors in the Frobenius norm, (n_assets,); computed when asked."""
        return oracle_eigenvalues(self.sample, self.truth)


def covariance_problems(
    n_problems: int,
    *,
    seed: int,
    n_assets: tuple[int, int] = (20, 400),
    n_observations: tuple[int, int] = (60, 1008),
    kinds: Sequence[str] | None = None,
    horizon: int = 21,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> Iterator[CovarianceProblem]:
    """Draw covariance problems, one after the other, with bounded memory.

    Parameters
    ----------
    n_problems : int
        How many, numbered from 0.
    seed : int
        Randomness; problem i depends on it, on i and on the options, not on `n_problems` or `n_jobs`.
    n_assets, n_observations : (int, int)
        Smallest and largest universe (at least 2) and number of rows seen (at least 2), both log-uniform.
    kinds : sequence of str, optional
        Members of `PROBLEM_KINDS`, equally likely; None is all of them.
    horizon : int
        Rows that follow, at least 1.
    n_jobs : int
        Processes, as in joblib.
    on_done : callable, optional
        Called with no argument after each problem drawn.

    Returns
    -------
    iterator of CovarianceProblem
        In order of number; 32 are drawn at a time.

    Raises
    ------
    ParameterError
        If a size is out of range or a kind unknown.

    Examples
    --------
    >>> problems = list(covariance_problems(3, seed=0, n_assets=(5, 9), n_observations=(30, 60)))
    >>> [problem.number for problem in problems], problems[0].future.shape[0]
    ([0, 1, 2], 21)
    """
    if n_problems < 0:
        raise ParameterError(f"n_problems must be at least 0, got {n_problems}")
    options = _checked(seed, n_assets, n_observations, kinds, horizon)

    def stream() -> Iterator[CovarianceProblem]:
        for first in range(0, n_problems, _CHUNK):
            tasks = [(number, seed, *options) for number in range(first, min(first + _CHUNK, n_problems))]
            yield from run_tasks(_draw, tasks, n_jobs=n_jobs, on_done=on_done)

    return stream()


def covariance_problem(
    number: int,
    *,
    seed: int,
    n_assets: tuple[int, int] = (20, 400),
    n_observations: tuple[int, int] = (60, 1008),
    kinds: Sequence[str] | None = None,
    horizon: int = 21,
) -> CovarianceProblem:
    """Draw one problem by its number.

    Parameters
    ----------
    number : int
        At least 0.
    seed, n_assets, n_observations, kinds, horizon
        As in `covariance_problems`.

    Returns
    -------
    CovarianceProblem

    Raises
    ------
    ParameterError
        If a size is out of range or a kind unknown.

    Examples
    --------
    >>> problem = covariance_problem(7, seed=0, n_assets=(5, 5), n_observations=(30, 30), kinds=["factor-garch"])
    >>> problem.returns.shape, problem.truth.shape, problem.oracle_eigenvalues.shape
    ((30, 5), (5, 5), (5,))
    """
    if number < 0:
        raise ParameterError(f"number must be at least 0, got {number}")
    options = _checked(seed, n_assets, n_observations, kinds, horizon)
    (problem,) = run_tasks(_draw, [(number, seed, *options)])
    return problem


def _checked(
    seed: int,
    n_assets: tuple[int, int],
    n_observations: tuple[int, int],
    kinds: Sequence[str] | None,
    horizon: int,
) -> tuple[tuple[int, int], tuple[int, int], tuple[str, ...], int]:
    if seed < 0:
        raise ParameterError(f"seed must be at least 0, got {seed}")
    for name, (smallest, largest) in (("n_assets", n_assets), ("n_observations", n_observations)):
        if not 2 <= smallest <= largest:
            raise ParameterError(f"{name} must be a range (smallest, largest) from 2, got ({smallest}, {largest})")
    if horizon < 1:
        raise ParameterError(f"horizon must be at least 1, got {horizon}")
    chosen = PROBLEM_KINDS if kinds is None else tuple(kinds)
    if not chosen:
        raise ParameterError("kinds must name at least one kind")
    for kind in chosen:
        if kind not in PROBLEM_KINDS:
            near = difflib.get_close_matches(kind, PROBLEM_KINDS, n=1, cutoff=0.0)[0]
            raise ParameterError(f"unknown kind {kind!r}; the nearest known one is {near!r}")
    return n_assets, n_observations, chosen, horizon


def _draw(
    number: int,
    seed: int,
    n_assets: tuple[int, int],
    n_observations: tuple[int, int],
    kinds: tuple[str, ...],
    horizon: int,
) -> CovarianceProblem:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    kind = kinds[int(rng.integers(len(kinds)))]
    size, n_rows = _log_uniform(rng, *n_assets), _log_uniform(rng, *n_observations)
    of_population, of_dynamics = kind.split("-")
    population = _POPULATIONS[of_population](size, rng)
    dynamics = _DYNAMICS[of_dynamics](population, rng)
    drawn, path = dynamics.draw(population, n_rows + horizon, rng)
    returns, future = drawn[:n_rows].copy(), drawn[n_rows:].copy()
    truth = path.mean(n_rows, n_rows + horizon)
    sample = _sample_covariance(returns)
    identity = identity_target(sample)
    targets = (identity, constant_correlation_target(sample), single_factor_target(sample))
    return CovarianceProblem(
        returns,
        future,
        truth,
        kind,
        seed,
        number,
        oracle_intensity(sample, identity, truth),
        oracle_target_weights(sample, targets, truth),
    )


def _log_uniform(rng: np.random.Generator, smallest: int, largest: int) -> int:
    """Whole number in [smallest, largest], log-uniform."""
    drawn = math.exp(rng.uniform(math.log(smallest), math.log(largest + 1)))
    return min(largest, max(smallest, int(drawn)))


def _sample_covariance(returns: FloatArray) -> FloatArray:
    centred = returns - returns.mean(axis=0)
    return np.asarray(centred.T @ centred / len(returns))


def _spiked(n_assets: int, rng: np.random.Generator) -> Population:
    count = int(rng.integers(1, min(6, n_assets)))
    sizes = np.sort(np.exp(rng.uniform(np.log(2.0), np.log(10.0 + n_assets / 2), count)))[::-1]
    return spiked_covariance(n_assets, spikes=sizes.tolist(), rng=rng)


def _block(n_assets: int, rng: np.random.Generator) -> Population:
    n_blocks = int(rng.integers(2, min(12, n_assets) + 1))
    between = float(rng.uniform(0.0, 0.5))
    within = float(rng.uniform(between, 0.9))
    return block_covariance(n_assets, n_blocks, within, between, dispersion=float(rng.uniform(0.0, 0.6)), rng=rng)


def _factor(n_assets: int, rng: np.random.Generator) -> Population:
    return factor_covariance(
        n_assets,
        int(rng.integers(1, 12)),
        coverage=float(rng.uniform(0.05, 0.5)),
        market_volatility=float(rng.uniform(0.005, 0.012)),
        factor_volatility=float(rng.uniform(0.002, 0.012)),
        beta_dispersion=float(rng.uniform(0.1, 0.5)),
        dispersion=float(rng.uniform(0.1, 0.6)),
        rng=rng,
    )


def _ledoit_wolf(n_assets: int, rng: np.random.Generator) -> Population:
    return ledoit_wolf_spectrum(n_assets, rng=rng)


def _jumps(population: Population, rng: np.random.Generator) -> Dynamics:
    return AsymmetricJumps(probability=float(rng.uniform(0.005, 0.03)), own_probability=float(rng.uniform(0.0, 0.02)))


def _garch(population: Population, rng: np.random.Generator) -> Dynamics:
    arch = float(rng.uniform(0.03, 0.10))
    return Garch(arch, float(rng.uniform(0.95, 0.99)) - arch)


def _dcc(population: Population, rng: np.random.Generator) -> Dynamics:
    arch, news = float(rng.uniform(0.03, 0.10)), float(rng.uniform(0.01, 0.05))
    garch, memory = float(rng.uniform(0.95, 0.99)) - arch, float(rng.uniform(0.95, 0.99)) - news
    return DynamicCorrelation(news, memory, arch, garch)


def _regimes(population: Population, rng: np.random.Generator) -> Dynamics:
    crisis = stressed_population(
        population,
        volatility=float(rng.uniform(1.5, 3.0)),
        correlation=float(rng.uniform(0.3, 0.8)),
        pull=float(rng.uniform(0.2, 0.8)),
    )
    return RegimeSwitching((crisis,), (float(rng.uniform(0.98, 0.997)), float(rng.uniform(0.93, 0.98))))


def _copula(population: Population, rng: np.random.Generator) -> Dynamics:
    # Whole degrees of freedom, so that the series of a copula is computed once per process and pair.
    return StudentCopula(float(rng.integers(3, 9)), (None, 4.0, 6.0)[int(rng.integers(3))])


_POPULATIONS: dict[str, Callable[[int, np.random.Generator], Population]] = {
    "spiked": _spiked,
    "block": _block,
    "factor": _factor,
    "ledoit_wolf": _ledoit_wolf,
}
_DYNAMICS: dict[str, Callable[[Population, np.random.Generator], Dynamics]] = {
    "normal": lambda population, rng: Normal(),
    "student": lambda population, rng: Student(float(rng.uniform(3.0, 10.0))),
    "jumps": _jumps,
    "garch": _garch,
    "dcc": _dcc,
    "regimes": _regimes,
    "copula": _copula,
}

PROBLEM_KINDS: tuple[str, ...] = tuple(f"{population}-{law}" for population in _POPULATIONS for law in _DYNAMICS)
"""Every population with every dynamics, "POPULATION-DYNAMICS"."""
