"""The package of a paper is whole, repeats to the same bytes, and says what the page says."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pandas as pd
import pytest

from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.report import ReportContent
from eigenfolio.report.figures import forest_rows
from eigenfolio.report.paper_figures import figure_names
from eigenfolio.report.research_package import paper_tables, write_package


@pytest.fixture(scope="module")
def content(make_content):
    return make_content(years=1, n_rivals=2)


@pytest.fixture(scope="module")
def latex(content, tmp_path_factory):
    pytest.importorskip("matplotlib")
    return write_package(content, tmp_path_factory.mktemp("paper") / "latex", form="latex", files={"run.json": b"{}"})


def test_every_table_stands_in_the_order_in_which_it_is_read(content):
    assert [table.name for table in paper_tables(content)] == [
        "performance-1", "comparison-1", "performance-2", "comparison-2", "training", "convergence", "provenance",
        "settings",
    ]  # fmt: skip


def test_pairs_carry_the_numbers_of_the_page_and_the_adjusted_p_value(content):
    book = content.books[0]
    pairs = next(table for table in paper_tables(content) if table.name == "comparison-1")
    pd.testing.assert_frame_equal(pairs.frame.drop(columns="p_adjusted"), forest_rows(content, book))
    own = content.comparison_table.query("book == @book").set_index("rival")["p_adjusted"]
    assert pairs.frame.set_index("rival")["p_adjusted"].to_dict() == own.to_dict()


def test_the_caption_says_which_finding_is_unadjusted(content):
    named = replace(content, champion=str(content.comparison_table["rival"].iloc[0]))
    told, silent = (
        next(table.caption for table in paper_tables(one) if table.name == "comparison-1")
        for one in (named, replace(content, champion=None))
    )
    assert f"The finding on {named.champion}, the rival named beforehand, is that of its unadjusted interval" in told
    assert "unadjusted" not in silent


def test_models_with_their_own_weights_stand_at_the_end_of_a_table(content):
    performance = next(table for table in paper_tables(content) if table.name == "performance-1")
    books = performance.frame["book"].tolist()
    assert books[-2:] == ["own", "own"]
    assert "own" not in books[:-2]


def test_parts_that_are_absent_leave_no_table_and_no_figure():
    bare = ReportContent(title="A panel", verdict=["Nothing was compared."])
    assert paper_tables(bare) == []
    assert figure_names(bare) == {}


def test_what_the_document_names_is_there(latex):
    text = (latex / "paper.tex").read_text()
    named = [*re.findall(r"\\input\{(.+?)\}", text), *re.findall(r"\\includegraphics\[.*?\]\{(.+?)\}", text)]
    assert len(named) == 8 + 5
    assert all((latex / name).is_file() for name in named)
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert (latex / "run.json").read_bytes() == b"{}"


def test_the_document_says_every_finding_and_warning(latex, content):
    text = (latex / "paper.tex").read_text().replace(r"\%", "%").replace(r"\&", "&")
    for sentence in (*content.verdict, *content.warnings, content.sealed):
        assert sentence in text


def test_figures_are_vector_files_whose_text_can_be_searched(latex, content):
    for name in figure_names(content):
        root = ElementTree.parse(latex / "figures" / f"{name}.svg").getroot()
        assert not root.findall(".//{http://www.w3.org/2000/svg}image")
        assert (latex / "figures" / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
    words = (latex / "figures" / "comparison-1.svg").read_text()
    assert all(rival in words for rival in forest_rows(content, content.books[0])["rival"])


def test_the_same_content_gives_the_same_bytes(latex, content, tmp_path):
    again = write_package(content, tmp_path / "again", form="latex", files={"run.json": b"{}"})
    paths = sorted(path.relative_to(latex) for path in latex.rglob("*") if path.is_file())
    assert paths == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [path for path in paths if (latex / path).read_bytes() != (again / path).read_bytes()] == []


def test_csv_holds_the_raw_numbers_in_full(content, tmp_path):
    pytest.importorskip("matplotlib")
    folder = write_package(content, tmp_path / "csv", form="csv")
    read = pd.read_csv(folder / "tables" / "performance-1.csv")
    table = next(table for table in paper_tables(content) if table.name == "performance-1")
    assert read["annualized_volatility"].tolist() == pytest.approx(
        table.frame["annualized_volatility"].tolist(), rel=1e-15
    )
    captions = pd.read_csv(folder / "captions.csv")["file"].tolist()
    assert "tables/performance-1" in captions
    assert "figures/losses" in captions
    assert not (folder / "paper.tex").exists()


def test_markdown_shows_tables_and_figures(content, tmp_path):
    pytest.importorskip("matplotlib")
    folder = write_package(content, tmp_path / "markdown", form="markdown")
    text = (folder / "paper.md").read_text()
    assert text.startswith(f"# {content.title}\n")
    named = re.findall(r"\]\((figures/.+?)\)", text)
    assert len(named) == 5
    assert all((folder / name).is_file() for name in named)
    assert f"| {content.learned_model} |" in text


def test_a_folder_that_exists_and_an_unknown_form_are_refused(content, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ArtifactError, match="exists"):
        write_package(content, tmp_path, form="csv")
    with pytest.raises(ParameterError, match="must be one of latex, markdown, csv"):
        write_package(content, tmp_path / "new", form="word")


def test_a_rival_far_off_does_not_flatten_the_others(content):
    from eigenfolio.report.paper_figures import _ends

    table = content.comparison.copy()
    table.loc[0, ["window_mean", "window_low", "window_high", "pooled", "pooled_low", "pooled_high"]] = -0.5
    far = forest_rows(replace(content, comparison=table), content.books[0])
    assert far["mean"].min() < -39.0
    assert _ends(far)[0] > -10.0
