"""Every family of market features, by name: the list over which the laws of features run.

Each is a function of a panel and row numbers. Lookbacks are short, so that a small panel serves all. A family of
`eigenfolio.features.table.FAMILIES` that is not listed here fails `test_every_family_is_listed`.
"""

from functools import partial

import pandas as pd

from eigenfolio.features.correlation import correlation_features
from eigenfolio.features.events import event_features
from eigenfolio.features.regime import regime_features
from eigenfolio.features.regimes import market_regimes
from eigenfolio.features.seasonality import seasonality_features
from eigenfolio.features.temporal import temporal_features

LOOKBACK = 63

MEETINGS = pd.DataFrame(
    {
        "date": ["2011-01-19", "2011-06-22", "2011-12-14", "2012-03-13"],
        "name": "meeting",
        "announced": ["2010-12-01", "2011-05-02", "2011-05-02", "2012-03-15"],
        "kind": "central_bank",
    }
)


def regimes(panel, rows):
    """Labels as numbers, and the three percentiles; one call for all rows of the panel."""
    table = market_regimes(panel, burn_in=126).iloc[list(rows)]
    return table.assign(label=table["label"].cat.codes.astype(float))


ALL_FAMILIES = {
    "correlation": partial(correlation_features, lookback=LOOKBACK),
    "regime": partial(regime_features, lookback=LOOKBACK),
    "temporal": partial(temporal_features, lookback=2 * LOOKBACK),
    "seasonality": seasonality_features,
    "events": partial(event_features, events=MEETINGS),
    "market_regimes": regimes,
}

OF_THE_CALENDAR = ("seasonality", "events")
"""Families that read dates only, so that they are there from the first row on."""
