"""From raw features to the numbers a network reads: one scikit-learn pipeline, and its fitted state as plain arrays.

    names   the fitted features, by name and in order, and nothing else           KnownFeatures
    table   two branches side by side
        values      fill      last value seen, a few rows old at most             ForwardFill
                    winsor    clip to fitted quantiles                            Winsoriser
                    scale     see `PreprocessingOptions.scaling`                  RobustScaler, StandardScaler, ...
                    clamp     clip to a fixed range                               Clamp
                    impute    median of the fitted rows                           SimpleImputer
                    compress  principal components or a random projection         Compressor
        missing     1 where a feature was missing before any filling              MissingColumns
    select  the most important columns for a target                               ImportanceSelector

Steps that are not asked for are left out. Everything is learned by ``fit`` from the rows it is given, which must lie in
the past of every decision; after that a row's result depends on that row and, for the fill and the expanding scalers,
on earlier ones. ``transform`` takes rows that follow the fitted ones (`eigenfolio.features.transformers` says how
the steps that remember go on); the fitted rows themselves come from ``fit_transform``.

`preprocessing_state` takes a fitted pipeline apart into options, names and arrays, which a bundle keeps as JSON and
safetensors, and `pipeline_from_state` puts together one that gives the same bits. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted

from eigenfolio.errors import ArtifactError, ParameterError
from eigenfolio.features.transformers import (
    Clamp,
    Compressor,
    ExpandingRank,
    ExpandingScaler,
    FittedRank,
    ForwardFill,
    ImportanceSelector,
    KnownFeatures,
    MissingColumns,
    Winsoriser,
)

__all__ = [
    "PreprocessingOptions",
    "PreprocessingState",
    "feature_pipeline",
    "pipeline_from_state",
    "preprocessing_state",
]

FORMAT = "eigenfolio-preprocessing-1"
Array = NDArray[Any]


class PreprocessingOptions(BaseModel):
    """What is done to a table of features before a network reads it.

    Parameters
    ----------
    fill_limit : int >= 0
        Rows a value is carried forward at most; 0 carries none.
    winsor : float in [0, 0.5)
        Share of the fitted values clipped at either end, before scaling; 0 clips none.
    scaling : {"robust", "standard", "expanding", "expanding_rank", "rank", "normal_rank", "none"}
        "robust": median and inter-quartile range; "standard": mean and deviation; "expanding": mean and deviation of
        the rows up to each; "expanding_rank": place among the rows up to each; "rank", "normal_rank": place among
        the fitted rows, as a share or as a normal quantile.
    min_rows : int or None
        Rows an expanding scaling must have seen; None is 12. Read by the two expanding scalings only.
    clamp : float or None
        Largest absolute value after scaling; None clips none.
    impute : bool
        Replace what is still missing by the median of the fitted rows.
    indicators : {"none", "seen", "all"}
        Add a column that is 1 where a feature was missing: for no feature, for those missing somewhere in the fitted
        rows (but not everywhere), or for all.
    compress : {"none", "pca", "random"}
        Principal components, or a Gaussian random projection, of the values (not of the indicators).
    n_components : int or None
        Length after compression; needed by it, refused without it.
    select : int or None
        Columns kept by importance; None keeps all. ``fit`` then needs a target.
    selection : {"permutation", "forest"} or None
        How importance is judged, see `ImportanceSelector`; None is "permutation". Refused without `select`.
    seed : int
        Seed of projection and selection.

    Examples
    --------
    >>> PreprocessingOptions(scaling="rank", clamp=None).indicators
    'seen'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill_limit: int = Field(default=5, ge=0)
    winsor: float = Field(default=0.0, ge=0.0, lt=0.5)
    scaling: Literal["robust", "standard", "expanding", "expanding_rank", "rank", "normal_rank", "none"] = "robust"
    min_rows: int | None = Field(default=None, ge=1)
    clamp: float | None = Field(default=5.0, gt=0.0)
    impute: bool = True
    indicators: Literal["none", "seen", "all"] = "seen"
    compress: Literal["none", "pca", "random"] = "none"
    n_components: int | None = Field(default=None, ge=1)
    select: int | None = Field(default=None, ge=1)
    selection: Literal["permutation", "forest"] | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _read_by_something(self) -> PreprocessingOptions:
        if (self.compress == "none") != (self.n_components is None):
            raise ValueError("n_components belongs to compress pca or random, and they need it")
        if self.selection is not None and self.select is None:
            raise ValueError("selection says how to select, but select (how many) is not given")
        if self.min_rows is not None and not self.scaling.startswith("expanding"):
            raise ValueError(f"min_rows belongs to the expanding scalings, scaling is {self.scaling}")
        if not self.impute and (self.compress != "none" or self.select is not None):
            raise ValueError("compress and select need values without gaps; set impute")
        return self


@dataclass(frozen=True)
class PreprocessingState:
    """A fitted pipeline as plain data.

    Parameters
    ----------
    options : PreprocessingOptions
        What the pipeline is made of.
    names : mapping of str to tuple of str
        Names that enter each step, in order; ``"names"`` is the first step and ``"out"`` what leaves the last.
    arrays : mapping of str to ndarray
        Fitted arrays, named ``"<step>.<attribute>"``.
    """

    options: PreprocessingOptions
    names: Mapping[str, tuple[str, ...]]
    arrays: Mapping[str, Array]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Features that must be given, in order."""
        return self.names["names"]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Columns that come out, in order."""
        return self.names["out"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON types.

        Returns
        -------
        dict
            Holds the dtype and shape of every array, so that `from_json` notices a foreign one.
        """
        shapes = {name: [array.dtype.str, list(array.shape)] for name, array in sorted(self.arrays.items())}
        return {
            "format": FORMAT,
            "options": self.options.model_dump(mode="json"),
            "names": {step: list(names) for step, names in self.names.items()},
            "arrays": shapes,
        }

    @classmethod
    def from_json(cls, text: Mapping[str, Any] | str, arrays: Mapping[str, Array]) -> PreprocessingState:
        """Put the two parts together again.

        Parameters
        ----------
        text : mapping or str
            What `to_json` gave, or that as JSON text.
        arrays : mapping of str to ndarray
            The arrays, perhaps among others.

        Raises
        ------
        ArtifactError
            If the format is another one, or an array is missing or of another type or shape.
        """
        try:
            known = json.loads(text) if isinstance(text, str) else dict(text)
            if known.get("format") != FORMAT:
                raise ArtifactError(
                    f"preprocessing has format {known.get('format')!r}, this version reads {FORMAT!r}; fit it again"
                )
            options = PreprocessingOptions(**known["options"])
            names = {step: tuple(entries) for step, entries in known["names"].items()}
            described = {name: (kind, tuple(shape)) for name, (kind, shape) in known["arrays"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtifactError(f"preprocessing cannot be read ({reason}); fit it again") from error
        for name, (kind, shape) in described.items():
            got = None if name not in arrays else (arrays[name].dtype.str, arrays[name].shape)
            if got != (kind, shape):
                raise ArtifactError(f"preprocessing array {name} must be {kind} {shape}, got {got}; fit it again")
        return cls(options, names, {name: arrays[name] for name in described})


def feature_pipeline(options: PreprocessingOptions | None = None) -> Pipeline:
    """Make the pipeline, not yet fitted.

    Parameters
    ----------
    options : PreprocessingOptions, optional
        None is the default: filled, scaled by median and inter-quartile range, clamped, imputed, with indicators.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Takes and gives DataFrames; the index is kept.

    Examples
    --------
    >>> past = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0, 5.0], "b": [0.0, 1.0, 2.0, 3.0, 4.0]})
    >>> pipeline = feature_pipeline(PreprocessingOptions(fill_limit=0)).fit(past)
    >>> pipeline.transform(pd.DataFrame({"a": [np.nan], "b": [4.0]}))
         a    b  missing_a
    0  0.0  1.0        1.0
    """
    options = PreprocessingOptions() if options is None else options
    branches: list[tuple[str, BaseEstimator]] = [("values", Pipeline(_value_steps(options)))]
    if options.indicators != "none":
        branches.append(("missing", MissingColumns(always=options.indicators == "all")))
    steps: list[tuple[str, BaseEstimator]] = [
        ("names", KnownFeatures()),
        ("table", FeatureUnion(branches, verbose_feature_names_out=False)),
    ]
    if options.select is not None:
        chosen = ImportanceSelector(
            n_features=options.select, method=options.selection or "permutation", random_state=options.seed
        )
        steps.append(("select", chosen))
    return Pipeline(steps).set_output(transform="pandas")


def _value_steps(options: PreprocessingOptions) -> list[tuple[str, Any]]:
    min_rows = 12 if options.min_rows is None else options.min_rows
    scalers: dict[str, Callable[[], Any]] = {
        "robust": RobustScaler,
        "standard": StandardScaler,
        "expanding": lambda: ExpandingScaler(min_rows=min_rows),
        "expanding_rank": lambda: ExpandingRank(min_rows=min_rows),
        "rank": FittedRank,
        "normal_rank": lambda: FittedRank(normal=True),
    }
    steps: list[tuple[str, Any]] = [("fill", ForwardFill(limit=options.fill_limit))]
    if options.winsor > 0.0:
        steps.append(("winsor", Winsoriser(share=options.winsor)))
    if options.scaling != "none":
        steps.append(("scale", scalers[options.scaling]()))
    if options.clamp is not None:
        steps.append(("clamp", Clamp(limit=options.clamp)))
    if options.impute:
        steps.append(("impute", SimpleImputer(strategy="median", keep_empty_features=True)))
    if options.n_components is not None:
        compressor = Compressor(method=options.compress, n_components=options.n_components, random_state=options.seed)
        steps.append(("compress", compressor))
    return steps


# Public fitted attributes that, with the constructor arguments, are all a step needs to transform.
_FITTED: dict[type, tuple[str, ...]] = {
    KnownFeatures: ("seen_",),
    ForwardFill: ("value_", "age_", "last_date_"),
    Winsoriser: ("low_", "high_"),
    RobustScaler: ("center_", "scale_"),
    StandardScaler: ("mean_", "var_", "scale_", "n_samples_seen_"),
    ExpandingScaler: ("count_", "mean_", "sum_squares_", "last_date_"),
    ExpandingRank: ("history_", "last_date_"),
    FittedRank: ("quantiles_", "references_"),
    Clamp: (),
    SimpleImputer: ("statistics_",),
    Compressor: ("components_", "mean_"),
    MissingColumns: ("features_",),
    ImportanceSelector: ("importances_", "support_"),
}  # fmt: skip
_DATES = ("last_date_",)  # kept as integers: safetensors knows no dates


def _leaves(pipeline: Pipeline) -> Iterator[tuple[str, Any]]:
    """Every step that learns, with its name, in the order of the work."""
    for name, step in pipeline.steps:
        if isinstance(step, FeatureUnion):
            for branch, inner in step.transformer_list:
                yield from _leaves(inner) if isinstance(inner, Pipeline) else [(branch, inner)]
        else:
            yield name, step


def preprocessing_state(pipeline: Pipeline, options: PreprocessingOptions) -> PreprocessingState:
    """Take a fitted pipeline apart.

    Parameters
    ----------
    pipeline : Pipeline
        Made by `feature_pipeline` from `options`, and fitted.
    options : PreprocessingOptions
        Those it was made from.

    Returns
    -------
    PreprocessingState

    Raises
    ------
    ParameterError
        If the pipeline was not made from these options.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> past = pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    >>> options = PreprocessingOptions()
    >>> state = preprocessing_state(feature_pipeline(options).fit(past), options)
    >>> state.feature_names, float(state.arrays["scale.center_"][0])
    (('a',), 2.0)
    """
    made = [(name, repr(step)) for name, step in _leaves(feature_pipeline(options))]
    if [(name, repr(step)) for name, step in _leaves(pipeline)] != made:
        raise ParameterError("the pipeline was not made from these options; give those of feature_pipeline")
    check_is_fitted(pipeline)
    names: dict[str, tuple[str, ...]] = {}
    arrays: dict[str, Array] = {}
    for name, step in _leaves(pipeline):
        names[name] = tuple(map(str, step.feature_names_in_))
        for attribute in _FITTED[type(step)]:
            value = np.asarray(getattr(step, attribute))
            arrays[f"{name}.{attribute}"] = value.astype("M8[ns]").view(np.int64) if attribute in _DATES else value
    names["out"] = tuple(map(str, pipeline.get_feature_names_out()))
    return PreprocessingState(options, names, arrays)


def pipeline_from_state(state: PreprocessingState) -> Pipeline:
    """Put a fitted pipeline together from its state; it gives the same bits as the one the state was taken from.

    Raises
    ------
    ArtifactError
        If the state does not fit its options.

    Examples
    --------
    >>> past = pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    >>> options = PreprocessingOptions()
    >>> state = preprocessing_state(feature_pipeline(options).fit(past), options)
    >>> pipeline_from_state(state).transform(past)["a"].tolist()
    [-0.66..., 0.0, 1.33...]
    """
    pipeline = feature_pipeline(state.options)
    try:
        for name, step in _leaves(pipeline):
            given = {a: state.arrays[f"{name}.{a}"] for a in _FITTED[type(step)]}
            _restore(step, given, state.names[name])
        written = tuple(map(str, pipeline.get_feature_names_out()))
    except (KeyError, ValueError, IndexError) as error:
        raise ArtifactError(f"preprocessing state does not fit its options ({error}); fit it again") from error
    if written != state.output_names:
        raise ArtifactError("preprocessing state does not give the columns it says it gives; fit it again")
    return pipeline


def _restore(step: Any, given: dict[str, Array], names: tuple[str, ...]) -> None:
    """Set the fitted attributes of one step.

    The imputer keeps private ones too, so it is fitted again on its medians: that of one value is the value itself.
    """
    columns = pd.Index(names, dtype=object)
    if isinstance(step, SimpleImputer):
        step.fit(pd.DataFrame(given["statistics_"][None, :], columns=columns))
    else:
        for attribute, value in given.items():
            kept: Any = np.array(value)
            if attribute in _DATES:
                kept = kept.astype(np.int64).view("M8[ns]")
            setattr(step, attribute, kept[()] if kept.ndim == 0 else kept)
    step.feature_names_in_ = columns.to_numpy()
    step.n_features_in_ = len(names)
