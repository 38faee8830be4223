"""Going on from general weights on one's own panel, where that helps.

The last months of the panel are held back: their first half chooses the epoch, their second half judges, everything
before them teaches, and no window of one reaches into another. Every member starts from its general weights at a small
rate, and the general weights compete as epoch 0. They come back unchanged, and the result says so, unless the tuned
ensemble is better on the judging windows by more than `margin` standard errors of the mean difference over months.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field

from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import Constraints
from eigenfolio.errors import DataError, ParameterError
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.learned.spectral import SpectralForward, combine
from eigenfolio.models import minimum_variance_weights
from eigenfolio.training.drawn_samples import drawn_samples
from eigenfolio.training.ensemble import fit_members
from eigenfolio.training.initial_weights import bundle_scaler, take_weights
from eigenfolio.training.loop import History, LoopOptions
from eigenfolio.training.member_networks import member_networks, stored_members, stored_shapes
from eigenfolio.training.mixture import DrawnWindow, WindowSource, draw_mixture
from eigenfolio.training.named_losses import needs_pairs
from eigenfolio.training.optimisers import AdamW
from eigenfolio.training.schedules import Cosine
from eigenfolio.training.spectral import SpectralLoss, spectral_loss

__all__ = ["FineTuned", "FineTuningOptions", "compare_weights", "draw_panel_windows", "fine_tune"]

_FLOOR = 1e-12


class FineTuningOptions(BaseModel):
    """How general weights are adapted to a panel.

    Parameters
    ----------
    n_windows, n_validation_windows : int
        Windows that teach, and that choose and judge, half of them each.
    sizes : tuple of int
        Universe sizes, in equal parts; sizes that the panel cannot fill are an error.
    min_lookback, max_lookback, horizon : int
        As for `eigenfolio.training.mixture.WindowSource`.
    validation_months : int
        Months at the end that choose and judge.
    margin : float
        Standard errors by which the tuned weights must be better.
    loss, loop : mapping
        Options of the parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_windows: int = Field(default=600, ge=8)
    n_validation_windows: int = Field(default=200, ge=8)
    sizes: tuple[int, ...] = (20, 40)
    min_lookback: int = Field(default=60, ge=22)
    max_lookback: int = Field(default=504, ge=22)
    horizon: int = Field(default=21, ge=2)
    validation_months: int = Field(default=24, ge=6)
    margin: float = Field(default=2.0, ge=0.0)
    loss: SpectralLoss = SpectralLoss()
    loop: LoopOptions = LoopOptions(
        max_epochs=4,
        patience=4,
        batch_size=32,
        learning_rate=3e-4,
        optimiser=AdamW(weight_decay=0.01),
        schedule=Cosine(),
        clip_norm=1.0,
    )


@dataclass(frozen=True)
class FineTuned:
    """What became of the general weights.

    Attributes
    ----------
    bundle : Bundle
        Tuned weights where that helped, else the general ones.
    helped : bool
    difference, standard_error : float
        Mean log ratio of realised volatilities on the judging windows, tuned over general, unconstrained and capped
        long-only minimum variance averaged; negative is better. The error is over months.
    histories : tuple of History
        Of every member; their validation is on the choosing windows.
    """

    bundle: Bundle
    helped: bool
    difference: float
    standard_error: float
    histories: tuple[History, ...]

    def __str__(self) -> str:
        outcome = "tuned weights" if self.helped else "the general weights, since tuning did not help"
        return (
            f"{outcome}: volatility on the judging windows {100 * self.difference:+.2f} % "
            f"(standard error {100 * self.standard_error:.2f}) against the general weights"
        )


def fine_tune(
    model: NeuralShrinkage,
    X: pd.DataFrame,
    *,
    options: FineTuningOptions | None = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> FineTuned:
    """Adapt the weights of a spectral model to a panel, or say that this does not help.

    Parameters
    ----------
    model : NeuralShrinkage
        Its weights are the general ones; of a series, the newest bundle that has seen nothing of the judging months.
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns with a DatetimeIndex, NaN where missing.
    options : FineTuningOptions, optional
    seed : int
        Windows, order and dropout come from it.
    n_jobs : int
        Workers that draw windows; the result does not depend on it.

    Returns
    -------
    FineTuned
        The same bits for the same arguments.

    Raises
    ------
    ParameterError
        If the model has no spectral weights.
    DataError
        If X is too short or too narrow for the windows asked for.
    LookaheadError
        If every bundle has seen the judging months.
    """
    options = FineTuningOptions() if options is None else options
    if not isinstance(X, pd.DataFrame) or not isinstance(X.index, pd.DatetimeIndex):
        raise DataError("fine_tune needs a DataFrame with a DatetimeIndex, since its last months are held back")
    last = X.index[-1]
    judged_from = last - pd.DateOffset(months=options.validation_months)
    before = X.index[X.index < judged_from]
    if len(before) < options.min_lookback + 2 * options.horizon:
        raise DataError(
            f"validation_months={options.validation_months} leaves {len(before)} rows that teach, and "
            f"{options.min_lookback + 2 * options.horizon} are needed; give more history or judge over fewer months"
        )
    general = model.choose_bundle(before[-1])
    if general is None or general.network != "spectral":
        given = "no weights" if general is None else f"weights of network {general.network!r}"
        raise ParameterError(
            f"fine_tune goes on from weights of the spectral network, got {given}; give NeuralShrinkage() or a bundle "
            "made by `eigenfolio pretrain`, or train another network on the panel itself (`eigenfolio train shrinkage`)"
        )
    teaching = draw_panel_windows(
        X, options, options.n_windows, through=before[-1], first=None, seed=seed, n_jobs=n_jobs
    )
    half = X.index[X.index < judged_from + (last - judged_from) / 2][-1]
    held = options.n_validation_windows // 2
    choosing = draw_panel_windows(X, options, held, through=half, first=judged_from, seed=seed + 1, n_jobs=n_jobs)
    judging = draw_panel_windows(X, options, held, through=last, first=half, seed=seed + 2, n_jobs=n_jobs)
    tuned, histories = _train(general, teaching, choosing, options, seed)
    tuned = replace(
        tuned,
        trained_through=last,
        details={
            **general.details,
            "fine_tuned": {"from": general.digest, "seed": seed, "options": options.model_dump(mode="json")},
        },
    )
    difference, error = compare_weights(tuned, general, judging)
    helped = difference < -options.margin * error
    return FineTuned(tuned if helped else general, bool(helped), difference, error, tuple(histories))


def draw_panel_windows(
    X: pd.DataFrame,
    options: FineTuningOptions,
    n_windows: int,
    *,
    through: pd.Timestamp,
    first: pd.Timestamp | None,
    seed: int,
    n_jobs: int,
) -> list[DrawnWindow]:
    """Windows of one panel whose decisions begin at `first` and whose horizons end at `through`."""
    source = WindowSource(
        name="panel",
        panels=("panel",),
        counts={n: -(-n_windows // len(options.sizes)) for n in options.sizes},
        min_lookback=options.min_lookback,
        max_lookback=options.max_lookback,
        horizon=options.horizon,
        pairs=options.horizon if needs_pairs(options.loss.named) else 0,
    )
    return draw_mixture({"panel": X}, [source], through=through, first=first, seed=seed, n_jobs=n_jobs)


def _train(
    general: Bundle, teaching: list[DrawnWindow], choosing: list[DrawnWindow], options: FineTuningOptions, seed: int
) -> tuple[Bundle, list[History]]:
    """Train every member from its general weights."""
    rng = np.random.default_rng([seed, 1])
    scaler = bundle_scaler(general)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            shapes = stored_shapes(general)
            networks = member_networks(shapes, dropout=general.options["dropout"])
            for member, network in enumerate(networks):
                network.initialise(torch.Generator().manual_seed(int(rng.integers(2**62))))
                take_weights(network, general, member)
            histories = fit_members(
                networks,
                drawn_samples(teaching),
                spectral_loss(scaler, options.loss),
                validation=drawn_samples(choosing),
                options=options.loop,
                seed=int(rng.integers(2**62)),
                shapes=shapes,
            )
    finally:
        torch.set_num_threads(threads)
    tensors, _ = stored_members(networks, shapes)
    kept = {name: tensor for name, tensor in general.tensors.items() if not name.startswith("heads_")}
    reason = {"status": "absent", "reason": "fine-tuned weights are others than those that its heads were fitted to"}
    details = {**general.details, "heads": dict.fromkeys(general.details.get("heads", {}), reason)}
    return replace(general, tensors={**kept, **tensors}, details=details), histories


def compare_weights(tuned: Bundle, general: Bundle, judging: list[DrawnWindow]) -> tuple[float, float]:
    """Mean log volatility ratio of tuned over general by month, and its standard error."""
    forwards = [SpectralForward(bundle) for bundle in (tuned, general)]
    rows = []
    for drawn in judging:
        n_assets = drawn.future.shape[1]
        books = [Constraints(long_only=False), Constraints(max_weight=max(0.05, 2.0 / n_assets))]
        logs = []
        for forward in forwards:
            covariance = combine(drawn.window, forward.answer(drawn.window)).dense()
            paths = [drawn.future @ minimum_variance_weights(covariance, book) for book in books]
            logs.append(np.mean([0.5 * np.log((path**2).mean() + _FLOOR) for path in paths]))
        rows.append((drawn.date, logs[0] - logs[1]))
    dates, differences = zip(*rows, strict=True)
    months = pd.Series(differences, index=pd.DatetimeIndex(dates)).groupby(lambda date: (date.year, date.month)).mean()
    return float(months.mean()), float(months.std(ddof=1) / np.sqrt(len(months)))
