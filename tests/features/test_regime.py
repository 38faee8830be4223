"""The regime family: worked by hand, equal to a slow twin, causal, free of units and of column order."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf_shrinkage

from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.regime import (
    REGIME_FEATURES,
    market_returns,
    percentile_so_far,
    regime_features,
    rolling_moments,
)
from eigenfolio.panel import Panel

LOOKBACK = 70
ROWS = [300, 350, 399]


def tables(n_assets=13, n_rows=400, *, seed=5, gaps=0.03, late=0.3):
    """Prices with gaps, late listings and delistings, and every optional input."""
    rng = np.random.default_rng(seed)
    market = factor_market(n_assets, n_rows, seed=seed, gaps=gaps, late_listings=late, delistings=late)
    prices = market.panel.prices
    shape, index = prices.shape, prices.index
    low = prices * np.exp(-0.01 * rng.random(shape))
    high = prices * np.exp(0.01 * rng.random(shape))
    volume = pd.DataFrame(np.exp(10 + rng.standard_normal(shape)), index=index, columns=prices.columns)
    volume[rng.random(shape) < 0.02] = 0.0
    vix = pd.DataFrame({"vix": 20 * np.exp(0.3 * rng.standard_normal(len(index)))}, index=index)
    vix.iloc[::17] = np.nan
    sectors = pd.Series([f"S{i % 4}" for i in range(n_assets)], index=prices.columns)
    return {"prices": prices, "volume": volume, "high": high, "low": low, "market": vix, "sectors": sectors}


def build(parts):
    return Panel.from_prices(**parts)


def of_returns(returns, **extra):
    returns = np.asarray(returns, dtype=float)
    dates = pd.bdate_range("2020-01-01", periods=len(returns))
    names = [f"A{i:03d}" for i in range(returns.shape[1])]
    return Panel.from_returns(pd.DataFrame(returns, index=dates, columns=names), **extra)


def last(panel, *, lookback=252):
    return regime_features(panel, [panel.n_observations - 1], lookback=lookback).iloc[0]


def seen(values):
    return [x for x in values if np.isfinite(x)]


def rms(values):
    kept = seen(values)
    return np.sqrt(np.mean(np.square(kept))) if 2 * len(kept) >= len(values) else np.nan


def pearson(x, y):
    pairs = np.array([(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(a) and np.isfinite(b)])
    return np.corrcoef(pairs.T)[0, 1]


def kept_columns(window):
    return [
        i
        for i in range(window.shape[1])
        if np.isfinite(window[-21:, i]).any() and np.isfinite(window[:, i]).sum() >= 21
    ]


def unit_columns(window):
    columns = []
    for i in range(window.shape[1]):
        there = np.isfinite(window[:, i])
        d = np.where(there, window[:, i] - window[there, i].mean(), 0.0)
        columns.append(d / np.sqrt((d**2).sum()))
    return np.column_stack(columns)


def absorbed(window):
    unit = unit_columns(window[:, kept_columns(window)])
    n_rows, n = unit.shape
    lam = np.linalg.eigvalsh(unit.T @ unit)[::-1]
    return lam[: max(1, round(min(n, n_rows - 1) / 5))].sum() / n


def spread_twin(high, low, close):
    """Corwin-Schultz and Abdi-Ranaldo of one pair of days, from prices."""
    eve = close[0]
    h, el = np.log(high[1]), np.log(low[1])
    if low[1] > eve:
        h, el = h - np.log(low[1] / eve), np.log(eve)
    elif high[1] < eve:
        h, el = np.log(eve), el + np.log(eve / high[1])
    beta = np.log(high[0] / low[0]) ** 2 + (h - el) ** 2
    gamma = (max(np.log(high[0]), h) - min(np.log(low[0]), el)) ** 2
    k = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    corwin = max(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0.0)
    middle = [0.5 * (np.log(high[t]) + np.log(low[t])) for t in (0, 1)]
    return corwin, np.sqrt(max(4 * (np.log(eve) - middle[0]) * (np.log(eve) - middle[1]), 0.0))


def twin(panel, row, lookback):
    """All numbers of one row by plain loops over the panel cut at it."""
    R = panel.returns.to_numpy()[: row + 1]
    m = np.array([np.mean(seen(day)) for day in R])
    f = {}
    year = [rms(m[t - 251 : t + 1]) for t in range(251, row + 1)]
    for h in (10, 21, 63, 126):
        f[f"market_volatility_{h}"] = np.log(rms(m[-h:]) / year[-1])
    f["market_volatility_252"] = np.mean([(x < year[-1]) + 0.5 * (x == year[-1]) for x in year])
    square = np.array([np.mean(np.square(seen(day))) for day in R])
    whole = [np.sqrt(square[t - 251 : t + 1].mean()) for t in range(251, row + 1)]
    window = R[-252:]
    kept = kept_columns(window)
    for h in (10, 21, 63, 126):
        f[f"asset_volatility_{h}"] = np.mean(
            seen([np.log(rms(window[-h:, i]) / np.sqrt(np.mean(np.square(seen(window[:, i]))))) for i in kept])
        )
    f["asset_volatility_252"] = np.mean([(x < whole[-1]) + 0.5 * (x == whole[-1]) for x in whole])
    for h in ("market_volatility_252", "asset_volatility_252"):
        f[h] = f[h] if len(year) >= 126 else np.nan

    vix = panel.market["vix"].to_numpy()[: row + 1]
    now = vix[-1]
    f["vix_level"] = np.log(now / np.median(seen(vix)))
    f["vix_percentile"] = np.mean([(x < now) + 0.5 * (x == now) for x in seen(vix[-252:])]) if now > 0 else np.nan
    f["vix_to_month"] = np.log(now / np.mean(seen(vix[-22:])))

    window = R[-lookback:]
    kept = kept_columns(window)

    def table(name):
        values = (panel.prices.iloc[1:] if name == "prices" else panel.field(name)).to_numpy()[: row + 1][-lookback:]
        return np.where(np.isfinite(window), values, np.nan)

    P, V, H, L = (table(name) for name in ("prices", "volume", "high", "low"))

    def ratio(column, h, typical):
        recent = seen(column[-h:])
        if 2 * len(recent) < h or 2 * len(seen(column)) < lookback:
            return np.nan
        return np.log(np.mean(recent) / typical(seen(column)))

    dollars = {i: np.array([p * v if v > 0 else np.nan for p, v in zip(P[:, i], V[:, i], strict=True)]) for i in kept}
    f["amihud"] = np.median(seen([ratio(np.abs(window[:, i]) / dollars[i], 21, np.median) for i in kept]))
    f["dollar_volume"] = np.median(seen([ratio(dollars[i], 21, np.median) for i in kept]))
    daily = np.full((2, lookback, R.shape[1]), np.nan)
    for i in kept:
        for t in range(1, lookback):
            pair = slice(t - 1, t + 1)
            if np.isfinite(P[pair, i]).all():
                daily[:, t, i] = spread_twin(H[pair, i], L[pair, i], P[pair, i])
    for name, values in zip(("corwin_schultz", "abdi_ranaldo"), daily, strict=True):
        f[name] = np.median([np.mean(seen(values[-21:, i])) for i in kept if len(seen(values[-21:, i])) >= 11])
        f[f"{name}_change"] = np.median(seen([ratio(values[:, i], 21, np.mean) for i in kept]))
    for h in (5, 21, 63):
        ratios = seen([ratio(V[:, i], h, np.mean) for i in kept])
        f[f"volume_ratio_{h}"] = np.median(ratios)
        if h == 21:
            f["volume_dispersion"] = np.std(ratios, ddof=1)
    size = np.array([np.mean(seen(dollars[i][-21:])) for i in kept if seen(dollars[i][-21:])])
    n = len(size)
    f["volume_concentration"] = (((size / size.sum()) ** 2).sum() - 1 / n) / (1 - 1 / n)
    f["volume_volatility_correlation"] = np.mean(
        [
            pearson([np.log(v) if v > 0 else np.nan for v in V[:, i]], np.abs(window[:, i]))
            for i in kept
            if 2 * (V[:, i] > 0).sum() >= lookback
        ]
    )

    D = np.array([np.std(seen(day), ddof=1) for day in R])
    f["dispersion_level"] = np.log(D[-21:].mean() / D[-lookback:].mean())
    f["dispersion_trend"] = np.corrcoef(np.arange(63), np.log(D[-63:]))[0, 1]
    f["dispersion_to_market"] = np.log(D[-21:].mean() / rms(m[-21:]))

    fit, recent = window[:-21], window[-21:]
    ready = [i for i in kept if np.isfinite(fit[:, i]).sum() >= 21]
    X = unit_columns(fit[:, ready]) * np.sqrt(len(fit))
    delta = max(ledoit_wolf_shrinkage(X, assume_centered=True), 0.01)
    M = (1 - delta) * X.T @ X / len(fit) + delta * np.eye(len(ready))
    z = np.array(
        [[(recent[t, i] - np.mean(seen(fit[:, i]))) / np.std(seen(fit[:, i])) for i in ready] for t in range(21)]
    )
    turbulence = []
    for day in z:
        filled = np.where(np.isfinite(day), day, 0.0)
        turbulence.append(filled @ np.linalg.solve(M, filled) / np.isfinite(day).sum())
    f["turbulence_1"], f["turbulence_21"] = np.log(turbulence[-1]), np.log(np.mean(turbulence))
    f["absorption_ratio"] = absorbed(window)
    grid = list(range(lookback - 1, row, 21))[-12:]
    before = [absorbed(R[g + 1 - lookback : g + 1]) for g in grid]
    shift = (f["absorption_ratio"] - np.mean(before)) / np.std(before, ddof=1)
    f["absorption_shift"] = shift if len(grid) == 12 else np.nan

    wealth = np.cumprod(np.concatenate([[1.0], 1 + m[-lookback:]]))
    falls = [wealth[t] / wealth[: t + 1].max() - 1 for t in range(len(wealth))]
    f["drawdown"], f["max_drawdown"] = falls[-1], -min(falls)
    score = [abs(m[t]) / rms(m[t - 63 : t]) for t in range(row - 62, row + 1)]
    for k in (2, 3):
        f[f"market_tails_{k}"] = np.mean([x > k for x in score])
        f[f"asset_tails_{k}"] = np.mean([abs(x) > k for x in seen(z.ravel())])
    for h in (21, 63, 252):
        f[f"trend_{h}"] = m[-h:].mean() / m[-h:].std(ddof=1) * np.sqrt(h)
    f["autocorrelation"] = np.corrcoef(m[-lookback + 1 :], m[-lookback:-1])[0, 1]

    halves = {}
    for i in kept:
        new, old = seen(R[-63:, i]), seen(R[-126:-63, i])
        if len(new) >= 21 and len(old) >= 21:
            halves[i] = np.prod(1 + np.array(new)) - 1, np.prod(1 + np.array(old)) - 1
    both = np.array(list(halves.values()))
    f["rising_share"] = np.mean(both[:, 0] > 0)
    f["rotation"] = (1 - spearmanr(both[:, 0], both[:, 1]).statistic) / 2
    labels = panel.sectors.iloc[list(halves)].to_numpy()
    means = np.array([both[labels == label].mean(axis=0) for label in sorted(set(labels))])
    f["sector_rotation"] = (1 - spearmanr(means[:, 0], means[:, 1]).statistic) / 2
    return f


@pytest.mark.parametrize(("n_assets", "lookback"), [(13, 70), (60, 64)])
def test_a_slow_twin_says_the_same_with_gaps_and_with_more_assets_than_rows_to_fit(n_assets, lookback):
    panel = build(tables(n_assets))
    found = regime_features(panel, ROWS, lookback=lookback)
    for row in ROWS:
        expected = twin(panel, row, lookback)
        assert set(expected) == set(REGIME_FEATURES)
        assert_allclose(
            found.loc[panel.index[row]], [expected[name] for name in REGIME_FEATURES], rtol=1e-8, atol=1e-10
        )


def test_alternating_returns_by_hand():
    calm = np.tile([0.01, -0.01], 126)
    loud = calm.copy()
    loud[-21:] *= 3
    values = last(of_returns(np.column_stack([loud, loud])))
    year = np.sqrt((231 * 1 + 21 * 9) / 252)
    assert values["market_volatility_21"] == pytest.approx(np.log(3 / year))
    assert values["market_volatility_63"] == pytest.approx(np.log(np.sqrt((42 + 21 * 9) / 63) / year))
    assert values["asset_volatility_10"] == pytest.approx(np.log(3 / year))
    assert values["market_tails_2"] == pytest.approx(np.mean(np.abs(loud[-63:]) / rolled(loud) > 2))
    assert values["rising_share"] == 0.0
    assert values["asset_tails_2"] == 1.0


def rolled(values):
    return np.sqrt([np.mean(values[t - 63 : t] ** 2) for t in range(len(values) - 63, len(values))])


def test_drawdown_trend_and_breadth_by_hand():
    growth = np.full(260, 0.001) + np.tile([0.0005, -0.0005], 130)
    growth[-1] = -0.2
    values = last(of_returns(np.column_stack([growth, growth])))
    assert values["drawdown"] == pytest.approx(-0.2)
    assert values["max_drawdown"] == pytest.approx(0.2)
    m = growth[-63:]
    assert values["trend_63"] == pytest.approx(m.mean() / m.std(ddof=1) * 63**0.5)
    assert values["market_tails_3"] == pytest.approx(1 / 63)


def test_leaders_that_become_laggards_are_a_full_rotation():
    drift = np.linspace(-0.002, 0.002, 9)
    noise = 0.0001 * np.tile([1, -1], 63)[:, None]
    kept = np.vstack([np.zeros((200, 9)), drift + noise[:63], drift + noise[:63]])
    turned = np.vstack([np.zeros((200, 9)), drift + noise[:63], -drift + noise[:63]])
    sectors = {f"A{i:03d}": "abc"[i // 3] for i in range(9)}
    assert last(of_returns(kept, sectors=sectors))["rotation"] == pytest.approx(0)
    assert last(of_returns(turned, sectors=sectors))["rotation"] == pytest.approx(1)
    assert last(of_returns(turned, sectors=sectors))["sector_rotation"] == pytest.approx(1)
    assert np.isnan(last(of_returns(turned))["sector_rotation"])


def test_vix_by_hand():
    returns = 0.01 * np.random.default_rng(0).standard_normal((260, 3))
    dates = pd.bdate_range("2020-01-01", periods=260)
    vix = pd.Series(20.0, index=dates, name="vix")
    vix.iloc[-1] = 40.0
    values = last(of_returns(returns, market=vix))
    assert values["vix_level"] == pytest.approx(np.log(2))
    assert values["vix_to_month"] == pytest.approx(np.log(40 / (21 * 20 + 40) * 22))
    assert values["vix_percentile"] == pytest.approx(251.5 / 252)


def test_a_quoted_spread_is_recovered_from_trades_that_bounce_between_bid_and_ask():
    rng = np.random.default_rng(1)
    spread, n_days, n_trades, n_assets = 0.02, 300, 390, 8
    middle = np.cumsum(rng.standard_normal((n_days * n_trades, n_assets)) * 0.01 / n_trades**0.5, axis=0)
    trades = (middle + 0.5 * spread * rng.choice([-1, 1], middle.shape)).reshape(n_days, n_trades, n_assets)
    dates = pd.bdate_range("2020-01-01", periods=n_days)
    names = [f"A{i}" for i in range(n_assets)]
    close, high, low = (
        pd.DataFrame(np.exp(x), index=dates, columns=names) for x in (trades[:, -1], trades.max(1), trades.min(1))
    )
    values = last(Panel.from_prices(close, high=high, low=low))
    assert values["corwin_schultz"] == pytest.approx(spread, rel=0.25)
    assert values["abdi_ranaldo"] == pytest.approx(spread, rel=0.25)
    mismatched = last(Panel.from_prices(close, high=10 * high, low=10 * low))  # adjusted in another way: no day counts
    assert mismatched[["corwin_schultz", "abdi_ranaldo"]].isna().all()


def test_turbulence_rises_when_correlations_break_at_unchanged_volatility():
    rng = np.random.default_rng(2)
    common = rng.standard_normal((320, 1))
    usual = 0.01 * (common + 0.3 * rng.standard_normal((320, 20)))
    broken = usual.copy()
    broken[-21:] = 0.0104 * rng.standard_normal((21, 20))
    assert abs(last(of_returns(usual))["turbulence_21"]) < 0.5
    assert last(of_returns(broken))["turbulence_21"] > 1.5


def test_absorption_shifts_up_when_assets_begin_to_move_together():
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.standard_normal((560, 20))
    returns[-20:] += 0.05 * rng.standard_normal((20, 1))
    values = last(of_returns(returns), lookback=63)
    assert values["absorption_shift"] > 3
    assert values["absorption_ratio"] > 0.7


@pytest.mark.parametrize("how", ["cut", "missing", "huge", "shuffled"])
def test_the_future_changes_no_bit(how):
    parts = tables()
    row = 350
    rows = [200, 349, 350]

    def poisoned(table):
        past, future = table.iloc[: row + 2], table.iloc[row + 2 :]  # prices have one row more than returns
        if how == "cut":
            return past
        if how == "missing":
            return pd.concat([past, future * np.nan])
        if how == "huge":
            return pd.concat([past, future * 0 + np.linspace(1, 1e6, len(future))[:, None] ** 2])
        order = np.random.default_rng(0).permutation(len(future))
        return pd.concat([past, pd.DataFrame(future.to_numpy()[order], index=future.index, columns=future.columns)])

    changed = {name: table if name == "sectors" else poisoned(table) for name, table in parts.items()}
    before = regime_features(build(parts), rows, lookback=LOOKBACK)
    assert_frame_equal(
        before, regime_features(build(changed), rows, lookback=LOOKBACK), check_exact=True, check_freq=False
    )


def test_units_column_order_and_the_other_rows_do_not_matter():
    parts = tables(late=0.0)
    values = regime_features(build(parts), ROWS, lookback=LOOKBACK)
    assert values.drop(columns=["vix_level", "vix_percentile", "vix_to_month"]).iloc[-1].notna().all()
    scaled = {
        **parts,
        **{name: 10 * parts[name] for name in ("prices", "high", "low")},
        "volume": 100 * parts["volume"],
        "market": 3 * parts["market"],
    }
    assert_frame_equal(values, regime_features(build(scaled), ROWS, lookback=LOOKBACK), rtol=1e-8, atol=1e-9)
    order = np.random.default_rng(1).permutation(parts["prices"].columns)
    permuted = {**parts, "prices": parts["prices"][order]}
    assert_frame_equal(values, regime_features(build(permuted), ROWS, lookback=LOOKBACK), rtol=1e-8, atol=1e-9)
    one = regime_features(build(parts), ROWS[1:2], lookback=LOOKBACK)
    assert_frame_equal(values.iloc[1:2], one, check_exact=True)


@pytest.mark.parametrize("n_assets", [1, 2])
def test_one_and_two_assets_have_what_can_be_said_of_them(n_assets):
    parts = tables(n_assets, late=0.0)
    values = regime_features(build(parts), ROWS, lookback=LOOKBACK).iloc[-1]
    missing = set(values.index[values.isna()])
    pairs = {"volume_dispersion", "volume_concentration", "dispersion_level", "dispersion_trend"}
    pairs |= {"dispersion_to_market", "absorption_ratio", "absorption_shift"}
    assert missing == {"rotation", "sector_rotation"} | (pairs if n_assets == 1 else set())


def test_what_is_not_given_is_missing_and_never_zero():
    panel = Panel.from_prices(tables()["prices"])
    values = regime_features(panel, ROWS, lookback=LOOKBACK)
    absent = [name for name in REGIME_FEATURES if values[name].isna().all()]
    assert [name for name in absent if "volatility_252" not in name] == [
        *("vix_level", "vix_percentile", "vix_to_month", "amihud", "dollar_volume"),
        *("corwin_schultz", "corwin_schultz_change", "abdi_ranaldo", "abdi_ranaldo_change"),
        *("volume_ratio_5", "volume_ratio_21", "volume_ratio_63", "volume_dispersion", "volume_concentration"),
        *("volume_volatility_correlation", "sector_rotation"),
    ]


def test_too_short_a_history_is_missing_and_bad_rows_are_refused():
    panel = factor_market(5, 80).panel
    assert regime_features(panel, [0, 8], lookback=70).isna().to_numpy().all()
    some = regime_features(panel, [20, 69], lookback=70)
    assert some["trend_21"].notna().all()
    assert some["turbulence_21"].notna().tolist() == [False, True]
    assert some[["trend_252", "market_volatility_10", "rotation", "vix_level"]].isna().to_numpy().all()
    with pytest.raises(ParameterError, match="between 0 and 79, got -1"):
        regime_features(panel, [-1])
    with pytest.raises(ParameterError, match="lookback must be at least 63"):
        regime_features(panel, [79], lookback=62)


def test_the_market_may_be_an_index_or_its_returns():
    rng = np.random.default_rng(7)
    returns, index = 0.01 * rng.standard_normal((300, 4)), 0.01 * rng.standard_normal(300)
    dates = pd.bdate_range("2020-01-01", periods=300)
    named = of_returns(returns, market=pd.Series(index, index=dates, name="market_return"))
    levels = of_returns(returns, market=pd.Series(np.cumprod(1 + index), index=dates, name="market"))
    assert_allclose(market_returns(named), index)
    assert_allclose(market_returns(levels)[1:], index[1:])
    assert last(named)["trend_252"] == pytest.approx(index[-252:].mean() / index[-252:].std(ddof=1) * 252**0.5)
    assert last(levels)["trend_252"] == pytest.approx(last(named)["trend_252"])
    with pytest.raises(DataError, match=r"'market' must be index levels, positive, .*name a series of returns"):
        last(of_returns(returns, market=pd.Series(index, index=dates, name="market")))


def test_percentiles_and_moments_leave_missing_values_out():
    assert percentile_so_far(np.array([2.0, np.nan, 2.0, 1.0, 2.0])) == pytest.approx((1 + 0.5 * 3) / 4)
    assert np.isnan(percentile_so_far(np.array([2.0, np.nan])))
    assert np.isnan(percentile_so_far(np.array([2.0, 1.0]), min_values=3))
    mean, deviation = rolling_moments(np.array([1.0, np.nan, 3.0, np.nan, np.nan]), 4)
    assert_allclose(mean, [np.nan, np.nan, np.nan, 2.0, np.nan])
    assert_allclose(deviation, [np.nan, np.nan, np.nan, 2**0.5, np.nan])
