"""Which graph method is best, and whether that is more than noise.

There are two kinds of noise. Networks that differ in nothing but their seed end up with different losses and Sharpe
ratios; and the days judged are one draw of many. So a ranking is called more than noise only if both hold:

- the methods differ more than their seeds: of the ratio of the variance between methods to that within them, over all
  ways to hand the results out to the methods at random, at most 5 % (or 1 - confidence) are as large;
- the Sharpe ratios of the best method and of the next, each the mean book of its seeds, differ: the block-bootstrap
  interval leaves zero out.

Both are about out-of-sample Sharpe ratios. The order by validation loss, all that could have been known before,
stands beside them, with its rank correlation to what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau

from eigenfolio.errors import DataError

__all__ = ["Ranking", "between_methods", "rank_methods"]

N_SHUFFLES = 10_000


@dataclass(frozen=True)
class Ranking:
    """The methods, the best first, and what the order is worth.

    Parameters
    ----------
    table : DataFrame
        One row per method, sorted by the mean Sharpe ratio of its seeds: `sharpe_mean`, `sharpe_sd` and `n_seeds`
        out of sample; `sharpe_together` of the mean book; `loss_mean` and `loss_sd` of the best validation losses;
        `loss_rank`, 1 for the lowest.
    f_ratio, p_value : float or None
        Variance between methods over that of seeds, and the share of random hand-outs with one as large; None where
        there are fewer than two seeds or methods.
    agreement : float or None
        Kendall's tau between the orders by validation loss and out of sample.
    more_than_noise : bool or None
        None where it cannot be told.
    sentences : tuple of str
    """

    table: pd.DataFrame
    f_ratio: float | None
    p_value: float | None
    agreement: float | None
    more_than_noise: bool | None
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "order": list(self.table.index),
            "f_ratio": self.f_ratio,
            "p_value": self.p_value,
            "agreement": self.agreement,
            "more_than_noise": self.more_than_noise,
            "statement": " ".join(self.sentences),
        }


def between_methods(
    values: npt.ArrayLike, *, rng: np.random.Generator, n_shuffles: int = N_SHUFFLES
) -> tuple[float, float]:
    """Whether rows differ more than what stands in them, by handing the values out at random.

    Parameters
    ----------
    values : array-like of shape (n_methods, n_seeds)
        At least two of each.
    rng : Generator
    n_shuffles : int
        Random hand-outs.

    Returns
    -------
    f_ratio : float
        Variance between methods over that within; infinite where seeds do not differ.
    p_value : float
        Share of hand-outs, the real one counted, with a ratio at least as large.

    Raises
    ------
    DataError
        With fewer than two methods or seeds, or a value that is not finite.

    Examples
    --------
    >>> values = [[1.0, 1.1, 0.9], [3.0, 3.1, 2.9]]
    >>> f_ratio, p_value = between_methods(values, rng=np.random.default_rng(0))
    >>> round(f_ratio), p_value < 0.15
    (600, True)
    """
    table = np.asarray(values, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise DataError(f"a comparison needs finite values of at least 2 methods and 2 seeds, got shape {table.shape}")
    found = _f_ratio(table[None])[0]
    shuffled = rng.permuted(np.tile(table.ravel(), (n_shuffles, 1)), axis=1).reshape(-1, *table.shape)
    as_large = int((_f_ratio(shuffled) >= found * (1.0 - 1e-12)).sum())
    return float(found), (1 + as_large) / (1 + n_shuffles)


def _f_ratio(tables: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, n_methods, n_seeds = tables.shape
    means = tables.mean(axis=2)
    between = n_seeds * means.var(axis=1, ddof=1)
    within = ((tables - means[:, :, None]) ** 2).sum(axis=(1, 2)) / (n_methods * (n_seeds - 1))
    ratio: npt.NDArray[np.float64] = np.divide(
        between, within, out=np.where(between > 0.0, np.inf, 0.0), where=within > 0.0
    )
    return ratio


def rank_methods(
    sharpes: Mapping[str, list[float]],
    losses: Mapping[str, list[float]],
    together: Mapping[str, float],
    *,
    interval: tuple[float, float] | None,
    confidence: float,
    rng: np.random.Generator,
) -> Ranking:
    """Order the methods and say what the order is worth.

    Parameters
    ----------
    sharpes : mapping of str to list of float
        Out-of-sample Sharpe ratio of every seed, by method.
    losses : mapping of str to list of float
        Best validation loss of every seed, mean over the spans.
    together : mapping of str to float
        Sharpe ratio of the mean book of the seeds.
    interval : (float, float) or None
        Of the Sharpe ratio of the best method less that of the next, both as in `together`, in the order that
        `together` gives; None with a single method.
    confidence : float
        Of the interval; 1 - confidence is the level of the other comparison.
    rng : Generator

    Returns
    -------
    Ranking

    Examples
    --------
    >>> ranking = rank_methods(
    ...     {"mst": [0.5, 0.6], "tmfg": [0.5, 0.7]}, {"mst": [-0.1, -0.1], "tmfg": [-0.2, -0.1]},
    ...     {"mst": 0.55, "tmfg": 0.62}, interval=(-0.3, 0.4), confidence=0.95, rng=np.random.default_rng(0),
    ... )
    >>> ranking.more_than_noise, list(ranking.table.index)
    (False, ['tmfg', 'mst'])
    """
    table = pd.DataFrame(
        {
            method: {
                "sharpe_mean": float(np.mean(sharpes[method])),
                "sharpe_sd": _deviation(sharpes[method]),
                "n_seeds": len(sharpes[method]),
                "sharpe_together": together[method],
                "loss_mean": float(np.mean(losses[method])),
                "loss_sd": _deviation(losses[method]),
            }
            for method in sharpes
        }
    ).T
    ranks = table["loss_mean"].rank(method="min").astype(int)
    table = table.assign(n_seeds=table["n_seeds"].astype(int), loss_rank=ranks)
    table = table.sort_values(["sharpe_mean"], ascending=False, kind="stable")
    several = len(table) > 1
    f_ratio, p_value = None, None
    if several and int(table["n_seeds"].min()) > 1:
        f_ratio, p_value = between_methods([sharpes[method] for method in sharpes], rng=rng)
    agreement = None
    if several:
        tau = float(kendalltau(-table["loss_mean"], table["sharpe_mean"]).statistic)
        agreement = tau if np.isfinite(tau) else None
    seeds = None if p_value is None else bool(p_value <= 1.0 - confidence)
    dates = None if interval is None else not interval[0] <= 0.0 <= interval[1]
    decided = None if seeds is None or dates is None else seeds and dates
    verdict = _VERDICTS[bool(seeds), bool(dates)]
    told = _told(table, p_value, agreement, interval, verdict)
    return Ranking(table, f_ratio, p_value, agreement, decided, tuple(told))


_VERDICTS = {
    (True, True): "more than noise",
    (True, False): "beyond the spread of the seeds, but not beyond the noise of the dates",
    (False, True): "beyond the noise of the dates, but not beyond the spread of the seeds",
    (False, False): "no more than noise",
}
"""By whether the seeds and whether the dates leave the order standing."""


def _deviation(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _told(
    table: pd.DataFrame,
    p_value: float | None,
    agreement: float | None,
    interval: tuple[float, float] | None,
    verdict: str,
) -> list[str]:
    order = ", ".join(
        f"{method} {row['sharpe_mean']:.2f}" + (f" +- {row['sharpe_sd']:.2f}" if row["n_seeds"] > 1 else "")
        for method, row in table.iterrows()
    )
    n_seeds = int(table["n_seeds"].max())
    over = f"mean and deviation over {n_seeds} seeds" if n_seeds > 1 else "one seed"
    told = [f"Sharpe ratio out of sample, {over}: {order}."]
    if interval is None:
        return [*told, "One method alone cannot be ranked."]
    if p_value is None:
        told.append("With one seed a difference between methods cannot be told from one between seeds.")
    else:
        told.append(
            f"The order is {verdict}: of random orders of the same results {100 * p_value:.2g} % separate the methods "
            f"as well (spread of seeds), and the Sharpe ratio of the best mean book less that of the next lies in "
            f"{interval[0]:+.2f} to {interval[1]:+.2f} (noise of the dates)."
        )
    if agreement is not None:
        told.append(f"The order by validation loss agrees with it by a rank correlation of {agreement:+.2f}.")
    return told
