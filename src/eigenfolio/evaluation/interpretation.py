r"""What a covariance, a path of decisions and an experiment with parts left out say, as tables and sentences.

    eigenvector view   eigenvalue, share of the trace, participation 1 / sum v_i^4, net sign, leading assets and sectors
    sector view        volatility, correlation inside and outside, and the share of a portfolio's variance, by sector
    ablation           by how much the volatility rises when one part of a model is left out
    what changed       the difference between two dates against the usual step of the same series, in words

Matrices are those of a fitted estimator, in squared return per period; assets without a finite variance are left out.
Nothing here knows a network: functions take matrices, tables and names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eigenfolio.errors import DataError, ParameterError
from eigenfolio.evaluation.comparison import finding
from eigenfolio.linalg import covariance_to_correlation

__all__ = ["ablation_table", "eigenvector_view", "sector_view", "what_changed"]

FloatArray = npt.NDArray[np.float64]

_COMPARED = ("reference", "rival", "book", "window_mean", "window_low", "window_high", "n_windows", "p_adjusted")
_UNSEEN_STEP = 1e-12  # a series that never moved has no usual step


def eigenvector_view(
    covariance: npt.ArrayLike,
    names: Sequence[str],
    *,
    n_vectors: int = 5,
    n_names: int = 3,
    sectors: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Describe the leading eigenvectors of the correlation.

    Parameters
    ----------
    covariance : array-like of shape (n_assets, n_assets)
        NaN rows and columns for assets that are inactive.
    names : sequence of str
        Of the assets.
    n_vectors, n_names : int
        Eigenvectors to describe, and assets to name at each end of one; at least 1.
    sectors : mapping of str to str, optional
        Sector of an asset; one that is not in it counts as "unknown".

    Returns
    -------
    DataFrame
        By rank from 1: `eigenvalue`, `share` (of the trace), `participation` (how many assets carry it, 1 to n),
        `net_sign` (sum of the loadings over the root of n, in [0, 1]; 1 is the market), `highest` and `lowest` (names
        of the largest loadings of either sign, "" where there is none; the sign of a vector is such that its sum is not
        negative), and with sectors one column `sector: NAME` each, shares of the squared loadings, sum 1.

    Raises
    ------
    ParameterError
        If names do not fit the matrix, or a count is below 1.
    DataError
        If no asset is active.

    Examples
    --------
    >>> view = eigenvector_view([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 4.0]], ["a", "b", "c"], n_vectors=1)
    >>> view[["eigenvalue", "share", "participation"]].round(6).to_dict("records")
    [{'eigenvalue': 1.5, 'share': 0.5, 'participation': 2.0}]
    """
    for name, count in (("n_vectors", n_vectors), ("n_names", n_names)):
        if count < 1:
            raise ParameterError(f"{name} must be at least 1, got {count}")
    matrix, kept = _active(covariance, names)
    values, vectors = np.linalg.eigh(covariance_to_correlation(matrix)[0])
    values, vectors = values[::-1][:n_vectors], vectors[:, ::-1][:, :n_vectors]
    owners = pd.Series([_sector(name, sectors) for name in kept]) if sectors is not None else None
    rows = []
    for value, vector in zip(values, vectors.T, strict=True):
        loading = vector if vector.sum() >= 0.0 else -vector
        order = np.argsort(-loading, kind="stable")
        row: dict[str, Any] = {
            "eigenvalue": float(value),
            "share": float(value) / len(kept),
            "participation": float(1.0 / (loading**4).sum()),
            "net_sign": float(loading.sum() / np.sqrt(len(kept))),
            "highest": ", ".join(kept[i] for i in order[:n_names] if loading[i] > 0.0),
            "lowest": ", ".join(kept[i] for i in order[::-1][:n_names] if loading[i] < 0.0),
        }
        if owners is not None:
            row |= {f"sector: {name}": share for name, share in pd.Series(loading**2).groupby(owners).sum().items()}
        rows.append(row)
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="rank"))


def sector_view(
    covariance: npt.ArrayLike,
    names: Sequence[str],
    sectors: Mapping[str, str],
    *,
    weights: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Describe a covariance sector by sector.

    Parameters
    ----------
    covariance : array-like of shape (n_assets, n_assets)
        NaN rows and columns for assets that are inactive.
    names : sequence of str
        Of the assets.
    sectors : mapping of str to str
        Sector of an asset; one that is not in it counts as "unknown".
    weights : array-like of shape (n_assets,), optional
        A portfolio, 0 for inactive assets; equal weights of the active assets without it.

    Returns
    -------
    DataFrame
        By sector, the largest first: `n_assets`, `volatility` (median, per period), `inside` (mean correlation of its
        pairs, NaN for one asset), `outside` (mean correlation with other sectors, NaN where there is none), `weight`
        (sum of the weights) and `risk_share` (of the variance of the portfolio, sum 1).

    Raises
    ------
    ParameterError
        If names or weights do not fit the matrix.
    DataError
        If no asset is active, or the portfolio has no variance.

    Examples
    --------
    >>> matrix = [[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]]
    >>> view = sector_view(matrix, ["a", "b", "c"], {"a": "oil", "b": "oil"})
    >>> view[["n_assets", "inside", "outside"]].round(3).to_dict("index")
    {'oil': {'n_assets': 2, 'inside': 0.5, 'outside': 0.2}, 'unknown': {'n_assets': 1, 'inside': nan, 'outside': 0.2}}
    """
    matrix, kept = _active(covariance, names)
    held = _held(weights, names, kept)
    correlation, volatility = covariance_to_correlation(matrix)
    marginal = matrix @ held
    variance = float(held @ marginal)
    if not variance > 0.0:
        raise DataError("the portfolio has no variance to share out; give weights that hold an active asset")
    owners = np.array([_sector(name, sectors) for name in kept])
    rows = {}
    for sector in dict.fromkeys(owners):
        own = owners == sector
        n, block = int(own.sum()), correlation[np.ix_(own, own)]
        rows[str(sector)] = {
            "n_assets": n,
            "volatility": float(np.median(volatility[own])),
            "inside": float((block.sum() - n) / (n * (n - 1))) if n > 1 else np.nan,
            "outside": float(correlation[np.ix_(own, ~own)].mean()) if not own.all() else np.nan,
            "weight": float(held[own].sum()),
            "risk_share": float(held[own] @ marginal[own]) / variance,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("sector").astype({"n_assets": int})
    return table.sort_values("n_assets", ascending=False, kind="stable")


def ablation_table(comparison: pd.DataFrame, *, whole: str) -> pd.DataFrame:
    """By how much the volatility rises when a part is left out.

    Parameters
    ----------
    comparison : DataFrame
        Output of `eigenfolio.evaluation.compare` with the whole model as reference and the reduced ones as rivals, each
        named for what it lacks.
    whole : str
        Name of the whole model.

    Returns
    -------
    DataFrame
        By book in the order given and then the costliest part first: columns `without`, `book`, `rise` (volatility of
        the reduced model over that of the whole one, less 1, mean over windows), `low` and `high` (its interval),
        `n_windows`, `p_adjusted` (over all parts of the book) and `verdict`: "needed" or "harmful" where the adjusted
        p-value says so, else "undecided".

    Raises
    ------
    ParameterError
        If a column is missing, or a row has another reference.

    Examples
    --------
    >>> row = {"reference": "whole", "rival": "no guard", "book": "long-only", "window_mean": np.log(0.98),
    ...        "window_low": np.log(0.97), "window_high": np.log(0.99), "n_windows": 40, "p_adjusted": 0.01,
    ...        "confidence": 0.95, "reference_picked_afterwards": False}
    >>> ablation_table(pd.DataFrame([row]), whole="whole")[["without", "rise", "verdict"]].round(4).to_dict("records")
    [{'without': 'no guard', 'rise': 0.0204, 'verdict': 'needed'}]
    """
    missing = [name for name in _COMPARED if name not in comparison]
    if missing:
        raise ParameterError(f"comparison lacks {', '.join(missing)}; give the output of compare(result, {whole!r})")
    others = sorted(set(comparison["reference"]) - {whole})
    if others:
        raise ParameterError(f"every comparison must be with {whole!r}, got {', '.join(others)} too; leave them out")
    words = {"calmer": "needed", "rougher": "harmful", "undecided": "undecided"}
    table = pd.DataFrame(
        {
            "without": comparison["rival"],
            "book": comparison["book"],
            "rise": np.expm1(-comparison["window_mean"]),
            "low": np.expm1(-comparison["window_high"]),
            "high": np.expm1(-comparison["window_low"]),
            "n_windows": comparison["n_windows"],
            "p_adjusted": comparison["p_adjusted"],
            "verdict": [words[finding(row, adjusted=True)] for _, row in comparison.iterrows()],
        }
    )
    place = {book: i for i, book in enumerate(dict.fromkeys(table["book"]))}
    table = table.assign(place=table["book"].map(place)).sort_values(
        ["place", "rise"], ascending=[True, False], kind="stable"
    )
    return table.drop(columns="place").reset_index(drop=True)


def what_changed(
    path: pd.DataFrame,
    before: pd.Timestamp | str,
    after: pd.Timestamp | str,
    *,
    titles: Mapping[str, str] | None = None,
    unusual: float = 2.0,
) -> list[str]:
    """Say in words what changed between two dates.

    The usual step of a series is the median absolute change between neighbouring rows up to the later date. A
    difference over several rows is held against the same step, so a slow drift over a year may be "unusual" too.

    Parameters
    ----------
    path : DataFrame
        Rows by date, in order; numbers, or words (a regime). Values after the later date are not looked at.
    before, after : date
        Two rows of it, the first one earlier.
    titles : mapping of str to str, optional
        What a column is called; its name in words without it.
    unusual : float, default=2.0
        Usual steps from which on a change is called unusual.

    Returns
    -------
    list of str
        The changes of words first, then those of numbers from the least usual on, then what stayed the same to the
        three digits shown.

    Raises
    ------
    ParameterError
        If a date is no row of the path, the dates are not in order, or `unusual` is not positive.

    Examples
    --------
    >>> days = pd.to_datetime(["2020-01-31", "2020-02-28", "2020-03-31", "2020-04-30"])
    >>> path = pd.DataFrame({"shrinkage": [0.30, 0.31, 0.30, 0.45], "regime": ["calm", "calm", "calm", "crisis"]}, days)
    >>> for sentence in what_changed(path, "2020-03-31", "2020-04-30"):
    ...     print(sentence)
    Between 2020-03-31 and 2020-04-30 regime went from calm to crisis.
    Shrinkage rose from 0.3 to 0.45 (+0.15), 15 times its usual step: unusual.
    """
    first, last = pd.Timestamp(before), pd.Timestamp(after)
    for date in (first, last):
        if date not in path.index:
            raise ParameterError(
                f"{date:%Y-%m-%d} is no row of the path ({path.index[0]:%Y-%m-%d} to {path.index[-1]:%Y-%m-%d}); "
                "give dates of decisions"
            )
    if first >= last:
        raise ParameterError(f"before must be earlier than after, got {first:%Y-%m-%d} and {last:%Y-%m-%d}")
    if not unusual > 0.0:
        raise ParameterError(f"unusual must be positive, got {unusual}")
    known = path.loc[:last]
    words, numbers, still = [], [], []
    for name in path.columns:
        title = (titles or {}).get(str(name), str(name).strip("_").replace("_", " "))
        old: Any = known.at[first, name]
        new: Any = known.at[last, name]
        if not pd.api.types.is_numeric_dtype(path[name]) or pd.api.types.is_bool_dtype(path[name]):
            if str(old) != str(new):
                words.append(f"{title} went from {old} to {new}")
            else:
                still.append(f"{title} ({new})")
        elif np.isfinite(old) and np.isfinite(new):
            step = _usual_step(known[name])
            if abs(new - old) <= _UNSEEN_STEP * max(abs(old), abs(new), 1.0) or _figure(old) == _figure(new):
                still.append(f"{title} ({_figure(new)})")
            else:
                numbers.append(
                    (
                        abs(new - old) / step if step > 0.0 else np.inf,
                        _moved(title, old, new, step, unusual, n_moves=_n_moves(known[name].loc[:first])),
                    )
                )
    numbers.sort(key=lambda pair: -pair[0])
    span = f"Between {first:%Y-%m-%d} and {last:%Y-%m-%d}"
    sentences = [f"{span} {'; '.join(words)}."] if words else [f"{span}:"] if numbers else []
    sentences += [sentence for _, sentence in numbers]
    if still:
        sentences.append(
            f"{span if not sentences else 'Unchanged'}: {', '.join(still)}{'' if sentences else ' unchanged'}."
        )
    return sentences


def _moved(title: str, old: float, new: float, step: float, unusual: float, *, n_moves: int) -> str:
    """One sentence about one number."""
    heading = title[:1].upper() + title[1:]
    verb = "rose" if new > old else "fell"
    moved = (
        f"{heading} {verb} from {_figure(old)} to {_figure(new)} ({'+' if new > old else '-'}{_figure(abs(new - old))})"
    )
    if not step > 0.0:
        often = "it had not moved before" if n_moves == 0 else "between most dates it does not move"
        return f"{moved}; {often}."
    times = abs(new - old) / step
    return f"{moved}, {times:.2g} times its usual step" + (": unusual." if times >= unusual else ".")


def _usual_step(series: pd.Series) -> float:
    steps = series.astype(float).diff().abs().dropna()
    usual = float(steps.median()) if len(steps) else 0.0
    return usual if usual > _UNSEEN_STEP else 0.0


def _n_moves(series: pd.Series) -> int:
    return int((series.astype(float).diff().abs() > _UNSEEN_STEP).sum())


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _active(covariance: npt.ArrayLike, names: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """The matrix of the active assets, and their names."""
    matrix = np.asarray(covariance, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(names) != len(matrix):
        raise ParameterError(
            f"covariance must be square with one name per row, got {matrix.shape} and {len(names)} names"
        )
    active = np.isfinite(np.diag(matrix))
    if not active.any():
        raise DataError("no asset has a finite variance; fit the estimator on assets that have returns")
    return matrix[np.ix_(active, active)], [str(name) for name, known in zip(names, active, strict=True) if known]


def _held(weights: npt.ArrayLike | None, names: Sequence[str], kept: Sequence[str]) -> FloatArray:
    if weights is None:
        return np.full(len(kept), 1.0 / len(kept))
    held = np.asarray(weights, dtype=float)
    if held.shape != (len(names),) or not np.isfinite(held).all():
        raise ParameterError(f"weights must be {len(names)} finite numbers, one per name, got shape {held.shape}")
    place = {str(name): i for i, name in enumerate(names)}
    idle = [str(name) for i, name in enumerate(names) if str(name) not in set(kept) and held[i] != 0.0]
    if idle:
        raise ParameterError(f"weights hold inactive assets: {', '.join(idle[:3])}; give them weight 0")
    return held[[place[name] for name in kept]]


def _sector(name: str, sectors: Mapping[str, str] | None) -> str:
    return str((sectors or {}).get(name, "unknown"))
