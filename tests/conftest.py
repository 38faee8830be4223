"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data; tests that need it skip, visibly, where it is not there."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EIGENFOLIO_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}; set EIGENFOLIO_DATA")
    return folder
