"""The correlation family: worked by hand, equal to a slow twin, causal, free of units and of column order."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy.integrate import quad
from scipy.sparse.csgraph import minimum_spanning_tree

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import ParameterError
from eigenfolio.features.correlation import (
    CORRELATION_FEATURES,
    correlation_features,
    marchenko_pastur_cdf,
    spanning_tree_length,
)
from eigenfolio.panel import Panel

EPSILON = np.finfo(float).eps


def gappy(n_assets=14, n_rows=130, seed=3):
    """Prices with gaps, late listings and delistings, and sectors, of which one asset has none."""
    market = factor_market(n_assets, n_rows, seed=seed, gaps=0.03, late_listings=0.3, delistings=0.3)
    prices = market.panel.prices
    labels = pd.Series([f"S{i % 3}" for i in range(n_assets)], index=prices.columns, dtype=object)
    labels.iloc[-1] = None
    return prices, labels


def describe(returns, *, lookback=None, sectors=None, row=-1):
    returns = np.asarray(returns, dtype=float)
    dates = pd.bdate_range("2020-01-01", periods=len(returns))
    names = [f"A{i:03d}" for i in range(returns.shape[1])]
    panel = Panel.from_returns(
        pd.DataFrame(returns, index=dates, columns=names),
        sectors=None if sectors is None else dict(zip(names, sectors, strict=True)),
    )
    rows = [range(len(returns))[row]]
    return correlation_features(panel, rows, lookback=lookback or len(returns)).iloc[0]


def two_assets(rho):
    """24 rows of two assets whose sample correlation is exactly rho, with volatilities 1 % and 3 %."""
    x, y = np.tile([1.0, 1.0, -1.0, -1.0], 6), np.tile([1.0, -1.0, 1.0, -1.0], 6)
    return np.column_stack([0.01 * x, 0.03 * (rho * x + np.sqrt(1 - rho**2) * y)])


def noise_density(x, q):
    a, b = (1 - np.sqrt(q)) ** 2, (1 + np.sqrt(q)) ** 2
    return np.sqrt((b - x) * (x - a)) / (2 * np.pi * q * x)


def twin(window, sectors):
    """All numbers of one window by plain loops."""
    n_rows = len(window)
    kept = []
    for i in range(window.shape[1]):
        column = window[:, i]
        seen = column[np.isfinite(column)]
        if np.isfinite(column[-21:]).any() and len(seen) >= 21 and seen.std() > 0:
            kept.append(i)
    n = len(kept)
    d = np.zeros((n_rows, n))
    for k, i in enumerate(kept):
        seen = np.isfinite(window[:, i])
        d[seen, k] = window[seen, i] - window[seen, i].mean()
    C, variances, recent, whole = np.eye(n), [], 0.0, 0.0
    for k, i in enumerate(kept):
        seen = np.isfinite(window[:, i])
        variances.append((d[:, k] ** 2).sum() / seen.sum())
        if seen[-63:].sum() >= 21:
            recent += (d[-63:, k] ** 2).sum() / seen[-63:].sum()
            whole += variances[-1]
        for j in range(n):
            C[k, j] = d[:, k] @ d[:, j] / np.sqrt((d[:, k] ** 2).sum() * (d[:, j] ** 2).sum())
    r = min(n, n_rows - 1)
    lam, vectors = np.linalg.eigh(C)
    lam, vectors = lam[::-1], vectors[:, ::-1]
    top, p = lam[:r], lam[:r] / n
    q = n / (n_rows - 1)
    low, high = (1 - np.sqrt(q)) ** 2, (1 + np.sqrt(q)) ** 2

    def cdf(x):
        mass = max(0.0, 1 - 1 / q)
        return mass + (quad(noise_density, low, min(x, high), args=(q,))[0] if x > low else 0.0)

    distance = 0.0
    for k in range(r):
        at, below = (n - k) / n, (n - k - 1) / n
        distance = max(distance, at - cdf(lam[k]), cdf(lam[k]) - below)
    S = np.sqrt(np.outer(variances, variances)) * C
    mu = np.linalg.eigvalsh(S)[::-1]
    share = mu[:r] / mu.sum()
    pairs = [C[i, j] for i in range(n) for j in range(i)]

    def explained(labels):
        known = [(C[i, j], labels[i] == labels[j]) for i in range(n) for j in range(i) if labels[i] and labels[j]]
        rho, same = np.array([k[0] for k in known]), np.array([k[1] for k in known])
        if same.all() or not same.any():
            return np.nan
        fitted = np.where(same, rho[same].mean(), rho[~same].mean())
        return fitted.var() / rho.var()

    blocks = [str(1 + (vectors[i, 1:4] > 0) @ [1, 2, 4]) for i in range(n)]
    tree = minimum_spanning_tree(np.sqrt(2 * (1 - C) * (1 - np.eye(n)))).data.sum() / (n - 1)
    smallest = lam[-1] if r == n else 0.0
    return {
        "log_aspect_ratio": np.log(n / n_rows),
        "eigenvalue_max": (lam[0] - 1) / (n - 1),
        "eigenvalue_min": np.log(top[-1]),
        "eigenvalue_log_mean": np.mean(np.log(top)),
        "eigenvalue_median": np.log(np.median(top)),
        "eigenvalue_std": np.sqrt(np.mean(np.square(pairs))),
        "eigenvalue_gap": np.log(lam[0] / lam[1]),
        "top_1_share": p[0],
        "top_5_share": p[:5].sum(),
        "top_10_share": p[:10].sum(),
        "entropy": -(p * np.log(p)).sum() / np.log(r),
        "effective_rank": np.trace(C) / lam[0] / r,
        "entropy_rank": np.exp(-(p * np.log(p)).sum()) / r,
        "log_condition": np.log(lam[0] / max(smallest, EPSILON)),
        "decay_rate": np.polyfit(np.log(np.arange(1, r + 1)), np.log(top), 1)[0],
        "noise_distance": distance,
        "noise_edge_share": sum(x for x in lam if x > high) / n,
        "noise_edge_count": sum(x > high for x in lam) / r,
        "covariance_trace": np.log(recent / whole),
        "covariance_mean": np.log(np.mean(variances) / np.median(variances)),
        "covariance_max": mu[0] / np.trace(S),
        "covariance_entropy": -(share * np.log(share)).sum() / np.log(r),
        "covariance_log_condition": np.log(mu[0] / max(mu[-1] if r == n else 0.0, EPSILON * np.mean(variances))),
        "mean_correlation": np.mean(pairs),
        "correlation_std": np.std(pairs),
        "correlation_max": max(pairs),
        "correlation_min": min(pairs),
        "mean_abs_correlation": np.mean(np.abs(pairs)),
        "positive_share": np.mean([x > 0 for x in pairs]),
        "negative_share": np.mean([x < 0 for x in pairs]),
        **{f"correlation_above_{t:g}": np.mean([abs(x) > t for x in pairs]) for t in (0.2, 0.4, 0.6, 0.8)},
        "block_share": explained(blocks),
        "sector_share": explained([sectors[i] for i in kept]),
        "tree_length": tree,
    }


@pytest.mark.parametrize(("n_assets", "lookback"), [(14, 100), (45, 30)])
def test_a_slow_twin_says_the_same_with_gaps_and_with_more_assets_than_rows(n_assets, lookback):
    prices, labels = gappy(n_assets)
    panel = Panel.from_prices(prices, sectors=labels)
    rows = [lookback - 1, 110, 129]
    found = correlation_features(panel, rows, lookback=lookback)
    for row in rows:
        expected = twin(panel.returns.to_numpy()[row + 1 - lookback : row + 1], list(panel.sectors))
        assert tuple(expected) == CORRELATION_FEATURES
        assert_allclose(found.loc[panel.index[row]], list(expected.values()), rtol=1e-6, atol=1e-8)


def test_two_assets_by_hand():
    values = describe(two_assets(0.6))
    assert values["eigenvalue_max"] == pytest.approx(0.6)
    assert values["eigenvalue_std"] == pytest.approx(0.6)
    assert values["eigenvalue_min"] == pytest.approx(np.log(0.4))
    assert values["eigenvalue_log_mean"] == pytest.approx(0.5 * np.log(1.6 * 0.4))
    assert values["eigenvalue_gap"] == pytest.approx(np.log(4))
    assert values["top_1_share"] == pytest.approx(0.8)
    assert values["top_5_share"] == pytest.approx(1.0)
    assert values["effective_rank"] == pytest.approx(1 / 1.6)
    assert values["entropy"] == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)) / np.log(2))
    assert values["log_condition"] == pytest.approx(np.log(4))
    assert values["decay_rate"] == pytest.approx(-2.0)  # ln 4 over ln 2
    assert values["noise_edge_count"] == 0.0  # 1.6 is below (1 + sqrt(2 / 23))^2 = 1.68
    assert values["mean_correlation"] == pytest.approx(0.6)
    assert values["correlation_std"] == pytest.approx(0.0)
    assert values["positive_share"] == 1.0
    assert values["correlation_above_0.4"] == 1.0
    assert values["correlation_above_0.8"] == 0.0
    assert values["tree_length"] == pytest.approx(np.sqrt(0.8))
    assert values["covariance_mean"] == pytest.approx(0.0)  # mean and median of two numbers
    assert values["covariance_trace"] == pytest.approx(0.0)
    assert np.isnan(values[["block_share", "sector_share"]]).all()


def test_one_asset_has_a_spectrum_of_one_and_no_pairs():
    values = describe(two_assets(0.0)[:, :1])
    assert_allclose(values[["top_1_share", "effective_rank", "entropy_rank", "covariance_max"]], 1.0)
    assert_allclose(values[["log_condition", "eigenvalue_min"]], 0.0, atol=1e-12)
    missing = values.index[values.isna()].tolist()
    assert set(missing) == {
        *("eigenvalue_max", "eigenvalue_std", "eigenvalue_gap", "entropy", "decay_rate", "covariance_entropy"),
        *("mean_correlation", "correlation_std", "correlation_max", "correlation_min", "mean_abs_correlation"),
        *("positive_share", "negative_share", *(f"correlation_above_{t}" for t in (0.2, 0.4, 0.6, 0.8))),
        *("block_share", "sector_share", "tree_length"),
    }


@pytest.mark.parametrize("aspect", [0.1, 0.5, 1.0, 2.5])
def test_the_noise_law_is_the_integral_of_its_density(aspect):
    low, high = (1 - np.sqrt(aspect)) ** 2, (1 + np.sqrt(aspect)) ** 2
    points = np.linspace(low + 1e-3, high - 1e-3, 7)
    mass = max(0.0, 1 - 1 / aspect)
    expected = [mass + quad(noise_density, low, x, args=(aspect,), limit=200)[0] for x in points]
    assert_allclose(marchenko_pastur_cdf(points, aspect), expected, atol=1e-6)
    ends = marchenko_pastur_cdf(np.array([0.0 if aspect != 1 else -1.0, high, 9 * high]), aspect)
    assert_allclose(ends, [mass, 1, 1], atol=1e-12)


@pytest.mark.parametrize("n_assets", [60, 400])
def test_pure_noise_is_near_the_noise_law_and_a_market_is_far_from_it(n_assets):
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.standard_normal((200, n_assets))
    market = noise + 0.02 * rng.standard_normal((200, 1))
    assert describe(noise)["noise_distance"] < 0.04
    assert describe(noise)["noise_edge_count"] < 0.02
    assert describe(market)["noise_distance"] > 0.15
    assert describe(market)["noise_edge_share"] > 0.7


def test_blocks_are_found_without_their_names():
    rng = np.random.default_rng(1)
    sectors = np.repeat(["a", "b", "c", "d"], 6)
    blocks = rng.standard_normal((250, 4)).repeat(6, axis=1)
    market = rng.standard_normal((250, 1))
    planted = 0.01 * (market + blocks + 0.5 * rng.standard_normal((250, 24)))
    plain = 0.01 * (market + rng.standard_normal((250, 24)))
    assert describe(planted, sectors=sectors)["sector_share"] > 0.9
    assert describe(planted)["block_share"] > 0.8
    assert describe(plain, sectors=sectors)["sector_share"] < 0.05
    assert describe(plain)["block_share"] < 0.25


def test_tree_length_equals_scipy_and_hand():
    rng = np.random.default_rng(2)
    C = np.corrcoef(rng.standard_normal((40, 60)))
    distance = np.sqrt(2 * (1 - C) * (1 - np.eye(40)))
    assert spanning_tree_length(C) == pytest.approx(minimum_spanning_tree(distance).data.sum() / 39, rel=1e-12)
    assert spanning_tree_length(np.eye(5)) == pytest.approx(np.sqrt(2))


def altered(table, row, how):
    """A table whose rows after `row` are missing, huge, shuffled, or not there."""
    past, future = table.iloc[: row + 1], table.iloc[row + 1 :]
    if how == "cut":
        return past
    if how == "missing":
        return pd.concat([past, future * np.nan])
    if how == "huge":
        return pd.concat([past, future * 0 + np.linspace(1, 1e6, len(future))[:, None] ** 2])
    order = np.random.default_rng(0).permutation(len(future))
    return pd.concat([past, pd.DataFrame(future.to_numpy()[order], index=future.index, columns=future.columns)])


@pytest.mark.parametrize("how", ["cut", "missing", "huge", "shuffled"])
def test_the_future_changes_no_bit(how):
    prices, labels = gappy()
    rows, row = [60, 90, 100], 100
    before = correlation_features(Panel.from_prices(prices, sectors=labels), rows, lookback=60)
    poisoned = Panel.from_prices(altered(prices, row + 1, how), sectors=labels)  # prices have one row more
    assert_frame_equal(before, correlation_features(poisoned, rows, lookback=60), check_exact=True, check_freq=False)


def test_units_column_order_and_the_other_rows_do_not_matter():
    prices, labels = gappy()
    rows = [70, 99, 129]
    values = correlation_features(Panel.from_prices(prices, sectors=labels), rows, lookback=60)
    assert values.notna().to_numpy().all()
    scaled = correlation_features(Panel.from_prices(10 * prices, sectors=labels), rows, lookback=60)
    assert_frame_equal(values, scaled, rtol=1e-8, atol=1e-9)
    order = np.random.default_rng(1).permutation(prices.columns)
    permuted = correlation_features(Panel.from_prices(prices[order], sectors=labels), rows, lookback=60)
    assert_frame_equal(values, permuted, rtol=1e-8, atol=1e-9)
    one = correlation_features(Panel.from_prices(prices, sectors=labels), rows[1:2], lookback=60)
    assert_frame_equal(values.iloc[1:2], one, check_exact=True)


def test_leverage_does_not_matter():
    returns = np.random.default_rng(4).standard_normal((80, 9)) * 0.004
    assert_allclose(describe(returns), describe(5 * returns), rtol=1e-8, atol=1e-9)


def test_constant_and_lapsed_assets_do_not_count():
    returns = np.random.default_rng(5).standard_normal((80, 6)) * 0.01
    more = np.column_stack([returns, np.full(80, 0.001), returns[:, 0]])
    more[-21:, 7] = np.nan
    assert_frame_equal(describe(more, lookback=60).to_frame(), describe(returns, lookback=60).to_frame())


def test_twins_leave_every_number_finite():
    returns = np.random.default_rng(6).standard_normal((80, 8)) * 0.01
    values = describe(np.column_stack([returns, returns[:, :2]]), sectors=list("aabbccddaa"))
    assert np.isfinite(values).all()
    assert values["correlation_max"] == pytest.approx(1.0)
    assert values["log_condition"] == pytest.approx(np.log(10 * values["top_1_share"] / EPSILON))


def test_too_short_a_history_is_missing_and_bad_rows_are_refused():
    panel = factor_market(5, 40).panel
    assert correlation_features(panel, [30, 38], lookback=40).isna().to_numpy().all()
    assert correlation_features(panel, [39], lookback=40)["mean_correlation"].notna().all()
    assert correlation_features(panel, []).shape == (0, len(CORRELATION_FEATURES))
    with pytest.raises(ParameterError, match="between 0 and 39, got 40"):
        correlation_features(panel, [3, 40])
    with pytest.raises(ParameterError, match="lookback must be at least 21"):
        correlation_features(panel, [39], lookback=20)
