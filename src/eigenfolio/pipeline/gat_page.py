"""The report of a sweep of graph-attention portfolios: what it found, what it chose and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from eigenfolio.evaluation import OWN_BOOK, Track, WalkForward
from eigenfolio.pipeline.gat_convergence import gat_convergence, mean_gat_losses
from eigenfolio.pipeline.gat_judgement import ENSEMBLE, RIVALS, JudgedGat, seed_name
from eigenfolio.pipeline.gat_options import GatOptions
from eigenfolio.pipeline.sweep_job import SweepJob
from eigenfolio.report import ReportContent
from eigenfolio.report.content import Tone

__all__ = ["collapse_warning", "distances_to_equal", "gat_page", "headline"]


def gat_page(
    config: GatOptions,
    job: SweepJob,
    judged: JudgedGat,
    walked: WalkForward,
    *,
    n_open: int,
    sentences: Sequence[str],
    logs: Sequence[Mapping[str, Any]],
) -> ReportContent:
    """Content of the page.

    Parameters
    ----------
    config : GatOptions
    job : SweepJob
    judged : JudgedGat
    walked : WalkForward
        Of `eigenfolio.pipeline.gat_judgement.models`.
    n_open : int
        Rows that the job may look at.
    sentences : sequence of str
        The findings in words, below the headline.
    logs : sequence of mapping
        One per graph and span, with its members and epochs.
    """
    shown = [ENSEMBLE] if len(config.graphs) > 1 else []
    shown += [*(f"gat_{graph}" for graph in judged.ranking.table.index), *RIVALS]
    tracks: Mapping[str, Track] = {name: walked.tracks[name, OWN_BOOK] for name in shown}
    days = walked.windows.index
    told, tone = headline(judged)
    page = job.page(n_open)
    return ReportContent(
        title=f"Graph-attention portfolios on {job.prepared.name}",
        subtitle=f"{job.prepared.panel.n_assets} assets; judged {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}",
        verdict=(told, *sentences),
        verdict_tone=tone,
        learned_model=shown[0],
        champion=RIVALS[-1],
        performance=judged.performance[judged.performance["model"].isin(shown)].assign(book=OWN_BOOK),
        returns={OWN_BOOK: {name: track.returns for name, track in tracks.items()}},
        turnover={OWN_BOOK: {name: track.turnover for name, track in tracks.items()}},
        learned=distances_to_equal(config, walked),
        loss_history=mean_gat_losses(logs),
        loss_lines="graph method, the mean of all seeds and spans",
        convergence=gat_convergence(logs),
        periods_per_year=round(judged.periods_per_year),
        **{**page, "warnings": (*page["warnings"], *collapse_warning(logs))},
    )


def headline(judged: JudgedGat) -> tuple[str, Tone]:
    """Whether the networks can be told from the last rival, and their order from noise; and which way it points.

    Parameters
    ----------
    judged : JudgedGat
    """
    row = judged.differences.set_index("rival").loc[RIVALS[-1]]
    rival = RIVALS[-1].lower()
    if row["low"] > 0.0:
        told, tone = f"better than {rival} out of sample", "good"
    elif row["high"] < 0.0:
        told, tone = f"worse than {rival} out of sample", "bad"
    else:
        told, tone = f"cannot be told from {rival} out of sample", "unclear"
    verb = "are " if tone != "unclear" else ""
    order = {True: "; the graph matters", False: "; which graph is best is noise", None: ""}
    found: Tone = tone  # type: ignore[assignment]
    return f"Graph-attention portfolios {verb}{told}{order[judged.ranking.more_than_noise]}.", found


def collapse_warning(logs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A warning where networks hold equal weights, so that nothing was learned; nothing else.

    Parameters
    ----------
    logs : sequence of mapping
        Each with `members`, and these with `alarms`.

    Examples
    --------
    >>> dead, alive = {"alarms": ["equal weights: the books are 0.002 from 1/n"]}, {"alarms": []}
    >>> collapse_warning([{"members": [dead, alive]}])[0][:52]
    '1 of 2 networks hold equal weights: they have learne'
    >>> collapse_warning([{"members": [alive]}])
    ()
    """
    members = [member for log in logs for member in log["members"]]
    collapsed = sum(any(alarm.startswith("equal weights") for alarm in member["alarms"]) for member in members)
    if not collapsed:
        return ()
    return (
        f"{collapsed} of {len(members)} networks hold equal weights: they have learned nothing, and what sets their "
        "books apart from equal weight is noise.",
    )


def distances_to_equal(config: GatOptions, walked: WalkForward) -> pd.DataFrame:
    """Distance of the books of each graph method to equal weights, share of NAV by decision date, mean of the seeds.

    Parameters
    ----------
    config : GatOptions
    walked : WalkForward
    """
    found = {}
    for graph in config.graphs:
        names = [seed_name(graph, member) for member in range(config.n_seeds)]
        told = [walked.diagnostics[name]["distance_to_equal"] for name in names if name in walked.diagnostics]
        if told:
            found[f"distance to equal weights, {graph}"] = pd.concat(told, axis=1).mean(axis=1)
    return pd.DataFrame(found)
