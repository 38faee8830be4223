r"""How the answers of an ensemble become one, and what their disagreement says.

    answer = sum_m w_m(window) answer_m,    w(window) = p(window)' W,    p(window) = softmax(A z + a)

W holds weights on the simplex, (n_states, n_members); z are numbers of the window's summary, scaled and clamped. The
softmax is the gate: the probability of each state (calm to turbulent, or the kinds that specialists were trained on).
Without a gate there is one state. Log eigenvalues, log volatilities, shares and the log scale are averaged, so the
result is an answer like that of one network. The trimmed mean drops the k smallest and the k largest of every number.
Where members look at one spectrum alone, the eigenvalues of a spectrum are averaged in proportion to w_m times the
share that the member gives to it, since what a member says of a spectrum it does not use means nothing.

The gate reads the window alone, whose inputs are free of units, so a decision stays causal and scale-equivariant.

References
----------
.. [1] J. M. Bates and C. W. J. Granger (1969). The combination of forecasts. Operational Research Quarterly 20(4),
   451-468.
.. [2] R. A. Jacobs, M. I. Jordan, S. J. Nowlan and G. E. Hinton (1991). Adaptive mixtures of local experts. Neural
   Computation 3(1), 79-87.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from scipy.stats import trim_mean

from eigenfolio.artifacts import Bundle
from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.learned.spectra import SUMMARY_FEATURES, SpectralWindow

if TYPE_CHECKING:
    from eigenfolio.learned.spectral import SpectralAnswer

__all__ = [
    "GATE_INPUTS",
    "ONE_STATE",
    "Aggregation",
    "Gate",
    "stored_aggregation",
]

FloatArray = NDArray[np.float64]

ONE_STATE = ("every window",)
GATE_INPUTS: tuple[str, ...] = (
    "steady_mean_ewma_volatility_21",
    "steady_mean_ewma_volatility_63",
    "steady_mean_correlation",
    "recent_mean_correlation",
    "steady_log_first",
    "steady_log_second",
    "steady_log_assets",
    "steady_log_aspect_ratio",
    "steady_volatility_dispersion",
)
"""Numbers of the window's summary that a gate reads: volatility, correlation, size, and what a sector has in common."""

_BOUND = 4.0


@dataclass(frozen=True)
class Gate:
    """Probabilities of the states of a window, linear in numbers of its summary before the softmax.

    Attributes
    ----------
    inputs : tuple of str
        Names in `SUMMARY_FEATURES`.
    center, scale : ndarray of shape (n_inputs,)
        Of the inputs; scaled inputs are clamped to +-4.
    slope : ndarray of shape (n_states, n_inputs)
    level : ndarray of shape (n_states,)

    Examples
    --------
    >>> gate = Gate(("steady_log_assets",), np.array([4.0]), np.ones(1), np.array([[0.0], [2.0]]), np.zeros(2))
    >>> summary = np.zeros(len(SUMMARY_FEATURES))
    >>> summary[SUMMARY_FEATURES.index("steady_log_assets")] = 4.0
    >>> gate.probabilities(summary).tolist()
    [0.5, 0.5]
    """

    inputs: tuple[str, ...]
    center: FloatArray
    scale: FloatArray
    slope: FloatArray
    level: FloatArray

    def probabilities(self, summary: ArrayLike) -> FloatArray:
        """Of every state, (..., n_states), for summaries (..., n_summary)."""
        places = [SUMMARY_FEATURES.index(name) for name in self.inputs]
        given = np.asarray(summary, dtype=float)[..., places]
        scaled = np.clip((given - self.center) / self.scale, -_BOUND, _BOUND)
        found: FloatArray = softmax(scaled @ self.slope.T + self.level, axis=-1)
        return found


@dataclass(frozen=True)
class Aggregation:
    """A rule that makes one answer of several.

    Attributes
    ----------
    name : str
        How the weights came about: "mean", "validation", "inverse_variance", "simplex" or "trimmed".
    weights : ndarray of shape (n_states, n_members)
        Rows on the simplex.
    states : tuple of str
        Names of the states.
    gate : Gate or None
        Tells their probabilities; None with one state.
    n_trimmed : int
        Members dropped at either end of every number; 0 unless trimmed.
    by_share : bool
        Whether eigenvalues are averaged in proportion to the members' shares.
    residual_variance : ndarray of shape (n_members,) or None
        Variance over validation windows of the log ratio of the realised to the predicted variance of each member's
        minimum-variance portfolio.

    Raises
    ------
    ParameterError
        If the weights are not on the simplex, their number is not that of the states, a gate is missing or has another
        number of states, or nothing is left after trimming.
    """

    name: str
    weights: FloatArray
    states: tuple[str, ...] = ONE_STATE
    gate: Gate | None = None
    n_trimmed: int = 0
    by_share: bool = False
    residual_variance: FloatArray | None = None

    def __post_init__(self) -> None:
        n_states, n_members = np.shape(self.weights)
        if (self.weights < 0.0).any() or not np.allclose(self.weights.sum(axis=1), 1.0, atol=1e-6):
            raise ParameterError("aggregation weights must be at least 0 and sum to 1 over the members of every state")
        gated = 1 if self.gate is None else len(self.gate.level)
        if not n_states == len(self.states) == gated:
            raise ParameterError(
                f"an aggregation of {len(self.states)} states needs a row of weights for each and a gate of as many, "
                f"got {n_states} rows and a gate of {gated}"
            )
        if self.n_trimmed and 2 * self.n_trimmed >= n_members:
            raise ParameterError(
                f"trimming {self.n_trimmed} members at either end leaves none of {n_members}; train more or trim less"
            )

    def member_weights(self, window: SpectralWindow) -> FloatArray:
        """Weights of the members for a window, (n_members,)."""
        if self.gate is None:
            return self.weights[0]
        mixed: FloatArray = self.gate.probabilities(window.summary) @ self.weights
        return mixed

    def __call__(self, window: SpectralWindow, answers: Sequence[SpectralAnswer]) -> SpectralAnswer:
        """Join the members' answers to one."""
        if len(answers) != self.weights.shape[1]:
            raise ParameterError(f"this aggregation is for {self.weights.shape[1]} members, got {len(answers)} answers")
        if self.n_trimmed:
            share = (self.n_trimmed + 0.5) / len(answers)
            return _joined(answers, lambda values: trim_mean(values, share, axis=0))
        weights = self.member_weights(window)
        answer = _joined(answers, lambda values: np.tensordot(weights, values, axes=1))
        if not self.by_share:
            return answer
        held = weights[:, None] * np.array([a.shares for a in answers])  # (n_members, n_spectra)
        held /= held.sum(axis=0)
        changes = zip(*(a.eigenvalue_change for a in answers), strict=True)
        return replace(
            answer,
            eigenvalue_change=tuple(held[:, b] @ np.array(change) for b, change in enumerate(changes)),
        )

    def options(self) -> dict[str, Any]:
        """What a bundle keeps among its options, JSON-able."""
        return {
            "name": self.name,
            "states": list(self.states),
            "gate_inputs": [] if self.gate is None else list(self.gate.inputs),
            "n_trimmed": self.n_trimmed,
            "by_share": self.by_share,
        }

    def tensors(self) -> dict[str, FloatArray]:
        """What a bundle keeps among its tensors."""
        kept = {"aggregation_weights": self.weights}
        if self.gate is not None:
            kept |= {f"aggregation_gate_{part}": getattr(self.gate, part) for part in _GATE_PARTS}
        if self.residual_variance is not None:
            kept["aggregation_residual_variance"] = self.residual_variance
        return kept


_GATE_PARTS = ("center", "scale", "slope", "level")


def stored_aggregation(bundle: Bundle) -> Aggregation | None:
    """The rule that a bundle holds; None where its members are plainly averaged.

    Raises
    ------
    ArtifactError
        If the bundle's rule is incomplete, or of inputs that this version does not compute.
    """
    told = bundle.options.get("aggregation")
    if told is None:
        return None
    unknown = [name for name in told["gate_inputs"] if name not in SUMMARY_FEATURES]
    if unknown:
        raise ArtifactError(f"the bundle's gate reads {unknown[0]!r}, which is not computed; train it again")
    try:
        parts = {
            part: bundle.tensors[f"aggregation_gate_{part}"].astype(float)
            for part in _GATE_PARTS
            if told["gate_inputs"]
        }
        residual = bundle.tensors.get("aggregation_residual_variance")
        return Aggregation(
            told["name"],
            bundle.tensors["aggregation_weights"].astype(float),
            tuple(told["states"]),
            Gate(tuple(told["gate_inputs"]), **parts) if parts else None,
            told["n_trimmed"],
            told["by_share"],
            None if residual is None else residual.astype(float),
        )
    except (KeyError, ParameterError) as error:
        raise ArtifactError(f"the bundle's aggregation cannot be used ({error}); train it again") from error


def _joined(answers: Sequence[SpectralAnswer], join: Callable[[FloatArray], Any]) -> SpectralAnswer:
    """Join every number of the answers, whatever their fields."""

    def field(values: list[Any]) -> Any:
        if isinstance(values[0], tuple):
            return tuple(field(list(part)) for part in zip(*values, strict=True))
        found = join(np.array(values, dtype=float))
        return found if np.ndim(values[0]) else float(found)

    first = answers[0]
    return replace(first, **{f.name: field([getattr(a, f.name) for a in answers]) for f in fields(first)})
