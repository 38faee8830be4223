"""One way to ask anything for its decision of a row: estimators, transformers, and functions of a whole panel.

What can be asked, and what is compared (row t is the decision row):

    kind                given                                   the answer
    covariance          rows up to t, in `fit`                  covariance_, location_
    expected returns    rows up to t, in `fit`                  mu_
    portfolio           rows up to t, in `fit`                  weights_ (of the last step of a pipeline)
    estimator           rows up to t, in `fit`                  every fitted array of skfolio's contract
    transformer         rows up to the split, in `fit`;         its rows up to t
                        those after, in `transform`
    table               all rows, in the call                   its rows up to t (features, signals, weights)
    returns             all rows, in the call                   its rows up to t (what a strategy earned)
    splitter            all rows, in `split`                    see `label_overlap`

A function with one required argument is called with the panel; it may also give an estimator, which is then built anew
from every altered panel (training, scalers or a universe that come from the panel are part of the target). The rows up
to t are handed over as a view of the whole panel: what finds its way from a view to later rows is a leak that a copy
would hide.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skfolio.moments import BaseCovariance, BaseMu
from skfolio.optimization import BaseOptimization
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from eigenfolio.errors import DataError, ParameterError

__all__ = ["Answer", "Kind", "Part", "Target", "as_target", "ask", "fitted", "same_seed"]

Kind = Literal[
    "covariance", "expected returns", "portfolio", "estimator", "transformer", "table", "returns", "splitter"
]

ATTRIBUTES = ("weights_", "covariance_", "mu_", "mu_std_", "location_", "variance_")
"""Fitted attributes that make up the decision of an estimator, where it has them."""


@dataclass(frozen=True)
class Part:
    """One array of an answer, with the names of its columns and the dates of its rows where it has them."""

    values: NDArray[np.float64]
    columns: tuple[str, ...] | None = None
    dates: pd.DatetimeIndex | None = None


Answer = dict[str, Part]


@dataclass(frozen=True)
class Target:
    """Something that decides, and how it is asked.

    Attributes
    ----------
    name : str
        For the reader.
    kind : str
        One of `Kind`; decides what an answer is.
    make : callable
        Panel to a fresh, unfitted estimator, or to the table itself. Ignores the panel unless `sees_panel`.
    sees_panel : bool
        Whether rows after the decision are handed over at all: to a factory, a function or a transformer.
    parameters : mapping of str to pandas object
        Dated tables that the estimator holds as constructor parameters.
    """

    name: str
    kind: Kind
    make: Callable[[pd.DataFrame], Any]
    sees_panel: bool
    parameters: Mapping[str, pd.DataFrame | pd.Series]

    def given(self, parameters: Mapping[str, pd.DataFrame | pd.Series]) -> Target:
        """The same target with other tables in its constructor parameters."""
        return replace(self, make=lambda panel: self.make(panel).set_params(**parameters), parameters=parameters)


def as_target(thing: Any, X: pd.DataFrame, *, name: str | None = None, seed: int = 0) -> Target:
    """Recognise what can be audited.

    Parameters
    ----------
    thing : estimator, class of one, splitter or function
        A class is called without arguments, and so is a function without required arguments; a function with one is
        called with a panel and gives an estimator, a table with one row per row of the panel, or a series of the
        returns that a strategy earned.
    X : DataFrame of shape (n_observations, n_assets)
        Panel on which a function is tried once to see what it gives.
    name : str, optional
        For the report; by default that of `thing`.
    seed : int
        Seed of the global generators while the function is tried.

    Raises
    ------
    ParameterError
        If it is nothing that can be audited.

    Examples
    --------
    >>> index = pd.bdate_range("2020-01-01", periods=50)
    >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), index=index, columns=list("ABC"))
    >>> as_target(lambda X: X.rolling(5).mean(), X).kind
    'table'
    """
    name = str(name or getattr(thing, "__name__", type(thing).__name__))
    if inspect.isclass(thing) or (callable(thing) and not _is_model(thing) and not _n_required(thing, name)):
        made = _construct(thing, name)
        if not _is_model(made):
            raise ParameterError(
                f"{name} gives {type(made).__name__}, which has neither fit nor split; give an estimator, a splitter, "
                "or a function of a panel"
            )
        fresh = (lambda panel: clone(made)) if isinstance(made, BaseEstimator) else (lambda panel: thing())
        return _estimator_target(made, name, fresh, sees_panel=False)
    if _is_model(thing):
        cloned = hasattr(thing, "get_params")
        return _estimator_target(
            thing, name, lambda panel: clone(thing) if cloned else copy.deepcopy(thing), sees_panel=False
        )
    if not callable(thing):
        raise ParameterError(
            f"{name} is a {type(thing).__name__}; give an estimator, a class of one, a splitter, or a function of a "
            "panel"
        )
    with same_seed(seed):
        given = thing(laid_out(X))
    if _is_model(given):
        return _estimator_target(given, name, thing, sees_panel=True)
    kind: Kind = "returns" if np.ndim(given) == 1 else "table"
    if np.ndim(given) not in (1, 2):
        raise ParameterError(
            f"{name} gives {type(given).__name__}; a function of a panel must give an estimator, a table with one row "
            "per date, or a series of strategy returns"
        )
    return Target(name, kind, thing, True, {})


def ask(target: Target, panel: pd.DataFrame, row: int, *, split: int, seed: int) -> Answer:
    """Ask for the decision of a row, where the rows of `panel` after it are whatever the caller has put there.

    Parameters
    ----------
    target : Target
    panel : DataFrame of shape (n_observations, n_assets)
        Simple returns; may end at `row`.
    row : int
        Decision row.
    split : int
        Row up to which a transformer is fitted.
    seed : int
        Seed of the global generators, so that an estimator that draws without a seed of its own repeats itself.

    Returns
    -------
    dict of str to Part
    """
    with same_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = target.make(laid_out(panel))
        if target.kind in ("table", "returns"):
            return _rows_until(made, panel, row, target)
        return answer_of(target, made, panel, row, split)


def answer_of(target: Target, model: Any, panel: pd.DataFrame, row: int, split: int) -> Answer:
    """Fit a model as its kind is fitted, and read its answer."""
    if target.kind == "transformer":
        model.fit(past(panel, split))
        later = laid_out(panel.iloc[split + 1 :])
        return _rows_until(model.transform(later), later, row - split - 1, target)
    model.fit(past(panel, row))
    return _read(model, panel.columns, target)


def fitted(target: Target, panel: pd.DataFrame, row: int, *, split: int, seed: int) -> Any:
    """The estimator fitted for a row; a transformer is fitted up to the split."""
    with same_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return target.make(laid_out(panel)).fit(past(panel, split if target.kind == "transformer" else row))


def past(panel: pd.DataFrame, row: int) -> pd.DataFrame:
    """Rows up to `row`, as a read-only view of the whole panel."""
    values = np.array(panel.to_numpy(dtype=float), order="C")
    values.flags.writeable = False
    return pd.DataFrame(values[: row + 1], index=panel.index[: row + 1], columns=panel.columns, copy=False)


def laid_out(panel: pd.DataFrame) -> pd.DataFrame:
    """A copy with its rows one after the other in memory: another layout would round sums in another order."""
    values = np.array(panel.to_numpy(dtype=float), order="C")
    return pd.DataFrame(values, index=panel.index, columns=panel.columns, copy=False)


@contextlib.contextmanager
def same_seed(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and (where it is loaded) torch, and put them back afterwards."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  an estimator that draws without a generator draws from this one
    if torch:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if torch:
            torch.set_rng_state(states[2])


def _is_model(thing: Any) -> bool:
    return not inspect.isclass(thing) and (hasattr(thing, "fit") or hasattr(thing, "split"))


def _n_required(function: Any, name: str) -> int:
    """Required positional arguments; a function of a panel has one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        raise ParameterError(
            f"{name} has {len(required)} required arguments ({', '.join(p.name for p in required)}); what is audited "
            "takes a panel or nothing"
        )
    return len(required)


def _construct(thing: Any, name: str) -> Any:
    try:
        return thing()
    except TypeError as error:
        raise ParameterError(
            f"{name} cannot be made without arguments ({error}); name a function that makes it"
        ) from error


def _estimator_target(model: Any, name: str, make: Callable[[pd.DataFrame], Any], *, sees_panel: bool) -> Target:
    kind = _kind(model)
    held = {} if sees_panel or kind == "splitter" else _dated_parameters(model)
    return Target(name, kind, make, sees_panel or kind == "transformer", held)


def _kind(model: Any) -> Kind:
    if not hasattr(model, "fit"):
        return "splitter"
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    for base, kind in ((BaseOptimization, "portfolio"), (BaseCovariance, "covariance"), (BaseMu, "expected returns")):
        if isinstance(last, base):
            return kind  # type: ignore[return-value]
    return "transformer" if hasattr(last, "transform") else "estimator"


def _dated_parameters(model: Any) -> dict[str, pd.DataFrame | pd.Series]:
    given = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    return {
        name: value
        for name, value in given.items()
        if isinstance(value, (pd.DataFrame, pd.Series)) and isinstance(value.index, pd.DatetimeIndex)
    }


def _read(model: Any, names: pd.Index, target: Target) -> Answer:
    """Fitted arrays of an estimator, of the last step of a pipeline, or of the distribution of a prior."""
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    found: Answer = {}
    for source in (last, getattr(last, "return_distribution_", None)):
        for attribute in (*ATTRIBUTES, *(name.rstrip("_") for name in ATTRIBUTES)):
            value = getattr(source, attribute, None)
            if attribute in found or value is None or (source is last and not attribute.endswith("_")):
                continue
            values = np.asarray(value, dtype=float)
            of_assets = values.ndim > 0 and values.shape[-1] == len(names)
            found[attribute] = Part(values, tuple(map(str, names)) if of_assets else None)
    if not found:
        raise ParameterError(
            f"{target.name} has after fit none of {', '.join(ATTRIBUTES)} and no transform; there is no decision to "
            "compare"
        )
    return found


def _rows_until(table: Any, panel: pd.DataFrame, row: int, target: Target) -> Answer:
    """Rows of a table that are dated up to a row of the panel."""
    if isinstance(table, (pd.DataFrame, pd.Series)) and isinstance(table.index, pd.DatetimeIndex):
        frame = (table.to_frame("returns") if isinstance(table, pd.Series) else table).loc[: panel.index[row]]
    else:
        values = table.toarray() if hasattr(table, "toarray") else np.asarray(table)
        if len(values) != len(panel):
            raise DataError(
                f"{target.name} gives {len(values)} rows without dates for a panel of {len(panel)}, so they cannot be "
                "dated; give one row per row of the panel, or a table with a DatetimeIndex"
            )
        frame = pd.DataFrame(values if np.ndim(values) == 2 else values[:, None], index=panel.index).iloc[: row + 1]
    values = np.column_stack([_numbers(frame.iloc[:, j]) for j in range(frame.shape[1])])
    return {target.kind: Part(values, tuple(map(str, frame.columns)), pd.DatetimeIndex(frame.index))}


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    """A column as floats; text becomes a number by its hash, so that a change of a label is a change."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=float, na_value=np.nan)
    return pd.util.hash_array(column.astype(str).to_numpy(dtype=object), categorize=False).astype(float)
