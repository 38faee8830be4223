import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.data import plan_decisions
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation import walk_forward
from eigenfolio.models import EqualWeight, HierarchicalRiskParity, InverseVolatility
from eigenfolio.pipeline.hrp_selection import part_of, select_configuration
from eigenfolio.pipeline.recorded_weights import RecordedWeights


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "success_rate": [1.0, 0.95, 0.5, 1.0],
            "turnover": [0.2, 0.1, 0.1, 0.3],
            "annualized_volatility": [0.12, 0.11, 0.05, 0.11],
            "sharpe_ratio": [0.9, 0.4, 3.0, np.nan],
            "silhouette": [0.1, np.nan, 0.9, 0.2],
            "score": np.nan,
        },
        index=["a", "b", "c", "d"],
    )


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(2)
    index = pd.bdate_range("2015-01-01", periods=300, name="date")
    return pd.DataFrame(0.01 * rng.standard_normal((300, 5)), index=index, columns=list("ABCDE"))


@pytest.mark.parametrize(("by", "winner"), [("volatility", "b"), ("sharpe_ratio", "a"), ("silhouette", "d")])
def test_the_best_candidate_wins_and_unreliable_or_undefined_ones_do_not(by, winner, table):
    selection = select_configuration(table, by=by)
    assert selection.winner == winner
    assert selection.reason.startswith(winner)


def test_of_equals_the_one_that_trades_less_wins_and_then_the_first_name(table):
    assert select_configuration(table).winner == "b"  # as calm as d
    table["turnover"] = 0.1
    assert select_configuration(table.loc[["d", "b"]]).winner == "b"


def test_the_order_of_the_rows_does_not_matter(table):
    for order in ("abcd", "dcba", "bdac"):
        assert select_configuration(table.loc[list(order)]) == select_configuration(table)


def test_where_there_is_no_winner_it_says_why(table):
    undefined = select_configuration(table, by="score")
    assert undefined.winner is None
    assert "score is not defined for any of the 3" in undefined.reason
    strict = select_configuration(table.loc[["b", "c"]], min_success=0.99)
    assert strict.winner is None
    assert "95 % (b)" in strict.reason
    assert select_configuration(table.iloc[:0]).winner is None


def test_bad_questions_are_refused(table):
    with pytest.raises(ParameterError, match="by must be"):
        select_configuration(table, by="luck")
    with pytest.raises(ParameterError, match="lacks silhouette"):
        select_configuration(table.drop(columns="silhouette"), by="silhouette")


def test_recorded_decisions_are_held_as_the_model_itself_is(returns):
    decisions = plan_decisions(pd.DatetimeIndex(returns.index), min_history=100)
    model = HierarchicalRiskParity(lookback=60)
    weights = [model.fit(returns.iloc[: decision.row + 1]).weights_ for decision in decisions]
    dates = [decision.date for decision in decisions]
    frame = pd.DataFrame(weights, index=dates, columns=returns.columns)
    models = {"model": model, "recorded": RecordedWeights(frame[["E", "D", "C", "B", "A"]])}
    tracks = walk_forward(models, returns, decisions, books={}).tracks
    assert_array_equal(tracks["model", "own"].returns, tracks["recorded", "own"].returns)


def test_a_date_without_a_decision_fails_with_its_reason(returns):
    decisions = plan_decisions(pd.DatetimeIndex(returns.index), min_history=100)
    dates = [decision.date for decision in decisions]
    weights = pd.DataFrame(0.2, index=dates, columns=returns.columns)
    weights.iloc[2] = np.nan
    model = RecordedWeights(weights, {dates[2]: "the assets were on strike"})
    (failure,) = walk_forward({"r": model}, returns, decisions, books={}).failures
    assert (failure.date, failure.error) == (dates[2], "DataError: the assets were on strike")


def test_parts_of_a_walk_join_to_the_whole(returns):
    decisions = plan_decisions(pd.DatetimeIndex(returns.index), min_history=100)
    models = {"equal": EqualWeight(), "inverse": InverseVolatility(lookback=50)}
    whole = walk_forward(models, returns, decisions, books={"long-only": LONG_ONLY})
    parts = [part_of(whole, 0, 3), part_of(whole, 3, len(decisions))]
    for key, track in whole.tracks.items():
        for name in ("returns", "gross_returns", "turnover", "cost", "weights"):
            joined = pd.concat([getattr(part.tracks[key], name) for part in parts])
            assert_array_equal(joined, getattr(track, name))
    assert_array_equal(pd.concat([part.windows for part in parts]), whole.windows)
    assert parts[1].tracks["equal", "own"].returns.index[0] == returns.index[decisions[3].start]
