"""The comparators decide, and persistence is what it says."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.constraints import LONG_ONLY, Constraints
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation.comparators import COMPARATORS, as_portfolios, comparators, with_comparators
from eigenfolio.models import EqualWeight


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2015-01-01", periods=400)
    market = 0.008 * rng.standard_normal((400, 1))
    return pd.DataFrame(market + 0.01 * rng.standard_normal((400, 12)), index=index).rename(columns=str)


def test_every_comparator_holds_a_long_only_book_also_where_returns_are_missing(returns):
    returns = returns.copy()
    returns.iloc[:300, 0] = np.nan
    for name, model in as_portfolios(comparators(lookback=120), LONG_ONLY).items():
        weights = model.fit(returns).weights_
        assert weights.sum() == pytest.approx(1.0, abs=1e-9), name
        assert weights.min() >= -1e-12, name


def test_the_last_optimal_intensity_is_the_best_of_the_last_window_whose_outcome_is_known(returns):
    lookback, horizon = 120, 21
    past, following = returns.iloc[-lookback - horizon : -horizon], returns.iloc[-horizon:]
    deviation, correlation = past.std(ddof=0).to_numpy(), past.corr().to_numpy()

    def realised(intensity):
        shrunk = (1.0 - intensity) * correlation + intensity * np.eye(12)
        weights = np.linalg.solve(shrunk * np.outer(deviation, deviation), np.ones(12))
        return (following.to_numpy() @ (weights / weights.sum())).var()

    grid = np.arange(1, 51) / 50
    fitted = comparators(lookback=lookback, horizon=horizon)["Last optimal intensity"].fit(returns)
    assert_allclose(fitted.shrinkage_, grid[np.argmin([realised(x) for x in grid])])


def test_an_own_version_of_a_comparator_stands_in_its_place():
    mine = EqualWeight()
    found = with_comparators({"mine": mine, "Equal weight": mine})
    assert list(found) == ["mine", *COMPARATORS]
    assert found["Equal weight"] is mine


def test_what_is_no_model_and_a_book_with_slack_are_refused():
    with pytest.raises(ParameterError, match="'x' must be a skfolio"):
        as_portfolios({"x": object()}, LONG_ONLY)
    with pytest.raises(ParameterError, match="slack=2"):
        as_portfolios({}, Constraints(max_weight=0.05, slack=2.0))
