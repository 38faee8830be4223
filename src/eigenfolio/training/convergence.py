"""Did training converge? Rules with stated numbers, read off the losses of every ensemble member.

For one member, v_0 ... v_E are its validation losses (v_0 is the untrained start, E the last epoch), b its best
epoch (whose weights were kept), and

    improvement = v_0 - v_b                                  in units of the loss
    yardstick   = max(improvement, 0.001 |v_b|)              what every size below is divided by

so that a size stays defined where nothing was learned, and a sliver of an improvement does not blow it up.

- *plateau*: over the last w = min(10, E // 3) epochs (at least one) the best validation loss fell by at most 0.1 % of
  the improvement or of |v_b|, whichever is larger. What it fell from is the best of epochs 1 to E - w; the start is
  left out, so that a run climbing back from a bad first epoch does not pass for one at rest.
- *oscillation*: a turn is a change of sign between successive non-zero changes of v; its swing is the smaller of the
  two changes, that is, what was taken back. Validation oscillates when there are at least 3 turns, at more than half
  of all places where one was possible (a random walk turns at half), and the mean swing exceeds 10 % of the yardstick.
- *overfitting*: over the epochs after the best one (at most the last w) the mean validation loss lies above the bar by
  more than 10 % of the yardstick and by more than twice the mean swing, while the mean training loss of the same
  epochs lies below that of the best epoch. The bar is the better of the two epochs beside the best, so that one lucky
  epoch does not set it. Where the start was best, epoch 1 is both the bar and what training loss is compared with:
  the start is measured without dropout, the others with it.
- *seed stability*: over two members or more, the standard deviation (n - 1) of the best validation losses, divided by
  the larger of the mean improvement and a thousandth of the mean absolute best loss. Above 25 % the result depends on
  the seed.

One member did not learn where b = 0, and was stopped early where it was still improving; else it converged. Together
they did not learn where no member learned, are unstable over seeds by the rule above, and were stopped early where at
least half of those that learned were still improving; else they converged.

Losses are minimised. A plateau says that the loss had stopped falling under the schedule it was given: a learning rate
that ends at zero flattens any run. The best of many noisy epochs is itself flattered; nothing here corrects for it.
These are working thresholds, not tests of significance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eigenfolio.errors import ParameterError

__all__ = [
    "CONVERGED",
    "DID_NOT_LEARN",
    "STOPPED_EARLY",
    "UNSTABLE",
    "Convergence",
    "EpochLosses",
    "MemberConvergence",
    "TrainingHistory",
    "convergence_report",
]

CONVERGED = "converged"
STOPPED_EARLY = "stopped early: still improving"
DID_NOT_LEARN = "did not learn: the start was best"
UNSTABLE = "unstable over seeds"

_LARGEST_WINDOW = 10  # epochs
_FLAT = 1e-3  # share of the improvement, and of the loss
_OSCILLATION_TURNS = 3
_OSCILLATION_SHARE = 0.5  # of the places where a turn was possible
_OSCILLATION_SWING = 0.1  # of the yardstick
_OVERFITTING_RISE = 0.1  # of the yardstick
_OVERFITTING_SWINGS = 2.0
_SEED_SPREAD = 0.25  # of the improvement

FloatArray = NDArray[np.float64]


class EpochLosses(Protocol):
    """What is read of one epoch: mean losses with the key "total"."""

    @property
    def train(self) -> Mapping[str, float]: ...

    @property
    def validation(self) -> Mapping[str, float]: ...


class TrainingHistory(Protocol):
    """What is read of one member's history; `epochs[0]` is the untrained start."""

    @property
    def epochs(self) -> Sequence[EpochLosses]: ...

    @property
    def best_epoch(self) -> int: ...

    @property
    def alarms(self) -> Sequence[str]: ...

    @property
    def stopped(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class MemberConvergence:
    """How one member's training went; the rules are those of the module.

    Parameters
    ----------
    n_epochs : int
        Epochs trained, the start not counted.
    best_epoch : int
        The epoch whose weights were kept; 0 is the start.
    start_loss, best_loss : float
        Validation loss of the start and of the best epoch.
    improvement : float
        `start_loss - best_loss`, in units of the loss.
    window : int
        The last epochs judged for a plateau.
    late_improvement : float
        How much the best validation loss fell over them, in units of the loss; at most 0 where it did not.
    plateau : bool
        Whether validation had stopped improving.
    turn_share : float in [0, 1]
        Share of the possible places where validation changed direction.
    swing : float
        Mean size of those swings, as a share of `yardstick`.
    oscillates : bool
    rise : float
        Mean validation loss after the best epoch above the better of the two epochs beside it, as a share of
        `yardstick`; 0 where the best epoch was the last.
    overfits : bool
    yardstick : float
        The larger of the improvement and a thousandth of the best loss, in units of the loss.
    stopped : str
        Why the loop ended, e.g. "patience" or "max_epochs".
    alarms : tuple of str
        Alarms of the loop, as they came.
    """

    n_epochs: int
    best_epoch: int
    start_loss: float
    best_loss: float
    improvement: float
    window: int
    late_improvement: float
    plateau: bool
    turn_share: float
    swing: float
    oscillates: bool
    rise: float
    overfits: bool
    yardstick: float
    stopped: str
    alarms: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether any epoch was better than the start."""
        return self.best_epoch > 0

    @property
    def verdict(self) -> str:
        """`CONVERGED`, `STOPPED_EARLY` or `DID_NOT_LEARN`."""
        if not self.learned:
            return DID_NOT_LEARN
        return CONVERGED if self.plateau else STOPPED_EARLY

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in plain words, the verdict first."""
        epochs = "1 epoch" if self.n_epochs == 1 else f"{self.n_epochs} epochs"
        last = "last epoch" if self.window == 1 else f"last {self.window} epochs"
        found = [
            f"{_sentence_case(self.verdict)} ({epochs}, stopped by {self.stopped}).",
            f"The best validation loss, {self.best_loss:.4g} at epoch {self.best_epoch}, is {self.improvement:.4g} "
            "below the start.",
            f"Validation {_plateau_words(self.plateau)}: its best fell by {max(self.late_improvement, 0.0):.2g} over "
            f"the {last}.",
        ]
        if self.oscillates:
            found.append(
                f"Validation oscillates: it turned at {_percent(self.turn_share)} of the possible places, "
                f"by {_percent(self.swing)} of {self._measure} on average."
            )
        if self.overfits:
            found.append(
                f"Overfitting: training loss kept falling while validation loss rose by {_percent(self.rise)} of "
                f"{self._measure} after its best epoch."
            )
        return (*found, *(f"Alarm: {alarm}" for alarm in self.alarms))

    @property
    def _measure(self) -> str:
        return _measure(self.improvement, self.yardstick)


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How the training of an ensemble went, member by member and together.

    Parameters
    ----------
    members : tuple of MemberConvergence
        In the order of the histories.
    improvement : float
        Mean over the members of what the best epoch gained on the start, in units of the loss.
    seed_spread : float or None
        Standard deviation of the best validation losses over the members, in units of the loss; None with one member.
    yardstick : float
        The larger of `improvement` and a thousandth of the mean absolute best loss; the spread is judged against it.
    """

    members: tuple[MemberConvergence, ...]
    improvement: float
    seed_spread: float | None
    yardstick: float

    @property
    def n_members(self) -> int:
        """How many seeds were trained."""
        return len(self.members)

    @property
    def relative_seed_spread(self) -> float | None:
        """`seed_spread` as a share of `yardstick`; None with one member."""
        return None if self.seed_spread is None else _relative(self.seed_spread, self.yardstick)

    @property
    def stable(self) -> bool | None:
        """Whether the seeds agree to within a quarter of the improvement; None with one member."""
        spread = self.relative_seed_spread
        return None if spread is None else spread <= _SEED_SPREAD

    @property
    def verdict(self) -> str:
        """`CONVERGED`, `STOPPED_EARLY`, `DID_NOT_LEARN` or `UNSTABLE`."""
        learned = [member for member in self.members if member.learned]
        if not learned:
            return DID_NOT_LEARN
        if self.stable is False:
            return UNSTABLE
        still_improving = sum(not member.plateau for member in learned)
        return STOPPED_EARLY if 2 * still_improving >= len(learned) else CONVERGED

    @property
    def alarms(self) -> tuple[str, ...]:
        """Every alarm once, in order of appearance, with the number of members that raised it."""
        counts = Counter(alarm for member in self.members for alarm in dict.fromkeys(member.alarms))
        if self.n_members == 1:
            return tuple(counts)
        return tuple(f"{alarm} ({count} of {self.n_members})" for alarm, count in counts.items())

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in plain words, the verdict first."""
        n = self.n_members
        n_learned = sum(member.learned for member in self.members)
        found = [f"{_sentence_case(self.verdict)} ({_seeds(n)})."]
        if n == 1:
            return (*found, *self.members[0].sentences[1:], "With 1 seed its stability over seeds is not known.")
        gains = [member.improvement for member in self.members]
        found.append(
            f"The best validation loss is {self.improvement:.4g} below the start on average "
            f"({min(gains):.4g} to {max(gains):.4g})."
        )
        if 0 < n_learned < n:
            found.append(f"In {n - n_learned} of {n} members the start was best.")
        found.append(f"Plateau: {self._plateau_words()}.")
        if any(member.oscillates for member in self.members):
            found.append(f"Validation oscillates {self._oscillation_words()}.")
        if any(member.overfits for member in self.members):
            found.append(f"Overfitting {self._overfitting_words()}.")
        found.append(f"Spread of the best validation loss over {self._seed_words()}.")
        return (*found, *(f"Alarm: {alarm}" for alarm in self.alarms))

    def to_row(self, bundle: str) -> dict[str, str]:
        """One row of the report's table, in words.

        Parameters
        ----------
        bundle : str
            Name of the bundle these members make.

        Returns
        -------
        dict of str to str
            Keys `bundle`, `members`, `verdict`, `plateau`, `oscillation`, `overfitting`, `seed_spread`, `alarms`.
        """
        return {
            "bundle": bundle,
            "members": str(self.n_members),
            "verdict": self.verdict,
            "plateau": self._plateau_words(),
            "oscillation": self._oscillation_words(),
            "overfitting": self._overfitting_words(),
            "seed_spread": self._seed_words(),
            "alarms": "; ".join(self.alarms) or "none",
        }

    def _plateau_words(self) -> str:
        n, reached = self.n_members, sum(member.plateau for member in self.members)
        if n == 1:
            return _plateau_words(bool(reached))
        return f"{reached} of {n} reached a plateau" if reached else f"{n} of {n} still improving at the end"

    def _oscillation_words(self) -> str:
        found = [member for member in self.members if member.oscillates]
        if not found:
            return "none"
        worst = max(found, key=lambda member: member.swing)
        return f"{self._where(len(found))}swings of {self._up_to}{_percent(worst.swing)} of {worst._measure}"

    def _overfitting_words(self) -> str:
        found = [member for member in self.members if member.overfits]
        if not found:
            return "none"
        worst = max(found, key=lambda member: member.rise)
        return f"{self._where(len(found))}validation rose by {self._up_to}{_percent(worst.rise)} of {worst._measure}"

    def _seed_words(self) -> str:
        spread = self.relative_seed_spread
        if spread is None:
            return "1 seed: not known"
        if not any(member.learned for member in self.members):
            return f"{_seeds(self.n_members)}: none learned"
        return f"{_seeds(self.n_members)}: {_percent(spread)} of {_measure(self.improvement, self.yardstick)}"

    def _where(self, count: int) -> str:
        return "" if self.n_members == 1 else f"in {count} of {self.n_members}: "

    @property
    def _up_to(self) -> str:
        return "" if self.n_members == 1 else "up to "


def convergence_report(histories: Sequence[TrainingHistory]) -> Convergence:
    """Judge the training of one bundle from the histories of its members.

    Parameters
    ----------
    histories : sequence of History
        One per member (seed), at least one. Each has `epochs` (records with `train["total"]` and
        `validation["total"]`; the first is the untrained start and at least one more follows), `best_epoch`,
        `alarms` and `stopped`.

    Returns
    -------
    Convergence
        Per member and together; every number is finite unless the best loss is exactly zero, where a share may be
        infinite, and none is NaN.

    Raises
    ------
    ParameterError
        If there is no history, one holds no epoch after the start, a best epoch outside it, or a loss that is not
        finite.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> def history(*losses):
    ...     epochs = [SimpleNamespace(train={"total": loss}, validation={"total": loss}) for loss in losses]
    ...     return SimpleNamespace(epochs=epochs, best_epoch=len(losses) - 1, alarms=(), stopped="max_epochs")
    >>> convergence = convergence_report([history(1.0, 0.6, 0.5, 0.5), history(1.0, 0.6, 0.52, 0.52)])
    >>> convergence.verdict
    'converged'
    >>> convergence.to_row("2019")["seed_spread"]
    '2 seeds: 2.9 % of the improvement'
    """
    if not histories:
        raise ParameterError("convergence_report needs at least one history, got none; pass one per member")
    members = tuple(_judge(history, number) for number, history in enumerate(histories, start=1))
    best = np.array([member.best_loss for member in members])
    improvement = float(np.mean([member.improvement for member in members]))
    return Convergence(
        members=members,
        improvement=improvement,
        seed_spread=float(best.std(ddof=1)) if len(best) > 1 else None,
        yardstick=max(improvement, _FLAT * float(np.abs(best).mean())),
    )


def _judge(history: TrainingHistory, number: int) -> MemberConvergence:
    validation = _losses([record.validation for record in history.epochs], "validation", number)
    train = _losses([record.train for record in history.epochs], "training", number)
    n_epochs, best = len(validation) - 1, history.best_epoch
    if n_epochs < 1:
        raise ParameterError(
            f"the history of member {number} must hold the start and at least one epoch, got {len(validation)} records"
        )
    if not 0 <= best <= n_epochs:
        raise ParameterError(f"best_epoch of member {number} must lie in 0 to {n_epochs}, got {best}")
    best_loss = float(validation[best])
    improvement = float(validation[0]) - best_loss
    yardstick = max(improvement, _FLAT * abs(best_loss))

    window = max(1, min(_LARGEST_WINDOW, n_epochs // 3))
    before = validation[1:-window] if n_epochs > window else validation[:1]
    late_improvement = float(before.min() - validation[-window:].min())

    turn_share, n_turns, swing = _turns(validation)
    swing = _relative(swing, yardstick)

    reference = max(best, 1)
    after = slice(max(reference + 1, n_epochs + 1 - window), None)
    rise, train_falls = 0.0, False
    if reference < n_epochs:
        bar = validation[[best - 1, best + 1] if best else [1]].min()
        rise = _relative(float(validation[after].mean() - bar), yardstick)
        train_falls = bool(train[after].mean() < train[reference])
    return MemberConvergence(
        n_epochs=n_epochs,
        best_epoch=best,
        start_loss=float(validation[0]),
        best_loss=best_loss,
        improvement=improvement,
        window=window,
        late_improvement=late_improvement,
        plateau=late_improvement <= _FLAT * max(improvement, abs(best_loss)),
        turn_share=turn_share,
        swing=swing,
        oscillates=n_turns >= _OSCILLATION_TURNS and turn_share > _OSCILLATION_SHARE and swing > _OSCILLATION_SWING,
        rise=rise,
        overfits=train_falls and rise > max(_OVERFITTING_RISE, _OVERFITTING_SWINGS * swing),
        yardstick=yardstick,
        stopped=history.stopped,
        alarms=tuple(history.alarms),
    )


def _losses(records: Sequence[Mapping[str, float]], kind: str, number: int) -> FloatArray:
    losses = np.array([record["total"] for record in records], dtype=float)
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise ParameterError(
            f"the {kind} loss of member {number} must be finite, got {losses[bad[0]]} at epoch {bad[0]}; "
            "training should have stopped there"
        )
    return losses


def _turns(losses: FloatArray) -> tuple[float, int, float]:
    """Share of the possible places with a turn, their number, and their mean swing in units of the loss."""
    changes = np.diff(losses)
    changes = changes[changes != 0.0]
    if len(changes) < 2:
        return 0.0, 0, 0.0
    turned = np.sign(changes[1:]) != np.sign(changes[:-1])
    swings = np.minimum(np.abs(changes[1:]), np.abs(changes[:-1]))[turned]
    return float(turned.mean()), len(swings), float(swings.mean()) if len(swings) else 0.0


def _relative(size: float, yardstick: float) -> float:
    if yardstick == 0.0:
        return float(np.copysign(np.inf, size)) if size else 0.0
    return size / yardstick


def _percent(share: float) -> str:
    if share > 9.99:
        return "more than 999 %"
    if 0.0 < share < 1e-3:
        return "under 0.1 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _measure(improvement: float, yardstick: float) -> str:
    return "the improvement" if improvement >= yardstick else "a thousandth of the loss"


def _plateau_words(plateau: bool) -> str:
    return "reached a plateau" if plateau else "still improving at the end"


def _seeds(n_members: int) -> str:
    return "1 seed" if n_members == 1 else f"{n_members} seeds"


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
