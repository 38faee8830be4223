"""How books did by market regime and in historic crises, against normal times.

Regimes come as labels by row (`eigenfolio.features.regimes.market_regimes`), each known at the close of its row. A day
is filed under the label of the row `lag` before it, so that a wild day does not choose its own regime: by default what
was known the evening before. Historic crises are spans between two closing extremes of the S&P 500 index and need no
model; those that the rows of an evaluation cover are found by date. What is normal is stated: the label "calm", or all
days outside every crisis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenfolio import measures
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.degradation import MIN_ROWS, degradation_table
from eigenfolio.evaluation.walk_forward import OWN_BOOK, WalkForward

__all__ = ["HISTORIC_SPANS", "Span", "by_group", "covered_spans", "regime_groups"]


@dataclass(frozen=True)
class Span:
    """A stretch of time with a name.

    Parameters
    ----------
    name : str
    first, last : str
        ISO dates, both included.

    Examples
    --------
    >>> days = pd.bdate_range("2020-02-17", "2020-02-21")
    >>> int(Span("2020 pandemic", "2020-02-20", "2020-03-23").mask(days).sum())
    2
    """

    name: str
    first: str
    last: str

    def mask(self, days: pd.DatetimeIndex) -> np.ndarray:
        """Which days lie in it, shape (n_days,)."""
        plain = days.tz_localize(None).normalize()
        inside: np.ndarray = np.asarray((plain >= pd.Timestamp(self.first)) & (plain <= pd.Timestamp(self.last)))
        return inside


HISTORIC_SPANS: tuple[Span, ...] = (
    Span("dot-com 2000-02", "2000-03-27", "2002-10-09"),
    Span("financial crisis 2007-09", "2007-10-10", "2009-03-09"),
    Span("euro and downgrade 2011", "2011-05-02", "2011-10-03"),
    Span("pandemic 2020", "2020-02-20", "2020-03-23"),
)
"""From the day after a closing high of the S&P 500 index to the closing low that followed."""


def covered_spans(days: pd.DatetimeIndex, spans: Sequence[Span] = HISTORIC_SPANS) -> tuple[Span, ...]:
    """The spans of which at least 20 of these days are part.

    Parameters
    ----------
    days : DatetimeIndex
        Days on which something was held.
    spans : sequence of Span

    Returns
    -------
    tuple of Span
        In the order given.

    Examples
    --------
    >>> [span.name for span in covered_spans(pd.bdate_range("2008-06-01", "2012-01-01"))]
    ['financial crisis 2007-09', 'euro and downgrade 2011']
    """
    return tuple(span for span in spans if int(span.mask(days).sum()) >= MIN_ROWS)


def regime_groups(labels: pd.Series, days: pd.DatetimeIndex, *, lag: int = 1) -> dict[str, np.ndarray]:
    """Days by the regime that was known before they began.

    Parameters
    ----------
    labels : Series
        Categorical labels by row of the panel, missing where unknown.
    days : DatetimeIndex
        Days on which something was held, among the rows.
    lag : int
        Rows between the label and the day; 0 files a day under its own label, which it helped to make.

    Returns
    -------
    dict of str to ndarray of bool, shape (n_days,)
        By category, those that occur, in their order.

    Raises
    ------
    ParameterError
        If `lag` is negative or a day is no row of `labels`.

    Examples
    --------
    >>> days = pd.bdate_range("2020-01-01", periods=3)
    >>> labels = pd.Series(pd.Categorical(["calm", "crisis", "calm"], categories=["calm", "crisis"]), index=days)
    >>> {name: mask.tolist() for name, mask in regime_groups(labels, days).items()}
    {'calm': [False, True, False], 'crisis': [False, False, True]}
    """
    if lag < 0:
        raise ParameterError(f"lag must be at least 0 rows, got {lag}: a label may not come from after its day")
    absent = ~days.isin(labels.index)
    if absent.any():
        raise ParameterError(f"labels have no row for {int(absent.sum())} days, first {days[absent][0]:%Y-%m-%d}")
    known = labels.shift(lag).reindex(days)
    order = labels.cat.categories if isinstance(labels.dtype, pd.CategoricalDtype) else labels.dropna().unique()
    masks = {str(name): (known == name).to_numpy(dtype=bool) for name in order}
    return {name: mask for name, mask in masks.items() if mask.any()}


def by_group(
    result: WalkForward,
    groups: Mapping[str, np.ndarray],
    normal: np.ndarray,
    *,
    kind: str,
    rng: np.random.Generator,
    reference: str | None = None,
    drawdown: bool = False,
    periods_per_year: float = 252.0,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Every track in every group of days, against normal days.

    Parameters
    ----------
    result : WalkForward
        Tracks that it excludes (lost, or failed too often) are left out.
    groups : mapping of str to ndarray of bool, shape (n_days,)
        Days of each group, over the days of the tracks. Groups of fewer than 20 days are left out.
    normal : ndarray of bool, shape (n_days,)
        Days of normal times; those of the group itself are taken out of them.
    kind : str
        Column `kind` of the table.
    rng : numpy.random.Generator
        Draws the blocks.
    reference : str, optional
        Model whose change the others' are compared with, book by book.
    drawdown : bool
        Give the largest drawdown within the group; only for days that follow each other.
    periods_per_year : float
        Rows in a year.
    n_bootstrap : int
        Resamples.
    confidence : float in (0, 1)
        Of every interval.

    Returns
    -------
    DataFrame
        Columns kind, scenario, model, book, then those of `degradation_table`, and `max_drawdown` (NaN unless asked
        for).

    Raises
    ------
    ParameterError
        If a mask does not fit the days.
    DataError
        If a track cannot be compared, see `degradation_table`.

    Examples
    --------
    >>> from eigenfolio.evaluation.walk_forward import Track
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=200)
    >>> storm = np.arange(200) >= 150
    >>> net = pd.Series(np.where(storm, 0.04, 0.01) * rng.standard_normal(200), index=days)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> track = Track("A", "own", one.to_frame("X"), net, net, 0.5 * one, one, 0.0 * one)
    >>> walked = WalkForward({("A", "own"): track}, {}, pd.Series(0, index=days), ())
    >>> table = by_group(walked, {"storm": storm}, ~storm, kind="regime", rng=rng)
    >>> table[["scenario", "model", "n_rows"]].values.tolist(), bool(table["log_volatility_low"].iloc[0] > 1.0)
    ([['storm', 'A', 50]], True)
    """
    days = result.windows.index
    for name, mask in {**groups, "normal": normal}.items():
        if np.asarray(mask).shape != (len(days),):
            raise ParameterError(f"the days of {name!r} need one mark per day, {len(days)}, got {np.shape(mask)}")
    tables = []
    for scenario, mask in groups.items():
        usual = normal & ~mask
        if min(mask.sum(), usual.sum()) < MIN_ROWS:
            continue
        for book, tracks in tracks_by_book(result).items():
            table = degradation_table(
                {model: track[mask] for model, track in tracks.items()},
                {model: track[usual] for model, track in tracks.items()},
                rng=rng,
                paired=False,
                reference=reference if reference in tracks else None,
                periods_per_year=periods_per_year,
                n_bootstrap=n_bootstrap,
                confidence=confidence,
            )
            falls = [measures.max_drawdown(tracks[model][mask]) if drawdown else np.nan for model in table.index]
            tables.append(named(table.assign(max_drawdown=falls), kind, scenario, book))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def tracks_by_book(result: WalkForward) -> dict[str, dict[str, pd.Series]]:
    """Net returns by book, then by model; those with weights of their own stand beside every book, as in `compare`."""
    excluded = result.excluded
    kept = {key: track.returns for key, track in result.tracks.items() if key not in excluded}
    own = {model: net for (model, book), net in kept.items() if book == OWN_BOOK}
    books = [book for book in result.books if book != OWN_BOOK]
    if not books:
        return {OWN_BOOK: own} if own else {}
    tables = {book: {model: net for (model, name), net in kept.items() if name == book} | own for book in books}
    return {book: tracks for book, tracks in tables.items() if tracks}


def named(table: pd.DataFrame, kind: str, scenario: str, book: str) -> pd.DataFrame:
    """A table by model with the columns that say what it is about in front."""
    body = table.rename_axis("model").reset_index()
    return body.assign(kind=kind, scenario=scenario, book=book)[
        ["kind", "scenario", "model", "book", *(c for c in body.columns if c != "model")]
    ]
