import io

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from eigenfolio.data import Tables, clean_panel, guess_kind, prepare_panel, read_panel, read_tables
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import DataError, ParameterError

MARKET = factor_market(5, 59, seed=11, late_listings=0.4, gaps=0.05)
PRICES = MARKET.panel.prices
RETURNS = MARKET.panel.returns


def long(**fields) -> pd.DataFrame:
    parts = [frame.rename_axis(columns="Ticker").stack().rename(name) for name, frame in fields.items()]
    return pd.concat(parts, axis=1).reset_index().sample(frac=1, random_state=0)


def write(folder, name, frame, **options):
    path = folder / name
    if ".parquet" in name:
        frame.to_parquet(path)
    else:
        frame.to_csv(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "frame", "options"),
    [
        ("wide.csv", PRICES, {}),
        ("wide.csv.gz", PRICES, {}),
        ("wide.parquet", PRICES, {}),
        ("wide_counted.csv", PRICES.reset_index(), {}),
        ("wide_unnamed.csv", PRICES.rename_axis(None), {}),
        ("semicolon.csv", PRICES, {"sep": ";", "decimal": ","}),
        ("compact_dates.csv", PRICES, {"date_format": "%Y%m%d"}),
        ("european_dates.csv", PRICES, {"date_format": "%d.%m.%Y"}),
        ("american_dates.csv", PRICES, {"date_format": "%m/%d/%Y"}),
        ("zoned.csv", PRICES.tz_localize("America/New_York"), {}),
        ("long.csv", long(close=PRICES), {"index": False}),
        ("long.parquet", long(**{"Adj Close": PRICES, "close": PRICES * 2}), {}),
        ("indexed.parquet", long(Price=PRICES).set_index(["date", "Ticker"]), {}),
    ],
)
def test_every_layout_gives_the_same_panel(tmp_path, name, frame, options):
    panel = read_panel(write(tmp_path, name, frame, **options))
    assert_frame_equal(panel.prices, PRICES, check_exact=False, rtol=1e-14, check_index_type=False)
    assert any("recognised" in step for step in panel.provenance.steps)
    assert panel.provenance.source.endswith(name)


def test_frames_and_folders_bring_their_volume_highs_lows_market_and_sectors(tmp_path):
    frames = {
        "Adj Close": PRICES,
        "close": PRICES * 3,
        "volume": PRICES * 1000,
        "high": PRICES * 1.1,
        "low": PRICES * 0.9,
        "market": PRICES.mean(axis=1).to_frame("index"),
        "sectors": pd.DataFrame({"asset": PRICES.columns, "sector": list("xxyyz")}),
    }
    for name, frame in frames.items():
        write(tmp_path, f"{name}.{'csv' if name in ('low', 'market') else 'parquet'}", frame)
    from_folder, from_dict = read_panel(tmp_path), read_panel(frames)
    assert from_folder.fingerprint == from_dict.fingerprint
    assert_frame_equal(from_dict.prices, PRICES)
    assert set(from_dict.assets.fields) == {"returns", "prices", "volume", "high", "low"}
    assert from_dict.sectors.tolist() == list("xxyyz")
    np.testing.assert_allclose(from_dict.market["index"], PRICES.mean(axis=1).iloc[1:])


ZONES = ["UTC", "America/New_York", "Asia/Tokyo"]


@pytest.mark.parametrize("zone", ZONES)
def test_days_with_a_time_zone_keep_their_local_date_and_the_provenance_says_so(tmp_path, zone):
    zoned = PRICES.tz_localize(zone)
    step = f"dates with a time zone ({zone}) keep their local wall time"
    sources = [zoned, {"close": zoned, "volume": zoned}, write(tmp_path, "p.parquet", zoned), long(close=zoned)]
    for source in sources:
        panel, _ = prepare_panel(source, market=zoned.mean(axis=1).rename("index"))
        assert_frame_equal(read_panel(source).prices, PRICES, check_freq=False, check_index_type=False)
        assert step in panel.provenance.steps
        assert f"market: {step}" in panel.provenance.steps
        assert panel.market["index"].notna().all()
    for name in ("p.csv", "q.csv"):  # offsets differ in summer and winter
        panel = read_panel(write(tmp_path, name, zoned))
        assert panel.index.equals(PRICES.index[1:])
        assert "dates with a time zone (offsets from UTC) keep their local wall time" in panel.provenance.steps


@pytest.mark.parametrize("form", ["frame", "csv", "objects", "tables"])
def test_hours_with_a_time_zone_become_utc_so_that_none_comes_twice_in_autumn(tmp_path, form):
    utc = pd.date_range("2020-10-31 20:00", periods=60, freq="h")
    zoned = PRICES.set_axis(utc.tz_localize("UTC").tz_convert("America/New_York"))
    sources = {
        "frame": zoned,
        "csv": write(tmp_path, "h.csv", zoned.rename_axis("date")),
        "objects": zoned.rename_axis("date").reset_index().astype({"date": object}),
    }
    tables = Tables(zoned, "prices", "memory") if form == "tables" else read_tables(sources[form])
    panel = tables.to_panel()
    assert panel.index.equals(utc[1:])
    assert any("were converted to UTC" in step for step in panel.provenance.steps)


def test_market_series_with_another_zone_in_hand_made_tables_are_no_type_error():
    tables = Tables(PRICES, "prices", "memory", market=PRICES.iloc[:, :1].tz_localize("Asia/Tokyo"))
    panel, _ = clean_panel(tables)
    assert panel.market["A000"].notna().any()
    assert panel.provenance.steps[0].startswith("market: dates with a time zone (Asia/Tokyo)")


def test_market_and_sectors_may_come_apart_from_the_prices(tmp_path):
    vix = write(tmp_path, "vix.csv", PRICES.mean(axis=1).to_frame("vix"))
    panel = read_panel(PRICES, market=vix, sectors={"A000": "tech"})
    assert list(panel.market.columns) == ["vix"]
    assert panel.sectors["A000"] == "tech"


def test_returns_are_told_from_prices_by_evidence_and_the_provenance_says_so():
    panel = read_panel(RETURNS)
    assert panel.prices is None
    assert_frame_equal(panel.returns, RETURNS)
    assert any(step.startswith("read as returns: ") for step in panel.provenance.steps)
    assert any(step.startswith("read as prices: ") for step in read_panel(PRICES).provenance.steps)
    assert guess_kind(PRICES)[0] == "prices"


def test_numbers_that_could_be_either_are_an_error_until_the_kind_is_stated():
    percent = RETURNS * 100
    with pytest.raises(DataError, match=r"cannot tell prices from simple returns .* state kind="):
        read_panel(percent)
    assert read_tables(percent, kind="returns").kind == "returns"
    assert read_tables(RETURNS, kind="prices").kind == "prices"
    with pytest.raises(ParameterError, match="kind must be"):
        read_panel(PRICES, kind="levels")


def test_the_embedded_table_needs_no_network():
    panel = read_panel("sp500")
    assert (panel.n_assets, len(panel.prices)) == (20, 8313)


def test_reading_neither_sorts_nor_drops_and_the_strict_door_refuses():
    shuffled = PRICES.iloc[[*range(30, 60), *range(30), 5]]
    tables = read_tables(shuffled)
    assert tables.values.index.equals(shuffled.index)
    with pytest.raises(DataError, match="repeated dates"):
        read_panel(shuffled)
    panel, _ = prepare_panel(shuffled, max_fill=0)
    assert_frame_equal(panel.prices, PRICES, check_freq=False)


def test_what_reading_had_to_leave_out_is_a_finding_and_closes_the_strict_door():
    dirty = PRICES.astype(object)
    dirty["currency"] = "USD"
    dirty.iloc[3, 0] = "n/a!"
    dirty.iloc[4, 0] = "1,234.5"
    tables = read_tables(dirty.reset_index())
    assert [finding.check for finding in tables.findings] == ["text columns", "text cells"]
    assert "currency" in tables.findings[0].summary
    cell = tables.findings[1]
    day = f"{PRICES.index[3]:%Y-%m-%d}"
    assert (cell.count, cell.assets, cell.dates) == (1, ("A000",), (day,))
    assert cell.summary == f"1 cell of text was read as missing (A000; first 'n/a!', A000, {day})"
    assert tables.values.iloc[4, 0] == 1234.5
    with pytest.raises(DataError, match="mend the file"):
        tables.to_panel()


def test_text_in_a_long_table_is_told_by_asset_and_earliest_date():
    table = long(close=PRICES.astype(object))
    table.loc[[200, 7], "close"] = ["later", "sooner"]
    sooner, later = table.loc[7], table.loc[200]
    if sooner["date"] > later["date"]:
        sooner, later = later, sooner
    (found,) = read_tables(table).findings
    assert found.count == 2
    assert found.assets == (sooner["Ticker"], later["Ticker"])
    assert f"first '{sooner['close']}', {sooner['Ticker']}, {sooner['date']:%Y-%m-%d})" in found.summary


def test_text_in_a_market_row_without_a_date_is_left_out_with_the_row():
    days = [f"{day:%Y-%m-%d}" for day in PRICES.index]
    market = pd.DataFrame({"date": [*days, "total"], "vix": [*[20.0] * len(days), "sum"]})
    panel = read_panel(PRICES, market=market)
    assert panel.market["vix"].eq(20.0).all()


def test_repeated_pairs_of_a_long_table_keep_the_last_and_are_counted():
    table = long(close=PRICES)
    again = table.iloc[:3].assign(close=99.0)
    tables = read_tables(pd.concat([table, again]))
    assert [(f.check, f.count) for f in tables.findings] == [("duplicate dates", 3)]
    first = again.iloc[0]
    assert tables.values.loc[first["date"], first["Ticker"]] == 99.0


def test_rows_without_a_readable_date_are_left_out_and_counted(tmp_path):
    text = PRICES.to_csv() + "total,1,2,3,4,5\n"
    (tmp_path / "p.csv").write_text(text)
    tables = read_tables(tmp_path / "p.csv")
    assert len(tables.values) == len(PRICES)
    assert tables.findings[0].summary == "1 row without a readable date was left out"


def test_an_asset_may_be_called_like_a_column_of_a_long_table():
    prices = PRICES.set_axis(["LOW", "DAY", "RIC", "TIME", "A"], axis=1)
    assert read_panel(prices).asset_names == ["LOW", "DAY", "RIC", "TIME", "A"]


def parquet_bytes(frame):
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


ONE_STOCK = pd.DataFrame({"Open": 1.0, "High": 2.0, "Low": 1.0, "Close": 1.5, "Volume": 10}, index=PRICES.index)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "no such file or folder; check"),
        ("none/missing.csv", None, "/none; check the path"),
        ("wide_row.csv", b"date,A,B\n2020-01-01,1,2\n2020-01-02,1,2,3\n", "(line 3 has 4 fields instead of 3)"),
        ("quote.csv", b'date,A,B\n2020-01-01,1,2\n2020-01-02,"1,2\n', "never closed"),
        ("empty.csv", b"", "file is empty"),
        ("blank.csv", b"\n \n", "file is empty"),
        ("header.csv", b"date,A,B\n", "no rows"),
        ("text.txt", b"this is not a table\nat all\n", "no column of dates"),
        ("prose.txt", "Überall, wo man hinsieht\n\n1,2,3,4\n".encode(), "(rows have more fields than the header)"),
        ("noise.parquet", b"\x00\x01nothing", "neither Parquet nor text"),
        ("latin.csv", "date;Übel\n2020-01-01;1\n".encode("latin-1"), "neither Parquet nor text"),
        ("broken.csv.gz", b"\x1f\x8b\x08\x00garbage", "cannot be read as CSV"),
        ("cut.parquet", parquet_bytes(PRICES)[:-30], "damaged Parquet"),
        ("nan.csv", (PRICES * np.nan).to_csv().encode(), "no number in 60 rows x 5 assets"),
        ("one.csv", PRICES.iloc[:, :1].to_csv().encode(), "at least 2 assets, got 1"),
        ("one_stock.csv", ONE_STOCK.to_csv().encode(), "fields of one asset"),
        ("ten.csv", PRICES.iloc[:10].to_csv().encode(), "at least 30 rows, got 10"),
        ("negative.csv", (-PRICES).to_csv().encode(), "100 % of the values are negative"),
        ("one_negative.csv", PRICES.replace(PRICES.iloc[9, 0], -1.0).to_csv().encode(), "first -1, A000"),
        ("infinite.csv", PRICES.replace(PRICES.iloc[9, 0], np.inf).to_csv().encode(), "first inf, A000"),
        ("no_dates.csv", PRICES.to_csv(index=False).encode(), "no column of dates"),
        ("twice.csv", b"date,A,A\n2020-01-01,1,2\n", "column A appears more than once"),
        ("members.csv", b"date,ticker\n2020-01-01,A\n2020-01-01,B\n", "Membership.read"),
        ("no_numbers.csv", b"date,A,B\n2020-01-01,x,y\n2020-01-02,x,y\n", "no column of numbers"),
        ("two_ways.csv", PRICES.iloc[::12].set_axis([f"0{i}/0{9 - i}/2020" for i in range(1, 6)]).to_csv().encode(),
         "read in two ways"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_panel(path)
    text = str(caught.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "one table must be named"),
        ({"prices": PRICES, "prcies": PRICES}, "nothing reads prcies"),
        ({"prices": 3}, "must be a DataFrame"),
        (PRICES.iloc[:0], "no rows"),
        (pd.concat({"close": PRICES}, axis=1), "2 levels"),
    ],
)
def test_bad_frames_are_refused(source, message):
    with pytest.raises(DataError, match=message):
        read_panel(source)


def test_a_folder_without_known_tables_says_what_it_holds(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match=r"none of prices, adj_close, close, returns .*notes\.md"):
        read_panel(tmp_path)


def test_an_unreadable_file_is_refused_in_one_line(tmp_path, monkeypatch):
    path = write(tmp_path, "p.csv", PRICES)

    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); check the permissions"):
        read_panel(path)


def test_the_real_panel_is_read_with_every_label(shared_data):
    panel = read_panel(
        shared_data / "us_etf_core_adj_close.parquet",
        market=shared_data / "vix_daily.parquet",
    )
    assert panel.returns.shape == (5283, 46)
    assert panel.market["close"].notna().all()
