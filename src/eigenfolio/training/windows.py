"""Training windows: random sub-universes and random past windows, each with the returns that followed.

A window is drawn in three steps: a decision row, a look-back length (log-uniform), and a random set of assets
that were quoted on every row of the look-back and moved on most of them. The network sees rows up to the
decision row; the loss sees the `horizon` rows after it, where an asset may end (a missing return is zero, as in
the evaluation), so that training does not learn from survivors alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from eigenfolio.errors import DataError
from eigenfolio.learned.window import ShrinkageWindow, shrinkage_window

__all__ = ["WindowGroup", "WindowOptions", "WindowSet", "draw_windows", "label_rows"]

FloatArray = NDArray[np.float64]


class WindowOptions(BaseModel):
    """How training windows are drawn.

    Parameters
    ----------
    n_windows, n_validation_windows : int
        Windows drawn for training and for early stopping.
    min_assets, max_assets : int
        Universe sizes span this range on a geometric grid of five values (cut to what the panel offers).
    min_lookback, max_lookback : int
        Rows seen before a decision, log-uniform.
    horizon : int
        Rows the portfolio is held and judged over.
    min_moving : float
        Least share of rows on which an asset's price changed.
    max_label_return : float
        Returns of the horizon are clipped to this absolute value in the loss; what the network sees is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_windows: int = Field(default=2000, ge=8)
    n_validation_windows: int = Field(default=300, ge=4)
    min_assets: int = Field(default=8, ge=2)
    max_assets: int = Field(default=120, ge=2)
    min_lookback: int = Field(default=60, ge=22)
    max_lookback: int = Field(default=504, ge=22)
    horizon: int = Field(default=21, ge=2)
    min_moving: float = Field(default=0.9, ge=0.0, le=1.0)
    max_label_return: float = Field(default=0.8, gt=0.0)

    @model_validator(mode="after")
    def _ranges(self) -> WindowOptions:
        if self.min_assets > self.max_assets:
            raise ValueError(f"min_assets={self.min_assets} must not exceed max_assets={self.max_assets}")
        if self.min_lookback > self.max_lookback:
            raise ValueError(f"min_lookback={self.min_lookback} must not exceed max_lookback={self.max_lookback}")
        return self


@dataclass(frozen=True)
class WindowGroup:
    """Windows of one universe size, stacked. Covariance inputs are float64, features float32.

    Volatilities and future returns are divided by the window's median volatility, so that losses are of order one.
    """

    features: Tensor  # (n, n_features), raw
    classical_logit: Tensor  # (n,)
    correlation: Tensor  # (n, n_assets, n_assets)
    loading: Tensor  # (n, n_assets)
    mean_correlation: Tensor  # (n,)
    log_volatility: Tensor  # (n, n_assets)
    log_ewma_volatility: Tensor  # (n, n_assets)
    future: Tensor  # (n, horizon, n_assets)

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> WindowGroup:
        """The same windows on a device."""
        return WindowGroup(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def take(self, rows: Tensor) -> WindowGroup:
        """Select windows by position."""
        return WindowGroup(*(getattr(self, name)[rows.to(self.features.device)] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class WindowSet:
    """Groups of windows, one per universe size."""

    groups: tuple[WindowGroup, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def to(self, device: torch.device) -> WindowSet:
        """The same windows on a device."""
        return WindowSet(tuple(group.to(device) for group in self.groups))

    def features(self) -> Tensor:
        """All features, (n_windows, n_features), group after group."""
        return torch.cat([group.features for group in self.groups])

    def take(self, rows: Tensor) -> list[WindowGroup]:
        """Windows of these row numbers, as groups of equal universe size."""
        batch, start = [], 0
        for group in self.groups:
            mine = rows[(rows >= start) & (rows < start + len(group))] - start
            if len(mine):
                batch.append(group.take(mine))
            start += len(group)
        return batch


def label_rows(n_rows: int, validation_start: int, options: WindowOptions) -> tuple[range, range]:
    """Decision rows for training and for validation, so that no label of one reaches into the other.

    Training labels end before row `validation_start`; validation decisions start there, so their labels begin
    one row later. Both label spans end within `n_rows`.

    Examples
    --------
    >>> label_rows(1000, 748, WindowOptions(horizon=21, min_lookback=60))
    (range(59, 727), range(748, 979))
    """
    horizon = options.horizon
    return (
        range(options.min_lookback - 1, validation_start - horizon),
        range(validation_start, n_rows - horizon),
    )


def draw_windows(
    returns: FloatArray, rows: range, n_windows: int, *, options: WindowOptions, rng: np.random.Generator
) -> WindowSet:
    """Draw windows whose decision rows lie in `rows`.

    Parameters
    ----------
    returns : ndarray of shape (n_observations, n_assets)
        Simple returns, NaN where missing.
    rows : range
        Allowed decision rows (the last row a window sees).
    n_windows : int
        Windows to draw.
    options : WindowOptions
    rng : numpy Generator

    Raises
    ------
    DataError
        If the table has too few complete windows to draw from.
    """
    if len(rows) == 0:
        raise DataError(
            f"training needs at least {options.min_lookback + 2 * options.horizon} rows before and "
            f"{options.horizon} rows inside the validation span, the table has {len(returns)}; give more history"
        )
    limit = options.max_label_return
    labels = np.clip(np.nan_to_num(returns, nan=0.0), -limit, limit)
    seen = np.isfinite(returns)
    counts = _running(seen)
    moving = _running(seen & (returns != 0.0))
    sizes = _universe_sizes(returns, counts, rows, options)
    drawn: dict[int, list[tuple[ShrinkageWindow, FloatArray]]] = {size: [] for size in sizes}
    attempts = 0
    done = 0
    while done < n_windows:
        attempts += 1
        if attempts > 50 * n_windows:
            raise DataError(
                f"only {done} of {n_windows} training windows could be drawn: fewer than {min(sizes)} assets are "
                f"quoted without gaps over {options.min_lookback} rows on most dates; give more "
                "complete data, or lower windows.min_assets or windows.min_lookback"
            )
        row = int(rng.integers(rows.start, rows.stop))
        low, high = np.log(options.min_lookback), np.log(options.max_lookback)
        lookback = int(np.exp(rng.uniform(low, high)))
        size = int(rng.choice(sizes))
        first, stop = row + 1 - lookback, row + 1 + options.horizon
        if first < 0:
            continue
        complete = counts[row + 1] - counts[first] == lookback
        lively = moving[row + 1] - moving[first] >= options.min_moving * lookback
        candidates = np.flatnonzero(complete & lively)
        if len(candidates) < size:
            continue
        assets = np.sort(rng.choice(candidates, size=size, replace=False))
        window = shrinkage_window(returns[first : row + 1, assets])
        drawn[size].append((window, labels[row + 1 : stop, assets]))
        done += 1
    return WindowSet(tuple(_stack(group) for group in drawn.values() if group))


def _running(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Counts of True before each row: counts[b] - counts[a] is the number in rows a..b-1."""
    total = np.zeros((len(flags) + 1, flags.shape[1]), dtype=np.int32)
    np.cumsum(flags, axis=0, out=total[1:])
    return total


def _universe_sizes(
    returns: FloatArray, counts: NDArray[np.int32], rows: range, options: WindowOptions
) -> NDArray[np.int_]:
    """Five sizes on a geometric grid, up to what is complete over the shortest window on a typical date."""
    probes = np.unique(np.linspace(rows.start, rows.stop - 1, 20).astype(int))
    span = options.min_lookback
    ends = probes + 1
    starts = np.maximum(ends - span, 0)
    available = int(np.median((counts[ends] - counts[starts] == (ends - starts)[:, None]).sum(axis=1)))
    if available < 2:
        raise DataError(
            f"training needs at least 2 assets quoted without gaps over {span} rows, on a typical date there are "
            f"{available}; give more complete data"
        )
    largest = min(options.max_assets, available)
    smallest = min(options.min_assets, largest)
    return np.unique(np.round(np.geomspace(smallest, largest, 5)).astype(int))


def _stack(drawn: list[tuple[ShrinkageWindow, FloatArray]]) -> WindowGroup:
    windows = [window for window, _ in drawn]
    scales = np.array([np.median(window.volatility) for window in windows])

    def stack(values: list[FloatArray]) -> Tensor:
        return torch.from_numpy(np.stack(values))

    return WindowGroup(
        features=stack([window.features for window in windows]).float(),
        classical_logit=torch.tensor([window.classical_logit for window in windows], dtype=torch.float64),
        correlation=stack([window.correlation for window in windows]),
        loading=stack([window.loading for window in windows]),
        mean_correlation=torch.tensor([window.mean_correlation for window in windows], dtype=torch.float64),
        log_volatility=stack([np.log(w.volatility / c) for w, c in zip(windows, scales, strict=True)]),
        log_ewma_volatility=stack([np.log(w.ewma_volatility / c) for w, c in zip(windows, scales, strict=True)]),
        future=stack([future / c for (_, future), c in zip(drawn, scales, strict=True)]),
    )
