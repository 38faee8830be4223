r"""Tracks whose true differences are known, to see whether tests keep what they promise.

    r_it = m_i + s_i x_it,    x_it = phi x_i,t-1 + sqrt(1 - phi^2) v_t (sqrt(c) f_t + sqrt(1 - c) e_it)

f moves all tracks and e one, c is their correlation, and x has variance one. By law:

=================== =========================================================================================
law                 what it is
=================== =========================================================================================
iid                 normal f and e, v = 1, phi = 0
student             all divided by the root of one chi-square of 5 degrees of freedom per row (variance one)
ar_garch            phi = 0.1; v^2 = 0.02 + 0.08 (v f)^2 + 0.90 v^2, all of the row before: one volatility for all
own_garch           phi = 0.1; every track has such a volatility of its own, driven by its own shock
=================== =========================================================================================

Strategies on the same assets share most of their volatility, as in "ar_garch". Under "own_garch" differences in
volatility last for months, and no test of a few years of rows can see how long: it is here as a warning.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.signal import lfilter

from eigenfolio.errors import ParameterError

__all__ = ["TrackLaw", "draw_tracks"]

TrackLaw = Literal["iid", "student", "ar_garch", "own_garch"]

FloatArray = NDArray[np.float64]

PERSISTENCE = 0.1
ARCH, GARCH = 0.08, 0.90
DEGREES = 5.0
BURN_IN = 250
"""Rows drawn and thrown away, after which volatilities have forgotten where they began."""


def draw_tracks(
    law: TrackLaw,
    *,
    n_observations: int,
    n_tracks: int = 2,
    correlation: float = 0.9,
    mean: float | FloatArray = 0.0004,
    volatility: float | FloatArray = 0.01,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw tracks of simple returns that differ in nothing but what is asked for.

    Parameters
    ----------
    law : {"iid", "student", "ar_garch", "own_garch"}
        See the top of this module.
    n_observations, n_tracks : int
        Rows and columns.
    correlation : float in [0, 1]
        Of any two shocks.
    mean, volatility : float or ndarray of shape (n_tracks,)
        Mean and standard deviation per row.
    rng : numpy.random.Generator
        Draws everything.

    Returns
    -------
    ndarray of shape (n_observations, n_tracks)

    Raises
    ------
    ParameterError
        If the law is unknown or the correlation leaves [0, 1].

    Examples
    --------
    >>> tracks = draw_tracks("ar_garch", n_observations=20_000, rng=np.random.default_rng(0))
    >>> np.corrcoef(tracks.T)[0, 1].round(1), tracks.std().round(3)
    (np.float64(0.9), np.float64(0.01))
    """
    if law not in get_args(TrackLaw):
        raise ParameterError(f"law must be one of {', '.join(get_args(TrackLaw))}, got {law!r}")
    if not 0.0 <= correlation <= 1.0:
        raise ParameterError(f"correlation must lie in [0, 1], got {correlation!r}")
    n_rows = n_observations + BURN_IN
    common = rng.standard_normal((n_rows, 1))
    shocks = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * rng.standard_normal((n_rows, n_tracks))
    if law == "student":
        shocks = shocks * np.sqrt((DEGREES - 2.0) / rng.chisquare(DEGREES, (n_rows, 1)))
    elif law != "iid":
        driving = common if law == "ar_garch" else shocks
        shocks = np.sqrt(1.0 - PERSISTENCE**2) * _garch_volatility(driving) * shocks
        shocks = lfilter([1.0], [1.0, -PERSISTENCE], shocks, axis=0)
    return mean + volatility * shocks[BURN_IN:]


@njit(cache=True)
def _garch_volatility(driving: FloatArray) -> FloatArray:  # pragma: no cover (compiled)
    """Volatility of every row and column, driven by standard shocks; long-run variance one."""
    volatility = np.empty_like(driving)
    for column in range(driving.shape[1]):
        variance = 1.0
        for row in range(driving.shape[0]):
            volatility[row, column] = np.sqrt(variance)
            news = variance * driving[row, column] ** 2
            variance = (1.0 - ARCH - GARCH) + ARCH * news + GARCH * variance
    return volatility
