r"""What validation windows teach the heads of a spectral network: its answers beside what came of them.

A `HeadWindows` is a table with one row per window: the numbers that heads read, and what they predict,

    regime      the causal label at the end of the horizon; market windows only
    error       log(w' S w / w' Sigma w), w the unconstrained minimum-variance book of the answer Sigma, S the mean
                outer product of the horizon's returns (of a population, its true covariance)
    intensity   argmin_d |(1 - d) C + d I - R|, C the steady sample correlation (tilted as in
                `eigenfolio.learned.spectra`), R the true one; populations only
    targets     argmin |w_1 C_steady + w_2 C_recent + w_3 I - R| on the simplex; populations only
    ratios      log(realised / predicted volatility) over the next h rows, of five portfolios

Realised moments are about zero, as in the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError
from eigenfolio.features.regimes import REGIMES
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.guard import guarded
from eigenfolio.learned.heads import PORTFOLIO_INPUTS, RISK_HORIZONS, head_inputs, input_range, portfolio_inputs
from eigenfolio.learned.spectra import SpectralWindow, Spectrum
from eigenfolio.learned.spectral import SpectralForward, combine, shrunk_spectrum
from eigenfolio.models.minimum_variance import minimum_variance_weights
from eigenfolio.parallel import run_tasks
from eigenfolio.training.covariance_losses import oracle_intensity
from eigenfolio.training.mixture import DrawnWindow

__all__ = ["PORTFOLIOS", "HeadWindows", "head_windows", "oracle_of", "validation_portfolios"]

FloatArray = NDArray[np.float64]

PORTFOLIOS: tuple[str, ...] = (
    "equal weight",
    "inverse volatility",
    "random long-only",
    "capped minimum variance",
    "minimum variance",
)
_CAP = Constraints(max_weight=0.05, slack=1.5)
_CHUNK = 64
_LOG_FLOOR = 1e-8  # of a realised variance, in units of the predicted one


@dataclass(frozen=True)
class HeadWindows:
    """Validation windows, market windows first and by date, then populations in random order.

    Attributes
    ----------
    inputs : ndarray of shape (n, n_inputs)
        `eigenfolio.learned.heads.HEAD_INPUTS`, raw.
    date, last : ndarray of datetime64, shape (n,)
        Decision, and the last row that anything of it uses; NaT for a population.
    regime : ndarray of int, shape (n,)
        Position in `REGIMES`, -1 where there is no label.
    own, oracle : ndarray of shape (n,)
        Intensity of the answer, and the best one; NaN where that is not known.
    targets : ndarray of shape (n, 3)
        Best weights; NaN where they are not known.
    error : ndarray of shape (n,)
    portfolios : ndarray of shape (n, n_portfolios, n_portfolio_inputs)
    ratios : ndarray of shape (n, n_portfolios, n_horizons)
        NaN where a portfolio or its horizon is not there.
    out_of_range : ndarray of shape (n,)
        Share of the inputs of each window beyond what training has seen.
    """

    inputs: FloatArray
    date: NDArray[np.datetime64]
    last: NDArray[np.datetime64]
    regime: NDArray[np.int_]
    own: FloatArray
    oracle: FloatArray
    targets: FloatArray
    error: FloatArray
    portfolios: FloatArray
    ratios: FloatArray
    out_of_range: FloatArray

    def __len__(self) -> int:
        return len(self.own)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int_]) -> HeadWindows:
        """Select windows."""
        return HeadWindows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def head_windows(
    drawn: Sequence[DrawnWindow], bundle: Bundle, *, reach: dict[str, pd.Timedelta], seed: int, n_jobs: int = 1
) -> HeadWindows:
    """Ask the network about every window and compare its answer with what came.

    Parameters
    ----------
    drawn : sequence of DrawnWindow
        With `later` rows.
    bundle : Bundle
        Of the spectral network.
    reach : dict of str to Timedelta
        By source, how long after a decision the last row lies that anything uses.
    seed : int
        Of the random portfolios and of the order of the populations.
    n_jobs : int
        Workers; the result does not depend on it.

    Returns
    -------
    HeadWindows
    """
    starts = range(0, len(drawn), _CHUNK)
    tasks = [(drawn[start : start + _CHUNK], bundle, [seed, start]) for start in starts]
    rows = [row for chunk in run_tasks(_chunk_rows, tasks, n_jobs=n_jobs) for row in chunk]
    dates = np.array([np.datetime64("NaT") if w.date is None else w.date.to_datetime64() for w in drawn])
    ends = [np.timedelta64(0, "D") if w.date is None else reach[w.source].to_timedelta64() for w in drawn]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    inputs, regime, own, oracle, targets, error, portfolios, ratios, share = columns
    table = HeadWindows(
        inputs, dates.astype("datetime64[ns]"), (dates + np.array(ends)).astype("datetime64[ns]"), regime, own, oracle,
        targets, error, portfolios, ratios, share,
    )  # fmt: skip
    undated = np.isnat(table.date)
    market = np.flatnonzero(~undated)
    market = market[np.argsort(table.date[market], kind="stable")]
    simulated = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(undated))
    return table.take(np.concatenate([market, simulated]))


def _chunk_rows(drawn: Sequence[DrawnWindow], bundle: Bundle, key: list[int]) -> list[tuple[object, ...]]:
    forward = SpectralForward(bundle)
    return [
        _row(window, bundle, forward, np.random.default_rng([*key[:-1], 0, key[-1] + i]))
        for i, window in enumerate(drawn)
    ]


def _row(drawn: DrawnWindow, bundle: Bundle, forward: SpectralForward, rng: np.random.Generator) -> tuple[object, ...]:
    window = drawn.window
    members = forward.members(window)
    answer, _ = guarded(window, forward.answer(window, members), out_of_range=forward.out_of_range(window))
    covariance = combine(window, answer)
    own = shrunk_spectrum(window, answer)[0]
    oracle, targets = (np.nan, np.full(3, np.nan)) if drawn.date is not None else oracle_of(window, drawn.future)
    books = validation_portfolios(covariance, rng)
    return (
        head_inputs(window, answer, members, intensity=own),
        -1 if drawn.next_regime is None else REGIMES.index(drawn.next_regime),
        own,
        oracle,
        targets,
        2.0 * _log_ratio(books[-1], covariance, drawn.future),
        np.array([_inputs_of(covariance, book) for book in books]),
        _ratios(books, covariance, drawn.later),
        input_range(bundle, window).share,
    )


def oracle_of(window: SpectralWindow, root: FloatArray) -> tuple[float, FloatArray]:
    """Best intensity and best weights of the targets, knowing the true covariance.

    Parameters
    ----------
    window : SpectralWindow
    root : ndarray of shape (n_rows, n_assets)
        The covariance is the mean outer product of its rows.

    Returns
    -------
    intensity : float in [0, 1]
        Of the steady sample correlation, tilted, toward the identity.
    weights : ndarray of shape (3,)
        Of the steady and the recent sample correlation and of the identity, on the simplex.
    """
    truth = root.T @ root / len(root)
    sigma = np.sqrt(np.diag(truth))
    truth = truth / np.outer(sigma, sigma)
    tilt = window.spectra[0].tilt
    steady, recent = (_sample(spectrum) for spectrum in window.spectra)
    identity = np.eye(len(sigma))
    intensity = oracle_intensity(
        torch.from_numpy(steady), torch.from_numpy(identity), torch.from_numpy(truth * np.outer(tilt, tilt))
    )
    return float(intensity), _simplex((steady / np.outer(tilt, tilt), recent, identity), truth)


def _sample(spectrum: Spectrum) -> FloatArray:
    """Sample matrix of a spectrum, as far as its eigenvectors reach."""
    values = np.maximum(np.exp(spectrum.tokens[: spectrum.rank, 0]) - 1e-4, 0.0)
    vectors = spectrum.vectors.astype(float)
    return np.asarray((vectors * values) @ vectors.T)


def _simplex(matrices: Sequence[FloatArray], truth: FloatArray) -> FloatArray:
    """Weights on the simplex whose sum of the matrices lies closest to the truth, by trying every set of them."""
    stacked = np.array([matrix.ravel() for matrix in matrices])
    gram, cross = stacked @ stacked.T, stacked @ truth.ravel()
    n = len(matrices)
    best, least = np.zeros(n), np.inf
    for size in range(1, n + 1):
        for chosen in map(list, combinations(range(n), size)):
            system = np.block([[gram[np.ix_(chosen, chosen)], np.ones((size, 1))], [np.ones((1, size)), 0.0]])
            solved = np.linalg.lstsq(system, np.append(cross[chosen], 1.0), rcond=None)[0][:size]
            weights = np.zeros(n)
            weights[chosen] = solved
            loss = float(weights @ gram @ weights - 2.0 * weights @ cross)
            if (weights >= -1e-12).all() and loss < least:
                best, least = np.clip(weights, 0.0, 1.0), loss
    return best


def validation_portfolios(covariance: FactorCovariance, rng: np.random.Generator) -> FloatArray:
    """Weights of `PORTFOLIOS`, (5, n_assets); NaN where a book has no exact answer."""
    n_assets = len(covariance.scale)
    inverse = 1.0 / np.sqrt(covariance.diagonal())
    free = covariance.solve(np.ones(n_assets))
    chosen = rng.random(n_assets) < 0.5
    chosen[rng.integers(n_assets)] = True
    drawn = rng.exponential(size=n_assets) * chosen
    try:
        capped = minimum_variance_weights(covariance.dense(), _CAP)
    except DataError:  # so badly conditioned (copies, near-riskless funds) that its conditions cannot be verified
        capped = np.full(n_assets, np.nan)
    books = [np.full(n_assets, 1.0 / n_assets), inverse / inverse.sum(), drawn / drawn.sum(), capped, free / free.sum()]
    return np.array(books)


def _inputs_of(covariance: FactorCovariance, weights: FloatArray) -> FloatArray:
    if not np.isfinite(weights).all():
        return np.full(len(PORTFOLIO_INPUTS), np.nan)
    return portfolio_inputs(covariance, weights)


def _log_ratio(weights: FloatArray, covariance: FactorCovariance, returns: FloatArray) -> float:
    """log(realised / predicted volatility)."""
    predicted = covariance.variance(weights)
    realised = float(((returns @ weights) ** 2).mean())
    return 0.5 * float(np.log(max(realised / predicted, _LOG_FLOOR)))


def _ratios(books: FloatArray, covariance: FactorCovariance, later: FloatArray | None) -> FloatArray:
    found = np.full((len(books), len(RISK_HORIZONS)), np.nan)
    if later is None:
        return found
    for i, book in enumerate(books):
        for h, horizon in enumerate(RISK_HORIZONS):
            if horizon <= len(later) and np.isfinite(book).all():
                found[i, h] = _log_ratio(book, covariance, later[:horizon])
    return found
