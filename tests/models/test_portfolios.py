import numpy as np
import pandas as pd
import pytest
from skfolio.model_selection import WalkForward, cross_val_predict
from skfolio.optimization import HierarchicalRiskParity, MeanRisk
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import (
    EqualWeight,
    InverseVolatility,
    LedoitWolf,
    MinimumVariance,
    MissingSafe,
    SampleCovariance,
    champion_covariance,
    minimum_variance_weights,
)

MODELS = {
    "equal": EqualWeight(),
    "inverse_volatility": InverseVolatility(),
    "inverse_ewma_volatility": InverseVolatility(half_life=63.0, lookback=252),
    "minimum_variance": MinimumVariance(),
    "capped": MinimumVariance(champion_covariance(), max_weight=0.2),
    "unconstrained": MinimumVariance(long_only=False),
    "hrp": MissingSafe(HierarchicalRiskParity()),
}
# What skfolio's own optimisers cause by predicting a Portfolio.
SKFOLIO_CAUSES = {"check_fit_score_takes_y", "check_methods_sample_order_invariance", "check_fit2d_predict1d"}


@pytest.fixture(params=MODELS, ids=str)
def model(request):
    return clone(MODELS[request.param])


def with_gaps(returns):
    x = returns.copy()
    x.iloc[:250, 1] = np.nan
    x.iloc[-30:, 6] = np.nan
    return x.mask(np.random.default_rng(0).random(x.shape) < 0.03)


@pytest.mark.parametrize("name", ["equal", "inverse_volatility", "minimum_variance"])
def test_scikit_learns_checks_find_only_what_skfolio_causes(name):
    checks = check_estimator(clone(MODELS[name]), on_fail=None, on_skip=None)
    assert {check["check_name"] for check in checks if check["status"] == "failed"} <= SKFOLIO_CAUSES


def test_weights_sum_to_one_and_inactive_assets_get_none(model, returns):
    x = with_gaps(returns)
    before = x.copy()
    weights = model.fit(x).weights_
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)
    assert weights[6] == 0
    assert np.count_nonzero(weights) > 2
    pd.testing.assert_frame_equal(x, before)


def test_a_mask_takes_an_asset_out(model, returns):
    mask = pd.DataFrame(True, index=returns.index, columns=returns.columns[::-1])
    mask.iloc[-1, 0] = False  # the last asset of X
    weights = model.fit(returns, active_mask=mask).weights_
    assert weights[-1] == 0
    assert weights[0] != 0 or not isinstance(model, EqualWeight)


def test_skfolios_walk_forward_runs_with_missing_returns(model, returns):
    prediction = cross_val_predict(model, with_gaps(returns), cv=WalkForward(train_size=200, test_size=40))
    assert np.isfinite(prediction.returns).all()
    assert len(prediction) == 3


def test_later_rows_cannot_matter(model, returns):
    poisoned = returns.copy()
    poisoned.iloc[200:] = 1e3
    assert np.array_equal(clone(model).fit(poisoned[:200]).weights_, clone(model).fit(returns[:200].copy()).weights_)


def test_inverse_volatility_by_hand():
    x = np.array([[0.01, 0.02, 0.04], [-0.01, -0.02, -0.04]])
    np.testing.assert_allclose(InverseVolatility().fit(x).weights_, np.array([4, 2, 1]) / 7)


def test_inverse_ewma_volatility_follows_a_calmer_asset(returns):
    x = returns.copy()
    x.iloc[-60:, 0] *= 0.1
    slow, fast = InverseVolatility().fit(x).weights_, InverseVolatility(half_life=10).fit(x).weights_
    assert fast[0] > 2 * slow[0]


def test_minimum_variance_is_the_exact_book_of_its_covariance(returns):
    model = MinimumVariance(SampleCovariance(lookback=100), max_weight=0.15).fit(returns)
    covariance = np.cov(returns.to_numpy()[-100:].T, bias=True)
    expected = minimum_variance_weights(covariance, Constraints(max_weight=0.15))
    np.testing.assert_allclose(model.weights_, expected, atol=1e-12)
    assert not hasattr(model.covariance_estimator, "covariance_")


def test_other_constraints_are_refused_with_a_way_out(returns):
    with pytest.raises(ParameterError, match="MeanRisk"):
        MinimumVariance(long_only=False, max_weight=0.1).fit(returns)
    with pytest.raises(ParameterError, match="at least"):
        MinimumVariance(max_weight=0.01).fit(returns)
    with pytest.raises(ParameterError, match="BaseCovariance"):
        MinimumVariance(HierarchicalRiskParity()).fit(returns)


def test_the_safe_optimiser_equals_the_bare_one_on_complete_data(returns):
    bare = HierarchicalRiskParity().fit(returns).weights_
    np.testing.assert_array_equal(MissingSafe(HierarchicalRiskParity()).fit(returns).weights_, bare)


def test_the_safe_optimiser_fills_gaps_with_zero_on_the_active_assets(returns):
    x = with_gaps(returns)
    active = [name for name in x if name != "A06"]
    bare = HierarchicalRiskParity().fit(x[active].fillna(0.0)).weights_
    np.testing.assert_array_equal(MissingSafe(HierarchicalRiskParity()).fit(x).weights_[np.arange(12) != 6], bare)


def test_the_safe_optimiser_hands_on_previous_weights(returns):
    x = with_gaps(returns)
    held = dict.fromkeys(x.columns, 1 / 12)
    model = MissingSafe(MeanRisk(transaction_costs=0.01), previous_weights=held).fit(x)
    assert model.needs_previous_weights
    np.testing.assert_allclose(model.optimizer_.previous_weights, np.full(11, 1 / 12))
    assert not MissingSafe(HierarchicalRiskParity()).needs_previous_weights


def test_the_safe_optimiser_refuses_what_is_none(returns):
    with pytest.raises(ParameterError, match="BaseOptimization"):
        MissingSafe(LedoitWolf()).fit(returns)
    with pytest.raises(ParameterError, match="one portfolio"):
        MissingSafe(MeanRisk(efficient_frontier_size=3)).fit(returns)


def test_a_fallback_takes_over_when_there_is_nothing_to_decide_on(returns):
    model = MinimumVariance(max_weight=0.01, fallback=EqualWeight()).fit(returns)
    np.testing.assert_allclose(model.weights_, 1 / 12)
    with pytest.raises(DataError, match="no asset is active"):
        EqualWeight().fit(np.full((30, 2), np.nan))
