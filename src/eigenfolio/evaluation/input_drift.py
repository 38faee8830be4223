"""Are inputs still distributed as they were? Distances of distributions with a correction for their number.

Inputs are compared as distributions: D is the largest distance of the two empirical distribution functions (Kolmogorov
and Smirnov), and an input has drifted where D exceeds the quantile of the *largest* D of all inputs over futures drawn
in the same blocks for all, which corrects for their number and their dependence. The population stability index
(sum of (p - q) ln(p / q) over tenths of the reference) is printed beside it as a size, without a threshold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenfolio.errors import DataError, ParameterError

__all__ = ["input_drift", "stability_index", "upper_draw"]

FloatArray = NDArray[np.float64]

_FEWEST = 24  # rows of a reference
_BINS = 10


def input_drift(
    inputs: pd.DataFrame,
    *,
    since: pd.Timestamp,
    share: float = 0.05,
    block: int = 63,
    n_bootstrap: int = 999,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare what inputs were with what they are.

    Parameters
    ----------
    inputs : DataFrame
        Numbers by date, one column per input; NaN where missing, which counts as a value below all others.
    since : Timestamp
        First date of the new rows.
    share : float in (0, 1)
        Probability that any input is said to have drifted when none has.
    block : int
        Rows of a block, as long as dependence lasts.
    n_bootstrap : int
        Futures drawn.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per input: `distance` (D), `threshold`, `drifted` and `stability_index`.

    Raises
    ------
    DataError
        If either span is too short.

    Examples
    --------
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2015-01-01", periods=500)
    >>> inputs = pd.DataFrame(rng.standard_normal((500, 2)), index=days, columns=["calm", "moved"])
    >>> inputs.loc[days[400] :, "moved"] += 1.0
    >>> input_drift(inputs, since=days[400], block=5, rng=rng)["drifted"].tolist()
    [False, True]
    """
    new = inputs.index >= since
    reference, watched = inputs.to_numpy(dtype=float)[~new], inputs.to_numpy(dtype=float)[new]
    if len(reference) < max(_FEWEST, 2 * block) or len(watched) < 2:
        raise DataError(
            f"inputs: {len(reference)} rows before {since:%Y-%m-%d} and {len(watched)} since are too few to compare"
        )
    drawn = _drawn(len(reference), len(reference) + len(watched), block, n_bootstrap, rng)
    largest = np.zeros(n_bootstrap)
    for draw, rows in enumerate(drawn):
        both = reference[rows]
        largest[draw] = max(
            _distance(a, b) for a, b in zip(both[: len(reference)].T, both[len(reference) :].T, strict=True)
        )
    threshold = upper_draw(largest, share)
    rows_of = {
        str(name): {
            "distance": (distance := _distance(reference[:, j], watched[:, j])),
            "threshold": threshold,
            "drifted": bool(distance > threshold),
            "stability_index": stability_index(reference[:, j], watched[:, j]),
        }
        for j, name in enumerate(inputs.columns)
    }
    return pd.DataFrame.from_dict(rows_of, orient="index").rename_axis("input")


def _distance(a: FloatArray, b: FloatArray) -> float:
    """Kolmogorov and Smirnov's distance; missing values stand below all others, so that a gap is a change too."""
    a, b = (np.sort(np.where(np.isnan(x), -np.inf, x)) for x in (a, b))
    at = np.concatenate([a, b])
    return float(
        np.abs(np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)).max()
    )


def stability_index(reference: FloatArray, watched: FloatArray) -> float:
    """Population stability index over tenths of the reference, half an observation added to every one.

    Parameters
    ----------
    reference, watched : ndarray of shape (n,)
        NaN where missing; left out.

    Returns
    -------
    float
        0 where both are distributed alike, infinite where one of them is missing altogether.

    Examples
    --------
    >>> stability_index(np.arange(20.0), np.arange(20.0))
    0.0
    """
    a, b = reference[np.isfinite(reference)], watched[np.isfinite(watched)]
    if not len(a) or not len(b):
        return 0.0 if len(a) == len(b) else float("inf")
    edges = np.unique(np.quantile(a, np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    p, q = (np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) + 0.5 for x in (a, b))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def _drawn(n_rows: int, length: int, block: int, n_draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of circular blocks put after each other, (n_draws, length)."""
    starts = rng.integers(n_rows, size=(n_draws, -(-length // block)))
    rows = (starts[:, :, None] + np.arange(block)) % n_rows
    return rows.reshape(n_draws, -1)[:, :length]


def upper_draw(values: FloatArray, share: float) -> float:
    """A value that at most this share of draws exceeds, with the draw at hand counted among them.

    Parameters
    ----------
    values : ndarray of shape (n_draws,)
    share : float in (0, 1)

    Returns
    -------
    float

    Raises
    ------
    ParameterError
        If there are too few draws for the share.

    Examples
    --------
    >>> upper_draw(np.arange(99.0), 0.05)
    94.0
    """
    rank = int(np.ceil((1.0 - share) * (len(values) + 1)))
    if rank > len(values):
        raise ParameterError(
            f"n_bootstrap={len(values)} cannot resolve a probability of {share:.2g}; give at least "
            f"{int(np.ceil(1.0 / share))}"
        )
    return float(np.sort(values)[rank - 1])
