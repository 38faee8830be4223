"""Every kind can be drawn at small and large sizes, by name, with a truth that fits it."""

import numpy as np
import pytest

from eigenfolio.data import check_panel
from eigenfolio.data.synthetic import SyntheticMarket
from eigenfolio.data.synthetic.catalogue import KINDS, draw_kind, find_kind
from eigenfolio.errors import ParameterError

MARKETS = [name for name, kind in KINDS.items() if kind.n_assets is not None]
BOOKS = [name for name in KINDS if name not in MARKETS]


@pytest.mark.parametrize("name", MARKETS)
def test_a_market_has_the_sizes_asked_for_and_a_truth_that_fits(name):
    for n_assets, n_rows in ((2, 30), (12, 90)):
        market = draw_kind(name, n_assets=n_assets, n_rows=n_rows, seed=3)
        assert isinstance(market, SyntheticMarket)
        assert market.panel.returns.shape == (n_rows, n_assets)
        for row in (0, n_rows - 1):
            truth = market.covariance_path.at(row)
            assert np.isfinite(truth).all()
            np.testing.assert_allclose(truth, truth.T)
            assert np.linalg.eigvalsh(truth)[0] > 0
        np.testing.assert_allclose(market.covariance, market.covariance_path.at(n_rows - 1))
        assert check_panel(market.panel).status != "error"


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name):
    def fingerprint(seed):
        drawn = draw_kind(name, n_assets=5 if name in MARKETS else None, n_rows=60, seed=seed)
        return drawn.panel.fingerprint if isinstance(drawn, SyntheticMarket) else drawn.fingerprint

    assert fingerprint(1) == fingerprint(1) != fingerprint(2)


@pytest.mark.parametrize("name", BOOKS)
def test_a_book_has_the_rows_asked_for(name):
    assert draw_kind(name, n_rows=40).book.n_events == 40


def test_a_kind_keeps_its_name_and_says_one_line():
    for name, kind in KINDS.items():
        assert kind.name == name
        assert 10 < len(kind.summary) < 70


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ParameterError, match="did you mean lead-lag"):
        find_kind("lead_lag")
    with pytest.raises(ParameterError, match="known are factor, spiked"):
        find_kind("zzz")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("factor", {"n_assets": 1}),
        ("factor", {"n_rows": 29}),
        ("factor", {"seed": -1}),
        ("book-null", {"n_assets": 5}),
        ("book-null", {"n_rows": 5}),
        ("bootstrap", {"n_assets": 21}),
    ],
)
def test_impossible_sizes_are_refused(name, options):
    with pytest.raises(ParameterError):
        draw_kind(name, **options)
