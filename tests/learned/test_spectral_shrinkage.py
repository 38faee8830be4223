"""The learned estimator with the spectral network: its classical start, its properties, and its places in skfolio."""

import pickle
import subprocess
import sys
import time
import warnings
from io import BytesIO

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from random_bundles import random_bundle
from random_spectral import random_spectral_bundle
from sklearn.base import clone
from sklearn.isotonic import isotonic_regression
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.artifacts import BundleSeries, save_bundle
from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.errors import ArtifactError, DataError, LookaheadError, LookaheadWarning, ParameterError
from eigenfolio.learned import NeuralShrinkage, neural_shrinkage, shipped
from eigenfolio.models import MinimumVariance, SampleCovariance, minimum_variance_weights
from eigenfolio.models.nonlinear_shrinkage import lag_weights, qis_eigenvalues
from eigenfolio.models.window import prepare_window

TRAINED = random_spectral_bundle(n_members=2, seed=3)


def market(n_rows=160, n_assets=12, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, (n_rows, 1))
    own = rng.standard_t(5, (n_rows, n_assets)) * rng.uniform(0.5, 2.0, n_assets)
    index = pd.bdate_range("2011-01-03", periods=n_rows)
    return pd.DataFrame(0.01 * (common + own), index=index, columns=[f"a{i}" for i in range(n_assets)])


def assert_usable(covariance):
    assert np.isfinite(covariance).all()
    assert_array_equal(covariance, covariance.T)
    sigma = np.sqrt(np.diag(covariance))
    assert np.linalg.eigvalsh(covariance / np.outer(sigma, sigma))[0] > 1e-7


def relative_to_scale(covariance, expected):
    sigma = np.sqrt(np.diag(expected))
    return (
        np.abs(covariance - expected).max()
        if len(expected) == 0
        else np.abs((covariance - expected) / np.outer(sigma, sigma)).max()
    )


def cleaned_twin(z, weights, *, clean, tilt=1.0):
    """Damped, centred, weighted matrix with cleaned eigenvalues, by eigenvectors of the whole; and eigenvectors."""
    sizes = np.sqrt((z**2).mean(axis=1))
    z = z / np.sqrt(np.maximum(sizes, 0.2 * np.median(sizes)))[:, None]
    z = z - weights @ z
    z = z / np.sqrt(weights @ z**2) * tilt
    values, vectors = np.linalg.eigh((z * weights[:, None]).T @ z)
    n = round(1 / (weights @ weights) - 1)
    values[: max(0, len(values) - n)] = np.maximum(values[: max(0, len(values) - n)], 0)
    q = clean(qis_eigenvalues(values, n_observations=n, minimum=1e-4))
    return vectors * q @ vectors.T, vectors / q @ vectors.T


def classical_twin(X, *, clean):
    x = X.to_numpy() - X.to_numpy().mean(axis=0)
    s = np.sqrt((x**2).mean(axis=0))

    def ewma(half_life):
        path = [(x[:21] ** 2).mean(axis=0)]
        for row in x:
            path.append(path[-1] + (1 - 0.5 ** (1 / half_life)) * (row**2 - path[-1]))
        return np.array(path)

    z = np.clip(x / np.maximum(np.sqrt(ewma(21.0)[:-1]), 0.25 * s), -6, 6)
    lagged = lag_weights(min(len(x), 504))[0]
    recent, precision = cleaned_twin(z[-504:], lagged, clean=clean)
    spread = max(np.var(np.log(s**2 / np.diag(precision))) - 2 * lagged @ lagged, 0.0)
    tilt = (s / np.median(s)) ** (0.03 / (spread + 0.03))
    tilt /= np.sqrt((tilt**2).mean())
    steady, _ = cleaned_twin(x / s, np.full(len(x), 1 / len(x)), clean=clean, tilt=tilt)
    sigma = s**0.3 * np.sqrt(ewma(63.0)[-1]) ** 0.7
    correlation = 0.5 * recent + 0.5 * steady / np.outer(tilt, tilt) + 1e-4 * np.eye(len(s))
    return sigma[:, None] * correlation * sigma


# ---- what it computes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_rows", "n_assets"), [(160, 12), (130, 90), (100, 98), (60, 100), (600, 8)])
def test_untrained_it_is_isotonic_qis_on_both_spectra_written_out(n_rows, n_assets):
    X = market(n_rows, n_assets)
    expected = classical_twin(X, clean=isotonic_regression)
    assert relative_to_scale(NeuralShrinkage(None).fit(X).covariance_, expected) < 1e-12


def test_untrained_it_is_qis_itself_where_qis_keeps_the_order():
    def in_order(eigenvalues):
        assert np.all(np.diff(eigenvalues) >= 0)
        return eigenvalues

    X = market(250, 3)
    assert relative_to_scale(NeuralShrinkage(None).fit(X).covariance_, classical_twin(X, clean=in_order)) < 1e-12


def test_an_untrained_bundle_gives_the_same_bits_as_no_weights():
    X = market()
    bundle = random_spectral_bundle(trained=False)
    assert_array_equal(NeuralShrinkage(bundle).fit(X).covariance_, NeuralShrinkage(None).fit(X).covariance_)


def test_weights_matter():
    X = market()
    covariance = NeuralShrinkage(TRAINED).fit(X).covariance_
    assert relative_to_scale(covariance, NeuralShrinkage(None).fit(X).covariance_) > 0.01


@pytest.mark.parametrize("n_assets", [12, 60])
def test_factor_and_scale_make_the_covariance(n_assets):
    model = NeuralShrinkage(TRAINED).fit(market(50, n_assets))
    covariance = model.factor_ @ model.factor_.T + np.diag(model.scale_**2)
    assert relative_to_scale(covariance, model.covariance_) < 1e-12


def test_attributes_agree_with_each_other():
    mild = random_spectral_bundle(n_members=2, seed=3, size=0.2)
    model = NeuralShrinkage(mild).fit(market())
    assert_allclose(model.precision_ @ model.covariance_, np.eye(12), atol=1e-9)
    assert_array_equal(model.precision_, model.precision_.T)
    assert_allclose(model.volatility_, np.sqrt(np.diag(model.covariance_)))
    assert_allclose(np.outer(model.volatility_, model.volatility_) * model.correlation_, model.covariance_)
    assert model.condition_number_ == pytest.approx(np.linalg.cond(model.correlation_))
    assert 0 <= model.shrinkage_ <= 1
    assert model.block_shrinkage_.shape == (12, 2)
    assert np.all(np.diff(model.block_shrinkage_[:, 0]) <= 0)
    assert model.diagnostics_["shrinkage"] == model.shrinkage_
    assert model.diagnostics_["member_spread"] > 0
    assert all(isinstance(value, float) for value in model.diagnostics_.values())


def test_what_another_network_has_set_is_forgotten():
    X = market()
    model = NeuralShrinkage(TRAINED).fit(X)
    model.set_params(weights=random_bundle()).fit(X)
    assert model.target_weights_
    for name in ("block_shrinkage_", "factor_", "scale_"):
        assert not hasattr(model, name)
    model.set_params(weights=TRAINED).fit(X)
    assert not hasattr(model, "target_weights_")
    with pytest.raises(AttributeError):
        _ = NeuralShrinkage(None).covariance_


def test_the_mean_may_be_taken_as_zero():
    X = market() + 0.01
    centred = NeuralShrinkage(TRAINED, assume_centered=True).fit(X)
    assert_array_equal(centred.location_, 0.0)
    assert np.all(np.diag(centred.covariance_) > 1.05 * np.diag(NeuralShrinkage(TRAINED).fit(X).covariance_))
    assert_usable(centred.covariance_)


# ---- properties ----------------------------------------------------------------------------------------------------


def gappy(n_assets=12):
    X = market(n_assets=n_assets)
    X.iloc[:140, 0] = np.nan  # listed for 20 rows
    X.iloc[40:60, 1] = np.nan
    return X.mask(np.random.default_rng(5).random(X.shape) < 0.03)


@pytest.mark.parametrize("X", [market(), gappy(), market(40, 60)], ids=["complete", "gaps", "wide"])
def test_scaling_returns_scales_the_covariance_and_permuting_assets_permutes_it(X):
    base = NeuralShrinkage(TRAINED).fit(X).covariance_
    scaled = NeuralShrinkage(TRAINED).fit(128.0 * X).covariance_ / 128.0**2
    assert relative_to_scale(scaled, base) < 1e-6  # residual features are in single precision
    order = np.random.default_rng(1).permutation(X.shape[1])
    shuffled = NeuralShrinkage(TRAINED).fit(X.iloc[:, order]).covariance_
    assert relative_to_scale(shuffled, base[np.ix_(order, order)]) < 1e-5
    untrained = NeuralShrinkage(None).fit(X).covariance_
    shuffled = NeuralShrinkage(None).fit(X.iloc[:, order]).covariance_
    assert relative_to_scale(shuffled, untrained[np.ix_(order, order)]) < 1e-9


@pytest.mark.parametrize("weights", [None, TRAINED], ids=["untrained", "trained"])
@pytest.mark.parametrize("n_rows", [2, 3, 25, 160])
def test_any_shape_gets_a_defined_answer(n_rows, weights):
    X = market(n_rows, 6)
    frames = {
        "one": X.iloc[:, :1],
        "two": X.iloc[:, :2],
        "duplicated": pd.concat([X, X.add_suffix("twin"), X.add_suffix("third")], axis=1),
        "constant": X.assign(flat=0.001, zero=0.0),
        "nearly still": X.assign(still=1e-9 * X["a0"]),
        "opposite": X.assign(inverse=-X["a0"]),
        "one observation": X.where((np.arange(6) < 2) | (np.arange(n_rows) == n_rows - 1)[:, None]),
        "wide": market(n_rows, 40),
        "wide and still": market(n_rows, 40).assign(zero=0.0, flat=0.01),
        "wide and duplicated": pd.concat([market(n_rows, 40), market(n_rows, 40).add_suffix("t")], axis=1),
    }
    for name, frame in frames.items():
        covariance = NeuralShrinkage(weights).fit(frame).covariance_
        assert covariance.shape == (frame.shape[1],) * 2, name
        assert_usable(covariance)


def test_one_asset_has_the_blend_of_both_volatilities():
    X = market(n_assets=1)
    window = prepare_window(X.to_numpy())
    expected = window.volatility**0.6 * window.ewma_volatility(63.0) ** 1.4 * (1 + 1e-4)
    assert_allclose(NeuralShrinkage(None).fit(X).covariance_[0], expected, rtol=1e-12)


def test_a_constant_asset_is_uncorrelated_and_twins_move_together():
    X = market().assign(flat=0.001)
    X["twin"] = X["a0"]
    correlation = NeuralShrinkage(None).fit(X).correlation_
    assert_allclose(correlation[12, :12], 0.0, atol=1e-9)
    assert correlation[0, 13] > 0.9


def test_late_listings_gaps_and_delistings_get_an_answer_and_inactive_assets_get_nan():
    X = gappy()
    X.iloc[-30:, 2] = np.nan  # gone
    X.iloc[:-2, 4] = np.nan  # listed for two rows
    model = NeuralShrinkage(TRAINED).fit(X)
    active = np.arange(12) != 2
    assert_array_equal(np.isfinite(np.diag(model.covariance_)), active)
    assert np.isnan(model.covariance_[2]).all()
    assert_usable(model.covariance_[np.ix_(active, active)])
    for name in ("factor_", "scale_", "volatility_", "location_"):
        assert_array_equal(np.isfinite(getattr(model, name)).reshape(12, -1).all(axis=1), active)
    assert_array_equal(np.isnan(model.precision_[2]), True)
    assert np.isfinite(model.condition_number_)


def test_a_factor_that_happens_to_be_square_is_spread_by_rows_alone():
    X = market(7, 12)  # of 12 active assets: 6 vectors of each spectrum
    X["gone"] = np.nan
    model = NeuralShrinkage(None).fit(X, active_mask=X.notna().to_numpy())
    assert model.factor_.shape == (13, 12)
    assert_array_equal(np.isnan(model.factor_).all(axis=1), [False] * 12 + [True])


def test_only_one_asset_left_of_many_gets_its_variance():
    X = market()
    X.iloc[-30:, 1:] = np.nan
    covariance = NeuralShrinkage(TRAINED).fit(X).covariance_
    assert np.isfinite(covariance).sum() == 1
    assert covariance[0, 0] > 0


def test_a_mask_decides_who_is_active():
    X = market()
    mask = pd.DataFrame(True, X.index, X.columns)
    mask.iloc[-1, 0] = False
    X.iloc[-3:, 2] = np.nan  # a holiday
    expected = np.arange(12) != 0
    for given in (mask, mask.to_numpy(), mask.iloc[:, ::-1]):
        model = NeuralShrinkage(TRAINED).fit(X, active_mask=given)
        assert_array_equal(np.isfinite(np.diag(model.covariance_)), expected)


def test_rows_beyond_the_lookback_are_not_read():
    X = market(300)
    poisoned = X.copy()
    poisoned.iloc[:-100] = 1e6
    model = NeuralShrinkage(TRAINED, lookback=100)
    expected = clone(model).fit(X.tail(100)).covariance_
    assert_array_equal(model.fit(poisoned).covariance_, expected)
    assert NeuralShrinkage().lookback == 1008


def test_the_same_input_gives_the_same_bits_whatever_its_layout_and_is_left_alone():
    X = market()
    before = X.copy()
    first = NeuralShrinkage(TRAINED).fit(X).covariance_
    for same in (X, np.asfortranarray(X), X.to_numpy(copy=True)):
        assert_array_equal(NeuralShrinkage(TRAINED, undated="newest").fit(same).covariance_, first)
    pd.testing.assert_frame_equal(X, before)


# ---- adding rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lookback", [10, 60, None])
@pytest.mark.parametrize("network", ["spectral", "dense"])
def test_adding_rows_is_fitting_all_of_them(lookback, network):
    X = gappy()
    X.iloc[-25:, 3] = np.nan
    weights = TRAINED if network == "spectral" else random_bundle()
    model = NeuralShrinkage(weights, lookback=lookback).fit(X.iloc[:100])
    for start, stop in ((100, 101), (101, 130), (130, 160)):
        model.partial_fit(X.iloc[start:stop])
        expected = NeuralShrinkage(weights, lookback=lookback).fit(X.iloc[:stop])
        assert_array_equal(model.covariance_, expected.covariance_)
        assert_array_equal(model.location_, expected.location_)
        assert model.diagnostics_ == expected.diagnostics_
    kept, _ = model._kept
    assert len(kept) == (160 if lookback is None else max(lookback, 21))


def test_adding_rows_begins_from_nothing_takes_arrays_and_picks_newer_weights():
    X = market()
    series = BundleSeries((TRAINED, random_spectral_bundle(through="2011-03-31", seed=9)))
    model = NeuralShrinkage(series).partial_fit(X.iloc[:40])
    assert model.trained_through_.year == 2010
    assert model.partial_fit(X.iloc[40:]).trained_through_ == pd.Timestamp("2011-03-31")
    arrays = NeuralShrinkage(None).partial_fit(X.to_numpy()[:40]).partial_fit(X.to_numpy()[40:])
    assert_array_equal(arrays.covariance_, NeuralShrinkage(None).fit(X).covariance_)
    assert_array_equal(arrays.fit(X[:50]).covariance_, NeuralShrinkage(None).fit(X[:50]).covariance_)


def test_masks_are_remembered_with_the_rows():
    X = market()
    mask = pd.DataFrame(True, X.index, X.columns)
    mask.iloc[:80, 1] = False
    model = NeuralShrinkage(TRAINED).fit(X.iloc[:100], active_mask=mask.iloc[:100])
    model.partial_fit(X.iloc[100:])
    assert_array_equal(model.covariance_, NeuralShrinkage(TRAINED).fit(X, active_mask=mask).covariance_)
    mask.iloc[120:, 5] = False
    model = NeuralShrinkage(TRAINED).fit(X.iloc[:100])
    model.partial_fit(X.iloc[100:], active_mask=mask.iloc[100:, ::-1])
    mask.iloc[:80, 1] = True
    assert_array_equal(model.covariance_, NeuralShrinkage(TRAINED).fit(X, active_mask=mask).covariance_)


def test_rows_that_do_not_follow_are_refused_and_nothing_is_lost():
    X = market()
    model = NeuralShrinkage(TRAINED).fit(X.iloc[:100])
    wrong = {
        "X has 5 features, but NeuralShrinkage is expecting 12": X.iloc[100:, :5],
        "in their order": X.iloc[100:, ::-1],
        "must be later": X.iloc[90:],
        "either all DataFrames": X.iloc[100:].to_numpy(),
        "must have dates": X.iloc[100:].reset_index(drop=True),
    }
    for words, rows in wrong.items():
        with pytest.raises(DataError, match=words):
            model.partial_fit(rows)
    with pytest.raises(ParameterError, match="active_mask must be boolean"):
        model.partial_fit(X.iloc[100:], active_mask=np.ones((60, 3), dtype=bool))
    with pytest.raises(DataError, match="X has 2 features"):
        NeuralShrinkage(None).fit(X.to_numpy()).partial_fit(np.zeros((3, 2)))
    assert_array_equal(model.partial_fit(X.iloc[100:]).covariance_, NeuralShrinkage(TRAINED).fit(X).covariance_)


# ---- dates and names of weights ------------------------------------------------------------------------------------


@pytest.fixture
def vintages(monkeypatch):
    """Three vintages in place of those that ship."""
    series = BundleSeries(
        tuple(
            random_spectral_bundle(through=through, seed=seed)
            for seed, through in enumerate(("1900-01-01", "2010-12-31", "2011-06-30"))
        )
    )
    monkeypatch.setattr(neural_shrinkage, "shipped_series", lambda network: series)
    monkeypatch.setattr(shipped, "shipped_series", lambda network: series)
    return series


def test_the_default_takes_the_newest_vintage_that_has_seen_nothing_later(vintages):
    X = market()
    simulated, early, late = vintages
    for rows, bundle, seen in (
        (X.loc[:"2011-06-29"], early, early.trained_through),
        (X.loc[:"2011-06-30"], late, late.trained_through),
        (X.shift(freq="-600D"), simulated, None),
    ):
        model = NeuralShrinkage().fit(rows)
        assert model.trained_through_ == seen
        assert model.in_sample_ is False
        assert_array_equal(model.covariance_, NeuralShrinkage(bundle).fit(rows).covariance_)
    undated = NeuralShrinkage().fit(X.to_numpy())
    assert undated.trained_through_ == late.trained_through
    assert undated.in_sample_ is None


def test_named_vintages_that_have_seen_later_rows_warn_and_say_so(vintages):
    X = market().loc[:"2011-05-31"]
    for name in ("latest", "2011"):
        if name == "2011":
            vintages = BundleSeries((vintages.bundles[0], vintages.bundles[2]))
            shipped.shipped_series = lambda network, series=vintages: series
        with pytest.warns(LookaheadWarning, match=r"have seen rows through 2011-06-30, after .*2011-05-31"):
            model = NeuralShrinkage(name).fit(X)
        assert model.in_sample_ is True
    for name in ("synthetic",):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = NeuralShrinkage(name).fit(X)
        assert model.in_sample_ is False
        assert model.trained_through_ is None
    with pytest.raises(ParameterError, match="'1999' does not ship"):
        NeuralShrinkage("1999").fit(X)


def test_own_weights_that_have_seen_later_rows_are_refused():
    with pytest.raises(LookaheadError, match="after the last row given"):
        NeuralShrinkage(random_spectral_bundle(through="2012-01-01")).fit(market())
    with pytest.raises(LookaheadError, match="no dates"):
        NeuralShrinkage(TRAINED).fit(market().to_numpy())


def test_weights_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(ArtifactError):
        NeuralShrinkage(tmp_path / "nothing").fit(market())
    with pytest.raises(ArtifactError, match="no weights ship for network 'convolution'"):
        shipped.shipped_series("convolution")


def test_shipped_weights_are_read_from_the_package():
    try:
        series = shipped.shipped_series("spectral")
    except ArtifactError:
        pytest.skip("no weights are installed")
    assert {bundle.network for bundle in series} == {"spectral"}
    assert shipped.is_undated(series.bundles[0])
    assert all(bundle.trained_through <= pd.Timestamp("2020-12-31") for bundle in series)
    model = NeuralShrinkage().fit(market())
    assert model.trained_through_ is None or model.trained_through_ <= market().index[-1]
    assert_usable(model.covariance_)


# ---- places --------------------------------------------------------------------------------------------------------


def test_scikit_learn_finds_nothing_to_object_to():
    for model in (NeuralShrinkage(None), NeuralShrinkage(TRAINED, undated="newest")):
        results = check_estimator(model, on_fail=None, on_skip=None)
        assert [r["check_name"] for r in results if r["status"] == "failed"] == []


def test_clones_share_the_weights_and_cost_nothing():
    model = NeuralShrinkage(BundleSeries((TRAINED,)))
    began = time.perf_counter()
    clones = [clone(model) for _ in range(100)]
    assert time.perf_counter() - began < 0.5  # 100 of them
    assert clones[0].weights is model.weights


def test_a_fitted_model_survives_pickle_and_joblib_and_goes_on():
    X = market()
    model = NeuralShrinkage(TRAINED).fit(X.iloc[:100])
    expected = NeuralShrinkage(TRAINED).fit(X).covariance_
    file = BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(file)):
        assert_array_equal(copy.covariance_, model.covariance_)
        assert_array_equal(copy.partial_fit(X.iloc[100:]).covariance_, expected)


def test_it_serves_skfolios_priors_optimisers_and_evaluations():
    from skfolio.model_selection import (
        WalkForward,
        covariance_forecast_evaluation,
        cross_val_predict,
        online_covariance_forecast_evaluation,
    )
    from skfolio.optimization import MeanRisk, RiskBudgeting
    from skfolio.prior import EmpiricalPrior

    X = market(260, 6)
    model = NeuralShrinkage(TRAINED, lookback=100)
    prior = EmpiricalPrior(covariance_estimator=model)
    assert_array_equal(prior.fit(X).return_distribution_.covariance, clone(model).fit(X).covariance_)
    for optimiser in (MeanRisk(prior_estimator=prior), RiskBudgeting(prior_estimator=prior)):
        assert optimiser.fit(X).weights_.sum() == pytest.approx(1.0)
    portfolio = cross_val_predict(MeanRisk(prior_estimator=prior), X, cv=WalkForward(train_size=200, test_size=30))
    assert np.isfinite(portfolio.returns).all()
    offline = covariance_forecast_evaluation(model, X, train_size=100, test_size=20)
    online = online_covariance_forecast_evaluation(model, X, warmup_size=100, test_size=20)
    assert_allclose(online.mahalanobis_calibration_ratio, offline.mahalanobis_calibration_ratio, rtol=1e-12)


def test_torch_is_not_imported(tmp_path):
    save_bundle(TRAINED, tmp_path / "b")
    script = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "jinja2", "lightning_fabric"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, pandas as pd
from eigenfolio import NeuralShrinkage
X = pd.DataFrame(np.random.default_rng(0).standard_normal((90, 6)), index=pd.bdate_range("2011-01-03", periods=90))
model = NeuralShrinkage({str(tmp_path / "b")!r}).fit(X).partial_fit(X.shift(freq="200D"))
assert model.precision_.shape == (6, 6) and "torch" not in sys.modules
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr


@pytest.mark.parametrize("network", ["spectral", "dense"])
def test_the_volatility_of_a_portfolio_is_that_of_the_matrix_and_needs_one(network):
    X = market()
    X["a3"] = np.nan
    model = NeuralShrinkage(None, network=network)
    with pytest.raises(AttributeError, match="after fit"):
        model.portfolio_volatility(np.ones(12))
    with pytest.raises(AttributeError, match="after fit"):
        model.minimum_variance_weights()
    model.fit(X)
    weights = pd.Series(np.arange(12.0) / 66.0, index=X.columns)
    weights["a3"] = 0.0
    seen = X.columns != "a3"
    expected = weights[seen] @ model.covariance_[np.ix_(seen, seen)] @ weights[seen]
    assert model.portfolio_volatility(weights) == pytest.approx(np.sqrt(expected), rel=1e-12)
    assert model.minimum_variance_weights(Constraints(max_weight=0.2))[3] == 0.0
    with pytest.raises(ParameterError, match="inactive"):
        model.portfolio_volatility(np.full(12, 1 / 12))
    with pytest.raises(ParameterError, match="other names"):
        model.portfolio_volatility(weights[::-1])


def test_twenty_thousand_assets_are_never_a_square_matrix():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 20_000)) + rng.standard_normal((30, 1))
    X[:, :2] = 0.0  # do not move
    X[:10, 5] = np.nan
    model = NeuralShrinkage(TRAINED, undated="newest").fit(X)
    assert model.factor_.shape[1] < 60
    assert np.isfinite(model.volatility_).all()
    weights = model.minimum_variance_weights(Constraints(max_weight=0.01))
    assert weights.sum() == pytest.approx(1.0)
    assert 0.0 <= weights.min() < weights.max() <= 0.01
    assert model.portfolio_volatility(weights) < model.portfolio_volatility(np.full(20_000, 5e-5))
    assert model._covariance is None


@pytest.mark.parametrize("book", [UNCONSTRAINED, Constraints(), Constraints(max_weight=0.02)])
def test_the_books_of_a_covariance_that_is_not_formed_are_those_of_the_matrix(book):
    rng = np.random.default_rng(1)
    X = 0.01 * (rng.standard_normal((40, 150)) * rng.uniform(0.5, 2.0, 150) + rng.standard_normal((40, 1)))
    X[:, 7] = np.nan
    model = NeuralShrinkage(TRAINED, undated="newest").fit(X)
    weights = model.minimum_variance_weights(book)
    chosen = MinimumVariance(NeuralShrinkage(TRAINED, undated="newest"), long_only=book.long_only).fit(X)
    volatility = model.portfolio_volatility(weights)
    assert model._covariance is None
    assert chosen.covariance_estimator_._covariance is None
    assert weights[7] == 0.0
    assert_allclose(weights, minimum_variance_weights(model.covariance_, book), atol=1e-10)
    seen = np.arange(150) != 7
    block = model.covariance_[np.ix_(seen, seen)]
    assert volatility == pytest.approx(np.sqrt(weights[seen] @ block @ weights[seen]), rel=1e-12)
    if book.max_weight == 1.0:
        assert_allclose(chosen.weights_, weights, atol=1e-12)


def test_a_few_wild_rows_move_the_correlation_less_than_that_of_the_sample():
    rng = np.random.default_rng(0)
    X = 0.01 * (rng.standard_normal((300, 1)) + rng.standard_normal((300, 15)))
    wild = X.copy()
    wild[rng.choice(300, 3, replace=False)] *= 12.0
    wild[rng.choice(300, 3, replace=False), rng.choice(15, 3)] += 0.2

    def correlation(model, rows):
        covariance = model.fit(rows).covariance_
        volatility = np.sqrt(np.diag(covariance))
        return covariance / np.outer(volatility, volatility)

    moved = {
        name: np.abs(correlation(model, wild) - correlation(model, X)).mean()
        for name, model in (("ours", NeuralShrinkage("synthetic")), ("sample", SampleCovariance()))
    }
    assert moved["ours"] < 0.6 * moved["sample"]
