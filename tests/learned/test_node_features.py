"""What a graph network is told of each asset."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.errors import DataError
from eigenfolio.learned.node_features import NODE_FEATURES, node_features


def returns(n_rows=320, n_assets=6, seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal((n_rows, n_assets))


def naive(window):
    """The slow twin, for complete windows: one asset at a time, from the formulas."""
    window = window[-252:]
    market = window.mean(axis=1)
    rows = []
    for r in window.T:
        v = np.sqrt(np.mean(r**2))
        level = np.concatenate([[0.0], np.cumsum(r)])
        rows.append(
            [r[-k:].sum() / (v * np.sqrt(k)) for k in (1, 5, 21, 63)]
            + [
                r[:-21].sum() / (v * np.sqrt(231)),
                np.log(np.sqrt(np.mean(r[-21:] ** 2)) / v),
                np.log(v),
                sum(x**2 for x in r[-63:] if x < 0) / sum(x**2 for x in r[-63:]),
                (level[-1] - level.max()) / (v * np.sqrt(252)),
                np.cov(r, market, bias=True)[0, 1] / np.var(market),
            ]
        )
    table = np.array(rows)
    return np.clip((table - table.mean(axis=0)) / table.std(axis=0), -3, 3)


def test_they_equal_their_naive_twin():
    assert len(NODE_FEATURES) == 10
    assert_allclose(node_features(returns()), naive(returns()), atol=1e-12)


def test_rows_before_the_last_252_are_not_read():
    given = returns()
    altered = np.vstack([returns(400, seed=9), given[-252:]])
    assert_array_equal(node_features(altered), node_features(given))


def test_the_unit_of_returns_and_the_order_of_assets_do_not_matter():
    given = returns()
    order = [3, 0, 5, 1, 4, 2]
    assert_allclose(node_features(100 * given), node_features(given), atol=1e-10)
    assert_allclose(node_features(given[:, order]), node_features(given)[order], atol=1e-12)


def test_gaps_short_and_constant_histories_give_finite_numbers():
    given = returns(40)
    given[:30, 0] = np.nan
    given[:, 1] = 0.0
    given[5:9, 2] = np.nan
    found = node_features(given)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3.0


def test_one_asset_has_nothing_to_be_compared_with():
    assert not node_features(returns(n_assets=1)).any()


def test_a_single_row_is_refused():
    with pytest.raises(DataError, match="at least 2 rows"):
        node_features(returns(1))
