"""Pretraining an ensemble of specialists: sectors come from a file, and the card says what was chosen."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from eigenfolio.artifacts import load_bundle
from eigenfolio.config import load_pretrain_config
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.pipeline.ensemble_card import ensemble_lines
from eigenfolio.pipeline.model_card import model_card
from eigenfolio.pipeline.outcome import RunContext
from eigenfolio.pipeline.pretrain import plan_pretraining, pretrain
from eigenfolio.pipeline.pretrain_data import data_fingerprint
from eigenfolio.training.member_networks import MemberShape

NAMES = [f"S{i}" for i in range(12)]
TRAINING = {
    "n_members": 2,
    "validation_share": 0.4,
    "heads_share": 0.0,
    "network": {"n_units": 4},
    "loop": {"max_epochs": 1, "patience": 1, "batch_size": 16},
    "sources": [
        {"name": "stocks", "panels": ["stocks"], "counts": {8: 20}, "max_lookback": 90},
        {"name": "energy", "panels": ["stocks:Energy"], "counts": {5: 20}, "max_lookback": 90},
    ],
    "diversity": {"specialists": ["all", "source:energy"]},
    "aggregation": {"states": "specialists"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    moves = 0.01 * (rng.standard_normal((600, 1)) + rng.standard_normal((600, 12)))
    index = pd.bdate_range("2008-01-02", periods=600, name="date")
    prices = pd.DataFrame(100 * np.exp(np.cumsum(moves, axis=0)), index, NAMES)
    prices.to_parquet(place / "us_equity_adj_close.parquet")
    sectors = ["Energy"] * 6 + ["Finance"] * 6
    pd.DataFrame({"ticker": NAMES, "sector": sectors}).to_csv(place / "sectors.csv", index=False)
    return place


def options(folder, *, training=None, **data):
    told = {"path": str(folder), "sectors": "sectors.csv"} | data
    return load_pretrain_config(None, vintages=["2009"], training=training or TRAINING, data=told)


class Silent:
    def __call__(self, name, total):
        return self

    def __enter__(self):
        return lambda *_: None

    def __exit__(self, *_):
        return None


def test_a_sector_specialist_is_trained_from_a_file_of_sectors_and_the_card_says_so(data, tmp_path):
    context = RunContext(tmp_path, datetime(2024, 5, 1, 9, 30), "eigenfolio pretrain", "c" * 40)
    folder = pretrain(options(data), context, progress=Silent()).folder
    place = folder / "bundles" / "shrinkage" / "spectral" / "2009-12-31"
    bundle, card = load_bundle(place), (place / "model_card.md").read_text()
    assert SpectralForward(bundle).aggregation.states == ("all", "source:energy")
    assert bundle.details["panels"]["stocks:Energy"]["assets"] == 6
    assert card == model_card(bundle)
    assert "2 members, which differ by their seeds, and by turns in specialists all, source:energy." in card
    assert "by the rule 'mean', with mean weights 0." in card
    X = pd.read_parquet(data / "us_equity_adj_close.parquet").pct_change().iloc[1:]
    covariance = NeuralShrinkage(bundle).fit(X).covariance_
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_a_plan_probes_few_windows_although_a_specialist_needs_many(data):
    plan = plan_pretraining(options(data))
    assert plan.windows == {"stocks": 20, "energy": 20}
    assert plan.total_seconds > 0


def test_sectors_that_are_not_there_are_said(data):
    with pytest.raises(ParameterError, match=r"draws from stocks:Energy, and data.sectors names no file of sectors"):
        data_fingerprint(options(data, sectors=None))
    sources = [TRAINING["sources"][0], {**TRAINING["sources"][1], "panels": ["stocks:Cars"]}]
    with pytest.raises(DataError, match=r"no asset is of sector 'Cars'; there are Energy, Finance"):
        data_fingerprint(options(data, training={**TRAINING, "sources": sources}))


def test_members_of_several_shapes_are_asked_for_in_a_file_and_told_in_the_card(tmp_path):
    lists = {"activations": ["gelu", "tanh"], "depths": [1, 3], "features": ["all", "no_tails"]}
    diversity = "".join(f"    {name}: {values}\n" for name, values in lists.items())
    (tmp_path / "own.yaml").write_text(f"training:\n  n_members: 2\n  diversity:\n{diversity}")
    training = load_pretrain_config(tmp_path / "own.yaml").training
    first, second = training.diversity.shapes(2, 16)
    assert (first, second) == (MemberShape(16), MemberShape(16, "tanh", 3, "no_tails"))
    told = {"training": training.model_dump(mode="json"), "aggregation": {"name": "mean"}}
    differ = "by turns in activations gelu, tanh; depths 1, 3; features all, no_tails."
    assert differ in "\n".join(ensemble_lines(told))


def test_a_card_lists_the_candidates_of_the_best_rule():
    rule = {"name": "mean", "candidates": {"simplex": {"difference": -0.001, "standard_error": 0.002}}}
    lines = ensemble_lines({"training": {"n_members": 3, "diversity": {"spectra": ["both"]}}, "aggregation": rule})
    assert "| simplex | -0.00100 | 0.00200 |" in lines
    assert "by turns in spectra both." in "\n".join(lines)
    assert ensemble_lines({"training": {"n_members": 3}}) == []


def test_a_card_says_how_the_size_of_the_joined_answers_was_mended():
    told = {"training": {"n_members": 3, "diversity": {}}, "aggregation": {"name": "mean"}}
    told["size"] = {"shift": 0.0123, "before": 1.024, "after": 1.0}
    line = "1.024; moving the biases of all scales by +0.0123 made it 1.000."
    assert line in "\n".join(ensemble_lines(told))
