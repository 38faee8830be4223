"""What a report shows, as plain tables and dictionaries.

`ReportContent` is the only way into the page: whoever ran something fills it, and the page knows nothing of
models, panels or runs. A part that is absent (None, an empty table, an empty dictionary) leaves its section out
of the page; no part is ever drawn empty.

Conventions: returns are net simple returns per period (0.01 is 1 %); turnover is half the sum of absolute trades
over NAV; a log ratio of volatilities is negative where the reference is the calmer one. Percent exist only on
the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from eigenfolio.errors import ParameterError

__all__ = ["OWN_BOOK", "ReportContent", "Tone"]

Tone = Literal["good", "bad", "unclear"]

OWN_BOOK = "own"
"""Book of the models that bring their own weights; the page shows them beside every other book."""

_COMPARISON_COLUMNS = (
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
    "minimum_detectable",
    "p_adjusted",
    "confidence",
    "reference_picked_afterwards",
)

_CONVERGENCE_COLUMNS = ("bundle", "verdict", "plateau", "oscillation", "overfitting", "seed_spread", "alarms")


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything one report page shows.

    Parameters
    ----------
    title : str
        Name of the job, e.g. "Neural shrinkage on the embedded S&P 500 panel".
    verdict : sequence of str
        Sentences in plain words; the first is the headline and the others carry its uncertainty.
    subtitle : str, default=""
        Panel, dates and preset on one line.
    verdict_tone : {"good", "bad", "unclear"}, default="unclear"
        Whether the evidence supports the model judged, speaks against it, or settles nothing.
    learned_model : str or None, default=None
        Name of the learned model; None where none took part.
    champion : str or None, default=None
        Name of the rival that matters most; drawn in the second colour.
    performance : DataFrame or None, default=None
        One row per model and book, named by the columns (or index levels) `model` and `book`; the other columns
        are those of `eigenfolio.evaluation.performance_table`, as fractions, not percent.
    comparison : DataFrame or None, default=None
        Output of `eigenfolio.evaluation.compare` or `compare_with_best`, so with one reference in each book (or the
        learned model among several): columns `reference`, `rival`, `book`, `pooled`, `pooled_low`,
        `pooled_high`, `window_mean`, `window_low`, `window_high`, `n_windows`, `minimum_detectable`,
        `p_adjusted`, `confidence`, `reference_picked_afterwards`; log ratios of the volatility of `reference` to that
        of `rival`. Further columns are ignored.
    returns : mapping of book to mapping of model to Series
        Net simple returns per period with a DatetimeIndex.
    turnover : mapping of book to mapping of model to Series
        Turnover by decision date, a fraction of NAV. The first above zero is the entry from cash; the figure leaves
        it out.
    learned : DataFrame or None, default=None
        What the learned model decided: decision date x quantity, e.g. `shrinkage`, `volatility_blend`,
        `weight_identity`.
    closed_form_intensity : Series or None, default=None
        A classical shrinkage intensity by decision date, in [0, 1], drawn beside the learned one; its `name` is
        its label.
    training : DataFrame or None, default=None
        One row per dated bundle: `bundle` (also accepted as the index), `trained_through`, `n_windows`, `epochs`,
        `best_validation_loss`, `start_validation_loss` (the classical start), `seconds`. Further columns are shown
        under their own names.
    loss_history : mapping of str to DataFrame
        By bundle: columns `epoch`, `train`, `validation`.
    loss_lines : str, default="dated bundle"
        What one of them stands for. Dated bundles are shades of one colour; anything else has colours and a legend.
    convergence : DataFrame or None, default=None
        How the training of each bundle went, in words: columns `bundle` (also accepted as the index), `verdict`,
        `plateau`, `oscillation`, `overfitting`, `seed_spread`, `alarms`, and `members` (how many seeds) where known.
        Further columns are ignored.
    spectrum : DataFrame or None, default=None
        Columns `rank` (1 is the largest), `sample`, `shrunk`: positive eigenvalues of one window's correlation.
    spectrum_label : str, default=""
        Which window the spectrum is of, e.g. "252 days to 2020-03-31".
    spectrum_edges : tuple of two floats or None, default=None
        Lower and upper Marchenko-Pastur edge of that window: where pure noise would lie.
    data_findings : sequence of mappings
        Rows of a data report: `check`, `status` ("ok", "note", "warning", "error"), `summary`.
    sealed : str, default=""
        What was held back, in a sentence.
    settings, environment : mapping
        Resolved options by dotted name; versions, commit, seed and data fingerprint.
    commands : sequence of str
        Exact commands that reproduce the page.
    warnings : sequence of str
        What a reader must know before trusting the page; shown under the verdict.
    periods_per_year : int, default=252
        Annualises the rolling volatility.

    Raises
    ------
    ParameterError
        If a table lacks a column the page reads, or the verdict is empty or its tone unknown.

    Examples
    --------
    >>> content = ReportContent(title="A panel", verdict=["Nothing was compared."])
    >>> content.books, content.focus("long-only")
    ([], None)
    """

    title: str
    verdict: Sequence[str]
    subtitle: str = ""
    verdict_tone: Tone = "unclear"
    learned_model: str | None = None
    champion: str | None = None
    performance: pd.DataFrame | None = None
    comparison: pd.DataFrame | None = None
    returns: Mapping[str, Mapping[str, pd.Series]] = field(default_factory=dict)
    turnover: Mapping[str, Mapping[str, pd.Series]] = field(default_factory=dict)
    learned: pd.DataFrame | None = None
    closed_form_intensity: pd.Series | None = None
    training: pd.DataFrame | None = None
    loss_history: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    loss_lines: str = "dated bundle"
    convergence: pd.DataFrame | None = None
    spectrum: pd.DataFrame | None = None
    spectrum_label: str = ""
    spectrum_edges: tuple[float, float] | None = None
    data_findings: Sequence[Mapping[str, Any]] = ()
    sealed: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    commands: Sequence[str] = ()
    warnings: Sequence[str] = ()
    periods_per_year: int = 252

    def __post_init__(self) -> None:
        if isinstance(self.verdict, str) or not self.verdict:
            raise ParameterError(
                f"verdict must be a list of sentences with at least one, got {self.verdict!r}; "
                "say in words what was found"
            )
        if self.verdict_tone not in ("good", "bad", "unclear"):
            raise ParameterError(f"verdict_tone must be 'good', 'bad' or 'unclear', got {self.verdict_tone!r}")
        _require(self.performance, "performance", ("model", "book"))
        _require(self.comparison, "comparison", _COMPARISON_COLUMNS)
        _require(self.spectrum, "spectrum", ("rank", "sample", "shrunk"))
        for bundle, history in self.loss_history.items():
            _require(history, f"loss_history[{bundle!r}]", ("epoch", "train", "validation"))
        if self.training is not None and len(self.training):
            _require(self.training, "training", ("bundle",))
        _require(self.convergence, "convergence", _CONVERGENCE_COLUMNS)
        for book, rows in self.comparison_table.groupby("book"):
            references = set(rows["reference"].astype(str))
            if len(references) > 1 and self.learned_model not in references:
                raise ParameterError(
                    f"comparison has in book {book!r} the references {', '.join(sorted(references))}, and "
                    f"learned_model={self.learned_model!r} is none of them; keep one reference"
                )
        for row in self.data_findings:
            missing = [name for name in ("check", "status", "summary") if name not in row]
            if missing:
                raise ParameterError(f"data_findings row {dict(row)!r} lacks {', '.join(missing)}")

    @property
    def books(self) -> list[str]:
        """Books in the order the content names them; `own` last, and only if compared within or the only one."""
        found: dict[str, None] = dict.fromkeys(self.returns)
        for table in (self.comparison_table, self.performance_table):
            found |= dict.fromkeys(map(str, table["book"].unique()))
        found |= dict.fromkeys(self.turnover)
        judged = [book for book in found if book != OWN_BOOK]
        compared = OWN_BOOK in set(self.comparison_table["book"])
        return judged + [OWN_BOOK] * (OWN_BOOK in found and (compared or not judged))

    def focus(self, book: str) -> str | None:
        """The model in the first colour: the learned one, else the reference of this book."""
        return self.learned_model if self.learned_model is not None else self.reference(book)

    def reference(self, book: str) -> str | None:
        """The model whose comparisons this book shows: the learned one, else its only reference."""
        table = self.comparison_table
        references = set(table.loc[table["book"].astype(str) == book, "reference"].astype(str))
        if self.learned_model in references:
            return self.learned_model
        return min(references, default=None)

    @property
    def comparison_table(self) -> pd.DataFrame:
        """`comparison` with `book`, `reference` and `rival` as columns; no rows where there is none."""
        return _flat(self.comparison, _COMPARISON_COLUMNS)

    @property
    def performance_table(self) -> pd.DataFrame:
        """`performance` with `model` and `book` as columns; no rows where there is none."""
        return _flat(self.performance, ("model", "book"))

    @property
    def training_table(self) -> pd.DataFrame:
        """`training` with `bundle` as a column; no rows where there is none."""
        return _flat(self.training, ("bundle",))

    @property
    def convergence_table(self) -> pd.DataFrame:
        """`convergence` with `bundle` as a column; no rows where there is none."""
        return _flat(self.convergence, _CONVERGENCE_COLUMNS)


def _flat(table: pd.DataFrame | None, names: Sequence[str]) -> pd.DataFrame:
    if table is None or not len(table):
        return pd.DataFrame(columns=list(names))
    levels = [name for name in table.index.names if name in names]
    return table.reset_index(level=levels) if levels else table.reset_index(drop=True)


def _require(table: pd.DataFrame | None, name: str, columns: Sequence[str]) -> None:
    if table is None or not len(table):
        return
    known = [*table.columns, *table.index.names]
    missing = [column for column in columns if column not in known]
    if missing:
        raise ParameterError(
            f"{name} lacks {', '.join(missing)}; it has {', '.join(str(c) for c in known if c is not None)}"
        )
    if "rank" in columns and not np.all(table[["sample", "shrunk"]].to_numpy() >= 0):
        raise ParameterError(f"{name} must hold eigenvalues of at least 0")
