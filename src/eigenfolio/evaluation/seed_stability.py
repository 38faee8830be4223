r"""How much of a result hangs on the seed, and how much on the configuration.

With :math:`y_{ij}` a measure of configuration i (a network, a graph method, a set of options) trained from seed j, k
seeds each, the seeds' variance and that of the configurations beyond it are

.. math::

    s^2 = \operatorname{mean}_i \operatorname{var}_j y_{ij}, \qquad
    c^2 = \max(\operatorname{var}_i \bar y_i - s^2 / k, \; 0),

both with n - 1 [1]_. The share :math:`c^2 / (c^2 + s^2)` is 1 where the configuration decides alone and 0 where a
configuration differs from another no more than a seed from the next: choosing among them is then choosing a seed. All
are judged on the same days, so nothing here says how sure a measure itself is (see `eigenfolio.evaluation.path_summary`
for that).

References
----------
.. [1] S. R. Searle, G. Casella and C. E. McCulloch (1992). Variance Components, chapter 3. Wiley.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenfolio.errors import DataError

__all__ = ["SeedStability", "seed_stability"]

_MEASURES = {
    "sharpe_ratio": ("Sharpe ratio", 1.0, ""),
    "annualized_volatility": ("volatility", 100.0, " %"),
    "annualized_return": ("return", 100.0, " %"),
}
"""In words, and the factor and sign of what is printed."""
_LOWER_IS_BETTER = ("annualized_volatility",)


@dataclass(frozen=True, eq=False)
class SeedStability:
    """Spread over seeds and over configurations.

    Attributes
    ----------
    seeds : DataFrame
        One row per configuration and measure: `mean`, `lowest`, `highest` and `spread` (standard deviation, n - 1) over
        the seeds, and their number `n_seeds`.
    configurations : DataFrame
        One row per measure; empty for one configuration. `seed_spread` (s), `configuration_spread` (c),
        `configuration_share` (NaN where nothing differs), `best` (the configuration with the best mean) and
        `best_share`, the share of seeds in which that configuration is best.
    unseeded : tuple of str
        Models whose paths are the same under every seed; they are in neither table.
    """

    seeds: pd.DataFrame
    configurations: pd.DataFrame
    unseeded: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the tables say of the Sharpe ratio and the volatility."""
        said = []
        for name in ("sharpe_ratio", "annualized_volatility"):
            label, unit, sign = _MEASURES[name]
            rows = self.seeds[self.seeds["measure"] == name]
            worst = rows.sort_values("spread").iloc[-1]
            said.append(
                f"Over {worst['n_seeds']} seeds the {label} spreads most in {worst['model']}: "
                f"{unit * worst['lowest']:.3f} to {unit * worst['highest']:.3f}{sign} (standard deviation "
                f"{unit * worst['spread']:.3f})."
            )
            if not self.configurations.empty:
                row = self.configurations.set_index("measure").loc[name]
                said.append(
                    f"Between configurations it differs by {unit * row['configuration_spread']:.3f}{sign} beyond the "
                    f"{unit * row['seed_spread']:.3f} of the seeds; {row['best']} is best on average and in "
                    f"{100 * row['best_share']:.0f} % of the seeds."
                )
        return tuple(said)


def seed_stability(measures: pd.DataFrame) -> SeedStability:
    """Part the spread of measures into that of seeds and that of configurations.

    Parameters
    ----------
    measures : DataFrame
        `model`, `path` (the seed), `sharpe_ratio`, `annualized_volatility`, `annualized_return`, as in `Paths.measures`
        of `eigenfolio.evaluation.seed_paths`; each model under every seed, at least two.

    Returns
    -------
    SeedStability

    Raises
    ------
    DataError
        If a model lacks a seed, there are fewer than two, or no model differs between any two.

    Examples
    --------
    >>> made = pd.DataFrame({"model": ["a", "a", "b", "b"], "path": [0, 1, 0, 1], "sharpe_ratio": [0.5, 0.7, 1.0, 1.2]})
    >>> made = made.assign(annualized_volatility=[0.10, 0.10, 0.12, 0.11], annualized_return=0.1)
    >>> table = seed_stability(made).configurations.set_index("measure")
    >>> table.loc["sharpe_ratio", ["seed_spread", "configuration_spread"]].astype(float).round(3).tolist()
    [0.141, 0.339]
    """
    tables = {name: measures.pivot(index="model", columns="path", values=name) for name in _MEASURES}
    first = tables["sharpe_ratio"]
    if first.shape[1] < 2 or first.isna().to_numpy().any():
        raise DataError("every model must be there under the same seeds, at least two; got " + str(first.shape))
    differs = pd.concat([table.max(axis=1) > table.min(axis=1) for table in tables.values()], axis=1).any(axis=1)
    if not differs.any():
        raise DataError("no model differs between seeds: give models that were trained, or draw, with a seed")
    order = [model for model in dict.fromkeys(measures["model"]) if differs[model]]
    seeded = {name: table.loc[order] for name, table in tables.items()}
    rows = [row for name, table in seeded.items() for row in _seed_rows(name, table)]
    parts = [_parted(name, table) for name, table in seeded.items()] if len(order) > 1 else []
    unseeded = tuple(str(model) for model in dict.fromkeys(measures["model"]) if not differs[model])
    return SeedStability(pd.DataFrame(rows), pd.DataFrame(parts), unseeded)


def _seed_rows(name: str, table: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "measure": name,
            "mean": float(values.mean()),
            "lowest": float(values.min()),
            "highest": float(values.max()),
            "spread": float(values.std(ddof=1)),
            "n_seeds": len(values),
        }
        for model, values in table.iterrows()
    ]


def _parted(name: str, table: pd.DataFrame) -> dict[str, object]:
    """Components of variance of one measure, (n_configurations, n_seeds)."""
    within = float(table.var(axis=1, ddof=1).mean())
    means = table.mean(axis=1)
    between = max(float(means.var(ddof=1)) - within / table.shape[1], 0.0)
    better = -table if name in _LOWER_IS_BETTER else table
    best = better.mean(axis=1).idxmax()
    return {
        "measure": name,
        "seed_spread": float(np.sqrt(within)),
        "configuration_spread": float(np.sqrt(between)),
        "configuration_share": between / (between + within) if between + within > 0.0 else np.nan,
        "best": best,
        "best_share": float((better.idxmax(axis=0) == best).mean()),
    }
