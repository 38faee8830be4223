"""What a model card says of an ensemble: how its members differ, and by which rule their answers become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ensemble_lines"]


def ensemble_lines(details: Mapping[str, Any]) -> list[str]:
    """Markdown of the details of a bundle; empty where they tell nothing of an ensemble.

    Parameters
    ----------
    details : mapping
        Of a bundle of `eigenfolio.training.pretraining.train_spectral`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> ensemble_lines({"training": {"n_members": 3, "diversity": {}}, "aggregation": {"name": "mean"}})[2]
    '- 3 members, which differ by their seeds alone.'
    """
    rule = details.get("aggregation")
    if rule is None:
        return []
    training = details["training"]
    given = {name: value for name, value in training["diversity"].items() if isinstance(value, (list, tuple)) and value}
    differ = "; ".join(f"{name} {_listed(value)}" for name, value in given.items())
    lines = ["## Ensemble", "", f"- {training['n_members']} members, which differ by their seeds"]
    lines[-1] += f", and by turns in {differ}." if differ else " alone."
    lines.append(f"- Their answers become one by the rule {rule['name']!r}{_weights(rule)}.")
    if "size" in details:
        size = details["size"]
        lines.append(
            f"- The mean of r' S^-1 r / N over the training windows was {size['before']:.3f}; moving the biases of all "
            f"scales by {size['shift']:+.4f} made it {size['after']:.3f}."
        )
    if "candidates" in rule:
        lines += [
            "",
            "| rule | loss against the mean, half of the validation windows | standard error |",
            "|---|---|---|",
        ]
        lines += [
            f"| {name} | {row['difference']:+.5f} | {row['standard_error']:.5f} |"
            for name, row in rule["candidates"].items()
        ]
    return [*lines, ""]


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _weights(rule: Mapping[str, Any]) -> str:
    if "weights" not in rule:
        return ""
    states = f" over the states {_listed(rule['states'])}" if len(rule["states"]) > 1 else ""
    return f", with mean weights {_listed(rule['weights'])}{states}"
