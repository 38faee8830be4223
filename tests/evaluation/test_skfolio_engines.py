"""Do skfolio's engines carry learned models? They do; and these are their limits.

A fake learned model (coefficients in dated bundles, the newest not younger than the last row seen; volume per
asset and the VIX as routed metadata; sectors by name as a parameter; late listings and delistings) goes
through every engine, as a portfolio and as a covariance. A naive ledger of currency amounts, which slices the
panel itself, must find the same weights, costs and returns to 1e-12.
"""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from skfolio.model_selection import (
    CombinatorialPurgedCV,
    MultipleRandomizedCV,
    WalkForward,
    cross_val_predict,
    online_predict,
)
from skfolio.moments import BaseCovariance, EWMu
from skfolio.optimization import BaseOptimization, HierarchicalRiskParity, InverseVolatility, MeanRisk
from skfolio.pre_selection import SelectComplete
from skfolio.prior import EmpiricalPrior
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import validate_data

from eigenfolio.costs import proportional_cost

COST_BPS = 10.0
NAMES = ["AAA", "BBB", "LATE", "DDD", "GONE", "FFF"]
SECTORS = {"AAA": "bank", "BBB": "bank", "LATE": "tech", "DDD": "tech", "GONE": "oil", "FFF": "oil"}
BUNDLES = (("2011-12-30", 1.0), ("2012-08-31", 2.0), ("2012-12-31", 4.0))
MONTHLY = WalkForward(test_size=1, train_size=6, freq="MS", purged_size=1, expand_train=True, reduce_test=True)


# The learned model as two plain functions: what the naive loop calls.


def newest_bundle(bundles, last_row):
    return [value for through, value in bundles if pd.Timestamp(through) <= last_row][-1]


def active(returns):
    return returns.iloc[-5:].notna().any().to_numpy()


def learned_covariance(returns, volume, vix, bundles, sectors):
    coefficient = newest_bundle(bundles, returns.index[-1])
    filled = returns.fillna(0.0).to_numpy()
    matrix = filled.T @ filled / len(filled) + 1e-5 * coefficient * np.diag(1.0 / volume.iloc[-21:].mean())
    same = np.array([[sectors[a] == sectors[b] for a in returns] for b in returns])
    matrix = matrix * np.where(same, 1.0, 0.8) * (1.0 + vix[-1] / 100.0)
    matrix[~active(returns)] = np.nan
    matrix[:, ~active(returns)] = np.nan
    return matrix


def learned_weights(returns, volume, vix, bundles, sectors):
    variance = np.diag(learned_covariance(returns, volume, vix, bundles, sectors))
    scores = np.nan_to_num(1.0 / variance)
    return 0.9 * scores / scores.sum()  # a tenth stays in cash


# The same, as skfolio estimators.


class FakePortfolio(BaseOptimization):
    def __init__(
        self,
        bundles=BUNDLES,
        sectors=None,
        transaction_costs=0.0,
        portfolio_params=None,
        previous_weights=None,
    ):
        super().__init__(portfolio_params=portfolio_params, previous_weights=previous_weights)
        self.bundles = bundles
        self.sectors = sectors
        self.transaction_costs = transaction_costs

    def fit(self, X, y=None, *, volume, vix):
        validate_data(self, X, ensure_all_finite="allow-nan")
        self.weights_ = learned_weights(X, volume[X.columns], np.asarray(vix), self.bundles, self.sectors)
        return self

    def partial_fit(self, X, y=None, *, volume, vix):
        past = getattr(self, "past_", ([], [], []))
        self.past_ = tuple([*old, new] for old, new in zip(past, (X, volume, vix), strict=True))
        return self.fit(pd.concat(self.past_[0]), volume=pd.concat(self.past_[1]), vix=np.concatenate(self.past_[2]))


class FakeCovariance(BaseCovariance):
    n_fits = 0

    def __init__(self, bundles=BUNDLES, sectors=None):
        super().__init__()
        self.bundles = bundles
        self.sectors = sectors

    def fit(self, X, y=None, *, volume, vix):
        type(self).n_fits += 1
        validate_data(self, X, ensure_all_finite="allow-nan")
        self.covariance_ = learned_covariance(X, volume[X.columns], np.asarray(vix), self.bundles, self.sectors)
        self.location_ = np.zeros(X.shape[1])
        return self


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(7)
    index = pd.bdate_range("2012-01-02", periods=360)
    factor = 0.008 * rng.standard_normal((360, 1))
    returns = pd.DataFrame(factor + 0.01 * rng.standard_normal((360, 6)), index=index, columns=NAMES)
    returns.loc[: index[170], "LATE"] = np.nan
    returns.loc[index[250], "GONE"] = -0.6  # the delisting return stands in the last row
    returns.loc[index[251] :, "GONE"] = np.nan
    volume = pd.DataFrame(rng.uniform(1.0, 3.0, (360, 6)), index=index, columns=NAMES)
    return returns, {"volume": volume, "vix": rng.uniform(10.0, 40.0, 360)}


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def portfolio(**options):
    model = FakePortfolio(sectors=SECTORS, **options)
    model.set_fit_request(volume=True, vix=True)
    return model.set_partial_fit_request(volume=True, vix=True)


def covariance():
    return FakeCovariance(sectors=SECTORS).set_fit_request(volume=True, vix=True)


def naive_path(decide, market, splits):
    """Amounts in currency, one asset and one day at a time; costs once, on the first day held."""
    returns, extra = market
    held, weights, costs, net = {}, [], [], []
    for train, test, *columns in splits:
        names = [NAMES[i] for i in (columns[0] if columns else range(6))]
        past = returns.iloc[train][names], extra["volume"].iloc[train][names], extra["vix"][train]
        target = dict(zip(names, decide(*past), strict=True))
        trades = [target.get(name, 0.0) - held.get(name, 0.0) for name in {*target, *held}]
        costs.append(COST_BPS / 1e4 * sum(abs(trade) for trade in trades))
        weights.append([target[name] for name in names])
        amounts, cash = dict(target), 1.0 - sum(target.values())
        for day, row in enumerate(test):
            before = sum(amounts.values()) + cash
            for name in amounts:
                move = returns[name].iloc[row]
                amounts[name] *= 1.0 if np.isnan(move) else 1.0 + move
            net.append((sum(amounts.values()) + cash) / before - 1.0 - (costs[-1] if day == 0 else 0.0))
        wealth = sum(amounts.values()) + cash
        held = {name: amount / wealth for name, amount in amounts.items()}
    return weights, costs, net


def charged_once(path):
    """The whole adapter: skfolio hands over the trades, the cost goes to the first row held."""
    costs, net = [], []
    for held in path:
        costs.append(proportional_cost(held.weights - held.previous_weights, cost_bps=COST_BPS))
        net.extend(held.returns - np.eye(1, len(held.returns))[0] * costs[-1])
    return costs, net


def assert_same(path, naive):
    weights, costs, net = naive
    assert len(path) == len(weights)
    for held, expected in zip(path, weights, strict=True):
        assert_allclose(held.weights, expected, rtol=0, atol=1e-12)
    found_costs, found_net = charged_once(path)
    assert_allclose(found_costs, costs, rtol=0, atol=1e-12)
    assert_allclose(found_net, net, rtol=0, atol=1e-12)


def decide(past, volume, vix):
    return learned_weights(past, volume, vix, BUNDLES, SECTORS)


DRIFT = {"portfolio_params": {"weight_drift": True}}


def test_walk_forward_carries_a_learned_portfolio(market):
    returns, extra = market
    path = cross_val_predict(portfolio(), returns, cv=MONTHLY, params=extra, **DRIFT)
    assert_same(path, naive_path(decide, market, MONTHLY.split(returns)))


def test_the_lag_lies_between_the_last_row_seen_and_the_first_row_earned(market):
    for train, test in MONTHLY.split(market[0]):
        assert test[0] == train[-1] + 2


def test_multiple_randomized_cv_carries_it_on_subsets_of_assets(market):
    returns, extra = market
    cv = MultipleRandomizedCV(
        WalkForward(test_size=21, train_size=60, purged_size=1),
        n_subsamples=3,
        asset_subset_size=4,
        window_size=200,
        random_state=0,
    )
    population = cross_val_predict(portfolio(), returns, cv=cv, params=extra, **DRIFT)
    splits = list(cv.split(returns))
    for i, path in enumerate(population):
        own = [split for split, path_id in zip(splits, cv.get_path_ids(), strict=True) if path_id == i]
        assert_same(path, naive_path(decide, market, own))


def test_combinatorial_purged_cv_carries_it(market):
    # Training rows lie on both sides of a test fold, so the bundle is chosen by the last of them: a dated
    # model is in-sample there, which is for the reader of such paths to know, not for the engine.
    returns, extra = market
    cv = CombinatorialPurgedCV(n_folds=4, n_test_folds=2, purged_size=1, embargo_size=2)
    population = cross_val_predict(portfolio(), returns, cv=cv, params=extra, **DRIFT)
    ids = cv.get_path_ids()
    naive = {}
    for (train, tests), row in zip(cv.split(returns), ids, strict=True):
        for test, path_id in zip(tests, row, strict=True):
            naive[path_id, test[0]] = naive_path(decide, market, [(train, test)])
    for path_id, path in enumerate(population):
        for held in path:  # nothing is carried from fold to fold: each is bought from cash
            assert_same([held], naive[path_id, returns.index.get_loc(held.observations[0])])


def test_online_predict_carries_it_and_equals_walk_forward(market):
    returns, extra = market
    path = online_predict(
        portfolio(), returns, warmup_size=6, freq="MS", purged_size=1, reduce_test=True, params=extra, **DRIFT
    )
    assert_same(path, naive_path(decide, market, MONTHLY.split(returns)))


def test_a_pipeline_carries_it_when_metadata_have_names(market):
    returns, extra = market
    model = Pipeline([("complete", SelectComplete()), ("fake", portfolio())])
    with sklearn.config_context(enable_metadata_routing=True, transform_output="pandas"):
        path = cross_val_predict(model, returns, cv=MONTHLY, params=extra, **DRIFT)
    weights, costs, net = [], [], []
    complete = [list(np.flatnonzero(returns.iloc[train].notna().all())) for train, _ in MONTHLY.split(returns)]
    assert any(len(columns) < 6 for columns in complete)
    splits = [(*split, columns) for split, columns in zip(MONTHLY.split(returns), complete, strict=True)]
    weights, costs, net = naive_path(decide, market, splits)
    for held, expected in zip(path, weights, strict=True):
        assert_allclose(held.weights, expected, rtol=0, atol=1e-12)
    sold = 0  # positions that left the selection are in `turnover`, not in `previous_weights`
    for held, cost in zip(path, costs, strict=True):
        assert_allclose(held.turnover * COST_BPS / 1e4, cost, rtol=0, atol=1e-12)
        sold += held.turnover > np.abs(held.weights - held.previous_weights).sum() + 1e-9
    assert sold
    gross = np.concatenate([held.returns for held in path])
    first = np.cumsum([0, *(len(held.returns) for held in path)])[:-1]
    gross[first] -= costs
    assert_allclose(gross, net, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:More than 5% of the return scenarios")
def test_empirical_prior_carries_a_learned_covariance_into_an_optimizer(market):
    returns, extra = market
    prior = EmpiricalPrior(mu_estimator=EWMu(), covariance_estimator=covariance())
    model = MeanRisk(prior_estimator=prior, portfolio_params={"weight_drift": True})
    path = cross_val_predict(model, returns, cv=MONTHLY, params=extra)

    class Fixed(BaseCovariance):
        def __init__(self, matrix=None):
            super().__init__()
            self.matrix = matrix

        def fit(self, X, y=None):
            validate_data(self, X, ensure_all_finite="allow-nan")
            self.covariance_, self.location_ = self.matrix, np.zeros(X.shape[1])
            return self

    def decide(past, volume, vix):
        matrix = learned_covariance(past, volume, vix, BUNDLES, SECTORS)
        prior = EmpiricalPrior(mu_estimator=EWMu(), covariance_estimator=Fixed(matrix))
        return MeanRisk(prior_estimator=prior).fit(past).weights_

    assert_same(path, naive_path(decide, market, MONTHLY.split(returns)))


# The limits, each a reason for the loop in eigenfolio.evaluation.walk_forward.


def test_limit_costs_are_charged_on_every_row(market):
    returns, extra = market
    free = cross_val_predict(portfolio(), returns, cv=MONTHLY, params=extra, **DRIFT)
    charged = cross_val_predict(portfolio(transaction_costs=COST_BPS / 1e4), returns, cv=MONTHLY, params=extra, **DRIFT)
    for before, after, cost in zip(free, charged, charged_once(free)[0], strict=True):
        assert_allclose(before.returns - after.returns, np.full(len(before.returns), cost), atol=1e-15)


def test_limit_a_routed_table_that_is_not_assets_is_cut_by_asset(market):
    returns, extra = market
    seen = []

    class Spy(FakePortfolio):
        def fit(self, X, y=None, *, volume, vix):
            seen.append(vix[:, :])
            return super().fit(X, volume=volume, vix=vix[:, 0])

    cv = MultipleRandomizedCV(
        WalkForward(test_size=21, train_size=60), n_subsamples=2, asset_subset_size=2, random_state=0
    )
    table = np.column_stack([np.full(360, float(i)) for i in range(6)])  # six market series
    model = Spy(sectors=SECTORS).set_fit_request(volume=True, vix=True)
    cross_val_predict(model, returns, cv=cv, params={**extra, "vix": table})
    assert {part.shape[1] for part in seen} == {2}  # four of them are gone, silently
    with pytest.raises(IndexError):  # and a table of one column is refused
        cross_val_predict(model, returns, cv=cv, params={**extra, "vix": table[:, :1]})


@pytest.mark.parametrize("comparator", [HierarchicalRiskParity(), InverseVolatility()])
def test_limit_comparators_refuse_missing_returns(market, comparator):
    with pytest.raises(ValueError, match="NaN"):
        cross_val_predict(comparator, market[0], cv=MONTHLY)


def test_limit_drift_runs_one_path_in_one_process(market):
    returns, extra = market
    with pytest.warns(UserWarning, match="Parallel processing has been disabled"):
        cross_val_predict(portfolio(), returns, cv=MONTHLY, params=extra, n_jobs=2, **DRIFT)


def test_limit_fitted_estimators_are_lost(market):
    returns, extra = market
    fitted = []

    class Spy(FakePortfolio):
        def fit(self, X, y=None, *, volume, vix):
            fitted.append(weakref.ref(self))
            return super().fit(X, volume=volume, vix=vix)

    model = Spy(sectors=SECTORS).set_fit_request(volume=True, vix=True)
    path = cross_val_predict(model, returns, cv=MONTHLY, params=extra, **DRIFT)
    gc.collect()
    assert len(fitted) == len(path)
    assert not any(reference() for reference in fitted)  # the path lives, what the model learned is gone


@pytest.mark.filterwarnings("ignore:More than 5% of the return scenarios")
def test_limit_a_covariance_is_fitted_once_per_book(market):
    returns, extra = market
    prior = EmpiricalPrior(mu_estimator=EWMu(), covariance_estimator=covariance())
    books = [
        ("capped", MeanRisk(prior_estimator=prior, max_weights=0.5)),
        ("unconstrained", MeanRisk(prior_estimator=prior, min_weights=None)),
    ]
    FakeCovariance.n_fits = 0
    cross_val_predict(books, returns, cv=MONTHLY, params=extra)
    assert FakeCovariance.n_fits == 2 * MONTHLY.get_n_splits(returns)


def test_limit_online_predict_refuses_pipelines(market):
    returns, extra = market
    with pytest.raises(TypeError, match="Pipeline"):
        online_predict(Pipeline([("fake", portfolio())]), returns, params=extra)
