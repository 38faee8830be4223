"""The audit as a job: find out what a target is, load it and its panel, and ask.

a run folder            `audit_run`: recorded decisions, windows and dates
a folder of bundles     the estimator of their family with these weights, and the dates they carry
module:name             anything that `eigenfolio.evaluation.audit` takes; also file.py:name
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from sklearn.base import BaseEstimator

from eigenfolio.artifacts import BundleSeries, load_series, short_date
from eigenfolio.errors import ArtifactError, DataError, LookaheadError, ParameterError
from eigenfolio.evaluation.audit import audit
from eigenfolio.evaluation.audit_report import AuditReport, Finding
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.pipeline.prepare import DataOptions, prepare

__all__ = ["AuditOptions", "audit_bundles", "audit_target", "bundle_findings", "load_target"]

ESTIMATORS: dict[str, type[BaseEstimator]] = {"shrinkage": NeuralShrinkage}
"""The estimator that uses a bundle, by family; it takes the weights first."""

_SEEN = ("last_date", "last", "through", "last_row")  # names under which details record the last date of something
_MIN_ROWS = 200


class AuditOptions(BaseModel):
    """How a target is audited.

    Parameters
    ----------
    data : mapping
        Panel of the audit.
    rows : int
        Last rows of the panel that are used.
    dates : int
        Decision dates to draw.
    lag : int
        Rows between a decision and its trade.
    horizon : int
        Rows of a label, for splitters.
    seed : int
        Draws dates and poison.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataOptions = DataOptions()
    rows: int = Field(default=1500, ge=_MIN_ROWS)
    dates: int = Field(default=4, ge=1)
    lag: int = Field(default=1, ge=0)
    horizon: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)


def audit_target(target: str, options: AuditOptions, *, git_commit: str | None = None) -> AuditReport:
    """Audit whatever a string names.

    Parameters
    ----------
    target : str
        A run folder, a bundle folder or a folder of bundles, ``module:name`` or ``file.py:name``.
    options : AuditOptions
        Of a run folder the panel is the run's own, and `lag` and `data` are not used.
    git_commit : str, optional
        Commit of the code in use, with which that of a run is compared.

    Returns
    -------
    AuditReport

    Raises
    ------
    ParameterError
        If the string names nothing that can be audited.
    ArtifactError
        If a run or a bundle cannot be read.
    DataError
        If the panel cannot carry the audit.
    """
    folder = Path(target)
    if folder.is_dir():
        if (folder / "run.json").is_file():
            from eigenfolio.pipeline.audit_run import audit_run

            return audit_run(folder, dates=options.dates, seed=options.seed, git_commit=git_commit)
        return audit_bundles(folder, audit_panel(options), options)
    loaded = load_target(target)
    return audit(
        loaded,
        audit_panel(options),
        dates=options.dates,
        lag=options.lag,
        horizon=options.horizon,
        seed=options.seed,
        name=target,
    )


def audit_panel(options: AuditOptions) -> pd.DataFrame:
    """Returns of the last rows of the panel."""
    return prepare(options.data).panel.returns.iloc[-options.rows :]


def load_target(text: str) -> Any:
    """Import what ``module:name`` or ``file.py:name`` names.

    Raises
    ------
    ParameterError
        If there is no such module, file or name.

    Examples
    --------
    >>> load_target("skfolio.moments:LedoitWolf").__name__
    'LedoitWolf'
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise ParameterError(
            f"{text!r} is no folder and no module:name; give the folder of a run or of bundles, module:Estimator, or "
            "file.py:name"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError as error:
        raise ParameterError(f"{place} has no {name!r}: {error}; check the spelling") from error


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ParameterError(
                f"there is no module {name!r}; start in the folder that holds it, install it, or give file.py:name"
            ) from error
        raise ParameterError(f"{name} cannot be imported: {error}; install what it needs") from error


def _module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ParameterError(f"there is no file {str(path)!r}; check the path")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def audit_bundles(folder: str | Path, X: pd.DataFrame, options: AuditOptions) -> AuditReport:
    """Audit the weights of a folder: the dates they carry, and the estimator that uses them.

    Parameters
    ----------
    folder : path-like
        One bundle, or a folder of bundles of one model.
    X : DataFrame of shape (n_observations, n_assets)
        Simple returns; the second half must reach beyond the earliest bundle.
    options : AuditOptions
        `data` and `rows` are not used.

    Returns
    -------
    AuditReport
    """
    series = load_series(folder)
    model = _estimator_of(series)
    first = series.bundles[0].trained_through
    dates = [*bundle_findings(series), _refusal(model, series, X)]
    try:
        report = audit(
            model, X, dates=options.dates, lag=options.lag, horizon=options.horizon, seed=options.seed, name=str(folder)
        )
    except DataError as error:
        if not isinstance(error.__cause__, LookaheadError):
            raise
        raise DataError(
            f"{folder}: every bundle has seen rows through {short_date(first)} or later, and the panel "
            f"({short_date(X.index[0])} to {short_date(X.index[-1])}) has no decisions after that; give --data with "
            "later rows"
        ) from error
    return AuditReport(str(folder), f"bundle ({report.kind})", report.dates, (*dates, *report.findings))


def _estimator_of(series: BundleSeries) -> Any:
    family = series.bundles[0].family
    if family not in ESTIMATORS:
        raise ArtifactError(
            f"bundles of family {family!r} have no estimator that this audit knows; it knows {', '.join(ESTIMATORS)}; "
            "audit the estimator by module:name"
        )
    return ESTIMATORS[family](series)


def bundle_findings(series: BundleSeries) -> tuple[Finding, ...]:
    """Whether the dates that bundles record fit the date through which they say they were trained."""
    late = [
        (bundle, name, date)
        for bundle in series
        for name, date in _recorded_dates(bundle.details)
        if date > bundle.trained_through
    ]
    n_dates = sum(1 for bundle in series for _ in _recorded_dates(bundle.details))
    through = ", ".join(short_date(bundle.trained_through) for bundle in series)
    if late:
        bundle, name, date = max(late, key=lambda entry: entry[2] - entry[0].trained_through)
        evidence = f"the bundle through {short_date(bundle.trained_through)} records {name} = {short_date(date)}"
        return (Finding("recorded dates", "leak", evidence, tuple(b.trained_through for b, _, _ in late)),)
    if not n_dates:
        return (Finding("recorded dates", "not applicable", f"trained through {through}; no other date is recorded"),)
    return (Finding("recorded dates", "ok", f"trained through {through}; none of {n_dates} recorded dates is later"),)


def _recorded_dates(details: Any, path: str = "") -> Iterator[tuple[str, pd.Timestamp]]:
    """Dates of last rows, by dotted name, from nested details."""
    if isinstance(details, Mapping):
        for name, value in details.items():
            dotted = f"{path}.{name}" if path else str(name)
            if name in _SEEN and isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}", value):
                yield dotted, pd.Timestamp(value)
            else:
                yield from _recorded_dates(value, dotted)


def _refusal(model: Any, series: BundleSeries, X: pd.DataFrame) -> Finding:
    """A decision before the earliest bundle must be refused, not answered with weights that know its future."""
    check = "refuses earlier dates"
    first = series.bundles[0].trained_through
    before = X.loc[: first - pd.Timedelta(days=1)]
    if len(before) < _MIN_ROWS // 2:
        return Finding(check, "not applicable", f"the panel begins too late to decide before {short_date(first)}")
    date = before.index[-1]
    try:
        model.fit(before)
    except LookaheadError:
        return Finding(
            check, "ok", f"a decision of {short_date(date)} is refused by weights through {short_date(first)}"
        )
    evidence = f"a decision of {short_date(date)} is made with weights trained through {short_date(first)}"
    return Finding(check, "leak", evidence, (date,))
