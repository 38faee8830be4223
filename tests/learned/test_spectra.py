"""The two spectra of a window: every number against a slow twin in plain loops, and both ways to the eigenvectors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ortho_group
from sklearn.isotonic import isotonic_regression

from eigenfolio.learned import spectra
from eigenfolio.learned.spectra import (
    ASSET_FEATURES,
    CONTEXT_FEATURES,
    HALF_LIVES,
    SUMMARY_FEATURES,
    TOKEN_FEATURES,
    monotone_eigenvalues,
    spectral_window,
)
from eigenfolio.models.nonlinear_shrinkage import lag_weights, qis_eigenvalues
from eigenfolio.models.window import prepare_window


def returns(n_rows, n_assets, *, seed=0, gaps=False):
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, (n_rows, 1)) * np.exp(0.5 * np.sin(np.arange(n_rows) / 30))[:, None]
    x = 0.01 * (common + rng.standard_t(5, (n_rows, n_assets)) * rng.uniform(0.5, 2.0, n_assets))
    x[rng.random(x.shape) < 0.02] = 0.0
    if gaps:
        x[rng.random(x.shape) < 0.03] = np.nan
        x[: n_rows // 2, : n_assets // 3] = np.nan
    return x


# ---- the slow twin -------------------------------------------------------------------------------------------------


def ewma_weights(n_rows, half_life):
    """What each row's square weighs in the last value of the recursion, found by running it on one row at a time."""
    weights = np.zeros(n_rows)
    for t in range(n_rows):
        squares = np.zeros(n_rows)
        squares[t] = 1.0
        value = squares[:21].mean()
        for square in squares:
            value += (1 - 0.5 ** (1 / half_life)) * (square - value)
        weights[t] = value
    return weights


def ewma_path(values, half_life):
    """Variance known before each of the values, and after the last."""
    path = [np.mean(np.square(values[:21]))]
    for value in values:
        path.append(path[-1] + (1 - 0.5 ** (1 / half_life)) * (value**2 - path[-1]))
    return np.array(path)


def slow_qis(values, n):
    """The formula of the paper, eigenvalue by eigenvalue, with its floors and its trace."""
    n_assets, total = len(values), values.sum()
    values = np.maximum(values, 1e-10 * total / n_assets)
    c = n_assets / n
    h = min(c, 1 / c) ** 0.7 / n_assets**0.35
    seen = values[max(0, n_assets - n) :]
    cleaned = []
    for a in seen:
        theta = np.mean([(1 / b) * (1 / b - 1 / a) / ((1 / b - 1 / a) ** 2 + (h / b) ** 2) for b in seen])
        square = theta**2 + np.mean([h / b**2 / ((1 / b - 1 / a) ** 2 + (h / b) ** 2) for b in seen]) ** 2
        inverse = (1 - c) ** 2 / a + 2 * c * (1 - c) * theta / a + c**2 * square / a if n_assets <= n else square / a
        cleaned.append(1 / inverse)
    null = [1 / ((c - 1) * np.mean(1 / seen))] * (n_assets - n) if n_assets > n else []
    cleaned = np.array(null + cleaned)
    cleaned *= total / cleaned.sum()
    cleaned = np.maximum(cleaned, 1e-4 * total / n_assets)
    return cleaned * total / cleaned.sum()


def clustering(x):
    """Mean of the autocorrelations at lags 1 to 5."""
    x, n = x - x.mean(), len(x)
    return np.mean([(x[lag:] * x[:-lag]).sum() / n for lag in range(1, 6)]) / (x @ x / n)


def slow_world(z, observed):
    sizes = np.array([np.sqrt((z[t] ** 2).sum() / max(observed[t].sum(), 1)) for t in range(len(z))])
    shares = np.abs(z) / (sizes + 0.05)[:, None]
    kurtosis = np.log((sizes**4).mean() / (sizes**2).mean() ** 2)
    return [clustering(np.log(sizes + 0.05)), np.mean([clustering(column) for column in shares.T]), kurtosis]


def slow_spectrum(z, observed, w, own, relative, overlap, coverage, *, center, tilt=1.0):
    n_rows, n_assets = z.shape
    z = z.copy()
    sizes = np.array([np.sqrt((z[t] ** 2).sum() / max(observed[t].sum(), 1)) for t in range(n_rows)])
    z /= np.sqrt(np.maximum(sizes, 0.2 * np.median(sizes)))[:, None]
    for i in range(n_assets):
        seen = observed[:, i]
        if center:
            z[seen, i] -= w[seen] @ z[seen, i] / w[seen].sum()
        z[:, i] /= np.sqrt(w @ z[:, i] ** 2)
    z *= tilt
    correlation = sum(w[t] * np.outer(z[t], z[t]) for t in range(n_rows))
    n = max(round(1 / (w @ w) - (1 if center else 0)), 2)
    values, vectors = np.linalg.eigh(correlation)
    rank = min(n_assets, n, n_rows - (1 if center and n_assets > n_rows else 0))
    values = np.where(np.arange(n_assets) < n_assets - n_rows, 0.0, np.maximum(values, 1e-10))
    clean = isotonic_regression(slow_qis(values, n))
    precision = sum(np.outer(vectors[:, k], vectors[:, k]) / clean[k] for k in range(n_assets))
    u = z @ precision / np.diag(precision)
    tokens = []
    shares = [(overlap @ vectors[:, k]) ** 2 for k in range(n_assets)]
    for k in range(n_assets - 1, n_assets - 1 - rank, -1):
        tokens.append(
            [
                np.log(values[k] + 1e-4),
                np.log(clean[k]),
                (k + 0.5) / n_assets,
                np.log(n_assets * shares[k] + 1e-3),
                np.log(n_assets * (vectors[:, k] ** 4).sum()),
                np.log(k + 1),
                np.log(n_assets - k),
                0.0,
            ]
        )
    if rank < n_assets:
        n_null = n_assets - rank
        left = [max(values[:n_null].sum(), 0) / n_null, sum(shares[:n_null]) / n_null]
        tokens.append(
            [
                np.log(left[0] + 1e-4),
                np.log(clean[0]),
                0.5 * n_null / n_assets,
                np.log(n_assets * left[1] + 1e-3),
                0.0,
                np.log(0.5 * n_null + 1),
                np.log(n_assets - 0.5 * n_null),
                1.0,
            ]
        )
    late = np.arange(n_rows) >= n_rows - 126  # what residuals are measured on
    decays = [np.append(np.zeros(n_rows - late.sum()), ewma_weights(late.sum(), h)) for h in (21.0, 63.0)]
    assets = []
    leading = vectors[:, -1] * np.sign(vectors[:, -1].sum()) * np.sqrt(values[-1])
    for i in range(n_assets):
        seen = observed[:, i] & late
        square = u[seen, i] ** 2
        mass = w[seen] @ square / w[seen].sum()
        every = observed[:, i]
        whole = w[every] @ u[every, i] ** 2 / w[every].sum()
        fast, slow = (d[seen] @ square / d[seen].sum() for d in decays)
        fourth = w[seen] @ square**2 / w[seen].sum()
        assets.append(
            [
                *own[i],
                0.5 * np.log(fast / whole + 1e-6),
                0.5 * np.log(slow / whole + 1e-6),
                -np.log(precision[i, i]),
                np.log(fourth / mass**2 / 3 + 1e-6),
                correlation[i].mean(),
                leading[i],
                np.sqrt((correlation[i] ** 2).mean()),
                relative[i],
                coverage[i],
            ]
        )
    assets = np.array(assets)
    context = np.array([np.log(n_assets / n), np.log(n), np.log(n_assets)])
    off = correlation[~np.eye(n_assets, dtype=bool)]
    summary = [
        off.mean(),
        np.log(values[-1] / n_assets),
        np.log(values[-2] / n_assets),
        np.log(clean[0]),
        np.log(np.median(clean)),
        np.std(relative),
        *assets.mean(axis=0),
        *assets.std(axis=0),
    ]
    logs = np.log(clean[::-1][: rank + (rank < n_assets)])
    return np.array(tokens), assets, context, vectors[:, ::-1][:, :rank], logs, np.array(summary)


def slow_window(window, *, center):
    x, observed, volatility = window.deviations, window.observed, window.volatility
    n_rows, n_assets = x.shape
    z, scaled, own = x / volatility, np.zeros(x.shape), []
    last = np.array([[ewma_path(x[observed[:, i], i], h)[-1] for i in range(n_assets)] for h in HALF_LIVES])
    ewma = np.sqrt([window.led(row) for row in last])
    for i in range(n_assets):
        seen = observed[:, i]
        mine, recent = np.abs(z[seen, i]), np.abs(z[-63:, i][observed[-63:, i]])
        known = np.sqrt(ewma_path(z[seen, i], 21.0)[:-1])
        scaled[seen, i] = np.clip(z[seen, i] / np.maximum(known, 0.25), -6, 6)
        half = np.sqrt(np.pi / 2)
        own.append(
            [
                *np.log(ewma[:, i] / volatility[i]),
                np.log(half * mine.mean() + 1e-3),
                np.log((mine**4).mean() / 3 + 1e-3),
                np.log(mine.max() / 3 + 1e-3),
                np.log(half * (recent.mean() if len(recent) else mine.mean()) + 1e-3),
                3 * (mine < 0.1).mean(),
            ]
        )
    relative = np.log(volatility) - np.median(np.log(volatility))
    overlap = 1 / volatility / np.linalg.norm(1 / volatility)
    coverage = np.log(observed.mean(axis=0))
    common = (np.array(own), relative, overlap, coverage)
    last = slice(max(n_rows - 504, 0), None)
    lagged = lag_weights(min(n_rows, 504), center=center)[0]
    recent = slow_spectrum(scaled[last], observed[last], lagged, *common, center=center)
    residual_variance = 2 * relative + recent[1][:, ASSET_FEATURES.index("log_residual_variance")]
    excess = max(residual_variance.var() - 2 * (lagged @ lagged), 0.0)
    kappa = excess / (excess + 0.03)
    tilt = (volatility / np.median(volatility)) ** (1 - kappa)
    tilt /= np.sqrt((tilt**2).mean())
    steady = slow_spectrum(z, observed, np.full(n_rows, 1 / n_rows), *common, center=center, tilt=tilt)
    found = []
    for tokens, assets, context, vectors, logs, summary in (steady, recent):
        context = np.array([*context, *slow_world(z, observed), kappa])
        found.append((tokens, assets, context, vectors, logs, np.concatenate([context, summary])))
    lead = np.log(ewma[1]) - np.log(volatility)
    sizes = []
    for t in range(max(n_rows - 126, 0), n_rows):
        seen = observed[t]
        led = x[t, seen] / (volatility[seen] * np.exp(0.7 * lead[seen]))
        sizes.append(np.sqrt(np.sum(led**2) / max(seen.sum(), 1)))
    ages = np.arange(len(sizes) - 1, -1, -1)
    level = np.log(np.average(sizes, weights=0.5 ** (ages / 10.0)))
    return found, np.log(ewma[1]), tilt, level


CASES = [
    (90, 12, False),
    (90, 12, True),
    (40, 60, False),
    (40, 60, True),
    (70, 66, False),
    (300, 9, False),
    (300, 9, True),
    (600, 6, True),
]


@pytest.mark.parametrize(("n_rows", "n_assets", "gaps"), CASES)
@pytest.mark.parametrize("center", [True, False])
def test_a_slow_twin_says_the_same_of_every_number(n_rows, n_assets, gaps, center):
    window = prepare_window(returns(n_rows, n_assets, gaps=gaps), assume_centered=not center)
    described = spectral_window(window, center=center)
    twins, log_ewma, tilt, level = slow_window(window, center=center)
    assert_allclose(described.spectra[0].tilt, tilt, rtol=1e-6)
    assert_array_equal(described.spectra[1].tilt, 1.0)
    assert_allclose(described.log_ewma_volatility, log_ewma, rtol=1e-12)
    assert_allclose(described.log_volatility, np.log(window.volatility), rtol=1e-12)
    for spectrum, (tokens, assets, context, vectors, logs, _) in zip(described.spectra, twins, strict=True):
        assert spectrum.tokens.shape == (len(tokens), len(TOKEN_FEATURES))
        for k, name in enumerate(TOKEN_FEATURES):
            assert_allclose(spectrum.tokens[:, k], tokens[:, k], rtol=1e-6, atol=1e-6, err_msg=name)
        for k, name in enumerate(ASSET_FEATURES):  # residuals are in single precision
            assert_allclose(spectrum.assets[:, k], assets[:, k], rtol=1e-5, atol=3e-5, err_msg=name)
        assert_allclose(spectrum.context, context, rtol=1e-6, atol=1e-9)
        assert_allclose(np.abs(np.sum(spectrum.vectors * vectors, axis=0)), 1.0, rtol=1e-6)
        assert_allclose(spectrum.log_eigenvalues, logs, atol=1e-6)
    expected = np.concatenate([*(twin[5] for twin in twins), [level]])
    for k, name in enumerate(SUMMARY_FEATURES):
        assert_allclose(described.summary[k], expected[k], rtol=1e-5, atol=3e-5, err_msg=name)


def test_the_names_are_as_many_as_the_numbers():
    described = spectral_window(prepare_window(returns(60, 5)))
    assert described.summary.shape == (len(SUMMARY_FEATURES),) == (len(set(SUMMARY_FEATURES)),)
    assert described.spectra[0].assets.shape == (5, len(ASSET_FEATURES))
    assert described.spectra[0].context.shape == (len(CONTEXT_FEATURES),)


@pytest.mark.parametrize("n_lost", [0, 1])
def test_the_matrix_of_rows_leads_to_the_eigenvectors_of_the_matrix_of_assets(n_lost):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((30, 50))
    z -= n_lost * z.mean(axis=0)
    z /= np.linalg.norm(z, axis=0)
    values, rows, sums = spectra._eigen(z, np.zeros(50, dtype=bool), np.ones(50), n_lost=n_lost)
    assert_allclose(sums, (z.T @ z).sum(axis=0), atol=1e-12)
    expected, vectors = np.linalg.eigh(z.T @ z)
    assert len(values) == 30 - n_lost
    assert_allclose(values, expected[::-1][: len(values)], rtol=1e-10)
    assert_allclose(rows @ rows.T, np.eye(len(values)), atol=1e-12)
    assert_allclose(np.abs(np.sum(rows.T * vectors[:, ::-1][:, : len(values)], axis=0)), 1.0, atol=1e-9)


def test_assets_that_do_not_move_stand_alone_with_eigenvalue_one_whichever_way_is_shorter():
    for n_rows in (30, 80):
        z = np.random.default_rng(0).standard_normal((n_rows, 50))
        still = np.zeros(50, dtype=bool)
        still[[3, 40]] = True
        z[:, still] = 0.0
        z[:, ~still] /= np.linalg.norm(z[:, ~still], axis=0)
        values, rows, sums = spectra._eigen(z, still, np.ones(50), n_lost=0)
        assert_allclose(sums, (z.T @ z).sum(axis=0), atol=1e-12)
        assert np.all(np.diff(values) <= 0)
        assert_allclose(rows @ rows.T, np.eye(len(values)), atol=1e-12)
        full = z.T @ z + np.diag(still.astype(float))
        assert_allclose(rows.T * values @ rows, full, atol=1e-9)
        assert np.sum(np.isclose(values, 1.0, atol=1e-12)) >= 2


def test_directions_without_variance_join_the_null_space_when_assets_outnumber_rows():
    x = np.tile(returns(40, 10), 6)  # sixty columns of rank ten
    for spectrum in spectral_window(prepare_window(x)).spectra:
        assert spectrum.rank == 10
        assert np.isfinite(spectrum.tokens).all()
        assert np.isfinite(spectrum.assets).all()
        assert_allclose(spectrum.vectors.T @ spectrum.vectors, np.eye(10), atol=1e-10)


def test_the_unit_of_the_returns_does_not_matter():
    x = returns(100, 9, gaps=True)
    one, other = (spectral_window(prepare_window(c * x)) for c in (1.0, 250.0))
    assert_allclose(other.summary, one.summary, atol=1e-4)
    for a, b in zip(one.spectra, other.spectra, strict=True):
        assert_allclose(b.tokens, a.tokens, atol=1e-8)
        assert_allclose(b.assets, a.assets, atol=1e-4)


def test_a_window_is_left_as_it_was():
    window = prepare_window(returns(60, 8, gaps=True))
    before = {name: getattr(window, name).copy() for name in ("deviations", "observed", "columns", "variance")}
    spectral_window(window)
    for name, value in before.items():
        assert_array_equal(getattr(window, name), value)


def test_pooling_adjacent_violators_is_isotonic_regression():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 100):
        y = np.sort(rng.random(n)) + 0.3 * rng.random(n)
        assert_allclose(monotone_eigenvalues(y), isotonic_regression(y), rtol=1e-12)
        assert monotone_eigenvalues(y).sum() == pytest.approx(y.sum())


def test_the_slow_qis_of_these_tests_is_the_one_of_the_package():
    for n_assets, n in ((10, 40), (40, 10)):
        values = np.sort(np.random.default_rng(0).random(n_assets)) * (np.arange(n_assets) >= n_assets - n)
        assert_allclose(qis_eigenvalues(values, n_observations=n, minimum=1e-4), slow_qis(values, n), rtol=1e-10)


def test_ranks_and_shares_of_a_flat_population_are_those_worked_by_hand():
    basis = ortho_group.rvs(4, random_state=0)
    x = 0.01 * np.vstack([basis, -basis] * 20)  # 160 rows whose sample covariance is a multiple of the identity
    tokens = spectral_window(prepare_window(x)).spectra[0].tokens
    assert_allclose(tokens[:, 2], [0.875, 0.625, 0.375, 0.125])
    assert_allclose(np.exp(tokens[:, 5]), [4, 3, 2, 1])
    assert_allclose(np.exp(tokens[:, 6]), [1, 2, 3, 4])
    assert_allclose(np.exp(tokens[:, 0]).sum(), 4.0004, rtol=1e-12)


def test_equal_residual_variances_ask_for_the_covariance_and_dispersed_ones_for_the_correlation():
    rng = np.random.default_rng(0)
    loaded = rng.standard_normal((400, 1)) * rng.uniform(0.5, 1.0, 30)  # variances differ, residual ones do not
    alike = spectral_window(prepare_window(loaded + rng.standard_normal((400, 30))))
    unlike = spectral_window(prepare_window(rng.standard_normal((400, 30)) * np.exp(rng.standard_normal(30))))
    at = CONTEXT_FEATURES.index("standardisation")
    assert alike.spectra[0].context[at] < 0.4
    assert unlike.spectra[0].context[at] > 0.95
    assert np.corrcoef(np.log(alike.spectra[0].tilt), alike.log_volatility)[0, 1] > 0.999


def test_rows_that_cluster_are_told_from_independent_ones():
    rng = np.random.default_rng(0)
    calm = rng.standard_normal((500, 20))
    waves = calm * np.exp(np.sin(np.arange(500) / 20))[:, None]
    own = calm * np.exp(np.sin(np.arange(500)[:, None] / 20 + rng.uniform(0, 6, 20)))
    found = [spectral_window(prepare_window(x)).spectra[0].context[3:5] for x in (calm, waves, own)]
    assert np.abs(found[0]).max() < 0.06
    assert found[1][0] > 0.5
    assert found[2][1] > 0.2 > 0.1 > found[1][1]
