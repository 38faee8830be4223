"""Convergence rules on histories that do and do not show what each rule looks for."""

from dataclasses import dataclass, fields

import numpy as np
import pytest

from eigenfolio.errors import ParameterError
from eigenfolio.training.convergence import convergence_report


@dataclass(frozen=True)
class Record:
    epoch: int
    train: dict[str, float]
    validation: dict[str, float]


@dataclass(frozen=True)
class Run:
    epochs: tuple[Record, ...]
    best_epoch: int
    alarms: tuple[str, ...] = ()
    stopped: str = "patience"


def run(validation, train=None, *, best_epoch=None, alarms=(), stopped="patience"):
    train = validation if train is None else train
    records = [
        Record(epoch, {"total": float(t), "variance": 0.0}, {"total": float(v)})
        for epoch, (t, v) in enumerate(zip(train, validation, strict=True))
    ]
    return Run(tuple(records), int(np.argmin(validation)) if best_epoch is None else best_epoch, alarms, stopped)


def judge(validation, train=None, **options):
    return convergence_report([run(validation, train, **options)]).members[0]


EPOCHS = np.arange(31)
SETTLED = 1.0 - 0.5 * (1.0 - 0.5**EPOCHS)  # falls to 0.5 and stays
FALLING = 1.0 - 0.02 * EPOCHS


def test_numbers_worked_by_hand():
    member = judge([2.0, 1.2, 1.0, 1.3, 1.1, 1.25, 1.15])
    assert (member.n_epochs, member.best_epoch, member.window) == (6, 2, 2)
    assert member.improvement == member.yardstick == 1.0
    assert member.late_improvement == pytest.approx(1.0 - 1.15)  # best of epochs 1-4, best of 5-6
    assert member.turn_share == pytest.approx(4 / 5)  # changes -.8 -.2 +.3 -.2 +.15 -.1
    assert member.swing == pytest.approx((0.2 + 0.2 + 0.15 + 0.1) / 4)
    assert member.rise == pytest.approx((1.25 + 1.15) / 2 - 1.2)  # last two epochs, the better neighbour of epoch 2


def test_a_settled_loss_has_reached_a_plateau_and_a_falling_one_has_not():
    assert judge(SETTLED).verdict == "converged"
    still = judge(FALLING, stopped="max_epochs")
    assert (still.plateau, still.verdict) == (False, "stopped early: still improving")
    assert still.late_improvement == pytest.approx(0.2)
    assert "still improving at the end" in " ".join(still.sentences)
    assert "stopped by max_epochs" in still.sentences[0]


@pytest.mark.parametrize(("gain", "plateau"), [(0.9e-3, True), (1.1e-3, False)])
@pytest.mark.parametrize(("level", "size"), [(0.0, 1.0), (10.0, 10.0), (-20.0, 20.0)])
def test_a_plateau_is_a_thousandth_of_the_improvement_or_of_the_loss(gain, plateau, level, size):
    losses = np.full(31, level)  # the improvement is 1
    losses[0] = level + 1.0
    losses[1:21] += gain * size
    assert judge(losses).plateau is plateau


@pytest.mark.parametrize(("n_epochs", "window"), [(1, 1), (2, 1), (6, 2), (29, 9), (30, 10), (90, 10)])
def test_the_window_is_a_third_of_the_epochs_and_at_most_ten(n_epochs, window):
    assert judge(np.linspace(1.0, 0.5, n_epochs + 1)).window == window


def test_a_run_that_climbs_back_from_a_bad_first_epoch_is_not_at_rest():
    member = judge([1.0, 3.0, 2.5, 2.0, 1.5])
    assert member.verdict == "did not learn: the start was best"
    assert not member.plateau


def test_a_zigzag_oscillates_and_a_smooth_fall_does_not():
    assert not judge(SETTLED).oscillates
    zigzag = SETTLED + 0.1 * (-1.0) ** EPOCHS
    member = judge(zigzag)
    assert member.oscillates
    assert member.turn_share > 0.8
    assert "oscillates" in " ".join(member.sentences)


def test_small_or_rare_turns_are_no_oscillation():
    assert not judge(SETTLED + 0.01 * (-1.0) ** EPOCHS).oscillates  # 4 % of the improvement
    slow = SETTLED + 0.3 * np.sin(EPOCHS / 3)
    assert not judge(slow).oscillates
    assert not judge([1.0, 0.5, 0.8, 0.5]).oscillates  # two turns are too few


def test_overfitting_needs_a_rising_validation_and_a_falling_training_loss():
    rising = SETTLED + 0.01 * np.maximum(EPOCHS - 10, 0)
    assert judge(rising, FALLING).overfits
    assert "Overfitting" in " ".join(judge(rising, FALLING).sentences)
    assert not judge(rising, rising).overfits  # training rises as well: diverging, not overfitting
    assert not judge(SETTLED, FALLING).overfits
    assert not judge(SETTLED + 0.001 * np.maximum(EPOCHS - 10, 0), FALLING).overfits  # 4 % of the improvement


def test_one_lucky_epoch_is_no_overfitting():
    lucky = SETTLED.copy()
    lucky[12] -= 0.2
    assert not judge(lucky, FALLING).overfits


def test_noise_around_a_flat_loss_is_seldom_taken_for_overfitting():
    rng = np.random.default_rng(0)
    noisy = SETTLED + np.where(EPOCHS > 0, 0.05 * rng.standard_normal((300, 31)), 0.0)
    assert np.mean([judge(losses, FALLING).overfits for losses in noisy]) < 0.12


def test_overfitting_from_the_first_epoch_is_seen_where_the_start_was_best():
    member = judge(1.0 + 0.05 * EPOCHS, FALLING)
    assert member.verdict == "did not learn: the start was best"
    assert member.overfits
    assert "a thousandth of the loss" in " ".join(member.sentences)


def test_sizes_do_not_depend_on_the_unit_of_the_loss():
    losses = SETTLED + 0.1 * (-1.0) ** EPOCHS + 0.01 * np.maximum(EPOCHS - 10, 0)
    one, thousand = judge(losses, FALLING), judge(1000.0 * losses, FALLING)
    for name in ("plateau", "oscillates", "overfits", "verdict", "window"):
        assert getattr(one, name) == getattr(thousand, name)
    for name in ("turn_share", "swing", "rise"):
        assert getattr(one, name) == pytest.approx(getattr(thousand, name))


@pytest.mark.parametrize("level", [0.0, 0.7, -3.0])
def test_constant_losses_did_not_learn_and_leave_no_nan(level):
    report = convergence_report([run([level] * 8)] * 5)
    member = report.members[0]
    assert report.verdict == member.verdict == "did not learn: the start was best"
    assert (member.plateau, member.oscillates, member.overfits) == (True, False, False)
    assert (member.improvement, member.swing, member.rise, report.relative_seed_spread) == (0.0, 0.0, 0.0, 0.0)
    assert report.to_row("b")["seed_spread"] == "5 seeds: none learned"
    assert "nan" not in " ".join([*report.sentences, *report.to_row("b").values()])


def test_a_rise_from_a_loss_of_zero_is_infinite_and_said_in_words():
    member = judge([0.0, 1.0, 2.0, 3.0], [9.0, 8.0, 7.0, 6.0])
    assert member.rise == np.inf
    assert "more than 999 %" in " ".join(member.sentences)


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([1.0, 0.8], "stopped early: still improving"),
        ([1.0, 0.9999], "converged"),  # below a thousandth of the loss
        ([1.0, 1.2], "did not learn: the start was best"),
    ],
)
def test_one_epoch_is_enough_for_a_verdict(losses, verdict):
    report = convergence_report([run(losses)])
    assert report.verdict == verdict
    member = report.members[0]
    numbers = [getattr(member, field.name) for field in fields(member) if field.type in ("float", "int")]
    assert len(numbers) > 5
    assert np.isfinite(numbers).all()


def test_the_spread_over_seeds_is_relative_to_the_mean_improvement():
    report = convergence_report([run([2.0, 1.0, 1.0, 1.0]), run([2.0, 1.2, 1.2, 1.2])])
    assert report.improvement == pytest.approx(0.9)
    assert report.seed_spread == pytest.approx(0.2 / 2**0.5)
    assert report.relative_seed_spread == pytest.approx(0.2 / 2**0.5 / 0.9)
    assert report.stable
    assert report.to_row("b")["seed_spread"] == "2 seeds: 16 % of the improvement"


def test_seeds_that_disagree_are_unstable():
    report = convergence_report([run([1.0, level, level, level]) for level in (0.5, 0.5, 0.9, 0.5, 1.1)])
    assert report.stable is False
    assert report.verdict == "unstable over seeds"
    text = " ".join(report.sentences)
    assert "5 seeds" in text
    assert "In 1 of 5 members the start was best." in text


def test_one_seed_has_no_stability():
    report = convergence_report([run(SETTLED)])
    assert (report.seed_spread, report.stable, report.verdict) == (None, None, "converged")
    assert "1 seed" in report.sentences[-1]
    assert report.to_row("b")["seed_spread"] == "1 seed: not known"


@pytest.mark.parametrize(
    ("n_falling", "verdict"), [(0, "converged"), (2, "converged"), (3, "stopped early: still improving")]
)
def test_half_of_the_members_still_improving_is_an_early_stop(n_falling, verdict):
    settled = run(SETTLED)
    falling = run(SETTLED + 0.05 * (30 - EPOCHS) / 30)
    report = convergence_report([falling] * n_falling + [settled] * (6 - n_falling))
    assert report.verdict == verdict


def test_members_that_did_not_learn_do_not_vote_on_the_plateau():
    settled, falling = [run(SETTLED)] * 10, [run(SETTLED + 0.05 * (30 - EPOCHS) / 30)] * 10
    report = convergence_report([*settled, *falling, run([1.0] * 31)])  # 11 of 21 at rest, 10 of the 20 that learned
    assert report.stable
    assert report.verdict == "stopped early: still improving"


def test_alarms_are_passed_through_and_counted():
    dead, flat = "dead gradients in block head", "constant output"
    report = convergence_report([run(SETTLED, alarms=(dead, flat)), run(SETTLED, alarms=(dead, dead)), run(SETTLED)])
    assert report.alarms == (f"{dead} (2 of 3)", f"{flat} (1 of 3)")
    assert report.to_row("b")["alarms"] == f"{dead} (2 of 3); {flat} (1 of 3)"
    assert f"Alarm: {dead} (2 of 3)" in report.sentences
    assert convergence_report([run(SETTLED, alarms=(dead,))]).to_row("b")["alarms"] == dead


def test_a_row_of_the_report_is_words():
    zigzag = SETTLED + 0.1 * (-1.0) ** EPOCHS
    row = convergence_report([run(SETTLED), run(zigzag), run(FALLING)]).to_row("2019")
    assert list(row) == [
        "bundle", "members", "verdict", "plateau", "oscillation", "overfitting", "seed_spread", "alarms",
    ]  # fmt: skip
    assert all(isinstance(value, str) for value in row.values())
    assert row["plateau"] == "2 of 3 reached a plateau"
    assert row["oscillation"].startswith("in 1 of 3: swings of up to ")
    assert (row["overfitting"], row["alarms"]) == ("none", "none")


def test_the_order_of_members_does_not_change_what_is_found():
    runs = [run(SETTLED), run(FALLING), run(SETTLED + 0.1 * (-1.0) ** EPOCHS)]
    forward, backward = convergence_report(runs), convergence_report(runs[::-1])
    assert forward.to_row("b") == backward.to_row("b")
    assert forward.members == backward.members[::-1]


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ([], "at least one history"),
        ([run([1.0])], "member 1 must hold the start and at least one epoch, got 1"),
        ([Run((), 0)], "got 0 records"),
        ([run(SETTLED), run([1.0, 0.5], best_epoch=2)], "best_epoch of member 2 must lie in 0 to 1, got 2"),
        ([run([1.0, np.nan, 0.5])], "validation loss of member 1 must be finite, got nan at epoch 1"),
        ([run([1.0, 0.5], [1.0, np.inf])], "training loss of member 1 must be finite, got inf at epoch 1"),
    ],
)
def test_histories_that_cannot_be_judged_are_refused(histories, message):
    with pytest.raises(ParameterError, match=message):
        convergence_report(histories)
