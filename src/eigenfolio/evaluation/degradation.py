r"""How much worse a book does under stress than in normal times, with intervals.

For the rows S of stress and N of normal times the change of a measure f of mean and mean square is

    change = f(S) - f(N),        f = log volatility, or the Sharpe ratio

so a change of log volatility of log 3 means three times the volatility. Rows are either other days (a regime, a
historic crisis), or the same days twice, as they were and under a shock; then they are resampled together. The change
of one book against that of a reference,

    relative = [f(S_a) - f(N_a)] - [f(S_b) - f(N_b)],

says which of two suffers more; the books share their days, so they are resampled together too.

Intervals come from circular blocks of rows. On other days they are drawn within S and within N and studentised:
``|change* - change| / s*`` over the resamples, s* from the blocks of each resample through the gradient of f [1]_. On
the same days twice ``|change* - change|`` itself is used, widened for the number of blocks, which errs on the side of
caution where they are few: where the two differ on a few rows only (a cost, an outlier), a resample without them has
s* = 0. Rows of a regime are not neighbours in time everywhere; a block that spans a seam is treated like any other.

An interval speaks of the stretch of days that it was given. Where volatility moves as slowly as GARCH(1,1) with a
persistence of 0.98 has it, one of 95 % holds the change against the long run about 84 times in 100 for a stretch of 355
days (and about 68 times for 108): what other crises would bring cannot be read off one.

References
----------
.. [1] F. Gotze and H. Kunsch (1996). Second-order correctness of the blockwise bootstrap for stationary observations.
   Annals of Statistics 24(5), 1914-1933.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from eigenfolio import measures
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.long_run import politis_white_block
from eigenfolio.evaluation.moment_tests import MomentFunction
from eigenfolio.evaluation.sharpe_tests import _sharpe
from eigenfolio.evaluation.significance import block_means, check_confidence, quantile
from eigenfolio.evaluation.variance_tests import _log_volatility

__all__ = ["MIN_ROWS", "Change", "degradation_table"]

MIN_ROWS = 20
"""Fewer rows of stress, or of normal times, say nothing."""
SHORTEST_BLOCK, MIN_BLOCKS = 42, 6
"""Volatility clusters over months; blocks are no shorter, as long as six of them fit into the rows."""

_Term = tuple[float, NDArray[np.float64]]
"""A sign, and the rows (x, x^2) of one book, shape (n_rows, 2)."""


@dataclass(frozen=True)
class Change:
    """A change with its interval.

    Attributes
    ----------
    estimate, low, high : float
        In the unit of the measure.
    """

    estimate: float
    low: float
    high: float


def degradation_table(
    stressed: Mapping[str, pd.Series],
    normal: Mapping[str, pd.Series],
    *,
    rng: np.random.Generator,
    paired: bool,
    reference: str | None = None,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare books under stress with the same books in normal times.

    Parameters
    ----------
    stressed, normal : mapping of str to Series
        Net returns per period by book, the same books in both; all books of a mapping have the same rows.
    rng : numpy.random.Generator
        Draws the blocks.
    paired : bool
        True where row k of `stressed` and row k of `normal` are the same day.
    reference : str, optional
        Book that the others' changes are compared with.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Resamples, at least 100.
    confidence : float in (0, 1)
        Of every interval.

    Returns
    -------
    DataFrame
        Indexed by book: `n_rows`, `n_normal`, `annualized_volatility`, `normal_volatility`, `sharpe_ratio`,
        `normal_sharpe`; `log_volatility` (its change), `sharpe_change`, `relative_log_volatility` (against the
        reference; 0 for itself, NaN without one), each with `_low` and `_high`.

    Raises
    ------
    DataError
        If rows differ between books, there are fewer than 20, a return is not finite, or a book never varies.
    ParameterError
        If an option is out of range or the reference unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> calm, storm = 0.01 * rng.standard_normal(400), 0.03 * rng.standard_normal(100)
    >>> table = degradation_table({"A": pd.Series(storm)}, {"A": pd.Series(calm)}, rng=rng, paired=False)
    >>> row = table.loc["A"]
    >>> bool(row["log_volatility_low"] < np.log(3.0) < row["log_volatility_high"])
    True
    """
    check_confidence(confidence)
    if n_bootstrap < 100:
        raise ParameterError(f"n_bootstrap must be at least 100, got {n_bootstrap}")
    if reference is not None and reference not in stressed:
        raise ParameterError(f"reference must be one of {', '.join(stressed)}, got {reference!r}")
    s, n = _checked(stressed, "stress"), _checked(normal, "normal times")
    if list(s) != list(n):
        raise DataError(f"stress and normal times need the same books, got {', '.join(s)} and {', '.join(n)}")
    if paired and len(next(iter(s.values()))) != len(next(iter(n.values()))):
        raise DataError("paired rows are the same days twice; stress and normal times differ in their number of rows")
    parts = [s, n]
    draws = _draws(parts[:1] if paired else parts, n_bootstrap, rng)
    other = None if reference is None else (s[reference], n[reference])
    rows = {}
    for book in s:
        changes = _changes((s[book], n[book]), None if book == reference else other, draws, confidence, paired)
        if book == reference:
            changes["relative_log_volatility"] = Change(0.0, 0.0, 0.0)
        rows[book] = _levels(s[book], n[book], periods_per_year)
        for name, change in changes.items():
            unit = float(np.sqrt(periods_per_year)) if name == "sharpe_change" else 1.0
            ends = {"": change.estimate, "_low": change.low, "_high": change.high}
            rows[book] |= {name + end: unit * value for end, value in ends.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("book").astype({"n_rows": int, "n_normal": int})


def _levels(stress: NDArray[np.float64], usual: NDArray[np.float64], periods_per_year: float) -> dict[str, float]:
    return {
        "n_rows": len(stress),
        "n_normal": len(usual),
        "annualized_volatility": measures.annualized_volatility(stress, periods_per_year=periods_per_year),
        "normal_volatility": measures.annualized_volatility(usual, periods_per_year=periods_per_year),
        "sharpe_ratio": measures.sharpe_ratio(stress, periods_per_year=periods_per_year),
        "normal_sharpe": measures.sharpe_ratio(usual, periods_per_year=periods_per_year),
    }


def _changes(
    book: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    draws: list[tuple[int, NDArray[np.intp]]],
    confidence: float,
    paired: bool,
) -> dict[str, Change]:
    """Changes of one book per period, the last against those of another; NaN without one."""
    own, rival = _in_one_unit(*book), None if other is None else _in_one_unit(*other)
    alone = _grouped(*own, None, paired)
    relative = Change(np.nan, np.nan, np.nan)
    if rival is not None:
        relative = _change(_grouped(*own, rival, paired), draws, _log_volatility, confidence)
    return {
        "log_volatility": _change(alone, draws, _log_volatility, confidence),
        "sharpe_change": _change(alone, draws, _sharpe, confidence),
        "relative_log_volatility": relative,
    }


def _checked(tracks: Mapping[str, pd.Series], what: str) -> dict[str, NDArray[np.float64]]:
    if not tracks:
        raise ParameterError("there is no book to compare; give at least one")
    values = {name: np.asarray(track, dtype=float) for name, track in tracks.items()}
    lengths = {len(track) for track in values.values()}
    if len(lengths) > 1:
        raise DataError(f"the books must have the same rows of {what}, got {sorted(lengths)} rows")
    n_rows = lengths.pop()
    if n_rows < MIN_ROWS:
        raise DataError(f"{what}: at least {MIN_ROWS} rows are needed, got {n_rows}; use a longer span")
    for name, track in values.items():
        if not np.isfinite(track).all():
            raise DataError(f"{name!r} holds returns that are not finite in the rows of {what}")
        if track.std() <= 1e-14 * float(np.abs(track).max()):
            raise DataError(f"{name!r} never varies in the rows of {what}, so it has no volatility to compare")
    return values


def _draws(
    parts: Sequence[dict[str, NDArray[np.float64]]], n_bootstrap: int, rng: np.random.Generator
) -> list[tuple[int, NDArray[np.intp]]]:
    """Block length and first rows of the blocks, (n_bootstrap, n_blocks), for each part; one for all its books."""
    drawn = []
    for books in parts:
        n_rows = len(next(iter(books.values())))
        wanted = max(politis_white_block((track - track.mean()) ** 2) for track in books.values())
        block = int(np.clip(round(max(wanted, SHORTEST_BLOCK)), 1, n_rows // MIN_BLOCKS))
        drawn.append((block, rng.integers(n_rows, size=(n_bootstrap, round(n_rows / block)))))
    return drawn


def _in_one_unit(
    stress: NDArray[np.float64], usual: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows (x, x^2) of both, in a unit near one that no change depends on."""
    unit = float(np.sqrt(stress.std() * usual.std()))
    return (
        np.column_stack([stress / unit, (stress / unit) ** 2]),
        np.column_stack([usual / unit, (usual / unit) ** 2]),
    )


def _grouped(
    stress: NDArray[np.float64],
    usual: NDArray[np.float64],
    other: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    paired: bool,
) -> list[list[_Term]]:
    """Signed terms of a change, those that are resampled together in one list."""
    first, second = [(1.0, stress)], [(-1.0, usual)]
    if other is not None:
        first.append((-1.0, other[0]))
        second.append((1.0, other[1]))
    return [first + second] if paired else [first, second]


def _change(
    groups: list[list[_Term]],
    draws: list[tuple[int, NDArray[np.intp]]],
    function: MomentFunction,
    confidence: float,
) -> Change:
    """Sum of signed values of `function` with its interval; one group is the same days twice."""
    estimate, variance = 0.0, 0.0
    shift, spread = np.zeros(len(draws[0][1])), np.zeros(len(draws[0][1]))
    for terms, (block, starts) in zip(groups, draws, strict=True):
        influence = np.zeros(len(terms[0][1]))
        drawn_influence = np.zeros(starts.shape)
        for sign, rows in terms:
            value, gradient = function(rows.mean(axis=0))
            estimate += sign * float(value)
            influence += sign * (rows - rows.mean(axis=0)) @ gradient
            drawn = block_means(rows, block)[starts]  # (n_bootstrap, n_blocks, 2)
            again, slopes = function(drawn.mean(axis=1))
            shift += sign * (again - float(value))
            drawn_influence += sign * np.einsum("bkm,bm->bk", drawn, slopes)
        n_blocks = starts.shape[1]
        variance += float(block_means(influence, block).var()) / (n_blocks - 1)
        spread += drawn_influence.var(axis=1) / (n_blocks - 1)
    error = float(np.sqrt(variance))
    if error < 1e-12:  # the same rows twice, up to their unit: nothing varies but rounding
        return Change(estimate, estimate, estimate)
    if len(groups) == 1:
        # Few blocks make resamples too much alike; Student's law with one degree of freedom less than blocks mends it.
        n_blocks, p = draws[0][1].shape[1], 0.5 + confidence / 2.0
        wider = float(np.sqrt(n_blocks / (n_blocks - 1.0)) * stdtrit(n_blocks - 1.0, p) / ndtri(p))
        half = wider * quantile(np.abs(shift), confidence)
    else:
        half = quantile(np.abs(shift) / np.maximum(np.sqrt(spread), 1e-14), confidence) * error
    return Change(estimate, estimate - half, estimate + half)
