"""One part is left out, and everything else stays."""

import numpy as np
import pytest
from random_spectral import random_spectral_bundle

from eigenfolio import NeuralShrinkage
from eigenfolio.errors import ParameterError
from eigenfolio.learned.ablated import PARTS, AblatedShrinkage, ablated_answer
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.models.window import prepare_window

X = 0.01 * (np.random.default_rng(0).standard_normal((200, 6)) + np.random.default_rng(1).standard_normal((200, 1)))


@pytest.fixture(scope="module")
def bundle():
    return random_spectral_bundle(n_members=3, seed=2)


@pytest.fixture(scope="module")
def window():
    return spectral_window(prepare_window(X))


def test_with_nothing_left_out_it_is_the_estimator_itself(bundle):
    whole = NeuralShrinkage(bundle, undated="newest").fit(X)
    same = AblatedShrinkage(bundle).fit(X)
    np.testing.assert_allclose(same.covariance_, whole.covariance_, rtol=1e-12, atol=1e-18)
    assert same.shrinkage_ == pytest.approx(whole.shrinkage_, abs=1e-12)


def test_with_all_heads_left_out_it_is_the_closed_form():
    np.testing.assert_allclose(
        AblatedShrinkage("synthetic", without="all heads").fit(X).covariance_,
        NeuralShrinkage(None).fit(X).covariance_,
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    ("part", "field"),
    [("eigenvalue head", "eigenvalue_change"), ("volatility head", "volatility_change"), ("scale head", "log_scale")],
)
def test_a_head_that_is_off_says_nothing_and_the_others_what_they_said(bundle, window, part, field):
    forward = SpectralForward(bundle)
    whole, reduced = (ablated_answer(forward, window, without) for without in ("none", part))
    for name in ("eigenvalue_change", "volatility_change", "log_scale", "shares"):
        a, b = (np.hstack([np.ravel(part) for part in said(answer, name)]) for answer in (whole, reduced))
        if name == field:
            assert a.any()
            assert not b.any()
        else:
            np.testing.assert_array_equal(a, b)


def said(answer, name):
    """The arrays of one field of an answer."""
    value = getattr(answer, name)
    return value if isinstance(value, tuple) else (value,)


def test_one_spectrum_alone_has_the_whole_share(bundle, window):
    forward = SpectralForward(bundle)
    assert ablated_answer(forward, window, "recent spectrum").shares.tolist() == [1.0, 0.0]
    assert ablated_answer(forward, window, "steady spectrum").shares.tolist() == [0.0, 1.0]
    assert ablated_answer(forward, window, "shares").shares.tolist() == [0.5, 0.5]


def test_without_the_ensemble_the_first_member_speaks(bundle, window):
    forward = SpectralForward(bundle)
    first = forward.members(window)[0]
    np.testing.assert_array_equal(
        ablated_answer(forward, window, "ensemble").volatility_change, first.volatility_change
    )


def test_the_guard_is_left_out_where_it_would_step_in(bundle):
    """An inverse fund among stocks: the guard keeps its relation to them, the network alone does not."""
    rng = np.random.default_rng(3)
    stocks = 0.015 * rng.standard_normal((300, 40)) + 0.009 * rng.standard_normal((300, 1))
    hedged = np.column_stack([stocks, -stocks.mean(axis=1) + 1e-4 * rng.standard_normal(300)])
    guarded, bare = (AblatedShrinkage(bundle, without=part).fit(hedged).covariance_ for part in ("none", "guard"))
    assert NeuralShrinkage(bundle, undated="newest").fit(hedged).guard_.relation > 0.5
    held, lone = np.append(np.full(40, 1 / 40), 1.0), np.eye(41)[0]  # a hedged book against one stock: no common scale
    realised = ((hedged @ held) ** 2).mean() / ((hedged @ lone) ** 2).mean()
    forecast, unguarded = ((held @ matrix @ held) / (lone @ matrix @ lone) for matrix in (guarded, bare))
    assert forecast < 10.0 * realised < unguarded


def test_every_part_gives_a_positive_definite_matrix_and_another_one_is_refused(bundle):
    for part in PARTS:
        values = np.linalg.eigvalsh(AblatedShrinkage(bundle, without=part).fit(X).covariance_)
        assert values[0] > 0.0
    with pytest.raises(ParameterError, match="must be 'none' or one of"):
        AblatedShrinkage(bundle, without="everything").fit(X)
