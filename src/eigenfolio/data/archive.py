"""Immutable snapshots of a panel: a folder of Parquet files with a manifest that vouches for every byte.

The folder is written beside its final place and renamed, so it is there whole or not at all, and it is
never written again. `manifest.json` holds the sha256 of every file, the panel's own fingerprint, a
semantic version, the lineage (parent fingerprint, source and steps) and a sha256 of itself. Loading
checks all of them.

Prices are stored when the panel has them (returns follow from them), else returns; float64, zstd.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from eigenfolio.errors import ArtifactError, EigenfolioError, ParameterError
from eigenfolio.panel import Panel, Provenance

__all__ = ["archive_panel", "load_archive", "read_manifest"]

_FORMAT = "eigenfolio panel"
_FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def archive_panel(
    panel: Panel, folder: str | Path, *, version: str = "1.0.0", parent: str | None = None, note: str = ""
) -> dict[str, Any]:
    """Write a panel as an immutable, hashed snapshot.

    Parameters
    ----------
    panel : Panel
        What to keep.
    folder : str or Path
        Must not exist yet.
    version : str
        Semantic version, such as "1.0.0".
    parent : str, optional
        Fingerprint of the panel this one was made from.
    note : str
        Why it was made.

    Returns
    -------
    dict
        The manifest, as written.

    Raises
    ------
    ArtifactError
        If the folder exists or cannot be written; nothing is left behind.
    ParameterError
        If `version` is not semantic or `parent` is no fingerprint.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(3, 40).panel
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = archive_panel(panel, f"{folder}/snapshot", version="0.1.0")
    ...     loaded = load_archive(f"{folder}/snapshot")
    >>> loaded.fingerprint == panel.fingerprint == manifest["fingerprint"]
    True
    """
    target = Path(folder)
    if not _VERSION.fullmatch(version):
        raise ParameterError(f"version must be semantic, such as 1.0.0, got {version!r}")
    if parent is not None and not re.fullmatch(r"[0-9a-f]{64}", parent):
        raise ParameterError(f"parent must be a panel's fingerprint (64 hexadecimal digits), got {parent!r}")
    if target.exists() or target.is_symlink():
        raise ArtifactError(f"{target}: exists already, and an archive is never overwritten; choose another folder")
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        files = {}
        for name, table in _tables(panel).items():
            path = temporary / f"{name}.parquet"
            table.to_parquet(path, compression="zstd")
            files[path.name] = {"sha256": _sha256(path), "rows": len(table), "columns": len(table.columns)}
        manifest = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "version": version,
            "fingerprint": panel.fingerprint,
            "n_observations": panel.n_observations,
            "n_assets": panel.n_assets,
            "first_date": panel.index[0].isoformat(),
            "last_date": panel.index[-1].isoformat(),
            "lineage": {
                "parent": parent,
                "source": panel.provenance.source,
                "steps": list(panel.provenance.steps),
            },
            "note": note,
            "files": files,
        }
        manifest["sha256"] = _own_hash(manifest)
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for path in temporary.iterdir():
            path.chmod(0o444)
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except OSError as error:
        raise ArtifactError(f"{target}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read and verify the manifest of an archive, without the tables.

    Raises
    ------
    ArtifactError
        If it is missing, foreign, of a newer format or was changed.
    """
    path = Path(folder) / _MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: holds no {_MANIFEST}, so it is no archive; name an archive's folder") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); restore the archive") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: is not the manifest of an {_FORMAT}; name an archive's folder")
    if manifest.get("format_version") != _FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: has format version {manifest.get('format_version')}, this eigenfolio reads {_FORMAT_VERSION}; "
            "install the version that wrote it"
        )
    if manifest.get("sha256") != _own_hash(manifest):
        raise ArtifactError(f"{path}: was changed after it was written; restore the archive")
    return manifest


def load_archive(folder: str | Path) -> Panel:
    """Load an archived panel and verify every hash.

    Parameters
    ----------
    folder : str or Path
        Folder written by `archive_panel`.

    Returns
    -------
    Panel
        With the archived provenance and one step more, naming the version.

    Raises
    ------
    ArtifactError
        If a file is missing, truncated, changed or foreign, or the panel does not match its fingerprint.
    """
    root = Path(folder)
    manifest = read_manifest(root)
    expected = set(manifest["files"]) | {_MANIFEST}
    found = {path.name for path in root.iterdir()}
    if found != expected:
        missing, foreign = sorted(expected - found), sorted(found - expected)
        problem = f"misses {', '.join(missing)}" if missing else f"holds foreign {', '.join(foreign)}"
        raise ArtifactError(f"{root}: the archive {problem}; restore it")
    tables: dict[str, Any] = {}
    for name, entry in manifest["files"].items():
        if _sha256(root / name) != entry["sha256"]:
            raise ArtifactError(f"{root / name}: was changed or truncated after it was written; restore the archive")
        tables[name.removesuffix(".parquet")] = pd.read_parquet(root / name)
    sectors = tables.pop("sectors")["sector"] if "sectors" in tables else None
    extra: dict[str, Any] = {"sectors": sectors, "market": tables.pop("market", None)}
    try:
        if "prices" in tables:
            panel = Panel.from_prices(tables.pop("prices"), **tables, **extra)
        else:
            panel = Panel.from_returns(tables.pop("returns"), **tables, **extra)
    except EigenfolioError as error:
        raise ArtifactError(f"{root}: its tables make no panel ({error})") from error
    if panel.fingerprint != manifest["fingerprint"]:
        raise ArtifactError(f"{root}: the panel does not match its fingerprint; restore the archive")
    lineage = manifest["lineage"]
    provenance = Provenance(lineage["source"], (*lineage["steps"], f"archived as version {manifest['version']}"))
    return replace(panel, provenance=provenance)


def _tables(panel: Panel) -> dict[str, pd.DataFrame]:
    prices = panel.prices
    tables = {"returns": panel.returns} if prices is None else {"prices": prices}
    for name in ("volume", "high", "low"):
        table = panel.field(name)
        if table is not None:
            tables[name] = table
    if len(panel.market.columns):
        tables["market"] = panel.market
    if panel.sectors is not None:
        tables["sectors"] = panel.sectors.to_frame("sector")
    return tables


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_hash(manifest: dict[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
