"""A bundle: the weights of one fitted network, what they expect, and what they have seen.

On disk a bundle is a folder of two files, `weights.safetensors` (arrays only) and `manifest.json` (everything
else, with the SHA-256 of the weights and of the manifest itself). It is written beside its final place and
renamed, so it is there whole or not at all. A series is a folder of bundles of one model with different
`trained_through` dates.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from eigenfolio.errors import ArtifactError, LookaheadError

__all__ = ["Bundle", "BundleSeries", "load_bundle", "load_series", "save_bundle", "short_date", "whole_folder"]

FORMAT = "eigenfolio-bundle-1"
_MANIFEST = "manifest.json"
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Bundle:
    """The weights of one network and everything needed to use them honestly.

    Parameters
    ----------
    family : str
        Model family, e.g. ``"shrinkage"``.
    network : str
        Network name within the family, e.g. ``"dense"``.
    options : mapping
        Constructor options of the network, JSON-able.
    feature_names : tuple of str
        Input names in the order the weights expect.
    tensors : mapping of str to ndarray
        Weights and scalers by name.
    trained_through : Timestamp
        Date of the last row that any label, scaler or stopping rule has seen.
    details : mapping
        Anything else worth keeping (losses, seed, data fingerprint), JSON-able.
    """

    family: str
    network: str
    options: Mapping[str, Any]
    feature_names: tuple[str, ...]
    tensors: Mapping[str, NDArray[Any]]
    trained_through: pd.Timestamp
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", {name: _frozen(tensor) for name, tensor in self.tensors.items()})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # arrays come back from another process writeable

    def __deepcopy__(self, memo: dict[int, Any]) -> Bundle:
        """Nothing in a bundle changes, so a clone of an estimator shares it."""
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over the weights, the same for the same bits."""
        return hashlib.sha256(_tensor_bytes(self.tensors)).hexdigest()


@dataclass(frozen=True)
class BundleSeries:
    """Bundles of one model, ordered by the date they have seen.

    Examples
    --------
    >>> bundle = Bundle("shrinkage", "dense", {}, (), {"w": np.zeros(1)}, pd.Timestamp("2012-12-31"))
    >>> series = BundleSeries((bundle,))
    >>> series.as_of(pd.Timestamp("2013-01-31")).trained_through.year
    2012
    """

    bundles: tuple[Bundle, ...]

    def __post_init__(self) -> None:
        if not self.bundles:
            raise ArtifactError("a series needs at least one bundle, got none")
        kinds = {(bundle.family, bundle.network) for bundle in self.bundles}
        if len(kinds) > 1:
            raise ArtifactError(f"a series holds one kind of model, got {sorted(kinds)}")
        ordered = tuple(sorted(self.bundles, key=lambda bundle: bundle.trained_through))
        dates = [bundle.trained_through for bundle in ordered]
        if len(set(dates)) < len(dates):
            raise ArtifactError(f"two bundles of a series end on the same date: {_dates(dates)}")
        object.__setattr__(self, "bundles", ordered)

    def __deepcopy__(self, memo: dict[int, Any]) -> BundleSeries:
        """Shared by clones, like its bundles."""
        return self

    def __iter__(self) -> Iterator[Bundle]:
        return iter(self.bundles)

    def __len__(self) -> int:
        return len(self.bundles)

    def as_of(self, last_row: pd.Timestamp) -> Bundle:
        """Return the newest bundle that has seen nothing after `last_row`.

        Raises
        ------
        LookaheadError
            If every bundle has seen later rows.
        """
        known = [bundle for bundle in self.bundles if bundle.trained_through <= last_row]
        if not known:
            raise LookaheadError(
                f"the earliest bundle has seen rows through {short_date(self.bundles[0].trained_through)}, after the "
                f"last row given ({short_date(last_row)}); decide later, or train a bundle that ends earlier"
            )
        return known[-1]


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle to a new folder, whole or not at all.

    Raises
    ------
    ArtifactError
        If the folder exists or cannot be written.
    """
    weights = _tensor_bytes(bundle.tensors)
    manifest = {
        "format": FORMAT,
        "family": bundle.family,
        "network": bundle.network,
        "options": dict(bundle.options),
        "feature_names": list(bundle.feature_names),
        "trained_through": bundle.trained_through.isoformat(),
        "details": dict(bundle.details),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    manifest["manifest_sha256"] = _manifest_digest(manifest)
    with whole_folder(folder) as partial:
        (partial / _WEIGHTS).write_bytes(weights)
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return Path(folder)


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle and verify that it is whole and unchanged.

    Raises
    ------
    ArtifactError
        If it is missing, truncated, tampered with, or of another format.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        weights = (folder / _WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder} is not a bundle: {Path(str(error.filename)).name} is missing") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{folder / _MANIFEST} cannot be read as a bundle manifest: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(f"{folder} has format {found!r}, this version reads {FORMAT!r}; train it again")
    if manifest.get("manifest_sha256") != _manifest_digest(manifest):
        raise ArtifactError(f"{folder / _MANIFEST} was changed after it was written; restore it or train it again")
    if hashlib.sha256(weights).hexdigest() != manifest["weights_sha256"]:
        raise ArtifactError(
            f"{folder / _WEIGHTS} was changed or truncated after it was written; restore it or train it again"
        )
    try:
        tensors = load_tensors(weights)
    except SafetensorError as error:
        raise ArtifactError(f"{folder / _WEIGHTS} is not a safetensors file: {error}") from error
    return Bundle(
        family=manifest["family"],
        network=manifest["network"],
        options=manifest["options"],
        feature_names=tuple(manifest["feature_names"]),
        tensors=tensors,
        trained_through=pd.Timestamp(manifest["trained_through"]),
        details=manifest["details"],
    )


def load_series(folder: str | Path) -> BundleSeries:
    """Read a bundle, or every bundle directly inside `folder`, as a series.

    Raises
    ------
    ArtifactError
        If there is none, or one of them cannot be used.
    """
    folder = Path(folder)
    if (folder / _MANIFEST).is_file():
        return BundleSeries((load_bundle(folder),))
    found = sorted(path.parent for path in folder.glob(f"*/{_MANIFEST}"))
    if not found:
        raise ArtifactError(f"{folder} holds no bundle (a folder with {_MANIFEST} and {_WEIGHTS})")
    return BundleSeries(tuple(load_bundle(path) for path in found))


class whole_folder:
    """A new folder that appears whole or not at all.

    Write into the path that the `with` statement gives; it is renamed to `folder` when the block ends well and
    removed when it does not.

    Raises
    ------
    ArtifactError
        If `folder` exists, or cannot be created.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> Path:
        if self.folder.exists():
            raise ArtifactError(f"{self.folder} exists already; choose another place or remove it")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._partial = Path(
                tempfile.mkdtemp(prefix=f".{self.folder.name}.", suffix=".partial", dir=self.folder.parent)
            )
        except OSError as error:
            raise ArtifactError(
                f"{self.folder} cannot be written ({error.strerror or error}); choose a folder you may write to"
            ) from error
        return self._partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            if isinstance(error, OSError):
                raise ArtifactError(
                    f"{self.folder} cannot be written ({error.strerror or error}); nothing was left behind"
                ) from error
            return
        os.chmod(self._partial, 0o755)
        try:
            os.rename(self._partial, self.folder)
        except OSError as failure:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise ArtifactError(f"{self.folder} cannot be written ({failure.strerror or failure})") from failure


def _frozen(tensor: NDArray[Any]) -> NDArray[Any]:
    kept = np.array(tensor)
    kept.flags.writeable = False
    return kept


def _tensor_bytes(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    return save_tensors({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _dates(dates: Sequence[pd.Timestamp]) -> str:
    return ", ".join(short_date(date) for date in dates)


def short_date(date: pd.Timestamp) -> str:
    """ISO date, with the time of day where there is one; fit for a folder name.

    Examples
    --------
    >>> short_date(pd.Timestamp("2020-03-05")), short_date(pd.Timestamp("2020-03-05 20:00"))
    ('2020-03-05', '2020-03-05T2000')
    """
    return f"{date:%Y-%m-%d}" if date == date.normalize() else f"{date:%Y-%m-%dT%H%M}"
