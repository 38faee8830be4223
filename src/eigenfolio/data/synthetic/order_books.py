"""Limit order books with ten levels and a known relation between imbalance and the next move of the mid price.

The imbalance of the first `signal_levels` levels, with B the summed bid and A the summed ask sizes, is

    imbalance = (B - A) / (B + A),    signal x = atanh(imbalance) / steepness

and x is a standard normal, first-order autoregressive series. The mid moves by one tick or stays:

    y = rho * x + sqrt(1 - rho^2) * noise,    move = sign(y) where |y| > theta, else 0
    theta = N^-1(1 - move_probability / 2)

In a planted book rho is such that the correlation of x with the move it predicts (the information coefficient)
is the stated one; in a null book rho is 0 and the same book says nothing. With phi the normal density and T
Owen's function, for every snapshot and not only on average,

    IC       = rho * 2 phi(theta) / sqrt(move_probability)
    accuracy = P(sign(x) = sign(move) | a move) = 1/2 + 2 T(theta, rho / sqrt(1 - rho^2)) / move_probability

Time: the book at snapshot s predicts the move from snapshot s + delay - 1 to s + delay, so with delay = 1 the
next one. Sizes beyond the signal levels, the spread, the gaps between levels and the trades are drawn
independently of everything else. Prices are in currency on a grid of ticks, sizes are whole lots; rounding sizes
moves the information coefficient by less than one part in ten thousand.

References
----------
.. [1] R. Cont, A. Kukanov and S. Stoikov (2014). The price impact of order book events. Journal of Financial
   Econometrics 12(1), 47-88.
.. [2] D. B. Owen (1956). Tables for computing bivariate normal probabilities. Annals of Mathematical
   Statistics 27(4), 1075-1090.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import lfilter
from scipy.special import owens_t
from scipy.stats import norm

from eigenfolio.data.order_books import OrderBook
from eigenfolio.errors import ParameterError

__all__ = ["BOOK_COLUMNS", "BookScore", "SyntheticBook", "order_book"]

FloatArray = npt.NDArray[np.float64]

N_LEVELS = 10
BOOK_COLUMNS: tuple[str, ...] = tuple(
    f"{side}_{field}_{level}"
    for level in range(1, N_LEVELS + 1)
    for side, field in (("ask", "price"), ("ask", "size"), ("bid", "price"), ("bid", "size"))
)
"""Columns of a snapshot, level by level in the order of LOBSTER files."""

_STEEPNESS = 0.4  # imbalance = tanh(0.4 x): one standard deviation of x is an imbalance of 0.38
_MEAN_SIZE = 400.0


@dataclass(frozen=True)
class BookScore:
    """What a forecaster that knows the signal exactly can expect.

    Parameters
    ----------
    information_coefficient : float
        Correlation of the signal with the move it predicts, in ticks (0 where the mid stays).
    directional_accuracy : float
        Probability that the signal's sign is the move's, given that the mid moves.
    majority_rate : float
        The same for a forecaster that always says the same sign: 0.5, because moves are symmetric.
    move_probability : float
        Probability that the mid moves.
    ticks_per_snapshot : float
        Expected gain of holding one unit in the signal's direction over the move, before costs, in ticks.
    """

    information_coefficient: float
    directional_accuracy: float
    majority_rate: float
    move_probability: float
    ticks_per_snapshot: float


@dataclass(frozen=True, eq=False)
class SyntheticBook:
    """Snapshots of an order book, its trades, and what its imbalance knows.

    Parameters
    ----------
    snapshots : DataFrame of shape (n_snapshots, 41)
        `BOOK_COLUMNS` and `mid`, indexed by time. Ask prices rise and bid prices fall with the level, the best ask
        is above the best bid, sizes are positive whole numbers.
    trades : DataFrame
        Columns `time`, `price`, `volume`, `side` (1 a buyer's trade, -1 a seller's), labelled by row of the
        snapshots; a buyer pays the snapshot's best ask, a seller gets its best bid.
    signal : Series of shape (n_snapshots,)
        The signal x of the module's formula, computed from the sizes of the same snapshot.
    delay : int
        The signal at snapshot s predicts the move from s + delay - 1 to s + delay.
    oracle_score : BookScore
        Of a forecaster that knows the signal.
    tick : float
        Grid of the prices, in currency.
    kind : str
        "null" or "imbalance".
    seed : int or None
        What it was drawn from; None when a Generator was handed over.
    parameters : dict
        Everything else it was drawn from.
    """

    snapshots: pd.DataFrame
    trades: pd.DataFrame
    signal: pd.Series
    delay: int
    oracle_score: BookScore
    tick: float
    kind: str
    seed: int | None
    parameters: dict[str, Any]

    @property
    def information_coefficient(self) -> float:
        """Stated correlation of the signal with the move it predicts."""
        return self.oracle_score.information_coefficient

    @property
    def moves(self) -> pd.Series:
        """Move that the signal of each snapshot predicts, in ticks; NaN in the last `delay` snapshots."""
        ticks = (self.snapshots["mid"].diff() / self.tick).round()
        return ticks.shift(-self.delay).rename("move")

    @cached_property
    def book(self) -> OrderBook:
        """The snapshots as the book that features are measured on."""
        return OrderBook.from_frame(self.snapshots, source=f"synthetic {self.kind} book")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over times, snapshots and trades."""
        digest = hashlib.sha256(b"eigenfolio order book 1")
        digest.update(pd.DatetimeIndex(self.snapshots.index).as_unit("ns").asi8.astype("<i8").tobytes())
        digest.update(self.snapshots.to_numpy(dtype="<f8").tobytes())
        digest.update(self.trades.index.to_numpy(dtype="<i8").tobytes())
        digest.update(self.trades[["price", "volume", "side"]].to_numpy(dtype="<f8").tobytes())
        return digest.hexdigest()

    def measured_score(self, forecast: pd.Series) -> BookScore:
        """Score any forecast against the moves of this book, with the definitions of the oracle's score.

        Parameters
        ----------
        forecast : Series of shape (n_snapshots,)
            Larger means a rise is likelier; on the times of the snapshots. Missing values are left out.

        Returns
        -------
        BookScore
            `majority_rate` is that of the commoner sign in the sample.
        """
        moves = self.moves
        both = (forecast.notna() & moves.notna()).to_numpy()
        x, move = forecast.to_numpy(dtype=float)[both], moves.to_numpy()[both]
        moved = move != 0
        spread = float(np.std(x) * np.std(move))
        up = float(np.mean(move[moved] > 0)) if moved.any() else 0.5
        return BookScore(
            float(np.mean((x - x.mean()) * (move - move.mean()))) / spread if spread > 0 else 0.0,
            float(np.mean(np.sign(x[moved]) == move[moved])) if moved.any() else 0.5,
            max(up, 1.0 - up),
            float(np.mean(moved)),
            float(np.mean(np.sign(x) * move)),
        )


def order_book(
    n_snapshots: int,
    *,
    information_coefficient: float = 0.0,
    seed: int | np.random.Generator = 0,
    signal_levels: int = 3,
    persistence: float = 0.5,
    move_probability: float = 0.4,
    delay: int = 1,
    trades_per_snapshot: float = 0.5,
    tick: float = 0.01,
    first_mid: float = 100.005,
    start: str = "2020-01-02 09:30:00",
    seconds: float = 1.0,
) -> SyntheticBook:
    """Draw a ten-level order book whose imbalance predicts the next mid move as well as stated, or not at all.

    Parameters
    ----------
    n_snapshots : int
        Rows, above `delay`.
    information_coefficient : float in [0, 1)
        Correlation of the signal with the move it predicts; 0 is a null book.
    seed : int or Generator
        Randomness. A null and a planted book of one seed have the same sizes and spreads.
    signal_levels : int in [1, 10]
        Levels whose summed sizes make the imbalance.
    persistence : float in [0, 1)
        Autocorrelation of the signal from snapshot to snapshot.
    move_probability : float in (0, 1)
        Probability that the mid moves between two snapshots.
    delay : int
        Snapshots from the signal to the end of the move it predicts, at least 1.
    trades_per_snapshot : float
        Mean number of trades (Poisson).
    tick, first_mid : float
        Grid of the prices, and the first mid price (moved to the middle between two ticks), in currency.
    start : str
        Time of the first snapshot.
    seconds : float
        Time between snapshots.

    Returns
    -------
    SyntheticBook

    Raises
    ------
    ParameterError
        If an option is out of range, the information coefficient cannot be reached with that move probability, or
        the price would fall to zero.

    Examples
    --------
    >>> book = order_book(2_000, information_coefficient=0.2, seed=1)
    >>> book.snapshots.shape
    (2000, 41)
    >>> round(book.oracle_score.directional_accuracy, 3)
    0.626
    >>> 0.57 < book.measured_score(book.signal).directional_accuracy < 0.67
    True
    """
    rho, theta = _latent_correlation(information_coefficient, move_probability)
    if delay < 1 or n_snapshots <= delay:
        raise ParameterError(
            f"delay must be at least 1 and n_snapshots above it, got delay={delay}, n_snapshots={n_snapshots}"
        )
    if not 1 <= signal_levels <= N_LEVELS:
        raise ParameterError(f"signal_levels must be between 1 and {N_LEVELS}, got {signal_levels}")
    if not 0 <= persistence < 1:
        raise ParameterError(f"persistence must be in [0, 1), got {persistence}")
    if not (tick > 0 and seconds > 0 and trades_per_snapshot >= 0):
        raise ParameterError(
            f"tick and seconds must be positive and trades_per_snapshot at least 0, got {tick}, {seconds} and "
            f"{trades_per_snapshot}"
        )
    rng = np.random.default_rng(seed)

    signal = _autoregression(n_snapshots, persistence, rng)
    sizes = _sizes(signal, signal_levels, rng)
    signal = _signal(sizes, signal_levels)  # of the whole lots, so that the book says it exactly
    half_spread, gaps = _shape(n_snapshots, rng)
    trades = _trades(n_snapshots, trades_per_snapshot, rng)

    latent = rng.standard_normal(n_snapshots)
    latent[delay:] = rho * signal[:-delay] + np.sqrt(1.0 - rho**2) * latent[delay:]
    move = np.where(np.abs(latent) > theta, np.sign(latent), 0.0)
    move[0] = 0.0
    first_tick = np.floor(first_mid / tick) + 0.5
    mid = first_tick + np.cumsum(move)  # in ticks, always between two of them
    prices = _prices(mid, half_spread, gaps)
    if prices.min() < 1:
        raise ParameterError(
            f"the price falls to zero within {n_snapshots} snapshots; raise first_mid={first_mid} or lower tick={tick}"
        )

    index = pd.date_range(start, periods=n_snapshots, freq=pd.Timedelta(seconds=seconds), name="time")
    table = np.empty((n_snapshots, N_LEVELS, 2, 2))
    table[..., 0] = prices * tick
    table[..., 1] = sizes
    snapshots = pd.DataFrame(table.reshape(n_snapshots, -1), index=index, columns=list(BOOK_COLUMNS))
    snapshots["mid"] = mid * tick
    score = BookScore(
        information_coefficient,
        float(0.5 + 2.0 * owens_t(theta, rho / np.sqrt(1.0 - rho**2)) / move_probability),
        0.5,
        move_probability,
        0.0,
    )
    gain = move_probability * (2.0 * score.directional_accuracy - 1.0)
    return SyntheticBook(
        snapshots,
        _trade_table(trades, snapshots),
        pd.Series(signal, index=index, name="signal"),
        delay,
        BookScore(**{**asdict(score), "ticks_per_snapshot": gain}),
        tick,
        "imbalance" if information_coefficient > 0 else "null",
        None if isinstance(seed, np.random.Generator) else int(seed),
        {
            "n_snapshots": n_snapshots,
            "information_coefficient": information_coefficient,
            "signal_levels": signal_levels,
            "persistence": persistence,
            "move_probability": move_probability,
            "delay": delay,
            "trades_per_snapshot": trades_per_snapshot,
            "tick": tick,
            "first_mid": first_mid,
            "start": start,
            "seconds": seconds,
        },
    )


def _latent_correlation(coefficient: float, move_probability: float) -> tuple[float, float]:
    """Correlation of x with the latent y, and the threshold theta, for a stated information coefficient."""
    if not 0 < move_probability < 1:
        raise ParameterError(f"move_probability must be in (0, 1), got {move_probability}")
    theta = float(norm.isf(move_probability / 2.0))
    highest = 2.0 * float(norm.pdf(theta)) / np.sqrt(move_probability)
    if not 0 <= coefficient < highest:
        raise ParameterError(
            f"information_coefficient must be in [0, {highest:.3f}) with move_probability={move_probability}, "
            f"got {coefficient}"
        )
    return coefficient / highest, theta


def _autoregression(n_rows: int, persistence: float, rng: np.random.Generator) -> FloatArray:
    """Stationary first-order autoregression with unit variance."""
    noise = rng.standard_normal(n_rows)
    noise[1:] *= np.sqrt(1.0 - persistence**2)
    return lfilter([1.0], [1.0, -persistence], noise)


def _sizes(signal: FloatArray, signal_levels: int, rng: np.random.Generator) -> FloatArray:
    """Whole lots, (n_snapshots, 10, 2) with asks first; the signal levels share a total that has the imbalance."""
    n_rows = len(signal)
    sizes = 1.0 + np.floor(rng.gamma(2.0, _MEAN_SIZE / 2.0, size=(n_rows, N_LEVELS, 2)))
    total = signal_levels * (2_000.0 + rng.gamma(2.0, _MEAN_SIZE, size=n_rows))
    share = 0.5 * (1.0 + np.tanh(_STEEPNESS * signal))
    parts = rng.gamma(4.0, size=(n_rows, signal_levels, 2))
    parts /= parts.sum(axis=1, keepdims=True)
    parts *= (total[:, None] * np.stack([1.0 - share, share], axis=1))[:, None, :]
    edges = np.rint(np.cumsum(parts, axis=1))  # rounding the running sum keeps the total
    sizes[:, :signal_levels] = np.maximum(np.diff(edges, axis=1, prepend=0.0), 1.0)
    return sizes


def _signal(sizes: FloatArray, signal_levels: int) -> FloatArray:
    ask, bid = sizes[:, :signal_levels].sum(axis=1).T
    return np.arctanh((bid - ask) / (bid + ask)) / _STEEPNESS


def _shape(n_rows: int, rng: np.random.Generator) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Half spreads (odd spreads of 1, 3, 5, ... ticks) and gaps to the level above, (n_rows, 9, 2), in ticks."""
    half_spread = 0.5 + (rng.geometric(0.8, size=n_rows) - 1.0)
    gaps = rng.geometric(0.85, size=(n_rows, N_LEVELS - 1, 2)).astype(float)
    return half_spread, gaps


def _prices(mid: FloatArray, half_spread: FloatArray, gaps: FloatArray) -> FloatArray:
    """Prices in ticks, (n_snapshots, 10, 2) with asks first."""
    away = np.concatenate([np.zeros((len(mid), 1, 2)), np.cumsum(gaps, axis=1)], axis=1) + half_spread[:, None, None]
    return mid[:, None, None] + away * np.array([1.0, -1.0])


def _trades(n_rows: int, mean: float, rng: np.random.Generator) -> tuple[npt.NDArray[Any], ...]:
    """Snapshot, whether a buy, and share of the best size taken, for every trade in order of time."""
    row = np.repeat(np.arange(n_rows), rng.poisson(mean, size=n_rows))
    return row, rng.random(len(row)) < 0.5, rng.random(len(row))


def _trade_table(trades: tuple[npt.NDArray[Any], ...], snapshots: pd.DataFrame) -> pd.DataFrame:
    row, buy, share = trades
    best = {
        name: snapshots[name].to_numpy()[row] for name in ("ask_price_1", "ask_size_1", "bid_price_1", "bid_size_1")
    }
    return pd.DataFrame(
        {
            "time": snapshots.index[row],
            "price": np.where(buy, best["ask_price_1"], best["bid_price_1"]),
            "volume": np.ceil(share * 0.2 * np.where(buy, best["ask_size_1"], best["bid_size_1"])).clip(min=1.0),
            "side": np.where(buy, 1.0, -1.0),
        },
        index=row,
    )
