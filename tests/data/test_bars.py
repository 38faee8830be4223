"""Bars: worked by hand, equal to a loop over trades, and never aware of a later trade."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from eigenfolio.data.bars import BAR_COLUMNS, dollar_bars, tick_bars, tick_rule, time_bars, volume_bars
from eigenfolio.errors import DataError, ParameterError

KINDS = {
    "time": (time_bars, {"seconds": 2.5}),
    "tick": (tick_bars, {"n_trades": 7}),
    "volume": (volume_bars, {"volume": 40}),
    "dollar": (dollar_bars, {"value": 4_000.0}),
}


def some_trades(n_trades=500, *, seed=0, dated=False):
    """Draw trades with shared stamps, silent intervals and jumps in size."""
    rng = np.random.default_rng(seed)
    seconds = 34_200.0 + np.cumsum(rng.integers(0, 4, n_trades) * rng.choice([0.125, 0.125, 4.0], n_trades))
    time = pd.Timestamp("2024-01-02") + pd.to_timedelta(seconds, unit="s") if dated else seconds
    price = 100.0 + 0.25 * np.cumsum(rng.integers(-1, 2, n_trades))
    volume = np.where(rng.random(n_trades) < 0.03, 200, rng.integers(1, 12, n_trades))
    return pd.DataFrame({"time": time, "price": price, "volume": volume})


def naive_bars(trades, kind, options, remainder):
    """Walk over the trades one by one."""
    bars, current, side, last_price = [], [], 0.0, None
    width = options.get("seconds")

    def close(known_at):
        price, volume = [t[1] for t in current], [t[2] for t in current]
        vwap = sum(p * v for p, v in zip(price, volume, strict=True)) / sum(volume)
        signed = sum(t[2] * t[3] for t in current)
        bars.append(
            (
                current[-1][0],
                price[0],
                max(price),
                min(price),
                price[-1],
                sum(volume),
                vwap,
                len(price),
                signed,
                known_at,
            )
        )
        current.clear()

    for time, price, volume in trades[["time", "price", "volume"]].itertuples(index=False):
        if kind == "time" and current and time // width > current[-1][0] // width:
            close((current[-1][0] // width + 1) * width)
        if last_price is not None and price != last_price:
            side = 1.0 if price > last_price else -1.0
        last_price = price
        current.append((time, price, volume, side))
        full = {
            "tick": lambda: len(current) >= options["n_trades"],
            "volume": lambda: sum(t[2] for t in current) >= options["volume"],
            "dollar": lambda: sum(t[1] * t[2] for t in current) >= options["value"] * (1 - 1e-9),
        }
        if kind != "time" and full[kind]():
            close(time)
    if current and remainder == "keep":
        close(np.nan)
    frame = pd.DataFrame(bars, columns=["time", *BAR_COLUMNS]).set_index("time")
    return frame.astype({"n_trades": "int64", "volume": "float64"})


@pytest.mark.parametrize("remainder", ["drop", "keep"])
@pytest.mark.parametrize("kind", KINDS)
def test_bars_equal_a_loop_over_the_trades(kind, remainder):
    trades = some_trades()
    function, options = KINDS[kind]
    bars = function(trades, **options, remainder=remainder)
    assert len(bars) > 20
    assert_frame_equal(bars, naive_bars(trades, kind, options, remainder), rtol=1e-12)


def test_dollar_bars_by_hand_with_overshoot_left_in_the_bar():
    trades = pd.DataFrame(
        {"time": [1.0, 2.0, 3.0, 4.0, 5.0], "price": [10.0, 20.0, 20.0, 10.0, 30.0], "volume": [3, 5, 1, 9, 2]}
    )
    bars = dollar_bars(trades, value=100)  # 30 + 100 | 20 + 90 | 60 is the remainder
    assert bars.index.tolist() == [2.0, 4.0]
    assert bars["open"].tolist() == [10.0, 20.0]
    assert bars["vwap"].tolist() == [130 / 8, 110 / 10]
    assert bars["signed_volume"].tolist() == [5.0, 1.0 - 9.0]
    kept = dollar_bars(trades, value=100, remainder="keep")
    assert kept["volume"].tolist() == [8.0, 10.0, 2.0]
    assert np.isnan(kept["known_at"].iloc[-1])


def test_sums_that_miss_the_threshold_by_rounding_reach_it():
    trades = pd.DataFrame({"time": np.arange(30.0), "price": 0.1, "volume": 1.0})
    assert dollar_bars(trades, value=0.3)["n_trades"].tolist() == [3] * 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_bar_does_not_change_when_later_trades_do(kind):
    trades = some_trades()
    function, options = KINDS[kind]
    bars = function(trades, **options)
    for n_known in (150, 301):
        now = trades["time"].iloc[n_known - 1]
        poisoned = trades.copy()
        poisoned.loc[n_known:, ["price", "volume"]] = [1e9, 1e9]
        poisoned.loc[n_known:, "time"] += 50.0  # and nothing happens for a while
        for other in (function(trades.iloc[:n_known], **options), function(poisoned, **options)):
            past = bars[(bars["known_at"] < now).to_numpy()]
            assert len(past) > 3
            assert_frame_equal(other.iloc[: len(past)], past, check_exact=True)


def test_dates_and_seconds_give_the_same_bars():
    for function, options in KINDS.values():
        plain, dated = function(some_trades(), **options), function(some_trades(dated=True), **options)
        numbers = [name for name in BAR_COLUMNS if name != "known_at"]
        assert_array_equal(dated[numbers], plain[numbers])
        midnight = pd.Timestamp("2024-01-02")
        assert_array_equal((dated["known_at"] - midnight).dt.total_seconds(), plain["known_at"])
        assert_array_equal((dated.index - midnight).total_seconds(), plain.index)


def test_time_bars_are_known_when_their_interval_is_over_and_empty_ones_are_left_out():
    trades = pd.DataFrame({"time": [1.0, 4.9, 21.0, 22.0, 31.0], "price": 10.0, "volume": 1})
    bars = time_bars(trades, seconds=5)
    assert bars.index.tolist() == [4.9, 22.0]
    assert bars["known_at"].tolist() == [5.0, 25.0]


def test_a_given_side_replaces_the_tick_rule():
    trades = some_trades(30)
    assert (tick_bars(trades.assign(side=-1), n_trades=5)["signed_volume"] < 0).all()
    assert tick_rule(np.array([2.0, 2.0, 3.0, 3.0, 1.0, 1.0])).tolist() == [0, 0, 1, 1, -1, -1]


def test_volume_and_value_are_conserved_over_all_bars():
    trades = some_trades()
    for function, options in KINDS.values():
        bars = function(trades, **options, remainder="keep")
        assert bars["volume"].sum() == trades["volume"].sum()
        assert bars["n_trades"].sum() == len(trades)
        assert (bars["vwap"] * bars["volume"]).sum() == pytest.approx((trades["price"] * trades["volume"]).sum())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"price": [1.0, 0.0, 1.0]}, r"row 1 \(time 2.0\): price is not positive; 1 such rows"),
        ({"volume": [1.0, 1.0, np.nan]}, "row 2 .*volume is not positive"),
        ({"time": [1.0, 3.0, 2.0]}, "row 2 .*comes before the trade above it"),
        ({"time": [1.0, np.nan, 2.0]}, "row 1 .*the time is missing"),
        ({"time": ["a", "b", "c"]}, "time must be dates or seconds"),
        ({"price": ["a", "b", "c"]}, "price must be numbers"),
        ({"side": [1, 2, -1]}, "row 1 .*side is none of 1, -1, 0"),
    ],
)
def test_every_wrong_trade_is_one_line_that_says_where(changes, error):
    trades = pd.DataFrame({"time": [1.0, 2.0, 3.0], "price": 1.0, "volume": 1.0}).assign(**changes)
    with pytest.raises(DataError, match=error):
        tick_bars(trades, n_trades=1)


def test_missing_columns_rows_and_wrong_options_are_refused():
    trades = some_trades(10)
    with pytest.raises(DataError, match="column 'volume' is missing"):
        tick_bars(trades.drop(columns="volume"), n_trades=2)
    with pytest.raises(DataError, match="no rows"):
        tick_bars(trades.iloc[:0], n_trades=2)
    for function, option in (
        (time_bars, "seconds"),
        (tick_bars, "n_trades"),
        (volume_bars, "volume"),
        (dollar_bars, "value"),
    ):
        for wrong in (0, -1, np.nan):
            with pytest.raises(ParameterError, match=f"{option} must be"):
                function(trades, **{option: wrong})
    with pytest.raises(ParameterError, match="remainder must be 'drop' or 'keep'"):
        tick_bars(trades, n_trades=2, remainder="maybe")


def test_half_a_million_real_trades_keep_their_volume(shared_data):
    trades = pd.read_parquet(shared_data / "emini_sp500_ticks_2013-09.parquet")
    bars = volume_bars(trades, volume=2_000, remainder="keep")
    assert bars["volume"].sum() == trades["volume"].sum()
    assert (bars["volume"].iloc[:-1] >= 2_000).all()
    assert (bars["volume"].iloc[:-1] < 2_000 + trades["volume"].max()).all()
