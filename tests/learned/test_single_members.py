"""One member of an ensemble, taken out: it decides as it did among the others."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from random_gat import random_gat_bundle

from eigenfolio.artifacts import BundleSeries, load_bundle, save_bundle
from eigenfolio.errors import ParameterError
from eigenfolio.learned import GraphAttentionPortfolio, NeuralShrinkage
from eigenfolio.learned.shipped import shipped_bundle, shipped_series
from eigenfolio.learned.single_members import member_bundle, member_series, n_members
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.models.window import prepare_window


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(3)
    values = 0.01 * (rng.standard_normal((260, 1)) + rng.standard_normal((260, 8)))
    return pd.DataFrame(values, index=pd.bdate_range("2015-01-02", periods=260), columns=list("ABCDEFGH"))


def test_members_of_the_spectral_network_say_what_they_said_together(X):
    bundle, window = shipped_bundle("spectral", "2012"), spectral_window(prepare_window(X.to_numpy()))
    together = SpectralForward(bundle).members(window)
    for member, said in enumerate(together):
        [alone] = SpectralForward(member_bundle(bundle, member)).members(window)
        assert_allclose(alone.volatility_change, said.volatility_change, atol=1e-12)
        assert_allclose(alone.eigenvalue_change[1], said.eigenvalue_change[1], atol=1e-12)
        assert alone.log_scale == pytest.approx(said.log_scale, abs=1e-12)


@pytest.mark.parametrize("network", ["spectral", "attention", "dense"])
def test_every_shipped_network_can_be_taken_apart(X, network, tmp_path):
    bundle = shipped_bundle(network, "2012")
    books = []
    for member in range(n_members(bundle)):
        alone = member_bundle(bundle, member)
        assert n_members(alone) == 1
        model = NeuralShrinkage(alone).fit(X)
        assert model.trained_through_ == bundle.trained_through
        assert model.diagnostics_["member_spread"] == 0.0
        books.append(model.covariance_)
    assert len({book.tobytes() for book in books}) == len(books)
    place = save_bundle(alone, tmp_path / "one")
    assert load_bundle(place).digest == alone.digest


def test_the_mean_of_graph_members_is_the_ensembles_book(X):
    bundle = random_gat_bundle(n_members=3)
    alone = [GraphAttentionPortfolio(member_bundle(bundle, i)).fit(X).weights_ for i in range(3)]
    assert_allclose(GraphAttentionPortfolio(bundle).fit(X).weights_, np.mean(alone, axis=0), atol=1e-12)


def test_a_series_keeps_its_dates():
    series = shipped_series("dense")
    assert [b.trained_through for b in member_series(series, 1)] == [b.trained_through for b in series]
    assert isinstance(member_series(series, 1), BundleSeries)


def test_a_member_that_is_not_there_is_refused():
    with pytest.raises(ParameterError, match="from 0 to 2, got 3"):
        member_bundle(shipped_bundle("spectral", "2012"), 3)
