r"""Fitting and calibrating the heads of a spectral network (`eigenfolio.learned.heads`) on windows that are new to it.

The windows are drawn anew from the mixture of the training and cut into blocks of two calendar years (populations,
which have no date, into five at random). Every block is predicted by a head that was fitted on the other blocks,
without the windows whose labels reach into it; these predictions

    choose       the penalty of a ridge or multinomial logistic regression
    decide       whether a head says anything: one whose predictions of the blocks are no better than a constant by
                 0.005 of log likelihood becomes that constant (the base rates, the mean error, one width for all)
    calibrate    probabilities by a temperature about the base rates, intervals by conformal quantiles of |y - m| / s
                 (risk: of (y - m) / s, each side by itself)

and what is stored is fitted on all blocks with the penalty chosen, so nothing is calibrated on what fitted it [1]_.

What is reported of each head is measured later: the same procedure is run on the first 70 % of the time, and the last
30 % judge it (`eigenfolio.training.head_scores`), beside the constant.

References
----------
.. [1] V. Vovk (2015). Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74, 9-28.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from eigenfolio.artifacts import Bundle
from eigenfolio.features.regimes import REGIMES
from eigenfolio.learned.heads import (
    INTENSITY_EDGE,
    MATERIAL_SHARE,
    RISK_HORIZONS,
    RISK_LEVELS,
    TARGETS,
    Heads,
)
from eigenfolio.training.calibration import split_conformal, variance_scale
from eigenfolio.training.head_windows import HeadWindows, head_windows
from eigenfolio.training.mixture import WindowSource, draw_mixture

__all__ = ["FEWEST_WINDOWS", "HEAD_HORIZON", "add_heads", "fit_heads", "head_sources"]

FloatArray = NDArray[np.float64]

FEWEST_WINDOWS = 150
"""Windows with a label that a head needs."""

HEAD_HORIZON = max(RISK_HORIZONS)
_POPULATION_FACTOR = 4  # cheap windows, and the only ones whose covariance is known
_PENALTIES = (1e2, 3e2, 1e3, 3e3, 1e4)
_INVERSE_PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2)
_MOST_TRUST = 2.0
_WORTH = 0.005  # log likelihood per row that a head must add across blocks; chance adds about 0.001
_YEARS, _RANDOM_BLOCKS = 2, 5
_JUDGED = 0.7
_MEAN_LOG_NORMAL = -0.635  # of |z|, z standard normal
_ROOM = 1.5  # above the 99th percentile of the share of inputs out of range
_DAYS = {"daily": 1.5, "weekly": 7.3}  # calendar days per row


def head_sources(sources: Sequence[WindowSource]) -> tuple[WindowSource, ...]:
    """Sources of the windows that heads learn from: the same mixture, with four times the populations it has."""
    if all(source.change == "population" for source in sources):
        return tuple(sources)
    return tuple(
        source.model_copy(update={"counts": {n: _POPULATION_FACTOR * count for n, count in source.counts.items()}})
        if source.change == "population"
        else source
        for source in sources
    )


def add_heads(
    bundle: Bundle,
    panels: Mapping[str, pd.DataFrame],
    through: pd.Timestamp | None,
    *,
    sources: Sequence[WindowSource],
    seed: int,
    n_jobs: int = 1,
) -> Bundle:
    """Draw windows, fit the heads of a bundle on them, and add what was measured to its details.

    Parameters
    ----------
    bundle : Bundle
        Of the spectral network, without heads.
    panels, through, n_jobs
        As for `eigenfolio.training.mixture.draw_mixture`.
    sources : sequence of WindowSource
        What to draw, before `head_sources`.
    seed : int
        Another than that of the windows that trained the network.

    Returns
    -------
    Bundle
        With tensors ``heads_*`` and ``details["heads"]``: for each head its status ("fitted", "constant" or "absent",
        with the reason), counts, and its measures beside those of the constant.
    """
    ours = head_sources(sources)
    drawn = draw_mixture(panels, ours, through=through, seed=seed, n_later=HEAD_HORIZON, n_jobs=n_jobs)
    reach = {s.name: pd.Timedelta(days=_DAYS[s.frequency] * max(s.horizon, HEAD_HORIZON)) for s in ours}
    windows = head_windows(drawn, bundle, reach=reach, seed=seed, n_jobs=n_jobs)
    heads, told = fit_heads(windows)
    if heads is None:
        return replace(bundle, details={**bundle.details, "heads": told})
    material = max(MATERIAL_SHARE, _ROOM * float(np.quantile(windows.out_of_range, 0.99)))
    tensors = replace(heads, material_share=np.array(material)).tensors()
    told["out_of_range"] = {"status": "fitted", "n": len(windows), "material_share": material}
    return replace(bundle, tensors={**bundle.tensors, **tensors}, details={**bundle.details, "heads": told})


def fit_heads(windows: HeadWindows) -> tuple[Heads | None, dict[str, dict[str, Any]]]:
    """Fit, calibrate and judge all heads.

    Parameters
    ----------
    windows : HeadWindows

    Returns
    -------
    heads : Heads or None
        None where no head could be fitted.
    told : dict
        By head, what `add_heads` stores.
    """
    from eigenfolio.training.head_scores import SCORES  # what judges a head needs what fits one

    center, scale = windows.inputs.mean(axis=0), windows.inputs.std(axis=0) + 1e-6
    bare = heads = Heads(center, scale)
    told: dict[str, dict[str, Any]] = {}
    for name, (fit, usable) in _FITS.items():
        mine = windows.take(usable(windows))
        if len(mine) < FEWEST_WINDOWS or len(_folds(mine)) < 2:
            reason = f"{len(mine)} windows with a label in {len(_folds(mine))} blocks of time"
            told[name] = {"status": "absent", "reason": f"{reason}; it needs {FEWEST_WINDOWS} in 2"}
            continue
        fitted = fit(bare, mine)
        heads = replace(heads, **fitted.tensors)
        told[name] = {"status": fitted.status, "n": len(mine)}
        early, late = _cut(mine, _JUDGED)
        if len(early) >= FEWEST_WINDOWS // 2 and len(_folds(early)) >= 2 and len(late):
            judged = fit(bare, early)
            scores = SCORES[name](replace(bare, **judged.tensors), early, late)
            scores["skill"] &= judged.status == "fitted"  # what is the same for every window has none
            told[name]["judged"] = {"status": judged.status, "n": len(late), **scores}
    return (None if heads is bare else heads), told


@dataclass(frozen=True)
class Fitted:
    """Tensors of a head by field of `Heads`, and whether it says more than a constant."""

    tensors: dict[str, FloatArray]
    status: str


def constant_or(helps: bool) -> str:
    """Status of a head."""
    return "fitted" if helps else "constant"


Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def _cut(windows: HeadWindows, share: float) -> tuple[HeadWindows, HeadWindows]:
    """Earlier and later windows; an earlier one whose labels reach to the later ones is left out."""
    n_early = int(share * len(windows))
    early, late = windows.take(np.arange(n_early)), windows.take(np.arange(n_early, len(windows)))
    return early.take(np.isnat(early.date) | (early.last < late.date.min())), late


def _folds(windows: HeadWindows) -> list[Fold]:
    """For every block, the windows that may fit what predicts it, and its own."""
    if np.isnat(windows.date).all():
        block = np.arange(len(windows)) % _RANDOM_BLOCKS
    else:
        year = windows.date.astype("datetime64[Y]").astype(int)
        block = (year - year.min()) // _YEARS
    folds = []
    for number in np.unique(block):
        held = block == number
        fits = ~held
        if not np.isnat(windows.date).all():
            fits &= (windows.last < windows.date[held].min()) | (windows.date > windows.last[held].max())
        if fits.any():
            folds.append((fits, held))
    return folds


# ---- the pieces: a mean, a scale, and the interval they make --------------------------------------------------------


def ridges(x: FloatArray, y: FloatArray, penalties: Sequence[float]) -> FloatArray:
    """Ridge regressions with an intercept at several penalties, (n_penalties, 1 + n); their sums are formed once.

    The twin in the tests is `sklearn.linear_model.Ridge`, which goes through the rows again for every penalty.
    """
    center, level = x.mean(axis=0), float(y.mean())
    gram = x.T @ x - len(x) * np.outer(center, center)
    cross = x.T @ (y - level)
    solved = [solve(gram + penalty * np.eye(len(gram)), cross, assume_a="pos") for penalty in penalties]
    return np.array([np.concatenate([[level - center @ slopes], slopes]) for slopes in solved])


def _constant(value: float, n_inputs: int) -> FloatArray:
    return np.concatenate([[value], np.zeros(n_inputs)])


def _value(weights: FloatArray, x: FloatArray) -> FloatArray:
    """Linear values of rows, (n_rows,)."""
    value: FloatArray = weights[0] + x @ weights[1:]
    return value


def _crossed(
    x: FloatArray,
    y: FloatArray,
    folds: Sequence[Fold],
    loss: Callable[[FloatArray], float],
    flat: Callable[..., float],
    rows_per_window: float,
) -> tuple[FloatArray, FloatArray, bool]:
    """Weights of the penalty with the smallest loss of its predictions across blocks, or of a constant.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_inputs)
    y : ndarray of shape (n_rows,)
    folds : sequence of pairs of masks, each of shape (n_rows,)
    loss : callable
        Of predictions of all rows.
    flat : callable
        The constant that says most of a mask of rows.
    rows_per_window : float
        Rows that are worth one, by which penalties are multiplied.

    Returns
    -------
    weights : ndarray of shape (1 + n_inputs,)
    predicted : ndarray of shape (n_rows,)
        Across blocks, by what was chosen.
    helps : bool
        Whether that is not the constant.
    """
    penalties = [rows_per_window * penalty for penalty in _PENALTIES]
    candidates = np.empty((1 + len(penalties), len(y)))  # the constant first
    for fits, held in folds:
        candidates[0, held] = flat(fits)
        weights = ridges(x[fits], y[fits], penalties)
        candidates[1:, held] = weights[:, :1] + weights[:, 1:] @ x[held].T
    losses = [loss(candidate) for candidate in candidates]
    best = int(np.argmin(losses))
    if losses[best] > losses[0] - _WORTH:
        return _constant(flat(np.ones(len(y), dtype=bool)), x.shape[1]), candidates[0], False
    return ridges(x, y, penalties[best - 1 : best])[0], candidates[best], True


def crossed_mean(
    x: FloatArray, y: FloatArray, folds: Sequence[Fold], rows_per_window: float = 1.0
) -> tuple[FloatArray, FloatArray, bool]:
    """A linear mean by squared error (half its log, which is a normal likelihood), as `_crossed` returns it."""
    return _crossed(
        x,
        y,
        folds,
        lambda predicted: 0.5 * float(np.log(((y - predicted) ** 2).mean() + 1e-300)),
        lambda rows: float(y[rows].mean()),
        rows_per_window,
    )


def crossed_scale(
    x: FloatArray, residual: FloatArray, folds: Sequence[Fold], rows_per_window: float = 1.0
) -> tuple[FloatArray, FloatArray, bool]:
    """A log-linear scale of residuals by normal likelihood, up to a common factor; the log scales are returned."""
    floor = 1e-2 * float(np.abs(residual).mean()) + 1e-9
    logs = np.log(np.abs(residual) + floor) - _MEAN_LOG_NORMAL

    def surprise(log_scale: FloatArray) -> float:
        factor = float((residual**2 * np.exp(-2.0 * log_scale)).mean())
        return float(log_scale.mean()) + 0.5 * np.log(factor + 1e-300)

    return _crossed(x, logs, folds, surprise, lambda rows: float(np.log(residual[rows].std() + floor)), rows_per_window)


def _interval(x: FloatArray, y: FloatArray, folds: Sequence[Fold]) -> tuple[FloatArray, float, float, bool]:
    """Mean and scale (2, 1 + n), conformal half width and variance in scales, and whether either says something."""
    mean, predicted, moved = crossed_mean(x, y, folds)
    log_scale, logs, widened = crossed_scale(x, y - predicted, folds)
    half = split_conformal(y, predicted, np.exp(logs), level=0.9).factor
    variance = variance_scale(y, predicted, np.exp(2.0 * logs))
    return np.stack([mean, log_scale]), half, variance, moved or widened


# ---- the heads ------------------------------------------------------------------------------------------------------


def _fit_regime(heads: Heads, windows: HeadWindows) -> Fitted:
    x, labels, folds = heads.scaled(windows.inputs), windows.regime, _folds(windows)
    known = np.empty((len(labels), len(REGIMES)))
    for fits, held in folds:
        known[held] = np.log(base_rates(labels[fits]))
    least, chosen = log_score(known, labels), None
    for inverse_penalty in _INVERSE_PENALTIES:
        logits = np.empty_like(known)
        for fits, held in folds:
            logits[held] = _logits(_logistic(x[fits], labels[fits], inverse_penalty), x[held])
        share, found = tempered(logits, known, labels)
        if found < least - (_WORTH if chosen is None else 0.0):
            least, chosen = found, (inverse_penalty, share)
    rates = np.log(base_rates(labels))
    weights = np.column_stack([rates, np.zeros((len(rates), x.shape[1]))])
    if chosen is None:
        return Fitted({"regime": weights}, "constant")
    inverse_penalty, share = chosen
    return Fitted({"regime": weights + share * (_logistic(x, labels, inverse_penalty) - weights)}, "fitted")


def tempered(logits: FloatArray, known: FloatArray, labels: NDArray[np.int_]) -> tuple[float, float]:
    """Share of what logits say beyond the base rates that is worth taking, and the log score with it.

    A temperature about the base rates: softmax(known + share (logits - known)). A plain one, which draws what is too
    sure toward equal probabilities, would forget that most days are calm.

    Parameters
    ----------
    logits, known : ndarray of shape (n, n_regimes)
        Log probabilities of the head and of the base rates, each up to a constant.
    labels : ndarray of int, shape (n,)

    Returns
    -------
    share : float in [0, 2]
        One over the temperature.
    score : float
        Mean negative log probability of the labels.
    """
    beyond = logits - known
    found = minimize_scalar(
        lambda share: log_score(known + share * beyond, labels), bounds=(0.0, _MOST_TRUST), method="bounded"
    )
    return float(found.x), float(found.fun)


def base_rates(labels: NDArray[np.int_]) -> FloatArray:
    """Shares of the regimes, (4,), each counted half a time more than it came."""
    counts = np.bincount(labels, minlength=len(REGIMES)) + 0.5
    rates: FloatArray = counts / counts.sum()
    return rates


def log_score(logits: FloatArray, labels: NDArray[np.int_]) -> float:
    """Mean negative log probability of what came."""
    return -float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _logits(weights: FloatArray, x: FloatArray) -> FloatArray:
    logits: FloatArray = weights[:, 0] + x @ weights[:, 1:].T
    return logits


def _logistic(x: FloatArray, labels: NDArray[np.int_], inverse_penalty: float) -> FloatArray:
    """Logits (n_regimes, 1 + n); a regime that never came has its base rate."""
    weights = np.column_stack([np.log(base_rates(labels)), np.zeros((len(REGIMES), x.shape[1]))])
    present = np.unique(labels)
    if len(present) == 1:
        return weights
    found = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(x, labels)
    coefficients, intercept = found.coef_, found.intercept_
    if len(present) == 2:  # scikit-learn gives one row, of the second against the first
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.append(0.0, intercept)
    level = float(weights[present, 0].mean() - intercept.mean())  # so that the absent ones keep about their rate
    weights[present] = np.column_stack([intercept + level, coefficients])
    return weights


def _fit_error(heads: Heads, windows: HeadWindows) -> Fitted:
    weights, _, helps = crossed_mean(heads.scaled(windows.inputs), windows.error, _folds(windows))
    return Fitted({"error": weights}, constant_or(helps))


def logit_inside(intensity: FloatArray) -> FloatArray:
    """Logit of intensities pulled inside the edges."""
    inside = np.clip(intensity, INTENSITY_EDGE, 1.0 - INTENSITY_EDGE)
    logits: FloatArray = np.log(inside) - np.log1p(-inside)
    return logits


def _fit_intensity(heads: Heads, windows: HeadWindows) -> Fitted:
    change = logit_inside(windows.oracle) - logit_inside(windows.own)
    weights, half, variance, helps = _interval(heads.scaled(windows.inputs), change, _folds(windows))
    return Fitted({"intensity": weights, "intensity_calibration": np.array([half, variance])}, constant_or(helps))


def _fit_targets(heads: Heads, windows: HeadWindows) -> Fitted:
    x, folds = heads.scaled(windows.inputs), _folds(windows)
    parts = [_interval(x, windows.targets[:, k], folds) for k in range(len(TARGETS))]
    return Fitted(
        {
            "targets": np.stack([part[0] for part in parts]),
            "targets_calibration": np.array([part[1] for part in parts]),
        },
        constant_or(any(part[3] for part in parts)),
    )


def _fit_risk(heads: Heads, windows: HeadWindows) -> Fitted:
    known = windows.portfolios[np.isfinite(windows.portfolios).all(axis=2)]
    center, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    ready = replace(heads, risk_center=center, risk_scale=scale)
    weights, scores, helps = [], [], False
    for h in range(len(RISK_HORIZONS)):
        z, y, window = risk_rows(ready, windows, h)
        folds = [(fits[window], held[window]) for fits, held in _folds(windows)]
        mean, predicted, moved = crossed_mean(z, y, folds, len(y) / len(windows))
        log_scale, logs, widened = crossed_scale(z, y - predicted, folds, len(y) / len(windows))
        weights.append(np.stack([mean, log_scale]))
        scores.append(conformal_levels((y - predicted) / np.exp(logs)))
        helps |= moved or widened
    return Fitted(
        {"risk": np.stack(weights), "risk_scores": np.stack(scores), "risk_center": center, "risk_scale": scale},
        constant_or(helps),
    )


def risk_rows(heads: Heads, windows: HeadWindows, horizon: int) -> tuple[FloatArray, FloatArray, NDArray[np.int_]]:
    """Inputs of the risk head, log ratios at a horizon (by position) and window of every row: a window's portfolio."""
    n_books = windows.portfolios.shape[1]
    x = np.repeat(heads.scaled(windows.inputs), n_books, axis=0)
    f = heads.scaled_portfolio(windows.portfolios).reshape(len(x), -1)
    y = windows.ratios[:, :, horizon].ravel()
    there = np.isfinite(y) & np.isfinite(f).all(axis=1)
    return np.hstack([x, f])[there], y[there], np.repeat(np.arange(len(windows)), n_books)[there]


def conformal_levels(scores: FloatArray) -> FloatArray:
    """Quantiles at `RISK_LEVELS`: below the median by the rank (n + 1) p rounded down, above it rounded up."""
    ordered = np.sort(scores)
    ranks = np.round((len(ordered) + 1) * RISK_LEVELS, 6)  # so that rounding does not move a whole rank
    ranks = np.where(RISK_LEVELS < 0.5, np.floor(ranks), np.ceil(ranks))
    quantiles: FloatArray = ordered[np.clip(ranks.astype(int) - 1, 0, len(ordered) - 1)]
    return quantiles


def _of_market(label: Callable[[HeadWindows], FloatArray]) -> Callable[[HeadWindows], NDArray[np.bool_]]:
    """Windows with a label: of markets, where there are enough of them, else populations."""

    def usable(windows: HeadWindows) -> NDArray[np.bool_]:
        known, dated = np.isfinite(label(windows)), ~np.isnat(windows.date)
        return known & dated if int((known & dated).sum()) >= FEWEST_WINDOWS else known & ~dated

    return usable


_FITS: dict[str, tuple[Callable[[Heads, HeadWindows], Fitted], Callable[[HeadWindows], Any]]] = {
    "regime": (_fit_regime, lambda windows: windows.regime >= 0),
    "error": (_fit_error, _of_market(lambda windows: windows.error)),
    "intensity": (_fit_intensity, lambda windows: np.isfinite(windows.oracle)),
    "targets": (_fit_targets, lambda windows: np.isfinite(windows.targets).all(axis=1)),
    "risk": (_fit_risk, _of_market(lambda windows: windows.ratios[:, 0, -1])),
}
