r"""Many comparisons at once: adjusted p-values, and the sets of models that data cannot tell apart.

`adjusted_p_values` keeps a promise over a family of tests: that not even one discovery is false (Holm, under any
dependence [1]_), or that at most a share of them is (Benjamini-Hochberg, for independent or positively dependent
tests [2]_; Benjamini-Yekutieli, under any dependence [3]_).

Three tests look at whole series of losses (smaller is better) with the stationary bootstrap of the `arch` package:

- `model_confidence_set`: the models among which the best one is, with the given confidence [4]_;
- `superior_predictive_ability`: does any model beat the benchmark? [5]_
- `stepwise_superior_models`: which ones do, with one chance for any false claim [6]_.

References
----------
.. [1] S. Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics
   6(2), 65-70.
.. [2] Y. Benjamini and Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal Statistical
   Society B 57(1), 289-300.
.. [3] Y. Benjamini and D. Yekutieli (2001). The control of the false discovery rate in multiple testing under
   dependency. Annals of Statistics 29(4), 1165-1188.
.. [4] P. Hansen, A. Lunde and J. Nason (2011). The model confidence set. Econometrica 79(2), 453-497.
.. [5] P. Hansen (2005). A test for superior predictive ability. Journal of Business and Economic Statistics 23(4),
   365-380.
.. [6] J. Romano and M. Wolf (2005). Stepwise multiple testing as formalized data snooping. Econometrica 73(4),
   1237-1282.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, norm

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.difference import paired
from eigenfolio.evaluation.long_run import politis_white_block
from eigenfolio.evaluation.significance import block_error, block_means, check_confidence, holm, minimum_detectable

__all__ = [
    "ConfidenceSet",
    "SuperiorAbility",
    "adjusted_p_values",
    "model_confidence_set",
    "require_arch",
    "stepwise_superior_models",
    "superior_predictive_ability",
]

Adjustment = Literal["holm", "benjamini_hochberg", "benjamini_yekutieli"]

MIN_ROWS = 30


def adjusted_p_values(p_values: ArrayLike, *, method: Adjustment = "holm") -> NDArray[np.float64]:
    """Adjust a family of p-values so that comparing each with the level keeps its promise for all.

    Parameters
    ----------
    p_values : array-like of shape (n_tests,)
        Between 0 and 1.
    method : {"holm", "benjamini_hochberg", "benjamini_yekutieli"}
        Chance of any false discovery, or expected share of false ones (independent or positively dependent tests,
        any dependence).

    Returns
    -------
    ndarray of shape (n_tests,)
        In the same order.

    Raises
    ------
    ParameterError
        If the method is unknown.
    DataError
        If a value leaves [0, 1].

    Examples
    --------
    >>> adjusted_p_values([0.01, 0.04, 0.03], method="benjamini_hochberg")
    array([0.03, 0.04, 0.04])
    """
    values = np.asarray(p_values, dtype=float)
    if values.ndim != 1 or not ((values >= 0.0) & (values <= 1.0)).all():
        raise DataError("p_values must be one list of numbers between 0 and 1; leave tests without a result out")
    if method == "holm":
        return holm(values)
    if method == "benjamini_hochberg":
        return np.asarray(false_discovery_control(values, method="bh"))
    if method == "benjamini_yekutieli":
        return np.asarray(false_discovery_control(values, method="by"))
    raise ParameterError(f"method must be 'holm', 'benjamini_hochberg' or 'benjamini_yekutieli', got {method!r}")


@dataclass(frozen=True, eq=False)
class ConfidenceSet:
    """Models that cannot be told from the best one.

    Attributes
    ----------
    included, excluded : tuple of str
        In the order of the losses, and in that of elimination.
    p_values : Series
        By model: smallest level at which it would be excluded.
    minimum_detectable : float
        Difference of mean losses between two models that this many rows would show with a power of 80 %: the
        median over pairs, for one comparison and the block length used.
    n_observations, block : int
    confidence : float
    method : str
    """

    included: tuple[str, ...]
    excluded: tuple[str, ...]
    p_values: pd.Series
    minimum_detectable: float
    n_observations: int
    block: int
    confidence: float
    method: str = "model confidence set, range statistic, stationary bootstrap"


@dataclass(frozen=True)
class SuperiorAbility:
    """Whether any model beats a benchmark.

    Attributes
    ----------
    p_value : float in [0, 1]
        Consistent one; small where at least one model loses less than the benchmark.
    lower, upper : float
        The liberal and the conservative p-value that bound it.
    best : str
        Model with the smallest mean loss.
    estimate, low, high : float
        Mean loss of `best` less that of the benchmark with the interval of a single comparison, which does not
        allow for the choice; the p-value does.
    minimum_detectable : float
        Difference that a single comparison would find with a power of 80 %.
    n_observations, block : int
    confidence : float
    method : str
    """

    p_value: float
    lower: float
    upper: float
    best: str
    estimate: float
    low: float
    high: float
    minimum_detectable: float
    n_observations: int
    block: int
    confidence: float
    method: str = "superior predictive ability, stationary bootstrap"


def model_confidence_set(
    losses: pd.DataFrame,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    block: int | Literal["auto"] = "auto",
    rng: np.random.Generator,
) -> ConfidenceSet:
    """Models among which the best one is.

    Parameters
    ----------
    losses : DataFrame of shape (n_observations, n_models)
        Loss per row; smaller is better.
    confidence : float in (0, 1)
        That the best model is in the set.
    n_bootstrap : int
        Resamples.
    block : int or "auto"
        Mean rows per block; "auto" takes the longest that Politis and White find for a model's difference from the
        mean of all.
    rng : numpy.random.Generator
        Seeds the bootstrap.

    Returns
    -------
    ConfidenceSet

    Raises
    ------
    DataError
        If the losses are not a finite table of at least two models and 30 rows.
    ParameterError
        If an option is out of range, or `arch` is not installed.

    References
    ----------
    .. [1] P. Hansen, A. Lunde and J. Nason (2011). The model confidence set. Econometrica 79(2), 453-497.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> losses = pd.DataFrame(rng.standard_normal((300, 3)) + [0.0, 0.0, 1.0], columns=list("ABC"))
    >>> model_confidence_set(losses, rng=rng).included
    ('A', 'B')
    """
    values = _checked(losses)
    check_confidence(confidence)
    length = _length(values - values.mean(axis=1, keepdims=True), block)
    procedure = require_arch().MCS(
        values, 1.0 - confidence, reps=n_bootstrap, block_size=length, method="R", seed=_seed(rng)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal models: 0 / 0 inside, handled there
        procedure.compute()
    names = [str(name) for name in losses.columns]
    order = procedure.pvalues["Pvalue"]
    included = set(procedure.included)
    pairs = [values[:, i] - values[:, j] for i in range(len(names)) for j in range(i)]
    return ConfidenceSet(
        included=tuple(name for i, name in enumerate(names) if i in included),
        excluded=tuple(names[int(i)] for i in order.index if i not in included),
        p_values=pd.Series({names[int(i)]: float(p) for i, p in order.items()}, name="p_value").reindex(names),
        minimum_detectable=float(np.median([_detectable(pair, length, confidence) for pair in pairs])),
        n_observations=len(values),
        block=length,
        confidence=confidence,
    )


def superior_predictive_ability(
    benchmark: ArrayLike,
    losses: pd.DataFrame,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    block: int | Literal["auto"] = "auto",
    rng: np.random.Generator,
) -> SuperiorAbility:
    """Test that no model has a smaller expected loss than a benchmark.

    Parameters
    ----------
    benchmark : array-like of shape (n_observations,)
        Losses of the benchmark, same rows.
    losses : DataFrame of shape (n_observations, n_models)
        Losses of the models.
    confidence, n_bootstrap, block, rng
        As in `model_confidence_set`.

    Returns
    -------
    SuperiorAbility

    Raises
    ------
    DataError, ParameterError
        As in `model_confidence_set`.

    References
    ----------
    .. [1] P. Hansen (2005). A test for superior predictive ability. Journal of Business and Economic Statistics 23(4),
       365-380.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> losses = pd.DataFrame(rng.standard_normal((300, 2)) + [0.0, -0.5], columns=["same", "better"])
    >>> test = superior_predictive_ability(rng.standard_normal(300), losses, rng=rng)
    >>> test.best, test.p_value < 0.01
    ('better', True)
    """
    check_confidence(confidence)
    base, values = _against(benchmark, losses)
    length = _length(base[:, None] - values, block)
    procedure = require_arch().SPA(base, values, block_size=length, reps=n_bootstrap, seed=_seed(rng))
    procedure.compute()
    best = int(values.mean(axis=0).argmin())
    difference = values[:, best] - base
    estimate = float(difference.mean())
    detectable = _detectable(difference, length, confidence)
    half = detectable * _critical_share(confidence)
    return SuperiorAbility(
        p_value=float(procedure.pvalues["consistent"]),
        lower=float(procedure.pvalues["lower"]),
        upper=float(procedure.pvalues["upper"]),
        best=str(losses.columns[best]),
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        minimum_detectable=detectable,
        n_observations=len(base),
        block=length,
        confidence=confidence,
    )


def stepwise_superior_models(
    benchmark: ArrayLike,
    losses: pd.DataFrame,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    block: int | Literal["auto"] = "auto",
    rng: np.random.Generator,
) -> tuple[str, ...]:
    """Models that beat a benchmark, with one chance in all for any false claim.

    Parameters
    ----------
    benchmark, losses, confidence, n_bootstrap, block, rng
        As in `superior_predictive_ability`.

    Returns
    -------
    tuple of str
        Names, in the order of the losses; empty where none does.

    Raises
    ------
    DataError, ParameterError
        As in `model_confidence_set`.

    References
    ----------
    .. [1] J. Romano and M. Wolf (2005). Stepwise multiple testing as formalized data snooping. Econometrica 73(4),
       1237-1282.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> losses = pd.DataFrame(rng.standard_normal((300, 2)) + [0.0, -0.5], columns=["same", "better"])
    >>> stepwise_superior_models(rng.standard_normal(300), losses, rng=rng)
    ('better',)
    """
    check_confidence(confidence)
    base, values = _against(benchmark, losses)
    length = _length(base[:, None] - values, block)
    procedure = require_arch().SPA(base, values, block_size=length, reps=n_bootstrap, seed=_seed(rng))
    left = np.ones(values.shape[1], dtype=bool)
    # arch's own StepM fails where the last model of several falls, so its steps are taken here.
    while left.any():
        procedure.subset(left)
        procedure.compute()
        found = np.asarray(procedure.better_models(1.0 - confidence), dtype=int)
        if not found.size:
            break
        left[found] = False
    return tuple(str(name) for name, stays in zip(losses.columns, left, strict=True) if not stays)


def require_arch() -> ModuleType:
    """The bootstrap of `arch`, which a small installation may lack.

    Raises
    ------
    ParameterError
        If `arch` is not installed.

    Examples
    --------
    >>> require_arch().__name__
    'arch.bootstrap'
    """
    try:
        from arch import bootstrap
    except ImportError as error:
        raise ParameterError(
            "model confidence sets and tests of superior ability need arch; pip install 'eigenfolio[report]'"
        ) from error
    return bootstrap


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _length(differences: NDArray[np.float64], block: int | Literal["auto"]) -> int:
    """Mean rows per block."""
    n = len(differences)
    if block == "auto":
        longest = max(politis_white_block(column) for column in differences.T)
        return int(np.clip(round(longest), 1, max(1, n // 10)))
    if isinstance(block, bool) or not isinstance(block, (int, np.integer)) or not 1 <= block <= n // 4:
        raise ParameterError(f"block must be 'auto' or a whole number of rows from 1 to {n // 4}, got {block!r}")
    return int(block)


def _detectable(differences: NDArray[np.float64], block: int, confidence: float) -> float:
    """What a single comparison would find in 80 % of the cases, from circular blocks of the length used."""
    n_blocks = max(2, len(differences) // block)
    return minimum_detectable(block_error(block_means(differences, block), n_blocks), confidence=confidence)


def _critical_share(confidence: float) -> float:
    """Half an interval, as a share of what is detectable."""
    critical = float(norm.ppf(0.5 + confidence / 2.0))
    return critical / (critical + float(norm.ppf(0.8)))


def _checked(losses: pd.DataFrame, *, at_least: int = 2) -> NDArray[np.float64]:
    values = np.asarray(losses, dtype=float)
    if not isinstance(losses, pd.DataFrame) or values.shape[1] < at_least or len(values) < MIN_ROWS:
        raise DataError(
            f"losses must be a table of at least {MIN_ROWS} rows and {at_least} models, got shape {values.shape}"
        )
    if not losses.columns.is_unique:
        raise DataError("two models of the losses have the same name; rename one")
    if not np.isfinite(values).all():
        raise DataError(f"losses hold {int((~np.isfinite(values)).sum())} values that are not finite; drop those rows")
    return values


def _against(benchmark: ArrayLike, losses: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = _checked(losses, at_least=1)
    base, _ = paired(benchmark, losses.iloc[:, 0], names=("benchmark", "losses"), at_least=MIN_ROWS)
    if (values == base[:, None]).all(axis=0).any():
        raise DataError("a model has the losses of the benchmark itself; leave it out of losses")
    return base, values
