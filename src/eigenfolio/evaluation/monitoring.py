r"""Is a model still what it was when it was judged? Sequential alarms on a dated track, at a stated rate of false ones.

Four things are watched against a reference span, on which the model was judged; row by row in the order of time,

    risk         (r_t / sigma_t)^2                                  made for a doubled variance        k = 2 ln 2
    shortfall    the benchmark's return less r_t, in volatilities   made for 0.2 volatilities a row    k = 0.1
    turnover     log turnover of a decision                         made for one deviation more        k = 0.5
    inputs       distribution of each input

r are returns of the track, sigma volatilities that were forecast before them, and volatilities of a difference are
exponentially weighted (half-life 63) and known before the row. A value becomes its rank u in the reference, and that a
score x: -ln(1 - u) for the risk, the normal quantile of u for the others, so that neither heavy tails nor the unit
matter. Scores feed Page's cumulative sum [1]_

.. math:: S_t = \max(S_{t-1} + x_t - k, \; 0), \qquad \text{alarm at the first } S_t > h,

with the k of the likelihood-ratio test for the change in the middle column, for scores that are exponential or normal
[2]_. The threshold h is the quantile of the largest S over futures without a change, each ranked in a reference that is
drawn with it, so that h knows that a reference is a sample. Both are drawn as ranks of

.. math:: z_t = \sqrt{a} \, g_t + \sqrt{1 - a} \, e_t, \qquad g_t = \phi g_{t-1} + \sqrt{1 - \phi^2} \, e'_t

with independent standard normal e and e' and :math:`\phi = 0.98`, the persistence of daily volatility: a is what the
autocorrelations of the reference's own ranks over 63 rows say of such a component, less the bias that their mean leaves
[3]_. With a = 0 the rate of false alarms is that stated for any distribution. Blocks of the reference put after each
other would not hold it: the tail of a maximum lies beyond what some dozens of blocks have shown. What is watched shares
the stated probability of a false alarm in `horizon` rows evenly (Bonferroni).

Inputs are compared once, over all new rows (`eigenfolio.evaluation.input_drift`): asked again every day, their share of
false alarms is that of each asking.

The stated rate holds where forecasts leave no more dependence than such a component has. Forecasts that lag behind a
volatility that clusters give several times as many alarms: not all of them are false, as the forecasts did not fit.
An alarm says that something changed, not what to do. A change slower than the reference is long belongs to the
reference.

References
----------
.. [1] E. S. Page (1954). Continuous inspection schemes. Biometrika 41(1/2), 100-115.
.. [2] D. M. Hawkins and D. H. Olwell (1998). Cumulative Sum Charts and Charting for Quality Improvement. Springer.
.. [3] F. H. C. Marriott and J. A. Pope (1954). Bias in the estimation of autocorrelations. Biometrika 41(3/4), 390-402.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.input_drift import input_drift, upper_draw
from eigenfolio.models.window import ewma_variance_path

__all__ = ["FEWEST", "Chart", "Monitoring", "monitor_track"]

FloatArray = NDArray[np.float64]

FEWEST = 24
"""Rows or decisions that a reference must have."""

_HALF_LIFE = 63.0
_PERSISTENCE = 0.98  # a row
_LAGS = 63
_BURN_IN = 200
_LARGEST_SHARE = 0.95
_LEAST_TURNOVER = 1e-4


@dataclass(frozen=True)
class _Watch:
    """What one chart looks for: its score, allowance k, and the change it is made for."""

    score: Callable[[FloatArray], FloatArray]
    allowance: float
    changed: Callable[[FloatArray, FloatArray], FloatArray]
    words: str


_WATCHES = {
    "risk": _Watch(lambda u: -np.log1p(-u), 2.0 * float(np.log(2.0)), lambda x, past: 2.0 * x, "a doubled variance"),
    "shortfall": _Watch(ndtri, 0.1, lambda x, past: x + 0.2 * past.std(), "a loss of 0.2 volatilities a row"),
    "turnover": _Watch(ndtri, 0.5, lambda x, past: x + past.std(), "a turnover one standard deviation higher"),
}


@dataclass(frozen=True, eq=False)
class Chart:
    """One cumulative sum.

    Attributes
    ----------
    name : {"risk", "shortfall", "turnover"}
    path : Series
        S_t over its threshold, by date; above 1 is an alarm.
    threshold : float
        h, in the units of S.
    level : float
        What is watched, on average over the new rows: as a ratio to its average in the reference ("risk"), or in
        standard deviations of the reference away from it.
    alarm : Timestamp or None
        Date of the first S above h.
    since : Timestamp or None
        First date after S was last 0 before the alarm: where the change is most likely to have begun.
    delay : float
        Median rows until the alarm when the change that the chart is made for happens at once; infinite beyond the
        horizon.
    change : str
        That change in words.
    """

    name: str
    path: pd.Series
    threshold: float
    level: float
    alarm: pd.Timestamp | None
    since: pd.Timestamp | None
    delay: float
    change: str


@dataclass(frozen=True, eq=False)
class Monitoring:
    """What was watched and found.

    Attributes
    ----------
    charts : tuple of Chart
    drift : DataFrame
        One row per input: `distance` (D), `threshold`, `drifted` and `stability_index`; empty without inputs.
    first, last : Timestamp
        Of the new rows.
    n_reference, n_new : int
        Rows of the track before and in that span.
    false_alarm : float
        Probability of any false alarm in `horizon` rows.
    horizon : int
    """

    charts: tuple[Chart, ...]
    drift: pd.DataFrame
    first: pd.Timestamp
    last: pd.Timestamp
    n_reference: int
    n_new: int
    false_alarm: float
    horizon: int

    @property
    def alarmed(self) -> bool:
        """Whether any chart or input gave an alarm."""
        return any(chart.alarm is not None for chart in self.charts) or bool(len(self.drifted))

    @property
    def drifted(self) -> tuple[str, ...]:
        """Inputs that are distributed otherwise than in the reference."""
        return tuple(self.drift.index[self.drift["drifted"]]) if len(self.drift) else ()

    @property
    def run_length(self) -> float:
        """Mean rows between false alarms, were the watch begun anew after each; waiting times taken as exponential."""
        return -self.horizon / float(np.log1p(-self.false_alarm))

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in words, an alarm first."""
        span = f"{self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}, {self.n_new} rows against {self.n_reference} before"
        said = [f"{'Alarm' if self.alarmed else 'No alarm'}: {span}."]
        said += [_chart_words(chart) for chart in sorted(self.charts, key=lambda chart: chart.alarm is None)]
        if len(self.drift):
            worst = self.drift.sort_values("distance").iloc[-1]
            found = f"{len(self.drifted)} of {len(self.drift)} inputs are distributed otherwise than in the reference"
            found += f" ({', '.join(self.drifted)})" if self.drifted else ""
            told = f"{worst['distance']:.2f} (threshold {worst['threshold']:.2f})"
            said.append(f"Inputs: {found}; the largest distance, of {worst.name}, is {told}.")
        return (
            *said,
            f"Without a change, any alarm within {self.horizon} rows has a probability of {self.false_alarm:.0%}: one "
            f"in about {self.run_length:,.0f} rows.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; None where there is no date or no finite number."""
        return {
            "alarmed": self.alarmed,
            "first": f"{self.first:%Y-%m-%d}",
            "last": f"{self.last:%Y-%m-%d}",
            "n_reference": self.n_reference,
            "n_new": self.n_new,
            "false_alarm": self.false_alarm,
            "horizon": self.horizon,
            "run_length": self.run_length,
            "charts": [
                {
                    "name": chart.name,
                    "level": chart.level,
                    "last": float(chart.path.iloc[-1]),
                    "alarm": None if chart.alarm is None else f"{chart.alarm:%Y-%m-%d}",
                    "since": None if chart.since is None else f"{chart.since:%Y-%m-%d}",
                    "delay": chart.delay if np.isfinite(chart.delay) else None,
                    "change": chart.change,
                }
                for chart in self.charts
            ],
            "drift": [{"input": str(name), **row} for name, row in self.drift.to_dict("index").items()],
            "sentences": list(self.sentences),
        }


def monitor_track(
    returns: pd.Series,
    forecast_volatility: pd.Series,
    *,
    since: pd.Timestamp,
    benchmark: pd.Series | None = None,
    turnover: pd.Series | None = None,
    inputs: pd.DataFrame | None = None,
    false_alarm: float = 0.05,
    horizon: int | None = None,
    block: int = 63,
    n_bootstrap: int = 999,
    rng: np.random.Generator,
) -> Monitoring:
    """Watch a track from a date on, against what it was before.

    Parameters
    ----------
    returns : Series
        Of the track, simple per row, with an increasing DatetimeIndex; rows before `since` are the reference.
    forecast_volatility : Series
        Of the same dates, volatility per row, known before the row.
    since : Timestamp
        First date that is watched.
    benchmark : Series, optional
        Returns of the same dates.
    turnover : Series, optional
        By decision date.
    inputs : DataFrame, optional
        Numbers by date, one column per input; NaN where missing.
    false_alarm : float in (0, 0.5]
        Probability of any alarm in `horizon` rows without a change.
    horizon : int, optional
        Rows that this holds for, at least those given; the larger of these and 252 by default. Ask with the same one
        as rows come in, since the thresholds hang on it.
    block : int
        Rows of a block of inputs, as long as their dependence lasts.
    n_bootstrap : int
        Futures drawn, at least 199.
    rng : numpy.random.Generator

    Returns
    -------
    Monitoring

    Raises
    ------
    DataError
        If dates differ or are out of order, a number is missing or a forecast not positive, or a span is too short.
    ParameterError
        If an option leaves its range.

    Examples
    --------
    >>> rng, days = np.random.default_rng(0), pd.bdate_range("2015-01-01", periods=756)
    >>> returns = pd.Series(0.01 * rng.standard_normal(756), index=days)
    >>> returns.iloc[600:] *= 1.6
    >>> forecast = pd.Series(0.01, index=days)
    >>> found = monitor_track(returns, forecast, since=days[504], rng=rng)
    >>> chart = found.charts[0]
    >>> [days.get_loc(chart.since) - 600, days.get_loc(chart.alarm) - 600]
    [-3, 23]
    """
    _check_options(false_alarm, block, n_bootstrap)
    scores = _scores(returns, forecast_volatility, benchmark, turnover)
    new = returns.index >= since
    n_new, n_reference = int(new.sum()), int((~new).sum())
    rows = max(n_new, 252) if horizon is None else horizon
    if rows < n_new:
        raise ParameterError(f"horizon must cover the {n_new} rows since {since:%Y-%m-%d}, got {horizon}")
    if n_new < 1:
        raise DataError(
            f"no row since {since:%Y-%m-%d}: the track ends on {returns.index[-1]:%Y-%m-%d}; give newer rows"
        )
    share = false_alarm / (len(scores) + (inputs is not None))
    charts = []
    for name, series in scores.items():
        apart = len(returns) / len(series)  # rows from one value to the next
        length = max(int(np.ceil(rows / apart)), int((series.index >= since).sum()))
        charts.append(_chart(name, series, since, share, length, _PERSISTENCE**apart, n_bootstrap, rng))
    drift = (
        pd.DataFrame()
        if inputs is None
        else input_drift(inputs, since=since, share=share, block=block, n_bootstrap=n_bootstrap, rng=rng)
    )
    dates = returns.index[new]
    return Monitoring(tuple(charts), drift, dates[0], dates[-1], n_reference, n_new, false_alarm, rows)


# ---------------------------------------------------------------------------- charts


def _chart(
    name: str,
    series: pd.Series,
    since: pd.Timestamp,
    share: float,
    length: int,
    persistence: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Chart:
    watch = _WATCHES[name]
    new = series.index >= since
    reference, watched = series.to_numpy()[~new], series[new]
    if len(reference) < FEWEST:
        raise DataError(
            f"{name}: {len(reference)} values before {since:%Y-%m-%d} are too few to know what is usual, {FEWEST} are "
            "needed; give more history or a later date"
        )
    known = np.sort(reference)
    drawn = _unchanged(reference, len(reference) + length, persistence, n_bootstrap, rng)
    pasts, futures = np.sort(drawn[:, : len(known)], axis=1), drawn[:, len(known) :]
    pairs = list(zip(futures, pasts, strict=True))
    calm = np.stack([watch.score(_ranks(future, past)) for future, past in pairs])
    changed = np.stack(
        [
            watch.score(_ranks(watch.changed(_values(future, known), known), _values(past, known)))
            for future, past in pairs
        ]
    )
    threshold = upper_draw(_sums(calm, watch.allowance).max(axis=1), share)
    over = _sums(changed, watch.allowance) > threshold
    waits = np.where(over.any(axis=1), over.argmax(axis=1) + 1.0, np.inf)
    scores = watch.score(_ranks(watched.to_numpy(), known))
    path = _sums(scores[None, :], watch.allowance)[0]
    alarm, began = _first_alarm(path, threshold)
    return Chart(
        name=name,
        path=pd.Series(path / threshold, index=watched.index, name=name),
        threshold=threshold,
        level=_level(name, watched.to_numpy(), reference),
        alarm=None if alarm is None else watched.index[alarm],
        since=None if began is None else watched.index[began],
        delay=float(np.median(waits)),
        change=watch.words,
    )


def _ranks(x: FloatArray, known: FloatArray) -> FloatArray:
    """Share of sorted values that lie below, in (0, 1); of equal ones half."""
    below, until = np.searchsorted(known, x, side="left"), np.searchsorted(known, x, side="right")
    return np.asarray((0.5 * (below + until) + 0.5) / (len(known) + 1.0), dtype=np.float64)


def _unchanged(
    reference: FloatArray, length: int, persistence: float, n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Normal series that depend on their past as the ranks of the reference do, (n_draws, length)."""
    share = _persistent_share(ndtri(_ranks(reference, np.sort(reference))), persistence)
    own: FloatArray = rng.standard_normal((n_draws, length))
    if share == 0.0:
        return own
    shocks = np.sqrt(1.0 - persistence**2) * rng.standard_normal((n_draws, _BURN_IN + length))
    slow = lfilter([1.0], [1.0, -persistence], shocks, axis=1)[:, _BURN_IN:]
    drawn: FloatArray = np.sqrt(share) * slow + np.sqrt(1.0 - share) * own
    return drawn


def _persistent_share(z: FloatArray, persistence: float) -> float:
    """Share of a persistent component in the variance of a series, by least squares on its autocorrelations.

    With the mean taken off, an autocorrelation at lag k is a phi^k less the variance of the mean,
    (1 + 2 a phi / (1 - phi)) / n.
    """
    n = len(z)
    x = z - z.mean()
    lags = np.arange(1, min(_LAGS, n // 4) + 1)
    found = np.array([x[k:] @ x[:-k] / (n - k) for k in lags]) / max(float(x @ x) / n, 1e-300)
    weight = persistence**lags
    slope = weight - 2.0 * persistence / (1.0 - persistence) / n
    share = float(weight @ (found + 1.0 / n)) / max(float(weight @ slope), 1e-12)
    return float(np.clip(share, 0.0, _LARGEST_SHARE))


def _values(z: FloatArray, known: FloatArray) -> FloatArray:
    """Values of the reference at the ranks of normal numbers."""
    return np.interp(ndtr(z), (np.arange(len(known)) + 0.5) / len(known), known)


def _level(name: str, watched: FloatArray, reference: FloatArray) -> float:
    """A ratio of means for the risk, for the others a difference in standard deviations; 0 without a new value."""
    if not len(watched):
        return 1.0 if name == "risk" else 0.0
    if name == "risk":
        return float(watched.mean() / max(reference.mean(), 1e-300))
    spread = float(reference.std(ddof=1))
    return float(watched.mean() - reference.mean()) / (spread if spread > 0.0 else 1.0)


def _scores(
    returns: pd.Series, forecast: pd.Series, benchmark: pd.Series | None, turnover: pd.Series | None
) -> dict[str, pd.Series]:
    """What the charts watch, before it is ranked in the reference; by date."""
    given = {"returns": returns, "forecast_volatility": forecast, "benchmark": benchmark, "turnover": turnover}
    for name, series in given.items():
        if series is not None:
            _check_series(name, series, None if name == "turnover" else pd.DatetimeIndex(returns.index))
    if (forecast <= 0.0).any():
        raise DataError("forecast_volatility must be above 0 on every row")
    found = {"risk": (returns / forecast) ** 2}
    if benchmark is not None:
        short = (benchmark - returns).to_numpy()
        power = ewma_variance_path(short[:, None], np.ones((len(short), 1), dtype=bool), half_life=_HALF_LIFE)[:-1, 0]
        floor = 1e-6 * float(np.mean(short**2))
        found["shortfall"] = pd.Series(short / np.sqrt(np.maximum(power, max(floor, 1e-300))), index=returns.index)
    if turnover is not None:
        found["turnover"] = np.log(turnover.clip(lower=_LEAST_TURNOVER))
    return found


def _sums(x: FloatArray, allowance: float) -> FloatArray:
    """Page's cumulative sums along the rows of (n_draws, n); 0 before the first."""
    found, last = np.empty_like(x), np.zeros(len(x))
    for t in range(x.shape[1]):
        last = np.maximum(last + x[:, t] - allowance, 0.0)
        found[:, t] = last
    return found


def _first_alarm(path: FloatArray, threshold: float) -> tuple[int | None, int | None]:
    """Places of the first sum above the threshold and of the first after it was last 0."""
    over = np.flatnonzero(path > threshold)
    if not len(over):
        return None, None
    zeros = np.flatnonzero(path[: over[0]] == 0.0)
    return int(over[0]), int(zeros[-1]) + 1 if len(zeros) else 0


# ---------------------------------------------------------------------------- checks and words


def _check_series(name: str, series: pd.Series, dates: pd.DatetimeIndex | None) -> None:
    if not isinstance(series.index, pd.DatetimeIndex) or not series.index.is_monotonic_increasing:
        raise DataError(f"{name} must have an increasing DatetimeIndex")
    if dates is not None and not series.index.equals(dates):
        raise DataError(f"{name} must have the dates of returns; reindex it")
    if not np.isfinite(series.to_numpy(dtype=float)).all():
        raise DataError(f"{name} must be finite on every row; drop rows on which nothing was held")


def _check_options(false_alarm: float, block: int, n_bootstrap: int) -> None:
    if not 0.0 < false_alarm <= 0.5:
        raise ParameterError(f"false_alarm must lie in (0, 0.5], got {false_alarm!r}")
    if block < 1 or n_bootstrap < 199:
        raise ParameterError(f"block must be at least 1 and n_bootstrap 199, got {block} and {n_bootstrap}")


def _chart_words(chart: Chart) -> str:
    level: Mapping[str, str] = {
        "risk": f"variance is {chart.level:.2f} times what it was against its forecast",
        "shortfall": f"the loss against the benchmark is {chart.level:+.3f} volatilities a row from what it was",
        "turnover": f"turnover is {chart.level:+.2f} standard deviations from what it was",
    }
    wait = f"{chart.delay:.0f}" if np.isfinite(chart.delay) else "more than the horizon's"
    unit = "decisions" if chart.name == "turnover" else "rows"
    found = (
        "no alarm" if chart.alarm is None else f"ALARM on {chart.alarm:%Y-%m-%d}, since about {chart.since:%Y-%m-%d}"
    )
    return (
        f"{chart.name.capitalize()}: {found}; {level[chart.name]}. {chart.change.capitalize()} is found after {wait} "
        f"{unit} (median)."
    )
