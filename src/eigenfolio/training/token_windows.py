"""Windows of many universes as the attention and the dense network are trained on them.

A `TokenBatch` holds windows of one universe size and one horizon; returns are in units of the window's median
volatility. Windows of a simulated market know the truth: the intensity and the target weights that would have been best
(`eigenfolio.data.synthetic.oracle_target_weights`, exact) and the condition number of the true correlation. Windows of
a real one know the regime at the end of the horizon. What is not known is marked and takes no part in a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenfolio.data.synthetic import oracle_target_weights
from eigenfolio.features import REGIMES
from eigenfolio.learned.dense import ALL_TARGETS
from eigenfolio.learned.tokens import TokenWindow, describe_tokens
from eigenfolio.models.window import Window
from eigenfolio.training.mixture import DrawnWindow

__all__ = ["TokenBatch", "TokenSamples", "TokenScaler", "describe_for_training", "fit_token_scaler", "oracle_answer"]

FloatArray = NDArray[np.float64]

_CLAMP = 4.0
_ROOM = 75  # assets for which a piece has its full size
_PIECES = 8


@dataclass(frozen=True)
class TokenBatch:
    """Windows of one universe size and horizon, stacked; float32 but for the logits."""

    eigen: Tensor  # (n, n_assets, n_eigen_features)
    valid: Tensor  # (n, n_assets), True
    context: Tensor  # (n, n_context)
    features: Tensor  # (n, n_features)
    classical_logit: Tensor  # (n,)
    regime: Tensor  # (n, 4), one at the regime of the window
    values: Tensor  # (n, n_assets)
    vectors: Tensor  # (n, n_assets, n_assets)
    loading: Tensor  # (n, n_assets)
    mean_correlation: Tensor  # (n,)
    log_volatility: Tensor  # (n, n_assets)
    log_ewma_volatility: Tensor  # (n, n_assets)
    future: Tensor  # (n, horizon, n_assets)
    simulated: Tensor  # (n,), bool: the next three are known
    oracle_intensity: Tensor  # (n,)
    oracle_weights: Tensor  # (n, n_targets)
    log_condition: Tensor  # (n,)
    next_regime: Tensor  # (n,), position in REGIMES, -1 where unknown

    def __len__(self) -> int:
        return len(self.context)

    @property
    def n_assets(self) -> int:
        """Assets of each window."""
        return self.log_volatility.shape[1]

    def take(self, rows: Tensor) -> TokenBatch:
        """Select windows by position."""
        return TokenBatch(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def stack(cls, drawn: Sequence[DrawnWindow], targets: Sequence[str]) -> TokenBatch:
        """Stack windows of one universe size and horizon."""
        windows: list[Any] = [one.window for one in drawn]
        bases = [window.base for window in windows]
        medians = np.array([np.median(base.volatility) for base in bases])
        known = [oracle_answer(one, targets) for one in drawn]
        codes = [-1 if one.next_regime is None else REGIMES.index(one.next_regime) for one in drawn]

        def floats(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values, dtype=np.float32))

        return cls(
            eigen=floats([window.eigen for window in windows]),
            valid=torch.ones(len(windows), len(windows[0].eigenvalues), dtype=torch.bool),
            context=floats([window.context for window in windows]),
            features=floats([window.features for window in windows]),
            classical_logit=torch.tensor([base.classical_logit for base in bases], dtype=torch.float64),
            regime=floats([[name == window.regime for name in REGIMES] for window in windows]),
            values=floats([window.eigenvalues for window in windows]),
            vectors=floats([window.vectors for window in windows]),
            loading=floats([base.loading for base in bases]),
            mean_correlation=floats([base.mean_correlation for base in bases]),
            log_volatility=floats([np.log(b.volatility / c) for b, c in zip(bases, medians, strict=True)]),
            log_ewma_volatility=floats([np.log(b.ewma_volatility / c) for b, c in zip(bases, medians, strict=True)]),
            future=floats([one.future / c for one, c in zip(drawn, medians, strict=True)]),
            simulated=torch.tensor([answer is not None for answer in known]),
            oracle_intensity=floats([0.0 if answer is None else answer[0] for answer in known]),
            oracle_weights=floats([np.zeros(len(targets)) if answer is None else answer[1] for answer in known]),
            log_condition=floats([0.0 if answer is None else answer[2] for answer in known]),
            next_regime=torch.tensor(codes),
        )


@dataclass(frozen=True)
class TokenSamples:
    """Windows by universe size and horizon; a batch has one of each."""

    groups: tuple[TokenBatch, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @classmethod
    def of(cls, drawn: Sequence[DrawnWindow], targets: Sequence[str] = ALL_TARGETS) -> TokenSamples:
        """Sort windows into groups."""
        shapes: dict[tuple[int, ...], list[DrawnWindow]] = {}
        for one in drawn:
            shapes.setdefault(one.future.shape[::-1], []).append(one)
        return cls(tuple(TokenBatch.stack(shapes[shape], targets) for shape in sorted(shapes)))

    def take(self, rows: Tensor) -> list[TokenBatch]:
        """Windows of these row numbers, group by group."""
        batch, start = [], 0
        for group in self.groups:
            mine = rows[(rows >= start) & (rows < start + len(group))] - start
            if len(mine):
                batch.append(group.take(mine))
            start += len(group)
        return batch

    def batches(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """Cut an order of the rows into batches of several universe sizes.

        Every group is cut into pieces of an eighth of a batch, smaller beyond 75 assets; the pieces, in the order of
        their first rows, are joined by eights. So a batch holds several sizes and every size is computed at once.
        """
        starts = np.cumsum([0, *(len(group) for group in self.groups)])
        member = np.searchsorted(starts, order.numpy(), side="right") - 1
        pieces = []
        for g, group in enumerate(self.groups):
            size = max(2, round(batch_size / _PIECES * min(1.0, _ROOM / group.n_assets)))
            places = np.flatnonzero(member == g)
            pieces += [piece for piece in np.array_split(places, max(1, round(len(places) / size))) if len(piece)]
        pieces.sort(key=lambda piece: int(piece[0]))
        joined = [np.concatenate(pieces[i : i + _PIECES]) for i in range(0, len(pieces), _PIECES)]
        return [order[torch.from_numpy(places)] for places in joined]


@dataclass(frozen=True)
class TokenScaler:
    """Centre and scale of every input, by kind: eigen, context and features."""

    center: dict[str, Tensor]
    scale: dict[str, Tensor]

    def __call__(self, kind: str, values: Tensor) -> Tensor:
        """Scale, and clamp to +-4, as the NumPy pass does."""
        return ((values - self.center[kind]) / self.scale[kind]).clamp(-_CLAMP, _CLAMP)


def fit_token_scaler(samples: TokenSamples) -> TokenScaler:
    """Median and inter-quartile range, in units of a normal distribution's deviation, of every input."""
    center, scale = {}, {}
    for kind in ("eigen", "context", "features"):
        rows = [getattr(group, kind).flatten(0, -2) for group in samples.groups]
        every = torch.cat([part[:: max(1, len(part) // 20_000)] for part in rows]).double().numpy()
        low, middle, high = np.quantile(every, [0.25, 0.5, 0.75], axis=0)
        spread = np.maximum((high - low) / 1.349, 0.1 * every.std(axis=0)) + 1e-3  # a flag is constant in between
        center[kind], scale[kind] = torch.from_numpy(middle).float(), torch.from_numpy(spread).float()
    return TokenScaler(center, scale)


def describe_for_training(start: str) -> partial[TokenWindow]:
    """What makes a window for training out of a completed one, for `draw_mixture`."""
    return partial(_light, start=start)


def _light(window: Window, *, start: str) -> TokenWindow:
    """Eigenvectors in single precision; the correlation is what they and the eigenvalues make."""
    described = describe_tokens(window, start=start)
    base = replace(described.base, correlation=np.empty((0, 0)))
    return replace(described, base=base, vectors=described.vectors.astype(np.float32))


def oracle_answer(drawn: DrawnWindow, targets: Sequence[str]) -> tuple[float, FloatArray, float] | None:
    """Best intensity and target weights for a simulated window, and the log condition number of the true correlation.

    Returns
    -------
    tuple or None
        None for a real window. The weights sum to one; where no shrinkage is best they are those of the first target.
    """
    if drawn.date is not None:
        return None
    window: Any = drawn.window
    truth = drawn.future.T @ drawn.future / len(drawn.future)
    size = np.sqrt(np.diag(truth))
    truth = truth / np.outer(size, size)
    vectors = window.vectors.astype(float)
    sample = (vectors * window.eigenvalues) @ vectors.T
    mixed = oracle_target_weights(sample, _targets(window, targets), truth)
    intensity = 1.0 - float(mixed[0])
    weights = mixed[1:] / intensity if intensity > 1e-9 else np.eye(len(targets))[0]
    values = np.linalg.eigvalsh(truth)
    return intensity, weights, float(np.log(values[-1] / max(values[0], 1e-10)))


def _targets(window: Any, names: Sequence[str]) -> list[FloatArray]:
    base, n_assets = window.base, len(window.eigenvalues)
    every = {
        "identity": np.zeros((n_assets, n_assets)),
        "constant_correlation": np.full((n_assets, n_assets), base.mean_correlation),
        "single_factor": np.outer(base.loading, base.loading),
    }
    chosen = [every[name] for name in names]
    for target in chosen:
        np.fill_diagonal(target, 1.0)
    return chosen
