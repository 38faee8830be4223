"""The page of a graph-attention sweep: its headline, its warnings, its lines."""

from types import SimpleNamespace

import pandas as pd
import pytest

from eigenfolio.pipeline.gat_options import GatOptions
from eigenfolio.pipeline.gat_page import collapse_warning, distances_to_equal, headline
from eigenfolio.report import ReportContent
from eigenfolio.report.figures import training_figures


def judged(low, high, more_than_noise):
    rows = pd.DataFrame(
        [
            {"rival": "Equal weight", "low": -1.0, "high": 1.0},
            {"rival": "Minimum variance", "low": low, "high": high},
        ]
    )
    return SimpleNamespace(differences=rows, ranking=SimpleNamespace(more_than_noise=more_than_noise))


@pytest.mark.parametrize(
    ("found", "told", "tone"),
    [
        ((0.1, 0.5, True), "are better than minimum variance out of sample; the graph matters.", "good"),
        ((-0.5, -0.1, False), "are worse than minimum variance out of sample; which graph is best is noise.", "bad"),
        ((-0.5, 0.1, None), "cannot be told from minimum variance out of sample.", "unclear"),
    ],
)
def test_the_headline_says_which_way_the_interval_lies_and_whether_the_graph_matters(found, told, tone):
    assert headline(judged(*found)) == (f"Graph-attention portfolios {told}", tone)


def test_networks_that_hold_equal_weights_are_a_warning():
    dead, alive = {"alarms": ["plateau", "equal weights: the books are 0 from 1/n"]}, {"alarms": ["plateau"]}
    [told] = collapse_warning([{"members": [dead, alive]}, {"members": [dead]}])
    assert told.startswith("2 of 3 networks hold equal weights")
    assert collapse_warning([{"members": [alive]}]) == ()


def test_the_distance_to_equal_weights_is_the_mean_of_the_seeds():
    config = GatOptions(graphs=("mst", "tmfg"), n_seeds=2)
    dates = pd.to_datetime(["2015-01-30", "2015-02-27"])
    seeds = {
        "gat_mst seed 0": pd.DataFrame({"distance_to_equal": [0.1, 0.3]}, dates),
        "gat_mst seed 1": pd.DataFrame({"distance_to_equal": [0.3, 0.5]}, dates),
    }
    table = distances_to_equal(config, SimpleNamespace(diagnostics=seeds))
    assert table.columns.tolist() == ["distance to equal weights, mst"]
    assert table.iloc[:, 0].tolist() == pytest.approx([0.2, 0.4])


def test_losses_of_methods_have_colours_and_names_those_of_dated_bundles_shades():
    history = pd.DataFrame({"epoch": [0, 1, 2], "train": [1.0, 0.9, 0.8], "validation": [1.0, 0.95, 0.9]})
    losses = {"mst": history, "tmfg": history}
    dated, named = (
        training_figures(ReportContent(title="t", verdict=["v"], loss_history=losses, **told))[0]
        for told in ({}, {"loss_lines": "graph method"})
    )
    assert not dated.layout.showlegend
    assert named.layout.showlegend
    assert dated.layout.xaxis.title.text == "epoch"
    assert {line.line.color for line in named.data}.isdisjoint(line.line.color for line in dated.data)
