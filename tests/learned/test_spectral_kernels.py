"""Compiled passes against what NumPy says in one line."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from eigenfolio.learned.spectral_kernels import beyond, history, mean_and_spread, median, project, scaled


def test_eigenvectors_speak_of_eigenvalues_and_of_assets_as_in_one_line_of_numpy():
    rng = np.random.default_rng(0)
    v, values, core, overlap = rng.standard_normal((4, 7)), rng.random(4), rng.standard_normal(4), rng.random(7)
    single, weighted = np.empty((2, 4, 7), dtype=np.float32)
    fourth, along, precision, size = project(v, values, core, overlap, single, weighted)
    assert_allclose(fourth, (v**4).sum(axis=1), rtol=1e-12)
    assert_allclose(along, v @ overlap, rtol=1e-12)
    assert_allclose(precision, core @ v**2, rtol=1e-12)
    assert_allclose(size, values**2 @ v**2, rtol=1e-12)
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


def test_the_history_knows_the_size_of_its_rows():
    x = np.random.default_rng(0).standard_normal((40, 6))
    standard, scaled_rows = np.empty((2, 40, 6))
    _, sizes = history(x, x.std(axis=0), np.ones(x.shape, dtype=bool), np.array([21.0]), standard, scaled_rows)
    assert_allclose(sizes, [(standard**2).sum(axis=1), (scaled_rows**2).sum(axis=1)], rtol=1e-12)


def test_mean_and_spread_of_columns_are_numpys():
    table = np.random.default_rng(0).standard_normal((37, 5)) + 3.0
    assert_allclose(mean_and_spread(table), [table.mean(axis=0), table.std(axis=0)], rtol=1e-13)
