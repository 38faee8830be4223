"""Order-book and bar features: by hand, equal to slow loops, without units, and blind to what comes later."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from eigenfolio.data.bars import time_bars, volume_bars
from eigenfolio.data.order_books import OrderBook, read_order_book
from eigenfolio.data.synthetic import order_book
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.features.microstructure import (
    BAR_FEATURES,
    ORDER_BOOK_FEATURES,
    _sliding_medians,
    bar_features,
    order_book_feature_names,
    order_book_features,
    order_flow,
)

IN_SPREADS = (
    "level_spread",
    "depth",
    "imbalance",
    "microprice",
    "ofi",
    "vwap",
    "intensity",
)  # know price differences only


def some_book(n_events=160, n_levels=3, *, seed=0, halt=True):
    """Draw a book with shared stamps, empty deep levels and a halt in which it is crossed."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.integers(0, 3, (n_events, 2, n_levels)) + 1, axis=2)
    centre = 10_000 + np.cumsum(rng.integers(-1, 2, n_events))
    ask, bid = 0.01 * (centre[:, None] + steps[:, 0]), 0.01 * (centre[:, None] - steps[:, 1])
    ask_size, bid_size = rng.integers(1, 90, (2, n_events, n_levels)).astype(float)
    kinds = rng.choice([1, 1, 2, 3, 4, 5], n_events)
    side = rng.choice([-1, 1], n_events)
    price = np.where(side < 0, ask[:, 0], bid[:, 0])
    for values, prices in ((ask_size, ask), (bid_size, bid)):
        empty = rng.random(n_events) < 0.2
        values[empty, -1] = prices[empty, -1] = np.nan
    if halt:
        first, last = n_events // 3, n_events // 3 + 6
        kinds[[first, last]] = 7
        price[first], price[last] = -1, 1
        bid[first + 2, 0] = ask[first + 2, 0] + 0.02
    messages = pd.DataFrame({"type": kinds, "size": rng.integers(1, 50, n_events), "price": price, "direction": side})
    times = 34_200 + np.cumsum(rng.choice([0.0, 0.125, 0.5, 2.0], n_events))
    return OrderBook(pd.Index(times), messages, ask, ask_size, bid, bid_size)


def altered(book, *, rows=slice(None), price=1.0, size=1.0, shift=0.0, clock=0.0):
    """Return the book with prices and sizes of some rows changed."""
    arrays = {name: np.array(getattr(book, name)) for name in ("ask_price", "ask_size", "bid_price", "bid_size")}
    for name, values in arrays.items():
        values[rows] = values[rows] * price + shift if name.endswith("price") else values[rows] * size
    messages = book.messages.astype(float)
    event = (messages["type"] != 7).to_numpy() & np.isin(np.arange(book.n_events), np.arange(book.n_events)[rows])
    messages.loc[event, "price"] = messages.loc[event, "price"] * price + shift
    messages.loc[event, "size"] *= size
    return OrderBook(book.times + clock, messages, **arrays)


def head(book, n_rows):
    return OrderBook.from_frame(book.to_frame().iloc[:n_rows])


# ---------------------------------------------------------------------------- order flow


def test_order_flow_of_every_kind_of_event_by_hand():
    quotes = [  # bid, size, ask, size; what happens; contribution
        (10.00, 100, 10.02, 80),
        (10.00, 130, 10.02, 80),  # 30 more at the bid: +30
        (10.00, 130, 10.02, 50),  # a buyer takes 30 from the ask: +30
        (10.01, 20, 10.02, 50),  # a better bid of 20: +20
        (10.00, 130, 10.02, 50),  # it is cancelled: -20
        (10.00, 130, 10.01, 10),  # a better ask of 10: -10
        (10.00, 130, 10.02, 50),  # it is bought: +10
        (9.99, 40, 10.02, 75),  # the bid is sold into, 25 join the ask: -130 - 25
    ]
    frame = pd.DataFrame(quotes, columns=["bid_price", "bid_size", "ask_price", "ask_size"])
    book = OrderBook.from_frame(frame.assign(time=np.arange(8.0)))
    assert order_flow(book)[:, 0].tolist() == [0, 30, 30, 20, -20, -10, 10, -155]
    table = order_book_features(book, levels=1, horizons=(2,))
    # rows 1..3: depth (130 + 80, 130 + 50, 20 + 50) / 2, flow 30 + 20
    assert table["ofi_1_2"].iloc[3] == pytest.approx((30 + 20) / np.mean([105, 90, 35]))


def test_a_side_that_empties_is_an_order_taken_away():
    frame = pd.DataFrame(
        {
            "time": [1.0, 2.0, 3.0],
            "ask_price": [11, np.nan, 11],
            "ask_size": [5, np.nan, 5],
            "bid_price": 9,
            "bid_size": 4,
        }
    )
    book = OrderBook.from_frame(frame)
    assert order_flow(book)[:, 0].tolist() == [0, 5, -5]
    table = order_book_features(book, levels=1, horizons=(1,))
    assert table["imbalance_1"].iloc[1] == 1.0
    assert table[["relative_spread", "return_1", "microprice_distance"]].iloc[1].isna().all()


def test_nothing_is_measured_in_a_halt_or_summed_over_it():
    book = some_book()
    first, last = np.flatnonzero(book.halted)[[0, -1]]
    assert (order_flow(book, levels=3)[first : last + 2] == 0).all()
    table = order_book_features(book, levels=3, horizons=(2, 5), memory=20)
    assert table.iloc[first : last + 1].isna().all().all()
    assert table["return_2"].iloc[last + 1 : last + 3].isna().all()
    assert table["imbalance_1"].iloc[last + 1 :].notna().all()


# ---------------------------------------------------------------------------- order-book features


def test_two_levels_and_two_trades_by_hand():
    frame = pd.DataFrame(
        {
            "time": [0.0, 1.0, 3.0], "type": [1, 4, 4], "size": [10, 30, 10], "price": [99.0, 101.0, 99.0],
            "direction": [1, -1, 1],
            "ask_price_1": [101.0, 101.0, 102.0], "ask_size_1": [40.0, 10.0, 20.0],
            "bid_price_1": [99.0, 99.0, 98.0], "bid_size_1": [20.0, 30.0, 60.0],
            "ask_price_2": [102.0, 102.0, 104.0], "ask_size_2": [10.0, 10.0, 20.0],
            "bid_price_2": [98.0, 98.0, 96.0], "bid_size_2": [10.0, 10.0, 20.0],
        }
    )  # fmt: skip
    table = order_book_features(OrderBook.from_frame(frame), levels=2, horizons=(1, 2), memory=2)
    now = table.iloc[2]
    assert now["relative_spread"] == pytest.approx(1e4 * 4 / 100)
    assert now["spread_ratio"] == pytest.approx(np.log(4 / 3))  # median of 2 and 4
    assert now["level_spread_2"] == pytest.approx(np.log(8 / 4))
    assert now["ask_depth_1"] == pytest.approx(np.log(20 / 15))
    assert now["bid_depth_1"] == pytest.approx(np.log(60 / 45))
    assert now["imbalance_1"] == 0.5
    assert now["cumulative_imbalance_2"] == pytest.approx(40 / 120)
    bid, ask = (98 * 60 + 96 * 20) / 80, (102 * 20 + 104 * 20) / 40
    assert now["microprice_distance"] == pytest.approx(((ask * 80 + bid * 40) / 120 - 100) / 4)
    assert now["vwap_distance_2"] == pytest.approx((100 - (101 * 30 + 99 * 10) / 40) / 4)
    assert now["trade_imbalance_2"] == (30 - 10) / 40
    assert now["trade_imbalance_1"] == -1.0
    assert now["intensity_1"] == pytest.approx(np.log(2 / (2 / 3 * 2 + 1)))  # 1 event in 2 s, 2 in 3 s
    assert now["return_2"] == 0.0
    assert np.isnan(now["volatility_ratio_2"])  # the mid never moved
    assert np.isnan(table["ofi_1_2"].iloc[1])


def naive_features(book, levels, horizons, clock, memory, stamps):
    """Compute every feature of every stamp by itself, in plain loops over rows."""
    ns, halted, n_levels = book.nanoseconds, book.halted, min(levels, book.n_levels)
    end = "s" if clock == "seconds" else ""
    trades = book.trades()
    mid, spread = book.mid, book.ask_price[:, 0] - book.bid_price[:, 0]
    flows = np.zeros((book.n_events, n_levels))
    for i in range(1, book.n_events):
        for k in range(n_levels):
            b0, b1 = (np.nan_to_num(book.bid_price[j, k], nan=-np.inf) for j in (i - 1, i))
            a0, a1 = (np.nan_to_num(book.ask_price[j, k], nan=np.inf) for j in (i - 1, i))
            qb0, qb1, qa0, qa1 = (np.nan_to_num(q[j, k]) for q in (book.bid_size, book.ask_size) for j in (i - 1, i))
            e = (
                (qb1 if b1 >= b0 else 0)
                - (qb0 if b1 <= b0 else 0)
                - (qa1 if a1 <= a0 else 0)
                + (qa0 if a1 >= a0 else 0)
            )
            flows[i, k] = 0 if halted[i] or halted[i - 1] else e

    def start_of(row, now, reach):
        if clock == "events":
            return row - reach
        earlier = [i for i in range(row + 1) if ns[i] <= now - reach * 1e9]
        return earlier[-1] if earlier else -1

    def power(rows):
        steps = [i for i in rows if i > 0 and not halted[i] and not halted[i - 1]]
        return sum(np.log(mid[i] / mid[i - 1]) ** 2 for i in steps)

    out = []
    for row, now in stamps:
        f = {}
        if halted[row]:
            out.append(f)
            continue
        m = max(start_of(row, now, memory), 0)
        past = [i for i in range(m + 1, row + 1) if not halted[i]]
        enough = start_of(row, now, horizons[-1]) >= 0
        f["relative_spread"] = 1e4 * spread[row] / mid[row]
        if enough and past:
            f["spread_ratio"] = np.log(spread[row] / mid[row] / np.nanmedian([spread[i] / mid[i] for i in past]))
        qb, qa = np.nan_to_num(book.bid_size[row, :n_levels]), np.nan_to_num(book.ask_size[row, :n_levels])
        for k in range(n_levels):
            for side, size in (("ask", book.ask_size), ("bid", book.bid_size)):
                seen = [size[i, k] for i in past if not np.isnan(size[i, k])]
                if enough and seen and not np.isnan(size[row, k]):
                    f[f"{side}_depth_{k + 1}"] = np.log(size[row, k] / np.median(seen))
            if qb[k] + qa[k] > 0:
                f[f"imbalance_{k + 1}"] = (qb[k] - qa[k]) / (qb[k] + qa[k])
            if k:
                f[f"level_spread_{k + 1}"] = np.log((book.ask_price[row, k] - book.bid_price[row, k]) / spread[row])
                b, a = qb[: k + 1].sum(), qa[: k + 1].sum()
                f[f"cumulative_imbalance_{k + 1}"] = (b - a) / (b + a)
        ask = np.nansum(book.ask_price[row, :n_levels] * qa) / qa.sum()
        bid = np.nansum(book.bid_price[row, :n_levels] * qb) / qb.sum()
        micro = (ask * qb.sum() + bid * qa.sum()) / (qa.sum() + qb.sum())
        f["microprice_distance"] = (micro - mid[row]) / spread[row]
        for h in horizons:
            s = start_of(row, now, h)
            if s < 0:
                continue
            name = f"{h:g}{end}"
            window = range(s + 1, row + 1)
            depths = [
                [
                    np.nan_to_num(book.bid_size[i, k]) / 2 + np.nan_to_num(book.ask_size[i, k]) / 2
                    for k in range(n_levels)
                ]
                for i in range(s, row + 1)
                if not halted[i]
            ]
            depth = np.mean(depths, axis=0)
            flow = sum((flows[i] for i in window), np.zeros(n_levels))
            for k in range(n_levels):
                if depth[k] > 0:
                    f[f"ofi_{k + 1}_{name}"] = flow[k] / depth[k]
            f[f"ofi_total_{name}"] = flow.sum() / depth.sum()
            bought = trades.loc[[i for i in window if i in trades.index]]
            if len(bought):
                vwap = (bought["price"] * bought["volume"]).sum() / bought["volume"].sum()
                f[f"vwap_distance_{name}"] = (mid[row] - vwap) / spread[row]
                f[f"trade_imbalance_{name}"] = (bought["side"] * bought["volume"]).sum() / bought["volume"].sum()
            if clock == "events":
                seconds, remembered, width, long = (ns[row] - ns[s]) / 1e9, (ns[row] - ns[m]) / 1e9, h, row - m
            else:
                seconds = width = h
                remembered = long = min(memory, (now - ns[0]) / 1e9)
            if remembered > 0:
                for kind, rows in (("intensity", None), ("trade_intensity", set(trades.index))):
                    count = [
                        sum(not halted[i] and (rows is None or i in rows) for i in span) for span in (window, past)
                    ]
                    f[f"{kind}_{name}"] = np.log((count[0] + 1) / (count[1] / remembered * seconds + 1))
            if not halted[s]:
                f[f"return_{name}"] = 1e4 * np.log(mid[row] / mid[s])

            if power(range(m + 1, row + 1)) > 0:
                f[f"volatility_ratio_{name}"] = np.sqrt(power(window) / width / (power(range(m + 1, row + 1)) / long))
        out.append(f)
    return pd.DataFrame(out, columns=list(order_book_feature_names(levels=levels, horizons=horizons, clock=clock)))


@pytest.mark.parametrize(
    ("clock", "horizons", "memory", "grid"),
    [
        ("events", (3, 10), 40, None),
        ("seconds", (1.5, 6), 20, None),
        ("events", (3, 10), 40, 0.75),
        ("seconds", (1.5, 6), 20, 0.75),
    ],
)
def test_every_feature_equals_a_slow_loop(clock, horizons, memory, grid):
    book = some_book()
    table = order_book_features(book, levels=4, horizons=horizons, clock=clock, memory=memory, grid=grid)
    stamps = list(enumerate(book.nanoseconds))
    if grid is not None:
        times = np.rint(table.index.to_numpy() * 1e9).astype(np.int64)
        assert_array_equal(np.diff(times), 750_000_000)
        stamps = [(int(np.flatnonzero(book.nanoseconds <= time)[-1]), time) for time in times]
    expected = naive_features(book, 4, horizons, clock, memory, stamps)
    assert (expected.notna().sum().drop([name for name in expected if "_4" in name]) > 20).all()
    assert_frame_equal(table.reset_index(drop=True), expected.astype(float), rtol=1e-8, atol=1e-9)


def test_the_default_memory_is_twenty_longest_horizons():
    book = some_book(300)
    assert_frame_equal(
        order_book_features(book, horizons=(2, 5)), order_book_features(book, horizons=(2, 5), memory=100)
    )


@pytest.mark.parametrize("clock", ["events", "seconds"])
def test_units_of_price_and_size_and_the_hour_of_the_day_do_not_matter(clock):
    book = some_book()
    options = {"levels": 3, "horizons": (3, 10), "clock": clock}
    table = order_book_features(book, **options)
    for change in ({"price": 1e-3}, {"price": 700.0}, {"size": 100.0}, {"size": 0.01}, {"clock": 86_400.0}):
        other = order_book_features(altered(book, **change), **options)
        assert_allclose(other, table, rtol=1e-6, atol=1e-8)
    moved = order_book_features(altered(book, shift=55.0), **options)
    told_in_spreads = [name for name in table if any(word in name for word in IN_SPREADS)]
    assert len(told_in_spreads) > 25
    assert_allclose(moved[told_in_spreads], table[told_in_spreads], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("clock", ["events", "seconds"])
@pytest.mark.parametrize("t", [30, 90, 158])
def test_no_feature_knows_a_later_row(clock, t):
    book = some_book()
    options = {"levels": 3, "horizons": (3, 10), "clock": clock, "memory": 40}
    table = order_book_features(book, **options).iloc[: t + 1]
    later = slice(t + 1, None)
    gone = book.to_frame()
    gone.loc[t + 1 :, [name for name in gone if name.startswith(("ask", "bid"))]] = np.nan
    shuffled = book.to_frame()
    order = np.r_[np.arange(t + 1), t + 1 + np.random.default_rng(0).permutation(book.n_events - t - 1)]
    quotes = [name for name in shuffled if name.startswith(("ask", "bid"))]
    halt = shuffled["type"].isin([7])
    shuffled[quotes] = shuffled[quotes].to_numpy()[order]
    shuffled.loc[(shuffled.index > t) & ~halt, ["type", "size"]] = [4, 1e12]
    shuffled.loc[shuffled["bid_price_1"] >= shuffled["ask_price_1"], "bid_price_1"] = 1.0
    shuffled.loc[shuffled["bid_price_1"] <= shuffled["bid_price_2"], ["bid_price_2", "bid_size_2"]] = np.nan
    shuffled.loc[shuffled["bid_price_2"].isna(), ["bid_price_3", "bid_size_3"]] = np.nan
    keep = shuffled.index <= t
    shuffled.loc[keep] = book.to_frame().loc[keep]
    for other in (
        head(book, t + 1),
        altered(book, rows=later, price=1e6, size=1e12),
        OrderBook.from_frame(gone),
        OrderBook.from_frame(shuffled),
    ):
        assert_frame_equal(order_book_features(other, **options).iloc[: t + 1], table, check_exact=True)


def test_a_grid_stamp_sees_the_events_up_to_it_and_none_later():
    book = some_book()
    options = {"levels": 2, "horizons": (1, 4), "clock": "seconds", "grid": 2.0}
    table = order_book_features(book, **options)
    for stamp in table.index[[5, 20]]:
        known = head(book, int((book.times <= stamp).sum()))
        later = altered(book, rows=slice(known.n_events, None), price=9.0)
        assert_frame_equal(order_book_features(later, **options).loc[:stamp], table.loc[:stamp], check_exact=True)


def test_columns_do_not_depend_on_the_book_and_what_is_unknown_is_missing():
    book = some_book(n_levels=1, halt=False)
    quotes = OrderBook(
        book.times,
        pd.DataFrame(index=range(160)),
        *(getattr(book, n) for n in ("ask_price", "ask_size", "bid_price", "bid_size")),
    )
    table = order_book_features(quotes)
    assert tuple(table.columns) == ORDER_BOOK_FEATURES == order_book_feature_names()
    assert len(ORDER_BOOK_FEATURES) == len(set(ORDER_BOOK_FEATURES)) == 85
    unknown = table.columns[table.isna().all()]
    assert {"vwap_distance_10", "trade_imbalance_50", "trade_intensity_10", "imbalance_2"} <= set(unknown)
    assert {"ofi_1_10", "ofi_total_50", "imbalance_1", "return_10", "intensity_10"} <= set(table) - set(unknown)


def test_too_short_a_history_is_missing_and_not_zero():
    table = order_book_features(some_book(9, halt=False), horizons=(3, 10))
    assert (
        table.filter(regex="_10$|depth|spread_ratio")
        .drop(columns=["imbalance_10", "cumulative_imbalance_10", "level_spread_10"])
        .isna()
        .all()
        .all()
    )
    assert table["ofi_1_3"].notna().tolist() == [False] * 3 + [True] * 6
    one = order_book_features(some_book(1, halt=False))
    assert len(one) == 1
    assert one["imbalance_1"].notna().all()


def test_trades_from_their_own_table_count_from_the_first_row_that_is_not_earlier():
    book = some_book(halt=False)
    own = order_book_features(book, levels=1, horizons=(5, 10))
    table = book.trades().reset_index(drop=True)
    spread_out = OrderBook(
        book.times + 10 * np.arange(160), book.messages, book.ask_price, book.ask_size, book.bid_price, book.bid_size
    )
    moved = spread_out.trades().assign(time=lambda t: t["time"] - 3)  # between two rows: known at the second
    other = order_book_features(spread_out, trades=moved, levels=1, horizons=(5, 10))
    for name in ("vwap_distance_5", "trade_imbalance_10"):
        assert_allclose(other[name], own[name], rtol=1e-9)
    stamped = order_book_features(spread_out, trades=spread_out.trades(), levels=1, horizons=(5, 10))
    pd.testing.assert_frame_equal(stamped, other, rtol=1e-9)  # a row with the stamp of the trade is not earlier
    late = table.assign(time=book.times[-1] + 1.0)
    assert order_book_features(book, trades=late, levels=1, horizons=(5, 10))["trade_imbalance_5"].isna().all()
    with pytest.raises(DataError, match="use one clock"):
        order_book_features(book, trades=table.assign(time=pd.Timestamp("2024-01-02")))


def test_dates_and_seconds_give_the_same_features():
    book = some_book()
    dates = pd.Timestamp("2024-01-02") + pd.to_timedelta(book.times.to_numpy(), unit="s")
    dated = OrderBook(dates, book.messages, book.ask_price, book.ask_size, book.bid_price, book.bid_size)
    for options in ({"grid": 2.0}, {}):
        plain = order_book_features(book, horizons=(1, 4), clock="seconds", **options)
        other = order_book_features(dated, horizons=(1, 4), clock="seconds", **options)
        assert_array_equal(other, plain)
        assert_allclose((other.index - pd.Timestamp("2024-01-02")).total_seconds(), plain.index)


def test_sliding_medians_equal_those_of_each_window():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(200) < 0.2, np.nan, rng.integers(0, 9, 200).astype(float))
    ends = np.sort(rng.integers(0, 201, 120))
    starts = np.minimum(np.maximum.accumulate(np.maximum(ends - rng.integers(0, 30, 120), 0)), ends)
    medians = np.empty(120)
    _sliding_medians(values, starts, ends, medians)
    for j in range(120):
        seen = [x for x in values[starts[j] : ends[j]] if not np.isnan(x)]
        assert medians[j] == np.median(seen) if seen else np.isnan(medians[j])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"levels": 0}, "levels must be a positive whole number"),
        ({"horizons": ()}, "horizons must be positive and increasing"),
        ({"horizons": (5, 5)}, "horizons must be positive and increasing"),
        ({"horizons": (0, 5)}, "horizons must be positive and increasing"),
        ({"horizons": (1.5,)}, "must be whole"),
        ({"clock": "hours"}, "clock must be 'events' or 'seconds'"),
        ({"memory": 49}, r"memory must be at least the longest horizon \(50\)"),
        ({"grid": 0}, "grid must be a positive number of seconds"),
        ({"grid": 1e9}, "grid=1e\\+09 seconds has no stamp in the"),
    ],
)
def test_options_are_checked(options, error):
    with pytest.raises(ParameterError, match=error):
        order_book_features(some_book(), **options)


def test_order_flow_needs_levels_that_the_book_has():
    with pytest.raises(ParameterError, match="levels must be 1 to the book's 3, got 4"):
        order_flow(some_book(), levels=4)


def test_a_planted_imbalance_is_recovered_and_a_null_book_says_nothing():
    for planted, low, high in ((0.3, 0.25, 0.35), (0.0, -0.04, 0.04)):
        drawn = order_book(5_000, information_coefficient=planted, seed=3)
        table = order_book_features(drawn.book, trades=drawn.trades.reset_index(), horizons=(10,))
        assert table.notna().any().all()
        following = np.log(drawn.snapshots["mid"]).diff().shift(-1)
        found = table["cumulative_imbalance_3"].corr(following)
        assert low < found < high


def test_order_flow_explains_moves_of_the_real_amazon_book(shared_data):
    book = read_order_book(shared_data / "lob_amzn_2012-06-21_level1_until_1400.parquet")
    table = order_book_features(book, levels=1, horizons=(10,), clock="seconds", grid=10.0)
    assert not np.isinf(table.to_numpy()).any()
    assert table["ofi_1_10s"].corr(table["return_10s"]) > 0.5  # in the same ten seconds, not the next


# ---------------------------------------------------------------------------- bars


def some_bars(n_bars=80, *, seed=0, gaps=True):
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(n_bars)))
    opened = close * np.exp(0.004 * rng.standard_normal(n_bars))
    high = np.maximum(opened, close) * np.exp(0.004 * rng.random(n_bars))
    low = np.minimum(opened, close) * np.exp(-0.004 * rng.random(n_bars))
    volume = rng.integers(0, 6, n_bars) * 100.0
    bars = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": volume})
    bars["vwap"] = (high + low + close) / 3
    bars["n_trades"] = rng.integers(0, 9, n_bars)
    bars["signed_volume"] = volume * rng.uniform(-1, 1, n_bars)
    bars = bars.astype(float).set_index(pd.date_range("2024-01-02", periods=n_bars, freq="h"))
    if gaps and n_bars > 40:
        bars.iloc[[7, 30, 31], :] = np.nan
        bars.iloc[40] = [*[bars["close"].iloc[40]] * 4, 200.0, bars["close"].iloc[40], 2, 50.0]  # one price only
    return bars


def naive_bar_features(bars, w):
    """Compute every feature of every bar by itself."""
    rows = []
    c = bars["close"].to_numpy()
    r = [np.nan, *(np.log(c[t] / c[t - 1]) for t in range(1, len(c)))]
    sign, sides, last = 0.0, [], None
    for price in c:
        if np.isnan(price) or last is None:
            sides.append(np.nan)
        else:
            sign = sign if price == last else float(np.sign(price - last))
            sides.append(sign)
        last = last if np.isnan(price) else price

    def window(values, t):
        seen = [values[i] for i in range(t - w + 1, t + 1) if i >= 0 and np.isfinite(values[i])]
        return seen if t >= w - 1 and 2 * len(seen) >= w else None

    def over(a, b):
        return a / b if np.isfinite(a) and np.isfinite(b) and b > 0 else np.nan

    def log(a):
        return np.log(a) if a > 0 else np.nan

    def mean(values, t):
        return np.nan if window(values, t) is None else np.mean(window(values, t))

    def median(values, t):
        return np.nan if window(values, t) is None else np.median(window(values, t))

    o, h, lo, v, vwap, n, y = (
        bars[k].to_numpy() for k in ("open", "high", "low", "volume", "vwap", "n_trades", "signed_volume")
    )
    p = np.log(h / lo) ** 2 / (4 * np.log(2))
    g = 0.5 * np.log(h / lo) ** 2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
    size = [over(v[t], n[t]) for t in range(len(c))]
    amihud = [over(abs(r[t]), c[t] * v[t]) for t in range(len(c))]
    impact = [over(abs(r[t]), np.sqrt(c[t] * v[t])) for t in range(len(c))]
    both = [(r[t], y[t]) if np.isfinite(r[t] * y[t]) else (np.nan, np.nan) for t in range(len(c))]
    signed = [(s * q, q) if np.isfinite(s * q) else (np.nan, np.nan) for s, q in zip(sides, v, strict=True)]
    for t in range(len(c)):
        rms = np.sqrt(mean([x * x for x in r], t))
        average = over(mean(c * v, t), mean(np.where(np.isnan(c), np.nan, v), t))
        rows.append(
            {
                "return": 1e4 * r[t],
                "gap": 1e4 * np.log(o[t] / c[t - 1]) if t else np.nan,
                "return_ratio": over(r[t], rms),
                "parkinson_ratio": np.sqrt(over(p[t], mean(p, t))),
                "garman_klass_ratio": np.sqrt(over(g[t], mean(g, t))),
                "range_to_return": log(over(np.sqrt(mean(p, t)), rms)),
                "close_location": over(c[t] - lo[t], h[t] - lo[t]),
                "volume_ratio": log(over(v[t], median(v, t))),
                "trade_count_ratio": log(over(n[t], median(n, t))),
                "trade_size_ratio": log(over(size[t], median(size, t))),
                "vwap_distance": over(c[t] - vwap[t], h[t] - lo[t]),
                "window_vwap_distance": over(log(over(c[t], average)), rms * np.sqrt(w)),
                "amihud_ratio": over(amihud[t], mean(amihud, t)),
                "impact_ratio": over(impact[t], mean(impact, t)),
                "kyle_correlation": over(
                    mean([a * b for a, b in both], t),
                    np.sqrt(mean([a * a for a, _ in both], t) * mean([b * b for _, b in both], t)),
                ),
                "trade_imbalance": over(y[t], v[t]),
                "tick_imbalance": over(mean([a for a, _ in signed], t), mean([b for _, b in signed], t)),
            }
        )
    return pd.DataFrame(rows, index=bars.index)


@pytest.mark.parametrize("window", [2, 5, 20])
def test_every_bar_feature_equals_a_slow_loop(window):
    bars = some_bars()
    table = bar_features(bars, window=window)
    assert tuple(table.columns) == BAR_FEATURES
    assert not np.isinf(table.to_numpy()).any()
    assert (table.notna().sum() > 30).all()
    assert_frame_equal(table, naive_bar_features(bars, window), rtol=1e-9, atol=1e-12)


def test_three_bars_by_hand():
    bars = pd.DataFrame(
        {
            "open": [10.0, 10.0, 12.0], "high": [10.0, 12.0, 12.0],
            "low": [10.0, 10.0, 9.0], "close": [10.0, 12.0, 9.0],
            "volume": [5.0, 10.0, 30.0], "signed_volume": [0.0, 10.0, -15.0],
        }
    )  # fmt: skip
    now = bar_features(bars, window=2).iloc[2]
    up, down = np.log(1.2), np.log(0.75)
    assert now["return"] == pytest.approx(1e4 * down)
    assert now["gap"] == 0.0
    assert now["return_ratio"] == pytest.approx(down / np.sqrt((up**2 + down**2) / 2))
    assert now["parkinson_ratio"] == pytest.approx(np.sqrt(2 * np.log(12 / 9) ** 2 / (up**2 + np.log(12 / 9) ** 2)))
    assert now["close_location"] == 0.0
    assert now["volume_ratio"] == pytest.approx(np.log(30 / 20))
    assert now["trade_imbalance"] == -0.5
    assert now["tick_imbalance"] == pytest.approx((10 - 30) / 40)
    assert now["kyle_correlation"] == pytest.approx(
        (up * 10 + down * -15) / np.sqrt((up**2 + down**2) * (10**2 + 15**2))
    )
    assert now["amihud_ratio"] == pytest.approx(2 * (-down / 270) / (up / 120 - down / 270))
    assert now[["trade_count_ratio", "trade_size_ratio", "vwap_distance"]].isna().all()


def test_units_do_not_matter_to_bars():
    bars = some_bars()
    prices, sizes = ["open", "high", "low", "close", "vwap"], ["volume", "signed_volume"]
    table = bar_features(bars)
    for columns, factor in ((prices, 1e-3), (prices, 700.0), (sizes, 100.0), (sizes, 0.01)):
        other = bars.copy()
        other[columns] *= factor
        assert_allclose(bar_features(other), table, rtol=1e-6, atol=1e-9)
    assert_array_equal(bar_features(bars.shift(freq="90D")), table)
    assert_array_equal(bar_features(bars[bars.columns[::-1]]), table)


@pytest.mark.parametrize("t", [10, 33, 70])
def test_no_bar_feature_knows_a_later_bar(t):
    bars = some_bars()
    table = bar_features(bars).iloc[: t + 1]
    gone, huge, shuffled = bars.copy(), bars.copy(), bars.copy()
    gone.iloc[t + 1 :] = np.nan
    huge.iloc[t + 1 :] *= 1e9
    shuffled.iloc[t + 1 :] = bars.iloc[t + 1 :].sample(frac=1, random_state=0).to_numpy()
    for other in (bars.iloc[: t + 1], gone, huge, shuffled):
        assert_frame_equal(bar_features(other).iloc[: t + 1], table, check_exact=True)


def test_a_history_shorter_than_the_window_is_missing():
    table = bar_features(some_bars(10, gaps=False))
    short = ["return", "gap", "close_location", "vwap_distance", "trade_imbalance"]
    assert table.drop(columns=short).isna().all().all()
    assert table[short].iloc[1:].notna().any().all()
    assert bar_features(some_bars(1, gaps=False)).shape == (1, 17)
    with pytest.raises(DataError, match="bars: the table has no rows"):
        bar_features(some_bars(1).iloc[:0])


def test_wrong_bars_are_one_line_that_says_where():
    bars = some_bars(gaps=False)
    for column, value, error in (
        ("close", -1.0, "close is not a positive number"),
        ("volume", -1.0, "volume is below zero"),
        ("high", 1.0, "open or close lies outside low to high"),
        ("vwap", np.inf, "vwap is not a positive number"),
        ("signed_volume", np.inf, "signed_volume is infinite"),
    ):
        wrong = bars.copy()
        wrong.iloc[3, wrong.columns.get_loc(column)] = value
        with pytest.raises(DataError, match=rf"row 3 \(2024-01-02 03:00:00\): {error}"):
            bar_features(wrong)
    with pytest.raises(DataError, match="column 'low' is missing"):
        bar_features(bars.drop(columns="low"))
    with pytest.raises(ParameterError, match="window must be a whole number"):
        bar_features(bars, window=1)


def test_real_bars_of_any_kind_give_finite_or_missing_numbers(shared_data):
    trades = pd.read_parquet(shared_data / "emini_sp500_ticks_2013-09.parquet")
    for bars in (volume_bars(trades, volume=2_000), time_bars(trades, seconds=60)):
        table = bar_features(bars)
        assert not np.isinf(table.to_numpy()).any()
        assert (table.notna().sum() > 0.7 * len(bars)).all()  # at night some minutes trade at one price
    fields = {name: f"crypto_hourly_{name}.parquet" for name in ("open", "high", "low", "close")}
    hourly = pd.DataFrame({name: pd.read_parquet(shared_data / path)["BTC"] for name, path in fields.items()})
    hourly["volume"] = pd.read_parquet(shared_data / "crypto_hourly_volume_usd.parquet")["BTC"] / hourly["close"]
    table = bar_features(hourly, window=24)
    assert not np.isinf(table.to_numpy()).any()
    assert table["amihud_ratio"].notna().mean() > 0.99
