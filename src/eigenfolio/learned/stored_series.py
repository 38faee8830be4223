"""Bundles on disk, read once as long as they do not change."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike
from pathlib import Path

from eigenfolio.artifacts import BundleSeries, load_series

__all__ = ["stored_series"]


def stored_series(folder: str | PathLike[str]) -> BundleSeries:
    """A bundle or a series of them, read again only when a manifest has changed.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    ArtifactError
        If there is none, or one of them cannot be used.
    """
    place = Path(folder)
    manifests = [place / "manifest.json", *sorted(place.glob("*/manifest.json"))]
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in manifests if path.is_file())
    return _read_series(place, stamp)


@lru_cache(maxsize=64)
def _read_series(folder: Path, stamp: tuple[tuple[str, int], ...]) -> BundleSeries:
    return load_series(folder)
