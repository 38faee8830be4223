import numpy as np
import pytest

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import AverageOracle, BestConstantShrinkage
from eigenfolio.models.calibrated_shrinkage import past_splits

OPTIONS = {"lookback": 60, "horizon": 20, "step": 10, "n_windows": 8}


def naive_oracle(x, *, lookback, horizon, step, n_windows):
    """Average oracle of a complete panel in plain loops."""
    n_rows, n_assets = x.shape
    spectra = []
    for k in range(n_windows):
        end = n_rows - horizon - k * step
        if end < lookback:
            break
        _, vectors = np.linalg.eigh(np.corrcoef(x[end - lookback : end].T))
        following = np.corrcoef(x[end : end + horizon].T)
        spectra.append([vectors[:, i] @ following @ vectors[:, i] for i in range(n_assets)])
    last = x[-lookback:]
    _, vectors = np.linalg.eigh(np.corrcoef(last.T))
    correlation = vectors @ np.diag(np.mean(spectra, axis=0)) @ vectors.T
    return correlation * np.outer(last.std(axis=0), last.std(axis=0))


def naive_best_constant(x, grid, *, lookback, horizon, step, n_windows):
    losses = np.zeros(len(grid))
    for k in range(n_windows):
        end = len(x) - horizon - k * step
        if end < lookback:
            break
        past, following = x[end - lookback : end], x[end : end + horizon]
        for g, intensity in enumerate(grid):
            correlation = (1 - intensity) * np.corrcoef(past.T) + intensity * np.eye(x.shape[1])
            covariance = correlation * np.outer(past.std(axis=0), past.std(axis=0))
            weights = np.linalg.solve(covariance, np.ones(x.shape[1]))
            losses[g] += np.log(np.var(following @ (weights / weights.sum())))
    return grid[int(np.argmin(losses))]


def test_the_average_oracle_equals_its_definition(returns):
    x = returns.to_numpy()
    np.testing.assert_allclose(
        AverageOracle(**OPTIONS).fit(x).covariance_, naive_oracle(x, **OPTIONS), rtol=1e-9, atol=1e-14
    )


def test_the_average_oracle_keeps_the_trace_and_takes_ewma_volatilities(returns):
    model = AverageOracle(**OPTIONS, volatility="ewma", half_life=20.0).fit(returns)
    assert model.eigenvalues_.sum() == pytest.approx(12.0)
    sample = AverageOracle(**OPTIONS).fit(returns)
    ratio = np.sqrt(np.diag(model.covariance_) / np.diag(sample.covariance_))
    np.testing.assert_allclose(model.covariance_, sample.covariance_ * np.outer(ratio, ratio), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_constant_is_the_one_that_realised_the_calmest_portfolios(make_market, seed):
    x = make_market(200, 15, seed).to_numpy()
    grid = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    model = BestConstantShrinkage(**OPTIONS, grid=grid).fit(x)
    assert model.shrinkage_ == naive_best_constant(x, grid, **OPTIONS)
    window = x[-60:]
    volatility = window.std(axis=0)
    correlation = (1 - model.shrinkage_) * np.corrcoef(window.T) + model.shrinkage_ * np.eye(15)
    np.testing.assert_allclose(model.covariance_, correlation * np.outer(volatility, volatility), rtol=1e-10)


def test_short_windows_of_unrelated_assets_call_for_more_shrinkage():
    x = np.random.default_rng(0).standard_normal((300, 40)) * 0.01
    assert BestConstantShrinkage(lookback=50, step=10).fit(x).shrinkage_ > 0.6


@pytest.mark.parametrize("model", [AverageOracle, BestConstantShrinkage])
def test_a_history_too_short_says_how_many_rows_it_needs(returns, model):
    with pytest.raises(DataError, match=r"needs 80 rows .* got 79"):
        model(**OPTIONS).fit(returns[:79])
    model(**OPTIONS).fit(returns[:80])


@pytest.mark.parametrize("model", [AverageOracle, BestConstantShrinkage])
def test_assets_without_a_past_are_served_from_those_that_have_one(returns, model):
    x = returns.to_numpy().copy()
    x[:-30, 7] = np.nan
    x[::9, 2] = np.nan
    fitted = model(**OPTIONS).fit(x)
    assert np.linalg.eigvalsh(fitted.covariance_)[0] > 0
    assert fitted.diagnostics_["n_windows"] == 8
    x[:-30, 1:8] = np.nan
    with pytest.raises(DataError, match="past windows has half"):
        model(**OPTIONS).fit(x)


@pytest.mark.parametrize("model", [AverageOracle, BestConstantShrinkage])
@pytest.mark.parametrize("option", [{"lookback": None}, {"horizon": 1}, {"step": 0}, {"n_windows": 2.5}])
def test_options_are_checked(returns, model, option):
    with pytest.raises(ParameterError, match="must be a whole number"):
        model(**(OPTIONS | option)).fit(returns)


@pytest.mark.parametrize("grid", [[], [0.0, 0.5], [1.5], [[0.5]]])
def test_a_grid_outside_zero_and_one_is_refused(returns, grid):
    with pytest.raises(ParameterError, match="grid"):
        BestConstantShrinkage(**OPTIONS, grid=grid).fit(returns)


def test_past_windows_end_before_what_judges_them_and_that_before_the_last_row():
    splits = past_splits(500, lookback=100, horizon=42, step=21, n_windows=1000)
    assert splits[-1] + 42 == 500
    assert splits[0] >= 100
    assert splits[0] - 21 < 100
    assert set(np.diff(splits)) == {21}
