"""The page in a real browser: nothing fails, nothing is fetched, and what should be seen has a size."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from eigenfolio.report import write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

# Chooses the second book, traces a model, sorts by volatility, then writes down what a reader would see.
PROBE = """
<script>
window.addEventListener("load", () => {
  const click = (selector, i = 0) => document.querySelectorAll(selector)[i].click();
  const sizes = () => [...document.querySelectorAll(".plot")].filter((n) => !n.closest("[hidden]")).map((n) => {
    const box = n.querySelector(".main-svg")?.getBoundingClientRect();
    return [n.dataset.figure, box?.width ?? 0, box?.height ?? 0, n.querySelectorAll("path").length];
  });
  const first = sizes();
  click("[data-choose]", 1);
  const table = document.querySelectorAll("table.models")[1];
  table.querySelectorAll("thead button")[2].click();
  [...table.querySelectorAll(".pick")].find((b) => b.dataset.model === "OAS").click();
  const verdict = document.querySelector("#verdict h2").getBoundingClientRect();
  const seen = {
    first, second: sizes(), verdict: [verdict.width, verdict.height],
    wide: document.documentElement.scrollWidth > window.innerWidth,
    sorted: [...table.tBodies[0].rows].map((row) => Number(row.cells[2].dataset.key)),
    picked: document.querySelector(".picked-name").textContent,
    green: document.querySelectorAll('.plot[data-figure="equity-1"] path[style*="rgb(0, 134, 95)"]').length,
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
  };
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
});
</script></body>"""


def browse(path, folder):
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}", "--enable-logging=stderr", "--window-size=1280,1000",
        "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    for _ in range(2):  # headless Chromium now and then never starts
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=True)
        except subprocess.TimeoutExpired:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    pytest.skip("Chromium does not start on this machine")


def test_the_page_works_in_a_browser(content, tmp_path):
    path = write_report(content, tmp_path / "report.html")
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    page, console = browse(path, tmp_path / "profile")
    assert console == []
    seen = json.loads(unescape(re.search(r'<pre id="seen">(.*?)</pre>', page, re.S).group(1)))
    assert seen["fetched"] == []
    assert not seen["wide"]
    assert min(seen["verdict"]) > 20
    drawn = {name for name, *_ in seen["first"]} | {name for name, *_ in seen["second"]}
    assert {
        "forest-0",
        "forest-1",
        "equity-0",
        "equity-1",
        "volatility-0",
        "turnover-1",
        "learned-0",
        "loss-1",
        "spectrum",
    } <= drawn
    for name, width, height, paths in seen["first"] + seen["second"]:
        assert width > 300, name
        assert height > 200, name
        assert paths > 3, name
    assert seen["sorted"] == sorted(seen["sorted"])
    assert seen["picked"] == "OAS"
    assert seen["green"] == 2
