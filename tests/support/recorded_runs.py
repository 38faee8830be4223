"""Small recorded runs for tests: one that was really made, and records without the work."""

import dataclasses
import shutil
from contextlib import contextmanager
from datetime import datetime

from eigenfolio.artifacts import RunRecord, load_run, write_run
from eigenfolio.pipeline import RunContext

COMMIT = "c" * 40
TINY = {
    "universe": {"min_assets": 2},
    "sealed_share": 0.0,
    "training": {
        "n_members": 1,
        "schedule": {"first_months": 30, "every_months": 24, "validation_months": 6},
        "windows": {"min_assets": 2, "n_windows": 32, "n_validation_windows": 16, "max_lookback": 120},
        "network": {"hidden_sizes": [8]},
        "loop": {"max_epochs": 1},
    },
    "evaluation": {"lookback": 63, "n_bootstrap": 1000},
}
BOOK = "long-only, cap 5% or 2/n"


@contextmanager
def silent(name, total):
    yield lambda: None


def context(folder, commit=COMMIT, started=datetime(2024, 5, 1, 9, 30)):
    return RunContext(folder=folder, started=started, command="eigenfolio run", git_commit=commit)


def trained(*losses, through="2019-12-31"):
    return {"kind": "training", "model": "shrinkage/dense", "through": through, "validation_losses": list(losses)}


def fake(folder, identifier, **changes):
    """A record without the work; `changes` are its fields."""
    given = {
        "identifier": identifier,
        "kind": "run",
        "started": "2024-01-01T00:00:00",
        "command": "eigenfolio run",
        "seed": 1,
        "git_commit": COMMIT,
        "versions": {"numpy": "2"},
        "data_fingerprint": "f" * 64,
        "config": {"seed": 1, "data": {"path": "p.csv"}},
        "status": "complete",
        "trials": [trained(0.5, 0.7)],
    }
    return write_run(RunRecord(**given | changes), folder / identifier, contents=lambda partial: None)


def rewrite(folder, **changes):
    """Let the record of a run say something else, with a valid hash."""
    record = dataclasses.replace(load_run(folder), **changes)
    kept = folder.rename(folder.parent / "old")
    write_run(record, folder, contents=lambda new: shutil.copytree(kept, new, dirs_exist_ok=True) and None)
    shutil.rmtree(kept)
