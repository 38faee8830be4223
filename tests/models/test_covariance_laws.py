"""Laws that every covariance estimator keeps."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.model_selection import covariance_forecast_evaluation
from skfolio.moments import EWMu
from skfolio.optimization import MeanRisk
from skfolio.prior import EmpiricalPrior
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED, Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import covariance_to_correlation
from eigenfolio.models import (
    OAS,
    QIS,
    AverageOracle,
    BestConstantShrinkage,
    EWMACovariance,
    IEWMACovariance,
    LedoitWolf,
    SampleCovariance,
    champion_covariance,
    minimum_variance_weights,
)

# Short past windows, so that the calibrated two fit scikit-learn's small tables.
SHORT = {"lookback": 6, "horizon": 2, "step": 1, "n_windows": 3}
MODELS = {
    "sample": SampleCovariance(),
    "ledoit_wolf": LedoitWolf(),
    "ledoit_wolf_correlation": LedoitWolf(on="correlation"),
    "constant_correlation": LedoitWolf(target="constant_correlation"),
    "single_factor": LedoitWolf(target="single_factor"),
    "single_factor_correlation": LedoitWolf(target="single_factor", on="correlation"),
    "oas": OAS(),
    "qis": QIS(),
    "qis_correlation": QIS(on="correlation"),
    "qis_correlation_ewma": QIS(on="correlation", volatility="ewma", unit_diagonal=False),
    "champion": champion_covariance(),
    "ewma": EWMACovariance(),
    "iewma": IEWMACovariance(),
    "average_oracle": AverageOracle(**SHORT),
    "average_oracle_ewma": AverageOracle(**SHORT, volatility="ewma"),
    "best_constant": BestConstantShrinkage(**SHORT),
}
CALIBRATED = {"average_oracle", "average_oracle_ewma", "best_constant"}
VARIANCES_KEPT = {
    "sample",
    "ledoit_wolf_correlation",
    "constant_correlation",
    "single_factor",
    "single_factor_correlation",
    "qis_correlation",
    "best_constant",
}


@pytest.fixture(params=MODELS, ids=str)
def model(request):
    return clone(MODELS[request.param])


@pytest.fixture(params=[name for name in MODELS if name not in CALIBRATED], ids=str)
def any_length(request):
    """Models that accept any window of two rows or more."""
    return clone(MODELS[request.param])


def with_gaps(returns):
    x = returns.copy()
    x.iloc[:250, 1] = np.nan
    x.iloc[:-5, 4] = np.nan
    x.iloc[-30:, 6] = np.nan
    return x.mask(np.random.default_rng(0).random(x.shape) < 0.03)


def assert_usable(covariance):
    """Finite, symmetric, and definite enough for a book in both kinds."""
    assert np.isfinite(covariance).all()
    assert np.array_equal(covariance, covariance.T)
    correlation, _ = covariance_to_correlation(covariance)
    assert np.linalg.eigvalsh(correlation)[0] > 0.5e-10
    np.linalg.cholesky(covariance)
    for book in (LONG_ONLY, UNCONSTRAINED):
        assert abs(minimum_variance_weights(covariance, book).sum() - 1) < 1e-8


def test_scikit_learns_checks_find_nothing(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks = check_estimator(model, on_fail=None, on_skip=None)
    assert [check["check_name"] for check in checks if check["status"] == "failed"] == []


def test_the_answer_is_symmetric_and_definite_and_inputs_are_untouched(model, returns):
    before = returns.copy()
    model.fit(returns)
    assert_usable(model.covariance_)
    np.testing.assert_allclose(model.location_, returns.tail(model.lookback or len(returns)).mean())
    assert all(isinstance(value, float) for value in model.diagnostics_.values())
    pd.testing.assert_frame_equal(returns, before)


def test_the_same_returns_give_the_same_bits(model, returns):
    first = model.fit(returns).covariance_
    again = clone(model).fit(np.asfortranarray(returns.to_numpy())).covariance_
    assert np.array_equal(first, again)


def test_returns_times_c_give_covariance_times_c_squared(model, returns):
    x = with_gaps(returns)
    plain, scaled = clone(model).fit(x).covariance_, clone(model).fit(100 * x).covariance_
    np.testing.assert_allclose(scaled, 1e4 * plain, rtol=1e-7)


def test_the_order_of_assets_does_not_matter(model, returns):
    order = np.random.default_rng(1).permutation(12)
    plain = clone(model).fit(returns).covariance_
    shuffled = clone(model).fit(returns.iloc[:, order]).covariance_
    np.testing.assert_allclose(shuffled, plain[np.ix_(order, order)], rtol=1e-6, atol=1e-12)


def test_adding_a_constant_to_returns_changes_nothing(model, returns):
    plain, moved = clone(model).fit(returns).covariance_, clone(model).fit(returns + 0.05).covariance_
    np.testing.assert_allclose(moved, plain, rtol=1e-7, atol=1e-12)


def test_only_the_lookback_is_read(any_length, returns):
    any_length.set_params(lookback=60)
    poisoned = returns.copy()
    poisoned.iloc[:-60] = 1e6
    assert np.array_equal(
        clone(any_length).fit(poisoned).covariance_, clone(any_length).fit(returns.tail(60)).covariance_
    )


def test_gaps_late_listings_and_delistings_leave_a_finite_answer(model, returns):
    model.fit(with_gaps(returns))
    active = np.arange(12) != 6
    assert np.isnan(model.covariance_[6]).all()
    assert np.isnan(model.covariance_[:, 6]).all()
    assert np.isnan(model.location_[6])
    assert np.isfinite(model.location_[active]).all()
    assert_usable(model.covariance_[np.ix_(active, active)])


def test_twelve_missing_rows_leave_an_asset_active_whatever_the_lookback(any_length, returns):
    x = returns.copy()
    x.iloc[-12:, 3] = np.nan
    assert_usable(any_length.set_params(lookback=10).fit(x).covariance_)


def test_a_mask_decides_who_is_active(model, returns):
    mask = np.ones(returns.shape, dtype=bool)
    mask[-1, 0] = False
    x = returns.copy()
    x.iloc[-3:, 2] = np.nan  # a holiday, not a delisting
    model.fit(x, active_mask=mask)
    assert np.isnan(np.diag(model.covariance_)).tolist() == [True] + [False] * 11


def test_a_listed_asset_without_any_return_gets_the_typical_variance(any_length, returns):
    x = returns.copy()
    x["A03"] = np.nan
    covariance = any_length.fit(x, active_mask=np.ones(x.shape, dtype=bool)).covariance_
    assert_usable(covariance)
    assert 0.2 < covariance[3, 3] / np.median(np.diag(covariance)) < 5


def test_duplicate_and_constant_columns_leave_a_finite_definite_answer(model, returns):
    x = returns.copy()
    x["twin"] = x["A00"]
    x["cash"] = 0.0001
    x["nearly_cash"] = 1e-9 * x["A01"]
    model.fit(x)
    assert_usable(model.covariance_)


def test_two_observations_leave_a_finite_definite_answer(any_length, returns):
    assert_usable(any_length.fit(returns.head(2)).covariance_)


def test_more_assets_than_rows_leave_a_finite_definite_answer(model, make_market):
    assert_usable(model.fit(make_market(30, 45)).covariance_)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_fewer_than_two_rows_are_an_error(model, returns, n_rows):
    with pytest.raises(ValueError, match=r"0 sample|n_samples = 1"):
        model.fit(returns.head(n_rows))


def test_unusable_tables_are_named(model, returns):
    with pytest.raises(DataError, match="no asset varies"):
        model.fit(np.full((60, 3), 0.01))
    with pytest.raises(DataError, match="no asset is active"):
        model.fit(np.full((60, 3), np.nan))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(returns.replace(returns.iloc[5, 3], np.inf))


@pytest.mark.parametrize("lookback", [1, 0, -5, 2.5, "all", True])
def test_a_lookback_that_is_no_window_is_refused(model, returns, lookback):
    with pytest.raises(ParameterError, match="lookback must be"):
        model.set_params(lookback=lookback).fit(returns)


@pytest.mark.parametrize("name", sorted(VARIANCES_KEPT))
def test_variances_are_those_of_the_window(returns, name):
    model = clone(MODELS[name]).fit(returns)
    expected = returns.tail(model.lookback or len(returns)).var(ddof=0)
    np.testing.assert_allclose(np.diag(model.covariance_), expected, rtol=1e-9)


def test_score_and_mahalanobis_work_with_inactive_assets(model, returns):
    model.fit(with_gaps(returns))
    assert np.isfinite(model.score(returns.tail(20)))
    assert np.isfinite(model.mahalanobis(returns.tail(20))).all()


def test_skfolios_mean_risk_accepts_it_with_missing_rows(any_length, returns):
    optimizer = MeanRisk(prior_estimator=EmpiricalPrior(covariance_estimator=any_length))
    np.testing.assert_allclose(optimizer.fit(returns).weights_.sum(), 1, atol=1e-6)


@pytest.mark.filterwarnings("ignore:More than 5% of the return scenarios")
@pytest.mark.parametrize("name", ["ledoit_wolf", "champion", "sample"])
def test_mean_risk_leaves_out_what_the_covariance_leaves_out(returns, name):
    x = with_gaps(returns)
    x["A04"] = returns["A04"]  # skfolio's EWMu has a warm-up of its own
    prior = EmpiricalPrior(mu_estimator=EWMu(), covariance_estimator=clone(MODELS[name]))
    weights = MeanRisk(max_weights=0.3, prior_estimator=prior).fit(x).weights_
    ours = minimum_variance_weights(clone(MODELS[name]).fit(x).covariance_, Constraints(max_weight=0.3))
    assert weights[6] == 0
    np.testing.assert_allclose(weights, ours, atol=1e-3)


def test_a_mask_is_routed_through_skfolios_prior(returns):
    mask = np.ones(returns.shape, dtype=bool)
    mask[-1, 0] = False
    with sklearn.config_context(enable_metadata_routing=True):
        prior = EmpiricalPrior(covariance_estimator=LedoitWolf()).fit(returns, active_mask=mask)
    assert np.isnan(prior.return_distribution_.covariance[0, 0])


@pytest.mark.parametrize("name", ["ledoit_wolf", "champion", "average_oracle"])
def test_skfolios_forecast_evaluation_runs(returns, name):
    summary = covariance_forecast_evaluation(clone(MODELS[name]), returns, train_size=200, test_size=40).summary()
    assert np.isfinite(summary["mean"].astype(float)).all()


@given(n_rows=st.integers(2, 40), n_assets=st.integers(1, 30), spread=st.floats(0, 2), seed=st.integers(0, 9999))
@settings(max_examples=60, deadline=None)
def test_any_window_leads_to_both_books(n_rows, n_assets, spread, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_assets)) + rng.standard_normal((n_rows, 1))
    x *= 0.01 * np.exp(rng.normal(0, spread, n_assets))
    x[:, -1] = rng.choice([-1.0, 1.0, 0.5]) * x[:, 0]
    for name in ("sample", "ledoit_wolf", "single_factor", "qis", "champion", "iewma"):
        assert_usable(clone(MODELS[name]).fit(x).covariance_)


def test_the_condition_of_a_short_sample_is_reported(make_market):
    model = SampleCovariance().fit(make_market(20, 30))
    assert model.diagnostics_["lifted_eigenvalues"] == 11
    assert SampleCovariance().fit(make_market(100, 30)).diagnostics_["lifted_eigenvalues"] == 0
