"""Tables of a paper say the same in LaTeX, Markdown and CSV."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.errors import ParameterError
from eigenfolio.report.paper_tables import Column, PaperTable, escape_latex, latex_table, markdown_table

SHOWN = {
    "model": Column("Model"),
    "ratio": Column("Ratio", 2, 100, unit="%", interval=("low", "high")),
    "n": Column("Windows", 0),
}


def table(n_rows=1, **changes):
    row = {"model": "A_1 & B|C", "ratio": -0.0123, "low": -0.02, "high": 0.001, "n": 1234} | changes
    return PaperTable("pairs", "50 % of {all}.", pd.DataFrame([row] * n_rows), SHOWN)


def test_a_number_has_its_factor_digits_and_interval():
    assert table().cells == [["A_1 & B|C", "\u22121.23 [\u22122.00, 0.10]", "1,234"]]


def test_what_is_missing_is_a_dash_and_an_interval_without_an_end_is_left_out():
    assert table(n=None, low=np.nan).cells[0][1:] == ["\u22121.23", "\u2013"]
    assert table(ratio=-1e-9, low=None).cells[0][1] == "0.00"  # no negative zero


def test_latex_escapes_every_special_character_of_the_values():
    text = latex_table(table())
    assert r"A\_1 \& B\textbar{}C & $-$1.23 [$-$2.00, 0.10] & 1,234 \\" in text
    assert r"\caption{50 \% of \{all\}.}" in text
    assert escape_latex("\\~^#$") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\#\$"


def test_braces_and_environments_of_latex_are_closed():
    for n_rows in (1, 60):
        text = latex_table(table(n_rows))
        bare = text.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        for name in ("table", "tabular", "longtable"):
            assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
        assert ("longtable" in text) == (n_rows == 60)
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
        assert {line.replace(r"\&", "").count("&") for line in rows} == {2}


def test_markdown_has_as_many_cells_in_every_row():
    lines = markdown_table(table(3)).splitlines()[2:]
    assert len(lines) == 5
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    assert lines[1] == "| :--- | ---: | ---: |"


def test_a_table_refuses_a_column_that_is_not_there():
    with pytest.raises(ParameterError, match="shows low, high"):
        PaperTable("pairs", "", pd.DataFrame({"model": ["a"], "ratio": [1.0], "n": [1]}), SHOWN)
