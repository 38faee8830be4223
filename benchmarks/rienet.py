"""The spectral network beside RIEnet, the published eigenvalue network, on equal terms.

Run as ``python benchmarks/rienet.py FOLDER [--seeds 3] [--share 1.0] [--jobs 2]``; FOLDER holds the panels, and
``pip install "eigenfolio[bench]"`` brings the package of its authors (rienet-torch 0.1.5: no weights come with it).

Both networks see the same windows, drawn per seed from US stocks through 2012 (20 to 400 names, 63 to 1,008 rows, the
21 rows that follow). Ours is one network with the loss and the three passes of the shipped weights. RIEnet is trained
with Adam on one core for as many CPU seconds as ours took (or ``--times`` as many), the description of the windows
included; on the first seed it may try its own loss, the realised variance of the portfolio, and the logarithm of it,
with each of ``--rates``, every trial as long as the whole of ours, and keeps what does best on other windows of
the same years. Ours tries nothing.

Judged on 2013-2016 in the US cells and books of benchmarks/shrinkage.py. The figure is the mean over windows and seeds
of the log ratio of realised volatilities, ours less RIEnet's, in per cent; negative is calmer. Intervals are block
bootstraps over dates (two windows a block, all cells of a date together). The shipped weights of 2012, three networks
on windows of more kinds, stand beside, and so does the champion, which nobody trained.

References
----------
.. [1] C. Bongiorno, E. Manolakis and R. N. Mantegna (2026). End-to-end large portfolio optimization for variance
   minimization with neural networks through covariance cleaning. The Journal of Finance and Data Science, 100179.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from shrinkage import CELLS, CHAMPION, HORIZON, SPANS, interval, log_volatility, members, read_returns, shown
from skfolio.moments import BaseCovariance
from torch import Tensor

from eigenfolio import NeuralShrinkage
from eigenfolio.artifacts import Bundle
from eigenfolio.constraints import UNCONSTRAINED, Constraints
from eigenfolio.data import Decision
from eigenfolio.evaluation import walk_forward
from eigenfolio.learned.spectra import spectral_window
from eigenfolio.learned.spectral import feature_names
from eigenfolio.models import champion_covariance
from eigenfolio.models.window import prepare_window
from eigenfolio.parallel import run_tasks
from eigenfolio.training.loop import fit
from eigenfolio.training.pretraining import SpectralTraining
from eigenfolio.training.spectral import SpectralSamples, fit_scaler, spectral_loss, spectral_network

try:
    from rienet_torch import RIEnetLayer, variance_loss_function
except ImportError as error:
    raise SystemExit('benchmarks/rienet.py needs rienet-torch: pip install "eigenfolio[bench]"') from error

FloatArray = NDArray[np.float64]

THROUGH = "2012-12-31"
COUNTS = {20: 800, 40: 960, 60: 960, 100: 1280, 150: 640, 200: 540, 300: 240, 400: 120}
LOOKBACKS = (63, 126, 252, 504, 1008)
VALIDATION_SHARE = 0.05
LOSSES = ("variance", "log variance")
RATES = (3e-3, 1e-2, 3e-2)
DAYS = 252.0
OURS, PEER, SHIPPED = "ours", "RIEnet", "shipped 2012"


@dataclass(frozen=True)
class Windows:
    """Windows of one shape: returns seen (n, lookback, n_assets) and those that followed (n, horizon, n_assets)."""

    seen: NDArray[np.float32]
    future: NDArray[np.float32]


def draw(returns: FloatArray, share: float, key: list[int]) -> list[Windows]:
    """Random windows of every shape: names that were quoted on all rows and moved on nine tenths of them."""
    present = _running(np.isfinite(returns))
    moving = _running(np.isfinite(returns) & (returns != 0.0))
    labels = np.nan_to_num(returns)  # a name that ends stays at its last price
    drawn = []
    for n_assets, count in COUNTS.items():
        for lookback in LOOKBACKS if n_assets <= 200 else LOOKBACKS[1:]:
            rng = np.random.default_rng([*key, n_assets, lookback])
            seen, future = [], []
            while len(seen) < max(2, round(share * count / len(LOOKBACKS))):
                t = int(rng.integers(lookback, len(returns) - HORIZON))
                whole = present[t] - present[t - lookback] == lookback
                names = np.flatnonzero(whole & (moving[t] - moving[t - lookback] > 0.9 * lookback))
                if len(names) < n_assets:
                    continue
                chosen = np.sort(rng.choice(names, n_assets, replace=False))
                seen.append(returns[t - lookback : t, chosen])
                future.append(labels[t : t + HORIZON, chosen])
            drawn.append(Windows(np.array(seen, dtype=np.float32), np.array(future, dtype=np.float32)))
    return drawn


def _running(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.vstack([np.zeros((1, flags.shape[1]), np.int32), np.cumsum(flags, axis=0, dtype=np.int32)])


def described(drawn: list[Windows]) -> SpectralSamples:
    """The windows as our network takes them."""
    return SpectralSamples.of(
        [
            (spectral_window(prepare_window(seen.astype(float))), future.astype(float))
            for group in drawn
            for seen, future in zip(group.seen, group.future, strict=True)
        ]
    )


def train_ours(returns: FloatArray, share: float, seed: int) -> tuple[Bundle, float]:
    """One spectral network, and the CPU seconds that description and training took."""
    torch.set_num_threads(1)
    drawn, watched = draw(returns, share, [seed, 0]), draw(returns, share * VALIDATION_SHARE, [seed, 1])
    began = time.process_time()
    options = SpectralTraining(n_members=1)
    samples = described(drawn)
    scaler = fit_scaler(samples)
    network = spectral_network(n_units=options.network.n_units, dropout=options.network.dropout)
    network.initialise(torch.Generator().manual_seed(seed))
    loss = spectral_loss(scaler, options.loss)
    fit([network], samples, loss, validation=described(watched), options=options.loop, seed=seed)
    seconds = time.process_time() - began
    state = {name: tensor.numpy()[None] for name, tensor in network.state_dict().items() if "dropout" not in name}
    bundle = Bundle(
        family="shrinkage",
        network="spectral",
        options=options.network.model_dump(mode="json"),
        feature_names=feature_names(),
        tensors=state | scaler.tensors(),
        trained_through=pd.Timestamp(THROUGH),
    )
    return bundle, seconds


@dataclass(frozen=True)
class Peer:
    """A trained RIEnet: its state, the loss on other windows, and what training took."""

    state: dict[str, Tensor]
    validation: float
    seconds: float
    n_epochs: int


def train_peer(returns: FloatArray, share: float, seed: int, seconds: float, loss: str, rate: float) -> Peer:
    """Train RIEnet for a number of CPU seconds; the number of passes follows from the time of its first steps."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    drawn, watched = draw(returns, share, [seed, 0]), draw(returns, share * VALIDATION_SHARE, [seed, 1])
    layer = RIEnetLayer(output_type="weights")
    layer(torch.from_numpy(drawn[0].seen[:2].swapaxes(1, 2)))  # it builds its parts on the first call
    parts = [part for group in drawn for part in _parts(group)]
    order = np.random.default_rng(seed).permutation(len(parts))
    probe = order[: max(8, len(parts) // 10)]
    kept = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    began = time.process_time()
    _pass(layer, [parts[i] for i in probe], loss, torch.optim.Adam(layer.parameters(), lr=0.0), None)
    per_row = (time.process_time() - began) / sum(_size(parts[i]) for i in probe)
    n_epochs = max(1, round(seconds / (per_row * sum(map(_size, parts)))))
    layer.load_state_dict(kept)
    optimiser = torch.optim.Adam(layer.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=n_epochs * len(parts))
    began = time.process_time()
    for epoch in range(n_epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(parts))
        _pass(layer, [parts[i] for i in order], loss, optimiser, schedule)
    spent = time.process_time() - began
    layer.eval()
    with torch.no_grad():
        losses = torch.cat([_losses(layer, group, "log variance") for group in watched])
    state = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    return Peer(state, float(losses.mean()), spent, n_epochs)


def _parts(group: Windows) -> list[Windows]:
    """Batches of 8 windows up to 75 assets and of as many assets beyond, a quarter of ours: four times the steps."""
    n = len(group.seen)
    pieces = np.array_split(np.arange(n), max(1, round(n / max(2, min(8, round(600 / group.seen.shape[2]))))))
    return [Windows(group.seen[piece], group.future[piece]) for piece in pieces]


def _size(part: Windows) -> float:
    """What a step costs, up to a factor: products of the table, and the eigenvalues."""
    n, rows, assets = part.seen.shape
    return float(n * (rows * assets**2 + 20.0 * assets**3))


def _pass(layer: RIEnetLayer, parts: list[Windows], loss: str, optimiser: Any, schedule: Any) -> None:
    layer.train()
    for part in parts:
        optimiser.zero_grad()
        _losses(layer, part, loss).mean().backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), max_norm=1.0)
        optimiser.step()
        if schedule is not None:
            schedule.step()


def _losses(layer: RIEnetLayer, part: Windows, loss: str) -> Tensor:
    weights = layer(torch.from_numpy(part.seen).transpose(1, 2).contiguous())  # (n, n_assets, 1)
    future = torch.from_numpy(part.future)
    realised = DAYS * future.transpose(1, 2) @ future / HORIZON  # (n, n_assets, n_assets)
    variance = variance_loss_function(realised, weights).flatten()
    return variance if loss == "variance" else torch.log(variance + 1e-9)


class RIEnetCovariance(BaseCovariance):
    """RIEnet as a skfolio estimator; its covariance has a mean inverse variance of one, which no portfolio sees.

    Parameters
    ----------
    state : dict of str to Tensor
        What training has left.
    lookback : int
        Last rows of X to use.
    """

    def __init__(self, state: dict[str, Tensor], *, lookback: int) -> None:
        super().__init__()
        self.state = state
        self.lookback = lookback

    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Clean the covariance of the last rows of X, which must be complete."""
        rows = np.asarray(X, dtype=np.float32)[-self.lookback :]
        inputs = torch.from_numpy(np.ascontiguousarray(rows.T))[None]
        layer = RIEnetLayer(output_type="covariance")
        with torch.no_grad():
            layer(inputs[:, :, -22:])  # it builds its parts on the first call
            layer.load_state_dict(self.state)
            layer.eval()
            covariance = layer(inputs)[0].double().numpy()
        self._set_covariance(0.5 * (covariance + covariance.T))
        return self


def judge(
    returns: pd.DataFrame, n_assets: int, lookback: int, bundles: list[Bundle], states: list[dict[str, Tensor]]
) -> pd.DataFrame:
    """Squared returns per window, model and book of one cell in the years of choice."""
    torch.set_num_threads(1)
    order = np.random.default_rng([n_assets, lookback, 0]).permutation(returns.shape[1])
    first, last = returns.index.searchsorted(list(map(pd.Timestamp, SPANS["choice"])))
    rows = list(range(int(first), int(last) - HORIZON - 1, HORIZON))
    chosen = {row: members(returns, row, n_assets, lookback, order) for row in rows}
    rows = [row for row in rows if chosen[row].sum() == n_assets]
    decisions = [Decision(row, returns.index[row], row + 1, row + 1 + HORIZON) for row in rows]
    eligible = pd.DataFrame([chosen[row] for row in rows], index=returns.index[rows], columns=returns.columns)
    held = returns.columns[eligible.any().to_numpy()]
    models: dict[str, BaseCovariance] = {
        SHIPPED: NeuralShrinkage("2012", lookback=lookback),
        CHAMPION: champion_covariance(lookback=lookback),
    }
    models |= {f"{OURS} {seed}": NeuralShrinkage(bundle, lookback=lookback) for seed, bundle in enumerate(bundles)}
    models |= {f"{PEER} {seed}": RIEnetCovariance(state, lookback=lookback) for seed, state in enumerate(states)}
    cap = 0.10 if n_assets <= 40 else 0.05
    books = {"unconstrained": UNCONSTRAINED, "long-only": Constraints(max_weight=cap)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = walk_forward(models, returns[held], decisions, books=books, eligible=eligible[held])
    if result.failures:
        raise RuntimeError(f"{len(result.failures)} fits failed, first {result.failures[0]}")
    frames = []
    for (model, book), track in result.tracks.items():
        squares = (track.returns**2).groupby(result.windows.to_numpy()).mean().to_numpy()
        frames.append(
            pd.DataFrame({"date": returns.index[rows], "model": model, "book": book, "square": squares, "draw": 0})
        )
    return pd.concat(frames)


def ratios(table: pd.DataFrame, book: str) -> pd.DataFrame:
    """Log ratios by date in per cent, the means over seeds taken first: rows dates, columns comparisons."""
    logs = 100.0 * log_volatility(table, book).groupby("date").mean()
    ours = logs[[name for name in logs.columns if name.startswith(OURS)]].mean(axis=1)
    peer = logs[[name for name in logs.columns if name.startswith(PEER)]].mean(axis=1)
    return pd.DataFrame({"ours": ours - peer, "shipped": logs[SHIPPED] - peer, "champion": logs[CHAMPION] - peer})


def main() -> None:
    """Train both, then print one line per cell and book, and all cells together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the windows that both are trained on")
    parser.add_argument("--times", type=float, default=1.0, help="of our CPU seconds that RIEnet is given")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates that RIEnet may try")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    share, seeds = arguments.share, range(arguments.seeds)
    us = read_returns(arguments.folder, "us")
    past = us.join(read_returns(arguments.folder, "gone"), how="left").loc[:THROUGH].to_numpy()
    trained = run_tasks(train_ours, [(past, share, seed) for seed in seeds], n_jobs=arguments.jobs)
    seconds = float(np.mean([spent for _, spent in trained]))
    print(f"ours: {seconds:.0f} CPU seconds a network ({', '.join(f'{spent:.0f}' for _, spent in trained)})")
    seconds *= arguments.times
    trials = [(loss, rate) for loss in LOSSES for rate in arguments.rates]
    tried = run_tasks(
        train_peer, [(past, share, 0, seconds, loss, rate) for loss, rate in trials], n_jobs=arguments.jobs
    )
    for (loss, rate), peer in zip(trials, tried, strict=True):
        print(
            f"RIEnet, {loss}, rate {rate:g}: {peer.n_epochs} passes in {peer.seconds:.0f} s, "
            f"mean log variance of other windows {peer.validation:.4f}"
        )
    chosen = int(np.argmin([peer.validation for peer in tried]))
    rest = [(past, share, seed, seconds, *trials[chosen]) for seed in seeds if seed != 0]
    peers = [tried[chosen], *run_tasks(train_peer, rest, n_jobs=arguments.jobs)]
    print(f"RIEnet takes {trials[chosen][0]}, rate {trials[chosen][1]:g}: {[round(p.seconds) for p in peers]} s")
    bundles, states = [bundle for bundle, _ in trained], [peer.state for peer in peers]
    tables = run_tasks(judge, [(us, *shape, bundles, states) for shape in CELLS["us"]], n_jobs=arguments.jobs)
    for book in ("unconstrained", "long-only"):
        print(f"\n{book}: log volatility less RIEnet's, trained alike | shipped weights of 2012 | champion")
        found = [ratios(table, book) for table in tables]
        for (n_assets, lookback), dates in zip(CELLS["us"], found, strict=True):
            worse = " SIGNIFICANTLY WORSE" if interval(dates["ours"])[1] > 0.0 else ""
            print(f"{n_assets:>4},{lookback:>5} | " + " | ".join(shown(dates[name]) for name in dates) + worse)
        together = pd.concat(found).groupby(level=0).mean()
        print(f"  together | {' | '.join(shown(together[name]) for name in together)}")


if __name__ == "__main__":
    main()
