"""Drawing windows: the same bits for any number of workers, nothing after the last date, and what each change does."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features import market_regimes
from eigenfolio.panel import Panel
from eigenfolio.training import mixture
from eigenfolio.training.mixture import WindowSource, draw_mixture, weekly_returns


def panel(n_rows=420, n_assets=40, *, seed=0, prefix="a") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(
        x, index=pd.bdate_range("2001-01-01", periods=n_rows), columns=[f"{prefix}{i}" for i in range(n_assets)]
    )


SMALL = {"min_lookback": 60, "max_lookback": 120}
PANELS = {"stocks": panel(), "gone": panel(seed=1, n_assets=10, prefix="g")}
THROUGH = PANELS["stocks"].index[350]
EVERY = (
    WindowSource(name="plain", panels=("stocks", "gone"), counts={5: 3, 8: 66}, **SMALL),
    WindowSource(name="copies", panels=("stocks",), counts={12: 2}, change="copies", **SMALL),
    WindowSource(name="foreign", panels=("stocks",), counts={6: 2}, change="foreign", **SMALL),
    WindowSource(name="portfolios", panels=("stocks",), counts={6: 2}, change="portfolios", **SMALL),
    WindowSource(name="late", panels=("stocks",), counts={6: 2}, change="late", **SMALL),
    WindowSource(
        name="weeks", panels=("stocks",), counts={5: 2}, min_lookback=30, max_lookback=40, horizon=4, frequency="weekly"
    ),
    WindowSource(name="populations", counts={5: 3}, change="population", **SMALL),
)


def draw(panels=PANELS, sources=EVERY, *, through=THROUGH, seed=3, **options):
    return draw_mixture(panels, sources, through=through, seed=seed, **options)


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.source, a.date) == (b.source, b.date)
        assert_array_equal(a.future, b.future)
        assert_array_equal(a.window.summary, b.window.summary)
        for left, right in zip(a.window.spectra, b.window.spectra, strict=True):
            assert_array_equal(left.vectors, right.vectors)
            assert_array_equal(left.assets, right.assets)


def seen_by(change, n_assets=20, n_rows=100, seed=0):
    """Rows before and after a change."""
    rng = np.random.default_rng(seed)
    seen, future = 0.01 * rng.standard_normal((n_rows, n_assets)), 0.01 * rng.standard_normal((21, n_assets))
    return seen, future, change(seen.copy(), future.copy(), rng)


def test_every_source_gives_its_windows_in_order():
    drawn = draw()
    assert [window.source for window in drawn] == [s.name for s in EVERY for _ in range(s.n_windows)]
    assert sorted({len(w.window.log_volatility) for w in drawn if w.source == "plain"}) == [5, 8]
    for window in drawn:
        expected = {"weeks": 4, "populations": 5}.get(window.source, 21)
        assert window.future.shape == (expected, len(window.window.log_volatility))
        assert np.isfinite(window.future).all()
        rows = np.exp(window.window.spectra[0].context[1]) + 1
        assert (29 if window.source == "weeks" else 59) <= rows <= 121


def test_the_draw_has_the_same_bits_for_any_number_of_workers_and_another_seed_other_ones():
    once = draw()
    assert_same(draw(n_jobs=2), once)
    assert not np.array_equal(draw(seed=4)[0].future, once[0].future)
    assert len({window.future.tobytes() for window in once}) == len(once)


def test_a_window_depends_on_its_source_and_number_alone():
    fewer = (EVERY[0].model_copy(update={"counts": {5: 3, 8: 2}}), *EVERY[1:])
    assert_same(draw(sources=fewer)[:5], draw()[:5])


def test_nothing_after_the_last_date_is_touched():
    poisoned = {name: frame.copy() for name, frame in PANELS.items()}
    for frame in poisoned.values():
        frame.loc[frame.index > THROUGH] = 1e3
    assert_same(draw(poisoned), draw())
    cut = {name: frame.loc[:THROUGH] for name, frame in PANELS.items()}
    assert_same(draw(cut), draw())


def test_decisions_lie_between_the_first_date_and_a_horizon_before_the_last():
    X = panel(100, 3)
    source = WindowSource(name="s", panels=("p",), counts={3: 300}, min_lookback=60, max_lookback=62, horizon=10)
    through = X.index[89]
    drawn = draw_mixture({"p": X}, [source], through=through, seed=0)
    assert X.index[78] <= max(window.date for window in drawn) <= X.index[79]  # ten rows follow
    for window in drawn:
        t = X.index.get_loc(window.date)
        assert_array_equal(window.future, X.to_numpy()[t + 1 : t + 11])
    first = X.index[75]
    drawn = draw_mixture({"p": X}, [source], through=through, seed=0, first=first)
    assert min(window.date for window in drawn) == first


def test_assets_must_be_complete_over_the_look_back_and_move_and_may_end_in_the_horizon():
    X = panel(140, 6)
    X.iloc[70, 0] = np.nan  # incomplete in windows over row 70
    X.iloc[:, 1] = X.iloc[:, 1].where(np.arange(140) % 2 == 0, 0.0)  # does not move on half of the days
    X.iloc[125:, 2] = np.nan
    X.iloc[128, 3] = np.inf
    source = WindowSource(name="s", panels=("p",), counts={3: 60}, min_lookback=60, max_lookback=70)
    for window in draw_mixture({"p": X}, [source], through=X.index[-1], seed=0):
        assert np.isfinite(window.future).all()
        t = X.index.get_loc(window.date)
        ours = X.iloc[t + 1 : t + 22].fillna(0.0).replace(np.inf, 0.0).to_numpy()
        columns = [i for i in range(6) if any(np.array_equal(ours[:, i], f) for f in window.future.T)]
        assert 1 not in columns


def test_copies_follow_their_originals_and_leave_the_rest():
    seen, future, (after, later) = seen_by(mixture._with_copies, n_assets=60)
    changed = np.flatnonzero((seen != after).any(axis=0))
    assert len(changed) == 3  # pairs of a tenth of 60
    assert_array_equal(changed, np.flatnonzero((future != later).any(axis=0)))
    kept = np.setdiff1d(np.arange(60), changed)
    for copy in changed:
        errors = (after[:, [copy]] - after[:, kept]).std(axis=0) * np.sqrt(252)
        assert 0.001 < errors.min() < 0.07
        origin = kept[errors.argmin()]
        assert (later[:, copy] - later[:, origin]).std() * np.sqrt(252) < 0.1


def test_foreign_instruments_are_an_inverse_fund_and_a_nearly_riskless_one():
    def with_market(seen, future, rng):
        return mixture._with_foreign(seen + 0.01 * rng.standard_normal((len(seen), 1)), future, rng)

    seen, _, (after, later) = seen_by(with_market)
    volatility = after.std(axis=0)
    cash = volatility.argmin()
    assert 0.5e-4 < volatility[cash] < 10**-2.4
    correlation = np.corrcoef(after.T)
    inverse = correlation.sum(axis=0).argmin()
    assert inverse != cash
    assert np.corrcoef(after[:, inverse], after.mean(axis=1))[0, 1] < -0.8
    assert later[:, cash].std() < 10**-2.4
    assert after.shape == seen.shape


def test_portfolios_hold_three_to_eleven_members_alike():
    table = mixture._Table.of(PANELS["stocks"])
    _, future, _ = mixture._real(table, EVERY[3], 6, np.random.default_rng(0), None)
    rng = np.random.default_rng(0)
    _, members, _ = mixture._span(table, EVERY[3], 18, rng, None)
    held = int(rng.integers(3, 12))
    assert 3 <= held <= 11
    for j in range(6):
        chosen = rng.choice(18, held, replace=False)
        assert_allclose(future[:, j], members[:, chosen].mean(axis=1), rtol=1e-12)


def test_late_listings_hide_first_rows_of_some_and_never_the_last():
    shares = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        seen = mixture._with_late_listings(rng.standard_normal((200, 20)), rng)
        hidden = np.isnan(seen)
        assert not hidden[-1].any()
        late = hidden[:20].all(axis=0)
        assert not late.all()
        assert ((~hidden).sum(axis=0) >= 50).all()  # 63 rows but for single gaps
        shares.append(late.mean())
    assert min(shares) < 0.3 < 0.5 < max(shares)


@pytest.fixture
def constant_level(monkeypatch):
    """Populations whose level of volatility stays."""
    monkeypatch.setattr(mixture, "_wandering_level", lambda n_rows, rng: np.ones(n_rows))


@pytest.mark.parametrize("seed", range(8))
def test_the_horizon_of_a_population_is_a_root_of_its_covariance(seed, constant_level):
    source = WindowSource(name="p", counts={6: 1}, change="population", min_lookback=30_000, max_lookback=30_001)
    returns, root = mixture._population(source, 6, np.random.default_rng(seed))
    truth = root.T @ root / len(root)
    assert relative_error(np.cov(returns.T), truth) < 0.08
    assert np.linalg.eigvalsh(truth)[0] > 0


@pytest.mark.parametrize("seed", range(8))
def test_a_wandering_level_leaves_the_correlations_of_a_population(seed):
    source = WindowSource(name="p", counts={6: 1}, change="population", min_lookback=30_000, max_lookback=30_001)
    returns, root = mixture._population(source, 6, np.random.default_rng(seed))
    estimate, truth = np.cov(returns.T), root.T @ root / len(root)
    assert relative_error(estimate * np.trace(truth) / np.trace(estimate), truth) < 0.08


def relative_error(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Largest difference in units of the volatilities."""
    sigma = np.sqrt(np.diag(truth))
    return float(np.abs((estimate - truth) / np.outer(sigma, sigma)).max())


def test_the_level_of_some_populations_wanders_and_the_horizon_has_the_newest():
    source = WindowSource(name="p", counts={30: 1}, change="population", min_lookback=400, max_lookback=401)
    newest, ahead = [], []
    for seed in range(100):
        returns, root = mixture._population(source, 30, np.random.default_rng(seed))
        size = np.log(np.square(returns).sum(axis=1))
        newest.append(np.median(size[-21:]) - np.median(size))
        ahead.append(np.log(np.trace(root.T @ root / len(root))) - np.log(np.square(returns).sum(axis=1).mean()))
    assert np.sum(np.abs(ahead) < 0.1) > 20
    assert np.corrcoef(newest, ahead)[0, 1] > 0.6


def test_weeks_compound_their_days_and_need_three():
    days = pd.bdate_range("2020-01-06", "2020-01-21")
    daily = pd.DataFrame({"A": 0.01, "B": np.nan}, index=days)
    daily.loc["2020-01-08", "B"] = 0.02
    daily.loc["2020-01-15", "A"] = -1.0
    weekly = weekly_returns(daily)
    assert list(weekly.index) == [pd.Timestamp("2020-01-10"), pd.Timestamp("2020-01-17")]
    assert_allclose(weekly["A"], [1.01**5 - 1, -1.0])
    assert weekly["B"].isna().all()


def test_what_cannot_be_drawn_is_an_error_that_says_why():
    with pytest.raises(ParameterError, match="needs panel 'funds', got"):
        draw(sources=[WindowSource(name="f", panels=("funds",), counts={5: 1})])
    with pytest.raises(ParameterError, match="`through` must be a date"):
        draw(sources=EVERY[:1], through=None)
    with pytest.raises(DataError, match="source 'wide': 400 assets complete over 60 to 120 rows were not found"):
        draw(sources=[WindowSource(name="wide", panels=("stocks",), counts={400: 1}, **SMALL)])
    assert len(draw(sources=EVERY[-1:], through=None)) == 3


def test_progress_is_told_chunk_by_chunk():
    told = []
    draw(on_done=lambda: told.append(1))
    assert len(told) == 8  # 69 windows are two chunks


def test_a_window_carries_the_causal_regime_at_its_decision_and_at_the_end_of_its_horizon():
    X = panel(900, 6)
    X.iloc[600:] *= np.exp(np.sin(np.arange(300) / 20))[:, None]  # calm and wild by turns
    source = WindowSource(name="s", panels=("p",), counts={3: 150}, min_lookback=60, max_lookback=90)
    weeks = source.model_copy(update={"name": "w", "frequency": "weekly", "horizon": 4, "max_lookback": 61})
    labels = market_regimes(Panel.from_returns(X))["label"]
    drawn = draw_mixture({"p": X}, [source, weeks], through=X.index[-1], seed=0)
    for window in drawn:
        if window.source == "s":
            t = X.index.get_loc(window.date)
            expected = labels.iloc[t], labels.iloc[t + 21]
        else:  # a week's label is that of its last day
            expected = labels.asof(window.date), labels.asof(window.date + pd.Timedelta(days=28))
        assert [window.regime, window.next_regime] == [None if pd.isna(label) else label for label in expected]
    assert {window.next_regime for window in drawn} >= {None, "calm", "stressed", "crisis"}
    assert sum(window.regime != window.next_regime for window in drawn) > 20
    assert draw(sources=EVERY[-1:], through=None)[0].next_regime is None


def test_regimes_are_known_from_the_rows_before_and_impossible_returns_count_as_missing():
    X = panel(900, 6)
    source = WindowSource(name="s", panels=("p",), counts={3: 40}, max_lookback=70)
    once = draw_mixture({"p": X}, [source], through=X.index[699], seed=0)
    poisoned = X.copy()
    poisoned.iloc[700:] = 1e3
    again = draw_mixture({"p": poisoned}, [source], through=X.index[699], seed=0)
    assert [w.next_regime for w in once] == [w.next_regime for w in again]
    broken = X.copy()
    broken.iloc[100, 0], broken.iloc[200, 1] = np.inf, -2.0
    assert len(draw_mixture({"p": broken}, [source], through=X.index[699], seed=0)) == 40


def test_later_rows_are_kept_beside_the_horizon_on_request():
    X = panel(400, 6)
    source = WindowSource(name="s", panels=("p",), counts={3: 20}, max_lookback=70)
    for window in draw_mixture({"p": X}, [source], through=X.index[-1], seed=0, n_later=40):
        t = X.index.get_loc(window.date)
        assert window.later.shape == (40, 3)
        assert_array_equal(window.later[:21], window.future)
        assert set(window.later[-1]) <= set(X.iloc[t + 40])
    assert draw()[0].later is None


def test_later_rows_of_a_population_have_its_covariance_and_change_nothing_else(constant_level):
    source = WindowSource(name="p", counts={4: 6}, change="population", max_lookback=70)
    plain = draw_mixture({}, [source], through=None, seed=0)
    longer = draw_mixture({}, [source], through=None, seed=0, n_later=20_000)
    assert_same(plain, longer)
    for window in longer:
        truth = window.future.T @ window.future / len(window.future)
        assert relative_error(window.later.T @ window.later / len(window.later), truth) < 0.1
