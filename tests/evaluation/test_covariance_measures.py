"""Measures of a covariance: values by hand, slow twins, scipy and skfolio, and what they prefer."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import covariance_measures as measures
from eigenfolio.evaluation.stability import covariance_stability, stability_path


def random_covariance(n, seed):
    rows = np.random.default_rng(seed).standard_normal((3 * n, n))
    return rows.T @ rows / (3 * n)


def draws(covariance, n_rows, seed):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(covariance)), covariance, n_rows)


def test_losses_equal_their_formulas_with_plain_inverses():
    E, S = random_covariance(6, 0), random_covariance(6, 1)
    Ei, Si, n = np.linalg.inv(E), np.linalg.inv(S), 6
    found = measures.losses_to_truth(E, S)
    assert_allclose(found["frobenius"], np.linalg.norm(E - S) ** 2 / n)
    assert_allclose(found["stein"], (np.trace(Si @ E) - np.log(np.linalg.det(Si @ E)) - n) / n)
    assert_allclose(found["inverse_stein"], (np.trace(Ei @ S) - np.log(np.linalg.det(Ei @ S)) - n) / n)
    assert_allclose(found["log_det"], (np.log(np.linalg.det(E) / np.linalg.det(S)) / n) ** 2)
    assert_allclose(found["minimum_variance"], np.trace(Ei @ S @ Ei) / n / (np.trace(Ei) / n) ** 2 - n / np.trace(Si))
    e, s = np.linalg.eigvalsh(E), np.linalg.eigvalsh(S)
    assert_allclose(found["eigenvalues"], np.mean(np.log(e / s) ** 2))


def test_every_loss_is_zero_at_the_truth_and_above_it_elsewhere():
    S = random_covariance(5, 2)
    assert_allclose(list(measures.losses_to_truth(S, S).values()), 0.0, atol=1e-12)
    assert min(measures.losses_to_truth(random_covariance(5, 3), S).values()) > 0.0


def test_diagonal_losses_by_hand():
    found = measures.losses_to_truth(np.diag([2.0, 1.0]), np.eye(2))
    assert_allclose(found["frobenius"], 0.5)
    assert_allclose(found["stein"], (3 - np.log(2) - 2) / 2)
    assert_allclose(found["inverse_stein"], (1.5 + np.log(2) - 2) / 2)
    # tr E^-2 = 1.25 and tr E^-1 = 1.5: 0.625 / 0.5625 - 1.
    assert_allclose(found["minimum_variance"], 0.625 / 0.5625 - 1)


def test_prial_is_a_hundred_at_the_truth_and_zero_at_the_baseline():
    assert measures.prial([0.0, 0.0], [1.0, 3.0]) == 100.0
    assert measures.prial([1.0, 3.0], [1.0, 3.0]) == 0.0
    assert measures.prial([4.0, 4.0], [1.0, 3.0]) == -100.0


def test_the_likelihood_is_that_of_scipy():
    E, rows = random_covariance(4, 4), draws(random_covariance(4, 5), 30, 6)
    assert_allclose(measures.log_likelihood(E, rows), multivariate_normal(np.zeros(4), E).logpdf(rows).mean())


def test_gaps_are_left_out_of_their_rows():
    E, rows = random_covariance(3, 7), draws(random_covariance(3, 7), 5, 8)
    rows[1, 0] = rows[3, 2] = rows[3, 0] = np.nan
    log_densities, ratios = [], []
    for row in rows:
        seen = np.isfinite(row)
        part = E[np.ix_(seen, seen)]
        log_densities.append(multivariate_normal(np.zeros(seen.sum()), part).logpdf(row[seen]))
        ratios.append(row[seen] @ np.linalg.inv(part) @ row[seen] / seen.sum())
    assert_allclose(measures.log_likelihood(E, rows), np.mean(log_densities))
    assert_allclose(measures.mahalanobis_ratio(E, rows), np.mean(ratios))


def test_ratios_are_one_at_the_truth_and_a_quarter_at_four_times_it():
    S = random_covariance(5, 9)
    rows = draws(S, 40_000, 10)
    w = np.full(5, 0.2)
    for ratio in (measures.mahalanobis_ratio, measures.diagonal_ratio, lambda E, r: measures.variance_ratio(E, r, w)):
        assert_allclose(ratio(S, rows), 1.0, rtol=0.03)
        assert_allclose(ratio(4 * S, rows), ratio(S, rows) / 4)


def test_the_likelihood_and_qlike_prefer_the_truth():
    S = random_covariance(5, 11)
    rows, w = draws(S, 5000, 12), np.full(5, 0.2)
    for factor in (0.7, 1.4):
        assert measures.log_likelihood(factor * S, rows) < measures.log_likelihood(S, rows)
        assert measures.qlike(factor * S, rows, w) > measures.qlike(S, rows, w)


def test_no_matrix_is_likelier_than_the_own_one():
    rows = draws(random_covariance(4, 13), 50, 14)
    own = measures.own_log_likelihood(rows)
    assert_allclose(own, -0.5 * (4 * np.log(2 * np.pi) + np.log(np.linalg.det(rows.T @ rows / 50)) + 4))
    assert own > max(measures.log_likelihood(random_covariance(4, seed), rows) for seed in range(20))


def test_one_row_measures_are_those_of_skfolio():
    from skfolio.metrics import diagonal_calibration_ratio, mahalanobis_calibration_ratio, portfolio_variance_qlike_loss
    from skfolio.moments import EmpiricalCovariance

    past, w = pd.DataFrame(draws(random_covariance(4, 15), 60, 16)), np.array([0.4, 0.3, 0.2, 0.1])
    fitted = EmpiricalCovariance().fit(past)
    for row in draws(random_covariance(4, 15), 3, 17):
        one = pd.DataFrame([row])
        E = fitted.covariance_
        assert_allclose(measures.mahalanobis_ratio(E, one), mahalanobis_calibration_ratio(fitted, one))
        assert_allclose(measures.diagonal_ratio(E, one), diagonal_calibration_ratio(fitted, one))
        assert_allclose(measures.qlike(E, one, w), portfolio_variance_qlike_loss(fitted, one, portfolio_weights=w))


def test_qlike_of_a_window_with_gaps_is_that_of_skfolio():
    from skfolio.metrics import portfolio_variance_qlike_loss
    from skfolio.moments import EmpiricalCovariance

    fitted = EmpiricalCovariance().fit(draws(random_covariance(3, 18), 60, 19))
    window = draws(random_covariance(3, 18), 5, 20)
    window[2, 1] = window[4, 0] = np.nan
    w = np.array([0.5, 0.3, 0.2])
    peer = portfolio_variance_qlike_loss(fitted, pd.DataFrame(window), portfolio_weights=w)
    assert_allclose(measures.qlike(fitted.covariance_, window, w), peer)


def test_steps_between_estimates_by_hand():
    # Volatilities 1, 2 stay; the correlation goes from 0.5 to 0.
    before, after = np.array([[1.0, 1.0], [1.0, 4.0]]), np.diag([1.0, 4.0])
    step = covariance_stability(before, after, n_directions=2)
    assert_allclose(step["correlation_change"], 0.5)
    assert_allclose(step["covariance_change"], np.sqrt(2 / 19))
    assert_allclose([step["volatility_change"], step["subspace_overlap"]], [0.0, 1.0], atol=1e-12)


def test_turned_directions_overlap_by_the_squared_cosine():
    angle = 0.3
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    # Correlations with the same diagonal: the equicorrelated vector is the one leading direction of each.
    weak = np.full((3, 3), 0.2) + 0.8 * np.eye(3)
    strong = np.full((3, 3), 0.7) + 0.3 * np.eye(3)
    assert_allclose(covariance_stability(weak, strong, n_directions=1)["subspace_overlap"], 1.0)
    other = np.array([[1.0, 0.7, -0.7], [0.7, 1.0, -0.7], [-0.7, -0.7, 1.0]])
    # Leading (1, 1, -1) / sqrt 3 against (1, 1, 1) / sqrt 3: cosine 1/3.
    assert_allclose(covariance_stability(strong, other, n_directions=1)["subspace_overlap"], 1 / 9)


def test_a_path_compares_what_neighbours_share():
    def named(matrix, names):
        return pd.DataFrame(matrix, index=list(names), columns=list(names))

    late = random_covariance(3, 21)
    early = late.copy()
    early[2, :] = early[:, 2] = np.nan
    path = stability_path([named(early, "ABC"), named(late, "ABC"), named(late, "ABC")], n_directions=1)
    assert path["n_assets"].tolist() == [2, 3]
    assert_allclose(path["covariance_change"], 0.0)


def test_what_is_no_covariance_is_refused():
    E = random_covariance(2, 0)
    with pytest.raises(DataError, match="one order"):
        measures.losses_to_truth(E, np.eye(3))
    with pytest.raises(DataError, match="estimate must be positive definite"):
        measures.losses_to_truth(np.ones((2, 2)), E)
    with pytest.raises(DataError, match="not finite"):
        measures.losses_to_truth(np.full((2, 2), np.nan), E)
    with pytest.raises(DataError, match="square"):
        measures.log_likelihood(np.ones((2, 3)), [[0.0, 0.0]])
    with pytest.raises(DataError, match="rows of 2 finite"):
        measures.log_likelihood(E, [[0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="nothing but gaps"):
        measures.mahalanobis_ratio(E, [[np.nan, np.nan]])
    with pytest.raises(DataError, match="weights must be 2"):
        measures.qlike(E, [[0.0, 0.0]], [1.0])
    with pytest.raises(DataError, match="predicted variance"):
        measures.variance_ratio(E, [[0.0, 0.0]], [0.0, 0.0])
    with pytest.raises(DataError, match="more rows than assets"):
        measures.own_log_likelihood([[1.0, 2.0]])
    with pytest.raises(DataError, match="baseline loses 0"):
        measures.prial([1.0], [0.0])
    with pytest.raises(DataError, match="equal length"):
        measures.prial([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="one order"):
        covariance_stability(E, np.eye(3))
    with pytest.raises(ParameterError, match="n_directions"):
        covariance_stability(E, E, n_directions=0)
    with pytest.raises(DataError, match="two estimates"):
        stability_path([pd.DataFrame(E)])
