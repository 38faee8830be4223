"""The picture of a fitted shrinkage estimator: it shows the numbers the estimator has, and refuses what has none."""

import json
import re
import shutil
import subprocess
from html import unescape
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eigenfolio import NeuralShrinkage
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.report import plot_shrinkage
from eigenfolio.report.shrinkage_plot import PALETTE

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def returns(n_rows=60, n_assets=8, seed=0):
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2015-01-01", periods=n_rows)
    names = [f"asset<{i}>" for i in range(n_assets)]
    return pd.DataFrame(0.01 * rng.standard_normal((n_rows, n_assets)), index=days, columns=names)


def spectral(**changes):
    """Five assets, three rows' worth of spectrum: a null space of three directions that were zero."""
    fitted = {
        "block_shrinkage_": np.array([[4.0, 3.0], [1.0, 0.8], [0.0, 0.4]]),
        "volatility_": np.full(5, 0.02),
        "shrinkage_": 0.25,
        "diagnostics_": {"recent_share": 0.4, "member_spread": 0.03, "out_of_range": 0.12},
        "trained_through_": pd.Timestamp("2012-12-31"),
        "in_sample_": False,
    }
    return SimpleNamespace(**fitted | changes)


def dense(**changes):
    fitted = {
        "target_weights_": {"identity": 0.2, "constant_correlation": 0.7, "single_factor": 0.1},
        "shrinkage_": 0.3,
        "volatility_blend_": 0.5,
        "volatility_": np.full(5, 0.02),
        "diagnostics_": {"closed_form_shrinkage": 0.4, "out_of_range": 0.0},
        "trained_through_": None,
    }
    return SimpleNamespace(**fitted | changes)


def trace(figure, name):
    return next(each for each in figure.data if each.name is not None and each.name.startswith(name))


def text_of(figure):
    return re.sub(r"<[^>]+>", " ", figure.layout.title.text)


def test_spectrum_and_ratio_are_those_of_the_model():
    model = NeuralShrinkage(None).fit(returns())
    figure = plot_shrinkage(model)
    before, after = model.block_shrinkage_.T
    level = after.mean() / before.mean()
    assert f"a common level of {level:.2f} is left to the volatilities" in text_of(figure)
    after = after / level
    np.testing.assert_allclose(trace(figure, "before").y, before, rtol=1e-6)
    np.testing.assert_allclose(trace(figure, "after").y, after, rtol=1e-6)
    np.testing.assert_allclose(trace(figure, "after /").y, after / before, rtol=1e-6)
    np.testing.assert_allclose(trace(figure, "linear").y, 1 - model.shrinkage_ + model.shrinkage_ / before, rtol=1e-6)
    assert trace(figure, "before").x.tolist() == list(range(1, 9))
    assert {figure.layout[axis].type for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2")} == {"log"}


def test_the_null_space_covers_its_ranks_and_a_zero_is_a_triangle_below_all_others():
    figure = plot_shrinkage(spectral())
    before, after = trace(figure, "before"), trace(figure, "after")
    assert before.x.tolist() == [1.0, 2.0, 3.0, 5.0]
    assert before.marker.symbol == ("circle-open", "circle-open", "triangle-down-open", "triangle-down-open")
    assert before.y[2] == before.y[3] == pytest.approx(0.2)  # half of the smallest, 0.4
    assert after.y.tolist() == pytest.approx([3.0, 0.8, 0.4, 0.4])
    assert before.hovertext[3] == "null space, ranks 3 to 5, before: 0"
    bands = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [(band.x0, band.x1) for band in bands] == [(2.5, 5.5)] * 2
    assert any("null space: 3 directions, 0 → 0.4" in note.text for note in figure.layout.annotations)
    assert trace(figure, "after /").y.tolist() == pytest.approx([0.75, 0.8])  # nothing is a multiple of zero


def test_a_null_space_that_was_not_zero_is_in_the_ratio_too():
    table = np.array([[4.0, 3.0], [0.2, 0.5]])  # mean 0.96 and, with the null space of four, 1.00
    figure = plot_shrinkage(spectral(block_shrinkage_=table))
    assert trace(figure, "after /").x.tolist() == [1.0, 2.0, 5.0]
    assert trace(figure, "after /").y.tolist() == pytest.approx([0.72, 2.4, 2.4])
    assert not any("▽" in note.text for note in figure.layout.annotations)


def test_more_assets_than_rows_have_a_null_space_and_inactive_assets_do_not_count():
    X = returns(n_rows=30, n_assets=50)
    X.iloc[-25:, :4] = np.nan
    model = NeuralShrinkage(None).fit(X)
    size = 46 - (len(model.block_shrinkage_) - 1)
    assert any(f"null space: {size} directions" in note.text for note in plot_shrinkage(model).layout.annotations)


def test_every_axis_holds_all_that_is_drawn_on_it():
    for model in (spectral(), NeuralShrinkage(None).fit(returns(30, 50))):
        figure = plot_shrinkage(model)
        for each in figure.data:
            if each.name.startswith("linear"):  # may leave the panel, which is that of the ratio
                continue
            for values, axis in ((each.x, f"xaxis{each.xaxis[1:]}"), (each.y, f"yaxis{each.yaxis[1:]}")):
                low, high = figure.layout[axis].range
                assert low < np.log10(values).min() <= np.log10(values).max() < high
                assert len(figure.layout[axis].tickvals) >= 2


@pytest.mark.parametrize("shape", [(60, 1), (3, 2), (2, 2), (30, 30)])
def test_any_shape_can_be_drawn(shape):
    X = returns(*shape)
    figure = plot_shrinkage(NeuralShrinkage(None).fit(X), X=X)
    assert all(np.isfinite(np.asarray(each.y, dtype=float)).all() for each in figure.data)


def test_intensity_and_weights_of_the_targets_are_bars():
    figure = plot_shrinkage(dense())
    assert [list(bars.y) for bars in figure.data] == [
        ["Intensity", "Closed-form intensity", "Volatility blend"],
        ["Identity", "Constant correlation", "Single factor"],
    ]
    assert [list(bars.x) for bars in figure.data] == [[0.3, 0.4, 0.5], [0.2, 0.7, 0.1]]


def test_a_dense_network_is_drawn_and_its_spectrum_is_not_left_over():
    X = returns()
    model = NeuralShrinkage(None).fit(X)
    figure = plot_shrinkage(model.set_params(network="dense").fit(X), X=X)
    assert [each.type for each in figure.data] == ["bar", "bar", "scatter"]
    assert figure.data[0].x[0] == model.shrinkage_


def test_volatilities_stand_against_those_of_the_last_rows():
    X = returns(n_rows=60, n_assets=3)
    X.iloc[40:50, 1] = np.nan
    X.iloc[:, 2] = np.nan
    model = NeuralShrinkage(None, lookback=30).fit(X)
    drawn = trace(plot_shrinkage(model, X=X), "volatility")
    expected = 100 * X.iloc[-30:, :2].std(ddof=0).to_numpy()
    np.testing.assert_allclose(drawn.x, expected, rtol=1e-6)
    np.testing.assert_allclose(drawn.y, 100 * model.volatility_[:2], rtol=1e-6)
    assert drawn.text == ("asset&lt;0&gt;", "asset&lt;1&gt;")


def test_returns_of_other_assets_are_refused():
    model = NeuralShrinkage(None).fit(returns())
    with pytest.raises(ParameterError, match=r"X must be the returns .*\(n_observations, 8\), got shape \(60, 3\)"):
        plot_shrinkage(model, X=returns(n_assets=3))


def test_the_words_say_intensity_date_and_inputs_out_of_range():
    words = text_of(plot_shrinkage(spectral()))
    assert "intensity 0.250 ± 0.030 over the members" in words
    assert "spectrum shown: 60 % of the correlation, recent rows 40 % · a common level of 1.00" in words
    assert "weights trained through 2012-12-31 · 12 % of inputs out of range" in words
    assert "no evidence" not in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_sample_": True}, "seen rows after the last of these: no evidence"),
        ({"trained_through_": None}, "weights that have seen no market"),
        ({"weights": None, "trained_through_": None}, "untrained: the closed form itself"),
        ({"diagnostics_": {"out_of_range": 0.004}}, "under 1 % of inputs out of range"),
        ({"diagnostics_": {"out_of_range": 0.0}}, "no input out of range"),
    ],
)
def test_the_words_follow_the_model(changes, words):
    assert words in text_of(plot_shrinkage(spectral(**changes)))


def test_shipped_weights_tell_their_date():
    model = NeuralShrinkage("2012").fit(returns())
    assert f"weights trained through {model.trained_through_:%Y-%m-%d}" in text_of(plot_shrinkage(model))


@pytest.mark.parametrize(
    "model",
    [
        NeuralShrinkage(),
        object(),
        SimpleNamespace(shrinkage_=0.3),
        SimpleNamespace(block_shrinkage_=np.ones(3)),
        SimpleNamespace(block_shrinkage_=np.full((3, 2), np.nan)),
        SimpleNamespace(target_weights_={}, shrinkage_=0.3),
    ],
)
def test_what_is_not_fitted_or_of_another_kind_is_one_clear_error(model, tmp_path):
    with pytest.raises(ParameterError, match=f"needs a fitted NeuralShrinkage.* got {type(model).__name__} .*fit it"):
        plot_shrinkage(model, path=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_colours_are_those_of_the_report_and_have_a_dark_partner():
    for model in (spectral(), dense()):
        spec = plot_shrinkage(model).to_json()
        assert set(re.findall(r"#[0-9a-f]{6}", spec)) <= {*PALETTE, "#ffffff"}


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    figure = plot_shrinkage(spectral(), path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "weights trained through 2012-12-31" in page.split("<main")[0]
    assert "default-src 'none'" in page
    assert not re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(?!data:)', page.split("<main")[0])
    with pytest.raises(ArtifactError, match="cannot be written"):
        plot_shrinkage(spectral(), path=tmp_path / "none" / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
    assert figure.to_json() == plot_shrinkage(spectral()).to_json()


PROBE = """
<script>
window.addEventListener("load", () => {
  const node = document.getElementById("figure");
  const box = (n) => n.getBoundingClientRect();
  const seen = {
    points: node.querySelectorAll(".scatterlayer .point").length,
    titles: [...node.querySelectorAll(".annotation-text")].map((n) => n.textContent),
    cut: [...node.querySelectorAll("text")].filter((n) => n.textContent && box(n).width > 0
      && (box(n).left < box(node).left - 1 || box(n).right > box(node).right + 1)).map((n) => n.textContent),
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    fetched: performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:")),
  };
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
});
</script></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_all_of_it_is_seen_in_a_browser(tmp_path):
    X = returns(n_rows=30, n_assets=50)
    model = NeuralShrinkage(None).fit(X)
    path = tmp_path / "page.html"
    plot_shrinkage(model, X=X, path=path)
    head, _, tail = path.read_text(encoding="utf-8").rpartition("</body>")
    path.write_text(head + PROBE + tail, encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--window-size=600,1000", "--virtual-time-budget=4000", "--dump-dom", path.as_uri(),
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
    n_kept = len(model.block_shrinkage_) - 1
    assert seen["points"] == 2 * (n_kept + 2) + n_kept + 50
    assert seen["titles"][:3] == [
        "Eigenvalues of the correlation",
        "After / before",
        "Volatility per period, sample and shrunk",
    ]
    assert seen["cut"] == []
    assert not seen["wide"]
    assert seen["fetched"] == []
