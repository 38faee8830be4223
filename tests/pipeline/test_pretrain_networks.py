"""`pretrain` for the attention and the dense network: bundles with their cards, few windows, options of one network."""

from contextlib import contextmanager
from datetime import datetime

import pytest

from eigenfolio.artifacts import load_bundle
from eigenfolio.config import load_pretrain_config
from eigenfolio.errors import ParameterError
from eigenfolio.pipeline import RunContext
from eigenfolio.pipeline.model_card import model_card
from eigenfolio.pipeline.pretrain import plan_pretraining, pretrain
from eigenfolio.training.attention import AttentionTraining, DenseTraining

TINY = {
    "n_members": 1,
    "validation_share": 0.5,
    "n_calibration": 40,
    "sources": [{"name": "populations", "counts": {6: 8}, "change": "population", "max_lookback": 80}],
    "loop": {"max_epochs": 1, "batch_size": 8},
}


@contextmanager
def silent(name, total):
    yield lambda: None


@pytest.mark.parametrize("network", ["attention", "dense"])
def test_a_vintage_is_trained_and_carded(network, tmp_path):
    told = load_pretrain_config(None, network=network, vintages=["synthetic"], **{network: TINY})
    context = RunContext(tmp_path, datetime(2024, 5, 1, 9, 30), "eigenfolio pretrain", "c" * 40)
    outcome = pretrain(told, context, progress=silent)
    place = outcome.folder / "bundles" / "shrinkage" / network / "1900-01-01"
    bundle = load_bundle(place)
    assert bundle.network == network
    card = (place / "model_card.md").read_text()
    assert card == model_card(bundle)
    assert f"`NeuralShrinkage(weights='synthetic', network='{network}')`" in card
    assert "on 20 other windows they covered" in card
    assert outcome.trials[0]["model"] == f"shrinkage/{network}"


@pytest.mark.parametrize(("network", "kind"), [("attention", AttentionTraining), ("dense", DenseTraining)])
def test_presets_and_a_number_of_windows_shape_the_training(network, kind):
    full = load_pretrain_config(None, network=network, preset="full")
    assert full.chosen == kind()
    few = load_pretrain_config(None, network=network, preset="full", windows=500).chosen
    assert few.n_windows == pytest.approx(500, rel=0.15)
    assert few.shaped().dropout == 0.5
    assert load_pretrain_config(None, network="spectral", windows=500).chosen.n_members == 1


def test_options_of_a_network_that_is_not_trained_are_refused():
    with pytest.raises(ParameterError, match="dense is read for network dense, and network is attention"):
        load_pretrain_config(None, network="attention", dense=TINY)
    with pytest.raises(ParameterError, match=r"did you mean 'attention\.loss'"):
        load_pretrain_config(None, network="attention", attention={"los": {}})
    with pytest.raises(ParameterError, match="extractor_sizes must be 2 to 4 layers"):
        load_pretrain_config(None, network="attention", attention={"network": {"extractor_sizes": [8]}})


def test_the_plan_names_the_network():
    told = load_pretrain_config(None, network="dense", vintages=["synthetic"], dense=TINY)
    assert any("shrinkage/dense" in line for line in plan_pretraining(told).lines())
