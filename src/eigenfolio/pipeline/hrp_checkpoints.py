"""Fitted hierarchical risk parity as plain files, and the proof that what is loaded decides as before.

A checkpoint is a bundle (safetensors and JSON) at ``bundles/hrp/<configuration>/<date of the decision>``: constructor
options, names of the assets seen, and the tensors `weights`, `linkage`, `order` and `clusters`. `trained_through` is
the row of the decision, the last one seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenfolio.artifacts import Bundle, load_series
from eigenfolio.errors import ArtifactError, EigenfolioError, ParameterError
from eigenfolio.models import ClusterQuality, HierarchicalRiskParity, fit_together
from eigenfolio.parallel import run_tasks

__all__ = ["FAMILY", "TENSORS", "check_predictions", "checkpoint", "fitted_model", "load_checkpoints", "restored"]

FAMILY = "hrp"
TENSORS = ("weights", "linkage", "order", "clusters")
"""Fitted attributes that a checkpoint holds, without their underscore."""

_OPTIONS = ("convention", "linkage", "correlation", "bisection", "lookback", "max_weight", "n_clusters")


def checkpoint(
    model: HierarchicalRiskParity, name: str, *, trained_through: pd.Timestamp, details: Mapping[str, Any] | None = None
) -> Bundle:
    """Turn a fitted model into a bundle.

    Parameters
    ----------
    model : HierarchicalRiskParity
        Fitted on a DataFrame, without a covariance estimator.
    name : str
        Of the configuration.
    trained_through : Timestamp
        Last row that `fit` saw.
    details : mapping, optional
        Anything else worth keeping, JSON-able.

    Returns
    -------
    Bundle

    Raises
    ------
    ParameterError
        If the model has a covariance estimator, which no plain file can hold, or its assets have no names.

    Examples
    --------
    >>> X = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 3)), columns=list("ABC"))
    >>> bundle = checkpoint(HierarchicalRiskParity().fit(X), "hrp", trained_through=pd.Timestamp("2020-01-31"))
    >>> bool((fitted_model(bundle).weights_ == HierarchicalRiskParity().fit(X).weights_).all())
    True
    """
    if model.covariance_estimator is not None:
        raise ParameterError(
            f"a checkpoint holds hierarchical risk parity on the sample covariance, got covariance_estimator="
            f"{type(model.covariance_estimator).__name__}; keep the returns and fit again instead"
        )
    if not hasattr(model, "feature_names_in_"):
        raise ParameterError("a checkpoint names its assets; fit the model on a DataFrame")
    return Bundle(
        family=FAMILY,
        network=name,
        options={option: getattr(model, option) for option in _OPTIONS},
        feature_names=tuple(map(str, model.feature_names_in_)),
        tensors={tensor: getattr(model, f"{tensor}_") for tensor in TENSORS},
        trained_through=trained_through,
        details={**(details or {}), "quality": _plain(asdict(model.quality_))},
    )


def fitted_model(bundle: Bundle) -> HierarchicalRiskParity:
    """Turn a bundle back into the fitted model.

    Raises
    ------
    ArtifactError
        If the bundle is of another family, or lacks what a model needs.
    """
    if bundle.family != FAMILY or set(bundle.tensors) != set(TENSORS) or set(bundle.options) != set(_OPTIONS):
        raise ArtifactError(
            f"a bundle of family {bundle.family!r} with {', '.join(sorted(bundle.tensors))} is no checkpoint of "
            f"hierarchical risk parity, which has {', '.join(TENSORS)}"
        )
    model = HierarchicalRiskParity(**bundle.options)
    return restored(model, bundle.tensors, bundle.details["quality"], bundle.feature_names)


def restored(
    model: HierarchicalRiskParity,
    tensors: Mapping[str, Any],
    quality: Mapping[str, float | None],
    assets: Sequence[str],
) -> HierarchicalRiskParity:
    """Give a model back what `fit` had found.

    Parameters
    ----------
    model : HierarchicalRiskParity
        With the options of the fit; it is changed, and returned.
    tensors : mapping of str to ndarray
        By the names in `TENSORS`.
    quality : mapping of str to float or None
        Fields of `quality_`, None where not finite; others are left out.
    assets : sequence of str
        Names of the columns that were seen.
    """
    for name in TENSORS:
        setattr(model, f"{name}_", tensors[name])
    known: dict[str, Any] = {field.name: quality[field.name] for field in fields(ClusterQuality)}
    known |= {name: np.nan for name, value in known.items() if value is None}
    model.quality_ = ClusterQuality(**known)
    model.covariance_estimator_ = None
    model.n_features_in_ = len(assets)
    model.feature_names_in_ = np.array(assets, dtype=object)
    return model


def load_checkpoints(folder: str | Path) -> dict[str, list[Bundle]]:
    """Read the checkpoints of a run: the bundles of each configuration, oldest first.

    Parameters
    ----------
    folder : path-like
        Of the run.

    Raises
    ------
    ArtifactError
        If there are none, or one of them cannot be used.
    """
    places = sorted(path for path in (Path(folder) / "bundles" / FAMILY).glob("*") if path.is_dir())
    if not places:
        raise ArtifactError(f"{folder} holds no checkpoint of hierarchical risk parity (bundles/{FAMILY}/*/*)")
    return {place.name: list(load_series(place)) for place in places}


def check_predictions(folder: str | Path, returns: pd.DataFrame, *, n_jobs: int = 1) -> int:
    """Load every checkpoint of a run, decide anew from its options and the same rows, and compare bits.

    Parameters
    ----------
    folder : path-like
        Of the run.
    returns : DataFrame of shape (n_observations, n_assets)
        The returns that the run used, longer or not; rows after a checkpoint are not read.
    n_jobs : int
        Processes over the dates.

    Returns
    -------
    int
        Checkpoints that were compared; all of them agree.

    Raises
    ------
    ArtifactError
        If a loaded checkpoint does not give the weights that `fit` gives, naming the first.
    """
    by_date: dict[pd.Timestamp, list[Bundle]] = {}
    for bundles in load_checkpoints(folder).values():
        for bundle in bundles:
            by_date.setdefault(bundle.trained_through, []).append(bundle)
    tasks = [(bundles, _rows_seen(bundles, returns)) for bundles in by_date.values()]
    troubles = [trouble for found in run_tasks(_differences, tasks, n_jobs=n_jobs) for trouble in found]
    if troubles:
        raise ArtifactError(f"{troubles[0]} ({len(troubles)} of {sum(map(len, by_date.values()))} checkpoints differ)")
    return sum(map(len, by_date.values()))


def _rows_seen(bundles: Sequence[Bundle], returns: pd.DataFrame) -> pd.DataFrame:
    """Rows up to the decision, and the assets it saw."""
    first = bundles[0]
    absent = [name for name in first.feature_names if name not in returns.columns]
    if absent or first.trained_through not in returns.index:
        missing = f"assets {', '.join(absent[:3])}" if absent else f"row {first.trained_through:%Y-%m-%d}"
        raise ArtifactError(f"the returns lack the {missing} that a checkpoint has seen; give the data of the run")
    return returns.loc[: first.trained_through, list(first.feature_names)]


def _differences(bundles: Sequence[Bundle], seen: pd.DataFrame) -> list[str]:
    """One sentence per bundle whose tensors are not those of a new fit."""
    loaded = [fitted_model(bundle) for bundle in bundles]
    troubles = []
    for bundle, model, again in zip(bundles, loaded, fit_together(loaded, seen), strict=True):
        where = f"checkpoint {bundle.network} of {bundle.trained_through:%Y-%m-%d}"
        if isinstance(again, EigenfolioError):
            troubles.append(f"{where} cannot be decided anew: {again}")
            continue
        unlike = [n for n in TENSORS if not np.array_equal(getattr(model, f"{n}_"), getattr(again, f"{n}_"))]
        if unlike:
            troubles.append(f"{where} does not give what fit gives: {', '.join(unlike)} differ")
    return troubles


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
