"""Capped long-only weights: those of the exact solver, with the gradient of finite differences."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models import minimum_variance_weights
from eigenfolio.training import capped_portfolio
from eigenfolio.training.capped_portfolio import capped_minimum_variance, solve_stack


def factor_market(n_assets, rng):
    loadings = rng.standard_normal((n_assets, 3)) * [1.0, 0.5, 0.5] + [1.0, 0.0, 0.0]
    return loadings @ loadings.T + np.diag(rng.uniform(0.3, 2.0, n_assets) ** 2)


def short_history(n_assets, rng):
    X = rng.standard_normal((max(n_assets // 2, 2), n_assets))
    return X.T @ X / len(X) + 1e-2 * np.eye(n_assets)


def twins(n_assets, rng):
    half = np.kron(factor_market((n_assets + 1) // 2, rng), np.ones((2, 2)))[:n_assets, :n_assets]
    return half + np.diag(rng.uniform(1e-4, 2e-4, n_assets))


def foreign(n_assets, rng):
    scale = np.ones(n_assets)
    scale[:2] = -1.0, 1e-3  # an inverse fund and one that hardly moves
    return factor_market(n_assets, rng) * np.outer(scale, scale)


def random_spectrum(n_assets, rng):
    basis = np.linalg.qr(rng.standard_normal((n_assets, n_assets)))[0]
    return basis * np.geomspace(1e-3, 1.0, n_assets) @ basis.T


def units(n_assets, rng):
    scale = 10 ** rng.uniform(-2, 2, n_assets)
    return factor_market(n_assets, rng) * np.outer(scale, scale)


MARKETS = [factor_market, short_history, twins, foreign, random_spectrum, units]


def stack_of(make, n_assets, *, n=8, seed=0):
    rng = np.random.default_rng(seed)
    matrices = np.array([make(n_assets, rng) for _ in range(n)])
    return (matrices + matrices.transpose(0, 2, 1)) / 2


@pytest.mark.parametrize("make", MARKETS)
@pytest.mark.parametrize("n_assets", [2, 7, 40])
def test_weights_are_those_of_the_exact_solver(make, n_assets):
    matrices = stack_of(make, n_assets)
    for cap in (1.3 / n_assets, 2.0 / n_assets, 0.6, 1.0):
        if n_assets * cap < 1:
            continue
        found = capped_minimum_variance(torch.tensor(matrices), cap=cap).numpy()
        exact = [minimum_variance_weights(matrix, Constraints(max_weight=cap)) for matrix in matrices]
        assert_allclose(found, exact, atol=1e-10)


def test_the_fast_solver_settles_stock_like_matrices_by_itself():
    matrices = stack_of(factor_market, 60, n=30)
    weights, status = np.empty((30, 60)), np.empty((30, 60), dtype=np.int8)
    settled = capped_portfolio._settle(matrices, 0.05, weights, status)
    assert settled.mean() > 0.9
    assert_allclose(weights[settled], solve_stack(matrices, 0.05)[0][settled], atol=0)


def test_where_the_fast_solver_does_not_settle_the_exact_one_answers(monkeypatch):
    matrices = stack_of(factor_market, 12)
    weights, status = solve_stack(matrices, 0.2)
    monkeypatch.setattr(capped_portfolio, "_settle", lambda matrices, *_: np.zeros(len(matrices), dtype=bool))
    slow_weights, slow_status = solve_stack(matrices, 0.2)
    assert_allclose(slow_weights, weights, atol=1e-12)
    assert (slow_status == status).all()
    rounded = matrices * (1.0 + 1e-7 * np.random.default_rng(0).standard_normal(matrices.shape))
    assert_allclose(solve_stack(rounded, 0.2)[0], weights, atol=1e-4)


def test_the_three_sets_are_those_worked_by_hand():
    weights, status = solve_stack(np.diag([1.0, 2.0, 50.0])[None], 0.6)  # 0.4 shared as 1/2 to 1/50
    assert_allclose(weights[0], [0.6, 0.4 * 25 / 26, 0.4 / 26])
    assert status.tolist() == [[1, 0, 0]]


def test_the_conditions_of_optimality_hold():
    matrices = stack_of(random_spectrum, 30)
    weights, status = solve_stack(matrices, 0.1)
    marginal = np.einsum("nab,nb->na", matrices, weights)
    assert_allclose(weights.sum(axis=1), 1.0)
    for row, sets in zip(marginal, status, strict=True):
        level = row[sets == 0]
        assert_allclose(level, level[0], rtol=1e-9)
        assert (row[sets == -1] >= level[0] * (1 - 1e-9)).all()
        assert (row[sets == 1] <= level[0] * (1 + 1e-9)).all()


def symmetric(root):
    return root @ root.mT + 0.3 * torch.eye(root.shape[-1], dtype=root.dtype)


@pytest.mark.parametrize("cap", [0.3, 0.5, 1.0])
def test_the_gradient_and_its_gradient_equal_finite_differences(cap):
    root = torch.randn(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: capped_minimum_variance(symmetric(x), cap=cap), (root,))
    assert torch.autograd.gradgradcheck(lambda x: capped_minimum_variance(symmetric(x), cap=cap), (root,), atol=1e-4)


def test_the_gradient_is_that_of_the_masked_equations():
    """The slow twin: the whole matrix with unit rows for the bound assets, differentiated step by step."""
    covariance = torch.tensor(stack_of(factor_market, 25, n=5)).requires_grad_()
    upstream = torch.randn(5, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    status = torch.tensor(solve_stack(covariance.detach().numpy(), 0.1)[1])
    assert (status == 1).any()
    free = (status == 0).double()
    fixed = 0.1 * (status == 1).double()
    masked = covariance * free[:, :, None] * free[:, None, :] + torch.diag_embed(1.0 - free)
    pull = (covariance @ fixed[:, :, None])[:, :, 0] * free
    solved = torch.cholesky_solve(torch.stack([free, pull], dim=2), torch.linalg.cholesky(masked))
    ones, drawn = solved.unbind(2)
    level = (1.0 - fixed.sum(1) + drawn.sum(1)) / ones.sum(1)
    twin = level[:, None] * ones - drawn + fixed
    fast = capped_minimum_variance(covariance, cap=0.1)
    torch.testing.assert_close(fast, twin, atol=1e-12, rtol=0)
    expected = torch.autograd.grad((twin * upstream).sum(), covariance)[0]
    found = torch.autograd.grad((fast * upstream).sum(), covariance)[0]
    torch.testing.assert_close(found, (expected + expected.mT) / 2, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("matrix", "cap", "expected"),
    [
        ([[1.0, 0.2], [0.2, 4.0]], 0.5, [0.5, 0.5]),  # the cap leaves no choice
        ([[1.0, 0.2], [0.2, 0.1]], 1.0, [0.0, 1.0]),  # the first has the larger marginal variance throughout
        ([[1.0, 0.0], [0.0, 4.0]], 0.6, [0.6, 0.4]),  # one at the cap, the other takes the rest
        ([[2.0]], 1.0, [1.0]),
    ],
)
def test_with_no_or_one_free_asset_weights_are_defined_and_their_gradient_is_zero(matrix, cap, expected):
    covariance = torch.tensor([matrix], dtype=torch.float64, requires_grad=True)
    weights = capped_minimum_variance(covariance, cap=cap)
    weights[0, 0].backward()
    assert weights.tolist() == [pytest.approx(expected)]
    assert (covariance.grad == 0).all()


def test_matrices_with_different_numbers_of_free_assets_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    matrices = np.array([np.eye(12), factor_market(12, rng), foreign(12, rng)])
    upstream = torch.tensor(rng.standard_normal((3, 12)))

    def both(stack, gradient):
        leaf = torch.tensor(stack, requires_grad=True)
        weights = capped_minimum_variance(leaf, cap=0.4)
        (weights * gradient).sum().backward()
        return weights.detach(), leaf.grad

    together = both(matrices, upstream)
    for i in range(3):
        alone = both(matrices[i : i + 1], upstream[i : i + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_[i], atol=1e-14, rtol=1e-12)


def test_scale_leaves_the_weights_and_order_carries_over():
    matrix = torch.tensor(stack_of(factor_market, 15, n=1)[0])
    weights = capped_minimum_variance(matrix, cap=0.2)
    torch.testing.assert_close(capped_minimum_variance(1e-8 * matrix, cap=0.2), weights)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(capped_minimum_variance(matrix[order][:, order], cap=0.2), weights[order])


def test_shape_and_precision_follow_the_input():
    matrices = torch.tensor(stack_of(factor_market, 10, n=6)).reshape(2, 3, 10, 10)
    weights = capped_minimum_variance(matrices, cap=0.3)
    single = matrices.float().requires_grad_()
    found = capped_minimum_variance(single, cap=0.3)
    found.square().sum().backward()
    assert weights.shape == (2, 3, 10)
    assert found.dtype == single.grad.dtype == torch.float32
    torch.testing.assert_close(found.double(), weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("cap", "message"), [(0.09, "at least 0.1"), (0.0, r"in \(0, 1\]"), (1.5, r"in \(0, 1\]")])
def test_a_cap_that_cannot_be_met_is_one_line(cap, message):
    with pytest.raises(ParameterError, match=message):
        capped_minimum_variance(torch.eye(10), cap=cap)


def test_matrices_that_have_no_answer_are_refused():
    with pytest.raises(DataError, match="not positive definite"):
        capped_minimum_variance(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), cap=1.0)
    with pytest.raises(DataError, match="missing or infinite"):
        capped_minimum_variance(torch.full((2, 2), torch.nan), cap=1.0)
    with pytest.raises(DataError, match="square"):
        capped_minimum_variance(torch.ones(2, 3), cap=1.0)
