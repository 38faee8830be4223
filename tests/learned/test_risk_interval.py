"""Intervals for a portfolio's volatility, and the uncertainty set that reaches them."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from random_heads import bundle_with_heads, random_heads
from random_spectral import random_spectral_bundle
from skfolio import RiskMeasure
from skfolio.optimization import MeanRisk
from skfolio.prior import EmpiricalPrior
from sklearn.base import clone

import eigenfolio
from eigenfolio.errors import ParameterError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.heads import PORTFOLIO_INPUTS, RISK_HORIZONS
from eigenfolio.learned.uncertainty_set import NeuralCovarianceUncertaintySet
from eigenfolio.models import SampleCovariance, minimum_variance_weights

BUNDLE = bundle_with_heads(n_members=2, seed=3, size=0.2)
EQUAL = np.full(6, 1 / 6)


def market(n_rows=160, n_assets=6, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = 0.01 * (
        rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)) * rng.uniform(0.5, 2, n_assets)
    )
    return pd.DataFrame(
        x, index=pd.bdate_range("2011-01-03", periods=n_rows), columns=[f"a{i}" for i in range(n_assets)]
    )


def test_the_interval_is_the_predicted_volatility_times_the_quantiles():
    n = len(random_heads().center) + len(PORTFOLIO_INPUTS)
    flat = np.zeros((len(RISK_HORIZONS), 2, 1 + n))
    flat[:, 0, 0], flat[:, 1, 0] = 0.1, np.log(0.5)
    model = NeuralShrinkage(bundle_with_heads(random_heads(risk=flat))).fit(market())
    volatility = np.sqrt(EQUAL @ model.covariance_ @ EQUAL)
    z = np.interp(0.95, np.linspace(0.005, 0.995, 199), np.linspace(-2.5, 2.5, 199))
    expected = volatility * np.exp([0.1 - 0.5 * z, 0.1 + 0.5 * z])
    assert_allclose(model.risk_interval(EQUAL), expected)
    low, high = model.risk_interval(EQUAL, confidence=0.5)
    assert expected[0] < low < high < expected[1]


def test_the_interval_scales_with_the_portfolio_and_with_the_returns():
    X = market()
    base = np.array(NeuralShrinkage(BUNDLE).fit(X).risk_interval(EQUAL))
    assert_allclose(NeuralShrinkage(BUNDLE).fit(X).risk_interval(2 * EQUAL), 2 * base)
    assert_allclose(NeuralShrinkage(BUNDLE).fit(128 * X).risk_interval(EQUAL), 128 * base, rtol=1e-4)


def test_inactive_assets_must_not_be_held():
    X = market()
    X.iloc[-30:, 2] = np.nan
    model = NeuralShrinkage(BUNDLE).fit(X)
    with pytest.raises(ParameterError, match="inactive assets differ from 0"):
        model.risk_interval(EQUAL)
    held = np.where(np.arange(6) == 2, 0.0, 0.2)
    low, high = model.risk_interval(pd.Series(held, index=X.columns))
    assert 0 < low < high


@pytest.mark.parametrize(
    ("weights", "options", "words"),
    [
        (EQUAL[:5], {}, r"must have shape \(6,\)"),
        (np.zeros(6), {}, "all weights are 0"),
        (np.full(6, np.nan), {}, "must be finite"),
        (pd.Series(EQUAL, index=list("fedcba")), {}, "other names than X"),
        (EQUAL, {"confidence": 0.999}, r"confidence must lie in \(0, 0.99\]"),
        (EQUAL, {"confidence": 0}, "confidence must lie"),
        (EQUAL, {"horizon": 252}, "horizon must lie between 5 and 63 rows"),
    ],
)
def test_what_cannot_be_answered_is_an_error_that_says_why(weights, options, words):
    with pytest.raises(ParameterError, match=words):
        NeuralShrinkage(BUNDLE).fit(market()).risk_interval(weights, **options)


def test_a_model_without_the_head_says_so():
    with pytest.raises(AttributeError, match="risk_interval is there after fit"):
        NeuralShrinkage(BUNDLE).risk_interval(EQUAL)
    with pytest.raises(AttributeError, match="needs the head 'risk'"):
        NeuralShrinkage(random_spectral_bundle()).fit(market()).risk_interval(EQUAL)
    with pytest.raises(AttributeError, match="weights=None is untrained"):
        NeuralShrinkage(None).fit(market()).risk_interval(EQUAL)


# ---- the uncertainty set --------------------------------------------------------------------------------------------


def prior(bundle=BUNDLE):
    return EmpiricalPrior(covariance_estimator=NeuralShrinkage(bundle))


def test_the_smallest_set_reaches_the_upper_ends_of_three_books_and_touches_one():
    X = market()
    fitted = NeuralCovarianceUncertaintySet(prior(), confidence=0.8).fit(X)
    model = NeuralShrinkage(BUNDLE).fit(X)
    inverse = 1 / np.sqrt(np.diag(model.covariance_))
    slack = []
    for book in (EQUAL, inverse / inverse.sum(), minimum_variance_weights(model.covariance_)):
        reached = np.sqrt(book @ fitted.worst_covariance_ @ book)
        slack.append(reached / model.risk_interval(book, confidence=0.8)[1] - 1)
    assert min(slack) == pytest.approx(0, abs=1e-6)
    assert max(slack) < 0.2
    assert fitted.scale_ >= 0
    assert fitted.diagonal_ >= 0
    expected = (1 + fitted.scale_) * model.covariance_ + fitted.diagonal_ * np.diag(np.diag(model.covariance_))
    assert_allclose(fitted.worst_covariance_, expected)


def test_an_optimiser_of_skfolio_solves_for_the_worst_covariance():
    X = market()
    uncertain = NeuralCovarianceUncertaintySet(prior(), confidence=0.9)
    robust = MeanRisk(
        risk_measure=RiskMeasure.VARIANCE, prior_estimator=prior(), covariance_uncertainty_set_estimator=uncertain
    ).fit(X)
    worst = uncertain.fit(X).worst_covariance_
    assert_allclose(robust.weights_, minimum_variance_weights(worst), atol=2e-3)
    assert robust.weights_ @ worst @ robust.weights_ < EQUAL @ worst @ EQUAL


def test_a_set_clones_and_refuses_another_covariance():
    uncertain = NeuralCovarianceUncertaintySet(prior(), confidence=0.7, horizon=42)
    assert clone(uncertain).get_params(deep=False)["confidence"] == 0.7
    assert eigenfolio.NeuralCovarianceUncertaintySet is NeuralCovarianceUncertaintySet
    with pytest.raises(ParameterError, match=r"NeuralShrinkage .* got EmpiricalPrior with SampleCovariance"):
        NeuralCovarianceUncertaintySet(EmpiricalPrior(covariance_estimator=SampleCovariance())).fit(market())
    with pytest.raises(ParameterError, match="confidence must lie"):
        NeuralCovarianceUncertaintySet(prior(), confidence=1.0).fit(market())
