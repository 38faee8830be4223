r"""Long-only minimum-variance weights with a cap, as a function that gradients flow through.

.. math:: w(\Sigma) = \operatorname{argmin}_w \; w' \Sigma w \quad \text{subject to} \quad 1'w = 1, \; 0 \le w \le c

The assets fall into three sets: at zero, at the cap (U), and free between the two (F). Given the sets the answer is
linear algebra,

.. math:: w_U = c, \qquad w_F = \mu K^{-1} 1 - K^{-1} \Sigma_{FU} w_U, \qquad K = \Sigma_{FF}

with the level :math:`\mu` that makes the weights sum to one. The sets are found on the values alone, in float64, by
exchanging every violator of a bound or of a multiplier's sign at once [1]_, first on the one-factor approximation
of the matrix, where an exchange costs O(N), then on the matrix itself. Where that does not settle, the slower exact
solver `minimum_variance_weights` answers.

The sets do not change under a small change of a matrix without ties, so the gradient is that of the equations above
[2]_. With g the gradient of a loss to the weights,

.. math:: p_F = K^{-1} (g_F - \eta 1), \qquad \eta = \frac{1' K^{-1} g_F}{1' K^{-1} 1}, \qquad
    \frac{\partial L}{\partial \Sigma} = - \tfrac12 (p w' + w p')

and p is zero elsewhere. With no or one free asset the weights do not move, and the gradient is exactly zero. At a
tie (a weight at a bound whose multiplier is zero) it is the derivative on one side.

References
----------
.. [1] J. J. Judice and F. M. Pires (1994). A block principal pivoting algorithm for large-scale strictly
   monotone linear complementarity problems. Computers and Operations Research 21(5), 587-596.
.. [2] B. Amos and J. Z. Kolter (2017). OptNet: differentiable optimization as a layer in neural networks. ICML.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.models.minimum_variance import minimum_variance_weights

__all__ = ["capped_minimum_variance", "solve_stack"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int8]

_LOWER, _FREE, _UPPER = -1, 0, 1
_PATIENCE = 8  # exchanges without fewer violators before the exact solver takes over
_FACTOR_STEPS = 30  # exchanges on the one-factor approximation, which only gives a start
_FACTOR_FLOOR = 0.05  # least share of an asset's variance that the one factor leaves to itself


def capped_minimum_variance(covariance: Tensor, *, cap: float) -> Tensor:
    """Long-only minimum-variance weights with an upper bound, differentiable in the covariance.

    Parameters
    ----------
    covariance : Tensor of shape (..., n_assets, n_assets)
        Symmetric positive definite, squared return per period, any scale. Solved in float64 whatever its dtype.
    cap : float in (0, 1]
        Largest weight of one asset, a fraction of NAV; at least 1 / n_assets. 1 is no cap.

    Returns
    -------
    Tensor of shape (..., n_assets)
        Weights in [0, cap] that sum to one, of the dtype and on the device of `covariance`. Their gradient to the
        covariance is symmetric and can be differentiated again.

    Raises
    ------
    ParameterError
        If `cap` leaves (0, 1] or is too tight for the number of assets.
    DataError
        If a matrix is not square, not finite, or not positive definite on the assets that would be held.

    Examples
    --------
    >>> covariance = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    >>> capped_minimum_variance(covariance, cap=1.0)
    tensor([0.8000, 0.2000], dtype=torch.float64)
    >>> capped_minimum_variance(covariance, cap=0.6)
    tensor([0.6000, 0.4000], dtype=torch.float64)
    """
    if covariance.ndim < 2 or covariance.shape[-1] != covariance.shape[-2] or covariance.shape[-1] == 0:
        raise DataError(f"covariance must be square in its last two axes, got shape {tuple(covariance.shape)}")
    n_assets = covariance.shape[-1]
    if isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 < cap <= 1:
        raise ParameterError(f"cap must be a fraction of NAV in (0, 1], got {cap!r}")
    if n_assets * cap < 1 - 1e-12:
        raise ParameterError(
            f"cap={cap:g} lets {n_assets} assets hold only {100 * n_assets * cap:g}% of NAV; "
            f"it must be at least {1 / n_assets:.4g}"
        )
    flat = covariance.reshape(-1, n_assets, n_assets)
    weights: Tensor = _CappedWeights.apply(flat, float(cap))
    return weights.reshape(covariance.shape[:-1])


class _CappedWeights(torch.autograd.Function):
    """Weights of a stack of matrices (n, n_assets, n_assets), with the implicit gradient."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, cap: float) -> Tensor:
        matrices = covariance.detach().to("cpu", torch.float64).contiguous().numpy()
        weights, status = solve_stack(matrices, cap)
        members, valid = _pack(status == _FREE)
        answer = torch.from_numpy(weights).to(covariance.device)
        ctx.save_for_backward(
            covariance, answer, torch.from_numpy(members).to(answer.device), torch.from_numpy(valid).to(answer.device)
        )
        ctx.cap = cap
        return answer.to(covariance.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        covariance, weights, members, valid = ctx.saved_tensors
        pull = _adjoint(covariance.double(), gradient.double(), members, valid)
        if torch.is_grad_enabled():  # a second derivative needs the weights as a function of the covariance
            weights = _CappedWeights.apply(covariance, ctx.cap).double()
        left, right = torch.stack([-0.5 * pull, weights], dim=2), torch.stack([weights, -0.5 * pull], dim=1)
        return torch.bmm(left, right).to(covariance.dtype), None


def _pack(free: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row numbers of the free assets (n, n_most), and which of them are real; short rows repeat their last ones."""
    n_most = max(int(free.sum(axis=1).max(initial=0)), 1)
    members = np.argsort(~free, axis=1, kind="stable")[:, :n_most]
    return members, np.take_along_axis(free, members, axis=1)


def _adjoint(covariance: Tensor, gradient: Tensor, members: Tensor, valid: Tensor) -> Tensor:
    """p of the module's formula, (n, n_assets): one Cholesky factorisation of the free blocks, padded to one size."""
    n_most = members.shape[1]
    inner = covariance.gather(1, members[:, :, None].expand(-1, -1, covariance.shape[-1]))
    inner = inner.gather(2, members[:, None, :].expand(-1, n_most, -1))  # (n, n_most, n_most)
    real = valid.double()
    scale = torch.where(valid, inner.diagonal(dim1=1, dim2=2), 1.0).rsqrt()  # a unit diagonal, and ones as padding
    pair = (scale * real)[:, :, None] * (scale * real)[:, None, :]
    factor = torch.linalg.cholesky(inner * pair + torch.diag_embed(1.0 - real))
    pull = gradient.gather(1, members) * real
    right = torch.stack([real, pull], dim=2) * scale[:, :, None]
    solved = torch.cholesky_solve(right, factor) * scale[:, :, None]  # (n, n_most, 2): K^-1 1 and K^-1 g
    ones, pulled = solved.unbind(2)
    total = ones.sum(dim=1, keepdim=True)
    level = pulled.sum(dim=1, keepdim=True) / torch.where(total > 0, total, 1.0)
    found = torch.where(valid.sum(dim=1, keepdim=True) > 1, pulled - level * ones, 0.0)
    return torch.zeros_like(gradient).scatter_add(1, members, found * real)


def solve_stack(matrices: FloatArray, cap: float) -> tuple[FloatArray, IntArray]:
    """Weights of every matrix, and the set of every asset: -1 at zero, 0 free, 1 at the cap.

    Parameters
    ----------
    matrices : ndarray of shape (n, n_assets, n_assets)
        Symmetric positive definite.
    cap : float in [1 / n_assets, 1]
        Largest weight.

    Returns
    -------
    weights : ndarray of shape (n, n_assets)
    status : ndarray of int8 of shape (n, n_assets)

    Raises
    ------
    DataError
        If a matrix is not finite, or not positive definite on the assets that would be held.

    Examples
    --------
    >>> weights, status = solve_stack(np.diag([1.0, 2.0, 50.0])[None], 0.6)
    >>> weights.round(3).tolist(), status.tolist()
    ([[0.6, 0.385, 0.015]], [[1, 0, 0]])
    """
    n_matrices, n_assets, _ = matrices.shape
    if not np.isfinite(matrices).all():
        raise DataError(f"covariance has {int((~np.isfinite(matrices)).sum())} missing or infinite entries")
    if n_assets * cap <= 1.0 + 1e-12:
        return np.full((n_matrices, n_assets), 1.0 / n_assets), np.full((n_matrices, n_assets), _UPPER, dtype=np.int8)
    weights, status = np.empty((n_matrices, n_assets)), np.empty((n_matrices, n_assets), dtype=np.int8)
    settled = _settle(np.ascontiguousarray(matrices), cap, weights, status)
    for at in np.flatnonzero(~settled):
        mean = (matrices[at] + matrices[at].T) / 2.0  # it refuses the asymmetry that rounding in float32 leaves
        weights[at] = minimum_variance_weights(mean, Constraints(max_weight=cap))
        status[at] = np.where(weights[at] <= 0.0, _LOWER, np.where(weights[at] >= cap, _UPPER, _FREE))
    return weights, status


@njit(cache=True, error_model="numpy")
def _settle(matrices: FloatArray, cap: float, weights: FloatArray, status: IntArray) -> NDArray[np.bool_]:
    """Solve one matrix after the other in place; True where the optimality conditions hold."""
    settled = np.zeros(len(matrices), dtype=np.bool_)
    for at in range(len(matrices)):
        settled[at] = _exchange(matrices[at], cap, weights[at], status[at])
    return settled


@njit(cache=True, error_model="numpy")
def _exchange(matrix: FloatArray, cap: float, weights: FloatArray, status: IntArray) -> bool:
    """Exchange every violator at once until there is none. False where that does not settle."""
    n_assets = len(matrix)
    volatility = np.empty(n_assets)
    for i in range(n_assets):
        if not matrix[i, i] > 0.0:
            return False
        volatility[i] = np.sqrt(matrix[i, i])
    _factor_start(matrix, cap, weights, status)
    fewest, patience = n_assets + 1, _PATIENCE
    marginal = np.empty(n_assets)
    while True:
        n_upper, n_free = _trim(cap, weights, status)
        level = _equality_solution(matrix, cap, weights, status, n_upper, n_free)
        if not np.isfinite(level):
            return False
        gross = 0.0
        marginal[:] = 0.0
        for j in range(n_assets):
            if weights[j] != 0.0:
                gross += abs(weights[j]) * volatility[j]
                for i in range(n_assets):
                    marginal[i] += matrix[j, i] * weights[j]
        slack = 4.0 * n_assets * 2.220446049250313e-16 * gross
        n_violators = 0
        for i in range(n_assets):
            now, rounding = status[i], slack * volatility[i]
            if now == _FREE:
                if weights[i] < 0.0:
                    status[i] = _LOWER
                elif weights[i] > cap:
                    status[i] = _UPPER
            elif now == _LOWER:
                if marginal[i] < level - rounding:
                    status[i] = _FREE
            elif marginal[i] > level + rounding:
                status[i] = _FREE
            n_violators += status[i] != now
        if n_violators == 0:
            return True
        if n_violators < fewest:
            fewest, patience = n_violators, _PATIENCE
        else:
            patience -= 1
            if patience == 0:
                return False


@njit(cache=True, error_model="numpy")
def _trim(cap: float, weights: FloatArray, status: IntArray) -> tuple[int, int]:
    """Free the smallest of the assets at the cap until they leave something to the others; count both sets."""
    n_upper, n_free = 0, 0
    for now in status:
        n_upper += now == _UPPER
        n_free += now == _FREE
    while n_upper > 0 and (n_upper * cap >= 1.0 or n_free == 0):
        smallest = -1
        for i in range(len(status)):
            if status[i] == _UPPER and (smallest < 0 or weights[i] < weights[smallest]):
                smallest = i
        status[smallest] = _FREE
        n_upper -= 1
        n_free += 1
    return n_upper, n_free


@njit(cache=True, error_model="numpy")
def _equality_solution(
    matrix: FloatArray, cap: float, weights: FloatArray, status: IntArray, n_upper: int, n_free: int
) -> float:
    """Write the best weights of these sets; the marginal variance of the free assets, NaN if there is none."""
    free = np.empty(n_free, dtype=np.int64)
    k = 0
    for i in range(len(status)):
        weights[i] = cap if status[i] == _UPPER else 0.0
        if status[i] == _FREE:
            free[k] = i
            k += 1
    if n_free == 0:
        return np.nan
    factor = np.empty((n_free, n_free))
    pull = np.zeros(n_free)
    for a in range(n_free):
        row = matrix[free[a]]
        for b in range(a + 1):
            factor[a, b] = row[free[b]]
        if n_upper > 0:
            for j in range(len(status)):
                if status[j] == _UPPER:
                    pull[a] += cap * row[j]
    if not _factorise(factor):
        return np.nan
    ones = np.ones(n_free)
    _solve(factor, ones)
    rest = 1.0 - cap * n_upper
    if n_upper > 0:
        _solve(factor, pull)
    level = (rest + pull.sum()) / ones.sum()
    for a in range(n_free):
        weights[free[a]] = level * ones[a] - pull[a]
    return level


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _factorise(matrix: FloatArray) -> bool:
    """Cholesky factor in place of the lower triangle; False where a pivot is rounding noise."""
    for i in range(len(matrix)):
        row = matrix[i]
        size = row[i]
        for j in range(i):
            other = matrix[j]
            total = row[j]
            for k in range(j):
                total -= row[k] * other[k]
            row[j] = total / other[j]
        pivot = size
        for k in range(i):
            pivot -= row[k] * row[k]
        if not pivot > 1e-14 * size:
            return False
        row[i] = np.sqrt(pivot)
    return True


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _solve(factor: FloatArray, vector: FloatArray) -> None:
    """Solve factor @ factor.T @ x = vector in place."""
    n = len(vector)
    for i in range(n):
        row, total = factor[i], vector[i]
        for k in range(i):
            total -= row[k] * vector[k]
        vector[i] = total / row[i]
    for i in range(n - 1, -1, -1):
        row = factor[i]
        value = vector[i] / row[i]
        vector[i] = value
        for k in range(i):
            vector[k] -= row[k] * value


@njit(cache=True, error_model="numpy")
def _factor_start(matrix: FloatArray, cap: float, weights: FloatArray, status: IntArray) -> None:
    """Sets of the one-factor approximation: the market of equal weights, and what it leaves to each asset.

    With beta to that market of variance v and residual variances s, the free weights are
    (level - v m beta_i) / s_i, where m = sum of beta_i w_i; level and m solve two linear equations.
    """
    n_assets = len(matrix)
    beta = np.zeros(n_assets)
    for j in range(n_assets):
        for i in range(n_assets):
            beta[i] += matrix[j, i]
    variance = beta.sum() / (n_assets * n_assets)
    for i in range(n_assets):
        status[i] = _FREE
        beta[i] = beta[i] / (n_assets * variance) if variance > 0.0 else 0.0
    variance = max(variance, 0.0)
    precision = np.empty(n_assets)
    for i in range(n_assets):
        own = matrix[i, i] - beta[i] * beta[i] * variance
        precision[i] = 1.0 / max(own, _FACTOR_FLOOR * matrix[i, i])
    for _ in range(_FACTOR_STEPS):
        n_upper, _ = _trim(cap, weights, status)
        held = 0.0  # beta of the assets at the cap
        flat, first, second = 0.0, 0.0, 0.0  # sums of 1, beta, beta^2 over s of the free ones
        for i in range(n_assets):
            if status[i] == _UPPER:
                held += cap * beta[i]
            elif status[i] == _FREE:
                flat += precision[i]
                first += beta[i] * precision[i]
                second += beta[i] * beta[i] * precision[i]
        # level flat - v m first = rest,  level first - v m second = m - held
        rest = 1.0 - cap * n_upper
        scale = flat * (1.0 + variance * second) - variance * first * first
        market = variance * (rest * first + held * flat) / scale  # v m
        level = (rest + market * first) / flat
        changed = False
        for i in range(n_assets):
            weight = (level - market * beta[i]) * precision[i]
            goal = _UPPER if weight > cap else (_LOWER if weight < 0.0 else _FREE)
            changed |= goal != status[i]
            status[i], weights[i] = goal, weight
        if not changed:
            break
