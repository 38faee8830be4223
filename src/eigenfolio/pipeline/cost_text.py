"""Costs as text: every book at several rates, and the rate at which two books of a pair earn the same."""

from __future__ import annotations

import pandas as pd

__all__ = ["break_even_lines", "cost_lines"]


def cost_lines(costs: pd.DataFrame) -> list[str]:
    """Sharpe ratio and return a year of every model at every rate.

    Parameters
    ----------
    costs : DataFrame
        From `eigenfolio.evaluation.cost_tables.cost_table`, one book and those with weights of their own.

    Returns
    -------
    list of str
    """
    words = [
        f"{s:.2f}, {100 * r:.1f} %" for s, r in zip(costs["sharpe_ratio"], costs["annualized_return"], strict=True)
    ]
    wide = costs.assign(words=words).pivot(index="model", columns="cost_bps", values="words")
    wide = wide.loc[list(dict.fromkeys(costs["model"]))].rename(columns="{:g}".format)
    return wide.rename_axis(index=None, columns=None).to_string(max_colwidth=None).splitlines()


def break_even_lines(pairs: pd.DataFrame) -> list[str]:
    """One sentence for every pair.

    Parameters
    ----------
    pairs : DataFrame
        From `eigenfolio.evaluation.cost_tables.break_even_table`.

    Returns
    -------
    list of str
    """
    lines = []
    for row in pairs.itertuples():
        told = {
            "below": f"earns more at costs below {row.break_even_bps:.1f} bp",
            "never": "earns no more at any cost",
            "always": "earns more and trades no more",
        }
        lines.append(f"  {row.busier} (trades more) {told[str(row.finding)]} than {row.calmer}")
    return lines or ["  none"]
