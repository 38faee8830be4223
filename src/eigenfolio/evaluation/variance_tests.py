r"""Is one track calmer than another? A test row by row.

    difference = 1/2 (log variance_a - log variance_b) = log(volatility_a / volatility_b)

is tested with the robust machinery of `eigenfolio.evaluation.moment_tests`, on the log scale, where the statistic is
closer to its limit than on that of variances [1]_. Negative where a is the calmer one; -0.02 says two percent calmer.

It holds for tracks that share their volatility, as strategies on the same assets mostly do. Where each has clusters of
volatility of its own that last for months, a few years of rows do not show how long they last: on 1,000 such rows
(``own_garch`` of `eigenfolio.evaluation.null_tracks`) the test speaks up in half of the nulls. There
`eigenfolio.evaluation.volatility_ratio`, which asks the same of whole holding windows and takes the longest error of
several, is the one to believe: 6.7 % (benchmarks/significance.py).

References
----------
.. [1] O. Ledoit and M. Wolf (2011). Robust performance hypothesis testing with the variance. Wilmott 55, 86-89.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenfolio.errors import DataError
from eigenfolio.evaluation.difference import DifferenceTest, paired
from eigenfolio.evaluation.moment_tests import MIN_ROWS, Law, moment_test
from eigenfolio.evaluation.significance import Block

__all__ = ["ledoit_wolf_variance_test"]


def ledoit_wolf_variance_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    law: Law = "bootstrap",
    n_bootstrap: int = 5000,
    block: Block = "auto",
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
) -> DifferenceTest:
    """Test that two variances are equal, robust to tails and persistence.

    Parameters
    ----------
    a, b : array-like of shape (n_observations,)
        Simple returns per period of the same rows.
    law : {"bootstrap", "hac"}
        "bootstrap" judges by resampled circular blocks, "hac" by the normal law.
    n_bootstrap : int
        Resamples.
    block : int or "auto"
        Rows per block; "auto" follows Politis and White.
    confidence : float in (0, 1)
        Of the interval.
    rng : numpy.random.Generator, optional
        Draws the blocks; "hac" needs none.

    Returns
    -------
    DifferenceTest
        Of log volatilities.

    Raises
    ------
    DataError
        If the rows differ, a value is not finite, a track never varies, or there are fewer than 30 rows.
    ParameterError
        If an option is out of range.

    References
    ----------
    .. [1] O. Ledoit and M. Wolf (2011). Robust performance hypothesis testing with the variance. Wilmott 55, 86-89.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> market = 0.01 * rng.standard_normal(500)
    >>> calmer = 0.9 * market + 0.0005 * rng.standard_normal(500)
    >>> test = ledoit_wolf_variance_test(calmer, market, rng=rng)
    >>> round(test.estimate, 2), test.p_value < 0.01
    (-0.1, True)
    """
    x, y = paired(a, b, at_least=MIN_ROWS)
    scales = [float(track.std()) for track in (x, y)]
    for name, track, scale in zip("ab", (x, y), scales, strict=True):
        if scale <= 1e-14 * float(np.abs(track).max(initial=0.0)):
            raise DataError(f"track {name!r} never varies, so it has no volatility to compare")
    # One unit for both, so that the difference stays in the numbers that are resampled.
    unit = float(np.sqrt(scales[0] * scales[1]))
    return moment_test(
        (x - x.mean()) / unit,
        (y - y.mean()) / unit,
        _log_volatility,
        name="Ledoit-Wolf, log volatilities",
        law=law,
        n_bootstrap=n_bootstrap,
        block=block,
        confidence=confidence,
        rng=rng,
    )


def _log_volatility(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log standard deviation and its gradient in the means of x and x^2."""
    mean, second = means[..., 0], means[..., 1]
    variance = np.maximum(second - mean**2, 1e-12)  # a resample of cash only
    return 0.5 * np.log(variance), np.stack([-mean / variance, 0.5 / variance], axis=-1)
