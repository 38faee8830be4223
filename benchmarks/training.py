"""Time of the training loop as ratios to plain torch, and of a group to its members one after another.

Run as ``python benchmarks/training.py``; about two minutes. One thread, CPU seconds, best of several runs that take
turns. The network is a multilayer perceptron 64-128-64-1 on 2048 samples in batches of 32; gradients are clipped by
norm (``clip_grad_norm_`` in plain torch) and Adam moves (``fused=True`` in plain torch), in both. Plain torch takes
its batches by slicing permuted tensors, keeps no record and validates nothing, so the loop's own epochs are timed
as the difference of a long and a short run, over validation on one batch.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from eigenfolio.artifacts import CheckpointStore
from eigenfolio.training.loop import LoopOptions, Loss, TensorSamples, fit
from eigenfolio.training.optimisers import Adam
from eigenfolio.training.schedules import Constant

N_SAMPLES, BATCH, RATE, CLIP = 2048, 32, 1e-3, 1.0
SHORT, LONG = 1, 4  # epochs; a difference of runs leaves setup and the untrained epoch out


def network(seed: int, *, norm: bool) -> nn.Sequential:
    """The perceptron, with or without batch normalisation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for n_in, n_out in ((64, 128), (128, 64)):
            layers += [nn.Linear(n_in, n_out), *([nn.BatchNorm1d(n_out)] if norm else []), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, 1))


def samples(n_samples: int, *, seed: int) -> TensorSamples:
    """A linear signal in noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples, 64, generator=generator)
    return TensorSamples({"x": x, "y": x[:, 0] + 0.1 * torch.randn(n_samples, generator=generator)})


TRAIN, VALIDATION = samples(N_SAMPLES, seed=0), samples(BATCH, seed=1)


def squared_error(call: Callable[..., Tensor], batch: dict[str, Tensor]) -> Loss:
    """Squared error of every member and sample."""
    return Loss((call(batch["x"])[..., 0] - batch["y"]) ** 2, {})


def plain(n_epochs: int, *, n_members: int, norm: bool) -> None:
    """Members trained one after another in plain torch."""
    x, y = TRAIN.tensors["x"], TRAIN.tensors["y"]
    for member in range(n_members):
        model = network(member, norm=norm).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
        generator = torch.Generator().manual_seed(member)
        for _ in range(n_epochs):
            order = torch.randperm(N_SAMPLES, generator=generator)
            x_epoch, y_epoch = x[order], y[order]
            for start in range(0, N_SAMPLES, BATCH):
                optimiser.zero_grad()
                error = model(x_epoch[start : start + BATCH])[:, 0] - y_epoch[start : start + BATCH]
                (error**2).mean().backward()
                nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                optimiser.step()


def ours(n_epochs: int, *, n_members: int, norm: bool, together: bool = True, **more: Any) -> None:
    """Members trained by the loop, as one group or one after another."""
    options = LoopOptions(
        max_epochs=n_epochs, patience=n_epochs, batch_size=BATCH, learning_rate=RATE, optimiser=Adam(),
        schedule=Constant(), clip_norm=CLIP,
    )  # fmt: skip
    networks = [network(member, norm=norm) for member in range(n_members)]
    for group in [networks] if together else [[one] for one in networks]:
        fit(group, TRAIN, squared_error, validation=VALIDATION, options=options, seed=0, **more)


def with_checkpoints(n_epochs: int, *, n_members: int, norm: bool) -> None:
    """The loop with a checkpoint after every epoch."""
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder), identity={"task": "benchmark"})
        ours(n_epochs, n_members=n_members, norm=norm, store=store)


def with_progress(n_epochs: int, *, n_members: int, norm: bool) -> None:
    """The loop with a line of progress after every epoch."""
    with open(os.devnull, "w") as shown:
        ours(n_epochs, n_members=n_members, norm=norm, on_epoch=lambda epoch: print(epoch, file=shown, flush=True))


def per_epoch(functions: dict[str, Callable[[int], None]], *, repeats: int = 7) -> dict[str, float]:
    """CPU milliseconds of an epoch: the best long run less the best short one, all functions taking turns."""
    best: dict[tuple[str, int], float] = {}
    for _ in range(repeats):
        for name, function in functions.items():
            for n_epochs in (SHORT, LONG):
                start = time.process_time()
                function(n_epochs)
                taken = time.process_time() - start
                best[name, n_epochs] = min(taken, best.get((name, n_epochs), taken))
    return {name: 1e3 * (best[name, LONG] - best[name, SHORT]) / (LONG - SHORT) for name in functions}


def main() -> None:
    """Print what an epoch takes and the ratios."""
    n_steps = N_SAMPLES // BATCH
    for norm in (False, True):
        title = "with" if norm else "without"
        print(f"\n{title} batch normalisation")
        found = per_epoch(
            {"plain": partial(plain, n_members=1, norm=norm), "loop": partial(ours, n_members=1, norm=norm)}
        )
        print(
            f"  one network: step {1e3 * found['plain'] / n_steps:.0f} us in plain torch, "
            f"{1e3 * found['loop'] / n_steps:.0f} us in the loop: {found['loop'] / found['plain']:.2f} x"
        )
        for n_members in (8, 16):
            found = per_epoch(
                {
                    "plain": partial(plain, n_members=n_members, norm=norm),
                    "singles": partial(ours, n_members=n_members, norm=norm, together=False),
                    "group": partial(ours, n_members=n_members, norm=norm),
                },
                repeats=5,
            )
            print(
                f"  {n_members} networks: step of the group {1e3 * found['group'] / n_steps:.0f} us; as fast as "
                f"{found['plain'] / found['group']:.2f} x plain torch and {found['singles'] / found['group']:.2f} x "
                f"the loop, one after another"
            )
    print("\nper epoch, without batch normalisation")
    for n_members in (1, 8):
        found = per_epoch(
            {
                "loop": partial(ours, n_members=n_members, norm=False),
                "checkpoint": partial(with_checkpoints, n_members=n_members, norm=False),
                "progress": partial(with_progress, n_members=n_members, norm=False),
            },
            repeats=7,
        )
        for name in ("checkpoint", "progress"):
            extra = found[name] - found["loop"]
            print(f"  {n_members} network(s), {name}: {extra:+.2f} ms on {found['loop']:.1f} ms")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        main()
