"""Long-run variances and block lengths against slow twins and known processes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from eigenfolio.evaluation.long_run import autocovariances, long_run_variance, politis_white_block, quadratic_spectral


def autoregression(rho, n, seed=0):
    return lfilter([1.0], [1.0, -rho], np.random.default_rng(seed).standard_normal(n + 200))[200:]


def naive_autocovariance(x, lag):
    centred = x - x.mean()
    return sum(centred[t] * centred[t - lag] for t in range(lag, len(x))) / len(x)


def test_autocovariances_equal_a_loop():
    x = autoregression(0.5, 60)
    assert_allclose(autocovariances(x), [naive_autocovariance(x, lag) for lag in range(60)], atol=1e-12)


@pytest.mark.slow  # the import alone takes seconds
def test_the_kernel_is_that_of_arch():
    from arch.covariance.kernel import QuadraticSpectral

    x = autoregression(0.5, 300)
    bandwidth = 4.7
    weights = quadratic_spectral(np.arange(1, 300) / bandwidth)
    gammas = autocovariances(x)
    ours = gammas[0] + 2 * weights @ gammas[1:]
    peer = QuadraticSpectral(x, bandwidth=bandwidth, center=True).cov.long_run
    assert_allclose(ours, np.squeeze(peer), rtol=1e-10)


def test_the_long_run_variance_equals_a_naive_prewhitened_sum():
    x = autoregression(0.4, 200) ** 2
    centred = x - x.mean()
    rho = sum(centred[1:] * centred[:-1]) / sum(centred[:-1] ** 2)
    left = np.array([centred[t] - rho * centred[t - 1] for t in range(1, 200)])
    e = left - left.mean()
    second = sum(e[1:] * e[:-1]) / sum(e[:-1] ** 2)
    bandwidth = 1.3221 * (4 * second**2 / (1 - second) ** 4 * 199) ** 0.2
    total = naive_autocovariance(left, 0)
    for lag in range(1, 199):
        z = 6 * np.pi * lag / bandwidth / 5
        total += 2 * 3 / z**2 * (np.sin(z) / z - np.cos(z)) * naive_autocovariance(left, lag)
    assert_allclose(long_run_variance(x), total / (1 - rho) ** 2)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.8])
def test_the_long_run_variance_of_an_autoregression_is_known(rho):
    assert_allclose(long_run_variance(autoregression(rho, 40_000)), 1 / (1 - rho) ** 2, rtol=0.1)


def test_nothing_that_varies_has_no_variance_and_no_block():
    assert long_run_variance(np.ones(50)) == 0.0
    assert politis_white_block(np.ones(50)) == 0.0


def test_the_block_is_the_formula_of_politis_and_white():
    # A moving average of five rows: five autocorrelations count, so the taper reaches twice as far.
    x = np.convolve(np.random.default_rng(3).standard_normal(2004), np.ones(5), "valid")
    n = len(x)
    gammas = [naive_autocovariance(x, lag) for lag in range(60)]
    limit = 2 * np.sqrt(np.log10(n) / n)
    last = next(m for m in range(60) if all(abs(gammas[m + k] / gammas[0]) < limit for k in range(1, 6)))
    reach = 2 * last
    taper = {k: min(1.0, 2 * (1 - abs(k) / reach)) for k in range(-reach, reach + 1)}
    slope = sum(taper[k] * abs(k) * gammas[abs(k)] for k in taper)
    spectrum = sum(taper[k] * gammas[abs(k)] for k in taper)
    assert_allclose(politis_white_block(x), (2 * slope**2 / (4 / 3 * spectrum**2) * n) ** (1 / 3))


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_the_block_is_near_that_of_arch(rho):
    from arch.bootstrap import optimal_block_length

    x = autoregression(rho, 3000)
    peer = float(optimal_block_length(x)["circular"].iloc[0])  # counts one lag more as significant
    assert 0.6 < politis_white_block(x) / peer < 1.4
