"""The audit finds every planted leak by the check that is there for it, and flags nothing honest."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skfolio.moments import EmpiricalMu, LedoitWolf
from skfolio.optimization import BaseOptimization, EqualWeighted, InverseVolatility, MeanRisk, Random
from skfolio.pre_selection import SelectKExtremes
from skfolio.prior import EmpiricalPrior
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eigenfolio.errors import DataError, LookaheadError, ParameterError
from eigenfolio.evaluation.audit import audit
from eigenfolio.evaluation.audit_checks import CHECKS
from eigenfolio.evaluation.audit_report import Finding
from eigenfolio.evaluation.audit_targets import as_target, past, same_seed
from eigenfolio.evaluation.planted_leaks import HONEST, PLANTED, EarlierWeights, LaterWeights, Lookup, faint_leak


def market(n_rows=360, n_assets=6, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(values, index=pd.bdate_range("2015-01-01", periods=n_rows), columns=list("ABCDEF")[:n_assets])


@pytest.fixture(scope="module")
def returns():
    return market()


def finding(report, check) -> Finding:
    return next(found for found in report.findings if found.check == check)


@pytest.mark.parametrize("leak", PLANTED, ids=lambda leak: leak.name)
def test_every_planted_leak_is_found_by_its_check(leak, returns):
    report = audit(leak.make(returns), returns, horizon=leak.horizon)
    assert leak.found_by in [found.check for found in report.leaks]


@pytest.mark.parametrize("twin", HONEST, ids=lambda twin: twin.name)
def test_no_honest_twin_is_flagged(twin, returns):
    report = audit(twin.make(returns), returns, horizon=twin.horizon)
    assert report.clean, report.lines()


def test_what_remembers_in_the_process_is_found_every_time_it_is_planted(returns):
    leak = next(leak for leak in PLANTED if leak.name == "remembers in the process")
    assert [audit(leak.make(returns), returns).clean for _ in range(2)] == [False, False]


def test_more_than_a_dozen_leaks_are_planted_each_for_one_check_and_every_check_has_one(returns):
    assert len({leak.name for leak in PLANTED}) == len(PLANTED) > 12
    checks = {found.check for found in audit(EqualWeighted(), returns).findings}
    assert {leak.found_by for leak in PLANTED} <= checks
    assert len(checks) == len(CHECKS)
    assert checks - {leak.found_by for leak in PLANTED} == {"future missing", "walk-forward"}  # others find these too


@pytest.mark.parametrize("strength", [1e-3, 1e-9, 1e-15])
def test_a_bounded_leak_is_found_down_to_the_last_bit_and_its_size_is_its_strength(strength, returns):
    found = finding(audit(faint_leak(strength), returns), "future flipped")
    assert found.status == "leak"
    assert 0.1 * strength < found.size < 10 * strength
    assert found.reach == 1


@pytest.mark.parametrize(
    "model",
    [LedoitWolf(), MeanRisk(), Random(), EmpiricalMu(), EmpiricalPrior(), StandardScaler(), PCA(2)],
    ids=lambda model: type(model).__name__,
)
def test_estimators_of_skfolio_and_scikit_learn_are_not_flagged(model, returns):
    assert audit(model, returns, dates=2).clean


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (LedoitWolf, "covariance"),
        (EmpiricalMu(), "expected returns"),
        (EmpiricalPrior(), "estimator"),
        (make_pipeline(SelectKExtremes(k=2), InverseVolatility()), "portfolio"),
        (make_pipeline(StandardScaler(), PCA(2)), "transformer"),
        (lambda: EqualWeighted(), "portfolio"),
        (lambda X: EqualWeighted(), "portfolio"),
        (lambda X: X.rolling(5).mean(), "table"),
        (lambda X: X.to_numpy()[:, 0], "returns"),
        (KFold(3), "splitter"),
    ],
)
def test_what_can_be_audited_is_recognised(thing, kind, returns):
    assert as_target(thing, returns).kind == kind


@pytest.mark.parametrize("ahead", [1, 7, 20])
def test_the_reach_is_that_of_trying_every_row(ahead, returns):
    def peek(X):
        return X.fillna(0.0) + X.shift(-ahead).fillna(0.0)

    row = 250
    found = finding(audit(peek, returns, dates=[returns.index[row]]), "future flipped")
    whole = peek(returns).iloc[row]
    naive = 0
    for after in range(1, len(returns) - row):
        altered = returns.copy()
        altered.iloc[row + after :] *= -1
        naive = after if not peek(altered).iloc[: row + 1].equals(peek(returns).iloc[: row + 1]) else naive
    assert whole.notna().all()
    assert found.reach == naive == ahead


def test_the_evidence_names_the_asset_the_date_and_the_size(returns):
    def one_asset(X):
        return X.rolling(5).mean().assign(C=X["C"].shift(-1))

    date = returns.index[240]
    found = finding(audit(one_asset, returns, dates=[date]), "future flipped")
    assert found.assets == ("C",)
    assert found.dates == (date,)
    assert found.size == pytest.approx(2 * abs(returns["C"].iloc[241]) / returns["C"].iloc[1:242].abs().max())
    assert "C" in found.evidence
    assert f"{date:%Y-%m-%d}" in found.evidence


def test_a_report_is_plain_json_and_text(returns):
    report = audit(lambda X: X.shift(-1), returns, dates=2, name="shift")
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["clean"] is False
    assert [row["check"] for row in told["findings"]] == [found.check for found in report.findings]
    assert told["findings"][0]["size"] is None  # the last row is missing: no number says by how much
    assert report.lines()[0].startswith("shift: LOOK-AHEAD, found by truncation")
    assert len(report.lines()) == 1 + len(report.findings)


def test_half_the_dates_end_a_month_all_lie_in_the_second_half_and_the_seed_draws_them(returns):
    dates = audit(EqualWeighted(), returns, dates=6, seed=3).dates
    rows = returns.index.get_indexer(dates)
    assert len(set(rows)) == 6
    assert rows.min() >= len(returns) // 2
    assert rows.max() <= len(returns) - 31
    month = returns.index.month
    assert sum(month[row] != month[row + 1] for row in rows) >= 3
    assert dates == audit(EqualWeighted(), returns, dates=6, seed=3).dates
    assert dates != audit(EqualWeighted(), returns, dates=6, seed=4).dates


def test_weights_within_a_portfolio_are_asked_for_their_date_too(returns):
    class Wrapped(BaseOptimization):
        def __init__(self, inner=None):
            self.inner = inner
            super().__init__()

        def fit(self, X, y=None):
            self.inner_ = type(self.inner)().fit(X)
            self.weights_ = self.inner_.weights_
            return self

    assert [found.check for found in audit(Wrapped(LaterWeights()), returns).leaks] == ["trained through"]
    assert finding(audit(Wrapped(EarlierWeights()), returns), "trained through").status == "ok"


def test_dates_that_are_honestly_refused_drop_out(returns):
    border = returns.index[250]

    class Vintage(EqualWeighted):
        def fit(self, X, y=None):
            if X.index[-1] < border:
                raise LookaheadError("these weights have seen later rows")
            return super().fit(X)

    report = audit(Vintage(), returns, dates=[returns.index[200], returns.index[300]])
    assert report.clean
    assert report.dates == (returns.index[300],)


def test_a_blanket_refusal_of_missing_values_is_no_leak_and_a_refusal_of_later_ones_is(returns):
    def refusing(X):
        if X.isna().to_numpy().any():
            raise ValueError("no gaps please")
        return X.rolling(5).mean()

    def peeking(X):
        if X.iloc[-40:].isna().to_numpy().any():
            raise ValueError("no gaps at the end please")
        return X.rolling(5).mean()

    assert finding(audit(refusing, returns), "future missing").status == "not applicable"
    assert audit(refusing, returns).clean
    assert finding(audit(peeking, returns), "future missing").status == "leak"


def test_a_table_of_a_series_is_held_against_the_mean_of_all_assets(returns):
    class Timer(BaseOptimization):
        def __init__(self, signal=None):
            self.signal = signal
            super().__init__()

        def fit(self, X, y=None):
            share = 0.5 + float(np.clip(self.signal.asof(X.index[-1]), -0.4, 0.4))
            self.weights_ = np.full(X.shape[1], share / X.shape[1])
            return self

    tomorrow = returns.mean(axis=1).shift(-1).fillna(0.0)
    found = finding(audit(Timer(tomorrow), returns), "parameters")
    assert (found.status, found.reach) == ("leak", 1)
    assert finding(audit(Timer(tomorrow.shift(2).fillna(0.0)), returns), "parameters").status == "ok"


def test_a_held_table_is_poisoned_in_numbers_and_flags_after_the_date_only(returns):
    table = returns.gt(0.0)
    assert finding(audit(Lookup(table), returns), "parameters").status == "ok"
    assert finding(audit(Lookup(table.iloc[::40], "bfill"), returns), "parameters").status == "leak"


def test_the_rows_given_are_a_view_that_leads_to_the_poison(returns):
    rows = past(returns, 99).to_numpy()
    assert rows.shape == (100, 6)
    assert np.array_equal(rows.base, returns.to_numpy())
    assert not rows.flags.writeable


def test_global_generators_are_as_they_were(returns):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with same_seed(5):
        first = np.random.standard_normal()  # noqa: NPY002
    with same_seed(5):
        assert np.random.standard_normal() == first  # noqa: NPY002
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


class Fickle(BaseOptimization):
    def fit(self, X, y=None):
        self.weights_ = np.random.default_rng().dirichlet(np.ones(X.shape[1]))
        return self


class NeverReady(BaseOptimization):
    def fit(self, X, y=None):
        raise ValueError("not today")


class Needy(TransformerMixin, BaseEstimator):
    def __init__(self, needed):
        self.needed = needed


@pytest.mark.parametrize(
    ("thing", "error", "words"),
    [
        (Fickle(), ParameterError, "two answers for the same rows and seed"),
        (NeverReady(), DataError, "not today.*nothing would be checked"),
        (Needy, ParameterError, "cannot be made without arguments"),
        (lambda X, y: X, ParameterError, "2 required arguments"),
        (lambda X: 3.0, ParameterError, "must give an estimator, a table"),
        (lambda X: X.to_numpy()[:-1], DataError, "rows without dates"),
        (42, ParameterError, "is a int"),
        (dict, ParameterError, "neither fit nor split"),
    ],
)
def test_what_cannot_be_audited_is_one_clear_error(thing, error, words, returns):
    with pytest.raises(error, match=words):
        audit(thing, returns)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dates": 0}, "dates must lie in 1.."),
        ({"dates": ["2015-01-05"]}, "second half of the panel"),
        ({"dates": []}, "second half of the panel"),
    ],
)
def test_dates_out_of_range_are_refused(options, words, returns):
    with pytest.raises(ParameterError, match=words):
        audit(EqualWeighted(), returns, **options)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda X: X.to_numpy(), "DatetimeIndex"),
        (lambda X: X.iloc[::-1], "increase and be unique"),
        (lambda X: X.iloc[:60], "needs 90 rows, got 60"),
    ],
)
def test_a_panel_that_cannot_carry_an_audit_is_refused(spoil, words, returns):
    with pytest.raises(DataError, match=words):
        audit(EqualWeighted(), spoil(returns))


def test_every_check_is_in_the_document(returns):
    told = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    tables = " ".join(line.split("|")[1] for line in told.splitlines() if line.startswith("| "))
    assert all(found.check in tables for found in audit(EqualWeighted(), returns, dates=1).findings)


def test_a_finding_has_one_of_three_states():
    with pytest.raises(ParameterError, match="status must be one of"):
        Finding("truncation", "maybe", "")
