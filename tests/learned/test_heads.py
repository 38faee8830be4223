"""What weights with heads say of their own answer: the formulas, what is missing, and inputs out of range."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from random_bundles import random_bundle
from random_heads import bundle_with_heads, random_heads
from random_spectral import random_spectral_bundle
from scipy.special import expit, logit, softmax
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.artifacts import load_bundle, save_bundle
from eigenfolio.errors import RangeWarning
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.factor_covariance import FactorCovariance
from eigenfolio.learned.heads import (
    HEAD_ATTRIBUTES,
    HEAD_INPUTS,
    MATERIAL_SHARE,
    RISK_HORIZONS,
    Heads,
    head_inputs,
    input_range,
    portfolio_inputs,
    self_report,
)
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.learned.spectra import SUMMARY_FEATURES, TOKEN_FEATURES, spectral_window
from eigenfolio.learned.spectral import SpectralForward, shrunk_spectrum
from eigenfolio.models.window import prepare_window

BUNDLE = bundle_with_heads(n_members=3, seed=3, size=0.05)


def market(n_rows=160, n_assets=12, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = 0.01 * (rng.standard_normal((n_rows, 1)) + rng.standard_normal((n_rows, n_assets)))
    return pd.DataFrame(
        x, index=pd.bdate_range("2011-01-03", periods=n_rows), columns=[f"a{i}" for i in range(n_assets)]
    )


def asked(bundle=BUNDLE, X=None):
    """A window, the answer to it, the members' answers and the heads' inputs as they are read."""
    window = spectral_window(prepare_window((market() if X is None else X).to_numpy()))
    forward = SpectralForward(bundle)
    members = forward.members(window)
    answer = forward.answer(window, members)
    heads = Heads.of(bundle)
    return window, answer, members, heads, heads.scaled(head_inputs(window, answer, members))


def within_training(bundle=BUNDLE):
    """The bundle with scalers so wide that every input lies within four scales."""
    wide = {n: 0.0 * t + (100.0 if n.endswith("_scale") else 0.0) for n, t in bundle.tensors.items() if is_scaler(n)}
    return replace(bundle, tensors={**bundle.tensors, **wide})


def is_scaler(name):
    return name.endswith(("_center", "_scale")) and not name.startswith("heads_")


def test_the_inputs_are_the_summary_and_six_numbers_of_the_answer():
    window, answer, members, _, _ = asked()
    inputs = head_inputs(window, answer, members)
    assert inputs.shape == (len(HEAD_INPUTS),)
    assert_allclose(inputs[: len(SUMMARY_FEATURES)], window.summary)
    intensities = [shrunk_spectrum(window, member)[0] for member in members]
    inside = np.clip(intensities, 1e-3, 1 - 1e-3)
    expected = [
        logit(shrunk_spectrum(window, answer)[0]),
        np.std(logit(inside)),
        answer.shares[1],
        answer.log_scale,
        answer.volatility_change.mean(),
        answer.volatility_change.std(),
    ]
    assert_allclose(inputs[len(SUMMARY_FEATURES) :], expected)


def test_attributes_are_the_formulas_written_out():
    window, answer, members, heads, x = asked()
    model = NeuralShrinkage(BUNDLE).fit(market())
    one = np.append(1.0, x)
    chances = softmax(heads.regime @ one)
    assert_allclose(list(model.regime_probabilities_.values()), chances)
    assert list(model.regime_probabilities_) == ["calm", "trending", "stressed", "crisis"]
    assert model.regime_ == max(model.regime_probabilities_, key=model.regime_probabilities_.get)
    assert model.expected_error_ == pytest.approx(heads.error @ one)
    middle = logit(shrunk_spectrum(window, answer)[0]) + heads.intensity[0] @ one
    scale = np.exp(heads.intensity[1] @ one)
    assert_allclose(model.shrinkage_interval_, expit([middle - 1.6 * scale, middle + 1.6 * scale]))
    inside = np.clip([shrunk_spectrum(window, member)[0] for member in members], 1e-3, 1 - 1e-3)
    spread = np.var(logit(inside))
    assert model.prediction_variance_ == pytest.approx(0.9 * scale**2 + spread)
    assert model.diagnostics_["aleatoric_variance"] == pytest.approx(0.9 * scale**2)
    assert model.diagnostics_["member_variance"] == pytest.approx(spread)
    for k, name in enumerate(("steady", "recent", "identity")):
        weight, half = heads.targets[k, 0] @ one, heads.targets_calibration[k] * np.exp(heads.targets[k, 1] @ one)
        low, high = np.clip([weight - half, weight + half], 0, 1)
        assert model.target_confidence_[name] == pytest.approx(1 - (high - low))


def test_an_interval_that_reaches_an_edge_ends_there():
    steep = random_heads(intensity=np.zeros((2, 1 + len(HEAD_INPUTS))), intensity_calibration=np.array([50.0, 1.0]))
    assert NeuralShrinkage(bundle_with_heads(steep)).fit(market()).shrinkage_interval_ == (0.0, 1.0)


def test_what_is_said_does_not_depend_on_the_unit_of_returns_or_the_order_of_assets():
    X = market()
    base = NeuralShrinkage(BUNDLE).fit(X)
    for other in (128.0 * X, X.iloc[:, ::-1]):
        model = NeuralShrinkage(BUNDLE).fit(other)
        assert model.expected_error_ == pytest.approx(base.expected_error_, abs=1e-4)
        assert_allclose(model.shrinkage_interval_, base.shrinkage_interval_, atol=1e-4)
        assert set(model.out_of_range_) == set(base.out_of_range_)


def test_a_bundle_remembers_its_heads_on_disk_and_in_a_pickle(tmp_path):
    expected = NeuralShrinkage(BUNDLE).fit(market())
    stored = load_bundle(save_bundle(BUNDLE, tmp_path / "b"))
    for model in (NeuralShrinkage(stored).fit(market()), pickle.loads(pickle.dumps(expected))):
        assert model.regime_probabilities_ == expected.regime_probabilities_
        assert model.risk_interval(np.full(12, 1 / 12)) == expected.risk_interval(np.full(12, 1 / 12))


def test_portfolio_numbers_are_those_worked_by_hand():
    covariance = FactorCovariance(np.ones((2, 1)), np.ones(2), np.ones(2))  # [[2, 1], [1, 2]]
    hedging, concentration, leverage = portfolio_inputs(covariance, np.array([0.5, 0.5]))
    assert hedging == pytest.approx(np.log(1.0 / 1.5))
    assert concentration == pytest.approx(np.log(2))
    assert leverage == 0
    hedging, concentration, leverage = portfolio_inputs(covariance, np.array([3.0, -1.0]))
    assert hedging == pytest.approx(np.log(20 / 14))
    assert concentration == pytest.approx(np.log(16 / 10))
    assert leverage == pytest.approx(np.log(2))
    assert portfolio_inputs(covariance, np.array([1.0, -1.0]))[2] == pytest.approx(np.log(100))


# ---- what is not there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(HEAD_ATTRIBUTES))
def test_what_a_model_cannot_say_it_names_with_the_reason(name):
    with pytest.raises(AttributeError, match=f"{name} is there after fit"):
        getattr(NeuralShrinkage(BUNDLE), name)
    with pytest.raises(AttributeError, match="weights=None is untrained"):
        getattr(NeuralShrinkage(None).fit(market()), name)
    if name != "out_of_range_":  # that needs no head
        old = NeuralShrinkage(random_spectral_bundle()).fit(market())
        with pytest.raises(AttributeError, match=r"needs the head .*training\.heads_share"):
            getattr(old, name)


def test_the_reason_of_the_training_is_told():
    absent = {"heads": {"error": {"status": "absent", "reason": "3 windows with a label"}}}
    bundle = replace(bundle_with_heads(random_heads(error=None)), details=absent)
    model = NeuralShrinkage(bundle).fit(market())
    assert model.regime_
    with pytest.raises(AttributeError, match=r"expected_error_ needs the head 'error'.*\(3 windows with a label\)"):
        _ = model.expected_error_


def test_properties_and_unknown_names_keep_their_own_sentences():
    with pytest.raises(AttributeError, match="covariance_ is there after fit"):
        _ = NeuralShrinkage(None).covariance_
    with pytest.raises(AttributeError, match="no attribute 'wrong'"):
        _ = NeuralShrinkage(None).wrong


def test_weights_without_heads_forget_what_others_have_said():
    model = NeuralShrinkage(BUNDLE).fit(market())
    assert model.regime_
    model.set_params(weights=random_bundle()).fit(market())
    assert not hasattr(model, "regime_")
    assert model.set_params(weights=None).fit(market())
    assert not hasattr(model, "out_of_range_")


# ---- out of range ---------------------------------------------------------------------------------------------------


def naive_range(bundle, window):
    outside, shares = {}, []
    for kind in ("token", "asset", "context", "summary"):
        center, scale = bundle.tensors[f"{kind}_center"].astype(float), bundle.tensors[f"{kind}_scale"].astype(float)
        names = [n.removeprefix(f"{kind}.") for n in bundle.feature_names if n.startswith(f"{kind}.")]
        for k, name in enumerate(names):
            beyond = []
            for b in range(1 if kind == "summary" else 2):
                if kind == "summary":
                    values, c, s = [window.summary[k]], center[k], scale[k]
                else:
                    table = {"token": "tokens", "asset": "assets", "context": "context"}[kind]
                    values = np.atleast_2d(getattr(window.spectra[b], table))[:, k]
                    c, s = center[b, k], scale[b, k]
                z = (np.asarray(values) - c) / s
                z = 0 * z if name == "is_null_space" else z
                shares.append(np.mean(np.abs(z) > 4))
                beyond += [np.sign(v) * max(abs(v) - 4, 0) for v in z]
            farthest = max(beyond, key=abs)
            if farthest:
                outside[f"{kind}.{name}"] = farthest
    return outside, np.mean(shares)


@pytest.mark.parametrize("n_assets", [1, 12, 300])
def test_the_range_is_that_of_a_loop_over_all_inputs(n_assets):
    bundle = random_spectral_bundle(seed=5)
    window = spectral_window(prepare_window(market(120, n_assets).to_numpy()))
    found = input_range(bundle, window)
    outside, share = naive_range(bundle, window)
    assert set(found.outside) == set(outside)
    assert len(outside) > 2
    for name, distance in outside.items():
        assert found.outside[name] == pytest.approx(distance, rel=1e-5)
    assert found.share == pytest.approx(share, rel=1e-6)
    assert f"token.{TOKEN_FEATURES[-1]}" not in found.outside


def test_inputs_within_four_scales_are_not_named():
    model = NeuralShrinkage(within_training()).fit(market())
    assert model.out_of_range_ == {}
    assert model.diagnostics_["out_of_range_all"] == 0.0


def test_a_material_share_is_one_warning_and_less_is_none():
    with pytest.warns(RangeWarning, match=r"% of the inputs lie beyond .* scales") as caught:
        NeuralShrinkage(bundle_with_heads(random_heads(material=0.01))).fit(market())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NeuralShrinkage(bundle_with_heads(random_heads(material=1.0))).fit(market())
        NeuralShrinkage(random_spectral_bundle()).fit(market())  # its range is not known well enough to warn


# ---- speed ----------------------------------------------------------------------------------------------------------


def test_heads_cost_a_fraction_of_a_millisecond():
    import time

    window, answer, members, _, _ = asked(X=market(252, 50))
    seconds = []
    for _ in range(50):
        began = time.perf_counter()
        self_report(BUNDLE, window, answer, members, intensity=0.2)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1e-3  # 0.25 ms on an idle core


def test_quantiles_widen_with_confidence_and_lie_between_those_of_the_neighbouring_horizons():
    _, _, _, heads, x = asked()
    book = np.zeros(3)
    levels = np.array([0.05, 0.25, 0.75, 0.95])
    at = {h: heads.risk_quantiles(x, book, levels, h) for h in (10, 14.4914, 21, 63)}
    assert all((np.diff(quantiles) > 0).all() for quantiles in at.values())
    assert_allclose(at[14.4914], 0.5 * (at[10] + at[21]), atol=1e-5)  # the middle on a log scale
    one = np.concatenate([[1.0], x, book])
    h = RISK_HORIZONS.index(63)
    expected = heads.risk[h, 0] @ one + np.exp(heads.risk[h, 1] @ one) * np.array([-2.2727, -1.2626, 1.2626, 2.2727])
    assert_allclose(at[63], expected, atol=1e-3)


# ---- as an estimator, and on real panels ----------------------------------------------------------------------------


def test_scikit_learn_finds_nothing_in_an_estimator_whose_weights_have_heads():
    model = NeuralShrinkage(BUNDLE, undated="newest")
    assert not [c for c in check_estimator(model, on_fail=None, on_skip=None) if c["status"] == "failed"]


def test_ordinary_stocks_are_in_range_and_wild_tails_and_copies_are_not(shared_data):
    bundle = shipped_bundle("spectral", "2012")
    prices = pd.read_parquet(shared_data / "us_equity_adj_close.parquet").loc["2012":"2016"].dropna(axis=1)
    X = prices.pct_change().iloc[1:].to_numpy()
    rng = np.random.default_rng(0)

    def share(returns):
        return input_range(bundle, spectral_window(prepare_window(returns))).share

    shares = []
    for _ in range(60):
        n_rows, stop = int(rng.integers(63, 505)), int(rng.integers(505, len(X)))
        shares.append(share(X[stop - n_rows : stop, rng.choice(X.shape[1], int(rng.integers(10, 80)), replace=False)]))
    assert max(shares) < MATERIAL_SHARE
    stocks = X[:252, :40].copy()
    assert share(np.repeat(stocks[:, :1], 40, axis=1)) > MATERIAL_SHARE
    stocks[rng.integers(252, size=20), rng.integers(40, size=20)] *= 1000
    assert share(stocks) > MATERIAL_SHARE
