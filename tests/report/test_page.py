"""The page as a file: whole, self-contained, escaped, and without empty sections."""

import dataclasses
import json
import os
import re
from html.parser import HTMLParser

import pytest

from eigenfolio.errors import ArtifactError
from eigenfolio.report import ReportContent, write_report
from eigenfolio.report.page import render_report


class Elements(HTMLParser):
    """Every element with its attributes, and the visible words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def ids(self) -> set[str]:
        return {attrs["id"] for tag, attrs in self.found if tag == "section"}


@pytest.fixture(scope="module")
def page(content):
    return render_report(content)


def test_the_page_loads_nothing(page):
    for tag, attrs in Elements(page).found:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "data"):
            assert re.match(r"#|data:,|$", attrs.get(name) or ""), (tag, attrs)
    assert "default-src 'none'" in page
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_plotly_is_embedded_once(page):
    assert len(re.findall(r"plotly\.js v\d", page)) == 1
    assert len(page.encode()) < 8e6


def test_every_sentence_and_number_of_the_verdict_is_on_the_page(page, content):
    text = Elements(page).text
    for sentence in [*content.verdict, *content.warnings, content.sealed, *content.commands]:
        assert " ".join(sentence.split()) in text


def test_every_result_is_in_a_table(page, content):
    text = Elements(page).text
    for row in content.performance.itertuples():
        assert f"{100 * row.annualized_volatility:.2f}" in text
    for name in {*content.performance["model"], *content.comparison["rival"]}:
        assert name in text


def test_the_same_content_gives_the_same_bytes(page, content):
    assert render_report(content) == page


def test_names_are_escaped_everywhere(content):
    name = '<b>&"</script><script>alert(1)</script>'
    swap = {content.champion: name}
    returns = {book: {swap.get(k, k): v for k, v in tracks.items()} for book, tracks in content.returns.items()}
    page = render_report(
        dataclasses.replace(
            content,
            title=name,
            champion=name,
            verdict=[name],
            returns=returns,
            comparison=content.comparison.replace(swap),
            performance=content.performance.replace(swap),
            settings={name: name},
            commands=[name],
        )
    )
    assert "<script>alert" not in page
    assert "<b>&" not in page
    assert name in Elements(page).text
    block = re.search(r'id="figures">(.*?)</script>', page, re.S).group(1)
    assert name in {trace.get("meta", {}).get("model") for trace in json.loads(block)["figures"]["equity-0"]["data"]}


def test_a_comparison_without_a_learned_model_has_no_learned_sections(content):
    closed_forms = dataclasses.replace(
        content,
        learned_model=None,
        learned=None,
        training=None,
        loss_history={},
        convergence=None,
        closed_form_intensity=None,
    )
    page = Elements(render_report(closed_forms))
    assert page.ids() == {"verdict", "rivals", "models", "paths", "turnover", "spectrum", "data", "reproduce"}
    assert not [attrs for _, attrs in page.found if attrs.get("data-figure", "").startswith(("learned", "loss"))]


def test_convergence_is_a_row_of_words_per_bundle(page, content):
    block = page[page.index(">Convergence<") :]
    block = block[: block.index("</table>")]
    rows = re.findall(r"<tr>(.*?)</tr>", block, re.S)
    assert len(rows) == 1 + len(content.convergence)
    for row, html in zip(content.convergence.astype(str).to_dict("records"), rows[1:], strict=True):
        assert re.findall(r">([^<>]+)<", html) == list(row.values())
    assert '<span class="status ok">converged</span>' in block
    assert '<span class="status warning">unstable over seeds</span>' in block


def test_convergence_may_stand_alone_name_bundles_in_the_index_and_lack_members(content):
    table = content.convergence.drop(columns="members").set_index("bundle")
    alone = ReportContent(title="A panel", verdict=["Trained."], convergence=table)
    page = Elements(render_report(alone))
    assert page.ids() == {"verdict", "training"}
    assert {"#training"} <= {attrs.get("href") for tag, attrs in page.found if tag == "a"}
    assert content.convergence["bundle"][0] in page.text
    assert "Members" not in page.text


@pytest.mark.parametrize("rows", [None, 0])
def test_without_convergence_the_training_section_has_no_such_block(content, rows):
    table = None if rows is None else content.convergence.iloc[:0]
    page = Elements(render_report(dataclasses.replace(content, convergence=table)))
    assert "training" in page.ids()
    assert "Convergence" not in page.text


def test_what_is_absent_leaves_its_section_out():
    bare = render_report(ReportContent(title="A panel", verdict=["Nothing was compared."]))
    assert Elements(bare).ids() == {"verdict"}
    assert 'class="plot"' not in bare
    assert len(bare) < 50_000  # no figure, no plotly


def test_one_book_has_no_tabs(content):
    book = "long-only 5% cap"
    one = dataclasses.replace(
        content,
        returns={book: content.returns[book]},
        turnover={},
        comparison=content.comparison[content.comparison["book"] == book],
        performance=content.performance[content.performance["book"] == book],
    )
    page = Elements(render_report(one))
    assert not [attrs for _, attrs in page.found if "data-choose" in attrs]
    assert "turnover" not in page.ids()


def test_every_figure_has_words_and_data(page):
    elements = Elements(page)
    plots = [attrs for _, attrs in elements.found if attrs.get("class") == "plot"]
    block = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S).group(1))
    assert {plot["data-figure"] for plot in plots} == set(block["figures"])
    assert all(plot["aria-label"] for plot in plots)
    assert all(figure["data"] for figure in block["figures"].values())


def test_a_report_replaces_the_one_before(content, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    assert write_report(content, target) == target
    assert target.read_text(encoding="utf-8").endswith("</html>")
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_failure_while_writing_leaves_what_was_there(content, tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"report\.html cannot be written \(No space left"):
        write_report(content, target)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("name", ["missing/report.html", ""])
def test_a_place_that_cannot_be_written_is_named(content, tmp_path, name):
    with pytest.raises(ArtifactError, match="name a file in a folder"):
        write_report(content, tmp_path / name)
    assert os.listdir(tmp_path) == []
