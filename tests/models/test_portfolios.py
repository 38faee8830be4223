import numpy as np
import pandas as pd
import pytest
import sklearn
from skfolio.model_selection import WalkForward, cross_val_predict
from skfolio.moments import DenoiseCovariance, EmpiricalCovariance, EWCovariance, ImpliedCovariance
from skfolio.moments import LedoitWolf as SkfolioLedoitWolf
from skfolio.optimization import EqualWeighted, HierarchicalRiskParity, MeanRisk
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
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


class Recording(EqualWeighted):
    """Keeps the returns that it is given."""

    def fit(self, X, y=None):
        self.seen_ = X.copy()
        return super().fit(X, y)


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


@pytest.mark.parametrize("estimator", [SkfolioLedoitWolf(), EmpiricalCovariance(), DenoiseCovariance()], ids=repr)
def test_skfolios_estimators_are_fitted_on_the_active_assets(returns, estimator):
    mask = np.ones(returns.shape, dtype=bool)
    mask[-1, [0, 7]] = False
    active = mask[-1]
    model = MinimumVariance(estimator, long_only=False).fit(returns, active_mask=mask)
    expected = minimum_variance_weights(
        clone(estimator).fit(returns.loc[:, active]).covariance_, Constraints(long_only=False)
    )
    np.testing.assert_array_equal(model.weights_[active], expected)
    np.testing.assert_array_equal(model.weights_[~active], 0)
    x = returns.mask(~np.broadcast_to(active, mask.shape))
    np.testing.assert_array_equal(MinimumVariance(estimator, long_only=False).fit(x).weights_, model.weights_)


def test_an_estimator_that_reads_a_mask_is_given_it(returns):
    x = returns.copy()
    x.iloc[:100, 2] = np.nan
    x.iloc[-25:, 4] = np.nan  # listed, though long without a return
    mask = np.ones(x.shape, dtype=bool)
    mask[:100, 2] = False
    mask[-1, 0] = False
    for estimator in (EWCovariance(), SampleCovariance()):
        model = MinimumVariance(estimator, long_only=False).fit(x, active_mask=mask)
        direct = clone(estimator).fit(x.iloc[:, 1:], active_mask=mask[:, 1:]).covariance_
        np.testing.assert_array_equal(
            model.weights_[1:], minimum_variance_weights(direct, Constraints(long_only=False))
        )
        assert model.weights_[0] == 0
        assert model.weights_[4] != 0


def test_hidden_returns_of_an_active_asset_are_not_read(returns):
    mask = np.ones(returns.shape, dtype=bool)
    mask[:50, 3] = False
    with pytest.raises(ValueError, match="NaN"):
        MinimumVariance(EmpiricalCovariance()).fit(returns, active_mask=mask)


def implied(returns):
    return pd.DataFrame(0.2, index=returns.index, columns=returns.columns) * np.linspace(0.5, 2, returns.shape[1])


@pytest.mark.parametrize("table", ["same columns", "columns in another order", "array"])
def test_metadata_are_routed_and_cut_to_the_active_assets(returns, table):
    volatility = implied(returns)
    x = returns.copy()
    x.iloc[:, 5] = np.nan
    active = np.arange(12) != 5
    given = {
        "same columns": volatility,
        "columns in another order": volatility.iloc[:, ::-1],
        "array": volatility.to_numpy(),
    }[table]
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ImpliedCovariance(volatility_risk_premium_adj=1.1).set_fit_request(implied_vol=True)
        weights = MinimumVariance(estimator).fit(x, implied_vol=given).weights_
        direct = clone(estimator).fit(returns.loc[:, active], implied_vol=volatility.loc[:, active])
    np.testing.assert_array_equal(weights[active], minimum_variance_weights(direct.covariance_))
    assert weights[5] == 0


def test_skfolios_walk_forward_routes_metadata_through(returns):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ImpliedCovariance(volatility_risk_premium_adj=1.1).set_fit_request(implied_vol=True)
        prediction = cross_val_predict(
            MinimumVariance(estimator),
            returns,
            cv=WalkForward(train_size=200, test_size=40),
            params={"implied_vol": implied(returns)},
        )
    assert len(prediction) == 3


def test_metadata_nobody_requested_are_refused_by_name(returns):
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="implied_vol"):
            MinimumVariance(ImpliedCovariance()).fit(returns, implied_vol=returns.abs())
        with pytest.raises(TypeError, match="implied_vol"):
            MinimumVariance().fit(returns, implied_vol=returns.abs())


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


def test_the_safe_optimiser_hands_on_the_mean_and_variance_of_the_own_span(returns):
    x = with_gaps(returns)
    x["A03"] = returns["A03"]
    active = [name for name in x if name != "A06"]
    seen = MissingSafe(Recording()).fit(x).optimizer_.seen_
    assert seen.index.equals(x.index)
    assert list(seen) == active
    np.testing.assert_array_equal(seen["A03"], x["A03"])
    np.testing.assert_allclose(seen.mean(), x[active].mean(), rtol=1e-9)
    np.testing.assert_allclose(seen.var(ddof=0), x[active].var(ddof=0), rtol=1e-9)


def test_a_short_history_does_not_look_riskless_to_the_safe_optimiser(make_market):
    x = make_market(100, 8)
    x.iloc[:80, 0] = np.nan
    weights = MissingSafe(HierarchicalRiskParity()).fit(x).weights_
    full = HierarchicalRiskParity().fit(x.tail(20)).weights_
    assert 0.3 * full[0] < weights[0] < 3 * full[0]
    x.iloc[:98, 0] = np.nan  # two rows: led by the typical variance
    assert 0 < MissingSafe(HierarchicalRiskParity()).fit(x).weights_[0] < 0.4


def test_the_safe_optimiser_gives_nothing_to_assets_that_do_not_vary(returns):
    x = returns.copy()
    x["halted"], x["steady"], x["once"] = 0.0, 0.0002, np.nan
    x.iloc[-1, -1] = 0.01
    bare = HierarchicalRiskParity().fit(returns).weights_
    weights = MissingSafe(HierarchicalRiskParity()).fit(x).weights_
    np.testing.assert_array_equal(weights, [*bare, 0, 0, 0])
    held = np.full(15, 1 / 15)
    model = MissingSafe(MeanRisk(transaction_costs=0.01), previous_weights=held).fit(x)
    np.testing.assert_allclose(model.optimizer_.previous_weights, np.full(12, 1 / 15))
    with pytest.raises(DataError, match="no asset varies"):
        MissingSafe(EqualWeighted()).fit(x[["halted", "steady"]])


@pytest.mark.parametrize("lookback", [10, 30])
def test_twelve_missing_rows_leave_an_asset_active_whatever_the_lookback(returns, lookback):
    x = returns.copy()
    x.iloc[-12:, 3] = np.nan
    assert InverseVolatility(lookback=lookback).fit(x).weights_[3] > 0
    assert MinimumVariance(SampleCovariance(lookback=lookback), long_only=False).fit(x).weights_[3] != 0
    safe = MissingSafe(EqualWeighted(), lookback=lookback).fit(x)
    assert safe.weights_[3] == pytest.approx(0 if lookback == 10 else 1 / 12)  # no return to judge it by, or 18
    assert safe.optimizer_.n_features_in_ == (11 if lookback == 10 else 12)


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
