"""Models that are told what they hold: what the walk-forward tells them, and that it is no look ahead."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from skfolio import RiskMeasure
from skfolio.model_selection import WalkForward as Splitter
from skfolio.model_selection import cross_val_predict
from skfolio.optimization import BaseOptimization, InverseVolatility, MeanRisk

from eigenfolio.data import Decision
from eigenfolio.evaluation import check_no_lookahead, walk_forward
from eigenfolio.models import EqualWeight, LimitedTurnover


class Drifter(BaseOptimization):
    """Half of what it is told it holds and half of the first asset; fails on the dates listed."""

    def __init__(self, fails_on=(), max_turnover=0.5, previous_weights=None, portfolio_params=None):
        super().__init__(portfolio_params=portfolio_params, previous_weights=previous_weights)
        self.fails_on = fails_on
        self.max_turnover = max_turnover

    def fit(self, X, y=None):
        if X.index[-1] in self.fails_on:
            raise RuntimeError("no answer today")
        first = np.eye(X.shape[1])[0]
        if self.previous_weights is None:
            self.weights_ = np.full(X.shape[1], 1 / X.shape[1])
        else:
            told = np.array([self.previous_weights.get(name, 0.0) for name in X.columns])
            self.weights_ = 0.5 * told + (1 - 0.5 * told.sum()) * first
        return self


@pytest.fixture
def returns():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2019-01-01", periods=150, name="date")
    return pd.DataFrame(0.02 * rng.standard_normal((150, 4)), index=index, columns=list("ABCD"))


def decisions_at(returns, rows, lag):
    stops = [row + 1 + lag for row in rows[1:]] + [len(returns)]
    return [
        Decision(row=row, date=returns.index[row], start=row + 1 + lag, stop=stop)
        for row, stop in zip(rows, stops, strict=True)
    ]


def grown(weights, returns):
    """Day after day, one asset after the other."""
    amounts, cash = dict(weights), 1.0 - sum(weights.values())
    for _, day in returns.iterrows():
        for name in amounts:
            amounts[name] *= 1.0 if np.isnan(day[name]) else 1.0 + day[name]
    wealth = sum(amounts.values()) + cash
    return {name: amount / wealth for name, amount in amounts.items()}


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_it_is_told_what_its_book_has_become_by_the_decision_and_keeps_it_where_it_fails(lag, returns):
    returns.iloc[70:74, 2] = np.nan
    decisions = decisions_at(returns, [40, 61, 82, 103, 124], lag)
    fails_on = (returns.index[40], returns.index[103])
    done = walk_forward({"drifter": Drifter(fails_on)}, returns, decisions, books={})
    assert [failure.date for failure in done.failures] == list(fails_on)
    book, start = None, None
    for decision in decisions:
        known = None if book is None else grown(book, returns.iloc[start : decision.row + 1])
        if decision.date in fails_on:
            book = {} if book is None else grown(book, returns.iloc[start : decision.start])
        elif not known:
            book = dict.fromkeys("ABCD", 0.25)
        else:
            book = {name: 0.5 * known[name] + 0.5 * (name == "A") for name in "ABCD"}
        book, start = book or None, decision.start
        expected = [book[name] for name in "ABCD"] if book else np.zeros(4)
        assert_allclose(done.tracks["drifter", "own"].weights.loc[decision.date], expected, atol=1e-14)


def test_assets_that_are_no_longer_eligible_are_told_by_name(returns):
    decisions = decisions_at(returns, [60, 90, 120], 1)
    eligible = pd.DataFrame(True, index=[d.date for d in decisions], columns=returns.columns)
    eligible.loc[decisions[1].date :, "D"] = False
    models = {
        "limited": LimitedTurnover(EqualWeight(), max_turnover=0.05),
        "skfolio": MeanRisk(risk_measure=RiskMeasure.VARIANCE, max_turnover=0.5),
    }
    done = walk_forward(models, returns, decisions, books={}, eligible=eligible)
    assert done.failures == ()
    told = done.diagnostics["limited"]
    assert list(told.index) == [d.date for d in decisions[1:]]
    known = grown(dict.fromkeys("ABCD", 0.25), returns.iloc[decisions[0].start : decisions[1].row + 1])
    assert told["turnover"].iloc[0] == pytest.approx(known["D"])  # sold, and bought elsewhere
    assert told["turnover_limit"].iloc[1] == 0.05


def test_rows_after_a_decision_do_not_change_it(returns):
    model = LimitedTurnover(InverseVolatility(), max_turnover=0.001)
    assert check_no_lookahead(model, returns, rows=4, lag=1).clean


def test_without_a_lag_the_trades_are_those_of_skfolios_engine(returns):
    model = LimitedTurnover(InverseVolatility(), max_turnover=0.02)
    decisions = decisions_at(returns, [59, 89, 119], 0)
    track = walk_forward({"limited": model}, returns, decisions, books={}).tracks["limited", "own"]
    theirs = cross_val_predict(
        model,
        returns,
        cv=Splitter(train_size=60, test_size=30, expand_train=True),
        portfolio_params={"weight_drift": True},
    )
    assert_allclose(track.weights.to_numpy(), [portfolio.weights for portfolio in theirs], atol=1e-12)
    assert (track.turnover.iloc[1:] <= 0.02 + 1e-9).all()


def test_other_models_and_processes_do_not_change_a_bit(returns):
    decisions = decisions_at(returns, [60, 80, 100, 120], 1)
    slow = LimitedTurnover(InverseVolatility(), max_turnover=0.005)
    models = {"free": InverseVolatility(), "slow": slow, "drifter": Drifter()}
    together = walk_forward(models, returns, decisions, books={}, n_jobs=2)
    assert list(together.tracks) == [(name, "own") for name in models]
    for name, model in models.items():
        alone = walk_forward({name: model}, returns, decisions, books={})
        assert_frame_equal(together.tracks[name, "own"].weights, alone.tracks[name, "own"].weights, check_exact=True)
    assert not together.tracks["free", "own"].weights.equals(together.tracks["slow", "own"].weights)
