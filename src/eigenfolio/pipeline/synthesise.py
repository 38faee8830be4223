"""From the name of a kind to a folder of synthetic data with its truth.

The folder holds what a user would have seen (`prices.parquet`, and `market.parquet`, `sectors.parquet` where there
are such; or `snapshots.parquet` and `trades.parquet` of an order book), what only the maker knows (`truth/`), and
`manifest.json`. `eigenfolio.data.read_panel` reads the folder as it reads any other and never looks at the truth.
It is written beside its final place and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED
from eigenfolio.data.readers import SYNTHETIC_FORMAT
from eigenfolio.data.synthetic.catalogue import draw_kind, find_kind
from eigenfolio.data.synthetic.markets import ConstantCovariance, SyntheticMarket
from eigenfolio.data.synthetic.oracles import oracle_minimum_variance
from eigenfolio.data.synthetic.order_books import SyntheticBook
from eigenfolio.data.synthetic.signals import PlantedMarket
from eigenfolio.errors import ArtifactError, ParameterError

__all__ = ["synthesise"]

_FORMAT_VERSION = 1
_LARGEST_PATH = 4_000_000
_PERIODS_PER_YEAR = 252


def synthesise(
    kind: str, folder: str | Path, *, n_assets: int | None = None, n_rows: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Draw synthetic data of a named kind and write them, with their truth, into a new folder.

    Parameters
    ----------
    kind : str
        A key of `eigenfolio.data.synthetic.catalogue.KINDS`.
    folder : path-like
        Must be empty or not exist.
    n_assets, n_rows : int, optional
        Sizes; None is the kind's default.
    seed : int
        Same kind, sizes and seed give the same bits.

    Returns
    -------
    dict
        The manifest, as written.

    Raises
    ------
    ParameterError
        If the kind is unknown or a size is out of range.
    ArtifactError
        If the folder is not empty or cannot be written; nothing is left behind.

    Examples
    --------
    >>> from eigenfolio.data import read_panel
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = synthesise("momentum", f"{folder}/m", n_assets=4, n_rows=60, seed=1)
    ...     panel = read_panel(f"{folder}/m")
    >>> panel.fingerprint == manifest["fingerprint"]
    True
    """
    target = Path(folder)
    chosen = find_kind(kind)
    _refuse_used(target)
    drawn = draw_kind(kind, n_assets=n_assets, n_rows=n_rows, seed=seed)
    if isinstance(drawn, SyntheticBook):
        tables, facts = _book_tables(drawn), _book_facts(drawn)
    else:
        tables, facts = _market_tables(drawn), _market_facts(drawn)
    manifest: dict[str, Any] = {
        "format": SYNTHETIC_FORMAT,
        "format_version": _FORMAT_VERSION,
        "kind": kind,
        "summary": chosen.summary,
        "seed": seed,
        **facts,
    }
    _write(target, tables, manifest)
    return manifest


def _market_tables(market: SyntheticMarket) -> dict[str, pd.DataFrame]:
    panel = market.panel
    if panel.prices is None:
        raise ParameterError(f"a {market.kind} market has no prices to write")
    tables = {"prices": panel.prices}
    if len(panel.market.columns):
        tables["market"] = panel.market
    if panel.sectors is not None:
        tables["sectors"] = panel.sectors.to_frame("sector").rename_axis("asset")
    tables["truth/covariance"] = market.covariance.rename_axis("asset")
    path = _stored_path(market)
    if path is not None:
        tables["truth/covariance_path"] = path
    if isinstance(market, PlantedMarket):
        tables["truth/expected_returns"] = market.expected_returns
        tables["truth/unconditional_covariance"] = market.unconditional_covariance.rename_axis("asset")
        own = market.loadings.assign(own_volatility=market.own_volatility, predicted=market.predicted)
        tables["truth/loadings"] = own.rename_axis("asset")
        if market.regimes is not None:
            tables["truth/regimes"] = market.regimes.to_frame()
        if market.edge_index is not None:
            names = np.asarray(panel.asset_names, dtype=object)
            leader, follower = names[market.edge_index]
            tables["truth/edges"] = pd.DataFrame({"leader": leader, "follower": follower})
    return tables


def _stored_path(market: SyntheticMarket) -> pd.DataFrame | None:
    """The covariance of every row, one below the other, where it changes and is small enough."""
    path = market.covariance_path
    names = market.panel.asset_names
    if isinstance(path, ConstantCovariance) or path.n_observations * path.n_assets**2 > _LARGEST_PATH:
        return None
    index = pd.MultiIndex.from_product([market.panel.index, names], names=["date", "asset"])
    return pd.DataFrame(np.concatenate(list(path.between(0, path.n_observations))), index=index, columns=names)


def _market_facts(market: SyntheticMarket) -> dict[str, Any]:
    panel = market.panel
    stored = _stored_path(market) is not None
    score: dict[str, Any] = {}
    if isinstance(market, PlantedMarket):
        score = {**asdict(market.oracle_score), "delay": market.delay}
    truth = market.covariance.to_numpy()
    positive = bool(np.linalg.eigvalsh(truth)[0] > 1e-12 * np.trace(truth))
    for name, book in (("long_only", LONG_ONLY), ("unconstrained", UNCONSTRAINED)):
        volatility = oracle_minimum_variance(truth, book) * np.sqrt(_PERIODS_PER_YEAR) if positive else None
        score[f"minimum_variance_volatility_{name}"] = None if volatility is None else float(volatility)
    constant = isinstance(market.covariance_path, ConstantCovariance)
    return {
        "law": market.kind,
        "parameters": dict(market.parameters),
        "n_assets": panel.n_assets,
        "n_rows": panel.n_observations,
        "first_date": panel.index[0].isoformat(),
        "last_date": panel.index[-1].isoformat(),
        "fingerprint": panel.fingerprint,
        "covariance_path": "constant" if constant else "stored" if stored else "too large to store; draw it again",
        "oracle_score": score,
    }


def _book_tables(book: SyntheticBook) -> dict[str, pd.DataFrame]:
    return {
        "snapshots": book.snapshots,
        "trades": book.trades,
        "truth/signal": pd.DataFrame({"signal": book.signal, "move": book.moves}),
    }


def _book_facts(book: SyntheticBook) -> dict[str, Any]:
    return {
        "law": book.kind,
        "parameters": dict(book.parameters),
        "n_rows": len(book.snapshots),
        "n_trades": len(book.trades),
        "first_date": book.snapshots.index[0].isoformat(),
        "last_date": book.snapshots.index[-1].isoformat(),
        "fingerprint": book.fingerprint,
        "oracle_score": {**asdict(book.oracle_score), "delay": book.delay},
    }


def _refuse_used(target: Path) -> None:
    try:
        used = target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir())))
    except OSError as error:
        raise ArtifactError(
            f"{target}: cannot be looked at ({error.strerror or error}); choose another place"
        ) from error
    if used:
        raise ArtifactError(f"{target}: exists already and is not an empty folder; choose another place")


def _write(target: Path, tables: dict[str, pd.DataFrame], manifest: dict[str, Any]) -> None:
    """Write everything beside its place and rename; `manifest` receives the hashes of the files."""
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        (temporary / "truth").mkdir()
        manifest["files"] = {}
        for name, table in tables.items():
            path = temporary / f"{name}.parquet"
            table.to_parquet(path, compression="zstd")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            manifest["files"][f"{name}.parquet"] = {"sha256": digest, "rows": len(table), "columns": len(table.columns)}
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "manifest.json").write_text(text + "\n", "utf-8")
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except OSError as error:
        raise ArtifactError(f"{target}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)
