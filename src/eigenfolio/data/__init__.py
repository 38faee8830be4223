"""Files, folders and frames of prices enter; checked, cleaned and archived panels leave, with their calendar,
universe and splits. Nothing here knows a model.
"""

from eigenfolio.data.checks import check_panel
from eigenfolio.data.cleaning import clean_panel, prepare_panel
from eigenfolio.data.findings import CleaningReport, DataReport, Finding
from eigenfolio.data.readers import Tables, guess_kind, read_panel, read_tables

__all__ = [
    "CleaningReport",
    "DataReport",
    "Finding",
    "Tables",
    "check_panel",
    "clean_panel",
    "guess_kind",
    "prepare_panel",
    "read_panel",
    "read_tables",
]
