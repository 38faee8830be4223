"""Dynamics: the path is the covariance of the rows that were drawn."""

import json

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import solve_triangular

from eigenfolio.data.synthetic import (
    AsymmetricJumps,
    DynamicCorrelation,
    Garch,
    Normal,
    Population,
    RegimeSwitching,
    Student,
    StudentCopula,
    copula_correlation,
    draw_market,
    factor_covariance,
    stressed_population,
)
from eigenfolio.errors import ParameterError

POPULATION = Population(
    np.array([[1.0, 0.6, -0.3], [0.6, 4.0, 0.5], [-0.3, 0.5, 0.25]]) * 1e-4, "three", {"made": "by hand"}
)
LAWS = [
    Normal(),
    Student(6.0),
    AsymmetricJumps(probability=0.05, own_probability=0.03),
    Garch(),
    DynamicCorrelation(news=0.1, memory=0.8),
    RegimeSwitching((stressed_population(POPULATION),), (0.98, 0.95)),
    StudentCopula(4.0),
    StudentCopula(3.0, 6.0),
]


def draw(law, n_observations=300, seed=0):
    return law.draw(POPULATION, n_observations, np.random.default_rng(seed))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_returns_whitened_by_their_path_have_mean_zero_and_unit_covariance(law):
    n_rows = 20_000
    returns, path = draw(law, n_rows, seed=11)
    white = np.array(
        [
            solve_triangular(np.linalg.cholesky(covariance), row, lower=True)
            for row, covariance in zip(returns, path.between(0, n_rows), strict=True)
        ]
    )
    products = np.einsum("ti,tj->tij", white, white)
    error = products.std(axis=0) / np.sqrt(n_rows)
    assert (np.abs(products.mean(axis=0) - np.eye(3)) < 4 * error).all()
    assert (np.abs(white.mean(axis=0)) < 4 / np.sqrt(n_rows)).all()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_row_of_the_path_is_the_same_whichever_rows_are_asked_for(law):
    _, path = draw(law, 60)
    stretch = list(path.between(20, 60))
    for row in (20, 21, 37, 59):
        np.testing.assert_allclose(path.at(row), stretch[row - 20], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(path.mean(20), np.mean(stretch, axis=0), rtol=1e-12, atol=1e-18)
    assert (path.n_observations, path.n_assets) == (60, 3)
    with pytest.raises(ParameterError, match="rows run from 0 to 59"):
        path.at(60)
    with pytest.raises(ParameterError, match="60 rows"):
        path.mean(5, 5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_same_seed_draws_the_same_bits(law):
    np.testing.assert_array_equal(draw(law, seed=1)[0], draw(law, seed=1)[0])
    assert (draw(law, seed=1)[0] != draw(law, seed=2)[0]).any()


def test_garch_variances_follow_their_recursion():
    returns, path = draw(Garch(arch=0.2, garch=0.7))
    level = np.diag(POPULATION.covariance)
    for row in range(1, 300):
        before = np.diag(path.at(row - 1))
        expected = 0.1 * level + 0.2 * returns[row - 1] ** 2 + 0.7 * before
        np.testing.assert_allclose(np.diag(path.at(row)), expected, rtol=1e-12)
    covariance = path.at(200)
    volatility = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(covariance / np.outer(volatility, volatility), POPULATION.correlation, rtol=1e-12)


def test_garch_variances_are_those_of_the_population_on_average_from_the_first_row_on():
    first = np.array([np.diag(draw(Garch(0.1, 0.8), 1, seed)[1].at(0)) for seed in range(400)])
    error = first.std(axis=0) / np.sqrt(400)
    assert (np.abs(first.mean(axis=0) - np.diag(POPULATION.covariance)) < 4 * error).all()
    assert (first.std(axis=0) > 0).all()


@pytest.mark.parametrize(("news", "memory"), [(0.1, 0.85), (0.3, 0.0), (0.0, 0.9), (0.02, 0.97)])
def test_a_naive_recursion_over_the_returns_gives_the_dynamic_correlations(news, memory):
    returns, path = draw(DynamicCorrelation(news, memory, 0.1, 0.8), 120)
    shocks = path.shocks
    level = POPULATION.correlation
    state, seen = level, []
    for row in range(len(shocks)):
        seen.append(state / np.sqrt(np.outer(np.diag(state), np.diag(state))))
        state = (1 - news - memory) * level + news * np.outer(shocks[row], shocks[row]) + memory * state
    for row in (0, 1, 57, 119):
        volatility = np.sqrt(np.diag(path.at(row)))
        correlation = path.at(row) / np.outer(volatility, volatility)
        np.testing.assert_allclose(correlation, seen[len(shocks) - 120 + row], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(shocks[len(shocks) - 120 + row], returns[row] / volatility, rtol=1e-9)


def test_dynamic_correlations_move_and_constant_ones_do_not():
    correlations = [c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in draw(DynamicCorrelation())[1].between(0, 300)]
    assert np.std(correlations) > 0.02
    constant = [c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in draw(Garch())[1].between(0, 300)]
    assert np.std(constant) < 1e-12


def test_shocks_move_together_as_their_dynamic_correlation_says():
    law = DynamicCorrelation(news=0.1, memory=0.8, arch=0.0, garch=0.0)
    returns, path = law.draw(Population(np.array([[1.0, 0.3], [0.3, 1.0]])), 20_000, np.random.default_rng(2))
    correlation = np.array([covariance[0, 1] for covariance in path.between(0, 20_000)])
    line = stats.linregress(correlation, returns[:, 0] * returns[:, 1])
    assert line.slope == pytest.approx(1.0, abs=4 * line.stderr)
    assert line.stderr < 0.1


def test_jumps_add_the_variance_worked_by_hand_and_fall_more_than_they_rise():
    # p (m^2 + d^2) - p^2 m^2: together 0.1 * (4 + 1) - 0.01 * 4 = 0.46, own 0.2 * (1 + 9) - 0.04 * 1 = 1.96.
    law = AsymmetricJumps(0.1, -2.0, 1.0, 0.2, -1.0, 3.0)
    returns, path = law.draw(Population(np.array([[1.0, 0.0], [0.0, 4.0]])), 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(path.at(0), [[3.42, 0.92], [0.92, 13.68]], rtol=1e-12)
    assert (stats.skew(returns, axis=0) < -0.1).all()


def test_jumps_happen_as_often_as_stated():
    law = AsymmetricJumps(0.1, -100.0, 0.0, 0.02, 50.0, 0.0)
    returns, _ = law.draw(Population(np.eye(2)), 50_000, np.random.default_rng(0))
    returns += 0.1 * -100.0 + 0.02 * 50.0  # what the compensation took
    assert (returns < -25).all(axis=1).mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 / 50_000))
    assert (returns > 25).mean() == pytest.approx(0.02 * 0.9, abs=4 * np.sqrt(0.018 / 100_000))


def test_student_days_are_extreme_for_all_assets_together():
    returns, _ = Student(4.0).draw(Population(np.eye(2)), 20_000, np.random.default_rng(0))
    normal, _ = Normal().draw(Population(np.eye(2)), 20_000, np.random.default_rng(0))
    assert stats.kurtosis(returns).min() > 2
    assert stats.spearmanr(np.abs(returns)).statistic > 0.1 > stats.spearmanr(np.abs(normal)).statistic


def test_regimes_last_and_recur_as_stated():
    calm, crisis = Population(np.eye(1)), Population(9 * np.eye(1))
    returns, path = RegimeSwitching((crisis,), (0.98, 0.92)).draw(calm, 40_000, np.random.default_rng(1))
    in_crisis = path.states == 1
    assert in_crisis.mean() == pytest.approx(0.02 / (0.02 + 0.08), abs=0.03)
    leaves = in_crisis[:-1] & ~in_crisis[1:]
    assert leaves.sum() / in_crisis[:-1].sum() == pytest.approx(0.08, abs=0.008)
    assert returns[in_crisis].std() == pytest.approx(3.0, abs=0.15)
    assert returns[~in_crisis].std() == pytest.approx(1.0, abs=0.03)


def test_the_first_regime_is_stationary():
    others = (Population(4 * np.eye(1)), Population(9 * np.eye(1)))
    law = RegimeSwitching(others, (0.9, 0.8, 0.6))
    first = [law.draw(Population(np.eye(1)), 1, np.random.default_rng(seed))[1].states[0] for seed in range(3000)]
    np.testing.assert_allclose(np.bincount(first) / 3000, np.array([10, 5, 2.5]) / 17.5, atol=0.04)


@pytest.mark.parametrize(("df", "margin"), [(3.0, None), (5.0, None), (3.0, 6.0), (8.0, 4.0), (30.0, None)])
def test_the_correlation_of_a_copula_equals_a_double_integral_over_its_density(df, margin):
    def quantile(y):  # of the margin with unit variance, at the probability of the t quantile y
        tail = stats.t.cdf(-np.abs(y), df)
        x = stats.norm.ppf(tail) if margin is None else stats.t.ppf(tail, margin) * np.sqrt((margin - 2) / margin)
        return -np.sign(y) * x

    step = np.linspace(-15, 15, 1501)
    y = np.sinh(step)
    weighted = quantile(y) * np.cosh(step) * (step[1] - step[0])
    for rho in (0.3, 0.9):
        form = (y[:, None] ** 2 - 2 * rho * y[:, None] * y + y**2) / (1 - rho**2)
        density = (1 + form / df) ** (-(df + 2) / 2) / (2 * np.pi * np.sqrt(1 - rho**2))
        got = copula_correlation(np.array(rho), degrees_of_freedom=df, margin_degrees_of_freedom=margin)
        assert float(got) == pytest.approx(weighted @ density @ weighted, abs=1e-8)


def test_the_correlation_of_a_copula_is_odd_and_keeps_zero_and_one():
    rho = np.array([-1.0, -0.4, 0.0, 0.4, 1.0])
    got = copula_correlation(rho, degrees_of_freedom=3)
    np.testing.assert_allclose(got, -got[::-1], atol=1e-15)
    np.testing.assert_allclose(got[[0, 2, 4]], [-1, 0, 1], atol=1e-12)


@pytest.mark.parametrize(("margin", "law"), [(None, stats.norm()), (5.0, stats.t(5.0, scale=np.sqrt(3 / 5)))])
def test_a_copula_has_the_margins_asked_for(margin, law):
    returns, _ = StudentCopula(3.0, margin).draw(POPULATION, 5000, np.random.default_rng(4))
    for asset in range(3):
        assert stats.kstest(returns[:, asset] / POPULATION.volatility[asset], law.cdf).pvalue > 0.01


def test_a_copula_with_margins_of_its_own_degrees_of_freedom_is_a_multivariate_student():
    copula, copula_path = draw(StudentCopula(5.0, 5.0), seed=3)
    student, student_path = draw(Student(5.0), seed=3)
    np.testing.assert_allclose(copula, student, rtol=1e-10)
    np.testing.assert_allclose(copula_path.at(0), student_path.at(0), rtol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_market_holds_the_returns_drawn_their_path_and_what_draws_them_again(law):
    market = draw_market(POPULATION, law, 80, seed=5)
    returns, path = draw(law, 80, seed=5)
    np.testing.assert_allclose(market.panel.returns.to_numpy(), np.maximum(returns, -0.95), atol=1e-12)
    np.testing.assert_array_equal(market.covariance.to_numpy(), path.at(79))
    np.testing.assert_array_equal(market.covariance_path.at(3), path.at(3))
    assert (market.kind, market.seed) == (f"three-{law.name}", 5)
    stored = json.loads(json.dumps(market.parameters))
    assert stored["population"] == {"name": "three", "made": "by hand"}
    assert stored["dynamics"]["name"] == law.name
    assert market.panel.fingerprint == draw_market(POPULATION, law, 80, seed=5).panel.fingerprint


def test_a_return_below_minus_95_percent_is_cut_and_prices_stay_positive():
    market = draw_market(Population(np.eye(2)), Normal(), 50, seed=0)
    assert market.panel.returns.to_numpy().min() == pytest.approx(-0.95)
    assert market.panel.prices.to_numpy().min() > 0


def test_a_generator_as_seed_leaves_no_seed_behind():
    assert draw_market(factor_covariance(3), Normal(), 5, seed=np.random.default_rng(0)).seed is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Student(2.0),
        lambda: AsymmetricJumps(probability=1.5),
        lambda: AsymmetricJumps(deviation=-1.0),
        lambda: AsymmetricJumps(mean=np.inf),
        lambda: Garch(0.2, 0.8),
        lambda: Garch(-0.1, 0.5),
        lambda: DynamicCorrelation(news=0.5, memory=0.5),
        lambda: RegimeSwitching(()),
        lambda: RegimeSwitching((POPULATION,), 1.0),
        lambda: RegimeSwitching((POPULATION,), (0.9, 0.9, 0.9)),
        lambda: draw(RegimeSwitching((Population(np.eye(2)),))),
        lambda: StudentCopula(0.5),
        lambda: StudentCopula(4.0, 1.0),
        lambda: copula_correlation(np.array([1.5]), degrees_of_freedom=4),
        lambda: draw_market(POPULATION, Normal(), 0),
    ],
)
def test_impossible_options_are_refused(make):
    with pytest.raises(ParameterError):
        make()
