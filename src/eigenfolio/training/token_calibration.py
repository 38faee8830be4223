"""Calibration of what an attention or dense network says of its own uncertainty.

Windows of simulated markets, where the best intensity and target weights are known, are drawn anew. One half gives,
for every predicted number, the factor of its predicted deviation that covers 90 % of the errors (split conformal); the
other half measures the coverage of that factor, which is kept in the bundle and told in its model card. On real windows
the truth is unknown, so what is calibrated is the estimate on markets like the simulated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenfolio.artifacts import Bundle
from eigenfolio.learned.attention import AttentionForward, mean_attention
from eigenfolio.learned.dense import ALL_TARGETS, DenseForward, mean_parameters
from eigenfolio.learned.tokens import WINDOW_FEATURES, TokenWindow, describe_tokens
from eigenfolio.training.calibration import split_conformal
from eigenfolio.training.mixture import DrawnWindow, WindowSource, draw_mixture
from eigenfolio.training.token_windows import oracle_answer

__all__ = ["calibrated", "interval_lines"]

FloatArray = NDArray[np.float64]

_LEVEL = 0.9
_EDGE = 1e-3
_SIZES = {20: 0.4, 60: 0.4, 100: 0.2}


def calibrated(bundle: Bundle, details: Mapping[str, Any], *, seed: int, n_windows: int = 300) -> Bundle:
    """Add the factors of its intervals to a bundle, and to its details what they cover.

    Parameters
    ----------
    bundle : Bundle
        Of the attention network, or of a dense one that predicts its variance; any other gets its details alone.
    details : mapping
        Of the new bundle.
    seed : int
        Of the windows.
    n_windows : int
        Windows of both halves, at least 40.

    Returns
    -------
    Bundle
    """
    told, tensors = dict(details), dict(bundle.tensors)
    if bundle.network == "attention" or bundle.options["uncertainty"]:
        targets = bundle.options["targets"]
        describe = partial(describe_tokens, start=targets[0])
        counts = {size: round(share * n_windows) for size, share in _SIZES.items()}
        source = WindowSource(name="calibration", counts=counts, change="population")
        drawn = draw_mixture({}, [source], through=None, seed=seed, describe=describe)
        order = np.random.default_rng([seed, 1]).permutation(len(drawn))
        errors = _errors(bundle, drawn)
        first, second = np.array_split(order, 2)
        factors = [
            split_conformal(e, np.zeros(len(e)), d, level=_LEVEL).factor for e, d in errors[first].transpose(1, 2, 0)
        ]
        covered = (np.abs(errors[second, :, 0]) <= np.array(factors) * errors[second, :, 1]).mean(axis=0).tolist()
        tensors["interval_scale"] = np.array(factors[0])
        told["calibration"] = {"level": _LEVEL, "n": len(second), "intensity": covered[0]}
        if bundle.network == "attention":
            tensors["confidence_scale"] = np.array(factors[1:])
            told["calibration"] |= {"weights": dict(zip(targets, covered[1:], strict=True))}
    return Bundle(
        bundle.family, bundle.network, bundle.options, bundle.feature_names, tensors, bundle.trained_through, told
    )


def _errors(bundle: Bundle, drawn: Sequence[DrawnWindow]) -> FloatArray:
    """Error and predicted deviation of logit delta and of the weights that have a variance, (n, n_numbers, 2)."""
    say = _attention_says if bundle.network == "attention" else _dense_says
    forward: Any = (
        AttentionForward(bundle) if bundle.network == "attention" else DenseForward(bundle, bundle.feature_names)
    )
    rows = []
    for one in drawn:
        window: Any = one.window
        best = oracle_answer(one, bundle.options["targets"])
        assert best is not None  # every window is simulated
        intensity, variance, weights, deviations = say(forward, window)
        row = [[_logit(intensity) - _logit(best[0]), np.sqrt(variance)]]
        rows.append(row + [[w - b, d] for w, b, d in zip(weights, best[1], deviations, strict=False)])
    return np.array(rows)


def _attention_says(forward: AttentionForward, window: TokenWindow) -> tuple[float, float, FloatArray, FloatArray]:
    answer = mean_attention(forward.members(window))
    own = [ALL_TARGETS.index(name) for name in forward.targets]
    return answer.intensity, answer.variance, answer.target_weights[own], np.sqrt(answer.target_variance)


def _dense_says(forward: DenseForward, window: TokenWindow) -> tuple[float, float, FloatArray, FloatArray]:
    columns = [WINDOW_FEATURES.index(name) for name in forward.names]
    logit = window.base.classical_logit
    said = mean_parameters(forward.members(window.features[columns], logit, window.regime))
    assert said.log_variance is not None
    return said.intensity, float(np.exp(said.log_variance)), np.empty(0), np.empty(0)


def _logit(value: float) -> float:
    bounded = min(max(value, _EDGE), 1.0 - _EDGE)
    return float(np.log(bounded / (1.0 - bounded)))


def interval_lines(calibration: Mapping[str, Any]) -> list[str]:
    """What a model card says of the coverage of a bundle's intervals, from its ``details["calibration"]``.

    Examples
    --------
    >>> print(interval_lines({"level": 0.9, "n": 150, "intensity": 0.88})[0])
    The 90% intervals were calibrated on simulated markets; on 150 other windows they covered the best intensity in 88%.
    """
    line = (
        f"The {calibration['level']:.0%} intervals were calibrated on simulated markets; on {calibration['n']} other "
        f"windows they covered the best intensity in {calibration['intensity']:.0%}"
    )
    if "weights" in calibration:
        shares = ", ".join(f"{share:.0%} ({name})" for name, share in calibration["weights"].items())
        line += f", the best target weights in {shares}"
    return [line + "."]
