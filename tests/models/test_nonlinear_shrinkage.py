import numpy as np
import pytest

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import QIS, QuadraticInverseShrinkage, champion_covariance, qis_eigenvalues

VECTOR = [1.05110409, 5.74856292, 7.43945527, 16.12639934, 26.06263523, 33.66413137, 49.91430172, 66.14300612]


def naive_qis(values, n):
    """The published listing, sum by sum."""
    p = len(values)
    c = p / n
    h = min(c**2, 1 / c**2) ** 0.35 / p**0.35
    inverse = 1 / values[max(0, p - n) :]
    cleaned = []
    for own in inverse:
        theta = np.mean([lj * (lj - own) / ((lj - own) ** 2 + h**2 * lj**2) for lj in inverse])
        conjugate = np.mean([lj * h * lj / ((lj - own) ** 2 + h**2 * lj**2) for lj in inverse])
        amplitude = theta**2 + conjugate**2
        if p <= n:
            cleaned.append(1 / ((1 - c) ** 2 * own + 2 * c * (1 - c) * own * theta + c**2 * own * amplitude))
        else:
            cleaned.append(1 / (own * amplitude))
    if p > n:
        cleaned = [1 / ((c - 1) * np.mean(inverse))] * (p - n) + cleaned
    cleaned = np.array(cleaned)
    return cleaned * values.sum() / cleaned.sum()


def naive_spectrum_b(x):
    """Devolatilised, lag-weighted correlation in loops, complete data."""
    x = x - x.mean(axis=0)
    n_rows = len(x)
    a = 1 - 2 ** (-1 / 21)
    s = np.sqrt(np.mean(x**2, axis=0))
    v = np.mean(x[:21] ** 2, axis=0)
    z = np.empty_like(x)
    for t in range(n_rows):
        z[t] = np.clip(x[t] / np.maximum(np.sqrt(v), 0.25 * s), -6, 6)
        v = (1 - a) * v + a * x[t] ** 2
    w = np.array([1 / (1 + (n_rows - 1 - t) / 63) for t in range(n_rows)])
    w /= w.sum()
    z = z - w @ z
    c = sum(w[t] * np.outer(z[t], z[t]) for t in range(n_rows))
    c = c / np.sqrt(np.outer(np.diag(c), np.diag(c)))
    return c, max(round(1 / np.sum(w**2) - 1), 2)


def naive_ewma_volatility(x, half_life):
    x = x - x.mean(axis=0)
    a = 1 - 2 ** (-1 / half_life)
    v = np.mean(x[:21] ** 2, axis=0)
    for row in x:
        v = (1 - a) * v + a * row**2
    return np.sqrt(v)


def test_the_published_python_code_gives_the_same_eigenvalues():
    x = np.random.RandomState(0).randn(60, 8) * np.arange(1, 9)
    covariance = QuadraticInverseShrinkage().fit(x).covariance_
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), VECTOR, rtol=1e-8)
    assert np.trace(covariance) == pytest.approx(206.1495960572, rel=1e-12)


@pytest.mark.parametrize(("n_assets", "n"), [(8, 59), (30, 31), (30, 30), (40, 15), (200, 59), (5, 1), (1, 10)])
def test_eigenvalues_equal_the_listing_for_any_shape(n_assets, n):
    x = np.random.default_rng(1).standard_normal((n, n_assets)) * np.linspace(1, 3, n_assets)
    values = np.linalg.eigvalsh(x.T @ x / n)
    if n_assets > n:
        values[: n_assets - n] = 0.0
    np.testing.assert_allclose(qis_eigenvalues(values, n_observations=n), naive_qis(values, n), rtol=1e-9)


def test_more_assets_than_rows_give_full_rank_and_the_trace():
    # Published Python code with a general eigensolver: rank 137 of 200, trace 568 instead of 717.
    rng = np.random.default_rng(0)
    variances = rng.choice([1, 3, 10], 200, p=[0.2, 0.4, 0.4])
    x = rng.standard_normal((60, 200)) * np.sqrt(variances)
    covariance = QIS().fit(x).covariance_
    assert np.trace(covariance) == pytest.approx(np.trace(np.cov(x.T)), rel=1e-12)
    assert np.linalg.eigvalsh(covariance)[0] > 0.1
    error = np.linalg.norm(covariance - np.diag(variances))
    assert error < 0.5 * np.linalg.norm(np.cov(x.T) - np.diag(variances))
    assert error < 0.6 * np.linalg.norm(variances)


def test_shrunk_eigenvalues_are_nearer_to_the_truth():
    x = np.random.default_rng(0).standard_normal((200, 100))
    sample = np.linalg.norm(np.cov(x.T) - np.eye(100))
    assert np.linalg.norm(QIS().fit(x).covariance_ - np.eye(100)) < 0.2 * sample


@pytest.mark.parametrize("n_rows", [10, 60, 320])
def test_the_correlation_is_cleaned_and_volatilities_are_kept(returns, n_rows):
    x = returns.to_numpy()[:n_rows]
    values, vectors = np.linalg.eigh(np.corrcoef(x.T))
    if n_rows <= x.shape[1]:
        values[: x.shape[1] - n_rows + 1] = 0.0
    cleaned = (vectors * naive_qis(np.maximum(values, 1e-10), n_rows - 1)) @ vectors.T
    volatility = x.std(axis=0)
    loose = QIS(on="correlation", unit_diagonal=False).fit(x).covariance_
    np.testing.assert_allclose(loose, cleaned * np.outer(volatility, volatility), rtol=1e-6, atol=1e-10)
    tight = QIS(on="correlation").fit(x).covariance_
    np.testing.assert_allclose(np.diag(tight), volatility**2, rtol=1e-12)


def test_the_champion_equals_its_definition(returns):
    x = returns.to_numpy()[-252:]
    correlation, n = naive_spectrum_b(x)
    values, vectors = np.linalg.eigh(correlation)
    cleaned = np.maximum(naive_qis(values, n), 1e-4)
    cleaned = (vectors * cleaned) @ vectors.T
    cleaned /= np.sqrt(np.outer(np.diag(cleaned), np.diag(cleaned)))
    volatility = naive_ewma_volatility(x, 63)
    model = champion_covariance(lookback=252).fit(returns)
    np.testing.assert_allclose(model.covariance_, cleaned * np.outer(volatility, volatility), rtol=1e-10, atol=1e-16)


def test_the_champion_reads_the_stated_settings():
    model = champion_covariance(lookback=252)
    assert (model.on, model.volatility, model.half_life) == ("devolatilised_correlation", "ewma", 63.0)
    assert model.unit_diagonal
    assert model.lookback == 252


@pytest.mark.parametrize(
    "options",
    [
        {"half_life": 20.0},
        {"volatility": "ewma"},
        {"unit_diagonal": False},
        {"on": "correlation", "half_life": 20.0},
        {"on": "correlation", "volatility": "ewma", "half_life": -1.0},
        {"on": "correlation", "volatility": "implied"},
        {"on": "returns"},
    ],
)
def test_an_option_that_is_wrong_or_not_read_is_an_error(returns, options):
    with pytest.raises(ParameterError):
        QIS(**options).fit(returns)


def test_the_floor_keeps_the_trace_and_repeated_eigenvalues_stay_finite():
    values = np.array([0.0, 0.0, 1.0, 1.0, 8.0])
    cleaned = qis_eigenvalues(values, n_observations=100, minimum=1e-4)
    assert np.isfinite(cleaned).all()
    assert cleaned.sum() == pytest.approx(10.0)
    assert cleaned.min() > 1e-4


@pytest.mark.parametrize("values", [[2.0, 1.0], [np.nan, 1.0], [0.0, 0.0]])
def test_what_are_no_eigenvalues_is_refused(values):
    with pytest.raises(DataError, match="ascending"):
        qis_eigenvalues(np.array(values), n_observations=10)
    with pytest.raises(ParameterError, match="n_observations"):
        qis_eigenvalues(np.ones(2), n_observations=0)
