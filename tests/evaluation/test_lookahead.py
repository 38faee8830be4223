"""The look-ahead check finds planted leaks, in the engine and in the estimator, and nothing else."""

import importlib

import numpy as np
import pandas as pd
import pytest
from skfolio.moments import BaseCovariance, LedoitWolf
from skfolio.optimization import BaseOptimization, EqualWeighted

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import check_no_lookahead, walk_forward

# By name, because the function `walk_forward` hides the module of that name in its package.
ENGINE = importlib.import_module("eigenfolio.evaluation.walk_forward")
CHECK = importlib.import_module("eigenfolio.evaluation.lookahead")


@pytest.fixture
def returns():
    rng = np.random.default_rng(0)
    index = pd.bdate_range("2020-01-01", periods=120)
    return pd.DataFrame(0.01 * rng.standard_normal((120, 4)), index=index, columns=list("ABCD"))


@pytest.fixture
def panels(monkeypatch):
    """The panels that the check evaluates, left lying about for a model to find."""
    left = []

    def careless(models, panel, *args, **options):
        left.append(panel)
        return walk_forward(models, panel, *args, **options)

    monkeypatch.setattr(CHECK, "walk_forward", careless)
    return left


class Peeking(BaseOptimization):
    """Weights by the volatility of whatever rows it can lay its hands on."""

    def fit(self, X, y=None):
        score = np.nan_to_num(self.reach(X)).std(axis=0)
        self.weights_ = score / score.sum()
        return self

    def reach(self, X):
        raise NotImplementedError


@pytest.mark.parametrize("model", [LedoitWolf(), EqualWeighted()])
def test_honest_models_are_clean(returns, model):
    report = check_no_lookahead(model, returns, rows=[60, 80, 117], rng=np.random.default_rng(1))
    assert report.clean
    assert report.dates == tuple(returns.index[[60, 80, 117]])


def test_gaps_in_the_past_are_no_leak(returns):
    class Patient(BaseCovariance):
        def fit(self, X, y=None):
            self.covariance_ = np.diag((X**2).mean())
            self.diagnostics_ = {"missing": float(X.isna().to_numpy().mean())}
            return self

    returns.iloc[:70, 1] = np.nan
    assert check_no_lookahead(Patient(), returns, rng=np.random.default_rng(1)).clean


def test_an_engine_that_passes_one_row_too_many_is_caught(returns, monkeypatch):
    honest = ENGINE._past
    monkeypatch.setattr(ENGINE, "_past", lambda values, row, seen: honest(values, row + 1, seen))
    report = check_no_lookahead(LedoitWolf(), returns, rows=[60, 90], rng=np.random.default_rng(1))
    assert {(leak.what, leak.date) for leak in report.leaks} >= {
        ("weights", returns.index[60]),
        ("diagnostics", returns.index[90]),
    }
    assert {leak.poison for leak in report.leaks} == {"missing", "huge", "shuffled", "flipped"}


def test_an_estimator_that_peeks_at_the_whole_panel_is_caught(returns, panels):
    class Thief(Peeking):
        def reach(self, X):
            return panels[-1].to_numpy()

    report = check_no_lookahead(Thief(), returns, rows=[60], rng=np.random.default_rng(1))
    assert {leak.poison for leak in report.leaks} == {"missing", "huge", "shuffled", "flipped"}
    assert {leak.what for leak in report.leaks} == {"weights"}


def test_a_model_that_fails_only_when_the_future_is_missing_is_caught(returns, panels):
    class Fragile(Peeking):
        def reach(self, X):
            if panels[-1].isna().to_numpy().any():
                raise ValueError("missing")
            return X.to_numpy()

    report = check_no_lookahead(Fragile(), returns, rows=[60], rng=np.random.default_rng(1))
    assert [(leak.what, leak.poison) for leak in report.leaks] == [("failures", "missing")]


def test_a_levered_model_ruined_by_the_poison_is_no_leak(returns):
    class Levered(BaseOptimization):
        def fit(self, X, y=None):
            self.weights_ = np.array([2.0, -1.0, 0.5, -0.5])
            return self

    assert check_no_lookahead(Levered(), returns, rows=[60, 70, 80], rng=np.random.default_rng(1)).clean


def test_a_model_that_cannot_decide_is_an_error_not_a_clean_bill(returns):
    class Refusing(BaseCovariance):
        def fit(self, X, y=None):
            raise ValueError("never")

    with pytest.raises(DataError, match="nothing would be checked"):
        check_no_lookahead(Refusing(), returns, rng=np.random.default_rng(1))


@pytest.mark.parametrize("rows", [0, [], [60, 60], [118], [-1]])
def test_rows_out_of_range_are_refused(returns, rows):
    with pytest.raises(ParameterError, match=r"within 0\.\.117"):
        check_no_lookahead(EqualWeighted(), returns, rows=rows, rng=np.random.default_rng(1))
