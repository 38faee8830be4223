"""No estimator's decision depends on what came later: the future-poisoning law."""

import inspect

import numpy as np
import pandas as pd
import pytest
from skfolio.moments import BaseCovariance
from skfolio.optimization import BaseOptimization

import eigenfolio.learned
import eigenfolio.models
from eigenfolio.evaluation import check_no_lookahead


@pytest.fixture(scope="module")
def panel():
    """One factor, eight assets, of which one is listed late, one has gaps and one is delisted with a loss."""
    rng = np.random.default_rng(11)
    index = pd.bdate_range("2015-01-01", periods=260)
    values = 0.01 * (rng.standard_normal((260, 1)) + rng.standard_normal((260, 8)))
    values[:90, 1] = np.nan
    values[rng.random(260) < 0.05, 2] = np.nan
    values[185, 3] = -0.5
    values[186:, 3] = np.nan
    return pd.DataFrame(values, index=index, columns=[f"A{i}" for i in range(8)])


def test_poisoning_the_future_changes_no_bit_of_the_past(any_model, panel):
    report = check_no_lookahead(any_model, panel, rows=[170, 200, 240], rng=np.random.default_rng(0))
    assert report.clean, report.leaks


def test_every_public_estimator_is_listed(all_models):
    listed = {type(model) for model in all_models.values()}
    rooms = (eigenfolio.models, eigenfolio.learned)
    public = (getattr(room, name) for room in rooms for name in room.__all__)
    estimators = {
        thing
        for thing in public
        if inspect.isclass(thing)
        and issubclass(thing, BaseCovariance | BaseOptimization)
        and not inspect.isabstract(thing)
    }
    assert estimators <= listed
