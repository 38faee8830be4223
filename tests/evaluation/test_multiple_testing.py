"""Families of tests and sets of models: adjustments by hand, arch as the oracle, and error rates on nulls."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.multiple_testing import (
    adjusted_p_values,
    model_confidence_set,
    stepwise_superior_models,
    superior_predictive_ability,
)


def losses(n=300, means=(0.0, 0.0, 0.0), seed=0):
    shocks = np.random.default_rng(seed).standard_normal((n, len(means)))
    return pd.DataFrame(shocks + np.array(means), columns=list("ABCDEFGH")[: len(means)])


def test_adjustments_by_hand():
    p = [0.01, 0.04, 0.03, 0.5]
    assert_allclose(adjusted_p_values(p), [0.04, 0.09, 0.09, 0.5])
    # Benjamini-Hochberg: p times four over its rank, then the smallest of those behind.
    assert_allclose(adjusted_p_values(p, method="benjamini_hochberg"), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert_allclose(adjusted_p_values(p, method="benjamini_yekutieli")[0], 0.04 * harmonic)


def test_the_family_error_of_holm_and_the_discovery_rate_are_kept():
    # 10 dependent tests, 6 of them true nulls.
    rng = np.random.default_rng(1)
    any_false, share_false = [], []
    for _ in range(500):
        z = np.sqrt(0.5) * rng.standard_normal() + np.sqrt(0.5) * rng.standard_normal(10)
        z[6:] += 3.0
        p = 2 * norm.sf(np.abs(z))
        any_false.append((adjusted_p_values(p)[:6] <= 0.05).any())
        found = adjusted_p_values(p, method="benjamini_hochberg") <= 0.05
        share_false.append(found[:6].sum() / max(1, found.sum()))
    assert np.mean(any_false) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert np.mean(share_false) <= 0.05 + 3 * np.std(share_false) / np.sqrt(2000)


def test_a_clearly_worse_model_is_left_out_and_equal_ones_stay():
    found = model_confidence_set(losses(means=(0.0, 0.0, 0.6)), rng=np.random.default_rng(0))
    assert (found.included, found.excluded) == (("A", "B"), ("C",))
    assert found.p_values["C"] <= 0.05 < found.p_values["A"]
    assert 0.1 < found.minimum_detectable < 0.4  # about 2.8 sqrt(2 / 300)


def test_the_set_is_that_of_arch():
    from arch.bootstrap import MCS

    table = losses(means=(0.0, 0.1, 0.2, 0.3), seed=5)
    found = model_confidence_set(table, block=3, n_bootstrap=500, rng=np.random.default_rng(2))
    peer = MCS(table, 0.05, reps=500, block_size=3, seed=int(np.random.default_rng(2).integers(2**31)))
    peer.compute()
    assert set(found.included) == set(peer.included)
    assert_allclose(found.p_values[peer.pvalues.index], peer.pvalues["Pvalue"])


def test_superior_ability_is_that_of_arch():
    from arch.bootstrap import SPA

    table = losses(means=(0.0, 0.1, -0.1), seed=6)
    found = superior_predictive_ability(
        table["A"], table[["B", "C"]], block=2, n_bootstrap=500, rng=np.random.default_rng(2)
    )
    seed = int(np.random.default_rng(2).integers(2**31))
    peer = SPA(table["A"].to_numpy(), table[["B", "C"]].to_numpy(), block_size=2, reps=500, seed=seed)
    peer.compute()
    assert_allclose([found.lower, found.p_value, found.upper], peer.pvalues.to_numpy())
    assert found.best == "C"
    assert_allclose(found.estimate, table["C"].mean() - table["A"].mean())


def test_the_steps_are_those_of_arch_and_do_not_stop_at_the_last_model():
    from arch.bootstrap import StepM

    table = losses(means=(0.0, 0.3, -0.5, -0.3), seed=7)
    rivals = table[["B", "C", "D"]]
    named = stepwise_superior_models(table["A"], rivals, block=2, n_bootstrap=500, rng=np.random.default_rng(2))
    seed = int(np.random.default_rng(2).integers(2**31))
    peer = StepM(table["A"].to_numpy(), rivals.to_numpy(), block_size=2, reps=500, seed=seed)
    peer.compute()
    assert named == tuple(rivals.columns[peer.superior_models]) == ("C", "D")
    # Where every model falls, one after the other, arch runs out of models; here the answer is all of them.
    every = losses(means=(0.0, -3.0, -0.35), seed=8)
    assert stepwise_superior_models(every["A"], every[["B", "C"]], rng=np.random.default_rng(0)) == ("B", "C")


def test_no_model_is_named_where_none_is_better():
    table = losses(seed=9)
    assert stepwise_superior_models(table["A"] - 0.5, table[["B", "C"]], rng=np.random.default_rng(0)) == ()
    assert superior_predictive_ability(table["A"] - 0.5, table[["B", "C"]], rng=np.random.default_rng(0)).p_value > 0.5


def test_the_same_generator_gives_the_same_set():
    table = losses(seed=10)
    first, again = (model_confidence_set(table, rng=np.random.default_rng(3)) for _ in range(2))
    assert first.included == again.included
    assert (first.p_values == again.p_values).all()


@pytest.mark.slow
def test_equal_models_are_kept_and_not_called_superior_as_often_as_stated():
    left_out = named = claimed = 0
    for seed in range(300):
        table = losses(n=200, means=(0.0,) * 4, seed=seed)
        rng = np.random.default_rng(seed)
        left_out += "A" not in model_confidence_set(table, n_bootstrap=300, rng=rng).included
        rivals = table[["B", "C", "D"]]
        named += bool(stepwise_superior_models(table["A"], rivals, n_bootstrap=300, rng=rng))
        claimed += superior_predictive_ability(table["A"], rivals, n_bootstrap=300, rng=rng).p_value <= 0.05
    assert max(left_out, named, claimed) / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert claimed > 0


def test_a_small_installation_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(ParameterError, match=r"pip install 'eigenfolio\[report\]'"):
        model_confidence_set(losses(), rng=np.random.default_rng(0))


def test_what_cannot_be_tested_is_refused():
    rng = np.random.default_rng(0)
    table = losses()
    with pytest.raises(DataError, match="between 0 and 1"):
        adjusted_p_values([0.5, np.nan])
    with pytest.raises(ParameterError, match="method must be"):
        adjusted_p_values([0.5], method="bonferroni")
    with pytest.raises(DataError, match="at least 30 rows and 2 models"):
        model_confidence_set(table[["A"]], rng=rng)
    with pytest.raises(DataError, match="not finite"):
        model_confidence_set(table.where(table > -2), rng=rng)
    with pytest.raises(DataError, match="same name"):
        model_confidence_set(table.set_axis(["A", "A", "B"], axis=1), rng=rng)
    with pytest.raises(DataError, match="losses of the benchmark itself"):
        superior_predictive_ability(table["A"], table, rng=rng)
    with pytest.raises(DataError, match="same rows"):
        superior_predictive_ability(table["A"].iloc[1:], table[["B"]], rng=rng)
    with pytest.raises(ParameterError, match="block"):
        stepwise_superior_models(table["A"], table[["B"]], block=0, rng=rng)
