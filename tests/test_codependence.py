import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata, spearmanr

from eigenfolio.codependence import average_ranks, distance_correlation, pearson_correlation, spearman_correlation
from eigenfolio.errors import DataError

MEASURES = [pearson_correlation, spearman_correlation, distance_correlation]


@pytest.fixture
def returns():
    rng = np.random.default_rng(3)
    return 0.01 * (rng.standard_normal((90, 1)) + rng.standard_t(3, (90, 6)))


def with_gaps(returns):
    return np.where(np.random.default_rng(1).random(returns.shape) < 0.15, np.nan, returns)


def slow_distance_correlation(x, y):
    """The definition, table by table, with what is missing in x or in y left out of its own table alone."""
    tables = []
    for z in (x, y):
        table = np.zeros((len(z), len(z)))
        seen = np.flatnonzero(~np.isnan(z))
        a = np.abs(z[seen][:, None] - z[seen][None, :])
        table[np.ix_(seen, seen)] = a - a.mean(axis=0) - a.mean(axis=1)[:, None] + a.mean()
        tables.append(table)
    a, b = tables
    return np.sqrt(max((a * b).sum(), 0.0) / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_symmetric_bounded_and_permutes_with_the_assets(measure, returns):
    order = np.array([3, 0, 5, 1, 4, 2])
    table = with_gaps(returns)
    answer = measure(table)
    assert_array_equal(answer, answer.T)
    assert_array_equal(np.diag(answer), 1.0)
    assert np.abs(answer).max() <= 1.0
    assert_allclose(measure(table[:, order]), answer[np.ix_(order, order)], atol=1e-14)


def test_complete_columns_give_the_textbook_numbers(returns):
    assert_allclose(pearson_correlation(returns), np.corrcoef(returns.T), atol=1e-14)
    assert_allclose(spearman_correlation(returns), spearmanr(returns).statistic, atol=1e-14)


def test_ranks_are_scipys_with_ties_and_gaps(returns):
    table = with_gaps(returns.round(2))
    assert_array_equal(average_ranks(table), rankdata(table, axis=0, nan_policy="omit"))


def test_a_gap_pulls_a_correlation_toward_zero_by_the_root_of_the_coverage():
    x = np.tile([0.01, -0.01], 42)
    late = np.where(np.arange(84) < 42, np.nan, x)
    assert pearson_correlation(np.column_stack([x, late]))[0, 1] == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("measure", [pearson_correlation, spearman_correlation])
def test_gaps_leave_the_matrix_positive_semidefinite(measure, returns):
    table = with_gaps(np.hstack([returns, returns + 1e-4 * returns[:, ::-1]]))
    assert np.linalg.eigvalsh(measure(table)).min() > -1e-12


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("still", [0.0, 0.003, 1e6 / 3, np.nan])
def test_an_asset_that_does_not_move_is_uncorrelated(measure, still, returns):
    returns[:, 2] = still
    assert_array_equal(measure(returns)[2], np.eye(6)[2])


def test_distance_correlation_equals_its_slow_twin_with_gaps_and_in_tiles(returns, monkeypatch):
    table = with_gaps(returns)
    slow = [[slow_distance_correlation(x, y) for y in table.T] for x in table.T]
    assert_allclose(distance_correlation(table), slow, atol=1e-12)
    monkeypatch.setattr("eigenfolio.codependence._TILE", 4000)  # seven rows at a time
    assert_allclose(distance_correlation(table), slow, atol=1e-12)


def test_distance_correlation_by_hand():
    # Two rows: the distances of one asset are a multiple of those of the other.
    assert distance_correlation([[0.0, 0.0], [1.0, 2.0]])[0, 1] == pytest.approx(1.0)
    # x = (0, 1, 1) has the centred table (-8 4 4; 4 -2 -2; 4 -2 -2) / 9, and y = (1, 0, 1) the same with the first two
    # rows and columns exchanged: the products sum to 36 / 81, the squares of each to 144 / 81.
    assert distance_correlation([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[0, 1] == pytest.approx(0.5)


def test_monotone_companions_are_perfect_for_ranks_alone():
    x = np.linspace(-2, 2, 40)
    table = np.column_stack([x, np.exp(3 * x)])
    assert spearman_correlation(table)[0, 1] == 1.0
    assert pearson_correlation(table)[0, 1] < 0.8


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("bad", [np.ones(4), np.ones((1, 3)), np.ones((4, 0)), [[0.0, np.inf], [1.0, 1.0]]])
def test_a_table_that_cannot_be_used_is_refused(measure, bad):
    with pytest.raises(DataError):
        measure(bad)
