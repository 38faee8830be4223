"""Plans of an evaluation: who is held when, under which cap."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.data import CoverageRule
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.pipeline.judge import JudgeOptions, plan_evaluation

RULE = CoverageRule(min_assets=3, min_rows=50, lookback=60)
OPTIONS = JudgeOptions(lookback=60)


def returns(n_rows=500, n_assets=6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2015-01-01", periods=n_rows)
    return pd.DataFrame(0.01 * rng.standard_normal((n_rows, n_assets)), index=index)


def plan(X, **changes):
    arguments = {"options": OPTIONS, "universe": RULE, "first_row": 0, "n_rows": len(X)}
    return plan_evaluation(X, **(arguments | changes))


def test_decisions_tile_the_rows_and_stay_before_the_seal():
    made = plan(returns(), n_rows=400)
    assert made.decisions[-1].stop == 400
    assert all(a.stop == b.start for a, b in zip(made.decisions, made.decisions[1:], strict=False))


def test_a_date_with_too_few_assets_is_held_through():
    X = returns()
    X.iloc[200:290, :4] = np.nan
    made = plan(X)
    counts = made.eligible.sum(axis=1)
    assert counts.min() >= RULE.min_assets
    assert len(made.decisions) == len(made.eligible) < len(plan(returns()).decisions)
    assert all(a.stop == b.start for a, b in zip(made.decisions, made.decisions[1:], strict=False))


def test_the_default_cap_leaves_a_choice_on_every_date():
    (capped, free) = plan(returns()).books.values()
    assert capped.effective_cap(6) == pytest.approx(2 / 6)
    assert not free.long_only


def test_a_cap_that_some_date_cannot_meet_is_refused_before_any_work():
    with pytest.raises(ParameterError, match=r"max_weight=0.1 lets 6 assets hold only 60% of NAV.*on 20"):
        plan(returns(), options=JudgeOptions(lookback=60, max_weight=0.1))


def test_a_universe_that_is_never_there_says_what_was_found():
    with pytest.raises(DataError, match=r"min_assets=7 assets .* at most 6"):
        plan(returns(), universe=CoverageRule(min_assets=7, min_rows=50, lookback=60))


def test_too_few_rows_are_named():
    with pytest.raises(DataError, match=r"60 rows .* leave nothing to judge"):
        plan(returns(60))
