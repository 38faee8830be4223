r"""Tests of a difference between two functions of mean and variance, robust to tails and persistence.

With m = (E a, E b, E a^2, E b^2) and a difference ``f(m)`` (of Sharpe ratios, of log variances), the delta method
gives its error from the rows themselves,

    z_t = grad f(m)' (a_t, b_t, a_t^2, b_t^2)',    s^2 = long-run variance of z / (T - 4),

and two laws to judge ``f / s`` by:

- the normal one ("hac"), with a prewhitened quadratic spectral long-run variance;
- that of ``|f* - f| / s*`` over resamples of circular blocks ("bootstrap"), s* from the block sums of each
  resample. It needs no normality and is the better one at small samples, heavy tails and clustered volatility.

The gradient is applied before the kernel, not after: one series then sets bandwidth and block length, and neither
depends on the unit of the returns.

References
----------
.. [1] O. Ledoit and M. Wolf (2008). Robust performance hypothesis testing with the Sharpe ratio. Journal of
   Empirical Finance 15(5), 850-859.
.. [2] O. Ledoit and M. Wolf (2011). Robust performance hypothesis testing with the variance. Wilmott 55, 86-89.
.. [3] F. Gotze and H. Kunsch (1996). Second-order correctness of the blockwise bootstrap for stationary
   observations. Annals of Statistics 24(5), 1914-1933.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.difference import DifferenceTest, asymptotic_test
from eigenfolio.evaluation.long_run import long_run_variance, politis_white_block
from eigenfolio.evaluation.significance import Block, block_means, minimum_detectable, quantile

__all__ = ["Law", "MomentFunction", "moment_test"]

Law = Literal["bootstrap", "hac"]

MomentFunction = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""From means of a and a^2, shape (..., 2), to the value (...) and its gradient (..., 2)."""

MIN_ROWS = 30
MIN_BLOCKS = 10
"""Blocks that ``block="auto"`` leaves in a resample at least."""
CHUNK = 2_000_000
"""Blocks drawn at a time, so that a long series needs no more memory than a short one."""


def moment_test(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    function: MomentFunction,
    *,
    name: str,
    law: Law,
    n_bootstrap: int,
    block: Block,
    confidence: float,
    rng: np.random.Generator | None,
) -> DifferenceTest:
    """Test that `function` has the same value for two series of the same rows.

    Parameters
    ----------
    a, b : ndarray of shape (n_observations,)
        Finite, with a standard deviation near one: the caller chooses the unit.
    function : callable
        Value and gradient of the compared quantity, from the means of x and x^2.
    name : str
        Of the test, for `method`.
    law : {"bootstrap", "hac"}
        What the statistic is judged by.
    n_bootstrap : int
        Resamples; only the bootstrap reads it.
    block : int or "auto"
        Rows per block; "auto" takes the length of Politis and White for the series z, and leaves ten blocks.
    confidence : float in (0, 1)
        Of the interval.
    rng : numpy.random.Generator or None
        Draws the blocks; the bootstrap needs one.

    Returns
    -------
    DifferenceTest

    Raises
    ------
    ParameterError
        If an option is out of range.
    DataError
        If there are too few rows for the blocks.
    """
    if law not in ("bootstrap", "hac"):
        raise ParameterError(f"law must be 'bootstrap' or 'hac', got {law!r}")
    rows = np.column_stack([a, a * a, b, b * b])
    estimate, influence = _difference(rows.mean(axis=0), rows, function)
    error = float(np.sqrt(long_run_variance(influence) / (len(a) - 4)))
    if error < 1e-12:  # the same series twice, up to its unit: nothing but rounding varies
        error = 0.0
        estimate = 0.0 if abs(estimate) < 1e-12 else estimate
    test = asymptotic_test(
        estimate, error, n_observations=len(a), method=f"{name}, HAC (prewhitened QS)", confidence=confidence
    )
    if law == "hac":
        return test
    if rng is None:
        raise ParameterError("the bootstrap draws blocks: give rng=np.random.default_rng(seed), or law='hac'")
    length = _block(influence, block)
    spread = _spread(rows, estimate, function, length, n_bootstrap, rng)
    critical = quantile(spread, confidence)
    half = critical * error if error > 0.0 else 0.0
    exceeding = int(np.count_nonzero(spread >= abs(test.statistic)))
    return replace(
        test,
        low=estimate - half,
        high=estimate + half,
        p_value=float((1 + exceeding) / (1 + len(spread))),
        minimum_detectable=minimum_detectable(error, confidence=confidence, critical_value=critical) if half else 0.0,
        method=f"{name}, studentised circular block bootstrap",
        block=length,
    )


def _difference(
    means: NDArray[np.float64], rows: NDArray[np.float64], function: MomentFunction
) -> tuple[float, NDArray[np.float64]]:
    """Value of the difference and the series whose mean error is its own."""
    value_a, gradient_a = function(means[:2])
    value_b, gradient_b = function(means[2:])
    return float(value_a - value_b), (rows - means) @ np.concatenate([gradient_a, -gradient_b])


def _block(influence: NDArray[np.float64], block: Block) -> int:
    n = len(influence)
    if block == "auto":
        return int(np.clip(round(politis_white_block(influence)), 1, max(1, n // MIN_BLOCKS)))
    if isinstance(block, bool) or not isinstance(block, (int, np.integer)) or block < 1:
        raise ParameterError(f"block must be 'auto' or a whole number of rows of at least 1, got {block!r}")
    if n < 4 * block:
        raise DataError(f"block={block} needs at least {4 * block} rows, got {n}; shorten block")
    return int(block)


def _spread(
    rows: NDArray[np.float64],
    estimate: float,
    function: MomentFunction,
    block: int,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """|f* - f| / s* of every resample, from means of circular blocks; slow twin in tests/evaluation."""
    if n_bootstrap < 100:
        raise ParameterError(f"n_bootstrap must be at least 100, got {n_bootstrap}")
    means = np.ascontiguousarray(block_means(rows, block))
    n_blocks = len(rows) // block
    per_chunk = max(1, CHUNK // n_blocks)
    spread = []
    for first in range(0, n_bootstrap, per_chunk):
        size = (min(per_chunk, n_bootstrap - first), n_blocks)
        centre, products = _resampled_moments(means, rng.integers(len(rows), size=size))
        value_a, gradient_a = function(centre[:, :2])
        value_b, gradient_b = function(centre[:, 2:])
        gradient = np.concatenate([gradient_a, -gradient_b], axis=1)
        covariances = products - centre[:, :, None] * centre[:, None, :]  # (n_draws, 4, 4)
        variances = np.einsum("di,dij,dj->d", gradient, covariances, gradient) / n_blocks
        errors = np.sqrt(np.maximum(variances, 0.0))
        shift = np.abs(value_a - value_b - estimate)
        spread.append(np.divide(shift, errors, out=np.where(shift > 1e-12, np.inf, 0.0), where=errors > 1e-9))
    return np.concatenate(spread)


@njit(cache=True)
def _resampled_moments(
    means: NDArray[np.float64], draws: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # pragma: no cover (compiled)
    """Mean of the drawn rows and of their products, shapes (n_draws, k) and (n_draws, k, k)."""
    n_draws, n_blocks = draws.shape
    k = means.shape[1]
    centre, products = np.zeros((n_draws, k)), np.zeros((n_draws, k, k))
    for draw in range(n_draws):
        for block in range(n_blocks):
            row = draws[draw, block]
            for i in range(k):
                centre[draw, i] += means[row, i]
                for j in range(i + 1):
                    products[draw, i, j] += means[row, i] * means[row, j]
        for i in range(k):
            centre[draw, i] /= n_blocks
            for j in range(i + 1):
                products[draw, i, j] /= n_blocks
                products[draw, j, i] = products[draw, i, j]
    return centre, products
