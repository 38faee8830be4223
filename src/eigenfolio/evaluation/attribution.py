r"""What an answer owes to its inputs: integrated gradients for one answer, permutation for many.

**Integrated gradients** [1]_ share the difference between an answer f(x) and that of a baseline b among the inputs,

    a_i = (x_i - b_i) * mean over t in (0, 1) of  df/dx_i (b + t (x - b)),        sum of a = f(x) - f(b)

The mean is taken at the middles of `n_nodes` equal steps. Where no gradient is given it comes from central differences
whose step is a small part of the way from b to x. The sum is exact for the integral; what the rule of the middles
leaves (kinks, clipped inputs) is `gap`, to be read before the shares are.

**Permutation** asks what all answers lose when one input is dealt out anew among the rows:

    change_i = mean of (f(x) - f(x with column i permuted))^2              without a target
    change_i = rise of the mean squared error                              with one [2]_

Without a target and with independent inputs, change_i / (2 var f) is the share of the variance of the answer that
disappears with input i, its interactions included (the total effect of [3]_). Inputs that move together share what they
say, and a permuted row may be one that no market shows: give such inputs as one group, and they are dealt out together.

References
----------
.. [1] M. Sundararajan, A. Taly and Q. Yan (2017). Axiomatic attribution for deep networks. ICML, 3319-3328.
.. [2] L. Breiman (2001). Random forests. Machine Learning 45, 5-32.
.. [3] M. J. W. Jansen (1999). Analysis of variance designs for model output. Computer Physics Communications
   117, 35-43.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.errors import DataError, ParameterError

__all__ = ["Answer", "Attribution", "integrated_gradients", "permutation_attribution"]

FloatArray = npt.NDArray[np.float64]

Answer = Callable[[FloatArray], npt.ArrayLike]
"""From inputs, (n_rows, n_features), to one number a row, (n_rows,)."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Shares of the difference between an answer and that of a baseline.

    Attributes
    ----------
    values : Series of length n_features
        In the unit of the answer, by name of the input.
    answer, baseline : float
        What is explained, and what it is compared with.
    gap : float
        ``answer - baseline - values.sum()``: what the numeric integral has missed.
    """

    values: pd.Series
    answer: float
    baseline: float
    gap: float

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> pd.Series:
        """Sums over groups of inputs; an input without a group stands for itself.

        Parameters
        ----------
        groups : mapping of str to sequence of str
            Names of the inputs of each group; none in two of them.

        Returns
        -------
        Series
            By name of the group, the largest size first.

        Raises
        ------
        ParameterError
            If an input is unknown or stands in two groups.

        Examples
        --------
        >>> shares = Attribution(pd.Series({"a": 1.0, "b": -3.0, "c": 0.5}), 0.0, 1.5, 0.0)
        >>> shares.grouped({"a and c": ["a", "c"]}).to_dict()
        {'b': -3.0, 'a and c': 1.5}
        """
        owner = _owners(groups, list(self.values.index))
        sums = self.values.groupby([owner[name] for name in self.values.index], sort=False).sum()
        return sums.reindex(sums.abs().sort_values(ascending=False, kind="stable").index)


def integrated_gradients(
    answer: Answer,
    inputs: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    gradient: Callable[[FloatArray], npt.ArrayLike] | None = None,
    n_nodes: int = 32,
    step: float = 1e-4,
) -> Attribution:
    """Share the difference between the answers at `inputs` and at `baseline` among the inputs.

    Parameters
    ----------
    answer : callable
        From (n_rows, n_features) to (n_rows,); each row by itself.
    inputs, baseline : array-like of shape (n_features,)
        Where the answer is explained, and what it is compared with.
    names : sequence of str, optional
        Of the inputs; their positions without it.
    gradient : callable, optional
        From (n_rows, n_features) to the derivatives, of the same shape. Central differences of `answer` without it, at
        twice as many answers a node as inputs differ from the baseline.
    n_nodes : int, default=32
        Steps of the numeric integral, at least 1.
    step : float in (0, 0.5], default=1e-4
        Of the differences, as a part of the way from `baseline` to `inputs`.

    Returns
    -------
    Attribution

    Raises
    ------
    ParameterError
        If shapes differ or an option leaves its range.
    DataError
        If the answer or its gradient is not finite somewhere on the way.

    Examples
    --------
    >>> shares = integrated_gradients(lambda x: x[:, 0] * x[:, 1], [2.0, 3.0], [0.0, 0.0], names=["a", "b"])
    >>> shares.values.round(6).to_dict(), round(abs(shares.gap), 9)
    ({'a': 3.0, 'b': 3.0}, 0.0)
    """
    x, b = _vector(inputs, "inputs"), _vector(baseline, "baseline")
    labels = list(range(len(x))) if names is None else list(names)
    if len(b) != len(x) or len(labels) != len(x):
        raise ParameterError(
            f"inputs, baseline and names must be of one length, got {len(x)}, {len(b)} and {len(labels)}"
        )
    if n_nodes < 1 or int(n_nodes) != n_nodes:
        raise ParameterError(f"n_nodes must be a whole number of at least 1, got {n_nodes}")
    if not 0.0 < step <= 0.5:
        raise ParameterError(f"step must lie in (0, 0.5], got {step}")
    way = x - b
    nodes = b + np.outer((np.arange(n_nodes) + 0.5) / n_nodes, way)  # (n_nodes, n_features)
    if gradient is not None:
        slopes = np.asarray(gradient(nodes), dtype=float)
        if slopes.shape != nodes.shape:
            raise ParameterError(f"gradient must give {nodes.shape}, one derivative per input, got {slopes.shape}")
        shares = way * slopes.mean(axis=0)
    else:
        shares = _by_differences(answer, nodes, way, step)
    last, first = _answers(answer, np.stack([x, b]))
    if not np.isfinite(shares).all():
        raise DataError(
            "the gradient is not finite on the way from the baseline to the inputs; choose a nearer baseline"
        )
    values = pd.Series(shares, index=labels, name="attribution")
    return Attribution(values, float(last), float(first), float(last - first - shares.sum()))


def permutation_attribution(
    answer: Answer,
    features: pd.DataFrame,
    *,
    rng: np.random.Generator,
    target: npt.ArrayLike | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    n_repeats: int = 10,
) -> pd.DataFrame:
    """What the answers lose when one input, or one group of them, is dealt out anew among the rows.

    Parameters
    ----------
    answer : callable
        From (n_rows, n_features) to (n_rows,). Row k may be judged in a context of its own (the rest of window k), as
        long as it does not look at other rows.
    features : DataFrame of shape (n_rows, n_features)
        Inputs by name; at least two rows.
    rng : Generator
        Draws the permutations.
    target : array-like of shape (n_rows,), optional
        What the answers should have been. With it the figure is the rise of the mean squared error.
    groups : mapping of str to sequence of str, optional
        Inputs that are permuted together; an input without a group stands for itself.
    n_repeats : int, default=10
        Permutations of each.

    Returns
    -------
    DataFrame
        By input or group, the largest first: `change` (unit of the answer, squared), `standard_error` of that mean over
        the permutations (NaN with one), and `share`: of twice the variance of the answers, or of the mean squared error
        if a target is given; NaN where that is zero.

    Raises
    ------
    ParameterError
        If an option is out of range, or a group names what is not there.
    DataError
        If an answer is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = pd.DataFrame(rng.standard_normal((500, 3)), columns=["wanted", "half", "idle"])
    >>> found = permutation_attribution(lambda x: 2 * x[:, 0] + x[:, 1], features, rng=rng)
    >>> found["share"].round(1).to_dict()
    {'wanted': 0.8, 'half': 0.2, 'idle': 0.0}
    """
    if n_repeats < 1 or int(n_repeats) != n_repeats:
        raise ParameterError(f"n_repeats must be a whole number of at least 1, got {n_repeats}")
    if len(features) < 2:
        raise ParameterError(f"features needs at least two rows to permute, got {len(features)}")
    x = features.to_numpy(dtype=float)
    truth = None if target is None else _vector(target, "target")
    if truth is not None and len(truth) != len(x):
        raise ParameterError(f"target must have one number per row of features, {len(x)}, got {len(truth)}")
    said = _answers(answer, x)
    whole = 2.0 * float(said.var()) if truth is None else float(((said - truth) ** 2).mean())
    rows = {
        name: _changes(answer, x, columns, said, truth, n_repeats, rng)
        for name, columns in _columns(groups or {}, [str(name) for name in features.columns]).items()
    }
    table = pd.DataFrame(
        {
            "change": {name: changes.mean() for name, changes in rows.items()},
            "standard_error": {
                name: changes.std(ddof=1) / np.sqrt(n_repeats) if n_repeats > 1 else np.nan
                for name, changes in rows.items()
            },
        }
    ).rename_axis("feature")
    table["share"] = table["change"] / whole if whole > 0.0 else np.nan
    return table.sort_values("change", ascending=False, kind="stable")


def _by_differences(answer: Answer, nodes: FloatArray, way: FloatArray, step: float) -> FloatArray:
    """Attributions by central differences; inputs that equal the baseline are not asked about."""
    shares = np.zeros(len(way))
    for i in np.flatnonzero(way):
        moved = np.concatenate([nodes, nodes])  # (2 n_nodes, n_features)
        moved[: len(nodes), i] += step * way[i]
        moved[len(nodes) :, i] -= step * way[i]
        up, down = _answers(answer, moved).reshape(2, len(nodes))
        shares[i] = float((up - down).mean()) / (2.0 * step)
    return shares


def _changes(
    answer: Answer,
    x: FloatArray,
    columns: list[int],
    said: FloatArray,
    truth: FloatArray | None,
    n_repeats: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Change of every repetition, (n_repeats,)."""
    changes = np.empty(n_repeats)
    for k in range(n_repeats):
        dealt = x.copy()
        dealt[:, columns] = x[rng.permutation(len(x))][:, columns]
        new = _answers(answer, dealt)
        own = (new - said) ** 2 if truth is None else (new - truth) ** 2 - (said - truth) ** 2
        changes[k] = own.mean()
    return changes


def _columns(groups: Mapping[str, Sequence[str]], names: list[str]) -> dict[str, list[int]]:
    owner = _owners(groups, names)
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(owner[name], []).append(i)
    return found


def _owners(groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """Group of every input."""
    owner: dict[str, str] = {}
    for group, members in groups.items():
        for name in members:
            if name not in names:
                raise ParameterError(f"group {group!r} names {name!r}, which is no input; there are {', '.join(names)}")
            if name in owner:
                raise ParameterError(f"{name!r} stands in the groups {owner[name]!r} and {group!r}; keep it in one")
            owner[name] = group
    return {name: owner.get(name, name) for name in names}


def _answers(answer: Answer, rows: FloatArray) -> FloatArray:
    said = np.asarray(answer(rows), dtype=float)
    if said.shape != (len(rows),):
        raise ParameterError(f"answer must give one number per row, shape ({len(rows)},), got {said.shape}")
    if not np.isfinite(said).all():
        raise DataError(f"the answer is not finite in {int((~np.isfinite(said)).sum())} of {len(said)} rows")
    return said


def _vector(values: npt.ArrayLike, name: str) -> FloatArray:
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ParameterError(f"{name} must be finite numbers in one dimension, got shape {vector.shape}")
    return vector
