"""One seed of an ensemble as a bundle of its own: what the other seeds would have decided is then a comparison away.

Of the weights of a bundle, those of the networks have a leading axis of members; scalers and calibrations are shared
and stay. A rule that joins members and the heads that were calibrated on the whole ensemble are left out, since neither
speaks of a member alone.
"""

from __future__ import annotations

from dataclasses import replace

from eigenfolio.artifacts import Bundle, BundleSeries
from eigenfolio.errors import ParameterError

__all__ = ["member_bundle", "member_series", "n_members"]

_OF_MEMBERS = ("gains", "level", "mixing", "regimes")  # parameters of networks without a dot in their name
_OF_THE_ENSEMBLE = ("aggregation_", "heads_")


def n_members(bundle: Bundle) -> int:
    """Seeds in a bundle.

    Examples
    --------
    >>> from eigenfolio.learned.shipped import shipped_bundle
    >>> n_members(shipped_bundle("spectral", "2012"))
    3
    """
    return len(next(tensor for name, tensor in bundle.tensors.items() if _is_of_members(name)))


def member_bundle(bundle: Bundle, member: int) -> Bundle:
    """The bundle of one member.

    Parameters
    ----------
    bundle : Bundle
    member : int
        From 0.

    Returns
    -------
    Bundle
        With one member, of the same date.

    Raises
    ------
    ParameterError
        If there is no such member.

    Examples
    --------
    >>> from eigenfolio.learned.shipped import shipped_bundle
    >>> n_members(member_bundle(shipped_bundle("spectral", "2012"), 2))
    1
    """
    if not 0 <= member < n_members(bundle):
        raise ParameterError(f"member must be from 0 to {n_members(bundle) - 1}, got {member!r}")
    tensors = {
        name: tensor[member : member + 1] if _is_of_members(name) else tensor
        for name, tensor in bundle.tensors.items()
        if not name.startswith(_OF_THE_ENSEMBLE)
    }
    options = {name: value for name, value in bundle.options.items() if name != "aggregation"}
    if "members" in options:
        options["members"] = options["members"][member : member + 1]
    details = {name: value for name, value in bundle.details.items() if name not in ("aggregation", "heads")}
    return replace(bundle, tensors=tensors, options=options, details={**details, "member": member})


def member_series(series: BundleSeries, member: int) -> BundleSeries:
    """Every bundle of a series, with one member each; see `member_bundle`."""
    return BundleSeries(tuple(member_bundle(bundle, member) for bundle in series))


def _is_of_members(name: str) -> bool:
    return name in _OF_MEMBERS or ("." in name and not name.startswith(_OF_THE_ENSEMBLE))
