r"""What the heads of a network are worth on windows that neither fitted nor calibrated them, beside a constant.

    regime      log score and Brier score of the label that came, beside the base rates of the earlier windows
    error       mean squared error, beside the mean of the earlier windows
    intervals   share of truths inside and the interval score (width + 2 / alpha x the distance of a truth outside),
                beside the quantiles of the earlier windows; both nominally 90 %

A gain is what the constant loses more than the head, with a standard error that takes the windows of a calendar month
as one observation; a head has skill where the gain is more than two standard errors above zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import spearmanr

from eigenfolio.features.regimes import REGIMES
from eigenfolio.learned.heads import RISK_HORIZONS, TARGETS, Heads
from eigenfolio.training.head_windows import PORTFOLIOS, HeadWindows

__all__ = ["SCORES", "clustered_gain", "heads_card", "interval_score"]

FloatArray = NDArray[np.float64]

_LEVEL = 0.9
_ROUNDING = 1e-9  # a constant beside itself gains no more
_CARD_HORIZON = RISK_HORIZONS.index(21)


def clustered_gain(gain: FloatArray, date: NDArray[np.datetime64]) -> dict[str, Any]:
    """Mean gain per window, its standard error by months, and whether it is more than two of them above zero.

    Examples
    --------
    >>> days = np.array(["2013-01-02", "2013-01-20", "2013-02-01", "2013-03-01"], dtype="datetime64[ns]")
    >>> told = clustered_gain(np.array([1.0, 1.0, 1.0, 3.0]), days)
    >>> told["gain"], round(told["standard_error"], 4), told["skill"]
    (1.5, 0.4677, True)
    """
    mean = float(gain.mean())
    months = np.where(np.isnat(date), -1 - np.arange(len(date)), date.astype("datetime64[M]").astype(np.int64))
    _, place = np.unique(months, return_inverse=True)
    sums = np.bincount(place, weights=gain - mean)
    error = float(np.sqrt(sums @ sums)) / len(gain)
    return {"gain": mean, "standard_error": error, "skill": bool(mean > max(2.0 * error, _ROUNDING))}


def interval_score(target: FloatArray, low: FloatArray, high: FloatArray, *, level: float = _LEVEL) -> FloatArray:
    """Width plus 2 / (1 - level) times the distance of what lies outside, (n,); smaller is better.

    Examples
    --------
    >>> interval_score(np.array([0.5, 1.5]), np.zeros(2), np.ones(2), level=0.9).round(6).tolist()
    [1.0, 11.0]
    """
    outside = np.maximum(low - target, 0.0) + np.maximum(target - high, 0.0)
    score: FloatArray = high - low + 2.0 / (1.0 - level) * outside
    return score


def _intervals(
    target: FloatArray, low: FloatArray, high: FloatArray, known: FloatArray, date: NDArray[np.datetime64]
) -> dict[str, Any]:
    """Coverage and score of intervals, beside those of the quantiles of what was `known` before."""
    flat = np.quantile(known, [0.5 - _LEVEL / 2.0, 0.5 + _LEVEL / 2.0])
    ours = interval_score(target, low, high)
    constant = interval_score(target, np.full_like(target, flat[0]), np.full_like(target, flat[1]))
    return {
        "coverage": float(((target >= low) & (target <= high)).mean()),
        "mean_width": float((high - low).mean()),
        "constant_coverage": float(((target >= flat[0]) & (target <= flat[1])).mean()),
        "constant_width": float(flat[1] - flat[0]),
        **clustered_gain(constant - ours, date),
    }


def _score_regime(heads: Heads, before: HeadWindows, last: HeadWindows) -> dict[str, Any]:
    assert heads.regime is not None
    x = heads.scaled(last.inputs)
    logits = heads.regime[:, 0] + x @ heads.regime[:, 1:].T
    chances = softmax(logits, axis=1)
    counts = np.bincount(before.regime, minlength=len(REGIMES)) + 0.5
    rates = np.tile(counts / counts.sum(), (len(last), 1))
    rows, came = np.arange(len(last)), np.eye(len(REGIMES))[last.regime]
    ours, base = -np.log(chances[rows, last.regime]), -np.log(rates[rows, last.regime])
    return {
        "log_score": float(ours.mean()),
        "constant_log_score": float(base.mean()),
        "brier": float(((chances - came) ** 2).sum(axis=1).mean()),
        "constant_brier": float(((rates - came) ** 2).sum(axis=1).mean()),
        "hits": float((chances.argmax(axis=1) == last.regime).mean()),
        "constant_hits": float((rates.argmax(axis=1) == last.regime).mean()),
        **clustered_gain(base - ours, last.date),
    }


def _score_error(heads: Heads, before: HeadWindows, last: HeadWindows) -> dict[str, Any]:
    assert heads.error is not None
    said = heads.error[0] + heads.scaled(last.inputs) @ heads.error[1:]
    mean = float(before.error.mean())
    ours, constant = (last.error - said) ** 2, (last.error - mean) ** 2
    return {
        "mean_squared_error": float(ours.mean()),
        "constant_mean_squared_error": float(constant.mean()),
        "bias": float((said - last.error).mean()),
        "rank_correlation": _rank_correlation(last.error, said),
        **clustered_gain(constant - ours, last.date),
    }


def _score_intensity(heads: Heads, before: HeadWindows, last: HeadWindows) -> dict[str, Any]:
    told = [heads.intensity_interval(x, own) for x, own in zip(heads.scaled(last.inputs), last.own, strict=True)]
    low, high, variance = np.array(told).T
    known = before.oracle
    middle = 0.5 * (low + high)
    return {
        **_intervals(last.oracle, low, high, known, last.date),
        "error_uncertainty_correlation": _rank_correlation(np.abs(last.oracle - middle), high - low),
        "mean_variance": float(variance.mean()),
        "windows": "simulated populations",
    }


def _rank_correlation(error: FloatArray, uncertainty: FloatArray) -> float:
    """Spearman's; 0 where one of them is the same everywhere."""
    if min(np.ptp(error), np.ptp(uncertainty)) < 1e-12:
        return 0.0
    return float(spearmanr(error, uncertainty).statistic)


def _score_targets(heads: Heads, before: HeadWindows, last: HeadWindows) -> dict[str, Any]:
    ends = np.array([heads.target_intervals(x) for x in heads.scaled(last.inputs)])  # (n, n_targets, 2)
    known = before.targets
    by = {
        name: _intervals(last.targets[:, k], ends[:, k, 0], ends[:, k, 1], known[:, k], last.date)
        for k, name in enumerate(TARGETS)
    }
    return {
        "coverage": float(np.mean([told["coverage"] for told in by.values()])),
        "by_target": by,
        "skill": all(told["skill"] for told in by.values()),
        "windows": "simulated populations",
    }


def _score_risk(heads: Heads, before: HeadWindows, last: HeadWindows) -> dict[str, Any]:
    levels = np.array([0.5 - _LEVEL / 2.0, 0.5 + _LEVEL / 2.0])
    x = heads.scaled(last.inputs)
    by_horizon, by_portfolio = {}, {}
    for h, horizon in enumerate(RISK_HORIZONS):
        y = last.ratios[:, :, h]
        there = np.isfinite(y)
        ends = np.full((*y.shape, 2), np.nan)
        for i, j in zip(*np.nonzero(there), strict=True):
            ends[i, j] = heads.risk_quantiles(x[i], last.portfolios[i, j], levels, horizon)
        known = before.ratios[:, :, h].ravel()
        dates = np.broadcast_to(last.date[:, None], y.shape)
        told = _intervals(y[there], ends[there][:, 0], ends[there][:, 1], known[np.isfinite(known)], dates[there])
        by_horizon[str(horizon)] = told
        if h == _CARD_HORIZON:
            error = np.abs(y - ends.mean(axis=2))[there]
            correlation = _rank_correlation(error, np.diff(ends, axis=2)[..., 0][there])
            for j, name in enumerate(PORTFOLIOS):
                inside = there[:, j]
                covered = (y[inside, j] >= ends[inside, j, 0]) & (y[inside, j] <= ends[inside, j, 1])
                by_portfolio[name] = float(covered.mean())
    shown = by_horizon[str(RISK_HORIZONS[_CARD_HORIZON])]
    return {
        **shown,
        "error_uncertainty_correlation": correlation,
        "by_portfolio": by_portfolio,
        "by_horizon": by_horizon,
    }


SCORES: dict[str, Callable[[Heads, HeadWindows, HeadWindows], dict[str, Any]]] = {
    "regime": _score_regime,
    "error": _score_error,
    "intensity": _score_intensity,
    "targets": _score_targets,
    "risk": _score_risk,
}
"""By head, what `eigenfolio.training.heads.fit_heads` reports of it."""


def heads_card(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of a model card, in Markdown, on the heads of a bundle.

    Parameters
    ----------
    told : mapping
        ``details["heads"]`` of a bundle; empty where it has none.

    Returns
    -------
    list of str
    """
    if not told:
        return []
    lines = [
        "## Heads",
        "",
        "What the network says of its own answer, measured on the last 30 % of windows that did not train the network, "
        "by heads fitted and calibrated on those before. Skill: better than the constant by more than two standard "
        "errors.",
        "",
        "| head | status | windows | measure | head | constant | skill |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (measure, ours, constant) in _CARD.items():
        entry = told.get(name, {"status": "absent"})
        judged = entry.get("judged", {})
        if not judged:
            lines.append(f"| {name} | {entry['status']} | | {entry.get('reason', 'too few windows to judge')} | | | |")
            continue
        other = f"{judged[constant]:.3f}" if constant else "0.900 nominal"
        lines.append(
            f"| {name} | {entry['status']} | {judged['n']} | {measure} | {judged[ours]:.3f} | {other} | "
            f"{'yes' if judged['skill'] else 'none shown'} |"
        )
    lines += [
        "",
        "A head without skill is kept at the constant, or close to it: it says what is usual. The intensity and the "
        "targets are judged on simulated populations, where the truth is known; on a market their intervals are what a "
        "simulated window that looks alike would have needed.",
        "",
    ]
    return lines


_CARD: dict[str, tuple[str, str, str | None]] = {
    "regime": ("log score of the regime at the end of the horizon", "log_score", "constant_log_score"),
    "error": ("mean squared error of the log loss", "mean_squared_error", "constant_mean_squared_error"),
    "intensity": ("coverage of the interval", "coverage", None),
    "targets": ("coverage of the intervals", "coverage", None),
    "risk": ("coverage over 21 rows", "coverage", None),
}
