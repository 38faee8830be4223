"""Pictures of decisions hold the numbers they were given."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import linkage

from eigenfolio.errors import ParameterError
from eigenfolio.report.interpretation_figures import (
    attention_figure,
    attribution_figure,
    block_curve_figure,
    decision_path_figure,
    dendrogram_figure,
    graph_figure,
    graph_layout,
)
from eigenfolio.report.interpretation_page import InterpretationPage, Section, render_interpretation

DATES = pd.date_range("2020-01-31", periods=4, freq="ME")
PATH = pd.DataFrame(
    {
        "shrinkage": [0.1, 0.2, 0.3, 0.4],
        "guard_range": 0.0,
        "condition_number": [10.0, 12.0, 15.0, 9.0],
        "regime": ["calm", "crisis", "crisis", "calm"],
    },
    index=DATES,
)


def test_a_path_has_a_line_per_share_that_moved_and_a_band_per_loud_regime():
    figure = decision_path_figure(PATH)
    assert [trace.name for trace in figure.data] == ["Intensity", "Condition number"]
    assert list(figure.data[0].y) == [0.1, 0.2, 0.3, 0.4]
    assert {(shape.x0, shape.x1) for shape in figure.layout.shapes} == {("2020-02-29", "2020-04-30")}
    assert decision_path_figure(PATH[["regime"]]) is None


def test_block_curves_are_drawn_as_ratios_with_their_number_of_dates():
    curves = pd.DataFrame([[0.0, np.log(2.0)]], columns=[0.0, 1.0])
    curves.index = pd.MultiIndex.from_tuples([("crisis", 12)], names=["regime", "n_dates"])
    figure = block_curve_figure(curves)
    assert list(figure.data[0].y) == pytest.approx([1.0, 2.0])
    assert figure.data[0].name == "crisis (12)"
    assert block_curve_figure(curves.iloc[:0]) is None


def test_the_bars_left_out_are_summed_so_that_nothing_is_lost():
    values = pd.Series({"a": 3.0, "b": -2.0, "c": 0.5, "d": 0.25})
    figure = attribution_figure(values, "Intensity", most=2)
    assert list(figure.data[0].x) == [0.75, -2.0, 3.0]
    assert list(figure.data[0].y) == ["2 others", "B", "A"]
    assert list(attribution_figure(values.where(values > 0.4, 0.0), "Intensity").data[0].x) == [0.5, 3.0]
    assert attribution_figure(values * 0.0, "Intensity") is None


def test_an_attention_map_keeps_the_tokens_that_receive_most():
    weights = np.array([[0.1, 0.9, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0]])
    figure = attention_figure(weights, ["first", "second", "third"], most=2)
    assert list(figure.data[0].x) == ["first", "second"]
    np.testing.assert_allclose(figure.data[0].z, weights[:2, :2])
    with pytest.raises(ParameterError, match="name per row"):
        attention_figure(weights, ["first"])


def test_the_leaves_of_a_dendrogram_are_named_in_its_order():
    tree = linkage(np.array([[0.0], [5.0], [0.1]]), "single")
    figure = dendrogram_figure(tree, ["left", "far", "near"])
    assert set(figure.layout.xaxis.ticktext) == {"left", "far", "near"}
    assert abs(figure.layout.xaxis.ticktext.index("left") - figure.layout.xaxis.ticktext.index("near")) == 1
    with pytest.raises(ParameterError, match="as many names"):
        dendrogram_figure(tree, ["left"])


def test_a_tree_is_laid_out_so_that_distances_are_those_of_its_paths():
    """A star with three unequal arms does not fit on a line; a path does, exactly."""
    places = graph_layout(4, np.array([[0, 1, 2], [1, 2, 3]]), np.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(np.abs(places[0, 0] - places[3, 0]), 3.5)
    np.testing.assert_allclose(places[:, 1], 0.0, atol=1e-9)


def test_parts_that_nothing_joins_stand_apart():
    places = graph_layout(4, np.array([[0, 2], [1, 3]]), np.array([1.0, 1.0]))
    gap = np.linalg.norm(places[:2].mean(axis=0) - places[2:].mean(axis=0))
    assert np.isfinite(places).all()
    assert gap > 1.0


def test_a_graph_draws_every_edge_once_and_colours_sectors():
    edges = np.array([[0, 1], [1, 2]])
    figure = graph_figure(edges, np.array([0.9, 0.1]), ["a", "b", "c"], sectors={"a": "oil", "b": "oil", "c": "bank"})
    ends = sum(
        int(np.isfinite(np.asarray(trace.x, dtype=float)).sum()) for trace in figure.data if trace.mode == "lines"
    )
    assert ends == 4
    assert [trace.name for trace in figure.data if trace.mode == "markers+text"] == ["oil", "bank"]
    with pytest.raises(ParameterError, match="there are 2 names"):
        graph_figure(edges, np.array([0.9, 0.1]), ["a", "b"])


def test_a_page_escapes_what_it_is_given_and_leaves_out_empty_sections():
    table = pd.DataFrame({"share": [0.5]}, index=pd.Index(["<b>"], name="asset"))
    sections = [Section("<Heading>", ["</script>"], [decision_path_figure(PATH), None], [table]), Section("Empty")]
    page = render_interpretation(InterpretationPage("A & B", sections))
    assert "&lt;Heading&gt;" in page
    assert "<td>&lt;b&gt;</td>" in page
    assert "<h2>Empty" not in page
    specs = json.loads(page.split('id="figures">')[1].split("</script>")[0])
    assert list(specs) == ["figure-0"]
