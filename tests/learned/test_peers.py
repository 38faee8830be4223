"""The learned matrix in other people's optimisers: the same weights as when the matrix is given to them directly."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skfolio.distance import CovarianceDistance
from skfolio.model_selection import WalkForward, cross_val_predict, online_covariance_forecast_evaluation
from skfolio.moments import BaseCovariance
from skfolio.optimization import HierarchicalRiskParity, MeanRisk, RiskBudgeting
from skfolio.prior import EmpiricalPrior

from eigenfolio import NeuralShrinkage
from eigenfolio.constraints import LONG_ONLY, UNCONSTRAINED
from eigenfolio.models import minimum_variance_weights

LEARNED = NeuralShrinkage("synthetic", lookback=150)
NAMES = list("ABCDEFGH")


def last_row(X):
    return tuple(np.asarray(X)[-1])


class GivenCovariance(BaseCovariance):
    """A matrix made elsewhere, by the last row of X, which may come as a bare array."""

    def __init__(self, matrices):
        super().__init__()
        self.matrices = matrices

    def fit(self, X, y=None):
        self._set_covariance(self.matrices[last_row(X)])
        return self


@pytest.fixture(scope="module")
def returns():
    """Three factors, unequal volatilities, a drift that differs between assets."""
    rng = np.random.default_rng(3)
    factors = rng.standard_normal((260, 3)) * [0.010, 0.004, 0.003]
    own = rng.standard_normal((260, 8)) * np.linspace(0.004, 0.02, 8)
    X = factors @ rng.normal([[1.0], [0.0], [0.0]], 0.4, (3, 8)) + own + np.linspace(0.0, 0.001, 8)
    return pd.DataFrame(X, index=pd.bdate_range("2015-01-01", periods=260), columns=NAMES)


@pytest.fixture(scope="module")
def covariance(returns):
    return pd.DataFrame(LEARNED.fit(returns).covariance_, index=NAMES, columns=NAMES)


def assert_fully_invested(weights):
    assert np.isfinite(weights).all()
    assert np.sum(weights) == pytest.approx(1.0, abs=1e-8)


def closed_form(covariance):
    """Closed form of the unconstrained minimum, as a twin."""
    raw = np.linalg.solve(covariance, np.ones(len(covariance)))
    return raw / raw.sum()


def test_pyportfolioopt_finds_our_minimum_variance_weights_in_the_matrix(covariance):
    frontier = pytest.importorskip("pypfopt").EfficientFrontier
    for bounds, constraints in (((0.0, 1.0), LONG_ONLY), ((-1.0, 1.0), UNCONSTRAINED)):
        peer = frontier(None, covariance, weight_bounds=bounds, solver="CLARABEL")
        found = np.array(list(peer.min_volatility().values()))
        assert_fully_invested(found)
        assert_allclose(found, minimum_variance_weights(covariance, constraints), atol=2e-4)


def test_riskfolio_finds_our_minimum_variance_weights_in_the_matrix(returns, covariance):
    riskfolio = pytest.importorskip("riskfolio", exc_type=ImportError)
    portfolio = riskfolio.Portfolio(returns=returns)
    portfolio.assets_stats(method_mu="hist", method_cov="hist")
    portfolio.cov = covariance
    found = portfolio.optimization(model="Classic", rm="MV", obj="MinRisk", rf=0.0, l=0.0, hist=True)
    assert_fully_invested(found["weights"])
    assert_allclose(found["weights"], minimum_variance_weights(covariance), atol=2e-4)
    assert np.abs(found["weights"] - minimum_variance_weights(returns.cov())).max() > 5e-3  # not of its own matrix


def test_without_constraints_the_weights_are_the_closed_form_of_the_matrix(covariance):
    assert_allclose(minimum_variance_weights(covariance, UNCONSTRAINED), closed_form(covariance), rtol=1e-8)


def test_skfolios_prior_holds_the_matrix_of_a_direct_fit(returns, covariance):
    prior = EmpiricalPrior(covariance_estimator=LEARNED).fit(returns)
    assert_array_equal(prior.return_distribution_.covariance, covariance)


@pytest.mark.parametrize("optimiser", [MeanRisk, RiskBudgeting])
def test_skfolios_optimisers_decide_as_with_the_matrix_given(optimiser, returns, covariance):
    given = GivenCovariance({last_row(returns): covariance.to_numpy()})
    found, expected = (
        optimiser(prior_estimator=EmpiricalPrior(covariance_estimator=model)).fit(returns).weights_
        for model in (LEARNED, given)
    )
    assert_fully_invested(found)
    assert_array_equal(found, expected)


def test_risk_budgeting_spreads_the_variance_of_the_matrix_evenly(returns, covariance):
    weights = RiskBudgeting(prior_estimator=EmpiricalPrior(covariance_estimator=LEARNED)).fit(returns).weights_
    shares = weights * (covariance.to_numpy() @ weights)
    assert_allclose(shares / shares.sum(), np.full(8, 1 / 8), atol=2e-3)


def test_hierarchical_risk_parity_clusters_and_weighs_by_the_matrix(returns, covariance):
    def weights(model):
        return (
            HierarchicalRiskParity(
                prior_estimator=EmpiricalPrior(covariance_estimator=model),
                distance_estimator=CovarianceDistance(covariance_estimator=model),
            )
            .fit(returns)
            .weights_
        )

    found = weights(LEARNED)
    assert_fully_invested(found)
    given = np.ascontiguousarray(covariance)  # a table lies the other way round in memory, which costs a bit
    assert_array_equal(found, weights(GivenCovariance({last_row(returns): given})))


def test_a_walk_forward_decides_as_with_the_matrices_of_its_training_rows(returns):
    cv = WalkForward(train_size=180, test_size=20)
    spans = [train for train, _ in cv.split(returns)]
    given = {
        last_row(returns.iloc[rows]): NeuralShrinkage("synthetic", lookback=150).fit(returns.iloc[rows]).covariance_
        for rows in spans
    }
    found, expected = (
        cross_val_predict(MeanRisk(prior_estimator=EmpiricalPrior(covariance_estimator=model)), returns, cv=cv)
        for model in (LEARNED, GivenCovariance(given))
    )
    assert len(found.portfolios) == len(spans) == 4
    for one, other in zip(found, expected, strict=True):
        assert_fully_invested(one.weights)
        assert_array_equal(one.weights, other.weights)
    assert_array_equal(found.returns, expected.returns)


def test_the_online_evaluation_scores_each_step_by_the_matrix_of_the_rows_before_it(returns):
    warmup, step = 160, 25
    online = online_covariance_forecast_evaluation(LEARNED, returns, warmup_size=warmup, test_size=step)
    naive = []
    for start in range(warmup, len(returns) - step + 1, step):
        matrix = NeuralShrinkage("synthetic", lookback=150).fit(returns.iloc[:start]).covariance_
        earned = returns.iloc[start : start + step].sum().to_numpy()
        naive.append(earned @ np.linalg.solve(step * matrix, earned) / len(earned))
    assert len(naive) == 4
    assert_allclose(online.mahalanobis_calibration_ratio, naive, rtol=1e-9)
