"""Order books: LOBSTER's two files, tables with names, halts, and one clear error for each wrong row."""

import gzip

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from eigenfolio.data.order_books import OrderBook, nanoseconds, read_lobster, read_order_book
from eigenfolio.errors import DataError, ParameterError

# halt at row 2, orders cross at row 3, quoting resumes at row 4, trading at row 5
MESSAGES = """\
34200.017459617,5,0,1,2238200,-1
34200.189607670,1,11885113,21,2238100,1
34201.000000000,7,0,0,-1,-1
34202.000000000,1,11885114,50,2239600,1
34203.000000000,7,0,0,0,-1
34204.000000000,7,0,0,1,-1
34204.190226476,4,11885113,21,2238100,1
"""
QUOTES = """\
2239500,100,2231800,100,2239900,100,2230700,200
2239500,100,2238100,21,2239900,100,2231800,100
2239500,100,2238100,21,2239900,100,2231800,100
2239500,100,2239600,50,2239900,100,2238100,21
2239500,100,2239600,50,2239900,100,2238100,21
2239500,100,2239600,50,2239900,100,2238100,21
2239500,100,2237500,100,9999999999,0,-9999999999,0
"""


@pytest.fixture
def files(tmp_path):
    message, book = tmp_path / "message.csv", tmp_path / "book.csv"
    message.write_text(MESSAGES)
    book.write_text(QUOTES)
    return message, book


def table(n_rows=3, **changes):
    frame = pd.DataFrame(
        {
            "time": np.arange(n_rows, dtype=float),
            "ask_price_1": 10.1, "ask_size_1": 5.0, "bid_price_1": 10.0, "bid_size_1": 4.0,
            "ask_price_2": 10.2, "ask_size_2": 6.0, "bid_price_2": 9.9, "bid_size_2": 3.0,
        }
    )  # fmt: skip
    for name, values in changes.items():
        frame[name] = values
    return frame


def test_two_lobster_files_become_one_book_in_dollars(files):
    book = read_lobster(*files)
    assert (book.n_events, book.n_levels) == (7, 2)
    assert book.times[1] == 34200.18960767
    assert_allclose(book.ask_price[0], [223.95, 223.99])
    assert_allclose(book.bid_price[:2, 0], [223.18, 223.81])
    assert_array_equal(book.bid_size[0], [100, 200])
    assert book.messages["order_id"].iloc[1] == 11885113
    assert book.messages["price"].tolist()[2:6] == [-1, pytest.approx(223.96), 0, 1]
    assert read_lobster(*files, levels=1).n_levels == 1


def test_empty_levels_are_missing_and_not_a_price(files):
    book = read_lobster(*files)
    for values in (book.ask_price, book.ask_size, book.bid_price, book.bid_size):
        assert np.isnan(values[-1, 1])
        assert np.isfinite(values[:-1]).all()


def test_a_halt_lasts_from_its_first_message_to_the_one_that_resumes_trading(files):
    book = read_lobster(*files)
    assert book.halted.tolist() == [False, False, True, True, True, True, False]
    assert book.bid_price[3, 0] > book.ask_price[3, 0]  # allowed: nothing is matched in a halt


def test_a_crossed_book_outside_a_halt_is_refused(files):
    files[0].write_text(MESSAGES.replace("7,0,0,-1,-1", "1,9,5,2239600,-1"))
    with pytest.raises(DataError, match=r"row 3 \(time 34202\): crossed book, bid 223.96 is not below ask 223.95"):
        read_lobster(*files)


def test_trades_are_signed_against_the_resting_order(files):
    trades = read_lobster(*files).trades()
    assert trades["side"].tolist() == [1.0, -1.0]  # a hidden sell order was bought, a buy order was sold to
    assert trades.index.tolist() == [0, 6]
    assert trades["volume"].tolist() == [1.0, 21.0]


def test_the_seventh_column_of_participants_and_gzip_are_read(files, tmp_path):
    packed = tmp_path / "message.csv.gz"
    packed.write_bytes(gzip.compress("".join(f"{line},null\n" for line in MESSAGES.splitlines()).encode()))
    assert_frame_equal(read_lobster(packed, files[1]).to_frame(), read_lobster(*files).to_frame())


@pytest.mark.parametrize(
    ("message", "quotes", "error"),
    [
        (MESSAGES, QUOTES.split("\n", 1)[1], r"message.csv has 7 rows and .*book.csv has 6; they must come from one"),
        (QUOTES, QUOTES, "a message file has 6 columns .* got 8; is it the order-book file"),
        (MESSAGES, MESSAGES, "4 columns per level, got 6"),
        ("time,type,id,size,price,direction\n" + MESSAGES, QUOTES, r"line 1, column 1: 'time' is no number \(a header"),
        (MESSAGES, QUOTES.replace("2239500,100,2237500", "2239500,oops,2237500"), "line 7, column 2: 'oops' is no num"),
        (MESSAGES.replace("34204.190226476", "34100"), QUOTES, r"row 6 \(time 34100\): is earlier than the row before"),
        (MESSAGES.replace(",5,0,1,2238200", ",5,0,0,2238200"), QUOTES, r"row 0 .*message size 0 is not positive"),
        (MESSAGES.replace(",5,0,1,2238200", ",9,0,1,2238200"), QUOTES, r"row 0 .*type 9 is unknown"),
        (MESSAGES, QUOTES.replace("2239900,100,2230700", "2239400,100,2230700"), "row 0 .*ask level 2 price is not ab"),
        ("", QUOTES, "message.csv: the file is empty"),
        (MESSAGES + '1,"2\n', QUOTES, "cannot be read as CSV without a header"),
    ],
)
def test_every_wrong_file_is_one_line_that_says_where(files, message, quotes, error):
    files[0].write_text(message)
    files[1].write_text(quotes)
    with pytest.raises(DataError, match=error) as caught:
        read_lobster(*files)
    assert "\n" not in str(caught.value)


def test_options_of_read_lobster_are_checked(files, tmp_path):
    with pytest.raises(ParameterError, match="levels=3 is more than the 2 levels"):
        read_lobster(*files, levels=3)
    with pytest.raises(ParameterError, match="levels must be a positive whole number"):
        read_lobster(*files, levels=0)
    with pytest.raises(ParameterError, match="price_scale must be positive"):
        read_lobster(*files, price_scale=0)
    with pytest.raises(DataError, match="there is no such file"):
        read_lobster(tmp_path / "none.csv", files[1])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bid_price_1": [10, 10.1, 10]}, r"row 1 \(time 1\): crossed book, bid 10.1 is not below ask 10.1"),
        ({"time": [0.0, 2.0, 1.0]}, r"row 2 \(time 1\): is earlier than the row before \(2\)"),
        ({"time": [0.0, np.nan, 1.0]}, "row 1: the time is missing"),
        ({"time": ["2024-01-02", "then", "2024-01-03"]}, "row 1: time 'then' is neither seconds nor a date"),
        ({"ask_size_1": [5, 5, 0]}, r"row 2 .*: ask level 1: size 0 at price 10.1 is not positive"),
        ({"bid_size_2": [5, np.nan, 1]}, r"row 1 .*: bid level 2: size nan at price 9.9 is not positive"),
        ({"bid_price_2": [np.nan, 9.9, 9.9]}, r"row 0 .*: bid level 2: size 3 has no price"),
        ({"ask_price_1": [10.1, -1, 10.1]}, r"row 1 .*: ask level 1: price -1 is not positive"),
        ({"bid_price_2": [9.9, 10.0, 9.9]}, r"row 1 .*: bid level 2 price is not below the level before"),
        ({"ask_price_1": [10.1, np.nan, 10.1], "ask_size_1": [5, np.nan, 5]}, r"row 1 .*ask level 2 has orders and"),
        ({"ask_price": 10.1}, "columns 'ask_price_1' and 'ask_price' are both ask_price_1"),
        ({"ask_price_3": 10.3}, "column ask_size_3 is missing"),
        ({"ask_size_1": ["5", "x", "5"]}, "row 1: ask_size_1 'x' is no number"),
        ({"direction": [1, 0, 1]}, r"row 1 .*direction 0 is unknown"),
    ],
)
def test_every_wrong_row_of_a_table_is_one_line_that_says_where(changes, error):
    with pytest.raises(DataError, match=error):
        OrderBook.from_frame(table(**changes))


def test_a_table_without_quotes_times_or_rows_is_refused():
    with pytest.raises(DataError, match="no column ask_price_1"):
        OrderBook.from_frame(pd.DataFrame({"time": [1.0], "price": [2.0]}))
    with pytest.raises(DataError, match="no column 'time'"):
        OrderBook.from_frame(table().drop(columns="time"))
    with pytest.raises(DataError, match="has no rows"):
        OrderBook.from_frame(table().iloc[:0])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_written_and_read_is_the_same_book(files, tmp_path, suffix):
    book = read_lobster(*files)
    path = tmp_path / f"book.{suffix}"
    frame = book.to_frame()
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    again = read_order_book(path)
    assert_frame_equal(again.to_frame(), frame)
    assert_array_equal(again.halted, book.halted)
    assert again.source == str(path)


def test_names_may_be_unnumbered_and_times_may_be_dates_in_index_or_text():
    dates = pd.date_range("2024-01-02 09:30", periods=3, freq="250ms")
    first = table().drop(columns=[f"{side}_{field}_2" for side in ("ask", "bid") for field in ("price", "size")])
    plain = first.rename(columns=lambda name: name.removesuffix("_1").replace("_", " ").title())
    book = OrderBook.from_frame(plain.drop(columns="Time").set_index(dates))
    assert_array_equal(book.nanoseconds, np.array([34200.0, 34200.25, 34200.5]) * 1e9)
    text = OrderBook.from_frame(table(Time=dates.astype(str)).drop(columns="time"))
    assert_array_equal(text.nanoseconds, book.nanoseconds)
    assert_array_equal(text.ask_price[:, :1], book.ask_price)


def test_arrays_are_copies_that_nobody_can_write_to():
    frame = table()
    book = OrderBook.from_frame(frame)
    frame.loc[0, "ask_price_1"] = 99.0
    assert book.ask_price[0, 0] == 10.1
    with pytest.raises(ValueError, match="read-only"):
        book.ask_price[0, 0] = 1.0


def test_messages_must_match_the_quotes():
    book = OrderBook.from_frame(table())
    with pytest.raises(DataError, match="2 messages do not match 3 rows"):
        OrderBook(book.times, pd.DataFrame({"type": [1, 1]}), *quotes(book))
    with pytest.raises(DataError, match="nothing reads the message column 'venue'"):
        OrderBook(book.times, pd.DataFrame({"venue": [1, 1, 1]}), *quotes(book))
    with pytest.raises(DataError, match=r"bid_size has shape \(3, 1\), expected 3 events x 2 levels"):
        OrderBook(book.times, pd.DataFrame(index=range(3)), *quotes(book)[:3], book.bid_size[:, :1])
    with pytest.raises(DataError, match="trades need the message column 'type'"):
        book.trades()


def quotes(book):
    return book.ask_price, book.ask_size, book.bid_price, book.bid_size


def test_seconds_become_whole_nanoseconds():
    assert nanoseconds(pd.Index([34200.017459617]))[0] == 34200017459617
    zoned = pd.DatetimeIndex(["2024-01-02 09:30:00.000000001", "2024-01-03 00:00"], tz="America/New_York")
    assert nanoseconds(zoned).tolist() == [34200000000001, 86400 * 10**9]


def test_the_real_amazon_book_is_read_whole(shared_data):
    book = read_order_book(shared_data / "lob_amzn_2012-06-21_level1_until_1400.parquet")
    assert (book.n_events, book.n_levels) == (38_942, 1)
    assert not book.halted.any()
    trades = book.trades()
    assert len(trades) == 5_138 + 1_460
    visible = book.messages["type"].to_numpy()[trades.index] == 4
    before = np.r_[np.nan, book.mid[:-1]][trades.index]
    agrees = (trades["side"] * (trades["price"] - before))[visible] > 0
    assert agrees.mean() > 0.99  # buyers pay above the mid, sellers get less
