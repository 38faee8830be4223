"""The whole job does not see what it must not: sealed rows, and rows after each decision."""

from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from eigenfolio.artifacts import load_series
from eigenfolio.config import load_config
from eigenfolio.pipeline import RunContext, run

TRAINING = {
    "n_members": 1,
    "schedule": {"first_months": 30, "every_months": 12, "validation_months": 6},
    "windows": {"n_windows": 48, "n_validation_windows": 24, "max_lookback": 120},
    "network": {"hidden_sizes": [16, 8]},
    "loop": {"max_epochs": 2},
}


@contextmanager
def silent(name, total):
    yield lambda: None


def outcome(prices, folder, name):
    path = folder / f"{name}.parquet"
    prices.to_parquet(path)
    config = load_config(
        None, data={"path": str(path)}, training=TRAINING, evaluation={"lookback": 126, "n_bootstrap": 1000}
    )
    context = RunContext(folder / name, datetime(2024, 1, 1), "test", None)
    made = run(config, context, progress=silent).folder
    returns = pd.read_parquet(made / "returns.parquet")
    digests = {b.trained_through: b.digest for b in load_series(made / "bundles" / "shrinkage" / "dense")}
    return returns, digests


@pytest.mark.slow
def test_rows_after_a_date_change_no_track_and_no_bundle_before_it(tmp_path):
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2010-01-04", periods=1500, name="date")
    moves = 0.01 * (rng.standard_normal((1500, 1)) + rng.standard_normal((1500, 6)))
    prices = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index=index, columns=list("ABCDEF"))
    for cut in (900, 1200):  # inside the walk-forward, and where the seal begins
        altered = prices.copy()
        shock = np.cumsum(0.03 * rng.standard_normal((1500 - cut, 6)), axis=0)
        altered.iloc[cut:] = prices.iloc[cut - 1].to_numpy() * np.exp(shock)
        returns, digests = outcome(prices, tmp_path, f"clean{cut}")
        altered_returns, altered_digests = outcome(altered, tmp_path, f"altered{cut}")
        known = returns.index < index[cut]
        assert known.sum() > 50
        pd.testing.assert_frame_equal(returns[known], altered_returns[known], check_exact=True)
        kept = [date for date in digests if date < index[cut]]
        assert kept
        assert {date: digests[date] for date in kept} == {date: altered_digests[date] for date in kept}
