"""What the size of a shrinkage network costs at inference, and how steadily each size trains.

Run as ``python benchmarks/sizing.py``; half a minute, no data needed. A line is one size of one of the networks: the
spectral network of 8 to 64 units, and the attention and the dense network as `sized_options` makes them for 50, 200 and
800 assets with ample windows, and for 200 with as few as teach here. Every size is trained on the same 300 simulated
windows as the others of its network, five members with initial weights and dropout of their own.

- ratio: CPU seconds of the forward pass of one member for a window of 504 rows, inputs given, to those of one
  `numpy.linalg.eigh` of as many assets; medians of alternating calls on one BLAS thread.
- loss, std: mean and standard deviation over the members of the validation loss after the last epoch; a loss is one of
  its network, so it compares sizes and not networks.
- diverged: members that end above their untrained start. A loss that is not finite stops the whole group, which is said
  in place of the line.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from shrinkage_speed import alternating_medians, returns
from threadpoolctl import threadpool_limits

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.attention import AttentionForward
from eigenfolio.learned.dense import DenseForward
from eigenfolio.learned.estimates import dense_feature_names, dense_inputs
from eigenfolio.learned.single_members import member_bundle
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import SpectralForward
from eigenfolio.learned.tokens import describe_tokens
from eigenfolio.models.networks.sizing import sized_options
from eigenfolio.models.window import prepare_window
from eigenfolio.training.attention import AttentionTraining, DenseTraining, train_on_tokens
from eigenfolio.training.guards import TrainingError
from eigenfolio.training.mixture import WindowSource
from eigenfolio.training.pretraining import SpectralOptions, SpectralTraining, TrainedVintage, train_spectral

ASSETS, ROWS = (50, 200, 800), 504
SPECTRAL_UNITS = (8, 16, 32, 64)
MEMBERS, SEED, EPOCHS = 5, 0, 3
WINDOWS = WindowSource(name="populations", counts={15: 150, 30: 150}, change="population", max_lookback=252)


def trainings() -> dict[str, Callable[[], TrainedVintage]]:
    """The training of every size, by its name."""
    common = {"n_members": MEMBERS, "validation_share": 0.5, "sources": (WINDOWS,)}
    made: dict[str, Callable[[], TrainedVintage]] = {}
    for n_units in SPECTRAL_UNITS:
        options = SpectralTraining(network=SpectralOptions(n_units=n_units), heads_share=0.0, **common)
        made[f"spectral, {n_units}"] = lambda o=options: train_spectral({}, None, options=o, seed=SEED)
    for kind, name in ((AttentionTraining, "attention"), (DenseTraining, "dense")):
        loop = kind().loop.model_copy(update={"max_epochs": EPOCHS, "patience": EPOCHS})
        for n, n_windows in [*((n, None) for n in ASSETS), (200, WINDOWS.n_windows)]:
            network = sized_options(name, n, n_windows, base=kind().network)
            sizes = network.extractor_sizes if name == "attention" else network.hidden_sizes
            options = kind(network=network, n_calibration=40, loop=loop, **common)
            label = f"{name}, {'-'.join(map(str, sizes))} ({n} assets{', few windows' if n_windows else ''})"
            made[label] = lambda o=options: train_on_tokens({}, None, options=o, seed=SEED)
    return made


def forward_pass(bundle: Bundle, X: np.ndarray) -> Callable[[], object]:
    """The forward pass of a bundle on the window X, its inputs prepared."""
    window = prepare_window(X)
    if bundle.network == "spectral":
        spectral, described = SpectralForward(bundle), spectral_window(window)
        return lambda: spectral.members(described)
    if bundle.network == "attention":
        attention = AttentionForward(bundle)
        tokens = describe_tokens(window, start=attention.targets[0])
        return lambda: attention.members(tokens)
    inputs = tuple(bundle.options["inputs"])
    dense = DenseForward(bundle, dense_feature_names(inputs))
    base, features, regime = dense_inputs(window, inputs, start=bundle.options["targets"][0])
    return lambda: dense.members(features, base.classical_logit, regime)


def ratio(bundle: Bundle, X: np.ndarray) -> float:
    """CPU seconds of the forward pass to those of the eigendecomposition that goes before it."""
    correlation = np.corrcoef(X.T)
    pair = {"eigh": lambda: np.linalg.eigh(correlation), "forward": forward_pass(bundle, X)}
    seconds = alternating_medians(pair, repeats=40 if X.shape[1] <= 200 else 7)
    return seconds["forward"] / seconds["eigh"]


def stability(vintage: TrainedVintage) -> tuple[float, float, int]:
    """Mean and standard deviation of the last validation loss, and how many members ended above their start."""
    start, last = (
        np.array([history.epochs[at].validation["total"] for history in vintage.histories]) for at in (0, -1)
    )
    return float(last.mean()), float(last.std(ddof=1)), int((last > start).sum())


def main() -> None:
    """Print one line per size."""
    panels = {n: returns(n, ROWS) for n in ASSETS}
    print(f"{'network, units':<42}" + "".join(f"{f'ratio at {n}':>14}" for n in ASSETS) + "    loss      std  diverged")
    bundles, told = {}, {}
    for name, train in trainings().items():
        began = time.process_time()
        try:
            vintage = train()
        except TrainingError as error:
            print(f"# {name}: {error}", flush=True)
            continue
        loss, std, diverged = stability(vintage)
        told[name] = f"{loss:>8.4f}{std:>9.5f}{diverged:>5} of {MEMBERS}"
        bundles[name] = member_bundle(vintage.bundle, 0)
        print(f"# {name}: trained in {time.process_time() - began:.0f} s", flush=True)
    for name, bundle in bundles.items():
        ratios = "".join(f"{ratio(bundle, X):>14.3f}" for X in panels.values())
        print(f"{name:<42}{ratios}{told[name]}")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
