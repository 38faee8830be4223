"""The learned estimator with the dense network, and what holds for any: its dates, its bundles, its options."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_bundles import random_bundle
from scipy.special import logit
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from eigenfolio.artifacts import Bundle, BundleSeries, save_bundle
from eigenfolio.errors import ArtifactError, DataError, LookaheadError, ParameterError
from eigenfolio.features import SPECTRUM_FEATURES
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.dense import DenseForward
from eigenfolio.learned.window import blend, shrinkage_window
from eigenfolio.models import LedoitWolf
from eigenfolio.models.networks import DenseShrinkageNetwork
from eigenfolio.training.losses import scale_features

UNTRAINED = NeuralShrinkage(None, network="dense", lookback=252)


def market(n_rows=300, n_assets=12, *, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, (n_rows, 1))
    own = rng.standard_t(5, (n_rows, n_assets)) * rng.uniform(0.5, 2.0, n_assets)
    index = pd.bdate_range("2010-01-01", periods=n_rows)
    return pd.DataFrame(0.01 * (common + own), index=index, columns=[f"a{i}" for i in range(n_assets)])


@pytest.mark.parametrize("n_assets", [1, 2, 12, 400])
def test_untrained_it_is_ledoit_wolf_on_the_correlation(n_assets):
    X = market(n_assets=n_assets)
    ours = clone(UNTRAINED).fit(X)
    classical = LedoitWolf(target="identity", on="correlation", lookback=252).fit(X)
    scale = np.abs(classical.covariance_).max()
    assert_allclose(ours.covariance_ / scale, classical.covariance_ / scale, rtol=0, atol=1e-12)
    assert ours.shrinkage_ == pytest.approx(classical.shrinkage_, abs=1e-12)
    assert ours.target_weights_ == {"identity": 1.0, "constant_correlation": 0.0, "single_factor": 0.0}


def test_an_untrained_network_in_a_bundle_is_the_same_closed_form():
    network = DenseShrinkageNetwork(len(SPECTRUM_FEATURES))
    network.initialise(torch.Generator().manual_seed(3))
    n = len(SPECTRUM_FEATURES)
    tensors = {name: tensor.numpy()[None] for name, tensor in network.state_dict().items()}
    tensors |= {"feature_center": np.zeros(n), "feature_scale": np.ones(n)}
    bundle = Bundle(
        "shrinkage",
        "dense",
        {"hidden_sizes": [128, 64, 32]},
        SPECTRUM_FEATURES,
        tensors,
        pd.Timestamp("2009-01-01"),
    )
    X = market()
    expected = clone(UNTRAINED).fit(X).covariance_
    assert_allclose(NeuralShrinkage(bundle, lookback=252).fit(X).covariance_, expected, rtol=1e-12)


def test_the_numpy_pass_equals_torch():
    bundle = random_bundle(n_members=3)
    network = DenseShrinkageNetwork(len(SPECTRUM_FEATURES), hidden_sizes=(16, 8))
    member = 1
    state = {
        k: torch.from_numpy(np.array(v[member])) for k, v in bundle.tensors.items() if not k.startswith("feature_")
    }
    network.load_state_dict(state)
    network.eval()
    forward = DenseForward(bundle, SPECTRUM_FEATURES)
    for seed in range(20):
        window = shrinkage_window(market(seed=seed, n_assets=5 + seed).to_numpy())
        ours = forward.members(window.features, window.classical_logit)[member]
        features = scale_features(
            torch.from_numpy(window.features).float()[None],
            *(torch.from_numpy(np.array(bundle.tensors[f"feature_{part}"])) for part in ("center", "scale")),
        )
        with torch.no_grad():
            theirs = network(features, torch.tensor([window.classical_logit], dtype=torch.float32))
        assert ours.intensity == pytest.approx(theirs.intensity.item(), abs=1e-6)
        assert_allclose(ours.target_weights, theirs.target_weights.numpy()[0], atol=1e-6)
        assert ours.volatility_blend == pytest.approx(theirs.volatility_blend.item(), abs=1e-6)


def test_the_covariance_is_the_blend_written_out_by_hand():
    X = market()
    model = NeuralShrinkage(random_bundle(seed=6), lookback=None).fit(X)
    window = shrinkage_window(X.to_numpy())
    C = np.corrcoef(X.to_numpy().T)
    n = len(C)
    mean = C[~np.eye(n, dtype=bool)].mean()
    z = (X - X.mean()) / X.std(ddof=0)
    beta = np.array([np.corrcoef(z[name], z.mean(axis=1))[0, 1] for name in X])
    factor = np.outer(beta, beta)
    np.fill_diagonal(factor, 1.0)
    targets = [np.eye(n), np.full((n, n), mean) + (1 - mean) * np.eye(n), factor]
    weights = list(model.target_weights_.values())
    delta, blended = model.shrinkage_, model.volatility_blend_
    R = (1 - delta) * C + delta * sum(w * F for w, F in zip(weights, targets, strict=True))
    sigma = X.std(ddof=0) ** (1 - blended) * window.ewma_volatility**blended
    assert 0.02 < delta < 1
    assert min(weights) > 0.01
    assert 0.05 < blended < 1
    assert_allclose(model.covariance_, R * np.outer(sigma, sigma), rtol=1e-9)


def test_an_ensemble_answers_with_the_mean_of_its_members():
    bundle = random_bundle(n_members=3)
    X = market()
    window = shrinkage_window(X.iloc[-252:].to_numpy())
    members = DenseForward(bundle, SPECTRUM_FEATURES).members(window.features, window.classical_logit)
    model = NeuralShrinkage(bundle, lookback=252).fit(X)
    assert len({member.intensity for member in members}) == 3
    assert logit(model.shrinkage_) == pytest.approx(np.mean([logit(member.intensity) for member in members]))
    assert model.volatility_blend_ == pytest.approx(np.mean([member.volatility_blend for member in members]))
    assert model.diagnostics_["member_spread"] == pytest.approx(np.std([member.intensity for member in members]))


def test_inputs_beyond_the_training_range_are_counted():
    bundle = random_bundle()
    narrow = dict(bundle.tensors) | {"feature_scale": np.full(len(SPECTRUM_FEATURES), 1e-6)}
    assert NeuralShrinkage(replace(bundle, tensors=narrow)).fit(market()).diagnostics_["out_of_range"] > 0.9
    wide = dict(bundle.tensors) | {"feature_scale": np.full(len(SPECTRUM_FEATURES), 1e6)}
    assert NeuralShrinkage(replace(bundle, tensors=wide)).fit(market()).diagnostics_["out_of_range"] == 0.0


def test_dates_out_of_order_or_with_a_time_zone_and_foreign_weights_are_refused():
    X = market()
    with pytest.raises(DataError, match="order of their dates"):
        NeuralShrinkage(random_bundle()).fit(X.iloc[::-1])
    with pytest.raises(DataError, match="time zone"):
        NeuralShrinkage(random_bundle()).fit(X.tz_localize("UTC"))
    with pytest.raises(ParameterError, match="got int"):
        NeuralShrinkage(3).fit(X)


def test_every_answer_is_positive_definite_with_intensity_and_weights_in_range():
    for seed in range(10):
        model = NeuralShrinkage(random_bundle(seed=seed)).fit(market(seed=seed, n_rows=150, n_assets=60))
        assert np.linalg.eigvalsh(model.covariance_).min() > 0
        assert 0 <= model.shrinkage_ <= 1
        assert sum(model.target_weights_.values()) == pytest.approx(1.0)
        assert min(model.target_weights_.values()) >= 0
        assert 0 <= model.volatility_blend_ <= 1


def test_scaling_returns_scales_the_covariance_and_permuting_assets_permutes_it():
    X = market()
    bundle = random_bundle()
    base = NeuralShrinkage(bundle).fit(X).covariance_
    assert_allclose(NeuralShrinkage(bundle).fit(100 * X).covariance_, 1e4 * base, rtol=1e-9)
    order = np.random.default_rng(1).permutation(X.shape[1])
    assert_allclose(NeuralShrinkage(bundle).fit(X.iloc[:, order]).covariance_, base[np.ix_(order, order)], rtol=1e-9)


def test_late_listings_gaps_and_delistings_get_an_answer_and_inactive_assets_get_nan():
    X = market(n_assets=8)
    X.iloc[:280, 0] = np.nan  # listed for 20 rows
    X.iloc[100:110, 1] = np.nan  # a gap
    X.iloc[250:, 2] = np.nan  # gone
    model = NeuralShrinkage(random_bundle()).fit(X)
    finite = np.isfinite(np.diag(model.covariance_))
    assert_array_equal(finite, [True, True, False, True, True, True, True, True])
    assert np.isnan(model.covariance_[2]).all()
    assert np.linalg.eigvalsh(model.covariance_[np.ix_(finite, finite)]).min() > 0


def test_it_takes_the_newest_bundle_that_is_old_enough():
    early, late = random_bundle(through="2010-06-30", seed=1), random_bundle(through="2010-12-31", seed=2)
    X = market()
    series = BundleSeries((early, late))
    for rows, expected in ((X.loc[:"2010-12-30"], early), (X.loc[:"2010-12-31"], late)):
        model = NeuralShrinkage(series).fit(rows)
        assert model.trained_through_ == expected.trained_through
        assert_array_equal(model.covariance_, NeuralShrinkage(expected).fit(rows).covariance_)


def test_weights_that_have_seen_later_rows_are_refused():
    with pytest.raises(LookaheadError, match="2010-06-30, after the last row given"):
        NeuralShrinkage(random_bundle()).fit(market().loc[:"2010-06-29"])


def test_dated_weights_need_dates_unless_told_otherwise():
    X = market().to_numpy()
    with pytest.raises(LookaheadError, match="no dates"):
        NeuralShrinkage(random_bundle()).fit(X)
    assert NeuralShrinkage(random_bundle(), undated="newest").fit(X).trained_through_.year == 2010


def test_a_bundle_folder_gives_the_same_answer_as_the_bundle(tmp_path):
    save_bundle(random_bundle(), tmp_path / "b")
    X = market()
    expected = NeuralShrinkage(random_bundle()).fit(X).covariance_
    assert_array_equal(NeuralShrinkage(tmp_path / "b").fit(X).covariance_, expected)
    assert_array_equal(NeuralShrinkage(str(tmp_path)).fit(X).covariance_, expected)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((*SPECTRUM_FEATURES[1::-1], *SPECTRUM_FEATURES[2:]), "another order"),
        (SPECTRUM_FEATURES[1:], "other features"),
        (("new", *SPECTRUM_FEATURES[1:]), "other features"),
    ],
)
def test_permuted_missing_or_renamed_features_are_refused(names, words):
    with pytest.raises(ArtifactError, match=words):
        NeuralShrinkage(random_bundle(names=names)).fit(market())


def test_the_same_input_gives_the_same_bits_and_is_left_alone():
    X = market()
    before = X.copy()
    model = NeuralShrinkage(random_bundle())
    first = model.fit(X).covariance_.copy()
    assert_array_equal(model.fit(X).covariance_, first)
    pd.testing.assert_frame_equal(X, before)


def test_clones_share_the_weights():
    series = BundleSeries((random_bundle(),))
    assert clone(NeuralShrinkage(series)).weights is series


def test_a_network_that_the_weights_are_not_of_is_refused():
    with pytest.raises(ParameterError, match="but the weights are of network 'dense'"):
        NeuralShrinkage(random_bundle(), network="spectral").fit(market())


@pytest.mark.parametrize("options", [{"network": "huge"}, {"undated": "guess"}, {"lookback": 1}, {"lookback": 2.5}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ParameterError):
        NeuralShrinkage(None, **options).fit(market())


def test_scikit_learn_finds_nothing_to_object_to():
    results = check_estimator(clone(UNTRAINED), on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []


def test_two_rows_one_asset_duplicates_and_constants_get_a_defined_answer():
    X = market()
    duplicated = pd.concat([X, X.iloc[:, :1].rename(columns={"a0": "twin"})], axis=1)
    constant = X.assign(flat=0.0)
    for frame in (X.iloc[:2], X.iloc[:, :1], duplicated, constant):
        for weights in (None, random_bundle(through="2009-01-01")):
            covariance = NeuralShrinkage(weights, network="dense").fit(frame).covariance_
            assert np.isfinite(covariance).all()
            assert (np.linalg.eigvalsh(covariance) > 0).all()
            assert_array_equal(covariance, covariance.T)


def test_blend_keeps_the_sample_volatilities_when_nothing_is_blended():
    window = shrinkage_window(market().to_numpy())
    forward = DenseForward(random_bundle(), SPECTRUM_FEATURES)(window.features, window.classical_logit)
    correlation, volatility = blend(window, forward._replace(volatility_blend=0.0))
    assert_array_equal(volatility, window.volatility)
    assert_array_equal(np.diag(correlation), 1.0)


def test_the_core_fits_without_torch(tmp_path):
    save_bundle(random_bundle(), tmp_path / "b")
    script = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "jinja2", "lightning_fabric"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, pandas as pd
import eigenfolio
rng = np.random.default_rng(0)
X = pd.DataFrame(0.01 * rng.standard_normal((300, 6)), index=pd.bdate_range("2011-01-03", periods=300))
assert eigenfolio.NeuralShrinkage({str(tmp_path / "b")!r}).fit(X).covariance_.shape == (6, 6)
assert eigenfolio.LedoitWolf().fit(X).covariance_.shape == (6, 6)
assert "torch" not in sys.modules
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr
