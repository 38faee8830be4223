"""Panels and window sources of single sectors, for members that are specialists of one.

A sector is whatever a table says of each asset: its classification is a constant, as known when the table was made.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from eigenfolio.errors import DataError
from eigenfolio.training.mixture import WindowSource

__all__ = ["sector_panel", "sector_panels", "sector_sources"]


def sector_panel(values: pd.DataFrame, sectors: pd.Series | Mapping[str, str], sector: str) -> pd.DataFrame:
    """The columns of one sector.

    Parameters
    ----------
    values : DataFrame of shape (n_observations, n_assets)
    sectors : Series or mapping of str to str
        Sector by asset.
    sector : str

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        If no asset is of that sector.

    Examples
    --------
    >>> values = pd.DataFrame(0.0, index=range(3), columns=["A", "B"])
    >>> list(sector_panel(values, {"A": "Energy", "B": "Finance"}, "Energy").columns)
    ['A']
    """
    label = pd.Series(sectors, dtype=object).reindex(values.columns)
    if not (label == sector).any():
        raise DataError(f"no asset is of sector {sector!r}; there are {', '.join(sorted(label.dropna().unique()))}")
    return values.loc[:, (label == sector).to_numpy()]


def sector_panels(
    returns: pd.DataFrame, sectors: pd.Series | Mapping[str, str], *, min_assets: int = 40
) -> dict[str, pd.DataFrame]:
    """Split a panel by sector.

    Parameters
    ----------
    returns : DataFrame of shape (n_observations, n_assets)
    sectors : Series or mapping of str to str
        Sector by asset; assets without one are left out.
    min_assets : int, default=40
        Smaller sectors are left out.

    Returns
    -------
    dict of str to DataFrame
        By sector, in alphabetic order.

    Raises
    ------
    DataError
        If no sector is large enough.

    Examples
    --------
    >>> returns = pd.DataFrame(0.0, index=range(3), columns=["A", "B", "C"])
    >>> panels = sector_panels(returns, {"A": "Energy", "B": "Energy", "C": "Finance"}, min_assets=2)
    >>> {name: list(panel.columns) for name, panel in panels.items()}
    {'Energy': ['A', 'B']}
    """
    known = pd.Series(sectors, dtype=object).dropna().reindex(returns.columns).dropna()
    found = {str(name): returns[list(group.index)] for name, group in known.groupby(known) if len(group) >= min_assets}
    if not found:
        largest = int(known.value_counts().max()) if len(known) else 0
        raise DataError(
            f"no sector has min_assets={min_assets} of the {returns.shape[1]} assets, the largest has {largest}; "
            "lower min_assets, or give sectors of these assets"
        )
    return found


def sector_sources(
    panels: Mapping[str, pd.DataFrame], counts: Mapping[int, int], *, max_lookback: int = 504
) -> tuple[WindowSource, ...]:
    """One window source per sector, named as the sector: `Diversity(specialists=("all", "source:Energy"))`.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Of `sector_panels`; the names are those that `train_spectral` finds them by.
    counts : mapping of int to int
        Windows per number of assets, of every sector.
    max_lookback : int, default=504

    Returns
    -------
    tuple of WindowSource

    Examples
    --------
    >>> [source.name for source in sector_sources({"Energy": pd.DataFrame()}, {20: 4})]
    ['Energy']
    """
    return tuple(
        WindowSource(name=name, panels=(name,), counts=dict(counts), max_lookback=max_lookback) for name in panels
    )
