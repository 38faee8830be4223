r"""Losses of a spectral network by name: `eigenfolio.training.covariance_losses` as a choice of the training.

A mapping of names to weights adds losses to those of `eigenfolio.training.spectral.SpectralLoss`:

    named: {frobenius_normalised: 0.3, stein: 0.5, turnover: {weight: 0.1, cap: 0.05}}

The estimate E is the finished covariance with its common scale, in units of the window's median volatility. In the
place of the truth S stands

    simulated windows   the true covariance, whose square root is their future
    real windows        R = Y'Y / H, the realised covariance of the horizon, of rank H at most
    real windows        (1 - f) R + f (tr R / N) I for the losses that need a nonsingular truth: kl, reverse_kl,
                        symmetric_kl, stein, log_det, eigenvalue_spectrum, and frobenius_weighted, which divides by
                        true volatilities

f is `realised_floor`; frobenius_weighted with given weights takes one over the sample volatilities and no floor.
R is noisy, and f moves the minimiser toward the identity: on real windows the losses of the
last line, and spectral and frobenius_normalised, teach something else than they do where the truth is known (see
`eigenfolio.training.covariance_losses`). frobenius, minimum_variance, long_only and gaussian_likelihood keep their
minimiser in expectation.

The intensity of a network is that of its steady spectrum, the shrinkage toward the identity that comes closest,

    delta = sum m_k (l_k - 1) (l_k - d_k / mean d) / sum m_k (l_k - 1)^2

with l the sample eigenvalues, d the network's and m their multiplicities; the best one has the true variances along the
sample's eigenvectors in the place of d, which minimises || (1 - delta) C + delta I - S || over delta, cut to [0, 1].
The variance of its logit for `intensity_likelihood` comes from a layer that training adds and the bundle leaves out:
windows whose best intensity is unpredictable then count less.

stability and turnover compare the estimate with the one of a decision `pairs` rows earlier, see
`eigenfolio.training.mixture.WindowSource`; a window without an earlier one counts as one that did not change.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, get_args

import torch
from pydantic import BeforeValidator
from torch import Tensor

from eigenfolio.errors import ParameterError
from eigenfolio.training.covariance_losses import realised_covariance
from eigenfolio.training.loop import Loss
from eigenfolio.training.loss_terms import LossInputs, LossRule, LossTerm

if TYPE_CHECKING:
    from eigenfolio.training.spectral import SpectralBatch

__all__ = [
    "FLOORED",
    "NAMES",
    "NamedTerms",
    "best_intensity",
    "floored_covariance",
    "named_loss",
    "needs_pairs",
    "predicted_intensity",
    "terms_by_name",
]

NAMES: tuple[str, ...] = tuple(rule.model_fields["name"].default for rule in get_args(get_args(LossRule)[0]))
"""Every loss that has a name."""

FLOORED = frozenset(
    {"kl", "reverse_kl", "symmetric_kl", "stein", "log_det", "eigenvalue_spectrum", "frobenius_weighted"}
)
"""Losses that see the realised covariance of a real window with a floor."""

_STILL = 1e-9  # of a squared median volatility, so that a horizon on which nothing moved can divide
_TOKEN_OFFSET = 1e-4  # of the log eigenvalues in the tokens, see `eigenfolio.learned.spectra`


def terms_by_name(value: Any) -> Any:
    """Spell out a mapping of names to weights.

    Parameters
    ----------
    value : mapping of str to float, mapping or LossTerm
        A weight, or a mapping of `weight` and options, by name.

    Returns
    -------
    dict of str to mapping or LossTerm
        What `LossRule` reads.

    Raises
    ------
    ValueError
        If a name is unknown; the message has the nearest one.

    Examples
    --------
    >>> terms_by_name({"stein": 0.5, "turnover": {"weight": 0.1, "cap": 0.05}})
    {'stein': {'name': 'stein', 'weight': 0.5}, 'turnover': {'name': 'turnover', 'weight': 0.1, 'cap': 0.05}}
    >>> terms_by_name({"stien": 0.5})
    Traceback (most recent call last):
    ValueError: there is no loss 'stien'; did you mean 'stein'?
    """
    if not isinstance(value, Mapping):
        return value
    return {name: _spelled(str(name), given) for name, given in value.items()}


def _spelled(name: str, given: Any) -> Any:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
        raise ValueError(f"there is no loss {name!r}; {hint}")
    if isinstance(given, LossTerm):
        given = given.model_dump()
    if not isinstance(given, Mapping):
        return {"name": name, "weight": given}
    if given.get("name", name) != name:
        raise ValueError(f"the loss under {name!r} must be {name!r}, got {given['name']!r}")
    return {"name": name, **given}


NamedTerms = Annotated[dict[str, LossRule], BeforeValidator(terms_by_name)]
"""Losses by name, read from weights or mappings."""


def needs_pairs(terms: Mapping[str, LossTerm]) -> bool:
    """Whether a loss compares successive estimates, so that windows must be drawn in pairs."""
    return any(("previous",) in term.needs for term in terms.values())


def floored_covariance(realised: Tensor, floor: float) -> Tensor:
    """Realised covariance with a share of the identity, its trace kept.

    Parameters
    ----------
    realised : Tensor of shape (..., n_assets, n_assets)
        Positive semidefinite.
    floor : float in [0, 1]
        Share of the identity.

    Returns
    -------
    Tensor of shape (..., n_assets, n_assets)
        Eigenvalues are at least `floor` times their mean.

    Examples
    --------
    >>> floored_covariance(torch.tensor([[2.0, 2.0], [2.0, 2.0]]), 0.5).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    mean = realised.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
    eye = torch.eye(realised.shape[-1], dtype=realised.dtype, device=realised.device)
    return (1.0 - floor) * realised + floor * mean * eye


def predicted_intensity(batch: SpectralBatch, eigenvalue_change: Tensor) -> Tensor:
    """Intensity toward the identity that lies closest to what a network makes of the steady spectrum.

    Parameters
    ----------
    batch : SpectralBatch
        n windows.
    eigenvalue_change : Tensor of shape (..., n_spectra, n, n_tokens)
        Of the log eigenvalues.

    Returns
    -------
    Tensor of shape (..., n)
        Not cut to [0, 1], so that it has a gradient everywhere.
    """
    values = torch.exp((batch.log_eigenvalues + eigenvalue_change)[..., 0, :, :].double())
    lowest = torch.where(batch.kept[0], values, torch.inf).amin(dim=-1, keepdim=True)
    return _closest_intensity(batch, torch.where(batch.kept[0], values, torch.minimum(values, lowest)))


def best_intensity(batch: SpectralBatch) -> Tensor:
    """Intensity toward the identity that would have been best for the steady spectrum, see the module.

    Parameters
    ----------
    batch : SpectralBatch
        n windows; their futures are the judge.

    Returns
    -------
    Tensor of shape (n,)
        In [0, 1].
    """
    tilt, future = batch.tilt[0].double(), batch.future.double()
    scaled = future * (tilt * torch.exp(-batch.log_volatility.double()))[:, None, :]  # (n, horizon, n_assets)
    along = scaled @ (batch.vectors[0].double() * tilt[..., None])
    variances = along.square().mean(dim=1)  # (n, n_tokens), 0 where a token has no vector
    rest = scaled.square().mean(dim=1).sum(dim=-1) - variances.sum(dim=-1)
    each = rest / (batch.n_assets - batch.kept[0].sum(dim=-1)).clamp(min=1)
    values = torch.where(batch.kept[0], variances, each.clamp(min=0.0)[:, None])
    return _closest_intensity(batch, values).clamp(0.0, 1.0)


def _closest_intensity(batch: SpectralBatch, values: Tensor) -> Tensor:
    """delta of the module's formula, for eigenvalues d of shape (..., n, n_tokens)."""
    sample = torch.exp(batch.tokens[0, ..., 0].double()) - _TOKEN_OFFSET
    missing = batch.n_assets - batch.kept[0].sum(dim=-1)
    null = batch.valid[0] & ~batch.kept[0]
    times = batch.kept[0].double() + null * missing[:, None]
    away = times * (sample - 1.0)
    level = (times * values).sum(dim=-1, keepdim=True) / batch.n_assets + _STILL
    whole = (away * (sample - 1.0)).sum(dim=-1)
    found = (away * (sample - values / level)).sum(dim=-1) / whole.clamp(min=1e-12)
    return torch.where(whole > 1e-12, found, torch.ones_like(found))


def named_loss(
    terms: Mapping[str, LossTerm],
    batch: SpectralBatch,
    *,
    estimate: Tensor,
    previous: Tensor | None,
    eigenvalue_change: Tensor,
    log_variance: Tensor | None,
    floor: float,
) -> Loss:
    """Weighted sum of the named losses on windows of one size, and the parts before their weights.

    Parameters
    ----------
    terms : mapping of str to LossTerm
    batch : SpectralBatch
        n windows. Without `simulated` all count as real.
    estimate : Tensor of shape (..., n, n_assets, n_assets)
        Positive definite, in squared median volatilities.
    previous : Tensor of the same shape, or None
        Estimates of the decisions before, where the windows have one.
    eigenvalue_change : Tensor of shape (..., n_spectra, n, n_tokens)
        What the network says of the spectra.
    log_variance : Tensor of shape (..., n) or None
        Of the logit of the intensity.
    floor : float in (0, 1)
        See `floored_covariance`.

    Returns
    -------
    Loss
        Total and parts of shape (..., n).

    Raises
    ------
    ParameterError
        If the likelihood of the intensity is asked for and no variance is given.
    """
    inputs = LossInputs(estimate, truth=_truth(batch), asset_weights=torch.exp(-batch.log_volatility.double()))
    floored = replace(inputs, truth=_truth(batch, floor))
    total = torch.zeros(estimate.shape[:-2], dtype=estimate.dtype, device=estimate.device)
    parts: dict[str, Tensor] = {}
    for name, term in terms.items():
        if ("previous",) in term.needs:
            same = torch.zeros_like(total)
            found = replace(inputs, previous=previous)
            value, told = (same, {name: same}) if previous is None else term.value(found)
        elif ("intensity",) in term.needs:
            value, told = term.value(_with_intensity(inputs, batch, eigenvalue_change, log_variance, name))
        else:
            value, told = term.value(floored if name in FLOORED and ("truth",) in term.needs else inputs)
        total = total + term.weight * value
        parts |= told
    return Loss(total, parts)


def _truth(batch: SpectralBatch, floor: float | None = None) -> Tensor:
    """True or realised covariance; with a floor for windows that are not simulated."""
    realised = realised_covariance(batch.future.double())
    realised = realised + _STILL * torch.eye(batch.n_assets, dtype=realised.dtype, device=realised.device)
    if floor is None:
        return realised
    known = torch.zeros(len(batch), dtype=torch.bool) if batch.simulated is None else batch.simulated
    return torch.where(known[:, None, None], realised, floored_covariance(realised, floor))


def _with_intensity(
    inputs: LossInputs, batch: SpectralBatch, change: Tensor, log_variance: Tensor | None, name: str
) -> LossInputs:
    if log_variance is None and name == "intensity_likelihood":
        raise ParameterError(
            "intensity_likelihood needs a network with a variance of the intensity, got one without; wrap it by "
            "eigenfolio.training.spectral_heads"
        )
    predicted, best = predicted_intensity(batch, change), best_intensity(batch)
    return replace(inputs, intensity=predicted, log_variance=log_variance, oracle_intensity=best)
