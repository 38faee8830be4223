r"""Would the rule "take the best of all trials" have picked well? Combinatorially symmetric cross-validation.

The rows are cut into an even number of blocks. For every way to take half of the blocks, the trial with the best
Sharpe ratio inside is picked, and its rank outside is looked up among all N trials:

    w = rank outside / (N + 1),    logit = log(w / (1 - w)),    PBO = share of splits with logit <= 0

Rank 1 is the worst. PBO near 1/2 says that the pick is no better than any trial outside; near 0, that the order
of the trials lasts [1]_. It is a property of the whole set of trials, so it needs the track of every one of them.

References
----------
.. [1] D. Bailey, J. Borwein, M. Lopez de Prado and Q. Zhu (2017). The probability of backtest overfitting. Journal of
   Computational Finance 20(4), 39-69.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from eigenfolio.errors import DataError, ParameterError

__all__ = ["Overfitting", "backtest_overfitting"]


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What combinatorial splits say about picking the best trial.

    Attributes
    ----------
    probability : float in [0, 1]
        Of backtest overfitting: share of splits in which the pick is at or below the median outside.
    logits : ndarray of shape (n_splits,)
        Log odds of the rank outside, one per split.
    loss_probability : float in [0, 1]
        Share of splits in which the pick has a negative Sharpe ratio outside.
    slope : float
        Of the pick's Sharpe ratio outside on that inside; below zero where a better look means a worse end.
    n_trials, n_splits, n_observations : int
    method : str
    """

    probability: float
    logits: NDArray[np.float64]
    loss_probability: float
    slope: float
    n_trials: int
    n_splits: int
    n_observations: int
    method: str = "combinatorially symmetric cross-validation, Sharpe ratio"


def backtest_overfitting(returns: ArrayLike, *, n_blocks: int = 16) -> Overfitting:
    """Probability that the best trial inside is below the median outside.

    Parameters
    ----------
    returns : array-like of shape (n_observations, n_trials)
        Track of every trial, same rows, simple returns per period.
    n_blocks : int
        Even number of blocks; 16 give 12,870 splits. Rows at the end that fill no block are left out.

    Returns
    -------
    Overfitting

    Raises
    ------
    DataError
        If the tracks are not a finite table of at least two trials and two rows per block.
    ParameterError
        If `n_blocks` is not an even number between 2 and 20.

    References
    ----------
    .. [1] D. Bailey, J. Borwein, M. Lopez de Prado and Q. Zhu (2017). The probability of backtest overfitting. Journal
       of Computational Finance 20(4), 39-69.

    Examples
    --------
    One trial is truly better, so picking it is no accident:

    >>> rng = np.random.default_rng(0)
    >>> tracks = 0.01 * rng.standard_normal((960, 10))
    >>> tracks[:, 3] += 0.004
    >>> backtest_overfitting(tracks, n_blocks=8).probability
    0.0
    """
    if isinstance(n_blocks, bool) or n_blocks % 2 or not 2 <= n_blocks <= 20:
        raise ParameterError(f"n_blocks must be an even number between 2 and 20, got {n_blocks!r}")
    tracks = np.asarray(returns, dtype=float)
    if tracks.ndim != 2 or tracks.shape[1] < 2 or len(tracks) < 2 * n_blocks:
        raise DataError(
            f"returns must have at least 2 trials and {2 * n_blocks} rows (n_blocks={n_blocks}), "
            f"got shape {tracks.shape}"
        )
    if not np.isfinite(tracks).all():
        raise DataError(f"returns hold {int((~np.isfinite(tracks)).sum())} values that are not finite; drop those rows")
    per_block = len(tracks) // n_blocks
    blocks = tracks[: per_block * n_blocks].reshape(n_blocks, per_block, -1)
    # A split needs sums of blocks alone, so no row is visited twice; slow twin in tests/evaluation.
    sums, squares = blocks.sum(axis=1), (blocks**2).sum(axis=1)  # (n_blocks, n_trials)
    inside = _halves(n_blocks)
    ratio_in = _ratios(inside @ sums, inside @ squares, per_block * n_blocks // 2)
    ratio_out = _ratios((1.0 - inside) @ sums, (1.0 - inside) @ squares, per_block * n_blocks // 2)
    picked = ratio_in.argmax(axis=1)
    splits = np.arange(len(inside))
    share = rankdata(ratio_out, axis=1)[splits, picked] / (tracks.shape[1] + 1)
    logits = np.log(share / (1.0 - share))
    seen, kept = ratio_in[splits, picked], ratio_out[splits, picked]
    spread = float(seen.var())
    return Overfitting(
        probability=float((logits <= 1e-12).mean()),
        logits=logits,
        loss_probability=float((kept < 0.0).mean()),
        slope=float(((seen - seen.mean()) * (kept - kept.mean())).mean() / spread) if spread > 0.0 else float("nan"),
        n_trials=tracks.shape[1],
        n_splits=len(inside),
        n_observations=per_block * n_blocks,
    )


def _halves(n_blocks: int) -> NDArray[np.float64]:
    """1 where a block is inside, for every way to take half of them, shape (n_splits, n_blocks)."""
    taken = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    inside = np.zeros((len(taken), n_blocks))
    np.put_along_axis(inside, taken, 1.0, axis=1)
    return inside


def _ratios(sums: NDArray[np.float64], squares: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
    """Sharpe ratio per period from sums of returns and of their squares; 0 for a track that never moves."""
    mean = sums / n_rows
    variance = np.maximum(squares / n_rows - mean**2, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0.0)
