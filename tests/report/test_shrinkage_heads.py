"""What weights say of themselves in the picture: intervals, probabilities, confidence, inputs out of range."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from random_heads import bundle_with_heads, random_heads

from eigenfolio import NeuralShrinkage
from eigenfolio.report import plot_shrinkage
from eigenfolio.report.shrinkage_heads import head_panels, head_words


def returns(n_rows=60, n_assets=8, seed=0):
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2015-01-01", periods=n_rows)
    return pd.DataFrame(0.01 * rng.standard_normal((n_rows, n_assets)), index=days, columns=list("abcdefgh"[:n_assets]))


@pytest.fixture(scope="module")
def model():
    return NeuralShrinkage(bundle_with_heads(random_heads(), n_members=2, size=0.1)).fit(returns())


def trace(figure, name):
    return next(each for each in figure.data if each.name == name)


def bars(figure):
    return {tuple(each.y): tuple(each.x) for each in figure.data if each.type == "bar"}


def test_every_number_of_the_heads_is_drawn(model):
    figure = plot_shrinkage(model)
    assert trace(figure, "interval").x == model.shrinkage_interval_
    assert trace(figure, "intensity taken").x == (model.shrinkage_,)
    drawn = bars(figure)
    assert drawn["calm", "trending", "stressed", "crisis"] == tuple(model.regime_probabilities_.values())
    assert drawn["steady", "recent", "identity"] == tuple(model.target_confidence_.values())
    words = re.sub(r"<[^>]+>", " ", figure.layout.title.text)
    assert f"realised variance expected at {np.exp(model.expected_error_):.2f} times" in words


def test_the_farthest_inputs_come_first_and_the_rest_are_counted():
    outside = {f"asset.x_{k}": (-1.0) ** k * (k + 1) for k in range(11)}
    seen = SimpleNamespace(out_of_range_=outside)
    title, _ = head_panels(seen)["range"]
    assert title.endswith("(3 more)")
    fitted = NeuralShrinkage(None).fit(returns())
    fitted.out_of_range_ = outside
    [(names, distances)] = bars(plot_shrinkage(fitted)).items()
    assert distances == (11.0, -10.0, 9.0, -8.0, 7.0, -6.0, 5.0, -4.0)
    assert names[0] == "asset: x 10"


def test_axes_hold_bars_of_either_sign():
    for outside in ({"a": 3.0}, {"a": -3.0}, {"a": 3.0, "b": -2.0}):
        fitted = NeuralShrinkage(None).fit(returns())
        fitted.out_of_range_ = outside
        figure = plot_shrinkage(fitted)
        [bar] = [each for each in figure.data if each.type == "bar"]
        low, high = figure.layout["xaxis" + bar.xaxis.removeprefix("x")].range
        assert low <= 0 <= high
        assert all(low < distance < high for distance in outside.values())


def test_weights_without_heads_have_no_such_panels():
    assert head_panels(NeuralShrinkage(None).fit(returns())) == {}
    assert head_words(NeuralShrinkage(None).fit(returns())) == ""


def test_the_panels_stand_below_the_spectrum_and_above_the_volatilities(model):
    figure = plot_shrinkage(model, X=returns())
    titles = [note.text for note in figure.layout.annotations]
    order = [next(k for k, title in enumerate(titles) if word in title) for word in ("After /", "Regime", "Volatility")]
    assert order == sorted(order)
