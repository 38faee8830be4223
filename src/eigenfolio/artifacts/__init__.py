"""Bundles and run records on disk: plain numbers, options and hashes, never a pickle.

Arrays and JSON-able dictionaries enter and come back; this room knows no model.
"""

from eigenfolio.artifacts.bundle import Bundle, BundleSeries, load_bundle, load_series, save_bundle, short_date
from eigenfolio.artifacts.checkpoints import Checkpoint, CheckpointStore, load_checkpoint
from eigenfolio.artifacts.runs import RunRecord, check_writable, library_versions, load_run, run_identifier, write_run

__all__ = [
    "Bundle",
    "BundleSeries",
    "Checkpoint",
    "CheckpointStore",
    "RunRecord",
    "check_writable",
    "library_versions",
    "load_bundle",
    "load_checkpoint",
    "load_run",
    "load_series",
    "run_identifier",
    "save_bundle",
    "short_date",
    "write_run",
]
