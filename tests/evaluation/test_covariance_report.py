"""The covariance report against a naive loop, skfolio's evaluators, and markets whose truth is known."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from skfolio.moments import BaseCovariance, EmpiricalCovariance, EWCovariance

from eigenfolio.constraints import UNCONSTRAINED
from eigenfolio.data import plan_decisions
from eigenfolio.data.synthetic import ConstantCovariance
from eigenfolio.errors import DataError, ParameterError, RangeWarning
from eigenfolio.evaluation import covariance_measures as measures
from eigenfolio.evaluation.covariance_report import covariance_report
from eigenfolio.models import LedoitWolf, SampleCovariance, minimum_variance_weights

MODELS = {"sample": SampleCovariance(lookback=40), "shrunk": LedoitWolf(lookback=40)}


class Broken(BaseCovariance):
    """Fails where the past is longer than it likes."""

    def __init__(self, longest=10):
        self.longest = longest

    def fit(self, X, y=None):
        if len(X) > self.longest:
            raise ValueError("too long")
        self.covariance_ = np.eye(X.shape[1])
        return self


def market(n_rows=420, n_assets=6, seed=0):
    rng = np.random.default_rng(seed)
    truth = 1e-4 * (0.4 + 0.6 * np.eye(n_assets)) * np.outer(*[np.linspace(1, 2, n_assets)] * 2)
    index = pd.bdate_range("2015-01-01", periods=n_rows, name="date")
    rows = rng.multivariate_normal(np.zeros(n_assets), truth, n_rows)
    return pd.DataFrame(rows, index=index, columns=list("ABCDEFGH")[:n_assets]), truth


def report_on(X, models=MODELS, **options):
    options = {"reference": "sample", "n_bootstrap": 200, "rng": np.random.default_rng(0)} | options
    decisions = options.pop("decisions", None) or plan_decisions(X.index, min_history=100)
    return covariance_report(models, X, decisions, **options)


def test_windows_equal_a_naive_loop():
    X, _ = market()
    decisions = plan_decisions(X.index, min_history=100)
    found = report_on(X).windows.loc["shrunk"]
    before = None
    for decision in decisions:
        E = LedoitWolf(lookback=40).fit(X.iloc[: decision.row + 1]).covariance_
        rows = X.iloc[decision.start : decision.stop].to_numpy()
        w = minimum_variance_weights(E, UNCONSTRAINED)
        row = found.loc[decision.date]
        assert_allclose(row["log_likelihood"], measures.log_likelihood(E, rows))
        assert_allclose(row["mahalanobis_ratio"], measures.mahalanobis_ratio(E, rows))
        assert_allclose(row["qlike_equal_weight"], measures.qlike(E, rows, np.full(6, 1 / 6)))
        assert_allclose(row["log_volatility"], 0.5 * np.log(np.mean((rows @ w) ** 2)))
        assert_allclose(row["bias_minimum_variance"], measures.variance_ratio(E, rows, w))
        if before is not None:
            assert_allclose(row["turnover"], 0.5 * np.abs(w - before[1]).sum())
            assert_allclose(row["covariance_change"], np.linalg.norm(E - before[0]) / np.linalg.norm(before[0]))
        before = (E, w)


def test_the_table_is_means_of_windows_with_intervals_around_them():
    report = report_on(market()[0])
    table = report.table.set_index(["measure", "model"])
    means = report.windows["log_likelihood"].groupby("model").mean()
    for model in MODELS:
        row = table.loc[("log_likelihood", model)]
        assert_allclose(row["mean"], means[model])
        assert row["low"] < row["mean"] < row["high"]
        bias = table.loc[("bias_equal_weight", model)]
        assert_allclose(bias["mean"], np.sqrt(report.windows.loc[model, "bias_equal_weight"].mean()))
        assert bias["low"] < bias["mean"] < bias["high"]
    step = table.loc[("log_likelihood", "shrunk")]
    assert_allclose(step["difference"], means["shrunk"] - means["sample"])
    assert step["difference_low"] > 0.0  # 40 rows for 6 assets: shrinkage is likelier, and that is sure
    assert_allclose(step["p_adjusted"], step["p_value"])  # one rival
    assert table.loc[("log_likelihood", "sample")][["difference", "p_value"]].isna().all()
    assert table.loc[("mahalanobis_ratio", "shrunk")][["difference", "minimum_detectable"]].isna().all()


def test_losses_to_a_known_truth_rank_as_they_should():
    X, truth = market()
    report = report_on(X, truth=ConstantCovariance(truth, len(X)))
    gains = {
        measure: report.prial("sample", measure=measure)["shrunk"]
        for measure in ("frobenius", "stein", "inverse_stein", "minimum_variance")
    }
    assert min(gains.values()) > 0.0
    first = plan_decisions(X.index, min_history=100)[0]
    E = SampleCovariance(lookback=40).fit(X.iloc[: first.row + 1]).covariance_
    assert_allclose(report.windows.loc[("sample", first.date), "stein"], measures.losses_to_truth(E, truth)["stein"])


def test_the_regret_is_measured_from_the_own_covariance_of_a_span():
    X, _ = market()
    decisions = plan_decisions(X.index, min_history=100)
    report = report_on(X, regret_rows=50)
    stops = [decisions[2].stop, decisions[5].stop]  # three months of 20 to 23 rows reach 50
    spans = [(decisions[0].start, stops[0]), (stops[0], stops[1])]
    for first, (start, stop) in zip((0, 3), spans, strict=True):
        own = measures.own_log_likelihood(X.iloc[start:stop])
        rows = report.windows.loc["sample"].iloc[first : first + 3]
        assert_allclose(rows["regret"], own - rows["log_likelihood"])
    assert "regret" not in report_on(X.iloc[:, :6], regret_rows=10_000).windows


def test_windows_of_one_row_are_those_of_skfolio():
    from skfolio.model_selection import covariance_forecast_evaluation, online_covariance_forecast_evaluation

    X, _ = market(n_rows=150)
    decisions = plan_decisions(X.index, rebalance=1, lag=0, min_history=100)
    models = {"rolling": EmpiricalCovariance(), "ew": EWCovariance(half_life=20)}
    windows = report_on(X, models, reference=None, decisions=decisions, regret_rows=10_000).windows
    equal = np.full(6, 1 / 6)
    online = online_covariance_forecast_evaluation(
        EWCovariance(half_life=20), X, warmup_size=100, test_size=1, portfolio_weights=equal
    )
    peers = {
        "ew": online,
        "rolling": covariance_forecast_evaluation(
            EmpiricalCovariance(), X, train_size=100, test_size=1, expand_train=True, portfolio_weights=equal
        ),
    }
    for model, peer in peers.items():
        ours = windows.loc[model].iloc[: len(peer.mahalanobis_calibration_ratio)]
        assert len(ours) >= 49
        assert_allclose(ours["mahalanobis_ratio"], peer.mahalanobis_calibration_ratio)
        assert_allclose(ours["diagonal_ratio"], peer.diagonal_calibration_ratio)
        assert_allclose(ours["qlike_equal_weight"], peer.portfolio_variance_qlike_loss[:, 0])
        assert_allclose(ours["bias_equal_weight"], peer.portfolio_standardized_return[:, 0] ** 2)


def test_late_listings_and_gaps_are_judged_on_what_was_there():
    X, _ = market()
    X.iloc[:200, 0] = np.nan
    X.iloc[250:255, 1] = np.nan
    report = report_on(X)
    assert not report.failures
    assert np.isfinite(report.windows.drop(columns=["regret"]).iloc[1:].loc["sample"].iloc[1:].to_numpy()).all()


def test_a_model_that_fails_is_recorded_and_left_out():
    report = report_on(market()[0], {**MODELS, "broken": Broken(), "late": Broken(longest=400)})
    assert set(report.table["model"]) == {"sample", "shrunk", "late"}
    assert "failed on 15 of 15 dates" in report.excluded["broken"]
    assert {failure.model for failure in report.failures} == {"broken", "late"}
    assert report.failures[0].error == "ValueError: too long"
    # "late" fails on one date only; that window is left out for all.
    assert (report.windows.groupby("model").size() == 14).all()


class OutOfRange(LedoitWolf):
    """Says on every date that its inputs are unusual."""

    def fit(self, X, y=None):
        warnings.warn("inputs out of range", RangeWarning, stacklevel=2)
        return super().fit(X)


def test_inputs_out_of_range_neither_fail_nor_fill_the_terminal():
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        report = report_on(market()[0], {**MODELS, "unusual": OutOfRange(lookback=40)})
    assert not [one for one in shown if issubclass(one.category, RangeWarning)]
    assert report.failures == ()


def test_what_comes_later_changes_no_earlier_window():
    X, _ = market()
    altered = X.copy()
    altered.iloc[300:] *= -3.0
    decisions = plan_decisions(X.index, min_history=100)
    known = [decision.date for decision in decisions if decision.stop <= 300]
    one, other = report_on(X, regret_rows=10_000), report_on(altered, regret_rows=10_000)
    for model in MODELS:
        assert_frame_equal(one.windows.loc[model].loc[known], other.windows.loc[model].loc[known])


@pytest.mark.slow  # starting workers alone takes seconds
def test_the_bits_do_not_depend_on_the_number_of_workers():
    X, _ = market(n_rows=320)
    assert_frame_equal(report_on(X).table, report_on(X, n_jobs=2).table)


def test_another_model_changes_no_other_row():
    X, _ = market(n_rows=320)
    one = report_on(X)
    more = report_on(X, {**MODELS, "more": LedoitWolf(target="constant_correlation", lookback=40)}).table
    kept = more[more["model"] != "more"].drop(columns="p_adjusted").reset_index(drop=True)
    assert_frame_equal(kept, one.table.drop(columns="p_adjusted"))


def test_what_cannot_be_reported_is_refused():
    X, truth = market(n_rows=340)
    with pytest.raises(ParameterError, match="models is empty"):
        report_on(X, {}, reference=None)
    with pytest.raises(ParameterError, match="reference must be one of sample, shrunk"):
        report_on(X, reference="best")
    with pytest.raises(ParameterError, match="must be a skfolio BaseCovariance"):
        report_on(X, {"a": object()}, reference=None)
    with pytest.raises(ParameterError, match="truth must have the 340 rows"):
        report_on(X, truth=ConstantCovariance(truth, 10))
    with pytest.raises(ParameterError, match="regret_rows"):
        report_on(X, regret_rows=1)
    with pytest.raises(DataError, match="no model could be judged: broken failed"):
        report_on(X, {"broken": Broken()}, reference=None)
    with pytest.raises(DataError, match="the reference 'broken' failed"):
        report_on(X, {**MODELS, "broken": Broken()}, reference="broken")
    with pytest.raises(ParameterError, match="loss in this report"):
        report_on(X).prial("sample")
    with pytest.raises(ParameterError, match="baseline must be one of"):
        report_on(X, truth=ConstantCovariance(truth, len(X))).prial("best")
