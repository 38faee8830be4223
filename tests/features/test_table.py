"""The table is its families side by side, the same for any number of processes, and survives a file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from eigenfolio.data import plan_decisions
from eigenfolio.data.synthetic import factor_market
from eigenfolio.errors import ArtifactError, DataError, ParameterError
from eigenfolio.features.correlation import correlation_features
from eigenfolio.features.events import event_features
from eigenfolio.features.table import FAMILIES, FeatureTable, feature_table, n_pieces


@pytest.fixture(scope="module")
def panel():
    return factor_market(6, 420, seed=2, late_listings=0.3, gaps=0.02).panel


@pytest.fixture(scope="module")
def table(panel):
    return feature_table(panel, range(120, 420, 4), lookback=84)


def test_it_is_its_families_side_by_side_with_fixed_names(panel, table):
    assert table.families == tuple(FAMILIES)
    assert list(table.values) == [f"{family}.{name}" for family, names in FAMILIES.items() for name in names]
    assert table.values.index.equals(panel.index[range(120, 420, 4)])
    assert set(table.values.dtypes) == {np.dtype(float)}
    expected = correlation_features(panel, range(120, 420, 4), lookback=84)
    assert_frame_equal(table.family("correlation"), expected, check_exact=True)
    assert table.fingerprint == panel.fingerprint
    assert table.lookback == 84


def test_processes_and_pieces_change_no_bit(panel, table):
    spread = feature_table(panel, range(120, 420, 4), lookback=84, n_jobs=2)
    assert_frame_equal(spread.values, table.values, check_exact=True)
    some = feature_table(panel, [124, 300, 416], lookback=84)
    assert_frame_equal(some.values, table.values.loc[some.values.index], check_exact=True)


def test_the_default_rows_are_the_monthly_decisions(panel):
    table = feature_table(panel, families=["seasonality"])
    assert list(table.values.index) == [decision.date for decision in plan_decisions(panel.index)]


def test_families_keep_their_order_and_progress_is_told(panel):
    done = []
    rows = range(100, 180)
    table = feature_table(panel, rows, families=["events", "seasonality"], on_done=lambda: done.append(1))
    assert table.families == ("seasonality", "events")
    assert len(done) == n_pieces(80, ["events", "seasonality"]) == 6


def test_a_users_events_reach_their_family(panel, tmp_path):
    events = pd.DataFrame({"date": [panel.index[200].date()], "name": ["vote"]})
    events.to_csv(tmp_path / "events.csv", index=False)
    for given in (events, tmp_path / "events.csv", events.assign(announced=panel.index[100].date())):
        table = feature_table(panel, [90, 150, 199, 201], families=["events"], events=given)
        assert_frame_equal(table.family("events"), event_features(panel, [90, 150, 199, 201], events=given))
    with pytest.raises(DataError, match="date"):
        feature_table(panel, [90], families=["events"], events=events.drop(columns="date"))
    with pytest.raises(ParameterError, match="events family is not asked for"):
        feature_table(panel, [90], families=["seasonality"], events=events)


def test_a_file_gives_back_every_bit_and_what_it_came_from(table, tmp_path):
    path = table.to_parquet(tmp_path / "features.parquet")
    again = FeatureTable.read_parquet(path)
    assert_frame_equal(again.values, table.values, check_exact=True, check_freq=False)
    assert replace(again, values=table.values) == replace(table, values=table.values)
    assert [entry.name for entry in tmp_path.iterdir()] == ["features.parquet"]


def test_a_file_that_cannot_be_written_or_read_is_one_line_and_leaves_nothing(table, tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        table.to_parquet(tmp_path / "none" / "features.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(ArtifactError, match="cannot be written"):
        table.to_parquet(tmp_path / "folder.parquet")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.parquet"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "other.parquet")
    for name, message in [("bad", "cannot be read"), ("absent", "cannot be read"), ("other", "not a feature table")]:
        with pytest.raises(ArtifactError, match=message):
            FeatureTable.read_parquet(tmp_path / f"{name}.parquet")


def test_the_summary_places_the_latest_value_in_its_history():
    index = pd.bdate_range("2020-01-01", periods=4)
    values = pd.DataFrame(
        {"events.a": [1.0, 2.0, np.nan, 2.0], "events.b": [5.0, 6.0, 7.0, np.nan], "events.c": np.nan}, index=index
    )
    summary = FeatureTable(values, ("events",), 252, "").summary()
    assert summary["feature"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(summary["latest"], [2.0, np.nan, np.nan])
    np.testing.assert_allclose(summary["percentile"], [2 / 3, np.nan, np.nan])  # one below, two equal, of three
    np.testing.assert_array_equal(summary["missing"], [0.25, 0.25, 1.0])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([3, 3], {}, "rows must increase"),
        ([], {}, "rows must increase"),
        ([420], {}, r"within 0\.\.419"),
        ([3], {"families": ["weather"]}, "families must be among correlation, regime"),
        ([3], {"families": []}, "families must be among"),
        ([3], {"families": ["events", "events"]}, "each once"),
        ([3], {"families": ["correlation"], "lookback": 5}, "lookback must be"),
    ],
)
def test_what_cannot_be_computed_is_said_in_one_line(panel, rows, options, message):
    with pytest.raises(ParameterError, match=message):
        feature_table(panel, rows, **options)
    with pytest.raises(ParameterError, match="family must be one of"):
        feature_table(panel, [3], families=["events"]).family("regime")


@pytest.mark.slow
def test_the_table_of_993_assets_is_within_its_budget(shared_data):
    """A tenth of the months in a tenth of three minutes, with everything the panel holds; the rest is in benchmarks."""
    import runpy
    import time
    from pathlib import Path

    features = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "features.py"))
    panel = features["real_panel"](shared_data)
    rows = [decision.row for decision in plan_decisions(panel.index)][::10]
    feature_table(panel, rows[:1])
    start = time.process_time()
    values = feature_table(panel, rows).values
    assert time.process_time() - start < 36  # CPU seconds of one core of two
    assert values.drop(columns=[name for name in values if name.startswith("events")]).isna().to_numpy().mean() < 0.02
