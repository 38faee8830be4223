"""The numbers inside the figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from eigenfolio.report import figures

BOOK = "long-only 5% cap"


def test_a_long_path_keeps_its_weekly_ends_and_its_deepest_trough():
    days = pd.bdate_range("2000-01-03", periods=2000)
    path = pd.Series(np.random.default_rng(0).standard_normal(2000), index=days)
    thin, deep = figures.weekly(path), figures.weekly(path, lowest=True)
    assert deep.min() == path.min()
    assert thin.iloc[-1] == path.iloc[-1]
    assert thin.equals(path[thin.index])
    slow = [path[(path.index > day - pd.Timedelta(days=5)) & (path.index <= day)].min() for day in thin.index]
    np.testing.assert_array_equal(deep, slow)


def test_a_short_path_is_drawn_as_it_is(content):
    path = content.returns[BOOK]["OAS"]
    assert figures.weekly(path) is path


def test_log_ratios_become_percent_and_the_champion_comes_first(content):
    rows = figures.forest_rows(content, BOOK)
    assert rows["rival"].iloc[0] == content.champion
    assert rows["mean"].iloc[1:].is_monotonic_decreasing
    assert rows["mean"].iloc[0] == pytest.approx(100 * (np.exp(-0.0062) - 1))


@pytest.mark.parametrize(
    ("low", "high", "finding"), [(-0.02, -0.01, "calmer"), (0.01, 0.02, "rougher"), (-0.01, 0.01, "undecided")]
)
def test_a_finding_never_claims_more_than_its_interval(content, low, high, finding):
    table = content.comparison.assign(window_low=low, window_mean=(low + high) / 2, window_high=high, p_adjusted=0.2)
    rows = figures.forest_rows(dataclasses.replace(content, comparison=table), BOOK)
    assert rows["finding"].iloc[0] == finding  # the champion, named beforehand
    assert set(rows["finding"].iloc[1:]) == {"undecided"}  # the others, allowing for their number


def test_a_far_rival_becomes_an_arrow_and_does_not_set_the_scale(make_content):
    content = make_content(n_rivals=10)
    figure = figures.forest_figure(content, "unconstrained")
    low, _ = figure.layout.xaxis.range
    assert -15 < low < -5  # the sample covariance lies at -37 %
    symbols = [s for trace in figure.data if isinstance(trace.marker.symbol, tuple) for s in trace.marker.symbol]
    assert symbols.count("triangle-left") == 2
    assert "−37.50 % [−37.94, −37.06]" in figure.layout.yaxis2.ticktext


def test_the_important_models_are_drawn_on_top(content):
    drawn = [trace.meta["model"] for trace in figures.turnover_figure(content, BOOK).data]
    assert drawn[-2:] == [content.champion, content.focus(BOOK)]


def test_the_entry_from_cash_is_no_turnover(content):
    months = pd.date_range("2020-01-01", periods=5, freq="MS")
    tracks = {BOOK: {"OAS": pd.Series([0.0, 0.5, 0.02, 0.04, 0.03], index=months)}}
    figure = figures.turnover_figure(dataclasses.replace(content, turnover=tracks), BOOK)
    np.testing.assert_allclose(figure.data[0].y, [2, 4, 3], rtol=1e-6)


def test_names_reach_plotly_escaped(content):
    tracks = {BOOK: {"<b>&": content.returns[BOOK]["OAS"]}}
    figure = figures.equity_figure(dataclasses.replace(content, returns=tracks), BOOK)
    assert figure.data[0].name == "&lt;b&gt;&amp;"
    assert figure.data[0].meta["model"] == "<b>&"


def test_losses_are_relative_to_the_classical_start_of_their_bundle(content):
    name, history = next(iter(content.loss_history.items()))
    train, validation = figures.training_figures(content)
    np.testing.assert_allclose(validation.data[0].y, 100 * (history["validation"] / 1.9e-4 - 1), rtol=1e-4, atol=1e-4)
    assert train.data[0].y[0] == 0
    raw, _ = figures.training_figures(dataclasses.replace(content, training=None))
    np.testing.assert_allclose(raw.data[0].y, history["train"], rtol=1e-6)
    assert train.data[0].name == name


def test_zero_eigenvalues_stay_off_the_log_scale(content):
    table = content.spectrum.copy()
    table.loc[table.index[-5:], "sample"] = 0.0
    figure = figures.spectrum_figure(dataclasses.replace(content, spectrum=table))
    assert len(figure.data[0].y) == len(table) - 5
    assert len(figure.data[1].y) == len(table)


def test_every_colour_a_figure_uses_has_a_dark_partner(content):
    drawn = [
        *figures.learned_figures(content),
        *figures.training_figures(content),
        figures.spectrum_figure(content),
        figures.forest_figure(content, BOOK),
        figures.equity_figure(content, BOOK),
        figures.rolling_volatility_figure(content, BOOK),
        figures.turnover_figure(content, BOOK),
    ]
    for figure in drawn:
        text = figure.to_json()
        used = {text[i : i + 7] for i in range(len(text)) if text[i] == "#"}
        assert used <= set(figures.PALETTE)


@pytest.mark.parametrize("name", ["returns", "turnover", "comparison", "learned", "spectrum", "loss_history"])
def test_nothing_to_draw_is_no_figure(content, name):
    empty = {"comparison": None, "learned": None, "spectrum": None}.get(name, {})
    bare = dataclasses.replace(content, **{name: empty})
    found = {
        "returns": lambda: figures.equity_figure(bare, BOOK) or figures.rolling_volatility_figure(bare, BOOK),
        "turnover": lambda: figures.turnover_figure(bare, BOOK),
        "comparison": lambda: figures.forest_figure(bare, BOOK),
        "learned": lambda: figures.learned_figures(bare),
        "spectrum": lambda: figures.spectrum_figure(bare),
        "loss_history": lambda: figures.training_figures(bare),
    }[name]()
    assert not found


def test_a_long_name_breaks_where_its_parts_meet():
    assert figures._wrapped("hrp_lb252_single_spearman") == "hrp_lb252_single_<br>spearman"
    assert figures._wrapped("Ledoit-Wolf constant correlation") == "Ledoit-Wolf constant<br>correlation"
    assert figures._wrapped("x" * 30).startswith("x" * 22 + "<br>")
