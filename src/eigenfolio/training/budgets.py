"""How long training may take, and whether it did.

A budget is what a fold of a model may take; one more holds for all folds together. Nothing is stopped by a budget:
a fold that was over it is reported so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from eigenfolio.errors import ParameterError

__all__ = ["ALL_FOLDS", "BudgetRow", "Budgets", "check_budget", "duration"]

ALL_FOLDS = "all folds"
"""Name of the row that holds the sum of the folds against the budget for everything."""


class Budgets(BaseModel):
    """Seconds that one fold of each model may take, and all folds together.

    Parameters
    ----------
    hrp, lstm, gat, shrinkage : float
        Seconds per fold.
    total : float
        Seconds of all folds, one after another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hrp: float = Field(default=120.0, gt=0.0)
    lstm: float = Field(default=14_400.0, gt=0.0)
    gat: float = Field(default=21_600.0, gt=0.0)
    shrinkage: float = Field(default=7_200.0, gt=0.0)
    total: float = Field(default=28_800.0, gt=0.0)

    def per_fold(self, model: str) -> float:
        """Seconds that a fold of `model` may take.

        Parameters
        ----------
        model : str
            ``"family/network"`` or one of the two; a budget for the network goes before one for the family.

        Raises
        ------
        ParameterError
            If there is none.

        Examples
        --------
        >>> Budgets().per_fold("shrinkage/dense")
        7200.0
        """
        known = [name for name in type(self).model_fields if name != "total"]
        for name in reversed(model.split("/")):
            if name in known:
                return float(getattr(self, name))
        raise ParameterError(f"there is no budget for {model!r}; there are budgets for {', '.join(known)}")


@dataclass(frozen=True)
class BudgetRow:
    """One time against its budget.

    Parameters
    ----------
    model : str
    fold : str
        The fold, or `ALL_FOLDS`.
    seconds, budget : float
    status : {"within", "over"}
        A time equal to its budget is within.
    """

    model: str
    fold: str
    seconds: float
    budget: float
    status: Literal["within", "over"]

    @property
    def summary(self) -> str:
        """In words."""
        return f"{duration(self.seconds)}, {self.status} the budget of {duration(self.budget)}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON-able values."""
        return asdict(self)


def check_budget(
    model: str, seconds_by_fold: Mapping[str, float], *, budgets: Budgets | None = None
) -> list[BudgetRow]:
    """Hold the time of every fold, and of all together, against the budgets.

    Parameters
    ----------
    model : str
        ``"family/network"``, see `Budgets.per_fold`.
    seconds_by_fold : mapping of str to float
        Seconds of each fold by its name; failed folds count with what they took.
    budgets : Budgets, optional
        The defaults without it.

    Returns
    -------
    list of BudgetRow
        One per fold, in the order given, and last the sum; empty without folds.

    Raises
    ------
    ParameterError
        If there is no budget for the model, or a time is negative or not finite.

    Examples
    --------
    >>> rows = check_budget("hrp", {"2019-12-31": 100.0, "2020-12-31": 130.0})
    >>> [(row.fold, row.status) for row in rows]
    [('2019-12-31', 'within'), ('2020-12-31', 'over'), ('all folds', 'within')]
    >>> rows[1].summary
    '2.2 min, over the budget of 2.0 min'
    """
    budgets = Budgets() if budgets is None else budgets
    allowed = budgets.per_fold(model)
    for fold, seconds in seconds_by_fold.items():
        if not (math.isfinite(seconds) and seconds >= 0.0):
            raise ParameterError(f"the seconds of fold {fold} must be finite and at least 0, got {seconds}")
    if not seconds_by_fold:
        return []
    rows = [_row(model, fold, seconds, allowed) for fold, seconds in seconds_by_fold.items()]
    return [*rows, _row(model, ALL_FOLDS, math.fsum(seconds_by_fold.values()), budgets.total)]


def duration(seconds: float) -> str:
    """Seconds in the unit people would use.

    Examples
    --------
    >>> duration(0.25), duration(12.0), duration(90.0), duration(28_800.0)
    ('0.2 s', '12 s', '1.5 min', '8.0 h')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 60.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < 3600.0 else f"{seconds / 3600.0:.1f} h"


def _row(model: str, fold: str, seconds: float, budget: float) -> BudgetRow:
    return BudgetRow(model, fold, float(seconds), budget, "over" if seconds > budget else "within")
