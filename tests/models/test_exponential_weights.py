import numpy as np
import pytest

from eigenfolio.errors import ParameterError
from eigenfolio.models import EWMACovariance, IEWMACovariance


def naive_ewma(x, half_life):
    """Weighted sum of outer products, row by row; gaps are left out pair by pair of own-span scales."""
    n_rows, n_assets = x.shape
    x = x - np.nanmean(x, axis=0)
    w = np.array([0.5 ** ((n_rows - 1 - t) / half_life) for t in range(n_rows)])
    w /= w.sum()
    total = np.zeros((n_assets, n_assets))
    coverage = np.zeros(n_assets)
    for t in range(n_rows):
        row = np.nan_to_num(x[t])
        total += w[t] * np.outer(row, row)
        coverage += w[t] * np.isfinite(x[t])
    return total / np.sqrt(np.outer(coverage, coverage))


def naive_iewma(x, fast, slow, clip):
    x = x - x.mean(axis=0)
    a = 1 - 2 ** (-1 / fast)
    v = np.mean(x[:21] ** 2, axis=0)
    total, b = np.zeros((x.shape[1], x.shape[1])), 2 ** (-1 / slow)
    for row in x:
        z = np.clip(row / np.sqrt(v), -clip, clip)
        total = b * total + np.outer(z, z)
        v = (1 - a) * v + a * row**2
    size = np.sqrt(np.diag(total))
    return total / np.outer(size, size) * np.outer(np.sqrt(v), np.sqrt(v))


@pytest.mark.parametrize("half_life", [5.0, 63.0, 1e9])
def test_ewma_equals_the_weighted_sum(returns, half_life):
    covariance = EWMACovariance(half_life=half_life).fit(returns).covariance_
    np.testing.assert_allclose(covariance, naive_ewma(returns.to_numpy(), half_life), rtol=1e-10, atol=1e-16)


def test_ewma_with_gaps_keeps_own_span_variances_and_shrinks_by_coverage(returns):
    x = returns.to_numpy().copy()
    x[:200, 1] = np.nan
    x[::7, 4] = np.nan
    np.testing.assert_allclose(EWMACovariance().fit(x).covariance_, naive_ewma(x, 63.0), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("clip", [4.2, 2.0, None])
def test_iterated_ewma_equals_its_recursions(returns, clip):
    model = IEWMACovariance(volatility_half_life=20.0, correlation_half_life=60.0, clip=clip).fit(returns)
    naive = naive_iewma(returns.to_numpy(), 20.0, 60.0, np.inf if clip is None else clip)
    np.testing.assert_allclose(model.covariance_, naive, rtol=1e-10, atol=1e-16)


def test_recent_rows_count_more(returns):
    shaken = returns.copy()
    shaken.iloc[-21:] *= 3
    calm = EWMACovariance(half_life=10).fit(returns).covariance_
    assert np.trace(EWMACovariance(half_life=10).fit(shaken).covariance_) > 4 * np.trace(calm)


@pytest.mark.parametrize(
    "model",
    [
        EWMACovariance(half_life=0),
        EWMACovariance(half_life=np.inf),
        IEWMACovariance(volatility_half_life=-1),
        IEWMACovariance(correlation_half_life="long"),
        IEWMACovariance(clip=0.0),
    ],
)
def test_a_half_life_or_clip_that_is_not_positive_is_refused(returns, model):
    with pytest.raises(ParameterError, match="above 0"):
        model.fit(returns)
