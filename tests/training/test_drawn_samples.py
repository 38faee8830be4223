"""Drawn windows as samples: domains, what is simulated, and pairs of successive decisions."""

import numpy as np
import pandas as pd
import torch
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.learned.spectra import spectral_window
from eigenfolio.models.window import prepare_window
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.mixture import WindowSource, draw_mixture

ROWS = int(np.exp(np.log(60)))  # what a log-uniform draw from 60 to 60 gives
INDEX = pd.bdate_range("2001-01-01", periods=260)
PANEL = pd.DataFrame(0.01 * np.random.default_rng(0).standard_normal((260, 4)), index=INDEX)
MARKET = WindowSource(name="market", panels=("stocks",), counts={4: 3}, min_lookback=60, max_lookback=60, horizon=4)
POPULATIONS = WindowSource(name="simulated", counts={4: 3}, change="population", max_lookback=80)


def draw(*sources, seed=1):
    return draw_mixture({"stocks": PANEL}, sources, through=INDEX[-1], seed=seed)


def test_a_pair_is_the_same_assets_and_length_so_many_rows_earlier():
    for drawn in draw(MARKET.model_copy(update={"pairs": 21})):
        t = INDEX.get_loc(drawn.date)
        for window, last in ((drawn.window, t), (drawn.earlier, t - 21)):
            expected = spectral_window(prepare_window(PANEL.to_numpy()[last + 1 - ROWS : last + 1]))
            assert_allclose(window.summary, expected.summary, rtol=1e-9, atol=1e-12)
            assert_allclose(window.log_volatility, expected.log_volatility, rtol=1e-12)
        assert_array_equal(drawn.future, PANEL.to_numpy()[t + 1 : t + 5])


def test_a_population_gives_pairs_as_well_and_without_pairs_there_is_no_earlier_window():
    [first, *_] = draw(POPULATIONS.model_copy(update={"pairs": 21}))
    assert first.earlier is not None
    assert not np.array_equal(first.earlier.summary, first.window.summary)
    assert all(drawn.earlier is None for drawn in draw(MARKET, POPULATIONS))


def test_windows_know_their_domain_and_whether_they_are_simulated():
    drawn = draw(MARKET, POPULATIONS)  # one size and one horizon, so one group
    [group] = drawn_samples(drawn, domains={"simulated": 0, "market": 1}).groups
    assert group.simulated.tolist() == [False] * 3 + [True] * 3
    assert group.domain.tolist() == [1] * 3 + [0] * 3
    [unnamed] = drawn_samples(drawn).groups
    assert unnamed.domain.tolist() == [-1] * 6


def test_pairs_and_single_windows_come_in_groups_of_their_own_and_the_earlier_window_keeps_the_unit_of_the_later():
    samples = drawn_samples(draw(MARKET, POPULATIONS.model_copy(update={"pairs": 21})))
    assert [group.previous is None for group in samples.groups] == [True, False]
    group, drawn = samples.groups[1], draw(MARKET, POPULATIONS.model_copy(update={"pairs": 21}))[3:]
    for row, window in enumerate(drawn):
        unit = np.median(window.window.log_volatility)
        assert_allclose(group.previous.log_volatility[row], window.earlier.log_volatility - unit, atol=1e-6)
    rows = group.take(torch.tensor([2, 0]))
    assert_array_equal(rows.previous.summary, group.previous.summary[[2, 0]])
