"""Tables and sentences on tracks whose true volatilities are known."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from eigenfolio import measures
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation import (
    Failure,
    Track,
    WalkForward,
    compare,
    compare_with_best,
    finding,
    performance_table,
    sharpe_difference,
    verdict,
    volatility_ratio,
)

DAYS = 21


def make_result(volatilities, *, n_windows=60, seed=0, noise=0.1, book="long-only", failures=()):
    """Tracks with a common market and these volatilities relative to each other."""
    rng = np.random.default_rng(seed)
    index = pd.bdate_range("2010-01-01", periods=n_windows * DAYS)
    dates = index[::DAYS]
    market = 0.01 * rng.standard_normal(len(index))
    tracks = {}
    for model, volatility in volatilities.items():
        returns = volatility * (market + 0.01 * noise * rng.standard_normal(len(index)))
        returns = pd.Series(returns, index=index)
        by_date = pd.Series(np.linspace(0.1, 0.2, n_windows), index=dates)
        tracks[model, book] = Track(
            model, book, by_date.to_frame("A"), returns, returns, by_date, by_date, 0.002 * by_date
        )
    windows = pd.Series(np.repeat(np.arange(n_windows), DAYS), index=index)
    return WalkForward(tracks, {}, windows, tuple(failures))


def row(**changes):
    return {
        "reference": "neural",
        "rival": "qis",
        "book": "long-only",
        "pooled": -0.01,
        "pooled_low": -0.02,
        "pooled_high": -0.001,
        "window_mean": -0.012,
        "window_low": -0.02,
        "window_high": -0.004,
        "n_windows": 170,
        "standard_error": 0.004,
        "minimum_detectable": 0.0112,
        "p_value": 0.004,
        "p_adjusted": 0.03,
        "confidence": 0.95,
        "reference_picked_afterwards": False,
    } | changes


def test_performance_is_the_measures_of_net_returns():
    result = make_result({"a": 1.0, "b": 2.0}, failures=[Failure("a", "long-only", pd.Timestamp("2010"), "E")])
    table = performance_table(result)
    net = result.tracks["a", "long-only"].returns
    found = table.loc[("a", "long-only")]
    assert table.index.names == ["model", "book"]
    assert_allclose(found["annualized_return"], measures.annualized_return(net))
    assert_allclose(found["sortino_ratio"], measures.sortino_ratio(net))
    assert_allclose(found["max_drawdown"], measures.max_drawdown(net))
    assert_allclose(found["turnover"], np.linspace(0.1, 0.2, 60)[1:].mean())  # the entry is no rebalance
    assert_allclose(found["gross_exposure"], 0.15)
    assert_allclose(found["annualized_cost"], 0.002 * 0.15 * 60 / (60 * 21 / 252))
    assert table["n_failures"].tolist() == [1, 0]


def test_each_pair_is_its_volatility_ratio_and_other_rivals_do_not_change_it():
    result = make_result({"neural": 0.9, "oas": 1.0, "qis": 0.95})
    comparison = compare(result, "neural", rng=np.random.default_rng(4))
    assert comparison["rival"].tolist() == ["oas", "qis"]
    seed = int(np.random.default_rng(4).integers(2**63))
    ratio = volatility_ratio(
        result.tracks["neural", "long-only"].returns,
        result.tracks["qis", "long-only"].returns,
        result.windows,
        rng=np.random.default_rng(seed),
    )
    second = comparison.iloc[1]
    assert (second["window_low"], second["pooled_high"]) == (ratio.window_low, ratio.pooled_high)
    half = ratio.window_high - ratio.window_mean
    assert_allclose(second["minimum_detectable"], half + norm.ppf(0.8) * ratio.standard_error)
    assert second["block"] == ratio.block
    fewer = make_result({"neural": 0.9, "oas": 1.0})
    alone = compare(fewer, "neural", rng=np.random.default_rng(4)).iloc[0]
    assert alone["window_low"] == comparison.iloc[0]["window_low"]
    assert alone["p_adjusted"] == alone["p_value"] <= comparison.iloc[0]["p_adjusted"]


def test_excluded_tracks_and_other_books_are_not_compared():
    failures = [Failure("oas", "long-only", pd.Timestamp("2010-01-01"), "E: why")] * 7
    result = make_result({"neural": 0.9, "oas": 1.0, "qis": 0.95}, failures=failures)
    other = make_result({"neural": 1.0, "hrp": 1.0}, book="own")
    result = WalkForward(result.tracks | other.tracks, {}, result.windows, result.failures)
    comparison = compare(result, "neural", rng=np.random.default_rng(0))
    assert list(zip(comparison["rival"], comparison["book"], strict=True)) == [("qis", "long-only"), ("hrp", "own")]
    words = verdict(comparison, champion="oas", excluded=result.excluded)
    assert words[-1].startswith("oas (long-only) is left out: it failed on 7 of 60 dates")
    with pytest.raises(ParameterError, match="neural, oas, qis, hrp"):
        compare(result, "nerual", rng=np.random.default_rng(0))


def test_portfolios_with_their_own_weights_stand_beside_the_books_without_short_sales():
    result = make_result({"neural": 0.9, "qis": 1.0})
    own = make_result({"hrp": 1.2}, book="own")
    short = make_result({"neural": 0.8, "qis": 1.0}, book="unconstrained")
    shorted = {key: replace(track, weights=-track.weights) for key, track in short.tracks.items()}
    result = WalkForward(result.tracks | own.tracks | shorted, {}, result.windows, ())
    comparison = compare(result, "neural", rng=np.random.default_rng(0))
    assert list(zip(comparison["rival"], comparison["book"], strict=True)) == [
        ("qis", "long-only"),
        ("hrp", "long-only"),
        ("qis", "unconstrained"),
    ]
    assert comparison["window_mean"][1] == pytest.approx(np.log(0.9 / 1.2), abs=0.03)


def test_a_book_with_one_model_is_said_to_hold_nothing_to_compare():
    for comparison in (
        compare(make_result({"a": 1.0}), "a", rng=np.random.default_rng(0)),
        compare_with_best(make_result({"a": 1.0}), rng=np.random.default_rng(0)),
    ):
        assert verdict(comparison) == ["Nothing was compared: no book holds two models that can be."]


def test_the_champion_is_spoken_of_first_by_its_own_interval_and_the_others_after_adjustment():
    comparison = pd.DataFrame(
        [
            row(rival="oas", p_adjusted=0.0005),
            row(rival="sample", p_adjusted=0.2),
            row(rival="qis", p_adjusted=0.2),
            row(rival="ewma", p_adjusted=0.001, window_mean=0.02, window_low=0.01, window_high=0.03),
        ]
    )
    first, second = verdict(comparison, champion="qis")
    assert first == (
        "neural was calmer than qis (long-only): on average over 170 windows its volatility was 1.2 % lower "
        "(95 % interval 0.40 % lower to 2.0 % lower)."
    )
    assert second == (
        "Against the other rivals (long-only), neural was calmer than 1 of 3 (oas), rougher than 1 of 3 (ewma) "
        "and not distinguishable from 1 of 3 (sample), at 5 % after Holm's adjustment for 4 comparisons."
    )


def test_an_interval_that_holds_zero_claims_nothing_and_says_what_would_be_missed():
    comparison = pd.DataFrame([row(window_high=0.003, pooled_high=0.002, p_adjusted=0.2)])
    (sentence,) = verdict(comparison, champion="qis")
    assert sentence.startswith("neural could not be told apart from qis (long-only):")
    assert "(95 % interval 2.0 % lower to 0.30 % higher)" in sentence
    assert "a true difference below about 1.1 % would often be missed" in sentence


def test_pooled_days_that_disagree_are_told():
    comparison = pd.DataFrame([row(pooled=0.004, pooled_low=-0.01, pooled_high=0.02)])
    first, second = verdict(comparison, champion="qis")
    assert first.startswith("neural was calmer than qis")
    assert second.startswith("Over all days together (long-only)")
    assert second.endswith("it was 0.40 % higher (interval 1.00 % lower to 2.0 % higher).")


def test_without_a_champion_the_strongest_rival_leads_and_pays_for_being_picked():
    comparison = pd.DataFrame(
        [row(rival="oas", window_mean=-0.05, window_low=-0.06, window_high=-0.04), row(p_adjusted=0.08)]
    )
    first = verdict(comparison)[0]
    assert first.startswith("neural could not be told apart from qis")
    assert "of this pair alone; allowing for the other rivals it is not enough" in first
    assert finding(comparison.iloc[1], adjusted=False) == "calmer"


def test_a_worse_model_is_called_worse():
    comparison = compare(make_result({"neural": 1.1, "qis": 1.0}), "neural", rng=np.random.default_rng(0))
    first = verdict(comparison, champion="qis")[0]
    assert re.match(r"neural was rougher than qis \(long-only\): .* 60 windows .* (9|10|11)(\.\d)? % higher", first)


def test_a_champion_that_was_not_there_is_an_error_with_the_names():
    with pytest.raises(ParameterError, match="choose from neural, qis"):
        verdict(pd.DataFrame([row()]), champion="oas")


def test_the_best_is_found_and_the_indistinguishable_ones_named():
    result = make_result({"rough": 1.3, "twin": 1.0, "best": 0.999, "middle": 1.1})
    comparison = compare_with_best(result, rng=np.random.default_rng(0))
    assert set(comparison["reference"]) <= {"best", "twin"}
    assert comparison["rival"].tolist()[1:] == ["middle", "rough"]
    picked, closest, others = verdict(comparison)
    assert "had the lowest volatility in the average window of 4 models" in picked
    assert "picked after the fact, so what follows allows for all 6 pairs" in picked
    assert "calmer than 2 of 3 (middle, rough) and not distinguishable from 1 of 3" in others
    assert re.match(r"The closest: (best|twin) could not be told apart from (best|twin) ", closest)


def test_portfolios_with_their_own_weights_may_be_the_best_of_a_long_only_book():
    result = make_result({"sample": 1.0, "qis": 0.95})
    own = make_result({"hrp": 0.8, "equal": 1.3}, book="own")
    result = WalkForward(result.tracks | own.tracks, {}, result.windows, ())
    comparison = compare_with_best(result, rng=np.random.default_rng(0))
    assert set(comparison["book"]) == {"long-only"}
    assert set(comparison["reference"]) == {"hrp"}
    sentences = verdict(comparison, result=result, rng=np.random.default_rng(0))
    assert any("net Sharpe ratio of hrp (long-only)" in sentence for sentence in sentences)


def test_a_ratio_beyond_all_measure_is_not_spelled_out():
    sentence, *_ = verdict(pd.DataFrame([row(window_low=-0.1, window_high=16.0, p_adjusted=0.9)]), champion="qis")
    assert "more than 900 % higher" in sentence


def test_intervals_of_the_best_are_wider_than_those_of_a_pair_alone():
    result = make_result(dict.fromkeys("abcdef", 1.0), noise=0.3)
    best = compare_with_best(result, rng=np.random.default_rng(0))
    alone = compare(result, best["reference"].iloc[0], rng=np.random.default_rng(0)).set_index("rival")
    alone = alone.loc[best["rival"]]
    assert (best["window_low"].to_numpy() < alone["window_low"].to_numpy()).all()
    assert (best["p_adjusted"].to_numpy() >= alone["p_value"].to_numpy()).all()


def test_the_best_is_judged_with_the_largest_block_that_any_pair_chooses():
    result = make_result({"a": 1.0, "b": 1.05, "c": 1.1, "d": 1.2}, noise=0.3, seed=3)
    best = compare_with_best(result, rng=np.random.default_rng(0))
    chosen = {
        block
        for model in "abcd"
        for block in compare(result, model, rng=np.random.default_rng(0), n_bootstrap=100)["block"]
    }
    assert set(best["block"]) == {max(chosen)}
    assert len(chosen) > 1
    fixed = compare_with_best(result, rng=np.random.default_rng(0), block=2)
    assert set(fixed["block"]) == {2}
    # What is called detectable is what the joint interval would find.
    half = best["window_high"] - best["window_mean"]
    assert_allclose(best["minimum_detectable"], half + norm.ppf(0.8) * best["standard_error"])


def test_the_verdict_puts_the_sharpe_ratios_of_the_leading_rival_beside_its_volatility():
    result = make_result({"neural": 0.9, "qis": 1.0})
    hrp = make_result({"hrp": 1.2}, book="own", seed=1)
    result = WalkForward(result.tracks | hrp.tracks, {}, result.windows, ())
    comparison = compare(result, "neural", rng=np.random.default_rng(0))
    for champion, book in (("qis", "long-only"), ("hrp", "own")):
        words = verdict(comparison, champion=champion, result=result, rng=np.random.default_rng(5))
        found = sharpe_difference(
            result.tracks["neural", "long-only"].returns,
            result.tracks[champion, book].returns,
            windows=result.windows,
            rng=np.random.default_rng(int(np.random.default_rng(5).integers(2**63))),
        )
        assert words[1] == (
            f"This is about volatility: the net Sharpe ratio of neural (long-only) was {found.sharpe_a:.2f} against "
            f"{found.sharpe_b:.2f} of {champion} (difference {found.difference:.2f}, 95 % interval {found.low:.2f} to "
            f"{found.high:.2f})."
        )
        assert [words[0], *words[2:]] == verdict(comparison, champion=champion)


def test_the_sharpe_ratios_of_the_best_follow_its_closest_rival():
    result = make_result({"rough": 1.3, "best": 1.0, "middle": 1.1})
    comparison = compare_with_best(result, rng=np.random.default_rng(0))
    words = verdict(comparison, result=result, rng=np.random.default_rng(0), periods_per_year=12)
    sharpe = measures.sharpe_ratio(result.tracks["best", "long-only"].returns, periods_per_year=12)
    assert words[2].startswith(
        f"This is about volatility: the net Sharpe ratio of best (long-only) was {sharpe:.2f} against"
    )
    assert "95 % interval of this pair alone" in words[2]
    assert words[3].startswith("Against all others")


def test_sharpe_ratios_need_a_generator_and_the_result_that_was_compared():
    result = make_result({"neural": 0.9, "qis": 1.0})
    comparison = compare(result, "neural", rng=np.random.default_rng(0))
    with pytest.raises(ParameterError, match="result needs rng"):
        verdict(comparison, result=result)
    with pytest.raises(ParameterError, match="no track of qis"):
        verdict(comparison, result=make_result({"neural": 0.9}), rng=np.random.default_rng(0))


def test_a_winner_among_equals_is_seldom_called_calmer():
    # Six equal models: unadjusted, the winner beats some rival in a good part of the trials.
    alarms, naive = 0, 0
    for seed in range(100):
        result = make_result(dict.fromkeys("abcdef", 1.0), n_windows=40, seed=seed, noise=0.3)
        options = {"rng": np.random.default_rng(seed), "n_bootstrap": 300}
        best = compare_with_best(result, **options)
        alarms += any(finding(one, adjusted=True) != "undecided" for _, one in best.iterrows())
        naive += bool((best["p_value"] < 0.05).any())
    assert alarms <= 11  # 5 % of 100, and three standard errors
    assert naive >= 25
