"""The audit as a job: of names, of bundles, and of a recorded run that has been tampered with."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from random_spectral import random_spectral_bundle

from eigenfolio.artifacts import load_run, save_bundle, write_run
from eigenfolio.artifacts.bundle import BundleSeries
from eigenfolio.cli import main
from eigenfolio.config import load_compare_config, load_config
from eigenfolio.errors import ArtifactError, DataError, ParameterError
from eigenfolio.evaluation.audit import audit
from eigenfolio.pipeline import RunContext, compare_covariance, run
from eigenfolio.pipeline.audit import AuditOptions, audit_bundles, audit_target, bundle_findings, load_target
from eigenfolio.pipeline.audit_run import audit_run
from eigenfolio.pipeline.audit_self_test import our_models, skfolio_models, slow_skfolio_models

AUDIT_RUN = importlib.import_module("eigenfolio.pipeline.audit_run")


@contextmanager
def silent(name, total):
    yield lambda: None


def prices(n_rows=640, n_assets=5) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    index = pd.bdate_range("2014-01-01", periods=n_rows, name="date")
    return pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index=index, columns=list("ABCDEFGH")[:n_assets])


@pytest.fixture(scope="module")
def returns():
    return prices().pct_change().iloc[1:]


def status(report, check) -> str:
    return next(found.status for found in report.findings if found.check == check)


def evidence(report, check) -> str:
    return next(found.evidence for found in report.findings if found.check == check)


def test_names_are_loaded_from_modules_and_files(tmp_path):
    (tmp_path / "mine.py").write_text("class Outer:\n    inner = 3\n")
    assert load_target("skfolio.moments:LedoitWolf").__name__ == "LedoitWolf"
    assert load_target(f"{tmp_path}/mine.py:Outer.inner") == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "is no folder and no module:name"),
        ("no_such_module:Model", "there is no module 'no_such_module'"),
        ("skfolio.moments:NoSuch", "has no 'NoSuch'"),
        ("no_such_file.py:Model", "there is no file"),
    ],
)
def test_a_name_that_names_nothing_is_one_clear_error(text, words):
    with pytest.raises(ParameterError, match=words):
        audit_target(text, AuditOptions())


def test_a_module_that_needs_another_says_which(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParameterError, match=r"no_such_library.*install what it needs"):
        load_target("needs_more:Model")


def bundle(*, through, last):
    made = random_spectral_bundle(through=through, seed=0, n_members=1)
    return replace(made, details={"panels": {"stocks": {"last": last}}, "last_date": None})


def test_bundles_are_clean_where_their_dates_fit_and_early_decisions_are_refused(tmp_path, returns):
    save_bundle(bundle(through="2015-01-30", last="2015-01-30"), tmp_path / "one" / "2015")
    report = audit_bundles(tmp_path / "one", returns, AuditOptions(dates=2))
    assert report.clean, report.lines()
    assert status(report, "recorded dates") == status(report, "refuses earlier dates") == "ok"
    assert status(report, "trained through") == "ok"
    assert report.kind == "bundle (covariance)"


def test_a_bundle_that_has_seen_rows_after_its_date_is_a_leak():
    late = BundleSeries((bundle(through="2015-01-30", last="2015-06-30"),))
    (found,) = bundle_findings(late)
    assert found.status == "leak"
    assert found.evidence == "the bundle through 2015-01-30 records panels.stocks.last = 2015-06-30"


def test_a_bundle_with_no_later_rows_to_decide_on_is_one_clear_error(tmp_path, returns):
    save_bundle(bundle(through="2030-01-31", last="2030-01-31"), tmp_path / "2030")
    with pytest.raises(DataError, match="no decisions after that; give --data with later rows"):
        audit_bundles(tmp_path, returns, AuditOptions(dates=2))


def test_a_family_without_an_estimator_is_one_clear_error(tmp_path, returns):
    strange = replace(bundle(through="2015-01-30", last="2015-01-30"), family="oracle")
    save_bundle(strange, tmp_path / "b")
    with pytest.raises(ArtifactError, match="family 'oracle' have no estimator that this audit knows"):
        audit_bundles(tmp_path / "b", returns, AuditOptions())


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A recorded comparison on a small panel, its settings and its context."""
    place = tmp_path_factory.mktemp("compared")
    prices().to_parquet(place / "prices.parquet")
    settings = load_compare_config(
        None, data={"path": str(place / "prices.parquet")}, evaluation={"lookback": 126, "n_bootstrap": 1000}
    )
    context = RunContext(place / "runs", datetime(2024, 1, 1), "test", None)
    return SimpleNamespace(folder=compare_covariance(settings, context, progress=silent).folder, settings=settings)


def rewritten(compared, folder, *, returns=None, **changed):
    """The same run with another record or other returns, written as a run is written."""
    kept = pd.read_parquet(compared.folder / "returns.parquet")
    record = replace(load_run(compared.folder), **changed)
    return write_run(
        record, folder, contents=lambda to: (returns(kept) if returns else kept).to_parquet(to / "returns.parquet")
    )


def test_a_recorded_run_is_clean_and_its_decisions_are_made_again(compared):
    report = audit_run(compared.folder, dates=3)
    assert report.clean, report.lines()
    assert len(report.dates) == 3
    for check in ("windows", "execution", "cleaning", "universe", "decisions"):
        assert status(report, check) == "ok", evidence(report, check)
    assert status(report, "survivorship") == "not applicable"


def test_returns_that_no_decision_on_the_past_earned_are_a_leak(compared, tmp_path):
    def lucky(kept):
        name = next(column for column in kept if column.startswith("QIS |"))
        return kept.assign(**{name: kept[name].abs()})

    report = audit_run(rewritten(compared, tmp_path / "run", returns=lucky), dates=3)
    assert [found.check for found in report.leaks] == ["decisions"]
    assert "QIS |" in evidence(report, "decisions")


def test_other_returns_are_no_evidence_where_the_code_is_another(compared, tmp_path):
    folder = rewritten(compared, tmp_path / "run", returns=lambda kept: kept + 0.001)
    report = audit_run(folder, dates=2, git_commit="f00")
    assert status(report, "decisions") == "not applicable"
    assert "made by commit None" in evidence(report, "decisions")


def test_a_run_that_trades_at_the_close_that_decided_is_a_leak(compared, tmp_path):
    config = compared.settings.model_dump(mode="json")
    config["evaluation"]["lag"] = 0
    report = audit_run(rewritten(compared, tmp_path / "run", config=config), dates=2)
    assert status(report, "execution") == "leak"


def test_returns_from_before_the_first_decision_are_a_leak(compared, tmp_path):
    earlier = lambda kept: kept.set_axis(kept.index - pd.tseries.offsets.BDay(1))  # noqa: E731
    report = audit_run(rewritten(compared, tmp_path / "run", returns=earlier), dates=2)
    assert "recorded from" in evidence(report, "execution")
    assert status(report, "execution") == "leak"


def test_cleaning_that_depends_on_where_the_table_ends_is_a_leak(compared, monkeypatch):
    honest = AUDIT_RUN.clean_panel

    def by_the_last_price(tables, **options):
        return honest(replace(tables, values=tables.values.where(tables.values < tables.values.iloc[-1])), **options)

    monkeypatch.setattr(AUDIT_RUN, "clean_panel", by_the_last_price)
    assert status(audit_run(compared.folder, dates=2), "cleaning") == "leak"


def test_a_universe_that_depends_on_later_rows_is_a_leak(compared, monkeypatch):
    def risen(X, rows, rule):
        return X.iloc[rows] > 0.0

    monkeypatch.setattr(AUDIT_RUN, "eligible_assets", risen)
    assert status(audit_run(compared.folder, dates=2), "universe") == "leak"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A recorded run with training, and its settings."""
    place = tmp_path_factory.mktemp("trained")
    prices(1500, 6).to_parquet(place / "prices.parquet")
    training = {
        "n_members": 1,
        "schedule": {"first_months": 30, "every_months": 12, "validation_months": 6},
        "windows": {"n_windows": 48, "n_validation_windows": 24, "max_lookback": 120},
        "network": {"hidden_sizes": [16, 8]},
        "loop": {"max_epochs": 1},
    }
    evaluation = {"lookback": 126, "n_bootstrap": 1000}
    settings = load_config(None, data={"path": str(place / "prices.parquet")}, training=training, evaluation=evaluation)
    context = RunContext(place / "runs", datetime(2024, 1, 1), "test", None)
    return run(settings, context, progress=silent).folder, settings


def tampered(trained, folder, **keys):
    """A copy of a run with other settings in its record."""
    shutil.copytree(trained[0], folder)
    record = replace(load_run(folder), config={**trained[1].model_dump(mode="json"), **keys})
    written = write_run(record, folder.parent / "record", contents=lambda to: None)
    shutil.copy(written / "run.json", folder / "run.json")
    return folder


@pytest.mark.slow
def test_a_run_with_training_is_clean_and_one_that_reaches_into_its_seal_is_not(trained, tmp_path):
    report = audit_run(trained[0], dates=2)
    assert report.clean, report.lines()
    assert {"windows", "sealed span", "decisions"} <= {found.check for found in report.findings if found.status == "ok"}
    sealed = audit_run(tampered(trained, tmp_path / "run", sealed_share=0.35), dates=2)
    assert status(sealed, "sealed span") == "leak"


@pytest.mark.slow
def test_decisions_before_the_first_bundle_are_in_sample(trained, tmp_path):
    training = trained[1].model_dump(mode="json")["training"]
    training["schedule"]["first_months"] = 18
    report = audit_run(tampered(trained, tmp_path / "run", training=training), dates=2)
    assert status(report, "windows") == "leak"


def test_a_panel_that_has_changed_is_one_clear_error(compared, tmp_path):
    folder = rewritten(compared, tmp_path / "run", data_fingerprint="0" * 64)
    with pytest.raises(DataError, match="has changed: fingerprint 000000000000 recorded"):
        audit_run(folder)


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["eigenfolio", *map(str, arguments)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


def test_the_command_exits_with_1_on_a_leak_and_0_without(monkeypatch, capsys, tmp_path):
    (tmp_path / "signals_of_mine.py").write_text(
        "def centred(X):\n    return X.rolling(9, center=True).mean()\n\n"
        "def trailing(X):\n    return X.rolling(9).mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "audit", "signals_of_mine:centred", "--rows", 300, "--dates", 1, "--json")
    told = json.loads(out)
    assert (code, told["clean"]) == (1, False)
    assert told["target"] == "signals_of_mine:centred"
    code, out, _ = call(monkeypatch, capsys, "audit", "signals_of_mine:trailing", "--rows", 300, "--dates", 1)
    assert code == 0
    assert out.startswith("signals_of_mine:trailing: no look-ahead found by 8 checks on 1 dates.")


@pytest.mark.parametrize("arguments", [(), ("skfolio.moments:LedoitWolf", "--self-test")])
def test_the_command_takes_a_target_or_the_self_test(monkeypatch, capsys, arguments):
    code, _, err = call(monkeypatch, capsys, "audit", *arguments)
    assert code == 2
    assert "a target or --self-test" in err


@pytest.mark.slow
def test_the_self_test_finds_everything_and_flags_nothing(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "audit", "--self-test", "--rows", 756, "--dates", 2, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["missed"], told["flagged"]) == ([], [])
    assert told["found"] == told["planted"] > 12
    assert told["honest"] >= 60
    assert told["smallest_leak_found"] <= 1e-15


@pytest.mark.slow
@pytest.mark.parametrize("name", list(slow_skfolio_models()))
def test_the_slow_models_of_skfolio_are_not_flagged(name, returns):
    assert audit(slow_skfolio_models()[name], returns.iloc[-120:], dates=1).clean


def test_the_self_test_covers_every_model_of_a_comparison(compared):
    judged = {column.split(" | ")[0] for column in pd.read_parquet(compared.folder / "returns.parquet")}
    assert judged <= set(our_models())
    assert len(skfolio_models()) > 30
