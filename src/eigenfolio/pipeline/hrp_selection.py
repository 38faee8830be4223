"""Which configuration of a sweep is taken, on validation decisions alone, and what that choice was worth later.

The selector always names a winner or says why there is none. A configuration is a candidate when it decided on enough
of the validation dates and its criterion is a finite number; of equals the one that trades less is taken, then the one
whose name comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError
from eigenfolio.evaluation import Failure, Track, WalkForward

__all__ = ["Criterion", "Selection", "part_of", "select_configuration"]

Criterion = Literal["volatility", "sharpe_ratio", "silhouette", "score"]

_COLUMNS: dict[str, tuple[str, bool]] = {
    "volatility": ("annualized_volatility", False),
    "sharpe_ratio": ("sharpe_ratio", True),
    "silhouette": ("silhouette", True),
    "score": ("score", True),
}
"""Column of each criterion, and whether more is better."""


@dataclass(frozen=True)
class Selection:
    """The configuration taken.

    Parameters
    ----------
    winner : str or None
        None where no configuration can be taken.
    reason : str
        Why, in one sentence.
    n_candidates : int
    """

    winner: str | None
    reason: str
    n_candidates: int


def select_configuration(table: pd.DataFrame, *, by: Criterion = "volatility", min_success: float = 0.9) -> Selection:
    """Take the best configuration on validation.

    Parameters
    ----------
    table : DataFrame
        One row per configuration, by name: `success_rate` in [0, 1], `turnover`, and the column of the criterion:
        `annualized_volatility` (the least is best), `sharpe_ratio`, `silhouette`, or `score` (silhouette plus the gap
        between the correlations within and between clusters).
    by : {"volatility", "sharpe_ratio", "silhouette", "score"}
    min_success : float in [0, 1]
        Least share of the dates on which a candidate decided.

    Returns
    -------
    Selection

    Raises
    ------
    ParameterError
        If the criterion is unknown, or its column is absent.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"success_rate": [1.0, 1.0, 0.5], "turnover": 0.1, "annualized_volatility": [0.12, 0.11, 0.09]},
    ...     index=["a", "b", "c"],
    ... )
    >>> select_configuration(table).winner
    'b'
    >>> select_configuration(table.loc[["c"]]).reason
    'no configuration decided on at least 90 % of the validation dates; the most any did is 50 % (c)'
    """
    if by not in get_args(Criterion):
        raise ParameterError(f"by must be one of {', '.join(get_args(Criterion))}, got {by!r}")
    column, more = _COLUMNS[by]
    absent = [name for name in ("success_rate", "turnover", column) if name not in table]
    if absent:
        raise ParameterError(f"the table of configurations lacks {', '.join(absent)}")
    if table.empty:
        return Selection(None, "there is no configuration to choose from", 0)
    reliable = table[table["success_rate"] >= min_success]
    if reliable.empty:
        best = table["success_rate"].sort_values(ascending=False, kind="stable")
        return Selection(
            None,
            f"no configuration decided on at least {100 * min_success:.0f} % of the validation dates; the most any did "
            f"is {100 * best.iloc[0]:.0f} % ({best.index[0]})",
            0,
        )
    candidates = reliable[np.isfinite(reliable[column].astype(float))]
    if candidates.empty:
        return Selection(None, f"{column} is not defined for any of the {len(reliable)} configurations", 0)
    ranked = candidates.assign(_rank=(-1.0 if more else 1.0) * candidates[column], _name=candidates.index)
    ranked = ranked.sort_values(["_rank", "turnover", "_name"])
    winner = str(ranked.index[0])
    said = f"{winner} has the {'highest' if more else 'lowest'} {column} on validation, {ranked[column].iloc[0]:.5g}"
    if len(ranked) > 1:
        said += f"; the next of {len(ranked)} is {ranked.index[1]} with {ranked[column].iloc[1]:.5g}"
    return Selection(winner, said, len(ranked))


def part_of(result: WalkForward, first: int, stop: int) -> WalkForward:
    """The decisions `first` to `stop` of a walk-forward, with the days that they earn.

    Parameters
    ----------
    result : WalkForward
    first, stop : int
        Positions of decisions, the last one left out.

    Returns
    -------
    WalkForward
        Windows keep their numbers; weights, turnover and costs are those of the whole walk, so the first decision of a
        later part trades from what the part before held.
    """
    windows = result.windows[(result.windows >= first) & (result.windows < stop)]
    tracks = {key: _cut(track, windows.index, slice(first, stop)) for key, track in result.tracks.items()}
    dates = set(next(iter(tracks.values())).weights.index) if tracks else set()
    failures: tuple[Failure, ...] = tuple(failure for failure in result.failures if failure.date in dates)
    diagnostics = {name: table[table.index.isin(dates)] for name, table in result.diagnostics.items()}
    return WalkForward(tracks, diagnostics, windows, failures)


def _cut(track: Track, days: pd.Index, decisions: slice) -> Track:
    return Track(
        model=track.model,
        book=track.book,
        weights=track.weights.iloc[decisions],
        gross_returns=track.gross_returns.loc[days],
        returns=track.returns.loc[days],
        turnover=track.turnover.iloc[decisions],
        gross_exposure=track.gross_exposure.iloc[decisions],
        cost=track.cost.iloc[decisions],
    )
