"""Features know the past only, no unit, no order of assets, and not which other rows were asked for."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eigenfolio.features.table import FAMILIES
from eigenfolio.panel import Panel

LISTED = runpy.run_path(str(Path(__file__).with_name("features.py")))
ALL_FAMILIES, OF_THE_CALENDAR = LISTED["ALL_FAMILIES"], LISTED["OF_THE_CALENDAR"]
N_ROWS, N_ASSETS = 560, 9
ROWS = [300, 377, 441, 490]


@pytest.fixture(scope="module", params=list(ALL_FAMILIES))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def compute(family):
    return ALL_FAMILIES[family]


@pytest.fixture(scope="module")
def tables():
    """Everything a panel can hold: a late listing, gaps, a delisting with a loss, a gap that later ends."""
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2010-06-01", periods=N_ROWS + 1, name="date")
    columns = [f"A{i}" for i in range(N_ASSETS)]
    volatility = 0.008 * np.exp(0.7 * np.sin(np.arange(N_ROWS + 1) / 40))[:, None]
    moves = volatility * (rng.standard_normal((N_ROWS + 1, 1)) + rng.standard_normal((N_ROWS + 1, N_ASSETS)))
    moves[400, 3] = -0.6
    prices = 50 * np.exp(np.cumsum(moves, axis=0))
    above, below = 1 + np.abs(0.004 * rng.standard_normal((2, *prices.shape)))
    high, low = prices * above, prices / below
    volume = np.exp(12 + rng.standard_normal(prices.shape) + 20 * np.abs(moves))
    for values in (prices, high, low, volume):
        values[:200, 1] = np.nan
        values[401:, 3] = np.nan
        values[430:480, 4] = np.nan  # at row 441 nobody knows that it comes back
    prices[rng.random(prices.shape) < 0.01] = np.nan
    prices[:, 0] = np.where(np.isnan(prices[:, 0]), 50.0, prices[:, 0])

    def frame(values):
        return pd.DataFrame(values, index=index, columns=columns)

    vix = pd.Series(np.exp(3 + 0.3 * rng.standard_normal(N_ROWS + 1)), index=index, name="vix")
    return {"prices": frame(prices), "volume": frame(volume), "high": frame(high), "low": frame(low), "market": vix}


def panel_of(tables, **changes) -> Panel:
    sectors = {f"A{i}": "xyz"[i % 3] for i in range(N_ASSETS)}
    everything = {**tables, "sectors": sectors, **changes}
    return Panel.from_prices(everything.pop("prices"), **everything)


@pytest.fixture(scope="module")
def panel(tables):
    return panel_of(tables)


@pytest.fixture(scope="module")
def values(compute, panel):
    return compute(panel, ROWS)


def bits(frame: pd.DataFrame) -> np.ndarray:
    return np.ascontiguousarray(frame.to_numpy(dtype=float)).view(np.int64)


POISONS = {
    "missing but one": lambda future, rng: np.where(np.arange(future.shape[-1]) == 0, future, np.nan),
    "huge": lambda future, rng: future * np.exp(5 * rng.standard_normal(future.shape)),
    "shuffled": lambda future, rng: rng.permutation(future, axis=0),
}


def spoiled(tables, row, poison) -> Panel:
    """The panel with everything after a row replaced."""
    rng = np.random.default_rng(0)
    changed = {}
    for name, table in tables.items():
        wide = table.to_frame() if isinstance(table, pd.Series) else table
        values = wide.to_numpy(copy=True)
        values[row + 2 :] = POISONS[poison](values[row + 2 :], rng)  # prices begin one row before returns
        changed[name] = pd.DataFrame(values, index=wide.index, columns=wide.columns)
    return panel_of(changed)


@pytest.mark.parametrize("poison", list(POISONS))
def test_poisoning_the_future_changes_no_bit_of_any_feature(poison, compute, tables, values):
    for k, row in enumerate(ROWS):
        got = compute(spoiled(tables, row, poison), ROWS[: k + 1])
        changed = (bits(got) != bits(values[: k + 1])).any(axis=0)
        assert not changed.any(), f"{list(values.columns[changed])} at row {row}"


@pytest.mark.parametrize("poison", list(POISONS))
def test_the_poison_reaches_a_feature_that_looks_ahead(poison, tables, panel):
    def leaking(panel, rows):
        return panel.returns.iloc[rows] / panel.returns.std()

    assert (bits(leaking(spoiled(tables, ROWS[0], poison), ROWS[:1])) != bits(leaking(panel, ROWS[:1]))).any()


def test_cutting_the_future_off_changes_no_bit_of_any_feature(compute, panel, values):
    for k, row in enumerate(ROWS):
        known = panel.until(panel.index[row])
        got = compute(known, ROWS[: k + 1])
        changed = (bits(got) != bits(values[: k + 1])).any(axis=0)
        assert not changed.any(), f"{list(values.columns[changed])} at row {row}"


def test_a_row_does_not_depend_on_which_other_rows_are_asked_for(compute, panel, values):
    for k, row in enumerate(ROWS):
        np.testing.assert_array_equal(bits(compute(panel, [row])), bits(values[k : k + 1]))


def test_units_of_price_and_volume_do_not_matter(compute, tables, values):
    scaled = {name: table if name == "market" else 10 * table for name, table in tables.items()}
    scaled["volume"] = 100 * tables["volume"]
    got = compute(panel_of(scaled), ROWS)
    np.testing.assert_allclose(got, values, rtol=1e-6, atol=1e-6)


def test_the_order_of_assets_does_not_matter(compute, tables, values):
    order = np.random.default_rng(3).permutation(N_ASSETS)
    mixed = {name: t if name == "market" else t.iloc[:, order] for name, t in tables.items()}
    got = compute(panel_of(mixed), ROWS)
    np.testing.assert_allclose(got, values, rtol=1e-6, atol=1e-6)


def test_columns_are_fixed_whatever_is_known_and_however_few_assets_there_are(family, compute, tables, values):
    if family in FAMILIES:
        assert tuple(values.columns) == FAMILIES[family]
    bare = Panel.from_prices(tables["prices"])
    returns = Panel.from_returns(bare.returns)
    for small in (bare, returns, panel_of(tables).select(["A0"]), panel_of(tables).select(["A0", "A2"])):
        got = compute(small, ROWS)
        assert list(got.columns) == list(values.columns)
        assert not np.isinf(got.to_numpy(dtype=float)).any()
        assert got.index.equals(small.index[ROWS])


def test_what_can_be_known_is_known_and_nothing_is_infinite(values):
    assert not np.isinf(values.to_numpy(dtype=float)).any()
    absent = [name for name in values if values[name].isna().all()]
    assert [name for name in absent if not name.startswith(("economic_release", "other"))] == []


def test_too_short_a_history_is_missing_not_zero(family, compute, tables):
    short = panel_of({name: table.iloc[:15] for name, table in tables.items()}, sectors={"A0": "x"})
    got = compute(short, [0, 5, 13])
    assert got.shape[0] == 3
    if family not in OF_THE_CALENDAR:
        numbers = got.drop(columns="label", errors="ignore")
        assert numbers.isna().to_numpy().all() or not (numbers == 0).any().any()


def test_every_family_is_listed():
    assert set(FAMILIES) <= set(ALL_FAMILIES)
