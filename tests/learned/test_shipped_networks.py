"""Weights of the attention and the dense network that ship: whole, small, dated, and in use by name."""

import numpy as np
import pytest
from skfolio.datasets import load_sp500_dataset

from eigenfolio import LedoitWolf, NeuralShrinkage
from eigenfolio.errors import ArtifactError
from eigenfolio.learned.shipped import shipped_series
from eigenfolio.pipeline.model_card import model_card


@pytest.fixture(scope="module", params=["attention", "dense"])
def series(request):
    try:
        return request.param, shipped_series(request.param)
    except ArtifactError:
        pytest.skip(f"no weights of {request.param} are installed")


def test_every_vintage_is_small_and_calibrated_with_a_card(series):
    network, bundles = series
    assert [bundle.trained_through.year for bundle in bundles] == [1900, 2008, 2012, 2016, 2020]
    for bundle in bundles:
        assert sum(tensor.nbytes for tensor in bundle.tensors.values()) < 500_000
        assert 0.8 <= bundle.details["calibration"]["intensity"] <= 0.98
        assert f"network='{network}'" in model_card(bundle)


def test_as_of_takes_the_vintage_that_has_seen_nothing_later(series):
    network, _ = series
    X = load_sp500_dataset().pct_change().iloc[1:].loc["2013-06-01":"2014-12-31"]
    model = NeuralShrinkage(network=network).fit(X)
    assert model.trained_through_.year == 2012
    assert not model.in_sample_
    assert 0.0 < model.shrinkage_interval_[0] < model.shrinkage_interval_[1] < 1.0
    classical = LedoitWolf(on="correlation").fit(X).covariance_
    assert np.abs(model.covariance_ - classical).max() > 1e-3 * np.abs(classical).max()
