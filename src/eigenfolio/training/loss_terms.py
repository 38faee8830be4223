"""Losses of `covariance_losses` by name, each with a weight and its options, and their weighted sum.

A term names the inputs without which it has no value. Where a truth is given, it is used in place of the horizon by
every term; losses that a horizon would teach the wrong thing refuse it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from eigenfolio.errors import ParameterError
from eigenfolio.training.capped_portfolio import capped_minimum_variance
from eigenfolio.training.covariance_losses import (
    eigenvalue_spectrum,
    frobenius,
    frobenius_normalised,
    frobenius_weighted,
    gaussian_likelihood,
    intensity_error,
    intensity_likelihood,
    kl_divergence,
    log_det,
    log_gross_exposure,
    minimum_variance_portfolio,
    realised_covariance,
    realised_log_variance,
    reverse_kl_divergence,
    spectral,
    stability,
    stein,
    symmetric_kl_divergence,
    turnover,
)
from eigenfolio.training.loop import Loss

__all__ = [
    "EigenvalueSpectrum",
    "Frobenius",
    "FrobeniusNormalised",
    "FrobeniusWeighted",
    "GaussianLikelihood",
    "Intensity",
    "IntensityLikelihood",
    "KullbackLeibler",
    "LogDet",
    "LongOnly",
    "LossInputs",
    "LossOptions",
    "LossRule",
    "LossTerm",
    "MinimumVariance",
    "ReverseKullbackLeibler",
    "Spectral",
    "Stability",
    "Stein",
    "SymmetricKullbackLeibler",
    "Turnover",
    "combined_loss",
]


@dataclass(frozen=True)
class LossInputs:
    """What losses may look at; the leading axes broadcast.

    Attributes
    ----------
    estimate : Tensor of shape (..., n_assets, n_assets)
        Positive definite.
    future : Tensor of shape (..., horizon, n_assets)
        Returns of the rows the estimate is judged on.
    truth : Tensor of shape (..., n_assets, n_assets)
        True covariance, where it is known.
    previous : Tensor of shape (..., n_assets, n_assets)
        Estimate of the decision before, for the same assets.
    asset_weights : Tensor of shape (..., n_assets)
        For frobenius_weighted.
    intensity, log_variance, oracle_intensity : Tensor of shape (...,)
        Predicted intensity, log variance of its logit, and the intensity that would have been best.
    """

    estimate: Tensor
    future: Tensor | None = None
    truth: Tensor | None = None
    previous: Tensor | None = None
    asset_weights: Tensor | None = None
    intensity: Tensor | None = None
    log_variance: Tensor | None = None
    oracle_intensity: Tensor | None = None

    def given(self) -> set[str]:
        """Names of what is there."""
        return {field.name for field in fields(self) if getattr(self, field.name) is not None}

    def require(self, name: str) -> Tensor:
        """One of them.

        Raises
        ------
        ParameterError
            If it is missing.
        """
        value = getattr(self, name)
        if value is None:
            raise ParameterError(f"a loss needs {name}, got {', '.join(sorted(self.given()))}")
        return value

    def second_moment(self) -> Tensor:
        """The truth, or the realised covariance of the horizon in its place."""
        return realised_covariance(self.require("future")) if self.truth is None else self.truth


_TRUTH = (("truth",),)
_TRUTH_OR_FUTURE = (("truth", "future"),)


def _zero_or_one(slack: float) -> float:
    if 0.0 < slack < 1.0:
        raise ValueError(f"slack must be 0 or at least 1, got {slack:g}")
    return slack


class LossTerm(BaseModel, ABC):
    """One loss of a mix.

    Parameters
    ----------
    name : str
    weight : float
        Factor in the total; with 0 the part is reported and teaches nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Inputs without which it has no value: one of each group."""
        return _TRUTH

    @abstractmethod
    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value per matrix, and the parts that are reported, by name."""

    def _only(self, value: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A value that is its own only part."""
        return value, {self.name: value}

    def check(self, available: Collection[str]) -> None:
        """Raise unless the inputs it needs are available.

        Raises
        ------
        ParameterError
            With the name of the loss and of the input.
        """
        for group in self.needs:
            if not set(group) & set(available):
                stand_in = (
                    "; the realised covariance of a horizon cannot stand in for it, see eigenfolio.training."
                    "covariance_losses"
                    if group == ("truth",) and "future" in available
                    else ""
                )
                got = ", ".join(sorted(available)) or "nothing"
                raise ParameterError(f"the loss {self.name!r} needs {' or '.join(group)}, got {got}{stand_in}")


class MinimumVariance(LossTerm):
    """Log realised variance of the unconstrained minimum-variance portfolio.

    Parameters
    ----------
    leverage : float
        Weight of the log gross exposure, which is reported as the part "leverage".
    """

    name: Literal["minimum_variance"] = "minimum_variance"
    leverage: float = Field(default=0.1, ge=0.0, allow_inf_nan=False)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """A truth or a horizon."""
        return _TRUTH_OR_FUTURE

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        weights = minimum_variance_portfolio(inputs.estimate)
        variance = realised_log_variance(weights, future=inputs.future, truth=inputs.truth)
        gross = log_gross_exposure(weights)
        return variance + self.leverage * gross, {self.name: variance, "leverage": gross}


class LongOnly(LossTerm):
    """Log realised variance of the long-only minimum-variance portfolio with a cap.

    Parameters
    ----------
    cap : float in (0, 1]
        Largest weight of one asset.
    slack : float, 0 or at least 1
        The cap is never below `slack` / n_assets, so that a small universe keeps a choice; 0 leaves it alone.
    """

    name: Literal["long_only"] = "long_only"
    cap: float = Field(default=0.05, gt=0.0, le=1.0)
    slack: float = Field(default=2.0, ge=0.0, allow_inf_nan=False)

    _slack = field_validator("slack")(_zero_or_one)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """A truth or a horizon."""
        return _TRUTH_OR_FUTURE

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        weights = _book(inputs.estimate, self.cap, self.slack)
        return self._only(realised_log_variance(weights, future=inputs.future, truth=inputs.truth))


class GaussianLikelihood(LossTerm):
    """See `gaussian_likelihood`.

    Parameters
    ----------
    form_clamp : float above 1, or None
        Quadratic form per asset from which on it counts with its logarithm.
    """

    name: Literal["gaussian_likelihood"] = "gaussian_likelihood"
    form_clamp: float | None = Field(default=12.0, gt=1.0)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """A truth or a horizon."""
        return _TRUTH_OR_FUTURE

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(
            gaussian_likelihood(inputs.estimate, future=inputs.future, truth=inputs.truth, form_clamp=self.form_clamp)
        )


class Frobenius(LossTerm):
    """See `frobenius`."""

    name: Literal["frobenius"] = "frobenius"

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """A truth or a horizon."""
        return _TRUTH_OR_FUTURE

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(frobenius(inputs.estimate, inputs.second_moment()))


class FrobeniusWeighted(LossTerm):
    """See `frobenius_weighted`.

    Parameters
    ----------
    asset_weights : {"inverse_volatility", "given"}
        One over the volatilities of the truth, which a horizon cannot give; or the input `asset_weights`.
    """

    name: Literal["frobenius_weighted"] = "frobenius_weighted"
    asset_weights: Literal["inverse_volatility", "given"] = "inverse_volatility"

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """A truth; or given weights and a truth or a horizon."""
        return (("asset_weights",), *_TRUTH_OR_FUTURE) if self.asset_weights == "given" else _TRUTH

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        given = inputs.require("asset_weights") if self.asset_weights == "given" else None
        return self._only(frobenius_weighted(inputs.estimate, inputs.second_moment(), asset_weights=given))


class FrobeniusNormalised(LossTerm):
    """See `frobenius_normalised`.

    Parameters
    ----------
    by : {"norm", "trace"}
        What of the truth divides.
    """

    name: Literal["frobenius_normalised"] = "frobenius_normalised"
    by: Literal["norm", "trace"] = "norm"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(frobenius_normalised(inputs.estimate, inputs.require("truth"), by=self.by))


class Spectral(LossTerm):
    """See `spectral`.

    Parameters
    ----------
    relative : bool
        Divide by the largest eigenvalue of the truth.
    """

    name: Literal["spectral"] = "spectral"
    relative: bool = False

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(spectral(inputs.estimate, inputs.require("truth"), relative=self.relative))


class KullbackLeibler(LossTerm):
    """See `kl_divergence`."""

    name: Literal["kl"] = "kl"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(kl_divergence(inputs.estimate, inputs.require("truth")))


class ReverseKullbackLeibler(LossTerm):
    """See `reverse_kl_divergence`."""

    name: Literal["reverse_kl"] = "reverse_kl"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(reverse_kl_divergence(inputs.estimate, inputs.require("truth")))


class SymmetricKullbackLeibler(LossTerm):
    """See `symmetric_kl_divergence`."""

    name: Literal["symmetric_kl"] = "symmetric_kl"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(symmetric_kl_divergence(inputs.estimate, inputs.require("truth")))


class Stein(LossTerm):
    """See `stein`."""

    name: Literal["stein"] = "stein"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(stein(inputs.estimate, inputs.require("truth")))


class LogDet(LossTerm):
    """See `log_det`."""

    name: Literal["log_det"] = "log_det"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(log_det(inputs.estimate, inputs.require("truth")))


class EigenvalueSpectrum(LossTerm):
    """See `eigenvalue_spectrum`.

    Parameters
    ----------
    scale : {"log", "linear"}
        Of the eigenvalues.
    """

    name: Literal["eigenvalue_spectrum"] = "eigenvalue_spectrum"
    scale: Literal["log", "linear"] = "log"

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(eigenvalue_spectrum(inputs.estimate, inputs.require("truth"), scale=self.scale))


class Intensity(LossTerm):
    """See `intensity_error` and `oracle_intensity`."""

    name: Literal["intensity"] = "intensity"

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Predicted and best intensity."""
        return (("intensity",), ("oracle_intensity",))

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(intensity_error(inputs.require("intensity"), inputs.require("oracle_intensity")))


class IntensityLikelihood(LossTerm):
    """See `intensity_likelihood`.

    Parameters
    ----------
    edge : float in (0, 0.5)
        The best intensity is pulled into [edge, 1 - edge].
    """

    name: Literal["intensity_likelihood"] = "intensity_likelihood"
    edge: float = Field(default=1e-3, gt=0.0, lt=0.5)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Predicted intensity with its variance, and the best intensity."""
        return (("intensity",), ("log_variance",), ("oracle_intensity",))

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        predicted, oracle = inputs.require("intensity"), inputs.require("oracle_intensity")
        return self._only(intensity_likelihood(predicted, inputs.require("log_variance"), oracle, edge=self.edge))


class Stability(LossTerm):
    """See `stability`.

    Parameters
    ----------
    distance : {"frobenius", "symmetric_kl"}
        How far apart two estimates are.
    """

    name: Literal["stability"] = "stability"
    distance: Literal["frobenius", "symmetric_kl"] = "frobenius"

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """The estimate before."""
        return (("previous",),)

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        return self._only(stability(inputs.estimate, inputs.require("previous"), distance=self.distance))


class Turnover(LossTerm):
    """Turnover between the minimum-variance portfolios of two successive estimates, see `turnover`.

    Parameters
    ----------
    cap : float in (0, 1] or None
        Largest weight of one asset in a long-only book; None for the unconstrained one.
    slack : float, 0 or at least 1
        The cap is never below `slack` / n_assets.
    smoothing : float
        Fraction of NAV below which a trade counts with its square.
    """

    name: Literal["turnover"] = "turnover"
    cap: float | None = Field(default=None, gt=0.0, le=1.0)
    slack: float = Field(default=2.0, ge=0.0, allow_inf_nan=False)
    smoothing: float = Field(default=1e-4, gt=0.0, allow_inf_nan=False)

    _slack = field_validator("slack")(_zero_or_one)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """The estimate before."""
        return (("previous",),)

    def value(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Value and parts."""
        now, before = (
            minimum_variance_portfolio(matrix) if self.cap is None else _book(matrix, self.cap, self.slack)
            for matrix in (inputs.estimate, inputs.require("previous"))
        )
        return self._only(turnover(now, before, smoothing=self.smoothing))


LossRule = Annotated[
    MinimumVariance
    | LongOnly
    | GaussianLikelihood
    | Frobenius
    | FrobeniusWeighted
    | FrobeniusNormalised
    | Spectral
    | KullbackLeibler
    | ReverseKullbackLeibler
    | SymmetricKullbackLeibler
    | Stein
    | LogDet
    | EigenvalueSpectrum
    | Intensity
    | IntensityLikelihood
    | Stability
    | Turnover,
    Field(discriminator="name"),
]


class LossOptions(BaseModel):
    """A weighted mix of losses.

    Parameters
    ----------
    terms : sequence of mapping
        Each with a `name`, a `weight` and the options that go with the name; every name at most once.

    Examples
    --------
    >>> mix = LossOptions(terms=[
    ...     {"name": "intensity", "weight": 0.5},
    ...     {"name": "frobenius_normalised", "weight": 0.3},
    ...     {"name": "eigenvalue_spectrum", "weight": 0.2},
    ... ])
    >>> [term.weight for term in mix.terms]
    [0.5, 0.3, 0.2]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[LossRule, ...] = (MinimumVariance(),)

    @model_validator(mode="after")
    def _mix(self) -> LossOptions:
        names = [term.name for term in self.terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"every loss may be named once, got {', '.join(twice)} more often; add up the weights")
        if not any(term.weight > 0.0 for term in self.terms):
            raise ValueError(f"a mix needs a loss with a positive weight, got {names or 'no terms'}")
        return self


def combined_loss(options: LossOptions, *, available: Collection[str] | None = None) -> Callable[..., Loss]:
    """Weighted sum of losses as one function.

    Parameters
    ----------
    options : LossOptions
    available : collection of str or None
        Names of the inputs that batches will carry (fields of `LossInputs`; the estimate is always there). Given
        here, a loss that lacks its input is an error now, before training; it is checked at every call as well.

    Returns
    -------
    callable
        ``loss(estimate, *, future=None, truth=None, previous=None, asset_weights=None, intensity=None,
        log_variance=None, oracle_intensity=None)`` gives a `Loss` with the total, one value per matrix, and the
        parts, each before its weight, by name.

    Raises
    ------
    ParameterError
        If a loss lacks its input, or `available` names what no loss knows.

    Examples
    --------
    >>> mix = LossOptions(terms=[{"name": "minimum_variance"}, {"name": "stein", "weight": 0.5}])
    >>> loss = combined_loss(mix, available={"truth"})
    >>> found = loss(torch.eye(4), truth=torch.eye(4))
    >>> round(found.total.item(), 4), sorted(found.parts)
    (-1.3863, ['leverage', 'minimum_variance', 'stein'])
    >>> combined_loss(mix, available={"future"})
    Traceback (most recent call last):
    eigenfolio.errors.ParameterError: the loss 'stein' needs truth, got future; the realised covariance of a horizon
    cannot stand in for it, see eigenfolio.training.covariance_losses
    """
    if available is not None:
        known = [field.name for field in fields(LossInputs)]
        foreign = sorted(set(available) - set(known))
        if foreign:
            raise ParameterError(f"available must name inputs of losses ({', '.join(known)}), got {', '.join(foreign)}")
        for term in options.terms:
            term.check(available)

    def loss(estimate: Tensor, **inputs: Tensor | None) -> Loss:
        given = LossInputs(estimate, **inputs)
        total = torch.zeros((), dtype=estimate.dtype, device=estimate.device)
        parts: dict[str, Tensor] = {}
        for term in options.terms:
            term.check(given.given() - {"estimate"})
            value, reported = term.value(given)
            total = total + term.weight * value
            parts |= reported
        return Loss(total, parts)

    return loss


def _book(estimate: Tensor, cap: float, slack: float) -> Tensor:
    """Long-only weights with a cap that leaves a small universe a choice."""
    return capped_minimum_variance(estimate, cap=min(1.0, max(cap, slack / estimate.shape[-1])))
