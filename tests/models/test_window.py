import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import SampleCovariance
from eigenfolio.models.window import (
    active_assets,
    check_returns,
    ewma_variance_path,
    prepare_window,
    weighted_correlation,
)


def naive_ewma_path(x, half_life):
    """One asset, NaN where missing: the recursion written out."""
    a = 1 - 2 ** (-1 / half_life)
    seen = x[np.isfinite(x)]
    v = np.mean(seen[:21] ** 2) if seen.size else 0.0
    path = [v]
    for value in x:
        if np.isfinite(value):
            v = (1 - a) * v + a * value**2
        path.append(v)
    return np.array(path)


def with_gaps(x, seed=0):
    x = np.array(x)
    x[np.random.default_rng(seed).random(x.shape) < 0.1] = np.nan
    x[: len(x) // 2, 0] = np.nan
    return x


def test_complete_data_give_the_textbook_matrix_bit_for_bit(returns):
    x = returns.to_numpy()
    centred = x - x.mean(axis=0)
    window = prepare_window(x)
    assert np.array_equal(window.columns, centred)
    assert np.array_equal(window.covariance(), centred.T @ centred / len(x))
    assert not window.unbacked.any()


def test_variances_are_of_the_own_span_and_covariances_are_shrunk_by_coverage(returns):
    x = with_gaps(returns)
    covariance = prepare_window(x).covariance()
    observed = np.isfinite(x)
    filled = np.where(observed, x - np.nanmean(x, axis=0), 0.0)
    n = observed.sum(axis=0)
    for i in range(x.shape[1]):
        for j in range(x.shape[1]):
            expected = filled[:, i] @ filled[:, j] / np.sqrt(n[i] * n[j])
            assert covariance[i, j] == pytest.approx(expected, rel=1e-12, abs=1e-18)
    np.testing.assert_allclose(np.diag(covariance), np.nanvar(x, axis=0), rtol=1e-12)
    assert np.linalg.eigvalsh(covariance)[0] > 0


@pytest.mark.parametrize("n_seen", [0, 1, 2, 10, 20, 21])
def test_a_short_history_is_led_by_the_cross_section(returns, n_seen):
    x = returns.to_numpy().copy()
    x[: len(x) - n_seen, 3] = np.nan
    window = prepare_window(x)
    own = np.nanvar(x[:, 3]) if n_seen else 0.0
    typical = np.median(np.nanvar(np.delete(x, 3, axis=1), axis=0))
    if n_seen == 21:
        typical = np.median(np.nanvar(x, axis=0))
    expected = n_seen / 21 * own + (1 - n_seen / 21) * typical
    assert window.variance[3] == pytest.approx(expected, rel=1e-12)
    assert window.covariance()[3, 3] == pytest.approx(expected, rel=1e-12)
    assert np.linalg.eigvalsh(window.covariance())[0] > 0


def test_a_constant_column_gets_the_floor_and_no_correlation(returns):
    x = returns.to_numpy().copy()
    x[:, 2] = 0.01
    window = prepare_window(x)
    assert window.variance[2] == pytest.approx(1e-8 * np.median(np.delete(x, 2, axis=1).var(axis=0)), rel=0.2)
    assert np.abs(np.delete(window.correlation()[2], 2)).max() < 1e-8
    assert window.correlation()[2, 2] == 1.0


def test_rows_beyond_the_lookback_are_cut_before_anything_else(returns):
    x = with_gaps(returns)
    a, b = prepare_window(x, lookback=60), prepare_window(x[-60:])
    assert np.array_equal(a.columns, b.columns)


def test_centred_returns_stay_as_they_are(returns):
    window = prepare_window(returns.to_numpy(), assume_centered=True)
    assert np.array_equal(window.columns, returns.to_numpy())
    assert not window.location.any()


@pytest.mark.parametrize("half_life", [2.0, 21.0, 63.0])
def test_the_ewma_path_equals_the_recursion_with_and_without_gaps(returns, half_life):
    for x in (returns.to_numpy(), with_gaps(returns), with_gaps(returns[:15])):
        observed = np.isfinite(x)
        path = ewma_variance_path(np.where(observed, x, 0.0), observed, half_life=half_life)
        naive = np.column_stack([naive_ewma_path(column, half_life) for column in x.T])
        np.testing.assert_allclose(path, naive, rtol=1e-12)


def test_weighted_correlation_equals_its_definition(returns):
    x = with_gaps(returns)
    observed = np.isfinite(x)
    weights = np.linspace(1, 2, len(x))
    weights /= weights.sum()
    found = weighted_correlation(np.where(observed, x, 0.0) * 100, observed, weights, center=True)
    mean = np.nansum(weights[:, None] * x, axis=0) / (weights @ observed)
    z = np.where(observed, x - mean, 0.0)
    gram = np.einsum("t,ti,tj->ij", weights, z, z)
    np.testing.assert_allclose(found, gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram))), rtol=1e-10, atol=1e-14)


def test_an_asset_is_inactive_after_21_missing_rows_or_when_the_mask_says_so():
    x = np.zeros((40, 3))
    x[-21:, 0] = np.nan
    x[-20:, 1] = np.nan
    assert active_assets(x).tolist() == [False, True, True]
    mask = np.ones((40, 3), dtype=bool)
    mask[-1, 2] = False
    assert active_assets(x, mask).tolist() == [True, True, False]
    with pytest.raises(DataError, match="no asset is active"):
        active_assets(np.full((5, 2), np.nan))


def test_a_mask_is_aligned_by_its_labels_and_hides_returns(returns):
    x = returns[["A00", "A01"]]
    mask = pd.DataFrame(True, index=returns.index, columns=["A01", "A00", "A07"])
    mask.loc[mask.index[:5], "A01"] = False
    seen, aligned = check_returns(BaseEstimator(), x, mask)
    assert np.isnan(seen[:5, 1]).all()
    assert np.isfinite(seen[:, 0]).all()
    assert aligned.shape == x.shape


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((3, 2), dtype=bool),
        np.ones((320, 12)),
        pd.DataFrame(True, index=range(320), columns=[f"A{i:02d}" for i in range(12)]),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(returns, mask):
    with pytest.raises(ParameterError, match="active_mask must"):
        check_returns(BaseEstimator(), returns, mask)


def test_one_row_or_a_constant_table_is_an_error():
    with pytest.raises(DataError, match="n_samples = 1"):
        check_returns(BaseEstimator(), [[0.1, 0.2]])
    with pytest.raises(DataError, match="n_samples = 1"):
        prepare_window(np.zeros((1, 2)))
    with pytest.raises(DataError, match="no asset varies"):
        prepare_window(np.zeros((9, 2)))


def test_prices_are_refused_and_positive_returns_are_not():
    rng = np.random.default_rng(0)
    returns = 0.01 * rng.standard_normal((60, 3))
    prices = 50.0 * np.cumprod(1.0 + returns, axis=0)
    with pytest.raises(DataError, match=r"SampleCovariance takes simple returns, and X looks like prices.*pct_change"):
        SampleCovariance().fit(prices)
    for fine in (np.abs(returns), rng.uniform(0.0, 3.0, (60, 3)), np.ones((60, 3)) + np.eye(60, 3)):
        SampleCovariance().fit(fine)


@pytest.mark.parametrize("changed", [None, "missing", "whole numbers", "single precision", "a list"])
def test_finite_floats_are_taken_as_they_are_and_all_else_is_looked_at(changed):
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((30, 3)), columns=list("abc"))
    given = {
        None: table,
        "missing": table.mask(table > 2.0),
        "whole numbers": (10 * table).astype(int),
        "single precision": table.astype(np.float32),
        "a list": table.to_numpy().tolist(),
    }[changed]
    estimator = SampleCovariance()
    returns, _ = check_returns(estimator, given)
    np.testing.assert_array_equal(returns, np.asarray(given, dtype=float))
    assert returns.dtype == np.float64
    assert returns.flags.c_contiguous
    assert estimator.n_features_in_ == 3
    assert hasattr(estimator, "feature_names_in_") == (changed != "a list")


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinities_are_refused_even_where_they_cancel(bad):
    rows = np.zeros((30, 3))
    rows[3], rows[4, 0] = bad, -bad
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="infinity"),
    ):  # it is scikit-learn that sums them
        check_returns(SampleCovariance(), rows)
