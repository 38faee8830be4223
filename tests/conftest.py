"""Fixtures that several rooms share."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch: forked children must not inherit thread pools

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data; tests that need it skip, visibly, where it is not there."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EIGENFOLIO_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}; set EIGENFOLIO_DATA")
    return folder
