"""The page about stress: every scenario is drawn where its table puts it, and the file stands alone."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from eigenfolio.errors import ParameterError
from eigenfolio.report.stress_page import stress_figure, write_stress_page


def table():
    rows = []
    for kind, scenario in (("shock", "volatility"), ("historic", "pandemic <2020>"), ("regime", "crisis")):
        for k, model in enumerate(("mine", "rival", "even")):
            change = np.log(1.5 + k)
            rows.append(
                {
                    "kind": kind,
                    "scenario": scenario,
                    "model": model,
                    "book": "long-only",
                    "n_rows": 63,
                    "annualized_volatility": 0.3,
                    "normal_volatility": 0.2,
                    "log_volatility": change,
                    "log_volatility_low": change - 0.1,
                    "log_volatility_high": change + 0.2,
                }
            )
    return pd.DataFrame(rows)


def test_points_and_intervals_are_those_of_the_table_and_the_reference_lies_on_top():
    figure = stress_figure(table(), reference="mine", champion="rival")
    assert [trace.name for trace in figure.data] == ["even", "rival", "mine"]
    mine = figure.data[-1]
    assert_allclose(mine.x, 1.5)
    assert_allclose(mine.x + np.array(mine.error_x.array), 1.5 * np.exp(0.2))
    assert_allclose(mine.x - np.array(mine.error_x.arrayminus), 1.5 * np.exp(-0.1))
    assert figure.data[0].error_x.array is None
    low, high = figure.layout.xaxis.range
    assert low < 0.0  # the line at 1 is in sight
    assert high > np.log10(3.5 * np.exp(0.2))


def test_a_reference_that_is_the_champion_is_drawn_once():
    figure = stress_figure(table(), reference="rival", champion="rival")
    assert [trace.name for trace in figure.data] == ["mine", "even", "rival"]


def test_the_page_is_one_file_that_loads_nothing_and_escapes_names(tmp_path):
    path = write_stress_page(
        table(), tmp_path / "s.html", title="A <b>panel", subtitle="x", reference="mine", notes=("a <i>note",)
    )
    page = path.read_text()
    assert "A &lt;b&gt;panel" in page
    assert "a &lt;i&gt;note" in page
    assert "pandemic <2020>" not in page
    assert 'src="http' not in page
    again = write_stress_page(
        table(), tmp_path / "t.html", title="A <b>panel", subtitle="x", reference="mine", notes=("a <i>note",)
    )
    assert again.read_text() == page


def test_nothing_to_draw_is_refused():
    with pytest.raises(ParameterError, match="no scenario to draw"):
        stress_figure(table().iloc[:0], reference="mine")
