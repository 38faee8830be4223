"""One YAML file becomes one frozen option model: a preset, the file laid over it, the command line on top.

An unknown key is an error that names the nearest known one; every known key is read. The options of a command are
imported once its file has been read: what trains brings torch, which takes seconds.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eigenfolio.errors import ParameterError

if TYPE_CHECKING:
    from eigenfolio.pipeline.compare_options import CompareOptions
    from eigenfolio.pipeline.gat_options import GatOptions
    from eigenfolio.pipeline.hrp_options import HrpOptions
    from eigenfolio.pipeline.options import RunOptions, TrainOptions
    from eigenfolio.pipeline.pretrain_options import PretrainOptions

__all__ = [
    "PRESETS",
    "load_compare_config",
    "load_config",
    "load_gat_config",
    "load_hrp_config",
    "load_pretrain_config",
    "load_train_config",
]

Options = TypeVar("Options", bound=BaseModel)

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "universe": {"min_assets": 2, "max_assets": 250},
        "training": {
            "schedule": {"first_months": 96, "every_months": 48},
            "windows": {"n_windows": 1000, "n_validation_windows": 240, "max_assets": 250},
            "loop": {"max_epochs": 12, "patience": 4},
        },
    },
    "full": {
        "universe": {"min_assets": 2},
        "training": {
            "schedule": {"first_months": 96, "every_months": 12},
            "windows": {"n_windows": 6000, "n_validation_windows": 600, "max_assets": 500},
            "loop": {"max_epochs": 20, "patience": 6},
        },
    },
}
"""What each preset changes in `run` and `train`; a configuration file is laid over it."""

COMPARE: dict[str, Any] = {"universe": {"min_assets": 2}}
"""What `compare-covariance` and `train hrp` lay their configuration file over."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("seed", "data", "universe", "evaluation", "preset", "sealed_share", "training", "budgets", "tracking"),
    "train": ("preset", "seed", "sealed_share", "fold", "devices", "data", "training", "budgets", "tracking"),
    "compare-covariance": ("seed", "data", "universe", "evaluation"),
}
"""Top-level keys of the commands, written out so that a command can name the keys of another without its options."""


def load_config(path: str | Path | None, **overrides: Any) -> RunOptions:
    """Read a YAML file for `run`, lay it over its preset, and check it.

    Parameters
    ----------
    path : path-like or None
        The file; None for the preset alone.
    **overrides
        Top-level keys from the command line; None is left out, a mapping is merged.

    Raises
    ------
    ParameterError
        If the file cannot be read, a key is unknown, or a value is out of range.

    Examples
    --------
    >>> load_config(None, preset="quick", seed=7).seed
    7
    """
    given = _merge(_read(path), _given(overrides))
    preset = _preset(given)
    from eigenfolio.pipeline.options import RunOptions

    return _checked(RunOptions, _merge(preset, given))


def load_train_config(path: str | Path | None, **overrides: Any) -> TrainOptions:
    """Read a YAML file for `train`; parameters and errors as in `load_config`."""
    given = _merge(_read(path), _given(overrides))
    preset = {"training": _preset(given)["training"]}
    from eigenfolio.pipeline.options import TrainOptions

    return _checked(TrainOptions, _merge(preset, given))


def load_compare_config(path: str | Path | None, **overrides: Any) -> CompareOptions:
    """Read a YAML file for `compare-covariance`; parameters and errors as in `load_config`."""
    given = _merge(_read(path), _given(overrides))
    from eigenfolio.pipeline.compare_options import CompareOptions

    return _checked(CompareOptions, _merge(COMPARE, given))


def load_hrp_config(path: str | Path | None, **overrides: Any) -> HrpOptions:
    """Read a YAML file for `train hrp`; parameters and errors as in `load_config`."""
    given = _merge(_read(path), _given(overrides))
    from eigenfolio.pipeline.hrp_options import HrpOptions

    return _checked(HrpOptions, _merge(COMPARE, given))


def load_gat_config(path: str | Path | None, **overrides: Any) -> GatOptions:
    """Read a YAML file for `train gat`; parameters and errors as in `load_config`."""
    given = _merge(_read(path), _given(overrides))
    from eigenfolio.pipeline.gat_options import GatOptions

    return _checked(GatOptions, given)


def load_pretrain_config(path: str | Path | None, **overrides: Any) -> PretrainOptions:
    """Read a YAML file for `pretrain`; parameters and errors as in `load_config`."""
    given = _merge(_read(path), _given(overrides))
    _preset(given)
    from eigenfolio.pipeline.pretrain_options import PretrainOptions

    return _checked(PretrainOptions, _merge(_pretrain_preset(given), given))


def _pretrain_preset(given: dict[str, Any]) -> dict[str, Any]:
    """What a configuration of `pretrain` is laid over: the training of its network, or a twentieth of it.

    The spectral network has its training under `training`, the others under their names; what ships of it has learned
    from two and a half times its mixture.
    """
    from eigenfolio.pipeline.pretrain_options import TRAININGS

    network = given.get("network")
    other = str(network) if network in ("attention", "dense") else None
    training = TRAININGS[other or "spectral"]()
    if given.get("preset", "quick") == "quick":
        training = training.scaled(0.05).model_copy(update={"n_members": 1})
    elif other is None:
        training = training.scaled(2.5)
    budgets = {"total": 21_600.0}  # 3 hours on 2 cores
    return {other or "training": training.model_dump(mode="json"), "budgets": budgets}


def _preset(given: dict[str, Any]) -> dict[str, Any]:
    preset = given.get("preset", "quick")
    if preset not in PRESETS:
        raise ParameterError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return PRESETS[preset]


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def _read(path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        loaded = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ParameterError(f"configuration {path} cannot be read: {reason}; give a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ParameterError(f"configuration {path}{where} is not YAML: {reason}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ParameterError(f"configuration {path} must map keys to values, got a {type(loaded).__name__}")
    return loaded


def _checked(kind: type[Options], given: dict[str, Any]) -> Options:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ParameterError(_first_trouble(kind, error)) from error


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _first_trouble(kind: type[BaseModel], error: ValidationError) -> str:
    trouble = error.errors()[0]
    where = [str(part) for part in trouble["loc"]]
    name = ".".join(where)
    if trouble["type"] == "extra_forbidden":
        group, known = _group_at(kind, where[:-1])
        name = ".".join([*group, where[-1]])
        every = {key.rsplit(".", 1)[-1]: key for key in _all_keys(kind)}
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.4)
        readers = [command for command, keys in COMMANDS.items() if name in keys]
        if readers:
            return f"configuration key {name!r} is read by {' and '.join(readers)}, not by this command; leave it out"
        if near:
            hint = f"did you mean {'.'.join([*group, near[0]])!r}?"
        elif far := difflib.get_close_matches(where[-1], list(every), n=1, cutoff=0.7):
            hint = f"did you mean {every[far[0]]!r}?"
        else:
            hint = f"known keys there: {', '.join(known)}"
        return f"configuration key {name!r} is unknown; {hint}"
    message = trouble["msg"].removeprefix("Value error, ")
    whole = isinstance(trouble["input"], dict | BaseModel)  # the message names what is wrong inside
    return f"configuration key {name!r}: {message}" + ("" if whole else f", got {trouble['input']!r}")


def _group_at(model: type[BaseModel], path: list[str]) -> tuple[list[str], list[str]]:
    """Path of a group as it is written, and its keys.

    Where a group has several forms, pydantic names the one meant in the path, which nobody writes.
    """
    written: list[str] = []
    forms: dict[str, type[BaseModel]] = {}
    for part in path:
        if part in forms:
            model, forms = forms[part], {}
            continue
        written.append(part)
        annotation = model.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
            continue
        members = [form for form in get_args(annotation) if isinstance(form, type) and issubclass(form, BaseModel)]
        if len(members) == 1:  # one form, or none
            model = members[0]
            continue
        forms = {str(form.model_fields["name"].default): form for form in members if "name" in form.model_fields}
        if not forms:
            return path, []
    return written, list(model.model_fields)


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _all_keys(field.annotation, f"{prefix}{name}.")
    return keys
