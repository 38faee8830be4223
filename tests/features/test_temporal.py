"""Temporal features: by hand, a slow twin, recovered truths (GARCH, fractional noise, decaying structure), laws."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy.optimize import minimize

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.temporal import TEMPORAL_FEATURES, fit_garch, hurst_exponent, temporal_features
from eigenfolio.panel import Panel

LOOKBACK = 126
ARCH_8_ALPHA, ARCH_8_PERSISTENCE = 0.068536, 0.974803  # arch 8.0.0 on `arch_series`


def panel_of(values) -> Panel:
    values = np.asarray(values, dtype=float)
    index = pd.bdate_range("2010-01-04", periods=len(values))
    return Panel.from_returns(pd.DataFrame(values, index=index, columns=[f"A{i}" for i in range(values.shape[1])]))


def last(values, *, lookback: int = LOOKBACK) -> pd.Series:
    return temporal_features(panel_of(values), [len(values) - 1], lookback=lookback).iloc[0]


def noise(n_rows: int, n_assets: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))


@pytest.fixture(scope="module")
def gappy() -> Panel:
    """Seven assets of which one is listed late, one is delisted, one has many gaps and one does not move at first."""
    values = noise(560, 7, seed=5)
    values[:480, 1] = np.nan
    values[500:, 2] = np.nan
    values[np.random.default_rng(6).random(560) < 0.15, 3] = np.nan
    values[:450, 4] = 0.0
    return panel_of(values)


def garch_returns(n_rows, alpha, beta, *, seed, burn_in=500) -> np.ndarray:
    variance, returns = 1.0, np.empty(n_rows + burn_in)
    for row, shock in enumerate(np.random.default_rng(seed).standard_normal(n_rows + burn_in)):
        returns[row] = shock * math.sqrt(variance)
        variance = (1 - alpha - beta) + alpha * returns[row] ** 2 + beta * variance
    return returns[burn_in:]


def fractional_noise(n_rows, hurst, *, seed) -> np.ndarray:
    """Exact fractional Gaussian noise by embedding its covariance in a circulant."""
    k = np.arange(n_rows + 1.0)
    covariance = 0.5 * ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + np.abs(k - 1) ** (2 * hurst))
    spectrum = np.fft.fft(np.r_[covariance, covariance[-2:0:-1]]).real
    real, imaginary = np.random.default_rng(seed).standard_normal((2, len(spectrum)))
    return np.fft.fft(np.sqrt(spectrum.clip(0) / len(spectrum)) * (real + 1j * imaginary)).real[:n_rows]


# --- slow twins: plain loops over what the module docstring says


def seen(column) -> list[float]:
    return [float(value) for value in column if not math.isnan(value)]


def slow_std(column, needed) -> float:
    numbers = seen(column)
    if len(numbers) < needed or max(numbers) == min(numbers):
        return math.nan
    return float(np.std(numbers, ddof=1))


def slow_mean(numbers) -> float:
    finite = [number for number in numbers if math.isfinite(number)]
    return sum(finite) / len(finite) if finite else math.nan


def slow_usable(windows) -> list[int]:
    def fine(column):
        numbers = seen(column)
        return 3 * len(numbers) >= 2 * len(column) and max(numbers) > min(numbers)

    return [asset for asset in range(windows[0].shape[1]) if all(fine(window[:, asset]) for window in windows)]


def slow_correlation(window, assets) -> np.ndarray:
    result = np.eye(len(assets))
    for a, i in enumerate(assets):
        for b, j in enumerate(assets):
            x, y = window[:, i] - np.nanmean(window[:, i]), window[:, j] - np.nanmean(window[:, j])
            product = sum(p * q for p, q in zip(x, y, strict=True) if not math.isnan(p * q))
            result[a, b] = product / math.sqrt(np.nansum(x**2) * np.nansum(y**2))
    return result


def slow_change(before, after) -> float:
    assets = slow_usable([before, after])
    C, D = slow_correlation(before, assets), slow_correlation(after, assets)
    return slow_mean([abs(C[i, j] - D[i, j]) for i in range(len(assets)) for j in range(i)])


def slow_overlap(before, after) -> float:
    assets = slow_usable([before, after])
    n = len(assets)
    k = max(1, min(5, n // 4))
    V = np.linalg.eigh(slow_correlation(before, assets))[1][:, -k:]
    W = np.linalg.eigh(slow_correlation(after, assets))[1][:, -k:]
    share = sum((V[:, a] @ W[:, b]) ** 2 for a in range(k) for b in range(k)) / k
    return (share - k / n) / (1 - k / n)


def slow_decay(window) -> tuple[float, float, float]:
    n_blocks = len(window) // 21
    blocks = [window[len(window) - 21 * b : len(window) - 21 * b + 21] for b in range(n_blocks, 0, -1)]
    assets = slow_usable(blocks)
    pairs = [(i, j) for i in range(len(assets)) for j in range(i)]
    vectors = [[C[i, j] for i, j in pairs] for C in (slow_correlation(block, assets) for block in blocks)]
    r = {
        lag: slow_mean([np.corrcoef(vectors[b], vectors[b + lag])[0, 1] for b in range(n_blocks - lag)])
        for lag in range(1, max(3, n_blocks // 2) + 1)
    }
    lags = list(range(1, n_blocks // 2 + 1))
    floored = [max(r[lag], 0.01) for lag in lags]
    slope = np.polyfit(lags, np.log(floored), 1, w=floored)[0]
    return r[1], r[3], -slope if r[1] >= 0.01 else math.nan


def slow_autocorrelation(series, lag) -> float:
    mean = slow_mean(series)
    pairs = [(x, y) for x, y in zip(series[lag:], series[:-lag], strict=True) if not math.isnan(x + y)]
    return slow_mean([(x - mean) * (y - mean) for x, y in pairs]) / np.var(seen(series))


def slow_volatility_of_volatility(series) -> float:
    logs = []
    for stop in range(21, len(series) + 1):
        numbers = seen(series[stop - 21 : stop])
        if len(numbers) >= 14 and any(numbers):
            logs.append(0.5 * math.log(np.mean(np.square(numbers))))
    return float(np.std(logs, ddof=1)) if len(logs) >= 21 else math.nan


def slow_hurst(series) -> float:
    x = np.array(seen(series))
    if len(x) < 126:
        return math.nan
    profile = np.cumsum(x - x.mean())
    scales = sorted({round(8 * (len(x) / 32) ** (j / 7)) for j in range(8)})
    logs, weights = [], []
    for s in scales:
        n_blocks = len(x) // s
        residuals = []
        for block in range(n_blocks):
            part = profile[len(x) - (block + 1) * s : len(x) - block * s]
            residuals.append(np.mean((part - np.polyval(np.polyfit(np.arange(s), part, 1), np.arange(s))) ** 2))
        logs.append(0.5 * math.log(np.mean(residuals) / ((s * s - 4) / (15 * s))))
        weights.append(n_blocks)
    return 0.5 + np.polyfit(np.log(scales), logs, 1, w=np.sqrt(weights))[0]


def slow_garch(series) -> tuple[float, float, float]:
    x = np.array(seen(series))
    x = (x - x.mean()) / x.std()

    def loss(parameters):
        persistence, alpha = parameters[0], parameters[0] * parameters[1]
        variance, total = 1.0, 0.0
        for square in (x * x).tolist():
            total += 0.5 * (math.log(variance) + square / variance)
            variance = 1 - persistence + alpha * square + (persistence - alpha) * variance
        return total / len(x)

    starts = [(0.5, 0.1), (0.97, 0.06), (0.9, 0.2)]
    fits = [minimize(loss, start, bounds=[(1e-5, 0.9999), (1e-5, 1 - 1e-5)], method="L-BFGS-B") for start in starts]
    best = min(fits, key=lambda fit: fit.fun)
    return best.x[0], best.x[0] * best.x[1], 0.5 - best.fun


def slow_features(returns: np.ndarray, lookback: int) -> dict[str, float]:
    window = returns[-lookback:]
    counted = [
        a for a in range(returns.shape[1]) if seen(window[-21:, a]) and len(seen(window[:, a])) >= 21
    ]  # fmt: skip
    market = np.array([slow_mean(row) for row in returns])
    recent = returns[:, counted]
    found = {}
    for horizon, name in ((10, "10"), (21, "21"), (63, "63"), (126, "126"), (lookback, "lookback")):
        needed = min(21, math.ceil(2 * horizon / 3))
        after = [math.log(slow_std(column, needed)) for column in recent[-horizon:].T]
        before = [math.log(slow_std(column, needed)) for column in recent[-2 * horizon : -horizon].T]
        found[f"volatility_ratio_{name}"] = slow_mean([x - y for x, y in zip(after, before, strict=True)])
        if name in ("21", "63"):
            both = [(x, y) for x, y in zip(after, before, strict=True) if math.isfinite(x + y)]
            found[f"volatility_persistence_{name}"] = np.corrcoef(np.array(both).T)[0, 1]
    half = lookback // 2
    inside = recent[-lookback:]
    found["correlation_change_halves"] = slow_change(inside[:half], inside[-half:])
    found["correlation_change_lookback"] = slow_change(recent[-2 * lookback : -lookback], inside)
    found["correlation_change_63"] = slow_change(recent[-126:-63], recent[-63:])
    found["eigenvector_overlap"] = slow_overlap(inside[:half], inside[-half:])
    decay = slow_decay(inside)
    found["correlation_persistence_21"], found["correlation_persistence_63"], found["correlation_decay"] = decay
    for lag in (1, 5, 21):
        for prefix, transform in (("", lambda x: x), ("absolute_", np.abs)):
            name = f"{prefix}autocorrelation_{lag}"
            found[f"market_{name}"] = slow_autocorrelation(transform(market[-lookback:]), lag)
            found[f"asset_{name}"] = slow_mean([slow_autocorrelation(transform(c), lag) for c in inside.T])
    for name, statistic in (
        ("volatility_of_volatility", slow_volatility_of_volatility),
        ("skewness", lambda x: pd.Series(seen(x)).pipe(lambda s: ((s - s.mean()) ** 3).mean() / s.std(ddof=0) ** 3)),
        (
            "log_kurtosis",
            lambda x: pd.Series(seen(x)).pipe(
                lambda s: math.log(((s - s.mean()) ** 4).mean() / s.std(ddof=0) ** 4 / 3)
            ),
        ),
    ):
        found[f"market_{name}"] = statistic(market[-lookback:])
        found[f"asset_{name}"] = slow_mean([statistic(column) for column in inside.T])
    found["asset_hurst"] = slow_mean([slow_hurst(column) for column in inside.T])
    long = market[-4 * lookback :]
    found["market_hurst"] = slow_hurst(long)
    found["market_absolute_hurst"] = slow_hurst(np.abs(long - slow_mean(long)))
    return found


# --- by hand


def test_doubled_moves_are_a_log_ratio_of_ln_2():
    calm = 0.01 * np.array([1.0, -1.0] * 126)
    values = last(np.r_[calm, 2 * calm][:, None] * np.array([1.0, 3.0]), lookback=252)
    assert values["volatility_ratio_lookback"] == pytest.approx(math.log(2))
    assert values["volatility_ratio_126"] == pytest.approx(0.0)
    assert values["volatility_ratio_10"] == pytest.approx(0.0)


def test_moves_that_change_sign_every_row_have_autocorrelation_minus_one():
    values = last(0.01 * np.tile([1.0, -1.0], 63)[:, None])
    for who in ("market", "asset"):
        assert values[f"{who}_autocorrelation_1"] == pytest.approx(-1.0)
        assert values[f"{who}_autocorrelation_5"] == pytest.approx(-1.0)
        assert math.isnan(values[f"{who}_absolute_autocorrelation_1"])  # |returns| do not vary
        assert values[f"{who}_skewness"] == pytest.approx(0.0)
        assert values[f"{who}_log_kurtosis"] == pytest.approx(math.log(1 / 3))
        assert values[f"{who}_volatility_of_volatility"] == pytest.approx(0.0, abs=1e-12)


def test_a_pair_that_turns_from_plus_one_to_minus_one():
    x = noise(LOOKBACK, 1)[:, 0]
    values = last(np.column_stack([x, np.r_[x[:63], -x[63:]]]))
    assert values["correlation_change_halves"] == pytest.approx(2.0)
    assert values["correlation_change_63"] == pytest.approx(2.0)
    assert values["eigenvector_overlap"] == pytest.approx(-1.0)  # share 0 where chance gives 1/2


def test_twins_never_change():
    x = noise(2 * LOOKBACK, 1)
    values = last(x * np.array([1.0, 2.0]))
    assert values["correlation_change_lookback"] == pytest.approx(0.0, abs=1e-12)
    assert values["eigenvector_overlap"] == pytest.approx(1.0)


def test_skewness_and_kurtosis_by_hand():
    values = last(np.tile([0.0, 0.0, 0.0, 0.04], 32)[-LOOKBACK:, None] + 0.0)
    p = 32 / LOOKBACK
    assert values["asset_skewness"] == pytest.approx((1 - 2 * p) / math.sqrt(p * (1 - p)))
    assert values["asset_log_kurtosis"] == pytest.approx(math.log((1 - 3 * p * (1 - p)) / (p * (1 - p)) / 3))


# --- twins


@pytest.mark.parametrize("row", [515, 559])
def test_a_slow_twin_says_the_same_on_a_panel_with_gaps(gappy, row):
    values = temporal_features(gappy, [row], lookback=LOOKBACK).iloc[0]
    expected = slow_features(gappy.returns.to_numpy()[: row + 1], LOOKBACK)
    assert set(expected) == {name for name in TEMPORAL_FEATURES if "garch" not in name}
    assert_allclose(values[list(expected)].to_numpy(), list(expected.values()), rtol=1e-7, atol=1e-9)


def test_leading_vectors_of_a_wide_panel_equal_those_of_a_slow_twin():
    values = noise(LOOKBACK, 80, seed=3)  # 63 rows in a half, 80 assets
    V, W = (np.linalg.eigh(np.corrcoef(half.T))[1][:, -5:] for half in (values[:63], values[63:]))
    share = ((V.T @ W) ** 2).sum() / 5
    assert last(values)["eigenvector_overlap"] == pytest.approx((share - 5 / 80) / (1 - 5 / 80), rel=1e-7)


def test_garch_equals_a_general_optimiser():
    for seed in range(3):
        returns = 0.01 * garch_returns(500, 0.1, 0.85, seed=seed)
        fit = fit_garch(returns)
        persistence, alpha, gain = slow_garch(returns)
        assert fit.gain >= gain - 1e-9
        assert fit.persistence == pytest.approx(persistence, abs=2e-3)
        assert fit.alpha == pytest.approx(alpha, abs=2e-3)
        assert fit.variance == pytest.approx(returns.var())


def test_garch_features_are_those_fits():
    panel = panel_of(np.column_stack([0.01 * garch_returns(600, 0.1, b, seed=b) for b in [0, 0]] + [noise(600, 1)]))
    returns = panel.returns.to_numpy()
    values = temporal_features(panel, [599], lookback=LOOKBACK).iloc[0]
    fit = fit_garch(returns[-4 * LOOKBACK :].mean(axis=1))
    assert values["market_garch_persistence"] == pytest.approx(fit.persistence, abs=1e-6)
    assert values["market_garch_alpha"] == pytest.approx(fit.alpha, abs=1e-6)
    assert values["market_garch_gain"] == pytest.approx(fit.gain, abs=1e-9)
    fits = [fit_garch(column).persistence for column in returns[-4 * LOOKBACK :].T]
    assert values["asset_garch_persistence"] == pytest.approx(np.median(fits), abs=1e-6)


# --- recovered truths


def test_garch_persistence_is_recovered():
    fits = [fit_garch(garch_returns(4000, 0.10, 0.85, seed=seed)) for seed in range(20)]
    persistence = [fit.persistence for fit in fits]
    assert np.mean(persistence) == pytest.approx(0.95, abs=0.01)
    assert np.std(persistence) < 0.02
    assert np.mean([fit.alpha for fit in fits]) == pytest.approx(0.10, abs=0.01)
    short = [fit_garch(garch_returns(1008, 0.10, 0.85, seed=seed)).persistence for seed in range(40)]
    assert np.mean(short) == pytest.approx(0.942, abs=0.015)
    assert np.std(short) < 0.05


def test_independent_returns_gain_nothing_from_a_garch():
    fits = [fit_garch(np.random.default_rng(seed).standard_normal(1008)) for seed in range(20)]
    assert np.mean([fit.gain for fit in fits]) < 2 / 1008
    assert np.mean([fit.alpha for fit in fits]) < 0.03


def arch_series() -> np.ndarray:
    return garch_returns(4000, 0.08, 0.90, seed=42)


def test_garch_agrees_with_figures_recorded_from_arch():
    fit = fit_garch(arch_series())
    assert fit.alpha == pytest.approx(ARCH_8_ALPHA, abs=0.005)
    assert fit.persistence == pytest.approx(ARCH_8_PERSISTENCE, abs=0.005)


def test_garch_agrees_with_arch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arch = pytest.importorskip("arch")
    returns = arch_series()
    model = arch.arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, rescale=False)
    free = model.fit(disp="off", backcast=returns.var())
    fit = fit_garch(returns)
    assert free.params["alpha[1]"] == pytest.approx(ARCH_8_ALPHA, abs=1e-3)
    assert free.params["alpha[1]"] + free.params["beta[1]"] == pytest.approx(ARCH_8_PERSISTENCE, abs=1e-3)
    ours = model.fix([returns.mean(), fit.variance * (1 - fit.persistence), fit.alpha, fit.beta])
    assert ours.loglikelihood > free.loglikelihood - 1.0  # of about -5,400; arch has one parameter more
    constant = -0.5 * len(returns) * (math.log(2 * math.pi * fit.variance) + 1)
    gain = len(returns) * fit.gain  # about 156; arch begins with another variance
    assert ours.loglikelihood - constant == pytest.approx(gain, abs=2.0)


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
def test_the_hurst_exponent_of_fractional_noise_is_recovered(hurst):
    estimates = [hurst_exponent(fractional_noise(1008, hurst, seed=seed)) for seed in range(60)]
    assert np.mean(estimates) == pytest.approx(hurst, abs=0.02)
    assert np.std(estimates) < 0.06


def test_the_hurst_exponent_of_short_independent_series_is_centred_at_one_half():
    estimates = [hurst_exponent(np.random.default_rng(seed).standard_normal(252)) for seed in range(300)]
    assert np.mean(estimates) == pytest.approx(0.5, abs=0.02)


def test_the_correction_is_the_expected_fluctuation_of_independent_numbers():
    for s in (3, 8, 15):
        rows = np.arange(1, s + 1)
        covariance = np.minimum.outer(rows, rows)  # of sums of independent numbers
        design = np.column_stack([np.ones(s), rows])
        residual = np.eye(s) - design @ np.linalg.pinv(design)
        assert np.trace(residual @ covariance) / s == pytest.approx((s * s - 4) / (15 * s))


def structured(decay_per_block, *, seed) -> np.ndarray:
    """Returns with one factor whose loadings forget a given share of themselves in every block of 21 rows."""
    rng = np.random.default_rng(seed)
    keep = math.exp(-decay_per_block / 2)  # correlations are products of two loadings
    loadings, blocks = rng.standard_normal(60), []
    for _ in range(24):
        blocks.append(rng.standard_normal((21, 1)) * loadings + rng.standard_normal((21, 60)))
        loadings = keep * loadings + math.sqrt(1 - keep**2) * rng.standard_normal(60)
    return 0.01 * np.concatenate(blocks)


@pytest.mark.parametrize(("decay", "tolerance"), [(0.0, 0.02), (0.2, 0.05), (0.5, 0.15)])
def test_the_decay_of_correlation_is_recovered(decay, tolerance):
    estimates = [last(structured(decay, seed=seed), lookback=504)["correlation_decay"] for seed in range(12)]
    assert np.mean(estimates) == pytest.approx(decay, abs=tolerance)


def test_independent_assets_have_no_structure_that_could_decay():
    rng = np.random.default_rng(0)
    values = last(0.01 * rng.standard_normal((252, 50)), lookback=252)
    assert abs(values["correlation_persistence_21"]) < 0.05
    assert abs(values["eigenvector_overlap"]) < 0.15


def test_persistent_volatilities_show_over_assets():
    rng = np.random.default_rng(1)
    volatility = np.exp(rng.standard_normal(80))
    assert last(0.01 * volatility * rng.standard_normal((LOOKBACK, 80)))["volatility_persistence_63"] > 0.9
    shuffled = np.r_[np.tile(volatility, (63, 1)), np.tile(rng.permutation(volatility), (63, 1))]
    assert abs(last(0.01 * shuffled * rng.standard_normal((LOOKBACK, 80)))["volatility_persistence_63"]) < 0.3


# --- laws


def test_a_market_series_of_the_panel_stands_for_the_market():
    panel = panel_of(noise(560, 4))
    series = pd.Series(noise(560, 1, seed=9)[:, 0], index=panel.index, name="market_return")
    with_market = temporal_features(Panel.from_returns(panel.returns, market=series), [559], lookback=LOOKBACK)
    alone = temporal_features(panel_of(series.to_numpy()[:, None]), [559], lookback=LOOKBACK)
    of_market = [name for name in TEMPORAL_FEATURES if name.startswith("market")]
    assert_frame_equal(with_market[of_market], alone[of_market])
    others = [name for name in TEMPORAL_FEATURES if name not in of_market]
    assert_frame_equal(with_market[others], temporal_features(panel, [559], lookback=LOOKBACK)[others])


def test_the_unit_of_returns_does_not_matter(gappy):
    values = temporal_features(gappy, [400, 559], lookback=LOOKBACK)
    scaled = temporal_features(Panel.from_returns(gappy.returns * 0.037), [400, 559], lookback=LOOKBACK)
    assert_frame_equal(scaled, values, rtol=1e-6, atol=1e-8)


def test_prices_in_another_currency_unit_do_not_matter():
    panel = factor_market(5, 300, seed=3, gaps=0.02).panel
    scaled = Panel.from_prices(panel.prices * 10.0)
    values = temporal_features(panel, [299], lookback=LOOKBACK)
    assert_frame_equal(temporal_features(scaled, [299], lookback=LOOKBACK), values, rtol=1e-5, atol=1e-7)


def test_the_order_of_the_assets_does_not_matter(gappy):
    values = temporal_features(gappy, [559], lookback=LOOKBACK)
    reordered = Panel.from_returns(gappy.returns.iloc[:, [3, 0, 6, 2, 5, 1, 4]])
    assert_frame_equal(temporal_features(reordered, [559], lookback=LOOKBACK), values, rtol=1e-6, atol=1e-8)


def test_each_row_is_the_same_whichever_others_are_asked(gappy):
    rows = [30, 125, 126, 300, 559]
    full = temporal_features(gappy, rows, lookback=LOOKBACK)
    for place, row in enumerate(rows):
        assert_frame_equal(temporal_features(gappy, [row], lookback=LOOKBACK), full.iloc[[place]], check_exact=True)
    backwards = temporal_features(gappy, rows[::-1], lookback=LOOKBACK)
    assert_frame_equal(backwards.iloc[::-1], full, check_exact=True)


@pytest.mark.parametrize("poison", ["missing", "huge", "permuted", "cut"])
def test_no_bit_depends_on_later_rows(gappy, poison):
    returns = gappy.returns
    rows = [260, 515]
    past = temporal_features(gappy, rows, lookback=LOOKBACK)
    for place, row in enumerate(rows):
        future = returns.iloc[row + 1 :]
        altered = {
            "missing": future.assign(**dict.fromkeys(future.columns[1:], np.nan)),
            "huge": future.fillna(0.0) + 1e150,
            "permuted": pd.DataFrame(future.to_numpy()[::-1, ::-1], index=future.index, columns=future.columns),
            "cut": future.iloc[:0],
        }[poison]
        panel = Panel.from_returns(pd.concat([returns.iloc[: row + 1], altered]))
        assert_frame_equal(temporal_features(panel, [row], lookback=LOOKBACK), past.iloc[[place]], check_exact=True)


def test_absurd_returns_inside_the_window_give_missing_never_infinite(gappy):
    returns = gappy.returns.copy()
    returns.iloc[540] = 1e200
    values = temporal_features(Panel.from_returns(returns), [559], lookback=LOOKBACK)
    assert not np.isinf(values.to_numpy()).any()


def test_one_asset_has_a_market_but_no_pairs():
    values = last(noise(560, 1))
    pairs = [name for name in TEMPORAL_FEATURES if "correlation_" in name and "auto" not in name]
    missing = [*pairs, "eigenvector_overlap", "volatility_persistence_21", "volatility_persistence_63"]
    assert set(values.index[values.isna()]) == set(missing)
    assert values["market_autocorrelation_1"] == pytest.approx(values["asset_autocorrelation_1"])


def test_two_assets_have_a_pair_but_no_decay():
    values = last(noise(560, 2))
    missing = {"correlation_persistence_21", "correlation_persistence_63", "correlation_decay"}
    assert set(values.index[values.isna()]) == {*missing, "volatility_persistence_21", "volatility_persistence_63"}


def test_three_assets_and_enough_rows_have_everything():
    assert np.isfinite(last(noise(560, 3)).to_numpy()).sum() >= len(TEMPORAL_FEATURES) - 1  # the decay may be missing


def test_too_short_a_history_is_missing_until_it_is_long_enough():
    values = temporal_features(panel_of(noise(300, 8)), range(300), lookback=LOOKBACK)
    first = {name: int(np.argmax(values[name].notna())) for name in TEMPORAL_FEATURES}
    assert values.iloc[:19].isna().to_numpy().all()
    assert first["volatility_ratio_63"] == 125
    assert first["correlation_change_63"] == 125
    assert first["correlation_change_halves"] == LOOKBACK - 1
    assert first["asset_autocorrelation_1"] == LOOKBACK - 1
    assert first["volatility_ratio_lookback"] == 2 * LOOKBACK - 1
    assert first["correlation_change_lookback"] == 2 * LOOKBACK - 1
    assert first["market_garch_persistence"] == 2 * LOOKBACK - 1
    assert first["asset_garch_persistence"] == 2 * LOOKBACK - 1
    assert first["market_hurst"] == 2 * LOOKBACK - 1


def test_constant_and_silent_assets_are_left_out():
    values = noise(300, 4)
    quiet = np.column_stack([values, np.zeros(300), np.full(300, 0.001)])
    silent = np.column_stack([values, np.r_[values[:270, 0], np.full(30, np.nan)]])
    names = [name for name in TEMPORAL_FEATURES if not name.startswith("market")]
    for with_dead in (quiet, silent):
        assert_allclose(last(with_dead)[names].to_numpy(), last(values)[names].to_numpy(), rtol=1e-9, atol=1e-12)
    assert last(np.zeros((300, 2))).isna().all()


def test_the_frame_has_the_rows_asked_for_and_the_names_in_order(gappy):
    values = temporal_features(gappy, [559, 10], lookback=LOOKBACK)
    assert tuple(values.columns) == TEMPORAL_FEATURES
    assert values.index.equals(gappy.index[[559, 10]])
    assert temporal_features(gappy, [], lookback=LOOKBACK).shape == (0, len(TEMPORAL_FEATURES))


def test_wrong_options_are_refused(gappy):
    for lookback in (41, 100.0, True):
        with pytest.raises(ParameterError, match="lookback must be a whole number of at least 42"):
            temporal_features(gappy, [100], lookback=lookback)
    with pytest.raises(ParameterError, match="rows must be between 0 and 559"):
        temporal_features(gappy, [560])
    with pytest.raises(DataError, match="at least 100 returns, got 99"):
        fit_garch(np.arange(99.0))
    with pytest.raises(DataError, match="constant"):
        fit_garch(np.full(200, 0.01))
    with pytest.raises(DataError, match="at least 126 numbers, got 20"):
        hurst_exponent(np.arange(20.0))
    with pytest.raises(DataError, match="constant"):
        hurst_exponent(np.zeros(200))
