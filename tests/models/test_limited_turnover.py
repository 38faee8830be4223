"""A limit on turnover by hand, against the projection inside a network, and in skfolio's engine."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skfolio.model_selection import WalkForward, cross_val_predict
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import EqualWeight, InverseVolatility, LimitedTurnover, MinimumVariance
from eigenfolio.models.limited_turnover import Holdings, read_holdings
from eigenfolio.projection import closest_book


@pytest.fixture
def X(make_market):
    return make_market(120, 6)


def test_without_previous_weights_it_is_the_portfolio_itself(X):
    model = LimitedTurnover(InverseVolatility(), max_turnover=0.01).fit(X)
    assert_array_equal(model.weights_, InverseVolatility().fit(X).weights_)
    assert model.diagnostics_ == {}


def test_within_the_limit_it_is_the_portfolio_itself_and_beyond_it_trades_exactly_so_much(X):
    wished = InverseVolatility().fit(X).weights_
    previous = np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    apart = 0.5 * np.abs(wished - previous).sum()
    far = LimitedTurnover(InverseVolatility(), max_turnover=1.0, previous_weights=previous).fit(X)
    assert_allclose(far.weights_, wished, atol=1e-12)
    near = LimitedTurnover(InverseVolatility(), max_turnover=0.2, previous_weights=previous).fit(X)
    assert apart > 0.2
    assert 0.5 * np.abs(near.weights_ - previous).sum() == pytest.approx(0.2)
    assert near.diagnostics_ == pytest.approx({"turnover": 0.2, "turnover_limit": 0.2})


def test_what_is_held_of_assets_that_are_gone_counts(X):
    """0.3 in a name that X lacks and 0.1 in a listed one that has stopped: 0.4 must be sold and bought elsewhere."""
    gone = X.copy()
    gone.iloc[-30:, 5] = np.nan
    previous = dict(zip(X.columns, [0.2, 0.2, 0.2, 0.0, 0.0, 0.1], strict=True)) | {"elsewhere": 0.3}
    for limit, expected in ((0.5, 0.5), (0.1, 0.4)):
        model = LimitedTurnover(MinimumVariance(), max_turnover=limit, previous_weights=previous).fit(gone)
        assert model.weights_[5] == 0.0
        assert model.weights_.sum() == pytest.approx(1.0)
        held = np.array([previous[name] for name in X.columns])
        assert 0.5 * (np.abs(model.weights_ - held).sum() + 0.3) == pytest.approx(expected)
        assert model.diagnostics_ == pytest.approx({"turnover": expected, "turnover_limit": expected})


def test_a_weight_above_the_cap_is_sold_whatever_the_limit(X):
    previous = [0.6, 0.1, 0.1, 0.1, 0.1, 0.0]
    model = LimitedTurnover(EqualWeight(), max_turnover=0.05, max_weight=0.4, previous_weights=previous).fit(X)
    assert model.weights_[0] == pytest.approx(0.4)
    assert model.diagnostics_ == pytest.approx({"turnover": 0.2, "turnover_limit": 0.2})


@pytest.mark.parametrize("limit", [0.02, 0.15, 0.6])
def test_it_is_the_projection_inside_the_network(limit):
    torch = pytest.importorskip("torch")
    from eigenfolio.models.networks.allocation import allocate

    rng = np.random.default_rng(3)
    for _ in range(20):
        present = rng.random(9) < 0.7
        present[:4] = True
        previous, wished = rng.dirichlet(np.ones(9)), rng.standard_normal(9)
        limits = Constraints(max_weight=0.45, max_turnover=limit)
        held = Holdings(previous[present], float(previous[~present].sum()))
        found = closest_book(wished[present], held.reachable(limits), previous=held.weights)
        twin = allocate(
            torch.tensor(np.where(present, wished, 0.0)), torch.tensor(present), limits, torch.tensor(previous)
        )
        assert_allclose(found, twin.numpy()[present], atol=1e-9)


def test_previous_weights_are_read_by_name_by_place_or_as_one_number(X):
    active = np.array([True] * 5 + [False])
    by_name = read_holdings({"elsewhere": 0.1, X.columns[1]: 0.5, X.columns[5]: 0.2}, X, active)
    assert by_name.weights.tolist() == [0.0, 0.5, 0.0, 0.0, 0.0]
    assert by_name.outside == pytest.approx(0.3)
    by_place = read_holdings([0.0, 0.5, 0.0, 0.0, 0.0, 0.2], X.to_numpy(), active)
    assert_array_equal(by_place.weights, by_name.weights)
    assert by_place.outside == pytest.approx(0.2)
    assert read_holdings(1 / 6, X, active).weights == pytest.approx(np.full(5, 1 / 6))
    assert read_holdings(pd.Series({X.columns[0]: 1.0}), X, active).outside == 0.0


def test_skfolio_hands_the_weights_on(X):
    model = LimitedTurnover(InverseVolatility(lookback=20), max_turnover=0.01)
    assert model.needs_previous_weights
    done = cross_val_predict(
        model, X, cv=WalkForward(train_size=40, test_size=20), portfolio_params={"weight_drift": True}
    )
    assert len(done) == 4
    for before, after in zip(list(done)[:-1], list(done)[1:], strict=True):
        assert 0.5 * np.abs(after.weights - before.ending_weights).sum() <= 0.01 + 1e-9
    free = clone(model).set_params(max_turnover=1.0).fit(X.iloc[:100]).weights_
    assert 0.5 * np.abs(list(done)[-1].weights - free).sum() > 0.001


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"portfolio": 3}, "must be a skfolio BaseOptimization"),
        ({"max_turnover": 0.0}, "max_turnover must be"),
        ({"portfolio": MinimumVariance(long_only=False)}, "0 or more"),
        ({"previous_weights": [0.5, 0.5]}, "one number or 6"),
        ({"previous_weights": {"a": np.nan}}, "must be finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, told, X):
    model = LimitedTurnover(EqualWeight(), max_turnover=0.1).set_params(**changes)
    with pytest.raises((ParameterError, DataError), match=told):
        model.fit(X)


def test_names_need_a_table_with_names(X):
    with pytest.raises(DataError, match="DataFrame"):
        LimitedTurnover(EqualWeight(), max_turnover=0.1, previous_weights={"a": 1.0}).fit(X.to_numpy())


def test_scikit_learns_checks_find_only_what_skfolio_causes():
    caused = {"check_fit_score_takes_y", "check_methods_sample_order_invariance", "check_fit2d_predict1d"}
    checks = check_estimator(LimitedTurnover(EqualWeight(), max_turnover=0.1), on_fail=None, on_skip=None)
    assert {check["check_name"] for check in checks if check["status"] == "failed"} <= caused
