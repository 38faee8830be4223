"""Gradients in the audit: which rows they are asked for, and what is read off them."""

import numpy as np
import pandas as pd
import pytest
from random_gat import random_gat_bundle
from sklearn.base import BaseEstimator, TransformerMixin

from eigenfolio.errors import DataError
from eigenfolio.evaluation import audit
from eigenfolio.evaluation.gradient_check import dependence
from eigenfolio.learned import GraphAttentionPortfolio


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    values = 0.01 * (rng.standard_normal((400, 1)) + rng.standard_normal((400, 8)))
    return pd.DataFrame(values, index=pd.bdate_range("2014-06-02", periods=400), columns=list("ABCDEFGH"))


class Recurrence(TransformerMixin, BaseEstimator):
    """An exponential average of each column; both ways, it is a leak that only its own gradients are asked about."""

    def __init__(self, both_ways=False, fails=False):
        self.both_ways = both_ways
        self.fails = fails

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.ewm(halflife=5).mean()

    def input_gradients(self, X, *, rows):
        if self.fails:
            raise DataError("no derivative of such rows")
        steps = np.array(rows)[:, None] - np.arange(len(X))
        sizes = 0.5 ** (np.abs(steps) / 5.0)
        shown = sizes if self.both_ways else np.where(steps >= 0, sizes, 0.0)
        return np.repeat(shown[:, :, None], X.shape[1], axis=2)


def gradients_of(model, X):
    return next(f for f in audit(model, X, dates=3).findings if f.check == "gradients")


def test_a_model_that_tells_decisions_apart_is_asked_for_those_of_the_audit(X):
    finding = gradients_of(Recurrence(), X)
    assert finding.status == "ok"
    assert finding.evidence.startswith("of 3 decisions by later rows are exactly zero")


def test_a_pass_in_both_directions_is_found_with_its_reach(X):
    finding = gradients_of(Recurrence(both_ways=True), X)
    assert finding.status == "leak"
    assert finding.size == pytest.approx(0.5**0.2)
    assert finding.reach >= 30


def test_a_model_that_cannot_say_is_no_leak(X):
    finding = gradients_of(Recurrence(fails=True), X)
    assert (finding.status, finding.evidence) == ("not applicable", "no derivative of such rows")


def test_the_window_of_a_graph_attention_book_is_read_off_its_gradients(X):
    finding = gradients_of(GraphAttentionPortfolio(random_gat_bundle()), X)
    assert finding.status == "ok"
    assert finding.evidence.endswith("the oldest row that moves one lies 251 rows back")


def test_what_is_no_number_counts_as_a_leak():
    gradients = np.zeros((1, 3, 1))
    gradients[0, 2, 0] = np.nan
    found = dependence(gradients, np.array([1]))
    assert (found.later, found.decision, found.seen, found.ahead) == (np.inf, 1, 2, 1)
