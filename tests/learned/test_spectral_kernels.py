"""Compiled passes against what NumPy says in one line."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.learned.spectral_kernels import (
    beyond,
    clustering,
    history,
    mean_and_spread,
    median,
    project,
    scaled,
    standardise,
)


def test_eigenvectors_speak_of_eigenvalues_and_of_assets_as_in_one_line_of_numpy():
    rng = np.random.default_rng(0)
    v, values, core, overlap = rng.standard_normal((4, 7)), rng.random(4), rng.standard_normal(4), rng.random(7)
    single, weighted = np.empty((2, 4, 7), dtype=np.float32)
    fourth, along, precision, size, inside, left = project(v, values, core, 0.3, overlap, single, weighted)
    assert_allclose(fourth, (v**4).sum(axis=1), rtol=1e-12)
    assert_allclose(along, v @ overlap, rtol=1e-12)
    assert_allclose(precision, core @ v**2, rtol=1e-12)
    assert_allclose(size, values**2 @ v**2, rtol=1e-12)
    assert_allclose(inside, values @ v**2, rtol=1e-12)
    assert_allclose(left, (values * (core + 0.3) ** 2) @ v**2, rtol=1e-12)
    assert_array_equal(single, v.astype(np.float32))
    assert_allclose(weighted, core[:, None] * v, rtol=1e-6)


def test_what_lies_beyond_its_range_is_measured_from_the_nearer_end():
    table = np.array([[0.0, 5.0, -1.0], [1.0, 9.0, 0.0], [2.0, 1.0, -7.0], [2.5, 1.0, 6.0]])
    center, scale = np.array([1.0, 1.0, 0.0]), np.array([1.0, 2.0, 1.0])
    far, share = beyond(table, center, scale, center - 2.0 * scale, center + 2.0 * scale, 2.0)
    assert_array_equal(far, [0.0, 2.0, -5.0])  # 9 is four scales above 1; of -7 and 6, -7 is farther out
    assert share == 0.25 + 0.5


def test_the_median_is_that_of_numpy():
    table = np.random.default_rng(0).standard_normal((9, 3))
    assert [median(table[:n, 0]) for n in (8, 9)] == [np.median(table[:n, 0]) for n in (8, 9)]


def test_scaled_inputs_are_cut_and_what_is_no_number_stays_so():
    found = scaled(np.array([[9.0, 1.0], [-9.0, np.nan]]), np.array([1.0, 0.5]), np.array([1.0, 2.0]), 4.0)
    assert_array_equal(found, [[4.0, 0.25], [-4.0, np.nan]])


@pytest.mark.parametrize("n_recent", [40, 15])
def test_the_history_knows_the_size_of_its_rows_and_the_moments_of_its_columns(n_recent):
    x = np.random.default_rng(0).standard_normal((40, 6))
    standard, recent, observed = np.empty((40, 6)), np.empty((n_recent, 6)), np.ones(x.shape, dtype=bool)
    _, sizes, recent_sizes, moments = history(x, x.std(axis=0), observed, True, np.array([21.0]), standard, recent)
    assert_allclose(standard, x / x.std(axis=0), rtol=1e-14)
    assert_allclose(sizes, (standard**2).sum(axis=1), rtol=1e-12)
    assert_allclose(recent_sizes, (recent**2).sum(axis=1), rtol=1e-12)
    size = np.abs(standard)
    sums = [size.sum(axis=0), (size**4).sum(axis=0), size.max(axis=0), size.sum(axis=0), np.full(6, 40.0)]
    assert_allclose(moments, [*sums, (size < 0.1).sum(axis=0)], rtol=1e-12)


def test_as_many_rows_are_devolatilised_as_there_is_room_for():
    x = np.random.default_rng(0).standard_normal((40, 6))
    tables = [np.empty((n, 6)) for n in (40, 15)]
    for table in tables:
        history(x, np.ones(6), np.ones(x.shape, dtype=bool), True, np.array([21.0]), np.empty((40, 6)), table)
    assert_array_equal(tables[0][-15:], tables[1])


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("complete", [True, False])
def test_standardised_columns_have_the_length_asked_for(center, complete):
    rng = np.random.default_rng(0)
    z, weights, damping = rng.standard_normal((30, 5)), rng.random(30), rng.uniform(0.5, 2.0, 30)
    observed = np.ones(z.shape, dtype=bool) if complete else rng.random(z.shape) < 0.7
    weights /= weights.sum()
    z[:, 3] = 2.0 * damping  # does not move once damped
    z[:, 4] = (2.0 + 1e-4 * rng.standard_normal(30)) * damping  # hardly
    z *= observed
    tilt, single = np.arange(1.0, 6.0), np.empty((8, 5), dtype=np.float32)
    away = z / damping[:, None]
    if center:
        away -= weights @ away / (weights @ observed)
    away *= observed
    expected = weights @ away**2
    size, still = standardise(z, observed, complete, damping, weights, center, tilt, single)
    assert_allclose(size[:3], expected[:3], rtol=1e-12)
    assert_allclose(size[4], expected[4], rtol=1e-6)
    assert_array_equal(still, [False, False, False, center, False])
    moving = ~still
    assert_allclose((z**2).sum(axis=0)[moving], tilt[moving] ** 2, rtol=1e-6)
    assert_allclose(z[:, 0], np.sqrt(weights) * away[:, 0] / np.sqrt(expected[0]), rtol=1e-9, atol=1e-15)
    assert_array_equal(z[:, still], 0.0)
    assert_array_equal(single, z[-8:].astype(np.float32))


def test_clustering_is_the_mean_autocorrelation_of_five_lags():
    rng = np.random.default_rng(0)
    z, factor = rng.standard_normal((50, 4)), rng.random(50)
    x = np.abs(z) * factor[:, None]
    x -= x.mean(axis=0)
    slow = [(x[lag:] * x[:-lag]).sum(axis=0) / (x**2).sum(axis=0) for lag in range(1, 6)]
    assert clustering(z, factor) == pytest.approx(np.mean(slow), rel=1e-12)
    assert clustering(np.ones((50, 2)), np.ones(50)) == 0.0


def test_mean_and_spread_of_columns_are_numpys():
    table = np.random.default_rng(0).standard_normal((37, 5)) + 3.0
    assert_allclose(mean_and_spread(table), [table.mean(axis=0), table.std(axis=0)], rtol=1e-13)
