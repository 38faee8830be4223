"""The rolling feature table: every family of market features at a list of rows, spread over processes.

Columns are named ``family.feature``, in the fixed order of the families and of the names of each, the same for every
universe and whether volume, highs and lows, sectors or a volatility index are known or not. A value at a row depends on
that row and earlier ones only; what cannot be computed is missing (NaN). The table is cut into pieces of one family and
a few rows, which give the same bits in any process, so the number of processes changes nothing but the time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from eigenfolio.data import plan_decisions
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.features.correlation import CORRELATION_FEATURES, correlation_features
from eigenfolio.features.events import EVENT_FEATURES, check_events, event_features, read_events
from eigenfolio.features.regime import REGIME_FEATURES, regime_features
from eigenfolio.features.seasonality import SEASONALITY_FEATURES, seasonality_features
from eigenfolio.features.temporal import TEMPORAL_FEATURES, temporal_features
from eigenfolio.panel import Panel
from eigenfolio.parallel import run_tasks

__all__ = ["FAMILIES", "FeatureTable", "feature_table", "n_pieces"]

FAMILIES: dict[str, tuple[str, ...]] = {
    "correlation": CORRELATION_FEATURES,
    "regime": REGIME_FEATURES,
    "temporal": TEMPORAL_FEATURES,
    "seasonality": SEASONALITY_FEATURES,
    "events": EVENT_FEATURES,
}
"""Names of the features of every family, in order."""

FORMAT = "eigenfolio-features-1"
_ROWS_PER_PIECE = 32


@dataclass(frozen=True)
class FeatureTable:
    """Features at a list of rows, and what they were computed from.

    Parameters
    ----------
    values : DataFrame of shape (n_rows, n_features)
        Columns ``family.feature``, float64, NaN where missing; the index holds dates.
    families : tuple of str
        Families in the table, in order.
    lookback : int
        Rows of the trailing windows.
    fingerprint : str
        Fingerprint of the panel, see `Panel.fingerprint`.
    """

    values: pd.DataFrame
    families: tuple[str, ...]
    lookback: int
    fingerprint: str

    def family(self, name: str) -> pd.DataFrame:
        """Columns of one family, named without it.

        Raises
        ------
        ParameterError
            If the table does not hold it.
        """
        if name not in self.families:
            raise ParameterError(f"family must be one of {', '.join(self.families)}, got {name!r}")
        columns = [f"{name}.{feature}" for feature in FAMILIES[name]]
        return self.values[columns].set_axis(list(FAMILIES[name]), axis=1)

    def summary(self) -> pd.DataFrame:
        """One line per feature: where it stands now, within its own history.

        Returns
        -------
        DataFrame of shape (n_features, 5)
            Columns `family`, `feature`, `latest` (value at the last row, NaN if missing there), `percentile` (share of
            the known values below the latest, counting equal ones by half; in (0, 1)) and `missing` (share of rows).
        """
        values = self.values.to_numpy()
        latest = values[-1]
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            place = ((values < latest).sum(axis=0) + 0.5 * (values == latest).sum(axis=0)) / np.maximum(known.sum(0), 1)
        split = [str(column).split(".", 1) for column in self.values]
        return pd.DataFrame(
            {
                "family": [family for family, _ in split],
                "feature": [feature for _, feature in split],
                "latest": latest,
                "percentile": np.where(known[-1], place, np.nan),
                "missing": 1.0 - known.mean(axis=0),
            }
        )

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the table and what it was computed from to one file, whole or not at all.

        Raises
        ------
        ArtifactError
            If it cannot be written; nothing is left behind.
        """
        target = Path(path)
        about = {
            "format": FORMAT,
            "families": self.families,
            "lookback": self.lookback,
            "fingerprint": self.fingerprint,
        }
        table = pa.Table.from_pandas(self.values)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), FORMAT: json.dumps(about)})
        temporary: str | None = None
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
            with os.fdopen(handle, "wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
            temporary = None
        except OSError as error:
            raise ArtifactError(
                f"features {target} cannot be written ({error.strerror or error}); name a file in a folder you may "
                "write to"
            ) from error
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
        return target

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> FeatureTable:
        """Read what `to_parquet` wrote.

        Raises
        ------
        ArtifactError
            If the file is missing, damaged, or not such a table.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"features {path} cannot be read ({' '.join(str(error).split())})") from error
        text = (table.schema.metadata or {}).get(FORMAT.encode())
        if text is None:
            raise ArtifactError(f"features {path} is not a feature table of this version ({FORMAT}); compute it again")
        about = json.loads(text)
        values = table.to_pandas()
        return cls(values, tuple(about["families"]), about["lookback"], about["fingerprint"])


def feature_table(
    panel: Panel,
    rows: Sequence[int] | None = None,
    *,
    families: Iterable[str] = tuple(FAMILIES),
    lookback: int = 252,
    events: pd.DataFrame | str | Path | None = None,
    n_jobs: int = 1,
    on_done: Callable[[], None] | None = None,
) -> FeatureTable:
    """Compute families of features at many rows.

    Parameters
    ----------
    panel : Panel
        Any number of assets. Volume, highs and lows, sectors and a market series named ``vix`` are used where known.
    rows : sequence of int, optional
        Row numbers into `panel.index`, increasing. None takes the decision rows of `plan_decisions`: monthly, traded
        one row later, from the first with `lookback` rows on.
    families : iterable of str
        Names in `FAMILIES`; the table keeps their order there.
    lookback : int
        Rows of the trailing windows.
    events : DataFrame or path, optional
        A user's events for the events family, see `eigenfolio.features.events`.
    n_jobs : int
        Processes, as in joblib: 1 computes here, -1 uses every core. The same bits for any number; the panel is shared
        with them through memory-mapped files, not copied for each piece of work.
    on_done : callable, optional
        Called after each of the `n_pieces` pieces of work.

    Returns
    -------
    FeatureTable

    Raises
    ------
    ParameterError
        If a family is unknown or named twice, rows are not increasing or not in the panel, `lookback` is too short for
        a family, or events are given without their family.
    DataError
        If the events cannot be used.

    Examples
    --------
    >>> from eigenfolio.data.synthetic import factor_market
    >>> panel = factor_market(8, 330, seed=1).panel
    >>> table = feature_table(panel, [300, 329], families=["correlation", "seasonality"])
    >>> table.values[["correlation.mean_correlation", "seasonality.turn_of_month"]].round(2)
                correlation.mean_correlation  seasonality.turn_of_month
    date
    2011-03-01                          0.37                        1.0
    2011-04-11                          0.39                        0.0
    """
    chosen = _checked_families(families)
    if events is not None and "events" not in chosen:
        raise ParameterError("events are given, but the events family is not asked for; add it or leave them out")
    if rows is None:
        rows = [decision.row for decision in plan_decisions(panel.index, min_history=lookback)]
    numbers = [int(row) for row in rows]
    if not numbers or any(np.diff(numbers) <= 0) or numbers[0] < 0 or numbers[-1] >= panel.n_observations:
        raise ParameterError(
            f"rows must increase within 0..{panel.n_observations - 1} and hold at least one, got {rows!r:.60}"
        )
    if isinstance(events, pd.DataFrame):
        check_events(events)  # here, once, rather than in a worker
    elif events is not None:
        events = read_events(events)
    pieces = _pieces(numbers)
    tasks = [(family, panel, piece, lookback, events) for family in chosen for piece in pieces]
    results = run_tasks(_compute, tasks, n_jobs=n_jobs, on_done=on_done)
    parts = []
    for k, family in enumerate(chosen):
        values = np.concatenate(results[k * len(pieces) : (k + 1) * len(pieces)])
        names = [f"{family}.{name}" for name in FAMILIES[family]]
        parts.append(pd.DataFrame(values, index=panel.index[numbers], columns=names))
    return FeatureTable(pd.concat(parts, axis=1), chosen, lookback, panel.fingerprint)


def n_pieces(n_rows: int, families: Iterable[str] = tuple(FAMILIES)) -> int:
    """Pieces of work of a table, for a progress bar.

    Examples
    --------
    >>> n_pieces(252)
    40
    """
    return len(_checked_families(families)) * len(_pieces(list(range(n_rows))))


def _pieces(rows: list[int]) -> list[list[int]]:
    return [rows[i : i + _ROWS_PER_PIECE] for i in range(0, len(rows), _ROWS_PER_PIECE)]


def _checked_families(families: Iterable[str]) -> tuple[str, ...]:
    asked = [families] if isinstance(families, str) else list(families)
    unknown = [name for name in asked if name not in FAMILIES]
    if unknown or not asked or len(set(asked)) < len(asked):
        raise ParameterError(f"families must be among {', '.join(FAMILIES)}, each once, got {asked}")
    return tuple(name for name in FAMILIES if name in asked)


def _compute(family: str, panel: Panel, rows: list[int], lookback: int, events: pd.DataFrame | None) -> np.ndarray:
    """Values of one family at some rows, (n_rows, n_features)."""
    if family == "correlation":
        frame = correlation_features(panel, rows, lookback=lookback)
    elif family == "regime":
        frame = regime_features(panel, rows, lookback=lookback)
    elif family == "temporal":
        frame = temporal_features(panel, rows, lookback=lookback)
    elif family == "seasonality":
        frame = seasonality_features(panel, rows)
    else:
        frame = event_features(panel, rows, events=events)
    return frame.to_numpy(dtype=np.float64)
