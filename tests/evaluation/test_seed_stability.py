"""Spread over seeds and configurations: values by hand, the expectation by simulation, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from eigenfolio.errors import DataError
from eigenfolio.evaluation.seed_stability import seed_stability


def measured(sharpes):
    """A table of measures from Sharpe ratios by model and seed; volatilities fall as Sharpe ratios rise."""
    rows = [
        {"model": name, "path": seed, "sharpe_ratio": value, "annualized_volatility": 0.2 - 0.01 * value}
        for name, values in sharpes.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(annualized_return=lambda table: 0.1 * table["sharpe_ratio"])


def test_components_of_variance_by_hand():
    found = seed_stability(measured({"a": [0.0, 2.0], "b": [4.0, 6.0]}))
    row = found.configurations.set_index("measure").loc["sharpe_ratio"]
    assert row["seed_spread"] == pytest.approx(np.sqrt(2.0))  # each pair has variance 2
    assert row["configuration_spread"] == pytest.approx(np.sqrt(8.0 - 1.0))  # means 1 and 5, less 2 / 2
    assert row["configuration_share"] == pytest.approx(7.0 / 9.0)
    assert (row["best"], row["best_share"]) == ("b", 1.0)


def test_the_components_are_those_of_an_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(4, 5)) + np.arange(4)[:, None]
    found = seed_stability(measured(dict(zip("abcd", values, strict=True)))).configurations.iloc[0]
    grand = values.mean()
    between = 5 * sum((row.mean() - grand) ** 2 for row in values) / 3
    within = sum((x - row.mean()) ** 2 for row in values for x in row) / 16
    assert found["seed_spread"] ** 2 == pytest.approx(within)
    assert found["configuration_spread"] ** 2 == pytest.approx((between - within) / 5)


def test_seeds_alone_leave_nothing_to_the_configuration_on_average():
    rng = np.random.default_rng(1)
    shares = [
        seed_stability(measured(dict(zip("abcdef", rng.normal(size=(6, 8)), strict=True)))).configurations.iloc[0]
        for _ in range(100)
    ]
    assert np.mean([row["configuration_share"] for row in shares]) < 0.1
    assert np.mean([row["best_share"] for row in shares]) < 0.45  # the best of six is best in few more than chance


def test_the_best_has_the_lowest_volatility():
    found = seed_stability(measured({"a": [0.0, 2.0, 0.1], "b": [1.0, 1.1, 1.2]})).configurations
    assert found.set_index("measure")["best"].to_dict() == dict.fromkeys(found["measure"], "b")
    assert found.set_index("measure")["best_share"].to_dict() == dict.fromkeys(found["measure"], pytest.approx(2 / 3))


def test_what_hangs_on_no_seed_is_named_and_left_out():
    found = seed_stability(measured({"a": [0.0, 2.0], "fixed": [1.0, 1.0]}))
    assert found.unseeded == ("fixed",)
    assert set(found.seeds["model"]) == {"a"}
    assert found.configurations.empty
    assert len(found.sentences) == 2
    assert "spreads most in a: 0.000 to 2.000 (standard deviation 1.414)" in found.sentences[0]


def test_tables_that_say_nothing_of_seeds_are_refused():
    with pytest.raises(DataError, match="no model differs between seeds"):
        seed_stability(measured({"a": [1.0, 1.0]}))
    with pytest.raises(DataError, match="under the same seeds"):
        seed_stability(measured({"a": [1.0, 2.0], "b": [1.0]}))
