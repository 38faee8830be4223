"""Schedules are what torch's are, and pure functions of progress."""

import pytest
import torch

from eigenfolio.training.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    OneCycle,
    Plateau,
    Progress,
    Step,
)

EPOCHS, STEPS = 12, 5


def ours(rule, losses=None):
    total = EPOCHS * STEPS
    return [
        rule.factor(Progress(epoch * STEPS + step, total, epoch, STEPS, (losses or [])[:epoch]))
        for epoch in range(EPOCHS)
        for step in range(STEPS)
    ]


def torchs(make, *, per_step, losses=None):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    schedule = make(optimiser)
    rates = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            if per_step:
                schedule.step()
        if not per_step:
            schedule.step(*([losses[epoch]] if losses else []))
    return rates


def test_step_and_exponential_and_cosine_are_those_of_torch():
    lr = torch.optim.lr_scheduler
    assert ours(Step(every=3, gamma=0.3)) == pytest.approx(torchs(lambda o: lr.StepLR(o, 3, 0.3), per_step=False))
    assert ours(Exponential(gamma=0.9)) == pytest.approx(torchs(lambda o: lr.ExponentialLR(o, 0.9), per_step=False))
    cosine = torchs(lambda o: lr.CosineAnnealingLR(o, EPOCHS * STEPS), per_step=True)
    assert ours(Cosine()) == pytest.approx(cosine, abs=1e-9)
    restarts = torchs(lambda o: lr.CosineAnnealingWarmRestarts(o, 3 * STEPS, 2), per_step=True)
    assert ours(CosineRestarts(period=3, growth=2)) == pytest.approx(restarts, abs=1e-9)


def test_plateau_is_that_of_torch():
    losses = [1.0, 0.9, 0.95, 0.96, 0.97, 0.98, 0.85, 0.9, 0.9, 0.9, 0.9, 0.9]
    make = lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(  # noqa: E731
        o, factor=0.5, patience=2, threshold=0.0, threshold_mode="abs"
    )
    assert ours(Plateau(gamma=0.5, patience=2), losses) == pytest.approx(torchs(make, per_step=False, losses=losses))


def test_one_cycle_rises_to_the_peak_and_falls_to_its_end():
    rates = ours(OneCycle(warmup=0.25, start=0.1, end=0.001))
    top = max(range(len(rates)), key=rates.__getitem__)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001)
    assert rates[top] == pytest.approx(1.0, abs=5e-3)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_constant_stays():
    assert set(ours(Constant())) == {1.0}
