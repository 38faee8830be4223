"""Training that starts from a bundle: its weights and scaler, and nothing that has seen too much."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from random_spectral import random_spectral_bundle

from eigenfolio.artifacts import save_bundle
from eigenfolio.errors import ArtifactError, LookaheadError, ParameterError
from eigenfolio.learned.shipped import shipped_bundle
from eigenfolio.training.initial_weights import initial_bundle
from eigenfolio.training.loop import LoopOptions
from eigenfolio.training.mixture import WindowSource
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, train_spectral

SOURCE = WindowSource(name="p", counts={8: 12}, change="population", max_lookback=80)
THROUGH = pd.Timestamp("2012-12-31")


def training(initial, *, n_members=1, n_units=8, rate=1e-12, **options):
    loop = LoopOptions(max_epochs=1, batch_size=4, learning_rate=rate, optimiser={"name": "adamw", "weight_decay": 0.0})
    return SpectralTraining(
        n_members=n_members,
        validation_share=0.5,
        sources=(SOURCE,),
        network=SpectralOptions(n_units=n_units),
        loop=loop,
        initial=initial,
        **options,
    )


def test_members_start_from_the_members_of_the_bundle_in_turn_with_its_scaler(tmp_path):
    start = random_spectral_bundle(n_members=2, through="2010-06-30")
    save_bundle(start, tmp_path / "start")
    options = training(str(tmp_path / "start"), n_members=3)
    made = train_spectral({}, THROUGH, options=options, seed=1).bundle
    for name, tensor in start.tensors.items():
        if name.endswith(("_center", "_scale")):
            assert_array_equal(made.tensors[name], tensor)
        else:
            found = made.tensors[name].copy()
            if name == "summary_out.bias":  # its first entries are the scale's, which gets its size after training
                shift = made.details["size"]["shift"]
                assert np.abs(found[:, 0] - tensor[[0, 1, 0], 0] - shift).max() < 1e-7
                found[:, 0] = tensor[[0, 1, 0], 0]
            assert np.abs(found - tensor[[0, 1, 0]]).max() < 1e-9, name
    assert made.details["initial_digest"] == start.digest


def test_synthetic_names_the_shipped_weights_and_differs_from_the_closed_form():
    start = shipped_bundle("spectral", "synthetic")
    made = train_spectral({}, None, options=training("synthetic", n_units=16), seed=1)
    assert made.bundle.details["initial_digest"] == start.digest
    assert np.abs(made.bundle.tensors["mixing"] - start.tensors["mixing"][:1]).max() < 1e-9
    plain = train_spectral({}, None, options=training(None, n_units=16), seed=1)
    assert made.histories[0].start.validation["total"] < plain.histories[0].start.validation["total"]
    assert "initial_digest" not in plain.bundle.details


def test_a_bundle_that_has_seen_more_than_the_training_may_is_refused(tmp_path):
    save_bundle(random_spectral_bundle(through="2014-06-30"), tmp_path / "late")
    assert initial_bundle(str(tmp_path / "late"), through=pd.Timestamp("2014-06-30"), n_units=8)
    for through in (THROUGH, None):
        with pytest.raises(LookaheadError, match=r"has seen 2014-06-30.*start from an earlier bundle"):
            initial_bundle(str(tmp_path / "late"), through=through, n_units=8)


def test_another_width_another_network_and_nothing_at_all_are_errors(tmp_path):
    with pytest.raises(ParameterError, match=r"n_units=16, and network.n_units is 8"):
        initial_bundle("synthetic", through=None, n_units=8)
    with pytest.raises(ArtifactError):
        initial_bundle(str(tmp_path / "nothing"), through=None, n_units=8)
    place = save_bundle(replace(random_spectral_bundle(), network="dense"), tmp_path / "dense")
    with pytest.raises(ParameterError, match="bundle of shrinkage/dense"):
        initial_bundle(str(place), through=THROUGH, n_units=8)


def test_the_synthetic_vintage_itself_does_not_start_from_what_it_makes():
    adaptation = {"source": ("p",), "target": ("m",), "coral": 1.0}
    market = WindowSource(name="m", panels=("stocks",), counts={8: 2})
    whole = SpectralTraining(sources=(SOURCE, market), initial="synthetic", adaptation=adaptation, curriculum=0.5)
    alone = whole.simulated()
    assert (alone.initial, alone.adaptation, alone.curriculum) == (None, None, 0.5)
    assert whole.model_copy(update={"initial": "runs/x"}).simulated().initial == "runs/x"
