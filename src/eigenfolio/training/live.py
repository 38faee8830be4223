"""The newest epoch of every bundle in training, as a small table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eigenfolio.training.budgets import duration
from eigenfolio.training.follow import EpochEvent
from eigenfolio.training.loop import EpochRecord, LoopOptions

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LiveRow", "LiveTraining"]

_SHOWN = 8  # bundles; the newest of them


@dataclass(frozen=True)
class LiveRow:
    """How far one bundle is: the mean of its networks that are in their newest epoch.

    Parameters
    ----------
    bundle : str
    networks : str
        How many still train, of how many.
    epoch : str
        Of the epochs there are at most.
    train, validation : float
        Losses.
    best_epoch : str
        Best epoch so far, or the range of them.
    learning_rate : float
        The largest.
    gradient_norm : float
        Over all blocks.
    samples_per_second : float
    peak_memory : int
        Bytes.
    seconds_left : float
        Were none to stop early; 0 when all have ended, NaN before the first epoch.
    """

    bundle: str
    networks: str
    epoch: str
    train: float
    validation: float
    best_epoch: str
    learning_rate: float
    gradient_norm: float
    samples_per_second: float
    peak_memory: int
    seconds_left: float


@dataclass
class _Member:
    """What is known of one network."""

    latest: EpochRecord
    best_loss: float
    best_epoch: int = 0
    stopped: bool = False


class LiveTraining:
    """Keeps the newest epoch of every bundle; a listener of `followed`, and something that rich can draw.

    Parameters
    ----------
    n_members : int
        Networks per bundle.
    loop : LoopOptions
        Its epochs, patience and least improvement.
    """

    def __init__(self, n_members: int, loop: LoopOptions) -> None:
        self.n_members, self.loop = n_members, loop
        self._bundles: dict[str, dict[int, _Member]] = {}
        self._seconds: dict[str, dict[int, float]] = {}  # of each epoch
        self.rows: tuple[LiveRow, ...] = ()
        """The bundles that were heard of last, by date."""

    def __call__(self, event: EpochEvent) -> None:
        """Take note of an epoch."""
        members = self._bundles.pop(event.bundle, {})
        self._bundles[event.bundle] = members  # the last one heard of stands last
        record, loss = event.record, event.record.validation["total"]
        member = members.setdefault(event.member, _Member(record, loss))
        member.latest = record
        if record.epoch and loss < member.best_loss - self.loop.min_delta:  # as the loop decides
            member.best_loss, member.best_epoch = loss, record.epoch
        member.stopped = record.epoch - member.best_epoch >= self.loop.patience or record.epoch == self.loop.max_epochs
        if record.epoch:
            self._seconds.setdefault(event.bundle, {})[record.epoch] = record.seconds
        newest = sorted(list(self._bundles)[-_SHOWN:])
        self.rows = tuple(self._row(bundle) for bundle in newest)  # replaced whole: another thread draws

    def _row(self, bundle: str) -> LiveRow:
        members = self._bundles[bundle].values()
        epoch = max(member.latest.epoch for member in members)
        now = [member.latest for member in members if member.latest.epoch == epoch]
        best = sorted(member.best_epoch for member in members)
        running = sum(not member.stopped for member in members)
        left = self.loop.max_epochs - epoch if running else 0
        seconds = list(self._seconds.get(bundle, {}).values())
        return LiveRow(
            bundle=bundle,
            networks=f"{running}/{self.n_members}",
            epoch=f"{epoch}/{self.loop.max_epochs}",
            train=_mean([record.train["total"] for record in now]),
            validation=_mean([record.validation["total"] for record in now]),
            best_epoch=str(best[0]) if best[0] == best[-1] else f"{best[0]}-{best[-1]}",
            learning_rate=max(record.learning_rate for record in now),
            gradient_norm=_mean([math.hypot(*record.gradient_norms.values()) for record in now]),
            samples_per_second=now[-1].samples_per_second,
            peak_memory=max(record.peak_memory for record in now),
            seconds_left=left * _mean(seconds) if left and seconds else math.nan if left else 0.0,
        )

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for i, name in enumerate(
            ("through", "nets", "epoch", "train", "valid", "best", "rate", "grad", "pace", "memory", "left")
        ):
            table.add_column(name, justify="right" if i else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row))
        return table


def _cells(row: LiveRow) -> Iterator[str]:
    yield row.bundle
    yield row.networks
    yield row.epoch
    yield f"{row.train:.4f}"
    yield f"{row.validation:.4f}"
    yield row.best_epoch
    yield f"{row.learning_rate:.1e}"
    yield f"{row.gradient_norm:.2g}"
    yield f"{row.samples_per_second:.0f}/s"
    yield f"{row.peak_memory / 1e9:.1f} GB"
    if math.isnan(row.seconds_left):
        yield "?"
    else:
        yield duration(row.seconds_left) if row.seconds_left else "done"


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
