r"""Training a spectral shrinkage network on windows of many universes.

The covariance that the network's answer makes is judged by what portfolios built from it realised over the horizon:

    L = ln mean_t (w' Y_t)^2 + a ln sum |w_i|          unconstrained minimum variance
      + b ln mean_t (c' Y_t)^2                         long-only minimum variance with a cap (5 %, 10 % up to 40 assets)
      + g [ln det Sigma + Y' Sigma^-1 Y] / N           Gaussian likelihood, which alone sees the scale

Portfolio weights do not depend on the scale of Sigma, so the common log-scale is trained by the likelihood alone. In
windows of a simulated market the returns Y are the rows of a square root of the true covariance, so the variances in L
are the true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from eigenfolio.learned.spectra import (
    ASSET_FEATURES,
    CONTEXT_FEATURES,
    N_SPECTRA,
    SUMMARY_FEATURES,
    TOKEN_FEATURES,
    VOLATILITY_SHARE,
    SpectralWindow,
)
from eigenfolio.learned.spectral import FEATURE_BOUND, RIDGE
from eigenfolio.models.networks.spectral import SpectralOutput, SpectralShrinkageNetwork
from eigenfolio.training.capped_portfolio import capped_minimum_variance
from eigenfolio.training.loop import Loss
from eigenfolio.training.named_losses import NamedTerms, named_loss, needs_pairs

__all__ = [
    "LARGEST_DISTANCE",
    "Scaler",
    "SpectralBatch",
    "SpectralLoss",
    "SpectralSamples",
    "correlation_and_volatility",
    "fit_scaler",
    "log_parts",
    "network_inputs",
    "spectral_loss",
    "spectral_network",
]

FloatArray = NDArray[np.float64]
Adaptation = Callable[[Loss, list[tuple[Tensor, ...]], "list[SpectralBatch]"], Loss]

LARGEST_DISTANCE = 12.0
"""Of the likelihood's quadratic form per asset and row, before it is slowed."""

_SMALL_UNIVERSE, _SMALL_CAP, _CAP = 40, 0.10, 0.05
_FLOOR = 1e-9


class SpectralLoss(BaseModel):
    """Weights of the loss of a spectral network.

    Parameters
    ----------
    variance : float
        Of the unconstrained portfolio.
    leverage : float
        Of the log gross exposure of the unconstrained portfolio (a).
    long_only : float
        Of the capped long-only portfolio (b).
    likelihood : float
        Of the Gaussian likelihood per asset (g).
    named : mapping of str to float or mapping
        Further losses by name (`eigenfolio.training.named_losses`), each with its weight, or with a mapping of
        `weight` and the options that go with the name.
    realised_floor : float in (0, 1)
        Share of the identity in the realised covariance of a real horizon, for the named losses that need a
        nonsingular truth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variance: float = Field(default=1.0, ge=0.0)
    leverage: float = Field(default=0.1, ge=0.0)
    long_only: float = Field(default=1.0, ge=0.0)
    likelihood: float = Field(default=0.3, ge=0.0)
    named: NamedTerms = Field(default_factory=dict)
    realised_floor: float = Field(default=0.2, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _once(self) -> SpectralLoss:
        if self.long_only > 0.0 and "long_only" in self.named:
            raise ValueError("long_only is weighed twice; set it to 0 where `named` has it")
        weights = [self.variance, self.leverage, self.long_only, self.likelihood]
        if not any(weight > 0.0 for weight in [*weights, *(term.weight for term in self.named.values())]):
            raise ValueError("a loss needs a positive weight, got none")
        return self


@dataclass(frozen=True)
class SpectralBatch:
    """Windows of one universe size, padded to the same number of tokens; float32, returns in median volatilities."""

    tokens: Tensor  # (n_spectra, n, n_tokens, n_token_features)
    valid: Tensor  # (n_spectra, n, n_tokens)
    kept: Tensor  # (n_spectra, n, n_tokens): tokens with an eigenvector of their own
    null: Tensor  # (n_spectra, n): position of the null token, -1 where there is none
    assets: Tensor  # (n_spectra, n, n_assets, n_asset_features)
    context: Tensor  # (n_spectra, n, n_context)
    summary: Tensor  # (n, n_summary)
    vectors: Tensor  # (n_spectra, n, n_assets, n_tokens), over the tilt
    log_eigenvalues: Tensor  # (n_spectra, n, n_tokens)
    tilt: Tensor  # (n_spectra, n, n_assets)
    log_volatility: Tensor  # (n, n_assets)
    log_ewma_volatility: Tensor  # (n, n_assets)
    future: Tensor  # (n, horizon, n_assets)
    simulated: Tensor | None = None  # (n,): the future is a square root of the true covariance
    domain: Tensor | None = None  # (n,): 0 source and 1 target of an adaptation, -1 neither
    previous: SpectralBatch | None = None  # the same assets one horizon earlier, in units of the present

    def __len__(self) -> int:
        return len(self.summary)

    @property
    def n_assets(self) -> int:
        """Assets of each window."""
        return self.log_volatility.shape[1]

    def take(self, rows: Tensor) -> SpectralBatch:
        """Select windows by position."""
        first = ("summary", "log_volatility", "log_ewma_volatility", "future", "simulated", "domain")

        def taken(name: str, part: Any) -> Any:
            if part is None:
                return None
            if isinstance(part, SpectralBatch):
                return part.take(rows)
            return part[rows] if name in first else part[:, rows]

        return SpectralBatch(**{name: taken(name, getattr(self, name)) for name in self.__dataclass_fields__})

    def to(self, device: torch.device) -> SpectralBatch:
        """The same windows on a device."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        moved: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in parts.items()}
        return SpectralBatch(**moved)

    @classmethod
    def stack(
        cls, drawn: Sequence[tuple[SpectralWindow, FloatArray]], *, medians: FloatArray | None = None
    ) -> SpectralBatch:
        """Stack windows of one universe size and one horizon, in units of their own or the given log volatilities."""
        windows = [window for window, _ in drawn]
        n_tokens = max(len(spectrum.log_eigenvalues) for window in windows for spectrum in window.spectra)
        n_assets, n = len(windows[0].log_volatility), len(windows)
        n_features = windows[0].spectra[0].tokens.shape[1]
        tokens = np.zeros((N_SPECTRA, n, n_tokens, n_features), dtype=np.float32)
        vectors = np.zeros((N_SPECTRA, n, n_assets, n_tokens), dtype=np.float32)
        logs = np.zeros((N_SPECTRA, n, n_tokens), dtype=np.float32)
        length = np.zeros((N_SPECTRA, n), dtype=int)
        rank = np.zeros((N_SPECTRA, n), dtype=int)
        for i, window in enumerate(windows):
            for b, spectrum in enumerate(window.spectra):
                length[b, i], rank[b, i] = len(spectrum.tokens), spectrum.rank
                tokens[b, i, : length[b, i]] = spectrum.tokens
                logs[b, i, : length[b, i]] = spectrum.log_eigenvalues
                vectors[b, i, :, : rank[b, i]] = spectrum.vectors / spectrum.tilt[:, None]
        if medians is None:
            medians = np.array([np.median(window.log_volatility) for window in windows])
        at = np.arange(n_tokens)

        def floats(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values, dtype=np.float32))

        return cls(
            tokens=torch.from_numpy(tokens),
            valid=torch.from_numpy(at < length[..., None]),
            kept=torch.from_numpy(at < rank[..., None]),
            null=torch.from_numpy(np.where(length > rank, rank, -1)),
            assets=floats([[window.spectra[b].assets for window in windows] for b in range(N_SPECTRA)]),
            context=floats([[window.spectra[b].context for window in windows] for b in range(N_SPECTRA)]),
            summary=floats([window.summary for window in windows]),
            vectors=torch.from_numpy(vectors),
            tilt=floats([[window.spectra[b].tilt for window in windows] for b in range(N_SPECTRA)]),
            log_eigenvalues=torch.from_numpy(logs),
            log_volatility=floats([w.log_volatility - m for w, m in zip(windows, medians, strict=True)]),
            log_ewma_volatility=floats([w.log_ewma_volatility - m for w, m in zip(windows, medians, strict=True)]),
            future=floats([future / np.exp(m) for (_, future), m in zip(drawn, medians, strict=True)]),
        )


@dataclass(frozen=True)
class SpectralSamples:
    """Windows by universe size and horizon; a batch has one of each."""

    groups: tuple[SpectralBatch, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @classmethod
    def of(cls, drawn: Sequence[tuple[SpectralWindow, FloatArray]]) -> SpectralSamples:
        """Sort windows into groups."""
        shapes: dict[tuple[int, int], list[tuple[SpectralWindow, FloatArray]]] = {}
        for window, future in drawn:
            shapes.setdefault((len(window.log_volatility), len(future)), []).append((window, future))
        return cls(tuple(SpectralBatch.stack(shapes[shape]) for shape in sorted(shapes)))

    def to(self, device: torch.device) -> SpectralSamples:
        """The same windows on a device."""
        return SpectralSamples(tuple(group.to(device) for group in self.groups))

    def take(self, rows: Tensor) -> list[SpectralBatch]:
        """Windows of these row numbers, group by group."""
        batch, start = [], 0
        for group in self.groups:
            mine = rows[(rows >= start) & (rows < start + len(group))] - start
            if len(mine):
                batch.append(group.take(mine))
            start += len(group)
        return batch

    def batches(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """Cut an order of the rows into batches of one group each, smaller where universes are large.

        `batch_size` holds up to 75 assets; beyond, the number of assets in a batch stays the same. The batches follow
        the order of their first rows.
        """
        starts = np.cumsum([0, *(len(group) for group in self.groups)])
        numbers = order.numpy()
        member = np.searchsorted(starts, numbers, side="right") - 1
        cut = []
        for g, group in enumerate(self.groups):
            size = max(2, min(batch_size, round(75 * batch_size / group.n_assets)))
            places = np.flatnonzero(member == g)
            pieces = max(1, round(len(places) / size))
            cut += [piece for piece in np.array_split(places, pieces) if len(piece)]
        cut.sort(key=lambda piece: int(piece[0]))
        return [order[torch.from_numpy(piece)] for piece in cut]


@dataclass(frozen=True)
class Scaler:
    """Centre and scale of the inputs: token, asset and context per spectrum, and summary."""

    center: dict[str, Tensor]
    scale: dict[str, Tensor]

    def __call__(self, name: str, values: Tensor) -> Tensor:
        """Scale and clamp; `values` have the spectra first, except the summary."""
        center, scale = self.center[name], self.scale[name]
        while name != "summary" and center.ndim < values.ndim:
            center, scale = center.unsqueeze(1), scale.unsqueeze(1)
        return ((values - center) / scale).clamp(-FEATURE_BOUND, FEATURE_BOUND)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Arrays for the bundle."""
        arrays = {f"{name}_center": tensor.cpu().numpy() for name, tensor in self.center.items()}
        return arrays | {f"{name}_scale": tensor.cpu().numpy() for name, tensor in self.scale.items()}


def spectral_network(
    *, n_units: int, dropout: float, activation: str = "gelu", depth: int = 1, kept: Mapping[str, Any] | None = None
) -> SpectralShrinkageNetwork:
    """A network of the widths that `eigenfolio.learned.spectra` fills, not initialised."""
    return SpectralShrinkageNetwork(
        len(TOKEN_FEATURES),
        len(ASSET_FEATURES),
        len(CONTEXT_FEATURES),
        len(SUMMARY_FEATURES),
        n_spectra=N_SPECTRA,
        n_units=n_units,
        dropout=dropout,
        activation=activation,
        depth=depth,
        kept=kept,
    )


def fit_scaler(samples: SpectralSamples) -> Scaler:
    """Mean and standard deviation of every input over the samples."""
    center, scale = {}, {}
    for name in ("token", "asset", "context", "summary"):
        parts = []
        for group in samples.groups:
            if name == "summary":
                parts.append(group.summary.double()[None])
            elif name == "context":
                parts.append(group.context.double())
            else:
                values = group.tokens if name == "token" else group.assets
                mask = group.valid if name == "token" else torch.ones(values.shape[:-1], dtype=torch.bool)
                rows = [values[b][mask[b]][:: max(1, group.n_assets // 20)].double() for b in range(N_SPECTRA)]
                fewest = min(len(row) for row in rows)
                parts.append(torch.stack([row[:fewest] for row in rows]))
        values = torch.cat(parts, dim=1)  # (n_spectra or 1, n, n_features)
        mean, spread = values.mean(dim=1), values.std(dim=1) + 1e-3
        center[name], scale[name] = (part.float()[0] if name == "summary" else part.float() for part in (mean, spread))
    return Scaler(center, scale)


def network_inputs(scaler: Scaler, group: SpectralBatch) -> tuple[Tensor, ...]:
    """What a network is given of windows, in the order of its arguments."""
    return (
        scaler("token", group.tokens),
        scaler("asset", group.assets),
        scaler("context", group.context),
        group.valid,
        scaler("summary", group.summary),
    )


def correlation_and_volatility(batch: SpectralBatch, output: SpectralOutput) -> tuple[Tensor, Tensor]:
    """PyTorch twin of `eigenfolio.learned.spectral.combine`, with leading axes of members.

    Returns
    -------
    correlation : Tensor of shape (..., n, n_assets, n_assets)
    log_volatility : Tensor of shape (..., n, n_assets)
        Without the common log-scale.
    """
    logs = batch.log_eigenvalues + output.eigenvalue_change  # (..., n_spectra, n, n_tokens)
    values = torch.exp(logs)
    smallest = torch.where(batch.kept, values, torch.inf).amin(dim=-1)
    place = batch.null.clamp(min=0).expand(values.shape[:-1]).unsqueeze(-1)
    null = torch.minimum(values.gather(-1, place)[..., 0], smallest)
    null = torch.where(batch.null >= 0, null, 0.0)  # (..., n_spectra, n)
    excess = torch.where(batch.kept, values - null.unsqueeze(-1), 0.0)
    shares = output.shares.transpose(-1, -2)  # (..., n_spectra, n)
    base = ((shares * null).unsqueeze(-1) / batch.tilt**2).sum(dim=-3) + RIDGE  # (..., n, n_assets)
    correlation = torch.diag_embed(base.double())
    for b in range(N_SPECTRA):
        weighted = batch.vectors[b] * (shares[..., b, :, None] * excess[..., b, :, :]).unsqueeze(-2)
        correlation = correlation + (weighted @ batch.vectors[b].transpose(-1, -2)).double()
    lead = batch.log_ewma_volatility - batch.log_volatility
    return correlation, (batch.log_volatility + VOLATILITY_SHARE * lead + output.volatility_change).double()


def log_parts(
    correlation: Tensor, log_volatility: Tensor, log_scale: Tensor, batch: SpectralBatch, *, long_only: bool
) -> dict[str, Tensor]:
    """Parts of the loss, each of shape (..., n)."""
    volatility = log_volatility.exp()
    covariance = volatility.unsqueeze(-1) * correlation * volatility.unsqueeze(-2)
    factor = torch.linalg.cholesky(covariance)
    ones = torch.ones(*covariance.shape[:-1], 1, dtype=covariance.dtype, device=covariance.device)
    raw = torch.cholesky_solve(ones, factor)[..., 0]
    weights = raw / raw.sum(dim=-1, keepdim=True)
    future = batch.future.double()  # (n, horizon, n_assets)
    parts = {
        "variance": _log_variance(weights, future),
        "leverage": torch.log(weights.abs().sum(dim=-1)),
    }
    if long_only:
        cap = _SMALL_CAP if batch.n_assets <= _SMALL_UNIVERSE else _CAP
        cap = max(cap, 1.5 / batch.n_assets)
        parts["long_only"] = _log_variance(capped_minimum_variance(covariance, cap=cap), future)
    n_assets = batch.n_assets
    white = torch.linalg.solve_triangular(
        factor, future.transpose(-1, -2).expand(*factor.shape[:-2], -1, -1), upper=False
    )
    distance = white.square().sum(dim=-2).mean(dim=-1) / n_assets * torch.exp(-2.0 * log_scale)
    log_det = 2.0 * torch.diagonal(factor, dim1=-2, dim2=-1).log().mean(dim=-1) + 2.0 * log_scale
    known = 2.0 * batch.log_volatility.double().mean(dim=-1)
    parts["likelihood"] = log_det - known + _slowed(distance)
    return parts


def _slowed(distance: Tensor) -> Tensor:
    """Growing as its logarithm beyond the largest ordinary distance, with no step in value or slope.

    A window in which the market jumped would otherwise outweigh thousands; a cut would give it no gradient at all, and
    weights that are far too small everywhere would look good.
    """
    beyond = distance.clamp(min=LARGEST_DISTANCE)
    return distance.clamp(max=LARGEST_DISTANCE) + LARGEST_DISTANCE * torch.log(beyond / LARGEST_DISTANCE)


def _log_variance(weights: Tensor, future: Tensor) -> Tensor:
    path = torch.einsum("nta,...na->...nt", future, weights)
    return torch.log(path.square().mean(dim=-1) + _FLOOR)


def spectral_loss(
    scaler: Scaler, options: SpectralLoss, *, adapt: Adaptation | None = None
) -> Callable[[Callable[..., Any], Any], Loss]:
    """Loss of spectral networks on batches of windows.

    Parameters
    ----------
    scaler : Scaler
        Of the inputs.
    options : SpectralLoss
    adapt : callable, optional
        Called with the loss, what the networks say beyond a `SpectralOutput` of every part of the batch, and the
        batch; gives the loss to be minimised (`eigenfolio.training.domain_adaptation`).

    Returns
    -------
    callable
        ``loss(call, batch)`` for `eigenfolio.training.fit`.
    """
    weights = {
        "variance": options.variance,
        "leverage": options.leverage,
        "long_only": options.long_only,
        "likelihood": options.likelihood,
    }

    def answer(call: Callable[..., Any], group: SpectralBatch) -> tuple[SpectralOutput, tuple[Tensor, ...]]:
        said = call(*network_inputs(scaler, group))
        return SpectralOutput(*said[:4]), tuple(said[4:])

    def estimate(group: SpectralBatch, output: SpectralOutput) -> Tensor:
        return _covariance(*correlation_and_volatility(group, output), output.log_scale.double())

    successive = needs_pairs(options.named)

    def loss(call: Callable[..., Any], batch: list[SpectralBatch]) -> Loss:
        found: dict[str, list[Tensor]] = {}
        named: list[Loss] = []
        heads: list[tuple[Tensor, ...]] = []
        for group in batch:
            output, more = answer(call, group)
            heads.append(more)
            correlation, logs = correlation_and_volatility(group, output)
            parts = log_parts(correlation, logs, output.log_scale.double(), group, long_only=options.long_only > 0.0)
            for name, value in parts.items():
                found.setdefault(name, []).append(value)
            if options.named:
                before = group.previous if successive else None
                named.append(
                    named_loss(
                        options.named,
                        group,
                        estimate=_covariance(correlation, logs, output.log_scale.double()),
                        previous=None if before is None else estimate(before, answer(call, before)[0]),
                        eigenvalue_change=output.eigenvalue_change,
                        log_variance=more[1].double() if more else None,
                        floor=options.realised_floor,
                    )
                )
        parts = {name: torch.cat(values, dim=-1) for name, values in found.items()}
        total = sum((weights[name] * value for name, value in parts.items()), torch.zeros(()).double())
        if named:
            total = total + torch.cat([part.total for part in named], dim=-1)
            parts |= {name: torch.cat([part.parts[name] for part in named], dim=-1) for name in named[0].parts}
        return Loss(total, parts) if adapt is None else adapt(Loss(total, parts), heads, batch)

    return loss


def _covariance(correlation: Tensor, log_volatility: Tensor, log_scale: Tensor) -> Tensor:
    volatility = (log_volatility + log_scale.unsqueeze(-1)).exp()
    return volatility.unsqueeze(-1) * correlation * volatility.unsqueeze(-2)
