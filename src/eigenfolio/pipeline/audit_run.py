"""The audit of a run folder: were the recorded returns earned by decisions that knew the past alone?

The panel of the run is prepared again (the fingerprint must be the same), the decisions are planned again, and

    recorded dates      of bundles fit the date through which they say they were trained
    windows             every decision uses weights that have seen nothing after it
    sealed span         neither bundles nor returns reach into it
    execution           trades come after the row that decided
    cleaning            of the raw table up to t gives the panel up to t
    universe            of the panel up to t, and of the members known by t, is the one that was used
    survivorship        assets end within the panel, or the report says that they do not
    decisions           sampled ones, made again with every later row poisoned, earn the returns that were recorded
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from eigenfolio.artifacts import BundleSeries, RunRecord, load_run, load_series, short_date
from eigenfolio.costs import hold
from eigenfolio.data import Decision, Membership, Tables, clean_panel, eligible_assets, read_tables, seal
from eigenfolio.errors import ArtifactError, DataError, EigenfolioError, LookaheadError
from eigenfolio.evaluation import walk_forward
from eigenfolio.evaluation.audit_report import AuditReport, Finding
from eigenfolio.learned import NeuralShrinkage
from eigenfolio.pipeline.audit import bundle_findings
from eigenfolio.pipeline.compare_options import CompareOptions
from eigenfolio.pipeline.judge import Plan, plan_evaluation
from eigenfolio.pipeline.models import classical_models, shipped_models
from eigenfolio.pipeline.names import LEARNED
from eigenfolio.pipeline.options import RunOptions
from eigenfolio.pipeline.prepare import SURVIVORS, Prepared, prepare
from eigenfolio.training import plan_training

__all__ = ["audit_run"]

_SETTINGS: dict[str, type[CompareOptions]] = {"run": RunOptions, "compare-covariance": CompareOptions}


@dataclass(frozen=True)
class _Opened:
    """A run, and what it must have been made from."""

    folder: Path
    record: RunRecord
    settings: CompareOptions
    prepared: Prepared
    returns: pd.DataFrame  # not sealed
    plan: Plan
    sampled: tuple[Decision, ...]
    models: dict[str, Any]
    series: tuple[BundleSeries, ...]
    recorded: pd.DataFrame  # net returns by "model | book"


def audit_run(folder: str | Path, *, dates: int = 4, seed: int = 0, git_commit: str | None = None) -> AuditReport:
    """Audit a recorded run.

    Parameters
    ----------
    folder : path-like
        Folder with ``run.json``, of the jobs ``run``, ``compare-covariance``, ``train`` or ``pretrain``; of the last
        two only the dates of the bundles can be checked.
    dates : int >= 1
        Decisions that are made again.
    seed : int
        Draws them.
    git_commit : str, optional
        Commit of the code in use. Where the run was made by another, decisions that earn other returns are no evidence
        of a leak.

    Returns
    -------
    AuditReport

    Raises
    ------
    ArtifactError
        If the run cannot be read.
    DataError
        If its panel is not there any more or has changed.
    """
    folder = Path(folder)
    record = load_run(folder)
    series = tuple(load_series(place) for place in sorted(folder.glob("bundles/*/*")))
    dated = tuple(finding for one in series for finding in bundle_findings(one))
    if record.kind not in _SETTINGS:
        if not dated:
            raise ArtifactError(f"{folder} is a run of kind {record.kind!r} without bundles; there is nothing to audit")
        return AuditReport(str(folder), f"run ({record.kind})", (), dated)
    opened = _opened(folder, record, series, dates, seed)
    checks = (_windows, _sealed, _execution, _cleaning, _universe, _survivorship)
    findings = (*dated, *(check(opened) for check in checks), _decisions(opened, git_commit))
    tried = tuple(decision.date for decision in opened.sampled)
    return AuditReport(str(folder), f"run ({record.kind})", tried, findings)


def _opened(folder: Path, record: RunRecord, series: tuple[BundleSeries, ...], n_dates: int, seed: int) -> _Opened:
    """Prepare and plan as the job did."""
    try:
        settings = _SETTINGS[record.kind].model_validate(record.config)
    except ValidationError as error:
        raise ArtifactError(
            f"{folder} was told what this version does not understand ({error.errors()[0]['msg']}); use the commit "
            f"that made it ({record.git_commit})"
        ) from error
    prepared = prepare(settings.data)
    if prepared.panel.fingerprint != record.data_fingerprint:
        raise DataError(
            f"the panel of {folder} ({settings.data.path}) has changed: fingerprint {record.data_fingerprint[:12]} "
            f"recorded, {prepared.panel.fingerprint[:12]} now; restore it"
        )
    returns, options = prepared.panel.returns, settings.evaluation
    first_row = options.lookback + 6 * options.horizon
    models = {
        **shipped_models(lookback=options.lookback),
        **classical_models(lookback=options.lookback, horizon=options.horizon),
    }
    if isinstance(settings, RunOptions):
        index = pd.DatetimeIndex(returns.index)
        if settings.sealed_share > 0:
            returns = returns.iloc[: seal(index, share=settings.sealed_share).n_open]
        first_row = plan_training(index, settings.training.schedule, n_rows=len(returns))[0].last_row
        models = {LEARNED: NeuralShrinkage(series[0], lookback=options.lookback), **models} if series else models
    plan = plan_evaluation(
        returns,
        options=options,
        universe=settings.universe,
        membership=prepared.membership,
        first_row=first_row,
        n_rows=len(returns),
    )
    long = [decision for decision in plan.decisions if decision.stop - decision.start > 2]
    drawn = np.random.default_rng(seed).choice(len(long), min(n_dates, len(long)), replace=False)
    sampled = tuple(long[i] for i in sorted(drawn))
    recorded = pd.read_parquet(folder / "returns.parquet")
    return _Opened(folder, record, settings, prepared, returns, plan, sampled, models, series, recorded)


def _windows(run: _Opened) -> Finding:
    """Weights of every decision against its date; a window that weights have seen never enters a verdict."""
    learned = {name: model for name, model in run.models.items() if isinstance(model, NeuralShrinkage)}
    if not learned:
        return Finding("windows", "not applicable", "no learned model was judged")
    late: list[tuple[pd.Timestamp, str]] = []
    margins = []
    for decision in run.plan.decisions:
        for name, model in learned.items():
            try:
                bundle = model.choose_bundle(decision.date)
            except LookaheadError as error:
                late.append((decision.date, f"{name}: {error}"))
                continue
            if bundle is not None and bundle.trained_through > decision.date:
                late.append((decision.date, f"{name} uses weights through {short_date(bundle.trained_through)}"))
            elif bundle is not None:
                seen = int(run.returns.index.searchsorted(bundle.trained_through, side="right")) - 1
                margins.append(decision.start - seen)
    if late:
        evidence = f"{len(late)} windows are in-sample; {short_date(late[0][0])}: {late[0][1]}"
        return Finding("windows", "leak", evidence, tuple(date for date, _ in late))
    evidence = (
        f"{len(run.plan.decisions)} decisions x {len(learned)} learned models: no weights have seen a row after the "
        f"decision; at least {min(margins)} rows from the last label row to the first earning row"
    )
    return Finding("windows", "ok", evidence)


def _sealed(run: _Opened) -> Finding:
    index = run.prepared.panel.index
    if len(run.returns) == len(index):
        return Finding("sealed span", "not applicable", "no rows were sealed")
    first = index[len(run.returns)]
    seen = [bundle.trained_through for one in run.series for bundle in one if bundle.trained_through >= first]
    reached = [*seen, *run.recorded.index[run.recorded.index >= first]]
    if reached:
        evidence = f"bundles or returns reach {short_date(max(reached))}, rows from {short_date(first)} on were sealed"
        return Finding("sealed span", "leak", evidence, tuple(reached[:10]))
    return Finding("sealed span", "ok", f"nothing reaches into the rows from {short_date(first)} on")


def _execution(run: _Opened) -> Finding:
    first = run.plan.decisions[0]
    lag = run.settings.evaluation.lag
    if lag == 0:
        evidence = (
            "lag=0 trades at the very close that decided; nobody can see a close and trade at it: use evaluation.lag=1"
        )
        return Finding("execution", "leak", evidence, (first.date,))
    starts = run.returns.index[first.start]
    if run.recorded.index[0] != starts:
        evidence = f"returns are recorded from {short_date(run.recorded.index[0])}, earned from {short_date(starts)} on"
        return Finding("execution", "leak", evidence, (first.date,))
    return Finding(
        "execution",
        "ok",
        f"lag={lag}: the first decision, of {short_date(first.date)}, earns from {short_date(starts)}",
    )


def _cleaning(run: _Opened) -> Finding:
    """A delisting return is dated by the first row without a price, and known when `max_fill` more have passed."""
    options = run.settings.data
    tables = read_tables(options.path, kind=options.kind)
    waits = options.max_fill + 1 if options.delisting_return is not None else 0
    changed, tried = [], 0
    for decision in run.sampled:
        try:
            panel, _ = clean_panel(
                _until(tables, decision.date), max_fill=options.max_fill, delisting_return=options.delisting_return
            )
        except EigenfolioError:
            continue
        tried += 1
        known = panel.returns.iloc[: len(panel.returns) - waits]
        names = [name for name in run.prepared.panel.returns.columns if name in known.columns]
        whole = run.prepared.panel.returns.reindex(index=known.index, columns=names).to_numpy()
        if not np.array_equal(known[names].to_numpy(), whole, equal_nan=True):
            changed.append(decision.date)
    if changed:
        evidence = f"cleaning the table up to {short_date(changed[0])} gives other returns than cleaning all of it"
        return Finding("cleaning", "leak", evidence, tuple(changed))
    if not tried:
        return Finding("cleaning", "not applicable", "the table cannot be cleaned on earlier dates by itself")
    return Finding("cleaning", "ok", f"{tried} tables that end at a decision give the same returns")


def _until(tables: Tables, date: pd.Timestamp) -> Tables:
    """The raw tables as they were on a date; rows may be in any order."""
    names = [name for name in ("values", "volume", "high", "low", "market") if getattr(tables, name) is not None]
    return replace(tables, **{name: getattr(tables, name)[getattr(tables, name).index <= date] for name in names})


def _universe(run: _Opened) -> Finding:
    changed = []
    for decision in run.sampled:
        known = eligible_assets(run.returns.iloc[: decision.row + 1], [decision.row], run.settings.universe)
        if run.prepared.membership is not None:
            members = _known_members(run.prepared.membership, decision.date)
            known &= members.mask(pd.DatetimeIndex([decision.date]), list(known.columns))
        if not np.array_equal(known.to_numpy(), run.plan.eligible.loc[[decision.date]].to_numpy()):
            changed.append(decision.date)
    by = "coverage and members" if run.prepared.membership is not None else "coverage"
    if changed:
        evidence = f"the universe of {short_date(changed[0])} is another one when later rows are unknown (by {by})"
        return Finding("universe", "leak", evidence, tuple(changed))
    return Finding("universe", "ok", f"by {by} up to the decision alone, on {len(run.sampled)} dates")


def _known_members(membership: Membership, date: pd.Timestamp) -> Membership:
    n_known = int(membership.dates.searchsorted(date, side="right"))
    return replace(membership, dates=membership.dates[:n_known], members=membership.members[:n_known])


def _survivorship(run: _Opened) -> Finding:
    check = "survivorship"
    active = run.prepared.panel.active_mask.to_numpy()
    ended = int((active.any(axis=0) & ~active[-1]).sum())
    if ended:
        return Finding(check, "ok", f"{ended} of {active.shape[1]} assets end within the panel")
    page = run.folder / "report.html"
    if run.prepared.embedded:
        labelled = page.is_file() and SURVIVORS.split(";")[0] in page.read_text()
        words = "the embedded table holds survivors only, " + (
            "and the report says so" if labelled else "and nothing says so"
        )
        return Finding(check, "ok" if labelled else "leak", words)
    return Finding(
        check, "not applicable", "no asset ends within the panel; whether it was chosen afterwards, it does not tell"
    )


def _decisions(run: _Opened, git_commit: str | None) -> Finding:
    """Decide again with the sign of all later rows flipped, hold over the true rows, and compare what was earned."""
    check = "decisions"
    values = run.returns.to_numpy(dtype=float)
    differs: list[tuple[pd.Timestamp, str, float]] = []
    repeated: set[str] = set()
    for decision in run.sampled:
        poisoned = values.copy()
        poisoned[decision.row + 1 :] *= -1.0
        result = walk_forward(
            run.models,
            pd.DataFrame(poisoned, index=run.returns.index, columns=run.returns.columns),
            [decision],
            books=run.plan.books,
            eligible=run.plan.eligible.loc[[decision.date]],
        )
        failed = {(failure.model, failure.book) for failure in result.failures}
        for key, track in result.tracks.items():
            name = f"{key[0]} | {key[1]}"
            if key in failed or name not in run.recorded:
                continue
            earned, _ = hold(track.weights.iloc[0], values[decision.start : decision.stop])
            days = run.returns.index[decision.start + 1 : decision.stop]  # the first row carries the cost
            gap = float(np.abs(run.recorded[name].reindex(days).to_numpy() - earned[1:]).max())
            repeated.add(name)
            if not gap <= 1e-9:
                differs.append((decision.date, name, gap))
    return _decisions_finding(check, run, repeated, differs, git_commit)


def _decisions_finding(
    check: str,
    run: _Opened,
    repeated: set[str],
    differs: Sequence[tuple[pd.Timestamp, str, float]],
    git_commit: str | None,
) -> Finding:
    if not repeated:
        return Finding(check, "not applicable", "no recorded track is of a model that can be made again")
    left = sorted(set(run.recorded.columns) - repeated)
    tried = f"{len(repeated)} tracks on {len(run.sampled)} dates" + (f" (not {', '.join(left)})" if left else "")
    if not differs:
        return Finding(check, "ok", f"{tried}: decided again without later rows, they earn what was recorded")
    date, name, gap = max(differs, key=lambda entry: entry[2])
    tracks = len({name for _, name, _ in differs})
    evidence = (
        f"{tracks} of {len(repeated)} tracks did not earn what was recorded; {name} after {short_date(date)} differs "
        f"by {gap:.1e} a day"
    )
    if run.record.git_commit != git_commit:
        made, used = (str(commit)[:12] for commit in (run.record.git_commit, git_commit))
        return Finding(
            check, "not applicable", f"{evidence}; but the run was made by commit {made}, and the code in use is {used}"
        )
    return Finding(check, "leak", evidence, tuple(sorted({date for date, _, _ in differs})), gap)
