"""Covariance problems: numbered, repeatable, and true to their truth."""

from collections import Counter

import numpy as np
import pytest

from eigenfolio.data.synthetic import PROBLEM_KINDS, covariance_problem, covariance_problems, oracle_intensity
from eigenfolio.errors import ParameterError
from eigenfolio.linalg import constant_correlation_target, identity_target, single_factor_target

SMALL = {"seed": 3, "n_assets": (4, 30), "n_observations": (20, 90), "horizon": 10}


def same(left, right):
    for name in ("returns", "future", "truth", "oracle_weights", "oracle_eigenvalues"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in ("kind", "seed", "number", "oracle_intensity"):
        assert getattr(left, name) == getattr(right, name)


def test_a_problem_has_the_same_bits_for_any_number_of_workers_and_on_its_own():
    alone = list(covariance_problems(40, **SMALL))
    spread = list(covariance_problems(40, **SMALL, n_jobs=2))
    assert len(alone) == len(spread) == 40
    for left, right in zip(alone, spread, strict=True):
        same(left, right)
    same(alone[37], covariance_problem(37, **SMALL))
    same(alone[5], next(p for p in covariance_problems(6, **SMALL) if p.number == 5))


def test_problems_of_other_numbers_and_seeds_are_others():
    first, second = covariance_problems(2, **SMALL)
    assert first.returns.shape != second.returns.shape or (first.returns != second.returns).any()
    other = covariance_problem(0, **{**SMALL, "seed": 4})
    assert first.returns.shape != other.returns.shape or (first.returns != other.returns).any()


def test_sizes_stay_in_their_ranges_and_lean_to_the_small_ones():
    problems = list(covariance_problems(300, **SMALL, kinds=["block-normal"]))
    n_assets = np.array([problem.returns.shape[1] for problem in problems])
    n_rows = np.array([len(problem.returns) for problem in problems])
    assert (n_assets.min(), n_assets.max()) == (4, 30)
    assert 20 <= n_rows.min() < n_rows.max() <= 90
    assert np.median(n_assets) == pytest.approx(np.sqrt(4 * 31), abs=2)  # log-uniform
    assert all(problem.future.shape == (10, size) for problem, size in zip(problems, n_assets, strict=True))


def test_every_kind_is_drawn_and_has_a_definite_truth_and_daily_sizes():
    kinds = Counter()
    for problem in covariance_problems(250, **SMALL):
        kinds[problem.kind] += 1
        assert np.linalg.eigvalsh(problem.truth)[0] > 0
        assert 0.001 < np.sqrt(np.diag(problem.truth)).mean() < 0.3
        assert np.isfinite(problem.returns).all()
    assert set(kinds) == set(PROBLEM_KINDS)


@pytest.mark.parametrize("law", ["normal", "student", "jumps", "garch", "dcc", "regimes", "copula"])
def test_the_future_varies_as_the_truth_says(law):
    # Weighted by what the past knows: the truth itself moves with the future rows where they are news to the next.
    gaps = []
    for problem in covariance_problems(
        150, seed=1, n_assets=(5, 5), n_observations=(30, 30), kinds=[f"factor-{law}", f"block-{law}"]
    ):
        realised = problem.future.T @ problem.future / len(problem.future)
        gaps.append(np.trace(np.linalg.solve(problem.sample, realised - problem.truth)) / 5)
    error = np.std(gaps) / np.sqrt(len(gaps))
    assert np.mean(gaps) == pytest.approx(0.0, abs=4 * error)
    assert error < 0.15


def test_the_truth_is_of_the_future_rows_and_no_others():
    # States move on their own, so the truth of the very rows whitens them; that of others mixes calm and crisis.
    ratios = []
    for problem in covariance_problems(400, **SMALL, kinds=["block-regimes"]):
        realised = problem.future.T @ problem.future / len(problem.future)
        ratios.append(np.trace(np.linalg.solve(problem.truth, realised)) / len(realised))
    error = np.std(ratios) / np.sqrt(len(ratios))
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * error)
    assert error < 0.01


def test_the_oracles_of_a_problem_are_those_of_its_sample_covariance():
    problem = covariance_problem(8, **SMALL)
    sample = np.cov(problem.returns.T, bias=True)
    np.testing.assert_allclose(problem.sample, sample, atol=1e-18)
    assert problem.oracle_intensity == pytest.approx(oracle_intensity(sample, identity_target(sample), problem.truth))
    members = [sample, identity_target(sample), constant_correlation_target(sample), single_factor_target(sample)]

    def error(weights):
        mixture = sum(weight * member for weight, member in zip(weights, members, strict=True))
        return np.linalg.norm(mixture - problem.truth)

    best = error(problem.oracle_weights)
    for weights in np.random.default_rng(0).dirichlet(np.full(4, 0.3), 500):
        assert error(weights) >= best - 1e-15
    vectors = np.linalg.eigh(problem.sample)[1]
    if len(problem.returns) > problem.returns.shape[1]:
        expected = np.diag(vectors.T @ problem.truth @ vectors)
        np.testing.assert_allclose(problem.oracle_eigenvalues, expected, rtol=1e-9)


def test_problems_come_in_chunks_and_each_is_reported():
    done = []
    stream = covariance_problems(70, **SMALL, on_done=lambda: done.append(1))
    assert len(done) == 0
    next(stream)
    assert len(done) == 32
    assert len(list(stream)) == 69
    assert len(done) == 70


def test_an_unknown_kind_is_answered_with_the_nearest_known_one():
    with pytest.raises(ParameterError, match="nearest known one is 'factor-garch'"):
        covariance_problems(1, seed=0, kinds=["factor-gach"])


@pytest.mark.parametrize(
    "options",
    [
        {"n_assets": (1, 5)},
        {"n_assets": (9, 5)},
        {"n_observations": (1, 5)},
        {"horizon": 0},
        {"seed": -1},
        {"kinds": []},
    ],
)
def test_impossible_options_are_refused_before_anything_is_drawn(options):
    with pytest.raises(ParameterError):
        covariance_problems(1, **{**SMALL, **options})
    with pytest.raises(ParameterError):
        covariance_problem(0, **{**SMALL, **options})
    with pytest.raises(ParameterError):
        covariance_problems(-1, **SMALL)
    with pytest.raises(ParameterError):
        covariance_problem(-1, **SMALL)
