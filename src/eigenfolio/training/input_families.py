"""Families of the inputs of a spectral network, each of which a member of an ensemble can be trained without.

An input belongs to a family by its own name; in a summary, which holds the means and the spreads of the assets' numbers
for both spectra, by the name of the number that it sums up. What is left out is no input of the network any more. The
closed form that the network corrects, and what joins or guards the answers of the members, keep what they read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eigenfolio.learned.spectra import ASSET_FEATURES, CONTEXT_FEATURES, SUMMARY_FEATURES, TOKEN_FEATURES

__all__ = ["EVERY_INPUT", "FAMILIES", "feature_choices", "kept_inputs"]

BoolArray = NDArray[np.bool_]

EVERY_INPUT = "all"
_WITHOUT = "no_"

FAMILIES: dict[str, tuple[str, ...]] = {
    "tails": ("log_mean_absolute", "log_kurtosis", "log_largest", "residual_log_kurtosis", "row_log_kurtosis"),
    "residuals": ("residual_volatility_21", "residual_volatility_63", "log_residual_variance", "residual_log_kurtosis"),
    "recent_volatility": (
        "ewma_volatility_21",
        "ewma_volatility_63",
        "ewma_volatility_126",
        "ewma_volatility_252",
        "log_recent_mean_absolute",
        "residual_volatility_21",
        "residual_volatility_63",
        "level",
    ),
    "correlations": ("mean_correlation", "leading_loading", "correlation_size"),
    "directions": ("log_inverse_volatility_overlap", "log_participation"),
    "ranks": ("rank_share", "log_rank_from_below", "log_rank_from_above"),
    "clustering": ("row_clustering", "asset_clustering"),
    "sizes": ("log_aspect_ratio", "log_rows", "log_assets"),
    "trading": ("still_share", "log_coverage"),
}
"""Names of the inputs by family: fat tails, what factors leave, volatility of late against that of the window, how
assets hang together, what eigenvectors point at, the order of the eigenvalues, clustering, dimensions, and days without
a move or a return. Some inputs are of two families."""


def feature_choices() -> tuple[str, ...]:
    """What the inputs of a member can be.

    Examples
    --------
    >>> feature_choices()[:3]
    ('all', 'no_tails', 'no_residuals')
    """
    return (EVERY_INPUT, *(f"{_WITHOUT}{family}" for family in FAMILIES))


def kept_inputs(features: str) -> dict[str, BoolArray]:
    """Which inputs a member sees.

    Parameters
    ----------
    features : str
        One of `feature_choices`.

    Returns
    -------
    dict of str to ndarray of bool, shape (n_features,)
        Of "token", "asset", "context" and "summary".

    Examples
    --------
    >>> {kind: int((~kept).sum()) for kind, kept in kept_inputs("no_correlations").items()}
    {'token': 0, 'asset': 3, 'context': 0, 'summary': 14}
    """
    gone = () if features == EVERY_INPUT else FAMILIES[features.removeprefix(_WITHOUT)]
    names = {
        "token": TOKEN_FEATURES,
        "asset": ASSET_FEATURES,
        "context": CONTEXT_FEATURES,
        "summary": tuple(map(_summed_up, SUMMARY_FEATURES)),
    }
    return {kind: np.array([name not in gone for name in own]) for kind, own in names.items()}


def _summed_up(name: str) -> str:
    """The number that a number of the summary is about."""
    own = name.removeprefix("steady_").removeprefix("recent_")
    asset = own.removeprefix("mean_").removeprefix("spread_")
    return asset if asset in ASSET_FEATURES else own
