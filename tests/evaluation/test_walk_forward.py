"""The walk-forward loop against hand-worked numbers, a naive ledger and skfolio's engine."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal
from skfolio.model_selection import WalkForward as Splitter
from skfolio.model_selection import cross_val_predict
from skfolio.moments import BaseCovariance, LedoitWolf
from skfolio.optimization import BaseOptimization, EqualWeighted, InverseVolatility
from sklearn.preprocessing import StandardScaler

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.data import Decision, plan_decisions
from eigenfolio.errors import DataError, ParameterError, RangeWarning
from eigenfolio.evaluation import walk_forward
from eigenfolio.models import minimum_variance_weights

BOOKS = {"long-only": LONG_ONLY, "unconstrained": UNCONSTRAINED}


class Fixed(BaseOptimization):
    """Weights by name, whatever the past; fails on the dates listed."""

    def __init__(self, weights=None, fails_on=(), portfolio_params=None, previous_weights=None):
        super().__init__(portfolio_params=portfolio_params, previous_weights=previous_weights)
        self.weights = weights
        self.fails_on = fails_on

    def fit(self, X, y=None):
        if X.index[-1] in self.fails_on:
            raise RuntimeError("no answer today\nand more")
        self.weights_ = np.array([self.weights.get(name, 0.0) for name in X.columns])
        return self


class InverseVariance(BaseOptimization):
    """Weights in proportion to one over the mean square of what was observed."""

    def fit(self, X, y=None):
        self.weights_ = inverse_variance(X)
        return self


def inverse_variance(past):
    scores = (1.0 / (past**2).mean()).fillna(0.0).to_numpy()
    return scores / scores.sum()


class Telltale(BaseCovariance):
    """Identity covariance that reports what it saw."""

    def fit(self, X, y=None):
        self.covariance_ = np.eye(X.shape[1])
        self.diagnostics_ = {"rows": len(X), "assets": X.shape[1], "last": X.iloc[-1, 0]}
        return self


def make_returns(n_observations=200, n_assets=4, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.bdate_range("2019-01-01", periods=n_observations, name="date")
    values = 0.006 * rng.standard_normal((n_observations, 1)) + 0.01 * rng.standard_normal((n_observations, n_assets))
    return pd.DataFrame(values, index=index, columns=list("ABCDEFGH")[:n_assets])


def decisions_at(returns, rows, lag=1):
    stops = [row + 1 + lag for row in rows[1:]] + [len(returns)]
    return [
        Decision(row=row, date=returns.index[row], start=row + 1 + lag, stop=stop)
        for row, stop in zip(rows, stops, strict=True)
    ]


def naive_track(targets, returns, decisions, cost_bps):
    """Currency amounts, one asset and one day at a time; `targets` by decision and name."""
    held, gross, net, turnovers, costs = {}, [], [], [], []
    for target, decision in zip(targets, decisions, strict=True):
        trades = sum(abs(target.get(name, 0.0) - held.get(name, 0.0)) for name in returns)
        turnovers.append(trades / 2)
        costs.append(cost_bps / 1e4 * trades)
        amounts, cash = dict(target), 1.0 - sum(target.values())
        for day in range(decision.start, decision.stop):
            before = sum(amounts.values()) + cash
            for name in amounts:
                move = returns[name].iloc[day]
                amounts[name] *= 1.0 if np.isnan(move) else 1.0 + move
            gross.append((sum(amounts.values()) + cash) / before - 1.0)
            net.append(gross[-1] - (costs[-1] if day == decision.start else 0.0))
        wealth = sum(amounts.values()) + cash
        held = {name: amount / wealth for name, amount in amounts.items()}
    return gross, net, turnovers, costs


def test_two_windows_by_hand():
    returns = make_returns(6, 2)
    returns.iloc[2:] = [[0.10, 0.00], [0.00, 0.20], [0.00, 0.10], [-0.10, 0.00]]
    decisions = decisions_at(returns, [0, 2])  # holds rows 2-3, then 4-5
    model = Fixed({"A": 0.5, "B": 0.5})
    track = walk_forward({"half": model}, returns, decisions, books={}, cost_bps=100.0).tracks["half", "own"]
    # 0.5/0.5 -> 0.55/0.50 of 1.05 -> 0.55/0.60 of 1.15: trades to half are 0.025/1.15 each way.
    trades = 2 * 0.025 / 1.15
    assert_allclose(track.gross_returns, [0.05, 1.15 / 1.05 - 1.0, 0.05, 1.0 / 1.05 - 1.0])
    assert_allclose(track.turnover, [0.5, trades / 2])
    assert_allclose(track.cost, [0.01, 0.01 * trades])
    assert_allclose(track.returns - track.gross_returns, [-0.01, 0.0, -0.01 * trades, 0.0], atol=1e-15)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_tracks_equal_a_naive_ledger_on_a_panel_with_gaps_and_eligibility(lag):
    returns = make_returns(160, 5)
    returns.iloc[:70, 1] = np.nan  # listed late
    returns.iloc[110, 2] = -0.7  # a delisting loss, then nothing
    returns.iloc[111:, 2] = np.nan
    returns.iloc[120:123, 0] = np.nan  # a gap while held
    decisions = decisions_at(returns, [60, 81, 102, 123], lag)
    dates = [decision.date for decision in decisions]
    eligible = pd.DataFrame(True, index=dates, columns=returns.columns)
    eligible.loc[dates[0], "B"] = eligible.loc[dates[3], "C"] = False
    targets = []
    for decision in decisions:
        names = [name for name in returns if eligible.loc[decision.date, name]]
        past = returns[names].iloc[: decision.row + 1]
        targets.append(dict(zip(names, inverse_variance(past), strict=True)))
    model = InverseVariance()
    result = walk_forward({"iv": model}, returns, decisions, books={}, eligible=eligible, cost_bps=25.0)
    track = result.tracks["iv", "own"]
    gross, net, turnovers, costs = naive_track(targets, returns, decisions, 25.0)
    assert_allclose(track.gross_returns, gross, rtol=0, atol=1e-14)
    assert_allclose(track.returns, net, rtol=0, atol=1e-14)
    assert_allclose(track.turnover, turnovers, rtol=0, atol=1e-14)
    assert_allclose(track.cost, costs, rtol=0, atol=1e-14)
    assert track.weights.loc[dates[0], "B"] == track.weights.loc[dates[3], "C"] == 0.0
    assert result.windows.index.equals(track.returns.index)
    assert result.windows.tolist() == [0] * 21 + [1] * 21 + [2] * 21 + [3] * (160 - 124 - lag)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_gross_returns_equal_skfolio_on_a_panel_without_gaps(lag):
    returns = make_returns(260, 4)
    decisions = plan_decisions(returns.index, lag=lag, min_history=100)
    model = InverseVolatility()
    result = walk_forward({"iv": model, "ew": EqualWeighted()}, returns, decisions, books={})
    n_months = sum(1 for _ in Splitter(1, 1, freq="MS", purged_size=lag, expand_train=True).split(returns))
    first = n_months + 2 - len(decisions)
    cv = Splitter(test_size=1, train_size=first, freq="MS", purged_size=lag, expand_train=True, reduce_test=True)
    for name, estimator in {"iv": model, "ew": EqualWeighted()}.items():
        path = cross_val_predict(estimator, returns, cv=cv, portfolio_params={"weight_drift": True})
        track = result.tracks[name, "own"]
        assert_allclose(track.gross_returns, path.returns, rtol=0, atol=1e-12)
        trades = [np.abs(held.weights - held.previous_weights).sum() for held in path]
        assert_allclose(track.turnover, np.array(trades) / 2, rtol=0, atol=1e-12)
        assert_allclose(track.cost, 10.0 / 1e4 * np.array(trades), rtol=0, atol=1e-12)


def test_a_covariance_is_judged_by_its_minimum_variance_portfolio_in_every_book():
    returns = make_returns(150)
    decisions = decisions_at(returns, [80, 110])
    books = {"cap": Constraints(max_weight=0.4), "unconstrained": UNCONSTRAINED}
    result = walk_forward({"lw": LedoitWolf()}, returns, decisions, books=books)
    assert list(result.tracks) == [("lw", "cap"), ("lw", "unconstrained")]
    assert result.books == ("cap", "unconstrained")
    for (_, book), track in result.tracks.items():
        for decision in decisions:
            covariance = LedoitWolf().fit(returns.iloc[: decision.row + 1]).covariance_
            expected = minimum_variance_weights(covariance, books[book])
            assert_allclose(track.weights.loc[decision.date], expected, atol=1e-14)
        assert_allclose(track.gross_exposure, track.weights.abs().sum(axis=1))
    assert list(result.diagnostics["lw"].columns) == ["shrinkage"]


def test_a_model_sees_the_eligible_past_and_nothing_later():
    returns = make_returns(100)
    decisions = decisions_at(returns, [40, 70])
    eligible = pd.DataFrame(True, index=[d.date for d in decisions], columns=returns.columns)
    eligible.iloc[1, 2] = False
    result = walk_forward({"t": Telltale()}, returns, decisions, books=BOOKS, eligible=eligible)
    seen = result.diagnostics["t"]
    assert seen["rows"].tolist() == [41, 71]
    assert seen["assets"].tolist() == [4, 3]
    assert seen["last"].tolist() == [returns.iloc[40, 0], returns.iloc[70, 0]]


def test_no_view_leads_back_to_the_future_and_models_cannot_change_the_past():
    class Burglar(Telltale):
        def fit(self, X, y=None):
            values = X.to_numpy()
            reach = values
            while isinstance(reach, np.ndarray):
                assert reach.size == X.size
                reach = reach.base
            assert not values.flags.writeable
            return super().fit(X)

    returns = make_returns(100)
    before = returns.copy()
    assert not walk_forward({"b": Burglar()}, returns, decisions_at(returns, [40, 70]), books=BOOKS).failures
    assert_frame_equal(returns, before)


def test_a_model_that_writes_into_its_input_fails_alone():
    class Vandal(Telltale):
        def fit(self, X, y=None):
            X.iloc[:, :] = 0.0
            return super().fit(X)

    returns = make_returns(100)
    models = {"vandal": Vandal(), "witness": Telltale()}
    result = walk_forward(models, returns, decisions_at(returns, [40]), books={"long-only": LONG_ONLY})
    assert [failure.model for failure in result.failures] == ["vandal"]
    assert result.diagnostics["witness"]["last"].tolist() == [returns.iloc[40, 0]]


def test_the_models_given_stay_unfitted():
    model = LedoitWolf()
    returns = make_returns(100)
    walk_forward({"lw": model}, returns, decisions_at(returns, [40]), books=BOOKS)
    assert not hasattr(model, "covariance_")


def test_a_failed_decision_keeps_the_drifted_weights_and_is_recorded():
    returns = make_returns(100, 2)
    decisions = decisions_at(returns, [20, 40, 60, 80])
    dates = returns.index[[20, 60]]
    model = Fixed({"A": 0.5, "B": 0.5}, fails_on=tuple(dates))
    result = walk_forward({"m": model}, returns, decisions, books={})
    track = result.tracks["m", "own"]
    assert track.gross_exposure.iloc[0] == 0.0  # cash before the first success
    assert (track.returns.iloc[:20] == 0.0).all()
    grown = 0.5 * np.cumprod(1 + returns.iloc[42:62].to_numpy(), axis=0)[-1]
    assert_allclose(track.weights.iloc[2], grown / grown.sum())
    assert track.turnover.iloc[2] == track.cost.iloc[2] == 0.0
    assert [(f.model, f.book, f.date, f.error) for f in result.failures] == [
        ("m", "own", date, "RuntimeError: no answer today") for date in dates
    ]
    assert not track.returns.isna().any()


def test_a_track_that_fails_on_more_than_a_tenth_of_its_dates_is_excluded_with_the_reason():
    returns = make_returns(140, 2)
    decisions = decisions_at(returns, list(range(20, 130, 10)))  # eleven
    once = Fixed({"A": 1.0}, fails_on=(returns.index[20],))
    twice = Fixed({"A": 1.0}, fails_on=tuple(returns.index[[20, 30]]))
    result = walk_forward({"once": once, "twice": twice}, returns, decisions, books={})
    reason = "failed on 2 of 11 dates, first on 2019-01-29: RuntimeError: no answer today"
    assert result.excluded == {("twice", "own"): reason}


def test_a_book_that_cannot_be_built_fails_alone():
    returns = make_returns(100, 4)
    books = {"long-only": LONG_ONLY, "tight": Constraints(max_weight=0.2)}  # four assets hold at most 80 %
    result = walk_forward({"t": Telltale()}, returns, decisions_at(returns, [50]), books=books)
    assert {failure.book for failure in result.failures} == {"tight"}
    assert_allclose(result.tracks["t", "long-only"].weights.iloc[0], 0.25)


@pytest.mark.parametrize(
    ("weights_", "words"),
    [(None, "no weights"), (np.ones((2, 2)), r"shape (2,)"), (np.array([np.nan, 1.0]), "1 of 2 weights")],
)
def test_weights_that_are_no_weights_are_a_recorded_failure(weights_, words):
    class Odd(Fixed):
        def fit(self, X, y=None):
            self.weights_ = weights_
            return self

    returns = make_returns(60, 2)
    result = walk_forward({"odd": Odd({})}, returns, decisions_at(returns, [30]), books={})
    assert words in result.failures[0].error


def test_a_portfolio_that_loses_everything_stays_lost_and_is_excluded():
    returns = make_returns(80, 2)
    returns.iloc[45] = [-0.6, 0.0]
    levered = Fixed({"A": 2.0, "B": -1.0})
    result = walk_forward({"levered": levered}, returns, decisions_at(returns, [30, 50]), books={})
    track = result.tracks["levered", "own"]
    assert track.returns.loc[returns.index[45]] == -1.0
    assert (track.returns.loc[returns.index[46] :] == 0.0).all()
    assert track.cost.iloc[1] == 0.0
    assert "lost all its capital on 2019-03-05" in result.excluded["levered", "own"]


def test_processes_and_other_models_do_not_change_a_bit():
    returns = make_returns(200, 6)
    returns.iloc[:150, 3] = np.nan
    decisions = decisions_at(returns, [60, 90, 120, 150, 170])
    eligible = pd.DataFrame(True, index=[d.date for d in decisions], columns=returns.columns)
    eligible["D"] = False
    options = {"books": BOOKS, "eligible": eligible}
    models = {"lw": LedoitWolf(), "ew": EqualWeighted()}
    done = []
    alone = walk_forward({"lw": LedoitWolf()}, returns, decisions, **options)
    serial = walk_forward(models, returns, decisions, on_done=lambda: done.append(1), **options)
    parallel = walk_forward(models, returns.copy(), decisions, n_jobs=2, **options)
    assert len(done) == len(decisions)
    for key, track in serial.tracks.items():
        others = [parallel.tracks[key]] + ([alone.tracks[key]] if key in alone.tracks else [])
        for other in others:
            assert_frame_equal(track.weights, other.weights, check_exact=True)
            assert_series_equal(track.returns, other.returns, check_exact=True)
    assert_frame_equal(serial.diagnostics["lw"], parallel.diagnostics["lw"], check_exact=True)


def test_requests_that_do_not_fit_together_are_refused():
    returns = make_returns(60)
    decisions = decisions_at(returns, [30, 40])
    model = {"t": Telltale()}
    with pytest.raises(ParameterError, match="models is empty"):
        walk_forward({}, returns, decisions, books=BOOKS)
    with pytest.raises(ParameterError, match="got StandardScaler"):
        walk_forward({"s": StandardScaler()}, returns, decisions, books=BOOKS)
    with pytest.raises(ParameterError, match="needs a book"):
        walk_forward(model, returns, decisions, books={})
    with pytest.raises(ParameterError, match="'own' is kept"):
        walk_forward(model, returns, decisions, books={"own": LONG_ONLY})
    with pytest.raises(ParameterError, match="decisions is empty"):
        walk_forward(model, returns, [], books=BOOKS)
    with pytest.raises(ParameterError, match="must follow each other"):
        walk_forward(model, returns, [decisions[0], replace(decisions[1], start=45)], books=BOOKS)
    with pytest.raises(ParameterError, match="that row is"):
        walk_forward(model, returns.shift(freq="D"), decisions, books=BOOKS)
    with pytest.raises(ParameterError, match="row < start"):
        walk_forward(model, returns, [replace(decisions[0], start=30)], books=BOOKS)
    with pytest.raises(ParameterError, match="cost_bps"):
        walk_forward(model, returns, decisions, books=BOOKS, cost_bps=-1.0)


def test_panels_that_cannot_be_used_are_refused():
    returns = make_returns(60)
    decisions = decisions_at(returns, [30, 40])

    def evaluate(panel, eligible=None):
        return walk_forward({"t": Telltale()}, panel, decisions, books=BOOKS, eligible=eligible)

    with pytest.raises(DataError, match="DatetimeIndex"):
        evaluate(returns.reset_index(drop=True))
    with pytest.raises(DataError, match="increase"):
        evaluate(returns.iloc[::-1])
    with pytest.raises(DataError, match="repeat"):
        evaluate(returns.set_axis(list("AABC"), axis=1))
    with pytest.raises(DataError, match="infinite value, first for B on 2019-01-08"):
        evaluate(returns.where(~((returns.index == "2019-01-08")[:, None] & (returns.columns == "B")), np.inf))
    eligible = pd.DataFrame(True, index=[d.date for d in decisions], columns=returns.columns)
    with pytest.raises(DataError, match="same asset names"):
        evaluate(returns, eligible[["B", "A", "C", "D"]])
    with pytest.raises(DataError, match="no row for 1 decision dates"):
        evaluate(returns, eligible.iloc[:1])
    with pytest.raises(DataError, match="booleans"):
        evaluate(returns, eligible.astype(float))
    with pytest.raises(DataError, match="no asset is eligible on 2019-02-26"):
        evaluate(returns, eligible & (np.arange(2) == 0)[:, None])


class Unsure(BaseCovariance):
    """Says that its inputs lie beyond what it has seen, and how far."""

    def fit(self, X, y=None):
        warnings.warn("beyond", RangeWarning, stacklevel=2)
        self.covariance_ = np.cov(np.asarray(X).T)
        self.diagnostics_ = {"out_of_range": 0.5}
        return self


def test_a_warning_about_the_range_is_a_number_of_every_date_and_no_failure():
    returns = make_returns()
    found = walk_forward(
        {"unsure": Unsure()}, returns, decisions_at(returns, [100, 150]), books={"open": UNCONSTRAINED}
    )
    assert not found.failures
    assert (found.diagnostics["unsure"]["out_of_range"] == 0.5).all()
