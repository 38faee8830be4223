r"""Losses on covariances; `loss_terms` makes them mixable by name.

Write E for the estimate, S for the truth, N for the number of assets, Y for the H returns of the horizon, and

.. math:: R = Y'Y / H, \qquad w = E^{-1} 1 / 1'E^{-1} 1

Every loss gives one value per matrix; leading axes (members, windows) broadcast. "Scale" says what a change of the
unit (returns times c, covariances times c squared) does to the value.

======================= ================================================ ========= ==================
name                    formula                                          truth     scale
======================= ================================================ ========= ==================
minimum_variance        ln w'Sw + c ln sum|w|                            S or R    + 2 ln c
long_only               ln v'Sv, v the capped long-only weights          S or R    + 2 ln c
gaussian_likelihood     (ln det E + tr E^-1 S) / N                       S or R    + 2 ln c
frobenius               ||E - S||^2                                      S or R    x c^4
frobenius_weighted      sum (a_i (E - S)_ij a_j)^2                       S or R    none, or x c^4
frobenius_normalised    ||E - S||^2 / ||S||^2                            S         none
spectral                max |eigenvalue of E - S|                        S         x c^2, or none
kl                      KL(N(0, S), N(0, E)) / N                         S > 0     none
reverse_kl              KL(N(0, E), N(0, S)) / N                         S > 0     none
symmetric_kl            (kl + reverse_kl) / 2                            S > 0     none
stein                   (tr E S^-1 - ln det E S^-1 - N) / N              S > 0     none
log_det                 ((ln det E - ln det S) / N)^2                    S > 0     none
eigenvalue_spectrum     mean_i (ln e_i - ln s_i)^2, sorted               S > 0     none (linear: x c^4)
intensity               (delta - delta*)^2                               delta*    none
intensity_likelihood    -ln N(logit delta*; logit delta, exp(log var))   delta*    none
stability               distance of successive estimates                 previous  none
turnover                half of smooth sum |w_t - w_t-1|                 previous  none
======================= ================================================ ========= ==================

Norms are Frobenius's. kl is the information lost when the estimate stands in for the truth; stein is twice
reverse_kl.

**What a horizon can stand in for.** R is an unbiased but very noisy view of S, of rank H at most. It may take the
place of S where the expected loss then keeps its minimiser ("S or R" in the table): where S enters linearly, or
through a squared difference whose weights do not depend on R [1]_ [2]_. Divided by its own norm, the noise favours
quiet horizons; its eigenvalues are far too spread, so a distance between spectra, or the largest eigenvalue of a
difference, teaches the spread; Stein's loss and the divergences need a nonsingular truth. Those losses refuse a
horizon; gaussian_likelihood is kl up to what the estimate cannot change, and accepts one. Where a truth is given, it
is used in place of the horizon by every term.

References
----------
.. [1] A. Patton (2011). Volatility forecast comparison using imperfect volatility proxies. Journal of
   Econometrics 160(1), 246-256.
.. [2] S. Laurent, J. Rombouts and F. Violante (2013). On loss functions and ranking forecasting performances of
   multivariate volatility models. Journal of Econometrics 173(1), 1-10.
.. [3] W. James and C. Stein (1961). Estimation with quadratic loss. Proceedings of the Fourth Berkeley Symposium 1,
   361-379.
.. [4] A. Kendall and Y. Gal (2017). What uncertainties do we need in Bayesian deep learning for computer vision?
   NeurIPS.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from eigenfolio.errors import DataError, ParameterError

__all__ = [
    "eigenvalue_spectrum",
    "frobenius",
    "frobenius_normalised",
    "frobenius_weighted",
    "gaussian_likelihood",
    "intensity_error",
    "intensity_likelihood",
    "kl_divergence",
    "log_det",
    "log_gross_exposure",
    "minimum_variance_portfolio",
    "oracle_intensity",
    "realised_covariance",
    "realised_log_variance",
    "reverse_kl_divergence",
    "spectral",
    "stability",
    "stein",
    "symmetric_kl_divergence",
    "turnover",
]

_SMALLEST_PIVOT = 1e-13  # of a unit-diagonal matrix: below it a truth counts as singular
_STILL = 1e-9  # of the mean squared return, added to a realised variance so that its logarithm exists


def realised_covariance(future: Tensor) -> Tensor:
    """Second moment of the horizon, R = Y'Y / H, about zero.

    Parameters
    ----------
    future : Tensor of shape (..., horizon, n_assets)
        Returns of the rows that are judged.

    Returns
    -------
    Tensor of shape (..., n_assets, n_assets)

    Examples
    --------
    >>> realised_covariance(torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    return future.mT @ future / future.shape[-2]


def minimum_variance_portfolio(estimate: Tensor) -> Tensor:
    """Unconstrained minimum-variance weights, (..., n_assets), of positive definite (..., n_assets, n_assets).

    Raises
    ------
    DataError
        If a matrix is not positive definite.

    Examples
    --------
    >>> minimum_variance_portfolio(torch.diag(torch.tensor([1.0, 4.0])))
    tensor([0.8000, 0.2000])
    """
    weights: Tensor = _MinimumVarianceWeights.apply(estimate)
    return weights


class _MinimumVarianceWeights(torch.autograd.Function):
    """Weights with the implicit gradient: one solve with the factor at hand, and no factorisation differentiated.

    With g the gradient to w and p = E^-1 g - (1'E^-1 g) w, the gradient to E is -(p w' + w p') / 2.
    """

    @staticmethod
    def forward(ctx: Any, estimate: Tensor) -> Tensor:
        factor = _factor(estimate, "estimate")
        ones = torch.ones(*estimate.shape[:-1], 1, dtype=estimate.dtype, device=estimate.device)
        raw = torch.cholesky_solve(ones, factor)[..., 0]
        weights = raw / raw.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(estimate, factor, weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        estimate, factor, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative needs them as functions of the estimate
            factor, weights = torch.linalg.cholesky(estimate), minimum_variance_portfolio(estimate)
        pulled = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        half = -0.5 * (pulled - pulled.sum(dim=-1, keepdim=True) * weights)
        return torch.stack([half, weights], dim=-1) @ torch.stack([weights, half], dim=-2)


def log_gross_exposure(weights: Tensor) -> Tensor:
    """Log of the sum of absolute weights, (...,): 0 without short sales."""
    return weights.abs().sum(dim=-1).log()


def realised_log_variance(weights: Tensor, *, future: Tensor | None = None, truth: Tensor | None = None) -> Tensor:
    """Log variance of a portfolio, over the horizon or under the truth.

    Parameters
    ----------
    weights : Tensor of shape (..., n_assets)
    future : Tensor of shape (..., horizon, n_assets)
        Returns; the variance is the mean square about zero, plus 1e-9 of the assets' mean square, so that a horizon
        on which nothing moved has a logarithm.
    truth : Tensor of shape (..., n_assets, n_assets)
        Taken instead of `future` where given.

    Returns
    -------
    Tensor of shape (...,)

    Raises
    ------
    ParameterError
        If both are missing.

    Examples
    --------
    >>> realised_log_variance(torch.tensor([0.5, 0.5]), truth=torch.eye(2)).exp()
    tensor(0.5000)
    """
    if truth is not None:
        variance = torch.einsum("...a,...ab,...b->...", weights, truth, weights)
        power = truth.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    elif future is not None:
        variance = (future @ weights[..., None])[..., 0].square().mean(dim=-1)
        power = future.square().mean(dim=(-2, -1))
    else:
        raise ParameterError("realised_log_variance needs future or truth, got neither")
    return (variance + _STILL * power + torch.finfo(variance.dtype).tiny).log()


def gaussian_likelihood(
    estimate: Tensor, *, future: Tensor | None = None, truth: Tensor | None = None, form_clamp: float | None = None
) -> Tensor:
    r"""Gaussian negative log likelihood per asset, times two and without its constant.

    .. math:: (\ln\det E + \operatorname{mean}_t Y_t' E^{-1} Y_t) / N

    Another unit (returns times c) adds 2 ln c and leaves the gradient to relative changes of E as it is.

    Parameters
    ----------
    estimate : Tensor of shape (..., n_assets, n_assets)
        Positive definite.
    future : Tensor of shape (..., horizon, n_assets)
        Returns of the horizon, mean zero.
    truth : Tensor of shape (..., n_assets, n_assets)
        Taken instead of `future` where given.
    form_clamp : float above 1, or None
        Quadratic form per asset (1 where the scale is right) from which on it counts with its logarithm,
        c (1 + ln(q / c)). A window with a crash then neither rules a batch nor, as with a hard limit, teaches the
        wrong direction: with c > 1 a larger variance still lowers the loss wherever q > c.

    Returns
    -------
    Tensor of shape (...,)

    Raises
    ------
    DataError
        If an estimate is not positive definite.
    ParameterError
        If both `future` and `truth` are missing, or `form_clamp` is not above 1.

    Examples
    --------
    >>> round(gaussian_likelihood(2.0 * torch.eye(3), truth=2.0 * torch.eye(3)).item(), 4)  # 1 + ln 2
    1.6931
    """
    if form_clamp is not None and not form_clamp > 1.0:
        raise ParameterError(f"form_clamp must be above 1, got {form_clamp!r}")
    factor = _factor(estimate, "estimate")
    if truth is not None:
        solved = torch.cholesky_solve(truth, factor)
        form = solved.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    elif future is not None:
        white = torch.linalg.solve_triangular(factor, future.mT, upper=False)  # (..., n_assets, horizon)
        form = white.square().mean(dim=(-2, -1))
    else:
        raise ParameterError("gaussian_likelihood needs future or truth, got neither")
    if form_clamp is not None:
        form = torch.where(
            form > form_clamp, form_clamp * (1.0 + (form.clamp_min(form_clamp) / form_clamp).log()), form
        )
    return 2.0 * _log_diagonal(factor).mean(dim=-1) + form


def frobenius(estimate: Tensor, truth: Tensor) -> Tensor:
    """Squared Frobenius distance, (...,); the truth may be a realised covariance.

    Examples
    --------
    >>> frobenius(torch.eye(2), torch.tensor([[1.0, 0.5], [0.5, 1.0]])).item()
    0.5
    """
    return (estimate - truth).square().sum(dim=(-2, -1))


def frobenius_weighted(estimate: Tensor, truth: Tensor, *, asset_weights: Tensor | None = None) -> Tensor:
    """Squared Frobenius distance of the matrices with row i and column i times a_i.

    Parameters
    ----------
    estimate, truth : Tensor of shape (..., n_assets, n_assets)
    asset_weights : Tensor of shape (..., n_assets) or None
        a, positive; None for one over the true volatilities, which makes the distance free of units, asset by
        asset.

    Returns
    -------
    Tensor of shape (...,)

    Examples
    --------
    >>> frobenius_weighted(torch.diag(torch.tensor([4.0, 2.0])), torch.diag(torch.tensor([4.0, 1.0]))).item()
    1.0
    """
    a = truth.diagonal(dim1=-2, dim2=-1).rsqrt() if asset_weights is None else asset_weights
    return (a[..., :, None] * (estimate - truth) * a[..., None, :]).square().sum(dim=(-2, -1))


def frobenius_normalised(estimate: Tensor, truth: Tensor, *, by: Literal["norm", "trace"] = "norm") -> Tensor:
    """Squared Frobenius distance over the squared norm, or the squared trace, of the truth, (...,).

    Examples
    --------
    >>> frobenius_normalised(2.0 * torch.eye(4), torch.eye(4)).item()
    1.0
    >>> frobenius_normalised(2.0 * torch.eye(4), torch.eye(4), by="trace").item()
    0.25
    """
    if by == "trace":
        return frobenius(estimate, truth) / truth.diagonal(dim1=-2, dim2=-1).sum(dim=-1).square()
    return frobenius(estimate, truth) / truth.square().sum(dim=(-2, -1))


def spectral(estimate: Tensor, truth: Tensor, *, relative: bool = False) -> Tensor:
    """Largest absolute eigenvalue of the difference, (...,); `relative` divides by the largest one of the truth.

    Examples
    --------
    >>> spectral(torch.diag(torch.tensor([1.0, 1.0])), torch.diag(torch.tensor([4.0, 2.0]))).item()
    3.0
    """
    largest = torch.linalg.eigvalsh(estimate - truth).abs().amax(dim=-1)
    return largest / torch.linalg.eigvalsh(truth).amax(dim=-1) if relative else largest


def kl_divergence(estimate: Tensor, truth: Tensor) -> Tensor:
    r"""Divergence of the estimate from the truth, Gaussian with mean zero, per asset.

    .. math:: KL(N(0, S), N(0, E)) / N = (\operatorname{tr} E^{-1} S - \ln\det E^{-1} S - N) / 2N

    With the factors :math:`E = AA'`, :math:`S = BB'` and :math:`M = A^{-1} B`, it is a sum of terms that are never
    negative, :math:`m_{ii}^2 - 1 - 2 \ln m_{ii}` and :math:`m_{ij}^2`, so nothing cancels near the truth.

    Parameters
    ----------
    estimate, truth : Tensor of shape (..., n_assets, n_assets)
        Positive definite.

    Returns
    -------
    Tensor of shape (...,)
        0 where they are equal.

    Raises
    ------
    DataError
        If a matrix is not positive definite; a truth that is singular to rounding counts as such.

    Examples
    --------
    >>> c = 2.0
    >>> found = kl_divergence(c * torch.eye(3).double(), torch.eye(3).double()).item()
    >>> round(found, 12) == round((1 / c - 1 + math.log(c)) / 2, 12)
    True
    """
    return _half_divergence(_factor(estimate, "estimate"), _truth_factor(truth))


def reverse_kl_divergence(estimate: Tensor, truth: Tensor) -> Tensor:
    """`kl_divergence` with the two changed over: the truth stands in for the estimate.

    Examples
    --------
    >>> E, S = 2.0 * torch.eye(3), torch.eye(3)
    >>> bool(reverse_kl_divergence(E, S) == kl_divergence(S, E))
    True
    """
    return _half_divergence(_truth_factor(truth), _factor(estimate, "estimate"))


def symmetric_kl_divergence(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean of the two divergences, half of Jeffreys', per asset, (...,).

    Examples
    --------
    >>> round(symmetric_kl_divergence(2.0 * torch.eye(3), torch.eye(3)).item(), 4)
    0.125
    """
    ours, true = _factor(estimate, "estimate"), _truth_factor(truth)
    forth = torch.linalg.solve_triangular(ours, true, upper=False)
    back = torch.linalg.solve_triangular(true, ours, upper=False)
    # tr E^-1 S + tr S^-1 E - 2N: the diagonals of the two are reciprocal, and m^2 + 1/m^2 - 2 = (m - 1/m)^2
    diagonal = (forth.diagonal(dim1=-2, dim2=-1) - back.diagonal(dim1=-2, dim2=-1)).square()
    rest = (forth.tril(-1).square() + back.tril(-1).square()).sum(dim=-1)
    return 0.25 * (diagonal + rest).mean(dim=-1)


def stein(estimate: Tensor, truth: Tensor) -> Tensor:
    """Stein's loss per asset [3]_, (tr E S^-1 - ln det E S^-1 - N) / N: twice `reverse_kl_divergence`.

    Examples
    --------
    >>> E, S = 2.0 * torch.eye(3), torch.eye(3)
    >>> bool(stein(E, S) == 2.0 * reverse_kl_divergence(E, S))
    True
    """
    return 2.0 * reverse_kl_divergence(estimate, truth)


def log_det(estimate: Tensor, truth: Tensor) -> Tensor:
    """Squared difference of the log determinants per asset, (...,): of the generalised variance alone.

    The divergence that goes by the name of LogDet is `stein`, or twice `kl_divergence`.

    Examples
    --------
    >>> bool(torch.isclose(log_det(2.0 * torch.eye(3), torch.eye(3)), torch.tensor(math.log(2.0) ** 2)))
    True
    """
    ours, true = _factor(estimate, "estimate"), _truth_factor(truth)
    return (2.0 * (_log_diagonal(ours) - _log_diagonal(true)).mean(dim=-1)).square()


def eigenvalue_spectrum(estimate: Tensor, truth: Tensor, *, scale: Literal["log", "linear"] = "log") -> Tensor:
    """Mean squared difference of the sorted eigenvalues, or of their logarithms, (...,).

    Parameters
    ----------
    estimate, truth : Tensor of shape (..., n_assets, n_assets)
        Positive definite for "log".
    scale : {"log", "linear"}
        "linear" is ruled by the largest eigenvalue.

    Raises
    ------
    DataError
        If an eigenvalue is not positive and `scale` is "log".

    Examples
    --------
    >>> E, S = torch.diag(torch.tensor([1.0, 3.0])), torch.diag(torch.tensor([3.0, 1.0]))
    >>> eigenvalue_spectrum(E, S).item()
    0.0
    """
    ours, true = torch.linalg.eigvalsh(estimate), torch.linalg.eigvalsh(truth)
    if scale == "log":
        for name, values in (("estimate", ours), ("truth", true)):
            if not bool((values > 0.0).all()):
                raise DataError(
                    f"{name} must be positive definite for a spectrum on the log scale, got the eigenvalue "
                    f"{float(values.min()):g}; use scale='linear'"
                )
        ours, true = ours.log(), true.log()
    return (ours - true).square().mean(dim=-1)


def oracle_intensity(sample: Tensor, target: Tensor, truth: Tensor) -> Tensor:
    r"""Intensity that would have been best: the exact minimiser of a quadratic.

    .. math:: \delta^* = \operatorname{argmin}_{0 \le \delta \le 1} \|(1 - \delta) C + \delta F - S\|^2
        = \operatorname{clip}\left(\frac{\langle C - S, C - F \rangle}{\|C - F\|^2}, 0, 1\right)

    Parameters
    ----------
    sample, target, truth : Tensor of shape (..., n_assets, n_assets)
        C, F and S.

    Returns
    -------
    Tensor of shape (...,)
        In [0, 1]; 0 where sample and target are equal.

    Examples
    --------
    >>> C, F = torch.diag(torch.tensor([1.0, 3.0])), 2.0 * torch.eye(2)
    >>> oracle_intensity(C, F, torch.diag(torch.tensor([1.5, 2.5]))).item()
    0.5
    """
    step = sample - target
    length = step.square().sum(dim=(-2, -1))
    along = ((sample - truth) * step).sum(dim=(-2, -1))
    return torch.where(length > 0, along / torch.where(length > 0, length, 1.0), 0.0).clamp(0.0, 1.0)


def intensity_error(intensity: Tensor, oracle: Tensor) -> Tensor:
    """Squared error of the intensity, (...,)."""
    return (intensity - oracle).square()


def intensity_likelihood(intensity: Tensor, log_variance: Tensor, oracle: Tensor, *, edge: float = 1e-3) -> Tensor:
    """Gaussian negative log likelihood of the oracle intensity on the logit scale, with a predicted variance [4]_.

    Parameters
    ----------
    intensity : Tensor of shape (...,)
        Prediction, in (0, 1).
    log_variance : Tensor of shape (...,)
        Log of the variance of the logit.
    oracle : Tensor of shape (...,)
        In [0, 1]; it often sits at an end, so it is pulled into [edge, 1 - edge].
    edge : float in (0, 0.5)

    Returns
    -------
    Tensor of shape (...,)

    Examples
    --------
    >>> half, zero = torch.tensor(0.5), torch.tensor(0.0)
    >>> bool(intensity_likelihood(half, zero, half) == 0.5 * math.log(2.0 * math.pi))
    True
    """
    predicted = torch.logit(intensity, eps=torch.finfo(intensity.dtype).eps)
    error = predicted - torch.logit(oracle, eps=edge)
    return 0.5 * (math.log(2.0 * math.pi) + log_variance + error.square() * (-log_variance).exp())


def stability(
    estimate: Tensor, previous: Tensor, *, distance: Literal["frobenius", "symmetric_kl"] = "frobenius"
) -> Tensor:
    """Distance of two successive estimates of the same assets, free of scale.

    Parameters
    ----------
    estimate, previous : Tensor of shape (..., n_assets, n_assets)
        Positive definite. Gradients flow to both; detach what shall stay.
    distance : {"frobenius", "symmetric_kl"}
        Squared norm of the difference over the product of the norms, which loud assets rule; or the symmetric
        divergence per asset, in which the unit of every single asset cancels and all directions count alike.

    Returns
    -------
    Tensor of shape (...,)
        0 where nothing changed; the same when the two change places.

    Examples
    --------
    >>> stability(2.0 * torch.eye(3), torch.eye(3)).item()
    0.5
    """
    if distance == "symmetric_kl":
        return symmetric_kl_divergence(estimate, previous)
    size = torch.linalg.matrix_norm(estimate) * torch.linalg.matrix_norm(previous)
    return frobenius(estimate, previous) / size


def turnover(weights: Tensor, previous: Tensor, *, smoothing: float = 1e-4) -> Tensor:
    r"""Half the sum of absolute trades, smooth at no trade.

    .. math:: \tfrac12 \sum_i \bigl(\sqrt{(w_i - w'_i)^2 + s^2} - s\bigr)

    The drift of the weights between two decisions is left out.

    Parameters
    ----------
    weights, previous : Tensor of shape (..., n_assets)
        Fractions of NAV at successive decisions.
    smoothing : float
        s, a fraction of NAV: trades far below it count with their square. The value is short of the exact one by
        at most s n_assets / 2.

    Returns
    -------
    Tensor of shape (...,)

    Examples
    --------
    >>> found = turnover(torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5]), smoothing=1e-8)
    >>> round(found.item(), 6)
    0.1
    """
    trades = weights - previous
    # sqrt(d^2 + s^2) - s without cancellation
    return 0.5 * (trades.square() / ((trades.square() + smoothing**2).sqrt() + smoothing)).sum(dim=-1)


def _factor(matrix: Tensor, name: str) -> Tensor:
    """Cholesky factor, or an error that names the matrix."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool((info != 0).any()):
        at = int((info != 0).flatten().nonzero()[0, 0])
        state = "positive definite" if bool(torch.isfinite(matrix).all()) else "finite"
        raise DataError(f"{name} must be positive definite, matrix {at} of {info.numel()} is not {state}")
    return factor


def _truth_factor(truth: Tensor) -> Tensor:
    """Cholesky factor of a truth that is not singular."""
    advice = "a realised covariance will not do: use gaussian_likelihood, or give the true covariance"
    try:
        factor = _factor(truth, "truth")
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None
    share = factor.diagonal(dim1=-2, dim2=-1).square() / truth.diagonal(dim1=-2, dim2=-1)
    if not bool((share > _SMALLEST_PIVOT).all()):
        raise DataError(f"truth must be nonsingular, the smallest pivot is {float(share.min()):.1e}; {advice}")
    return factor


def _log_diagonal(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log()


def _half_divergence(first: Tensor, second: Tensor) -> Tensor:
    """(|M|^2 - N - 2 sum ln m_ii) / 2N of M = first^-1 second, both lower triangular."""
    inner = torch.linalg.solve_triangular(first, second, upper=False)
    excess = inner.diagonal(dim1=-2, dim2=-1) - 1.0
    diagonal = excess.square() + 2.0 * (excess - excess.log1p())  # m^2 - 1 - 2 ln m
    return 0.5 * (diagonal + inner.tril(-1).square().sum(dim=-1)).mean(dim=-1)
