"""The errors a user can meet, each named for the user's trouble.

A message names the thing, what it must be, what arrived, and the way out. The first two are
`ValueError`s as well, because scikit-learn's checks ask for it.
"""

__all__ = [
    "ArtifactError",
    "DataError",
    "EigenfolioError",
    "LookaheadError",
    "LookaheadWarning",
    "ParameterError",
    "RangeWarning",
]


class EigenfolioError(Exception):
    """Base of every error that eigenfolio raises on purpose."""


class DataError(EigenfolioError, ValueError):
    """The data cannot be used as they are."""


class ParameterError(EigenfolioError, ValueError):
    """An option has a value it cannot have, or nothing reads it."""


class ArtifactError(EigenfolioError):
    """A file on disk is missing, foreign, truncated, tampered with or cannot be written."""


class LookaheadError(EigenfolioError):
    """A decision would use what was not known when it was made."""


class LookaheadWarning(UserWarning):
    """An answer uses weights that have seen the rows it was asked about; it is no evidence of anything."""


class RangeWarning(UserWarning):
    """An answer rests on inputs that lie beyond what its weights have seen."""
