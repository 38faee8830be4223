"""What a `ReportContent` accepts and derives."""

import dataclasses

import pandas as pd
import pytest

from eigenfolio.errors import ParameterError
from eigenfolio.report import ReportContent


def test_books_leave_out_own_weights_unless_they_are_all_there_is(content):
    assert content.books == ["long-only 5% cap", "unconstrained"]
    alone = ReportContent(title="t", verdict=["v"], returns={"own": content.returns["own"]})
    assert alone.books == ["own"]


def test_own_weights_are_a_book_where_they_were_compared(content):
    rows = content.comparison.iloc[:1].assign(reference="HRP", rival="equal weight", book="own")
    compared = dataclasses.replace(content, comparison=pd.concat([content.comparison, rows]))
    assert compared.books == [*content.books, "own"]


def test_the_focus_is_the_learned_model_or_else_the_reference(content):
    without = dataclasses.replace(content, learned_model=None)
    book = content.books[0]
    assert content.focus(book) == without.focus(book) == "NeuralShrinkage"
    assert ReportContent(title="t", verdict=["v"]).focus(book) is None


def test_tables_may_name_models_in_the_index(content):
    indexed = dataclasses.replace(content, performance=content.performance.set_index(["model", "book"]))
    pd.testing.assert_frame_equal(indexed.performance_table[content.performance.columns], content.performance_table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": []}, "verdict must be a list"),
        ({"verdict": "a sentence"}, "verdict must be a list"),
        ({"verdict_tone": "great"}, "verdict_tone must be"),
        ({"performance": pd.DataFrame({"model": ["a"]})}, "performance lacks book"),
        ({"comparison": pd.DataFrame({"rival": ["a"]})}, "comparison lacks reference, book"),
        ({"spectrum": pd.DataFrame({"rank": [1], "sample": [1.0]})}, "spectrum lacks shrunk"),
        ({"spectrum": pd.DataFrame({"rank": [1], "sample": [1.0], "shrunk": [-1.0]})}, "at least 0"),
        ({"training": pd.DataFrame({"epochs": [1]})}, "training lacks bundle"),
        ({"convergence": pd.DataFrame({"bundle": ["2012"], "verdict": ["converged"]})}, "convergence lacks plateau"),
        ({"loss_history": {"2012": pd.DataFrame({"epoch": [1]})}}, "loss_history"),
        ({"data_findings": [{"check": "dates"}]}, "lacks status, summary"),
    ],
)
def test_what_the_page_cannot_read_is_refused_by_name(content, change, message):
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(content, **change)


def test_each_book_may_have_its_own_reference(content):
    best = content.comparison["book"].map(dict(zip(content.books, ("OAS", "QIS"), strict=True)))
    picked = dataclasses.replace(content, comparison=content.comparison.assign(reference=best), learned_model=None)
    assert [picked.focus(book) for book in picked.books] == ["OAS", "QIS"]


def test_two_references_in_a_book_need_a_learned_model_among_them(content):
    table = content.comparison.copy()
    table.loc[0, "reference"] = "OAS"
    assert dataclasses.replace(content, comparison=table).reference(content.books[0]) == "NeuralShrinkage"
    with pytest.raises(ParameterError, match="keep one reference"):
        dataclasses.replace(content, comparison=table, learned_model=None)
