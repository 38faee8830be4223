"""`eigenfolio data describe`: the summary, where every feature stands, and the page that shows them over time."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

from eigenfolio.cli import main
from eigenfolio.features.table import FAMILIES, FeatureTable
from eigenfolio.pipeline.describe import CALENDAR, UNITS, describe_panel, unit_of


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    rng = np.random.default_rng(0)
    returns = 0.01 * (rng.standard_normal((760, 1)) + rng.standard_normal((760, 6)))
    index = pd.bdate_range("2010-01-04", periods=760, name="date")
    path = tmp_path_factory.mktemp("panel") / "p.csv"
    pd.DataFrame(100 * np.exp(np.cumsum(returns, axis=0)), index=index, columns=list("ABCDEF")).to_csv(path)
    return path


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["eigenfolio", "data", "describe", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_it_prints_every_feature_and_writes_the_page(prices, tmp_path, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, prices, "--out", tmp_path / "d", "--jobs", "1")
    assert status == 0, err
    for name in ("mean_correlation", "market_volatility_21", "garch_persistence", "turn_of_month", "month_end_ahead"):
        assert name in out
    assert "of its own past" in out
    table = FeatureTable.read_parquet(tmp_path / "d" / "features.parquet")
    assert table.families == tuple(FAMILIES)
    assert table.values.index[-1] == describe_panel(str(prices), features=False).panel.index[-1]
    page = (tmp_path / "d" / "describe.html").read_text(encoding="utf-8")
    assert "Mean correlation" in page
    told = json.loads((tmp_path / "d" / "describe.json").read_text())
    assert len(told["features"]) == sum(map(len, FAMILIES.values()))
    assert "log ratio: these rows to the past 252" in page
    judged, unknown = len(told["features"]), 0
    for line in told["features"]:
        calendar = line["family"] in CALENDAR
        judged -= calendar or line["latest"] is None
        unknown += not calendar and line["latest"] is None
    n = len(told["features"])
    assert f"of {judged} features of the market stand" in out
    assert f"The other {n - judged} of {n} features: {n - judged - unknown} follow the calendar" in out
    assert f"{unknown} are not known on that day (the panel has no volume, high, low, vix, sectors)." in out
    status, _, err = call(monkeypatch, capsys, prices, "--out", tmp_path / "d")
    assert status == 2
    assert "exists already" in err


def test_json_holds_the_numbers_and_null_where_missing(prices, tmp_path, monkeypatch, capsys):
    (tmp_path / "events.csv").write_text(
        "date,name,kind\n2012-06-20,meeting,central_bank\n2012-12-20,vote,central_bank\n"
    )
    status, out, err = call(monkeypatch, capsys, prices, "--json", "--events", tmp_path / "events.csv", "--jobs", "1")
    assert status == 0, err
    told = json.loads(out)
    lines = {f"{line['family']}.{line['feature']}": line for line in told["features"]}
    assert 0 < lines["correlation.mean_correlation"]["percentile"] < 1
    assert lines["regime.vix_level"]["latest"] is None
    assert lines["regime.vix_level"]["missing"] == 1.0
    assert lines["events.central_bank_ahead"]["latest"] is not None
    assert told["regime"]["latest"] in ("calm", "trending", "stressed", "crisis")
    assert sum(told["regime"]["shares"].values()) == pytest.approx(1.0, abs=1e-3)


def test_every_pattern_of_units_names_a_feature_and_levels_have_none():
    names = [f"{family}.{feature}" for family, features in FAMILIES.items() for feature in features]
    found = {name: unit_of(name) for name in names}
    assert set(filter(None, found.values())) == {unit for _, unit in UNITS}
    assert all(any(re.fullmatch(pattern, name) for name in names) for pattern, _ in UNITS)
    assert found["regime.market_volatility_252"].startswith("percentile")
    assert all(unit.startswith("log") for name, unit in found.items() if re.search("volatility_(10|21|63|126)$", name)
               and name.split(".")[0] == "regime")  # fmt: skip
    assert not any(found[name] for name in ("regime.drawdown", "correlation.mean_correlation", "regime.trend_63"))


def test_a_panel_too_short_for_features_is_still_described(prices, tmp_path, monkeypatch, capsys):
    pd.read_csv(prices, index_col=0).iloc[:200].to_csv(tmp_path / "short.csv")
    status, out, err = call(monkeypatch, capsys, tmp_path / "short.csv", "--out", tmp_path / "d")
    assert status == 0, err
    assert "Features need 257 rows of returns, got 199." in out
    assert [entry.name for entry in (tmp_path / "d").iterdir()] == ["describe.json"]


def test_bad_input_is_one_line_and_leaves_nothing(prices, tmp_path, monkeypatch, capsys):
    (tmp_path / "events.csv").write_text("day,name\n2012-06-20,meeting\n")
    for extra, message in [
        (("--events", tmp_path / "events.csv"), "'day'"),
        (("--events", tmp_path / "events.csv", "--no-features"), "--no-features"),
        (("--jobs", "0"), "--jobs"),
    ]:
        status, _, err = call(monkeypatch, capsys, prices, "--out", tmp_path / "d", *extra)
        assert status == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "d").exists()
