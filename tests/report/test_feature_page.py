"""The page of features: everything is on it, nothing is fetched, and it reads along one line in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from eigenfolio.errors import ArtifactError
from eigenfolio.report.feature_page import FeaturePage, _shares, render_feature_page, write_feature_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def content():
    """Four features over 40 dates: one plain, one with a gap and now missing, one never known, one of the calendar."""
    days = pd.bdate_range("2015-01-01", periods=800)
    index = days[19::20]
    plain = np.linspace(-1.0, 2.0, 40)
    gaps = np.where((np.arange(40) > 10) & (np.arange(40) < 15), np.nan, np.cos(np.arange(40)))
    gaps[-1] = np.nan
    values = pd.DataFrame(
        {"regime.drawdown": plain, "regime.<b>odd</b>": gaps, "regime.vix_level": np.nan, "events.month_end": plain},
        index=index,
    )
    summary = pd.DataFrame(
        {
            "family": ["regime", "regime", "regime", "events"],
            "feature": ["drawdown", "<b>odd</b>", "vix_level", "month_end"],
            "latest": [2.0, np.nan, np.nan, 2.0],
            "percentile": [0.9875, np.nan, np.nan, 0.9875],
            "missing": [0.0, 0.125, 1.0, 0.0],
        }
    )
    codes = np.where(np.arange(800) < 100, -1, (np.arange(800) // 200) % 2)
    regimes = pd.Series(pd.Categorical.from_codes(codes, ["calm", "crisis"]), index=days)
    return FeaturePage(
        title="A panel",
        values=values,
        summary=summary,
        regimes=regimes,
        market=pd.Series(np.exp(np.arange(800) / 1000), index=days),
        sentences=("The market is calm.", "One feature is unusual."),
        calendar=("events",),
        facts={"assets": 8},
        years=({"year": 2015, "rows": 261},),
    )


class Addresses(HTMLParser):
    found: tuple[str, ...] = ()

    def handle_starttag(self, tag, attrs):
        self.found += tuple(value for name, value in attrs if name in ("src", "href") and not value.startswith("#"))


def test_every_feature_is_on_the_page_and_what_is_not_known_is_named(content):
    page = render_feature_page(content)
    assert re.findall(r'<figure id="([^"]+)"', page) == ["regime.drawdown", "regime.&lt;b&gt;odd&lt;/b&gt;"]
    assert "Month end" in page  # of the calendar: in the table only
    assert "Not known for this panel: Vix level." in page
    assert "<b>odd</b>" not in page
    for text in ("The market is calm.", "percentile 99", "missing now", "−1.00 to 2.00", ">12%<", ">2015<", ">8<"):
        assert text in page, text


def test_unusual_features_are_marked_but_not_those_of_the_calendar(content):
    page = render_feature_page(content)
    assert re.findall(r'<figure id="([^"]+)" class="card unusual"', page) == ["regime.drawdown"]
    assert re.findall(r'<tr class="unusual"><th scope="row" data-key="([^"]+)"', page) == ["Drawdown"]


def test_a_unit_is_shown_below_the_name_and_in_the_table(content):
    page = render_feature_page(replace(content, units={"regime.drawdown": "log ratio"}))
    assert page.count('<p class="unit">log ratio</p>') == 1
    assert page.count("<small>log ratio</small>") == 2  # among the unusual, and in the table


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ([1, 1, 1], ["33.4%", "33.3%", "33.3%"]),
        ([5598, 2258, 1463, 681], ["56.0%", "22.6%", "14.6%", "6.8%"]),
        ([2, 0], ["100.0%", "0.0%"]),
        ([0, 0], ["–", "–"]),
    ],
)
def test_shares_of_the_regimes_sum_to_one_hundred(counts, shares):
    names = [f"r{k}" for k in range(len(counts))]
    codes = np.repeat([*range(len(counts)), -1], [*counts, 7])
    told = _shares(pd.Series(pd.Categorical.from_codes(codes, names)))
    assert list(told.items()) == list(zip(names, shares, strict=True))


def test_a_line_is_lifted_over_a_gap_and_bands_cover_the_days_of_a_regime(content):
    page = render_feature_page(content)
    odd = re.search(r'id="regime.&lt;b&gt;odd.*?class="line" d="([^"]+)"', page, re.S).group(1)
    assert odd.count("M") == 2
    assert odd.startswith("M0.0 4.0")  # the highest value, at the left edge
    calm = re.search(r'class="band calm" d="([^"]+)"', page).group(1)
    crisis = re.search(r'class="band crisis" d="([^"]+)"', page).group(1)
    assert calm.count("M") == 2  # days 100-199 and 400-599 of those drawn
    assert crisis.count("M") == 2
    assert (
        crisis.rstrip("Z").split("H")[1].split("V")[0] == calm.split("M")[2].split(" ")[0]
    )  # one ends where one begins


def test_nothing_is_fetched_and_the_same_content_gives_the_same_bytes(content):
    page = render_feature_page(content)
    parser = Addresses()
    parser.feed(page)
    assert parser.found == ("data:,",)
    assert "default-src 'none'" in page
    assert render_feature_page(replace(content)) == page


def test_it_is_written_whole_or_not_at_all(content, tmp_path):
    assert write_feature_page(content, tmp_path / "page.html").stat().st_size > 10_000
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_feature_page(content, tmp_path / "none" / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_page_of_two_dates_and_no_regime_can_be_drawn(content):
    short = replace(
        content,
        values=content.values.iloc[:2],
        regimes=pd.Series(pd.Categorical.from_codes([-1] * 800, ["calm"]), index=content.regimes.index),
        sentences=(),
        facts={},
        years=(),
    )
    assert "nan" not in render_feature_page(short).lower().replace("isnan", "")


PROBE = """
<script>
window.addEventListener("load", () => {
  const box = document.querySelectorAll(".multiples .draw")[0];
  const { left, width, top } = box.getBoundingClientRect();
  box.dispatchEvent(new PointerEvent("pointermove", { clientX: left + 0.5 * width, clientY: top }));
  {
    const seen = {
      date: document.getElementById("reading-date").textContent,
      regime: document.getElementById("reading-regime").textContent,
      now: [...document.querySelectorAll(".multiples .now")].map((n) => n.textContent),
      cursors: [...document.querySelectorAll(".cursor")].map((n) => [n.hidden, n.style.left]),
      sizes: [...document.querySelectorAll(".draw svg")].map((n) => n.getBoundingClientRect().width),
      wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
      fetched: performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:")),
    };
    const heads = document.querySelectorAll("table.sortable thead button");
    heads[2].click();
    seen.sorted = [...document.querySelectorAll("table.sortable tbody th")].map((n) => n.textContent);
    const note = document.createElement("pre");
    note.id = "seen";
    note.textContent = JSON.stringify(seen);
    document.body.append(note);
  }
});
</script></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_one_reading_line_goes_through_all_charts_in_a_browser(content, tmp_path):
    path = write_feature_page(content, tmp_path / "page.html")
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--window-size=1280,1000", "--virtual-time-budget=4000", "--dump-dom",
        path.as_uri(),
    ]  # fmt: skip
    for _ in range(2):  # headless Chromium now and then never starts
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=True)
            break
        except subprocess.TimeoutExpired:
            shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    else:
        pytest.skip("Chromium does not start on this machine")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    seen = json.loads(unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S).group(1)))
    middle = content.values.index[19 if seen["date"] == f"{content.values.index[19]:%Y-%m-%d}" else 20]
    assert seen["date"] == f"{middle:%Y-%m-%d}"
    assert seen["regime"] == content.regimes[middle]
    assert seen["now"][0] == f"{content.values['regime.drawdown'][middle]:.2f}"
    assert all(not hidden and left.startswith(("48", "49", "50", "51")) for hidden, left in seen["cursors"])
    assert min(seen["sizes"]) > 150
    assert not seen["wide"]
    assert seen["fetched"] == []
    assert seen["sorted"][-2:] == ["<b>odd</b>", "Vix level"]  # what is missing stays at the end
