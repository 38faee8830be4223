import numpy as np
import pandas as pd
import pytest


def market(n_rows, n_assets, seed=0):
    """Factor returns with fat tails and moving volatility, as a labelled panel of simple returns."""
    rng = np.random.default_rng(seed)
    beta = 1 + 0.4 * rng.standard_normal(n_assets)
    sector = rng.standard_normal((3, n_assets)) * (rng.random((3, n_assets)) < 0.4)
    own = rng.standard_t(6, (n_rows, n_assets)) * np.exp(rng.normal(0.2, 0.4, n_assets))
    calm = np.exp(0.5 * np.sin(np.arange(n_rows) / 40))[:, None]
    shocks = np.outer(rng.standard_t(5, n_rows), beta) + rng.standard_normal((n_rows, 3)) @ sector + own
    index = pd.bdate_range("2015-01-01", periods=n_rows)
    return pd.DataFrame(0.008 * calm * shocks, index=index, columns=[f"A{i:02d}" for i in range(n_assets)])


@pytest.fixture
def returns():
    return market(320, 12)


@pytest.fixture
def make_market():
    return market
