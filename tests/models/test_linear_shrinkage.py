import numpy as np
import pytest
from sklearn import covariance as reference

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.linalg import constant_correlation_target, single_factor_target
from eigenfolio.models import OAS, LedoitWolf, SampleCovariance, ledoit_wolf_identity_intensity

SHAPES = [(60, 8), (20, 40), (4, 5), (30, 1)]


def gaussian(shape):
    return np.random.default_rng(3).standard_normal(shape) * np.linspace(0.5, 2.0, shape[1]) * 0.01


def naive_intensity(x, target):
    """The published estimators [2] [3], entry by entry: mean products instead of matrix algebra."""
    n_rows, n_assets = x.shape
    x = x - x.mean(axis=0)
    s = x.T @ x / n_rows
    vol = np.sqrt(np.diag(s))
    market = x.mean(axis=1)
    s_market = x.T @ market / n_rows
    s_00 = market @ market / n_rows
    if target == "constant_correlation":
        prior = constant_correlation_target(s)
        pairs = [(i, j) for i in range(n_assets) for j in range(n_assets) if i != j]
        mean = np.mean([s[i, j] / (vol[i] * vol[j]) for i, j in pairs])
    else:
        prior = single_factor_target(s)
    pi = rho = 0.0
    for i in range(n_assets):
        for j in range(n_assets):
            gap = x[:, i] * x[:, j] - s[i, j]
            variance = np.mean(gap**2)
            pi += variance
            if i == j:
                rho += variance
            elif target == "constant_correlation":
                for k, other in ((i, j), (j, i)):
                    theta = np.mean((x[:, k] ** 2 - s[k, k]) * gap)
                    rho += 0.5 * mean * vol[other] / vol[k] * theta
            else:
                mixed = s_market[j] * s_00 * x[:, i] + s_market[i] * s_00 * x[:, j]
                mixed -= s_market[i] * s_market[j] * market
                rho += np.mean(mixed / s_00**2 * market * x[:, i] * x[:, j]) - prior[i, j] * s[i, j]
    gamma = np.sum((s - prior) ** 2)
    return min(max((pi - rho) / gamma / n_rows, 0.0), 1.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(LedoitWolf, reference.LedoitWolf), (OAS, reference.OAS)], ids=["LedoitWolf", "OAS"]
)
def test_values_equal_scikit_learn(ours, theirs, shape, centered):
    x = gaussian(shape)
    a, b = ours(assume_centered=centered).fit(x), theirs(assume_centered=centered).fit(x)
    assert a.shrinkage_ == pytest.approx(b.shrinkage_, rel=1e-12)
    np.testing.assert_allclose(a.covariance_, b.covariance_, rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(a.location_, b.location_, rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
def test_the_sample_covariance_equals_scikit_learn(centered):
    x = gaussian((60, 8))
    theirs = reference.EmpiricalCovariance(assume_centered=centered).fit(x)
    ours = SampleCovariance(assume_centered=centered).fit(x)
    np.testing.assert_allclose(ours.covariance_, theirs.covariance_, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("target", ["constant_correlation", "single_factor"])
@pytest.mark.parametrize("n_rows", [8, 60, 320])
def test_intensities_equal_the_published_sums(returns, target, n_rows):
    x = returns.to_numpy()[:n_rows]
    model = LedoitWolf(target=target).fit(x)
    assert 0 < model.shrinkage_ < 1
    assert model.shrinkage_ == pytest.approx(naive_intensity(x, target), rel=1e-9)
    expected = (1 - model.shrinkage_) * np.cov(x.T, bias=True) + model.shrinkage_ * model.target_
    np.testing.assert_allclose(model.covariance_, expected, rtol=1e-12)
    np.testing.assert_allclose(np.diag(model.covariance_), x.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("target", ["constant_correlation", "single_factor"])
def test_intensities_on_the_correlation_are_those_of_standardised_returns(returns, target):
    x = returns.to_numpy()[:60]
    model = LedoitWolf(target=target, on="correlation").fit(x)
    assert model.shrinkage_ == pytest.approx(naive_intensity(x / x.std(axis=0), target), rel=1e-9)


def test_the_identity_on_the_correlation_is_scikit_learn_on_standardised_returns(returns):
    x = returns.to_numpy()[:100]
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = reference.LedoitWolf(assume_centered=True).fit(z)
    model = LedoitWolf(on="correlation").fit(x)
    assert model.shrinkage_ == pytest.approx(theirs.shrinkage_, rel=1e-12)
    assert ledoit_wolf_identity_intensity(z) == pytest.approx(theirs.shrinkage_, rel=1e-12)
    expected = theirs.covariance_ * np.outer(x.std(axis=0), x.std(axis=0))
    np.testing.assert_allclose(model.covariance_, expected, rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(np.diag(model.covariance_), x.var(axis=0), rtol=1e-12)


def test_one_loud_asset_does_not_set_the_intensity_of_the_correlation(returns):
    loud = returns.copy()
    loud["A00"] *= 100
    quiet_intensity = LedoitWolf(on="correlation").fit(returns).shrinkage_
    assert LedoitWolf(on="correlation").fit(loud).shrinkage_ == pytest.approx(quiet_intensity, rel=1e-10)


@pytest.mark.parametrize("options", [{"target": "unity"}, {"on": "prices"}])
def test_an_unknown_option_is_refused(returns, options):
    with pytest.raises(ParameterError, match=f"{next(iter(options))} must be"):
        LedoitWolf(**options).fit(returns)


@pytest.mark.parametrize("z", [np.zeros(3), np.full((3, 2), np.nan), np.empty((0, 2))])
def test_the_plain_intensity_refuses_what_is_no_table(z):
    with pytest.raises(DataError, match="finite"):
        ledoit_wolf_identity_intensity(z)
