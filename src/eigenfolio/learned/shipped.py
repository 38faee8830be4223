"""Weights that ship with the package, by name.

"as_of"       the newest vintage that ends no later than the last row of X
"latest"      the newest vintage, whatever it has seen
"2008" ...    the vintage of that year
"synthetic"   trained on simulated markets alone, so honest on every date
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import as_file, files

from eigenfolio.artifacts import Bundle, BundleSeries, load_series
from eigenfolio.errors import ArtifactError, ParameterError

__all__ = ["is_shipped_name", "is_undated", "shipped_bundle", "shipped_series"]

_NAMES = ("as_of", "latest", "synthetic")
_FIRST_YEAR = 1950  # a vintage that has seen simulated markets alone is dated before


def is_shipped_name(name: str) -> bool:
    """Whether a string names shipped weights rather than a path."""
    return name in _NAMES or re.fullmatch(r"\d{4}", name) is not None


@cache
def shipped_series(network: str) -> BundleSeries:
    """All vintages of a network, the synthetic one first.

    Raises
    ------
    ArtifactError
        If none ships.
    """
    place = files("eigenfolio.pretrained") / "shrinkage" / network
    if not place.is_dir():
        raise ArtifactError(f"no weights ship for network {network!r}; train some, or give weights=None")
    with as_file(place) as folder:
        return load_series(folder)


def shipped_bundle(network: str, name: str) -> Bundle:
    """The vintage called "latest", "synthetic" or by its year.

    Raises
    ------
    ParameterError
        If there is no such vintage.
    """
    series = shipped_series(network)
    if name == "latest":
        return series.bundles[-1]
    found = {_vintage_name(bundle): bundle for bundle in series}
    if name not in found:
        raise ParameterError(f"weights={name!r} does not ship for network {network!r}; there are {sorted(found)}")
    return found[name]


def is_undated(bundle: Bundle) -> bool:
    """Whether a bundle has seen no market at all."""
    return bundle.trained_through.year < _FIRST_YEAR


def _vintage_name(bundle: Bundle) -> str:
    return "synthetic" if is_undated(bundle) else str(bundle.trained_through.year)
