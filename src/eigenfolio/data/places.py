"""Whether anything is where data are said to be, told without reading them and before anything heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path

from eigenfolio.errors import DataError

__all__ = ["EMBEDDED", "absent", "check_folder", "check_panel_path"]

EMBEDDED = "sp500"
"""What is given instead of a path for the table that skfolio carries."""


def check_panel_path(path: str | Path) -> None:
    """Refuse the path of a panel at which there is nothing; what is there is for `read_panel` to judge.

    Parameters
    ----------
    path : path-like
        File, folder or archive; ``"sp500"`` is always there.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_panel_path("sp500")
    >>> check_panel_path("/prices.csv")
    Traceback (most recent call last):
    ...
    eigenfolio.errors.DataError: /prices.csv: there is no such file or folder; check the path
    """
    if str(path) == EMBEDDED:
        return
    try:
        os.stat(path)
    except FileNotFoundError:
        raise absent(path) from None
    except OSError:
        return  # it may be there: whoever reads it says what is wrong


def check_folder(path: str | Path) -> None:
    """Refuse a folder of panels that is none.

    Raises
    ------
    DataError
    """
    if not os.path.isdir(path):
        raise DataError(f"there is no folder {path}; --data names the folder of the panels")


def absent(path: str | Path) -> DataError:
    """The error for a file or folder that is not there; it says how much of the path is."""
    parent = Path(path).parent
    where = "" if parent.is_dir() else f", nor a folder {parent}"
    return DataError(f"{path}: there is no such file or folder{where}; check the path")
