"""Tables and sentences about walk-forward tracks: how they did, and what may be said about it.

`compare` puts one reference, chosen beforehand, against every other model of the same book; its p-values
are adjusted for the number of rivals by Holm's method. `compare_with_best` has no reference: it picks the
calmest model of each book after the fact. A winner picked from the same data looks better than it is, so its
intervals and p-values hold for all pairs of the book at once (the maximum of the studentised differences
over all pairs, bootstrapped jointly [1]_), and so for the pairs of the winner, whichever it is.

Log ratios are those of `eigenfolio.evaluation.significance`: net returns, negative where the reference is the
calmer one. A percent in a sentence is ``100 * (exp(log ratio) - 1)``.

References
----------
.. [1] J. Romano and M. Wolf (2005). Stepwise multiple testing as formalized data snooping. Econometrica
   73(4), 1237-1282.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd

from eigenfolio import measures
from eigenfolio.errors import ParameterError
from eigenfolio.evaluation import significance
from eigenfolio.evaluation.sharpe import sharpe_difference
from eigenfolio.evaluation.significance import Block
from eigenfolio.evaluation.walk_forward import OWN_BOOK, WalkForward

__all__ = ["compare", "compare_with_best", "finding", "performance_table", "verdict"]

Finding = Literal["calmer", "rougher", "undecided"]

COLUMNS = (
    "reference",
    "rival",
    "book",
    "pooled",
    "pooled_low",
    "pooled_high",
    "window_mean",
    "window_low",
    "window_high",
    "n_windows",
    "standard_error",
    "minimum_detectable",
    "p_value",
    "p_adjusted",
    "confidence",
    "block",
    "reference_picked_afterwards",
)


def performance_table(result: WalkForward, *, periods_per_year: float = 252.0) -> pd.DataFrame:
    """What each track earned, risked, traded and paid.

    Parameters
    ----------
    result : WalkForward
        Tracks of a walk-forward evaluation, excluded ones as well.
    periods_per_year : float
        Rows in a year.

    Returns
    -------
    DataFrame
        Indexed by model and book. `annualized_return` (compound), `annualized_volatility`, `sharpe_ratio`,
        `sortino_ratio`, `max_drawdown` (positive): of net returns. `turnover`: mean per rebalance, the entry
        from cash left out. `gross_exposure`: mean sum of absolute weights. `annualized_cost`: fraction of net
        asset value per year. `n_failures`: dates without a decision.

    Examples
    --------
    >>> from eigenfolio.evaluation.walk_forward import Track
    >>> days = pd.bdate_range("2020-01-01", periods=4)
    >>> net = pd.Series([0.01, -0.01, 0.02, 0.0], index=days)
    >>> one = pd.Series([1.0], index=days[:1])
    >>> track = Track("A", "own", one.to_frame("X"), net, net, 0.5 * one, one, 0.001 * one)
    >>> result = WalkForward({("A", "own"): track}, {}, pd.Series(0, index=days), ())
    >>> performance_table(result).loc[("A", "own"), "max_drawdown"].round(4)
    np.float64(0.01)
    """
    rows = {}
    for key, track in result.tracks.items():
        net, years = track.returns, len(track.returns) / periods_per_year
        held = track.gross_exposure.to_numpy() > 0.0
        rebalanced = track.turnover.iloc[int(held.argmax()) + 1 :]  # after the entry
        rows[key] = {
            "annualized_return": measures.annualized_return(net, periods_per_year=periods_per_year),
            "annualized_volatility": measures.annualized_volatility(net, periods_per_year=periods_per_year),
            "sharpe_ratio": measures.sharpe_ratio(net, periods_per_year=periods_per_year),
            "sortino_ratio": measures.sortino_ratio(net, periods_per_year=periods_per_year),
            "max_drawdown": measures.max_drawdown(net),
            "turnover": float(rebalanced.mean()) if len(rebalanced) else 0.0,
            "gross_exposure": float(track.gross_exposure.mean()),
            "annualized_cost": float(track.cost.sum() / years),
            "n_failures": sum((failure.model, failure.book) == key for failure in result.failures),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "book"])
    return table


def compare(
    result: WalkForward,
    reference: str,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 2000,
    block: Block = "auto",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Put one model, chosen beforehand, against every other model of its books.

    Portfolio models that bring their own weights (equal weight, HRP) stand beside every book in which the reference
    never goes short.

    Parameters
    ----------
    result : WalkForward
        Tracks of a walk-forward evaluation; excluded ones are not compared.
    reference : str
        Name of the model judged.
    rng : numpy.random.Generator
        Draws one seed, from which every pair starts, so a rival more or less changes no other interval.
    n_bootstrap, block, confidence
        As in `volatility_ratio`; "auto" chooses for each pair by itself.

    Returns
    -------
    DataFrame
        One row per rival and book: `reference`, `rival`, `book`; `pooled` and `window_mean` log volatility
        ratios, reference over rival, with `_low` and `_high`; `n_windows`, `standard_error`,
        `minimum_detectable` (80 % power for the interval of this pair) and `p_value` of the window mean;
        `p_adjusted` (Holm, over the rivals of the book); `confidence`; `block` (windows per block);
        `reference_picked_afterwards` (False here). No rows for a book in which the reference is excluded or
        alone.

    Raises
    ------
    ParameterError
        If no track has the name `reference`.
    DataError
        If there are too few windows for an interval.

    Examples
    --------
    >>> from skfolio.moments import EmpiricalCovariance, LedoitWolf
    >>> from eigenfolio.constraints import UNCONSTRAINED
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.evaluation import walk_forward
    >>> rng = np.random.default_rng(0)
    >>> index = pd.bdate_range("2020-01-01", periods=500)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((500, 9)), index=index, columns=list("ABCDEFGHI"))
    >>> models = {"ledoit_wolf": LedoitWolf(), "sample": EmpiricalCovariance()}
    >>> decisions = plan_decisions(X.index, min_history=252)
    >>> result = walk_forward(models, X, decisions, books={"unconstrained": UNCONSTRAINED})
    >>> comparison = compare(result, "ledoit_wolf", rng=rng)
    >>> comparison[["rival", "book", "n_windows"]].values.tolist()
    [['sample', 'unconstrained', 11]]
    """
    models = list(dict.fromkeys(model for model, _ in result.tracks))
    if reference not in models:
        raise ParameterError(f"reference {reference!r} is no model of this result; it has {', '.join(models)}")
    seed = int(rng.integers(2**63))
    rows: list[dict[str, Any]] = []
    for book in result.books:
        if reference not in _compared(result, book):
            continue
        of_book = []
        for rival, of in _rivals(result, reference, book):
            ratio = significance.volatility_ratio(
                result.tracks[reference, book].returns,
                result.tracks[rival, of].returns,
                result.windows,
                n_bootstrap=n_bootstrap,
                block=block,
                confidence=confidence,
                rng=np.random.default_rng(seed),
            )
            of_book.append(_row(reference, rival, book, ratio, confidence))
        adjusted = significance.holm([row["p_value"] for row in of_book])
        rows += [row | {"p_adjusted": float(p)} for row, p in zip(of_book, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def compare_with_best(
    result: WalkForward,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 2000,
    block: Block = "auto",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Put the calmest model of each book, found afterwards, against every other one.

    Portfolio models that bring their own weights join every book in which nobody goes short, and are compared among
    themselves only where there is no other book.

    Calmest is the lowest mean over windows of log volatility. `pooled` and its interval are those of the
    single pair; `window_low`, `window_high`, `minimum_detectable` and `p_adjusted` hold for all pairs of the book
    at once.

    Parameters
    ----------
    result : WalkForward
        Tracks of a walk-forward evaluation; excluded ones are not compared.
    rng : numpy.random.Generator
        Draws one seed, used for every book and pair.
    n_bootstrap, block, confidence
        As in `volatility_ratio`; "auto" takes, in each book, the largest block that any of its pairs chooses.

    Returns
    -------
    DataFrame
        Columns as in `compare`, `reference_picked_afterwards` True; rivals from calm to rough. No rows for a
        book with fewer than two tracks.

    Raises
    ------
    DataError
        If there are too few windows for an interval.

    Examples
    --------
    >>> from skfolio.moments import EmpiricalCovariance, LedoitWolf
    >>> from eigenfolio.constraints import UNCONSTRAINED
    >>> from eigenfolio.data import plan_decisions
    >>> from eigenfolio.evaluation import walk_forward
    >>> rng = np.random.default_rng(0)
    >>> index = pd.bdate_range("2020-01-01", periods=500)
    >>> X = pd.DataFrame(0.01 * rng.standard_normal((500, 9)), index=index, columns=list("ABCDEFGHI"))
    >>> models = {"ledoit_wolf": LedoitWolf(), "sample": EmpiricalCovariance()}
    >>> decisions = plan_decisions(X.index, min_history=252)
    >>> result = walk_forward(models, X, decisions, books={"unconstrained": UNCONSTRAINED})
    >>> compare_with_best(result, rng=rng)["reference"].tolist()
    ['ledoit_wolf']
    """
    significance.check_confidence(confidence)
    seed = int(rng.integers(2**63))
    rows: list[dict[str, Any]] = []
    for book in result.books:
        returns = {model: result.tracks[model, book].returns for model in _compared(result, book)}
        if book != OWN_BOOK and all((result.tracks[m, book].weights.to_numpy() >= 0.0).all() for m in returns):
            returns |= {model: result.tracks[model, OWN_BOOK].returns for model in _compared(result, OWN_BOOK)}
        if len(returns) < 2 or (book == OWN_BOOK and any(row["book"] != OWN_BOOK for row in rows)):
            continue
        sums = significance.window_sums(returns, result.windows)
        differences = significance.log_ratios(sums.to_numpy())
        length = significance.choose_block(differences, block)
        draws = significance.block_starts(
            len(sums), n_bootstrap=n_bootstrap, block=length, rng=np.random.default_rng(seed)
        )
        names = sums.columns[np.log(sums).mean().to_numpy().argsort(kind="stable")]  # from calm to rough
        largest = significance.largest_spread(differences, draws, length)
        critical = significance.quantile(largest, confidence)
        for rival in names[1:]:
            ratio = significance.ratio_of_sums(
                sums[[names[0], rival]].to_numpy(), draws, block=length, confidence=confidence
            )
            row = _row(names[0], rival, book, ratio, confidence)
            half = critical * ratio.standard_error
            row["minimum_detectable"] = significance.minimum_detectable(
                ratio.standard_error, confidence=confidence, critical_value=critical
            )
            row["window_low"], row["window_high"] = ratio.window_mean - half, ratio.window_mean + half
            row["p_adjusted"] = significance.p_value(ratio.window_mean, ratio.standard_error, largest)
            row["reference_picked_afterwards"] = True
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def finding(row: Mapping[str, Any] | pd.Series, *, adjusted: bool) -> Finding:
    """What one comparison supports.

    Parameters
    ----------
    row : Series or mapping
        A row of `compare` or `compare_with_best`.
    adjusted : bool
        True reads `p_adjusted`: for a pair found by looking at several. False reads the interval of the pair:
        for a rival named beforehand. A reference picked afterwards is always read as adjusted.

    Returns
    -------
    {"calmer", "rougher", "undecided"}
        Of the reference, by its window mean.

    Examples
    --------
    >>> row = {"window_mean": -0.02, "window_low": -0.03, "window_high": -0.01, "p_adjusted": 0.2,
    ...        "confidence": 0.95, "reference_picked_afterwards": False}
    >>> finding(row, adjusted=False), finding(row, adjusted=True)
    ('calmer', 'undecided')
    """
    if adjusted or row["reference_picked_afterwards"]:
        certain = row["p_adjusted"] <= 1.0 - row["confidence"]
    else:
        certain = row["window_low"] > 0.0 or row["window_high"] < 0.0
    if not certain:
        return "undecided"
    return "calmer" if row["window_mean"] < 0.0 else "rougher"


def verdict(
    comparison: pd.DataFrame,
    *,
    champion: str | None = None,
    excluded: Mapping[tuple[str, str], str] | None = None,
    result: WalkForward | None = None,
    rng: np.random.Generator | None = None,
    periods_per_year: float = 252.0,
) -> list[str]:
    """Say in words what a comparison supports, with its uncertainty, and no more.

    Parameters
    ----------
    comparison : DataFrame
        From `compare` or `compare_with_best`.
    champion : str, optional
        Rival named beforehand as the one that matters; it is spoken of first and judged by its own interval.
        All others are judged after adjustment for their number. By default, and in a book from which the
        champion was excluded, the strongest rival is spoken of first, judged after adjustment.
    excluded : mapping of (model, book) to str, optional
        `WalkForward.excluded`; each becomes a sentence.
    result : WalkForward, optional
        What was compared. With it, one sentence per book puts the net Sharpe ratios of the reference and its
        leading rival side by side, since calmer need not be better; the interval is that of this pair alone
        (`sharpe_difference`).
    rng : numpy.random.Generator, optional
        Draws one seed for the intervals of the Sharpe ratios; needed with `result`.
    periods_per_year : float
        Rows in a year, for the Sharpe ratios.

    Returns
    -------
    list of str
        Per book: the leading rival, its Sharpe ratio where `result` is given, then all others; at the end the
        excluded tracks.

    Raises
    ------
    ParameterError
        If `champion` is neither a rival, nor the reference, nor excluded; if `result` comes without `rng` or
        lacks a track compared.

    Examples
    --------
    >>> row = {
    ...     "reference": "neural", "rival": "oas", "book": "long-only", "n_windows": 120,
    ...     "pooled": -0.021, "pooled_low": -0.032, "pooled_high": -0.010,
    ...     "window_mean": -0.020, "window_low": -0.030, "window_high": -0.010, "minimum_detectable": 0.014,
    ...     "p_adjusted": 0.0005, "confidence": 0.95, "reference_picked_afterwards": False,
    ... }
    >>> comparison = pd.DataFrame([row])
    >>> print(verdict(comparison, champion="oas")[0])
    neural was calmer than oas (long-only): on average over 120 windows its volatility was 2.0 % lower (95 %
    interval 1.00 % lower to 3.0 % lower).
    """
    excluded = dict(excluded or {})
    known = {*comparison["rival"], *comparison["reference"], *(model for model, _ in excluded)}
    if champion is not None and champion not in known:
        raise ParameterError(f"champion {champion!r} was not compared; choose from {', '.join(sorted(known))}")
    if result is not None and rng is None:
        raise ParameterError("result needs rng, a numpy Generator for the intervals of the Sharpe ratios")
    seed = int(rng.integers(2**63)) if result is not None and rng is not None else 0
    sentences = []
    for book in dict.fromkeys(comparison["book"]):
        rows = comparison[comparison["book"] == book]
        if rows["reference_picked_afterwards"].iloc[0]:
            leading = rows.iloc[0]
            first, rest = _about_the_best(book, rows)
        else:
            by_rival = rows.set_index("rival", drop=False)
            named = champion in by_rival.index
            leading = by_rival.loc[champion if named else by_rival["window_mean"].idxmax()]
            first, rest = _about_one(leading, adjusted=not named), []
            others = rows[rows["rival"] != leading["rival"]]
            if len(others):
                rest.append(
                    f"Against the other rivals ({book}), {leading['reference']} was {_sorted_out(others)}, at "
                    f"{_percent(1.0 - leading['confidence'])} after Holm's adjustment for {len(rows)} comparisons."
                )
        sentences += first
        if result is not None:
            sentences.append(_about_sharpe(leading, result, np.random.default_rng(seed), periods_per_year))
        sentences += rest
    if comparison.empty:
        sentences.append("Nothing was compared: no book holds two models that can be.")
    sentences += [f"{model} ({book}) is left out: it {reason}." for (model, book), reason in excluded.items()]
    return sentences


def _compared(result: WalkForward, book: str) -> list[str]:
    excluded = result.excluded
    return [model for model, of in result.tracks if of == book and (model, of) not in excluded]


def _rivals(result: WalkForward, reference: str, book: str) -> list[tuple[str, str]]:
    """Tracks to compare with the reference's track in `book`."""
    rivals = [(model, book) for model in _compared(result, book) if model != reference]
    alone = (reference, OWN_BOOK) not in result.tracks
    if alone and (result.tracks[reference, book].weights.to_numpy() >= 0.0).all():
        rivals += [(model, OWN_BOOK) for model in _compared(result, OWN_BOOK)]
    return rivals


def _row(
    reference: str, rival: str, book: str, ratio: significance.VolatilityRatio, confidence: float
) -> dict[str, Any]:
    return {
        "reference": reference,
        "rival": rival,
        "book": book,
        **asdict(ratio),
        "confidence": confidence,
        "reference_picked_afterwards": False,
    }


def _about_one(row: pd.Series, *, adjusted: bool) -> list[str]:
    """One pair: what is found, how large and how sure; then what all days together say, where that differs."""
    interval = f"{_percent(row['confidence'])} interval {_range(row['window_low'], row['window_high'])}"
    found = finding(row, adjusted=adjusted)
    who, size = f"{row['rival']} ({row['book']})", _change(row["window_mean"])
    over = f"on average over {row['n_windows']} windows its volatility was {size}"
    if found == "undecided":
        sentence = (
            f"{row['reference']} could not be told apart from {who}: {over} ({interval}); a true difference "
            f"below about {_percent(np.expm1(row['minimum_detectable']))} would often be missed."
        )
    else:
        sentence = f"{row['reference']} was {found} than {who}: {over} ({interval})."
    if found == "undecided" and not row["window_low"] <= 0.0 <= row["window_high"]:
        sentence += " That interval is of this pair alone; allowing for the other rivals it is not enough."
    pooled = {
        "window_low": row["pooled_low"],
        "window_high": row["pooled_high"],
        "window_mean": row["pooled"],
    }
    if finding({**row, **pooled, "reference_picked_afterwards": False}, adjusted=False) != found:
        alone = " of this pair alone" if adjusted else ""
        return [
            sentence,
            f"Over all days together ({row['book']}), where turbulent ones weigh most, it was {_change(row['pooled'])} "
            f"(interval{alone} {_range(row['pooled_low'], row['pooled_high'])}).",
        ]
    return [sentence]


def _about_the_best(book: str, rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """What is said of the closest rival, and of all."""
    best, n_models = rows["reference"].iloc[0], len(rows) + 1
    n_pairs = n_models * (n_models - 1) // 2
    first = [
        f"{best} had the lowest volatility in the average window of {n_models} models ({book}); it was picked after "
        "the fact, so "
        f"what follows allows for {'the pair' if n_pairs == 1 else f'all {n_pairs} pairs'}.",
        f"The closest: {' '.join(_about_one(rows.iloc[0], adjusted=True))}",
    ]
    if len(rows) == 1:
        return first, []
    level = _percent(1.0 - rows["confidence"].iloc[0])
    return first, [f"Against all others ({book}), {best} was {_sorted_out(rows)}, at {level}."]


def _about_sharpe(row: pd.Series, result: WalkForward, rng: np.random.Generator, periods_per_year: float) -> str:
    """Net Sharpe ratios of one pair, because the calmer portfolio need not be the better one."""
    reference, rival, book = row["reference"], row["rival"], row["book"]
    keys = [(name, book) if (name, book) in result.tracks else (name, OWN_BOOK) for name in (reference, rival)]
    missing = [key for key in keys if key not in result.tracks]
    if missing:
        raise ParameterError(f"result has no track of {missing[0][0]} ({book}); pass the result that was compared")
    found = sharpe_difference(
        *(result.tracks[key].returns for key in keys),
        windows=result.windows,
        periods_per_year=periods_per_year,
        confidence=row["confidence"],
        rng=rng,
    )
    numbers = (found.sharpe_a, found.sharpe_b, found.difference, found.low, found.high)
    own, other, difference, low, high = (f"{round(number, 2) + 0.0:.2f}" for number in numbers)  # no "-0.00"
    alone = " of this pair alone" if row["reference_picked_afterwards"] else ""  # the sentences around it allow for all
    return (
        f"This is about volatility: the net Sharpe ratio of {reference} ({book}) was {own} against {other} of {rival} "
        f"(difference {difference}, {_percent(row['confidence'])} interval{alone} {low} to {high})."
    )


def _sorted_out(rows: pd.DataFrame) -> str:
    """Rivals by what is found, each kind with its number and names."""
    found = pd.Series([finding(row, adjusted=True) for _, row in rows.iterrows()], index=rows["rival"])
    phrases = {"calmer": "calmer than", "rougher": "rougher than", "undecided": "not distinguishable from"}
    parts = []
    for kind, phrase in phrases.items():
        names = list(found.index[found == kind])
        if len(names) == len(rows) > 1:
            return f"{phrase} {'any' if kind == 'undecided' else 'all'} of the {len(rows)}"
        if names:
            named = f" ({', '.join(names)})" if len(names) <= 4 else ""
            parts.append(f"{phrase} {len(names)} of {len(rows)}{named}")
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def _percent(share: float) -> str:
    percent = 100.0 * abs(float(share))
    digits = 0 if percent >= 10.0 or round(percent, 9) == 5.0 else 1 if percent >= 1.0 else 2
    return f"{percent:.{digits}f} %"


def _change(log_ratio: float) -> str:
    if log_ratio > np.log(10.0):
        return "more than 900 % higher"
    return f"{_percent(np.expm1(log_ratio))} {'lower' if log_ratio < 0.0 else 'higher'}"


def _range(low: float, high: float) -> str:
    """From the end nearer to zero outwards when both have one sign, else from low to high."""
    return f"{_change(high)} to {_change(low)}" if high < 0.0 else f"{_change(low)} to {_change(high)}"
