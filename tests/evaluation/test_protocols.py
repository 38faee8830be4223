"""Every protocol against a naive loop over its own splits, and its statistics against slow twins."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal
from skfolio.moments import LedoitWolf
from skfolio.optimization import BaseOptimization

from eigenfolio.constraints import LONG_ONLY
from eigenfolio.costs import hold, proportional_cost
from eigenfolio.data import plan_decisions
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation import walk_forward
from eigenfolio.evaluation.path_summary import _resampled, summarise_paths
from eigenfolio.evaluation.protocols import combinatorial_paths, randomized_paths, seed_paths, walk_forward_paths
from eigenfolio.measures import annualized_return, annualized_volatility, sharpe_ratio
from eigenfolio.models import EqualWeight, InverseVolatility, minimum_variance_weights


class Drawn(BaseOptimization):
    """Weights that only the seed decides."""

    def __init__(self, random_state=0, portfolio_params=None, previous_weights=None):
        super().__init__(portfolio_params=portfolio_params, previous_weights=previous_weights)
        self.random_state = random_state

    def fit(self, X, y=None):
        self.weights_ = np.random.default_rng(self.random_state).dirichlet(np.ones(X.shape[1]))
        return self


class Broken(EqualWeight):
    def fit(self, X, y=None, **params):
        raise DataError("no luck today")


@pytest.fixture(scope="module")
def returns():
    rng = np.random.default_rng(2)
    index = pd.bdate_range("2015-01-01", periods=600, name="date")
    market = 0.006 * rng.standard_normal((600, 1))
    scale = np.linspace(0.005, 0.02, 6)
    return pd.DataFrame(market + scale * rng.standard_normal((600, 6)), index=index, columns=list("ABCDEF"))


def rng():
    return np.random.default_rng(0)


def test_combinatorial_paths_are_every_choice_of_folds_bought_from_cash(returns):
    models = {"even": EqualWeight(), "shrunk": LedoitWolf()}
    done = combinatorial_paths(
        models, returns, rng=rng(), n_folds=5, n_test_folds=2, purge=1, embargo=10, cost_bps=20.0
    )
    assert done.paths["even"].shape == (600, 4)
    fold = np.minimum(np.arange(600) // 120, 4)
    seen = {k: [] for k in range(5)}  # net returns of each fold under every choice that tests it
    for chosen in combinations(range(5), 2):
        train = ~np.isin(fold, chosen)
        for k in chosen:
            first, last = np.flatnonzero(fold == k)[[0, -1]]
            train[max(first - 1, 0) : first] &= False
            train[last + 1 : last + 12] = False
        weights = minimum_variance_weights(LedoitWolf().fit(returns[train]).covariance_, LONG_ONLY)
        for k in chosen:
            net = hold(weights, returns[fold == k])[0]
            net[0] -= proportional_cost(weights, cost_bps=20.0)
            seen[k].append(net)
    for k in range(5):
        found = done.paths["shrunk"].to_numpy()[fold == k].T
        assert_allclose(
            found[np.argsort(found[:, 5])], np.array(seen[k])[np.argsort(np.array(seen[k])[:, 5])], atol=1e-9
        )
    even = done.paths["even"]
    assert (even.nunique(axis=1) == 1).all()  # what does not learn has one history
    assert (
        done.summary.query("model == 'even' and measure == 'sharpe_ratio'")[["path_low", "path_high"]]
        .nunique(axis=1)
        .item()
        == 1
    )


def test_randomized_paths_drift_and_pay_once_on_subsets_and_spans(returns):
    options = {"n_paths": 4, "n_assets": 3, "n_rows": 260, "train_size": 120, "test_size": 21, "cost_bps": 25.0}
    done = randomized_paths({"even": EqualWeight()}, returns, rng=rng(), seed=5, **options)
    again = randomized_paths({"even": EqualWeight()}, returns, rng=rng(), seed=5, **options)
    assert_frame_equal(done.paths["even"], again.paths["even"])
    other = randomized_paths({"even": EqualWeight()}, returns, rng=rng(), seed=6, **options)
    assert not done.paths["even"].equals(other.paths["even"])
    for path in done.paths["even"]:
        net = done.paths["even"][path].dropna()
        assert len(net) == 6 * 21
        rows = returns.loc[net.index]
        assert any(
            np.allclose(net, naive_even(rows[list(subset)], 21, 25.0), atol=1e-12)
            for subset in combinations(returns.columns, 3)
        )


def naive_even(rows, test_size, cost_bps):
    held, net = np.zeros(rows.shape[1]), []
    for start in range(0, len(rows), test_size):
        target = np.full(rows.shape[1], 1.0 / rows.shape[1])
        part, after = hold(target, rows.iloc[start : start + test_size])
        part[0] -= proportional_cost(target - held, cost_bps=cost_bps)
        net, held = [*net, *part], after
    return np.array(net)


def test_the_path_of_a_walk_forward_is_its_track_with_its_measures(returns):
    models = {"even": EqualWeight(), "shrunk": LedoitWolf()}
    plan = plan_decisions(returns.index, min_history=252)
    done = walk_forward_paths(models, returns, plan, rng=rng(), cost_bps=15.0)
    walked = walk_forward(models, returns, plan, books={"long-only": LONG_ONLY}, cost_bps=15.0)
    for (model, _), track in walked.tracks.items():
        net = done.paths[model]["only"]
        assert_series_equal(net, track.returns, check_names=False)
        row = done.measures.set_index("model").loc[model]
        assert row["annualized_volatility"] == annualized_volatility(net)
        assert row["annualized_cost"] == pytest.approx(track.cost.sum() * 252 / len(net))
    row = done.against.set_index("measure").loc["log_volatility"]
    assert row["low"] < row["mean"] < row["high"] < 0.0  # the shrunk book is calmer
    assert row["share"] == 0.0


def test_seeds_spread_what_hangs_on_them_and_nothing_else(returns):
    models = {"even": EqualWeight(), "drawn": Drawn(), "built": lambda seed: Drawn(random_state=seed)}
    plan = plan_decisions(returns.index, min_history=400)
    done = seed_paths(models, returns, plan, seeds=(3, 4, 5), rng=rng())
    spread = done.summary.query("measure == 'annualized_volatility'").set_index("model")
    assert spread.loc["even", "path_low"] == spread.loc["even", "path_high"]
    assert spread.loc["drawn", "path_high"] > spread.loc["drawn", "path_low"]
    assert_frame_equal(done.paths["drawn"], done.paths["built"])
    weights = np.random.default_rng(4).dirichlet(np.ones(6))
    first = plan[0]
    gross = hold(weights, returns.iloc[first.start : first.stop])[0]
    assert_allclose(done.paths["drawn"][4].iloc[1 : len(gross)], gross[1:], atol=1e-14)
    with pytest.raises(ParameterError, match="two different ones"):
        seed_paths(models, returns, plan, seeds=(3, 3), rng=rng())


def test_a_model_that_fails_is_recorded_and_the_others_go_on(returns):
    models = {"even": EqualWeight(), "broken": Broken()}
    done = combinatorial_paths(models, returns, rng=rng(), n_folds=4)
    assert list(done.paths) == ["even"]
    assert "no luck today" in done.failures["broken"]
    with pytest.raises(DataError, match=r"no model gave a path \(broken: DataError: no luck today"):
        combinatorial_paths({"broken": Broken()}, returns, rng=rng(), n_folds=4)
    walked = walk_forward_paths(models, returns, plan_decisions(returns.index, min_history=252), rng=rng())
    assert "failed on" in walked.failures["broken"]


def test_a_resample_is_the_measure_of_the_days_it_draws():
    net = pd.DataFrame(0.01 * np.random.default_rng(1).standard_normal((60, 2)))
    net.iloc[:25, 1] = np.nan
    starts = np.random.default_rng(3).integers(60, size=(5, 12))
    found = _resampled(net, 5, starts, 252.0)
    for b in range(5):
        rows = np.concatenate([(start + np.arange(5)) % 60 for start in starts[b]])
        for path in (0, 1):
            drawn = net[path].to_numpy()[rows]
            drawn = drawn[np.isfinite(drawn)]
            assert_allclose(found["annualized_return"][b, path], annualized_return(drawn))
            assert_allclose(found["annualized_volatility"][b, path], annualized_volatility(drawn))
            assert_allclose(found["sharpe_ratio"][b, path], sharpe_ratio(drawn))


@pytest.mark.slow
def test_the_interval_of_the_mean_over_paths_covers_the_truth_although_paths_share_their_days():
    hits, n_trials = 0, 200
    for seed in range(n_trials):
        draw = np.random.default_rng(seed)
        market = draw.standard_normal((500, 1))
        net = pd.DataFrame(0.01 * (0.9 * market + np.sqrt(0.19) * draw.standard_normal((500, 20))))
        none = pd.Series(0.0, index=net.columns)
        row = summarise_paths("x", {"m": net}, {"m": none}, rng=draw, n_bootstrap=300).summary.iloc[1]
        hits += row["low"] <= 0.01 * np.sqrt(252) <= row["high"]
    assert 0.90 <= hits / n_trials <= 0.98


def test_paths_that_cannot_be_compared_are_refused(returns):
    frame, none = returns[["A"]], pd.Series(0.0, index=["A"])
    with pytest.raises(ParameterError, match="reference must be one of m"):
        summarise_paths("x", {"m": frame}, {"m": none}, rng=rng(), reference="n")
    with pytest.raises(DataError, match="other days or names"):
        summarise_paths("x", {"m": frame, "n": returns[["B"]]}, {"m": none, "n": none}, rng=rng())
    with pytest.raises(DataError, match="has 5 days, at least 20"):
        summarise_paths("x", {"m": frame.iloc[:5]}, {"m": none}, rng=rng())
    with pytest.raises(ParameterError, match="randomized paths"):
        randomized_paths({"even": EqualWeight()}, returns, rng=rng(), n_assets=7)
    with pytest.raises(ParameterError, match="randomized paths: 600 rows hold no training of 590 and test of 21"):
        randomized_paths({"even": EqualWeight()}, returns, rng=rng(), train_size=590)
    with pytest.raises(ParameterError, match="combinatorial folds"):
        combinatorial_paths({"even": EqualWeight()}, returns, rng=rng(), n_folds=3, n_test_folds=3)


def test_inverse_volatility_learns_from_its_own_rows_in_randomized_paths(returns):
    models = {"inverse": InverseVolatility(lookback=60), "even": EqualWeight()}
    done = randomized_paths(models, returns, rng=rng(), n_paths=3, n_rows=250, train_size=120)
    volatility = done.against.set_index("measure").loc["log_volatility"]
    assert (volatility["model"], volatility["reference"]) == ("even", "inverse")
    assert volatility["share"] == 1.0  # wilder on every subset
